//! Every limit of the server, each with its why.

use std::time::Duration;

/// Connections at once: each costs some 20 KiB and a file.
pub const CONNECTIONS_MAX: usize = 1024;

/// Bytes of one request's body: a batch of keys.
pub const REQUEST_BYTES_MAX: usize = 1 << 20;

/// Keys of one batch.
pub const BATCH_KEYS_MAX: usize = 1000;

/// Keys of one scan.
pub const SCAN_KEYS_MAX: usize = 10_000;

/// Keys of one scan when nothing is said.
pub const SCAN_KEYS: usize = 100;

/// Bytes of keys and states in one answer of many, and one key at least. As JSON they are several times as
/// many.
pub const ANSWER_BYTES: usize = 4 << 20;

/// Answers of many keys in the making at once: each may take some ten times [`ANSWER_BYTES`].
pub const LARGE_ANSWERS_MAX: usize = 8;

/// How long a request may take to arrive, and a connection may be quiet between two.
pub const REQUEST_WAIT: Duration = Duration::from_secs(30);

/// How long an answer may take to be made.
pub const ANSWER_WAIT: Duration = Duration::from_secs(10);

/// How long a client may take nothing of its answer.
pub const READER_WAIT: Duration = Duration::from_secs(30);

/// How long a handshake may take.
pub const HANDSHAKE_WAIT: Duration = Duration::from_secs(5);

/// How long requests under way have when the server ends.
pub const END_WAIT: Duration = Duration::from_secs(2);

/// Connections of Cap'n Proto RPC at once: they share a thread.
pub const RPC_CONNECTIONS_MAX: usize = 256;
