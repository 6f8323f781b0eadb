//! Every limit of state and commits, each with its why.

/// Where a state entry is cut and the next begins: large enough that headers do not count, small
/// enough that the first of a commit is on its way to the disk while the next is made, and that a reader never holds much
/// more than it needs.
pub const STATE_ENTRY_BYTES: usize = 512 << 10;

/// The largest key and value of one state record together. An entry holding it alone must still fit
/// the log's largest entry with its header.
pub const STATE_RECORD_BYTES_MAX: usize = 64 << 20;

/// A state log shorter than this is never rewritten: that would cost more than the replay.
pub const LOG_SLACK_BYTES: u64 = 32 << 20;

/// A task goes on in a new ledger after this many bytes at least: each costs a change of metadata, a create
/// and a delete.
pub const LEDGER_BYTES_MIN: u64 = 8 << 20;

/// Of what lives, the part after which a task goes on in a new ledger: as much as can lie around although
/// it was rewritten.
pub const LEDGER_PARTS: u64 = 8;

/// Bytes rewritten in a second while the log is longer than it should be, or as many as live if those are fewer: with
/// eight commits a second or more, 1 GiB in half a minute. With fewer it takes longer, for each has its own
/// [bound](SWEEP_BYTES_MAX).
pub const SWEEP_BYTES_PER_SECOND: u64 = 32 << 20;

/// Bytes rewritten for that beside each commit; at least, and at most, so that no commit is much larger than others.
pub const SWEEP_BYTES_MIN: u64 = 64 << 10;
/// See [`SWEEP_BYTES_MIN`].
pub const SWEEP_BYTES_MAX: u64 = 4 << 20;

/// Ledgers one restore chain may grow to before it is rewritten: each restart adds one, however
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

/// Forks that one named commit is kept for: each stands in the topology record.
pub const COMMIT_FORKS_MAX: usize = 32;

/// Records of named commits together: they stand in the topology record, which is written whole, and a
/// transaction of the metadata store takes 1 MiB.
pub const NAMED_COMMITS_BYTES_MAX: usize = 256 << 10;

/// The text of a component's schema: metadata keeps it under one key, in a store whose values are small.
pub const SCHEMA_BYTES_MAX: usize = 64 << 10;

/// Values that are shown of one state, those of lists and maps counted one by one: as JSON, each costs
/// some hundred bytes, whatever it takes in the state.
pub const SHOWN_VALUES_MAX: usize = 1 << 18;

/// Bytes that are shown of a value whose format is not known.
pub const SHOWN_BYTES_MAX: usize = 4 << 10;

/// Timers one key may have: they are read and written together when its state is.
pub const TIMERS_PER_KEY_MAX: usize = 1 << 16;
