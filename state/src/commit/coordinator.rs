//! The coordinator of one generation: opens epochs, learns what is durable, decides on commits.
//!
//! ```text
//!  Open(e) ─► spouts emit in e … Active, SpoutDone ─► Open(next micro) … commit_ms over ─► Open(next commit)
//!                                                                                             │
//!  every task: input frontier leaves commit c ─► writes c ─► acknowledged ─► Report(c)        │
//!                                     DurableFrontier past c: all reports must be here        ▼
//!                                     AppendCommit(record) ─► CommitAcked ─► Committed(end of c)
//! ```
//! What always holds:
//! * a record is appended only when the commit was ended, the durable frontier passed it, and every
//!   task of the plan reported it, idle ones included. The frontier says when to look, never more;
//! * one record is in flight at a time; records cover commits in order, without a gap, each once;
//! * `Committed(e)` follows the acknowledgement of a record that covers e (at-most-once: follows the
//!   flow-control frontier, and nothing is ever appended);
//! * `Finished` follows the durable frontier past the last commit, whatever the guarantee;
//! * where tuples come back in cycles, that all spouts have come to their ends is not the end: it is when a commit
//!   of then or later closed as of which no task holds any (`rounds`);
//! * an epoch number is opened once, and fewer than `epochs_in_flight_max` are unprocessed when one
//!   opens;
//! * after `Poison` or `Finished` nothing more comes out. What may have happened to an append whose
//!   reply was lost is for the next generation to read, not for this one to guess.

use egret_schemas::{Epoch, Generation};

use super::epoch_clock::{EpochClock, Next};
use super::gather::{Gather, commit_end};
use super::plan::{CommitPlan, Role, TaskId};
use super::record::CommitRecord;
use super::report::{SinkPosition, TaskReport};
use super::restore_set::SliceError;
use super::rounds::Rounds;
use crate::mutants::{self, Mutant};

/// How often epochs open and commits are made, and how many may be under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CommitConfig {
    /// An epoch in which something was emitted ends after this time, if not before.
    pub epoch_ms: u64,
    /// A commit in which something was emitted ends this long after the one before, at the earliest.
    pub commit_ms: u64,
    /// And at the latest, where ends of commits take much of the time; none: always at the earliest.
    pub commit_ms_max: Option<u64>,
    /// Epochs not fully processed, the open one included; at least 2, for the open epoch is left
    /// only by opening another.
    pub epochs_in_flight_max: usize,
    /// Commits ended and not acknowledged; at least 1.
    pub commits_in_flight_max: usize,
}

impl Default for CommitConfig {
    fn default() -> CommitConfig {
        CommitConfig {
            epoch_ms: 10,
            commit_ms: 100,
            commit_ms_max: None,
            epochs_in_flight_max: 4,
            commits_in_flight_max: 4,
        }
    }
}

/// A fact.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Input {
    /// Time passed.
    Tick,
    /// A task emitted for the first time in this epoch. Without it the epoch counts as idle: a spout
    /// sends it with its first batch of an epoch, before `SpoutDone`, and a bolt when something is due there
    /// although nothing came.
    Active {
        /// The task.
        task: TaskId,
        /// The epoch it emitted in.
        epoch: Epoch,
    },
    /// A spout used up its byte budget of this epoch, or has nothing for now. In the second case it may
    /// still emit in the epoch, with `Active` first.
    SpoutDone {
        /// The spout task.
        task: TaskId,
        /// The epoch it is done with.
        epoch: Epoch,
    },
    /// Everything before this epoch is processed; `None`: everything there ever was.
    Processed(Option<Epoch>),
    /// A task's part of a commit is durable.
    Report(TaskReport),
    /// Every task gave its durable capability for everything before this epoch away; `None`: all.
    /// Must not overtake the reports it stands for.
    DurableFrontier(Option<Epoch>),
    /// The record covering up to this commit is durable.
    CommitAcked {
        /// The last commit the record covers.
        commit: u32,
    },
    /// The record was not acknowledged.
    CommitFailed {
        /// What the append said.
        why: String,
        /// Whether it may be durable all the same.
        outcome: Outcome,
    },
    /// A spout has reached the end of a bounded source, and keeps its capability until `Drain`, or
    /// has given it up.
    SpoutExhausted {
        /// The spout task.
        task: TaskId,
    },
    /// A task where tuples come back says whether it holds any as of a commit, which closed there.
    Held {
        /// The task.
        task: TaskId,
        /// An epoch of the commit.
        epoch: Epoch,
        /// Whether it does.
        held: bool,
    },
    /// The topology is to stop after the commit under way.
    Stop,
}

