//! The bolt operator, with and without state.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use egret_log::clock;
use egret_schemas::Epoch;
use egret_state::commit::{Durable, TaskId, TaskReport};
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, Stream};

use super::alarm::Alarm;
use super::align::Align;
use super::chunk::Chunk;
use super::compile::Shared;
use super::inputs::{Edge, Inputs, frontier};
use super::marks::{Said, Watermark};
use super::outputs::Outputs;
use super::pact::Route;
use super::reports::{Notice, Reports};
use super::ticks::Ticks;
use super::watched::Watched;
use crate::batch::{Routed, typed};
use crate::budget::Charge;
use crate::runtime::Faults;
use crate::task::{BoltTask, TaskError};

/// How long a task whose lane is full waits before it looks again, when its consumers are on other
/// workers: nothing wakes it.
const LANE_FULL: Duration = Duration::from_millis(1);

/// One local task, and the commit it has to report next.
struct Local {
    task: Box<dyn BoltTask>,
    id: TaskId,
    unreported: Epoch,
    watched: Watched,
    /// The tuples of the batch under way, and how long it has worked on it.
    batch: (usize, Duration),
    /// Tuples of it that are counted.
    emitted: u64,
}

impl Local {
    /// Has the task do something, and counts what it emits and how that ends.
    fn count<R>(
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

    /// Has the task work on its batch; whether that is done.
    fn go_on(&mut self) -> Result<bool, TaskError> {
        let began = clock::now();
        let done = self.count(|task| task.go_on())?;
        self.batch.1 += clock::now() - began;
        if done {
            let (tuples, time) = std::mem::take(&mut self.batch);
            self.watched.executed(tuples, time);
        }
        Ok(done)
    }
}

/// The tactic: local tasks, aligned on commits.
///
/// A task works until its outlet holds a slice; that is sent, and the task goes on while its lane has
/// room. Without room the rest waits here, the batch under way first, and the capabilities with it.
pub(crate) struct Bolts {
    tasks: Vec<Local>,
    /// Index into `tasks` by task number.
    local: Vec<Option<usize>>,
    align: Align<Routed>,
    /// Batches of the open commit, in the order they came.
    waiting: VecDeque<(Epoch, Routed)>,
    /// The task that sends or works, and the charge of its batch if that is not done.
    turn: Option<(usize, Option<Charge>)>,
    /// While a commit closes, the task that closes next.
    closing: Option<usize>,
    /// Where event time comes from, if it does.
    watermark: Option<Watermark>,
    /// The epoch of what lies in the outlets.
    emitting: Epoch,
    /// Whether this activation found room for anything.
    moved: bool,
    stateful: bool,
    ticks: Option<Ticks>,
    /// The epoch in which a tick emitted something, and nobody was told yet.
    ticked: Option<Epoch>,
    /// Whether the tasks were told that the topology ended.
    ended: bool,
    faults: Faults,
}

/// What an activation left.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Left {
    Nothing,
    /// A lane filled up meanwhile: its consumers have something to do.
    Filled,
    /// A lane was full before: its consumers are behind.
    Full,
    /// A tuple waits this long to be tried again.
    Waits(Duration),
}

impl Bolts {
    /// Opened and restored tasks of a component of `tasks_total` tasks.
    pub(crate) fn new(
        tasks: Vec<(TaskId, Box<dyn BoltTask>, Watched)>,
        tasks_total: u32,
        first: Epoch,
        watermark: Option<Watermark>,
    ) -> Bolts {
        let mut local = vec![None; tasks_total as usize];
        for (index, (id, ..)) in tasks.iter().enumerate() {
            local[id.task as usize] = Some(index);
        }
        let stateful = tasks.first().is_some_and(|(_, task, _)| task.stateful());
        let tasks = tasks.into_iter().map(|(id, task, watched)| Local {
            task,
            id,
            watched,
            batch: (0, Duration::ZERO),
            emitted: 0,
            unreported: first.commit_start(),
        });
        Bolts {
            tasks: tasks.collect(),
            local,
            align: Align::new(first),
            waiting: VecDeque::new(),
            turn: None,
            closing: None,
            watermark,
            emitting: first,
            moved: false,
            stateful,
            ticks: None,
            ticked: None,
            ended: false,
            faults: Faults::default(),
        }
    }

