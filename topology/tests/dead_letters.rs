//! Bolts with named outputs that fail at some tuples: of a failed call nothing is in any output, of a good one
//! everything, and what failed for good is a dead letter.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use egret::plan::Form;
use egret::{
    Blob, Bolt, ComponentResult, Context, DeadLetter, Emitter, Error, KeyedBolt, LogSink, LogSpout,
    OnError, Output, Progress, RunOptions, Stream, Then, Topology, TopologyBuilder,
};
use egret_log::stream::{Format, ReadFrom, Record, StreamConfig};
use egret_log::{Log, LogConfig};

const SIDE: Output<(Blob, u64)> = Output::new("side");

const TUPLES: u64 = 300;

/// What it emits of a tuple, to either output: of most one, of some many batches and more than a slice.
fn emitted(n: u64) -> u64 {
    if n % 100 == 7 || n % 100 == 8 { 20_000 } else { 1 }
}

/// Whether it fails at a tuple every time.
fn fails(n: u64) -> bool {
    n % 10 == 7
}

/// Emits to both outputs, and then fails: every time, or the first two times.
#[derive(Clone, Default)]
struct Failing(Arc<Mutex<BTreeMap<u64, u32>>>);

impl Failing {
    fn call(&self, n: u64, out: &mut Emitter<(Blob, u64)>) -> ComponentResult {
        let key = Blob::from(n.to_string().as_str());
        for i in 0..emitted(n) {
            out.emit((key.clone(), i));
            out.emit_to(&SIDE, (key.clone(), i));
        }
        let mut calls = self.0.lock().unwrap();
        let calls = calls.entry(n).or_default();
        *calls += 1;
        match fails(n) || n % 10 == 8 && *calls <= 2 {
            true => Err(format!("no {n}").into()),
            false => Ok(()),
        }
    }
}

impl Bolt<String, (Blob, u64)> for Failing {
    fn execute(
        &mut self,
        n: String,
        out: &mut Emitter<(Blob, u64)>,
        _: &Context,
    ) -> ComponentResult {
        self.call(n.parse()?, out)
    }
}

impl KeyedBolt<u64, String, (Blob, u64)> for Failing {
    type State = u64;
    fn execute(
        &mut self,
        _: &u64,
        _: &mut u64,
        n: String,
        out: &mut Emitter<(Blob, u64)>,
        _: &Context,
    ) -> ComponentResult {
        self.call(n.parse()?, out)
    }
}

/// One with a keyed bolt, or one without state, and its dead letters.
fn topology(keyed: bool) -> Topology {
    let mut t = TopologyBuilder::new("failing");
    let numbers = t.spout("in", 1, LogSpout::<String>::from_stream("in").bounded()).unwrap();
    let bolt = Failing::default();
    let failing =
        match keyed {
            true => numbers
                .fields_by(|n: &String| n.parse::<u64>().unwrap_or_default() % 16)
                .keyed("failing", 2, move || bolt.clone()),
            false => numbers.shuffle().bolt("failing", 2, move || bolt.clone()),
        };
    let failing = failing.unwrap().with_output(&SIDE).unwrap();
    let backoff = Duration::from_millis(1);
    failing.on_error(OnError::Retry { times: 2, backoff, then: Then::DeadLetter }).unwrap();
    let letters: Stream<DeadLetter<String>> = failing.dead_letters().unwrap();
    // Attached between the others, so that no output has the edges of its place.
    let side = failing.output(&SIDE).unwrap();
    side.sink("side", LogSink::to_stream("side").partitions(1)).unwrap();
    letters.sink("letters", LogSink::to_stream("letters").partitions(1)).unwrap();
    failing.sink("main", LogSink::to_stream("main").partitions(1)).unwrap();
    t.finish().unwrap()
}

fn open(dir: &tempfile::TempDir) -> Log {
    let log = Log::open(dir.path(), LogConfig::default()).unwrap();
    let format = Format::Utf8;
    log.create_stream("in", StreamConfig { format, ..StreamConfig::default() }).unwrap();
    let records: Vec<_> = (0..TUPLES).map(|n| Record::of(n.to_string())).collect();
    log.writer_of("in", 0, &Format::Utf8).unwrap().append_wait(&records).unwrap();
    log
}

fn records(log: &Log, stream: &str, format: &Format) -> Vec<Record> {
    let mut reader = log.reader_of(stream, 0, ReadFrom::Earliest, format).unwrap();
    let mut all = Vec::new();
    while let Some(batch) = reader.next_wait(Duration::ZERO).unwrap() {
        all.extend(batch.records);
    }
    all
}

/// What was emitted of each tuple, in order.
fn rows(log: &Log, stream: &str) -> BTreeMap<u64, Vec<u64>> {
    let mut rows = BTreeMap::<u64, Vec<u64>>::new();
    let number = |bytes: &[u8]| -> u64 { std::str::from_utf8(bytes).unwrap().parse().unwrap() };
    for record in records(log, stream, &Format::Bytes) {
        let of = number(&record.key.unwrap());
        rows.entry(of).or_default().push(number(&record.value));
    }
    rows
}

