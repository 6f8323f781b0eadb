//! The entries of a state ledger, written: what changed in a commit, or everything there is.
//!
//! ```text
//! "EGST" | version u16 | kind u8 (1 delta, 2 image) | flags u8 (1: last of its batch)
//! epoch u64 | part u32 | task u32 | tasks u32 | key groups u32 | schema u64 | component
//! records × { key group var | key length var | key | 0 for removed, else value length + 1 var | value }
//! crc32c of everything before u32
//! ```
//! Little-endian; `var` is LEB128; the component is a `u32` length and bytes; a value is `postcard`.
//! All entries of one commit are its *batch*: one epoch, parts counted from 0, the last one flagged.
//! A commit without changes has no entry; an image always has one.

use egret_schemas::Epoch;
use egret_schemas::bytes::Writer;
use postcard::ser_flavors::Flavor;

use super::key::Key;
use super::table::{Change, KeyedTable, State};
use crate::caps;
use crate::commit::record::seal;

pub(super) const MAGIC: &[u8; 4] = b"EGST";
pub(super) const VERSION: u16 = 1;
pub(super) const LAST: u8 = 1;

/// What a batch holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// What changed in the commit.
    Delta,
    /// Everything, as it was when the commit ended.
    Image,
}

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

/// A change that cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// Key and value are too large.
    #[error(
        "component `{component}`, key group {group}: a key and its state of {bytes} bytes are over the limit of {max}: keep less under one key"
    )]
    TooLarge {
        /// The component.
        component: String,
        /// The key group.
        group: u32,
        /// Their size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The value's own serialisation fails.
    #[error("component `{component}`, key group {group}: the state cannot be written: {why}")]
    Value {
        /// The component.
        component: String,
        /// The key group.
        group: u32,
        /// What serde said.
        why: String,
    },
}

/// The number of a schema: XXH3-64 of a text that changes when the meaning of the bytes does, such as
/// a type's name and a version.
pub fn schema_id(text: &str) -> u64 {
    egret_schemas::key::hash(text.as_bytes())
}

/// Ends a commit by writing what changed in it; `emit` gets each entry, in order.
///
/// # Errors
/// When a change cannot be written. Entries may have been emitted; the generation has to end.
pub fn write_delta<K: Key + ?Sized, S: State>(
    table: &mut KeyedTable<K, S>,
    head: &Head,
    emit: impl FnMut(Vec<u8>),
) -> Result<Written, EncodeError> {
    let mut batch = Batch::new(head, Kind::Delta, table.key_groups(), emit);
    table.drain_dirty(|change| batch.put(change))?;
    Ok(batch.finish())
}

/// Ends a commit by writing everything; `emit` gets each entry, in order.
///
/// # Errors
/// As [`write_delta`].
pub fn write_image<K: Key + ?Sized, S: State>(
    table: &mut KeyedTable<K, S>,
    head: &Head,
    emit: impl FnMut(Vec<u8>),
) -> Result<Written, EncodeError> {
    let mut batch = Batch::new(head, Kind::Image, table.key_groups(), emit);
    table.drain_image(|change| batch.put(change))?;
    Ok(batch.finish())
}

/// The batch being written: one entry in the making, sealed when it is large enough.
struct Batch<'a, F> {
    head: &'a Head,
    kind: Kind,
    key_groups: u32,
    emit: F,
    entry: Vec<u8>,
    /// Where the first record stands.
    body: usize,
    /// Key and value of one record.
    scratch: Vec<u8>,
    written: Written,
}

