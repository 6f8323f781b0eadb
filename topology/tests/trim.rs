//! What commits leave behind is deleted, after the commits are seen.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and says what it skips")]

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use egret::{
    Blob, ComponentResult, Context, Emitter, KeyedBolt, LogSink, LogSpout, Progress, RunOptions,
    Topology, TopologyBuilder,
};
use egret_log::client::{Copies, Ledgers};
use egret_log::metadata::{
    Compare, LeaseId, Listing, MetaError, MetaStore, Op, TxnOutcome, Versioned, Watch,
};
use egret_log::stream::{ReadFrom, Record, StreamConfig};
use egret_log::{Log, LogConfig, clock};
use egret_schemas::Epoch;
use egret_state::commit::TopologyRecord;

struct Count;

impl KeyedBolt<[u8], Blob, (Blob, u64)> for Count {
    type State = u64;

    fn execute(
        &mut self,
        line: &[u8],
        n: &mut u64,
        _: Blob,
        out: &mut Emitter<(Blob, u64)>,
        _: &Context,
    ) -> ComponentResult {
        *n += 1;
        out.emit((Blob::from(line), *n));
        Ok(())
    }
}

/// A metadata store that looks at the output whenever the topology raises its trim floor.
#[derive(Debug)]
struct Watched {
    inner: Arc<dyn MetaStore>,
    log: Log,
    floor: Mutex<Epoch>,
    /// How often the floor was raised, and how often a later commit was visible then.
    raised: AtomicU32,
    seen: AtomicU32,
    /// Whether it waits for another commit then, and how often there was one.
    waits: bool,
    went_on: AtomicU32,
}

impl Watched {
    fn over(log: &Log, waits: bool) -> Arc<Watched> {
        Arc::new(Watched {
            inner: Arc::clone(log.metadata()),
            log: log.clone(),
            floor: Mutex::new(Epoch(0)),
            raised: AtomicU32::new(0),
            seen: AtomicU32::new(0),
            waits,
            went_on: AtomicU32::new(0),
        })
    }

    fn visible(&self) -> Epoch {
        let mut reader = self.log.reader("counts", 0, ReadFrom::Earliest).unwrap();
        let mut visible = Epoch(0);
        while let Some(batch) = reader.next_wait(Duration::ZERO).unwrap() {
            visible = batch.epoch;
        }
        visible
    }

    fn goes_on(&self, from: Epoch) -> bool {
        let until = clock::now() + Duration::from_secs(10);
        loop {
            append(&self.log);
            match self.visible() {
                now if now > from => return true,
                _ if clock::now() > until => return false,
                _ => std::thread::yield_now(),
            }
        }
    }
}

impl MetaStore for Watched {
    fn get(&self, key: &str) -> Result<Option<Versioned>, MetaError> {
        self.inner.get(key)
    }

    fn list(&self, prefix: &str) -> Result<Listing, MetaError> {
        self.inner.list(prefix)
    }

    fn txn(&self, compares: &[Compare], ops: &[Op]) -> Result<TxnOutcome, MetaError> {
        for op in ops {
            if let Op::Put(key, value) = op
                && key == "/topology/copies"
            {
                let floor = TopologyRecord::decode(value).unwrap().floor;
                if std::mem::replace(&mut *self.floor.lock().unwrap(), floor) < floor {
                    let visible = self.visible();
                    self.seen.fetch_add(u32::from(visible > floor), Ordering::Relaxed);
                    self.raised.fetch_add(1, Ordering::Relaxed);
                    if self.waits && self.goes_on(visible) {
                        self.went_on.fetch_add(1, Ordering::Relaxed);
                    }
                }
            }
        }
        self.inner.txn(compares, ops)
    }

    fn grant(&self, ttl_ms: u64) -> Result<LeaseId, MetaError> {
        self.inner.grant(ttl_ms)
    }

    fn keep_alive(&self, lease: LeaseId) -> Result<u64, MetaError> {
        self.inner.keep_alive(lease)
    }

    fn revoke(&self, lease: LeaseId) -> Result<(), MetaError> {
        self.inner.revoke(lease)
    }

    fn watch(&self, prefix: &str, from_revision: u64) -> Result<Watch, MetaError> {
        self.inner.watch(prefix, from_revision)
    }
}

