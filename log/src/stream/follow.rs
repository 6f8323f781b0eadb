//! Partitions that other processes write: their records, followed in the metadata store, so that readers
//! of this process look again when a segment was added there, or a partition taken over.
//!
//! Where one process holds everything nobody else changes a record, and nothing is followed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::partition::{Catalog, PARTITION_PREFIX};
use crate::metadata::{Event, MetaError, MetaStore, WatchError};

/// How long the thread waits at a time, and so how soon it ends.
const STEP: Duration = Duration::from_millis(100);

/// Between two tries to reach the store, in steps.
const PAUSE_STEPS: u32 = 10;

/// Follows until it is dropped.
#[derive(Debug)]
pub(super) struct Follower {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Follower {
    /// Starts for the partitions of a catalog. Without a thread readers see what is new when they are
    /// opened again.
    pub(super) fn start(catalog: &Arc<Catalog>) -> Follower {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopping, catalog) = (Arc::clone(&stop), Arc::downgrade(catalog));
        let run = move || follow(&catalog, &stopping);
        let thread = thread::Builder::new()
            .name("egret-follow".to_owned())
            .spawn(run)
            .inspect_err(|error| tracing::warn!(%error, "no thread to follow partitions with"))
            .ok();
        Follower { stop, thread }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take()
            // The last reader may be dropped by what it is told here.
            && thread.thread().id() != thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("following partitions panicked");
        }
    }
}

fn follow(catalog: &Weak<Catalog>, stop: &AtomicBool) {
    let ended = || stop.load(Ordering::Acquire);
    while !ended() {
        let Some(store) = store_of(catalog) else { return };
        match follow_on(catalog, &*store, stop) {
            Ok(()) => {}
            Err(MetaError::Closed) => return,
            Err(error) => {
                tracing::warn!(%error, "partitions that others write are not followed");
                for _ in 0..PAUSE_STEPS {
                    if !ended() {
                        thread::park_timeout(STEP);
                    }
                }
            }
        }
    }
}

fn store_of(catalog: &Weak<Catalog>) -> Option<Arc<dyn MetaStore>> {
    Some(Arc::clone(catalog.upgrade()?.ledgers.metadata()))
}

/// As long as the store answers and keeps what was not seen yet.
fn follow_on(
    catalog: &Weak<Catalog>,
    store: &dyn MetaStore,
    stop: &AtomicBool,
) -> Result<(), MetaError> {
    // What happened before is not known: everybody looks once.
    let mut watch = store.watch(PARTITION_PREFIX, store.list(PARTITION_PREFIX)?.revision + 1)?;
    if let Some(catalog) = catalog.upgrade() {
        catalog.notify_all();
    }
    while !stop.load(Ordering::Acquire) {
        match watch.next(STEP) {
            Ok(Some(event)) => {
                let Some(catalog) = catalog.upgrade() else { return Ok(()) };
                tell(&catalog, &event);
            }
            Ok(None) => {}
            Err(WatchError::Compacted { .. }) => return Ok(()),
            Err(WatchError::Store(error)) => return Err(error),
        }
    }
    Ok(())
}

fn tell(catalog: &Catalog, event: &Event) {
    let place = event.key().strip_prefix(PARTITION_PREFIX).and_then(|key| key.rsplit_once('/'));
    if let Some((stream, number)) = place
        && let Ok(number) = number.parse()
    {
        catalog.notify(stream, number);
    }
}
