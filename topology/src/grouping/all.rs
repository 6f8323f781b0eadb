//! A copy to every task. A partitioner may copy; an edge may not, it must preserve record counts. Each copy
//! weighs what the batch does, and is counted until its own task is done with it.

use super::{NoSuchTask, Partitioner, Target};
use crate::Tuple;
use crate::batch::{Batch, Routed};

#[derive(Debug)]
pub(crate) struct All(pub(crate) Target);

impl<T: Tuple> Partitioner<T> for All {
    fn route(
        &mut self,
        batch: Vec<T>,
        bytes: usize,
        out: &mut Vec<Routed>,
    ) -> Result<(), NoSuchTask> {
        let batch = Batch { tuples: batch, hashes: Vec::new() };
        for task in 1..self.0.tasks {
            out.push(Routed::new(task, batch.clone(), bytes, &self.0.lane));
        }
        out.push(Routed::new(0, batch, bytes, &self.0.lane));
        Ok(())
    }
}
