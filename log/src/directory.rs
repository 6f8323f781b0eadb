//! A data directory, whoever holds it: one set of operations over the holder's socket or over the log
//! itself.
//!
//! [`Directory::open`] attaches to the process that holds the directory, or holds it when nobody does.
//! Either way a request goes through the same [`Answerer`]: in the holder's process behind its socket,
//! or here without one. So a command behaves the same while a topology runs and while none does.
//!
//! | module | holds |
//! |---|---|
//! | [`answerer`] | carries out requests on a [`Log`] |
//! | `hold` | [`Log::open`]: lock, bookie, metadata, socket |
//! | `share` | bookie and metadata on sockets, for processes that want the whole log |
//! | `attach` | [`Log::attach`]: the whole log in such a process |
//! | `halves` | that bookie and metadata belong together |
//! | `lent` | a directory held until somebody needs it |
//! | `append` | records to partitions, and what became of them |
//! | `read` | partitions to records, waiting for the next |
//! | `below` | metadata and entries, for commands that look after topologies |
//! | `last` | where the last so many records begin |
//! | `failure` | errors of the log as a client is told them |

pub mod answerer;
mod append;
mod attach;
#[cfg(test)]
mod attach_tests;
mod below;
mod failure;
mod halves;
mod hold;
mod last;
mod lent;
mod read;
mod share;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use egret_schemas::Position;
use egret_schemas::bytes::Reader;
use egret_schemas::records::RecordRef;
use egret_schemas::stream::{
    AppendHead, AppendedPart, BatchInfo, Below, Code, Failure, NewStream, Next, Outcome, ReadHead,
    StreamDescription, StreamInfo, StreamReply, StreamRequest,
};

pub use answerer::Answerer;
pub use attach::AttachError;
pub use below::Attached;
pub use halves::HalvesError;
pub use hold::{LogCloseError, LogConfig, OpenError, hold_metadata};

use self::lent::Lent;
use crate::disk::LockError;
use crate::rpc::{Answer, Answered, Bell, CallError, Client, ConnectError};
use crate::stream::Log;
use crate::{caps, clock};

/// How long to wait for a holder that is starting or ending.
const HOLDER_WAIT: Duration = Duration::from_secs(10);

/// How often to look meanwhile.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Holders that may go away under one request before it is given up.
const HOLDERS_MAX: u32 = 5;

/// A data directory, held or attached to.
#[derive(Debug)]
pub struct Directory {
    dir: PathBuf,
    way: Way,
    /// Whether another holder is found, or its place taken, where one goes away.
    lasts: bool,
}

#[derive(Debug)]
enum Way {
    /// This process holds it, until somebody needs it.
    Held(Lent),
    /// Another one does.
    Attached(Client),
    /// It is no directory: a cluster's log, used by this process.
    Over(Box<Over>),
}

#[derive(Debug)]
struct Over {
    answerer: Answerer,
    bell: Arc<Bell>,
    log: Log,
    /// Dropped last.
    keep: Box<dyn Keep>,
}

/// What lasts as long as a log that needs it.
pub trait Keep: std::fmt::Debug + Send {}

impl<T: std::fmt::Debug + Send> Keep for T {}

impl Way {
    /// Attaches, or holds; waits for a holder that is starting or ending. Who just `yielded` leaves the
    /// directory to the other for a while. One that has to be there already is not made.
    fn find(dir: &Path, yielded: bool, existing: bool) -> Result<Way, DirectoryError> {
        let deadline = clock::now() + HOLDER_WAIT;
        let only_attach = Duration::from_millis(if yielded { caps::YIELDED_MS } else { 0 });
        let only_attach = clock::now() + only_attach;
        loop {
            match Client::connect(dir, None) {
                Ok(client) => return Ok(Way::Attached(client)),
                Err(ConnectError::Nobody { .. }) => {}
                Err(ConnectError::Refused { failure, .. }) if failure.code == Code::Closing => {}
                Err(other) => return Err(other.into()),
            }
            if clock::now() < only_attach {
                thread::sleep(LOOK_EVERY);
                continue;
            }
            let asked = Arc::new(Bell::default());
            let lent = Some(Arc::clone(&asked));
            let config = LogConfig { serve: true, lent, existing, ..LogConfig::default() };
            match Log::open(dir, config) {
                Ok(log) => return Ok(Way::Held(Lent::new(log, asked))),
                // It is about to serve, or to let go, or it never will.
                Err(OpenError::Lock(LockError::Held { pid, .. })) => {
                    if clock::now() >= deadline {
                        return Err(DirectoryError::NotServed { dir: dir.to_owned(), pid });
                    }
                    thread::sleep(LOOK_EVERY);
                }
                Err(other) => return Err(other.into()),
            }
        }
    }
}

