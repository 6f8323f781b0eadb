//! Messages that were emitted and are not acknowledged: which commit has them, and whether that takes too long.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// A message on its way.
struct Sent<I> {
    number: u64,
    /// Gone when it was given up: it still takes its room, for it is still worked on.
    id: Option<I>,
    since: Instant,
}

/// See the [module](self). Messages are numbered as they come; a commit has all of them below a number.
pub(super) struct Outstanding<I> {
    sent: VecDeque<Sent<I>>,
    /// The number of the next one.
    next: u64,
    /// Commits that ended and are not made, the oldest first: up to which number, and when.
    ended: VecDeque<(u64, Instant)>,
    /// When a commit was made last.
    made: Option<Instant>,
    timeout: Option<Duration>,
    /// Whether everything was given up, and no commit was made since.
    is_late: bool,
}

impl<I> Outstanding<I> {
    pub(super) fn new(timeout: Option<Duration>) -> Outstanding<I> {
        let (sent, ended) = (VecDeque::new(), VecDeque::new());
        Outstanding { sent, next: 0, ended, made: None, timeout, is_late: false }
    }

    /// Goes on from this number.
    pub(super) fn begin(&mut self, number: u64) {
        self.next = number;
    }

    pub(super) fn len(&self) -> usize {
        self.sent.len()
    }

    /// Whether more is of no use: a commit takes too long.
    pub(super) fn is_late(&self) -> bool {
        self.is_late
    }

    pub(super) fn add(&mut self, id: I, now: Instant) {
        self.sent.push_back(Sent { number: self.next, id: Some(id), since: now });
        self.next += 1;
    }

    /// The open commit ends; up to which number it has messages.
    pub(super) fn commit_ends(&mut self, now: Instant) -> u64 {
        let last = self.ended.back().map(|(number, _)| *number);
        let first = self.sent.front().map_or(self.next, |sent| sent.number);
        if last.unwrap_or(first) < self.next {
            self.ended.push_back((self.next, now));
        }
        self.next
    }

    /// A commit was made: which of its messages are to be acknowledged.
    pub(super) fn committed(&mut self, number: u64, now: Instant) -> Vec<I> {
        self.made = Some(now);
        self.is_late = false;
        self.ended.retain(|(upto, _)| *upto > number);
        let of = self.sent.partition_point(|sent| sent.number < number);
        let mut was_given_up = false;
        let mut ids = Vec::with_capacity(of);
        for sent in self.sent.drain(..of) {
            was_given_up |= sent.id.is_none();
            ids.extend(sent.id);
        }
        if was_given_up {
            // It was merely slow. To give up what follows as soon would repeat it for ever.
            self.timeout = self.timeout.map(|timeout| timeout.saturating_mul(2));
        }
        ids
    }

    /// Messages that took too long, given up by this; and in how long the next ones do.
    pub(super) fn give_up(&mut self, now: Instant) -> (Vec<I>, Option<Duration>) {
        let (Some(timeout), Some((_, ended)), false) =
            (self.timeout, self.ended.front(), self.is_late)
        else {
            return (Vec::new(), None);
        };
        let since = self.made.map_or(*ended, |made| made.max(*ended));
        let wait = timeout.saturating_sub(now.saturating_duration_since(since));
        if !wait.is_zero() {
            return (Vec::new(), Some(wait));
        }
        // Commits are made in order: what follows waits as well.
        self.is_late = true;
        (self.take(), None)
    }

    /// All ids there are.
    pub(super) fn take(&mut self) -> Vec<I> {
        self.sent.iter_mut().filter_map(|sent| sent.id.take()).collect()
    }

