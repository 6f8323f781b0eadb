//! The directory of one task: it has one owner, and is wiped before and after.
//!
//! ```text
//! BELOW/TOPOLOGY/COMPONENT/lock                    held while one of them is made or put aside
//!                         /TASK-GENERATION/lock    held by its owner, for as long as it lives
//!                         /TASK-GENERATION/tree/
//!                         /gone-PROCESS-N/         put aside, to be removed
//! ```

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use egret_state::keyed::backing::{Fault, Place};

use crate::caps;
use crate::larger::fault;

/// A directory this process owns; goes with this.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    /// Held, not read.
    _lock: File,
}

impl Directory {
    /// Makes the one of a task, empty, and removes those nobody owns any more.
    pub(crate) fn make(below: &Path, place: &Place<'_>) -> Result<Directory, Box<Fault>> {
        let all = below.join(place.topology).join(place.component);
        let path = all.join(format!("{}-{}", place.task, place.generation));
        let failed = |why: io::Error| broken(&path, &why);
        fs::create_dir_all(&all).map_err(failed)?;
        let turn = turn(&all).map_err(failed)?;
        put_aside(&all).map_err(failed)?;
        if path.exists() {
            let why = "another process works there, on a topology of the same name: name another directory \
                 with `LargerThanMemory::at`";
            return Err(fault(path.display(), why, false));
        }
        fs::create_dir(&path).map_err(failed)?;
        let lock = File::create_new(path.join("lock")).map_err(failed)?;
        lock.try_lock().map_err(|why| failed(why.into()))?;
        drop(turn);
        remove_what_is_aside(&all);
        Ok(Directory { path, _lock: lock })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn tree(&self) -> PathBuf {
        self.path.join("tree")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // The lock goes last, so that whoever finds the rest knows nobody owns it.
        let removed = fs::remove_dir_all(self.tree()).and_then(|()| fs::remove_dir_all(&self.path));
        if let Err(why) = removed {
            tracing::warn!(path = %self.path.display(), %why, "state files of a task that is gone are left");
        }
    }
}

/// Waits for this process's turn to change what directories there are.
fn turn(all: &Path) -> io::Result<File> {
    let file =
        OpenOptions::new().create(true).truncate(false).write(true).open(all.join("lock"))?;
    let tries = caps::LOCK_PATIENCE.as_millis() / caps::LOCK_AGAIN.as_millis();
    for _ in 0..tries {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::Error(why)) => return Err(why),
            Err(TryLockError::WouldBlock) => std::thread::sleep(caps::LOCK_AGAIN),
        }
    }
    Err(io::Error::new(
        io::ErrorKind::TimedOut,
        "another process holds `lock` in the directory above",
    ))
}

/// Gives directories without an owner a name nobody takes for one in use.
fn put_aside(all: &Path) -> io::Result<()> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    for found in fs::read_dir(all)? {
        let path = found?.path();
        if !path.is_dir() || is_aside(&path) {
            continue;
        }
        let free = match File::open(path.join("lock")) {
            Ok(lock) => lock.try_lock().is_ok(),
            // Its owner went while it made it, or while it removed it.
            Err(why) if why.kind() == io::ErrorKind::NotFound => true,
            Err(_) => false,
        };
        if free {
            let number = NUMBER.fetch_add(1, Ordering::Relaxed);
            match fs::rename(&path, all.join(format!("gone-{}-{number}", std::process::id()))) {
                // Its owner was removing it.
                Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
                _ => {}
            }
        }
    }
    Ok(())
}

fn is_aside(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("gone-"))
}

/// Several may do so at once; what one of them cannot remove another does, or the next one that comes.
fn remove_what_is_aside(all: &Path) {
    let Ok(found) = fs::read_dir(all) else { return };
    for path in found.filter_map(|found| Some(found.ok()?.path())).filter(|path| is_aside(path)) {
        if let Err(why) = fs::remove_dir_all(&path)
            && why.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(path = %path.display(), %why, "state files nobody owns are left");
        }
    }
}

/// An error of the disk, and what to do about it.
pub(crate) fn broken(path: &Path, why: &io::Error) -> Box<Fault> {
    let full = matches!(why.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let cure = match why.kind() {
        _ if full => "make room there",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => "make it writable",
        io::ErrorKind::NotADirectory | io::ErrorKind::AlreadyExists => {
            "remove what is in its place"
        }
        _ => "see to the disk",
    };
    let may_pass = !matches!(
        why.kind(),
        io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::NotADirectory
            | io::ErrorKind::AlreadyExists
    );
    let why = format!("{why}: {cure}, or name another directory with `LargerThanMemory::at`");
    fault(path.display(), why, may_pass)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(task: u32, generation: u32) -> Place<'static> {
        Place { directory: None, topology: "words", component: "count", task, generation }
    }

    fn names(below: &Path) -> Vec<String> {
        let found = fs::read_dir(below.join("words/count")).unwrap();
        let mut names: Vec<_> =
            found.map(|found| found.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn what_nobody_owns_is_removed_and_what_somebody_owns_is_not() {
        let below = tempfile::tempdir().unwrap();
        let left = below.path().join("words/count/3-1");
        fs::create_dir_all(left.join("tree/tables")).unwrap();
        fs::write(left.join("lock"), "").unwrap();
        fs::create_dir_all(below.path().join("words/count/gone-1-1/tree")).unwrap();
        fs::create_dir_all(below.path().join("words/count/half made")).unwrap();
        let first = Directory::make(below.path(), &place(0, 7)).unwrap();
        fs::create_dir_all(first.tree()).unwrap();
        let second = Directory::make(below.path(), &place(1, 8)).unwrap();
        assert_eq!(names(below.path()), ["0-7", "1-8", "lock"]);
        drop(first);
        assert_eq!(names(below.path()), ["1-8", "lock"], "it goes with its owner");
        drop(second);
    }

    #[test]
    fn a_directory_in_use_is_refused() {
        let below = tempfile::tempdir().unwrap();
        let _first = Directory::make(below.path(), &place(0, 7)).unwrap();
        let why = Directory::make(below.path(), &place(0, 7)).unwrap_err();
        assert!(!why.may_pass && why.why.starts_with("another process works there"), "{why}");
    }

    #[test]
    fn a_place_that_cannot_be_used_is_named_with_what_to_do() {
        let below = tempfile::tempdir().unwrap();
        let file = below.path().join("file");
        fs::write(&file, "").unwrap();
        let why = Directory::make(&file, &place(0, 7)).unwrap_err();
        let said = why.to_string();
        assert!(said.contains("file/words/count/0-7: Not a directory"), "{said}");
        assert!(said.contains("remove what is in its place, or name another directory"), "{said}");
        assert!(!why.may_pass, "it is there the next time, too");
    }
}
