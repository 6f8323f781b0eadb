//! Takes the ledger protocol through every schedule of a scope, and says how many there were.
//!
//! ```text
//! cargo build --release -p egret-model
//! target/release/ledger_model --appends 2 --recoverers 1
//! ```

#![expect(clippy::print_stdout, reason = "a program that reports")]

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use clap::Parser;
use egret_log::clock;
use egret_model::explore::explore;
use egret_model::scope::Scope;
use egret_model::world::World;

#[derive(Parser)]
struct Options {
    /// Entries the writer may append
    #[arg(long, default_value_t = 2)]
    appends: u64,
    /// Bookies beside the three, to take the place of those that fail
    #[arg(long, default_value_t = 0)]
    spares: u8,
    /// Who recovers at once
    #[arg(long, default_value_t = 1)]
    recoverers: u8,
    /// How often each may try
    #[arg(long, default_value_t = 1)]
    attempts: u8,
    /// Calls whose sender stops waiting
    #[arg(long, default_value_t = 0)]
    silences: u8,
    /// Requests that arrive twice
    #[arg(long, default_value_t = 0)]
    repeats: u8,
    /// Processes that die
    #[arg(long, default_value_t = 0)]
    crashes: u8,
    /// Changes of the record whose outcome is not heard
    #[arg(long, default_value_t = 0)]
    unheard: u8,
    /// Bookies formatted anew
    #[arg(long, default_value_t = 0)]
    wipes: u8,
    /// Let the writer close the ledger
    #[arg(long)]
    writer_closes: bool,
    /// Close at a commit
    #[arg(long)]
    transactional: bool,
    /// Threads
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// When to stop, in seconds; a scope that was not gone through by then fails
    #[arg(long, default_value_t = 3600)]
    seconds: u64,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let scope = Scope {
        spares: options.spares,
        appends: options.appends,
        recoverers: options.recoverers,
        attempts: options.attempts,
        silences: options.silences,
        repeats: options.repeats,
        crashes: options.crashes,
        unheard: options.unheard,
        wipes: options.wipes,
        writer_closes: options.writer_closes,
        transactional: options.transactional,
        ..Scope::SMALL
    };
    let started = clock::now();
    let explored = explore::<World>(scope, options.threads, Duration::from_secs(options.seconds));
    let seconds = started.elapsed().as_secs_f64();
    println!(
        "{} states, {} steps, longest schedule {} steps, {seconds:.1} s",
        explored.states, explored.steps, explored.depth
    );
    if let Some((what, actions)) = explored.broken {
        for action in &actions {
            println!("  {action:?}");
        }
        bail!("{what}");
    }
    ensure!(explored.exhausted, "not every schedule was seen: give it more --seconds");
    ensure!(explored.useful, "no schedule acknowledges and recovers: the scope is too small");
    println!("every schedule was seen, and no promise is broken");
    Ok(())
}
