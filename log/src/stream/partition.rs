//! One partition's record: found, changed by compare-and-set, and watched inside this process.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use egret_schemas::{EntryId, Position, SegmentId, Term};

use super::catalog::{
    Closed, PartitionRecord, SegmentRecord, StreamInfo, StreamRecord, StreamState,
    decode_partition, decode_stream, encode_partition,
};
use super::entry_codec;
use super::error::{CatalogError, OpenWriterError, ReadError};
use crate::client::{
    CreateError, KnownEnd, LedgerEnd, LedgerWriter, Ledgers, ReadError as LedgerReadError,
};
use crate::clock::Wall;
use crate::directory::LogCloseError;
use crate::ledger::LedgerKind;
use crate::message::Wake;
use crate::metadata::{Compare, Op, TxnOutcome, txn_or_conflict};

/// Tries of one compare-and-set before giving up.
pub(super) const CAS_TRIES: usize = 64;

pub(super) fn stream_key(stream: &str) -> String {
    format!("/stream/{stream}")
}

/// What every partition's record is under.
pub(super) const PARTITION_PREFIX: &str = "/partition/";

pub(super) fn partition_key(stream: &str, partition: u32) -> String {
    format!("{PARTITION_PREFIX}{stream}/{partition}")
}

/// Tells readers in this process that a partition's record, or the state of a segment, changed.
#[derive(Default)]
pub(super) struct Hub {
    version: AtomicU64,
    watchers: Mutex<Vec<Wake>>,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hub at {}", self.version())
    }
}

impl Hub {
    /// Counts the changes.
    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Calls `wake` once when something changed after `version`; at once if it has.
    pub(super) fn watch(&self, version: u64, wake: Wake) {
        {
            let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
            if self.version() == version {
                return watchers.push(wake);
            }
        }
        wake();
    }

    pub(super) fn notify(&self) {
        let woken = {
            let mut watchers = self.watchers.lock().unwrap_or_else(PoisonError::into_inner);
            self.version.fetch_add(1, Ordering::AcqRel);
            std::mem::take(&mut *watchers)
        };
        woken.iter().for_each(|wake| wake());
    }
}

type Hubs = BTreeMap<(String, u32), Arc<Hub>>;

/// What lies below a log and was opened for it: let go of when the log is closed, or, like after a
/// crash, when its last handle is dropped.
pub(crate) trait Below: Send + Sync + fmt::Debug {
    /// Closes it in good order; the metadata store is closed already.
    fn close(self: Box<Self>) -> Result<(), LogCloseError>;
}

/// All streams of one log.
#[derive(Debug)]
pub(super) struct Catalog {
    pub(super) ledgers: Ledgers,
    hubs: Mutex<Hubs>,
    closed: AtomicBool,
    wall: Wall,
    /// Last, because fields are dropped in this order: it holds the directory's lock.
    below: Mutex<Option<Box<dyn Below>>>,
}

impl Catalog {
    pub(super) fn new(ledgers: Ledgers, below: Option<Box<dyn Below>>, wall: Wall) -> Arc<Catalog> {
        let (hubs, closed) = (Mutex::default(), AtomicBool::new(false));
        Arc::new(Catalog { ledgers, hubs, closed, wall, below: Mutex::new(below) })
    }

    /// Nothing is opened or changed through it from now on.
    pub(super) fn close(&self) -> Result<(), LogCloseError> {
        self.closed.store(true, Ordering::Release);
        let hubs: Vec<_> = self.hubs().values().cloned().collect();
        hubs.iter().for_each(|hub| hub.notify());
        self.ledgers.metadata().close();
        let below = self.below.lock().unwrap_or_else(PoisonError::into_inner).take();
        below.map_or(Ok(()), |below| below.close())
    }

    pub(super) fn check_open(&self) -> Result<(), CatalogError> {
        if self.closed.load(Ordering::Acquire) { Err(CatalogError::Closed) } else { Ok(()) }
    }

    /// Somebody, perhaps in another process, changed a partition's record.
    pub(super) fn notify(&self, stream: &str, number: u32) {
        let hub = self.hubs().get(&(stream.to_owned(), number)).cloned();
        if let Some(hub) = hub {
            hub.notify();
        }
    }

