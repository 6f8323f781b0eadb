//! **Output is what one thread makes of the input**: the same records of each key, each once and in the same
//! order, whatever number of tasks and workers ran in between and whenever they were killed.
//!
//! Controls: at-least-once, which shows output before its commit, must repeat some of it under the same kills; a
//! generation that forgets where its sources stood must count lines again.

use egret_integration::kill::every_kind::{compare, outputs};

use crate::lives::{KILLS, Place};

#[test]
fn killed_at_any_moment_the_output_equals_that_of_one_thread() {
    let mut place = Place::new(1);
    let killed = place.lives(&[], |_| {});
    assert!(killed >= KILLS - 1, "{killed} kills");
    place.finish(&[]);
    let log = place.open();
    compare(&outputs(&log).unwrap(), &place.input).unwrap();
    log.close().unwrap();
}

/// What a run under kills has too much of.
fn broken(seed: u64, with: &[&str]) -> Option<String> {
    let mut place = Place::new(seed);
    place.lives(with, |_| {});
    place.finish(with);
    let log = place.open();
    let found = compare(&outputs(&log).unwrap(), &place.input).err();
    log.close().unwrap();
    found.map(|error| error.to_string())
}

#[test]
fn control_output_shown_before_its_commit_is_repeated() {
    let with = ["--guarantee", "at-least-once", "--fault", "commits_late"];
    let found = broken(2, &with).expect("at-least-once repeats nothing under kills");
    assert!(found.contains("records and should have"), "{found}");
}

#[test]
fn control_a_generation_that_forgets_its_positions_counts_again() {
    let found = broken(3, &["--fault", "forget_positions"]);
    found.expect("lines are read again and nothing shows it");
}
