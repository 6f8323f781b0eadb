//! The one writer of one ledger: which entry gets which number, when it is acknowledged, when all is
//! lost.
//!
//! Acknowledgements leave strictly in order: an entry is confirmed once it *and every one before it*
//! is durable on an ack quorum. A fenced add is like a timeout: it may have been written, only
//! recovery tells.
//!
//! **A bookie that fails** gets no further entries, and another is asked for in its place:
//!
//! ```text
//!  a slot fails ──▶ ChangeEnsemble{first = confirmed + 1}   confirmations stand still
//!                     │                        │
//!         on_ensemble │ committed              │ on_no_replacement
//!                     ▼                        ▼
//!   its acks are forgotten, all that is not    on with those left, or the end when they are
//!   confirmed is sent to the new bookie        fewer than an ack quorum
//! ```
//! No acknowledgement depends on an ensemble before it is committed: while one is asked for nothing
//! is confirmed, so every unconfirmed entry is in the fragment that begins at `first`.
//!
//! **A bookie that is slow** is carried along for as long as what the others confirmed and it did not
//! stays within [`caps::REPLICA_BEHIND_BYTES_MAX`]; then it counts as failed.

mod window;

use bytes::Bytes;
use egret_schemas::{EntryId, LedgerId, Term};

use self::window::{Pending, Window, bit, bits};
use super::effect::WriterEffect;
use super::ensemble::{Ensemble, Quorum};
use super::metadata::LedgerMetadata;
use crate::caps;
use crate::message::{Refusal, Unknown};
use crate::mutants::{self, Mutant};
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
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum WriterFailure {
    /// A newer owner raised the term.
    #[error("fenced at {held}: a newer owner has taken over")]
    Fenced {
        /// The term the bookie, or the ledger's record, holds.
        held: Term,
    },
    /// Too few bookies accept entries.
    #[error(transparent)]
    Refused(Refusal),
    /// Too few bookies answer.
    #[error(transparent)]
    Unknown(Unknown),
    /// Too few bookies keep up.
    #[error("a bookie is {bytes} bytes behind the others: look at its disk and its network")]
    Behind {
        /// What the others have and it has not.
        bytes: usize,
    },
    /// Another ensemble could not be agreed on: what it would hold may be there.
    #[error("the ledger's bookies could not be changed: {why}")]
    NotChanged {
        /// What the metadata store, or the ledger's record, said.
        why: String,
    },
}

/// An ensemble asked for and not committed. Slots are bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Change {
    /// The first entry it would hold.
    first: EntryId,
    /// The slots to be filled anew.
    failed: u32,
}

/// The writer's state; see the [module](self).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Writer {
    ledger: LedgerId,
    term: Term,
    ensemble: Ensemble,
    quorum: Quorum,
    transactional: bool,
    window: Window,
    visible: Option<EntryId>,
    /// Slots that get no further entries.
    failed: u32,
    /// Those of them that nobody could be found for.
    given_up: u32,
    change: Option<Change>,
    /// Counts the committed changes; an answer to an earlier send of the same slot proves nothing.
    era: u32,
    /// The era in which a slot's bookie came.
    since: Vec<u32>,
    /// Why the last slot failed.
    last_failure: Option<WriterFailure>,
    failure: Option<WriterFailure>,
}

