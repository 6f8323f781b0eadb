//! What is known of a ledger beside its entries: state, term, and which bookies hold what.
//!
//! ```text
//!            start_recovery           close
//!   Open ───────────────────▶ InRecovery ───▶ Closed{last} ──▶ Deleting
//!     └────────────────────── close ────────────▲
//! ```
//! Every transition is a function from one record to the next; a compare-and-set on the metadata
//! store makes it so. Only the last fragment of a ledger that is not closed may change.

use std::collections::{BTreeMap, BTreeSet};

use egret_schemas::{BookieId, EntryId, Term};

use super::ensemble::{Ensemble, Member, Quorum};
use crate::mutants::{self, Mutant};

/// Who may see and close what.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LedgerKind {
    /// Readers see every acknowledged entry; anyone with a higher term may recover it.
    Plain,
    /// Readers see what its owner published; only the owner closes it, at a committed entry.
    Transactional {
        /// The topology that owns it, for ever.
        owner: String,
    },
}

impl LedgerKind {
    /// Whether readers are bounded by what was published.
    pub fn is_transactional(&self) -> bool {
        matches!(self, LedgerKind::Transactional { .. })
    }
}

/// Where a ledger is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LedgerState {
    /// Its writer appends.
    Open,
    /// Its end is being found.
    InRecovery,
    /// Immutable.
    Closed {
        /// Its last entry; `None` when it is empty.
        last: Option<EntryId>,
    },
    /// Being forgotten: a tombstone until every bookie has acknowledged.
    Deleting,
}

/// Who proposed a record, so that a lost reply to a compare-and-set is settled by reading back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Proposal {
    /// Random, minted once for each process.
    pub process: u128,
    /// Counted up for each proposal of that process.
    pub operation: u64,
}

/// A ledger's record in the metadata store.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LedgerMetadata {
    /// Where it is in its life.
    pub state: LedgerState,
    /// The term of who last changed it.
    pub term: Term,
    /// How many copies.
    pub quorum: Quorum,
    /// First entry → the bookies of it and those after, up to the next fragment.
    pub fragments: BTreeMap<EntryId, Ensemble>,
    /// Bookies that may lack entries of a fragment, named by its first entry: they failed while it was
    /// written and nobody took their place, or a recovery could not look. Repair looks.
    pub lacking: BTreeSet<(EntryId, BookieId)>,
    /// Entries of a closed ledger of which no copy is left, as an operator accepted: first → last.
    pub lost: BTreeMap<EntryId, EntryId>,
    /// Who may see and close what.
    pub kind: LedgerKind,
    /// Who proposed this record.
    pub proposal: Proposal,
}

/// What a recovery found: to be [closed](LedgerMetadata::close_recovered) by whoever may, or
/// [left open](LedgerMetadata::settle).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Found {
    term: Term,
    /// The last fragment, as it was when recovery began.
    from: (EntryId, Ensemble),
    /// The last entry that may have been acknowledged, or the one it was to be closed at.
    pub last: Option<EntryId>,
    /// Other bookies that some of the last entries were written to, from these on.
    pub moved: BTreeMap<EntryId, Ensemble>,
    /// Bookies that may lack some of what the last fragment, or one of those, holds.
    pub unseen: BTreeSet<BookieId>,
}

impl Found {
    /// Of a ledger that was taken into recovery as this.
    pub fn new(
        taken: &LedgerMetadata,
        last: Option<EntryId>,
        moved: BTreeMap<EntryId, Ensemble>,
        unseen: BTreeSet<BookieId>,
    ) -> Found {
        let (first, ensemble) = taken.last_fragment();
        Found { term: taken.term, from: (first, ensemble.clone()), last, moved, unseen }
    }
}

/// Fragments a ledger may have: its record is one value in the metadata store, and a segment rolls
/// long before.
pub const FRAGMENTS_MAX: usize = 1024;

