//! What lies below the streams, for a process that is attached: the metadata and the entries of ledgers.
//!
//! A command that looks after topologies works on a [`Log`] wherever that is. Over a data directory it is one
//! of the holder's: [`Attached`] is the holder's metadata store and bookie as far as such a command needs them,
//! [`answer`] is how the holder serves them. What may be written are the records of topologies and of who uses
//! streams; what may be read is everything.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use egret_schemas::bytes::Reader;
use egret_schemas::stream::{Below, Code, Failure, StreamReply, StreamRequest, ValueHead, Values};
use egret_schemas::{EntryId, Incarnation, LedgerId, Term};

use super::failure::{Told as _, failure, of_ledger_read};
use super::{Directory, DirectoryError};
use crate::caps;
use crate::client::Ledgers;
use crate::client::ReadError;
use crate::client::error::RecordError;
use crate::message::{Refusal, Reply, ReplyTo, Request, Transport, Unknown, Wake, entry_crc};
use crate::metadata::{
    Compare, LeaseId, Listing, MetaError, MetaStore, Op, TxnOutcome, Versioned, Watch,
};
use crate::outcome::Outcome;
use crate::rpc::Answered;
use crate::stream::Log;
use crate::stream::error::CatalogError;

/// What an attached process may write.
const WRITABLE: [&str; 3] = ["/topology/", "/users/", "/activity/"];

/// Carries out a request on the holder's log.
pub(super) fn answer(log: &Log, below: Below, payload: &Bytes) -> Result<Answered, Failure> {
    let meta = log.metadata();
    let told = |error: MetaError| {
        let outcome = match error.outcome() {
            Outcome::Definite => egret_schemas::stream::Outcome::Definite,
            Outcome::Unknown => egret_schemas::stream::Outcome::Unknown,
        };
        Failure { outcome, ..CatalogError::Meta(error).told() }
    };
    match below {
        Below::Get { key } => {
            let found = meta.get(&key).map_err(told)?;
            Ok(values(found.map(|held| (key, held)), false, 0))
        }
        Below::List { prefix, after } => {
            let Listing { entries, revision } = meta.list(&prefix).map_err(told)?;
            let mut rest = entries.into_iter().filter(|(key, _)| *key > after).peekable();
            let page: Vec<_> = rest.by_ref().take(caps::LIST_STREAMS_MAX as usize).collect();
            Ok(values(page, rest.peek().is_some(), revision))
        }
        Below::Write { compare, puts } => {
            let ops = ops(puts, payload)?;
            let compare: Vec<_> = compare.into_iter().map(compared).collect();
            let done = meta.txn(&compare, &ops).map_err(told)?;
            Ok(StreamReply::Written(match done {
                TxnOutcome::Committed { revision } => Some(revision),
                TxnOutcome::Conflict => None,
            })
            .into())
        }
        Below::Read { ledger, entry } => {
            let payload = log.ledgers().read_unconfirmed(ledger, entry).map_err(not_read)?;
            Ok(Answered { reply: StreamReply::Entry, payload })
        }
        Below::End { ledger } => {
            let end = log.ledgers().end(ledger).map_err(not_read)?;
            Ok(StreamReply::End(end.readable()).into())
        }
    }
}

fn values(
    found: impl IntoIterator<Item = (String, Versioned)>,
    more: bool,
    revision: u64,
) -> Answered {
    let (mut payload, mut heads) = (Vec::new(), Vec::new());
    for (key, Versioned { value, revision }) in found {
        let bytes = u32::try_from(value.len()).expect("a transaction takes 1 MiB");
        heads.push(ValueHead { key, revision, bytes });
        payload.extend_from_slice(&value);
    }
    let reply = StreamReply::Values(Values { values: heads, more, revision });
    Answered { reply, payload: payload.into() }
}

fn compared((key, revision): (String, u64)) -> Compare {
    if revision == 0 { Compare::Absent(key) } else { Compare::Revision(key, revision) }
}

