//! Bolts that wait for answers: so many at once, in order or not, each in its time, and all before the commit.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context as Polled, Poll};
use std::thread;
use std::time::Duration;

use egret::{
    Blob, BuildError, Calls, ComponentResult, DeadLetter, Emitter, Error, LogSink, LogSpout,
    OnError, Progress, RunOptions, Stream, Then, TopologyBuilder,
};
use egret_log::stream::{Format, ReadFrom, Record, StreamConfig};
use egret_log::{Log, LogConfig, clock};
use tokio::sync::{Barrier, Notify};

const LIMIT: Duration = Duration::from_secs(60);

fn open(dir: &tempfile::TempDir, records: u32) -> Log {
    let log = Log::open(dir.path(), LogConfig::default()).unwrap();
    log.create_stream("in", StreamConfig::default()).unwrap();
    append(&log, 0..records);
    log
}

fn append(log: &Log, numbers: std::ops::Range<u32>) {
    let records: Vec<_> = numbers.map(|n| Record::of(n.to_string())).collect();
    log.writer("in", 0).unwrap().append_wait(&records).unwrap();
}

fn records(log: &Log, stream: &str, format: &Format) -> Vec<String> {
    let Ok(mut reader) = log.reader_of(stream, 0, ReadFrom::Earliest, format) else {
        return Vec::new();
    };
    let mut told = Vec::new();
    while let Some(batch) = reader.next_wait(Duration::ZERO).unwrap() {
        let text = |record: &Record| String::from_utf8(record.value.to_vec()).unwrap();
        told.extend(batch.records.iter().map(text));
    }
    told
}

fn told(log: &Log) -> Vec<String> {
    records(log, "out", &Format::Bytes)
}

fn numbers(numbers: impl IntoIterator<Item = u32>) -> Vec<String> {
    numbers.into_iter().map(|n| n.to_string()).collect()
}

fn options(workers: u32) -> RunOptions {
    RunOptions { workers, commit_ms: 1, ..RunOptions::default() }
}

fn number(tuple: &Blob) -> u32 {
    std::str::from_utf8(tuple).unwrap().parse().unwrap()
}

fn until(what: &str, mut is: impl FnMut() -> bool) {
    let end = clock::now() + LIMIT;
    while !is() {
        assert!(clock::now() < end, "{what}: not after {LIMIT:?}");
        thread::park_timeout(Duration::from_millis(1));
    }
}

/// A call is answered when the three beside it are made, the later ones first: none is made too many, and what they
/// answer is in order.
#[test]
fn so_many_calls_are_made_at_once_and_what_they_answer_is_in_order() {
    for ordered in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let log = open(&dir, 400);
        let (now, most) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
        let (barrier, seen) = (Arc::new(Barrier::new(4)), Arc::clone(&most));
        let mut t = TopologyBuilder::new("calls");
        let all = t.spout("in", 1, LogSpout::<Blob>::from_stream("in").bounded()).unwrap();
        let calls = Calls::at_once(4).timeout(LIMIT);
        let calls = if ordered { calls } else { calls.unordered() };
        let called = all.shuffle().call("call", 1, calls, move || {
            let (now, most, barrier) = (Arc::clone(&now), Arc::clone(&most), Arc::clone(&barrier));
            move |tuple: Blob| {
                let (now, most, barrier) =
                    (Arc::clone(&now), Arc::clone(&most), Arc::clone(&barrier));
                async move {
                    most.fetch_max(now.fetch_add(1, Ordering::Relaxed) + 1, Ordering::Relaxed);
                    barrier.wait().await;
                    for _ in 0..8 - number(&tuple) % 8 {
                        tokio::task::yield_now().await;
                    }
                    now.fetch_sub(1, Ordering::Relaxed);
                    Ok([tuple])
                }
            }
        });
        called.unwrap().sink("out", LogSink::to_stream("out").partitions(1)).unwrap();
        t.finish().unwrap().run(&log, &options(1), &Arc::default()).unwrap();
        let mut told = told(&log);
        if !ordered {
            told.sort_by_key(|n| n.parse::<u32>().unwrap());
        }
        assert_eq!(told, numbers(0..400));
        assert_eq!(seen.load(Ordering::Relaxed), 4);
        log.close().unwrap();
    }
}

