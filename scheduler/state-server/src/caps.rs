//! Every limit of the server, each with its why.

use std::time::Duration;

/// Connections at once: each costs a file, some 20 KiB, what it sent beforehand ([`READ_BYTES_MAX`]), and one
/// small answer it does not take ([`SMALL_ANSWER_BYTES`]).
pub const CONNECTIONS_MAX: usize = 1024;

/// Bytes of requests that are read before they are looked at; a head is no longer either.
pub const READ_BYTES_MAX: usize = 16 << 10;

/// Bytes of answers that the system holds for one connection (it takes twice that for itself). Left to itself it holds
/// megabytes for whoever takes nothing, which nobody here counts: gigabytes for all connections together.
pub const SEND_BUFFER_BYTES: u32 = 256 << 10;

/// Connections that wait to be accepted.
pub const BACKLOG: u32 = 1024;

/// How long to wait when the system gives no more files.
pub const NO_FILES_WAIT: Duration = Duration::from_millis(100);

/// Bytes of one request's body: a batch of keys.
pub const REQUEST_BYTES_MAX: usize = 1 << 20;

/// Bodies that are on their way in at once, or wait to be answered.
pub const BODIES_MAX: usize = 32;

/// Keys of one batch.
pub const BATCH_KEYS_MAX: usize = 1000;

/// Keys of one scan.
pub const SCAN_KEYS_MAX: usize = 10_000;

/// Keys of one scan when nothing is said.
pub const SCAN_KEYS: usize = 100;

/// Bytes of JSON in one answer of many keys, and one key at least.
pub const ANSWER_BYTES: usize = 4 << 20;

/// What surrounds them: names, the commit, where the next page begins.
pub const ANSWER_FRAME_BYTES: usize = 64 << 10;

/// Bytes of answers under way when nothing is said.
pub const ANSWERS_BYTES: usize = 64 << 20;

/// An answer of no more than this is not counted: whoever asks for one key is answered although others do not
/// take their large answers.
pub const SMALL_ANSWER_BYTES: usize = 16 << 10;

/// A state of no more than this makes a small answer.
pub const SMALL_STATE_BYTES: usize = 1 << 10;

/// How many bytes of JSON a state of so many bytes is, roughly and rather too many: names of fields, and numbers
/// in decimal. What it takes is counted when it is made; this is what has to be free before.
pub fn json_bytes(state: usize) -> usize {
    state.saturating_mul(16).min(ANSWER_BYTES)
}

/// How long a request may take to arrive, and a connection may be quiet between two.
pub const REQUEST_WAIT: Duration = Duration::from_secs(30);

/// How long an answer may wait for the room it takes.
pub const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// How long a client may take nothing of its answer.
pub const READER_WAIT: Duration = Duration::from_secs(30);

/// How long a client may take over all of what it was told: one that takes a byte now and then is let go of,
/// too, and one that takes 70 KB a second is not.
pub const TAKEN_WAIT: Duration = Duration::from_secs(60);

/// How long a handshake may take.
pub const HANDSHAKE_WAIT: Duration = Duration::from_secs(5);

/// How long requests under way have when the server ends.
pub const END_WAIT: Duration = Duration::from_secs(2);

/// Connections of Cap'n Proto RPC at once: they share a thread, and each may leave an answer
/// ([`RPC_ANSWER_BYTES`], twice while it is written) and not take it.
pub const RPC_CONNECTIONS_MAX: usize = 64;

/// Bytes of JSON in one answer over RPC, and one key at least.
pub const RPC_ANSWER_BYTES: usize = 1 << 20;
