//! Every limit of the log, each with its why.

/// The largest record: key and value together. A line of 64 MiB must fit; more is a typed error.
pub const RECORD_BYTES_MAX: usize = 64 << 20;

/// The largest entry: one record of the largest size and the entry's own header.
pub const ENTRY_BYTES_MAX: usize = RECORD_BYTES_MAX + (64 << 10);

/// A journal file in embedded mode: small enough to zero-fill in well under a second, large enough
/// that a switch of files is rare. An entry that does not fit gets a file of its own.
pub const JOURNAL_FILE_BYTES: u64 = 16 << 20;

/// Files a journal may have before a checkpoint makes some free: small entries fill blocks of 4 KiB
/// each, and a start reads them all.
pub const JOURNAL_FILES_MAX: usize = 4;

/// The most bytes one journal batch gathers: past this a larger batch no longer raises throughput.
pub const JOURNAL_BATCH_BYTES_MAX: usize = 1 << 20;

/// Bytes handed to the journal and not yet synced, before adds wait. Two of the largest entries.
pub const JOURNAL_QUEUE_BYTES_MAX: usize = 2 * ENTRY_BYTES_MAX;

/// Bytes of entries held in memory before a checkpoint writes them to an extent.
pub const WRITE_CACHE_BYTES: usize = 32 << 20;

/// How many times [`WRITE_CACHE_BYTES`] are taken while a checkpoint writes, before adds wait for it: a disk that is
/// slow for a quarter of a second at 250 MB a second is not noticed.
pub const WRITE_CACHE_AHEAD: usize = 3;

/// Bytes an extent's writer gathers before it writes: large enough that the disk sees few, long writes.
pub const EXTENT_WRITE_BYTES: usize = 1 << 20;

/// Bytes of an extent written between two syncs: what the disk is given at once goes before the journal's next
/// batch, and all of an extent held that one up for tens of milliseconds.
pub const EXTENT_SYNC_BYTES: usize = 2 << 20;

/// Entries of one run of an extent: its table of offsets, read as a whole, is then at most 64 KiB.
pub const EXTENT_RUN_ENTRIES_MAX: u32 = 16_384;

/// Bytes of extents' tables kept in memory: enough for four million entries read at random.
pub const TABLE_CACHE_BYTES: usize = 16 << 20;

/// The largest manifest: ten million ledgers. A longer file is not one of ours.
pub const MANIFEST_BYTES_MAX: u64 = 256 << 20;

/// Bytes one ledger writer keeps unacknowledged before its appends wait.
pub const WRITER_IN_FLIGHT_BYTES_MAX: usize = 2 * ENTRY_BYTES_MAX;

/// What the other bookies of a ledger have and one has not, before that one counts as failed: some
/// seconds of a disk's stall, and what one dead bookie may cost a writer in memory.
pub const REPLICA_BEHIND_BYTES_MAX: usize = 64 << 20;

/// How long a writer stands still for a metadata store that does not answer, before it ends: longer
/// than a store's election takes, shorter than its callers' patience.
pub const ENSEMBLE_CHANGE_MS_MAX: u64 = 30_000;

/// Ledgers' records a client remembers for reading: a scan reads one segment after the other.
pub const LEDGER_RECORDS_CACHED: usize = 1024;

/// How long a bookie may be away before its copies are made elsewhere: a restart, or a host's, takes less.
pub const BOOKIE_LOST_MS: u64 = 600_000;

/// Bytes a second that a repair copies unless it is told otherwise: a tenth of a fast disk, so that
/// writers hardly notice, and a terabyte in a working day.
pub const REPAIR_BYTES_PER_SECOND: u64 = 40 << 20;

/// Between two looks over all ledgers for copies that are lacking.
pub const REPAIR_SWEEP_MS: u64 = 60_000;

/// How long a ledger that lacks one of its last bookies must have been quiet before its writer counts as
/// gone: one that is there looks every [`WRITER_LOOKS_MS`], and then changes its bookies by itself.
pub const LEDGER_QUIET_MS: u64 = 120_000;

/// No less than that: a writer must have had the time to look, and then to change its bookies.
pub const LEDGER_QUIET_MS_MIN: u64 = 2 * WRITER_LOOKS_MS;

/// No more than that: for so long one copy fewer is all there is of the end of a ledger.
pub const LEDGER_QUIET_MS_MAX: u64 = 24 * 60 * 60 * 1000;

/// How often a writer looks whether the bookies it writes to are still there, whether or not it writes.
pub const WRITER_LOOKS_MS: u64 = 10_000;

/// How long the bookie that repairs may be silent before another one does.
pub const REPAIR_LEASE_MS: u64 = 30_000;

