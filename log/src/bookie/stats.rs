//! What a bookie tells about itself.

/// What the room on the disk lets a bookie take. Worse is greater.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Space {
    /// Everything.
    #[default]
    Roomy,
    /// No new ledgers.
    NoLedgers,
    /// Of entries only copies by recovery and repair.
    CopiesOnly,
}

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
    /// Bytes of entries in them.
    pub extent_bytes: u64,
    /// Those of them whose ledgers are not deleted.
    pub live_bytes: u64,
    /// Compactions finished since the start.
    pub compactions: u64,
    /// Bytes of entries they copied.
    pub compacted_bytes: u64,
    /// Places found where the medium does not hold what was written.
    pub damaged: u64,
    /// Bytes the scrubber read since the start.
    pub scrubbed_bytes: u64,
    /// How often it has read everything.
    pub scrub_turns: u64,
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
    /// Whether it takes nothing new, on an operator's word.
    pub read_only: bool,
    /// What the room on the disk lets it take, as last measured.
    pub space: Space,
    /// Entries read from memory, and their bytes.
    pub tail_reads: (u64, u64),
    /// Entries read from the medium, and their bytes.
    pub catch_up_reads: (u64, u64),
    /// Shards that write nothing more.
    pub poisoned_shards: usize,
    /// The first failed write, after which its shard writes nothing more.
    pub poisoned: Option<String>,
}

impl BookieStats {
    /// The figures of a bookie with these shards.
    pub(super) fn together(shards: impl Iterator<Item = BookieStats>) -> BookieStats {
        let several = |a: (u64, u64), b: (u64, u64)| (a.0 + b.0, a.1 + b.1);
        shards.fold(BookieStats::default(), |all, one| BookieStats {
            ledgers: all.ledgers + one.ledgers,
            limbo: all.limbo + one.limbo,
            limbo_below: all.limbo_below.max(one.limbo_below),
            cached_entries: all.cached_entries + one.cached_entries,
            cached_bytes: all.cached_bytes + one.cached_bytes,
            queued_bytes: all.queued_bytes + one.queued_bytes,
            extents: all.extents + one.extents,
            extent_bytes: all.extent_bytes + one.extent_bytes,
            live_bytes: all.live_bytes + one.live_bytes,
            compactions: all.compactions + one.compactions,
            compacted_bytes: all.compacted_bytes + one.compacted_bytes,
            damaged: all.damaged + one.damaged,
            scrubbed_bytes: all.scrubbed_bytes + one.scrubbed_bytes,
            scrub_turns: all.scrub_turns + one.scrub_turns,
            journal_files: all.journal_files + one.journal_files,
            durable_lsn: all.durable_lsn.max(one.durable_lsn),
            checkpoint_lsn: all.checkpoint_lsn.max(one.checkpoint_lsn),
            batches: all.batches + one.batches,
            records: all.records + one.records,
            checkpoints: all.checkpoints + one.checkpoints,
            tail_reads: several(all.tail_reads, one.tail_reads),
            catch_up_reads: several(all.catch_up_reads, one.catch_up_reads),
            read_only: all.read_only || one.read_only,
            space: all.space.max(one.space),
            poisoned_shards: all.poisoned_shards + one.poisoned_shards,
            poisoned: all.poisoned.or(one.poisoned),
        })
    }
}
