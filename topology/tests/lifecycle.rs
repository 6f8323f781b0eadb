//! What is called on components beside their tuples: ticks, the end, and rest and return of a topology's spouts.

#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a test fails by panicking, and one says where it is"
)]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use egret::runtime::topologies;
use egret::{
    Blob, Bolt, ComponentResult, Context, Emitter, Error, KeyedBolt, LogSink, LogSpout, Next,
    Positions, Progress, Replay, Rescale, RunOptions, Sink, Spout, StatefulBolt, Summary, Timer,
    TopologyBuilder,
};
use egret_log::stream::{ReadFrom, Record, StreamConfig};
use egret_log::{Log, LogConfig, clock};

const LIMIT: Duration = Duration::from_secs(60);

fn open(dir: &tempfile::TempDir) -> Log {
    let log = Log::open(dir.path(), LogConfig::default()).unwrap();
    log.create_stream("in", StreamConfig::default()).unwrap();
    log
}

fn append(log: &Log, words: &[&str]) {
    let records: Vec<_> = words.iter().map(|word| Record::of((*word).to_owned())).collect();
    log.writer("in", 0).unwrap().append_wait(&records).unwrap();
}

/// What can be read of the output, in order.
fn told(log: &Log) -> Vec<String> {
    let Ok(mut reader) = log.reader("out", 0, ReadFrom::Earliest) else { return Vec::new() };
    let mut told = Vec::new();
    while let Some(batch) = reader.next_wait(Duration::ZERO).unwrap() {
        let text = |record: &Record| String::from_utf8(record.value.to_vec()).unwrap();
        told.extend(batch.records.iter().map(text));
    }
    told
}

fn until(what: &str, mut is: impl FnMut() -> bool) {
    let end = clock::now() + LIMIT;
    while !is() {
        assert!(clock::now() < end, "{what}: not after {LIMIT:?}");
        thread::park_timeout(Duration::from_millis(1));
    }
}

/// Ends the run when a test fails, which would wait for it for ever.
struct Ended<'a>(&'a Progress);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.stop();
    }
}

fn options(workers: u32) -> RunOptions {
    RunOptions { workers, commit_ms: 1, silence_ms: 100, ..RunOptions::default() }
}

/// Says how often it ticked and how many tuples it saw, once it ticked twice since the last one.
#[derive(Default)]
struct Ticking {
    tuples: u32,
    ticks: u32,
}

impl Ticking {
    fn tell(&mut self, out: &mut Emitter<Blob>, cx: &Context) {
        self.ticks += 1;
        if self.ticks == 2 {
            out.emit(Blob::from(format!("{}: {}", cx.id(), self.tuples).as_str()));
        }
    }
}

impl Bolt<Blob, Blob> for Ticking {
    fn execute(&mut self, _: Blob, _: &mut Emitter<Blob>, _: &Context) -> ComponentResult {
        (self.tuples, self.ticks) = (self.tuples + 1, 0);
        Ok(())
    }

    fn tick(&mut self, out: &mut Emitter<Blob>, cx: &Context) -> ComponentResult {
        self.tell(out, cx);
        Ok(())
    }
}

impl KeyedBolt<[u8], Blob, Blob> for Ticking {
    type State = u64;

    fn execute(
        &mut self,
        _: &[u8],
        _: &mut u64,
        _: Blob,
        _: &mut Emitter<Blob>,
        _: &Context,
    ) -> ComponentResult {
        (self.tuples, self.ticks) = (self.tuples + 1, 0);
        Ok(())
    }

    fn tick(&mut self, out: &mut Emitter<Blob>, cx: &Context) -> ComponentResult {
        self.tell(out, cx);
        Ok(())
    }
}

impl StatefulBolt<Blob, Blob> for Ticking {
    type State = u64;

    fn execute(
        &mut self,
        _: &mut u64,
        _: Blob,
        _: &mut Emitter<Blob>,
        _: &Context,
    ) -> ComponentResult {
        (self.tuples, self.ticks) = (self.tuples + 1, 0);
        Ok(())
    }

    fn tick(&mut self, out: &mut Emitter<Blob>, cx: &Context) -> ComponentResult {
        self.tell(out, cx);
        Ok(())
    }

    fn rescale(&self) -> Rescale<u64> {
        Rescale::Copy
    }
}