    /// Nobody knows what changed.
    pub(super) fn notify_all(&self) {
        let hubs: Vec<_> = self.hubs().values().cloned().collect();
        hubs.iter().for_each(|hub| hub.notify());
    }

    fn hubs(&self) -> MutexGuard<'_, Hubs> {
        self.hubs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A stream that is there.
    pub(super) fn stream(&self, name: &str) -> Result<StreamInfo, CatalogError> {
        let (record, _) = self.stream_record(name)?;
        Ok(StreamInfo { name: name.to_owned(), config: record.config })
    }

    /// The record of a stream that is there, and its revision.
    pub(super) fn stream_record(&self, name: &str) -> Result<(StreamRecord, u64), CatalogError> {
        self.check_open()?;
        let missing = || CatalogError::NoStream { stream: name.to_owned() };
        let key = stream_key(name);
        let held = self.ledgers.metadata().get(&key)?.ok_or_else(missing)?;
        let record = decode_stream(&held.value).map_err(|why| CatalogError::Decode { key, why })?;
        if record.state != StreamState::There {
            return Err(missing());
        }
        Ok((record, held.revision))
    }

    /// A partition of a stream, and the stream.
    pub(super) fn partition(
        self: &Arc<Self>,
        name: &str,
        number: u32,
    ) -> Result<(Partition, StreamInfo), CatalogError> {
        let info = self.stream(name)?;
        let partitions = info.config.partitions;
        if number >= partitions {
            let stream = name.to_owned();
            return Err(CatalogError::NoPartition { stream, partitions, asked: number });
        }
        Ok((self.partition_of(name, number), info))
    }

    /// A partition that is known to be there.
    pub(super) fn partition_of(self: &Arc<Self>, name: &str, number: u32) -> Partition {
        let hub = self.hubs().entry((name.to_owned(), number)).or_default().clone();
        Partition { catalog: self.clone(), stream: name.into(), number, hub }
    }
}

/// A segment to begin.
#[derive(Debug)]
pub(super) struct NextSegment {
    pub(super) kind: LedgerKind,
    pub(super) first_number: u64,
    /// See [`SegmentRecord::rolled_at`].
    pub(super) rolled_at: Option<Option<EntryId>>,
    /// What is known of a segment before it.
    pub(super) closed: Option<(SegmentId, Closed)>,
}

/// One partition. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Partition {
    catalog: Arc<Catalog>,
    stream: Arc<str>,
    number: u32,
    pub(super) hub: Arc<Hub>,
}

impl Partition {
    pub(super) fn ledgers(&self) -> &Ledgers {
        &self.catalog.ledgers
    }

    pub(super) fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// What time it is, in milliseconds since 1970.
    pub(super) fn now_ms(&self) -> u64 {
        self.catalog.wall.ms()
    }

    pub(super) fn stream_name(&self) -> &str {
        &self.stream
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }

    fn key(&self) -> String {
        partition_key(&self.stream, self.number)
    }

    /// The record as it is.
    pub(super) fn load(&self) -> Result<PartitionRecord, CatalogError> {
        Ok(self.load_versioned()?.0)
    }

    fn load_versioned(&self) -> Result<(PartitionRecord, u64), CatalogError> {
        self.catalog.check_open()?;
        let key = self.key();
        let missing = || CatalogError::NoStream { stream: self.stream.to_string() };
        let held = self.ledgers().metadata().get(&key)?.ok_or_else(missing)?;
        let record =
            decode_partition(&held.value).map_err(|why| CatalogError::Decode { key, why })?;
        Ok((record, held.revision))
    }

