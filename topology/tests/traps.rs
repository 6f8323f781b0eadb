//! Twelve traps that stream engines of this kind fell into, each as a test that fails if this one has it. Where the trap
//! needs several processes or machines as well, the test says which other one goes further; the seventh, a copy of the log that is
//! lost while commits are made, needs bookies and is `integration/tests/lost_bookie.rs`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use egret::runtime::topologies;
use egret::testing::TopologyTest;
use egret::window::{Count, Tumbling, reduce};
use egret::{
    Bolt, ComponentResult, Context, Emitter, Error, EventTime, KeyedBolt, LogSink, LogSpout, Next,
    Positions, Progress, Replay, RunOptions, Spout, Stream, Topology, TopologyBuilder,
};
use egret_log::stream::{Format, ReadFrom, Record, StreamConfig};
use egret_log::{Log, LogConfig, clock};

const LIMIT: Duration = Duration::from_secs(60);

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

/// Counts words, and says each count.
struct Counts;

impl KeyedBolt<str, String, (String, u64)> for Counts {
    type State = u64;
    fn execute(
        &mut self,
        word: &str,
        n: &mut u64,
        _: String,
        out: &mut Emitter<(String, u64)>,
        _: &Context,
    ) -> ComponentResult {
        *n += 1;
        out.emit((word.to_owned(), *n));
        Ok(())
    }
}

fn counted(t: &mut TopologyBuilder) -> egret::Result<()> {
    let words = t.spout("words", 2, LogSpout::<String>::from_stream("words"))?;
    let counts = words.fields(|word| word.as_str()).keyed("count", 2, || Counts)?;
    counts.sink("out", LogSink::to_stream("counts").partitions(2))
}

/// What was said of each word, in order.
fn said(t: &mut TopologyTest) -> BTreeMap<String, Vec<u64>> {
    let mut said: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (word, n) in t.keyed_output::<String>("counts").unwrap() {
        said.entry(word).or_default().push(n.parse().unwrap());
    }
    said
}

/// 1, 2, 3, … of each word: one left out or told twice shows.
fn each_once(words: &[&str]) -> BTreeMap<String, Vec<u64>> {
    let mut each: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for word in words {
        let of = each.entry((*word).to_owned()).or_default();
        of.push(of.len() as u64 + 1);
    }
    each
}

type Sale = (String, u64, i64);

/// Sums by customer in windows of ten ms: an aggregate that is kept between tuples, and told of later.
fn sums(t: &mut TopologyBuilder) -> egret::Result<()> {
    let parse = |line: &str| -> Sale {
        let fields: Vec<&str> = line.split(' ').collect();
        (fields[0].to_owned(), fields[1].parse().unwrap(), fields[2].parse().unwrap())
    };
    let lines = t.spout("sales", 1, LogSpout::<String>::from_stream("sales"))?;
    // What is idle soon comes to rest soon.
    let config = EventTime { idle_ms: 20, ..EventTime::default() };
    let lines = lines.event_time_with(config, move |line| parse(line).2)?;
    let sales = lines.shuffle().bolt("parse", 2, move || {
        move |line: String, out: &mut Emitter<Sale>| out.emit(parse(&line))
    })?;
    let windows = sales
        .fields(|(customer, ..)| customer.as_str())
        .window(Tumbling::of(Duration::from_millis(10)));
    let sum = reduce(|sum: &mut Sale, sale: &Sale| sum.1 += sale.1);
    let sums = windows.event_time(|(_, _, at): &Sale| *at).aggregate_with(
        "sum",
        2,
        sum,
        |customer: &str, told, sum: Sale| [format!("{customer} {} {}", told.window.end_ms, sum.1)],
    )?;
    sums.sink("out", LogSink::to_stream("sums").partitions(1))
}

