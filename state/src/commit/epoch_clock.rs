//! When the next epoch opens: the flow control half of the coordinator.

use std::collections::{BTreeMap, VecDeque};

use egret_schemas::Epoch;

use super::coordinator::CommitConfig;
use super::interval::Interval;
use super::plan::TaskId;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct EpochClock {
    config: CommitConfig,
    spouts: BTreeMap<TaskId, Spout>,
    open: Epoch,
    opened_ms: u64,
    boundary_ms: u64,
    interval: Interval,
    /// Something was emitted in the open epoch.
    epoch_active: bool,
    /// Something was emitted in the open commit.
    commit_active: bool,
    /// Opened epochs the flow-control frontier has not passed, the open one included.
    unprocessed: VecDeque<Epoch>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Spout {
    done: bool,
    exhausted: bool,
}

/// What the clock wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Open this epoch.
    Open(Epoch),
    /// Nothing now; look again at this time, if nothing comes first.
    Wait(Option<u64>),
    /// A commit has to end and the generation has no number for another.
    UsedUp,
}

impl EpochClock {
    pub(super) fn new(
        config: CommitConfig,
        spouts: impl IntoIterator<Item = TaskId>,
        first: Epoch,
        now_ms: u64,
    ) -> EpochClock {
        EpochClock {
            config,
            spouts: spouts.into_iter().map(|task| (task, Spout::default())).collect(),
            open: first,
            opened_ms: now_ms,
            boundary_ms: now_ms,
            interval: Interval::new(config.commit_ms, config.commit_ms_max),
            epoch_active: false,
            commit_active: false,
            unprocessed: [first].into(),
        }
    }

    /// The epoch spouts emit into.
    pub(super) fn open(&self) -> Epoch {
        self.open
    }

    /// Notes that a task emitted; of an epoch or commit that is over, nothing needs to be noted. A task
    /// that had said it is done, being idle, is not done any more.
    pub(super) fn on_active(&mut self, task: TaskId, epoch: Epoch) {
        if let Some(spout) = self.spouts.get_mut(&task) {
            spout.done &= epoch != self.open;
        }
        self.epoch_active |= epoch == self.open;
        self.commit_active |= epoch.commit_start() == self.open.commit_start();
    }

    pub(super) fn on_done(&mut self, task: TaskId, epoch: Epoch) {
        if let Some(spout) = self.spouts.get_mut(&task) {
            spout.done |= epoch == self.open;
        }
    }

    /// A spout has nothing more, ever; whether that holds for all of them now.
    pub(super) fn on_exhausted(&mut self, task: TaskId) -> bool {
        if let Some(spout) = self.spouts.get_mut(&task) {
            spout.exhausted = true;
        }
        self.spouts.values().all(|spout| spout.exhausted)
    }

    /// The open commit is to end, though nothing may have been emitted in it.
    pub(super) fn is_to_end(&mut self) {
        self.commit_active = true;
    }

    pub(super) fn on_processed(&mut self, frontier: Option<Epoch>, now_ms: u64) {
        self.interval.on_processed(frontier, now_ms);
        while self.unprocessed.front().is_some_and(|&e| frontier.is_none_or(|f| e < f)) {
            self.unprocessed.pop_front();
        }
    }

    pub(super) fn on_opened(&mut self, epoch: Epoch, now_ms: u64) {
        assert!(epoch > self.open, "epochs open in order");
        assert!(self.unprocessed.len() < self.config.epochs_in_flight_max, "epochs are bounded");
        if epoch.commit_start() != self.open.commit_start() {
            self.interval.on_ended(self.open, now_ms);
            self.boundary_ms = now_ms;
            self.commit_active = false;
        }
        self.open = epoch;
        self.opened_ms = now_ms;
        self.epoch_active = false;
        self.spouts.values_mut().for_each(|spout| spout.done = false);
        self.unprocessed.push_back(epoch);
    }

    /// Whether nothing was emitted since the open commit began, and everything before is processed.
    pub(super) fn is_at_rest(&self) -> bool {
        !self.epoch_active && !self.commit_active && self.unprocessed.len() == 1
    }

    /// What to do now. `may_end_commit`: one more commit may go unacknowledged.
    pub(super) fn next(&self, now_ms: u64, may_end_commit: bool) -> Next {
        if self.unprocessed.len() >= self.config.epochs_in_flight_max {
            return Next::Wait(None);
        }
        let next_commit = || self.open.next_commit().map_or(Next::UsedUp, Next::Open);
        let commit_due = self.boundary_ms.saturating_add(self.interval.ms());
        let epoch_due = self.opened_ms.saturating_add(self.config.epoch_ms);
        let ending = self.commit_active && may_end_commit;
        if ending && now_ms >= commit_due {
            return next_commit();
        }
        let all_done = self.spouts.values().all(|spout| spout.done || spout.exhausted);
        if self.epoch_active && (all_done || now_ms >= epoch_due) {
            return match self.open.next_micro() {
                Some(micro) => Next::Open(micro),
                None if may_end_commit => next_commit(),
                None => Next::Wait(None),
            };
        }
        let timers = [ending.then_some(commit_due), self.epoch_active.then_some(epoch_due)];
        Next::Wait(timers.into_iter().flatten().min())
    }
}
