//! Rows 2 to 4: Nexmark's queries over one file of events, against hand-written timely, Flink and Bytewax.
//!
//! ```text
//! cargo bench -p egret-integration --bench nexmark -- [--events 1000000] [--rounds 3] [--queries q0,q5] [--workers 1]
//! ```
//! The file is made once, from a fixed seed, in the scratch directory. Before anything is measured, every contender's
//! result of every query is compared with a reference's over the same file, and one that is wrong does not take part.
//! Then every round runs every contender once, one after the other; tables give medians over rounds.
//!
//! * Engines in this process have the file in memory as text, and read every event from its line. With `--decoded` they
//!   have events, and copy them: what is measured is the engine then, and peers that read files are left out.
//! * `egret` counts its rows in a sink and commits once a second, at least once. `egret, to a stream` writes them to a
//!   stream, effectively-once.
//! * Peers are folders: see `flink/` and `bytewax/`. One that cannot run here is named, with the reason.

#![expect(clippy::print_stdout, reason = "a program that prints figures")]

mod by_hand;

use std::collections::BTreeMap;
use std::sync::Arc;

use clap::Parser;
use egret::{Guarantee, Progress, RunOptions, TopologyBuilder};
use egret_integration::bench::peer::Peer;
use egret_integration::measure::{Sample, Table, measure, median};
use egret_integration::nexmark::ending::{Collector, Ending};
use egret_integration::nexmark::input::{Input, Spec};
use egret_integration::nexmark::query::{QUERIES, topology};
use egret_integration::nexmark::reference;
use egret_log::{Log, LogConfig};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Options {
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    #[arg(long, default_value_t = 1_000_000)]
    events: u64,
    /// Event time from one event to the next, in µs
    #[arg(long, default_value_t = 1000)]
    apart_us: u64,
    #[arg(long, value_delimiter = ',')]
    queries: Vec<String>,
    #[arg(long, default_value_t = 1)]
    workers: u32,
    /// Engines in this process have events instead of lines
    #[arg(long)]
    decoded: bool,
    /// Run only contenders whose name contains this
    #[arg(long, default_value = "")]
    only: String,
    /// Compare no results before measuring
    #[arg(long)]
    unchecked: bool,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

const BY_HAND: &str = "timely by hand";
const EGRET: &str = "egret";
const TO_STREAM: &str = "egret, to a stream";

/// The topology with its rows in a sink; measured from takeover to the last commit.
fn egret(query: &str, input: &Input, workers: u32, rows: &Collector, to_stream: bool) -> Sample {
    let dir = tempfile::tempdir_in(egret_integration::scratch()).expect("a directory");
    let log = Log::open(dir.path(), LogConfig::default()).expect("a fresh log opens");
    let progress = Arc::new(Progress::default());
    let run = || -> egret::Result<()> {
        let mut t = TopologyBuilder::new("bench");
        let ending = match to_stream {
            true => Ending::Stream("rows".to_owned()),
            false => {
                t.guarantee(Guarantee::AtLeastOnce);
                Ending::Sink(rows.clone())
            }
        };
        topology(&mut t, query, input, workers, &ending)?;
        let options = RunOptions { workers, commit_ms: 1000, ..RunOptions::default() };
        t.finish()?.run(&log, &options, &progress)?;
        Ok(())
    };
    let sample = measure(|| {
        run().expect("the topology runs");
        rows.count()
    });
    log.close().expect("the log closes");
    sample
}

/// Whether a result is the reference's; says what is wrong if it is not.
fn is_right(query: &str, name: &str, result: &[String], expected: &[String]) -> bool {
    if result == expected {
        return true;
    }
    let mut counts = BTreeMap::<&String, i64>::new();
    result.iter().for_each(|row| *counts.entry(row).or_default() += 1);
    expected.iter().for_each(|row| *counts.entry(row).or_default() -= 1);
    let wrong = counts.values().filter(|n| **n != 0).count();
    let example = counts.iter().find(|(_, n)| **n != 0);
    let (rows, all) = (result.len(), expected.len());
    println!("{query}: {name} is WRONG: {rows} rows of {all}, {wrong} differ, such as {example:?}");
    false
}

/// Everybody's result of a query against the reference's: who may take part.
fn checked(query: &str, input: &Input, options: &Options, peers: &mut [Peer]) -> Vec<String> {
    let mut right = Vec::new();
    let expected = match options.unchecked {
        true => Vec::new(),
        false => reference::result(query, input).expect("the query is known"),
    };
    let is_good = |name: &str, result: &mut dyn FnMut() -> Option<Vec<String>>| {
        let is_right = |result: Vec<String>| is_right(query, name, &result, &expected);
        let is_asked = name.to_lowercase().contains(&options.only.to_lowercase());
        is_asked && (options.unchecked || result().is_some_and(is_right))
    };
    let by_hand = &mut || {
        let rows = Collector::keeping();
        by_hand::query(query, input, options.workers, &rows);
        Some(rows.result())
    };
    let topology = &mut || {
        let rows = Collector::keeping();
        egret(query, input, options.workers, &rows, false);
        Some(rows.result())
    };
    if is_good(BY_HAND, by_hand) {
        right.push(BY_HAND.to_owned());
    }
    if is_good(EGRET, topology) {
        // That a stream has what these rows are is what tests show.
        right.extend([EGRET, TO_STREAM].map(str::to_owned));
    }
    for peer in peers {
        let name = peer.name().to_owned();
        if is_good(&name, &mut || peer.result(query)) {
            right.push(name);
        }
    }
    right
}

fn main() {
    let options = Options::parse();
    let spec = Spec { events: options.events, apart_us: options.apart_us, ..Spec::default() };
    let scratch = egret_integration::scratch();
    let (lines, file) = Input::in_file(&spec, &scratch).expect("the file of events");
    println!("{} in {}", lines.events(), file.display());
    let input = if options.decoded { lines.decoded() } else { lines.clone() };
    let mut peers = match options.decoded {
        true => Vec::new(),
        false => Peer::all("nexmark", (&file, &scratch), options.workers, &options.only),
    };
    let queries = match options.queries.is_empty() {
        true => QUERIES.map(str::to_owned).to_vec(),
        false => options.queries.clone(),
    };
    let mut ratios: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    for query in &queries {
        let right = checked(query, &input, &options, &mut peers);
        let how = if options.decoded { "decoded" } else { "lines" };
        let title = format!("{query}, {how}, {} worker(s)", options.workers);
        let mut table = Table::of(&title, options.events, "events");
        for _ in 0..options.rounds {
            for name in &right {
                let sample = match name.as_str() {
                    BY_HAND => {
                        let rows = Collector::counting();
                        Some(measure(|| {
                            by_hand::query(query, &input, options.workers, &rows);
                            rows.count()
                        }))
                    }
                    EGRET | TO_STREAM => {
                        let rows = Collector::counting();
                        Some(egret(query, &input, options.workers, &rows, name == TO_STREAM))
                    }
                    _ => {
                        peers.iter_mut().find(|peer| peer.name() == name).and_then(|p| p.run(query))
                    }
                };
                if let Some(sample) = sample {
                    table.add(name, sample);
                }
            }
        }
        table.print(if options.only.is_empty() { BY_HAND } else { "" });
        for name in &right {
            if let Some((_, cpu)) = table.ratios(name, BY_HAND) {
                ratios.entry(name.clone()).or_default().push(cpu);
            }
        }
    }
    println!(
        "\n| all of them | CPU ÷ {BY_HAND}, geometric mean | least | median | most | queries |"
    );
    println!("|---|---|---|---|---|---|");
    for (name, ratios) in ratios {
        let mean = (ratios.iter().map(|r| r.ln()).sum::<f64>() / ratios.len() as f64).exp();
        let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
        let most = ratios.iter().copied().fold(0.0, f64::max);
        let (queries, middle) = (ratios.len(), median(ratios));
        println!("| {name} | {mean:.2} | {least:.2} | {middle:.2} | {most:.2} | {queries} |");
    }
}
