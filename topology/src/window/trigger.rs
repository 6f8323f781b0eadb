//! When a window is told of before its end.
//!
//! At its end a window is told whatever a trigger says. One that never ends is told when its trigger says so, and
//! not otherwise.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use std::time::Duration;

use super::span::{Window, length_ms};
use crate::TimeOf;

/// What time it is for a trigger.
#[derive(Clone, Copy)]
pub struct Now<'a> {
    watermark_ms: i64,
    clock: &'a dyn Fn() -> i64,
}

impl std::fmt::Debug for Now<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Now({})", self.watermark_ms)
    }
}

impl<'a> Now<'a> {
    pub(crate) fn new(watermark_ms: i64, clock: &'a dyn Fn() -> i64) -> Now<'a> {
        Now { watermark_ms, clock }
    }

    /// How far event time has come, in ms; the smallest there is, when that is not known yet. It moves where
    /// commits close.
    pub fn watermark_ms(&self) -> i64 {
        self.watermark_ms
    }

    /// The time it is, in ms since 1970; another one when a commit is repeated after a failure.
    pub fn processing_ms(&self) -> i64 {
        (self.clock)()
    }

    /// One of the two.
    pub fn of(&self, time: TimeOf) -> i64 {
        match time {
            TimeOf::Event => self.watermark_ms,
            TimeOf::Processing => self.processing_ms(),
        }
    }
}

/// What a trigger says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Verdict {
    pub(crate) fires: bool,
    pub(crate) wake: Option<(TimeOf, i64)>,
}

impl Verdict {
    /// Nothing yet.
    pub const GO_ON: Verdict = Verdict { fires: false, wake: None };
    /// The window is told of now.
    pub const FIRE: Verdict = Verdict { fires: true, wake: None };

    /// And the trigger is asked again at this time, in ms, of the watermark or the clock: once, instead of
    /// the time of the same kind that was said for the window before.
    #[must_use]
    pub fn ask_at(self, time: TimeOf, ms: i64) -> Verdict {
        Verdict { wake: Some((time, ms)), ..self }
    }
}

/// Says when a window is told of before its end. One of your own looks at the tuples, counts, and asks to be
/// woken; what it keeps for a window is state like any other.
///
/// ```
/// use egret::window::{Now, Trigger, Verdict, Window};
///
/// /// Tells when a payment of more than so much comes.
/// #[derive(Clone)]
/// struct Large(u64);
///
/// impl Trigger<(String, u64)> for Large {
///     type State = ();
///     fn on_tuple(&self, tuple: &(String, u64), _: Window, _: &mut (), _: Now<'_>) -> Verdict {
///         if tuple.1 > self.0 { Verdict::FIRE } else { Verdict::GO_ON }
///     }
/// }
/// ```
pub trait Trigger<T>: Clone + Send + Sync + 'static {
    /// What it keeps for a window; the default is that of a window without a tuple, and is not kept.
    type State: Serialize + DeserializeOwned + Default + PartialEq + Clone + Send + 'static;

    /// Whether it never says anything, so that nobody need ask.
    #[doc(hidden)]
    const IS_SILENT: bool = false;

    /// A tuple came into the window, which is not at its end.
    fn on_tuple(&self, tuple: &T, window: Window, state: &mut Self::State, now: Now<'_>)
    -> Verdict;

    /// A time it asked for has come. Nothing is told of a window into which nothing came since it was last told.
    fn on_time(&self, window: Window, state: &mut Self::State, now: Now<'_>) -> Verdict {
        let _ = (window, state, now);
        Verdict::FIRE
    }

    /// Two sessions have become one; `other` was the later one's. What either asked for still comes.
    fn merge(&self, state: &mut Self::State, other: Self::State) {
        if *state == Self::State::default() {
            *state = other;
        }
    }

    /// Refuses what cannot be, in words.
    #[doc(hidden)]
    fn check(&self) -> Result<(), &'static str> {
        Ok(())
    }
}

/// Nothing before the end. What windows have unless another trigger is given.
#[derive(Debug, Clone, Copy, Default)]
pub struct AtEnd;

impl<T> Trigger<T> for AtEnd {
    type State = ();
    const IS_SILENT: bool = true;
    fn on_tuple(&self, _: &T, _: Window, (): &mut (), _: Now<'_>) -> Verdict {
        Verdict::GO_ON
    }
}

/// After every so many tuples of the window.
#[derive(Debug, Clone, Copy)]
pub struct EveryTuples(pub u64);

impl<T> Trigger<T> for EveryTuples {
    /// Tuples since it last fired.
    type State = u64;
    fn on_tuple(&self, _: &T, _: Window, tuples: &mut u64, _: Now<'_>) -> Verdict {
        *tuples += 1;
        if *tuples < self.0 {
            return Verdict::GO_ON;
        }
        *tuples = 0;
        Verdict::FIRE
    }
    fn merge(&self, tuples: &mut u64, other: u64) {
        *tuples += other;
    }
    fn check(&self) -> Result<(), &'static str> {
        if self.0 == 0 { Err("`EveryTuples(0)` fires never: give it 1 or more") } else { Ok(()) }
    }
}

/// At every multiple of a length of time into which a tuple fell, by the clock or by the watermark: so not more
/// often than that, and only when there is something new.
#[derive(Debug, Clone, Copy)]
pub struct Every {
    of: TimeOf,
    ms: i64,
}

impl Every {
    /// By the clock.
    pub fn processing_time(length: Duration) -> Every {
        Every { of: TimeOf::Processing, ms: length_ms(length) }
    }

    /// By the watermark.
    pub fn event_time(length: Duration) -> Every {
        Every { of: TimeOf::Event, ms: length_ms(length) }
    }

    fn next(&self, now: i64) -> i64 {
        now.saturating_sub(now.rem_euclid(self.ms)).saturating_add(self.ms)
    }
}

/// When an [`Every`] is asked next, if it asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Asked(Option<i64>);

impl<T> Trigger<T> for Every {
    type State = Asked;

    fn on_tuple(&self, _: &T, window: Window, asked: &mut Asked, now: Now<'_>) -> Verdict {
        if asked.0.is_some() {
            return Verdict::GO_ON;
        }
        // Where event time is not known yet, it has come as far as the window begins.
        let now = match self.of {
            TimeOf::Event => now.watermark_ms().max(window.start_ms),
            TimeOf::Processing => now.processing_ms(),
        };
        let next = self.next(now);
        *asked = Asked(Some(next));
        Verdict::GO_ON.ask_at(self.of, next)
    }

    fn on_time(&self, _: Window, asked: &mut Asked, _: Now<'_>) -> Verdict {
        *asked = Asked(None);
        Verdict::FIRE
    }

    fn check(&self) -> Result<(), &'static str> {
        if self.ms < 1 {
            Err("`Every` is shorter than a millisecond: give it 1 ms or more")
        } else {
            Ok(())
        }
    }
}
