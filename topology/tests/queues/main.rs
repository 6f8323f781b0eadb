//! Queues that only acknowledge: no message is lost, whatever fails; and not acknowledged before its commit.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod client;
mod server;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Duration;

use client::{Client, Told};
use egret::connect::QueueSpout;
use egret::runtime::topologies;
use egret::testing::TopologyTest;
use egret::{
    ComponentResult, Context, Emitter, Error, Guarantee, KeyedBolt, LogSink, OnError, Progress,
    RunOptions, Stream, Summary, Then, TopologyBuilder,
};
use egret_log::{Log, LogConfig, clock};
use server::Server;

const LIMIT: Duration = Duration::from_secs(60);

const MESSAGES: u32 = 60;

/// A second of those topologies that are slow.
const SECOND: Duration = Duration::from_millis(20);

/// Lets the first of equal messages through.
struct First;

impl KeyedBolt<u64, u32, u32> for First {
    type State = bool;
    fn execute(
        &mut self,
        _: &u64,
        seen: &mut bool,
        message: u32,
        out: &mut Emitter<u32>,
        _: &Context,
    ) -> ComponentResult {
        if !std::mem::replace(seen, true) {
            out.emit(message);
        }
        Ok(())
    }
}

struct Count;

impl KeyedBolt<u64, u32, String> for Count {
    type State = u64;
    fn execute(
        &mut self,
        _: &u64,
        n: &mut u64,
        message: u32,
        out: &mut Emitter<String>,
        _: &Context,
    ) -> ComponentResult {
        *n += 1;
        out.emit(message.to_string());
        Ok(())
    }
}

/// Messages into a stream as they come, and counted where each is let through once.
fn counting(t: &mut TopologyBuilder, messages: &Stream<u32>) -> egret::Result<()> {
    t.guarantee(Guarantee::AtLeastOnce);
    let lines = || |message: u32, out: &mut Emitter<String>| out.emit(message.to_string());
    messages.shuffle().bolt("lines", 2, lines)?.sink("out", LogSink::to_stream("out"))?;
    let first = messages.fields_by(|n| u64::from(*n)).keyed("first", 2, || First)?;
    let counts = first.fields_by(|n| u64::from(*n)).keyed("count", 2, || Count)?;
    counts.sink("counted", LogSink::to_stream("counted"))
}

/// What came of the messages, when the topology is killed somewhere.
struct Seen {
    lines: usize,
    different: usize,
    counts: Vec<u64>,
    kills: u32,
    server: Server,
}

fn killed(seed: u64, is_hasty: bool) -> Seen {
    let server = Server::new(MESSAGES);
    let address = server.address.clone();
    let build = move |t: &mut TopologyBuilder| {
        let address = address.clone();
        let client = move || {
            let client = Client::of(&address);
            if is_hasty { client.hasty() } else { client }
        };
        let messages = t.spout("queue", 2, QueueSpout::new(client).outstanding_max(7))?;
        counting(t, &messages)
    };
    let mut t = TopologyTest::new(build).unwrap().seed(seed);
    for _ in 0..3 {
        t.kill_anywhere();
        t.advance(Duration::from_millis(40)).unwrap();
    }
    // Whatever comes again comes now.
    let mut rounds = 0;
    while !server.known().is_empty() {
        t.advance(Duration::from_millis(50)).unwrap();
        rounds += 1;
        assert!(rounds < 1000, "{:?}", server.known());
    }
    t.advance(Duration::from_millis(50)).unwrap();
    let lines = t.output::<String>("out").unwrap();
    let different = lines.iter().collect::<BTreeSet<_>>().len();
    let counts = t.state::<u64>("count").unwrap().into_values().collect();
    Seen { lines: lines.len(), different, counts, kills: t.kills(), server }
}

