//! A plan, placed and restored, into one timely dataflow. Every worker builds the same operators in
//! the same order; what differs is which tasks they hold.

use std::any::Any;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use egret_log::clock::Wall;
use egret_log::message::Wake;
use egret_schemas::Epoch;
use egret_state::commit::{Coordinator, Reached, TaskId as CommitTask};
use timely::dataflow::operators::{Concatenate, ConnectLoop, Feedback};
use timely::dataflow::{Scope, Stream};

use super::chain::Bolts;
use super::chunk::Chunk;
use super::inputs::Edge;
use super::marks::Watermark;
use super::pact::Route;
use super::sink::Sinks;
use super::spout::Spouts;
use super::stage::Stage;
use super::watched::Watched;
use super::wire::Wires;
use super::worker::Failure;
use super::{bolt, coordinator, sink, spout};
use crate::budget::{Budget, Lane};
use crate::builder::{Env, Part, Settings};
use crate::component::{Context, MakeHook, TaskId, TimerQueue, WatermarkCell};
use crate::grouping::Target;
use crate::plan::{InputPlan, LogicalPlan, PhysicalPlan};
use crate::runtime::{Progress, Restored, Resumed};
use crate::task::TaskError;

/// What the workers of a process share.
pub(crate) struct Shared {
    /// The generation's first epoch.
    pub(crate) first: Epoch,
    pub(crate) budget: Arc<Budget>,
    /// Bytes a spout task may emit in one epoch.
    pub(crate) epoch_bytes: usize,
    /// Whether anything is committed at all.
    pub(crate) commits: bool,
    progress: Arc<Progress>,
    failure: Mutex<Option<Failure>>,
    failed: AtomicBool,
    finished: AtomicBool,
    /// Whether everything emitted is committed, as of the coordinator's last turn here.
    at_rest: AtomicBool,
    committed: AtomicU64,
    /// In a simulation, every bolt: timely has no clock there to run it later by.
    ticks: Mutex<Vec<Wake>>,
    /// Cut when the generation is given up.
    wires: OnceLock<Arc<Wires>>,
}

impl Shared {
    pub(crate) fn new(
        first: Epoch,
        budget: Arc<Budget>,
        epoch_bytes: usize,
        commits: bool,
        progress: Arc<Progress>,
    ) -> Shared {
        Shared {
            first,
            budget,
            epoch_bytes,
            commits,
            progress,
            failure: Mutex::default(),
            failed: AtomicBool::new(false),
            finished: AtomicBool::new(false),
            at_rest: AtomicBool::new(false),
            committed: AtomicU64::new(0),
            ticks: Mutex::default(),
            wires: OnceLock::new(),
        }
    }

    /// Gives the generation up; the first failure is the one reported, but that another process is gone
    /// is reported only if nothing else is known.
    pub(crate) fn fail(&self, failure: Failure) {
        {
            let mut held = self.failure.lock().expect("no panic while held");
            match &*held {
                Some(first) if !first.severed || failure.severed => {}
                _ => *held = Some(failure),
            }
        }
        self.failed.store(true, Ordering::Release);
        if let Some(wires) = self.wires.get() {
            wires.sever();
        }
    }

