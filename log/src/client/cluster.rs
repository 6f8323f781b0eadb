//! The bookies of a cluster, found through its registry and reached over TCP.
//!
//! A thread follows the registry, and whoever asks is answered from what it last learnt. When the
//! metadata store does not answer, that holds: bookies are reached, and say themselves who they are.
//! Only for a bookie that is not known the store is asked at once.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use egret_schemas::BookieId;
use egret_schemas::bookie::Role;

use super::bookies::{Bookies, Candidate};
use crate::ledger::Member;
use crate::ledger::repair::Standing;
use crate::message::{Transport, Unknown};
use crate::metadata::{MetaError, MetaStore, WatchError};
use crate::registry::{BookieState, Known, Registration, Registry, RegistryError};
use crate::rpc::bookie::client::NoWay;
use crate::rpc::bookie::{ClientConfig, ClientTls, IoThread, TcpTransport};
use crate::{caps, clock};

/// How long the thread waits for a change before it looks whether it is to end.
const STEP: Duration = Duration::from_millis(100);

/// A watch of the registry is begun anew after it was quiet for so many times [`ClusterConfig::refresh`].
const QUIET: u32 = 8;

/// How a cluster's bookies are reached.
#[derive(Debug, Clone)]
pub struct ClusterConfig {
    /// The cluster.
    pub cluster: String,
    /// What this process is.
    pub role: Role,
    /// Its certificate; none only where every bookie is on a loopback address.
    pub tls: Option<ClientTls>,
    /// How long a request may take.
    pub request_wait: Duration,
    /// How long until a store that did not answer is asked again, and how often at most one is asked
    /// for bookies that are not known.
    pub refresh: Duration,
    /// How long a bookie may be away before its copies are made elsewhere.
    pub lost_after: Duration,
}

impl ClusterConfig {
    /// With the usual waits.
    pub fn new(cluster: String, role: Role, tls: Option<ClientTls>) -> ClusterConfig {
        let request_wait = Duration::from_millis(caps::REQUEST_WAIT_MS);
        let refresh = Duration::from_millis(caps::REGISTRY_REFRESH_MS);
        let lost_after = Duration::from_millis(caps::BOOKIE_LOST_MS);
        ClusterConfig { cluster, role, tls, request_wait, refresh, lost_after }
    }
}

/// See the [module](self).
#[derive(Debug)]
pub struct ClusterBookies {
    config: ClusterConfig,
    shared: Arc<Shared>,
    follower: Option<JoinHandle<()>>,
    /// Dropped after the ways that run on it.
    io: Arc<IoThread>,
}

#[derive(Debug)]
struct Shared {
    registry: Registry,
    state: Mutex<State>,
    /// Something was learnt, or it is to end.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    known: Known,
    /// When the store was last asked for a bookie that is not known.
    asked_at: Option<Instant>,
    /// Since when registered bookies are seen to be away.
    away: BTreeMap<BookieId, Instant>,
    /// One for each bookie that was asked for: never more than are registered.
    ways: BTreeMap<Member, TcpTransport>,
    stop: bool,
}

impl ClusterBookies {
    /// Over a cluster's metadata, asked once before this returns.
    ///
    /// # Errors
    /// When the system gives no thread to wait for sockets, or to follow the registry.
    pub fn new(meta: Arc<dyn MetaStore>, config: ClusterConfig) -> io::Result<ClusterBookies> {
        let io = Arc::new(IoThread::start("egret-bookies")?);
        let (state, changed) = (Mutex::default(), Condvar::new());
        let shared = Arc::new(Shared { registry: Registry::new(meta), state, changed });
        shared.read();
        let (following, refresh) = (Arc::clone(&shared), config.refresh);
        let run = move || following.follow(refresh);
        let follower = thread::Builder::new().name("egret-registry".to_owned()).spawn(run)?;
        Ok(ClusterBookies { config, shared, follower: Some(follower), io })
    }

    /// Asks for a bookie that is not known: it may have come just now. A stranger's name must not have
    /// the store asked without end, nor by everybody at once.
    fn look_again(&self) {
        let now = clock::now();
        let mut state = self.shared.state();
        let pause = self.config.refresh / 4;
        if state.asked_at.is_none_or(|at| now.saturating_duration_since(at) >= pause) {
            state.asked_at = Some(now);
            drop(state);
            self.shared.read();
        }
    }

