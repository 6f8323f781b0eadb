//! A file system: positional I/O, fsync of files and directories, and the lock of a directory.
//!
//! Every error carries the path and what was being done, so that its text alone tells where to look.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{Disk, DiskFile, OpenHow};

/// The machine's own file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct RealDisk;

/// The file that makes a directory have one holder.
const LOCK: &str = "LOCK";

/// An I/O error and where it happened.
#[derive(Debug, thiserror::Error)]
#[error("{}: {doing}: {source}", .path.display())]
struct AtPath {
    path: PathBuf,
    doing: &'static str,
    source: io::Error,
}

/// Adds the path and the action to an error; its kind stays.
fn at(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> io::Error {
    move |source| {
        let kind = source.kind();
        io::Error::new(kind, AtPath { path: path.to_owned(), doing, source })
    }
}

/// The directory a name is in.
fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

impl RealDisk {
    /// Takes a directory for this process, until the lock is dropped or the process ends.
    ///
    /// # Errors
    /// [`LockError::Held`] when another process has it (or this one, already).
    pub fn lock(dir: &Path) -> Result<DirLock, LockError> {
        let path = dir.join(LOCK);
        let io = |doing| {
            let path = path.clone();
            move |source| LockError::Io { source: at(&path, doing)(source) }
        };
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io("open the lock"))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = std::fs::read_to_string(&path).ok();
                let pid = pid.and_then(|text| text.trim().parse().ok());
                return Err(LockError::Held { dir: dir.to_owned(), pid });
            }
            Err(TryLockError::Error(error)) => return Err(io("lock")(error)),
        }
        file.set_len(0).map_err(io("empty the lock"))?;
        // Only messages name the holder: that a full disk has no room for it is no reason to refuse.
        let _ = file.write_all_at(format!("{}\n", std::process::id()).as_bytes(), 0);
        Ok(DirLock { file })
    }
}

/// A directory held by this process; let go when dropped.
#[derive(Debug)]
pub struct DirLock {
    file: File,
}

impl Drop for DirLock {
    fn drop(&mut self) {
        // A pid left behind would only mislead; the lock itself goes with the file handle.
        let _ = self.file.set_len(0);
    }
}

