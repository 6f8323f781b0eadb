//! The smallest topology with a log of its own, which says when it saw its first tuple: `--bench footprint` starts it.
//!
//! ```text
//! first_tuple --data DIR      → first N, when the tuple is at the bolt; committed N, when a reader has what came of it
//! ```
//! `N` is in nanoseconds of the monotonic clock, which all processes share. It goes on until it is killed, and has nothing
//! to do: the next tuple is due in a day.

#![expect(clippy::print_stdout, reason = "a program that is watched by what it says")]

use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, sync_channel};
use std::time::Duration;

use anyhow::Result;
use clap::Parser;
use egret::{Emitter, Generator, LogSink, Progress, RunArgs, TopologyBuilder};
use egret_integration::measure::monotonic_ns;
use egret_log::Log;
use egret_log::stream::{Format, ReadFrom};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Options {
    #[command(flatten)]
    run: RunArgs,
}

const A_DAY: f64 = 24.0 * 3600.0;

/// How long to wait before looking again.
const A_LITTLE: Duration = Duration::from_micros(200);

/// Returns when a record of this stream can be read.
fn committed(log: &Log, stream: &str) -> Result<()> {
    let mut reader = log.reader_of(stream, 0, ReadFrom::Earliest, &Format::Utf8)?;
    while reader.next_wait(Duration::from_secs(1))?.is_none_or(|batch| batch.records.is_empty()) {}
    Ok(())
}

fn main() -> Result<()> {
    let Options { run } = Options::parse();
    // A topology and its output, so that there may be several in a directory.
    let name = run.name.clone().unwrap_or_else(|| "out".to_owned());
    let mut t = TopologyBuilder::new(&name);
    let numbers = t.spout("numbers", 1, Generator::new(|n| n).per_second(1.0 / A_DAY))?;
    let (seen, sees) = sync_channel(1);
    let texts = numbers.shuffle().bolt("texts", 1, move || {
        let seen = seen.clone();
        move |n: u64, out: &mut Emitter<String>| {
            println!("first {}", monotonic_ns());
            let _ = seen.try_send(());
            out.emit(n.to_string());
        }
    })?;
    texts.sink("out", LogSink::to_stream(&name).partitions(1))?;
    let topology = t.finish()?;
    let log = run.open_log()?;
    let (reads, of) = (&log, &name);
    std::thread::scope(|scope| {
        scope.spawn(move || {
            // Something is on its way. Until the first commit there may be nothing to read, nor from where.
            while sees.recv_timeout(A_LITTLE) == Err(RecvTimeoutError::Timeout) {}
            while committed(reads, of).is_err() {
                std::thread::park_timeout(A_LITTLE);
            }
            println!("committed {}", monotonic_ns());
        });
        topology.run(&log, &run.options(), &Arc::new(Progress::default()))
    })?;
    log.close()?;
    Ok(())
}
