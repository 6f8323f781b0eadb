//! What is answered to which request.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;

use super::*;
use crate::message::{Refusal, Unknown, Wake};
use egret_schemas::Incarnation;

#[track_caller]
fn refused(reply: Reply, why: &Refusal) {
    assert!(matches!(&reply, Reply::Refused(refusal) if refusal == why), "{reply:?}");
}

#[test]
fn an_added_entry_is_read_back_also_after_a_restart() {
    let disk = FaultyDisk::new();
    let bookie = open(&disk);
    done(ask(&bookie, create(1, 1)));
    done(ask(&bookie, add(1, 0, 1)));
    check_entry(&bookie, 1, 0, 100);
    drop(bookie);
    let bookie = open(&disk.reboot(1));
    check_entry(&bookie, 1, 0, 100);
    assert!(matches!(ask(&bookie, read(1, 1)), Reply::NoEntry { .. }));
}

#[test]
fn a_lower_term_is_refused_for_ever() {
    let disk = FaultyDisk::new();
    let bookie = open(&disk);
    done(ask(&bookie, create(1, 2)));
    done(ask(&bookie, add(1, 0, 2)));
    let fenced = ask(&bookie, fence(1, 5));
    assert!(matches!(fenced, Reply::Fenced { last: Some(EntryId(0)), .. }), "{fenced:?}");
    let held = Refusal::StaleTerm { held: Term(5) };
    drop(bookie);
    let bookie = open(&disk.reboot(1));
    refused(ask(&bookie, add(1, 1, 4)), &held);
    refused(ask(&bookie, write_lac(1, 4, 0)), &held);
    refused(ask(&bookie, fence(1, 4)), &held);
    refused(ask(&bookie, recovery_read(1, 0, 4)), &held);
    done(ask(&bookie, add(1, 1, 5)));
    check_entry(&bookie, 1, 0, 100);
}

#[test]
fn an_add_with_a_higher_term_raises_it() {
    let disk = FaultyDisk::new();
    let bookie = open(&disk);
    done(ask(&bookie, create(1, 2)));
    done(ask(&bookie, add(1, 0, 7)));
    drop(bookie);
    let bookie = open(&disk.reboot(1));
    refused(ask(&bookie, add(1, 1, 6)), &Refusal::StaleTerm { held: Term(7) });
}

#[test]
fn a_fence_of_an_unknown_ledger_is_kept() {
    let disk = FaultyDisk::new();
    let bookie = open(&disk);
    assert!(matches!(ask(&bookie, fence(9, 3)), Reply::Fenced { lac: None, last: None }));
    assert!(matches!(ask(&bookie, recovery_read(8, 0, 3)), Reply::NoEntry { lac: None }));
    drop(bookie);
    let bookie = open(&disk.reboot(1));
    for ledger in [8, 9] {
        refused(ask(&bookie, create(ledger, 2)), &Refusal::StaleTerm { held: Term(3) });
        refused(ask(&bookie, add(ledger, 0, 3)), &Refusal::NoLedger);
        refused(ask(&bookie, read(ledger, 0)), &Refusal::NoLedger);
        refused(ask(&bookie, read_lac(ledger)), &Refusal::NoLedger);
        done(ask(&bookie, create(ledger, 3)));
        done(ask(&bookie, add(ledger, 0, 3)));
    }
}

#[test]
fn adding_again_is_the_same_or_a_conflict() {
    let bookie = open(&FaultyDisk::new());
    done(ask(&bookie, create(1, 1)));
    done(ask(&bookie, add(1, 0, 1)));
    done(ask(&bookie, add(1, 0, 1)));
    let other = add_bytes(1, 0, 1, Bytes::from_static(b"other"));
    refused(ask(&bookie, other), &Refusal::Conflict);
    done(ask(&bookie, add(1, 0, 4)));
    refused(ask(&bookie, add(1, 1, 3)), &Refusal::StaleTerm { held: Term(4) });
}

