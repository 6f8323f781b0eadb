//! Whether commits stay as quick while a large state turns over.
//!
//! ```text
//! cargo bench -p egret-integration --bench turnover -- [--state-mb 1024] [--seconds 20] [--mb-per-second 50] [--commit-ms 20]
//! ```
//! A component holds so much state in states of 1,000 bytes. First a thousand records a second change some of it
//! (*quiet*), then as many megabytes of it change each second until all of it did (*turning over*): what changed is
//! written, what did not is rewritten beside it, ledgers are begun and let go of. The records of the quiet part go on
//! meanwhile, and what is printed of both parts is how long they took from when they were meant to be sent until a
//! reader of the output had them, and how far apart commits were. The limit is the four syncs of a commit in plain
//! files (input, state, commit, output), with as many bytes a second written beside as go to extents.

#![expect(clippy::print_stdout, reason = "a program that prints figures")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::Parser;
use egret::{
    Blob, ComponentResult, Context, Emitter, KeyedBolt, LogSink, LogSpout, Progress, RunOptions,
    Topology, TopologyBuilder,
};
use egret_integration::bench::host::{load_average, wake_on_time};
use egret_integration::bench::latencies::Latencies;
use egret_integration::bench::{limit, load};
use egret_log::stream::{ReadFrom, Record, StreamConfig};
use egret_log::{Log, LogConfig, clock};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Told {
    #[arg(long, default_value_t = 1024)]
    state_mb: u64,
    /// How long the quiet part is
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// State that changes each second while it turns over
    #[arg(long, default_value_t = 50)]
    mb_per_second: u64,
    #[arg(long, default_value_t = 20)]
    commit_ms: u64,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

const PARTITIONS: u32 = 4;

/// Bytes of the state of one key.
const STATE_BYTES: usize = 1000;

/// Records a second whose latency is taken.
const PROBES: u32 = 1000;

/// Of a record that only changes state.
const NOT_A_PROBE: u64 = u64::MAX;

struct Hold;

impl KeyedBolt<u64, Blob, Blob> for Hold {
    type State = Blob;

    fn execute(
        &mut self,
        _: &u64,
        state: &mut Blob,
        line: Blob,
        out: &mut Emitter<Blob>,
        _: &Context,
    ) -> ComponentResult {
        let mut bytes = [1; STATE_BYTES];
        bytes[0] = state.first().unwrap_or(&0).wrapping_add(1);
        *state = Blob::from(&bytes[..]);
        if said(&line) != NOT_A_PROBE {
            out.emit(line);
        }
        Ok(())
    }
}

/// A record is when it was meant to be sent, in nanoseconds since the run began, and its key.
fn record(said: u64, key: u64) -> Record {
    Record::of([said.to_le_bytes(), key.to_le_bytes()].concat())
}

fn said(line: &[u8]) -> u64 {
    line.first_chunk().map_or(NOT_A_PROBE, |bytes| u64::from_le_bytes(*bytes))
}

fn key(line: &Blob) -> u64 {
    line.as_bytes().last_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn topology() -> egret::Result<Topology> {
    let mut t = TopologyBuilder::new("turnover");
    let lines = t.spout("lines", 1, LogSpout::<Blob>::from_stream("in"))?;
    let held = lines.fields_by(key).keyed("hold", 1, || Hold)?;
    held.sink("out", LogSink::to_stream("out").partitions(1))?;
    t.finish()
}

/// What is taken note of, by part: 0 nothing yet, 1 quiet, 2 turning over.
#[derive(Default)]
struct Parts([Latencies; 3]);

struct Run<'a> {
    log: &'a Log,
    keys: u64,
    begun: Instant,
    part: AtomicUsize,
    probes: AtomicU64,
    over: AtomicBool,
}

impl Run<'_> {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// Sends probes at their rate.
    fn probe(&self) -> Result<()> {
        wake_on_time();
        let writer = self.log.writer("in", 0)?;
        let from = self.begun.elapsed();
        for nth in 0u32.. {
            let due = from + Duration::from_secs(1) * nth / PROBES;
            load::rest_until(self.begun + due);
            if self.is_over() {
                break;
            }
            let key = u64::from(nth) * 7919 % self.keys;
            writer.append(&[record(u64::try_from(due.as_nanos())?, key)], Box::new(drop));
            self.probes.fetch_add(1, Ordering::AcqRel);
        }
        Ok(())
    }

    /// Reads the output: how long probes took, by the part in which they arrive.
    fn follow(&self) -> Result<Parts> {
        let mut parts = Parts::default();
        let mut reader = self.log.reader("out", 0, ReadFrom::Earliest)?;
        while !self.is_over() {
            let Some(batch) = reader.next_wait(Duration::from_millis(50))? else { continue };
            let now = self.begun.elapsed();
            for record in &batch.records {
                let meant = Duration::from_nanos(said(&record.value));
                parts.0[self.part.load(Ordering::Acquire)].add(now.saturating_sub(meant));
            }
        }
        Ok(parts)
    }

    /// Looks at the count of commits: how far apart they are, by part.
    fn watch(&self, progress: &Progress) -> Parts {
        wake_on_time();
        let mut parts = Parts::default();
        let (mut commits, mut last) = (progress.commits(), clock::now());
        while !self.is_over() {
            thread::park_timeout(Duration::from_micros(200));
            let now = progress.commits();
            if now > commits {
                let at = clock::now();
                parts.0[self.part.load(Ordering::Acquire)].add(at - last);
                (commits, last) = (now, at);
            }
        }
        parts
    }

    /// Changes the states of all keys, so many records a second at most, and waits until that is done.
    fn change_all(&self, progress: &Progress, rate: Option<u64>) -> Result<()> {
        const AT_ONCE: u64 = 500;
        let emitted = || progress.tuples().saturating_sub(self.probes.load(Ordering::Acquire));
        let before = emitted();
        let begun = clock::now();
        let mut sent = 0;
        while sent < self.keys {
            if let Some(rate) = rate {
                load::rest_until(begun + Duration::from_secs(1).mul_f64(sent as f64 / rate as f64));
            }
            let until = (sent + AT_ONCE).min(self.keys);
            let records: Vec<_> = (sent..until).map(|key| record(NOT_A_PROBE, key)).collect();
            let partition = 1 + u32::try_from(sent / AT_ONCE % u64::from(PARTITIONS - 1))?;
            self.log.writer("in", partition)?.append_wait(&records)?;
            sent = until;
        }
        let patience = clock::now() + Duration::from_secs(600);
        while emitted() < before + self.keys {
            ensure!(clock::now() < patience, "the topology does not take what it is sent");
            thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

fn print(what: &str, parts: &Parts) {
    let figures =
        |part: usize| [50.0, 99.0, 99.9, 100.0].map(|p| parts.0[part].percentile(p) / 1000.0);
    let (quiet, turning) = (figures(1), figures(2));
    for (name, figures, part) in [("quiet", quiet, 1), ("turning over", turning, 2)] {
        let [p50, p99, p999, max] = figures;
        let count = parts.0[part].count();
        println!("| {what}, {name} | {count} | {p50:.2} | {p99:.2} | {p999:.2} | {max:.2} |");
    }
    let [p50, p99, p999, max] = std::array::from_fn(|at| turning[at] / quiet[at]);
    println!("| {what}, turning over ÷ quiet |  | {p50:.2} | {p99:.2} | {p999:.2} | {max:.2} |");
}

fn main() -> Result<()> {
    let told = Told::parse();
    let _ = told.bench;
    let keys = (told.state_mb << 20) / STATE_BYTES as u64;
    ensure!(keys > 0, "some state is to be held");
    let dir = tempfile::tempdir_in(egret_integration::scratch())?;
    let log = Log::open(dir.path(), LogConfig::default())?;
    log.create_stream("in", StreamConfig { partitions: PARTITIONS, ..StreamConfig::default() })?;
    let progress = Arc::new(Progress::default());
    let run = Run {
        log: &log,
        keys,
        begun: clock::now(),
        part: AtomicUsize::new(0),
        probes: AtomicU64::new(0),
        over: AtomicBool::new(false),
    };
    let mut turned = Duration::ZERO;
    let (taken, apart) = thread::scope(|scope| -> Result<_> {
        let options = RunOptions { commit_ms: told.commit_ms, ..RunOptions::default() };
        let running = scope.spawn({
            let (log, progress) = (&log, &progress);
            move || topology()?.run(log, &options, progress)
        });
        while log.stream("out").is_err() && !running.is_finished() {
            thread::yield_now();
        }
        let filled = run.change_all(&progress, None).context("the state is not filled");
        let probing = scope.spawn(|| run.probe());
        let following = scope.spawn(|| run.follow());
        let watching = scope.spawn(|| run.watch(&progress));
        let changed = filled.and_then(|()| {
            // What filling left behind is done.
            thread::sleep(Duration::from_secs(3));
            run.part.store(1, Ordering::Release);
            thread::sleep(Duration::from_secs(told.seconds));
            run.part.store(2, Ordering::Release);
            let begun = clock::now();
            let rate = told.mb_per_second * 1_000_000 / STATE_BYTES as u64;
            let changed = run.change_all(&progress, Some(rate));
            turned = begun.elapsed();
            changed
        });
        run.over.store(true, Ordering::Release);
        progress.stop();
        probing.join().map_err(|_| anyhow!("the producer panicked"))??;
        let taken = following.join().map_err(|_| anyhow!("the reader panicked"))??;
        let apart = watching.join().map_err(|_| anyhow!("the watcher panicked"))?;
        running.join().map_err(|_| anyhow!("the topology panicked"))??;
        changed.map(|()| (taken, apart))
    })?;
    log.close()?;
    println!(
        "\n{} MiB in {keys} states, turned over in {:.0} s, commits every {} ms; load average {}",
        told.state_mb,
        turned.as_secs_f64(),
        told.commit_ms,
        load_average()
    );
    println!("| what | count | p50 ms | p99 ms | p99.9 ms | max ms |");
    println!("|---|---|---|---|---|---|");
    // A half as much again is rewritten, all of it once to the journal and once to an extent.
    let changed = told.mb_per_second * 1_000_000 * told.commit_ms / 1000 * 5 / 2;
    let every = Duration::from_millis(told.commit_ms);
    let a_second = |bytes: u64| bytes * 1000 / told.commit_ms;
    for (what, bytes) in [("quiet", 50_000), ("turning over", changed)] {
        let writes = [20_000, usize::try_from(bytes)?, 4096, 4096];
        let took =
            limit::commits(every, &writes, a_second(bytes), Duration::from_secs(told.seconds));
        let [p50, p99, p999, max] = [50.0, 99.0, 99.9, 100.0].map(|p| took.percentile(p) / 1000.0);
        let count = took.count();
        println!(
            "| limit: four synced writes, {bytes} bytes, as many a second beside, {what} | {count} | {p50:.2} | {p99:.2} | {p999:.2} | {max:.2} |"
        );
    }
    print("sent → seen", &taken);
    print("between commits", &apart);
    Ok(())
}
