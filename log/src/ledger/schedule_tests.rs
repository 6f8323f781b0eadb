//! The cores against five bookies under random schedules, three of them at a time: messages late,
//! lost and out of order, bookies silent for a while, ensembles changed under
//! the writer, a writer that dies or goes on unaware, two recoverers at once.
//!
//! A failing seed prints itself; `one(seed, ..)` replays it.

use std::collections::BTreeMap;

use bytes::Bytes;
use egret_schemas::{BookieId, EntryId, Incarnation, LedgerId, Term};

use super::ensemble::{Ensemble, Member};
use super::metadata::tests::{members, three};
use super::reader::ReadAnswer;
use super::recovery::{CloseAt, Recovery};
use super::writer::{AddAnswer, Writer, WriterFailure};
use super::{
    Found, LedgerKind, LedgerMetadata, LedgerState, Proposal, RecoveryEffect, TransitionError,
    WriterEffect,
};
use crate::message::{Refusal, Reply, Unknown, entry_crc};

const LEDGER: LedgerId = LedgerId(1);

/// A small generator (splitmix64), so a seed is a whole schedule.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ z >> 31) % sides
    }

    fn pick(&mut self, among: usize) -> usize {
        usize::try_from(self.roll(among as u64)).unwrap()
    }
}

/// A bookie that keeps every rule: durable fence before any reply, three-valued answers.
#[derive(Default)]
struct Bookie {
    term: Term,
    entries: BTreeMap<EntryId, Bytes>,
    lac: Option<EntryId>,
    silent: bool,
    /// A rule broken on purpose, by the control: recovery reads do not fence.
    reads_do_not_fence: bool,
}

impl Bookie {
    fn fence(&mut self, term: Term) -> Result<(), Reply> {
        if term < self.term {
            return Err(Reply::Refused(Refusal::StaleTerm { held: self.term }));
        }
        self.term = term;
        Ok(())
    }

    fn add(
        &mut self,
        term: Term,
        entry: EntryId,
        lac: Option<EntryId>,
        payload: Bytes,
    ) -> AddAnswer {
        if let Err(Reply::Refused(refusal)) = self.fence(term) {
            return AddAnswer::Refused(refusal);
        }
        if let Some(held) = self.entries.get(&entry) {
            assert_eq!(held, &payload, "entry {entry} has two contents");
        }
        self.entries.insert(entry, payload);
        self.lac = self.lac.max(lac);
        AddAnswer::Done
    }

    fn read(&mut self, term: Term, entry: EntryId) -> Reply {
        if !self.reads_do_not_fence
            && let Err(refused) = self.fence(term)
        {
            return refused;
        }
        let lac = self.lac;
        match self.entries.get(&entry) {
            None => Reply::NoEntry { lac },
            Some(payload) => {
                let crc = entry_crc(LEDGER, entry, payload);
                Reply::Entry { entry, term, crc, lac, payload: payload.clone() }
            }
        }
    }
}

/// Who an answer goes to: the writer, or one of the recoverers.
#[derive(Clone, Copy, PartialEq)]
enum Who {
    Writer,
    Recoverer(usize),
}

/// A slot of an ensemble: who is in it, and since when as the writer counts.
#[derive(Clone, Copy)]
struct Place {
    slot: usize,
    at: usize,
    era: u32,
}

fn place(slot: usize, to: Member, era: u32) -> Place {
    Place { slot, at: usize::try_from(to.bookie.0).unwrap() - 1, era }
}

enum Message {
    Add {
        who: Who,
        to: Place,
        term: Term,
        entry: EntryId,
        lac: Option<EntryId>,
        payload: Bytes,
    },
    Added {
        who: Who,
        to: Place,
        entry: EntryId,
        answer: AddAnswer,
    },
    Fence {
        who: usize,
        to: Place,
        term: Term,
    },
    Fenced {
        who: usize,
        slot: usize,
        reply: Reply,
    },
    Read {
        who: usize,
        to: Place,
        term: Term,
        entry: EntryId,
    },
    Answered {
        who: usize,
        slot: usize,
        entry: EntryId,
        reply: Reply,
    },
    /// To the metadata store: the writer wants other bookies.
    Change {
        first: EntryId,
        failed: Vec<usize>,
    },
    /// And its answer.
    Changed(Result<(LedgerMetadata, Vec<usize>), Option<TransitionError>>),
}

