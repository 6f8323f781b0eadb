//! The metadata of a data directory that another process holds, as a store in this one.
//!
//! A request takes a connection that is idle, or opens one; when so many requests are under way it waits for
//! one of them. A watch has a connection of its own.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use egret_schemas::Incarnation;
use egret_schemas::metadata::{MetaReply, MetaRequest, MetaWelcome};

use super::convert;
use super::line::{Line, NoReply, NotOpened};
use super::watch::AttachedWatch;
use crate::metadata::{
    Compare, LeaseId, Listing, MetaError, MetaStore, Op, TxnOutcome, Versioned, Watch, check_txn,
};
use crate::{caps, clock};

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct AttachedMeta {
    holder: Arc<Holder>,
}

/// Whom requests go to.
#[derive(Debug)]
pub(super) struct Holder {
    dir: PathBuf,
    life: Incarnation,
    /// How long a request may take.
    wait: Duration,
    lines: Mutex<Lines>,
    /// One came back, or there is room for another.
    back: Condvar,
    closed: AtomicBool,
}

#[derive(Debug, Default)]
struct Lines {
    idle: Vec<Line>,
    /// Those in use.
    used: usize,
}

impl AttachedMeta {
    /// Attaches to whoever holds the metadata of `dir`. A request takes so long at most.
    pub(crate) fn attach(
        dir: &Path,
        wait: Duration,
    ) -> Result<(AttachedMeta, MetaWelcome), NotOpened> {
        let (line, welcome) = Line::open(dir, None, wait)?;
        let lines = Lines { idle: vec![line], used: 0 };
        let holder = Holder {
            dir: dir.to_owned(),
            life: welcome.life,
            wait,
            lines: Mutex::new(lines),
            back: Condvar::new(),
            closed: AtomicBool::new(false),
        };
        Ok((AttachedMeta { holder: Arc::new(holder) }, welcome))
    }

    fn ask(&self, request: &MetaRequest) -> Result<MetaReply, MetaError> {
        self.holder.with_line(|line, until| self.holder.ask(line, request, until))
    }
}

impl Holder {
    /// What errors call it.
    fn at(&self) -> String {
        self.dir.display().to_string()
    }

    pub(super) fn wait(&self) -> Duration {
        self.wait
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// A connection to this very life.
    pub(super) fn open(&self, wait: Duration) -> Result<Line, MetaError> {
        match Line::open(&self.dir, Some(self.life), wait) {
            Ok((line, _)) => Ok(line),
            Err(NotOpened::Nobody | NotOpened::Ended) => Err(self.gone()),
            Err(NotOpened::Late { waited_ms }) => {
                Err(MetaError::Timeout { at: self.at(), waited_ms })
            }
            Err(NotOpened::Socket(why)) => {
                Err(MetaError::Unreachable { at: self.at(), why: why.to_string() })
            }
            Err(NotOpened::Refused(why)) => Err(MetaError::Refused { why }),
            Err(NotOpened::Version(version)) => {
                let why = format!("it speaks version {version}: use the same release of egret");
                Err(MetaError::Refused { why })
            }
        }
    }

    fn gone(&self) -> MetaError {
        MetaError::Gone { at: self.at() }
    }

    /// Asks on a connection. After an error it is of no use.
    pub(super) fn ask(
        &self,
        line: &mut Line,
        request: &MetaRequest,
        until: Instant,
    ) -> Result<MetaReply, MetaError> {
        line.ask(request, until).map_err(|why| self.error(why))
    }

    pub(super) fn error(&self, why: NoReply) -> MetaError {
        let at = self.at();
        match why {
            NoReply::Ended => self.gone(),
            NoReply::Broke => {
                let why = "its holder went away before it answered".to_owned();
                MetaError::Unreachable { at, why }
            }
            NoReply::Odd(why) => MetaError::Unreachable { at, why },
            NoReply::Late => {
                let waited_ms = u64::try_from(self.wait.as_millis()).unwrap_or(u64::MAX);
                MetaError::Timeout { at, waited_ms }
            }
        }
    }

    /// What stands for an answer of another kind than was asked for.
    pub(super) fn odd(&self, reply: MetaReply) -> MetaError {
        match reply {
            MetaReply::Failed(failure) => match convert::error_in(failure) {
                // It is the holder that closed its store: it ends.
                MetaError::Closed => self.gone(),
                error => error,
            },
            MetaReply::TurnedAway(turned) => MetaError::Refused { why: turned.message },
            _ => {
                let why = "it gave an answer of another kind: use the same release of egret";
                MetaError::Unreachable { at: self.at(), why: why.to_owned() }
            }
        }
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does something with a connection, which comes back if it went well.
    fn with_line<T>(
        &self,
        deed: impl FnOnce(&mut Line, Instant) -> Result<T, MetaError>,
    ) -> Result<T, MetaError> {
        let until = clock::now() + self.wait;
        let (_place, idle) = self.take_place(until)?;
        let mut line = match idle {
            Some(line) => line,
            None => self.open(until.saturating_duration_since(clock::now()))?,
        };
        let done = deed(&mut line, until)?;
        let mut lines = self.lines();
        if !self.is_closed() {
            lines.idle.push(line);
        }
        Ok(done)
    }

    /// A place among the requests under way, with an idle connection if there is a good one.
    fn take_place(&self, until: Instant) -> Result<(Place<'_>, Option<Line>), MetaError> {
        let mut lines = self.lines();
        loop {
            if self.is_closed() {
                return Err(MetaError::Closed);
            }
            if lines.used < caps::META_REQUESTS_MAX {
                break;
            }
            let left = until.saturating_duration_since(clock::now());
            if left.is_zero() {
                return Err(self.error(NoReply::Late));
            }
            let waited = self.back.wait_timeout(lines, left);
            lines = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        lines.used += 1;
        // One on which something came while nothing was asked was closed by the holder.
        let mut idle = None;
        while let Some(line) = lines.idle.pop() {
            if !line.is_ready(Duration::ZERO) {
                idle = Some(line);
                break;
            }
        }
        drop(lines);
        Ok((Place { holder: self }, idle))
    }
}

/// A place among the requests under way, given back when dropped.
struct Place<'a> {
    holder: &'a Holder,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.holder.lines().used -= 1;
        self.holder.back.notify_one();
    }
}

/// Refuses what no store has a key for, and no header room.
fn check_key(key: &str) -> Result<(), MetaError> {
    if key.len() <= caps::META_KEY_BYTES_MAX {
        return Ok(());
    }
    let what = format!("a key of {} bytes", key.len());
    Err(MetaError::TooLarge { what, max: caps::META_KEY_BYTES_MAX })
}

impl MetaStore for AttachedMeta {
    fn get(&self, key: &str) -> Result<Option<Versioned>, MetaError> {
        check_key(key)?;
        match self.ask(&MetaRequest::Get { key: key.to_owned() })? {
            MetaReply::Value { value, revision } => Ok(Some(Versioned { value, revision })),
            MetaReply::NoValue => Ok(None),
            other => Err(self.holder.odd(other)),
        }
    }

