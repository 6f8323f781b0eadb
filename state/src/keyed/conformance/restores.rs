//! Keyed state against a plain map: random operations over several tasks, captured at commits,
//! restored at any commit, by any number of tasks.

use std::collections::BTreeMap;

use crate::commit::restore_set::{RestoreSet, check_slices, groups_of_task, reading_plan};
use crate::keyed::backing::Backing;
use crate::keyed::chain::Chain;
use crate::keyed::changelog::{Head, write_commit};
use crate::keyed::key::Key;
use crate::keyed::replay::{Replay, Schema};
use crate::keyed::schedule::Schedule;
use crate::keyed::table::KeyedTable;
use egret_schemas::key::{key_group, task_of_group};
use egret_schemas::{EntryAddress, EntryId, Epoch, Generation, LedgerId};
use proptest::prelude::*;

const KEY_GROUPS: u32 = 8;
const SCHEMA: u64 = 7;

type Model = BTreeMap<String, Vec<u32>>;
struct Task<B> {
    table: KeyedTable<str, Vec<u32>, B>,
    chain: Chain,
}

/// Ledgers with everything that was ever appended, committed or not, and every commit made.
struct World<'a, B> {
    open: &'a dyn Fn() -> B,
    ledgers: BTreeMap<LedgerId, Vec<Vec<u8>>>,
    commits: Vec<(RestoreSet, Model)>,
    tasks: Vec<Task<B>>,
    model: Model,
    generation: u32,
    commit: u32,
}

impl<'a, B: Backing> World<'a, B> {
    fn new(open: &'a dyn Fn() -> B, tasks: u32) -> World<'a, B> {
        let mut world = World {
            open,
            ledgers: BTreeMap::new(),
            commits: vec![(RestoreSet::default(), Model::new())],
            tasks: Vec::new(),
            model: Model::new(),
            generation: 0,
            commit: 0,
        };
        world.restore(0, tasks);
        world
    }

    /// Ids are handed out in no useful order: nothing may depend on it.
    fn new_ledger(&mut self) -> LedgerId {
        let id = LedgerId((self.ledgers.len() as u64 * 7919) % 100_003);
        assert!(self.ledgers.insert(id, Vec::new()).is_none());
        id
    }

    fn task_of(&mut self, key: &str) -> &mut Task<B> {
        let group = key_group(key.hash64(), KEY_GROUPS);
        let tasks = self.tasks.len() as u32;
        &mut self.tasks[task_of_group(group, KEY_GROUPS, tasks) as usize]
    }

    fn change(&mut self, key: &str, value: u32) {
        let table = &mut self.task_of(key).table;
        let slot = table.reach(key.hash64(), key).unwrap();
        table.get_mut(slot).1.push(value);
        self.model.entry(key.to_owned()).or_default().push(value);
    }

    fn remove(&mut self, key: &str) {
        let table = &mut self.task_of(key).table;
        let slot = table.reach(key.hash64(), key).unwrap();
        table.remove(slot);
        self.model.remove(key);
    }

    /// Every task writes; two bits of `how` each say whether it goes on in a new ledger, and whether it sweeps much.
    fn commit(&mut self, how: u8) {
        self.commit += 1;
        let epoch = Epoch::new(Generation(self.generation), self.commit, 0);
        let tasks = self.tasks.len() as u32;
        let mut set = RestoreSet { tasks, slices: Vec::new() };
        for task in 0..tasks {
            let component = "count".to_owned();
            let head = Head { component, task, tasks, schema: SCHEMA, epoch };
            let how = how >> (2 * task);
            if how & 1 == 1 {
                let ledger = self.new_ledger();
                let Task { table, chain } = &mut self.tasks[task as usize];
                chain.begin_ledger(ledger, table.swept());
            }
            let Task { table, chain } = &mut self.tasks[task as usize];
            let ledger = self.ledgers.get_mut(&chain.current().unwrap()).unwrap();
            let sweep = |_| if how & 2 == 2 { 60 } else { 12 };
            let written = write_commit(table, &mut Schedule::default(), &head, sweep, |entry| {
                ledger.push(entry)
            })
            .unwrap();
            if written.entries > 0 {
                chain.appended(EntryId(ledger.len() as u64 - 1), written);
            }
            chain.swept(table.swept());
            let slices = chain.slices();
            check_slices(&slices, groups_of_task(task, tasks, KEY_GROUPS)).unwrap();
            set.slices.extend(slices);
        }
        check_slices(&set.slices, 0..KEY_GROUPS).unwrap();
        self.commits.push((set, self.model.clone()));
    }

    /// A new generation of `tasks` tasks begins at a commit; what was written after it is cut off.
    fn restore(&mut self, commit: usize, tasks: u32) {
        self.commits.truncate(commit + 1);
        self.generation += 1;
        self.commit = 0;
        let (set, model) = self.commits[commit].clone();
        self.model = model;
        for (ledger, last) in set.ledgers() {
            self.ledgers.get_mut(&ledger).unwrap().truncate(EntryId::after(last).0 as usize);
        }
        self.tasks.clear();
        for task in 0..tasks {
            let slices = set.of_task(task, tasks, KEY_GROUPS);
            let mut table = KeyedTable::over((self.open)(), KEY_GROUPS);
            let mut replay = Replay::new("count", Schema::only(SCHEMA));
            for reading in reading_plan(&slices) {
                let ledger = reading.range.ledger;
                for (i, entry) in (0..).zip(&self.ledgers[&ledger]) {
                    let at = EntryAddress { ledger, entry: EntryId(i) };
                    replay
                        .apply(
                            at,
                            entry,
                            |group| reading.takes(group),
                            &mut table,
                            &mut Schedule::default(),
                        )
                        .unwrap();
                }
                replay.end_ledger().unwrap();
            }
            let groups = groups_of_task(task, tasks, KEY_GROUPS);
            let changed = set.tasks != tasks;
            let chain = Chain::restored(groups, &slices, changed, replay.replayed());
            self.tasks.push(Task { table, chain });
            let ledger = self.new_ledger();
            let Task { table, chain } = self.tasks.last_mut().unwrap();
            chain.begin_ledger(ledger, table.swept());
        }
        self.check();
    }

    /// The tables hold what the model holds, each key with its owner.
    fn check(&mut self) {
        let mut held = Model::new();
        let tasks = self.tasks.len() as u32;
        for (task, Task { table, .. }) in (0..).zip(&mut self.tasks) {
            let mut found = 0;
            let each = |group, key: &str, state: &Vec<u32>| {
                assert_eq!(task_of_group(group, KEY_GROUPS, tasks), task);
                assert!(held.insert(key.to_owned(), state.clone()).is_none());
                found += 1;
            };
            table.visit(each).unwrap();
            assert_eq!(table.len(), found);
        }
        assert_eq!(held, self.model);
    }
}

#[derive(Clone, Debug)]
enum Op {
    Change(u8, u32),
    Remove(u8),
    Commit(u8),
    Restore(prop::sample::Index, u32),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0u8..24, any::<u32>()).prop_map(|(key, value)| Op::Change(key, value)),
        3 => (0u8..24).prop_map(Op::Remove),
        2 => any::<u8>().prop_map(Op::Commit),
        1 => (any::<prop::sample::Index>(), 1u32..5).prop_map(|(at, tasks)| Op::Restore(at, tasks)),
    ]
}

