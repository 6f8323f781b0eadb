//! Tuples at which a bolt fails: tried again, made dead letters, or the end of the generation. Whatever becomes of them,
//! nothing of a failed call is kept, and everything else is counted exactly.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use egret::window::{Count, EveryTuples, Sessions, Tumbling};
use egret::{
    Blob, Bolt, BuildError, ComponentResult, Context, DeadLetter, Emitter, Error, KeyedBolt,
    LogSink, LogSpout, MapState, OnError, Progress, Rescale, RunOptions, StatefulBolt, Stream,
    Summary, Then, Timer, TopologyBuilder,
};
use egret_log::stream::{Format, ReadFrom, Record, StreamConfig};
use egret_log::{Log, LogConfig};
use egret_state::keyed::State;

/// `w` is good, `w!` an error, `w?` a panic, and at `w~3` the first three calls fail.
fn word(tuple: &str) -> &str {
    tuple.split(['!', '?', '~']).next().unwrap()
}

/// How often each tuple was tried, in all runs and generations.
#[derive(Clone, Default)]
struct Calls(Arc<Mutex<BTreeMap<String, u32>>>);

impl Calls {
    fn of(&self, tuple: &str) -> u32 {
        self.0.lock().unwrap().get(tuple).copied().unwrap_or_default()
    }

    /// Fails as the tuple says.
    fn end(&self, tuple: &str) -> ComponentResult {
        let mut calls = self.0.lock().unwrap();
        let n = calls.entry(tuple.to_owned()).or_default();
        *n += 1;
        let tries = tuple.split_once('~').map_or(0, |(_, tries)| tries.parse().unwrap());
        let fails = *n <= tries;
        drop(calls);
        assert!(!tuple.ends_with('?'), "no good: {tuple}");
        if tuple.ends_with('!') || fails {
            return Err(format!("no {tuple}").into());
        }
        Ok(())
    }
}

/// A state that counts.
trait Tallied: State {
    fn add(&mut self) -> u64;
}

impl Tallied for u64 {
    fn add(&mut self) -> u64 {
        *self += 1;
        *self
    }
}

impl Tallied for MapState<u8, u64> {
    fn add(&mut self) -> u64 {
        let n = self.or_default(7);
        *n += 1;
        *n
    }
}

/// Counts words. A call that fails has emitted, changed its state and set a timer before.
struct Tally<S>(Calls, PhantomData<S>);

impl<S: Tallied> Tally<S> {
    fn count(
        &self,
        word: &str,
        state: &mut S,
        tuple: &str,
        out: &mut Emitter<(String, u64)>,
        cx: &Context,
    ) -> ComponentResult {
        out.emit((word.to_owned(), state.add()));
        if tuple != word {
            cx.timers().set(Timer::processing(0))?;
        }
        self.0.end(tuple)?;
        cx.timers().cancel(Timer::processing(0))?;
        Ok(())
    }
}

impl<S: Tallied> KeyedBolt<str, String, (String, u64)> for Tally<S> {
    type State = S;

    fn execute(
        &mut self,
        word: &str,
        state: &mut S,
        tuple: String,
        out: &mut Emitter<(String, u64)>,
        cx: &Context,
    ) -> ComponentResult {
        self.count(word, state, &tuple, out, cx)
    }

    fn flush(
        &mut self,
        word: &str,
        _: &mut S,
        out: &mut Emitter<(String, u64)>,
        _: &Context,
    ) -> ComponentResult {
        out.emit((format!("{word} changed"), 0));
        Ok(())
    }

    fn on_timer(
        &mut self,
        _: &str,
        _: &mut S,
        _: Timer,
        _: &mut Emitter<(String, u64)>,
        _: &Context,
    ) -> ComponentResult {
        Err("a timer that a failed call set".into())
    }
}

impl<S: Tallied> StatefulBolt<String, (String, u64)> for Tally<S> {
    type State = S;

