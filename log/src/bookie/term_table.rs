//! What a bookie holds about each ledger beside its entries: term, fence, existence, LAC, limbo.
//!
//! Every ledger has two versions of its facts: `held`, as of the last request accepted, by which requests
//! are judged; and `durable`, as of the last synced batch, by which answers are given. Requests are
//! accepted and made durable in the same order, so `durable` only ever follows `held`; when accepted
//! requests are refused after all, `held` falls back to `durable`.
//!
//! Terms and LACs never fall, a ledger is created once, and a deleted one stays deleted. A ledger that
//! is not known but is numbered below the limbo bound comes to be known in limbo, in the order of the
//! journal, so that a replay finds the same.

use std::collections::BTreeMap;

use egret_schemas::{EntryId, LedgerId, Term};

use super::journal::Record;
use super::manifest::{LedgerRange, LedgerRow, Manifest};
use crate::message::Refusal;
use crate::mutants::{self, Mutant};

/// Facts a restart must find again.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The highest term seen.
    pub(crate) term: Term,
    /// Whether it was created here; a fence alone leaves a stub.
    pub(crate) created: bool,
    /// Whether readers are bounded by a published position.
    pub(crate) transactional: bool,
    /// Whether it is gone for ever.
    pub(crate) deleted: bool,
    /// Whether other bookies have copies.
    pub(crate) replicated: bool,
    /// Whether what was acknowledged of it may be lost here.
    pub(crate) limbo: bool,
}

/// One ledger.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ledger {
    pub(crate) held: Facts,
    pub(crate) durable: Facts,
    /// What readers may see; may be ahead of the journal.
    pub(crate) lac: Option<EntryId>,
    /// What of it the journal has or is about to have.
    pub(crate) lac_journaled: Option<EntryId>,
    /// The highest durable entry.
    pub(crate) last: Option<EntryId>,
    /// The highest accepted entry.
    pub(crate) highest: Option<EntryId>,
}

/// All ledgers known here.
#[derive(Debug, Clone, Default)]
pub(crate) struct TermTable {
    ledgers: BTreeMap<LedgerId, Ledger>,
    /// Deleted ledgers no longer among `ledgers`: first to last, apart.
    gone: BTreeMap<LedgerId, LedgerId>,
    /// Below it what is not known may have been lost: as accepted, and as durable.
    limbo_below: (LedgerId, LedgerId),
}

/// What is known of a ledger that is gone.
static GONE: Ledger = Ledger {
    held: Facts::DELETED,
    durable: Facts::DELETED,
    lac: None,
    lac_journaled: None,
    last: None,
    highest: None,
};

impl TermTable {
    /// What a checkpoint wrote down.
    pub(crate) fn from_manifest(manifest: &Manifest) -> TermTable {
        let Manifest { ledgers, deleted, limbo_below, .. } = manifest;
        TermTable {
            limbo_below: (*limbo_below, *limbo_below),
            ..TermTable::from_rows(ledgers, deleted)
        }
    }

    fn from_rows(rows: &[LedgerRow], deleted: &[LedgerRange]) -> TermTable {
        let ledger = |row: &LedgerRow| {
            let LedgerRow { term, transactional, created, deleted, replicated, limbo, .. } = *row;
            let facts = Facts { term, created, transactional, deleted, replicated, limbo };
            let lac = row.lac;
            let none = None;
            Ledger {
                held: facts,
                durable: facts,
                lac,
                lac_journaled: lac,
                last: none,
                highest: none,
            }
        };
        TermTable {
            ledgers: rows.iter().map(|row| (row.ledger, ledger(row))).collect(),
            gone: deleted.iter().map(|range| (range.first, range.last)).collect(),
            limbo_below: Default::default(),
        }
    }

