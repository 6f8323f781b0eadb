//! One storage node: ledgers' entries, durable before they are acknowledged.
//!
//! A [`Bookie`] holds a directory: who it is ([`identity`]) and its shards, each a journal of everything it
//! was told and extents with the entries the journal no longer keeps. It answers [`Request`]s; it knows nothing of quorums, of
//! other bookies or of what the entries mean.
//!
//! What always holds:
//! * Nothing is acknowledged before it is synced. After a failed write or sync nothing is written again.
//! * A term once answered for is never forgotten: lower ones are refused for ever.
//! * What is read was checked against the checksum its client computed; what is damaged is answered as
//!   damaged, never as absent; what may have been lost is answered as unknown.
//!
//! The journal is in `journal`, group commit and the judging of requests in `shard`, what one copy
//! cannot tell in `docs/002-what-a-flipped-byte-can-do.md`, what is known to have been lost in `limbo`.

pub(crate) mod cache;
pub mod config;
pub mod damage;
pub mod damaged;
pub mod extent;
pub mod identity;
pub(crate) mod index;
pub(crate) mod journal;
pub(crate) mod limbo;
pub mod manifest;
pub(crate) mod open;
mod pace;
mod read_only;
pub(crate) mod scrub;
pub(crate) mod shard;
mod shards;
pub mod starts;
pub mod stats;
pub(crate) mod term_table;
mod whole_file;

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use egret_schemas::{EntryId, Incarnation, LedgerId};

pub use self::config::BookieConfig;
pub use self::damage::Damage;
use self::damage::FileError;
pub use self::damaged::DamagedPlace;
use self::identity::Identity;
pub use self::open::OpenError;
use self::shard::Shard;
use self::shard::accept::Patience;
pub use self::shard::checkpoint::CheckpointError;
use self::shard::upkeep::Pace;
pub use self::stats::{BookieStats, Space};
use crate::disk::Disk;
use crate::message::{Reply, ReplyTo, Request, Transport, Wake};

/// One storage node. Clones are the same node; when the last is dropped without
/// [`close`](Bookie::close) it stops as if its process had died.
#[derive(Clone)]
pub struct Bookie {
    own: Incarnation,
    dir: Arc<Path>,
    disk: Arc<dyn Disk>,
    shards: Arc<[Arc<Shard>]>,
    threads: Arc<Threads>,
}

/// The threads, stopped when the last handle goes. They hold the shards, not a handle.
struct Threads {
    shards: Arc<[Arc<Shard>]>,
    handles: Mutex<Vec<JoinHandle<()>>>,
}

