//! A keyed, windowed and joining topology, to be killed: the words of even lines and of odd lines are two
//! streams; a word that stands in both within a window of lines is told when the window is over, with how often
//! it met itself. `topology_kill --program joined_windows` kills it and holds it to what one thread says.
//! With its state in files its windows are made by hand, over timers, of keys that stay.

#![expect(clippy::print_stderr, reason = "a program that is watched by what it says")]

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use egret::runtime::Children;
use egret::window::{Tumbling, sum};
use egret::{
    Blob, ComponentResult, Context, Either, Emitter, EventTime, KeyedBolt, LogSink, LogSpout,
    MapState, Processes, Progress, RunArgs, Stream, Timer, Topology, TopologyBuilder,
};
use egret_integration::kill::follower::read_all;
use egret_integration::kill::history::totals;
use egret_integration::kill::windows;
use egret_log::Log;
use egret_log::stream::error::CreateStreamError;
use egret_log::stream::{Producer, Record, StreamConfig};
use egret_state_large::LargerThanMemory;

/// Lines of one append.
const LINES: usize = 1000;

/// The streams of even and of odd lines.
const SIDES: [&str; 2] = ["even", "odd"];

#[derive(Parser)]
struct Options {
    #[command(flatten)]
    run: RunArgs,
    /// As the other programs have it; this one always prints everything
    #[arg(long)]
    all: bool,
    /// Keep the state in files, with so many KiB of memory for each task
    #[arg(long, requires = "state_dir")]
    state_kb: Option<usize>,
    /// Where those files are
    #[arg(long, requires = "state_kb")]
    state_dir: Option<PathBuf>,
    files: Vec<PathBuf>,
}

egret::state! {
    /// How often a word came on each side, by window.
    struct Open {
        windows: MapState<i64, (u64, u64)>,
    }
}

/// The windows by hand, over timers, of words that are kept for ever: a state that is larger than its memory.
struct Join;

/// A word and its time.
type Word = (Blob, i64);

impl KeyedBolt<[u8], Either<Word, Word>, (Blob, u64)> for Join {
    type State = Open;

    fn execute(
        &mut self,
        _: &[u8],
        open: &mut Open,
        word: Either<Word, Word>,
        _: &mut Emitter<(Blob, u64)>,
        cx: &Context,
    ) -> ComponentResult {
        let (even, (_, time)) = match word {
            Either::Left(word) => (true, word),
            Either::Right(word) => (false, word),
        };
        let (window, over) = windows::window(time);
        let counts = open.windows.or_default(window);
        *(if even { &mut counts.0 } else { &mut counts.1 }) += 1;
        cx.timers().set(Timer::event(over))?;
        Ok(())
    }

    fn on_timer(
        &mut self,
        word: &[u8],
        open: &mut Open,
        timer: Timer,
        out: &mut Emitter<(Blob, u64)>,
        _: &Context,
    ) -> ComponentResult {
        let (window, _) = windows::window(timer.ms - 1);
        let (even, odd) = open.windows.remove(&window).unwrap_or_default();
        if even * odd > 0 {
            out.emit((Blob::from(windows::key(word, window)), even * odd));
        }
        Ok(())
    }
}

/// Appends what is not there yet. A record is its time and its line.
fn load(log: &Log, files: &[PathBuf]) -> Result<()> {
    for (parity, side) in (0..).zip(SIDES) {
        match log.create_stream(side, StreamConfig::default()) {
            Ok(_) | Err(CreateStreamError::Exists { .. }) => {}
            Err(error) => return Err(error.into()),
        }
        let writer = log.writer(side, 0)?;
        let producer = Producer { name: "lines".into(), ..Producer::default() };
        let (mut batch, mut sequence) = (Vec::new(), 0);
        let mut put = |time: i64, line: &[u8]| -> Result<()> {
            let value = [&time.to_le_bytes(), line].concat();
            batch.push(Record { sequence: Some(sequence), ..Record::of(value) });
            sequence += 1;
            if batch.len() == LINES || time == windows::END {
                writer.append_as_wait(&producer, &std::mem::take(&mut batch))?;
            }
            Ok(())
        };
        for (nth, file) in files.iter().enumerate() {
            for (time, line) in windows::lines(nth, file)? {
                if time % 2 == parity {
                    put(time, &line)?;
                }
            }
        }
        put(windows::END, b"")?;
    }
    Ok(())
}

fn time(record: &Blob) -> i64 {
    record.as_bytes().first_chunk().map_or(i64::MIN, |bytes| i64::from_le_bytes(*bytes))
}

fn side(t: &mut TopologyBuilder, side: &str, tasks: u32) -> egret::Result<Stream<Word>> {
    let time_of = EventTime { idle_ms: 86_400_000, ..EventTime::default() };
    let spout = LogSpout::<Blob>::from_stream(side).bounded();
    let lines = t.spout(side, tasks, spout)?.event_time_with(time_of, time)?;
    lines.local_or_shuffle().bolt(&format!("words-{side}"), tasks, || {
        |record: Blob, out: &mut Emitter<Word>| {
            let line = record.as_bytes().get(8..).unwrap_or_default();
            windows::words(line).for_each(|word| out.emit((Blob::from(word), time(&record))));
        }
    })
}

fn word((word, _): &Word) -> &[u8] {
    word.as_bytes()
}

fn time_of(word: &Either<Word, Word>) -> i64 {
    let (Either::Left((_, time)) | Either::Right((_, time))) = word;
    *time
}

/// Even and odd ones that a word is.
fn sides(word: &Either<Word, Word>) -> (u64, u64) {
    if let Either::Left(_) = word { (1, 0) } else { (0, 1) }
}

fn topology(options: &Options) -> egret::Result<Topology> {
    let run = &options.run;
    let mut t = TopologyBuilder::new("joined_windows");
    t.guarantee(run.guarantee);
    let tasks = run.tasks();
    let [even, odd] = SIDES.map(|name| side(&mut t, name, tasks));
    let (even, odd) = (even?, odd?);
    let both = even.fields(word).join(odd.fields(word))?;
    let joined = match (options.state_kb, &options.state_dir) {
        (Some(kb), Some(dir)) => {
            let storage = LargerThanMemory::with_cache_bytes(kb << 10).at(dir);
            both.keyed_with("join", tasks, storage, || Join)?
        }
        _ => both
            .window(Tumbling::of(Duration::from_millis(windows::WINDOW.unsigned_abs())))
            .event_time(time_of)
            .aggregate_with("join", tasks, sum(sides), |word: &[u8], told, (even, odd)| {
                let (window, _) = windows::window(told.window.start_ms);
                (even * odd > 0).then(|| (Blob::from(windows::key(word, window)), even * odd))
            })?,
    };
    joined.sink("counts", LogSink::to_stream("counts").partitions(3))?;
    t.finish()
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        // What ended a member its leader says.
        Err(error) => {
            if !Children::is_one() {
                eprintln!("error: {error:#}");
            }
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let options = Options::parse();
    let processes = options.run.spread()?;
    let log = options.run.open_log()?;
    if !matches!(processes, Processes::Other(_)) {
        load(&log, &options.files)?;
        eprintln!("counting");
    }
    let topology = topology(&options)?;
    let progress = Arc::new(Progress::default());
    topology.run_among(&log, &options.run.options(), &progress, &processes)?;
    if !matches!(processes, Processes::Other(_)) {
        std::io::stdout().write_all(&totals(&read_all(&log)?.rows))?;
    }
    log.close()?;
    Ok(())
}
