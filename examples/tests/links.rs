//! Pages are told of once when they are reached, whatever killed the program on the way.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use egret_log::stream::{Format, ReadFrom, Record, StreamConfig};
use egret_log::{Log, LogConfig, clock};

const WAIT: Duration = Duration::from_secs(60);

fn start(data: &Path, workers: &str) -> Child {
    // Cargo builds examples before the tests of their package, beside them.
    let own = std::env::current_exe().unwrap();
    let mut program = Command::new(own.parent().unwrap().parent().unwrap().join("examples/links"));
    program.args(["--commit-ms", "10", "--workers", workers]);
    program.arg("--data").arg(data);
    program.env_remove("EGRET_DATA").env_remove("EGRET_CLUSTER").stdin(Stdio::null());
    program.spawn().unwrap()
}

/// Runs the program, each time for a while longer and to its kill, until so many pages are reached; all that are.
fn killed_until(data: &Path, workers: &str, count: usize) -> Vec<String> {
    let until = clock::now() + WAIT;
    let mut lives = Duration::from_millis(100);
    loop {
        let mut running = start(data, workers);
        std::thread::park_timeout(lives);
        running.kill().unwrap();
        running.wait().unwrap();
        let log = Log::open(data, LogConfig::default()).unwrap();
        let reached = reached(&log);
        log.close().unwrap();
        if reached.len() >= count {
            return reached;
        }
        assert!(clock::now() < until, "{} of {count} after {WAIT:?}", reached.len());
        lives *= 2;
    }
}

fn append(data: &Path, links: impl IntoIterator<Item = (String, String)>) {
    let log = Log::open(data, LogConfig::default()).unwrap();
    if log.stream("links").is_err() {
        log.create_stream("links", StreamConfig::default()).unwrap();
    }
    let line = |(from, to)| Record::of(format!("{from} {to}"));
    let records: Vec<_> = links.into_iter().map(line).collect();
    log.writer("links", 0).unwrap().append_wait(&records).unwrap();
    log.close().unwrap();
}

fn reached(log: &Log) -> Vec<String> {
    let Ok(info) = log.stream("reached") else { return Vec::new() };
    let mut pages = Vec::new();
    for partition in 0..info.config.partitions {
        let mut reader =
            log.reader_of("reached", partition, ReadFrom::Earliest, &Format::Utf8).unwrap();
        while let Some(batch) = reader.next_wait(Duration::ZERO).unwrap() {
            let text = |record: &Record| String::from_utf8(record.value.to_vec()).unwrap();
            pages.extend(batch.records.iter().map(text));
        }
    }
    pages.sort();
    pages
}

fn page(n: u32) -> String {
    if n == 0 { "/".to_owned() } else { format!("/{n:04}") }
}

#[test]
fn pages_are_reached_once_however_often_the_program_is_killed() {
    let dir = tempfile::tempdir().unwrap();
    // A chain, and links back: nobody is told of twice.
    let chain = |pages: std::ops::Range<u32>| {
        pages.flat_map(|n| [(page(n), page(n + 1)), (page(n + 1), page(n / 2))])
    };
    append(dir.path(), chain(0..300));
    // A part that nothing leads to.
    append(dir.path(), chain(400..600));
    let first = killed_until(dir.path(), "3", 301);
    assert_eq!(first, (0..=300).map(page).collect::<Vec<_>>());
    append(dir.path(), [(page(17), page(400))]);
    let all = killed_until(dir.path(), "1", 502);
    assert_eq!(all, (0..=300).chain(400..=600).map(page).collect::<Vec<_>>());
}
