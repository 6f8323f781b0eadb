//! What a keyed bolt asks of its key: timers, that it be forgotten, and when its state expires.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use egret_state::keyed::schedule::{Due, Kind};

/// Which time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimeOf {
    /// The time it is, in ms since 1970.
    Processing,
    /// The time the tuples say, in ms, as far as the bolt's
    /// [watermark](super::Context::watermark) says it has come.
    Event,
}

/// A timer of a key: when it is due, and a tag that tells several apart.
///
/// The same timer set twice is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timer {
    /// By which time.
    pub of: TimeOf,
    /// When, in ms.
    pub ms: i64,
    /// What for.
    pub tag: u32,
}

impl Timer {
    /// Due at a time of the clock, in ms since 1970.
    pub fn processing(ms: i64) -> Timer {
        Timer { of: TimeOf::Processing, ms, tag: 0 }
    }

    /// Due when the watermark reaches an event time: no tuple before it is expected any more.
    pub fn event(ms: i64) -> Timer {
        Timer { of: TimeOf::Event, ms, tag: 0 }
    }

    /// The same with a tag.
    #[must_use]
    pub fn tagged(self, tag: u32) -> Timer {
        Timer { tag, ..self }
    }

    pub(crate) fn due(self) -> Due {
        let kind = match self.of {
            TimeOf::Processing => Kind::ProcessingTime,
            TimeOf::Event => Kind::EventTime,
        };
        Due { kind, ms: self.ms, tag: self.tag }
    }

    pub(crate) fn of_due(due: Due) -> Option<Timer> {
        let of = match due.kind {
            Kind::ProcessingTime => TimeOf::Processing,
            Kind::EventTime => TimeOf::Event,
            Kind::Expiry => return None,
        };
        Some(Timer { of, ms: due.ms, tag: due.tag })
    }
}

/// A timer was set, or a key to be forgotten, where no key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "timers belong to the key of a keyed bolt, and a key is forgotten there: in its `execute`, `flush` or `on_timer`, with the context that call was given"
)]
pub struct NoTimers;

/// Sets and cancels timers of the key at hand; see [`Context::timers`](super::Context::timers).
#[derive(Debug)]
pub struct Timers<'a>(pub(super) &'a TimerQueue);

impl Timers<'_> {
    /// Has [`on_timer`](super::KeyedBolt::on_timer) called when the timer is due. One that is due already is due
    /// at the end of the commit; one set at the end of a commit, at the end of the next.
    ///
    /// # Errors
    /// When there is no key at hand.
    pub fn set(&self, timer: Timer) -> Result<(), NoTimers> {
        self.0.push(timer, true)
    }

    /// Takes a timer back. One that was never set, or fired, is no error.
    ///
    /// # Errors
    /// When there is no key at hand.
    pub fn cancel(&self, timer: Timer) -> Result<(), NoTimers> {
        self.0.push(timer, false)
    }
}

/// What a call asked for, until the task takes it up.
#[derive(Debug, Default)]
pub(crate) struct TimerQueue {
    /// Whether anybody takes it up.
    listens: bool,
    pending: AtomicBool,
    asked: Mutex<Asked>,
}

/// What a call asked for its key.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Timers in order, and whether to set each.
    pub(crate) timers: Vec<(Timer, bool)>,
    /// To forget it, with all that is due for it.
    pub(crate) forget: bool,
}

impl Clone for TimerQueue {
    /// A context kept beyond its call has no key.
    fn clone(&self) -> TimerQueue {
        TimerQueue::default()
    }
}

impl TimerQueue {
    /// Of a keyed task's context.
    pub(crate) fn of_keys() -> TimerQueue {
        TimerQueue { listens: true, ..TimerQueue::default() }
    }

    fn push(&self, timer: Timer, set: bool) -> Result<(), NoTimers> {
        self.ask(|asked| asked.timers.push((timer, set)))
    }

