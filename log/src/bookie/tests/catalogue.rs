//! Bugs that other stores had, tried here: the rows of `docs/007-storage-bugs-not-repeated.md` and of
//! `docs/009-protocol-and-metadata-bugs-not-repeated.md` that no other test holds.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use super::*;
use crate::message::Refusal;

#[test]
fn no_negative_answer_leaves_before_its_fence_is_durable() {
    for request in [recovery_read(5, 0, 3), fence(5, 3), recovery_read(1, 7, 3)] {
        let mut cut = 0;
        loop {
            let disk = FaultyDisk::new();
            let bookie = open(&disk);
            done(ask(&bookie, create(1, 1)));
            disk.crash_after(disk.operations() + cut);
            let reply = ask(&bookie, request.clone());
            let answered = matches!(reply, Reply::NoEntry { .. } | Reply::Fenced { .. });
            assert_eq!(answered, !disk.is_cut(), "{reply:?}");
            drop(bookie);
            let ledger = request.ledger().unwrap().0;
            for seed in 0..8 {
                let bookie = open(&disk.reboot(seed));
                let reply = ask(&bookie, fence(ledger, 2));
                let held = matches!(reply, Reply::Refused(Refusal::StaleTerm { .. }));
                assert!(held || !answered, "cut {cut} seed {seed}: {reply:?}");
            }
            if answered {
                break;
            }
            cut += 1;
        }
        assert!(cut > 0);
    }
}

#[test]
fn a_checkpoint_that_failed_is_not_taken_for_done_when_nothing_more_comes() {
    for operation in 0..12 {
        let disk = FaultyDisk::new();
        let bookie = open(&disk);
        done(ask(&bookie, create(1, 1)));
        done(ask(&bookie, add(1, 0, 1)));
        assert!(matches!(ask(&bookie, fence(2, 9)), Reply::Fenced { .. }));
        disk.crash_after(disk.operations() + operation);
        let first = bookie.checkpoint();
        let again = bookie.checkpoint();
        assert!(first.is_ok() || again.is_err(), "it stays failed until a restart");
        drop(bookie);
        for seed in 0..6 {
            let bookie = open(&disk.reboot(seed));
            check_entry(&bookie, 1, 0, 100);
            let reply = ask(&bookie, create(2, 8));
            assert!(matches!(reply, Reply::Refused(Refusal::StaleTerm { .. })), "{reply:?}");
        }
    }
}

#[test]
fn a_failed_sync_of_an_extent_or_manifest_keeps_the_journal() {
    for syncs in 0..4 {
        let disk = FaultyDisk::new();
        let bookie = open(&disk);
        done(ask(&bookie, create(1, 1)));
        for entry in 0..10 {
            done(ask(&bookie, add(1, entry, 1)));
        }
        for _ in 0..syncs {
            bookie.checkpoint().unwrap();
        }
        done(ask(&bookie, add(1, 10, 1)));
        disk.fail_next_sync();
        assert!(bookie.checkpoint().is_err());
        assert!(bookie.checkpoint().is_err(), "no second try on the same data");
        assert!(bookie.stats().poisoned.is_some());
        assert!(bookie.close().is_err(), "a stop that left work undone is not a success");
        let bookie = open(&disk.reboot(syncs));
        (0..11).for_each(|entry| check_entry(&bookie, 1, entry, 100));
    }
}

#[test]
fn copies_of_what_is_there_take_no_space_however_often_they_come() {
    let disk = FaultyDisk::new();
    let config = BookieConfig { tail_cache_bytes: 0, ..small() };
    let bookie = try_open(&disk, config).unwrap();
    done(ask(&bookie, create_replicated(1, 1)));
    for entry in 0..20 {
        done(ask(&bookie, add(1, entry, 1)));
    }
    bookie.checkpoint().unwrap();
    let before = bookie.stats();
    for _ in 0..5 {
        for entry in 0..20 {
            done(ask(&bookie, copy(1, entry, 1)));
        }
    }
    bookie.checkpoint().unwrap();
    let after = bookie.stats();
    assert_eq!(after.cached_bytes, 0);
    assert_eq!((after.extent_bytes, after.records), (before.extent_bytes, before.records));
}

#[test]
fn numbers_beyond_32_and_63_bits_are_numbers_like_others() {
    let disk = FaultyDisk::new();
    let bookie = open(&disk);
    let large = [0, (1 << 31) - 1, 1 << 31, (1 << 32) + 1, 1 << 40, 1 << 63, u64::MAX - 1];
    for ledger in [1 << 33, u64::MAX] {
        done(ask(&bookie, create(ledger, 1 << 41)));
        for entry in large {
            done(ask(&bookie, add(ledger, entry, 1 << 41)));
        }
    }
    for checkpoint in [false, true] {
        if checkpoint {
            bookie.checkpoint().unwrap();
        }
        drop(open(&disk.reboot(1)));
        let bookie = open(&disk.reboot(2));
        for ledger in [1 << 33, u64::MAX] {
            for entry in large {
                check_entry(&bookie, ledger, entry, 100);
            }
            assert!(matches!(ask(&bookie, read(ledger, 1)), Reply::NoEntry { .. }));
        }
    }
}

