//! Journal files before and after their use: names, filling, recycling.
//!
//! A file is filled with zeros and synced under a temporary name, so that appends overwrite blocks the
//! file system has already given out and a sync moves no metadata. A file whose batches are all
//! checkpointed becomes a spare again, without filling: its next header has another salt.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::format::{BLOCK, BLOCK_U64};
use crate::caps;
use crate::disk::{Disk, DiskFile, OpenHow};

/// Spares kept in any case; further ones are deleted, unless the last checkpoint made more free.
const SPARES_MIN: usize = caps::JOURNAL_FILES_MAX;

/// Spares kept at most. As many files are in use when all that is taken beside a checkpoint came while one was written.
const SPARES_MAX: usize = caps::JOURNAL_FILES_MAX * (1 + caps::WRITE_CACHE_AHEAD) / 2;

/// Zeros are written in pieces of this size.
const FILL_BYTES: usize = 1 << 20;

/// A buffer whose front lies on a multiple of [`BLOCK`], as direct I/O asks.
#[derive(Debug)]
pub(crate) struct AlignedBuf {
    bytes: Vec<u8>,
    start: usize,
}

impl AlignedBuf {
    /// Zeros.
    pub(crate) fn zeroed(len: usize) -> AlignedBuf {
        let bytes = vec![0; len + BLOCK];
        let start = bytes.as_ptr().align_offset(BLOCK);
        AlignedBuf { bytes, start: if start < BLOCK { start } else { 0 } }
    }

    /// How much it holds.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len() - BLOCK
    }

    /// Its first `len` bytes.
    pub(crate) fn front(&mut self, len: usize) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + len]
    }
}

/// The name of the `seq`-th file.
pub(crate) fn name(seq: u64) -> String {
    format!("J{seq:016x}")
}

/// The number in a file's name, if it is one of a journal file.
pub(crate) fn number(name: &str) -> Option<u64> {
    let digits = name.strip_prefix('J').filter(|digits| digits.len() == 16)?;
    let seq = u64::from_str_radix(digits, 16).ok()?;
    (self::name(seq) == name).then_some(seq)
}

/// Why a file could not be made.
#[derive(Debug)]
pub(crate) enum SpareError {
    /// Too little space is left; nothing was changed.
    Full {
        /// Bytes left.
        free: u64,
    },
    /// The disk failed.
    Io(io::Error),
}

impl From<io::Error> for SpareError {
    fn from(error: io::Error) -> SpareError {
        SpareError::Io(error)
    }
}

/// A filled file without a number.
#[derive(Debug)]
pub(crate) struct Spare {
    pub(crate) path: PathBuf,
    pub(crate) file: Arc<dyn DiskFile>,
    pub(crate) bytes: u64,
}

/// Makes and keeps spares of one journal directory.
#[derive(Debug)]
pub(crate) struct Spares {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    file_bytes: u64,
    reserve_bytes: u64,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    spares: Vec<Spare>,
    next: u64,
}

impl Spares {
    /// Takes over what an earlier life left in `dir`: whole spares are kept, the rest is removed.
    pub(crate) fn open(
        disk: Arc<dyn Disk>,
        dir: &Path,
        file_bytes: u64,
        reserve_bytes: u64,
    ) -> io::Result<Spares> {
        let mut kept = Kept::default();
        for name in disk.list(dir)? {
            let Some(number) = spare_number(&name) else { continue };
            kept.next = kept.next.max(number + 1);
            let path = dir.join(&name);
            let file = disk.open(&path, OpenHow::Write, true)?;
            if kept.spares.len() < SPARES_MAX && file.len()? == file_bytes {
                kept.spares.push(Spare { path, file, bytes: file_bytes });
            } else {
                disk.remove(&path)?;
            }
        }
        let dir = dir.to_owned();
        Ok(Spares { disk, dir, file_bytes, reserve_bytes, kept: Mutex::new(kept) })
    }

    /// A file for a batch of `batch_bytes`: a spare if it fits one, else one made for it. `reserved`
    /// batches may use the space kept free: those that add nothing but may be what frees some.
    pub(crate) fn take(&self, batch_bytes: u64, reserved: bool) -> Result<Spare, SpareError> {
        let bytes = self.file_bytes.max(batch_bytes + 2 * BLOCK_U64);
        if bytes == self.file_bytes
            && let Some(spare) = self.kept().spares.pop()
        {
            return Ok(spare);
        }
        self.make(bytes, if reserved { 0 } else { self.reserve_bytes })
    }

