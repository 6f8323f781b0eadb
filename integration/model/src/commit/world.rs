//! Processes that run the topology or take it over, and what they share.
//!
//! A world is a value: equal worlds have equal futures. A process that is shut out of everything it could still
//! write is dropped, so that worlds which differ in nothing else are one.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use egret_schemas::{EntryId, Generation, LedgerId};
use egret_state::commit::{
    Claimant, Fact, Graph, Guarantee, Opened, Recovery, RecoveryError, StateEnd, Step,
    TopologyRecord, Wanted,
};

use super::run::{Over, Run};
use super::scope::{Defect, Scope};
use super::store::{STREAM, Store, WORKERS, end_of, position, same_content};
use crate::explore::Explored;

/// Processes at once: one that runs, one that takes over.
const PROCESSES: usize = 2;

/// Steps in which a process that is left alone finishes.
const ALONE: usize = 400;

/// One thing that happens; numbers are of processes and of workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Action {
    /// A process starts.
    Start,
    /// Recovery does its next step and hears what became of it.
    Step(u8),
    /// The record is written, and the answer is lost.
    SaveUnheard(u8),
    /// The record is not written, and the answer is lost.
    SaveLost(u8),
    /// As `SaveLost`, and the request is still on its way.
    SaveLate(u8),
    /// A request that nobody waits for arrives.
    LateSave,
    /// The newest record cannot be read.
    Unreadable(u8),
    /// A spout emits.
    Emit(u8, u8),
    /// A spout leaves its epoch.
    Move(u8, u8),
    /// State reaches its ledger.
    LandState(u8, u8),
    /// Output reaches its partition.
    LandSink(u8, u8),
    /// Output is lost, and let go.
    Drop(u8, u8),
    /// A commit record reaches its ledger.
    LandRecord(u8),
    /// It does, and the answer is lost.
    LandUnheard(u8),
    /// It does not, and neither does an answer.
    LoseRecord(u8),
    /// The answer arrives.
    Hear(u8),
    /// A report of an earlier generation arrives.
    Late(u8),
    /// Ledgers that nobody needs are deleted.
    Trim(u8),
    /// A process dies.
    Crash(u8),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Takes(Box<(Recovery, Step)>),
    Runs(Box<Run>),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Process {
    /// The generation it claimed.
    claimed: Option<Generation>,
    phase: Phase,
}

/// Faults that may still happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Left {
    starts: u8,
    crashes: u8,
    unheard: u8,
    drops: u8,
    late: u8,
    unreadable: u8,
    zombie_steps: u8,
}

/// A change of the record that nobody waits for any more.
type LateSave = (Box<TopologyRecord>, Option<u64>);

/// Everything there is; see the [module](self).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    store: Store,
    processes: BTreeMap<u8, Process>,
    started: u8,
    late_save: Option<LateSave>,
    left: Left,
    /// A generation has finished.
    finished: bool,
    fault: Option<String>,
}

fn wanted(process: u8) -> Wanted {
    let graph = ["in", "count", "out"].map(|name| (name.to_owned(), 1));
    let partition = |number| ((STREAM.to_owned(), number), "out".to_owned());
    Wanted {
        claimant: Claimant { process: u128::from(process), operation: 0 },
        graph: Graph { components: graph.into() },
        guarantee: Guarantee::EffectivelyOnce,
        key_groups: 2,
        state_ledgers: 2,
        partitions: [partition(0), partition(1)].into(),
        restore: None,
        fork: None,
    }
}

impl World {
    fn start(&mut self) {
        let (recovery, step) = Recovery::start(wanted(self.started));
        let phase = Phase::Takes(Box::new((recovery, step)));
        self.processes.insert(self.started, Process { claimed: None, phase });
        self.started += 1;
    }

    /// The generation that was claimed last.
    fn generation(&self) -> Generation {
        self.store.topology.as_ref().map_or(Generation(0), |(record, _)| record.generation)
    }