    /// What was received that long ago.
    pub(super) fn older_than(&self, age: Duration, now: Instant) -> impl Iterator<Item = &I> {
        let is_old = move |sent: &&Sent<I>| now.saturating_duration_since(sent.since) >= age;
        self.sent.iter().take_while(is_old).filter_map(|sent| sent.id.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn sent(numbers: std::ops::Range<u64>, timeout: u32) -> (Outstanding<u64>, Instant) {
        let now = egret_log::clock::now();
        let mut outstanding = Outstanding::new(Some(SECOND * timeout));
        numbers.for_each(|n| outstanding.add(n, now));
        (outstanding, now)
    }

    #[test]
    fn a_commit_acknowledges_what_it_has_and_nothing_after_it() {
        let (mut outstanding, now) = sent(0..3, 10);
        let first = outstanding.commit_ends(now);
        outstanding.add(3, now);
        let second = outstanding.commit_ends(now);
        outstanding.add(4, now);
        assert_eq!((first, second), (3, 4));
        assert_eq!(outstanding.committed(first, now), [0, 1, 2]);
        assert_eq!(outstanding.len(), 2);
        assert_eq!(outstanding.committed(second, now), [3]);
        assert_eq!(outstanding.commit_ends(now), 5);
        assert_eq!(outstanding.committed(5, now), [4]);
    }

    #[test]
    fn numbers_go_on_from_what_is_committed() {
        let (mut outstanding, now) = sent(0..0, 10);
        outstanding.begin(7);
        assert_eq!(outstanding.commit_ends(now), 7);
        outstanding.add(1, now);
        assert_eq!(outstanding.committed(7, now), [0; 0], "it was emitted after that");
        assert_eq!(outstanding.commit_ends(now), 8);
        assert_eq!(outstanding.committed(8, now), [1]);
    }

    #[test]
    fn an_open_commit_takes_as_long_as_it_takes() {
        let (mut outstanding, now) = sent(0..3, 10);
        assert_eq!(outstanding.give_up(now + SECOND * 1000), (vec![], None));
        outstanding.commit_ends(now + SECOND * 1000);
        assert_eq!(outstanding.give_up(now + SECOND * 1009), (vec![], Some(SECOND)));
        assert_eq!(outstanding.give_up(now + SECOND * 1010), (vec![0, 1, 2], None));
    }

    #[test]
    fn commits_that_are_made_one_after_another_are_slow_and_not_late() {
        let (mut outstanding, now) = sent(0..3, 10);
        for second in 1..=3 {
            outstanding.commit_ends(now);
            outstanding.add(second + 2, now);
        }
        for (second, upto) in (1..=3).zip(3..) {
            assert_eq!(outstanding.give_up(now + SECOND * 9 * second).0, [0; 0]);
            outstanding.committed(upto, now + SECOND * 9 * second);
        }
    }

    #[test]
    fn what_was_given_up_takes_room_is_not_acknowledged_and_teaches_patience() {
        let (mut outstanding, now) = sent(0..3, 10);
        let commit = outstanding.commit_ends(now);
        outstanding.add(3, now);
        let (given_up, _) = outstanding.give_up(now + SECOND * 10);
        assert_eq!(given_up, [0, 1, 2, 3], "what follows waits for the same");
        assert!(outstanding.is_late() && outstanding.len() == 4);
        assert_eq!(outstanding.give_up(now + SECOND * 90).0, [0; 0], "once");
        assert_eq!(outstanding.committed(commit, now + SECOND * 95), [0; 0]);
        assert!(!outstanding.is_late() && outstanding.len() == 1);
        outstanding.add(4, now + SECOND * 95);
        outstanding.commit_ends(now + SECOND * 95);
        assert_eq!(outstanding.give_up(now + SECOND * 114).0, [0; 0]);
        assert_eq!(outstanding.give_up(now + SECOND * 115).0, [4], "twice as long");
    }

    #[test]
    fn what_is_held_is_what_is_there_for_some_time() {
        let (mut outstanding, now) = sent(0..2, 10);
        outstanding.add(2, now + SECOND);
        let held = |o: &Outstanding<u64>, at| o.older_than(SECOND, at).copied().collect::<Vec<_>>();
        assert_eq!(held(&outstanding, now + SECOND), [0, 1]);
        outstanding.commit_ends(now);
        outstanding.give_up(now + SECOND * 10);
        assert_eq!(held(&outstanding, now + SECOND * 10), [0; 0]);
    }
}
