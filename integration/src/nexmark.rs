//! Nexmark: an auction house's events, and the queries that engines are held against each other by.
//!
//! | file | holds |
//! |---|---|
//! | `event.rs`, `line.rs` | persons, auctions and bids, and the lines they are written as |
//! | `input.rs`, `tape.rs` | one file of events, made from a fixed seed; the spout that reads it |
//! | `row.rs`, `ending.rs` | what queries say, and where it goes: counted, collected, or a stream |
//! | `stateless.rs`, `joins.rs`, `closing.rs`, `hottest.rs`, `windows.rs`, `days.rs`, `ranks.rs` | the queries, as topologies |
//! | `query.rs` | all of them by name |
//! | `reference/` | each query again, over the whole file in one thread, from its definition in SQL |
//!
//! Definitions are those of `nexmark-flink`. Where SQL leaves something open, this is what is said here:
//! equal prices are ranked by time, and a session goes on when the gap is reached and not passed.
//! A query whose result changes (q4, q15 to q19) says rows with a key: the last one of a key counts.

pub mod closing;
pub mod days;
pub mod ending;
pub mod event;
pub mod hottest;
pub mod input;
pub mod joins;
mod line;
pub mod query;
pub mod ranks;
pub mod reference;
pub mod row;
pub mod stateless;
mod tape;
pub mod windows;
