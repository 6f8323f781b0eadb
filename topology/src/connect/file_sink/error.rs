//! Directories that cannot be written, or do not hold what was committed to them.

use std::io;
use std::path::PathBuf;

/// Why a [`FileSink`](super::FileSink) cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum FileSinkError {
    /// The system did not let it be written.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is another sink's.
    #[error("{}: is written by {owner}: name another directory", .dir.display())]
    Owned {
        /// The directory.
        dir: PathBuf,
        /// Whose it is.
        owner: String,
    },
    /// Files that no commit of this topology made.
    #[error(
        "{}: no commit of this topology made it: it is of an earlier life of the topology; name an empty directory, or move what is in this one away",
        .path.display()
    )]
    Foreign {
        /// The file.
        path: PathBuf,
    },
    /// A file that was committed is not there.
    #[error(
        "{}: is gone, and {bytes} bytes of it were committed: put it back",
        .path.display()
    )]
    Gone {
        /// The file.
        path: PathBuf,
        /// How much of it was committed.
        bytes: u64,
    },
    /// A file that was committed has another length.
    #[error(
        "{}: has {len} bytes, and {bytes} were committed: put it back as it was",
        .path.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// How long it is.
        len: u64,
        /// How much of it was committed.
        bytes: u64,
    },
}

impl FileSinkError {
    /// Whether it may be otherwise the next time.
    pub fn may_pass(&self) -> bool {
        matches!(self, FileSinkError::Io { .. })
    }
}
