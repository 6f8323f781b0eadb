//! By output partition: a partition has one writer, so its tuples meet at one task.
//!
//! Tuples without a key take partitions in turn, a batch at a time.

use super::{Partitioner, Target};
use crate::Tuple;
use crate::batch::{Batch, Routed};

pub(crate) struct ByPartition<T, P> {
    partition_of: P,
    kept: Vec<(Batch<T>, usize)>,
    turn: u32,
    target: Target,
}

impl<T: Tuple, P: Fn(&T, u32) -> Option<u32>> ByPartition<T, P> {
    /// `partition_of` maps a tuple and the number of partitions (one task each) to its partition.
    pub(crate) fn new(target: &Target, partition_of: P) -> Self {
        let kept = (0..target.tasks).map(|_| (Batch::default(), 0)).collect();
        let turn = target.offset % target.tasks;
        ByPartition { partition_of, kept, turn, target: target.clone() }
    }
}

impl<T: Tuple, P: Fn(&T, u32) -> Option<u32> + Send> Partitioner<T> for ByPartition<T, P> {
    fn route(&mut self, batch: Vec<T>, bytes: usize, out: &mut Vec<Routed>) {
        let each = bytes / batch.len().max(1);
        // Keys spread evenly, more or less.
        let some = batch.len() / self.kept.len();
        let some = some + some / 4;
        self.kept.iter_mut().for_each(|(kept, _)| kept.tuples.reserve(some));
        for tuple in batch {
            let task = (self.partition_of)(&tuple, self.target.tasks).unwrap_or(self.turn);
            let (kept, weight) = &mut self.kept[task as usize];
            kept.tuples.push(tuple);
            *weight += each;
        }
        self.turn = (self.turn + 1) % self.target.tasks;
        self.flush(out);
    }

    fn flush(&mut self, out: &mut Vec<Routed>) {
        for (task, kept) in (0u32..).zip(&mut self.kept) {
            if !kept.0.tuples.is_empty() {
                let (batch, bytes) = std::mem::take(kept);
                out.push(Routed::new(task, batch, bytes, &self.target.lane));
            }
        }
    }
}
