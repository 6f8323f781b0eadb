//! A log over a directory that another part of this process holds.

use egret_schemas::EntryId;

use super::Attached;
use crate::client::ReadError;
use crate::directory::{Directory, LogConfig};
use crate::metadata::{Compare, Op, TxnOutcome};
use crate::stream::{Log, Record, StreamConfig};

/// Whoever is attached looks after topologies; streams, partitions and ledgers are the holder's.
#[test]
fn who_is_attached_reads_all_and_writes_only_records_of_topologies() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogConfig { serve: true, ..LogConfig::default() }).unwrap();
    log.create_stream("s", StreamConfig::default()).unwrap();
    log.writer("s", 0).unwrap().append_wait(&[Record::of("one"), Record::of("two")]).unwrap();
    let directory = Directory::open(dir.path()).unwrap();
    assert!(!directory.is_held());
    let (attached, theirs) = Attached::over(directory);
    let described = theirs.describe("s").unwrap();
    assert_eq!(described, log.describe("s").unwrap(), "what the holder sees");
    let ledger = described.partitions[0].segments[0].ledger;
    let entry = theirs.ledgers().read_unconfirmed(ledger, EntryId(0)).unwrap();
    assert_eq!(entry, log.ledgers().read_unconfirmed(ledger, EntryId(0)).unwrap());
    let missing = theirs.ledgers().read_unconfirmed(ledger, EntryId(7)).unwrap_err();
    assert!(matches!(missing, ReadError::Missing { .. }), "{missing}");

    let meta = theirs.metadata();
    let put = |key: &str| Op::Put(key.to_owned(), b"x".to_vec());
    let absent = |key: &str| Compare::Absent(key.to_owned());
    let done = meta.txn(&[absent("/topology/t")], &[put("/topology/t"), put("/users/u")]).unwrap();
    let TxnOutcome::Committed { revision } = done else { panic!("{done:?}") };
    assert_eq!(log.metadata().get("/users/u").unwrap().unwrap().revision, revision);
    assert_eq!(meta.get("/topology/t").unwrap(), log.metadata().get("/topology/t").unwrap());
    let again = meta.txn(&[absent("/topology/t")], &[put("/topology/t")]).unwrap();
    assert_eq!(again, TxnOutcome::Conflict);
    assert_eq!(meta.get("/topology/none").unwrap(), None);
    assert_eq!(
        meta.list("/users/").unwrap().entries,
        log.metadata().list("/users/").unwrap().entries
    );
    for key in ["/stream/s", "/ledgers/1", "/topologyx"] {
        let error = meta.txn(&[], &[put(key)]).unwrap_err();
        assert_eq!(error.outcome(), crate::Outcome::Definite);
        assert!(
            error.to_string().contains("is not written by a process that is attached"),
            "{error}"
        );
    }
    assert!(meta.txn(&[], &[Op::Delete("/users/u".to_owned())]).is_err());
    assert!(theirs.writer("s", 0).is_err(), "it takes nothing over");
    drop(theirs);
    attached.close().unwrap();
    log.writer("s", 0).unwrap().append_wait(&[Record::of("three")]).unwrap();
    log.close().unwrap();
}

/// What stands by beside a holder is to see it go, not to take its place for a moment.
#[test]
fn who_is_beside_a_holder_is_beside_that_one_only() {
    let dir = tempfile::tempdir().unwrap();
    assert!(Directory::beside(dir.path()).unwrap().is_none(), "nobody holds it");
    let open = || Log::open(dir.path(), LogConfig { serve: true, ..LogConfig::default() }).unwrap();
    let log = open();
    log.create_stream("s", StreamConfig::default()).unwrap();
    let (_attached, theirs) = Attached::over(Directory::beside(dir.path()).unwrap().unwrap());
    assert!(theirs.describe("s").is_ok());
    log.close().unwrap();
    assert!(theirs.describe("s").is_err(), "it is gone");
    assert!(Directory::beside(dir.path()).unwrap().is_none(), "and nobody took its place");
    let next = open();
    assert!(theirs.describe("s").is_err(), "another one is not looked for");
    next.close().unwrap();
}
