//! The targets of `egret-state`: commit record, topology record, entries of state, keys.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use egret_log::fuzzing::{comes_back, with_checksum};
use egret_schemas::{EntryAddress, EntryId, Epoch, Generation, LedgerId, SegmentId};
use egret_state::Guarantee;
use egret_state::commit::{
    Claimant, CommitRecord, Graph, LedgerRange, Origin, RecordKind, RestoreSet, RunRecord,
    RunState, Slice, TopologyRecord,
};
use egret_state::keyed::changelog::{Head, schema_id, write_commit};
use egret_state::keyed::key::Key;
use egret_state::keyed::replay::{Replay, ReplayError, Schema};
use egret_state::keyed::schedule::Schedule;
use egret_state::keyed::table::KeyedTable;

use crate::{Sample, Target};

const KEY_GROUPS: u32 = 4096;

pub(crate) fn targets() -> Vec<Target> {
    vec![
        Target { name: "commit_record", run: commit, samples: commit_samples },
        Target { name: "topology_record", run: topology, samples: topology_samples },
        Target { name: "run_record", run: run_record, samples: run_samples },
        Target { name: "state_entry", run: state_entry, samples: state_entry_samples },
        Target { name: "state_key", run: state_key, samples: state_key_samples },
    ]
}

fn commit(bytes: &[u8]) -> bool {
    with_checksum(bytes, |bytes| {
        let taken = comes_back(bytes, CommitRecord::decode, CommitRecord::encode);
        if let Ok(record) = CommitRecord::decode(bytes) {
            assert_eq!(record.encode(), bytes, "one record has one encoding");
            let _ = (record.components().count(), record.state_ledgers());
        }
        taken
    })
}

fn commit_samples() -> Vec<Sample> {
    let genesis = CommitRecord::genesis(Generation(1), 7);
    let range = |id, last| LedgerRange { ledger: LedgerId(id), last };
    let slice = |first_group, end_group, ledgers| Slice { first_group, end_group, ledgers };
    let slices = vec![
        slice(0, 2048, vec![range(5, Some(EntryId(3))), range(8, None)]),
        slice(2048, 4096, vec![range(6, Some(EntryId(0)))]),
    ];
    let position = (b"0".to_vec(), b"S1:7:0@L4".to_vec());
    let full = CommitRecord {
        kind: RecordKind::Commit,
        generation: Generation(2),
        last: Epoch::new(Generation(2), 3, 1),
        fingerprint: 7,
        spouts: BTreeMap::from([("lines".to_owned(), BTreeMap::from([position]))]),
        state: BTreeMap::from([("count".to_owned(), RestoreSet { tasks: 2, slices })]),
        sinks: BTreeMap::from([(
            "out".to_owned(),
            BTreeMap::from([(0, (SegmentId(4), Some(EntryId(9)))), (1, (SegmentId(2), None))]),
        )]),
        watermarks: BTreeMap::from([("lines".to_owned(), -5)]),
    };
    vec![("genesis", genesis.encode()), ("full", full.encode())]
}

fn topology(bytes: &[u8]) -> bool {
    with_checksum(bytes, |bytes| {
        let taken = comes_back(bytes, TopologyRecord::decode, TopologyRecord::encode);
        if let Ok(record) = TopologyRecord::decode(bytes) {
            assert_eq!(record.encode(), bytes, "one record has one encoding");
        }
        taken
    })
}

fn run_record(bytes: &[u8]) -> bool {
    with_checksum(bytes, |bytes| comes_back(bytes, RunRecord::decode, RunRecord::encode))
}

fn run_samples() -> Vec<Sample> {
    let of = |state| RunRecord { state, process: 7, run: 2 }.encode();
    vec![("runs", of(RunState::Runs)), ("ended", of(RunState::Ended(Generation(3))))]
}

