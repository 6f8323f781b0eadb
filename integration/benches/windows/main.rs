//! Bids counted by auction in windows of one length that slide less and less: 10,000 auctions, as the fifth query of
//! Nexmark has it, and how many bids the window's busiest auction has.
//!
//! ```text
//! cargo bench -p egret-integration --bench windows -- [--rounds 3] [--millions 20] [--slides 1,10,100,200]
//! ```
//! Every round runs every contender once for every slide; tables give medians over rounds. `limit` is one thread with
//! an array of counts for each slice and nothing else. `timely by hand` is a source, an exchange by auction and an
//! operator with a hash table; it keeps running counts for slices, too, and nothing of it is durable. `egret` commits
//! ten times a second, effectively-once.

#![expect(clippy::print_stdout, reason = "a program that prints figures")]

mod by_hand;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Parser;
use egret::component::{ComponentResult, Context, Next, Positions, Replay};
use egret::window::{Count, Sliding, Windowed};
use egret::{Emitter, EventTime, LogSink, Progress, RunOptions, Spout, TopologyBuilder};
use egret_integration::measure::{Sample, Table, measure, median};
use egret_log::{Log, LogConfig};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Options {
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Millions of bids in one run
    #[arg(long, default_value_t = 20)]
    millions: u64,
    #[arg(long, default_value_t = 10_000)]
    keys: u64,
    /// Bids in a ms of event time
    #[arg(long, default_value_t = 5000)]
    rate: u64,
    /// Length of a window, in ms
    #[arg(long, default_value_t = 2000)]
    size: u64,
    /// How often windows begin in the length of one
    #[arg(long, value_delimiter = ',', default_value = "1,10,100,200")]
    slides: Vec<u64>,
    #[arg(long, default_value_t = 1)]
    workers: u32,
    /// Run only contenders whose name contains this
    #[arg(long, default_value = "")]
    only: String,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// What is bid, and how it is cut.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bids {
    pub(crate) bids: u64,
    pub(crate) keys: u64,
    pub(crate) rate: u64,
    pub(crate) size: u64,
    pub(crate) slide: u64,
}

/// Auction and time.
pub(crate) type Bid = (u64, i64);

impl Bids {
    pub(crate) fn bid(&self, nth: u64) -> Bid {
        // A walk over all auctions without an order that caches know.
        let mixed = nth.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
        (mixed % self.keys, (nth / self.rate).cast_signed())
    }

    /// Slices of a window.
    pub(crate) fn overlap(&self) -> usize {
        usize::try_from(self.size / self.slide).expect("slices fit memory")
    }
}

/// Emits every bid once; task `t` of `n` those with index `t mod n`.
struct Tape {
    bids: Bids,
    own: u32,
    next: u64,
    step: u64,
}

impl Spout<Bid> for Tape {
    fn replay(&self) -> Replay {
        Replay::Positional
    }

    fn open(&mut self, cx: &Context, committed: &Positions) -> ComponentResult {
        self.step = u64::from(cx.tasks());
        self.own = cx.id().task;
        self.next = match committed.get(&self.own.to_le_bytes()[..]) {
            Some(at) => u64::from_le_bytes(at[..].try_into()?),
            None => u64::from(self.own),
        };
        Ok(())
    }

    fn next(&mut self, bytes: usize, out: &mut Emitter<Bid>, _: &Context) -> ComponentResult<Next> {
        let until = out.bytes() + bytes;
        while out.bytes() < until {
            if self.next >= self.bids.bids {
                return Ok(Next::Done);
            }
            out.emit(self.bids.bid(self.next));
            self.next += self.step;
        }
        Ok(Next::More)
    }

    fn positions(&self) -> Positions {
        let at = self.next.to_le_bytes().to_vec();
        BTreeMap::from([(self.own.to_le_bytes().to_vec(), at)])
    }
}

