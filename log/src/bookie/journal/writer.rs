//! Appends batches to the journal: one write, one sync each.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use egret_schemas::Incarnation;

use super::files::{self, AlignedBuf, SpareError, Spares};
use super::format::{
    BATCH_HEAD, BLOCK, BLOCK_U64, BatchHeader, FLAG_END, FileHeader, Lsn, Record, padded,
};
use crate::caps;
use crate::disk::{Disk, DiskFile};
use crate::mutants::{self, Mutant};

/// The buffer kept between batches; a larger batch gets one for itself.
const BUFFER_BYTES: usize = caps::JOURNAL_BATCH_BYTES_MAX + 2 * BLOCK;

/// Why a batch was not appended.
#[derive(Debug)]
pub(crate) enum WriteError {
    /// No space for another file. Nothing was written.
    Full {
        /// Bytes left.
        free: u64,
    },
    /// The disk failed: the batch may be on it or not, and nothing may follow.
    Failed(String),
}

/// A file the journal consists of.
#[derive(Debug, Clone)]
pub(crate) struct JournalFile {
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    /// The highest LSN in it; meaningless while it is the last.
    pub(crate) last_lsn: Lsn,
}

/// What of a file is written and does not change any more.
#[derive(Debug)]
pub(crate) struct WrittenPart {
    pub(crate) path: PathBuf,
    /// Up to where; the whole of what a batch says for files before the last.
    pub(crate) until: Option<u64>,
    /// The batch that comes after it.
    pub(crate) next_lsn: Lsn,
}

/// The file appends go to.
#[derive(Debug)]
pub(crate) struct Current {
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) header: FileHeader,
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
    /// Where the next batch goes.
    pub(crate) offset: u64,
    /// `hdr_crc` of the batch before it.
    pub(crate) prev_crc: u32,
}

/// The one writer of a journal.
#[derive(Debug)]
pub(crate) struct JournalWriter {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    spares: Arc<Spares>,
    current: Current,
    full: VecDeque<JournalFile>,
    /// The next batch's number. All before it are durable, or the writer has failed.
    next_lsn: Lsn,
    buffer: AlignedBuf,
    /// For the positive control of the crash tests: answers before it is durable.
    #[cfg(test)]
    pub(crate) skip_sync: bool,
}

impl JournalWriter {
    /// Goes on where a replay ended. `current` is synced; `next_lsn` follows the last batch in it.
    pub(crate) fn resume(
        disk: Arc<dyn Disk>,
        dir: &Path,
        spares: Arc<Spares>,
        current: Current,
        full: VecDeque<JournalFile>,
        next_lsn: Lsn,
    ) -> JournalWriter {
        JournalWriter {
            disk,
            dir: dir.to_owned(),
            spares,
            current,
            full,
            next_lsn,
            buffer: AlignedBuf::zeroed(BUFFER_BYTES),
            #[cfg(test)]
            skip_sync: false,
        }
    }

    /// The last durable batch.
    pub(crate) fn durable_lsn(&self) -> Lsn {
        self.next_lsn - 1
    }

    /// How many files the journal has.
    pub(crate) fn files(&self) -> usize {
        self.full.len() + 1
    }

