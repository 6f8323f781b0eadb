//! State whose type changed, and what becomes of it: converted where the code says how, and refused otherwise.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use egret::replica::{Replica, ReplicaOptions};
use egret::{
    Blob, ComponentResult, Context, Conversions, Emitter, InMemory, KeyedBolt, ListState, LogSink,
    LogSpout, MapState, Rescale, RunOptions, StatefulBolt, Storage, Summary, Timer, Topology,
    TopologyBuilder, Value,
};
use egret_log::stream::{Format, ReadFrom, Record, StreamConfig};
use egret_log::{Log, LogConfig};
use egret_state::keyed::State;
use egret_state_large::LargerThanMemory;

type Out = (Blob, String);

/// How often a word came, and after which numbers: a hash of all of them that knows their order.
trait Counts: State {
    fn count(&mut self, number: u64) -> (u64, u64);
}

fn hashed(hash: u64, number: u64) -> u64 {
    hash.wrapping_mul(31).wrapping_add(number + 1)
}

/// One value.
type Old = (u64, u64);

impl Counts for Old {
    fn count(&mut self, number: u64) -> (u64, u64) {
        *self = (self.0 + 1, hashed(self.1, number));
        *self
    }
}

egret::state! {
    /// Cells; the numbers since the conversion are kept one by one, and what was before as a hash.
    struct New {
        before: Value<Option<Old>>,
        numbers: ListState<u64>,
        by: MapState<u64, u32>,
    }
}

impl New {
    fn all(&self) -> Old {
        let before = self.before.unwrap_or_default();
        self.numbers.iter().fold(before, |(n, hash), number| (n + 1, hashed(hash, *number)))
    }
}

impl Counts for New {
    fn count(&mut self, number: u64) -> (u64, u64) {
        self.numbers.push(number);
        *self.by.or_default(number % 5) += 1;
        if self.numbers.len() == 20 {
            // What is cut off is a change of every cell there is.
            *self.before = Some(self.all());
            self.numbers.clear();
            self.by.clear();
        }
        self.all()
    }
}

/// Counts words, and falls now and then.
struct Count<S> {
    falls: Falls,
    conversions: fn() -> Conversions<S>,
}

#[derive(Clone)]
struct Falls(Arc<AtomicU64>, u64);

impl Falls {
    fn here(&self) {
        let call = self.0.fetch_add(1, Ordering::Relaxed) + 1;
        assert!(!call.is_multiple_of(self.1), "a fall at call {call}");
    }
}

fn calm() -> Falls {
    Falls(Arc::default(), u64::MAX)
}

/// A line `word number`.
fn parse(line: &str) -> (&str, u64) {
    let (word, number) = line.split_once(' ').unwrap();
    (word, number.parse().unwrap())
}

impl<S: Counts> KeyedBolt<str, String, Out> for Count<S> {
    type State = S;

    fn conversions(&self) -> Conversions<S> {
        (self.conversions)()
    }

    fn execute(
        &mut self,
        word: &str,
        state: &mut S,
        line: String,
        out: &mut Emitter<Out>,
        cx: &Context,
    ) -> ComponentResult {
        let (n, hash) = state.count(parse(&line).1);
        out.emit((Blob::from(word.as_bytes()), format!("{n} {hash}")));
        if n == 1 {
            cx.timers().set(Timer::event(1 << 40))?;
        }
        self.falls.here();
        Ok(())
    }

    fn on_timer(
        &mut self,
        word: &str,
        _: &mut S,
        _: Timer,
        out: &mut Emitter<Out>,
        _: &Context,
    ) -> ComponentResult {
        out.emit((Blob::from(word.as_bytes()), "timer".to_owned()));
        Ok(())
    }
}

fn to_new() -> Conversions<New> {
    Conversions::none().of(|old: Old| {
        let mut new = New::default();
        *new.before = Some(old);
        new
    })
}

