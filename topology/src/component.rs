//! The traits users implement: [`Spout`], [`Bolt`], [`KeyedBolt`],
//! [`StatefulBolt`], [`Sink`], and what they are handed.
//!
//! A component is what the topology names; it runs as *tasks*, each with its own instance, made by
//! the factory the user gave. An instance lives on one worker thread and is never shared.

mod bolt;
mod calls;
mod config;
mod context;
mod emitter;
mod event_time;
mod hook;
mod keyed_bolt;
mod on_error;
mod outlets;
mod output;
mod sink;
mod spout;
mod stateful_bolt;
mod timer;
mod window_bolt;

pub use bolt::Bolt;
pub use calls::Calls;
pub(crate) use config::parted;
pub use config::{Config, ConfigError};
pub(crate) use context::WatermarkCell;
pub use context::{Context, TaskId};
pub use emitter::Emitter;
pub(crate) use emitter::{Outlet, OutletOf};
pub use event_time::EventTime;
pub use hook::TaskHook;
pub use keyed_bolt::{KeyedBolt, State};
pub use on_error::{DeadLetter, OnError, Then};
pub(crate) use outlets::Outlets;
pub(crate) use output::{DeclaredOf, in_words};
pub use output::{Output, OutputError};
pub use sink::Sink;
pub use spout::{Next, Positions, Replay, Spout};
pub use stateful_bolt::{Items, Rescale, Share, StatefulBolt};
pub(crate) use timer::TimerQueue;
pub use timer::{NoTimers, TimeOf, TimeToLive, Timer, Timers};
pub(crate) use window_bolt::{Clock, WindowBolt};

/// Makes a topology's hook for each task.
pub(crate) type MakeHook = std::sync::Arc<dyn Fn() -> Box<dyn TaskHook> + Send + Sync>;

/// What a component's own code may fail with.
pub type ComponentError = Box<dyn std::error::Error + Send + Sync>;

/// What a component's own code returns.
pub type ComponentResult<T = ()> = Result<T, ComponentError>;
