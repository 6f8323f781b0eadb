//! Row 6: how late windows tell of their counts, at a fixed rate of events.
//!
//! ```text
//! cargo bench -p egret-integration --bench window_latency -- [--seconds 60] [--rate 200000] [--slide-ms 100] [--commit-ms 1,10]
//! ```
//! Open loop: an event is made when it is due, by the clock, and its event time is when it was due. Events are counted by
//! key in windows that slide. A result's time runs from the end of its window by the clock until somebody beside has it, so
//! that whatever falls behind counts for every result it held up. Every window's counts are compared with how many
//! events were due in it: nothing may be missing or twice.
//!
//! * `limit`: events cross a loopback socket to a thread with arrays of counts, and nothing else.
//! * `egret`: a spout, an exchange by key, windows, and a bolt that takes the time. Event time moves where commits close, so a
//!   result waits for one: at-most-once writes nothing at a commit, effectively-once writes state and a record.
//! * `flink/`: SQL's `HOP` over a source of its own that keeps the same time, checkpointing nothing; it is told to send
//!   buffers after 1 ms and to look for watermarks every ms. What its windows counted is compared, too.

#![expect(clippy::print_stdout, reason = "a program that prints figures")]

mod limit;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow, bail, ensure};
use clap::Parser;
use egret::component::{ComponentResult, Context, Next, Positions, Replay};
use egret::window::{Count, Sliding, Windowed};
use egret::{Emitter, EventTime, Guarantee, LogSink, Progress, RunOptions, Spout, TopologyBuilder};
use egret_integration::bench::host::{load_average, wake_on_time};
use egret_integration::bench::latencies::Latencies;
use egret_integration::bench::peer::Peer;
use egret_integration::measure::cpu_seconds;
use egret_log::{Log, LogConfig, clock};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Options {
    /// Seconds of one run, of which the first tenth does not count
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Events a second
    #[arg(long, default_value_t = 200_000)]
    rate: u32,
    #[arg(long, default_value_t = 10_000)]
    keys: u64,
    /// Length of a window
    #[arg(long, default_value_t = 1000)]
    size_ms: u32,
    /// From one window's end to the next
    #[arg(long, default_value_t = 100)]
    slide_ms: u32,
    #[arg(long, default_value_t = 1)]
    workers: u32,
    #[arg(long, value_delimiter = ',', default_value = "1,10")]
    commit_ms: Vec<u64>,
    /// Run only contenders whose name contains this
    #[arg(long, default_value = "")]
    only: String,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// What is made, when, and how it is cut.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Load {
    pub(crate) rate: u32,
    pub(crate) keys: u64,
    pub(crate) size_ms: u32,
    pub(crate) slide_ms: u32,
    pub(crate) seconds: u32,
}

/// Key and event time in ms.
pub(crate) type Event = (u64, i64);

/// How often what is due is made.
pub(crate) const TICK: Duration = Duration::from_micros(200);

impl Load {
    /// When an event is due.
    fn due(&self, nth: u64) -> Duration {
        Duration::from_nanos(nth * 1_000_000_000 / u64::from(self.rate))
    }

    /// How many events are due before this much time went by.
    pub(crate) fn due_before(&self, time: Duration) -> u64 {
        let nanoseconds = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        let events = u128::from(nanoseconds) * u128::from(self.rate);
        u64::try_from(events.div_ceil(1_000_000_000)).unwrap_or(u64::MAX)
    }

    pub(crate) fn event(&self, nth: u64) -> Event {
        // A walk over all keys without an order that caches know.
        let mixed = nth.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        let ms = i64::try_from(self.due(nth).as_millis()).unwrap_or(i64::MAX);
        (mixed % self.keys, ms)
    }

    fn events(&self) -> u64 {
        u64::from(self.rate) * u64::from(self.seconds)
    }

    /// How many events have an event time below this.
    fn events_until(&self, ms: i64) -> u64 {
        let ms = u64::try_from(ms.max(0)).unwrap_or_default();
        self.due_before(Duration::from_millis(ms)).min(self.events())
    }
}

