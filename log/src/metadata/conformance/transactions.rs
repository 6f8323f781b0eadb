//! Reads, transactions and their limits.

use super::{Subject, committed, put};
use crate::caps;
use crate::metadata::{Compare, MetaError, MetaStore, Op, TxnOutcome};
use crate::outcome::Outcome;

pub(super) fn all(subject: &dyn Subject) {
    a_key_is_created_once(&*subject.fresh());
    a_compare_and_set_holds_to_the_revision(&*subject.fresh());
    a_transaction_is_all_or_nothing(&*subject.fresh());
    a_list_is_ordered_and_bounded_by_its_prefix(&*subject.fresh());
    a_long_list_is_of_one_revision(&*subject.fresh());
    a_removed_key_may_come_back_with_a_higher_revision(&*subject.fresh());
    what_changes_nothing_leaves_the_revision(&*subject.fresh());
    a_key_twice_in_one_transaction_is_refused(&*subject.fresh());
    limits_are_told_and_definite(&*subject.fresh());
    any_bytes_are_a_value(&*subject.fresh());
}

fn absent(key: &str) -> Compare {
    Compare::Absent(key.to_owned())
}

fn a_key_is_created_once(store: &dyn MetaStore) {
    committed(store.txn(&[absent("/a")], &[put("/a", "1")]).unwrap());
    assert_eq!(store.txn(&[absent("/a")], &[put("/a", "2")]).unwrap(), TxnOutcome::Conflict);
    assert_eq!(store.get("/a").unwrap().unwrap().value, b"1");
    assert_eq!(store.get("/b").unwrap(), None);
}

fn a_compare_and_set_holds_to_the_revision(store: &dyn MetaStore) {
    let first = committed(store.txn(&[], &[put("/a", "1")]).unwrap());
    assert_eq!(store.get("/a").unwrap().unwrap().revision, first);
    let other = committed(store.txn(&[], &[put("/b", "x")]).unwrap());
    assert!(other > first, "revisions count over the whole store");
    assert_eq!(store.get("/a").unwrap().unwrap().revision, first);
    let at_first = [Compare::Revision("/a".to_owned(), first)];
    let second = committed(store.txn(&at_first, &[put("/a", "2")]).unwrap());
    assert!(second > other);
    assert_eq!(store.txn(&at_first, &[put("/a", "3")]).unwrap(), TxnOutcome::Conflict);
    let nowhere = [Compare::Revision("/nowhere".to_owned(), second)];
    assert_eq!(store.txn(&nowhere, &[put("/a", "3")]).unwrap(), TxnOutcome::Conflict);
    assert_eq!(store.get("/a").unwrap().unwrap().value, b"2");
}

fn a_transaction_is_all_or_nothing(store: &dyn MetaStore) {
    let both = [put("/a", "1"), put("/b", "1")];
    let compare = [absent("/a"), Compare::Revision("/b".to_owned(), 1)];
    assert_eq!(store.txn(&compare, &both).unwrap(), TxnOutcome::Conflict);
    assert_eq!(store.list("/").unwrap().entries, []);
    let r = committed(store.txn(&compare[..1], &both).unwrap());
    assert!(store.list("/").unwrap().into_iter().all(|(_, v)| v.revision == r));
}

fn a_list_is_ordered_and_bounded_by_its_prefix(store: &dyn MetaStore) {
    let ops = [put("/p/b", "2"), put("/p/a", "1"), put("/pa", "no"), put("/o", "no")];
    let revision = committed(store.txn(&[], &ops).unwrap());
    let listing = store.list("/p/").unwrap();
    assert_eq!(listing.revision, revision);
    let keys: Vec<_> = listing.into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["/p/a", "/p/b"]);
    assert_eq!(store.list("/none/").unwrap().revision, revision, "also of an empty listing");
    assert_eq!(store.list("").unwrap().entries.len(), 4, "an empty prefix is everything");
}

