//! The commit record: the one append that makes a commit true.
//!
//! ```text
//! "EGCR" | version u16 | kind u8 | 0 u8 | generation u32 | last epoch u64 | fingerprint u64
//! spouts      count u32 × { name | count u32 × { split | position } }
//! state       count u32 × { name | tasks u32 | count u32 × { first group u32 | end group u32
//!                           | count u32 × { ledger u64 | last } } }
//! sinks       count u32 × { name | count u32 × { partition u32 | segment u64 | last } }
//! watermarks  count u32 × { name | i64 }
//! crc32c of everything before u32
//! ```
//! Little-endian; names, splits and positions are a `u32` length and bytes; `last` is the entry plus
//! one as a `u64`, 0 for none. Maps are written in key order and read back only in key order, so one
//! record has one encoding.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use egret_schemas::bytes::{DecodeError, Reader, Writer};
use egret_schemas::{EntryId, Epoch, Generation, LedgerId, SegmentId};

use super::report::SinkPosition;
use super::restore_set::{LedgerRange, RestoreSet, Slice};
use crate::caps;

const MAGIC: &[u8; 4] = b"EGCR";
const VERSION: u16 = 1;

/// Why a record was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RecordKind {
    /// The first of a topology: nothing read, nothing kept, nothing written.
    Genesis,
    /// A commit.
    Commit,
    /// A new generation's copy of the last record, at the head of its own commit ledger.
    Restated,
}

/// What is true as of a commit: where every source, every state and every output stands.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitRecord {
    /// Why it was written.
    pub kind: RecordKind,
    /// The generation that wrote it.
    pub generation: Generation,
    /// The last epoch covered: everything up to it is committed. A restating record keeps the epoch
    /// of the record it restates, of an older generation. One that restates a named commit keeps that
    /// commit's epoch, and the ends of output of the commit it came after.
    pub last: Epoch,
    /// Fingerprint of the graph that wrote it.
    pub fingerprint: u64,
    /// Component → split → position.
    pub spouts: BTreeMap<String, BTreeMap<Vec<u8>, Vec<u8>>>,
    /// Component → what to restore.
    pub state: BTreeMap<String, RestoreSet>,
    /// Component → partition → end of committed output.
    pub sinks: BTreeMap<String, BTreeMap<u32, SinkPosition>>,
    /// Component → its watermark in ms: spouts that say the event time of their tuples, and what they feed.
    pub watermarks: BTreeMap<String, i64>,
}

/// Bytes that are no commit record this build can read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The bytes are something else.
    #[error("this is not a {what}: the ledger holds something else")]
    Foreign {
        /// What was expected.
        what: &'static str,
    },
    /// Written by a build that knows a later layout.
    #[error(
        "a {what} of version {found}; this build reads up to {known}: run the build that wrote it, or a later one"
    )]
    Version {
        /// What was being read.
        what: &'static str,
        /// The version found.
        found: u16,
        /// The highest version known.
        known: u16,
    },
    /// The bytes changed since they were written.
    #[error("the {what}'s checksum does not match its bytes: the medium damaged it")]
    Checksum {
        /// What was being read.
        what: &'static str,
    },
    /// The checksum holds and the content does not.
    #[error("a {what} that does not decode: {why}")]
    Content {
        /// What was being read.
        what: &'static str,
        /// Where and why.
        why: DecodeError,
    },
}

impl CommitRecord {
    /// The record generation 1 writes before its first epoch: starting empty is right.
    pub fn genesis(generation: Generation, fingerprint: u64) -> CommitRecord {
        CommitRecord {
            kind: RecordKind::Genesis,
            generation,
            last: Epoch(0),
            fingerprint,
            spouts: BTreeMap::new(),
            state: BTreeMap::new(),
            sinks: BTreeMap::new(),
            watermarks: BTreeMap::new(),
        }
    }

    /// This record, as the first one of a new generation's commit ledger.
    ///
    /// # Panics
    /// When `generation` is not above this record's: every attempt is a new generation.
    pub fn restated(&self, generation: Generation, fingerprint: u64) -> CommitRecord {
        assert!(
            generation > self.generation,
            "{generation} restates a record of {}",
            self.generation
        );
        CommitRecord { kind: RecordKind::Restated, generation, fingerprint, ..self.clone() }
    }

    /// A named commit that is gone back to, as the first record of a generation: its state and its
    /// positions, after output that ends where `committed` has it. What readers saw stays.
    ///
    /// # Panics
    /// As [`restated`](CommitRecord::restated).
    pub fn restored_after(
        &self,
        committed: &CommitRecord,
        generation: Generation,
        fingerprint: u64,
    ) -> CommitRecord {
        let sinks = committed.sinks.clone();
        CommitRecord { sinks, ..self.restated(generation, fingerprint) }
    }