/// What is taken note of as results come.
pub(crate) struct Told {
    load: Load,
    begun: Instant,
    taken: Latencies,
    /// The sum of all counts of a window, by its end.
    counted: BTreeMap<i64, u64>,
}

impl Told {
    pub(crate) fn new(load: Load, begun: Instant) -> Told {
        Told { load, begun, taken: Latencies::new(), counted: BTreeMap::new() }
    }

    /// So many results of a window are here, with this sum.
    pub(crate) fn add(&mut self, end_ms: i64, sum: u64) {
        let end = Duration::from_millis(u64::try_from(end_ms).unwrap_or_default());
        if end >= Duration::from_secs(u64::from(self.load.seconds)) / 10 {
            self.taken.add(self.begun.elapsed().saturating_sub(end));
        }
        *self.counted.entry(end_ms).or_default() += sum;
    }

    /// Whether every window counted what was due in it.
    fn check(&self) -> Result<()> {
        let Load { size_ms, slide_ms, seconds, .. } = self.load;
        let last = i64::from(seconds) * 1000 - 1;
        let mut end = i64::from(slide_ms);
        while end <= last {
            let due =
                self.load.events_until(end) - self.load.events_until(end - i64::from(size_ms));
            let counted = self.counted.get(&end).copied().unwrap_or_default();
            ensure!(counted == due, "the window that ends at {end} ms counted {counted} of {due}");
            end += i64::from(slide_ms);
        }
        Ok(())
    }
}

/// Makes events when they are due; one task.
struct Due {
    load: Load,
    begun: Instant,
    next: u64,
}

impl Spout<Event> for Due {
    fn replay(&self) -> Replay {
        Replay::Positional
    }

    fn open(&mut self, _: &Context, committed: &Positions) -> ComponentResult {
        wake_on_time();
        if let Some(at) = committed.get(&b"next"[..]) {
            self.next = u64::from_le_bytes(at[..].try_into()?);
        }
        Ok(())
    }

    fn next(
        &mut self,
        bytes: usize,
        out: &mut Emitter<Event>,
        _: &Context,
    ) -> ComponentResult<Next> {
        let until = out.bytes() + bytes;
        let due = self.load.due_before(self.begun.elapsed()).min(self.load.events());
        while self.next < due {
            if out.bytes() >= until {
                return Ok(Next::More);
            }
            out.emit(self.load.event(self.next));
            self.next += 1;
        }
        Ok(if due == self.load.events() { Next::Done } else { Next::After(TICK) })
    }

    fn positions(&self) -> Positions {
        BTreeMap::from([(b"next".to_vec(), self.next.to_le_bytes().to_vec())])
    }
}

/// Results of one run: how late, and what the CPU did, in seconds of it a second.
struct Run {
    taken: [f64; 5],
    results: u64,
    cpu: f64,
}

const PERCENTILES: [f64; 5] = [50.0, 99.0, 99.9, 99.99, 100.0];

impl Run {
    fn of(told: &Told, cpu: f64) -> Run {
        let taken = PERCENTILES.map(|p| told.taken.percentile(p) / 1000.0);
        Run { taken, results: told.taken.count(), cpu: cpu / f64::from(told.load.seconds) }
    }
}

