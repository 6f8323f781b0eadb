//! A spout that reads files: the lines, rows or values of one, or of all in a directory.
//!
//! A split is a file, of the task that its name alone decides; its position is the byte after the last record,
//! and a hash of what stands before it. So a restart, with any number of tasks, goes on right after the last
//! committed record, and a file that is not the one that was read is refused.

mod decode;
mod error;
mod files;
mod reading;

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::time::Duration;

use egret_log::Log;
use serde::de::DeserializeOwned;

pub use error::FileError;

use crate::builder::SpoutSource;
use crate::component::{ComponentResult, Context, Emitter, Next, Positions, Replay, Spout};
use crate::{Blob, Tuple};
use decode::Format;
use files::{Pattern, Place, task_of};
use reading::{From, Reading};

/// Files whose positions a commit names: each is in every commit record.
const FILES_MAX: usize = 4096;

/// The largest record unless it is said: lines of programs are shorter by far.
const RECORD_BYTES_MAX: usize = 1 << 20;

/// How long until it is looked for more.
const LOOK: Duration = Duration::from_millis(200);

/// Reads a file; all files of a directory; or those of which a name with a `*` says how their names begin and
/// end: `logs/*.csv`. Names that begin with a dot are left out, and so are directories in it; what is neither a file nor a
/// directory is refused. It stops at the ends that the files have when the topology starts, and is an error where there is
/// none; with [`follow`](FileSpout::follow), it goes on with what
/// is appended and with files that come.
///
/// ```
/// use egret::{Emitter, FileSpout, LogSink, TopologyBuilder};
///
/// #[derive(Clone, serde::Serialize, serde::Deserialize)]
/// struct Order { customer: String, cents: u64 }
/// impl egret::Tuple for Order {}
///
/// # let mut t = TopologyBuilder::new("orders");
/// let orders = t.spout("orders", 4, FileSpout::<Order>::csv("orders/*.csv"))?;
/// let large = orders.shuffle().bolt("large", 2, || |order: Order, out: &mut Emitter<String>| {
///     if order.cents > 10_000 {
///         out.emit(order.customer);
///     }
/// })?;
/// large.sink("out", LogSink::to_stream("large"))?;
/// # t.finish()?;
/// # Ok::<(), egret::Error>(())
/// ```
///
/// # What it keeps
///
/// It [can replay](Replay::Positional), so it is fit for every guarantee, as long as files only grow, by whole lines: what
/// a file ends with is a record, with or without the end of its line, unless it is [followed](FileSpout::follow). Where a
/// line that was read without its end goes on later, the next start is an [error](FileError::Grown): a record would be cut
/// in two. One that was truncated or replaced, or that went before it was read to its end, is an [error](FileError) that ends the
/// topology; so is a record that is none, named by file, line and byte. A file of a directory or pattern that
/// was read to its end may be moved away, and is forgotten.
///
/// The files of a task are read one after the other, in order of their names, and are one split for
/// [event time](crate::Stream::event_time): it is expected to go on from file to file. Processes of a topology on
/// several hosts must see the same directory.
pub struct FileSpout<T> {
    pattern: Pattern,
    format: Format<T>,
    follow: Option<Duration>,
    record_bytes_max: usize,
    files: BTreeMap<String, Known>,
    /// Files of this pass that may have more, in order.
    todo: VecDeque<String>,
    reading: Option<Reading<T>>,
}

/// What a task knows of one of its files.
#[derive(Debug, Clone, Copy)]
struct Known {
    place: Place,
    /// How long it is.
    len: u64,
    /// How long it was when no record more was found in it.
    tried: u64,
    /// It was read to its end, and is gone: to be forgotten.
    is_gone: bool,
    /// The record at `place` began before it.
    in_record: bool,
}

impl Known {
    fn at(place: Place) -> Known {
        Known { place, len: place.at, tried: 0, is_gone: false, in_record: false }
    }
}

impl<T> std::fmt::Debug for FileSpout<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "FileSpout({} of {}, {} files)", self.format.name, self.pattern, self.files.len())
    }
}

