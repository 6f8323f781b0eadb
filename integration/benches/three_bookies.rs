//! Row 9: durable appends of 1 KB on three bookies (write quorum 3, ack quorum 2), each in a process of
//! its own, against one bookie in this process and the raw device; and the pause when one is killed.
//!
//! ```text
//! cargo bench -p egret-integration --bench three_bookies -- [--rounds 5] [--seconds 3] [--bytes 1024]
//! ```

#![expect(clippy::print_stdout, reason = "a program that prints figures")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use clap::Parser;
use egret_integration::cluster::{Cluster, serve_if_asked};
use egret_integration::measure::{Latencies, median, raw_writes};
use egret_log::clock;
use egret_log::stream::{PartitionWriter, ReadFrom, Record, StreamConfig};
use egret_log::{Log, LogConfig};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Options {
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    #[arg(long, default_value_t = 3)]
    seconds: u64,
    #[arg(long, default_value_t = 1024)]
    bytes: usize,
    #[arg(long, default_value_t = 16)]
    producers: usize,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

fn record(value: &Bytes) -> Record {
    Record { key: None, value: value.clone(), event_time_ms: None, sequence: None }
}

fn stream(log: &Log) -> anyhow::Result<PartitionWriter> {
    log.create_stream("bench", StreamConfig { partitions: 1, ..StreamConfig::default() })?;
    Ok(log.writer("bench", 0)?)
}

/// `producers` threads, each with one append outstanding.
fn append(log: &Log, bytes: usize, producers: usize, time: Duration) -> anyhow::Result<Latencies> {
    let writer = stream(log)?;
    let over = Arc::new(AtomicBool::new(false));
    let begin = clock::now();
    let threads: Vec<_> = (0..producers)
        .map(|_| {
            let (writer, over) = (writer.clone(), Arc::clone(&over));
            std::thread::spawn(move || -> anyhow::Result<Latencies> {
                let value = Bytes::from(vec![7u8; bytes]);
                let mut latencies = Latencies::new();
                while !over.load(Ordering::Relaxed) {
                    let started = clock::now();
                    writer.append_wait(&[record(&value)])?;
                    latencies.add(started.elapsed());
                }
                Ok(latencies)
            })
        })
        .collect();
    while begin.elapsed() < time {
        std::thread::park_timeout(time.saturating_sub(begin.elapsed()));
    }
    over.store(true, Ordering::Relaxed);
    let mut all = Latencies::new();
    for thread in threads {
        all.merge(&thread.join().map_err(|_| anyhow::anyhow!("a producer panicked"))??);
    }
    all.over(begin.elapsed(), bytes);
    Ok(all)
}

/// Appends one at a time while a bookie of the ensemble is killed: the longest append after that, and
/// how many acknowledged records are missing afterwards.
fn killed(bytes: usize, spare: bool) -> anyhow::Result<(f64, f64, u64)> {
    let mut cluster = Cluster::start(if spare { 4 } else { 3 })?;
    let log = cluster.log()?;
    let writer = stream(&log)?;
    let value = Bytes::from(vec![7u8; bytes]);
    let (mut before, mut after) = (Latencies::new(), Latencies::new());
    for _ in 0..2_000 {
        let started = clock::now();
        writer.append_wait(&[record(&value)])?;
        before.add(started.elapsed());
    }
    let record_of = log.describe_partition("bench", 0)?;
    let ledger = record_of.segments.last().context("a segment")?.ledger;
    let ensemble = log.ledgers().describe(ledger)?;
    let victim = ensemble.last_fragment().1.member(0).bookie.0;
    cluster.kill(usize::try_from(victim - 1)?)?;
    for _ in 0..2_000 {
        let started = clock::now();
        writer.append_wait(&[record(&value)])?;
        after.add(started.elapsed());
    }
    let mut reader = cluster.log()?.reader("bench", 0, ReadFrom::Earliest)?;
    let mut seen = 0u64;
    while let Some(batch) = reader.next_wait(Duration::from_millis(500))? {
        seen += batch.records.len() as u64;
    }
    Ok((before.percentile(99.0), after.percentile(100.0), 4_000 - seen.min(4_000)))
}

fn main() -> anyhow::Result<()> {
    serve_if_asked();
    let options = Options::parse();
    let time = Duration::from_secs(options.seconds);
    let mut rows: Vec<(&str, Vec<[f64; 4]>)> = Vec::new();
    let mut add = |name: &'static str, row: [f64; 4]| match rows.iter_mut().find(|r| r.0 == name) {
        Some((_, samples)) => samples.push(row),
        None => rows.push((name, vec![row])),
    };
    let mut pauses: Vec<(&str, Vec<f64>, u64)> =
        vec![("one of three killed", Vec::new(), 0), ("one of four killed", Vec::new(), 0)];
    for _ in 0..options.rounds {
        add("limit: 4 KiB write + fdatasync", raw_writes(4096, time).row());
        let dir = tempfile::tempdir_in(egret_integration::scratch())?;
        let one = Log::open(dir.path(), LogConfig::default())?;
        add(
            "one bookie in this process, one at a time",
            append(&one, options.bytes, 1, time)?.row(),
        );
        one.close()?;
        let cluster = Cluster::start(3)?;
        let log = cluster.log()?;
        add("three bookies, one at a time", append(&log, options.bytes, 1, time)?.row());
        drop(cluster);
        let cluster = Cluster::start(3)?;
        let (log, many) = (cluster.log()?, options.producers);
        add("three bookies, many at once", append(&log, options.bytes, many, time)?.row());
        drop(cluster);
        for (index, spare) in [false, true].into_iter().enumerate() {
            let (_, longest, lost) = killed(options.bytes, spare)?;
            pauses[index].1.push(longest);
            pauses[index].2 += lost;
        }
    }
    println!("{} bytes a record, {} producers for many", options.bytes, options.producers);
    println!("| what | p50 us | p99 us | operations/s | MB/s |");
    println!("|---|---|---|---|---|");
    for (name, samples) in &rows {
        let column = |i: usize| median(samples.iter().map(|row| row[i]).collect());
        let [p50, p99, rate, mb] = [column(0), column(1), column(2), column(3)];
        println!("| {name} | {p50:.0} | {p99:.0} | {rate:.0} | {mb:.1} |");
    }
    println!("\n| kill -9 | longest append, ms (median of rounds) | acknowledged and lost |");
    println!("|---|---|---|");
    for (name, longest, lost) in pauses {
        println!("| {name} | {:.1} | {lost} |", median(longest) / 1000.0);
    }
    Ok(())
}
