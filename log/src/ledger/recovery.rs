//! Finding, or verifying, the end of a ledger whose writer is gone.
//!
//! 1. The metadata was taken into recovery at the recoverer's term (the caller's compare-and-set).
//! 2. **Fence** every bookie of the last fragment, until the fence is [covered](super::coverage):
//!    no add of a lower term can be acknowledged any more. The highest LAC they report, and the last
//!    fragment's first entry less one, is the floor: everything up to it is known to be acknowledged.
//! 3. Read forward, each read fencing again, so that a negative answer stays true.
//!    One copy is enough to keep an entry; it is written again, at the recoverer's term and with the
//!    LAC frozen at the floor, to whoever lacks it, until an ack quorum has it.
//! 4. [`CloseAt::End`]: stop at the first entry whose absence is covered, close before it.
//!    [`CloseAt::Entry`]: read every entry from the first to the one given, some of them ahead of their
//!    turn. One that is missing is damage, never a lower end; whatever lies beyond is ignored.
//!
//! When too few bookies take a copy, others are asked for in their place: the entry and all behind it
//! are then written to a new ensemble, which becomes the ledger's with the close and not before. Until
//! then every other recoverer reads from the ensemble that was there.
//!
//! Anything undecided gives up and leaves the ledger in recovery, to be tried again. Several may
//! recover at once: the compare-and-set of the close makes them agree.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use egret_schemas::{BookieId, EntryId, LedgerId, Term};

use super::ahead::{Ahead, Heard};
use super::coverage::{Answer, covered};
use super::effect::RecoveryEffect;
use super::ensemble::Ensemble;
use super::metadata::{LedgerMetadata, LedgerState};
use super::reader::{Doubt, ReadAnswer};
use super::writer::AddAnswer;
use crate::message::{Refusal, Reply};
use crate::mutants::{self, Mutant};

/// Where a recovered ledger is to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseAt {
    /// Behind the last entry that may have been acknowledged.
    End,
    /// At this entry, whatever lies beyond; `None` closes it empty. The only way for a
    /// transactional ledger.
    Entry(Option<EntryId>),
}

/// Why a recovery gave up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryFailure {
    /// Someone recovers at a higher term.
    #[error("a newer owner holds the ledger at {held}")]
    Superseded {
        /// Its term.
        held: Term,
    },
    /// The ledger was deleted.
    #[error("the ledger was deleted")]
    Deleted,
    /// Too few bookies answered the fence.
    #[error("too few bookies could be fenced: {why}")]
    NotFenced {
        /// One of the answers.
        why: Doubt,
    },
    /// Neither found nor proved absent.
    #[error("entry {entry} is neither there nor provably absent: {why}")]
    Undecided {
        /// The entry.
        entry: EntryId,
        /// One of the answers.
        why: Doubt,
    },
    /// A committed entry is gone.
    #[error(
        "entry {entry} was committed and is gone: a disk lost it; restore that disk from a copy"
    )]
    Missing {
        /// The entry.
        entry: EntryId,
    },
    /// Readers have seen beyond the entry it was to be closed at.
    #[error(
        "readers have seen up to entry {visible}, beyond the commit given: a later commit exists; \
         recover with that one"
    )]
    BelowVisible {
        /// The last entry published.
        visible: EntryId,
    },
    /// Too few bookies took the copy.
    #[error("entry {entry} could not be copied to enough bookies: {why}")]
    NotCopied {
        /// The entry.
        entry: EntryId,
        /// One of the answers.
        why: Doubt,
    },
}

/// An entry on its way to whoever lacks it. Sets of slots are bits.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Copying {
    entry: EntryId,
    payload: Bytes,
    crc: u32,
    have: u32,
    waiting: u32,
    failed: u32,
    /// Others were asked for in place of those that failed.
    asked: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Phase {
    Fencing { answers: Vec<Option<Answer>>, lac: Option<EntryId> },
    Reading { entry: EntryId, heard: Heard },
    Copying(Copying),
    Done,
}

