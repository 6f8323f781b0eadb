//! Every kind of state through failures, restarts and other numbers of workers and tasks, against one thread.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use egret::{
    Blob, ComponentResult, Context, Emitter, Guarantee, KeyedBolt, ListState, LogSink, LogSpout,
    MapState, Progress, RunOptions, TimeToLive, Timer, Topology, TopologyBuilder, Value,
};
use egret_log::stream::{Format, ReadFrom, Record, StreamConfig};
use egret_log::{Log, LogConfig};

type Said = BTreeMap<String, Vec<String>>;

/// A log with an empty stream `in`.
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

    /// What was said of each key, in order.
    fn said(&self) -> Said {
        let mut said = Said::new();
        for partition in 0..2 {
            let mut reader = self.log.reader("out", partition, ReadFrom::Earliest).unwrap();
            while let Some(batch) = reader.next_wait(Duration::ZERO).unwrap() {
                for record in &batch.records {
                    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                    let key = text(record.key.as_ref().unwrap());
                    said.entry(key).or_default().push(text(&record.value));
                }
            }
        }
        said
    }
}

/// Lines `key time number`.
fn parse(line: &str) -> (&str, i64, u32) {
    let mut words = line.split(' ');
    let mut next = || words.next().unwrap();
    (next(), next().parse().unwrap(), next().parse().unwrap())
}

fn topology<B>(
    tasks: u32,
    bounded: bool,
    guarantee: Guarantee,
    make: impl Fn() -> B + Send + Sync + 'static,
) -> Topology
where
    B: KeyedBolt<str, String, (Blob, String)>,
{
    let mut builder = TopologyBuilder::new("kinds");
    builder.guarantee(guarantee).key_groups(64);
    let spout = LogSpout::<String>::from_stream("in");
    let spout = if bounded { spout.bounded() } else { spout };
    let lines = builder.spout("in", 1, spout).unwrap().event_time(|line| parse(line).1).unwrap();
    let done = lines.fields(|line| parse(line).0).keyed("kinds", tasks, make).unwrap();
    done.sink("out", LogSink::to_stream("out").partitions(2)).unwrap();
    builder.finish().unwrap()
}

fn options(workers: u32) -> RunOptions {
    // Small epochs, so that commits are many.
    let epoch_bytes_max = 2 << 10;
    RunOptions {
        workers,
        commit_ms: 2,
        epoch_ms: 1,
        epoch_bytes_max,
        tries: 50,
        ..RunOptions::default()
    }
}

/// Panics at every so manieth call, of all tasks, and twelve times at most: where one commit takes more calls than
/// that there would be no end to it.
#[derive(Clone)]
struct Falls(Arc<AtomicU64>, u64);

impl Falls {
    fn every(n: u64) -> Falls {
        Falls(Arc::default(), n)
    }

    fn here(&self) {
        let calls = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        let falls = calls.is_multiple_of(self.1) && calls / self.1 <= 12;
        assert!(!falls, "a fall at call {calls}");
    }
}

const GAP: i64 = 30;

egret::state! {
    struct Session {
        first: Value<Option<i64>>,
        last: Value<i64>,
        steps: ListState<i64>,
        pages: MapState<u32, u32>,
    }
}

/// Sessions: what comes within a gap of what came before. One is over at its timer, or at a tuple beyond it.
struct Sessions(Falls);

impl Sessions {
    fn over(&self, key: &str, session: &mut Session, out: &mut Emitter<(Blob, String)>) {
        let Some(first) = session.first.take() else { panic!("a timer without a session") };
        let steps: Vec<_> = session.steps.iter().map(|t| t - first).collect();
        let pages: Vec<_> = session.pages.iter().collect();
        let said = format!("{first}-{} {steps:?} {pages:?}", *session.last);
        out.emit((Blob::from(key.as_bytes()), said));
        session.steps.clear();
        session.pages.clear();
        self.0.here();
    }
}

