//! Bolts in a chain, as one operator runs them: without timely, which is in [`bolt`](super::bolt).
//!
//! ```text
//!            input ──▶ [stage 0: task 0, 2, 4] ──▶ [stage 1: task 0, 2, 4] ──▶ ...
//!                              └─▶ other edges            └─▶ its edges
//! ```
//! Most chains are one component. Where several are, a batch that a task emits on the edge to the next stage is given to
//! the task of the same number there and worked on at once, before the first one goes on: *the last stage that has
//! something to do goes first*. So nothing piles up between stages, and order is kept.
//!
//! All stages are in the same commit. It closes stage by stage: the first one closes, what it emits by that is worked
//! on, then the second one closes, to which nothing can come any more. That is what the frontier would tell it, were it
//! an operator of its own.

use std::collections::VecDeque;
use std::time::Duration;

use egret_schemas::Epoch;
use egret_state::commit::{Durable, TaskId, TaskReport};

use super::align::Align;
use super::marks::Said;
use super::outputs::Outputs;
use super::reports::Notice;
use super::stage::{Local, Stage};
use super::ticks::Ticks;
use crate::batch::Routed;
use crate::runtime::Faults;
use crate::task::TaskError;

/// The tactic: local tasks, aligned on commits.
///
/// A task works until its outlet holds a slice; that is sent, and the task goes on while its lane has
/// room. Without room the rest waits here, the batch under way first, and the capabilities with it.
pub(crate) struct Bolts {
    /// One at least.
    stages: Vec<Stage>,
    /// Index into the tasks of every stage by task number.
    local: Vec<Option<usize>>,
    align: Align<Routed>,
    /// Batches of the open commit, in the order they came.
    waiting: VecDeque<(Epoch, Routed)>,
    /// Where in each stage the task is that sends or works.
    turn: Option<usize>,
    /// While a commit closes, the stage and the task in it that close next.
    closing: Option<(usize, usize)>,
    /// The epoch of what lies in the outlets.
    emitting: Epoch,
    /// Whether this activation found room for anything.
    moved: bool,
    /// How long whoever held the turn up waits, if that is what it does.
    waits: Option<Duration>,
    /// The epoch in which a tick emitted something, and nobody was told yet.
    ticked: Option<Epoch>,
    /// Whether the tasks were told that the topology ended.
    ended: bool,
    faults: Faults,
}

/// What an activation left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Left {
    Nothing,
    /// A lane filled up meanwhile: its consumers have something to do.
    Filled,
    /// A lane was full before: its consumers are behind.
    Full,
    /// A tuple waits this long to be tried again.
    Waits(Duration),
}

/// What came of looking for something to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    /// There was nothing.
    Nothing,
    /// Something was done.
    Done,
    /// It has to wait.
    Held,
}

impl Bolts {
    /// Components, each fed by the one before, of `tasks_total` tasks each.
    pub(crate) fn new(stages: Vec<Stage>, tasks_total: u32, first: Epoch) -> Bolts {
        let mut local = vec![None; tasks_total as usize];
        let numbers = |stage: &Stage| stage.tasks.iter().map(|t| t.id.task).collect::<Vec<_>>();
        for (index, task) in numbers(&stages[0]).into_iter().enumerate() {
            local[task as usize] = Some(index);
        }
        assert!(
            stages.iter().all(|stage| numbers(stage) == numbers(&stages[0])),
            "a chain has the same tasks at each of its stages"
        );
        Bolts {
            stages,
            local,
            align: Align::new(first),
            waiting: VecDeque::new(),
            turn: None,
            closing: None,
            emitting: first,
            moved: false,
            waits: None,
            ticked: None,
            ended: false,
            faults: Faults::default(),
        }
    }

    /// The same with defects.
    pub(crate) fn with(self, faults: Faults) -> Bolts {
        Bolts { faults, ..self }
    }

    /// Whether there is no task here.
    pub(super) fn is_empty(&self) -> bool {
        self.stages[0].tasks.is_empty()
    }

    /// Whether commits wait for any of it.
    pub(super) fn is_stateful(&self) -> bool {
        self.stages.iter().any(|stage| stage.stateful)
    }

    /// Whether any of it ticks.
    pub(super) fn ticks(&self) -> bool {
        self.stages.iter().any(|stage| stage.ticks.is_some())
    }

