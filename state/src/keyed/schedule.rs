//! What is due for keys at a time: timers, and when a key's state expires. Kept beside the table, so that a key
//! for which nothing is due takes no memory for it.
//!
//! It is state: what changed in it is written with the commit, in records of its own that hold cells of the
//! engine's parts and no others, and can be taken back.
//!
//! ```text
//! part 0xf0 timers   subkey: 0 processing time, 1 event time u8 | ms i64 | tag u32        no value
//! part 0xf1 expiry   no subkey                                                            value: ms i64
//! ```
//! A subkey is big-endian, the sign of the time inverted, so that the order of bytes is that of time; the value is
//! little-endian. A record of a key's own cells leaves these alone; a removal takes them away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use egret_schemas::Epoch;
use egret_schemas::bytes::Reader;
use egret_schemas::key::{hash, key_group};

use super::cell::{Cell, ENGINE_PARTS, cells};
use super::record::{Record, What};
use super::state::StateError;
use super::undo::Undo;
use crate::caps;

/// The part of timers.
pub const TIMERS: u32 = ENGINE_PARTS;
/// The part of the time of expiry.
pub const EXPIRY: u32 = ENGINE_PARTS + 1;

/// Bytes of a timer's cell.
const TIMER_BYTES: u64 = 2 + 1 + 13 + 1;

/// What becomes due.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// A timer of the time it is.
    ProcessingTime,
    /// A timer of the time the tuples say.
    EventTime,
    /// The key's state expires, by whichever of the two its bolt goes.
    Expiry,
}

/// Something due for one key. A key has each once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Due {
    /// What.
    pub kind: Kind,
    /// When, in ms.
    pub ms: i64,
    /// Which of several; 0 of an expiry.
    pub tag: u32,
}

/// A key has too many timers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a key would have more than {max} timers: let one timer stand for many, under a state that says what is due",
    max = caps::TIMERS_PER_KEY_MAX
)]
pub struct TooManyTimers;

/// See the [module](self).
#[derive(Debug, Default)]
pub struct Schedule {
    by_time: BTreeSet<(Kind, i64, Arc<[u8]>, u32)>,
    /// Sorted, and not empty.
    by_key: BTreeMap<Arc<[u8]>, Vec<Due>>,
    /// What the keys that changed since the last capture had.
    changed: BTreeMap<Arc<[u8]>, Vec<Due>>,
    key_bytes: usize,
    undo: Option<Undo>,
}

impl Schedule {
    /// Whether nothing is due, ever.
    pub fn is_empty(&self) -> bool {
        self.by_time.is_empty()
    }

    /// How much is due, of all keys.
    pub fn len(&self) -> usize {
        self.by_time.len()
    }

    /// What is due for `key`, a key's encoding.
    pub fn of(&self, key: &[u8]) -> &[Due] {
        self.by_key.get(key).map_or(&[], Vec::as_slice)
    }

    /// When `key` expires, if it does.
    pub fn expiry(&self, key: &[u8]) -> Option<i64> {
        self.of(key).last().filter(|due| due.kind == Kind::Expiry).map(|due| due.ms)
    }

    /// The time of the first of a kind.
    pub fn first(&self, kind: Kind) -> Option<i64> {
        let from = (kind, i64::MIN, Arc::default(), 0);
        self.by_time.range(from..).next().filter(|due| due.0 == kind).map(|due| due.1)
    }

    /// What of a kind is due at `ms`, at most `max` of it, in order of time and then key.
    pub fn due(&self, kind: Kind, ms: i64, max: usize) -> impl Iterator<Item = (Arc<[u8]>, Due)> {
        let from = (kind, i64::MIN, Arc::default(), 0);
        let due = self.by_time.range(from..).take_while(move |due| due.0 == kind && due.1 <= ms);
        due.take(max)
            .map(|(kind, ms, key, tag)| (Arc::clone(key), Due { kind: *kind, ms: *ms, tag: *tag }))
    }

