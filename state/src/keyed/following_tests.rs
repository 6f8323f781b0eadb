//! Tables that follow, against a plain map: tasks that commit, are cut off between writing and committing, roll
//! and let go of ledgers, become others in number, go back to an older commit; followers that look now and then,
//! cannot read to the end, and arrive.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use egret_schemas::key::{key_group, task_of_group};
use egret_schemas::{EntryAddress, EntryId, Epoch, Generation, LedgerId};

use super::*;
use crate::commit::restore_set::{check_slices, groups_of_task, reading_plan};
use crate::keyed::backing::InMemory;
use crate::keyed::chain::Chain;
use crate::keyed::changelog::{Head, write_commit};
use crate::keyed::kinds::ListState;
use crate::keyed::schedule::{Due, Kind};

const KEY_GROUPS: u32 = 8;
const SCHEMA: u64 = 7;
const KEYS: u64 = 24;

/// What is wrong with a follower, on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mutant {
    /// Nothing.
    None,
    /// It takes what lies in a ledger, whatever the commit says of it.
    TakesWhatLies,
    /// It goes on with what it holds, whatever became of the chain.
    NeverAnew,
    /// It goes on after a way that was not read to its end.
    GoesOnFromAnywhere,
}

/// Numbers of one seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % n
    }

    fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }
}

/// A state that numbers are added to.
trait Kept: State {
    fn add(&mut self, number: u32);
    fn all(&self) -> Vec<u32>;
}

impl Kept for Vec<u32> {
    fn add(&mut self, number: u32) {
        self.push(number);
    }

    fn all(&self) -> Vec<u32> {
        self.clone()
    }
}

impl Kept for ListState<u32> {
    fn add(&mut self, number: u32) {
        self.push(number);
    }

    fn all(&self) -> Vec<u32> {
        self.iter().copied().collect()
    }
}

/// Numbers of a key, and when it is due.
type Model = BTreeMap<u64, (Vec<u32>, Vec<Due>)>;

struct Task<S: Kept> {
    table: KeyedTable<u64, S>,
    schedule: Schedule,
    chain: Chain,
}

struct World<S: Kept> {
    dice: Dice,
    /// With everything that was ever appended, committed or not.
    ledgers: BTreeMap<LedgerId, Vec<Vec<u8>>>,
    /// Commits made, oldest first; the last two are whole, and so is the named one.
    commits: Vec<(RestoreSet, Model)>,
    named: Option<(RestoreSet, Model)>,
    tasks: Vec<Task<S>>,
    model: Model,
    generation: u32,
    commit: u32,
    next_ledger: u64,
}

impl<S: Kept> World<S> {
    fn new(seed: u64) -> World<S> {
        let mut world = World {
            dice: Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
            ledgers: BTreeMap::new(),
            commits: vec![(RestoreSet::default(), Model::new())],
            named: None,
            tasks: Vec::new(),
            model: Model::new(),
            generation: 0,
            commit: 0,
            next_ledger: 0,
        };
        world.begin();
        world
    }

    fn committed(&self) -> &(RestoreSet, Model) {
        self.commits.last().expect("there is a first")
    }

    fn new_ledger(&mut self) -> LedgerId {
        self.next_ledger += 1;
        let id = LedgerId(self.next_ledger * 7919 % 100_003);
        assert!(self.ledgers.insert(id, Vec::new()).is_none());
        id
    }

    /// A new generation, of any number of tasks, begins at the last commit: what was written after it is cut off.
    fn begin(&mut self) {
        let tasks = 1 + u32::try_from(self.dice.below(3)).unwrap();
        self.generation += 1;
        self.commit = 0;
        let (set, model) = self.committed().clone();
        self.model = model;
        for (ledger, last) in set.ledgers() {
            let end = usize::try_from(EntryId::after(last).0).unwrap();
            // What only a commit that was gone back from had is there still.
            let ledger = self.ledgers.get_mut(&ledger).unwrap();
            if self.named.is_none() {
                ledger.truncate(end);
            }
            assert!(ledger.len() >= end);
        }
        self.tasks.clear();
        for task in 0..tasks {
            let slices = set.of_task(task, tasks, KEY_GROUPS);
            let (mut table, mut schedule) = (KeyedTable::new(KEY_GROUPS), Schedule::default());
            let mut replay = Replay::<u64, S>::new("count", Schema::only(SCHEMA));
            for reading in reading_plan(&slices) {
                let ledger = reading.range.ledger;
                let end = usize::try_from(EntryId::after(reading.range.last).0).unwrap();
                for (i, entry) in (0..).zip(&self.ledgers[&ledger][..end]) {
                    let at = EntryAddress { ledger, entry: EntryId(i) };
                    let takes = |group| reading.takes(group);
                    replay.apply(at, entry, takes, &mut table, &mut schedule).unwrap();
                }
                replay.end_ledger().unwrap();
            }
            let groups = groups_of_task(task, tasks, KEY_GROUPS);
            let mut chain = Chain::restored(groups, &slices, set.tasks != tasks, replay.replayed());
            chain.begin_ledger(self.new_ledger(), table.swept());
            self.tasks.push(Task { table, schedule, chain });
        }
    }

