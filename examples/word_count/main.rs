//! Counts words: files go into a stream, a topology counts them, counts go into another stream.
//!
//! ```text
//! cargo run --release --example word_count -- FILE...
//! ```
//! Kill it at any moment and run it again: loading and counting go on where they stopped, and every
//! word is counted once. Run it again when it is done: nothing is added twice.

mod load;
mod results;

use std::fmt::Display;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use egret::{
    Blob, ComponentResult, Context, Emitter, KeyedBolt, LogSink, LogSpout, Processes, Progress,
    RunArgs, Topology, TopologyBuilder,
};
use egret_log::Log;
use egret_log::stream::Ends;
use indicatif::{ProgressBar, ProgressStyle};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Counts the words of files, exactly, through Egret's durable log
#[derive(Debug, Parser)]
#[command(
    after_help = "Results go to standard output as COUNT<TAB>WORD, everything else to standard \
error.\n\nExamples:\n  word_count book.txt\n  word_count --all src/*.rs > counts.tsv\n  \
cat *.log | word_count --data /tmp/logs -\n  \
word_count --from word_count:NAME --name trial --counts trial-counts book.txt\n\nExit codes are those of `egret`, which `egret --help` lists."
)]
struct Options {
    #[command(flatten)]
    run: RunArgs,
    /// The stream that counts are written to: a fork (--from) needs one of its own
    #[arg(long, value_name = "STREAM", default_value = "counts")]
    counts: String,
    /// How many of the most frequent words to print
    #[arg(long, value_name = "N", default_value_t = 20)]
    top: usize,
    /// Print every word, ordered by its bytes
    #[arg(long, conflicts_with = "top")]
    all: bool,
    /// Text files, counted once however often they are named; `-` is standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
}

/// The white space of the C locale.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | 0x0b | 0x0c | b'\r')
}

struct Count;

impl KeyedBolt<[u8], Blob, (Blob, u64)> for Count {
    type State = u64;

    fn execute(
        &mut self,
        _: &[u8],
        count: &mut u64,
        _: Blob,
        _: &mut Emitter<(Blob, u64)>,
        _: &Context,
    ) -> ComponentResult {
        *count += 1;
        Ok(())
    }

    fn flush(
        &mut self,
        word: &[u8],
        count: &mut u64,
        out: &mut Emitter<(Blob, u64)>,
        _: &Context,
    ) -> ComponentResult {
        out.emit((Blob::from(word), *count));
        Ok(())
    }
}

fn split(line: Blob, out: &mut Emitter<Blob>) {
    for word in line.split(|byte| is_space(*byte)).filter(|word| !word.is_empty()) {
        out.emit(Blob::from(word));
    }
}

impl Options {
    fn name(&self) -> &str {
        self.run.name.as_deref().unwrap_or("word_count")
    }
}

/// `begins`: where the lines begin that this run loads.
fn topology(options: &Options, begins: Ends) -> egret::Result<Topology> {
    let mut t = TopologyBuilder::new(options.name());
    t.guarantee(options.run.guarantee);
    let tasks = options.run.tasks();
    let source = LogSpout::<Blob>::from_stream(load::STREAM).bounded().begins_at(begins);
    let lines = t.spout("lines", tasks, source)?;
    let words = lines.local_or_shuffle().bolt("split", tasks, || split)?;
    let counts = words.fields(|word| word.as_bytes()).keyed("count", tasks, || Count)?;
    counts.sink("counts", LogSink::to_stream(&options.counts))?;
    t.finish()
}

/// Counts what is in the stream and not counted yet.
fn count(log: &Log, options: &Options, processes: &Processes, begins: Ends) -> Result<u64> {
    let topology = topology(options, begins)?;
    let progress = Arc::new(Progress::default());
    let bar = ProgressBar::new_spinner().with_style(
        ProgressStyle::with_template("counting {spinner} {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner()),
    );
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let watcher = std::thread::spawn({
        let (progress, done, bar) = (Arc::clone(&progress), Arc::clone(&done), bar.clone());
        move || {
            while !done.load(std::sync::atomic::Ordering::Acquire) {
                bar.set_message(format!(
                    "{} lines, {}, {} commits",
                    progress.tuples(),
                    indicatif::HumanBytes(progress.bytes()),
                    progress.commits()
                ));
                bar.tick();
                std::thread::park_timeout(Duration::from_millis(100));
            }
        }
    });
    let outcome = topology.run_among(log, &options.run.options(), &progress, processes);
    done.store(true, std::sync::atomic::Ordering::Release);
    watcher.thread().unpark();
    watcher.join().map_err(|_| anyhow::anyhow!("the progress display stopped"))?;
    bar.finish_and_clear();
    Ok(outcome?.tuples)
}

/// Tells the user; where nobody can be told, nobody is: `eprintln!` would panic.
fn say(what: impl Display) {
    let _ = writeln!(std::io::stderr(), "{what}");
}

/// Whether anything was `begun` that stays, whatever comes of the rest.
fn run(options: &Options, begun: &mut bool) -> Result<()> {
    if options.run.processes > 1 && !options.run.guarantee.commits() {
        // Where a run begins is known to the process that loads, and told to no other.
        let guarantee = options.run.guarantee;
        let why = format!("{guarantee} runs in one process: leave out --processes");
        return Err(egret::Error::usage(why).into());
    }
    let processes = options.run.spread()?;
    if !processes.leads() {
        // Loading and printing are the first one's.
        let log = options.run.open_log()?;
        topology(options, Ends::new())?.run_among(
            &log,
            &options.run.options(),
            &Arc::default(),
            &processes,
        )?;
        return Ok(());
    }
    let log = options.run.open_log()?;
    let begins = load::ends(&log)?;
    let mut added = 0;
    for file in &options.files {
        let writers = load::writers(&log)?;
        *begun = true;
        let loaded = load::load(&writers, file).with_context(|| {
            format!("{} was not loaded whole; the next run counts what was", file.display())
        })?;
        say(&loaded);
        added += loaded.lines;
        *begun = added > 0;
    }
    say("counting");
    let counted = count(&log, options, &processes, begins)?;
    match (added, counted) {
        (0, 0) => say("nothing new: every line there is was loaded and counted before"),
        (_, counted) => say(format_args!("counted {counted} lines")),
    }
    // What a fork writes begins where it does: the words counted before are in its state alone.
    let counts = match options.run.name.is_some() && options.run.guarantee.commits() {
        true => results::kept(&log, options.name())?,
        false => results::written(&log, &options.counts)?,
    };
    results::print(&counts, options.all, options.top)?;
    say(format_args!(
        "look at the streams `lines` and `{}` with `egret stream {} list`",
        options.counts,
        options.run.place_flags()
    ));
    if let Err(error) = log.close() {
        // Everything is printed and durable; the next start reads the journal instead.
        say(format_args!("warning: {error}"));
    }
    Ok(())
}

fn main() -> ExitCode {
    let options = Options::parse();
    let mut begun = false;
    match run(&options, &mut begun) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if results::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            say(format_args!("error: {}", egret::chain(&*error)));
            // What was loaded stays, so it was no refusal.
            if begun { ExitCode::FAILURE } else { egret::exit_code(&*error) }
        }
    }
}