impl KeyedBolt<str, String, (Blob, String)> for Sessions {
    type State = Session;

    fn execute(
        &mut self,
        key: &str,
        session: &mut Session,
        line: String,
        out: &mut Emitter<(Blob, String)>,
        cx: &Context,
    ) -> ComponentResult {
        let (_, ms, page) = parse(&line);
        if session.first.is_some() {
            cx.timers().cancel(Timer::event(*session.last + GAP).tagged(7))?;
            if ms >= *session.last + GAP {
                self.over(key, session, out);
            }
        }
        session.first.get_or_insert(ms);
        *session.last = ms;
        session.steps.push(ms);
        *session.pages.or_default(page) += 1;
        cx.timers().set(Timer::event(ms + GAP).tagged(7))?;
        self.0.here();
        Ok(())
    }

    fn on_timer(
        &mut self,
        key: &str,
        session: &mut Session,
        timer: Timer,
        out: &mut Emitter<(Blob, String)>,
        _: &Context,
    ) -> ComponentResult {
        assert_eq!(timer, Timer::event(*session.last + GAP).tagged(7));
        self.over(key, session, out);
        Ok(())
    }
}

/// One thread's sessions.
fn sessions(lines: &[String]) -> Said {
    let mut open: BTreeMap<&str, Vec<(i64, u32)>> = BTreeMap::new();
    let mut said = Said::new();
    let over = |key: &str, session: Vec<(i64, u32)>| {
        let first = session[0].0;
        let steps: Vec<_> = session.iter().map(|(ms, _)| ms - first).collect();
        let mut pages = BTreeMap::<u32, u32>::new();
        session.iter().for_each(|(_, page)| *pages.entry(*page).or_default() += 1);
        let pages: Vec<_> = pages.iter().collect();
        let last = session[session.len() - 1].0;
        (key.to_owned(), format!("{first}-{last} {steps:?} {pages:?}"))
    };
    for line in lines {
        let (key, ms, page) = parse(line);
        let session = open.entry(key).or_default();
        if session.last().is_some_and(|(last, _)| ms >= last + GAP) {
            let (key, text) = over(key, std::mem::take(session));
            said.entry(key).or_default().push(text);
        }
        session.push((ms, page));
    }
    for (key, session) in open.into_iter().filter(|(key, _)| *key != "end") {
        let (key, text) = over(key, session);
        said.entry(key).or_default().push(text);
    }
    said
}

#[test]
fn sessions_of_lists_maps_and_timers_survive_failures_restarts_and_other_numbers_of_tasks() {
    let place = Place::new();
    let line = |i: i64| {
        // Some keys come again and again, some once.
        let key = if i % 3 == 0 { i / 40 } else { i * i % 101 };
        format!("k{key} {} {}", i / 5, i % 7)
    };
    let mut lines: Vec<_> = (0..9000).map(line).collect();
    lines.push("end 1000000 0".to_owned());
    let falls = Falls::every(1201);
    let mut restarts = 0;
    let mut rest = &lines[..];
    for (nth, (workers, tasks)) in
        [(1, 1), (2, 3), (1, 5), (2, 2), (3, 7), (1, 2)].into_iter().enumerate()
    {
        let now = if nth < 5 { 1500 } else { rest.len() };
        place.write(rest[..now].to_vec());
        rest = &rest[now..];
        let of = falls.clone();
        let make = move || Sessions(of.clone());
        let topology = topology(tasks, true, Guarantee::EffectivelyOnce, make);
        // Every other time nothing is kept in memory.
        let undo_bytes_max = if nth % 2 == 0 { options(1).undo_bytes_max } else { 0 };
        let options = RunOptions { undo_bytes_max, ..options(workers) };
        restarts += topology.run(&place.log, &options, &Arc::default()).unwrap().restarts;
    }
    assert!(restarts > 8, "{restarts} restarts");
    assert_eq!(place.said(), sessions(&lines));
}