/// Bytes of copies under way to one bookie.
pub const REPAIR_IN_FLIGHT_BYTES_MAX: usize = 8 << 20;

/// Copies under way to one bookie, however small: a quarter of what one connection takes, which others
/// share.
pub const REPAIR_IN_FLIGHT_ENTRIES_MAX: usize = BOOKIE_REQUESTS_MAX / 4;

/// Bytes of one look at what a bookie has of a ledger.
pub const REPAIR_LOOK_BYTES_MAX: u32 = 1 << 20;

/// Bytes of committed entries a recovery keeps that it read before their turn.
pub const RECOVERY_AHEAD_BYTES_MAX: usize = 8 << 20;

/// Such entries, however small: what bookies owe answers for must stay far below what makes a slow one
/// count as one that does not answer.
pub const RECOVERY_AHEAD_ENTRIES_MAX: usize = 16;

/// Bytes that whoever reads a ledger entry by entry has read ahead: one row taken, one under way, each half
/// of it. More is no faster over a network that is not far.
pub const SCAN_BYTES_MAX: u32 = 1 << 20;

/// Partitions of one stream: the ring has 65,536 places; beyond this a partition costs more than it
/// spreads.
pub const PARTITIONS_MAX: u32 = 1024;

/// A stream's, topology's or component's name: it becomes part of metadata keys and file texts.
pub const NAME_BYTES_MAX: usize = 255;

/// A producer's name: a canonical path must fit.
pub const PRODUCER_NAME_BYTES_MAX: usize = 4096;

/// What a producer may store beside its sequence.
pub const PRODUCER_NOTE_BYTES_MAX: usize = 256;

/// Producers one partition remembers, for ever; one more is refused. With [`PRODUCERS_BYTES_MAX`] the table
/// takes at most some 44 MiB of memory.
pub const PRODUCERS_MAX: usize = 65_536;

/// Free space kept on the disk: enough to checkpoint and to seal, so that a full disk refuses
/// appends while everything acknowledged stays readable.
pub const DISK_RESERVE_BYTES: u64 = 64 << 20;

/// Free space below which no ledger is created: twice the reserve, so that what is open goes on.
pub const DISK_LOW_BYTES: u64 = 2 * DISK_RESERVE_BYTES;

/// Free space from which ledgers are created again, well above the low mark: a bookie that has just
/// that much is not to change its mind with every checkpoint.
pub const DISK_HIGH_BYTES: u64 = 3 * DISK_RESERVE_BYTES;

/// Bytes of entries one compaction writes: two full write caches make one extent.
pub const COMPACTED_BYTES_MAX: u64 = 2 * WRITE_CACHE_BYTES as u64;

/// Bytes a second compaction copies: a fraction of any disk, and a write cache's worth in eight seconds.
pub const COMPACTION_BYTES_PER_S: u64 = 4 << 20;

/// The part of an extent that must be live, in percent, for it not to be compacted: below it each byte
/// copied makes at least one free.
pub const COMPACT_BELOW_PERCENT: u8 = 50;

/// Bytes a background task handles before it waits: long enough not to wake all the time.
pub const UPKEEP_PIECE_BYTES: u64 = 256 << 10;

/// Bytes a second the scrubber reads: a day for a hundred gigabytes, and nothing beside what any disk does.
pub const SCRUB_BYTES_PER_S: u64 = 1 << 20;

/// How long the scrubber rests when it has read everything, in milliseconds: small directories are not
/// read all day.
pub const SCRUB_REST_MS: u64 = 3_600_000;

/// Shards of one bookie: each has four threads and two write caches.
pub const SHARDS_MAX: u16 = 64;

/// Damaged places a bookie remembers: past it a disk wants replacing, not mending.
pub const DAMAGED_PLACES_MAX: usize = 4096;

/// A header before the other side said hello: enough for any hello, nothing for an attacker.
pub const HELLO_BYTES_MAX: usize = 16 << 10;

/// A header: the description of a stream of [`PARTITIONS_MAX`] partitions takes a tenth of it.
pub const HEADER_BYTES_MAX: usize = 1 << 20;

/// A payload: the largest entry, with room for what its records take more in a payload than in it.
pub const PAYLOAD_BYTES_MAX: usize = 2 * ENTRY_BYTES_MAX;

/// Connections to one data directory at once: each may hold a payload in memory and has a thread.
pub const CONNECTIONS_MAX: usize = 64;

/// How long a side takes to say hello, and to send the rest of a frame it began.
pub const FRAME_WAIT_MS: u64 = 30_000;

/// How long one request may wait for records; a client that wants more asks again.
pub const READ_WAIT_MS_MAX: u32 = 30_000;

