//! Reads one partition from any position, through history, into the live tail.
//!
//! A reader goes entry by entry, from segment to segment, and never past what is visible: an open
//! segment's last add confirmed (of a transactional one: what was published), a closed one's last
//! entry. Up to there it has some entries read [ahead](crate::client::scan). At the end it leaves a wake
//! and is called when there may be more: by the bookie when the segment grows, by the partition when its
//! record or a segment's state changes.
//!
//! While bookies are away an open segment is read as far as it is known to go. When none of those that have
//! it answers, that is an error, told behind what can be read; see [`is_sure`](PartitionReader::is_sure)
//! for when some do.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use egret_schemas::{EntryId, LedgerId, Position};

use super::catalog::{PartitionRecord, SegmentRecord};
use super::entry_codec::{self, Entry};
use super::error::ReadError;
use super::pages::while_pages_go;
use super::partition::{Partition, decode, of};
use super::record::Batch;
use super::seek;
use crate::client::{LedgerEnd, Scan};
use crate::message::Wake;
use crate::{caps, clock};

/// Where a reader begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFrom {
    /// At the oldest record that is still there.
    Earliest,
    /// Behind the newest visible one.
    Latest,
    /// Exactly here.
    At(Position),
    /// At the first record appended at this time or later, in milliseconds since 1970, by the clocks of
    /// those who appended; behind the newest visible one when there is none yet.
    Time(u64),
}

/// What a poll came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Poll {
    /// The next records.
    Batch(Batch),
    /// Nothing yet; the wake is called when there may be.
    Pending,
}

/// Reads one partition; see the [module](self).
#[derive(Debug)]
pub struct PartitionReader {
    partition: Partition,
    next: Position,
    record: PartitionRecord,
    /// The partition's change that `record` is from.
    version: u64,
    cursor: Option<Cursor>,
    signal: Arc<Signal>,
    parked: Arc<Parked>,
}

/// The segment being read.
#[derive(Debug)]
struct Cursor {
    segment: SegmentRecord,
    end: LedgerEnd,
    /// Whether enough bookies answered to know that this is the end.
    sure: bool,
    /// None of the bookies that have it answered: to be told behind what can be read all the same.
    unheard: Option<ReadError>,
    /// Reads ahead, up to the end and no further.
    scan: Scan,
}

impl Cursor {
    fn open(partition: &Partition, segment: SegmentRecord) -> Result<Cursor, ReadError> {
        let known = partition.known_end(&segment)?;
        let (end, sure) = (known.end, known.doubt.is_none());
        let unheard = known.at_least().map_err(of(&segment)).err();
        // What is gone is not to be read: the partition's record says what is left.
        if let Some(gone) = unheard.as_ref().filter(|error| error.is_gone()) {
            return Err(gone.clone());
        }
        let scan = partition.ledgers().scan(segment.ledger);
        Ok(Cursor { segment, end, sure, unheard, scan })
    }

    /// Asks the bookies again; whether there is more to read now.
    fn look(&mut self, partition: &Partition) -> Result<bool, ReadError> {
        // What opening it met is told, once, before anybody is asked again.
        if let Some(unheard) = self.unheard.take() {
            return Err(unheard);
        }
        let known = partition.known_end(&self.segment)?;
        self.sure = known.doubt.is_none();
        let closed = matches!(known.end, LedgerEnd::Closed { .. });
        // Others may have answered before, and known more.
        if closed || known.end.readable() > self.end.readable() {
            self.end = known.end;
            return Ok(true);
        }
        known.at_least().map_err(of(&self.segment))?;
        Ok(false)
    }
}

/// After which a ledger is watched again whose bookie called for nothing.
const WATCH_AGAIN: Duration = Duration::from_millis(caps::WATCH_RETRY_MS);

/// A bookie's promise to call: about which ledger, beyond what.
type Watched = (LedgerId, Option<EntryId>);

/// What calls the reader's wake, with no more than one registration of a kind outstanding.
#[derive(Default)]
struct Signal {
    state: Mutex<SignalState>,
}

#[derive(Default)]
struct SignalState {
    wake: Option<Wake>,
    hub_armed: bool,
    ledger_armed: Option<Watched>,
    /// The bookie called about this.
    fired: Option<Watched>,
    /// It called and there was no more. Either the ledger is fenced, and it would call at once for ever, or
    /// nobody could be asked for a moment: it is watched again after a while.
    idle: Option<Watched>,
    /// That while has begun.
    idle_armed: bool,
}

impl std::fmt::Debug for Signal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Signal")
    }
}

