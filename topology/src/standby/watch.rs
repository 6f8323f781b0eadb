//! What a process that stands by does about what it sees: pure.

use std::time::{Duration, Instant};

use egret_state::commit::RunState;

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Nothing: there is nobody to stand by for.
    Wait,
    /// Follow its state.
    Follow,
    /// Run it: it was begun, nobody runs it, and it did not end in order.
    TakeOver,
    /// It ended in order while this process stood by.
    End,
}

/// See the [module](self).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watch {
    /// How long nobody must have run what was never seen running: somebody may just be starting it, and says so
    /// when it is claimed.
    grace: Duration,
    /// Whether it was seen running.
    seen: bool,
    /// Since when it is known that nobody runs it.
    since: Option<Instant>,
}

impl Watch {
    pub(crate) fn new(grace: Duration) -> Watch {
        Watch { grace, seen: false, since: None }
    }

    /// `begun`: there is a record of the topology. `run`: what stands there of who runs it; `None` when nothing
    /// does, for a record that says that somebody runs it goes with its lease.
    pub(crate) fn decide(&mut self, begun: bool, run: Option<RunState>, now: Instant) -> Decision {
        if run.is_some() || !begun {
            self.since = None;
        }
        match run {
            Some(RunState::Runs) => {
                self.seen = true;
                Decision::Follow
            }
            Some(RunState::Ended(_)) if self.seen => Decision::End,
            // Whoever starts it again starts it on purpose.
            Some(RunState::Ended(_)) => Decision::Wait,
            // It was deleted.
            None if !begun && self.seen => Decision::End,
            None if !begun => Decision::Wait,
            None if self.seen => Decision::TakeOver,
            None => {
                let since = *self.since.get_or_insert(now);
                match now.saturating_duration_since(since) >= self.grace {
                    true => Decision::TakeOver,
                    false => Decision::Wait,
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use egret_schemas::Generation;

    const RUNS: Option<RunState> = Some(RunState::Runs);
    const ENDED: Option<RunState> = Some(RunState::Ended(Generation(1)));

    const GRACE: Duration = Duration::from_secs(1);

    #[test]
    fn one_that_was_never_begun_or_ended_before_is_waited_for() {
        let (mut watch, now) = (Watch::new(GRACE), egret_log::clock::now());
        assert_eq!(watch.decide(false, None, now), Decision::Wait);
        assert_eq!(watch.decide(true, ENDED, now), Decision::Wait);
        assert_eq!(watch.decide(true, RUNS, now), Decision::Follow);
        assert_eq!(watch.decide(true, ENDED, now), Decision::End);
        assert_eq!(watch.decide(false, None, now), Decision::End, "it was deleted");
    }

    #[test]
    fn one_that_nobody_runs_any_more_is_taken_over_at_once() {
        let (mut watch, now) = (Watch::new(GRACE), egret_log::clock::now());
        assert_eq!(watch.decide(true, RUNS, now), Decision::Follow);
        assert_eq!(watch.decide(true, None, now), Decision::TakeOver);
    }

    /// Between its claim and saying so, whoever just starts it does not seem to be there.
    #[test]
    fn one_that_was_never_seen_running_is_taken_over_when_nobody_ran_it_for_a_while() {
        let (mut watch, now) = (Watch::new(GRACE), egret_log::clock::now());
        assert_eq!(watch.decide(true, None, now), Decision::Wait);
        assert_eq!(watch.decide(true, None, now + GRACE / 2), Decision::Wait);
        let mut starts = watch;
        assert_eq!(watch.decide(true, None, now + GRACE), Decision::TakeOver);
        assert_eq!(starts.decide(true, ENDED, now + GRACE / 2), Decision::Wait);
        assert_eq!(starts.decide(true, None, now + GRACE), Decision::Wait, "it counts anew");
    }
}
