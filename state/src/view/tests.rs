//! A topology in small, looked at at any moment: what a view holds is what the topology had at its commit.

use bytes::Bytes;
use egret_schemas::key::{hash, key_group};
use egret_schemas::{EntryId, LedgerId};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::ops::Bound;

use super::*;
use crate::commit::record::seal;
use crate::commit::{LedgerRange, RecordKind, Slice};
use crate::keyed::Key;
use crate::keyed::cell::Cell;
use crate::keyed::changelog::{Head, KIND, LAST, MAGIC, VERSION, schema_id};
use crate::keyed::record::{Record, What};
use egret_schemas::bytes::Writer;

const GROUPS: u32 = 8;

/// Ledgers as a topology writes them: by tasks that own runs of key groups, and roll over.
#[derive(Default)]
struct Ledgers(BTreeMap<LedgerId, Vec<Bytes>>);

impl Ledgers {
    fn append(&mut self, ledger: u64, epoch: Epoch, records: &[(Vec<u8>, Option<u64>)]) {
        self.append_raw(ledger, epoch, |out| {
            for (key, value) in records {
                let value = value.map(|value| postcard::to_allocvec(&value).unwrap());
                let what = value.as_ref().map_or(What::Removed, |value| What::Plain(value));
                Record { group: key_group(hash(key), GROUPS), key, what }.write(out);
            }
        });
    }

    fn append_raw(&mut self, ledger: u64, epoch: Epoch, records: impl FnOnce(&mut Vec<u8>)) {
        let head =
            Head { component: "count".into(), task: 0, tasks: 1, schema: schema_id("s"), epoch };
        let mut entry = Vec::new();
        entry.extend_from_slice(MAGIC);
        entry.put_u16(VERSION);
        entry.put_u8(KIND);
        entry.put_u8(LAST);
        entry.put_u64(epoch.commit_end().0);
        entry.put_u32(0);
        entry.put_u32(head.task);
        entry.put_u32(head.tasks);
        entry.put_u32(GROUPS);
        entry.put_u64(head.schema);
        entry.put_bytes(head.component.as_bytes());
        records(&mut entry);
        seal(&mut entry);
        self.0.entry(LedgerId(ledger)).or_default().push(entry.into());
    }

    fn last(&self, ledger: u64) -> Option<EntryId> {
        EntryId(self.0.get(&LedgerId(ledger)).map_or(0, Vec::len) as u64).before()
    }

    fn range(&self, ledger: u64) -> LedgerRange {
        LedgerRange { ledger: LedgerId(ledger), last: self.last(ledger) }
    }

    /// Goes to a commit; how many entries that took.
    fn go(
        &self,
        view: &mut View,
        record: &CommitRecord,
        wanted: &Wanted,
    ) -> Result<usize, ViewError> {
        let plan = view.plan(record, wanted);
        let mut staged = Staged::new(view, &plan, GROUPS, None);
        let mut entries = 0;
        for piece in &plan.pieces {
            for entry in piece.from.0..=piece.last.0 {
                let at = EntryAddress { ledger: piece.ledger, entry: EntryId(entry) };
                let bytes = self.0[&piece.ledger][usize::try_from(entry).unwrap()].clone();
                staged.entry(piece, at, bytes)?;
                entries += 1;
            }
            staged.end_piece()?;
        }
        view.switch(staged);
        Ok(entries)
    }
}

fn epoch(generation: u32, commit: u32) -> Epoch {
    Epoch::new(Generation(generation), commit, 0).commit_end()
}

fn record(kind: RecordKind, generation: u32, last: Epoch, slices: Vec<Slice>) -> CommitRecord {
    let set = RestoreSet { tasks: 1, slices };
    let state = BTreeMap::from([("count".to_owned(), set)]);
    let genesis = CommitRecord::genesis(Generation(generation), 0);
    CommitRecord { kind, last, state, ..genesis }
}

fn all(ledgers: Vec<LedgerRange>) -> Vec<Slice> {
    vec![Slice { first_group: 0, end_group: GROUPS, ledgers }]
}