impl Message {
    /// Which recoverer asked, or is told.
    fn recoverer(&self) -> Option<usize> {
        match *self {
            Message::Add { who: Who::Recoverer(who), .. }
            | Message::Added { who: Who::Recoverer(who), .. }
            | Message::Fence { who, .. }
            | Message::Fenced { who, .. }
            | Message::Read { who, .. }
            | Message::Answered { who, .. } => Some(who),
            _ => None,
        }
    }
}

/// Of the recoverers the one that sees to copies, at whatever term it finds, and closes nothing.
const MENDER: usize = 2;

struct Recoverer {
    term: Term,
    core: Option<Recovery>,
    done: bool,
}

struct World {
    dice: Dice,
    loss_percent: u64,
    close: CloseAt,
    metadata: LedgerMetadata,
    bookies: [Bookie; 5],
    changes: u64,
    /// Whether there are other bookies than the first three.
    spares: bool,
    messages: Vec<Message>,
    writer: Option<Writer>,
    acked: Option<EntryId>,
    recoverers: Vec<Recoverer>,
    /// How often the mender gave the ledger other bookies.
    settled: u64,
}

fn payload(entry: EntryId) -> Bytes {
    Bytes::from(format!("entry {entry}"))
}

fn lost() -> Unknown {
    Unknown::Deadline { ms: 1 }
}

impl World {
    fn new(seed: u64, loss_percent: u64, kind: LedgerKind) -> World {
        let metadata = LedgerMetadata { kind, ..three() };
        let recoverer = |n| Recoverer { term: Term(n), core: None, done: false };
        World {
            dice: Dice(seed),
            loss_percent,
            close: CloseAt::End,
            writer: Some(Writer::new(LEDGER, &metadata)),
            metadata,
            bookies: Default::default(),
            changes: 0,
            spares: !seed.is_multiple_of(3),
            messages: Vec::new(),
            acked: None,
            recoverers: vec![recoverer(2), recoverer(3), recoverer(2)],
            settled: 0,
        }
    }

    /// Puts a request under way; a lost one times out at its sender.
    fn request(&mut self, message: Message) {
        let lose = self.dice.roll(100) < self.loss_percent;
        self.messages.push(if lose { Self::unanswered(message) } else { message });
    }

    fn unanswered(message: Message) -> Message {
        match message {
            Message::Add { who, to, entry, .. } => {
                Message::Added { who, to, entry, answer: AddAnswer::Unknown(lost()) }
            }
            Message::Fence { who, to, .. } => {
                Message::Fenced { who, slot: to.slot, reply: Reply::Unknown(lost()) }
            }
            Message::Read { who, to, entry, .. } => {
                let slot = to.slot;
                Message::Answered { who, slot, entry, reply: Reply::Unknown(lost()) }
            }
            answer => answer,
        }
    }

    fn append(&mut self) {
        let Some(writer) = &mut self.writer else { return };
        let entry = EntryId::after(writer.last_appended());
        let mut out = Vec::new();
        let _ = writer.append(payload(entry), &mut out);
        self.carry_writer(out);
    }

    fn carry_writer(&mut self, effects: Vec<WriterEffect>) {
        for effect in effects {
            match effect {
                WriterEffect::Send { slot, to, era, entry, lac, payload } => {
                    let (who, to, term) = (Who::Writer, place(slot, to, era), Term(1));
                    self.request(Message::Add { who, to, term, entry, lac, payload });
                }
                WriterEffect::ChangeEnsemble { first, failed } => {
                    self.messages.push(Message::Change { first, failed });
                }
                WriterEffect::Confirm { entry } => {
                    assert_eq!(entry, EntryId::after(self.acked), "in order");
                    self.acked = Some(entry);
                }
                WriterEffect::Publish { .. } | WriterEffect::Fail { .. } => {}
            }
        }
    }

