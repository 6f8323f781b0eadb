//! One byte of one file is not what was written: answers are exact, or damage that names the file.
//!
//! What may be lost without a word is told in `docs/002-what-a-flipped-byte-can-do.md`, and nothing else
//! is let through here.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::bookie::damage::FileError;
use crate::bookie::identity::IdentityError;
use crate::bookie::journal::format::BatchHeader;
use crate::disk::OpenHow;
use crate::message::{Refusal, Unknown};

const ENTRIES: u64 = 6;

/// Every byte of a block's front, where headers are; some of the rest.
fn offsets(len: u64) -> impl Iterator<Item = u64> {
    (0..len).filter(move |at| at % 4096 < 150 || at % 61 == 0 || len - at < 300)
}

/// A life with two extents, a fence, a deleted ledger and a journal of two files.
fn live(disk: &FaultyDisk) -> Bookie {
    let bookie = open(disk);
    for ledger in [1, 2, 3] {
        done(ask(&bookie, create(ledger, 1)));
    }
    for entry in 0..ENTRIES {
        done(ask(&bookie, add(1, entry, 1)));
        done(ask(&bookie, add(2, entry, 1)));
        if entry % 2 == 1 {
            bookie.checkpoint().unwrap();
        }
    }
    assert!(matches!(ask(&bookie, fence(1, 5)), Reply::Fenced { .. }));
    done(ask(&bookie, delete(3)));
    done(ask(&bookie, create(4, 1)));
    for entry in 0..ENTRIES {
        done(ask(&bookie, add(4, entry, 1)));
    }
    bookie
}

/// Whether damage of this file is what was reported.
fn names(file: &Path, error: &OpenError) -> bool {
    match error {
        OpenError::Damaged(damage) => damage.file == file,
        OpenError::File(error) | OpenError::Identity(IdentityError::File(error)) => {
            matches!(error, FileError::Version { file: named, .. }
                | FileError::Foreign { file: named, .. } if named == file)
        }
        _ => false,
    }
}

/// What is wrong with the answers of a bookie whose `file` is damaged; the ledgers in `lost` may miss
/// their last entry.
fn faults(bookie: &Bookie, file: &Path, last_may_be_lost: bool) -> Vec<String> {
    let mut faults = Vec::new();
    for ledger in [1, 2, 4] {
        for entry in 0..=ENTRIES {
            let lost = last_may_be_lost && ledger == 4 && entry == ENTRIES - 1;
            let right = match ask(bookie, read(ledger, entry)) {
                Reply::Entry { payload: found, .. } => {
                    entry < ENTRIES && found == payload(ledger, entry, 100)
                }
                Reply::NoEntry { .. } => entry == ENTRIES || lost,
                Reply::Unknown(Unknown::Damaged { file: named, .. }) => named == file,
                _ => false,
            };
            if !right {
                let reply = ask(bookie, read(ledger, entry));
                faults.push(format!("L{ledger}:{entry}: {reply:?}"));
            }
        }
    }
    for (request, refusal) in [
        (fence(1, 4), Refusal::StaleTerm { held: Term(5) }),
        (add(3, 0, 1), Refusal::Deleted),
        (create(4, 1), Refusal::Exists),
    ] {
        match ask(bookie, request.clone()) {
            Reply::Refused(found) if found == refusal => {}
            other => faults.push(format!("{request:?}: {other:?}")),
        }
    }
    faults
}

/// Flips bytes of every file and returns how many flips were reported, and how many did not matter.
fn flip_everything(disk: &FaultyDisk, may_be_lost: impl Fn(&Path, u64) -> bool) -> (usize, usize) {
    let (mut reported, mut harmless) = (0, 0);
    for (file, len) in disk.files() {
        if file.extension().is_some() {
            continue;
        }
        for at in offsets(len) {
            let disk = disk.reboot(0);
            disk.flip(&file, at, 1 << (at % 8));
            match try_open(&disk, small()) {
                Ok(bookie) => {
                    let scrubbed = bookie.scrub();
                    let faults = faults(&bookie, &file, may_be_lost(&file, at));
                    assert!(faults.is_empty(), "{} at {at}: {faults:#?}", file.display());
                    assert!(scrubbed.iter().all(|damage| damage.file == file), "{scrubbed:?}");
                    let count = if scrubbed.is_empty() { &mut harmless } else { &mut reported };
                    *count += 1;
                }
                Err(error) => {
                    assert!(names(&file, &error), "{} at {at}: {error:?}", file.display());
                    reported += 1;
                }
            }
        }
    }
    (reported, harmless)
}

