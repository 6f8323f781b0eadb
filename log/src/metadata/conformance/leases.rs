//! What a lease takes with it, and when.

use super::{Subject, committed, put, soon};
use crate::metadata::{Event, LeaseId, MetaError, MetaStore, Op};
use crate::outcome::Outcome;

pub(super) fn all(subject: &dyn Subject) {
    a_key_goes_with_its_lease(subject);
    a_lease_that_is_kept_alive_stays(subject);
    a_revoked_lease_takes_its_keys_at_once(&*subject.fresh());
    a_later_write_takes_the_key_off_the_lease(&*subject.fresh());
    a_lease_that_ended_is_told(subject);
}

fn leased(key: &str, lease: LeaseId) -> Op {
    Op::PutLeased { key: key.to_owned(), value: b"mine".to_vec(), lease }
}

fn a_key_goes_with_its_lease(subject: &dyn Subject) {
    let store = subject.fresh();
    let lease = store.grant(subject.ttl_ms()).unwrap();
    let ops = [leased("/a", lease), put("/b", "stays"), leased("/c", lease)];
    let written = committed(store.txn(&[], &ops).unwrap());
    assert_eq!(store.get("/a").unwrap().unwrap().revision, written);
    let mut watch = store.watch("/", written + 1).unwrap();
    subject.pass_ms(subject.ttl_ms());
    let (first, second) = (soon(&mut watch), soon(&mut watch));
    let mut gone = [first.key(), second.key()];
    gone.sort_unstable();
    assert_eq!(gone, ["/a", "/c"]);
    assert!(matches!(first, Event::Delete { .. }));
    assert_eq!(first.revision(), second.revision(), "they go in one transaction");
    assert!(first.revision() > written);
    let left: Vec<_> = store.list("/").unwrap().into_iter().map(|(key, _)| key).collect();
    assert_eq!(left, ["/b"]);
}

fn a_lease_that_is_kept_alive_stays(subject: &dyn Subject) {
    let store = subject.fresh();
    let lease = store.grant(subject.ttl_ms()).unwrap();
    committed(store.txn(&[], &[leased("/a", lease)]).unwrap());
    for _ in 0..6 {
        subject.pass_ms(subject.ttl_ms() / 4);
        assert!(store.keep_alive(lease).unwrap() >= subject.ttl_ms());
    }
    assert!(store.get("/a").unwrap().is_some());
    store.revoke(lease).unwrap();
}

fn a_revoked_lease_takes_its_keys_at_once(store: &dyn MetaStore) {
    let lease = store.grant(60_000).unwrap();
    let other = store.grant(60_000).unwrap();
    assert_ne!(lease, other);
    committed(store.txn(&[], &[leased("/a", lease), leased("/b", other)]).unwrap());
    store.revoke(lease).unwrap();
    assert_eq!(store.get("/a").unwrap(), None);
    assert!(store.get("/b").unwrap().is_some());
    store.revoke(lease).unwrap();
    store.revoke(other).unwrap();
    assert_eq!(store.list("/").unwrap().entries, []);
}

fn a_later_write_takes_the_key_off_the_lease(store: &dyn MetaStore) {
    let (first, second) = (store.grant(60_000).unwrap(), store.grant(60_000).unwrap());
    committed(store.txn(&[], &[leased("/stays", first), leased("/moves", first)]).unwrap());
    committed(store.txn(&[], &[put("/stays", "now"), leased("/moves", second)]).unwrap());
    committed(store.txn(&[], &[put("/was plain", "then")]).unwrap());
    committed(store.txn(&[], &[leased("/was plain", first)]).unwrap());
    store.revoke(first).unwrap();
    let keys = |store: &dyn MetaStore| -> Vec<String> {
        store.list("/").unwrap().into_iter().map(|(key, _)| key).collect()
    };
    assert_eq!(keys(store), ["/moves", "/stays"]);
    store.revoke(second).unwrap();
    assert_eq!(keys(store), ["/stays"]);
}

fn a_lease_that_ended_is_told(subject: &dyn Subject) {
    let store = subject.fresh();
    let lease = store.grant(60_000).unwrap();
    store.revoke(lease).unwrap();
    let told = MetaError::NoLease { lease };
    assert_eq!(told.outcome(), Outcome::Definite);
    assert_eq!(store.keep_alive(lease), Err(told.clone()));
    assert_eq!(store.txn(&[], &[leased("/a", lease), put("/b", "1")]), Err(told));
    assert_eq!(store.list("/").unwrap().entries, [], "nothing of it was written");
}
