//! Durable data was lost where other bookies have copies: what is there is served, what is not is never
//! denied.

use std::path::Path;

use super::*;
use crate::bookie::journal::format::BatchHeader;
use crate::disk::{Disk, OpenHow};
use crate::message::{Refusal, Unknown};

const ENTRIES: u64 = 6;

#[track_caller]
fn in_limbo(reply: Reply) {
    assert!(matches!(reply, Reply::Unknown(Unknown::Limbo)), "{reply:?}");
}

fn clear(ledger: u64, term: u64) -> Request {
    Request::ClearLimbo { ledger: LedgerId(ledger), term: Term(term) }
}

fn bound(below: u64) -> Request {
    Request::LimboBound { below: LedgerId(below) }
}

/// The last journal file and where its batches start, in order.
fn batches(disk: &FaultyDisk) -> (PathBuf, Vec<u64>) {
    let mut names = disk.files().into_iter().map(|(path, _)| path);
    let file = names.rfind(|path| path.to_string_lossy().contains("/journal/J")).unwrap();
    let bytes = disk.bytes(&file).unwrap();
    let blocks = (0u64..).zip(bytes.chunks(4096));
    let headed =
        blocks.filter_map(|(at, block)| Some((BatchHeader::decode(block).ok()?.0.lsn, at)));
    let mut found: Vec<_> = headed.collect();
    found.sort_unstable();
    (file, found.into_iter().map(|(_, at)| at * 4096).collect())
}

/// One journal file is enough.
fn large_file() -> BookieConfig {
    BookieConfig { journal_file_bytes: 256 << 10, ..small() }
}

/// Two ledgers with copies, some of their entries in an extent, the rest in the journal.
fn live(disk: &FaultyDisk) -> Bookie {
    live_with(disk, large_file())
}

fn live_with(disk: &FaultyDisk, config: BookieConfig) -> Bookie {
    let bookie = try_open(disk, config).unwrap();
    for ledger in [1, 2] {
        done(ask(&bookie, create_replicated(ledger, 1)));
    }
    for entry in 0..ENTRIES {
        done(ask(&bookie, add(1, entry, 1)));
        done(ask(&bookie, add(2, entry, 1)));
        if entry == 2 {
            bookie.checkpoint().unwrap();
        }
    }
    bookie
}

/// [`live`], and the batch of the add of `L1:4` is no longer as written.
fn lost(disk: &FaultyDisk) {
    drop(live(disk));
    let (file, at) = batches(disk);
    disk.flip(&file, at[at.len() - 4] + 100, 1);
}

#[test]
fn a_lost_batch_is_never_denied_and_what_is_there_is_served() {
    let disk = FaultyDisk::new();
    lost(&disk);
    for _ in 0..2 {
        let bookie = open(&disk);
        assert_eq!(bookie.limbo()[..2], [LedgerId(1), LedgerId(2)]);
        for ledger in [1, 2] {
            (0..4).for_each(|entry| check_entry(&bookie, ledger, entry, 100));
            for entry in 4..8 {
                in_limbo(ask(&bookie, read(ledger, entry)));
                in_limbo(ask(&bookie, recovery_read(ledger, entry, 2)));
            }
            in_limbo(ask(&bookie, write_lac(ledger, 2, 5)));
            in_limbo(ask(&bookie, add(ledger, 4, 2)));
            assert!(matches!(ask(&bookie, fence(ledger, 2)), Reply::Fenced { .. }));
            let stale = ask(&bookie, add(ledger, 4, 1));
            assert!(matches!(stale, Reply::Refused(Refusal::StaleTerm { .. })), "{stale:?}");
        }
        // What was never here, as far as it knows, may have been created and lost.
        in_limbo(ask(&bookie, read(9, 0)));
        in_limbo(ask(&bookie, read_lac(9)));
        in_limbo(ask(&bookie, add(9, 0, 1)));
        in_limbo(ask(&bookie, recovery_read(8, 0, 3)));
    }
}

#[test]
fn the_old_writer_is_shut_out_until_the_ledger_is_closed() {
    let disk = FaultyDisk::new();
    lost(&disk);
    let bookie = open(&disk);
    in_limbo(ask(&bookie, add(1, 4, 1)));
    in_limbo(ask(&bookie, write_lac(1, 1, 5)));
    assert!(matches!(ask(&bookie, read_lac(1)), Reply::Lac { .. }));
    // The fence that was lost was of term 5; recovery at that term goes on, with copies.
    done(ask(&bookie, copy(1, 4, 5)));
    check_entry(&bookie, 1, 4, 100);
    in_limbo(ask(&bookie, read(1, 5)));
}