    fn execute(
        &mut self,
        state: &mut S,
        tuple: String,
        out: &mut Emitter<(String, u64)>,
        cx: &Context,
    ) -> ComponentResult {
        self.count("all", state, &tuple, out, cx)
    }

    fn rescale(&self) -> Rescale<S> {
        Rescale::Copy
    }
}

/// Emits each word once, and much beside one that may fail: many batches, before it is known.
struct Plain(Calls);

impl Bolt<String, (String, u64)> for Plain {
    fn execute(
        &mut self,
        tuple: String,
        out: &mut Emitter<(String, u64)>,
        _: &Context,
    ) -> ComponentResult {
        out.emit((word(&tuple).to_owned(), 1));
        if word(&tuple) != tuple {
            (0..20_000).for_each(|n| out.emit((format!("beside {}", word(&tuple)), n)));
        }
        self.0.end(&tuple)
    }
}

fn open(dir: &tempfile::TempDir) -> Log {
    let log = Log::open(dir.path(), LogConfig::default()).unwrap();
    let format = Format::Utf8;
    log.create_stream("words", StreamConfig { format, ..StreamConfig::default() }).unwrap();
    log
}

fn append(log: &Log, words: &[&str]) {
    let records: Vec<_> = words.iter().map(|word| Record::of((*word).to_owned())).collect();
    log.writer_of("words", 0, &Format::Utf8).unwrap().append_wait(&records).unwrap();
}

/// What is counted in which way.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Way {
    Plain,
    Value,
    Cells,
    Task,
}

const WAYS: [Way; 4] = [Way::Plain, Way::Value, Way::Cells, Way::Task];

/// Counts what was not counted yet. `trap` hears of every result and may fail the generation.
fn run(
    log: &Log,
    (way, tasks): (Way, u32),
    on_error: OnError,
    calls: &Calls,
    trap: impl Fn() + Clone + Send + Sync + 'static,
) -> Result<Summary, Error> {
    let mut t = TopologyBuilder::new("tally");
    let words = t.spout("words", 1, LogSpout::<String>::from_stream("words").bounded())?;
    let (one, calls) = (calls.clone(), calls.clone());
    let tallied = match way {
        Way::Plain => words.shuffle().bolt("tally", tasks, move || Plain(calls.clone())),
        Way::Value => words
            .fields(|tuple: &String| word(tuple))
            .keyed("tally", tasks, move || Tally::<u64>(calls.clone(), PhantomData)),
        Way::Cells => words
            .fields(|tuple: &String| word(tuple))
            .keyed("tally", tasks, move || Tally::<MapState<u8, u64>>(one.clone(), PhantomData)),
        Way::Task => words
            .global()
            .stateful("tally", 1, move || Tally::<MapState<u8, u64>>(one.clone(), PhantomData)),
    }?;
    tallied.on_error(on_error)?;
    if matches!(on_error, OnError::DeadLetter | OnError::Retry { then: Then::DeadLetter, .. }) {
        let letters: Stream<DeadLetter<String>> = tallied.dead_letters()?;
        letters.sink("letters", LogSink::to_stream("letters").partitions(1))?;
    }
    let counted = tallied.shuffle().bolt("trap", 1, move || {
        let trap = trap.clone();
        move |(word, n): (String, u64), out: &mut Emitter<(Blob, u64)>| {
            trap();
            out.emit((Blob::from(word.as_str()), n));
        }
    })?;
    counted.sink("counts", LogSink::to_stream("counts").partitions(1))?;
    let options = RunOptions { workers: tasks, commit_ms: 1, ..RunOptions::default() };
    t.finish()?.run(log, &options, &Arc::new(Progress::default()))
}

fn records(log: &Log, stream: &str, format: &Format) -> Vec<Record> {
    let mut reader = log.reader_of(stream, 0, ReadFrom::Earliest, format).unwrap();
    let mut all = Vec::new();
    while let Some(batch) = reader.next_wait(Duration::ZERO).unwrap() {
        all.extend(batch.records);
    }
    all
}

