//! Which bookies a cluster has, where they are, and which are there now.
//!
//! ```text
//! /bookies/registered/<id>  a registration: for ever, until an operator removes it
//! /bookies/live/<id>        the incarnation that is there now: gone soon after it is
//! /starts/<id>              how often it was started: what tells its directory from an older copy
//! /cluster                  whose metadata this is: for ever
//! ```
//! A registration says who a bookie is: an address is no identity, its incarnation is. Another
//! incarnation under the same id is another bookie, which has none of the entries of the first; it takes
//! the place only on an operator's word, and not while the first is there.

pub(crate) mod cluster_name;
pub(crate) mod live;
mod presence;
mod record;
mod sealed;
pub(crate) mod starts;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use egret_schemas::bytes::DecodeError;
use egret_schemas::{BookieId, Incarnation};

pub use presence::Presence;
pub use record::{BookieState, NoState, Registration};

use crate::caps;
use crate::metadata::{
    Compare, MetaError, MetaStore, Op, TxnOutcome, Versioned, Watch, txn_or_conflict,
};

/// Tries to change a registration that others change too, before it is given up.
const CAS_TRIES: usize = 16;

/// Why the registry could not be asked or changed.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The store could not answer.
    #[error(transparent)]
    Metadata(#[from] MetaError),
    /// A record is not what a registration is.
    #[error("the record {key} does not decode: {why}: restore the metadata, or register anew")]
    Decode {
        /// The record.
        key: String,
        /// What is wrong with it.
        why: DecodeError,
    },
    /// Another incarnation has the place.
    #[error(
        "{bookie} is registered as incarnation {registered}, and this directory is {own}: start it \
         on the registered directory, or with --replace if that one is lost"
    )]
    Another {
        /// The bookie.
        bookie: BookieId,
        /// Who has the place.
        registered: Incarnation,
        /// Who came.
        own: Incarnation,
    },
    /// The incarnation that has the place is up.
    #[error(
        "{bookie} is up as incarnation {registered} at {address}, and nobody takes the place of one that is: \
         end that process first (if it was killed, it counts as up for {} s), or give this one a number of \
         its own", caps::BOOKIE_LEASE_MS / 1000
    )]
    Up {
        /// The bookie.
        bookie: BookieId,
        /// Who has the place.
        registered: Incarnation,
        /// Where it is reached.
        address: String,
    },
    /// The same incarnation is up somewhere else.
    #[error(
        "{bookie} is up at {address} on this very directory or a copy of it: end that process first; if it was killed, \
         it counts as up for {} s, try again then", caps::BOOKIE_LEASE_MS / 1000
    )]
    UpElsewhere {
        /// The bookie.
        bookie: BookieId,
        /// Where it is reached.
        address: String,
    },
    /// Another process started as this bookie just now.
    #[error(
        "{bookie} was started by another process just now, on this directory or a copy of it: end one of them"
    )]
    Twice {
        /// The bookie.
        bookie: BookieId,
    },
    /// The directory is an older copy.
    #[error(
        "this directory is an older copy of that of {bookie}: it was started {starts} times, and {bookie} was {counted} \
         times; what it was given since is not in it, so it must not serve: start it on the directory it had last, or \
         on an empty one with --replace, and `egret ledger repair` makes the copies again"
    )]
    OlderDirectory {
        /// The bookie.
        bookie: BookieId,
        /// Starts the metadata counts.
        counted: u64,
        /// Starts the directory counts.
        starts: u64,
    },
    /// The metadata is an older copy, or was made anew.
    #[error(
        "this metadata counts {counted} starts of {bookie}, and has counted {known}: it was made anew, or is an older copy, \
         and would give away numbers of ledgers that this directory has: name the metadata that it was part of, or, if \
         that is lost for good, begin anew on empty directories"
    )]
    OlderMetadata {
        /// The bookie.
        bookie: BookieId,
        /// Starts the metadata counts.
        counted: u64,
        /// Starts it has counted, as the directory has it.
        known: u64,
    },
    /// An operator took the bookie out, and it is not up.
    #[error(
        "{bookie} is decommissioned and not up, and what it had may be gone: start it first, on its own \
         directory, or on an empty one with --replace, and call this again then; or give it up, and start a \
         bookie with a number of its own"
    )]
    Decommissioned {
        /// The bookie.
        bookie: BookieId,
    },
    /// It was not to go any more.
    #[error(
        "{bookie} is {state}, and no longer draining: somebody called it back; decommission it again if it is \
         to go all the same"
    )]
    CalledBack {
        /// The bookie.
        bookie: BookieId,
        /// What it was told to be.
        state: BookieState,
    },
    /// The metadata is another cluster's.
    #[error(
        "this is the metadata of cluster `{found}`, not of `{own}`: correct the cluster's name, or name \
         metadata of its own"
    )]
    AnotherCluster {
        /// Whose it is.
        found: String,
        /// Who came.
        own: String,
    },
    /// The cluster's name could not be written.
    #[error("the cluster's name was neither there nor written at every attempt: try again")]
    ClusterContended,
    /// There is no such bookie.
    #[error("{bookie} is not registered: start it once, or check the number")]
    Nobody {
        /// The bookie.
        bookie: BookieId,
    },
    /// Others changed it at every attempt.
    #[error("the registration of {bookie} changed at every attempt: try again")]
    Contended {
        /// The bookie.
        bookie: BookieId,
    },
}