/// Trap 1: a reduced value that is wrong, or told twice, after a kill. Killed at forty steps all over a run; the
/// same of counts, everywhere, is in `tested.rs`, and of real processes in `integration/src/bin/topology_kill.rs`.
#[test]
fn trap_1_an_aggregate_is_the_same_after_a_kill_at_every_step() {
    let run = |kill: Option<u64>| {
        let mut t = TopologyTest::new(sums).unwrap().seed(3);
        t.partitions("sales", 1).workers(1);
        if let Some(step) = kill {
            t.kill_at(step);
        }
        for at in 0..3 {
            let sales =
                ["ann", "bob", "ann"].map(|who| format!("{who} {} {}", at + 1, at * 10 + 3));
            t.send("sales", sales).unwrap();
            t.run_until_idle().unwrap();
        }
        t.send("sales", ["end 0 1000"]).unwrap();
        t.run_until_idle().unwrap();
        let steps = t.failpoints();
        let mut sums = t.output::<String>("sums").unwrap();
        sums.sort();
        (sums, t.kills(), steps)
    };
    let (calm, kills, steps) = run(None);
    assert_eq!((kills, calm.len()), (0, 6));
    assert_eq!(&calm[..3], ["ann 10 2", "ann 20 4", "ann 30 6"]);
    let mut killed = 0;
    for step in (0..steps).step_by(usize::try_from(steps / 40).unwrap()) {
        let (sums, kills, _) = run(Some(step));
        assert_eq!(sums, calm, "killed at step {step} of {steps}");
        killed += kills;
    }
    assert!(killed > 3, "{killed} kills in {steps} steps");
}

/// What a spout was told to go on from, and what it emitted first then.
type Resumed = Arc<Mutex<Vec<(u64, u64)>>>;

/// Emits numbers; its position is the number after the last one that it emitted.
struct Numbers {
    next: u64,
    first: Option<u64>,
    resumed: Resumed,
    end: Arc<AtomicU64>,
}

impl Spout<u64> for Numbers {
    fn replay(&self) -> Replay {
        Replay::Positional
    }
    fn open(&mut self, _: &Context, committed: &Positions) -> ComponentResult {
        if let Some(text) = committed.get(&b"numbers"[..]) {
            self.next = std::str::from_utf8(text)?.parse()?;
            self.first = Some(self.next);
        }
        Ok(())
    }
    fn next(&mut self, _: usize, out: &mut Emitter<u64>, _: &Context) -> ComponentResult<Next> {
        if self.next >= self.end.load(Ordering::Relaxed) {
            return Ok(Next::After(Duration::from_millis(1)));
        }
        if let Some(committed) = self.first.take() {
            self.resumed.lock().unwrap().push((committed, self.next));
        }
        out.emit(self.next);
        self.next += 1;
        Ok(Next::More)
    }
    fn positions(&self) -> Positions {
        Positions::from([(b"numbers".to_vec(), self.next.to_string().into_bytes())])
    }
}

/// Trap 2: a source that goes on with the tuple that was processed last, or leaves one out.
#[test]
fn trap_2_a_source_goes_on_right_behind_the_last_tuple_that_was_committed() {
    let (resumed, end) = (Resumed::default(), Arc::new(AtomicU64::new(0)));
    let build = {
        let (resumed, end) = (Arc::clone(&resumed), Arc::clone(&end));
        move |t: &mut TopologyBuilder| {
            let (resumed, end) = (Arc::clone(&resumed), Arc::clone(&end));
            let spout = move || {
                let (resumed, end) = (Arc::clone(&resumed), Arc::clone(&end));
                Numbers { next: 0, first: None, resumed, end }
            };
            let numbers = t.spout("numbers", 1, spout)?;
            let texts = numbers
                .shuffle()
                .bolt("text", 1, || |n: u64, out: &mut Emitter<String>| out.emit(n.to_string()))?;
            texts.sink("out", LogSink::to_stream("out").partitions(1))
        }
    };
    let mut t = TopologyTest::new(build).unwrap();
    for round in 1..=3 {
        end.store(round * 5, Ordering::Relaxed);
        t.advance(Duration::from_millis(200)).unwrap();
        let told: Vec<u64> =
            t.output::<String>("out").unwrap().iter().map(|n| n.parse().unwrap()).collect();
        assert_eq!(told, (0..round * 5).collect::<Vec<_>>(), "each once, in order");
        t.restore().unwrap();
    }
    assert_eq!(*resumed.lock().unwrap(), [(5, 5), (10, 10)], "what was committed, what came first");
}

/// Waits at every tuple until it is let go on.
struct Gate(Arc<AtomicU64>, Arc<AtomicU64>);

impl Bolt<u64, String> for Gate {
    fn execute(&mut self, n: u64, out: &mut Emitter<String>, _: &Context) -> ComponentResult {
        self.1.fetch_max(n, Ordering::AcqRel);
        while self.0.load(Ordering::Acquire) <= n {
            thread::yield_now();
        }
        out.emit(n.to_string());
        Ok(())
    }
}

