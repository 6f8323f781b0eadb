//! Checkpoints: what the journal holds moves to extents, and the journal's files are used again.
//!
//! The order is what makes it safe: the extent is sealed, then the manifest lists it with the state of
//! every ledger and the batch up to which the journal is no longer needed, then journal files and dead
//! extents go. Cut anywhere, the old manifest finds everything it needs, or the new one does.
//!
//! Without space for an extent the sealed half stays in memory and in the journal; extents of deleted
//! ledgers are dropped nevertheless, and adds are refused once memory is full.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;
use std::sync::{Arc, MutexGuard, PoisonError};

use egret_schemas::{EntryAddress, Incarnation};

use super::{Shard, State};
use crate::bookie::cache::{CachedEntry, Half};
use crate::bookie::damage::FileError;
use crate::bookie::extent::{self, EntryToWrite, Extent, ExtentId, ExtentWriter, WriteError};
use crate::bookie::index::ExtentIndex;
use crate::bookie::journal::Lsn;
use crate::bookie::journal::files::SpareError;
use crate::bookie::journal::writer::WrittenPart;
use crate::bookie::manifest::Manifest;
use crate::clock;
use crate::disk::Disk;
use crate::message::{Refusal, Unknown};
use crate::mutants::{self, Mutant};

/// What an extent takes for an entry beside its bytes, at most; and for itself.
const ENTRY_ROOM: u64 = 64;
pub(super) const EXTENT_ROOM: u64 = 16 << 10;

/// Why a checkpoint was not finished. Nothing acknowledged is lost by it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    /// There is too little space for another extent; what is durable stays so in the journal.
    #[error(transparent)]
    Full(Refusal),
    /// The bookie has stopped writing.
    #[error(transparent)]
    Stopped(Unknown),
}

pub(super) enum Failure {
    Full { free: u64, needed: u64 },
    Failed(String),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        Failure::Failed(error.to_string())
    }
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Failure {
        Failure::Failed(error.to_string())
    }
}

/// Writes all of a half of the write cache to extent `id` and seals it.
pub(crate) fn write_extent(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    id: ExtentId,
    own: Incarnation,
    half: &Half,
) -> Result<(), WriteError> {
    write_entries(disk, dir, id, own, half.entries.iter())
}

fn write_entries<'a>(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    id: ExtentId,
    own: Incarnation,
    entries: impl Iterator<Item = (&'a EntryAddress, &'a CachedEntry)>,
) -> Result<(), WriteError> {
    let mut writer = ExtentWriter::create(disk, dir, id, own, clock::wall_ms())?;
    for (address, entry) in entries {
        writer.append(&EntryToWrite {
            ledger: address.ledger,
            entry: address.entry,
            term: entry.term,
            crc: entry.crc,
            payload: &entry.payload,
        })?;
    }
    writer.seal()?;
    Ok(())
}

impl Shard {
    /// Writes everything that is durable now to extents.
    pub(crate) fn checkpoint(&self) -> Result<(), CheckpointError> {
        let older = self.lock().cache.sealed().is_some();
        self.checkpoint_once()?;
        if older { self.checkpoint_once() } else { Ok(()) }
    }

    /// Writes the sealed half to an extent, sealing what is there if none was.
    fn checkpoint_once(&self) -> Result<(), CheckpointError> {
        let mut manifest = self.manifest.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.lock();
        if let Some(why) = state.poisoned.clone() {
            return Err(CheckpointError::Stopped(Unknown::Poisoned { why }));
        }
        if state.stopped {
            return Err(CheckpointError::Stopped(Unknown::Closing));
        }
        let durable = state.durable_lsn;
        state.cache.seal(durable);
        let (half, lsn) = state.cache.sealed().expect("sealed just now");
        drop(state);
        let done = self.advance(&mut manifest, &half, lsn);
        let mut state = self.lock();
        state.checkpoint_stuck = None;
        self.measure(&mut state);
        let result = match done {
            Ok(()) => {
                state.checkpoints += 1;
                Ok(())
            }
            Err(Failure::Full { free, needed }) => {
                tracing::warn!(free, needed, "no space for a checkpoint");
                // Asks for more than there is, should a disk say it has room and then have none.
                let more = free.saturating_sub(self.config.disk_reserve_bytes) + 1;
                state.checkpoint_stuck = Some(needed.max(more));
                Err(CheckpointError::Full(Refusal::DiskFull { dir: self.dir.clone(), free }))
            }
            Err(Failure::Failed(why)) => {
                tracing::error!(%why, "the bookie stops writing");
                let why = state.poisoned.get_or_insert(why).clone();
                Err(CheckpointError::Stopped(Unknown::Poisoned { why }))
            }
        };
        self.room.notify_all();
        result
    }

