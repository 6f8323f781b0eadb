//! Kills the word count with `SIGKILL` again and again, and compares what it counted with coreutils.
//!
//! ```text
//! cargo build --release --workspace --examples --bins
//! target/release/crash_and_kill --seconds 120
//! ```
//! For each number of workers, and of worker processes: kills spread over loading, taking over, counting and
//! committing, while a reader follows the output stream; then one run to the end. What must hold: the counts
//! equal coreutils' answer, no count is written twice, and everything a reader ever saw is still there and of
//! an epoch that is in the commit history. Beside it run positive controls that must fail: at-least-once
//! must show repeated output, and so must a recovery that keeps output which was never committed.

#![expect(clippy::print_stdout, reason = "a program that reports")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use egret_integration::kill::commits::Commits;
use egret_integration::kill::history::{repeats, totals, unkept};
use egret_integration::kill::input;
use egret_integration::kill::program::{Ended, Moment, Place, Program, beside};
use egret_integration::kill::reader::{Seen, Tail, cat};
use egret_integration::words::Numbers;
use egret_log::clock;

/// The topology's name.
const TOPOLOGY: &str = "word_count";

/// Tries of a control, of which one must show its defect: on a fast machine a run ends before most kills.
const CONTROLS: u32 = 25;

#[derive(Parser)]
struct Options {
    /// How long to go on, at most; 0 for until the kills are done
    #[arg(long, default_value_t = 0)]
    seconds: u64,
    /// Kills for each number of workers
    #[arg(long, default_value_t = 20)]
    kills: u32,
    /// Numbers of worker threads
    #[arg(long, value_delimiter = ',', default_value = "1,2")]
    workers: Vec<u32>,
    /// Numbers of worker processes, of one thread each, beside those of one process
    #[arg(long, value_delimiter = ',', default_value = "3")]
    processes: Vec<u32>,
    /// Text to count
    #[arg(long, default_value_t = 50)]
    megabytes: u64,
    /// Where the moments come from; printed, and good for running the same again
    #[arg(long)]
    seed: Option<u64>,
    /// Leave the data directories
    #[arg(long)]
    keep: bool,
}

struct World {
    word_count: PathBuf,
    /// The one with a defect.
    keeping: PathBuf,
    egret: PathBuf,
    files: Vec<PathBuf>,
    reference: Vec<u8>,
    dir: PathBuf,
}

impl World {
    fn program(
        &self,
        name: &str,
        (processes, workers): (u32, u32),
        guarantee: &'static str,
    ) -> Program {
        Program {
            binary: self.word_count.clone(),
            place: Place::Data(self.dir.join(name)),
            files: self.files.clone(),
            workers,
            processes,
            commit_ms: 20,
            guarantee,
            more: Vec::new(),
        }
    }
}

/// A moment in one of the phases of a run that takes about `whole`.
fn moment(numbers: &mut Numbers, kill: u32, whole: Duration) -> Moment {
    let fraction = |numbers: &mut Numbers| numbers.below(1000) as f64 / 1000.0;
    match kill % 4 {
        // Loading, or whatever a restart begins with.
        0 => Moment::AfterStart(whole.mul_f64(fraction(numbers) * 0.5)),
        // Recovering: right after it said that it takes over and counts.
        1 => Moment::AfterCounting(Duration::from_millis(numbers.below(40) as u64)),
        // Counting and committing.
        _ => Moment::AfterCounting(whole.mul_f64(fraction(numbers) * 0.5)),
    }
}

/// Kills until `kills` are done or the program finished `kills` times; what was killed when.
fn kill_often(
    program: &Program,
    numbers: &mut Numbers,
    kills: u32,
    whole: Duration,
    commits: &mut Commits,
) -> Result<(u32, BTreeMap<String, u32>)> {
    let mut phases = BTreeMap::new();
    let mut killed = 0;
    for kill in 0..kills * 3 {
        if killed == kills {
            break;
        }
        match program.kill(moment(numbers, kill, whole))? {
            Ended::Killed(said) => {
                killed += 1;
                let phase = match said.as_str() {
                    "nothing yet" => "starting or loading",
                    "counting" => "taking over, counting or committing",
                    other if other.contains("lines") => "between files",
                    _ => "printing",
                };
                *phases.entry(phase.to_owned()).or_insert(0) += 1;
            }
            Ended::Finished => {}
        }
        commits.look(program.place.path(), TOPOLOGY)?;
    }
    Ok((killed, phases))
}

