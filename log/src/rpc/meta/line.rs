//! One connection to the holder's metadata: hello, then a request and its reply, one after the other.

use std::io;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use egret_schemas::Incarnation;
use egret_schemas::metadata::{
    METADATA_VERSION, MetaReason, MetaReply, MetaRequest, MetaTurnedAway, MetaWelcome,
};

use crate::rpc::connection::{Connection, ConnectionError};
use crate::rpc::frame::Limits;
use crate::rpc::socket::{self, META_SOCKET_NAME};
use crate::{caps, clock};

const LIMITS: Limits =
    Limits { header_bytes_max: caps::META_HEADER_BYTES_MAX, payload_bytes_max: 0 };

/// Between two tries to find a place where there is none.
const PAUSE: Duration = Duration::from_millis(10);

/// One connection on which hello was said.
#[derive(Debug)]
pub(super) struct Line {
    connection: Connection,
    last: u64,
}

/// Why there is no connection. Nothing was asked.
#[derive(Debug)]
pub(crate) enum NotOpened {
    /// Nobody listens.
    Nobody,
    /// The life that was meant is over, or ends.
    Ended,
    /// The holder speaks another version.
    Version(u16),
    /// The system says no.
    Socket(io::Error),
    /// Nobody answered, or there was no place, in time.
    Late {
        /// How long was waited.
        waited_ms: u64,
    },
    /// The holder turns everybody away, or is none.
    Refused(String),
}

/// Why a request has no reply.
#[derive(Debug)]
pub(super) enum NoReply {
    /// The holder said that it was not carried out, because it ends.
    Ended,
    /// The connection broke: it may have been carried out.
    Broke,
    /// The answer is none: it may have been carried out.
    Odd(String),
    /// No answer came in time.
    Late,
}

impl Line {
    /// Connects to whoever holds the metadata of `dir`, in this life if one is meant.
    pub(super) fn open(
        dir: &Path,
        life: Option<Incarnation>,
        wait: Duration,
    ) -> Result<(Line, MetaWelcome), NotOpened> {
        let until = clock::now() + wait;
        let waited_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        loop {
            match Line::try_open(dir, life, until) {
                Err(Try::Again) if clock::now() < until => thread::sleep(PAUSE),
                Err(Try::Again) => return Err(NotOpened::Late { waited_ms }),
                Err(Try::Not(why)) => return Err(why),
                Ok(opened) => return Ok(opened),
            }
        }
    }

    fn try_open(
        dir: &Path,
        life: Option<Incarnation>,
        until: Instant,
    ) -> Result<(Line, MetaWelcome), Try> {
        let stream = match socket::connect_now(dir, META_SOCKET_NAME) {
            Ok(stream) => stream,
            Err(error) if socket::is_nobody(&error) => return Err(NotOpened::Nobody.into()),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(Try::Again),
            Err(error) => return Err(NotOpened::Socket(error).into()),
        };
        let connection = Connection::new(stream).map_err(NotOpened::Socket)?;
        connection
            .sends_within(Duration::from_millis(caps::ATTACHED_WAIT_MS))
            .map_err(NotOpened::Socket)?;
        let mut line = Line { connection, last: 0 };
        let hello = MetaRequest::Hello { version: METADATA_VERSION, life };
        match line.ask(&hello, until) {
            Ok(MetaReply::Welcome(welcome)) if life.is_none_or(|life| life == welcome.life) => {
                Ok((line, welcome))
            }
            Ok(MetaReply::Welcome(_)) => Err(NotOpened::Ended.into()),
            Ok(MetaReply::TurnedAway(turned)) => Err(turned_away(turned)),
            Ok(_) => {
                let why = "it did not answer hello: use the same release of egret";
                Err(NotOpened::Refused(why.to_owned()).into())
            }
            Err(NoReply::Ended) => Err(NotOpened::Ended.into()),
            // It ended between being found and being spoken to, which shows at the next try, or it was short
            // of something for a moment.
            Err(NoReply::Broke) => Err(Try::Again),
            Err(NoReply::Odd(why)) => Err(NotOpened::Refused(why).into()),
            Err(NoReply::Late) => Err(Try::Again),
        }
    }

    /// Asks, and waits for the answer. After an error the connection is of no use.
    pub(super) fn ask(
        &mut self,
        request: &MetaRequest,
        until: Instant,
    ) -> Result<MetaReply, NoReply> {
        let sent = self.begin(request);
        // Whoever goes away says so and closes: that is worth reading even if nothing could be sent.
        match (sent, self.receive(Some(until.saturating_duration_since(clock::now())))) {
            (Err(_), Err(NoReply::Ended)) => Err(NoReply::Ended),
            (Err(_), _) => Err(NoReply::Broke),
            (Ok(()), answer) => answer,
        }
    }

    /// Asks without waiting.
    pub(super) fn begin(&mut self, request: &MetaRequest) -> Result<(), ConnectionError> {
        self.last += 1;
        self.connection.send(self.last, &request.encode(), &[])
    }

    /// Whether an answer, or the end, has come within `wait`.
    pub(super) fn is_ready(&self, wait: Duration) -> bool {
        self.connection.is_ready(wait).unwrap_or(true)
    }

    /// The answer to what was asked last, waited for so long.
    pub(super) fn receive(&mut self, wait: Option<Duration>) -> Result<MetaReply, NoReply> {
        let odd = |why: &dyn std::fmt::Display| NoReply::Odd(why.to_string());
        let frame = match self.connection.receive(LIMITS, wait) {
            Ok(Some(frame)) => frame,
            Ok(None) | Err(ConnectionError::Cut | ConnectionError::Io(_)) => {
                return Err(NoReply::Broke);
            }
            Err(ConnectionError::Deadline { .. }) => return Err(NoReply::Late),
            Err(error @ ConnectionError::Frame(_)) => return Err(odd(&error)),
        };
        match MetaReply::decode(&frame.header).map_err(|error| odd(&error))? {
            // Said of the connection: what was asked and has no answer was not carried out.
            MetaReply::TurnedAway(turned) if turned.reason == MetaReason::Closing => {
                Err(NoReply::Ended)
            }
            MetaReply::TurnedAway(turned) => Ok(MetaReply::TurnedAway(turned)),
            reply if frame.correlation == self.last => Ok(reply),
            _ => Err(odd(&"it answered out of turn: use the same release of egret")),
        }
    }
}

/// Why one try was in vain.
enum Try {
    Again,
    Not(NotOpened),
}

impl From<NotOpened> for Try {
    fn from(why: NotOpened) -> Try {
        Try::Not(why)
    }
}

fn turned_away(turned: MetaTurnedAway) -> Try {
    match turned.reason {
        MetaReason::Overloaded => Try::Again,
        MetaReason::Life | MetaReason::Closing => NotOpened::Ended.into(),
        MetaReason::Version => NotOpened::Version(turned.version).into(),
        MetaReason::BadRequest => NotOpened::Refused(turned.message).into(),
    }
}