/// No tuple comes for a while: what ticks emit is committed and seen all the same.
#[test]
fn bolts_of_every_kind_tick_and_what_they_emit_is_committed_though_no_tuple_comes() {
    for (kind, workers) in [("plain", 1), ("keyed", 2), ("stateful", 1), ("plain", 2)] {
        let dir = tempfile::tempdir().unwrap();
        let log = open(&dir);
        let mut t = TopologyBuilder::new("ticks");
        let all = t.spout("in", 1, LogSpout::<Blob>::from_stream("in")).unwrap();
        let told_of = match kind {
            "plain" => all.global().bolt("bolt", 1, Ticking::default),
            "keyed" => all.fields(Blob::as_bytes).keyed("bolt", 1, Ticking::default),
            _ => all.global().stateful("bolt", 1, Ticking::default),
        };
        let told_of = told_of.unwrap().tick_every(Duration::from_millis(1)).unwrap();
        told_of.sink("out", LogSink::to_stream("out").partitions(1)).unwrap();
        let topology = t.finish().unwrap();
        let progress = Arc::new(Progress::default());
        let (options, running) = (options(workers), Arc::clone(&progress));
        thread::scope(|scope| {
            let run = scope.spawn(|| topology.run(&log, &options, &running));
            let _ended = Ended(&progress);
            until("the first", || told(&log) == ["bolt/0: 0"]);
            append(&log, &["a", "b"]);
            until("the second", || told(&log).last().is_some_and(|last| last == "bolt/0: 2"));
            progress.stop();
            assert_eq!(run.join().unwrap().unwrap().restarts, 0, "{kind}");
        });
        log.close().unwrap();
    }
}

/// Sets a timer where there is no key.
struct Confused;

impl KeyedBolt<[u8], Blob, Blob> for Confused {
    type State = u64;

    fn execute(
        &mut self,
        _: &[u8],
        _: &mut u64,
        _: Blob,
        _: &mut Emitter<Blob>,
        _: &Context,
    ) -> ComponentResult {
        Ok(())
    }

    fn tick(&mut self, _: &mut Emitter<Blob>, cx: &Context) -> ComponentResult {
        Ok(cx.timers().set(Timer::processing(0))?)
    }
}

#[test]
fn a_timer_that_a_tick_sets_is_nobodys() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir);
    let mut t = TopologyBuilder::new("ticks");
    let all = t.spout("in", 1, LogSpout::<Blob>::from_stream("in")).unwrap();
    let out = all.fields(Blob::as_bytes).keyed("bolt", 1, || Confused).unwrap();
    out.tick_every(Duration::from_millis(1)).unwrap();
    out.sink("out", LogSink::to_stream("out")).unwrap();
    let run = t.finish().unwrap().run(&log, &options(1), &Arc::default());
    let error = run.unwrap_err().to_string();
    assert!(error.contains("timers belong to the key of a keyed bolt"), "{error}");
    log.close().unwrap();
}

/// Who was closed, in order.
#[derive(Clone, Default)]
struct Closed(Arc<Mutex<Vec<String>>>);

impl Closed {
    fn add(&self, cx: &Context) {
        self.0.lock().unwrap().push(cx.id().to_string());
    }

    fn take(&self) -> Vec<String> {
        let mut closed = std::mem::take(&mut *self.0.lock().unwrap());
        closed.sort();
        closed
    }
}

/// Emits the numbers up to ten, and rests when it is told to.
struct Numbers {
    closed: Closed,
    next: u8,
    rests: bool,
    rested: Arc<AtomicU32>,
}

impl Spout<Blob> for Numbers {
    fn replay(&self) -> Replay {
        Replay::Positional
    }

    fn open(&mut self, cx: &Context, committed: &Positions) -> ComponentResult {
        let at = committed.get(&vec![cx.id().task.try_into().unwrap()]);
        self.next = at.map_or(0, |at| at[0]);
        Ok(())
    }

    fn next(&mut self, _: usize, out: &mut Emitter<Blob>, _: &Context) -> ComponentResult<Next> {
        assert!(!self.rests, "it is to rest");
        if self.next == 10 {
            return Ok(Next::Done);
        }
        out.emit(Blob::from(self.next.to_string().as_str()));
        self.next += 1;
        Ok(Next::More)
    }

    fn positions(&self) -> Positions {
        [(vec![0], vec![self.next])].into()
    }

