//! Row 11: how long a record takes from a stream through a topology into another stream, at a fixed rate.
//!
//! ```text
//! cargo bench -p egret-integration --bench latency -- [--rounds 3] [--seconds 5] [--rate 50000] [--commit-ms 10,20,100]
//! ```
//! Open loop: a record's time runs from when it was meant to be sent until a reader of the output has it, counted
//! per key on the way. Every round runs in turn: the limit (a small write and its sync), the stream alone (a reader of
//! the input: what storing and telling takes without a topology), the topology without commits, which writes results
//! at once, and with commits at each interval. The table has medians over rounds of each percentile.

#![expect(clippy::print_stdout, reason = "a program that prints figures")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, ensure};
use clap::Parser;
use egret::{
    Blob, ComponentResult, Context, Emitter, Guarantee, KeyedBolt, LogSink, LogSpout, Progress,
    RunOptions, Topology, TopologyBuilder,
};
use egret_integration::bench::host::{load_average, wake_on_time};
use egret_integration::bench::latencies::Latencies;
use egret_integration::bench::{limit, load};
use egret_integration::measure::median;
use egret_log::stream::{ReadFrom, Record, StreamConfig};
use egret_log::{Log, LogConfig, clock};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Told {
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Seconds that count in one run, after one that does not
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Records a second
    #[arg(long, default_value_t = 50_000)]
    rate: u32,
    #[arg(long, value_delimiter = ',', default_value = "10,20,100")]
    commit_ms: Vec<u64>,
    /// Distinct keys
    #[arg(long, default_value_t = 10_000)]
    keys: u64,
    #[arg(long, default_value_t = 1)]
    workers: u32,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

const PARTITIONS: u32 = 4;

/// How often what is due is sent.
const TICK: Duration = Duration::from_micros(500);

/// What is sent in this time of a run does not count.
const WARM_UP: Duration = Duration::from_secs(1);

/// How long the last records may take to come back.
const PATIENCE: Duration = Duration::from_secs(60);

struct Count;

impl KeyedBolt<u64, Blob, Blob> for Count {
    type State = u64;

    fn execute(
        &mut self,
        _: &u64,
        n: &mut u64,
        line: Blob,
        out: &mut Emitter<Blob>,
        _: &Context,
    ) -> ComponentResult {
        *n += 1;
        out.emit(line);
        Ok(())
    }
}

/// A record is when it was meant to be sent, in nanoseconds since the run began, and its key.
fn meant(value: &[u8]) -> Option<Duration> {
    value.first_chunk().map(|bytes| Duration::from_nanos(u64::from_le_bytes(*bytes)))
}

fn key(line: &Blob) -> u64 {
    line.as_bytes().last_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn topology(tasks: u32, guarantee: Guarantee) -> egret::Result<Topology> {
    let mut t = TopologyBuilder::new("latency");
    t.guarantee(guarantee);
    let lines = t.spout("lines", tasks, LogSpout::<Blob>::from_stream("in"))?;
    let counted = lines.fields_by(key).keyed("count", tasks, || Count)?;
    counted.sink("out", LogSink::to_stream("out").partitions(PARTITIONS))?;
    t.finish()
}

/// One run under way, as seen by producer and followers.
struct Run<'a> {
    log: &'a Log,
    told: &'a Told,
    begun: Instant,
    sent: AtomicU64,
    seen: AtomicU64,
    over: AtomicBool,
}

impl Run<'_> {
    /// Sends what is due, tick by tick.
    fn produce(&self) -> Result<()> {
        wake_on_time();
        let writers: Result<Vec<_>, _> =
            (0..PARTITIONS).map(|p| self.log.writer("in", p)).collect();
        let writers = writers?;
        let until = WARM_UP + Duration::from_secs(self.told.seconds);
        let mut nth = 0u64;
        for tick in 1u32.. {
            let now = TICK * tick;
            load::rest_until(self.begun + now);
            let mut records = Vec::new();
            loop {
                let due = Duration::from_secs(1).mul_f64(nth as f64 / f64::from(self.told.rate));
                if due > now.min(until) {
                    break;
                }
                let nanoseconds = u64::try_from(due.as_nanos())?;
                let key = nth.wrapping_mul(7919) % self.told.keys;
                records.push(Record::of([nanoseconds.to_le_bytes(), key.to_le_bytes()].concat()));
                nth += 1;
            }
            writers[(tick % PARTITIONS) as usize].append(&records, Box::new(drop));
            self.sent.store(nth, Ordering::Release);
            if now >= until {
                break;
            }
        }
        Ok(())
    }

    /// Reads a partition until the run is over.
    fn follow(&self, stream: &str, partition: u32) -> Result<Latencies> {
        let mut latencies = Latencies::new();
        let mut reader = self.log.reader(stream, partition, ReadFrom::Earliest)?;
        while !self.over.load(Ordering::Acquire) {
            let Some(batch) = reader.next_wait(Duration::from_millis(50))? else { continue };
            let now = self.begun.elapsed();
            for record in &batch.records {
                let meant = meant(&record.value).ok_or_else(|| anyhow!("nobody sent this"))?;
                if meant >= WARM_UP {
                    latencies.add(now.saturating_sub(meant));
                }
            }
            self.seen.fetch_add(batch.records.len() as u64, Ordering::AcqRel);
        }
        Ok(latencies)
    }

    /// Runs producer and followers until everything sent was seen.
    fn run(&self, stream: &str, is_alive: impl Fn() -> bool) -> Result<Latencies> {
        thread::scope(|scope| {
            let follow = |partition| scope.spawn(move || self.follow(stream, partition));
            let followers: Vec<_> = (0..PARTITIONS).map(follow).collect();
            let produced = self.produce();
            let patience = clock::now() + PATIENCE;
            while self.seen.load(Ordering::Acquire) < self.sent.load(Ordering::Acquire)
                && clock::now() < patience
                && is_alive()
            {
                thread::yield_now();
            }
            self.over.store(true, Ordering::Release);
            let mut all = Latencies::new();
            for follower in followers {
                let latencies = follower.join().map_err(|_| anyhow!("a reader panicked"))?;
                all.merge(&latencies?);
            }
            produced?;
            let (sent, seen) =
                (self.sent.load(Ordering::Acquire), self.seen.load(Ordering::Acquire));
            ensure!(sent == seen, "{sent} records were sent and {seen} came back");
            Ok(all)
        })
    }
}

