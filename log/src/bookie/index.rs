//! Where on the medium an entry is: the runs of all sealed extents, by ledger.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use egret_schemas::{EntryAddress, EntryId, LedgerId};

use super::damage::Damage;
use super::extent::{Extent, ExtentId, StoredEntry};

/// The extents a manifest lists and what they hold. Never changed: a checkpoint makes another.
#[derive(Debug, Default)]
pub(crate) struct ExtentIndex {
    extents: Vec<Arc<Extent>>,
    ledgers: BTreeMap<LedgerId, Vec<Span>>,
}

/// What one extent holds of one ledger lies from `first` to `last`, perhaps with gaps.
#[derive(Debug)]
struct Span {
    first: EntryId,
    last: EntryId,
    /// The highest `last` of this span and all before it.
    reach: EntryId,
    extent: Arc<Extent>,
}

/// An entry on the medium.
#[derive(Debug)]
pub(crate) struct Stored {
    extent: Arc<Extent>,
    run: usize,
    index: u32,
}

impl ExtentIndex {
    /// Indexes these extents, which rise by number.
    pub(crate) fn new(extents: Vec<Arc<Extent>>) -> ExtentIndex {
        let mut ledgers: BTreeMap<LedgerId, Vec<Span>> = BTreeMap::new();
        for extent in &extents {
            for run in extent.runs() {
                let spans = ledgers.entry(run.ledger).or_default();
                match spans.last_mut().filter(|span| span.extent.id() == extent.id()) {
                    Some(span) => span.last = run.last(),
                    None => spans.push(Span {
                        first: run.first,
                        last: run.last(),
                        reach: run.last(),
                        extent: Arc::clone(extent),
                    }),
                }
            }
        }
        for spans in ledgers.values_mut() {
            spans.sort_by_key(|span| span.first);
            let mut reach = EntryId(0);
            for span in spans {
                reach = reach.max(span.last);
                span.reach = reach;
            }
        }
        ExtentIndex { extents, ledgers }
    }

    /// The extents, rising by number.
    pub(crate) fn extents(&self) -> &[Arc<Extent>] {
        &self.extents
    }

    /// The extents with an entry of a ledger that is not `gone`.
    pub(crate) fn live(&self, gone: impl Fn(LedgerId) -> bool) -> Vec<Arc<Extent>> {
        let spans = self.ledgers.iter().filter(|(ledger, _)| !gone(**ledger));
        let live: BTreeSet<ExtentId> =
            spans.flat_map(|(_, spans)| spans).map(|span| span.extent.id()).collect();
        self.extents.iter().filter(|extent| live.contains(&extent.id())).cloned().collect()
    }

    /// The highest entry of each ledger.
    pub(crate) fn last_entries(&self) -> impl Iterator<Item = (LedgerId, EntryId)> {
        let last = |spans: &Vec<Span>| spans.last().map(|span| span.reach);
        self.ledgers.iter().filter_map(move |(ledger, spans)| Some((*ledger, last(spans)?)))
    }

    /// The ledgers with an entry in some extent, rising.
    pub(crate) fn ledgers(&self) -> impl Iterator<Item = LedgerId> {
        self.ledgers.keys().copied()
    }

    /// Where an entry is: where it was stored last, if a damaged copy was mended. `None` is proof that
    /// no extent has it.
    pub(crate) fn find(&self, address: EntryAddress) -> Option<Stored> {
        let EntryAddress { ledger, entry } = address;
        let spans = self.ledgers.get(&ledger)?;
        let before = spans.partition_point(|span| span.first <= entry);
        let mut newest: Option<Stored> = None;
        for span in spans[..before].iter().rev() {
            if span.reach < entry {
                break;
            }
            if span.last >= entry
                && newest.as_ref().is_none_or(|found| found.extent.id() < span.extent.id())
                && let Some((run, index)) = span.extent.find(ledger, entry)
            {
                newest = Some(Stored { extent: Arc::clone(&span.extent), run, index });
            }
        }
        newest
    }
}

