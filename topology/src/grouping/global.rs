//! Everything to task 0.

use super::{NoSuchTask, Partitioner, Target};
use crate::Tuple;
use crate::batch::{Batch, Routed};

#[derive(Debug)]
pub(crate) struct Global(pub(crate) Target);

impl<T: Tuple> Partitioner<T> for Global {
    fn route(
        &mut self,
        batch: Vec<T>,
        bytes: usize,
        out: &mut Vec<Routed>,
    ) -> Result<(), NoSuchTask> {
        let batch = Batch { tuples: batch, hashes: Vec::new() };
        out.push(Routed::new(0, batch, bytes, &self.0.lane));
        Ok(())
    }
}