    /// Has the connections to other processes cut when the generation is given up.
    pub(crate) fn severs(&self, wires: &Arc<Wires>) {
        self.wires.get_or_init(|| Arc::clone(wires));
        if self.has_failed() {
            wires.sever();
        }
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    pub(crate) fn take_failure(&self) -> Option<Failure> {
        self.failure.lock().expect("no panic while held").take()
    }

    pub(crate) fn finished(&self) {
        self.finished.store(true, Ordering::Release);
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.finished.load(Ordering::Acquire)
    }

    /// Wakes a component at every [`tick`](Shared::tick).
    pub(super) fn ticks_with(&self, wake: &Wake) {
        if egret_log::simulation::is_entered() {
            self.ticks.lock().expect("no panic while held").push(Arc::clone(wake));
        }
    }

    /// Has every component look what has become due, in a simulation.
    pub(crate) fn tick(&self) {
        self.ticks.lock().expect("no panic while held").iter().for_each(|wake| wake());
    }

    pub(crate) fn rests(&self, at_rest: bool) {
        self.at_rest.store(at_rest, Ordering::Relaxed);
    }

    pub(crate) fn is_at_rest(&self) -> bool {
        self.at_rest.load(Ordering::Relaxed)
    }

    /// Whether the generation, whose dataflow ended here, ended in order.
    pub(crate) fn ended(&self) -> Result<(), Failure> {
        match self.is_finished() {
            true => Ok(()),
            false => Err(Failure::passing("the dataflow ended before its last commit".into())),
        }
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.progress.is_stopping()
    }

    /// Whether spouts are to emit.
    pub(crate) fn is_active(&self) -> bool {
        self.progress.is_active()
    }

    /// Calls `wake` when a stop is asked for, or that changes.
    pub(crate) fn wake_with(&self, wake: Wake) {
        self.progress.wake_with(wake);
    }

    pub(crate) fn emitted(&self, tuples: u64, bytes: usize) {
        self.progress.emitted(tuples, bytes);
    }

    pub(crate) fn resumed(&self, how: Resumed) {
        self.progress.resumed(how);
    }

    /// Every commit up to this one was made, as a worker of this process has heard.
    pub(crate) fn heard_committed(&self, epoch: Epoch) {
        self.committed.fetch_max(epoch.0, Ordering::Relaxed);
    }

    /// The last commit known here to be made.
    pub(crate) fn last_committed(&self) -> Epoch {
        Epoch(self.committed.load(Ordering::Relaxed))
    }

    pub(crate) fn committed(&self, epoch: Epoch, took: Option<Duration>) {
        self.heard_committed(epoch);
        self.progress.committed(self.budget.peak(), took);
    }
}

/// Everything a worker needs to build its dataflow.
pub(crate) struct Compiled {
    pub(crate) plan: LogicalPlan,
    pub(crate) physical: PhysicalPlan,
    pub(crate) parts: Vec<Part>,
    /// Of each component.
    pub(crate) settings: Vec<Arc<Settings>>,
    pub(crate) hooks: Arc<[MakeHook]>,
    pub(crate) env: Env,
    pub(crate) restored: Restored,
    pub(crate) shared: Arc<Shared>,
    /// For worker 0.
    pub(crate) coordinator: Mutex<Option<Coordinator>>,
}

struct Building<'a, 's> {
    compiled: &'a Compiled,
    worker: u32,
    scope: Scope<'s, u64>,
    /// What the two ends of each feedback share here, by the place of the first and the task.
    rounds: RefCell<BTreeMap<(usize, u32), Rc<dyn Any>>>,
}

impl Building<'_, '_> {
    fn task_id(&self, component: usize, task: u32) -> TaskId {
        TaskId { component: self.compiled.plan.components[component].name.as_str().into(), task }
    }

    fn context(&self, component: usize, task: u32, wake: &Wake) -> Context {
        let id = self.task_id(component, task);
        Context {
            topology: self.compiled.plan.name.as_str().into(),
            meter: self.compiled.shared.progress.metrics().of(&id),
            id,
            tasks: self.compiled.physical.tasks[component],
            wake: Arc::clone(wake),
            log: self.compiled.env.log.clone(),
            resumes_at_end: self.compiled.restored.resumes_at_end,
            commits: self.compiled.plan.guarantee.commits(),
            restarted: self.compiled.restored.restarted,
            watermark: WatermarkCell::new(None),
            wall: Wall::default(),
            timers: TimerQueue::default(),
            progress: Arc::clone(&self.compiled.shared.progress),
            settings: Arc::clone(&self.compiled.settings[component]),
        }
    }

    /// Where the output of `component` goes, one target per edge.
    fn targets(&self, component: usize, task: u32) -> Vec<Target> {
        let c = self.compiled;
        c.plan
            .consumers_of(component)
            .map(|(to, _)| Target {
                from: self.task_id(component, task),
                to: c.plan.components[to].name.as_str().into(),
                tasks: c.physical.tasks[to],
                local: match c.physical.is_fused(&c.plan, to) {
                    true => vec![task],
                    false => c.physical.tasks_on(to, self.worker),
                },
                offset: task,
                key_groups: c.plan.key_groups,
                lane: Lane::new(&c.shared.budget, c.physical.number_of(component, task)),
            })
            .collect()
    }

    fn local_tasks(&self, component: usize) -> Vec<u32> {
        self.compiled.physical.tasks_on(component, self.worker)
    }

    /// The task as the commit plan numbers it; stateless bolts have no place there and use 0.
    fn commit_task(&self, component: usize, task: u32) -> CommitTask {
        let component = self.compiled.restored.commit_index[component].unwrap_or_default();
        CommitTask { component, task }
    }

    fn sink_tasks(&self) -> Vec<CommitTask> {
        let c = self.compiled;
        let sinks = (0..c.parts.len()).filter(|&index| matches!(c.parts[index], Part::Sink(_)));
        let of = |index: usize| {
            (0..c.physical.tasks[index]).map(move |task| self.commit_task(index, task))
        };
        sinks.flat_map(of).collect()
    }

    /// Where a bolt's watermark comes from, as of the commit the generation begins with.
    fn watermark(&self, component: usize, cell: &WatermarkCell) -> Option<Watermark> {
        let c = self.compiled;
        let spouts = c.plan.timed_spouts_of(component);
        let tasks = spouts.iter().map(|spout| c.physical.tasks[*spout] as usize).sum();
        let stood = |index: usize| c.restored.watermark(&c.plan.components[index].name);
        let reached =
            spouts.iter().map(|spout| (self.commit_task(*spout, 0).component, stood(*spout)));
        let reached = Reached::new(stood(component), reached);
        (tasks > 0).then(|| Watermark::new(reached, tasks, cell.clone()))
    }

