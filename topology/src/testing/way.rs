//! How code under test reaches the log: every message is an event of the [`World`](super::world::World),
//! and whoever waits for an answer lets the world go on.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use egret_log::message::{Reply, ReplyTo, Request, Transport, Wake};
use egret_log::metadata::{
    Compare, LeaseId, Listing, MetaError, MetaStore, Op, TxnOutcome, Versioned, Watch,
};
use egret_log::simulation::{Deed, Simulator};
use egret_schemas::{EntryId, Incarnation, LedgerId};

use super::world::{Life, World};

thread_local! {
    static HERE: RefCell<Option<Rc<World>>> = const { RefCell::new(None) };
}

/// Makes `world` the one of this thread, or nobody's.
pub(super) fn set_here(world: Option<Rc<World>>) {
    HERE.set(world);
}

/// The world of this thread.
pub(super) fn here() -> Rc<World> {
    there().expect("it is there while anything of it runs")
}

/// The world of this thread, unless that is over.
pub(super) fn there() -> Option<Rc<World>> {
    HERE.with_borrow(Option::clone)
}

/// The way of one life of the process under test, or of the test itself.
#[derive(Clone, Copy)]
pub(super) struct Way(pub(super) Life);

impl fmt::Debug for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the way of {:?}", self.0)
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
    /// Where the process may die; an error when it is dead.
    fn pass(self) -> Result<(), MetaError> {
        match here().failpoint(self.0) {
            true => Err(MetaError::Closed),
            false => Ok(()),
        }
    }
}

impl MetaStore for Way {
    fn get(&self, key: &str) -> Result<Option<Versioned>, MetaError> {
        self.pass()?;
        here().meta().get(key)
    }

    fn list(&self, prefix: &str) -> Result<Listing, MetaError> {
        self.pass()?;
        here().meta().list(prefix)
    }

    fn txn(&self, compare: &[Compare], ops: &[Op]) -> Result<TxnOutcome, MetaError> {
        self.pass()?;
        let outcome = here().meta().txn(compare, ops)?;
        here().acted();
        self.pass()?;
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

/// What code under test meets in place of other threads.
pub(super) struct Others;

impl Simulator for Others {
    fn idle(&self) {
        here().pump();
    }

    fn later(&self, wait: Duration, deed: Deed) {
        here().later(wait, deed);
    }

    fn draw(&self) -> u64 {
        here().draw()
    }
}