    /// The same with ticks.
    pub(crate) fn ticking(self, every: Option<Duration>) -> Bolts {
        let ticks = every.filter(|_| !self.tasks.is_empty()).map(Ticks::every);
        Bolts { ticks, ..self }
    }

    /// The same with defects.
    pub(crate) fn with(self, faults: Faults) -> Bolts {
        Bolts { faults, ..self }
    }

    /// Takes a batch that arrived.
    fn arrived(&mut self, epoch: Epoch, routed: Routed, frontier: Option<Epoch>) {
        self.local_of(routed.task).watched.meter().queued(routed.charge.bytes());
        let early = self.faults.works_before_closing
            && frontier.is_none_or(|f| epoch.commit_start() <= f.commit_start());
        if early || self.faults.no_alignment {
            return self.waiting.push_back((epoch, routed));
        }
        if let Some(routed) = self.align.admit(epoch, routed) {
            self.waiting.push_back((epoch, routed));
        }
    }

    fn local_of(&self, task: u32) -> &Local {
        &self.tasks[self.local[task as usize].expect("routed to its own worker")]
    }

    /// Works on what waits and closes what the frontier left, commit after commit, until nothing is
    /// left or a lane is full.
    fn work(&mut self, frontier: Option<Epoch>, outputs: &mut Outputs) -> Result<Left, TaskError> {
        self.moved = false;
        loop {
            if !self.go_on(outputs)? {
                return Ok(self.held_back());
            }
            if let Some((epoch, routed)) = self.waiting.pop_front() {
                if epoch != self.emitting {
                    self.finish(outputs)?;
                    self.emitting = epoch;
                }
                let index = self.local[routed.task as usize].expect("routed to its own worker");
                let Local { task, watched, batch, .. } = &mut self.tasks[index];
                batch.0 = routed.batch.len();
                watched.meter().took(batch.0);
                watched.meter().dequeued(routed.charge.bytes());
                task.begin(routed.batch);
                self.turn = Some((index, Some(routed.charge)));
            } else if let Some(commit) = self.align.ended(frontier) {
                if !self.close(commit, outputs)? {
                    return Ok(self.held_back());
                }
            } else if !self.settle(outputs)? && !self.tick(frontier, outputs)? {
                return Ok(Left::Nothing);
            }
        }
    }

    fn held_back(&self) -> Left {
        let waits = |(index, _): &(usize, Option<Charge>)| self.tasks[*index].task.waits();
        match self.turn.as_ref().and_then(waits) {
            Some(wait) => Left::Waits(wait),
            None if self.moved => Left::Filled,
            None => Left::Full,
        }
    }

    /// Sends what the task whose turn it is has ready and works on its batch, slice by slice; whether
    /// its turn is over.
    fn go_on(&mut self, outputs: &mut Outputs) -> Result<bool, TaskError> {
        let Some((index, under_way)) = &mut self.turn else { return Ok(true) };
        let local = &mut self.tasks[*index];
        loop {
            let task = &mut local.task;
            let packed = outputs.ship(task.outlet(), self.emitting);
            if !packed && under_way.is_none() {
                self.turn = None;
                return Ok(true);
            }
            if !task.outlet().has_room() {
                return Ok(false);
            }
            self.moved = true;
            if packed {
                task.outlet().refill()?;
            } else if local.go_on()? {
                *under_way = None;
            } else if local.task.waits().is_some() {
                outputs.ship(local.task.outlet(), self.emitting);
                return Ok(false);
            }
        }
    }

    /// Goes on closing `commit`, whose batches are all done: one task emits up to a slice. Whether it
    /// had room to.
    fn close(&mut self, commit: Epoch, outputs: &mut Outputs) -> Result<bool, TaskError> {
        let Some(index) = self.closing else {
            self.finish(outputs)?;
            // Results of the commit as a whole leave at its latest epoch still open here: the frontier
            // may have gone on inside the commit since the last tuple.
            self.emitting = self.emitting.max(commit).max(outputs.earliest());
            // What closes sees how far event time came with the commit.
            if let Some(watermark) = &mut self.watermark {
                watermark.close(commit);
                let ms = watermark.ms();
                self.tasks.iter().for_each(|local| local.watched.meter().watermark(ms));
            }
            self.closing = Some(0);
            return Ok(true);
        };
        if let Some(local) = self.tasks.get_mut(index) {
            if !local.task.outlet().has_room() {
                return Ok(false);
            }
            self.moved = true;
            if local.count(|task| task.close(commit))? {
                self.closing = Some(index + 1);
            } else if local.task.waits().is_some() {
                outputs.ship(local.task.outlet(), self.emitting);
                self.turn = Some((index, None));
                return Ok(false);
            }
            self.turn = Some((index, None));
            return Ok(true);
        }
        self.finish(outputs)?;
        self.closing = None;
        self.align.advance();
        self.waiting.extend(match self.faults.stash_drained_while_closing {
            true => self.align.unstash_all(),
            false => self.align.unstash(),
        });
        Ok(true)
    }