/// What is to be written, if it may be.
fn ops(puts: Vec<(String, u32)>, payload: &Bytes) -> Result<Vec<Op>, Failure> {
    let mut rest = Reader::new(payload);
    let mut ops = Vec::new();
    for (key, bytes) in puts {
        if !WRITABLE.iter().any(|room| key.starts_with(room)) {
            let message = format!("{key} is not written by a process that is attached");
            return Err(failure(Code::Refused, message));
        }
        let value = rest.take(bytes as usize, "value");
        let value = value.map_err(|error| failure(Code::BadRequest, error))?;
        ops.push(Op::Put(key, value.to_vec()));
    }
    rest.end("values").map_err(|error| failure(Code::BadRequest, error))?;
    Ok(ops)
}

/// [`Code::Truncated`]: it is proven not to be there.
fn not_read(error: ReadError) -> Failure {
    let code = match &error {
        ReadError::Record(RecordError::NoLedger { .. }) | ReadError::Missing { .. } => {
            Code::Truncated
        }
        other => of_ledger_read(other),
    };
    failure(code, error)
}

/// A holder's metadata store and bookie, from another process.
pub struct Attached {
    dir: PathBuf,
    directory: Mutex<Directory>,
}

impl fmt::Debug for Attached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attached({})", self.dir.display())
    }
}

impl Attached {
    /// Over a directory, whoever holds it. With the log that works on it.
    pub fn over(directory: Directory) -> (Arc<Attached>, Log) {
        let dir = directory.dir.clone();
        let attached = Arc::new(Attached { dir, directory: Mutex::new(directory) });
        let ledgers = Ledgers::on_one(Arc::clone(&attached) as _, Arc::clone(&attached) as _);
        (attached, Log::looking(ledgers))
    }

    /// Lets go of the directory, when the log is not used any more.
    ///
    /// # Errors
    /// When it was held here, and not let go in order.
    pub fn close(self: Arc<Attached>) -> Result<(), DirectoryError> {
        match Arc::into_inner(self) {
            Some(only) => {
                only.directory.into_inner().unwrap_or_else(PoisonError::into_inner).close()
            }
            None => Ok(()),
        }
    }

    fn directory(&self) -> MutexGuard<'_, Directory> {
        self.directory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ask(&self, below: Below, payload: Bytes) -> Result<Answered, DirectoryError> {
        self.directory().below(StreamRequest::Below(below), payload)
    }

    fn at(&self) -> String {
        self.dir.display().to_string()
    }

    fn told(&self, error: &DirectoryError) -> MetaError {
        let why = error.to_string();
        match error.outcome() {
            egret_schemas::stream::Outcome::Definite => MetaError::Refused { why },
            egret_schemas::stream::Outcome::Unknown => {
                MetaError::Unreachable { at: self.at(), why }
            }
        }
    }

    fn odd(&self) -> MetaError {
        let odd = DirectoryError::Odd { dir: self.dir.clone() };
        MetaError::Refused { why: odd.to_string() }
    }

    fn nothing_else(&self) -> MetaError {
        let why = format!("{} is only attached to: hold it", self.at());
        MetaError::Refused { why }
    }

    /// Values, and whether there are more.
    fn values(&self, below: Below) -> Result<(Listing, bool), MetaError> {
        let answered = self.ask(below, Bytes::new()).map_err(|error| self.told(&error))?;
        let StreamReply::Values(Values { values, more, revision }) = answered.reply else {
            return Err(self.odd());
        };
        let mut rest = Reader::new(&answered.payload);
        let mut entries = Vec::new();
        for ValueHead { key, revision, bytes } in values {
            let value = rest.take(bytes as usize, "value").map_err(|_| self.odd())?;
            entries.push((key, Versioned { value: value.to_vec(), revision }));
        }
        Ok((Listing { entries, revision }, more))
    }

    fn read(&self, ledger: LedgerId, entry: EntryId) -> Reply {
        match self.ask(Below::Read { ledger, entry }, Bytes::new()) {
            Ok(Answered { reply: StreamReply::Entry, payload }) => {
                let crc = entry_crc(ledger, entry, &payload);
                Reply::Entry { entry, term: Term(0), crc, lac: None, payload }
            }
            Err(DirectoryError::Failed(failure)) if failure.code == Code::Truncated => {
                Reply::NoEntry { lac: None }
            }
            answer => self.lost(answer.err()),
        }
    }

