//! The offset tables of runs that were read lately, for all extents of a bookie together.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::ExtentId;

/// A run of an extent.
type Key = (ExtentId, u32);

/// Tables in memory, up to a number of bytes; the one used longest ago goes first.
#[derive(Debug)]
pub struct TableCache {
    bytes_max: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    tables: BTreeMap<Key, (Arc<[u32]>, u64)>,
    /// Which table was used at which tick: the front is the oldest.
    used: BTreeMap<u64, Key>,
    tick: u64,
    bytes: usize,
}

impl Kept {
    fn touch(&mut self, key: Key) -> Option<Arc<[u32]>> {
        let (table, used) = self.tables.get_mut(&key)?;
        self.used.remove(used);
        self.tick += 1;
        *used = self.tick;
        self.used.insert(self.tick, key);
        Some(Arc::clone(table))
    }

    fn forget(&mut self, key: Key) {
        if let Some((table, used)) = self.tables.remove(&key) {
            self.used.remove(&used);
            self.bytes -= size_of_val(&*table);
        }
    }
}

impl TableCache {
    /// An empty cache for at most `bytes_max` bytes of tables.
    pub fn new(bytes_max: usize) -> TableCache {
        TableCache { bytes_max, kept: Mutex::default() }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        // Nothing that holds the lock can panic between two changes that belong together.
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, extent: ExtentId, run: u32) -> Option<Arc<[u32]>> {
        self.kept().touch((extent, run))
    }

    pub(super) fn put(&self, extent: ExtentId, run: u32, table: Arc<[u32]>) {
        let bytes = size_of_val(&*table);
        if bytes > self.bytes_max {
            return;
        }
        let mut kept = self.kept();
        kept.forget((extent, run));
        while kept.bytes + bytes > self.bytes_max {
            let Some((_, &oldest)) = kept.used.first_key_value() else { break };
            kept.forget(oldest);
        }
        kept.tick += 1;
        let tick = kept.tick;
        kept.bytes += bytes;
        kept.used.insert(tick, (extent, run));
        kept.tables.insert((extent, run), (table, tick));
    }

    /// Bytes of tables kept now.
    pub fn bytes(&self) -> usize {
        self.kept().bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(value: u32) -> Arc<[u32]> {
        Arc::new([value; 10])
    }

    #[test]
    fn the_table_used_longest_ago_goes_first() {
        let cache = TableCache::new(80);
        let extent = ExtentId(1);
        cache.put(extent, 0, table(0));
        cache.put(extent, 1, table(1));
        assert_eq!(cache.get(extent, 0).unwrap()[0], 0);
        cache.put(extent, 2, table(2));
        assert_eq!(cache.bytes(), 80);
        assert!(cache.get(extent, 1).is_none());
        assert!(cache.get(extent, 0).is_some() && cache.get(extent, 2).is_some());
    }

    #[test]
    fn the_bound_holds_whatever_is_put() {
        let cache = TableCache::new(100);
        for i in 0..50u32 {
            cache.put(ExtentId(u64::from(i % 3)), i % 7, vec![i; (i % 30) as usize].into());
            assert!(cache.bytes() <= 100);
            let kept = cache.kept();
            assert_eq!(kept.tables.len(), kept.used.len());
            let bytes: usize = kept.tables.values().map(|(table, _)| table.len() * 4).sum();
            assert_eq!(bytes, kept.bytes);
        }
    }
}
