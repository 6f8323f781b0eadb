//! A map of which only the entries that changed are written.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::RangeBounds;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Before, Kind, encoded, put_bytes, state_of_one_part, value_bytes};
use crate::keyed::cell::Cell;
use crate::keyed::format;
use crate::keyed::state::{Extent, StateError, read_value, write_value};

/// A map from `K` to `V` under one key, in the order of `K`. A commit costs the entries that changed in it, however
/// many there are.
pub struct MapState<K, V> {
    entries: BTreeMap<K, V>,
    changes: Option<Box<Changes<K>>>,
    bytes: usize,
}

/// What had changed when the map was marked, and its bytes.
pub struct MapMark<K>(Option<Box<Changes<K>>>, usize);

impl<K> fmt::Debug for MapMark<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let changes = self.0.as_ref().map_or(0, |changes| changes.before.len());
        write!(f, "MapMark({changes} entries)")
    }
}

/// What changed since the map was last written.
struct Changes<K> {
    /// What the entry was under each key that changed; `None`: there was none.
    before: BTreeMap<K, Option<Before>>,
    /// Whether all entries were taken away at once meanwhile.
    cleared: bool,
}

impl<K, V> Default for MapState<K, V> {
    fn default() -> MapState<K, V> {
        MapState { entries: BTreeMap::new(), changes: None, bytes: 0 }
    }
}

impl<K: PartialEq, V: PartialEq> PartialEq for MapState<K, V> {
    fn eq(&self, other: &MapState<K, V>) -> bool {
        self.entries == other.entries
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for MapState<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entries.fmt(f)
    }
}

impl<K, V> MapState<K, V> {
    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All entries, in the order of their keys.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> + ExactSizeIterator {
        self.entries.iter()
    }
}

impl<K: Ord + Clone, V: Serialize> MapState<K, V> {
    /// The value under `key`.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.entries.get(key)
    }

    /// Whether there is an entry under `key`.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.entries.contains_key(key)
    }

    /// The entries whose keys are in `range`, in order.
    pub fn range<Q: Ord + ?Sized>(
        &self,
        range: impl RangeBounds<Q>,
    ) -> impl DoubleEndedIterator<Item = (&K, &V)>
    where
        K: Borrow<Q>,
    {
        self.entries.range(range)
    }

    /// The value under `key`; from now on the entry counts as changed.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        let changed = |changes: &Changes<K>| changes.before.contains_key(key);
        if !self.changes.as_deref().is_some_and(changed) {
            let (key, value) = self.entries.get_key_value(key)?;
            let before = Some(encoded(value));
            self.changes.get_or_insert_default().before.insert(key.clone(), before);
        }
        self.entries.get_mut(key)
    }

    /// The value under `key`, the default one if there was none; from now on the entry counts as changed.
    pub fn or_default(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        self.keep(&key);
        self.entries.entry(key).or_default()
    }

    /// Puts a value under `key`; returns the one there was.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.keep(&key);
        self.entries.insert(key, value)
    }

    /// Takes the entry under `key` away; returns its value.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let (key, value) = self.entries.remove_entry(key)?;
        self.changes.get_or_insert_default().keep(key, &value);
        Some(value)
    }

    /// Takes the first entry away.
    pub fn pop_first(&mut self) -> Option<(K, V)> {
        let (key, value) = self.entries.pop_first()?;
        self.changes.get_or_insert_default().keep(key.clone(), &value);
        Some((key, value))
    }

    /// Takes all entries away that `keep` says no to.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) {
        let MapState { entries, changes, .. } = self;
        entries.retain(|key, value| {
            let keeps = keep(key, value);
            if !keeps {
                changes.get_or_insert_default().keep(key.clone(), value);
            }
            keeps
        });
    }

    /// Takes all entries away.
    pub fn clear(&mut self) {
        if self.entries.is_empty() {
            return;
        }
        let changes = self.changes.get_or_insert_default();
        changes.cleared = true;
        for (key, value) in std::mem::take(&mut self.entries) {
            changes.keep(key, &value);
        }
    }

    /// Remembers the entry under `key` as it is, unless it changed before.
    fn keep(&mut self, key: &K) {
        let changes = self.changes.get_or_insert_default();
        if !changes.before.contains_key(key) {
            changes.before.insert(key.clone(), self.entries.get(key).map(encoded));
        }
    }
}

impl<K> Default for Changes<K> {
    fn default() -> Changes<K> {
        Changes { before: BTreeMap::new(), cleared: false }
    }
}

impl<K: Ord> Changes<K> {
    fn keep<V: Serialize>(&mut self, key: K, value: &V) {
        self.before.entry(key).or_insert_with(|| Some(encoded(value)));
    }
}

