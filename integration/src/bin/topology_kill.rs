//! A word count over three bookies and etcd, each in a process of its own, while all of them are killed.
//!
//! ```text
//! cargo build --release -p egret-examples --features etcd --example word_count
//! cargo build --release -p egret-integration --features etcd --bin topology_kill --bin joined_windows
//! target/release/topology_kill [--kills 100] [--megabytes 24] [--workers 1,2] [--processes 1,3] [--seed 7] [--state-kb 64]
//! ```
//! The topology is killed with `SIGKILL` at moments spread over loading, taking over, counting and committing;
//! sometimes a bookie or etcd is killed while it runs; sometimes it is stopped with `SIGSTOP`, another one
//! is started, and the first goes on as a zombie. Where it runs in several processes, one of those it
//! started is killed or stopped while the others go on; and none may be left when the first is gone. A reader follows the output all the time. In the end the
//! counts equal coreutils', no count was written twice, everything the reader ever saw is there, and all of
//! it is of an epoch that was committed. `--program joined_windows` is killed the same way: keyed, windowed and
//! joining, in the end equal to what one thread says; with `--state-kb`, most of its state is in files. A positive control must fail: at-least-once repeats output.

#![expect(clippy::print_stdout, reason = "a program that reports")]

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Parser;
use egret_integration::cluster::{Cluster, Parts, serve_if_asked};
use egret_integration::kill::commits::Commits;
use egret_integration::kill::follower::{Follower, read_all};
use egret_integration::kill::history::{Rows, repeats, totals, unkept};
use egret_integration::kill::input;
use egret_integration::kill::program::{Moment, Place, Program, beside};
use egret_integration::kill::windows;
use egret_integration::words::Numbers;
use egret_log::clock;
use rustix::process::{Signal, kill_process};

/// The topology that is killed unless another is asked for.
const WORD_COUNT: &str = "word_count";

/// The other one, which is keyed, windowed and joining.
const JOINED_WINDOWS: &str = "joined_windows";

const BOOKIES: usize = 3;

/// What is counted of the processes that another one started.
const MEMBERS_KILLED: &str = "members killed";
const MEMBERS_STOPPED: &str = "members stopped";

/// How long a zombie may take to find out.
const ZOMBIE_WAIT: Duration = Duration::from_secs(60);

/// Tries of the control, of which one must show its defect: on a fast machine a run ends before most kills.
const CONTROLS: u32 = 25;

#[derive(Parser)]
struct Options {
    /// Kills and stops of the topology, in all
    #[arg(long, default_value_t = 100)]
    kills: u32,
    /// Numbers of worker threads, in each process
    #[arg(long, value_delimiter = ',', default_value = "1,2")]
    workers: Vec<u32>,
    /// Numbers of worker processes
    #[arg(long, value_delimiter = ',', default_value = "1,3")]
    processes: Vec<u32>,
    /// Text to count in each round
    #[arg(long, default_value_t = 24)]
    megabytes: u64,
    /// What is killed: `word_count`, or `joined_windows`
    #[arg(long, default_value = WORD_COUNT, value_parser = [WORD_COUNT, JOINED_WINDOWS])]
    program: String,
    /// Keep the state of `joined_windows` in files, with so many KiB of memory for each task
    #[arg(long)]
    state_kb: Option<usize>,
    /// Where the moments come from; printed, and good for running the same again
    #[arg(long)]
    seed: Option<u64>,
}

struct World {
    /// The topology's name, and its program.
    topology: String,
    binary: PathBuf,
    files: Vec<PathBuf>,
    /// What the program alone is told.
    more: Vec<OsString>,
    reference: Vec<u8>,
    /// How long one run takes that nobody disturbs.
    whole: Duration,
}

impl World {
    fn program(
        &self,
        cluster: &Cluster,
        (processes, workers): (u32, u32),
        guarantee: &'static str,
    ) -> Result<Program> {
        Ok(Program {
            binary: self.binary.clone(),
            place: Place::Cluster(cluster.file()?),
            files: self.files.clone(),
            workers,
            processes,
            commit_ms: 20,
            guarantee,
            more: self.more.clone(),
        })
    }

