//! Switches each known bug in, and looks for a schedule that shows it. One that is not found means that
//! a test is missing.
//!
//! ```text
//! cargo run --release -p egret-model --features mutants --bin find_mutants
//! ```
//! Prints a table.

#![expect(clippy::print_stdout, reason = "a program that reports")]

use std::time::Duration;

use anyhow::{Result, bail};
use clap::Parser;
use egret_log::clock;
use egret_log::mutants::{Mutant, choose};
use egret_model::conformance;
use egret_model::explore::explore;
use egret_model::scope::Scope;
use egret_model::walk::walk;

#[derive(Parser)]
struct Options {
    /// How long to look for each
    #[arg(long, default_value_t = 600)]
    seconds: u64,
    /// Look for this one only, by its name
    #[arg(long)]
    only: Option<String>,
    /// Schedules of each kind that must find nothing when no bug is switched in
    #[arg(long, default_value_t = 2000)]
    control: u64,
}

/// Schedules of one kind before the next kind has its turn.
const ROUND: u64 = 200;

fn main() -> Result<()> {
    let options = Options::parse();
    // Panics are findings here, and are reported as such.
    std::panic::set_hook(Box::new(|_| {}));
    choose(None);
    if let Some((by, what)) = seeds(0..options.control) {
        bail!("without any bug, {by} finds: {what}");
    }
    let mutants = Mutant::ALL
        .iter()
        .copied()
        .filter(|mutant| options.only.as_ref().is_none_or(|only| *only == format!("{mutant:?}")));
    println!("| mutant | what is wrong | found by | seconds | as |");
    println!("|---|---|---|---|---|");
    let (mut tried, mut found) = (0, 0);
    for mutant in mutants {
        choose(Some(mutant));
        tried += 1;
        let started = clock::now();
        let (by, what) = match find(Duration::from_secs(options.seconds)) {
            Some(finding) => {
                found += 1;
                finding
            }
            None => ("**nothing**".to_owned(), String::new()),
        };
        let seconds = started.elapsed().as_secs_f64();
        println!("| {mutant:?} | {} | {by} | {seconds:.1} | {what} |", mutant.what());
    }
    choose(None);
    println!("\n{found} of {tried} found");
    if found < tried || tried == 0 {
        bail!("{} were not found", tried - found);
    }
    Ok(())
}

/// Looks until something is found or the time is over: random schedules first, then all of small
/// scopes.
fn find(limit: Duration) -> Option<(String, String)> {
    let started = clock::now();
    let mut first = 0;
    while started.elapsed() < limit / 2 {
        if let Some(found) = seeds(first..first + ROUND) {
            return Some(found);
        }
        first += ROUND;
    }
    let small = [
        Scope { name: "one entry", appends: 1, ..Scope::SMALL },
        Scope::REPLACED,
        Scope::LOST,
        Scope::RIVALS,
    ];
    for scope in small {
        if let Some((what, actions)) = explore(scope, 2, limit / 8).broken {
            let by = format!("every schedule of {}, {} steps", scope.name, actions.len());
            return Some((by, what));
        }
    }
    None
}

fn seeds(range: std::ops::Range<u64>) -> Option<(String, String)> {
    for scope in Scope::WALKS {
        for seed in range.clone() {
            if let Err(broken) = walk(&scope, seed) {
                return Some((format!("schedule {seed}, {}", scope.name), broken.what));
            }
        }
    }
    for seed in range {
        let walked = std::panic::catch_unwind(|| conformance::walk(seed));
        let what = match walked {
            Ok(Ok(())) => continue,
            Ok(Err(strayed)) => strayed.what,
            Err(_) => "an assertion of the bookie".to_owned(),
        };
        return Some((format!("bookie's life {seed}"), what));
    }
    None
}
