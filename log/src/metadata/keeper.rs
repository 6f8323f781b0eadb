//! Keeps a lease alive from a thread of its own, and tells when it can no longer be relied on.
//!
//! A lease counts as lost from the moment its time has gone by since the last renewal that was answered
//! was *sent*: the store ends it no earlier than that, so nobody else holds what hangs on it before.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::{LeaseId, MetaError, MetaStore};
use crate::clock;

/// Renewals are sent this many times within a lease's time, so that two may go wrong.
const RENEWALS: u32 = 3;

/// A lease kept alive until this is dropped; then it ends when its time is over.
#[derive(Debug)]
pub struct LeaseKeeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Shared {
    store: Arc<dyn MetaStore>,
    lease: LeaseId,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    good_until: Instant,
    ended: bool,
    stop: bool,
}

/// What is called, once, when the lease is lost.
pub type OnLost = Box<dyn FnOnce() + Send>;

impl LeaseKeeper {
    /// Is granted a lease and keeps it. `on_lost` is called from the keeper's thread, which may be
    /// waiting for the store's answer at that moment: [`is_lost`](LeaseKeeper::is_lost) is exact.
    pub fn start(
        store: Arc<dyn MetaStore>,
        ttl_ms: u64,
        on_lost: OnLost,
    ) -> Result<LeaseKeeper, MetaError> {
        let sent = clock::now();
        let lease = store.grant(ttl_ms)?;
        let ttl = Duration::from_millis(ttl_ms);
        let state = State { good_until: sent + ttl, ended: false, stop: false };
        let shared =
            Arc::new(Shared { store, lease, state: Mutex::new(state), changed: Condvar::new() });
        let keeping = Arc::clone(&shared);
        let run = move || {
            if keeping.keep(ttl) {
                on_lost();
            }
        };
        let spawned = thread::Builder::new().name(format!("lease-{lease}")).spawn(run);
        let thread = Some(spawned.map_err(|why| MetaError::Refused {
            why: format!("no thread to keep a lease alive ({why}): end others, then try again"),
        })?);
        Ok(LeaseKeeper { shared, thread })
    }

    /// The lease.
    pub fn lease(&self) -> LeaseId {
        self.shared.lease
    }

    /// Whether what hangs on it may be somebody else's by now.
    pub fn is_lost(&self) -> bool {
        let state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.ended || clock::now() >= state.good_until
    }

    /// Stops, and ends the lease at once.
    pub fn release(mut self) -> Result<(), MetaError> {
        self.stop();
        self.shared.store.revoke(self.shared.lease)
    }

    fn stop(&mut self) {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner).stop = true;
        self.shared.changed.notify_all();
        // It may be its own `on_lost` that drops the keeper.
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != thread::current().id()
        {
            // A panic of `on_lost` has been reported where it happened.
            drop(thread.join());
        }
    }
}

impl Drop for LeaseKeeper {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    /// Renews until it is stopped or lost; whether it was lost.
    fn keep(&self, ttl: Duration) -> bool {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let waited = self.changed.wait_timeout_while(state, ttl / RENEWALS, |s| !s.stop);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            if state.stop {
                return false;
            }
            drop(state);
            let sent = clock::now();
            let renewed = self.store.keep_alive(self.lease);
            state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            match renewed {
                // A store may give more than was asked for; nobody here relies on it.
                Ok(_) => state.good_until = state.good_until.max(sent + ttl),
                Err(MetaError::Timeout { .. } | MetaError::Unreachable { .. }) => {}
                Err(_) => state.ended = true,
            }
            if state.ended || clock::now() >= state.good_until {
                state.ended = true;
                return !state.stop;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::metadata::conformance::{PATIENCE, committed};
    use crate::metadata::{MemoryMeta, Op};

    #[test]
    fn a_kept_lease_outlives_its_time_and_ends_when_released() {
        let store: Arc<dyn MetaStore> = Arc::new(MemoryMeta::new());
        let keeper = LeaseKeeper::start(Arc::clone(&store), 2000, Box::new(|| ())).unwrap();
        let op = Op::PutLeased { key: "/a".to_owned(), value: Vec::new(), lease: keeper.lease() };
        let written = committed(store.txn(&[], &[op]).unwrap());
        let mut watch = store.watch("/a", written + 1).unwrap();
        assert_eq!(watch.next(Duration::from_millis(3000)), Ok(None));
        assert!(!keeper.is_lost());
        keeper.release().unwrap();
        assert_eq!(store.get("/a").unwrap(), None);
    }

    #[test]
    fn a_lost_lease_is_told_once() {
        let store: Arc<dyn MetaStore> = Arc::new(MemoryMeta::new());
        let (tell, told) = mpsc::sync_channel(2);
        let on_lost = Box::new(move || tell.send(()).unwrap());
        let keeper = LeaseKeeper::start(Arc::clone(&store), 60, on_lost).unwrap();
        store.revoke(keeper.lease()).unwrap();
        told.recv_timeout(PATIENCE).unwrap();
        assert!(keeper.is_lost());
        assert!(told.recv_timeout(PATIENCE).is_err(), "told once, and the teller is gone");
    }
}
