//! A task of a file sink: the writer of one partition's parts.
//!
//! ```text
//! tuples ─▶ .part-p-n.gG ── close: written, synced ─▶ reported (n, bytes) ─▶ commit record
//!                     └──── large or old enough: sealed, the next is n + 1 ─▶ published: renamed part-p-n
//! restored: what is sealed is shown, n is cut at the bytes in the record, what is beyond it goes
//! ```
//! The record has a part's number below the generation that reported it: `generation << 32 | number`. What an
//! earlier one left is settled before the first report of a later one, so whatever appears of it afterwards is of
//! a process that does not know that it was taken over, and goes.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::marker::PhantomData;
use std::time::{Duration, Instant};

use egret_log::clock;
use egret_schemas::{EntryId, Epoch, SegmentId};
use egret_state::commit::SinkPosition;

use super::encode::Encode;
use super::error::FileSinkError;
use super::parts::{Part, Parts};
use crate::Tuple;
use crate::batch::{AnyBatch, typed};
use crate::budget::Charge;
use crate::component::{ComponentResult, Context};
use crate::task::{DurableOutput, SinkEnds, SinkTask, TaskError, guard};

/// Bytes that are written at once.
const WRITE_BYTES: usize = 64 << 10;

/// When a part is large, or old, enough.
#[derive(Debug, Clone, Copy)]
pub(super) struct Roll {
    pub(super) bytes: u64,
    pub(super) every: Duration,
}

/// The part that is written.
struct Open {
    file: File,
    len: u64,
    since: Instant,
}

/// See the [module](self).
pub(super) struct FileSinkTask<T> {
    parts: Parts,
    encode: Encode<T>,
    roll: Roll,
    cx: Context,
    generation: u32,
    number: u64,
    open: Option<Open>,
    lines: Vec<u8>,
    /// Where the part ended when that was reported last.
    reported: Option<SinkPosition>,
    /// Ends of partitions whose tasks there are no more, to be reported.
    orphans: BTreeMap<u32, SinkPosition>,
    /// Parts that are shown once the commit that ended them is committed.
    sealed: VecDeque<(Epoch, Part)>,
    closed: Vec<DurableOutput>,
    of: PhantomData<fn(T)>,
}

/// A committed end.
#[derive(Clone, Copy)]
struct Committed {
    generation: u32,
    number: u64,
    bytes: u64,
}

/// Parts of a partition are numbered below this.
const NUMBER_BITS: u32 = 32;

impl Committed {
    fn of((place, bytes): SinkPosition) -> Committed {
        let generation = u32::try_from(place.0 >> NUMBER_BITS).expect("the upper half");
        let number = place.0 & u64::from(u32::MAX);
        Committed { generation, number, bytes: bytes.map_or(0, |bytes| bytes.0) }
    }

    fn position(self) -> SinkPosition {
        let place = u64::from(self.generation) << NUMBER_BITS | self.number;
        (SegmentId(place), Some(EntryId(self.bytes)))
    }
}

impl<T: Tuple> FileSinkTask<T> {
    pub(super) fn new(
        parts: Parts,
        encode: Encode<T>,
        roll: Roll,
        (cx, generation): (Context, u32),
    ) -> FileSinkTask<T> {
        FileSinkTask {
            parts,
            encode,
            roll,
            cx,
            generation,
            number: 1,
            open: None,
            lines: Vec::new(),
            reported: None,
            orphans: BTreeMap::new(),
            sealed: VecDeque::new(),
            closed: Vec::new(),
            of: PhantomData,
        }
    }

    /// Where a part ends, as this generation reports it.
    fn end_at(&self, number: u64, bytes: u64) -> SinkPosition {
        Committed { generation: self.generation, number, bytes }.position()
    }

    fn part(&self) -> Part {
        let (partition, generation) = (self.cx.id().task, Some(self.generation));
        Part { partition, number: self.number, generation }
    }

