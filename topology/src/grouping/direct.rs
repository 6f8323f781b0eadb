//! The task that the tuple names.

use super::per_task::PerTask;
use super::{NoSuchTask, Partitioner, Target};
use crate::Tuple;
use crate::batch::Routed;

pub(crate) struct Direct<T, F> {
    task_of: F,
    to: PerTask<T>,
}

impl<T: Tuple, F: Fn(&T) -> u32> Direct<T, F> {
    pub(crate) fn new(target: &Target, task_of: F) -> Self {
        Direct { task_of, to: PerTask::new(target) }
    }
}

impl<T: Tuple, F: Fn(&T) -> u32 + Send> Partitioner<T> for Direct<T, F> {
    fn route(
        &mut self,
        batch: Vec<T>,
        bytes: usize,
        out: &mut Vec<Routed>,
    ) -> Result<(), NoSuchTask> {
        let each = bytes / batch.len().max(1);
        batch.into_iter().try_for_each(|tuple| {
            let task = (self.task_of)(&tuple);
            self.to.push(task, tuple, each, out)
        })
    }

    fn flush(&mut self, out: &mut Vec<Routed>) {
        self.to.flush(out);
    }
}
