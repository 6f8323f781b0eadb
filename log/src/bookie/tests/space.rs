//! The disk is full: refused by name, nothing lost, and all well again once there is space.

use super::*;
use crate::message::Refusal;

fn used(disk: &FaultyDisk) -> u64 {
    disk.files().iter().map(|(_, bytes)| bytes).sum()
}

/// Adds entries of 1,000 bytes until one is refused; the first that was not stored.
fn fill(bookie: &Bookie, ledger: u64, from: u64) -> u64 {
    for entry in from..from + 10_000 {
        match ask(bookie, add_bytes(ledger, entry, 1, payload(ledger, entry, 1000))) {
            Reply::Done => {}
            Reply::Refused(Refusal::DiskFull { .. }) => return entry,
            other => panic!("{other:?}"),
        }
    }
    panic!("the disk never filled");
}

#[test]
fn a_full_disk_refuses_adds_and_loses_none() {
    for background in [false, true] {
        let disk = FaultyDisk::new();
        let config = BookieConfig { background, ..small() };
        let bookie = try_open(&disk, config.clone()).unwrap();
        done(ask(&bookie, create(1, 1)));
        disk.space_limit(used(&disk) + config.disk_reserve_bytes + (200 << 10));
        let refused = fill(&bookie, 1, 0);
        assert!(refused > 10, "{refused}");
        for entry in 0..refused {
            check_entry(&bookie, 1, entry, 1000);
        }
        assert!(matches!(ask(&bookie, read(1, refused)), Reply::NoEntry { .. }));
        assert_eq!(bookie.stats().poisoned, None);
        // What is fenced and deleted needs no space of its own, and is not held up.
        assert!(matches!(ask(&bookie, fence(9, 4)), Reply::Fenced { .. }));
        // With space it goes on, with the same entry.
        disk.space_limit(u64::MAX / 2);
        for entry in refused..refused + 50 {
            done(ask(&bookie, add_bytes(1, entry, 1, payload(1, entry, 1000))));
        }
        bookie.close().unwrap();
        let bookie = open(&disk.reboot(1));
        for entry in 0..refused + 50 {
            check_entry(&bookie, 1, entry, 1000);
        }
    }
}

#[test]
fn deleting_ledgers_on_a_full_disk_makes_space() {
    let disk = FaultyDisk::new();
    let bookie = open(&disk);
    done(ask(&bookie, create(1, 1)));
    done(ask(&bookie, create(2, 1)));
    disk.space_limit(used(&disk) + small().disk_reserve_bytes + (200 << 10));
    let refused = fill(&bookie, 1, 0);
    done(ask(&bookie, delete(1)));
    let _ = bookie.checkpoint();
    assert!(fill(&bookie, 2, 0) > refused / 4);
    drop(bookie);
    let bookie = open(&disk.reboot(1));
    check_entry(&bookie, 2, 0, 1000);
    assert_eq!(bookie.stats().poisoned, None);
}

#[test]
fn a_term_refused_for_want_of_space_is_not_held() {
    let disk = FaultyDisk::new();
    let bookie = open(&disk);
    done(ask(&bookie, create(1, 1)));
    disk.space_limit(used(&disk) + small().disk_reserve_bytes + (64 << 10));
    let refused = fill(&bookie, 1, 0);
    let higher = add_bytes(1, refused, 9, payload(1, refused, 1000));
    let reply = ask(&bookie, higher);
    assert!(matches!(reply, Reply::Refused(Refusal::DiskFull { .. })), "{reply:?}");
    assert!(matches!(ask(&bookie, fence(1, 2)), Reply::Fenced { .. }), "term 9 was never taken");
}

#[test]
fn the_journal_stays_small_while_entries_go_to_extents() {
    let disk = FaultyDisk::new();
    let bookie = open(&disk);
    done(ask(&bookie, create(1, 1)));
    for entry in 0..300 {
        done(ask(&bookie, add_bytes(1, entry, 1, payload(1, entry, 1000))));
        assert!(bookie.stats().journal_files <= small().journal_files_max + 2);
        assert!(bookie.stats().cached_bytes <= 3 * small().write_cache_bytes);
    }
    assert!(bookie.stats().checkpoints > 10);
    for entry in 0..300 {
        check_entry(&bookie, 1, entry, 1000);
    }
    done(ask(&bookie, delete(1)));
    bookie.checkpoint().unwrap();
    assert_eq!(bookie.stats().extents, 0);
}

#[test]
fn fences_alone_do_not_grow_the_journal_for_ever() {
    let disk = FaultyDisk::new();
    let bookie = open(&disk);
    for ledger in 0..300 {
        assert!(matches!(ask(&bookie, fence(ledger, 7)), Reply::Fenced { .. }));
        // An add gives the checkpoint its turn where there are no threads.
        let _ = ask(&bookie, add(1_000, 0, 1));
    }
    assert!(bookie.stats().journal_files <= small().journal_files_max + 2);
    drop(bookie);
    let bookie = open(&disk.reboot(1));
    for ledger in 0..300 {
        let held = Refusal::StaleTerm { held: Term(7) };
        let reply = ask(&bookie, create(ledger, 6));
        assert!(matches!(&reply, Reply::Refused(refusal) if *refusal == held), "{reply:?}");
    }
}
