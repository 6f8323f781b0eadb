//! Event time on its way from spouts to what they feed, commit by commit.
//!
//! Where a commit ends, each spout task says how far event time came with everything it emitted: one small
//! message to every worker, as of an epoch of the commit. A bolt reads the marks of all spouts that reach
//! it, through whatever operators, on an input of their own. Its frontier leaves the commit only when all of
//! them are here, so the watermark moves where the commit closes, to the same value on every worker; what
//! bolts between have emitted by then is here, too. Which watermark that is, [`Reached`] says.

use std::collections::BTreeMap;

use egret_schemas::Epoch;
use egret_state::commit::{Mark, Reached, TaskId};
use serde::{Deserialize, Serialize};
use timely::dataflow::operators::Capability;

use super::chunk::Chunk;
use super::outputs::Port;
use crate::Tuple;
use crate::batch::Routed;
use crate::component::WatermarkCell;

/// What a spout task says at the end of a commit.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub(crate) struct Said {
    pub(crate) task: TaskId,
    pub(crate) mark: Mark,
}

impl Tuple for Said {}

/// The port on which a spout says it.
pub(crate) struct Saying {
    port: Port,
    cap: Option<Capability<u64>>,
    workers: u32,
}

impl Saying {
    /// The port, its initial capability moved to the generation's first epoch.
    pub(crate) fn new(port: Port, mut cap: Capability<u64>, first: Epoch, workers: u32) -> Saying {
        cap.downgrade(&first.0);
        Saying { port, cap: Some(cap), workers }
    }

    /// Tells every worker, as of the open epoch.
    pub(crate) fn say(&mut self, said: &[Said]) {
        let Some(cap) = self.cap.as_ref().filter(|_| !said.is_empty()) else { return };
        let mut output = self.port.activate();
        let mut session = output.session_with_builder(cap);
        for worker in 0..self.workers {
            session.give_container(&mut Chunk::from(Routed::message(worker, said.to_vec())));
        }
    }

    /// Nothing is said of commits before this epoch any more. **Here the capability moves.**
    pub(crate) fn advance(&mut self, epoch: Epoch) {
        if let Some(cap) = &mut self.cap
            && *cap.time() < epoch.0
        {
            cap.downgrade(&epoch.0);
        }
    }

    /// Nothing is said any more. **Here the capability drops.**
    pub(crate) fn end(&mut self) {
        self.cap = None;
    }
}

/// The watermark of a bolt, as one worker knows it.
pub(crate) struct Watermark {
    reached: Reached,
    /// How many spout tasks say something at the end of each commit.
    tasks: usize,
    /// What was said, by the first epoch of the commit; bounded as commits in flight are.
    said: BTreeMap<Epoch, BTreeMap<TaskId, Mark>>,
    /// Where contexts have it from.
    cell: WatermarkCell,
}

impl Watermark {
    pub(crate) fn new(reached: Reached, tasks: usize, cell: WatermarkCell) -> Watermark {
        Watermark { reached, tasks, said: BTreeMap::new(), cell }
    }

    /// How far event time has come.
    pub(crate) fn ms(&self) -> Option<i64> {
        self.cell.get()
    }

    /// Something was said at the end of the commit `epoch` is of.
    pub(crate) fn said(&mut self, epoch: Epoch, said: Vec<Said>) {
        let marks = self.said.entry(epoch.commit_start()).or_default();
        marks.extend(said.into_iter().map(|said| (said.task, said.mark)));
    }

    /// The commit closes, and the watermark moves, if it does.
    ///
    /// # Panics
    /// When somebody said nothing: the frontier would have been wrong.
    pub(crate) fn close(&mut self, commit: Epoch) {
        let marks = self.said.remove(&commit).unwrap_or_default();
        assert_eq!(marks.len(), self.tasks, "every spout task says how far it came in {commit}");
        if let Some(ms) = self.reached.advance(&marks) {
            self.cell.set(ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use egret_schemas::Generation;

    fn at(commit: u32, micro: u32) -> Epoch {
        Epoch::new(Generation(1), commit, micro)
    }

    fn said(task: u32, ms: i64) -> Vec<Said> {
        let task = TaskId { component: 0, task };
        vec![Said { task, mark: Mark { ms: Some(ms), idle: false } }]
    }

    #[test]
    fn what_is_said_of_a_later_commit_waits_for_it() {
        let cell = WatermarkCell::new(None);
        let mut watermark = Watermark::new(Reached::new(None, [(0, None)]), 2, cell.clone());
        watermark.said(at(0, 4), said(0, 50));
        watermark.said(at(1, 2), said(0, 90));
        watermark.said(at(0, 3), said(1, 40));
        assert_eq!(cell.get(), None, "nobody sees it before the commit closes");
        watermark.close(at(0, 0));
        watermark.said(at(1, 0), said(1, 95));
        assert_eq!(cell.get(), Some(40));
        watermark.close(at(1, 0));
        assert_eq!(cell.get(), Some(90));
    }

    #[test]
    #[should_panic(expected = "every spout task says how far it came")]
    fn a_commit_without_the_word_of_every_task_is_a_defect() {
        let cell = WatermarkCell::new(None);
        let mut watermark = Watermark::new(Reached::new(None, [(0, None)]), 2, cell);
        watermark.said(at(0, 0), said(1, 40));
        watermark.close(at(0, 0));
    }
}