/// Longer than a page of any store.
fn a_long_list_is_of_one_revision(store: &dyn MetaStore) {
    for hundred in 0..12 {
        let ops: Vec<Op> =
            (0..100).map(|n| put(&format!("/long/{:04}", hundred * 100 + n), "x")).collect();
        committed(store.txn(&[], &ops).unwrap());
    }
    let listing = store.list("/long/").unwrap();
    assert_eq!(listing.entries.len(), 1200);
    assert!(listing.entries.is_sorted_by(|(a, _), (b, _)| a < b));
    assert!(listing.entries.iter().all(|(_, v)| v.revision <= listing.revision));
}

fn a_removed_key_may_come_back_with_a_higher_revision(store: &dyn MetaStore) {
    let first = committed(store.txn(&[], &[put("/a", "1")]).unwrap());
    store.txn(&[], &[Op::Delete("/a".to_owned())]).unwrap();
    assert_eq!(store.get("/a").unwrap(), None);
    let again = committed(store.txn(&[absent("/a")], &[put("/a", "1")]).unwrap());
    assert!(again > first);
}

fn what_changes_nothing_leaves_the_revision(store: &dyn MetaStore) {
    let first = committed(store.txn(&[], &[put("/a", "1")]).unwrap());
    let none = store.txn(&[absent("/b")], &[]).unwrap();
    assert_eq!(none, TxnOutcome::Committed { revision: first });
    let gone = store.txn(&[], &[Op::Delete("/b".to_owned())]).unwrap();
    assert_eq!(gone, TxnOutcome::Committed { revision: first });
    assert_eq!(store.txn(&[absent("/a")], &[]).unwrap(), TxnOutcome::Conflict);
    assert_eq!(store.list("/").unwrap().revision, first);
}

fn a_key_twice_in_one_transaction_is_refused(store: &dyn MetaStore) {
    let twice = [put("/a", "1"), Op::Delete("/a".to_owned())];
    let error = store.txn(&[], &twice).unwrap_err();
    assert_eq!(error, MetaError::TwiceInTxn { key: "/a".to_owned() });
    assert_eq!(error.outcome(), Outcome::Definite);
}

fn limits_are_told_and_definite(store: &dyn MetaStore) {
    let many = |n: usize| (0..n).map(|n| put(&format!("/{n}"), "")).collect::<Vec<Op>>();
    let large = |n: usize| vec![Op::Put("/large".to_owned(), vec![7; n])];
    let taken = caps::META_TXN_BYTES_MAX - "/large".len();
    committed(store.txn(&[], &large(taken)).unwrap());
    assert_eq!(store.get("/large").unwrap().unwrap().value.len(), taken);
    let absent = |n: usize| {
        (0..n).map(|n| Compare::Absent(format!("/absent/{n}"))).collect::<Vec<Compare>>()
    };
    // What etcd takes: what fits another store must fit a cluster's.
    assert_eq!(caps::META_TXN_OPS_MAX, 128);
    committed(store.txn(&absent(128), &many(128)).unwrap());
    let error = store.txn(&absent(129), &many(1)).unwrap_err();
    assert!(matches!(error, MetaError::TooLarge { max: 128, .. }), "{error}");
    let long = Op::Put("k".repeat(caps::META_KEY_BYTES_MAX + 1), Vec::new());
    for ops in [large(taken + 1), many(caps::META_TXN_OPS_MAX + 1), vec![long]] {
        let error = store.txn(&[], &ops).unwrap_err();
        assert!(matches!(error, MetaError::TooLarge { .. }), "{error}");
        assert_eq!(error.outcome(), Outcome::Definite);
    }
}

fn any_bytes_are_a_value(store: &dyn MetaStore) {
    let all: Vec<u8> = (0..=255).collect();
    let ops = [Op::Put("/all".to_owned(), all.clone()), Op::Put("/none".to_owned(), Vec::new())];
    committed(store.txn(&[], &ops).unwrap());
    assert_eq!(store.get("/all").unwrap().unwrap().value, all);
    assert_eq!(store.get("/none").unwrap().unwrap().value, b"");
}
