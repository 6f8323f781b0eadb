//! The disk is full: refused by name, nothing lost, and all well again once there is space.

use super::*;
use crate::bookie::Space;
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

/// Marks at 256 and 384 KiB, 64 KiB for copies above a reserve of as much.
fn marked() -> BookieConfig {
    BookieConfig {
        copy_reserve_bytes: 64 << 10,
        disk_low_bytes: 256 << 10,
        disk_high_bytes: 384 << 10,
        ..small()
    }
}

fn is_full(reply: &Reply) -> bool {
    matches!(reply, Reply::Refused(Refusal::DiskFull { .. }))
}

/// An entry of 1,000 bytes, as recovery sends it or a writer.
fn add_kb(ledger: u64, entry: u64, copy: bool) -> Request {
    match add_bytes(ledger, entry, 1, payload(ledger, entry, 1000)) {
        Request::Add { ledger, entry, term, lac, crc, payload, .. } => {
            Request::Add { ledger, entry, term, lac, crc, copy, payload }
        }
        other => other,
    }
}

#[test]
fn as_the_disk_fills_ledgers_are_refused_first_then_adds_then_copies() {
    let disk = FaultyDisk::new();
    let bookie = try_open(&disk, marked()).unwrap();
    done(ask(&bookie, create(1, 1)));
    disk.space_limit(used(&disk) + (400 << 10));
    done(ask(&bookie, create(2, 1)));
    // The entry at which each came to be refused.
    let (mut no_ledger, mut no_add, mut no_copy) = (None, None, None);
    let mut entries = Vec::new();
    for entry in 0..2000 {
        if no_ledger.is_none() && is_full(&ask(&bookie, create(3, 1))) {
            no_ledger = Some(entry);
            assert_eq!(bookie.stats().space, Space::NoLedgers);
        }
        let copy = no_add.is_some();
        match ask(&bookie, add_kb(1, entry, copy)) {
            Reply::Done => entries.push(entry),
            reply if is_full(&reply) && copy => {
                no_copy = Some(entry);
                break;
            }
            reply if is_full(&reply) => {
                assert_eq!(bookie.stats().space, Space::CopiesOnly);
                no_add = Some(entry);
            }
            reply => panic!("{reply:?}"),
        }
    }
    let (no_ledger, no_add, no_copy) = (no_ledger.unwrap(), no_add.unwrap(), no_copy.unwrap());
    assert!(no_ledger + 10 < no_add && no_add + 10 < no_copy, "{no_ledger} {no_add} {no_copy}");
    for entry in entries {
        check_entry(&bookie, 1, entry, 1000);
    }
    assert_eq!(bookie.stats().poisoned, None);
    // With some room adds are taken again, ledgers only with clearly more.
    disk.space_limit(used(&disk) + (300 << 10));
    done(ask(&bookie, add_kb(1, no_copy, false)));
    assert!(is_full(&ask(&bookie, create(5000, 1))));
    assert_eq!(bookie.stats().space, Space::NoLedgers);
    disk.space_limit(used(&disk) + (400 << 10));
    done(ask(&bookie, create(5000, 1)));
    assert_eq!(bookie.stats().space, Space::Roomy);
}

#[test]
fn between_the_marks_what_was_so_stays_so() {
    let disk = FaultyDisk::new();
    let bookie = try_open(&disk, marked()).unwrap();
    let room = |kib: u64| disk.space_limit(used(&disk) + (kib << 10));
    room(300);
    done(ask(&bookie, create(1, 1)));
    room(200);
    assert!(is_full(&ask(&bookie, create(2, 1))));
    room(300);
    assert!(is_full(&ask(&bookie, create(2, 1))));
    room(400);
    done(ask(&bookie, create(2, 1)));
    room(300);
    done(ask(&bookie, create(3, 1)));
}

#[test]
fn a_read_only_bookie_takes_copies_and_reads_until_its_operator_says_so() {
    let disk = FaultyDisk::new();
    let bookie = open(&disk);
    done(ask(&bookie, create(1, 1)));
    done(ask(&bookie, add(1, 0, 1)));
    bookie.set_read_only(true).unwrap();
    let refused = |reply: Reply| {
        assert!(matches!(reply, Reply::Refused(Refusal::ReadOnly)), "{reply:?}");
    };
    drop(bookie);
    let disk = disk.reboot(1);
    let bookie = open(&disk);
    assert!(bookie.stats().read_only);
    refused(ask(&bookie, create(2, 1)));
    refused(ask(&bookie, add(1, 1, 1)));
    done(ask(&bookie, copy(1, 1, 1)));
    check_entry(&bookie, 1, 0, 100);
    assert!(matches!(ask(&bookie, fence(1, 2)), Reply::Fenced { .. }));
    done(ask(&bookie, delete(9)));
    bookie.checkpoint().unwrap();
    bookie.set_read_only(false).unwrap();
    drop(bookie);
    let bookie = open(&disk.reboot(2));
    done(ask(&bookie, create(2, 1)));
    assert!(!bookie.stats().read_only);
}

#[test]
fn a_power_cut_while_the_switch_is_turned_leaves_it_one_way_or_the_other() {
    for on in [true, false] {
        for cut in 0..6 {
            for seed in 0..10 {
                let disk = FaultyDisk::new();
                let bookie = open(&disk);
                bookie.set_read_only(!on).unwrap();
                disk.crash_after(disk.operations() + cut);
                let turned = bookie.set_read_only(on).is_ok();
                drop(bookie);
                let found = open(&disk.reboot(seed)).stats().read_only;
                assert!(found == on || !turned, "{on} cut {cut} seed {seed}");
            }
        }
    }
}
