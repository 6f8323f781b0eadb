//! By key: equal keys go to one task, whatever the number of workers.
//!
//! Key → XXH3-64 of its encoding → key group → task. The hash is computed once, here, and travels
//! with the tuple to the state table.

use std::marker::PhantomData;

use egret_schemas::key;

use super::{NoSuchTask, Partitioner, Target};
use crate::Tuple;
use crate::batch::{BATCH_BYTES, BATCH_TUPLES, Batch, Routed};

pub(crate) struct Fields<T, H> {
    hash_of: H,
    kept: Vec<(Batch<T>, usize)>,
    task_of_group: Vec<u32>,
    target: Target,
    of: PhantomData<fn(T)>,
}

impl<T: Tuple, H: Fn(&T) -> u64> Fields<T, H> {
    pub(crate) fn new(target: &Target, hash_of: H) -> Self {
        let task_of_group = (0..target.key_groups)
            .map(|group| key::task_of_group(group, target.key_groups, target.tasks))
            .collect();
        let kept = (0..target.tasks).map(|_| (Batch::default(), 0)).collect();
        Fields { hash_of, kept, task_of_group, target: target.clone(), of: PhantomData }
    }

    fn ship(target: &Target, task: usize, kept: &mut (Batch<T>, usize), out: &mut Vec<Routed>) {
        let (batch, bytes) = std::mem::take(kept);
        let task = u32::try_from(task).expect("tasks are counted in u32");
        out.push(Routed::new(task, batch, bytes, &target.lane));
    }
}

impl<T: Tuple, H: Fn(&T) -> u64 + Send> Partitioner<T> for Fields<T, H> {
    fn route(
        &mut self,
        batch: Vec<T>,
        bytes: usize,
        out: &mut Vec<Routed>,
    ) -> Result<(), NoSuchTask> {
        if let [_] = &self.kept[..] {
            // One task gets everything: nothing is sorted out.
            let hashes = batch.iter().map(&self.hash_of).collect();
            let batch = Batch { tuples: batch, hashes };
            out.push(Routed::new(0, batch, bytes, &self.target.lane));
            return Ok(());
        }
        let each = bytes / batch.len().max(1);
        for tuple in batch {
            let hash = (self.hash_of)(&tuple);
            let task = self.task_of_group[key::key_group(hash, self.target.key_groups) as usize];
            let kept = &mut self.kept[task as usize];
            if kept.0.tuples.capacity() == 0 {
                kept.0.tuples.reserve_exact(BATCH_TUPLES);
                kept.0.hashes.reserve_exact(BATCH_TUPLES);
            }
            kept.0.tuples.push(tuple);
            kept.0.hashes.push(hash);
            kept.1 += each;
            if kept.0.tuples.len() >= BATCH_TUPLES || kept.1 >= BATCH_BYTES {
                Self::ship(&self.target, task as usize, kept, out);
            }
        }
        Ok(())
    }

    fn flush(&mut self, out: &mut Vec<Routed>) {
        for (task, kept) in self.kept.iter_mut().enumerate() {
            if !kept.0.tuples.is_empty() {
                Self::ship(&self.target, task, kept, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::typed;
    use crate::grouping::tests::target;

    /// One task gets batches as they are; several get the same tuples, sorted out.
    #[test]
    fn every_tuple_reaches_its_task_in_order_with_its_hash() {
        for tasks in [1, 3] {
            let target = target(tasks);
            let mut fields = Fields::new(&target, |n: &u64| key::hash(&n.to_le_bytes()));
            let mut out = Vec::new();
            fields.route((0..2500).collect(), 2500 * 8, &mut out).unwrap();
            fields.route((2500..2503).collect(), 24, &mut out).unwrap();
            fields.flush(&mut out);
            let mut last = vec![None; tasks as usize];
            let (mut all, mut bytes) = (0, 0);
            for routed in out {
                bytes += routed.charge.bytes();
                let batch = typed::<u64>(routed.batch);
                assert_eq!(batch.tuples.len(), batch.hashes.len());
                for (n, hash) in batch.tuples.into_iter().zip(batch.hashes) {
                    assert_eq!(hash, key::hash(&n.to_le_bytes()));
                    let group = key::key_group(hash, 64);
                    assert_eq!(routed.task, key::task_of_group(group, 64, tasks));
                    assert!(last[routed.task as usize].replace(n) < Some(n));
                    all += 1;
                }
            }
            assert_eq!((all, bytes), (2503, 2503 * 8), "{tasks} tasks");
        }
    }
}