/// Whether a failed append definitely did nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Nothing was written.
    Definite,
    /// It may or may not have been written.
    Unknown,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Effect {
    /// All spouts move to this epoch: the next micro-epoch, or the first of the next commit.
    Open(Epoch),
    /// All spouts stop emitting and give up their capability: the open commit is the last.
    Drain,
    /// Append this record to the commit ledger; answered by `CommitAcked` or `CommitFailed`.
    AppendCommit(CommitRecord),
    /// Everything up to this epoch is committed: publish, acknowledge, trim.
    Committed(Epoch),
    /// The last commit is committed and all its output is written; nothing more will come.
    Finished,
    /// This generation must end without another append.
    Poison {
        /// What broke.
        why: Poison,
    },
    /// Step again at this time, if nothing happens before.
    WakeAt(u64),
}

/// Why a generation ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Poison {
    /// The durable frontier passed a commit without all reports.
    #[error(
        "commit {commit} left the durable frontier without the report of {tasks:?}: a capability was dropped before its data was durable; the topology restarts from the last commit"
    )]
    Unreported {
        /// The commit.
        commit: u32,
        /// The tasks that did not report.
        tasks: Vec<String>,
    },
    /// A report of a task outside the plan.
    #[error("task {task} reported and is not in the plan")]
    UnknownTask {
        /// The sender.
        task: TaskId,
    },
    /// A report of another role than the task's.
    #[error("{task} reported as a {role:?} and is none")]
    WrongRole {
        /// The sender.
        task: String,
        /// The role it reported as.
        role: Role,
    },
    /// A report of a commit not begun, or already recorded.
    #[error("{task} reported commit {commit}, which is not under way")]
    NotPending {
        /// The sender.
        task: String,
        /// The commit.
        commit: u32,
    },
    /// A second report of one commit.
    #[error("{task} reported commit {commit} twice")]
    Twice {
        /// The sender.
        task: String,
        /// The commit.
        commit: u32,
    },
    /// Two tasks speak for one split or partition.
    #[error("{task} reported {what}, which belongs to task {other}")]
    TwoOwners {
        /// The sender.
        task: String,
        /// The task that reported it before.
        other: u32,
        /// The split or partition.
        what: String,
    },
    /// A restore set that cannot be.
    #[error("{task} reported state that cannot be restored: {why}")]
    Slices {
        /// The sender, or the component.
        task: String,
        /// What is wrong with it.
        why: SliceError,
    },
    /// A partition's end went back.
    #[error("{task} reported partition {partition} at {end:?}, before {before:?}")]
    OutputMovedBack {
        /// The sender.
        task: String,
        /// The partition.
        partition: u32,
        /// The end of an earlier commit.
        before: SinkPosition,
        /// The end reported now.
        end: SinkPosition,
    },
    /// A frontier went back, or beyond what was opened.
    #[error("the {which} frontier moved from {from:?} to {to:?} while {open} is open")]
    Frontier {
        /// Which frontier.
        which: &'static str,
        /// Where it was.
        from: Option<Epoch>,
        /// Where it went.
        to: Option<Epoch>,
        /// The open epoch.
        open: Epoch,
    },
    /// A task spoke of an epoch that was never opened.
    #[error("{task} spoke of {epoch}, which was never opened")]
    NeverOpened {
        /// The sender.
        task: String,
        /// The epoch.
        epoch: Epoch,
    },
    /// The commit record was not acknowledged.
    #[error("the commit record could not be appended ({outcome:?}): {why}")]
    Append {
        /// What the append said.
        why: String,
        /// Whether it may be durable all the same.
        outcome: Outcome,
    },
    /// An acknowledgement of a record that is not in flight.
    #[error("commit {commit} was acknowledged and is not the one in flight")]
    AckUnexpected {
        /// The commit.
        commit: u32,
    },
    /// The generation's commit numbers are used up.
    #[error("{0} has no commit numbers left: the topology goes on in a new generation")]
    CommitsUsedUp(Generation),
}