    fn route(&self, component: usize, input: &InputPlan) -> Route {
        let physical = &self.compiled.physical;
        match physical.stays_local(component, input.grouping) {
            true => Route::Local,
            false => Route::ToTask { workers: physical.workers_of(component) },
        }
    }

    /// A waker for an operator not built yet: it is given the operator's address once known.
    fn wake(&self, address: &[usize]) -> Wake {
        let sync = self.scope.worker().sync_activator_for(address.to_vec());
        // A worker that is gone needs no waking.
        let sync = Mutex::new(sync);
        Arc::new(move || {
            sync.lock().expect("no panic while held").activate().unwrap_or_default();
        })
    }

    /// Runs `make`; a failure is kept and the operator is built without tasks.
    fn or_fail<R>(&self, made: Result<R, TaskError>) -> Option<R> {
        made.map_err(|error| self.compiled.shared.fail(error.into())).ok()
    }

    fn spouts(&self, component: usize, wake: &Wake) -> Result<Spouts, TaskError> {
        let c = self.compiled;
        let Part::Spout(part) = &c.parts[component] else { unreachable!("the plan says spout") };
        let mut tasks = Vec::new();
        // What comes back is in commits by where it left.
        let end = c.plan.end_of(component);
        for task in self.local_tasks(component) {
            let cx = self.context(component, task, wake);
            let watched = Watched::new(&cx, &c.hooks);
            let mut spout = part.make(cx, &self.targets(component, task));
            spout.open(c.restored.positions(&c.plan.components[component].name))?;
            let round = spout.round().map(|round| ((component, task), round));
            self.rounds.borrow_mut().extend(round);
            tasks.push((self.commit_task(end.unwrap_or(component), task), spout, watched));
        }
        let spouts = Spouts::new(tasks, Arc::clone(&c.shared));
        if end.is_some() {
            return Ok(spouts.returning());
        }
        Ok(spouts.limited(c.settings[component].rate, c.physical.tasks[component]))
    }

    fn bolts(&self, chain: &[usize], wake: &Wake) -> Result<Bolts, TaskError> {
        let c = self.compiled;
        let stages = chain.iter().map(|component| self.stage(*component, wake));
        let stages = stages.collect::<Result<Vec<Stage>, TaskError>>()?;
        Ok(Bolts::new(stages, c.physical.tasks[chain[0]], c.shared.first).with(c.env.faults))
    }

    fn stage(&self, component: usize, wake: &Wake) -> Result<Stage, TaskError> {
        let c = self.compiled;
        let Part::Bolt(part) = &c.parts[component] else { unreachable!("the plan says bolt") };
        let cell = WatermarkCell::new(c.restored.watermark(&c.plan.components[component].name));
        let mut tasks = Vec::new();
        for task in self.local_tasks(component) {
            let cx = Context { watermark: cell.clone(), ..self.context(component, task, wake) };
            let watched = Watched::new(&cx, &c.hooks);
            let state = c.restored.take_state(component, task, Arc::clone(wake));
            let mut bolt = part.make(&c.env, cx, &self.targets(component, task), state);
            if let Some(feeds) = c.plan.components[component].feeds {
                let lane = Lane::new(&c.shared.budget, c.physical.number_of(component, task));
                // Where the other end could not be made, nothing runs.
                let round = self.rounds.borrow_mut().remove(&(feeds, task));
                round.into_iter().for_each(|round| bolt.feeds(&*round, lane.clone()));
            }
            bolt.open()?;
            let name = &c.plan.components[component].name;
            c.shared.resumed(c.restored.replay(&c.env, name, task, &mut *bolt)?);
            tasks.push((self.commit_task(component, task), bolt, watched));
        }
        let stage = Stage::new(tasks, c.shared.first, self.watermark(component, &cell));
        Ok(stage.ticking(c.settings[component].tick).handing_on(self.edge_on(component)))
    }

    /// The edge from a component to the one that is one operator with it, if one is.
    fn edge_on(&self, component: usize) -> Option<usize> {
        let c = self.compiled;
        let mut consumers = c.plan.consumers_of(component);
        let edge_on = consumers.find(|(to, _)| c.physical.is_fused(&c.plan, *to));
        edge_on.map(|(_, input)| input.edge)
    }