    fn deactivate(&mut self, _: &Context) -> ComponentResult {
        self.rests = true;
        self.rested.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn activate(&mut self, _: &Context) -> ComponentResult {
        self.rests = false;
        Ok(())
    }

    fn close(&mut self, cx: &Context) {
        self.closed.add(cx);
    }
}

/// Sends tuples on, and fails at some of them.
struct Pass(Closed, Arc<AtomicU32>);

impl Bolt<Blob, Blob> for Pass {
    fn execute(&mut self, tuple: Blob, out: &mut Emitter<Blob>, _: &Context) -> ComponentResult {
        let fails = &self.1;
        if &tuple[..] == b"5" && fails.load(Ordering::Relaxed) > 0 {
            fails.fetch_sub(1, Ordering::Relaxed);
            return Err("five".into());
        }
        out.emit(tuple);
        Ok(())
    }

    fn close(&mut self, cx: &Context) {
        self.0.add(cx);
        panic!("nothing depends on it");
    }
}

impl KeyedBolt<[u8], Blob, Blob> for Pass {
    type State = u64;

    fn execute(
        &mut self,
        _: &[u8],
        _: &mut u64,
        tuple: Blob,
        out: &mut Emitter<Blob>,
        _: &Context,
    ) -> ComponentResult {
        out.emit(tuple);
        Ok(())
    }

    fn close(&mut self, cx: &Context) {
        self.0.add(cx);
    }
}

impl StatefulBolt<Blob, Blob> for Pass {
    type State = u64;

    fn execute(
        &mut self,
        _: &mut u64,
        tuple: Blob,
        out: &mut Emitter<Blob>,
        _: &Context,
    ) -> ComponentResult {
        out.emit(tuple);
        Ok(())
    }

    fn close(&mut self, cx: &Context) {
        self.0.add(cx);
    }

    fn rescale(&self) -> Rescale<u64> {
        Rescale::Copy
    }
}

struct Nowhere(Closed);

impl Sink<Blob> for Nowhere {
    fn write(&mut self, _: Blob, _: &Context) -> ComponentResult {
        Ok(())
    }

    fn close(&mut self, cx: &Context) {
        self.0.add(cx);
    }
}

fn pass(
    log: &Log,
    closed: &Closed,
    fails: u32,
    (rested, progress): (&Arc<AtomicU32>, &Arc<Progress>),
) -> Result<Summary, Error> {
    let mut t = TopologyBuilder::new("pass");
    t.guarantee(egret::Guarantee::AtLeastOnce);
    let fails = Arc::new(AtomicU32::new(fails));
    let (all, rested) = (closed.clone(), Arc::clone(rested));
    let spout = move || {
        let (closed, rested) = (all.clone(), Arc::clone(&rested));
        Numbers { closed, next: 0, rests: false, rested }
    };
    let (a, b, c, d) = (closed.clone(), closed.clone(), closed.clone(), closed.clone());
    let (e, f, g) = (Arc::clone(&fails), Arc::clone(&fails), fails);
    let all = t.spout("in", 1, spout)?;
    let all = all.shuffle().bolt("plain", 2, move || Pass(a.clone(), Arc::clone(&e)))?;
    let all =
        all.fields(Blob::as_bytes).keyed("keyed", 2, move || Pass(b.clone(), Arc::clone(&f)))?;
    let all = all.shuffle().stateful("stateful", 1, move || Pass(c.clone(), Arc::clone(&g)))?;
    all.shuffle().sink("out", 1, move || Nowhere(d.clone()))?;
    t.finish()?.run(log, &options(2), progress)
}

#[test]
fn components_are_closed_once_when_the_topology_ends_in_order_and_else_not() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir);
    let (closed, none) = (Closed::default(), (Arc::default(), Arc::default()));
    let none = (&none.0, &none.1);
    // All generations fail: nobody is closed.
    let error = pass(&log, &closed, u32::MAX, none).unwrap_err().to_string();
    assert!(error.contains("plain/") && error.contains("five"), "{error}");
    assert_eq!(closed.take(), Vec::<String>::new());
    // One fails, and the next ends.
    assert_eq!(pass(&log, &closed, 1, none).unwrap().restarts, 1);
    let all = ["in/0", "keyed/0", "keyed/1", "out/0", "plain/0", "plain/1", "stateful/0"];
    assert_eq!(closed.take(), all);
    log.close().unwrap();
}

