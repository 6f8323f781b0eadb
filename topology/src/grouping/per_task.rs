//! Tuples sorted out by task, each task's kept until they make a batch.

use std::sync::Arc;

use super::Target;
use crate::Tuple;
use crate::batch::{BATCH_BYTES, BATCH_TUPLES, Batch, Routed};

/// A tuple for a task that its receiver does not have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "a tuple is for task {task} of `{to}`, which has {}: have its grouping say one of those",
    match tasks { 1 => "task 0 only".to_owned(), n => format!("tasks 0 to {}", n - 1) }
)]
pub struct NoSuchTask {
    /// The receiving component.
    pub to: Arc<str>,
    /// The task that was said.
    pub task: u32,
    /// How many there are, numbered from 0.
    pub tasks: u32,
}

pub(crate) struct PerTask<T> {
    kept: Vec<(Vec<T>, usize)>,
    target: Target,
}

impl<T: Tuple> PerTask<T> {
    pub(crate) fn new(target: &Target) -> PerTask<T> {
        let kept = (0..target.tasks).map(|_| (Vec::new(), 0)).collect();
        PerTask { kept, target: target.clone() }
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// Keeps a tuple that weighs `bytes` for `task`; ships the task's batch when it is full.
    pub(crate) fn push(
        &mut self,
        task: u32,
        tuple: T,
        bytes: usize,
        out: &mut Vec<Routed>,
    ) -> Result<(), NoSuchTask> {
        let Some((tuples, weight)) = self.kept.get_mut(task as usize) else {
            let Target { to, tasks, .. } = &self.target;
            return Err(NoSuchTask { to: Arc::clone(to), task, tasks: *tasks });
        };
        if tuples.capacity() == 0 {
            tuples.reserve_exact(BATCH_TUPLES);
        }
        tuples.push(tuple);
        *weight += bytes;
        if tuples.len() >= BATCH_TUPLES || *weight >= BATCH_BYTES {
            self.ship(task, out);
        }
        Ok(())
    }

    /// Ships what is kept.
    pub(crate) fn flush(&mut self, out: &mut Vec<Routed>) {
        for task in 0..self.target.tasks {
            if !self.kept[task as usize].0.is_empty() {
                self.ship(task, out);
            }
        }
    }

    fn ship(&mut self, task: u32, out: &mut Vec<Routed>) {
        let (tuples, weight) = std::mem::take(&mut self.kept[task as usize]);
        let batch = Batch { tuples, hashes: Vec::new() };
        out.push(Routed::new(task, batch, weight, &self.target.lane));
    }
}
