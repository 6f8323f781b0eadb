//! One file on a faulty disk: what a process sees, what would survive, and what may or may not.
//!
//! A write changes `live` at once and `durable` only at the next sync. Until then the medium may have
//! taken any of its 512-byte sectors, in any order: after a power cut each sector holds the content it
//! had after some number of the writes since the last sync, and so does the length, independently.

use std::collections::{BTreeMap, BTreeSet};

use super::chance::Chance;

/// What a medium writes whole or not at all.
const SECTOR: usize = 512;

/// A write since the last sync.
#[derive(Debug, Clone)]
struct Unsynced {
    at: usize,
    bytes: Vec<u8>,
    /// The file's length after it.
    len: usize,
}

/// The content of one file.
#[derive(Debug, Clone, Default)]
pub(super) struct Medium {
    live: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Unsynced>,
    /// Sectors whose sync failed. As on Linux, the next sync does not try them again: they are durable
    /// only if written anew.
    lost: BTreeSet<usize>,
}

/// The sectors a range touches; none when it is empty.
fn sectors(at: usize, len: usize) -> std::ops::Range<usize> {
    let first = at / SECTOR;
    first..if len == 0 { first } else { (at + len).div_ceil(SECTOR) }
}

/// The part of a sector that lies in a file of this length.
fn span(sector: usize, len: usize) -> std::ops::Range<usize> {
    (sector * SECTOR).min(len)..((sector + 1) * SECTOR).min(len)
}

impl Medium {
    /// A file with this content, all of it durable.
    fn durable(content: Vec<u8>) -> Medium {
        Medium { live: content.clone(), durable: content, ..Medium::default() }
    }

    /// What a process reads.
    pub(super) fn live(&self) -> &[u8] {
        &self.live
    }

    /// Writes, growing the file if need be.
    pub(super) fn write(&mut self, bytes: &[u8], at: usize) {
        let end = at + bytes.len();
        if self.live.len() < end {
            self.live.resize(end, 0);
        }
        self.live[at..end].copy_from_slice(bytes);
        self.unsynced.push(Unsynced { at, bytes: bytes.to_vec(), len: self.live.len() });
    }

    /// Cuts or grows with zeros.
    pub(super) fn set_len(&mut self, len: usize) {
        // What is cut off must not come back when the file grows again: that is a write of zeros.
        let cut = self.live.len().saturating_sub(len);
        self.live.resize(len, 0);
        self.unsynced.push(Unsynced { at: len, bytes: vec![0; cut], len });
    }

    /// Makes what was written since the last sync durable.
    pub(super) fn sync(&mut self) {
        self.durable.resize(self.live.len(), 0);
        for write in std::mem::take(&mut self.unsynced) {
            for sector in sectors(write.at, write.bytes.len()) {
                let span = span(sector, self.live.len());
                self.durable[span.clone()].copy_from_slice(&self.live[span]);
                self.lost.remove(&sector);
            }
        }
    }

    /// A sync that failed: what it was to write stays visible and is never tried again.
    pub(super) fn sync_failed(&mut self) {
        for write in std::mem::take(&mut self.unsynced) {
            self.lost.extend(sectors(write.at, write.bytes.len()));
        }
    }

    /// Damages one byte, wherever it is kept. Whether it is there at all.
    pub(super) fn flip(&mut self, offset: usize, mask: u8) -> bool {
        if let Some(byte) = self.durable.get_mut(offset) {
            *byte ^= mask;
        }
        for write in &mut self.unsynced {
            if let Some(byte) = offset.checked_sub(write.at).and_then(|i| write.bytes.get_mut(i)) {
                *byte ^= mask;
            }
        }
        self.live.get_mut(offset).map(|byte| *byte ^= mask).is_some()
    }

    /// The file as found after a power cut.
    pub(super) fn after_power_cut(&self, chance: &mut Chance) -> Medium {
        let lens: Vec<usize> = [self.durable.len(), self.live.len()]
            .into_iter()
            .chain(self.unsynced.iter().map(|write| write.len))
            .collect();
        let longest = lens.iter().copied().max().unwrap_or(0);
        let mut found = self.durable.clone();
        found.resize(longest, 0);
        for &sector in &self.lost {
            if chance.half() {
                let span = span(sector, self.live.len());
                found[span.clone()].copy_from_slice(&self.live[span]);
            }
        }
        let mut versions: BTreeMap<usize, usize> = BTreeMap::new();
        for write in &self.unsynced {
            for sector in sectors(write.at, write.bytes.len()) {
                *versions.entry(sector).or_default() += 1;
            }
        }
        for left in versions.values_mut() {
            *left = chance.up_to(*left);
        }
        for write in &self.unsynced {
            for sector in sectors(write.at, write.bytes.len()) {
                let left = versions.get_mut(&sector).expect("every sector was counted above");
                if *left == 0 {
                    continue;
                }
                *left -= 1;
                let from = (sector * SECTOR).max(write.at);
                let to = ((sector + 1) * SECTOR).min(write.at + write.bytes.len());
                found[from..to].copy_from_slice(&write.bytes[from - write.at..to - write.at]);
            }
        }
        found.truncate(lens[chance.up_to(lens.len() - 1)]);
        Medium::durable(found)
    }
}
