//! How fast a spout task may emit: a bucket of tuples that fills with time.
//!
//! It does not fill beyond what comes in a tenth of a second, so that a spout that was held back does not catch up in
//! one go; and a call that emitted more than there was is paid for by a longer wait, so that the rate is kept.

use std::time::{Duration, Instant};

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Rate {
    per_second: f64,
    /// Tuples that may be emitted; below zero, what was emitted too many.
    tuples: f64,
    at: Instant,
}

/// So many seconds of a rate may be emitted at once.
const BURST: f64 = 0.1;

impl Rate {
    /// One task's part of so many tuples a second of all of them.
    pub(crate) fn of(per_second: f64, tasks: u32, now: Instant) -> Rate {
        Rate { per_second: per_second / f64::from(tasks.max(1)), tuples: 1.0, at: now }
    }

    /// How many tuples may be emitted now, or how long to wait for the next.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "it is 1 or more, and its parts are left for later"
    )]
    pub(crate) fn left(&mut self, now: Instant) -> Result<usize, Duration> {
        let since = now.saturating_duration_since(self.at);
        self.at = now;
        let most = (self.per_second * BURST).max(1.0);
        self.tuples = (self.tuples + since.as_secs_f64() * self.per_second).min(most);
        if self.tuples >= 1.0 {
            return Ok(self.tuples as usize);
        }
        let wait = (1.0 - self.tuples) / self.per_second;
        // However slow it is, whoever waits looks again.
        Err(Duration::from_secs_f64(wait.clamp(0.001, 3600.0)))
    }

    /// So many were emitted.
    pub(crate) fn took(&mut self, tuples: u64) {
        self.tuples -= tuples as f64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use egret_log::clock;
    use proptest::prelude::*;

    proptest! {
        /// Whatever is emitted at once, and whenever somebody looks, the rate is kept.
        #[test]
        fn no_more_is_emitted_than_the_rate_says(
            per_second in 1u32..100_000,
            calls in proptest::collection::vec((0u64..300, 0u64..2000), 1..200),
        ) {
            let begin = clock::now();
            let mut now = begin;
            let mut rate = Rate::of(f64::from(per_second), 1, now);
            let (mut emitted, mut last) = (0, 0);
            for (later, wants) in calls {
                now += Duration::from_millis(later);
                match rate.left(now) {
                    Ok(left) => {
                        prop_assert!(left >= 1);
                        rate.took(wants);
                        (emitted, last) = (emitted + wants, wants);
                    }
                    Err(wait) => {
                        prop_assert!(!wait.is_zero());
                        now += wait;
                        // What a rounding leaves is little.
                        prop_assert!(wait.as_secs() == 3600 || rate.left(now + Duration::from_millis(1)).is_ok());
                        now += Duration::from_millis(1);
                    }
                }
            }
            let may = (now - begin).as_secs_f64() * f64::from(per_second)
                + (f64::from(per_second) * BURST).max(1.0) + 1.0;
            // The last call may have emitted more than there was.
            prop_assert!((emitted - last) as f64 <= may, "{emitted} and {may}");
        }
    }

    #[test]
    fn tasks_share_the_rate_and_what_was_not_used_is_not_kept_for_long() {
        let now = clock::now();
        let mut rate = Rate::of(100.0, 4, now);
        assert_eq!(rate.left(now), Ok(1));
        rate.took(1);
        assert_eq!(rate.left(now), Err(Duration::from_millis(40)));
        let later = now + Duration::from_secs(60);
        assert_eq!(rate.left(later), Ok(2), "a tenth of a second of 25");
    }
}
