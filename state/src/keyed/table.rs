//! The table a stateful task works on: key → state, with what changed since the last commit.
//!
//! ```text
//! index: hash ─► slot number          slots: [hash | stamp | size | flags | key | state] …      dirty: slot numbers
//! ```
//! An access is one probe of the index ([`KeyedTable::entry`]); the slot number then reaches key and
//! state without another. A slot handed out mutably is put on the dirty list once per commit: its
//! stamp says whether it is there. What always holds:
//! * a slot is in the dirty list exactly when its stamp is the table's;
//! * a key removed stays in its slot until the commit is drained, so that its removal is written; a
//!   key that was never written needs no removal written either;
//! * slot numbers are good until the next drain.
//!
//! With [`undo`](KeyedTable::keep_undo), a slot that changes for the first time in a commit leaves behind what
//! takes the change back. A [*sweep*](KeyedTable::sweep) goes over the slots, round after round, and hands out the
//! keys that were not written in this commit anyway: rewritten a few at a time, they let go of old ledgers.
//!
//! Over a [backing](super::backing) the table holds the keys in use, and beneath them lie the others.

mod ahead;
mod attempt;
mod beneath;

use std::borrow::Borrow;
use std::fmt;
use std::ops::ControlFlow;

use egret_schemas::Epoch;
use egret_schemas::bytes::{DecodeError, Reader};
use egret_schemas::key::key_group;
use hashbrown::HashTable;

use super::backing::{Backing, Fault, InMemory};
use super::key::Key;
use super::record::{Record, What};
pub use super::state::State;
use super::state::{Extent, Form, StateError};
use super::undo::Undo;
use crate::caps;
use ahead::warm;
pub use ahead::{GUESSES, Guess};
pub use attempt::{Attempt, AttemptError};
use beneath::Beneath;

/// The number of a slot, good until the next drain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId(u32);

/// Above the stamp of a slot that never changed, and the one before is no slot's either.
const FIRST_STAMP: u32 = 2;

/// How far sweeps have come: the round, and the place in it. Orders by time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Swept {
    round: u64,
    place: u32,
}

impl Swept {
    /// Whether every key was written between `since` and now.
    pub fn is_round_after(self, since: Swept) -> bool {
        self >= Swept { round: since.round + 1, place: since.place }
    }
}

/// Keys and their states; see the [module](self).
pub struct KeyedTable<K: Key + ?Sized, S, B = InMemory> {
    key_groups: u32,
    index: HashTable<u32>,
    slots: Vec<Slot<K::Owned, S>>,
    free: Vec<u32>,
    dirty: Vec<u32>,
    /// Slots removed and not yet drained.
    removed: usize,
    stamp: u32,
    /// Bytes of all keys and states as they were written last.
    live_bytes: u64,
    swept: Swept,
    undo: Option<Undo>,
    /// Whether keys may have records of an older type.
    converted: bool,
    /// Key and state of one record.
    scratch: Vec<u8>,
    backing: B,
    beneath: Beneath,
}

struct Slot<O, S> {
    hash: u64,
    /// The table's stamp when it last changed; 0 for never.
    stamp: u32,
    size: Size,
    life: Life,
    written: Written,
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

/// What is known of a slot outside the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    /// Nothing: no record of its key was written.
    No,
    /// There may be a record.
    Yes,
    /// There may be, and what takes all changes of this commit back is kept already.
    AndUndone,
    /// There may be one, of an older type: changes cannot follow it.
    Otherwise,
}

/// Bytes of key and state, exactly below 32 KiB and in units of 2 KiB above, up to 64 MiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Size(u16);

impl Size {
    fn new(bytes: usize) -> Size {
        match u16::try_from(bytes) {
            Ok(exact) if exact < 0x8000 => Size(exact),
            _ => Size(0x8000 | u16::try_from(bytes.div_ceil(2048)).unwrap_or(0x7fff).min(0x7fff)),
        }
    }

    fn bytes(self) -> u64 {
        match self.0 {
            exact @ ..0x8000 => u64::from(exact),
            units => u64::from(units & 0x7fff) * 2048,
        }
    }
}

