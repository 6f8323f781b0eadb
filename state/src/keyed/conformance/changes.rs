//! One table: changes, removals, commits, sweeps, and going back, against a map.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use egret_schemas::bytes::Reader;
use egret_schemas::key::key_group;
use egret_schemas::{Epoch, Generation};
use proptest::prelude::*;

use super::cells::Bag;
use crate::keyed::backing::{Backing, InMemory};
use crate::keyed::record::Record;
use crate::keyed::{Key, KeyedTable, State};

const KEY_GROUPS: u32 = 8;

type Held = BTreeMap<String, BTreeMap<u8, u32>>;

/// A state that is numbers by number.
#[expect(private_bounds, reason = "the two there are")]
pub trait Numbers: State + Same + Debug {}
impl<S: State + Same + Debug> Numbers for S {}

pub(crate) trait Same {
    fn numbers(&self) -> &BTreeMap<u8, u32>;
    fn change(&mut self, cell: u8, value: Option<u32>);
}

impl Same for BTreeMap<u8, u32> {
    fn numbers(&self) -> &BTreeMap<u8, u32> {
        self
    }
    fn change(&mut self, cell: u8, value: Option<u32>) {
        match value {
            Some(value) => drop(self.insert(cell, value)),
            None => drop(self.remove(&cell)),
        }
    }
}

impl Same for Bag {
    fn numbers(&self) -> &BTreeMap<u8, u32> {
        self.all()
    }
    fn change(&mut self, cell: u8, value: Option<u32>) {
        self.set(cell, value);
    }
}

#[derive(Clone, Debug)]
enum Op {
    Set(u8, u8, u32),
    Unset(u8, u8),
    Look(u8),
    Remove(u8),
    Commit(u64),
    BackTo(prop::sample::Index),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (0u8..12, 0u8..4, any::<u32>()).prop_map(|(key, cell, n)| Op::Set(key, cell, n)),
        1 => (0u8..12, 0u8..4).prop_map(|(key, cell)| Op::Unset(key, cell)),
        1 => (0u8..12).prop_map(Op::Look),
        2 => (0u8..12).prop_map(Op::Remove),
        3 => (0u64..120).prop_map(Op::Commit),
        1 => any::<prop::sample::Index>().prop_map(Op::BackTo),
    ]
}

struct World<S: State, B> {
    table: KeyedTable<str, S, B>,
    model: Held,
    /// What was written, record by record, and where sweeps were before each commit.
    log: Vec<Vec<u8>>,
    places: Vec<(usize, crate::keyed::table::Swept)>,
    /// Commits not let go.
    commits: Vec<(Epoch, Held)>,
    /// Keys that were looked at and never came count until they leave.
    looked: BTreeSet<String>,
    /// Removed in the open commit: whoever reaches for those makes them anew.
    removed: BTreeSet<String>,
}

/// Any operations; after a whole round of a sweep what was written since is all there is.
///
/// # Panics
/// When a table over such a backing is not what a map is.
pub fn whatever_happens<S: Numbers, B: Backing>(open: impl Fn() -> B, cases: u32) {
    let ops = proptest::collection::vec(op(), 0..150);
    super::runner(cases)
        .run(&ops, |ops| {
            run::<S, B>(open(), &ops);
            Ok(())
        })
        .unwrap();
}

fn run<S: Numbers, B: Backing>(backing: B, ops: &[Op]) {
    let first = Epoch::new(Generation(1), 0, 0);
    let mut world = World::<S, B> {
        table: KeyedTable::over(backing, KEY_GROUPS),
        model: Held::new(),
        log: Vec::new(),
        places: Vec::new(),
        commits: vec![(first, Held::new())],
        looked: BTreeSet::new(),
        removed: BTreeSet::new(),
    };
    world.table.keep_undo(first, 1 << 20);
    for op in ops {
        let key_of = |key: u8| format!("k{key}");
        match *op {
            Op::Set(key, cell, n) => world.change(&key_of(key), cell, Some(n)),
            Op::Unset(key, cell) => world.change(&key_of(key), cell, None),
            Op::Look(key) => world.look(&key_of(key)),
            Op::Remove(key) => world.remove(&key_of(key)),
            Op::Commit(sweep) => world.commit(sweep),
            Op::BackTo(at) => world.back_to(at.index(world.commits.len())),
        }
        world.check();
    }
}