    fn way(&self, member: Member) -> Option<Arc<dyn Transport>> {
        let mut state = self.shared.state();
        if let Some(way) = state.ways.get(&member) {
            return Some(Arc::new(way.clone()));
        }
        let found = state.known.registered.get(&member.bookie)?;
        if found.incarnation != member.incarnation {
            let (asked, own) = (member.incarnation, found.incarnation);
            let why = Unknown::Incarnation { asked, own };
            return Some(Arc::new(NoWay::new(asked, why)));
        }
        let config = ClientConfig {
            request_wait: self.config.request_wait,
            ..ClientConfig::new(
                found.address.clone(),
                member.bookie,
                member.incarnation,
                self.config.cluster.clone(),
                self.config.role,
                self.config.tls.clone(),
            )
        };
        let way = TcpTransport::new(Arc::clone(&self.io), config);
        state.ways.insert(member, way.clone());
        Some(Arc::new(way))
    }
}

impl Drop for ClusterBookies {
    fn drop(&mut self) {
        self.shared.state().stop = true;
        self.shared.changed.notify_all();
        // A panic has been reported where it happened.
        drop(self.follower.take().map(JoinHandle::join));
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) {
        match self.registry.known() {
            Ok(known) => self.learn(known),
            Err(error) => tracing::warn!(%error, "the bookies of the cluster were not read"),
        }
    }

    fn learn(&self, known: Known) {
        let mut state = self.state();
        // Two may have read, and the later one was first here.
        if known.revision < state.known.revision {
            return;
        }
        let gone = state.take_gone(&known.registered);
        state.known = known;
        state.note_away(clock::now());
        drop(state);
        self.changed.notify_all();
        // What waits there is answered now, without the lock.
        drop(gone);
    }

