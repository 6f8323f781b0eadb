//! A process that stands by holds the state of a topology that another one runs, and goes on with it when that one
//! is gone.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "the whole of it is used by the tests beside it")]
mod counting;

use std::collections::BTreeMap;
use std::ops::Range;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{Scope, ScopedJoinHandle};
use std::time::Duration;

use counting::Count;
use egret::runtime::Faults;
use egret::standby::Tell;
use egret::{
    Blob, ComponentResult, Context, Emitter, Error, InMemory, KeyedBolt, LogSink, LogSpout,
    Progress, RunOptions, StandbyEvent, Storage, Summary, Topology, TopologyBuilder, exit_code,
};
use egret_log::metadata::Op;
use egret_log::stream::{ReadFrom, Record, StreamConfig};
use egret_log::{Log, LogConfig, clock};
use egret_state_large::LargerThanMemory;

const TASKS: u32 = 3;
const LIMIT: Duration = Duration::from_secs(60);

/// What happens to counts on their way out.
#[derive(Clone, Default)]
struct Way {
    fails: Arc<AtomicBool>,
    stands: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    /// Whether it is shut, and whether somebody stands at it.
    state: Mutex<(bool, bool)>,
    changed: Condvar,
}

impl Gate {
    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        while state.0 {
            state.1 = true;
            self.changed.notify_all();
            state = self.changed.wait(state).unwrap();
        }
    }

    fn set(&self, shut: bool) {
        self.state.lock().unwrap().0 = shut;
        self.changed.notify_all();
    }

    fn wait_for_somebody(&self) {
        let state = self.state.lock().unwrap();
        let waited = self.changed.wait_timeout_while(state, LIMIT, |state| !state.1).unwrap();
        assert!(waited.0.1, "nobody comes to the gate");
    }
}

fn topology_with(storage: impl Storage, way: &Way) -> Topology {
    let mut builder = TopologyBuilder::new("count");
    let read = builder.spout("words", 1, LogSpout::<Blob>::from_stream("words")).unwrap();
    let words = read.fields(|word: &Blob| &word[..]);
    let counted = words.keyed_with("count", TASKS, storage, || Count).unwrap();
    let way = way.clone();
    let passed = counted.shuffle().bolt("pass", 1, move || {
        let way = way.clone();
        move |count: (Blob, u64), out: &mut Emitter<(Blob, u64)>| {
            assert!(!way.fails.load(Ordering::Relaxed), "on purpose");
            way.stands.pass();
            out.emit(count);
        }
    });
    passed.unwrap().sink("out", LogSink::to_stream("counts").partitions(2)).unwrap();
    builder.finish().unwrap()
}

fn topology(way: &Way) -> Topology {
    topology_with(InMemory, way)
}

fn options() -> RunOptions {
    RunOptions { commit_ms: 5, epoch_ms: 1, tries: 1, silence_ms: 5000, ..RunOptions::default() }
}

fn open() -> (tempfile::TempDir, Log) {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogConfig::default()).unwrap();
    log.create_stream("words", StreamConfig { partitions: 1, ..StreamConfig::default() }).unwrap();
    (dir, log)
}

fn word(i: u64) -> String {
    format!("word {}", i * i % 97)
}

fn write(log: &Log, words: Range<u64>) {
    let records: Vec<_> = words.map(|i| Record::of(word(i))).collect();
    log.writer("words", 0).unwrap().append_wait(&records).unwrap();
}

type Counts = BTreeMap<Vec<u8>, u64>;

fn expected(words: Range<u64>) -> Counts {
    let mut counts = Counts::new();
    words.for_each(|i| *counts.entry(word(i).into_bytes()).or_default() += 1);
    counts
}

/// What was said of each word last, once so many words are counted; said of each rises.
fn counts(log: &Log, words: u64) -> Counts {
    let until = clock::now() + LIMIT;
    while log.stream("counts").is_err() {
        assert!(clock::now() < until, "the topology does not begin");
        std::thread::yield_now();
    }
    let mut counts = Counts::new();
    let mut readers: Vec<_> = (0..2)
        .map(|partition| log.reader("counts", partition, ReadFrom::Earliest).unwrap())
        .collect();
    while counts.values().sum::<u64>() < words {
        assert!(clock::now() < until, "only {} words are counted", counts.values().sum::<u64>());
        for reader in &mut readers {
            let Some(batch) = reader.next_wait(Duration::from_millis(5)).unwrap() else { continue };
            for record in &batch.records {
                let said: u64 = std::str::from_utf8(&record.value).unwrap().parse().unwrap();
                let before = counts.insert(record.key.as_ref().unwrap().to_vec(), said);
                assert!(before.is_none_or(|before| before < said), "{before:?}, then {said}");
            }
        }
    }
    counts
}