    /// Others in the slots, for some of them at least; `None` for nobody.
    fn replace(&mut self, ensemble: &Ensemble, failed: &[usize]) -> Option<(Ensemble, Vec<usize>)> {
        let mut members = ensemble.members().to_vec();
        let mut renewed = Vec::new();
        for &slot in failed {
            let free: Vec<u64> =
                (1..=5).filter(|n| members.iter().all(|m| m.bookie != BookieId(*n))).collect();
            if self.spares && !free.is_empty() && self.dice.roll(4) > 0 {
                let n = free[self.dice.pick(free.len())];
                members[slot] =
                    Member { bookie: BookieId(n), incarnation: Incarnation(u128::from(n)) };
                renewed.push(slot);
            }
        }
        (!renewed.is_empty()).then(|| (Ensemble::new(members), renewed))
    }

    /// What a driver and the metadata store do: fill the slots from whoever is not in the ensemble,
    /// sometimes not all of them, and compare-and-set.
    fn change(&mut self, first: EntryId, failed: &[usize]) -> Message {
        let ensemble = self.metadata.last_fragment().1.clone();
        let Some((ensemble, renewed)) = self.replace(&ensemble, failed) else {
            return Message::Changed(Err(None));
        };
        let next = self.metadata.change_ensemble(Term(1), first, ensemble, Proposal::default());
        Message::Changed(match next {
            Ok(next) => {
                self.changes += 1;
                self.metadata = next.clone();
                Ok((next, renewed))
            }
            Err(why) => Err(Some(why)),
        })
    }

    fn changed(&mut self, result: Result<(LedgerMetadata, Vec<usize>), Option<TransitionError>>) {
        let Some(writer) = &mut self.writer else { return };
        let mut out = Vec::new();
        match result {
            _ if writer.failure().is_some() => {}
            Ok((committed, renewed)) => writer.on_ensemble(&committed, &renewed, &mut out),
            Err(None) => writer.on_no_replacement(&mut out),
            Err(Some(_)) => {
                let held = self.metadata.term;
                writer.on_not_changed(WriterFailure::Fenced { held }, &mut out);
            }
        }
        self.carry_writer(out);
    }

    /// Takes the metadata into recovery, or finds that nothing is left to do.
    fn start_recovery(&mut self, who: usize) {
        let recoverer = &mut self.recoverers[who];
        if recoverer.done {
            return;
        }
        // Whoever begins anew hears nothing that was meant for the attempt before.
        self.messages.retain(|message| message.recoverer() != Some(who));
        if who == MENDER {
            let raised = u64::from(self.metadata.state == LedgerState::Open);
            recoverer.term = Term(self.metadata.term.0 + raised);
        }
        let proposal = Proposal { process: 1, operation: who as u64 };
        match self.metadata.start_recovery(recoverer.term, proposal) {
            Ok(next) => {
                self.metadata = next.clone();
                let mut out = Vec::new();
                recoverer.core = Some(match who {
                    MENDER => Recovery::leave_open(LEDGER, next, &mut out),
                    _ => Recovery::start(LEDGER, next, self.close, &mut out),
                });
                self.carry_recovery(who, out);
            }
            Err(TransitionError::Closed { .. } | TransitionError::StaleTerm { .. }) => {
                recoverer.done = true;
            }
            Err(other) => panic!("{other}"),
        }
    }