/// Why something could not be done with a data directory.
#[derive(Debug, thiserror::Error)]
pub enum DirectoryError {
    /// It cannot be held.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It was not let go in order.
    #[error(transparent)]
    Close(#[from] LogCloseError),
    /// Its holder cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// Somebody holds it and does not serve it.
    #[error(
        "{dir}: {holder} holds this directory and does not serve it: end it first, or try again later",
        dir = .dir.display(),
        holder = match pid { Some(pid) => format!("process {pid}"), None => "another process".into() }
    )]
    NotServed {
        /// The directory.
        dir: PathBuf,
        /// Who holds it, if it said.
        pid: Option<u32>,
    },
    /// Its holder did not answer. What was asked may have been done.
    #[error("{dir}: {source}", dir = .dir.display())]
    Call {
        /// The directory.
        dir: PathBuf,
        /// What went wrong.
        source: CallError,
    },
    /// The answer is no.
    #[error(transparent)]
    Failed(#[from] Failure),
    /// The answer belongs to another question.
    #[error("{dir}: its holder gave an answer of another kind: use the same release of egret", dir = .dir.display())]
    Odd {
        /// The directory.
        dir: PathBuf,
    },
}

impl DirectoryError {
    /// Whether it was refused: nothing was done, and the same question gets the same answer.
    pub fn is_refusal(&self) -> bool {
        match self {
            DirectoryError::Failed(failure) => {
                let here = matches!(failure.code, Code::Internal | Code::Damaged | Code::Closing);
                failure.outcome == Outcome::Definite && !here
            }
            DirectoryError::NotServed { .. } => true,
            DirectoryError::Connect(error) => matches!(error, ConnectError::Refused { .. }),
            _ => false,
        }
    }

    /// Whether the holder went away, so that another may be found, or its place be taken.
    fn holder_is_gone(&self) -> bool {
        match self {
            DirectoryError::Call { source, .. } => {
                !matches!(source, CallError::Reply(_) | CallError::OutOfOrder { .. })
            }
            DirectoryError::Failed(failure) => failure.code == Code::Closing,
            _ => false,
        }
    }

    /// Whether what was asked may have been done.
    pub fn outcome(&self) -> Outcome {
        match self {
            DirectoryError::Call { source: CallError::NotSent(_), .. } => Outcome::Definite,
            DirectoryError::Call { .. } | DirectoryError::Odd { .. } => Outcome::Unknown,
            DirectoryError::Failed(failure) => failure.outcome,
            _ => Outcome::Definite,
        }
    }
}

/// What an append did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Appended {
    /// What is durable, by partition.
    pub parts: Vec<AppendedPart>,
    /// Why the rest is not, or may not be.
    pub failure: Option<Failure>,
}

/// What a read found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// The batches, in the order of their records in the payload.
    pub batches: Vec<BatchInfo>,
    /// Where to read on, for each place asked for.
    pub next: Vec<Next>,
    /// The records; see [`egret_schemas::records`].
    pub payload: Bytes,
}

impl Directory {
    /// Attaches to the holder of `dir`, or holds it, creating it if need be.
    pub fn open(dir: &Path) -> Result<Directory, DirectoryError> {
        Ok(Directory { dir: dir.to_owned(), way: Way::find(dir, false, false)?, lasts: true })
    }

    /// As [`open`](Directory::open), of one that is there; where none is, nothing is made.
    ///
    /// # Errors
    /// [`OpenError::NoDirectory`] when there is none.
    pub fn open_existing(dir: &Path) -> Result<Directory, DirectoryError> {
        Ok(Directory { dir: dir.to_owned(), way: Way::find(dir, false, true)?, lasts: true })
    }