fn egret(load: Load, workers: u32, guarantee: Guarantee, commit_ms: u64) -> Result<Run> {
    let dir = tempfile::tempdir_in(egret_integration::scratch())?;
    let log = Log::open(dir.path(), LogConfig::default())?;
    let progress = Arc::new(Progress::default());
    let begun = clock::now() + Duration::from_secs(1);
    let told = Arc::new(Mutex::new(Told::new(load, begun)));
    let mut t = TopologyBuilder::new("latency");
    t.guarantee(guarantee);
    let due = move || Due { load, begun, next: 0 };
    let events =
        t.spout("events", 1, due)?.event_time_with(EventTime::default(), |e: &Event| e.1)?;
    let (size, slide) = (u64::from(load.size_ms), u64::from(load.slide_ms));
    let counts = events
        .fields(|event: &Event| &event.0)
        .window(Sliding::of(Duration::from_millis(size)).every(Duration::from_millis(slide)))
        .event_time(|event: &Event| event.1)
        .aggregate("counts", workers, Count)?;
    let results = Arc::clone(&told);
    // What a bolt emits goes somewhere: nothing does here.
    let none = counts.global().bolt("told", 1, move || {
        let told = Arc::clone(&results);
        move |count: Windowed<u64, u64>, _: &mut Emitter<String>| {
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            told.add(count.firing.window.end_ms, count.value);
        }
    })?;
    none.sink("none", LogSink::to_stream("none"))?;
    let options = RunOptions { workers, commit_ms, epoch_ms: 1, ..RunOptions::default() };
    let before = cpu_seconds();
    t.finish()?.run(&log, &options, &progress)?;
    let cpu = cpu_seconds() - before;
    ensure!(progress.late_tuples() == 0, "events are in order");
    log.close()?;
    let told = told.lock().map_err(|_| anyhow!("a bolt panicked"))?;
    told.check()?;
    Ok(Run::of(&told, cpu))
}

/// A peer that runs the same, and says `done P50 P99 P99.9 P99.99 MAX RESULTS CPU`, in ms.
fn peer(peer: &mut Peer, load: Load) -> Result<Run> {
    let Load { rate, keys, size_ms, slide_ms, seconds } = load;
    let said = peer
        .ask(&format!("run {seconds} {rate} {keys} {size_ms} {slide_ms}"))
        .map_err(|why| anyhow!("{why}"))?;
    let said: Vec<f64> = said.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    let [p50, p99, p999, p9999, max, results, cpu] = said[..] else { bail!("it said {said:?}") };
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
    let results = results as u64;
    Ok(Run { taken: [p50, p99, p999, p9999, max], results, cpu: cpu / f64::from(seconds) })
}

fn main() -> Result<()> {
    let options = Options::parse();
    let Options { seconds, rate, keys, size_ms, slide_ms, .. } = options;
    ensure!(
        rate > 0 && keys > 0 && slide_ms > 0 && size_ms.is_multiple_of(slide_ms) && seconds > 0,
        "rate, keys, seconds and slide are above 0, and a window is so many slides"
    );
    let load = Load { rate, keys, size_ms, slide_ms, seconds };
    let scratch = egret_integration::scratch();
    let mut peers: Vec<Peer> = Vec::new();
    if "flink".contains(&options.only.to_lowercase()) {
        peers = Peer::all("window_latency", (&scratch, &scratch), options.workers, "flink");
    }
    println!(
        "\n{rate} events a second of {keys} keys, windows of {size_ms} ms every {slide_ms} ms, {seconds} s, {} worker(s); \
         load average {}",
        options.workers,
        load_average()
    );
    println!(
        "| end of the window → result seen | p50 ms | p99 | p99.9 | p99.99 | max | results | cores |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let print = |name: &str, run: Result<Run>| match run {
        Ok(Run { taken: [p50, p99, p999, p9999, max], results, cpu }) => println!(
            "| {name} | {p50:.2} | {p99:.2} | {p999:.2} | {p9999:.2} | {max:.2} | {results} | {cpu:.2} |"
        ),
        Err(why) => println!("| {name} | it failed: {why:#} | | | | | | |"),
    };
    let is_asked = |name: &str| name.to_lowercase().contains(&options.only.to_lowercase());
    let limits = "limit: arrays behind a loopback socket";
    if is_asked(limits) {
        print(limits, limit::run(load));
    }
    for &ms in &options.commit_ms {
        for (what, guarantee) in [
            ("at-most-once", Guarantee::AtMostOnce),
            ("effectively-once", Guarantee::EffectivelyOnce),
        ] {
            let name = format!("egret, {what}, commits every {ms} ms");
            if is_asked(&name) {
                print(&name, egret(load, options.workers, guarantee, ms));
            }
        }
    }
    for one in &mut peers {
        let name = one.name().to_owned();
        print(&name, peer(one, load));
    }
    Ok(())
}
