//! Row 9: durable appends on three bookies (write quorum 3, ack quorum 2), each in a process of its own,
//! against one bookie in this process, Redis and the raw device; and the pause when one is killed.
//!
//! ```text
//! cargo bench -p egret-integration --bench three_bookies -- [--rounds 5] [--seconds 2] [--bytes 1024]
//! ```
//! First so many appends outstanding all the time; then at fixed rates, parts of the rate that the most
//! outstanding reached in the same round, where a latency counts from when the append was meant to be
//! sent; then at a fixed rate while a bookie of the ensemble is killed, after which every record must be
//! there.

#![expect(clippy::print_stdout, reason = "a program that prints figures")]

use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, anyhow};
use bytes::Bytes;
use clap::Parser;
use egret_integration::bench::latencies::Row;
use egret_integration::bench::load::{self, Producer, StreamProducer, missing, numbered};
use egret_integration::bench::options::Options;
use egret_integration::bench::redis::Redis;
use egret_integration::bench::rows::{Rows, number};
use egret_integration::bench::{host, limit, redis};
use egret_integration::cluster::{Cluster, serve_if_asked};
use egret_integration::measure::median;
use egret_log::stream::{PartitionWriter, ReadFrom, StreamConfig};
use egret_log::{Log, LogConfig};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Told {
    #[command(flatten)]
    options: Options,
    /// Bytes of a record
    #[arg(long, default_value_t = 1024)]
    bytes: usize,
    /// Percents of the rate that the most outstanding reach
    #[arg(long, value_delimiter = ',', default_value = "30,60,80")]
    percents: Vec<u32>,
    /// Appends a second while a bookie is killed
    #[arg(long, default_value_t = 2000.0)]
    kill_rate: f64,
}

const PEER: &str = "Redis: 1 outstanding";

fn stream(log: &Log) -> anyhow::Result<PartitionWriter> {
    log.create_stream("bench", StreamConfig { partitions: 1, ..StreamConfig::default() })?;
    let writer = log.writer("bench", 0)?;
    // Its segment is begun before the clock runs, as a connection is made.
    StreamProducer::new(&writer).append_wait(&numbered(0, 8))?;
    Ok(writer)
}

/// One append at a time, at a bookie in this process.
fn one_bookie(told: &Told) -> anyhow::Result<Row> {
    let dir = tempfile::tempdir_in(egret_integration::scratch())?;
    let log = Log::open(dir.path(), LogConfig::default())?;
    let mut producer = [StreamProducer::new(&stream(&log)?)];
    let value = Bytes::from(vec![7; told.bytes]);
    let row = load::closed(&mut producer, 1, &value, told.options.time(), || 0.0)?;
    log.close()?;
    Ok(row)
}

/// One append at a time, at Redis.
fn one_redis(told: &Told) -> anyhow::Result<Option<Row>> {
    let Some(redis) = Redis::start()? else { return Ok(None) };
    let mut producer = [redis.producer()?];
    let value = Bytes::from(vec![7; told.bytes]);
    load::closed(&mut producer, 1, &value, told.options.time(), || redis.cpu_seconds()).map(Some)
}

/// `outstanding` appends at three bookies.
fn outstanding(told: &Told, outstanding: usize) -> anyhow::Result<Row> {
    let cluster = Cluster::start(3)?;
    let log = cluster.log()?;
    let writer = stream(&log)?;
    let (producers, window) = told.options.shares(outstanding);
    let mut producers: Vec<_> = (0..producers).map(|_| StreamProducer::new(&writer)).collect();
    let value = Bytes::from(vec![7; told.bytes]);
    let elsewhere = || cluster.pids().map(host::cpu_seconds_of).sum();
    load::closed(&mut producers, window, &value, told.options.time(), elsewhere)
}

/// So many appends a second at three bookies.
fn at_rate(told: &Told, rate: f64) -> anyhow::Result<Row> {
    let cluster = Cluster::start(3)?;
    let log = cluster.log()?;
    let mut producer = StreamProducer::new(&stream(&log)?);
    let value = Bytes::from(vec![7; told.bytes]);
    let run = load::open(&mut producer, rate, told.options.time(), |_| value.clone(), || Ok(()))?;
    Ok(run.1)
}

/// What a kill did.
struct Killed {
    row: Row,
    gap: Duration,
    lost: u64,
}

