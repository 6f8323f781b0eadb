//! Runs seeds of simulated topologies until something that must hold does not.
//!
//! ```text
//! cargo run --release -p egret-integration --bin topology_sim -- --seeds 0..2000
//! cargo run -p egret-integration --bin topology_sim -- --seed 7 --trace
//! ```

#![expect(clippy::print_stdout, reason = "a program that reports")]

use std::ops::Range;
use std::process::ExitCode;
use std::str::FromStr;

use clap::Parser;
use egret_integration::topology_sim::{Hits, Options, run};
use egret_log::clock;

/// Between two lines of progress.
const PROGRESS_S: u64 = 10;

#[derive(Parser)]
struct Arguments {
    /// One seed; replays what it does and prints the hash of its trace
    #[arg(long, conflicts_with = "seeds")]
    seed: Option<u64>,
    /// Seeds, as `first..behind the last`
    #[arg(long, default_value = "0..18446744073709551615")]
    seeds: Seeds,
    /// Print every event of a seed
    #[arg(long, requires = "seed")]
    trace: bool,
    /// How many kills to go on to, at most; 0 for until the seeds are used up
    #[arg(long, default_value_t = 0)]
    kills: u64,
    /// How long to go on, at most; 0 for until the seeds are used up
    #[arg(long, default_value_t = 0)]
    minutes: u64,
    /// Events a violation shows
    #[arg(long, default_value_t = 160)]
    lines: usize,
    /// Run every seed twice and compare the traces
    #[arg(long)]
    twice: bool,
}

#[derive(Clone)]
struct Seeds(Range<u64>);

impl FromStr for Seeds {
    type Err = String;

    fn from_str(text: &str) -> Result<Seeds, String> {
        let (first, behind) = text.split_once("..").ok_or("write seeds as 0..1000")?;
        let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text}: {error}"));
        Ok(Seeds(number(first)?..number(behind)?))
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let seeds = match arguments.seed {
        Some(seed) => seed..seed.saturating_add(1),
        None => arguments.seeds.0.clone(),
    };
    let lines = if arguments.trace { usize::MAX } else { arguments.lines };
    let options = Options { lines, ..Options::default() };
    let started = clock::now();
    let (mut runs, mut events, mut commits, mut generations, mut records) = (0u64, 0, 0, 0, 0);
    let mut hits = Hits::default();
    let mut next_line = PROGRESS_S;
    for seed in seeds {
        let report = match run(seed, &options) {
            Ok(report) => report,
            Err(violation) => {
                println!("{violation}");
                return ExitCode::FAILURE;
            }
        };
        if arguments.trace {
            report.trace.iter().for_each(|line| println!("{line}"));
        }
        if arguments.seed.is_some() {
            println!("seed {seed}: trace {:016x} of {} events", report.hash, report.events);
        }
        if arguments.twice {
            let again = run(seed, &options).map(|report| report.hash);
            if again.as_ref().ok() != Some(&report.hash) {
                println!("seed {seed} is not one run: another time it goes another way");
                return ExitCode::FAILURE;
            }
        }
        runs += 1;
        events += report.events;
        commits += report.commits;
        generations += report.generations;
        records += report.records;
        hits.add(&report.hits);
        let elapsed = started.elapsed();
        if elapsed.as_secs() >= next_line {
            next_line = elapsed.as_secs() + PROGRESS_S;
            println!(
                "{runs} runs, up to seed {seed}, {:.1}/s, {} kills",
                runs as f64 / elapsed.as_secs_f64(),
                hits.kills()
            );
        }
        let long = arguments.minutes > 0 && elapsed.as_secs() >= arguments.minutes * 60;
        if long || (arguments.kills > 0 && hits.kills() >= arguments.kills) {
            break;
        }
    }
    println!("{hits}");
    println!(
        "{runs} runs without a violation in {:.1} s: {} kills, {events} events, {generations} \
         generations, {commits} commit records, {records} records of output",
        started.elapsed().as_secs_f64(),
        hits.kills()
    );
    ExitCode::SUCCESS
}