/// One ledger in recovery; see the [module](self).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Recovery {
    ledger: LedgerId,
    /// As it was when recovery began: reads go to these bookies, whatever changes meanwhile.
    metadata: LedgerMetadata,
    close: CloseAt,
    /// Acknowledged for certain; also the LAC that copies carry. Fixed once fenced.
    floor: Option<EntryId>,
    doubt: Option<Doubt>,
    /// Heard of entries whose turn is to come.
    ahead: Ahead,
    /// Slots of the last fragment that answered the fence.
    whole: u32,
    /// Bookies that did not say that they have an entry.
    unsure: BTreeSet<BookieId>,
    /// Where copies go from these entries on, instead of where the metadata says.
    moved: BTreeMap<EntryId, Ensemble>,
    phase: Phase,
}

impl Recovery {
    /// Starts on metadata that was taken into recovery at the recoverer's term.
    ///
    /// # Panics
    /// When it was not, or when a transactional ledger is to be closed anywhere but at an entry.
    pub fn start(
        ledger: LedgerId,
        metadata: LedgerMetadata,
        close: CloseAt,
        out: &mut Vec<RecoveryEffect>,
    ) -> Recovery {
        assert_eq!(metadata.state, LedgerState::InRecovery, "the compare-and-set comes first");
        assert!(
            close != CloseAt::End || !metadata.kind.is_transactional(),
            "only its owner ends a transactional ledger, at a committed entry"
        );
        let ensemble = metadata.last_fragment().1;
        for (slot, &to) in ensemble.members().iter().enumerate() {
            out.push(RecoveryEffect::Fence { slot, to });
        }
        let phase = Phase::Fencing { answers: vec![None; ensemble.members().len()], lac: None };
        Recovery {
            ledger,
            metadata,
            close,
            floor: None,
            doubt: None,
            ahead: Ahead::default(),
            whole: 0,
            unsure: BTreeSet::new(),
            moved: BTreeMap::new(),
            phase,
        }
    }

    /// A bookie answered a fence.
    pub fn on_fence(&mut self, slot: usize, reply: Reply, out: &mut Vec<RecoveryEffect>) {
        if let Reply::Fenced { .. } = reply {
            self.whole |= 1 << slot;
        }
        let Phase::Fencing { answers, lac } = &mut self.phase else { return };
        let answer = match reply {
            Reply::Fenced { lac: seen, .. } => {
                *lac = (*lac).max(seen);
                Answer::Yes
            }
            Reply::Refused(refusal) => {
                if let Some(failure) = fatal(&refusal) {
                    return self.fail(failure, out);
                }
                self.doubt = Some(Doubt::Refused(refusal));
                Answer::Unknown
            }
            Reply::Unknown(unknown) => {
                self.doubt = Some(Doubt::Bookie(unknown));
                Answer::Unknown
            }
            _ => {
                self.doubt = Some(Doubt::Protocol);
                Answer::Unknown
            }
        };
        answers[slot] = Some(answer);
        let heard: Vec<Answer> = answers.iter().map(|a| a.unwrap_or(Answer::Unknown)).collect();
        let one = answer == Answer::Yes && mutants::on(Mutant::FencesOneBookie);
        if one || covered(&heard, Answer::Yes, self.metadata.quorum) {
            let lac = *lac;
            self.begin_reading(lac, out);
        } else if answers.iter().all(Option::is_some) {
            let why = self.doubt.clone().unwrap_or(Doubt::Protocol);
            self.fail(RecoveryFailure::NotFenced { why }, out);
        }
    }

    /// A bookie answered a read.
    pub fn on_read(
        &mut self,
        slot: usize,
        entry: EntryId,
        answer: ReadAnswer,
        out: &mut Vec<RecoveryEffect>,
    ) {
        let due = match &self.phase {
            Phase::Reading { entry: due, .. } => *due == entry,
            Phase::Copying(_) => false,
            Phase::Fencing { .. } | Phase::Done => return,
        };
        if !due && !self.ahead.contains(entry) {
            return;
        }
        // Whoever is shut out is so of every entry.
        if let ReadAnswer::Unknown(Doubt::Refused(refusal)) = &answer
            && let Some(failure) = fatal(refusal)
        {
            return self.fail(failure, out);
        }
        match &mut self.phase {
            Phase::Reading { heard, .. } if due => {
                heard.note(slot, answer);
                self.look_at_answers(out);
            }
            _ => self.ahead.note(entry, slot, answer),
        }
    }

