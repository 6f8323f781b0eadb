//! The seventh of the traps in `topology/tests/traps.rs`: a copy of the log that is lost while commits are made. Of four
//! bookies, three of which have each entry, one is killed and its disk is lost while a topology counts; commits go on, in the
//! same generation, and every word counts once, then and after a restart that reads the state again.
//!
//! It stands without a harness so that this program can be a bookie's process, too.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says that it did not"
)]

use std::env;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use egret::{
    ComponentResult, Context, Emitter, KeyedBolt, LogSink, LogSpout, Progress, RunOptions,
    Topology, TopologyBuilder,
};
use egret_integration::cluster::{Cluster, serve_if_asked};
use egret_log::stream::{Format, ReadFrom, Record, StreamConfig};
use egret_log::{Log, clock};

const NAME: &str = "commits_go_on_while_a_copy_of_the_log_is_lost";
const LIMIT: Duration = Duration::from_secs(120);

struct Count;

impl KeyedBolt<str, String, (String, u64)> for Count {
    type State = u64;
    fn execute(
        &mut self,
        word: &str,
        n: &mut u64,
        _: String,
        out: &mut Emitter<(String, u64)>,
        _: &Context,
    ) -> ComponentResult {
        *n += 1;
        out.emit((word.to_owned(), *n));
        Ok(())
    }
}

fn topology() -> Topology {
    let mut t = TopologyBuilder::new("words");
    let words = t.spout("words", 1, LogSpout::<String>::from_stream("words")).unwrap();
    let counts = words.fields(|word| word.as_str()).keyed("count", 2, || Count).unwrap();
    counts.sink("out", LogSink::to_stream("counts").partitions(1)).unwrap();
    t.finish().unwrap()
}

/// What can be read of the counts.
fn counts(log: &Log) -> Vec<u64> {
    let Ok(mut reader) = log.reader("counts", 0, ReadFrom::Earliest) else { return Vec::new() };
    let mut counts = Vec::new();
    while let Some(batch) = reader.next_wait(Duration::ZERO).unwrap() {
        let number = |record: &Record| -> u64 {
            std::str::from_utf8(&record.value).unwrap().parse().unwrap()
        };
        counts.extend(batch.records.iter().map(number));
    }
    counts
}

fn main() {
    serve_if_asked();
    // Nothing else is asked of a test by those who list tests.
    if env::args().any(|arg| arg == "--list") {
        println!("{NAME}: test");
        return;
    }
    commits_go_on_while_a_copy_of_the_log_is_lost();
    println!("test {NAME} ... ok");
}

fn commits_go_on_while_a_copy_of_the_log_is_lost() {
    let mut cluster = Cluster::start(4).unwrap();
    let log = cluster.log().unwrap();
    let config = StreamConfig { partitions: 1, format: Format::Utf8, ..StreamConfig::default() };
    log.create_stream("words", config).unwrap();
    let words = log.writer_of("words", 0, &Format::Utf8).unwrap();
    let options = RunOptions { commit_ms: 2, ..RunOptions::default() };
    let mut sent = 0u64;
    for round in 0..2 {
        let progress = Arc::new(Progress::default());
        let run = {
            let (log, options, progress) = (log.clone(), options.clone(), Arc::clone(&progress));
            thread::spawn(move || topology().run(&log, &options, &progress))
        };
        let until = clock::now() + LIMIT;
        let mut goes_on = |commits: u64| {
            let begun = progress.commits();
            while progress.commits() < begun + commits {
                words.append_wait(&[Record::of("a")]).unwrap();
                sent += 1;
                assert!(clock::now() < until, "no commits: {} of them", progress.commits());
                assert!(!run.is_finished(), "it failed");
            }
        };
        goes_on(20);
        if round == 0 {
            // In the middle of a commit, most likely: they follow each other.
            cluster.kill(0).unwrap();
            cluster.lose_disk(0).unwrap();
        }
        goes_on(40);
        while counts(&log).len() < usize::try_from(sent).unwrap() {
            assert!(clock::now() < until, "what was sent does not come through");
            thread::yield_now();
        }
        progress.stop();
        let summary = run.join().unwrap().unwrap();
        assert_eq!(summary.restarts, 0, "a lost copy is no failure of the topology");
        assert_eq!(counts(&log), (1..=sent).collect::<Vec<_>>(), "each once, in order");
    }
    log.close().unwrap();
}
