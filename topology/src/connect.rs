//! Topologies and Egret's own streams: [`LogSpout`] reads one, [`LogSink`] writes one.

mod claim;
mod log_sink;
pub(crate) mod log_spout;
mod record;

pub use log_sink::LogSink;
pub use log_spout::LogSpout;
pub use record::{FromRecord, ToRecord, ToValue};
