//! Row 12: how long results stay away when something fails, and when a topology is stopped and goes on with
//! another number of workers. One topology with keyed state, in one process and in several over one data
//! directory; the first is this program.
//!
//! ```text
//! cargo bench -p egret-integration --bench recovery -- [--rounds 10] [--processes 3] [--rate 1000] [--state-mb 0] [--only-warm]
//! ```
//! Records are appended at a fixed rate, counted from when each was meant to be sent, and followed in the
//! output: after each loss the longest that any took is the pause. The limits are what starting a process of
//! this program takes, for one has to be started when one was killed, and what reading the state's bytes from
//! a file that is in the page cache takes.

#![expect(clippy::print_stdout, reason = "a program that prints figures")]

mod warm;

use std::io::Read as _;
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
    Progress, RunOptions, Summary, Topology, TopologyBuilder,
};
use egret_integration::measure::median;
use egret_log::stream::{ReadFrom, Record, StreamConfig};
use egret_log::{Log, LogConfig, clock};
use rustix::process::{Pid, Signal, getpid, getppid, kill_process};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

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
    /// State to hold, in MiB, in states of 1,000 bytes
    #[arg(long, default_value_t = 0)]
    state_mb: u64,
    /// Only that a process is killed for which another one stands by
    #[arg(long)]
    only_warm: bool,
    /// What a process does that this one started
    #[arg(long, hide = true, requires = "of")]
    play: Option<String>,
    /// The directory it does it in
    #[arg(long, hide = true)]
    of: Option<PathBuf>,
    /// Only what one process does that is stopped and run again
    #[arg(long)]
    cold: bool,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

const PARTITIONS: u32 = 4;

/// How long is looked at what is while nothing happens.
const LOOK: Duration = Duration::from_secs(10);

/// How long nothing is done between losses.
const CALM: Duration = Duration::from_secs(1);

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

/// Bytes of the state of one key.
const STATE_BYTES: usize = 1000;

impl KeyedBolt<u64, Blob, Blob> for Count {
    type State = Blob;

    fn execute(
        &mut self,
        _: &u64,
        state: &mut Blob,
        line: Blob,
        out: &mut Emitter<Blob>,
        _: &Context,
    ) -> ComponentResult {
        let mut bytes = vec![1; STATE_BYTES];
        bytes[0] = state.first().unwrap_or(&0).wrapping_add(1);
        *state = Blob::from(&bytes[..]);
        // Those that only fill the state are not followed.
        if number(&line) != FILLS {
            out.emit(line);
        }
        Ok(())
    }
}

/// The number of a record that only fills the state.
const FILLS: u64 = u64::MAX;

/// A record is its number and its key.
fn number(line: &Blob) -> u64 {
    line.as_bytes().first_chunk().map_or(FILLS, |bytes| u64::from_le_bytes(*bytes))
}

fn key(line: &Blob) -> u64 {
    line.as_bytes().last_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

fn record(number: u64, key: u64) -> Record {
    Record::of([number.to_le_bytes(), key.to_le_bytes()].concat())
}

fn topology(tasks: u32) -> egret::Result<Topology> {
    let mut t = TopologyBuilder::new("followed");
    let lines = t.spout("lines", tasks, LogSpout::<Blob>::from_stream("in"))?;
    let passed = lines.shuffle().bolt("pass", tasks, || Pass)?;
    let counts = passed.fields_by(key).keyed("count", tasks, || Count)?;
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

/// A topology that runs.
struct Running<'scope> {
    thread: thread::ScopedJoinHandle<'scope, egret::Result<Summary>>,
    progress: Arc<Progress>,
}

impl<'scope> Running<'scope> {
    fn start<'env>(
        scope: &'scope thread::Scope<'scope, 'env>,
        log: &'env Log,
        (processes, workers): (u32, u32),
    ) -> Running<'scope> {
        let progress = Arc::new(Progress::default());
        let of_run = Arc::clone(&progress);
        let thread = scope.spawn(move || {
            let spread = match processes {
                1 => Processes::One,
                count => Processes::First { count, starter: Arc::new(Children) },
            };
            let options = RunOptions { workers, ..options() };
            topology(processes * workers)?.run_among(log, &options, &of_run, &spread)
        });
        Running { thread, progress }
    }

    fn stop(self) -> Result<()> {
        self.progress.stop();
        self.thread.join().map_err(|_| anyhow!("the topology panicked"))??;
        Ok(())
    }
}

