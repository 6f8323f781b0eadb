//! A bookie that says that it is there, for as long as it is.
//!
//! Its key hangs on a lease: when the process ends, or is cut off from the metadata, the key goes. A
//! lease that was lost is followed by another, unless another incarnation has the place by then.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use egret_schemas::{BookieId, Incarnation};

use super::{CAS_TRIES, Registry, RegistryError, key, live};
use crate::metadata::{Compare, LeaseKeeper, MetaError, TxnOutcome, txn_or_conflict};

/// Between two tries to say it again.
const PAUSE: Duration = Duration::from_secs(1);

/// Said until this is withdrawn, or dropped, which withdraws.
#[derive(Debug)]
pub struct Presence {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<(), MetaError>>>,
}

#[derive(Debug)]
struct Shared {
    registry: Registry,
    bookie: BookieId,
    own: Incarnation,
    ttl_ms: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lost: bool,
    stop: bool,
}

impl Presence {
    /// Says it once, then goes on from a thread.
    pub(super) fn start(
        registry: &Registry,
        bookie: BookieId,
        own: Incarnation,
        ttl_ms: u64,
    ) -> Result<Presence, RegistryError> {
        let (registry, state, changed) = (registry.clone(), Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { registry, bookie, own, ttl_ms, state, changed });
        let keeper = shared.say()?;
        let run = {
            let shared = Arc::clone(&shared);
            move || shared.keep(keeper)
        };
        let spawned = thread::Builder::new().name(format!("presence-{bookie}")).spawn(run);
        let thread = Some(spawned.map_err(|why| MetaError::Refused {
            why: format!(
                "no thread to say that a bookie is there ({why}): end others, then try again"
            ),
        })?);
        Ok(Presence { shared, thread })
    }

    /// Says that it is there no longer; another incarnation that came meanwhile stays.
    ///
    /// # Errors
    /// When the store cannot answer: it counts as there until its lease ends.
    pub fn withdraw(mut self) -> Result<(), RegistryError> {
        Ok(self.stop()?)
    }

