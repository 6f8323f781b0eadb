//! The one writer of one ledger: which entry gets which number, when it is acknowledged, when all is
//! lost.
//!
//! Acknowledgements leave strictly in order: an entry is confirmed once it *and every one before it*
//! is durable on an ack quorum. A bookie that failed gets no further entries; the writer goes on
//! while an ack quorum is left, and fails when an entry can no longer reach one. A fenced add is like
//! a timeout: it may have been written, only recovery tells.

use std::collections::VecDeque;

use bytes::Bytes;
use egret_schemas::{EntryId, LedgerId, Term};

use super::effect::WriterEffect;
use super::ensemble::Ensemble;
use super::metadata::LedgerMetadata;
use crate::message::{Refusal, Unknown};
use crate::outcome::Outcome;

/// One bookie's answer to an add.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddAnswer {
    /// The entry is durable there.
    Done,
    /// It is definitely not there.
    Refused(Refusal),
    /// It may be there.
    Unknown(Unknown),
}

/// Why a writer ended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriterFailure {
    /// A newer owner raised the term.
    #[error("fenced at {held}: a newer owner has taken over")]
    Fenced {
        /// The term the bookie holds.
        held: Term,
    },
    /// Too few bookies accept entries.
    #[error(transparent)]
    Refused(Refusal),
    /// Too few bookies answer.
    #[error(transparent)]
    Unknown(Unknown),
}

/// An entry sent and not confirmed. Slots are bits.
#[derive(Debug, Clone, Copy)]
struct Pending {
    bytes: usize,
    acked: u32,
    refused: u32,
    unknown: u32,
}

/// The writer's state; see the [module](self).
#[derive(Debug)]
pub struct Writer {
    ledger: LedgerId,
    term: Term,
    ensemble: Ensemble,
    quorum: super::Quorum,
    transactional: bool,
    /// Entries from `confirmed + 1` on, in order.
    pending: VecDeque<Pending>,
    pending_bytes: usize,
    confirmed: Option<EntryId>,
    visible: Option<EntryId>,
    failed_slots: u32,
    failure: Option<WriterFailure>,
}

impl Writer {
    /// The writer of a ledger just created.
    pub fn new(ledger: LedgerId, metadata: &LedgerMetadata) -> Writer {
        assert_eq!(metadata.state, super::LedgerState::Open, "only an open ledger is written");
        Writer {
            ledger,
            term: metadata.term,
            ensemble: metadata.last_fragment().1.clone(),
            quorum: metadata.quorum,
            transactional: metadata.kind.is_transactional(),
            pending: VecDeque::new(),
            pending_bytes: 0,
            confirmed: None,
            visible: None,
            failed_slots: 0,
            failure: None,
        }
    }

    /// The ledger written.
    pub fn ledger(&self) -> LedgerId {
        self.ledger
    }

    /// The term written under.
    pub fn term(&self) -> Term {
        self.term
    }

    /// The last entry acknowledged, with all before it.
    pub fn confirmed(&self) -> Option<EntryId> {
        self.confirmed
    }

    /// What readers may see, as far as this writer told.
    pub fn visible(&self) -> Option<EntryId> {
        self.visible
    }

    /// The last entry given a number.
    pub fn last_appended(&self) -> Option<EntryId> {
        EntryId(EntryId::after(self.confirmed).0 + self.pending.len() as u64).before()
    }

    /// Bytes sent and not confirmed.
    pub fn pending_bytes(&self) -> usize {
        self.pending_bytes
    }

    /// Whether anything is sent and not confirmed.
    pub fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    /// Why it ended, if it has.
    pub fn failure(&self) -> Option<&WriterFailure> {
        self.failure.as_ref()
    }

    /// Gives the next number to `payload` and sends it.
    ///
    /// # Errors
    /// When the writer has ended; nothing was sent then.
    pub fn append(
        &mut self,
        payload: Bytes,
        out: &mut Vec<WriterEffect>,
    ) -> Result<EntryId, WriterFailure> {
        if let Some(failure) = &self.failure {
            return Err(failure.clone());
        }
        let entry = EntryId::after(self.last_appended());
        let mut pending = Pending { bytes: payload.len(), acked: 0, refused: 0, unknown: 0 };
        for slot in self.ensemble.write_set(entry, self.quorum) {
            if self.failed_slots >> slot & 1 == 1 {
                pending.refused |= 1 << slot;
                continue;
            }
            out.push(WriterEffect::Send {
                slot,
                to: self.ensemble.member(slot),
                entry,
                lac: self.visible,
                payload: payload.clone(),
            });
        }
        let live = self.quorum.write() - pending.refused.count_ones() as usize;
        assert!(live >= self.quorum.ack(), "a writer without an ack quorum has ended");
        self.pending_bytes += pending.bytes;
        self.pending.push_back(pending);
        Ok(entry)
    }

