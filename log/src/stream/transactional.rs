//! The writer of a partition that belongs to a topology: what it appends is durable at once and
//! visible when its commit is.
//!
//! 1. An entry holds one epoch, and epochs never go down.
//! 2. A segment closes only at a committed entry. A roll, at an epoch's first entry, leaves the old
//!    one open and lists the next, with where the old one ends; readers do not pass an open segment.
//!    [`publish`](TransactionalWriter::publish) closes those the commit has passed.
//! 3. Opening raises the partition's term, shuts out whoever wrote before, closes at the commit given
//!    and drops what lies beyond, in the step that lists the new segment. Whoever takes over for another to
//!    write does the same but for the new segment, and the other one opens it at the same commit.
//!
//! Record numbers are a function of the entries up to the close: an aborted one's are given again.

use std::collections::{BTreeSet, VecDeque};

use egret_schemas::{EntryId, Epoch, SegmentId, Term};

use super::catalog::{Closed, Owner, PartitionRecord, SegmentRecord, StreamInfo};
use super::entry_codec;
use super::error::{AppendError, OpenWriterError, ReadError};
use super::pages::keep_only;
use super::partition::{NextSegment, Partition, decode};
use super::record::Record;
use super::writer::entry_len;
use crate::client::{CloseError, LedgerWriter, ReadError as LedgerReadError};
use crate::ledger::{CloseAt, LedgerKind};

/// A committed position: the segment, and the last committed entry of it.
pub type Committed = (SegmentId, Option<EntryId>);

/// Called once, on any thread, with where the last record of an append is durable. Everything the
/// writer appended before is durable then, too. It must not block.
pub type TransactionalDone = Box<dyn FnOnce(Result<(SegmentId, EntryId), AppendError>) + Send>;

/// Appends to one transactional partition; see the [module](self).
#[derive(Debug)]
pub struct TransactionalWriter {
    partition: Partition,
    owner: Owner,
    segment_bytes_max: u64,
    term: Term,
    next_number: u64,
    last_epoch: Epoch,
    /// The latest time any entry says.
    last_ms: u64,
    /// Segments that are open, the one appended to last. Those before it wait for a commit.
    open: VecDeque<OpenSegment>,
}

#[derive(Debug)]
struct OpenSegment {
    id: SegmentId,
    writer: LedgerWriter,
    bytes: u64,
}

impl TransactionalWriter {
    pub(super) fn open(
        partition: Partition,
        info: &StreamInfo,
        owner: &Owner,
        committed: Option<Committed>,
    ) -> Result<TransactionalWriter, OpenWriterError> {
        check_owner(info, owner)?;
        let record = claim(&partition, owner)?;
        let term = record.term;
        let all = partition.segments(&record).collect::<Result<Vec<_>, _>>()?;
        let (keep, next_number) = cut(&partition, &record, &all, committed)?;
        let kind = LedgerKind::Transactional { owner: owner.topology.clone() };
        let next = NextSegment { kind, first_number: next_number, rolled_at: None, closed: None };
        let (id, writer) = partition.add_segment(term, next, |record| {
            keep_only(record, &all, &keep);
            if record.first_listed().is_none() {
                record.base_number = next_number;
            }
        })?;
        Ok(TransactionalWriter {
            partition,
            owner: owner.clone(),
            segment_bytes_max: info.config.segment_bytes_max,
            term,
            next_number,
            last_epoch: Epoch::first(owner.generation),
            last_ms: 0,
            open: VecDeque::from([OpenSegment { id, writer, bytes: 0 }]),
        })
    }

