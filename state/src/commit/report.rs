//! A task's positive word that its part of a commit is durable.

use std::collections::BTreeMap;

use egret_schemas::{EntryId, Generation, SegmentId};

use super::plan::TaskId;
use super::restore_set::Slice;
use super::watermark::Mark;

/// How far a partition's output reaches: the segment and its last entry, `None` while it is empty.
pub type SinkPosition = (SegmentId, Option<EntryId>);

/// Sent once per task and commit, after the task's ledger acknowledged everything of that commit;
/// a task with nothing to write sends it too.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct TaskReport {
    /// The sender's generation; reports of another one are ignored.
    pub generation: Generation,
    /// The sender.
    pub task: TaskId,
    /// The commit, inside the generation.
    pub commit: u32,
    /// What is durable.
    pub what: Durable,
}

/// What a task made durable, by its role.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Durable {
    /// A spout: the position after the last tuple it emitted, per split. Splits not named keep the
    /// position of the commit before.
    Spout {
        /// Split → position, both in the spout's own encoding.
        positions: BTreeMap<Vec<u8>, Vec<u8>>,
        /// How far event time has come with everything it emitted, if it says.
        mark: Option<Mark>,
    },
    /// A stateful task: everything it would be restored from, its current ledger included.
    State {
        /// Ascending slices of the task's own key groups.
        slices: Vec<Slice>,
    },
    /// A sink: the ends of the partitions it wrote. Partitions not named keep their end.
    Sink {
        /// Partition → end.
        partitions: BTreeMap<u32, SinkPosition>,
    },
}
