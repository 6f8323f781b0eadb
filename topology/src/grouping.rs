//! Groupings: which task of the next component gets a tuple.
//!
//! The *emitter* decides. A `Partitioner` turns a batch of tuples into batches addressed to tasks,
//! and the edge between workers moves those whole. One file per grouping:
//!
//! | grouping | a tuple goes to |
//! |---|---|
//! | `shuffle` | tasks in turn, a batch at a time |
//! | `fields` | the task that owns the key's group; the key's hash travels with it |
//! | `all` | every task |
//! | `global` | task 0 |
//! | `local_or_shuffle` | a task on the same worker if there is one, else as shuffle |
//! | `by_partition` | the task that owns the output partition; for sinks into streams |

pub(crate) mod all;
pub(crate) mod by_partition;
pub(crate) mod fields;
pub(crate) mod global;
pub(crate) mod local_or_shuffle;
pub(crate) mod shuffle;

use std::sync::Arc;

use crate::batch::Routed;
use crate::budget::Lane;

/// What a grouping must know to address tasks.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// Tasks of the receiving component.
    pub(crate) tasks: u32,
    /// Those of them on the emitter's own worker.
    pub(crate) local: Vec<u32>,
    /// Where to begin, so that emitters do not all favour the same task.
    pub(crate) offset: u32,
    /// Key groups of the topology.
    pub(crate) key_groups: u32,
    /// What shipped batches are counted against.
    pub(crate) lane: Lane,
}

/// Splits one component's output for one of its consumers.
pub(crate) trait Partitioner<T>: Send {
    /// Takes a batch that weighs `bytes` and appends what is ready to go.
    fn route(&mut self, batch: Vec<T>, bytes: usize, out: &mut Vec<Routed>);

    /// Appends what was kept back for fuller batches.
    fn flush(&mut self, out: &mut Vec<Routed>) {
        let _ = out;
    }
}

/// Makes the partitioner for one emitter of an edge.
pub(crate) type MakePartitioner<T> = Arc<dyn Fn(&Target) -> Box<dyn Partitioner<T>> + Send + Sync>;

/// The grouping of an edge as plans and people name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Grouping {
    /// Tasks in turn.
    Shuffle,
    /// By key.
    Fields,
    /// Every task.
    All,
    /// Task 0.
    Global,
    /// The same worker's tasks if there are any.
    LocalOrShuffle,
    /// By the output stream's partition.
    ByPartition,
}

impl std::fmt::Display for Grouping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Grouping::Shuffle => "shuffle",
            Grouping::Fields => "fields",
            Grouping::All => "all",
            Grouping::Global => "global",
            Grouping::LocalOrShuffle => "local-or-shuffle",
            Grouping::ByPartition => "by-partition",
        })
    }
}
