//! A bookie of several shards: one directory, several journals, each failing for itself.

use std::sync::mpsc;

use super::*;
use crate::bookie::shards::of;
use crate::disk::Disk;
use crate::message::Unknown;

fn three() -> BookieConfig {
    BookieConfig { shards: 3, ..small() }
}

/// A ledger of each shard.
fn one_each() -> Vec<u64> {
    (0..3).map(|shard| (1..).find(|ledger| of(LedgerId(*ledger), 3) == shard).unwrap()).collect()
}

fn live(disk: &FaultyDisk, config: BookieConfig) -> Bookie {
    let bookie = try_open(disk, config).unwrap();
    for ledger in one_each() {
        done(ask(&bookie, create_replicated(ledger, 1)));
        for entry in 0..30 {
            done(ask(&bookie, add(ledger, entry, 1)));
        }
    }
    bookie
}

#[track_caller]
fn check_all(bookie: &Bookie) {
    for ledger in one_each() {
        (0..30).for_each(|entry| check_entry(bookie, ledger, entry, 100));
    }
}

#[test]
fn every_ledger_is_found_in_its_shard_again() {
    let disk = FaultyDisk::new();
    drop(live(&disk, three()));
    // How many there are was fixed when the directory was formatted.
    for shards in [1, 3, 9] {
        let bookie = try_open(&disk.reboot(1), BookieConfig { shards, ..small() }).unwrap();
        check_all(&bookie);
        assert_eq!(bookie.shard_stats().len(), 3);
        assert!(bookie.shard_stats().iter().all(|stats| stats.ledgers == 1));
        assert_eq!(bookie.stats().ledgers, 3);
        bookie.checkpoint().unwrap();
        assert!(bookie.scrub().is_empty());
        bookie.close().unwrap();
    }
}

#[test]
fn a_poisoned_shard_says_so_and_the_others_go_on() {
    let disk = FaultyDisk::new();
    let bookie = live(&disk, three());
    let ledgers = one_each();
    disk.fail_next_sync();
    let poisoned = |reply: Reply| {
        assert!(matches!(reply, Reply::Unknown(Unknown::Poisoned { .. })), "{reply:?}");
    };
    poisoned(ask(&bookie, add(ledgers[1], 30, 1)));
    poisoned(ask(&bookie, add(ledgers[1], 31, 1)));
    for ledger in [ledgers[0], ledgers[2]] {
        done(ask(&bookie, add(ledger, 30, 1)));
        check_entry(&bookie, ledger, 30, 100);
    }
    check_all(&bookie);
    let stats = bookie.stats();
    assert_eq!(stats.poisoned_shards, 1);
    assert!(stats.poisoned.unwrap().contains("shard01"));
    assert!(bookie.checkpoint().is_err());
    assert!(bookie.shard_stats()[2].checkpoints > 0, "the others were checkpointed all the same");
    drop(bookie);
    let bookie = try_open(&disk.reboot(1), three()).unwrap();
    check_all(&bookie);
    check_entry(&bookie, ledgers[0], 30, 100);
    assert_eq!(bookie.stats().poisoned_shards, 0);
}

#[test]
fn a_shard_that_lost_everything_is_noticed() {
    let disk = FaultyDisk::new();
    drop(live(&disk, three()));
    for (file, _) in disk.files() {
        if file.starts_with("/b/shard02") {
            disk.remove(&file).unwrap();
        }
    }
    let error = try_open(&disk, three()).unwrap_err();
    assert!(matches!(&error, OpenError::Damaged(damage) if damage.file.starts_with("/b/shard02")));
}

#[test]
fn what_is_about_all_of_a_bookie_reaches_every_shard() {
    let disk = FaultyDisk::new();
    let bookie = live(&disk, three());
    bookie.checkpoint().unwrap();
    drop(bookie);
    let files = disk.files().into_iter().map(|(path, _)| path);
    for file in files.filter(|path| path.parent().is_some_and(|dir| dir.ends_with("extents"))) {
        disk.remove(&file).unwrap();
    }
    let bookie = try_open(&disk, three()).unwrap();
    assert_eq!(bookie.limbo().len(), 3);
    let bound = |below| Request::LimboBound { below: LedgerId(below) };
    done(ask(&bookie, bound(50)));
    assert!(bookie.shard_stats().iter().all(|stats| stats.limbo_below == 50));
    let (told, answers) = mpsc::channel();
    let reply = Box::new(move |reply| told.send(reply).unwrap());
    bookie.send(bookie.incarnation(), bound(7), reply);
    done(answers.recv().unwrap());
    assert!(answers.recv().is_err(), "one answer");
    assert!(bookie.shard_stats().iter().all(|stats| stats.limbo_below == 7));
}

#[test]
fn no_power_cut_loses_what_any_shard_acknowledged() {
    for cut in (0..240).step_by(3) {
        let disk = FaultyDisk::new();
        disk.crash_after(cut);
        let mut told = Vec::new();
        if let Ok(bookie) = try_open(&disk, three()) {
            let ledgers = one_each();
            for ledger in &ledgers {
                let _ = ask(&bookie, create(*ledger, 1));
            }
            for entry in 0..20 {
                for ledger in &ledgers {
                    let bytes = payload(*ledger, entry, 700);
                    let reply = ask(&bookie, add_bytes(*ledger, entry, 1, bytes));
                    if matches!(reply, Reply::Done) {
                        told.push((*ledger, entry));
                    }
                }
            }
        }
        for seed in 0..4 {
            let bookie = try_open(&disk.reboot(seed), three())
                .unwrap_or_else(|error| panic!("cut {cut} seed {seed}: {error}"));
            for (ledger, entry) in &told {
                check_entry(&bookie, *ledger, *entry, 700);
            }
        }
    }
}

#[test]
fn answers_that_ask_other_shards_never_wait_for_each_other() {
    let config = BookieConfig { background: true, queue_bytes_max: 300, ..three() };
    let bookie = try_open(&FaultyDisk::new(), config).unwrap();
    let ledgers = one_each();
    for ledger in &ledgers {
        done(ask(&bookie, create(*ledger, 1)));
    }
    let (told, answers) = mpsc::channel();
    for entry in 0..60 {
        for (at, ledger) in ledgers.iter().enumerate() {
            let (again, told) = (bookie.clone(), told.clone());
            let next = ledgers[(at + 1) % 3];
            let reply = Box::new(move |reply| {
                done(reply);
                let reply = Box::new(move |reply| told.send(reply).unwrap());
                let (own, add) = (again.incarnation(), add(next, 1000 + entry, 1));
                again.send(own, add, reply);
            });
            bookie.send(bookie.incarnation(), add(*ledger, entry, 1), reply);
        }
    }
    (0..180).for_each(|_| done(answers.recv().unwrap()));
}