    fn end(&self, ledger: LedgerId) -> Reply {
        match self.ask(Below::End { ledger }, Bytes::new()) {
            Ok(Answered { reply: StreamReply::End(lac), .. }) => Reply::Lac { lac, last: lac },
            Err(DirectoryError::Failed(failure)) if failure.code == Code::Truncated => {
                Reply::Refused(Refusal::NoLedger)
            }
            answer => self.lost(answer.err()),
        }
    }

    fn lost(&self, error: Option<DirectoryError>) -> Reply {
        let error = error.unwrap_or(DirectoryError::Odd { dir: self.dir.clone() });
        Reply::Unknown(Unknown::Unreachable { to: self.at(), why: error.to_string() })
    }
}

impl MetaStore for Attached {
    fn get(&self, key: &str) -> Result<Option<Versioned>, MetaError> {
        let (found, _) = self.values(Below::Get { key: key.to_owned() })?;
        Ok(found.into_iter().next().map(|(_, held)| held))
    }

    /// Page by page: at one revision each.
    fn list(&self, prefix: &str) -> Result<Listing, MetaError> {
        let mut entries: Vec<(String, Versioned)> = Vec::new();
        loop {
            let after = entries.last().map(|(key, _)| key.clone()).unwrap_or_default();
            let (page, more) = self.values(Below::List { prefix: prefix.to_owned(), after })?;
            let (some, revision) = (!page.entries.is_empty(), page.revision);
            entries.extend(page);
            if !(more && some) {
                return Ok(Listing { entries, revision });
            }
        }
    }

    fn txn(&self, compare: &[Compare], ops: &[Op]) -> Result<TxnOutcome, MetaError> {
        let compare = compare.iter().map(|compare| match compare {
            Compare::Absent(key) => (key.clone(), 0),
            Compare::Revision(key, revision) => (key.clone(), *revision),
        });
        let (mut puts, mut payload) = (Vec::new(), Vec::new());
        for op in ops {
            let Op::Put(key, value) = op else { return Err(self.nothing_else()) };
            let bytes = u32::try_from(value.len()).map_err(|_| self.nothing_else())?;
            puts.push((key.clone(), bytes));
            payload.extend_from_slice(value);
        }
        let write = Below::Write { compare: compare.collect(), puts };
        let answered = self.ask(write, payload.into()).map_err(|error| self.told(&error))?;
        match answered.reply {
            StreamReply::Written(Some(revision)) => Ok(TxnOutcome::Committed { revision }),
            StreamReply::Written(None) => Ok(TxnOutcome::Conflict),
            _ => Err(self.odd()),
        }
    }

    fn grant(&self, _: u64) -> Result<LeaseId, MetaError> {
        Err(self.nothing_else())
    }

    fn keep_alive(&self, _: LeaseId) -> Result<u64, MetaError> {
        Err(self.nothing_else())
    }

    fn revoke(&self, _: LeaseId) -> Result<(), MetaError> {
        Err(self.nothing_else())
    }

    fn watch(&self, _: &str, _: u64) -> Result<Watch, MetaError> {
        Err(self.nothing_else())
    }
}

impl Transport for Attached {
    fn send(&self, to: Incarnation, request: Request, reply: ReplyTo) {
        reply(self.call(to, request));
    }

    fn call(&self, _: Incarnation, request: Request) -> Reply {
        match request {
            Request::Read { ledger, entry, fence: None } => self.read(ledger, entry),
            Request::ReadLac { ledger } => self.end(ledger),
            _ => {
                let why = "it is only attached to: hold it".to_owned();
                Reply::Unknown(Unknown::Unreachable { to: self.at(), why })
            }
        }
    }

    fn incarnation(&self) -> Incarnation {
        Incarnation::default()
    }

    /// Nobody waits for what comes here.
    fn watch_lac(&self, _: LedgerId, _: Option<EntryId>, wake: Wake) {
        wake();
    }
}

#[cfg(test)]
#[path = "below_tests.rs"]
mod tests;