    fn stop(&mut self) -> Result<(), MetaError> {
        self.shared.state().stop = true;
        self.shared.changed.notify_all();
        match self.thread.take().map(JoinHandle::join) {
            // A panic has been reported where it happened; its lease ends.
            None | Some(Err(_)) => Ok(()),
            Some(Ok(withdrawn)) => withdrawn,
        }
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            tracing::warn!(%error, bookie = %self.shared.bookie, "it counts as there until its lease ends");
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says it on a new lease.
    fn say(self: &Arc<Self>) -> Result<LeaseKeeper, RegistryError> {
        self.state().lost = false;
        let told = Arc::clone(self);
        let on_lost = move || {
            told.state().lost = true;
            told.changed.notify_all();
        };
        let meta = Arc::clone(&self.registry.meta);
        let keeper = LeaseKeeper::start(meta, self.ttl_ms, Box::new(on_lost))?;
        match self.write(&keeper) {
            Ok(()) => Ok(keeper),
            Err(why) => {
                // What could not be ended ends by itself.
                drop(keeper.release());
                Err(why)
            }
        }
    }

    fn write(&self, keeper: &LeaseKeeper) -> Result<(), RegistryError> {
        let Shared { bookie, own, .. } = *self;
        for _ in 0..CAS_TRIES {
            let (held, revision) =
                self.registry.load(bookie)?.ok_or(RegistryError::Nobody { bookie })?;
            if held.incarnation != own {
                let registered = held.incarnation;
                return Err(RegistryError::Another { bookie, registered, own });
            }
            let compare = Compare::Revision(key(bookie), revision);
            let put = live::put(bookie, own, keeper.lease());
            // Saying it twice is saying it once.
            if txn_or_conflict(&*self.registry.meta, &[compare], &[put])? != TxnOutcome::Conflict {
                return Ok(());
            }
        }
        Err(RegistryError::Contended { bookie })
    }

    /// Until it is stopped, or another has the place.
    fn keep(self: Arc<Self>, mut keeper: LeaseKeeper) -> Result<(), MetaError> {
        loop {
            let idle = |state: &mut State| !state.stop && !state.lost;
            let waited = self.changed.wait_while(self.state(), idle);
            let stop = waited.unwrap_or_else(PoisonError::into_inner).stop;
            if stop {
                return keeper.release();
            }
            tracing::warn!(bookie = %self.bookie, "its lease was lost: it says again that it is there");
            // Nothing of it is told any more once it is gone.
            drop(keeper);
            keeper = match self.say_again() {
                Some(keeper) => keeper,
                None => return Ok(()),
            };
        }
    }

    fn say_again(self: &Arc<Self>) -> Option<LeaseKeeper> {
        loop {
            match self.say() {
                Ok(keeper) => return Some(keeper),
                Err(error @ (RegistryError::Another { .. } | RegistryError::Nobody { .. })) => {
                    tracing::error!(%error, "this bookie no longer says that it is there");
                    return None;
                }
                Err(error) => {
                    tracing::warn!(%error, bookie = %self.bookie, "it does not count as there")
                }
            }
            let waited = self.changed.wait_timeout_while(self.state(), PAUSE, |state| !state.stop);
            if waited.unwrap_or_else(PoisonError::into_inner).0.stop {
                return None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::conformance::PATIENCE;
    use crate::metadata::{Event, LeaseId, MemoryMeta, MetaStore, Op};
    use crate::registry::{BookieState, Registration};

    const BOOKIE: BookieId = BookieId(3);
    const LONG_MS: u64 = 60_000;

    fn registry() -> (Arc<MemoryMeta>, Registry) {
        let meta = Arc::new(MemoryMeta::new());
        (Arc::clone(&meta), Registry::new(meta))
    }

    fn register(registry: &Registry, incarnation: u128) {
        let own = Registration {
            bookie: BOOKIE,
            incarnation: Incarnation(incarnation),
            address: "b3:7400".to_owned(),
            rack: String::new(),
            since_ms: 5,
            state: BookieState::Active,
        };
        // Whoever is there, as when its lease was lost for a moment.
        registry.meta.txn(&[], &[Op::Put(key(BOOKIE), own.encode())]).unwrap();
    }

    fn live(registry: &Registry) -> Vec<u128> {
        registry.live().unwrap().into_values().map(|own| own.0).collect()
    }

    #[test]
    fn who_is_there_is_known_until_it_withdraws() {
        let (_, registry) = registry();
        register(&registry, 7);
        let seven = registry.announce(BOOKIE, Incarnation(7), LONG_MS).unwrap();
        assert_eq!(live(&registry), [7]);
        register(&registry, 8);
        let eight = registry.announce(BOOKIE, Incarnation(8), LONG_MS).unwrap();
        seven.withdraw().unwrap();
        assert_eq!(live(&registry), [8]);
        eight.withdraw().unwrap();
        assert!(live(&registry).is_empty());
    }

    #[test]
    fn only_the_registered_incarnation_is_there() {
        let (_, registry) = registry();
        let nobody = registry.announce(BOOKIE, Incarnation(7), LONG_MS).unwrap_err();
        assert!(matches!(nobody, RegistryError::Nobody { .. }), "{nobody}");
        register(&registry, 8);
        let another = registry.announce(BOOKIE, Incarnation(7), LONG_MS).unwrap_err();
        assert!(matches!(another, RegistryError::Another { .. }), "{another}");
        assert!(live(&registry).is_empty());
    }

    #[test]
    fn a_bookie_that_lost_its_lease_says_again_that_it_is_there() {
        let (meta, registry) = registry();
        register(&registry, 7);
        let from = meta.list("").unwrap().revision + 1;
        let presence = registry.announce(BOOKIE, Incarnation(7), 300).unwrap();
        let mut watch = registry.watch(from).unwrap();
        let mut next = || watch.next(PATIENCE).unwrap().expect("it comes within patience");
        assert!(matches!(next(), Event::Put { .. }));
        meta.revoke(LeaseId(1)).unwrap();
        assert!(matches!(next(), Event::Delete { .. }));
        assert!(matches!(next(), Event::Put { .. }));
        assert_eq!(live(&registry), [7]);
        drop(presence);
        assert!(live(&registry).is_empty());
    }
}
