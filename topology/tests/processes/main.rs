//! One topology in several worker processes, each a thread here: what they do is the same, and a test can
//! look into them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod generations;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use egret::runtime::{Seat, Started, Starter};
use egret::{
    Blob, Bolt, ComponentResult, Context, Emitter, Error, Guarantee, KeyedBolt, LogSink, LogSpout,
    Processes, Progress, RunOptions, Summary, Topology, TopologyBuilder,
};
use egret_log::stream::{ReadFrom, Record, StreamConfig};
use egret_log::{Log, LogConfig};

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

/// Told every line `split` gets: whether it fails.
type Trap = Arc<dyn Fn(&[u8]) -> ComponentResult + Send + Sync>;

struct Split(Trap);

impl Bolt<Blob, Blob> for Split {
    fn execute(&mut self, line: Blob, out: &mut Emitter<Blob>, _: &Context) -> ComponentResult {
        (self.0)(&line)?;
        line.split(|b| *b == b' ').for_each(|word| out.emit(Blob::from(word)));
        Ok(())
    }
}

/// Lines to words to counts, `tasks` of each.
fn topology(tasks: u32, guarantee: Guarantee, trap: &Trap) -> Topology {
    let mut t = TopologyBuilder::new("words");
    t.guarantee(guarantee);
    let lines = t.spout("lines", tasks, LogSpout::<Blob>::from_stream("lines").bounded()).unwrap();
    let trap = Arc::clone(trap);
    let words = lines.shuffle().bolt("split", tasks, move || Split(Arc::clone(&trap)));
    let counts = words.unwrap().fields(|w| w.as_bytes()).keyed("count", tasks, || Count).unwrap();
    counts.sink("out", LogSink::to_stream("counts").partitions(3)).unwrap();
    t.finish().unwrap()
}

fn calm() -> Trap {
    Arc::new(|_| Ok(()))
}

fn write_lines(log: &Log, lines: &[String]) {
    let config = StreamConfig { partitions: 4, ..StreamConfig::default() };
    log.create_stream("lines", config).unwrap();
    for (i, lines) in (0u32..).zip(lines.chunks(50)) {
        let records: Vec<Record> = lines.iter().map(|line| Record::of(line.clone())).collect();
        log.writer("lines", i % 4).unwrap().append_wait(&records).unwrap();
    }
}

fn text(lines: usize) -> Vec<String> {
    (0..lines).map(|i| format!("the {} fox {} times the {}", i % 7, i % 11, i % 3)).collect()
}

fn expected(lines: &[String]) -> BTreeMap<Vec<u8>, u64> {
    let mut counts = BTreeMap::new();
    for word in lines.iter().flat_map(|line| line.split(' ')) {
        *counts.entry(word.as_bytes().to_vec()).or_insert(0) += 1;
    }
    counts
}

/// The last count of each word, and how often a count did not rise.
fn counted(log: &Log) -> (BTreeMap<Vec<u8>, u64>, usize) {
    let mut last = BTreeMap::new();
    let mut repeats = 0;
    for partition in 0..log.stream("counts").unwrap().config.partitions {
        let mut reader = log.reader("counts", partition, ReadFrom::Earliest).unwrap();
        while let Some(batch) = reader.next_wait(Duration::ZERO).unwrap() {
            for record in batch.records {
                let count = std::str::from_utf8(&record.value).unwrap().parse().unwrap();
                let before = last.insert(record.key.unwrap().to_vec(), count);
                repeats += usize::from(before.is_some_and(|before| before >= count));
            }
        }
    }
    (last, repeats)
}

/// Starts the other processes, as threads.
struct Threads {
    log: Log,
    options: RunOptions,
    topology: Arc<dyn Fn() -> Topology + Send + Sync>,
    started: AtomicU32,
}

struct Running(Option<JoinHandle<Result<Summary, Error>>>);

impl Starter for Threads {
    fn start(&self, seat: &Seat) -> std::io::Result<Box<dyn Started>> {
        self.started.fetch_add(1, Ordering::Relaxed);
        let (log, options, seat) = (self.log.clone(), self.options.clone(), seat.clone());
        let topology = Arc::clone(&self.topology);
        let progress = Arc::new(Progress::default());
        let run = move || topology().run_among(&log, &options, &progress, &Processes::Other(seat));
        Ok(Box::new(Running(Some(thread::spawn(run)))))
    }
}

impl Started for Running {
    fn ended(&mut self) -> Option<String> {
        let ended = self.0.as_ref().is_none_or(JoinHandle::is_finished);
        ended.then(|| "a thread ended".to_owned())
    }

    fn kill(&mut self) {
        // Its leader has let go of it, so it ends.
        drop(self.0.take().map(JoinHandle::join));
    }

    fn settle(&mut self, _: Duration) {
        self.kill();
    }
}

