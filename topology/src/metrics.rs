//! What a process's tasks do, in numbers: those of the engine, and those that components count themselves.
//!
//! Everything is kept task by task. A task adds to its own numbers and nobody else's, without a lock and without
//! looking a name up, and [`Metrics::snapshot`] reads them from any thread while it does. They count from the start of
//! the process: a generation that failed is part of them, and what it did that is done again counts again.
//!
//! ```
//! use std::sync::Arc;
//! use egret::Progress;
//!
//! let progress = Arc::new(Progress::default());
//! // topology.run(&log, &options, &progress) on another thread …
//! let metrics = progress.metrics().snapshot();
//! for task in &metrics.tasks {
//!     println!("{}/{}: {} tuples in", task.component, task.task, task.tuples_in);
//! }
//! print!("{}", metrics.prometheus("word_count"));
//! ```

mod distribution;
mod handles;
mod meter;
mod prometheus;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use egret_log::clock;

pub use distribution::Quantiles;
pub use handles::{Counter, Gauge, Histogram, MetricError};
pub(crate) use meter::Meter;

use crate::component::TaskId;

/// The numbers of a process's tasks; see the [module](self).
#[derive(Default)]
pub struct Metrics {
    tasks: Mutex<BTreeMap<TaskId, Arc<Meter>>>,
}

impl std::fmt::Debug for Metrics {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        write!(f, "Metrics({} tasks)", tasks.len())
    }
}

impl Metrics {
    /// The numbers of a task, as a generation of it begins.
    pub(crate) fn of(&self, task: &TaskId) -> Arc<Meter> {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let meter = Arc::clone(tasks.entry(task.clone()).or_default());
        meter.begin();
        meter
    }

    /// All of them as they are now.
    pub fn snapshot(&self) -> Snapshot {
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let now_ms = i64::try_from(clock::wall_ms()).unwrap_or(i64::MAX);
        let of = |(task, meter): (&TaskId, &Arc<Meter>)| meter.read(task, now_ms);
        Snapshot { tasks: tasks.iter().map(of).collect() }
    }
}

/// The numbers of all tasks at one time.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct Snapshot {
    /// By component and task.
    pub tasks: Vec<TaskMetrics>,
}

/// The numbers of one task.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct TaskMetrics {
    /// Its component.
    pub component: String,
    /// Which of the component's tasks, from 0.
    pub task: u32,
    /// Tuples it took.
    pub tuples_in: u64,
    /// Tuples it emitted.
    pub tuples_out: u64,
    /// Calls for one tuple, or whatever else, that ended with an error or a panic.
    pub errors: u64,
    /// Tuples that became dead letters.
    pub dead_letters: u64,
    /// Bytes that arrived and were not worked on yet, those of later commits included.
    pub queue_bytes: u64,
    /// How long it worked on a batch of tuples at a time, in ns; a spout's batch is a call.
    pub execute_ns: Quantiles,
    /// How far the watermark is behind the clock, in ms; `None` where it has none.
    pub watermark_lag_ms: Option<i64>,
    /// What the component counts itself.
    pub counters: BTreeMap<String, u64>,
    /// What it sets itself.
    pub gauges: BTreeMap<String, f64>,
    /// What it measures itself.
    pub histograms: BTreeMap<String, Quantiles>,
}

impl Snapshot {
    /// The tasks of a component, in order.
    pub fn of<'a>(&'a self, component: &'a str) -> impl Iterator<Item = &'a TaskMetrics> {
        self.tasks.iter().filter(move |task| task.component == component)
    }

    /// All of it as Prometheus reads it, as that of this topology. A name that a component counts under has
    /// `egret_user_` before it.
    pub fn prometheus(&self, topology: &str) -> String {
        prometheus::text(self, topology)
    }
}