/// The bookies of a cluster, as its metadata store has them.
#[derive(Clone)]
pub struct Registry {
    meta: Arc<dyn MetaStore>,
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Registry").field("meta", &self.meta).finish()
    }
}

fn key(bookie: BookieId) -> String {
    // So many digits that the order of keys is the order of numbers.
    format!("{PREFIX}{:020}", bookie.0)
}

/// Of registrations and of who is there: one list, one watch.
const ALL: &str = "/bookies/";

const PREFIX: &str = "/bookies/registered/";

/// What a registry says at one moment.
#[derive(Debug, Default)]
pub struct Known {
    /// Every registration.
    pub registered: BTreeMap<BookieId, Registration>,
    /// Who is there.
    pub live: BTreeMap<BookieId, Incarnation>,
    /// The store's revision at that moment: a [watch](Registry::watch) from the one after it misses
    /// nothing.
    pub revision: u64,
}

impl Registry {
    /// Over the cluster's store.
    pub fn new(meta: Arc<dyn MetaStore>) -> Registry {
        Registry { meta }
    }

    /// Every registration, in order of ids.
    ///
    /// # Errors
    /// When the store cannot answer, or a record is damaged: none is left out silently.
    pub fn all(&self) -> Result<Vec<Registration>, RegistryError> {
        let listed = self.meta.list(PREFIX)?.entries;
        listed.iter().map(|(key, held)| decode(key, held)).collect()
    }

    /// One registration.
    ///
    /// # Errors
    /// As [`all`](Registry::all).
    pub fn find(&self, bookie: BookieId) -> Result<Option<Registration>, RegistryError> {
        Ok(self.load(bookie)?.map(|(found, _)| found))
    }

    fn load(&self, bookie: BookieId) -> Result<Option<(Registration, u64)>, RegistryError> {
        let key = key(bookie);
        let Some(held) = self.meta.get(&key)? else { return Ok(None) };
        Ok(Some((decode(&key, &held)?, held.revision)))
    }

    /// Who is at a bookie's place: entered, and there.
    fn place(&self, bookie: BookieId) -> Result<Place, RegistryError> {
        let registered = self.load(bookie)?;
        Ok(Place { registered, live: self.meta.get(&live::key(bookie))? })
    }

    /// Whether `own` may take a bookie's place, as [`register`](Registry::register) decides it.
    ///
    /// # Errors
    /// As `register`.
    pub fn check_place(
        &self,
        bookie: BookieId,
        own: Incarnation,
        replace: bool,
    ) -> Result<(), RegistryError> {
        self.place(bookie)?.may_be_taken(bookie, own, replace)
    }

    /// Enters a bookie, or where it is now; what it was told to be (read-only, say) stays, also when with
    /// `replace` another incarnation takes the place.
    ///
    /// # Errors
    /// [`RegistryError::Another`] when another incarnation has the place, [`RegistryError::Up`] when it is
    /// to be replaced and is there.
    pub fn register(
        &self,
        own: &Registration,
        replace: bool,
    ) -> Result<Registration, RegistryError> {
        self.change(own.bookie, |place| {
            place.may_be_taken(own.bookie, own.incarnation, replace)?;
            place.is_nowhere_else(own)?;
            Ok(match place.held() {
                Some(held) if held.incarnation == own.incarnation => Registration {
                    address: own.address.clone(),
                    rack: own.rack.clone(),
                    ..held.clone()
                },
                Some(held) => Registration { state: held.state, ..own.clone() },
                None => own.clone(),
            })
        })
    }

