//! The examples with windows say what they promise to, also over a kill.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use egret_log::stream::{Format, ReadFrom, Record, StreamConfig};
use egret_log::{Log, LogConfig, clock};

const WAIT: Duration = Duration::from_secs(60);

/// One that runs until it is killed.
struct Running(Child);

impl Running {
    fn start(example: &str, data: &Path, workers: &str) -> Running {
        // Cargo builds examples before the tests of their package, beside them.
        let own = std::env::current_exe().unwrap();
        let examples = own.parent().unwrap().parent().unwrap().join("examples");
        let mut program = Command::new(examples.join(example));
        program.args(["--commit-ms", "10", "--processes", "2", "--workers", workers]);
        program.arg("--data").arg(data);
        program.env_remove("EGRET_DATA").env_remove("EGRET_CLUSTER").stdin(Stdio::null());
        Running(program.spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn attached(data: &Path) -> Log {
    let until = clock::now() + WAIT;
    loop {
        match Log::attach_within(data, WAIT) {
            Ok(log) => return log,
            // It is about to hold the directory.
            Err(why) => assert!(clock::now() < until, "{why}"),
        }
    }
}

fn append(log: &Log, stream: &str, lines: &[&str]) {
    let records: Vec<_> = lines.iter().map(|line| Record::of((*line).to_owned())).collect();
    log.writer(stream, 0).unwrap().append_wait(&records).unwrap();
}

/// What is in a stream of texts, sorted, once there is so much.
fn told(log: &Log, stream: &str, lines: usize) -> Vec<String> {
    let until = clock::now() + WAIT;
    let mut told = Vec::new();
    while told.len() < lines {
        assert!(clock::now() < until, "{stream} after {WAIT:?}: {told:?}");
        let Ok(info) = log.stream(stream) else { continue };
        told.clear();
        for partition in 0..info.config.partitions {
            let from = ReadFrom::Earliest;
            let mut reader = log.reader_of(stream, partition, from, &Format::Utf8).unwrap();
            while let Some(batch) = reader.next_wait(Duration::ZERO).unwrap() {
                let text = |record: &Record| String::from_utf8(record.value.to_vec()).unwrap();
                told.extend(batch.records.iter().map(text));
            }
        }
    }
    told.sort();
    told
}

fn with_stream(data: &Path, stream: &str, lines: &[&str]) {
    let log = Log::open(data, LogConfig::default()).unwrap();
    log.create_stream(stream, StreamConfig::default()).unwrap();
    append(&log, stream, lines);
    log.close().unwrap();
}

#[test]
fn what_trends_is_told_every_step_and_goes_on_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    with_stream(
        dir.path(),
        "posts",
        &["1000 rust", "2000 heron", "no post", "9000 rust", "31000 heron", "45000 egret"],
    );
    let first = ["10000: rust 2, heron 1", "20000: rust 2, heron 1", "30000: rust 2, heron 1"];
    let then = ["40000: heron 2, rust 2"];
    {
        let _running = Running::start("trending", dir.path(), "2");
        let log = attached(dir.path());
        assert_eq!(told(&log, "trending", 4), [&first[..], &then].concat());
    }
    let _running = Running::start("trending", dir.path(), "1");
    let log = attached(dir.path());
    append(&log, "posts", &["71000 end"]);
    let last = ["50000: heron 2, rust 2, egret 1", "60000: heron 2, rust 2, egret 1"];
    let after = ["70000: egret 1, heron 1"];
    assert_eq!(told(&log, "trending", 7), [&first[..], &then, &last, &after].concat());
}

fn sorted<'a>(parts: &[&[&'a str]]) -> Vec<&'a str> {
    let mut all = parts.concat();
    all.sort_unstable();
    all
}

#[test]
fn hours_are_told_again_and_what_is_too_late_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    // The roof's first hour is told when the second has begun.
    with_stream(dir.path(), "readings", &["roof 60000 21", "cellar 70000 12", "roof 3700000 19"]);
    let on_time =
        ["cellar 0..3600000: 12 to 12, OnTime", "roof 0..3600000: 21 to 21, OnTime"].to_vec();
    {
        let _running = Running::start("late_data", dir.path(), "2");
        let log = attached(dir.path());
        assert_eq!(told(&log, "hours", 2), on_time);
    }
    let _running = Running::start("late_data", dir.path(), "1");
    let log = attached(dir.path());
    append(&log, "readings", &["roof 120000 24"]);
    let again = vec!["roof 0..3600000: 21 to 24, Late"];
    assert_eq!(told(&log, "hours", 3), sorted(&[&on_time, &again]));
    // A day and an hour on, the first hour is closed for good.
    append(&log, "readings", &["roof 90000000 15"]);
    let second = vec!["roof 3600000..7200000: 19 to 19, OnTime"];
    assert_eq!(told(&log, "hours", 4), sorted(&[&on_time, &again, &second]));
    append(&log, "readings", &["roof 180000 30"]);
    assert_eq!(told(&log, "too-late", 1), ["roof 180000 30"]);
}
