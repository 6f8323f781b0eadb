//! One topology in several worker processes.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod cycles;
mod gathered;
mod placed;
mod rolls;
mod timed;
mod words;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use egret::{Guarantee, RunOptions};
use egret_log::stream::{Record, StreamConfig};

use words::{Trap, calm, counted, expected, open, options, run, text, topology, write_lines};

#[test]
fn words_are_counted_exactly_however_many_processes_and_workers() {
    for (count, workers) in [(1, 2), (2, 1), (3, 1), (4, 2)] {
        let (_dir, log) = open();
        let lines = text(2000);
        write_lines(&log, &lines);
        let topology = || topology(5, Guarantee::EffectivelyOnce, &calm());
        let (outcome, started) = run(&log, count, &options(workers), topology);
        let summary = outcome.unwrap();
        let what = format!("{count} processes of {workers}");
        assert_eq!(summary.tuples, 2000, "{what}: every process says what it read");
        assert_eq!(counted(&log), (expected(&lines), 0), "{what}");
        assert_eq!((started, summary.restarts), (count - 1, 0), "{what}");
        log.close().unwrap();
    }
}

#[test]
fn a_bolt_that_fails_in_any_process_costs_a_generation_and_nothing_else() {
    let (_dir, log) = open();
    let lines = text(3000);
    write_lines(&log, &lines);
    let failures = Arc::new(AtomicU32::new(0));
    let seen = Arc::new(AtomicU32::new(0));
    let trap: Trap = {
        let (failures, seen) = (Arc::clone(&failures), Arc::clone(&seen));
        Arc::new(move |_| {
            let nth = seen.fetch_add(1, Ordering::Relaxed);
            if [400, 1100, 2500].contains(&nth) {
                failures.fetch_add(1, Ordering::Relaxed);
                return Err(format!("tuple {nth} is one too many").into());
            }
            Ok(())
        })
    };
    let topology = move || topology(5, Guarantee::EffectivelyOnce, &trap);
    let (outcome, started) = run(&log, 3, &RunOptions { tries: 10, ..options(1) }, topology);
    assert_eq!(failures.load(Ordering::Relaxed), 3);
    // Two may fail before either hears of the other.
    let restarts = outcome.unwrap().restarts;
    assert!((1..=3).contains(&restarts), "{restarts} restarts");
    assert_eq!(started, 2, "the processes stay");
    assert_eq!(counted(&log), (expected(&lines), 0));
    log.close().unwrap();
}

#[test]
fn what_a_task_says_is_told_though_every_process_gives_up() {
    let (_dir, log) = open();
    write_lines(&log, &text(500));
    let trap: Trap = Arc::new(|_| Err("no such word".into()));
    let topology = move || topology(5, Guarantee::EffectivelyOnce, &trap);
    let (outcome, _) = run(&log, 3, &options(1), topology);
    let said = outcome.unwrap_err().to_string();
    assert!(
        said.starts_with("topology `words` failed 3 time(s) without a commit between: task split/"),
        "{said}"
    );
    assert!(said.contains(": no such word; "), "{said}");
    log.close().unwrap();
}

#[test]
fn state_of_any_number_of_tasks_and_processes_is_restored_by_any_other() {
    let (_dir, log) = open();
    let lines = text(1000);
    let config = StreamConfig { partitions: 4, ..StreamConfig::default() };
    log.create_stream("lines", config).unwrap();
    for (round, (tasks, count)) in (0..).zip([(4, 3), (3, 1), (6, 4), (2, 2), (5, 3)]) {
        let part = &lines[round * 200..(round + 1) * 200];
        let records: Vec<Record> = part.iter().map(|line| Record::of(line.clone())).collect();
        log.writer("lines", 2).unwrap().append_wait(&records).unwrap();
        let topology = move || topology(tasks, Guarantee::EffectivelyOnce, &calm());
        run(&log, count, &options(1), topology).0.unwrap();
        let reference = expected(&lines[..(round + 1) * 200]);
        assert_eq!(counted(&log), (reference, 0), "{tasks} tasks in {count} processes");
    }
    log.close().unwrap();
}