    /// How long until some of it ticks.
    pub(super) fn until_tick(&self) -> Option<Duration> {
        self.stages.iter().filter_map(|stage| stage.ticks.as_ref().map(Ticks::wait)).min()
    }

    /// The epoch in which a tick emitted something, once.
    pub(super) fn take_ticked(&mut self) -> Option<Epoch> {
        self.ticked.take()
    }

    /// Something was said of event time at the end of the commit `epoch` is of.
    pub(super) fn said(&mut self, epoch: Epoch, said: &[Said]) {
        for watermark in self.stages.iter_mut().filter_map(|stage| stage.watermark.as_mut()) {
            watermark.said(epoch, said.to_vec());
        }
    }

    /// Takes a batch that arrived.
    pub(super) fn arrived(&mut self, epoch: Epoch, routed: Routed, frontier: Option<Epoch>) {
        let index = self.index_of(&routed);
        self.stages[0].tasks[index].watched.meter().queued(routed.charge.bytes());
        let early = self.faults.works_before_closing
            && frontier.is_none_or(|f| epoch.commit_start() <= f.commit_start());
        if early || self.faults.no_alignment {
            return self.waiting.push_back((epoch, routed));
        }
        if let Some(routed) = self.align.admit(epoch, routed) {
            self.waiting.push_back((epoch, routed));
        }
    }

    fn index_of(&self, routed: &Routed) -> usize {
        self.local[routed.task as usize].expect("routed to its own worker")
    }

    /// Works on what waits and closes what the frontier left, commit after commit, until nothing is
    /// left or a lane is full.
    pub(super) fn work(
        &mut self,
        frontier: Option<Epoch>,
        outputs: &mut Outputs,
    ) -> Result<Left, TaskError> {
        self.moved = false;
        loop {
            let mut step = match self.go_on(outputs)? {
                true => Step::Nothing,
                false => Step::Held,
            };
            if step == Step::Nothing {
                step = self.next_batch(outputs)?;
            }
            if step == Step::Nothing
                && let Some(commit) = self.align.ended(frontier)
            {
                step = self.close(commit, outputs)?;
            }
            if step == Step::Nothing {
                step = self.settle(outputs)?;
            }
            if step == Step::Nothing {
                step = self.tick(frontier, outputs)?;
            }
            if step == Step::Nothing {
                step = self.finish(outputs)?;
            }
            match step {
                Step::Done => {}
                Step::Nothing => return Ok(Left::Nothing),
                Step::Held => return Ok(self.held_back()),
            }
        }
    }

    fn held_back(&self) -> Left {
        match self.waits {
            Some(wait) => Left::Waits(wait),
            None if self.moved => Left::Filled,
            None => Left::Full,
        }
    }

    /// Sends what the tasks whose turn it is have ready and has them work on their batches, slice by slice; whether
    /// their turn is over.
    fn go_on(&mut self, outputs: &mut Outputs) -> Result<bool, TaskError> {
        let Some(index) = self.turn else { return Ok(true) };
        self.waits = None;
        let mut stage = self.stages.len();
        while let Some(before) = stage.checked_sub(1) {
            stage = before;
            match self.step(stage, index, outputs)? {
                Step::Nothing => {}
                // What it handed on goes first.
                Step::Done => stage = self.stages.len(),
                Step::Held => return Ok(false),
            }
        }
        self.turn = None;
        Ok(true)
    }

    /// Does one thing at one task.
    fn step(
        &mut self,
        stage: usize,
        index: usize,
        outputs: &mut Outputs,
    ) -> Result<Step, TaskError> {
        let (handed_on, packed) = self.ship(stage, index, outputs);
        let local = &mut self.stages[stage].tasks[index];
        if handed_on {
            return Ok(Step::Done);
        }
        if !packed && !local.has_work() {
            return Ok(Step::Nothing);
        }
        if !local.task.outlet().has_room() {
            return Ok(Step::Held);
        }
        self.moved = true;
        if packed {
            local.task.outlet().refill()?;
            return Ok(Step::Done);
        }
        local.go_on()?;
        self.waits = if local.has_work() { local.task.waits() } else { None };
        if self.waits.is_none() {
            return Ok(Step::Done);
        }
        match self.ship(stage, index, outputs) {
            (true, _) => Ok(Step::Done),
            (false, _) => Ok(Step::Held),
        }
    }

