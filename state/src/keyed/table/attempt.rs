//! Attempts at changing one key: what came of one that failed is taken back, whatever it was.
//!
//! Between [`KeyedTable::attempt`] and its end nothing but the key's own state is changed. When it fails, the state is
//! as it was, a key that came with it is gone again, and one that had not changed in the commit before has not
//! changed now: it is not handed out when the commit ends, and not written.

use super::{Guess, KeyedTable, Life, SlotId, Written};
use crate::keyed::backing::{Backing, Fault};
use crate::keyed::key::Key;
use crate::keyed::state::{State, StateError};

/// An attempt that is under way.
#[derive(Debug)]
pub struct Attempt<M> {
    slot: SlotId,
    /// Whether the key had state before.
    was_there: bool,
    /// The slot's stamp, and what was known of it outside the table.
    before: (u32, Written),
    mark: M,
}

impl<M> Attempt<M> {
    /// The key's slot.
    pub fn slot(&self) -> SlotId {
        self.slot
    }
}

/// Why there can be no attempt, or it cannot be taken back.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AttemptError {
    /// The state cannot be written, or not be read again.
    #[error("a state cannot be remembered: {0}")]
    State(#[from] StateError),
    /// What lies beneath the table failed.
    #[error(transparent)]
    Beneath(#[from] Box<Fault>),
}

impl AttemptError {
    /// Whether beginning again from the last commit may help.
    pub fn may_pass(&self) -> bool {
        matches!(self, AttemptError::Beneath(fault) if fault.may_pass)
    }
}

impl<K: Key + ?Sized, S: State, B: Backing> KeyedTable<K, S, B> {
    /// Begins an attempt at changing the state of `key`: reaches it as
    /// [`reach_guessed`](KeyedTable::reach_guessed) does, and remembers it. [`stands`](Self::stands) or
    /// [`take_back`](Self::take_back) ends it.
    ///
    /// # Errors
    /// When what lies beneath cannot be read, or the state cannot be remembered.
    pub fn attempt(
        &mut self,
        hash: u64,
        key: &K,
        guess: Guess,
    ) -> Result<Attempt<S::Mark>, AttemptError> {
        let is_removed = |number: u32| self.slots[number as usize].life == Life::Removed;
        let returns = self.removed > 0 && self.find_slot(hash, key).is_some_and(is_removed);
        let slot = self.reach_guessed(hash, key, guess)?;
        let found = &self.slots[slot.0 as usize];
        let before = (found.stamp, found.written);
        // One that was never changed nor read was made just now.
        let is_new = before == (0, Written::No);
        self.touch(slot);
        let mark = self.slots[slot.0 as usize].state.mark()?;
        Ok(Attempt { slot, was_there: !returns && !is_new, before, mark })
    }

    /// The attempt stands.
    ///
    /// # Panics
    /// When it is not of this commit.
    pub fn stands(&mut self, attempt: Attempt<S::Mark>) {
        self.slots[attempt.slot.0 as usize].state.keep(attempt.mark);
    }

    /// Takes the attempt back.
    ///
    /// # Errors
    /// When the state as it was cannot be read.
    ///
    /// # Panics
    /// When it is not of this commit, or another key changed meanwhile.
    pub fn take_back(&mut self, attempt: Attempt<S::Mark>) -> Result<(), StateError> {
        let Attempt { slot, was_there, before: (stamp, written), mark } = attempt;
        let found = &mut self.slots[slot.0 as usize];
        found.state.take_back(mark)?;
        if !was_there {
            self.remove(slot);
        } else if stamp != self.stamp {
            (found.stamp, found.written) = (stamp, written);
            assert_eq!(self.dirty.pop(), Some(slot.0), "nothing else changes in an attempt");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyed::record::{Record, What};
    use crate::keyed::{ListState, MapState, Value};
    use egret_schemas::{Epoch, Generation};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    crate::state! {
        #[derive(Debug, PartialEq)]
        struct Cells {
            sum: Value<u64>,
            by: MapState<u8, u64>,
            all: ListState<u64>,
        }
    }

    /// A state of a number, of either form.
    trait Number: State {
        fn add(&mut self, n: u64);
        fn sum(&self) -> u64;
    }

    impl Number for u64 {
        fn add(&mut self, n: u64) {
            *self += n;
        }
        fn sum(&self) -> u64 {
            *self
        }
    }

    impl Number for Cells {
        fn add(&mut self, n: u64) {
            *self.sum += n;
            match n % 4 {
                0 => drop(self.by.remove(&0)),
                1 => self.by.clear(),
                _ => *self.by.or_default((n % 4) as u8) += n,
            }
            match n % 5 {
                0 => drop(self.all.pop_front()),
                1 => drop(self.all.pop()),
                2 => drop(self.all.set(0, n)),
                _ => self.all.push(n),
            }
        }
        fn sum(&self) -> u64 {
            let map: u64 = self.by.iter().map(|(key, n)| u64::from(*key) * 7 + n).sum();
            let list: u64 = self.all.iter().zip(1..).map(|(n, at): (&u64, u64)| n * at).sum();
            *self.sum + 1000 * map + 1_000_000 * list
        }
    }

    fn end(commit: u32) -> Epoch {
        Epoch::new(Generation(1), commit, 0)
    }

    /// Two tables do the same, but the one has attempts beside that are taken back. They hold the same, say the same
    /// changed, write the same, and go back to the same.
    fn run<S: Number>(ops: &[(u8, u8, u64)]) {
        let mut tables = [KeyedTable::<u8, S>::new(8), KeyedTable::<u8, S>::new(8)];
        tables.iter_mut().for_each(|table| table.keep_undo(end(0), 1 << 20));
        let mut commit = 0;
        for &(op, key, n) in ops {
            let hash = key.hash64();
            if op < 8 {
                let failing = &mut tables[0];
                let attempt = failing.attempt(hash, &key, Guess::NONE).unwrap();
                failing.get_mut(attempt.slot()).1.add(n + 3);
                failing.get_mut(attempt.slot()).1.add(n / 2);
                failing.take_back(attempt).unwrap();
            }
            let mut said: Vec<Vec<(Vec<u8>, Vec<u8>)>> = Vec::new();
            for (at, table) in tables.iter_mut().enumerate() {
                let mut written = Vec::new();
                match op {
                    ..4 => {}
                    4..12 if at == 0 => {
                        let attempt = table.attempt(hash, &key, Guess::NONE).unwrap();
                        table.get_mut(attempt.slot()).1.add(n);
                        table.stands(attempt);
                    }
                    4..12 => {
                        let slot = table.entry(hash, &key);
                        table.get_mut(slot).1.add(n);
                    }
                    12 => {
                        let slot = table.entry(hash, &key);
                        table.get_mut(slot);
                        table.remove(slot);
                    }
                    13 => {
                        let back = end(commit);
                        assert!(table.back_to(back).unwrap());
                        table.keep_undo(back, 1 << 20);
                    }
                    _ => {
                        table
                            .for_each_dirty(0, |key, state| {
                                written.push((vec![*key], state.sum().to_le_bytes().to_vec()));
                                Ok::<_, ()>(std::ops::ControlFlow::Continue(()))
                            })
                            .unwrap();
                        let each = |Record { key, what, .. }: Record<'_>| {
                            let body =
                                if what == What::Removed { &b"gone"[..] } else { what.body() };
                            written.push((key.to_vec(), body.to_vec()));
                        };
                        table.drain(end(commit + 1), each).unwrap();
                    }
                }
                written.sort();
                said.push(written);
            }
            commit += u32::from(op > 13);
            assert_eq!(said[0], said[1]);
            let held = |table: &KeyedTable<u8, S>| -> BTreeMap<u8, u64> {
                table.iter().map(|(_, key, state)| (*key, state.sum())).collect()
            };
            assert_eq!(held(&tables[0]), held(&tables[1]));
            assert_eq!(tables[0].len(), tables[1].len());
            let bytes = |table: &KeyedTable<u8, S>| -> BTreeMap<u8, Option<usize>> {
                table.iter().map(|(_, key, state)| (*key, state.bytes())).collect()
            };
            assert_eq!(bytes(&tables[0]), bytes(&tables[1]));
        }
    }

    proptest! {
        #[test]
        fn what_an_attempt_did_is_taken_back(
            ops in proptest::collection::vec((0u8..18, 0u8..5, 0u64..40), 0..120),
        ) {
            run::<u64>(&ops);
            run::<Cells>(&ops);
        }
    }
}