    /// The names of all components the record speaks of.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        let names = self.spouts.keys().chain(self.state.keys()).chain(self.sinks.keys());
        names.chain(self.watermarks.keys()).map(String::as_str)
    }

    /// Every state ledger the record needs, with its last entry that counts.
    pub fn state_ledgers(&self) -> BTreeMap<LedgerId, Option<EntryId>> {
        self.state.values().flat_map(RestoreSet::ledgers).collect()
    }

    /// The record's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256);
        out.extend_from_slice(MAGIC);
        out.put_u16(VERSION);
        out.put_u8(match self.kind {
            RecordKind::Genesis => 1,
            RecordKind::Commit => 2,
            RecordKind::Restated => 3,
        });
        out.put_u8(0);
        out.put_u32(self.generation.0);
        out.put_u64(self.last.0);
        out.put_u64(self.fingerprint);
        put_map(&mut out, &self.spouts, |out, splits| {
            put_count(out, splits.len());
            for (split, position) in splits {
                out.put_bytes(split);
                out.put_bytes(position);
            }
        });
        put_map(&mut out, &self.state, put_restore_set);
        put_map(&mut out, &self.sinks, |out, partitions| {
            put_count(out, partitions.len());
            for (&partition, &(segment, last)) in partitions {
                out.put_u32(partition);
                out.put_u64(segment.0);
                put_last(out, last);
            }
        });
        put_map(&mut out, &self.watermarks, |out, &watermark| out.put_i64(watermark));
        seal(&mut out);
        out
    }

    /// Reads a record back.
    pub fn decode(bytes: &[u8]) -> Result<CommitRecord, RecordError> {
        let what = "commit record";
        let body = unseal(bytes, what, MAGIC, VERSION)?;
        decode_body(body).map_err(|why| RecordError::Content { what, why })
    }
}

fn decode_body(body: &[u8]) -> Result<CommitRecord, DecodeError> {
    let mut r = Reader::new(body);
    let kind = match r.u8("kind")? {
        1 => RecordKind::Genesis,
        2 => RecordKind::Commit,
        3 => RecordKind::Restated,
        _ => return Err(r.wrong("kind", "unknown ordinal")),
    };
    if r.u8("reserved")? != 0 {
        return Err(r.wrong("reserved", "not zero"));
    }
    let generation = read_generation(&mut r)?;
    let last = Epoch(r.u64("last epoch")?);
    if last.generation() > generation {
        return Err(r.wrong("last epoch", "of a later generation than the record"));
    }
    let fingerprint = r.u64("fingerprint")?;
    let spouts = read_map(&mut r, |r| {
        let mut splits = BTreeMap::new();
        for _ in 0..r.u32("splits")? {
            let split = r.bytes("split")?.to_vec();
            let position = r.bytes("position")?.to_vec();
            insert_ascending(r, &mut splits, split, position)?;
        }
        Ok(splits)
    })?;
    let state = read_map(&mut r, read_restore_set)?;
    let sinks = read_map(&mut r, |r| {
        let mut partitions = BTreeMap::new();
        for _ in 0..r.u32("partitions")? {
            let partition = r.u32("partition")?;
            let end = (SegmentId(r.u64("segment")?), read_last(r)?);
            insert_ascending(r, &mut partitions, partition, end)?;
        }
        Ok(partitions)
    })?;
    let watermarks = read_map(&mut r, |r| r.i64("watermark"))?;
    r.end("commit record")?;
    Ok(CommitRecord { kind, generation, last, fingerprint, spouts, state, sinks, watermarks })
}

fn put_restore_set(out: &mut Vec<u8>, set: &RestoreSet) {
    out.put_u32(set.tasks);
    put_count(out, set.slices.len());
    for slice in &set.slices {
        out.put_u32(slice.first_group);
        out.put_u32(slice.end_group);
        put_count(out, slice.ledgers.len());
        for range in &slice.ledgers {
            out.put_u64(range.ledger.0);
            put_last(out, range.last);
        }
    }
}

