//! Generation after generation in the same processes: nothing is left of those that were given up. A test
//! binary of its own, because it counts what the process has.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "processes/words.rs"]
mod words;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};

use egret::{Guarantee, RunOptions};

use words::{Trap, counted, expected, open, options, run, text, topology, write_lines};

/// Tuples that fail, each with its generation, before the rest is let through; `EGRET_GENERATIONS=1000` for
/// a longer look.
fn failures() -> u32 {
    std::env::var("EGRET_GENERATIONS").map_or(60, |n| n.parse().unwrap())
}

/// Threads, open files, and pages of memory of this process.
fn held() -> [usize; 3] {
    let entries = |dir: &str| std::fs::read_dir(dir).unwrap().count();
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages = statm.split(' ').nth(1).unwrap().parse().unwrap();
    [entries("/proc/self/task"), entries("/proc/self/fd"), pages]
}

#[test]
fn many_generations_in_the_same_processes_leave_nothing_behind() {
    let (_dir, log) = open();
    let lines = text(200);
    write_lines(&log, &lines);
    let failures = failures();
    let failed = Arc::new(AtomicU32::new(0));
    let looks = Arc::new(Mutex::new(Vec::new()));
    let trap: Trap = {
        let (failed, looks) = (Arc::clone(&failed), Arc::clone(&looks));
        Arc::new(move |_| {
            // Everything of a generation is there when its first tuple comes.
            let nth = failed.fetch_add(1, Ordering::Relaxed);
            if nth >= failures {
                return Ok(());
            }
            looks.lock().unwrap().push(held());
            Err("not yet".into())
        })
    };
    let topology = move || topology(3, Guarantee::EffectivelyOnce, &trap);
    let options = RunOptions { tries: u32::MAX, ..options(1) };
    let (outcome, started) = run(&log, 3, &options, topology);
    let summary = outcome.unwrap();
    // Two or three tasks may fail in one generation.
    assert!((failures / 4..=failures).contains(&summary.restarts), "{summary:?}");
    assert_eq!(started, 2, "the processes stay");
    assert_eq!(counted(&log), (expected(&lines), 0));

    let looks = looks.lock().unwrap();
    let most = |looks: &[[usize; 3]], of: usize| looks.iter().map(|look| look[of]).max().unwrap();
    let (early, late) = looks.split_at(looks.len() / 3);
    // What ends a generation takes a moment: a few of the one before may still be there.
    for (of, what) in [(0, "threads"), (1, "open files")] {
        let (before, after) = (most(early, of), most(late, of));
        assert!(after <= before + 12, "{what}: {before} at first, {after} later");
    }
    let tenths: Vec<_> = looks.iter().step_by(looks.len().div_ceil(10)).collect();
    println!("threads, files, pages, ten times: {tenths:?}");
    log.close().unwrap();
}