#[test]
fn a_cleared_ledger_denies_again_also_after_a_restart() {
    let disk = FaultyDisk::new();
    lost(&disk);
    let bookie = open(&disk);
    for entry in 4..ENTRIES {
        done(ask(&bookie, copy(1, entry, 2)));
    }
    let stale = ask(&bookie, clear(1, 1));
    assert!(matches!(stale, Reply::Refused(Refusal::StaleTerm { .. })), "{stale:?}");
    done(ask(&bookie, clear(1, 3)));
    done(ask(&bookie, clear(1, 3)));
    drop(bookie);
    let disk = disk.reboot(1);
    for checkpoint in [false, true] {
        let bookie = open(&disk);
        if checkpoint {
            bookie.checkpoint().unwrap();
        }
        (0..ENTRIES).for_each(|entry| check_entry(&bookie, 1, entry, 100));
        assert!(matches!(ask(&bookie, read(1, ENTRIES)), Reply::NoEntry { .. }));
        let stale = ask(&bookie, add(1, ENTRIES, 2));
        assert!(matches!(stale, Reply::Refused(Refusal::StaleTerm { .. })), "{stale:?}");
        in_limbo(ask(&bookie, read(2, 5)));
        assert_eq!(bookie.stats().limbo, 1);
    }
}

#[test]
fn a_ledger_that_may_have_been_created_and_lost_is_in_limbo_until_the_bound_says_otherwise() {
    let disk = FaultyDisk::new();
    lost(&disk);
    let bookie = open(&disk);
    // Recovery brings back what was lost with its creation.
    done(ask(&bookie, create_replicated(5, 1)));
    done(ask(&bookie, copy(5, 0, 1)));
    in_limbo(ask(&bookie, read(5, 1)));
    done(ask(&bookie, bound(20)));
    for (disk, checkpoint) in [(disk.reboot(1), false), (disk.reboot(2), true)] {
        let bookie = open(&disk);
        if checkpoint {
            bookie.checkpoint().unwrap();
        }
        in_limbo(ask(&bookie, read(19, 0)));
        in_limbo(ask(&bookie, read(5, 1)));
        let never = ask(&bookie, read(20, 0));
        assert!(matches!(never, Reply::Refused(Refusal::NoLedger)), "{never:?}");
        assert!(matches!(ask(&bookie, recovery_read(21, 0, 1)), Reply::NoEntry { .. }));
        done(ask(&bookie, create_replicated(22, 1)));
        done(ask(&bookie, add(22, 0, 1)));
        assert!(matches!(ask(&bookie, read(22, 1)), Reply::NoEntry { .. }));
        // The bound never rises.
        done(ask(&bookie, bound(30)));
        assert_eq!(bookie.stats().limbo_below, 20);
        done(ask(&bookie, bound(0)));
        let never = ask(&bookie, read(19, 0));
        assert!(matches!(never, Reply::Refused(Refusal::NoLedger)), "{never:?}");
    }
}

#[test]
fn with_one_copy_here_a_start_refuses_instead() {
    let disk = FaultyDisk::new();
    let bookie = live(&disk);
    for request in [create(3, 1), add(3, 0, 1), add(3, 1, 1)] {
        done(ask(&bookie, request));
    }
    drop(bookie);
    let (file, at) = batches(&disk);
    disk.flip(&file, at[at.len() - 2] + 100, 1);
    let error = try_open(&disk, small()).unwrap_err();
    assert!(matches!(error, OpenError::Damaged(_)), "{error}");
}

#[test]
fn a_torn_tail_is_cut_and_leaves_nobody_in_limbo() {
    let disk = FaultyDisk::new();
    drop(live(&disk));
    let (file, at) = batches(&disk);
    disk.flip(&file, at[at.len() - 1] + 100, 1);
    let bookie = open(&disk);
    assert!(bookie.limbo().is_empty());
    assert!(matches!(ask(&bookie, read(2, ENTRIES - 1)), Reply::NoEntry { .. }));
}

#[test]
fn a_missing_file_of_journal_or_extents_means_limbo() {
    let disk = FaultyDisk::new();
    drop(live_with(&disk, small()));
    let mut tried = 0;
    for (file, _) in disk.files() {
        let dir = file.parent().unwrap();
        if file.extension().is_some() || dir == super::dir() {
            continue;
        }
        tried += 1;
        let disk = disk.reboot(0);
        disk.remove(&file).unwrap();
        disk.sync_dir(dir).unwrap();
        for seed in 0..2 {
            let bookie = open(&disk.reboot(seed));
            assert_eq!(bookie.stats().limbo, 2, "{} is missing", file.display());
            never_denied(&bookie);
            assert!(bookie.scrub().is_empty());
        }
    }
    assert!(tried >= 3, "{tried}");
}

