//! Egret's durable log: ledgers on bookies, chained to streams.

pub mod bookie;
pub mod caps;
pub mod client;
pub mod clock;
pub mod directory;
pub mod disk;
pub mod ledger;
pub mod message;
pub mod metadata;
pub mod outcome;
pub mod rpc;
pub mod stream;

pub use directory::{LogCloseError, LogConfig, OpenError};
pub use outcome::Outcome;
pub use stream::Log;
