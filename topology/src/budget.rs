//! Bytes on their way, counted, so that memory stays bounded whatever a bolt emits.
//!
//! Every batch is charged when it is shipped and released when its consumer is done with it, stashes
//! included. Spouts ask [`Budget::exhausted`] before they emit; bolts never wait, so whatever holds
//! the oldest epoch can always finish.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Bytes in flight in one process.
#[derive(Debug)]
pub(crate) struct Budget {
    used: AtomicUsize,
    peak: AtomicUsize,
    max: usize,
}

impl Budget {
    pub(crate) fn new(max: usize) -> Arc<Budget> {
        Arc::new(Budget { used: AtomicUsize::new(0), peak: AtomicUsize::new(0), max })
    }

    /// Whether spouts should hold back.
    pub(crate) fn exhausted(&self) -> bool {
        self.used.load(Ordering::Relaxed) >= self.max
    }

    /// The most that was ever in flight.
    pub(crate) fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }

    /// Counts `bytes` until the charge is dropped.
    pub(crate) fn charge(self: &Arc<Self>, bytes: usize) -> Charge {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if used > self.peak.load(Ordering::Relaxed) {
            self.peak.fetch_max(used, Ordering::Relaxed);
        }
        Charge { budget: Some(Arc::clone(self)), bytes, handed_over: Cell::new(false) }
    }
}

thread_local! {
    /// The budget of the process this worker thread belongs to.
    static OF_WORKER: RefCell<Option<Arc<Budget>>> = const { RefCell::new(None) };
}

/// Makes `budget` the one that batches arriving on this thread are counted against.
pub(crate) fn adopt(budget: &Arc<Budget>) {
    OF_WORKER.with_borrow_mut(|own| *own = Some(Arc::clone(budget)));
}

/// Bytes counted against a [`Budget`] while this lives.
#[derive(Debug)]
pub(crate) struct Charge {
    budget: Option<Arc<Budget>>,
    bytes: usize,
    handed_over: Cell<bool>,
}

impl Charge {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Leaves the bytes counted when this is dropped: their encoding is on its way to a worker of
    /// this process, which takes the count over with [`Charge::take_over`].
    pub(crate) fn hand_over(&self) {
        self.handed_over.set(true);
    }

    /// Takes over bytes that the sender left counted.
    pub(crate) fn take_over(bytes: usize) -> Charge {
        let budget = OF_WORKER.with_borrow(Option::clone);
        Charge { budget, bytes, handed_over: Cell::new(false) }
    }

    pub(crate) fn copy(&self) -> Charge {
        match &self.budget {
            Some(budget) => budget.charge(self.bytes),
            None => Charge { budget: None, bytes: self.bytes, handed_over: Cell::new(false) },
        }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        if let (Some(budget), false) = (&self.budget, self.handed_over.get()) {
            budget.used.fetch_sub(self.bytes, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_between_workers_stay_counted() {
        let budget = Budget::new(100);
        adopt(&budget);
        let sent = budget.charge(70);
        sent.hand_over();
        drop(sent);
        assert_eq!(budget.used.load(Ordering::Relaxed), 70);
        drop(Charge::take_over(70));
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_is_dropped_is_given_back() {
        let budget = Budget::new(100);
        let a = budget.charge(60);
        assert!(!budget.exhausted());
        let b = a.copy();
        assert!(budget.exhausted());
        drop(a);
        assert!(!budget.exhausted());
        drop(b);
        assert_eq!(budget.used.load(Ordering::Relaxed), 0);
        assert_eq!(budget.peak(), 120);
    }
}
