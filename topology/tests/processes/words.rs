//! Words counted in several worker processes, each a thread here: what they do is the same, and a test can
//! look into them.

#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

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
pub(crate) type Trap = Arc<dyn Fn(&[u8]) -> ComponentResult + Send + Sync>;

struct Split(Trap);

impl Bolt<Blob, Blob> for Split {
    fn execute(&mut self, line: Blob, out: &mut Emitter<Blob>, _: &Context) -> ComponentResult {
        (self.0)(&line)?;
        line.split(|b| *b == b' ').for_each(|word| out.emit(Blob::from(word)));
        Ok(())
    }
}

/// Lines to words to counts, `tasks` of each.
pub(crate) fn topology(tasks: u32, guarantee: Guarantee, trap: &Trap) -> Topology {
    let mut t = TopologyBuilder::new("words");
    t.guarantee(guarantee);
    let lines = t.spout("lines", tasks, LogSpout::<Blob>::from_stream("lines").bounded()).unwrap();
    let trap = Arc::clone(trap);
    let words = lines.shuffle().bolt("split", tasks, move || Split(Arc::clone(&trap)));
    let counts = words.unwrap().fields(|w| w.as_bytes()).keyed("count", tasks, || Count).unwrap();
    counts.sink("out", LogSink::to_stream("counts").partitions(3)).unwrap();
    t.finish().unwrap()
}

pub(crate) fn calm() -> Trap {
    Arc::new(|_| Ok(()))
}

pub(crate) fn write_lines(log: &Log, lines: &[String]) {
    let config = StreamConfig { partitions: 4, ..StreamConfig::default() };
    log.create_stream("lines", config).unwrap();
    for (i, lines) in (0u32..).zip(lines.chunks(50)) {
        let records: Vec<Record> = lines.iter().map(|line| Record::of(line.clone())).collect();
        log.writer("lines", i % 4).unwrap().append_wait(&records).unwrap();
    }
}

pub(crate) fn text(lines: usize) -> Vec<String> {
    (0..lines).map(|i| format!("the {} fox {} times the {}", i % 7, i % 11, i % 3)).collect()
}

pub(crate) fn expected(lines: &[String]) -> BTreeMap<Vec<u8>, u64> {
    let mut counts = BTreeMap::new();
    for word in lines.iter().flat_map(|line| line.split(' ')) {
        *counts.entry(word.as_bytes().to_vec()).or_insert(0) += 1;
    }
    counts
}

/// The last count of each word, and how often a count did not rise.
pub(crate) fn counted(log: &Log) -> (BTreeMap<Vec<u8>, u64>, usize) {
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
pub(crate) fn run(
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

pub(crate) fn options(workers: u32) -> RunOptions {
    // A test machine may be busy: silence is no subject here.
    RunOptions { workers, commit_ms: 5, silence_ms: 20_000, ..RunOptions::default() }
}

pub(crate) fn open() -> (tempfile::TempDir, Log) {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogConfig::default()).unwrap();
    (dir, log)
}
