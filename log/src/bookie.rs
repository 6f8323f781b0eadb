//! One storage node: ledgers' entries, durable before they are acknowledged.
//!
//! A [`Bookie`] holds a directory: who it is ([`identity`]), a journal of everything it was told, extents
//! with the entries the journal no longer keeps. It answers [`Request`]s; it knows nothing of quorums, of
//! other bookies or of what the entries mean.
//!
//! What always holds:
//! * Nothing is acknowledged before it is synced. After a failed write or sync nothing is written again.
//! * A term once answered for is never forgotten: lower ones are refused for ever.
//! * What is read was checked against the checksum its client computed; what is damaged is answered as
//!   damaged, never as absent.
//!
//! The journal is in `journal`, group commit and the judging of requests in `shard`, what one copy
//! cannot tell in `docs/002-what-a-flipped-byte-can-do.md`.

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
mod read_only;
pub(crate) mod scrub;
pub(crate) mod shard;
pub mod stats;
pub(crate) mod term_table;
mod whole_file;

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use egret_schemas::{EntryId, Incarnation, LedgerId};

pub use self::config::BookieConfig;
pub use self::damage::Damage;
pub use self::damaged::DamagedPlace;
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
    shard: Arc<Shard>,
    threads: Arc<Threads>,
}

/// The threads, stopped when the last handle goes. They hold the shard, not a handle.
struct Threads {
    shard: Arc<Shard>,
    handles: Mutex<Vec<JoinHandle<()>>>,
}

impl Bookie {
    /// Opens the bookie of `dir`, or formats one there if the directory is empty.
    ///
    /// The caller has made sure that nobody else uses the directory.
    ///
    /// # Errors
    /// [`OpenError::Damaged`] when data that was durable is not there or not as written.
    pub fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        config: BookieConfig,
    ) -> Result<Bookie, OpenError> {
        let background = config.background;
        let shard = Arc::new(open::open(disk, dir, config)?);
        let read_only = read_only::load(&*shard.disk, dir)
            .map_err(|source| OpenError::Io { dir: dir.to_owned(), source })?;
        shard.set_read_only(read_only);
        let handles = if background {
            Shard::start(&shard).map_err(|source| OpenError::Io { dir: dir.to_owned(), source })?
        } else {
            Vec::new()
        };
        let threads = Threads { shard: Arc::clone(&shard), handles: Mutex::new(handles) };
        Ok(Bookie { shard, threads: Arc::new(threads) })
    }

    /// Writes everything that is durable to extents, so that the journal is no longer needed for it.
    ///
    /// # Errors
    /// When it could not be finished; nothing is lost by that.
    pub fn checkpoint(&self) -> Result<(), CheckpointError> {
        self.shard.checkpoint()
    }

    /// The ledgers of which something acknowledged may be lost here, and nobody has settled it yet.
    pub fn limbo(&self) -> Vec<LedgerId> {
        self.shard.limbo()
    }

    /// Where the medium was found not to hold what was written, by reads, compaction and scrubbing: what
    /// repair has to store again here, as copies.
    pub fn damaged(&self) -> Vec<DamagedPlace> {
        self.shard.damaged()
    }

    /// Moves what is left of extents that hold mostly deleted ledgers to new ones, as fast as it goes.
    /// Tells whether there was anything to do.
    ///
    /// # Errors
    /// When it could not be finished; nothing is lost by that.
    pub fn compact(&self) -> Result<bool, CheckpointError> {
        self.shard.compact(&mut Pace::unlimited())
    }

    /// Takes nothing new from now on, or does again: creations and writers' adds are refused as
    /// [`ReadOnly`](crate::message::Refusal::ReadOnly), copies are taken, reads go on. Outlasts a restart.
    ///
    /// # Errors
    /// When it could not be made durable: what was so before still holds here.
    pub fn set_read_only(&self, read_only: bool) -> std::io::Result<()> {
        read_only::store(&*self.shard.disk, &self.shard.dir, read_only)?;
        self.shard.set_read_only(read_only);
        Ok(())
    }

    /// Reads everything this bookie keeps again and checks it; returns what is damaged.
    pub fn scrub(&self) -> Vec<Damage> {
        self.shard.scrub()
    }

    /// Finishes what was accepted, checkpoints and stops. Other handles answer from now on that the
    /// bookie is closing.
    ///
    /// # Errors
    /// When the checkpoint could not be finished; what was acknowledged is safe in the journal.
    pub fn close(self) -> Result<(), CheckpointError> {
        self.shard.drain();
        let checkpointed = self.shard.checkpoint();
        self.shard.stop();
        self.threads.join();
        checkpointed
    }

    /// Like [`send`](Transport::send), but never waits for room: an add that finds none is refused
    /// with [`Overloaded`](crate::message::Refusal::Overloaded). For threads that serve many clients.
    pub fn try_send(&self, to: Incarnation, request: Request, reply: ReplyTo) {
        self.shard.send(to, request, reply, Patience::No);
    }

    /// Does what the journal thread does when nothing came for a while.
    #[cfg(test)]
    fn mark_idle(&self) {
        self.shard.mark_idle_now();
    }

    /// Does what the scrubber does next; where it is then.
    #[cfg(test)]
    fn scrub_some(&self) -> BookieStats {
        self.shard.scrub_some();
        self.shard.stats()
    }

    /// Figures of this moment.
    pub fn stats(&self) -> BookieStats {
        self.shard.stats()
    }
}

impl Transport for Bookie {
    fn send(&self, to: Incarnation, request: Request, reply: ReplyTo) {
        self.shard.send(to, request, reply, Patience::Yes);
    }

    fn call(&self, to: Incarnation, request: Request) -> Reply {
        self.shard.call(to, request)
    }

    fn incarnation(&self) -> Incarnation {
        self.shard.own
    }

    fn watch_lac(&self, ledger: LedgerId, beyond: Option<EntryId>, wake: Wake) {
        self.shard.watch_lac(ledger, beyond, wake);
    }
}

impl fmt::Debug for Bookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bookie")
            .field("dir", &self.shard.dir)
            .field("own", &self.shard.own)
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
        self.shard.stop();
        self.join();
    }
}

#[cfg(test)]
mod tests;
