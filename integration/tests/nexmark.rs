//! The queries of Nexmark as topologies, against the same over all events at once in one thread.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use egret::testing::TopologyTest;
use egret::{Emitter, Guarantee, LogSpout, Progress, RunOptions, TopologyBuilder};
use egret_integration::nexmark::ending::{Collector, Ending};
use egret_integration::nexmark::event::Event;
use egret_integration::nexmark::input::{Input, Spec};
use egret_integration::nexmark::query::{QUERIES, attach, topology};
use egret_integration::nexmark::reference;
use egret_log::stream::{ReadFrom, Record};
use egret_log::{Log, LogConfig};

/// 200 s and two days: twenty windows, and auctions that close.
fn seconds() -> Spec {
    Spec { events: 20_000, apart_us: 10_000, ..Spec::default() }
}

/// 14 hours and two days.
fn hours() -> Spec {
    Spec { events: 10_000, apart_us: 5_000_000, ..Spec::default() }
}

/// The rows and the result a topology says of events, rows counted once if they are said again.
fn run(query: &str, input: &Input, workers: u32, guarantee: Guarantee) -> (Vec<String>, u64) {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogConfig::default()).unwrap();
    let collector = Collector::keeping();
    let mut t = TopologyBuilder::new(query);
    t.guarantee(guarantee).key_groups(64);
    topology(&mut t, query, input, workers, &Ending::Sink(collector.clone())).unwrap();
    let options = RunOptions { workers, commit_ms: 20, ..RunOptions::default() };
    let progress = Arc::new(Progress::default());
    t.finish().unwrap().run(&log, &options, &progress).unwrap();
    log.close().unwrap();
    (collector.result(), progress.late_tuples())
}

/// Says the first rows that only one of them has.
#[track_caller]
fn assert_same(result: &[String], expected: &[String], what: &str) {
    let mut counts = BTreeMap::<&String, i64>::new();
    result.iter().for_each(|row| *counts.entry(row).or_default() += 1);
    expected.iter().for_each(|row| *counts.entry(row).or_default() -= 1);
    let wrong: Vec<_> = counts.into_iter().filter(|(_, n)| *n != 0).take(4).collect();
    let (rows, all) = (result.len(), expected.len());
    assert!(wrong.is_empty(), "{what}: {rows} rows instead of {all}; too often: {wrong:?}");
}

fn expect(query: &str, input: &Input, workers: u32) {
    let expected = reference::result(query, input).unwrap();
    let (result, late) = run(query, input, workers, Guarantee::AtLeastOnce);
    assert_same(&result, &expected, &format!("{query}, {workers} workers"));
    assert_eq!(late, 0, "{query}: events are in order");
}

#[test]
fn every_query_says_what_its_definition_does_on_one_worker() {
    let input = Input::generate(&seconds());
    QUERIES.iter().for_each(|query| expect(query, &input, 1));
}

#[test]
fn every_query_says_what_its_definition_does_on_two_workers() {
    let input = Input::generate(&seconds());
    QUERIES.iter().for_each(|query| expect(query, &input, 2));
}

#[test]
fn a_day_s_hours_and_dates_are_those_of_the_definition() {
    let input = Input::generate(&hours());
    ["q14", "q15", "q16", "q17"].iter().for_each(|query| expect(query, &input, 1));
    let times = reference::result("q14", &input).unwrap();
    for when in ["dayTime", "nightTime", "otherTime"] {
        assert!(times.iter().any(|row| row.contains(when)), "there is {when}");
    }
}

/// A reference that says nothing would agree with a topology that says nothing.
#[test]
fn every_query_has_something_to_say() {
    let input = Input::generate(&seconds());
    for (query, least) in [("q3", 50), ("q4", 5), ("q5", 100), ("q7", 20), ("q8", 20), ("q9", 500)]
    {
        let rows = reference::result(query, &input).unwrap().len();
        assert!(rows >= least, "{query}: {rows} rows");
    }
    for query in QUERIES {
        assert!(!reference::result(query, &input).unwrap().is_empty(), "{query}");
    }
}

/// A record's key, if it has one, and its value.
type Said = (Option<String>, String);