/// What was said of each word, in order.
fn counts(log: &Log) -> BTreeMap<String, Vec<u64>> {
    let mut counts = BTreeMap::<_, Vec<u64>>::new();
    for record in records(log, "counts", &Format::Bytes) {
        let word = String::from_utf8(record.key.unwrap().to_vec()).unwrap();
        let n = std::str::from_utf8(&record.value).unwrap().parse().unwrap();
        counts.entry(word).or_default().push(n);
    }
    counts
}

/// What each dead letter says, in the order of their tuples.
fn letters(log: &Log) -> Vec<(String, String, u64)> {
    let read = |record: &Record| -> (String, String, u64) {
        let letter: DeadLetter<String> = serde_json::from_slice(&record.value).unwrap();
        assert_eq!(letter.component, "tally");
        (letter.tuple, letter.error, letter.tries.into())
    };
    let mut all: Vec<_> = records(log, "letters", &Format::Json).iter().map(read).collect();
    all.sort();
    all
}

/// Asserts that these words were counted so often, and nothing else.
fn are_counted(log: &Log, way: Way, wanted: &[(&str, u64)]) {
    let mut counts = counts(log);
    for (word, n) in wanted {
        let numbers = match way {
            Way::Plain => (0..*n).map(|_| 1).collect(),
            _ => (1..=*n).collect(),
        };
        assert_eq!(counts.remove(*word), Some(numbers), "{way:?}: {word}");
        let changed = counts.remove(&format!("{word} changed"));
        assert_eq!(changed.is_some(), matches!(way, Way::Value | Way::Cells), "{way:?}: {word}");
    }
    assert_eq!(counts, BTreeMap::new(), "{way:?}");
}

const WORDS: [&str; 9] = ["a", "b!", "a!", "a", "c?", "b", "a?", "a", "b"];

#[test]
fn a_tuple_at_which_a_bolt_fails_is_a_dead_letter_and_nothing_of_its_call_is_kept() {
    for (way, tasks) in WAYS.into_iter().flat_map(|way| [(way, 1), (way, 2)]) {
        let dir = tempfile::tempdir().unwrap();
        let log = open(&dir);
        append(&log, &WORDS);
        let summary = run(&log, (way, tasks), OnError::DeadLetter, &Calls::default(), || {});
        assert_eq!(summary.unwrap().restarts, 0, "{way:?}");
        match way {
            Way::Task => are_counted(&log, way, &[("all", 5)]),
            _ => are_counted(&log, way, &[("a", 3), ("b", 2)]),
        }
        let panicked = |tuple: &str| format!("panicked: no good: {tuple}");
        let wanted = [
            ("a!", "no a!".to_owned()),
            ("a?", panicked("a?")),
            ("b!", "no b!".to_owned()),
            ("c?", panicked("c?")),
        ];
        let wanted = wanted.map(|(tuple, why)| (tuple.to_owned(), why, 1));
        assert_eq!(letters(&log), wanted, "{way:?}");
        log.close().unwrap();
    }
}

#[test]
fn a_tuple_is_tried_again_until_a_call_is_good_and_counts_once() {
    for (way, backoff) in WAYS.into_iter().flat_map(|way| [(way, 0), (way, 3)]) {
        let dir = tempfile::tempdir().unwrap();
        let log = open(&dir);
        append(&log, &["a", "a~2", "b~3", "c~4", "a", "b"]);
        let backoff = Duration::from_millis(backoff);
        let on_error = OnError::Retry { times: 3, backoff, then: Then::DeadLetter };
        let calls = Calls::default();
        assert_eq!(run(&log, (way, 2), on_error, &calls, || {}).unwrap().restarts, 0);
        assert_eq!(["a~2", "b~3", "c~4"].map(|tuple| calls.of(tuple)), [3, 4, 4], "{way:?}");
        let mut counted = counts(&log);
        if way == Way::Plain {
            for word in ["a", "b"] {
                let beside = counted.remove(&format!("beside {word}")).unwrap();
                assert_eq!(beside, (0..20_000).collect::<Vec<_>>(), "in order");
            }
            assert_eq!(
                counted,
                [("a".to_owned(), vec![1; 3]), ("b".to_owned(), vec![1; 2])].into()
            );
        } else {
            let wanted: &[_] = if way == Way::Task { &[("all", 5)] } else { &[("a", 3), ("b", 2)] };
            are_counted(&log, way, wanted);
        }
        assert_eq!(letters(&log), [("c~4".to_owned(), "no c~4".to_owned(), 4)]);
        log.close().unwrap();
    }
}

