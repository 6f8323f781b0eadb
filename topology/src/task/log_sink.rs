//! A sink task: the one writer of one partition of an output stream.

use bytes::Bytes;
use egret_log::stream::error::AppendError;
use egret_log::stream::{Appended, PartitionWriter, Record, TransactionalWriter};
use egret_schemas::{EntryId, Epoch, SegmentId};
use egret_state::Guarantee;

use super::durable::Durable;
use super::{DurableOutput, SinkEnds, SinkTask, TaskError, chain};
use crate::batch::{AnyBatch, typed};
use crate::budget::Charge;
use crate::builder::Env;
use crate::component::Context;
use crate::connect::ToRecord;

/// Bytes of records gathered before they become an entry.
const ENTRY_BYTES: usize = 256 << 10;

/// Records of one entry whose memory is kept for the next: more are only there when they are tiny.
const RECORDS_KEPT: usize = 1 << 15;

enum Writer {
    Transactional(TransactionalWriter),
    Plain(PartitionWriter),
}

pub(crate) struct LogSinkTask<T> {
    writer: Writer,
    cx: Context,
    /// Keys and values of the records not yet handed to the writer, and where each ends.
    arena: Vec<u8>,
    ends: Vec<(Option<usize>, usize)>,
    /// The records of one entry while it is handed over; empty else, its memory is used again.
    records: Vec<Record>,
    durable: Durable<(SegmentId, EntryId)>,
    /// The last position of each commit not published yet.
    unpublished: Vec<(Epoch, (SegmentId, EntryId))>,
    /// A defect on purpose: what is reported before it is stored.
    early: Option<Vec<DurableOutput>>,
    of: std::marker::PhantomData<fn(T)>,
}

impl<T: ToRecord> LogSinkTask<T> {
    /// Under effectively-once the takeover has opened the partition's writer already: it shut out any
    /// earlier owner and cut what was not committed.
    pub(crate) fn new(env: &Env, cx: Context, stream: &str) -> Result<Self, TaskError> {
        let partition = cx.id.task;
        let failed = |why: String, retry| TaskError { task: cx.id.clone(), why, retry };
        let writer = match env.guarantee {
            Guarantee::EffectivelyOnce => {
                let writer = env.outputs.take(stream, partition).map(Writer::Transactional);
                writer.ok_or_else(|| failed("its partition was not taken over".to_owned(), true))?
            }
            _ => {
                let writer = env.log.writer_of(stream, partition, &T::format()).map(Writer::Plain);
                writer.map_err(|e| failed(chain(&e), e.may_pass()))?
            }
        };
        let durable = Durable::new(cx.waker());
        Ok(LogSinkTask {
            writer,
            cx,
            arena: Vec::new(),
            ends: Vec::new(),
            records: Vec::new(),
            durable,
            unpublished: Vec::new(),
            early: env.faults.reports_before_stored.then(Vec::new),
            of: std::marker::PhantomData,
        })
    }

    fn error(&self, why: String) -> TaskError {
        TaskError { task: self.cx.id.clone(), why, retry: true }
    }

    /// Hands the gathered records to the writer as one entry of `commit`; `charge` goes with it.
    fn append(&mut self, commit: Epoch, charge: Option<Charge>) {
        if self.ends.is_empty() {
            return;
        }
        // The next is about as long, and need not grow to it.
        let next = Vec::with_capacity(if self.arena.len() < ENTRY_BYTES { 0 } else { ENTRY_BYTES });
        let arena = Bytes::from(std::mem::replace(&mut self.arena, next));
        let records = &mut self.records;
        let mut at = 0;
        for (key_end, end) in self.ends.drain(..) {
            let key = key_end.map(|key_end| arena.slice(at..key_end));
            let value = arena.slice(key_end.unwrap_or(at)..end);
            records.push(Record { key, value, event_time_ms: None, sequence: None });
            at = end;
        }
        let acks = self.durable.append(commit);
        match &mut self.writer {
            Writer::Transactional(writer) => {
                let done = move |result: Result<_, AppendError>| {
                    drop(charge);
                    acks.push(commit, result.map_err(|e| chain(&e)));
                };
                writer.append(commit, records, Box::new(done));
            }
            Writer::Plain(writer) => {
                let done = move |result: Result<Appended, AppendError>| {
                    drop(charge);
                    let end = result.map(|a| (a.position.segment, a.position.entry));
                    acks.push(commit, end.map_err(|e| chain(&e)));
                };
                writer.append(records, Box::new(done));
            }
        }
        records.clear();
        records.shrink_to(RECORDS_KEPT);
    }
}

impl<T: ToRecord> SinkTask for LogSinkTask<T> {
    fn open(&mut self, _: &SinkEnds) -> Result<(), TaskError> {
        Ok(())
    }

    fn write(
        &mut self,
        commit: Epoch,
        batch: Box<dyn AnyBatch>,
        charge: &Charge,
    ) -> Result<(), TaskError> {
        for tuple in typed::<T>(batch).tuples {
            let start = self.arena.len();
            let key_end = tuple.key().map(|key| {
                self.arena.extend_from_slice(&key);
                self.arena.len()
            });
            tuple.put_value(&mut self.arena);
            let bytes = self.arena.len() - start;
            if bytes > egret_log::caps::RECORD_BYTES_MAX {
                let max = egret_log::caps::RECORD_BYTES_MAX;
                let why = format!("a record of {bytes} bytes is over the limit of {max}");
                return Err(TaskError { task: self.cx.id.clone(), why, retry: false });
            }
            self.ends.push((key_end, self.arena.len()));
            if self.arena.len() >= ENTRY_BYTES {
                let charge = charge.like(self.arena.len());
                self.append(commit, Some(charge));
            }
        }
        // Where output needs no commit to be seen, nothing waits for one.
        if let Writer::Plain(_) = self.writer {
            let charge = charge.like(self.arena.len());
            self.append(commit, Some(charge));
        }
        Ok(())
    }

    fn close(&mut self, commit: Epoch) -> Result<(), TaskError> {
        // Less than an entry is too little to count.
        let wrote = !self.ends.is_empty();
        self.append(commit, None);
        self.durable.close(commit);
        if let (Some(early), Writer::Transactional(writer)) = (&mut self.early, &self.writer) {
            let end = wrote.then(|| (self.cx.id.task, writer.position()));
            early.push((commit, end.into_iter().collect()));
        }
        Ok(())
    }

    fn durable(&mut self) -> Result<Vec<DurableOutput>, TaskError> {
        let partition = self.cx.id.task;
        let durable = self.durable.poll().map_err(|why| self.error(why))?;
        let mut reports = Vec::with_capacity(durable.len());
        for (commit, end) in durable {
            let mut ends = Vec::new();
            if let Some((segment, entry)) = end {
                self.unpublished.push((commit, (segment, entry)));
                ends.push((partition, (segment, Some(entry))));
            }
            reports.push((commit, ends));
        }
        Ok(self.early.as_mut().map(std::mem::take).unwrap_or(reports))
    }

    fn publish(&mut self, commit: Epoch) -> Result<(), TaskError> {
        let covered = self.unpublished.iter().take_while(|(c, _)| *c <= commit).count();
        let last = self.unpublished.drain(..covered).next_back();
        if let (Some((_, end)), Writer::Transactional(writer)) = (last, &mut self.writer) {
            writer.publish(end).map_err(|e| self.error(chain(&e)))?;
        }
        Ok(())
    }
}
