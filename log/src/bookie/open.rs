//! Opening a bookie's directory: identity, what the last checkpoint says, and the journal after it.
//!
//! Durable data that is not there as written makes the start refuse, or, if all ledgers have copies
//! elsewhere, enter [`limbo`].

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use egret_schemas::{BookieId, EntryAddress, Incarnation};

use super::cache::{CachedEntry, WriteCache};
use super::config::BookieConfig;
use super::damage::{Damage, FileError};
use super::extent::{self, Extent, TableCache};
use super::identity::{Identity, IdentityError};
use super::index::ExtentIndex;
use super::journal::Record;
use super::journal::files::{self, SpareError, Spares};
use super::journal::format::BLOCK_U64;
use super::journal::replay::{self, ReplayError, Tail};
use super::journal::writer::{self, JournalWriter};
use super::limbo::{self, Journal};
use super::manifest::Manifest;
use super::shard::{Found, Shard};
use super::term_table::TermTable;
use crate::caps;
use crate::disk::{Disk, located};
use crate::message::{Refusal, entry_crc};

/// Why a bookie could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Durable data is not there, or not as written.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// A file is of another version or another bookie.
    #[error(transparent)]
    File(FileError),
    /// Nothing tells whose directory it is.
    #[error(transparent)]
    Identity(IdentityError),
    /// There is no space for a journal.
    #[error(transparent)]
    Full(Refusal),
    /// The disk failed.
    #[error("{}", located(.dir, .source))]
    Io {
        /// Where.
        dir: PathBuf,
        /// What failed.
        source: io::Error,
    },
}

impl From<FileError> for OpenError {
    fn from(error: FileError) -> OpenError {
        match error {
            FileError::Damaged(damage) => OpenError::Damaged(damage),
            other => OpenError::File(other),
        }
    }
}

impl From<ReplayError> for OpenError {
    fn from(error: ReplayError) -> OpenError {
        match error {
            ReplayError::Damaged { damage, .. } => OpenError::Damaged(damage),
            ReplayError::Io(dir, source) => OpenError::Io { dir, source },
        }
    }
}

impl From<IdentityError> for OpenError {
    fn from(error: IdentityError) -> OpenError {
        match error {
            IdentityError::File(error) => error.into(),
            other => OpenError::Identity(other),
        }
    }
}

/// Whose directory it is; formats an empty one.
pub(super) fn identify(
    disk: &dyn Disk,
    dir: &Path,
    config: &BookieConfig,
) -> Result<Identity, OpenError> {
    disk.create_dir(dir).map_err(|source| OpenError::Io { dir: dir.to_owned(), source })?;
    Ok(Identity::load_or_mint(disk, dir, BookieId(0), config.shards)?)
}

/// Opens the shard in `dir`.
pub(super) fn open(
    disk: Arc<dyn Disk>,
    dir: &Path,
    mut config: BookieConfig,
    own: Incarnation,
) -> Result<Shard, OpenError> {
    let io = |source| OpenError::Io { dir: dir.to_owned(), source };
    config.journal_file_bytes =
        config.journal_file_bytes.next_multiple_of(BLOCK_U64).max(4 * BLOCK_U64);
    disk.create_dir(dir).map_err(io)?;
    let (journal, extents) = (dir.join("journal"), dir.join(extent::DIR));
    disk.create_dir(&journal).map_err(io)?;
    disk.create_dir(&extents).map_err(io)?;
    let stored = Manifest::load(&*disk, dir, own)?;
    let formatted = stored.is_some();
    let mut manifest =
        stored.unwrap_or_else(|| Manifest { checkpoint_lsn: 1, ..Manifest::empty(own) });
    let tables = Arc::new(TableCache::new(caps::TABLE_CACHE_BYTES));
    let (mut index, mut damages) = open_extents(&disk, &extents, &manifest, &tables)?;
    let (file_bytes, reserve) = (config.journal_file_bytes, config.disk_reserve_bytes);
    let spares = Spares::open(Arc::clone(&disk), &journal, file_bytes, reserve).map_err(io)?;
    let mut spares = Arc::new(spares);
    let mut state =
        Replayed { table: TermTable::from_manifest(&manifest), cache: WriteCache::default() };
    for (ledger, last) in index.last_entries() {
        if let Some(found) = state.table.get_mut(ledger) {
            (found.last, found.highest) = (Some(last), Some(last));
        }
    }
    let checkpoint_lsn = manifest.checkpoint_lsn.saturating_sub(1);
    let replayed = if formatted || has_journal(&*disk, &journal).map_err(io)? {
        match replay::replay(&disk, &journal, own, checkpoint_lsn, |record| state.apply(record)) {
            Ok(tail) => Journal::Whole(Box::new(tail)),
            Err(ReplayError::Damaged { damage, last_lsn }) => {
                damages.push(damage);
                Journal::Damaged(last_lsn)
            }
            Err(error) => return Err(error.into()),
        }
    } else {
        let full = VecDeque::new();
        let tail = Tail { current: None, full, next_lsn: 1, next_seq: 1, cut: None };
        Journal::Whole(Box::new(tail))
    };
    let tail = match replayed {
        Journal::Whole(tail) if damages.is_empty() => *tail,
        journal if formatted && state.table.has_copies_elsewhere() => {
            let place = limbo::Place { disk: &disk, dir, own, tables: &tables };
            let tail = limbo::enter(&place, &mut manifest, &mut index, &mut state, journal)?;
            limbo::alarm(&damages, state.table.limbo().count());
            spares = Arc::new(
                Spares::open(Arc::clone(&disk), &dir.join("journal"), file_bytes, reserve)
                    .map_err(io)?,
            );
            tail
        }
        _ => return Err(damages.swap_remove(0).into()),
    };
    if let Some(cut) = &tail.cut {
        tracing::warn!(%cut, "the journal ended in a batch that was never acknowledged");
    }
    if !formatted && tail.next_lsn > 1 {
        let what = "it is missing, and the journal has entries";
        return Err(Damage::new(&dir.join("MANIFEST"), 0, what).into());
    }
    #[cfg_attr(not(test), expect(unused_mut, reason = "the tests have a switch to set"))]
    let mut writer = resume(&disk, dir, &journal, &spares, own, tail)?;
    #[cfg(test)]
    {
        writer.skip_sync = config.acknowledge_before_sync;
    }
    if formatted {
        // A manifest that this start reads may not be durable yet, and what comes next relies on it.
        disk.sync_dir(dir).map_err(io)?;
    } else {
        // The last step of formatting: before it there is a journal, so that none is missed later.
        manifest.store(&*disk, dir, None).map_err(io)?;
    }
    let listed = manifest.extents.iter().copied().collect();
    extent::remove_unlisted(&*disk, &extents, &listed).map_err(io)?;
    let Replayed { table, cache } = state;
    let found = Found { table, cache, index, writer, spares, manifest, tables };
    Ok(Shard::new(disk, dir.to_owned(), config, own, found))
}

