//! A store that does something before each transaction, or refuses it: for tests of what comes between.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::conformance::around::{Around, Txn};
use super::{Compare, MetaError, MetaStore, Op, TxnOutcome};

/// Told the number of the transaction, from 0 on.
pub(crate) type Before = Box<dyn Fn(usize) -> Result<(), MetaError> + Send + Sync>;

/// See the [module](self).
pub(crate) type Hooked = Around<Hook>;

pub(crate) struct Hook {
    txns: AtomicUsize,
    before: Before,
}

impl Hooked {
    pub(crate) fn new(store: Arc<dyn MetaStore>, before: Before) -> Hooked {
        Around::of(store, Hook { txns: AtomicUsize::new(0), before })
    }
}

impl Txn for Hook {
    fn txn(
        &self,
        store: &dyn MetaStore,
        compare: &[Compare],
        ops: &[Op],
    ) -> Result<TxnOutcome, MetaError> {
        (self.before)(self.txns.fetch_add(1, Ordering::SeqCst))?;
        store.txn(compare, ops)
    }
}