impl Bookie {
    /// Opens the bookie of `dir`, or formats one there if the directory is empty.
    ///
    /// The caller has made sure that nobody else uses the directory.
    ///
    /// # Errors
    /// [`OpenError::Damaged`] when data that was durable is not there or not as written, unless other
    /// bookies have copies of all that is here: then the ledgers concerned are in [limbo](Bookie::limbo).
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        config: BookieConfig,
    ) -> Result<Bookie, OpenError> {
        let io = |source| OpenError::Io { dir: dir.to_owned(), source };
        let identity = open::identify(&*disk, dir, &config)?;
        let own = identity.incarnation;
        let dirs = shards::dirs(dir, identity.shards);
        shards::check(&*disk, dir, &dirs)?;
        let read_only = read_only::load(&*disk, dir).map_err(io)?;
        let share = config.share(identity.shards);
        let mut opened = Vec::new();
        for shard in &dirs {
            let shard = open::open(Arc::clone(&disk), shard, share.clone(), own)?;
            shard.set_read_only(read_only);
            opened.push(Arc::new(shard));
        }
        shards::formatted(&*disk, dir, dirs.len()).map_err(io)?;
        let shards: Arc<[Arc<Shard>]> = opened.into();
        let threads = Threads { shards: Arc::clone(&shards), handles: Mutex::default() };
        if config.background {
            for shard in &*shards {
                let handles = Shard::start(shard).map_err(io)?;
                threads.handles.lock().unwrap_or_else(PoisonError::into_inner).extend(handles);
            }
        }
        Ok(Bookie { own, dir: dir.into(), disk, shards, threads: Arc::new(threads) })
    }

    fn shard(&self, ledger: LedgerId) -> &Arc<Shard> {
        &self.shards[shards::of(ledger, self.shards.len())]
    }

    /// Does something in every shard; the first error, after all were tried.
    fn everywhere<T, E>(&self, each: impl Fn(&Shard) -> Result<T, E>) -> Result<Vec<T>, E> {
        let tried: Vec<_> = self.shards.iter().map(|shard| each(shard)).collect();
        tried.into_iter().collect()
    }

    /// Writes everything that is durable to extents, so that the journal is no longer needed for it.
    ///
    /// # Errors
    /// When it could not be finished; nothing is lost by that.
    pub fn checkpoint(&self) -> Result<(), CheckpointError> {
        self.everywhere(Shard::checkpoint).map(drop)
    }

    /// The ledgers of which something acknowledged may be lost here, and nobody has settled it yet.
    pub fn limbo(&self) -> Vec<LedgerId> {
        let mut limbo: Vec<_> = self.shards.iter().flat_map(|shard| shard.limbo()).collect();
        limbo.sort_unstable();
        limbo
    }

    /// Where the medium was found not to hold what was written, by reads, compaction and scrubbing: what
    /// repair has to store again here, as copies.
    pub fn damaged(&self) -> Vec<DamagedPlace> {
        self.shards.iter().flat_map(|shard| shard.damaged()).collect()
    }

    /// Moves what is left of extents that hold mostly deleted ledgers to new ones, as fast as it goes.
    /// Tells whether there was anything to do.
    ///
    /// # Errors
    /// When it could not be finished; nothing is lost by that.
    pub fn compact(&self) -> Result<bool, CheckpointError> {
        let any = self.everywhere(|shard| shard.compact(&mut Pace::unlimited()))?;
        Ok(any.contains(&true))
    }

    /// Takes nothing new from now on, or does again: creations and writers' adds are refused as
    /// [`ReadOnly`](crate::message::Refusal::ReadOnly), copies are taken, reads go on. Outlasts a restart.
    ///
    /// # Errors
    /// When it could not be made durable: what was so before still holds here.
    pub fn set_read_only(&self, read_only: bool) -> io::Result<()> {
        read_only::store(&*self.disk, &self.dir, read_only)?;
        self.shards.iter().for_each(|shard| shard.set_read_only(read_only));
        Ok(())
    }

    /// Reads everything this bookie keeps again and checks it; returns what is damaged.
    pub fn scrub(&self) -> Vec<Damage> {
        let identity = match Identity::load(&*self.disk, &self.dir) {
            Ok(_) => None,
            Err(FileError::Damaged(damage)) => Some(damage),
            Err(other) => Some(Damage::new(&self.dir.join("IDENTITY"), 0, other.to_string())),
        };
        identity.into_iter().chain(self.shards.iter().flat_map(|shard| shard.scrub())).collect()
    }

    /// Finishes what was accepted, checkpoints and stops. Other handles answer from now on that the
    /// bookie is closing.
    ///
    /// # Errors
    /// When the checkpoint could not be finished; what was acknowledged is safe in the journal.
    pub fn close(self) -> Result<(), CheckpointError> {
        self.shards.iter().for_each(|shard| shard.drain());
        let checkpointed = self.everywhere(Shard::checkpoint).map(drop);
        self.shards.iter().for_each(|shard| shard.stop());
        self.threads.join();
        checkpointed
    }

    /// Like [`send`](Transport::send), but never waits for room: an add that finds none is refused
    /// with [`Overloaded`](crate::message::Refusal::Overloaded). For threads that serve many clients.
    pub fn try_send(&self, to: Incarnation, request: Request, reply: ReplyTo) {
        self.send_with(to, request, reply, Patience::No);
    }

    fn send_with(&self, to: Incarnation, request: Request, reply: ReplyTo, patience: Patience) {
        let Some(ledger) = request.ledger() else {
            let gather = shards::gather(&self.shards, reply);
            for shard in &*self.shards {
                shard.send(to, request.clone(), Box::new(gather.clone()), patience);
            }
            return;
        };
        self.shard(ledger).send(to, request, reply, patience);
    }

    /// Does what the journal thread does when nothing came for a while.
    #[cfg(test)]
    fn mark_idle(&self) {
        self.shards.iter().for_each(|shard| shard.mark_idle_now());
    }

    /// Does what the scrubber does next; where it is then.
    #[cfg(test)]
    fn scrub_some(&self) -> BookieStats {
        for shard in &*self.shards {
            let _ = shard.scrub_some();
        }
        self.stats()
    }

    /// Figures of this moment.
    pub fn stats(&self) -> BookieStats {
        BookieStats::together(self.shards.iter().map(|shard| shard.stats()))
    }

    /// Figures of each shard.
    pub fn shard_stats(&self) -> Vec<BookieStats> {
        self.shards.iter().map(|shard| shard.stats()).collect()
    }
}

impl Transport for Bookie {
    fn send(&self, to: Incarnation, request: Request, reply: ReplyTo) {
        self.send_with(to, request, reply, Patience::Yes);
    }

    fn call(&self, to: Incarnation, request: Request) -> Reply {
        let Some(ledger) = request.ledger() else {
            let replies: Vec<_> =
                self.shards.iter().map(|shard| shard.call(to, request.clone())).collect();
            let other = replies.into_iter().find(|reply| !matches!(reply, Reply::Done));
            return other.unwrap_or(Reply::Done);
        };
        self.shard(ledger).call(to, request)
    }

    fn incarnation(&self) -> Incarnation {
        self.own
    }

    fn watch_lac(&self, ledger: LedgerId, beyond: Option<EntryId>, wake: Wake) {
        self.shard(ledger).watch_lac(ledger, beyond, wake);
    }
}

impl fmt::Debug for Bookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bookie")
            .field("dir", &self.dir)
            .field("own", &self.own)
            .field("shards", &self.shards.len())
            .finish()
    }
}

impl Threads {
    fn join(&self) {
        let handles =
            std::mem::take(&mut *self.handles.lock().unwrap_or_else(PoisonError::into_inner));
        for handle in handles {
            // The last handle may be dropped by an answer that runs on one of them.
            if handle.thread().id() != std::thread::current().id() && handle.join().is_err() {
                tracing::error!("a thread of the bookie panicked");
            }
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.shards.iter().for_each(|shard| shard.stop());
        self.join();
    }
}

#[cfg(test)]
mod tests;
