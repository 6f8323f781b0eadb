//! How a bookie is set up.

use crate::caps;

/// Sizes and limits of one bookie.
#[derive(Debug, Clone)]
pub struct BookieConfig {
    /// Bytes of one journal file.
    pub journal_file_bytes: u64,
    /// Files the journal may have before a checkpoint makes some free, however little they hold.
    pub journal_files_max: usize,
    /// Bytes of entries gathered in memory before a checkpoint writes them to an extent. Twice as much
    /// is held while one is written.
    pub write_cache_bytes: usize,
    /// Bytes handed in and not yet durable, before callers wait.
    pub queue_bytes_max: usize,
    /// Free space below which nothing is created.
    pub disk_reserve_bytes: u64,
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

impl Default for BookieConfig {
    fn default() -> BookieConfig {
        BookieConfig {
            journal_file_bytes: caps::JOURNAL_FILE_BYTES,
            journal_files_max: caps::JOURNAL_FILES_MAX,
            write_cache_bytes: caps::WRITE_CACHE_BYTES,
            queue_bytes_max: caps::JOURNAL_QUEUE_BYTES_MAX,
            disk_reserve_bytes: caps::DISK_RESERVE_BYTES,
            idle_mark_ms: 50,
            background: true,
            #[cfg(test)]
            acknowledge_before_sync: false,
        }
    }
}
