//! What goes on beside the requests, at a pace: compaction, and reading everything again.
//!
//! Both spend from a budget of bytes a second and wait where the journal has work. The thread ends when
//! the shard stops; without threads nothing here happens by itself.

use std::sync::PoisonError;
use std::time::Duration;

use super::Shard;
use crate::caps;

/// How long one background task waits at most because the journal has work.
const YIELD: Duration = Duration::from_millis(2);

/// A budget of bytes a second. Zero bytes a second is no limit.
#[derive(Debug)]
pub(crate) struct Pace {
    bytes_per_s: u64,
    /// Spent and not yet waited for.
    spent: u64,
}

impl Pace {
    /// So many bytes a second.
    pub(crate) fn new(bytes_per_s: u64) -> Pace {
        Pace { bytes_per_s, spent: 0 }
    }

    /// As fast as it goes.
    pub(crate) fn unlimited() -> Pace {
        Pace::new(0)
    }

    /// Takes note of bytes; how long to wait now.
    fn owed(&mut self, bytes: usize) -> Option<Duration> {
        self.spent += u64::try_from(bytes).expect("a length in memory fits u64");
        if self.bytes_per_s == 0 || self.spent < caps::UPKEEP_PIECE_BYTES.min(self.bytes_per_s) {
            return None;
        }
        let micros = self.spent.saturating_mul(1_000_000) / self.bytes_per_s;
        self.spent = 0;
        Some(Duration::from_micros(micros))
    }
}

impl Shard {
    /// Spends from a budget, waiting as it must. `false` when the shard stops.
    pub(super) fn spend(&self, pace: &mut Pace, bytes: usize) -> bool {
        let Some(wait) = pace.owed(bytes) else { return true };
        let mut state = self.lock();
        if state.stopped || !self.config.background {
            return !state.stopped;
        }
        let mut left = wait + if state.queued_bytes > 0 { YIELD } else { Duration::ZERO };
        let until = crate::clock::now() + left;
        while !state.stopped && !left.is_zero() {
            let waited = self.upkeep.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            left = until.saturating_duration_since(crate::clock::now());
        }
        !state.stopped
    }

    /// Has extents looked through for dead ones.
    pub(super) fn want_compaction(&self, state: &mut super::State) {
        state.compaction_wanted = true;
        self.upkeep.notify_all();
    }

    pub(super) fn run_upkeep(&self) {
        let mut compaction = Pace::new(self.config.compact_bytes_per_s);
        let scrubs = self.config.scrub_bytes_per_s > 0;
        // Not in the middle of a start.
        let mut scrub_at = crate::clock::now() + Duration::from_secs(1);
        let mut state = self.lock();
        while !state.stopped {
            if std::mem::take(&mut state.compaction_wanted) && state.poisoned.is_none() {
                drop(state);
                if let Err(why) = self.compact(&mut compaction) {
                    tracing::warn!(%why, "compaction was not finished");
                }
                state = self.lock();
                continue;
            }
            if scrubs && crate::clock::now() >= scrub_at {
                drop(state);
                scrub_at = crate::clock::now() + self.scrub_some();
                state = self.lock();
                continue;
            }
            if scrubs {
                let left = scrub_at.saturating_duration_since(crate::clock::now());
                let waited = self.upkeep.wait_timeout(state, left);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
            } else {
                state = self.upkeep.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
        }
    }

    /// Scrubs the next piece; how long to rest after it.
    pub(crate) fn scrub_some(&self) -> Duration {
        let mut place = self.lock().scrub;
        let done = self.scrub_piece(&mut place);
        let mut state = self.lock();
        state.scrub = place;
        state.scrubbed_bytes += done.bytes;
        state.scrub_turns += u64::from(done.turned);
        if done.turned {
            return Duration::from_millis(self.config.scrub_rest_ms);
        }
        let micros = done.bytes.saturating_mul(1_000_000);
        let busy = if state.queued_bytes > 0 { YIELD } else { Duration::ZERO };
        Duration::from_micros(micros / self.config.scrub_bytes_per_s.max(1)) + busy
    }
}
