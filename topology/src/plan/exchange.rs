//! What it costs to get from one component to the next: how far a tuple may have to go, and whether it is encoded for
//! that.

use super::PhysicalPlan;
use crate::grouping::Grouping;

/// How far the tuples of an input may have to go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reach {
    /// They stay on their worker.
    Local,
    /// To another worker of the same process.
    BetweenWorkers,
    /// To another process.
    BetweenProcesses,
}

impl std::fmt::Display for Reach {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Reach::Local => "local",
            Reach::BetweenWorkers => "between workers",
            Reach::BetweenProcesses => "between processes",
        })
    }
}

/// Pairs of a task that emits and one that may get what it emits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub struct Pairs {
    /// Both on one worker.
    pub local: u64,
    /// On two workers of one process.
    pub between_workers: u64,
    /// In two processes.
    pub between_processes: u64,
}

/// What an input of a component costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Exchange {
    /// The farthest that a tuple may have to go.
    pub reach: Reach,
    /// Whether tuples are encoded for it. Where none can leave its worker, by its grouping or because there is no
    /// other, they are handed over as they are; else all of them are encoded.
    pub encoded: bool,
    /// Between which tasks.
    pub pairs: Pairs,
}

impl Exchange {
    /// Between two components of so many tasks each that are one operator.
    pub(super) fn fused(tasks: u32) -> Exchange {
        let pairs = Pairs { local: tasks.into(), ..Pairs::default() };
        Exchange { reach: Reach::Local, encoded: false, pairs }
    }
}

impl PhysicalPlan {
    /// Whether a grouping keeps all tuples on their worker on the way to a component.
    pub fn stays_local(&self, to: usize, grouping: Grouping) -> bool {
        // Task `i` is on worker `i mod workers`: as many tasks as workers are everywhere.
        grouping == Grouping::LocalOrShuffle && self.tasks[to] >= self.workers
    }

    /// What tuples grouped like this cost on the way from one component to another.
    pub fn exchange(&self, from: usize, to: usize, grouping: Grouping) -> Exchange {
        let receiving = match grouping {
            Grouping::Global => 1,
            _ => self.tasks[to],
        };
        let on = |tasks: u32, worker: u32| {
            // Tasks `worker`, `worker + workers` and so on.
            u64::from(tasks.saturating_sub(worker).div_ceil(self.workers))
        };
        let in_process = |tasks: u32, process: u32| -> u64 {
            (process * self.threads..(process + 1) * self.threads).map(|w| on(tasks, w)).sum()
        };
        let mut pairs = Pairs::default();
        for worker in 0..self.workers {
            let (emitting, here) = (on(self.tasks[from], worker), on(receiving, worker));
            pairs.local += emitting * here;
            if grouping == Grouping::LocalOrShuffle && here > 0 {
                continue;
            }
            let nearby = in_process(receiving, worker / self.threads);
            pairs.between_workers += emitting * (nearby - here);
            pairs.between_processes += emitting * (u64::from(receiving) - nearby);
        }
        let reach = match pairs {
            Pairs { between_processes: 1.., .. } => Reach::BetweenProcesses,
            Pairs { between_workers: 1.., .. } => Reach::BetweenWorkers,
            Pairs { .. } => Reach::Local,
        };
        // A worker that is alone keeps its batches as they are.
        let encoded = self.workers > 1 && !self.stays_local(to, grouping);
        Exchange { reach, encoded, pairs }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL: [Grouping; 3] = [Grouping::Fields, Grouping::Global, Grouping::LocalOrShuffle];

    proptest! {
        /// Against every pair of tasks by itself.
        #[test]
        fn pairs_are_those_that_the_placement_makes(
            processes in 1..4_u32, threads in 1..4_u32, from in 1..9_u32, to in 1..9_u32,
        ) {
            let workers = processes * threads;
            let plan = PhysicalPlan { workers, threads, tasks: vec![from, to] };
            for grouping in ALL {
                let mut want = Pairs::default();
                for a in 0..from {
                    let local = plan.tasks_on(1, plan.worker_of(a));
                    let receivers: Vec<u32> = match grouping {
                        Grouping::Global => vec![0],
                        Grouping::LocalOrShuffle if !local.is_empty() => local,
                        _ => (0..to).collect(),
                    };
                    for b in receivers {
                        *(if plan.worker_of(a) == plan.worker_of(b) {
                            &mut want.local
                        } else if plan.process_of(a) == plan.process_of(b) {
                            &mut want.between_workers
                        } else {
                            &mut want.between_processes
                        }) += 1;
                    }
                }
                let exchange = plan.exchange(0, 1, grouping);
                prop_assert_eq!(exchange.pairs, want, "{}", grouping);
                if plan.stays_local(1, grouping) {
                    prop_assert_eq!(exchange.reach, Reach::Local);
                }
            }
        }
    }
}