/// How long a client waits for any answer, beyond what it asked to wait for records.
pub const REPLY_WAIT_MS: u64 = 120_000;

/// How long who needs a directory waits for one that promised to let it go: it has a checkpoint to write.
pub const YIELD_WAIT_MS: u64 = 10_000;

/// How long who needs a directory looks for a holder that is just starting to serve, or ending.
pub const YIELD_LOOK_MS: u64 = 1000;

/// How long who let a directory go only attaches, so that it is not in the way again.
pub const YIELDED_MS: u64 = 2000;

/// Bytes one read gathers before it is answered: past this a larger one is no faster.
pub const READ_BYTES_MAX: usize = 8 << 20;

/// Components of topologies that one stream names as its users: with [`PARTITIONS_MAX`] partitions each
/// takes 40 KiB of the header that describes the stream.
pub const STREAM_USERS_MAX: usize = 16;

/// Entries of one answer to a batched read: their numbers and checksums fill a fraction of a header.
pub const READ_ENTRIES_MAX: u32 = 4096;

/// Entries of such an answer that crosses a socket: what is said of each then fits the smallest header.
pub const WIRE_ENTRIES_MAX: u32 = 512;

/// Of a read thread's time, what catch-up reads may take beside appends, in percent: past it the appends'
/// p99 suffers more than readers gain (figures: `bench catch_up`).
pub const CATCH_UP_PERCENT: u8 = 10;

/// Bytes of catch-up reads that wait or are under way, before readers are told to come back.
pub const CATCH_UP_BYTES_MAX: usize = 8 * READ_BYTES_MAX;

/// Bytes of the newest entries kept in memory once an extent has them: a tail reader that is a little
/// late still reads no disk.
pub const TAIL_CACHE_BYTES: usize = WRITE_CACHE_BYTES / 8;

/// Streams in one answer to a listing: their names and formats fill half a header.
pub const LIST_STREAMS_MAX: u32 = 1000;

/// Names of remembered producers, and their notes at their longest: a snapshot of them is one entry.
pub const PRODUCERS_BYTES_MAX: usize = 32 << 20;

/// Segments of one page of a partition's list: some 50 KiB.
pub const SEGMENTS_PAGE: usize = 1000;

/// Segments a partition's record lists itself, before the oldest of them become a page: the record is
/// written whole at each roll, and those that are still open are among the last few.
pub const SEGMENTS_INLINE_MAX: usize = SEGMENTS_PAGE + 64;

/// Past this many bytes an append is cut into several entries: a reader decodes one at a time, and
/// others' small appends should not wait behind one large write.
pub const ENTRY_BYTES_TARGET: usize = 4 << 20;

/// Bytes of a segment before the next is begun, when a stream does not say: takeover reads a segment
/// at most, and retention forgets whole ones.
pub const SEGMENT_BYTES: u64 = 64 << 20;

/// When a client that found a bookie full comes again: a few syncs later.
pub const RETRY_AFTER_MS: u32 = 20;

/// Connections to one bookie: a few from each process of a large cluster. Each costs two buffers.
pub const BOOKIE_CONNECTIONS_MAX: usize = 4096;

/// Connections to one bookie that did not say hello yet: what strangers may hold open.
pub const BOOKIE_STRANGERS_MAX: usize = 256;

/// Requests of one connection to a bookie without a reply: ten milliseconds at 400,000 a second.
pub const BOOKIE_REQUESTS_MAX: usize = 4096;

/// Bytes of one connection's requests without a reply: two of the largest entries.
pub const BOOKIE_REQUEST_BYTES_MAX: usize = 2 * ENTRY_BYTES_MAX;

/// Bytes of all connections' requests without a reply: what a bookie holds beside its caches.
pub const BOOKIE_REQUEST_BYTES_TOTAL_MAX: usize = 4 * ENTRY_BYTES_MAX;

/// Bytes of replies that wait for one client to take them; past this its reads are refused and nothing
/// more of it is read.
pub const BOOKIE_REPLY_BYTES_MAX: usize = ENTRY_BYTES_MAX;

/// How long a stranger has for handshake and hello.
pub const HELLO_WAIT_MS: u64 = 5_000;

/// How long a client may take none of the bytes meant for it before it is cut off.
pub const SLOW_READER_WAIT_MS: u64 = 10_000;

/// The longest a bookie keeps a request without a reply, whatever the client says it will wait.
pub const REQUEST_WAIT_MS_MAX: u32 = 120_000;

/// How long whoever deletes a ledger waits for its bookies. One that takes longer, stopped or cut off, say, is asked
/// again later: nothing but space depends on it, and who deletes has other things to do.
pub const DELETE_WAIT_MS: u64 = 2_000;