    fn change(&mut self) {
        let (key, number) = (self.dice.below(KEYS), u32::try_from(self.dice.below(1000)).unwrap());
        let tasks = u32::try_from(self.tasks.len()).unwrap();
        let task = task_of_group(key_group(key.hash64(), KEY_GROUPS), KEY_GROUPS, tasks);
        let Task { table, schedule, .. } = &mut self.tasks[task as usize];
        let slot = table.entry(key.hash64(), &key);
        if self.dice.one_in(5) {
            table.remove(slot);
            schedule.forget(&key.to_le_bytes());
            self.model.remove(&key);
            return;
        }
        table.get_mut(slot).1.add(number);
        let held = self.model.entry(key).or_default();
        held.0.push(number);
        if self.dice.one_in(3) {
            let due = Due { kind: Kind::EventTime, ms: i64::from(number), tag: 0 };
            schedule.set(&key.to_le_bytes(), due).unwrap();
            if !held.1.contains(&due) {
                held.1.push(due);
                held.1.sort_unstable();
            }
        }
    }

    /// Every task writes what changed. Where they do not come to commit it, it lies in their ledgers.
    fn write(&mut self) -> RestoreSet {
        self.commit += 1;
        let epoch = Epoch::new(Generation(self.generation), self.commit, 0);
        let tasks = u32::try_from(self.tasks.len()).unwrap();
        let mut set = RestoreSet { tasks, slices: Vec::new() };
        for task in 0..tasks {
            let head = Head { component: "count".into(), task, tasks, schema: SCHEMA, epoch };
            if self.dice.one_in(4) {
                let ledger = self.new_ledger();
                let Task { table, chain, .. } = &mut self.tasks[task as usize];
                chain.begin_ledger(ledger, table.swept());
            }
            let sweep = [0, 12, 200][usize::try_from(self.dice.below(3)).unwrap()];
            let Task { table, schedule, chain } = &mut self.tasks[task as usize];
            let ledger = self.ledgers.get_mut(&chain.current().unwrap()).unwrap();
            let emit = |entry| ledger.push(entry);
            let written = write_commit(table, schedule, &head, |_| sweep, emit).unwrap();
            if written.entries > 0 {
                chain.appended(EntryId(ledger.len() as u64 - 1), written);
            }
            chain.swept(table.swept());
            set.slices.extend(chain.slices());
        }
        check_slices(&set.slices, 0..KEY_GROUPS).unwrap();
        set
    }

    fn commit(&mut self) {
        let set = self.write();
        self.commits.push((set, self.model.clone()));
        if self.dice.one_in(6) && self.named.is_none() {
            self.named = self.commits.last().cloned();
        }
        self.trim();
    }

    /// Deletes what neither the last two commits nor the named one needs.
    fn trim(&mut self) {
        let from = self.commits.len().saturating_sub(2);
        let kept = self.commits[from..].iter().chain(&self.named);
        let mut needed: BTreeSet<LedgerId> =
            kept.flat_map(|(set, _)| set.ledgers()).map(|l| l.0).collect();
        needed.extend(self.tasks.iter().filter_map(|task| task.chain.current()));
        self.ledgers.retain(|id, _| needed.contains(id));
    }

    /// Goes back to the named commit, if there is one.
    fn go_back(&mut self) {
        if let Some(named) = self.named.clone() {
            self.commits.push(named);
            self.begin();
            self.named = None;
        }
    }
}

/// A follower of some key groups.
struct Follower<S: Kept> {
    groups: Range<u32>,
    following: Following<u64, S, InMemory>,
    mutant: Mutant,
    /// What the table was restored from last, as one sees it who does not care.
    last: Option<RestoreSet>,
}

impl<S: Kept> Follower<S> {
    fn new(groups: Range<u32>, mutant: Mutant) -> Follower<S> {
        Follower { groups, following: fresh(), mutant, last: None }
    }

