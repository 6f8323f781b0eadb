//! Bolts of several inputs, and event time: the same results as one thread has, whatever fails meanwhile.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "the whole of it is used by the tests beside it")]
mod counting;
#[path = "processes/timed.rs"]
mod timed;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use egret::runtime::Faults;
use egret::{
    Bolt, ComponentResult, Context, Either, Emitter, Error, EventTime, Guarantee, KeyedBolt,
    LogSink, LogSpout, Progress, RunOptions, Summary, Timer, Topology, TopologyBuilder,
};
use egret_log::stream::{Format, Record, StreamConfig};
use egret_log::{Log, clock};

use counting::open;
use timed::{Trap, calm, records};

fn options(workers: u32) -> RunOptions {
    RunOptions { workers, commit_ms: 1, tries: 6, ..RunOptions::default() }
}

fn run(log: &Log, topology: &Topology, options: &RunOptions) -> Result<Summary, Error> {
    topology.run(log, options, &Arc::new(Progress::default()))
}

/// Fails at these calls, each a generation; counted over all tasks and generations.
fn trap_at(calls: &'static [u32]) -> Trap {
    let seen = AtomicU32::new(0);
    Arc::new(move || {
        let nth = seen.fetch_add(1, Ordering::Relaxed);
        match calls.contains(&nth) {
            true => Err(format!("tuple {nth} is one too many").into()),
            false => Ok(()),
        }
    })
}

/// Tuples of the other input that a key has seen.
type Pairs = (Vec<u64>, Vec<u64>);

/// Emits every pair of a left and a right tuple of one key, once.
struct Pair(Trap);

impl KeyedBolt<u64, Either<(u64, u64), (u64, u64)>, (String, String)> for Pair {
    type State = Pairs;

    fn execute(
        &mut self,
        key: &u64,
        (left, right): &mut Pairs,
        tuple: Either<(u64, u64), (u64, u64)>,
        out: &mut Emitter<(String, String)>,
        _: &Context,
    ) -> ComponentResult {
        (self.0)()?;
        let mut emit = |l: u64, r: u64| out.emit((key.to_string(), format!("{l}-{r}")));
        match tuple {
            Either::Left((_, new)) => {
                right.iter().for_each(|other| emit(new, *other));
                left.push(new);
            }
            Either::Right((_, new)) => {
                left.iter().for_each(|other| emit(*other, new));
                right.push(new);
            }
        }
        Ok(())
    }
}

fn parse() -> impl FnMut(String, &mut Emitter<(u64, u64)>) + 'static {
    |line: String, out: &mut Emitter<(u64, u64)>| {
        let (key, value) = line.split_once(' ').unwrap();
        out.emit((key.parse().unwrap(), value.parse().unwrap()));
    }
}

/// `left` and `right`, or `left` with itself, joined by key.
fn joining(tasks: u32, itself: bool, trap: &Trap) -> Topology {
    let mut t = TopologyBuilder::new("join");
    let mut of = |stream: &str| {
        let lines = t.spout(stream, tasks, LogSpout::<String>::from_stream(stream).bounded());
        lines.unwrap().shuffle().bolt(&format!("parse-{stream}"), tasks, parse).unwrap()
    };
    let left = of("left");
    let right = if itself { left.clone() } else { of("right") };
    let both = left.fields(|(key, _)| key).join(right.fields_by(|(key, _): &(u64, u64)| *key));
    let trap = Arc::clone(trap);
    let pairs = both.unwrap().keyed("pair", tasks, move || Pair(Arc::clone(&trap))).unwrap();
    pairs.sink("out", LogSink::to_stream("out").partitions(2)).unwrap();
    t.finish().unwrap()
}

fn pairs_of(left: &[(u64, i64)], right: &[(u64, i64)]) -> Vec<(u64, String)> {
    let pairs = left.iter().flat_map(|(key, l)| {
        let same = right.iter().filter(move |(other, _)| other == key);
        same.map(move |(_, r)| (*key, format!("{l}-{r}")))
    });
    let mut pairs: Vec<_> = pairs.collect();
    pairs.sort();
    pairs
}