    /// A bookie answered an add.
    pub fn on_answer(
        &mut self,
        slot: usize,
        entry: EntryId,
        answer: AddAnswer,
        out: &mut Vec<WriterEffect>,
    ) {
        if self.failure.is_some() {
            return;
        }
        let base = EntryId::after(self.confirmed);
        assert!(entry < EntryId(base.0 + self.pending.len() as u64), "an answer to an entry sent");
        let index = entry.0.checked_sub(base.0).map(|i| usize::try_from(i).expect("in memory"));
        let failure = match answer {
            AddAnswer::Done => {
                if let Some(index) = index {
                    self.pending[index].acked |= 1 << slot;
                    self.confirm(out);
                }
                return;
            }
            AddAnswer::Refused(Refusal::StaleTerm { held }) => {
                if let Some(index) = index {
                    self.pending[index].unknown |= 1 << slot;
                }
                return self.fail(WriterFailure::Fenced { held }, out);
            }
            AddAnswer::Refused(refusal) => {
                if let Some(index) = index {
                    self.pending[index].refused |= 1 << slot;
                }
                WriterFailure::Refused(refusal)
            }
            AddAnswer::Unknown(unknown) => {
                if let Some(index) = index {
                    self.pending[index].unknown |= 1 << slot;
                }
                WriterFailure::Unknown(unknown)
            }
        };
        self.failed_slots |= 1 << slot;
        let lost_entry = index.is_some_and(|index| {
            let pending = self.pending[index];
            let lost = (pending.refused | pending.unknown).count_ones() as usize;
            self.quorum.write() - lost < self.quorum.ack()
        });
        if lost_entry || !self.can_append() {
            self.fail(failure, out);
        }
    }

    /// Lets readers of a transactional ledger see up to `upto`; what is behind is ignored.
    ///
    /// # Panics
    /// When `upto` is not acknowledged: nobody may see what may be lost.
    pub fn publish(&mut self, upto: EntryId, out: &mut Vec<WriterEffect>) {
        assert!(Some(upto) <= self.confirmed, "{}:{upto} is not acknowledged", self.ledger);
        if Some(upto) > self.visible {
            self.visible = Some(upto);
            out.push(WriterEffect::Publish { lac: upto });
        }
    }

    /// Whether every write set a next entry could have holds an ack quorum of live bookies.
    fn can_append(&self) -> bool {
        let size = self.quorum.ensemble();
        (0..size as u64).all(|entry| {
            let set = self.ensemble.write_set(EntryId(entry), self.quorum);
            set.filter(|slot| self.failed_slots >> slot & 1 == 0).count() >= self.quorum.ack()
        })
    }

    fn confirm(&mut self, out: &mut Vec<WriterEffect>) {
        let before = self.confirmed;
        while let Some(head) = self.pending.front() {
            if (head.acked.count_ones() as usize) < self.quorum.ack() {
                break;
            }
            self.pending_bytes -= head.bytes;
            self.pending.pop_front();
            let entry = EntryId::after(self.confirmed);
            self.confirmed = Some(entry);
            out.push(WriterEffect::Confirm { entry });
        }
        if self.confirmed != before && !self.transactional {
            let lac = self.confirmed.expect("an entry was confirmed");
            self.visible = Some(lac);
            out.push(WriterEffect::Publish { lac });
        }
    }

