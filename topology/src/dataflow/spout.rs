//! The spout operator: emits into the open epoch, moves when the coordinator says so.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use egret_log::clock;
use egret_log::message::Wake;
use egret_schemas::Epoch;
use egret_state::commit::{Durable, Mark, TaskId, TaskReport};
use timely::dataflow::operators::generic::OutputBuilder;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::dataflow::{Scope, Stream};
use timely::progress::Antichain;

use super::chunk::Chunk;
use super::compile::Shared;
use super::marks::{Said, Saying};
use super::outputs::Outputs;
use super::pact::Route;
use super::rate::Rate;
use super::reports::{Control, Notice, Reports};
use super::watched::Watched;
use crate::batch::typed;
use crate::component::{Next, Positions};
use crate::task::{SpoutTask, TaskError};

/// Bytes one task emits before other operators get their turn.
const SLICE_BYTES: usize = 128 << 10;

/// The longest until a spout is asked again: no clock counts as far as a component may say, and once a day is never.
const WAIT_MAX: std::time::Duration = std::time::Duration::from_secs(86_400);

/// One local task and where it stands in the open epoch.
struct Local {
    task: Box<dyn SpoutTask>,
    id: TaskId,
    watched: Watched,
    /// Bytes it had emitted when the epoch opened.
    start: usize,
    active: bool,
    /// Had nothing to emit when the epoch opened, and said so.
    idle: bool,
    done: bool,
    exhausted: bool,
    /// How fast it may emit.
    rate: Option<Rate>,
    /// What it said of event time at the end of the last commit.
    said: Mark,
    /// Positions reported and not yet committed.
    reported: VecDeque<(Epoch, Positions)>,
}

impl Local {
    /// The topology ended in order.
    fn end(&mut self) {
        self.task.end();
        self.watched.closed();
    }
}

/// What one activation decided.
enum Turn {
    Again,
    Wait,
    After(std::time::Duration),
}

impl Turn {
    /// Comes again after `wait`, unless it comes sooner anyway.
    fn after(&mut self, wait: std::time::Duration) {
        let wait = wait.min(WAIT_MAX);
        match self {
            Turn::Wait => *self = Turn::After(wait),
            Turn::After(other) => *other = wait.min(*other),
            Turn::Again => {}
        }
    }
}

/// The tactic: tasks, the open epoch and its byte budget.
pub(crate) struct Spouts {
    tasks: Vec<Local>,
    open: Option<Epoch>,
    drained: bool,
    ended: bool,
    active: bool,
    /// Whether they emit what comes back in a cycle, not what is read outside.
    returns: bool,
    epoch_bytes: usize,
    /// In a simulation, when to look whether a split is idle.
    look: Option<Arc<Look>>,
    shared: Arc<Shared>,
}

impl Spouts {
    /// Opened tasks, numbered as the commit plan numbers them.
    pub(crate) fn new(
        tasks: Vec<(TaskId, Box<dyn SpoutTask>, Watched)>,
        shared: Arc<Shared>,
    ) -> Spouts {
        let tasks = tasks.into_iter().map(|(id, task, watched)| Local {
            task,
            id,
            watched,
            start: 0,
            active: false,
            idle: false,
            done: false,
            exhausted: false,
            rate: None,
            said: Mark::default(),
            reported: VecDeque::new(),
        });
        let epoch_bytes = shared.epoch_bytes;
        Spouts {
            tasks: tasks.collect(),
            open: None,
            drained: false,
            ended: false,
            active: true,
            returns: false,
            epoch_bytes,
            look: egret_log::simulation::is_entered().then(Arc::default),
            shared,
        }
    }

    /// The same, which emit what comes back in a cycle. That is in the state of the other end, so there is nothing to
    /// report; it is no input, so a topology that rests goes on with it; and it is emitted whatever is under way, for
    /// nothing else makes that less.
    pub(crate) fn returning(self) -> Spouts {
        Spouts { returns: true, ..self }
    }

    /// The same, all of whose tasks, on every worker, emit so many tuples a second.
    pub(crate) fn limited(mut self, per_second: Option<f64>, tasks: u32) -> Spouts {
        let rate = |per_second| Rate::of(per_second, tasks, clock::now());
        self.tasks.iter_mut().for_each(|local| local.rate = per_second.map(rate));
        self
    }

