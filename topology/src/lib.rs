//! Egret: topologies of spouts and bolts over a durable log, counting every input as if exactly once.
//!
//! ```no_run
//! use egret::{Args, Blob, Emitter, KeyedBolt, LogSink, LogSpout, TopologyBuilder};
//!
//! struct Count;
//! impl KeyedBolt<[u8], Blob, (Blob, u64)> for Count {
//!     type State = u64;
//!     fn execute(
//!         &mut self, _: &[u8], n: &mut u64, _: Blob, _: &mut Emitter<(Blob, u64)>, _: &egret::Context,
//!     ) -> egret::ComponentResult {
//!         *n += 1;
//!         Ok(())
//!     }
//!     fn flush(
//!         &mut self, word: &[u8], n: &mut u64, out: &mut Emitter<(Blob, u64)>, _: &egret::Context,
//!     ) -> egret::ComponentResult {
//!         out.emit((Blob::from(word), *n));
//!         Ok(())
//!     }
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     egret::main(|t: &mut TopologyBuilder, _: &Args| {
//!         let lines = t.spout("lines", 2, LogSpout::<Blob>::from_stream("lines"))?;
//!         let words = lines.shuffle().bolt("split", 2, || |line: Blob, out: &mut Emitter<Blob>| {
//!             let words = line.split(|b| b.is_ascii_whitespace()).filter(|word| !word.is_empty());
//!             words.for_each(|word| out.emit(Blob::from(word)));
//!         })?;
//!         let counts = words.fields(|word| word.as_bytes()).keyed("count", 2, || Count)?;
//!         counts.sink("out", LogSink::to_stream("counts"))
//!     })
//! }
//! ```
//!
//! # Map
//!
//! | module | holds |
//! |---|---|
//! | [`builder`] | wiring: typed streams, groupings, validation |
//! | [`component`] | the traits users implement, and what they are handed |
//! | [`connect`] | spouts and sinks in the box: streams, files, sockets |
//! | [`grouping`] | which task gets a tuple |
//! | [`window`] | what is said of the tuples between two times, or of so many |
//! | [`streamlet`] | what is made of tuples step after step, wired to the same components |
//! | [`plan`] | logical and physical plan as plain data, and as text |
//! | `task` | components with their types put away |
//! | `dataflow` | plans compiled to timely: the only room that knows it |
//! | [`metrics`] | what tasks do, in numbers |
//! | [`replica`] | state read by who does not run the topology |
//! | [`runtime`] | takeover, generations, restarts |
//! | [`testing`] | a topology under kills in a unit test: one thread, one seed |
//!
//! # What always holds
//!
//! * Only the oldest open commit touches state; state, positions and output of a commit become durable
//!   together, by one record.
//! * Readers of an effectively-once output see committed records only.
//! * A component's error or panic never loses or repeats anything: the topology goes on from its last
//!   commit, or stops and says why.

mod app;
mod batch;
mod blob;
mod budget;
pub mod builder;
pub mod component;
pub mod connect;
mod dataflow;
mod either;
mod ends;
mod error;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
pub mod grouping;
pub mod metrics;
pub mod plan;
pub mod replica;
pub mod runtime;
#[doc(hidden)]
pub mod simulation;
pub mod standby;
pub mod streamlet;
mod task;
pub mod testing;
mod tuple;
pub mod window;

/// The topology in the README compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;

pub use app::{Args, RunArgs, main, main_with};
pub use blob::Blob;
pub use builder::{BuildError, Feedback, Grouped, KeyedStream, Stream, Topology, TopologyBuilder};
pub use component::{
    Bolt, Calls, ComponentError, ComponentResult, Config, ConfigError, Context, DeadLetter,
    Emitter, EventTime, KeyedBolt, Next, NoTimers, OnError, Output, OutputError, Positions, Replay,
    Rescale, Share, Sink, Spout, StatefulBolt, TaskHook, Then, TimeOf, TimeToLive, Timer, Timers,
};
pub use connect::{
    FileSink, FileSpout, FromRecord, Generator, LogSink, LogSpout, QueueSpout, SocketSink,
    SocketSpout, StdoutSink, ToRecord, ToValue,
};
pub use egret_state::Guarantee;
pub use egret_state::commit::Origin;
pub use egret_state::keyed::{
    Conversions, ExpiringMap, InMemory, ListState, MapState, Storage, Value,
};
pub use egret_state::state;
#[cfg(feature = "large-state")]
pub use egret_state_large::LargerThanMemory;
pub use either::Either;
pub use ends::{exit_code, is_taken_over};
pub use error::{Error, Result};
pub use runtime::{Processes, Progress, RunOptions, Summary};
pub use standby::StandbyEvent;
pub use streamlet::{KeyedStreamlet, Streamlet};
pub use task::{TaskError, chain};
#[doc(hidden)]
pub use tuple::Lengths;
#[cfg(feature = "abomonation")]
#[doc(hidden)]
pub use tuple::abomonated;
pub use tuple::{ColumnError, Columns, Tuple};