    /// Tells a bookie what it takes from now on.
    ///
    /// # Errors
    /// [`RegistryError::Nobody`] when it is not registered, [`RegistryError::Decommissioned`] when it is to
    /// take anything again and is not there, [`RegistryError::CalledBack`] when it is to be decommissioned
    /// and was not to go.
    pub fn set_state(
        &self,
        bookie: BookieId,
        state: BookieState,
    ) -> Result<Registration, RegistryError> {
        use BookieState::{Active, Decommissioned, ReadOnly};
        self.change(bookie, |place| {
            let held = place.held().ok_or(RegistryError::Nobody { bookie })?;
            match (held.state, state) {
                // Whoever was told that it may be stopped may have wiped it.
                (Decommissioned, Active | ReadOnly) if !place.is_up(held)? => {
                    Err(RegistryError::Decommissioned { bookie })
                }
                (Active | ReadOnly, Decommissioned) => {
                    Err(RegistryError::CalledBack { bookie, state: held.state })
                }
                _ => Ok(Registration { state, ..held.clone() }),
            }
        })
    }

    fn change(
        &self,
        bookie: BookieId,
        next: impl Fn(&Place) -> Result<Registration, RegistryError>,
    ) -> Result<Registration, RegistryError> {
        for _ in 0..CAS_TRIES {
            let place = self.place(bookie)?;
            let next = next(&place)?;
            // A lost reply and a second attempt find what the first one wrote.
            if place.held() == Some(&next) {
                return Ok(next);
            }
            let is = |key: String, revision: Option<u64>| match revision {
                Some(revision) => Compare::Revision(key, revision),
                None => Compare::Absent(key),
            };
            let registered = place.registered.as_ref().map(|(_, revision)| *revision);
            let live = place.live.as_ref().map(|live| live.revision);
            // Who is there decided, too.
            let compare = [is(key(bookie), registered), is(live::key(bookie), live)];
            let op = Op::Put(key(bookie), next.encode());
            if let TxnOutcome::Committed { .. } = txn_or_conflict(&*self.meta, &compare, &[op])? {
                return Ok(next);
            }
        }
        Err(RegistryError::Contended { bookie })
    }

    /// Says that this incarnation is there, until what is returned is withdrawn or dropped, and for
    /// `ttl_ms` after the process is gone.
    ///
    /// # Errors
    /// When the store cannot answer, or it is not this incarnation that is registered.
    pub fn announce(
        &self,
        bookie: BookieId,
        own: Incarnation,
        ttl_ms: u64,
    ) -> Result<Presence, RegistryError> {
        Presence::start(self, bookie, own, ttl_ms)
    }

    /// Who is there now.
    ///
    /// # Errors
    /// When the store cannot answer, or a record is damaged.
    pub fn live(&self) -> Result<BTreeMap<BookieId, Incarnation>, RegistryError> {
        let listed = self.meta.list(live::PREFIX)?.entries;
        listed.iter().map(|(key, held)| live::decode(key, held)).collect()
    }

    /// All of it at one moment.
    ///
    /// # Errors
    /// As [`all`](Registry::all).
    pub fn known(&self) -> Result<Known, RegistryError> {
        let listed = self.meta.list(ALL)?;
        let mut known = Known { revision: listed.revision, ..Known::default() };
        for (key, held) in &listed.entries {
            if key.starts_with(live::PREFIX) {
                known.live.extend([live::decode(key, held)?]);
            } else {
                let found = decode(key, held)?;
                known.registered.insert(found.bookie, found);
            }
        }
        Ok(known)
    }

    /// Every change of it from a revision on.
    ///
    /// # Errors
    /// When the store cannot answer.
    pub fn watch(&self, from_revision: u64) -> Result<Watch, MetaError> {
        self.meta.watch(ALL, from_revision)
    }
}

/// Who is at a bookie's place.
struct Place {
    /// With its revision.
    registered: Option<(Registration, u64)>,
    live: Option<Versioned>,
}

impl Place {
    fn held(&self) -> Option<&Registration> {
        self.registered.as_ref().map(|(held, _)| held)
    }

