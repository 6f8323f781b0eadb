//! What every bookie's process does beside serving: mends the cluster, one of them at a time.
//!
//! Whoever holds the lease of [`LEADER_KEY`] looks over all ledgers again and again, makes the copies
//! that are lacking, takes over the ends of ledgers that were abandoned and finishes
//! deletions. A bookie that started in limbo is mended by its own process,
//! leader or not. Nothing is lost when one ends in the middle, or two believe to be it for a moment:
//! what is lacking is derived anew, and every change is a compare-and-set.

use std::fmt;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::abandoned::{self, Abandoned};
use super::error::RecordError;
use super::ledgers::Ledgers;
use super::repair::{self, Pace};
use crate::ledger::Member;
use crate::metadata::{Compare, LeaseKeeper, MetaError, MetaStore, Op, TxnOutcome};
use crate::{caps, clock};

/// Names the bookie that repairs, for as long as its lease lasts.
pub const LEADER_KEY: &str = "/repair/leader";

/// How a repairer works.
#[derive(Debug, Clone, Copy)]
pub struct RepairerConfig {
    /// How fast entries are copied.
    pub pace: Pace,
    /// Between two sweeps over all ledgers.
    pub every: Duration,
    /// How long a ledger that lacks one of its last bookies must be quiet before it counts as abandoned.
    pub grace: Duration,
}

impl Default for RepairerConfig {
    fn default() -> RepairerConfig {
        RepairerConfig {
            pace: Pace::default(),
            every: Duration::from_millis(caps::REPAIR_SWEEP_MS),
            grace: Duration::from_millis(caps::LEDGER_QUIET_MS),
        }
    }
}

/// Repairs until it is stopped, or dropped, which stops.
#[derive(Debug)]
pub struct Repairer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    ledgers: Ledgers,
    own: Member,
    in_limbo: Box<dyn Fn() -> bool + Send + Sync>,
    config: RepairerConfig,
    stop: Mutex<bool>,
    stopped: Condvar,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Repairer of {}", self.own.bookie)
    }
}

impl Repairer {
    /// Starts for the bookie `own`, whose process asks `in_limbo` whether it may have lost something.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(
        ledgers: Ledgers,
        own: Member,
        in_limbo: impl Fn() -> bool + Send + Sync + 'static,
        config: RepairerConfig,
    ) -> std::io::Result<Repairer> {
        let in_limbo = Box::new(in_limbo);
        let (stop, stopped) = (Mutex::new(false), Condvar::new());
        let shared = Arc::new(Shared { ledgers, own, in_limbo, config, stop, stopped });
        let run = Arc::clone(&shared);
        let thread = thread::Builder::new().name("egret-repair".to_owned());
        let thread = Some(thread.spawn(move || run.run())?);
        Ok(Repairer { shared, thread })
    }

    /// Ends after the copy under way.
    pub fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        *self.shared.stop() = true;
        self.shared.stopped.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the repairer panicked");
        }
    }
}

impl Drop for Repairer {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn stop(&self) -> MutexGuard<'_, bool> {
        self.stop.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let (mut lead, mut abandoned) = (None, Abandoned::default());
        while !*self.stop() {
            if (self.in_limbo)() {
                self.settle();
            }
            if let Err(error) = self.sweep(&mut lead, &mut abandoned) {
                tracing::warn!(%error, "the cluster's ledgers were not looked over");
            }
            let stop = self.stop();
            let waited = self.stopped.wait_timeout_while(stop, self.config.every, |stop| !*stop);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
        if let Some(Err(error)) = lead.map(LeaseKeeper::release) {
            tracing::warn!(%error, "it counts as repairing until its lease ends");
        }
    }

    fn settle(&self) {
        match repair::settle_limbo(&self.ledgers, self.own, self.config.pace) {
            Ok(settled) => tracing::warn!(
                bookie = %self.own.bookie, cleared = settled.cleared, open = settled.open.len(),
                failed = settled.failed.len(), "mended after an unclean stop"
            ),
            Err(why) => tracing::warn!(%why, "not mended yet after an unclean stop"),
        }
    }

    /// One sweep, if this is the one that repairs.
    fn sweep(
        &self,
        lead: &mut Option<LeaseKeeper>,
        abandoned: &mut Abandoned,
    ) -> Result<(), RecordError> {
        if lead.as_ref().is_some_and(LeaseKeeper::is_lost) {
            *lead = None;
        }
        if lead.is_none() {
            *lead = self.stand()?;
        }
        let Some(keeper) = lead else {
            // Who repairs in the meantime sees what this one does not.
            *abandoned = Abandoned::default();
            return Ok(());
        };
        let swept =
            repair::sweep(&self.ledgers, self.config.pace, |_| !*self.stop() && !keeper.is_lost())?;
        if swept.lacking > 0 {
            tracing::info!(
                ledgers = swept.ledgers,
                lacking = swept.lacking,
                made = swept.made.len(),
                failed = swept.failed.len(),
                "copies made"
            );
        }
        let now = (clock::now(), self.config.grace);
        for id in abandoned.look(&self.ledgers, &swept.ends, now) {
            if *self.stop() || keeper.is_lost() {
                break;
            }
            match abandoned::settle(&self.ledgers, id) {
                Ok(true) => {}
                Ok(false) => tracing::warn!(
                    ledger = %id, "abandoned, and no bookie takes its end: start another one"
                ),
                Err(error) if abandoned::is_settled(&error) => {}
                Err(error) => tracing::warn!(ledger = %id, %error, "abandoned, and left so"),
            }
        }
        if !*self.stop()
            && let Err(error) = self.ledgers.finish_deletions()
        {
            tracing::warn!(%error, "a deletion is finished later");
        }
        Ok(())
    }

    /// Becomes the one that repairs, if there is none.
    fn stand(&self) -> Result<Option<LeaseKeeper>, MetaError> {
        let meta: &Arc<dyn MetaStore> = self.ledgers.metadata();
        if meta.get(LEADER_KEY)?.is_some() {
            return Ok(None);
        }
        let keeper = LeaseKeeper::start(Arc::clone(meta), caps::REPAIR_LEASE_MS, Box::new(|| {}))?;
        let op = Op::PutLeased {
            key: LEADER_KEY.to_owned(),
            value: self.own.bookie.to_string().into_bytes(),
            lease: keeper.lease(),
        };
        match meta.txn(&[Compare::Absent(LEADER_KEY.to_owned())], &[op]) {
            Ok(TxnOutcome::Committed { .. }) => Ok(Some(keeper)),
            // Also when the answer was lost: then the lease ends with the keeper, and so does the key.
            Ok(TxnOutcome::Conflict) => {
                keeper.release()?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}
