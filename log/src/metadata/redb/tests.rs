//! The store over a disk that fails: cuts at every operation, and flips of every byte.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::pages::SLOT;
use super::*;
use crate::disk::FaultyDisk;
use crate::metadata::WatchError;
use crate::metadata::conformance::{self, Subject};

const DIR: &str = "/data";
const PATH: &str = "/data/meta.redb";

fn disk() -> FaultyDisk {
    let disk = FaultyDisk::new();
    disk.create_dir(Path::new(DIR)).unwrap();
    disk
}

fn open(disk: &FaultyDisk) -> Result<RedbMeta, MetaError> {
    RedbMeta::open(disk, Path::new(PATH))
}

fn put(key: &str, value: &str) -> Op {
    Op::Put(key.to_owned(), value.as_bytes().to_vec())
}

#[derive(Debug, Default)]
struct OnADisk {
    ms: Arc<AtomicU64>,
}

impl Subject for OnADisk {
    fn fresh(&self) -> Arc<dyn MetaStore> {
        let clock = LeaseClock::Set(Arc::clone(&self.ms));
        Arc::new(RedbMeta::open_with_clock(&disk(), Path::new(PATH), clock).unwrap())
    }

    fn ttl_ms(&self) -> u64 {
        1000
    }

    fn pass_ms(&self, ms: u64) {
        self.ms.fetch_add(ms, Ordering::SeqCst);
    }
}

#[test]
fn redb_conforms() {
    conformance::all(&OnADisk::default());
}

/// The process that kept them alive is gone, and so is what they stood for.
#[test]
fn leased_keys_do_not_outlive_the_process() {
    let disk = disk();
    let store = open(&disk).unwrap();
    let lease = store.grant(60_000).unwrap();
    let leased = |key: &str| Op::PutLeased { key: key.to_owned(), value: b"mine".to_vec(), lease };
    store.txn(&[], &[put("/a", "1"), put("/b", "1"), leased("/c")]).unwrap();
    store.txn(&[], &[leased("/b"), put("/c", "stays")]).unwrap();
    let before = store.txn(&[], &[leased("/d")]).unwrap();
    drop(store);
    let listing = open(&disk).unwrap().list("/").unwrap();
    assert_eq!(before, TxnOutcome::Committed { revision: listing.revision });
    let left: Vec<_> = listing.into_iter().map(|(key, held)| (key, held.value)).collect();
    let left: Vec<_> = left.iter().map(|(key, value)| (&key[..], &value[..])).collect();
    assert_eq!(left, [("/a", &b"1"[..]), ("/c", b"stays")]);
}

#[test]
fn a_watch_ends_with_its_store() {
    let disk = disk();
    let store = open(&disk).unwrap();
    let mut watch = store.watch("/", 1).unwrap();
    thread::scope(|scope| {
        let waiting = scope.spawn(move || watch.next(conformance::PATIENCE));
        drop(store);
        let end = waiting.join().unwrap();
        assert_eq!(end, Err(WatchError::Store(MetaError::Closed)));
    });
    assert!(open(&disk).is_ok(), "a watch holds no file");
}

#[test]
fn what_was_committed_is_there_after_a_restart() {
    let disk = disk();
    let store = open(&disk).unwrap();
    store.txn(&[], &[put("/a", "1"), put("/b", "2")]).unwrap();
    store.txn(&[], &[Op::Delete("/a".to_owned()), put("/c", "3")]).unwrap();
    let before = store.list("/").unwrap();
    drop(store);
    assert_eq!(open(&disk).unwrap().list("/").unwrap(), before);
}

/// A cut at each write: every acknowledged transaction is there, and at most the one that was
/// under way beside them.
#[test]
fn a_cut_anywhere_loses_nothing_acknowledged() {
    let mut n = 0;
    loop {
        let disk = disk();
        disk.crash_after(n);
        let mut acked = 0;
        if let Ok(store) = open(&disk) {
            for i in 1..=6 {
                let ops = [put("/n", &i.to_string()), put(&format!("/k{i}"), "x")];
                match store.txn(&[], &ops) {
                    Ok(_) => acked = i,
                    Err(error) => {
                        assert!(matches!(error, MetaError::Poisoned { .. }), "{error}");
                        assert!(store.get("/n").is_err(), "a poisoned store answers nothing");
                        break;
                    }
                }
            }
        }
        let finished = !disk.is_cut();
        for seed in 0..4 {
            let store = open(&disk.reboot(seed)).unwrap_or_else(|e| panic!("cut {n}: {e}"));
            let found: usize = store
                .get("/n")
                .unwrap()
                .map_or(0, |v| String::from_utf8(v.value).unwrap().parse().unwrap());
            assert!(found == acked || found == acked + 1, "cut {n}: {found} after {acked}");
            assert_eq!(store.list("/k").unwrap().entries.len(), found, "cut {n}");
        }
        if finished {
            break;
        }
        n += 1;
    }
    assert!(n > 20, "{n} cuts");
}