#[test]
fn a_commit_is_made_when_its_calls_are_answered() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir, 3);
    let (made, gate) = (Arc::new(AtomicU32::new(0)), Arc::new(Notify::new()));
    let (calls_made, opens) = (Arc::clone(&made), Arc::clone(&gate));
    let mut t = TopologyBuilder::new("calls");
    let all = t.spout("in", 1, LogSpout::<Blob>::from_stream("in")).unwrap();
    let called = all.shuffle().call("call", 1, Calls::at_once(10).timeout(LIMIT), move || {
        let (made, gate) = (Arc::clone(&made), Arc::clone(&gate));
        move |tuple: Blob| {
            let (made, gate) = (Arc::clone(&made), Arc::clone(&gate));
            async move {
                let waits = gate.notified();
                made.fetch_add(1, Ordering::Relaxed);
                waits.await;
                Ok(vec![tuple.clone(), tuple])
            }
        }
    });
    called.unwrap().sink("out", LogSink::to_stream("out").partitions(1)).unwrap();
    let (topology, progress) = (t.finish().unwrap(), Arc::new(Progress::default()));
    thread::scope(|scope| {
        let (log, running) = (&log, Arc::clone(&progress));
        let run = scope.spawn(move || topology.run(log, &options(2), &running));
        until("the calls", || calls_made.load(Ordering::Relaxed) == 3);
        assert_eq!((progress.commits(), told(log)), (0, Vec::new()));
        // One after the other: each was waiting before it was counted, or finds that it may go.
        (0..3).for_each(|_| opens.notify_one());
        until("answers", || {
            opens.notify_one();
            told(log) == ["0", "0", "1", "1", "2", "2"]
        });
        progress.stop();
        assert_eq!(run.join().unwrap().unwrap().restarts, 0);
    });
    log.close().unwrap();
}

/// Every seventh call never answers, and every eleventh panics; some are good when they are made again.
#[test]
fn calls_that_fail_are_made_again_or_set_aside_and_the_others_are_exact_over_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir, 0);
    let results = Arc::new(AtomicU32::new(0));
    let tries = Arc::new(Mutex::new(BTreeMap::<u32, u32>::new()));
    let mut restarts = 0;
    for round in 0..3 {
        append(&log, round * 50..(round + 1) * 50);
        let mut t = TopologyBuilder::new("calls");
        let all = t.spout("in", 1, LogSpout::<Blob>::from_stream("in").bounded()).unwrap();
        let (tries, results) = (Arc::clone(&tries), Arc::clone(&results));
        let calls = Calls::at_once(8).timeout(Duration::from_millis(20)).unordered();
        let called = all.shuffle().call("call", 2, calls, move || {
            let tries = Arc::clone(&tries);
            move |tuple: Blob| {
                let n = number(&tuple);
                let tried = {
                    let mut tries = tries.lock().unwrap();
                    let tried = tries.entry(n).or_default();
                    *tried += 1;
                    *tried
                };
                async move {
                    match n % 11 {
                        0 => panic!("eleven"),
                        1 if tried == 1 => return Err("once".into()),
                        _ => {}
                    }
                    if n.is_multiple_of(7) {
                        std::future::pending::<()>().await;
                    }
                    Ok(Some(tuple)) as ComponentResult<_>
                }
            }
        });
        let backoff = Duration::from_millis(1);
        let policy = OnError::Retry { times: 1, backoff, then: Then::DeadLetter };
        let called = called.unwrap().on_error(policy).unwrap();
        let letters: Stream<DeadLetter<Blob>> = called.dead_letters().unwrap();
        letters.sink("letters", LogSink::to_stream("letters").partitions(1)).unwrap();
        let passed = called.shuffle().bolt("trap", 1, move || {
            let results = Arc::clone(&results);
            move |tuple: Blob, out: &mut Emitter<Blob>| {
                let n = results.fetch_add(1, Ordering::Relaxed);
                assert!(n != 20 && n != 90, "a trap after {n}");
                out.emit(tuple);
            }
        });
        passed.unwrap().sink("out", LogSink::to_stream("out").partitions(1)).unwrap();
        let run = t.finish().unwrap().run(&log, &options(2), &Arc::default());
        restarts += run.unwrap().restarts;
    }
    assert_eq!(restarts, 2);
    let bad = |n: &u32| n.is_multiple_of(7) || n.is_multiple_of(11);
    let mut told = told(&log);
    told.sort_by_key(|n| n.parse::<u32>().unwrap());
    assert_eq!(told, numbers((0..150).filter(|n| !bad(n))));
    let letters = records(&log, "letters", &Format::Json);
    let letters =
        letters.iter().map(|json| serde_json::from_str::<DeadLetter<String>>(json).unwrap());
    let mut buried: Vec<_> = letters
        .map(|letter| {
            let DeadLetter { tuple, error, tries, .. } = letter;
            let n: u32 = tuple.parse().unwrap();
            let wanted =
                if n.is_multiple_of(11) { "panicked: eleven" } else { "no answer after 20 ms" };
            assert_eq!((error.as_str(), tries), (wanted, 2), "{n}");
            n
        })
        .collect();
    buried.sort_unstable();
    assert_eq!(buried, (0..150).filter(bad).collect::<Vec<_>>());
    log.close().unwrap();
}

