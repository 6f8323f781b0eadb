//! Entries that are durable in the journal and not yet in an extent: all reads of the tail.
//!
//! Two halves: the active one takes what becomes durable, the sealed one is being written to an extent.
//! Both are readable. Of what was written last the newest entries of each ledger stay, so that who
//! reads at the tail never waits for the disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use egret_schemas::{EntryAddress, EntryId, LedgerId, Term};

use super::journal::Lsn;

/// What an entry costs beside its bytes.
const ENTRY_OVERHEAD: usize = 128;

/// An entry as stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CachedEntry {
    pub(crate) term: Term,
    pub(crate) crc: u32,
    pub(crate) payload: Bytes,
}

/// Entries by address.
#[derive(Debug, Default)]
pub(crate) struct Half {
    pub(crate) entries: BTreeMap<EntryAddress, CachedEntry>,
    pub(crate) bytes: usize,
}

impl Half {
    fn insert(&mut self, address: EntryAddress, entry: CachedEntry) {
        self.bytes += cost(&entry);
        if let Some(replaced) = self.entries.insert(address, entry) {
            self.bytes -= cost(&replaced);
        }
    }

    fn forget(&mut self, ledger: LedgerId) {
        let from = EntryAddress { ledger, entry: EntryId(0) };
        let until = EntryAddress { ledger, entry: EntryId(u64::MAX) };
        let gone: Vec<_> = self.entries.range(from..=until).map(|(address, _)| *address).collect();
        for address in gone {
            if let Some(entry) = self.entries.remove(&address) {
                self.bytes -= cost(&entry);
            }
        }
    }
}

impl Half {
    /// The newest entries of each ledger, all together at most so many bytes.
    pub(crate) fn tail(&self, bytes_max: usize) -> Half {
        let ledgers: BTreeSet<LedgerId> = self.entries.keys().map(|at| at.ledger).collect();
        let share = bytes_max / ledgers.len().max(1);
        let mut tail = Half::default();
        let (mut of, mut left) = (None, 0);
        for (address, entry) in self.entries.iter().rev() {
            if of != Some(address.ledger) {
                (of, left) = (Some(address.ledger), share);
            }
            if cost(entry) <= left {
                left -= cost(entry);
                tail.insert(*address, entry.clone());
            } else {
                // What is before it would be behind a gap.
                left = 0;
            }
        }
        tail
    }
}

fn cost(entry: &CachedEntry) -> usize {
    ENTRY_OVERHEAD + entry.payload.len()
}

/// Both halves.
#[derive(Debug, Default)]
pub(crate) struct WriteCache {
    active: Half,
    sealed: Option<(Arc<Half>, Lsn)>,
    /// In extents too.
    tail: Half,
}

impl WriteCache {
    /// Takes an entry that is durable.
    pub(crate) fn insert(&mut self, address: EntryAddress, entry: CachedEntry) {
        self.active.insert(address, entry);
    }

    /// The entry, if it is here.
    pub(crate) fn get(&self, address: EntryAddress) -> Option<&CachedEntry> {
        let sealed = || self.sealed.as_ref().and_then(|(half, _)| half.entries.get(&address));
        let tail = || self.tail.entries.get(&address);
        self.active.entries.get(&address).or_else(sealed).or_else(tail)
    }

    /// The active half.
    pub(crate) fn active(&self) -> &Half {
        &self.active
    }

    /// Bytes of the active half.
    pub(crate) fn active_bytes(&self) -> usize {
        self.active.bytes
    }

    /// Bytes of both halves and the tail.
    pub(crate) fn bytes(&self) -> usize {
        let sealed = self.sealed.as_ref().map_or(0, |(half, _)| half.bytes);
        self.active.bytes + sealed + self.tail.bytes
    }

    /// Entries in both halves; those of the tail are in extents.
    pub(crate) fn len(&self) -> usize {
        self.active.entries.len() + self.sealed.as_ref().map_or(0, |(half, _)| half.entries.len())
    }

    /// Starts a new active half; the old one holds what became durable up to batch `lsn`. Does nothing
    /// while a sealed half is there.
    pub(crate) fn seal(&mut self, lsn: Lsn) {
        if self.sealed.is_none() {
            self.sealed = Some((Arc::new(std::mem::take(&mut self.active)), lsn));
        }
    }

    /// The sealed half and the last batch it covers.
    pub(crate) fn sealed(&self) -> Option<(Arc<Half>, Lsn)> {
        self.sealed.clone()
    }

    /// Forgets the sealed half but for its tail: its entries are readable elsewhere.
    pub(crate) fn drop_sealed(&mut self, tail: Half) {
        self.sealed = None;
        self.tail = tail;
    }

    /// Forgets a deleted ledger's entries. A sealed half keeps them until it is written.
    pub(crate) fn forget(&mut self, ledger: LedgerId) {
        self.active.forget(ledger);
        self.tail.forget(ledger);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(bytes: usize) -> CachedEntry {
        CachedEntry { term: Term(1), crc: 0, payload: vec![0; bytes].into() }
    }

    fn at(ledger: u64, entry: u64) -> EntryAddress {
        EntryAddress { ledger: LedgerId(ledger), entry: EntryId(entry) }
    }

    #[test]
    fn a_sealed_half_stays_readable_and_is_not_replaced() {
        let mut cache = WriteCache::default();
        cache.insert(at(1, 0), entry(10));
        cache.seal(5);
        cache.insert(at(1, 1), entry(20));
        cache.seal(6);
        assert_eq!(cache.sealed().map(|(half, lsn)| (half.entries.len(), lsn)), Some((1, 5)));
        assert!(cache.get(at(1, 0)).is_some() && cache.get(at(1, 1)).is_some());
        cache.drop_sealed(Half::default());
        assert!(cache.get(at(1, 0)).is_none() && cache.get(at(1, 1)).is_some());
    }

    #[test]
    fn a_tail_has_the_newest_of_each_ledger_without_gaps() {
        let mut half = Half::default();
        for (ledger, number, bytes) in [(1, 0, 10), (1, 1, 500), (1, 2, 10), (1, 3, 10), (2, 7, 9)]
        {
            half.insert(at(ledger, number), entry(bytes));
        }
        let room = 2 * (3 * ENTRY_OVERHEAD + 40);
        let tail = half.tail(room);
        let kept: Vec<_> = tail.entries.keys().map(|at| (at.ledger.0, at.entry.0)).collect();
        assert_eq!(kept, [(1, 2), (1, 3), (2, 7)]);
        assert!(tail.bytes <= room);
        assert!(half.tail(0).entries.is_empty());
    }

    #[test]
    fn bytes_follow_what_is_held() {
        let mut cache = WriteCache::default();
        cache.insert(at(1, 0), entry(10));
        cache.insert(at(2, 0), entry(30));
        cache.insert(at(1, 0), entry(20));
        assert_eq!(cache.active_bytes(), 2 * ENTRY_OVERHEAD + 50);
        cache.forget(LedgerId(1));
        assert_eq!(cache.active_bytes(), ENTRY_OVERHEAD + 30);
        cache.forget(LedgerId(2));
        assert_eq!((cache.active_bytes(), cache.len()), (0, 0));
    }
}
