//! How long a commit lasts.
//!
//! The end of a commit is work that grows with the keys that changed in it, and less than in proportion to its length: the more
//! tuples a commit has, the more of them change a key again. So where ends take much of the time, longer commits cost less, and
//! where they take little, short ones cost nothing. Between its bounds a commit lasts ten times as long as the ends of the
//! last two took on average: no more than a tenth of the time goes into ends, as far as the upper bound allows.
//!
//! An end takes from when the commit was over for its spouts until every bolt has closed it. What storing takes is not in it: nobody
//! waits for that but readers, whom a longer commit would help least.

use std::collections::VecDeque;

use egret_schemas::Epoch;

/// Of the time, what ends of commits take at most: one part of so many.
const PARTS: u64 = 10;

/// See the [module](self).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Interval {
    least_ms: u64,
    /// None: always the least.
    most_ms: Option<u64>,
    /// Commits that ended and are not closed yet, by their last epoch, and since when.
    ending: VecDeque<(Epoch, u64)>,
    /// What the last two took.
    took_ms: [u64; 2],
}

impl Interval {
    pub(super) fn new(least_ms: u64, most_ms: Option<u64>) -> Interval {
        let most_ms = most_ms.filter(|most| *most > least_ms);
        Interval { least_ms, most_ms, ending: VecDeque::new(), took_ms: [0; 2] }
    }

    /// How long the open commit lasts.
    pub(super) fn ms(&self) -> u64 {
        let Some(most) = self.most_ms else { return self.least_ms };
        let [before, last] = self.took_ms;
        (before.saturating_add(last) / 2).saturating_mul(PARTS).clamp(self.least_ms, most)
    }

    /// The spouts left a commit, whose last epoch this is.
    pub(super) fn on_ended(&mut self, last: Epoch, now_ms: u64) {
        if self.most_ms.is_some() {
            self.ending.push_back((last, now_ms));
        }
    }

    /// Everything before `frontier` is closed.
    pub(super) fn on_processed(&mut self, frontier: Option<Epoch>, now_ms: u64) {
        let is_closed = |(last, _): &mut (Epoch, u64)| frontier.is_none_or(|f| *last < f);
        while let Some((_, since)) = self.ending.pop_front_if(is_closed) {
            self.took_ms = [self.took_ms[1], now_ms.saturating_sub(since)];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use egret_schemas::Generation;

    fn last(commit: u32) -> Epoch {
        Epoch::new(Generation(1), commit, 3)
    }

    fn first(commit: u32) -> Option<Epoch> {
        Some(Epoch::new(Generation(1), commit, 0))
    }

    /// Each commit begins when the one before ends, and takes so long to close.
    fn after(interval: &mut Interval, took_ms: &[u64]) -> u64 {
        for (commit, took) in (0u32..).zip(took_ms) {
            let now = u64::from(commit) * 10_000;
            interval.on_ended(last(commit), now);
            interval.on_processed(first(commit + 1), now + took);
        }
        interval.ms()
    }

    #[test]
    fn ends_take_a_tenth_of_the_time_between_the_bounds() {
        let after = |took: &[u64]| after(&mut Interval::new(10, Some(1000)), took);
        assert_eq!(after(&[]), 10);
        assert_eq!(after(&[0, 0, 0]), 10, "nothing to do");
        assert_eq!(after(&[30, 30]), 300);
        assert_eq!(after(&[30, 50]), 400, "the mean of two");
        assert_eq!(after(&[500, 30, 50]), 400, "one before is forgotten");
        assert_eq!(after(&[300, 300]), 1000);
        assert_eq!(after(&[1 << 62, 1 << 62]), 1000);
        assert_eq!(after(&[300, 300, 1, 0]), 10, "it is quick again");
    }

    #[test]
    fn without_an_upper_bound_or_with_one_below_a_commit_always_lasts_as_long() {
        for most in [None, Some(0), Some(10), Some(20)] {
            let mut interval = Interval::new(20, most);
            assert_eq!(after(&mut interval, &[500, 500]), 20);
            assert_eq!(interval, Interval::new(20, None), "and nothing is taken note of");
        }
    }

    #[test]
    fn a_commit_is_closed_once_the_frontier_left_its_last_epoch() {
        let mut interval = Interval::new(10, Some(1000));
        interval.on_ended(last(0), 100);
        interval.on_processed(Some(last(0)), 160);
        assert_eq!(interval.ms(), 10, "not closed yet");
        interval.on_ended(last(1), 170);
        // Both at once; the clock may stand still.
        interval.on_processed(None, 180);
        assert_eq!(interval.ms(), 450, "80 ms and 10 ms");
    }
}
