//! Leases of a store that lives in one process: which there are, what hangs on them, when they end.
//!
//! Pure but for [`LeaseClock`]: time is handed in as milliseconds of it. A lease whose time has come is
//! ended by whoever looks at the store next, and a watch looks when the time comes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::clock;

/// A lease's number, unique in its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub u64);

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// What leases are measured by.
#[derive(Debug, Clone)]
pub enum LeaseClock {
    /// The process's own monotonic clock, from when this was made.
    Real(Instant),
    /// A clock that goes on when it is told to, in milliseconds.
    Set(Arc<AtomicU64>),
}

impl LeaseClock {
    /// The real one.
    pub fn real() -> LeaseClock {
        LeaseClock::Real(clock::now())
    }

    pub(super) fn now_ms(&self) -> u64 {
        match self {
            LeaseClock::Real(start) => {
                let since = clock::now().saturating_duration_since(*start);
                u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
            }
            LeaseClock::Set(ms) => ms.load(Ordering::SeqCst),
        }
    }
}

#[derive(Debug)]
struct Lease {
    ttl_ms: u64,
    ends_ms: u64,
    keys: BTreeSet<String>,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Leases {
    by_id: BTreeMap<LeaseId, Lease>,
    /// The same leases in the order of their ends.
    by_end: BTreeSet<(u64, LeaseId)>,
    last: u64,
}

impl Leases {
    pub(super) fn grant(&mut self, now_ms: u64, ttl_ms: u64) -> LeaseId {
        self.last += 1;
        let ends_ms = now_ms.saturating_add(ttl_ms);
        let id = LeaseId(self.last);
        self.by_id.insert(id, Lease { ttl_ms, ends_ms, keys: BTreeSet::new() });
        self.by_end.insert((ends_ms, id));
        id
    }

    /// Lets it live a whole time more; that time, or `None` when it has ended.
    pub(super) fn keep_alive(&mut self, now_ms: u64, id: LeaseId) -> Option<u64> {
        let lease = self.by_id.get_mut(&id).filter(|lease| now_ms < lease.ends_ms)?;
        self.by_end.remove(&(lease.ends_ms, id));
        lease.ends_ms = now_ms.saturating_add(lease.ttl_ms);
        self.by_end.insert((lease.ends_ms, id));
        Some(lease.ttl_ms)
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn contains(&self, id: LeaseId) -> bool {
        self.by_id.contains_key(&id)
    }

    /// Its keys, or `None` when there is no such lease.
    pub(super) fn keys(&self, id: LeaseId) -> Option<&BTreeSet<String>> {
        self.by_id.get(&id).map(|lease| &lease.keys)
    }

    pub(super) fn attach(&mut self, id: LeaseId, key: &str) {
        let lease = self.by_id.get_mut(&id).expect("looked up under the same lock");
        lease.keys.insert(key.to_owned());
    }

    pub(super) fn detach(&mut self, id: LeaseId, key: &str) {
        if let Some(lease) = self.by_id.get_mut(&id) {
            lease.keys.remove(key);
        }
    }

    pub(super) fn remove(&mut self, id: LeaseId) {
        if let Some(lease) = self.by_id.remove(&id) {
            self.by_end.remove(&(lease.ends_ms, id));
        }
    }

    /// A lease whose time has come, the one that ended first before all others.
    pub(super) fn due(&self, now_ms: u64) -> Option<LeaseId> {
        let (ends_ms, id) = self.by_end.first()?;
        (*ends_ms <= now_ms).then_some(*id)
    }

    /// When the next one ends if nobody keeps it alive.
    pub(super) fn next_end_ms(&self) -> Option<u64> {
        self.by_end.first().map(|(ends_ms, _)| *ends_ms)
    }
}