/// How long a client waits for a bookie's reply: far above any sync, far below anyone's patience.
pub const REQUEST_WAIT_MS: u64 = 10_000;

/// How long a client waits for a connection and the bookie's welcome.
pub const CONNECT_WAIT_MS: u64 = 5_000;

/// How long a client waits before it connects again, at first and at most.
pub const CONNECT_BACKOFF_MS: (u64, u64) = (10, 1_000);

/// How long one question lasts whether readers may see more; then it is asked again.
pub const WATCH_WAIT_MS: u32 = 30_000;

/// Ledgers whose LAC clients of one bookie wait for at once.
pub const WATCHED_LEDGERS_MAX: usize = 65_536;

/// Payloads up to this size are copied beside their headers, so that many go out in one write.
pub const COALESCED_BYTES_MAX: usize = 16 << 10;

/// Bytes of replies or requests that one write gathers.
pub const WRITE_BATCH_BYTES: usize = 256 << 10;

/// Bytes read at a time from a connection to or from a bookie.
pub const READ_CHUNK_BYTES: usize = 64 << 10;

/// A cluster's name: part of certificates and of every hello.
pub const CLUSTER_NAME_BYTES_MAX: usize = 64;

/// When somebody who waits for a ledger's LAC is woken although nobody could be asked: it will ask
/// itself, and must not turn in circles.
pub const WATCH_RETRY_MS: u64 = 200;

/// How long until a metadata store that did not answer is asked again which bookies a cluster has. While
/// it answers, changes are told at once.
pub const REGISTRY_REFRESH_MS: u64 = 1_000;

/// How long a bookie that is gone still counts as there: longer than a store takes to choose another
/// leader, and until then new ledgers try it and go elsewhere.
pub const BOOKIE_LEASE_MS: u64 = 10_000;

/// A key of the metadata store: two names and what stands around them fit many times over.
pub const META_KEY_BYTES_MAX: usize = 4096;

/// Keys and values of one metadata transaction together. etcd takes 1.5 MiB a request unless told
/// otherwise; what fits the embedded store must fit a cluster's.
pub const META_TXN_BYTES_MAX: usize = 1 << 20;

/// Conditions, or writes, of one metadata transaction: what etcd takes unless told otherwise. What fits
/// the embedded store must fit a cluster's.
pub const META_TXN_OPS_MAX: usize = 128;

/// Changes an embedded metadata store remembers for its watches: a watcher that slept through so many
/// lists again, which costs about the same.
pub const META_HISTORY_EVENTS_MAX: usize = 4096;

/// Bytes of those changes.
pub const META_HISTORY_BYTES_MAX: usize = 8 << 20;

/// Leases of an embedded metadata store: thousands of members of a cluster have one each.
pub const META_LEASES_MAX: usize = 65_536;

/// How long a watch of the partitions may be quiet before it is begun anew: whoever reads what others append
/// waits so long at most behind a watch that is dead. Beginning anew lists all partitions.
pub const PARTITIONS_QUIET_MS: u64 = 15_000;

/// A header about metadata: a page of a listing whose last entry is the largest there is takes some more than
/// half of it.
pub const META_HEADER_BYTES_MAX: usize = 4 * META_TXN_BYTES_MAX;

/// Bytes of keys and values after which a page of a listing, or of a watch's events, is sent as it is.
pub const META_PAGE_BYTES: usize = META_TXN_BYTES_MAX;

/// Connections to the metadata of one data directory: some from each of a few dozen processes, and one for
/// each of their watches. Each has a thread.
pub const META_CONNECTIONS_MAX: usize = 512;

/// Requests about metadata that one attached process has under way at once; more wait for one of them.
pub const META_REQUESTS_MAX: usize = 8;

/// How long an attached process waits for an answer of the holder: far above any sync, far below anyone's
/// patience.
pub const ATTACHED_WAIT_MS: u64 = REQUEST_WAIT_MS;

/// How long one poll of a watch lasts; then it is asked again.
pub const META_POLL_MS: u32 = 30_000;

/// How long a holder that ends lets those who are attached take its last answers.
pub const DRAIN_MS: u64 = 2_000;

/// Encrypted bytes read at once from a connection between worker processes: two of TLS's records.
pub const WORKER_READ_BYTES: usize = 32 << 10;

/// How long a worker whose handshake was refused is read from, so that it takes why: a round trip, and some.
pub const WORKER_LINGER_MS: u64 = 1_000;

/// Bytes read from such a one: what a client sends before it hears that its certificate was refused.
pub const WORKER_LINGER_BYTES: usize = 64 << 10;