/// A change the record does not allow.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TransitionError {
    /// Someone with a higher term was here.
    #[error("the ledger is held at {held}, above {asked}: a newer owner has taken over")]
    StaleTerm {
        /// The term asked with.
        asked: Term,
        /// The term of the record.
        held: Term,
    },
    /// Only its writer's term is known: recovery at the same term would not shut that writer out.
    #[error("the ledger is open at {held}: raise the term before recovering it")]
    SameTerm {
        /// The term of the record.
        held: Term,
    },
    /// It is closed, elsewhere.
    #[error("the ledger is closed at {}, not at {}", end(*.last), end(*.asked))]
    ClosedElsewhere {
        /// Its last entry.
        last: Option<EntryId>,
        /// The last entry asked for.
        asked: Option<EntryId>,
    },
    /// It is closed.
    #[error("the ledger is closed at {}", end(*.last))]
    Closed {
        /// Its last entry.
        last: Option<EntryId>,
    },
    /// It is being recovered.
    #[error("the ledger is being recovered at {held}")]
    InRecovery {
        /// The recoverer's term.
        held: Term,
    },
    /// It is open, and only closed ledgers may be deleted.
    #[error("the ledger is not closed: recover it before deleting it")]
    NotClosed,
    /// Someone else was faster.
    #[error("{bookie} is no longer in that fragment: it was replaced by someone else")]
    Replaced {
        /// Who was to be replaced.
        bookie: BookieId,
    },
    /// Somebody who saw to its copies gave its last entries to other bookies.
    #[error("the ledger's last bookies were changed while it was recovered: recover it again")]
    Settled,
    /// Its bookies changed too often.
    #[error("the ledger has {FRAGMENTS_MAX} fragments: begin another")]
    TooManyFragments,
    /// It is being deleted.
    #[error("the ledger was deleted")]
    Deleted,
}

pub(crate) fn end(last: Option<EntryId>) -> String {
    last.map_or_else(|| "its start (empty)".to_owned(), |last| format!("entry {last}"))
}

impl LedgerMetadata {
    /// A new ledger, open at its creator's term.
    ///
    /// # Panics
    /// When the ensemble is not as large as the quorum says.
    pub fn open(
        kind: LedgerKind,
        quorum: Quorum,
        ensemble: Ensemble,
        term: Term,
        proposal: Proposal,
    ) -> LedgerMetadata {
        assert_eq!(ensemble.members().len(), quorum.ensemble(), "an ensemble of the quorum's size");
        let fragments = BTreeMap::from([(EntryId(0), ensemble)]);
        let (state, lacking, lost) = (LedgerState::Open, BTreeSet::new(), BTreeMap::new());
        LedgerMetadata { state, term, quorum, fragments, lacking, lost, kind, proposal }
    }

    /// The fragment that holds `entry`: its first entry and its bookies.
    pub fn fragment_of(&self, entry: EntryId) -> (EntryId, &Ensemble) {
        let (&first, ensemble) =
            self.fragments.range(..=entry).next_back().expect("the first fragment starts at 0");
        (first, ensemble)
    }

    /// The fragment that may still grow.
    pub fn last_fragment(&self) -> (EntryId, &Ensemble) {
        let (&first, ensemble) = self.fragments.last_key_value().expect("a ledger has a fragment");
        (first, ensemble)
    }

    /// The last entry, once it is closed.
    pub fn closed(&self) -> Option<Option<EntryId>> {
        match self.state {
            LedgerState::Closed { last } => Some(last),
            _ => None,
        }
    }

    /// Takes a ledger that is not closed into recovery at `term`.
    pub fn start_recovery(
        &self,
        term: Term,
        proposal: Proposal,
    ) -> Result<LedgerMetadata, TransitionError> {
        match self.state {
            LedgerState::Closed { last } => return Err(TransitionError::Closed { last }),
            LedgerState::Deleting => return Err(TransitionError::Deleted),
            LedgerState::Open
                if term == self.term && !mutants::on(Mutant::RecoveryAtWritersTerm) =>
            {
                return Err(TransitionError::SameTerm { held: self.term });
            }
            LedgerState::Open | LedgerState::InRecovery => self.check_term(term)?,
        }
        Ok(LedgerMetadata { state: LedgerState::InRecovery, term, proposal, ..self.clone() })
    }

