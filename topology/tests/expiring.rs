//! What goes by itself goes, by the clock on the wall: not too early, once, and also while nothing runs.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use egret::replica::{Replica, ReplicaOptions};
use egret::{
    Blob, ComponentResult, Context, Emitter, ExpiringMap, KeyedBolt, LogSink, LogSpout, Progress,
    RunOptions, TimeToLive, Timer, Topology, TopologyBuilder,
};
use egret_log::stream::{Format, ReadFrom, Record, StreamConfig};
use egret_log::{Log, LogConfig, clock};

type Out = (Blob, String);

const WAIT: Duration = Duration::from_secs(60);
const LIVES_MS: i64 = 200;

struct Place {
    _dir: tempfile::TempDir,
    log: Log,
}

impl Place {
    fn new() -> Place {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path(), LogConfig::default()).unwrap();
        let format = Format::Utf8;
        log.create_stream("in", StreamConfig { format, ..StreamConfig::default() }).unwrap();
        Place { _dir: dir, log }
    }

    fn write(&self, lines: impl IntoIterator<Item = String>) {
        let records: Vec<_> = lines.into_iter().map(Record::of).collect();
        self.log.writer_of("in", 0, &Format::Utf8).unwrap().append_wait(&records).unwrap();
    }

    fn said(&self) -> BTreeMap<String, Vec<String>> {
        let mut said = BTreeMap::<_, Vec<_>>::new();
        for partition in 0..2 {
            let Ok(mut reader) = self.log.reader("out", partition, ReadFrom::Earliest) else {
                continue;
            };
            while let Some(batch) = reader.next_wait(Duration::ZERO).unwrap() {
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                for record in &batch.records {
                    let key = text(record.key.as_ref().unwrap());
                    said.entry(key).or_default().push(text(&record.value));
                }
            }
        }
        said
    }

    /// How many keys have state, as of the last commit.
    fn keys(&self) -> usize {
        let mut replica = Replica::new("t", ReplicaOptions::default());
        replica.catch_up(&self.log).unwrap();
        let shown = replica.read();
        shown.component("bolt").map_or(0, |component| component.table.len())
    }
}

fn topology<B: KeyedBolt<str, String, Out>>(
    tasks: u32,
    bounded: bool,
    make: impl Fn() -> B + Send + Sync + 'static,
) -> Topology {
    let mut builder = TopologyBuilder::new("t");
    let spout = LogSpout::<String>::from_stream("in");
    let spout = if bounded { spout.bounded() } else { spout };
    let lines = builder.spout("in", 1, spout).unwrap();
    let words = lines.fields(|line| line.split(' ').next().unwrap_or_default());
    let done = words.keyed("bolt", tasks, make).unwrap();
    done.sink("out", LogSink::to_stream("out").partitions(2)).unwrap();
    builder.finish().unwrap()
}

fn options() -> RunOptions {
    RunOptions { workers: 2, commit_ms: 5, tries: 50, ..RunOptions::default() }
}

/// Runs a topology that does not end by itself until `done`.
fn run_until(place: &Place, topology: &Topology, done: impl Fn() -> bool) {
    let progress = Arc::new(Progress::default());
    std::thread::scope(|scope| {
        let running = Arc::clone(&progress);
        let run = scope.spawn(move || topology.run(&place.log, &options(), &running));
        let end = clock::now() + WAIT;
        while !done() && !run.is_finished() && clock::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        progress.stop();
        run.join().unwrap().unwrap();
    });
    assert!(done(), "not within {WAIT:?}: {:?}", place.said());
}

fn now_ms() -> i64 {
    i64::try_from(clock::Wall::default().ms()).unwrap()
}

/// Counts, and says when.
struct Count;

impl KeyedBolt<str, String, Out> for Count {
    type State = u64;

    fn execute(
        &mut self,
        word: &str,
        n: &mut u64,
        _: String,
        out: &mut Emitter<Out>,
        _: &Context,
    ) -> ComponentResult {
        *n += 1;
        out.emit((Blob::from(word.as_bytes()), n.to_string()));
        Ok(())
    }

    fn time_to_live(&self) -> Option<TimeToLive> {
        Some(TimeToLive::processing(Duration::from_millis(LIVES_MS.unsigned_abs())))
    }
}

#[test]
fn keys_are_gone_when_the_clock_says_so_although_nothing_comes() {
    let place = Place::new();
    let began = now_ms();
    place.write((0..50).map(|n| format!("w{n}")));
    // They are there, and then they are not.
    run_until(&place, &topology(2, false, || Count), || place.said().len() == 50);
    let seen = place.keys();
    assert!(seen == 50 || now_ms() >= began + LIVES_MS, "{seen} keys before their time");
    run_until(&place, &topology(3, false, || Count), || place.keys() == 0);
    assert!(now_ms() > began + LIVES_MS);
    place.write(["w7".to_owned()]);
    run_until(&place, &topology(1, false, || Count), || place.said()["w7"].len() == 2);
    assert_eq!(place.said()["w7"], ["1", "1"], "it begins again");
}

/// Remembers lines under their word, each for its time, and says which it forgets; falls now and then.
struct Remember(Arc<AtomicU64>);

impl Remember {
    fn here(&self) {
        let call = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        assert!(call > 600 || !call.is_multiple_of(151), "a fall at call {call}");
    }
}

impl KeyedBolt<str, String, Out> for Remember {
    type State = ExpiringMap<String, i64>;

    fn execute(
        &mut self,
        _: &str,
        lines: &mut ExpiringMap<String, i64>,
        line: String,
        _: &mut Emitter<Out>,
        cx: &Context,
    ) -> ComponentResult {
        let now = cx.processing_time();
        lines.insert(line, now, now + LIVES_MS);
        cx.timers().set(Timer::processing(now + LIVES_MS))?;
        self.here();
        Ok(())
    }

    fn on_timer(
        &mut self,
        _: &str,
        lines: &mut ExpiringMap<String, i64>,
        timer: Timer,
        out: &mut Emitter<Out>,
        cx: &Context,
    ) -> ComponentResult {
        while let Some((line, came)) = lines.pop_expired(timer.ms) {
            let lived = cx.processing_time() - came;
            out.emit((Blob::from(line.as_bytes()), lived.to_string()));
        }
        self.here();
        Ok(())
    }
}

#[test]
fn entries_are_gone_each_at_its_time_through_failures_and_restarts() {
    let place = Place::new();
    let calls = Arc::default();
    let make = |calls: &Arc<AtomicU64>| {
        let calls = Arc::clone(calls);
        move || Remember(Arc::clone(&calls))
    };
    let mut restarts = 0;
    for (nth, tasks) in [2, 3, 1].into_iter().enumerate() {
        place.write((0..100).map(|n| format!("w{} {nth} {n}", n % 7)));
        let summary =
            topology(tasks, true, make(&calls)).run(&place.log, &options(), &Arc::default());
        restarts += summary.unwrap().restarts;
    }
    assert!(restarts > 1, "{restarts} restarts");
    // Some became due while nothing ran.
    run_until(&place, &topology(2, false, make(&calls)), || place.said().len() == 300);
    for (line, lived) in place.said() {
        let [lived] = &lived[..] else { panic!("{line}: {lived:?}") };
        assert!(lived.parse::<i64>().unwrap() >= LIVES_MS, "{line} was gone after {lived} ms");
    }
}
