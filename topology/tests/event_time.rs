//! Event time on its way: whatever tuples went through, windows behind it have them in time, and are told of.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use egret::window::{Tumbling, Windowed};
use egret::{
    Calls, ComponentError, ComponentResult, Context, DeadLetter, Either, Emitter, EventTime,
    KeyedBolt, LogSink, LogSpout, OnError, Output, Progress, Rescale, RunOptions, StatefulBolt,
    Stream, TopologyBuilder,
};
use egret_log::stream::{Format, ReadFrom, Record, StreamConfig};
use egret_log::{Log, LogConfig};

/// A key and a time.
type Event = (u64, i64);

const BOUND_MS: u64 = 20;
const SIZE: i64 = 50;

/// Far behind all others, in each partition: all windows before it are over.
const END: i64 = 1_000_000;

const WAYS: [&str; 8] =
    ["bolt", "named", "letters", "calls", "stateful", "joined", "windows", "united"];

fn at(event: &Event) -> i64 {
    event.1
}

fn parse(line: &str) -> Event {
    let (key, at) = line.split_once(' ').unwrap();
    (key.parse().unwrap(), at.parse().unwrap())
}

/// Events of a partition, out of order by less than the bound.
fn events(seed: u64, count: u64) -> impl Iterator<Item = Event> {
    (0..count).map(move |i| {
        let chance = (i + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
        (chance % 5, i64::try_from(i * 3 + chance % BOUND_MS).unwrap())
    })
}

const NAMED: Output<Event> = Output::new("named");

struct Both;

impl KeyedBolt<u64, Either<Event, Event>, Event> for Both {
    type State = u64;
    fn execute(
        &mut self,
        _: &u64,
        n: &mut u64,
        event: Either<Event, Event>,
        out: &mut Emitter<Event>,
        _: &Context,
    ) -> ComponentResult {
        *n += 1;
        let (Either::Left(event) | Either::Right(event)) = event;
        out.emit(event);
        Ok(())
    }
}

struct Pass;

impl StatefulBolt<Event, Event> for Pass {
    type State = u64;
    fn execute(
        &mut self,
        n: &mut u64,
        event: Event,
        out: &mut Emitter<Event>,
        _: &Context,
    ) -> ComponentResult {
        *n += 1;
        out.emit(event);
        Ok(())
    }
    fn rescale(&self) -> Rescale<u64> {
        Rescale::Copy
    }
}

/// Counts of windows of a way's tuples, into a stream of its name.
fn count(ways: &mut usize, name: &str, way: &Stream<Event>) -> egret::Result<()> {
    assert!(WAYS.contains(&name));
    *ways += 1;
    let windows =
        way.fields(|event: &Event| &event.0).window(Tumbling::of(Duration::from_millis(50)));
    let counts = windows.event_time(at).count(&format!("{name}-counts"), 2)?;
    let lines = counts.shuffle().bolt(&format!("{name}-lines"), 1, || {
        |n: Windowed<u64, u64>, out: &mut Emitter<String>| {
            out.emit(format!("{} {} {}", n.key, n.firing.window.end_ms, n.value));
        }
    })?;
    lines.sink(&format!("{name}-out"), LogSink::to_stream(name))
}

fn build(t: &mut TopologyBuilder, traps: &'static [u32]) -> egret::Result<()> {
    let time = EventTime { out_of_order_ms: BOUND_MS, ..EventTime::default() };
    let mut spout = |name: &str| -> egret::Result<Stream<String>> {
        let lines = t.spout(name, 2, LogSpout::<String>::from_stream(name).bounded())?;
        lines.event_time_with(time, |line| parse(line).1)
    };
    let (a, b) = (spout("a")?, spout("b")?);
    let calls = Arc::new(AtomicU32::new(0));
    let parsed = |name: &str, lines: &Stream<String>| {
        let calls = Arc::clone(&calls);
        lines.shuffle().bolt(name, 2, move || {
            let calls = Arc::clone(&calls);
            move |line: String, out: &mut Emitter<Event>| {
                assert!(!traps.contains(&calls.fetch_add(1, Ordering::Relaxed)), "a trap");
                let event = parse(&line);
                out.emit_to(&NAMED, event);
                out.emit(event);
            }
        })
    };
    let (a, b) = (parsed("parse-a", &a)?, parsed("parse-b", &b)?);
    let (a, b) = (a.with_output(&NAMED)?, b.with_output(&NAMED)?);
    let both = a.union(&b)?;
    let ways = &mut 0;
    count(ways, "united", &both)?;

    let copy = || |event: Event, out: &mut Emitter<Event>| out.emit(event);
    count(ways, "bolt", &both.shuffle().bolt("copy", 3, copy)?)?;
    count(ways, "named", &a.output(&NAMED)?.union(&b.output(&NAMED)?)?)?;

    let rejects = both.shuffle().bolt("reject", 2, || {
        |event: Event, out: &mut Emitter<String>| {
            assert!(event.1 < 0, "none is good");
            out.emit(String::new());
        }
    })?;
    let rejects = rejects.on_error(OnError::DeadLetter)?;
    rejects.sink("good", LogSink::to_stream("good"))?;
    let letters = rejects.dead_letters::<Event>()?.shuffle().bolt("letters", 2, || {
        |letter: DeadLetter<Event>, out: &mut Emitter<Event>| out.emit(letter.tuple)
    })?;
    count(ways, "letters", &letters)?;

    let answer = || {
        |event: Event| async move {
            for _ in 0..event.0 {
                tokio::task::yield_now().await;
            }
            Ok::<_, ComponentError>([event])
        }
    };
    count(ways, "calls", &both.shuffle().call("ask", 2, Calls::at_once(8).unordered(), answer)?)?;
    count(ways, "stateful", &both.shuffle().stateful("pass", 2, || Pass)?)?;
    let joined = a.fields(|event| &event.0).join(b.fields(|event| &event.0))?;
    count(ways, "joined", &joined.keyed("join", 2, || Both)?)?;

    // Windows that say their tuples when they are over, which is in time for windows with the same end.
    let small =
        both.fields(|event: &Event| &event.0).window(Tumbling::of(Duration::from_millis(10)));
    let told = small.event_time(at).contents("small", 2, |_, _, events: Vec<Event>| events)?;
    count(ways, "windows", &told)?;
    assert_eq!(*ways, WAYS.len());
    Ok(())
}

fn records(log: &Log, stream: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for partition in 0..log.stream(stream).unwrap().config.partitions {
        let mut reader =
            log.reader_of(stream, partition, ReadFrom::Earliest, &Format::Utf8).unwrap();
        while let Some(batch) = reader.next_wait(Duration::ZERO).unwrap() {
            let text = |record: &Record| String::from_utf8(record.value.to_vec()).unwrap();
            lines.extend(batch.records.iter().map(text));
        }
    }
    lines.sort();
    lines
}

#[test]
fn windows_behind_whatever_tuples_went_through_are_whole_and_told_of() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogConfig::default()).unwrap();
    let mut counts = BTreeMap::<(u64, i64), u64>::new();
    for (stream, seed) in [("a", 1), ("b", 77)] {
        let config =
            StreamConfig { partitions: 2, format: Format::Utf8, ..StreamConfig::default() };
        log.create_stream(stream, config).unwrap();
        for partition in 0..2 {
            let events: Vec<_> = events(seed + u64::from(partition) * 1000, 300).collect();
            for (key, at) in &events {
                *counts.entry((*key, (at.div_euclid(SIZE) + 1) * SIZE)).or_default() += 1;
            }
            let lines = events.into_iter().chain([(9, END)]).map(|(key, at)| format!("{key} {at}"));
            let lines: Vec<_> = lines.map(Record::of).collect();
            let writer = log.writer_of(stream, partition, &Format::Utf8).unwrap();
            writer.append_wait(&lines).unwrap();
        }
    }
    let mut t = TopologyBuilder::new("ways");
    build(&mut t, &[40, 700]).unwrap();
    let options = RunOptions { workers: 2, commit_ms: 1, ..RunOptions::default() };
    let progress = Arc::new(Progress::default());
    let ran = t.finish().unwrap().run(&log, &options, &progress).unwrap();
    assert_eq!(ran.restarts, 2);
    assert_eq!(progress.late_tuples(), 0);
    let line = |((key, end), n): ((u64, i64), u64)| format!("{key} {end} {n}");
    let mut expected: Vec<_> = counts.into_iter().map(line).collect();
    expected.sort();
    for way in WAYS {
        assert_eq!(records(&log, way), expected, "{way}");
    }
    log.close().unwrap();
}
