//! A task's table in a process that does not run the task: brought from commit to commit by what its ledgers say.
//!
//! ```text
//! slices of a commit ──► way: stretches of ledgers behind what is held, or all of them, into a new table
//!                          │ entries, in order
//!                          ▼
//!                        table ── arrived: it is what a restore of that commit would make of it
//! ```
//! What always holds:
//! * entries are taken as far as a commit names them, and no further: whoever drives this reads a [`Way`] to its
//!   end, and a way ends where the commit says;
//! * a table that is on its way, or was left there by an error, is at no commit and [held by nothing](Following::held):
//!   the next way begins with a new table;
//! * what is held goes on only where its chain of ledgers is the beginning of the new one. So what
//!   another generation, or going back to a named commit, did away with is never part of it.

use std::collections::BTreeMap;

use egret_schemas::{EntryAddress, EntryId, Epoch, LedgerId};

use super::backing::Backing;
use super::key::Key;
use super::replay::{Replay, ReplayError, Schema};
use super::schedule::Schedule;
use super::state::State;
use super::table::KeyedTable;
use crate::commit::{RestoreSet, Slice};
use crate::view::{Stretch, Way};

/// See the [module](self).
#[derive(Debug)]
pub struct Following<K: Key + ?Sized, S, B> {
    table: KeyedTable<K, S, B>,
    schedule: Schedule,
    replay: Replay<K, S, B>,
    /// What the table was restored from; `None` while it is at no commit.
    held: Option<RestoreSet>,
    /// The entry that is next, while one is on a way.
    next: Option<(LedgerId, EntryId)>,
    /// Bytes of the entries taken, by ledger.
    bytes: BTreeMap<LedgerId, u64>,
}

/// A table that is at a commit, to be worked on from there.
#[derive(Debug)]
pub struct Arrived<K: Key + ?Sized, S, B> {
    /// Keys and states.
    pub table: KeyedTable<K, S, B>,
    /// What is due for them.
    pub schedule: Schedule,
    /// Bytes of the ledgers a restore would read.
    pub log_bytes: u64,
}

impl<K: Key + ?Sized, S: State, B: Backing> Following<K, S, B> {
    /// One that has read nothing, over an empty table.
    pub fn new(component: &str, schema: Schema, table: KeyedTable<K, S, B>) -> Following<K, S, B> {
        Following {
            table,
            schedule: Schedule::default(),
            replay: Replay::new(component, schema),
            held: None,
            next: None,
            bytes: BTreeMap::new(),
        }
    }

    /// What the table was restored from; `None` while it is at no commit.
    pub fn held(&self) -> Option<&RestoreSet> {
        self.held.as_ref()
    }

    /// Begins a way, which is [from here](Way::between), or anew and the first of this table.
    ///
    /// # Panics
    /// When it is of neither kind.
    pub fn begin(&mut self, way: &Way) {
        let begins = self.held.is_none() && self.table.is_empty() && self.bytes.is_empty();
        assert!(way.anew == self.held.is_none() && (!way.anew || begins), "a way from elsewhere");
        self.held = None;
    }

    /// Takes the next entry of a stretch.
    ///
    /// # Errors
    /// When it is not the next one, or cannot be taken: the table is of no use then.
    pub fn entry(
        &mut self,
        stretch: &Stretch,
        at: EntryAddress,
        bytes: &[u8],
    ) -> Result<(), ReplayError> {
        let expected = *self.next.get_or_insert((stretch.ledger, stretch.from));
        if (at.ledger, at.entry) != expected || at.entry > stretch.last {
            return Err(ReplayError::Order { at, why: "it is not the entry that was asked for" });
        }
        let Following { table, schedule, replay, .. } = self;
        replay.apply(at, bytes, |group| stretch.takes(group), table, schedule)?;
        *self.bytes.entry(at.ledger).or_default() += bytes.len() as u64;
        self.next = Some((at.ledger, at.entry.next()));
        Ok(())
    }

    /// A stretch was read to its end.
    ///
    /// # Errors
    /// When it was not, or ends inside a batch: the table is of no use then.
    pub fn end(&mut self, stretch: &Stretch) -> Result<(), ReplayError> {
        self.replay.end_ledger()?;
        match self.next.take() {
            Some((_, next)) if next == stretch.last.next() => Ok(()),
            _ => {
                let at = EntryAddress { ledger: stretch.ledger, entry: stretch.last };
                Err(ReplayError::Order { at, why: "the ledger ends before it" })
            }
        }
    }

    /// The whole way was read: the table is as these slices say.
    ///
    /// # Panics
    /// When it is in the midst of a stretch.
    pub fn arrive(&mut self, slices: &[Slice]) {
        assert!(self.next.is_none(), "a stretch is read to its end");
        let held = RestoreSet { tasks: 0, slices: slices.to_vec() };
        let needed = held.ledgers();
        self.bytes.retain(|ledger, _| needed.contains_key(ledger));
        self.held = Some(held);
    }

    /// Bytes of the ledgers a restore would read, as far as they were read here.
    pub fn log_bytes(&self) -> u64 {
        self.bytes.values().sum()
    }

    /// Bytes of memory.
    pub fn memory_bytes(&self) -> usize {
        self.table.memory_bytes() + self.schedule.memory_bytes()
    }

    /// Keys that have state.
    pub fn keys(&self) -> usize {
        self.table.len()
    }

    /// Hands the table over as it is at the end of `commit`, ready to go [back](KeyedTable::back_to) there;
    /// `None` when it is at no commit.
    pub fn into_arrived(mut self, commit: Epoch) -> Option<Arrived<K, S, B>> {
        self.held.as_ref()?;
        let log_bytes = self.log_bytes();
        self.table.keep_undo(commit, 0);
        self.schedule.keep_undo(commit, 0);
        Some(Arrived { table: self.table, schedule: self.schedule, log_bytes })
    }
}

#[cfg(test)]
#[path = "following_tests.rs"]
mod tests;
