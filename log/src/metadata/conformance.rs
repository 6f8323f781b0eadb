//! What every metadata store must do, to be run on each: see [`all`].
//!
//! | module | holds |
//! |---|---|
//! | `transactions` | reads, transactions, limits |
//! | `leases` | what a lease takes with it, and when |
//! | `watches` | order, no gap after a list, the end of history |
//! | [`random`] | many writers at once against a model that does one thing after the other |
//! | [`lossy`] | a store whose requests and replies get lost, and a counter that is exact all the same |
//!
//! A store that breaks a rule ends the test with a panic that says which.

#![allow(clippy::unwrap_used, reason = "this is a test, wherever it is compiled")]

pub(crate) mod around;
mod leases;
pub mod lossy;
pub mod random;
mod transactions;
mod watches;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::{Event, MetaStore, Op, TxnOutcome, Watch};
use crate::caps;

/// How long anything may take before it counts as never.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// A kind of store, and what its tests must be able to do to it.
pub trait Subject: fmt::Debug {
    /// An empty store.
    fn fresh(&self) -> Arc<dyn MetaStore>;

    /// The shortest lease it can tell from a longer one.
    fn ttl_ms(&self) -> u64;

    /// Lets time go by for leases.
    fn pass_ms(&self, ms: u64);

    /// Makes a store of this kind forget every change so far.
    fn forget_history(&self, store: &dyn MetaStore) {
        let mut left = caps::META_HISTORY_EVENTS_MAX + 1;
        while left > 0 {
            let now = left.min(caps::META_TXN_OPS_MAX);
            let ops: Vec<Op> = (0..now).map(|n| put(&format!("/filler/{n}"), "")).collect();
            committed(store.txn(&[], &ops).unwrap());
            left -= now;
        }
    }
}

/// Runs everything, each on a store of its own.
pub fn all(subject: &dyn Subject) {
    transactions::all(subject);
    leases::all(subject);
    watches::all(subject);
    for seed in 0..4 {
        random::one_after_the_other(&*subject.fresh(), seed);
        random::all_at_once(&subject.fresh(), seed);
        lossy::a_counter_is_exact(&subject.fresh(), seed);
    }
}

/// A put of text.
pub fn put(key: &str, value: &str) -> Op {
    Op::Put(key.to_owned(), value.as_bytes().to_vec())
}

/// The revision of a transaction that must have been committed.
pub fn committed(outcome: TxnOutcome) -> u64 {
    match outcome {
        TxnOutcome::Committed { revision } => revision,
        TxnOutcome::Conflict => panic!("nothing stood in its way, and it is a conflict"),
    }
}

/// The next event, which must come.
pub fn soon(watch: &mut Watch) -> Event {
    let event = watch.next(PATIENCE).unwrap_or_else(|end| panic!("the watch ended: {end}"));
    event.unwrap_or_else(|| panic!("no event within {PATIENCE:?}"))
}

/// A generator of choices (splitmix64): a seed is a whole run.
#[derive(Debug)]
pub struct Chance(u64);

impl Chance {
    /// From a seed.
    pub fn new(seed: u64) -> Chance {
        Chance(seed)
    }

    /// One of `0..n`.
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % n
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;
    use crate::metadata::{LeaseClock, MemoryMeta};

    #[derive(Debug, Default)]
    struct Memory {
        ms: Arc<AtomicU64>,
    }

    impl Subject for Memory {
        fn fresh(&self) -> Arc<dyn MetaStore> {
            Arc::new(MemoryMeta::with_clock(LeaseClock::Set(Arc::clone(&self.ms))))
        }

        fn ttl_ms(&self) -> u64 {
            1000
        }

        fn pass_ms(&self, ms: u64) {
            self.ms.fetch_add(ms, Ordering::SeqCst);
        }
    }

    #[test]
    fn memory_conforms() {
        all(&Memory::default());
    }
}
