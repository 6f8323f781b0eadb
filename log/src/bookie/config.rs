//! How a bookie is set up.

use crate::caps;

/// Sizes and limits of one bookie.
#[derive(Debug, Clone)]
pub struct BookieConfig {
    /// Shards of a bookie that is formatted now, each with its own journal, extents and threads; one that
    /// exists keeps those it has. Caches are divided among them.
    pub shards: u16,
    /// Bytes of one journal file.
    pub journal_file_bytes: u64,
    /// Files the journal may have before a checkpoint makes some free, however little they hold.
    pub journal_files_max: usize,
    /// Bytes of entries gathered in memory before a checkpoint writes them to an extent. Up to six times as
    /// much is held: [`WRITE_CACHE_AHEAD`](crate::caps::WRITE_CACHE_AHEAD) times beside what is written, which may
    /// have come to that while the one before was slow.
    pub write_cache_bytes: usize,
    /// Bytes of the newest entries kept in memory beside, once an extent has them.
    pub tail_cache_bytes: usize,
    /// Threads that read the medium for requests that were sent.
    pub read_threads: usize,
    /// Of a read thread's time, what reads of the medium may take while appends come in, in percent; 100
    /// for no rest.
    pub catch_up_percent: u8,
    /// Bytes handed in and not yet durable, before callers wait.
    pub queue_bytes_max: usize,
    /// Free space below which nothing grows: for checkpoints, compaction, fences and deletions.
    pub disk_reserve_bytes: u64,
    /// Free space above the reserve that only copies by recovery and repair may use. Zero for a bookie
    /// alone, which gets none.
    pub copy_reserve_bytes: u64,
    /// Free space below which no ledger is created; what is open goes on.
    pub disk_low_bytes: u64,
    /// Free space from which ledgers are created again.
    pub disk_high_bytes: u64,
    /// The part of an extent that must be live, in percent, for it not to be compacted.
    pub compact_below_percent: u8,
    /// Bytes a second compaction copies; zero for no limit.
    pub compact_bytes_per_s: u64,
    /// Bytes a second the scrubber reads; zero for none.
    pub scrub_bytes_per_s: u64,
    /// How long the scrubber rests when it has read everything, in milliseconds.
    pub scrub_rest_ms: u64,
    /// How long the journal is idle before it marks its last batch as durable and writes down what
    /// readers may see, in milliseconds.
    pub idle_mark_ms: u64,
    /// Whether the bookie has threads of its own. Without, everything happens on the callers', in an
    /// order that depends on the requests alone: for simulation.
    pub background: bool,
    /// For the positive control of the crash tests: answers before it is durable.
    #[cfg(test)]
    pub(crate) acknowledge_before_sync: bool,
}

impl BookieConfig {
    /// What each of `shards` gets of it.
    pub(super) fn share(&self, shards: u16) -> BookieConfig {
        let of = |bytes: usize| bytes / usize::from(shards);
        BookieConfig {
            write_cache_bytes: of(self.write_cache_bytes),
            tail_cache_bytes: of(self.tail_cache_bytes),
            ..self.clone()
        }
    }
}

impl Default for BookieConfig {
    fn default() -> BookieConfig {
        BookieConfig {
            shards: 1,
            journal_file_bytes: caps::JOURNAL_FILE_BYTES,
            journal_files_max: caps::JOURNAL_FILES_MAX,
            write_cache_bytes: caps::WRITE_CACHE_BYTES,
            tail_cache_bytes: caps::TAIL_CACHE_BYTES,
            read_threads: 1,
            catch_up_percent: caps::CATCH_UP_PERCENT,
            queue_bytes_max: caps::JOURNAL_QUEUE_BYTES_MAX,
            disk_reserve_bytes: caps::DISK_RESERVE_BYTES,
            copy_reserve_bytes: 0,
            disk_low_bytes: caps::DISK_LOW_BYTES,
            disk_high_bytes: caps::DISK_HIGH_BYTES,
            compact_below_percent: caps::COMPACT_BELOW_PERCENT,
            compact_bytes_per_s: caps::COMPACTION_BYTES_PER_S,
            scrub_bytes_per_s: caps::SCRUB_BYTES_PER_S,
            scrub_rest_ms: caps::SCRUB_REST_MS,
            idle_mark_ms: 50,
            background: true,
            #[cfg(test)]
            acknowledge_before_sync: false,
        }
    }
}
