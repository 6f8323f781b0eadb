//! Reads at the tail and reads that catch up.

use std::sync::mpsc;

use super::*;
use crate::caps;
use crate::message::{RangeEntry, Refusal, Unknown};

fn range(ledger: u64, from: u64, entries_max: u32, bytes_max: u32) -> Request {
    let (ledger, from) = (LedgerId(ledger), EntryId(from));
    Request::ReadRange { ledger, from, entries_max, bytes_max }
}

/// The numbers of the entries answered, whose bytes are checked.
#[track_caller]
fn numbers(ledger: u64, bytes: usize, reply: Reply) -> Vec<u64> {
    let Reply::Entries { entries, .. } = reply else { panic!("{reply:?}") };
    let check = |entry: &RangeEntry| {
        let number = entry.entry.0;
        assert_eq!(entry.payload, payload(ledger, number, bytes));
        assert_eq!(entry.crc, entry_crc(LedgerId(ledger), entry.entry, &entry.payload));
        number
    };
    entries.iter().map(check).collect()
}

#[test]
fn a_tail_reader_reads_no_disk_whatever_is_checkpointed_meanwhile() {
    let disk = FaultyDisk::new();
    let config = BookieConfig { tail_cache_bytes: 2 << 10, ..small() };
    let bookie = try_open(&disk, config).unwrap();
    done(ask(&bookie, create(1, 1)));
    let before = disk.reads();
    for entry in 0..300 {
        done(ask(&bookie, add(1, entry, 1)));
        // Sealing and opening an extent reads its footer; a reader's reads are counted apart.
        let reads = disk.reads();
        check_entry(&bookie, 1, entry, 100);
        check_entry(&bookie, 1, entry.saturating_sub(1), 100);
        let row = numbers(1, 100, ask(&bookie, range(1, entry.saturating_sub(2), 9, 9000)));
        assert_eq!(row.last(), Some(&entry));
        assert_eq!(disk.reads(), reads, "entry {entry}");
    }
    let stats = bookie.stats();
    assert!(stats.checkpoints > 5, "{stats:?}");
    assert_eq!(stats.catch_up_reads, (0, 0));
    assert!(stats.tail_reads.0 >= 3 * 300);
    assert!(disk.reads() - before < 10 * stats.checkpoints);
}

#[test]
fn a_cold_scan_takes_one_read_of_the_disk_for_many_entries() {
    let disk = FaultyDisk::new();
    let config = BookieConfig { write_cache_bytes: 1 << 20, journal_files_max: 100, ..small() };
    let bookie = try_open(&disk, config).unwrap();
    done(ask(&bookie, create(1, 1)));
    for half in 0..2 {
        for entry in 0..500 {
            done(ask(&bookie, add(1, half * 500 + entry, 1)));
        }
        bookie.checkpoint().unwrap();
    }
    drop(bookie);
    let bookie = open(&disk);
    let reads = disk.reads();
    let (mut next, mut requests) = (0, 0);
    while next < 1000 {
        let row = numbers(1, 100, ask(&bookie, range(1, next, 200, 1 << 20)));
        assert_eq!(row[0], next);
        assert!(row.windows(2).all(|pair| pair[0] + 1 == pair[1]));
        next += row.len() as u64;
        requests += 1;
    }
    assert_eq!(next, 1000);
    assert!(requests <= 6, "{requests}");
    // One for each row, one for each run's table.
    assert!(disk.reads() - reads <= requests + 3, "{}", disk.reads() - reads);
    assert_eq!(bookie.stats().catch_up_reads, (1000, 100_000));
    assert!(matches!(ask(&bookie, range(1, 1000, 5, 1000)), Reply::NoEntry { .. }));
}

#[test]
fn a_row_goes_from_the_medium_into_memory_and_ends_at_a_gap() {
    let bookie = open(&FaultyDisk::new());
    done(ask(&bookie, create(1, 1)));
    for entry in [0, 1, 2, 5, 6] {
        done(ask(&bookie, add(1, entry, 1)));
    }
    bookie.checkpoint().unwrap();
    for entry in [3, 7] {
        done(ask(&bookie, add(1, entry, 1)));
    }
    let row = |from, entries, bytes| numbers(1, 100, ask(&bookie, range(1, from, entries, bytes)));
    assert_eq!(row(0, 100, 10_000), [0, 1, 2, 3]);
    assert_eq!(row(5, 100, 10_000), [5, 6, 7]);
    assert_eq!(row(0, 2, 10_000), [0, 1]);
    assert_eq!(row(1, 0, 0), [1], "one at least");
    assert!(matches!(ask(&bookie, range(1, 4, 9, 9000)), Reply::NoEntry { .. }));
    let unknown = ask(&bookie, range(2, 0, 9, 9000));
    assert!(matches!(unknown, Reply::Refused(Refusal::NoLedger)), "{unknown:?}");
}