/// Why a key cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WriteError {
    /// Its state does not serialize.
    #[error("key group {group}: a state cannot be written: {why}")]
    State {
        /// The key's group.
        group: u32,
        /// What the encoder said.
        why: StateError,
    },
    /// Key and state are too large.
    #[error("key group {group}: a key and its state have {bytes} bytes")]
    TooLarge {
        /// The key's group.
        group: u32,
        /// How many.
        bytes: usize,
    },
    /// What lies beneath the table failed.
    #[error(transparent)]
    Beneath(#[from] Box<Fault>),
}

impl WriteError {
    /// Whether beginning again from the last commit may help.
    pub fn may_pass(&self) -> bool {
        matches!(self, WriteError::Beneath(fault) if fault.may_pass)
    }
}

/// Why a record cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// Key or state do not decode.
    #[error(transparent)]
    State(#[from] StateError),
    /// What lies beneath the table failed.
    #[error(transparent)]
    Beneath(#[from] Box<Fault>),
    /// A state cannot be written, to lie beneath.
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl From<DecodeError> for RestoreError {
    fn from(why: DecodeError) -> RestoreError {
        RestoreError::State(why.into())
    }
}

impl RestoreError {
    /// Whether beginning again from the last commit may help.
    pub fn may_pass(&self) -> bool {
        match self {
            RestoreError::State(_) => false,
            RestoreError::Beneath(fault) => fault.may_pass,
            RestoreError::Write(why) => why.may_pass(),
        }
    }
}

impl<K: Key + ?Sized, S: State> KeyedTable<K, S> {
    /// An empty table of a topology with this many key groups, all in memory.
    ///
    /// # Panics
    /// When `key_groups` is 0 or above 65,536.
    pub fn new(key_groups: u32) -> KeyedTable<K, S> {
        KeyedTable::over(InMemory, key_groups)
    }

    /// The slot of `key`, like [`reach`](Self::reach), which in memory never fails.
    #[inline]
    pub fn entry(&mut self, hash: u64, key: &K) -> SlotId {
        match self.reach(hash, key) {
            Ok(slot) => slot,
            Err(_) => unreachable!("nothing lies beneath"),
        }
    }

    /// The state of `key`, whose [`Key::hash64`] is `hash`, if it has any.
    pub fn find(&self, hash: u64, key: &K) -> Option<&S> {
        let slot = &self.slots[self.find_slot(hash, key)? as usize];
        (slot.life == Life::Live).then_some(&slot.state)
    }

    /// Every key with its key group and state, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &K, &S)> {
        let live = self.slots.iter().filter(|slot| slot.life == Life::Live);
        live.map(|slot| (key_group(slot.hash, self.key_groups), slot.key.borrow(), &slot.state))
    }

    /// Every key with its state, taken out, in no particular order.
    pub fn into_states(self) -> impl Iterator<Item = (K::Owned, S)> {
        let live = self.slots.into_iter().filter(|slot| slot.life == Life::Live);
        live.map(|slot| (slot.key, slot.state))
    }

    /// The keys of one key group; looks at every slot.
    pub fn iter_group(&self, group: u32) -> impl Iterator<Item = (&K, &S)> {
        self.iter().filter(move |(of, ..)| *of == group).map(|(_, key, state)| (key, state))
    }
}

impl<K: Key + ?Sized, S: State, B: Backing> KeyedTable<K, S, B> {
    /// An empty table over an empty backing, of a topology with this many key groups.
    ///
    /// # Panics
    /// When `key_groups` is 0 or above 65,536.
    pub fn over(backing: B, key_groups: u32) -> KeyedTable<K, S, B> {
        assert!((1..=caps::KEY_GROUPS_MAX).contains(&key_groups), "{key_groups} key groups");
        KeyedTable {
            key_groups,
            index: HashTable::new(),
            slots: Vec::new(),
            free: Vec::new(),
            dirty: Vec::new(),
            removed: 0,
            stamp: FIRST_STAMP,
            live_bytes: 0,
            swept: Swept::default(),
            undo: None,
            converted: false,
            scratch: Vec::new(),
            backing,
            beneath: Beneath::default(),
        }
    }

    /// The topology's number of key groups.
    pub fn key_groups(&self) -> u32 {
        self.key_groups
    }

    /// How many keys have state.
    pub fn len(&self) -> usize {
        self.index.len() - self.removed + self.beneath.keys()
    }

    /// Whether no key has state.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many keys changed since the last drain.
    pub fn dirty_len(&self) -> usize {
        self.dirty.len()
    }

    /// Bytes of all keys and states as they were last written or read: about what a restore would read if
    /// nothing were written twice.
    pub fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// How far sweeps have come.
    pub fn swept(&self) -> Swept {
        self.swept
    }

    /// From now on keeps what is needed to go back to the end of `base`'s commit, as which the table is, and
    /// to commits after it; at most about `bytes_max` bytes of it.
    ///
    /// # Panics
    /// When something is dirty.
    pub fn keep_undo(&mut self, base: Epoch, bytes_max: usize) {
        assert!(self.dirty.is_empty(), "what changed before cannot be taken back");
        self.undo = Some(Undo::new(base, bytes_max));
    }

    /// What is kept to go back, if it is.
    pub fn undo(&mut self) -> Option<&mut Undo> {
        self.undo.as_mut()
    }

    /// The slot of `key`, whose [`Key::hash64`] is `hash`: found, fetched from beneath, or made with an empty
    /// state. One probe. The key counts as changed only once [`get_mut`](Self::get_mut) is called.
    ///
    /// # Errors
    /// When what lies beneath cannot be read.
    #[inline]
    pub fn reach(&mut self, hash: u64, key: &K) -> Result<SlotId, Box<Fault>> {
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
                Ok(SlotId(slot))
            }
            None if B::HOLDS => self.fetch(hash, key),
            None => Ok(self.insert_new(hash, key.to_owned())),
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

    fn find_slot(&self, hash: u64, key: &K) -> Option<u32> {
        let same = |&slot: &u32| {
            let slot = &self.slots[slot as usize];
            slot.hash == hash && slot.key.borrow() == key
        };
        self.index.find(hash, same).copied()
    }

    /// Removes a slot's key: it has an empty state when it comes again.
    pub fn remove(&mut self, slot: SlotId) {
        self.touch(slot);
        self.keep_all_before(slot);
        let slot = &mut self.slots[slot.0 as usize];
        assert_eq!(slot.life, Life::Live, "a slot is good until the next drain or its removal");
        slot.life = Life::Removed;
        slot.state = S::default();
        self.removed += 1;
    }

    /// Hands out the keys changed since the last drain and not removed, in the order they first
    /// changed, from number `from` on until `each` breaks; they stay changed. Returns the number to go
    /// on from, [`dirty_len`](Self::dirty_len) at the end. For results that are due when a commit ends,
    /// before [`drain`](Self::drain).
    ///
    /// # Errors
    /// The first of `each`.
    pub fn for_each_dirty<E>(
        &mut self,
        from: usize,
        mut each: impl FnMut(&K, &mut S) -> Result<ControlFlow<()>, E>,
    ) -> Result<usize, E> {
        for (number, &slot) in self.dirty.iter().enumerate().skip(from) {
            if (number - from).is_multiple_of(GUESSES) {
                let next = &self.dirty[number..self.dirty.len().min(number + GUESSES)];
                warm::<K, S>(&self.slots, next);
            }
            let slot = &mut self.slots[slot as usize];
            if slot.life == Life::Live && each(slot.key.borrow(), &mut slot.state)?.is_break() {
                return Ok(number + 1);
            }
        }
        Ok(self.dirty.len())
    }

    /// Ends `commit`: hands out a record of every key changed since the last drain, in the order it first
    /// changed, as it is now; then nothing is dirty. Call it when the input frontier leaves a commit, before
    /// anything of the next commit is applied.
    ///
    /// # Errors
    /// When a state cannot be written; what changed is no longer known then.
    pub fn drain(
        &mut self,
        commit: Epoch,
        mut each: impl FnMut(Record<'_>),
    ) -> Result<(), WriteError> {
        let mut dirty = std::mem::take(&mut self.dirty);
        let mut result = Ok(());
        for numbers in dirty.chunks(GUESSES) {
            warm::<K, S>(&self.slots, numbers);
            for &number in numbers {
                if result.is_ok() {
                    result = self.drain_slot(number, &mut each);
                }
                result = result.and(self.release_if_removed(number).map_err(WriteError::from));
            }
        }
        dirty.clear();
        self.dirty = dirty;
        if let Some(undo) = &mut self.undo {
            undo.captured(commit);
        }
        self.end_commit();
        result
    }

    fn drain_slot(
        &mut self,
        number: u32,
        each: &mut impl FnMut(Record<'_>),
    ) -> Result<(), WriteError> {
        let KeyedTable { slots, scratch, undo, live_bytes, key_groups, .. } = &mut *self;
        let slot = &mut slots[number as usize];
        let group = key_group(slot.hash, *key_groups);
        *live_bytes -= slot.size.bytes();
        slot.size = Size::default();
        scratch.clear();
        slot.key.borrow().encode(scratch);
        let key = scratch.len();
        let before = std::mem::replace(&mut slot.written, Written::Yes);
        if slot.life == Life::Removed {
            if before != Written::No {
                each(Record { group, key: scratch, what: What::Removed });
            }
            return Ok(());
        }
        let extent = match before {
            Written::No => Extent::Whole,
            // What was removed and came back is another state.
            Written::AndUndone | Written::Otherwise => Extent::Whole,
            Written::Yes => Extent::Changes,
        };
        let mut reverse = Vec::new();
        let wants_undo = undo.is_some() && S::FORM == Form::Cells && before == Written::Yes;
        let kept = wants_undo.then_some(&mut reverse);
        let written = slot.state.write(extent, scratch, kept);
        written.map_err(|why| WriteError::State { group, why })?;
        if scratch.len() > caps::STATE_RECORD_BYTES_MAX {
            return Err(WriteError::TooLarge { group, bytes: scratch.len() });
        }
        let (key, body) = scratch.split_at(key);
        if let Some(undo) = undo.as_mut().filter(|_| wants_undo) {
            let what = What::Changes(&reverse);
            undo.record(|out| Record { group, key, what }.write(out));
        }
        each(Record { group, key, what: What::of(S::FORM, extent, body) });
        slot.size = Size::new(key.len() + slot.state.bytes().unwrap_or(body.len()));
        *live_bytes += slot.size.bytes();
        let key = key.len();
        if B::HOLDS {
            self.captured(number, key, extent)?;
        }
        Ok(())
    }

    /// Ends a commit nobody writes: nothing is dirty then.
    ///
    /// # Errors
    /// Only over a backing: when it fails, or a state cannot be written.
    pub fn settle(&mut self) -> Result<(), WriteError> {
        let mut dirty = std::mem::take(&mut self.dirty);
        let mut result = Ok(());
        for number in dirty.drain(..) {
            let slot = &mut self.slots[number as usize];
            if B::HOLDS && slot.life == Life::Live {
                result = result.and_then(|()| self.settled(number));
            } else if S::FORM == Form::Cells && slot.life == Life::Live {
                self.scratch.clear();
                // For what it forgets, not for what it says.
                slot.state.write(Extent::Changes, &mut self.scratch, None).unwrap_or_default();
            }
            result = result.and(self.release_if_removed(number).map_err(WriteError::from));
        }
        self.dirty = dirty;
        self.end_commit();
        result?;
        self.evict()
    }

    /// Hands out whole records of the next keys in the round that were not written whole by the drain just
    /// before, until they have about `bytes` bytes, or a round is over. Call it right after
    /// [`drain`](Self::drain), and [`evict`](Self::evict) after it.
    ///
    /// # Errors
    /// When a state cannot be written.
    pub fn sweep(
        &mut self,
        bytes: u64,
        mut each: impl FnMut(Record<'_>),
    ) -> Result<(), WriteError> {
        if B::HOLDS {
            return self.sweep_beneath(bytes, each);
        }
        let just_written = self.stamp.wrapping_sub(1);
        let mut left = bytes;
        for _ in 0..self.slots.len() {
            if left == 0 {
                return Ok(());
            }
            let KeyedTable { slots, scratch, swept, key_groups, live_bytes, .. } = self;
            let Some(slot) = slots.get_mut(swept.place as usize) else {
                *swept = Swept { round: swept.round + 1, place: 0 };
                return Ok(());
            };
            swept.place += 1;
            if slot.life != Life::Live || slot.written == Written::No {
                continue;
            }
            // Of cells only the changed ones were.
            if slot.stamp == just_written && S::FORM == Form::Plain {
                left = left.saturating_sub(slot.size.bytes());
                continue;
            }
            let group = key_group(slot.hash, *key_groups);
            scratch.clear();
            slot.key.borrow().encode(scratch);
            let key = scratch.len();
            let written = slot.state.write(Extent::Whole, scratch, None);
            written.map_err(|why| WriteError::State { group, why })?;
            if scratch.len() > caps::STATE_RECORD_BYTES_MAX {
                return Err(WriteError::TooLarge { group, bytes: scratch.len() });
            }
            let (key, body) = scratch.split_at(key);
            each(Record { group, key, what: What::of(S::FORM, Extent::Whole, body) });
            *live_bytes -= slot.size.bytes();
            slot.size = Size::new(scratch.len());
            *live_bytes += slot.size.bytes();
            left = left.saturating_sub(scratch.len() as u64);
        }
        if self.swept.place as usize >= self.slots.len() {
            self.swept = Swept { round: self.swept.round + 1, place: 0 };
        }
        Ok(())
    }

    /// Hands out whole records of all keys that have any, when nothing is dirty.
    ///
    /// # Errors
    /// When a state cannot be written, or what lies beneath fails.
    pub fn sweep_all(&mut self, mut each: impl FnMut(Record<'_>)) -> Result<(), WriteError> {
        // None of them was just written.
        self.end_commit();
        let since = self.swept;
        while !self.swept.is_round_after(since) {
            self.sweep(u64::MAX, &mut each)?;
        }
        Ok(())
    }

    /// Takes a record as it was written: nothing is dirty after it. For restoring.
    ///
    /// # Errors
    /// When key or state do not decode, the key's state may have taken some of it then; when what lies beneath
    /// fails.
    ///
    /// # Panics
    /// When something is dirty.
    pub fn restore(&mut self, hash: u64, record: &Record<'_>) -> Result<(), RestoreError> {
        self.restore_guessed(hash, record, Guess::NONE)
    }

    /// Like [`restore`](Self::restore), with a [guess](Self::guess) made earlier.
    ///
    /// # Errors
    /// Those of [`restore`](Self::restore).
    ///
    /// # Panics
    /// When something is dirty.
    pub fn restore_guessed(
        &mut self,
        hash: u64,
        record: &Record<'_>,
        guess: Guess,
    ) -> Result<(), RestoreError> {
        assert!(self.dirty.is_empty(), "restoring comes before changing");
        let key = K::decode(record.key)?;
        let key: &K = key.borrow();
        let state = match record.what {
            What::Removed => {
                return Ok(self.forget(hash, key)?);
            }
            What::Plain(body) if S::FORM == Form::Plain => Some(S::read(body)?),
            What::Whole(body) if S::FORM == Form::Cells => Some(S::read(body)?),
            What::Changes(_) if S::FORM == Form::Cells => None,
            _ => {
                let found = if S::FORM == Form::Cells { "one value" } else { "cells" };
                let why = format!("it was written as {found}, the code's is not");
                return Err(StateError(why).into());
            }
        };
        let SlotId(number) = self.reach_guessed(hash, key, guess)?;
        let written = self.written();
        let slot = &mut self.slots[number as usize];
        slot.written = written;
        match state {
            Some(state) => slot.state = state,
            None => slot.state.apply(record.what.body())?,
        }
        self.live_bytes -= slot.size.bytes();
        let state_bytes = slot.state.bytes().unwrap_or(record.what.body().len());
        slot.size = Size::new(record.key.len() + state_bytes);
        self.live_bytes += slot.size.bytes();
        if B::HOLDS {
            self.restored(number)?;
            self.evict()?;
        }
        Ok(())
    }

    /// Takes a state that was made of one of an older type, of which there is a record; nothing is dirty after it.
    /// From now on what there is of a key may be older than this type, and is written whole when it changes.
    ///
    /// # Errors
    /// When the key does not decode, the state cannot be written, or what lies beneath fails.
    ///
    /// # Panics
    /// When something is dirty.
    pub fn restore_converted(
        &mut self,
        hash: u64,
        key_bytes: &[u8],
        state: S,
    ) -> Result<(), RestoreError> {
        assert!(self.dirty.is_empty(), "restoring comes before changing");
        self.converted = true;
        let key = K::decode(key_bytes)?;
        let SlotId(number) = self.reach(hash, key.borrow())?;
        let KeyedTable { slots, scratch, live_bytes, key_groups, .. } = self;
        let slot = &mut slots[number as usize];
        (slot.state, slot.written) = (state, Written::Otherwise);
        // It counts as unchanged then, and its size is known.
        beneath::write_whole::<K, S>(slot, *key_groups, scratch)?;
        *live_bytes -= slot.size.bytes();
        slot.size = Size::new(scratch.len());
        *live_bytes += slot.size.bytes();
        if B::HOLDS {
            self.restored(number)?;
            self.evict()?;
        }
        Ok(())
    }

    /// What is known of a key that has a record, and nothing more.
    fn written(&self) -> Written {
        if self.converted { Written::Otherwise } else { Written::Yes }
    }

    fn forget(&mut self, hash: u64, key: &K) -> Result<(), Box<Fault>> {
        let Some(number) = self.find_slot(hash, key) else {
            return if B::HOLDS { self.forget_beneath(hash, key) } else { Ok(()) };
        };
        let slot = &mut self.slots[number as usize];
        slot.life = Life::Removed;
        slot.state = S::default();
        self.removed += 1;
        self.release_if_removed(number)
    }

    /// Goes back to the end of `commit`'s commit, in memory; whether that was possible. If not, the table is
    /// of no use any more.
    ///
    /// # Errors
    /// When a state does not decode that was encoded here; when what lies beneath fails.
    pub fn back_to(&mut self, commit: Epoch) -> Result<bool, RestoreError> {
        // A state of cells knows what changed in it since the last capture, and nobody else does.
        if S::FORM == Form::Cells {
            let dirty = self.dirty.clone();
            for number in dirty {
                let KeyedTable { slots, scratch, undo, key_groups, .. } = &mut *self;
                let slot = &mut slots[number as usize];
                if slot.life != Life::Live || slot.written != Written::Yes {
                    continue;
                }
                let group = key_group(slot.hash, *key_groups);
                scratch.clear();
                slot.key.borrow().encode(scratch);
                let (mut changes, mut reverse) = (Vec::new(), Vec::new());
                slot.state.write(Extent::Changes, &mut changes, Some(&mut reverse))?;
                if let Some(undo) = undo {
                    let what = What::Changes(&reverse);
                    undo.record(|out| Record { group, key: scratch, what }.write(out));
                }
            }
        }
        let mut dirty = std::mem::take(&mut self.dirty);
        dirty.drain(..).try_for_each(|number| self.release_if_removed(number))?;
        self.dirty = dirty;
        self.end_commit();
        let Some(batches) = self.undo.take().and_then(|undo| undo.back_to(commit)) else {
            return Ok(false);
        };
        for batch in batches {
            let mut reader = Reader::new(&batch);
            while reader.remaining() > 0 {
                let record = Record::read(&mut reader, self.key_groups)?;
                self.restore(egret_schemas::key::hash(record.key), &record)?;
            }
        }
        Ok(true)
    }

    /// Bytes of the table: its own arrays, what takes changes back, keys and states as long as they were
    /// when written last, which is about what those point to, and what the backing takes.
    pub fn memory_bytes(&self) -> usize {
        let numbers = self.free.capacity() + self.dirty.capacity();
        let live = self.live_bytes - self.beneath.bytes();
        let live = usize::try_from(live).unwrap_or(usize::MAX);
        self.index.allocation_size()
            + self.slots.capacity() * size_of::<Slot<K::Owned, S>>()
            + numbers * size_of::<u32>()
            + self.undo.as_ref().map_or(0, Undo::bytes)
            + live
            + self.beneath.memory_bytes()
            + self.backing.memory_bytes()
    }

    #[inline]
    fn touch(&mut self, slot: SlotId) {
        let stamp = &mut self.slots[slot.0 as usize].stamp;
        if *stamp != self.stamp {
            *stamp = self.stamp;
            self.dirty.push(slot.0);
            if self.undo.is_some() {
                self.keep_before(slot);
            }
        }
    }

    /// A slot changes for the first time in this commit.
    fn keep_before(&mut self, slot: SlotId) {
        let written = self.slots[slot.0 as usize].written;
        let whole = matches!(written, Written::No | Written::Otherwise);
        if whole || S::FORM == Form::Plain {
            self.keep_all_before(slot);
        }
    }

    /// Keeps what takes a slot back to the end of the commit before, in whatever way it changes after this.
    fn keep_all_before(&mut self, slot: SlotId) {
        let KeyedTable { slots, scratch, undo, key_groups, .. } = self;
        let slot = &mut slots[slot.0 as usize];
        let before = slot.written;
        if before == Written::AndUndone {
            return;
        }
        slot.written = if before == Written::No { Written::No } else { Written::AndUndone };
        let Some(undo) = undo else { return };
        let group = key_group(slot.hash, *key_groups);
        undo.record(|out| {
            scratch.clear();
            slot.key.borrow().encode(scratch);
            let key = scratch.len();
            if before == Written::No {
                return Record { group, key: scratch, what: What::Removed }.write(out);
            }
            // Allocates only where there is something to put in: for cells.
            let mut reverse = Vec::new();
            // What cannot be written ends the generation at its capture, and is not gone back to.
            let written = slot.state.write(Extent::Whole, scratch, Some(&mut reverse));
            if written.is_ok() {
                let (key, body) = scratch.split_at(key);
                let what = What::of(S::FORM, Extent::Whole, body);
                Record { group, key, what }.write(out);
                if S::FORM == Form::Cells {
                    let what = What::Changes(&reverse);
                    Record { group, key, what }.write(out);
                }
            }
        });
    }

    #[cold]
    fn insert_new(&mut self, hash: u64, key: K::Owned) -> SlotId {
        let new = Slot {
            hash,
            stamp: 0,
            size: Size::default(),
            life: Life::Live,
            written: Written::No,
            key,
            state: S::default(),
        };
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
        if B::HOLDS {
            self.beneath.nothing(number);
        }
        SlotId(number)
    }

    fn release_if_removed(&mut self, number: u32) -> Result<(), Box<Fault>> {
        if self.slots[number as usize].life != Life::Removed {
            return Ok(());
        }
        self.removed -= 1;
        self.live_bytes -= self.release(number).bytes();
        if B::HOLDS { self.remove_beneath(number) } else { Ok(()) }
    }

    /// Makes a slot free; what its size was.
    fn release(&mut self, number: u32) -> Size {
        let slot = &mut self.slots[number as usize];
        slot.life = Life::Free;
        match self.index.find_entry(slot.hash, |&other| other == number) {
            Ok(entry) => drop(entry.remove()),
            Err(_) => unreachable!("a key is in the index until its slot is released"),
        }
        self.free.push(number);
        std::mem::take(&mut slot.size)
    }

    /// Nothing is dirty; a new stamp, and memory back if most of it is unused.
    fn end_commit(&mut self) {
        assert!(self.dirty.is_empty() && self.removed == 0, "a drain takes all");
        match self.stamp.checked_add(1) {
            Some(stamp) => self.stamp = stamp,
            None => {
                self.slots.iter_mut().for_each(|slot| slot.stamp = 0);
                self.stamp = FIRST_STAMP;
            }
        }
        self.compact_if_worth();
    }

    fn compact_if_worth(&mut self) {
        if self.free.len() > caps::COMPACT_SLOTS_MIN && self.free.len() * 2 > self.slots.len() {
            self.compact();
        }
    }

    #[cold]
    fn compact(&mut self) {
        // The order stays, so what a sweep has passed it has still passed.
        if B::HOLDS {
            let live: Vec<bool> = self.slots.iter().map(|slot| slot.life == Life::Live).collect();
            self.beneath.compact(&live);
        } else {
            let passed = &self.slots[..self.slots.len().min(self.swept.place as usize)];
            let passed = passed.iter().filter(|slot| slot.life == Life::Live).count();
            self.swept.place = u32::try_from(passed).expect("not more than there were");
        }
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

impl<K: Key + ?Sized, S, B> fmt::Debug for KeyedTable<K, S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyedTable")
            .field("keys", &(self.index.len() - self.removed))
            .field("beneath", &self.beneath.keys())
            .field("dirty", &self.dirty.len())
            .field("slots", &self.slots.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use egret_schemas::Generation;
    use std::collections::BTreeSet;

    type Table = KeyedTable<str, u64>;

    fn entry(table: &mut Table, key: &str) -> SlotId {
        table.entry(key.hash64(), key)
    }

    fn end(commit: u32) -> Epoch {
        Epoch::new(Generation(1), commit, 0)
    }

    fn said(record: &Record<'_>) -> (String, Option<u64>) {
        let state = match record.what {
            What::Removed => None,
            What::Plain(body) => Some(u64::read(body).unwrap()),
            other => panic!("a count is written as {other:?}"),
        };
        (String::from_utf8(record.key.to_vec()).unwrap(), state)
    }

    fn drained(table: &mut Table) -> Vec<(String, Option<u64>)> {
        let mut changes = Vec::new();
        table.drain(end(0), |record| changes.push(said(&record))).unwrap();
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
        assert_eq!((table.index.len(), table.live_bytes()), (0, 0));
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
        table.drain(end(0), |_| ()).unwrap();
        let full = table.memory_bytes();
        for key in 0..19_000u64 {
            let slot = table.entry(key.hash64(), &key);
            table.remove(slot);
        }
        table.drain(end(1), |_| ()).unwrap();
        assert!(table.memory_bytes() < full / 4);
        assert_eq!(table.len(), 1000);
        assert!((19_000..20_000).all(|k: u64| table.find(k.hash64(), &k) == Some(&k)));
    }

    /// A round that was begun when a table was large must not count as over when the table shrank.
    #[test]
    fn a_sweep_misses_no_key_when_the_table_is_compacted_meanwhile() {
        let mut table = KeyedTable::<u64, u64>::new(16);
        for key in 0..20_000u64 {
            let slot = table.entry(key.hash64(), &key);
            *table.get_mut(slot).1 = key;
        }
        table.drain(end(0), |_| ()).unwrap();
        table.drain(end(1), |_| ()).unwrap();
        let mut swept = BTreeSet::new();
        let since = table.swept();
        let mut take = |table: &mut KeyedTable<u64, u64>, bytes| {
            let each = |record: Record<'_>| {
                swept.insert(record.key.to_vec());
            };
            table.sweep(bytes, each).unwrap();
        };
        take(&mut table, 10_000);
        for key in (0..20_000u64).filter(|key| key % 20 > 0) {
            let slot = table.entry(key.hash64(), &key);
            table.remove(slot);
        }
        table.drain(end(2), |_| ()).unwrap();
        while !table.swept().is_round_after(since) {
            take(&mut table, 1000);
        }
        assert!((0..20_000u64).step_by(20).all(|key| swept.contains(&key.to_le_bytes()[..])));
    }

    #[test]
    fn sizes_are_exact_when_small_and_never_too_small() {
        for bytes in [0, 1, 0x7fff, 0x8000, 100_000, caps::STATE_RECORD_BYTES_MAX - 2048] {
            let size = Size::new(bytes).bytes();
            assert!(size >= bytes as u64 && size - bytes as u64 <= 2048, "{bytes}: {size}");
        }
    }
}