    /// A copy was found, or its absence proved, or neither is possible any more.
    fn look_at_answers(&mut self, out: &mut Vec<RecoveryEffect>) {
        let Phase::Reading { entry, heard } = &mut self.phase else { return };
        let entry = *entry;
        if let Some((payload, crc)) = heard.found.take() {
            return self.on_found(entry, payload, crc, out);
        }
        let of = |(_, answer): &(usize, Option<Answer>)| answer.unwrap_or(Answer::Unknown);
        let answers: Vec<Answer> = heard.answers.iter().map(of).collect();
        let all = heard.answers.iter().all(|(_, answer)| answer.is_some());
        let one = answers.contains(&Answer::No) && mutants::on(Mutant::FirstNoEntryEnds);
        if one || covered(&answers, Answer::No, self.metadata.quorum) {
            self.on_absent(entry, all, out);
        } else if all {
            let why = heard.doubt.take().unwrap_or(Doubt::Protocol);
            self.fail(RecoveryFailure::Undecided { entry, why }, out);
        }
    }

    /// A bookie answered a copy.
    pub fn on_add(
        &mut self,
        slot: usize,
        entry: EntryId,
        answer: AddAnswer,
        out: &mut Vec<RecoveryEffect>,
    ) {
        let Phase::Copying(copying) = &mut self.phase else { return };
        if entry != copying.entry || copying.waiting & 1 << slot == 0 {
            return;
        }
        copying.waiting &= !(1 << slot);
        match answer {
            AddAnswer::Done => copying.have |= 1 << slot,
            AddAnswer::Unknown(_) if mutants::on(Mutant::UnansweredCopyCounted) => {
                copying.have |= 1 << slot;
            }
            AddAnswer::Refused(refusal) => {
                if let Some(failure) = fatal(&refusal) {
                    return self.fail(failure, out);
                }
                copying.failed |= 1 << slot;
                self.doubt = Some(Doubt::Refused(refusal));
            }
            AddAnswer::Unknown(unknown) => {
                copying.failed |= 1 << slot;
                self.doubt = Some(Doubt::Bookie(unknown));
            }
        }
        self.look_at_copies(out);
    }

    /// Enough copies, or still possible, or others to ask for.
    fn look_at_copies(&mut self, out: &mut Vec<RecoveryEffect>) {
        let Phase::Copying(copying) = &mut self.phase else { return };
        let (ack, entry) = (self.metadata.quorum.ack(), copying.entry);
        if copying.have.count_ones() as usize >= ack {
            let have = copying.have;
            self.note_unsure(entry, have);
            return self.after(entry, out);
        }
        if copying.asked || (copying.have | copying.waiting).count_ones() as usize >= ack {
            return;
        }
        copying.asked = true;
        let failed = (0..32).filter(|slot| copying.failed >> slot & 1 == 1).collect();
        let ensemble = self.home(entry).clone();
        out.push(RecoveryEffect::Replace { entry, failed, ensemble });
    }

    /// Bookies were found for `renewed` slots and the ledger was created there; `None` when nobody
    /// could be.
    pub fn on_replaced(
        &mut self,
        found: Option<(Ensemble, Vec<usize>)>,
        out: &mut Vec<RecoveryEffect>,
    ) {
        let Phase::Copying(copying) = &mut self.phase else { return };
        if !copying.asked {
            return;
        }
        let Some((ensemble, renewed)) = found.filter(|(_, renewed)| !renewed.is_empty()) else {
            let entry = copying.entry;
            let why = self.doubt.clone().unwrap_or(Doubt::Protocol);
            return self.fail(RecoveryFailure::NotCopied { entry, why }, out);
        };
        copying.asked = false;
        for &slot in &renewed {
            assert!(copying.failed >> slot & 1 == 1, "only slots that failed are filled anew");
            copying.failed &= !(1 << slot);
        }
        let (entry, lac) = (copying.entry, self.floor);
        let set: Vec<usize> = ensemble.write_set(entry, self.metadata.quorum).collect();
        for slot in set.into_iter().filter(|slot| renewed.contains(slot)) {
            copying.waiting |= 1 << slot;
            out.push(RecoveryEffect::Add {
                slot,
                to: ensemble.member(slot),
                entry,
                lac: if mutants::on(Mutant::CopiesMoveLac) { Some(entry) } else { lac },
                crc: copying.crc,
                payload: copying.payload.clone(),
            });
        }
        self.moved.insert(entry, ensemble);
        self.look_at_copies(out);
    }

