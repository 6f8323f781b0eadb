//! When the tasks of a bolt tick.

use std::time::{Duration, Instant};

use egret_log::clock;

/// A clock counts no further than some centuries: this is never, for whoever asks for more.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

/// A bolt's ticks on one worker: all its tasks there tick together.
#[derive(Debug)]
pub(crate) struct Ticks {
    every: Duration,
    next: Instant,
    /// The task that ticks next, while they tick.
    task: Option<usize>,
}

impl Ticks {
    pub(crate) fn every(every: Duration) -> Ticks {
        let every = every.min(LONGEST);
        Ticks { every, next: clock::now() + every, task: None }
    }

    /// How long until they tick; nothing while they do.
    pub(crate) fn wait(&self) -> Duration {
        self.next.saturating_duration_since(clock::now())
    }

    /// Whether it is time to, or one of them has yet to.
    pub(crate) fn are_due(&self) -> bool {
        self.task.is_some() || self.wait().is_zero()
    }

    /// Whether it is the first one's turn.
    pub(crate) fn begins(&self) -> bool {
        self.task.is_none()
    }

    /// The next of `tasks` tasks to tick; `None` when all did, and the next time counts from now.
    pub(crate) fn take(&mut self, tasks: usize) -> Option<usize> {
        let task = self.task.unwrap_or_default();
        self.task = (task < tasks).then_some(task + 1);
        if self.task.is_none() {
            self.next = clock::now() + self.every;
        }
        self.task.map(|_| task)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_ticks_once_and_then_all_wait() {
        let mut ticks = Ticks::every(Duration::from_secs(3600));
        assert!(!ticks.are_due());
        ticks.next = clock::now();
        assert!(ticks.are_due() && ticks.begins());
        assert_eq!((ticks.take(2), ticks.take(2)), (Some(0), Some(1)));
        assert!(ticks.are_due() && !ticks.begins());
        assert_eq!(ticks.take(2), None);
        assert!(!ticks.are_due() && ticks.begins());
        assert!(ticks.wait() > Duration::from_secs(3000));
    }

    #[test]
    fn what_no_clock_counts_to_is_never() {
        assert!(!Ticks::every(Duration::MAX).are_due());
    }
}