    /// What a checkpoint writes down: what is durable, and what readers were told.
    pub(crate) fn rows(&self) -> (Vec<LedgerRow>, Vec<LedgerRange>) {
        let mut rows = Vec::new();
        let mut deleted = self.gone.clone();
        for (ledger, found) in &self.ledgers {
            let Facts { term, created, transactional, replicated, limbo, .. } = found.durable;
            if found.durable.deleted {
                if !mutants::on(Mutant::DeletedForgotten) {
                    insert_into(&mut deleted, *ledger);
                }
            } else if found.durable != Facts::default() {
                if found.highest.is_none() && mutants::on(Mutant::FenceNotInCheckpoint) {
                    continue;
                }
                let (ledger, lac) = (*ledger, found.lac);
                rows.push(LedgerRow {
                    ledger,
                    term,
                    lac,
                    transactional,
                    created,
                    deleted: false,
                    replicated,
                    limbo,
                });
            }
        }
        let range = |(first, last)| LedgerRange { first, last };
        (rows, deleted.into_iter().map(range).collect())
    }

    /// Keeps of deleted ledgers only that they are.
    pub(crate) fn retire(&mut self) {
        let TermTable { ledgers, gone, .. } = self;
        ledgers.retain(|ledger, found| {
            if found.durable.deleted && !mutants::on(Mutant::DeletedForgotten) {
                insert_into(gone, *ledger);
            }
            !found.durable.deleted
        });
    }

    /// Whether the ledger is durably deleted.
    pub(crate) fn is_gone(&self, ledger: LedgerId) -> bool {
        self.get(ledger).is_some_and(|found| found.durable.deleted)
    }

    /// A ledger that is known: created, a stub, or deleted.
    pub(crate) fn get(&self, ledger: LedgerId) -> Option<&Ledger> {
        let range = self.gone.range(..=ledger).next_back();
        if range.is_some_and(|(_, last)| *last >= ledger) {
            return Some(&GONE);
        }
        self.ledgers.get(&ledger)
    }

    /// A known ledger that is not gone, to change.
    pub(crate) fn get_mut(&mut self, ledger: LedgerId) -> Option<&mut Ledger> {
        self.ledgers.get_mut(&ledger)
    }

    /// A ledger, made known if it is not.
    pub(crate) fn entry(&mut self, ledger: LedgerId) -> &mut Ledger {
        self.ledgers.entry(ledger).or_default()
    }

    /// Below it a ledger that is not known may have been lost, as far as is durable.
    pub(crate) fn limbo_below(&self) -> LedgerId {
        self.limbo_below.1
    }

    /// As [`limbo_below`](TermTable::limbo_below), as of the last request accepted.
    pub(crate) fn limbo_below_held(&self) -> LedgerId {
        self.limbo_below.0
    }

    /// Whether the durable word on what this ledger lacks is worth nothing.
    pub(crate) fn in_limbo(&self, ledger: LedgerId) -> bool {
        match self.get(ledger) {
            Some(found) if found.durable != Facts::default() => found.durable.limbo,
            _ => ledger < self.limbo_below.1,
        }
    }

    /// As [`in_limbo`](TermTable::in_limbo), as of the last request accepted.
    pub(crate) fn in_limbo_held(&self, ledger: LedgerId) -> bool {
        match self.get(ledger) {
            Some(found) => found.held.limbo,
            None => ledger < self.limbo_below.0,
        }
    }

    /// The ledgers known to be in limbo.
    pub(crate) fn limbo(&self) -> impl Iterator<Item = LedgerId> {
        self.ledgers.iter().filter(|(_, found)| found.durable.limbo).map(|(ledger, _)| *ledger)
    }

    /// Whether all that exists here has copies elsewhere, and something does or did.
    pub(crate) fn has_copies_elsewhere(&self) -> bool {
        let here = |found: &&Ledger| found.durable.created && !found.durable.deleted;
        let mut existing = self.ledgers.values().filter(here).peekable();
        let any = existing.peek().is_some() || self.limbo_below.1 > LedgerId(0);
        any && existing.all(|found| found.durable.replicated)
    }

    /// Puts every ledger in limbo, known or not. Nothing is under way.
    pub(crate) fn enter_limbo(&mut self) {
        for found in self.ledgers.values_mut().filter(|found| !found.durable.deleted) {
            (found.held.limbo, found.durable.limbo) = (true, true);
        }
        self.limbo_below = (LedgerId(u64::MAX), LedgerId(u64::MAX));
    }