fn held<S: Numbers, B: Backing>(table: &mut KeyedTable<str, S, B>) -> Held {
    let mut held = Held::new();
    let mut twice = false;
    let each = |group, key: &str, state: &S| {
        assert_eq!(group, key_group(key.hash64(), KEY_GROUPS));
        twice |= held.insert(key.to_owned(), state.numbers().clone()).is_some();
    };
    table.visit(each).unwrap();
    assert!(!twice, "each key once");
    held
}

impl<S: Numbers, B: Backing> World<S, B> {
    fn change(&mut self, key: &str, cell: u8, value: Option<u32>) {
        let slot = self.table.reach(key.hash64(), key).unwrap();
        let (found, state) = self.table.get_mut(slot);
        assert_eq!(found, key);
        let before = self.model.get(key).cloned().unwrap_or_default();
        assert_eq!(state.numbers(), &before, "of {key}");
        state.change(cell, value);
        self.model.entry(key.to_owned()).or_default().change(cell, value);
    }

    fn look(&mut self, key: &str) {
        if self.removed.contains(key) {
            return;
        }
        let slot = self.table.reach(key.hash64(), key).unwrap();
        let (found, state) = self.table.get(slot);
        let before = self.model.get(key).cloned().unwrap_or_default();
        assert_eq!((found, state.numbers()), (key, &before));
        self.looked.insert(key.to_owned());
    }

    fn remove(&mut self, key: &str) {
        let slot = self.table.reach(key.hash64(), key).unwrap();
        self.table.remove(slot);
        self.model.remove(key);
        self.looked.remove(key);
        self.removed.insert(key.to_owned());
    }

    fn commit(&mut self, sweep: u64) {
        let World { table, log, places, model, commits, .. } = self;
        let commit = Epoch::new(Generation(1), commits.last().unwrap().0.commit() + 1, 0);
        places.push((log.len(), table.swept()));
        let before = log.len();
        table.drain(commit, |record| log.push(written(&record))).unwrap();
        let keys: BTreeSet<_> =
            log[before..].iter().map(|bytes| read(bytes).key.to_vec()).collect();
        assert_eq!(keys.len(), log.len() - before, "each changed key once");
        table.sweep(sweep, |record| log.push(written(&record))).unwrap();
        table.evict().unwrap();
        commits.push((commit, model.clone()));
        self.removed.clear();
        for (from, since) in &*places {
            if table.swept().is_round_after(*since) {
                let mut replayed = KeyedTable::<str, S, InMemory>::new(KEY_GROUPS);
                for bytes in &log[*from..] {
                    let record = read(bytes);
                    replayed.restore(egret_schemas::key::hash(record.key), &record).unwrap();
                }
                assert_eq!(&held(&mut replayed), model, "a round after {since:?}");
            }
        }
    }

    fn back_to(&mut self, at: usize) {
        let (commit, model) = self.commits.swap_remove(at);
        assert!(self.table.back_to(commit).unwrap());
        self.table.keep_undo(commit, 1 << 20);
        // What was written is of no use; begin with everything there is.
        self.log.clear();
        let mut all = KeyedTable::<str, S, InMemory>::new(KEY_GROUPS);
        for (key, numbers) in &model {
            let slot = all.entry(key.hash64(), key);
            numbers.iter().for_each(|(cell, n)| all.get_mut(slot).1.change(*cell, Some(*n)));
            all.get_mut(slot);
        }
        let log = &mut self.log;
        all.drain(commit, |record| log.push(written(&record))).unwrap();
        self.places.clear();
        self.removed.clear();
        self.commits = vec![(commit, model.clone())];
        self.model = model;
    }

    fn check(&mut self) {
        // Who was only looked at has an empty state, as who never came has.
        let mut found = held(&mut self.table);
        assert_eq!(self.table.len(), found.len());
        let (model, looked) = (&self.model, &self.looked);
        found.retain(|key, state| {
            model.contains_key(key) || !state.is_empty() || !looked.contains(key)
        });
        assert_eq!(&found, model);
    }
}

fn written(record: &Record<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.write(&mut bytes);
    bytes
}

fn read(bytes: &[u8]) -> Record<'_> {
    Record::read(&mut Reader::new(bytes), KEY_GROUPS).unwrap()
}