fn exactly_once(world: &World, size: (u32, u32), kills: u32, numbers: &mut Numbers) -> Result<()> {
    let (processes, workers) = size;
    let what = format!("{processes} process(es) of {workers} worker(s)");
    let warm = world.program(&format!("warm{processes}-{workers}"), size, "effectively-once");
    let started = clock::now();
    ensure!(
        warm.finish()? == world.reference,
        "without any kill the counts differ from coreutils'"
    );
    let whole = started.elapsed();
    println!("{what}: {:.1} s without kills, equal to coreutils", whole.as_secs_f64());

    let mut total = 0;
    let mut round = 0;
    while total < kills {
        round += 1;
        let name = format!("exact{processes}-{workers}-{round}");
        let program = world.program(&name, size, "effectively-once");
        let tail = Tail::begin(program.place.path());
        let mut commits = Commits::default();
        let (killed, phases) = kill_often(&program, numbers, kills - total, whole, &mut commits)?;
        total += killed;
        let out = program.finish()?;
        let seen = tail.end()?;
        commits.look(program.place.path(), TOPOLOGY)?;
        let Seen { rows, epochs } = cat(&world.egret, program.place.path())?;
        ensure!(out == world.reference, "{name}: the counts differ from coreutils'");
        ensure!(totals(&rows) == world.reference, "{name}: the stream differs from coreutils'");
        let repeated = repeats(&rows);
        ensure!(repeated.is_empty(), "{name}: output was repeated: {repeated:?}");
        let lost = unkept(&seen.rows, &rows);
        ensure!(lost.is_empty(), "{name}: a reader saw what is gone now: {lost:?}");
        for (who, epochs) in [("a reader saw", &seen.epochs), ("the stream holds", &epochs)] {
            let uncovered = commits.uncovered(epochs);
            ensure!(uncovered.is_empty(), "{name}: {who} what was never committed: {uncovered:?}");
        }
        println!(
            "{what}: {killed} kills {phases:?}: equal to coreutils; {} records, {} of \
             them seen by a reader meanwhile, none of them twice or gone, all in the commits of {} \
             generations",
            rows.len(),
            seen.rows.len(),
            commits.generations()
        );
        if killed == 0 {
            bail!("{name}: the program cannot be killed in time; use more text");
        }
    }
    Ok(())
}

/// At-least-once must repeat output, else the oracle sees nothing.
fn control_at_least_once(world: &World, numbers: &mut Numbers) -> Result<()> {
    for attempt in 0..CONTROLS {
        let program = world.program(&format!("control{attempt}"), (1, 1), "at-least-once");
        let whole = Duration::from_secs(2);
        let mut kills = 0;
        for _ in 0..10 {
            let wait = Duration::from_millis(100 + numbers.below(600) as u64);
            match program.kill(Moment::AfterCounting(wait.min(whole)))? {
                Ended::Killed(_) => kills += 1,
                Ended::Finished => break,
            }
        }
        program.finish()?;
        let repeated = repeats(&cat(&world.egret, program.place.path())?.rows);
        if !repeated.is_empty() {
            println!(
                "control: at-least-once repeated {} records after {kills} kills, as it must",
                repeated.len()
            );
            return Ok(());
        }
    }
    bail!("control: at-least-once repeated nothing, so the oracle cannot be trusted")
}

/// A recovery that does not close sinks at the recorded entry must show repeats, and epochs that are in
/// no commit, else the oracles see nothing.
fn control_kept_output(world: &World, numbers: &mut Numbers) -> Result<()> {
    for attempt in 0..CONTROLS {
        let mut program = world.program(&format!("kept{attempt}"), (1, 1), "effectively-once");
        program.binary.clone_from(&world.keeping);
        program.files.truncate(1);
        let mut commits = Commits::default();
        let mut kills = 0;
        for _ in 0..10 {
            let wait = Duration::from_millis(20 + numbers.below(300) as u64);
            let ended = program.kill(Moment::AfterCounting(wait))?;
            commits.look(program.place.path(), TOPOLOGY)?;
            match ended {
                Ended::Killed(_) => kills += 1,
                Ended::Finished => break,
            }
        }
        program.finish()?;
        commits.look(program.place.path(), TOPOLOGY)?;
        let Seen { rows, epochs } = cat(&world.egret, program.place.path())?;
        let (repeated, uncovered) = (repeats(&rows), commits.uncovered(&epochs));
        if !repeated.is_empty() && !uncovered.is_empty() {
            println!(
                "control: keeping uncommitted output repeated {} records in {} entries of no commit \
                 after {kills} kills, as it must",
                repeated.len(),
                uncovered.len()
            );
            return Ok(());
        }
    }
    bail!("control: keeping uncommitted output showed nothing, so the oracles cannot be trusted")
}

fn run(options: &Options, dir: &Path) -> Result<()> {
    let started = clock::now();
    let seed = options.seed.unwrap_or_else(|| clock::wall_ms() % 1_000_000);
    println!("seed {seed}");
    let mut numbers = Numbers::new(seed);
    let files = input::collect(dir, options.megabytes << 20, 3)?;
    let reference = input::reference(&files)?;
    let world = World {
        word_count: beside("word_count")?,
        keeping: beside("keeping_word_count")?,
        egret: beside("egret")?,
        files,
        reference,
        dir: dir.to_owned(),
    };
    control_at_least_once(&world, &mut numbers)?;
    control_kept_output(&world, &mut numbers)?;
    loop {
        let alone = options.workers.iter().map(|workers| (1, *workers));
        let several = options.processes.iter().map(|processes| (*processes, 1));
        for size in alone.chain(several) {
            exactly_once(&world, size, options.kills, &mut numbers)?;
        }
        let elapsed = started.elapsed();
        let round = elapsed;
        if options.seconds == 0 || (elapsed + round).as_secs() > options.seconds {
            return Ok(());
        }
    }
}

fn main() -> Result<()> {
    let options = Options::parse();
    let dir = tempfile::Builder::new()
        .prefix("egret-kill")
        .disable_cleanup(options.keep)
        .tempdir_in(egret_integration::scratch())
        .context("making a scratch directory")?;
    if options.keep {
        println!("data in {}", dir.path().display());
    }
    run(&options, dir.path())?;
    println!("crash_and_kill: everything held");
    Ok(())
}