fn run(log: &Log, topology: &Topology, workers: u32) -> Result<(), Error> {
    let options =
        RunOptions { workers, commit_ms: 2, in_flight_bytes_max: 1 << 20, ..RunOptions::default() };
    topology.run(log, &options, &Arc::new(Progress::default())).map(drop)
}

#[test]
fn what_a_failed_call_emitted_to_named_outputs_is_taken_back_too() {
    for (keyed, workers) in [(false, 1), (false, 2), (true, 1), (true, 2)] {
        let dir = tempfile::tempdir().unwrap();
        let log = open(&dir);
        run(&log, &topology(keyed), workers).unwrap();
        let good = (0..TUPLES).filter(|n| !fails(*n));
        let wanted: BTreeMap<_, Vec<_>> = good.map(|n| (n, (0..emitted(n)).collect())).collect();
        for stream in ["main", "side"] {
            let rows = rows(&log, stream);
            let differs = wanted.iter().find(|(n, all)| rows.get(*n) != Some(*all));
            assert_eq!(differs.map(|(n, _)| n), None, "keyed {keyed}, {workers} workers, {stream}");
            assert_eq!(rows.len(), wanted.len(), "keyed {keyed}, {workers} workers, {stream}");
        }
        let letter = |record: &Record| {
            let letter: DeadLetter<String> = serde_json::from_slice(&record.value).unwrap();
            assert_eq!((letter.tries, letter.error), (3, format!("no {}", letter.tuple)));
            letter.tuple.parse::<u64>().unwrap()
        };
        let mut letters: Vec<_> =
            records(&log, "letters", &Format::Json).iter().map(letter).collect();
        letters.sort_unstable();
        assert!(letters.into_iter().eq((0..TUPLES).filter(|n| fails(*n))), "keyed {keyed}");
        log.close().unwrap();
    }
}

/// An output that was not declared is a mistake of the topology: no tuple is to blame, and none is set aside.
#[test]
fn an_output_that_is_not_there_fails_the_topology_whatever_becomes_of_tuples() {
    const NONE: Output<u64> = Output::new("none");
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir);
    let mut t = TopologyBuilder::new("undeclared");
    let numbers = t.spout("in", 1, LogSpout::<String>::from_stream("in").bounded()).unwrap();
    let wrong = || |_: String, out: &mut Emitter<String>| out.emit_to(&NONE, 1);
    let wrong = numbers.shuffle().bolt("wrong", 1, wrong).unwrap();
    wrong.on_error(OnError::DeadLetter).unwrap();
    let letters: Stream<DeadLetter<String>> = wrong.dead_letters().unwrap();
    letters.sink("letters", LogSink::to_stream("letters").partitions(1)).unwrap();
    wrong.sink("main", LogSink::to_stream("main").partitions(1)).unwrap();
    let error = run(&log, &t.finish().unwrap(), 1).unwrap_err().to_string();
    assert!(error.contains("task wrong/0: it emits to output `none`"), "{error}");
    assert!(records(&log, "letters", &Format::Json).is_empty());
    log.close().unwrap();
}

/// A grouping's own code runs between calls: no tuple is blamed for what it does.
#[test]
fn a_grouping_that_panics_fails_the_topology_whatever_becomes_of_tuples() {
    for of_letters in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let log = open(&dir);
        let mut t = TopologyBuilder::new("panics");
        let numbers = t.spout("in", 1, LogSpout::<String>::from_stream("in").bounded()).unwrap();
        let bolt = Failing::default();
        let failing = numbers.shuffle().bolt("failing", 1, move || bolt.clone()).unwrap();
        failing.with_output(&SIDE).unwrap().on_error(OnError::DeadLetter).unwrap();
        let letters: Stream<DeadLetter<String>> = failing.dead_letters().unwrap();
        let letters = letters.custom(move || {
            move |_: &DeadLetter<String>| if of_letters { panic!("not here") } else { 0 }
        });
        let texts =
            || |letter: DeadLetter<String>, out: &mut Emitter<String>| out.emit(letter.tuple);
        let texts = letters.bolt("letters", 1, texts).unwrap();
        texts.sink("letters-out", LogSink::to_stream("letters").partitions(1)).unwrap();
        let main = failing
            .custom(move || move |_: &(Blob, u64)| if of_letters { 0 } else { panic!("not here") });
        let copy = || |row: (Blob, u64), out: &mut Emitter<(Blob, u64)>| out.emit(row);
        let main = main.bolt("copy", 1, copy).unwrap();
        main.sink("main", LogSink::to_stream("main").partitions(1)).unwrap();
        let error = run(&log, &t.finish().unwrap(), 1).unwrap_err().to_string();
        assert!(error.contains("task failing/0: panicked: not here"), "{error}");
        assert!(records(&log, "letters", &Format::Utf8).is_empty(), "letters: {of_letters}");
        log.close().unwrap();
    }
}

#[test]
fn plans_tell_dead_letters_from_what_is_emitted() {
    let plan = topology(false).explain(1);
    for line in ["from failing:side by", "from failing:dead letters by", "from failing by"] {
        assert_eq!(plan.matches(line).count(), 1, "{line}: {plan}");
    }
    let json = topology(false).explain_as(Form::Json, 1, 1);
    assert!(json.contains("\"output\": \"dead letters\""), "{json}");
}