    fn carry_recovery(&mut self, who: usize, effects: Vec<RecoveryEffect>) {
        let term = self.recoverers[who].term;
        for effect in effects {
            match effect {
                RecoveryEffect::Fence { slot, to } => {
                    self.request(Message::Fence { who, to: place(slot, to, 0), term });
                }
                RecoveryEffect::Read { slot, to, entry } => {
                    self.request(Message::Read { who, to: place(slot, to, 0), term, entry });
                }
                RecoveryEffect::Add { slot, to, entry, lac, payload, .. } => {
                    let (who, to) = (Who::Recoverer(who), place(slot, to, 0));
                    self.request(Message::Add { who, to, term, entry, lac, payload });
                }
                RecoveryEffect::Replace { failed, ensemble, .. } => {
                    let found = self.replace(&ensemble, &failed);
                    self.with_recovery(who, |core, out| core.on_replaced(found, out));
                }
                RecoveryEffect::Close(found) if who == MENDER => self.mended(&found),
                RecoveryEffect::Close(found) => {
                    self.recoverers[who].done = true;
                    self.changes += found.moved.len() as u64;
                    match self.metadata.close_recovered(&found, Proposal::default()) {
                        Ok(next) => self.metadata = next,
                        // A recoverer at a higher term was first: its compare-and-set decided.
                        Err(_) if self.metadata.term > term => {}
                        // Once more, with what the mender found.
                        Err(TransitionError::Settled) => {
                            self.recoverers[who] = Recoverer { term, core: None, done: false };
                        }
                        Err(other) => panic!("divergence: {other}"),
                    }
                }
                RecoveryEffect::Fail(super::recovery::RecoveryFailure::Superseded { .. }) => {
                    self.recoverers[who].done = true;
                }
                RecoveryEffect::Fail(failure) => {
                    assert!(
                        !matches!(failure, super::recovery::RecoveryFailure::Missing { .. }),
                        "{failure}"
                    );
                    self.recoverers[who].core = None;
                }
            }
        }
    }

