//! Rows 7 and 8: durable appends, one at a time and many outstanding, against the raw device and Redis.
//!
//! ```text
//! cargo bench -p egret-integration --bench append -- [--rounds 5] [--seconds 2] [--bytes 1024,100]
//! ```
//! In every round, in turn: the limit (direct writes of as many records as are outstanding, each synced,
//! nothing around them), `fio` doing the same, Redis with `appendfsync always` over loopback, and a log
//! with one bookie in this process. Where many are outstanding, 16 producers share them, at Redis each on
//! a connection of its own; last, each producer hands its share over in one append. Redis and `fio` are
//! left out where they are not installed.

#![expect(clippy::print_stdout, reason = "a program that prints figures")]

use bytes::Bytes;
use clap::Parser;
use egret_integration::bench::latencies::Row;
use egret_integration::bench::load::{self, Producer, StreamProducer};
use egret_integration::bench::options::Options;
use egret_integration::bench::redis::Redis;
use egret_integration::bench::rows::Rows;
use egret_integration::bench::{fio, host, limit, redis};
use egret_log::stream::StreamConfig;
use egret_log::{Log, LogConfig};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Told {
    #[command(flatten)]
    options: Options,
    /// Bytes of a record
    #[arg(long, value_delimiter = ',', default_value = "1024,100")]
    bytes: Vec<usize>,
    /// Run only contenders whose name contains this
    #[arg(long, default_value = "")]
    only: String,
}

/// `outstanding` appends at Redis.
fn redis(bytes: usize, outstanding: usize, options: &Options) -> anyhow::Result<Option<Row>> {
    let Some(redis) = Redis::start()? else { return Ok(None) };
    let (producers, window) = options.shares(outstanding);
    let connections: anyhow::Result<Vec<_>> = (0..producers).map(|_| redis.producer()).collect();
    let value = Bytes::from(vec![7; bytes]);
    let elsewhere = || redis.cpu_seconds();
    load::closed(&mut connections?, window, &value, options.time(), elsewhere).map(Some)
}

/// `outstanding` records at a log with one bookie in this process, in appends of `at_once`.
fn egret(
    bytes: usize,
    outstanding: usize,
    at_once: usize,
    options: &Options,
) -> anyhow::Result<Row> {
    let dir = tempfile::tempdir_in(egret_integration::scratch())?;
    let log = Log::open(dir.path(), LogConfig::default())?;
    log.create_stream("bench", StreamConfig { partitions: 1, ..StreamConfig::default() })?;
    let writer = log.writer("bench", 0)?;
    let (producers, window) = options.shares(outstanding / at_once);
    let producer = |_| StreamProducer::new(&writer).at_once(at_once);
    let mut producers: Vec<_> = (0..producers).map(producer).collect();
    let value = Bytes::from(vec![7; bytes]);
    // Its segment is begun before the clock runs, as a connection is made.
    producers[0].append_wait(&value)?;
    let row = load::closed(&mut producers, window, &value, options.time(), || 0.0)?;
    log.close()?;
    Ok(row.of_records(at_once).of_times_the_bytes(at_once))
}

/// One round of every contender.
fn round(rows: &mut Rows, bytes: usize, told: &Told) -> anyhow::Result<()> {
    let options = &told.options;
    let wanted = |name: &str| name.contains(&told.only);
    for outstanding in [1].iter().chain(&options.outstanding).copied() {
        let limit = format!("limit: {outstanding} in one write + fdatasync");
        if wanted(&limit) {
            rows.add(&limit, limit::synced_writes(outstanding, bytes, options.time()));
        }
        let same = format!("fio: {outstanding} in one write + fdatasync");
        if wanted(&same) {
            let write = (outstanding * bytes).next_multiple_of(4096);
            let row = fio::synced_writes(write, 1, options.seconds);
            row.into_iter().for_each(|row| rows.add(&same, row.of_records(outstanding)));
        }
        let jobs = format!("fio: {outstanding} jobs, each 4 KiB write + fdatasync");
        if wanted(&jobs) && outstanding > 1 && outstanding <= FIO_JOBS_MAX {
            let row = fio::synced_writes(4096, outstanding, options.seconds);
            row.into_iter().for_each(|row| rows.add(&jobs, row));
        }
        let peer = format!("Redis: {outstanding} outstanding");
        if wanted(&peer) {
            let row = redis(bytes, outstanding, options)?;
            row.into_iter().for_each(|row| rows.add(&peer, row));
        }
        let own = format!("egret: {outstanding} outstanding");
        if wanted(&own) {
            let row = egret(bytes, outstanding, 1, options)?;
            rows.add_against(&own, row, Some(&limit), Some(&peer));
        }
        let at_once = outstanding / options.producers.max(1);
        let own = format!("egret: {outstanding} outstanding, {at_once} an append");
        if at_once > 1 && wanted(&own) {
            let row = egret(bytes, outstanding, at_once, options)?;
            rows.add_against(&own, row, Some(&limit), Some(&peer));
        }
    }
    Ok(())
}

/// More jobs than this are more threads than anybody's disk is asked by.
const FIO_JOBS_MAX: usize = 16;

fn main() -> anyhow::Result<()> {
    let told = Told::parse();
    let options = &told.options;
    if Redis::start()?.is_none() {
        println!("{}", redis::INSTALL);
    }
    if fio::synced_writes(4096, 1, 1).is_none() {
        println!("{}", fio::INSTALL);
    }
    println!(
        "{} rounds of {} s, {} producers where many are outstanding",
        options.rounds, options.seconds, options.producers
    );
    for &bytes in &told.bytes {
        let before = host::load_average();
        let mut rows = Rows::new();
        for _ in 0..options.rounds {
            round(&mut rows, bytes, &told)?;
        }
        println!("\n{bytes} bytes a record; load {before} before, {} after", host::load_average());
        rows.print();
    }
    Ok(())
}
