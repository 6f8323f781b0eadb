//! Frames over sockets: how a process works with a data directory that another one holds, and how
//! clients and bookies work with each other over a network ([`bookie`]).
//!
//! A data directory is served on Unix sockets inside it: requests about its streams on one, told at the top
//! of `schemas/schema/stream.capnp`; where it is shared whole, its metadata on another, told in
//! `metadata.capnp`, and its bookie on a third. Nothing here knows what a stream is: the server hands each
//! request to an [`Answer`] and sends back what it is told, the client the other way round.
//!
//! | file | holds |
//! |---|---|
//! | [`frame`] | the frame, pure: bytes to fields and back, checked |
//! | `connection` | frames over one socket, each with a deadline |
//! | `socket` | where the sockets are, who may connect |
//! | [`server`] | accepts, gives each connection a thread, ends in order |
//! | [`streams`] | the conversation about streams |
//! | [`client`] | connects, says hello, asks |
//! | [`meta`] | the metadata of a directory for those who attach to the whole of it |
//! | [`bell`] | what wakes a request that waits |
//! | [`bookie`] | bookies and their clients, over TCP and TLS |
//! | [`worker`] | TLS between worker processes, blocking; what they say over it is theirs |

pub mod bell;
pub mod bookie;
pub mod client;
mod connection;
pub mod frame;
pub mod meta;
pub mod server;
pub(crate) mod socket;
pub mod streams;
#[cfg(test)]
mod tests;
pub mod worker;

use std::sync::Arc;

use bytes::Bytes;
use egret_schemas::stream::{StreamReply, StreamRequest};

pub use bell::Bell;
pub use client::{CallError, Client, ConnectError};
pub use connection::ConnectionError;
pub use server::{ServeError, Server};
pub use socket::{BOOKIE_SOCKET_NAME, META_SOCKET_NAME, SOCKET_NAME};

/// Carries out the requests of one connection, one after the other.
pub trait Answer: Send {
    /// Carries out one request. Whatever it waits for, it waits for with `bell`, and gives up when
    /// that is closed.
    fn answer(&mut self, request: StreamRequest, payload: Bytes, bell: &Arc<Bell>) -> Answered;
}

/// A reply and the payload behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The reply.
    pub reply: StreamReply,
    /// Records, when the reply has any.
    pub payload: Bytes,
}

impl From<StreamReply> for Answered {
    fn from(reply: StreamReply) -> Answered {
        Answered { reply, payload: Bytes::new() }
    }
}
