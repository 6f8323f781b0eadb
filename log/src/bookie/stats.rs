//! What a bookie tells about itself.

/// A bookie's figures at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BookieStats {
    /// Ledgers that exist, without deleted ones.
    pub ledgers: usize,
    /// Ledgers of which something acknowledged may be lost here, until that is settled.
    pub limbo: usize,
    /// Below it a ledger that is not known may have been lost; zero when nothing was.
    pub limbo_below: u64,
    /// Entries held in memory.
    pub cached_entries: usize,
    /// Bytes of them.
    pub cached_bytes: usize,
    /// Bytes accepted and not yet durable.
    pub queued_bytes: usize,
    /// Sealed data files.
    pub extents: usize,
    /// Files of the journal.
    pub journal_files: usize,
    /// The last durable batch.
    pub durable_lsn: u64,
    /// The last batch whose entries are all in extents.
    pub checkpoint_lsn: u64,
    /// Batches synced since the start.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Checkpoints finished since the start.
    pub checkpoints: u64,
    /// The first failed write, after which nothing more is written.
    pub poisoned: Option<String>,
}
