//! A component whose keys are several times what is kept in memory, over failures and restarts.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "the whole of it is used by the tests beside it")]
mod counting;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use egret::{
    Blob, ComponentResult, Context, Emitter, KeyedBolt, LogSink, LogSpout, Progress, RunOptions,
    Storage, Summary, Topology, TopologyBuilder,
};
use egret_log::Log;
use egret_log::stream::{Record, StreamConfig};
use egret_state_large::LargerThanMemory;

use counting::{open, said};

type Falls = Arc<dyn Fn(u64) -> bool + Send + Sync>;

/// Counts, keeps four hundred bytes beside each count, and panics now and then.
struct Count {
    seen: Arc<AtomicU64>,
    falls: Falls,
}

/// The lowest byte of a count.
fn low(n: u64) -> u8 {
    n.to_le_bytes()[0]
}

impl KeyedBolt<[u8], Blob, (Blob, u64)> for Count {
    type State = (u64, Vec<u8>);

    fn execute(
        &mut self,
        word: &[u8],
        (n, ballast): &mut (u64, Vec<u8>),
        _: Blob,
        out: &mut Emitter<(Blob, u64)>,
        _: &Context,
    ) -> ComponentResult {
        assert!(ballast.iter().all(|byte| *byte == low(*n)), "the ballast is the count's");
        *n += 1;
        *ballast = vec![low(*n); 400];
        out.emit((Blob::from(word), *n));
        let seen = self.seen.fetch_add(1, Ordering::Relaxed) + 1;
        assert!(!(self.falls)(seen), "a fall after {seen} words");
        Ok(())
    }
}

const WORDS: u64 = 30_000;
const KEYS: u64 = 6_007;

fn topology(storage: impl Storage, falls: Falls) -> Topology {
    let mut builder = TopologyBuilder::new("count");
    let seen = Arc::default();
    let read = builder.spout("words", 1, LogSpout::<Blob>::from_stream("words").bounded()).unwrap();
    let make = move || Count { seen: Arc::clone(&seen), falls: Arc::clone(&falls) };
    let by_word = read.fields(|word: &Blob| &word[..]);
    let counted = by_word.keyed_with("count", 3, storage, make).unwrap();
    counted.sink("out", LogSink::to_stream("counts").partitions(2)).unwrap();
    builder.finish().unwrap()
}

fn fill(log: &Log, from: u64) {
    let records: Vec<_> =
        (from..from + WORDS).map(|i| Record::of(format!("word {}", i * i % KEYS))).collect();
    log.writer("words", 0).unwrap().append_wait(&records).unwrap();
}

/// Of each word, what was said of it, in order, is 1, 2, 3 and so on, as often as it came.
fn check(log: &Log, words: u64) {
    let mut counts = BTreeMap::<Vec<u8>, u64>::new();
    for (word, said) in said(log, "counts") {
        let n = said.len() as u64;
        assert!(said.into_iter().eq(1..=n), "{}", String::from_utf8_lossy(&word));
        counts.insert(word, n);
    }
    let mut expected = BTreeMap::<Vec<u8>, u64>::new();
    for i in 0..words {
        *expected.entry(format!("word {}", i * i % KEYS).into_bytes()).or_default() += 1;
    }
    assert_eq!(counts, expected);
}

fn options(undo_bytes_max: usize) -> RunOptions {
    RunOptions {
        workers: 2,
        commit_ms: 2,
        epoch_ms: 1,
        epoch_bytes_max: 16 << 10,
        tries: 50,
        undo_bytes_max,
        ..RunOptions::default()
    }
}

/// Files of tasks below a data directory.
fn left(dir: &Path) -> Vec<String> {
    let found = fs::read_dir(dir.join("state/count/count")).unwrap();
    let names = found.map(|found| found.unwrap().file_name().into_string().unwrap());
    names.filter(|name| name != "lock").collect()
}

fn run(
    dir: &Path,
    storage: impl Storage,
    options: &RunOptions,
    falls: impl Fn(u64) -> bool + Send + Sync + 'static,
) -> (egret::Result<Summary>, Arc<Progress>, Log) {
    let log = open(dir);
    let progress = Arc::default();
    let outcome = topology(storage, Arc::new(falls)).run(&log, options, &progress);
    (outcome, progress, log)
}

/// 64 KiB of memory for each of three tasks, which hold two MiB and a half; every run begins where the one
/// before ended, in files or in memory, and nothing is lost or repeated.
#[test]
fn keys_beyond_memory_survive_falls_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.create_stream("words", StreamConfig::default()).unwrap();
    log.close().unwrap();
    let mut words = 0;
    for (undo_bytes_max, in_memory) in [(256 << 20, false), (0, false), (0, true), (0, false)] {
        let log = open(dir.path());
        fill(&log, words);
        words += WORDS;
        log.close().unwrap();
        let falls = |seen: u64| seen.is_multiple_of(4711);
        let options = options(undo_bytes_max);
        let (outcome, progress, log) = if in_memory {
            run(dir.path(), egret::InMemory, &options, falls)
        } else {
            run(dir.path(), LargerThanMemory::with_cache_bytes(64 << 10), &options, falls)
        };
        assert!(outcome.unwrap().restarts > 3);
        if undo_bytes_max > 0 {
            assert_eq!(progress.tasks_read(), 0, "files were taken back, too");
        } else {
            assert!(progress.tasks_read() > 3);
        }
        check(&log, words);
        log.close().unwrap();
        assert_eq!(left(dir.path()), Vec::<String>::new(), "files go with their tasks");
    }
}

#[test]
fn where_no_files_can_be_is_said_with_the_component_and_not_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.create_stream("words", StreamConfig::default()).unwrap();
    log.close().unwrap();
    let file = dir.path().join("a file");
    fs::write(&file, "").unwrap();
    let storage = LargerThanMemory::new(1).at(&file);
    let (outcome, _, log) = run(dir.path(), storage, &options(0), |_| false);
    log.close().unwrap();
    let said = outcome.unwrap_err().to_string();
    assert!(said.contains("failed 1 time(s)"), "{said}");
    assert!(said.contains("task count/"), "{said}");
    assert!(said.contains("a file/count/count/"), "{said}");
    assert!(said.contains("or name another directory with `LargerThanMemory::at`"), "{said}");
}

#[test]
fn the_plan_says_where_state_is_and_it_may_be_elsewhere_the_next_time() {
    let large = topology(LargerThanMemory::new(64), Arc::new(|_| false));
    let text = large.explain(1);
    assert!(
        text.contains("keys not in use are in files: 64 MiB of memory for each task"),
        "{text}"
    );
    let plain = topology(egret::InMemory, Arc::new(|_| false));
    assert_eq!(large.plan().fingerprint(), plain.plan().fingerprint());
}
