//! Writes an extent front to back and seals it.
//!
//! Sealing makes the data durable before the footer that points to it is written: where a footer is
//! found, after a power cut too, the entries it speaks of are there.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use egret_schemas::{EntryAddress, EntryId, Incarnation, LedgerId, Term};

use super::ExtentId;
use super::format::{self, ALIGN, EntryHead, HEADER_BYTES, Owner, Run, offset, slot_bytes};
use crate::caps;
use crate::disk::{Disk, DiskFile, OpenHow};
use crate::message::entry_crc;
use crate::mutants::{self, Mutant};

/// An entry for an extent.
#[derive(Debug, Clone, Copy)]
pub struct EntryToWrite<'a> {
    /// The ledger.
    pub ledger: LedgerId,
    /// The entry's number.
    pub entry: EntryId,
    /// The term it was added under.
    pub term: Term,
    /// [`entry_crc`] as the client sent it.
    pub crc: u32,
    /// The entry's bytes.
    pub payload: &'a [u8],
}

/// Why an entry was not taken into an extent. The extent is then not to be sealed; what is in the
/// journal stays there.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// Its bytes changed in memory since they were added.
    #[error("{entry} changed in memory after it was added: restart to recover it from the journal")]
    Changed {
        /// The entry.
        entry: EntryAddress,
    },
    /// The disk did not take it.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// An extent being written.
#[derive(Debug)]
pub struct ExtentWriter {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    file: Arc<dyn DiskFile>,
    owner: Owner,
    /// Bytes not yet written.
    buffer: Vec<u8>,
    /// Where `buffer` goes.
    buffer_at: u64,
    /// Bytes written and not yet synced.
    unsynced: usize,
    /// The runs so far; the last one still grows. Their tables have no place yet.
    runs: Vec<Run>,
    /// All tables, one after the other.
    tables: Vec<u8>,
    /// Where the last run's table starts in `tables`.
    table_start: usize,
}

/// A sealed extent, durable under its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Its number, for the manifest.
    pub id: ExtentId,
    /// What it holds.
    pub runs: Vec<Run>,
    /// Its length.
    pub bytes: u64,
}

impl ExtentWriter {
    /// Starts an extent in `dir`. What an unfinished attempt left under its name is removed.
    pub fn create(
        disk: &Arc<dyn Disk>,
        dir: &Path,
        id: ExtentId,
        incarnation: Incarnation,
        created_ms: u64,
    ) -> io::Result<ExtentWriter> {
        let path = id.path(dir);
        if disk.exists(&path)? {
            disk.remove(&path)?;
        }
        let file = disk.open(&path, OpenHow::CreateNew, false)?;
        let owner = Owner { extent: id, incarnation };
        Ok(ExtentWriter {
            disk: Arc::clone(disk),
            dir: dir.to_owned(),
            file,
            owner,
            buffer: format::encode_header(owner, created_ms),
            buffer_at: 0,
            unsynced: 0,
            runs: Vec::new(),
            tables: Vec::new(),
            table_start: 0,
        })
    }

    /// Adds an entry after the others.
    ///
    /// # Errors
    /// [`WriteError::Changed`] when its checksum does not match: nothing bad is sealed.
    ///
    /// # Panics
    /// When it does not come after the last by (ledger, entry), or is over the limit for entries: the
    /// caller sorts, and checked the limit when it was added.
    pub fn append(&mut self, entry: &EntryToWrite<'_>) -> Result<(), WriteError> {
        let address = EntryAddress { ledger: entry.ledger, entry: entry.entry };
        if let Some(run) = self.runs.last() {
            let last = (run.ledger, run.last());
            assert!(last < (entry.ledger, entry.entry), "{address} is not after {last:?}");
        }
        assert!(entry.entry.0 < u64::MAX, "{address} has no number after it");
        assert!(entry.payload.len() <= caps::ENTRY_BYTES_MAX, "{address} is over the limit");
        if entry.crc != entry_crc(entry.ledger, entry.entry, entry.payload) {
            return Err(WriteError::Changed { entry: address });
        }
        let at = self.buffer_at + offset(self.buffer.len());
        self.place(entry.ledger, entry.entry, at, slot_bytes(offset(entry.payload.len())));
        let head = EntryHead {
            len: u32::try_from(entry.payload.len()).expect("an entry is far below 4 GiB"),
            ledger: entry.ledger,
            entry: entry.entry,
            term: entry.term,
            entry_crc: entry.crc,
        };
        format::put_entry_head(&mut self.buffer, &head, entry.payload);
        self.buffer.extend_from_slice(entry.payload);
        self.buffer.resize(self.buffer.len().next_multiple_of(format::size(ALIGN)), 0);
        if self.buffer.len() >= caps::EXTENT_WRITE_BYTES {
            self.flush()?;
            if self.unsynced >= caps::EXTENT_SYNC_BYTES {
                self.sync()?;
            }
        }
        Ok(())
    }

    /// Puts a slot of `len` bytes at `at` into the last run, or starts a new one.
    fn place(&mut self, ledger: LedgerId, entry: EntryId, at: u64, len: u64) {
        if let Some(run) = self.runs.last_mut() {
            let from_start = u32::try_from((at - run.data_at) / ALIGN);
            let next = run.ledger == ledger && run.last().next() == entry;
            if let Ok(from_start) = from_start
                && next
                && run.count < caps::EXTENT_RUN_ENTRIES_MAX
            {
                run.count += 1;
                run.data_len += len;
                self.tables.extend_from_slice(&from_start.to_le_bytes());
                return;
            }
        }
        self.end_run();
        self.runs.push(Run {
            ledger,
            first: entry,
            count: 1,
            data_at: at,
            data_len: len,
            table_at: 0,
            table_crc: 0,
        });
        self.tables.extend_from_slice(&0u32.to_le_bytes());
    }

    /// Takes the checksum of the last run's table, which is complete.
    fn end_run(&mut self) {
        if let Some(run) = self.runs.last_mut() {
            run.table_crc = crc32c::crc32c(&self.tables[self.table_start..]);
        }
        self.table_start = self.tables.len();
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all_at(&self.buffer, self.buffer_at)?;
        self.buffer_at += offset(self.buffer.len());
        self.unsynced += self.buffer.len();
        self.buffer.clear();
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.unsynced = 0;
        self.file.sync_data()
    }

    /// Bytes of the file so far.
    pub fn bytes(&self) -> u64 {
        self.buffer_at + offset(self.buffer.len())
    }

    /// Makes the extent durable: data, footer, name. Only then may a manifest list it.
    pub fn seal(mut self) -> io::Result<Sealed> {
        self.flush()?;
        if !mutants::on(Mutant::ExtentNotSynced) {
            self.sync()?;
        }
        self.end_run();
        let mut table_at = self.buffer_at;
        debug_assert!(table_at >= HEADER_BYTES, "the header was flushed");
        for run in &mut self.runs {
            run.table_at = table_at;
            table_at += run.table_len();
        }
        self.buffer = std::mem::take(&mut self.tables);
        format::put_footer(&mut self.buffer, self.owner, &self.runs, table_at);
        self.flush()?;
        if !mutants::on(Mutant::ExtentNotSynced) {
            self.sync()?;
        }
        self.disk.sync_dir(&self.dir)?;
        Ok(Sealed { id: self.owner.extent, runs: self.runs, bytes: self.buffer_at })
    }
}