    /// Closes at `last`: the writer of an open ledger, or the recoverer of one in recovery, each at
    /// the record's own term.
    pub fn close(
        &self,
        term: Term,
        last: Option<EntryId>,
        proposal: Proposal,
    ) -> Result<LedgerMetadata, TransitionError> {
        match self.state {
            LedgerState::Closed { last: held } if held == last => return Ok(self.clone()),
            LedgerState::Closed { .. } if mutants::on(Mutant::CloseOverwrites) => {}
            LedgerState::Closed { last: held } => {
                return Err(TransitionError::ClosedElsewhere { last: held, asked: last });
            }
            LedgerState::Deleting => return Err(TransitionError::Deleted),
            LedgerState::Open | LedgerState::InRecovery => self.check_term(term)?,
        }
        let careless =
            mutants::on(Mutant::CloseOverwrites) || mutants::on(Mutant::RecordTermIgnored);
        assert!(
            careless || term == self.term,
            "a ledger is closed at the term it was opened or recovered at"
        );
        Ok(LedgerMetadata { state: LedgerState::Closed { last }, proposal, ..self.clone() })
    }

    /// [Closes](LedgerMetadata::close) a ledger that was recovered.
    pub fn close_recovered(
        &self,
        found: &Found,
        proposal: Proposal,
    ) -> Result<LedgerMetadata, TransitionError> {
        let mut next = self.close(found.term, found.last, proposal)?;
        if self.closed().is_none() {
            self.check_unsettled(found)?;
            next.take_in(found);
            next.forget_empty_fragments(found.last);
        }
        Ok(next)
    }

    /// Leaves a ledger open that was recovered by somebody who is not to close it. It goes on behind
    /// what was found with the bookies of `next`, on which the ledger is there at the recoverer's term;
    /// what lies before is immutable, and its copies are repair's.
    ///
    /// Only a recovery that began after this may close it: one that began before does not know what
    /// this one found, nor whom it shut out.
    pub fn settle(
        &self,
        found: &Found,
        next: Ensemble,
        proposal: Proposal,
    ) -> Result<LedgerMetadata, TransitionError> {
        match self.state {
            LedgerState::Closed { last } => return Err(TransitionError::Closed { last }),
            LedgerState::Deleting => return Err(TransitionError::Deleted),
            LedgerState::Open | LedgerState::InRecovery => self.check_term(found.term)?,
        }
        self.check_unsettled(found)?;
        assert_eq!(next.members().len(), self.quorum.ensemble(), "an ensemble of full size");
        let mut settled = LedgerMetadata { proposal, ..self.clone() };
        settled.take_in(found);
        let first = EntryId::after(found.last);
        assert!(first >= settled.last_fragment().0, "it goes on behind what was found");
        let is_in = |bookie| next.members().iter().any(|member| member.bookie == bookie);
        settled.lacking.retain(|&(fragment, bookie)| fragment != first || is_in(bookie));
        settled.fragments.insert(first, next);
        match settled.fragments.len() {
            0..=FRAGMENTS_MAX => Ok(settled),
            _ => Err(TransitionError::TooManyFragments),
        }
    }

    fn check_unsettled(&self, found: &Found) -> Result<(), TransitionError> {
        let (first, ensemble) = &found.from;
        match self.last_fragment() == (*first, ensemble) {
            true => Ok(()),
            false => Err(TransitionError::Settled),
        }
    }

    /// Notes where a recovery put copies, and whose it did not see.
    fn take_in(&mut self, found: &Found) {
        let from = self.last_fragment().0;
        for (&first, ensemble) in &found.moved {
            let size = ensemble.members().len();
            assert_eq!(size, self.quorum.ensemble(), "an ensemble of full size");
            assert!(first >= from, "only the last fragment may change");
            self.fragments.insert(first, ensemble.clone());
        }
        for (&first, ensemble) in self.fragments.range(from..) {
            let members = ensemble.members().iter().map(|member| member.bookie);
            let lacking = members.filter(|bookie| found.unseen.contains(bookie));
            self.lacking.extend(lacking.map(|bookie| (first, bookie)));
        }
    }

