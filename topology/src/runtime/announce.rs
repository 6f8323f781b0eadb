//! Says in metadata that a topology is run, for as long as it is: [`RunRecord`].
//!
//! The record hangs on a lease. A lease that was lost is followed by another, unless the topology is another
//! process's by then. It says who is there and decides nothing: with every generation whoever runs the
//! topology shuts out the one before, whatever the record says.
//!
//! As often as a lease is long it looks whose the topology is: one that has nothing to do would not hear
//! that it was shut out, or deleted. It looks whether the topology is to rest, too.

use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use egret_log::metadata::{Compare, LeaseKeeper, MetaError, MetaStore, Op, TxnOutcome};
use egret_log::{Log, Outcome};
use egret_schemas::Generation;
use egret_state::commit::{RunRecord, RunState};

use super::takeover::read_record;
use super::{Progress, activity};
use crate::{Error, Result};

/// The metadata key of a topology's run.
pub(crate) fn key(topology: &str) -> String {
    format!("/topologies/{topology}/run")
}

/// How often to try to say it while something else is written, or answers get lost.
const TRIES: usize = 16;

/// Between two tries to say it again.
const PAUSE: Duration = Duration::from_millis(500);

/// Runs of this process, to tell them apart.
static RUNS: AtomicU64 = AtomicU64::new(1);

/// What metadata says of who runs a topology.
pub(crate) fn read(log: &Log, topology: &str) -> Result<Option<RunRecord>> {
    let Some(held) = log.metadata().get(&key(topology))? else { return Ok(None) };
    let record = RunRecord::decode(&held.value).map_err(|why| Error::TopologyRecord {
        topology: topology.to_owned(),
        why: Box::new(why),
    })?;
    Ok(Some(record))
}

/// Ends a generation whose topology is another process's.
type ShutOut = Arc<dyn Fn() + Send + Sync>;

/// What is said where a topology is started that does not read.
fn rests(topology: &str) -> String {
    format!(
        "topology `{topology}` is inactive: it runs, and reads nothing until it is told to, with \
         `egret topology activate {topology}`"
    )
}

/// Who says it; what it said is taken back when it is dropped.
pub(crate) struct Announcer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    log: Log,
    topology: String,
    own: RunRecord,
    ttl_ms: u64,
    /// Where it is said whether the topology is to rest.
    progress: OnceLock<Arc<Progress>>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The generation that this process runs; `None` before it has one.
    generation: Option<Generation>,
    /// What to do when the topology is another's.
    shut_out: Option<ShutOut>,
    /// Where it was said last.
    revision: Option<u64>,
    lost: bool,
    stop: bool,
    /// Whether the lease is to end by itself.
    left: bool,
}

impl Announcer {
    /// One that has said nothing.
    pub(crate) fn new(log: &Log, topology: &str, ttl: Duration) -> Announcer {
        let process = log.ledgers().proposal().process;
        let run = RUNS.fetch_add(1, Ordering::Relaxed);
        let shared = Shared {
            log: log.clone(),
            topology: topology.to_owned(),
            own: RunRecord { state: RunState::Runs, process, run },
            ttl_ms: u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX),
            progress: OnceLock::new(),
            state: Mutex::default(),
            changed: Condvar::new(),
        };
        Announcer { shared: Arc::new(shared), thread: None }
    }

    /// Has `progress` say whether the topology is to read its sources, from now on and before anything runs.
    ///
    /// # Errors
    /// When the metadata cannot be asked.
    pub(crate) fn follows_activity(&self, progress: &Arc<Progress>) -> Result<()> {
        let progress = self.shared.progress.get_or_init(|| Arc::clone(progress));
        let active = activity::is_active(&self.shared.log, &self.shared.topology)?;
        progress.set_active(active);
        if !active {
            // It runs and reads nothing: who started it would wait for results that do not come.
            let _ = writeln!(std::io::stderr(), "{}", rests(&self.shared.topology));
        }
        Ok(())
    }

    /// Says that this process is about to run the topology, if nobody else says so; whether it did.
    ///
    /// # Errors
    /// When the metadata cannot be asked.
    pub(crate) fn take_vacant(&mut self) -> Result<bool> {
        self.begin()
    }

    /// Says that this process runs the topology, in this generation, and calls `shut_out` when it finds that it is
    /// another process's.
    ///
    /// # Errors
    /// When the metadata cannot be asked.
    pub(crate) fn runs(
        &mut self,
        generation: Generation,
        shut_out: impl Fn() + Send + Sync + 'static,
    ) -> Result<()> {
        {
            let mut state = self.shared.state();
            state.generation = Some(generation);
            state.shut_out = Some(Arc::new(shut_out));
        }
        if self.thread.is_none() && !self.begin()? {
            self.shared.shut_out();
        }
        Ok(())
    }

    fn begin(&mut self) -> Result<bool> {
        let Some(keeper) = self.shared.say()? else { return Ok(false) };
        let shared = Arc::clone(&self.shared);
        let named = thread::Builder::new().name("egret-announce".into());
        let spawned = named.spawn(move || shared.keep(keeper));
        self.thread = Some(spawned.map_err(Error::other)?);
        Ok(true)
    }

    /// Another process has the topology, and says so or is about to: what was said here ends with its lease, so
    /// that nobody who stands by finds the place vacant meanwhile.
    pub(crate) fn left(self) {
        self.shared.state().left = true;
    }

    /// Says that the topology ended in order. Where that cannot be said, whoever stands by takes it over, and finds
    /// that nothing is left to be done.
    pub(crate) fn ended(self, generation: Generation) {
        let revision = self.shared.state().revision;
        let Some(revision) = revision else { return };
        let ended = RunRecord { state: RunState::Ended(generation), ..self.shared.own };
        let key = key(&self.shared.topology);
        let compare = [Compare::Revision(key.clone(), revision)];
        let said = self.shared.log.metadata().txn(&compare, &[Op::Put(key, ended.encode())]);
        if let Err(error) = said {
            let topology = &self.shared.topology;
            tracing::warn!(topology, %error, "it could not be said that the topology ended in order");
        }
    }
}

