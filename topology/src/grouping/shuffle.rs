//! Tasks in turn, a batch at a time.

use super::{NoSuchTask, Partitioner, Target};
use crate::Tuple;
use crate::batch::{Batch, Routed};

#[derive(Debug)]
pub(crate) struct Shuffle {
    next: u32,
    target: Target,
}

impl Shuffle {
    pub(crate) fn new(target: &Target) -> Shuffle {
        Shuffle { next: target.offset % target.tasks, target: target.clone() }
    }
}

impl<T: Tuple> Partitioner<T> for Shuffle {
    fn route(
        &mut self,
        batch: Vec<T>,
        bytes: usize,
        out: &mut Vec<Routed>,
    ) -> Result<(), NoSuchTask> {
        let batch = Batch { tuples: batch, hashes: Vec::new() };
        out.push(Routed::new(self.next, batch, bytes, &self.target.lane));
        self.next = (self.next + 1) % self.target.tasks;
        Ok(())
    }
}
