//! Row 13: from a program's start to its first tuple, its memory when it has nothing to do, and its size on the disk.
//!
//! ```text
//! cargo bench -p egret-integration --bench footprint -- [--rounds 5] [--idle-seconds 5]
//! ```
//! Every round starts everybody once, one after the other; tables give medians. A program says on standard output when,
//! by the clock that all processes share, its first tuple was at a bolt, and when a reader had what was committed of it.
//! The start is just before it is forked.
//!
//! * *limit* is a static program in C that maps a file as large as Egret's binary, and looks at each of its pages.
//! * *egret* is `bin/first_tuple.rs`: one spout, one bolt, one sink, effectively-once, over a log of its own in a
//!   directory that is not there yet. *again* starts another topology where one was killed.
//! * *Flink* has one source, one map and one sink on its MiniCluster, without checkpoints: nothing of it is durable.

#![expect(clippy::print_stdout, reason = "a program that prints figures")]

mod started;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use egret_integration::measure::median;

use started::Started;

#[derive(Parser)]
struct Options {
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long a program has nothing to do before its memory is looked at
    #[arg(long, default_value_t = 5)]
    idle_seconds: u64,
    /// Another build of `first_tuple` than that of the bench
    #[arg(long, default_value = env!("CARGO_BIN_EXE_first_tuple"))]
    binary: PathBuf,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// What one start showed.
#[derive(Default)]
struct Shown {
    first_ms: f64,
    committed_ms: Option<f64>,
    rss_mb: f64,
    anonymous_mb: f64,
    idle_cpu_ms: f64,
}

/// Starts a program, and looks at it as long as asked for.
fn look(command: &mut Command, commits: bool, idle: Duration) -> Result<Shown> {
    let mut started = Started::new(command)?;
    let first_ms = started.hears("first")?;
    let committed_ms = commits.then(|| started.hears("committed")).transpose()?;
    let before = started.cpu_ms()?;
    std::thread::sleep(idle);
    let seconds = idle.as_secs_f64().max(0.1);
    Ok(Shown {
        first_ms,
        committed_ms,
        rss_mb: started.memory_mb("VmRSS")?,
        anonymous_mb: started.memory_mb("RssAnon")?,
        idle_cpu_ms: (started.cpu_ms()? - before) / seconds,
    })
}

/// Runs a program that is needed here.
fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{command:?}"))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

fn mb(path: &Path) -> Result<f64> {
    Ok(std::fs::metadata(path)?.len() as f64 / 1e6)
}

/// The size of a binary, and of a copy without what only debuggers read.
fn sizes(binary: &Path, scratch: &Path) -> Result<(f64, f64, PathBuf)> {
    let copy =
        scratch.join(format!("stripped-{}", binary.file_name().context("a name")?.display()));
    run(Command::new("strip").arg("-o").args([&copy, binary]))?;
    Ok((mb(binary)?, mb(&copy)?, copy))
}

/// Flink, if it can run here.
fn flink(scratch: &Path) -> Option<(String, PathBuf, PathBuf)> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/footprint/flink/run");
    // With the wheel that others fetched, where they did.
    let place = scratch.join("peer-flink");
    let output = Command::new(&script).arg(&place).arg("prepare").output().ok()?;
    let said = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match said.strip_prefix("ready ") {
        Some(name) => Some((name.to_owned(), script, place)),
        None => {
            println!("flink is not here: {said}");
            None
        }
    }
}

fn main() -> Result<()> {
    let Options { rounds, idle_seconds, binary, .. } = Options::parse();
    let idle = Duration::from_secs(idle_seconds);
    let all = egret_integration::scratch();
    let scratch = tempfile::tempdir_in(&all)?;
    let (size, stripped_size, stripped) = sizes(&binary, scratch.path())?;
    println!("| binary | MB | stripped MB |\n|---|---|---|");
    println!("| first_tuple | {size:.1} | {stripped_size:.1} |");
    let command_line = binary.with_file_name("egret");
    if command_line.exists() {
        let (size, stripped, _) = sizes(&command_line, scratch.path())?;
        println!("| egret, the command | {size:.1} | {stripped:.1} |");
    }
    let empty = scratch.path().join("empty");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/footprint/empty.c");
    run(Command::new("cc").args(["-O2", "-static", "-o"]).args([&empty, &source]))?;
    let flink = flink(&all);

    let mut order = vec!["limit".to_owned(), "egret".to_owned(), "egret, again".to_owned()];
    order.extend(["egret, commits every 10 ms".to_owned()]);
    order.extend(flink.iter().map(|(name, ..)| name.clone()));
    let mut shown = BTreeMap::<String, Vec<Shown>>::new();
    for round in 0..rounds {
        let data = |what: &str| scratch.path().join(format!("{what}-{round}"));
        for name in &order {
            let (mut command, commits) = match name.as_str() {
                "limit" => (Command::new(&empty), false),
                "egret" | "egret, again" | "egret, commits every 10 ms" => {
                    (Command::new(&stripped), true)
                }
                _ => (Command::new(&flink.as_ref().context("it is here")?.1), false),
            };
            match name.as_str() {
                "limit" => command.arg(&stripped),
                "egret" | "egret, again" => command.arg("--data").arg(data("egret")),
                "egret, commits every 10 ms" => {
                    command.args(["--commit-ms", "10", "--data"]).arg(data("often"))
                }
                _ => command.arg(&flink.as_ref().context("it is here")?.2),
            };
            // Under its own name it would have nothing to emit: that is committed.
            if name == "egret, again" {
                command.args(["--name", "again"]);
            }
            let of = shown.entry(name.clone()).or_default();
            of.push(look(&mut command, commits, idle).with_context(|| name.clone())?);
        }
    }
    println!(
        "\n| what | first tuple ms | committed ms | idle MB | of it anonymous | idle CPU ms/s |"
    );
    println!("|---|---|---|---|---|---|");
    for name in &order {
        let of = |f: fn(&Shown) -> f64| median(shown[name].iter().map(f).collect());
        let committed = match shown[name][0].committed_ms {
            Some(_) => format!("{:.1}", of(|s| s.committed_ms.unwrap_or(f64::NAN))),
            None => String::new(),
        };
        println!(
            "| {name} | {:.1} | {committed} | {:.1} | {:.1} | {:.1} |",
            of(|s| s.first_ms),
            of(|s| s.rss_mb),
            of(|s| s.anonymous_mb),
            of(|s| s.idle_cpu_ms),
        );
    }
    Ok(())
}
