//! Requests and replies on a data directory's socket, as typed values.
//!
//! The story of the conversation, and the frame around each header, stand at the top of
//! `schema/stream.capnp`. Here: [`StreamRequest`] and [`StreamReply`], each with `encode` to and
//! `decode` from one segment of Cap'n Proto. Decoding trusts nothing: it reads at most a small
//! multiple of the bytes it was given, and whatever they hold ends in a value or a [`HeaderError`].

mod reply;
mod request;
mod segment;

pub use reply::{
    AppendedPart, BatchInfo, Code, Failure, Next, Outcome, PartitionDescription, StreamDescription,
    StreamInfo, StreamReply, StreamUser,
};
pub use request::{AppendHead, Place, ReadFrom, ReadHead, Route, StreamRequest};

/// The version of the conversation: exact, on both sides.
pub const STREAM_VERSION: u16 = 1;

/// A header that does not say what a header says.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the header does not decode: {0}; is the other side an Egret of this version?")]
pub struct HeaderError(pub String);

impl From<capnp::Error> for HeaderError {
    fn from(error: capnp::Error) -> HeaderError {
        HeaderError(error.to_string())
    }
}

impl From<capnp::NotInSchema> for HeaderError {
    fn from(error: capnp::NotInSchema) -> HeaderError {
        HeaderError(error.to_string())
    }
}

impl From<std::str::Utf8Error> for HeaderError {
    fn from(error: std::str::Utf8Error) -> HeaderError {
        HeaderError(error.to_string())
    }
}