/// Writes entries, with the buffers to do it.
#[derive(Default)]
struct Entry {
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Entry {
    fn encode(
        &mut self,
        key: &impl Serialize,
        value: Option<&impl Serialize>,
    ) -> Result<(), StateError> {
        self.key.clear();
        write_value(key, &mut self.key)?;
        self.value.clear();
        value.map_or(Ok(()), |value| write_value(value, &mut self.value))
    }
}

impl<K, V> MapState<K, V>
where
    K: Serialize + Ord,
    V: Serialize,
{
    fn write_all(&mut self, part: u32, out: &mut Vec<u8>) -> Result<(), StateError> {
        let (mut entry, from) = (Entry::default(), out.len());
        for (key, value) in &self.entries {
            entry.encode(key, Some(value))?;
            Cell::Put { part, subkey: &entry.key, value: &entry.value }.write(out);
        }
        self.bytes = out.len() - from;
        Ok(())
    }

    fn write_changes(
        &mut self,
        part: u32,
        changes: &Changes<K>,
        out: &mut Vec<u8>,
    ) -> Result<(), StateError> {
        if changes.cleared {
            Cell::Clear { part }.write(out);
            return self.write_all(part, out);
        }
        let mut entry = Entry::default();
        for (key, before) in &changes.before {
            let before = before.as_ref().map(|before| before.as_ref().map_err(Clone::clone));
            let (before, now) = (before.transpose()?, self.entries.get(key));
            entry.encode(key, now)?;
            if now.is_some() && before.is_some_and(|before| **before == *entry.value) {
                continue;
            }
            if let Some(before) = before {
                let gone = put_bytes(part, entry.key.len(), before.len());
                self.bytes = self.bytes.saturating_sub(gone);
            }
            if now.is_some() {
                self.bytes += put_bytes(part, entry.key.len(), entry.value.len());
                Cell::Put { part, subkey: &entry.key, value: &entry.value }.write(out);
            } else if before.is_some() {
                Cell::Remove { part, subkey: &entry.key }.write(out);
            }
        }
        Ok(())
    }

    fn write_undo(
        &self,
        part: u32,
        changes: &Changes<K>,
        undo: &mut Vec<u8>,
    ) -> Result<(), StateError> {
        let mut subkey = Vec::new();
        for (key, before) in &changes.before {
            subkey.clear();
            write_value(key, &mut subkey)?;
            if let Some(before) = before {
                let before = before.as_ref().map_err(Clone::clone)?;
                Cell::Put { part, subkey: &subkey, value: before }.write(undo);
            } else if self.entries.contains_key(key) {
                Cell::Remove { part, subkey: &subkey }.write(undo);
            }
        }
        Ok(())
    }
}

impl<K, V> Kind for MapState<K, V>
where
    K: Serialize + DeserializeOwned + Ord + Clone + Send + 'static,
    V: Serialize + DeserializeOwned + Send + 'static,
{
    type Mark = MapMark<K>;

    fn write(
        &mut self,
        part: u32,
        extent: Extent,
        out: &mut Vec<u8>,
        undo: Option<&mut Vec<u8>>,
    ) -> Result<(), StateError> {
        let changes = self.changes.take();
        if let (Some(changes), Some(undo)) = (&changes, undo) {
            self.write_undo(part, changes, undo)?;
        }
        match (extent, changes) {
            (Extent::Whole, _) => self.write_all(part, out),
            (Extent::Changes, Some(changes)) => self.write_changes(part, &changes, out),
            (Extent::Changes, None) => Ok(()),
        }
    }

    fn take(&mut self, cell: Cell<'_>) -> Result<(), StateError> {
        self.changes = None;
        let gone = |key: usize, old: Option<V>| {
            old.map_or(0, |old| put_bytes(cell.part(), key, value_bytes(&old)))
        };
        match cell {
            Cell::Put { part, subkey, value } => {
                let old = self.entries.insert(read_value(subkey)?, read_value(value)?);
                self.bytes = self.bytes.saturating_sub(gone(subkey.len(), old));
                self.bytes += put_bytes(part, subkey.len(), value.len());
            }
            Cell::Remove { subkey, .. } => {
                let old = self.entries.remove(&read_value::<K>(subkey)?);
                self.bytes = self.bytes.saturating_sub(gone(subkey.len(), old));
            }
            Cell::Clear { .. } => {
                self.entries.clear();
                self.bytes = 0;
            }
        }
        Ok(())
    }

    fn mark(&mut self) -> MapMark<K> {
        MapMark(self.changes.take(), self.bytes)
    }

    fn keep(&mut self, MapMark(changes, bytes): MapMark<K>) {
        self.bytes = bytes;
        let Some(mut changes) = changes else { return };
        if let Some(since) = self.changes.take() {
            changes.cleared |= since.cleared;
            for (key, entry) in since.before {
                changes.before.entry(key).or_insert(entry);
            }
        }
        self.changes = Some(changes);
    }

    fn format(part: u32, name: &str) -> format::Part {
        format::Part::map(part, name, format::Format::map_of::<K, V>())
    }

    fn bytes(&self) -> usize {
        self.bytes
    }
}

impl<'a, K, V> IntoIterator for &'a MapState<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = std::collections::btree_map::Iter<'a, K, V>;
    fn into_iter(self) -> Self::IntoIter {
        self.entries.iter()
    }
}

state_of_one_part!("MapState", MapState<K, V>);