fn to_old() -> Conversions<Old> {
    Conversions::none().of(|new: New| new.all())
}

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

    fn write(&self, lines: &[String]) {
        let records: Vec<_> = lines.iter().cloned().map(Record::of).collect();
        self.log.writer_of("in", 0, &Format::Utf8).unwrap().append_wait(&records).unwrap();
    }

    fn out(&self) -> BTreeMap<String, Vec<String>> {
        let mut said = BTreeMap::<_, Vec<_>>::new();
        for partition in 0..2 {
            let mut reader = self.log.reader("out", partition, ReadFrom::Earliest).unwrap();
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

    fn run(&self, topology: Topology, undo_bytes_max: usize) -> Result<Summary, String> {
        let options = RunOptions {
            workers: 2,
            commit_ms: 2,
            epoch_ms: 1,
            epoch_bytes_max: 4 << 10,
            tries: 50,
            undo_bytes_max,
            ..RunOptions::default()
        };
        let run = topology.run(&self.log, &options, &Arc::default());
        run.map_err(|error| egret::chain(&error))
    }
}

fn counting<S: Counts>(
    tasks: u32,
    storage: impl Storage,
    falls: &Falls,
    conversions: fn() -> Conversions<S>,
) -> Topology {
    let mut builder = TopologyBuilder::new("counts");
    builder.key_groups(64);
    let spout = LogSpout::<String>::from_stream("in").bounded();
    let lines = builder.spout("in", 1, spout).unwrap();
    let lines = lines.event_time(|line| if line.starts_with("end ") { 1 << 40 } else { 0 });
    let falls = falls.clone();
    let make = move || Count { falls: falls.clone(), conversions };
    let words = lines.unwrap().fields(|line| parse(line).0);
    let counts = words.keyed_with("count", tasks, storage, make).unwrap();
    counts.sink("out", LogSink::to_stream("out").partitions(2)).unwrap();
    builder.finish().unwrap()
}

/// Some words in every part, some in one, some not for long.
fn lines(part: u64) -> Vec<String> {
    let word = |i: u64| match i % 4 {
        0 => format!("once{i}-{part}"),
        1 => format!("always{}", i * i % 59),
        _ => format!("part{}-{}", part % 3, i % 97),
    };
    (0..1500).map(|i| format!("{} {i}", word(i))).collect()
}

fn expected(lines: &[String]) -> BTreeMap<String, Vec<String>> {
    let (mut states, mut said) = (BTreeMap::<_, Old>::new(), BTreeMap::<String, Vec<_>>::new());
    for line in lines {
        let (word, number) = parse(line);
        let (n, hash) = states.entry(word).or_default().count(number);
        said.entry(word.to_owned()).or_default().push(format!("{n} {hash}"));
    }
    said
}

/// Types take turns, with failures, other numbers of tasks, and keys that come back much later.
fn types_take_turns(run: impl Fn(&Place, bool, u32, &Falls, usize) -> u32) {
    let place = Place::new();
    let falls = Falls(Arc::default(), 1009);
    let (mut all, mut restarts) = (Vec::new(), 0);
    for (nth, (is_new, tasks)) in
        [(false, 2), (true, 3), (true, 3), (false, 1), (true, 4), (true, 1), (false, 2), (true, 2)]
            .into_iter()
            .enumerate()
    {
        let part = lines(nth as u64);
        place.write(&part);
        all.extend(part);
        // Every other time nothing is kept in memory.
        let undo = if nth % 2 == 0 { 1 << 20 } else { 0 };
        restarts += run(&place, is_new, tasks, &falls, undo);
        assert!(place.out() == expected(&all), "run {nth}: something was lost or repeated");
    }
    assert!(restarts > 5, "{restarts} restarts");
    // Timers that were set under any type are there.
    place.write(&["end 0".to_owned()]);
    run(&place, true, 2, &calm(), 0);
    let out = place.out();
    let words: BTreeSet<_> = all.iter().map(|line| parse(line).0).collect();
    assert_eq!(out.len(), words.len() + 1);
    assert!(words.iter().all(|word| out[*word].last().unwrap() == "timer"));
}

#[test]
fn types_take_turns_in_memory() {
    types_take_turns(|place, is_new, tasks, falls, undo| {
        let topology = match is_new {
            true => counting(tasks, InMemory, falls, to_new),
            false => counting(tasks, InMemory, falls, to_old),
        };
        place.run(topology, undo).unwrap().restarts
    });
}

#[test]
fn types_take_turns_where_next_to_nothing_is_in_memory() {
    types_take_turns(|place, is_new, tasks, falls, undo| {
        let storage = LargerThanMemory::with_cache_bytes(64 << 10);
        let topology = match is_new {
            true => counting(tasks, storage, falls, to_new),
            false => counting(tasks, storage, falls, to_old),
        };
        place.run(topology, undo).unwrap().restarts
    });
}

#[test]
fn nothing_is_converted_that_is_not_named_and_a_refusal_is_the_conversions() {
    let place = Place::new();
    let none_new: fn() -> Conversions<New> = Conversions::none;
    place.write(&["word 1".to_owned(), "heron 7".to_owned()]);
    place.run(counting::<Old>(2, InMemory, &calm(), Conversions::none), 0).unwrap();
    let said = place.out();
    let refused = |why: String, what: &str| {
        assert!(why.contains("component `count`, key group "), "{why}");
        assert!(why.contains(what), "{why}");
        assert_eq!(place.out(), said, "nothing was written");
    };
    place.write(&["word 2".to_owned()]);
    let why = place.run(counting(2, InMemory, &calm(), none_new), 0).unwrap_err();
    refused(why, "does not read the other: state: was one value, is cells");
    // Of another label, that is another schema.
    let labelled = || Conversions::none().try_of("v1", |_: Old| Ok(New::default()));
    let why = place.run(counting(2, InMemory, &calm(), labelled), 0).unwrap_err();
    refused(why, "does not read the other: state: was one value, is cells");
    let fails = || {
        Conversions::none().try_of("", |(n, hash): Old| match n {
            0 => Ok(New::default()),
            _ => Err(format!("a count of {n} with {hash} cannot be")),
        })
    };
    let why = place.run(counting(2, InMemory, &calm(), fails), 0).unwrap_err();
    refused(why, "a state of an older type does not become one under schema");
    // The old code goes on, and then the new one.
    place.run(counting::<Old>(2, InMemory, &calm(), Conversions::none), 0).unwrap();
    place.write(&["word 3".to_owned()]);
    place.run(counting(1, InMemory, &calm(), to_new), 0).unwrap();
    let all = ["word 1", "heron 7", "word 2", "word 3"].map(str::to_owned);
    assert_eq!(place.out(), expected(&all));
    // Whoever has not the program sees each key as it was written: what little there is was written anew.
    let mut replica = Replica::new("counts", ReplicaOptions::default());
    replica.catch_up(&place.log).unwrap();
    let shown = replica.read();
    let heron = shown.get("count", "heron").unwrap().unwrap();
    assert_eq!(heron["before"], serde_json::json!([1, hashed(0, 7)]));
    let word = shown.get("count", "word").unwrap().unwrap();
    assert_eq!(word["before"], serde_json::json!([2, hashed(hashed(0, 1), 2)]));
    assert_eq!(word["numbers"], serde_json::json!([3]));
    drop(shown);
    // The old code does not read what the new one wrote.
    let why = place.run(counting::<Old>(1, InMemory, &calm(), Conversions::none), 0).unwrap_err();
    assert!(why.contains("does not read the other"), "{why}");
}

/// A conversion goes before a format that happens to read the bytes.
#[test]
fn what_could_be_read_as_it_is_is_converted_when_that_is_said() {
    egret::state! {
        struct Cells {
            n: Value<u64>,
        }
    }
    egret::state! {
        struct MoreCells {
            n: Value<u64>,
            from: Value<Option<u64>>,
        }
    }
    impl Counts for Cells {
        fn count(&mut self, _: u64) -> (u64, u64) {
            *self.n += 1;
            (*self.n, 0)
        }
    }
    impl Counts for MoreCells {
        fn count(&mut self, _: u64) -> (u64, u64) {
            *self.n += 1;
            (*self.n, self.from.unwrap_or_default())
        }
    }
    let place = Place::new();
    let conversions: fn() -> Conversions<MoreCells> = || {
        Conversions::none().of(|old: Cells| {
            let mut more = MoreCells::default();
            (*more.n, *more.from) = (*old.n, Some(*old.n));
            more
        })
    };
    for (line, converts) in [("word 1", None), ("word 2", Some(true)), ("word 3", Some(false))] {
        place.write(&[line.to_owned()]);
        let topology = match converts {
            None => counting::<Cells>(1, InMemory, &calm(), Conversions::none),
            Some(true) => counting(1, InMemory, &calm(), conversions),
            // Whoever leaves it out reads what is left of the old ones as they are.
            Some(false) => counting::<MoreCells>(1, InMemory, &calm(), Conversions::none),
        };
        place.run(topology, 0).unwrap();
    }
    assert_eq!(place.out()["word"], ["1 0", "2 1", "3 1"]);
}

/// Holds lines until there are seven, as texts or with their numbers.
struct Hold<S>(fn() -> Conversions<S>, Rescale<S>);

trait Holds: State {
    fn hold(&mut self, line: String);
    fn take(&mut self) -> Vec<String>;
}

impl Holds for Vec<String> {
    fn hold(&mut self, line: String) {
        self.push(line);
    }
    fn take(&mut self) -> Vec<String> {
        std::mem::take(self)
    }
}

impl Holds for ListState<(String, u64)> {
    fn hold(&mut self, line: String) {
        let (word, number) = parse(&line);
        self.push((word.to_owned(), number));
    }
    fn take(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.pop_front()).map(|(w, n)| format!("{w} {n}")).collect()
    }
}

