//! At-most-once: nothing comes twice, and a run that nothing disturbs is complete when it returns.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and says what it skips")]

use std::path::Path;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use egret::component::ComponentResult;
use egret::{
    Blob, Context, Emitter, Guarantee, LogSink, LogSpout, Progress, RunOptions, Sink, Topology,
    TopologyBuilder,
};
use egret_log::stream::{Ends, ReadFrom, Record, StreamConfig};
use egret_log::{Log, LogConfig, clock};

fn open(dir: &Path) -> Log {
    Log::open(dir, LogConfig::default()).unwrap()
}

fn write_lines(log: &Log, lines: impl IntoIterator<Item = String>) {
    if log.stream("lines").is_err() {
        let config = StreamConfig { partitions: 3, ..StreamConfig::default() };
        log.create_stream("lines", config).unwrap();
    }
    let mut of = [const { Vec::new() }; 3];
    lines.into_iter().enumerate().for_each(|(i, line)| of[i % 3].push(Record::of(line)));
    for (partition, records) in (0..).zip(of) {
        log.writer("lines", partition).unwrap().append_wait(&records).unwrap();
    }
}

fn run(log: &Log, topology: &Topology, workers: u32) {
    let options = RunOptions { workers, commit_ms: 5, ..RunOptions::default() };
    topology.run(log, &options, &Arc::new(Progress::default())).unwrap();
}

/// Spouts emitted, of a bounded run of at-most-once that begins at `begins`.
fn lines_seen(
    log: &Log,
    begins: Option<Ends>,
    trap: impl Fn() + Clone + Send + Sync + 'static,
) -> Vec<u32> {
    let mut t = TopologyBuilder::new("once");
    t.guarantee(Guarantee::AtMostOnce);
    let source = LogSpout::<Blob>::from_stream("lines").bounded();
    let source = match begins {
        Some(begins) => source.begins_at(begins),
        None => source,
    };
    let seen: Arc<Mutex<Vec<u32>>> = Arc::default();
    let all = Arc::clone(&seen);
    let lines = t.spout("lines", 1, source).unwrap();
    lines
        .shuffle()
        .sink("out", 1, move || {
            let (all, trap) = (Arc::clone(&all), trap.clone());
            move |line: Blob| {
                trap();
                all.lock().unwrap().push(std::str::from_utf8(&line).unwrap().parse().unwrap());
            }
        })
        .unwrap();
    run(log, &t.finish().unwrap(), 1);
    let mut seen = seen.lock().unwrap().clone();
    seen.sort_unstable();
    seen
}

/// Once, a later run of at-most-once began at the end of the stream although its own input had been
/// appended just before, and read nothing.
#[test]
fn at_most_once_reads_what_its_run_appended_and_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let write = |from: u32, to: u32| write_lines(&log, (from..to).map(|n| n.to_string()));
    write(0, 10);
    assert_eq!(lines_seen(&log, None, || {}), (0..10).collect::<Vec<_>>());
    write(10, 20);
    assert!(lines_seen(&log, None, || {}).is_empty(), "a restart begins at the visible end");
    let begins = log.ends("lines").unwrap();
    write(20, 30);
    assert_eq!(lines_seen(&log, Some(begins), || {}), (20..30).collect::<Vec<_>>());
    // A generation of the run fails: what it read before is not read again.
    let begins = log.ends("lines").unwrap();
    write(30, 3000);
    let calls = Arc::new(AtomicU32::new(0));
    let trap = move || assert_ne!(calls.fetch_add(1, Ordering::Relaxed), 700, "a trap");
    let mut seen = lines_seen(&log, Some(begins), trap);
    let all = seen.len();
    seen.dedup();
    assert!(all >= 700 && seen.len() == all, "{all} lines, {} of them once", seen.len());
    log.close().unwrap();
}

/// A bolt that lets other threads run now and then; when depends on `seed`.
fn uneven(seed: usize) -> impl Fn(Blob, &mut Emitter<Blob>) + 'static {
    let calls = AtomicUsize::new(seed);
    move |line, out| {
        let n = calls.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9) >> 7;
        (0..n % 5).for_each(|_| std::thread::yield_now());
        out.emit(line);
    }
}

fn records(log: &Log, stream: &str) -> usize {
    let partitions = log.stream(stream).unwrap().config.partitions;
    let of = |partition| {
        let mut reader = log.reader(stream, partition, ReadFrom::Earliest).unwrap();
        let batches = std::iter::from_fn(|| reader.next_wait(Duration::ZERO).unwrap());
        batches.map(|batch| batch.records.len()).sum::<usize>()
    };
    (0..partitions).map(of).sum()
}