fn has_journal(disk: &dyn Disk, journal: &Path) -> io::Result<bool> {
    Ok(disk.list(journal)?.iter().any(|name| files::number(name).is_some()))
}

fn open_extents(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    manifest: &Manifest,
    tables: &Arc<TableCache>,
) -> Result<(ExtentIndex, Vec<Damage>), OpenError> {
    let mut extents = Vec::new();
    let mut damages = Vec::new();
    for id in &manifest.extents {
        match Extent::open(&**disk, dir, *id, manifest.incarnation, Arc::clone(tables)) {
            Ok(extent) => extents.push(Arc::new(extent)),
            Err(FileError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                damages.push(Damage::new(&id.path(dir), 0, "the extent is missing"));
            }
            Err(FileError::Damaged(damage)) => damages.push(damage),
            Err(error) => return Err(error.into()),
        }
    }
    Ok((ExtentIndex::new(extents), damages))
}

fn resume(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    journal: &Path,
    spares: &Arc<Spares>,
    own: Incarnation,
    tail: Tail,
) -> Result<JournalWriter, OpenError> {
    let current = match tail.current {
        Some(current) => current,
        None => {
            let first = (tail.next_seq, tail.next_lsn);
            writer::create(disk, journal, spares, own, first, (0, true)).map_err(|error| {
                match error {
                    SpareError::Full { free } => {
                        OpenError::Full(Refusal::DiskFull { dir: dir.to_owned(), free })
                    }
                    SpareError::Io(source) => OpenError::Io { dir: dir.to_owned(), source },
                }
            })?
        }
    };
    let spares = Arc::clone(spares);
    let disk = Arc::clone(disk);
    Ok(JournalWriter::resume(disk, journal, spares, current, tail.full, tail.next_lsn))
}

/// What the journal adds to the last checkpoint.
pub(super) struct Replayed {
    pub(super) table: TermTable,
    pub(super) cache: WriteCache,
}

impl Replayed {
    fn apply(&mut self, record: Record) {
        if !matches!(record, Record::LimboBound { .. }) && self.table.is_gone(record.ledger()) {
            return;
        }
        self.table.accept(&record);
        self.table.durable(&record);
        match record {
            Record::Add { ledger, entry, term, crc, payload, .. } => {
                debug_assert_eq!(entry_crc(ledger, entry, &payload), crc, "batches are checked");
                let address = EntryAddress { ledger, entry };
                self.cache.insert(address, CachedEntry { term, crc, payload });
            }
            Record::Delete { ledger } => self.cache.forget(ledger),
            Record::Fence { .. }
            | Record::ExplicitLac { .. }
            | Record::Create { .. }
            | Record::ClearLimbo { .. }
            | Record::LimboBound { .. } => {}
        }
    }
}