/// How long records take; `commits` is how they are committed, `None` for the stream alone.
fn one(told: &Told, commits: Option<(Guarantee, u64)>) -> Result<Latencies> {
    let dir = tempfile::tempdir_in(egret_integration::scratch())?;
    let log = Log::open(dir.path(), LogConfig::default())?;
    log.create_stream("in", StreamConfig { partitions: PARTITIONS, ..StreamConfig::default() })?;
    let progress = Arc::new(Progress::default());
    let run = || Run {
        log: &log,
        told,
        begun: clock::now(),
        sent: AtomicU64::new(0),
        seen: AtomicU64::new(0),
        over: AtomicBool::new(false),
    };
    let latencies = match commits {
        None => run().run("in", || true)?,
        Some((guarantee, commit_ms)) => thread::scope(|scope| -> Result<_> {
            let options = RunOptions { workers: told.workers, commit_ms, ..RunOptions::default() };
            let running = scope.spawn({
                let (log, progress) = (&log, &progress);
                move || topology(told.workers, guarantee)?.run(log, &options, progress)
            });
            while progress.generation() == 0 && !running.is_finished() {
                thread::yield_now();
            }
            // The stream of results is there once the topology has taken over.
            while log.stream("out").is_err() && !running.is_finished() {
                thread::yield_now();
            }
            let latencies = run().run("out", || !running.is_finished());
            progress.stop();
            running.join().map_err(|_| anyhow!("the topology panicked"))??;
            latencies
        })?,
    };
    log.close()?;
    Ok(latencies)
}

/// The percentiles of each run of one contender.
struct Row {
    what: String,
    goal_ms: Option<u64>,
    runs: Vec<[f64; 4]>,
}

impl Row {
    fn new(what: impl Into<String>, goal_ms: Option<u64>) -> Row {
        Row { what: what.into(), goal_ms, runs: Vec::new() }
    }

    fn print(&self) {
        let of = |at: usize| median(self.runs.iter().map(|run| run[at] / 1000.0).collect());
        let [p50, p99, p999, max] = std::array::from_fn(of);
        let goal = self.goal_ms.map_or(String::new(), |goal| {
            format!("{goal} ms {}", if p99 <= goal as f64 { "reached" } else { "missed" })
        });
        println!("| {} | {p50:.2} | {p99:.2} | {p999:.2} | {max:.2} | {goal} |", self.what);
    }
}

fn main() -> Result<()> {
    let told = Told::parse();
    let _ = told.bench;
    ensure!(told.keys > 0 && told.rate > 0, "keys and rate are above 0");
    let mut rows = vec![
        Row::new("limit: 4 KiB in one write + fdatasync", None),
        Row::new("the stream alone", None),
        Row::new("no commits (at most once)", None),
    ];
    for ms in &told.commit_ms {
        rows.push(Row::new(format!("effectively once, commits every {ms} ms"), Some(ms + 5)));
    }
    for _ in 0..told.rounds {
        let synced = limit::synced_writes(1, 4096, Duration::from_secs(1));
        rows[0].runs.push([synced.p50_us, synced.p99_us, synced.p999_us, synced.max_us]);
        let mut contenders = vec![None, Some((Guarantee::AtMostOnce, 3_600_000))];
        contenders.extend(told.commit_ms.iter().map(|&ms| Some((Guarantee::EffectivelyOnce, ms))));
        for (row, commits) in rows[1..].iter_mut().zip(contenders) {
            let taken = one(&told, commits)?;
            row.runs.push([50.0, 99.0, 99.9, 100.0].map(|p| taken.percentile(p)));
        }
    }
    let Told { rate, keys, rounds, seconds, .. } = &told;
    println!(
        "\n{rate} records a second, {keys} keys, {rounds} rounds of {seconds} s; load average {}",
        load_average()
    );
    println!("| meant to be sent → seen | p50 ms | p99 ms | p99.9 ms | max ms | goal for p99 |");
    println!("|---|---|---|---|---|---|");
    rows.iter().for_each(Row::print);
    Ok(())
}