    /// Whether another process has taken over from this one.
    fn is_zombie(&self, process: &Process) -> bool {
        process.claimed.is_some_and(|claimed| claimed < self.generation())
    }

    fn may(&self, id: u8, process: &Process, actions: &mut Vec<Action>) {
        if self.left.crashes > 0 {
            actions.push(Action::Crash(id));
        }
        let run = match &process.phase {
            Phase::Takes(taking) => {
                actions.push(Action::Step(id));
                match taking.1 {
                    Step::Save { .. } if self.left.unheard > 0 => {
                        actions.extend([Action::SaveUnheard(id), Action::SaveLost(id)]);
                        if self.late_save.is_none() {
                            actions.push(Action::SaveLate(id));
                        }
                    }
                    Step::ReadRecord { .. } if self.left.unreadable > 0 => {
                        actions.push(Action::Unreadable(id));
                    }
                    _ => {}
                }
                return;
            }
            Phase::Runs(run) => run,
        };
        for (number, worker) in (0..).zip(0..WORKERS) {
            let may = [
                (run.may_emit(worker), Action::Emit(id, number)),
                (run.may_move(worker), Action::Move(id, number)),
                (run.may_land_state(worker), Action::LandState(id, number)),
                (run.may_land_sink(worker), Action::LandSink(id, number)),
                (self.left.drops > 0 && run.may_land_sink(worker), Action::Drop(id, number)),
            ];
            actions.extend(may.into_iter().filter(|(may, _)| *may).map(|(_, action)| action));
        }
        if run.in_flight().is_some() {
            actions.push(Action::LandRecord(id));
            if self.left.unheard > 0 {
                actions.extend([Action::LandUnheard(id), Action::LoseRecord(id)]);
            }
        }
        if run.may_hear() {
            actions.push(Action::Hear(id));
        }
        if self.left.late > 0 && run.generation() > Generation(1) {
            actions.push(Action::Late(id));
        }
        if !run.retired().is_empty() {
            actions.push(Action::Trim(id));
        }
    }

    fn happen(&mut self, scope: &Scope, action: Action) -> Result<(), String> {
        match action {
            Action::Start => {
                self.left.starts = self.left.starts.saturating_sub(1);
                self.start();
                Ok(())
            }
            Action::LateSave => {
                let (record, expect) = self.late_save.take().ok_or("one is on its way")?;
                self.save(scope, &record, expect);
                Ok(())
            }
            Action::Crash(id) => {
                self.left.crashes -= 1;
                self.processes.remove(&id);
                Ok(())
            }
            Action::Step(id) => self.step(scope, id, None),
            Action::SaveUnheard(id) | Action::SaveLost(id) | Action::SaveLate(id) => {
                self.left.unheard -= 1;
                self.step(scope, id, Some(action))
            }
            Action::Unreadable(id) => {
                self.left.unreadable -= 1;
                self.step(scope, id, Some(action))
            }
            Action::Emit(id, w) => self.runs(id, |run, store| run.emit(w.into(), store)),
            Action::Move(id, w) => self.runs(id, |run, store| run.move_on(w.into(), store)),
            Action::LandState(id, w) => self.runs(id, |run, store| run.land_state(w.into(), store)),
            Action::LandSink(id, w) => self.runs(id, |run, store| run.land_sink(w.into(), store)),
            Action::Drop(id, w) => {
                self.left.drops -= 1;
                self.runs(id, |run, store| run.drop_sink(w.into(), store))
            }
            Action::LandRecord(id) => self.runs(id, Run::land_record),
            Action::LandUnheard(id) | Action::LoseRecord(id) => {
                self.left.unheard -= 1;
                let landed = matches!(action, Action::LandUnheard(_));
                self.runs(id, |run, store| run.lose_answer(landed, store))
            }
            Action::Hear(id) => self.runs(id, Run::hear),
            Action::Late(id) => {
                self.left.late -= 1;
                self.runs(id, Run::hear_late)
            }
            Action::Trim(id) => self.runs(id, |run, store| {
                run.trim(store);
                Ok(())
            }),
        }
    }

