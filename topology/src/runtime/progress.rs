//! How far a run is, readable from any thread.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use egret_log::message::Wake;

/// Counters of a running topology, and the way to stop it.
#[derive(Default)]
pub struct Progress {
    tuples: AtomicU64,
    bytes: AtomicU64,
    commits: AtomicU64,
    generation: AtomicU64,
    peak_bytes: AtomicUsize,
    stopping: AtomicBool,
    wake: Mutex<Option<Wake>>,
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Progress({} tuples, {} commits)", self.tuples(), self.commits())
    }
}

impl Progress {
    /// Tuples emitted by spouts in this process, replays included.
    pub fn tuples(&self) -> u64 {
        self.tuples.load(Ordering::Relaxed)
    }

    /// Bytes emitted by spouts in this process, replays included.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Commits acknowledged in this process.
    pub fn commits(&self) -> u64 {
        self.commits.load(Ordering::Relaxed)
    }

    /// The generation running now, 0 before the first.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// The most bytes that were between components at once.
    pub fn peak_bytes(&self) -> usize {
        self.peak_bytes.load(Ordering::Relaxed)
    }

    /// Asks the topology to end after the commit under way.
    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
        let wake = self.wake.lock().expect("no panic while held").clone();
        if let Some(wake) = wake {
            wake();
        }
    }

    /// Calls `wake` when a stop is asked for.
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

    pub(crate) fn committed(&self, peak_bytes: usize) {
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.peak_bytes.fetch_max(peak_bytes, Ordering::Relaxed);
    }

    pub(crate) fn began(&self, generation: u32) {
        self.generation.store(u64::from(generation), Ordering::Relaxed);
    }
}
