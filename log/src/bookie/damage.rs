//! What reading a durable file of a bookie may come to, other than its content.

use std::io;
use std::path::{Path, PathBuf};

use egret_schemas::bytes::DecodeError;

use crate::message::Unknown;

/// A file that does not hold what was written into it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{}: damaged at byte {offset}: {what}: restore the whole directory from a copy; but in a cluster start the bookie on \
     an empty one with --replace, for an older copy would deny what came since", .file.display()
)]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// Where in it the damaged part starts.
    pub offset: u64,
    /// What was found.
    pub what: String,
}

impl Damage {
    /// Damage at `offset` of `file`.
    pub fn new(file: &Path, offset: u64, what: impl Into<String>) -> Damage {
        Damage { file: file.to_owned(), offset, what: what.into() }
    }

    /// Damage found while decoding a record that starts at `base`.
    pub fn decoding(file: &Path, base: u64, error: &DecodeError) -> Damage {
        let at = u64::try_from(error.at).expect("an offset in memory fits u64");
        Damage::new(file, base + at, format!("{}: {}", error.what, error.why))
    }
}

impl From<Damage> for Unknown {
    fn from(damage: Damage) -> Unknown {
        Unknown::Damaged { file: damage.file, offset: damage.offset, what: damage.what }
    }
}

/// Why a durable file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It does not hold what was written.
    #[error(transparent)]
    Damaged(#[from] Damage),
    /// It was written by a newer Egret.
    #[error("{}: format version {found}, this Egret knows {known}: use the newer Egret", .file.display())]
    Version {
        /// The file.
        file: PathBuf,
        /// Its version.
        found: u16,
        /// The highest version known here.
        known: u16,
    },
    /// It belongs to another bookie, or another life of this one.
    #[error("{}: belongs to {found}, not to {expected}: put back the file of this directory", .file.display())]
    Foreign {
        /// The file.
        file: PathBuf,
        /// Whose it is.
        found: String,
        /// Whose it should be.
        expected: String,
    },
    /// The disk did not do as asked.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl FileError {
    /// The damage, if it is that.
    pub fn damage(&self) -> Option<&Damage> {
        match self {
            FileError::Damaged(damage) => Some(damage),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damage_names_the_place_and_the_remedy() {
        let damage = Damage::new(Path::new("/d/MANIFEST"), 12, "checksum mismatch");
        assert_eq!(
            damage.to_string(),
            "/d/MANIFEST: damaged at byte 12: checksum mismatch: \
             restore the whole directory from a copy; but in a cluster start the bookie on an empty one with --replace, \
             for an older copy would deny what came since"
        );
        assert_eq!(Unknown::from(damage.clone()).to_string(), damage.to_string());
    }
}
