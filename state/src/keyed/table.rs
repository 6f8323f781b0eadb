//! The table a stateful task works on: key → state, with what changed since the last commit.
//!
//! ```text
//! index: hash ─► slot number          slots: [hash | stamp | key | state] …      dirty: slot numbers
//! ```
//! An access is one probe of the index ([`KeyedTable::entry`]); the slot number then reaches key and
//! state without another. A slot handed out mutably is put on the dirty list once per commit: its
//! stamp says whether it is there. What always holds:
//! * a slot is in the dirty list exactly when its stamp is the table's;
//! * a key removed stays in its slot until the commit is drained, so that its removal is written; a
//!   key that was never written needs no removal written either;
//! * slot numbers are good until the next drain.

use std::borrow::Borrow;
use std::fmt;
use std::ops::ControlFlow;

use egret_schemas::key::key_group;
use hashbrown::HashTable;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::key::Key;
use crate::caps;

/// What can be kept for a key: anything serde can write and read, with an empty value to begin with.
pub trait State: Serialize + DeserializeOwned + Default + Send + 'static {}

impl<S: Serialize + DeserializeOwned + Default + Send + 'static> State for S {}

/// The number of a slot, good until the next drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId(u32);

/// Keys and their states; see the [module](self).
pub struct KeyedTable<K: Key + ?Sized, S> {
    key_groups: u32,
    index: HashTable<u32>,
    slots: Vec<Slot<K::Owned, S>>,
    free: Vec<u32>,
    dirty: Vec<u32>,
    /// Slots removed and not yet drained.
    removed: usize,
    stamp: u32,
}

struct Slot<O, S> {
    hash: u64,
    /// The table's stamp when it last changed; 0 for never.
    stamp: u32,
    life: Life,
    /// Whether a record of it has been written.
    written: bool,
    key: O,
    state: S,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Life {
    /// In the index, with state.
    Live,
    /// In the index, removed since the last drain.
    Removed,
    /// Not in the index; its key is a leftover.
    Free,
}

/// A key that changed since the last drain.
#[derive(Debug)]
pub struct Change<'a, K: ?Sized, S> {
    /// Its key group.
    pub group: u32,
    /// The key.
    pub key: &'a K,
    /// Its state; `None` when it was removed.
    pub state: Option<&'a mut S>,
}

impl<K: Key + ?Sized, S: State> KeyedTable<K, S> {
    /// An empty table of a topology with this many key groups.
    ///
    /// # Panics
    /// When `key_groups` is 0 or above 65,536.
    pub fn new(key_groups: u32) -> KeyedTable<K, S> {
        assert!((1..=caps::KEY_GROUPS_MAX).contains(&key_groups), "{key_groups} key groups");
        KeyedTable {
            key_groups,
            index: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
            dirty: Vec::new(),
            removed: 0,
            stamp: 1,
        }
    }

    /// The topology's number of key groups.
    pub fn key_groups(&self) -> u32 {
        self.key_groups
    }

    /// How many keys have state.
    pub fn len(&self) -> usize {
        self.index.len() - self.removed
    }

    /// Whether no key has state.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many keys changed since the last drain.
    pub fn dirty_len(&self) -> usize {
        self.dirty.len()
    }

    /// The slot of `key`, whose [`Key::hash64`] is `hash`: found, or made with an empty state. One
    /// probe. The key counts as changed only once [`get_mut`](Self::get_mut) is called.
    #[inline]
    pub fn entry(&mut self, hash: u64, key: &K) -> SlotId {
        debug_assert_eq!(hash, key.hash64(), "the hash is the key's");
        let KeyedTable { index, slots, .. } = self;
        let same = |&slot: &u32| {
            let slot = &slots[slot as usize];
            slot.hash == hash && slot.key.borrow() == key
        };
        match index.find(hash, same) {
            Some(&slot) => {
                if slots[slot as usize].life == Life::Removed {
                    slots[slot as usize].life = Life::Live;
                    self.removed -= 1;
                }
                SlotId(slot)
            }
            None => self.insert_new(hash, key.to_owned()),
        }
    }

    /// Key and state of a slot; from now on the key counts as changed.
    ///
    /// # Panics
    /// When the slot is of before the last drain and no longer there.
    #[inline]
    pub fn get_mut(&mut self, slot: SlotId) -> (&K, &mut S) {
        self.touch(slot);
        let slot = &mut self.slots[slot.0 as usize];
        assert_eq!(slot.life, Life::Live, "a slot is good until the next drain or its removal");
        (slot.key.borrow(), &mut slot.state)
    }