/// Appends what fills the state, and waits until the topology has it.
fn fill(log: &Log, running: &Running<'_>, keys: u64) -> Result<()> {
    let mut records = Vec::new();
    for key in 0..keys {
        records.push(record(FILLS, key));
        if records.len() == 1000 || key + 1 == keys {
            let partition = u32::try_from(key / 1000 % u64::from(PARTITIONS))?;
            log.writer("in", partition)?.append_wait(&records)?;
            records.clear();
        }
    }
    let until = clock::now() + Duration::from_secs(600);
    while running.progress.tuples() < keys {
        ensure!(clock::now() < until && !running.thread.is_finished(), "the state is not filled");
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// Waits until all that was sent before now was seen, and for a while longer.
fn settle(followed: &Mutex<Followed>) -> Result<()> {
    let locked = || followed.lock().map_err(|_| anyhow!("somebody panicked"));
    let sent = locked()?.sent.len();
    let until = clock::now() + Duration::from_secs(120);
    while locked()?.seen[..sent].iter().any(Option::is_none) {
        ensure!(clock::now() < until, "records did not come back");
        thread::sleep(Duration::from_millis(20));
    }
    thread::sleep(CALM);
    Ok(())
}

/// The longest that a record took that was sent around something that happens.
fn pause(followed: &Mutex<Followed>, happens: impl FnOnce() -> Result<()>) -> Result<f64> {
    let from = clock::now();
    happens()?;
    thread::sleep(CALM);
    settle(followed)?;
    let until = clock::now() - CALM;
    let all = took(followed, from - Duration::from_millis(100), until)?;
    Ok(all[all.len() - 1])
}

fn say(how: &str, pauses: &[f64]) {
    let least = pauses.iter().copied().fold(f64::MAX, f64::min);
    let most = pauses.iter().copied().fold(0.0, f64::max);
    let (times, median) = (pauses.len(), median(pauses.to_vec()));
    println!("{how}, {times} times: pause {median:.0} ms in the median, {least:.0} to {most:.0}");
}

/// The pauses after losses and changes of scale, and the median latency without, in milliseconds.
fn measure(told: &Told, processes: u32, losses: &[Loss], scales: &[u32]) -> Result<()> {
    let dir = dir(getpid());
    drop(std::fs::remove_dir_all(&dir));
    let log = Log::open(&dir, LogConfig { shared: true, serve: true, ..LogConfig::default() })?;
    log.create_stream("in", StreamConfig { partitions: PARTITIONS, ..StreamConfig::default() })?;
    let over = AtomicBool::new(false);
    let followed = Mutex::<Followed>::default();
    let keys = (told.state_mb << 20) / (STATE_BYTES as u64 + 8);
    thread::scope(|scope| -> Result<()> {
        let running = Running::start(scope, &log, (processes, 1));
        while running.progress.generation() == 0 && !running.thread.is_finished() {
            thread::yield_now();
        }
        fill(&log, &running, keys)?;
        let mut running = Some(running);
        scope.spawn(|| produce(&log, (told.rate, keys.max(100)), &followed, &over));
        let readers: Vec<_> = (0..PARTITIONS)
            .map(|partition| {
                scope.spawn({
                    let (log, followed, over) = (&log, &followed, &over);
                    move || follow(log, partition, followed, over)
                })
            })
            .collect();
        let outcome = (|| -> Result<()> {
            thread::sleep(CALM);
            settle(&followed)?;
            let from = clock::now();
            thread::sleep(LOOK);
            let until = clock::now();
            settle(&followed)?;
            let calm = took(&followed, from, until)?;
            let at = |thousandth: usize| calm[(calm.len() - 1) * thousandth / 1000];
            println!(
                "{processes} process(es), {} MiB of state, nothing lost: p50 {:.1} ms, p99 {:.1}, p99.9 {:.1}",
                told.state_mb,
                at(500),
                at(990),
                at(999)
            );
            for loss in losses {
                let pauses: Result<Vec<_>> =
                    (0..told.rounds).map(|_| pause(&followed, || loss.happen())).collect();
                say(&format!("{processes} process(es), {}", loss.what()), &pauses?);
            }
            let mut pauses = [const { Vec::new() }; 2];
            let mut now = 1;
            for _ in 0..told.rounds {
                for &workers in scales {
                    let took = pause(&followed, || {
                        running.take().context("it runs")?.stop()?;
                        running = Some(Running::start(scope, &log, (processes, workers)));
                        Ok(())
                    })?;
                    pauses[usize::from(workers != now)].push(took);
                    now = workers;
                }
            }
            for (how, pauses) in ["the same number of", "another number of"].iter().zip(&pauses) {
                if !pauses.is_empty() {
                    say(
                        &format!("{processes} process(es), stopped and run with {how} workers"),
                        pauses,
                    );
                }
            }
            Ok(())
        })();
        over.store(true, Ordering::Release);
        running.context("it runs")?.stop()?;
        for reader in readers {
            reader.join().map_err(|_| anyhow!("a reader panicked"))??;
        }
        outcome
    })?;
    log.close()?;
    Ok(std::fs::remove_dir_all(&dir)?)
}

fn produce(
    log: &Log,
    (rate, keys): (u32, u64),
    followed: &Mutex<Followed>,
    over: &AtomicBool,
) -> Result<()> {
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
        let record = record(nth.into(), u64::from(nth) * 7919 % keys);
        log.writer("in", nth % PARTITIONS)?.append(&[record], Box::new(drop));
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
            let nth = usize::try_from(number(&Blob::from(&record.value[..])))?;
            let seen = followed.seen.get_mut(nth).context("nobody sent it")?;
            ensure!(seen.replace(now).is_none(), "record {nth} came twice");
        }
    }
    Ok(())
}

/// What reading so many bytes takes, from a file in the page cache.
fn read_limit(state_mb: u64) -> Result<f64> {
    let path = egret_integration::scratch().join(format!("egret-limit-{}", std::process::id()));
    std::fs::write(&path, vec![1u8; usize::try_from(state_mb << 20)?])?;
    let begun = clock::now();
    let mut file = std::fs::File::open(&path)?;
    let mut buffer = vec![0; 1 << 20];
    while file.read(&mut buffer)? > 0 {}
    let took = begun.elapsed().as_secs_f64() * 1e3;
    std::fs::remove_file(&path)?;
    Ok(took)
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
    if let (Some(part), Some(dir)) = (&told.play, &told.of) {
        return warm::play(part, dir);
    }
    println!("a process of this program starts and ends in {:.1} ms", limit(told.rounds)?);
    println!("{} MiB are read in {:.0} ms", told.state_mb, read_limit(told.state_mb)?);
    if told.cold {
        return measure(&told, 1, &[], &[1]);
    }
    warm::measure(&told)?;
    if told.only_warm {
        return Ok(());
    }
    measure(&told, 1, &[Loss::BoltFails], &[1, 2, 1])?;
    measure(&told, told.processes, &[Loss::BoltFails, Loss::Killed, Loss::Stopped], &[])
}