    /// Brings the parts of this task, and of those there are no more, to where the commit has them.
    fn settle(&mut self, committed: &SinkEnds) -> Result<(), FileSinkError> {
        let (task, tasks) = (self.cx.id().task, self.cx.tasks());
        let owner = format!("sink `{}` of topology `{}`", self.cx.id().component, self.cx.topology);
        self.parts.claim(&owner)?;
        for (part, path) in self.parts.copies()? {
            // Of a process that ended within it; one that runs later than this one has its own.
            let is_left = part.generation <= Some(self.generation);
            if is_left && part.partition % tasks == task {
                self.parts.remove_file(&path)?;
            }
        }
        let mut of: BTreeMap<u32, Vec<Part>> = BTreeMap::new();
        for part in self.parts.list()?.into_iter().filter(|part| part.partition % tasks == task) {
            of.entry(part.partition).or_default().push(part);
        }
        let mine = |partition: &&u32| **partition % tasks == task;
        for partition in committed.keys().filter(mine).chain([&task]) {
            of.entry(*partition).or_default();
        }
        for (partition, parts) in of {
            match committed.get(&partition) {
                Some(end) => self.settle_one(partition, &parts, Committed::of(*end))?,
                None => self.begin_one(partition, &parts)?,
            }
        }
        Ok(())
    }

    /// Of a partition of which nothing is committed.
    fn begin_one(&mut self, partition: u32, parts: &[Part]) -> Result<(), FileSinkError> {
        for part in parts {
            match part.generation {
                Some(_) => self.parts.remove(*part)?,
                None if self.cx.commits => {
                    return Err(FileSinkError::Foreign { path: self.parts.path(*part) });
                }
                // Nothing says where at-most-once is: it goes on behind what is there.
                None if partition == self.cx.id().task => self.number = part.number + 1,
                None => {}
            }
        }
        Ok(())
    }

    /// Of a partition whose part `number` is committed up to `bytes`, and all before it.
    fn settle_one(
        &mut self,
        partition: u32,
        parts: &[Part],
        committed: Committed,
    ) -> Result<(), FileSinkError> {
        let Committed { generation, number, bytes } = committed;
        let whole = |number| Part { partition, number, generation: None };
        let is_whole = |number: u64| parts.contains(&whole(number));
        let mut writing: BTreeMap<u64, Vec<Part>> = BTreeMap::new();
        for part in parts {
            match part.generation {
                None if part.number > number => {
                    return Err(FileSinkError::Foreign { path: self.parts.path(*part) });
                }
                None => {}
                Some(_) => writing.entry(part.number).or_default().push(*part),
            }
        }
        // What was sealed and not shown yet.
        for (_, of) in writing.range_mut(..number).filter(|(earlier, _)| !is_whole(**earlier)) {
            if let Some(at) = of.iter().position(|part| part.generation == Some(generation)) {
                self.parts.show(of.remove(at))?;
            }
        }
        let mut next = number;
        if is_whole(number) {
            let len = self.parts.len(whole(number))?;
            if len != bytes {
                let path = self.parts.path(whole(number));
                return Err(FileSinkError::Changed { path, len, bytes });
            }
            next = number + 1;
        } else if bytes > 0 && self.parts.was_shown(whole(number), bytes) {
            // It was whole when the run before ended, and was taken away since.
            next = number + 1;
        } else if bytes > 0 {
            let gone = || {
                let path = self.parts.path(whole(number));
                FileSinkError::Gone { path, bytes }
            };
            // Whoever took it over since, and reported nothing, took all of it.
            let since = |part: &&Part| part.generation >= Some(generation);
            let mut newest = writing.get(&number).into_iter().flatten().filter(since).rev();
            let found = newest.try_fold((), |(), part| match self.parts.len(*part) {
                Ok(len) if len >= bytes => Err(Ok(*part)),
                Ok(_) => Ok(()),
                Err(error) => Err(Err(error)),
            });
            let found = found.err().ok_or_else(gone)??;
            let own = Part { generation: Some(self.generation), ..whole(number) };
            self.parts.copy(found, bytes, own)?;
            if partition == self.cx.id().task {
                let (file, since) = (self.parts.append(own)?, clock::now());
                self.open = Some(Open { file, len: bytes, since });
            } else {
                self.parts.show(own)?;
                next = number + 1;
            }
        }
        for part in writing.into_values().flatten() {
            self.parts.remove(part)?;
        }
        self.parts.forget_notes(partition, number)?;
        if partition == self.cx.id().task {
            self.number = next;
            self.reported = Some(self.end_at(number, bytes));
        } else if next > number {
            self.orphans.insert(partition, self.end_at(next, 0));
        }
        Ok(())
    }

