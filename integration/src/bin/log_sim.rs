//! Runs seeds of the simulated log until something that must hold does not.
//!
//! ```text
//! cargo run --release -p egret-integration --bin log_sim -- --minutes 10
//! cargo run -p egret-integration --bin log_sim -- --seed 7 --steps 1500
//! ```

#![expect(clippy::print_stdout, reason = "a program that reports")]

use std::ops::Range;
use std::process::ExitCode;
use std::str::FromStr;

use clap::Parser;
use egret_integration::sim::{Hits, Options, run, shrink};
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
    /// Events of storm in each run
    #[arg(long, default_value_t = 1500)]
    steps: u64,
    /// How long to go on, at most; 0 for until the seeds are used up
    #[arg(long, default_value_t = 0)]
    minutes: u64,
    /// Print the shortest storm found that breaks the same rule
    #[arg(long)]
    shrink: bool,
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
    let options = Options { lines: arguments.lines, ..Options::default() };
    let started = clock::now();
    let (mut runs, mut confirmed, mut read_back, mut events) = (0u64, 0u64, 0u64, 0u64);
    let (mut destroyed, mut unrecoverable) = (0u64, 0u64);
    let mut hits = Hits::default();
    let mut next_line = PROGRESS_S;
    for seed in seeds {
        let report = match run(seed, arguments.steps, &options) {
            Ok(report) => report,
            Err(violation) => {
                let found =
                    if arguments.shrink { shrink(*violation, &options) } else { *violation };
                println!("{found}");
                return ExitCode::FAILURE;
            }
        };
        if arguments.seed.is_some() {
            println!("seed {seed}: trace {:016x} of {} events", report.hash, report.events);
        }
        if arguments.twice {
            let again = run(seed, arguments.steps, &options).map(|report| report.hash);
            if again.as_ref().ok() != Some(&report.hash) {
                println!("seed {seed} is not one run: another time it goes another way");
                return ExitCode::FAILURE;
            }
        }
        runs += 1;
        confirmed += report.confirmed;
        read_back += report.read_back;
        events += report.events;
        destroyed += report.destroyed;
        unrecoverable += report.unrecoverable;
        hits.add(&report.hits);
        let elapsed = started.elapsed();
        if elapsed.as_secs() >= next_line {
            next_line = elapsed.as_secs() + PROGRESS_S;
            println!(
                "{runs} runs, up to seed {seed}, {:.0}/s, {confirmed} entries confirmed",
                runs as f64 / elapsed.as_secs_f64()
            );
        }
        if arguments.minutes > 0 && elapsed.as_secs() >= arguments.minutes * 60 {
            break;
        }
    }
    println!("{hits}");
    println!(
        "{runs} runs without a violation in {:.1} s: {events} events, {confirmed} entries \
         confirmed, {read_back} read back, {destroyed} destroyed by media and said so, \
         {unrecoverable} ledgers beyond recovery and said so",
        started.elapsed().as_secs_f64()
    );
    for fault in hits.never() {
        println!("never hit: {}", fault.text());
    }
    ExitCode::SUCCESS
}