    /// Changes the record, with whatever else belongs into the same transaction, and tells readers.
    pub(super) fn change<E: From<CatalogError>>(
        &self,
        with: (&[Compare], &[Op]),
        edit: impl Fn(&mut PartitionRecord) -> Result<(), E>,
    ) -> Result<PartitionRecord, E> {
        let proposal = self.ledgers().proposal();
        for _ in 0..CAS_TRIES {
            let (mut record, revision) = self.load_versioned()?;
            if record.proposal == proposal {
                self.hub.notify();
                return Ok(record);
            }
            let before = record.clone();
            edit(&mut record)?;
            if record == before && with.1.is_empty() {
                return Ok(record);
            }
            record.proposal = proposal;
            let mut compare = with.0.to_vec();
            compare.push(Compare::Revision(self.key(), revision));
            let mut ops = with.1.to_vec();
            ops.extend(self.turn_pages(&before, &mut record));
            ops.push(Op::Put(self.key(), encode_partition(&record)));
            let meta = &**self.ledgers().metadata();
            let done = txn_or_conflict(meta, &compare, &ops).map_err(CatalogError::Meta)?;
            // Read back: a reply that was lost and sent again finds its own proposal.
            let ours = match done {
                TxnOutcome::Committed { .. } => true,
                TxnOutcome::Conflict => self.load()?.proposal == record.proposal,
            };
            if ours {
                self.hub.notify();
                return Ok(record);
            }
        }
        Err(CatalogError::Contended { key: self.key() }.into())
    }

    /// Changes the record for the writer that holds it at `term`.
    pub(super) fn change_at<E: From<CatalogError>>(
        &self,
        term: Term,
        with: (&[Compare], &[Op]),
        edit: impl Fn(&mut PartitionRecord),
    ) -> Result<PartitionRecord, E> {
        self.change(with, |record| {
            if record.term != term {
                let (stream, partition) = (self.stream.to_string(), self.number);
                return Err(CatalogError::TakenOver { stream, partition }.into());
            }
            edit(record);
            Ok(())
        })
    }

    /// Lists a new segment and creates its ledger; `edit` changes the record in the same step.
    pub(super) fn add_segment(
        &self,
        term: Term,
        next: NextSegment,
        edit: impl Fn(&mut PartitionRecord),
    ) -> Result<(SegmentId, LedgerWriter), OpenWriterError> {
        let NextSegment { kind, first_number, rolled_at, closed } = next;
        let created_ms = self.now_ms();
        let ledger = self.ledgers().reserve()?;
        let (absent, put, metadata) =
            self.ledgers().prepare(ledger, kind, term).map_err(CreateError::from)?;
        let record = self.change_at::<OpenWriterError>(term, (&[absent], &[put]), |record| {
            edit(record);
            let id = record.next_segment;
            record.next_segment = id.next();
            if let Some((before, closed)) = closed
                && let Ok(index) = record.find(before)
            {
                record.segments[index].closed = Some(closed);
            }
            record.segments.push(SegmentRecord {
                id,
                ledger,
                first_number,
                rolled_at,
                created_ms,
                closed: None,
            });
        })?;
        let id = record.segments.last().expect("just pushed").id;
        let writer = self.ledgers().create_prepared(ledger, &metadata)?;
        self.collect_garbage(&record);
        Ok((id, writer))
    }

    /// Deletes ledgers no longer part of the partition. What fails stays listed for the next time.
    pub(super) fn collect_garbage(&self, record: &PartitionRecord) {
        if record.garbage.is_empty() {
            return;
        }
        let gone: Vec<_> = record
            .garbage
            .iter()
            .filter(|ledger| match self.ledgers().abandon(**ledger, record.term) {
                Ok(()) => true,
                Err(error) => {
                    tracing::warn!(%ledger, %error, "a ledger is deleted later");
                    false
                }
            })
            .copied()
            .collect();
        let done = self.change::<CatalogError>((&[], &[]), |record| {
            record.garbage.retain(|ledger| !gone.contains(ledger));
            Ok(())
        });
        if let Err(error) = done {
            tracing::warn!(stream = %self.stream, partition = self.number, %error, "garbage stays listed");
        }
    }

    /// An entry of a segment, whether readers may see it or not.
    pub(super) fn read(&self, segment: &SegmentRecord, entry: EntryId) -> Result<Bytes, ReadError> {
        self.ledgers().read_unconfirmed(segment.ledger, entry).map_err(of(segment))
    }

    /// The same, or `None` when its loss was accepted.
    pub(super) fn read_or_lost(
        &self,
        segment: &SegmentRecord,
        entry: EntryId,
    ) -> Result<Option<Bytes>, ReadError> {
        match self.read(segment, entry) {
            Err(ReadError::Ledger { why: LedgerReadError::Lost { .. }, .. }) => Ok(None),
            other => other.map(Some),
        }
    }

