//! What the log's benchmarks share: how they are told what to do, what loads the log and its peers, the
//! limits they are held against, and the tables they print.
//!
//! * Contenders run in turn, round after round; a table has medians over the rounds, and ratios are
//!   medians of the ratios within each round: the disk of one minute is not that of the next.
//! * A latency counts from when the append was *meant* to be sent. In an open loop a pause therefore
//!   counts for every append it held up.
//! * Who is held against whom is as durable as the other: synced before it is acknowledged.

pub mod fio;
pub mod host;
pub mod latencies;
pub mod limit;
pub mod load;
pub mod options;
pub mod peer;
pub mod redis;
pub mod rows;