    /// Asks for the key at hand to be forgotten.
    pub(crate) fn forget(&self) -> Result<(), NoTimers> {
        self.ask(|asked| asked.forget = true)
    }

    fn ask(&self, what: impl FnOnce(&mut Asked)) -> Result<(), NoTimers> {
        if !self.listens {
            return Err(NoTimers);
        }
        what(&mut self.asked.lock().expect("no panic while held"));
        self.pending.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Whether the call asked for anything.
    #[inline]
    pub(crate) fn is_pending(&self) -> bool {
        self.pending.load(Ordering::Relaxed)
    }

    /// What it asked for.
    #[cold]
    pub(crate) fn take(&self) -> Asked {
        self.pending.store(false, Ordering::Relaxed);
        std::mem::take(&mut *self.asked.lock().expect("no panic while held"))
    }
}

/// How long the state of a key lives.
///
/// A key lives at least that long after its last change, and at most a sixteenth longer: a key that changes all the
/// time is not written anew with each change for that alone. It is then removed, with its timers, at the end of a
/// commit. A key that was there before its bolt had a time to live is given one when it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeToLive {
    pub(crate) of: TimeOf,
    pub(crate) ms: i64,
    pub(crate) since_creation: bool,
    pub(crate) hidden: bool,
}

impl TimeToLive {
    fn new(of: TimeOf, after: Duration) -> TimeToLive {
        // An end far enough away that adding it to a time does not leave the range.
        let ms = i64::try_from(after.as_millis()).unwrap_or(i64::MAX).min(i64::MAX / 4);
        TimeToLive { of, ms, since_creation: false, hidden: false }
    }

    /// By the clock.
    pub fn processing(after: Duration) -> TimeToLive {
        TimeToLive::new(TimeOf::Processing, after)
    }

    /// By the bolt's watermark: after it was where it was at the end of the commit in which the key changed.
    pub fn event(after: Duration) -> TimeToLive {
        TimeToLive::new(TimeOf::Event, after)
    }

    /// Counted from when the key came, however often it changes.
    #[must_use]
    pub fn since_creation(self) -> TimeToLive {
        TimeToLive { since_creation: true, ..self }
    }

    /// A tuple that comes for a key that expired and was not removed yet finds an empty state. Costs a look at
    /// the key's time for each tuple.
    #[must_use]
    pub fn hide_expired(self) -> TimeToLive {
        TimeToLive { hidden: true, ..self }
    }

    /// When a key expires that changed at `now`.
    pub(crate) fn expiry(self, now: i64) -> i64 {
        let step = (self.ms / 16).max(1);
        let end = now.saturating_add(self.ms);
        end.div_euclid(step).saturating_add(1).saturating_mul(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_key_lives_so_long_and_at_most_a_sixteenth_longer(now: i32, ms in 0u32..) {
            let now = i64::from(now);
            let lives = TimeToLive::processing(Duration::from_millis(u64::from(ms))).expiry(now) - now;
            prop_assert!(lives > i64::from(ms));
            prop_assert!(lives <= i64::from(ms) + i64::from(ms / 16).max(1));
        }

        #[test]
        fn times_at_the_ends_of_their_range_are_no_panic(now: i64, ms: u64) {
            TimeToLive::event(Duration::from_millis(ms)).expiry(now);
        }
    }

    #[test]
    fn a_context_that_is_kept_sets_no_timers() {
        let queue = TimerQueue::of_keys();
        Timers(&queue).set(Timer::event(7).tagged(1)).unwrap();
        assert!(queue.is_pending());
        assert_eq!(Timers(&queue.clone()).set(Timer::event(7)), Err(NoTimers));
        assert_eq!(queue.clone().forget(), Err(NoTimers));
        let timers = vec![(Timer { of: TimeOf::Event, ms: 7, tag: 1 }, true)];
        assert_eq!(queue.take(), Asked { timers, forget: false });
        assert!(!queue.is_pending());
        queue.forget().unwrap();
        assert!(queue.is_pending() && queue.take().forget && !queue.take().forget);
    }
}