/// Trap 3: a checkpoint that is dropped, or never ends, while everything is full. `integration/tests/holds/backpressure.rs`
/// holds the same of bytes in flight and has the control.
#[test]
fn trap_3_commits_are_made_under_backpressure_that_never_ends() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogConfig::default()).unwrap();
    let (open, reached) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let mut t = TopologyBuilder::new("full");
    // It never has nothing: whatever is let through, more comes at once.
    let spout = || Numbers {
        next: 0,
        first: None,
        resumed: Resumed::default(),
        end: Arc::new(AtomicU64::new(u64::MAX)),
    };
    let numbers = t.spout("numbers", 1, spout).unwrap();
    let gate = (Arc::clone(&open), Arc::clone(&reached));
    let texts =
        numbers.global().bolt("gate", 1, move || Gate(gate.0.clone(), gate.1.clone())).unwrap();
    texts.sink("out", LogSink::to_stream("out").partitions(1)).unwrap();
    let topology = t.finish().unwrap();
    let options = RunOptions { commit_ms: 1, epoch_bytes_max: 64, ..RunOptions::default() };
    let progress = Arc::new(Progress::default());
    thread::scope(|scope| {
        let run = scope.spawn(|| topology.run(&log, &options, &progress));
        let _ended = Ended(&progress);
        let mut commits = 0;
        for _ in 0..5 {
            // The bolt stands before a tuple that it was not let do: what is before it is full.
            let at = reached.load(Ordering::Acquire);
            until("the bolt is reached", || {
                reached.load(Ordering::Acquire) >= open.load(Ordering::Acquire)
            });
            until("a commit", || {
                open.fetch_add(1, Ordering::AcqRel);
                progress.commits() > commits
            });
            commits = progress.commits();
            assert!(reached.load(Ordering::Acquire) >= at);
        }
        open.store(u64::MAX, Ordering::Release);
        progress.stop();
        assert_eq!(run.join().unwrap().unwrap().restarts, 0);
    });
    log.close().unwrap();
}

/// Trap 4: keys whose state is lost, or counted anew, when a component gets more or fewer tasks.
#[test]
fn trap_4_every_key_keeps_its_state_with_other_numbers_of_tasks() {
    let words: Vec<String> = (0..60).map(|n| format!("w{}", n % 23)).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut t = TopologyTest::new(counted).unwrap();
    let mut sent = Vec::new();
    for (tasks, workers) in [(1, 1), (5, 2), (2, 3), (7, 1), (3, 2)] {
        t.tasks("count", tasks).workers(workers).restore().unwrap();
        t.send("words", words.iter().copied()).unwrap();
        sent.extend(&words);
        t.run_until_idle().unwrap();
        assert_eq!(said(&mut t), each_once(&sent), "{tasks} tasks");
        let state = t.state::<u64>("count").unwrap();
        let counted: u64 = state.values().sum();
        assert_eq!((state.len(), counted), (23, sent.len() as u64), "{tasks} tasks");
    }
}

fn open(dir: &Path) -> Log {
    let log = Log::open(dir, LogConfig::default()).unwrap();
    if log.stream("words").is_err() {
        let config =
            StreamConfig { partitions: 1, format: Format::Utf8, ..StreamConfig::default() };
        log.create_stream("words", config).unwrap();
    }
    log
}

fn append(log: &Log, words: &[&str]) {
    let records: Vec<_> = words.iter().map(|word| Record::of((*word).to_owned())).collect();
    log.writer_of("words", 0, &Format::Utf8).unwrap().append_wait(&records).unwrap();
}

/// What can be read of `counts`: words, and their counts, in order.
fn read(log: &Log) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    let Ok(info) = log.stream("counts") else { return found };
    for partition in 0..info.config.partitions {
        let mut reader = log.reader("counts", partition, ReadFrom::Earliest).unwrap();
        while let Some(batch) = reader.next_wait(Duration::ZERO).unwrap() {
            found.extend(batch.records.into_iter().map(|record| {
                let key = String::from_utf8(record.key.unwrap().to_vec()).unwrap();
                (key, std::str::from_utf8(&record.value).unwrap().parse().unwrap())
            }));
        }
    }
    found
}

fn words(name: &str, bounded: bool) -> Topology {
    let mut t = TopologyBuilder::new(name);
    let spout = LogSpout::<String>::from_stream("words");
    let words = t.spout("words", 1, if bounded { spout.bounded() } else { spout }).unwrap();
    let counts = words.fields(|word| word.as_str()).keyed("count", 2, || Counts).unwrap();
    let counts = counts.config("most", 9).unwrap();
    counts.sink("out", LogSink::to_stream("counts").partitions(1)).unwrap();
    t.finish().unwrap()
}