#[test]
fn a_tuple_that_is_tried_in_vain_fails_the_topology_where_that_was_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(&dir);
    append(&log, &["a", "a!"]);
    let (calls, none) = (Calls::default(), Duration::ZERO);
    let on_error = OnError::Retry { times: 2, backoff: none, then: Then::Fail };
    let error = run(&log, (Way::Value, 1), on_error, &calls, || {}).unwrap_err().to_string();
    assert!(error.contains("3 time(s)") && error.contains("task tally/0: no a!"), "{error}");
    assert_eq!(calls.of("a!"), 9, "three generations, each of which tried it three times");
    assert_eq!(counts(&log), BTreeMap::new(), "nothing of the commit that cannot be made");
    log.close().unwrap();
}

/// Generations fail again and again, in the middle of commits: letters are there once, and so is what was counted.
#[test]
fn dead_letters_are_exact_over_generations_that_fail() {
    for way in WAYS {
        let dir = tempfile::tempdir().unwrap();
        let log = open(&dir);
        let calls = Calls::default();
        let words: Vec<String> = (0..240)
            .map(|n| match n % 7 {
                3 => format!("w{n}!"),
                5 => format!("w{n}?"),
                _ => format!("w{}", n % 4),
            })
            .collect();
        let results = Arc::new(AtomicU32::new(0));
        let trap = move || {
            let n = results.fetch_add(1, Ordering::Relaxed);
            assert!(n != 50 && n != 133, "a trap after {n} results");
        };
        let mut restarts = 0;
        for part in words.chunks(80) {
            append(&log, &part.iter().map(String::as_str).collect::<Vec<_>>());
            let trap = trap.clone();
            restarts += run(&log, (way, 2), OnError::DeadLetter, &calls, trap).unwrap().restarts;
        }
        assert_eq!(restarts, 2, "{way:?}");
        let mut bad: Vec<_> = words.iter().filter(|w| w.ends_with(['!', '?'])).cloned().collect();
        bad.sort();
        let buried: Vec<_> = letters(&log).into_iter().map(|(tuple, ..)| tuple).collect();
        assert_eq!(buried, bad, "{way:?}");
        let mut wanted = BTreeMap::<&str, u64>::new();
        for good in words.iter().filter(|w| !w.ends_with(['!', '?'])) {
            *wanted.entry(if way == Way::Task { "all" } else { good }).or_default() += 1;
        }
        are_counted(&log, way, &wanted.into_iter().collect::<Vec<_>>());
        log.close().unwrap();
    }
}

