//! By output partition: a partition has one writer, so its tuples meet at one task.
//!
//! Tuples without a key take partitions in turn, a batch at a time.

use super::{NoSuchTask, Partitioner, Target};
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
    fn route(
        &mut self,
        batch: Vec<T>,
        bytes: usize,
        out: &mut Vec<Routed>,
    ) -> Result<(), NoSuchTask> {
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
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::typed;
    use crate::grouping::tests::target;

    #[test]
    fn a_tuple_with_a_key_goes_to_its_partition_and_those_without_in_turn() {
        let target = Target { offset: 1, ..target(3) };
        let partition_of = |n: &u32, partitions: u32| (*n < 100).then(|| n % partitions);
        let mut by_partition = ByPartition::new(&target, partition_of);
        let mut route = |tuples: Vec<u32>| {
            let mut out = Vec::new();
            by_partition.route(tuples, 90, &mut out).unwrap();
            let tuples = |routed: Routed| (routed.task, typed::<u32>(routed.batch).tuples);
            out.into_iter().map(tuples).collect::<Vec<_>>()
        };
        let by_key = [(0, vec![0, 3, 6]), (1, vec![1, 4, 7]), (2, vec![2, 5, 8])];
        assert_eq!(route((0..9).collect()), by_key);
        assert_eq!(route(vec![100, 101]), [(2, vec![100, 101])]);
        assert_eq!(route(vec![102, 7]), [(0, vec![102]), (1, vec![7])]);
    }
}
