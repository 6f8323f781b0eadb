//! State of tasks through failures, restarts, names and forks, by any number of tasks: nothing is lost or repeated.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use egret::replica::{Replica, ReplicaOptions, shown::Range};
use egret::runtime::named;
use egret::{
    Blob, ComponentResult, Context, Emitter, ListState, LogSink, LogSpout, Origin, Rescale,
    RunOptions, StatefulBolt, Stream, Summary, Timer, TopologyBuilder, Value,
};
use egret_log::stream::{Format, ReadFrom, Record, StreamConfig};
use egret_log::{Log, LogConfig};

const KEY_GROUPS: u32 = 64;

/// A log with streams of lines.
struct Place {
    _dir: tempfile::TempDir,
    log: Log,
}

impl Place {
    fn new(streams: &[&str]) -> Place {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path(), LogConfig::default()).unwrap();
        for stream in streams {
            let format = Format::Utf8;
            log.create_stream(stream, StreamConfig { format, ..StreamConfig::default() }).unwrap();
        }
        Place { _dir: dir, log }
    }

    fn write(&self, stream: &str, lines: impl IntoIterator<Item = String>) {
        let records: Vec<_> = lines.into_iter().map(Record::of).collect();
        self.log.writer_of(stream, 0, &Format::Utf8).unwrap().append_wait(&records).unwrap();
    }

    /// Everything that was said, by key, sorted.
    fn said(&self, stream: &str) -> Vec<(String, String)> {
        let mut said = Vec::new();
        for partition in 0..2 {
            let mut reader = self.log.reader(stream, partition, ReadFrom::Earliest).unwrap();
            while let Some(batch) = reader.next_wait(Duration::ZERO).unwrap() {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                said.extend(
                    batch
                        .records
                        .iter()
                        .map(|record| (text(record.key.as_ref().unwrap()), text(&record.value))),
                );
            }
        }
        said.sort();
        said
    }

    /// The state of every task of a component that has any, as whoever has not the program sees it.
    fn states(&self, topology: &str, component: &str) -> BTreeMap<String, serde_json::Value> {
        let mut replica = Replica::new(topology, ReplicaOptions::default());
        replica.catch_up(&self.log).unwrap();
        let shown = replica.read();
        let all =
            Range { from: None, prefix: Some("task-".to_owned()), limit: 1000, bytes: 1 << 20 };
        let page = shown.scan(component, &all).unwrap();
        assert_eq!(page.entries.len(), shown.component(component).unwrap().table.len());
        let text = |key: serde_json::Value| key.as_str().unwrap().to_owned();
        page.entries.into_iter().map(|(key, state)| (text(key), state)).collect()
    }
}

fn options(workers: u32) -> RunOptions {
    // Small epochs, so that commits are many.
    let epoch_bytes_max = 2 << 10;
    RunOptions {
        workers,
        commit_ms: 2,
        epoch_ms: 1,
        epoch_bytes_max,
        tries: 50,
        ..RunOptions::default()
    }
}

/// Panics at the calls of these numbers, of all tasks.
#[derive(Clone)]
struct Falls(Arc<AtomicU64>, fn(u64) -> bool);

impl Falls {
    fn at(falls: fn(u64) -> bool) -> Falls {
        Falls(Arc::default(), falls)
    }

    fn here(&self) {
        let call = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        assert!(!(self.1)(call), "a fall at call {call}");
    }
}

const GAP: i64 = 40;

egret::state! {
    /// Lines that were not sent on, and how many ever came.
    struct Held {
        lines: ListState<String>,
        came: Value<u64>,
    }
}

/// Sends lines on in sevens, or when they are old.
struct Pack(Falls);

/// The event time of a line `time number`.
fn ms(line: &str) -> i64 {
    line.split(' ').next().unwrap().parse().unwrap()
}

type Out = (Blob, String);

impl Pack {
    fn send(held: &mut Held, out: &mut Emitter<Out>, before: i64) {
        while held.lines.front().is_some_and(|line| ms(line) < before) {
            held.lines
                .pop_front()
                .into_iter()
                .for_each(|line| out.emit((Blob::from("line"), line)));
        }
    }
}

impl StatefulBolt<String, Out> for Pack {
    type State = Held;

    fn execute(
        &mut self,
        held: &mut Held,
        line: String,
        out: &mut Emitter<Out>,
        cx: &Context,
    ) -> ComponentResult {
        cx.timers().set(Timer::event((ms(&line) / GAP + 2) * GAP))?;
        // The last line only moves event time on.
        let last = line.ends_with("last");
        held.lines.push(line);
        *held.came += 1;
        if held.lines.len() == 7 && !last {
            Pack::send(held, out, i64::MAX);
        }
        self.0.here();
        Ok(())
    }