    /// A fragment behind the end holds nothing, and nothing can be lacking there.
    fn forget_empty_fragments(&mut self, last: Option<EntryId>) {
        let end = EntryId::after(last);
        self.lacking.retain(|&(first, _)| first < end);
    }

    /// Notes that a bookie of the fragment that begins at `first` may lack entries of it.
    pub fn note_lacking(
        &self,
        term: Term,
        first: EntryId,
        bookies: &[BookieId],
        proposal: Proposal,
    ) -> Result<LedgerMetadata, TransitionError> {
        match self.state {
            LedgerState::Deleting => return Err(TransitionError::Deleted),
            LedgerState::InRecovery => return Err(TransitionError::InRecovery { held: self.term }),
            LedgerState::Closed { .. } => {}
            LedgerState::Open => self.check_term(term)?,
        }
        let mut next = LedgerMetadata { proposal, ..self.clone() };
        let here = |bookie: &&BookieId| {
            self.fragments[&first].members().iter().any(|member| member.bookie == **bookie)
        };
        next.lacking.extend(bookies.iter().filter(here).map(|&bookie| (first, bookie)));
        if next.lacking == self.lacking { Ok(self.clone()) } else { Ok(next) }
    }

    /// A bookie of an immutable fragment was filled up, or another was filled in its place. Entries of
    /// the fragment, and their number, stay what they are.
    pub fn repaired(
        &self,
        first: EntryId,
        slot: usize,
        was: Member,
        by: Member,
        proposal: Proposal,
    ) -> Result<LedgerMetadata, TransitionError> {
        if self.state == LedgerState::Deleting {
            return Err(TransitionError::Deleted);
        }
        let is_last = self.last_fragment().0 == first;
        if is_last && self.closed().is_none() {
            return Err(TransitionError::NotClosed);
        }
        let held = self.fragments.get(&first).map(|ensemble| ensemble.members()[slot]);
        if held != Some(was) {
            return Err(TransitionError::Replaced { bookie: was.bookie });
        }
        let mut next = LedgerMetadata { proposal, ..self.clone() };
        next.lacking.remove(&(first, was.bookie));
        let mut members = self.fragments[&first].members().to_vec();
        members[slot] = by;
        next.fragments.insert(first, Ensemble::new(members));
        Ok(next)
    }

    /// Replaces the bookies for entries from `first` on. An open ledger's writer alone may.
    pub fn change_ensemble(
        &self,
        term: Term,
        first: EntryId,
        ensemble: Ensemble,
        proposal: Proposal,
    ) -> Result<LedgerMetadata, TransitionError> {
        match self.state {
            LedgerState::Closed { last } => return Err(TransitionError::Closed { last }),
            LedgerState::Deleting => return Err(TransitionError::Deleted),
            LedgerState::InRecovery if mutants::on(Mutant::ChangedInRecovery) => {}
            LedgerState::InRecovery => return Err(TransitionError::InRecovery { held: self.term }),
            LedgerState::Open => self.check_term(term)?,
        }
        assert_eq!(ensemble.members().len(), self.quorum.ensemble(), "an ensemble of full size");
        assert!(first >= self.last_fragment().0, "only the last fragment may change");
        if self.fragments.len() >= FRAGMENTS_MAX && !self.fragments.contains_key(&first) {
            return Err(TransitionError::TooManyFragments);
        }
        let mut next = LedgerMetadata { proposal, ..self.clone() };
        let is_in = |bookie| ensemble.members().iter().any(|member| member.bookie == bookie);
        next.lacking.retain(|&(fragment, bookie)| fragment != first || is_in(bookie));
        next.fragments.insert(first, ensemble);
        Ok(next)
    }

    /// The entries accepted as lost that `entry` is one of: the first and the last.
    pub fn lost_with(&self, entry: EntryId) -> Option<(EntryId, EntryId)> {
        let (&first, &last) = self.lost.range(..=entry).next_back()?;
        (entry <= last).then_some((first, last))
    }

