//! The writer of a plain partition: one for each inside a process, handles are clones of it.
//!
//! Opening it is a takeover: the partition's term is raised, its last two segments are recovered, and
//! what its producers did is read from the last one that has entries. A new segment is begun by the
//! first append. The lock orders records and gives them their numbers; it is not held while a bookie
//! writes, so callers on several threads share one journal sync.
//!
//! When a ledger fails, the next append takes the partition over again, and everything the writer
//! knows is read anew from what really is there.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use egret_schemas::{EntryId, Epoch, Position, SegmentId, Term};

use super::catalog::{Closed, SegmentRecord, StreamConfig};
use super::entry_codec::{self, Entry};
use super::error::{AppendError, CatalogError, OpenWriterError, ReadError};
use super::partition::{NextSegment, Partition, decode};
use super::producers::Producers;
use super::record::{Producer, ProducerState, Record};
use super::retention;
use crate::caps;
use crate::client::{LedgerWriter, ReadError as LedgerReadError, Started};
use crate::ledger::{CloseAt, LedgerKind};

/// What an append came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Where the first new record is; where the next will be when there is none.
    pub position: Position,
    /// How many records are new.
    pub records: u32,
    /// How many were there already: their sequence is not above their producer's last.
    pub duplicates: u32,
}

/// Called once, on any thread, when an append is durable or failed. It must not block.
pub type AppendedDone = Box<dyn FnOnce(Result<Appended, AppendError>) + Send>;

/// Appends to one plain partition; see the [module](self). Cheap to clone.
#[derive(Debug, Clone)]
pub struct PartitionWriter {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    partition: Partition,
    config: StreamConfig,
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    /// To be taken over, at first or after a failure.
    Lost,
    Open(Open),
    Closed,
}

#[derive(Debug)]
struct Open {
    term: Term,
    active: Option<Active>,
    next_number: u64,
    producers: Producers,
    /// Segments at the end of the list that are closed and empty: dropped when the next is added.
    empty: Vec<SegmentId>,
    /// The last segment that is closed and has entries.
    closed: Option<(SegmentId, Closed)>,
    /// The latest time any entry says.
    last_ms: u64,
    /// Where the partition ends while there is no active segment.
    end: Position,
}

#[derive(Debug)]
struct Active {
    id: SegmentId,
    writer: Arc<LedgerWriter>,
    bytes: u64,
    /// When it was begun, and when the last of it was appended.
    begun_ms: u64,
    last_ms: u64,
}

impl Active {
    /// Whether the next is to be begun: it has its bytes, or is as old as what its stream keeps; else
    /// a stream that little is appended to would keep all of it.
    fn is_full(&self, config: &StreamConfig, now_ms: u64) -> bool {
        let age = now_ms.saturating_sub(self.begun_ms);
        self.bytes >= config.segment_bytes_max || config.retention_ms.is_some_and(|ms| age >= ms)
    }
}

/// How the last entry of an append is waited for.
enum Last {
    /// It has its number and is sent by whoever waits.
    Started(Started),
    /// Nothing is new; what was appended before must be durable all the same.
    Before(Option<(Arc<LedgerWriter>, EntryId)>),
}

impl PartitionWriter {
    /// Takes the partition over.
    pub(super) fn open(
        partition: Partition,
        config: StreamConfig,
    ) -> Result<PartitionWriter, OpenWriterError> {
        let open = Open::take_over(&partition)?;
        let state = Mutex::new(State::Open(open));
        Ok(PartitionWriter { inner: Arc::new(Inner { partition, config, state }) })
    }

    /// Appends and waits until all of it is durable.
    pub fn append_wait(&self, records: &[Record]) -> Result<Appended, AppendError> {
        self.wait(None, records)
    }

    /// Appends what is new by `producer` and waits until it, and what was there, is durable.
    pub fn append_as_wait(
        &self,
        producer: &Producer,
        records: &[Record],
    ) -> Result<Appended, AppendError> {
        self.wait(Some(producer), records)
    }

    /// Appends; `done` is told when all of it is durable. Waits while too much is in flight.
    pub fn append(&self, records: &[Record], done: AppendedDone) {
        self.inner.send(None, records, done);
    }

