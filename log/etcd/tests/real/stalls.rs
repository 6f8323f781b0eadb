//! etcd stopped or gone: deadlines hold, nothing hangs, and all goes on afterwards.

use std::time::Duration;

use egret_log::Outcome;
use egret_log::clock;
use egret_log::metadata::conformance::{committed, put, soon};
use egret_log::metadata::{Compare, MetaError, MetaStore, TxnOutcome};
use egret_log_etcd::{EtcdConfig, EtcdMeta};

use crate::server::etcd;

const DEADLINE: Duration = Duration::from_millis(900);

/// Scheduling included; far below a call that hangs.
const AT_MOST: Duration = Duration::from_secs(10);

fn within_deadline<T>(ask: impl FnOnce() -> Result<T, MetaError>) -> MetaError {
    let start = clock::now();
    let Err(error) = ask() else { panic!("nobody could have answered") };
    let took = clock::now() - start;
    assert!(took < AT_MOST, "{took:?}");
    assert_eq!(error.outcome(), Outcome::Unknown, "{error}");
    error
}

#[test]
fn a_stopped_etcd_is_a_timeout_and_goes_on_afterwards() {
    let Some(etcd) = etcd() else { return };
    let store = EtcdMeta::open(&EtcdConfig { deadline: DEADLINE, ..etcd.config("a") }).unwrap();
    let first = committed(store.txn(&[], &[put("/a", "1")]).unwrap());
    let mut watch = store.watch("/", first + 1).unwrap();
    etcd.stop();
    let error = within_deadline(|| store.get("/a"));
    assert!(matches!(error, MetaError::Timeout { .. }), "{error}");
    within_deadline(|| store.list("/"));
    let at_first = [Compare::Revision("/a".to_owned(), first)];
    within_deadline(|| store.txn(&at_first, &[put("/a", "2")]));
    within_deadline(|| store.grant(1000));
    assert_eq!(watch.next(Duration::from_millis(50)), Ok(None), "a stall ends no watch");
    etcd.go_on();
    // Settled by reading back: the write came through, or it is done now. Once, either way.
    let patient = etcd.store("a");
    let again = patient.txn(&at_first, &[put("/a", "2")]).unwrap();
    let held = patient.get("/a").unwrap().unwrap();
    assert_eq!(held.value, b"2");
    if let TxnOutcome::Committed { revision } = again {
        assert_eq!(held.revision, revision);
    }
    let event = soon(&mut watch);
    assert_eq!((event.key(), event.revision()), ("/a", held.revision));
}

#[test]
fn an_etcd_that_is_gone_cannot_be_reached() {
    let Some(mut etcd) = etcd() else { return };
    let config = EtcdConfig { deadline: DEADLINE, ..etcd.config("a") };
    let store = EtcdMeta::open(&config).unwrap();
    etcd.kill();
    let error = within_deadline(|| store.txn(&[], &[put("/a", "1")]));
    assert!(matches!(error, MetaError::Unreachable { .. }), "{error}");
    assert!(error.to_string().contains("see that it runs"), "{error}");
    let error = within_deadline(|| EtcdMeta::open(&config));
    assert!(matches!(error, MetaError::Unreachable { .. }), "{error}");
    etcd.restart();
    committed(store.txn(&[], &[put("/a", "1")]).unwrap());
}

/// One of two endpoints is dead: reads and transactions go to the other.
#[test]
fn a_dead_endpoint_is_passed_over() {
    let Some(etcd) = etcd() else { return };
    let Some(mut dead) = crate::server::etcd() else { return };
    dead.kill();
    let config = EtcdConfig::new([dead.endpoint(), etcd.endpoint()], "a");
    let store = EtcdMeta::open(&config).unwrap();
    for n in 0..20 {
        committed(store.txn(&[], &[put("/n", &n.to_string())]).unwrap());
        assert_eq!(store.get("/n").unwrap().unwrap().value, n.to_string().as_bytes());
    }
}

#[test]
fn a_closed_store_answers_nothing_and_ends_its_watches() {
    let Some(etcd) = etcd() else { return };
    let store = etcd.store("a");
    let mut watch = store.watch("/", 1).unwrap();
    store.close();
    assert_eq!(store.get("/a"), Err(MetaError::Closed));
    let end = watch.next(AT_MOST).unwrap_err();
    assert_eq!(end, MetaError::Closed.into());
}

/// Whoever follows in the background took the one for the other, and warned at the end of every short
/// command.
#[test]
fn a_store_that_is_closed_under_a_request_is_closed_and_not_unreachable() {
    let Some(etcd) = etcd() else { return };
    let store = etcd.store("a");
    etcd.stop();
    std::thread::scope(|scope| {
        let read = scope.spawn(|| store.get("/a"));
        let listed = scope.spawn(|| store.list("/"));
        let written = scope.spawn(|| store.txn(&[], &[put("/a", "1")]));
        // They are under way, or come too late; no moment of theirs may be told as anything else.
        std::thread::park_timeout(Duration::from_millis(200));
        store.close();
        assert_eq!(read.join().unwrap(), Err(MetaError::Closed));
        assert_eq!(listed.join().unwrap().unwrap_err(), MetaError::Closed);
        let error = written.join().unwrap().unwrap_err();
        assert!(matches!(error, MetaError::Unreachable { .. } | MetaError::Closed), "{error}");
    });
    etcd.go_on();
}
