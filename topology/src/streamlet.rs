//! Streamlets: what is to be made of tuples, step after step, wired to the same components as everything else.
//!
//! ```
//! use egret::{LogSpout, TopologyBuilder};
//!
//! fn build(t: &mut TopologyBuilder) -> egret::Result<()> {
//!     let lines = t.streamlet("lines", 2, LogSpout::<String>::from_stream("lines"))?;
//!     lines
//!         .flat_map(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>())
//!         .filter(|word| !word.is_empty())
//!         .named("split")
//!         .key_by_ref(|word| word.as_str())
//!         .count_by_key()
//!         .named("count")
//!         .parallelism(4)
//!         .to_stream("counts")
//! }
//!
//! let mut t = TopologyBuilder::new("word-count");
//! build(&mut t)?;
//! // One bolt does the steps that keep nothing.
//! assert!(t.finish()?.explain(1).contains("flat_map, filter"));
//! # Ok::<(), egret::Error>(())
//! ```
//!
//! # What there is
//!
//! | | |
//! |---|---|
//! | begin | [`TopologyBuilder::streamlet`](crate::TopologyBuilder::streamlet), [`Stream::streamlet`](crate::Stream::streamlet) |
//! | without state | [`map`](Streamlet::map), [`try_map`](Streamlet::try_map), [`flat_map`](Streamlet::flat_map), [`filter`](Streamlet::filter), [`filter_map`](Streamlet::filter_map), [`inspect`](Streamlet::inspect), [`transform`](Streamlet::transform) |
//! | of streams | [`union`](Streamlet::union), [`split`](Streamlet::split), [`split_to`](Streamlet::split_to), [`shared`](Streamlet::shared) |
//! | where tuples go | [`repartition`](Streamlet::repartition), [`repartition_by`](Streamlet::repartition_by), [`shuffle`](Streamlet::shuffle), [`rebalance`](Streamlet::rebalance), [`local`](Streamlet::local), [`broadcast`](Streamlet::broadcast) |
//! | by key | [`key_by`](Streamlet::key_by), then [`count_by_key`](KeyedStreamlet::count_by_key), [`reduce_by_key`](KeyedStreamlet::reduce_by_key), [`aggregate_by_key`](KeyedStreamlet::aggregate_by_key), [`dedup`](KeyedStreamlet::dedup), [`dedup_within`](KeyedStreamlet::dedup_within), [`process`](KeyedStreamlet::process) |
//! | windows | [`window`](KeyedStreamlet::window), [`window_all`](Streamlet::window_all), and the same aggregates: [`WindowedStreamlet`] |
//! | joins | [`join`](KeyedStreamlet::join), then in [windows](Joined::window), within an [interval](Joined::interval), [as of](Joined::as_of) a time, with a [table](Joined::table) |
//! | bolts of your own | [`apply`](Streamlet::apply), [`apply_stateful`](Streamlet::apply_stateful), [`process`](KeyedStreamlet::process) |
//! | end | [`to_stream`](Streamlet::to_stream), [`to_sink`](Streamlet::to_sink), [`for_each`](Streamlet::for_each), [`consume`](Streamlet::consume), [`log`](Streamlet::log), [`stream`](Streamlet::stream) |
//!
//! # What becomes of it
//!
//! * Steps without state that follow one another are **one bolt**, and a tuple goes through all of them by one call. What
//!   they are stands in its detail. What ends them: a key, tuples dealt out anew, a union, a split, a bolt of your own,
//!   [`shared`](Streamlet::shared).
//! * Each step with state is one bolt, with the engine's state per key: part of every commit, there after any failure, moved
//!   when tasks become more or fewer.
//! * Errors of any step are told where the pipeline ends, by [`BuildError`](crate::BuildError), which names the component.
//!
//! # Names
//!
//! A component's name is its identity: what it keeps is found under it, and a topology that was changed goes on with what it
//! kept where its components are the same. Say it, with [`named`](Streamlet::named), of every step with state. One that has
//! none is called after the component before it (of a union the first, of a join the left one), a dot, and a word:
//!
//! | step | word |
//! |---|---|
//! | steps without state | `steps` |
//! | [`split_to`](Streamlet::split_to) | `split` |
//! | [`count_by_key`](KeyedStreamlet::count_by_key), [`reduce_by_key`](KeyedStreamlet::reduce_by_key), [`aggregate_by_key`](KeyedStreamlet::aggregate_by_key) | `count`, `reduce`, `aggregate` |
//! | anything of windows | `window` |
//! | [`dedup`](KeyedStreamlet::dedup) and its like | `dedup` |
//! | joins | `join` |
//! | [`process`](KeyedStreamlet::process) | `process` |
//! | [`apply`](Streamlet::apply), [`apply_stateful`](Streamlet::apply_stateful) | `apply` |
//! | [`to_stream`](Streamlet::to_stream) | `to-` and the stream's name |
//!
//! Where that is taken, with `.2` behind it, `.3` and so on, in the order in which they are wired: that of the calls that end
//! pipelines, and from first to last within one. A step with state is refused such a name, its own or that of one before
//! it: when the order changes, it would find what another one kept. So steps without state may come, go and change among others without any
//! component having another name.
//!
//! # Where tuples go
//!
//! To the tasks of a step that was told [how many](Streamlet::parallelism) by shuffle, and else to as many as are before it
//! and by what is local; by key where there is one. That is part of the graph, as names are.

mod dedup;
mod ends;
mod error;
mod fold;
mod join;
mod keyed;
mod split;
mod spread;
mod steps;
mod unkeyed;
mod upstream;
mod windowed;
mod wiring;

pub use error::StreamletError;
pub use join::{AsOfJoin, Interval, IntervalJoin, Joined, TableJoin, WindowJoin};
pub use keyed::KeyedStreamlet;
pub use split::Branch;
pub use steps::Transformer;
pub use unkeyed::Streamlet;
pub use upstream::{Chain, Upstream, Whole};
pub use windowed::{LateStreamlets, WindowedStreamlet};