    /// Makes a spare if there is none.
    pub(crate) fn prepare(&self) -> Result<(), SpareError> {
        if !self.kept().spares.is_empty() {
            return Ok(());
        }
        let spare = self.make(self.file_bytes, self.reserve_bytes)?;
        self.kept().spares.push(spare);
        Ok(())
    }

    /// Takes back files that are no longer needed. They are gone from the listing when this returns. As many are
    /// kept as came back at once: until the next come back about as many are taken, and filling one
    /// holds up whoever waits for the journal.
    pub(crate) fn recycle(&self, files: &[(PathBuf, u64)]) -> io::Result<()> {
        let mut renamed = Vec::new();
        let most = files.len().clamp(SPARES_MIN, SPARES_MAX);
        let surplus: Vec<Spare> = {
            let mut kept = self.kept();
            let keeps = kept.spares.len().min(most);
            kept.spares.drain(keeps..).collect()
        };
        for spare in surplus {
            self.disk.remove(&spare.path)?;
        }
        for (path, bytes) in files {
            let room = self.kept().spares.len() + renamed.len() < most;
            if room && *bytes == self.file_bytes {
                let spare = self.next_path();
                self.disk.rename(path, &spare)?;
                renamed.push(spare);
            } else {
                self.disk.remove(path)?;
            }
        }
        // Before a header is written over an old one: else a power cut could bring the old name back
        // in front of the new header.
        self.disk.sync_dir(&self.dir)?;
        for path in renamed {
            let file = self.disk.open(&path, OpenHow::Write, true)?;
            self.kept().spares.push(Spare { path, file, bytes: self.file_bytes });
        }
        Ok(())
    }

    fn make(&self, bytes: u64, reserve_bytes: u64) -> Result<Spare, SpareError> {
        let free = self.disk.free_bytes(&self.dir)?;
        if free < reserve_bytes + bytes {
            return Err(SpareError::Full { free });
        }
        let path = self.next_path();
        match self.fill(&path, bytes) {
            Ok(file) => Ok(Spare { path, file, bytes }),
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {
                let _ = self.disk.remove(&path);
                Err(SpareError::Full { free: self.disk.free_bytes(&self.dir)? })
            }
            Err(error) => Err(SpareError::Io(error)),
        }
    }

    fn fill(&self, path: &Path, bytes: u64) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(path, OpenHow::CreateNew, true)?;
        let piece = usize::try_from(bytes).unwrap_or(FILL_BYTES).min(FILL_BYTES);
        let mut zeros = AlignedBuf::zeroed(piece);
        let mut at = 0;
        while at < bytes {
            let left = usize::try_from(bytes - at).unwrap_or(piece).min(piece);
            file.write_all_at(zeros.front(left), at)?;
            at += left as u64;
        }
        file.sync_data()?;
        Ok(file)
    }

    fn next_path(&self) -> PathBuf {
        let mut kept = self.kept();
        kept.next += 1;
        self.dir.join(format!("spare{}.tmp", kept.next))
    }

    fn kept(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whether a file of this name is a spare.
pub(crate) fn is_spare(name: &str) -> bool {
    spare_number(name).is_some()
}

fn spare_number(name: &str) -> Option<u64> {
    name.strip_prefix("spare")?.strip_suffix(".tmp")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_name_it_would_give_is_a_journal_file() {
        assert_eq!(number(&name(0xABC)), Some(0xABC));
        for other in ["J1", "J0000000000000ABC", "spare1.tmp", "J000000000000000G", "LOCK", ""] {
            assert_eq!(number(other), None, "{other}");
        }
        assert_eq!(number("J0000000000000ABc"), None);
    }

    #[test]
    fn an_aligned_buffer_is_aligned() {
        let mut buf = AlignedBuf::zeroed(3 * BLOCK);
        assert_eq!(buf.len(), 3 * BLOCK);
        assert_eq!(buf.front(3 * BLOCK).as_ptr().align_offset(BLOCK), 0);
    }
}