    /// The reports of the open commit, if it ends by moving to `next` (`None`: by draining), and what its
    /// tasks say of event time.
    fn end_commit(&mut self, next: Option<Epoch>, notices: &mut Vec<Notice>) -> Vec<Said> {
        let mut said = Vec::new();
        let Some(open) = self.open.filter(|_| !self.returns) else { return said };
        if next.is_some_and(|next| next.commit_start() == open.commit_start()) {
            return said;
        }
        for local in &mut self.tasks {
            let positions = local.task.positions();
            local.reported.push_back((open.commit_start(), positions.clone()));
            let mark = local.task.mark().map(|(mark, _)| mark);
            if let Some(mark) = mark {
                local.said = mark;
                said.push(Said { task: local.id, mark });
            }
            notices.push(Notice::Report(TaskReport {
                generation: open.generation(),
                task: local.id,
                commit: open.commit(),
                what: Durable::Spout { positions, mark },
            }));
        }
        said
    }

    fn committed(&mut self, upto: Epoch) -> Result<(), TaskError> {
        for local in &mut self.tasks {
            // One record may cover several commits: the task hears where the record has it.
            let covered = local.reported.iter().take_while(|(commit, _)| *commit <= upto).count();
            if let Some((_, positions)) = local.reported.drain(..covered).next_back() {
                local.task.committed(&positions)?;
            }
        }
        Ok(())
    }

    /// Lets each task emit a slice.
    fn emit(
        &mut self,
        outputs: &mut Outputs,
        notices: &mut Vec<Notice>,
    ) -> Result<Turn, TaskError> {
        if let Some(look) = &self.look {
            look.looked();
        }
        let emits = (self.active || self.returns) && !self.drained;
        let Some(epoch) = self.open.filter(|_| emits) else { return Ok(Turn::Wait) };
        let mut turn = Turn::Wait;
        for local in &mut self.tasks {
            if let Some((mark, changes_in)) = local.task.mark() {
                // Somebody went idle, or all did: a commit has to tell, though nothing was emitted.
                if mark != local.said && !local.active {
                    local.active = true;
                    notices.push(Notice::Active { task: local.id, epoch });
                }
                changes_in.into_iter().for_each(|wait| match &self.look {
                    Some(look) => look.after(wait),
                    None => turn.after(wait),
                });
            }
            if local.exhausted || local.done {
                continue;
            }
            if !self.returns && self.shared.budget.exhausted() {
                return Ok(Turn::After(std::time::Duration::from_millis(1)));
            }
            let before = local.task.outlet().totals();
            let left = self.epoch_bytes.saturating_sub(before.1 - local.start).min(SLICE_BYTES);
            let left = match local.rate.as_mut().map(|rate| rate.left(clock::now())) {
                None => left,
                Some(Ok(tuples)) => left.min(bytes_of(tuples, before)).max(1),
                Some(Err(wait)) => {
                    turn.after(wait);
                    if !local.active && !local.idle {
                        local.idle = true;
                        notices.push(Notice::Done { task: local.id, epoch });
                    }
                    continue;
                }
            };
            let began = clock::now();
            let next = local.task.next(left).inspect_err(|_| local.watched.fails())?;
            let worked = clock::now() - began;
            local.task.outlet().finish()?;
            outputs.ship(local.task.outlet(), epoch);
            let after = local.task.outlet().totals();
            if !self.returns {
                self.shared.emitted(after.0 - before.0, after.1 - before.1);
            }
            if after.0 > before.0 {
                local.watched.emitted(after.0 - before.0);
                local.watched.meter().worked(worked);
            }
            local.rate.iter_mut().for_each(|rate| rate.took(after.0 - before.0));
            if after.0 > before.0 && !local.active {
                local.active = true;
                notices.push(Notice::Active { task: local.id, epoch });
            }
            local.done = after.1 - local.start >= self.epoch_bytes;
            match next {
                Next::Done => {
                    local.exhausted = true;
                    notices.push(Notice::Exhausted { task: local.id });
                }
                _ if local.done => notices.push(Notice::Done { task: local.id, epoch }),
                Next::More => turn = Turn::Again,
                Next::Idle | Next::After(_) if !local.active && !local.idle => {
                    // Idle tasks keep nobody waiting; one that emits after all says so by `Active`.
                    local.idle = true;
                    notices.push(Notice::Done { task: local.id, epoch });
                    if let Next::After(wait) = next {
                        turn.after(wait);
                    }
                }
                Next::Idle => {}
                Next::After(wait) => turn.after(wait),
            }
        }
        Ok(turn)
    }

    /// Lets each task do what is due though it may emit nothing.
    fn tick(&mut self, turn: &mut Turn) -> Result<(), TaskError> {
        for local in self.tasks.iter_mut().filter(|_| !self.ended) {
            local.task.tick()?.into_iter().for_each(|wait| turn.after(wait));
        }
        Ok(())
    }

    /// The topology ended in order.
    fn end(&mut self) {
        self.ended = true;
        self.tasks.iter_mut().for_each(Local::end);
    }

    /// Has the tasks emit, or rest.
    fn activate(&mut self, active: bool) -> Result<(), TaskError> {
        if std::mem::replace(&mut self.active, active) != active {
            self.tasks.iter_mut().try_for_each(|local| local.task.activate(active))?;
        }
        Ok(())
    }

