//! The power goes at every operation of the disk that a whole log is on: bookie, metadata, streams.
//!
//! The script and what must hold afterwards are in `workload`; the control that must fail is in
//! `src/stream/crash_tests.rs`. A failure names the operation and the
//! seed of the reboot; `EGRET_CRASH_CUT=<operation>` replays that one alone, and
//! `EGRET_CRASH_SEEDS=<n>` tries more reboots after each.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and says what it skips")]

use std::path::Path;
use std::sync::Arc;

use egret_log as crate_under_test;
use egret_log::bookie::BookieConfig;
use egret_log::disk::FaultyDisk;
use egret_log::{Log, LogConfig};

mod workload;

/// So small that the script's few records fill journals and make checkpoints. Without threads, an
/// operation is the same one every time.
fn small() -> BookieConfig {
    BookieConfig {
        journal_file_bytes: 64 << 10,
        write_cache_bytes: 512,
        background: false,
        ..BookieConfig::default()
    }
}

fn open(disk: &FaultyDisk, bookie: &BookieConfig) -> Result<Log, String> {
    // The directory's lock, which a disk in memory lacks: threads of the log before may still be ending.
    let (disk, bookie) = (Some(Arc::new(disk.next_process()) as Arc<_>), bookie.clone());
    let config = LogConfig { disk, bookie, ..LogConfig::default() };
    Log::open(Path::new("/data"), config).map_err(|error| error.to_string())
}

/// Runs the script with the power cut after `cut` operations; whether it was cut before the end.
fn one(cut: u64, seeds: u64, bookie: &BookieConfig) -> bool {
    let disk = FaultyDisk::new();
    disk.crash_after(cut);
    let mut model = workload::Model::default();
    let ran = model.run(&|| open(&disk, bookie));
    let was_cut = disk.is_cut();
    assert!(ran.is_ok() || was_cut, "cut {cut}: {ran:?}");
    for seed in 0..seeds {
        let found = disk.reboot(seed);
        let told = format!("cut {cut}, reboot seed {seed}");
        model.clone().check(&|| open(&found, bookie), &told);
    }
    was_cut
}

#[test]
fn a_cut_anywhere_leaves_what_was_acknowledged_and_nothing_invented() {
    let asked = |name| std::env::var(name).ok().map(|n: String| n.parse().expect("a number"));
    let seeds = asked("EGRET_CRASH_SEEDS").unwrap_or(2);
    if let Some(cut) = asked("EGRET_CRASH_CUT") {
        one(cut, seeds, &small());
        return;
    }
    let mut cut = 0;
    while one(cut, seeds, &small()) {
        cut += 1;
    }
    assert!(cut > 500, "the script has {cut} operations");
}

/// With the bookie's own threads an operation's number may mean a neighbour's the next time: what is
/// cut here is what a real process would be doing.
#[test]
fn a_cut_with_threads_under_way_leaves_what_was_acknowledged() {
    let threads = BookieConfig { background: true, idle_mark_ms: 1, ..small() };
    let mut cut = 0;
    while one(cut, 1, &threads) {
        cut += 11;
    }
}