fn pairs_in(log: &Log) -> Vec<(u64, String)> {
    let text = |bytes: &[u8]| std::str::from_utf8(bytes).unwrap().to_owned();
    let pairs = records(log, "out").into_iter();
    let pair = |record: Record| (text(&record.key.unwrap()).parse().unwrap(), text(&record.value));
    let mut pairs: Vec<_> = pairs.map(pair).collect();
    pairs.sort();
    pairs
}

/// Keys 0 to 10, values that are never repeated.
fn values(from: i64, to: i64) -> Vec<(u64, i64)> {
    (from..to).map(|i| ((i % 11).cast_unsigned(), i)).collect()
}

#[test]
fn two_streams_of_different_types_are_joined_exactly_whatever_fails() {
    for (workers, fails) in [(1, &[][..]), (2, &[333, 700, 1100]), (3, &[5, 900])] {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path());
        let (left, right) = (values(0, 300), values(1000, 1200));
        timed::write(&log, "left", &left[..200]);
        timed::write(&log, "right", &right[..150]);
        let trap = trap_at(fails);
        run(&log, &joining(workers, false, &trap), &options(workers)).unwrap();
        assert_eq!(pairs_in(&log), pairs_of(&left[..200], &right[..150]), "{workers} workers");
        // With other tasks, what comes later meets what came before.
        timed::write(&log, "left", &left[200..]);
        timed::write(&log, "right", &right[150..]);
        run(&log, &joining(workers + 2, false, &trap), &options(2)).unwrap();
        assert_eq!(pairs_in(&log), pairs_of(&left, &right), "{workers} workers, then 2");
        log.close().unwrap();
    }
}

#[test]
fn a_stream_is_joined_with_itself() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let left = values(0, 150);
    timed::write(&log, "left", &left);
    let summary = run(&log, &joining(3, true, &trap_at(&[50, 260])), &options(2)).unwrap();
    assert_eq!(summary.restarts, 2);
    assert_eq!(pairs_in(&log), pairs_of(&left, &left));
    log.close().unwrap();
}

/// Says which task met which tuple.
struct Meet;

impl Bolt<Either<String, u64>, String> for Meet {
    fn execute(
        &mut self,
        tuple: Either<String, u64>,
        out: &mut Emitter<String>,
        cx: &Context,
    ) -> ComponentResult {
        match tuple {
            Either::Left(rule) => out.emit(format!("rule {rule} at {}", cx.id().task)),
            Either::Right(value) => out.emit(format!("value {value}")),
        }
        Ok(())
    }
}

#[test]
fn each_input_keeps_its_own_grouping() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    timed::write(&log, "rules", &[(1, 1), (2, 2)]);
    timed::write(&log, "left", &values(0, 90));
    let mut t = TopologyBuilder::new("rules");
    let mut lines =
        |name: &str| t.spout(name, 2, LogSpout::<String>::from_stream(name).bounded()).unwrap();
    let (rules, left) = (lines("rules"), lines("left"));
    let parsed = left.shuffle().bolt("parse", 2, parse).unwrap();
    let values_of = || |(_, value): (u64, u64), out: &mut Emitter<u64>| out.emit(value);
    let parsed = parsed.local_or_shuffle().bolt("values", 2, values_of).unwrap();
    let met =
        rules.all().join(parsed.local_or_shuffle()).unwrap().bolt("meet", 3, || Meet).unwrap();
    met.sink("out", LogSink::to_stream("out")).unwrap();
    let topology = t.finish().unwrap();
    assert_eq!(
        topology.plan().graph()[4],
        "meet bolt <- [rules by all | values by local-or-shuffle]; state none"
    );
    run(&log, &topology, &options(2)).unwrap();
    let mut found: Vec<_> = records(&log, "out").into_iter().map(|record| record.value).collect();
    found.sort();
    let rules = ["1 1", "2 2"]
        .into_iter()
        .flat_map(|rule| (0..3).map(move |task| format!("rule {rule} at {task}")));
    let mut expected: Vec<_> = rules.chain((0..90).map(|value| format!("value {value}"))).collect();
    expected.sort();
    assert_eq!(found, expected);
    log.close().unwrap();
}

