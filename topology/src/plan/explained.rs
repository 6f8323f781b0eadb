//! A plan on its workers, as one value: what is written as JSON, and what is drawn.
//!
//! | it says | of |
//! |---|---|
//! | where each task runs | each component |
//! | how tuples find their task, and what that costs | each input |
//! | what of it is checkpointed | each component |
//! | whether it is one operator with what it takes its tuples from | each input |

use super::{Exchange, Kind, LogicalPlan, OutputPlan, PhysicalPlan};
use crate::component::EventTime;
use crate::grouping::Grouping;

/// The version of the JSON: a field may come, and none goes or means something else, without another.
const VERSION: u32 = 1;

/// Tasks are listed worker by worker where they are on so many workers at most.
const WORKERS_LISTED: usize = 8;

/// A plan on its workers, as [`Form::Json`](super::Form) writes it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Explained {
    /// The version of this format.
    pub version: u32,
    /// The topology's name.
    pub topology: String,
    /// What it promises.
    pub guarantee: String,
    /// Units of state placement.
    pub key_groups: u32,
    /// Processes it runs in.
    pub processes: u32,
    /// Worker threads in all of them.
    pub workers: u32,
    /// The components, each after those it takes its tuples from.
    pub components: Vec<ExplainedComponent>,
}

/// One component.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ExplainedComponent {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// Where each of its tasks runs.
    pub tasks: Vec<TaskPlace>,
    /// Where its tuples come from.
    pub inputs: Vec<ExplainedInput>,
    /// Where the tuples it takes come back, for the end of a feedback.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub feeds: Option<String>,
    /// The type it emits.
    pub emits: Option<String>,
    /// Its named outputs beside that.
    pub outputs: Vec<OutputPlan>,
    /// The types of key and state, for a bolt that keeps any.
    pub state: Option<String>,
    /// What of it is in each commit; nothing where that is none.
    pub checkpointed: Option<Checkpointed>,
    /// How event time is followed, for a spout that says it.
    pub event_time: Option<EventTime>,
    /// What it reads or writes outside, in words.
    pub detail: String,
}

/// Where a task runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct TaskPlace {
    /// Its number in its component.
    pub task: u32,
    /// Its worker, counted over all processes.
    pub worker: u32,
    /// That worker's process.
    pub process: u32,
}

/// One input of a component.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct ExplainedInput {
    /// The component it comes from.
    pub from: String,
    /// That one's place among the components.
    #[serde(skip)]
    pub(super) origin: usize,
    /// The named output of that, if it is not the first one.
    pub output: Option<String>,
    /// Which of the component's inputs it is part of, counted from 1: a bolt that joins has several.
    pub input: u32,
    /// How its tuples find their task.
    pub grouping: Grouping,
    /// What that costs.
    pub exchange: Exchange,
    /// Whether both components are one operator.
    pub fused: bool,
}

/// What of a component is in each commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Checkpointed {
    /// Where a spout goes on.
    Positions,
    /// What a bolt keeps.
    State,
    /// Where a sink's output ends.
    Output,
}

impl std::fmt::Display for Checkpointed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Checkpointed::Positions => "positions",
            Checkpointed::State => "state",
            Checkpointed::Output => "output",
        })
    }
}

impl Explained {
    /// Puts both plans together.
    pub fn new(plan: &LogicalPlan, physical: &PhysicalPlan) -> Explained {
        let components = 0..plan.components.len();
        Explained {
            version: VERSION,
            topology: plan.name.clone(),
            guarantee: plan.guarantee.to_string(),
            key_groups: plan.key_groups,
            processes: physical.workers / physical.threads,
            workers: physical.workers,
            components: components.map(|index| component(plan, physical, index)).collect(),
        }
    }

    /// The whole in one line.
    pub(super) fn title(&self) -> String {
        let s = |n: u32| if n == 1 { "" } else { "s" };
        let mut title = format!(
            "{}: {}, {} key groups, {} worker{}",
            self.topology,
            self.guarantee,
            self.key_groups,
            self.workers,
            s(self.workers)
        );
        if self.processes > 1 {
            title.push_str(&format!(" in {} processes", self.processes));
        }
        title
    }

