//! Reads a sealed extent: its runs once, when opened; tables through the cache; entries as asked for.
//!
//! Everything is checked before it is believed: a read returns what was written, or damage.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use egret_schemas::{EntryAddress, EntryId, Incarnation, LedgerId, Term};

use super::format::{self, ALIGN, HEADER_BYTES, Owner, Run, TRAILER_BYTES, offset, size};
use super::{ExtentId, TableCache};
use crate::bookie::damage::{Damage, FileError};
use crate::caps;
use crate::disk::{Disk, DiskFile, OpenHow};
use crate::message::entry_crc;

/// A sealed extent, open to read from any thread.
#[derive(Debug)]
pub struct Extent {
    id: ExtentId,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    runs: Vec<Run>,
    tables: Arc<TableCache>,
}

/// An entry as an extent holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredEntry {
    /// The entry's number.
    pub entry: EntryId,
    /// The term it was added under.
    pub term: Term,
    /// [`entry_crc`] as the client sent it; it was checked.
    pub crc: u32,
    /// The entry's bytes.
    pub payload: Bytes,
}

/// What a whole extent was found to hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// Entries read and checked.
    pub entries: u64,
    /// Bytes of the file, all of them checked.
    pub bytes: u64,
}

impl Extent {
    /// Opens extent `id` of `dir` and reads what runs it has.
    ///
    /// # Errors
    /// Damage, a newer format, or an extent of another incarnation.
    pub fn open(
        disk: &dyn Disk,
        dir: &Path,
        id: ExtentId,
        incarnation: Incarnation,
        tables: Arc<TableCache>,
    ) -> Result<Extent, FileError> {
        let path = id.path(dir);
        let file = disk.open(&path, OpenHow::Read, false)?;
        let owner = Owner { extent: id, incarnation };
        let runs = open_runs(&*file, &path, owner)?;
        Ok(Extent { id, path, file, runs, tables })
    }