/// Each number fires once, and what the state says of it is so.
struct Remind(Falls);

impl KeyedBolt<str, String, (Blob, String)> for Remind {
    type State = BTreeMap<u32, i64>;

    fn execute(
        &mut self,
        _: &str,
        pending: &mut BTreeMap<u32, i64>,
        line: String,
        _: &mut Emitter<(Blob, String)>,
        cx: &Context,
    ) -> ComponentResult {
        let (_, _, n) = parse(&line);
        let ms = cx.processing_time() + i64::from(n % 40);
        pending.insert(n, ms);
        // Twice is once.
        cx.timers().set(Timer::processing(ms).tagged(n))?;
        cx.timers().set(Timer::processing(ms).tagged(n))?;
        self.0.here();
        Ok(())
    }

    fn on_timer(
        &mut self,
        key: &str,
        pending: &mut BTreeMap<u32, i64>,
        timer: Timer,
        out: &mut Emitter<(Blob, String)>,
        cx: &Context,
    ) -> ComponentResult {
        assert!(timer.ms <= cx.processing_time());
        assert_eq!(pending.remove(&timer.tag), Some(timer.ms), "fired twice, or never set");
        out.emit((Blob::from(key.as_bytes()), timer.tag.to_string()));
        self.0.here();
        Ok(())
    }
}

#[test]
fn timers_of_processing_time_fire_once_through_failures_and_restarts() {
    let place = Place::new();
    let falls = Falls::every(1009);
    let mut restarts = 0;
    for (nth, (workers, tasks)) in [(1, 2), (2, 3), (2, 1), (1, 4), (2, 2)].into_iter().enumerate()
    {
        let n = |i: u32| u32::try_from(nth).unwrap() * 1000 + i;
        place.write((0..1000).map(|i| format!("k{} 0 {}", i % 37, n(i))));
        let of = falls.clone();
        let make = move || Remind(of.clone());
        let topology = topology(tasks, true, Guarantee::EffectivelyOnce, make);
        restarts += topology.run(&place.log, &options(workers), &Arc::default()).unwrap().restarts;
    }
    assert!(restarts > 3, "{restarts} restarts");
    // What became due meanwhile fires at the first commit.
    std::thread::sleep(Duration::from_millis(45));
    place.write(["last 0 39".to_owned()]);
    let make = || Remind(Falls::every(u64::MAX));
    let topology = topology(3, true, Guarantee::EffectivelyOnce, make);
    topology.run(&place.log, &options(2), &Arc::default()).unwrap();
    let mut fired: Vec<u32> = Vec::new();
    for (key, said) in place.said() {
        fired.extend(said.iter().map(|n| n.parse::<u32>().unwrap()).filter(|_| key != "last"));
    }
    fired.sort_unstable();
    assert_eq!(fired, (0..5000).collect::<Vec<_>>());
}