impl<S: Holds> StatefulBolt<String, Out> for Hold<S> {
    type State = S;

    fn conversions(&self) -> Conversions<S> {
        (self.0)()
    }

    fn execute(
        &mut self,
        held: &mut S,
        line: String,
        out: &mut Emitter<Out>,
        _: &Context,
    ) -> ComponentResult {
        let number = parse(&line).1;
        let ends = line.starts_with("end ");
        held.hold(line);
        if ends || number.is_multiple_of(7) {
            held.take().into_iter().for_each(|line| out.emit((Blob::from("line"), line)));
        }
        Ok(())
    }

    fn rescale(&self) -> Rescale<S> {
        self.1
    }
}

/// Lines go to any task, and what is at the end to all of them.
fn holding<S: Holds>(
    tasks: u32,
    make: impl Fn() -> Hold<S> + Send + Sync + 'static,
) -> egret::Result<Topology> {
    let mut t = TopologyBuilder::new("hold");
    let spout = |of: &str| LogSpout::<String>::from_stream(of).bounded();
    let lines = t.spout("in", 1, spout("in"))?;
    let ends = t.spout("ends", 1, spout("ends"))?;
    let held = lines.shuffle().union(ends.all())?.stateful("hold", tasks, make)?;
    held.sink("out", LogSink::to_stream("out").partitions(2))?;
    t.finish()
}