/// What one that stands by says.
#[derive(Clone, Default)]
struct Said(Arc<(Mutex<Vec<StandbyEvent>>, Condvar)>);

impl Said {
    fn tell(&self) -> Tell {
        let said = self.clone();
        Arc::new(move |event| {
            said.0.0.lock().unwrap().push(event.clone());
            said.0.1.notify_all();
        })
    }

    fn all(&self) -> Vec<StandbyEvent> {
        self.0.0.lock().unwrap().clone()
    }

    /// Waits for an event like this.
    fn wait(&self, like: impl Fn(&StandbyEvent) -> bool) -> StandbyEvent {
        let said = self.0.0.lock().unwrap();
        let none = |said: &mut Vec<StandbyEvent>| !said.iter().any(&like);
        let said = self.0.1.wait_timeout_while(said, LIMIT, none).unwrap().0;
        let found = said.iter().find(|event| like(event)).cloned();
        found.unwrap_or_else(|| panic!("it only said {said:?}"))
    }

    fn wait_until_it_follows(&self, in_generation: u32) {
        self.wait(|event| {
            matches!(event, StandbyEvent::Follows { running, .. } if *running >= in_generation)
        });
    }
}

/// A process, as it were.
struct Process<'scope, S> {
    progress: Stops,
    said: Said,
    thread: ScopedJoinHandle<'scope, egret::Result<S>>,
}

/// What fails is to end, too.
struct Stops(Arc<Progress>);

impl Drop for Stops {
    fn drop(&mut self) {
        self.0.stop();
    }
}

struct Opens<'a>(&'a Gate);

impl Drop for Opens<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

impl<S> Process<'_, S> {
    fn end(self) -> egret::Result<S> {
        let until = clock::now() + LIMIT;
        while !self.thread.is_finished() {
            assert!(clock::now() < until, "it does not end; it said {:?}", self.said.all());
            std::thread::yield_now();
        }
        self.thread.join().unwrap()
    }

    fn stop(self) -> egret::Result<S> {
        self.progress.0.stop();
        self.end()
    }
}

fn run<'scope>(
    scope: &'scope Scope<'scope, '_>,
    log: &'scope Log,
    topology: Topology,
) -> Process<'scope, Summary> {
    run_with(scope, log, topology, options())
}

fn run_with<'scope>(
    scope: &'scope Scope<'scope, '_>,
    log: &'scope Log,
    topology: Topology,
    options: RunOptions,
) -> Process<'scope, Summary> {
    let progress = Arc::<Progress>::default();
    let of_thread = Arc::clone(&progress);
    let thread = scope.spawn(move || topology.run(log, &options, &of_thread));
    Process { progress: Stops(progress), said: Said::default(), thread }
}

fn stand_by<'scope>(
    scope: &'scope Scope<'scope, '_>,
    log: &'scope Log,
    topology: Topology,
    options: RunOptions,
) -> Process<'scope, Option<Summary>> {
    let (progress, said) = (Arc::<Progress>::default(), Said::default());
    let (of_thread, tell) = (Arc::clone(&progress), said.tell());
    let thread = scope.spawn(move || topology.stand_by(log, &options, &of_thread, &tell));
    Process { progress: Stops(progress), said, thread }
}

fn is_taking_over(event: &StandbyEvent) -> bool {
    matches!(event, StandbyEvent::TookOver { .. })
}