    /// Does what [`open`](TransactionalWriter::open) does with what is there, and begins nothing: whoever wrote
    /// before is shut out, and what lies beyond the commit is dropped.
    pub(super) fn cut_at(
        partition: &Partition,
        info: &StreamInfo,
        owner: &Owner,
        committed: Option<Committed>,
    ) -> Result<(), OpenWriterError> {
        check_owner(info, owner)?;
        let record = claim(partition, owner)?;
        let all = partition.segments(&record).collect::<Result<Vec<_>, _>>()?;
        let (keep, next_number) = cut(partition, &record, &all, committed)?;
        let record = partition.change_at::<OpenWriterError>(record.term, (&[], &[]), |record| {
            keep_only(record, &all, &keep);
            if record.first_listed().is_none() {
                record.base_number = next_number;
            }
        })?;
        partition.collect_garbage(&record);
        partition.hub.notify();
        Ok(())
    }

    /// Raises the partition's term for `owner`, and does no more.
    pub(super) fn claim(
        partition: &Partition,
        info: &StreamInfo,
        owner: &Owner,
    ) -> Result<Term, OpenWriterError> {
        check_owner(info, owner)?;
        Ok(claim(partition, owner)?.term)
    }

    /// The segment appended to.
    pub fn segment(&self) -> SegmentId {
        self.active().id
    }

    /// The term written under.
    pub fn term(&self) -> Term {
        self.term
    }

    /// Where the last record was appended, durable or not yet; what a commit made now, and reported
    /// durable, would name.
    pub fn position(&self) -> Committed {
        (self.active().id, self.active().writer.last_appended())
    }

    /// Appends records of one epoch. `done` is told where the last of them is; nothing is appended for
    /// no records, and `done` is told when what was before is durable.
    pub fn append(&mut self, epoch: Epoch, records: &[Record], done: TransactionalDone) {
        if let Err(error) = self.try_append(epoch, records, done) {
            let (error, done) = *error;
            done(Err(error));
        }
    }

    /// Lets readers see up to a committed entry, and closes the segments the commit has passed. A
    /// hint: the commit is the truth, and opening closes what this did not get to.
    ///
    /// # Panics
    /// When the entry is not durable, or of a segment this writer does not know.
    pub fn publish(&mut self, (segment, entry): (SegmentId, EntryId)) -> Result<(), CloseError> {
        while self.open.len() > 1 && self.open[0].id < segment {
            self.close_first()?;
        }
        let Some(open) = self.open.iter().find(|open| open.id == segment) else {
            assert!(segment < self.open[0].id, "{segment} is none of this writer's");
            return Ok(());
        };
        let last = open.writer.last_appended();
        open.writer.publish(entry);
        if self.open.len() > 1 && last == Some(entry) {
            self.close_first()?;
        }
        Ok(())
    }

    /// Stops: closes everything at the last commit. `None` when this writer committed nothing.
    pub fn close(mut self, committed: Option<(SegmentId, EntryId)>) -> Result<(), CloseError> {
        if let Some(committed) = committed {
            self.publish(committed)?;
        }
        for open in &self.open {
            let last = committed.filter(|(segment, _)| *segment == open.id);
            open.writer.close(last.map(|(_, entry)| entry))?;
        }
        self.partition.hub.notify();
        Ok(())
    }

    fn active(&self) -> &OpenSegment {
        self.open.back().expect("a writer has an open segment")
    }

    fn close_first(&mut self) -> Result<(), CloseError> {
        let first = &self.open[0];
        // Drained by the roll: everything appended to it is acknowledged.
        first.writer.close(first.writer.last_confirmed())?;
        self.open.pop_front();
        self.partition.hub.notify();
        Ok(())
    }