    /// Makes something due for `key`; an expiry takes the place of the one before.
    ///
    /// # Errors
    /// When the key has as many timers as it may.
    pub fn set(&mut self, key: &[u8], due: Due) -> Result<(), TooManyTimers> {
        let has = self.of(key);
        if has.binary_search(&due).is_ok() {
            return Ok(());
        }
        if has.len() >= caps::TIMERS_PER_KEY_MAX {
            return Err(TooManyTimers);
        }
        let key = self.keep(key);
        self.put(&key, due);
        Ok(())
    }

    /// Takes something due for `key` away; whether it was.
    pub fn cancel(&mut self, key: &[u8], due: Due) -> bool {
        if self.of(key).binary_search(&due).is_err() {
            return false;
        }
        let key = self.keep(key);
        self.take(&key, due);
        true
    }

    /// The key's state is removed: nothing is due for it any more.
    pub fn forget(&mut self, key: &[u8]) {
        if self.by_key.contains_key(key) {
            let key = self.keep(key);
            self.clear(&key, |_| true);
        }
    }

    /// Remembers what is due for `key` before that changes; the key as it is kept.
    fn keep(&mut self, key: &[u8]) -> Arc<[u8]> {
        if let Some((key, _)) = self.changed.get_key_value(key) {
            return Arc::clone(key);
        }
        let (key, has) = match self.by_key.get_key_value(key) {
            Some((key, has)) => (Arc::clone(key), has.clone()),
            None => (Arc::from(key), Vec::new()),
        };
        self.changed.insert(Arc::clone(&key), has);
        key
    }

    fn put(&mut self, key: &Arc<[u8]>, due: Due) {
        if due.kind == Kind::Expiry {
            self.clear(key, |due| due.kind == Kind::Expiry);
        }
        let has = self.by_key.entry(Arc::clone(key)).or_default();
        if has.is_empty() {
            self.key_bytes += key.len();
        }
        if let Err(at) = has.binary_search(&due) {
            has.insert(at, due);
            self.by_time.insert((due.kind, due.ms, Arc::clone(key), due.tag));
        }
    }

    fn take(&mut self, key: &Arc<[u8]>, due: Due) {
        self.clear(key, |other| *other == due);
    }

    /// Takes away what is due for `key` and is such.
    fn clear(&mut self, key: &Arc<[u8]>, is_such: impl Fn(&Due) -> bool) {
        let Some(has) = self.by_key.get_mut(key) else { return };
        has.retain(|due| {
            let goes = is_such(due);
            if goes {
                self.by_time.remove(&(due.kind, due.ms, Arc::clone(key), due.tag));
            }
            !goes
        });
        if has.is_empty() {
            self.by_key.remove(key);
            self.key_bytes -= key.len();
        }
    }

    /// Bytes of all records when written whole, or nearly.
    pub fn live_bytes(&self) -> u64 {
        let heads = self.by_key.len() as u64 * 10 + self.key_bytes as u64;
        heads + self.by_time.len() as u64 * TIMER_BYTES
    }

    /// Bytes it takes, or nearly: nodes of trees are about three quarters full.
    pub fn memory_bytes(&self) -> usize {
        let due = size_of::<(Kind, i64, Arc<[u8]>, u32)>() * 4 / 3 + size_of::<Due>();
        let key = 16 + size_of::<(Arc<[u8]>, Vec<Due>)>() * 4 / 3;
        self.by_time.len() * due
            + (self.by_key.len() + self.changed.len()) * key
            + self.key_bytes
            + self.undo.as_ref().map_or(0, Undo::bytes)
    }
}

/// The changelog's side of it.
impl Schedule {
    /// From now on keeps what is needed to go back; see [`Undo`].
    pub fn keep_undo(&mut self, base: Epoch, bytes_max: usize) {
        self.undo = Some(Undo::new(base, bytes_max));
    }

    /// What is kept to go back, if it is.
    pub fn undo(&mut self) -> Option<&mut Undo> {
        self.undo.as_mut()
    }