#[test]
fn who_stands_by_goes_on_with_what_it_held_and_nothing_is_lost_or_repeated() {
    let (_dir, log) = open();
    let falls = Way::default();
    std::thread::scope(|scope| {
        let first = run(scope, &log, topology(&falls));
        let second = stand_by(scope, &log, topology(&Way::default()), options());
        write(&log, 0..5000);
        assert_eq!(counts(&log, 5000), expected(0..5000));
        second.said.wait_until_it_follows(1);
        falls.fails.store(true, Ordering::Relaxed);
        write(&log, 5000..9000);
        let failed = first.end().unwrap_err();
        assert!(matches!(failed, Error::Failed { .. }), "{failed}");
        let took_over = second.said.wait(is_taking_over);
        let StandbyEvent::TookOver { generation, warm, tasks, .. } = took_over else {
            unreachable!("that was waited for")
        };
        assert_eq!((generation, warm, tasks), (2, 3, 3));
        assert_eq!(counts(&log, 9000), expected(0..9000));
        let progress = Arc::clone(&second.progress.0);
        let summary = second.stop().unwrap().expect("it ran the topology");
        assert_eq!((summary.generation.0, summary.restarts), (2, 0));
        assert_eq!(
            (progress.tasks_kept(), progress.tasks_read()),
            (3, 0),
            "nothing was read again"
        );
        // And who starts after it finds all of it.
        let third = run(scope, &log, topology(&Way::default()));
        write(&log, 9000..9100);
        assert_eq!(counts(&log, 9100), expected(0..9100));
        third.stop().unwrap();
    });
    log.close().unwrap();
}

/// State is written, and its commit is never made: the worker stands still between the two. Whoever stands by takes
/// the topology over although its process is still there, which harms nothing.
fn commit_that_was_not_made(faults: Faults) -> Counts {
    let (_dir, log) = open();
    let stalls = Way::default();
    let counted = std::thread::scope(|scope| {
        let first = run_with(scope, &log, topology(&stalls), RunOptions { tries: 3, ..options() });
        write(&log, 0..1000);
        assert_eq!(counts(&log, 1000), expected(0..1000));
        let _opens = Opens(&stalls.stands);
        stalls.stands.set(true);
        write(&log, 1000..2000);
        stalls.stands.wait_for_somebody();
        let options = RunOptions { faults, ..options() };
        let second = stand_by(scope, &log, topology(&Way::default()), options);
        second.said.wait_until_it_follows(1);
        // As if its lease had ended.
        let gone = Op::Delete("/topologies/count/run".to_owned());
        log.metadata().txn(&[], &[gone]).unwrap();
        second.said.wait(is_taking_over);
        stalls.stands.set(false);
        let taken = first.end().unwrap_err();
        assert!(egret::is_taken_over(&taken), "{taken}");
        write(&log, 2000..2500);
        let counted = counts(&log, 2500);
        second.stop().unwrap().expect("it ran the topology");
        counted
    });
    log.close().unwrap();
    counted
}

#[test]
fn what_was_written_for_a_commit_that_was_not_made_is_no_part_of_what_is_held() {
    assert_eq!(commit_that_was_not_made(Faults::default()), expected(0..2500));
    // The control: what counts it counts it twice. What lies there may come to its disk after the standby looked.
    let faults = Faults { standby_takes_what_lies: true, ..Faults::default() };
    let found = (0..20).any(|_| commit_that_was_not_made(faults) != expected(0..2500));
    assert!(found, "what was written for no commit counts for nobody, although it is taken");
}

#[test]
fn a_topology_that_ends_in_order_ends_standing_by_and_one_that_had_ended_is_waited_for() {
    let (_dir, log) = open();
    std::thread::scope(|scope| {
        let second = stand_by(scope, &log, topology(&Way::default()), options());
        second.said.wait(|event| matches!(event, StandbyEvent::Waits { .. }));
        let first = run(scope, &log, topology(&Way::default()));
        write(&log, 0..100);
        assert_eq!(counts(&log, 100), expected(0..100));
        second.said.wait_until_it_follows(1);
        // It may have followed from the record with which the first one began, before any commit.
        let end = clock::now() + Duration::from_secs(60);
        while second.progress.0.followed().is_none() {
            assert!(clock::now() < end, "it has the commit that is there");
            std::thread::park_timeout(Duration::from_millis(1));
        }
        first.stop().unwrap();
        let said = second.said.clone();
        assert_eq!(second.end().unwrap(), None);
        assert!(matches!(said.all().last(), Some(StandbyEvent::Ended { .. })), "{:?}", said.all());

        let third = stand_by(scope, &log, topology(&Way::default()), options());
        let waits = third.said.wait(|_| true);
        assert!(matches!(waits, StandbyEvent::Waits { .. }), "{waits}");
        assert_eq!(third.stop().unwrap(), None);
    });
    log.close().unwrap();
}

