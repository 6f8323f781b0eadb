//! Holding a data directory: one bookie, its metadata and its streams in this process.
//!
//! ```text
//! <dir>/LOCK        taken by the holder, with its process id in it
//! <dir>/bookie/     journal and extents
//! <dir>/meta.redb   streams, partitions, ledgers, commits
//! <dir>/egret.sock  where the holder serves other processes; gone when nobody holds it
//! <dir>/meta.sock   and bookie.sock: where it [shares](super::share) the directory whole
//! ```
//!
//! The lock outlives whatever may still write: it is let go when bookie and metadata store are closed,
//! or when the last handle to either is dropped. The sockets go first.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use egret_schemas::stream::{Code, StreamReply, StreamRequest};
use egret_schemas::{EntryId, Incarnation, LedgerId};

use super::Answerer;
use super::LOOK_EVERY;
use super::halves::{self, HalvesError};
use super::share::{self, Share};
use crate::bookie::{self, Bookie, BookieConfig, CheckpointError};
use crate::client::Ledgers;
use crate::clock::Wall;
use crate::disk::{DirLock, Disk, LockError, RealDisk, located};
use crate::message::{Reply, ReplyTo, Request, Transport, Wake};
use crate::metadata::{
    Compare, LeaseId, Listing, MetaError, MetaStore, Op, RedbMeta, TxnOutcome, Versioned, Watch,
};
use crate::rpc::{Bell, CallError, Client, ConnectError, ServeError, Server};
use crate::stream::Log;
use crate::stream::error::TruncateError;
use crate::stream::log::Shown;
use crate::stream::partition::Below;
use crate::{caps, clock};

/// How a data directory is held.
#[derive(Debug, Clone, Default)]
pub struct LogConfig {
    /// Whether other processes may attach through its socket.
    pub serve: bool,
    /// Whether they may [attach](Log::attach) to the whole log as well. This process then works like one of
    /// several: it looks for what others wrote, and never takes a partition for its own only because it holds
    /// the directory.
    pub shared: bool,
    /// Rung when another process needs the directory. With it this process has it only for a command,
    /// and closes the log then; without, it keeps it, and asks such a one for it.
    pub lent: Option<Arc<Bell>>,
    /// Whether it has to be there already: then nothing is made where it is not.
    pub existing: bool,
    /// The bookie's sizes and limits.
    pub bookie: BookieConfig,
    /// The disk the directory is on; the real one when absent. On another nobody is locked out.
    pub disk: Option<Arc<dyn Disk>>,
}

