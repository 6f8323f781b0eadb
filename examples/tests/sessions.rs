//! Sessions that are open when the program is killed are told, once, by the next run.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::ops::Bound;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use egret::replica::{Replica, ReplicaOptions};
use egret_log::stream::{ReadFrom, Record, StreamConfig};
use egret_log::{Log, LogConfig, clock};

const WAIT: Duration = Duration::from_secs(60);

/// One that runs until it is killed.
struct Running(Child);

impl Running {
    fn start(data: &Path, workers: &str) -> Running {
        // Cargo builds examples before the tests of their package, beside them.
        let own = std::env::current_exe().unwrap();
        let mut program =
            Command::new(own.parent().unwrap().parent().unwrap().join("examples/sessions"));
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

fn append(log: &Log, clicks: &[&str]) {
    let records: Vec<_> = clicks.iter().map(|click| Record::of(click.to_string())).collect();
    log.writer("clicks", 0).unwrap().append_wait(&records).unwrap();
}

/// The sessions told, once there are so many.
fn told(log: &Log, sessions: usize) -> Vec<String> {
    let until = clock::now() + WAIT;
    let mut told = Vec::new();
    while told.len() < sessions {
        assert!(clock::now() < until, "after {WAIT:?}: {told:?}");
        let Ok(info) = log.stream("sessions") else { continue };
        told.clear();
        for partition in 0..info.config.partitions {
            let mut reader = log.reader("sessions", partition, ReadFrom::Earliest).unwrap();
            while let Some(batch) = reader.next_wait(Duration::ZERO).unwrap() {
                let text = |record: &Record| String::from_utf8(record.value.to_vec()).unwrap();
                told.extend(batch.records.iter().map(text));
            }
        }
    }
    told.sort();
    told
}

#[test]
fn open_sessions_outlive_the_program_and_are_told_once() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogConfig::default()).unwrap();
    log.create_stream("clicks", StreamConfig::default()).unwrap();
    append(&log, &["1000 ann /", "2000 bob /", "61000 ann /shop", "no click", "70000 ann /shop"]);
    // Beyond bob's break, and not ann's.
    append(&log, &["1803000 cid /"]);
    log.close().unwrap();

    let running = Running::start(dir.path(), "2");
    let log = attached(dir.path());
    let bob = "bob 2000 to 2000: / 1";
    assert_eq!(told(&log, 1), [bob]);
    drop(log);
    drop(running);

    let running = Running::start(dir.path(), "1");
    let log = attached(dir.path());
    // Ann comes back after her break; then comes everybody's end but dan's.
    append(&log, &["1900000 ann /", "9000000 dan /"]);
    let all = [
        "ann 1000 to 70000: / 1, /shop 2",
        "ann 1900000 to 1900000: / 1",
        bob,
        "cid 1803000 to 1803000: / 1",
    ];
    assert_eq!(told(&log, 4), all);
    // Of those whose sessions are over nothing is kept: it was, for ever.
    let mut replica = Replica::new("sessions", ReplicaOptions::default());
    let until = clock::now() + WAIT;
    loop {
        // Other commits trim what is read.
        let caught_up = replica.catch_up(&log);
        let shown = replica.read();
        let keys: Vec<String> = shown.component("sessions").map_or_else(
            |_| Vec::new(),
            |kept| kept.table.range(Bound::Unbounded).map(|(key, _)| kept.key_word(key)).collect(),
        );
        if keys == ["dan"] {
            break;
        }
        assert!(clock::now() < until, "state of {keys:?} is kept: {caught_up:?}");
        std::thread::yield_now();
    }
    drop(log);
    drop(running);
}