#[test]
fn a_journal_file_cut_short_means_limbo() {
    let disk = FaultyDisk::new();
    drop(live_with(&disk, small()));
    let (file, _) = batches(&disk);
    let len = disk.bytes(&file).unwrap().len() as u64;
    for cut in (0..len).step_by(4096) {
        let disk = disk.reboot(0);
        let cut_short = disk.open(&file, OpenHow::Write, false).unwrap();
        cut_short.set_len(cut).unwrap();
        cut_short.sync_data().unwrap();
        let bookie = open(&disk.reboot(1));
        assert_eq!(bookie.stats().limbo, 2, "cut at {cut}");
        never_denied(&bookie);
    }
}

/// Every entry of [`live`] is what was written or unknown.
#[track_caller]
fn never_denied(bookie: &Bookie) {
    for ledger in [1, 2] {
        for entry in 0..ENTRIES {
            match ask(bookie, recovery_read(ledger, entry, 9)) {
                Reply::Entry { payload: found, .. } => {
                    assert_eq!(found, payload(ledger, entry, 100));
                }
                Reply::Unknown(Unknown::Limbo | Unknown::Damaged { .. }) => {}
                other => panic!("L{ledger}:{entry}: {other:?}"),
            }
        }
    }
}

#[test]
fn no_flipped_byte_makes_a_bookie_deny_what_it_acknowledged() {
    let disk = FaultyDisk::new();
    let bookie = live_with(&disk, small());
    bookie.mark_idle();
    drop(bookie);
    let (mut limbo, mut refused) = (0, 0);
    for (file, len) in disk.files() {
        if file.extension().is_some() {
            continue;
        }
        for at in (0..len).filter(|at| at % 4096 < 150 || at % 61 == 0) {
            let disk = disk.reboot(0);
            disk.flip(&file, at, 1 << (at % 8));
            match try_open(&disk, small()) {
                Ok(bookie) => {
                    never_denied(&bookie);
                    limbo += usize::from(bookie.stats().limbo > 0);
                }
                // Whose it is and what state its ledgers are in must be known; so must the version.
                Err(OpenError::Damaged(damage)) => {
                    assert_eq!(damage.file.parent(), Some(Path::new("/b")), "{damage}");
                    refused += 1;
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(limbo > 500 && refused > 100, "{limbo} {refused}");
}

#[test]
fn a_power_cut_while_limbo_is_entered_changes_nothing() {
    for damaged in ["journal", "extent"] {
        let before = FaultyDisk::new();
        if damaged == "journal" {
            lost(&before);
        } else {
            drop(live(&before));
            before.flip(Path::new("/b/extents/X0000000000000000"), 20, 1);
        }
        let mut cut = 0;
        loop {
            let disk = before.reboot(0);
            disk.crash_after(cut);
            let opened = try_open(&disk, small());
            let whole = !disk.is_cut();
            if whole {
                disk.crash_after(u64::MAX);
                never_denied(opened.as_ref().unwrap());
            }
            drop(opened);
            for seed in 0..8 {
                let bookie = open(&disk.reboot(seed));
                assert_eq!(bookie.stats().limbo, 2, "cut {cut} seed {seed}");
                never_denied(&bookie);
                in_limbo(ask(&bookie, add(1, 20, 9)));
                for ledger in [1, 2] {
                    let good = if damaged == "journal" { 0..4 } else { 3..ENTRIES };
                    good.for_each(|entry| check_entry(&bookie, ledger, entry, 100));
                }
                done(ask(&bookie, copy(1, 0, 9)));
                done(ask(&bookie, create_replicated(30, 1)));
            }
            if whole {
                break;
            }
            cut += 1;
        }
        assert!(cut > 8, "{cut}");
    }
}

#[test]
fn a_power_cut_while_limbo_is_cleared_leaves_it_set_or_cleared() {
    let before = FaultyDisk::new();
    lost(&before);
    drop(open(&before));
    let mut cut = 0;
    loop {
        let disk = before.reboot(0);
        let bookie = open(&disk);
        disk.crash_after(disk.operations() + cut);
        let cleared = matches!(ask(&bookie, clear(1, 2)), Reply::Done);
        let _ = bookie.checkpoint();
        let bounded = matches!(ask(&bookie, bound(7)), Reply::Done);
        let _ = bookie.checkpoint();
        let whole = !disk.is_cut();
        drop(bookie);
        for seed in 0..8 {
            let bookie = open(&disk.reboot(seed));
            match ask(&bookie, read(1, 5)) {
                Reply::NoEntry { .. } => {}
                other => {
                    assert!(!cleared, "cut {cut} seed {seed}: {other:?}");
                    in_limbo(other);
                }
            }
            in_limbo(ask(&bookie, read(2, 5)));
            let below = bookie.stats().limbo_below;
            assert!(below == 7 || below == u64::MAX && !bounded, "cut {cut} seed {seed}: {below}");
        }
        if whole {
            break;
        }
        cut += 1;
    }
    assert!(cut > 10, "{cut}");
}
