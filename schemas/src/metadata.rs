//! Requests and replies about the metadata of a data directory that another process holds, as typed values.
//!
//! The story of the conversation stands at the top of `schema/metadata.capnp`, the frame around each header
//! in `schema/stream.capnp`. Here: [`MetaRequest`] and [`MetaReply`], each with `encode` to and `decode` from
//! one segment of Cap'n Proto. Decoding trusts nothing.

mod failure;
mod reply;
mod request;

pub use crate::segment::HeaderError;
pub use failure::MetaFailure;
pub use reply::{MetaEvent, MetaReason, MetaReply, MetaTurnedAway, MetaWelcome, Page, PageEntry};
pub use request::{MetaCompare, MetaOp, MetaRequest};

/// The version of the conversation: exact, on both sides.
pub const METADATA_VERSION: u16 = 1;