#[test]
fn entries_may_come_out_of_order() {
    let bookie = open(&FaultyDisk::new());
    done(ask(&bookie, create(1, 1)));
    done(ask(&bookie, add(1, 5, 1)));
    done(ask(&bookie, add(1, 2, 1)));
    check_entry(&bookie, 1, 2, 100);
    assert!(matches!(ask(&bookie, read(1, 3)), Reply::NoEntry { .. }));
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let bookie = open(&FaultyDisk::new());
    refused(ask(&bookie, add(1, 0, 1)), &Refusal::NoLedger);
    refused(ask(&bookie, read(1, 0)), &Refusal::NoLedger);
    done(ask(&bookie, create(1, 1)));
    refused(ask(&bookie, create(1, 1)), &Refusal::Exists);
    let Request::Add { ledger, entry, term, lac, crc, copy, payload } = add(1, 0, 1) else {
        unreachable!()
    };
    let wrong = Request::Add { ledger, entry, term, lac, crc: crc ^ 1, copy, payload };
    refused(ask(&bookie, wrong), &Refusal::BadCrc);
    let max = crate::caps::ENTRY_BYTES_MAX;
    let large = add_bytes(1, 0, 1, vec![0; max + 1].into());
    refused(ask(&bookie, large), &Refusal::TooLarge { bytes: max + 1, max });
    // The entry of the highest number cannot be there: nobody is told to read behind it.
    let nowhere = Refusal::TooLarge { bytes: 0, max: 0 };
    refused(ask(&bookie, write_lac(1, 1, u64::MAX)), &nowhere);
    let Request::Add { ledger, entry, term, crc, copy, payload, .. } = add(1, 0, 1) else {
        unreachable!()
    };
    let lac = Some(EntryId(u64::MAX));
    refused(ask(&bookie, Request::Add { ledger, entry, term, lac, crc, copy, payload }), &nowhere);
    let stranger = Incarnation(bookie.incarnation().0 ^ 1);
    let reply = bookie.call(stranger, add(1, 0, 1));
    assert!(matches!(reply, Reply::Unknown(Unknown::Incarnation { .. })), "{reply:?}");
}

#[test]
fn a_deleted_ledger_stays_deleted() {
    let disk = FaultyDisk::new();
    let bookie = open(&disk);
    done(ask(&bookie, create(1, 1)));
    done(ask(&bookie, add(1, 0, 1)));
    done(ask(&bookie, delete(1)));
    done(ask(&bookie, delete(1)));
    done(ask(&bookie, delete(2)));
    drop(bookie);
    let bookie = open(&disk.reboot(1));
    for request in [create(1, 9), add(1, 1, 9), read(1, 0), fence(1, 9), read_lac(1), create(2, 1)]
    {
        refused(ask(&bookie, request), &Refusal::Deleted);
    }
    assert_eq!(bookie.stats().cached_entries, 0);
}

#[test]
fn the_lac_never_goes_back() {
    let disk = FaultyDisk::new();
    let bookie = open(&disk);
    let lac = |bookie: &Bookie| match ask(bookie, read_lac(1)) {
        Reply::Lac { lac, .. } => lac,
        other => panic!("{other:?}"),
    };
    done(ask(&bookie, create(1, 1)));
    for entry in 0..4 {
        done(ask(&bookie, add(1, entry, 1)));
    }
    assert_eq!(lac(&bookie), Some(EntryId(2)));
    done(ask(&bookie, write_lac(1, 1, 3)));
    done(ask(&bookie, write_lac(1, 1, 1)));
    assert_eq!(lac(&bookie), Some(EntryId(3)));
    // The next batch carries it.
    done(ask(&bookie, create(2, 1)));
    drop(bookie);
    assert_eq!(lac(&open(&disk.reboot(1))), Some(EntryId(3)));
}

fn counter() -> (Arc<AtomicUsize>, Wake) {
    let count = Arc::new(AtomicUsize::new(0));
    let wakes = Arc::clone(&count);
    (
        count,
        Arc::new(move || {
            wakes.fetch_add(1, Ordering::SeqCst);
        }),
    )
}