#[test]
fn what_tasks_hold_is_converted_and_rescaled_at_once() {
    let place = Place::new();
    let format = Format::Utf8;
    place.log.create_stream("ends", StreamConfig { format, ..StreamConfig::default() }).unwrap();
    let texts = || Hold::<Vec<String>>(Conversions::none, Rescale::items());
    place.write(&(1..=100).map(|n| format!("w{n} {n}")).collect::<Vec<_>>());
    place.run(holding(3, texts).unwrap(), 0).unwrap();
    let sent = place.out()["line"].len();
    assert!((20..100).contains(&sent), "{sent}");
    let ends = place.log.writer_of("ends", 0, &Format::Utf8).unwrap();
    ends.append_wait(&[Record::of("end 0".to_owned())]).unwrap();
    let numbered = || {
        let conversions: fn() -> Conversions<ListState<(String, u64)>> = || {
            Conversions::none().of(|texts: Vec<String>| {
                let mut held = ListState::<(String, u64)>::default();
                texts.into_iter().for_each(|text| held.hold(text));
                held
            })
        };
        Hold(conversions, Rescale::items())
    };
    place.run(holding(5, numbered).unwrap(), 0).unwrap();
    let mut lines = place.out()["line"].clone();
    lines.retain(|line| line != "end 0");
    lines.sort_by_key(|line| parse(line).1);
    assert_eq!(lines, (1..=100).map(|n| format!("w{n} {n}")).collect::<Vec<_>>());
}
