//! What tasks do, in numbers: the engine's, and those of components.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use egret::metrics::{Counter, Gauge, Histogram, Snapshot, TaskMetrics};
use egret::{
    Blob, Bolt, ComponentResult, Context, DeadLetter, Emitter, KeyedBolt, LogSink, LogSpout,
    OnError, Progress, RunOptions, Stream, TaskHook, TopologyBuilder,
};
use egret_log::stream::{Record, StreamConfig};
use egret_log::{Log, LogConfig, clock};

/// Emits every number twice, and fails at what is none.
#[derive(Default)]
struct Twice(Option<(Counter, Gauge, Histogram)>);

impl Bolt<Blob, Blob> for Twice {
    fn open(&mut self, cx: &Context) -> ComponentResult {
        self.0 = Some((cx.counter("seen")?, cx.gauge("last")?, cx.histogram("number")?));
        Ok(())
    }

    fn execute(&mut self, tuple: Blob, out: &mut Emitter<Blob>, _: &Context) -> ComponentResult {
        let (seen, last, number) = self.0.as_ref().unwrap();
        seen.inc();
        out.emit(tuple.clone());
        let n: u32 = std::str::from_utf8(&tuple)?.parse()?;
        last.set(n.into());
        number.record(n.into());
        out.emit(tuple);
        Ok(())
    }
}

fn sum(metrics: &Snapshot, component: &str, of: impl Fn(&TaskMetrics) -> u64) -> u64 {
    metrics.of(component).map(of).sum()
}

#[test]
fn what_each_task_did_is_counted_and_what_its_component_counts_is_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogConfig::default()).unwrap();
    log.create_stream("in", StreamConfig::default()).unwrap();
    let words = (0..5000).map(|n| if n % 100 == 7 { "x".to_owned() } else { n.to_string() });
    let records: Vec<_> = words.map(Record::of).collect();
    log.writer("in", 0).unwrap().append_wait(&records).unwrap();

    let mut t = TopologyBuilder::new("twice");
    let all = t.spout("in", 1, LogSpout::<Blob>::from_stream("in").bounded()).unwrap();
    let now = i64::try_from(clock::wall_ms()).unwrap();
    let all = all.event_time(move |_| now - 60_000).unwrap();
    let twice = all.shuffle().bolt("twice", 2, Twice::default).unwrap();
    twice.on_error(OnError::DeadLetter).unwrap();
    let letters: Stream<DeadLetter<Blob>> = twice.dead_letters().unwrap();
    letters.sink("letters", LogSink::to_stream("letters").partitions(1)).unwrap();
    twice.sink("out", LogSink::to_stream("out").partitions(2)).unwrap();
    let progress = Arc::new(Progress::default());
    assert_eq!(progress.metrics().snapshot(), Snapshot::default());
    let options = RunOptions { workers: 2, commit_ms: 1, ..RunOptions::default() };
    t.finish().unwrap().run(&log, &options, &progress).unwrap();

    let metrics = progress.metrics().snapshot();
    let tasks: Vec<_> = metrics.tasks.iter().map(|t| (t.component.as_str(), t.task)).collect();
    let wanted = [("in", 0), ("letters", 0), ("out", 0), ("out", 1), ("twice", 0), ("twice", 1)];
    assert_eq!(tasks, wanted);
    assert_eq!(sum(&metrics, "in", |t| t.tuples_out), 5000);
    assert_eq!(sum(&metrics, "twice", |t| t.tuples_in), 5000);
    assert_eq!(sum(&metrics, "twice", |t| t.tuples_out), 2 * 4950, "without what was taken back");
    assert_eq!(sum(&metrics, "twice", |t| t.errors), 50);
    assert_eq!(sum(&metrics, "twice", |t| t.dead_letters), 50);
    assert_eq!(sum(&metrics, "out", |t| t.tuples_in), 2 * 4950);
    assert_eq!(sum(&metrics, "letters", |t| t.tuples_in), 50);
    assert!(metrics.tasks.iter().all(|t| t.queue_bytes == 0 && t.execute_ns.count > 0));
    assert!(metrics.of("twice").all(|t| t.watermark_lag_ms.is_some_and(|lag| lag >= 60_000)));
    assert_eq!(sum(&metrics, "twice", |t| t.counters["seen"]), 5000);
    assert_eq!(sum(&metrics, "twice", |t| t.histograms["number"].count), 4950);
    let last = metrics.of("twice").map(|t| t.gauges["last"]).fold(0.0, f64::max);
    assert_eq!(last, 4999.0);

    let text = metrics.prometheus("twice");
    let line = "egret_dead_letters_total{topology=\"twice\",component=\"out\",task=\"1\"} 0\n";
    assert!(text.contains(line), "{text}");
    assert!(text.contains(
        "egret_user_number{topology=\"twice\",component=\"twice\",task=\"0\",quantile=\"0.5\"}"
    ));
    let json = serde_json::to_value(&metrics).unwrap();
    assert_eq!(json["tasks"][0]["component"], "in");
    log.close().unwrap();
}

