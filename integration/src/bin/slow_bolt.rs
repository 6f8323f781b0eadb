//! A slow bolt under a fast spout, for minutes: memory stays flat, and nothing is lost.
//!
//! The generator makes numbers as fast as they are taken; the bolt takes its time over each. What is between them is
//! bounded, so the resident memory of the process is, too: it is printed every few seconds, and the program fails when the
//! last third of the time needs more than the middle third by a twentieth and 2 MiB. (What the log gathers in memory before it
//! writes an extent is made small, so that a rise in it is over in the first third.) Then the source is ended, and the numbers
//! that came through must be 0, 1, 2, … without a gap and without a repeat.
//!
//! ```text
//! cargo run --release -p egret-integration --bin slow_bolt -- --minutes 10
//! ```

#![expect(clippy::print_stdout, reason = "a program that prints what it measures")]

use std::fs;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use egret::{
    Bolt, ComponentResult, Context, Emitter, LogSink, Next, Positions, Progress, Replay,
    RunOptions, Spout, TopologyBuilder,
};
use egret_log::bookie::BookieConfig;
use egret_log::stream::ReadFrom;
use egret_log::{Log, LogConfig, clock};

#[derive(Parser)]
struct Options {
    /// How long
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Microseconds that the bolt takes over a tuple
    #[arg(long, default_value_t = 200)]
    tuple_us: u64,
    /// Bytes of a tuple's text
    #[arg(long, default_value_t = 1000)]
    bytes: usize,
    /// Between two looks at the memory, in seconds
    #[arg(long, default_value_t = 5.0)]
    every: f64,
    /// A defect: what the bolt takes it keeps. It must be found
    #[arg(long)]
    leak: bool,
}

type Line = (u64, String);

/// Numbers without an end, until there is one.
struct Fast {
    next: u64,
    bytes: usize,
    over: Arc<AtomicBool>,
    made: Arc<AtomicU64>,
}

impl Spout<Line> for Fast {
    fn replay(&self) -> Replay {
        Replay::Positional
    }

    fn open(&mut self, _: &Context, committed: &Positions) -> ComponentResult {
        if let Some(text) = committed.get(&b"numbers"[..]) {
            self.next = std::str::from_utf8(text)?.parse()?;
        }
        Ok(())
    }

    fn next(
        &mut self,
        bytes: usize,
        out: &mut Emitter<Line>,
        _: &Context,
    ) -> ComponentResult<Next> {
        let until = out.bytes() + bytes;
        while out.bytes() < until {
            if self.over.load(Ordering::Acquire) {
                return Ok(Next::Done);
            }
            out.emit((self.next, "x".repeat(self.bytes)));
            self.next += 1;
        }
        self.made.store(self.next, Ordering::Release);
        Ok(Next::More)
    }

    fn positions(&self) -> Positions {
        Positions::from([(b"numbers".to_vec(), self.next.to_string().into_bytes())])
    }
}

struct Slow {
    tuple: Duration,
    over: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    leaked: Option<Vec<String>>,
}

impl Bolt<Line, String> for Slow {
    fn execute(
        &mut self,
        (n, text): Line,
        out: &mut Emitter<String>,
        _: &Context,
    ) -> ComponentResult {
        let until = clock::now() + self.tuple;
        // Busy, not asleep; at the end what is left is taken at once.
        while clock::now() < until && !self.over.load(Ordering::Acquire) {
            std::hint::spin_loop();
        }
        if let Some(leaked) = &mut self.leaked {
            leaked.push(text);
        }
        self.done.fetch_add(1, Ordering::AcqRel);
        out.emit(n.to_string());
        Ok(())
    }
}