#[test]
fn a_row_keeps_within_its_bytes_and_the_limits() {
    let disk = FaultyDisk::new();
    let config = BookieConfig { tail_cache_bytes: 0, ..small() };
    let bookie = try_open(&disk, config).unwrap();
    done(ask(&bookie, create(1, 1)));
    for entry in 0..40 {
        done(ask(&bookie, add_bytes(1, entry, 1, payload(1, entry, 1000))));
    }
    for checkpointed in [false, true] {
        if checkpointed {
            bookie.checkpoint().unwrap();
        }
        for (bytes, at_most) in [(0, 1), (1000, 1), (2500, 2), (10_500, 10)] {
            for from in [0, 17, 30] {
                let row = numbers(1, 1000, ask(&bookie, range(1, from, u32::MAX, bytes)));
                assert!((1..=at_most).contains(&row.len()), "{bytes} {from}: {row:?}");
            }
        }
        let row = numbers(1, 1000, ask(&bookie, range(1, 0, u32::MAX, u32::MAX)));
        assert!(row.len() <= caps::READ_ENTRIES_MAX as usize);
    }
}

/// How much of history is read at a time is a matter of pace; what is in memory costs no read.
#[test]
fn a_row_in_memory_is_whole_whatever_is_appended_beside_it() {
    let config = BookieConfig {
        background: true,
        write_cache_bytes: 8 << 20,
        journal_file_bytes: 8 << 20,
        tail_cache_bytes: 8 << 20,
        ..small()
    };
    let bookie = try_open(&FaultyDisk::new(), config).unwrap();
    done(ask(&bookie, create(1, 1)));
    let bytes = 100 << 10;
    for entry in 0..8 {
        done(ask(&bookie, add_bytes(1, entry, 1, payload(1, entry, bytes))));
    }
    let row = numbers(1, bytes, ask(&bookie, range(1, 0, 99, 4 << 20)));
    assert_eq!(row, (0..8).collect::<Vec<u64>>());
}

#[test]
fn a_row_ends_before_damage_and_the_next_says_so() {
    let disk = FaultyDisk::new();
    let config = BookieConfig { tail_cache_bytes: 0, ..small() };
    let bookie = try_open(&disk, config).unwrap();
    done(ask(&bookie, create(1, 1)));
    for entry in 0..8 {
        done(ask(&bookie, add(1, entry, 1)));
    }
    bookie.checkpoint().unwrap();
    let slot = (40u64 + 100).next_multiple_of(8);
    disk.flip(&PathBuf::from("/b/extents/X0000000000000000"), 4096 + 3 * slot + 60, 1);
    assert_eq!(numbers(1, 100, ask(&bookie, range(1, 0, 99, 9999))), [0, 1, 2]);
    let damaged = ask(&bookie, range(1, 3, 99, 9999));
    assert!(matches!(damaged, Reply::Unknown(Unknown::Damaged { .. })), "{damaged:?}");
    assert_eq!(bookie.damaged()[0].entry.unwrap().entry, EntryId(3));
    assert_eq!(numbers(1, 100, ask(&bookie, range(1, 4, 99, 9999))), [4, 5, 6, 7]);
    // Mended, the row is whole again, over both places.
    done(ask(&bookie, copy(1, 3, 1)));
    assert_eq!(numbers(1, 100, ask(&bookie, range(1, 3, 99, 9999))), [3, 4, 5, 6, 7]);
}

#[test]
fn history_is_charged_with_what_was_read_of_it_and_not_with_what_was_asked_for() {
    let disk = FaultyDisk::new();
    let config = BookieConfig { background: true, read_threads: 1, ..small() };
    let bookie = try_open(&disk, config).unwrap();
    done(ask(&bookie, create(1, 1)));
    for entry in 0..60 {
        done(ask(&bookie, add(1, entry, 1)));
    }
    bookie.checkpoint().unwrap();
    let (told, answers) = mpsc::channel();
    for _ in 0..2 {
        let told = told.clone();
        let reply = Box::new(move |reply| told.send(reply).unwrap());
        bookie.send(bookie.incarnation(), range(1, 0, 40, u32::MAX), reply);
    }
    // One thread reads: when the second is answered, the first is booked.
    for _ in 0..2 {
        assert_eq!(numbers(1, 100, answers.recv().unwrap()).len(), 40);
    }
    let charged: u64 = bookie.shards.iter().map(|shard| shard.charged_reads()).sum();
    assert!([4000, 8000].contains(&charged), "{charged}");
}

#[test]
fn catch_up_reads_that_are_sent_have_a_thread_and_a_bound() {
    let disk = FaultyDisk::new();
    let config = BookieConfig { background: true, read_threads: 2, ..small() };
    let bookie = try_open(&disk, config).unwrap();
    done(ask(&bookie, create(1, 1)));
    for entry in 0..100 {
        done(ask(&bookie, add(1, entry, 1)));
    }
    bookie.checkpoint().unwrap();
    let own = bookie.incarnation();
    let (told, answers) = mpsc::channel();
    for _ in 0..200 {
        let told = told.clone();
        let reply = Box::new(move |reply| told.send(reply).unwrap());
        bookie.send(own, range(1, 0, 50, u32::MAX), reply);
    }
    // Adds are answered whatever waits to be read.
    done(ask(&bookie, add(1, 100, 1)));
    let (mut served, mut told_to_wait) = (0, 0);
    for _ in 0..200 {
        match answers.recv().unwrap() {
            Reply::Refused(Refusal::Overloaded { .. }) => told_to_wait += 1,
            reply => {
                assert_eq!(numbers(1, 100, reply).first(), Some(&0));
                served += 1;
            }
        }
    }
    assert!(served > 0 && served + told_to_wait == 200);
    assert_eq!(bookie.stats().catch_up_reads.0 + bookie.stats().tail_reads.0, served * 50);
}
