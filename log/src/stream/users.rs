//! Who uses a stream: the components of topologies that read it and those that write it.
//!
//! ```text
//! /users/<name>  version u8 = 1
//!                consumers u32 × (user, partitions u32 × (partition u32, segment u64, entry u64, slot u32))
//!                producers u32 × user
//!                proposal | crc32c
//! ```
//! A user is topology text, component text. A *consumer* says the lowest position of each partition
//! that it may yet read again: a truncation stops there. A *producer* keeps state that belongs to what
//! it wrote: a stream of the same name made later is not what it wrote, and does not name it. While a
//! stream names anyone it is deleted only by force.
//!
//! Positions only move forward, so a truncation that was allowed stays so; back only to where
//! [named commits](super::sources) kept what comes after. Naming someone compares the
//! stream's record, and a deletion compares this one: no user is named in a stream that goes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use egret_schemas::bytes::{DecodeError, Reader, Writer};
use egret_schemas::{EntryId, Position, SegmentId};

use super::catalog::{seal, unseal};
use super::error::{CatalogError, UseError};
use super::partition::{CAS_TRIES, Catalog};
use crate::caps;
use crate::ledger::Proposal;
use crate::metadata::{Compare, Op, TxnOutcome, txn_or_conflict};

/// Of the record.
const VERSION: u8 = 1;

pub(super) fn users_key(stream: &str) -> String {
    format!("/users/{stream}")
}

/// A component of a topology; prints `topology/component`. Its [named commits](super::sources) are one more.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct User {
    /// The topology.
    pub topology: String,
    /// The component of it.
    pub component: String,
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let topology = &self.topology;
        match self.keeps_for() {
            Some(component) => {
                write!(f, "named commits of {topology}/{component} (`egret checkpoint delete`)")
            }
            None => write!(f, "{topology}/{}", self.component),
        }
    }
}

/// Everyone who uses one stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Users {
    /// Who reads it, and what of each partition is still needed.
    pub consumers: BTreeMap<User, BTreeMap<u32, Position>>,
    /// Who writes it and keeps state that belongs to what was written.
    pub producers: BTreeSet<User>,
}

impl Users {
    /// Whether there is nobody.
    pub fn is_empty(&self) -> bool {
        self.consumers.is_empty() && self.producers.is_empty()
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.consumers.len() + self.producers.len()
    }

    /// The consumer that needs the most of what lies before a position, and from where on.
    pub(super) fn needing(&self, partition: u32, before: Position) -> Option<(&User, Position)> {
        let of = |(user, needed)| Some((user, *BTreeMap::get(needed, &partition)?));
        let needing = self.consumers.iter().filter_map(of).filter(|(_, needed)| *needed < before);
        needing.min_by_key(|(_, needed)| *needed)
    }

    /// From where on a partition is needed by whoever needs most of it.
    pub(super) fn needed(&self, partition: u32) -> Option<Position> {
        self.consumers.values().filter_map(|needed| needed.get(&partition).copied()).min()
    }

    /// In words: `read by a/b, written by c/d`.
    pub(super) fn in_words(&self) -> String {
        let reads = self.consumers.keys().map(|user| format!("read by {user}"));
        let writes = self.producers.iter().map(|user| format!("written by {user}"));
        reads.chain(writes).collect::<Vec<_>>().join(", ")
    }
}

/// Who uses a stream, and what a transaction compares to find that it is still so.
pub(super) fn load(catalog: &Catalog, stream: &str) -> Result<(Users, Compare), CatalogError> {
    let key = users_key(stream);
    match catalog.ledgers.metadata().get(&key)? {
        None => Ok((Users::default(), Compare::Absent(key))),
        Some(held) => {
            let users = decode(&held.value);
            let users = users.map_err(|why| CatalogError::Decode { key: key.clone(), why })?;
            Ok((users, Compare::Revision(key, held.revision)))
        }
    }
}