/// A store with a history: pages that were used and freed, and some that never were.
fn lived(disk: &FaultyDisk) -> RedbMeta {
    let store = open(disk).unwrap();
    for i in 0..20 {
        store.txn(&[], &[put(&format!("/key/{i}"), &format!("value {i}"))]).unwrap();
        store.txn(&[], &[put("/large", &"x".repeat(900 * i)), put("/n", "1")]).unwrap();
    }
    store
}

/// Flips a byte in each sixteenth of a slot, and every byte of a sector now and then; each is told with
/// the file and the page's offset, or changes nothing at all, also for what is written afterwards. How
/// many were told.
fn flip_all(disk: &FaultyDisk, told: &str) -> usize {
    let expected = open(&disk.reboot(0)).unwrap().list("/").unwrap();
    let bytes = disk.bytes(Path::new(PATH)).unwrap();
    let slots = bytes.chunks(SLOT).enumerate();
    let used: Vec<usize> =
        slots.filter(|(_, s)| s.iter().any(|b| *b != 0)).map(|(i, _)| i).collect();
    let never = (bytes.len() / SLOT).saturating_sub(1);
    let mut refused = 0;
    for &slot in used.iter().chain([&never]) {
        let first = slot * SLOT;
        let offsets = (0..SLOT).filter(|at| at % 288 == slot % 288 || (slot < 3 && at % 37 == 0));
        for at in offsets.map(|at| first + at).chain([first, first + SLOT - 1]) {
            let disk = disk.reboot(0);
            disk.flip(Path::new(PATH), at as u64, 1 << (at % 8));
            match open(&disk) {
                Ok(store) => {
                    assert_eq!(store.list("/").unwrap(), expected, "{told}: byte {at}");
                    for i in 0..3 {
                        store.txn(&[], &[put("/later", &"y".repeat(3000 * i))]).unwrap();
                    }
                    drop(store);
                    open(&disk).unwrap_or_else(|error| panic!("{told}: byte {at}, later: {error}"));
                }
                Err(MetaError::Damaged { file, offset, .. }) => {
                    assert_eq!(file, Path::new(PATH), "{told}: byte {at}");
                    // Of page 0, a power cut may have torn the other copy: none is left.
                    let first = if slot < 2 { 0 } else { first as u64 };
                    assert_eq!(offset, first, "{told}: byte {at}");
                    refused += 1;
                }
                Err(other) => panic!("{told}: byte {at}: {other}"),
            }
        }
    }
    refused
}

#[test]
fn a_flipped_byte_is_told_with_its_place_or_changes_nothing() {
    let disk = disk();
    drop(lived(&disk));
    let refused = flip_all(&disk, "after a close");
    assert!(refused > 60, "{refused} flips told");
}

#[test]
fn a_flipped_byte_after_a_crash_is_told_with_its_place_or_changes_nothing() {
    let disk = disk();
    let store = lived(&disk);
    let crashed = disk.reboot(3);
    let refused = flip_all(&crashed, "after a crash");
    assert!(refused > 60, "{refused} flips told");
    drop(store);
}

/// Damage that comes while the store is open is told as damage, not as a write that failed.
#[test]
fn damage_come_upon_by_a_transaction_is_told_with_its_place() {
    let disk = disk();
    let store = open(&disk).unwrap();
    // More than redb keeps in memory.
    let key = |i| format!("/key/{i:04}");
    let value = "x".repeat(3000);
    for i in (0..1000).step_by(125) {
        let some: Vec<_> = (i..i + 125).map(|i| put(&key(i), &value)).collect();
        store.txn(&[], &some).unwrap();
    }
    let len = disk.bytes(Path::new(PATH)).unwrap().len();
    for slot in 2..len / SLOT {
        disk.flip(Path::new(PATH), (slot * SLOT) as u64, 1);
    }
    let found = (0..1000).find_map(|i| store.txn(&[], &[put(&key(i), "y")]).err());
    let error = found.expect("something has to be read");
    assert!(matches!(error, MetaError::Damaged { .. }), "{error}");
    assert!(
        matches!(store.get(&key(0)), Err(MetaError::Damaged { .. })),
        "and nothing is answered"
    );
}

#[test]
fn a_closed_store_lets_go_of_its_file() {
    let disk = disk();
    let store = open(&disk).unwrap();
    store.txn(&[], &[put("/a", "1")]).unwrap();
    store.close();
    let operations = disk.operations();
    assert_eq!(store.get("/a"), Err(MetaError::Closed));
    assert_eq!(store.txn(&[], &[]), Err(MetaError::Closed));
    drop(store);
    assert_eq!(disk.operations(), operations, "a handle kept longer writes nothing");
    assert!(open(&disk).unwrap().get("/a").unwrap().is_some());
}

#[test]
fn a_lost_record_is_noticed() {
    let disk = disk();
    let store = open(&disk).unwrap();
    store.txn(&[], &[put("/a", "1"), put("/b", "2")]).unwrap();
    {
        let writing = store.local.base.writing();
        let txn = writing.database.as_ref().unwrap().begin_write().unwrap();
        txn.open_table(RECORDS).unwrap().remove("/a").unwrap();
        txn.commit().unwrap();
    }
    drop(store);
    let error = open(&disk).unwrap_err();
    assert!(error.to_string().contains("restore the data directory"), "{error}");
}