    fn runs(
        &mut self,
        id: u8,
        act: impl FnOnce(&mut Run, &mut Store) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut process = self.processes.remove(&id).ok_or("it is alive")?;
        let Phase::Runs(run) = &mut process.phase else { return Err("it runs".to_owned()) };
        act(run, &mut self.store)?;
        match &run.over {
            Some(Over::Finished) => self.finished = true,
            Some(Over::Poisoned(_)) => {}
            None => {
                self.processes.insert(id, process);
            }
        }
        Ok(())
    }

    /// Writes the topology's record; the new revision.
    fn save(&mut self, scope: &Scope, record: &TopologyRecord, expect: Option<u64>) -> Option<u64> {
        let expect = match scope.defect {
            Some(Defect::RecordOverwritten) => {
                self.store.topology.as_ref().map(|(_, revision)| *revision)
            }
            _ => expect,
        };
        self.store.save(record, expect)
    }

    /// Recovery's next step, with what goes wrong with it. A process that is refused something ends.
    fn step(&mut self, scope: &Scope, id: u8, wrong: Option<Action>) -> Result<(), String> {
        let mut process = self.processes.remove(&id).ok_or("it is alive")?;
        let Phase::Takes(mut taking) = process.phase else {
            return Err("it takes over".to_owned());
        };
        let (recovery, step) = &mut *taking;
        let fact = match (&*step, wrong) {
            (Step::Save { record, expect, .. }, wrong) => {
                let saved = match wrong {
                    None | Some(Action::SaveUnheard(_)) => self.save(scope, record, *expect),
                    Some(Action::SaveLate(_)) => {
                        self.late_save = Some((record.clone(), *expect));
                        None
                    }
                    Some(_) => None,
                };
                if process.claimed.is_none() {
                    process.claimed = Some(record.generation);
                }
                match (wrong, saved) {
                    (Some(_), _) => Fact::SaveUnknown,
                    (None, Some(revision)) => Fact::Saved { revision },
                    (None, None) => Fact::SaveConflict,
                }
            }
            (_, Some(_)) => Fact::Record(Err("a bad sector".to_owned())),
            (step, None) => {
                let claimed = process.claimed.unwrap_or_default();
                match self.act(scope, step, claimed)? {
                    Some(fact) => fact,
                    None => return Ok(()),
                }
            }
        };
        *step = recovery.step(fact);
        match step {
            Step::Open(opened) => {
                self.check_opened(opened)?;
                process.claimed = Some(opened.topology.generation);
                let run = Run::open(opened, scope.numbers, &mut self.store)?;
                process.phase = Phase::Runs(Box::new(run));
            }
            Step::Refuse(why) => return self.check_refused(scope, id, why),
            _ => process.phase = Phase::Takes(taking),
        }
        self.processes.insert(id, process);
        Ok(())
    }

