//! Kinds of state against plain collections, through the table they are kept in.

use std::collections::{BTreeMap, VecDeque};

use egret_schemas::bytes::Reader;
use egret_schemas::{Epoch, Generation};
use proptest::prelude::*;

use super::{ListState, MapState, Value};
use crate::keyed::key::Key;
use crate::keyed::record::Record;
use crate::keyed::state::{Extent, State};
use crate::keyed::table::KeyedTable;

const KEY_GROUPS: u32 = 8;

crate::state! {
    #[derive(Debug, PartialEq)]
    struct Basket {
        total: Value<u64>,
        items: MapState<u8, String>,
        orders: ListState<u16>,
    }
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    total: u64,
    items: BTreeMap<u8, String>,
    orders: VecDeque<u16>,
}

fn plain(basket: &Basket) -> Model {
    Model {
        total: *basket.total,
        items: basket.items.iter().map(|(key, value)| (*key, value.clone())).collect(),
        orders: basket.orders.iter().copied().collect(),
    }
}

/// One change, of both.
fn change(op: u8, at: u8, basket: &mut Basket, model: &mut Model) {
    let text = "x".repeat(usize::from(at) * 7);
    match op {
        0 => {
            *basket.total += u64::from(at);
            model.total += u64::from(at);
        }
        1 | 2 => {
            let old = basket.items.insert(at, text.clone());
            assert_eq!(old, model.items.insert(at, text));
        }
        3 => assert_eq!(basket.items.remove(&at), model.items.remove(&at)),
        4 => {
            let (mine, its) = (basket.items.get_mut(&at), model.items.get_mut(&at));
            assert_eq!(mine, its);
            mine.into_iter().chain(its).for_each(|value| value.push('!'));
        }
        5 => {
            basket.items.or_default(at).push('d');
            model.items.entry(at).or_default().push('d');
        }
        6 => {
            basket.items.clear();
            model.items.clear();
        }
        7 => {
            basket.items.retain(|key, _| key % 3 != at % 3);
            model.items.retain(|key, _| key % 3 != at % 3);
        }
        8 => assert_eq!(basket.items.pop_first(), model.items.pop_first()),
        9..=13 => {
            basket.orders.push(at.into());
            model.orders.push_back(at.into());
        }
        14 | 15 => assert_eq!(basket.orders.pop_front(), model.orders.pop_front()),
        16 => assert_eq!(basket.orders.pop(), model.orders.pop_back()),
        17 | 18 => {
            let place = model.orders.get_mut(usize::from(at));
            let old = place.map(|place| std::mem::replace(place, 700));
            assert_eq!(basket.orders.set(usize::from(at), 700), old);
        }
        _ => {
            basket.orders.clear();
            model.orders.clear();
        }
    }
}

type Table = KeyedTable<u8, Basket>;

fn end(commit: u32) -> Epoch {
    Epoch::new(Generation(1), commit, 0)
}

fn held(table: &Table) -> BTreeMap<u8, Model> {
    table.iter().map(|(_, key, state)| (*key, plain(state))).collect()
}

fn replayed(log: &[u8]) -> Table {
    let (mut table, mut reader) = (Table::new(KEY_GROUPS), Reader::new(log));
    while reader.remaining() > 0 {
        let record = Record::read(&mut reader, KEY_GROUPS).unwrap();
        table.restore(egret_schemas::key::hash(record.key), &record).unwrap();
    }
    table
}

/// What a whole writing takes, of a state of which nothing changed.
fn whole_bytes(basket: &mut Basket) -> usize {
    let mut body = Vec::new();
    basket.write(Extent::Whole, &mut body, None).unwrap();
    body.len()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Changes, removals and returns of keys, commits, sweeps, and going back to any commit. What was written is
    /// what there is, from the beginning and from any place a round ago; sizes are exact.
    #[test]
    fn a_state_of_parts_does_what_plain_collections_do(
        ops in proptest::collection::vec((0u8..28, 0u8..6, 0u8..3, any::<prop::sample::Index>()), 0..150),
    ) {
        let mut table = Table::new(KEY_GROUPS);
        let mut model: BTreeMap<u8, Model> = BTreeMap::new();
        let mut log = Vec::new();
        let mut places = Vec::new();
        let mut commits = vec![(end(0), model.clone())];
        table.keep_undo(end(0), 1 << 20);
        for (op, at, key, index) in ops {
            match op {
                ..20 => {
                    let slot = table.entry(key.hash64(), &key);
                    change(op, at, table.get_mut(slot).1, model.entry(key).or_default());
                }
                20 | 21 => {
                    let slot = table.entry(key.hash64(), &key);
                    table.remove(slot);
                    model.remove(&key);
                }
                22 => {
                    let (back, then) = commits[index.index(commits.len())].clone();
                    prop_assert!(table.back_to(back).unwrap());
                    prop_assert_eq!(&held(&table), &then);
                    table.keep_undo(back, 1 << 20);
                    commits = vec![(back, then.clone())];
                    model = then;
                    log.clear();
                    places.clear();
                    let since = table.swept();
                    while !table.swept().is_round_after(since) {
                        table.sweep(u64::MAX, |record| record.write(&mut log)).unwrap();
                    }
                }
                _ => {
                    let commit = end(commits.last().unwrap().0.commit() + 1);
                    places.push((log.len(), table.swept()));
                    table.drain(commit, |record| record.write(&mut log)).unwrap();
                    let bytes = u64::from(op - 22) * 10;
                    table.sweep(bytes, |record| record.write(&mut log)).unwrap();
                    commits.push((commit, model.clone()));
                    prop_assert_eq!(&held(&replayed(&log)), &model);
                    for (from, since) in &places {
                        if table.swept().is_round_after(*since) {
                            prop_assert_eq!(&held(&replayed(&log[*from..])), &model);
                        }
                    }
                    let mut again = replayed(&log);
                    for key in model.keys() {
                        let slot = again.entry(key.hash64(), key);
                        let restored = again.get_mut(slot).1;
                        let bytes = restored.bytes();
                        prop_assert_eq!(bytes, Some(whole_bytes(restored)));
                        let slot = table.entry(key.hash64(), key);
                        prop_assert_eq!(table.get(slot).1.bytes(), bytes);
                    }
                }
            }
            prop_assert_eq!(&held(&table), &model);
        }
    }

    #[test]
    fn any_cells_are_taken_or_refused_without_panic(body: Vec<u8>, cells: Vec<(u8, u64, Vec<u8>, u8)>) {
        let mut basket = Basket::default();
        let _ = basket.apply(&body);
        for (part, number, value, op) in &cells {
            let mut body = Vec::new();
            let (part, subkey) = (u32::from(part % 4), &number.to_be_bytes()[usize::from(op % 9).min(8)..]);
            let cell = match op % 3 {
                0 => crate::keyed::cell::Cell::Put { part, subkey, value },
                1 => crate::keyed::cell::Cell::Remove { part, subkey },
                _ => crate::keyed::cell::Cell::Clear { part },
            };
            cell.write(&mut body);
            let _ = basket.apply(&body);
        }
        let _ = basket.write(Extent::Changes, &mut Vec::new(), Some(&mut Vec::new()));
    }
}

