//! Where a simulation stands in for time and for other threads: everything on one thread, from one seed.
//!
//! A thread that [`enter`]s a simulation reads the simulator's [clock](crate::clock); where it would wait
//! for another thread the simulator does something else meanwhile, and what it would have done a little
//! later is the simulator's to do. Nothing here decides anything, and a thread that never entered one pays
//! one look at a thread-local for it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Something to be done later; it does not block.
pub type Deed = Box<dyn FnOnce() + Send>;

/// What one thread's simulation does in place of other threads.
pub trait Simulator {
    /// Lets something else happen; whoever waits looks again afterwards, and waits on if need be.
    fn idle(&self);

    /// Does `deed` in `wait` of simulated time.
    fn later(&self, wait: Duration, deed: Deed);

    /// A number that the machine's randomness would have given.
    fn draw(&self) -> u64;
}

thread_local! {
    /// When it was entered, and now.
    static NOW: Cell<Option<(Instant, Instant)>> = const { Cell::new(None) };
    static SIMULATOR: RefCell<Option<Rc<dyn Simulator>>> = const { RefCell::new(None) };
}

/// What the wall clock says when a simulation is entered, in milliseconds since 1970.
const WALL_MS: u64 = 1_700_000_000_000;

/// Makes this thread part of a simulation, until the guard is dropped.
#[must_use]
pub fn enter(simulator: Rc<dyn Simulator>, now: Instant) -> Entered {
    NOW.set(Some((now, now)));
    SIMULATOR.set(Some(simulator));
    Entered(())
}

/// Turns this thread's clock.
///
/// # Panics
/// Outside of a simulation.
pub fn set_now(now: Instant) {
    let (began, _) = NOW.get().expect("only a simulation turns the clock");
    NOW.set(Some((began, now)));
}

/// This thread is part of a simulation while this lives.
#[derive(Debug)]
pub struct Entered(());

impl Drop for Entered {
    fn drop(&mut self) {
        NOW.set(None);
        SIMULATOR.set(None);
    }
}

/// What the simulated clock of this thread says, if there is one.
pub(crate) fn now() -> Option<Instant> {
    NOW.get().map(|(_, now)| now)
}

/// What the simulated wall clock of this thread says, if there is one.
pub(crate) fn wall_ms() -> Option<u64> {
    let (began, now) = NOW.get()?;
    let since = now.saturating_duration_since(began).as_millis();
    Some(WALL_MS.saturating_add(u64::try_from(since).unwrap_or(u64::MAX)))
}

/// Whether this thread is part of one: then there is no other thread to give anything to.
pub fn is_entered() -> bool {
    NOW.get().is_some()
}

fn simulator() -> Option<Rc<dyn Simulator>> {
    SIMULATOR.with_borrow(Option::clone)
}

/// Waits on `condvar`, or lets the simulator go on: `guard` is of `mutex`.
pub(crate) fn wait<'a, T>(
    condvar: &Condvar,
    mutex: &'a Mutex<T>,
    guard: MutexGuard<'a, T>,
) -> MutexGuard<'a, T> {
    if now().is_none() {
        return condvar.wait(guard).unwrap_or_else(PoisonError::into_inner);
    }
    drop(guard);
    if let Some(simulator) = simulator() {
        simulator.idle();
    }
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives a deed to the simulator; back, outside of a simulation.
pub(crate) fn later(wait: Duration, deed: Deed) -> Result<(), Deed> {
    match simulator() {
        Some(simulator) => {
            simulator.later(wait, deed);
            Ok(())
        }
        None => Err(deed),
    }
}

/// A number from the simulator, if there is one.
pub(crate) fn draw() -> Option<u64> {
    simulator().map(|simulator| simulator.draw())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use std::sync::Arc;

    struct Opens(Arc<Mutex<bool>>, RefCell<Vec<Duration>>);

    impl Simulator for Opens {
        fn idle(&self) {
            *self.0.lock().unwrap() = true;
        }

        fn later(&self, wait: Duration, _: Deed) {
            self.1.borrow_mut().push(wait);
        }

        fn draw(&self) -> u64 {
            7
        }
    }

    #[test]
    fn a_simulated_thread_has_its_own_time_and_waits_for_nobody() {
        let open = Arc::new(Mutex::new(false));
        let simulator = Rc::new(Opens(Arc::clone(&open), RefCell::default()));
        let began = clock::now();
        let entered = enter(Rc::clone(&simulator) as _, began);
        set_now(began + Duration::from_secs(3600));
        assert_eq!(clock::now(), began + Duration::from_secs(3600));
        let never = Condvar::new();
        let mut guard = open.lock().unwrap();
        while !*guard {
            guard = wait(&never, &open, guard);
        }
        drop(guard);
        assert!(later(Duration::from_secs(1), Box::new(|| ())).is_ok());
        assert_eq!(*simulator.1.borrow(), [Duration::from_secs(1)]);
        assert_eq!(draw(), Some(7));
        drop(entered);
        assert_eq!(draw(), None);
        assert!(clock::now() < began + Duration::from_secs(1800));
        assert!(later(Duration::ZERO, Box::new(|| ())).is_err());
    }
}
