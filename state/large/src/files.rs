//! Bytes by key in an LSM tree: a buffer in memory, and files of which a thread makes fewer.
//!
//! The tree has no log of its own and needs none: what is in its buffers when a process ends is in the
//! changelog.

use std::fmt;
use std::sync::Arc;

use egret_state::keyed::Backing;
use egret_state::keyed::backing::{Each, Fault};
use lsm_tree::config::{BlockSizePolicy, PinningPolicy};
use lsm_tree::{
    AbstractTree, AnyTree, Cache, Config, DescriptorTable, Guard, SeqNo, SequenceNumberCounter,
    UserValue,
};

use crate::caps;
use crate::keeper::Keeper;
use crate::larger::fault;
use crate::place::{Directory, broken};

/// Bytes by key in an LSM tree, below a directory of one task; the files go with this.
pub struct Files {
    // The order counts: the thread ends, then the tree is closed, then its directory goes.
    keeper: Keeper,
    tree: AnyTree,
    directory: Directory,
    cache: Arc<Cache>,
    /// Numbers every change; later ones win.
    changes: SequenceNumberCounter,
    visible: SequenceNumberCounter,
    table_bytes_max: usize,
    buffer_bytes: u64,
}

impl Files {
    /// Makes an empty tree which takes about this much memory, the table above it included.
    pub(crate) fn open(directory: Directory, cache_bytes: usize) -> Result<Files, Box<Fault>> {
        let (changes, visible) =
            (SequenceNumberCounter::default(), SequenceNumberCounter::default());
        let blocks = (cache_bytes / caps::BLOCK_PARTS) as u64;
        let cache = Arc::new(Cache::with_capacity_bytes(blocks));
        let files = Arc::new(DescriptorTable::new(caps::OPEN_FILES));
        // Indexes and filters in pieces, read like blocks: whole ones of many files are more than the cache holds.
        let config = Config::new(directory.tree(), changes.clone(), visible.clone())
            .use_cache(Arc::clone(&cache))
            .use_descriptor_table(Some(files))
            .index_block_partitioning_policy(PinningPolicy::all(true))
            .filter_block_partitioning_policy(PinningPolicy::all(true))
            .data_block_size_policy(BlockSizePolicy::all(4 << 10));
        let tree = config.open().map_err(|why| failed(&directory, &why))?;
        let keeper =
            Keeper::start(&tree, &changes).map_err(|why| broken(directory.path(), &why))?;
        Ok(Files {
            keeper,
            tree,
            directory,
            cache,
            changes,
            visible,
            table_bytes_max: cache_bytes / caps::TABLE_PARTS,
            buffer_bytes: ((cache_bytes / caps::BUFFER_PARTS) as u64).max(caps::BUFFER_BYTES_MIN),
        })
    }

    /// Whether the thread still works.
    fn check(&self) -> Result<(), Box<Fault>> {
        match self.keeper.failure() {
            None => Ok(()),
            Some(why) => Err(failed(&self.directory, &why)),
        }
    }

    fn changed(&self, change: SeqNo, buffer_bytes: u64) -> Result<(), Box<Fault>> {
        self.visible.fetch_max(change + 1);
        if buffer_bytes < self.buffer_bytes {
            return Ok(());
        }
        if !self.keeper.wait_for_room(&self.tree) {
            self.check()?;
            let why = format!("the disk took nothing for {:?}: see to it", caps::PATIENCE);
            return Err(fault(self.directory.path().display(), why, true));
        }
        self.tree.rotate_memtable();
        self.keeper.wake();
        Ok(())
    }
}

impl Backing for Files {
    type Value = UserValue;

    fn place(&self) -> String {
        self.directory.path().display().to_string()
    }

    fn table_bytes_max(&self) -> usize {
        self.table_bytes_max
    }

    fn memory_bytes(&self) -> usize {
        let buffers = self.tree.active_memtable().size()
            + self.tree.sealed_memtable_count() as u64 * self.buffer_bytes;
        let pinned = self.tree.pinned_filter_size() + self.tree.pinned_block_index_size();
        usize::try_from(self.cache.size() + buffers).unwrap_or(usize::MAX).saturating_add(pinned)
    }

    fn get(&mut self, key: &[u8]) -> Result<Option<UserValue>, Box<Fault>> {
        self.check()?;
        self.tree.get(key, SeqNo::MAX).map_err(|why| failed(&self.directory, &why))
    }

    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<(), Box<Fault>> {
        self.check()?;
        if key.len() > caps::KEY_BYTES_MAX {
            let (bytes, max) = (key.len(), caps::KEY_BYTES_MAX);
            let why = format!(
                "a key of {bytes} bytes, where {max} are the most: make it shorter, or keep this component in memory"
            );
            return Err(fault(self.directory.path().display(), why, false));
        }
        let change = self.changes.next();
        let (_, buffer_bytes) = self.tree.insert(key, value, change);
        self.changed(change, buffer_bytes)
    }

    fn remove(&mut self, key: &[u8]) -> Result<(), Box<Fault>> {
        self.check()?;
        let change = self.changes.next();
        let (_, buffer_bytes) = self.tree.remove(key, change);
        self.changed(change, buffer_bytes)
    }

    fn scan(&mut self, from: &[u8], each: &mut Each<'_>) -> Result<(), Box<Fault>> {
        self.check()?;
        for found in self.tree.range(from.., SeqNo::MAX, None) {
            let (key, value) = found.into_inner().map_err(|why| failed(&self.directory, &why))?;
            if each(&key, &value).is_break() {
                break;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Files({})", self.directory.path().display())
    }
}

fn failed(directory: &Directory, why: &lsm_tree::Error) -> Box<Fault> {
    match why {
        lsm_tree::Error::Io(why) => broken(directory.path(), why),
        other => {
            let why =
                format!("what lies there is not what was put there ({other}): check the disk");
            fault(directory.path().display(), why, true)
        }
    }
}