#[test]
fn appends_never_change_the_length_of_a_journal_file() {
    let disk = FaultyDisk::new();
    let bookie = open(&disk);
    done(ask(&bookie, create(1, 1)));
    for entry in 0..100 {
        done(ask(&bookie, add(1, entry, 1)));
        for (file, bytes) in disk.files() {
            if file.starts_with("/b/journal") {
                assert_eq!(bytes, small().journal_file_bytes, "{}", file.display());
            }
        }
    }
}

#[test]
fn numbers_of_extents_only_rise() {
    let disk = FaultyDisk::new();
    let highest = |disk: &FaultyDisk| {
        let files = disk.files().into_iter().map(|(path, _)| path);
        files.filter(|path| path.starts_with("/b/extents")).max()
    };
    let mut last = None;
    for round in 0..6 {
        let bookie = open(&disk);
        done(ask(&bookie, create(round, 1)));
        done(ask(&bookie, create(100 + round, 1)));
        for entry in 0..10 {
            done(ask(&bookie, add(round, entry, 1)));
        }
        done(ask(&bookie, add(100 + round, 0, 1)));
        bookie.checkpoint().unwrap();
        let written = highest(&disk);
        assert!(written > last);
        done(ask(&bookie, delete(round)));
        bookie.compact().unwrap();
        last = highest(&disk);
        assert!(last > written);
    }
}

#[test]
fn adds_never_create_a_ledger_and_a_number_is_never_used_again() {
    let disk = FaultyDisk::new();
    let bookie = open(&disk);
    for request in [add(1, 0, 9), copy(1, 0, 9), write_lac(1, 9, 0)] {
        let reply = ask(&bookie, request);
        assert!(matches!(reply, Reply::Refused(Refusal::NoLedger)), "{reply:?}");
    }
    assert_eq!(bookie.stats().ledgers, 0);
    done(ask(&bookie, create(1, 1)));
    done(ask(&bookie, delete(1)));
    bookie.checkpoint().unwrap();
    drop(bookie);
    let bookie = open(&disk.reboot(1));
    for request in [create(1, 99), add(1, 0, 99), copy(1, 0, 99)] {
        let reply = ask(&bookie, request);
        assert!(matches!(reply, Reply::Refused(Refusal::Deleted)), "{reply:?}");
    }
}

/// Elsewhere an add and a fence that came at the same moment locked two objects made for one ledger.
#[test]
fn an_add_and_a_fence_at_the_same_moment_come_one_after_the_other() {
    let config = BookieConfig { background: true, write_cache_bytes: 1 << 20, ..small() };
    let bookie = try_open(&FaultyDisk::new(), config).unwrap();
    for ledger in 0..60 {
        done(ask(&bookie, create(ledger, 1)));
        let fenced = AtomicBool::new(false);
        let (highest, last) = std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                let mut highest = None;
                for entry in 0.. {
                    let late = fenced.load(Ordering::SeqCst);
                    match ask(&bookie, add(ledger, entry, 1)) {
                        Reply::Done => {
                            assert!(!late, "L{ledger}:{entry} was let in behind a fence")
                        }
                        Reply::Refused(Refusal::StaleTerm { .. }) => break,
                        other => panic!("{other:?}"),
                    }
                    highest = Some(EntryId(entry));
                }
                highest
            });
            let reply = ask(&bookie, fence(ledger, 2));
            fenced.store(true, Ordering::SeqCst);
            let Reply::Fenced { last, .. } = reply else { panic!("{reply:?}") };
            (writer.join().unwrap(), last)
        });
        assert_eq!(highest, last, "L{ledger}: what the fence found is all that was acknowledged");
    }
    // And one right behind the other, before the first is durable.
    for ledger in 100..160 {
        done(ask(&bookie, create(ledger, 1)));
        let (told, tells) = sync_channel(2);
        for request in [fence(ledger, 2), add(ledger, 0, 1)] {
            let told = told.clone();
            let reply = Box::new(move |reply| told.send(reply).unwrap());
            bookie.send(bookie.incarnation(), request, reply);
        }
        let next = || tells.recv_timeout(Duration::from_secs(20)).unwrap();
        let replies = [next(), next()];
        let refused = |reply: &&Reply| matches!(reply, Reply::Refused(Refusal::StaleTerm { .. }));
        assert_eq!(replies.iter().filter(refused).count(), 1, "L{ledger}: {replies:?}");
    }
}
