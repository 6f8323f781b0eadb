//! A metadata store that keeps nothing over a restart.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::lease::{LeaseClock, LeaseId};
use super::local::{Base, Change, Local};
use super::{Compare, Listing, MetaError, MetaStore, Op, TxnOutcome, Versioned, Watch};

/// See the [module](self).
#[derive(Debug)]
pub struct MemoryMeta {
    local: Arc<Local<Nowhere>>,
}

/// Where changes of this store are written.
#[derive(Debug)]
struct Nowhere;

impl Base for Nowhere {
    fn commit(&self, _: u64, _: &[Change]) -> Result<(), MetaError> {
        Ok(())
    }
}

impl MemoryMeta {
    /// An empty store.
    pub fn new() -> MemoryMeta {
        MemoryMeta::with_clock(LeaseClock::real())
    }

    /// An empty store whose leases are measured by `clock`.
    pub fn with_clock(clock: LeaseClock) -> MemoryMeta {
        MemoryMeta { local: Local::new(Nowhere, BTreeMap::new(), 0, clock) }
    }
}

impl Default for MemoryMeta {
    fn default() -> MemoryMeta {
        MemoryMeta::new()
    }
}

impl MetaStore for MemoryMeta {
    fn get(&self, key: &str) -> Result<Option<Versioned>, MetaError> {
        self.local.get(key)
    }

    fn list(&self, prefix: &str) -> Result<Listing, MetaError> {
        self.local.list(prefix)
    }

    fn txn(&self, compare: &[Compare], ops: &[Op]) -> Result<TxnOutcome, MetaError> {
        self.local.txn(compare, ops)
    }

    fn grant(&self, ttl_ms: u64) -> Result<LeaseId, MetaError> {
        self.local.grant(ttl_ms)
    }

    fn keep_alive(&self, lease: LeaseId) -> Result<u64, MetaError> {
        self.local.keep_alive(lease)
    }

    fn revoke(&self, lease: LeaseId) -> Result<(), MetaError> {
        self.local.revoke(lease)
    }

    fn watch(&self, prefix: &str, from_revision: u64) -> Result<Watch, MetaError> {
        self.local.watch(prefix, from_revision)
    }
}
