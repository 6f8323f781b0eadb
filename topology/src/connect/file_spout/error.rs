//! Files that cannot be read, or are not those that were read before.

use std::io;
use std::path::PathBuf;

use crate::component::ComponentError;

/// Why a [`FileSpout`](super::FileSpout) cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The system did not let it be read.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is shorter than what was read of it.
    #[error(
        "{}: has {len} bytes, and {at} were read of it: it was truncated; put it back as it was, or give new content a new name",
        .path.display()
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// How long it is.
        len: u64,
        /// How far it was read.
        at: u64,
    },
    /// What stands before the place it was read to is something else.
    #[error(
        "{}: is not the file that was read up to byte {at}: it was replaced; put it back as it was, or give new content a new name",
        .path.display()
    )]
    Replaced {
        /// The file.
        path: PathBuf,
        /// How far it was read.
        at: u64,
    },
    /// It is not there any more, and was not read to its end.
    #[error(
        "{}: is gone, and was read up to byte {at} only: put it back, and move it away when it was read to its end",
        .path.display()
    )]
    Gone {
        /// The file.
        path: PathBuf,
        /// How far it was read.
        at: u64,
    },
    /// What ended within a line and was taken as a record, and went on since.
    #[error(
        "{}: its line {line} had no end at byte {at} and was read as it was, and the file goes on there: the line is cut in \
         two; put the file back as it was and write on in another, or `follow` it, which waits for the end of a line",
        .path.display()
    )]
    Grown {
        /// The file.
        path: PathBuf,
        /// The line that had no end.
        line: u64,
        /// Where it ended.
        at: u64,
    },
    /// A path that names no files.
    #[error("{}: {why}", .path.display())]
    Pattern {
        /// The path.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        why: &'static str,
    },
    /// Something that is no file, and cannot be read again.
    #[error(
        "{}: is no file but {kind}, which cannot be read again after a failure: write what comes from it to a file, or send \
         it to a stream with `egret stream append`, and read that",
        .path.display()
    )]
    NoFile {
        /// What it is called.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// Nothing to read, and nobody who waits for it.
    #[error(
        "{pattern}: there is no such file: mend the path, or `follow` it where the files are to come later"
    )]
    Nothing {
        /// What was looked for.
        pattern: String,
    },
    /// More files than a commit names.
    #[error(
        "{}: holds {files} files to read, and a commit names {max} at most: move away what was read to its end, or put lines into fewer files",
        .dir.display()
    )]
    TooMany {
        /// The directory.
        dir: PathBuf,
        /// How many there are.
        files: usize,
        /// How many there may be.
        max: usize,
    },
    /// A name that is no text.
    #[error("{}: a file's name is not UTF-8: rename it", .path.display())]
    Name {
        /// The file.
        path: PathBuf,
    },
    /// A record of more bytes than may be kept in memory.
    #[error(
        "{}: the record at line {line}, byte {at}, is over {max} bytes: it may lack its line end; else raise `record_bytes_max`",
        .path.display()
    )]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The line it begins at, from 1.
        line: u64,
        /// The byte it begins at, from 0.
        at: u64,
        /// How long it may be.
        max: usize,
    },
    /// A record that is none.
    #[error("{}: the record at line {line}, byte {at}: {why}", .path.display())]
    Record {
        /// The file.
        path: PathBuf,
        /// The line it begins at, from 1.
        line: u64,
        /// The byte it begins at, from 0.
        at: u64,
        /// What is wrong with it.
        why: ComponentError,
    },
    /// A committed position of another build.
    #[error(
        "the committed position `{text}` of file `{name}` does not parse: it was written by another build"
    )]
    Position {
        /// The file's name.
        name: String,
        /// The position.
        text: String,
    },
}

impl FileError {
    /// Whether it may be otherwise the next time.
    pub fn may_pass(&self) -> bool {
        matches!(self, FileError::Io { .. })
    }
}
