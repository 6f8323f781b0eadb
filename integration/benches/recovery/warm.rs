//! The process that runs the topology is killed, and another one that stood by goes on. This program holds the
//! log, which the two are attached to: so it stays, like a cluster's.

use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use egret::standby::Tell;
use egret::{Progress, RunOptions};
use egret_log::stream::StreamConfig;
use egret_log::{Log, LogConfig, clock};

use super::{
    CALM, FILLS, Followed, LOOK, PARTITIONS, STATE_BYTES, Told, dir, follow, options, produce,
    record, say, settle, took, topology,
};

/// How long the state may take to be filled, and a process to hold it.
const LIMIT: Duration = Duration::from_secs(600);

/// How long whoever runs the topology may say nothing before it counts as gone.
const SILENCE_MS: u64 = 1000;

/// What a process that was started for this does: runs the topology of a directory, or stands by for it, and writes
/// what it has to say on standard output.
pub(super) fn play(part: &str, dir: &Path) -> Result<()> {
    let log = Log::attach(dir)?;
    let (topology, progress) = (topology(1)?, Arc::<Progress>::default());
    let options = RunOptions { silence_ms: SILENCE_MS, ..options() };
    match part {
        "run" => drop(topology.run(&log, &options, &progress)?),
        _ => {
            let tell: Tell = Arc::new(|event| {
                let object = serde_json::to_string(event).unwrap_or_default();
                println!("{object}");
            });
            topology.stand_by(&log, &options, &progress, &tell)?;
        }
    }
    Ok(())
}

/// A process that was started.
struct Process {
    child: Child,
    /// What it said, and when it was heard.
    said: Receiver<(Instant, String)>,
}

impl Process {
    fn start(part: &str, dir: &Path) -> Result<Process> {
        let mut child = Command::new("/proc/self/exe")
            .args(["--play", part, "--of"])
            .arg(dir)
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = BufReader::new(child.stdout.take().context("it is piped")?);
        let (tell, said) = sync_channel(1024);
        thread::spawn(move || {
            let mut lines = stdout.lines().map_while(std::result::Result::ok);
            lines.try_for_each(|line| tell.send((clock::now(), line)))
        });
        Ok(Process { child, said })
    }

    fn hear(&self, event: &str) -> Result<(Instant, serde_json::Value)> {
        let until = clock::now() + LIMIT;
        loop {
            let left = until.saturating_duration_since(clock::now());
            let (at, line) = self.said.recv_timeout(left).context("it says nothing more")?;
            let object: serde_json::Value = serde_json::from_str(&line)?;
            if object["event"] == event {
                return Ok((at, object));
            }
        }
    }

    fn kill(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

/// What a loss took, in milliseconds.
#[derive(Default)]
struct Took {
    pauses: Vec<f64>,
    /// Until it was known that the process is gone.
    known: Vec<f64>,
    /// From then on until the tables were handed to the next generation's tasks.
    taken: Vec<f64>,
}

pub(super) fn measure(told: &Told) -> Result<()> {
    let dir = dir(rustix::process::getpid());
    drop(std::fs::remove_dir_all(&dir));
    let log = Log::open(&dir, LogConfig { shared: true, serve: true, ..LogConfig::default() })?;
    log.create_stream("in", StreamConfig { partitions: PARTITIONS, ..StreamConfig::default() })?;
    let keys = (told.state_mb << 20) / (STATE_BYTES as u64 + 8);
    fill(&log, keys)?;
    let over = AtomicBool::new(false);
    let followed = Mutex::<Followed>::default();
    let mut running = Process::start("run", &dir)?;
    while log.stream("out").is_err() {
        ensure!(running.child.try_wait()?.is_none(), "the topology does not begin");
        thread::sleep(Duration::from_millis(10));
    }
    let took = thread::scope(|scope| -> Result<Took> {
        scope.spawn(|| produce(&log, (told.rate, keys.max(100)), &followed, &over));
        let readers: Vec<_> = (0..PARTITIONS)
            .map(|partition| {
                let (log, followed, over) = (&log, &followed, &over);
                scope.spawn(move || follow(log, partition, followed, over))
            })
            .collect();
        let outcome = losses(told, &dir, running, &followed);
        over.store(true, Ordering::Release);
        for reader in readers {
            reader.join().map_err(|_| anyhow!("a reader panicked"))??;
        }
        outcome
    })?;
    let how = "one process is killed (SIGKILL), another stood by";
    say(how, &took.pauses);
    say(&format!("{how}: until that was known, of {SILENCE_MS} ms of silence"), &took.known);
    say(&format!("{how}: from then on until its state was ready"), &took.taken);
    let after: Vec<_> =
        took.pauses.iter().zip(&took.known).map(|(all, known)| all - known).collect();
    say(&format!("{how}: from then on until it had caught up"), &after);
    log.close()?;
    Ok(std::fs::remove_dir_all(&dir)?)
}

fn fill(log: &Log, keys: u64) -> Result<()> {
    let mut records = Vec::new();
    for key in 0..keys {
        records.push(record(FILLS, key));
        if records.len() == 1000 || key + 1 == keys {
            let partition = u32::try_from(key / 1000 % u64::from(PARTITIONS))?;
            log.writer("in", partition)?.append_wait(&records)?;
            records.clear();
        }
    }
    Ok(())
}

fn losses(
    told: &Told,
    dir: &Path,
    mut running: Process,
    followed: &Mutex<Followed>,
) -> Result<Took> {
    let mut all = Took::default();
    let until = clock::now() + LIMIT;
    // What fills the state comes before what is followed.
    while followed
        .lock()
        .map_err(|_| anyhow!("somebody panicked"))?
        .seen
        .first()
        .is_none_or(Option::is_none)
    {
        ensure!(clock::now() < until, "the state is not filled");
        thread::sleep(Duration::from_millis(20));
    }
    settle(followed)?;
    // What was written in a rush is written over at leisure, which is much to follow as long as it lasts.
    thread::sleep(LOOK);
    for _ in 0..told.rounds {
        let standing = Process::start("stand by", dir)?;
        let (_, held) = standing.hear("follows")?;
        settle(followed)?;
        let begun = clock::now();
        running.kill()?;
        let (known, _) = standing.hear("takes_over")?;
        let (ready, took_over) = standing.hear("took_over")?;
        ensure!(took_over["warm"] == took_over["tasks"], "not all of it was held: {took_over}");
        settle(followed)?;
        let pauses = took(followed, begun - Duration::from_millis(100), clock::now() - CALM)?;
        let ms = |from: Instant, to: Instant| to.duration_since(from).as_secs_f64() * 1e3;
        println!("held {} MiB: {took_over}", held["bytes"].as_u64().unwrap_or(0) >> 20);
        all.pauses.push(pauses[pauses.len() - 1]);
        all.known.push(ms(begun, known));
        all.taken.push(ms(known, ready));
        running = standing;
    }
    running.kill()?;
    Ok(all)
}
