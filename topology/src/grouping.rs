//! Groupings: which task of the next component gets a tuple.
//!
//! The *emitter* decides. A `Partitioner` turns a batch of tuples into batches addressed to tasks,
//! and the edge between workers moves those whole. One file per grouping:
//!
//! | grouping | a tuple goes to | by |
//! |---|---|---|
//! | `shuffle`, `none` | tasks in turn, a batch at a time | turn |
//! | `rebalance` | tasks in turn, tuple by tuple | turn |
//! | `local_or_shuffle` | tasks on the same worker in turn if there are any, else as shuffle | turn |
//! | `fields` | the task that owns the key's group; the key's hash travels with it | tuple |
//! | `partial_key` | of two tasks that the key names, the one that this emitter gave less | load |
//! | `all` | every task | tuple |
//! | `global` | task 0 | tuple |
//! | `direct` | the task that the tuple names | tuple |
//! | `custom` | whatever a [`CustomGrouping`] of yours says | you |
//! | `by_partition` | the task that owns the output partition; for sinks into streams | tuple |
//!
//! # What is the same after a failure
//!
//! A grouping by *tuple* looks at nothing else (and at how many tasks there are): a tuple that is read again
//! after a failure goes where it went before. One by *turn* or *load* goes on from where it is, and a restart
//! begins its turns and its counts anew; so does a tuple without a key that is grouped by partition. Such a
//! tuple may come to another task the second time.
//!
//! No guarantee depends on that. Whatever a commit does not have is taken back before anything is read again, so
//! under effectively-once each task's state, and all output, is that of one way the tuples went. What differs is
//! seen from outside of the commit only: a sink of your own, under at-least-once, may get a tuple at one task, and
//! once more at another. Where a sink drops what it has seen before, group by tuple.

pub(crate) mod all;
pub(crate) mod by_partition;
pub(crate) mod custom;
pub(crate) mod direct;
pub(crate) mod fields;
pub(crate) mod global;
pub(crate) mod local_or_shuffle;
pub(crate) mod partial_key;
pub(crate) mod per_task;
pub(crate) mod rebalance;
pub(crate) mod shuffle;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use custom::{CustomGrouping, Receivers};
pub use per_task::NoSuchTask;

use crate::batch::Routed;
use crate::budget::Lane;
use crate::component::TaskId;

/// What a grouping must know to address tasks.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// The task that emits.
    pub(crate) from: TaskId,
    /// The receiving component.
    pub(crate) to: Arc<str>,
    /// Its tasks.
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
    ///
    /// # Errors
    /// When a tuple is for a task that there is not: the generation fails, so what becomes of the rest does not
    /// matter.
    fn route(
        &mut self,
        batch: Vec<T>,
        bytes: usize,
        out: &mut Vec<Routed>,
    ) -> Result<(), NoSuchTask>;

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
    /// The task that the tuple names.
    Direct,
    /// As the user's own code says.
    Custom,
    /// One of two tasks by key.
    PartialKey,
    /// Tasks in turn, tuple by tuple.
    Rebalance,
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
            Grouping::Direct => "direct",
            Grouping::Custom => "custom",
            Grouping::PartialKey => "partial-key",
            Grouping::Rebalance => "rebalance",
        })
    }
}
