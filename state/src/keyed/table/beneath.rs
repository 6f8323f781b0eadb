//! A table over a backing: what is fetched, what is put beneath, and what leaves memory.
//!
//! What holds between two commits: a live key that was ever written to a ledger is beneath, with its state or
//! an older one. So a sweep finds every key by going over what is beneath, and asks the table for those
//! that are newer there. What a slot knows of that is its [`Mark`].
//!
//! A new key is put beneath when its commit is captured; a state that changed only when it leaves memory, so that
//! a key that changes in every commit costs nothing beneath. Slots leave memory when a commit ends and the
//! table takes more than it may: of sixteen slots in a row the eight that changed longest ago.

use std::borrow::Borrow;
use std::fmt::Display;
use std::ops::ControlFlow;

use egret_schemas::key::key_group;

use super::super::backing::{Backing, Fault};
use super::super::key::Key;
use super::super::record::{Record, What};
use super::super::state::{Extent, Form, State, StateError};
use super::{KeyedTable, Life, RestoreError, Size, Slot, SlotId, Swept, WriteError};
use crate::caps;

/// Bytes of a hash before a key.
const HASH: usize = size_of::<u64>();
/// Bytes of a size before a state.
const SIZE: usize = size_of::<u16>();
/// Of so many slots in a row the older half leaves.
const WINDOW: usize = 16;

/// What lies beneath for the key of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    /// Nothing.
    Nothing,
    /// Nothing, or an older state than the slot's.
    Older,
    /// The slot's state, and its size.
    Same,
}

/// What a table knows of what lies beneath it.
#[derive(Debug, Default)]
pub(super) struct Beneath {
    /// Of each slot.
    marks: Vec<Mark>,
    /// Keys that are beneath and not in the table, and the sizes of them.
    keys: usize,
    bytes: u64,
    /// Whether something could not be fetched.
    failed: bool,
    /// The slot to look at next when something must leave.
    hand: usize,
    /// Key and state as they lie beneath.
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Beneath {
    pub(super) fn keys(&self) -> usize {
        self.keys
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.marks.capacity() + self.key.capacity() + self.value.capacity()
    }

    /// A slot has a new key, of which nothing is beneath.
    pub(super) fn nothing(&mut self, number: u32) {
        let number = number as usize;
        if self.marks.len() <= number {
            self.marks.resize(number + 1, Mark::Nothing);
        }
        self.marks[number] = Mark::Nothing;
    }

    /// Only these slots stay, in their order.
    pub(super) fn compact(&mut self, stays: &[bool]) {
        let mut stays = stays.iter();
        self.marks.retain(|_| *stays.next().expect("a mark for each slot"));
        self.marks.shrink_to_fit();
        self.hand = 0;
    }

    /// The key beneath of a key whose encoding is known.
    fn key_of(&mut self, hash: u64, encoded: &[u8]) -> &[u8] {
        self.key.clear();
        self.key.extend_from_slice(&highest_first(hash));
        self.key.extend_from_slice(encoded);
        &self.key
    }

    fn key_of_slot<K: Key + ?Sized, S>(&mut self, slot: &Slot<K::Owned, S>) -> &[u8] {
        self.key.clear();
        self.key.extend_from_slice(&highest_first(slot.hash));
        slot.key.borrow().encode(&mut self.key);
        &self.key
    }

    /// The value beneath of a state of this size.
    fn value_of(&mut self, size: Size, body: &[u8]) -> &[u8] {
        self.value.clear();
        self.value.extend_from_slice(&size.0.to_le_bytes());
        self.value.extend_from_slice(body);
        &self.value
    }
}

fn highest_first(hash: u64) -> [u8; HASH] {
    hash.swap_bytes().to_le_bytes()
}

/// Takes a key beneath apart: its hash and its encoding.
fn parted(key: &[u8]) -> Option<(u64, &[u8])> {
    let (hash, encoded) = key.split_first_chunk::<HASH>()?;
    Some((u64::from_le_bytes(*hash).swap_bytes(), encoded))
}

/// Takes a value beneath apart.
fn sized(value: &[u8]) -> Option<(Size, &[u8])> {
    let (size, body) = value.split_first_chunk::<SIZE>()?;
    Some((Size(u16::from_le_bytes(*size)), body))
}

/// What lies in `place` does not read. The changelog has it right, and what is beneath is made anew from that.
fn damaged(place: String, why: impl Display) -> Box<Fault> {
    let why = format!("what lies there is not what was put there ({why}): check the disk");
    Box::new(Fault { place, why, may_pass: true })
}

const CUT: &str = "it is cut short";

impl<K: Key + ?Sized, S: State, B: Backing> KeyedTable<K, S, B> {
    /// The backing.
    pub fn backing(&mut self) -> &mut B {
        &mut self.backing
    }