    fn sinks(&self, component: usize, wake: &Wake) -> Result<Sinks, TaskError> {
        let c = self.compiled;
        let Part::Sink(part) = &c.parts[component] else { unreachable!("the plan says sink") };
        let mut tasks = Vec::new();
        for task in self.local_tasks(component) {
            let cx = self.context(component, task, wake);
            let watched = Watched::new(&cx, &c.hooks);
            let mut sink = part.make(&c.env, cx)?;
            sink.open(c.restored.ends(&c.plan.components[component].name))?;
            tasks.push((self.commit_task(component, task), sink, watched));
        }
        Ok(Sinks::new(tasks, c.physical.tasks[component], c.shared.first))
    }
}

/// Builds the whole dataflow in `scope`.
pub(crate) fn build(compiled: &Compiled, scope: Scope<'_, u64>) {
    let worker = u32::try_from(scope.index()).expect("workers are counted in u32");
    let b = Building { compiled, worker, scope, rounds: RefCell::default() };
    let (feedback, control) = scope.feedback::<Chunk>(0);
    let mut streams: BTreeMap<(usize, usize), Stream<'_, u64, Chunk>> = BTreeMap::new();
    let mut reports = Vec::new();
    let mut processed = Vec::new();
    let mut marks: BTreeMap<usize, Stream<'_, u64, Chunk>> = BTreeMap::new();
    for (index, component) in compiled.plan.components.iter().enumerate() {
        if compiled.physical.is_fused(&compiled.plan, index) {
            // It was built with the one it takes its tuples from.
            continue;
        }
        let name = component.name.as_str();
        let edges: Vec<(usize, usize)> =
            (0..compiled.plan.edges_of(index)).map(|edge| (index, edge)).collect();
        let inputs = component.inputs.iter().map(|input| -> Edge<'_> {
            let stream = streams.remove(&(input.from, input.edge));
            (stream.expect("an input comes from an earlier component"), b.route(index, input))
        });
        let inputs: Vec<Edge<'_>> = inputs.collect();
        let (outputs, report) = match &compiled.parts[index] {
            Part::Spout(_) => {
                let make = |wake: &Wake| b.or_fail(b.spouts(index, wake));
                let make = |address: &[usize]| make(&b.wake(address));
                let outputs = (edges.len(), component.event_time.is_some());
                let built =
                    spout::build(name, scope, control.clone(), outputs, make, &compiled.shared);
                marks.extend(built.marks.map(|said| (index, said)));
                (edges.into_iter().zip(built.streams).collect::<Vec<_>>(), built.reports)
            }
            Part::Bolt(_) => {
                let chain = compiled.physical.chain(&compiled.plan, index);
                // The end of a feedback has one for its frontier.
                let edges_of = |of: usize| match compiled.plan.components[of].feeds {
                    Some(_) => 1,
                    None => compiled.plan.edges_of(of),
                };
                // Those that leave the chain, each as the place in it and the edge there.
                let edges: Vec<(usize, usize)> = chain
                    .iter()
                    .enumerate()
                    .flat_map(|(place, of)| (0..edges_of(*of)).map(move |e| (place, e)))
                    .filter(|(place, edge)| b.edge_on(chain[*place]) != Some(*edge))
                    .collect();
                let names = chain.iter().map(|of| compiled.plan.components[*of].name.as_str());
                let name = names.collect::<Vec<_>>().join(" + ");
                let make = |address: &[usize]| {
                    let wake = b.wake(address);
                    compiled.shared.ticks_with(&wake);
                    b.or_fail(b.bolts(&chain, &wake))
                };
                let said = compiled.plan.timed_spouts_of(index);
                let said: Vec<_> = said.iter().map(|spout| marks[spout].clone()).collect();
                let said = (!said.is_empty()).then(|| scope.concatenate(said));
                let (streams, report) =
                    bolt::build(&name, scope, (inputs, said), &edges, make, &compiled.shared);
                let edges = edges.iter().map(|(place, edge)| (chain[*place], *edge));
                let (ends, edges): (Vec<_>, Vec<_>) = edges
                    .zip(streams)
                    .partition(|((of, _), _)| compiled.plan.components[*of].feeds.is_some());
                processed.extend(ends.into_iter().map(|(_, frontier)| frontier));
                (edges, report)
            }
            Part::Sink(_) => {
                let make = |address: &[usize]| b.or_fail(b.sinks(index, &b.wake(address)));
                let (done, report) =
                    sink::build(name, scope, inputs, control.clone(), make, &compiled.shared);
                processed.push(done);
                (Vec::new(), report)
            }
        };
        streams.extend(outputs);
        reports.push(report);
    }
    let reports = scope.concatenate(reports);
    let processed = scope.concatenate(processed);
    let driver = (worker == 0).then(|| {
        let core = compiled.coordinator.lock().expect("no panic while held").take();
        let core = core.expect("each generation builds its dataflow once");
        (core, compiled.restored.take_commit_log(), b.sink_tasks())
    });
    coordinator::build(scope, reports, processed, driver, &compiled.shared).connect_loop(feedback);
}
