//! A whole topology on a disk whose power is cut: log, metadata, state, commits and output together.
//!
//! The job is written once and run again and again: load lines with a resumable producer, count their
//! words, read the counts. Power goes at chosen operations of the disk; what was not synced is lost,
//! torn or kept by the seed. Afterwards the same job must end with exact counts and no count written
//! twice. Beside it runs the control that must fail: a recovery that keeps output beyond the commit.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and says what it skips")]

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use egret::runtime::Faults;
use egret::{
    Blob, ComponentResult, Context, Emitter, KeyedBolt, LogSink, LogSpout, Progress, RunOptions,
    TopologyBuilder,
};
use egret_integration::kill::history::{Rows, repeats, totals};
use egret_log::bookie::BookieConfig;
use egret_log::disk::FaultyDisk;
use egret_log::stream::{Producer, ReadFrom, Record, StreamConfig};
use egret_log::{Log, LogConfig};

const LINES: usize = 240;

fn line(i: usize) -> String {
    format!("w{} w{} all", i % 13, i % 5)
}

fn expected() -> Vec<u8> {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    for i in 0..LINES {
        for word in line(i).split(' ') {
            *counts.entry(word.to_owned()).or_insert(0) += 1;
        }
    }
    counts.iter().flat_map(|(word, n)| format!("{n}\t{word}\n").into_bytes()).collect()
}

struct Count;

impl KeyedBolt<[u8], Blob, (Blob, u64)> for Count {
    type State = u64;

    fn execute(
        &mut self,
        _: &[u8],
        n: &mut u64,
        _: Blob,
        _: &mut Emitter<(Blob, u64)>,
        _: &Context,
    ) -> ComponentResult {
        *n += 1;
        Ok(())
    }

    fn flush(
        &mut self,
        word: &[u8],
        n: &mut u64,
        out: &mut Emitter<(Blob, u64)>,
        _: &Context,
    ) -> ComponentResult {
        out.emit((Blob::from(word), *n));
        Ok(())
    }
}

fn open(disk: &FaultyDisk) -> Result<Log, String> {
    let config = LogConfig {
        disk: Some(Arc::new(disk.clone())),
        bookie: BookieConfig {
            journal_file_bytes: 256 << 10,
            write_cache_bytes: 64 << 10,
            ..BookieConfig::default()
        },
        ..LogConfig::default()
    };
    Log::open(Path::new("/data"), config).map_err(|error| error.to_string())
}

/// Loads what is missing, counts what is uncounted. Any error is the power's, or a defect: the caller
/// knows which it asked for.
fn job(disk: &FaultyDisk, workers: u32, faults: Faults) -> Result<Rows, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let log = open(disk)?;
    if log.stream("lines").is_err() {
        let config = StreamConfig { partitions: 2, ..StreamConfig::default() };
        log.create_stream("lines", config).map_err(|e| text(&e))?;
    }
    let producer = Producer { name: Bytes::from_static(b"file"), note: Bytes::new() };
    for partition in 0..2usize {
        let writer = log.writer("lines", u32::try_from(partition).unwrap_or_default());
        let writer = writer.map_err(|e| text(&e))?;
        let own: Vec<Record> = (partition..LINES)
            .step_by(2)
            .map(|i| Record {
                key: None,
                value: line(i).into(),
                event_time_ms: None,
                sequence: Some(i as u64),
            })
            .collect();
        for batch in own.chunks(30) {
            writer.append_as_wait(&producer, batch).map_err(|e| text(&e))?;
        }
    }
    let topology = || -> egret::Result<_> {
        let mut t = TopologyBuilder::new("words");
        let lines = t.spout("lines", 2, LogSpout::<Blob>::from_stream("lines").bounded())?;
        let words = lines.shuffle().bolt("split", workers, || {
            |line: Blob, out: &mut Emitter<Blob>| {
                line.split(|b| *b == b' ').for_each(|word| out.emit(Blob::from(word)));
            }
        })?;
        let counts = words.fields(|w| w.as_bytes()).keyed("count", workers, || Count)?;
        counts.sink("out", LogSink::to_stream("counts").partitions(2).segment_bytes_max(2048))?;
        t.finish()
    };
    let options = RunOptions {
        workers,
        commit_ms: 1,
        epoch_ms: 1,
        epoch_bytes_max: 1500,
        tries: 1,
        faults,
        ..RunOptions::default()
    };
    let topology = topology().map_err(|e| text(&e))?;
    topology.run(&log, &options, &Arc::new(Progress::default())).map_err(|e| text(&e))?;
    let rows = output(&log)?;
    log.close().map_err(|e| text(&e))?;
    Ok(rows)
}

