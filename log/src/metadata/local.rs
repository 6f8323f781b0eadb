//! What every store that lives in one process is: the values at hand, their leases and watches, over
//! something that makes changes durable or forgets them.
//!
//! ```text
//! writing   held through a whole transaction: one after the other
//! view      held for moments: reads go on while a transaction is being made durable
//! ```
//! A leased key dies with this process, because its lease does: it is never handed to what is below.
//! The revision is, with every transaction, so that it never goes back.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::history::{History, Place};
use super::lease::{LeaseClock, LeaseId, Leases};
use super::watch::{Event, Watch, WatchError, WatchSource};
use super::{Compare, Listing, MetaError, Op, TxnOutcome, Versioned, check_txn, holds};
use crate::{caps, clock};

/// What makes changes durable.
pub(super) trait Base: Send + Sync + fmt::Debug + 'static {
    /// Makes all of `changes` durable together with the revision, or answers why the store has ended.
    fn commit(&self, revision: u64, changes: &[Change]) -> Result<(), MetaError>;

    /// Lets go of whatever is held.
    fn close(&self) {}
}

/// A key of what is durable, before and after a transaction.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) key: String,
    pub(super) before: Option<Versioned>,
    pub(super) after: Option<Versioned>,
}

#[derive(Debug)]
struct Held {
    versioned: Versioned,
    lease: Option<LeaseId>,
}

#[derive(Debug)]
struct View {
    values: BTreeMap<String, Held>,
    revision: u64,
    leases: Leases,
    history: History,
    /// Why nothing is answered any more: set by the first commit that failed, or by closing.
    ended: Option<MetaError>,
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Local<B> {
    pub(super) base: B,
    clock: LeaseClock,
    writing: Mutex<()>,
    view: Mutex<View>,
    /// Something happened that a watch may wait for.
    changed: Condvar,
}

impl<B: Base> Local<B> {
    /// A store over `base`, whose durable values and revision these are.
    pub(super) fn new(
        base: B,
        values: BTreeMap<String, Versioned>,
        revision: u64,
        clock: LeaseClock,
    ) -> Arc<Local<B>> {
        let durable = |(key, versioned)| (key, Held { versioned, lease: None });
        let view = View {
            values: values.into_iter().map(durable).collect(),
            revision,
            leases: Leases::default(),
            history: History::after(revision),
            ended: None,
        };
        Arc::new(Local {
            base,
            clock,
            writing: Mutex::new(()),
            view: Mutex::new(view),
            changed: Condvar::new(),
        })
    }

    pub(super) fn get(&self, key: &str) -> Result<Option<Versioned>, MetaError> {
        self.end_due_leases()?;
        let view = self.view()?;
        Ok(view.values.get(key).map(|held| held.versioned.clone()))
    }

    pub(super) fn list(&self, prefix: &str) -> Result<Listing, MetaError> {
        self.end_due_leases()?;
        let view = self.view()?;
        let from = view.values.range(prefix.to_owned()..);
        let these = from.take_while(|(key, _)| key.starts_with(prefix));
        let entries = these.map(|(key, held)| (key.clone(), held.versioned.clone())).collect();
        Ok(Listing { entries, revision: view.revision })
    }

    pub(super) fn txn(&self, compare: &[Compare], ops: &[Op]) -> Result<TxnOutcome, MetaError> {
        check_txn(compare, ops)?;
        let writing = self.writing();
        self.end_due(&writing)?;
        {
            let view = self.view()?;
            if let Some(lease) =
                ops.iter().filter_map(Op::lease).find(|id| !view.leases.contains(*id))
            {
                return Err(MetaError::NoLease { lease });
            }
            if !holds(compare, |key| view.values.get(key).map(|held| held.versioned.revision)) {
                return Ok(TxnOutcome::Conflict);
            }
        }
        let revision = self.write(&writing, ops)?;
        Ok(TxnOutcome::Committed { revision })
    }

    pub(super) fn grant(&self, ttl_ms: u64) -> Result<LeaseId, MetaError> {
        self.end_due_leases()?;
        let mut view = self.view()?;
        if view.leases.len() >= caps::META_LEASES_MAX {
            let what = format!("{} leases", caps::META_LEASES_MAX + 1);
            return Err(MetaError::TooLarge { what, max: caps::META_LEASES_MAX });
        }
        let lease = view.leases.grant(self.clock.now_ms(), ttl_ms);
        // A watch may be waiting for a later end than this lease's.
        self.changed.notify_all();
        Ok(lease)
    }

    pub(super) fn keep_alive(&self, lease: LeaseId) -> Result<u64, MetaError> {
        self.end_due_leases()?;
        let mut view = self.view()?;
        let now = self.clock.now_ms();
        view.leases.keep_alive(now, lease).ok_or(MetaError::NoLease { lease })
    }

    pub(super) fn revoke(&self, lease: LeaseId) -> Result<(), MetaError> {
        let writing = self.writing();
        self.end_due(&writing)?;
        self.end_lease(&writing, lease)
    }

    pub(super) fn watch(self: &Arc<Self>, prefix: &str, from: u64) -> Result<Watch, MetaError> {
        drop(self.view()?);
        let place = Place::before(from.max(1));
        Ok(Watch::new(Box::new(LocalWatch {
            store: Arc::clone(self),
            prefix: prefix.to_owned(),
            place,
        })))
    }