    /// How many exist.
    pub(crate) fn existing(&self) -> usize {
        self.ledgers.values().filter(|l| l.durable.created && !l.durable.deleted).count()
    }

    /// A ledger that may be written or asked about: created and not deleted.
    pub(crate) fn existing_mut(&mut self, ledger: LedgerId) -> Result<&mut Ledger, Refusal> {
        match self.get(ledger) {
            Some(found) if found.held.deleted => Err(Refusal::Deleted),
            Some(found) if found.held.created => self.get_mut(ledger).ok_or(Refusal::NoLedger),
            _ => Err(Refusal::NoLedger),
        }
    }

    /// As [`existing_mut`](TermTable::existing_mut), for a writer of this term.
    pub(crate) fn writable(
        &mut self,
        ledger: LedgerId,
        term: Term,
    ) -> Result<&mut Ledger, Refusal> {
        let found = self.existing_mut(ledger)?;
        found.admits(term)?;
        Ok(found)
    }

    /// Whether this ledger may be created with this term.
    pub(crate) fn creatable(&self, ledger: LedgerId, term: Term) -> Result<(), Refusal> {
        match self.get(ledger) {
            None => Ok(()),
            Some(found) if found.held.deleted => Err(Refusal::Deleted),
            Some(found) if found.held.created => Err(Refusal::Exists),
            Some(found) => found.admits(term),
        }
    }

    /// Whether this ledger may be fenced with this term.
    pub(crate) fn fenceable(&self, ledger: LedgerId, term: Term) -> Result<(), Refusal> {
        match self.get(ledger) {
            None => Ok(()),
            Some(found) if found.held.deleted => Err(Refusal::Deleted),
            Some(found) => found.admits(term),
        }
    }

    /// Takes note that a record was accepted.
    pub(crate) fn accept(&mut self, record: &Record) {
        if let Record::LimboBound { below } = record {
            self.limbo_below.0 = self.limbo_below.0.min(*below);
            return;
        }
        let below = self.limbo_below.0;
        let ledger = self.entry(record.ledger());
        if ledger.held == Facts::default() {
            ledger.held.limbo = record.ledger() < below;
        }
        ledger.held.apply(record);
        ledger.note_lac(record);
        if let Record::Add { entry, .. } = record {
            ledger.highest = ledger.highest.max(Some(*entry));
        }
    }

    /// Takes note that a record is durable.
    pub(crate) fn durable(&mut self, record: &Record) {
        if let Record::LimboBound { below } = record {
            self.limbo_below.1 = self.limbo_below.1.min(*below);
            return;
        }
        let below = self.limbo_below.1;
        let ledger = self.entry(record.ledger());
        if ledger.durable == Facts::default() {
            ledger.durable.limbo = record.ledger() < below;
        }
        ledger.durable.apply(record);
        if let Record::Add { entry, .. } = record {
            ledger.last = ledger.last.max(Some(*entry));
        }
    }

    /// Takes back that records of this ledger were accepted: none will become durable.
    pub(crate) fn fall_back(&mut self, ledger: LedgerId) {
        self.limbo_below.0 = self.limbo_below.1;
        let Some(found) = self.ledgers.get_mut(&ledger) else { return };
        if found.durable == Facts::default() {
            self.ledgers.remove(&ledger);
            return;
        }
        found.held = found.durable;
        found.highest = found.last;
        found.lac_journaled = None;
    }
}

impl Ledger {
    fn admits(&self, term: Term) -> Result<(), Refusal> {
        // A flag knows only the first writer, who has term 1 wherever this is tried.
        let passes = mutants::on(Mutant::FenceIsFlag) && term > Term(1);
        if term < self.held.term && !passes {
            return Err(Refusal::StaleTerm { held: self.held.term });
        }
        Ok(())
    }

    /// Raises what readers may see; whether it rose.
    pub(crate) fn raise_lac(&mut self, lac: EntryId) -> bool {
        let rises = self.lac < Some(lac);
        self.lac = self.lac.max(Some(lac));
        rises
    }

