//! State whose type changes, against a plain map: stints of three types that read each other's ledgers, restored at
//! any commit, taken back to any.

use std::cell::Cell;
use std::collections::BTreeMap;

use egret_schemas::{EntryAddress, EntryId, Epoch, Generation, LedgerId};
use proptest::prelude::*;

use crate::commit::restore_set::{Slice, reading_plan};
use crate::keyed::backing::Backing;
use crate::keyed::chain::Chain;
use crate::keyed::changelog::{Head, write_commit};
use crate::keyed::convert::Conversions;
use crate::keyed::key::Key;
use crate::keyed::kinds::{MapState, Value};
use crate::keyed::record::What;
use crate::keyed::replay::{Replay, Replayed, Schema, StateEntry};
use crate::keyed::schedule::Schedule;
use crate::keyed::state::State;
use crate::keyed::table::KeyedTable;

const KEY_GROUPS: u32 = 8;

/// The state of one key, whatever type it has.
type Entries = BTreeMap<u8, u32>;
type Model = BTreeMap<u64, Entries>;

/// One of the types.
trait Shape: State {
    const SCHEMA: u64;
    fn set(&mut self, at: u8, value: u32);
    fn entries(&self) -> Entries;
    fn of(entries: Entries) -> Self;
}

/// One value.
impl Shape for Entries {
    const SCHEMA: u64 = 1;
    fn set(&mut self, at: u8, value: u32) {
        self.insert(at, value);
    }
    fn entries(&self) -> Entries {
        self.clone()
    }
    fn of(entries: Entries) -> Entries {
        entries
    }
}

/// A cell for each entry.
impl Shape for MapState<u8, u32> {
    const SCHEMA: u64 = 2;
    fn set(&mut self, at: u8, value: u32) {
        self.insert(at, value);
    }
    fn entries(&self) -> Entries {
        self.iter().map(|(at, value)| (*at, *value)).collect()
    }
    fn of(entries: Entries) -> Self {
        let mut map = MapState::default();
        entries.into_iter().for_each(|(at, value)| map.set(at, value));
        map
    }
}

crate::state! {
    /// Cells that would read the ones before, and mean something else.
    struct Doubled {
        values: MapState<u8, u64>,
        number: Value<u64>,
    }
}

impl Shape for Doubled {
    const SCHEMA: u64 = 3;
    fn set(&mut self, at: u8, value: u32) {
        self.values.insert(at, u64::from(value) * 2);
        *self.number = self.values.len() as u64;
    }
    fn entries(&self) -> Entries {
        assert_eq!(*self.number, self.values.len() as u64);
        self.values.iter().map(|(at, value)| (*at, (value / 2) as u32)).collect()
    }
    fn of(entries: Entries) -> Self {
        let mut doubled = Doubled::default();
        entries.into_iter().for_each(|(at, value)| doubled.set(at, value));
        doubled
    }
}

struct Commit {
    slices: Vec<Slice>,
    model: Model,
    epoch: Epoch,
}

/// What is durable, whichever type wrote it.
struct World<'a, B> {
    open: &'a dyn Fn() -> B,
    ledgers: BTreeMap<LedgerId, Vec<Vec<u8>>>,
    commits: Vec<Commit>,
    model: Model,
    generation: u32,
    converted: u64,
}

/// What a task of one type works on.
struct Task<S, B> {
    table: KeyedTable<u64, S, B>,
    chain: Chain,
    commit: u32,
}

