//! The entries of a state ledger, written: what changed in a commit, and some of what did not.
//!
//! ```text
//! "EGST" | version u16 | kind u8 (1) | flags u8 (1: last of its batch)
//! epoch u64 | part u32 | task u32 | tasks u32 | key groups u32 | schema u64 | component
//! records, see `record`
//! crc32c of everything before u32
//! ```
//! Little-endian; the component is a `u32` length and bytes. All entries of one commit are its *batch*: one
//! epoch, parts counted from 0, the last one flagged. A commit without records has no entry. The records of
//! changed keys come first, each key once but for what is [due](super::schedule) for it; those of a sweep follow.

use egret_schemas::Epoch;
use egret_schemas::bytes::Writer;

use super::backing::Backing;
use super::key::Key;
use super::record::Record;
use super::schedule::Schedule;
use super::state::State;
use super::table::{KeyedTable, WriteError};
use crate::caps;
use crate::commit::record::seal;

pub(crate) const MAGIC: &[u8; 4] = b"EGST";
pub(crate) const VERSION: u16 = 2;
pub(crate) const KIND: u8 = 1;
pub(crate) const LAST: u8 = 1;

/// What every entry of a batch says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The component.
    pub component: String,
    /// The task that writes.
    pub task: u32,
    /// How many tasks the component has.
    pub tasks: u32,
    /// The schema of keys and values: [`schema_id`] of a text the component gives.
    pub schema: u64,
    /// The commit: any epoch of it; written as its last.
    pub epoch: Epoch,
}

/// What was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// Entries.
    pub entries: u32,
    /// Records in them.
    pub records: u64,
    /// Bytes of all entries.
    pub bytes: u64,
}

/// A state that cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("component `{component}`, {why}{}", self.cure())]
pub struct EncodeError {
    /// The component.
    pub component: String,
    /// Which state, and why.
    pub why: WriteError,
}

impl EncodeError {
    fn cure(&self) -> String {
        let max = caps::STATE_RECORD_BYTES_MAX;
        match self.why {
            WriteError::TooLarge { .. } => {
                format!(", over the limit of {max}: keep less under one key")
            }
            WriteError::State { .. } | WriteError::Beneath(_) => String::new(),
        }
    }

    /// Whether beginning again from the last commit may help.
    pub fn may_pass(&self) -> bool {
        self.why.may_pass()
    }
}

/// The number of a schema: XXH3-64 of a text that changes when the meaning of the bytes does, such as
/// a type's name and a version.
pub fn schema_id(text: &str) -> u64 {
    egret_schemas::key::hash(text.as_bytes())
}

/// Ends a commit by writing what changed in it, and then keys that did not: as many bytes of those as
/// `sweep_bytes` answers to the bytes of what changed. `emit` gets each entry, in order.
///
/// What is due for a key stands after the key's own record, and where only that changed, alone.
///
/// # Errors
/// When a state cannot be written. Entries may have been emitted; the generation has to end.
pub fn write_commit<K: Key + ?Sized, S: State, B: Backing>(
    table: &mut KeyedTable<K, S, B>,
    schedule: &mut Schedule,
    head: &Head,
    sweep_bytes: impl FnOnce(u64) -> u64,
    emit: impl FnMut(Vec<u8>),
) -> Result<Written, EncodeError> {
    let groups = table.key_groups();
    let mut batch = Batch::new(head, groups, emit);
    let failed = |why| EncodeError { component: head.component.clone(), why };
    let mut put = |record: Record<'_>| {
        batch.put(&record);
        schedule.write_beside(&record, groups, |beside| batch.put(&beside));
    };
    table.drain(head.epoch, &mut put).map_err(failed)?;
    schedule.write_changes(groups, |record| batch.put(&record));
    schedule.captured(head.epoch);
    let sweep_bytes = sweep_bytes(batch.bytes());
    let mut put = |record: Record<'_>| {
        batch.put(&record);
        schedule.write_beside(&record, groups, |beside| batch.put(&beside));
    };
    table.sweep(sweep_bytes, &mut put).map_err(failed)?;
    table.evict().map_err(failed)?;
    Ok(batch.finish())
}

/// The batch being written: one entry in the making, sealed when it is large enough.
struct Batch<'a, F> {
    head: &'a Head,
    key_groups: u32,
    emit: F,
    entry: Vec<u8>,
    /// Where the first record stands.
    body: usize,
    written: Written,
}

