//! Windows: what a bolt says of the tuples of a key between two times, or of so many of them.
//!
//! ```
//! use std::time::Duration;
//! use egret::window::{Count, Sliding, Windowed};
//! use egret::{Emitter, EventTime, LogSink, LogSpout, Stream, TopologyBuilder};
//!
//! # fn build(t: &mut TopologyBuilder) -> egret::Result<()> {
//! fn ms(line: &str) -> i64 {
//!     line.split(' ').next().and_then(|ms| ms.parse().ok()).unwrap_or_default()
//! }
//!
//! // The watermark: bids may be 5 s out of order.
//! let time = EventTime { out_of_order_ms: 5000, ..EventTime::default() };
//! let bids = t.spout("bids", 2, LogSpout::<String>::from_stream("bids"))?;
//! let bids = bids.event_time_with(time, |bid| ms(bid))?;
//!
//! // How often each auction was bid for in the last minute, every ten seconds.
//! let auction = |bid: &String| bid.split(' ').nth(1).unwrap_or_default().to_owned();
//! let counts: Stream<Windowed<String, u64>> = bids
//!     .fields_by(auction)
//!     .window(Sliding::of(Duration::from_secs(60)).every(Duration::from_secs(10)))
//!     .event_time(|bid| ms(bid))
//!     .aggregate("counts", 2, Count)?;
//! # let line = || |n: Windowed<String, u64>, out: &mut Emitter<String>| out.emit(n.key);
//! # counts.shuffle().bolt("lines", 1, line)?.sink("out", LogSink::to_stream("out"))
//! # }
//! # let mut t = TopologyBuilder::new("bids");
//! # build(&mut t)?;
//! # println!("{}", t.finish()?.explain(1));
//! # Ok::<(), egret::Error>(())
//! ```
//!
//! # What there is
//!
//! | kinds | |
//! |---|---|
//! | [`Tumbling`], [`Sliding`] | of one length, by event time or the clock |
//! | [`Sessions`] | of what comes without a break |
//! | [`CountTumbling`], [`CountSliding`] | of so many tuples |
//! | [`Global`] | one that never ends |
//!
//! What is made of them: an [`Aggregate`] ([`Count`], [`sum`], [`min`], [`max`], [`top`], [`distinct`], [`reduce`], two
//! at once, your own), or a function of all their tuples, of which an [`Evictor`] may leave some out. When they are told
//! of: at their end, before it when a [`Trigger`] says so, after it when something late came.
//! The last so many tuples told of every so often are a [`Global`] window with [`Every`] and [`Latest`]; those of the last
//! minute after every so many, one with [`EveryTuples`] and [`Within`].
//! [`KeyedStream::window`](crate::KeyedStream::window) is where it begins; what can be said then stands at
//! [`WindowedStream`].
//!
//! # What always holds
//!
//! * A window is told of on time by the commit whose watermark reached its end, once, with every tuple that came
//!   before that. What it says is on time for windows downstream that have the same end or a later one.
//! * A tuple that comes when the watermark has passed the end of every window it is in, and lateness is over, is
//!   late: it is counted, and goes to the late stream where there is one. No tuple goes missing in silence.
//! * A tuple costs one access of one slice, however many windows it is in; a window that slides on costs three merges
//!   at most, however long it is, unless something late changed it.
//! * What is kept of a window is state: written with the commit, moved with its key, gone when nobody needs it.
//!
//! Everything in this room is pure: it is told tuples and times, and says what is told of and when to come again.
//! [`builder`](crate::builder) makes a keyed bolt of it.

mod aggregate;
mod contents;
mod error;
mod evict;
mod machine;
#[cfg(test)]
mod model_tests;
mod panes;
mod running;
mod shape;
mod span;
mod state;
mod trigger;

pub use crate::builder::{Dropped, LateMode, ToStream, WindowedStream};
pub use aggregate::{
    Aggregate, Count, Distinct, Extreme, Kept, Largest, Of, Reduce, Sum, Summed, Top, distinct,
    max, min, reduce, sum, top,
};
pub(crate) use contents::{Contents, Incremental, Whole};
pub use error::WindowError;
pub use evict::{Evictor, Latest, Within};
pub(crate) use machine::{Assign, By, Machine, StateOf};
pub use shape::{CountSliding, CountTumbling, Global, Sessions, Sliding, Tumbling, Windows};
pub(crate) use shape::{GoBy, Shape};
pub use span::{Firing, Timing, Window, Windowed};
pub(crate) use span::{LENGTH_MAX_MS, in_range, length_ms};
pub use trigger::{AtEnd, Every, EveryTuples, Now, Trigger, Verdict};