    fn on_timer(
        &mut self,
        held: &mut Held,
        timer: Timer,
        out: &mut Emitter<Out>,
        _: &Context,
    ) -> ComponentResult {
        // What was taken over from others need not be in order.
        let mut kept = Vec::new();
        while let Some(line) = held.lines.pop_front() {
            match ms(&line) + GAP <= timer.ms {
                true => out.emit((Blob::from("line"), line)),
                false => kept.push(line),
            }
        }
        kept.into_iter().for_each(|line| held.lines.push(line));
        self.0.here();
        Ok(())
    }

    fn rescale(&self) -> Rescale<Held> {
        Rescale::Deal {
            merge: |into, mut from| {
                while let Some(line) = from.lines.pop_front() {
                    into.lines.push(line);
                }
                *into.came += *from.came;
            },
            deal: |held, share| {
                let mut part = Held::default();
                for _ in 0..share.of(held.lines.len()) {
                    held.lines.pop_front().into_iter().for_each(|line| part.lines.push(line));
                }
                part
            },
        }
    }
}

/// Packs lines into a stream of its own.
fn pack(
    place: &Place,
    name: &str,
    tasks: u32,
    falls: &Falls,
    options: &RunOptions,
) -> egret::Result<Summary> {
    let mut builder = TopologyBuilder::new(name);
    builder.key_groups(KEY_GROUPS);
    let spout = LogSpout::<String>::from_stream("in").bounded();
    let lines = builder.spout("in", 1, spout)?.event_time(|line| ms(line))?;
    let falls = falls.clone();
    let packed = lines.shuffle().stateful("pack", tasks, move || Pack(falls.clone()))?;
    packed.sink("out", LogSink::to_stream(&format!("{name}-out")).partitions(2))?;
    builder.finish()?.run(&place.log, options, &Arc::default())
}

fn lines(from: i64, to: i64) -> Vec<String> {
    (from..to).map(|i| format!("{} {i}", i / 3)).collect()
}

fn end(lines: i64) -> i64 {
    lines * 100
}

/// All lines were sent on once, and none other.
fn is_all(place: &Place, name: &str, lines: &[String]) {
    let said = place.said(&format!("{name}-out"));
    let mut said: Vec<_> = said.into_iter().map(|(_, line)| line).collect();
    let mut all = lines.to_vec();
    said.sort();
    all.sort();
    assert!(said == all, "{} lines were sent on of {}", said.len(), all.len());
}

/// How many lines came, over all tasks; and that there is one state for each task at most.
fn came(place: &Place, name: &str, tasks: u32) -> u64 {
    let states = place.states(name, "pack");
    assert!(states.len() <= tasks as usize, "{states:?}");
    for key in states.keys() {
        let task = key.strip_prefix("task-").unwrap().split('.').next().unwrap();
        assert!(task.parse::<u32>().unwrap() < tasks, "{key}");
    }
    states.values().map(|state| state["came"].as_u64().unwrap()).sum()
}

#[test]
fn what_tasks_hold_survives_failures_restarts_and_other_numbers_of_tasks() {
    let place = Place::new(&["in"]);
    // Now and then, and at the first call of a run: before a task that took over from others has committed.
    let falls = Falls::at(|call| call.is_multiple_of(997));
    let (mut restarts, mut at) = (0, 0);
    let runs = [(1, 1), (2, 5), (2, 5), (1, 2), (2, 7), (2, 64), (1, 3), (1, 1), (2, 4)];
    for (nth, (workers, tasks)) in runs.into_iter().enumerate() {
        place.write("in", lines(at, at + 1000));
        at += 1000;
        // Every other time nothing is kept in memory.
        let undo_bytes_max = if nth % 2 == 0 { options(1).undo_bytes_max } else { 0 };
        let options = RunOptions { undo_bytes_max, ..options(workers) };
        let next = (falls.0.load(Ordering::Relaxed) + 3).next_multiple_of(997);
        falls.0.store(next - 3, Ordering::Relaxed);
        restarts += pack(&place, "pack", tasks, &falls, &options).unwrap().restarts;
        assert_eq!(came(&place, "pack", tasks), u64::try_from(at).unwrap(), "run {nth}");
    }
    assert!(restarts > 8, "{restarts} restarts");
    // Then event time comes to an end, and whatever is held is old.
    place.write("in", [format!("{} last", end(at))]);
    pack(&place, "pack", 3, &falls, &options(2)).unwrap();
    is_all(&place, "pack", &lines(0, at));
    let held: Vec<_> = place.states("pack", "pack").into_values().collect();
    let held: Vec<_> = held.iter().flat_map(|state| state["lines"].as_array().unwrap()).collect();
    assert_eq!(held, [&serde_json::Value::from(format!("{} last", end(at)))]);
}