/// Decides for one generation; see the [module](self).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Coordinator {
    plan: CommitPlan,
    config: CommitConfig,
    now_ms: u64,
    /// Absent until the first epoch opens.
    clock: Option<EpochClock>,
    gather: Gather,
    rounds: Rounds,
    /// Commits below this number are ended: no spout emits in them any more.
    ended: u64,
    processed: Option<Epoch>,
    durable: Option<Epoch>,
    in_flight: Option<CommitRecord>,
    draining: bool,
    over: bool,
    wake_ms: Option<u64>,
    ignored: u64,
}

impl Coordinator {
    /// A coordinator that has opened nothing; the first step opens the generation's first epoch.
    ///
    /// `last` is the generation's own first record: genesis, or the one restating the last commit.
    ///
    /// # Panics
    /// When `last` is of another generation, the plan has no spout, or a limit is too low to move.
    pub fn new(plan: CommitPlan, config: CommitConfig, last: CommitRecord) -> Coordinator {
        assert!(plan.generation.0 > 0, "generations count from 1");
        assert_eq!(last.generation, plan.generation, "the last commit is restated first");
        assert!(last.last < Epoch::first(plan.generation), "no number is used twice");
        assert!(plan.components.iter().any(|c| c.role == Role::Spout), "a topology has a spout");
        assert!(plan.components.iter().all(|c| c.tasks > 0), "a component has a task");
        assert!(config.epochs_in_flight_max >= 2, "an epoch is left only by opening another");
        assert!(config.commits_in_flight_max >= 1, "a commit must be allowed to be under way");
        Coordinator {
            gather: Gather::new(&plan, last),
            rounds: Rounds::new(&plan),
            plan,
            config,
            now_ms: 0,
            clock: None,
            ended: 0,
            processed: Some(Epoch(0)),
            durable: Some(Epoch(0)),
            in_flight: None,
            draining: false,
            over: false,
            wake_ms: None,
            ignored: 0,
        }
    }

    /// The last acknowledged record.
    pub fn last_commit(&self) -> &CommitRecord {
        self.gather.last()
    }

    /// The epoch spouts emit into, once one is open.
    pub fn open_epoch(&self) -> Option<Epoch> {
        self.clock.as_ref().map(EpochClock::open)
    }

    /// Whether everything that was emitted is committed: no commit is under way, and there is nothing to make
    /// one of.
    pub fn is_at_rest(&self) -> bool {
        let ended = self.gather.pending().all(|commit| u64::from(commit) >= self.ended);
        let none = self.in_flight.is_none() && !self.rounds.hold();
        ended && none && self.clock.as_ref().is_some_and(EpochClock::is_at_rest)
    }

    /// How many inputs of other generations were ignored.
    pub fn ignored(&self) -> u64 {
        self.ignored
    }

    /// Takes a fact in; appends what is to be done to `out`, in order. `now_ms` is any clock that
    /// does not go back; if it does, time stands still.
    pub fn step(&mut self, now_ms: u64, input: Input, out: &mut Vec<Effect>) {
        if self.over {
            return;
        }
        self.now_ms = self.now_ms.max(now_ms);
        if self.wake_ms.is_some_and(|wake| wake <= self.now_ms) {
            self.wake_ms = None;
        }
        let end = match self.on_input(input, out).and_then(|()| self.advance(out)) {
            Ok(false) => return,
            Ok(true) => Effect::Finished,
            Err(why) => Effect::Poison { why },
        };
        self.over = true;
        out.push(end);
    }