impl Signal {
    fn lock(&self) -> MutexGuard<'_, SignalState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn call(&self, change: impl FnOnce(&mut SignalState)) {
        let wake = {
            let mut state = self.lock();
            change(&mut state);
            state.wake.take()
        };
        if let Some(wake) = wake {
            wake();
        }
    }
}

#[derive(Debug, Default)]
struct Parked {
    woken: Mutex<bool>,
    changed: Condvar,
}

impl PartitionReader {
    pub(super) fn open(partition: Partition, from: ReadFrom) -> Result<PartitionReader, ReadError> {
        let (version, record, next) = while_pages_go(ReadError::is_gone, || {
            let version = partition.hub.version();
            let record = partition.load()?;
            let next = match from {
                ReadFrom::Earliest => record.first,
                ReadFrom::Latest => partition.visible_end(&record)?.position,
                ReadFrom::At(position) => {
                    check(&partition, &record, position)?;
                    position
                }
                ReadFrom::Time(ms) => seek::at_time(&partition, &record, ms)?,
            };
            Ok((version, record, next))
        })?;
        let (signal, parked) = (Arc::default(), Arc::default());
        Ok(PartitionReader { partition, next, record, version, cursor: None, signal, parked })
    }

    /// The position of the next record.
    pub fn position(&self) -> Position {
        self.next
    }

    /// The position after the last record readers may see now.
    ///
    /// # Errors
    /// Also when too few bookies answer to know that there is nothing behind it.
    pub fn end(&self) -> Result<Position, ReadError> {
        Ok(self.partition.whole_end(&self.partition.load()?)?.position)
    }

    /// Whether there was nothing behind the segment's last entry that was read: false when so few bookies
    /// answered that others may have more.
    pub fn is_sure(&self) -> bool {
        self.cursor.as_ref().is_none_or(|cursor| cursor.sure)
    }