impl Stored {
    /// Reads and checks the entry.
    pub(crate) fn read(&self) -> Result<StoredEntry, Damage> {
        let read = self.extent.read(self.run, self.index);
        read.map_err(|error| self.extent.damage_of(error))
    }

    /// Reads up to `count` entries from it on; see [`Extent::read_row`].
    pub(crate) fn read_row(&self, count: u32, bytes_max: u64) -> Result<Vec<StoredEntry>, Damage> {
        let read = self.extent.read_row(self.run, self.index, count, bytes_max);
        read.map_err(|error| self.extent.damage_of(error))
    }

    /// How many entries stand in a row from it on, itself included.
    pub(crate) fn in_row(&self) -> u32 {
        self.extent.runs()[self.run].count - self.index
    }

    /// About how many bytes an entry of its run takes.
    pub(crate) fn usual_bytes(&self) -> u64 {
        let run = &self.extent.runs()[self.run];
        run.data_len / u64::from(run.count)
    }

    /// The extent it is in.
    pub(crate) fn extent(&self) -> &Extent {
        &self.extent
    }

    /// Which entry it is.
    pub(crate) fn address(&self) -> EntryAddress {
        let run = &self.extent.runs()[self.run];
        let entry = EntryId(run.first.0 + u64::from(self.index));
        EntryAddress { ledger: run.ledger, entry }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use egret_schemas::{Incarnation, Term};

    use super::super::extent::{EntryToWrite, ExtentWriter, TableCache};
    use super::*;
    use crate::disk::{Disk, FaultyDisk};
    use crate::message::entry_crc;

    fn extent(disk: &Arc<dyn Disk>, id: u64, entries: &[(u64, u64)]) -> Arc<Extent> {
        let (dir, id, own) = (Path::new("/x"), ExtentId(id), Incarnation(1));
        let mut writer = ExtentWriter::create(disk, dir, id, own, 0).unwrap();
        for (ledger, entry) in entries {
            let (ledger, entry) = (LedgerId(*ledger), EntryId(*entry));
            let payload = id.0.to_le_bytes();
            let crc = entry_crc(ledger, entry, &payload);
            let entry = EntryToWrite { ledger, entry, term: Term(1), crc, payload: &payload };
            writer.append(&entry).unwrap();
        }
        writer.seal().unwrap();
        let tables = Arc::new(TableCache::new(1 << 10));
        Arc::new(Extent::open(&**disk, dir, id, own, tables).unwrap())
    }

    #[test]
    fn an_entry_is_found_wherever_its_extent_lies() {
        let disk: Arc<dyn Disk> = Arc::new(FaultyDisk::new());
        disk.create_dir(Path::new("/x")).unwrap();
        let index = ExtentIndex::new(vec![
            extent(&disk, 1, &[(1, 0), (1, 1), (1, 9), (2, 4)]),
            extent(&disk, 2, &[(1, 2), (1, 3)]),
            extent(&disk, 5, &[(1, 5), (3, 0)]),
        ]);
        let whose = |ledger, entry| {
            let address = EntryAddress { ledger: LedgerId(ledger), entry: EntryId(entry) };
            index.find(address).map(|stored| stored.extent.id().0)
        };
        for (entry, extent) in [(0, 1), (1, 1), (2, 2), (3, 2), (5, 5), (9, 1)] {
            assert_eq!(whose(1, entry), Some(extent), "entry {entry}");
        }
        for (ledger, entry) in [(1, 4), (1, 6), (1, 8), (1, 10), (2, 3), (2, 5), (4, 0)] {
            assert_eq!(whose(ledger, entry), None, "L{ledger}:{entry}");
        }
        let last: Vec<_> = index.last_entries().map(|(l, e)| (l.0, e.0)).collect();
        assert_eq!(last, [(1, 9), (2, 4), (3, 0)]);
        let live = index.live(|ledger| ledger == LedgerId(1));
        assert_eq!(live.iter().map(|extent| extent.id().0).collect::<Vec<_>>(), [1, 5]);
    }
}