fn read_restore_set(r: &mut Reader<'_>) -> Result<RestoreSet, DecodeError> {
    let tasks = r.u32("tasks")?;
    let mut slices = Vec::new();
    let mut from = 0;
    for _ in 0..r.u32("slices")? {
        let first_group = r.u32("first group")?;
        let end_group = r.u32("end group")?;
        if first_group < from || end_group <= first_group || end_group > caps::KEY_GROUPS_MAX {
            return Err(r.wrong("slice", "its key groups are empty or out of order"));
        }
        from = end_group;
        let mut ledgers = Vec::new();
        for _ in 0..r.u32("ledgers")? {
            ledgers.push(LedgerRange {
                ledger: LedgerId(r.u64("state ledger")?),
                last: read_last(r)?,
            });
        }
        slices.push(Slice { first_group, end_group, ledgers });
    }
    Ok(RestoreSet { tasks, slices })
}

/// Appends the checksum of everything so far.
pub(crate) fn seal(out: &mut Vec<u8>) {
    let crc = crc32c::crc32c(out);
    out.put_u32(crc);
}

/// Checks magic, checksum and version; returns what stands between them.
pub(crate) fn unseal<'a>(
    bytes: &'a [u8],
    what: &'static str,
    magic: &[u8; 4],
    known: u16,
) -> Result<&'a [u8], RecordError> {
    Ok(unseal_of(bytes, what, magic, known..=known)?.1)
}

/// The same of several versions, with the one found.
pub(crate) fn unseal_of<'a>(
    bytes: &'a [u8],
    what: &'static str,
    magic: &[u8; 4],
    known: RangeInclusive<u16>,
) -> Result<(u16, &'a [u8]), RecordError> {
    let Some(rest) = bytes.strip_prefix(magic).filter(|rest| rest.len() >= 6) else {
        return Err(RecordError::Foreign { what });
    };
    let (sealed, crc) = bytes.split_at(bytes.len() - 4);
    if crc32c::crc32c(sealed).to_le_bytes() != crc {
        return Err(RecordError::Checksum { what });
    }
    let found = u16::from_le_bytes([rest[0], rest[1]]);
    if !known.contains(&found) {
        return Err(RecordError::Version { what, found, known: *known.end() });
    }
    Ok((found, &sealed[6..]))
}

pub(crate) fn put_count(out: &mut Vec<u8>, count: usize) {
    out.put_u32(u32::try_from(count).expect("counts are bounded far below 2^32"));
}

pub(crate) fn put_last(out: &mut Vec<u8>, last: Option<EntryId>) {
    out.put_u64(EntryId::after(last).0);
}

pub(crate) fn read_last(r: &mut Reader<'_>) -> Result<Option<EntryId>, DecodeError> {
    Ok(EntryId(r.u64("last entry")?).before())
}

pub(crate) fn read_generation(r: &mut Reader<'_>) -> Result<Generation, DecodeError> {
    let generation = Generation(r.u32("generation")?);
    if generation > Generation::MAX || generation.0 == 0 {
        return Err(r.wrong("generation", "out of range"));
    }
    Ok(generation)
}

fn put_map<V>(out: &mut Vec<u8>, map: &BTreeMap<String, V>, put: impl Fn(&mut Vec<u8>, &V)) {
    put_count(out, map.len());
    for (name, value) in map {
        out.put_bytes(name.as_bytes());
        put(out, value);
    }
}

