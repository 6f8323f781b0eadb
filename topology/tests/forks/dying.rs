//! A process that ends in the middle of something: its metadata store takes no more from then on.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use egret_log::Log;
use egret_log::client::{Copies, Ledgers};
use egret_log::metadata::{
    Compare, LeaseId, Listing, MetaError, MetaStore, Op, TxnOutcome, Versioned, Watch,
};

/// A metadata store that ends, as its process does, after so many transactions.
#[derive(Debug)]
pub(crate) struct Dying {
    inner: Arc<dyn MetaStore>,
    left: AtomicU32,
}

impl Dying {
    pub(crate) fn over(log: &Log, left: u32) -> Log {
        let meta = Dying { inner: Arc::clone(log.metadata()), left: AtomicU32::new(left) };
        let bookies = Arc::clone(log.ledgers().bookies());
        Log::on(Ledgers::new(bookies, Copies::ONE, Arc::new(meta))).unwrap()
    }
}

impl MetaStore for Dying {
    fn get(&self, key: &str) -> Result<Option<Versioned>, MetaError> {
        self.inner.get(key)
    }

    fn list(&self, prefix: &str) -> Result<Listing, MetaError> {
        self.inner.list(prefix)
    }

    fn txn(&self, compares: &[Compare], ops: &[Op]) -> Result<TxnOutcome, MetaError> {
        let some = |left: u32| left.checked_sub(1);
        match self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, some) {
            Ok(_) => self.inner.txn(compares, ops),
            Err(_) => Err(MetaError::Closed),
        }
    }

    fn grant(&self, ttl_ms: u64) -> Result<LeaseId, MetaError> {
        self.inner.grant(ttl_ms)
    }

    fn keep_alive(&self, lease: LeaseId) -> Result<u64, MetaError> {
        self.inner.keep_alive(lease)
    }

    fn revoke(&self, lease: LeaseId) -> Result<(), MetaError> {
        self.inner.revoke(lease)
    }

    fn watch(&self, prefix: &str, from_revision: u64) -> Result<Watch, MetaError> {
        self.inner.watch(prefix, from_revision)
    }
}