    /// The last commit was left; nothing is emitted after it.
    fn left(&mut self, after: Epoch) {
        self.tasks.iter_mut().for_each(|local| local.task.opens(after));
    }

    fn open(&mut self, epoch: Epoch) {
        self.open = Some(epoch);
        for local in &mut self.tasks {
            local.task.opens(epoch);
            local.start = local.task.outlet().totals().1;
            local.active = false;
            local.idle = false;
            local.done = false;
        }
    }
}

/// Bytes of so many tuples, if they are as long as those emitted so far were; of the first, nothing is known.
fn bytes_of(tuples: usize, (emitted, bytes): (u64, usize)) -> usize {
    let emitted = usize::try_from(emitted).unwrap_or(usize::MAX);
    tuples.saturating_mul(bytes.checked_div(emitted).unwrap_or_default())
}

/// A spout operator's outputs.
pub(crate) struct Built<'s> {
    pub(crate) streams: Vec<Stream<'s, u64, Chunk>>,
    pub(crate) reports: Stream<'s, u64, Chunk>,
    /// What it says of event time, if the component does.
    pub(crate) marks: Option<Stream<'s, u64, Chunk>>,
}

/// When to look, in a simulation, whether splits are idle: timely has no clock there, and would run the operator again at
/// once, to read what is not there, for ever.
#[derive(Debug, Default)]
struct Look(Mutex<Option<Instant>>);

impl Look {
    fn after(&self, wait: std::time::Duration) {
        let wait = wait.min(WAIT_MAX);
        let (at, mut due) = (clock::now() + wait, self.0.lock().expect("no panic while held"));
        *due = Some(due.map_or(at, |due| due.min(at)));
    }

    fn looked(&self) {
        *self.0.lock().expect("no panic while held") = None;
    }

    fn is_due(&self) -> bool {
        self.0.lock().expect("no panic while held").is_some_and(|due| due <= clock::now())
    }
}

/// Builds the operator of one spout component. The order of an activation: orders of the coordinator
/// first, each moving the capabilities it may move; then emission; then notices.
pub(crate) fn build<'s>(
    name: &str,
    scope: Scope<'s, u64>,
    control: Stream<'s, u64, Chunk>,
    (edges, timed): (usize, bool),
    tasks: impl FnOnce(&[usize]) -> Option<Spouts>,
    shared: &Arc<Shared>,
) -> Built<'s> {
    let mut builder = OperatorBuilder::new(name.to_owned(), scope);
    let mut control = builder.new_input(control, Route::ToWorker);
    let no_path = || [(0, Antichain::new())];
    let mut streams = Vec::with_capacity(edges);
    let mut ports = Vec::with_capacity(edges);
    for _ in 0..edges {
        let (port, stream) = builder.new_output_connection::<Chunk, _>(no_path());
        ports.push(OutputBuilder::from(port));
        streams.push(stream);
    }
    let (reports, report_stream) = builder.new_output_connection::<Chunk, _>(no_path());
    let mut marks = None;
    let mark_port = timed.then(|| {
        let (port, stream) = builder.new_output_connection::<Chunk, _>(no_path());
        marks = Some(stream);
        port
    });
    let workers = u32::try_from(scope.peers()).expect("workers are counted in u32");
    let address = builder.operator_info().address;
    let activator = scope.activator_for(address.clone());
    let spouts = tasks(&address);
    if let Some(look) = spouts.as_ref().and_then(|spouts| spouts.look.clone()) {
        let sync = scope.worker().sync_activator_for(address.to_vec());
        // A worker that is gone needs no waking.
        let wake: Wake = Arc::new(move || {
            if look.is_due() {
                sync.activate().unwrap_or_default();
            }
        });
        shared.ticks_with(&wake);
    }
    let shared = Arc::clone(shared);
    builder.build(move |mut caps| {
        let mut saying = mark_port.map(|port| {
            let cap = caps.pop().expect("one capability per output");
            Saying::new(OutputBuilder::from(port), cap, shared.first, workers)
        });
        let report_cap = caps.pop().expect("one capability per output");
        let mut outputs = Outputs::new(ports, caps, shared.first);
        let mut reports = Reports::new(OutputBuilder::from(reports), report_cap, shared.first);
        let mut spouts = spouts;
        if spouts.as_ref().is_none_or(|s| s.tasks.is_empty()) {
            // No task on this worker: nothing to say, ever.
            outputs.end();
            reports.end();
            saying.iter_mut().for_each(Saying::end);
            spouts = None;
        }
        move |_| {
            let mut orders = Vec::new();
            control.for_each(|_, chunk| {
                orders.extend(typed::<Control>(chunk.take().batch).tuples);
            });
            for order in &orders {
                if let Control::Committed(epoch) = order {
                    shared.heard_committed(*epoch);
                }
            }
            let Some(spouts) = spouts.as_mut().filter(|_| !shared.has_failed()) else { return };
            let step = || -> Result<(), TaskError> {
                let mut notices = Vec::new();
                for order in orders {
                    match order {
                        Control::Open(epoch) => {
                            let said = spouts.end_commit(Some(epoch), &mut notices);
                            reports.send(std::mem::take(&mut notices));
                            spouts.open(epoch);
                            outputs.advance(epoch);
                            reports.advance(epoch);
                            if let Some(saying) = &mut saying {
                                saying.say(&said);
                                saying.advance(epoch);
                            }
                        }
                        Control::Drain => {
                            let said = spouts.end_commit(None, &mut notices);
                            reports.send(std::mem::take(&mut notices));
                            spouts.drained = true;
                            saying.iter_mut().for_each(|saying| saying.say(&said));
                            if let Some(after) = spouts.open.and_then(Epoch::next_commit) {
                                spouts.left(after);
                                outputs.advance(after);
                                reports.advance(after);
                                saying.iter_mut().for_each(|saying| saying.advance(after));
                            }
                        }
                        Control::Finish => {
                            spouts.end();
                            outputs.end();
                            reports.end();
                            saying.iter_mut().for_each(Saying::end);
                        }
                        Control::Committed(epoch) => spouts.committed(epoch)?,
                        Control::Active(active) => spouts.activate(active)?,
                    }
                }
                let mut turn = spouts.emit(&mut outputs, &mut notices)?;
                spouts.tick(&mut turn)?;
                match turn {
                    Turn::Again => activator.activate(),
                    Turn::After(wait) => activator.activate_after(wait),
                    Turn::Wait => {}
                }
                if !notices.is_empty() {
                    reports.send(notices);
                }
                Ok(())
            };
            if let Err(error) = step() {
                shared.fail(error.into());
            }
        }
    });
    Built { streams, reports: report_stream, marks }
}