impl Drop for Announcer {
    fn drop(&mut self) {
        self.shared.state().stop = true;
        self.shared.changed.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that says who runs the topology panicked");
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says it on a new lease; `None` when the topology is another's.
    fn say(self: &Arc<Self>) -> Result<Option<LeaseKeeper>> {
        self.state().lost = false;
        let told = Arc::clone(self);
        let on_lost = move || {
            told.state().lost = true;
            told.changed.notify_all();
        };
        let store = Arc::clone(self.log.metadata());
        let keeper = LeaseKeeper::start(store, self.ttl_ms, Box::new(on_lost))?;
        match self.write(&keeper) {
            Ok(Some(revision)) => {
                self.state().revision = Some(revision);
                Ok(Some(keeper))
            }
            other => {
                // What could not be ended ends by itself.
                drop(keeper.release());
                other.map(|_| None)
            }
        }
    }

    /// The revision at which it stands there.
    fn write(&self, keeper: &LeaseKeeper) -> Result<Option<u64>> {
        let (key, value) = (key(&self.topology), self.own.encode());
        let store: &dyn MetaStore = &**self.log.metadata();
        let generation = self.state().generation;
        let mut lost: Option<MetaError> = None;
        for _ in 0..TRIES {
            let compare = match generation {
                None => Compare::Absent(key.clone()),
                Some(own) => match read_record(&self.log, &self.topology)? {
                    Some((record, revision)) if record.generation == own => {
                        Compare::Revision(super::topology_key(&self.topology), revision)
                    }
                    _ => return Ok(None),
                },
            };
            let (value, lease) = (value.clone(), keeper.lease());
            let put = Op::PutLeased { key: key.clone(), value, lease };
            match store.txn(&[compare], &[put]) {
                Ok(TxnOutcome::Committed { revision }) => return Ok(Some(revision)),
                Ok(TxnOutcome::Conflict) => {}
                Err(error) if error.outcome() == Outcome::Unknown => lost = Some(error),
                Err(error) => return Err(error.into()),
            }
            // No two runs say the same: what stands there says whether a lost answer was a yes.
            match store.get(&key)? {
                Some(held) if held.value == self.own.encode() => return Ok(Some(held.revision)),
                Some(_) if generation.is_none() => return Ok(None),
                _ => {}
            }
        }
        lost.map_or(Ok(None), |error| Err(error.into()))
    }

    /// Whether the topology is another process's, or nobody's: never where that cannot be told just now.
    fn is_anothers(&self) -> bool {
        let Some(own) = self.state().generation else { return false };
        match read_record(&self.log, &self.topology) {
            Ok(None) => true,
            // What this process claimed is its own, though it has not said so yet.
            Ok(Some((record, _))) => {
                let claimed = record.claimant.process != self.own.process;
                record.deleting || (record.generation != own && claimed)
            }
            Err(_) => false,
        }
    }

    /// Looks whether the topology is to rest; where that cannot be told just now, it does as before.
    fn look_at_activity(&self) {
        let Some(progress) = self.progress.get() else { return };
        if let Ok(active) = activity::is_active(&self.log, &self.topology) {
            progress.set_active(active);
        }
    }

    fn shut_out(&self) {
        let shut_out = self.state().shut_out.clone();
        if let Some(shut_out) = shut_out {
            shut_out();
        }
    }

    /// Until it is stopped, or the topology is another's.
    fn keep(self: Arc<Self>, mut keeper: LeaseKeeper) {
        let look = Duration::from_millis(self.ttl_ms);
        loop {
            let idle = |state: &mut State| !state.stop && !state.lost;
            let waited = self.changed.wait_timeout_while(self.state(), look, idle);
            let (state, _) = waited.unwrap_or_else(PoisonError::into_inner);
            let (stop, left, lost) = (state.stop, state.left, state.lost);
            drop(state);
            if stop {
                if left {
                    return;
                }
                if let Err(error) = keeper.release() {
                    tracing::debug!(topology = self.topology, %error, "the lease ends by itself");
                }
                return;
            }
            if !lost {
                if self.is_anothers() {
                    // The lease ends by itself: whoever has the topology says so.
                    self.shut_out();
                    return;
                }
                self.look_at_activity();
                continue;
            }
            tracing::warn!(
                topology = self.topology,
                "its lease was lost: it is said again who runs it"
            );
            drop(keeper);
            keeper = match self.say_again() {
                Some(keeper) => keeper,
                None => {
                    self.shut_out();
                    return;
                }
            };
        }
    }

    fn say_again(self: &Arc<Self>) -> Option<LeaseKeeper> {
        loop {
            match self.say() {
                Ok(Some(keeper)) => return Some(keeper),
                Ok(None) => return None,
                Err(error) => {
                    tracing::warn!(topology = self.topology, %error, "nobody hears who runs it");
                }
            }
            let idle = |state: &mut State| !state.stop;
            let waited = self.changed.wait_timeout_while(self.state(), PAUSE, idle);
            if waited.unwrap_or_else(PoisonError::into_inner).0.stop {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use egret_log::metadata::LeaseId;
    use egret_log::{LogConfig, clock};
    use egret_state::Guarantee;
    use egret_state::commit::{Claimant, Graph, TopologyRecord};

    const LIMIT: Duration = Duration::from_secs(30);

    fn log() -> (tempfile::TempDir, Log) {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path(), LogConfig::default()).unwrap();
        (dir, log)
    }

    /// Has the topology `t` in a generation.
    fn claim(log: &Log, generation: u32) {
        let me = Claimant { process: 7, operation: u64::from(generation) };
        let first = TopologyRecord::first(me, Guarantee::EffectivelyOnce, 64, Graph::default());
        let record = TopologyRecord { generation: Generation(generation), ..first };
        log.metadata()
            .txn(&[], &[Op::Put(super::super::topology_key("t"), record.encode())])
            .unwrap();
    }

    fn announcer(log: &Log) -> Announcer {
        Announcer::new(log, "t", Duration::from_secs(2))
    }

    /// Ends every lease there is.
    fn end_leases(log: &Log) {
        (0..50).for_each(|lease| log.metadata().revoke(LeaseId(lease)).unwrap());
    }

    #[test]
    fn the_place_is_taken_by_one_and_vacant_when_that_one_goes() {
        let (_dir, log) = log();
        claim(&log, 1);
        let mut first = announcer(&log);
        assert!(first.take_vacant().unwrap());
        assert!(!announcer(&log).take_vacant().unwrap());
        assert_eq!(read(&log, "t").unwrap(), Some(first.shared.own));
        drop(first);
        assert_eq!(read(&log, "t").unwrap(), None);
        let mut second = announcer(&log);
        assert!(second.take_vacant().unwrap());
        second.ended(Generation(1));
        let ended = read(&log, "t").unwrap().map(|run| run.state);
        assert_eq!(ended, Some(RunState::Ended(Generation(1))), "it stays");
        log.close().unwrap();
    }

    #[test]
    fn who_claimed_the_topology_says_so_whoever_said_it_before_and_that_one_takes_nothing_back() {
        let (_dir, log) = log();
        claim(&log, 1);
        let mut first = announcer(&log);
        first.runs(Generation(1), || ()).unwrap();
        let mut late = announcer(&log);
        claim(&log, 2);
        late.runs(Generation(1), || ()).unwrap();
        assert_eq!(read(&log, "t").unwrap(), Some(first.shared.own), "its claim is an old one");
        let mut second = announcer(&log);
        second.runs(Generation(2), || ()).unwrap();
        let says = Some(second.shared.own);
        assert_eq!(read(&log, "t").unwrap(), says);
        first.ended(Generation(1));
        drop(late);
        assert_eq!(read(&log, "t").unwrap(), says, "nobody else takes it back");
        drop(second);
        log.close().unwrap();
    }

    #[test]
    fn a_lease_that_was_lost_is_followed_by_another_unless_the_topology_is_anothers() {
        let (_dir, log) = log();
        claim(&log, 1);
        let mut first = announcer(&log);
        first.runs(Generation(1), || ()).unwrap();
        end_leases(&log);
        let until = clock::now() + LIMIT;
        while read(&log, "t").unwrap().is_none() {
            assert!(clock::now() < until, "it is not said again");
            thread::yield_now();
        }
        claim(&log, 2);
        end_leases(&log);
        while !first.thread.as_ref().is_some_and(JoinHandle::is_finished) {
            assert!(clock::now() < until, "it is tried for ever");
            thread::yield_now();
        }
        assert_eq!(read(&log, "t").unwrap(), None, "the topology is another's");
        drop(first);
        log.close().unwrap();
    }

    #[test]
    fn who_was_shut_out_leaves_the_place_taken_until_its_lease_ends() {
        let (_dir, log) = log();
        claim(&log, 1);
        let mut first = announcer(&log);
        first.runs(Generation(1), || ()).unwrap();
        let own = first.shared.own;
        first.left();
        assert_eq!(read(&log, "t").unwrap(), Some(own));
        log.close().unwrap();
    }
}
