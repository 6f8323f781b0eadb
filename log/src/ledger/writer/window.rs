//! The entries of a writer that some bookie still owes an answer for.
//!
//! ```text
//!        base                confirmed              last appended
//!          │ slow bookies owe    │ an ack quorum owes     │
//!   gone ──┼─────────────────────┼────────────────────────┤
//!          payload let go        payload kept, to be sent again
//! ```
//! Slots are bits.

use std::collections::VecDeque;

use bytes::Bytes;
use egret_schemas::EntryId;

use crate::mutants::{self, Mutant};

/// What an entry weighs beside its bytes: many empty ones are not free.
const ENTRY_WEIGHT: usize = 64;

/// The bit of a slot.
pub(super) fn bit(slot: usize) -> u32 {
    1 << slot
}

/// The slots of a set, in order.
pub(super) fn bits(set: u32) -> impl Iterator<Item = usize> {
    (0..32).filter(move |&slot| set & bit(slot) != 0)
}

/// One entry and who has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Pending {
    payload: Option<Bytes>,
    bytes: usize,
    /// Durable there.
    acked: u32,
    /// Definitely not there: refused, or never sent.
    pub(super) refused: u32,
    /// An answer is to come.
    pub(super) owed: u32,
    /// A bookie that is no longer asked may have it.
    pub(super) elsewhere: bool,
}

impl Pending {
    pub(super) fn new(payload: Bytes) -> Pending {
        let bytes = payload.len();
        Pending { payload: Some(payload), bytes, acked: 0, refused: 0, owed: 0, elsewhere: false }
    }

    fn weight(&self) -> usize {
        self.bytes + ENTRY_WEIGHT
    }
}

/// See the [module](self).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Window {
    entries: VecDeque<Pending>,
    /// The number of the first of `entries`.
    base: EntryId,
    confirmed: Option<EntryId>,
    pending_bytes: usize,
    /// What is confirmed and the slot owes, in bytes.
    behind: Vec<usize>,
    /// The last entry before the first that went without all its copies.
    whole: Option<Option<EntryId>>,
    write: usize,
}

impl Window {
    pub(super) fn new(slots: usize) -> Window {
        Window {
            entries: VecDeque::new(),
            base: EntryId(0),
            confirmed: None,
            pending_bytes: 0,
            behind: vec![0; slots],
            whole: None,
            write: 0,
        }
    }

    pub(super) fn confirmed(&self) -> Option<EntryId> {
        self.confirmed
    }

    pub(super) fn last_appended(&self) -> Option<EntryId> {
        EntryId(self.base.0 + self.entries.len() as u64).before()
    }

    pub(super) fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    pub(super) fn behind(&self, slot: usize) -> usize {
        self.behind[slot]
    }

    pub(super) fn replicated(&self) -> Option<EntryId> {
        self.whole.unwrap_or(self.base.before())
    }

    pub(super) fn push(&mut self, pending: Pending) {
        self.write = (pending.owed | pending.refused).count_ones() as usize;
        self.pending_bytes += pending.bytes;
        self.entries.push_back(pending);
    }

    fn get(&mut self, entry: EntryId) -> Option<&mut Pending> {
        let index = usize::try_from(entry.0.checked_sub(self.base.0)?).expect("in memory");
        self.entries.get_mut(index)
    }

    /// The slot answered for the entry; whether its answer was awaited.
    fn settle(&mut self, slot: usize, entry: EntryId) -> Option<&mut Pending> {
        let confirmed = Some(entry) <= self.confirmed;
        let pending = self.get(entry)?;
        let owed = pending.owed & bit(slot) != 0;
        pending.owed &= !bit(slot);
        let weight = pending.weight();
        if owed && confirmed {
            self.behind[slot] -= weight;
        }
        self.get(entry)
    }

    pub(super) fn on_done(&mut self, slot: usize, entry: EntryId) {
        if let Some(pending) = self.settle(slot, entry) {
            pending.acked |= bit(slot);
            self.let_go();
        }
    }