#[test]
fn of_two_that_stand_by_one_takes_over_and_the_other_follows_it() {
    let (_dir, log) = open();
    let falls = Way::default();
    std::thread::scope(|scope| {
        let first = run(scope, &log, topology(&falls));
        let others = [0, 1].map(|_| stand_by(scope, &log, topology(&Way::default()), options()));
        write(&log, 0..1000);
        assert_eq!(counts(&log, 1000), expected(0..1000));
        others.iter().for_each(|other| other.said.wait_until_it_follows(1));
        falls.fails.store(true, Ordering::Relaxed);
        write(&log, 1000..2000);
        first.end().unwrap_err();
        assert_eq!(counts(&log, 2000), expected(0..2000));
        let (winner, loser): (Vec<_>, Vec<_>) =
            others.into_iter().partition(|other| other.said.all().iter().any(is_taking_over));
        let [winner, loser] = [winner, loser].map(|mut of| {
            assert_eq!(of.len(), 1, "one of them has it");
            of.remove(0)
        });
        loser.said.wait_until_it_follows(2);
        winner.stop().unwrap().expect("it ran the topology");
        let said = loser.said.clone();
        assert_eq!(loser.end().unwrap(), None);
        assert!(!said.all().iter().any(is_taking_over), "{:?}", said.all());
    });
    log.close().unwrap();
}

#[test]
fn one_whose_process_is_gone_already_is_taken_over_and_read() {
    let (_dir, log) = open();
    let falls = Way::default();
    std::thread::scope(|scope| {
        let first = run(scope, &log, topology(&falls));
        write(&log, 0..1000);
        assert_eq!(counts(&log, 1000), expected(0..1000));
        falls.fails.store(true, Ordering::Relaxed);
        write(&log, 1000..1500);
        first.end().unwrap_err();
        let options = RunOptions { silence_ms: 200, ..options() };
        let second = stand_by(scope, &log, topology(&Way::default()), options);
        let said = second.said.wait(is_taking_over).to_string();
        assert!(said.contains("0 of 3 task(s) warm"), "{said}");
        assert_eq!(counts(&log, 1500), expected(0..1500));
        second.stop().unwrap().expect("it ran the topology");
    });
    log.close().unwrap();
}

/// Another process that is started without standing by has the topology; this one stands by again.
#[test]
fn who_took_over_and_is_taken_over_stands_by_again() {
    let (_dir, log) = open();
    let falls = Way::default();
    std::thread::scope(|scope| {
        let first = run(scope, &log, topology(&falls));
        let second = stand_by(scope, &log, topology(&Way::default()), options());
        write(&log, 0..1000);
        assert_eq!(counts(&log, 1000), expected(0..1000));
        second.said.wait_until_it_follows(1);
        falls.fails.store(true, Ordering::Relaxed);
        write(&log, 1000..2000);
        first.end().unwrap_err();
        second.said.wait(is_taking_over);
        assert_eq!(counts(&log, 2000), expected(0..2000));
        let third = run(scope, &log, topology(&Way::default()));
        let until = clock::now() + LIMIT;
        while third.progress.0.generation() < 3 {
            assert!(clock::now() < until, "the third one does not begin");
            std::thread::yield_now();
        }
        // Who has nothing to do does not notice.
        write(&log, 2000..2500);
        second.said.wait(|event| matches!(event, StandbyEvent::TakenOver { .. }));
        second.said.wait_until_it_follows(3);
        assert_eq!(counts(&log, 2500), expected(0..2500));
        third.stop().unwrap();
        assert_eq!(second.end().unwrap(), None);
    });
    log.close().unwrap();
}