fn key(n: u64) -> Vec<u8> {
    let mut out = Vec::new();
    n.encode(&mut out);
    out
}

fn values(view: &View) -> BTreeMap<u64, u64> {
    let Some(table) = view.component("count") else { return BTreeMap::new() };
    let value = |held: &Held| postcard::from_bytes(held.plain().unwrap()).unwrap();
    table
        .range(Bound::Unbounded)
        .map(|(key, held)| (u64::decode(key).unwrap(), value(held)))
        .collect()
}

/// What a topology does, one step after the other.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// A commit with some keys set or removed.
    Commit { seed: u64, keys: u8 },
    /// Each task begins a new ledger with all it holds, and lets go of those before.
    Roll,
    /// Another generation, of so many tasks.
    Restart { tasks: u32 },
    /// Another generation, which goes back to an earlier commit.
    GoBack,
    /// The reader looks.
    Look,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (any::<u64>(), 0u8..6).prop_map(|(seed, keys)| Step::Commit { seed, keys }),
        1 => Just(Step::Roll),
        1 => (1u32..4).prop_map(|tasks| Step::Restart { tasks }),
        1 => Just(Step::GoBack),
        3 => Just(Step::Look),
    ]
}

/// A commit, what was held then, and the chains.
type Past = (CommitRecord, BTreeMap<u64, u64>, Vec<Vec<LedgerRange>>);

/// Keys and what became of them.
type Changed = Vec<(Vec<u8>, Option<u64>)>;

/// A topology in small: what it holds, and which ledgers that is in.
struct Topology {
    ledgers: Ledgers,
    state: BTreeMap<u64, u64>,
    /// For each key group, its chain; the last ledger of each is the one being written.
    chains: Vec<Vec<LedgerRange>>,
    tasks: u32,
    next: u64,
    newest: CommitRecord,
    /// Commits to go back to.
    before: Vec<Past>,
}

impl Topology {
    fn new() -> Topology {
        let newest = record(RecordKind::Genesis, 1, Epoch(0), Vec::new());
        let mut topology = Topology {
            ledgers: Ledgers::default(),
            state: BTreeMap::new(),
            chains: vec![Vec::new(); GROUPS as usize],
            tasks: 1,
            next: 1,
            newest,
            before: Vec::new(),
        };
        topology.begin_ledgers();
        topology
    }

    fn owner(&self, group: u32) -> u32 {
        group * self.tasks / GROUPS
    }

    fn begin_ledgers(&mut self) {
        let first = self.next;
        for group in 0..GROUPS {
            let ledger = LedgerId(first + u64::from(self.owner(group)));
            self.chains[group as usize].push(LedgerRange { ledger, last: None });
            self.ledgers.0.entry(ledger).or_default();
        }
        self.next = first + u64::from(self.tasks);
    }

    fn slices(&mut self) -> Vec<Slice> {
        for chain in &mut self.chains {
            let live = chain.last_mut().unwrap();
            *live = self.ledgers.range(live.ledger.0);
        }
        let slice = |(group, chain): (u32, &Vec<LedgerRange>)| Slice {
            first_group: group,
            end_group: group + 1,
            ledgers: chain.clone(),
        };
        (0..).zip(&self.chains).map(slice).collect()
    }

    fn write(&mut self, last: Epoch, changed: &BTreeMap<u64, Option<u64>>) {
        let mut of: BTreeMap<u64, Changed> = BTreeMap::new();
        for (&n, &value) in changed {
            let key = key(n);
            let group = key_group(hash(&key), GROUPS);
            let ledger = self.chains[group as usize].last().unwrap().ledger.0;
            of.entry(ledger).or_default().push((key, value));
        }
        for (ledger, records) in of {
            self.ledgers.append(ledger, last, &records);
        }
    }

