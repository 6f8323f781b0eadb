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

/// Asks again until there is an answer.
fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let until = clock::now() + WAIT;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(clock::now() < until, "no {what} after {WAIT:?}");
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

/// The packets, once there are so many.
fn packets(log: &Log, count: usize) -> Vec<String> {
    wait_for("packets", || {
        let info = log.stream("packets").ok()?;
        let mut packets = Vec::new();
        for partition in 0..info.config.partitions {
            let mut reader = log.reader("packets", partition, ReadFrom::Earliest).unwrap();
            while let Some(batch) = reader.next_wait(Duration::ZERO).unwrap() {
                let text = |record: &Record| String::from_utf8(record.value.to_vec()).unwrap();
                packets.extend(batch.records.iter().map(text));
            }
        }
        (packets.len() >= count).then_some(packets)
    })
}

#[test]
fn lines_that_are_held_outlive_the_program_and_its_number_of_tasks() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogConfig::default()).unwrap();
    log.create_stream("lines", StreamConfig::default()).unwrap();
    append(&log, 0..8);
    log.close().unwrap();

    // It holds the directory until it is killed.
    let attached = || wait_for("log", || Log::attach_within(dir.path(), WAIT).ok());
    let running = Running::start(dir.path(), "3");
    let log = attached();
    wait_for("lines held", || held(&log).filter(|held| *held == 8));
    drop((log, running));

    let running = Running::start(dir.path(), "1");
    let log = attached();
    append(&log, 8..25);
    let mut packets = packets(&log, 2);
    packets.sort_by_key(String::len);
    let [first, second] = &packets[..] else { panic!("{packets:?}") };
    // Which task had which of the first eight is not said, nor in which order.
    let mut lines: Vec<u32> = first.split(", ").map(|line| line.parse().unwrap()).collect();
    lines.sort_unstable();
    assert_eq!(lines, (0..10).collect::<Vec<_>>());
    assert_eq!(second, "10, 11, 12, 13, 14, 15, 16, 17, 18, 19");
    wait_for("lines held", || held(&log).filter(|held| *held == 5));
    drop((log, running));
}