    fn note_lac(&mut self, record: &Record) {
        let lac = match record {
            Record::Add { lac, .. } => *lac,
            Record::ExplicitLac { lac, .. } => Some(*lac),
            _ => None,
        };
        self.lac = self.lac.max(lac);
        self.lac_journaled = self.lac_journaled.max(lac);
    }
}

impl Facts {
    const DELETED: Facts = Facts {
        term: Term(0),
        created: false,
        transactional: false,
        deleted: true,
        replicated: false,
        limbo: false,
    };

    fn apply(&mut self, record: &Record) {
        match record {
            Record::Add { term, .. }
            | Record::Fence { term, .. }
            | Record::ExplicitLac { term, .. } => self.term = self.term.max(*term),
            Record::Create { term, transactional, replicated, .. } => {
                self.term = self.term.max(*term);
                self.created = true;
                self.transactional = *transactional;
                self.replicated = *replicated;
            }
            Record::ClearLimbo { term, .. } => {
                self.term = self.term.max(*term);
                self.limbo = false;
            }
            Record::Delete { .. } => self.deleted = true,
            Record::LimboBound { .. } => {}
        }
    }
}

/// Adds one ledger to ranges that lie apart.
fn insert_into(ranges: &mut BTreeMap<LedgerId, LedgerId>, ledger: LedgerId) {
    let mut range = (ledger, ledger);
    if let Some((first, last)) = ranges.range(..=ledger).next_back().map(|(f, l)| (*f, *l)) {
        if last >= ledger {
            return;
        }
        if last.0 + 1 == ledger.0 {
            range.0 = first;
        }
    }
    if let Some(after) = ledger.0.checked_add(1).map(LedgerId)
        && let Some(last) = ranges.remove(&after)
    {
        range.1 = last;
    }
    ranges.insert(range.0, range.1);
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_hold_what_was_put_in(ids in proptest::collection::vec(0..40u64, 0..60)) {
            let mut ranges = BTreeMap::new();
            for id in &ids {
                insert_into(&mut ranges, LedgerId(*id));
            }
            let held: BTreeSet<u64> = ranges.iter().flat_map(|(f, l)| f.0..=l.0).collect();
            prop_assert_eq!(held, ids.into_iter().collect());
            let ends: Vec<_> = ranges.into_iter().collect();
            prop_assert!(ends.windows(2).all(|w| w[0].1.0 + 1 < w[1].0.0), "{:?}", ends);
        }
    }

    #[test]
    fn a_deleted_ledger_is_known_after_it_was_retired_and_written_down() {
        let mut table = TermTable::default();
        for ledger in [3, 4, 9] {
            let ledger = LedgerId(ledger);
            for record in [
                Record::Create { ledger, term: Term(1), transactional: true, replicated: false },
                Record::Delete { ledger },
            ] {
                table.accept(&record);
                table.durable(&record);
            }
        }
        let fence = Record::Fence { ledger: LedgerId(5), term: Term(7) };
        table.accept(&fence);
        assert!(table.rows().0.is_empty(), "a fence that is not durable is not written down");
        table.durable(&fence);
        table.retire();
        let (rows, deleted) = table.rows();
        assert_eq!((rows.len(), deleted.len()), (1, 2));
        let mut table = TermTable::from_rows(&rows, &deleted);
        for ledger in [3, 4, 9] {
            assert!(table.is_gone(LedgerId(ledger)));
            assert_eq!(table.existing_mut(LedgerId(ledger)).unwrap_err(), Refusal::Deleted);
        }
        assert_eq!(table.get(LedgerId(5)).unwrap().durable.term, Term(7));
        assert!(table.get(LedgerId(10)).is_none());
    }

    #[test]
    fn what_was_accepted_and_refused_after_all_is_forgotten() {
        let mut table = TermTable::default();
        let ledger = LedgerId(1);
        let create =
            Record::Create { ledger, term: Term(1), transactional: false, replicated: false };
        table.accept(&create);
        table.fall_back(ledger);
        assert!(table.get(ledger).is_none());
        table.accept(&create);
        table.durable(&create);
        table.accept(&Record::Fence { ledger, term: Term(9) });
        table.fall_back(ledger);
        assert!(table.writable(ledger, Term(1)).is_ok());
    }
}
