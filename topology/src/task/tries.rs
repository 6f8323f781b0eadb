//! Tuples whose call may fail: tried again, or made dead letters, as their component's
//! [`OnError`] says.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use egret_log::clock;

use super::{TaskError, chain, panic_text};
use crate::component::{ComponentResult, Context, DeadLetter, OnError, Then};

/// How long never is: a hundred years.
const NEVER: Duration = Duration::from_secs(100 * 365 * 86_400);

/// Bytes of an error's text in a dead letter.
const ERROR_BYTES_MAX: usize = 4 << 10;

/// The tuple of one task that is to be tried again, if there is one.
pub(super) struct Tries<I> {
    policy: OnError,
    waiting: Option<Waiting<I>>,
}

struct Waiting<I> {
    tried: Tried<I>,
    until: Instant,
}

/// A tuple, and how often it was tried.
pub(super) struct Tried<I> {
    pub(super) tuple: I,
    /// Of its key, where there is one.
    pub(super) hash: u64,
    pub(super) times: u32,
}

impl<I> Tried<I> {
    pub(super) fn new(tuple: I, hash: u64) -> Tried<I> {
        Tried { tuple, hash, times: 0 }
    }
}

/// What is to be tried next.
pub(super) enum Next<I> {
    Again(Tried<I>),
    /// It is not time yet.
    Wait,
    /// Nothing waits.
    Another,
}

impl<I> Tries<I> {
    /// Of a component whose calls are taken back when they fail; for others there is none.
    pub(super) fn of(cx: &Context) -> Option<Tries<I>> {
        let policy = cx.settings.on_error;
        policy.takes_back().then_some(Tries { policy, waiting: None })
    }

    pub(super) fn next(&mut self) -> Next<I> {
        match self.waiting.take() {
            None => Next::Another,
            Some(waiting) if waiting.until <= clock::now() => Next::Again(waiting.tried),
            still => {
                self.waiting = still;
                Next::Wait
            }
        }
    }

    /// Whether a tuple waits to be tried again.
    pub(super) fn holds(&self) -> bool {
        self.waiting.is_some()
    }

    /// How long until it is.
    pub(super) fn waits(&self) -> Option<Duration> {
        let left = |waiting: &Waiting<I>| waiting.until.saturating_duration_since(clock::now());
        self.waiting.as_ref().map(left).filter(|left| !left.is_zero())
    }

    /// The tuple's call failed once more, and was taken back: it waits to be tried again, is a dead letter, or fails
    /// the generation.
    pub(super) fn failed(
        &mut self,
        tried: Tried<I>,
        why: Failed,
        cx: &Context,
    ) -> Result<Option<DeadLetter<I>>, TaskError> {
        let tries = tried.times + 1;
        let then = match self.policy {
            OnError::Retry { times, backoff, .. } if tries <= times => {
                cx.meter.failed();
                let now = clock::now();
                // What no clock counts to is never.
                let until = now.checked_add(backoff).unwrap_or(now + NEVER);
                self.waiting = Some(Waiting { tried: Tried { times: tries, ..tried }, until });
                return Ok(None);
            }
            OnError::Retry { then, .. } => then,
            OnError::DeadLetter => Then::DeadLetter,
            OnError::Fail => Then::Fail,
        };
        let Failed { why, retry } = why;
        match then {
            Then::Fail => Err(TaskError { task: cx.id.clone(), why, retry }),
            Then::DeadLetter => {
                cx.meter.failed();
                cx.meter.buried();
                let task = cx.id.to_string();
                tracing::debug!(task, why, "a tuple is a dead letter");
                let (component, task) = (cx.id.component.to_string(), cx.id.task);
                Ok(Some(DeadLetter { component, task, tries, error: why, tuple: tried.tuple }))
            }
        }
    }
}

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Failed {
    pub(super) why: String,
    /// Whether beginning again from the last commit may help.
    pub(super) retry: bool,
}

impl Failed {
    /// What a call asked for cannot be.
    pub(super) fn of(error: &(dyn std::error::Error + 'static)) -> Failed {
        Failed { why: cut(chain(error)), retry: super::may_pass(error) }
    }

    pub(super) fn passing(why: String) -> Failed {
        Failed { why: cut(why), retry: true }
    }

    pub(super) fn panicked(panic: &(dyn std::any::Any + Send)) -> Failed {
        Failed::passing(format!("panicked: {}", panic_text(panic)))
    }

    pub(super) fn told(why: String) -> Failed {
        Failed { why: cut(why), retry: false }
    }
}

/// Calls user code for one tuple.
pub(super) fn call(run: impl FnOnce() -> ComponentResult) -> Result<(), Failed> {
    match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Failed::of(error.as_ref())),
        Err(panic) => Err(Failed::panicked(panic.as_ref())),
    }
}

fn cut(mut text: String) -> String {
    if text.len() > ERROR_BYTES_MAX {
        let end = (0..=ERROR_BYTES_MAX).rev().find(|end| text.is_char_boundary(*end));
        text.truncate(end.unwrap_or_default());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_text_is_cut_between_characters() {
        let why = call(|| Err("é".repeat(ERROR_BYTES_MAX).into())).unwrap_err().why;
        assert_eq!(why.len(), ERROR_BYTES_MAX);
        let why = call(|| Err(format!("x{}", "é".repeat(ERROR_BYTES_MAX)).into())).unwrap_err().why;
        assert_eq!(why.len(), ERROR_BYTES_MAX - 1);
    }
}