fn changes(state: &mut impl State) -> usize {
    let mut body = Vec::new();
    state.write(Extent::Changes, &mut body, None).unwrap();
    body.len()
}

#[test]
fn only_what_changed_is_written() {
    let mut map = MapState::<u32, u64>::default();
    let mut list = ListState::<u64>::default();
    for n in 0..10_000u32 {
        map.insert(n, 1);
        list.push(1);
    }
    assert!(changes(&mut map) > 10_000 && changes(&mut list) > 10_000);
    assert_eq!((changes(&mut map), changes(&mut list)), (0, 0), "once");
    *map.get_mut(&7).unwrap() = 2;
    map.remove(&8);
    list.pop_front();
    list.push(2);
    list.set(5000, 3);
    assert_eq!(changes(&mut map), (1 + 2 + 2) + (1 + 2));
    assert_eq!(changes(&mut list), (1 + 9) + 2 * (1 + 9 + 2));
    *map.get_mut(&7).unwrap() = 2;
    list.get_mut(3);
    assert_eq!((changes(&mut map), changes(&mut list)), (0, 0), "what is as it was is no change");
    map.clear();
    list.clear();
    assert_eq!((changes(&mut map), changes(&mut list)), (1, 1));
}

#[test]
fn a_list_is_not_written_while_elements_are_missing() {
    let mut list = ListState::<u64>::default();
    (0..5).for_each(|n| list.push(n));
    let mut whole = Vec::new();
    list.write(Extent::Whole, &mut whole, None).unwrap();
    list.set(1, 7);
    list.set(3, 8);
    let mut change = Vec::new();
    list.write(Extent::Changes, &mut change, None).unwrap();
    // A restore that begins after the whole list was written meets the changes first.
    let mut restored = ListState::<u64>::default();
    restored.apply(&change).unwrap();
    assert!(restored.write(Extent::Changes, &mut Vec::new(), None).is_err());
    let mut restored = ListState::read(&whole).unwrap();
    restored.apply(&change).unwrap();
    assert_eq!(restored, list);
    restored.write(Extent::Changes, &mut Vec::new(), None).unwrap();
}

#[test]
fn a_part_the_code_does_not_have_is_named() {
    crate::state! {
        #[derive(Debug)]
        struct Older {
            total: Value<u64>,
            items: MapState<u8, String>,
        }
    }
    let mut basket = Basket::default();
    basket.orders.push(1);
    let mut body = Vec::new();
    basket.write(Extent::Changes, &mut body, None).unwrap();
    let error = Older::read(&body).unwrap_err().to_string();
    assert!(error.contains("part 2 was written, and `Older` has parts 0 to 1"), "{error}");
    // And what an older code wrote is read by one that has another part.
    let (mut older, mut body) = (Older::default(), Vec::new());
    *older.total = 3;
    older.items.insert(1, "one".into());
    older.write(Extent::Whole, &mut body, None).unwrap();
    let basket = Basket::read(&body).unwrap();
    assert_eq!((*basket.total, basket.items.get(&1).unwrap().as_str()), (3, "one"));
}

#[test]
fn the_bytes_of_each_kind_are_frozen() {
    let mut basket = Basket::default();
    *basket.total = 300;
    basket.items.insert(4, "ab".into());
    basket.orders.push(5);
    let mut body = Vec::new();
    basket.write(Extent::Whole, &mut body, None).unwrap();
    let total = [0, 0, 2, 0xac, 2];
    let items = [4, 1, 4, 3, 2, b'a', b'b'];
    let orders = [8, 8, 0, 0, 0, 0, 0, 0, 0, 0, 1, 5];
    assert_eq!(body, [&total[..], &items, &orders].concat());
}
