//! The word count with a defect on purpose: its takeover keeps output that was durable and never
//! committed. `crash_and_kill` kills it as it kills the real one, and must find repeats.
//!
//! Its commits are late on purpose, too: a kill at any moment finds output that is in no commit.
//!
//! The defects are run options that no shipped program sets.

#![expect(clippy::print_stderr, reason = "a program that is watched by what it says")]

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Result;
use clap::Parser;
use egret::runtime::Faults;
use egret::{
    Blob, ComponentResult, Context, Emitter, KeyedBolt, LogSink, LogSpout, Progress, RunArgs,
    RunOptions, TopologyBuilder,
};
use egret_log::Log;
use egret_log::stream::error::CreateStreamError;
use egret_log::stream::{Producer, Record, StreamConfig};

/// Lines of one append.
const LINES: usize = 1000;

#[derive(Parser)]
struct Options {
    #[command(flatten)]
    run: RunArgs,
    /// For the real one, which prints its counts
    #[arg(long)]
    all: bool,
    files: Vec<PathBuf>,
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

/// Appends what is not there yet: a line's number is its sequence.
fn load(log: &Log, files: &[PathBuf]) -> Result<()> {
    match log.create_stream("lines", StreamConfig::default()) {
        Ok(_) | Err(CreateStreamError::Exists { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let writer = log.writer("lines", 0)?;
    for file in files {
        let name = file.display().to_string().into_bytes().into();
        let producer = Producer { name, ..Producer::default() };
        let mut batch = Vec::new();
        for (number, line) in (0..).zip(BufReader::new(std::fs::File::open(file)?).split(b'\n')) {
            batch.push(Record { sequence: Some(number), ..Record::of(line?) });
            if batch.len() == LINES {
                writer.append_as_wait(&producer, &std::mem::take(&mut batch))?;
            }
        }
        writer.append_as_wait(&producer, &batch)?;
    }
    Ok(())
}

fn main() -> Result<()> {
    let options = Options::parse();
    let log = options.run.open_log()?;
    load(&log, &options.files)?;
    let tasks = options.run.workers;
    let mut t = TopologyBuilder::new("word_count");
    t.guarantee(options.run.guarantee);
    let lines = t.spout("lines", tasks, LogSpout::<Blob>::from_stream("lines").bounded())?;
    let words = lines.local_or_shuffle().bolt("split", tasks, || {
        |line: Blob, out: &mut Emitter<Blob>| {
            let words = line.split(|byte| byte.is_ascii_whitespace() || *byte == 0x0b);
            words.filter(|word| !word.is_empty()).for_each(|word| out.emit(Blob::from(word)));
        }
    })?;
    let counts = words.fields(|word| word.as_bytes()).keyed("count", tasks, || Count)?;
    counts.sink("counts", LogSink::to_stream("counts"))?;
    let faults = Faults { keep_uncommitted_output: true, commits_late: true, ..Faults::default() };
    let run = RunOptions { faults, ..options.run.options() };
    eprintln!("counting");
    t.finish()?.run(&log, &run, &Arc::new(Progress::default()))?;
    log.close()?;
    Ok(())
}