/// Counts windows, and fails at the third tuple of each: when it tells of it. What a window keeps, its trigger's part and its
/// sessions included, is as before each time, so the fourth tuple is the third again.
#[test]
fn windows_are_as_they_were_when_what_is_said_of_them_fails() {
    for sessions in [false, true] {
        let dir = tempfile::tempdir().unwrap();
        let log = open(&dir);
        append(&log, &["a", "b", "a", "a", "a", "a", "b"]);
        let mut t = TopologyBuilder::new("windows");
        let words = LogSpout::<String>::from_stream("words").bounded();
        let words = t.spout("words", 1, words).unwrap().event_time(|_| 0).unwrap();
        let keyed = words.fields(|word| word.as_str());
        let hour = Duration::from_secs(3600);
        let windowed = match sessions {
            true => keyed.window(Sessions::with_gap(hour)),
            false => keyed.window(Tumbling::of(hour)),
        };
        let told = windowed
            .event_time(|_| 0)
            .trigger(EveryTuples(1))
            .aggregate_with("count", 1, Count, |word: &str, _, n: u64| {
                assert!(n < 3, "three of {word}");
                [(Blob::from(word), n)]
            })
            .unwrap();
        told.on_error(OnError::DeadLetter).unwrap();
        let letters: Stream<DeadLetter<String>> = told.dead_letters().unwrap();
        letters.sink("letters", LogSink::to_stream("letters").partitions(1)).unwrap();
        told.sink("counts", LogSink::to_stream("counts").partitions(1)).unwrap();
        let options = RunOptions { commit_ms: 1, ..RunOptions::default() };
        t.finish().unwrap().run(&log, &options, &Arc::new(Progress::default())).unwrap();
        let told: Vec<_> = ["a", "b"].map(|word| (word.to_owned(), vec![1, 2])).into();
        assert_eq!(counts(&log), told.into_iter().collect(), "sessions: {sessions}");
        let letters: Vec<DeadLetter<String>> = records(&log, "letters", &Format::Json)
            .iter()
            .map(|record| serde_json::from_slice(&record.value).unwrap())
            .collect();
        assert_eq!(letters.len(), 3);
        assert!(letters.iter().all(|letter| letter.error == "panicked: three of a"), "{letters:?}");
        log.close().unwrap();
    }
}

fn refusal(build: impl FnOnce(&mut TopologyBuilder, Stream<String>) -> egret::Result<()>) -> Error {
    let mut t = TopologyBuilder::new("t");
    let words = t.spout("words", 1, LogSpout::<String>::from_stream("words")).unwrap();
    build(&mut t, words).and_then(|()| t.finish().map(drop)).unwrap_err()
}

#[test]
fn dead_letters_that_cannot_be_are_refused_with_what_to_do() {
    let plain =
        |words: &Stream<String>| words.shuffle().bolt("plain", 1, || Plain(Calls::default()));
    let told = refusal(|_, words| words.on_error(OnError::DeadLetter).map(drop));
    assert!(
        matches!(&told, Error::Build(why) if matches!(**why, BuildError::NotABolt { .. })),
        "{told}"
    );
    let told = refusal(|_, words| plain(&words)?.dead_letters::<String>().map(drop)).to_string();
    assert!(told.contains("say `on_error(OnError::DeadLetter)` of it before"), "{told}");
    let told = refusal(|_, words| {
        let bolt = plain(&words)?.on_error(OnError::DeadLetter)?;
        bolt.dead_letters::<u64>().map(drop)
    });
    let wanted = "bolt `plain` takes tuples of `String`, so its dead letters are not of `u64`: take `dead_letters::<String>()`";
    assert_eq!(told.to_string(), wanted);
    let told = refusal(|_, words| {
        let counts = plain(&words)?.on_error(OnError::DeadLetter)?;
        counts.sink("out", LogSink::to_stream("out"))
    });
    assert!(told.to_string().contains("the dead letters of bolt `plain` go nowhere"), "{told}");
    let told = refusal(|_, words| {
        let both = plain(&words)?;
        both.union(&both)?.on_error(OnError::DeadLetter).map(drop)
    });
    assert!(told.to_string().contains("the stream is that of `plain`, `plain`"), "{told}");
    let told = refusal(|_, words| {
        let letters = plain(&words)?.on_error(OnError::DeadLetter)?.dead_letters::<String>()?;
        letters.sink("letters", LogSink::to_stream("letters"))
    });
    assert!(told.to_string().contains("the output of `plain` goes nowhere"), "{told}");
}