#[test]
fn united_streams_reach_bolts_and_sinks_whole_and_once() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let all: Vec<_> = [values(0, 80), values(100, 130), values(200, 290)].into();
    for (name, values) in ["x", "y", "z"].iter().zip(&all) {
        timed::write(&log, name, values);
    }
    let mut t = TopologyBuilder::new("union");
    let mut lines =
        |name: &str| t.spout(name, 2, LogSpout::<String>::from_stream(name).bounded()).unwrap();
    let (x, y, z) = (lines("x"), lines("y"), lines("z"));
    x.union(&y).unwrap().union(&z).unwrap().sink("copy", LogSink::to_stream("copy")).unwrap();
    let traps = trap_at(&[40, 250]);
    let checked = x.shuffle().union(y.global()).unwrap().bolt("check", 2, move || {
        let traps = Arc::clone(&traps);
        move |line: String, out: &mut Emitter<String>| {
            traps().unwrap();
            out.emit(line);
        }
    });
    checked.unwrap().sink("two", LogSink::to_stream("two")).unwrap();
    let summary = run(&log, &t.finish().unwrap(), &options(2)).unwrap();
    assert!(summary.restarts > 0, "a trap went off");
    let written = |stream: &str| {
        let records = records(&log, stream).into_iter();
        let mut lines: Vec<_> = records.map(|record| record.value.to_vec()).collect();
        lines.sort();
        lines
    };
    let expected = |streams: &[Vec<(u64, i64)>]| {
        let lines = streams.iter().flatten().map(|(key, at)| format!("{key} {at}").into_bytes());
        let mut lines: Vec<_> = lines.collect();
        lines.sort();
        lines
    };
    assert_eq!(written("copy"), expected(&all));
    assert_eq!(written("two"), expected(&all[..2]));
    log.close().unwrap();
}

/// Every component sees the same watermark in the same commit, it never goes back, no tuple within the bound
/// is late, and in the end it is that of the partition furthest behind.
#[test]
fn watermarks_are_those_of_the_partition_furthest_behind_over_restarts_and_other_workers() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let (mut a, mut b) = (Vec::new(), Vec::new());
    let rounds = [(1, 1), (3, 2), (2, 3), (4, 1), (1, 2)];
    for ((tasks, workers), from) in rounds.into_iter().zip((0..).step_by(400)) {
        let more = [timed::events(from, from + 400), timed::events(from - 50, from + 200)];
        timed::write(&log, "a", &more[0]);
        timed::write(&log, "b", &more[1]);
        a.extend(more[0].clone());
        b.extend(more[1].clone());
        let trap = trap_at(&[30, 333, 700]);
        let summary = run(&log, &timed::topology(tasks, &trap), &options(workers)).unwrap();
        assert!(summary.restarts > 0, "a trap went off");
        let (counts, late, watermark) = timed::outcome(&log);
        assert_eq!(counts, timed::reference_counts(&[&a, &b]), "{tasks} tasks");
        assert_eq!(late, 0, "{tasks} tasks");
        let reference = timed::reference_watermark(&[&a[a.len() - 400..], &b[b.len() - 250..]]);
        assert_eq!(watermark, Some(reference), "{tasks} tasks");
    }
    log.close().unwrap();
}

/// The control of the test above: what it would say if a generation forgot how far event time had come.
#[test]
fn a_generation_that_forgets_the_watermarks_of_its_commit_is_found_out() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    timed::write(&log, "a", &timed::events(0, 100));
    timed::write(&log, "b", &timed::events(0, 100));
    run(&log, &timed::topology(2, &calm()), &options(1)).unwrap();
    timed::write(&log, "a", &timed::events(100, 200));
    timed::write(&log, "b", &timed::events(100, 200));
    let faults = Faults { forget_watermarks: true, ..Faults::default() };
    let options = RunOptions { faults, ..options(1) };
    let error = run(&log, &timed::topology(2, &calm()), &options).unwrap_err().to_string();
    assert!(error.contains("the watermark went back from Some("), "{error}");
    log.close().unwrap();
}

/// Events of a key in windows of 50 ms, each told of once when no more is expected.
struct Windows;

const WINDOW_MS: i64 = 50;

impl KeyedBolt<u64, (u64, i64), (String, String)> for Windows {
    type State = BTreeMap<i64, u64>;

    fn execute(
        &mut self,
        _: &u64,
        windows: &mut BTreeMap<i64, u64>,
        (_, at_ms): (u64, i64),
        _: &mut Emitter<(String, String)>,
        cx: &Context,
    ) -> ComponentResult {
        let end = end_of(at_ms);
        *windows.entry(end).or_default() += 1;
        cx.timers().set(Timer::event(end))?;
        Ok(())
    }