impl Writer {
    /// The writer of a ledger just created.
    pub fn new(ledger: LedgerId, metadata: &LedgerMetadata) -> Writer {
        assert_eq!(metadata.state, super::LedgerState::Open, "only an open ledger is written");
        let ensemble = metadata.last_fragment().1.clone();
        let size = ensemble.members().len();
        Writer {
            ledger,
            term: metadata.term,
            ensemble,
            quorum: metadata.quorum,
            transactional: metadata.kind.is_transactional(),
            window: Window::new(size),
            visible: None,
            failed: 0,
            given_up: 0,
            change: None,
            era: 0,
            since: vec![0; size],
            last_failure: None,
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

    /// The bookies written to, as committed.
    pub fn ensemble(&self) -> &Ensemble {
        &self.ensemble
    }

    /// The last entry acknowledged, with all before it.
    pub fn confirmed(&self) -> Option<EntryId> {
        self.window.confirmed()
    }

    /// What readers may see, as far as this writer told.
    pub fn visible(&self) -> Option<EntryId> {
        self.visible
    }

    /// The last entry given a number.
    pub fn last_appended(&self) -> Option<EntryId> {
        self.window.last_appended()
    }

    /// Bytes sent and not confirmed.
    pub fn pending_bytes(&self) -> usize {
        self.window.pending_bytes()
    }

    /// Whether nothing that was sent can still be confirmed.
    pub fn is_idle(&self) -> bool {
        self.failure.is_some() || self.window.confirmed() == self.window.last_appended()
    }

    /// The last entry that it and all before it are on every bookie of its write set: what is behind
    /// it and confirmed waits for a slow bookie, or for repair.
    pub fn replicated(&self) -> Option<EntryId> {
        self.window.replicated()
    }

    /// Slots nobody could be found for: entries lack a copy there.
    pub fn given_up(&self) -> impl Iterator<Item = usize> + use<> {
        bits(self.given_up)
    }

    /// Slots whose bookies get entries.
    pub fn live(&self) -> impl Iterator<Item = usize> + use<> {
        let size = self.ensemble.members().len();
        bits(!self.failed).take_while(move |&slot| slot < size)
    }

    /// Whether readers see what is published instead of what is confirmed.
    pub fn is_transactional(&self) -> bool {
        self.transactional
    }

    /// Whether an entry has more than one copy.
    pub fn is_replicated(&self) -> bool {
        self.quorum.write() > 1
    }

    /// Whether another ensemble was asked for and is not settled.
    pub fn is_changing(&self) -> bool {
        self.change.is_some()
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
        let mut pending = Pending::new(payload.clone());
        for slot in self.ensemble.write_set(entry, self.quorum) {
            if self.failed & bit(slot) != 0 {
                pending.refused |= bit(slot);
                continue;
            }
            pending.owed |= bit(slot);
            out.push(self.send(slot, entry, payload.clone()));
        }
        let live = pending.owed.count_ones() as usize;
        assert!(
            live >= self.quorum.ack() || self.change.is_some(),
            "a writer without an ack quorum has ended or waits for bookies"
        );
        self.window.push(pending);
        Ok(entry)
    }

    fn send(&self, slot: usize, entry: EntryId, payload: Bytes) -> WriterEffect {
        let to = self.ensemble.member(slot);
        let ahead = mutants::on(Mutant::PublishBeforeAck);
        let lac = if ahead { Some(entry) } else { self.visible };
        WriterEffect::Send { slot, to, era: self.since[slot], entry, lac, payload }
    }

    /// A bookie answered an add that was sent with `era`.
    pub fn on_answer(
        &mut self,
        slot: usize,
        era: u32,
        entry: EntryId,
        answer: AddAnswer,
        out: &mut Vec<WriterEffect>,
    ) {
        assert!(Some(entry) <= self.last_appended(), "an answer to an entry sent");
        let late = era != self.since[slot] && !mutants::on(Mutant::LateAnswerCounted);
        if self.failure.is_some() || late {
            return;
        }
        let stored = match answer {
            AddAnswer::Done => true,
            AddAnswer::Refused(Refusal::StaleTerm { .. }) => mutants::on(Mutant::FencedAddCounted),
            AddAnswer::Unknown(_) => mutants::on(Mutant::UnansweredAddCounted),
            AddAnswer::Refused(_) => false,
        };
        let answer = if stored { AddAnswer::Done } else { answer };
        let failure = match answer {
            AddAnswer::Done => {
                self.window.on_done(slot, entry);
                return self.confirm(out);
            }
            AddAnswer::Refused(Refusal::StaleTerm { held }) => {
                self.window.on_unknown(slot, entry);
                return self.fail(WriterFailure::Fenced { held }, out);
            }
            AddAnswer::Refused(refusal) => {
                self.window.on_refused(slot, entry);
                if is_about_the_entry(&refusal) {
                    return self.fail(WriterFailure::Refused(refusal), out);
                }
                WriterFailure::Refused(refusal)
            }
            AddAnswer::Unknown(unknown) => {
                self.window.on_unknown(slot, entry);
                WriterFailure::Unknown(unknown)
            }
        };
        self.on_slot_failed(slot, failure, out);
    }

    /// A slot's bookie gets nothing more; another is asked for.
    pub fn on_slot_failed(
        &mut self,
        slot: usize,
        failure: WriterFailure,
        out: &mut Vec<WriterEffect>,
    ) {
        if self.failure.is_some() || self.failed & bit(slot) != 0 {
            return;
        }
        self.failed |= bit(slot);
        self.last_failure = Some(failure);
        self.window.forgive(slot);
        self.ask_for_bookies(out);
    }

    /// Asks for bookies in place of those that failed, unless it was asked already.
    fn ask_for_bookies(&mut self, out: &mut Vec<WriterEffect>) {
        let failed = self.failed & !self.given_up;
        if self.change.is_some() || failed == 0 {
            return;
        }
        let change = Change { first: EntryId::after(self.confirmed()), failed };
        self.change = Some(change);
        out.push(WriterEffect::ChangeEnsemble {
            first: change.first,
            failed: bits(failed).collect(),
        });
    }

    /// The ensemble asked for was committed: `renewed` slots have a bookie that the ledger was created
    /// on; other slots that failed stay as they are.
    ///
    /// # Panics
    /// When none was asked for, or what was committed is not what was asked for.
    pub fn on_ensemble(
        &mut self,
        committed: &LedgerMetadata,
        renewed: &[usize],
        out: &mut Vec<WriterEffect>,
    ) {
        if self.failure.is_some() {
            return;
        }
        let change = self.change.take().expect("an ensemble is committed when it was asked for");
        let (first, ensemble) = committed.last_fragment();
        assert_eq!(first, change.first, "the fragment begins behind what is confirmed");
        let renewed = renewed.iter().fold(0, |all, &slot| all | bit(slot));
        assert_eq!(renewed & !change.failed, 0, "only slots that failed are filled anew");
        for slot in bits(!renewed).take_while(|&slot| slot < ensemble.members().len()) {
            assert_eq!(ensemble.member(slot), self.ensemble.member(slot), "the others stay");
        }
        self.ensemble = ensemble.clone();
        self.era += 1;
        bits(renewed).for_each(|slot| self.since[slot] = self.era);
        self.failed &= !renewed;
        self.given_up = (self.given_up | change.failed) & !renewed;
        if !mutants::on(Mutant::ReplacedAcksKept) {
            self.window.forget(renewed);
        }
        let mut again = Vec::new();
        self.window.renew(
            renewed,
            |entry| {
                self.ensemble.write_set(entry, self.quorum).fold(0, |set, slot| set | bit(slot))
            },
            &mut again,
        );
        if mutants::on(Mutant::NothingSentAgain) {
            again.clear();
        }
        for (slot, entry, payload) in again {
            out.push(self.send(slot, entry, payload));
        }
        self.settle(out);
    }

    /// Nobody could be found for the slots that failed: on with those left, if they are enough.
    pub fn on_no_replacement(&mut self, out: &mut Vec<WriterEffect>) {
        if self.failure.is_some() {
            return;
        }
        let change = self.change.take().expect("an answer to a change that was asked for");
        self.given_up |= change.failed;
        self.settle(out);
    }

    /// The ensemble could not be changed, and may have been by someone else.
    pub fn on_not_changed(&mut self, failure: WriterFailure, out: &mut Vec<WriterEffect>) {
        if self.failure.is_none() {
            self.change = None;
            self.fail(failure, out);
        }
    }

    /// Asks again for bookies in place of those nobody could be found for.
    pub fn retry_bookies(&mut self, out: &mut Vec<WriterEffect>) {
        if self.failure.is_none() && self.change.is_none() && self.given_up != 0 {
            self.given_up = 0;
            self.ask_for_bookies(out);
        }
    }

    /// After a change was settled: the next, the end, or confirmations again.
    fn settle(&mut self, out: &mut Vec<WriterEffect>) {
        self.ask_for_bookies(out);
        if self.change.is_some() {
            return;
        }
        if !self.can_append() || !self.window.is_reachable(self.quorum.ack()) {
            let failure = self.last_failure.clone().expect("a slot failed");
            return self.fail(failure, out);
        }
        self.confirm(out);
    }

    /// Lets readers of a transactional ledger see up to `upto`; what is behind is ignored.
    ///
    /// # Panics
    /// When `upto` is not acknowledged: nobody may see what may be lost.
    pub fn publish(&mut self, upto: EntryId, out: &mut Vec<WriterEffect>) {
        assert!(Some(upto) <= self.confirmed(), "{}:{upto} is not acknowledged", self.ledger);
        if Some(upto) > self.visible {
            self.visible = Some(upto);
            out.push(WriterEffect::Publish { lac: upto });
        }
    }

    /// Whether every write set a next entry could have holds an ack quorum of live bookies.
    fn can_append(&self) -> bool {
        self.can_append_without(self.failed)
    }

    fn can_append_without(&self, failed: u32) -> bool {
        let size = self.quorum.ensemble();
        (0..size as u64).all(|entry| {
            let set = self.ensemble.write_set(EntryId(entry), self.quorum);
            set.filter(|&slot| failed & bit(slot) == 0).count() >= self.quorum.ack()
        })
    }

    /// Whether it goes on should nobody be found in place of this slot's bookie.
    pub fn can_spare(&self, slot: usize) -> bool {
        self.failure.is_none()
            && self.change.is_none()
            && self.can_append_without(self.failed | bit(slot))
    }

    /// Confirms what an ack quorum has, in order; not while an ensemble is being changed.
    fn confirm(&mut self, out: &mut Vec<WriterEffect>) {
        if self.change.is_some() && !mutants::on(Mutant::ConfirmsDuringChange) {
            return;
        }
        let before = self.confirmed();
        let missing = usize::from(mutants::on(Mutant::AckBelowQuorum));
        while let Some(entry) = self.window.confirm_next(self.quorum.ack() - missing) {
            out.push(WriterEffect::Confirm { entry });
        }
        if self.confirmed() == before {
            return;
        }
        if !self.transactional || mutants::on(Mutant::AckPublishesTransactional) {
            let lac = self.confirmed().expect("an entry was confirmed");
            self.visible = Some(lac);
            out.push(WriterEffect::Publish { lac });
        }
        let slowest = (0..self.since.len()).max_by_key(|&slot| self.window.behind(slot));
        if let Some(slot) = slowest
            && self.window.behind(slot) > caps::REPLICA_BEHIND_BYTES_MAX
        {
            let bytes = self.window.behind(slot);
            self.on_slot_failed(slot, WriterFailure::Behind { bytes }, out);
        }
    }

    fn fail(&mut self, failure: WriterFailure, out: &mut Vec<WriterEffect>) {
        let all = self.quorum.write();
        self.window.drain(|entry, pending| {
            let nowhere = !pending.elsewhere && pending.refused.count_ones() as usize == all
                || mutants::on(Mutant::UnknownToldDefinite);
            let outcome = if nowhere { Outcome::Definite } else { Outcome::Unknown };
            out.push(WriterEffect::Fail { entry, failure: failure.clone(), outcome });
        });
        self.failure = Some(failure);
    }
}

/// Refusals that another bookie would answer with, too.
fn is_about_the_entry(refusal: &Refusal) -> bool {
    matches!(refusal, Refusal::Conflict | Refusal::TooLarge { .. } | Refusal::Deleted)
}

#[cfg(test)]
mod tests;