    /// Whoever is to hold the entry and did not say that it does is to be looked at by repair.
    fn note_unsure(&mut self, entry: EntryId, have: u32) {
        let home = self.home(entry);
        let set = home.write_set(entry, self.metadata.quorum);
        let unsure = set.filter(|slot| have >> slot & 1 == 0);
        let unsure: Vec<BookieId> = unsure.map(|slot| home.member(slot).bookie).collect();
        self.unsure.extend(unsure);
    }

    /// Where copies of an entry go.
    fn home(&self, entry: EntryId) -> &Ensemble {
        let moved = self.moved.range(..=entry).next_back();
        moved.map_or_else(|| self.metadata.fragment_of(entry).1, |(_, ensemble)| ensemble)
    }

    fn begin_reading(&mut self, lac: Option<EntryId>, out: &mut Vec<RecoveryEffect>) {
        self.doubt = None;
        self.floor = lac;
        if !mutants::on(Mutant::FloorBelowFragment) {
            self.floor = lac.max(self.metadata.last_fragment().0.before());
        }
        match (self.close, lac) {
            (CloseAt::Entry(last), Some(visible))
                if last < lac
                    && self.metadata.kind.is_transactional()
                    && !mutants::on(Mutant::ClosesBelowVisible) =>
            {
                return self.fail(RecoveryFailure::BelowVisible { visible }, out);
            }
            _ => {}
        }
        match self.close {
            CloseAt::End if mutants::on(Mutant::ClosesAtLac) => self.finish(self.floor, out),
            CloseAt::End => self.read(EntryId::after(self.floor), out),
            CloseAt::Entry(None) => self.finish(None, out),
            CloseAt::Entry(last) if last <= lac && mutants::on(Mutant::CommitNotVerified) => {
                self.finish(last, out);
            }
            CloseAt::Entry(Some(_)) => self.read(EntryId(0), out),
        }
    }

    /// An entry's turn: what was heard of it already counts.
    fn read(&mut self, entry: EntryId, out: &mut Vec<RecoveryEffect>) {
        self.doubt = None;
        let heard = self.ahead.take(entry).unwrap_or_else(|| self.ask(entry, out));
        self.phase = Phase::Reading { entry, heard };
        if let CloseAt::Entry(Some(last)) = self.close {
            let wanted: Vec<EntryId> = self.ahead.wanted(entry, last).collect();
            for entry in wanted {
                let heard = self.ask(entry, out);
                self.ahead.insert(entry, heard);
            }
        }
        // Goes on to the next entry, and through all that was read ahead at most.
        self.look_at_answers(out);
    }

    fn ask(&self, entry: EntryId, out: &mut Vec<RecoveryEffect>) -> Heard {
        let ensemble = self.metadata.fragment_of(entry).1;
        for slot in ensemble.write_set(entry, self.metadata.quorum) {
            out.push(RecoveryEffect::Read { slot, to: ensemble.member(slot), entry });
        }
        Heard::new(ensemble.write_set(entry, self.metadata.quorum))
    }

