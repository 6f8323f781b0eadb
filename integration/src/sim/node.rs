//! One storage node: the shipping bookie on a disk that can fail.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use egret_log::bookie::identity::Identity;
use egret_log::bookie::{Bookie, BookieConfig, OpenError};
use egret_log::disk::{Disk, FaultyDisk};
use egret_log::ledger::Member;
use egret_log::message::{Reply, Request, Transport};
use egret_schemas::{BookieId, Incarnation};

use super::dice::Dice;
use super::disk::LyingDisk;

const DIR: &str = "/bookie";

/// Sizes small enough that a short run fills journals, checkpoints and reads extents.
fn config(dice: &mut Dice) -> BookieConfig {
    BookieConfig {
        journal_file_bytes: dice.one_of(&[16 << 10, 32 << 10, 64 << 10]),
        journal_files_max: usize::try_from(dice.between(2, 4)).expect("small"),
        write_cache_bytes: dice.one_of(&[2 << 10, 8 << 10, 32 << 10]),
        tail_cache_bytes: dice.one_of(&[0, 4 << 10, 64 << 10]),
        disk_reserve_bytes: 64 << 10,
        copy_reserve_bytes: 32 << 10,
        disk_low_bytes: 128 << 10,
        disk_high_bytes: 192 << 10,
        background: false,
        ..BookieConfig::default()
    }
}

/// What became of a request.
pub(crate) enum Handled {
    /// An answer, which leaves once the disk was as slow as it is.
    Answer(Reply),
    /// The power went meanwhile.
    PowerCut,
    /// Nobody is there.
    Down,
}

/// A storage node.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) id: BookieId,
    pub(crate) incarnation: Incarnation,
    pub(crate) disk: FaultyDisk,
    config: BookieConfig,
    lying: bool,
    bookie: Option<Bookie>,
    /// Counted up at every stop: what left before it does not arrive afterwards.
    pub(crate) boot: u64,
    /// Whether a sync failed since power was last cut: memory shows what the medium lacks.
    pub(crate) sync_failed: bool,
    pub(crate) slow_us: u64,
    pub(crate) busy_until: u64,
    pub(crate) stalled_until: u64,
    lives: u64,
    dice: Dice,
}

impl Node {
    /// A node with an empty disk, its bookie started.
    pub(crate) fn new(seed: u64, number: u64, lying: bool) -> Node {
        let mut dice = Dice::new(seed, &format!("bookie {number}"));
        let config = config(&mut dice);
        let mut node = Node {
            id: BookieId(number),
            incarnation: Incarnation(0),
            disk: FaultyDisk::new(),
            config,
            lying,
            bookie: None,
            boot: 0,
            sync_failed: false,
            slow_us: 0,
            busy_until: 0,
            stalled_until: 0,
            lives: 0,
            dice,
        };
        node.replace_disk();
        node
    }

    /// Puts in an empty disk, formatted under a new incarnation; the bookie is down.
    pub(crate) fn replace_disk(&mut self) {
        self.stop();
        self.lives += 1;
        self.incarnation = Incarnation(u128::from(self.id.0) << 64 | u128::from(self.lives));
        self.disk = FaultyDisk::new();
        self.sync_failed = false;
        let (bookie, incarnation) = (self.id, self.incarnation);
        let identity =
            Identity { bookie, cluster: String::new(), incarnation, created_ms: 0, shards: 1 };
        let dir = Path::new(DIR);
        self.disk.create_dir(dir).expect("a new disk takes a directory");
        identity.store(&self.disk, dir).expect("a new disk takes a file");
    }

    /// As it is known to others.
    pub(crate) fn member(&self) -> Member {
        Member { bookie: self.id, incarnation: self.incarnation }
    }

    /// The bookie, if it is up.
    pub(crate) fn bookie(&self) -> Option<&Bookie> {
        self.bookie.as_ref()
    }

    pub(crate) fn is_up(&self) -> bool {
        self.bookie.is_some()
    }

    /// Starts the bookie.
    pub(crate) fn start(&mut self) -> Result<(), OpenError> {
        let disk: Arc<dyn Disk> = if self.lying {
            Arc::new(LyingDisk(self.disk.clone()))
        } else {
            Arc::new(self.disk.clone())
        };
        let bookie = Bookie::open(disk, Path::new(DIR), self.config.clone())?;
        self.bookie = Some(bookie);
        Ok(())
    }

    /// The process ends at once; what it wrote stays as the system has it.
    pub(crate) fn stop(&mut self) {
        self.bookie = None;
        self.boot += 1;
        self.busy_until = 0;
    }

    /// The process ends as it is asked to.
    pub(crate) fn close(&mut self) {
        if let Some(bookie) = self.bookie.take() {
            // What cannot be checkpointed is safe in the journal.
            drop(bookie.close());
        }
        self.stop();
    }

    /// The power goes: the disk is found in one of the ways allowed.
    pub(crate) fn cut_power(&mut self) {
        self.stop();
        self.disk = self.disk.reboot(self.dice.draw());
        self.sync_failed = false;
    }

    /// Handles a request on this thread.
    pub(crate) fn handle(&mut self, to: Incarnation, request: Request) -> Handled {
        let Some(bookie) = &self.bookie else { return Handled::Down };
        // Both ways into a bookie are shipped; without threads of its own both answer at once.
        let reply = if self.dice.per_mille(500) {
            bookie.call(to, request)
        } else {
            let slot = Arc::new(Mutex::new(None));
            let answer = Arc::clone(&slot);
            bookie.send(
                to,
                request,
                Box::new(move |reply| {
                    *answer.lock().unwrap_or_else(PoisonError::into_inner) = Some(reply);
                }),
            );
            let told = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
            told.expect("without threads of its own a bookie answers at once")
        };
        if self.disk.is_cut() { Handled::PowerCut } else { Handled::Answer(reply) }
    }

    /// Moves what is durable to extents, if it can.
    pub(crate) fn checkpoint(&self) {
        if let Some(bookie) = &self.bookie {
            // A failure shows in the answers.
            drop(bookie.checkpoint());
        }
    }

    /// Moves what is left of extents that hold mostly deleted ledgers.
    pub(crate) fn compact(&self) {
        if let Some(bookie) = &self.bookie {
            drop(bookie.compact());
        }
    }

    /// Takes nothing new, or does again.
    pub(crate) fn set_read_only(&self, read_only: bool) {
        if let Some(bookie) = &self.bookie {
            // A disk that is full or loses power meanwhile leaves it as it was.
            drop(bookie.set_read_only(read_only));
        }
    }

    /// Reads all there is; what is damaged.
    pub(crate) fn scrub(&self) -> Vec<String> {
        let damage = self.bookie.as_ref().map(Bookie::scrub).unwrap_or_default();
        damage.iter().map(ToString::to_string).collect()
    }

    /// Whether it stopped writing after a failure.
    pub(crate) fn is_poisoned(&self) -> bool {
        self.bookie.as_ref().is_some_and(|bookie| bookie.stats().poisoned.is_some())
    }

    /// The files below a part of the directory that have bytes to damage.
    pub(crate) fn files(&self, part: &str) -> Vec<(PathBuf, u64)> {
        let dir = Path::new(DIR).join(part);
        let of = |(path, len): &(PathBuf, u64)| path.parent() == Some(dir.as_path()) && *len > 0;
        self.disk.files().into_iter().filter(of).collect()
    }
}