    fn list(&self, prefix: &str) -> Result<Listing, MetaError> {
        check_key(prefix)?;
        self.holder.with_line(|line, until| {
            let mut request = MetaRequest::List { prefix: prefix.to_owned() };
            let (mut until, mut entries) = (until, Vec::new());
            loop {
                match self.holder.ask(line, &request, until)? {
                    MetaReply::Page(page) => {
                        let some = !page.entries.is_empty();
                        entries.extend(page.entries.into_iter().map(convert::entry_in));
                        if !(page.more && some) {
                            return Ok(Listing { entries, revision: page.revision });
                        }
                    }
                    other => return Err(self.holder.odd(other)),
                }
                // Each page has the time of a request.
                until = clock::now() + self.holder.wait;
                request = MetaRequest::More;
            }
        })
    }

    fn txn(&self, compare: &[Compare], ops: &[Op]) -> Result<TxnOutcome, MetaError> {
        check_txn(compare, ops)?;
        let compare = compare.iter().map(convert::compare_out).collect();
        let ops = ops.iter().map(convert::op_out).collect();
        match self.ask(&MetaRequest::Txn { compare, ops })? {
            MetaReply::Committed { revision } => Ok(TxnOutcome::Committed { revision }),
            MetaReply::Conflict => Ok(TxnOutcome::Conflict),
            other => Err(self.holder.odd(other)),
        }
    }

    fn grant(&self, ttl_ms: u64) -> Result<LeaseId, MetaError> {
        match self.ask(&MetaRequest::Grant { ttl_ms })? {
            MetaReply::Lease { lease } => Ok(LeaseId(lease)),
            other => Err(self.holder.odd(other)),
        }
    }

    fn keep_alive(&self, lease: LeaseId) -> Result<u64, MetaError> {
        match self.ask(&MetaRequest::KeepAlive { lease: lease.0 })? {
            MetaReply::Alive { ttl_ms } => Ok(ttl_ms),
            other => Err(self.holder.odd(other)),
        }
    }

    fn revoke(&self, lease: LeaseId) -> Result<(), MetaError> {
        match self.ask(&MetaRequest::Revoke { lease: lease.0 })? {
            MetaReply::Done => Ok(()),
            other => Err(self.holder.odd(other)),
        }
    }

    fn watch(&self, prefix: &str, from_revision: u64) -> Result<Watch, MetaError> {
        check_key(prefix)?;
        if self.holder.is_closed() {
            return Err(MetaError::Closed);
        }
        let holder = Arc::clone(&self.holder);
        let watch = AttachedWatch::start(holder, prefix.to_owned(), from_revision)?;
        Ok(Watch::new(Box::new(watch)))
    }

    /// Closes this side of it. The holder goes on.
    fn close(&self) {
        self.holder.closed.store(true, Ordering::Release);
        self.holder.lines().idle.clear();
        self.holder.back.notify_all();
    }
}