    /// Reads `set`, of which reading may fail; whether it arrived.
    fn catch_up(&mut self, world: &mut World<S>, set: &RestoreSet, fails: bool) -> bool {
        let clip = |slice: &Slice| Slice {
            first_group: slice.first_group.max(self.groups.start),
            end_group: slice.end_group.min(self.groups.end),
            ledgers: slice.ledgers.clone(),
        };
        let slices = set.slices.iter().map(clip).filter(|s| s.first_group < s.end_group);
        let slices: Vec<Slice> = slices.collect();
        let mut way = Way::between(self.following.held(), &slices);
        if let (Mutant::NeverAnew, Some(last)) = (self.mutant, &self.last) {
            let ends = last.ledgers();
            way.anew = false;
            for stretch in &mut way.stretches {
                let end = EntryId::after(ends.get(&stretch.ledger).copied().flatten());
                stretch.from = stretch.from.max(end);
            }
            way.stretches.retain(|stretch| stretch.from <= stretch.last);
        }
        if self.mutant == Mutant::TakesWhatLies {
            for stretch in &mut way.stretches {
                stretch.last = EntryId(world.ledgers[&stretch.ledger].len() as u64 - 1);
            }
        }
        if way.anew {
            self.following = fresh();
        } else if self.following.held().is_none() {
            return false;
        }
        self.following.begin(&way);
        for stretch in &way.stretches {
            for entry in stretch.from.0..=stretch.last.0 {
                if fails && world.dice.one_in(4) {
                    if self.mutant == Mutant::GoesOnFromAnywhere {
                        self.following.next = None;
                        self.following.replay = Replay::new("count", Schema::only(SCHEMA));
                        self.following.arrive(&slices);
                    }
                    return false;
                }
                let at = EntryAddress { ledger: stretch.ledger, entry: EntryId(entry) };
                let bytes = &world.ledgers[&stretch.ledger][usize::try_from(entry).unwrap()];
                self.following.entry(stretch, at, bytes).unwrap();
            }
            self.following.end(stretch).unwrap();
        }
        self.following.arrive(&slices);
        self.last = self.following.held().cloned();
        true
    }

    fn holds(&self) -> Model {
        let states = self.following.table.iter();
        let due = |key: &u64| self.following.schedule.of(&key.to_le_bytes()).to_vec();
        states.map(|(_, key, state)| (*key, (state.all(), due(key)))).collect()
    }

    /// Whether it holds what it should, and counts the bytes that a restore would read.
    fn check(&self, world: &World<S>, (set, model): &(RestoreSet, Model)) -> Result<(), String> {
        let own = |key: &u64| self.groups.contains(&key_group(key.hash64(), KEY_GROUPS));
        let expected: Model = model
            .iter()
            .filter(|(key, _)| own(key))
            .map(|(key, held)| (*key, held.clone()))
            .collect();
        let held = self.holds();
        if held != expected {
            return Err(format!("groups {:?} hold {held:?}, not {expected:?}", self.groups));
        }
        let all: Vec<Slice> = set.slices.clone();
        let mine = all
            .iter()
            .filter(|s| s.first_group < self.groups.end && self.groups.start < s.end_group);
        let ranges: BTreeMap<_, _> =
            mine.flat_map(|slice| &slice.ledgers).map(|range| (range.ledger, range.last)).collect();
        let bytes: usize = ranges
            .into_iter()
            .map(|(ledger, last)| {
                let end = usize::try_from(EntryId::after(last).0).unwrap();
                world.ledgers[&ledger][..end].iter().map(Vec::len).sum::<usize>()
            })
            .sum();
        match self.following.log_bytes() {
            counted if counted == bytes as u64 => Ok(()),
            counted => Err(format!("{counted} bytes were counted of {bytes}")),
        }
    }
}

fn fresh<S: Kept>() -> Following<u64, S, InMemory> {
    Following::new("count", Schema::only(SCHEMA), KeyedTable::new(KEY_GROUPS))
}