    fn fail(&mut self, failure: WriterFailure, out: &mut Vec<WriterEffect>) {
        let mut entry = EntryId::after(self.confirmed);
        for pending in self.pending.drain(..) {
            let nowhere = pending.refused.count_ones() as usize == self.quorum.write();
            let outcome = if nowhere { Outcome::Definite } else { Outcome::Unknown };
            out.push(WriterEffect::Fail { entry, failure: failure.clone(), outcome });
            entry = entry.next();
        }
        self.pending_bytes = 0;
        self.failure = Some(failure);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::metadata::tests::{members, three};
    use crate::ledger::{LedgerKind, Proposal, Quorum};

    fn one(kind: LedgerKind) -> Writer {
        let p = Proposal::default();
        let metadata = LedgerMetadata::open(kind, Quorum::ONE, members(&[1]), Term(1), p);
        Writer::new(LedgerId(1), &metadata)
    }

    fn append(writer: &mut Writer) -> (EntryId, Vec<WriterEffect>) {
        let mut out = Vec::new();
        let entry = writer.append(Bytes::from_static(b"x"), &mut out).unwrap();
        (entry, out)
    }

    fn answer(
        writer: &mut Writer,
        slot: usize,
        entry: u64,
        answer: AddAnswer,
    ) -> Vec<WriterEffect> {
        let mut out = Vec::new();
        writer.on_answer(slot, EntryId(entry), answer, &mut out);
        out
    }

    fn confirm(entry: u64) -> WriterEffect {
        WriterEffect::Confirm { entry: EntryId(entry) }
    }

    #[test]
    fn acknowledgements_leave_in_order() {
        let mut w = one(LedgerKind::Plain);
        append(&mut w);
        append(&mut w);
        assert_eq!(answer(&mut w, 0, 1, AddAnswer::Done), []);
        let publish = WriterEffect::Publish { lac: EntryId(1) };
        assert_eq!(answer(&mut w, 0, 0, AddAnswer::Done), [confirm(0), confirm(1), publish]);
        assert!(w.is_idle());
    }

    #[test]
    fn two_of_three_acknowledge() {
        let mut w = Writer::new(LedgerId(1), &three());
        assert_eq!(append(&mut w).1.len(), 3);
        assert_eq!(answer(&mut w, 2, 0, AddAnswer::Done), []);
        assert_eq!(answer(&mut w, 0, 0, AddAnswer::Done)[0], confirm(0));
        assert_eq!(answer(&mut w, 1, 0, AddAnswer::Done), [], "a third answer changes nothing");
    }

    #[test]
    fn one_failed_bookie_of_three_is_left_out_and_two_end_the_writer() {
        let mut w = Writer::new(LedgerId(1), &three());
        append(&mut w);
        let lost = || AddAnswer::Unknown(Unknown::Deadline { ms: 9 });
        assert_eq!(answer(&mut w, 1, 0, lost()), []);
        assert_eq!(append(&mut w).1.len(), 2);
        assert_eq!(answer(&mut w, 0, 0, AddAnswer::Done), []);
        let out = answer(&mut w, 2, 1, lost());
        assert!(
            out.iter().all(|e| matches!(e, WriterEffect::Fail { outcome: Outcome::Unknown, .. }))
        );
        assert_eq!(out.len(), 2);
        assert!(w.append(Bytes::new(), &mut Vec::new()).is_err());
    }

    /// Each entry lost one copy only, but not of the same bookie: nothing more can be written.
    #[test]
    fn two_bookies_that_failed_different_entries_end_the_writer() {
        let mut w = Writer::new(LedgerId(1), &three());
        append(&mut w);
        append(&mut w);
        let lost = || AddAnswer::Unknown(Unknown::Deadline { ms: 9 });
        assert_eq!(answer(&mut w, 1, 0, lost()), []);
        assert_eq!(answer(&mut w, 2, 1, lost()).len(), 2);
        assert!(w.append(Bytes::new(), &mut Vec::new()).is_err());
    }

    #[test]
    fn a_fenced_writer_cannot_confirm() {
        let mut w = Writer::new(LedgerId(1), &three());
        append(&mut w);
        answer(&mut w, 0, 0, AddAnswer::Done);
        let fenced = AddAnswer::Refused(Refusal::StaleTerm { held: Term(2) });
        let out = answer(&mut w, 1, 0, fenced);
        assert!(matches!(
            out[..],
            [WriterEffect::Fail {
                failure: WriterFailure::Fenced { .. },
                outcome: Outcome::Unknown,
                ..
            }]
        ));
        assert_eq!(answer(&mut w, 2, 0, AddAnswer::Done), []);
        assert_eq!(w.confirmed(), None);
    }

    #[test]
    fn an_entry_refused_everywhere_is_definitely_not_written() {
        let mut w = one(LedgerKind::Plain);
        append(&mut w);
        append(&mut w);
        let refused = AddAnswer::Refused(Refusal::BadCrc);
        let out = answer(&mut w, 0, 0, refused);
        let outcomes: Vec<_> = out
            .iter()
            .map(|e| match e {
                WriterEffect::Fail { entry, outcome, .. } => (entry.0, *outcome),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(outcomes, [(0, Outcome::Definite), (1, Outcome::Unknown)]);
    }

    #[test]
    fn a_transactional_writer_shows_what_was_published() {
        let mut w = one(LedgerKind::Transactional { owner: "t".to_owned() });
        append(&mut w);
        assert_eq!(answer(&mut w, 0, 0, AddAnswer::Done), [confirm(0)]);
        let (_, sent) = append(&mut w);
        assert!(matches!(sent[0], WriterEffect::Send { lac: None, .. }));
        let mut out = Vec::new();
        w.publish(EntryId(0), &mut out);
        w.publish(EntryId(0), &mut out);
        assert_eq!(out, [WriterEffect::Publish { lac: EntryId(0) }]);
        assert!(matches!(append(&mut w).1[0], WriterEffect::Send { lac: Some(EntryId(0)), .. }));
    }

    #[test]
    #[should_panic(expected = "is not acknowledged")]
    fn nothing_is_published_before_it_is_acknowledged() {
        let mut w = one(LedgerKind::Transactional { owner: "t".to_owned() });
        append(&mut w);
        w.publish(EntryId(0), &mut Vec::new());
    }
}