    /// Does a step; what became of it, or nothing where a later generation is in the way.
    fn act(
        &mut self,
        scope: &Scope,
        step: &Step,
        claimed: Generation,
    ) -> Result<Option<Fact>, String> {
        let store = &mut self.store;
        Ok(Some(match step {
            Step::ReadTopology => Fact::Topology(store.topology.clone()),
            Step::Reserve { ledgers } => {
                let from = store.ledgers;
                store.ledgers += u64::from(*ledgers);
                Fact::Reserved((from..store.ledgers).map(LedgerId).collect())
            }
            Step::RaiseTerms { .. } => Fact::TermsRaised,
            Step::CloseCommitLedgers { ledgers, .. } => {
                let mut end = |id: &LedgerId| {
                    let ledger = store.commits.entry(*id).or_default();
                    ledger.closed |= scope.defect != Some(Defect::CommitLedgersLeftOpen);
                    (*id, EntryId(ledger.entries.len() as u64).before())
                };
                Fact::CommitLedgersClosed(ledgers.iter().map(&mut end).collect())
            }
            Step::ReadRecord { ledger, entry } => {
                store.read_by = store.read_by.max(claimed);
                let at = usize::try_from(entry.0).expect("few");
                let held = store.commits.get(ledger).and_then(|held| held.entries.get(at));
                Fact::Record(Ok(held.ok_or("a ledger that was read is gone")?.clone()))
            }
            Step::CloseState { ledgers, .. } => {
                // Without a record to read, nothing was committed before.
                store.read_by = store.read_by.max(claimed);
                for (id, end) in ledgers {
                    let ledger = store.states.entry(*id).or_default();
                    let StateEnd::At(last) = end else {
                        ledger.closed = true;
                        continue;
                    };
                    let keep = usize::try_from(EntryId::after(*last).0).expect("few");
                    if ledger.entries.len() < keep {
                        return Err(format!("{id} is to be closed at {last:?}: {ledger:?}"));
                    }
                    if scope.defect == Some(Defect::StateAsFarAsItGoes) && keep > 0 {
                        ledger.entries[keep - 1] = *ledger.entries.last().expect("one or more");
                    }
                    ledger.entries.truncate(keep);
                    ledger.closed = true;
                }
                Fact::StateClosed
            }
            Step::ClosePartitions { partitions } => {
                for ((_, number), (_, end)) in partitions {
                    let partition = &mut store.partitions[usize::try_from(*number).expect("two")];
                    if partition.fence > claimed {
                        return Ok(None);
                    }
                    partition.fence = claimed;
                    if scope.defect == Some(Defect::OutputKept) {
                        continue;
                    }
                    let keep = end.map_or(0, |(_, last)| EntryId::after(last).0);
                    if (partition.entries.len() as u64) < keep || partition.visible > keep {
                        return Err(format!("partition {number} is cut at {keep}: {partition:?}"));
                    }
                    partition.entries.truncate(usize::try_from(keep).expect("few"));
                }
                Fact::PartitionsClosed
            }
            Step::Restate { ledger, record, .. } => {
                let listed = store.topology.as_ref().map(|(topology, _)| &topology.commit_ledgers);
                if listed.is_none_or(|listed| !listed.contains(ledger)) {
                    return Err(format!("{ledger} is created and not listed"));
                }
                let mut record = (**record).clone();
                if scope.defect == Some(Defect::OutputKept) {
                    keep_output(store, &mut record);
                }
                match store.append(*ledger, record)? {
                    true => Fact::Restated,
                    false => return Ok(None),
                }
            }
            step => return Err(format!("{step:?} is asked of nobody")),
        }))
    }

    /// A generation begins with what was committed last, and with nothing else.
    fn check_opened(&self, opened: &Opened) -> Result<(), String> {
        let newest = self.store.newest.as_ref().ok_or("it opens without a record")?;
        // Another one may have gone on meanwhile: then this one is shut out.
        if opened.topology.generation == self.generation() && !same_content(newest, &opened.record)
        {
            return Err(format!("it begins with {:?} instead of {newest:?}", opened.record));
        }
        Ok(())
    }

    fn check_refused(&self, scope: &Scope, id: u8, why: &RecoveryError) -> Result<(), String> {
        match why {
            RecoveryError::TakenOver { process, .. } if *process != u128::from(id) => Ok(()),
            RecoveryError::Unreadable { .. } if scope.unreadable > self.left.unreadable => Ok(()),
            why => Err(format!("a takeover is refused: {why}")),
        }
    }

    /// Drops who can do nothing any more.
    fn forget(&mut self) {
        let (store, generation) = (&self.store, self.generation());
        self.processes.retain(|_, process| match &process.phase {
            Phase::Runs(run) if run.generation() < generation => !run.is_shut_out(store),
            _ => true,
        });
    }
}

/// The defect of output that is kept: the restated record has it, as the segments do.
fn keep_output(store: &Store, record: &mut egret_state::commit::CommitRecord) {
    for (worker, partition) in store.partitions.iter().enumerate() {
        let entries = partition.entries.len() as u64;
        if entries > end_of(record, worker) {
            let ends = record.sinks.entry("out".to_owned()).or_default();
            ends.insert(u32::try_from(worker).expect("two"), position(entries));
        }
    }
}

