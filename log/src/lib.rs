//! Egret's durable log: ledgers on bookies, chained to streams.
//!
//! **What it promises.** An append that was acknowledged is synced, is read by everyone in its order,
//! and is still there after any crash or power cut. What cannot be read is said, with the file and what
//! to do; it is never skipped. An append tried again by a producer that numbers its records is there
//! once. What a topology writes is durable at once and visible when it is committed, exactly to there.
//!
//! ```
//! use egret_log::stream::{ReadFrom, Record, StreamConfig};
//! use egret_log::{Log, LogConfig};
//! use std::time::Duration;
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let dir = tempfile::tempdir()?;
//! let log = Log::open(dir.path(), LogConfig::default())?;
//! log.create_stream("orders", StreamConfig::default())?;
//!
//! let writer = log.writer("orders", 0)?;
//! let appended = writer.append_wait(&[Record::of("two herons"), Record::of("an egret")])?;
//! assert_eq!(appended.position.to_string(), "S1:0:0");
//!
//! let mut reader = log.reader("orders", 0, ReadFrom::Earliest)?;
//! let batch = reader.next_wait(Duration::from_secs(1))?.expect("it was acknowledged");
//! assert_eq!(&batch.records[1].value[..], b"an egret");
//! log.close()?;
//! # Ok(())
//! # }
//! ```
//!
//! # Map
//!
//! | module | holds |
//! |---|---|
//! | [`stream`] | streams, partitions, their writers and readers: what most callers need |
//! | [`directory`] | a data directory: held by this process, or attached to through its sockets |
//! | [`client`] | ledgers for those who keep their own: create, append, recover, read |
//! | [`ledger`] | the protocol, pure: quorums, metadata, writer, recovery |
//! | [`bookie`] | one storage node: journal, extents, index, checkpoints |
//! | [`metadata`] | the compare-and-set store beside the ledgers |
//! | [`registry`] | which bookies a cluster has, where, and which are there now |
//! | [`message`] | what clients and bookies say to each other; [`rpc`] the same over a socket |
//! | [`disk`] | the only way to durable files, real or with power cuts |
//! | [`caps`], [`clock`], [`outcome`] | limits with their whys; time; what an error leaves open |
//!
//! # The order of positions
//!
//! ```text
//! within a ledger        confirmed ≤ durable ≤ appended        (visible: see below)
//! within a partition     first ≤ visible end ≤ committed ≤ durable
//! a position             segment, then entry, then slot: S3:17:0 < S3:17:1 < S3:18:0 < S4:0:0
//! ```
//! * *appended*: has its number. *durable*: an ack quorum synced it. *confirmed*: so did it for every
//!   entry before; only then is the caller told. A plain ledger's readers see what is confirmed.
//! * *committed*: named by a topology's commit record. A transactional partition's readers see what was
//!   *published*, which may lag behind the commit after a crash and never leads it.
//! * *first*: where truncation left the start; before it reads say so instead of skipping.
//!
//! Terms order owners: whoever raises the term of a partition or a ledger by compare-and-set shuts out
//! everyone below it before it reads where they ended.

pub mod bookie;
pub mod caps;
pub mod client;
pub mod clock;
pub mod directory;
pub mod disk;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod ledger;
pub mod message;
pub mod metadata;
#[cfg(feature = "mutants")]
pub mod mutants;
#[cfg(not(feature = "mutants"))]
pub(crate) mod mutants;
pub mod outcome;
pub mod registry;
pub mod rpc;
#[doc(hidden)]
pub mod simulation;
pub mod stream;

pub use directory::{AttachError, LogCloseError, LogConfig, OpenError};
pub use outcome::Outcome;
pub use stream::Log;