impl<'a, F: FnMut(Vec<u8>)> Batch<'a, F> {
    fn new(head: &'a Head, key_groups: u32, emit: F) -> Batch<'a, F> {
        let name = head.component.len();
        assert!(name <= caps::NAME_BYTES_MAX, "a component's name has {name} bytes");
        let written = Written::default();
        let mut batch = Batch { head, key_groups, emit, entry: Vec::new(), body: 0, written };
        batch.begin();
        batch
    }

    fn begin(&mut self) {
        let entry = &mut self.entry;
        entry.extend_from_slice(MAGIC);
        entry.put_u16(VERSION);
        entry.put_u8(KIND);
        entry.put_u8(0);
        entry.put_u64(self.head.epoch.commit_end().0);
        entry.put_u32(self.written.entries);
        entry.put_u32(self.head.task);
        entry.put_u32(self.head.tasks);
        entry.put_u32(self.key_groups);
        entry.put_u64(self.head.schema);
        entry.put_bytes(self.head.component.as_bytes());
        self.body = entry.len();
    }

    /// Bytes of records so far, and of heads of entries that are full.
    fn bytes(&self) -> u64 {
        self.written.bytes + (self.entry.len() - self.body) as u64
    }

    fn put(&mut self, record: &Record<'_>) {
        if self.entry.len() >= caps::STATE_ENTRY_BYTES {
            self.seal(0);
            self.begin();
        }
        record.write(&mut self.entry);
        self.written.records += 1;
    }

    fn seal(&mut self, flags: u8) {
        // The flags stand after magic, version and kind.
        self.entry[7] = flags;
        seal(&mut self.entry);
        self.written.entries += 1;
        self.written.bytes += self.entry.len() as u64;
        // Where there is one full entry, more may follow: they need not grow.
        let next = if flags == LAST { 0 } else { caps::STATE_ENTRY_BYTES + (64 << 10) };
        (self.emit)(std::mem::replace(&mut self.entry, Vec::with_capacity(next)));
    }

    fn finish(mut self) -> Written {
        if self.entry.len() > self.body {
            self.seal(LAST);
        }
        self.written
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use egret_schemas::Generation;

    fn head() -> Head {
        let epoch = Epoch::new(Generation(1), 2, 0);
        Head { component: "count".into(), task: 1, tasks: 2, schema: 7, epoch }
    }

    #[test]
    fn the_bytes_of_an_entry_are_frozen() {
        let mut table = KeyedTable::<str, u64>::new(4096);
        let slot = table.entry("egret".hash64(), "egret");
        *table.get_mut(slot).1 = 300;
        let mut entries = Vec::new();
        let written = write_commit(
            &mut table,
            &mut Schedule::default(),
            &head(),
            |_| 0,
            |entry| entries.push(entry),
        );
        let hex: String = entries.concat().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, GOLDEN);
        let bytes = entries[0].len() as u64;
        assert_eq!(written, Ok(Written { entries: 1, records: 1, bytes }));
    }

    const GOLDEN: &str = concat!(
        "4547535402000101ff2f000000100000000000000100000002000000001000000700000000000000",
        "05000000636f756e74ed1a05656772657409ac02fcd5136f",
    );

    #[test]
    fn a_commit_without_changes_has_no_entry() {
        let mut table = KeyedTable::<str, u64>::new(16);
        let none = write_commit(
            &mut table,
            &mut Schedule::default(),
            &head(),
            |_| 0,
            |_| panic!("nothing changed"),
        );
        assert_eq!(none, Ok(Written::default()));
    }

    #[test]
    fn as_much_is_swept_as_was_asked_for() {
        let mut table = KeyedTable::<u64, [u64; 4]>::new(16);
        for key in 0..1000u64 {
            let slot = table.entry(key.hash64(), &key);
            *table.get_mut(slot).1 = [u64::MAX; 4];
        }
        write_commit(&mut table, &mut Schedule::default(), &head(), |_| 0, |_| ()).unwrap();
        let slot = table.entry(7u64.hash64(), &7);
        table.get_mut(slot).1[0] = 1;
        let mut asked = 0;
        let sweep = |changed| {
            asked = changed;
            480
        };
        let written =
            write_commit(&mut table, &mut Schedule::default(), &head(), sweep, |_| ()).unwrap();
        assert!((40..60).contains(&asked), "{asked} bytes changed");
        assert_eq!(written.records, 1 + 10, "of 48 bytes each, without the one that changed");
    }

    #[test]
    fn a_large_commit_is_cut_into_entries() {
        let mut table = KeyedTable::<u64, Vec<u8>>::new(16);
        for key in 0..10u64 {
            let slot = table.entry(key.hash64(), &key);
            *table.get_mut(slot).1 = vec![1; 1 << 20];
        }
        let mut sizes = Vec::new();
        let written = write_commit(
            &mut table,
            &mut Schedule::default(),
            &head(),
            |_| 0,
            |entry| sizes.push(entry.len()),
        );
        let written = written.unwrap();
        assert_eq!((written.entries, written.records), (10, 10));
        assert!(sizes.iter().all(|&size| size < caps::STATE_ENTRY_BYTES + (2 << 20)));
    }

    #[test]
    fn a_state_over_the_limit_is_refused_with_component_and_group() {
        let mut table = KeyedTable::<u64, Vec<u8>>::new(1);
        let slot = table.entry(1u64.hash64(), &1);
        *table.get_mut(slot).1 = vec![0; caps::STATE_RECORD_BYTES_MAX];
        let error =
            write_commit(&mut table, &mut Schedule::default(), &head(), |_| 0, |_| ()).unwrap_err();
        let said = error.to_string();
        assert!(said.starts_with("component `count`, key group 0: a key and its state"), "{said}");
        assert!(said.ends_with("keep less under one key"), "{said}");
    }
}