#[test]
fn after_a_close_every_flip_is_harmless_or_reported() {
    let disk = FaultyDisk::new();
    live(&disk).close().unwrap();
    let (reported, harmless) = flip_everything(&disk, |_, _| false);
    assert!(reported > 1000 && harmless > 1000, "{reported} {harmless}");
}

#[test]
fn after_a_crash_with_an_idle_mark_every_flip_is_harmless_or_reported() {
    let disk = FaultyDisk::new();
    let bookie = live(&disk);
    bookie.mark_idle();
    drop(bookie);
    let (reported, harmless) = flip_everything(&disk, |_, _| false);
    assert!(reported > 1000 && harmless > 1000, "{reported} {harmless}");
}

#[test]
fn after_a_crash_only_the_last_batch_can_be_lost_without_a_word() {
    let disk = FaultyDisk::new();
    drop(live(&disk));
    let (file, offset) = last_batch(&disk);
    let (reported, _) = flip_everything(&disk, |flipped, at| {
        flipped == file && (offset..offset + 4096).contains(&at)
    });
    assert!(reported > 1000, "{reported}");
}

/// The last journal file and where its last batch starts.
fn last_batch(disk: &FaultyDisk) -> (PathBuf, u64) {
    let mut names = disk.files().into_iter().map(|(path, _)| path);
    let file = names.rfind(|path| path.to_string_lossy().contains("/journal/J")).unwrap();
    let bytes = disk.bytes(&file).unwrap();
    // A recycled file also has batches of its earlier uses: lower ones.
    let blocks = bytes.chunks(4096).enumerate();
    let batches =
        blocks.filter_map(|(at, block)| Some((BatchHeader::decode(block).ok()?.0.lsn, at)));
    let (_, last) = batches.max().unwrap();
    (file, last as u64 * 4096)
}

#[test]
fn a_missing_file_is_noticed() {
    let disk = FaultyDisk::new();
    let bookie = live(&disk);
    for entry in 0..20 {
        // Without room for a checkpoint the journal keeps several files.
        disk.space_limit(0);
        let reply = ask(&bookie, add(4, ENTRIES + entry, 1));
        if matches!(reply, Reply::Refused(_)) {
            break;
        }
    }
    drop(bookie);
    disk.space_limit(u64::MAX);
    let files = disk.files();
    for (file, _) in files.iter().filter(|(file, _)| file.extension().is_none()) {
        let disk = disk.reboot(0);
        crate::disk::Disk::remove(&disk, file).unwrap();
        crate::disk::Disk::sync_dir(&disk, file.parent().unwrap()).unwrap();
        let opened = try_open(&disk, small());
        assert!(opened.is_err(), "{} is missing", file.display());
    }
}

/// Sets a file's length behind the bookie's back.
fn resize(disk: &FaultyDisk, file: &Path, bytes: u64) {
    let file = crate::disk::Disk::open(disk, file, OpenHow::Write, false).unwrap();
    file.set_len(bytes).unwrap();
    file.sync_data().unwrap();
}

#[test]
fn a_journal_file_cut_short_is_noticed_wherever_the_cut_is() {
    for closed in [false, true] {
        let disk = FaultyDisk::new();
        let bookie = live(&disk);
        if closed {
            bookie.close().unwrap();
        }
        let (file, offset) = last_batch(&disk);
        let len = disk.bytes(&file).unwrap().len() as u64;
        assert!(offset < len, "a batch is in the file");
        for cut in (0..len).step_by(4096).chain([1, offset + 1, len - 1]) {
            let disk = disk.reboot(0);
            resize(&disk, &file, cut);
            let error = try_open(&disk, small()).expect_err("durable data may be lost");
            assert!(names(&file, &error), "cut at {cut}: {error}");
        }
    }
}