    /// Whether it is this one who is there.
    fn is_up(&self, held: &Registration) -> Result<bool, RegistryError> {
        let Some(live) = &self.live else { return Ok(false) };
        Ok(live::decode(&live::key(held.bookie), live)?.1 == held.incarnation)
    }

    /// One that is started again is where it was, or its lease is over.
    fn is_nowhere_else(&self, own: &Registration) -> Result<(), RegistryError> {
        let same = |held: &&Registration| held.incarnation == own.incarnation;
        match self.held().filter(same).filter(|held| held.address != own.address) {
            Some(held) if self.is_up(held)? => {
                let (bookie, address) = (own.bookie, held.address.clone());
                Err(RegistryError::UpElsewhere { bookie, address })
            }
            _ => Ok(()),
        }
    }

    fn may_be_taken(
        &self,
        bookie: BookieId,
        own: Incarnation,
        replace: bool,
    ) -> Result<(), RegistryError> {
        let Some(held) = self.held().filter(|held| held.incarnation != own) else { return Ok(()) };
        let registered = held.incarnation;
        if !replace {
            return Err(RegistryError::Another { bookie, registered, own });
        }
        match self.is_up(held)? {
            true => Err(RegistryError::Up { bookie, registered, address: held.address.clone() }),
            false => Ok(()),
        }
    }
}