#[test]
fn a_call_that_fails_fails_the_generation_unless_something_else_was_said() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir, 5);
    let mut t = TopologyBuilder::new("calls");
    let all = t.spout("in", 1, LogSpout::<Blob>::from_stream("in").bounded()).unwrap();
    let called =
        all.shuffle().call("call", 1, Calls::at_once(3), || {
            |tuple: Blob| async move {
                if number(&tuple) == 3 { Err("three".into()) } else { Ok([tuple]) }
            }
        });
    called.unwrap().sink("out", LogSink::to_stream("out").partitions(1)).unwrap();
    let error = t.finish().unwrap().run(&log, &options(1), &Arc::default()).unwrap_err();
    assert!(error.to_string().contains("task call/0: three"), "{error}");
    log.close().unwrap();
}

#[test]
fn calls_that_cannot_be_are_refused() {
    let mut t = TopologyBuilder::new("calls");
    let all = t.spout("in", 1, LogSpout::<Blob>::from_stream("in")).unwrap();
    for calls in
        [Calls::at_once(0), Calls::at_once(5000), Calls::at_once(1).timeout(Duration::ZERO)]
    {
        let made =
            all.shuffle().call("call", 1, calls, || |tuple: Blob| async move { Ok([tuple]) });
        let refused = made.unwrap_err();
        let is_calls =
            matches!(&refused, Error::Build(why) if matches!(**why, BuildError::Calls { .. }));
        assert!(is_calls, "{refused}");
    }
}

/// Never answers, and panics when it is given up.
struct Grudge;

impl Future for Grudge {
    type Output = ComponentResult<Vec<Blob>>;

    fn poll(self: Pin<&mut Self>, _: &mut Polled<'_>) -> Poll<Self::Output> {
        Poll::Pending
    }
}

impl Drop for Grudge {
    fn drop(&mut self) {
        panic!("a grudge");
    }
}

/// Once, nobody was told: the commit waited for the answer for ever.
#[test]
fn a_call_that_panics_where_that_is_no_answer_fails_the_generation() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir, 1);
    let mut t = TopologyBuilder::new("grudge");
    let all = t.spout("in", 1, LogSpout::<Blob>::from_stream("in").bounded()).unwrap();
    let calls = Calls::at_once(1).timeout(Duration::from_millis(5));
    let called = all.shuffle().call("ask", 1, calls, || |_: Blob| Grudge).unwrap();
    called.sink("out", LogSink::to_stream("out").partitions(1)).unwrap();
    let options = RunOptions { tries: 1, ..options(1) };
    let progress = Arc::new(Progress::default());
    let error = t.finish().unwrap().run(&log, &options, &progress).unwrap_err().to_string();
    assert!(error.contains("ask/0") && error.contains("without an answer"), "{error}");
    log.close().unwrap();
}