    /// Attaches to whoever holds `dir`, and to nobody else: once that one goes away, everything is an error.
    /// `None` when nobody holds it, or who does is starting or ending.
    ///
    /// # Errors
    /// When its holder cannot be reached.
    pub fn beside(dir: &Path) -> Result<Option<Directory>, DirectoryError> {
        match Client::connect(dir, None) {
            Ok(client) => {
                let (dir, way) = (dir.to_owned(), Way::Attached(client));
                Ok(Some(Directory { dir, way, lasts: false }))
            }
            Err(ConnectError::Nobody { .. }) => Ok(None),
            Err(ConnectError::Refused { failure, .. }) if failure.code == Code::Closing => Ok(None),
            Err(other) => Err(other.into()),
        }
    }

    /// The same over a log that is in no directory: a cluster's. `name` is what errors call it, `keep`
    /// what must last as long as the log.
    pub fn over(name: &Path, log: Log, keep: Box<dyn Keep>) -> Directory {
        let answerer = Answerer::new(&log);
        let over = Over { answerer, bell: Arc::default(), log, keep };
        Directory { dir: name.to_owned(), way: Way::Over(Box::new(over)), lasts: true }
    }

    /// Whether this process holds it.
    pub fn is_held(&self) -> bool {
        matches!(self.way, Way::Held(_))
    }

    /// Creates a stream.
    pub fn create_stream(&mut self, new: NewStream) -> Result<StreamInfo, DirectoryError> {
        match self.ask(StreamRequest::CreateStream(new))?.reply {
            StreamReply::Stream(info) => Ok(info),
            _ => Err(self.odd()),
        }
    }

    /// Every stream, in the order of names.
    pub fn streams(&mut self) -> Result<Vec<StreamInfo>, DirectoryError> {
        let mut all: Vec<StreamInfo> = Vec::new();
        loop {
            let after = all.last().map(|info| info.name.clone()).unwrap_or_default();
            let limit = caps::LIST_STREAMS_MAX;
            match self.ask(StreamRequest::ListStreams { after, limit })?.reply {
                StreamReply::Streams { streams, more } => {
                    let some = !streams.is_empty();
                    all.extend(streams);
                    if !(more && some) {
                        return Ok(all);
                    }
                }
                _ => return Err(self.odd()),
            }
        }
    }

    /// A stream, whether its partitions can be looked into or not.
    pub fn stream(&mut self, name: &str) -> Result<StreamInfo, DirectoryError> {
        // Behind every name that comes before all that begin like this one.
        let mut after = name.to_owned();
        after.pop();
        loop {
            let request = StreamRequest::ListStreams { after, limit: caps::LIST_STREAMS_MAX };
            let StreamReply::Streams { streams, more } = self.ask(request)?.reply else {
                return Err(self.odd());
            };
            let last = streams.last().map(|info| info.name.clone());
            if let Some(found) = streams.into_iter().find(|info| info.name == name) {
                return Ok(found);
            }
            match last {
                Some(last) if more && *last < *name => after = last,
                // The description says that there is none.
                _ => return Ok(self.describe(name)?.info),
            }
        }
    }

    /// A stream and its partitions.
    pub fn describe(&mut self, name: &str) -> Result<StreamDescription, DirectoryError> {
        match self.ask(StreamRequest::DescribeStream { name: name.to_owned() })?.reply {
            StreamReply::Description(description) => Ok(description),
            _ => Err(self.odd()),
        }
    }

    /// Appends the records in the payload. An `Ok` may say that some are not durable.
    pub fn append(&mut self, head: AppendHead, payload: Bytes) -> Result<Appended, DirectoryError> {
        match self.call(StreamRequest::Append(head), payload, Duration::ZERO)?.reply {
            StreamReply::Appended { parts, failure } => Ok(Appended { parts, failure }),
            _ => Err(self.odd()),
        }
    }

    /// Reads, waiting for the first batch when asked to.
    pub fn read(&mut self, head: ReadHead) -> Result<Read, DirectoryError> {
        let wait = Duration::from_millis(u64::from(head.wait_ms));
        let Answered { reply, payload } =
            self.call(StreamRequest::Read(head), Bytes::new(), wait)?;
        match reply {
            StreamReply::Batches { batches, next } => Ok(Read { batches, next, payload }),
            _ => Err(self.odd()),
        }
    }

