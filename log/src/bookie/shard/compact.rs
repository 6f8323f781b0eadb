//! Compaction: what is left of extents that hold mostly deleted ledgers moves to a new extent.
//!
//! * The new extent is written and sealed, then one replacement of the manifest lists it in place of the
//!   old ones, then their files go. Cut anywhere, the old ones are there or the new one; what is not
//!   listed is removed at the next start.
//! * Every entry is checked as it is copied. One that is damaged stops it: its extent stays as it is,
//!   the place is noted for repair, and the others are compacted without it. Nothing is dropped but
//!   entries of deleted ledgers, and copies that a newer extent has.
//! * It may use half of the space that is kept free, so that a full disk can get space again.
//! * No lock is held while it copies; appends, reads and checkpoints go on.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::{Arc, PoisonError};

use egret_schemas::{EntryAddress, EntryId, LedgerId};

use super::checkpoint::{CheckpointError, EXTENT_ROOM, Failure};
use super::upkeep::Pace;
use super::{Shard, State};
use crate::bookie::damage::FileError;
use crate::bookie::extent::{self, EntryToWrite, Extent, ExtentId, ExtentWriter, WriteError};
use crate::bookie::index::ExtentIndex;
use crate::caps;
use crate::clock;
use crate::message::{Refusal, Unknown};

/// What is compacted in one go.
struct Chosen {
    /// As of the choice.
    index: Arc<ExtentIndex>,
    extents: BTreeSet<ExtentId>,
    gone: BTreeSet<LedgerId>,
    /// Bytes of entries that stay, at most.
    live_bytes: u64,
}

/// Why copying ended early.
enum Stop {
    /// An entry is damaged; it was noted.
    Damaged(ExtentId),
    /// The bookie stops.
    Stopped,
    Failed(Failure),
}

impl From<WriteError> for Stop {
    fn from(error: WriteError) -> Stop {
        match error {
            WriteError::Io(error) if error.kind() == io::ErrorKind::StorageFull => {
                Stop::Failed(Failure::Full { free: 0, needed: 0 })
            }
            other => Stop::Failed(Failure::Failed(other.to_string())),
        }
    }
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        WriteError::Io(error).into()
    }
}

impl Shard {
    /// Compacts until there is nothing worth it; whether anything was.
    pub(crate) fn compact(&self, pace: &mut Pace) -> Result<bool, CheckpointError> {
        let _only_one = self.compacting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut any = false;
        let mut damaged = BTreeSet::new();
        while let Some(chosen) = self.choose(&damaged)? {
            match self.compact_chosen(&chosen, pace) {
                Ok(()) => any = true,
                Err(Stop::Damaged(extent)) => {
                    damaged.insert(extent);
                }
                Err(Stop::Stopped) => {
                    return Err(CheckpointError::Stopped(Unknown::Closing));
                }
                Err(Stop::Failed(Failure::Full { free, .. })) => {
                    tracing::warn!(free, "no space to compact");
                    let dir = self.dir.clone();
                    return Err(CheckpointError::Full(Refusal::DiskFull { dir, free }));
                }
                Err(Stop::Failed(Failure::Failed(why))) => {
                    tracing::error!(%why, "the bookie stops writing");
                    let mut state = self.lock();
                    let why = state.poisoned.get_or_insert(why).clone();
                    self.room.notify_all();
                    return Err(CheckpointError::Stopped(Unknown::Poisoned { why }));
                }
            }
        }
        Ok(any)
    }

    /// The extents that are mostly dead, as many as make one new extent.
    fn choose(&self, leave: &BTreeSet<ExtentId>) -> Result<Option<Chosen>, CheckpointError> {
        let index = {
            let state = self.lock();
            if let Some(why) = state.poisoned.clone() {
                return Err(CheckpointError::Stopped(Unknown::Poisoned { why }));
            }
            Arc::clone(&state.index)
        };
        let damaged: BTreeSet<_> =
            self.damaged_in(&index).into_iter().map(|place| place.damage.file).collect();
        let gone: BTreeSet<_> = {
            let state = self.lock();
            index.ledgers().filter(|ledger| state.table.is_gone(*ledger)).collect()
        };
        let mut chosen = Chosen { extents: BTreeSet::new(), live_bytes: 0, gone, index };
        for extent in chosen.index.extents() {
            let bytes = |run: &extent::Run| run.data_len;
            let live = extent.runs().iter().filter(|run| !chosen.gone.contains(&run.ledger));
            let live: u64 = live.map(bytes).sum();
            let all: u64 = extent.runs().iter().map(bytes).sum();
            let mostly_dead = live * 100 < all * u64::from(self.config.compact_below_percent);
            let hurt = leave.contains(&extent.id()) || damaged.contains(extent.path());
            if !mostly_dead || hurt {
                continue;
            }
            if !chosen.extents.is_empty() && chosen.live_bytes + live > caps::COMPACTED_BYTES_MAX {
                break;
            }
            chosen.extents.insert(extent.id());
            chosen.live_bytes += live;
        }
        Ok(Some(chosen).filter(|chosen| !chosen.extents.is_empty()))
    }

