//! The threads that write full buffers to files, and merge files: two, so that a buffer never waits for a merge.
//!
//! What fails there is kept, and said to whoever uses the tree next: then nothing more is written.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use lsm_tree::compaction::Leveled;
use lsm_tree::{AbstractTree, AnyTree, SequenceNumberCounter};

use crate::caps;

/// What a thread does until it is time to end.
type Work = fn(&Shared, &AnyTree, &SequenceNumberCounter) -> Result<(), lsm_tree::Error>;

/// See the [module](self). Ends the threads when it goes.
#[derive(Debug)]
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    /// The state changed, or the tree did.
    changed: Condvar,
    failed: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// There is a full buffer.
    to_write: bool,
    /// There is a new file.
    to_merge: bool,
    ends: bool,
    failure: Option<(io::ErrorKind, String)>,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and says so. Who waits for a change of the tree is told like this, too: it looks at the
    /// tree with the state in hand, and misses nothing.
    fn tell(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
        self.changed.notify_all();
    }

    /// Waits until there is something to do, and takes it; false when it is time to end.
    fn wait(&self, what: impl Fn(&mut State) -> &mut bool) -> bool {
        let idle = |state: &mut State| !*what(state) && !state.ends && state.failure.is_none();
        let state = self.changed.wait_while(self.state(), idle);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        std::mem::take(what(&mut state)) && !state.ends && state.failure.is_none()
    }

    /// Runs a thread's work to its end, and keeps what fails.
    fn run(&self, work: impl FnOnce() -> Result<(), lsm_tree::Error>) {
        let failure = match catch_unwind(AssertUnwindSafe(work)) {
            Ok(Ok(())) => return,
            Ok(Err(lsm_tree::Error::Io(why))) => (why.kind(), why.to_string()),
            Ok(Err(why)) => (io::ErrorKind::InvalidData, why.to_string()),
            Err(_) => (io::ErrorKind::Other, "its thread panicked".to_owned()),
        };
        self.failed.store(true, Ordering::Release);
        self.tell(|state| {
            state.failure.get_or_insert(failure);
        });
    }
}

impl Keeper {
    /// Starts the threads for a tree whose changes have these numbers.
    pub(crate) fn start(tree: &AnyTree, changes: &SequenceNumberCounter) -> io::Result<Keeper> {
        let mut keeper = Keeper { shared: Arc::default(), threads: Vec::new() };
        let work = [("egret-state-write", write as Work), ("egret-state-merge", merge as Work)];
        for (name, work) in work {
            let (shared, tree) = (Arc::clone(&keeper.shared), tree.clone());
            let changes = changes.clone();
            let run = move || shared.run(|| work(&shared, &tree, &changes));
            let named = std::thread::Builder::new().name(name.into());
            keeper.threads.push(named.spawn(run)?);
        }
        Ok(keeper)
    }

    /// What failed, if something did.
    pub(crate) fn failure(&self) -> Option<lsm_tree::Error> {
        if !self.shared.failed.load(Ordering::Acquire) {
            return None;
        }
        let state = self.shared.state();
        let (kind, why) = state.failure.as_ref()?;
        Some(io::Error::new(*kind, why.clone()).into())
    }

    /// There is a full buffer.
    pub(crate) fn wake(&self) {
        self.shared.tell(|state| state.to_write = true);
    }

    /// Waits until another full buffer may wait, and files are few enough; whether that came to be.
    pub(crate) fn wait_for_room(&self, tree: &AnyTree) -> bool {
        let no_room = |state: &mut State| {
            let waiting = tree.sealed_memtable_count() >= caps::BUFFERS_WAITING_MAX;
            state.failure.is_none() && (waiting || tree.l0_run_count() >= caps::RUNS_MAX)
        };
        let shared = &self.shared;
        let waited = shared.changed.wait_timeout_while(shared.state(), caps::PATIENCE, no_room);
        let (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        state.failure.is_none() && !timeout.timed_out()
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.shared.tell(|state| state.ends = true);
        for thread in self.threads.drain(..) {
            // Its panics are caught and told.
            drop(thread.join());
        }
    }
}

fn write(
    shared: &Shared,
    tree: &AnyTree,
    changes: &SequenceNumberCounter,
) -> Result<(), lsm_tree::Error> {
    while shared.wait(|state| &mut state.to_write) {
        let lock = tree.get_flush_lock();
        tree.flush(&lock, changes.get())?;
        shared.tell(|state| state.to_merge = true);
    }
    Ok(())
}

fn merge(
    shared: &Shared,
    tree: &AnyTree,
    changes: &SequenceNumberCounter,
) -> Result<(), lsm_tree::Error> {
    let how = Arc::new(Leveled::default().with_table_target_size(caps::FILE_BYTES));
    while shared.wait(|state| &mut state.to_merge) {
        let before = shape(tree);
        tree.compact(Arc::clone(&how) as _, changes.get())?;
        // As long as there is something to merge.
        let again = shape(tree) != before;
        shared.tell(|state| state.to_merge |= again);
    }
    Ok(())
}

/// What a merge changes.
fn shape(tree: &AnyTree) -> (Vec<Option<usize>>, usize, u64) {
    let levels = (0..7).map(|level| tree.level_table_count(level)).collect();
    (levels, tree.l0_run_count(), tree.disk_space())
}