    /// One copy is enough to keep an entry.
    fn on_found(
        &mut self,
        entry: EntryId,
        payload: Bytes,
        crc: u32,
        out: &mut Vec<RecoveryEffect>,
    ) {
        let Phase::Reading { heard, .. } = &self.phase else { unreachable!("it was read") };
        self.ahead.saw(payload.len());
        let was = self.metadata.fragment_of(entry).1;
        let home = self.home(entry);
        let mut have = 0u32;
        for &(slot, answer) in &heard.answers {
            if answer == Some(Answer::Yes) && was.member(slot) == home.member(slot) {
                have |= 1 << slot;
            }
        }
        let enough =
            Some(entry) <= self.floor || have.count_ones() as usize >= self.metadata.quorum.ack();
        if enough || mutants::on(Mutant::CopiesNotMade) {
            self.note_unsure(entry, have);
            return self.after(entry, out);
        }
        let mut waiting = 0;
        for slot in home.write_set(entry, self.metadata.quorum) {
            if have >> slot & 1 == 1 {
                continue;
            }
            waiting |= 1 << slot;
            out.push(RecoveryEffect::Add {
                slot,
                to: home.member(slot),
                entry,
                lac: if mutants::on(Mutant::CopiesMoveLac) { Some(entry) } else { self.floor },
                crc,
                payload: payload.clone(),
            });
        }
        let copying = Copying { entry, payload, crc, have, waiting, failed: 0, asked: false };
        self.phase = Phase::Copying(copying);
    }

    /// No ack quorum can have it.
    fn on_absent(&mut self, entry: EntryId, all_answered: bool, out: &mut Vec<RecoveryEffect>) {
        match self.close {
            CloseAt::End => self.finish(entry.before(), out),
            // A copy on a bookie still to answer would do; only when none is left is it gone.
            CloseAt::Entry(_) if mutants::on(Mutant::ClosesBelowCommit) => {
                self.finish(entry.before(), out);
            }
            CloseAt::Entry(_) if !all_answered && !mutants::on(Mutant::MissingTooSoon) => {}
            CloseAt::Entry(_) => self.fail(RecoveryFailure::Missing { entry }, out),
        }
    }

    fn after(&mut self, entry: EntryId, out: &mut Vec<RecoveryEffect>) {
        match self.close {
            CloseAt::Entry(last) if last == Some(entry) => self.finish(last, out),
            _ => self.read(entry.next(), out),
        }
    }

    fn finish(&mut self, last: Option<EntryId>, out: &mut Vec<RecoveryEffect>) {
        if self.close == CloseAt::End {
            assert!(last >= self.floor, "{} would lose acknowledged entries", self.ledger);
        }
        self.phase = Phase::Done;
        let moved = std::mem::take(&mut self.moved);
        let members = self.metadata.last_fragment().1.members();
        let unseen = (0..members.len()).filter(|slot| self.whole >> slot & 1 == 0);
        let mut unseen: BTreeSet<BookieId> = unseen.map(|slot| members[slot].bookie).collect();
        unseen.append(&mut self.unsure);
        out.push(RecoveryEffect::Close { last, moved, unseen });
    }

    fn fail(&mut self, failure: RecoveryFailure, out: &mut Vec<RecoveryEffect>) {
        self.phase = Phase::Done;
        out.push(RecoveryEffect::Fail(failure));
    }
}

