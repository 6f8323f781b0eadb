//! Requests and replies on a data directory's socket, as typed values.
//!
//! The story of the conversation, and the frame around each header, stand at the top of
//! `schema/stream.capnp`. Here: [`StreamRequest`] and [`StreamReply`], each with `encode` to and
//! `decode` from one segment of Cap'n Proto. Decoding trusts nothing: it reads at most a small
//! multiple of the bytes it was given, and whatever they hold ends in a value or a [`HeaderError`].

mod below;
mod place;
mod reply;
mod request;

pub use crate::segment::HeaderError;
pub use below::{Below, ValueHead, Values};
pub use reply::{
    AppendedPart, BatchInfo, Code, Failure, Next, Outcome, PartitionDescription, StreamDescription,
    StreamInfo, StreamReply, StreamUser,
};
pub use request::{AppendHead, NewStream, Place, ReadFrom, ReadHead, Route, StreamRequest};

/// The version of the conversation: exact, on both sides.
pub const STREAM_VERSION: u16 = 1;