/// Bytes of memory that the process has.
fn resident_bytes() -> Result<u64> {
    let text = fs::read_to_string("/proc/self/statm")?;
    let pages: u64 = text.split(' ').nth(1).context("`statm` says no resident pages")?.parse()?;
    Ok(pages * rustix::param::page_size() as u64)
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let bookie = BookieConfig {
        write_cache_bytes: 1 << 20,
        tail_cache_bytes: 1 << 18,
        ..Default::default()
    };
    let log = Log::open(dir.path(), LogConfig { bookie, ..LogConfig::default() })?;
    let (over, made, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
        Arc::new(AtomicU64::new(0)),
    );
    let mut t = TopologyBuilder::new("slow");
    let spout = {
        let (bytes, over, made) = (options.bytes, Arc::clone(&over), Arc::clone(&made));
        move || Fast { next: 0, bytes, over: Arc::clone(&over), made: Arc::clone(&made) }
    };
    let slow = {
        let (over, done) = (Arc::clone(&over), Arc::clone(&done));
        let (tuple, leak) = (Duration::from_micros(options.tuple_us), options.leak);
        move || {
            let leaked = leak.then(Vec::new);
            Slow { tuple, over: Arc::clone(&over), done: Arc::clone(&done), leaked }
        }
    };
    let numbers = t.spout("fast", 1, spout)?;
    numbers
        .shuffle()
        .bolt("slow", 1, slow)?
        .sink("out", LogSink::to_stream("out").partitions(1))?;
    let topology = t.finish()?;
    let progress = Arc::new(Progress::default());
    let ran = thread::scope(|scope| {
        let run = scope.spawn(|| topology.run(&log, &RunOptions::default(), &progress));
        let watched = watch(options, (&made, &done), || run.is_finished());
        over.store(true, Ordering::Release);
        let ran = run.join().map_err(|_| anyhow::anyhow!("the topology panicked"))?;
        ensure!(ran?.restarts == 0, "generations failed");
        watched
    });
    let sizes = ran?;
    let told = check_output(&log)?;
    println!("{told} numbers came through, each once");
    log.close()?;
    judge(&sizes)
}

/// The memory, again and again, while it runs.
fn watch(
    options: &Options,
    (made, done): (&AtomicU64, &AtomicU64),
    is_over: impl Fn() -> bool,
) -> Result<Vec<u64>> {
    let began = clock::now();
    let end = began + Duration::from_secs_f64(options.minutes * 60.0);
    let mut sizes = Vec::new();
    while clock::now() < end {
        let next = (clock::now() + Duration::from_secs_f64(options.every)).min(end);
        while clock::now() < next {
            ensure!(!is_over(), "the topology ended by itself");
            thread::park_timeout(Duration::from_millis(100));
        }
        let size = resident_bytes()?;
        sizes.push(size);
        let (made, done) = (made.load(Ordering::Acquire), done.load(Ordering::Acquire));
        let seconds = began.elapsed().as_secs_f64();
        println!("{seconds:6.1} s  {:8.1} MiB  {made:10} made  {done:10} done", mib(size));
    }
    ensure!(made.load(Ordering::Acquire) > done.load(Ordering::Acquire), "the bolt was not slow");
    Ok(sizes)
}

/// Numbers from 0 on, each once, in order.
fn check_output(log: &Log) -> Result<u64> {
    let mut reader =
        log.reader_of("out", 0, ReadFrom::Earliest, &egret_log::stream::Format::Utf8)?;
    let mut next = 0u64;
    while let Some(batch) = reader.next_wait(Duration::ZERO)? {
        for record in batch.records {
            let number: u64 = std::str::from_utf8(&record.value)?.parse()?;
            ensure!(number == next, "number {number} came where {next} was due");
            next += 1;
        }
    }
    ensure!(next > 0, "nothing came through");
    Ok(next)
}

/// Whether the memory of the last third is that of the one before.
fn judge(sizes: &[u64]) -> Result<()> {
    let third = sizes.len() / 3;
    ensure!(
        third > 0,
        "too short to be judged: give it more --minutes, or look more often with --every"
    );
    let largest = |sizes: &[u64]| sizes.iter().copied().max().unwrap_or_default();
    let (middle, last) = (largest(&sizes[third..2 * third]), largest(&sizes[2 * third..]));
    let allowed = middle + middle / 20 + (2 << 20);
    println!(
        "at most {:.1} MiB in the middle third, {:.1} MiB in the last",
        mib(middle),
        mib(last)
    );
    ensure!(last <= allowed, "memory grows: {:.1} MiB are allowed", mib(allowed));
    Ok(())
}