    fn advance(&self, manifest: &mut Manifest, half: &Arc<Half>, lsn: Lsn) -> Result<(), Failure> {
        let written = self.write_extent(half);
        let (covered, new) = match &written {
            Ok(extent) => (lsn, extent.clone()),
            Err(Failure::Full { .. }) if self.has_dead_extents() => {
                (manifest.checkpoint_lsn.saturating_sub(1), None)
            }
            Err(Failure::Full { .. }) => return written.map(drop),
            Err(Failure::Failed(_)) => return written.map(drop),
        };
        if mutants::on(Mutant::JournalTrimmedFirst) {
            self.clear_away(covered)?;
        }
        let dropped = self.publish(manifest, covered, new, &BTreeSet::new())?;
        let tail = half.tail(self.config.tail_cache_bytes);
        let mut state = self.lock();
        if written.is_ok() {
            state.cache.drop_sealed(tail);
        }
        state.checkpoint_lsn = covered;
        state.table.retire();
        drop(state);
        self.remove_extents(&dropped)?;
        self.clear_away(covered)?;
        written.map(drop)
    }

    fn has_dead_extents(&self) -> bool {
        let state = self.lock();
        state.index.live(|ledger| state.table.is_gone(ledger)).len() < state.index.extents().len()
    }

    /// Writes what a sealed half holds of ledgers that still exist; `None` if that is nothing.
    fn write_extent(&self, half: &Half) -> Result<Option<Arc<Extent>>, Failure> {
        let gone: BTreeSet<_> = {
            let state = self.lock();
            let ledgers: BTreeSet<_> = half.entries.keys().map(|address| address.ledger).collect();
            ledgers.into_iter().filter(|ledger| state.table.is_gone(*ledger)).collect()
        };
        let entries = || half.entries.iter().filter(|(at, _)| !gone.contains(&at.ledger));
        let sizes = entries().map(|(_, entry)| entry.payload.len() as u64 + ENTRY_ROOM);
        let needed = sizes.sum::<u64>() + EXTENT_ROOM;
        if entries().next().is_none() {
            return Ok(None);
        }
        let free = self.disk.free_bytes(&self.dir)?;
        if free < needed + self.config.disk_reserve_bytes {
            return Err(Failure::Full { free, needed });
        }
        let (dir, id) = (self.dir.join(extent::DIR), self.lock().take_extent_id());
        match write_entries(&self.disk, &dir, id, self.own, entries()) {
            Ok(()) => {}
            Err(WriteError::Io(error)) if error.kind() == io::ErrorKind::StorageFull => {
                self.disk.remove(&id.path(&dir))?;
                return Err(Failure::Full { free: self.disk.free_bytes(&self.dir)?, needed });
            }
            Err(error) => return Err(Failure::Failed(error.to_string())),
        }
        let tables = Arc::clone(&self.tables);
        Ok(Some(Arc::new(Extent::open(&*self.disk, &dir, id, self.own, tables)?)))
    }

