//! Lines that cannot be processed are set aside once, and the others counted once, whenever the program is killed.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use egret::DeadLetter;
use egret_log::stream::{Format, ReadFrom, Record, StreamConfig};
use egret_log::{Log, LogConfig, clock};

const WAIT: Duration = Duration::from_secs(60);

/// One that runs until it is killed.
struct Running(Child);

impl Running {
    fn start(data: &Path, workers: &str) -> Running {
        // Cargo builds examples before the tests of their package, beside them.
        let own = std::env::current_exe().unwrap();
        let mut program =
            Command::new(own.parent().unwrap().parent().unwrap().join("examples/dead_letters"));
        program.args(["--commit-ms", "10", "--workers", workers, "--set", "sum.most=1000"]);
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

fn records(log: &Log, stream: &str, format: &Format) -> Vec<Record> {
    let Ok(info) = log.stream(stream) else { return Vec::new() };
    let mut records = Vec::new();
    for partition in 0..info.config.partitions {
        let mut reader = log.reader_of(stream, partition, ReadFrom::Earliest, format).unwrap();
        while let Some(batch) = reader.next_wait(Duration::ZERO).unwrap() {
            records.extend(batch.records);
        }
    }
    records
}

/// What was set aside, and why.
fn rejected(log: &Log) -> BTreeMap<String, String> {
    let mut rejected = BTreeMap::new();
    for record in records(log, "rejected", &Format::Json) {
        let letter: DeadLetter<String> = serde_json::from_slice(&record.value).unwrap();
        let twice = rejected.insert(letter.tuple, letter.error);
        assert_eq!(twice, None, "it is set aside once");
    }
    rejected
}

/// The sums that were said of each account, in order.
fn sums(log: &Log) -> BTreeMap<String, Vec<u64>> {
    let mut sums = BTreeMap::<_, Vec<u64>>::new();
    for record in records(log, "sums", &Format::Bytes) {
        let account = String::from_utf8(record.key.unwrap().to_vec()).unwrap();
        let sum = std::str::from_utf8(&record.value).unwrap().parse().unwrap();
        sums.entry(account).or_default().push(sum);
    }
    sums
}

#[test]
fn each_line_is_counted_or_set_aside_once_however_often_the_program_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogConfig::default()).unwrap();
    let format = Format::Utf8;
    log.create_stream("payments", StreamConfig { format, ..StreamConfig::default() }).unwrap();
    let mut lines: Vec<String> = (0..500).map(|n| format!("a{} {}", n % 5, n % 3)).collect();
    lines.extend((0..50).map(|n| format!("a1 {n} of what?")));
    lines.extend(["nothing".to_owned(), "a2 9999".to_owned()]);
    let records: Vec<_> = lines.iter().map(|line| Record::of(line.clone())).collect();
    log.writer_of("payments", 0, &Format::Utf8).unwrap().append_wait(&records).unwrap();
    log.close().unwrap();

    let until = clock::now() + WAIT;
    let (mut lives, mut workers) = (Duration::from_millis(50), ["1", "2", "3"].into_iter().cycle());
    let log = loop {
        let running = Running::start(dir.path(), workers.next().unwrap());
        std::thread::park_timeout(lives);
        drop(running);
        let log = Log::open(dir.path(), LogConfig::default()).unwrap();
        let done = sums(&log).values().map(Vec::len).sum::<usize>() + rejected(&log).len();
        if done == lines.len() {
            break log;
        }
        log.close().unwrap();
        assert!(clock::now() < until, "{done} of {} after {WAIT:?}", lines.len());
        lives *= 2;
    };
    let rejected = rejected(&log);
    assert_eq!(rejected.len(), 52);
    assert_eq!(rejected["nothing"], "a payment is an account and cents");
    assert_eq!(rejected["a1 7 of what?"], "invalid digit found in string");
    assert_eq!(rejected["a2 9999"], "more than 1000 cents");
    for (account, said) in sums(&log) {
        assert_eq!(said.len(), 100);
        assert!(said.is_sorted(), "{account}: {said:?}");
        let of: u64 = account[1..].parse().unwrap();
        let wanted: u64 = (0..500).filter(|n| n % 5 == of).map(|n| n % 3).sum();
        assert_eq!(said.last(), Some(&wanted), "{account}");
    }
    log.close().unwrap();
}