/// Trap 5: a topology that goes back to a checkpoint because it was told to rest, to go on, or another value of a setting.
#[test]
fn trap_5_rest_return_and_another_setting_take_nothing_back() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let mut topology = words("words", false);
    let options = RunOptions { commit_ms: 1, silence_ms: 100, ..RunOptions::default() };
    for round in 0..2u64 {
        let progress = Arc::new(Progress::default());
        thread::scope(|scope| {
            let run = scope.spawn(|| topology.run(&log, &options, &progress));
            let _ended = Ended(&progress);
            append(&log, &["a"]);
            until("it is counted", || read(&log).len() as u64 == 2 * round + 1);
            let generation = progress.generation();
            topologies::deactivate(&log, "words").unwrap();
            until("it rests", || !progress.is_active());
            topologies::activate(&log, "words").unwrap();
            append(&log, &["a"]);
            until("it goes on", || read(&log).len() as u64 == 2 * round + 2);
            assert_eq!(progress.generation(), generation, "the same generation");
            progress.stop();
            assert_eq!(run.join().unwrap().unwrap().restarts, 0);
        });
        // With another value it goes on where it was: nothing is counted again.
        topology.set("count.most=7").unwrap();
    }
    let counts: Vec<u64> = read(&log).into_iter().map(|(_, n)| n).collect();
    assert_eq!(counts, [1, 2, 3, 4]);
    log.close().unwrap();
}

/// Files below a directory.
fn files(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files(&path, found);
        } else if path.is_file() {
            found.push(path);
        }
    }
    found.sort();
}

fn copy(from: &Path, to: &Path) {
    let mut all = Vec::new();
    files(from, &mut all);
    for path in all {
        let target = to.join(path.strip_prefix(from).unwrap());
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        fs::copy(&path, target).unwrap();
    }
}

/// Trap 6: a newest checkpoint that is damaged and silently passed over: the topology begins with an older one, or empty,
/// and its results are wrong. `integration/tests/holds/unreadable.rs` damages the commit record itself, byte by byte.
#[test]
fn trap_6_what_is_damaged_of_the_newest_commit_is_said_and_never_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let run = |dir: &Path, more: &[&str]| -> Result<Vec<(String, u64)>, String> {
        let log = Log::open(dir, LogConfig::default()).map_err(|error| error.to_string())?;
        if !more.is_empty() {
            append(&log, more);
        }
        let ran = words("words", true).run(&log, &RunOptions::default(), &Arc::default());
        // Whatever is said by a reader that finds damage is no result either.
        let counts = ran.map(|_| read(&log)).map_err(|error| egret::chain(&error));
        let closed = log.close();
        counts.and_then(|counts| closed.map(|()| counts).map_err(|error| error.to_string()))
    };
    let log = open(dir.path());
    append(&log, &["a", "a"]);
    log.close().unwrap();
    run(dir.path(), &[]).unwrap();
    let (mut before, mut after) = (BTreeMap::new(), Vec::new());
    let mut all = Vec::new();
    files(dir.path(), &mut all);
    for path in all {
        before.insert(path.clone(), fs::read(&path).unwrap());
    }
    run(dir.path(), &["a"]).unwrap();
    // Each byte that the second run wrote is a place to be damaged; the metadata store is another machine's.
    let mut all = Vec::new();
    files(dir.path(), &mut all);
    for path in all {
        let is_log = path.components().any(|part| part.as_os_str() == "bookie");
        let (was, is) = (before.get(&path).cloned().unwrap_or_default(), fs::read(&path).unwrap());
        let changed = (0..is.len()).filter(|at| was.get(*at) != Some(&is[*at]) && is[*at] != 0);
        if is_log {
            after.extend(changed.map(|at| (path.strip_prefix(dir.path()).unwrap().to_owned(), at)));
        }
    }
    assert!(after.len() > 200, "only {} bytes were written", after.len());
    let (mut loud, wanted) =
        (0, ["a"; 4].iter().zip(1..).map(|(w, n)| ((*w).to_owned(), n)).collect::<Vec<_>>());
    for (path, at) in after.iter().step_by(after.len() / 24) {
        let copied = tempfile::tempdir().unwrap();
        copy(dir.path(), copied.path());
        let damaged = copied.path().join(path);
        let mut bytes = fs::read(&damaged).unwrap();
        bytes[*at] ^= 0x40;
        fs::write(&damaged, bytes).unwrap();
        match std::panic::catch_unwind(|| run(copied.path(), &["a"])) {
            Ok(Ok(counts)) => assert_eq!(counts, wanted, "{} at {at}", path.display()),
            Ok(Err(why)) => {
                assert!(!why.is_empty());
                loud += 1;
            }
            // A reader of the test met the damage.
            Err(_) => loud += 1,
        }
    }
    assert!(loud > 0, "nothing that was damaged was noticed");
}