/// Runs a topology that does not end by itself until `done`.
fn run_until(place: &Place, topology: Topology, done: impl Fn(&Said) -> bool) {
    let progress = Arc::new(Progress::default());
    std::thread::scope(|scope| {
        let running = Arc::clone(&progress);
        let run = scope.spawn(move || topology.run(&place.log, &options(2), &running));
        let end = egret_log::clock::now() + Duration::from_secs(60);
        while egret_log::clock::now() < end && !run.is_finished() {
            let there = place.log.streams().unwrap().iter().any(|stream| stream.name == "out");
            if there && done(&place.said()) {
                break;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        progress.stop();
        run.join().unwrap().unwrap();
    });
    assert!(done(&place.said()), "{:?}", place.said());
}

/// Goes on by itself, timer after timer.
struct Tick;

impl KeyedBolt<str, String, (Blob, String)> for Tick {
    type State = u32;

    fn execute(
        &mut self,
        _: &str,
        _: &mut u32,
        _: String,
        _: &mut Emitter<(Blob, String)>,
        cx: &Context,
    ) -> ComponentResult {
        cx.timers().set(Timer::processing(cx.processing_time() + 20))?;
        Ok(())
    }

    fn on_timer(
        &mut self,
        key: &str,
        n: &mut u32,
        timer: Timer,
        out: &mut Emitter<(Blob, String)>,
        cx: &Context,
    ) -> ComponentResult {
        *n += 1;
        out.emit((Blob::from(key.as_bytes()), n.to_string()));
        cx.timers().set(Timer::processing(timer.ms + 20))?;
        Ok(())
    }
}

#[test]
fn timers_fire_although_nothing_comes_any_more() {
    for guarantee in [Guarantee::EffectivelyOnce, Guarantee::AtLeastOnce, Guarantee::AtMostOnce] {
        let place = Place::new();
        place.write(["a 0 0".to_owned()]);
        let done = |said: &Said| said.get("a").is_some_and(|said| said.len() >= 5);
        run_until(&place, topology(2, false, guarantee, || Tick), done);
        assert_eq!(place.said()["a"][..5], ["1", "2", "3", "4", "5"]);
    }
}

#[test]
fn more_timers_than_fit_a_commit_fire_in_several_and_none_is_lost() {
    let place = Place::new();
    let n = 40_000;
    place.write((0..n).map(|i| format!("k{i} 0 {}", i * 40)));
    let make = || Remind(Falls::every(u64::MAX));
    run_until(&place, topology(1, false, Guarantee::EffectivelyOnce, make), |said| {
        said.len() == usize::try_from(n).unwrap()
    });
}

/// Counts, and a key is gone 100 ms of event time after its last tuple, or its first.
struct Fades(TimeToLive);

impl KeyedBolt<str, String, (Blob, String)> for Fades {
    type State = u32;

    fn execute(
        &mut self,
        key: &str,
        n: &mut u32,
        line: String,
        out: &mut Emitter<(Blob, String)>,
        cx: &Context,
    ) -> ComponentResult {
        *n += 1;
        out.emit((Blob::from(key.as_bytes()), n.to_string()));
        if key == "timed" {
            cx.timers().set(Timer::event(parse(&line).1 + 200))?;
        }
        Ok(())
    }

    fn on_timer(
        &mut self,
        key: &str,
        n: &mut u32,
        _: Timer,
        out: &mut Emitter<(Blob, String)>,
        _: &Context,
    ) -> ComponentResult {
        out.emit((Blob::from(key.as_bytes()), format!("timer {n}")));
        Ok(())
    }

    fn time_to_live(&self) -> Option<TimeToLive> {
        Some(self.0)
    }
}

#[test]
fn keys_are_gone_after_their_time_to_live_whoever_runs_then() {
    let after = Duration::from_millis(100);
    let changed = TimeToLive::event(after).hide_expired();
    for (ttl, busy) in [(changed, "4"), (changed.since_creation(), "1")] {
        let place = Place::new();
        let slices: [(u32, &[&str]); 4] = [
            (1, &["quiet 1000 0", "busy 1000 0", "busy 1000 0", "timed 1000 0", "x 1010 0"]),
            (3, &["busy 1090 0", "x 1090 0"]),
            (2, &["x 1120 0"]),
            (3, &["busy 1150 0", "quiet 1150 0", "x 2000 0"]),
        ];
        for (tasks, lines) in slices {
            place.write(lines.iter().map(ToString::to_string));
            let topology = topology(tasks, true, Guarantee::EffectivelyOnce, move || Fades(ttl));
            topology.run(&place.log, &options(2), &Arc::default()).unwrap();
        }
        let said = place.said();
        assert_eq!(said["quiet"], ["1", "1"]);
        assert_eq!(said["timed"], ["1"], "the timer went with its key");
        assert_eq!(said["busy"], ["1", "2", "3", busy]);
    }
}
