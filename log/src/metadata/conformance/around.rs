//! A store around another, which has its own way with transactions: for tests of what comes between.

use std::fmt;
use std::sync::Arc;

use crate::metadata::{
    Compare, LeaseId, Listing, MetaError, MetaStore, Op, TxnOutcome, Versioned, Watch,
};

/// What becomes of a transaction.
pub trait Txn: Send + Sync {
    /// Carries it out on the store within, or not.
    fn txn(
        &self,
        store: &dyn MetaStore,
        compare: &[Compare],
        ops: &[Op],
    ) -> Result<TxnOutcome, MetaError>;
}

/// See the [module](self).
pub struct Around<T> {
    store: Arc<dyn MetaStore>,
    way: T,
}

impl<T> Around<T> {
    pub(crate) fn of(store: Arc<dyn MetaStore>, way: T) -> Around<T> {
        Around { store, way }
    }
}

impl<T> fmt::Debug for Around<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Around {:?}", self.store)
    }
}

impl<T: Txn> MetaStore for Around<T> {
    fn get(&self, key: &str) -> Result<Option<Versioned>, MetaError> {
        self.store.get(key)
    }

    fn list(&self, prefix: &str) -> Result<Listing, MetaError> {
        self.store.list(prefix)
    }

    fn txn(&self, compare: &[Compare], ops: &[Op]) -> Result<TxnOutcome, MetaError> {
        self.way.txn(&*self.store, compare, ops)
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
