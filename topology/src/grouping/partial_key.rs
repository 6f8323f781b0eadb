//! Two tasks for each key, by two hashes, and of these the one that this emitter gave fewer tuples.
//!
//! The power of two choices (Nasir et al., *The Power of Both Choices*, ICDE 2015; Storm's
//! `PartialKeyGrouping`): what each emitter knows by itself is enough to even out what all of them send.

use super::per_task::PerTask;
use super::{NoSuchTask, Partitioner, Target};
use crate::Tuple;
use crate::batch::Routed;

pub(crate) struct PartialKey<T, H> {
    hash_of: H,
    /// Tuples given to each task.
    given: Vec<u64>,
    to: PerTask<T>,
}

impl<T: Tuple, H: Fn(&T) -> u64> PartialKey<T, H> {
    pub(crate) fn new(target: &Target, hash_of: H) -> Self {
        let given = vec![0; target.tasks as usize];
        PartialKey { hash_of, given, to: PerTask::new(target) }
    }
}

/// `0..of` by the upper half of a hash.
fn scale(hash: u64, of: u32) -> u32 {
    u32::try_from(((hash >> 32) * u64::from(of)) >> 32).expect("below a number of 32 bits")
}

/// Another hash of what has this one: the last steps of SplitMix64, which mix every bit into every other.
fn second_hash(hash: u64) -> u64 {
    let mixed = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// The two tasks of a key: different ones where there are several.
pub(super) fn choices(hash: u64, tasks: u32) -> [u32; 2] {
    let first = scale(hash, tasks);
    let step = match tasks {
        1 => 0,
        _ => 1 + scale(second_hash(hash), tasks - 1),
    };
    [first, (first + step) % tasks]
}

impl<T: Tuple, H: Fn(&T) -> u64 + Send> Partitioner<T> for PartialKey<T, H> {
    fn route(
        &mut self,
        batch: Vec<T>,
        bytes: usize,
        out: &mut Vec<Routed>,
    ) -> Result<(), NoSuchTask> {
        let each = bytes / batch.len().max(1);
        let tasks = self.to.target().tasks;
        batch.into_iter().try_for_each(|tuple| {
            let [first, second] = choices((self.hash_of)(&tuple), tasks);
            let less = self.given[second as usize] < self.given[first as usize];
            let task = if less { second } else { first };
            self.given[task as usize] += 1;
            self.to.push(task, tuple, each, out)
        })
    }

    fn flush(&mut self, out: &mut Vec<Routed>) {
        self.to.flush(out);
    }
}