#[test]
fn every_message_counts_wherever_the_process_is_killed_and_once_where_its_id_is_known() {
    let (mut repeated, mut kills) = (0, 0);
    for seed in 0..12 {
        let seen = killed(seed, false);
        let known = seen.server.known();
        assert_eq!(seen.different, MESSAGES as usize, "seed {seed}");
        assert_eq!(seen.counts, [1; MESSAGES as usize], "seed {seed}");
        assert_eq!(known.acked.len(), MESSAGES as usize, "seed {seed}");
        assert!(known.acked.values().all(|times| *times == 1), "seed {seed}: {known:?}");
        assert!(known.most <= 7 && known.wrong.is_empty(), "seed {seed}: {known:?}");
        repeated += seen.lines - seen.different;
        kills += seen.kills;
    }
    assert!(kills >= 12 && repeated > 0, "{kills} kills, {repeated} messages came again");
}

/// The control of the test above: what it would say if messages were acknowledged when they are emitted.
#[test]
fn messages_that_are_acknowledged_too_early_are_lost_and_that_is_found_out() {
    let lost = |seed| MESSAGES as usize - killed(seed, true).counts.len();
    let lost = (0..12).map(lost).sum::<usize>();
    assert!(lost > 0);
}

fn open(dir: &Path) -> Log {
    Log::open(dir, LogConfig::default()).unwrap()
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

/// Runs what reads the queue while `meanwhile` lasts, and stops it.
fn run(
    log: &Log,
    guarantee: Guarantee,
    commit_ms: u64,
    spout: QueueSpout<impl Fn() -> Client + Send + Sync + 'static>,
    execute: impl Fn(u32) + Send + Sync + 'static,
    meanwhile: impl FnOnce(&Progress),
) -> Result<Summary, Error> {
    let mut t = TopologyBuilder::new("queue");
    t.guarantee(guarantee);
    let execute = Arc::new(execute);
    let messages = t.spout("queue", 2, spout)?;
    let sink = move || {
        let execute = Arc::clone(&execute);
        move |message: u32| execute(message)
    };
    messages.shuffle().sink("work", 2, sink)?;
    let topology = t.finish()?;
    let (progress, options) = (
        Arc::new(Progress::default()),
        RunOptions { workers: 2, commit_ms, ..RunOptions::default() },
    );
    let running = Arc::clone(&progress);
    thread::scope(|scope| {
        let run = scope.spawn(|| topology.run(log, &options, &running));
        let _ended = Ended(&progress);
        meanwhile(&progress);
        progress.stop();
        run.join().unwrap()
    })
}

#[test]
fn a_generation_that_fails_gives_its_messages_up_and_they_come_again() {
    let dir = tempfile::tempdir().unwrap();
    let (log, server) = (open(dir.path()), Server::new(400));
    let (address, calls) = (server.address.clone(), AtomicU32::new(0));
    let (told, seen) = (Told::default(), Arc::new(std::sync::Mutex::new(BTreeSet::new())));
    let (tells, sees) = (Arc::clone(&told), Arc::clone(&seen));
    let client = move || Client::of(&address).telling(&tells);
    let traps = [20, 150, 310];
    let work = move |message| {
        assert!(!traps.contains(&calls.fetch_add(1, Ordering::Relaxed)), "a trap");
        sees.lock().unwrap().insert(message);
    };
    let spout = QueueSpout::new(client).outstanding_max(20);
    let ran = run(&log, Guarantee::AtLeastOnce, 1, spout, work, |_| {
        until("everything is acknowledged", || server.known().is_empty());
    });
    assert_eq!(ran.unwrap().restarts, 3);
    assert_eq!(seen.lock().unwrap().len(), 400);
    let known = server.known();
    assert!(known.most <= 20 && known.acked.len() == 400 && known.wrong.is_empty(), "{known:?}");
    assert!(told.lock().unwrap().contains(&"fail Failed".to_owned()));
    // At the end, everything was acknowledged before anybody was closed.
    let told = told.lock().unwrap();
    let closed = told.iter().position(|what| what == "close").unwrap();
    assert!(told[closed..].iter().all(|what| what == "close"), "{told:?}");
    log.close().unwrap();
}

#[test]
fn no_more_messages_are_received_than_may_be_outstanding_until_their_commit_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let (log, server) = (open(dir.path()), Server::new(100));
    let address = server.address.clone();
    let spout = QueueSpout::new(move || Client::of(&address)).outstanding_max(8);
    let worked = Arc::new(AtomicU32::new(0));
    let works = Arc::clone(&worked);
    let work = move |_| {
        works.fetch_add(1, Ordering::Relaxed);
    };
    // The commit is made when the topology is stopped.
    let ran = run(&log, Guarantee::AtLeastOnce, 3_600_000, spout, work, |_| {
        until("both tasks are full", || worked.load(Ordering::Relaxed) == 16);
        let known = server.known();
        assert_eq!((known.outstanding(), known.gets, known.acked.len()), (16, 16, 0));
    });
    ran.unwrap();
    let known = server.known();
    assert_eq!((known.acked.len(), known.most, known.outstanding()), (16, 8, 0), "{known:?}");
    log.close().unwrap();
}

