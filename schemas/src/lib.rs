//! What crosses a process boundary: ids, positions, and the headers of messages.
//!
//! Every id is a newtype that prints short (`L42`, `L42:17`, `S3:17:0`) and parses back from what it
//! prints. There is no logic here beyond that, and nothing here touches a file, a socket or a clock.
//!
//! | module | holds |
//! |---|---|
//! | [`ids`] | ledgers, entries, terms, incarnations, segments, positions |
//! | [`epoch`] | the timely timestamp: generation ‖ commit ‖ micro-epoch in one `u64` |
//! | [`key`] | the frozen key hash, the 16-bit partition ring, key groups |
//! | [`bytes`] | bounded little-endian readers and writers for durable records |
//! | [`bookie`] | requests and replies between clients and bookies, as typed values |
//! | [`stream`] | requests and replies on a data directory's socket, as typed values |
//! | [`metadata`] | the same about its metadata, for whoever shares the whole directory |
//! | [`state`] | questions about a topology's state, and answers, over Cap'n Proto RPC |
//! | [`records`] | how records stand in the payload behind such a header |
//! | `generated` | what the Cap'n Proto compiler made of `schema/`; nothing of it leaves this package |

pub mod bookie;
pub mod bytes;
pub mod epoch;
mod generated;
pub mod ids;
pub mod key;
pub mod metadata;
mod mirrored;
pub mod records;
mod segment;
pub mod state;
pub mod stream;

pub use epoch::{Epoch, Generation};
pub use ids::{
    BookieId, EntryAddress, EntryId, Incarnation, LedgerId, ParseIdError, Position, SegmentId, Term,
};