/// Why a directory could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Someone has it.
    #[error(
        "{dir} is in use by {holder}: stop it, or talk to it instead of opening its directory",
        dir = .dir.display(),
        holder = match pid { Some(pid) => format!("process {pid}"), None => "another process".into() }
    )]
    Held {
        /// The directory.
        dir: PathBuf,
        /// The holder, if it has written itself down yet.
        pid: Option<u32>,
    },
    /// The lock file could not be used.
    #[error("{source}: make the directory writable for this user")]
    Io {
        /// What happened.
        source: io::Error,
    },
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, how: OpenHow, direct: bool) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true);
        let doing = match how {
            OpenHow::Read => "open",
            OpenHow::Write => {
                options.write(true);
                "open to write"
            }
            OpenHow::CreateNew => {
                options.write(true).create_new(true);
                "create"
            }
        };
        let file = options.open(path).map_err(at(path, doing))?;
        if direct {
            bypass_cache(&file).map_err(at(path, "bypass the page cache"))?;
        }
        Ok(Arc::new(RealFile { file, path: path.to_owned() }))
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut missing = Vec::new();
        let mut dir = path;
        while !dir.try_exists().map_err(at(dir, "look for the directory"))? {
            missing.push(dir);
            dir = parent(dir);
        }
        for dir in missing.iter().rev() {
            match std::fs::create_dir(dir) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(at(dir, "create the directory")(error));
                }
                _ => self.sync_dir(parent(dir))?,
            }
        }
        if missing.is_empty() {
            if !path.is_dir() {
                return Err(at(path, "create the directory")(io::ErrorKind::NotADirectory.into()));
            }
            // It may be left by a process that ended before it synced the parent. Where the parent
            // may not be read, the directory was made by someone else.
            match self.sync_dir(parent(path)) {
                Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to).map_err(at(to, "rename to"))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path).map_err(at(path, "remove"))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let dir = File::open(path).map_err(at(path, "open the directory"))?;
        dir.sync_all().map_err(at(path, "sync the directory"))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for item in std::fs::read_dir(path).map_err(at(path, "list"))? {
            let item = item.map_err(at(path, "list"))?;
            if !item.file_type().map_err(at(path, "list"))?.is_dir() {
                names.push(item.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists().map_err(at(path, "look for"))
    }

    fn free_bytes(&self, path: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(path)
            .map_err(|error| at(path, "ask for free space")(error.into()))?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// Sets `O_DIRECT` on an open file. A file system that cannot leaves the file buffered. (Opening with
/// the flag instead would, on such a file system, fail after having created the file.)
#[cfg(target_os = "linux")]
fn bypass_cache(file: &File) -> io::Result<()> {
    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
    match fcntl_setfl(file, fcntl_getfl(file)? | OFlags::DIRECT) {
        Err(rustix::io::Errno::INVAL) => Ok(()),
        other => Ok(other?),
    }
}

#[cfg(not(target_os = "linux"))]
fn bypass_cache(_: &File) -> io::Result<()> {
    Ok(())
}

/// An open file and its name, for errors.
#[derive(Debug)]
struct RealFile {
    file: File,
    path: PathBuf,
}

impl DiskFile for RealFile {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, offset).map_err(at(&self.path, "read"))
    }

    fn write_all_at(&self, buf: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(buf, offset).map_err(at(&self.path, "write"))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data().map_err(at(&self.path, "sync"))
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        self.file.set_len(bytes).map_err(at(&self.path, "set the length"))
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata().map_err(at(&self.path, "ask for the length"))?.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_what_was_written_across_a_rename() {
        let dir = tempfile::tempdir().unwrap();
        let deep = dir.path().join("a/b/c");
        RealDisk.create_dir(&deep).unwrap();
        RealDisk.create_dir(&deep).unwrap();
        let (old, new) = (deep.join("old"), deep.join("new"));
        let file = RealDisk.open(&old, OpenHow::CreateNew, false).unwrap();
        file.write_all_at(b"egret", 3).unwrap();
        file.sync_data().unwrap();
        RealDisk.rename(&old, &new).unwrap();
        RealDisk.sync_dir(&deep).unwrap();
        assert_eq!(RealDisk.list(&deep).unwrap(), ["new"]);
        assert!(!RealDisk.exists(&old).unwrap());
        let file = RealDisk.open(&new, OpenHow::Read, false).unwrap();
        assert_eq!(file.len().unwrap(), 8);
        let mut bytes = [1; 8];
        file.read_exact_at(&mut bytes, 0).unwrap();
        assert_eq!(&bytes, b"\0\0\0egret");
        assert!(file.write_all_at(b"x", 0).is_err());
        RealDisk.remove(&new).unwrap();
        assert!(RealDisk.list(&deep).unwrap().is_empty());
        assert!(RealDisk.free_bytes(&deep).unwrap() > 0);
    }

    #[test]
    fn errors_name_the_path_and_keep_their_kind() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("missing");
        let error = RealDisk.open(&path, OpenHow::Read, false).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
        assert!(error.to_string().contains(&*path.to_string_lossy()), "{error}");
        let file = RealDisk.open(&path, OpenHow::CreateNew, false).unwrap();
        let again = RealDisk.open(&path, OpenHow::CreateNew, false).unwrap_err();
        assert_eq!(again.kind(), io::ErrorKind::AlreadyExists);
        let short = file.read_exact_at(&mut [0; 4], 0).unwrap_err();
        assert_eq!(short.kind(), io::ErrorKind::UnexpectedEof);
        let in_the_way = RealDisk.create_dir(&path).unwrap_err();
        assert_eq!(in_the_way.kind(), io::ErrorKind::NotADirectory);
    }

    #[test]
    fn an_aligned_write_that_bypasses_the_cache_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("direct");
        let file = RealDisk.open(&path, OpenHow::CreateNew, true).unwrap();
        let space = vec![7u8; 8192];
        let skip = space.as_ptr().align_offset(4096);
        file.write_all_at(&space[skip..skip + 4096], 4096).unwrap();
        file.sync_data().unwrap();
        let mut read = [0u8; 10];
        let file = RealDisk.open(&path, OpenHow::Read, false).unwrap();
        file.read_exact_at(&mut read, 4091).unwrap();
        assert_eq!(read, [0, 0, 0, 0, 0, 7, 7, 7, 7, 7]);
    }

    #[test]
    fn a_directory_has_one_holder_and_the_second_is_told_its_pid() {
        let dir = tempfile::tempdir().unwrap();
        let lock = RealDisk::lock(dir.path()).unwrap();
        match RealDisk::lock(dir.path()).unwrap_err() {
            LockError::Held { pid, .. } => assert_eq!(pid, Some(std::process::id())),
            other @ LockError::Io { .. } => panic!("{other}"),
        }
        drop(lock);
        assert_eq!(std::fs::read(dir.path().join(LOCK)).unwrap(), b"", "no pid is left behind");
        drop(RealDisk::lock(dir.path()).unwrap());
        let nowhere = RealDisk::lock(&dir.path().join("nowhere")).unwrap_err();
        assert!(matches!(nowhere, LockError::Io { .. }), "{nowhere}");
    }
}