    fn commit(&mut self, changed: &BTreeMap<u64, Option<u64>>) {
        let last = match self.newest.last.generation() == self.newest.generation {
            true => epoch(self.newest.generation.0, self.newest.last.commit() + 1),
            false => epoch(self.newest.generation.0, 0),
        };
        self.write(last, changed);
        for (&key, &value) in changed {
            match value {
                Some(value) => self.state.insert(key, value),
                None => self.state.remove(&key),
            };
        }
        let generation = self.newest.generation.0;
        self.newest = record(RecordKind::Commit, generation, last, self.slices());
        self.before.push((self.newest.clone(), self.state.clone(), self.chains.clone()));
    }

    fn restart(&mut self, of: CommitRecord, tasks: u32) {
        let restated = of.restated(Generation(self.newest.generation.0 + 1), 0);
        self.newest = restated;
        self.tasks = tasks;
        // What is behind the commit was never committed: the old ledgers end there.
        self.begin_ledgers();
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Commit { seed, keys } => {
                let changed = (0..u64::from(keys)).map(|i| {
                    let n = seed.wrapping_mul(i + 1) % 12;
                    (n, (!(seed >> i).is_multiple_of(3)).then_some(seed.wrapping_add(i)))
                });
                self.commit(&changed.collect());
            }
            Step::Roll => {
                self.slices();
                let chains = self.chains.clone();
                self.begin_ledgers();
                let all = self.state.iter().map(|(&k, &v)| (k, Some(v))).collect();
                self.commit(&all);
                for (chain, old) in self.chains.iter_mut().zip(chains) {
                    chain.retain(|range| old.iter().all(|old| old.ledger != range.ledger));
                }
                let (generation, last) = (self.newest.generation.0, self.newest.last);
                self.newest = record(RecordKind::Commit, generation, last, self.slices());
                self.before.pop();
                self.before.push((self.newest.clone(), self.state.clone(), self.chains.clone()));
            }
            Step::Restart { tasks } => self.restart(self.newest.clone(), tasks),
            Step::GoBack => {
                let Some((record, state, chains)) = self.before.first().cloned() else { return };
                (self.state, self.chains) = (state, chains);
                self.restart(record, self.tasks);
            }
            Step::Look => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]
    #[test]
    fn a_view_is_what_the_topology_had_at_its_commit(steps in proptest::collection::vec(step(), 1..40)) {
        let mut topology = Topology::new();
        let (mut view, mut group) = (View::default(), View::default());
        let one = Wanted { component: None, groups: Some(3..4) };
        for step in steps {
            topology.step(step);
            if matches!(step, Step::Look) {
                let record = &topology.newest;
                topology.ledgers.go(&mut view, record, &Wanted::default()).unwrap();
                prop_assert_eq!(values(&view), topology.state.clone());
                prop_assert_eq!(view.mark(), Some(Mark::of(record)));
                topology.ledgers.go(&mut group, record, &one).unwrap();
                let mut expected = topology.state.clone();
                expected.retain(|&n, _| key_group(hash(&key(n)), GROUPS) == 3);
                prop_assert_eq!(values(&group), expected);
                let bytes = view.bytes();
                let mut fresh = View::default();
                topology.ledgers.go(&mut fresh, record, &Wanted::default()).unwrap();
                prop_assert_eq!(fresh.bytes(), bytes, "what is held is counted right");
            }
        }
    }

    #[test]
    fn any_bytes_are_staged_or_refused_without_panic(bytes: Vec<u8>) {
        let record = record(RecordKind::Commit, 1, epoch(1, 1), all(vec![LedgerRange { ledger: LedgerId(1), last: Some(EntryId(0)) }]));
        let view = View::default();
        let plan = view.plan(&record, &Wanted::default());
        let mut staged = Staged::new(&view, &plan, GROUPS, Some(1000));
        let at = EntryAddress { ledger: LedgerId(1), entry: EntryId(0) };
        let mut sealed = bytes.clone();
        seal(&mut sealed);
        prop_assert!(staged.entry(&plan.pieces[0], at, bytes.into()).is_err());
        prop_assert!(staged.entry(&plan.pieces[0], at, sealed.into()).is_err());
    }
}