fn read_map<V>(
    r: &mut Reader<'_>,
    read: impl Fn(&mut Reader<'_>) -> Result<V, DecodeError>,
) -> Result<BTreeMap<String, V>, DecodeError> {
    let mut map = BTreeMap::new();
    for _ in 0..r.u32("components")? {
        let name = r.text("component")?.to_owned();
        let value = read(r)?;
        insert_ascending(r, &mut map, name, value)?;
    }
    Ok(map)
}

/// Inserts a key that must be above all before it: one record has one encoding.
pub(crate) fn insert_ascending<K: Ord, V>(
    r: &Reader<'_>,
    map: &mut BTreeMap<K, V>,
    key: K,
    value: V,
) -> Result<(), DecodeError> {
    if map.last_key_value().is_some_and(|(last, _)| *last >= key) {
        return Err(r.wrong("map", "its keys do not ascend"));
    }
    map.insert(key, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    fn last() -> impl Strategy<Value = Option<EntryId>> {
        proptest::option::of((0..u64::MAX).prop_map(EntryId))
    }

    fn restore_set() -> impl Strategy<Value = RestoreSet> {
        let ranges = vec((any::<u64>(), last()), 0..4);
        (any::<u32>(), vec((1u32..100, 0u32..10, ranges), 0..4)).prop_map(|(tasks, cuts)| {
            let mut from = 0;
            let slices = cuts.into_iter().map(|(groups, gap, ranges)| {
                let first_group = from + gap;
                from = first_group + groups;
                let range = |(id, last)| LedgerRange { ledger: LedgerId(id), last };
                let ledgers = ranges.into_iter().map(range).collect();
                Slice { first_group, end_group: from, ledgers }
            });
            RestoreSet { tasks, slices: slices.collect() }
        })
    }

    pub(crate) fn record() -> impl Strategy<Value = CommitRecord> {
        let bytes = || vec(any::<u8>(), 0..9);
        let spouts = btree_map(".{0,6}", btree_map(bytes(), bytes(), 0..4), 0..3);
        let sink = btree_map(any::<u32>(), (any::<u64>().prop_map(SegmentId), last()), 0..4);
        let kind = prop_oneof![
            Just(RecordKind::Genesis),
            Just(RecordKind::Commit),
            Just(RecordKind::Restated)
        ];
        (
            (kind, 1u32..1 << 20, any::<u32>(), any::<u64>()),
            spouts,
            btree_map(".{0,6}", restore_set(), 0..3),
            btree_map(".{0,6}", sink, 0..3),
            btree_map(".{0,6}", any::<i64>(), 0..3),
        )
            .prop_map(
                |((kind, g, commit, fingerprint), spouts, state, sinks, watermarks)| {
                    let generation = Generation(g);
                    CommitRecord {
                        kind,
                        generation,
                        last: Epoch::new(generation, commit, 0).commit_end(),
                        fingerprint,
                        spouts,
                        state,
                        sinks,
                        watermarks,
                    }
                },
            )
    }

    proptest! {
        #[test]
        fn a_record_comes_back(record in record()) {
            prop_assert_eq!(CommitRecord::decode(&record.encode()), Ok(record));
        }

        #[test]
        fn any_bytes_decode_or_fail_without_panic(bytes: Vec<u8>, version in 0u16..3) {
            let _ = CommitRecord::decode(&bytes);
            let _ = decode_body(&bytes);
            let mut sealed = MAGIC.to_vec();
            sealed.put_u16(version);
            sealed.extend_from_slice(&bytes);
            seal(&mut sealed);
            let _ = CommitRecord::decode(&sealed);
        }

        #[test]
        fn a_damaged_record_is_noticed(record in record(), at: prop::sample::Index, bit in 0u8..8) {
            let mut bytes = record.encode();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(CommitRecord::decode(&bytes).is_err());
        }

        #[test]
        fn a_mangled_body_under_a_good_checksum_is_canonical_or_refused(
            record in record(), at: prop::sample::Index, byte: u8,
        ) {
            let mut bytes = record.encode();
            bytes.truncate(bytes.len() - 4);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            seal(&mut bytes);
            if let Ok(back) = CommitRecord::decode(&bytes) {
                prop_assert_eq!(back.encode(), bytes);
            }
        }
    }

    fn golden_record() -> CommitRecord {
        let generation = Generation(2);
        let mut record = CommitRecord::genesis(generation, 0x0102_0304_0506_0708);
        record.kind = RecordKind::Commit;
        record.last = Epoch::new(generation, 3, 0).commit_end();
        record.spouts.entry("in".into()).or_default().insert(b"p0".to_vec(), b"17".to_vec());
        let ledgers = vec![LedgerRange { ledger: LedgerId(7), last: Some(EntryId(4)) }];
        let slices = vec![Slice { first_group: 0, end_group: 4096, ledgers }];
        record.state.insert("count".into(), RestoreSet { tasks: 1, slices });
        record.sinks.entry("out".into()).or_default().insert(1, (SegmentId(3), None));
        record.watermarks.insert("in".into(), -5);
        record
    }

    #[test]
    fn the_bytes_of_a_record_are_frozen() {
        let hex: String = golden_record().encode().iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(hex, GOLDEN);
    }

    const GOLDEN: &str = concat!(
        "454743520100020002000000ff3f00000020000008070605040302010100000002000000696e0100",
        "00000200000070300200000031370100000005000000636f756e7401000000010000000000000000",
        "100000010000000700000000000000050000000000000001000000030000006f7574010000000100",
        "0000030000000000000000000000000000000100000002000000696efbffffffffffffff557b971b",
    );

    #[test]
    fn a_later_version_is_told_from_damage() {
        let mut bytes = golden_record().encode();
        bytes.truncate(bytes.len() - 4);
        bytes[4] = 9;
        seal(&mut bytes);
        let error = CommitRecord::decode(&bytes).unwrap_err();
        assert_eq!(error, RecordError::Version { what: "commit record", found: 9, known: 1 });
    }

    #[test]
    #[should_panic(expected = "restates")]
    fn a_generation_never_restates_its_own_record() {
        let _ = golden_record().restated(Generation(2), 0);
    }
}