/// Trap 8: a worker that was taken over and does not know it, and whose output is seen all the same. That of a process that
/// stood still meanwhile is in `integration/tests/holds/zombie.rs`.
#[test]
fn trap_8_who_was_taken_over_tells_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let options = RunOptions { commit_ms: 1, silence_ms: 60_000, ..RunOptions::default() };
    let (first, second) = (Arc::new(Progress::default()), Arc::new(Progress::default()));
    thread::scope(|scope| {
        let earlier = scope.spawn(|| words("words", false).run(&log, &options, &first));
        let _first = Ended(&first);
        append(&log, &["a"]);
        until("the first one counts", || read(&log).len() == 1);
        let later = scope.spawn(|| words("words", false).run(&log, &options, &second));
        let _second = Ended(&second);
        until("the second one begins", || second.generation() > first.generation());
        // Both would count it.
        append(&log, &["a"]);
        let ended = earlier.join().unwrap().unwrap_err();
        assert!(matches!(ended, Error::TakenOver { .. }), "{ended}");
        until("the second one counts", || read(&log).len() >= 2);
        second.stop();
        later.join().unwrap().unwrap();
    });
    assert_eq!(read(&log), [("a".to_owned(), 1), ("a".to_owned(), 2)], "each once");
    log.close().unwrap();
}

/// Trap 9: state of one component that another one gets, because a topology of the same name has another graph.
#[test]
fn trap_9_another_graph_of_the_name_is_refused_and_components_are_known_by_their_names() {
    let mut t = TopologyTest::new(counted).unwrap();
    t.send("words", ["a", "b"]).unwrap();
    t.run_until_idle().unwrap();
    t.kill();
    t.rebuild(|t| {
        let words = t.spout("words", 2, LogSpout::<String>::from_stream("words"))?;
        let counts = words.fields(|word| word.as_str()).keyed("counter", 2, || Counts)?;
        counts.sink("out", LogSink::to_stream("counts").partitions(2))
    });
    let refused = t.restore().unwrap_err().to_string();
    assert!(refused.contains("count") && refused.contains("counter"), "{refused}");
    // Wired in another order, with components of the same names, it is the same.
    t.rebuild(|t| {
        let words: Stream<String> = t.spout("words", 1, LogSpout::from_stream("words"))?;
        let counts = words.fields(|word| word.as_str()).keyed("count", 3, || Counts)?;
        counts.sink("out", LogSink::to_stream("counts").partitions(2))
    });
    t.restore().unwrap();
    t.send("words", ["a"]).unwrap();
    t.run_until_idle().unwrap();
    assert_eq!(said(&mut t), each_once(&["a", "b", "a"]));
}

/// Keeps words that are longer than its setting says.
#[derive(Default)]
struct Longer(usize);

impl Bolt<String, String> for Longer {
    fn open(&mut self, cx: &Context) -> ComponentResult {
        self.0 = cx.config().get("than")?;
        Ok(())
    }
    fn execute(&mut self, word: String, out: &mut Emitter<String>, _: &Context) -> ComponentResult {
        if word.len() > self.0 {
            out.emit(word);
        }
        Ok(())
    }
}