    /// Notes that no copy is left of these entries of a closed ledger, so that nobody looks for them any
    /// more. `ranges` are ordered and part of what the ledger has.
    pub fn accept_loss(
        &self,
        ranges: &[(EntryId, EntryId)],
        proposal: Proposal,
    ) -> Result<LedgerMetadata, TransitionError> {
        let end = match self.state {
            LedgerState::Closed { last } => EntryId::after(last),
            LedgerState::Deleting => return Err(TransitionError::Deleted),
            LedgerState::Open | LedgerState::InRecovery => return Err(TransitionError::NotClosed),
        };
        let mut next = LedgerMetadata { proposal, ..self.clone() };
        let known = self.lost.iter().map(|(&first, &last)| (first, last));
        let mut all: Vec<_> = known.chain(ranges.iter().copied()).collect();
        all.sort_unstable();
        next.lost.clear();
        for (first, last) in all {
            assert!(first <= last && last < end, "entries that the ledger has");
            match next.lost.last_entry() {
                Some(mut before) if first <= before.get().next() => {
                    let until = last.max(*before.get());
                    before.insert(until);
                }
                _ => drop(next.lost.insert(first, last)),
            }
        }
        Ok(next)
    }

    /// Marks a closed ledger as being forgotten.
    pub fn start_delete(&self, proposal: Proposal) -> Result<LedgerMetadata, TransitionError> {
        match self.state {
            LedgerState::Deleting => Ok(self.clone()),
            LedgerState::Closed { .. } => {
                Ok(LedgerMetadata { state: LedgerState::Deleting, proposal, ..self.clone() })
            }
            LedgerState::Open | LedgerState::InRecovery => Err(TransitionError::NotClosed),
        }
    }

    /// Marks a ledger that is part of nothing any more as being forgotten, closed or not.
    pub fn abandon(
        &self,
        term: Term,
        proposal: Proposal,
    ) -> Result<LedgerMetadata, TransitionError> {
        match self.state {
            LedgerState::Deleting | LedgerState::Closed { .. } => self.start_delete(proposal),
            LedgerState::Open if term == self.term => {
                Err(TransitionError::SameTerm { held: self.term })
            }
            LedgerState::Open | LedgerState::InRecovery => {
                self.check_term(term)?;
                Ok(LedgerMetadata { state: LedgerState::Deleting, term, proposal, ..self.clone() })
            }
        }
    }

