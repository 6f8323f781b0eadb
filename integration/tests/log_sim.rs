//! The log on several bookies under faults, in its short form; `just log-sim` is the long one.
//!
//! Beside the seeds that must hold run controls: defects put into the simulator's own drivers and disks.
//! A control that is not found means that the oracles see nothing.

use egret_integration::sim::{Defect, Fault, Hits, Options, Report, run, shrink};

/// Events of storm in each run here.
const STEPS: u64 = 1200;

/// Seeds of the short form.
const SEEDS: u64 = 120;

/// Kinds of faults the short form must have hit.
const KINDS: usize = 25;

fn ran(seed: u64) -> Report {
    run(seed, STEPS, &Options::default()).unwrap_or_else(|violation| panic!("{violation}"))
}

/// The first seed that finds the defect, and by which oracle.
fn found(defect: Defect, seeds: u64) -> Option<(u64, &'static str)> {
    let options = Options { defect: Some(defect), ..Options::default() };
    (0..seeds).find_map(|seed| match run(seed, STEPS, &options) {
        Ok(_) => None,
        Err(violation) => Some((seed, violation.oracle)),
    })
}

#[test]
fn what_must_hold_holds_in_every_storm() {
    let mut hits = Hits::default();
    let (mut confirmed, mut read_back) = (0, 0);
    for seed in 0..SEEDS {
        let report = ran(seed);
        hits.add(&report.hits);
        confirmed += report.confirmed;
        read_back += report.read_back;
    }
    println!("{hits}");
    let never = hits.never();
    assert!(Fault::ALL.len() - never.len() >= KINDS, "never hit: {never:?}");
    assert!(confirmed > SEEDS && read_back > SEEDS, "{confirmed} confirmed, {read_back} read");
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..12 {
        assert_eq!(ran(seed), ran(seed), "seed {seed}");
    }
}

#[test]
fn every_defect_put_in_on_purpose_is_found() {
    // Losing an entry by reads that do not fence takes a schedule that comes once in some hundred
    // thousand; the core's own schedules look for it.
    let rare = |defect: &Defect| *defect == Defect::ReadsDoNotFence;
    for defect in Defect::ALL.into_iter().filter(|defect| !rare(defect)) {
        let found = found(defect, 4_000);
        println!("{defect:?}: {found:?}");
        assert!(found.is_some(), "nothing finds {defect:?}");
    }
}

#[test]
fn a_violation_says_how_to_see_it_again() {
    let options = Options { defect: Some(Defect::ClosesUnread), ..Options::default() };
    let violation = (0..400).find_map(|seed| run(seed, STEPS, &options).err());
    let shortest = shrink(*violation.expect("it is found"), &options);
    let again = run(shortest.seed, shortest.steps, &options).expect_err("a replay finds it");
    assert_eq!((again.oracle, &again.what), (shortest.oracle, &shortest.what));
    let text = shortest.to_string();
    assert!(text.contains(&format!("--seed {} --steps {}", shortest.seed, shortest.steps)));
}
