//! How often a directory's bookie was started: what tells a directory from an older copy of it.
//!
//! ```text
//! STARTS: magic 8 | version u16 | starts u64 | known u64 | crc32c u32
//! ```
//! Each start counts one up here, durably, and then in the cluster's metadata. A directory that counts less
//! than the metadata is an older copy: what it was given since is not in it, and its "never heard of it"
//! is no proof. Metadata that counts less than it once did (`known`), or nothing, is an older copy, or
//! was made anew.

use std::io;
use std::path::Path;

use egret_schemas::bytes::{Reader, Writer};

use super::damage::{Damage, FileError};
use super::whole_file;
use crate::disk::Disk;

const NAME: &str = "STARTS";
const MAGIC: &[u8; 8] = b"EGRETSTA";
const VERSION: u16 = 1;
const BYTES: u64 = 30;

/// What a directory says of its starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Starts {
    /// Starts begun.
    pub starts: u64,
    /// As many of them as the metadata is known to have counted.
    pub known: u64,
}

impl Starts {
    /// What a directory says; nothing, if no start was ever counted in it.
    ///
    /// # Errors
    /// When the file cannot be read, or is damaged.
    pub fn load(disk: &dyn Disk, dir: &Path) -> Result<Starts, FileError> {
        let path = dir.join(NAME);
        let Some(bytes) = whole_file::read(disk, &path, BYTES)? else {
            return Ok(Starts::default());
        };
        decode(&path, &bytes)
    }

    /// Writes it, durably.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn store(self, disk: &dyn Disk, dir: &Path) -> io::Result<()> {
        whole_file::replace(disk, dir, NAME, &self.encode())
    }

    pub(crate) fn encode(self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.put_u16(VERSION);
        out.put_u64(self.starts);
        out.put_u64(self.known);
        let crc = crc32c::crc32c(&out);
        out.put_u32(crc);
        out
    }
}

pub(crate) fn decode(path: &Path, bytes: &[u8]) -> Result<Starts, FileError> {
    let body = whole_file::checked(path, bytes)?;
    let mut reader = Reader::new(body);
    let damage = |error| Damage::decoding(path, 0, &error);
    if reader.take(MAGIC.len(), "magic").map_err(damage)? != MAGIC {
        return Err(Damage::new(path, 0, "not a count of starts").into());
    }
    let version = reader.u16("version").map_err(damage)?;
    if version != VERSION {
        let file = path.to_owned();
        return Err(FileError::Version { file, found: version, known: VERSION });
    }
    let starts = reader.u64("starts").map_err(damage)?;
    let known = reader.u64("known").map_err(damage)?;
    reader.end("starts").map_err(damage)?;
    Ok(Starts { starts, known })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::RealDisk;

    #[test]
    fn a_count_comes_back_and_damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Starts::load(&RealDisk, dir.path()).unwrap(), Starts::default());
        let starts = Starts { starts: 7, known: 6 };
        starts.store(&RealDisk, dir.path()).unwrap();
        assert_eq!(Starts::load(&RealDisk, dir.path()).unwrap(), starts);
        let path = dir.path().join(NAME);
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len() as u64, BYTES);
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            std::fs::write(&path, changed).unwrap();
            let error = Starts::load(&RealDisk, dir.path()).unwrap_err().to_string();
            assert!(error.contains("STARTS: damaged at byte 0"), "{error}");
        }
    }
}