    fn on_input(&mut self, input: Input, out: &mut Vec<Effect>) -> Result<(), Poison> {
        if self.clock.is_none() && input != Input::Stop {
            self.open_first(out);
        }
        match input {
            Input::Tick => {}
            Input::Active { task, epoch } => {
                // Once spouts have left the last commit, there is none for what is due at a bolt.
                let left = self.draining && self.open_epoch().is_some_and(|open| epoch > open);
                if !left && self.is_ours(task, epoch)? {
                    self.clock_mut().on_active(task, epoch);
                }
            }
            Input::SpoutDone { task, epoch } => {
                if self.is_ours(task, epoch)? {
                    self.clock_mut().on_done(task, epoch);
                }
            }
            Input::Processed(frontier) => {
                self.check_frontier("processed", self.processed, frontier)?;
                self.processed = frontier;
                let now_ms = self.now_ms;
                self.clock_mut().on_processed(frontier, now_ms);
            }
            Input::Report(report) => self.on_report(report)?,
            Input::DurableFrontier(frontier) => {
                self.check_frontier("durable", self.durable, frontier)?;
                self.durable = frontier;
            }
            Input::CommitAcked { commit } => self.on_acked(commit, out)?,
            Input::CommitFailed { .. } if mutants::on(Mutant::UnheardCounts) => {
                let commit = self.in_flight.as_ref().map_or(0, |record| record.last.commit());
                self.on_acked(commit, out)?;
            }
            Input::CommitFailed { why, outcome } => return Err(Poison::Append { why, outcome }),
            Input::SpoutExhausted { task } => {
                if self.plan.component(task).is_none_or(|c| c.role != Role::Spout) {
                    return Err(Poison::UnknownTask { task });
                }
                if self.clock_mut().on_exhausted(task) {
                    let clock = self.clock_mut();
                    // Whether anything is on its way is told when it ends.
                    clock.is_to_end();
                    let open = clock.open().commit();
                    self.rounds.on_spouts_ended(open);
                    self.drain_if_over(out);
                }
            }
            Input::Held { task, epoch, held } => {
                if self.is_ours(task, epoch)? {
                    self.rounds.on_held(&self.plan, (task, epoch.commit()), held)?;
                    self.drain_if_over(out);
                }
            }
            Input::Stop => self.drain(out),
        }
        Ok(())
    }

    /// Does whatever has become possible. Whether everything is finished.
    fn advance(&mut self, out: &mut Vec<Effect>) -> Result<bool, Poison> {
        if self.plan.guarantee.commits() {
            self.check_reports()?;
            self.append(out)?;
        } else {
            self.release_processed(out);
        }
        if self.draining {
            let written = self.open_epoch().is_none_or(|last| self.is_durable(last.commit()));
            return Ok(written && self.gather.pending().next().is_none());
        }
        self.open_next(out)?;
        Ok(false)
    }

    fn open_first(&mut self, out: &mut Vec<Effect>) {
        let first = Epoch::first(self.plan.generation);
        let spouts = self.plan.tasks().filter(|(_, c)| c.role == Role::Spout).map(|(t, _)| t);
        self.clock = Some(EpochClock::new(self.config, spouts, first, self.now_ms));
        self.gather.begin(first.commit());
        out.push(Effect::Open(first));
    }

    fn open_next(&mut self, out: &mut Vec<Effect>) -> Result<(), Poison> {
        let Some(clock) = &mut self.clock else { return Ok(()) };
        let unacknowledged = self.gather.pending().filter(|&c| u64::from(c) < self.ended).count();
        let may_end_commit = unacknowledged < self.config.commits_in_flight_max;
        match clock.next(self.now_ms, may_end_commit) {
            Next::Open(epoch) => {
                if epoch.commit() != clock.open().commit() {
                    self.ended = u64::from(epoch.commit());
                    self.gather.begin(epoch.commit());
                }
                clock.on_opened(epoch, self.now_ms);
                self.wake_ms = None;
                out.push(Effect::Open(epoch));
            }
            Next::Wait(Some(wake)) if self.wake_ms.is_none_or(|asked| wake < asked) => {
                self.wake_ms = Some(wake);
                out.push(Effect::WakeAt(wake));
            }
            Next::Wait(_) => {}
            Next::UsedUp => return Err(Poison::CommitsUsedUp(self.plan.generation)),
        }
        Ok(())
    }

    /// Ends the open commit as the last one, if nothing will be emitted any more.
    fn drain_if_over(&mut self, out: &mut Vec<Effect>) {
        if self.rounds.are_over() {
            self.drain(out);
        }
    }

    /// Ends the open commit as the last one.
    fn drain(&mut self, out: &mut Vec<Effect>) {
        if self.draining {
            return;
        }
        self.draining = true;
        if let Some(clock) = &self.clock {
            self.ended = u64::from(clock.open().commit()) + 1;
            out.push(Effect::Drain);
        }
    }

