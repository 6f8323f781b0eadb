//! What wakes a request that waits: rung when there may be something new, closed when it is too late.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::clock;

/// Wakes one waiting thread. A ring before the wait is not lost.
#[derive(Debug, Default)]
pub struct Bell {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    rung: bool,
    closed: bool,
}

/// Why a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Woken {
    /// Somebody rang.
    Rung,
    /// Nobody did in time.
    Late,
    /// Nobody will: whoever waits gives up.
    Closed,
}

impl Bell {
    /// Wakes who waits, or who will.
    pub fn ring(&self) {
        self.state().rung = true;
        self.changed.notify_all();
    }

    /// Wakes who waits, for good.
    pub fn close(&self) {
        self.state().closed = true;
        self.changed.notify_all();
    }

    /// Whether it is closed.
    pub fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// Waits for a ring, and takes it.
    pub fn wait_until(&self, deadline: Instant) -> Woken {
        let mut state = self.state();
        loop {
            if state.closed {
                return Woken::Closed;
            }
            if std::mem::take(&mut state.rung) {
                return Woken::Rung;
            }
            let left = deadline.saturating_duration_since(clock::now());
            if left.is_zero() {
                return Woken::Late;
            }
            let waited = self.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Two flags are whole whoever panicked while holding them.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::time::Duration;

    #[test]
    fn a_ring_before_the_wait_is_not_lost_and_is_taken_once() {
        let bell = Bell::default();
        bell.ring();
        bell.ring();
        let soon = clock::now() + Duration::from_secs(60);
        assert_eq!(bell.wait_until(soon), Woken::Rung);
        assert_eq!(bell.wait_until(clock::now()), Woken::Late);
    }

    #[test]
    fn who_waits_is_woken_by_a_ring_and_by_the_close() {
        let bell = Arc::new(Bell::default());
        let waiter = Arc::clone(&bell);
        let thread = std::thread::spawn(move || {
            let never = clock::now() + Duration::from_secs(600);
            (waiter.wait_until(never), waiter.wait_until(never))
        });
        bell.ring();
        // The second wait ends by the close, whether or not it began before.
        while Arc::strong_count(&bell) > 1 && bell.state().rung {
            std::thread::yield_now();
        }
        bell.close();
        assert_eq!(thread.join().unwrap(), (Woken::Rung, Woken::Closed));
    }
}