#[test]
fn the_weaker_guarantees_run_in_several_processes_too() {
    for guarantee in [Guarantee::AtLeastOnce, Guarantee::AtMostOnce] {
        let (_dir, log) = open();
        let lines = text(600);
        write_lines(&log, &lines);
        let (outcome, _) = run(&log, 3, &options(1), move || topology(3, guarantee, &calm()));
        outcome.unwrap();
        assert_eq!(counted(&log).0, expected(&lines), "{guarantee}");
        log.close().unwrap();
    }
}

/// Watermarks go to every process, with every commit: a bolt in any of them sees what another one saw
/// upstream, and each generation begins with those of its commit.
#[test]
fn the_watermark_of_a_commit_is_the_same_in_every_process() {
    let (_dir, log) = open();
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for ((count, tasks), from) in [(3, 5), (1, 2), (4, 4)].into_iter().zip((0..).step_by(600)) {
        let more = [timed::events(from, from + 600), timed::events(from, from + 500)];
        timed::write(&log, "a", &more[0]);
        timed::write(&log, "b", &more[1]);
        a.extend(more[0].clone());
        b.extend(more[1].clone());
        let seen = Arc::new(AtomicU32::new(0));
        let trap: timed::Trap =
            Arc::new(move || match [300, 900].contains(&seen.fetch_add(1, Ordering::Relaxed)) {
                true => Err("one too many".into()),
                false => Ok(()),
            });
        let topology = move || timed::topology(tasks, &trap);
        let (outcome, _) = run(&log, count, &RunOptions { tries: 10, ..options(1) }, topology);
        assert!(outcome.unwrap().restarts > 0, "a trap went off");
        let (counts, late, watermark) = timed::outcome(&log);
        let what = format!("{tasks} tasks in {count} processes");
        assert_eq!(counts, timed::reference_counts(&[&a, &b]), "{what}");
        assert_eq!(late, 0, "{what}");
        let reference = timed::reference_watermark(&[&more[0], &more[1]]);
        assert_eq!(watermark, Some(reference), "{what}");
    }
    log.close().unwrap();
}

/// The leader once opened the partitions of members, too, and began a segment in each that nobody wrote.
#[test]
fn a_takeover_begins_one_segment_of_each_partition_whoever_writes_it() {
    let (_dir, log) = open();
    let lines = text(900);
    let config = StreamConfig { partitions: 4, ..StreamConfig::default() };
    log.create_stream("lines", config).unwrap();
    for round in 0..3 {
        let part = &lines[round * 300..(round + 1) * 300];
        let records: Vec<Record> = part.iter().map(|line| Record::of(line.clone())).collect();
        log.writer("lines", 1).unwrap().append_wait(&records).unwrap();
        let topology = move || topology(5, Guarantee::EffectivelyOnce, &calm());
        let (outcome, _) = run(&log, 3, &options(1), topology);
        let generation = outcome.unwrap().generation.0;
        for partition in log.describe("counts").unwrap().partitions {
            let newest = partition.segments.last().unwrap().id;
            assert_eq!(newest.0, u64::from(generation), "of partition {}", partition.number);
        }
    }
    assert_eq!(counted(&log), (expected(&lines), 0));
    log.close().unwrap();
}

/// A member's tasks go on in new ledgers, which the leader lists for them.
#[test]
fn members_go_on_in_ledgers_that_the_leader_lists() {
    let (_dir, log) = open();
    let expected = rolls::write(&log, 300);
    let first = std::thread::scope(|scope| {
        let run = scope.spawn(|| run(&log, 3, &options(1), rolls::topology).0.unwrap());
        let mut first = rolls::listed(&log);
        while first.is_empty() && !run.is_finished() {
            std::thread::yield_now();
            first = rolls::listed(&log);
        }
        run.join().unwrap();
        first
    });
    assert_eq!(first.len(), 3, "one for each task");
    let last = rolls::listed(&log);
    let new = last.difference(&first).count();
    assert!(new >= 2, "one of them at least is a member's: {first:?}, then {last:?}");
    assert_eq!(counted(&log), (expected, 0));
    // And what was written last is restored by any number.
    rolls::write_more(&log, 300..330);
    run(&log, 2, &options(1), rolls::topology).0.unwrap();
    assert_eq!(counted(&log), (rolls::expected(330), 0));
    log.close().unwrap();
}