    fn try_append(
        &mut self,
        epoch: Epoch,
        records: &[Record],
        done: TransactionalDone,
    ) -> Result<(), Box<(AppendError, TransactionalDone)>> {
        let fail = |error, done| Err(Box::new((error, done)));
        let generation = self.owner.generation;
        if epoch < self.last_epoch || epoch.generation() != generation {
            let last = self.last_epoch;
            return fail(AppendError::EpochWentBack { epoch, last, generation }, done);
        }
        let large = records.iter().position(|r| r.bytes() > crate::caps::RECORD_BYTES_MAX);
        if let Some(index) = large {
            let bytes = records[index].bytes();
            return fail(AppendError::RecordTooLarge { index, bytes }, done);
        }
        if epoch > self.last_epoch
            && self.active().bytes >= self.segment_bytes_max
            && !records.is_empty()
            && let Err(error) = self.roll()
        {
            return fail(error, done);
        }
        self.last_epoch = epoch;
        self.last_ms = self.last_ms.max(self.partition.now_ms());
        let segment = self.active().id;
        let told = move |result: Result<EntryId, crate::client::AppendError>| {
            done(result.map(|entry| (segment, entry)).map_err(AppendError::from));
        };
        let all: Vec<&Record> = records.iter().collect();
        let mut rest = &all[..];
        while !rest.is_empty() {
            let (chunk, tail) = rest.split_at(entry_len(rest));
            let number = self.next_number;
            let (now, chunk) = (self.last_ms, chunk.iter().copied());
            let payload = entry_codec::encode_data(epoch, number, now, None, chunk.clone());
            self.next_number += chunk.len() as u64;
            let active = self.open.back_mut().expect("a writer has an open segment");
            active.bytes += payload.len() as u64;
            if tail.is_empty() {
                active.writer.append(payload, Box::new(told));
                return Ok(());
            }
            // When it fails, so does every later entry of the ledger.
            active.writer.append(payload, Box::new(drop));
            rest = tail;
        }
        self.active().writer.barrier(Box::new(told));
        Ok(())
    }

    /// Lists the next segment and leaves this one open: only a commit closes it. What is in flight is
    /// waited for, so that an entry acknowledged in the next stands for all of this one.
    fn roll(&mut self) -> Result<(), AppendError> {
        let full = self.active();
        let last = full
            .writer
            .drain()
            .map_err(|why| CloseError::Ended { ledger: full.writer.id(), why })?;
        let kind = LedgerKind::Transactional { owner: self.owner.topology.clone() };
        let closed = Some((full.id, Closed { last_ms: self.last_ms, bytes: full.bytes }));
        let next =
            NextSegment { kind, first_number: self.next_number, rolled_at: Some(last), closed };
        let (id, writer) = self.partition.add_segment(self.term, next, |_| ())?;
        self.open.push_back(OpenSegment { id, writer, bytes: 0 });
        Ok(())
    }
}

/// Whether `owner` may write the stream at all.
fn check_owner(info: &StreamInfo, owner: &Owner) -> Result<(), OpenWriterError> {
    let stream = info.name.clone();
    match &info.config.transactional {
        None => {
            let topology = owner.topology.clone();
            return Err(OpenWriterError::NotTransactional { stream, topology });
        }
        Some(by) if *by != owner.topology => {
            return Err(OpenWriterError::Owned { stream, by: by.clone() });
        }
        Some(_) => {}
    }
    Ok(())
}

/// Raises the term for `owner`, unless a later generation was here.
fn claim(partition: &Partition, owner: &Owner) -> Result<PartitionRecord, OpenWriterError> {
    partition.change((&[], &[]), |record| {
        if let Some(held) = &record.owner
            && held.generation > owner.generation
        {
            let (held, asked) = (held.generation, owner.generation);
            return Err(OpenWriterError::Superseded { held, asked });
        }
        record.term = record.term.next();
        record.owner = Some(owner.clone());
        Ok(())
    })
}

