//! A spout that reads a stream of the log.
//!
//! A split is a partition; task `t` of `n` owns the partitions `p` with `p mod n = t`. Positions are
//! committed per partition, so a restart, with any number of tasks, goes on right after the last
//! committed record.

use std::marker::PhantomData;

use egret_log::Log;
use egret_log::stream::{Ends, PartitionReader, Poll, ReadFrom, Record};
use egret_schemas::{LedgerId, Position, SegmentId};

use super::FromRecord;
use super::claim::{Claim, Places};
use crate::builder::SpoutSource;
use crate::component::{ComponentError, ComponentResult, Context, Emitter, Next, Positions};
use crate::component::{Replay, Spout};
use crate::task::SameAgain;

/// Reads every partition of a stream from the beginning and follows its tail; with
/// [`bounded`](LogSpout::bounded), up to where the stream ended when the topology started.
pub struct LogSpout<T> {
    stream: String,
    bounded: bool,
    /// Where a run that would begin at the end of the stream begins instead.
    begins: Ends,
    splits: Vec<Split>,
    turn: usize,
    claim: Option<Claim>,
    of: PhantomData<fn() -> T>,
}

struct Split {
    partition: u32,
    reader: PartitionReader,
    /// Records of an entry begun and not emitted whole.
    rest: std::vec::IntoIter<Record>,
    at: Position,
    end: Option<Position>,
    /// The ledger of the segment `at` is in; its number is never used again, so it tells this stream
    /// from a later one of the same name.
    ledger: Option<(SegmentId, LedgerId)>,
}

impl<T> std::fmt::Debug for LogSpout<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LogSpout(stream {}, {} partitions)", self.stream, self.splits.len())
    }
}

impl<T: FromRecord> LogSpout<T> {
    /// Reads stream `name`, which must exist when the topology starts.
    pub fn from_stream(name: &str) -> LogSpout<T> {
        LogSpout {
            stream: name.to_owned(),
            bounded: false,
            begins: Ends::new(),
            splits: Vec::new(),
            turn: 0,
            claim: None,
            of: PhantomData,
        }
    }

    /// Stops where the stream ends when the topology starts, so that the topology finishes.
    pub fn bounded(mut self) -> LogSpout<T> {
        self.bounded = true;
        self
    }

    /// For at-most-once, which begins every run but the first at the end of the stream: begins this run
    /// at these positions, by partition, instead. Take them ([`Log::ends`](egret_log::Log::ends)) before
    /// the run's own input is appended, and the run reads that and nothing an earlier one may have
    /// read. A generation that follows a failed one of the same run still begins at the end: nothing is
    /// read twice. The guarantees that commit go on from their last commit whatever is said here.
    pub fn begins_at(mut self, positions: Ends) -> LogSpout<T> {
        self.begins = positions;
        self
    }
}

/// A committed position, and the ledger it names.
pub(crate) fn place(text: &str) -> ComponentResult<(Position, &str)> {
    let (at, ledger) = text.split_once('@').ok_or("a committed position names its ledger")?;
    Ok((at.parse()?, ledger))
}

/// Whether nothing of its segment lies before it.
fn is_start(at: Position) -> bool {
    (at.entry.0, at.slot) == (0, 0)
}

/// The ledger of a segment, if the partition has the segment.
fn ledger_of(
    cx: &Context,
    stream: &str,
    partition: u32,
    segment: SegmentId,
) -> ComponentResult<Option<(SegmentId, LedgerId)>> {
    let described = cx.log().describe_partition(stream, partition)?;
    let found = described.segments.iter().find(|s| s.id == segment);
    Ok(found.map(|s| (s.id, s.ledger)))
}

impl<T: FromRecord> LogSpout<T> {
    /// The position a commit names, if it is one of this very stream.
    fn resume(&self, cx: &Context, partition: u32, text: &str) -> ComponentResult<Position> {
        let (at, ledger) = place(text)?;
        let found = ledger_of(cx, &self.stream, partition, at.segment)?;
        match (ledger, found) {
            ("-", _) => Ok(at),
            (ledger, Some((_, there))) if there.to_string() == ledger => Ok(at),
            // Truncated away: the reader says so, with where the stream begins now. Or a segment that nothing was
            // read of, and that went when its writer began another: nothing was in it.
            (_, None) if at.segment.0 > 1 || is_start(at) => Ok(at),
            _ => Err(SameAgain(format!(
                "stream `{}` was deleted and made again since its last commit at {at}: its records are \
                 not those that were counted; run the topology under another name or in another \
                 directory",
                self.stream
            ))
            .into()),
        }
    }
}

fn split_key(partition: u32) -> Vec<u8> {
    partition.to_string().into_bytes()
}

impl<T: FromRecord> Spout<T> for LogSpout<T> {
    fn replay(&self) -> Replay {
        Replay::Positional
    }

