//! Who takes part in a commit: every spout, stateful and sink task of the physical plan.

use std::fmt;

use egret_schemas::Generation;

use super::guarantee::Guarantee;
use super::watermark::Timed;

/// A task that reports: the number of its entry in [`CommitPlan::components`] and its own number.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct TaskId {
    /// Index into the plan's components.
    pub component: u32,
    /// The task, below the component's count.
    pub task: u32,
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.component, self.task)
    }
}

/// What a component contributes to a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Source positions.
    Spout,
    /// Keyed state.
    State,
    /// Output positions.
    Sink,
}

/// One component in one role. A component with two roles is listed twice, under the same name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CommitComponent {
    /// The component's name: its identity across upgrades.
    pub name: String,
    /// What it contributes.
    pub role: Role,
    /// How many tasks it has, at least one.
    pub tasks: u32,
}

/// Everything the coordinator knows of a topology.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct CommitPlan {
    /// The claimed generation, from 1.
    pub generation: Generation,
    /// Fingerprint of the graph.
    pub fingerprint: u64,
    /// What the topology promises.
    pub guarantee: Guarantee,
    /// The topology's fixed number of key groups.
    pub key_groups: u32,
    /// Spouts, stateful components and sinks.
    pub components: Vec<CommitComponent>,
    /// Where tuples come back in cycles, as places in `components`: their tasks keep state, and say with each commit
    /// whether they hold anything.
    pub feedbacks: Vec<u32>,
    /// Every component that has a watermark, bolts without state included.
    pub timed: Vec<Timed>,
}

impl CommitPlan {
    /// The component a task belongs to, if the plan has that task.
    pub fn component(&self, task: TaskId) -> Option<&CommitComponent> {
        let component = self.components.get(usize::try_from(task.component).ok()?)?;
        (task.task < component.tasks).then_some(component)
    }

    /// Every task, in order.
    pub fn tasks(&self) -> impl Iterator<Item = (TaskId, &CommitComponent)> {
        (0u32..).zip(&self.components).flat_map(|(component, c)| {
            (0..c.tasks).map(move |task| (TaskId { component, task }, c))
        })
    }

    /// The task's name for people: `count/2`.
    pub fn name(&self, task: TaskId) -> String {
        match self.component(task) {
            Some(component) => format!("{}/{}", component.name, task.task),
            None => format!("#{task}"),
        }
    }
}