/// How long a spout wants to wait went to a clock as it was, and the worker panicked, for none counts as far.
#[test]
fn a_time_that_no_clock_counts_to_is_never() {
    let dir = tempfile::tempdir().unwrap();
    let (log, server) = (open(dir.path()), Server::new(100));
    let address = server.address.clone();
    let spout = QueueSpout::new(move || Client::of(&address)).outstanding_max(8);
    let spout = spout.message_timeout(Duration::MAX).hold_every(Duration::MAX);
    let ran = run(
        &log,
        Guarantee::AtLeastOnce,
        5,
        spout,
        |_| {},
        |_| until("everything is acknowledged", || server.known().is_empty()),
    );
    assert_eq!(ran.unwrap().restarts, 0);
    let known = server.known();
    assert_eq!((known.acked.len(), known.nacked, known.held), (100, 0, 0), "{known:?}");
    log.close().unwrap();
}

#[test]
fn at_most_once_acknowledges_what_it_receives_and_works_on_nothing_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (log, server) = (open(dir.path()), Server::new(300));
    let (address, calls) = (server.address.clone(), AtomicU32::new(0));
    let spout = QueueSpout::new(move || Client::of(&address));
    let seen = Arc::new(std::sync::Mutex::new(Vec::new()));
    let sees = Arc::clone(&seen);
    let work = move |message| {
        assert!(calls.fetch_add(1, Ordering::Relaxed) != 40, "a trap");
        sees.lock().unwrap().push(message);
    };
    let ran = run(&log, Guarantee::AtMostOnce, 1, spout, work, |_| {
        until("everything is acknowledged", || server.known().is_empty());
    });
    ran.unwrap();
    let mut seen = seen.lock().unwrap().clone();
    let all = seen.len();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), all, "nothing twice");
    assert!(server.known().received.values().all(|times| *times == 1));
    log.close().unwrap();
}

#[test]
fn a_queue_is_let_go_of_when_what_it_handed_out_is_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let (log, server) = (open(dir.path()), Server::new(40));
    let (address, told) = (server.address.clone(), Told::default());
    let tells = Arc::clone(&told);
    let spout = QueueSpout::new(move || Client::of(&address).telling(&tells)).outstanding_max(4);
    // A commit is far off when the topology is deactivated: nothing is acknowledged by then.
    let ran = run(
        &log,
        Guarantee::AtLeastOnce,
        300,
        spout,
        |_| {},
        |progress| {
            until("some are received", || server.known().outstanding() == 8);
            topologies::deactivate(&log, "queue").unwrap();
            let all = |what: &str| told.lock().unwrap().iter().filter(|told| *told == what).count();
            until("both tasks rest", || all("deactivate") == 2);
            assert!(!progress.is_active());
            let known = server.known();
            assert_eq!(known.outstanding(), 0, "{known:?}");
            let gets = known.gets;
            drop(known);
            topologies::activate(&log, "queue").unwrap();
            until("both tasks are active", || all("activate") == 2);
            until("everything is acknowledged", || server.known().is_empty());
            assert!(server.known().gets > gets);
        },
    );
    ran.unwrap();
    assert!(server.known().wrong.is_empty());
    log.close().unwrap();
}

