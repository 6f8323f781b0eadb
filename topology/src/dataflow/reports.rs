//! What operators tell the coordinator, and how: messages to worker 0 under a capability that is held
//! until the commit is reported.

use egret_schemas::Epoch;
use egret_state::commit::{TaskId, TaskReport};
use serde::{Deserialize, Serialize};
use timely::dataflow::operators::Capability;

use super::chunk::Chunk;
use super::outputs::Port;
use crate::Tuple;
use crate::batch::Routed;

/// A message to the coordinator.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Notice {
    /// A spout task emitted for the first time in this epoch.
    Active { task: TaskId, epoch: Epoch },
    /// A spout task has nothing more for this epoch.
    Done { task: TaskId, epoch: Epoch },
    /// A spout task has nothing more at all.
    Exhausted { task: TaskId },
    /// A task where tuples leave for another round closed a commit, and holds some as of it or not.
    Held { task: TaskId, epoch: Epoch, held: bool },
    /// A task's part of a commit is durable.
    Report(TaskReport),
    /// A sink task has published everything up to this epoch.
    Published { task: TaskId, upto: Epoch },
}

impl Tuple for Notice {}

/// An order of the coordinator, broadcast to every worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Control {
    /// Spouts move to this epoch.
    Open(Epoch),
    /// Spouts stop and leave the open commit, which is the last.
    Drain,
    /// The last commit is committed: everyone gives everything up.
    Finish,
    /// Everything up to this epoch is committed.
    Committed(Epoch),
    /// Spouts emit, or rest.
    Active(bool),
}

impl Tuple for Control {}

/// The reports port of an operator.
pub(crate) struct Reports {
    port: Port,
    cap: Option<Capability<u64>>,
}

impl Reports {
    pub(crate) fn new(port: Port, mut cap: Capability<u64>, first: Epoch) -> Reports {
        cap.downgrade(&first.0);
        Reports { port, cap: Some(cap) }
    }

    /// Sends notices to the coordinator, as of `epoch` or the oldest unreported commit if later.
    ///
    /// # Panics
    /// When the capability was given up: nothing is reported after the last commit was.
    pub(crate) fn send(&mut self, notices: Vec<Notice>) {
        if notices.is_empty() {
            return;
        }
        let cap = self.cap.as_ref().expect("nothing is reported after the last commit was");
        let mut chunk = Chunk::from(Routed::message(0, notices));
        let mut output = self.port.activate();
        output.session_with_builder(cap).give_container(&mut chunk);
    }

    /// Whether there is still something to report.
    pub(crate) fn are_open(&self) -> bool {
        self.cap.is_some()
    }

    /// Everything before `epoch` is reported. **Here the capability moves.**
    pub(crate) fn advance(&mut self, epoch: Epoch) {
        if let Some(cap) = &mut self.cap
            && *cap.time() < epoch.0
        {
            cap.downgrade(&epoch.0);
        }
    }

    /// Everything is reported. **Here the capability drops.**
    pub(crate) fn end(&mut self) {
        self.cap = None;
    }
}
