//! How far a run is, readable from any thread.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use egret_log::clock;
use egret_log::message::Wake;
use egret_schemas::Epoch;

use super::mesh::Done;
use super::restored::Resumed;
use crate::metrics::{Metrics, ProcessMetrics, Snapshot};

/// Counters of a running topology, and the way to stop it.
#[derive(Default)]
pub struct Progress {
    tuples: AtomicU64,
    bytes: AtomicU64,
    commits: AtomicU64,
    generation: AtomicU64,
    tasks_kept: AtomicU64,
    tasks_read: AtomicU64,
    followed: AtomicU64,
    late_tuples: AtomicU64,
    peak_bytes: AtomicUsize,
    stopping: AtomicBool,
    inactive: AtomicBool,
    wake: Mutex<Option<Wake>>,
    metrics: Metrics,
    /// When the last commit was acknowledged here.
    committed_at: Mutex<Option<Instant>>,
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Progress({} tuples, {} commits)", self.tuples(), self.commits())
    }
}

impl Progress {
    /// What this process's tasks do, in numbers.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// All of this process's numbers as they are now: those of its tasks, and its own.
    pub fn snapshot(&self) -> Snapshot {
        let Snapshot { process, tasks } = self.metrics.snapshot();
        let committed_at = *self.committed_at.lock().unwrap_or_else(PoisonError::into_inner);
        let ms_since = |at: Instant| {
            u64::try_from(clock::now().saturating_duration_since(at).as_millis())
                .unwrap_or(u64::MAX)
        };
        let process = ProcessMetrics {
            tuples: self.tuples(),
            bytes: self.bytes(),
            commits: self.commits(),
            since_commit_ms: committed_at.map(ms_since),
            generation: self.generation(),
            active: self.is_active(),
            late_tuples: self.late_tuples(),
            peak_bytes: self.peak_bytes() as u64,
            ..process
        };
        Snapshot { process, tasks }
    }

    /// Tuples emitted by spouts, replays included.
    pub fn tuples(&self) -> u64 {
        self.tuples.load(Ordering::Relaxed)
    }

    /// Bytes emitted by spouts, replays included.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Commits acknowledged; counted in the first process of several.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// The generation running now, 0 before the first.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// Tasks of this process that went on, after a failure, with the state they had, taken back in memory to the
    /// last commit.
    pub fn tasks_kept(&self) -> u64 {
        self.tasks_kept.load(Ordering::Relaxed)
    }

    /// Tasks of this process whose state was read from its ledgers.
    pub fn tasks_read(&self) -> u64 {
        self.tasks_read.load(Ordering::Relaxed)
    }

    /// The commit whose state is held while this process stands by, as its last epoch: it was the newest when it was
    /// looked last, some milliseconds ago. `None` before the first.
    pub fn followed(&self) -> Option<Epoch> {
        match self.followed.load(Ordering::Relaxed) {
            0 => None,
            epoch => Some(Epoch(epoch)),
        }
    }

    pub(crate) fn follows(&self, commit: Epoch) {
        self.followed.store(commit.0, Ordering::Relaxed);
    }

    /// Tuples that came too late for every window they are in, at tasks of this process; those of commits that
    /// were repeated are counted again.
    pub fn late_tuples(&self) -> u64 {
        self.late_tuples.load(Ordering::Relaxed)
    }

    pub(crate) fn late(&self) {
        self.late_tuples.fetch_add(1, Ordering::Relaxed);
    }

    /// The most bytes that were between components at once, in one process.
    pub fn peak_bytes(&self) -> usize {
        self.peak_bytes.load(Ordering::Relaxed)
    }

    /// Asks the topology to end after the commit under way.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        self.wake();
    }

    /// Has the coordinator look what has become due.
    pub(crate) fn wake(&self) {
        let wake = self.wake.lock().expect("no panic while held").clone();
        if let Some(wake) = wake {
            wake();
        }
    }

    /// Whether the topology reads its sources, as far as the process has heard that runs it, or leads those that do;
    /// see [`topologies::deactivate`](super::topologies::deactivate).
    pub fn is_active(&self) -> bool {
        !self.inactive.load(Ordering::Acquire)
    }

    pub(crate) fn set_active(&self, active: bool) {
        if self.inactive.swap(!active, Ordering::AcqRel) == active {
            let wake = self.wake.lock().expect("no panic while held").clone();
            wake.into_iter().for_each(|wake| wake());
        }
    }

    /// Calls `wake` when a stop is asked for, or the topology is to rest or to go on.
    pub(crate) fn wake_with(&self, wake: Wake) {
        *self.wake.lock().expect("no panic while held") = Some(wake);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    pub(crate) fn emitted(&self, tuples: u64, bytes: usize) {
        self.tuples.fetch_add(tuples, Ordering::Relaxed);
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Another process did so much.
    pub(crate) fn did(&self, done: Done) {
        self.tuples.fetch_add(done.tuples, Ordering::Relaxed);
        self.bytes.fetch_add(done.bytes, Ordering::Relaxed);
        let peak = usize::try_from(done.peak_bytes).unwrap_or(usize::MAX);
        self.peak_bytes.fetch_max(peak, Ordering::Relaxed);
    }

    /// What was done here beyond what `told` says, which says all of it then.
    pub(crate) fn since(&self, told: &mut Done) -> Done {
        let (tuples, bytes) = (self.tuples(), self.bytes());
        let peak_bytes = self.peak_bytes() as u64;
        let (new_tuples, new_bytes) = (tuples - told.tuples, bytes - told.bytes);
        *told = Done { tuples, bytes, peak_bytes };
        Done { tuples: new_tuples, bytes: new_bytes, peak_bytes }
    }

    /// A commit was acknowledged; it took so long where that is known.
    pub(crate) fn committed(&self, peak_bytes: usize, took: Option<Duration>) {
        let now = clock::now();
        *self.committed_at.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
        took.into_iter().for_each(|took| self.metrics.committed(took));
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.peak_bytes.fetch_max(peak_bytes, Ordering::Relaxed);
    }

    pub(crate) fn resumed(&self, how: Resumed) {
        match how {
            Resumed::Anew => 0,
            Resumed::Kept => self.tasks_kept.fetch_add(1, Ordering::Relaxed),
            Resumed::Read => self.tasks_read.fetch_add(1, Ordering::Relaxed),
        };
    }

    pub(crate) fn began(&self, generation: u32) {
        self.generation.store(u64::from(generation), Ordering::Relaxed);
    }
}
