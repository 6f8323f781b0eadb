//! Partitions that other processes write: their records, followed in the metadata store, so that readers
//! of this process look again when a segment was added there, or a partition taken over.
//!
//! Where one process holds everything nobody else changes a record, and nothing is followed.

use std::io;
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
    /// Starts for the partitions of a catalog. A watch that is quiet for `quiet` is begun anew.
    ///
    /// # Errors
    /// When the system gives no thread: readers would not see what others append until they are opened
    /// again.
    pub(super) fn start(catalog: &Arc<Catalog>, quiet: Duration) -> io::Result<Follower> {
        Follower::start_on(thread::Builder::new(), catalog, quiet)
    }

    fn start_on(
        thread: thread::Builder,
        catalog: &Arc<Catalog>,
        quiet: Duration,
    ) -> io::Result<Follower> {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopping, catalog) = (Arc::clone(&stop), Arc::downgrade(catalog));
        let run = move || follow(&catalog, &stopping, quiet);
        let thread = Some(thread.name("egret-follow".to_owned()).spawn(run)?);
        Ok(Follower { stop, thread })
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

fn follow(catalog: &Weak<Catalog>, stop: &AtomicBool, quiet: Duration) {
    let ended = || stop.load(Ordering::Acquire);
    while !ended() {
        let Some(store) = store_of(catalog) else { return };
        match follow_on(catalog, &*store, stop, quiet) {
            Ok(()) => {}
            Err(MetaError::Closed) => return,
            Err(MetaError::Gone { .. }) => {
                // It will not come back: whoever waits looks, and is told so.
                if let Some(catalog) = catalog.upgrade() {
                    catalog.notify_all();
                }
                return;
            }
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

/// As long as the store answers, keeps what was not seen yet, and does not fall silent.
fn follow_on(
    catalog: &Weak<Catalog>,
    store: &dyn MetaStore,
    stop: &AtomicBool,
    quiet: Duration,
) -> Result<(), MetaError> {
    // What happened before is not known: everybody looks once.
    let from = store.list(PARTITION_PREFIX)?.revision + 1;
    let mut watch = store.watch(PARTITION_PREFIX, from)?.trusted_for(quiet);
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
            Err(WatchError::Compacted { .. } | WatchError::Quiet { .. }) => return Ok(()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bookie::{Bookie, BookieConfig};
    use crate::client::Ledgers;
    use crate::clock::Wall;
    use crate::disk::FaultyDisk;
    use crate::metadata::conformance::PATIENCE;
    use crate::metadata::deaf::Deaf;
    use std::path::Path;
    use std::sync::mpsc::channel;

    fn catalog(meta: Arc<dyn MetaStore>) -> Arc<Catalog> {
        let disk = Arc::new(FaultyDisk::new());
        let bookie = Bookie::open(disk, Path::new("/b"), BookieConfig::default()).unwrap();
        Catalog::new(Ledgers::on_one(Arc::new(bookie), meta), None, Wall::default())
    }

    /// A reader of another process was woken by nobody when the watch was dead.
    #[test]
    fn a_watch_that_says_nothing_is_begun_anew() {
        let (told, tells) = channel();
        let catalog = catalog(Arc::new(Deaf::new(told)));
        let _follower = Follower::start(&catalog, Duration::from_millis(20)).unwrap();
        for _ in 0..3 {
            tells.recv_timeout(PATIENCE).expect("it watches, again and again");
        }
    }

    /// It was a warning, and readers slept for ever.
    #[test]
    fn without_a_thread_nothing_is_followed_and_that_is_an_error() {
        let (told, _tells) = channel();
        let catalog = catalog(Arc::new(Deaf::new(told)));
        // No system gives a thread such a stack.
        let thread = thread::Builder::new().stack_size(1 << 60);
        Follower::start_on(thread, &catalog, Duration::from_secs(1)).unwrap_err();
    }
}
