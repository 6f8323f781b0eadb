//! Watches: order, no gap after a list, the end of history.

use std::thread;
use std::time::Duration;

use super::{PATIENCE, Subject, committed, put, soon};
use crate::metadata::{Event, MetaStore, Op, WatchError};

pub(super) fn all(subject: &dyn Subject) {
    events_come_in_order(&*subject.fresh());
    a_watch_sees_its_prefix_only(&*subject.fresh());
    a_list_and_a_watch_leave_no_gap(&*subject.fresh());
    a_watch_waits_no_longer_than_asked(&*subject.fresh());
    a_waiting_watch_is_woken(&*subject.fresh());
    a_forgotten_history_ends_the_watch(subject);
    a_delete_at_the_edge_of_history_is_not_missed(subject);
}

fn deleted(key: &str, revision: u64) -> Event {
    Event::Delete { key: key.to_owned(), revision }
}

fn written(key: &str, value: &str, revision: u64) -> Event {
    Event::Put { key: key.to_owned(), value: value.as_bytes().to_vec(), revision }
}

fn delete(key: &str) -> Op {
    Op::Delete(key.to_owned())
}

fn events_come_in_order(store: &dyn MetaStore) {
    let r1 = committed(store.txn(&[], &[put("/a", "1")]).unwrap());
    let mut watch = store.watch("/", r1).unwrap();
    let r2 = committed(store.txn(&[], &[put("/a", "2"), put("/b", "2")]).unwrap());
    let r3 = committed(store.txn(&[], &[delete("/a"), delete("/not there")]).unwrap());
    let r4 = committed(store.txn(&[], &[put("/b", "2")]).unwrap());
    assert_eq!(soon(&mut watch), written("/a", "1", r1));
    let mut both = [soon(&mut watch), soon(&mut watch)];
    both.sort_unstable_by(|a, b| a.key().cmp(b.key()));
    assert_eq!(both, [written("/a", "2", r2), written("/b", "2", r2)]);
    assert_eq!(soon(&mut watch), deleted("/a", r3));
    assert_eq!(soon(&mut watch), written("/b", "2", r4), "the same value again is a change");
    assert_eq!(watch.next(Duration::ZERO), Ok(None));
}

fn a_watch_sees_its_prefix_only(store: &dyn MetaStore) {
    let from = store.list("/").unwrap().revision + 1;
    let mut watch = store.watch("/p/", from).unwrap();
    let mut every = store.watch("", from).unwrap();
    committed(store.txn(&[], &[put("/o", "1"), put("/pa", "1"), put("/q", "1")]).unwrap());
    let revision = committed(store.txn(&[], &[put("/p/a", "1")]).unwrap());
    assert_eq!(soon(&mut watch), written("/p/a", "1", revision));
    let keys: Vec<_> = (0..4).map(|_| soon(&mut every).key().to_owned()).collect();
    assert_eq!(keys[3], "/p/a");
}

/// A writer counts while lists are taken and followed: each follower sees every number after its list.
fn a_list_and_a_watch_leave_no_gap(store: &dyn MetaStore) {
    const LAST: u64 = 60;
    committed(store.txn(&[], &[put("/n", "0")]).unwrap());
    let number = |value: &[u8]| -> u64 { std::str::from_utf8(value).unwrap().parse().unwrap() };
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 1..=LAST {
                committed(store.txn(&[], &[put("/n", &n.to_string())]).unwrap());
            }
        });
        for _ in 0..4 {
            let listing = store.list("/").unwrap();
            let mut seen = number(&listing.entries[0].1.value);
            let mut watch = store.watch("/", listing.revision + 1).unwrap();
            while seen < LAST {
                let Event::Put { value, .. } = soon(&mut watch) else { panic!("nobody deletes") };
                assert_eq!(number(&value), seen + 1);
                seen += 1;
            }
        }
    });
}

fn a_watch_waits_no_longer_than_asked(store: &dyn MetaStore) {
    let mut watch = store.watch("/", store.list("/").unwrap().revision + 1).unwrap();
    assert_eq!(watch.next(Duration::from_millis(20)), Ok(None));
}

fn a_waiting_watch_is_woken(store: &dyn MetaStore) {
    let mut watch = store.watch("/", store.list("/").unwrap().revision + 1).unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(move || watch.next(PATIENCE).unwrap().map(|e| e.revision()));
        let revision = committed(store.txn(&[], &[put("/a", "1")]).unwrap());
        assert_eq!(waiting.join().unwrap(), Some(revision));
    });
}

fn a_forgotten_history_ends_the_watch(subject: &dyn Subject) {
    let store = subject.fresh();
    let first = committed(store.txn(&[], &[put("/a", "1")]).unwrap());
    committed(store.txn(&[], &[put("/a", "2")]).unwrap());
    committed(store.txn(&[], &[put("/a", "3")]).unwrap());
    subject.forget_history(&*store);
    let mut watch = store.watch("/a", first).unwrap();
    let end = watch.next(PATIENCE).unwrap_err();
    let WatchError::Compacted { oldest } = end else { panic!("{end}") };
    assert!(oldest > first, "{oldest} after {first}");
    assert_eq!(watch.next(PATIENCE), Err(end), "it says so again");
    // Started over as it says: nothing is missing.
    let listing = store.list("/a").unwrap();
    assert_eq!(listing.entries[0].1.value, b"3");
    let mut watch = store.watch("/a", listing.revision + 1).unwrap();
    let last = committed(store.txn(&[], &[put("/a", "4")]).unwrap());
    assert_eq!(soon(&mut watch), written("/a", "4", last));
}

/// etcd before 3.4.34 and 3.5.15 forgets, when it is compacted at the revision of a delete, that
/// delete too, and begins a watch there as if nothing had been.
fn a_delete_at_the_edge_of_history_is_not_missed(subject: &dyn Subject) {
    let store = subject.fresh();
    committed(store.txn(&[], &[put("/a", "1")]).unwrap());
    let gone = committed(store.txn(&[], &[delete("/a")]).unwrap());
    subject.forget_history(&*store);
    let mut watch = store.watch("/a", gone).unwrap();
    match watch.next(Duration::from_secs(1)) {
        Ok(Some(event)) => assert_eq!(event, deleted("/a", gone)),
        Err(WatchError::Compacted { .. }) => {}
        other => panic!("the delete is missing, and nobody said so: {other:?}"),
    }
}
