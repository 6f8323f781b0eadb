//! A map whose entries have a time each, after which they count no more.

use std::borrow::Borrow;
use std::collections::BTreeSet;
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Kind, MapState, state_of_one_part};
use crate::keyed::cell::Cell;
use crate::keyed::format;
use crate::keyed::state::{Extent, StateError, read_value};

/// A map from `K` to `V` of which each entry lives until a time of its own, in ms: of whatever clock the bolt goes
/// by, which says what time it is whenever it matters.
///
/// An entry whose time has come is not found any more, and is there until it is
/// [taken out](Self::pop_expired): what that costs is the entries taken. A bolt has itself woken for it with a timer of
/// the key at [`next_expiry`](Self::next_expiry). The time is written with the entry, as `(ms, value)`, and nothing else
/// is: a commit costs the entries that changed in it, as with a [`MapState`].
///
/// ```
/// use egret_state::keyed::ExpiringMap;
///
/// let mut seen = ExpiringMap::<String, u32>::default();
/// seen.insert("heron".to_owned(), 1, 1000);
/// seen.insert("egret".to_owned(), 2, 2000);
/// assert_eq!((seen.get("heron", 999), seen.get("heron", 1000)), (Some(&1), None));
/// assert_eq!(seen.next_expiry(), Some(1000));
/// assert_eq!(seen.pop_expired(1500), Some(("heron".to_owned(), 1)));
/// assert_eq!(seen.pop_expired(1500), None);
/// ```
pub struct ExpiringMap<K, V> {
    entries: MapState<K, (i64, V)>,
    by_time: BTreeSet<(i64, K)>,
}

impl<K, V> Default for ExpiringMap<K, V> {
    fn default() -> ExpiringMap<K, V> {
        ExpiringMap { entries: MapState::default(), by_time: BTreeSet::new() }
    }
}

impl<K: PartialEq, V: PartialEq> PartialEq for ExpiringMap<K, V> {
    fn eq(&self, other: &ExpiringMap<K, V>) -> bool {
        self.entries == other.entries
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for ExpiringMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.entries.fmt(f)
    }
}

impl<K, V> ExpiringMap<K, V> {
    /// How many entries there are, those that expired and were not taken out included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none, not even one that expired.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries that live at `now`, in the order of their keys, with their times.
    pub fn iter(&self, now: i64) -> impl DoubleEndedIterator<Item = (&K, &V, i64)> {
        let all = self.entries.iter().map(|(key, (ms, value))| (key, value, *ms));
        all.filter(move |(.., ms)| *ms > now)
    }
}

impl<K, V> ExpiringMap<K, V>
where
    K: Ord + Clone,
    V: Serialize,
{
    /// The value under `key`, if it lives at `now`.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q, now: i64) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.entries.get(key).filter(|(ms, _)| *ms > now).map(|(_, value)| value)
    }

    /// The value under `key`, if it lives at `now`; from then on the entry counts as changed.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q, now: i64) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.get(key, now)?;
        self.entries.get_mut(key).map(|(_, value)| value)
    }

    /// Puts a value under `key` that lives until `ms`; what there was, whether or not it had expired.
    pub fn insert(&mut self, key: K, value: V, ms: i64) -> Option<V> {
        self.by_time.insert((ms, key.clone()));
        let (old, value) = self.entries.insert(key.clone(), (ms, value))?;
        if old != ms {
            self.by_time.remove(&(old, key));
        }
        Some(value)
    }

    /// Lets the entry under `key` live until `ms`, if it lives at `now`; whether it did.
    pub fn keep_until(&mut self, key: &K, ms: i64, now: i64) -> bool {
        let Some(old) = self.entries.get(key).map(|(old, _)| *old).filter(|old| *old > now) else {
            return false;
        };
        if old != ms {
            self.by_time.remove(&(old, key.clone()));
            self.by_time.insert((ms, key.clone()));
            self.entries.get_mut(key).into_iter().for_each(|entry| entry.0 = ms);
        }
        true
    }

    /// Takes the entry under `key` away; its value, whether or not it had expired.
    pub fn remove(&mut self, key: &K) -> Option<V> {
        let (ms, value) = self.entries.remove(key)?;
        self.by_time.remove(&(ms, key.clone()));
        Some(value)
    }

    /// Takes an entry out that has expired at `now`, those first that did first; nothing when all that are left
    /// live.
    pub fn pop_expired(&mut self, now: i64) -> Option<(K, V)> {
        if self.next_expiry()? > now {
            return None;
        }
        let (_, key) = self.by_time.pop_first()?;
        let (_, value) = self.entries.remove(&key)?;
        Some((key, value))
    }

    /// When the first entry expires.
    pub fn next_expiry(&self) -> Option<i64> {
        self.by_time.first().map(|(ms, _)| *ms)
    }

    /// Takes all entries away.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.by_time.clear();
    }
}

impl<K, V> Kind for ExpiringMap<K, V>
where
    K: Serialize + DeserializeOwned + Ord + Clone + Send + 'static,
    V: Serialize + DeserializeOwned + Send + 'static,
{
    type Mark = <MapState<K, (i64, V)> as Kind>::Mark;

    fn write(
        &mut self,
        part: u32,
        extent: Extent,
        out: &mut Vec<u8>,
        undo: Option<&mut Vec<u8>>,
    ) -> Result<(), StateError> {
        self.entries.write(part, extent, out, undo)
    }

    fn take(&mut self, cell: Cell<'_>) -> Result<(), StateError> {
        let key = match cell {
            Cell::Put { subkey, .. } | Cell::Remove { subkey, .. } => read_value::<K>(subkey)?,
            Cell::Clear { .. } => {
                self.by_time.clear();
                return self.entries.take(cell);
            }
        };
        if let Some((ms, _)) = self.entries.get(&key) {
            self.by_time.remove(&(*ms, key.clone()));
        }
        self.entries.take(cell)?;
        if let Some((ms, _)) = self.entries.get(&key) {
            self.by_time.insert((*ms, key));
        }
        Ok(())
    }

    fn mark(&mut self) -> Self::Mark {
        Kind::mark(&mut self.entries)
    }

    fn keep(&mut self, mark: Self::Mark) {
        Kind::keep(&mut self.entries, mark);
    }

    fn format(part: u32, name: &str) -> format::Part {
        MapState::<K, (i64, V)>::format(part, name)
    }

    fn bytes(&self) -> usize {
        self.entries.bytes()
    }
}

