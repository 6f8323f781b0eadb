//! Reads of the medium that wait for a read thread: urgent ones first, the others at their pace.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::lookup::{Bounds, SentJob};
use crate::bookie::pace::{Pace, ROW_BYTES_BESIDE_ADDS};
use crate::caps;

/// Reads that may wait at once. Past it a reader is told to come back.
const READ_JOBS_MAX: usize = 4096;

/// See the [module](self).
pub(super) struct ReadJobs {
    urgent: VecDeque<SentJob>,
    others: VecDeque<SentJob>,
    /// Bytes they may take, with those under way.
    bytes: usize,
    pace: Pace,
    /// Bytes the pace was told of.
    #[cfg(test)]
    pub(super) charged: u64,
}

/// What a read at a pace came to.
pub(super) struct Took {
    /// What was read, however much was asked for.
    pub(super) bytes: u64,
    pub(super) begun: Instant,
    pub(super) now: Instant,
}

/// What a read thread does next.
pub(super) enum Next {
    Job(SentJob),
    /// Nothing for so long, or until something urgent comes.
    Rest(Duration),
    Nothing,
}

impl ReadJobs {
    pub(super) fn new(pace: Pace) -> ReadJobs {
        ReadJobs {
            urgent: VecDeque::new(),
            others: VecDeque::new(),
            bytes: 0,
            pace,
            #[cfg(test)]
            charged: 0,
        }
    }

    /// Takes a job, or gives it back when too much waits.
    pub(super) fn push(&mut self, job: SentJob) -> Option<SentJob> {
        let waiting = self.urgent.len() + self.others.len();
        if waiting >= READ_JOBS_MAX || self.bytes > caps::CATCH_UP_BYTES_MAX {
            return Some(job);
        }
        self.bytes += job.bytes();
        if job.is_urgent() {
            self.urgent.push_back(job)
        } else {
            self.others.push_back(job)
        }
        None
    }

    /// What there is to do now.
    pub(super) fn next(&mut self, now: Instant) -> Next {
        if let Some(job) = self.urgent.pop_front() {
            return Next::Job(job);
        }
        if self.others.is_empty() {
            return Next::Nothing;
        }
        match self.pace.rest(now) {
            Some(rest) => Next::Rest(rest),
            None => self.others.pop_front().map_or(Next::Nothing, Next::Job),
        }
    }

    /// A job that was [held](SentJob::bytes) for so many bytes is done, and `took` this, unless it was urgent.
    pub(super) fn done(&mut self, held: usize, took: Option<Took>, threads: usize) {
        self.bytes = self.bytes.saturating_sub(held);
        if let Some(Took { bytes, begun, now }) = took {
            self.pace.has_read(bytes, begun, now, threads);
            #[cfg(test)]
            (self.charged += bytes);
        }
    }

    /// So many bytes were appended.
    pub(super) fn added(&mut self, bytes: usize, now: Instant) {
        self.pace.added(bytes, now);
    }

    /// What one batched read may take now.
    pub(super) fn within(&self, bounds: Bounds, now: Instant) -> Bounds {
        if self.pace.beside_adds(now) {
            return bounds.at_most(ROW_BYTES_BESIDE_ADDS);
        }
        bounds
    }

    /// Takes all that waits.
    pub(super) fn drain(&mut self) -> Vec<SentJob> {
        self.urgent.drain(..).chain(self.others.drain(..)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    const MS: Duration = Duration::from_millis(1);

    fn jobs(percent: u8, jobs: &[bool]) -> ReadJobs {
        let mut all = ReadJobs::new(Pace::new(percent));
        for &urgent in jobs {
            assert!(all.push(SentJob::of_nothing(urgent, 1 << 20)).is_none());
        }
        all
    }

    fn is_urgent(next: Next) -> Option<bool> {
        if let Next::Job(job) = next { Some(job.is_urgent()) } else { None }
    }

    #[test]
    fn a_recovery_waits_for_no_history_and_for_no_pace() {
        let begin = clock::now();
        let mut jobs = jobs(10, &[false, true, false]);
        assert_eq!(is_urgent(jobs.next(begin)), Some(true));
        assert_eq!(is_urgent(jobs.next(begin)), Some(false));
        jobs.added(0, begin + MS);
        let took = Took { bytes: 1000, begun: begin, now: begin + MS };
        jobs.done(1 << 20, Some(took), 1);
        assert!(matches!(jobs.next(begin + MS), Next::Rest(_)), "history rests");
        assert!(jobs.push(SentJob::of_nothing(true, 1)).is_none());
        assert_eq!(is_urgent(jobs.next(begin + MS)), Some(true), "recovery does not");
        jobs.done(1, None, 1);
        assert_eq!(
            is_urgent(jobs.next(begin + 10 * MS)),
            Some(false),
            "rested for nine times as long"
        );
        assert!(matches!(jobs.next(begin), Next::Nothing));
    }

    /// Once it was what the reader had asked for: one at the end of what there is rested for rows it did not get.
    #[test]
    fn what_counts_is_what_was_read() {
        let begin = clock::now();
        let mut jobs = jobs(10, &[false, false]);
        jobs.added(1000, begin);
        for (bytes, rests) in [(1500, false), (501, true)] {
            assert_eq!(is_urgent(jobs.next(begin)), Some(false));
            let took = Took { bytes, begun: begin, now: begin + MS };
            jobs.done(1 << 20, Some(took), 1);
            assert!(jobs.push(SentJob::of_nothing(false, 1)).is_none());
            let next = jobs.next(begin + MS);
            assert_eq!(matches!(next, Next::Rest(_)), rests, "two for each that was appended");
        }
    }

    #[test]
    fn rows_are_short_while_appends_come_in() {
        let begin = clock::now();
        let mut jobs = jobs(10, &[]);
        let asked = Bounds::new(1000, 4 << 20);
        assert_eq!(jobs.within(asked, begin).bytes(), 4 << 20);
        jobs.added(100, begin);
        assert_eq!(jobs.within(asked, begin).bytes(), ROW_BYTES_BESIDE_ADDS);
        assert_eq!(jobs.within(asked, begin + 60 * MS).bytes(), 4 << 20);
    }

    #[test]
    fn more_than_fits_is_given_back_and_room_comes_back() {
        let mut jobs = jobs(10, &[]);
        let most = caps::CATCH_UP_BYTES_MAX >> 20;
        for n in 0..=most {
            assert!(jobs.push(SentJob::of_nothing(false, 1 << 20)).is_none(), "{n}");
        }
        assert!(jobs.push(SentJob::of_nothing(false, 1 << 20)).is_some());
        for _ in 0..2 {
            assert!(matches!(jobs.next(clock::now()), Next::Job(_)));
            jobs.done(1 << 20, None, 1);
        }
        assert!(jobs.push(SentJob::of_nothing(false, 1 << 20)).is_none());
    }
}