#[test]
fn a_topology_that_was_deactivated_rests_wherever_it_runs_until_it_is_activated() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir);
    let (closed, rested) = (Closed::default(), Arc::new(AtomicU32::new(0)));
    let refused = topologies::deactivate(&log, "pass").unwrap_err().to_string();
    assert!(refused.contains("there is no topology `pass` here"), "{refused}");
    let progress = Arc::default();
    pass(&log, &closed, u32::MAX, (&rested, &progress)).unwrap_err();
    assert!(progress.is_active() && topologies::list(&log).unwrap()[0].active);

    topologies::deactivate(&log, "pass").unwrap();
    topologies::deactivate(&log, "pass").unwrap();
    assert!(!topologies::list(&log).unwrap()[0].active);
    // It begins inactive, and so does every generation of it: its spout panics when it is asked for anything.
    for round in 0..2 {
        let progress = Arc::new(Progress::default());
        let running = Arc::clone(&progress);
        thread::scope(|scope| {
            let run = scope.spawn(|| pass(&log, &closed, 0, (&rested, &running)));
            until("rest", || rested.load(Ordering::Relaxed) > round);
            assert!(!progress.is_active());
            if round == 1 {
                topologies::activate(&log, "pass").unwrap();
                until("the end", || run.is_finished());
                assert!(progress.is_active());
                assert!(progress.tuples() > 0, "what was left");
            } else {
                progress.stop();
            }
            assert_eq!(run.join().unwrap().unwrap().restarts, 0);
        });
    }
    assert_eq!(rested.load(Ordering::Relaxed), 2);
    assert!(topologies::list(&log).unwrap()[0].active);
    log.close().unwrap();
}

#[test]
fn a_topology_under_way_rests_when_it_is_deactivated_and_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir);
    let mut t = TopologyBuilder::new("copy");
    let all = t.spout("in", 1, LogSpout::<Blob>::from_stream("in")).unwrap();
    all.sink("out", LogSink::to_stream("out").partitions(1)).unwrap();
    let topology = t.finish().unwrap();
    let progress = Arc::new(Progress::default());
    let (options, running) = (options(2), Arc::clone(&progress));
    append(&log, &["a"]);
    thread::scope(|scope| {
        let run = scope.spawn(|| topology.run(&log, &options, &running));
        let _ended = Ended(&progress);
        until("a", || told(&log) == ["a"]);
        topologies::deactivate(&log, "copy").unwrap();
        until("rest", || !progress.is_active());
        append(&log, &["b"]);
        topologies::activate(&log, "copy").unwrap();
        until("b", || told(&log) == ["a", "b"]);
        until("active", || progress.is_active());
        progress.stop();
        assert_eq!(run.join().unwrap().unwrap().restarts, 0);
    });
    log.close().unwrap();
}

#[test]
#[ignore = "run by the test below, which reads what it says"]
fn starts_inactive() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir);
    let (closed, rested) = (Closed::default(), Arc::new(AtomicU32::new(0)));
    pass(&log, &closed, u32::MAX, (&rested, &Arc::default())).unwrap_err();
    eprintln!("first run over");
    topologies::deactivate(&log, "pass").unwrap();
    let progress = Arc::new(Progress::default());
    thread::scope(|scope| {
        let run = scope.spawn(|| pass(&log, &closed, 0, (&rested, &progress)));
        until("rest", || rested.load(Ordering::Relaxed) > 0);
        progress.stop();
        run.join().unwrap().unwrap();
    });
    log.close().unwrap();
}

/// Whoever started it waited for results, and nobody said why none came.
#[test]
fn a_topology_that_is_started_inactive_says_so() {
    let mut own = std::process::Command::new(std::env::current_exe().unwrap());
    let ran =
        own.args(["--exact", "starts_inactive", "--ignored", "--nocapture"]).output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
    let said = String::from_utf8(ran.stderr).unwrap();
    let (before, after) = said.split_once("first run over").unwrap();
    let inactive = "topology `pass` is inactive: it runs, and reads nothing until it is told to, with `egret topology activate pass`";
    assert!(after.contains(inactive) && !before.contains("is inactive"), "{said}");
    assert_eq!(after.matches("is inactive").count(), 1, "it is said once: {said}");
}