/// Once, the run ended when its last commit was processed, before that was written: `word_count`
/// printed a table with words missing.
#[test]
fn every_record_is_in_the_output_stream_when_the_run_returns() {
    for (seed, workers) in (0..8).flat_map(|seed| [(seed, 1), (seed, 2)]) {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path());
        let lines = 20 + seed * 211;
        write_lines(&log, (0..lines).map(|i| format!("{i} {}", "word ".repeat(i % 300))));
        let mut t = TopologyBuilder::new("copies");
        t.guarantee(Guarantee::AtMostOnce);
        let source = LogSpout::<Blob>::from_stream("lines").bounded();
        let copies = t.spout("lines", 1, source).unwrap().shuffle();
        let copies = copies.bolt("copy", 3, move || uneven(seed)).unwrap();
        copies.sink("out", LogSink::to_stream("copies").partitions(3)).unwrap();
        run(&log, &t.finish().unwrap(), workers);
        assert_eq!(records(&log, "copies"), lines, "seed {seed}, {workers} worker(s)");
        log.close().unwrap();
    }
}

/// Delivers when it is flushed, and not before.
struct Outside {
    kept: usize,
    delivered: Arc<AtomicUsize>,
}

impl Sink<Blob> for Outside {
    fn write(&mut self, _: Blob, _: &Context) -> ComponentResult {
        self.kept += 1;
        Ok(())
    }

    fn flush(&mut self, _: &Context) -> ComponentResult {
        self.delivered.fetch_add(std::mem::take(&mut self.kept), Ordering::Relaxed);
        Ok(())
    }
}

/// The input of a sink can end before it leaves the last commit, if nothing waits for the sink.
#[test]
fn every_sink_closes_the_last_commit_before_the_run_ends() {
    for (seed, workers) in (0..8).flat_map(|seed| [(seed, 1), (seed, 2), (seed, 3)]) {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path());
        let lines = 5 + seed * 100;
        write_lines(&log, (0..lines).map(|i| i.to_string()));
        let mut t = TopologyBuilder::new("outside");
        t.guarantee(Guarantee::AtMostOnce);
        let source = LogSpout::<Blob>::from_stream("lines").bounded();
        let copies = t.spout("lines", 1, source).unwrap().shuffle();
        let copies = copies.bolt("copy", 3, move || uneven(seed)).unwrap();
        let delivered = Arc::new(AtomicUsize::new(0));
        let of = Arc::clone(&delivered);
        let outside = move || Outside { kept: 0, delivered: Arc::clone(&of) };
        copies.shuffle().sink("out", 3, outside).unwrap();
        run(&log, &t.finish().unwrap(), workers);
        let delivered = delivered.load(Ordering::Relaxed);
        assert_eq!(delivered, lines, "seed {seed}, {workers} worker(s)");
        log.close().unwrap();
    }
}

/// Once, a sink held what it had until the commit ended, or it had 256 KiB of it: without commits, for ever.
#[test]
fn output_is_seen_at_once_where_it_need_not_be_committed() {
    for guarantee in [Guarantee::AtMostOnce, Guarantee::AtLeastOnce] {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path());
        write_lines(&log, (0..10).map(|i| i.to_string()));
        let mut t = TopologyBuilder::new("copies");
        t.guarantee(guarantee);
        let lines = t.spout("lines", 1, LogSpout::<Blob>::from_stream("lines")).unwrap();
        lines.sink("out", LogSink::to_stream("copies").partitions(1)).unwrap();
        let topology = t.finish().unwrap();
        let progress = Arc::new(Progress::default());
        let options = RunOptions { commit_ms: 3_600_000, ..RunOptions::default() };
        let seen = std::thread::scope(|scope| {
            let running = scope.spawn(|| topology.run(&log, &options, &progress));
            let until = clock::now() + Duration::from_secs(30);
            while log.stream("copies").is_err() && !running.is_finished() && clock::now() < until {
                std::thread::yield_now();
            }
            let mut reader = log.reader("copies", 0, ReadFrom::Earliest).unwrap();
            let mut seen = 0;
            while seen < 10 && clock::now() < until {
                let batch = reader.next_wait(Duration::from_millis(50)).unwrap();
                seen += batch.map_or(0, |batch| batch.records.len());
            }
            progress.stop();
            running.join().unwrap().unwrap();
            seen
        });
        assert_eq!(seen, 10, "{guarantee}: while no commit ends");
        log.close().unwrap();
    }
}
