//! Tasks in turn, tuple by tuple: what one emitter gave to any two tasks differs by one tuple at most.

use super::per_task::PerTask;
use super::{NoSuchTask, Partitioner, Target};
use crate::Tuple;
use crate::batch::Routed;

pub(crate) struct Rebalance<T> {
    next: u32,
    to: PerTask<T>,
}

impl<T: Tuple> Rebalance<T> {
    pub(crate) fn new(target: &Target) -> Self {
        Rebalance { next: target.offset % target.tasks, to: PerTask::new(target) }
    }
}

impl<T: Tuple> Partitioner<T> for Rebalance<T> {
    fn route(
        &mut self,
        batch: Vec<T>,
        bytes: usize,
        out: &mut Vec<Routed>,
    ) -> Result<(), NoSuchTask> {
        let each = bytes / batch.len().max(1);
        let tasks = self.to.target().tasks;
        batch.into_iter().try_for_each(|tuple| {
            let task = self.next;
            self.next = (task + 1) % tasks;
            self.to.push(task, tuple, each, out)
        })
    }

    fn flush(&mut self, out: &mut Vec<Routed>) {
        self.to.flush(out);
    }
}
