//! Rows 1 and 11: words counted a second, against hand-written timely and a single thread, and what
//! commits cost.
//!
//! ```text
//! cargo bench -p egret-integration --bench word_count -- [--rounds 5] [--megabytes 64] [--workers 1,2]
//! ```
//! Every round runs every contender once, one after the other; the table gives medians over rounds.
//! The input is made once, held in memory, and the same for all. `limit` is one thread that splits and
//! counts with a hash table and nothing else.
//!
//! Peers are folders, `flink/` and `bytewax/`: they read the same text from a file, checkpoint nothing and tell of
//! every count once. Their counts are compared before they are measured; one that cannot run here is named, with the
//! reason. `--peers none` leaves them out.

#![expect(clippy::print_stdout, reason = "a program that prints figures")]

mod by_hand;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use egret::component::{ComponentResult, Context, Next, Positions, Replay};
use egret::{
    Blob, Emitter, Guarantee, KeyedBolt, LogSink, Progress, RunOptions, Spout, TopologyBuilder,
};
use egret_integration::bench::limit;
use egret_integration::bench::peer::Peer;
use egret_integration::measure::{Sample, Table, measure};
use egret_integration::words::{Lines, words};
use egret_log::{Log, LogConfig};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Options {
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Bytes of text in one run
    #[arg(long, default_value_t = 64)]
    megabytes: usize,
    #[arg(long, value_delimiter = ',', default_value = "1,2")]
    workers: Vec<u32>,
    /// Distinct words
    #[arg(long, value_delimiter = ',', default_value = "10000,450000")]
    words: Vec<usize>,
    /// Run only contenders whose name contains this
    #[arg(long, default_value = "")]
    only: String,
    /// Run only peers whose name contains this
    #[arg(long, default_value = "")]
    peers: String,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// Emits every line once; task `t` of `n` those with index `t mod n`.
struct Tape {
    lines: Arc<Lines>,
    own: u32,
    next: usize,
    step: usize,
}

impl Spout<Blob> for Tape {
    fn replay(&self) -> Replay {
        Replay::Positional
    }

    fn open(&mut self, cx: &Context, committed: &Positions) -> ComponentResult {
        self.step = cx.tasks() as usize;
        self.own = cx.id().task;
        self.next = match committed.get(&self.own.to_le_bytes()[..]) {
            Some(at) => usize::try_from(u64::from_le_bytes(at[..].try_into()?))?,
            None => self.own as usize,
        };
        Ok(())
    }

    fn next(
        &mut self,
        bytes: usize,
        out: &mut Emitter<Blob>,
        _: &Context,
    ) -> ComponentResult<Next> {
        let until = out.bytes() + bytes;
        while out.bytes() < until {
            let Some(line) = self.lines.get(self.next) else { return Ok(Next::Done) };
            out.emit(Blob::from(line));
            self.next += self.step;
        }
        Ok(Next::More)
    }

    fn positions(&self) -> Positions {
        let at = (self.next as u64).to_le_bytes().to_vec();
        BTreeMap::from([(self.own.to_le_bytes().to_vec(), at)])
    }
}

struct Count;

impl KeyedBolt<[u8], Blob, (Blob, u64)> for Count {
    type State = u64;

    fn execute(
        &mut self,
        _: &[u8],
        n: &mut u64,
        _: Blob,
        _: &mut Emitter<(Blob, u64)>,
        _: &Context,
    ) -> ComponentResult {
        *n += 1;
        Ok(())
    }

    fn flush(
        &mut self,
        word: &[u8],
        n: &mut u64,
        out: &mut Emitter<(Blob, u64)>,
        _: &Context,
    ) -> ComponentResult {
        out.emit((Blob::from(word), *n));
        Ok(())
    }
}

/// One thread, no engine.
fn one_thread(lines: &Lines) -> u64 {
    let mut counts: hashbrown::HashMap<Vec<u8>, u64> = hashbrown::HashMap::new();
    for word in (0..).map_while(|i| lines.get(i)).flat_map(words) {
        *counts.entry_ref(word).or_insert(0) += 1;
    }
    counts.values().sum()
}

/// The topology, with its output in a stream; measured from takeover to the last commit. Its count is
/// the commits it made. Making and closing the data directory is not measured.
fn egret(
    lines: &Arc<Lines>,
    workers: u32,
    guarantee: Guarantee,
    (commit_ms, commit_ms_max): Bounds,
) -> Sample {
    let dir = tempfile::tempdir_in(egret_integration::scratch()).expect("a directory");
    let log = Log::open(dir.path(), LogConfig::default()).expect("a fresh log opens");
    let progress = Arc::new(Progress::default());
    let run = || -> egret::Result<()> {
        let mut t = TopologyBuilder::new("bench");
        t.guarantee(guarantee);
        let lines = Arc::clone(lines);
        let tape = move || Tape { lines: Arc::clone(&lines), own: 0, next: 0, step: 1 };
        let lines = t.spout("lines", workers, tape)?;
        let words = lines.local_or_shuffle().bolt("split", workers, || {
            |line: Blob, out: &mut Emitter<Blob>| words(&line).for_each(|w| out.emit(Blob::from(w)))
        })?;
        let counts = words.fields(|w| w.as_bytes()).keyed("count", workers, || Count)?;
        counts.sink("out", LogSink::to_stream("counts"))?;
        let options = RunOptions { workers, commit_ms, commit_ms_max, ..RunOptions::default() };
        t.finish()?.run(&log, &options, &progress)?;
        Ok(())
    };
    let sample = measure(|| {
        run().expect("the topology runs");
        progress.commits()
    });
    log.close().expect("the log closes");
    sample
}

/// Those peers that count right.
fn peers(lines: &Lines, workers: u32, options: &Options) -> Vec<Peer> {
    let scratch = egret_integration::scratch();
    let file = scratch.join("words.txt");
    std::fs::write(&file, lines.text()).expect("room for the text");
    let mut expected: Option<Vec<String>> = None;
    let mut peers = Peer::all("word_count", (&file, &scratch), workers, &options.peers);
    peers.retain_mut(|peer| {
        let expected = expected.get_or_insert_with(|| counts(lines));
        let result = peer.result("count");
        let is_right = result.as_ref() == Some(expected);
        if !is_right {
            println!(
                "{} counts WRONG: {:?} words of {}",
                peer.name(),
                result.map(|r| r.len()),
                expected.len()
            );
        }
        is_right
    });
    peers
}

/// Every word and how often it comes, as peers write it.
fn counts(lines: &Lines) -> Vec<String> {
    let mut counts: hashbrown::HashMap<&[u8], u64> = hashbrown::HashMap::new();
    for word in (0..).map_while(|i| lines.get(i)).flat_map(words) {
        *counts.entry(word).or_insert(0) += 1;
    }
    let row = |(word, n): (&&[u8], &u64)| format!("{}|{n}", String::from_utf8_lossy(word));
    let mut rows: Vec<String> = counts.iter().map(row).collect();
    rows.sort_unstable();
    rows
}

const NO_COMMITS: &str = "egret, no commits";

/// How a contender is called that commits at this interval.
fn committing(interval: &str) -> String {
    format!("egret, commits every {interval}")
}

/// How long a commit lasts: at the earliest, and at the latest.
type Bounds = (u64, Option<u64>);

/// Intervals, and what of the rate they may cost with few and with many keys.
const INTERVALS: [(&str, Bounds, Option<[u32; 2]>); 4] = [
    ("1 s", (1000, None), Some([5, 10])),
    ("100 ms", (100, None), Some([15, 25])),
    ("10 ms", (10, None), None),
    ("10 ms to 1 s", (10, Some(1000)), None),
];

/// Row 11: what commits cost, beside the two syncs that each of them waits for.
fn print_costs(table: &Table, distinct: usize) {
    let sync = limit::synced_writes(1, 4096, Duration::from_millis(500));
    let sync_ms = sync.p50_us / 1000.0;
    println!(
        "| commits every | cost in rate % | goal % | CPU ÷ no commits | commits a run | ms each | limit: two syncs ms |"
    );
    println!("|---|---|---|---|---|---|---|");
    for (interval, _, goals) in INTERVALS {
        let name = committing(interval);
        let (Some((time, cpu)), Some((wall, commits)), Some((without, _))) =
            (table.ratios(&name, NO_COMMITS), table.medians(&name), table.medians(NO_COMMITS))
        else {
            continue;
        };
        let cost = 100.0 * (1.0 - 1.0 / time);
        let goal =
            goals.map_or(String::new(), |goals| goals[usize::from(distinct > 10_000)].to_string());
        let each = 1000.0 * (wall - without) / commits;
        println!(
            "| {interval} | {cost:.0} | {goal} | {cpu:.2} | {commits} | {each:.1} | {:.2} |",
            2.0 * sync_ms
        );
    }
}

fn main() {
    let options = Options::parse();
    for &distinct in &options.words {
        let lines = Arc::new(Lines::generate(options.megabytes << 20, distinct));
        for &workers in &options.workers {
            let title = format!("{distinct} words, {workers} worker(s)");
            let mut table = Table::new(&title, lines.words());
            let mut peers = peers(&lines, workers, &options);
            for _ in 0..options.rounds {
                let mut run = |name: &str, contender: &dyn Fn() -> Sample| {
                    if name.contains(&options.only) {
                        table.add(name, contender());
                    }
                };
                run("limit: one thread", &|| measure(|| one_thread(&lines)));
                run("timely by hand", &|| measure(|| by_hand::count(&lines, workers)));
                let none = 3_600_000;
                run(NO_COMMITS, &|| egret(&lines, workers, Guarantee::AtMostOnce, (none, None)));
                for (interval, bounds, _) in INTERVALS {
                    run(&committing(interval), &|| {
                        egret(&lines, workers, Guarantee::EffectivelyOnce, bounds)
                    });
                }
                for peer in &mut peers {
                    if let Some(sample) = peer.run("count") {
                        table.add(peer.name(), sample);
                    }
                }
            }
            table.print("timely by hand");
            print_costs(&table, distinct);
        }
    }
}