impl FileSpout<String> {
    /// Lines of text, without their ends.
    pub fn lines(path: impl AsRef<Path>) -> FileSpout<String> {
        FileSpout::new(path.as_ref(), decode::lines())
    }
}

impl FileSpout<Blob> {
    /// Lines of any bytes, without their ends.
    pub fn byte_lines(path: impl AsRef<Path>) -> FileSpout<Blob> {
        FileSpout::new(path.as_ref(), decode::byte_lines())
    }
}

impl<T: DeserializeOwned + 'static> FileSpout<T> {
    /// A JSON value a line; empty lines are passed over.
    pub fn json_lines(path: impl AsRef<Path>) -> FileSpout<T> {
        FileSpout::new(path.as_ref(), decode::json_lines())
    }

    /// Rows of CSV. The first row of each file names the fields, as those of `T` are named.
    pub fn csv(path: impl AsRef<Path>) -> FileSpout<T> {
        FileSpout::csv_by(path, b',')
    }

    /// The same with another delimiter than a comma.
    pub fn csv_by(path: impl AsRef<Path>, delimiter: u8) -> FileSpout<T> {
        FileSpout::new(path.as_ref(), decode::csv(delimiter))
    }
}

impl<T> FileSpout<T> {
    fn new(path: &Path, format: Format<T>) -> FileSpout<T> {
        FileSpout {
            pattern: Pattern::new(path),
            format,
            follow: None,
            record_bytes_max: RECORD_BYTES_MAX,
            files: BTreeMap::new(),
            todo: VecDeque::new(),
            reading: None,
        }
    }

    /// Goes on with lines that are appended and files that come, looked for five times a second. A line counts
    /// when its end is there.
    #[must_use]
    pub fn follow(mut self) -> FileSpout<T> {
        self.follow = Some(LOOK);
        self
    }

    /// How long a record may be; 1 MiB unless it is said.
    #[must_use]
    pub fn record_bytes_max(mut self, bytes: usize) -> FileSpout<T> {
        self.record_bytes_max = bytes;
        self
    }

    /// This task's files as they are now.
    fn list(&self, cx: &Context) -> Result<Vec<(String, u64)>, FileError> {
        let mut files = self.pattern.list()?;
        if files.len() > FILES_MAX {
            let (dir, files) = (self.pattern.dir.clone(), files.len());
            return Err(FileError::TooMany { dir, files, max: FILES_MAX });
        }
        files.retain(|(name, _)| task_of(name, cx.tasks()) == cx.id().task);
        Ok(files)
    }

    /// Looks which files are there, and which of them have more.
    fn look(&mut self, cx: &Context) -> Result<(), FileError> {
        let files = self.list(cx)?;
        let is_there = |name: &str| files.binary_search_by(|(n, _)| n.as_str().cmp(name)).is_ok();
        for (name, known) in &mut self.files {
            if known.is_gone || is_there(name) {
                continue;
            }
            if !known.place.is_end {
                let (path, at) = (self.pattern.path(name), known.place.at);
                return Err(FileError::Gone { path, at });
            }
            known.is_gone = true;
        }
        self.todo.clear();
        for (name, len) in files {
            let new = Known::at(Place::START);
            let known = self.files.entry(name.clone()).or_insert(new);
            if known.is_gone {
                *known = new;
            }
            if len < known.place.at {
                let (path, at) = (self.pattern.path(&name), known.place.at);
                return Err(FileError::Truncated { path, len, at });
            }
            if known.place.is_cut && !cx.resumes_at_end() {
                known.place = known.place.behind_cut(&self.pattern.path(&name), len)?;
            }
            known.len = len;
            known.place.is_end = known.place.at == len;
            if !known.place.is_end && known.tried != len {
                self.todo.push_back(name);
            }
        }
        Ok(())
    }
}

impl<T: Tuple> FileSpout<T> {
    /// The next file of this pass.
    fn open_next(&mut self) -> Result<bool, FileError> {
        let Some(name) = self.todo.pop_front() else { return Ok(false) };
        let known = &self.files[&name];
        let from = From {
            place: known.place,
            upto: known.len,
            is_whole: self.follow.is_none(),
            record_bytes_max: self.record_bytes_max,
            in_record: known.in_record,
        };
        let path = self.pattern.path(&name);
        self.reading = Some(Reading::open(name, path, &self.format, from)?);
        Ok(true)
    }

