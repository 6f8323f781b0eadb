//! **A commit completes while everything is full**: a bolt that is slower than its input fills what may be in
//! flight, and commits go on all the same, one after the other, though the input does not end meanwhile.
//!
//! Control: a bolt that goes no further at all must be without a commit; else commits would be made of nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use egret::{
    Blob, ComponentResult, Context, Emitter, KeyedBolt, LogSink, LogSpout, Progress, RunOptions,
    Topology, TopologyBuilder,
};
use egret_log::stream::{Record, StreamConfig};
use egret_log::{Log, LogConfig, clock};

/// Bytes that may be in flight.
const FULL: usize = 1 << 20;

/// Bytes of a record.
const RECORD: usize = 4 << 10;

/// Far longer than it takes.
const WAIT: Duration = Duration::from_secs(60);

/// What the slow bolt does: whether it has begun, its tuples so far, what it waits for, whether it is to hurry.
#[derive(Default)]
struct Pace {
    begun: AtomicBool,
    done: AtomicU64,
    held: AtomicBool,
    over: AtomicBool,
}

struct Slow(Arc<Pace>);

impl KeyedBolt<[u8], Blob, (Blob, u64)> for Slow {
    type State = u64;

    fn execute(
        &mut self,
        key: &[u8],
        count: &mut u64,
        _: Blob,
        out: &mut Emitter<(Blob, u64)>,
        _: &Context,
    ) -> ComponentResult {
        *count += 1;
        out.emit((Blob::from(key), *count));
        self.0.begun.store(true, Ordering::Release);
        while self.0.held.load(Ordering::Acquire) {
            thread::yield_now();
        }
        // Busy, not asleep: a bolt that takes its time.
        let until = clock::now() + Duration::from_micros(2000);
        while clock::now() < until && !self.0.over.load(Ordering::Acquire) {
            std::hint::spin_loop();
        }
        self.0.done.fetch_add(1, Ordering::AcqRel);
        Ok(())
    }
}

fn topology(pace: &Arc<Pace>) -> Topology {
    let mut t = TopologyBuilder::new("slow");
    let lines = t.spout("lines", 1, LogSpout::<Blob>::from_stream("lines")).unwrap();
    let make = {
        let pace = Arc::clone(pace);
        move || Slow(Arc::clone(&pace))
    };
    let counts = lines.fields(|line: &Blob| &line.as_bytes()[..1]).keyed("slow", 2, make).unwrap();
    counts.sink("counts", LogSink::to_stream("counts").partitions(1)).unwrap();
    t.finish().unwrap()
}

/// A log with more input than can be in flight or is worked on meanwhile.
fn filled() -> (tempfile::TempDir, Log, u64) {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogConfig::default()).unwrap();
    log.create_stream("lines", StreamConfig { partitions: 1, ..StreamConfig::default() }).unwrap();
    let writer = log.writer("lines", 0).unwrap();
    let records = 40 * FULL / RECORD;
    for nth in (0..records).step_by(64) {
        let record = |n: usize| Record::of(vec![b'a' + u8::try_from(n % 16).unwrap(); RECORD]);
        writer.append_wait(&(nth..nth + 64).map(record).collect::<Vec<_>>()).unwrap();
    }
    (dir, log, records as u64)
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let end: Instant = clock::now() + WAIT;
    while !done() {
        assert!(clock::now() < end, "{what}: not within a minute");
        thread::yield_now();
    }
}

fn options() -> RunOptions {
    RunOptions {
        workers: 2,
        commit_ms: 20,
        in_flight_bytes_max: FULL,
        epoch_bytes_max: FULL,
        ..RunOptions::default()
    }
}

#[test]
fn commits_go_on_while_a_slow_bolt_holds_everything_back() {
    let (_dir, log, records) = filled();
    let (pace, progress) = (Arc::<Pace>::default(), Arc::<Progress>::default());
    thread::scope(|scope| {
        let running = scope.spawn(|| topology(&pace).run(&log, &options(), &progress));
        let over = Over(&pace, &progress);
        // More than waits for it the bolt need not have: an epoch takes what can be read in its time.
        until("much is in flight", || progress.peak_bytes() >= FULL / 4);
        for _ in 0..5 {
            let before = progress.commits();
            until("a commit", || progress.commits() > before);
        }
        let done = pace.done.load(Ordering::Acquire);
        assert!(done < records / 2, "{done} of {records}: the input was as good as over");
        assert!(progress.peak_bytes() < 3 * FULL, "{} bytes in flight", progress.peak_bytes());
        drop(over);
        running.join().unwrap().unwrap();
    });
    log.close().unwrap();
}

#[test]
fn control_a_bolt_that_goes_no_further_lets_no_commit_be_made() {
    let (_dir, log, _) = filled();
    let (pace, progress) = (Arc::<Pace>::default(), Arc::<Progress>::default());
    pace.held.store(true, Ordering::Release);
    thread::scope(|scope| {
        let running = scope.spawn(|| topology(&pace).run(&log, &options(), &progress));
        let over = Over(&pace, &progress);
        until("something is worked on", || pace.begun.load(Ordering::Acquire));
        // Many commits' time.
        let end = clock::now() + Duration::from_millis(500);
        until("a while", || clock::now() > end);
        assert_eq!(progress.commits(), 0, "a commit is made of what was not worked on");
        pace.held.store(false, Ordering::Release);
        until("a commit", || progress.commits() > 0);
        drop(over);
        running.join().unwrap().unwrap();
    });
    log.close().unwrap();
}

/// Ends the run, by a failed assertion too.
struct Over<'a>(&'a Pace, &'a Progress);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.held.store(false, Ordering::Release);
        self.0.over.store(true, Ordering::Release);
        self.1.stop();
    }
}