    /// The two ends of each feedback: where tuples leave, and where they come back, by their places.
    pub(super) fn feedbacks(&self) -> impl Iterator<Item = (usize, usize)> {
        let place = |name: &String| self.components.iter().position(|c| c.name == *name);
        let all = self.components.iter().enumerate();
        all.filter_map(move |(from, of)| Some((from, place(of.feeds.as_ref()?)?)))
    }

    /// Every input of every component: its origin and the component, by their places among the components, and it.
    pub(super) fn edges(&self) -> impl Iterator<Item = (usize, usize, &ExplainedInput)> {
        let all = self.components.iter().enumerate();
        all.flat_map(|(to, of)| of.inputs.iter().map(move |input| (input.origin, to, input)))
    }
}

fn component(plan: &LogicalPlan, physical: &PhysicalPlan, index: usize) -> ExplainedComponent {
    let of = &plan.components[index];
    let fused = physical.is_fused(plan, index);
    let exchange = |from: usize, grouping| match fused {
        true => Exchange::fused(physical.tasks[index]),
        false => physical.exchange(from, index, grouping),
    };
    let inputs = of.inputs.iter().map(|input| ExplainedInput {
        from: plan.components[input.from].name.clone(),
        origin: input.from,
        output: input.output.clone(),
        input: input.side + 1,
        grouping: input.grouping,
        exchange: exchange(input.from, input.grouping),
        fused,
    });
    let tasks = (0..physical.tasks[index]).map(|task| TaskPlace {
        task,
        worker: physical.worker_of(task),
        process: physical.process_of(task),
    });
    ExplainedComponent {
        name: of.name.clone(),
        kind: of.kind,
        tasks: tasks.collect(),
        inputs: inputs.collect(),
        feeds: of.feeds.map(|feeds| plan.components[feeds].name.clone()),
        emits: of.emits.clone(),
        outputs: of.outputs.clone(),
        state: of.state.clone(),
        checkpointed: checkpointed(plan, index),
        event_time: of.event_time,
        detail: of.detail.clone(),
    }
}

fn checkpointed(plan: &LogicalPlan, index: usize) -> Option<Checkpointed> {
    let of = &plan.components[index];
    let effectively_once = plan.guarantee == egret_state::Guarantee::EffectivelyOnce;
    // Only sinks into streams are fed by partition.
    let into_stream = of.inputs.iter().any(|input| input.grouping == Grouping::ByPartition);
    let what = match of.kind {
        Kind::Spout => Some(Checkpointed::Positions),
        Kind::KeyedBolt | Kind::StatefulBolt | Kind::FeedbackEnd => Some(Checkpointed::State),
        Kind::Sink if into_stream && effectively_once => Some(Checkpointed::Output),
        Kind::Sink | Kind::Bolt | Kind::Feedback => None,
    };
    what.filter(|_| plan.guarantee.commits())
}

impl ExplainedComponent {
    /// What a box says of it, line by line, its name first.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = vec![self.name.clone(), format!("{} x{}", self.kind, self.tasks.len())];
        lines.extend(self.emits.as_ref().map(|of| format!("-> {of}")));
        lines.extend(self.outputs.iter().map(|output| format!("{}: {}", output.name, output.of)));
        lines.extend(self.state.as_ref().map(|state| format!("state {state}")));
        lines.extend(self.checkpointed.map(|what| format!("checkpointed: {what}")));
        lines.extend(self.event_time.as_ref().map(|time| format!("event time {time}")));
        lines.extend(Some(self.detail.clone()).filter(|detail| !detail.is_empty()));
        let mut workers: Vec<u32> = self.tasks.iter().map(|place| place.worker).collect();
        workers.sort_unstable();
        workers.dedup();
        if workers.len() > WORKERS_LISTED {
            lines.push(format!("tasks in turn on {} workers", workers.len()));
            return lines;
        }
        lines.extend(workers.into_iter().map(|worker| {
            let here = self.tasks.iter().filter(|place| place.worker == worker);
            let here: Vec<String> = here.map(|place| place.task.to_string()).collect();
            format!("worker {worker}: task {}", here.join(", "))
        }));
        lines
    }
}

impl ExplainedInput {
    /// What an arrow says of it, line by line.
    pub(super) fn lines(&self) -> Vec<String> {
        let output = self.output.iter().map(|output| format!("of {output}"));
        let reach = if self.fused { "fused".to_owned() } else { self.exchange.reach.to_string() };
        output.chain([self.grouping.to_string(), reach]).collect()
    }
}
