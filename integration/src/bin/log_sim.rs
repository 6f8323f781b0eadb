//! Runs seeds of the simulated log until something that must hold does not.
//!
//! ```text
//! cargo run --release -p egret-integration --bin log_sim -- --minutes 10
//! cargo run -p egret-integration --bin log_sim -- --seed 7 --steps 1500
//! ```

#![expect(clippy::print_stdout, reason = "a program that reports")]

use std::process::ExitCode;

use clap::Parser;
use egret_integration::seeds::SeedArgs;
use egret_integration::sim::{Hits, Options, run, shrink};

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    which: SeedArgs,
    /// Events of storm in each run
    #[arg(long, default_value_t = 1500)]
    steps: u64,
    /// Print the shortest storm found that breaks the same rule
    #[arg(long)]
    shrink: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let which = &arguments.which;
    let options = Options { lines: which.lines, ..Options::default() };
    let mut pace = which.begin();
    let (mut runs, mut confirmed, mut read_back, mut events) = (0u64, 0u64, 0u64, 0u64);
    let (mut destroyed, mut unrecoverable) = (0u64, 0u64);
    let mut hits = Hits::default();
    for seed in which.seeds() {
        let report = match run(seed, arguments.steps, &options) {
            Ok(report) => report,
            Err(violation) => {
                let found =
                    if arguments.shrink { shrink(*violation, &options) } else { *violation };
                println!("{found}");
                return ExitCode::FAILURE;
            }
        };
        let again = || run(seed, arguments.steps, &options).ok().map(|report| report.hash);
        match which.check(seed, (report.hash, report.events), again) {
            Ok(said) => said.iter().for_each(|said| println!("{said}")),
            Err(why) => {
                println!("{why}");
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
        if pace.is_due() {
            println!(
                "{runs} runs, up to seed {seed}, {:.0}/s, {confirmed} entries confirmed",
                runs as f64 / pace.seconds()
            );
        }
        if pace.is_over() {
            break;
        }
    }
    println!("{hits}");
    println!(
        "{runs} runs without a violation in {:.1} s: {events} events, {confirmed} entries \
         confirmed, {read_back} read back, {destroyed} destroyed by media and said so, \
         {unrecoverable} ledgers beyond recovery and said so",
        pace.seconds()
    );
    for fault in hits.never() {
        println!("never hit: {}", fault.text());
    }
    ExitCode::SUCCESS
}
