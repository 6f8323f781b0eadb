//! A sink that writes files, as part of the commit.
//!
//! The commit record names, for each task, the part that is written and how many bytes of it are committed. A
//! restart cuts the part there, and shows what was whole and not shown yet: like a stream's segment, a part says
//! nothing that the record does not.

mod encode;
mod error;
mod parts;
mod task;

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

pub use error::FileSinkError;

use super::put::{display, json};
use crate::Tuple;
use crate::builder::{Env, SinkPart, SinkParts, SinkSpec};
use crate::component::Context;
use crate::grouping::shuffle::Shuffle;
use crate::grouping::{Grouping, Target};
use crate::task::{SinkTask, TaskError};
use encode::Encode;
use parts::Parts;
use task::{FileSinkTask, Roll};

/// Bytes of a part, unless it is said.
const ROLL_BYTES: u64 = 64 << 20;

/// How long a part is written, unless it is said.
const ROLL_EVERY: Duration = Duration::from_secs(60);

/// Writes tuples to files in a directory: `part-00000-000001.jsonl`, by task and number.
///
/// ```
/// use egret::{FileSink, FileSpout, TopologyBuilder};
///
/// # let mut t = TopologyBuilder::new("copy");
/// let lines = t.spout("lines", 2, FileSpout::lines("logs/*.log"))?;
/// lines.sink("out", FileSink::lines("all").tasks(2))?;
/// # t.finish()?;
/// # Ok::<(), egret::Error>(())
/// ```
///
/// # What it keeps
///
/// *Effectively once*, and whatever is less: a part that can be seen is whole, holds committed tuples only, each
/// once, and never changes again. It is shown when it is [large](FileSink::roll_bytes) or [old](FileSink::roll_every)
/// enough, at the end of a commit, and when the topology ends in order. Names that begin with a dot are not for
/// readers. Each task syncs its part once a commit in which it got something.
///
/// The directory belongs to this sink of this topology; processes of a topology on several hosts must see the same
/// one, which has to be able to rename and sync. Whole parts may be moved away by whoever took them; names that begin
/// with a dot stay. Under at-most-once, what was written since the last part was shown is lost with the process.
pub struct FileSink<T> {
    dir: PathBuf,
    suffix: &'static str,
    encode: Encode<T>,
    tasks: u32,
    roll: Roll,
}

impl<T> std::fmt::Debug for FileSink<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FileSink(*{} in {})", self.suffix, self.dir.display())
    }
}

impl<T: Display> FileSink<T> {
    /// Each tuple a line, as the text it is displayed as: `.txt`.
    pub fn lines(dir: impl AsRef<Path>) -> FileSink<T> {
        FileSink::new(dir.as_ref(), ".txt", Encode::Lines(display))
    }
}

impl<T: Serialize> FileSink<T> {
    /// Each tuple a line of JSON: `.jsonl`.
    pub fn json_lines(dir: impl AsRef<Path>) -> FileSink<T> {
        FileSink::new(dir.as_ref(), ".jsonl", Encode::Lines(json))
    }

    /// Each tuple a row of CSV, under a row with the names of its fields if it is a struct: `.csv`.
    pub fn csv(dir: impl AsRef<Path>) -> FileSink<T> {
        FileSink::new(dir.as_ref(), ".csv", Encode::Csv(encode::row))
    }
}

impl<T> FileSink<T> {
    fn new(dir: &Path, suffix: &'static str, encode: Encode<T>) -> FileSink<T> {
        let roll = Roll { bytes: ROLL_BYTES, every: ROLL_EVERY };
        FileSink { dir: dir.to_owned(), suffix, encode, tasks: 1, roll }
    }

    /// How many tasks write, each its own parts; 1 unless it is said.
    #[must_use]
    pub fn tasks(mut self, tasks: u32) -> FileSink<T> {
        self.tasks = tasks;
        self
    }

    /// How large a part grows before it is shown and the next one begins; 64 MiB unless it is said. It is looked at
    /// when a commit ends.
    #[must_use]
    pub fn roll_bytes(mut self, bytes: u64) -> FileSink<T> {
        self.roll.bytes = bytes;
        self
    }

    /// How old a part grows before it is shown and the next one begins; a minute unless it is said. It is looked at
    /// when a commit ends, so where nothing comes any more, the last part stays as it is.
    #[must_use]
    pub fn roll_every(mut self, age: Duration) -> FileSink<T> {
        self.roll.every = age;
        self
    }
}

impl<T: Tuple> SinkPart for FileSink<T> {
    fn make(&self, env: &Env, cx: Context) -> Result<Box<dyn SinkTask>, TaskError> {
        let parts = Parts { dir: self.dir.clone(), suffix: self.suffix };
        let here = (cx, env.generation.0);
        Ok(Box::new(FileSinkTask::new(parts, self.encode.clone(), self.roll, here)))
    }
}

#[expect(private_interfaces, reason = "sealed: only this crate's sinks implement it")]
impl<T: Tuple> SinkSpec<T> for FileSink<T> {
    fn into_part(self) -> SinkParts<T> {
        let detail = format!("writes {}/part-*{}", self.dir.display(), self.suffix);
        let tasks = self.tasks;
        let make = Arc::new(|target: &Target| Box::new(Shuffle::new(target)) as _);
        (Arc::new(self), Grouping::Shuffle, make, tasks, detail)
    }
}
