//! Every limit of state and commits, each with its why.

/// Where a state entry is cut and the next begins: large enough that headers do not count, small
/// enough that a reader never holds much more than it needs.
pub const STATE_ENTRY_BYTES: usize = 4 << 20;

/// The largest key and value of one state record together. An entry holding it alone must still fit
/// the log's largest entry with its header.
pub const STATE_RECORD_BYTES_MAX: usize = 64 << 20;

/// A state log shorter than this is never rewritten: the image would cost more than the replay.
pub const IMAGE_SLACK_BYTES: u64 = 4 << 20;

/// Ledgers one restore chain may grow to before an image is due: each restart adds one, however
/// little is written to it, and each costs a recovery and an open.
pub const CHAIN_LEDGERS_MAX: usize = 16;

/// A component's name; it becomes part of records and error texts.
pub const NAME_BYTES_MAX: usize = 255;

/// Key groups a topology may have: a group is a 16-bit number.
pub const KEY_GROUPS_MAX: u32 = 1 << 16;

/// Slots that must be free before a table is rewritten to give memory back.
pub const COMPACT_SLOTS_MIN: usize = 4096;

/// Commits of one topology that may have names: each keeps ledgers and its sources' history.
pub const COMMIT_NAMES_MAX: usize = 32;

/// The name of a commit; it stands in commands and tables.
pub const COMMIT_NAME_BYTES_MAX: usize = 64;

/// Records of named commits together: they stand in the topology record, which is written whole, and a
/// transaction of the metadata store takes 1 MiB.
pub const NAMED_COMMITS_BYTES_MAX: usize = 256 << 10;