    /// Writes what is gathered.
    fn flush(&mut self) -> Result<(), FileSinkError> {
        if self.lines.is_empty() {
            return Ok(());
        }
        let part = self.part();
        let open = match &mut self.open {
            Some(open) => open,
            none => {
                let (file, since) = (self.parts.create(part)?, clock::now());
                none.insert(Open { file, len: 0, since })
            }
        };
        self.parts.write(part, &mut open.file, &self.lines)?;
        open.len += self.lines.len() as u64;
        self.lines.clear();
        Ok(())
    }

    fn put(&mut self, tuple: &T) -> ComponentResult {
        let is_first = self.open.is_none() && self.lines.is_empty();
        self.encode.put(tuple, is_first, &mut self.lines)?;
        if self.lines.len() >= WRITE_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    fn end_commit(&mut self, commit: Epoch) -> Result<(), FileSinkError> {
        self.flush()?;
        let part = self.part();
        let mut ends = Vec::new();
        if let Some(open) = &self.open {
            let now = self.end_at(self.number, open.len);
            if self.reported != Some(now) {
                self.parts.sync_part(part, &open.file)?;
                self.reported = Some(now);
                ends.push((part.partition, now));
            }
            let age = clock::now().duration_since(open.since);
            if open.len >= self.roll.bytes || age >= self.roll.every {
                self.open = None;
                self.sealed.push_back((commit, part));
                self.number += 1;
                let next = self.end_at(self.number, 0);
                self.reported = Some(next);
                ends = vec![(part.partition, next)];
            }
        }
        ends.extend(std::mem::take(&mut self.orphans));
        self.closed.push((commit, ends));
        Ok(())
    }

    fn show(&mut self, upto: Epoch) -> Result<(), FileSinkError> {
        while let Some((_, part)) = self.sealed.pop_front_if(|(commit, _)| *commit <= upto) {
            self.parts.show(part)?;
        }
        Ok(())
    }

    fn show_last(&mut self) -> Result<(), FileSinkError> {
        if let Some(open) = self.open.take() {
            if self.cx.commits {
                // No commit follows that would say so.
                self.parts.note_shown(self.part(), open.len)?;
            }
            self.parts.show(self.part())?;
            self.number += 1;
        }
        Ok(())
    }
}

impl<T: Tuple> SinkTask for FileSinkTask<T> {
    fn open(&mut self, committed: &SinkEnds) -> Result<(), TaskError> {
        let id = self.cx.id().clone();
        guard(&id, || Ok(self.settle(committed)?))
    }

    fn write(&mut self, _: Epoch, batch: Box<dyn AnyBatch>, _: &Charge) -> Result<(), TaskError> {
        let (id, tuples) = (self.cx.id().clone(), typed::<T>(batch).tuples);
        guard(&id, || tuples.iter().try_for_each(|tuple| self.put(tuple)))
    }

    fn close(&mut self, commit: Epoch) -> Result<(), TaskError> {
        let id = self.cx.id().clone();
        guard(&id, || Ok(self.end_commit(commit)?))
    }

    fn durable(&mut self) -> Result<Vec<DurableOutput>, TaskError> {
        Ok(std::mem::take(&mut self.closed))
    }

    fn publish(&mut self, commit: Epoch) -> Result<(), TaskError> {
        let id = self.cx.id().clone();
        guard(&id, || Ok(self.show(commit)?))
    }

    fn finish(&mut self) -> Result<(), TaskError> {
        let id = self.cx.id().clone();
        guard(&id, || Ok(self.show_last()?))
    }
}
