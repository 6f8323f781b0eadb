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
//!
//! # Over HTTP
//!
//! Every topology program has `--metrics IP:PORT` (in a program of your own [`RunOptions::metrics`](crate::RunOptions)),
//! and tells there while it runs or stands by:
//!
//! | request | answer |
//! |---|---|
//! | `GET /metrics` | all of it as Prometheus reads it, text format 0.0.4 |
//! | `GET /v1/metrics` | all of it as JSON: `topology`, `process` ([`ProcessMetrics`]), `tasks` ([`TaskMetrics`]) |
//!
//! Processes that the first one started on its host listen as many ports further as their rank is, and each tells of
//! its own tasks.

mod distribution;
mod handles;
mod meter;
mod prometheus;
mod server;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use distribution::Distribution;
use egret_log::clock;

pub use distribution::Quantiles;
pub use handles::{Counter, Gauge, Histogram, MetricError};
pub(crate) use meter::Meter;
pub use server::{MetricsAddress, MetricsServer};

use crate::component::TaskId;

/// The numbers of a process's tasks; see the [module](self).
#[derive(Default)]
pub struct Metrics {
    tasks: Mutex<BTreeMap<TaskId, Arc<Meter>>>,
    /// From a commit's last tuple to its acknowledgement.
    commit_us: Mutex<Distribution>,
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

    /// A commit took so long.
    pub(crate) fn committed(&self, took: Duration) {
        let commits = self.commit_us.lock().unwrap_or_else(PoisonError::into_inner);
        commits.record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
    }

    /// Those of tasks and of commits as they are now; [`Progress::snapshot`](crate::Progress::snapshot) has the rest of
    /// the process's, too.
    pub fn snapshot(&self) -> Snapshot {
        let tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let now_ms = i64::try_from(clock::wall_ms()).unwrap_or(i64::MAX);
        let of = |(task, meter): (&TaskId, &Arc<Meter>)| meter.read(task, now_ms);
        let tasks: Vec<_> = tasks.iter().map(of).collect();
        let commit_us = self.commit_us.lock().unwrap_or_else(PoisonError::into_inner).read();
        let state_bytes = tasks.iter().map(|task: &TaskMetrics| task.state_bytes).sum();
        let process = ProcessMetrics { commit_us, state_bytes, ..ProcessMetrics::default() };
        Snapshot { process, tasks }
    }
}

/// The numbers of all tasks at one time.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct Snapshot {
    /// Of the process.
    pub process: ProcessMetrics,
    /// By component and task.
    pub tasks: Vec<TaskMetrics>,
}

/// The numbers of one process, beside those of its tasks.
#[derive(Debug, Clone, Default, PartialEq, serde::Serialize)]
pub struct ProcessMetrics {
    /// Tuples that spouts emitted, replays included; those of all processes in the first of them.
    pub tuples: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Commits made; counted in the first process of several.
    pub commits: u64,
    /// From the last tuple that spouts emit into a commit to its acknowledgement, in µs; in the first process.
    pub commit_us: Quantiles,
    /// How long ago the last commit was made, in ms; `None` before the first one, and in other processes. It grows
    /// while there is nothing to commit, too.
    pub since_commit_ms: Option<u64>,
    /// The generation that runs, 0 before the first. It counts on whenever one fails or another process takes over.
    pub generation: u64,
    /// Whether spouts read their sources.
    pub active: bool,
    /// Bytes of memory that the state of its tasks takes.
    pub state_bytes: u64,
    /// Tuples that came too late for every window they are in.
    pub late_tuples: u64,
    /// The most bytes that were between components at once.
    pub peak_bytes: u64,
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
    /// Bytes of memory its state took when a commit was written last; 0 where it has none.
    pub state_bytes: u64,
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

    /// All of it as JSON, as that of this topology.
    pub fn json(&self, topology: &str) -> String {
        #[derive(serde::Serialize)]
        struct Told<'a> {
            topology: &'a str,
            process: &'a ProcessMetrics,
            tasks: &'a [TaskMetrics],
        }
        let told = Told { topology, process: &self.process, tasks: &self.tasks };
        serde_json::to_string(&told).expect("names are texts, and what is no number is null")
    }
}
