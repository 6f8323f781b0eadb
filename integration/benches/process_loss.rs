//! Part of row 12: how long results stay away when a worker process is killed, or stands still. One topology
//! with keyed state, in several processes over one data directory; the first is this program.
//!
//! ```text
//! cargo bench -p egret-integration --bench process_loss -- [--rounds 10] [--processes 3] [--rate 1000]
//! ```
//! Records are appended at a fixed rate, counted from when each was meant to be sent, and followed in the
//! output: after each loss the longest that any took is the pause. Held against the same topology in one
//! process, in which a bolt fails: all that is restarted there is the dataflow. The limit is what starting a
//! process of this program takes, for one has to be started.

#![expect(clippy::print_stdout, reason = "a program that prints figures")]

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::Parser;
use egret::runtime::Children;
use egret::{
    Blob, Bolt, ComponentResult, Context, Emitter, KeyedBolt, LogSink, LogSpout, Processes,
    Progress, RunOptions, Topology, TopologyBuilder,
};
use egret_integration::measure::median;
use egret_log::stream::{ReadFrom, Record, StreamConfig};
use egret_log::{Log, LogConfig, clock};
use rustix::process::{Pid, Signal, getpid, getppid, kill_process};

#[derive(Parser)]
struct Told {
    /// Losses of each kind
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    #[arg(long, default_value_t = 3)]
    processes: u32,
    /// Records a second
    #[arg(long, default_value_t = 1000)]
    rate: u32,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

const PARTITIONS: u32 = 4;

/// How long is looked at what a loss did, and how long nothing is done before.
const LOOK: Duration = Duration::from_secs(3);

/// Has one tuple fail.
static FAILS: AtomicBool = AtomicBool::new(false);

struct Pass;

impl Bolt<Blob, Blob> for Pass {
    fn execute(&mut self, line: Blob, out: &mut Emitter<Blob>, _: &Context) -> ComponentResult {
        if FAILS.swap(false, Ordering::Relaxed) {
            return Err("on purpose".into());
        }
        out.emit(line);
        Ok(())
    }
}

struct Count;

impl KeyedBolt<[u8], Blob, Blob> for Count {
    type State = u64;

    fn execute(
        &mut self,
        _: &[u8],
        n: &mut u64,
        line: Blob,
        out: &mut Emitter<Blob>,
        _: &Context,
    ) -> ComponentResult {
        *n += 1;
        out.emit(line);
        Ok(())
    }
}

fn last_two(line: &Blob) -> &[u8] {
    let bytes = line.as_bytes();
    &bytes[bytes.len().saturating_sub(2)..]
}

fn topology(tasks: u32) -> egret::Result<Topology> {
    let mut t = TopologyBuilder::new("followed");
    let lines = t.spout("lines", tasks, LogSpout::<Blob>::from_stream("in"))?;
    let passed = lines.shuffle().bolt("pass", tasks, || Pass)?;
    let counts = passed.fields(last_two).keyed("count", tasks, || Count)?;
    counts.sink("out", LogSink::to_stream("out").partitions(PARTITIONS))?;
    t.finish()
}

/// A member finds it by the process that started it.
fn dir(of: Pid) -> PathBuf {
    egret_integration::scratch().join(format!("egret-loss-{}", of.as_raw_nonzero()))
}

fn options() -> RunOptions {
    RunOptions { commit_ms: 20, tries: 1000, ..RunOptions::default() }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    BoltFails,
    Killed,
    Stopped,
}

impl Loss {
    fn what(self) -> &'static str {
        match self {
            Loss::BoltFails => "a bolt fails",
            Loss::Killed => "a process is killed (SIGKILL)",
            Loss::Stopped => "a process is stopped (SIGSTOP)",
        }
    }

    fn happen(self) -> Result<()> {
        let signal = match self {
            Loss::BoltFails => {
                FAILS.store(true, Ordering::Relaxed);
                return Ok(());
            }
            Loss::Killed => Signal::KILL,
            Loss::Stopped => Signal::STOP,
        };
        let own = getpid().as_raw_nonzero().to_string();
        for entry in std::fs::read_dir("/proc")?.flatten() {
            let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
            let mut after = stat.rsplit(") ").next().unwrap_or_default().split(' ');
            let (state, parent) = (after.next(), after.next());
            let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
            if let (true, Some(pid)) = (parent == Some(&own) && state != Some("Z"), pid) {
                let pid = Pid::from_raw(pid).context("a process has a number")?;
                return Ok(kill_process(pid, signal)?);
            }
        }
        Err(anyhow!("there is no process to be lost"))
    }
}

/// Records by number: when each was meant to be sent, and when it was seen.
#[derive(Default)]
struct Followed {
    sent: Vec<Instant>,
    seen: Vec<Option<Instant>>,
}

/// How long the records took that were sent in this time, in milliseconds, longest last.
fn took(followed: &Mutex<Followed>, from: Instant, until: Instant) -> Result<Vec<f64>> {
    let followed = followed.lock().map_err(|_| anyhow!("somebody panicked"))?;
    let mut all = Vec::new();
    for (sent, seen) in followed.sent.iter().zip(&followed.seen) {
        if (from..until).contains(sent) {
            let seen = seen.context("a record did not come back in time")?;
            all.push(seen.duration_since(*sent).as_secs_f64() * 1e3);
        }
    }
    all.sort_by(f64::total_cmp);
    ensure!(!all.is_empty(), "nothing was sent");
    Ok(all)
}