    fn open(&mut self, cx: &Context, committed: &Positions) -> ComponentResult {
        let info = cx.log().stream(&self.stream)?;
        for partition in (0..info.config.partitions).filter(|p| p % cx.tasks() == cx.id().task) {
            let at = match committed.get(&split_key(partition)) {
                Some(text) => Some(self.resume(cx, partition, std::str::from_utf8(text)?)?),
                None => None,
            };
            let from = match at {
                Some(at) => ReadFrom::At(at),
                None if cx.resumes_at_end() => match self.begins.get(&partition) {
                    Some(begin) if !cx.restarted() => ReadFrom::At(*begin),
                    _ => ReadFrom::Latest,
                },
                None => ReadFrom::Earliest,
            };
            let reader = cx.log().reader_of(&self.stream, partition, from, &T::format())?;
            let end = if self.bounded { Some(reader.end()?) } else { None };
            let at = at.unwrap_or(reader.position());
            let rest = Vec::new().into_iter();
            let ledger = ledger_of(cx, &self.stream, partition, at.segment)?;
            self.splits.push(Split { partition, reader, rest, at, end, ledger });
        }
        let places: Places = self.splits.iter().map(|s| (s.partition, s.at)).collect();
        self.claim = Claim::begin(cx, &self.stream, places)?;
        Ok(())
    }

    fn next(&mut self, bytes: usize, out: &mut Emitter<T>, cx: &Context) -> ComponentResult<Next> {
        let until = out.bytes() + bytes;
        let mut idle = 0;
        let mut done = 0;
        while out.bytes() < until && idle + done < self.splits.len() {
            let turn = self.turn % self.splits.len();
            let stream = self.stream.as_str();
            out.from_split(turn);
            match self.splits[turn].advance(stream, until, out, cx)? {
                Step::Emitted => (idle, done) = (0, 0),
                Step::Idle => idle += 1,
                Step::Done => done += 1,
            }
            // Where too few bookies answered there may be more that nobody told of.
            if idle + done > 0 && self.splits[turn].reader.is_sure() {
                out.quiet(turn);
            }
            self.turn = turn + 1;
        }
        Ok(match (done == self.splits.len(), idle + done == self.splits.len()) {
            (true, _) => Next::Done,
            (_, true) => Next::Idle,
            _ => Next::More,
        })
    }

    fn splits(&self) -> usize {
        self.splits.len()
    }

    fn positions(&self) -> Positions {
        let position = |s: &Split| {
            let ledger = s.ledger.map_or_else(|| "-".to_owned(), |(_, ledger)| ledger.to_string());
            (split_key(s.partition), format!("{}@{ledger}", s.at).into_bytes())
        };
        self.splits.iter().map(position).collect()
    }

    fn committed(&mut self, positions: &Positions) -> ComponentResult {
        let Some(claim) = &mut self.claim else { return Ok(()) };
        let mut places = Places::new();
        for (split, text) in positions {
            let (at, _) = place(std::str::from_utf8(text)?)?;
            places.insert(std::str::from_utf8(split)?.parse()?, at);
        }
        claim.committed(places)
    }
}

enum Step {
    Emitted,
    Idle,
    Done,
}

impl Split {
    /// Looks which ledger holds the segment it is at, if it came to another one.
    fn name_ledger(&mut self, stream: &str, cx: &Context) -> ComponentResult {
        if self.ledger.is_none_or(|(segment, _)| segment != self.at.segment) {
            self.ledger = ledger_of(cx, stream, self.partition, self.at.segment)?;
        }
        Ok(())
    }

    /// Emits up to one entry's records.
    fn advance<T: FromRecord>(
        &mut self,
        stream: &str,
        until: usize,
        out: &mut Emitter<T>,
        cx: &Context,
    ) -> Result<Step, ComponentError> {
        // Also with records in hand: the reader may have come past the end, over a segment that held nothing.
        if self.end.is_some_and(|end| self.at >= end) {
            return Ok(Step::Done);
        }
        if self.rest.len() == 0 {
            match self.reader.poll(&cx.waker())? {
                Poll::Pending => {
                    // The reader went past segments that hold nothing.
                    self.at = self.reader.position();
                    self.name_ledger(stream, cx)?;
                    return Ok(match self.end.is_some_and(|end| self.at >= end) {
                        true => Step::Done,
                        false => Step::Idle,
                    });
                }
                Poll::Batch(batch) => {
                    self.at = batch.first;
                    self.name_ledger(stream, cx)?;
                    self.rest = batch.records.into_iter();
                }
            }
        }
        while out.bytes() < until && self.end.is_none_or(|end| self.at < end) {
            let Some(record) = self.rest.next() else { break };
            let at = self.at;
            self.at.slot += 1;
            let tuple =
                T::from_record(record).map_err(|e| SameAgain(format!("record {at}: {e}")))?;
            out.emit(tuple);
        }
        if self.rest.len() == 0 {
            self.at = self.at.next_entry();
        }
        Ok(Step::Emitted)
    }
}

impl<T: FromRecord> SpoutSource<T> for LogSpout<T> {
    type Spout = LogSpout<T>;

    fn make(&self) -> LogSpout<T> {
        LogSpout {
            stream: self.stream.clone(),
            bounded: self.bounded,
            begins: self.begins.clone(),
            splits: Vec::new(),
            turn: 0,
            claim: None,
            of: PhantomData,
        }
    }

    fn check(&self, log: &Log) -> crate::Result<()> {
        Ok(log.stream(&self.stream)?.expect_format(&T::format())?)
    }

    fn stream(&self) -> Option<&str> {
        Some(&self.stream)
    }

    fn detail(&self) -> String {
        match self.bounded {
            true => format!("reads stream {} to its present end", self.stream),
            false => format!("reads and follows stream {}", self.stream),
        }
    }
}