/// One thread, no engine: counts by slice, and running counts of the window. The results.
fn limit(bids: Bids) -> u64 {
    let keys = usize::try_from(bids.keys).expect("keys fit memory");
    let overlap = bids.overlap();
    let mut slices = vec![vec![0u32; keys]; overlap];
    let mut running = vec![0u32; keys];
    let (mut slice, mut told, mut busiest) = (0i64, 0, 0);
    for nth in 0..bids.bids {
        let (key, at) = bids.bid(nth);
        while at / bids.slide.cast_signed() > slice {
            told += running.iter().filter(|n| **n > 0).count() as u64;
            busiest = busiest.max(running.iter().copied().max().unwrap_or_default());
            slice += 1;
            let old = &mut slices[usize::try_from(slice).expect("from 0") % overlap];
            for (running, old) in running.iter_mut().zip(old) {
                *running -= std::mem::take(old);
            }
        }
        let key = usize::try_from(key).expect("a key is an index");
        slices[usize::try_from(slice).expect("from 0") % overlap][key] += 1;
        running[key] += 1;
    }
    assert!(busiest > 0 || told == 0, "somebody is busiest");
    told
}

/// The topology; measured from takeover to the last commit. The results it told.
fn egret(bids: Bids, workers: u32) -> Sample {
    let dir = tempfile::tempdir_in(egret_integration::scratch()).expect("a directory");
    let log = Log::open(dir.path(), LogConfig::default()).expect("a fresh log opens");
    let progress = Arc::new(Progress::default());
    let told = Arc::new(AtomicU64::new(0));
    let run = || -> egret::Result<()> {
        let mut t = TopologyBuilder::new("bench");
        let tape = move || Tape { bids, own: 0, next: 0, step: 1 };
        let time = EventTime::default();
        let stream = t.spout("bids", workers, tape)?.event_time_with(time, |bid: &Bid| bid.1)?;
        let counts = stream
            .fields(|bid: &Bid| &bid.0)
            .window(
                Sliding::of(Duration::from_millis(bids.size))
                    .every(Duration::from_millis(bids.slide)),
            )
            .event_time(|bid: &Bid| bid.1)
            .aggregate("counts", workers, Count)?;
        let told = Arc::clone(&told);
        let busiest = counts.local_or_shuffle().bolt("busiest", workers, move || {
            let (told, mut busiest) = (Arc::clone(&told), 0);
            move |count: Windowed<u64, u64>, out: &mut Emitter<String>| {
                told.fetch_add(1, Ordering::Relaxed);
                if count.value > busiest {
                    busiest = count.value;
                    out.emit(format!("{} {}", count.key, count.value));
                }
            }
        })?;
        busiest.sink("out", LogSink::to_stream("busiest"))?;
        let options = RunOptions { workers, commit_ms: 100, ..RunOptions::default() };
        t.finish()?.run(&log, &options, &progress)?;
        Ok(())
    };
    let sample = measure(|| {
        run().expect("the topology runs");
        told.load(Ordering::Relaxed)
    });
    assert_eq!(progress.late_tuples(), 0, "bids are in order");
    log.close().expect("the log closes");
    sample
}

fn main() {
    let options = Options::parse();
    let names = ["limit: one thread", "timely by hand", "egret, commits every 100 ms"];
    let mut rates: BTreeMap<(&str, u64), Vec<f64>> = BTreeMap::new();
    for &slides in &options.slides {
        let bids = Bids {
            bids: options.millions * 1_000_000,
            keys: options.keys,
            rate: options.rate,
            size: options.size,
            slide: options.size / slides,
        };
        let title = format!(
            "{} keys, windows of {} ms every {} ms, {} worker(s)",
            bids.keys, bids.size, bids.slide, options.workers
        );
        let mut table = Table::of(&title, bids.bids, "bids");
        for _ in 0..options.rounds {
            for name in names.iter().filter(|name| name.contains(&options.only)) {
                let sample = match *name {
                    "limit: one thread" => measure(|| limit(bids)),
                    "timely by hand" => measure(|| by_hand::count(bids, options.workers)),
                    _ => egret(bids, options.workers),
                };
                rates.entry((name, slides)).or_default().push(bids.bids as f64 / sample.cpu / 1e6);
                table.add(name, sample);
            }
        }
        table.print(if options.only.is_empty() { names[1] } else { "" });
    }
    println!("\n| M bids/CPU-s, windows in the length of one: | {} |", {
        options.slides.iter().map(u64::to_string).collect::<Vec<_>>().join(" | ")
    });
    println!("|---|{}", "---|".repeat(options.slides.len()));
    for name in names.iter().filter(|name| name.contains(&options.only)) {
        let rates = options.slides.iter().map(|slides| {
            let rate = median(rates.get(&(*name, *slides)).cloned().unwrap_or_default());
            format!("{rate:.2}")
        });
        println!("| {name} | {} |", rates.collect::<Vec<_>>().join(" | "));
    }
}