    /// Sends what a task has ready, and gives the next stage's what is for that; whether there was any, and whether more
    /// is packed.
    fn ship(&mut self, stage: usize, index: usize, outputs: &mut Outputs) -> (bool, bool) {
        let (stages, behind) = self.stages.split_at_mut(stage + 1);
        let Stage { tasks, edge_on, .. } = &mut stages[stage];
        let outlet = tasks[index].task.outlet();
        let mut handed_on = false;
        if let (Some(edge), Some(next)) = (*edge_on, behind.first_mut()) {
            let next = &mut next.tasks[index];
            for routed in outlet.take(edge) {
                assert_eq!(routed.task, next.id.task, "a task of a chain feeds that of its number");
                next.watched.meter().queued(routed.charge.bytes());
                next.give(routed);
                handed_on = true;
            }
        }
        (handed_on, outputs.ship_of(stage, outlet, self.emitting))
    }

    /// Begins the next batch, if one waits.
    fn next_batch(&mut self, outputs: &mut Outputs) -> Result<Step, TaskError> {
        let Some((epoch, _)) = self.waiting.front() else { return Ok(Step::Nothing) };
        let epoch = *epoch;
        if epoch != self.emitting {
            if self.finish(outputs)? == Step::Held {
                return Ok(Step::Held);
            }
            self.emitting = epoch;
        }
        if let Some((_, routed)) = self.waiting.pop_front() {
            let index = self.index_of(&routed);
            self.stages[0].tasks[index].give(routed);
            self.turn = Some(index);
        }
        Ok(Step::Done)
    }

    /// Goes on closing `commit`, whose batches are all done: one task emits up to a slice.
    fn close(&mut self, commit: Epoch, outputs: &mut Outputs) -> Result<Step, TaskError> {
        let Some((stage, index)) = self.closing else {
            if self.finish(outputs)? == Step::Held {
                return Ok(Step::Held);
            }
            // Results of the commit as a whole leave at its latest epoch still open here: the frontier
            // may have gone on inside the commit since the last tuple.
            self.emitting = self.emitting.max(commit).max(outputs.earliest());
            self.stages[0].closes(commit);
            self.closing = Some((0, 0));
            return Ok(Step::Done);
        };
        if let Some(local) = self.stages[stage].tasks.get_mut(index) {
            if !local.task.outlet().has_room() {
                self.waits = None;
                return Ok(Step::Held);
            }
            self.moved = true;
            self.turn = Some(index);
            if local.count(|task| task.close(commit))? {
                self.closing = Some((stage, index + 1));
                return Ok(Step::Done);
            }
            let waits = local.task.waits();
            if waits.is_some() {
                // What it has so far goes on; then it waits.
                if !self.go_on(outputs)? {
                    return Ok(Step::Held);
                }
                self.waits = waits;
                return Ok(Step::Held);
            }
            return Ok(Step::Done);
        }
        // Only now nothing more comes to the stage behind.
        if self.finish(outputs)? == Step::Held {
            return Ok(Step::Held);
        }
        if let Some(next) = self.stages.get_mut(stage + 1) {
            next.closes(commit);
            self.closing = Some((stage + 1, 0));
            return Ok(Step::Done);
        }
        self.closing = None;
        self.align.advance();
        self.waiting.extend(match self.faults.stash_drained_while_closing {
            true => self.align.unstash_all(),
            false => self.align.unstash(),
        });
        Ok(Step::Done)
    }

    /// Has a task emit what it waited for, if one has. It is of the open commit, which does not close
    /// before, and of the latest epoch of it that anything was emitted at, or the earliest that is open here.
    fn settle(&mut self, outputs: &mut Outputs) -> Result<Step, TaskError> {
        let mut all = self.stages.iter_mut().enumerate();
        let has = all.find_map(|(stage, of)| {
            let index = of.tasks.iter_mut().position(|local| local.task.has_answers())?;
            Some((stage, index))
        });
        let Some((stage, index)) = has else { return Ok(Step::Nothing) };
        if self.emitting < outputs.earliest() {
            if self.finish(outputs)? == Step::Held {
                return Ok(Step::Held);
            }
            self.emitting = outputs.earliest();
        }
        self.stages[stage].tasks[index].count(|task| task.settle())?;
        self.turn = Some(index);
        Ok(Step::Done)
    }

