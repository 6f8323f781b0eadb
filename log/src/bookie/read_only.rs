//! An operator's word that a bookie takes nothing new: the file `READONLY`, there or not.

use std::io;
use std::path::Path;

use super::whole_file;
use crate::disk::Disk;

const NAME: &str = "READONLY";
const TEXT: &[u8] = b"this bookie takes no new ledgers and entries; remove with its own command\n";

/// Whether the word was given.
pub(super) fn load(disk: &dyn Disk, dir: &Path) -> io::Result<bool> {
    disk.exists(&dir.join(NAME))
}

/// Gives the word or takes it back, durably.
pub(super) fn store(disk: &dyn Disk, dir: &Path, read_only: bool) -> io::Result<()> {
    if read_only {
        return whole_file::replace(disk, dir, NAME, TEXT);
    }
    if load(disk, dir)? {
        disk.remove(&dir.join(NAME))?;
    }
    disk.sync_dir(dir)
}
