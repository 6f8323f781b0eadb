//! Plans compiled to timely: the only room that knows it.
//!
//! One dataflow, built alike on every worker. Its timestamp is [`Epoch`](egret_schemas::Epoch) as
//! `u64`; its container, on every edge, is a [`Chunk`](chunk::Chunk).
//!
//! ```text
//!            control (open epoch, committed)        broadcast, fed back
//!        ┌──────────────────────┬────────────────────────────┐
//!        ▼                      ▼                            │
//!     [spout] ── data ──▶ [bolt]* ── data ──▶ [sink]         │
//!        │                  │  │                │ │          │
//!        │ reports          │  └─ processed     │ └ processed│
//!        └───────▶──────────┴─────────▶─────────┴──▶ [coordinator, worker 0]
//! ```
//!
//! * *data* carries tuples; a fields-grouped one carries key hashes beside them.
//! * *reports* carry what became durable; an operator holds its capability there until it has reported
//!   the commit, so the coordinator's frontier says when all reports must be in. Under at-most-once
//!   nothing is reported, but sinks hold theirs until the commit is written all the same.
//! * *processed* carries nothing; its frontier is what flow control looks at.
//! * *marks*, where spouts say event times: from each spout to every bolt it reaches, on every worker, once a
//!   commit; a bolt's watermark moves where the commit closes (`marks`).
//! * *control* has no path through any operator, so feeding it back makes no cycle.
//!
//! Each operator is plumbing (capabilities, frontiers, sessions) around tasks that have never heard
//! of timely. **The order in an activation is the protocol**: close the commits the frontier has left,
//! drain the stash of the commit that is now the oldest, only then work on new input. Tuples of later
//! commits are stashed: only the oldest open commit touches state.
//!
//! A bolt ships its output in slices and rests while its consumers are behind; what it has not done by
//! then waits in it, and its capabilities wait with it. Nothing else holds a bolt back.
//!
//! Bolts that feed each other task by task are one operator (`chain`); each has its name, numbers, state and reports as
//! if it were one of its own.

mod alarm;
mod align;
mod bolt;
mod chain;
mod chunk;
mod compile;
mod coordinator;
mod credit;
mod inputs;
mod marks;
mod outputs;
mod pact;
mod rate;
mod reports;
mod sink;
mod spout;
mod stage;
mod stepped;
mod ticks;
mod watched;
mod wire;
mod worker;

#[cfg(test)]
mod tick_tests;
#[cfg(test)]
mod watermark_tests;

pub(crate) use compile::{Compiled, Shared};
pub(crate) use stepped::Stepped;
pub(crate) use worker::{Failure, Peers, run_workers};

/// Makes the engine's own messages known to the receiving side of every worker.
pub(crate) fn register_messages() {
    crate::batch::register::<reports::Notice>();
    crate::batch::register::<reports::Control>();
    crate::batch::register::<marks::Said>();
}
