//! What is said of a component beside its code: how fast a spout is, and values that whoever starts it may change.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use egret::{
    Blob, Bolt, ComponentResult, Context, Emitter, LogSink, LogSpout, Progress, RunOptions,
    TopologyBuilder,
};
use egret_log::stream::{ReadFrom, Record, StreamConfig};
use egret_log::{Log, LogConfig, clock};

fn open(dir: &tempfile::TempDir, records: u32) -> Log {
    let log = Log::open(dir.path(), LogConfig::default()).unwrap();
    log.create_stream("in", StreamConfig::default()).unwrap();
    let records: Vec<_> = (0..records).map(|n| Record::of(n.to_string())).collect();
    log.writer("in", 0).unwrap().append_wait(&records).unwrap();
    log
}

fn told(log: &Log) -> Vec<String> {
    let mut reader = log.reader("out", 0, ReadFrom::Earliest).unwrap();
    let mut told = Vec::new();
    while let Some(batch) = reader.next_wait(Duration::ZERO).unwrap() {
        let text = |record: &Record| String::from_utf8(record.value.to_vec()).unwrap();
        told.extend(batch.records.iter().map(text));
    }
    told
}

fn options() -> RunOptions {
    RunOptions { workers: 2, commit_ms: 1, ..RunOptions::default() }
}

/// Two tasks share the rate, and one of them has nothing to read: the other keeps to its half.
#[test]
fn a_spout_is_no_faster_than_its_rate_and_emits_everything() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir, 60);
    let mut t = TopologyBuilder::new("slow");
    let all = t.spout("in", 2, LogSpout::<Blob>::from_stream("in").bounded()).unwrap();
    all.rate(400.0).unwrap();
    all.sink("out", LogSink::to_stream("out").partitions(1)).unwrap();
    let began: Instant = clock::now();
    let summary = t.finish().unwrap().run(&log, &options(), &Arc::default()).unwrap();
    let took = clock::now() - began;
    assert_eq!((summary.tuples, summary.restarts), (60, 0));
    assert_eq!(told(&log), (0..60).map(|n| n.to_string()).collect::<Vec<_>>());
    // The first is there at once, a tenth of a second's twenty may come together, and each other after its time.
    let least = Duration::from_secs(1) * (60 - 21) / 200;
    assert!(took >= least, "{took:?} for what takes {least:?}");
    log.close().unwrap();
}

/// Sends on what is longer than it is told, with a word it is told.
#[derive(Default)]
struct Longer {
    than: usize,
    word: String,
}

impl Bolt<Blob, Blob> for Longer {
    fn open(&mut self, cx: &Context) -> ComponentResult {
        self.than = cx.config().get("than")?;
        cx.config().text("word")?.clone_into(&mut self.word);
        Ok(())
    }

    fn execute(&mut self, tuple: Blob, out: &mut Emitter<Blob>, _: &Context) -> ComponentResult {
        if tuple.len() > self.than {
            let tuple = std::str::from_utf8(&tuple)?;
            out.emit(Blob::from(format!("{} {tuple}", self.word).as_str()));
        }
        Ok(())
    }
}

#[test]
fn a_value_of_a_component_is_its_default_or_what_was_set_and_nothing_else_can_be_set() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir, 11);
    let mut t = TopologyBuilder::new("long");
    let all = t.spout("in", 1, LogSpout::<Blob>::from_stream("in").bounded()).unwrap();
    let long = all.shuffle().bolt("longer.than", 1, Longer::default).unwrap();
    let long = long.config("than", 1).unwrap().config("word", "n".to_owned()).unwrap();
    long.sink("out", LogSink::to_stream("out").partitions(1)).unwrap();
    let mut topology = t.finish().unwrap();
    let mut refused = |text: &str| topology.set(text).unwrap_err().to_string();
    assert_eq!(
        refused("shorter.than=2"),
        "there is no component `shorter`: there are `in`, `longer.than`, `out`"
    );
    assert_eq!(
        refused("longer.than.then=2"),
        "`then` is nothing that can be set: there are `than`, `word`"
    );
    assert_eq!(
        refused("in.x=2"),
        "`x` is nothing that can be set: there is nothing of this component"
    );
    assert_eq!(
        refused("longer.than.than=two"),
        "`than` cannot be `two` (invalid digit found in string): give it another value"
    );
    assert_eq!(refused("than"), "`than` sets nothing: say it as COMPONENT.KEY=VALUE");
    topology.set("longer.than.word=number =").unwrap();
    topology.run(&log, &options(), &Arc::new(Progress::default())).unwrap();
    assert_eq!(told(&log), ["number = 10"]);
    log.close().unwrap();
}

#[test]
fn rates_and_values_that_cannot_be_are_refused() {
    let mut t = TopologyBuilder::new("t");
    let all = t.spout("in", 1, LogSpout::<Blob>::from_stream("in")).unwrap();
    for rate in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        let told = all.rate(rate).unwrap_err().to_string();
        assert!(told.contains("give it a thousandth or more"), "{told}");
    }
    let bolt = all.shuffle().bolt("b", 1, Longer::default).unwrap();
    let told = bolt.rate(1.0).unwrap_err().to_string();
    assert!(told.starts_with("`b` is no spout"), "{told}");
    for key in ["", "a.b", "a=b", "a b"] {
        let told = bolt.config(key, 1).unwrap_err().to_string();
        assert!(told.contains("cannot name a value of a component"), "{told}");
    }
}
