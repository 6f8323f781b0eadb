//! What a table must do over every [backing](super::backing), to be run on each: see [`all`].
//!
//! | module | holds |
//! |---|---|
//! | [`changes`] | changes, commits, sweeps and going back, against a map |
//! | [`restores`] | tables written to ledgers, restored at any commit by any number of tasks |
//! | [`conversions`] | ledgers written by states of several types, restored by any of them |
//!
//! A backing that breaks a rule ends the test with a panic that says which.

#![allow(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "this is a test of a small world, wherever it is compiled"
)]

mod cells;
pub mod changes;
pub mod conversions;
pub mod restores;

use std::collections::BTreeMap;

use proptest::test_runner::{Config, TestRunner};

use super::backing::{Backing, Each, Fault};
use cells::Bag;

/// Runs everything, each with backings of its own, so many times.
///
/// # Panics
/// When a table over such a backing does not what it must.
pub fn all<B: Backing>(open: impl Fn() -> B, cases: u32) {
    changes::whatever_happens::<BTreeMap<u8, u32>, B>(&open, cases);
    changes::whatever_happens::<Bag, B>(&open, cases);
    restores::whatever_happens(&open, cases);
    conversions::whatever_happens(&open, cases);
    restores::moves(&open);
    restores::removed(&open);
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() })
}

/// A backing in a map, for tests: it takes memory all the same.
#[derive(Debug, Clone, Default)]
pub struct Shelf {
    /// What lies there.
    pub all: BTreeMap<Vec<u8>, Vec<u8>>,
    /// What the table above may take.
    pub table_bytes_max: usize,
    /// After so many more operations each fails.
    pub fails_after: Option<usize>,
    /// How many keys were put.
    pub puts: usize,
}

impl Shelf {
    fn works(&mut self) -> Result<(), Box<Fault>> {
        let Some(left) = &mut self.fails_after else { return Ok(()) };
        if *left == 0 {
            let why = "it was told to fail".to_owned();
            return Err(Box::new(Fault { place: self.place(), why, may_pass: true }));
        }
        *left -= 1;
        Ok(())
    }
}

impl Backing for Shelf {
    type Value = Vec<u8>;

    fn place(&self) -> String {
        "a shelf".to_owned()
    }

    fn table_bytes_max(&self) -> usize {
        self.table_bytes_max
    }

    fn memory_bytes(&self) -> usize {
        0
    }

    fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, Box<Fault>> {
        self.works()?;
        Ok(self.all.get(key).cloned())
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Box<Fault>> {
        self.works()?;
        self.puts += 1;
        self.all.insert(key.to_vec(), value.to_vec());
        Ok(())
    }

    fn remove(&mut self, key: &[u8]) -> Result<(), Box<Fault>> {
        self.works()?;
        self.all.remove(key);
        Ok(())
    }

    fn scan(&mut self, from: &[u8], each: &mut Each<'_>) -> Result<(), Box<Fault>> {
        self.works()?;
        let range = self.all.range(from.to_vec()..);
        let _ = range.into_iter().try_for_each(|(key, value)| each(key, value));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::backing::InMemory;
    use super::super::{Key, KeyedTable};
    use super::*;
    use egret_schemas::{Epoch, Generation};

    #[test]
    fn a_table_in_memory_does_what_it_must() {
        all(|| InMemory, 300);
    }

    #[test]
    fn a_table_of_which_next_to_nothing_stays_in_memory_does_what_it_must() {
        for table_bytes_max in [0, 400, 1000] {
            all(|| Shelf { table_bytes_max, ..Shelf::default() }, 300);
        }
    }

    fn end(commit: u32) -> Epoch {
        Epoch::new(Generation(1), commit, 0)
    }

    type Table = KeyedTable<u64, u64, Shelf>;

    fn add(table: &mut Table, key: u64) {
        let slot = table.reach(key.hash64(), &key).unwrap();
        *table.get_mut(slot).1 += 1;
    }

    fn close(table: &mut Table, commit: u32) {
        table.drain(end(commit), |_| ()).unwrap();
        table.evict().unwrap();
    }

    #[test]
    fn a_table_keeps_to_what_it_may_take_and_reads_the_rest_from_beneath() {
        let mut table = Table::over(Shelf { table_bytes_max: 64 << 10, ..Shelf::default() }, 16);
        for commit in 0..100 {
            (0..1000).for_each(|key| add(&mut table, u64::from(commit % 50) * 1000 + key));
            close(&mut table, commit);
            assert!(table.memory_bytes() < 256 << 10, "{}", table.memory_bytes());
        }
        assert_eq!(table.len(), 50_000);
        let mut all = 0;
        table.visit(|_, _, count| all += count).unwrap();
        assert_eq!(all, 100_000);
        assert_eq!(table.live_bytes(), 50_000 * 9, "eight bytes of key, one of count");
    }

    /// A key of every commit stays in memory and is put beneath once, however often it changes.
    #[test]
    fn what_changes_in_every_commit_costs_nothing_beneath() {
        let mut table = Table::over(Shelf { table_bytes_max: 64 << 10, ..Shelf::default() }, 16);
        for commit in 0..200 {
            (0..100).for_each(|key| add(&mut table, key));
            (0..100).for_each(|key| add(&mut table, 1000 + u64::from(commit) * 100 + key));
            close(&mut table, commit);
        }
        let puts = table.backing().puts;
        assert!(puts < 100 + 200 * 100 + 1000, "{puts}");
        let slot = table.reach(7u64.hash64(), &7).unwrap();
        assert_eq!(table.get(slot), (&7, &200));
    }

    /// Whatever fails, when it does: an error and no panic, and what was read before is right.
    #[test]
    fn a_backing_that_fails_at_any_operation_is_an_error() {
        let mut failed = 0;
        for fails_after in 0..200 {
            let shelf = Shelf { fails_after: Some(fails_after), ..Shelf::default() };
            let mut table = Table::over(shelf, 16);
            table.keep_undo(end(0), 1 << 20);
            let mut run = || -> Result<(), Box<dyn std::error::Error>> {
                for commit in 1..6 {
                    for key in 0..8u64 {
                        let slot = table.reach(key.hash64(), &key)?;
                        let (_, count) = table.get_mut(slot);
                        assert!(*count == 0 || *count == u64::from(commit) - 1);
                        *count = u64::from(commit);
                        if (u64::from(commit) + key).is_multiple_of(5) {
                            table.remove(slot);
                        }
                    }
                    table.drain(end(commit), |_| ())?;
                    table.sweep(20, |_| ())?;
                    table.evict()?;
                }
                assert!(table.back_to(end(3))?);
                table.visit(|_, _, count| assert_eq!(*count, 3))?;
                Ok(())
            };
            match run() {
                Ok(()) => break,
                Err(why) => {
                    let why = why.to_string();
                    assert_eq!(why, "its state beside memory, in a shelf: it was told to fail");
                    failed += 1;
                }
            }
        }
        assert!((50..200).contains(&failed), "{failed}");
    }

    #[test]
    fn what_lies_beneath_damaged_is_an_error_that_says_where() {
        let mut table = Table::over(Shelf::default(), 16);
        (0..10).for_each(|key| add(&mut table, key));
        close(&mut table, 0);
        table.backing().all.values_mut().for_each(|value| value.truncate(2));
        let why = table.reach(3u64.hash64(), &3).unwrap_err();
        assert!(why.may_pass && !table.is_sound(), "a new generation makes it anew");
        assert!(why.to_string().contains("a shelf: what lies there is not what was put"), "{why}");
        table.backing().all.values_mut().for_each(|value| value.truncate(1));
        assert!(table.sweep(100, |_| ()).is_err());
        assert!(table.visit(|_, _, _| ()).is_err());
        assert!(table.reach(3u64.hash64(), &3).is_err());
    }
}