#[test]
fn only_what_is_new_is_read_while_the_chain_goes_on() {
    let (mut ledgers, mut view) = (Ledgers::default(), View::default());
    ledgers.append(1, epoch(1, 0), &[(key(1), Some(1)), (key(2), Some(2))]);
    let first = record(RecordKind::Commit, 1, epoch(1, 0), all(vec![ledgers.range(1)]));
    assert_eq!(ledgers.go(&mut view, &first, &Wanted::default()), Ok(1));
    ledgers.append(1, epoch(1, 1), &[(key(1), Some(5))]);
    let second = record(RecordKind::Commit, 1, epoch(1, 1), all(vec![ledgers.range(1)]));
    assert_eq!(ledgers.go(&mut view, &second, &Wanted::default()), Ok(1));
    // A new generation that goes on, and has committed twice.
    ledgers.append(7, epoch(2, 0), &[(key(2), None)]);
    let chain = || vec![LedgerRange { ledger: LedgerId(1), last: Some(EntryId(1)) }];
    let third = [chain(), vec![ledgers.range(7)]].concat();
    let third = record(RecordKind::Commit, 2, epoch(2, 0), all(third));
    assert_eq!(ledgers.go(&mut view, &third, &Wanted::default()), Ok(1));
    assert_eq!(values(&view), BTreeMap::from([(1, 5)]));
    // One that has gone back to the first commit: what came after it must not stay.
    let head = first.restated(Generation(3), 0);
    assert_eq!(ledgers.go(&mut view, &head, &Wanted::default()), Ok(1));
    assert_eq!(values(&view), BTreeMap::from([(1, 1), (2, 2)]));
}

#[test]
fn a_ledger_that_came_and_went_between_two_looks_is_not_missed() {
    let (mut ledgers, mut view) = (Ledgers::default(), View::default());
    ledgers.append(1, epoch(1, 0), &[(key(1), Some(1)), (key(2), Some(2))]);
    let first = record(RecordKind::Commit, 1, epoch(1, 0), all(vec![ledgers.range(1)]));
    ledgers.go(&mut view, &first, &Wanted::default()).unwrap();
    // Key 2 is removed in ledger 2; ledger 3 has all that lives, and only it is kept.
    ledgers.append(3, epoch(1, 2), &[(key(1), Some(1))]);
    let third = record(RecordKind::Commit, 1, epoch(1, 2), all(vec![ledgers.range(3)]));
    ledgers.go(&mut view, &third, &Wanted::default()).unwrap();
    assert_eq!(values(&view), BTreeMap::from([(1, 1)]));
}

#[test]
fn cells_are_put_removed_and_cleared() {
    let (mut ledgers, mut view) = (Ledgers::default(), View::default());
    let put = |part, subkey: &'static [u8], value: &'static [u8]| Cell::Put { part, subkey, value };
    let body = |cells: &[Cell<'_>]| {
        let mut body = Vec::new();
        cells.iter().for_each(|cell| cell.write(&mut body));
        body
    };
    let whole =
        body(&[put(0, b"a", b"1"), put(0, b"b", b"2"), put(1, b"", b"9"), put(2, b"c", b"3")]);
    let changes = body(&[
        put(0, b"a", b"7"),
        Cell::Remove { part: 0, subkey: b"b" },
        Cell::Clear { part: 1 },
        put(3, b"", b"4"),
    ]);
    let group = key_group(hash(b"k"), GROUPS);
    for (commit, what) in [(0, What::Whole(&whole)), (1, What::Changes(&changes))] {
        ledgers.append_raw(1, epoch(1, commit), |out| Record { group, key: b"k", what }.write(out));
        let record = record(RecordKind::Commit, 1, epoch(1, commit), all(vec![ledgers.range(1)]));
        ledgers.go(&mut view, &record, &Wanted::default()).unwrap();
    }
    let held = view.component("count").unwrap().get(b"k").unwrap();
    let cells: Vec<_> = held.cells().collect();
    assert_eq!(cells, [(0, &b"a"[..], &b"7"[..]), (2, b"c", b"3"), (3, b"", b"4")]);
    assert_eq!(held.plain(), None);
    // A removed key leaves nothing.
    ledgers.append_raw(1, epoch(1, 2), |out| {
        Record { group, key: b"k", what: What::Removed }.write(out)
    });
    let record = record(RecordKind::Commit, 1, epoch(1, 2), all(vec![ledgers.range(1)]));
    ledgers.go(&mut view, &record, &Wanted::default()).unwrap();
    assert_eq!((view.bytes(), view.component("count").unwrap().len()), (0, 0));
}

