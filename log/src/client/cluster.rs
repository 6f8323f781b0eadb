//! The bookies of a cluster, found through its registry and reached over TCP.
//!
//! What the registry says is read when it is asked for and older than [`ClusterConfig::refresh`]. When
//! the metadata store does not answer, what was last read holds: bookies are reached, and say
//! themselves who they are.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use egret_schemas::bookie::Role;
use egret_schemas::{BookieId, Incarnation};

use super::bookies::{Bookies, Candidate};
use crate::ledger::Member;
use crate::ledger::repair::Standing;
use crate::message::{Transport, Unknown};
use crate::metadata::MetaStore;
use crate::registry::{BookieState, Registration, Registry, RegistryError};
use crate::rpc::bookie::client::NoWay;
use crate::rpc::bookie::{ClientConfig, ClientTls, IoThread, TcpTransport};
use crate::{caps, clock};

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
    /// How old what was read from the registry may be.
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
    registry: Registry,
    config: ClusterConfig,
    state: Mutex<State>,
    /// Dropped after the ways that run on it.
    io: Arc<IoThread>,
}

#[derive(Debug, Default)]
struct State {
    registered: BTreeMap<BookieId, Registration>,
    live: BTreeMap<BookieId, Incarnation>,
    read_at: Option<Instant>,
    /// Since when registered bookies are seen to be away.
    away: BTreeMap<BookieId, Instant>,
    /// One for each bookie that was asked for: never more than are registered.
    ways: BTreeMap<Member, TcpTransport>,
}

impl ClusterBookies {
    /// Over a cluster's metadata.
    ///
    /// # Errors
    /// When the system gives no thread to wait for sockets.
    pub fn new(meta: Arc<dyn MetaStore>, config: ClusterConfig) -> io::Result<ClusterBookies> {
        let io = Arc::new(IoThread::start("egret-bookies")?);
        let state = Mutex::default();
        Ok(ClusterBookies { registry: Registry::new(meta), config, state, io })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the registry if what is known is older than `age`. The store is asked without the lock.
    fn refresh(&self, age: Duration) {
        let now = clock::now();
        {
            let mut state = self.state();
            if state.read_at.is_some_and(|at| now.saturating_duration_since(at) < age) {
                return;
            }
            // Whoever comes meanwhile takes what is known; and a store that is away is not asked by
            // everybody at once.
            state.read_at = Some(now);
        }
        match self.read() {
            Ok((registered, live)) => {
                let mut state = self.state();
                let gone = state.take_gone(&registered);
                (state.registered, state.live) = (registered, live);
                state.note_away(now);
                drop(state);
                // What waits there is answered now, without the lock.
                drop(gone);
            }
            Err(error) => tracing::warn!(%error, "the bookies of the cluster were not read"),
        }
    }

    #[expect(clippy::type_complexity, reason = "two maps, read together")]
    fn read(
        &self,
    ) -> Result<(BTreeMap<BookieId, Registration>, BTreeMap<BookieId, Incarnation>), RegistryError>
    {
        let registered = self.registry.all()?;
        let live = self.registry.live()?;
        Ok((registered.into_iter().map(|found| (found.bookie, found)).collect(), live))
    }

    fn way(&self, member: Member) -> Option<Arc<dyn Transport>> {
        let mut state = self.state();
        if let Some(way) = state.ways.get(&member) {
            return Some(Arc::new(way.clone()));
        }
        let found = state.registered.get(&member.bookie)?;
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

impl State {
    /// Notes since when whoever is registered and not there is away.
    fn note_away(&mut self, now: Instant) {
        let State { registered, live, away, .. } = self;
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
}

impl Bookies for ClusterBookies {
    fn transport(&self, member: Member) -> Arc<dyn Transport> {
        self.refresh(self.config.refresh);
        if let Some(way) = self.way(member) {
            return way;
        }
        // It may have come just now; a stranger's name must not have the store asked without end.
        self.refresh(self.config.refresh / 4);
        self.way(member).unwrap_or_else(|| {
            let (to, why) = (member.bookie.to_string(), "it is not registered".to_owned());
            Arc::new(NoWay::new(member.incarnation, Unknown::Unreachable { to, why }))
        })
    }

    fn candidates(&self) -> Vec<Candidate> {
        self.refresh(self.config.refresh);
        let state = self.state();
        let takes = |found: &&Registration| {
            found.state == BookieState::Active
                && state.live.get(&found.bookie) == Some(&found.incarnation)
        };
        state
            .registered
            .values()
            .filter(takes)
            .map(|found| Candidate {
                member: Member { bookie: found.bookie, incarnation: found.incarnation },
                rack: found.rack.clone(),
            })
            .collect()
    }

    fn standing(&self, member: Member) -> Standing {
        self.refresh(self.config.refresh);
        let state = self.state();
        let Some(found) = state.registered.get(&member.bookie) else {
            // Of a registry that was never read, nobody's absence says anything.
            return match state.registered.is_empty() {
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::{Reply, Request};
    use crate::metadata::MemoryMeta;
    use egret_schemas::LedgerId;

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
        let meta: Arc<dyn MetaStore> = Arc::new(MemoryMeta::new());
        let config = ClusterConfig {
            refresh: Duration::ZERO,
            ..ClusterConfig::new("blue".to_owned(), Role::Client, None)
        };
        (Registry::new(Arc::clone(&meta)), ClusterBookies::new(meta, config).unwrap())
    }

    #[test]
    fn only_bookies_that_are_there_and_active_take_new_ledgers() {
        let (registry, bookies) = cluster();
        for bookie in 1..=4 {
            registry.register(&registration(bookie, 7), false).unwrap();
        }
        for (bookie, incarnation) in [(1, 7), (2, 7), (3, 8)] {
            registry.announce(BookieId(bookie), Incarnation(incarnation)).unwrap();
        }
        registry.set_state(BookieId(2), BookieState::ReadOnly).unwrap();
        let candidates = bookies.candidates();
        assert_eq!(candidates.len(), 1, "{candidates:?}");
        assert_eq!((candidates[0].member, &*candidates[0].rack), (member(1, 7), "r1"));
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
        let request = Request::ReadLac { ledger: LedgerId(1) };
        let reply = bookies.transport(member(1, 7)).call(Incarnation(7), request);
        let Reply::Unknown(Unknown::Unreachable { to, .. }) = reply else { panic!("{reply:?}") };
        assert_eq!(to, "B1 at 127.0.0.1:2");
    }
}
