//! Every limit of the log, each with its why.

/// The largest record: key and value together. A line of 64 MiB must fit; more is a typed error.
pub const RECORD_BYTES_MAX: usize = 64 << 20;

/// The largest entry: one record of the largest size and the entry's own header.
pub const ENTRY_BYTES_MAX: usize = RECORD_BYTES_MAX + (64 << 10);

/// A journal file in embedded mode: small enough to zero-fill in well under a second, large enough
/// that a switch of files is rare. An entry that does not fit gets a file of its own.
pub const JOURNAL_FILE_BYTES: u64 = 16 << 20;

/// The most bytes one journal batch gathers: past this a larger batch no longer raises throughput.
pub const JOURNAL_BATCH_BYTES_MAX: usize = 1 << 20;

/// Bytes handed to the journal and not yet synced, before adds wait. Two of the largest entries.
pub const JOURNAL_QUEUE_BYTES_MAX: usize = 2 * ENTRY_BYTES_MAX;

/// Bytes of entries held in memory before a checkpoint writes them to an extent.
pub const WRITE_CACHE_BYTES: usize = 32 << 20;

/// Bytes one ledger writer keeps unacknowledged before its appends wait.
pub const WRITER_IN_FLIGHT_BYTES_MAX: usize = 2 * ENTRY_BYTES_MAX;

/// Partitions of one stream: the ring has 65,536 places; beyond this a partition costs more than it
/// spreads.
pub const PARTITIONS_MAX: u32 = 1024;

/// A stream's, topology's or component's name: it becomes part of metadata keys and file texts.
pub const NAME_BYTES_MAX: usize = 255;

/// A producer's name: a canonical path must fit.
pub const PRODUCER_NAME_BYTES_MAX: usize = 4096;

/// What a producer may store beside its sequence.
pub const PRODUCER_NOTE_BYTES_MAX: usize = 256;

/// Producers one partition remembers; the one that appended longest ago is forgotten first.
pub const PRODUCERS_MAX: usize = 65_536;

/// Free space kept on the disk: enough to checkpoint and to seal, so that a full disk refuses
/// appends while everything acknowledged stays readable.
pub const DISK_RESERVE_BYTES: u64 = 64 << 20;