/// Timers of a key whose state is one value are cells beside it.
#[test]
fn what_is_due_for_a_key_leaves_its_state_alone() {
    let (mut ledgers, mut view) = (Ledgers::default(), View::default());
    let mut timers = Vec::new();
    Cell::Put { part: crate::keyed::cell::ENGINE_PARTS, subkey: &[0; 13], value: &[] }
        .write(&mut timers);
    let group = key_group(hash(b"k"), GROUPS);
    for (commit, what) in [(0, What::Plain(b"7")), (1, What::Changes(&timers))] {
        ledgers.append_raw(1, epoch(1, commit), |out| Record { group, key: b"k", what }.write(out));
        let record = record(RecordKind::Commit, 1, epoch(1, commit), all(vec![ledgers.range(1)]));
        ledgers.go(&mut view, &record, &Wanted::default()).unwrap();
    }
    assert_eq!(view.component("count").unwrap().get(b"k").unwrap().plain(), Some(&b"7"[..]));
}

#[test]
fn what_does_not_fit_is_refused_and_what_was_held_stays() {
    let (mut ledgers, mut view) = (Ledgers::default(), View::default());
    ledgers.append(1, epoch(1, 0), &[(key(1), Some(1))]);
    let first = record(RecordKind::Commit, 1, epoch(1, 0), all(vec![ledgers.range(1)]));
    ledgers.go(&mut view, &first, &Wanted::default()).unwrap();
    let many: Vec<_> = (0..1000).map(|n| (key(n), Some(n))).collect();
    ledgers.append(1, epoch(1, 1), &many);
    let second = record(RecordKind::Commit, 1, epoch(1, 1), all(vec![ledgers.range(1)]));
    let plan = view.plan(&second, &Wanted::default());
    let mut staged = Staged::new(&view, &plan, GROUPS, Some(4096));
    let at = EntryAddress { ledger: LedgerId(1), entry: EntryId(1) };
    let error = staged.entry(&plan.pieces[0], at, ledgers.0[&LedgerId(1)][1].clone()).unwrap_err();
    assert!(matches!(error, ViewError::Memory { .. }), "{error}");
    assert_eq!(values(&view), BTreeMap::from([(1, 1)]));
}

#[test]
fn entries_of_another_component_or_out_of_place_are_refused() {
    let mut ledgers = Ledgers::default();
    ledgers.append(1, epoch(1, 0), &[(key(1), Some(1))]);
    ledgers.append(1, epoch(1, 1), &[(key(1), Some(2))]);
    let record = record(RecordKind::Commit, 1, epoch(1, 1), all(vec![ledgers.range(1)]));
    let view = View::default();
    let plan = view.plan(&record, &Wanted::default());
    let bytes = |n: usize| ledgers.0[&LedgerId(1)][n].clone();
    let at = |entry| EntryAddress { ledger: LedgerId(1), entry: EntryId(entry) };
    let mut staged = Staged::new(&view, &plan, GROUPS, None);
    let error = staged.entry(&plan.pieces[0], at(1), bytes(1)).unwrap_err();
    assert!(error.to_string().contains("does not follow"), "{error}");
    let mut staged = Staged::new(&view, &plan, GROUPS * 2, None);
    assert!(matches!(
        staged.entry(&plan.pieces[0], at(0), bytes(0)),
        Err(ViewError::Foreign { .. })
    ));
}