    fn on_report(&mut self, report: TaskReport) -> Result<(), Poison> {
        let mut report = report;
        if mutants::on(Mutant::OtherGenerationsReport) {
            report.generation = self.plan.generation;
        }
        if report.generation != self.plan.generation {
            self.ignored += 1;
            return Ok(());
        }
        if !self.plan.guarantee.commits() {
            return Ok(());
        }
        self.gather.on_report(&self.plan, report)
    }

    fn on_acked(&mut self, commit: u32, out: &mut Vec<Effect>) -> Result<(), Poison> {
        match self.in_flight.take() {
            Some(record) if record.last.commit() == commit => {
                assert_eq!(record.generation, self.plan.generation, "own records only");
                out.push(Effect::Committed(record.last));
                self.gather.on_acked(record);
                Ok(())
            }
            _ => Err(Poison::AckUnexpected { commit }),
        }
    }

    /// A frontier past an ended commit with a report missing: something was dropped, not made durable.
    fn check_reports(&self) -> Result<(), Poison> {
        for commit in self.gather.pending().take_while(|&commit| self.is_durable(commit)) {
            let missing = self.gather.missing(&self.plan, commit);
            if !missing.is_empty() {
                let tasks = missing.into_iter().map(|task| self.plan.name(task)).collect();
                return Err(Poison::Unreported { commit, tasks });
            }
        }
        Ok(())
    }

    /// Appends one record for all commits that are complete, unless one is in flight.
    fn append(&mut self, out: &mut Vec<Effect>) -> Result<(), Poison> {
        if self.in_flight.is_some() {
            return Ok(());
        }
        let complete = self.gather.pending().take_while(|&commit| self.is_durable(commit)).last();
        let Some(upto) = complete else { return Ok(()) };
        let record = self.gather.record(&self.plan, upto)?;
        let last = record.last;
        self.in_flight = Some(record.clone());
        out.push(Effect::AppendCommit(record));
        if mutants::on(Mutant::ShownBeforeAck) {
            out.push(Effect::Committed(last));
        }
        Ok(())
    }

    /// At most once: what is processed is done with.
    fn release_processed(&mut self, out: &mut Vec<Effect>) {
        let generation = self.plan.generation;
        let processed = |&commit: &u32| {
            u64::from(commit) < self.ended && passed(self.processed, commit_end(generation, commit))
        };
        if let Some(upto) = self.gather.pending().take_while(processed).last() {
            self.gather.forget(upto);
            out.push(Effect::Committed(commit_end(generation, upto)));
        }
    }

    /// Whether a commit is ended and the durable frontier is past it.
    fn is_durable(&self, commit: u32) -> bool {
        u64::from(commit) < self.ended
            && passed(self.durable, commit_end(self.plan.generation, commit))
    }

    /// Whether a word about an epoch is of this generation; poison if it is of an epoch never opened.
    fn is_ours(&mut self, task: TaskId, epoch: Epoch) -> Result<bool, Poison> {
        if epoch.generation() != self.plan.generation {
            self.ignored += 1;
            return Ok(false);
        }
        if self.plan.component(task).is_none() {
            return Err(Poison::UnknownTask { task });
        }
        if epoch > self.clock_mut().open() {
            return Err(Poison::NeverOpened { task: self.plan.name(task), epoch });
        }
        Ok(true)
    }

    fn check_frontier(
        &mut self,
        which: &'static str,
        from: Option<Epoch>,
        to: Option<Epoch>,
    ) -> Result<(), Poison> {
        let open = self.clock_mut().open();
        let back = match (from, to) {
            (None, to) => to.is_some(),
            (Some(_), None) => false,
            (Some(from), Some(to)) => to < from || to > open,
        };
        if back { Err(Poison::Frontier { which, from, to, open }) } else { Ok(()) }
    }

    fn clock_mut(&mut self) -> &mut EpochClock {
        self.clock.as_mut().expect("the first step opened an epoch")
    }
}

/// Whether a frontier is past an epoch.
fn passed(frontier: Option<Epoch>, epoch: Epoch) -> bool {
    frontier.is_none_or(|frontier| frontier > epoch)
}

#[cfg(test)]
#[path = "coordinator_tests.rs"]
mod tests;