fn output(log: &Log) -> Result<Rows, String> {
    let mut rows = Rows::new();
    for partition in 0..2 {
        let reader = log.reader("counts", partition, ReadFrom::Earliest);
        let mut reader = reader.map_err(|e| e.to_string())?;
        while let Some(batch) = reader.next_wait(Duration::ZERO).map_err(|e| e.to_string())? {
            for (slot, record) in (0u32..).zip(&batch.records) {
                let key = record.key.as_ref().ok_or("a count without its word")?.to_vec();
                let n = std::str::from_utf8(&record.value).map_err(|e| e.to_string())?;
                let n = n.parse().map_err(|e: std::num::ParseIntError| e.to_string())?;
                rows.insert((partition, batch.position(slot)), (key, n));
            }
        }
    }
    Ok(rows)
}

/// Cuts the power at `at`, once more in the run after it if `again`, then lets the job end.
fn survive(workers: u32, at: u64, seed: u64, again: Option<u64>, faults: Faults) -> Rows {
    let mut disk = FaultyDisk::new();
    disk.crash_after(at);
    // The first run ends however the power lets it.
    drop(job(&disk, workers, Faults::default()));
    disk = disk.reboot(seed);
    if let Some(again) = again {
        disk.crash_after(disk.operations() + again);
        drop(job(&disk, workers, faults));
        disk = disk.reboot(seed + 1);
    }
    let ended = job(&disk, workers, faults);
    ended.unwrap_or_else(|error| {
        panic!("{workers} worker(s), cut at {at}, then {again:?}, seed {seed}: {error}")
    })
}

fn operations(workers: u32) -> u64 {
    let disk = FaultyDisk::new();
    let rows = job(&disk, workers, Faults::default()).unwrap();
    assert_eq!(totals(&rows), expected());
    disk.operations()
}

fn sweep(workers: u32, points: u64) {
    let total = operations(workers);
    for point in 0..points {
        let at = total * point / points;
        let again = (point % 3 == 0).then_some(total / 4 + point);
        let rows = survive(workers, at, point, again, Faults::default());
        let case =
            format!("{workers} worker(s), cut at {at} of {total}, then {again:?}, seed {point}");
        assert_eq!(totals(&rows), expected(), "{case}");
        let repeated = repeats(&rows);
        assert!(repeated.is_empty(), "{case}: {repeated:?}");
    }
}

#[test]
fn counts_are_exact_wherever_the_power_is_cut() {
    sweep(1, 120);
}

#[test]
fn counts_are_exact_wherever_the_power_is_cut_on_two_workers() {
    sweep(2, 60);
}

#[test]
fn keeping_output_beyond_the_commit_shows_repeats() {
    let faults = Faults { keep_uncommitted_output: true, ..Faults::default() };
    let total = operations(1);
    // On a fast machine a job has few commits, and little of it lies between output and its commit.
    let shown = (0..4000u64).any(|point| {
        let at = total * (10 + point % 90) / 100 + point % 37;
        !repeats(&survive(1, at, point, None, faults)).is_empty()
    });
    assert!(shown, "the control repeats nothing, so the oracle above sees nothing");
}