#[test]
fn another_topology_of_the_name_is_refused_in_words() {
    let (_dir, log) = open();
    /// Its state is another.
    struct Sum;
    impl KeyedBolt<[u8], Blob, (Blob, u64)> for Sum {
        type State = (u64, String);
        fn execute(
            &mut self,
            _: &[u8],
            _: &mut (u64, String),
            _: Blob,
            _: &mut Emitter<(Blob, u64)>,
            _: &Context,
        ) -> ComponentResult {
            Ok(())
        }
    }
    let other_to = |stream: &str, name: &str, sum: bool| {
        let mut builder = TopologyBuilder::new("count");
        let read = builder.spout("words", 1, LogSpout::<Blob>::from_stream("words")).unwrap();
        let words = read.fields(|word: &Blob| &word[..]);
        let counted = match sum {
            true => words.keyed(name, TASKS, || Sum),
            false => words.keyed(name, TASKS, || Count),
        };
        counted.unwrap().sink("out", LogSink::to_stream(stream).partitions(2)).unwrap();
        builder.finish().unwrap()
    };
    let other = |name: &str, sum: bool| other_to("counts", name, sum);
    std::thread::scope(|scope| {
        let first = run(scope, &log, other("count", false));
        write(&log, 0..100);
        assert_eq!(counts(&log, 100), expected(0..100));
        let refused = |topology: Topology, why: &[&str]| {
            let error = stand_by(scope, &log, topology, options()).end().unwrap_err();
            let said = error.to_string();
            assert!(said.starts_with("topology `count` cannot be stood by for: "), "{said}");
            why.iter().for_each(|why| assert!(said.contains(why), "{said}"));
            assert_eq!(exit_code(&error), ExitCode::from(3));
        };
        refused(other("sum", false), &["sum", "count"]);
        refused(other("count", true), &["component `count`", "Run the old code"]);
        // It was taken for one, and found out when it had taken the topology over.
        refused(other_to("elsewhere", "count", false), &["stream `elsewhere`", "the same output"]);
        log.create_stream("elsewhere", StreamConfig::default()).unwrap();
        refused(other_to("elsewhere", "count", false), &["stream `elsewhere`", "the same output"]);
        let options = RunOptions { restore: Some("monday".into()), ..options() };
        let error = stand_by(scope, &log, other("count", false), options).end().unwrap_err();
        assert!(error.to_string().contains("not from a named one"), "{error}");
        first.stop().unwrap();
    });
    log.close().unwrap();
}

#[test]
fn state_that_is_not_held_is_said_and_read_at_the_takeover() {
    let (dir, log) = open();
    let falls = Way::default();
    std::thread::scope(|scope| {
        let first = run(scope, &log, topology(&falls));
        let on_disk = LargerThanMemory::new(1).at(dir.path().join("large"));
        let second = stand_by(scope, &log, topology_with(on_disk, &Way::default()), options());
        let small = RunOptions { state_bytes_max: Some(1 << 20), ..options() };
        let third = stand_by(scope, &log, topology(&Way::default()), small);
        let many: Vec<_> = (0..20_000u64).map(|i| Record::of(format!("{i:060}"))).collect();
        log.writer("words", 0).unwrap().append_wait(&many).unwrap();
        counts(&log, 20_000);
        let is_cold = |event: &StandbyEvent| matches!(event, StandbyEvent::Cold { .. });
        let said = third.said.wait(is_cold).to_string();
        assert!(said.contains("and may take 1 MiB: raise --state-mb"), "{said}");
        assert!(said.ends_with("(as far as it was read: all of it takes more)"), "{said}");
        assert_eq!(third.stop().unwrap(), None);
        let said = second.said.wait(is_cold).to_string();
        assert!(said.contains("it is not in memory"), "{said}");
        falls.fails.store(true, Ordering::Relaxed);
        write(&log, 0..10);
        first.end().unwrap_err();
        let took_over = second.said.wait(is_taking_over).to_string();
        assert!(took_over.contains("0 of 3 task(s) warm"), "{took_over}");
        counts(&log, 20_010);
        let progress = Arc::clone(&second.progress.0);
        second.stop().unwrap().expect("it ran the topology");
        assert_eq!((progress.tasks_kept(), progress.tasks_read()), (0, 3));
    });
    log.close().unwrap();
}

/// A directory that was mistyped was stood by in for ever.
#[test]
fn where_there_is_no_data_directory_nobody_stands_by() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    for place in [dir.path().join("none"), file] {
        let tell: Tell = Arc::new(|_| ());
        let stands = topology(&Way::default());
        let refused = stands.stand_by_in(&place, &options(), &Arc::default(), &tell).unwrap_err();
        assert!(refused.to_string().contains("there is no data directory"), "{refused}");
        assert_eq!(exit_code(&refused), ExitCode::from(3));
    }
}
