//! A topology with every kind of state as a process, to be killed, stopped and taken over. It says what it does:
//! `commit N` after each commit, `read SIDE PARTITION NUMBER` for the first line a generation reads of each.
//!
//! The defects it can be given are run options that no shipped program sets.

#![expect(clippy::print_stderr, reason = "a program that is watched by what it says")]

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Parser;
use egret::runtime::Faults;
use egret::{Progress, RunArgs, RunOptions};
use egret_integration::kill::every_kind::Wiring;
use egret_log::Log;

#[derive(Parser)]
struct Options {
    #[command(flatten)]
    run: RunArgs,
    /// Tasks of each component
    #[arg(long, default_value_t = 2)]
    tasks: u32,
    /// Bytes of an epoch: few, for many commits
    #[arg(long, default_value_t = 1 << 10)]
    epoch_bytes: usize,
    /// Microseconds that a line of the left takes
    #[arg(long, default_value_t = 0)]
    line_us: u64,
    /// Use the streams of whoever holds the directory
    #[arg(long)]
    attach: bool,
    /// A defect
    #[arg(long)]
    fault: Vec<String>,
}

fn faults(names: &[String]) -> Result<Faults> {
    let mut faults = Faults::default();
    for name in names {
        match name.as_str() {
            "keep_uncommitted_output" => faults.keep_uncommitted_output = true,
            "state_of_zombies" => faults.state_of_zombies = true,
            "forget_positions" => faults.forget_positions = true,
            "commits_late" => faults.commits_late = true,
            other => bail!("no defect is called {other}"),
        }
    }
    Ok(faults)
}

/// Says each commit, until the run is over.
fn follow(progress: &Progress, over: &AtomicBool) {
    let mut said = 0;
    while !over.load(Ordering::Acquire) {
        let commits = progress.commits();
        if commits > said {
            said = commits;
            eprintln!("commit {said}");
        }
        thread::park_timeout(Duration::from_micros(300));
    }
}

fn run() -> Result<()> {
    let options = Options::parse();
    let log = match (&options.run.data, options.attach) {
        (Some(dir), true) => Log::attach(dir)?,
        (None, true) => bail!("--attach takes --data"),
        (_, false) => options.run.open_log()?,
    };
    let wiring = Wiring {
        line_takes: Duration::from_micros(options.line_us),
        guarantee: options.run.guarantee,
        heard: Arc::new(|side, partition, number| eprintln!("read {side} {partition} {number}")),
        ..Wiring::of(options.tasks)
    };
    let with = RunOptions {
        epoch_ms: 1,
        epoch_bytes_max: options.epoch_bytes,
        faults: faults(&options.fault)?,
        ..options.run.options()
    };
    let (progress, over) = (Arc::new(Progress::default()), AtomicBool::new(false));
    thread::scope(|scope| {
        let following = scope.spawn(|| follow(&progress, &over));
        let ran = wiring.topology().and_then(|topology| topology.run(&log, &with, &progress));
        over.store(true, Ordering::Release);
        following.thread().unpark();
        ran
    })?;
    log.close()?;
    Ok(())
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
