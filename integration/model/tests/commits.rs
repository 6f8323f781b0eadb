//! The short form of what `commit_model` does at length: the commit protocol under takeovers, crashes, lost answers
//! and whoever was taken over. What each promise is for is found when it is broken on purpose.

use std::time::Duration;

use egret_model::commit::scope::{Defect, Scope};
use egret_model::commit::world::World;
use egret_model::explore::explore;
use egret_model::walk::walk;

/// Far more than it takes: a test that runs into it has found a change in what is explored.
const LIMIT: Duration = Duration::from_secs(300);

/// Random schedules of each scope.
const SEEDS: u64 = 1000;

/// How much there is of a scope in which nothing is broken.
fn every_schedule(scope: Scope) -> String {
    let explored = explore::<World>(scope, 2, LIMIT);
    assert!(explored.broken.is_none(), "{}: {:#?}", scope.name, explored.broken);
    assert!(explored.exhausted && explored.useful, "{explored:?}");
    format!("{}: {} states, {} steps", scope.name, explored.states, explored.steps)
}

#[test]
fn every_schedule_of_a_takeover_keeps_every_promise_whatever_the_earlier_process_goes_on_to_do() {
    println!("{}", every_schedule(Scope::TAKEN_OVER));
}

#[test]
fn every_schedule_with_crashes_keeps_every_promise() {
    println!("{}", every_schedule(Scope::CRASHES));
}

#[test]
fn every_schedule_with_an_answer_that_nobody_hears_keeps_every_promise() {
    println!("{}", every_schedule(Scope::UNHEARD));
}

#[test]
fn random_schedules_of_larger_scopes_keep_every_promise() {
    for scope in Scope::WALKS {
        for seed in 0..SEEDS {
            if let Err(broken) = walk::<World>(&scope, seed) {
                panic!("schedule {seed} of {}: {broken:#?}", scope.name);
            }
        }
    }
}

#[test]
fn a_defect_of_the_driver_is_found_by_random_schedules() {
    for defect in Defect::ALL {
        let found = Scope::WALKS.iter().any(|scope| {
            let scope = Scope { defect: Some(defect), ..*scope };
            (0..SEEDS).any(|seed| walk::<World>(&scope, seed).is_err())
        });
        assert!(found, "nothing finds {defect:?}");
    }
}