    /// The next records, or [`Poll::Pending`]; then `wake` is called once, on any thread, when there
    /// may be more.
    pub fn poll(&mut self, wake: &Wake) -> Result<Poll, ReadError> {
        loop {
            self.refresh()?;
            let version = self.version;
            match self.step() {
                Ok(Step::Batch(batch)) => return Ok(Poll::Batch(batch)),
                Ok(Step::Again) => {}
                Ok(Step::End(watched)) => {
                    if self.park(wake, version, watched) {
                        return Ok(Poll::Pending);
                    }
                }
                // It was truncated or dropped while we looked: the record says what is left.
                Err(error) if error.is_gone() && self.is_stale()? => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Waits for the next records; `None` when none came in time.
    pub fn next_wait(&mut self, timeout: Duration) -> Result<Option<Batch>, ReadError> {
        let until = clock::now() + timeout;
        let parked = self.parked.clone();
        let wake: Wake = Arc::new(move || {
            *parked.woken.lock().unwrap_or_else(PoisonError::into_inner) = true;
            parked.changed.notify_one();
        });
        loop {
            if let Poll::Batch(batch) = self.poll(&wake)? {
                return Ok(Some(batch));
            }
            let left = until.saturating_duration_since(clock::now());
            let woken = self.parked.woken.lock().unwrap_or_else(PoisonError::into_inner);
            let waited = self.parked.changed.wait_timeout_while(woken, left, |woken| !*woken);
            let (mut woken, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if !std::mem::take(&mut *woken) {
                return Ok(None);
            }
        }
    }

    /// Whether the record changed, by this process or another; it is read again then.
    fn is_stale(&mut self) -> Result<bool, ReadError> {
        if self.partition.hub.version() != self.version {
            return Ok(true);
        }
        let stale = self.partition.load()?.proposal != self.record.proposal;
        if stale {
            self.reload()?;
        }
        Ok(stale)
    }

    /// Reads the record again if this process changed it.
    fn refresh(&mut self) -> Result<(), ReadError> {
        if self.partition.hub.version() == self.version { Ok(()) } else { self.reload() }
    }

    fn reload(&mut self) -> Result<(), ReadError> {
        let version = self.partition.hub.version();
        self.record = self.partition.load()?;
        // Only now: when it could not be read, whoever asks again has it read again.
        self.version = version;
        self.cursor = None;
        if self.next < self.record.first {
            return Err(ReadError::Truncated { first: self.record.first });
        }
        Ok(())
    }

    fn step(&mut self) -> Result<Step, ReadError> {
        let cursor = match &mut self.cursor {
            Some(cursor) => cursor,
            none => {
                let found = self.partition.at_or_after(&self.record, self.next.segment)?;
                let Some(segment) = found else { return Ok(Step::End(None)) };
                if segment.id != self.next.segment {
                    // A segment that was dropped empty: go on with the next.
                    self.next = Position { segment: segment.id, entry: EntryId(0), slot: 0 };
                }
                none.insert(Cursor::open(&self.partition, segment)?)
            }
        };
        if let Some(last) = cursor.end.readable()
            && self.next.entry <= last
        {
            let read = cursor.scan.read(self.next.entry, last);
            let bytes = read.map_err(of(&cursor.segment))?;
            let batch = batch(&cursor.segment, self.next, &bytes)?;
            self.next = self.next.next_entry();
            return Ok(batch.map_or(Step::Again, Step::Batch));
        }
        let ledger = cursor.segment.ledger;
        if let LedgerEnd::Closed { .. } = cursor.end {
            let behind = cursor.segment.id.next();
            let Some(next) = self.partition.at_or_after(&self.record, behind)? else {
                return Ok(Step::End(None));
            };
            self.next = Position { segment: next.id, entry: EntryId(0), slot: 0 };
            self.cursor = Some(Cursor::open(&self.partition, next)?);
            return Ok(Step::Again);
        }
        let fired = self.signal.lock().fired.take();
        if cursor.look(&self.partition)? {
            return Ok(Step::Again);
        }
        let watched = (ledger, cursor.end.readable());
        if fired == Some(watched) {
            self.signal.lock().idle = fired;
        }
        Ok(Step::End(Some(watched)))
    }

    /// Leaves the wake where it will be called; `false` when it should look again at once.
    fn park(&self, wake: &Wake, version: u64, watched: Option<Watched>) -> bool {
        let (hub, ledger, later) = {
            let mut state = self.signal.lock();
            if state.fired.is_some() && state.fired == watched {
                return false;
            }
            state.wake = Some(wake.clone());
            let hub = !std::mem::replace(&mut state.hub_armed, true);
            let idle = watched.is_some() && state.idle == watched;
            let ledger = watched.filter(|_| !idle && state.ledger_armed != watched);
            if ledger.is_some() {
                state.ledger_armed = ledger;
            }
            let later = idle && !std::mem::replace(&mut state.idle_armed, true);
            (hub, ledger, later)
        };
        if later {
            let signal = self.signal.clone();
            let call = move || signal.call(|state| (state.idle, state.idle_armed) = (None, false));
            self.partition.ledgers().later(WATCH_AGAIN, call);
        }
        if hub {
            let signal = self.signal.clone();
            let call = move || signal.call(|state| state.hub_armed = false);
            self.partition.hub.watch(version, Arc::new(call));
        }
        if let Some(watched) = ledger {
            let signal = self.signal.clone();
            let call = move || {
                signal.call(|state| {
                    state.fired = Some(watched);
                    if state.ledger_armed == Some(watched) {
                        state.ledger_armed = None;
                    }
                });
            };
            self.partition.ledgers().watch(watched.0, watched.1, Arc::new(call));
        }
        true
    }
}

enum Step {
    Batch(Batch),
    Again,
    End(Option<Watched>),
}

/// The records of an entry from `at` on; `None` when there are none.
fn batch(segment: &SegmentRecord, at: Position, bytes: &Bytes) -> Result<Option<Batch>, ReadError> {
    let entry = entry_codec::decode(bytes).map_err(|why| decode(segment, at.entry, why))?;
    let Entry::Data { epoch, first_number, producer, mut records, .. } = entry else {
        return Ok(None);
    };
    let skip = usize::try_from(at.slot).expect("a slot is a u32").min(records.len());
    records.drain(..skip);
    if records.is_empty() {
        return Ok(None);
    }
    let first_number = first_number + skip as u64;
    Ok(Some(Batch { first: at, epoch, first_number, producer, records }))
}

/// Refuses a position that was truncated away or never can be.
fn check(
    partition: &Partition,
    record: &PartitionRecord,
    asked: Position,
) -> Result<(), ReadError> {
    if asked < record.first {
        return Err(ReadError::Truncated { first: record.first });
    }
    let found = partition.at_or_after(record, asked.segment)?;
    let never = match found.filter(|segment| segment.id == asked.segment) {
        Some(segment) => match partition.known_end(&segment)?.end {
            LedgerEnd::Closed { last } => asked.entry > EntryId::after(last),
            // A transactional end found after a crash may lag behind what was seen before.
            LedgerEnd::Open { .. } => false,
        },
        None => {
            let next = Position { segment: record.next_segment, entry: EntryId(0), slot: 0 };
            asked > next
        }
    };
    if never {
        let end = partition.visible_end(record)?.position;
        return Err(ReadError::NoSuchPosition { asked, end });
    }
    Ok(())
}
