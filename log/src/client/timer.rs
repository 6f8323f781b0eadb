//! Things to be done a little later, on one thread for all ledgers of a client.
//!
//! What is done must not block. The thread starts with the first thing to do and ends, everything
//! undone, when the timer is dropped.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::{clock, simulation};

pub(super) type Deed = Box<dyn FnOnce() + Send>;

struct Due {
    when: Instant,
    order: u64,
    deed: Deed,
}

impl PartialEq for Due {
    fn eq(&self, other: &Due) -> bool {
        (self.when, self.order) == (other.when, other.order)
    }
}

impl Eq for Due {}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Due) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Due {
    fn cmp(&self, other: &Due) -> std::cmp::Ordering {
        (self.when, self.order).cmp(&(other.when, other.order))
    }
}

#[derive(Default)]
struct State {
    due: BinaryHeap<Reverse<Due>>,
    orders: u64,
    thread: Option<JoinHandle<()>>,
    ended: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// See the [module](self).
#[derive(Default)]
pub(super) struct Timer {
    shared: Arc<Shared>,
}

impl fmt::Debug for Timer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timer with {} things to do", self.shared.lock().due.len())
    }
}

impl Timer {
    /// Does `deed` in `wait`. Should no thread be had, at once.
    pub(super) fn after(&self, wait: Duration, deed: impl FnOnce() + Send + 'static) {
        if let Err(deed) = self.try_after(wait, Box::new(deed)) {
            deed();
        }
    }

    /// The same; gives the deed back should no thread be had.
    pub(super) fn try_after(&self, wait: Duration, deed: Deed) -> Result<(), Deed> {
        let Err(deed) = simulation::later(wait, deed) else { return Ok(()) };
        let when = clock::now() + wait;
        let mut state = self.shared.lock();
        if state.thread.is_none() {
            let shared = Arc::clone(&self.shared);
            let thread = std::thread::Builder::new().name("egret-timer".to_owned());
            match thread.spawn(move || shared.run()) {
                Ok(thread) => state.thread = Some(thread),
                Err(error) => {
                    tracing::warn!(%error, "no thread for what is to be done later");
                    return Err(deed);
                }
            }
        }
        let order = state.orders;
        state.orders += 1;
        state.due.push(Reverse(Due { when, order, deed }));
        self.shared.changed.notify_one();
        Ok(())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut state = self.lock();
        while !state.ended {
            let now = clock::now();
            let first = state.due.peek().map(|due| due.0.when);
            state = match first {
                Some(when) if when <= now => {
                    let due = state.due.pop().expect("it was looked at").0;
                    drop(state);
                    (due.deed)();
                    self.lock()
                }
                Some(when) => {
                    let waited = self.changed.wait_timeout(state, when - now);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let (thread, undone) = {
            let mut state = self.shared.lock();
            state.ended = true;
            (state.thread.take(), std::mem::take(&mut state.due))
        };
        self.shared.changed.notify_one();
        // What is undone may hold the last handle to what owns this timer.
        drop(undone);
        if let Some(thread) = thread
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("something done later panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::sync_channel;

    #[test]
    fn what_is_due_first_is_done_first() {
        let timer = Timer::default();
        let (told, tells) = sync_channel(2);
        let later = told.clone();
        timer.after(Duration::from_millis(40), move || later.send(2).unwrap());
        timer.after(Duration::from_millis(1), move || told.send(1).unwrap());
        assert_eq!(tells.iter().collect::<Vec<_>>(), [1, 2]);
    }

    #[test]
    fn what_is_not_due_yet_is_dropped_with_the_timer() {
        let timer = Timer::default();
        let (told, tells) = sync_channel::<()>(1);
        timer.after(Duration::from_secs(600), move || told.send(()).unwrap());
        drop(timer);
        assert!(tells.recv().is_err());
    }
}
