//! What every metadata store must do, run on each.

use super::{Compare, MemoryMeta, MetaError, MetaStore, Op, TxnOutcome};

fn put(key: &str, value: &str) -> Op {
    Op::Put(key.to_owned(), value.as_bytes().to_vec())
}

fn revision(outcome: TxnOutcome) -> u64 {
    match outcome {
        TxnOutcome::Committed { revision } => revision,
        TxnOutcome::Conflict => panic!("conflict"),
    }
}

pub(super) fn all(fresh: &dyn Fn() -> Box<dyn MetaStore>) {
    a_key_is_created_once(&*fresh());
    a_compare_and_set_holds_to_the_revision(&*fresh());
    a_transaction_is_all_or_nothing(&*fresh());
    a_list_is_ordered_and_bounded_by_its_prefix(&*fresh());
    a_removed_key_may_come_back_with_a_higher_revision(&*fresh());
    a_key_twice_in_one_transaction_is_refused(&*fresh());
}

fn a_key_is_created_once(store: &dyn MetaStore) {
    let absent = [Compare::Absent("/a".to_owned())];
    revision(store.txn(&absent, &[put("/a", "1")]).unwrap());
    assert_eq!(store.txn(&absent, &[put("/a", "2")]).unwrap(), TxnOutcome::Conflict);
    assert_eq!(store.get("/a").unwrap().unwrap().value, b"1");
    assert_eq!(store.get("/b").unwrap(), None);
}

fn a_compare_and_set_holds_to_the_revision(store: &dyn MetaStore) {
    let first = revision(store.txn(&[], &[put("/a", "1")]).unwrap());
    assert_eq!(store.get("/a").unwrap().unwrap().revision, first);
    let other = revision(store.txn(&[], &[put("/b", "x")]).unwrap());
    assert!(other > first, "revisions count over the whole store");
    assert_eq!(store.get("/a").unwrap().unwrap().revision, first);
    let at_first = [Compare::Revision("/a".to_owned(), first)];
    let second = revision(store.txn(&at_first, &[put("/a", "2")]).unwrap());
    assert!(second > other);
    assert_eq!(store.txn(&at_first, &[put("/a", "3")]).unwrap(), TxnOutcome::Conflict);
}

fn a_transaction_is_all_or_nothing(store: &dyn MetaStore) {
    let both = [put("/a", "1"), put("/b", "1")];
    let compare = [Compare::Absent("/a".to_owned()), Compare::Revision("/b".to_owned(), 1)];
    assert_eq!(store.txn(&compare, &both).unwrap(), TxnOutcome::Conflict);
    assert_eq!(store.list("/").unwrap(), []);
    let r = revision(store.txn(&compare[..1], &both).unwrap());
    assert!(store.list("/").unwrap().iter().all(|(_, v)| v.revision == r));
}

fn a_list_is_ordered_and_bounded_by_its_prefix(store: &dyn MetaStore) {
    let ops = [put("/p/b", "2"), put("/p/a", "1"), put("/pa", "no"), put("/o", "no")];
    store.txn(&[], &ops).unwrap();
    let keys: Vec<_> = store.list("/p/").unwrap().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["/p/a", "/p/b"]);
}

fn a_removed_key_may_come_back_with_a_higher_revision(store: &dyn MetaStore) {
    let first = revision(store.txn(&[], &[put("/a", "1")]).unwrap());
    store.txn(&[], &[Op::Delete("/a".to_owned())]).unwrap();
    assert_eq!(store.get("/a").unwrap(), None);
    let again =
        revision(store.txn(&[Compare::Absent("/a".to_owned())], &[put("/a", "1")]).unwrap());
    assert!(again > first);
}

fn a_key_twice_in_one_transaction_is_refused(store: &dyn MetaStore) {
    let twice = [put("/a", "1"), Op::Delete("/a".to_owned())];
    assert!(matches!(store.txn(&[], &twice), Err(MetaError::TwiceInTxn { .. })));
}

#[test]
fn memory_conforms() {
    all(&|| Box::new(MemoryMeta::new()));
}
