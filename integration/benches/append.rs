//! Rows 7 and 8: durable appends of 1 KB, one at a time and 16 at once, against the raw device.
//!
//! ```text
//! cargo bench -p egret-integration --bench append -- [--rounds 5] [--seconds 3] [--bytes 1024]
//! ```
//! In every round, in turn: the raw limit (4 KiB `O_DIRECT` write and `fdatasync`, one thread), `fio` with
//! the same calls if it is installed, and the log. For 16 producers the limit is 256 KiB writes.

#![expect(clippy::print_stdout, reason = "a program that prints figures")]

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use clap::Parser;
use egret_integration::measure::{Latencies, median, raw_writes};
use egret_log::clock;
use egret_log::stream::{Record, StreamConfig};
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

/// What fio says of the same: median and 99th percentile of write plus sync, in microseconds.
fn fio(bytes: usize, seconds: u64) -> Option<(f64, f64)> {
    let dir = tempfile::tempdir_in(egret_integration::scratch()).ok()?;
    let out = Command::new("fio")
        .args(["--name=a", "--rw=write", "--direct=1", "--fdatasync=1", "--ioengine=psync"])
        .args(["--size=16m", "--time_based", "--overwrite=1", "--output-format=json"])
        .arg(format!("--runtime={seconds}"))
        .arg(format!("--bs={bytes}"))
        .arg(format!("--directory={}", dir.path().display()))
        .output()
        .ok()?;
    let json: serde_json::Value = serde_json::from_slice(&out.stdout).ok()?;
    let job = &json["jobs"][0];
    let pick = |p: &str| {
        let write = job["write"]["clat_ns"]["percentile"][p].as_f64()?;
        let sync = job["sync"]["lat_ns"]["percentile"][p].as_f64()?;
        Some((write + sync) / 1000.0)
    };
    Some((pick("50.000000")?, pick("99.000000")?))
}

/// `producers` threads, each with one append outstanding.
fn log(bytes: usize, producers: usize, time: Duration) -> Latencies {
    let dir = tempfile::tempdir_in(egret_integration::scratch()).expect("a directory");
    let log = Log::open(dir.path(), LogConfig::default()).expect("a fresh log opens");
    log.create_stream("bench", StreamConfig { partitions: 1, ..StreamConfig::default() })
        .expect("a new stream");
    let over = Arc::new(AtomicBool::new(false));
    let begin = clock::now();
    let threads: Vec<_> = (0..producers)
        .map(|_| {
            let writer = log.writer("bench", 0).expect("a writer");
            let over = Arc::clone(&over);
            std::thread::spawn(move || {
                let value = Bytes::from(vec![7u8; bytes]);
                let mut latencies = Latencies::new();
                while !over.load(Ordering::Relaxed) {
                    let record = Record {
                        key: None,
                        value: value.clone(),
                        event_time_ms: None,
                        sequence: None,
                    };
                    let started = clock::now();
                    writer.append_wait(&[record]).expect("an append");
                    latencies.add(started.elapsed());
                }
                latencies
            })
        })
        .collect();
    while begin.elapsed() < time {
        std::thread::park_timeout(time.saturating_sub(begin.elapsed()));
    }
    over.store(true, Ordering::Relaxed);
    let mut all = Latencies::new();
    for thread in threads {
        all.merge(&thread.join().expect("a producer ends"));
    }
    all.over(begin.elapsed(), bytes);
    log.close().expect("the log closes");
    all
}

fn main() {
    let options = Options::parse();
    let time = Duration::from_secs(options.seconds);
    let mut rows: Vec<(&str, Vec<[f64; 4]>)> = Vec::new();
    let mut add = |name: &'static str, row: [f64; 4]| match rows.iter_mut().find(|r| r.0 == name) {
        Some((_, samples)) => samples.push(row),
        None => rows.push((name, vec![row])),
    };
    for _ in 0..options.rounds {
        add("limit: 4 KiB write + fdatasync", raw_writes(4096, time).row());
        if let Some((p50, p99)) = fio(4096, options.seconds) {
            add("fio: 4 KiB write + fdatasync", [p50, p99, f64::NAN, f64::NAN]);
        }
        add("egret: one append at a time", log(options.bytes, 1, time).row());
        add("limit: 256 KiB write + fdatasync", raw_writes(256 << 10, time).row());
        if let Some((p50, p99)) = fio(256 << 10, options.seconds) {
            add("fio: 256 KiB write + fdatasync", [p50, p99, f64::NAN, f64::NAN]);
        }
        add("egret: many appends at once", log(options.bytes, options.producers, time).row());
    }
    println!("{} bytes a record, {} producers for many", options.bytes, options.producers);
    println!("| what | p50 us | p99 us | operations/s | MB/s |");
    println!("|---|---|---|---|---|");
    for (name, samples) in &rows {
        let column = |i: usize| median(samples.iter().map(|row| row[i]).collect());
        let [p50, p99, rate, mb] = [column(0), column(1), column(2), column(3)];
        println!("| {name} | {p50:.0} | {p99:.0} | {rate:.0} | {mb:.1} |");
    }
}