fn append(log: &Log) {
    let records = vec![Record::of("a line"); 30];
    log.writer("lines", 0).unwrap().append_wait(&records).unwrap();
}

fn copies() -> Topology {
    let mut t = TopologyBuilder::new("copies");
    let lines = t.spout("lines", 1, LogSpout::<Blob>::from_stream("lines")).unwrap();
    let counts = lines.fields(|line| line.as_bytes()).keyed("count", 1, || Count).unwrap();
    counts.sink("out", LogSink::to_stream("counts").partitions(1)).unwrap();
    t.finish().unwrap()
}

/// Once, ledgers were deleted before anyone heard of the commit that made them unneeded: each such
/// commit took as much longer to be seen.
#[test]
fn a_commit_is_seen_before_what_it_left_is_trimmed() {
    let dir = tempfile::tempdir().unwrap();
    let under = Log::open(dir.path(), LogConfig::default()).unwrap();
    under.create_stream("lines", StreamConfig::default()).unwrap();
    let watched = Watched::over(&under, false);
    let bookies = Arc::clone(under.ledgers().bookies());
    let log = Log::on(Ledgers::new(bookies, Copies::ONE, watched.clone())).unwrap();
    let topology = copies();
    let options = RunOptions { commit_ms: 5, ..RunOptions::default() };
    // Takeovers leave ledgers, to be trimmed after a commit; not each of them does. The last commit of a
    // run is trimmed while its workers end; when trimming is part of a commit, none is ever seen first.
    for _ in 0..50 {
        append(&under);
        let progress = Arc::new(Progress::default());
        let raised = watched.raised.load(Ordering::Relaxed);
        std::thread::scope(|scope| {
            let runner = scope.spawn(|| topology.run(&log, &options, &progress).unwrap());
            let until = |limit, reached: &dyn Fn() -> bool| {
                let deadline = clock::now() + limit;
                while !reached() && !runner.is_finished() && clock::now() < deadline {
                    std::thread::yield_now();
                }
            };
            until(Duration::from_secs(20), &|| progress.commits() > 0);
            until(Duration::from_millis(100), &|| watched.raised.load(Ordering::Relaxed) > raised);
            progress.stop();
            runner.join().unwrap();
        });
        if watched.seen.load(Ordering::Relaxed) > 0 {
            break;
        }
    }
    assert!(watched.raised.load(Ordering::Relaxed) > 0, "nothing was trimmed");
    assert!(watched.seen.load(Ordering::Relaxed) > 0, "each trim came before its commit was seen");
    log.close().unwrap();
    under.close().unwrap();
}

/// Once, the first worker did nothing else while it deleted ledgers: commits were as late as that took.
#[test]
fn commits_go_on_while_what_they_left_is_trimmed() {
    let dir = tempfile::tempdir().unwrap();
    let under = Log::open(dir.path(), LogConfig::default()).unwrap();
    under.create_stream("lines", StreamConfig::default()).unwrap();
    let watched = Watched::over(&under, true);
    let bookies = Arc::clone(under.ledgers().bookies());
    let log = Log::on(Ledgers::new(bookies, Copies::ONE, watched.clone())).unwrap();
    let topology = copies();
    let options = RunOptions { commit_ms: 5, ..RunOptions::default() };
    // Takeovers leave ledgers to trim; not each of them does.
    for _ in 0..50 {
        if watched.went_on.load(Ordering::Relaxed) > 0 {
            break;
        }
        append(&under);
        let progress = Arc::new(Progress::default());
        std::thread::scope(|scope| {
            let runner = scope.spawn(|| topology.run(&log, &options, &progress).unwrap());
            let until = clock::now() + Duration::from_millis(500);
            let trimmed = || watched.went_on.load(Ordering::Relaxed) > 0;
            while !trimmed() && clock::now() < until && !runner.is_finished() {
                append(&under);
                std::thread::yield_now();
            }
            progress.stop();
            runner.join().unwrap();
        });
    }
    assert!(watched.went_on.load(Ordering::Relaxed) > 0, "no commit was seen during a trim");
    log.close().unwrap();
    under.close().unwrap();
}
