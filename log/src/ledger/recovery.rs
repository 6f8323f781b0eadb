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
//!
//! Whoever only [sees to the copies](Recovery::leave_open) of a ledger finds its end all the same, and
//! leaves it open: where it is closed is its owner's to say.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use egret_schemas::{BookieId, EntryId, LedgerId, Term};

use super::ahead::{Ahead, Heard};
use super::coverage::{Answer, covered};
use super::effect::RecoveryEffect;
use super::ensemble::Ensemble;
use super::metadata::{Found, LedgerMetadata, LedgerState};
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
        "entry {entry} was committed and is gone: a disk lost it; put that disk back as it was lost, not an older copy of it"
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
    /// Copies tell nobody what may be read: of a transactional ledger more is acknowledged than that.
    tells_nobody: bool,
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
        assert!(
            close != CloseAt::End || !metadata.kind.is_transactional(),
            "only its owner ends a transactional ledger, at a committed entry"
        );
        Recovery::begin(ledger, metadata, close, out)
    }

    /// Starts to find the last entry that may have been acknowledged, and to copy what too few bookies
    /// have, of a ledger of any kind. What its [`RecoveryEffect::Close`] says is where the owner may
    /// close it at the highest: [`LedgerMetadata::settle`] keeps it open.
    ///
    /// # Panics
    /// When the metadata was not taken into recovery at the recoverer's term.
    pub fn leave_open(
        ledger: LedgerId,
        metadata: LedgerMetadata,
        out: &mut Vec<RecoveryEffect>,
    ) -> Recovery {
        let tells_nobody = metadata.kind.is_transactional();
        let begun = Recovery::begin(ledger, metadata, CloseAt::End, out);
        Recovery { tells_nobody, ..begun }
    }

    fn begin(
        ledger: LedgerId,
        metadata: LedgerMetadata,
        close: CloseAt,
        out: &mut Vec<RecoveryEffect>,
    ) -> Recovery {
        assert_eq!(metadata.state, LedgerState::InRecovery, "the compare-and-set comes first");
        let ensemble = metadata.last_fragment().1;
        for (slot, &to) in ensemble.members().iter().enumerate() {
            out.push(RecoveryEffect::Fence { slot, to });
        }
        let phase = Phase::Fencing { answers: vec![None; ensemble.members().len()], lac: None };
        Recovery {
            ledger,
            metadata,
            close,
            tells_nobody: false,
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
        let entry = copying.entry;
        let set: Vec<usize> = ensemble.write_set(entry, self.metadata.quorum).collect();
        let lac = lac_with(entry, self.floor, self.tells_nobody);
        for slot in set.into_iter().filter(|slot| renewed.contains(slot)) {
            copying.waiting |= 1 << slot;
            out.push(RecoveryEffect::Add {
                slot,
                to: ensemble.member(slot),
                entry,
                lac,
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
                lac: lac_with(entry, self.floor, self.tells_nobody),
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
        out.push(RecoveryEffect::Close(Found::new(&self.metadata, last, moved, unseen)));
    }

    fn fail(&mut self, failure: RecoveryFailure, out: &mut Vec<RecoveryEffect>) {
        self.phase = Phase::Done;
        out.push(RecoveryEffect::Fail(failure));
    }
}

/// What a copy of an entry tells of what may be read.
fn lac_with(entry: EntryId, floor: Option<EntryId>, tells_nobody: bool) -> Option<EntryId> {
    if mutants::on(Mutant::CopiesMoveLac) {
        return Some(entry);
    }
    floor.filter(|_| !tells_nobody)
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
mod tests;