fn topology_samples() -> Vec<Sample> {
    let graph = Graph { components: [("count".to_owned(), 1), ("lines".to_owned(), 2)].into() };
    let me = Claimant { process: 7, operation: 1 };
    let first = TopologyRecord::first(me, Guarantee::EffectivelyOnce, KEY_GROUPS, graph);
    let used = TopologyRecord {
        begun: true,
        floor: Epoch::new(Generation(1), 2, 0),
        commit_ledgers: vec![LedgerId(3), LedgerId(9)],
        state_ledgers: BTreeSet::from([LedgerId(5), LedgerId(6)]),
        partitions: [(("counts".to_owned(), 0), "out".to_owned())].into(),
        ..first.clone()
    };
    let mut commit = CommitRecord::genesis(Generation(1), used.graph.fingerprint());
    commit.last = Epoch::new(Generation(1), 3, 1);
    let by = Claimant { process: 9, operation: 4 };
    let named = used.name_commit(by, "noon", 1_700_000_000_000, commit).expect("it is restorable");
    let kept =
        named.keep_for(Claimant { operation: 5, ..by }, "noon", "what-if").expect("it is named");
    let origin = Origin { topology: "words".to_owned(), name: "noon".to_owned() };
    let fork = named.forked(me, origin).expect("it is named");
    vec![
        ("first", first.encode()),
        ("used", used.encode()),
        ("named", named.encode()),
        ("kept", kept.encode()),
        ("fork", fork.encode()),
        ("deleting", fork.doomed(me).expect("nothing was forked from it").encode()),
    ]
}

type Counts = KeyedTable<str, u64>;

fn head() -> Head {
    let epoch = Epoch::new(Generation(1), 2, 0);
    let schema = schema_id("counts v1");
    Head { component: "count".to_owned(), task: 0, tasks: 1, schema, epoch }
}

fn read(entries: &[Vec<u8>]) -> Result<Counts, ReplayError> {
    let mut table = Counts::new(KEY_GROUPS);
    let mut replay = Replay::new("count", Schema::only(schema_id("counts v1")));
    for (entry, bytes) in (0..).zip(entries) {
        let at = EntryAddress { ledger: LedgerId(1), entry: EntryId(entry) };
        replay.apply(at, bytes, |_| true, &mut table, &mut Schedule::default())?;
    }
    replay.end_ledger()?;
    Ok(table)
}

/// Everything there is, as a commit that changes nothing rewrites it.
fn rewritten(table: &mut Counts) -> Vec<Vec<u8>> {
    let mut entries = Vec::new();
    table.settle().expect("nothing lies beneath");
    table.settle().expect("nothing lies beneath");
    write_commit(
        table,
        &mut Schedule::default(),
        &head(),
        |_| u64::MAX,
        |entry| entries.push(entry),
    )
    .expect("counts are small");
    entries
}

fn state_entry(bytes: &[u8]) -> bool {
    with_checksum(bytes, |bytes| {
        let Ok(mut table) = read(&[bytes.to_vec()]) else { return false };
        let written = rewritten(&mut table);
        let mut again = read(&written).expect("what was written is read");
        assert_eq!(again.len(), table.len(), "every key comes back");
        assert_eq!(rewritten(&mut again).len(), written.len());
        true
    })
}

fn state_entry_samples() -> Vec<Sample> {
    let mut counts = Counts::new(KEY_GROUPS);
    for word in ["heron", "egret", "heron"] {
        let slot = counts.entry(word.hash64(), word);
        *counts.get_mut(slot).1 += 1;
    }
    let mut delta = Vec::new();
    write_commit(&mut counts, &mut Schedule::default(), &head(), |_| 0, |entry| delta.push(entry))
        .expect("counts are small");
    vec![("changed", delta.concat()), ("rewritten", rewritten(&mut counts).concat())]
}

fn key<K: Key + ?Sized>(bytes: &[u8]) -> bool
where
    K::Owned: PartialEq + Debug,
{
    comes_back(bytes, K::decode, |key| {
        let mut out = Vec::new();
        Borrow::<K>::borrow(key).encode(&mut out);
        assert_eq!(out, bytes, "one key has one encoding");
        out
    })
}

fn state_key(bytes: &[u8]) -> bool {
    let taken = [
        key::<str>(bytes),
        key::<u64>(bytes),
        key::<i16>(bytes),
        key::<u128>(bytes),
        key::<bool>(bytes),
        key::<()>(bytes),
        key::<(String, u64)>(bytes),
        key::<((String, bool), Vec<u8>)>(bytes),
    ];
    taken.contains(&true)
}

fn state_key_samples() -> Vec<Sample> {
    let mut pair = Vec::new();
    ("heron".to_owned(), 5u64).encode(&mut pair);
    let mut nested = Vec::new();
    (("egret".to_owned(), true), vec![1u8, 2]).encode(&mut nested);
    vec![("text", b"egret".to_vec()), ("pair", pair), ("pair_of_a_pair", nested)]
}
