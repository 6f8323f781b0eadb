//! A disk whose syncs do nothing: what a bookie that acknowledges before it syncs would look like.
//!
//! Only the control uses it. The faulty disk itself is honest: what it synced, it keeps.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use egret_log::disk::{Disk, DiskFile, FaultyDisk, OpenHow};

/// A [`FaultyDisk`] that claims to have synced files.
#[derive(Debug, Clone)]
pub(crate) struct LyingDisk(pub(crate) FaultyDisk);

/// Honest once, so that a new file is filled and found; from then on only in words.
#[derive(Debug)]
struct LyingFile {
    file: Arc<dyn DiskFile>,
    synced: AtomicBool,
}

impl Disk for LyingDisk {
    fn open(&self, path: &Path, how: OpenHow, direct: bool) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.0.open(path, how, direct)?;
        let journal = path.parent().is_some_and(|dir| dir.ends_with("journal"));
        let synced = AtomicBool::new(false);
        Ok(if journal { Arc::new(LyingFile { file, synced }) } else { file })
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.0.create_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.0.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.0.remove(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.0.sync_dir(path)
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        self.0.list(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.0.exists(path)
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        self.0.free_bytes(path)
    }
}

impl DiskFile for LyingFile {
    fn read_exact_at(&self, buf: &mut [u8], at: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, at)
    }

    fn write_all_at(&self, buf: &[u8], at: u64) -> io::Result<()> {
        self.file.write_all_at(buf, at)
    }

    fn sync_data(&self) -> io::Result<()> {
        if self.synced.swap(true, Ordering::Relaxed) { Ok(()) } else { self.file.sync_data() }
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}
