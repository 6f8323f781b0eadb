//! Runs seeds of simulated topologies until something that must hold does not.
//!
//! ```text
//! cargo run --release -p egret-integration --bin topology_sim -- --seeds 0..2000
//! cargo run -p egret-integration --bin topology_sim -- --seed 7 --trace
//! ```

#![expect(clippy::print_stdout, reason = "a program that reports")]

use std::process::ExitCode;

use clap::Parser;
use egret_integration::seeds::SeedArgs;
use egret_integration::topology_sim::{Hits, Options, run};

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    which: SeedArgs,
    /// Print every event of a seed
    #[arg(long, requires = "seed")]
    trace: bool,
    /// How many kills to go on to, at most; 0 for until the seeds are used up
    #[arg(long, default_value_t = 0)]
    kills: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let which = &arguments.which;
    let lines = if arguments.trace { usize::MAX } else { which.lines };
    let options = Options { lines, ..Options::default() };
    let mut pace = which.begin();
    let (mut runs, mut events, mut commits, mut generations, mut records) = (0u64, 0, 0, 0, 0);
    let mut hits = Hits::default();
    for seed in which.seeds() {
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
        let again = || run(seed, &options).ok().map(|report| report.hash);
        match which.check(seed, (report.hash, report.events), again) {
            Ok(said) => said.iter().for_each(|said| println!("{said}")),
            Err(why) => {
                println!("{why}");
                return ExitCode::FAILURE;
            }
        }
        runs += 1;
        events += report.events;
        commits += report.commits;
        generations += report.generations;
        records += report.records;
        hits.add(&report.hits);
        if pace.is_due() {
            println!(
                "{runs} runs, up to seed {seed}, {:.1}/s, {} kills",
                runs as f64 / pace.seconds(),
                hits.kills()
            );
        }
        if pace.is_over() || (arguments.kills > 0 && hits.kills() >= arguments.kills) {
            break;
        }
    }
    println!("{hits}");
    println!(
        "{runs} runs without a violation in {:.1} s: {} kills, {events} events, {generations} \
         generations, {commits} commit records, {records} records of output",
        pace.seconds(),
        hits.kills()
    );
    ExitCode::SUCCESS
}