/// Trap 10: a setting that is accepted and never reaches the component.
#[test]
fn trap_10_a_setting_that_was_given_is_what_the_component_sees() {
    let build = |t: &mut TopologyBuilder| -> egret::Result<()> {
        let words = t.spout("words", 1, LogSpout::<String>::from_stream("words").bounded())?;
        let long = words.shuffle().bolt("longer", 2, Longer::default)?.config("than", 1)?;
        long.sink("out", LogSink::to_stream("long").partitions(1))
    };
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let mut seen = Vec::new();
    for (setting, wanted) in [(None, 2), (Some("longer.than=2"), 3), (Some("longer.than=0"), 6)] {
        append(&log, &["a", "bb", "ccc"]);
        let mut t = TopologyBuilder::new("long");
        build(&mut t).unwrap();
        let mut topology = t.finish().unwrap();
        if let Some(setting) = setting {
            topology.set(setting).unwrap();
        }
        topology.run(&log, &RunOptions::default(), &Arc::default()).unwrap();
        let mut reader = log.reader_of("long", 0, ReadFrom::Earliest, &Format::Utf8).unwrap();
        seen.clear();
        while let Some(batch) = reader.next_wait(Duration::ZERO).unwrap() {
            seen.extend(batch.records.iter().map(|record| record.value.to_vec()));
        }
        assert_eq!(seen.len(), wanted, "{setting:?}: {seen:?}");
    }
    let mut t = TopologyBuilder::new("long");
    build(&mut t).unwrap();
    let refused = t.finish().unwrap().set("longer.thn=2").unwrap_err().to_string();
    assert!(refused.contains("`thn`") && refused.contains("`than`"), "{refused}");
    log.close().unwrap();
}

fn at_of(line: &str) -> i64 {
    line.rsplit(' ').next().unwrap().parse().unwrap()
}

/// Windows of ten ms of lines `word time`, and what came too late for them.
fn windows(idle_ms: u64) -> impl Fn(&mut TopologyBuilder) -> egret::Result<()> {
    move |t| {
        let lines = t.spout("lines", 1, LogSpout::<String>::from_stream("lines"))?;
        let config = EventTime { idle_ms, ..EventTime::default() };
        let lines = lines.event_time_with(config, |line| at_of(line))?;
        let of = |line: &String| line.split(' ').next().unwrap_or_default().to_owned();
        let windows = lines
            .fields_by(of)
            .window(Tumbling::of(Duration::from_millis(10)))
            .event_time(|line: &String| at_of(line))
            .late_stream();
        let (counts, late) =
            windows.aggregate_with("count", 2, Count, |word: &String, told, n: u64| {
                [format!("{word} {} {n}", told.window.end_ms)]
            })?;
        late.sink("late", LogSink::to_stream("late").partitions(1))?;
        counts.sink("out", LogSink::to_stream("counts").partitions(1))
    }
}

/// Trap 11: windows that never end, because one partition has nothing.
#[test]
fn trap_11_a_partition_without_anything_does_not_hold_windows_up() {
    let told = |idle_ms: u64| {
        let mut t = TopologyTest::new(windows(idle_ms)).unwrap();
        let on = |t: &mut TopologyTest| t.advance(Duration::from_millis(100)).unwrap();
        t.partitions("lines", 2);
        // By turns: the second partition gets what keeps it far behind, and then nothing.
        for (one, other) in [("a 1", "b 2"), ("a 15", "b 3"), ("a 60", "b 4")] {
            t.send("lines", [one, other]).unwrap();
        }
        on(&mut t);
        t.send("lines", ["a 70"]).unwrap();
        on(&mut t);
        on(&mut t);
        let mut told = t.output::<String>("counts").unwrap();
        told.sort();
        told
    };
    assert_eq!(told(30), ["a 10 1", "a 20 1", "a 70 1", "b 10 3"], "it is left out");
    assert_eq!(told(3_600_000), [""; 0], "control: one that is not idle yet is waited for");
}

/// Trap 12: late tuples that come twice to the late stream, or not at all, after a failure.
#[test]
fn trap_12_late_tuples_are_in_the_late_stream_once_whatever_was_killed() {
    let mut kills = 0;
    for seed in 0..12 {
        let mut t = TopologyTest::new(windows(20)).unwrap().seed(seed);
        t.partitions("lines", 1);
        t.send("lines", ["a 5", "b 7", "a 100"]).unwrap();
        t.run_until_idle().unwrap();
        t.kill_anywhere();
        t.send("lines", ["a 6", "b 8", "c 105", "a 101"]).unwrap();
        t.run_until_idle().unwrap();
        kills += t.kills();
        let mut late = t.output::<String>("late").unwrap();
        late.sort();
        assert_eq!(late, ["a 6", "b 8"], "seed {seed}");
        t.send("lines", ["z 1000"]).unwrap();
        t.run_until_idle().unwrap();
        let mut counts = t.output::<String>("counts").unwrap();
        counts.sort();
        assert_eq!(counts, ["a 10 1", "a 110 2", "b 10 1", "c 110 1"], "seed {seed}");
    }
    assert!(kills >= 12, "{kills} kills");
}