fn decode(key: &str, held: &Versioned) -> Result<Registration, RegistryError> {
    let told = |why| RegistryError::Decode { key: key.to_owned(), why };
    let found = Registration::decode(&held.value).map_err(told)?;
    if key != self::key(found.bookie) {
        return Err(told(DecodeError { what: "bookie", at: 1, why: "the key names another" }));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metadata::MemoryMeta;

    fn registry() -> Registry {
        Registry::new(Arc::new(MemoryMeta::new()))
    }

    fn registration(bookie: u64, incarnation: u128) -> Registration {
        Registration {
            bookie: BookieId(bookie),
            incarnation: Incarnation(incarnation),
            address: format!("b{bookie}:7400"),
            rack: "r1".to_owned(),
            since_ms: 5,
            state: BookieState::Active,
        }
    }

    /// Two processes had one identity, and the one that came first was found by nobody.
    #[test]
    fn one_that_is_up_is_up_in_one_place() {
        let registry = registry();
        let own = registration(3, 7);
        registry.register(&own, false).unwrap();
        let presence = registry.announce(BookieId(3), Incarnation(7), 60_000).unwrap();
        let elsewhere = Registration { address: "b9:7400".to_owned(), ..own.clone() };
        let error = registry.register(&elsewhere, false).unwrap_err().to_string();
        assert!(error.contains("B3 is up at b3:7400 on this very directory"), "{error}");
        assert!(!error.contains("  "), "{error}");
        // Killed and started again where it was, it does not wait for its lease.
        registry.register(&own, false).unwrap();
        presence.withdraw().unwrap();
        registry.register(&elsewhere, false).unwrap();
    }

    #[test]
    fn another_incarnation_takes_a_place_only_on_an_operators_word() {
        let registry = registry();
        registry.register(&registration(3, 7), false).unwrap();
        let error = registry.register(&registration(3, 8), false).unwrap_err();
        assert!(matches!(error, RegistryError::Another { .. }), "{error}");
        assert_eq!(registry.find(BookieId(3)).unwrap(), Some(registration(3, 7)));
        registry.register(&registration(3, 8), true).unwrap();
        assert_eq!(registry.find(BookieId(3)).unwrap(), Some(registration(3, 8)));
    }

    /// It took the place of one that served, whose entries then counted for nothing.
    #[test]
    fn nobody_takes_the_place_of_one_that_is_up() {
        let registry = registry();
        registry.register(&registration(3, 7), false).unwrap();
        let presence = registry.announce(BookieId(3), Incarnation(7), 60_000).unwrap();
        let checked = registry.check_place(BookieId(3), Incarnation(8), true).unwrap_err();
        let refused = registry.register(&registration(3, 8), true).unwrap_err();
        for error in [checked, refused] {
            let said = error.to_string();
            let up = format!("B3 is up as incarnation {} at b3:7400", Incarnation(7));
            assert!(said.starts_with(&up) && said.contains("end that process first"), "{said}");
            assert!(said.contains("counts as up for 10 s"), "{said}");
        }
        assert_eq!(registry.find(BookieId(3)).unwrap(), Some(registration(3, 7)));
        registry.register(&registration(3, 7), true).unwrap();
        presence.withdraw().unwrap();
        registry.register(&registration(3, 8), true).unwrap();
        // What the one before says of itself holds nobody up.
        let stays = live::encode(&live::key(BookieId(3)), Incarnation(7));
        registry.meta.txn(&[], &[Op::Put(live::key(BookieId(3)), stays)]).unwrap();
        registry.register(&registration(3, 9), true).unwrap();
    }

    /// Once, it came back active, and took ledgers nobody had wanted it to have.
    #[test]
    fn a_new_directory_undoes_nothing_an_operator_said() {
        let registry = registry();
        registry.register(&registration(3, 7), false).unwrap();
        for (state, next) in [
            (BookieState::ReadOnly, 8),
            (BookieState::Draining, 9),
            (BookieState::Decommissioned, 10),
        ] {
            registry.set_state(BookieId(3), state).unwrap();
            let held = registry.register(&registration(3, next), true).unwrap();
            assert_eq!((held.incarnation, held.state), (Incarnation(next), state));
        }
    }

    #[test]
    fn a_bookie_that_was_told_to_go_may_be_called_back() {
        let registry = registry();
        registry.register(&registration(3, 7), false).unwrap();
        registry.set_state(BookieId(3), BookieState::Draining).unwrap();
        registry.set_state(BookieId(3), BookieState::ReadOnly).unwrap();
        // Whoever was about to take it out does not.
        let error = registry.set_state(BookieId(3), BookieState::Decommissioned).unwrap_err();
        let said = error.to_string();
        assert!(said.starts_with("B3 is read-only, and no longer draining"), "{said}");
        assert_eq!(registry.find(BookieId(3)).unwrap().unwrap().state, BookieState::ReadOnly);
    }

    /// It was active, with a directory that had been wiped, and nobody was told.
    #[test]
    fn a_bookie_that_was_taken_out_is_called_back_only_while_it_is_up() {
        let registry = registry();
        registry.register(&registration(3, 7), false).unwrap();
        for state in [BookieState::Draining, BookieState::Decommissioned] {
            registry.set_state(BookieId(3), state).unwrap();
        }
        for state in [BookieState::Active, BookieState::ReadOnly] {
            let said = registry.set_state(BookieId(3), state).unwrap_err().to_string();
            assert!(said.starts_with("B3 is decommissioned and not up"), "{said}");
            assert!(said.contains("on an empty one with --replace"), "{said}");
        }
        registry.register(&registration(3, 8), true).unwrap();
        let presence = registry.announce(BookieId(3), Incarnation(8), 60_000).unwrap();
        let now = registry.set_state(BookieId(3), BookieState::Active).unwrap();
        assert_eq!((now.state, now.incarnation), (BookieState::Active, Incarnation(8)));
        drop(presence);
    }

    #[test]
    fn a_bookie_that_moved_keeps_what_it_was_told_to_be() {
        let registry = registry();
        registry.register(&registration(3, 7), false).unwrap();
        registry.set_state(BookieId(3), BookieState::Draining).unwrap();
        let moved = Registration { address: "other:1".into(), ..registration(3, 7) };
        let held = registry.register(&moved, false).unwrap();
        assert_eq!((held.state, &*held.address), (BookieState::Draining, "other:1"));
        let nobody = registry.set_state(BookieId(4), BookieState::Active).unwrap_err();
        assert!(matches!(nobody, RegistryError::Nobody { .. }), "{nobody}");
    }

    #[test]
    fn registrations_are_listed_in_order_of_numbers_and_a_damaged_one_is_said() {
        let meta = Arc::new(MemoryMeta::new());
        let registry = Registry::new(meta.clone());
        for bookie in [10, 9, 200] {
            registry.register(&registration(bookie, 1), false).unwrap();
        }
        let ids: Vec<u64> = registry.all().unwrap().iter().map(|r| r.bookie.0).collect();
        assert_eq!(ids, [9, 10, 200]);
        meta.txn(&[], &[Op::Put(key(BookieId(11)), registration(10, 1).encode())]).unwrap();
        let error = registry.all().unwrap_err();
        assert!(error.to_string().contains("names another"), "{error}");
    }
}