    /// Appends what is new by `producer`; `done` is told when it, and what was there, is durable.
    pub fn append_as(&self, producer: &Producer, records: &[Record], done: AppendedDone) {
        self.inner.send(Some(producer), records, done);
    }

    /// What is remembered of a producer, all of it durable. `None` when it never appended here.
    pub fn producer_state(&self, name: &[u8]) -> Result<Option<ProducerState>, AppendError> {
        let (state, before) = {
            let mut state = self.inner.lock();
            let open = self.inner.open(&mut state)?;
            (open.producers.get(name).cloned(), open.last())
        };
        Last::Before(before).wait()?;
        Ok(state)
    }

    /// Whether both are handles of one writer.
    pub fn is_same(&self, other: &PartitionWriter) -> bool {
        Arc::ptr_eq(&self.inner, &other.inner)
    }

    /// Closes the active segment; appends are refused from now on.
    pub(super) fn close(&self) {
        let before = std::mem::replace(&mut *self.inner.lock(), State::Closed);
        let State::Open(Open { active: Some(active), .. }) = before else { return };
        // Whatever fails here, the next takeover recovers the segment.
        let closed = match active.writer.drain() {
            Ok(last) => active.writer.close(last).map_err(|error| error.to_string()),
            Err(why) => Err(why.to_string()),
        };
        match closed {
            Ok(()) => self.inner.partition.hub.notify(),
            Err(error) => tracing::warn!(segment = %active.id, error, "left for recovery"),
        }
    }

    fn wait(
        &self,
        producer: Option<&Producer>,
        records: &[Record],
    ) -> Result<Appended, AppendError> {
        let (appended, last) = self.inner.begin(producer, records)?;
        last.wait()?;
        Ok(appended)
    }
}

impl Last {
    fn wait(self) -> Result<(), AppendError> {
        match self {
            Last::Started(started) => drop(started.wait()?),
            Last::Before(None) => {}
            Last::Before(Some((writer, entry))) => drop(writer.wait_confirmed(entry)?),
        }
        Ok(())
    }

    fn on_done(self, then: impl FnOnce(Result<(), AppendError>) + Send + 'static) {
        match self {
            Last::Started(started) => {
                started.send(Box::new(|done| then(done.map(drop).map_err(AppendError::from))));
            }
            Last::Before(None) => then(Ok(())),
            Last::Before(Some((writer, entry))) => {
                let then = |done: Result<_, _>| then(done.map(drop).map_err(AppendError::from));
                writer.when_confirmed(entry, Box::new(then));
            }
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The open state, taken over again if the last ledger failed.
    fn open<'a>(&self, state: &'a mut State) -> Result<&'a mut Open, AppendError> {
        if let State::Open(Open { active: Some(active), .. }) = state
            && active.writer.failure().is_some()
        {
            *state = State::Lost;
        }
        if matches!(state, State::Lost) {
            *state = State::Open(Open::take_over(&self.partition)?);
        }
        match state {
            State::Open(open) => Ok(open),
            _ => Err(AppendError::Closed),
        }
    }

    fn send(&self, producer: Option<&Producer>, records: &[Record], done: AppendedDone) {
        match self.begin(producer, records) {
            Err(error) => done(Err(error)),
            Ok((appended, last)) => last.on_done(move |result| done(result.map(|()| appended))),
        }
    }

    /// Orders the records and numbers them; all but the last entry is sent.
    fn begin(
        &self,
        producer: Option<&Producer>,
        records: &[Record],
    ) -> Result<(Appended, Last), AppendError> {
        check(producer, records)?;
        let mut state = self.lock();
        let open = self.open(&mut state)?;
        if let Some(producer) = producer
            && !records.is_empty()
            && !open.producers.admits(&producer.name)
        {
            return Err(AppendError::TooManyProducers {
                stream: self.partition.stream_name().to_owned(),
                partition: self.partition.number(),
                producers: open.producers.len(),
            });
        }
        let begun = open.append(self, producer, records);
        if begun.is_err() {
            // Numbers were given to what was not appended: read anew what is there.
            *state = State::Lost;
        }
        begun
    }
}

