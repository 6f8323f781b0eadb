//! Searches for inputs that break a decoder's promise: `just fuzz --seconds 600 --seed 7`.
//!
//! Prints what each target did, and inputs per second. An input that breaks a promise is saved to a
//! file, and the command that tries it again is printed; the program then ends with 1.

#![expect(clippy::print_stdout, reason = "a program that prints figures")]

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use egret_fuzz::counting::Counting;
use egret_fuzz::search::{Broken, Patience, Tried, search, try_one};
use egret_fuzz::{Target, corpus, targets};

#[global_allocator]
static COUNTED: Counting = Counting;

/// Hands every decoder bytes that nobody wrote.
#[derive(Debug, Parser)]
#[command(name = "fuzz")]
struct Options {
    /// Inputs to try instead of a search; needs a target.
    #[arg(value_name = "FILE", requires = "target")]
    inputs: Vec<PathBuf>,
    /// Only this target; all of them in turn otherwise.
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// How long to search, over all targets.
    #[arg(long, value_name = "N", default_value_t = 60)]
    seconds: u64,
    /// The search that is made; the same seed makes the same inputs.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Where an input that breaks a promise is saved.
    #[arg(long, value_name = "DIR", default_value = ".")]
    save: PathBuf,
    /// Print the targets and end.
    #[arg(long)]
    list: bool,
}

fn main() -> Result<ExitCode> {
    let options = Options::parse();
    let mut chosen = targets();
    if let Some(name) = &options.target {
        chosen.retain(|target| target.name == name);
        anyhow::ensure!(!chosen.is_empty(), "`{name}` is no target: --list prints them");
    }
    if options.list {
        chosen.iter().for_each(|target| println!("{}", target.name));
        return Ok(ExitCode::SUCCESS);
    }
    if !options.inputs.is_empty() {
        return try_files(&chosen[0], &options.inputs);
    }
    let each = Duration::from_secs(options.seconds) / u32::try_from(chosen.len())?;
    println!("seed {}, {:.1} s for each target", options.seed, each.as_secs_f64());
    let mut all = Tried::default();
    let mut broken = 0;
    for target in &chosen {
        let inputs: Vec<Vec<u8>> = corpus::inputs(target)
            .with_context(|| format!("the corpus of {}", target.name))?
            .into_iter()
            .map(|(_, bytes)| bytes)
            .collect();
        let patience = Patience { executions: u64::MAX, time: each };
        match search(target, &inputs, options.seed, patience) {
            Ok(tried) => {
                report(target.name, &tried);
                all.executions += tried.executions;
                all.taken += tried.taken;
                all.held_bytes_max = all.held_bytes_max.max(tried.held_bytes_max);
                all.time += tried.time;
            }
            Err(found) => {
                save(target, &found, &options)?;
                broken += 1;
            }
        }
    }
    report("all", &all);
    Ok(if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn report(name: &str, tried: &Tried) {
    let (inputs, taken) = (tried.executions, tried.taken);
    let seconds = tried.time.as_secs_f64().max(0.001);
    println!(
        "{name:<22} {inputs:>10} inputs {:>9.0}/s {:>5.1} % taken {:>6} KiB at most",
        inputs as f64 / seconds,
        100.0 * taken as f64 / (inputs.max(1)) as f64,
        tried.held_bytes_max / 1024,
    );
}

fn save(target: &Target, found: &Broken, options: &Options) -> Result<()> {
    let name = format!("found-{}-{}", target.name, options.seed);
    let file = options.save.join(name);
    fs::write(&file, &found.input).with_context(|| file.display().to_string())?;
    println!("{}: broken by {} bytes: {}", target.name, found.input.len(), found.why);
    println!("  saved as {}; tried again by", file.display());
    println!("  just fuzz --target {} {}", target.name, file.display());
    println!("  mended, it belongs into {}", corpus::dir(target).display());
    Ok(())
}

fn try_files(target: &Target, files: &[PathBuf]) -> Result<ExitCode> {
    let mut code = ExitCode::SUCCESS;
    for file in files {
        let input = fs::read(file).with_context(|| file.display().to_string())?;
        match try_one(target, &input) {
            Ok((taken, held)) => {
                let taken = if taken { "taken" } else { "refused" };
                println!("{}: {taken}, {held} bytes of memory at most", file.display());
            }
            Err(why) => {
                println!("{}: broken: {why}", file.display());
                code = ExitCode::FAILURE;
            }
        }
    }
    Ok(code)
}