    /// The mender found the end: the ledger goes on behind it with others in one slot.
    fn mended(&mut self, found: &Found) {
        self.recoverers[MENDER].core = None;
        let slot = self.dice.pick(self.metadata.quorum.ensemble());
        let last = found.moved.values().next_back();
        let ensemble = last.unwrap_or(self.metadata.last_fragment().1).clone();
        let Some((next, _)) = self.replace(&ensemble, &[slot]) else { return };
        match self.metadata.settle(found, next, Proposal::default()) {
            Ok(next) => {
                self.settled += 1;
                self.metadata = next;
            }
            Err(TransitionError::Closed { .. } | TransitionError::StaleTerm { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }

    fn deliver(&mut self) {
        if self.messages.is_empty() {
            return;
        }
        let which = self.dice.pick(self.messages.len());
        let message = self.messages.swap_remove(which);
        let lose = self.dice.roll(100) < self.loss_percent;
        let silent = |b: &Bookie| b.silent;
        match message {
            Message::Add { to, .. } | Message::Fence { to, .. } | Message::Read { to, .. }
                if silent(&self.bookies[to.at]) =>
            {
                self.messages.push(Self::unanswered(message));
            }
            Message::Add { who, to, term, entry, lac, payload } => {
                let answer = self.bookies[to.at].add(term, entry, lac, payload);
                let answer = if lose { AddAnswer::Unknown(lost()) } else { answer };
                self.messages.push(Message::Added { who, to, entry, answer });
            }
            Message::Fence { who, to, term } => {
                let bookie = &mut self.bookies[to.at];
                let reply = match bookie.fence(term) {
                    Ok(()) => Reply::Fenced { lac: bookie.lac, last: None },
                    Err(refused) => refused,
                };
                let reply = if lose { Reply::Unknown(lost()) } else { reply };
                self.messages.push(Message::Fenced { who, slot: to.slot, reply });
            }
            Message::Read { who, to, term, entry } => {
                let reply = self.bookies[to.at].read(term, entry);
                let reply = if lose { Reply::Unknown(lost()) } else { reply };
                self.messages.push(Message::Answered { who, slot: to.slot, entry, reply });
            }
            Message::Added { who: Who::Writer, to, entry, answer } => {
                let mut out = Vec::new();
                if let Some(writer) = &mut self.writer {
                    writer.on_answer(to.slot, to.era, entry, answer, &mut out);
                }
                self.carry_writer(out);
            }
            Message::Added { who: Who::Recoverer(who), to, entry, answer } => {
                self.with_recovery(who, |core, out| core.on_add(to.slot, entry, answer, out));
            }
            Message::Fenced { who, slot, reply } => {
                self.with_recovery(who, |core, out| core.on_fence(slot, reply, out));
            }
            Message::Answered { who, slot, entry, reply } => {
                let answer = ReadAnswer::judge(LEDGER, entry, reply);
                self.with_recovery(who, |core, out| core.on_read(slot, entry, answer, out));
            }
            Message::Change { first, failed } => {
                let answer = self.change(first, &failed);
                self.messages.push(answer);
            }
            Message::Changed(result) => self.changed(result),
        }
    }

    fn with_recovery(
        &mut self,
        who: usize,
        act: impl FnOnce(&mut Recovery, &mut Vec<RecoveryEffect>),
    ) {
        let mut out = Vec::new();
        if let Some(core) = &mut self.recoverers[who].core {
            act(core, &mut out);
        }
        self.carry_recovery(who, out);
    }

    fn step(&mut self) {
        match self.dice.roll(100) {
            0..15 => self.append(),
            15..90 => self.deliver(),
            90..93 => {
                let at = self.dice.pick(5);
                let others_up = (0..5).all(|b| b == at || !self.bookies[b].silent);
                let bookie = &mut self.bookies[at];
                bookie.silent = !bookie.silent && others_up;
            }
            93 => self.writer = None,
            94..96 => {
                let who = self.dice.pick(3);
                if self.recoverers[who].core.is_none() && self.dice.roll(3) == 0 {
                    self.start_recovery(who);
                }
            }
            _ => {}
        }
    }

    /// Everything heals; whoever is left recovers to the end.
    fn settle(&mut self) {
        self.loss_percent = 0;
        for bookie in &mut self.bookies {
            bookie.silent = false;
        }
        for _ in 0..100 {
            while !self.messages.is_empty() {
                self.deliver();
            }
            if self.metadata.closed().is_some() {
                return;
            }
            let who = usize::from(self.metadata.term > Term(2) || self.recoverers[0].done);
            self.start_recovery(who);
        }
        panic!("recovery does not end: {:?}", self.metadata);
    }

    fn check(&self) {
        let LedgerState::Closed { last } = self.metadata.state else { panic!("not closed") };
        assert!(self.acked <= last, "acknowledged {:?}, closed at {last:?}", self.acked);
        for entry in (0..EntryId::after(last).0).map(EntryId) {
            let ensemble = self.metadata.fragment_of(entry).1.members().iter();
            let copies: Vec<_> = ensemble
                .filter_map(|&m| self.bookies[place(0, m, 0).at].entries.get(&entry))
                .collect();
            assert!(copies.len() >= 2, "{} copies of {entry}", copies.len());
            assert!(copies.iter().all(|c| **c == payload(entry)));
        }
        for bookie in &self.bookies {
            assert!(bookie.lac <= last, "a reader could have seen {:?}", bookie.lac);
        }
    }
}

fn run(seed: u64, reads_fence: bool) -> World {
    let mut world = World::new(seed, [0, 2, 10, 30][(seed % 4) as usize], LedgerKind::Plain);
    if seed % 5 == 1 && reads_fence {
        // A cluster short of bookies when the ledger began: both of two must acknowledge.
        let quorum = super::Quorum::new(2, 2, 2).unwrap();
        let (kind, p) = (LedgerKind::Plain, Proposal::default());
        world.metadata = LedgerMetadata::open(kind, quorum, members(&[1, 2]), Term(1), p);
        world.writer = Some(Writer::new(LEDGER, &world.metadata));
    }
    for bookie in &mut world.bookies {
        bookie.reads_do_not_fence = !reads_fence;
    }
    // With other bookies to go to, the story of the control becomes too rare to wait for.
    world.spares &= reads_fence;
    for _ in 0..150 {
        world.step();
    }
    world.settle();
    world.check();
    world
}

#[test]
fn acknowledged_entries_survive_and_closers_agree() {
    let (mut acked, mut changes, mut settled) = (0, 0, 0);
    for seed in 0..6000 {
        match std::panic::catch_unwind(|| run(seed, true)) {
            Ok(world) => {
                acked += world.acked.map_or(0, |last| last.0 + 1);
                changes += world.changes;
                settled += world.settled;
            }
            Err(panic) => {
                eprintln!("seed {seed}: replay with run({seed}, true)");
                std::panic::resume_unwind(panic);
            }
        }
    }
    assert!(acked > 12_000, "the schedules acknowledge something: {acked}");
    assert!(changes > 2_000, "and change ensembles: {changes}");
    assert!(settled > 300, "and give what comes next to others: {settled}");
}

/// The control: were recovery reads not to fence (Apache BookKeeper up to 4.13), these schedules
/// would lose acknowledged entries. If they do not find that, they find nothing.
#[test]
fn without_fencing_reads_the_schedules_find_the_loss() {
    let lost = (0..400_000).find(|&seed| std::panic::catch_unwind(|| run(seed, false)).is_err());
    assert!(lost.is_some());
}

/// The owner closes at a committed entry: everything up to it is there, whatever lies beyond.
#[test]
fn a_transactional_ledger_closes_exactly_at_the_commit() {
    let mut beyond = 0u64;
    for seed in 0..2000 {
        let owner = LedgerKind::Transactional { owner: "t".to_owned() };
        let mut world = World::new(seed, [0, 5][(seed % 2) as usize], owner);
        for _ in 0..60 {
            match world.dice.roll(3) {
                0 => world.append(),
                _ => world.deliver(),
            }
        }
        let committed = match world.acked {
            None => None,
            Some(acked) => EntryId(world.dice.roll(acked.0 + 2)).before(),
        };
        beyond += u64::from(world.acked > committed);
        world.close = CloseAt::Entry(committed);
        for _ in 0..60 {
            world.step();
        }
        world.settle();
        assert_eq!(world.metadata.closed(), Some(committed), "seed {seed}");
        for entry in (0..EntryId::after(committed).0).map(EntryId) {
            let copies = world.bookies.iter().filter(|b| b.entries.contains_key(&entry)).count();
            assert!(copies >= 2, "seed {seed}: {copies} copies of {entry}");
        }
    }
    assert!(beyond > 200, "some schedules have entries beyond the commit: {beyond}");
}

#[test]
fn a_committed_entry_that_is_gone_is_damage_never_a_lower_end() {
    let owner = LedgerKind::Transactional { owner: "t".to_owned() };
    let mut world = World::new(1, 0, owner);
    for _ in 0..3 {
        world.append();
    }
    while !world.messages.is_empty() {
        world.deliver();
    }
    for bookie in &mut world.bookies {
        bookie.entries.remove(&EntryId(1));
    }
    let next = world.metadata.start_recovery(Term(2), Proposal::default()).unwrap();
    let mut out = Vec::new();
    let close = CloseAt::Entry(Some(EntryId(2)));
    let mut core = Recovery::start(LEDGER, next, close, &mut out);
    let mut failure = None;
    while let Some(effect) = out.pop() {
        match effect {
            RecoveryEffect::Fence { slot, .. } => {
                core.on_fence(slot, Reply::Fenced { lac: None, last: None }, &mut out);
            }
            RecoveryEffect::Read { slot, entry, .. } => {
                let reply = world.bookies[slot].read(Term(2), entry);
                core.on_read(slot, entry, ReadAnswer::judge(LEDGER, entry, reply), &mut out);
            }
            RecoveryEffect::Add { slot, entry, payload, lac, .. } => {
                let answer = world.bookies[slot].add(Term(2), entry, lac, payload);
                core.on_add(slot, entry, answer, &mut out);
            }
            RecoveryEffect::Replace { .. } => core.on_replaced(None, &mut out),
            RecoveryEffect::Close(found) => panic!("closed at {:?}", found.last),
            RecoveryEffect::Fail(why) => failure = Some(why),
        }
    }
    let missing = super::recovery::RecoveryFailure::Missing { entry: EntryId(1) };
    assert_eq!(failure, Some(missing));
}