type MakeClient = Box<dyn Fn() -> Client + Send + Sync>;
type Clients = QueueSpout<MakeClient>;

/// A topology in which a message is tried again so often, a second apart, and the commit waits for it.
fn slow(server: &Server, fails: u32, limit: impl Fn(Clients) -> Clients + 'static) -> TopologyTest {
    let address = server.address.clone();
    let failed = Arc::new(AtomicU32::new(0));
    let build = move |t: &mut TopologyBuilder| {
        t.guarantee(Guarantee::AtLeastOnce);
        let address = address.clone();
        let client: MakeClient = Box::new(move || Client::of(&address));
        let spout = limit(QueueSpout::new(client).outstanding_max(10));
        let messages = t.spout("queue", 1, spout)?;
        let failed = Arc::clone(&failed);
        let lines = messages.shuffle().bolt("lines", 1, move || {
            let failed = Arc::clone(&failed);
            move |message: u32, out: &mut Emitter<String>| {
                assert!(
                    message != 5 || failed.fetch_add(1, Ordering::Relaxed) >= fails,
                    "it is not there yet"
                );
                out.emit(message.to_string());
            }
        })?;
        let (times, backoff, then) = (1000, SECOND, Then::Fail);
        let lines = lines.on_error(OnError::Retry { times, backoff, then })?;
        lines.sink("out", LogSink::to_stream("out"))
    };
    TopologyTest::new(build).unwrap()
}

fn finish(t: &mut TopologyTest, server: &Server) {
    let mut rounds = 0;
    while !server.known().is_empty() {
        t.advance(SECOND).unwrap();
        rounds += 1;
        assert!(rounds < 1000, "{:?}", server.known());
    }
}

#[test]
fn a_commit_that_takes_too_long_gives_its_messages_up_once_each() {
    let server = Server::new(30);
    let mut t = slow(&server, 60, |spout| spout.message_timeout(SECOND * 20));
    t.advance(SECOND * 10).unwrap();
    assert_eq!(server.known().nacked, 0);
    t.advance(SECOND * 40).unwrap();
    let given_up = server.known().nacked;
    assert!((1..=10).contains(&given_up), "all that were outstanding: {given_up}");
    finish(&mut t, &server);
    let known = server.known();
    assert_eq!(known.nacked, given_up, "a storm of repetitions");
    assert_eq!(known.received.values().sum::<u32>(), 30 + given_up);
    assert!(known.acked.len() == 30 && known.wrong.is_empty(), "{known:?}");
    assert_eq!(t.output::<String>("out").unwrap().len(), 30 + given_up as usize);
}

#[test]
fn commits_that_are_merely_slow_give_nothing_up() {
    // A commit takes a minute to end, and fifteen seconds to be made.
    let server = Server::new(30);
    let mut t = slow(&server, 15, |spout| spout.message_timeout(SECOND * 20));
    t.options(|options| options.commit_ms = 1200);
    finish(&mut t, &server);
    let known = server.known();
    assert_eq!((known.nacked, known.received.values().sum::<u32>()), (0, 30), "{known:?}");
}

#[test]
fn a_queue_is_told_what_is_worked_on_still() {
    let server = Server::new(6);
    let mut t = slow(&server, 20, |spout| spout.hold_every(SECOND * 4));
    t.advance(SECOND * 15).unwrap();
    let held = server.known().held;
    assert!((6 * 3..=6 * 8).contains(&held), "{held}");
    finish(&mut t, &server);
    let held = server.known().held;
    t.advance(SECOND * 30).unwrap();
    let known = server.known();
    assert_eq!(known.held, held, "nothing is worked on");
    assert!(known.wrong.is_empty(), "{known:?}");
}
