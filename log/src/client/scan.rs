//! Entries of a ledger one behind the other, read in rows ahead of whoever takes them.
//!
//! While one row is taken the next is under way. A row is a shortcut: what it does not bring is
//! read alone (`reads`), from whoever has it, and only that decides whether it is missing. Each
//! entry's checksum was verified.
//!
//! In memory are at most the row being taken and the one under way, which as many replicas may bring as
//! were asked for it: the first, and another for each that took long. A row has at most half of
//! [`SCAN_BYTES_MAX`](caps::SCAN_BYTES_MAX) bytes, or one entry, which comes whole. The first one is
//! small, so that whoever wants a few entries does not pay for many.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use egret_schemas::{EntryId, LedgerId};

use super::error::ReadError;
use super::ledgers::Ledgers;
use super::reads::{self, HEDGE, Waiting};
use crate::ledger::LedgerMetadata;
use crate::ledger::row::{RowAnswer, RowEntry, RowRead, RowStep, row_of};
use crate::message::Request;
use crate::{caps, clock};

/// Bytes of the first row; each next one has twice as many, up to half of what a scan may have.
const FIRST_ROW_BYTES: u32 = 64 << 10;

/// Entries from the end within which a reader is taken to follow what is appended.
const NEAR_THE_END: u32 = 64;

/// How long a bookie may take for a row of history before the next is asked, too.
const HISTORY_HEDGE: Duration = Duration::from_millis(500);

const ROW_BYTES_MAX: u32 = caps::SCAN_BYTES_MAX / 2;

/// See the [module](self).
#[derive(Debug)]
pub struct Scan {
    ledgers: Ledgers,
    id: LedgerId,
    ready: VecDeque<RowEntry>,
    ahead: Option<Ahead>,
    row_bytes: u32,
}

/// A row under way.
#[derive(Debug)]
struct Ahead {
    id: LedgerId,
    from: EntryId,
    count: u32,
    bytes: u32,
    record: Arc<LedgerMetadata>,
    read: RowRead,
    step: RowStep,
    waiting: Arc<Waiting<RowAnswer>>,
    /// Who was asked last, and when.
    last: Option<(usize, Instant)>,
}

impl Scan {
    /// Over the entries of a ledger, whether readers may see them or not.
    pub(super) fn new(ledgers: &Ledgers, id: LedgerId) -> Scan {
        let ledgers = ledgers.clone();
        Scan { ledgers, id, ready: VecDeque::new(), ahead: None, row_bytes: FIRST_ROW_BYTES }
    }

    /// An entry. Nothing behind `last` is read ahead; where the entry before was the one taken last, this
    /// costs a round trip only every now and then.
    ///
    /// # Errors
    /// As a read of the entry alone: its replicas have been asked one by one.
    pub fn read(&mut self, entry: EntryId, last: EntryId) -> Result<Bytes, ReadError> {
        while self.ready.front().is_some_and(|found| found.entry < entry) {
            self.ready.pop_front();
        }
        if self.ready.front().is_none_or(|found| found.entry != entry) {
            self.ready.clear();
            self.fetch(entry, last);
        }
        let Some(found) = self.ready.pop_front() else {
            return reads::read(&self.ledgers, self.id, entry);
        };
        if self.ahead.is_none() {
            let behind = self.ready.back().map_or(entry, |found| found.entry).next();
            // Of one replica, which may be in this process, a row is asked when it is wanted.
            self.ahead = self.ask(behind, last, |replicas| replicas > 1);
        }
        Ok(found.payload)
    }

    /// Makes the row from `entry` on ready, as far as there is one.
    fn fetch(&mut self, entry: EntryId, last: EntryId) {
        let ahead = match self.ahead.take() {
            Some(ahead) if ahead.from == entry => Some(ahead),
            other => {
                if other.is_some() {
                    self.row_bytes = FIRST_ROW_BYTES;
                }
                if entry < last { self.ask(entry, last, |_| true) } else { None }
            }
        };
        let Some(row) = ahead.and_then(|ahead| ahead.wait(&self.ledgers)) else { return };
        // What is kept of a row must not keep all of it.
        let shared = row.len() > 1;
        let own = |found: RowEntry| match shared {
            true => RowEntry { payload: Bytes::copy_from_slice(&found.payload), ..found },
            false => found,
        };
        self.ready.extend(row.into_iter().map(own));
    }

