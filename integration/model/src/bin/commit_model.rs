//! Takes the commit protocol through every schedule of a scope, and says how many there were.
//!
//! ```text
//! cargo build --release -p egret-model
//! target/release/commit_model --numbers 1,1 --takeovers 1 --zombie-steps 4
//! ```

#![expect(clippy::print_stdout, reason = "a program that reports")]

use std::time::Duration;

use anyhow::{Result, bail, ensure};
use clap::Parser;
use egret_log::clock;
use egret_model::commit::scope::Scope;
use egret_model::commit::world::World;
use egret_model::explore::explore;

#[derive(Parser)]
struct Options {
    /// Numbers of each of the two splits
    #[arg(long, value_delimiter = ',', default_value = "1,0")]
    numbers: Vec<u64>,
    /// Processes that start beside the first
    #[arg(long, default_value_t = 1)]
    takeovers: u8,
    /// Processes that die
    #[arg(long, default_value_t = 0)]
    crashes: u8,
    /// Answers that nobody hears
    #[arg(long, default_value_t = 0)]
    unheard: u8,
    /// Writes that fail and let go what waits for them
    #[arg(long, default_value_t = 0)]
    drops: u8,
    /// Reports of an earlier generation that arrive late
    #[arg(long, default_value_t = 0)]
    late: u8,
    /// Newest records that cannot be read for once
    #[arg(long, default_value_t = 0)]
    unreadable: u8,
    /// Steps of a process after another took over from it
    #[arg(long, default_value_t = 4)]
    zombie_steps: u8,
    /// Threads
    #[arg(long, default_value_t = 2)]
    threads: usize,
    /// When to stop, in seconds; a scope that was not gone through by then fails
    #[arg(long, default_value_t = 3600)]
    seconds: u64,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let &[first, second] = &options.numbers[..] else { bail!("give the numbers of two splits") };
    let scope = Scope {
        name: "asked for",
        numbers: [first, second],
        takeovers: options.takeovers,
        crashes: options.crashes,
        unheard: options.unheard,
        drops: options.drops,
        late: options.late,
        unreadable: options.unreadable,
        zombie_steps: options.zombie_steps,
        defect: None,
    };
    let started = clock::now();
    let limit = Duration::from_secs(options.seconds);
    let explored = explore::<World>(scope, options.threads, limit);
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
    ensure!(explored.useful, "no schedule has a takeover that finishes: the scope is too small");
    println!("every schedule was seen, and no promise is broken");
    Ok(())
}
