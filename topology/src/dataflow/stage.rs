//! A component of a chain, on one worker.

use std::collections::VecDeque;
use std::time::Duration;

use egret_log::clock;
use egret_schemas::Epoch;
use egret_state::commit::TaskId;

use super::marks::Watermark;
use super::ticks::Ticks;
use super::watched::Watched;
use crate::batch::Routed;
use crate::budget::Charge;
use crate::task::{BoltTask, TaskError};

/// One local task, and the commit it has to report next.
pub(super) struct Local {
    pub(super) task: Box<dyn BoltTask>,
    pub(super) id: TaskId,
    pub(super) unreported: Epoch,
    pub(super) watched: Watched,
    /// What it was given and did not begin.
    inbox: VecDeque<Routed>,
    /// The charge of the batch under way.
    under_way: Option<Charge>,
    /// The tuples of the batch under way, and how long it has worked on it.
    batch: (usize, Duration),
    /// Tuples of it that are counted.
    emitted: u64,
}

impl Local {
    fn new(task: Box<dyn BoltTask>, id: TaskId, watched: Watched, first: Epoch) -> Local {
        Local {
            task,
            id,
            unreported: first.commit_start(),
            watched,
            inbox: VecDeque::new(),
            under_way: None,
            batch: (0, Duration::ZERO),
            emitted: 0,
        }
    }

    /// Has the task do something, and counts what it emits and how that ends.
    pub(super) fn count<R>(
        &mut self,
        run: impl FnOnce(&mut dyn BoltTask) -> Result<R, TaskError>,
    ) -> Result<R, TaskError> {
        let done = run(&mut *self.task).inspect_err(|_| self.watched.fails())?;
        let emitted = self.task.outlet().emitted();
        self.watched.emitted(emitted.saturating_sub(self.emitted));
        self.watched.look();
        self.emitted = emitted;
        Ok(done)
    }

    /// Tuples it emitted, as far as they are counted.
    pub(super) fn emitted(&self) -> u64 {
        self.emitted
    }

    /// Gives it a batch to work on, after those it has.
    pub(super) fn give(&mut self, routed: Routed) {
        self.inbox.push_back(routed);
    }

    /// Whether it has something to work on.
    pub(super) fn has_work(&self) -> bool {
        self.under_way.is_some() || !self.inbox.is_empty()
    }

    /// Has the task work on its batch, or begin the next one.
    pub(super) fn go_on(&mut self) -> Result<(), TaskError> {
        if self.under_way.is_none() {
            let Some(Routed { batch, charge, .. }) = self.inbox.pop_front() else { return Ok(()) };
            self.batch.0 = batch.len();
            self.watched.meter().took(self.batch.0);
            self.watched.meter().dequeued(charge.bytes());
            self.task.begin(batch);
            self.under_way = Some(charge);
        }
        let began = clock::now();
        let done = self.count(|task| task.go_on())?;
        self.batch.1 += clock::now() - began;
        if done {
            let (tuples, time) = std::mem::take(&mut self.batch);
            self.watched.executed(tuples, time);
            self.under_way = None;
        }
        Ok(())
    }
}

/// The tasks of one component on this worker. Where several components are one operator, the task at each place of this
/// one has its batches from the task at the same place of the one before.
pub(crate) struct Stage {
    pub(super) tasks: Vec<Local>,
    /// Where event time comes from, if it does.
    pub(super) watermark: Option<Watermark>,
    pub(super) stateful: bool,
    pub(super) ticks: Option<Ticks>,
    /// The edge that leads to the component after it, if that is one operator with it.
    pub(super) edge_on: Option<usize>,
}

impl Stage {
    /// Opened and restored tasks.
    pub(crate) fn new(
        tasks: Vec<(TaskId, Box<dyn BoltTask>, Watched)>,
        first: Epoch,
        watermark: Option<Watermark>,
    ) -> Stage {
        let stateful = tasks.first().is_some_and(|(_, task, _)| task.stateful());
        let local = |(id, task, watched)| Local::new(task, id, watched, first);
        let tasks = tasks.into_iter().map(local).collect();
        Stage { tasks, watermark, stateful, ticks: None, edge_on: None }
    }

    /// The same with ticks.
    pub(crate) fn ticking(self, every: Option<Duration>) -> Stage {
        let ticks = every.filter(|_| !self.tasks.is_empty()).map(Ticks::every);
        Stage { ticks, ..self }
    }

    /// The same, which hands on what it emits on one of its edges.
    pub(crate) fn handing_on(self, edge_on: Option<usize>) -> Stage {
        Stage { edge_on, ..self }
    }

    /// The commit closes here: what closes sees how far event time came with it.
    pub(super) fn closes(&mut self, commit: Epoch) {
        if let Some(watermark) = &mut self.watermark {
            watermark.close(commit);
            let ms = watermark.ms();
            self.tasks.iter().for_each(|local| local.watched.meter().watermark(ms));
        }
    }

    /// The topology ended in order.
    pub(super) fn end(&mut self) {
        for local in &mut self.tasks {
            local.task.end();
            local.watched.closed();
        }
    }
}