fn check(producer: Option<&Producer>, records: &[Record]) -> Result<(), AppendError> {
    if let Some(p) = producer
        && !p.fits()
    {
        return Err(AppendError::ProducerTooLarge { name: p.name.len(), note: p.note.len() });
    }
    let large = records.iter().position(|record| record.bytes() > caps::RECORD_BYTES_MAX);
    match large {
        Some(index) => Err(AppendError::RecordTooLarge { index, bytes: records[index].bytes() }),
        None => Ok(()),
    }
}

/// How many of `records` go into one entry.
pub(super) fn entry_len(records: &[&Record]) -> usize {
    let mut bytes = 0;
    let fit = records.iter().take_while(|record| {
        bytes += record.bytes();
        bytes <= caps::ENTRY_BYTES_TARGET
    });
    fit.count().max(1).min(records.len())
}

impl Open {
    fn take_over(partition: &Partition) -> Result<Open, OpenWriterError> {
        // A stream that is being deleted is not written again.
        partition.catalog().stream(partition.stream_name())?;
        let record = partition.change::<CatalogError>((&[], &[]), |record| {
            record.term = record.term.next();
            Ok(())
        })?;
        let term = record.term;
        let mut open = Open {
            term,
            active: None,
            next_number: record.segments.last().map_or(record.base_number, |s| s.first_number),
            producers: Producers::default(),
            empty: Vec::new(),
            closed: None,
            last_ms: 0,
            end: record.first,
        };
        let mut last_with_entries = None;
        for (seen, segment) in partition.segments(&record).rev().enumerate() {
            if seen >= 2 && last_with_entries.is_some() {
                break;
            }
            let segment = segment?;
            match partition.ledgers().recover(segment.ledger, term, CloseAt::End)? {
                Some(last) if last_with_entries.is_none() => {
                    last_with_entries = Some((segment, last));
                }
                None if last_with_entries.is_none() => open.empty.push(segment.id),
                _ => {}
            }
        }
        if let Some((segment, last)) = last_with_entries {
            let mut read = 0;
            let mut scan = partition.ledgers().scan(segment.ledger);
            for entry in (0..=last.0).map(EntryId) {
                let bytes = match scan.read(entry, last) {
                    Ok(bytes) => bytes,
                    // Its records are gone, and with them what it said of their producers.
                    Err(LedgerReadError::Lost { .. }) => continue,
                    Err(why) => {
                        let segment = segment.id;
                        return Err(OpenWriterError::Read(ReadError::Ledger { segment, why }));
                    }
                };
                let wrong = |why| OpenWriterError::Read(decode(&segment, entry, why));
                read += bytes.len() as u64;
                open.apply(entry_codec::decode(&bytes).map_err(wrong)?);
            }
            // A segment of a build that noted no times counts from when it was begun.
            open.last_ms = open.last_ms.max(segment.created_ms);
            open.closed = Some((segment.id, Closed { last_ms: open.last_ms, bytes: read }));
            let end = Position { segment: segment.id, entry: last.next(), slot: 0 };
            open.end = end.max(record.first);
        }
        // Readers that were shut out by the fence look again.
        partition.hub.notify();
        partition.collect_garbage(&record);
        Ok(open)
    }

    fn apply(&mut self, entry: Entry) {
        match entry {
            Entry::Snapshot { next_number, producers } => {
                self.next_number = next_number;
                let copied = producers.into_iter().map(|(name, state)| {
                    let note = bytes::Bytes::copy_from_slice(&state.note);
                    (bytes::Bytes::copy_from_slice(&name), ProducerState { note, ..state })
                });
                self.producers = Producers::restore(copied.collect());
            }
            Entry::Data { first_number, appended_ms, producer, records, .. } => {
                self.last_ms = self.last_ms.max(appended_ms.unwrap_or(0));
                self.next_number = first_number + records.len() as u64;
                if let Some(producer) = producer {
                    self.producers.apply(&producer, &records);
                }
            }
        }
    }

    /// The last entry given a number.
    fn last(&self) -> Option<(Arc<LedgerWriter>, EntryId)> {
        let active = self.active.as_ref()?;
        Some((active.writer.clone(), active.writer.last_appended()?))
    }