    fn compact_chosen(&self, chosen: &Chosen, pace: &mut Pace) -> Result<(), Stop> {
        let new = if chosen.live_bytes == 0 { None } else { self.copy_live(chosen, pace)? };
        let new_bytes = new.as_ref().map_or(0, |extent| extent.data_bytes());
        let mut manifest = self.manifest.lock().unwrap_or_else(PoisonError::into_inner);
        {
            let state = self.lock();
            if state.stopped || state.poisoned.is_some() {
                return Err(Stop::Stopped);
            }
        }
        let covered = manifest.checkpoint_lsn.saturating_sub(1);
        let dropped =
            self.publish(&mut manifest, covered, new, &chosen.extents).map_err(Stop::Failed)?;
        let mut state = self.lock();
        state.compactions += 1;
        state.compacted_bytes += new_bytes;
        drop(state);
        self.remove_extents(&dropped).map_err(Stop::Failed)?;
        self.measure(&mut self.lock());
        self.room.notify_all();
        Ok(())
    }

    /// Writes what is live of the chosen extents to a new one; `None` if nothing is.
    fn copy_live(&self, chosen: &Chosen, pace: &mut Pace) -> Result<Option<Arc<Extent>>, Stop> {
        let needed = chosen.live_bytes + EXTENT_ROOM;
        let free = self.disk.free_bytes(&self.dir)?;
        if free < needed + self.config.disk_reserve_bytes / 2 {
            return Err(Stop::Failed(Failure::Full { free, needed }));
        }
        let (dir, id) = (self.dir.join(extent::DIR), self.lock().take_extent_id());
        let copied = self.copy_into(chosen, &dir, id, pace);
        match copied {
            Ok(true) => {}
            Ok(false) | Err(Stop::Damaged(_) | Stop::Failed(Failure::Full { .. })) => {
                let path = id.path(&dir);
                if self.disk.exists(&path)? {
                    self.disk.remove(&path)?;
                }
                return copied.map(|_| None);
            }
            Err(stop) => return Err(stop),
        }
        let tables = Arc::clone(&self.tables);
        let opened = Extent::open(&*self.disk, &dir, id, self.own, tables);
        opened.map(|extent| Some(Arc::new(extent))).map_err(|error| Stop::Failed(error.into()))
    }

    /// Whether anything was copied.
    fn copy_into(
        &self,
        chosen: &Chosen,
        dir: &Path,
        id: ExtentId,
        pace: &mut Pace,
    ) -> Result<bool, Stop> {
        let mut writer = ExtentWriter::create(&self.disk, dir, id, self.own, clock::wall_ms())?;
        let mut any = false;
        for (ledger, runs) in chosen.runs() {
            for (entry, extent, run, at) in chosen.homes(ledger, &runs) {
                let stored = match extent.read(run, at) {
                    Ok(stored) => stored,
                    Err(error) => return Err(self.stopped_by(error, extent, ledger, entry)),
                };
                writer.append(&EntryToWrite {
                    ledger,
                    entry,
                    term: stored.term,
                    crc: stored.crc,
                    payload: &stored.payload,
                })?;
                any = true;
                if !self.spend(pace, stored.payload.len()) {
                    return Err(Stop::Stopped);
                }
            }
        }
        if any {
            writer.seal()?;
        }
        Ok(any)
    }

    fn stopped_by(
        &self,
        error: FileError,
        extent: &Extent,
        ledger: LedgerId,
        entry: EntryId,
    ) -> Stop {
        let damage = extent.damage_of(error);
        self.note_damage(damage, Some(EntryAddress { ledger, entry }));
        Stop::Damaged(extent.id())
    }

    /// Removes the files of extents the manifest no longer lists.
    pub(super) fn remove_extents(&self, dropped: &[ExtentId]) -> Result<(), Failure> {
        extent::remove(&*self.disk, &self.dir.join(extent::DIR), dropped)?;
        Ok(())
    }
}

/// An entry and where it is: extent, run, index in it.
type Home<'a> = (EntryId, &'a Extent, usize, u32);

impl Chosen {
    /// The runs of chosen extents by ledgers that are not gone.
    fn runs(&self) -> BTreeMap<LedgerId, Vec<(&Extent, usize)>> {
        let mut runs: BTreeMap<LedgerId, Vec<(&Extent, usize)>> = BTreeMap::new();
        let chosen = |extent: &&Arc<Extent>| self.extents.contains(&extent.id());
        for extent in self.index.extents().iter().filter(chosen) {
            for (number, run) in extent.runs().iter().enumerate() {
                if !self.gone.contains(&run.ledger) {
                    runs.entry(run.ledger).or_default().push((extent, number));
                }
            }
        }
        runs
    }

    /// The entries of these runs that are nowhere newer, rising.
    fn homes<'a>(&'a self, ledger: LedgerId, runs: &[(&'a Extent, usize)]) -> Vec<Home<'a>> {
        let mut homes = Vec::new();
        for &(extent, number) in runs {
            let run = &extent.runs()[number];
            for index in 0..run.count {
                let entry = EntryId(run.first.0 + u64::from(index));
                let home = self.index.find(EntryAddress { ledger, entry });
                if home.is_some_and(|home| home.extent().id() == extent.id()) {
                    homes.push((entry, extent, number, index));
                }
            }
        }
        homes.sort_unstable_by_key(|home| home.0);
        homes
    }
}

impl State {
    /// The number of a new extent: no other gets it.
    pub(super) fn take_extent_id(&mut self) -> ExtentId {
        let id = self.next_extent;
        self.next_extent = id.next();
        id
    }
}