/// Refusals after which trying other bookies is pointless.
fn fatal(refusal: &Refusal) -> Option<RecoveryFailure> {
    match refusal {
        Refusal::StaleTerm { held } => Some(RecoveryFailure::Superseded { held: *held }),
        Refusal::Deleted => Some(RecoveryFailure::Deleted),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::LedgerKind;
    use crate::ledger::metadata::tests::{members, three};
    use crate::ledger::metadata::{LedgerMetadata, Proposal};
    use crate::message::{Unknown, entry_crc};

    const LEDGER: LedgerId = LedgerId(1);

    fn start(open: &LedgerMetadata, close: CloseAt) -> Recovery {
        let taken = open.start_recovery(Term(2), Proposal::default()).unwrap();
        let mut out = Vec::new();
        let core = Recovery::start(LEDGER, taken, close, &mut out);
        assert_eq!(out.len(), 3, "every bookie is fenced");
        core
    }

    fn fenced(core: &mut Recovery, slot: usize, lac: Option<u64>) -> Vec<RecoveryEffect> {
        let mut out = Vec::new();
        let lac = lac.map(EntryId);
        core.on_fence(slot, Reply::Fenced { lac, last: None }, &mut out);
        out
    }

    fn entry(n: u64) -> ReadAnswer {
        let payload = Bytes::from(n.to_string());
        let crc = entry_crc(LEDGER, EntryId(n), &payload);
        ReadAnswer::Entry { payload, crc }
    }

    fn read(core: &mut Recovery, slot: usize, n: u64, answer: ReadAnswer) -> Vec<RecoveryEffect> {
        let mut out = Vec::new();
        core.on_read(slot, EntryId(n), answer, &mut out);
        out
    }

    fn reads(effects: &[RecoveryEffect]) -> Vec<u64> {
        let entry = |effect: &RecoveryEffect| match effect {
            RecoveryEffect::Read { entry, .. } => Some(entry.0),
            _ => None,
        };
        effects.iter().filter_map(entry).collect()
    }

    #[test]
    fn one_fenced_bookie_of_three_is_not_enough() {
        let mut core = start(&three(), CloseAt::End);
        assert_eq!(fenced(&mut core, 0, None), []);
        assert_eq!(reads(&fenced(&mut core, 2, None)), [0, 0, 0]);

        let mut core = start(&three(), CloseAt::End);
        let mut out = Vec::new();
        fenced(&mut core, 0, None);
        for slot in 1..3 {
            core.on_fence(slot, Reply::Unknown(Unknown::Closing), &mut out);
        }
        assert!(matches!(out[..], [RecoveryEffect::Fail(RecoveryFailure::NotFenced { .. })]));
    }

    #[test]
    fn reading_begins_behind_what_is_acknowledged_for_certain() {
        let mut core = start(&three(), CloseAt::End);
        fenced(&mut core, 0, Some(4));
        assert_eq!(reads(&fenced(&mut core, 1, None)), [5, 5, 5]);

        // A new, empty fragment proves everything before it, whatever its bookies know (Apache
        // BookKeeper issue 2615: recovery went back into old fragments).
        let changed =
            three().change_ensemble(Term(1), EntryId(7), members(&[1, 4, 5]), Proposal::default());
        let mut core = start(&changed.unwrap(), CloseAt::End);
        fenced(&mut core, 1, None);
        assert_eq!(reads(&fenced(&mut core, 2, None)), [7, 7, 7]);
        read(&mut core, 1, 7, ReadAnswer::NoEntry);
        let unseen = BTreeSet::from([BookieId(1)]);
        let (last, moved) = (Some(EntryId(6)), BTreeMap::new());
        let close = RecoveryEffect::Close { last, moved, unseen };
        assert_eq!(read(&mut core, 2, 7, ReadAnswer::NoEntry), [close]);
    }

    #[test]
    fn one_copy_is_written_again_with_the_lac_frozen() {
        let mut core = start(&three(), CloseAt::End);
        fenced(&mut core, 0, Some(4));
        fenced(&mut core, 1, Some(3));
        assert_eq!(read(&mut core, 0, 5, ReadAnswer::NoEntry), []);
        let copies = read(&mut core, 2, 5, entry(5));
        let to: Vec<_> = copies
            .iter()
            .map(|effect| match effect {
                RecoveryEffect::Add { slot, entry: EntryId(5), lac, .. } => (*slot, lac.unwrap().0),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(to, [(0, 4), (1, 4)]);
        let mut out = Vec::new();
        core.on_add(0, EntryId(5), AddAnswer::Unknown(Unknown::Closing), &mut out);
        assert_eq!(out, []);
        core.on_add(1, EntryId(5), AddAnswer::Done, &mut out);
        assert_eq!(reads(&out), [6, 6, 6]);
    }

    /// Two copies, both must acknowledge, one bookie is gone for good: without another in its place the
    /// ledger could never be closed.
    #[test]
    fn a_bookie_that_takes_no_copy_is_replaced_with_the_close() {
        let quorum = crate::ledger::Quorum::new(2, 2, 2).unwrap();
        let p = Proposal::default();
        let open = LedgerMetadata::open(LedgerKind::Plain, quorum, members(&[1, 2]), Term(1), p);
        let taken = open.start_recovery(Term(2), Proposal::default()).unwrap();
        let mut out = Vec::new();
        let mut core = Recovery::start(LEDGER, taken.clone(), CloseAt::End, &mut out);
        assert_eq!(reads(&fenced(&mut core, 0, None)), [0, 0]);
        let copies = read(&mut core, 0, 0, entry(0));
        assert!(matches!(copies[..], [RecoveryEffect::Add { slot: 1, .. }]));
        let mut out = Vec::new();
        core.on_add(1, EntryId(0), AddAnswer::Unknown(Unknown::Closing), &mut out);
        let ensemble = members(&[1, 2]);
        let replace = RecoveryEffect::Replace { entry: EntryId(0), failed: vec![1], ensemble };
        assert_eq!(out, [replace]);

        let mut nobody = core.clone();
        let mut out = Vec::new();
        nobody.on_replaced(None, &mut out);
        assert!(matches!(out[..], [RecoveryEffect::Fail(RecoveryFailure::NotCopied { .. })]));

        let mut out = Vec::new();
        core.on_replaced(Some((members(&[1, 3]), vec![1])), &mut out);
        assert!(matches!(out[..], [RecoveryEffect::Add { slot: 1, to, .. }] if to.bookie.0 == 3));
        out.clear();
        core.on_add(1, EntryId(0), AddAnswer::Done, &mut out);
        assert_eq!(reads(&out), [1, 1], "the next is read from those that were there");
        let copies = read(&mut core, 0, 1, entry(1));
        assert!(
            matches!(copies[..], [RecoveryEffect::Add { slot: 1, to, .. }] if to.bookie.0 == 3)
        );
        let mut out = Vec::new();
        core.on_add(1, EntryId(1), AddAnswer::Done, &mut out);
        let end = read(&mut core, 0, 2, ReadAnswer::NoEntry);
        let moved = BTreeMap::from([(EntryId(0), members(&[1, 3]))]);
        let last = Some(EntryId(1));
        let unseen = BTreeSet::from([BookieId(2)]);
        let close = RecoveryEffect::Close { last, moved: moved.clone(), unseen: unseen.clone() };
        assert_eq!(end, [close]);
        let p = Proposal::default();
        let closed = taken.close_recovered(Term(2), last, moved, &unseen, p).unwrap();
        assert_eq!(closed.lacking, BTreeSet::new(), "bookie 2 is in no fragment any more");
        assert_eq!(closed.fragments, BTreeMap::from([(EntryId(0), members(&[1, 3]))]));
    }

    #[test]
    fn an_undecided_entry_gives_up() {
        let mut core = start(&three(), CloseAt::End);
        fenced(&mut core, 0, None);
        fenced(&mut core, 1, None);
        let late = || ReadAnswer::Unknown(Doubt::Bookie(Unknown::Closing));
        assert_eq!(read(&mut core, 0, 0, ReadAnswer::NoEntry), []);
        assert_eq!(read(&mut core, 1, 0, late()), []);
        let out = read(&mut core, 2, 0, late());
        assert!(matches!(out[..], [RecoveryEffect::Fail(RecoveryFailure::Undecided { .. })]));
    }

    #[test]
    fn a_commit_given_waits_for_the_last_copy_before_calling_it_gone() {
        let owner = LedgerKind::Transactional { owner: "t".to_owned() };
        let open = LedgerMetadata { kind: owner, ..three() };
        let close = CloseAt::Entry(Some(EntryId(0)));
        let mut core = start(&open, close);
        fenced(&mut core, 0, None);
        fenced(&mut core, 1, None);
        read(&mut core, 0, 0, ReadAnswer::NoEntry);
        assert_eq!(read(&mut core, 1, 0, ReadAnswer::NoEntry), []);
        assert_eq!(read(&mut core, 2, 0, entry(0)).len(), 2, "copied to the two that lack it");

        let mut core = start(&open, close);
        fenced(&mut core, 0, None);
        let out = fenced(&mut core, 1, Some(3));
        let visible = RecoveryFailure::BelowVisible { visible: EntryId(3) };
        assert_eq!(out, [RecoveryEffect::Fail(visible)]);
    }

    /// What readers were told of was acknowledged, and may be gone all the same: that is said now, not
    /// when somebody reads it.
    #[test]
    fn a_commit_that_readers_know_of_is_verified_all_the_same() {
        let owner = LedgerKind::Transactional { owner: "t".to_owned() };
        let open = LedgerMetadata { kind: owner, ..three() };
        let mut core = start(&open, CloseAt::Entry(Some(EntryId(1))));
        fenced(&mut core, 0, Some(1));
        assert_eq!(reads(&fenced(&mut core, 1, Some(1))), [0, 0, 0]);
        for slot in 0..2 {
            assert_eq!(read(&mut core, slot, 0, ReadAnswer::NoEntry), []);
        }
        let out = read(&mut core, 2, 0, ReadAnswer::NoEntry);
        assert_eq!(out, [RecoveryEffect::Fail(RecoveryFailure::Missing { entry: EntryId(0) })]);
    }

    #[test]
    fn a_newer_recoverer_ends_this_one() {
        let mut core = start(&three(), CloseAt::End);
        let mut out = Vec::new();
        core.on_fence(0, Reply::Refused(Refusal::StaleTerm { held: Term(9) }), &mut out);
        let superseded = RecoveryFailure::Superseded { held: Term(9) };
        assert_eq!(out, [RecoveryEffect::Fail(superseded)]);
        assert_eq!(fenced(&mut core, 1, None), []);
    }
    fn committed(last: u64, lac: Option<u64>) -> (Recovery, Vec<RecoveryEffect>) {
        let owner = LedgerKind::Transactional { owner: "t".to_owned() };
        let open = LedgerMetadata { kind: owner, ..three() };
        let mut core = start(&open, CloseAt::Entry(Some(EntryId(last))));
        fenced(&mut core, 0, lac);
        let out = fenced(&mut core, 1, lac);
        (core, out)
    }

    #[test]
    fn committed_entries_are_read_ahead_once_one_was_seen_and_none_beyond_the_commit() {
        let (mut core, first) = committed(4, Some(4));
        assert_eq!(reads(&first), [0, 0, 0], "nothing is known of their size");
        assert_eq!(reads(&read(&mut core, 0, 0, entry(0))), [1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4]);
        for n in [4, 2, 3] {
            assert_eq!(read(&mut core, 1, n, entry(n)), [], "not its turn");
        }
        let end = read(&mut core, 2, 1, entry(1));
        let [RecoveryEffect::Close { last, unseen, .. }] = &end[..] else { panic!("{end:?}") };
        assert_eq!((*last, unseen.len()), (Some(EntryId(4)), 3));
        assert_eq!(read(&mut core, 0, 3, entry(3)), [], "too late to matter");
    }

    #[test]
    fn what_was_read_ahead_is_copied_only_when_its_turn_comes() {
        let (mut core, _) = committed(2, None);
        let copies = read(&mut core, 0, 0, entry(0));
        assert_eq!(copies.len(), 2, "it is not known to be acknowledged: {copies:?}");
        let mut out = Vec::new();
        core.on_add(1, EntryId(0), AddAnswer::Done, &mut out);
        assert_eq!(reads(&out), [1, 1, 1, 2, 2, 2]);
        assert_eq!(read(&mut core, 0, 2, ReadAnswer::NoEntry), []);
        assert_eq!(read(&mut core, 2, 2, entry(2)), []);
        read(&mut core, 1, 1, entry(1));
        assert_eq!(read(&mut core, 1, 2, entry(2)), [], "while another is copied");
        out.clear();
        core.on_add(2, EntryId(1), AddAnswer::Done, &mut out);
        assert!(
            matches!(&out[..], [RecoveryEffect::Close { last: Some(EntryId(2)), .. }]),
            "{out:?}"
        );
    }

    #[test]
    fn an_absence_found_ahead_is_judged_in_its_turn_and_a_newer_owner_at_once() {
        let (mut core, _) = committed(2, Some(2));
        read(&mut core, 0, 0, entry(0));
        for slot in 0..3 {
            assert_eq!(read(&mut core, slot, 2, ReadAnswer::NoEntry), []);
        }
        let mut shut_out = core.clone();
        let missing = RecoveryFailure::Missing { entry: EntryId(2) };
        assert_eq!(read(&mut core, 0, 1, entry(1)), [RecoveryEffect::Fail(missing)]);
        let stale = ReadAnswer::Unknown(Doubt::Refused(Refusal::StaleTerm { held: Term(9) }));
        let newer = RecoveryFailure::Superseded { held: Term(9) };
        assert_eq!(read(&mut shut_out, 0, 2, stale), [RecoveryEffect::Fail(newer)]);
    }
}