#[test]
fn a_watch_wakes_once_when_the_lac_passes_or_the_ledger_ends() {
    let bookie = open(&FaultyDisk::new());
    done(ask(&bookie, create(1, 1)));
    let (count, wake) = counter();
    bookie.watch_lac(LedgerId(1), Some(EntryId(0)), wake);
    done(ask(&bookie, add(1, 0, 1)));
    done(ask(&bookie, add(1, 1, 1)));
    assert_eq!(count.load(Ordering::SeqCst), 0);
    done(ask(&bookie, write_lac(1, 1, 1)));
    done(ask(&bookie, write_lac(1, 1, 2)));
    assert_eq!(count.load(Ordering::SeqCst), 1);
    for end in [fence(1, 2), delete(1)] {
        let (count, wake) = counter();
        bookie.watch_lac(LedgerId(1), Some(EntryId(9)), wake);
        ask(&bookie, end);
        assert_eq!(count.load(Ordering::SeqCst), 1);
    }
    let (count, wake) = counter();
    bookie.watch_lac(LedgerId(1), Some(EntryId(9)), wake);
    assert_eq!(count.load(Ordering::SeqCst), 1, "at once for a deleted ledger");
}

#[test]
fn sends_are_answered_in_order_and_group() {
    let config = BookieConfig { background: true, ..small() };
    let config = BookieConfig { write_cache_bytes: 1 << 20, ..config };
    let bookie = try_open(&FaultyDisk::new(), config).unwrap();
    let own = bookie.incarnation();
    done(ask(&bookie, create(1, 1)));
    let (told, answers) = mpsc::channel();
    for entry in 0..200 {
        let told = told.clone();
        let reply = Box::new(move |reply| told.send((entry, reply)).unwrap());
        bookie.send(own, add(1, entry, 1), reply);
    }
    for expected in 0..200 {
        let (entry, reply) = answers.recv().unwrap();
        assert_eq!(entry, expected);
        done(reply);
    }
    let stats = bookie.stats();
    assert_eq!(stats.records, 201);
    assert!(stats.batches <= 201);
}

#[test]
fn an_answer_may_send_again() {
    let config = BookieConfig { background: true, write_cache_bytes: 1 << 20, ..small() };
    let bookie = try_open(&FaultyDisk::new(), config).unwrap();
    done(ask(&bookie, create(1, 1)));
    let (told, answers) = mpsc::channel();
    chain(&bookie, 0, told);
    assert_eq!(answers.recv().unwrap(), 50);
    check_entry(&bookie, 1, 49, 100);

    fn chain(bookie: &Bookie, entry: u64, told: mpsc::Sender<u64>) {
        if entry == 50 {
            return told.send(entry).unwrap();
        }
        let again = bookie.clone();
        let reply = Box::new(move |reply| {
            done(reply);
            chain(&again, entry + 1, told);
        });
        bookie.send(bookie.incarnation(), add(1, entry, 1), reply);
    }
}

#[test]
fn callers_on_many_threads_share_batches_and_lose_nothing() {
    let config = BookieConfig { background: true, write_cache_bytes: 1 << 20, ..small() };
    let disk = FaultyDisk::new();
    let bookie = try_open(&disk, config).unwrap();
    std::thread::scope(|scope| {
        for ledger in 0..8 {
            let bookie = &bookie;
            scope.spawn(move || {
                done(ask(bookie, create(ledger, 1)));
                for entry in 0..50 {
                    done(ask(bookie, add(ledger, entry, 1)));
                }
            });
        }
    });
    drop(bookie);
    let bookie = open(&disk.reboot(3));
    for ledger in 0..8 {
        for entry in 0..50 {
            check_entry(&bookie, ledger, entry, 100);
        }
    }
}

#[test]
fn a_failed_sync_stops_all_writing_and_no_reading() {
    let disk = FaultyDisk::new();
    let bookie = open(&disk);
    done(ask(&bookie, create(1, 1)));
    done(ask(&bookie, add(1, 0, 1)));
    disk.fail_next_sync();
    let poisoned = |reply: Reply| {
        assert!(matches!(reply, Reply::Unknown(Unknown::Poisoned { .. })), "{reply:?}");
    };
    poisoned(ask(&bookie, add(1, 1, 1)));
    for request in [add(1, 2, 1), fence(1, 2), create(2, 1), delete(1), recovery_read(1, 0, 2)] {
        poisoned(ask(&bookie, request));
    }
    check_entry(&bookie, 1, 0, 100);
    assert!(bookie.stats().poisoned.is_some());
    drop(bookie);
    // Not a power cut: what the failed sync left in the page cache is seen, and made durable.
    let bookie = open(&disk);
    check_entry(&bookie, 1, 0, 100);
    let seen = matches!(ask(&bookie, read(1, 1)), Reply::Entry { .. });
    drop(bookie);
    for seed in 0..20 {
        let bookie = open(&disk.reboot(seed));
        let found = matches!(ask(&bookie, read(1, 1)), Reply::Entry { .. });
        assert_eq!(found, seen, "what was seen once is seen again, seed {seed}");
    }
}