#[test]
fn what_something_else_appended_to_a_journal_file_is_not_read() {
    let disk = FaultyDisk::new();
    drop(live(&disk));
    let (file, _) = last_batch(&disk);
    resize(&disk, &file, disk.bytes(&file).unwrap().len() as u64 + 10_000);
    let bookie = open(&disk);
    assert_eq!(faults(&bookie, &file, false), Vec::<String>::new());
}

/// A checkpoint was cut off before it put aside the files it covers, and then the newest file went missing.
/// Once that went unnoticed: all that was left was covered.
#[test]
fn a_missing_newest_file_is_noticed_where_a_checkpoint_covers_the_others() {
    let disk = FaultyDisk::new();
    let bookie = open(&disk);
    done(ask(&bookie, create(1, 1)));
    let journal = |disk: &FaultyDisk| -> Vec<PathBuf> {
        let names = disk.files().into_iter().map(|(path, _)| path);
        names.filter(|path| path.to_string_lossy().contains("/journal/J")).collect()
    };
    let mut entry = 0;
    while journal(&disk).len() < 2 {
        done(ask(&bookie, add(1, entry, 1)));
        entry += 1;
    }
    let before: Vec<_> =
        journal(&disk).into_iter().map(|path| (disk.bytes(&path).unwrap(), path)).collect();
    bookie.checkpoint().unwrap();
    done(ask(&bookie, add(1, entry, 1)));
    drop(bookie);
    let newest = journal(&disk).pop().unwrap();
    assert_eq!(before.last().unwrap().1, newest, "it was not rolled meanwhile");
    for (bytes, path) in before.iter().filter(|(_, path)| *path != newest) {
        let file = crate::disk::Disk::open(&disk, path, OpenHow::CreateNew, false).unwrap();
        file.write_all_at(bytes, 0).unwrap();
        file.sync_data().unwrap();
    }
    crate::disk::Disk::sync_dir(&disk, newest.parent().unwrap()).unwrap();
    check_entry(&open(&disk.reboot(0)), 1, entry, 100);
    crate::disk::Disk::remove(&disk, &newest).unwrap();
    crate::disk::Disk::sync_dir(&disk, newest.parent().unwrap()).unwrap();
    let error = try_open(&disk, small()).expect_err("an acknowledged entry was in it");
    assert!(error.to_string().contains("is missing"), "{error}");
}

#[test]
fn a_batch_that_was_cut_never_comes_back() {
    let disk = FaultyDisk::new();
    let bookie = open(&disk);
    done(ask(&bookie, create(1, 1)));
    done(ask(&bookie, add_bytes(1, 0, 1, payload(1, 0, 10_000))));
    drop(bookie);
    // The medium misreads a byte once: the batch is taken for torn, a reader is told so.
    let (file, offset) = last_batch(&disk);
    disk.flip(&file, offset + 200, 1);
    let bookie = open(&disk);
    assert!(matches!(ask(&bookie, read(1, 0)), Reply::NoEntry { .. }));
    drop(bookie);
    assert!(disk.bytes(&file).unwrap()[usize::try_from(offset).unwrap()..].iter().all(|b| *b == 0));
    disk.flip(&file, offset + 200, 1);
    for seed in 0..10 {
        let bookie = open(&disk.reboot(seed));
        assert!(matches!(ask(&bookie, read(1, 0)), Reply::NoEntry { .. }));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn a_journal_of_garbage_never_panics(
        garbage in proptest::collection::vec(any::<u8>(), 1..200), at in 0..12_000u64,
    ) {
        let disk = FaultyDisk::new();
        let bookie = open(&disk);
        for request in [create(1, 1), add(1, 0, 1), add(1, 1, 1)] {
            done(ask(&bookie, request));
        }
        drop(bookie);
        let (file, _) = last_batch(&disk);
        for (at, byte) in (at..).zip(garbage) {
            disk.flip(&file, at, byte);
        }
        if let Ok(bookie) = try_open(&disk, small()) {
            for entry in 0..2 {
                match ask(&bookie, read(1, entry)) {
                    Reply::Entry { payload: found, .. } => {
                        prop_assert_eq!(found, payload(1, entry, 100));
                    }
                    Reply::NoEntry { .. } | Reply::Refused(Refusal::NoLedger) => {}
                    other => prop_assert!(false, "{:?}", other),
                }
            }
        }
    }
}
