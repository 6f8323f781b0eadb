//! **Restored state is that of the committed epoch**, for every kind of operator: values, lists and maps of keys,
//! timers, joins, windows of event time.
//!
//! Held twice. After each kill, what the newest commit has of every key is what one thread has after exactly the
//! lines which that commit says were read. And what is told after each line has all that is kept of its key, so
//! each generation tells whether what it began with was right: of windows and their timers, at their ends.
//!
//! Control: a takeover that restores state as far as its ledgers go, committed or not, must tell something else.

use std::collections::BTreeMap;

use egret::replica::shown::Range;
use egret::replica::{Replica, ReplicaOptions};
use egret_integration::kill::every_kind::{END, Input, NAME, compare, outputs};
use egret_log::Log;
use serde_json::Value;

use crate::lives::{KILLS, Place, newest, next_lines};

/// What the newest commit has of every key of a component.
fn state(log: &Log, component: &str) -> BTreeMap<String, Value> {
    let mut replica = Replica::new(NAME, ReplicaOptions::default());
    replica.catch_up(log).unwrap();
    let range = Range { limit: usize::MAX, bytes: usize::MAX, ..Range::default() };
    let page = replica.read().scan(component, &range).unwrap();
    let entries = page.entries.into_iter();
    entries.map(|(key, value)| (key.as_str().unwrap().to_owned(), value)).collect()
}

/// What was last told of each key when these lines were read.
fn last_told(input: &Input) -> BTreeMap<String, String> {
    let told = input.reference().remove("told").unwrap();
    told.into_iter().map(|(key, mut said)| (key, said.pop().unwrap())).collect()
}

/// A key's state, told as the bolt tells it after its last line.
fn tell(state: &Value) -> String {
    let numbers = |of: &Value| -> Vec<u64> {
        of.as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect()
    };
    let recent = numbers(&state["recent"]);
    let entries = state["by"].as_object().unwrap().iter();
    let by: BTreeMap<u64, u64> =
        entries.map(|(rest, n)| (rest.parse().unwrap(), n.as_u64().unwrap())).collect();
    format!("{} {} {recent:?} {by:?}", recent.last().unwrap(), state["count"])
}

#[test]
fn after_each_kill_the_state_is_what_one_thread_has_after_the_lines_of_the_commit() {
    let mut place = Place::new(21);
    let mut looked = 0;
    let killed = place.lives(&["--fault", "commits_late"], |place| {
        let log = place.open();
        let Some(record) = newest(&log).filter(|record| !record.spouts.is_empty()) else {
            return log.close().unwrap();
        };
        let input = place.input.before(&next_lines(&log, &record));
        let found: BTreeMap<_, _> = state(&log, "each")
            .into_iter()
            .filter(|(key, _)| key != END)
            .map(|(key, state)| (key, tell(&state)))
            .collect();
        assert_eq!(found, last_told(&input), "{}", record.last);
        looked += 1;
        log.close().unwrap();
    });
    assert!(killed >= KILLS - 1 && looked >= KILLS - 1, "{killed} kills, {looked} looked at");
    place.finish(&[]);
    let log = place.open();
    compare(&outputs(&log).unwrap(), &place.input).unwrap();
    log.close().unwrap();
}

#[test]
fn control_state_restored_beyond_the_commit_tells_something_else() {
    let with = ["--fault", "state_of_zombies", "--fault", "commits_late"];
    let mut place = Place::new(22);
    place.lives(&with, |_| {});
    let said = {
        let running = place.start(&with);
        let mut said = Vec::new();
        while let Some(line) = running.says().unwrap() {
            said.push(line);
        }
        running.end().unwrap();
        said
    };
    let log = place.open();
    let differs = compare(&outputs(&log).unwrap(), &place.input).is_err();
    log.close().unwrap();
    // A window whose timer is restored and whose lines are not, or the other way, ends the run with words.
    let failed = said.last().is_some_and(|last| last.starts_with("error"));
    assert!(differs || failed, "the defect shows nothing");
}