#[test]
fn dropping_a_bookie_with_sends_under_way_answers_each_once() {
    let config = BookieConfig { background: true, write_cache_bytes: 1 << 20, ..small() };
    let bookie = try_open(&FaultyDisk::new(), config).unwrap();
    done(ask(&bookie, create(1, 1)));
    let answers = Arc::new(Mutex::new(vec![0; 100]));
    for (entry, at) in (0..100).zip(0usize..) {
        let answers = Arc::clone(&answers);
        let own = bookie.incarnation();
        let reply = Box::new(move |_| answers.lock().unwrap()[at] += 1);
        bookie.send(own, add(1, entry, 1), reply);
    }
    drop(bookie);
    assert!(answers.lock().unwrap().iter().all(|count| *count == 1));
}

#[test]
fn callers_past_the_queue_bound_wait_and_go_on() {
    let config = BookieConfig { background: true, queue_bytes_max: 1000, ..small() };
    let bookie = try_open(&FaultyDisk::new(), config).unwrap();
    done(ask(&bookie, create(1, 1)));
    let (told, answers) = mpsc::channel();
    for entry in 0..300 {
        let told = told.clone();
        let reply = Box::new(move |reply| told.send(reply).unwrap());
        let request = add_bytes(1, entry, 1, payload(1, entry, 400));
        bookie.send(bookie.incarnation(), request, reply);
        assert!(bookie.stats().queued_bytes <= 1000);
    }
    (0..300).for_each(|_| done(answers.recv().unwrap()));
    assert!(bookie.stats().checkpoints > 0);
    bookie.close().unwrap();
}

#[test]
fn an_entry_larger_than_a_journal_file_gets_one_of_its_own() {
    let disk = FaultyDisk::new();
    let bookie = open(&disk);
    done(ask(&bookie, create(1, 1)));
    let large = 3 * usize::try_from(small().journal_file_bytes).unwrap();
    for (entry, bytes) in [(0, 10), (1, large), (2, 10), (3, large)] {
        done(ask(&bookie, add_bytes(1, entry, 1, payload(1, entry, bytes))));
    }
    drop(bookie);
    let bookie = open(&disk.reboot(1));
    for (entry, bytes) in [(0, 10), (1, large), (2, 10), (3, large)] {
        check_entry(&bookie, 1, entry, bytes);
    }
    bookie.checkpoint().unwrap();
    done(ask(&bookie, create(2, 1)));
    bookie.checkpoint().unwrap();
    for entry in 0..4 {
        assert!(matches!(ask(&bookie, read(1, entry)), Reply::Entry { .. }));
    }
}

#[test]
fn the_lac_is_written_down_when_nothing_comes_for_a_while() {
    let disk = FaultyDisk::new();
    let config = BookieConfig { background: true, idle_mark_ms: 1, ..small() };
    let bookie = try_open(&disk, config).unwrap();
    done(ask(&bookie, create(1, 1)));
    done(ask(&bookie, add(1, 0, 1)));
    done(ask(&bookie, write_lac(1, 1, 0)));
    let before = bookie.stats().records;
    while bookie.stats().records == before && bookie.stats().records < 3 {
        std::thread::yield_now();
    }
    drop(bookie);
    let reply = ask(&open(&disk.reboot(1)), read_lac(1));
    assert!(matches!(reply, Reply::Lac { lac: Some(EntryId(0)), .. }), "{reply:?}");
}

#[test]
fn a_panicking_answer_does_not_stop_the_others() {
    let config = BookieConfig { background: true, ..small() };
    let bookie = try_open(&FaultyDisk::new(), config).unwrap();
    done(ask(&bookie, create(1, 1)));
    bookie.send(bookie.incarnation(), add(1, 0, 1), Box::new(|_| panic!("a client's mistake")));
    let (told, answers) = mpsc::channel();
    let reply = Box::new(move |reply| told.send(reply).unwrap());
    bookie.send(bookie.incarnation(), add(1, 1, 1), reply);
    done(answers.recv().unwrap());
}