    /// Asks for a row; `None` when there is none to ask for, or not of so many replicas.
    fn ask(&mut self, from: EntryId, last: EntryId, of: impl Fn(usize) -> bool) -> Option<Ahead> {
        let record = self.ledgers.reads().record(&self.ledgers, self.id).ok()?;
        let count = row_of(&record, from, last).min(caps::WIRE_ENTRIES_MAX);
        if count == 0 || !of(record.quorum.write()) {
            return None;
        }
        let bytes = self.row_bytes;
        self.row_bytes = bytes.saturating_mul(2).min(ROW_BYTES_MAX);
        let slots = self.ledgers.reads().order(&record, self.id, from);
        let alone = slots.len() == 1;
        let (read, step) = RowRead::new(slots);
        let (id, waiting, last) = (self.id, Arc::default(), None);
        let mut ahead = Ahead { id, from, count, bytes, record, read, step, waiting, last };
        if !alone {
            ahead.send(&self.ledgers);
        }
        Some(ahead)
    }
}

impl Ahead {
    fn request(&self) -> Request {
        let (ledger, from, entries_max, bytes_max) = (self.id, self.from, self.count, self.bytes);
        Request::ReadRange { ledger, from, entries_max, bytes_max }
    }

    /// How long a replica may take before the next is asked, too. A bookie reads history at a pace that
    /// spares its appends, and to have another read the same would spare nobody; near the end of what
    /// there is a reader is to be on time.
    fn patience(&self) -> Duration {
        if self.count <= NEAR_THE_END { HEDGE } else { HISTORY_HEDGE }
    }

    /// Asks whom the step names, if it names anybody.
    fn send(&mut self, ledgers: &Ledgers) {
        let RowStep::Ask(slot) = self.step else { return };
        let to = self.record.fragment_of(self.from).1.member(slot);
        let (waiting, (id, from, count)) =
            (Arc::clone(&self.waiting), (self.id, self.from, self.count));
        let told = move |reply| waiting.push(slot, RowAnswer::judge(id, from, count, reply));
        let way = ledgers.bookies().transport(to);
        self.last = Some((slot, clock::now()));
        self.step = RowStep::Wait;
        way.send(to.incarnation, self.request(), Box::new(told));
    }

    /// The row, or its beginning; `None` when no replica has that.
    fn wait(mut self, ledgers: &Ledgers) -> Option<Vec<RowEntry>> {
        let record = Arc::clone(&self.record);
        let ensemble = record.fragment_of(self.from).1;
        let slow = |slot| ledgers.reads().was_slow(ensemble.member(slot).bookie);
        loop {
            match std::mem::replace(&mut self.step, RowStep::Wait) {
                RowStep::Ask(slot) if self.last.is_none() => {
                    let to = ensemble.member(slot);
                    let reply =
                        ledgers.bookies().transport(to).call(to.incarnation, self.request());
                    let answer = RowAnswer::judge(self.id, self.from, self.count, reply);
                    self.step = self.read.on_answer(answer);
                }
                step @ RowStep::Ask(_) => {
                    self.step = step;
                    self.send(ledgers);
                }
                RowStep::Wait => {
                    let asked = self.last.filter(|_| self.read.can_hedge());
                    let patience =
                        asked.map(|(_, at)| self.patience().saturating_sub(at.elapsed()));
                    self.step = match self.waiting.next(patience) {
                        Some((slot, answer)) => {
                            if let RowAnswer::Unknown(_) = answer {
                                slow(slot);
                            }
                            self.read.on_answer(answer)
                        }
                        None => {
                            if let Some((slot, _)) = self.last {
                                slow(slot);
                            }
                            self.read.hedge()
                        }
                    };
                }
                RowStep::Found(row) => return Some(row),
                RowStep::Alone => return None,
            }
        }
    }
}
