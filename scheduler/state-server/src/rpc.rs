//! Cap'n Proto RPC, for programs outside: the interface `State` of `state.capnp`.
//!
//! | module | holds |
//! |---|---|
//! | `serve` | connections in, each with a `State` |
//! | `answer` | what is answered, from what a replica holds |
//! | [`client`] | a client in Rust, which waits |

mod answer;
pub mod client;
pub(crate) mod serve;
