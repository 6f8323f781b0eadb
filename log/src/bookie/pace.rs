//! How fast history is read while appends come in.
//!
//! An append waits for processor, disk and network that catch-up reads use as well. So while appends
//! come in, a reader thread rests after each read in proportion to the time it took: it works for
//! a set part of the time, which is much on a fast host and little on a slow or busy one, without anybody
//! measuring either. It never falls behind what is appended, for then nobody would ever catch up: for each
//! byte appended two may be read without rest. When nothing is appended there is no rest at all.
//!
//! Facts come in, the time of the next read goes out; the clock is the caller's.

use std::time::{Duration, Instant};

/// Appends that long ago are over.
const RECENT: Duration = Duration::from_millis(50);

/// Longer than this no reader rests, whatever its last read took.
const REST_MAX: Duration = Duration::from_millis(250);

/// Bytes that may be read for each that is appended, whatever it costs the appends.
const READ_PER_ADDED: u64 = 2;

/// Bytes of such allowance that are saved up.
const ALLOWANCE_MAX: u64 = 16 << 20;

/// Bytes of one answer while appends come in: each holds them up for as long as it takes.
pub(super) const ROW_BYTES_BESIDE_ADDS: u64 = 512 << 10;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Pace {
    /// Of the time, what reads may take beside appends.
    percent: u32,
    last_add: Option<Instant>,
    allowance: u64,
    resume: Option<Instant>,
}

impl Pace {
    /// Reads take `percent` of the time beside appends; 100 is no rest.
    pub(super) fn new(percent: u8) -> Pace {
        let percent = u32::from(percent.clamp(1, 100));
        Pace { percent, last_add: None, allowance: 0, resume: None }
    }

    /// So many bytes were appended.
    pub(super) fn added(&mut self, bytes: usize, now: Instant) {
        self.last_add = Some(now);
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let more = bytes.saturating_mul(READ_PER_ADDED);
        self.allowance = self.allowance.saturating_add(more).min(ALLOWANCE_MAX);
    }

    /// Whether appends come in.
    pub(super) fn beside_adds(&self, now: Instant) -> bool {
        self.percent < 100
            && self.last_add.is_some_and(|at| now.saturating_duration_since(at) < RECENT)
    }

    /// A read of so many bytes took from `begun` to `now`, on one of so many threads.
    pub(super) fn has_read(&mut self, bytes: u64, begun: Instant, now: Instant, threads: usize) {
        if !self.beside_adds(now) {
            return;
        }
        if let Some(left) = self.allowance.checked_sub(bytes) {
            self.allowance = left;
            return;
        }
        let took = now.saturating_duration_since(begun);
        let threads = u32::try_from(threads.max(1)).unwrap_or(u32::MAX);
        let rest = took * (100 - self.percent) / self.percent / threads;
        let from = self.resume.map_or(now, |resume| resume.max(now));
        self.resume = Some(from + rest.min(REST_MAX));
    }

    /// How long nothing is to be read yet.
    pub(super) fn rest(&self, now: Instant) -> Option<Duration> {
        if !self.beside_adds(now) || self.allowance >= ROW_BYTES_BESIDE_ADDS {
            return None;
        }
        let left = self.resume?.saturating_duration_since(now);
        // Nobody sleeps through the end of the appends.
        (!left.is_zero()).then(|| left.min(RECENT))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn reads_rest_in_proportion_to_what_they_took_while_appends_come_in() {
        let begin = clock::now();
        let mut pace = Pace::new(10);
        pace.added(100, begin);
        pace.has_read(1000, begin, begin + 2 * MS, 1);
        assert_eq!(pace.rest(begin + 2 * MS), Some(18 * MS));
        assert_eq!(pace.rest(begin + 19 * MS), Some(MS));
        assert_eq!(pace.rest(begin + 20 * MS), None);
    }

    #[test]
    fn without_appends_nobody_rests() {
        let begin = clock::now();
        let mut pace = Pace::new(10);
        pace.has_read(1000, begin, begin + 2 * MS, 1);
        assert_eq!(pace.rest(begin + 2 * MS), None, "there never was one");
        pace.added(0, begin);
        pace.has_read(1000, begin, begin + 20 * MS, 1);
        assert_eq!(pace.rest(begin + 20 * MS), Some(RECENT), "looks again when they may be over");
        assert_eq!(pace.rest(begin + RECENT), None, "the last was long ago");
        let mut free = Pace::new(100);
        free.added(0, begin);
        free.has_read(1000, begin, begin + 20 * MS, 1);
        assert_eq!(free.rest(begin + 20 * MS), None, "all of the time is all of the time");
    }

    #[test]
    fn readers_are_faster_than_what_is_appended_whatever_that_costs() {
        let begin = clock::now();
        let mut pace = Pace::new(1);
        let (mut added, mut read) = (0_u64, 0_u64);
        for n in 0..1000 {
            let now = begin + n * MS;
            pace.added(100_000, now);
            added += 100_000;
            while pace.rest(now).is_none() && read < 10 * added {
                pace.has_read(50_000, now, now + 5 * MS, 1);
                read += 50_000;
            }
        }
        assert!(read * 10 >= added * 19, "{read} of {added}");
    }

    #[test]
    fn the_rest_is_bounded_and_shared_by_threads() {
        let begin = clock::now();
        let mut pace = Pace::new(1);
        let mut now = begin;
        for _ in 0..10 {
            pace.added(0, now);
            let begun = now;
            now += 1000 * MS;
            pace.added(0, now);
            pace.has_read(1000, begun, now, 1);
            let left = pace.resume.unwrap().saturating_duration_since(now);
            assert!(left <= REST_MAX, "{left:?}");
        }
        let mut two = Pace::new(10);
        two.added(0, begin);
        two.has_read(1000, begin, begin + 2 * MS, 2);
        assert_eq!(two.rest(begin + 2 * MS), Some(9 * MS));
    }
}
