//! Tasks on workers.

use super::{InputPlan, Kind, LogicalPlan};
use crate::grouping::Grouping;

/// Where every task runs. Task `i` of a component runs on worker `i mod workers`, so tasks of equal
/// index sit together and local groupings find a neighbour.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct PhysicalPlan {
    /// Worker threads in all processes; those of one process are numbered one after the other.
    pub workers: u32,
    /// Worker threads of each process.
    pub threads: u32,
    /// Tasks per component, in the order of the logical plan.
    pub tasks: Vec<u32>,
}

impl PhysicalPlan {
    /// Places every task of `plan` on `workers` workers.
    ///
    /// # Panics
    /// When there is no worker: the caller checked its options.
    pub fn place(plan: &LogicalPlan, workers: u32) -> PhysicalPlan {
        PhysicalPlan::place_in(plan, 1, workers)
    }

    /// Places every task of `plan` on `processes` times `threads` workers.
    ///
    /// # Panics
    /// When there is no worker: the caller checked its options.
    pub fn place_in(plan: &LogicalPlan, processes: u32, threads: u32) -> PhysicalPlan {
        let workers = processes * threads;
        assert!(workers > 0, "a topology runs on at least one worker");
        let tasks = plan.components.iter().map(|c| c.parallelism).collect();
        PhysicalPlan { workers, threads, tasks }
    }

    /// Whether a component is one operator with the one it takes its tuples from.
    ///
    /// That is where each task has them from one task, on its own worker and of its own number: it is a bolt, not
    /// keyed, whose only input is an output of a bolt of as many tasks that nobody else takes, and is grouped so that
    /// tuples may stay where they are. By the number of tasks, or by `local_or_shuffle`, whose turns among tasks of
    /// one worker are then not taken.
    /// With one of a component's several outputs only: the one attached first.
    pub fn is_fused(&self, plan: &LogicalPlan, index: usize) -> bool {
        let may_be = self.may_be_fused(plan, index);
        may_be && {
            let mut consumers = plan.consumers_of(plan.components[index].inputs[0].from);
            consumers
                .find(|(to, _)| self.may_be_fused(plan, *to))
                .is_some_and(|(to, _)| to == index)
        }
    }

    fn may_be_fused(&self, plan: &LogicalPlan, index: usize) -> bool {
        let component = &plan.components[index];
        let [input] = &component.inputs[..] else { return false };
        let from = &plan.components[input.from];
        let are_bolts =
            matches!(component.kind, Kind::Bolt | Kind::StatefulBolt | Kind::FeedbackEnd)
                && !matches!(from.kind, Kind::Spout | Kind::Feedback | Kind::Sink);
        let tasks = self.tasks[index];
        let stays = match input.grouping {
            Grouping::LocalOrShuffle => true,
            Grouping::Shuffle | Grouping::Rebalance | Grouping::Global | Grouping::All => {
                tasks == 1
            }
            _ => false,
        };
        let mut consumers = plan.consumers_of(input.from);
        let others = |(_, other): (usize, &InputPlan)| {
            other.output == input.output && other.edge != input.edge
        };
        plan.fuses
            && are_bolts
            && stays
            && input.from < index
            && tasks == self.tasks[input.from]
            && !consumers.any(others)
    }

    /// The components that are one operator with `head`, which is [not fused](Self::is_fused) itself: each is fed by
    /// the one before.
    pub fn chain(&self, plan: &LogicalPlan, head: usize) -> Vec<usize> {
        let mut chain = vec![head];
        let mut last = Some(head);
        while let Some(from) = last {
            let mut behind = plan.consumers_of(from).map(|(to, _)| to);
            last = behind.find(|to| self.is_fused(plan, *to));
            chain.extend(last);
        }
        chain
    }

    /// The process of a task.
    pub fn process_of(&self, task: u32) -> u32 {
        self.worker_of(task) / self.threads
    }

    /// The process of each task, in the order of [`number_of`](PhysicalPlan::number_of).
    pub(crate) fn processes_of_emitters(&self) -> Vec<usize> {
        let tasks = self.tasks.iter().flat_map(|tasks| 0..*tasks);
        tasks.map(|task| self.process_of(task) as usize).collect()
    }

    /// The worker of a task.
    pub fn worker_of(&self, task: u32) -> u32 {
        task % self.workers
    }

    /// The tasks of a component on one worker.
    pub fn tasks_on(&self, component: usize, worker: u32) -> Vec<u32> {
        (0..self.tasks[component]).filter(|task| self.worker_of(*task) == worker).collect()
    }

    /// Tasks in all.
    pub fn tasks_total(&self) -> u32 {
        self.tasks.iter().sum()
    }

    /// A task's number among those of all components.
    pub fn number_of(&self, component: usize, task: u32) -> u32 {
        self.tasks[..component].iter().sum::<u32>() + task
    }

    /// The worker of each task of a component.
    pub fn workers_of(&self, component: usize) -> Vec<u32> {
        (0..self.tasks[component]).map(|task| self.worker_of(task)).collect()
    }
}
