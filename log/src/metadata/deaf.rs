//! A store whose watches say nothing, as one that lost its connection unnoticed: for tests.

use std::sync::mpsc::Sender;
use std::thread;
use std::time::Duration;

use super::{
    Compare, Event, LeaseId, Listing, MemoryMeta, MetaError, MetaStore, Op, TxnOutcome, Versioned,
    Watch, WatchError, WatchSource,
};

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Deaf(MemoryMeta, Sender<()>);

impl Deaf {
    /// Each watch that is begun is `told`.
    pub(crate) fn new(told: Sender<()>) -> Deaf {
        Deaf(MemoryMeta::new(), told)
    }
}

#[derive(Debug)]
struct Silence;

impl WatchSource for Silence {
    fn next(&mut self, timeout: Duration) -> Result<Option<Event>, WatchError> {
        thread::park_timeout(timeout);
        Ok(None)
    }
}

impl MetaStore for Deaf {
    fn get(&self, key: &str) -> Result<Option<Versioned>, MetaError> {
        self.0.get(key)
    }
    fn list(&self, prefix: &str) -> Result<Listing, MetaError> {
        self.0.list(prefix)
    }
    fn txn(&self, compare: &[Compare], ops: &[Op]) -> Result<TxnOutcome, MetaError> {
        self.0.txn(compare, ops)
    }
    fn grant(&self, ttl_ms: u64) -> Result<LeaseId, MetaError> {
        self.0.grant(ttl_ms)
    }
    fn keep_alive(&self, lease: LeaseId) -> Result<u64, MetaError> {
        self.0.keep_alive(lease)
    }
    fn revoke(&self, lease: LeaseId) -> Result<(), MetaError> {
        self.0.revoke(lease)
    }
    fn watch(&self, _: &str, _: u64) -> Result<Watch, MetaError> {
        // Whoever waits for the first one does not wait for those after it.
        let _ = self.1.send(());
        Ok(Watch::new(Box::new(Silence)))
    }
}
