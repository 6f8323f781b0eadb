//! A topology over a log that another process holds: run, taken over by the holder, and taken back.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and says what it skips")]

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use egret::{Blob, Error, LogSink, LogSpout, Progress, RunOptions, Topology, TopologyBuilder};
use egret_log::stream::{ReadFrom, Record, StreamConfig};
use egret_log::{Log, LogConfig, clock};

fn topology() -> Topology {
    let mut t = TopologyBuilder::new("copy");
    let lines = t.spout("lines", 1, LogSpout::<Blob>::from_stream("lines")).unwrap();
    lines.sink("copies", LogSink::to_stream("copies").partitions(1)).unwrap();
    t.finish().unwrap()
}

/// So many copies, when they are there.
fn copies(log: &Log, records: usize) -> Vec<Vec<u8>> {
    let until = clock::now() + Duration::from_secs(60);
    while log.stream("copies").is_err() {
        assert!(clock::now() < until, "the topology makes its stream");
        thread::yield_now();
    }
    let mut found = Vec::new();
    let mut reader = log.reader("copies", 0, ReadFrom::Earliest).unwrap();
    while found.len() < records {
        let batch = reader.next_wait(Duration::from_secs(60)).unwrap().expect("they come");
        found.extend(batch.records.into_iter().map(|record| record.value.to_vec()));
    }
    found
}

/// Each record is copied once, whoever of the two runs the topology, and whichever of the two reads.
#[test]
fn a_topology_goes_from_an_attached_process_to_the_holder_and_back() {
    let dir = tempfile::tempdir().unwrap();
    let config = LogConfig { serve: true, shared: true, ..LogConfig::default() };
    let holder = Log::open(dir.path(), config).unwrap();
    let attached = Log::attach(dir.path()).unwrap();
    let config = StreamConfig { partitions: 1, ..StreamConfig::default() };
    holder.create_stream("lines", config).unwrap();
    let options = RunOptions { commit_ms: 5, ..RunOptions::default() };
    let start = |log: &Log, progress: &Arc<Progress>| {
        let (log, options, progress) = (log.clone(), options.clone(), Arc::clone(progress));
        thread::spawn(move || topology().run(&log, &options, &progress))
    };
    let mut before = None;
    let mut expected = Vec::new();
    for (n, log) in [&attached, &holder, &attached].into_iter().enumerate() {
        let progress = Arc::<Progress>::default();
        let running = start(log, &progress);
        let until = clock::now() + Duration::from_secs(60);
        while progress.generation() < u64::try_from(n).unwrap() + 1 {
            assert!(clock::now() < until, "it does not begin");
            thread::yield_now();
        }
        // The line is written by whoever does not run the topology.
        let other = if n == 1 { &attached } else { &holder };
        let line = n.to_string();
        let lines = other.writer("lines", 0).unwrap();
        // It may have been shut out by the other's writer, which is told at the first append.
        while lines.append_wait(&[Record::of(line.clone())]).is_err() {
            assert!(clock::now() < until, "the line is not taken");
        }
        expected.push(line.into_bytes());
        for reads in [&holder, &attached] {
            assert_eq!(copies(reads, n + 1), expected);
        }
        if let Some(earlier) = before.replace((running, progress)) {
            let ended = earlier.0.join().unwrap().unwrap_err();
            assert!(matches!(ended, Error::TakenOver { .. }), "{ended}");
        }
    }
    let (last, progress) = before.unwrap();
    progress.stop();
    last.join().unwrap().unwrap();
    attached.close().unwrap();
    holder.close().unwrap();
}

/// A topology of an attached process hung when the holder was gone.
#[test]
fn a_topology_ends_with_an_error_when_the_holder_does() {
    let dir = tempfile::tempdir().unwrap();
    let config = LogConfig { serve: true, shared: true, ..LogConfig::default() };
    let holder = Log::open(dir.path(), config).unwrap();
    let attached = Log::attach(dir.path()).unwrap();
    let config = StreamConfig { partitions: 1, ..StreamConfig::default() };
    holder.create_stream("lines", config).unwrap();
    holder.writer("lines", 0).unwrap().append_wait(&[Record::of("a")]).unwrap();
    let progress = Arc::<Progress>::default();
    let running = {
        let (log, progress) = (attached.clone(), Arc::clone(&progress));
        let options = RunOptions { commit_ms: 5, ..RunOptions::default() };
        thread::spawn(move || topology().run(&log, &options, &progress))
    };
    assert_eq!(copies(&attached, 1), [b"a"]);
    holder.close().unwrap();
    let ended = running.join().unwrap().unwrap_err();
    assert!(ended.to_string().contains("has ended"), "{ended}");
}