/// Changes who uses a stream that is not being deleted. Doing the same again must change nothing.
pub(super) fn change(
    catalog: &Catalog,
    stream: &str,
    edit: impl Fn(&mut Users),
) -> Result<(), UseError> {
    for _ in 0..CAS_TRIES {
        let (_, revision) = catalog.stream_record(stream)?;
        let (before, unchanged) = load(catalog, stream)?;
        let mut users = before.clone();
        edit(&mut users);
        // Also how a change is found that was made though its reply was lost.
        if users == before {
            return Ok(());
        }
        let (count, max) = (users.count(), caps::STREAM_USERS_MAX);
        if count > max {
            return Err(UseError::TooMany { stream: stream.to_owned(), max });
        }
        let compare =
            [Compare::Revision(super::partition::stream_key(stream), revision), unchanged];
        let put = Op::Put(users_key(stream), encode(&users, catalog.ledgers.proposal()));
        let meta = &**catalog.ledgers.metadata();
        let done = txn_or_conflict(meta, &compare, &[put]).map_err(CatalogError::Meta)?;
        if done != TxnOutcome::Conflict {
            return Ok(());
        }
    }
    Err(CatalogError::Contended { key: users_key(stream) }.into())
}

pub(crate) fn encode(users: &Users, proposal: Proposal) -> Vec<u8> {
    let count = |n: usize| u32::try_from(n).expect("users and partitions are few");
    let put_user = |out: &mut Vec<u8>, user: &User| {
        out.put_bytes(user.topology.as_bytes());
        out.put_bytes(user.component.as_bytes());
    };
    let mut out = vec![VERSION];
    out.put_u32(count(users.consumers.len()));
    for (user, needed) in &users.consumers {
        put_user(&mut out, user);
        out.put_u32(count(needed.len()));
        for (partition, position) in needed {
            out.put_u32(*partition);
            out.put_u64(position.segment.0);
            out.put_u64(position.entry.0);
            out.put_u32(position.slot);
        }
    }
    out.put_u32(count(users.producers.len()));
    for user in &users.producers {
        put_user(&mut out, user);
    }
    seal(out, proposal)
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Users, DecodeError> {
    let user = |r: &mut Reader<'_>| {
        let (topology, component) = (r.text("topology")?, r.text("component")?);
        Ok(User { topology: topology.to_owned(), component: component.to_owned() })
    };
    let mut r = unseal(bytes, VERSION, "users record")?;
    let mut users = Users::default();
    for _ in 0..r.u32("consumers")? {
        let consumer = user(&mut r)?;
        let mut needed = BTreeMap::new();
        for _ in 0..r.u32("partitions")? {
            let partition = r.u32("partition")?;
            let segment = SegmentId(r.u64("segment")?);
            let (entry, slot) = (EntryId(r.u64("entry")?), r.u32("slot")?);
            needed.insert(partition, Position { segment, entry, slot });
        }
        users.consumers.insert(consumer, needed);
    }
    for _ in 0..r.u32("producers")? {
        users.producers.insert(user(&mut r)?);
    }
    super::catalog::proposal(&mut r)?;
    r.end("users record")?;
    Ok(users)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn users() -> Users {
        let user = |topology: &str| User { topology: topology.into(), component: "c".into() };
        let needed = [(0, "S1:2:3".parse().unwrap()), (7, "S4:0:0".parse().unwrap())];
        Users {
            consumers: [(user("reader"), needed.into())].into(),
            producers: [user("writer"), user("other")].into(),
        }
    }

    #[test]
    fn the_record_comes_back_and_its_bytes_are_frozen() {
        let bytes = encode(&users(), Proposal { process: 1, operation: 2 });
        assert_eq!(decode(&bytes), Ok(users()));
        let hash = format!("{:016x} of {}", egret_schemas::key::hash(&bytes), bytes.len());
        assert_eq!(hash, "08f78f3638742e1b of 133");
    }

    #[test]
    fn whoever_needs_most_is_named() {
        let mut users = users();
        let late = User { topology: "late".into(), component: "c".into() };
        users.consumers.insert(late.clone(), [(0, "S1:1:0".parse().unwrap())].into());
        let before = |position: &str| users.needing(0, position.parse().unwrap());
        assert_eq!(before("S1:2:0"), Some((&late, "S1:1:0".parse().unwrap())));
        assert_eq!(before("S1:1:0"), None);
        assert_eq!(users.needing(1, "S9:0:0".parse().unwrap()), None);
        assert_eq!(users.needed(0), Some("S1:1:0".parse().unwrap()));
        assert_eq!(users.needed(1), None);
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_fail_without_panic(mut bytes: Vec<u8>) {
            let crc = crc32c::crc32c(&bytes);
            bytes.put_u32(crc);
            let _ = decode(&bytes);
        }
    }
}
