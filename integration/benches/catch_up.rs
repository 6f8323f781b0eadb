//! Row 10: readers that catch up from history beside appends, how fast they do, and what a byte appended
//! costs the disks. Three bookies (write quorum 3, ack quorum 2), each in a process of its own.
//!
//! ```text
//! cargo bench -p egret-integration --bench catch_up -- [--rounds 3] [--seconds 5] [--megabytes 512]
//! ```
//! History is written once: a stream with a partition for each reader. Before each pass the kernel is
//! told to forget the bookies' files, so readers are served by the medium but for the newest, which
//! bookies hold in memory. The limit reads one bookie's extents from front to end with nothing around
//! it, past the page cache. Appends go on at a fixed rate, counted from when each was meant to be sent.

#![expect(clippy::print_stdout, reason = "a program that prints figures")]

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use bytes::Bytes;
use clap::Parser;
use egret_integration::bench::host::{self, DiskBytes};
use egret_integration::bench::latencies::Row;
use egret_integration::bench::limit;
use egret_integration::bench::load::{self, Producer, StreamProducer};
use egret_integration::bench::rows::number;
use egret_integration::cluster::{Cluster, serve_if_asked};
use egret_integration::measure::{cpu_seconds, median};
use egret_log::stream::{PartitionWriter, ReadFrom, Record, StreamConfig};
use egret_log::{Log, clock};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Told {
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// How long appends are measured, each time
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Bytes of a record
    #[arg(long, default_value_t = 1024)]
    bytes: usize,
    /// History, all partitions together
    #[arg(long, default_value_t = 512)]
    megabytes: usize,
    #[arg(long, default_value_t = 8)]
    readers: u32,
    /// Appends a second
    #[arg(long, default_value_t = 2000.0)]
    rate: f64,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// Records in one append while history is written.
const AT_ONCE: usize = 64;

/// How long a reader waits for what must be there.
const READ_WAIT: Duration = Duration::from_secs(30);

const HISTORY: &str = "history";

fn writer(log: &Log, name: &str) -> anyhow::Result<PartitionWriter> {
    log.create_stream(name, StreamConfig { partitions: 1, ..StreamConfig::default() })?;
    Ok(log.writer(name, 0)?)
}

/// Bytes the bookies had the disk write.
fn written(cluster: &Cluster) -> Option<u64> {
    cluster.pids().map(|pid| Some(DiskBytes::of(pid)?.written)).sum()
}

/// What appending cost the disks of three bookies.
struct Cost {
    what: String,
    appended: f64,
    written: Option<u64>,
    stored: u64,
}

fn cost(
    cluster: &Cluster,
    what: String,
    append: impl FnOnce() -> anyhow::Result<f64>,
) -> anyhow::Result<Cost> {
    let (before, held) = (written(cluster), cluster.stored_bytes()?);
    let appended = append()?;
    let written = written(cluster).zip(before).map(|(after, before)| after - before);
    Ok(Cost { what, appended, written, stored: cluster.stored_bytes()?.saturating_sub(held) })
}

impl Cost {
    fn print(&self, copies: usize) {
        let each = |bytes: u64| bytes as f64 / (self.appended * copies as f64);
        println!(
            "| {} | {:.0} | {} | {:.2} |",
            self.what,
            self.appended / 1e6,
            number(self.written.map_or(f64::NAN, each), 2),
            each(self.stored),
        );
    }
}

/// Writes history; how many records each partition has.
fn write_history(log: &Log, told: &Told) -> anyhow::Result<u64> {
    let config = StreamConfig { partitions: told.readers, ..StreamConfig::default() };
    log.create_stream(HISTORY, config)?;
    let records = vec![Record::of(vec![7; told.bytes]); AT_ONCE];
    let appends = (told.megabytes << 20) / told.readers as usize / told.bytes / AT_ONCE;
    for partition in 0..told.readers {
        let mut producer = StreamProducer::new(&log.writer(HISTORY, partition)?);
        for _ in 0..appends {
            producer.append_all(&records, clock::now());
            producer.settle(16)?;
        }
        producer.settle(0)?;
    }
    Ok((appends * AT_ONCE) as u64)
}

/// One append of `bytes` after the other, or as many outstanding as said, for so long.
fn append_some(log: &Log, name: &str, outstanding: usize, told: &Told) -> anyhow::Result<f64> {
    let mut producer = [StreamProducer::new(&writer(log, name)?)];
    let (value, time) = (Bytes::from(vec![7; told.bytes]), Duration::from_secs(told.seconds));
    let row = load::closed(&mut producer, outstanding, &value, time, || 0.0)?;
    Ok(row.mb * 1e6 * told.seconds as f64)
}

/// Bookies' extents: all of them, or those of the first bookie.
fn extents(cluster: &Cluster, first: bool) -> anyhow::Result<Vec<PathBuf>> {
    let of = |path: &PathBuf| {
        let mut parts = path.components().rev().skip(1).map(|part| part.as_os_str());
        parts.next().is_some_and(|dir| dir == "extents") && (!first || parts.any(|dir| dir == "b1"))
    };
    Ok(cluster.files()?.into_iter().map(|(path, _)| path).filter(of).collect())
}

/// Has the kernel forget what the bookies' files hold.
fn go_cold(cluster: &Cluster) -> anyhow::Result<()> {
    for path in extents(cluster, false)? {
        // A checkpoint may have removed it meanwhile.
        drop(host::forget_file(&path));
    }
    Ok(())
}

/// Reads a partition from its start.
fn read_all(log: &Log, partition: u32, records: u64, over: &AtomicBool) -> anyhow::Result<u64> {
    let mut reader = log.reader(HISTORY, partition, ReadFrom::Earliest)?;
    let (mut seen, mut bytes) = (0, 0);
    while seen < records && !over.load(Ordering::Relaxed) {
        let batch = reader.next_wait(READ_WAIT)?.context("history ends too early")?;
        seen += batch.records.len() as u64;
        bytes += batch.records.iter().map(|record| record.bytes() as u64).sum::<u64>();
    }
    Ok(bytes)
}

/// So many readers, each reading its partition from the start once: megabytes a second, and CPU seconds
/// of this process and the bookies for a gigabyte.
fn read_once(cluster: &Cluster, readers: u32, records: u64) -> anyhow::Result<(f64, f64)> {
    go_cold(cluster)?;
    let never = AtomicBool::new(false);
    let logs: anyhow::Result<Vec<_>> = (0..readers).map(|_| cluster.log()).collect();
    let logs = logs?;
    let all_cpu = || cpu_seconds() + cluster.pids().map(host::cpu_seconds_of).sum::<f64>();
    let (begin, cpu) = (clock::now(), all_cpu());
    let never = &never;
    let bytes = std::thread::scope(|scope| {
        let threads: Vec<_> = logs
            .iter()
            .zip(0..)
            .map(|(log, partition)| scope.spawn(move || read_all(log, partition, records, never)))
            .collect();
        let joined =
            threads.into_iter().map(|t| t.join().map_err(|_| anyhow!("a reader panicked"))?);
        joined.sum::<anyhow::Result<u64>>()
    })?;
    let gigabytes = bytes as f64 / 1e9;
    Ok((gigabytes * 1e3 / begin.elapsed().as_secs_f64(), (all_cpu() - cpu) / gigabytes))
}

/// Appends at the fixed rate, with so many readers reading history over and over.
fn append_beside(
    cluster: &Cluster,
    name: &str,
    readers: u32,
    records: u64,
    told: &Told,
) -> anyhow::Result<(Row, f64)> {
    let log = cluster.log()?;
    let mut producer = StreamProducer::new(&writer(&log, name)?);
    let value = Bytes::from(vec![7; told.bytes]);
    producer.append_wait(&value)?;
    let (over, read) = (AtomicBool::new(false), AtomicU64::new(0));
    let logs: anyhow::Result<Vec<_>> = (0..readers).map(|_| cluster.log()).collect();
    let (logs, begin) = (logs?, clock::now());
    let time = Duration::from_secs(told.seconds);
    let row = std::thread::scope(|scope| {
        let (over, read) = (&over, &read);
        let threads: Vec<_> = logs
            .iter()
            .zip(0..)
            .map(|(log, partition)| {
                scope.spawn(move || {
                    while !over.load(Ordering::Relaxed) {
                        go_cold(cluster)?;
                        let bytes = read_all(log, partition, records, over)?;
                        read.fetch_add(bytes, Ordering::Relaxed);
                    }
                    anyhow::Ok(())
                })
            })
            .collect();
        let run = load::open(&mut producer, told.rate, time, |_| value.clone(), || Ok(()));
        over.store(true, Ordering::Relaxed);
        for thread in threads {
            thread.join().map_err(|_| anyhow!("a reader panicked"))??;
        }
        anyhow::Ok(run?.1)
    })?;
    let mb = read.into_inner() as f64 / 1e6 / begin.elapsed().as_secs_f64();
    Ok((row, mb))
}

fn main() -> anyhow::Result<()> {
    serve_if_asked();
    let told = Told::parse();
    ensure!(told.readers > 0, "--readers says how many there are: at least one");
    let before = host::load_average();
    let cluster = Cluster::start(3)?;
    let log = cluster.log()?;
    let mut records = 0;
    let mut costs = vec![cost(&cluster, format!("{AT_ONCE} records an append"), || {
        records = write_history(&log, &told)?;
        Ok(records as f64 * f64::from(told.readers) * told.bytes as f64)
    })?];
    let mut limits = [vec![], vec![]];
    let mut reads = [vec![], vec![]];
    let mut appends = [vec![], vec![]];
    for round in 0..told.rounds {
        let files = extents(&cluster, true)?;
        for (threads, limits) in [1, told.readers].into_iter().zip(&mut limits) {
            limits.push(limit::sequential_read(&files, threads as usize));
        }
        for (readers, reads) in [1, told.readers].into_iter().zip(&mut reads) {
            reads.push(read_once(&cluster, readers, records)?);
        }
        for (readers, appends) in [0, told.readers].into_iter().zip(&mut appends) {
            let name = format!("bench-{round}-{readers}");
            appends.push(append_beside(&cluster, &name, readers, records, &told)?);
        }
    }
    for outstanding in [64, 1] {
        let what = format!("1 record an append, {outstanding} outstanding");
        let name = format!("cost-{outstanding}");
        costs.push(cost(&cluster, what, || append_some(&log, &name, outstanding, &told))?);
    }
    println!(
        "{} MiB of history in {} partitions, {} bytes a record, {} rounds; load {before} before, {} \
         after",
        told.megabytes,
        told.readers,
        told.bytes,
        told.rounds,
        host::load_average()
    );
    println!("\n| reading history | MB/s | ÷ limit | CPU seconds a GB |\n|---|---|---|---|");
    for (threads, mb) in [1, told.readers].into_iter().zip(&limits) {
        println!("| limit: {threads} at once, O_DIRECT | {:.0} | 1 | |", median(mb.clone()));
    }
    for ((readers, runs), limits) in [1, told.readers].into_iter().zip(&reads).zip(&limits) {
        let ratios = runs.iter().zip(limits).map(|((mb, _), limit)| mb / limit).collect();
        println!(
            "| readers: {readers} at once, cold | {:.0} | {:.2} | {:.2} |",
            median(runs.iter().map(|run| run.0).collect()),
            median(ratios),
            median(runs.iter().map(|run| run.1).collect()),
        );
    }
    println!(
        "\n| {} appends a second beside | p50 µs | p99 µs | p99.9 µs | p99 ÷ without | read MB/s |",
        told.rate
    );
    println!("|---|---|---|---|---|---|");
    let without = &appends[0];
    for (readers, runs) in [0, told.readers].into_iter().zip(&appends) {
        let of =
            |figure: fn(&Row) -> f64| median(runs.iter().map(|(row, _)| figure(row)).collect());
        let ratios = runs.iter().zip(without).map(|(run, base)| run.0.p99_us / base.0.p99_us);
        println!(
            "| {readers} readers catching up | {:.0} | {:.0} | {:.0} | {:.2} | {:.0} |",
            of(|row| row.p50_us),
            of(|row| row.p99_us),
            of(|row| row.p999_us),
            median(ratios.collect()),
            median(runs.iter().map(|run| run.1).collect()),
        );
    }
    println!(
        "\n| bytes to disk for a byte appended and copied | MB appended | written (/proc/PID/io) | stored |"
    );
    println!("|---|---|---|---|");
    costs.iter().for_each(|cost| cost.print(cluster.size()));
    Ok(())
}