    pub(super) fn close(&self) {
        // A transaction under way is finished first.
        let _writing = self.writing();
        self.end(MetaError::Closed);
        self.base.close();
    }

    fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn any_view(&self) -> MutexGuard<'_, View> {
        self.view.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn view(&self) -> Result<MutexGuard<'_, View>, MetaError> {
        let view = self.any_view();
        match &view.ended {
            Some(why) => Err(why.clone()),
            None => Ok(view),
        }
    }

    fn end(&self, why: MetaError) -> MetaError {
        let why = self.any_view().ended.get_or_insert(why).clone();
        self.changed.notify_all();
        why
    }

    /// Writes what a transaction asks for, all that it requires holding; the revision afterwards.
    fn write(&self, _writing: &MutexGuard<'_, ()>, ops: &[Op]) -> Result<u64, MetaError> {
        let (revision, changes, ops) = {
            let view = self.view()?;
            let there = |op: &&Op| !matches!(op, Op::Delete(key) if !view.values.contains_key(key));
            let ops: Vec<&Op> = ops.iter().filter(there).collect();
            if ops.is_empty() {
                return Ok(view.revision);
            }
            let revision = view.revision + 1;
            (revision, ops.iter().filter_map(|op| view.change(revision, op)).collect(), ops)
        };
        let changes: Vec<Change> = changes;
        self.base.commit(revision, &changes).map_err(|why| self.end(why))?;
        let mut view = self.any_view();
        view.revision = revision;
        let events = ops.into_iter().map(|op| view.apply(revision, op)).collect();
        view.history.push(events);
        self.changed.notify_all();
        Ok(revision)
    }

    fn end_due_leases(&self) -> Result<(), MetaError> {
        let due = self.view()?.leases.due(self.clock.now_ms());
        match due {
            Some(_) => self.end_due(&self.writing()),
            None => Ok(()),
        }
    }

    fn end_due(&self, writing: &MutexGuard<'_, ()>) -> Result<(), MetaError> {
        let now = self.clock.now_ms();
        loop {
            let due = self.view()?.leases.due(now);
            let Some(lease) = due else { return Ok(()) };
            self.end_lease(writing, lease)?;
        }
    }

    /// Removes a lease with all its keys in one transaction; a lease that is not there is gone already.
    fn end_lease(&self, writing: &MutexGuard<'_, ()>, lease: LeaseId) -> Result<(), MetaError> {
        let keys = self.view()?.leases.keys(lease).cloned().unwrap_or_default();
        let ops: Vec<Op> = keys.into_iter().map(Op::Delete).collect();
        self.write(writing, &ops)?;
        self.any_view().leases.remove(lease);
        Ok(())
    }
}

impl View {
    /// What is durable of an operation, if anything.
    fn change(&self, revision: u64, op: &Op) -> Option<Change> {
        let before = self.values.get(op.key()).filter(|held| held.lease.is_none());
        let after = match op {
            Op::Put(_, value) => Some(Versioned { value: value.clone(), revision }),
            Op::PutLeased { .. } | Op::Delete(_) => None,
        };
        let before = before.map(|held| held.versioned.clone());
        (before.is_some() || after.is_some()).then(|| Change {
            key: op.key().to_owned(),
            before,
            after,
        })
    }

    fn apply(&mut self, revision: u64, op: &Op) -> Event {
        let key = op.key().to_owned();
        let (value, lease) = match op {
            Op::Put(_, value) => (Some(value), None),
            Op::PutLeased { value, lease, .. } => (Some(value), Some(*lease)),
            Op::Delete(_) => (None, None),
        };
        let before = match value {
            Some(value) => {
                let versioned = Versioned { value: value.clone(), revision };
                self.values.insert(key.clone(), Held { versioned, lease })
            }
            None => self.values.remove(&key),
        };
        if let Some(lease) = before.and_then(|held| held.lease) {
            self.leases.detach(lease, &key);
        }
        if let Some(lease) = lease {
            self.leases.attach(lease, &key);
        }
        match value {
            Some(value) => Event::Put { key, value: value.clone(), revision },
            None => Event::Delete { key, revision },
        }
    }
}

#[derive(Debug)]
struct LocalWatch<B> {
    store: Arc<Local<B>>,
    prefix: String,
    place: Place,
}

impl<B: Base> WatchSource for LocalWatch<B> {
    fn next(&mut self, timeout: Duration) -> Result<Option<Event>, WatchError> {
        let start = clock::now();
        loop {
            self.store.end_due_leases()?;
            let view = self.store.view()?;
            if let Some(event) = view.history.next(&mut self.place, &self.prefix)? {
                return Ok(Some(event.clone()));
            }
            let left = timeout.saturating_sub(clock::now().saturating_duration_since(start));
            if left.is_zero() {
                return Ok(None);
            }
            let end = view.leases.next_end_ms();
            let until_end =
                end.map(|end| Duration::from_millis(end.saturating_sub(self.store.clock.now_ms())));
            // Rounded up, or the last millisecond of a lease would be spent asking.
            let wait = until_end.map_or(left, |end| left.min(end + Duration::from_millis(1)));
            drop(
                self.store.changed.wait_timeout(view, wait).unwrap_or_else(PoisonError::into_inner),
            );
        }
    }
}