    /// Has a task emit what it waited for, if one has; whether one had. It is of the open commit, which does not close
    /// before, and of the latest epoch of it that anything was emitted at, or the earliest that is open here.
    fn settle(&mut self, outputs: &mut Outputs) -> Result<bool, TaskError> {
        let has = |local: &mut Local| local.task.has_answers();
        let Some(index) = self.tasks.iter_mut().position(has) else { return Ok(false) };
        if self.emitting < outputs.earliest() {
            self.finish(outputs)?;
            self.emitting = outputs.earliest();
        }
        self.tasks[index].count(|task| task.settle())?;
        self.turn = Some((index, None));
        Ok(true)
    }

    /// Lets the next task tick, if it is time to; whether it did. What it emits is of the frontier's epoch, which is
    /// of the commit that is open now.
    fn tick(&mut self, frontier: Option<Epoch>, outputs: &mut Outputs) -> Result<bool, TaskError> {
        let due = self.ticks.as_ref().filter(|ticks| ticks.are_due()).map(Ticks::begins);
        let (Some(begins), Some(frontier)) = (due, frontier) else { return Ok(false) };
        if begins {
            self.finish(outputs)?;
            self.emitting = self.emitting.max(frontier).max(outputs.earliest());
        }
        let tasks = self.tasks.len();
        let Some(index) = self.ticks.as_mut().and_then(|ticks| ticks.take(tasks)) else {
            return Ok(false);
        };
        let local = &mut self.tasks[index];
        let before = local.emitted;
        local.count(|task| task.tick())?;
        if local.emitted != before {
            // Not the frontier's: at the start that is of no generation yet, while other workers are not heard of.
            self.ticked = Some(self.emitting);
        }
        self.moved = true;
        self.turn = Some((index, None));
        Ok(true)
    }

    /// The topology ended in order.
    fn end(&mut self) {
        if !std::mem::replace(&mut self.ended, true) {
            for local in &mut self.tasks {
                local.task.end();
                local.watched.closed();
            }
        }
    }

    /// Ends and sends the open batches of every task; nobody's turn is under way.
    fn finish(&mut self, outputs: &mut Outputs) -> Result<(), TaskError> {
        for local in &mut self.tasks {
            local.task.outlet().finish()?;
            outputs.ship(local.task.outlet(), self.emitting);
        }
        Ok(())
    }

    /// The earliest epoch that what is left may emit at.
    fn earliest(&self) -> Option<Epoch> {
        let held = self.turn.is_some() || self.closing.is_some();
        let waiting = self.waiting.iter().map(|(epoch, _)| *epoch).min();
        held.then_some(self.emitting).into_iter().chain(waiting).min()
    }

    /// In how long something is due at one of the tasks.
    fn until_due(&self) -> Option<(Duration, TaskId)> {
        let due = |local: &Local| local.task.until_due().map(|wait| (wait, local.id));
        self.tasks.iter().filter_map(due).min_by_key(|(wait, _)| *wait)
    }

