//! Random transactions against a model that does one thing after the other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use super::{Chance, committed, soon};
use crate::metadata::{Compare, Event, MetaStore, Op, TxnOutcome, Versioned, holds};

const KEYS: u64 = 5;

type Values = BTreeMap<String, Versioned>;

fn key(chance: &mut Chance) -> String {
    format!("/k{}", chance.below(KEYS))
}

/// Conditions that hold about half the time, given what was read a moment ago.
fn conditions(chance: &mut Chance, known: &Values) -> Vec<Compare> {
    let number = 1 + chance.below(2);
    let one = |_| {
        let key = key(chance);
        match (known.get(&key), chance.below(4)) {
            (Some(held), 0..3) => Compare::Revision(key, held.revision),
            (None, 0) => Compare::Revision(key, 1),
            (_, _) => Compare::Absent(key),
        }
    };
    (0..number).map(one).collect()
}

fn writes(chance: &mut Chance) -> Vec<Op> {
    let mut ops = BTreeMap::new();
    for _ in 0..=chance.below(3) {
        let key = key(chance);
        let value = chance.below(u64::MAX).to_le_bytes().to_vec();
        let op = if chance.below(4) == 0 {
            Op::Delete(key.clone())
        } else {
            Op::Put(key.clone(), value)
        };
        ops.insert(key, op);
    }
    ops.into_values().collect()
}

/// What a transaction makes of the values, in events.
fn apply(values: &mut Values, revision: u64, ops: &[Op]) -> Vec<Event> {
    let mut events = Vec::new();
    for op in ops {
        let key = op.key().to_owned();
        match op {
            Op::Delete(_) => {
                if values.remove(&key).is_some() {
                    events.push(Event::Delete { key, revision });
                }
            }
            Op::Put(_, value) | Op::PutLeased { value, .. } => {
                values.insert(key.clone(), Versioned { value: value.clone(), revision });
                events.push(Event::Put { key, value: value.clone(), revision });
            }
        }
    }
    events
}

fn holds_in(values: &Values, compare: &[Compare]) -> bool {
    holds(compare, |key| values.get(key).map(|held| held.revision))
}

fn read(store: &dyn MetaStore) -> Values {
    store.list("/k").unwrap().into_iter().collect()
}

/// One caller: every answer is the model's.
pub fn one_after_the_other(store: &dyn MetaStore, seed: u64) {
    let mut chance = Chance::new(seed);
    let mut model = Values::new();
    let mut last = store.list("").unwrap().revision;
    for step in 0..200 {
        let (compare, ops) = (conditions(&mut chance, &model), writes(&mut chance));
        let expected = holds_in(&model, &compare);
        match store.txn(&compare, &ops).unwrap() {
            TxnOutcome::Conflict => assert!(!expected, "seed {seed}, step {step}: a conflict"),
            TxnOutcome::Committed { revision } => {
                assert!(expected, "seed {seed}, step {step}: no conflict");
                let changed = !apply(&mut model, revision, &ops).is_empty();
                assert_eq!(revision > last, changed, "seed {seed}, step {step}");
                last = revision;
            }
        }
        let key = key(&mut chance);
        assert_eq!(store.get(&key).unwrap(), model.get(&key).cloned(), "seed {seed}, step {step}");
    }
    assert_eq!(read(store), model, "seed {seed}");
}

/// Many callers at once: what was committed, put in the order of its revisions, is what the model does;
/// and a watch saw exactly that.
pub fn all_at_once(store: &Arc<dyn MetaStore>, seed: u64) {
    const CALLERS: u64 = 4;
    let from = store.list("").unwrap().revision + 1;
    let mut watch = store.watch("/k", from).unwrap();
    let call = |caller: u64| {
        let mut chance = Chance::new(seed * CALLERS + caller);
        let mut done = Vec::new();
        for _ in 0..60 {
            let known = read(&**store);
            let (compare, mut ops) = (conditions(&mut chance, &known), writes(&mut chance));
            // So that every one changes something, and has a revision to itself.
            ops.push(Op::Put(format!("/k of {caller}"), Vec::new()));
            if let TxnOutcome::Committed { revision } = store.txn(&compare, &ops).unwrap() {
                done.push((revision, compare, ops));
            }
        }
        done
    };
    let mut done: Vec<_> = thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS).map(|n| scope.spawn(move || call(n))).collect();
        callers.into_iter().flat_map(|caller| caller.join().unwrap()).collect()
    });
    let mut model = Values::new();
    let mut events = Vec::new();
    done.sort_by_key(|(revision, ..)| *revision);
    let mut last = 0;
    for (revision, compare, ops) in done {
        assert!(holds_in(&model, &compare), "seed {seed}: {compare:?} at revision {revision}");
        assert!(revision > last, "seed {seed}: revision {revision} twice");
        last = revision;
        events.extend(apply(&mut model, revision, &ops));
    }
    assert_eq!(read(&**store), model, "seed {seed}");
    // Within a revision the order is the store's own.
    let by_key = |event: &Event| (event.revision(), event.key().to_owned());
    events.sort_by_key(by_key);
    let end = committed(store.txn(&[], &[Op::Put("/kend".to_owned(), Vec::new())]).unwrap());
    let mut seen = Vec::new();
    loop {
        let event = soon(&mut watch);
        if event.revision() == end {
            break;
        }
        assert!(seen.last().is_none_or(|last: &Event| last.revision() <= event.revision()));
        seen.push(event);
    }
    seen.sort_by_key(by_key);
    assert_eq!(seen, events, "seed {seed}");
}