/// Appends at a fixed rate while a bookie of the ensemble is killed.
fn killed(told: &Told, spare: bool) -> anyhow::Result<Killed> {
    let cluster = Mutex::new(Cluster::start(if spare { 4 } else { 3 })?);
    let with = || cluster.lock().map_err(|_| anyhow!("a thread of this program panicked"));
    let log = with()?.log()?;
    let writer = stream(&log)?;
    let segments = log.describe_partition("bench", 0)?.segments;
    let ledger = segments.last().context("a segment")?.ledger;
    let metadata = log.ledgers().describe(ledger)?;
    let victim = usize::try_from(metadata.last_fragment().1.member(0).bookie.0 - 1)?;
    let mut producer = StreamProducer::new(&writer);
    let value = |n| numbered(n, told.bytes);
    let kill = || with()?.kill(victim);
    let (count, row) = load::open(&mut producer, told.kill_rate, told.options.time(), value, kill)?;
    let mut reader = with()?.log()?.reader("bench", 0, ReadFrom::Earliest)?;
    let mut seen = Vec::new();
    while let Some(batch) = reader.next_wait(Duration::from_secs(1))? {
        seen.extend(batch.records.into_iter().map(|record| record.value));
    }
    let lost = missing(count, seen.iter());
    Ok(Killed { row, gap: producer.longest_gap(), lost })
}

fn round(told: &Told, rows: &mut Rows) -> anyhow::Result<()> {
    let options = &told.options;
    one_redis(told)?.into_iter().for_each(|row| rows.add(PEER, row));
    let limit = |many: usize| format!("limit: {many} in one write + fdatasync");
    let mut reached = 0.0;
    for many in [1].iter().chain(&options.outstanding).copied() {
        rows.add(&limit(many), limit::synced_writes(many, told.bytes, options.time()));
        let mut own = |name: &str, row| {
            rows.add_against(name, row, Some(&limit(many)), Some(PEER).filter(|_| many == 1));
        };
        if many == 1 {
            own("one bookie in this process: 1 outstanding", one_bookie(told)?);
        }
        let row = outstanding(told, many)?;
        reached = row.rate;
        own(&format!("three bookies: {many} outstanding"), row);
    }
    for percent in &told.percents {
        let row = at_rate(told, reached * f64::from(*percent) / 100.0)?;
        rows.add(&format!("three bookies: open loop, {percent} % of that rate"), row);
    }
    Ok(())
}

fn main() -> anyhow::Result<()> {
    serve_if_asked();
    let told = Told::parse();
    let options = &told.options;
    if Redis::start()?.is_none() {
        println!("{}", redis::INSTALL);
    }
    let before = host::load_average();
    let mut rows = Rows::new();
    let kills = [("one of three: goes on with two", false), ("one of four: another for it", true)];
    let mut pauses: Vec<Vec<Killed>> = kills.iter().map(|_| Vec::new()).collect();
    for _ in 0..options.rounds {
        round(&told, &mut rows)?;
        for ((_, spare), pauses) in kills.iter().zip(&mut pauses) {
            pauses.push(killed(&told, *spare)?);
        }
    }
    println!(
        "{} bytes a record, {} rounds of {} s, {} producers where many are outstanding; load {before} \
         before, {} after",
        told.bytes,
        options.rounds,
        options.seconds,
        options.producers,
        host::load_average()
    );
    rows.print();
    println!("\n{} appends a second, from when each was meant to be sent:", told.kill_rate);
    println!(
        "| kill -9 | p50 µs | p99 µs | longest append, ms | the same, worst round | longest time \
         without an acknowledgement, ms | acknowledged and lost |"
    );
    println!("|---|---|---|---|---|---|---|");
    for ((name, _), killed) in kills.iter().zip(&pauses) {
        let of = |figure: fn(&Killed) -> f64| killed.iter().map(figure).collect::<Vec<f64>>();
        let longest = of(|k| k.row.max_us / 1e3);
        println!(
            "| {name} | {} | {} | {} | {} | {} | {} |",
            number(median(of(|k| k.row.p50_us)), 0),
            number(median(of(|k| k.row.p99_us)), 0),
            number(median(longest.clone()), 1),
            number(longest.into_iter().fold(0.0, f64::max), 1),
            number(median(of(|k| k.gap.as_secs_f64() * 1e3)), 1),
            killed.iter().map(|k| k.lost).sum::<u64>(),
        );
    }
    Ok(())
}
