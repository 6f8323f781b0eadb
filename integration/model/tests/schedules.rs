//! The short form of what `ledger_model` and `find_mutants` do at length.

use std::time::Duration;

use egret_model::conformance;
use egret_model::explore::explore;
use egret_model::scope::Scope;
use egret_model::walk::walk;
use egret_model::world::World;

/// Far more than it takes: a test that runs into it has found a change in what is explored.
const LIMIT: Duration = Duration::from_secs(300);

#[test]
fn every_schedule_of_one_entry_and_one_recoverer_keeps_every_promise() {
    let scope = Scope { appends: 1, ..Scope::SMALL };
    let explored = explore::<World>(scope, 2, LIMIT);
    assert!(explored.broken.is_none(), "{:#?}", explored.broken);
    assert!(explored.exhausted && explored.useful, "{explored:?}");
}

#[test]
fn random_schedules_of_every_scope_keep_every_promise() {
    for scope in Scope::WALKS {
        let mut acked = 0;
        for seed in 0..1500 {
            match walk::<World>(&scope, seed) {
                Ok(world) => acked += world.acked().map_or(0, |last| last.0 + 1),
                Err(broken) => panic!("schedule {seed} of {}: {broken:#?}", scope.name),
            }
        }
        assert!(acked > 150, "{}: the schedules acknowledge something: {acked}", scope.name);
    }
}

#[test]
fn a_shipping_bookie_answers_as_its_contract_says() {
    for seed in 0..400 {
        if let Err(strayed) = conformance::walk(seed) {
            panic!("life {seed}: {strayed:#?}");
        }
    }
}
