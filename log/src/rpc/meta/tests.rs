//! A store behind a socket: what every store must do, and what becomes of it when connections break, when
//! nobody answers, and when the holder goes.

mod broken;
mod hostile;

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use egret_schemas::Incarnation;
use tempfile::TempDir;

use super::*;
use crate::caps;
use crate::metadata::conformance::{self, PATIENCE, Subject, committed, put, soon};
use crate::metadata::{
    LeaseClock, MemoryMeta, MetaError, MetaStore, Op, TxnOutcome, Versioned, WatchError,
};
use crate::outcome::Outcome;
use crate::rpc::Server;

const LIFE: Incarnation = Incarnation(0x11fe);
const HERE: Incarnation = Incarnation(7);

/// A store that is held and served, and a directory for its socket.
#[derive(Debug)]
struct Held {
    server: Option<Server>,
    store: Arc<dyn MetaStore>,
    dir: TempDir,
}

impl Held {
    fn new() -> Held {
        Held::of(Arc::new(MemoryMeta::new()))
    }

    fn of(store: Arc<dyn MetaStore>) -> Held {
        let dir = tempfile::tempdir().unwrap();
        let server = Some(serve(dir.path(), Arc::clone(&store), LIFE, HERE).unwrap());
        Held { server, store, dir }
    }

    fn attach(&self) -> AttachedMeta {
        attach(self.dir.path(), PATIENCE)
    }

    fn close(&mut self) {
        self.server.take().expect("it is closed once").close();
    }
}

fn attach(dir: &Path, wait: Duration) -> AttachedMeta {
    let (store, welcome) = AttachedMeta::attach(dir, wait).unwrap();
    assert_eq!((welcome.life, welcome.incarnation), (LIFE, HERE));
    assert_eq!(welcome.pid, std::process::id());
    store
}

#[derive(Debug, Default)]
struct Attached {
    ms: Arc<AtomicU64>,
    held: Mutex<Vec<Held>>,
}

impl Subject for Attached {
    fn fresh(&self) -> Arc<dyn MetaStore> {
        let clock = LeaseClock::Set(Arc::clone(&self.ms));
        let held = Held::of(Arc::new(MemoryMeta::with_clock(clock)));
        let store = held.attach();
        self.held.lock().unwrap().push(held);
        Arc::new(store)
    }

    fn ttl_ms(&self) -> u64 {
        1000
    }

    fn pass_ms(&self, ms: u64) {
        self.ms.fetch_add(ms, Ordering::SeqCst);
    }
}

#[test]
fn a_store_behind_a_socket_conforms() {
    conformance::all(&Attached::default());
}

#[test]
fn a_listing_of_many_pages_is_of_one_moment() {
    let held = Held::new();
    let store = held.attach();
    let half = vec![7; caps::META_TXN_BYTES_MAX / 2];
    let key = |n: u64| format!("/large/{n}");
    for n in 0..7 {
        committed(held.store.txn(&[], &[Op::Put(key(n), half.clone())]).unwrap());
    }
    let listing = store.list("/large/").unwrap();
    assert_eq!(listing, held.store.list("/large/").unwrap());
    assert_eq!(listing.entries.len(), 7);
    assert_eq!(store.list("/nothing").unwrap().entries, []);
}

/// The events of a transaction become visible together, however the answers that bring them are cut.
#[test]
fn a_watch_whose_answers_are_cut_shows_each_transaction_whole() {
    let held = Held::new();
    let store = held.attach();
    let mut watch = store.watch("/", 1).unwrap();
    let value = vec![7; caps::META_TXN_BYTES_MAX / 3 - 100];
    let mut written = 0;
    for _ in 0..5 {
        let ops: Vec<Op> = (0..3).map(|n| Op::Put(format!("/{n}"), value.clone())).collect();
        written = committed(held.store.txn(&[], &ops).unwrap());
    }
    let (mut last, mut seen) = (0, 0);
    while last < written || seen % 3 != 0 {
        // Once one was seen the others are there without waiting.
        let wait = if seen % 3 == 0 { PATIENCE } else { Duration::ZERO };
        let event = watch.next(wait).unwrap().expect("a transaction is seen whole");
        assert!(event.revision() >= last);
        last = event.revision();
        seen += 1;
    }
    assert_eq!((last, seen), (written, 15));
    assert_eq!(watch.next(Duration::ZERO), Ok(None));
}

#[test]
fn what_no_store_takes_is_refused_before_it_is_sent() {
    let held = Held::new();
    let store = held.attach();
    let long = "k".repeat(caps::META_KEY_BYTES_MAX + 1);
    let error = store.get(&long).unwrap_err();
    assert_eq!(error.outcome(), Outcome::Definite);
    assert!(error.to_string().contains("a key of 4097 bytes"), "{error}");
    store.list(&long).unwrap_err();
    store.watch(&long, 1).unwrap_err();
    let many = vec![put("/a", &"v".repeat(caps::META_TXN_BYTES_MAX))];
    let error = store.txn(&[], &many).unwrap_err();
    assert!(matches!(error, MetaError::TooLarge { .. }), "{error}");
}