    /// Its number.
    pub fn id(&self) -> ExtentId {
        self.id
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it holds, sorted by (ledger, first entry).
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// Bytes its entries take.
    pub fn data_bytes(&self) -> u64 {
        self.runs.iter().map(|run| run.data_len).sum()
    }

    /// What a failed read of it comes to.
    pub(crate) fn damage_of(&self, error: FileError) -> Damage {
        match error {
            FileError::Damaged(damage) => damage,
            other => Damage::new(&self.path, 0, other.to_string()),
        }
    }

    /// Where an entry is: the run and the index in it. `None` is proof that it is not in this extent.
    pub fn find(&self, ledger: LedgerId, entry: EntryId) -> Option<(usize, u32)> {
        let after = self.runs.partition_point(|run| (run.ledger, run.first) <= (ledger, entry));
        let at = after.checked_sub(1)?;
        let run = &self.runs[at];
        Some((at, run.index_of(entry).filter(|_| run.ledger == ledger)?))
    }

    /// Reads the entry at `index` of the run numbered `run`.
    ///
    /// # Panics
    /// When there is no such run or entry in it: both come from [`find`](Extent::find) or
    /// [`runs`](Extent::runs).
    pub fn read(&self, run: usize, index: u32) -> Result<StoredEntry, FileError> {
        let count = self.runs[run].count;
        assert!(index < count, "a run of {count} has no entry {index}");
        let table = self.table(run)?;
        self.read_slot(&self.runs[run], &table, index)
    }

    /// Reads up to `count` entries from the one at `index` of the run numbered `run` on, in one read of
    /// the medium: the first, and further ones within `bytes_max` bytes of the file. Ends before one
    /// that is damaged, which is an error if it is the first.
    ///
    /// # Panics
    /// As [`read`](Extent::read).
    pub fn read_row(
        &self,
        run: usize,
        index: u32,
        count: u32,
        bytes_max: u64,
    ) -> Result<Vec<StoredEntry>, FileError> {
        let whole = self.runs[run];
        assert!(index < whole.count, "a run of {} has no entry {index}", whole.count);
        let table = self.table(run)?;
        let last = index.saturating_add(count.max(1)).min(whole.count) - 1;
        let (start, first_end) = slot_of(&whole, &table, index);
        let mut ends = vec![first_end];
        for next in index + 1..=last {
            let (_, end) = slot_of(&whole, &table, next);
            if end - start > bytes_max {
                break;
            }
            ends.push(end);
        }
        let end = ends.last().copied().unwrap_or(first_end);
        let mut bytes = vec![0; size(end - start)];
        self.file.read_exact_at(&mut bytes, start)?;
        let bytes = Bytes::from(bytes);
        let mut row = Vec::with_capacity(ends.len());
        let mut from = start;
        for (at, to) in (index..).zip(ends) {
            let slot = bytes.slice(size(from - start)..size(to - start));
            match self.check_slot(&whole, at, from, slot) {
                Ok(entry) => row.push(entry),
                Err(error) if row.is_empty() => return Err(error),
                Err(_) => break,
            }
            from = to;
        }
        Ok(row)
    }

    fn read_slot(&self, run: &Run, table: &[u32], index: u32) -> Result<StoredEntry, FileError> {
        let (from, to) = slot_of(run, table, index);
        let mut slot = vec![0; size(to - from)];
        self.file.read_exact_at(&mut slot, from)?;
        self.check_slot(run, index, from, slot.into())
    }

    /// The entry in the bytes of a slot, if it is the one that belongs there, as it was written.
    fn check_slot(
        &self,
        run: &Run,
        index: u32,
        from: u64,
        slot: Bytes,
    ) -> Result<StoredEntry, FileError> {
        let head = format::decode_slot(&slot)
            .map_err(|error| Damage::decoding(&self.path, from, &error))?;
        let expected =
            EntryAddress { ledger: run.ledger, entry: EntryId(run.first.0 + u64::from(index)) };
        let found = EntryAddress { ledger: head.ledger, entry: head.entry };
        if found != expected {
            return Err(self.damage(from, format!("{found} where {expected} was written")));
        }
        let start = size(format::ENTRY_HEAD_BYTES);
        let payload = slot.slice(start..start + head.len as usize);
        if head.entry_crc != entry_crc(head.ledger, head.entry, &payload) {
            return Err(self.damage(from, format!("the client's checksum of {found} differs")));
        }
        Ok(StoredEntry { entry: head.entry, term: head.term, crc: head.entry_crc, payload })
    }

    /// Reads the whole extent again, from the medium as far as the system lets through, and checks
    /// every byte.
    pub fn verify(&self) -> Result<Verified, FileError> {
        self.verify_frame()?;
        let mut entries = 0;
        for run in &self.runs {
            let table = self.read_table(run)?;
            for index in 0..run.count {
                self.read_slot(run, &table, index)?;
                entries += 1;
            }
        }
        Ok(Verified { entries, bytes: self.file.len()? })
    }

    /// A run's offsets, from the medium whatever is in memory.
    pub(crate) fn fresh_table(&self, run: usize) -> Result<Arc<[u32]>, FileError> {
        self.read_table(&self.runs[run])
    }

    /// Reads an entry by a table read before.
    pub(crate) fn read_fresh(
        &self,
        run: usize,
        table: &[u32],
        index: u32,
    ) -> Result<StoredEntry, FileError> {
        self.read_slot(&self.runs[run], table, index)
    }

    /// Reads what is around the entries again: header, footer, trailer.
    pub(crate) fn verify_frame(&self) -> Result<(), FileError> {
        let owner = open_owner(&*self.file, &self.path)?;
        let runs = open_runs(&*self.file, &self.path, owner)?;
        if runs != self.runs {
            return Err(self.damage(0, "the footer is not the one it was opened with"));
        }
        Ok(())
    }

    fn damage(&self, at: u64, what: impl fmt::Display) -> FileError {
        Damage::new(&self.path, at, what.to_string()).into()
    }

    /// The table of a run, from memory if it is there.
    fn table(&self, run: usize) -> Result<Arc<[u32]>, FileError> {
        let number = u32::try_from(run).expect("a footer counts its runs in 32 bits");
        if let Some(table) = self.tables.get(self.id, number) {
            return Ok(table);
        }
        let table = self.read_table(&self.runs[run])?;
        self.tables.put(self.id, number, Arc::clone(&table));
        Ok(table)
    }

    /// Reads a run's table and checks that its slots fill the run and are of possible sizes.
    fn read_table(&self, run: &Run) -> Result<Arc<[u32]>, FileError> {
        let mut bytes = vec![0; size(run.table_len())];
        self.file.read_exact_at(&mut bytes, run.table_at)?;
        if crc32c::crc32c(&bytes) != run.table_crc {
            return Err(self.damage(run.table_at, "offset table checksum mismatch"));
        }
        let (numbers, _) = bytes.as_chunks::<4>();
        let table: Arc<[u32]> = numbers.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
        let most = format::slot_bytes(offset(caps::ENTRY_BYTES_MAX));
        let least = format::slot_bytes(0);
        for index in 0..run.count {
            let (from, to) = slot_of(run, &table, index);
            let fits = to.checked_sub(from).is_some_and(|len| (least..=most).contains(&len));
            if !fits || table[0] != 0 {
                return Err(self.damage(run.table_at, "the offset table does not fit its run"));
            }
        }
        Ok(table)
    }
}

/// Where the slot of an entry starts and ends.
fn slot_of(run: &Run, table: &[u32], index: u32) -> (u64, u64) {
    let start = |offset: &u32| run.data_at + u64::from(*offset) * ALIGN;
    let index = index as usize;
    let end = table.get(index + 1).map_or(run.data_at + run.data_len, start);
    (start(&table[index]), end)
}

/// Reads the header.
fn open_owner(file: &dyn DiskFile, path: &Path) -> Result<Owner, FileError> {
    let len = file.len()?;
    if len < HEADER_BYTES + TRAILER_BYTES {
        return Err(Damage::new(path, len, "too short for an extent").into());
    }
    let mut header = vec![0; size(HEADER_BYTES)];
    file.read_exact_at(&mut header, 0)?;
    format::decode_header(path, &header)
}

/// Reads header, trailer and footer; the runs, if they are this owner's.
fn open_runs(file: &dyn DiskFile, path: &Path, owner: Owner) -> Result<Vec<Run>, FileError> {
    let found = open_owner(file, path)?;
    if found != owner {
        let name = |owner: Owner| format!("{} of bookie {}", owner.extent, owner.incarnation);
        let (file, found, expected) = (path.to_owned(), name(found), name(owner));
        return Err(FileError::Foreign { file, found, expected });
    }
    let len = file.len()?;
    let mut trailer = [0; 24];
    file.read_exact_at(&mut trailer, len - TRAILER_BYTES)?;
    let (footer_at, footer_len) = format::decode_trailer(path, &trailer, len)?;
    let mut footer = vec![0; footer_len as usize];
    file.read_exact_at(&mut footer, footer_at)?;
    let (named, runs) = format::decode_footer(path, &footer, footer_at)?;
    if named != owner {
        return Err(Damage::new(path, footer_at, "the footer is another extent's").into());
    }
    Ok(runs)
}