    fn on_timer(
        &mut self,
        key: &u64,
        windows: &mut BTreeMap<i64, u64>,
        timer: Timer,
        out: &mut Emitter<(String, String)>,
        cx: &Context,
    ) -> ComponentResult {
        assert!(cx.watermark() >= Some(timer.ms), "not before its time");
        let count = windows.remove(&timer.ms).ok_or("a window that is not there")?;
        out.emit((key.to_string(), format!("{} {count}", timer.ms)));
        Ok(())
    }
}

fn end_of(at_ms: i64) -> i64 {
    at_ms.div_euclid(WINDOW_MS) * WINDOW_MS + WINDOW_MS
}

fn windows(tasks: u32, trap: &Trap) -> Topology {
    let mut t = TopologyBuilder::new("windows");
    let mut spout = |name: &str| {
        let lines = t.spout(name, tasks, LogSpout::<String>::from_stream(name).bounded()).unwrap();
        let config = EventTime { out_of_order_ms: timed::BOUND_MS, ..EventTime::default() };
        lines.event_time_with(config, |line| timed::time_of(line)).unwrap()
    };
    let both = spout("a").union(&spout("b")).unwrap();
    let trap = Arc::clone(trap);
    let events = both.shuffle().bolt("parse", tasks, move || {
        let trap = Arc::clone(&trap);
        move |line: String, out: &mut Emitter<(u64, i64)>| {
            trap().unwrap();
            let (key, _) = line.split_once(' ').unwrap();
            out.emit((key.parse().unwrap(), timed::time_of(&line)));
        }
    });
    let counts =
        events.unwrap().fields(|(key, _)| key).keyed("windows", tasks, || Windows).unwrap();
    counts.sink("out", LogSink::to_stream("out").partitions(2)).unwrap();
    t.finish().unwrap()
}

/// What windows are for: each key's count of each window, whole and once, though generations fail and tasks
/// move between the window's events and its end.
#[test]
fn windows_by_event_time_are_whole_and_told_of_once_whatever_fails() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let mut all = Vec::new();
    for ((tasks, workers), from) in [(1, 1), (3, 2), (2, 2)].into_iter().zip((0..).step_by(400)) {
        let more = timed::events(from, from + 400);
        timed::write(&log, "a", &more);
        timed::write(&log, "b", &more);
        all.extend(more.clone());
        let trap = trap_at(&[100, 450, 701]);
        let summary = run(&log, &windows(tasks, &trap), &options(workers)).unwrap();
        assert!(summary.restarts > 0, "a trap went off");
        let watermark = timed::reference_watermark(&[&more]);
        let mut expected = BTreeMap::new();
        for (key, at_ms) in all.iter().filter(|(_, at_ms)| end_of(*at_ms) <= watermark) {
            *expected.entry((*key, end_of(*at_ms))).or_insert(0) += 2;
        }
        let expected = expected.into_iter().map(|((key, end), n)| (key, format!("{end} {n}")));
        let mut expected: Vec<_> = expected.collect();
        expected.sort();
        assert_eq!(pairs_in(&log), expected, "{tasks} tasks");
    }
    log.close().unwrap();
}

/// Says of every tuple which watermark it met.
struct Met;

impl Bolt<String, String> for Met {
    fn execute(
        &mut self,
        line: String,
        out: &mut Emitter<String>,
        cx: &Context,
    ) -> ComponentResult {
        out.emit(format!("{line} met {:?}", cx.watermark()));
        Ok(())
    }
}

fn met(tasks: u32, idle_ms: u64, bounded: bool, guarantee: Guarantee) -> Topology {
    let mut t = TopologyBuilder::new("met");
    t.guarantee(guarantee);
    let source = LogSpout::<String>::from_stream("a");
    let source = if bounded { source.bounded() } else { source };
    let config = EventTime { idle_ms, ..EventTime::default() };
    let lines = t.spout("a", tasks, source).unwrap();
    let lines = lines.event_time_with(config, |line| timed::time_of(line)).unwrap();
    let met = lines.global().bolt("met", 1, || Met).unwrap();
    met.sink("out", LogSink::to_stream("out").partitions(1)).unwrap();
    t.finish().unwrap()
}