#[test]
fn commits_and_state_are_in_the_numbers() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogConfig::default()).unwrap();
    log.create_stream("in", StreamConfig::default()).unwrap();
    let records: Vec<Record> = (0..100).map(|n| Record::of(n.to_string())).collect();
    log.writer("in", 0).unwrap().append_wait(&records).unwrap();
    let mut t = TopologyBuilder::new("count");
    let all = t.spout("in", 1, LogSpout::<Blob>::from_stream("in").bounded()).unwrap();
    let counted = all.fields(|word: &Blob| word.as_bytes()).keyed("count", 2, || Count).unwrap();
    counted.sink("out", LogSink::to_stream("out")).unwrap();
    let progress = Arc::new(Progress::default());
    let options = RunOptions { commit_ms: 1, ..RunOptions::default() };
    t.finish().unwrap().run(&log, &options, &progress).unwrap();
    let Snapshot { process, tasks } = progress.snapshot();
    assert_eq!((process.tuples, process.generation, process.active), (100, 1, true));
    assert!(process.commits > 0 && process.since_commit_ms.is_some());
    assert_eq!(process.commit_us.count, process.commits, "each is measured");
    assert!(process.commit_us.max > 0);
    let state = |of: &str| tasks.iter().filter(|t| t.component == of).map(|t| t.state_bytes).sum();
    let (count, out): (u64, u64) = (state("count"), state("out"));
    assert!(count > 100 * 8 && out == 0, "{count}, {out}");
    assert_eq!(process.state_bytes, count);
    log.close().unwrap();
}

struct Count;

impl KeyedBolt<[u8], Blob, Blob> for Count {
    type State = u64;
    fn execute(
        &mut self,
        _: &[u8],
        count: &mut u64,
        word: Blob,
        out: &mut Emitter<Blob>,
        _: &Context,
    ) -> ComponentResult {
        *count += 1;
        out.emit(word);
        Ok(())
    }
}

/// A generation that failed is part of the numbers, and what it did that was done again counts again.
#[test]
fn numbers_go_on_over_generations_that_fail() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogConfig::default()).unwrap();
    log.create_stream("in", StreamConfig::default()).unwrap();
    log.writer("in", 0).unwrap().append_wait(&[Record::of("1"), Record::of("x")]).unwrap();
    let mut t = TopologyBuilder::new("twice");
    let all = t.spout("in", 1, LogSpout::<Blob>::from_stream("in").bounded()).unwrap();
    let twice = all.shuffle().bolt("twice", 1, Twice::default).unwrap();
    twice.sink("out", LogSink::to_stream("out")).unwrap();
    let progress = Arc::new(Progress::default());
    // All of it is one commit, which is never made.
    let options = RunOptions { commit_ms: 3_600_000, ..RunOptions::default() };
    t.finish().unwrap().run(&log, &options, &progress).unwrap_err();
    let metrics = progress.metrics().snapshot();
    assert_eq!(sum(&metrics, "twice", |t| t.errors), 3, "one of each generation");
    assert_eq!(sum(&metrics, "twice", |t| t.counters["seen"]), 6);
    log.close().unwrap();
}

/// What a hook was told of a task.
#[derive(Clone, Debug, Default, PartialEq)]
struct Told {
    opened: u32,
    tuples_in: usize,
    tuples_out: u64,
    failed: u64,
    closed: u32,
}

#[derive(Default)]
struct Hook {
    task: String,
    all: Arc<Mutex<BTreeMap<String, Told>>>,
}

impl Hook {
    fn tell(&self, what: impl FnOnce(&mut Told)) {
        what(self.all.lock().unwrap().entry(self.task.clone()).or_default());
    }
}

impl TaskHook for Hook {
    fn opened(&mut self, cx: &Context) {
        self.task = cx.id().to_string();
        self.tell(|told| told.opened += 1);
    }
    fn executed(&mut self, tuples: usize, _: Duration) {
        self.tell(|told| told.tuples_in += tuples);
    }
    fn emitted(&mut self, tuples: u64) {
        self.tell(|told| told.tuples_out += tuples);
    }
    fn failed(&mut self, calls: u64) {
        self.tell(|told| told.failed += calls);
    }
    fn closed(&mut self) {
        self.tell(|told| told.closed += 1);
    }
}

/// Panics whenever it is told anything.
struct Bad;

impl TaskHook for Bad {
    fn opened(&mut self, _: &Context) {
        panic!("a bad hook");
    }
    fn executed(&mut self, _: usize, _: Duration) {
        unreachable!("it is not called any more");
    }
}

#[test]
fn a_hook_hears_of_every_task_and_one_that_panics_harms_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogConfig::default()).unwrap();
    log.create_stream("in", StreamConfig::default()).unwrap();
    let records = ["1", "2", "x", "3"].map(Record::of);
    log.writer("in", 0).unwrap().append_wait(&records).unwrap();
    let all = Arc::<Mutex<BTreeMap<String, Told>>>::default();
    let told = Arc::clone(&all);
    let mut t = TopologyBuilder::new("twice");
    t.hook(|| Bad).hook(move || Hook { task: String::new(), all: Arc::clone(&told) });
    let all_in = t.spout("in", 1, LogSpout::<Blob>::from_stream("in").bounded()).unwrap();
    let twice = all_in.shuffle().bolt("twice", 1, Twice::default).unwrap();
    twice.on_error(OnError::DeadLetter).unwrap();
    let letters: Stream<DeadLetter<Blob>> = twice.dead_letters().unwrap();
    letters.sink("letters", LogSink::to_stream("letters").partitions(1)).unwrap();
    twice.sink("out", LogSink::to_stream("out").partitions(1)).unwrap();
    t.finish().unwrap().run(&log, &RunOptions::default(), &Arc::default()).unwrap();
    let told = |task: &str| all.lock().unwrap()[task].clone();
    let one = Told { opened: 1, closed: 1, ..Told::default() };
    assert_eq!(told("in/0"), Told { tuples_out: 4, ..one.clone() });
    let twice = Told { tuples_in: 4, tuples_out: 6, failed: 1, ..one.clone() };
    assert_eq!(told("twice/0"), twice);
    assert_eq!(told("letters/0"), Told { tuples_in: 1, ..one.clone() });
    assert_eq!(told("out/0"), Told { tuples_in: 6, ..one });
    log.close().unwrap();
}
