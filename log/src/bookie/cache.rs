//! Entries that are durable in the journal and not yet in an extent: all reads of the tail.
//!
//! Two halves: the active one takes what becomes durable, the sealed one is being written to an extent.
//! Both are readable.

use std::collections::BTreeMap;
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

fn cost(entry: &CachedEntry) -> usize {
    ENTRY_OVERHEAD + entry.payload.len()
}

/// Both halves.
#[derive(Debug, Default)]
pub(crate) struct WriteCache {
    active: Half,
    sealed: Option<(Arc<Half>, Lsn)>,
}

impl WriteCache {
    /// Takes an entry that is durable.
    pub(crate) fn insert(&mut self, address: EntryAddress, entry: CachedEntry) {
        self.active.insert(address, entry);
    }

    /// The entry, if it is here.
    pub(crate) fn get(&self, address: EntryAddress) -> Option<&CachedEntry> {
        let sealed = || self.sealed.as_ref().and_then(|(half, _)| half.entries.get(&address));
        self.active.entries.get(&address).or_else(sealed)
    }

    /// The active half.
    pub(crate) fn active(&self) -> &Half {
        &self.active
    }

    /// Bytes of the active half.
    pub(crate) fn active_bytes(&self) -> usize {
        self.active.bytes
    }

    /// Bytes of both halves.
    pub(crate) fn bytes(&self) -> usize {
        self.active.bytes + self.sealed.as_ref().map_or(0, |(half, _)| half.bytes)
    }

    /// Entries in both halves.
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

    /// Forgets the sealed half: its entries are readable elsewhere.
    pub(crate) fn drop_sealed(&mut self) {
        self.sealed = None;
    }

    /// Forgets a deleted ledger's entries. A sealed half keeps them until it is written.
    pub(crate) fn forget(&mut self, ledger: LedgerId) {
        self.active.forget(ledger);
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
        cache.drop_sealed();
        assert!(cache.get(at(1, 0)).is_none() && cache.get(at(1, 1)).is_some());
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
