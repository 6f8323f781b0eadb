//! Event time at a spout: what its tuples say, split by split.
//!
//! The functions that read the time run over whole batches, and only where a spout says its event time:
//! [`Emitter::emit`](super::Emitter::emit) knows nothing of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use egret_state::commit::Mark;

/// How long a split may be quiet before nobody waits for it, where the topology does not say: longer than
/// a producer or a takeover takes to come back.
const IDLE_MS: u64 = 60_000;

/// How the watermark of a spout follows the event time of its tuples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct EventTime {
    /// How far behind the latest tuple of its split, in ms, a tuple may come and still be on time. The
    /// watermark stays that far behind. 0 unless said: each split is in order.
    pub out_of_order_ms: u64,
    /// A split (a partition of a stream) that has had nothing for this long, in ms, is left out: the
    /// watermark goes on without it, and what it then has may be late. 60 s unless said.
    pub idle_ms: u64,
}

impl Default for EventTime {
    fn default() -> EventTime {
        EventTime { out_of_order_ms: 0, idle_ms: IDLE_MS }
    }
}

impl std::fmt::Display for EventTime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let EventTime { out_of_order_ms, idle_ms } = self;
        write!(f, "up to {out_of_order_ms} ms out of order, splits idle after {idle_ms} ms")
    }
}

/// The latest event time among some tuples.
pub(crate) type LatestOf<T> = Arc<dyn Fn(&[T]) -> Option<i64> + Send + Sync>;

/// Follows the event time of one spout task.
pub(crate) struct Times<T> {
    latest_of: LatestOf<T>,
    config: EventTime,
    splits: Vec<Split>,
    /// The split that tuples come from now.
    from: usize,
    /// How many tuples of the open batch are looked at.
    seen: usize,
}

#[derive(Debug, Clone, Copy, Default)]
struct Split {
    latest: Option<i64>,
    /// Since when it has nothing.
    quiet: Option<Instant>,
    left_out: bool,
}

impl<T> Times<T> {
    pub(crate) fn new(latest_of: LatestOf<T>, config: EventTime) -> Times<T> {
        Times { latest_of, config, splits: vec![Split::default()], from: 0, seen: 0 }
    }

    /// How many splits the task has.
    pub(crate) fn begin(&mut self, splits: usize) {
        self.splits = vec![Split::default(); splits];
    }

    /// Looks at what came into the open batch since the last call.
    pub(crate) fn look(&mut self, open: &[T]) {
        let new = &open[self.seen..];
        self.seen = open.len();
        if new.is_empty() {
            return;
        }
        let (from, splits) = (self.from, self.splits.len());
        let split = self.splits.get_mut(from).unwrap_or_else(|| {
            panic!("the spout emitted from split {from}, and has {splits} as `Spout::splits` says")
        });
        split.latest = split.latest.max((self.latest_of)(new));
        split.quiet = None;
    }

    /// The open batch was looked at and is sent: the next one begins.
    pub(crate) fn sent(&mut self) {
        self.seen = 0;
    }

    /// What is emitted from here on comes from this split.
    pub(crate) fn from(&mut self, open: &[T], split: usize) {
        if split != self.from {
            self.look(open);
            self.from = split;
        }
    }

    /// A split has nothing for now.
    pub(crate) fn quiet(&mut self, open: &[T], split: usize, now: Instant) {
        self.look(open);
        if let Some(split) = self.splits.get_mut(split) {
            split.quiet.get_or_insert(now);
        }
    }

    /// No split has anything for now.
    pub(crate) fn all_quiet(&mut self, open: &[T], now: Instant) {
        self.look(open);
        for split in &mut self.splits {
            split.quiet.get_or_insert(now);
        }
    }

    /// What the task can say with everything sent so far. `tell` hears of every split that is left out
    /// from now on, and of every one that counts again.
    pub(crate) fn mark(&mut self, now: Instant, mut tell: impl FnMut(usize, bool)) -> Mark {
        let EventTime { out_of_order_ms, idle_ms } = self.config;
        let idle_after = Duration::from_millis(idle_ms);
        Mark::all(self.splits.iter_mut().enumerate().map(|(index, split)| {
            let is_over = |since: Instant| now.saturating_duration_since(since) >= idle_after;
            let idle = split.quiet.is_some_and(is_over);
            if idle != split.left_out {
                split.left_out = idle;
                tell(index, idle);
            }
            Mark { ms: split.latest.map(|ms| ms.saturating_sub_unsigned(out_of_order_ms)), idle }
        }))
    }

    /// How long until the next split is left out, if nothing comes.
    pub(crate) fn until_idle(&self, now: Instant) -> Option<Duration> {
        let idle_after = Duration::from_millis(self.config.idle_ms);
        let waits = self.splits.iter().filter(|split| !split.left_out);
        let left = |since: Instant| idle_after.saturating_sub(now.saturating_duration_since(since));
        waits.filter_map(|split| split.quiet.map(left)).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn times(out_of_order_ms: u64, splits: usize) -> Times<i64> {
        let latest_of = Arc::new(|tuples: &[i64]| tuples.iter().copied().max());
        let mut times = Times::new(latest_of, EventTime { out_of_order_ms, idle_ms: 1000 });
        times.begin(splits);
        times
    }

    fn mark(times: &mut Times<i64>, now: Instant) -> (Option<i64>, bool) {
        let Mark { ms, idle } = times.mark(now, |_, _| {});
        (ms, idle)
    }

    #[test]
    fn a_batch_counts_for_the_splits_its_tuples_came_from() {
        let now = egret_log::clock::now();
        let mut times = times(10, 2);
        times.from(&[], 0);
        times.from(&[100, 90], 1);
        times.look(&[100, 90, 70]);
        assert_eq!(mark(&mut times, now), (Some(60), false));
        times.sent();
        times.look(&[95]);
        assert_eq!(mark(&mut times, now), (Some(85), false), "the second tuple of split 1");
    }

    #[test]
    fn a_split_without_a_tuple_holds_the_mark_until_it_is_idle_and_is_told_of() {
        let now = egret_log::clock::now();
        let mut times = times(0, 2);
        times.look(&[100]);
        times.quiet(&[100], 1, now);
        assert_eq!(mark(&mut times, now), (None, false));
        assert_eq!(times.until_idle(now), Some(Duration::from_secs(1)));
        let later = now + Duration::from_millis(1000);
        let mut told = Vec::new();
        assert_eq!(times.mark(later, |split, out| told.push((split, out))).ms, Some(100));
        assert_eq!(times.until_idle(later), None, "nothing else to wait for");
        times.from(&[100], 1);
        times.look(&[100, 80]);
        assert_eq!(times.mark(later, |split, out| told.push((split, out))).ms, Some(80));
        assert_eq!(told, [(1, true), (1, false)]);
    }

    #[test]
    fn a_task_whose_splits_are_all_quiet_and_one_without_splits_are_idle() {
        let now = egret_log::clock::now();
        let later = now + Duration::from_secs(2);
        let mut both = times(0, 2);
        both.look(&[100]);
        both.all_quiet(&[100], now);
        assert_eq!(mark(&mut both, later), (Some(100), true));
        assert_eq!(mark(&mut times(0, 0), now), (None, true));
    }

    #[test]
    fn times_at_the_ends_of_their_range_stay_in_it() {
        let mut times = times(u64::MAX, 1);
        times.look(&[i64::MIN, -5]);
        assert_eq!(mark(&mut times, egret_log::clock::now()), (Some(i64::MIN), false));
    }
}