    /// How far a segment may be read now, and how sure that is.
    pub(super) fn known_end(&self, segment: &SegmentRecord) -> Result<KnownEnd, ReadError> {
        self.ledgers().known_end(segment.ledger).map_err(of(segment))
    }

    /// How far a segment may be read now, at least.
    pub(super) fn end_of(&self, segment: &SegmentRecord) -> Result<LedgerEnd, ReadError> {
        self.known_end(segment)?.at_least().map_err(of(segment))
    }

    /// The same, and no farther: an error when too few bookies answer to know that.
    pub(super) fn whole_end_of(&self, segment: &SegmentRecord) -> Result<LedgerEnd, ReadError> {
        self.known_end(segment)?.whole().map_err(of(segment))
    }

    /// The number of the record after the last of `segment`, when that ends at `last`.
    pub(super) fn number_after(
        &self,
        segment: &SegmentRecord,
        last: Option<EntryId>,
    ) -> Result<u64, ReadError> {
        let mut at = last;
        while let Some(entry) = at {
            if let Some(bytes) = self.read_or_lost(segment, entry)? {
                let head = entry_codec::decode_head(&bytes);
                if let Some(head) = head.map_err(|why| decode(segment, entry, why))? {
                    return Ok(head.first_number + head.records);
                }
            }
            at = entry.before();
        }
        Ok(segment.first_number)
    }

    /// Where readers must stop now, at least.
    pub(super) fn visible_end(&self, record: &PartitionRecord) -> Result<VisibleEnd, ReadError> {
        self.stops(record, Partition::end_of)
    }

    /// Where readers must stop now, and no sooner: an error when too few bookies answer to know that.
    pub(super) fn whole_end(&self, record: &PartitionRecord) -> Result<VisibleEnd, ReadError> {
        self.stops(record, Partition::whole_end_of)
    }

    fn stops(&self, record: &PartitionRecord, end_of: EndOf) -> Result<VisibleEnd, ReadError> {
        // The first segment that is open bounds readers, whatever a transaction rolled behind it.
        let mut bound = None;
        for segment in self.segments(record).rev() {
            let segment = segment?;
            let end = end_of(self, &segment)?;
            let closed = matches!(end, LedgerEnd::Closed { .. });
            if closed && bound.is_some() {
                break;
            }
            bound = Some((segment, end.readable()));
            if closed {
                break;
            }
        }
        let Some((segment, last)) = bound else {
            return Ok(VisibleEnd { position: record.first, segment: None });
        };
        let position = Position { segment: segment.id, entry: EntryId::after(last), slot: 0 };
        let position = position.max(record.first);
        Ok(VisibleEnd { position, segment: Some((segment, last)) })
    }
}

/// How the end of a segment is asked for.
pub(super) type EndOf = fn(&Partition, &SegmentRecord) -> Result<LedgerEnd, ReadError>;

/// What an error of its ledger is to a segment.
pub(super) fn of(segment: &SegmentRecord) -> impl Fn(LedgerReadError) -> ReadError + use<> {
    let segment = segment.id;
    move |why| ReadError::Ledger { segment, why }
}

/// Where readers must stop.
#[derive(Debug, Clone)]
pub(super) struct VisibleEnd {
    /// The position after the last record they may see.
    pub(super) position: Position,
    /// Which segment that is in, and the last entry of it they may see.
    pub(super) segment: Option<(SegmentRecord, Option<EntryId>)>,
}

pub(super) fn decode(
    segment: &SegmentRecord,
    entry: EntryId,
    why: egret_schemas::bytes::DecodeError,
) -> ReadError {
    ReadError::Decode { segment: segment.id, ledger: segment.ledger, entry, why }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_between_looking_and_watching_is_not_missed() {
        let hub = Hub::default();
        let calls = Arc::new(AtomicU64::new(0));
        let counter = calls.clone();
        let wake: Wake = Arc::new(move || {
            counter.fetch_add(1, Ordering::SeqCst);
        });
        let seen = hub.version();
        hub.notify();
        hub.watch(seen, wake.clone());
        assert_eq!(calls.load(Ordering::SeqCst), 1, "at once");
        hub.watch(hub.version(), wake);
        assert_eq!(calls.load(Ordering::SeqCst), 1);
        hub.notify();
        hub.notify();
        assert_eq!(calls.load(Ordering::SeqCst), 2, "and once");
    }
}
