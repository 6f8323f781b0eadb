//! After a failure, tasks that are still there go on with the state they had, taken back to the last commit.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[allow(dead_code, reason = "the whole of it is used by the tests beside it")]
mod counting;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use egret::{
    Blob, ComponentResult, Context, Emitter, KeyedBolt, LogSink, LogSpout, Progress, RunOptions,
    Summary, TopologyBuilder,
};
use egret_log::stream::{Record, StreamConfig};

use counting::{open, said};

/// Counts, forgets a word at every seventh time, and panics now and then, after it changed its state.
struct Count {
    seen: Arc<AtomicU64>,
    falls: Arc<dyn Fn(u64) -> bool + Send + Sync>,
}

impl KeyedBolt<[u8], Blob, (Blob, u64)> for Count {
    type State = (u64, Vec<u64>);

    fn execute(
        &mut self,
        word: &[u8],
        (n, history): &mut (u64, Vec<u64>),
        _: Blob,
        out: &mut Emitter<(Blob, u64)>,
        _: &Context,
    ) -> ComponentResult {
        *n += 1;
        history.push(*n);
        if n.is_multiple_of(7) {
            history.clear();
        }
        let said = *n * 1000 + history.len() as u64;
        out.emit((Blob::from(word), said));
        let seen = self.seen.fetch_add(1, Ordering::Relaxed) + 1;
        assert!(!(self.falls)(seen), "a fall after {seen} words");
        Ok(())
    }
}

fn words(count: u64) -> Vec<String> {
    (0..count).map(|i| format!("word {}", i * i % 97)).collect()
}

/// What one thread says of each word, in order.
fn expected(words: &[String]) -> Said {
    let mut counts = BTreeMap::<Vec<u8>, Vec<u64>>::new();
    for word in words {
        let said = counts.entry(word.clone().into_bytes()).or_default();
        let n = said.len() as u64 + 1;
        said.push(n * 1000 + n % 7);
    }
    counts
}

/// What was said of each word, in order.
type Said = BTreeMap<Vec<u8>, Vec<u64>>;

fn run(
    words: &[String],
    options: RunOptions,
    falls: impl Fn(u64) -> bool + Send + Sync + 'static,
) -> (egret::Result<Summary>, Said, Arc<Progress>) {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    log.create_stream("words", StreamConfig::default()).unwrap();
    let records: Vec<_> = words.iter().map(|word| Record::of(word.clone())).collect();
    log.writer("words", 0).unwrap().append_wait(&records).unwrap();
    let mut builder = TopologyBuilder::new("count");
    let (seen, falls) = (Arc::default(), Arc::new(falls) as Arc<dyn Fn(u64) -> bool + Send + Sync>);
    let read = builder.spout("words", 1, LogSpout::<Blob>::from_stream("words").bounded()).unwrap();
    let make = move || Count { seen: Arc::clone(&seen), falls: Arc::clone(&falls) };
    let counted = read.fields(|word: &Blob| &word[..]).keyed("count", 3, make).unwrap();
    counted.sink("out", LogSink::to_stream("counts").partitions(2)).unwrap();
    let topology = builder.finish().unwrap();
    let progress = Arc::default();
    let outcome = topology.run(&log, &options, &progress);
    let output = said(&log, "counts");
    log.close().unwrap();
    (outcome, output, progress)
}

fn options(workers: u32) -> RunOptions {
    // Small epochs, so that commits are many.
    let epoch_bytes_max = 4 << 10;
    RunOptions {
        workers,
        commit_ms: 2,
        epoch_ms: 1,
        epoch_bytes_max,
        tries: 50,
        ..RunOptions::default()
    }
}

#[test]
fn survivors_go_on_with_what_they_had_and_nothing_is_lost_or_repeated() {
    let words = words(20_000);
    for workers in [1, 2] {
        let falls = |seen: u64| seen.is_multiple_of(1709);
        let (outcome, output, progress) = run(&words, options(workers), falls);
        assert!(outcome.unwrap().restarts > 5);
        assert_eq!(output, expected(&words), "{workers} workers");
        assert_eq!(progress.tasks_read(), 0, "{workers} workers: nothing had to be read again");
        assert!(progress.tasks_kept() >= 15, "{workers} workers: {}", progress.tasks_kept());
    }
}

/// Without memory for taking back, and with too little of it, state is read again; the results are the same.
#[test]
fn what_cannot_be_taken_back_is_read_again() {
    let words = words(20_000);
    for undo_bytes_max in [0, 600] {
        let falls = |seen: u64| seen.is_multiple_of(1709);
        let options = RunOptions { undo_bytes_max, ..options(2) };
        let (outcome, output, progress) = run(&words, options, falls);
        assert!(outcome.unwrap().restarts > 5);
        assert_eq!(output, expected(&words), "{undo_bytes_max} bytes");
        assert!(progress.tasks_read() > 5, "{undo_bytes_max} bytes: {}", progress.tasks_read());
    }
}

#[test]
fn state_beyond_its_bound_is_refused_with_what_to_do() {
    let words: Vec<String> = (0..40_000).map(|i| format!("{i:060}")).collect();
    let options = RunOptions { state_bytes_max: Some(2 << 20), ..options(1) };
    let (outcome, ..) = run(&words, options, |_| false);
    let said = outcome.unwrap_err().to_string();
    assert!(said.contains("task count/"), "{said}");
    assert!(said.contains("and may take 2 MiB: raise --state-mb"), "{said}");
}