/// The pauses after losses, and the median latency without, in milliseconds.
fn measure(told: &Told, processes: u32, losses: &[Loss]) -> Result<()> {
    let dir = dir(getpid());
    drop(std::fs::remove_dir_all(&dir));
    let log = Log::open(&dir, LogConfig { shared: true, serve: true, ..LogConfig::default() })?;
    log.create_stream("in", StreamConfig { partitions: PARTITIONS, ..StreamConfig::default() })?;
    let (progress, over) = (Arc::new(Progress::default()), AtomicBool::new(false));
    let followed = Mutex::<Followed>::default();
    thread::scope(|scope| -> Result<()> {
        let run = scope.spawn(|| {
            let spread = match processes {
                1 => Processes::One,
                count => Processes::First { count, starter: Arc::new(Children) },
            };
            topology(processes)?.run_among(&log, &options(), &progress, &spread)
        });
        while progress.generation() == 0 && !run.is_finished() {
            thread::yield_now();
        }
        scope.spawn(|| produce(&log, told.rate, &followed, &over));
        let readers: Vec<_> = (0..PARTITIONS)
            .map(|partition| {
                scope.spawn({
                    let (log, followed, over) = (&log, &followed, &over);
                    move || follow(log, partition, followed, over)
                })
            })
            .collect();
        let outcome = (|| -> Result<()> {
            thread::sleep(LOOK);
            let from = clock::now();
            thread::sleep(LOOK);
            let (until, _) = (clock::now(), thread::sleep(LOOK));
            let calm = took(&followed, from, until)?;
            let at = |hundredth: usize| calm[(calm.len() - 1) * hundredth / 100];
            println!(
                "{processes} process(es), nothing lost: p50 {:.1} ms, p99 {:.1} ms",
                at(50),
                at(99)
            );
            for loss in losses {
                let mut pauses = Vec::new();
                for _ in 0..told.rounds {
                    let from = clock::now();
                    loss.happen()?;
                    thread::sleep(LOOK);
                    let until = clock::now();
                    thread::sleep(LOOK);
                    let all = took(&followed, from - Duration::from_millis(100), until)?;
                    pauses.push(all[all.len() - 1]);
                }
                let (least, most) =
                    pauses.iter().fold((f64::MAX, 0.0), |(least, most): (f64, f64), p| {
                        (least.min(*p), most.max(*p))
                    });
                println!(
                    "{processes} process(es), {}, {} times: pause {:.0} ms in the median, {least:.0} to {most:.0}",
                    loss.what(),
                    told.rounds,
                    median(pauses.clone())
                );
            }
            Ok(())
        })();
        over.store(true, Ordering::Release);
        progress.stop();
        for reader in readers {
            reader.join().map_err(|_| anyhow!("a reader panicked"))??;
        }
        run.join().map_err(|_| anyhow!("the topology panicked"))??;
        outcome
    })?;
    log.close()?;
    Ok(std::fs::remove_dir_all(&dir)?)
}

fn produce(log: &Log, rate: u32, followed: &Mutex<Followed>, over: &AtomicBool) -> Result<()> {
    let begun = clock::now();
    for nth in 0u32.. {
        if over.load(Ordering::Acquire) {
            break;
        }
        let due = begun + Duration::from_secs(1) * nth / rate;
        thread::sleep(due.saturating_duration_since(clock::now()));
        {
            let mut followed = followed.lock().map_err(|_| anyhow!("somebody panicked"))?;
            followed.sent.push(due);
            followed.seen.push(None);
        }
        log.writer("in", nth % PARTITIONS)?.append(&[Record::of(nth.to_string())], Box::new(drop));
    }
    Ok(())
}

fn follow(log: &Log, partition: u32, followed: &Mutex<Followed>, over: &AtomicBool) -> Result<()> {
    let mut reader = log.reader("out", partition, ReadFrom::Earliest)?;
    while !over.load(Ordering::Acquire) {
        let Some(batch) = reader.next_wait(Duration::from_millis(50))? else { continue };
        let now = clock::now();
        let mut followed = followed.lock().map_err(|_| anyhow!("somebody panicked"))?;
        for record in &batch.records {
            let nth: usize = std::str::from_utf8(&record.value)?.parse()?;
            let seen = followed.seen.get_mut(nth).context("nobody sent it")?;
            ensure!(seen.replace(now).is_none(), "record {nth} came twice");
        }
    }
    Ok(())
}

/// What starting a process of this program takes.
fn limit(rounds: usize) -> Result<f64> {
    let mut all = Vec::new();
    for _ in 0..rounds {
        let begun = clock::now();
        Command::new("/proc/self/exe").arg("--help").stdout(Stdio::null()).status()?;
        all.push(begun.elapsed().as_secs_f64() * 1e3);
    }
    Ok(median(all))
}

fn main() -> Result<()> {
    let told = Told::parse();
    let _ = told.bench;
    if let Some(seat) = Children::seat()? {
        let leader = getppid().context("somebody started this process")?;
        let log = Log::attach(&dir(leader))?;
        let topology = topology(seat.count)?;
        let seat = Processes::Other(seat);
        topology.run_among(&log, &options(), &Arc::default(), &seat)?;
        return Ok(());
    }
    println!("a process of this program starts and ends in {:.1} ms", limit(told.rounds)?);
    measure(&told, 1, &[Loss::BoltFails])?;
    measure(&told, told.processes, &[Loss::BoltFails, Loss::Killed, Loss::Stopped])
}
