//! The conversation about streams, as the holder of a data directory leads it.
//!
//! A connection says hello first, within a deadline and within 16 KiB, and then asks one thing after the
//! other. Nothing here knows what a stream is: each request is handed to an [`Answer`].

use std::sync::Arc;
use std::time::Duration;

use egret_schemas::Incarnation;
use egret_schemas::stream::{Code, Failure, Outcome, STREAM_VERSION, StreamReply, StreamRequest};

use super::connection::{Connection, ConnectionError};
use super::frame::Limits;
use super::server::{NoPlace, Speak};
use super::socket::SOCKET_NAME;
use super::{Answer, Answered, Bell};
use crate::caps;

const BEFORE_HELLO: Limits =
    Limits { header_bytes_max: caps::HELLO_BYTES_MAX, payload_bytes_max: 0 };
const AFTER_HELLO: Limits =
    Limits { header_bytes_max: caps::HEADER_BYTES_MAX, payload_bytes_max: caps::PAYLOAD_BYTES_MAX };

/// Makes an [`Answer`] for each connection.
pub type Answerers = Arc<dyn Fn() -> Box<dyn Answer> + Send + Sync>;

/// See the [module](self).
pub(super) struct Streams {
    incarnation: Incarnation,
    answerers: Answerers,
}

impl Streams {
    /// Of a directory, whose requests these carry out.
    pub(super) fn new(incarnation: Incarnation, answerers: Answerers) -> Streams {
        Streams { incarnation, answerers }
    }
}

impl Speak for Streams {
    fn socket(&self) -> &'static str {
        SOCKET_NAME
    }

    fn connections_max(&self) -> usize {
        caps::CONNECTIONS_MAX
    }

    fn turn_away(&self, why: NoPlace) -> Vec<u8> {
        let why = match why {
            NoPlace::Closing => going_away(),
            NoPlace::Full(open) => {
                let message = format!("{open} connections are open already");
                failure(Code::Overloaded, &message, "close one, then try again")
            }
            NoPlace::Files(error) => {
                failure(Code::Overloaded, &format!("the holder is short of files: {error}"), "")
            }
        };
        StreamReply::Failed(why).encode()
    }

    /// Hello, then one request after the other.
    fn converse(
        &self,
        connection: &mut Connection,
        bell: &Arc<Bell>,
    ) -> Result<(), ConnectionError> {
        let wait = Duration::from_millis(caps::FRAME_WAIT_MS);
        let Some(frame) = connection.receive(BEFORE_HELLO, Some(wait))? else { return Ok(()) };
        let answer = greet(&frame.header, self.incarnation);
        connection.send(frame.correlation, &answer.encode(), &[])?;
        if matches!(answer, StreamReply::Failed(_)) {
            return Ok(());
        }
        let mut answerer = (self.answerers)();
        while let Some(frame) = connection.receive(AFTER_HELLO, None)? {
            let answered = match StreamRequest::decode(&frame.header) {
                Ok(StreamRequest::Hello { .. }) => {
                    refused(Code::BadRequest, "hello was said already", "")
                }
                Ok(request) => answerer.answer(request, frame.payload, bell),
                Err(error) => refused(Code::BadRequest, &error.to_string(), ""),
            };
            connection.send(frame.correlation, &answered.reply.encode(), &answered.payload)?;
            if bell.is_closed() {
                break;
            }
        }
        if bell.is_closed() {
            // Said after every answer: whatever else was asked was not carried out.
            let goodbye = StreamReply::Failed(going_away());
            connection.send(0, &goodbye.encode(), &[])?;
        }
        Ok(())
    }
}

fn going_away() -> Failure {
    failure(Code::Closing, "the holder of this directory is going away", "")
}

fn greet(header: &[u8], own: Incarnation) -> StreamReply {
    let failed =
        |code, message: &str, hint: &str| StreamReply::Failed(failure(code, message, hint));
    match StreamRequest::decode(header) {
        Ok(StreamRequest::Hello { version, .. }) if version != STREAM_VERSION => failed(
            Code::Version,
            &format!("the holder speaks version {STREAM_VERSION}, you speak {version}"),
            "use the same release of egret",
        ),
        Ok(StreamRequest::Hello { incarnation: Some(asked), .. }) if asked != own => failed(
            Code::Incarnation,
            &format!("this is directory {own}, not {asked}"),
            "somebody formatted it anew: begin anew",
        ),
        Ok(StreamRequest::Hello { .. }) => StreamReply::Hello {
            version: STREAM_VERSION,
            incarnation: own,
            pid: std::process::id(),
            payload_bytes_max: u32::try_from(caps::PAYLOAD_BYTES_MAX).unwrap_or(u32::MAX),
        },
        Ok(_) => failed(Code::BadRequest, "hello was not said yet", ""),
        Err(error) => failed(Code::BadRequest, &error.to_string(), ""),
    }
}

fn refused(code: Code, message: &str, hint: &str) -> Answered {
    StreamReply::Failed(failure(code, message, hint)).into()
}

fn failure(code: Code, message: &str, hint: &str) -> Failure {
    Failure {
        code,
        message: message.to_owned(),
        hint: hint.to_owned(),
        outcome: Outcome::Definite,
        position: None,
        retry_after_ms: 0,
    }
}
