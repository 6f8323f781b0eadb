//! A store that does something before each transaction, or refuses it: for tests of what comes between.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Compare, LeaseId, Listing, MetaError, MetaStore, Op, TxnOutcome, Versioned, Watch};

/// Told the number of the transaction, from 0 on.
pub(crate) type Before = Box<dyn Fn(usize) -> Result<(), MetaError> + Send + Sync>;

pub(crate) struct Hooked {
    store: Arc<dyn MetaStore>,
    txns: AtomicUsize,
    before: Before,
}

impl Hooked {
    pub(crate) fn new(store: Arc<dyn MetaStore>, before: Before) -> Hooked {
        Hooked { store, txns: AtomicUsize::new(0), before }
    }
}

impl fmt::Debug for Hooked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Hooked {:?}", self.store)
    }
}

impl MetaStore for Hooked {
    fn get(&self, key: &str) -> Result<Option<Versioned>, MetaError> {
        self.store.get(key)
    }

    fn list(&self, prefix: &str) -> Result<Listing, MetaError> {
        self.store.list(prefix)
    }

    fn txn(&self, compare: &[Compare], ops: &[Op]) -> Result<TxnOutcome, MetaError> {
        (self.before)(self.txns.fetch_add(1, Ordering::SeqCst))?;
        self.store.txn(compare, ops)
    }

    fn grant(&self, ttl_ms: u64) -> Result<LeaseId, MetaError> {
        self.store.grant(ttl_ms)
    }

    fn keep_alive(&self, lease: LeaseId) -> Result<u64, MetaError> {
        self.store.keep_alive(lease)
    }

    fn revoke(&self, lease: LeaseId) -> Result<(), MetaError> {
        self.store.revoke(lease)
    }

    fn watch(&self, prefix: &str, from_revision: u64) -> Result<Watch, MetaError> {
        self.store.watch(prefix, from_revision)
    }
}