    /// Writes what is due for the key of a record that was just written, all of it, if the record may let go of
    /// older ones. A removal takes it along.
    pub fn write_beside(
        &mut self,
        record: &Record<'_>,
        key_groups: u32,
        mut each: impl FnMut(Record<'_>),
    ) {
        if self.by_key.is_empty() && self.changed.is_empty() {
            return;
        }
        match record.what {
            What::Changes(_) => return,
            What::Removed => {
                if let Some(before) = self.changed.remove(record.key) {
                    self.record_undo(record.key, &before, key_groups);
                }
                return;
            }
            What::Plain(_) | What::Whole(_) => {}
        }
        let before = self.changed.remove(record.key);
        if let Some(before) = &before {
            self.record_undo(record.key, before, key_groups);
        }
        if before.is_some() || self.by_key.contains_key(record.key) {
            let body = whole(self.of(record.key));
            each(Record { what: What::Changes(&body), ..*record });
        }
    }

    /// Writes what else changed.
    pub fn write_changes(&mut self, key_groups: u32, mut each: impl FnMut(Record<'_>)) {
        for (key, before) in std::mem::take(&mut self.changed) {
            let now = self.of(&key);
            let mut body = Vec::new();
            for due in before.iter().filter(|due| now.binary_search(due).is_err()) {
                cell(due, false, &mut body);
            }
            for due in now.iter().filter(|due| before.binary_search(due).is_err()) {
                cell(due, true, &mut body);
            }
            if !body.is_empty() {
                let group = key_group(hash(&key), key_groups);
                each(Record { group, key: &key, what: What::Changes(&body) });
                self.record_undo(&key, &before, key_groups);
            }
        }
    }

    fn record_undo(&mut self, key: &[u8], before: &[Due], key_groups: u32) {
        let Some(undo) = &mut self.undo else { return };
        let body = whole(before);
        let group = key_group(hash(key), key_groups);
        undo.record(|out| Record { group, key, what: What::Changes(&body) }.write(out));
    }

    /// The changes since the last capture are `commit`'s.
    pub fn captured(&mut self, commit: Epoch) {
        assert!(self.changed.is_empty(), "they were written");
        if let Some(undo) = &mut self.undo {
            undo.captured(commit);
        }
    }

    /// Ends a commit nobody writes.
    pub fn settle(&mut self) {
        self.changed.clear();
    }

    /// Whether a record is of this, and not of the key's own state.
    pub fn has(record: &Record<'_>) -> bool {
        let What::Changes(body) = record.what else { return false };
        let first = Reader::new(body).var("cell").ok();
        first.is_some_and(|head| head / 4 >= u64::from(ENGINE_PARTS))
    }

    /// Takes a record as it was written: one of these, or the removal of a key. It does not count as changed.
    ///
    /// # Errors
    /// When it holds anything else.
    pub fn restore(&mut self, record: &Record<'_>) -> Result<(), StateError> {
        let body = match record.what {
            What::Removed => {
                if let Some((key, _)) = self.by_key.get_key_value(record.key) {
                    self.clear(&Arc::clone(key), |_| true);
                }
                return Ok(());
            }
            other => other.body(),
        };
        let known = self.by_key.get_key_value(record.key);
        let key = known.map_or_else(|| Arc::from(record.key), |(key, _)| Arc::clone(key));
        for cell in cells(body) {
            match cell? {
                Cell::Put { part: TIMERS, subkey, .. } => {
                    let due = timer(subkey)?;
                    let timers = self.of(&key).len();
                    if timers > caps::TIMERS_PER_KEY_MAX {
                        return Err(StateError(TooManyTimers.to_string()));
                    }
                    self.put(&key, due);
                }
                Cell::Remove { part: TIMERS, subkey } => self.take(&key, timer(subkey)?),
                Cell::Clear { part: TIMERS } => self.clear(&key, |due| due.kind != Kind::Expiry),
                Cell::Put { part: EXPIRY, value, .. } => {
                    let ms = value.try_into().map(i64::from_le_bytes);
                    let ms = ms.map_err(|_| StateError("a time of expiry has 8 bytes".into()))?;
                    self.put(&key, Due { kind: Kind::Expiry, ms, tag: 0 });
                }
                Cell::Remove { part: EXPIRY, .. } | Cell::Clear { part: EXPIRY } => {
                    self.clear(&key, |due| due.kind == Kind::Expiry);
                }
                other => {
                    let part = other.part();
                    return Err(StateError(format!(
                        "part {part:#x} is the engine's and unknown: a newer version wrote it, use that one"
                    )));
                }
            }
        }
        Ok(())
    }

    /// Goes back to the end of `commit`'s commit; whether that was possible.
    ///
    /// # Errors
    /// When something does not decode that was encoded here.
    pub fn back_to(&mut self, commit: Epoch, key_groups: u32) -> Result<bool, StateError> {
        for (key, before) in std::mem::take(&mut self.changed) {
            self.record_undo(&key, &before, key_groups);
        }
        let Some(batches) = self.undo.take().and_then(|undo| undo.back_to(commit)) else {
            return Ok(false);
        };
        for batch in batches {
            let mut reader = Reader::new(&batch);
            while reader.remaining() > 0 {
                self.restore(&Record::read(&mut reader, key_groups)?)?;
            }
        }
        Ok(true)
    }
}

/// Everything that is due for a key, in the place of what was.
fn whole(has: &[Due]) -> Vec<u8> {
    let mut body = Vec::new();
    Cell::Clear { part: TIMERS }.write(&mut body);
    Cell::Clear { part: EXPIRY }.write(&mut body);
    has.iter().for_each(|due| cell(due, true, &mut body));
    body
}

#[expect(clippy::big_endian_bytes, reason = "the order of bytes is the order of numbers")]
fn cell(due: &Due, put: bool, out: &mut Vec<u8>) {
    let domain = match due.kind {
        Kind::ProcessingTime => 0,
        Kind::EventTime => 1,
        Kind::Expiry => {
            let value = due.ms.to_le_bytes();
            return match put {
                true => Cell::Put { part: EXPIRY, subkey: &[], value: &value }.write(out),
                false => Cell::Remove { part: EXPIRY, subkey: &[] }.write(out),
            };
        }
    };
    let mut subkey = [domain; 13];
    subkey[1..9].copy_from_slice(&(due.ms ^ i64::MIN).to_be_bytes());
    subkey[9..].copy_from_slice(&due.tag.to_be_bytes());
    match put {
        true => Cell::Put { part: TIMERS, subkey: &subkey, value: &[] }.write(out),
        false => Cell::Remove { part: TIMERS, subkey: &subkey }.write(out),
    }
}

#[expect(clippy::big_endian_bytes, reason = "the order of bytes is the order of numbers")]
fn timer(subkey: &[u8]) -> Result<Due, StateError> {
    let wrong = || StateError("a timer's subkey is its time, 13 bytes".to_owned());
    let (domain, rest) = subkey.split_first_chunk::<1>().ok_or_else(wrong)?;
    let (ms, tag) = rest.split_first_chunk::<8>().ok_or_else(wrong)?;
    let kind = match domain {
        [0] => Kind::ProcessingTime,
        [1] => Kind::EventTime,
        _ => return Err(wrong()),
    };
    let tag = u32::from_be_bytes(tag.try_into().map_err(|_| wrong())?);
    Ok(Due { kind, ms: i64::from_be_bytes(*ms) ^ i64::MIN, tag })
}

#[cfg(test)]
mod tests {
    use super::*;
    use egret_schemas::Generation;
    use proptest::prelude::*;

    const KEY_GROUPS: u32 = 8;

    fn end(commit: u32) -> Epoch {
        Epoch::new(Generation(1), commit, 0)
    }

    fn due(kind: u8, ms: i64, tag: u32) -> Due {
        match kind % 3 {
            0 => Due { kind: Kind::ProcessingTime, ms, tag },
            1 => Due { kind: Kind::EventTime, ms, tag },
            _ => Due { kind: Kind::Expiry, ms, tag: 0 },
        }
    }

    fn held(schedule: &Schedule) -> BTreeMap<Vec<u8>, Vec<Due>> {
        let by_time: usize = schedule.by_key.values().map(Vec::len).sum();
        assert_eq!(schedule.by_time.len(), by_time);
        assert_eq!(schedule.key_bytes, schedule.by_key.keys().map(|key| key.len()).sum::<usize>());
        schedule.by_key.iter().map(|(key, has)| (key.to_vec(), has.clone())).collect()
    }

    fn replayed(log: &[u8]) -> BTreeMap<Vec<u8>, Vec<Due>> {
        let (mut schedule, mut reader) = (Schedule::default(), Reader::new(log));
        while reader.remaining() > 0 {
            let record = Record::read(&mut reader, KEY_GROUPS).unwrap();
            if record.what == What::Removed || Schedule::has(&record) {
                schedule.restore(&record).unwrap();
            }
        }
        held(&schedule)
    }

    proptest! {
        /// Timers set, cancelled, gone with their key; commits with records of plain and other states
        /// beside; going back to any commit. What was written is what there is.
        #[test]
        fn a_schedule_does_what_a_map_does(
            ops in proptest::collection::vec(
                (0u8..12, 0u8..5, any::<u8>(), -3i64..3, any::<prop::sample::Index>()), 0..150),
        ) {
            let mut schedule = Schedule::default();
            let mut model: BTreeMap<Vec<u8>, Vec<Due>> = BTreeMap::new();
            let mut commits = vec![(end(0), model.clone(), 0)];
            let (mut log, mut removed) = (Vec::new(), BTreeSet::new());
            schedule.keep_undo(end(0), 1 << 20);
            for (op, key, kind, ms, index) in ops {
                let key = vec![key; 1 + usize::from(key)];
                match op {
                    0..=4 => {
                        let due = due(kind, ms, u32::from(kind) % 2);
                        schedule.set(&key, due).unwrap();
                        let has = model.entry(key).or_default();
                        has.retain(|other| *other != due && (due.kind, other.kind) != (Kind::Expiry, Kind::Expiry));
                        has.push(due);
                        has.sort_unstable();
                    }
                    5 | 6 => {
                        let due = due(kind, ms, u32::from(kind) % 2);
                        let has = model.entry(key.clone()).or_default();
                        let was = has.len();
                        has.retain(|other| *other != due);
                        prop_assert_eq!(schedule.cancel(&key, due), has.len() < was);
                        if has.is_empty() {
                            model.remove(&key);
                        }
                    }
                    7 => {
                        schedule.forget(&key);
                        model.remove(&key);
                        removed.insert(key);
                    }
                    8 => {
                        let (back, then, written) = commits[index.index(commits.len())].clone();
                        prop_assert!(schedule.back_to(back, KEY_GROUPS).unwrap());
                        schedule.keep_undo(back, 1 << 20);
                        commits.retain(|(commit, ..)| *commit == back);
                        commits[0].2 = written;
                        log.truncate(written);
                        model = then;
                        // Only what came after it can be taken back from here on.
                        removed.clear();
                    }
                    _ => {
                        let commit = end(commits.last().unwrap().0.commit() + 1);
                        let body = b"state";
                        for key in std::mem::take(&mut removed) {
                            let group = key_group(hash(&key), KEY_GROUPS);
                            let what = match op {
                                9 if !model.contains_key(&key) => What::Removed,
                                10 => What::Plain(body),
                                _ => What::Changes(body),
                            };
                            let record = Record { group, key: &key, what };
                            record.write(&mut log);
                            schedule.write_beside(&record, KEY_GROUPS, |record| record.write(&mut log));
                        }
                        schedule.write_changes(KEY_GROUPS, |record| record.write(&mut log));
                        schedule.captured(commit);
                        commits.push((commit, model.clone(), log.len()));
                        prop_assert_eq!(&replayed(&log), &model);
                    }
                }
                prop_assert_eq!(&held(&schedule), &model);
                let all: BTreeSet<_> = model.iter().flat_map(|(key, has)| {
                    has.iter().map(|due| (due.ms, key.clone(), due.tag, due.kind))
                }).collect();
                for kind in [Kind::ProcessingTime, Kind::EventTime, Kind::Expiry] {
                    let wanted: Vec<_> = all.iter().filter(|due| due.3 == kind && due.0 <= 1)
                        .map(|(ms, key, tag, _)| (*ms, key.clone(), *tag)).collect();
                    let found: Vec<_> = schedule.due(kind, 1, 100)
                        .map(|(key, due)| (due.ms, key.to_vec(), due.tag)).collect();
                    prop_assert_eq!(&found, &wanted);
                    let first = all.iter().find(|due| due.3 == kind).map(|due| due.0);
                    prop_assert_eq!(schedule.first(kind), first);
                }
            }
        }

        #[test]
        fn any_cells_are_restored_or_refused_without_panic(body: Vec<u8>) {
            let mut engine = vec![0xc0, 7];
            for body in [&body[..], { engine.extend_from_slice(&body); &engine }] {
                let record = Record { group: 0, key: b"k", what: What::Changes(body) };
                let _ = (Schedule::has(&record), Schedule::default().restore(&record));
            }
        }
    }

    /// A plain state counts as rewritten when it changed, and a restore may begin there.
    #[test]
    fn what_is_due_is_written_again_with_every_whole_record_of_its_key() {
        let mut schedule = Schedule::default();
        schedule.set(b"k", due(0, 5, 1)).unwrap();
        schedule.write_changes(KEY_GROUPS, |_| ());
        schedule.captured(end(1));
        let mut log = Vec::new();
        for what in [What::Plain(b"state"), What::Whole(b"")] {
            log.clear();
            let record = Record { group: key_group(hash(b"k"), KEY_GROUPS), key: b"k", what };
            schedule.write_beside(&record, KEY_GROUPS, |record| record.write(&mut log));
            assert_eq!(replayed(&log), held(&schedule));
        }
        let record = Record { group: 0, key: b"k", what: What::Changes(b"") };
        schedule.write_beside(&record, KEY_GROUPS, |_| panic!("its changes let go of nothing"));
    }

    #[test]
    fn the_bytes_of_timers_are_frozen_and_in_the_order_of_time() {
        let mut body = Vec::new();
        cell(&due(1, 300, 7), true, &mut body);
        cell(&due(2, 300, 0), true, &mut body);
        let timer = [0xc0, 7, 13, 1, 0x80, 0, 0, 0, 0, 0, 1, 44, 0, 0, 0, 7, 0];
        let expiry = [0xc4, 7, 0, 8, 44, 1, 0, 0, 0, 0, 0, 0];
        assert_eq!(body, [&timer[..], &expiry].concat());
        let subkey = |ms| {
            let mut body = Vec::new();
            cell(&due(0, ms, 0), true, &mut body);
            body
        };
        assert!([i64::MIN, -5, 0, 7, i64::MAX].map(subkey).is_sorted());
    }

    #[test]
    fn a_key_has_so_many_timers_and_no_more() {
        let mut schedule = Schedule::default();
        for ms in 0..caps::TIMERS_PER_KEY_MAX {
            schedule.set(b"k", due(0, i64::try_from(ms).unwrap(), 0)).unwrap();
        }
        assert_eq!(schedule.set(b"k", due(0, -1, 0)), Err(TooManyTimers));
        schedule.set(b"k", due(0, 7, 0)).unwrap();
        schedule.set(b"other", due(0, -1, 0)).unwrap();
    }

    #[test]
    fn what_is_due_for_nothing_takes_no_memory() {
        assert_eq!(Schedule::default().memory_bytes(), 0);
    }
}