impl<'a, F: FnMut(Vec<u8>)> Batch<'a, F> {
    fn new(head: &'a Head, kind: Kind, key_groups: u32, emit: F) -> Batch<'a, F> {
        let name = head.component.len();
        assert!(name <= caps::NAME_BYTES_MAX, "a component's name has {name} bytes");
        let (scratch, written) = (Vec::new(), Written::default());
        let mut batch =
            Batch { head, kind, key_groups, emit, entry: Vec::new(), body: 0, scratch, written };
        batch.begin();
        batch
    }

    fn begin(&mut self) {
        let entry = &mut self.entry;
        entry.extend_from_slice(MAGIC);
        entry.put_u16(VERSION);
        entry.put_u8(match self.kind {
            Kind::Delta => 1,
            Kind::Image => 2,
        });
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

    fn put<K: Key + ?Sized, S: State>(
        &mut self,
        change: Change<'_, K, S>,
    ) -> Result<(), EncodeError> {
        if self.entry.len() >= caps::STATE_ENTRY_BYTES {
            self.seal(0);
            self.begin();
        }
        let (component, group) = (|| self.head.component.clone(), change.group);
        self.scratch.clear();
        change.key.encode(&mut self.scratch);
        let key = self.scratch.len();
        if let Some(state) = &change.state {
            postcard::serialize_with_flavor(&**state, Into(&mut self.scratch)).map_err(|why| {
                EncodeError::Value { component: component(), group, why: why.to_string() }
            })?;
        }
        let (bytes, max) = (self.scratch.len(), caps::STATE_RECORD_BYTES_MAX);
        if bytes > max {
            return Err(EncodeError::TooLarge { component: component(), group, bytes, max });
        }
        self.entry.put_var(u64::from(group));
        self.entry.put_var(key as u64);
        self.entry.extend_from_slice(&self.scratch[..key]);
        let value = change.state.is_some().then_some(&self.scratch[key..]);
        self.entry.put_var(value.map_or(0, |value| value.len() as u64 + 1));
        self.entry.extend_from_slice(value.unwrap_or_default());
        self.written.records += 1;
        Ok(())
    }

    fn seal(&mut self, flags: u8) {
        // The flags stand after magic, version and kind.
        self.entry[7] = flags;
        seal(&mut self.entry);
        self.written.entries += 1;
        self.written.bytes += self.entry.len() as u64;
        (self.emit)(std::mem::take(&mut self.entry));
    }

    fn finish(mut self) -> Written {
        if self.entry.len() > self.body || self.kind == Kind::Image {
            self.seal(LAST);
        }
        self.written
    }
}

/// Lets postcard append to a buffer that is used again.
struct Into<'a>(&'a mut Vec<u8>);

impl Flavor for Into<'_> {
    type Output = ();
    fn try_push(&mut self, byte: u8) -> postcard::Result<()> {
        self.0.push(byte);
        Ok(())
    }
    fn try_extend(&mut self, bytes: &[u8]) -> postcard::Result<()> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
    fn finalize(self) -> postcard::Result<()> {
        Ok(())
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
        let written = write_delta(&mut table, &head(), |entry| entries.push(entry)).unwrap();
        let hex: String = entries.concat().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, GOLDEN);
        let bytes = entries[0].len() as u64;
        assert_eq!(written, Written { entries: 1, records: 1, bytes });
    }

    const GOLDEN: &str = concat!(
        "4547535401000101ff2f000000100000000000000100000002000000001000000700000000000000",
        "05000000636f756e74ed1a05656772657403ac02cda91ebf",
    );

    #[test]
    fn a_commit_without_changes_has_no_entry_and_an_image_always_has_one() {
        let mut table = KeyedTable::<str, u64>::new(16);
        let none = write_delta(&mut table, &head(), |_| panic!("nothing changed")).unwrap();
        assert_eq!(none, Written::default());
        assert_eq!(write_image(&mut table, &head(), |_| ()).unwrap().entries, 1);
    }

    #[test]
    fn a_large_commit_is_cut_into_entries() {
        let mut table = KeyedTable::<u64, Vec<u8>>::new(16);
        for key in 0..10u64 {
            let slot = table.entry(key.hash64(), &key);
            *table.get_mut(slot).1 = vec![1; 1 << 20];
        }
        let mut sizes = Vec::new();
        let written = write_delta(&mut table, &head(), |entry| sizes.push(entry.len())).unwrap();
        assert_eq!((written.entries, written.records), (3, 10));
        assert!(sizes.iter().all(|&size| size < caps::STATE_ENTRY_BYTES + (2 << 20)));
    }

    #[test]
    fn a_state_over_the_limit_is_refused_with_component_and_group() {
        let mut table = KeyedTable::<u64, Vec<u8>>::new(1);
        let slot = table.entry(1u64.hash64(), &1);
        *table.get_mut(slot).1 = vec![0; caps::STATE_RECORD_BYTES_MAX];
        let error = write_delta(&mut table, &head(), |_| ()).unwrap_err();
        assert!(error.to_string().starts_with("component `count`, key group 0: a key and its"));
    }
}