/// What begins with what was there at a name begins with the states of its tasks, by other numbers of tasks too.
#[test]
fn a_named_commit_is_gone_back_to_and_forked_by_other_numbers_of_tasks() {
    let place = Place::new(&["in"]);
    let calm = Falls::at(|_| false);
    place.write("in", lines(0, 500));
    pack(&place, "pack", 3, &calm, &options(2)).unwrap();
    named::create(&place.log, "pack", "half").unwrap();
    let sent = place.said("pack-out").len();
    assert!(sent < 500, "some are held");
    place.write("in", lines(500, 800));
    pack(&place, "pack", 2, &calm, &options(2)).unwrap();
    // The fork reads what is its parent's.
    let from = Some("pack:half".parse::<Origin>().unwrap());
    let forked = RunOptions { from, ..options(1) };
    pack(&place, "fork", 5, &calm, &forked).unwrap();
    assert_eq!(came(&place, "fork", 5), 800);
    let back = RunOptions { restore: Some("half".to_owned()), ..options(2) };
    pack(&place, "pack", 7, &calm, &back).unwrap();
    assert_eq!(came(&place, "pack", 7), 800, "half of them once more");
    place.write("in", [format!("{} last", end(800))]);
    pack(&place, "fork", 1, &calm, &options(1)).unwrap();
    // The first `sent` of them are in its parent's output.
    let (said, of_parent) = (place.said("fork-out"), place.said("pack-out"));
    assert_eq!(said.len(), 800 - sent);
    pack(&place, "pack", 1, &calm, &options(1)).unwrap();
    let all: std::collections::BTreeSet<_> = said.into_iter().chain(of_parent).collect();
    assert_eq!(all.len(), 800);
}

/// A line is sent on with the sum of all rules.
struct Rule(Falls);

impl StatefulBolt<String, Out> for Rule {
    type State = Vec<u64>;

    fn execute(
        &mut self,
        rules: &mut Vec<u64>,
        line: String,
        out: &mut Emitter<Out>,
        _: &Context,
    ) -> ComponentResult {
        match line.strip_prefix("rule ") {
            Some(rule) => rules.push(rule.parse()?),
            None => {
                let sum: u64 = rules.iter().sum();
                out.emit((Blob::from(line.as_bytes()), format!("{} {sum}", rules.len())));
            }
        }
        self.0.here();
        Ok(())
    }

    fn rescale(&self) -> Rescale<Vec<u64>> {
        Rescale::Copy
    }
}

/// How many lines came.
struct Count(Falls);

impl StatefulBolt<String, Out> for Count {
    type State = u64;

    fn execute(
        &mut self,
        n: &mut u64,
        _: String,
        _: &mut Emitter<Out>,
        _: &Context,
    ) -> ComponentResult {
        *n += 1;
        self.0.here();
        Ok(())
    }

    fn flush(&mut self, n: &mut u64, out: &mut Emitter<Out>, cx: &Context) -> ComponentResult {
        let task = format!("{} of {}", cx.id(), cx.tasks());
        out.emit((Blob::from(task.as_bytes()), n.to_string()));
        Ok(())
    }

    fn rescale(&self) -> Rescale<u64> {
        Rescale::Merge(|into, from| *into += from)
    }
}

fn runs(
    place: &Place,
    workers: u32,
    attach: impl FnOnce(Stream<String>, Stream<String>) -> egret::Result<Stream<Out>>,
) -> Summary {
    let mut builder = TopologyBuilder::new("t");
    builder.key_groups(KEY_GROUPS);
    let spout = |of: &str| LogSpout::<String>::from_stream(of).bounded();
    let rules = builder.spout("rules", 1, spout("rules")).unwrap();
    let lines = builder.spout("in", 1, spout("in")).unwrap();
    let done = attach(rules, lines).unwrap();
    done.sink("out", LogSink::to_stream("out").partitions(2)).unwrap();
    builder.finish().unwrap().run(&place.log, &options(workers), &Arc::default()).unwrap()
}

