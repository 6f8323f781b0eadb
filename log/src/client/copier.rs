//! Copies what one bookie lacks of a fragment to it: read in rows, ahead, and many adds under way at a
//! time, no more than [`REPAIR_IN_FLIGHT_BYTES_MAX`](caps::REPAIR_IN_FLIGHT_BYTES_MAX) allows.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use egret_schemas::{EntryId, LedgerId, Term};

use super::error::doubt;
use super::held::Held;
use super::ledgers::Ledgers;
use super::repair::{Pace, RepairError};
use super::scan::Scan;
use crate::ledger::reader::Doubt;
use crate::ledger::repair::{Lack, Why};
use crate::ledger::{LedgerMetadata, Member};
use crate::message::{Reply, Request, entry_crc};
use crate::{caps, clock};

/// One copy being made: of what, and where.
pub(super) struct Copier<'a> {
    pub(super) ledgers: &'a Ledgers,
    pub(super) id: LedgerId,
    pub(super) record: &'a LedgerMetadata,
    pub(super) at: Member,
}

/// Adds without an answer.
#[derive(Debug, Default)]
struct Flight {
    entries: usize,
    bytes: usize,
    /// The first that was not done.
    failed: Option<Doubt>,
}

#[derive(Debug, Default)]
struct UnderWay {
    flight: Mutex<Flight>,
    changed: Condvar,
}

/// Copies on their way to one bookie, so many at a time and so fast.
pub(super) struct Copying<'a> {
    ledgers: &'a Ledgers,
    id: LedgerId,
    /// The ledger's.
    term: Term,
    at: Member,
    pace: Pace,
    under_way: Arc<UnderWay>,
    began: Instant,
    entries: u64,
    bytes: u64,
}

impl Copier<'_> {
    /// Copies; entries and bytes that were written.
    pub(super) fn copy(&self, lack: &Lack, pace: Pace) -> Result<(u64, u64), RepairError> {
        let ensemble = self.record.fragment_of(lack.first).1;
        let mut copying = Copying::to(self.ledgers, self.id, self.record.term, self.at, pace);
        let mut scan = Scan::new(self.ledgers, self.id);
        let mut held = match lack.why {
            Why::Incomplete => Some(Held::ask(self.ledgers, self.id, self.at, lack.last)),
            Why::Replaced | Why::Leaving => None,
        };
        for entry in (lack.first.0..=lack.last.0).map(EntryId) {
            let mine = ensemble.write_set(entry, self.record.quorum).any(|slot| slot == lack.slot);
            let lost = || self.record.lost_with(entry).is_some();
            if !mine || lost() || held.as_mut().is_some_and(|held| held.has(entry)) {
                continue;
            }
            let payload = scan.read(entry, lack.last).map_err(|why| RepairError::Unreadable {
                ledger: self.id,
                entry,
                why,
            })?;
            copying.put(entry, payload).map_err(|why| self.not_taken(why))?;
        }
        copying.done().map_err(|why| self.not_taken(why))
    }

    fn not_taken(&self, why: Doubt) -> RepairError {
        RepairError::NotTaken { ledger: self.id, why }
    }
}

impl<'a> Copying<'a> {
    /// To a bookie that knows the ledger.
    pub(super) fn to(
        ledgers: &'a Ledgers,
        id: LedgerId,
        term: Term,
        at: Member,
        pace: Pace,
    ) -> Copying<'a> {
        let (under_way, began) = (Arc::default(), clock::now());
        Copying { ledgers, id, term, at, pace, under_way, began, entries: 0, bytes: 0 }
    }

    /// Sends a copy, when there is room and time for it; not taken was this one or one before.
    pub(super) fn put(&mut self, entry: EntryId, payload: Bytes) -> Result<(), Doubt> {
        self.entries += 1;
        self.bytes += payload.len() as u64;
        self.under_way.room(payload.len())?;
        self.add(entry, payload);
        let due = self.bytes as f64 / self.pace.bytes_per_second.max(1) as f64;
        let due = self.began + Duration::from_secs_f64(due);
        self.under_way.rest(due.saturating_duration_since(clock::now()));
        Ok(())
    }

    /// Waits until all was taken: entries and bytes.
    pub(super) fn done(self) -> Result<(u64, u64), Doubt> {
        self.under_way.done()?;
        Ok((self.entries, self.bytes))
    }

    fn add(&self, entry: EntryId, payload: Bytes) {
        let weight = payload.len();
        let request = Request::Add {
            ledger: self.id,
            entry,
            term: self.term,
            // A copy moves nothing.
            lac: None,
            crc: entry_crc(self.id, entry, &payload),
            copy: true,
            payload,
        };
        let under_way = Arc::clone(&self.under_way);
        let told = move |reply| under_way.on_reply(weight, reply);
        let way = self.ledgers.bookies().transport(self.at);
        way.send(self.at.incarnation, request, Box::new(told));
    }
}

impl Flight {
    /// Whether so many bytes more may be under way. Alone, an entry of any size may.
    fn has_room(&self, bytes: usize) -> bool {
        self.entries == 0
            || (self.entries < caps::REPAIR_IN_FLIGHT_ENTRIES_MAX
                && self.bytes + bytes <= caps::REPAIR_IN_FLIGHT_BYTES_MAX)
    }
}

impl UnderWay {
    fn lock(&self) -> MutexGuard<'_, Flight> {
        self.flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until `bytes` more may be under way.
    fn room(&self, bytes: usize) -> Result<(), Doubt> {
        let waits = |flight: &mut Flight| flight.failed.is_none() && !flight.has_room(bytes);
        let waited = self.changed.wait_while(self.lock(), waits);
        let mut flight = waited.unwrap_or_else(PoisonError::into_inner);
        if let Some(why) = &flight.failed {
            return Err(why.clone());
        }
        flight.entries += 1;
        flight.bytes += bytes;
        Ok(())
    }

    fn on_reply(&self, bytes: usize, reply: Reply) {
        let mut flight = self.lock();
        flight.entries -= 1;
        flight.bytes -= bytes;
        if !matches!(reply, Reply::Done) {
            flight.failed.get_or_insert_with(|| doubt(reply));
        }
        self.changed.notify_all();
    }

    /// Lets others work for a while.
    fn rest(&self, wait: Duration) {
        if !wait.is_zero() {
            let waited = self.changed.wait_timeout_while(self.lock(), wait, |_| true);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Waits until everything was answered.
    fn done(&self) -> Result<(), Doubt> {
        let waited = self.changed.wait_while(self.lock(), |flight| flight.entries > 0);
        let flight = waited.unwrap_or_else(PoisonError::into_inner);
        flight.failed.clone().map_or(Ok(()), Err)
    }
}