    /// Whether all that was asked for was fetched. If not, what lies beneath is better made anew.
    pub fn is_sound(&self) -> bool {
        !self.beneath.failed
    }

    /// A key that is not in the table: its state from beneath, or an empty one.
    #[cold]
    pub(super) fn fetch(&mut self, hash: u64, key: &K) -> Result<SlotId, Box<Fault>> {
        let fetched = self.fetch_it(hash, key);
        self.beneath.failed |= fetched.is_err();
        fetched
    }

    fn fetch_it(&mut self, hash: u64, key: &K) -> Result<SlotId, Box<Fault>> {
        self.scratch.clear();
        key.encode(&mut self.scratch);
        let found = self.backing.get(self.beneath.key_of(hash, &self.scratch))?;
        let Some(found) = found else { return Ok(self.insert_new(hash, key.to_owned())) };
        let damaged = |why: &dyn Display| damaged(self.backing.place(), why);
        let (size, body) = sized(found.as_ref()).ok_or_else(|| damaged(&CUT))?;
        let state = S::read(body).map_err(|why| damaged(&why))?;
        let SlotId(number) = self.insert_new(hash, key.to_owned());
        let written = self.written();
        let slot = &mut self.slots[number as usize];
        slot.state = state;
        slot.size = size;
        slot.written = written;
        // As if it had changed just before, so that it is not the first to leave again.
        slot.stamp = self.stamp - 1;
        self.beneath.marks[number as usize] = Mark::Same;
        self.beneath.keys -= 1;
        self.beneath.bytes -= size.bytes();
        Ok(SlotId(number))
    }

    /// A slot's changes were written: `scratch` has its key, of `key` bytes, and its body.
    pub(super) fn captured(
        &mut self,
        number: u32,
        key: usize,
        extent: Extent,
    ) -> Result<(), Box<Fault>> {
        let KeyedTable { slots, scratch, beneath, backing, .. } = self;
        let slot = &slots[number as usize];
        if beneath.marks[number as usize] != Mark::Nothing {
            beneath.marks[number as usize] = Mark::Older;
            return Ok(());
        }
        debug_assert!(
            S::FORM == Form::Plain || extent == Extent::Whole,
            "new ones are written whole"
        );
        let (key, body) = scratch.split_at(key);
        beneath.key_of(slot.hash, key);
        beneath.value_of(slot.size, body);
        backing.put(&beneath.key, &beneath.value)?;
        beneath.marks[number as usize] = Mark::Same;
        Ok(())
    }

    /// A slot changed in a commit that nobody writes: its size is not known otherwise.
    pub(super) fn settled(&mut self, number: u32) -> Result<(), WriteError> {
        let KeyedTable { slots, scratch, beneath, live_bytes, key_groups, .. } = self;
        let slot = &mut slots[number as usize];
        write_whole::<K, S>(slot, *key_groups, scratch)?;
        *live_bytes -= slot.size.bytes();
        slot.size = Size::new(scratch.len());
        *live_bytes += slot.size.bytes();
        beneath.marks[number as usize] = Mark::Older;
        Ok(())
    }

    /// A slot took a record: its key is beneath from now on.
    pub(super) fn restored(&mut self, number: u32) -> Result<(), WriteError> {
        let mark = &mut self.beneath.marks[number as usize];
        if *mark == Mark::Nothing {
            return self.put_beneath(number);
        }
        *mark = Mark::Older;
        Ok(())
    }

    /// Puts a slot's state beneath.
    fn put_beneath(&mut self, number: u32) -> Result<(), WriteError> {
        let KeyedTable { slots, scratch, beneath, backing, key_groups, .. } = self;
        let slot = &mut slots[number as usize];
        let key = write_whole::<K, S>(slot, *key_groups, scratch)?;
        let (key, body) = scratch.split_at(key);
        beneath.key_of(slot.hash, key);
        beneath.value_of(slot.size, body);
        backing.put(&beneath.key, &beneath.value)?;
        beneath.marks[number as usize] = Mark::Same;
        Ok(())
    }