    /// Writes one batch and syncs it; returns its number. No records make an idle mark: an empty batch
    /// by whose `durable_lsn` a later start knows that the one before was durable.
    pub(crate) fn append<'a>(
        &mut self,
        records: impl Iterator<Item = &'a Record> + Clone,
    ) -> Result<Lsn, WriteError> {
        let body: usize = records.clone().map(Record::len).sum();
        let total = padded((BATCH_HEAD + body) as u64);
        // The last block is kept for the batch that says where the journal goes on.
        if self.current.offset + total + BLOCK_U64 > self.current.bytes {
            let reserved = !records.clone().any(|record| matches!(record, Record::Add { .. }));
            self.switch(total, reserved)?;
        }
        let header = BatchHeader {
            flags: 0,
            records: 0,
            salt: self.current.header.salt,
            lsn: self.next_lsn,
            body_len: 0,
            body_crc: 0,
            prev_batch_crc: self.current.prev_crc,
            durable_lsn: self.next_lsn - 1,
        };
        let at = self.current.offset;
        let crc = self.write_batch(header, records, body).map_err(|e| self.failed("write", &e))?;
        if self.syncs() {
            let synced = self.current.file.sync_data();
            if !mutants::on(Mutant::SyncErrorIgnored) {
                synced.map_err(|e| self.failed("sync", &e))?;
            }
        }
        self.current.prev_crc = crc;
        self.current.offset = at + total;
        self.next_lsn += 1;
        Ok(header.lsn)
    }

    /// What is written so far.
    pub(crate) fn written(&self) -> Vec<WrittenPart> {
        let full = self.full.iter().map(|file| WrittenPart {
            path: file.path.clone(),
            until: None,
            next_lsn: file.last_lsn + 1,
        });
        let current = WrittenPart {
            path: self.current.path.clone(),
            until: Some(self.current.offset),
            next_lsn: self.next_lsn,
        };
        full.chain([current]).collect()
    }

    /// Files whose batches are all ≤ `lsn`; they are the caller's to recycle.
    pub(crate) fn take_covered(&mut self, lsn: Lsn) -> Vec<(PathBuf, u64)> {
        let covered = self.full.iter().take_while(|file| file.last_lsn <= lsn).count();
        self.full.drain(..covered).map(|file| (file.path, file.bytes)).collect()
    }

    fn write_batch<'a>(
        &mut self,
        mut header: BatchHeader,
        records: impl Iterator<Item = &'a Record>,
        body: usize,
    ) -> io::Result<u32> {
        let used = BATCH_HEAD + body;
        let total = used.next_multiple_of(BLOCK);
        let mut large;
        let out = if total <= self.buffer.len() {
            self.buffer.front(total)
        } else {
            large = AlignedBuf::zeroed(total);
            large.front(total)
        };
        let mut at = BATCH_HEAD;
        for record in records {
            at += record.encode(&mut out[at..used]);
            header.records += 1;
        }
        out[used..].fill(0);
        header.body_len = u32::try_from(body).expect("a batch is bounded far below 4 GiB");
        header.body_crc = crc32c::crc32c(&out[BATCH_HEAD..used]);
        let crc = header.encode(out);
        self.current.file.write_all_at(out, self.current.offset)?;
        Ok(crc)
    }

    /// Goes on in another file that has room for a batch of `total` bytes.
    fn switch(&mut self, total: u64, reserved: bool) -> Result<(), WriteError> {
        let next = match create(
            &self.disk,
            &self.dir,
            &self.spares,
            self.current.header.incarnation,
            (self.current.header.file_seq + 1, self.next_lsn),
            (total, reserved),
        ) {
            Ok(next) => next,
            Err(SpareError::Full { free }) => return Err(WriteError::Full { free }),
            Err(SpareError::Io(error)) => return Err(self.failed("new file", &error)),
        };
        let end = BatchHeader {
            flags: FLAG_END,
            records: 0,
            salt: self.current.header.salt,
            lsn: self.next_lsn,
            body_len: 0,
            body_crc: 0,
            prev_batch_crc: self.current.prev_crc,
            durable_lsn: self.next_lsn - 1,
        };
        self.write_batch(end, std::iter::empty(), 0).map_err(|e| self.failed("write", &e))?;
        if self.syncs() {
            self.current.file.sync_data().map_err(|e| self.failed("sync", &e))?;
        }
        let old = std::mem::replace(&mut self.current, next);
        self.full.push_back(JournalFile {
            path: old.path,
            bytes: old.bytes,
            last_lsn: self.next_lsn - 1,
        });
        Ok(())
    }

    fn failed(&self, what: &str, error: &io::Error) -> WriteError {
        WriteError::Failed(format!("{} of {}: {error}", what, self.current.path.display()))
    }

    #[cfg(test)]
    fn syncs(&self) -> bool {
        !self.skip_sync && !mutants::on(Mutant::SyncSkipped)
    }

    #[cfg(not(test))]
    #[expect(clippy::unused_self, reason = "the tests' twin looks at a switch")]
    fn syncs(&self) -> bool {
        !mutants::on(Mutant::SyncSkipped)
    }
}

/// Makes a listed file of this number and first batch, with room for one batch of so many bytes, which may use the
/// reserve or not.
pub(crate) fn create(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    spares: &Spares,
    incarnation: Incarnation,
    (file_seq, start_lsn): (u64, Lsn),
    (batch_bytes, reserved): (u64, bool),
) -> Result<Current, SpareError> {
    let spare = spares.take(batch_bytes, reserved)?;
    let header = FileHeader::new(incarnation, file_seq, start_lsn, spare.bytes);
    let (block, crc) = header.encode();
    let mut aligned = AlignedBuf::zeroed(BLOCK);
    aligned.front(BLOCK).copy_from_slice(&block);
    spare.file.write_all_at(aligned.front(BLOCK), 0)?;
    spare.file.sync_data()?;
    let path = dir.join(files::name(header.file_seq));
    disk.rename(&spare.path, &path)?;
    disk.sync_dir(dir)?;
    Ok(Current {
        file: spare.file,
        header,
        path,
        bytes: spare.bytes,
        offset: BLOCK_U64,
        prev_crc: crc,
    })
}
