//! Extents: sealed data files. What a checkpoint takes from memory, sorted by (ledger, entry).
//!
//! An extent is written front to back by an [`ExtentWriter`], sealed once and never changed. It counts
//! when the manifest names it; a file the manifest does not name was not finished, or is no longer
//! needed, and [`remove_unlisted`] clears it away. Every byte of a sealed extent is covered by a
//! checksum or must be zero, so an [`Extent`] serves what was written or says [`Damage`]. The layout
//! is drawn in `format.rs`.
//!
//! [`Damage`]: super::damage::Damage

mod format;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod reader;
mod tables;
#[cfg(test)]
mod tests;
mod writer;

use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

pub use format::Run;
pub use reader::{Extent, StoredEntry, Verified};
pub use tables::TableCache;
pub use writer::{EntryToWrite, ExtentWriter, Sealed, WriteError};

use crate::disk::Disk;

/// The directory of the extents, in the bookie's.
pub const DIR: &str = "extents";

/// An extent's number; never used again. Prints as its file is named.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExtentId(pub u64);

impl fmt::Display for ExtentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "X{:016x}", self.0)
    }
}

impl ExtentId {
    /// The extent after this one.
    pub const fn next(self) -> ExtentId {
        ExtentId(self.0 + 1)
    }

    /// Its file, in the directory of the extents.
    pub fn path(self, dir: &Path) -> PathBuf {
        dir.join(self.to_string())
    }

    /// The extent a file of this name holds.
    pub fn of_name(name: &str) -> Option<ExtentId> {
        let id = ExtentId(u64::from_str_radix(name.strip_prefix('X')?, 16).ok()?);
        (id.to_string() == name).then_some(id)
    }
}

/// Removes these extents, which no manifest lists any more.
pub fn remove(disk: &dyn Disk, dir: &Path, ids: &[ExtentId]) -> io::Result<()> {
    for id in ids {
        disk.remove(&id.path(dir))?;
    }
    if ids.is_empty() { Ok(()) } else { disk.sync_dir(dir) }
}

/// Removes every extent in `dir` that is not in `listed`, as the current manifest has it. Returns which.
pub fn remove_unlisted(
    disk: &dyn Disk,
    dir: &Path,
    listed: &BTreeSet<ExtentId>,
) -> io::Result<Vec<ExtentId>> {
    let ids = disk.list(dir)?.into_iter().filter_map(|name| ExtentId::of_name(&name));
    let unlisted: Vec<_> = ids.filter(|id| !listed.contains(id)).collect();
    remove(disk, dir, &unlisted)?;
    Ok(unlisted)
}