    /// Emits about so many bytes; whether there is more in this pass.
    fn emit(&mut self, bytes: usize, out: &mut Emitter<T>) -> Result<bool, FileError> {
        let until = out.bytes() + bytes;
        while out.bytes() < until {
            let Some(reading) = &mut self.reading else {
                match self.open_next()? {
                    true => continue,
                    false => return Ok(false),
                }
            };
            let more = reading.emit(until - out.bytes(), out)?;
            let known = self.files.get_mut(&reading.name).expect("it is read because it is known");
            let place = reading.place()?;
            known.in_record &= place.at == known.place.at;
            known.place = place;
            if more {
                return Ok(true);
            }
            known.tried = known.len;
            self.reading = None;
        }
        Ok(true)
    }
}

impl<T: Tuple> Spout<T> for FileSpout<T> {
    fn replay(&self) -> Replay {
        Replay::Positional
    }

    fn open(&mut self, cx: &Context, committed: &Positions) -> ComponentResult {
        for (name, text) in committed {
            let name = String::from_utf8_lossy(name).into_owned();
            if task_of(&name, cx.tasks()) == cx.id().task {
                let known = Known::at(Place::parse(&name, text)?);
                self.files.insert(name, known);
            }
        }
        // Where something was read before, it may have been moved away since.
        let is_first = committed.is_empty() && !cx.resumes_at_end();
        if is_first && self.follow.is_none() && self.pattern.list()?.is_empty() {
            return Err(FileError::Nothing { pattern: self.pattern.to_string() }.into());
        }
        self.look(cx)?;
        for (name, known) in &mut self.files {
            let path = self.pattern.path(name);
            if cx.resumes_at_end() {
                // Whatever stands there now may have been read.
                (known.place, known.in_record) = Place::at_end(&path, known.len)?;
            } else if !known.is_gone {
                known.place.check_path(&path, known.len)?;
            }
        }
        if cx.resumes_at_end() {
            self.todo.clear();
        }
        Ok(())
    }

    fn next(&mut self, bytes: usize, out: &mut Emitter<T>, cx: &Context) -> ComponentResult<Next> {
        if self.emit(bytes, out)? {
            return Ok(Next::More);
        }
        let Some(wait) = self.follow else { return Ok(Next::Done) };
        self.look(cx)?;
        Ok(match self.todo.is_empty() {
            true => Next::After(wait),
            false => Next::More,
        })
    }

    fn positions(&self) -> Positions {
        let position = |(name, known): (&String, &Known)| {
            // An empty position is forgotten.
            let text = if known.is_gone { String::new() } else { known.place.text() };
            (name.clone().into_bytes(), text.into_bytes())
        };
        self.files.iter().map(position).collect()
    }

    fn committed(&mut self, positions: &Positions) -> ComponentResult {
        self.files.retain(|name, known| {
            let position = positions.get(name.as_bytes());
            !(known.is_gone && position.is_some_and(Vec::is_empty))
        });
        Ok(())
    }
}

impl<T: Tuple> SpoutSource<T> for FileSpout<T> {
    type Spout = FileSpout<T>;

    fn make(&self) -> FileSpout<T> {
        FileSpout {
            pattern: self.pattern.clone(),
            format: self.format.clone(),
            follow: self.follow,
            record_bytes_max: self.record_bytes_max,
            files: BTreeMap::new(),
            todo: VecDeque::new(),
            reading: None,
        }
    }

    fn check(&self, _: &Log) -> crate::Result<()> {
        let listed = self.pattern.check().and_then(|()| self.pattern.list());
        listed.map(drop).map_err(crate::Error::other)
    }

    fn detail(&self) -> String {
        let how = if self.follow.is_some() { "reads and follows" } else { "reads" };
        format!("{how} {} of {}", self.format.name, self.pattern)
    }
}