/// Shuts out whoever wrote, closes every segment up to the commit's where it ends, and those beyond
/// it empty. What stays, and the number of the next record.
fn cut(
    partition: &Partition,
    record: &PartitionRecord,
    all: &[SegmentRecord],
    committed: Option<Committed>,
) -> Result<(BTreeSet<SegmentId>, u64), OpenWriterError> {
    let ledgers = partition.ledgers();
    let term = record.term;
    if let Some((segment, _)) = committed
        && segment >= record.next_segment
    {
        let (stream, partition) = (partition.stream_name().to_owned(), partition.number());
        return Err(OpenWriterError::UnknownSegment { stream, partition, segment });
    }
    let mut kept = BTreeSet::new();
    let mut number = all.first().map_or(record.base_number, |s| s.first_number);
    for (index, segment) in all.iter().enumerate() {
        let close = match committed {
            Some((at, last)) if segment.id == at => CloseAt::Entry(last),
            Some((at, _)) if segment.id < at => match end_before(partition, all, index)? {
                Some(last) => CloseAt::Entry(last),
                None => return Err(OpenWriterError::EndUnknown { segment: segment.id }),
            },
            // Closed with entries: they were committed, by a commit later than the one given.
            Some(_) if closed(partition, segment)?.flatten().is_some() => {
                return Err(OpenWriterError::CommitTooOld { segment: segment.id });
            }
            // Nothing of the owner's was committed here; what is closed was, under an earlier life.
            None if closed(partition, segment)?.flatten().is_some() => {
                CloseAt::Entry(closed(partition, segment)?.flatten())
            }
            _ => CloseAt::Entry(None),
        };
        let last = ledgers.recover(segment.ledger, term, close)?;
        let stays = committed.is_some_and(|(at, _)| segment.id <= at) || last.is_some();
        if stays {
            number = partition.number_after(segment, last).map_err(OpenWriterError::Read)?;
            kept.insert(segment.id);
        }
        if let (Some((at, _)), Some(last)) = (committed, last)
            && segment.id == at
        {
            check_cut(partition, segment, last)?;
        }
    }
    Ok((kept, number))
}

/// Where a segment before the commit's ends: closed there, or noted by the roll that left it open.
fn end_before(
    partition: &Partition,
    all: &[SegmentRecord],
    index: usize,
) -> Result<Option<Option<EntryId>>, OpenWriterError> {
    if let Some(last) = closed(partition, &all[index])? {
        return Ok(Some(last));
    }
    Ok(all.get(index + 1).and_then(|next| next.rolled_at))
}

fn closed(
    partition: &Partition,
    segment: &SegmentRecord,
) -> Result<Option<Option<EntryId>>, OpenWriterError> {
    let described = partition.ledgers().describe(segment.ledger);
    match described {
        Ok(metadata) => Ok(metadata.closed()),
        Err(crate::client::error::RecordError::NoLedger { .. }) => Ok(None),
        Err(why) => {
            let why = LedgerReadError::Record(why);
            Err(OpenWriterError::Read(ReadError::Ledger { segment: segment.id, why }))
        }
    }
}

/// The entry after the cut, if there is one that can be read, must be of a later commit: a commit is whole.
/// Nobody promised it: with a bookie away, or one that lacks its copy, whether it is there stays in doubt.
fn check_cut(
    partition: &Partition,
    segment: &SegmentRecord,
    last: EntryId,
) -> Result<(), OpenWriterError> {
    let epoch = epoch_of(partition, segment, last)?;
    let next = match epoch_of(partition, segment, last.next()) {
        Err(ReadError::Ledger {
            why: LedgerReadError::Missing { .. } | LedgerReadError::Doubtful { .. },
            ..
        }) => return Ok(()),
        other => other?,
    };
    if next.commit_start() > epoch.commit_start() {
        return Ok(());
    }
    Err(OpenWriterError::CutInsideCommit { segment: segment.id, entry: last, epoch, next })
}

fn epoch_of(
    partition: &Partition,
    segment: &SegmentRecord,
    entry: EntryId,
) -> Result<Epoch, ReadError> {
    let bytes = partition.read(segment, entry)?;
    let head = entry_codec::decode_head(&bytes).map_err(|why| decode(segment, entry, why))?;
    Ok(head.map_or(Epoch(0), |head| head.epoch))
}