#[cfg(test)]
mod tests {
    use super::*;

    use egret_schemas::Generation;

    use crate::budget::{Budget, Lane};
    use crate::component::{Emitter, Outlet, OutletOf};

    /// Emits a tuple whenever it is asked.
    struct Asked(Emitter<u64>);

    impl SpoutTask for Asked {
        fn open(&mut self, _: &Positions) -> Result<(), TaskError> {
            Ok(())
        }
        fn next(&mut self, _: usize) -> Result<Next, TaskError> {
            self.0.emit(7);
            Ok(Next::More)
        }
        fn positions(&self) -> Positions {
            Positions::new()
        }
        fn committed(&mut self, _: &Positions) -> Result<(), TaskError> {
            Ok(())
        }
        fn mark(&mut self) -> Option<(Mark, Option<std::time::Duration>)> {
            None
        }
        fn outlet(&mut self) -> &mut dyn Outlet {
            &mut self.0
        }
        fn activate(&mut self, _: bool) -> Result<(), TaskError> {
            Ok(())
        }
        fn end(&mut self) {}
    }

    /// What a spout said went to a clock as it was, which panics at what it cannot count to.
    #[test]
    fn a_spout_that_never_wants_to_be_asked_again_is_asked_another_day() {
        let mut turn = Turn::Wait;
        turn.after(std::time::Duration::MAX);
        assert!(matches!(turn, Turn::After(WAIT_MAX)));
        let look = Look::default();
        look.after(std::time::Duration::MAX);
        assert!(!look.is_due());
    }

    #[test]
    fn a_spout_waits_while_what_is_on_its_way_uses_up_the_budget() {
        let first = Epoch::first(Generation(1));
        let budget = Budget::new(100, 1);
        let shared = Shared::new(first, Arc::clone(&budget), 1 << 20, true, Arc::default());
        let task = Box::new(Asked(OutletOf::<u64>::default().make(&[])));
        let id = TaskId { component: 0, task: 0 };
        let mut spouts = Spouts::new(vec![(id, task, Watched::default())], Arc::new(shared));
        spouts.open(first);
        let mut outputs = Outputs::new(Vec::new(), Vec::new(), first);
        let mut emits = || {
            let mut notices = Vec::new();
            let turn = spouts.emit(&mut outputs, &mut notices).unwrap();
            let emitted = spouts.tasks[0].task.outlet().totals().0;
            (matches!(turn, Turn::Again), matches!(turn, Turn::After(_)), emitted)
        };
        assert_eq!(emits(), (true, false, 1));
        let on_its_way = Lane::new(&budget, 0).charge(100);
        assert_eq!(emits(), (false, true, 1), "it looks again later");
        drop(on_its_way);
        assert_eq!(emits(), (true, false, 2));
    }
}