    pub(super) fn on_refused(&mut self, slot: usize, entry: EntryId) {
        if let Some(pending) = self.settle(slot, entry) {
            pending.refused |= bit(slot);
        }
    }

    pub(super) fn on_unknown(&mut self, slot: usize, entry: EntryId) {
        self.settle(slot, entry);
    }

    /// Waits for nothing of a slot any more.
    pub(super) fn forgive(&mut self, slot: usize) {
        for pending in &mut self.entries {
            if pending.owed & bit(slot) != 0 {
                pending.owed &= !bit(slot);
                pending.elsewhere = true;
            }
        }
        self.behind[slot] = 0;
        self.let_go();
    }

    /// Forgets what bookies that were replaced said of entries that are not confirmed.
    pub(super) fn forget(&mut self, slots: u32) {
        let from = self.unconfirmed();
        for pending in self.entries.range_mut(from..) {
            // Unless it was refused, or never sent, the one that left may have it.
            pending.elsewhere |= slots & !pending.refused != 0;
            pending.acked &= !slots;
            pending.refused &= !slots;
        }
    }

    /// Marks what is not confirmed as owed by the slots of its write set that are in `slots`; what is
    /// to be sent.
    pub(super) fn renew(
        &mut self,
        slots: u32,
        write_set: impl Fn(EntryId) -> u32,
        again: &mut Vec<(usize, EntryId, Bytes)>,
    ) {
        let from = self.unconfirmed();
        for index in from..self.entries.len() {
            let entry = EntryId(self.base.0 + index as u64);
            let pending = &mut self.entries[index];
            for slot in bits(slots & write_set(entry)) {
                pending.owed |= bit(slot);
                let payload = pending.payload.clone().expect("kept until it is confirmed");
                again.push((slot, entry, payload));
            }
        }
    }

    /// Where entries that are not confirmed begin.
    fn unconfirmed(&self) -> usize {
        let first = EntryId::after(self.confirmed);
        usize::try_from(first.0 - self.base.0).expect("in memory")
    }

    /// Whether everything can still get `ack` copies.
    pub(super) fn is_reachable(&self, ack: usize) -> bool {
        let mut open = self.entries.range(self.unconfirmed()..);
        open.all(|pending| (pending.acked | pending.owed).count_ones() as usize >= ack)
    }

    /// Confirms the next entry if `ack` bookies have it.
    pub(super) fn confirm_next(&mut self, ack: usize) -> Option<EntryId> {
        let next = self.unconfirmed();
        let mut others = 0;
        if mutants::on(Mutant::AckBeforeEarlier) {
            others = self.entries.range(next..).fold(0, |all, pending| all | pending.acked);
        }
        let pending = self.entries.get_mut(next)?;
        let acked = pending.acked | others;
        if (acked.count_ones() as usize) < ack {
            return None;
        }
        pending.payload = None;
        let (owed, weight) = (pending.owed, pending.weight());
        self.pending_bytes -= pending.bytes;
        bits(owed).for_each(|slot| self.behind[slot] += weight);
        let entry = EntryId::after(self.confirmed);
        self.confirmed = Some(entry);
        self.let_go();
        Some(entry)
    }

    /// Lets go of what is confirmed and nobody owes.
    fn let_go(&mut self) {
        while let Some(front) = self.entries.front()
            && Some(self.base) <= self.confirmed
            && front.owed == 0
        {
            if self.whole.is_none() && (front.acked.count_ones() as usize) < self.write {
                self.whole = Some(self.base.before());
            }
            self.entries.pop_front();
            self.base = self.base.next();
        }
    }

    /// Lets go of everything; `each` is told of what is not confirmed.
    pub(super) fn drain(&mut self, mut each: impl FnMut(EntryId, &Pending)) {
        let from = self.unconfirmed();
        for (index, pending) in self.entries.iter().enumerate().skip(from) {
            each(EntryId(self.base.0 + index as u64), pending);
        }
        self.base = EntryId::after(self.last_appended());
        self.entries.clear();
        self.pending_bytes = 0;
    }
}