/// Runs it in `count` processes; the outcome, and how many were started.
fn run(
    log: &Log,
    count: u32,
    options: &RunOptions,
    topology: impl Fn() -> Topology + Send + Sync + 'static,
) -> (Result<Summary, Error>, u32) {
    let starter = Arc::new(Threads {
        log: log.clone(),
        options: options.clone(),
        topology: Arc::new(topology),
        started: AtomicU32::new(0),
    });
    let processes = Processes::First { count, starter: Arc::clone(&starter) as _ };
    let topology = (starter.topology)();
    let outcome = topology.run_among(log, options, &Arc::default(), &processes);
    (outcome, starter.started.load(Ordering::Relaxed))
}

fn options(workers: u32) -> RunOptions {
    // A test machine may be busy: silence is no subject here.
    RunOptions { workers, commit_ms: 5, silence_ms: 20_000, ..RunOptions::default() }
}

fn open() -> (tempfile::TempDir, Log) {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogConfig::default()).unwrap();
    (dir, log)
}

#[test]
fn words_are_counted_exactly_however_many_processes_and_workers() {
    for (count, workers) in [(1, 2), (2, 1), (3, 1), (4, 2)] {
        let (_dir, log) = open();
        let lines = text(2000);
        write_lines(&log, &lines);
        let topology = || topology(5, Guarantee::EffectivelyOnce, &calm());
        let (outcome, started) = run(&log, count, &options(workers), topology);
        let summary = outcome.unwrap();
        let what = format!("{count} processes of {workers}");
        assert_eq!(summary.tuples, 2000, "{what}: every process says what it read");
        assert_eq!(counted(&log), (expected(&lines), 0), "{what}");
        assert_eq!((started, summary.restarts), (count - 1, 0), "{what}");
        log.close().unwrap();
    }
}

#[test]
fn a_bolt_that_fails_in_any_process_costs_a_generation_and_nothing_else() {
    let (_dir, log) = open();
    let lines = text(3000);
    write_lines(&log, &lines);
    let failures = Arc::new(AtomicU32::new(0));
    let seen = Arc::new(AtomicU32::new(0));
    let trap: Trap = {
        let (failures, seen) = (Arc::clone(&failures), Arc::clone(&seen));
        Arc::new(move |_| {
            let nth = seen.fetch_add(1, Ordering::Relaxed);
            if [400, 1100, 2500].contains(&nth) {
                failures.fetch_add(1, Ordering::Relaxed);
                return Err(format!("tuple {nth} is one too many").into());
            }
            Ok(())
        })
    };
    let topology = move || topology(5, Guarantee::EffectivelyOnce, &trap);
    let (outcome, started) = run(&log, 3, &RunOptions { tries: 10, ..options(1) }, topology);
    assert_eq!(failures.load(Ordering::Relaxed), 3);
    // Two may fail before either hears of the other.
    let restarts = outcome.unwrap().restarts;
    assert!((1..=3).contains(&restarts), "{restarts} restarts");
    assert_eq!(started, 2, "the processes stay");
    assert_eq!(counted(&log), (expected(&lines), 0));
    log.close().unwrap();
}

#[test]
fn what_a_task_says_is_told_though_every_process_gives_up() {
    let (_dir, log) = open();
    write_lines(&log, &text(500));
    let trap: Trap = Arc::new(|_| Err("no such word".into()));
    let topology = move || topology(5, Guarantee::EffectivelyOnce, &trap);
    let (outcome, _) = run(&log, 3, &options(1), topology);
    let said = outcome.unwrap_err().to_string();
    assert!(
        said.starts_with("topology `words` failed 3 time(s) without a commit between: task split/"),
        "{said}"
    );
    assert!(said.contains(": no such word; "), "{said}");
    log.close().unwrap();
}

/// Where the number of tasks changes, each begins a new image at once: members ask for ledgers.
#[test]
fn state_of_any_number_of_tasks_and_processes_is_restored_by_any_other() {
    let (_dir, log) = open();
    let lines = text(1000);
    let config = StreamConfig { partitions: 4, ..StreamConfig::default() };
    log.create_stream("lines", config).unwrap();
    for (round, (tasks, count)) in (0..).zip([(4, 3), (3, 1), (6, 4), (2, 2), (5, 3)]) {
        let part = &lines[round * 200..(round + 1) * 200];
        let records: Vec<Record> = part.iter().map(|line| Record::of(line.clone())).collect();
        log.writer("lines", 2).unwrap().append_wait(&records).unwrap();
        let topology = move || topology(tasks, Guarantee::EffectivelyOnce, &calm());
        run(&log, count, &options(1), topology).0.unwrap();
        let reference = expected(&lines[..(round + 1) * 200]);
        assert_eq!(counted(&log), (reference, 0), "{tasks} tasks in {count} processes");
    }
    log.close().unwrap();
}

#[test]
fn the_weaker_guarantees_run_in_several_processes_too() {
    for guarantee in [Guarantee::AtLeastOnce, Guarantee::AtMostOnce] {
        let (_dir, log) = open();
        let lines = text(600);
        write_lines(&log, &lines);
        let (outcome, _) = run(&log, 3, &options(1), move || topology(3, guarantee, &calm()));
        outcome.unwrap();
        assert_eq!(counted(&log).0, expected(&lines), "{guarantee}");
        log.close().unwrap();
    }
}
