//! A metadata store that keeps nothing over a restart.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{Compare, MetaError, MetaStore, Op, TxnOutcome, Versioned, check_ops, holds};

#[derive(Debug, Default)]
struct State {
    values: BTreeMap<String, Versioned>,
    revision: u64,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub struct MemoryMeta {
    state: Mutex<State>,
}

impl MemoryMeta {
    /// An empty store.
    pub fn new() -> MemoryMeta {
        MemoryMeta::default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MetaStore for MemoryMeta {
    fn get(&self, key: &str) -> Result<Option<Versioned>, MetaError> {
        Ok(self.state().values.get(key).cloned())
    }

    fn list(&self, prefix: &str) -> Result<Vec<(String, Versioned)>, MetaError> {
        let state = self.state();
        let from = state.values.range(prefix.to_owned()..);
        let these = from.take_while(|(key, _)| key.starts_with(prefix));
        Ok(these.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn txn(&self, compare: &[Compare], ops: &[Op]) -> Result<TxnOutcome, MetaError> {
        check_ops(ops)?;
        let mut state = self.state();
        if !holds(compare, |key| state.values.get(key).map(|v| v.revision)) {
            return Ok(TxnOutcome::Conflict);
        }
        state.revision += 1;
        let revision = state.revision;
        for op in ops {
            match op {
                Op::Put(key, value) => {
                    let value = Versioned { value: value.clone(), revision };
                    state.values.insert(key.clone(), value);
                }
                Op::Delete(key) => {
                    state.values.remove(key);
                }
            }
        }
        Ok(TxnOutcome::Committed { revision })
    }
}
