//! Egret's durable log: ledgers on bookies, chained to streams.

pub mod caps;
pub mod clock;
pub mod message;