    /// A moment in one of the phases of a run.
    fn moment(&self, numbers: &mut Numbers) -> Moment {
        let part = |numbers: &mut Numbers| numbers.below(1000) as f64 / 2000.0;
        match numbers.below(4) {
            0 => Moment::AfterStart(self.whole.mul_f64(part(numbers))),
            1 => Moment::AfterCounting(Duration::from_millis(numbers.below(60) as u64)),
            _ => Moment::AfterCounting(self.whole.mul_f64(part(numbers))),
        }
    }
}

/// What was done and what became of it, counted.
#[derive(Default)]
struct Tally(BTreeMap<&'static str, u32>);

impl Tally {
    fn count(&mut self, what: &'static str) {
        *self.0.entry(what).or_insert(0) += 1;
    }

    fn of(&self, what: &str) -> u32 {
        self.0.get(what).copied().unwrap_or_default()
    }

    /// Kills and stops of the topology's processes.
    fn deeds(&self) -> u32 {
        ["killed", MEMBERS_KILLED, MEMBERS_STOPPED].into_iter().map(|what| self.of(what)).sum()
    }
}

fn cluster() -> Result<Cluster> {
    Cluster::with(BOOKIES, Parts { etcd: true, ..Parts::default() })
}

/// Judges how a run ended that was killed unless it had ended; whether there is nothing more to count.
fn is_over(status: ExitStatus, last: &str, tally: &mut Tally) -> Result<bool> {
    match status.code() {
        None => tally.count("killed"),
        Some(0) => {
            tally.count("was done before");
            return Ok(true);
        }
        Some(code) => bail!("the topology ended with {code} by itself, having said: {last}"),
    }
    Ok(false)
}

/// One deed; whether there is nothing more to count.
fn disturb(
    world: &World,
    cluster: &mut Cluster,
    program: &Program,
    numbers: &mut Numbers,
    tally: &mut Tally,
) -> Result<bool> {
    let moment = world.moment(numbers);
    let pause = Duration::from_millis(numbers.below(200) as u64);
    match numbers.below(if program.processes > 1 { 20 } else { 10 }) {
        10.. => members(program, numbers, tally),
        0 | 1 => {
            let running = program.start()?;
            running.wait(Moment::AfterStart(pause));
            let bookie = numbers.below(BOOKIES);
            cluster.kill(bookie)?;
            tally.count("bookies killed");
            let last = running.wait(moment);
            let (status, _) = running.kill()?;
            cluster.start_bookie(bookie)?;
            is_over(status, &last, tally)
        }
        2 => {
            let running = program.start()?;
            running.wait(Moment::AfterCounting(pause));
            cluster.kill_etcd()?;
            tally.count("etcd killed");
            let last = running.wait(Moment::AfterStart(pause));
            cluster.restart_etcd()?;
            running.wait(moment);
            let (status, _) = running.kill()?;
            is_over(status, &last, tally)
        }
        3 | 4 => zombie(world, program, moment, numbers, tally),
        _ => {
            let running = program.start()?;
            let last = running.wait(moment);
            let (status, _) = running.kill()?;
            is_over(status, &last, tally)
        }
    }
}

/// Kills or stops some of the processes that the first one started, which starts others in their place.
fn members(program: &Program, numbers: &mut Numbers, tally: &mut Tally) -> Result<bool> {
    let running = program.start()?;
    let mut last = running.wait(Moment::AfterCounting(Duration::from_millis(200)));
    for _ in 0..=numbers.below(3) {
        let members = running.members()?;
        let Some(pid) = members.get(numbers.below(members.len().max(1))) else { break };
        let stops = numbers.below(3) == 0;
        let (signal, what) = match stops {
            true => (Signal::STOP, MEMBERS_STOPPED),
            false => (Signal::KILL, MEMBERS_KILLED),
        };
        kill_process(*pid, signal).unwrap_or_default();
        tally.count(what);
        // Longer than one that says nothing is borne.
        let wait = if stops { 1500 } else { 200 } + numbers.below(1000);
        last = running.wait(Moment::AfterStart(Duration::from_millis(wait as u64)));
        if stops {
            kill_process(*pid, Signal::CONT).unwrap_or_default();
        }
    }
    let (status, _) = running.kill()?;
    is_over(status, &last, tally)
}

/// Stops a run, has another one go on in its place, and lets the first one find out.
fn zombie(
    world: &World,
    program: &Program,
    moment: Moment,
    numbers: &mut Numbers,
    tally: &mut Tally,
) -> Result<bool> {
    let first = program.start()?;
    let said = first.wait(moment);
    kill_process(first.pid(), Signal::STOP).unwrap_or_default();
    tally.count("stopped");
    let second = program.start()?;
    second.wait(Moment::AfterCounting(world.whole.mul_f64(numbers.below(300) as f64 / 1000.0)));
    kill_process(first.pid(), Signal::CONT).unwrap_or_default();
    let until = clock::now() + ZOMBIE_WAIT;
    // Side by side for a while: whoever is shut out may not shut out the other one in turn.
    let last = second.wait(world.moment(numbers));
    let (status, _) = second.kill()?;
    let over = match status.code() {
        Some(1) if said != "counting" || program.processes > 1 => {
            // The first one was only just beginning, and took the topology, or the partitions it loads,
            // from the second; or it had lost its processes meanwhile and began anew before that had it.
            tally.count("second ones shut out by the first");
            false
        }
        _ => is_over(status, &last, tally)?,
    };
    if said == "counting" {
        // It was in the middle of it, so it was taken over, or had finished.
        let (status, last) = first.end()?;
        ensure!(clock::now() < until, "a zombie took too long to find out");
        match status.code() {
            Some(0) => tally.count("zombies that had finished"),
            Some(1) if last.contains("taken over by another process") => {
                tally.count("zombies that stopped by themselves");
            }
            code => bail!("a zombie ended with {code:?}, having said: {last}"),
        }
    } else {
        first.kill()?;
        tally.count("killed");
    }
    Ok(over)
}

/// Disturbs one topology until everything is counted, or `kills` are done; then lets it finish.
fn round(
    world: &World,
    (processes, workers): (u32, u32),
    kills: u32,
    numbers: &mut Numbers,
) -> Result<Tally> {
    let mut cluster = cluster()?;
    let program = world.program(&cluster, (processes, workers), "effectively-once")?;
    let log = cluster.log()?;
    let follower = Follower::begin(cluster.log()?);
    let (mut tally, mut commits) = (Tally::default(), Commits::default());
    while tally.deeds() < kills {
        let over = disturb(world, &mut cluster, &program, numbers, &mut tally)?;
        commits.read(&log, &world.topology)?;
        if over {
            break;
        }
    }
    let out = program.finish()?;
    commits.read(&log, &world.topology)?;
    let (seen, whole) = (follower.end()?, read_all(&log)?);
    ensure!(out == world.reference, "the counts differ from the reference");
    ensure!(totals(&whole.rows) == world.reference, "the stream differs from the reference");
    let repeated = repeats(&whole.rows);
    ensure!(repeated.is_empty(), "output was repeated: {repeated:?}");
    let lost = unkept(&seen.rows, &whole.rows);
    ensure!(lost.is_empty(), "a reader saw what is gone now: {lost:?}");
    let partitions = |rows: &Rows| rows.keys().map(|(partition, _)| *partition).collect();
    let (read, written): (BTreeSet<u32>, BTreeSet<u32>) =
        (partitions(&seen.rows), partitions(&whole.rows));
    ensure!(read == written, "the reader read of {read:?} and not of all of {written:?}");
    for (who, epochs) in [("a reader saw", &seen.epochs), ("the stream holds", &whole.epochs)] {
        let uncovered = commits.uncovered(epochs);
        ensure!(uncovered.is_empty(), "{who} what was never committed: {uncovered:?}");
    }
    println!(
        "{processes} process(es) of {workers} worker(s): {:?}: equal to the reference; {} records, {} of them seen by a reader \
         meanwhile, none of them twice or gone, all in the commits of {} generations",
        tally.0,
        whole.rows.len(),
        seen.rows.len(),
        commits.generations()
    );
    Ok(tally)
}

/// At-least-once must repeat output, else the oracle sees nothing.
fn control(world: &World, numbers: &mut Numbers) -> Result<()> {
    for _ in 0..CONTROLS {
        let cluster = cluster()?;
        let program = world.program(&cluster, (1, 1), "at-least-once")?;
        let mut kills = 0;
        for _ in 0..10 {
            let wait = world.whole.mul_f64(numbers.below(400) as f64 / 1000.0);
            let running = program.start()?;
            running.wait(Moment::AfterCounting(wait));
            if running.kill()?.0.success() {
                break;
            }
            kills += 1;
        }
        program.finish()?;
        let repeated = repeats(&read_all(&cluster.log()?)?.rows).len();
        if repeated > 0 {
            println!(
                "control: at-least-once repeated {repeated} records after {kills} kills, as it must"
            );
            return Ok(());
        }
    }
    bail!("control: at-least-once repeated nothing, so the oracle cannot be trusted")
}

fn main() -> Result<()> {
    serve_if_asked();
    let options = Options::parse();
    let seed = options.seed.unwrap_or_else(|| clock::wall_ms() % 1_000_000);
    println!("seed {seed}");
    let mut numbers = Numbers::new(seed);
    let dir = tempfile::Builder::new()
        .prefix("egret-kill")
        .tempdir_in(egret_integration::scratch())
        .context("making a scratch directory")?;
    let files = input::collect(dir.path(), options.megabytes << 20, 3)?;
    let reference = match options.program.as_str() {
        JOINED_WINDOWS => windows::reference(&files)?,
        _ => input::reference(&files)?,
    };
    let (topology, binary) = (options.program.clone(), beside(&options.program)?);
    let mut more = Vec::new();
    if let Some(kb) = options.state_kb {
        ensure!(options.program == JOINED_WINDOWS, "only {JOINED_WINDOWS} has its state in files");
        more.extend(["--state-kb".into(), kb.to_string().into()]);
        more.extend(["--state-dir".into(), dir.path().join("state").into_os_string()]);
    }
    let mut world = World { topology, binary, files, more, reference, whole: Duration::ZERO };
    let begun = clock::now();
    {
        let cluster = cluster()?;
        let started = clock::now();
        let out = world.program(&cluster, (1, 1), "effectively-once")?.finish()?;
        ensure!(out == world.reference, "without any kill the counts differ from the reference");
        world.whole = started.elapsed();
        println!("{:.1} s without kills, equal to the reference", world.whole.as_secs_f64());
    }
    control(&world, &mut numbers)?;
    let mut done = Tally::default();
    let mut in_vain = 0;
    let sizes = options.processes.iter().flat_map(|p| options.workers.iter().map(|w| (*p, *w)));
    let sizes: Vec<(u32, u32)> = sizes.collect();
    while done.deeds() < options.kills {
        let before = done.deeds();
        for &size in &sizes {
            let left = options.kills.saturating_sub(done.deeds()).clamp(1, 40);
            for (what, times) in round(&world, size, left, &mut numbers)?.0 {
                *done.0.entry(what).or_insert(0) += times;
            }
        }
        in_vain = if done.deeds() > before { 0 } else { in_vain + 1 };
        ensure!(in_vain < 5, "it cannot be killed in time; use more text");
    }
    println!(
        "topology_kill: everything held in {:.0} s: {:?}",
        begun.elapsed().as_secs_f64(),
        done.0
    );
    Ok(())
}
