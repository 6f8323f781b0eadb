//! Sources and sinks in the box.
//!
//! | | reads or writes | can be replayed, or taken back | what a topology may promise with it |
//! |---|---|---|---|
//! | [`LogSpout`] | a stream | from any position | anything |
//! | [`FileSpout`] | lines, CSV or JSON of files, followed or to their ends | from any position, while files only grow | anything |
//! | [`Generator`] | tuples made of their numbers | from any number | anything |
//! | [`SocketSpout`] | lines of a TCP connection | no | at-most-once |
//! | [`QueueSpout`] | a queue of yours, which acknowledges ([`Queue`]) | what is not acknowledged comes again | at-least-once |
//! | [`LogSink`] | a stream | what is not committed is never seen | anything |
//! | [`FileSink`] | lines, CSV or JSON to the parts of a directory | what is not committed is never seen | anything |
//! | [`SocketSink`] | lines to a TCP connection | no: sent again after a restart | at-least-once, of what the other side takes |
//! | [`StdoutSink`] | lines to standard output | no: printed again after a restart | at-least-once |
//!
//! A topology that promises more than one of its sources or sinks can keep is refused when it is built.

mod claim;
mod file_sink;
mod file_spout;
mod frame;
mod generator;
mod log_sink;
pub(crate) mod log_spout;
mod put;
mod queue;
mod queue_spout;
mod record;
mod socket_sink;
mod socket_spout;
mod stdout_sink;

pub use file_sink::{FileSink, FileSinkError};
pub use file_spout::{FileError, FileSpout};
pub use generator::Generator;
pub use log_sink::LogSink;
pub use log_spout::LogSpout;
pub use queue::{GaveUp, Queue, Received};
pub use queue_spout::{QueueReader, QueueSpout};
pub use record::{FromRecord, ToRecord, ToValue};
pub use socket_sink::SocketSink;
pub use socket_spout::SocketSpout;
pub use stdout_sink::StdoutSink;