/// Why a data directory cannot be held.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It was to be there.
    #[error(
        "{dir}: there is no data directory: create a stream in it first, or name the one that is meant",
        dir = .dir.display()
    )]
    NoDirectory {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory cannot be made.
    #[error("{}", located(.dir, .source))]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Somebody else holds it.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// Its bookie.
    #[error(transparent)]
    Bookie(#[from] bookie::OpenError),
    /// One of them is missing, or of another directory.
    #[error(transparent)]
    Halves(#[from] HalvesError),
    /// Its metadata.
    #[error(transparent)]
    Metadata(#[from] MetaError),
    /// What a crash left half deleted could not be finished.
    #[error(transparent)]
    Streams(#[from] TruncateError),
    /// Its socket.
    #[error(transparent)]
    Serve(#[from] ServeError),
}

/// Why a log was not closed in order. Nothing acknowledged is lost by it.
#[derive(Debug, thiserror::Error)]
#[error("{dir}: the last checkpoint was not finished: {source}: the next start reads the journal instead", dir = .dir.display())]
pub struct LogCloseError {
    /// The directory.
    pub dir: PathBuf,
    /// What failed.
    pub source: CheckpointError,
}

impl Log {
    /// Holds `dir` and opens what is in it, creating it if need be, unless it has to be there already.
    pub fn open(dir: &Path, config: LogConfig) -> Result<Log, OpenError> {
        let told = |source| OpenError::Directory { dir: dir.to_owned(), source };
        let real = config.disk.is_none();
        let disk = config.disk.unwrap_or_else(|| Arc::new(RealDisk));
        let (place, file) = (dir.join("bookie"), dir.join("meta.redb"));
        // Before the lock, which is a file there, too.
        if config.existing && !halves::is_there(&*disk, &place, &file).map_err(told)? {
            return Err(OpenError::NoDirectory { dir: dir.to_owned() });
        }
        disk.create_dir(dir).map_err(told)?;
        let lent = config.lent;
        let lock = real.then(|| take(dir, lent.is_some())).transpose()?;
        let lock = Arc::new(Mutex::new(lock));
        let meta = halves::join(&*disk, &place, &file, config.bookie.shards)?;
        let bookie = Bookie::open(Arc::clone(&disk), &place, config.bookie)?;
        let incarnation = bookie.incarnation();
        let mut log = Log::assemble(
            Ledgers::on_one(
                Arc::new(Locked { what: bookie.clone(), _lock: Arc::clone(&lock) }),
                Arc::new(Locked { what: meta, _lock: Arc::clone(&lock) }),
            ),
            Some(Box::new(Held { dir: dir.to_owned(), bookie: bookie.clone(), lock })),
            Wall::default(),
        )?;
        if real {
            share::remove_stale(dir);
        }
        let share = if config.shared {
            log = log.with_others().map_err(told)?;
            // Made at random when the log was: no other holding has it.
            let life = Incarnation(log.ledgers().proposal().process);
            let store = Arc::clone(log.metadata());
            Some(Share::start(dir, bookie, store, life)?)
        } else {
            None
        };
        let server = if config.serve {
            let serving = log.clone();
            let answerers =
                Arc::new(move || Box::new(Answerer::new(&serving).lent(lent.clone())) as Box<_>);
            Some(Server::start(dir, incarnation, answerers)?)
        } else {
            None
        };
        let (server, share) = (Mutex::new(server), Mutex::new(share));
        Ok(log.shown_by(Arc::new(Served { dir: dir.to_owned(), server, share })))
    }
}

/// Takes the lock. Who keeps the directory has it from a holder that does not.
fn take(dir: &Path, lent: bool) -> Result<DirLock, LockError> {
    let (begun, mut promised) = (clock::now(), false);
    loop {
        let held = match RealDisk::lock(dir) {
            Err(held @ LockError::Held { .. }) if !lent => held,
            other => return other,
        };
        // One that is starting, or ending, is not found for a moment.
        let patience = match ask_for(dir) {
            Asked::Promised => {
                promised = true;
                caps::YIELD_WAIT_MS
            }
            Asked::Refused => return Err(held),
            Asked::Nobody if promised => caps::YIELD_WAIT_MS,
            Asked::Nobody => caps::YIELD_LOOK_MS,
        };
        if clock::now() >= begun + Duration::from_millis(patience) {
            return Err(held);
        }
        thread::sleep(LOOK_EVERY);
    }
}

enum Asked {
    Promised,
    Refused,
    Nobody,
}

/// Asks the holder to let go.
fn ask_for(dir: &Path) -> Asked {
    let wait = Duration::from_millis(caps::YIELD_WAIT_MS);
    let mut client = match Client::connect(dir, None) {
        Ok(client) => client,
        Err(ConnectError::Nobody { .. }) => return Asked::Nobody,
        Err(ConnectError::Refused { failure, .. }) if failure.code == Code::Closing => {
            return Asked::Nobody;
        }
        Err(_) => return Asked::Refused,
    };
    match client.call(&StreamRequest::Yield, &[], wait).map(|answered| answered.reply) {
        Ok(StreamReply::Done) => Asked::Promised,
        Ok(StreamReply::Failed(failure)) if failure.code == Code::Closing => Asked::Nobody,
        Err(CallError::Gone | CallError::NotSent(_)) => Asked::Nobody,
        _ => Asked::Refused,
    }
}

/// Opens a metadata store that stands alone in a file, creating it if need be. Its directory is locked
/// as long as the store is held: nobody else writes it meanwhile.
pub fn hold_metadata(file: &Path) -> Result<Arc<dyn MetaStore>, OpenError> {
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let told = |source| OpenError::Directory { dir: dir.to_owned(), source };
    RealDisk.create_dir(dir).map_err(told)?;
    let lock = Arc::new(Mutex::new(Some(RealDisk::lock(dir)?)));
    let what = RedbMeta::open(&RealDisk, &dir.join(file.file_name().unwrap_or_default()))?;
    Ok(Arc::new(Locked { what, _lock: lock }))
}

/// The sockets, if there are any.
#[derive(Debug)]
struct Served {
    dir: PathBuf,
    server: Mutex<Option<Server>>,
    share: Mutex<Option<Share>>,
}

impl Shown for Served {
    fn dir(&self) -> &Path {
        &self.dir
    }

    fn stop(&self) {
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(server) = server {
            server.close();
        }
        let share = self.share.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(share) = share {
            share.close();
        }
    }
}

/// The bookie to close, and the lock to let go of.
#[derive(Debug)]
struct Held {
    dir: PathBuf,
    bookie: Bookie,
    lock: SharedLock,
}

/// Empty when it was let go.
type SharedLock = Arc<Mutex<Option<DirLock>>>;

impl Below for Held {
    fn close(self: Box<Self>) -> Result<(), LogCloseError> {
        let Held { dir, bookie, lock } = *self;
        let closed = bookie.close();
        drop(lock.lock().unwrap_or_else(PoisonError::into_inner).take());
        closed.map_err(|source| LogCloseError { dir, source })
    }
}

/// Something that writes into the directory, and the lock that says it may.
#[derive(Debug)]
struct Locked<T> {
    what: T,
    /// Let go after `what`: fields are dropped in order.
    _lock: SharedLock,
}

impl Transport for Locked<Bookie> {
    fn send(&self, to: Incarnation, request: Request, reply: ReplyTo) {
        self.what.send(to, request, reply);
    }

    fn call(&self, to: Incarnation, request: Request) -> Reply {
        self.what.call(to, request)
    }

    fn incarnation(&self) -> Incarnation {
        self.what.incarnation()
    }

    fn watch_lac(&self, ledger: LedgerId, beyond: Option<EntryId>, wake: Wake) {
        self.what.watch_lac(ledger, beyond, wake);
    }
}

impl MetaStore for Locked<RedbMeta> {
    fn get(&self, key: &str) -> Result<Option<Versioned>, MetaError> {
        self.what.get(key)
    }

    fn list(&self, prefix: &str) -> Result<Listing, MetaError> {
        self.what.list(prefix)
    }

    fn txn(&self, compare: &[Compare], ops: &[Op]) -> Result<TxnOutcome, MetaError> {
        self.what.txn(compare, ops)
    }

    fn grant(&self, ttl_ms: u64) -> Result<LeaseId, MetaError> {
        self.what.grant(ttl_ms)
    }

    fn keep_alive(&self, lease: LeaseId) -> Result<u64, MetaError> {
        self.what.keep_alive(lease)
    }

    fn revoke(&self, lease: LeaseId) -> Result<(), MetaError> {
        self.what.revoke(lease)
    }

    fn watch(&self, prefix: &str, from_revision: u64) -> Result<Watch, MetaError> {
        self.what.watch(prefix, from_revision)
    }

    fn close(&self) {
        self.what.close();
    }
}
