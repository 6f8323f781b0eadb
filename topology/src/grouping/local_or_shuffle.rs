//! The emitter's own worker if it runs a task of the receiver, else as shuffle.

use super::{NoSuchTask, Partitioner, Target};
use crate::Tuple;
use crate::batch::{Batch, Routed};

#[derive(Debug)]
pub(crate) struct LocalOrShuffle {
    tasks: Vec<u32>,
    next: usize,
    target: Target,
}

impl LocalOrShuffle {
    pub(crate) fn new(target: &Target) -> LocalOrShuffle {
        let tasks = match target.local.is_empty() {
            true => (0..target.tasks).collect(),
            false => target.local.clone(),
        };
        LocalOrShuffle { next: target.offset as usize % tasks.len(), tasks, target: target.clone() }
    }
}

impl<T: Tuple> Partitioner<T> for LocalOrShuffle {
    fn route(
        &mut self,
        batch: Vec<T>,
        bytes: usize,
        out: &mut Vec<Routed>,
    ) -> Result<(), NoSuchTask> {
        let batch = Batch { tuples: batch, hashes: Vec::new() };
        out.push(Routed::new(self.tasks[self.next], batch, bytes, &self.target.lane));
        self.next = (self.next + 1) % self.tasks.len();
        Ok(())
    }
}