    /// A slot was released because its key was removed.
    pub(super) fn remove_beneath(&mut self, number: u32) -> Result<(), Box<Fault>> {
        let KeyedTable { slots, beneath, backing, .. } = self;
        if beneath.marks[number as usize] == Mark::Nothing {
            return Ok(());
        }
        backing.remove(beneath.key_of_slot::<K, S>(&slots[number as usize]))
    }

    /// Removes a key that is not in the table, if it is beneath.
    pub(super) fn forget_beneath(&mut self, hash: u64, key: &K) -> Result<(), Box<Fault>> {
        self.scratch.clear();
        key.encode(&mut self.scratch);
        let KeyedTable { scratch, beneath, backing, live_bytes, .. } = self;
        let Some(found) = backing.get(beneath.key_of(hash, scratch))? else { return Ok(()) };
        let (size, _) = sized(found.as_ref()).ok_or_else(|| damaged(backing.place(), CUT))?;
        backing.remove(&beneath.key)?;
        beneath.keys -= 1;
        beneath.bytes -= size.bytes();
        *live_bytes -= size.bytes();
        Ok(())
    }

    /// A sweep in the order of hashes. Its place is the upper half of one: everything below it was handed out in
    /// this round, nothing from it on.
    pub(super) fn sweep_beneath(
        &mut self,
        bytes: u64,
        mut each: impl FnMut(Record<'_>),
    ) -> Result<(), WriteError> {
        if bytes == 0 && !self.is_empty() {
            return Ok(());
        }
        let just_written = self.stamp.wrapping_sub(1);
        let KeyedTable { slots, index, scratch, swept, key_groups, backing, .. } = self;
        let from = highest_first(u64::from(swept.place) << 32);
        let next_round = Swept { round: swept.round + 1, place: 0 };
        let (mut left, mut last) = (bytes, None);
        let (mut ends, mut result) = (next_round, Ok(()));
        let place = backing.place();
        let damaged = |why: &dyn Display| damaged(place.clone(), why);
        let mut one = |key: &[u8], value: &[u8]| -> Result<bool, WriteError> {
            let (hash, encoded) = parted(key).ok_or_else(|| damaged(&CUT))?;
            let place = u32::try_from(hash >> 32).expect("the upper half");
            if left == 0 && last != Some(place) {
                ends = Swept { round: swept.round, place };
                return Ok(false);
            }
            last = Some(place);
            let group = key_group(hash, *key_groups);
            // Few are in the table; only of those the key is decoded.
            let mut found = None;
            if index.find(hash, |&number| slots[number as usize].hash == hash).is_some() {
                let key = K::decode(encoded).map_err(|why| damaged(&why))?;
                let same = |&number: &u32| {
                    let slot = &slots[number as usize];
                    slot.hash == hash && slot.key.borrow() == key.borrow()
                };
                found = index.find(hash, same).copied();
            }
            let Some(number) = found else {
                let (_, body) = sized(value).ok_or_else(|| damaged(&CUT))?;
                let what = What::of(S::FORM, Extent::Whole, body);
                each(Record { group, key: encoded, what });
                left = left.saturating_sub((encoded.len() + body.len()) as u64);
                return Ok(true);
            };
            let slot = &mut slots[number as usize];
            // Of cells only the changed ones were.
            if slot.stamp == just_written && S::FORM == Form::Plain && slot.life == Life::Live {
                left = left.saturating_sub(slot.size.bytes());
                return Ok(true);
            }
            let key = write_whole::<K, S>(slot, *key_groups, scratch)?;
            let (key, body) = scratch.split_at(key);
            each(Record { group, key, what: What::of(S::FORM, Extent::Whole, body) });
            left = left.saturating_sub(scratch.len() as u64);
            Ok(true)
        };
        backing.scan(&from, &mut |key, value| match one(key, value) {
            Ok(true) => ControlFlow::Continue(()),
            Ok(false) => ControlFlow::Break(()),
            Err(why) => {
                result = Err(why);
                ControlFlow::Break(())
            }
        })?;
        *swept = ends;
        result
    }

    /// Lets keys leave memory until the table takes no more than it may.
    ///
    /// # Errors
    /// When the backing fails, or a state cannot be written.
    ///
    /// # Panics
    /// When something is dirty.
    pub fn evict(&mut self) -> Result<(), WriteError> {
        if !B::HOLDS || self.held_bytes() <= self.backing.table_bytes_max() as u64 {
            return Ok(());
        }
        assert!(self.dirty.is_empty(), "what changes in a commit stays until it ends");
        while self.held_bytes() > self.backing.table_bytes_max() as u64 {
            if !self.evict_some()? {
                break;
            }
        }
        self.compact_if_worth();
        Ok(())
    }

    /// About what the keys in the table take.
    fn held_bytes(&self) -> u64 {
        let each = size_of::<Slot<K::Owned, S>>() + size_of::<Mark>() + 2 * size_of::<u32>();
        (self.index.len() * each) as u64 + self.live_bytes - self.beneath.bytes
    }

    /// Lets some keys leave; whether there were any.
    fn evict_some(&mut self) -> Result<bool, WriteError> {
        let mut window = [(0u32, 0u32); WINDOW];
        let mut found = 0;
        for _ in 0..self.slots.len() {
            if found == WINDOW {
                break;
            }
            let at = self.beneath.hand % self.slots.len();
            self.beneath.hand = at + 1;
            let slot = &self.slots[at];
            if slot.life == Life::Live {
                let number = u32::try_from(at).expect("a slot's number");
                window[found] = (slot.stamp, number);
                found += 1;
            }
        }
        let window = &mut window[..found];
        window.sort_unstable();
        for &(_, number) in &window[..found.div_ceil(2)] {
            self.evict_slot(number)?;
        }
        Ok(found > 0)
    }

    fn evict_slot(&mut self, number: u32) -> Result<(), WriteError> {
        let stays = match self.beneath.marks[number as usize] {
            // It never changed: its state is that of a key that never came.
            Mark::Nothing => false,
            Mark::Older => {
                self.put_beneath(number)?;
                true
            }
            Mark::Same => true,
        };
        let size = self.release(number);
        self.slots[number as usize].state = S::default();
        if stays {
            self.beneath.keys += 1;
            self.beneath.bytes += size.bytes();
        }
        Ok(())
    }

    /// Shows every key with its key group and state, in no particular order; nothing is fetched for it.
    ///
    /// # Errors
    /// When the backing fails, or something beneath does not decode.
    pub fn visit(&mut self, mut each: impl FnMut(u32, &K, &S)) -> Result<(), RestoreError> {
        let KeyedTable { slots, index, key_groups, backing, .. } = self;
        for slot in slots.iter().filter(|slot| slot.life == Life::Live) {
            each(key_group(slot.hash, *key_groups), slot.key.borrow(), &slot.state);
        }
        if !B::HOLDS {
            return Ok(());
        }
        let place = backing.place();
        let damaged = |why: &dyn Display| damaged(place.clone(), why);
        let mut one = |key: &[u8], value: &[u8]| -> Result<(), RestoreError> {
            let (hash, encoded) = parted(key).ok_or_else(|| damaged(&CUT))?;
            let key = K::decode(encoded).map_err(|why| damaged(&why))?;
            let same = |&number: &u32| slots[number as usize].key.borrow() == key.borrow();
            if index.find(hash, same).is_none() {
                let (_, body) = sized(value).ok_or_else(|| damaged(&CUT))?;
                each(
                    key_group(hash, *key_groups),
                    key.borrow(),
                    &S::read(body).map_err(|why| damaged(&why))?,
                );
            }
            Ok(())
        };
        let mut result = Ok(());
        backing.scan(&[], &mut |key, value| {
            result = one(key, value);
            if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        result
    }
}

/// Writes a slot's key and whole state to `scratch`; how many bytes the key has.
pub(super) fn write_whole<K: Key + ?Sized, S: State>(
    slot: &mut Slot<K::Owned, S>,
    key_groups: u32,
    scratch: &mut Vec<u8>,
) -> Result<usize, WriteError> {
    let group = key_group(slot.hash, key_groups);
    scratch.clear();
    slot.key.borrow().encode(scratch);
    let key = scratch.len();
    let written = slot.state.write(Extent::Whole, scratch, None);
    written.map_err(|why: StateError| WriteError::State { group, why })?;
    if scratch.len() > caps::STATE_RECORD_BYTES_MAX {
        return Err(WriteError::TooLarge { group, bytes: scratch.len() });
    }
    Ok(key)
}