/// Sixty-four callers share a handful of connections, and nobody starves.
#[test]
fn more_callers_than_connections_all_get_their_answers() {
    let held = Held::new();
    let store = held.attach();
    std::thread::scope(|scope| {
        for caller in 0..64 {
            let store = &store;
            scope.spawn(move || {
                for n in 0..8 {
                    let key = format!("/{caller}/{n}");
                    committed(store.txn(&[], &[put(&key, "mine")]).unwrap());
                    assert!(store.get(&key).unwrap().is_some());
                }
            });
        }
    });
    assert_eq!(held.store.list("/").unwrap().entries.len(), 64 * 8);
    let open = held.server.as_ref().unwrap().connections();
    assert!(open <= caps::META_REQUESTS_MAX, "{open} connections");
}

#[test]
fn when_the_holder_ends_all_is_gone_and_nothing_was_done() {
    let mut held = Held::new();
    let store = held.attach();
    let revision = committed(store.txn(&[], &[put("/a", "1")]).unwrap());
    let lease = store.grant(60_000).unwrap();
    let mut watch = store.watch("/", revision + 1).unwrap();
    assert_eq!(watch.next(Duration::ZERO), Ok(None));
    held.close();
    let gone = store.txn(&[], &[put("/a", "2")]).unwrap_err();
    assert!(matches!(gone, MetaError::Gone { .. }), "{gone}");
    assert_eq!((gone.outcome(), gone.may_pass()), (Outcome::Definite, false));
    let said = gone.to_string();
    let dir = held.dir.path().display().to_string();
    assert_eq!(
        said,
        format!("whoever held {dir} has ended: start it again, then attach to it again")
    );
    assert_eq!(store.get("/a"), Err(gone.clone()));
    assert_eq!(store.list("/").unwrap_err(), gone);
    assert_eq!(store.grant(1), Err(gone.clone()));
    assert_eq!(store.keep_alive(lease), Err(gone.clone()));
    assert_eq!(store.revoke(lease), Err(gone.clone()));
    assert_eq!(watch.next(PATIENCE), Err(WatchError::Store(gone.clone())));
    assert_eq!(store.watch("/", 1).unwrap_err(), gone);
    assert_eq!(held.store.get("/a").unwrap().unwrap().value, b"1");
}

/// A lease's number begins anew with each holder: whoever was led on to the next would keep the lease of
/// somebody else alive, and take it for its own.
#[test]
fn nobody_is_led_on_to_the_next_holder() {
    let mut held = Held::new();
    let store = held.attach();
    let lease = store.grant(60_000).unwrap();
    let mut watch = store.watch("/", 1).unwrap();
    held.close();
    let next = Arc::new(MemoryMeta::new());
    assert_eq!(next.grant(60_000).unwrap(), lease, "the next holder grants it to another");
    let life = Incarnation(LIFE.0 + 1);
    let _server = serve(held.dir.path(), next, life, HERE).unwrap();
    let error = store.keep_alive(lease).unwrap_err();
    assert!(matches!(error, MetaError::Gone { .. }), "{error}");
    let end = watch.next(PATIENCE).unwrap_err();
    assert!(matches!(end, WatchError::Store(MetaError::Gone { .. })), "{end}");
}

#[test]
fn a_closed_side_answers_nothing_and_leaves_the_holder_alone() {
    let held = Held::new();
    let (store, other) = (held.attach(), held.attach());
    let mut watch = store.watch("/", 1).unwrap();
    store.close();
    assert_eq!(store.get("/a"), Err(MetaError::Closed));
    assert_eq!(store.watch("/", 1).unwrap_err(), MetaError::Closed);
    assert_eq!(watch.next(PATIENCE), Err(MetaError::Closed.into()));
    committed(other.txn(&[], &[put("/a", "1")]).unwrap());
}

/// The holder's thread of a watch noticed only after half a minute that nobody was there any more.
#[test]
fn a_watch_that_is_dropped_gives_its_connection_back() {
    let held = Held::new();
    let store = held.attach();
    let mut watch = store.watch("/", 1).unwrap();
    assert_eq!(watch.next(Duration::from_millis(1)), Ok(None));
    let connections = || held.server.as_ref().unwrap().connections();
    assert_eq!(connections(), 2);
    drop(watch);
    let until = crate::clock::now() + PATIENCE / 2;
    while connections() > 1 {
        assert!(crate::clock::now() < until, "it is still there");
        std::thread::yield_now();
    }
    // What was written meanwhile is nobody's.
    assert_eq!(store.get("/a"), Ok(None::<Versioned>));
    assert!(matches!(store.txn(&[], &[put("/a", "1")]), Ok(TxnOutcome::Committed { .. })));
    let mut watch = store.watch("/", 1).unwrap();
    assert_eq!(soon(&mut watch).key(), "/a");
}
