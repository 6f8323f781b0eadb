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
use egret_model::commit;
use egret_model::conformance;
use egret_model::explore::explore;
use egret_model::scope::Scope;
use egret_model::walk::walk;
use egret_model::world::World;
use egret_state::mutants as of_commits;

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
    if let Some((by, what)) = seeds(0..options.control).or_else(|| commits(0..options.control)) {
        bail!("without any bug, {by} finds: {what}");
    }
    let limit = Duration::from_secs(options.seconds);
    let mut table = Table { only: options.only, tried: 0, found: 0 };
    println!("| mutant | what is wrong | found by | seconds | as |");
    println!("|---|---|---|---|---|");
    for mutant in Mutant::ALL.iter().copied() {
        choose(Some(mutant));
        table.row(&format!("{mutant:?}"), mutant.what(), || find(limit));
    }
    choose(None);
    for mutant in of_commits::Mutant::ALL.iter().copied() {
        of_commits::choose(Some(mutant));
        table.row(&format!("{mutant:?}"), mutant.what(), || find_in_commits(limit));
    }
    of_commits::choose(None);
    let Table { tried, found, .. } = table;
    println!("\n{found} of {tried} found");
    if found < tried || tried == 0 {
        bail!("{} were not found", tried - found);
    }
    Ok(())
}

/// What was looked for so far.
struct Table {
    only: Option<String>,
    tried: u32,
    found: u32,
}

impl Table {
    /// Looks for one, unless only another is wanted.
    fn row(&mut self, name: &str, wrong: &str, find: impl FnOnce() -> Option<(String, String)>) {
        if self.only.as_ref().is_some_and(|only| only != name) {
            return;
        }
        self.tried += 1;
        let started = clock::now();
        let found = find();
        self.found += u32::from(found.is_some());
        let (by, what) = found.unwrap_or_else(|| ("**nothing**".to_owned(), String::new()));
        let seconds = started.elapsed().as_secs_f64();
        println!("| {name} | {wrong} | {by} | {seconds:.1} | {what} |");
    }
}

/// Random schedules of the commit protocol until something is found or the time is over.
fn find_in_commits(limit: Duration) -> Option<(String, String)> {
    let started = clock::now();
    let rounds = (0..).step_by(usize::try_from(ROUND).unwrap_or(1));
    let mut rounds = rounds.take_while(|_| started.elapsed() < limit);
    rounds.find_map(|first| commits(first..first + ROUND))
}

fn commits(range: std::ops::Range<u64>) -> Option<(String, String)> {
    for seed in range {
        for scope in commit::scope::Scope::WALKS {
            if let Err(broken) = walk::<commit::world::World>(&scope, seed) {
                return Some((format!("schedule {seed}, {}", scope.name), broken.what));
            }
        }
    }
    None
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
        if let Some((what, actions)) = explore::<World>(scope, 2, limit / 8).broken {
            let by = format!("every schedule of {}, {} steps", scope.name, actions.len());
            return Some((by, what));
        }
    }
    None
}

fn seeds(range: std::ops::Range<u64>) -> Option<(String, String)> {
    for scope in Scope::WALKS {
        for seed in range.clone() {
            if let Err(broken) = walk::<World>(&scope, seed) {
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