fn run<B: Backing>(open: &dyn Fn() -> B, ops: &[Op], tasks: u32) {
    let mut world = World::new(open, tasks);
    for op in ops {
        match op {
            Op::Change(key, value) => world.change(&format!("key {key}"), *value),
            Op::Remove(key) => world.remove(&format!("key {key}")),
            Op::Commit(how) => world.commit(*how),
            Op::Restore(at, tasks) => world.restore(at.index(world.commits.len()), *tasks),
        }
        world.check();
    }
}

/// Any operations, any number of tasks, restored at any commit.
///
/// # Panics
/// When a table over such a backing is not what it was.
pub fn whatever_happens<B: Backing>(open: impl Fn() -> B, cases: u32) {
    let inputs = (proptest::collection::vec(op(), 0..80), 1u32..5);
    super::runner(cases)
        .run(&inputs, |(ops, tasks)| {
            run(&open, &ops, tasks);
            Ok(())
        })
        .unwrap();
}

/// State moves from one task to three to two.
///
/// # Panics
/// When a table over such a backing is not what it was.
pub fn moves<B: Backing>(open: impl Fn() -> B) {
    let mut world = World::new(&open, 1);
    for (tasks, how) in [(3, 0b1101), (2, 0b11), (2, 0)] {
        (0..100).for_each(|i| world.change(&format!("key {i}"), i));
        (0..100).step_by(7).for_each(|i| world.remove(&format!("key {i}")));
        world.commit(0);
        world.change("after", tasks);
        world.commit(how);
        world.change("lost", 1);
        let last = world.commits.len() - 1;
        world.restore(last, tasks);
    }
    assert!(!world.model.contains_key("lost") && world.model.contains_key("after"));
}

/// A key was removed long ago and its task rewrote everything since; the old ledger, still needed by a
/// neighbour, must not bring it back.
///
/// # Panics
/// When a table over such a backing brings it back.
pub fn removed<B: Backing>(open: impl Fn() -> B) {
    let mut world = World::new(&open, 1);
    (0..40).for_each(|i| world.change(&format!("key {i}"), i));
    world.commit(0);
    world.restore(1, 2);
    (0..40).for_each(|i| world.remove(&format!("key {i}")));
    world.commit(0b11);
    let needed = world.commits[2].0.slices[0].ledgers.len();
    assert_eq!(needed, 1, "the first task let go of the old ledger");
    for tasks in [1, 2, 3] {
        world.restore(2, tasks);
    }
    assert!(world.model.is_empty());
}
