//! Extents that are mostly of deleted ledgers give their space back; what is left of them is not touched
//! by anything that happens meanwhile.

use super::*;
use crate::message::{Refusal, Unknown};

const EXTENTS: u64 = 3;

/// Checkpoints come when they are asked for.
fn roomy() -> BookieConfig {
    BookieConfig { write_cache_bytes: 64 << 10, journal_file_bytes: 256 << 10, ..small() }
}

fn open(disk: &FaultyDisk) -> Bookie {
    try_open(disk, roomy()).unwrap()
}

/// Three extents, each with two entries of ledger 1 among twenty of ledger 2, which is then deleted.
fn mostly_dead(disk: &FaultyDisk) -> Bookie {
    let bookie = open(disk);
    done(ask(&bookie, create_replicated(1, 1)));
    done(ask(&bookie, create_replicated(2, 1)));
    for extent in 0..EXTENTS {
        for entry in 0..20 {
            done(ask(&bookie, add(2, extent * 20 + entry, 1)));
            if entry < 2 {
                done(ask(&bookie, add(1, extent * 2 + entry, 1)));
            }
        }
        bookie.checkpoint().unwrap();
    }
    done(ask(&bookie, delete(2)));
    bookie
}

fn extent_files(disk: &FaultyDisk) -> Vec<PathBuf> {
    let files = disk.files().into_iter().map(|(path, _)| path);
    files.filter(|path| path.starts_with("/b/extents")).collect()
}

#[track_caller]
fn check_all(bookie: &Bookie) {
    (0..2 * EXTENTS).for_each(|entry| check_entry(bookie, 1, entry, 100));
    assert!(matches!(ask(bookie, read(1, 2 * EXTENTS)), Reply::NoEntry { .. }));
    let gone = ask(bookie, read(2, 0));
    assert!(matches!(gone, Reply::Refused(Refusal::Deleted)), "{gone:?}");
}

#[test]
fn what_is_left_of_mostly_dead_extents_moves_to_one() {
    let disk = FaultyDisk::new();
    let bookie = mostly_dead(&disk);
    let before = bookie.stats();
    assert!(before.live_bytes * 5 < before.extent_bytes, "{before:?}");
    assert!(bookie.compact().unwrap());
    let after = bookie.stats();
    assert_eq!((after.extents, after.compactions), (1, 1));
    assert_eq!((after.extent_bytes, after.compacted_bytes), (before.live_bytes, before.live_bytes));
    assert_eq!(extent_files(&disk).len(), 1);
    check_all(&bookie);
    assert!(!bookie.compact().unwrap(), "there is nothing more to do");
    assert!(bookie.scrub().is_empty());
    drop(bookie);
    let bookie = open(&disk.reboot(1));
    check_all(&bookie);
    done(ask(&bookie, add(1, 2 * EXTENTS, 1)));
    bookie.checkpoint().unwrap();
    check_entry(&bookie, 1, 2 * EXTENTS, 100);
}

#[test]
fn only_a_durable_deletion_frees_anything() {
    let disk = FaultyDisk::new();
    let bookie = mostly_dead(&disk);
    drop(bookie);
    // The deletion's batch is torn: it never was.
    let mut files = disk.files().into_iter().map(|(path, _)| path);
    let journal = files.rfind(|path| path.to_string_lossy().contains("/journal/J"));
    let journal = journal.unwrap();
    let bytes = disk.bytes(&journal).unwrap();
    let block = |at: &usize| crate::bookie::journal::format::BatchHeader::decode(&bytes[*at..]);
    let last = (0..bytes.len()).step_by(4096).filter(|at| block(at).is_ok());
    let last = last.max_by_key(|at| block(at).unwrap().0.lsn).unwrap();
    disk.flip(&journal, last as u64 + 70, 1);
    let bookie = open(&disk);
    assert!(!bookie.compact().unwrap());
    assert_eq!(extent_files(&disk).len(), 3);
    (0..20 * EXTENTS).for_each(|entry| check_entry(&bookie, 2, entry, 100));
}

#[test]
fn extents_with_nothing_left_just_go() {
    let disk = FaultyDisk::new();
    let bookie = mostly_dead(&disk);
    done(ask(&bookie, delete(1)));
    assert!(bookie.compact().unwrap());
    assert_eq!((bookie.stats().extents, bookie.stats().compacted_bytes), (0, 0));
    assert!(extent_files(&disk).is_empty());
}

