//! What takes the changes since the last commit back, in memory.
//!
//! For each commit under way there is one batch of [records](super::record) that, applied in the order they were written, make
//! of the state after the commit the state before it. The batch of the open commit grows while the commit
//! does. Batches are let go once their commit is known to have been made; what they may take together is
//! bounded, and beyond that a table cannot go back and is read from its ledgers again.

use std::collections::VecDeque;

use egret_schemas::Epoch;

/// See the [module](self).
#[derive(Debug)]
pub struct Undo {
    bytes_max: usize,
    /// Captured commits, oldest first; `None`: it took too much.
    captured: VecDeque<(Epoch, Option<Vec<u8>>)>,
    captured_bytes: usize,
    open: Vec<u8>,
    /// An emptied batch, for the commit after this one.
    spare: Vec<u8>,
    /// Whether the open commit took too much.
    overflown: bool,
    /// What the state is as of, once everything here is taken back.
    base: Epoch,
}

impl Undo {
    /// Of a table that is as it was at the end of `base`'s commit.
    pub fn new(base: Epoch, bytes_max: usize) -> Undo {
        Undo {
            bytes_max,
            captured: VecDeque::new(),
            captured_bytes: 0,
            open: Vec::new(),
            spare: Vec::new(),
            overflown: false,
            base: base.commit_end(),
        }
    }

    /// Lets `record` append to the open commit's batch, while there is room.
    pub(super) fn record(&mut self, record: impl FnOnce(&mut Vec<u8>)) {
        if self.overflown {
            return;
        }
        record(&mut self.open);
        if self.captured_bytes + self.open.len() > self.bytes_max {
            self.overflown = true;
            self.open = Vec::new();
        }
    }

    /// The open commit was captured; another opens.
    pub fn captured(&mut self, commit: Epoch) {
        let batch = std::mem::replace(&mut self.open, std::mem::take(&mut self.spare));
        let overflown = std::mem::take(&mut self.overflown);
        let commit = commit.commit_end();
        assert!(self.captured.back().is_none_or(|(last, _)| *last < commit), "commits rise");
        self.captured_bytes += batch.len();
        self.captured.push_back((commit, (!overflown).then_some(batch)));
    }

    /// Everything up to `commit` is committed: it is never taken back.
    pub fn committed(&mut self, commit: Epoch) {
        let commit = commit.commit_end();
        while let Some((oldest, batch)) =
            self.captured.pop_front_if(|(oldest, _)| *oldest <= commit)
        {
            if let Some(mut batch) = batch {
                self.captured_bytes -= batch.len();
                // One far larger than what is used is given back, not held for a commit like it.
                let is_worth = batch.capacity() <= 4 * batch.len().max(4 << 10);
                if is_worth && batch.capacity() > self.spare.capacity() {
                    batch.clear();
                    self.spare = batch;
                }
            }
            self.base = oldest;
        }
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.captured_bytes + self.open.len()
    }

    /// The batches to apply, in this order, to get to the end of `commit`; `None` if there is no such way.
    pub fn back_to(self, commit: Epoch) -> Option<Vec<Vec<u8>>> {
        let commit = commit.commit_end();
        let stops_at = self.base == commit || self.captured.iter().any(|(end, _)| *end == commit);
        if !stops_at || self.overflown {
            return None;
        }
        let mut batches = vec![self.open];
        for (end, batch) in self.captured.into_iter().rev() {
            if end <= commit {
                break;
            }
            batches.push(batch?);
        }
        Some(batches)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use egret_schemas::Generation;

    fn end(commit: u32) -> Epoch {
        Epoch::new(Generation(2), commit, 0).commit_end()
    }

    fn undo(bytes_max: usize) -> Undo {
        let mut undo = Undo::new(Epoch::new(Generation(1), 9, 3), bytes_max);
        for commit in 0..3 {
            undo.record(|out| out.extend([commit; 10]));
            undo.captured(end(u32::from(commit)));
        }
        undo.record(|out| out.push(9));
        undo
    }

    #[test]
    fn batches_are_applied_from_the_newest_to_the_commit() {
        assert_eq!(undo(100).back_to(end(1)), Some(vec![vec![9], vec![2; 10]]));
        let to_base = undo(100).back_to(Epoch::new(Generation(1), 9, 0)).unwrap();
        assert_eq!(to_base, [vec![9], vec![2; 10], vec![1; 10], vec![0; 10]]);
        assert_eq!(undo(100).back_to(end(7)), None, "a commit it never made");
        assert_eq!(undo(100).back_to(Epoch::new(Generation(1), 8, 0)), None);
    }

    #[test]
    fn what_is_committed_is_let_go_and_cannot_be_taken_back() {
        let mut undo = undo(100);
        undo.committed(end(1));
        assert_eq!(undo.bytes(), 11);
        assert_eq!(undo.back_to(end(1)), Some(vec![vec![9], vec![2; 10]]));
        let mut undo = self::undo(100);
        undo.committed(end(1));
        assert_eq!(undo.back_to(end(0)), None);
    }

    /// Its memory is used again, and nothing that was in it.
    #[test]
    fn a_batch_that_was_let_go_of_is_written_again_from_its_beginning() {
        let mut undo = Undo::new(end(0), 1 << 20);
        undo.record(|out| out.extend([1; 1000]));
        undo.captured(end(1));
        undo.committed(end(1));
        let (memory, capacity) = (undo.spare.as_ptr(), undo.spare.capacity());
        assert!(capacity >= 1000);
        undo.captured(end(2));
        assert_eq!((undo.open.as_ptr(), undo.open.capacity()), (memory, capacity));
        undo.record(|out| out.push(7));
        assert_eq!(undo.bytes(), 1);
        assert_eq!(undo.back_to(end(2)), Some(vec![vec![7]]));
    }

    #[test]
    fn beyond_its_bound_a_commit_cannot_be_taken_back_and_later_ones_can() {
        assert_eq!(undo(25).back_to(end(1)), None, "commit 2 took too much");
        let mut undo = undo(25);
        undo.committed(end(2));
        assert_eq!(undo.back_to(end(2)), Some(vec![vec![9]]));
        assert!(self::undo(25).bytes() <= 25);
    }
}