state_of_one_part!("ExpiringMap", ExpiringMap<K, V>);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyed::state::State;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    type Map = ExpiringMap<u8, u32>;

    #[derive(Clone, Debug)]
    enum Op {
        Insert(u8, u32, i64),
        KeepUntil(u8, i64),
        Add(u8),
        Remove(u8),
        Expire,
        Clear,
        Later(i64),
        /// Written, and applied to a copy; taken back there, or not.
        Commit(bool),
    }

    fn op() -> impl Strategy<Value = Op> {
        let key = || 0u8..8;
        prop_oneof![
            6 => (key(), any::<u32>(), 0i64..60).prop_map(|(key, n, ms)| Op::Insert(key, n, ms)),
            3 => (key(), 0i64..60).prop_map(|(key, ms)| Op::KeepUntil(key, ms)),
            2 => key().prop_map(Op::Add),
            2 => key().prop_map(Op::Remove),
            3 => Just(Op::Expire),
            1 => Just(Op::Clear),
            3 => (0i64..30).prop_map(Op::Later),
            3 => any::<bool>().prop_map(Op::Commit),
        ]
    }

    fn is_whole(map: &Map) {
        let times: BTreeSet<_> = map.entries.iter().map(|(key, (ms, _))| (*ms, *key)).collect();
        assert_eq!(map.by_time, times);
    }

    proptest! {
        /// Against a plain map that looks at every entry.
        #[test]
        fn entries_live_until_their_time_and_are_written_and_taken_back(
            ops in proptest::collection::vec(op(), 0..120),
        ) {
            let (mut map, mut model) = (Map::default(), BTreeMap::<u8, (i64, u32)>::new());
            let (mut copy, mut kept, mut now) = (Map::default(), model.clone(), 0);
            for op in ops {
                match op {
                    Op::Insert(key, n, after) => {
                        let ms = now + after;
                        let before = model.insert(key, (ms, n));
                        prop_assert_eq!(map.insert(key, n, ms), before.map(|(_, n)| n));
                    }
                    Op::KeepUntil(key, after) => {
                        let lives = model.get_mut(&key).filter(|(ms, _)| *ms > now);
                        prop_assert_eq!(map.keep_until(&key, now + after, now), lives.is_some());
                        lives.into_iter().for_each(|entry| entry.0 = now + after);
                    }
                    Op::Add(key) => {
                        let lives = model.get_mut(&key).filter(|(ms, _)| *ms > now);
                        let found = map.get_mut(&key, now);
                        prop_assert_eq!(found.is_some(), lives.is_some());
                        found.into_iter().for_each(|n| *n ^= 1);
                        lives.into_iter().for_each(|(_, n)| *n ^= 1);
                    }
                    Op::Remove(key) => {
                        prop_assert_eq!(map.remove(&key), model.remove(&key).map(|(_, n)| n));
                    }
                    Op::Expire => {
                        let mut gone = BTreeMap::new();
                        let mut last = i64::MIN;
                        while let Some((key, n)) = map.pop_expired(now) {
                            let (ms, _) = model[&key];
                            prop_assert!(last <= ms && ms <= now, "in the order of their times");
                            last = ms;
                            gone.insert(key, (ms, n));
                        }
                        let due = model.extract_if(.., |_, (ms, _)| *ms <= now);
                        prop_assert_eq!(gone, due.collect::<BTreeMap<_, _>>());
                    }
                    Op::Clear => {
                        map.clear();
                        model.clear();
                    }
                    Op::Later(ms) => now += ms,
                    Op::Commit(back) => {
                        let (mut changes, mut undo) = (Vec::new(), Vec::new());
                        State::write(&mut map, Extent::Changes, &mut changes, Some(&mut undo)).unwrap();
                        copy.apply(&changes).unwrap();
                        is_whole(&copy);
                        prop_assert_eq!(&copy, &map);
                        if back {
                            copy.apply(&undo).unwrap();
                            is_whole(&copy);
                            map.apply(&undo).unwrap();
                            model = kept.clone();
                        }
                        prop_assert_eq!(&copy, &map);
                        kept = model.clone();
                        let mut whole = Vec::new();
                        State::write(&mut map, Extent::Whole, &mut whole, None).unwrap();
                        prop_assert_eq!(&Map::read(&whole).unwrap(), &map);
                        prop_assert_eq!(State::bytes(&map), Some(whole.len()));
                    }
                }
                is_whole(&map);
                let all: Vec<_> = map.iter(now).map(|(key, n, ms)| (*key, (ms, *n))).collect();
                let live = model.iter().filter(|(_, (ms, _))| *ms > now);
                prop_assert_eq!(all, live.map(|(key, entry)| (*key, *entry)).collect::<Vec<_>>());
                prop_assert_eq!(map.next_expiry(), model.values().map(|(ms, _)| *ms).min());
                let living = |key: u8| model.get(&key).filter(|(ms, _)| *ms > now).map(|(_, n)| n);
                let found = (0..8).all(|key| map.get(&key, now) == living(key));
                prop_assert!(found, "each entry that lives, and no other");
            }
        }
    }
}
