//! What becomes of a tuple whose call fails.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::Tuple;

/// What becomes of a tuple when a bolt's `execute` returns an error or panics; said with
/// [`Stream::on_error`](crate::Stream::on_error), [`Fail`](OnError::Fail) unless it is.
///
/// Where the tuple is not the end of the generation, what the failed call emitted is not sent, and what it changed in
/// state, timers included, is as it was before. Fields of the bolt itself stay as the call left them: what must be
/// right is kept as state. Remembering what a call may change costs a copy of the tuple and of the state it is handed,
/// or of what it changes in that where it is a [`MapState`](crate::MapState) or another kind of several cells.
///
/// Only `execute` has a tuple: an error of `open`, `flush`, `on_timer` or `tick` fails the generation always.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnError {
    /// The generation fails, and the topology goes on from its last commit; when that happens again and again without
    /// a commit between, it fails.
    #[default]
    Fail,
    /// The bolt is called again with the same tuple.
    Retry {
        /// How often, after the first call.
        times: u32,
        /// How long to wait before each; the tuples behind it wait as well, and the commit with them.
        backoff: Duration,
        /// What becomes of the tuple when none of the calls was good.
        then: Then,
    },
    /// The tuple goes to the component's [dead letters](crate::Stream::dead_letters), and processing goes on. Where they
    /// are written to a stream, a letter has to fit a record, of 64 MiB.
    DeadLetter,
}

/// The end of [`OnError::Retry`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Then {
    /// As [`OnError::Fail`].
    #[default]
    Fail,
    /// As [`OnError::DeadLetter`].
    DeadLetter,
}

impl OnError {
    /// Whether a call is taken back.
    pub(crate) fn takes_back(self) -> bool {
        self != OnError::Fail
    }

    /// Whether tuples may become dead letters.
    pub(crate) fn sends_letters(self) -> bool {
        matches!(self, OnError::DeadLetter | OnError::Retry { then: Then::DeadLetter, .. })
    }
}

impl std::fmt::Display for OnError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let last = if self.sends_letters() { "goes to the dead letters" } else { "fails it" };
        match self {
            OnError::Retry { times, backoff, .. } => write!(
                f,
                "a tuple at which it fails is tried {times} more time(s), {} ms apart, and then {last}",
                backoff.as_millis()
            ),
            _ => write!(f, "a tuple at which it fails {last}"),
        }
    }
}

/// A tuple that a bolt could not process, and why: see [`Stream::dead_letters`](crate::Stream::dead_letters).
///
/// Where the tuple is written as JSON, as a [`LogSink`](crate::LogSink) does, it reads
/// `{"component":"parse","task":0,"tries":1,"error":"invalid digit","tuple":"4x"}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter<T> {
    /// The component whose call failed.
    pub component: String,
    /// Its task.
    pub task: u32,
    /// How often it was called with the tuple.
    pub tries: u32,
    /// What the last call failed with: its error and the causes, or the message of its panic; at most 4 KiB.
    pub error: String,
    /// The tuple.
    pub tuple: T,
}

impl<T: Tuple> Tuple for DeadLetter<T> {
    fn weight(&self) -> usize {
        self.component.weight() + self.error.weight() + self.tuple.weight() + 2 * size_of::<u32>()
    }
}
