//! Streams: named, partitioned logs; a partition is a chain of segments, a segment is one ledger.
//!
//! | module | holds |
//! |---|---|
//! | [`log`] | [`Log`]: one data directory, opened by one holder |
//! | [`catalog`] | records of streams and partitions in metadata, their names and formats |
//! | [`pages`] | where the old segments of a long partition are listed |
//! | [`record`] | what is appended and read; [`entry_codec`] its bytes in an entry |
//! | [`producers`] | last sequences, so that an append tried again is not there twice |
//! | [`writer`] | plain partitions: one writer for each, shared inside a process |
//! | [`transactional`] | partitions owned by a topology: durable first, visible when committed |
//! | [`reader`] | from any position, through history, into the live tail |
//! | [`seek`] | where the records of a time begin |
//! | `create` | a stream made, in as many transactions as it takes |
//! | [`truncate`] | forgetting the start of a partition, or a stream; [`retention`] when to |
//! | [`sources`] | the streams of one topology, and what its named commits keep of them |
//! | [`users`] | the components of topologies that read and write a stream |
//! | [`error`] | one error enum for each operation |
//!
//! A partition's record names its segments in order and its term. Whoever writes raised the term by
//! compare-and-set first and shut out whoever wrote before; a segment is listed before its ledger
//! holds an entry; one that is left behind stays listed as garbage until it is deleted.

pub mod catalog;
mod create;
pub mod entry_codec;
pub mod error;
mod follow;
pub mod log;
pub mod pages;
pub mod partition;
pub mod producers;
pub mod reader;
pub mod record;
pub mod retention;
pub mod seek;
pub mod sources;
pub mod transactional;
pub mod truncate;
pub mod users;
pub mod writer;

#[cfg(test)]
mod away_tests;
#[cfg(test)]
mod catch_up_tests;
#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod create_tests;
#[cfg(test)]
mod loss_tests;
#[cfg(test)]
mod lossy_tests;
#[cfg(test)]
mod owner_tests;
#[cfg(test)]
mod page_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod time_tests;
#[cfg(test)]
mod waiting_tests;

pub use catalog::{Format, FormatMismatch, Owner, StreamConfig, StreamInfo};
pub use log::{Ends, Log, PartitionDescription, SegmentDescription, StreamDescription};
pub use reader::{PartitionReader, Poll, ReadFrom};
pub use record::{Batch, Producer, ProducerState, Record};
pub use sources::{Kept, Places, Reads, Sources};
pub use transactional::{Committed, TransactionalDone, TransactionalWriter};
pub use users::{User, Users};
pub use writer::{Appended, AppendedDone, PartitionWriter};
