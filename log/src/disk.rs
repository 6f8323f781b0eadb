//! The only way to the log's durable files: a [`Disk`], real or faulty.
//!
//! * [`RealDisk`]: a file system, with positional I/O, `O_DIRECT` where asked and possible, and fsync of
//!   files and directories. It also takes the lock that makes a directory have one holder.
//! * [`FaultyDisk`]: memory that behaves like a file system and a medium with power cuts: what was not
//!   synced may be lost, torn or reordered; bytes may flip; syncs and space may fail.
//!
//! Callers sync what must last: a file's bytes with [`DiskFile::sync_data`], a name (a created, renamed
//! or removed file) with [`Disk::sync_dir`] of its directory.

mod faulty;
mod located;
mod real;

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Arc;

pub use faulty::FaultyDisk;
pub(crate) use located::located;
pub use real::{DirLock, LockError, RealDisk};

/// How a file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenHow {
    /// To read; it must exist.
    Read,
    /// To read and write; it must exist.
    Write,
    /// To read and write; it must not exist.
    CreateNew,
}

/// A file system, as far as the log uses one.
pub trait Disk: Send + Sync + Debug + 'static {
    /// Opens a file. `direct` asks to bypass the page cache (buffers, offsets and lengths are then
    /// multiples of 4096 at addresses that are too); where that is not possible it is ignored.
    fn open(&self, path: &Path, how: OpenHow, direct: bool) -> io::Result<Arc<dyn DiskFile>>;

    /// Creates a directory and its parents, durably.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// Renames a file, replacing what has the new name. Durable after [`sync_dir`](Disk::sync_dir).
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Durable after [`sync_dir`](Disk::sync_dir).
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;

    /// The names of the files in a directory, sorted.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;

    /// Whether a file or directory is there.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Bytes left for data on the file system of `path`.
    fn free_bytes(&self, path: &Path) -> io::Result<u64>;
}

/// An open file: positional reads and writes, from any thread.
pub trait DiskFile: Send + Sync + Debug {
    /// Fills `buf` from `at`; an error if the file ends before.
    fn read_exact_at(&self, buf: &mut [u8], at: u64) -> io::Result<()>;

    /// Writes all of `buf` at `at`, growing the file if need be. Durable after
    /// [`sync_data`](DiskFile::sync_data).
    fn write_all_at(&self, buf: &[u8], at: u64) -> io::Result<()>;

    /// Makes everything written so far, and the length, durable.
    fn sync_data(&self) -> io::Result<()>;

    /// Sets the length; new bytes are zeros. Durable after [`sync_data`](DiskFile::sync_data).
    fn set_len(&self, bytes: u64) -> io::Result<()>;

    /// The length.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }
}
