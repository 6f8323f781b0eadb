//! A disk of its own for one bookie, small enough to be filled: a file system in a file. Needs root,
//! `mkfs.ext4` and loop devices.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

use super::run::run;

/// Its size; only what is written takes place on the disk below.
const BYTES: u64 = 4 << 30;

const BALLAST: &str = "ballast";

/// What the file system may need to keep account of a large file.
const OWN_BYTES: u64 = 8 << 20;

/// See the [module](self). It is gone when this is dropped.
#[derive(Debug)]
pub(super) struct SmallDisk {
    at: PathBuf,
}

impl SmallDisk {
    /// Makes one in `image` and puts it to `at`.
    pub(super) fn new(image: &Path, at: &Path) -> anyhow::Result<SmallDisk> {
        File::create(image)?.set_len(BYTES)?;
        std::fs::create_dir_all(at)?;
        let text = |path: &Path| path.as_os_str().to_owned();
        run("mkfs.ext4", ["-q".into(), "-F".into(), "-m".into(), "0".into(), text(image)])?;
        run("mount", ["-o".into(), "loop".into(), text(image), text(at)])?;
        Ok(SmallDisk { at: at.to_owned() })
    }

    /// Where the bookie's directory is to be.
    pub(super) fn room(&self) -> PathBuf {
        self.at.join("bookie")
    }

    /// Leaves so many bytes free.
    pub(super) fn fill(&self, leave: u64) -> anyhow::Result<()> {
        let room = statvfs(&self.at)?;
        let ballast = (room.f_bavail * room.f_frsize).saturating_sub(leave.max(OWN_BYTES));
        let mut file = File::create(self.at.join(BALLAST))?;
        if ballast > 0 {
            fallocate(&file, FallocateFlags::empty(), 0, ballast)?;
        }
        if leave == 0 {
            file.seek(SeekFrom::End(0))?;
            // To the last block, of which the file system takes some for itself.
            while file.write(&[1; 64 << 10]).is_ok_and(|written| written > 0) {}
        }
        Ok(())
    }

    /// Takes the ballast out again.
    pub(super) fn empty(&self) -> anyhow::Result<()> {
        Ok(std::fs::remove_file(self.at.join(BALLAST))?)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that was just killed may not have let go of it.
        drop(run("umount", [Path::new("-l"), &self.at]));
    }
}