/// What a reader of an output stream has: for keys the last of each.
fn rows_of(said: Vec<Said>, query: &str) -> Vec<String> {
    let mut last = BTreeMap::new();
    let mut rows = Vec::new();
    for (key, row) in said {
        match key {
            Some(key) => drop(last.insert(key, row)),
            None => rows.push(row),
        }
    }
    rows.extend(last.into_values());
    if query == "q19" {
        rows = rows.iter().flat_map(|rows| rows.lines().map(str::to_owned)).collect();
    }
    rows.sort();
    rows
}

fn said(record: Record) -> Said {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (record.key.as_ref().map(|key| text(key)), text(&record.value))
}

/// Effectively-once, into a stream.
#[test]
fn a_stream_has_what_the_definition_says() {
    let input = Input::generate(&Spec { events: 5000, ..seconds() });
    for query in ["q0", "q5", "q9", "q15", "q19"] {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path(), LogConfig::default()).unwrap();
        let mut t = TopologyBuilder::new(query);
        t.key_groups(64);
        topology(&mut t, query, &input, 2, &Ending::Stream("rows".to_owned())).unwrap();
        let options = RunOptions { workers: 2, commit_ms: 20, ..RunOptions::default() };
        t.finish().unwrap().run(&log, &options, &Arc::new(Progress::default())).unwrap();
        let config = log.stream("rows").unwrap().config;
        let mut records = Vec::new();
        for partition in 0..config.partitions {
            let from = ReadFrom::Earliest;
            let mut reader = log.reader_of("rows", partition, from, &config.format).unwrap();
            while let Some(batch) = reader.next_wait(Duration::ZERO).unwrap() {
                records.extend(batch.records.into_iter().map(said));
            }
        }
        let expected = reference::result(query, &input).unwrap();
        assert_same(&rows_of(records, query), &expected, query);
        log.close().unwrap();
    }
}

/// Events from a stream of two partitions, killed at places of chance and restored with other workers.
#[test]
fn queries_with_state_say_the_same_whatever_is_killed() {
    let input = Input::generate(&Spec { events: 1500, apart_us: 40_000, ..Spec::default() });
    let mut lines: Vec<String> =
        (0..input.events()).map(|at| Input::line_of(&input.get(at).unwrap())).collect();
    // One for each partition.
    lines.extend([Input::line_of(&input.end()), Input::line_of(&input.end())]);
    for (seed, query) in (1..).zip(["q4", "q5", "q8", "q9", "q18"]) {
        let build = move |t: &mut TopologyBuilder| {
            t.name(query).key_groups(64);
            let time = |line: &String| Input::event_of(line).map_or(0, |event| event.at());
            let lines = t.spout("lines", 2, LogSpout::<String>::from_stream("lines"))?;
            let lines = lines.event_time(time)?;
            let events = lines.local_or_shuffle().bolt("events", 2, || {
                |line: String, out: &mut Emitter<Event>| {
                    out.emit(Input::event_of(&line).expect("events are written here"));
                }
            })?;
            attach(query, &events, 2, &Ending::Stream("rows".to_owned()))
        };
        let mut test = TopologyTest::new(build).unwrap().seed(seed);
        let parts = lines.chunks(lines.len() / 6 + 1).zip([2, 1, 2].into_iter().cycle());
        for (part, workers) in parts {
            test.send("lines", part.iter().map(String::as_str)).unwrap();
            test.kill_anywhere();
            test.advance(Duration::from_millis(40)).unwrap();
            test.kill();
            test.workers(workers).restore().unwrap();
            test.advance(Duration::from_millis(100)).unwrap();
        }
        assert!(test.kills() >= 6, "{query} was killed {} times", test.kills());
        assert!(test.failures().is_empty(), "{query}: {:?}", test.failures());
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let said: Vec<Said> = if ["q4", "q18"].contains(&query) {
            let said = test.keyed_output::<Vec<u8>>("rows").unwrap();
            said.into_iter().map(|(key, row)| (Some(key), text(row))).collect()
        } else {
            let said = test.output::<Vec<u8>>("rows").unwrap();
            said.into_iter().map(|row| (None, text(row))).collect()
        };
        let rows = rows_of(said, query);
        assert_same(&rows, &reference::result(query, &input).unwrap(), query);
    }
}