    fn check_term(&self, term: Term) -> Result<(), TransitionError> {
        if term < self.term && !mutants::on(Mutant::RecordTermIgnored) {
            return Err(TransitionError::StaleTerm { asked: term, held: self.term });
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::ledger::ensemble::Member;
    use egret_schemas::{BookieId, Incarnation};

    pub(crate) fn members(numbers: &[u64]) -> Ensemble {
        let member = |&n| Member { bookie: BookieId(n), incarnation: Incarnation(u128::from(n)) };
        Ensemble::new(numbers.iter().map(member).collect())
    }

    pub(crate) fn three() -> LedgerMetadata {
        let quorum = Quorum::new(3, 3, 2).unwrap();
        let ensemble = members(&[1, 2, 3]);
        LedgerMetadata::open(LedgerKind::Plain, quorum, ensemble, Term(1), Proposal::default())
    }

    const P: Proposal = Proposal { process: 7, operation: 1 };

    #[test]
    fn recovery_needs_a_higher_term_than_the_writer() {
        let open = three();
        assert!(matches!(open.start_recovery(Term(1), P), Err(TransitionError::SameTerm { .. })));
        assert!(matches!(open.start_recovery(Term(0), P), Err(TransitionError::StaleTerm { .. })));
        let taken = open.start_recovery(Term(2), P).unwrap();
        assert_eq!((taken.state, taken.term), (LedgerState::InRecovery, Term(2)));
        assert!(taken.start_recovery(Term(2), P).is_ok(), "a retry at the same term");
        assert!(matches!(taken.close(Term(1), None, P), Err(TransitionError::StaleTerm { .. })));
    }

    #[test]
    fn losses_that_touch_are_one_and_only_a_closed_ledger_has_them() {
        let range = |first, last| (EntryId(first), EntryId(last));
        assert!(matches!(three().accept_loss(&[range(0, 0)], P), Err(TransitionError::NotClosed)));
        let closed = three().close(Term(1), Some(EntryId(9)), P).unwrap();
        let once = closed.accept_loss(&[range(2, 3), range(8, 9)], P).unwrap();
        let twice = once.accept_loss(&[range(0, 0), range(3, 5)], P).unwrap();
        let held: Vec<_> = twice.lost.iter().map(|(&first, &last)| (first, last)).collect();
        assert_eq!(held, [range(0, 0), range(2, 5), range(8, 9)]);
        let of = |entry| twice.lost_with(EntryId(entry));
        assert_eq!([of(0), of(1), of(4)], [Some(range(0, 0)), None, Some(range(2, 5))]);
        assert_eq!([of(6), of(9)], [None, Some(range(8, 9))]);
    }

    #[test]
    fn a_closed_ledger_keeps_its_end() {
        let closed = three().close(Term(1), Some(EntryId(4)), P).unwrap();
        assert!(closed.close(Term(1), Some(EntryId(4)), P).is_ok());
        let error = closed.close(Term(9), Some(EntryId(3)), P).unwrap_err();
        assert_eq!(error.to_string(), "the ledger is closed at entry 4, not at entry 3");
        assert!(matches!(closed.start_recovery(Term(9), P), Err(TransitionError::Closed { .. })));
        assert!(three().start_delete(P).is_err());
        assert_eq!(closed.start_delete(P).unwrap().state, LedgerState::Deleting);
    }

    /// Were it to close what was settled since, it could end below what the settling recovery kept: that is
    /// before the last fragment, where readers see everything.
    #[test]
    fn a_recovery_that_began_before_another_settled_closes_nothing() {
        let found = |taken: &LedgerMetadata, last| {
            Found::new(taken, Some(EntryId(last)), BTreeMap::new(), BTreeSet::from([BookieId(3)]))
        };
        let taken = three().start_recovery(Term(2), P).unwrap();
        let settled = taken.settle(&found(&taken, 9), members(&[1, 2, 4]), P).unwrap();
        assert_eq!((settled.state, settled.term), (LedgerState::InRecovery, Term(2)));
        assert_eq!(settled.last_fragment(), (EntryId(10), &members(&[1, 2, 4])));
        let lacking: Vec<_> = settled.lacking.iter().copied().collect();
        assert_eq!(lacking, [(EntryId(0), BookieId(3))], "repair looks at what it had");
        for last in [8, 9, 12] {
            let close = settled.close_recovered(&found(&taken, last), P);
            assert_eq!(close, Err(TransitionError::Settled), "{last}");
            let again = settled.settle(&found(&taken, last), members(&[1, 4, 5]), P);
            assert_eq!(again, Err(TransitionError::Settled));
        }
        let anew = settled.start_recovery(Term(2), P).unwrap();
        let again = anew.settle(&found(&anew, 9), members(&[1, 4, 5]), P).unwrap();
        assert_eq!(again.fragments.len(), 2, "an empty fragment is replaced");
        let closed = again.start_recovery(Term(3), P).unwrap();
        let closed = closed.close_recovered(&found(&closed, 9), P).unwrap();
        assert_eq!(closed.closed(), Some(Some(EntryId(9))));
        assert!(matches!(
            closed.settle(&found(&anew, 9), members(&[1, 4, 5]), P),
            Err(TransitionError::Closed { .. })
        ));
    }

    #[test]
    fn an_ensemble_change_starts_a_fragment_or_replaces_the_last() {
        let one = three().change_ensemble(Term(1), EntryId(5), members(&[1, 2, 4]), P).unwrap();
        assert_eq!(one.fragment_of(EntryId(4)).0, EntryId(0));
        assert_eq!(one.fragment_of(EntryId(5)).1, &members(&[1, 2, 4]));
        let two = one.change_ensemble(Term(1), EntryId(5), members(&[1, 4, 5]), P).unwrap();
        assert_eq!(two.fragments.len(), 2);
        let taken = two.start_recovery(Term(2), P).unwrap();
        assert!(taken.change_ensemble(Term(1), EntryId(9), members(&[1, 2, 3]), P).is_err());
    }
}