fn append(log: &Log, partition: u32, at_ms: i64) {
    if log.stream("a").is_err() {
        let config =
            StreamConfig { partitions: 3, format: Format::Utf8, ..StreamConfig::default() };
        log.create_stream("a", config).unwrap();
    }
    let record = Record::of(format!("0 {at_ms}"));
    log.writer_of("a", partition, &Format::Utf8).unwrap().append_wait(&[record]).unwrap();
}

/// What was met, by event time.
fn met_in(log: &Log) -> BTreeMap<i64, String> {
    let line = |record: Record| std::str::from_utf8(&record.value).unwrap().to_owned();
    let lines = records(log, "out").into_iter().map(line);
    let met = lines.map(|line| {
        let (tuple, met) = line.split_once(" met ").unwrap();
        (timed::time_of(tuple), met.to_owned())
    });
    met.collect()
}

#[test]
fn a_partition_without_a_tuple_holds_the_watermark_unless_it_counts_as_idle() {
    // More tasks than partitions: a task without one holds nothing.
    for (tasks, workers, idle_ms, then) in [
        (1, 1, 60_000, "None"),
        (4, 2, 60_000, "None"),
        (1, 1, 0, "Some(200)"),
        (4, 2, 0, "Some(200)"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path());
        append(&log, 0, 100);
        append(&log, 1, 200);
        let topology = met(tasks, idle_ms, true, Guarantee::EffectivelyOnce);
        run(&log, &topology, &options(workers)).unwrap();
        append(&log, 0, 300);
        run(&log, &topology, &options(workers)).unwrap();
        assert_eq!(met_in(&log)[&300], then, "{tasks} tasks, idle after {idle_ms} ms");
        log.close().unwrap();
    }
}

/// Looks again and again.
fn until(mut done: impl FnMut() -> bool) {
    let deadline = clock::now() + Duration::from_secs(60);
    while !done() {
        assert!(clock::now() < deadline, "not within a minute");
        thread::yield_now();
    }
}

/// Runs `then` while the topology runs, and stops it.
fn meanwhile(log: &Log, topology: Topology, workers: u32, then: impl FnOnce(&Progress)) {
    let progress = Arc::new(Progress::default());
    let runner = {
        let (log, progress) = (log.clone(), Arc::clone(&progress));
        thread::spawn(move || topology.run(&log, &options(workers), &progress))
    };
    until(|| log.stream("out").is_ok());
    then(&progress);
    progress.stop();
    runner.join().unwrap().unwrap();
}

/// Appends tuple after tuple until one meets a watermark.
fn probe(log: &Log, partition: u32, mut at_ms: i64) {
    let appended = met_in(log).len();
    until(|| {
        append(log, partition, at_ms);
        at_ms += 1;
        met_in(log).values().skip(appended).any(|met| met != "None")
    });
}

#[test]
fn every_guarantee_has_watermarks() {
    for guarantee in [Guarantee::AtMostOnce, Guarantee::AtLeastOnce] {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path());
        (0..3).for_each(|partition| append(&log, partition, 100 + i64::from(partition)));
        meanwhile(&log, met(2, 60_000, false, guarantee), 2, |_| {
            until(|| met_in(&log).len() == 3);
            probe(&log, 0, 200);
        });
        log.close().unwrap();
    }
}

/// Nothing was emitted, so no commit would have been made; but a window waits for time to go on.
#[test]
fn a_partition_that_goes_quiet_is_left_out_though_nobody_emits_anything_and_may_come_back_late() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    append(&log, 0, 100);
    append(&log, 1, 200);
    let mut late = String::new();
    meanwhile(&log, met(2, 300, false, Guarantee::EffectivelyOnce), 1, |progress| {
        until(|| met_in(&log).len() == 2);
        let before = progress.commits();
        until(|| progress.commits() > before);
        probe(&log, 1, 300);
        append(&log, 2, 50);
        until(|| met_in(&log).contains_key(&50));
        late = met_in(&log)[&50].clone();
    });
    assert!(late.starts_with("Some("), "the watermark does not go back for it: {late}");
    append(&log, 2, 60);
    run(&log, &met(1, 300, true, Guarantee::EffectivelyOnce), &options(1)).unwrap();
    let met = met_in(&log);
    assert!(met[&60] >= late && met[&60].starts_with("Some("), "{} after {late}", met[&60]);
    log.close().unwrap();
}