    /// Learns what changes until it is to end.
    fn follow(&self, refresh: Duration) {
        while !self.state().stop {
            let Err(error) = self.follow_on(refresh * QUIET) else { continue };
            // Whoever closed the store has no use for this any more.
            if matches!(error, RegistryError::Metadata(MetaError::Closed)) {
                return;
            }
            tracing::warn!(%error, "the bookies of the cluster are not followed");
            let waited =
                self.changed.wait_timeout_while(self.state(), refresh, |state| !state.stop);
            drop(waited.unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// The same as long as the store answers, keeps what was not seen yet, and does not fall silent.
    fn follow_on(&self, quiet: Duration) -> Result<(), RegistryError> {
        let known = self.registry.known()?;
        let mut watch = self.registry.watch(known.revision + 1)?.trusted_for(quiet);
        self.learn(known);
        while !self.state().stop {
            let mut next = watch.next(STEP);
            let changed = matches!(next, Ok(Some(_)));
            // Changes are few: what came of all of them together is read as a whole.
            while let Ok(Some(_)) = next {
                next = watch.next(Duration::ZERO);
            }
            match next {
                Err(WatchError::Compacted { .. } | WatchError::Quiet { .. }) => return Ok(()),
                Err(WatchError::Store(error)) => return Err(error.into()),
                Ok(_) if changed => self.learn(self.registry.known()?),
                Ok(_) => {}
            }
        }
        Ok(())
    }
}

impl State {
    /// Notes since when whoever is registered and not there is away.
    fn note_away(&mut self, now: Instant) {
        let State { known: Known { registered, live, .. }, away, .. } = self;
        let is_there = |found: &Registration| live.get(&found.bookie) == Some(&found.incarnation);
        away.retain(|bookie, _| registered.get(bookie).is_some_and(|found| !is_there(found)));
        for found in registered.values().filter(|found| !is_there(found)) {
            away.entry(found.bookie).or_insert(now);
        }
    }

    /// Takes out the ways to bookies that are no longer where they lead.
    fn take_gone(&mut self, registered: &BTreeMap<BookieId, Registration>) -> Vec<TcpTransport> {
        let leads = |member: &Member, way: &TcpTransport| {
            registered.get(&member.bookie).is_some_and(|found| {
                found.incarnation == member.incarnation && found.address == way.config().address
            })
        };
        let gone: Vec<Member> = self
            .ways
            .iter()
            .filter(|(member, way)| !leads(member, way))
            .map(|(member, _)| *member)
            .collect();
        gone.iter().filter_map(|member| self.ways.remove(member)).collect()
    }

    /// Whoever is there, and takes ledgers.
    fn candidates(&self) -> Vec<Candidate> {
        let Known { registered, live, .. } = &self.known;
        let takes = |found: &&Registration| {
            found.state == BookieState::Active
                && live.get(&found.bookie) == Some(&found.incarnation)
        };
        let candidate = |found: &Registration| Candidate {
            member: Member { bookie: found.bookie, incarnation: found.incarnation },
            rack: found.rack.clone(),
        };
        registered.values().filter(takes).map(candidate).collect()
    }
}

impl Bookies for ClusterBookies {
    fn transport(&self, member: Member) -> Arc<dyn Transport> {
        if let Some(way) = self.way(member) {
            return way;
        }
        self.look_again();
        self.way(member).unwrap_or_else(|| {
            let (to, why) = (member.bookie.to_string(), "it is not registered".to_owned());
            Arc::new(NoWay::new(member.incarnation, Unknown::Unreachable { to, why }))
        })
    }

    fn candidates(&self) -> Vec<Candidate> {
        self.shared.state().candidates()
    }

    fn is_there(&self, member: Member) -> bool {
        self.shared.state().known.live.get(&member.bookie) == Some(&member.incarnation)
    }

    fn standing(&self, member: Member) -> Standing {
        let state = self.shared.state();
        let Some(found) = state.known.registered.get(&member.bookie) else {
            // Of a registry that was never read, nobody's absence says anything.
            return match state.known.registered.is_empty() {
                true => Standing::Present,
                false => Standing::Leaving,
            };
        };
        if found.incarnation != member.incarnation {
            return Standing::Replaced { by: found.incarnation };
        }
        let since = state.away.get(&member.bookie);
        let lost = since.is_some_and(|since| {
            clock::now().saturating_duration_since(*since) >= self.config.lost_after
        });
        match found.state {
            BookieState::Active | BookieState::ReadOnly if !lost => Standing::Present,
            _ => Standing::Leaving,
        }
    }

    fn has_left(&self, member: Member) -> bool {
        let state = self.shared.state();
        state.known.registered.get(&member.bookie).is_some_and(|found| {
            found.incarnation != member.incarnation || found.state == BookieState::Decommissioned
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Reply, Request};
    use crate::metadata::conformance::PATIENCE;
    use crate::metadata::deaf::Deaf;
    use crate::metadata::{MemoryMeta, Op};
    use crate::registry::live;
    use egret_schemas::{Incarnation, LedgerId};
    use std::sync::mpsc::channel;

    fn registration(bookie: u64, incarnation: u128) -> Registration {
        Registration {
            bookie: BookieId(bookie),
            incarnation: Incarnation(incarnation),
            address: "127.0.0.1:1".to_owned(),
            rack: format!("r{bookie}"),
            since_ms: 0,
            state: BookieState::Active,
        }
    }

    fn member(bookie: u64, incarnation: u128) -> Member {
        Member { bookie: BookieId(bookie), incarnation: Incarnation(incarnation) }
    }

    fn cluster() -> (Registry, ClusterBookies) {
        cluster_on(Arc::new(MemoryMeta::new()))
    }

    fn cluster_on(meta: Arc<dyn MetaStore>) -> (Registry, ClusterBookies) {
        let config = ClusterConfig {
            refresh: Duration::ZERO,
            ..ClusterConfig::new("blue".to_owned(), Role::Client, None)
        };
        (Registry::new(Arc::clone(&meta)), ClusterBookies::new(meta, config).unwrap())
    }

    /// Waits until what is known is as said.
    fn until(bookies: &ClusterBookies, holds: impl Fn(&State) -> bool) {
        let shared = &bookies.shared;
        let waited = shared.changed.wait_timeout_while(shared.state(), PATIENCE, |s| !holds(s));
        let (state, out) = waited.unwrap();
        assert!(!out.timed_out(), "{state:?}");
    }

    #[test]
    fn only_bookies_that_are_there_and_active_take_new_ledgers() {
        let meta = Arc::new(MemoryMeta::new());
        let (registry, bookies) = cluster_on(meta.clone());
        let mut there = Vec::new();
        for bookie in 1..=4 {
            registry.register(&registration(bookie, 7), false).unwrap();
            if bookie < 4 {
                let own = Incarnation(7);
                there.push(registry.announce(BookieId(bookie), own, 60_000).unwrap());
            }
        }
        until(&bookies, |state| state.candidates().len() == 3);
        drop(there.remove(2));
        registry.register(&registration(3, 8), true).unwrap();
        // The life before, which does not know that it is over.
        let key = live::key(BookieId(3));
        let stays = live::encode(&key, Incarnation(7));
        meta.txn(&[], &[Op::Put(key, stays)]).unwrap();
        registry.set_state(BookieId(2), BookieState::ReadOnly).unwrap();
        until(&bookies, |state| state.candidates().len() == 1);
        let candidates = bookies.candidates();
        assert_eq!((candidates[0].member, &*candidates[0].rack), (member(1, 7), "r1"));
        let is_there = |n, incarnation| bookies.is_there(member(n, incarnation));
        assert!(is_there(2, 7), "whatever it takes");
        assert!(
            !is_there(1, 8) && !is_there(4, 7),
            "another directory, and one that never said so"
        );
        drop(there);
        until(&bookies, |state| state.candidates().is_empty());
    }

    /// A deletion that asks a bookie that is gone for ever never ends.
    #[test]
    fn who_was_taken_out_or_has_another_directory_has_left() {
        let (registry, bookies) = cluster();
        for (bookie, state) in
            [(1, BookieState::Active), (2, BookieState::Draining), (3, BookieState::Decommissioned)]
        {
            registry.register(&registration(bookie, 7), false).unwrap();
            registry.set_state(BookieId(bookie), BookieState::Draining).unwrap();
            registry.set_state(BookieId(bookie), state).unwrap();
        }
        until(&bookies, |state| {
            let third = state.known.registered.get(&BookieId(3));
            third.is_some_and(|found| found.state == BookieState::Decommissioned)
        });
        let left = |bookie, incarnation| bookies.has_left(member(bookie, incarnation));
        assert_eq!([left(1, 7), left(2, 7), left(3, 7)], [false, false, true]);
        assert!(left(1, 6), "its directory is another one");
        assert!(!left(4, 7), "nobody knows");
    }

    /// The thread that follows has to begin anew, and nobody waits for the store meanwhile.
    #[test]
    fn what_was_last_known_holds_when_the_store_has_ended() {
        let meta: Arc<dyn MetaStore> = Arc::new(MemoryMeta::new());
        let registry = Registry::new(Arc::clone(&meta));
        registry.register(&registration(1, 7), false).unwrap();
        let there = registry.announce(BookieId(1), Incarnation(7), 60_000).unwrap();
        let config = ClusterConfig::new("blue".to_owned(), Role::Client, None);
        let bookies = ClusterBookies::new(Arc::clone(&meta), config).unwrap();
        assert_eq!(bookies.candidates().len(), 1, "it was asked once");
        meta.close();
        assert_eq!(bookies.candidates().len(), 1);
        drop(there);
    }

    #[test]
    fn a_watch_that_says_nothing_is_not_trusted_for_long() {
        let (told, tells) = channel();
        let meta: Arc<dyn MetaStore> = Arc::new(Deaf::new(told));
        let registry = Registry::new(Arc::clone(&meta));
        let refresh = Duration::from_millis(20);
        let config =
            ClusterConfig { refresh, ..ClusterConfig::new("blue".to_owned(), Role::Client, None) };
        let bookies = ClusterBookies::new(meta, config).unwrap();
        // What was there before the watch began was read.
        tells.recv_timeout(PATIENCE).expect("it watches");
        registry.register(&registration(1, 7), false).unwrap();
        until(&bookies, |state| state.known.registered.len() == 1);
    }

    #[test]
    fn there_is_a_way_to_everybody_and_it_says_when_it_leads_nowhere() {
        let (registry, bookies) = cluster();
        registry.register(&registration(1, 7), false).unwrap();
        let ask = |member: Member| {
            let request = Request::ReadLac { ledger: LedgerId(1) };
            match bookies.transport(member).call(member.incarnation, request) {
                Reply::Unknown(why) => why,
                other => panic!("nobody is there: {other:?}"),
            }
        };
        assert!(matches!(ask(member(9, 1)), Unknown::Unreachable { .. }));
        let (asked, own) = (Incarnation(6), Incarnation(7));
        assert_eq!(ask(member(1, 6)), Unknown::Incarnation { asked, own });
        let Unknown::Unreachable { to, .. } = ask(member(1, 7)) else { panic!("nobody is there") };
        assert_eq!(to, "B1 at 127.0.0.1:1");
    }

    #[test]
    fn a_bookie_that_moved_is_looked_for_where_it_is() {
        let (registry, bookies) = cluster();
        registry.register(&registration(1, 7), false).unwrap();
        bookies.transport(member(1, 7));
        let moved = Registration { address: "127.0.0.1:2".to_owned(), ..registration(1, 7) };
        registry.register(&moved, false).unwrap();
        until(&bookies, |state| state.ways.is_empty());
        let request = Request::ReadLac { ledger: LedgerId(1) };
        let reply = bookies.transport(member(1, 7)).call(Incarnation(7), request);
        let Reply::Unknown(Unknown::Unreachable { to, .. }) = reply else { panic!("{reply:?}") };
        assert_eq!(to, "B1 at 127.0.0.1:2");
    }
}
