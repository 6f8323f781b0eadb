//! Requests and replies between clients and bookies, as typed values.
//!
//! The story of the conversation stands at the top of `schema/bookie.capnp`, the frame around each
//! header in `schema/stream.capnp`. Here: [`BookieRequest`] and [`BookieReply`], each with `encode` to
//! and `decode` from one segment of Cap'n Proto. Decoding trusts nothing. An entry's bytes travel in
//! the payload and never pass through here.

mod reply;
mod request;
mod why;

pub use crate::segment::HeaderError;
pub use reply::{BookieReply, EntryHead, Reason, TurnedAway, Welcome};
pub use request::{Ask, BookieRequest, Hello, Role};
pub use why::{Refusal, Unknown};

/// The version of the conversation: exact, on both sides.
pub const BOOKIE_VERSION: u16 = 1;
