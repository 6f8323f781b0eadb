//! Repetitions of a key, kept back: for ever, or within a time.
//!
//! What is kept are the times of those that went through and may keep another one back. Times may come in any order, so
//! a tuple is a repetition of one that is later than itself, too.

use std::sync::Arc;

use crate::Tuple;
use crate::builder::BuildError;
use crate::component::{ComponentResult, Context, Emitter, KeyedBolt, TimeToLive, Timer};
use crate::streamlet::StreamletError;
use crate::window::in_range;

/// Within which time a tuple is a repetition of one that went through.
pub(super) enum Within<T> {
    Ever,
    /// So many ms, by the time that tuples say.
    EventTime(i64, Arc<dyn Fn(&T) -> i64 + Send + Sync>),
    /// So many ms by the clock.
    Clock(i64),
}

impl<T> Clone for Within<T> {
    fn clone(&self) -> Self {
        match self {
            Within::Ever => Within::Ever,
            Within::EventTime(ms, time_of) => Within::EventTime(*ms, Arc::clone(time_of)),
            Within::Clock(ms) => Within::Clock(*ms),
        }
    }
}

impl<T> Within<T> {
    pub(super) fn check(&self, name: &str) -> Result<(), BuildError> {
        match self {
            Within::EventTime(0, _) | Within::Clock(0) => {
                let (name, why) = (name.to_owned(), StreamletError::NoTime);
                Err(BuildError::Streamlet { name, why })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn text(&self) -> String {
        match self {
            Within::Ever => "the first of all".to_owned(),
            Within::EventTime(ms, _) => format!("the first within {ms} ms, by event time"),
            Within::Clock(ms) => format!("the first within {ms} ms, by the clock"),
        }
    }

    pub(super) fn is_by_event_time(&self) -> bool {
        matches!(self, Within::EventTime(..))
    }
}

/// Whether a tuple of time `at` is less than `within` away from none that went through; then it goes through.
fn goes_through(passed: &mut Vec<i64>, at: i64, within: i64) -> bool {
    let repeats = passed.iter().any(|other| at.abs_diff(*other) < within.unsigned_abs());
    if !repeats {
        passed.push(at);
    }
    !repeats
}

/// Forgets those that can keep nothing back that comes at `now` or later.
fn forget(passed: &mut Vec<i64>, now: i64, within: i64) {
    passed.retain(|other| other.saturating_add(within) > now);
}

/// Lets a tuple of each key through, and no repetition of it.
pub(super) struct Dedup<T> {
    within: Within<T>,
    lives: Option<TimeToLive>,
}

impl<T> Dedup<T> {
    pub(super) fn new(within: Within<T>, lives: Option<TimeToLive>) -> Dedup<T> {
        Dedup { within, lives }
    }
}

impl<K: ?Sized, T: Tuple> KeyedBolt<K, T, T> for Dedup<T> {
    type State = Vec<i64>;

    fn execute(
        &mut self,
        _: &K,
        passed: &mut Vec<i64>,
        tuple: T,
        out: &mut Emitter<T>,
        cx: &Context,
    ) -> ComponentResult {
        let timer = match &self.within {
            Within::Ever => {
                if passed.is_empty() {
                    passed.push(0);
                    out.emit(tuple);
                }
                return Ok(());
            }
            Within::EventTime(within, time_of) => {
                let at = in_range(time_of(&tuple));
                if cx.watermark().is_some_and(|watermark| at < watermark) {
                    cx.count_late();
                    return self.forget_if_nothing(passed, cx);
                }
                goes_through(passed, at, *within).then(|| Timer::event(at + within))
            }
            Within::Clock(within) => {
                let now = in_range(cx.processing_time());
                forget(passed, now, *within);
                goes_through(passed, now, *within).then(|| Timer::processing(now + within))
            }
        };
        if let Some(timer) = timer {
            cx.timers().set(timer)?;
            out.emit(tuple);
        }
        Ok(())
    }

    fn on_timer(
        &mut self,
        _: &K,
        passed: &mut Vec<i64>,
        _: Timer,
        _: &mut Emitter<T>,
        cx: &Context,
    ) -> ComponentResult {
        match &self.within {
            Within::Ever => {}
            Within::EventTime(within, _) => {
                forget(passed, cx.watermark().unwrap_or(i64::MIN), *within);
            }
            Within::Clock(within) => forget(passed, in_range(cx.processing_time()), *within),
        }
        self.forget_if_nothing(passed, cx)
    }

    fn time_to_live(&self) -> Option<TimeToLive> {
        self.lives
    }
}

impl<T> Dedup<T> {
    /// Forgets the key if nothing is kept for it.
    fn forget_if_nothing(&self, passed: &[i64], cx: &Context) -> ComponentResult {
        if passed.is_empty() {
            cx.forget_key()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against all that went through, of which nothing is ever forgotten; what is late is left out.
        #[test]
        fn what_goes_through_is_what_has_none_near_it(
            tuples in proptest::collection::vec((-50i64..50, 0i64..6), 0..60),
            within in 1i64..30,
        ) {
            let (mut kept, mut all, mut watermark) = (Vec::new(), Vec::new(), -100);
            for (at, on) in tuples {
                if at < watermark {
                    continue;
                }
                let near = all.iter().any(|other: &i64| (at - other).abs() < within);
                prop_assert_eq!(goes_through(&mut kept, at, within), !near);
                if !near {
                    all.push(at);
                }
                watermark = watermark.max(at - 20 + on);
                forget(&mut kept, watermark, within);
                prop_assert!(kept.iter().all(|other| other + within > watermark));
            }
        }
    }
}