/// One story; what is wrong in it.
fn story<S: Kept>(seed: u64, mutant: Mutant) -> Result<(), String> {
    let mut world = World::<S>::new(seed);
    let cut = 1 + u32::try_from(world.dice.below(u64::from(KEY_GROUPS) - 1)).unwrap();
    let mut followers = [0..cut, cut..KEY_GROUPS].map(|groups| Follower::new(groups, mutant));
    for step in 0..60 {
        match world.dice.below(20) {
            0..10 => world.change(),
            10..14 => world.commit(),
            // It wrote and did not come to commit; the next generation begins, or has not yet.
            14 => drop(world.write()),
            15 => world.begin(),
            16 if world.dice.one_in(3) => world.go_back(),
            _ => {
                let committed = world.committed().clone();
                let fails = world.dice.one_in(3);
                for follower in &mut followers {
                    if follower.catch_up(&mut world, &committed.0, fails) {
                        let said = follower.check(&world, &committed);
                        said.map_err(|why| format!("step {step}: {why}"))?;
                    }
                }
            }
        }
        // Who wrote beyond a commit and did not make it is of no more use.
        if world.dice.one_in(10) {
            world.begin();
        }
    }
    // The takeover: nothing is written any more, and every read is answered.
    world.begin();
    let committed = world.committed().clone();
    for mut follower in followers {
        if !follower.catch_up(&mut world, &committed.0, false) {
            return Err("it did not arrive".to_owned());
        }
        follower.check(&world, &committed).map_err(|why| format!("at the end: {why}"))?;
        let end = Epoch::new(Generation(world.generation), 9, 0);
        let arrived = follower.following.into_arrived(end).unwrap();
        let Arrived { mut table, mut schedule, .. } = arrived;
        let back = table.back_to(end).unwrap() && schedule.back_to(end, KEY_GROUPS).unwrap();
        assert!(back, "a task takes it as one that was kept");
    }
    Ok(())
}

const SEEDS: u64 = 400;

#[test]
fn a_follower_holds_what_a_restore_of_its_commit_would_hold() {
    for seed in 0..SEEDS {
        let plain = story::<Vec<u32>>(seed, Mutant::None);
        let cells = story::<ListState<u32>>(seed, Mutant::None);
        for (of, said) in [("plain states", plain), ("cells", cells)] {
            assert!(said.is_ok(), "{of}, seed {seed}: {}", said.unwrap_err());
        }
    }
}

/// The control: each of these is a follower that would carry on with a wrong state.
#[test]
fn a_follower_that_counts_what_it_should_not_is_found() {
    for mutant in [Mutant::TakesWhatLies, Mutant::NeverAnew, Mutant::GoesOnFromAnywhere] {
        let found = |seed: &u64| {
            let told = || story::<Vec<u32>>(*seed, mutant);
            // What it does may also be refused where it is done.
            std::panic::catch_unwind(told).is_ok_and(|said| said.is_err())
        };
        assert!((0..SEEDS).any(|seed| found(&seed)), "{mutant:?} is found by no story");
    }
}

#[test]
fn entries_out_of_place_and_ledgers_that_end_early_are_refused() {
    let mut table = KeyedTable::<u64, Vec<u32>>::new(KEY_GROUPS);
    let mut entries = Vec::new();
    for commit in 0..3 {
        let slot = table.entry(1u64.hash64(), &1);
        table.get_mut(slot).1.push(commit);
        let epoch = Epoch::new(Generation(1), commit, 0);
        let head = Head { component: "count".into(), task: 0, tasks: 1, schema: SCHEMA, epoch };
        let emit = |entry| entries.push(entry);
        write_commit(&mut table, &mut Schedule::default(), &head, |_| 0, emit).unwrap();
    }
    let ledger = LedgerId(3);
    let at = |entry| EntryAddress { ledger, entry: EntryId(entry) };
    let groups = std::iter::once(0..KEY_GROUPS).collect();
    let stretch = Stretch { ledger, from: EntryId(0), last: EntryId(1), groups };
    let way = Way { anew: true, stretches: vec![stretch.clone()] };
    let begun = || {
        let mut following = fresh::<Vec<u32>>();
        following.begin(&way);
        following
    };
    let skipped = begun().entry(&stretch, at(1), &entries[1]);
    assert!(matches!(skipped, Err(ReplayError::Order { .. })), "{skipped:?}");
    let mut following = begun();
    following.entry(&stretch, at(0), &entries[0]).unwrap();
    let early = following.end(&stretch);
    assert!(matches!(early, Err(ReplayError::Order { .. })), "{early:?}");
    let mut following = begun();
    following.entry(&stretch, at(0), &entries[0]).unwrap();
    following.entry(&stretch, at(1), &entries[1]).unwrap();
    let beyond = following.entry(&stretch, at(2), &entries[2]);
    assert!(matches!(beyond, Err(ReplayError::Order { .. })), "beyond the commit: {beyond:?}");
    assert!(following.into_arrived(Epoch::first(Generation(1))).is_none(), "it is at no commit");
}
