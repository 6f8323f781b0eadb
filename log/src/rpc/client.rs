//! Attaches to a data directory that another process holds.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use egret_schemas::Incarnation;
use egret_schemas::stream::{Failure, HeaderError, STREAM_VERSION, StreamReply, StreamRequest};

use super::connection::{Connection, ConnectionError};
use super::frame::Limits;
use super::socket::SOCKET_NAME;
use super::{Answered, socket};
use crate::caps;

const LIMITS: Limits =
    Limits { header_bytes_max: caps::HEADER_BYTES_MAX, payload_bytes_max: caps::PAYLOAD_BYTES_MAX };

/// Why nobody could be attached to.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// Nobody holds the directory, or its holder does not serve it.
    #[error("{dir}: nobody serves this directory", dir = .dir.display())]
    Nobody {
        /// The directory.
        dir: PathBuf,
    },
    /// The socket says no.
    #[error("{dir}: its holder cannot be reached: {source}", dir = .dir.display())]
    Socket {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Its holder does not answer as it should.
    #[error("{dir}: its holder: {source}", dir = .dir.display())]
    Hello {
        /// The directory.
        dir: PathBuf,
        /// What went wrong.
        source: CallError,
    },
    /// Its holder refuses.
    #[error("{dir}: its holder refuses: {failure}", dir = .dir.display())]
    Refused {
        /// The directory.
        dir: PathBuf,
        /// Why.
        failure: Failure,
    },
}

/// Why a request has no reply. It may have been carried out, unless it was [`NotSent`](CallError::NotSent).
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    /// The connection broke.
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    /// The connection was closed before the request was through. Only whole requests are carried out,
    /// so this one was not.
    #[error("the request was not sent: {0}")]
    NotSent(ConnectionError),
    /// The holder went away.
    #[error(
        "the holder of the directory went away before it answered: look what is there, then try again"
    )]
    Gone,
    /// The reply is none.
    #[error(transparent)]
    Reply(#[from] HeaderError),
    /// The reply is to another request.
    #[error("reply {got} came where {expected} was expected: connect again")]
    OutOfOrder {
        /// The reply's number.
        got: u64,
        /// The request's number.
        expected: u64,
    },
}

/// A connection to the holder of a data directory.
#[derive(Debug)]
pub struct Client {
    connection: Connection,
    last: u64,
    incarnation: Incarnation,
    pid: u32,
}

impl Client {
    /// Connects to whoever holds `dir` and says hello.
    pub fn connect(dir: &Path, expected: Option<Incarnation>) -> Result<Client, ConnectError> {
        let dir = || dir.to_owned();
        let wait = Duration::from_millis(caps::FRAME_WAIT_MS);
        let stream =
            socket::connect(&dir(), SOCKET_NAME, wait).map_err(
                |source| match socket::is_nobody(&source) {
                    true => ConnectError::Nobody { dir: dir() },
                    false => ConnectError::Socket { dir: dir(), source },
                },
            )?;
        let connection = Connection::new(stream)
            .map_err(|source| ConnectError::Socket { dir: dir(), source })?;
        let mut client =
            Client { connection, last: 0, incarnation: Incarnation::default(), pid: 0 };
        let hello = StreamRequest::Hello { version: STREAM_VERSION, incarnation: expected };
        match client.call(&hello, &[], wait) {
            Ok(Answered { reply: StreamReply::Hello { incarnation, pid, .. }, .. }) => {
                Ok(Client { incarnation, pid, ..client })
            }
            Ok(Answered { reply: StreamReply::Failed(failure), .. }) => {
                Err(ConnectError::Refused { dir: dir(), failure })
            }
            Ok(Answered { reply, .. }) => {
                let odd = HeaderError(format!("{reply:?} is no answer to hello"));
                Err(ConnectError::Hello { dir: dir(), source: odd.into() })
            }
            // It closed between being found and being spoken to.
            Err(CallError::Gone | CallError::NotSent(_)) => {
                Err(ConnectError::Nobody { dir: dir() })
            }
            Err(source) => Err(ConnectError::Hello { dir: dir(), source }),
        }
    }

    /// The life of the directory this is connected to.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The process that holds it.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Asks one thing, and waits up to `wait` for the answer to begin. After an error, connect anew.
    pub fn call(
        &mut self,
        request: &StreamRequest,
        payload: &[u8],
        wait: Duration,
    ) -> Result<Answered, CallError> {
        self.last += 1;
        let expected = self.last;
        let sent = self.connection.send(expected, &request.encode(), payload);
        // Who refuses a connection says why and closes: that is worth reading even if nothing could
        // be sent any more.
        let frame = match (sent, self.connection.receive(LIMITS, Some(wait))) {
            (_, Ok(Some(frame))) => frame,
            (Err(error), _) => return Err(CallError::NotSent(error)),
            (Ok(()), Ok(None)) => return Err(CallError::Gone),
            (Ok(()), Err(error)) if is_gone(&error) => return Err(CallError::Gone),
            (Ok(()), Err(error)) => return Err(error.into()),
        };
        let reply = StreamReply::decode(&frame.header)?;
        let about_the_connection =
            frame.correlation == 0 && matches!(reply, StreamReply::Failed(_));
        if frame.correlation != expected && !about_the_connection {
            return Err(CallError::OutOfOrder { got: frame.correlation, expected });
        }
        Ok(Answered { reply, payload: frame.payload })
    }
}

fn is_gone(error: &ConnectionError) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionReset};
    matches!(error, ConnectionError::Cut)
        || matches!(error, ConnectionError::Io(e) if matches!(e.kind(), BrokenPipe | ConnectionReset))
}