    /// Lets the next task tick, if it is time to. What it emits is of the frontier's epoch, which is
    /// of the commit that is open now.
    fn tick(&mut self, frontier: Option<Epoch>, outputs: &mut Outputs) -> Result<Step, TaskError> {
        let Some(frontier) = frontier else { return Ok(Step::Nothing) };
        for stage in 0..self.stages.len() {
            let due = self.stages[stage].ticks.as_ref().filter(|ticks| ticks.are_due());
            let Some(begins) = due.map(Ticks::begins) else { continue };
            // A commit may have closed since the first of them ticked: what the others emit is not of that one.
            if begins || self.emitting.commit_start() < frontier.commit_start() {
                if self.finish(outputs)? == Step::Held {
                    return Ok(Step::Held);
                }
                self.emitting = self.emitting.max(frontier).max(outputs.earliest());
            }
            let Stage { ticks, tasks, .. } = &mut self.stages[stage];
            let Some(index) = ticks.as_mut().and_then(|ticks| ticks.take(tasks.len())) else {
                continue;
            };
            let before = tasks[index].emitted();
            tasks[index].count(|task| task.tick())?;
            if tasks[index].emitted() != before {
                // Not the frontier's: at the start that is of no generation yet, while other workers are not heard of.
                self.ticked = Some(self.emitting);
            }
            self.moved = true;
            self.turn = Some(index);
            return Ok(Step::Done);
        }
        Ok(Step::Nothing)
    }

    /// The topology ended in order.
    pub(super) fn end(&mut self) {
        if !std::mem::replace(&mut self.ended, true) {
            self.stages.iter_mut().for_each(Stage::end);
        }
    }

    /// Ends and sends the open batches of every task, stage by stage; nobody's turn is under way. Whether any stage had
    /// something to work on by that.
    fn finish(&mut self, outputs: &mut Outputs) -> Result<Step, TaskError> {
        let mut finished = Step::Nothing;
        for index in 0..self.stages[0].tasks.len() {
            for stage in 0..self.stages.len() {
                self.stages[stage].tasks[index].task.outlet().finish()?;
                if self.ship(stage, index, outputs).0 {
                    finished = Step::Done;
                    self.turn = Some(index);
                    if !self.go_on(outputs)? {
                        return Ok(Step::Held);
                    }
                }
            }
        }
        Ok(finished)
    }

    /// The earliest epoch that what is left may emit at.
    pub(super) fn earliest(&self) -> Option<Epoch> {
        let held = self.turn.is_some() || self.closing.is_some();
        let waiting = self.waiting.iter().map(|(epoch, _)| *epoch).min();
        held.then_some(self.emitting).into_iter().chain(waiting).min()
    }

    fn tasks(&self) -> impl Iterator<Item = &Local> {
        self.stages.iter().flat_map(|stage| &stage.tasks)
    }

    /// In how long something is due at one of the tasks.
    pub(super) fn until_due(&self) -> Option<(Duration, TaskId)> {
        let due = |local: &Local| local.task.until_due().map(|wait| (wait, local.id));
        self.tasks().filter_map(due).min_by_key(|(wait, _)| *wait)
    }

    /// What ends of cycles say of the commits that closed.
    pub(super) fn held(&mut self) -> Vec<Notice> {
        let tasks = self.stages.iter_mut().flat_map(|stage| &mut stage.tasks);
        let said = tasks.flat_map(|local| {
            let task = local.id;
            local.task.held().into_iter().map(move |(epoch, held)| (task, epoch, held))
        });
        said.map(|(task, epoch, held)| Notice::Held { task, epoch, held }).collect()
    }

    /// What became durable, and the oldest commit still to be reported by a task that has state.
    pub(super) fn reports(
        &mut self,
        committed: Epoch,
    ) -> Result<(Vec<Notice>, Option<Epoch>), TaskError> {
        let mut notices = Vec::new();
        for local in self.stages.iter_mut().flat_map(|stage| &mut stage.tasks) {
            local.task.committed(committed);
            for (commit, slices) in local.task.durable()? {
                assert_eq!(commit, local.unreported, "a task reports commit after commit");
                notices.push(Notice::Report(TaskReport {
                    generation: commit.generation(),
                    task: local.id,
                    commit: commit.commit(),
                    what: Durable::State { slices },
                }));
                local.unreported =
                    commit.next_commit().expect("the coordinator ends the generation before");
            }
        }
        let stateful = self.stages.iter().filter(|stage| stage.stateful);
        Ok((notices, stateful.flat_map(|stage| &stage.tasks).map(|local| local.unreported).min()))
    }
}