#[test]
fn no_power_cut_during_compaction_loses_an_entry_or_leaves_a_file_behind() {
    let mut cut = 0;
    loop {
        let disk = FaultyDisk::new();
        let bookie = mostly_dead(&disk);
        disk.crash_after(disk.operations() + cut);
        let done_with = bookie.compact();
        let whole = !disk.is_cut();
        assert_eq!(done_with.is_ok(), whole);
        drop(bookie);
        for seed in 0..12 {
            let disk = disk.reboot(seed);
            let bookie = open(&disk);
            check_all(&bookie);
            assert_eq!(extent_files(&disk).len(), bookie.stats().extents, "cut {cut} seed {seed}");
            bookie.compact().unwrap();
            check_all(&bookie);
            drop(bookie);
            check_all(&open(&disk.reboot(seed)));
        }
        if whole {
            break;
        }
        cut += 1;
    }
    assert!(cut > 10, "{cut}");
}

#[test]
fn a_damaged_entry_is_neither_copied_nor_dropped_and_goes_once_it_is_mended() {
    let disk = FaultyDisk::new();
    let bookie = mostly_dead(&disk);
    let hurt = extent_files(&disk).swap_remove(1);
    // Entry 2 of ledger 1 is the first in the second extent.
    disk.flip(&hurt, 4096 + 60, 1);
    assert!(bookie.compact().unwrap(), "the others are compacted");
    assert_eq!(bookie.stats().extents, 2);
    assert!(extent_files(&disk).contains(&hurt));
    for entry in (0..2 * EXTENTS).filter(|entry| *entry != 2) {
        check_entry(&bookie, 1, entry, 100);
    }
    let damaged = |reply: Reply| match reply {
        Reply::Unknown(Unknown::Damaged { file, .. }) => assert_eq!(file, hurt),
        other => panic!("{other:?}"),
    };
    damaged(ask(&bookie, read(1, 2)));
    let places = bookie.damaged();
    assert_eq!(places.len(), 1, "{places:?}");
    let entry = places[0].entry.unwrap();
    assert_eq!((entry.ledger, entry.entry), (LedgerId(1), EntryId(2)));
    // A writer's add does not mend it, a copy does.
    damaged(ask(&bookie, add(1, 2, 1)));
    done(ask(&bookie, copy(1, 2, 1)));
    check_entry(&bookie, 1, 2, 100);
    bookie.checkpoint().unwrap();
    check_entry(&bookie, 1, 2, 100);
    assert!(bookie.damaged().is_empty());
    assert!(bookie.compact().unwrap());
    assert!(!extent_files(&disk).contains(&hurt));
    check_all(&bookie);
    drop(bookie);
    check_all(&open(&disk.reboot(3)));
}

#[test]
fn a_full_disk_can_be_compacted() {
    let disk = FaultyDisk::new();
    let bookie = mostly_dead(&disk);
    let used: u64 = disk.files().iter().map(|(_, bytes)| bytes).sum();
    let reserve = roomy().disk_reserve_bytes;
    disk.space_limit(used + reserve / 2);
    assert!(bookie.compact().is_err(), "the half that is left is for checkpoints to end");
    assert_eq!(bookie.stats().poisoned, None);
    disk.space_limit(used + reserve / 2 + (18 << 10));
    assert!(bookie.compact().unwrap());
    check_all(&bookie);
}

#[test]
fn appends_checkpoints_and_deletions_go_on_while_extents_are_compacted() {
    let disk = FaultyDisk::new();
    let config = BookieConfig { background: true, compact_bytes_per_s: 0, ..small() };
    let bookie = try_open(&disk, config).unwrap();
    done(ask(&bookie, create(1, 1)));
    let rounds = 40;
    std::thread::scope(|scope| {
        let compactor = bookie.clone();
        scope.spawn(move || {
            while compactor.stats().records < rounds * 12 {
                compactor.compact().unwrap();
                std::thread::yield_now();
            }
        });
        for round in 0..rounds {
            let short = 100 + round;
            done(ask(&bookie, create(short, 1)));
            for entry in 0..8 {
                let bytes = payload(short, entry, 900);
                done(ask(&bookie, add_bytes(short, entry, 1, bytes)));
            }
            done(ask(&bookie, add(1, round, 1)));
            if round % 4 == 0 {
                bookie.checkpoint().unwrap();
            }
            done(ask(&bookie, delete(short)));
            for entry in 0..=round {
                check_entry(&bookie, 1, entry, 100);
            }
        }
        done(ask(&bookie, create(9000, 1)));
        for ledger in 0..rounds * 2 {
            done(ask(&bookie, delete(20_000 + ledger)));
        }
    });
    assert!(bookie.stats().compactions > 0);
    bookie.close().unwrap();
    let bookie = open(&disk.reboot(1));
    (0..rounds).for_each(|entry| check_entry(&bookie, 1, entry, 100));
    assert!(bookie.scrub().is_empty());
}
