//! One of several worker processes that count words, placed by rank: what `integration/tests/hosts.rs` starts,
//! kills and cuts off. Its log is a data directory's that another process holds, for a directory is reached from
//! every network namespace; to each other the processes are hosts.

#![expect(clippy::print_stderr, reason = "a program that is watched by what it says")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Parser;
use egret::runtime::{Children, Placed};
use egret::{
    Blob, ComponentResult, Context, Emitter, KeyedBolt, LogSink, LogSpout, Processes, RunOptions,
    TopologyBuilder,
};
use egret_log::Log;
use egret_log::rpc::bookie::tls::Pem;
use egret_log::rpc::worker::WorkerTls;

#[derive(Parser)]
struct Options {
    /// The log's directory
    #[arg(long)]
    data: PathBuf,
    /// Where `cert.pem`, `key.pem` and `ca.pem` are
    #[arg(long)]
    tls: PathBuf,
    #[arg(long)]
    rank: u32,
    #[arg(long)]
    count: u32,
    #[arg(long)]
    leader: String,
    #[arg(long)]
    listen: Option<String>,
    /// While this file is there, each line takes some milliseconds
    #[arg(long)]
    slow: PathBuf,
    #[arg(long, default_value_t = 60_000)]
    join_wait_ms: u64,
    /// Start the others from here, on this host and without TLS: what TLS costs is seen beside it
    #[arg(long)]
    together: bool,
    #[arg(long, default_value_t = 4096)]
    epoch_bytes: usize,
}

struct Count;

impl KeyedBolt<[u8], Blob, (Blob, u64)> for Count {
    type State = u64;

    fn execute(
        &mut self,
        _: &[u8],
        n: &mut u64,
        _: Blob,
        _: &mut Emitter<(Blob, u64)>,
        _: &Context,
    ) -> ComponentResult {
        *n += 1;
        Ok(())
    }

    fn flush(
        &mut self,
        word: &[u8],
        n: &mut u64,
        out: &mut Emitter<(Blob, u64)>,
        _: &Context,
    ) -> ComponentResult {
        out.emit((Blob::from(word), *n));
        Ok(())
    }
}

fn tls(dir: &Path) -> Result<WorkerTls> {
    let read = |name: &str| std::fs::read(dir.join(name)).with_context(|| name.to_owned());
    let (cert, key, ca) = (read("cert.pem")?, read("key.pem")?, read("ca.pem")?);
    Ok(WorkerTls::new(Pem { cert: &cert, key: &key, ca: &ca })?)
}

fn run(options: Options) -> Result<()> {
    let mut t = TopologyBuilder::new("words");
    let tasks = options.count * 2;
    let lines = t.spout("lines", tasks, LogSpout::<Blob>::from_stream("lines").bounded())?;
    let slow = Arc::new(options.slow);
    let words = lines.shuffle().bolt("split", tasks, move || {
        let slow = Arc::clone(&slow);
        move |line: Blob, out: &mut Emitter<Blob>| {
            if slow.exists() {
                std::thread::park_timeout(Duration::from_millis(5));
            }
            line.split(|b| *b == b' ').for_each(|word| out.emit(Blob::from(word)));
        }
    })?;
    let counts = words.fields(|word| word.as_bytes()).keyed("count", tasks, || Count)?;
    counts.sink("out", LogSink::to_stream("counts").partitions(tasks))?;
    let log = Log::attach(&options.data)?;
    let processes = match (Children::seat()?, options.together) {
        (Some(seat), _) => Processes::Other(seat),
        (None, true) => Processes::First { count: options.count, starter: Arc::new(Children) },
        (None, false) => Processes::Placed(Placed {
            rank: options.rank,
            count: options.count,
            leader: options.leader,
            listen: options.listen,
            tls: tls(&options.tls)?,
            tell: |what| eprintln!("{what}"),
        }),
    };
    let run_options = RunOptions {
        commit_ms: 50,
        join_wait_ms: options.join_wait_ms,
        // A test machine is busy.
        silence_ms: 2000,
        epoch_bytes_max: options.epoch_bytes,
        in_flight_bytes_max: 256 * options.epoch_bytes.max(4 << 10),
        ..RunOptions::default()
    };
    let summary = t.finish()?.run_among(&log, &run_options, &Arc::default(), &processes)?;
    eprintln!("finished in generation {}", summary.generation.0);
    Ok(())
}

fn main() -> ExitCode {
    let options = Options::parse();
    let rank = options.rank;
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{rank}: {error:#}");
            ExitCode::FAILURE
        }
    }
}
