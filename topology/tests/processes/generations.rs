//! Generation after generation in the same processes: nothing is left of those that were given up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use egret::{Guarantee, RunOptions};

use super::{Trap, counted, expected, open, options, run, text, topology, write_lines};

/// Generations that fail before one is let through.
const GENERATIONS: u32 = 60;

#[test]
fn many_generations_in_the_same_processes() {
    let (_dir, log) = open();
    let lines = text(200);
    write_lines(&log, &lines);
    let failed = Arc::new(AtomicU32::new(0));
    let trap: Trap = {
        let failed = Arc::clone(&failed);
        Arc::new(move |_| match failed.fetch_add(1, Ordering::Relaxed) < GENERATIONS {
            true => Err("not yet".into()),
            false => Ok(()),
        })
    };
    let topology = move || topology(3, Guarantee::EffectivelyOnce, &trap);
    let options = RunOptions { tries: u32::MAX, ..options(1) };
    let (outcome, started) = run(&log, 3, &options, topology);
    let summary = outcome.unwrap();
    // Two tasks may fail in one generation.
    assert!((GENERATIONS / 3..=GENERATIONS).contains(&summary.restarts), "{summary:?}");
    assert_eq!(started, 2, "the processes stay");
    assert_eq!(counted(&log), (expected(&lines), 0));
    log.close().unwrap();
}
