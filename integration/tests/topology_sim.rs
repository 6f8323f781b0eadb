//! Topologies in one thread under kills, in their short form; `just topology-sim` is the long one.
//!
//! Beside the seeds that must hold run controls: defects switched into what ships, and a guarantee that
//! allows repeats. A control that is not found means that the oracles see nothing.

use egret::Guarantee;
use egret::runtime::Faults;
use egret_integration::topology_sim::{Hits, Kill, Options, Report, run};

/// Seeds of the short form.
const SEEDS: u64 = 50;

/// Kills it must have done.
const KILLS: u64 = 200;

fn ran(seed: u64, options: &Options) -> Report {
    run(seed, options).unwrap_or_else(|violation| panic!("{violation}"))
}

#[test]
fn whatever_is_killed_each_input_counts_once() {
    let mut hits = Hits::default();
    for seed in 0..SEEDS {
        hits.add(&ran(seed, &Options::default()).hits);
    }
    let never = hits.never();
    println!("{hits}{} of {} ways", Kill::ALL.len() - never.len(), Kill::ALL.len());
    assert!(never.is_empty(), "never hit: {never:?}");
    assert!(hits.kills() >= KILLS, "{} kills", hits.kills());
}

#[test]
fn without_a_storm_nothing_fails_and_nothing_starts_again() {
    for seed in 0..8 {
        let report = ran(seed, &Options { storm: false, ..Options::default() });
        let failed = report.hits.of(Kill::Restarted) + report.hits.of(Kill::TakenOver);
        assert_eq!((report.hits.kills(), failed), (0, 0), "seed {seed}");
        assert!(report.records > 0, "seed {seed}");
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    let options = Options { lines: usize::MAX, ..Options::default() };
    for seed in 0..6 {
        let (once, again) = (ran(seed, &options), ran(seed, &options));
        assert_eq!(once.trace.join("\n"), again.trace.join("\n"), "seed {seed}");
        assert_eq!(once, again, "seed {seed}");
        assert_eq!(once.trace.len() as u64, once.lines, "seed {seed}: all of it is compared");
    }
}

/// How many records at-least-once repeats under kills: none would mean that nothing was killed in a moment
/// that matters.
#[test]
fn at_least_once_repeats() {
    let options = Options { guarantee: Guarantee::AtLeastOnce, ..Options::default() };
    let repeated: u64 = (0..12).map(|seed| ran(seed, &options).repeated).sum();
    assert!(repeated > 0, "nothing was repeated");
}

/// Seeds within which a defect must be found.
const FOUND_WITHIN: u64 = 200;

/// The first seed that finds the defect, and by which rule.
fn found(faults: Faults) -> Option<(u64, &'static str)> {
    let options = Options { faults, ..Options::default() };
    (0..FOUND_WITHIN).find_map(|seed| run(seed, &options).err().map(|found| (seed, found.rule)))
}

#[test]
fn every_defect_put_in_on_purpose_is_found() {
    let none = Faults::default();
    let defects = [
        ("keep_uncommitted_output", Faults { keep_uncommitted_output: true, ..none }),
        ("no_alignment", Faults { no_alignment: true, ..none }),
        ("stash_drained_while_closing", Faults { stash_drained_while_closing: true, ..none }),
        ("works_before_closing", Faults { works_before_closing: true, ..none }),
        ("reports_before_stored", Faults { reports_before_stored: true, ..none }),
        ("zombies_commit", Faults { zombies_commit: true, ..none }),
        ("state_of_zombies", Faults { state_of_zombies: true, ..none }),
        ("cut_where_published", Faults { cut_where_published: true, ..none }),
    ];
    let mut missed = Vec::new();
    for (name, faults) in defects {
        let found = found(faults);
        println!("{name}: {found:?}");
        if found.is_none() {
            missed.push(name);
        }
    }
    assert!(missed.is_empty(), "nothing finds {missed:?}");
}