impl Explored for World {
    type Scope = Scope;
    type Action = Action;

    fn new(scope: &Scope) -> World {
        let mut world = World {
            store: Store::new(),
            processes: BTreeMap::new(),
            started: 0,
            late_save: None,
            left: Left {
                starts: scope.takeovers,
                crashes: scope.crashes,
                unheard: scope.unheard,
                drops: scope.drops,
                late: scope.late,
                unreadable: scope.unreadable,
                zombie_steps: scope.zombie_steps,
            },
            finished: false,
            fault: None,
        };
        world.start();
        world
    }

    fn actions(&self, _: &Scope) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.fault.is_some() {
            return actions;
        }
        if self.left.starts > 0 && self.processes.len() < PROCESSES && !self.finished {
            actions.push(Action::Start);
        }
        if self.late_save.is_some() {
            actions.push(Action::LateSave);
        }
        for (id, process) in &self.processes {
            if !self.is_zombie(process) || self.left.zombie_steps > 0 {
                self.may(*id, process, &mut actions);
            }
        }
        actions
    }

    fn apply(&mut self, scope: &Scope, action: Action) {
        let of = match action {
            Action::Start | Action::LateSave | Action::Crash(_) => None,
            Action::Step(id)
            | Action::SaveUnheard(id)
            | Action::SaveLost(id)
            | Action::SaveLate(id)
            | Action::Unreadable(id)
            | Action::Emit(id, _)
            | Action::Move(id, _)
            | Action::LandState(id, _)
            | Action::LandSink(id, _)
            | Action::Drop(id, _)
            | Action::LandRecord(id)
            | Action::LandUnheard(id)
            | Action::LoseRecord(id)
            | Action::Hear(id)
            | Action::Late(id)
            | Action::Trim(id) => self.processes.get(&id),
        };
        if of.is_some_and(|process| self.is_zombie(process)) {
            self.left.zombie_steps -= 1;
        }
        // What the cores assert is found, too.
        let happened = catch_unwind(AssertUnwindSafe(|| {
            self.happen(scope, action)?;
            self.store.check_visible()
        }));
        let broken = match happened {
            Ok(Ok(())) => return self.forget(),
            Ok(Err(what)) => what,
            Err(panic) => match panic.downcast_ref::<String>() {
                Some(what) => format!("an assertion: {what}"),
                None => format!("an assertion: {:?}", panic.downcast_ref::<&str>()),
            },
        };
        self.fault = Some(broken);
    }

    fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// Whoever is left alone, or starts when nobody is there, finishes with everything committed.
    fn at_rest(&self, scope: &Scope) -> Result<(), String> {
        let mut alone = self.clone();
        alone.left = Left {
            starts: 0,
            crashes: 0,
            unheard: 0,
            drops: 0,
            late: 0,
            unreadable: 0,
            zombie_steps: 0,
        };
        let generation = alone.generation();
        alone.processes.retain(|_, process| process.claimed.is_none_or(|g| g == generation));
        if alone.processes.is_empty() && !alone.finished {
            alone.start();
        }
        for _ in 0..ALONE {
            let Some(action) = alone.actions(scope).pop() else { break };
            alone.apply(scope, action);
        }
        match alone.fault {
            Some(what) => Err(format!("left alone, {what}")),
            None => alone.store.check_finished(scope),
        }
    }

    fn is_useful(&self) -> bool {
        self.finished && self.started > 1
    }

    fn is_fault(action: Action) -> bool {
        !matches!(
            action,
            Action::Step(_)
                | Action::Emit(..)
                | Action::Move(..)
                | Action::LandState(..)
                | Action::LandSink(..)
                | Action::LandRecord(_)
                | Action::Hear(_)
                | Action::Trim(_)
        )
    }
}
