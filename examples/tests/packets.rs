//! Lines that are held when the program is killed are sent, once, by the next run, with another number of tasks.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use egret::replica::shown::Range;
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
            Command::new(own.parent().unwrap().parent().unwrap().join("examples/packets"));
        program.args(["--commit-ms", "10", "--workers", workers]);
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

/// Runs the program, each time for a while longer and to its kill, until what is asked for is in the directory.
fn killed_until<T>(
    data: &Path,
    workers: &str,
    what: &str,
    mut ask: impl FnMut(&Log) -> Option<T>,
) -> (Log, T) {
    let until = clock::now() + WAIT;
    let mut lives = Duration::from_millis(100);
    loop {
        let running = Running::start(data, workers);
        std::thread::park_timeout(lives);
        drop(running);
        let log = Log::open(data, LogConfig::default()).unwrap();
        if let Some(answer) = ask(&log) {
            return (log, answer);
        }
        log.close().unwrap();
        assert!(clock::now() < until, "no {what} after {WAIT:?}");
        lives *= 2;
    }
}

fn append(log: &Log, lines: std::ops::Range<u32>) {
    let records: Vec<_> = lines.map(|line| Record::of(line.to_string())).collect();
    log.writer("lines", 0).unwrap().append_wait(&records).unwrap();
}

/// How many lines the tasks hold, as of the last commit.
fn held(log: &Log) -> Option<usize> {
    let mut replica = Replica::new("packets", ReplicaOptions::default());
    replica.catch_up(log).ok()?;
    let shown = replica.read();
    let all = Range { from: None, prefix: None, limit: 100, bytes: 1 << 20 };
    let tasks = shown.scan("gather", &all).ok()?.entries;
    Some(tasks.iter().map(|(_, lines)| lines.as_array().unwrap().len()).sum())
}

/// The packets there are.
fn packets(log: &Log) -> Option<Vec<String>> {
    let info = log.stream("packets").ok()?;
    let mut packets = Vec::new();
    for partition in 0..info.config.partitions {
        let mut reader = log.reader("packets", partition, ReadFrom::Earliest).unwrap();
        while let Some(batch) = reader.next_wait(Duration::ZERO).unwrap() {
            let text = |record: &Record| String::from_utf8(record.value.to_vec()).unwrap();
            packets.extend(batch.records.iter().map(text));
        }
    }
    Some(packets)
}

#[test]
fn lines_that_are_held_outlive_the_program_and_its_number_of_tasks() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogConfig::default()).unwrap();
    log.create_stream("lines", StreamConfig::default()).unwrap();
    append(&log, 0..8);
    log.close().unwrap();

    let lines = |log: &Log| held(log).filter(|held| *held == 8);
    let (log, _) = killed_until(dir.path(), "3", "lines held", lines);
    append(&log, 8..25);
    log.close().unwrap();

    let sent = |log: &Log| held(log).filter(|held| *held == 5).and_then(|_| packets(log));
    let (log, mut packets) = killed_until(dir.path(), "1", "packets", sent);
    packets.sort_by_key(String::len);
    let [first, second] = &packets[..] else { panic!("{packets:?}") };
    // Which task had which of the first eight is not said, nor in which order.
    let mut lines: Vec<u32> = first.split(", ").map(|line| line.parse().unwrap()).collect();
    lines.sort_unstable();
    assert_eq!(lines, (0..10).collect::<Vec<_>>());
    assert_eq!(second, "10, 11, 12, 13, 14, 15, 16, 17, 18, 19");
    log.close().unwrap();
}
