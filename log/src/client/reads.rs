//! One entry read from whoever has it, soon.
//!
//! The replicas are asked one after the other; when one takes long, the next is asked as well, and the
//! first that has the entry wins. A bookie that took long or did not answer goes to the end of the
//! order for a while. Which bookies have an entry is known from the ledger's record; a record that
//! turned out too old is loaded again once.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use egret_schemas::{BookieId, EntryId, LedgerId};

use super::error::{ReadError, RecordError, Unheard};
use super::ledgers::Ledgers;
use crate::ledger::LedgerMetadata;
use crate::ledger::reader::{EntryRead, ReadAnswer, ReadStep};
use crate::message::Request;
use crate::{caps, clock};

/// How long a bookie may take before the next is asked, too.
pub(super) const HEDGE: Duration = Duration::from_millis(20);

/// How long a bookie that took too long is asked last.
const PENANCE: Duration = Duration::from_secs(5);

/// What a client remembers between reads.
#[derive(Debug, Default)]
pub(super) struct Reads {
    records: Mutex<BTreeMap<LedgerId, Arc<LedgerMetadata>>>,
    slow: Mutex<BTreeMap<BookieId, Instant>>,
}

impl Reads {
    fn records(&self) -> MutexGuard<'_, BTreeMap<LedgerId, Arc<LedgerMetadata>>> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn slow(&self) -> MutexGuard<'_, BTreeMap<BookieId, Instant>> {
        self.slow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A ledger's record, as it is or as it was.
    pub(super) fn record(
        &self,
        ledgers: &Ledgers,
        id: LedgerId,
    ) -> Result<Arc<LedgerMetadata>, RecordError> {
        if let Some(held) = self.records().get(&id) {
            return Ok(Arc::clone(held));
        }
        self.load(ledgers, id)
    }

    fn load(&self, ledgers: &Ledgers, id: LedgerId) -> Result<Arc<LedgerMetadata>, RecordError> {
        let loaded = Arc::new(ledgers.load(id)?.0);
        let mut records = self.records();
        if records.len() >= caps::LEDGER_RECORDS_CACHED {
            records.clear();
        }
        records.insert(id, Arc::clone(&loaded));
        Ok(loaded)
    }

    pub(super) fn forget(&self, id: LedgerId) {
        self.records().remove(&id);
    }

    pub(super) fn was_slow(&self, bookie: BookieId) {
        self.slow().insert(bookie, clock::now() + PENANCE);
    }

    /// The slots in the order in which they are asked: another first one for each ledger, slow ones
    /// last.
    pub(super) fn order(
        &self,
        record: &LedgerMetadata,
        id: LedgerId,
        entry: EntryId,
    ) -> Vec<usize> {
        let ensemble = record.fragment_of(entry).1;
        let mut slots: Vec<usize> = ensemble.write_set(entry, record.quorum).collect();
        slots.sort_unstable();
        let turn = usize::try_from(id.0 % slots.len() as u64).expect("below their number");
        slots.rotate_left(turn);
        let mut slow = self.slow();
        if !slow.is_empty() {
            let now = clock::now();
            slow.retain(|_, until| *until > now);
            slots.sort_by_key(|&slot| slow.contains_key(&ensemble.member(slot).bookie));
        }
        slots
    }
}

/// Reads an entry, whether readers may see it or not.
pub(super) fn read(ledgers: &Ledgers, id: LedgerId, entry: EntryId) -> Result<Bytes, ReadError> {
    let reads = ledgers.reads();
    let record = reads.record(ledgers, id)?;
    known_lost(&record, id, entry)?;
    let failed = match attempt(ledgers, &record, id, entry) {
        Ok(payload) => return Ok(payload),
        Err(failed) => failed,
    };
    // The writer may have changed bookies since, or a copy was made elsewhere.
    let newer = match reads.load(ledgers, id) {
        Ok(newer) => newer,
        Err(gone @ RecordError::NoLedger { .. }) => {
            reads.forget(id);
            return Err(gone.into());
        }
        Err(_) => return Err(failed),
    };
    known_lost(&newer, id, entry)?;
    if newer.fragment_of(entry) == record.fragment_of(entry) {
        return Err(failed);
    }
    attempt(ledgers, &newer, id, entry)
}

fn known_lost(record: &LedgerMetadata, ledger: LedgerId, entry: EntryId) -> Result<(), ReadError> {
    match record.lost_with(entry) {
        None => Ok(()),
        Some((first, last)) => Err(ReadError::Lost { ledger, entry, first, last }),
    }
}

fn attempt(
    ledgers: &Ledgers,
    record: &LedgerMetadata,
    id: LedgerId,
    entry: EntryId,
) -> Result<Bytes, ReadError> {
    let ensemble = record.fragment_of(entry).1;
    let slots = ledgers.reads().order(record, id, entry);
    let request = || Request::Read { ledger: id, entry, fence: None };
    let alone = slots.len() == 1;
    let (mut read, mut step) = EntryRead::new(slots.into_iter());
    let waiting = Arc::new(Waiting::default());
    let mut last = None;
    let mut unheard = Vec::new();
    let mut judge = |slot, answer| {
        if let ReadAnswer::Unknown(why) = &answer {
            unheard.push((ensemble.member(slot).bookie, why.clone()));
        }
        answer
    };
    loop {
        step = match step {
            ReadStep::Ask(slot) => {
                let to = ensemble.member(slot);
                let way = ledgers.bookies().transport(to);
                if alone {
                    let reply = way.call(to.incarnation, request());
                    read.on_answer(judge(slot, ReadAnswer::judge(id, entry, reply)))
                } else {
                    let waiting = Arc::clone(&waiting);
                    let told = move |reply| waiting.push(slot, ReadAnswer::judge(id, entry, reply));
                    way.send(to.incarnation, request(), Box::new(told));
                    last = Some(slot);
                    ReadStep::Wait
                }
            }
            ReadStep::Wait => match waiting.next(read.can_hedge().then_some(HEDGE)) {
                Some((slot, answer)) => {
                    if let ReadAnswer::Unknown(_) = answer {
                        ledgers.reads().was_slow(ensemble.member(slot).bookie);
                    }
                    read.on_answer(judge(slot, answer))
                }
                None => {
                    if let Some(slot) = last {
                        ledgers.reads().was_slow(ensemble.member(slot).bookie);
                    }
                    read.hedge()
                }
            },
            ReadStep::Found(payload) => return Ok(payload),
            ReadStep::Missing => return Err(ReadError::Missing { ledger: id, entry }),
            ReadStep::Doubtful(_) => {
                let unheard = Unheard::new(unheard);
                return Err(ReadError::Doubtful { ledger: id, entry, unheard });
            }
        }
    }
}

/// Answers that came, of type `A`.
#[derive(Debug)]
pub(super) struct Waiting<A> {
    answers: Mutex<Vec<(usize, A)>>,
    arrived: Condvar,
}

impl<A> Default for Waiting<A> {
    fn default() -> Waiting<A> {
        Waiting { answers: Mutex::default(), arrived: Condvar::new() }
    }
}

impl<A> Waiting<A> {
    pub(super) fn push(&self, slot: usize, answer: A) {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).push((slot, answer));
        self.arrived.notify_one();
    }

    /// The next answer; `None` when none came in `within`. Without, one comes by the transport's
    /// deadline.
    pub(super) fn next(&self, within: Option<Duration>) -> Option<(usize, A)> {
        let until = within.map(|within| clock::now() + within);
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        while answers.is_empty() {
            answers = match until {
                None => self.arrived.wait(answers).unwrap_or_else(PoisonError::into_inner),
                Some(until) => {
                    let left = until.checked_duration_since(clock::now())?;
                    let waited = self.arrived.wait_timeout(answers, left);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
            };
        }
        Some(answers.remove(0))
    }
}