    /// Replaces the manifest: with the extent `new`, without those `replaced` and those that are dead.
    /// Returns which are no longer listed; their files may go.
    pub(super) fn publish(
        &self,
        manifest: &mut Manifest,
        covered: Lsn,
        new: Option<Arc<Extent>>,
        replaced: &BTreeSet<ExtentId>,
    ) -> Result<Vec<ExtentId>, Failure> {
        let mut next = Manifest {
            sequence: manifest.sequence + 1,
            checkpoint_lsn: covered + 1,
            ..Manifest::empty(self.own)
        };
        let mut extents = {
            let state = self.lock();
            (next.ledgers, next.deleted) = state.table.rows();
            next.limbo_below = state.table.limbo_below();
            next.next_extent = state.next_extent;
            state.index.live(|ledger| state.table.is_gone(ledger))
        };
        extents.retain(|extent| !replaced.contains(&extent.id()));
        extents.extend(new);
        extents.sort_by_key(|extent| extent.id());
        next.extents = extents.iter().map(|extent| extent.id()).collect();
        next.store(&*self.disk, &self.dir, Some(manifest))?;
        let listed = |id: &ExtentId| next.extents.binary_search(id).is_ok();
        let dropped = manifest.extents.iter().filter(|id| !listed(id)).copied().collect();
        *manifest = next;
        self.lock().index = Arc::new(ExtentIndex::new(extents));
        Ok(dropped)
    }

    /// Recycles what of the journal the manifest no longer needs, and makes its next file ready.
    fn clear_away(&self, covered: Lsn) -> Result<(), Failure> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let files = writer.take_covered(covered);
        let left = writer.files();
        drop(writer);
        self.lock().journal_files = left;
        if !files.is_empty() {
            self.spares.recycle(&files)?;
        }
        self.prepare_spare()
    }

    fn prepare_spare(&self) -> Result<(), Failure> {
        match self.spares.prepare() {
            // The one who needs it will find out, and refuse.
            Ok(()) | Err(SpareError::Full { .. }) => Ok(()),
            Err(SpareError::Io(error)) => Err(error.into()),
        }
    }

    /// Whether a checkpoint is due by the size of memory or journal.
    pub(super) fn due_for_checkpoint(&self, state: &State) -> bool {
        state.cache.active_bytes() >= self.config.write_cache_bytes
            || state.journal_files > self.config.journal_files_max
    }

    /// Lets a checkpoint that had no space go on if there is some now; else the refusal for callers.
    pub(super) fn unstick_checkpoint(&self, state: &mut State) -> Option<Refusal> {
        let needed = state.checkpoint_stuck?;
        match self.disk.free_bytes(&self.dir) {
            Ok(free) if free < needed + self.config.disk_reserve_bytes => {
                Some(Refusal::DiskFull { dir: self.dir.clone(), free })
            }
            Ok(_) | Err(_) => {
                state.checkpoint_stuck = None;
                self.chores.notify_one();
                None
            }
        }
    }

    /// Without threads: writes a sealed half here and now.
    pub(super) fn checkpoint_inline<'a>(
        &'a self,
        state: MutexGuard<'a, State>,
    ) -> MutexGuard<'a, State> {
        if self.config.background
            || state.cache.sealed().is_none()
            || state.checkpoint_stuck.is_some()
            || state.closing
        {
            return state;
        }
        drop(state);
        // What it could not do is in the state.
        let _ = self.checkpoint_once();
        self.lock()
    }

    pub(super) fn run_checkpoints(&self) {
        let mut state = self.lock();
        let mut first = true;
        while !state.stopped {
            let due = state.cache.sealed().is_some()
                && state.poisoned.is_none()
                && state.checkpoint_stuck.is_none();
            if due || std::mem::take(&mut first) || state.spare_wanted {
                state.spare_wanted = false;
                drop(state);
                if due {
                    // What it could not do is in the state.
                    let _ = self.checkpoint_once();
                } else if let Err(Failure::Failed(why)) = self.prepare_spare() {
                    self.lock().poisoned.get_or_insert(why);
                    self.room.notify_all();
                }
                state = self.lock();
                continue;
            }
            state = self.chores.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Shard {
    /// What is on the medium now, and stays there unchanged as long as the guard lives.
    pub(crate) fn hold_still(
        &self,
    ) -> (MutexGuard<'_, Manifest>, Vec<Arc<Extent>>, Vec<WrittenPart>) {
        let manifest = self.manifest.lock().unwrap_or_else(PoisonError::into_inner);
        let extents = self.lock().index.extents().to_vec();
        let journal = self.writer.lock().unwrap_or_else(PoisonError::into_inner).written();
        (manifest, extents, journal)
    }
}