    /// Key and state of a slot.
    ///
    /// # Panics
    /// When the slot is of before the last drain and no longer there.
    pub fn get(&self, slot: SlotId) -> (&K, &S) {
        let slot = &self.slots[slot.0 as usize];
        assert_eq!(slot.life, Life::Live, "a slot is good until the next drain or its removal");
        (slot.key.borrow(), &slot.state)
    }

    /// The state of `key`, whose [`Key::hash64`] is `hash`, if it has any.
    pub fn find(&self, hash: u64, key: &K) -> Option<&S> {
        let same = |&slot: &u32| {
            let slot = &self.slots[slot as usize];
            slot.hash == hash && slot.key.borrow() == key
        };
        let slot = &self.slots[*self.index.find(hash, same)? as usize];
        (slot.life == Life::Live).then_some(&slot.state)
    }

    /// Removes a slot's key: it has an empty state when it comes again.
    pub fn remove(&mut self, slot: SlotId) {
        self.touch(slot);
        let slot = &mut self.slots[slot.0 as usize];
        assert_eq!(slot.life, Life::Live, "a slot is good until the next drain or its removal");
        slot.life = Life::Removed;
        slot.state = S::default();
        self.removed += 1;
    }

    /// Every key with its key group and state, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &K, &S)> {
        let live = self.slots.iter().filter(|slot| slot.life == Life::Live);
        live.map(|slot| (key_group(slot.hash, self.key_groups), slot.key.borrow(), &slot.state))
    }

    /// The keys of one key group; looks at every slot.
    pub fn iter_group(&self, group: u32) -> impl Iterator<Item = (&K, &S)> {
        self.iter().filter(move |(of, ..)| *of == group).map(|(_, key, state)| (key, state))
    }

    /// Hands out the keys changed since the last drain and not removed, in the order they first
    /// changed, from number `from` on until `each` breaks; they stay changed. Returns the number to go
    /// on from, [`dirty_len`](Self::dirty_len) at the end. For results that are due when a commit ends,
    /// before [`drain_dirty`](Self::drain_dirty).
    ///
    /// # Errors
    /// The first of `each`.
    pub fn for_each_dirty<E>(
        &mut self,
        from: usize,
        mut each: impl FnMut(&K, &mut S) -> Result<ControlFlow<()>, E>,
    ) -> Result<usize, E> {
        for (number, &slot) in self.dirty.iter().enumerate().skip(from) {
            let slot = &mut self.slots[slot as usize];
            if slot.life == Life::Live && each(slot.key.borrow(), &mut slot.state)?.is_break() {
                return Ok(number + 1);
            }
        }
        Ok(self.dirty.len())
    }

    /// Hands out every key changed since the last drain, in the order it first changed, as it is now;
    /// then nothing is dirty. Call it when the input frontier leaves a commit, before anything of the
    /// next commit is applied.
    ///
    /// # Errors
    /// The first of `each`; the table then still works, but what changed is no longer known.
    pub fn drain_dirty<E>(
        &mut self,
        mut each: impl FnMut(Change<'_, K, S>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut dirty = std::mem::take(&mut self.dirty);
        let mut result = Ok(());
        for slot_number in dirty.drain(..) {
            let slot = &mut self.slots[slot_number as usize];
            let group = key_group(slot.hash, self.key_groups);
            let state = (slot.life == Life::Live).then_some(&mut slot.state);
            if result.is_ok() && (state.is_some() || slot.written) {
                result = each(Change { group, key: slot.key.borrow(), state });
            }
            slot.written = true;
            self.release_if_removed(slot_number);
        }
        self.dirty = dirty;
        self.end_commit();
        result
    }

    /// Hands out every key, as it is now; then nothing is dirty, and no removal needs to be written.
    /// The other way to end a commit.
    ///
    /// # Errors
    /// As [`drain_dirty`](Self::drain_dirty).
    pub fn drain_image<E>(
        &mut self,
        mut each: impl FnMut(Change<'_, K, S>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.drain(..).for_each(|slot| self.release_if_removed(slot));
        self.dirty = dirty;
        let live = self.slots.iter_mut().filter(|slot| slot.life == Life::Live);
        let mut result = Ok(());
        for slot in live {
            let group = key_group(slot.hash, self.key_groups);
            slot.written = true;
            result = each(Change { group, key: slot.key.borrow(), state: Some(&mut slot.state) });
            if result.is_err() {
                break;
            }
        }
        self.end_commit();
        result
    }

    /// Puts a key as it was written: it is not dirty. For restoring.
    pub fn restore(&mut self, hash: u64, key: &K, state: S) {
        let slot = self.entry(hash, key);
        let slot = &mut self.slots[slot.0 as usize];
        slot.state = state;
        slot.written = true;
    }

    /// Takes a key away as if it had never been. For restoring.
    ///
    /// # Panics
    /// When the key changed since the last drain.
    pub fn forget(&mut self, hash: u64, key: &K) {
        let slots = &self.slots;
        let same = |&slot: &u32| {
            slots[slot as usize].hash == hash && slots[slot as usize].key.borrow() == key
        };
        if let Some(&number) = self.index.find(hash, same) {
            let slot = &mut self.slots[number as usize];
            assert_ne!(slot.stamp, self.stamp, "restoring comes before changing");
            slot.life = Life::Removed;
            slot.state = S::default();
            self.removed += 1;
            self.release_if_removed(number);
        }
    }

    /// Bytes of the table's own arrays; not what keys and states point to.
    pub fn memory_bytes(&self) -> usize {
        let numbers = self.free.capacity() + self.dirty.capacity();
        self.index.allocation_size()
            + self.slots.capacity() * size_of::<Slot<K::Owned, S>>()
            + numbers * size_of::<u32>()
    }

    #[inline]
    fn touch(&mut self, slot: SlotId) {
        let stamp = &mut self.slots[slot.0 as usize].stamp;
        if *stamp != self.stamp {
            *stamp = self.stamp;
            self.dirty.push(slot.0);
        }
    }

    #[cold]
    fn insert_new(&mut self, hash: u64, key: K::Owned) -> SlotId {
        let state = S::default();
        let new = Slot { hash, stamp: 0, life: Life::Live, written: false, key, state };
        let number = match self.free.pop() {
            Some(number) => {
                self.slots[number as usize] = new;
                number
            }
            None => {
                let number = u32::try_from(self.slots.len()).expect("a task holds below 2^32 keys");
                self.slots.push(new);
                number
            }
        };
        let slots = &self.slots;
        self.index.insert_unique(hash, number, |&slot| slots[slot as usize].hash);
        SlotId(number)
    }

    fn release_if_removed(&mut self, number: u32) {
        let slot = &mut self.slots[number as usize];
        if slot.life == Life::Removed {
            slot.life = Life::Free;
            self.removed -= 1;
            match self.index.find_entry(slot.hash, |&other| other == number) {
                Ok(entry) => drop(entry.remove()),
                Err(_) => unreachable!("a removed key is in the index until it is released"),
            }
            self.free.push(number);
        }
    }

    /// Nothing is dirty; a new stamp, and memory back if most of it is unused.
    fn end_commit(&mut self) {
        assert!(self.dirty.is_empty() && self.removed == 0, "a drain takes all");
        match self.stamp.checked_add(1) {
            Some(stamp) => self.stamp = stamp,
            None => {
                self.slots.iter_mut().for_each(|slot| slot.stamp = 0);
                self.stamp = 1;
            }
        }
        if self.free.len() > caps::COMPACT_SLOTS_MIN && self.free.len() * 2 > self.slots.len() {
            self.compact();
        }
    }

    #[cold]
    fn compact(&mut self) {
        self.slots.retain(|slot| slot.life == Life::Live);
        self.slots.shrink_to_fit();
        self.free = Vec::new();
        let mut index = HashTable::with_capacity(self.slots.len());
        for (number, slot) in (0u32..).zip(&self.slots) {
            index.insert_unique(slot.hash, number, |&slot| self.slots[slot as usize].hash);
        }
        self.index = index;
    }
}

impl<K: Key + ?Sized, S> fmt::Debug for KeyedTable<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedTable")
            .field("keys", &(self.index.len() - self.removed))
            .field("dirty", &self.dirty.len())
            .field("slots", &self.slots.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};
    use std::convert::Infallible;

    type Table = KeyedTable<str, u64>;

    fn entry(table: &mut Table, key: &str) -> SlotId {
        table.entry(key.hash64(), key)
    }

    fn drained(table: &mut Table) -> Vec<(String, Option<u64>)> {
        let mut changes = Vec::new();
        let taken: Result<(), Infallible> = table.drain_dirty(|change| {
            changes.push((change.key.to_owned(), change.state.map(|state| *state)));
            Ok(())
        });
        taken.unwrap();
        changes
    }

    #[test]
    fn a_key_is_drained_once_as_it_is_now() {
        let mut table = Table::new(16);
        for key in ["a", "b", "a"] {
            let slot = entry(&mut table, key);
            *table.get_mut(slot).1 += 1;
        }
        assert_eq!(drained(&mut table), [("a".into(), Some(2)), ("b".into(), Some(1))]);
        assert_eq!(drained(&mut table), []);
        let slot = entry(&mut table, "b");
        assert_eq!(table.get(slot), ("b", &1));
        assert_eq!(drained(&mut table), [], "looking is no change");
    }

    #[test]
    fn a_removal_is_written_only_if_the_key_was() {
        let mut table = Table::new(16);
        let slot = entry(&mut table, "a");
        *table.get_mut(slot).1 = 7;
        drained(&mut table);
        for key in ["a", "never written"] {
            let slot = entry(&mut table, key);
            table.get_mut(slot);
            table.remove(slot);
        }
        assert_eq!((table.len(), table.find("a".hash64(), "a")), (0, None));
        assert_eq!(drained(&mut table), [("a".into(), None)]);
        assert_eq!(table.index.len(), 0);
    }

    #[test]
    fn a_key_that_comes_back_within_the_commit_begins_empty() {
        let mut table = Table::new(16);
        let slot = entry(&mut table, "a");
        *table.get_mut(slot).1 = 7;
        table.remove(slot);
        let slot = entry(&mut table, "a");
        assert_eq!(*table.get_mut(slot).1, 0);
        assert_eq!(drained(&mut table), [("a".into(), Some(0))]);
    }

    #[test]
    fn a_table_gives_memory_back_after_most_keys_went() {
        let mut table = KeyedTable::<u64, u64>::new(16);
        for key in 0..20_000u64 {
            let slot = table.entry(key.hash64(), &key);
            *table.get_mut(slot).1 = key;
        }
        let drain = |table: &mut KeyedTable<u64, u64>| {
            table.drain_dirty(|_| Ok::<(), Infallible>(())).unwrap();
        };
        drain(&mut table);
        let full = table.memory_bytes();
        for key in 0..19_000u64 {
            let slot = table.entry(key.hash64(), &key);
            table.remove(slot);
        }
        drain(&mut table);
        assert!(table.memory_bytes() < full / 4);
        assert_eq!(table.len(), 1000);
        assert!((19_000..20_000).all(|k: u64| table.find(k.hash64(), &k) == Some(&k)));
    }

    proptest! {
        /// 0: change, 1: remove, 2: drain deltas, 3: drain an image.
        #[test]
        fn a_table_does_what_a_map_does(ops in proptest::collection::vec((0u8..8, 0u8..12), 0..200)) {
            let mut table = Table::new(8);
            let mut model: BTreeMap<String, u64> = BTreeMap::new();
            let mut written: BTreeMap<String, u64> = BTreeMap::new();
            for (op, key) in ops {
                let key = format!("k{key}");
                match op {
                    0..=3 => {
                        let slot = entry(&mut table, &key);
                        *table.get_mut(slot).1 += 1;
                        *model.entry(key).or_default() += 1;
                    }
                    4 | 5 => {
                        let slot = entry(&mut table, &key);
                        table.remove(slot);
                        model.remove(&key);
                    }
                    6 => {
                        let changes = drained(&mut table);
                        let distinct: BTreeSet<_> = changes.iter().map(|(key, _)| key).collect();
                        prop_assert_eq!(distinct.len(), changes.len());
                        for (key, state) in changes {
                            match state {
                                Some(state) => { written.insert(key, state); }
                                None => prop_assert!(written.remove(&key).is_some()),
                            }
                        }
                        prop_assert_eq!(&written, &model);
                    }
                    _ => {
                        written.clear();
                        table.drain_image(|change| {
                            written.insert(change.key.to_owned(), *change.state.unwrap());
                            Ok::<(), Infallible>(())
                        }).unwrap();
                        prop_assert_eq!(&written, &model);
                    }
                }
                prop_assert_eq!(table.len(), model.len());
            }
            let found: BTreeMap<_, _> =
                (0..8).flat_map(|g| table.iter_group(g)).map(|(k, s)| (k.to_owned(), *s)).collect();
            prop_assert_eq!(found, model);
        }
    }
}