    /// Forgets what is before a position; what a topology may yet read only by `force`.
    pub fn truncate(
        &mut self,
        stream: &str,
        partition: u32,
        before: Position,
        force: bool,
    ) -> Result<(), DirectoryError> {
        let stream = stream.to_owned();
        match self.ask(StreamRequest::Truncate { stream, partition, before, force })?.reply {
            StreamReply::Done => Ok(()),
            _ => Err(self.odd()),
        }
    }

    /// Deletes a stream and all it holds; one that a topology uses only by `force`.
    pub fn delete_stream(&mut self, name: &str, force: bool) -> Result<(), DirectoryError> {
        match self.ask(StreamRequest::DeleteStream { name: name.to_owned(), force })?.reply {
            StreamReply::Done => Ok(()),
            _ => Err(self.odd()),
        }
    }

    /// Lets go of it, in order.
    pub fn close(self) -> Result<(), DirectoryError> {
        match self.way {
            Way::Held(lent) => Ok(lent.close()?),
            Way::Attached(_) => Ok(()),
            Way::Over(over) => {
                let Over { answerer, log, keep, .. } = *over;
                drop(answerer);
                let closed = log.close();
                drop(keep);
                Ok(closed?)
            }
        }
    }

    fn below(
        &mut self,
        request: StreamRequest,
        payload: Bytes,
    ) -> Result<Answered, DirectoryError> {
        self.call(request, payload, Duration::ZERO)
    }

    fn ask(&mut self, request: StreamRequest) -> Result<Answered, DirectoryError> {
        self.call(request, Bytes::new(), Duration::ZERO)
    }

    /// Asks, and asks the next holder where nothing was done or asking again does no harm.
    fn call(
        &mut self,
        request: StreamRequest,
        payload: Bytes,
        wait: Duration,
    ) -> Result<Answered, DirectoryError> {
        let others = if self.lasts { HOLDERS_MAX } else { 1 };
        for _ in 1..others {
            match self.call_once(request.clone(), payload.clone(), wait) {
                Err(error) if error.holder_is_gone() && may_repeat(&error, &request, &payload) => {
                    let yielded = self.is_held();
                    // It was there: if it is not any more, another would be a stranger.
                    self.way = Way::find(&self.dir, yielded, true)?;
                }
                done => return done,
            }
        }
        self.call_once(request, payload, wait)
    }

    fn call_once(
        &mut self,
        request: StreamRequest,
        payload: Bytes,
        wait: Duration,
    ) -> Result<Answered, DirectoryError> {
        let answered = match &mut self.way {
            Way::Held(lent) => lent.answer(request, payload),
            Way::Over(over) => over.answerer.answer(request, payload, &over.bell),
            Way::Attached(client) => {
                let wait = wait + Duration::from_millis(caps::REPLY_WAIT_MS);
                let dir = &self.dir;
                client
                    .call(&request, &payload, wait)
                    .map_err(|source| DirectoryError::Call { dir: dir.clone(), source })?
            }
        };
        match answered.reply {
            StreamReply::Failed(failure) => Err(failure.into()),
            _ => Ok(answered),
        }
    }

    fn odd(&self) -> DirectoryError {
        DirectoryError::Odd { dir: self.dir.clone() }
    }
}

/// Whether asking again cannot do a thing twice.
fn may_repeat(error: &DirectoryError, request: &StreamRequest, payload: &Bytes) -> bool {
    if error.outcome() == Outcome::Definite {
        return true;
    }
    match request {
        StreamRequest::ListStreams { .. }
        | StreamRequest::DescribeStream { .. }
        | StreamRequest::Read(_) => true,
        StreamRequest::Below(below) => !matches!(below, Below::Write { .. }),
        StreamRequest::Append(head) => !head.producer.is_empty() && all_numbered(head, payload),
        _ => false,
    }
}

/// Whether each record has a sequence, by which it is known again.
fn all_numbered(head: &AppendHead, payload: &Bytes) -> bool {
    let mut records = Reader::new(payload);
    (0..head.records)
        .all(|_| RecordRef::take(&mut records).is_ok_and(|record| record.sequence.is_some()))
}