    fn append(
        &mut self,
        inner: &Inner,
        producer: Option<&Producer>,
        records: &[Record],
    ) -> Result<(Appended, Last), AppendError> {
        let fresh = self.fresh(producer, records);
        let count = |n: usize| u32::try_from(n).expect("records of one call fit memory");
        let duplicates = count(records.len() - fresh.len());
        if fresh.is_empty() {
            let before = self.last();
            let position = match (&self.active, &before) {
                (Some(active), Some((_, last))) => {
                    Position { segment: active.id, entry: last.next(), slot: 0 }
                }
                _ => self.end,
            };
            let appended = Appended { position, records: 0, duplicates };
            return Ok((appended, Last::Before(before)));
        }
        // A clock that was set back stands still here: times are looked for by halving.
        self.last_ms = self.last_ms.max(inner.partition.now_ms());
        let mut rest = &fresh[..];
        let mut position = None;
        loop {
            let (chunk, tail) = rest.split_at(entry_len(rest));
            rest = tail;
            let number = self.next_number;
            let now = self.last_ms;
            let payload =
                entry_codec::encode_data(Epoch(0), number, now, producer, chunk.iter().copied());
            let active = self.segment(inner)?;
            active.bytes += payload.len() as u64;
            active.last_ms = now;
            let started = active.writer.begin(payload)?;
            let here = Position { segment: active.id, entry: started.entry(), slot: 0 };
            let position = *position.get_or_insert(here);
            self.next_number += chunk.len() as u64;
            if let Some(producer) = producer {
                self.producers.note(producer, chunk.iter().filter_map(|r| r.sequence).max());
            }
            if rest.is_empty() {
                let appended = Appended { position, records: count(fresh.len()), duplicates };
                return Ok((appended, Last::Started(started)));
            }
            // When it fails, so does every later entry of the ledger.
            started.send(Box::new(drop));
        }
    }

    /// The records that are not there yet.
    fn fresh<'a>(&self, producer: Option<&Producer>, records: &'a [Record]) -> Vec<&'a Record> {
        let Some(producer) = producer else { return records.iter().collect() };
        let mut last = self.producers.get(&producer.name).and_then(|state| state.last_sequence);
        let is_new = |record: &&Record| match record.sequence {
            None => true,
            Some(sequence) if Some(sequence) <= last => false,
            Some(sequence) => {
                last = Some(sequence);
                true
            }
        };
        records.iter().filter(is_new).collect()
    }

    /// The segment to append to, the next one if there is none or it is full.
    fn segment(&mut self, inner: &Inner) -> Result<&mut Active, AppendError> {
        let now = self.last_ms;
        if let Some(full) = self.active.take_if(|active| active.is_full(&inner.config, now)) {
            let last = full.writer.drain().map_err(|why| crate::client::CloseError::Ended {
                ledger: full.writer.id(),
                why,
            })?;
            full.writer.close(last)?;
            self.end = Position { segment: full.id, entry: EntryId::after(last), slot: 0 };
            self.closed = Some((full.id, Closed { last_ms: full.last_ms, bytes: full.bytes }));
        }
        if self.active.is_none() {
            let empty = std::mem::take(&mut self.empty);
            let next = NextSegment {
                kind: LedgerKind::Plain,
                first_number: self.next_number,
                rolled_at: None,
                closed: self.closed,
            };
            let (id, writer) = inner.partition.add_segment(self.term, next, |record| {
                let (dropped, kept): (Vec<SegmentRecord>, _) =
                    record.segments.drain(..).partition(|s| empty.contains(&s.id));
                record.segments = kept;
                record.garbage.extend(dropped.iter().map(|segment| segment.ledger));
            })?;
            retention::enforce_or_warn(&inner.partition, &inner.config);
            let mut bytes = 0;
            let producers = self.producers.iter();
            if producers.len() > 0 {
                let snapshot = entry_codec::encode_snapshot(self.next_number, producers);
                bytes += snapshot.len() as u64;
                // When it fails, so does every later entry of the ledger.
                writer.append(snapshot, Box::new(drop));
            }
            let (writer, last_ms) = (Arc::new(writer), now);
            self.active = Some(Active { id, writer, bytes, begun_ms: now, last_ms });
        }
        Ok(self.active.as_mut().expect("just begun"))
    }
}
