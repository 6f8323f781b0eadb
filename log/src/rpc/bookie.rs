//! The network between clients and bookies: frames over TCP, TLS off the host.
//!
//! The story is told at the top of `schemas/schema/bookie.capnp`. What crosses is
//! [`message`](crate::message), so a bookie behind a socket is a
//! [`Transport`](crate::message::Transport) like one in this process.
//!
//! What always holds:
//! * Every request gets exactly one answer: the bookie's, or an `Unknown` that says what became of the
//!   way to it. Answers are given with no lock held.
//! * A stranger gets a closed connection at bounded cost: 16 KiB, one deadline, one of few places.
//! * Whatever waits has a bound in requests, in bytes and in time. What is over it is refused with
//!   `Overloaded`, which is definite; who takes no answers is cut off.
//!
//! | module | holds |
//! |---|---|
//! | [`server`] | a bookie on a TCP address, or on a socket in its data directory |
//! | [`client`] | the way to one bookie |
//! | [`role`] | who may ask what |
//! | [`tls`] | certificates, and whom they name |
//! | [`accepted`] | whether others would accept a certificate |
//! | `convert` | messages to headers and back |
//! | `wire` | frames over anything that reads and writes |
//! | `io_thread` | a thread that waits for sockets |

pub mod accepted;
pub mod client;
pub(crate) mod convert;
pub mod io_thread;
mod race;
pub mod role;
pub mod server;
pub mod tls;
pub(crate) mod wire;

#[cfg(test)]
mod tests;

pub use client::{ClientConfig, TcpTransport};
pub use io_thread::IoThread;
pub(crate) use server::LocalServer;
pub use server::{BookieServer, ServeError, ServerConfig, ServerLimits};
pub use tls::{ClientTls, PeerName, ServerTls, TlsError};