#[test]
fn every_task_of_any_number_knows_what_all_were_told() {
    let place = Place::new(&["rules", "in"]);
    let falls = Falls::at(|call| call.is_multiple_of(307));
    let mut expected = Vec::new();
    let (mut known, mut restarts) = (Vec::new(), 0);
    let tasks = [(3, 2), (2, 5), (5, 1), (4, 7), (1, 6)];
    for (nth, (told, asked)) in (0u64..).zip(tasks) {
        let rules = nth * 10..nth * 10 + 10;
        place.write("rules", rules.clone().map(|rule| format!("rule {rule}")));
        known.extend(rules);
        let mut run = |tasks: u32| {
            let falls = falls.clone();
            let summary = runs(&place, 2, |rules, lines| {
                let both = rules.all().union(lines.shuffle())?;
                both.stateful("rule", tasks, move || Rule(falls.clone()))
            });
            restarts += summary.restarts;
        };
        run(told);
        let lines: Vec<_> = (0..300).map(|i| format!("line {nth} {i:03}")).collect();
        let sum: u64 = known.iter().sum();
        expected.extend(lines.iter().map(|line| (line.clone(), format!("{} {sum}", known.len()))));
        place.write("in", lines);
        run(asked);
    }
    assert!(restarts > 3, "{restarts} restarts");
    assert_eq!(place.said("out"), expected);
}

#[test]
fn sums_of_tasks_are_merged_and_the_sum_of_all_stays() {
    let place = Place::new(&["rules", "in"]);
    let falls = Falls::at(|call| call.is_multiple_of(401));
    let mut restarts = 0;
    for (nth, tasks) in (1..).zip([2, 7, 7, 3, 64, 1, 5]) {
        place.write("in", (0..500).map(|i| i.to_string()));
        let falls = falls.clone();
        restarts += runs(&place, 2, |rules, lines| {
            let all = rules.shuffle().union(lines.shuffle())?;
            all.stateful("count", tasks, move || Count(falls.clone()))
        })
        .restarts;
        let sums: Vec<u64> =
            place.states("t", "count").values().map(|n| n.as_u64().unwrap()).collect();
        assert_eq!(sums.iter().sum::<u64>(), nth * 500, "{tasks} tasks: {sums:?}");
    }
    assert!(restarts > 3, "{restarts} restarts");
}

/// A list of numbers where `Count` keeps one.
struct Numbers;

impl StatefulBolt<String, Out> for Numbers {
    type State = Vec<u64>;

    fn execute(
        &mut self,
        numbers: &mut Vec<u64>,
        line: String,
        out: &mut Emitter<Out>,
        _: &Context,
    ) -> ComponentResult {
        numbers.push(line.parse()?);
        out.emit((Blob::from("numbers"), numbers.len().to_string()));
        Ok(())
    }

    fn rescale(&self) -> Rescale<Vec<u64>> {
        Rescale::items()
    }
}

#[test]
fn another_format_is_refused_in_words_and_a_keyed_bolt_is_another_component() {
    let place = Place::new(&["in"]);
    place.write("in", ["1".to_owned()]);
    let run = |attach: &dyn Fn(Stream<String>) -> egret::Result<Stream<Out>>| {
        let mut builder = TopologyBuilder::new("t");
        let spout = LogSpout::<String>::from_stream("in").bounded();
        let done = attach(builder.spout("in", 1, spout)?)?;
        done.sink("out", LogSink::to_stream("out").partitions(2))?;
        let topology = builder.finish()?;
        let plan = topology.explain(1);
        topology.run(&place.log, &options(1), &Arc::default()).map(|_| plan)
    };
    let calm = || Count(Falls::at(|_| false));
    let plan = run(&|lines| lines.shuffle().stateful("count", 2, calm)).unwrap();
    assert!(plan.contains("stateful bolt count x2 -> (Blob, String)"), "{plan}");
    assert!(plan.contains("state u64 per task, checkpointed per commit"), "{plan}");
    for tasks in [2, 3] {
        let why = run(&|lines| lines.shuffle().stateful("count", tasks, || Numbers)).unwrap_err();
        let why = egret::chain(&why);
        assert!(why.contains("component `count`, key group "), "{why}");
        assert!(why.contains("state: was u64, is [u64]. Run the old code"), "{why}");
    }
    assert_eq!(place.said("out"), [("count/0 of 2".to_owned(), "1".to_owned())]);
}

#[test]
fn more_tasks_than_key_groups_are_refused() {
    let mut builder = TopologyBuilder::new("t");
    builder.key_groups(2);
    let lines = builder.spout("in", 1, LogSpout::<String>::from_stream("in")).unwrap();
    let done = lines.shuffle().stateful("count", 3, || Count(Falls::at(|_| false))).unwrap();
    done.sink("out", LogSink::to_stream("out")).unwrap();
    let why = builder.finish().unwrap_err().to_string();
    assert!(why.starts_with("stateful bolt `count` has 3 tasks but the topology only 2"), "{why}");
}
