//! How a process reaches the bookie and the metadata store. Where it waits, others go on.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use egret_log::message::{Reply, ReplyTo, Request, Transport, Unknown, Wake};
use egret_log::metadata::{
    Compare, LeaseId, Listing, MetaError, MetaStore, Op, TxnOutcome, Versioned, Watch,
};
use egret_schemas::{EntryId, Incarnation, LedgerId};

use super::storm::Kill;
use super::world::{ProcessId, here};

/// What a process that is gone is told; nobody will look.
pub(super) const GONE: Unknown = Unknown::Closing;

/// The way of one process.
#[derive(Clone, Copy)]
pub(super) struct Way(pub(super) ProcessId);

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the way of {}", self.0)
    }
}

impl Transport for Way {
    fn send(&self, _: Incarnation, request: Request, reply: ReplyTo) {
        here().send(self.0, request, reply);
    }

    fn call(&self, to: Incarnation, request: Request) -> Reply {
        let answer = Arc::new(Mutex::new(None));
        let told = Arc::clone(&answer);
        let tell = move |reply| *told.lock().unwrap_or_else(PoisonError::into_inner) = Some(reply);
        self.send(to, request, Box::new(tell));
        loop {
            let told = answer.lock().unwrap_or_else(PoisonError::into_inner).take();
            match told {
                Some(reply) => return reply,
                None => here().pump(),
            }
        }
    }

    fn incarnation(&self) -> Incarnation {
        here().incarnation()
    }

    fn watch_lac(&self, ledger: LedgerId, beyond: Option<EntryId>, wake: Wake) {
        here().watch_lac(self.0, ledger, beyond, wake);
    }
}

impl Way {
    /// On the way to the store and back others go on. An error when the process is gone by then.
    fn hop(self) -> Result<(), MetaError> {
        here().hop();
        if here().is_gone(self.0) { Err(MetaError::Closed) } else { Ok(()) }
    }
}

fn lost() -> MetaError {
    MetaError::Timeout { at: "the metadata store".to_owned(), waited_ms: 30 }
}

impl MetaStore for Way {
    fn get(&self, key: &str) -> Result<Option<Versioned>, MetaError> {
        self.hop()?;
        here().meta().get(key)
    }

    fn list(&self, prefix: &str) -> Result<Listing, MetaError> {
        self.hop()?;
        here().meta().list(prefix)
    }

    fn txn(&self, compare: &[Compare], ops: &[Op]) -> Result<TxnOutcome, MetaError> {
        let world = here();
        self.hop()?;
        let fate = world.fate_of_txn(self.0);
        match fate {
            Some(Kill::BeforeTxn) => {
                world.kill(self.0, Kill::BeforeTxn);
                return Err(MetaError::Closed);
            }
            Some(Kill::TxnLost) => {
                world.hit(Kill::TxnLost);
                world.waits_in_vain();
                return Err(if world.is_gone(self.0) { MetaError::Closed } else { lost() });
            }
            _ => {}
        }
        let outcome = world.meta().txn(compare, ops)?;
        let keys: Vec<&str> = ops.iter().map(Op::key).collect();
        world.note(format_args!("{} writes {}: {outcome:?}", self.0, keys.join(" ")));
        match fate {
            Some(Kill::AfterTxn) => {
                world.kill(self.0, Kill::AfterTxn);
                return Err(MetaError::Closed);
            }
            Some(Kill::TxnAnswerLost) => {
                world.hit(Kill::TxnAnswerLost);
                world.waits_in_vain();
                return Err(if world.is_gone(self.0) { MetaError::Closed } else { lost() });
            }
            _ => {}
        }
        self.hop()?;
        Ok(outcome)
    }

    fn grant(&self, ttl_ms: u64) -> Result<LeaseId, MetaError> {
        here().meta().grant(ttl_ms)
    }

    fn keep_alive(&self, lease: LeaseId) -> Result<u64, MetaError> {
        here().meta().keep_alive(lease)
    }

    fn revoke(&self, lease: LeaseId) -> Result<(), MetaError> {
        here().meta().revoke(lease)
    }

    fn watch(&self, prefix: &str, from_revision: u64) -> Result<Watch, MetaError> {
        here().meta().watch(prefix, from_revision)
    }
}