impl<B: Backing> World<'_, B> {
    fn new_ledger(&mut self) -> LedgerId {
        let id = LedgerId(self.ledgers.len() as u64 + 1);
        self.ledgers.insert(id, Vec::new());
        id
    }

    /// What was written after a commit is cut off.
    fn cut(&mut self, commit: usize) {
        self.commits.truncate(commit + 1);
        self.generation += 1;
        let Commit { slices, model, .. } = &self.commits[commit];
        self.model = model.clone();
        for range in slices.iter().flat_map(|slice| &slice.ledgers) {
            let entries = self.ledgers.get_mut(&range.ledger).unwrap();
            entries.truncate(EntryId::after(range.last).0 as usize);
        }
    }

    fn restore<S: Shape>(&mut self, commit: usize) -> Task<S, B> {
        self.cut(commit);
        let Commit { slices, epoch, .. } = &self.commits[commit];
        let mut conversions = Conversions::none();
        let mut converts = BTreeMap::new();
        let mut add = |schema: u64, with: &dyn Fn(Conversions<S>) -> Conversions<S>| {
            if schema != S::SCHEMA {
                converts.insert(schema, conversions.len());
                conversions = with(std::mem::take(&mut conversions));
            }
        };
        add(Entries::SCHEMA, &|to| to.of(|old: Entries| S::of(old.entries())));
        add(3, &|to| to.of(|old: Doubled| S::of(old.entries())));
        add(2, &|to| to.of(|old: MapState<u8, u32>| S::of(old.entries())));
        let mut open: Vec<_> = (0..conversions.len()).map(|_| Some((self.open)())).collect();
        let mut table = KeyedTable::over((self.open)(), KEY_GROUPS);
        let mut replay = Replay::new("count", Schema::only(S::SCHEMA)).converting(
            conversions,
            converts,
            Box::new(move |number| Ok(open[number].take().expect("each is opened once"))),
        );
        for reading in reading_plan(slices) {
            let ledger = reading.range.ledger;
            for (i, entry) in (0..).zip(&self.ledgers[&ledger]) {
                let at = EntryAddress { ledger, entry: EntryId(i) };
                let mut none = Schedule::default();
                replay.apply(at, entry, |_| true, &mut table, &mut none).unwrap();
            }
            replay.end_ledger().unwrap();
        }
        self.converted += replay.finish(&mut table).unwrap();
        table.keep_undo(*epoch, 1 << 20);
        let chain = Chain::restored(0..KEY_GROUPS, slices, false, replay.replayed());
        self.begin(table, chain)
    }

    fn begin<S: Shape>(&mut self, table: KeyedTable<u64, S, B>, mut chain: Chain) -> Task<S, B> {
        chain.begin_ledger(self.new_ledger(), table.swept());
        let mut task = Task { table, chain, commit: 0 };
        self.check(&mut task);
        task
    }

    /// As a process that goes on with what it kept in memory.
    fn back<S: Shape>(&mut self, task: Task<S, B>, commit: usize) -> Task<S, B> {
        let Task { mut table, .. } = task;
        let epoch = self.commits[commit].epoch;
        if !table.back_to(epoch).unwrap() {
            return self.restore(commit);
        }
        self.cut(commit);
        table.keep_undo(epoch, 1 << 20);
        let slices = &self.commits[commit].slices;
        let bytes = Replayed { bytes: 100, records: 0 };
        let chain = Chain::restored(0..KEY_GROUPS, slices, false, bytes);
        self.begin(table, chain)
    }

    fn commit<S: Shape>(&mut self, task: &mut Task<S, B>, how: u8) {
        task.commit += 1;
        let epoch = Epoch::new(Generation(self.generation), task.commit, 0);
        if how & 1 == 1 {
            task.chain.begin_ledger(self.new_ledger(), task.table.swept());
        }
        let component = "count".to_owned();
        let head = Head { component, task: 0, tasks: 1, schema: S::SCHEMA, epoch };
        let Task { table, chain, .. } = task;
        let ledger = self.ledgers.get_mut(&chain.current().unwrap()).unwrap();
        let sweep = |_| if how & 2 == 2 { 80 } else { 0 };
        let mut none = Schedule::default();
        let written =
            write_commit(table, &mut none, &head, sweep, |entry| ledger.push(entry)).unwrap();
        if written.entries > 0 {
            chain.appended(EntryId(ledger.len() as u64 - 1), written);
        }
        chain.swept(table.swept());
        let slices = chain.slices();
        self.commits.push(Commit { slices, model: self.model.clone(), epoch: epoch.commit_end() });
        self.check_ledgers();
    }

    fn check<S: Shape>(&self, task: &mut Task<S, B>) {
        let mut held = Model::new();
        let each = |_, key: &u64, state: &S| {
            assert!(held.insert(*key, state.entries()).is_none());
        };
        task.table.visit(each).unwrap();
        assert_eq!(held, self.model);
    }

    /// Changes follow a state of their own schema only, so that a reader need not convert.
    fn check_ledgers(&self) {
        let slices = &self.commits.last().unwrap().slices;
        let mut schemas = BTreeMap::<Vec<u8>, u64>::new();
        for reading in reading_plan(slices) {
            for entry in &self.ledgers[&reading.range.ledger] {
                let entry = StateEntry::decode(entry).unwrap();
                for record in entry.records {
                    let before = schemas.insert(record.key.to_vec(), entry.schema);
                    let follows = matches!(record.what, What::Changes(_));
                    assert!(!follows || before.is_none_or(|before| before == entry.schema));
                }
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Op {
    Set(u64, u8, u32),
    Remove(u64),
    Commit(u8),
    Back(prop::sample::Index),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        8 => (0u64..12, 0u8..6, any::<u32>()).prop_map(|(key, at, value)| Op::Set(key, at, value)),
        2 => (0u64..12).prop_map(Op::Remove),
        4 => any::<u8>().prop_map(Op::Commit),
        1 => any::<prop::sample::Index>().prop_map(Op::Back),
    ]
}

/// Runs code with states of one type, from the commit `at` on.
fn stint<S: Shape, B: Backing>(world: &mut World<'_, B>, at: usize, ops: &[Op]) {
    let mut task = world.restore::<S>(at);
    for op in ops {
        match op {
            Op::Set(key, at, value) => {
                let slot = task.table.reach(key.hash64(), key).unwrap();
                task.table.get_mut(slot).1.set(*at, *value);
                world.model.entry(*key).or_default().insert(*at, *value);
            }
            Op::Remove(key) => {
                let slot = task.table.reach(key.hash64(), key).unwrap();
                task.table.remove(slot);
                world.model.remove(key);
            }
            Op::Commit(how) => world.commit(&mut task, *how),
            Op::Back(at) => {
                let last = world.commits.len() - 1;
                // Not far: further back is what was not kept.
                let commit = last - at.index(last.min(3) + 1);
                task = world.back(task, commit);
            }
        }
        world.check(&mut task);
    }
}

/// Any operations by any of the types, one after the other.
///
/// # Panics
/// When a table over such a backing is not what it was.
pub fn whatever_happens<B: Backing>(open: impl Fn() -> B, cases: u32) {
    let at = prop_oneof![3 => Just(None), 1 => any::<prop::sample::Index>().prop_map(Some)];
    let ops = proptest::collection::vec(op(), 0..30);
    let stints = proptest::collection::vec((0u8..3, at, ops), 1..6);
    let converted = Cell::new(0);
    super::runner(cases)
        .run(&stints, |stints| {
            let first = Epoch::new(Generation(0), 0, 0).commit_end();
            let begin = Commit { slices: Vec::new(), model: Model::new(), epoch: first };
            let mut world = World {
                open: &open,
                ledgers: BTreeMap::new(),
                commits: vec![begin],
                model: Model::new(),
                generation: 0,
                converted: 0,
            };
            for (which, at, ops) in &stints {
                let commits = world.commits.len();
                let at = at.map_or(commits - 1, |at| at.index(commits));
                match which {
                    0 => stint::<Entries, B>(&mut world, at, ops),
                    1 => stint::<MapState<u8, u32>, B>(&mut world, at, ops),
                    _ => stint::<Doubled, B>(&mut world, at, ops),
                }
            }
            converted.set(converted.get() + world.converted);
            Ok(())
        })
        .unwrap();
    assert!(converted.get() > 0, "nothing was converted");
}