    /// What became durable, and the oldest commit still to be reported.
    fn reports(&mut self, committed: Epoch) -> Result<(Vec<Notice>, Option<Epoch>), TaskError> {
        let mut notices = Vec::new();
        for local in &mut self.tasks {
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
        Ok((notices, self.tasks.iter().map(|local| local.unreported).min()))
    }
}

/// Builds the operator of one bolt component; `marks` are those of the spouts that give it event time, if
/// any do. The order of an activation: read input; work on it, close
/// the commits the frontier left and drain their stash, shipping slice by slice; report; only then move
/// capabilities, not past what is left.
pub(crate) fn build<'s>(
    name: &str,
    scope: Scope<'s, u64>,
    (inputs, marks): (Vec<Edge<'s>>, Option<Stream<'s, u64, Chunk>>),
    edges: usize,
    bolts: impl FnOnce(&[usize]) -> Option<Bolts>,
    shared: &Arc<Shared>,
) -> (Vec<Stream<'s, u64, Chunk>>, Stream<'s, u64, Chunk>) {
    let mut builder = OperatorBuilder::new(name.to_owned(), scope);
    let mut inputs = Inputs::new(&mut builder, inputs);
    let mut marks = marks.map(|marks| builder.new_input(marks, Route::ToWorker));
    let mut streams = Vec::with_capacity(edges);
    let mut ports = Vec::with_capacity(edges);
    for _ in 0..edges {
        let (port, stream) = builder.new_output::<Chunk>();
        ports.push(OutputBuilder::from(port));
        streams.push(stream);
    }
    let (reports, report_stream) = builder.new_output::<Chunk>();
    let address = builder.operator_info().address;
    let activator = scope.activator_for(address.clone());
    let bolts = bolts(&address);
    let shared = Arc::clone(shared);
    builder.build(move |mut caps| {
        let report_cap = caps.pop().expect("one capability per output");
        let mut outputs = Outputs::new(ports, caps, shared.first);
        let mut reports = Reports::new(OutputBuilder::from(reports), report_cap, shared.first);
        let mut bolts = bolts;
        let mut alarm = Alarm::default();
        // One without state reports nothing, but that it ticked.
        if !bolts.as_ref().is_some_and(|b| b.stateful || b.ticks.is_some()) {
            reports.end();
        }
        if bolts.as_ref().is_none_or(|b| b.tasks.is_empty()) {
            outputs.end();
            bolts = None;
        }
        move |frontiers| {
            let mut said: Vec<(Epoch, Vec<Said>)> = Vec::new();
            if let Some(marks) = &mut marks {
                // Every worker is told, also one without a task.
                marks.for_each(|cap, chunk| {
                    let epoch = Epoch(*cap.least().expect("everything is sent under a capability"));
                    said.push((epoch, typed::<Said>(chunk.take().batch).tuples));
                });
            }
            let Some(bolts) = bolts.as_mut().filter(|_| !shared.has_failed()) else { return };
            let frontier = frontier(frontiers);
            let step = || -> Result<(), TaskError> {
                // What the frontier left cannot be in the input: it was read before.
                inputs.for_each(|epoch, routed| bolts.arrived(epoch, routed, frontier));
                if let Some(watermark) = &mut bolts.watermark {
                    said.into_iter().for_each(|(epoch, said)| watermark.said(epoch, said));
                }
                match bolts.work(frontier, &mut outputs)? {
                    Left::Nothing => bolts.finish(&mut outputs)?,
                    Left::Filled => activator.activate(),
                    Left::Full => activator.activate_after(LANE_FULL),
                    Left::Waits(wait) => alarm.wake(wait, &activator),
                }
                let (notices, unreported) = bolts.reports(shared.last_committed())?;
                if let (Some(commit), true, true) = (unreported, shared.commits, bolts.stateful) {
                    reports.send(notices);
                    reports.advance(commit);
                }
                if let Some((wait, task)) = bolts.until_due().filter(|_| reports.are_open()) {
                    reports.send(alarm.set(wait, task, frontier, &activator).into_iter().collect());
                }
                if let Some(epoch) = bolts.ticked.take().filter(|_| reports.are_open()) {
                    // Any task of the plan may say it.
                    let task = TaskId { component: 0, task: 0 };
                    reports.send(vec![Notice::Active { task, epoch }]);
                }
                if let (Some(ticks), true) = (&bolts.ticks, frontier.is_some()) {
                    // Where they are due already, something held them back.
                    alarm.wake(ticks.wait().max(LANE_FULL), &activator);
                }
                match bolts.earliest().into_iter().chain(frontier).min() {
                    Some(epoch) => {
                        outputs.advance(epoch);
                        if !shared.commits || !bolts.stateful {
                            reports.advance(epoch);
                        }
                    }
                    None => {
                        outputs.end();
                        reports.end();
                        bolts.end();
                    }
                }
                Ok(())
            };
            if let Err(error) = step() {
                shared.fail(error.into());
            }
        }
    });
    (streams, report_stream)
}
