//! Groupings and named outputs through whole topologies, on one worker and on two: which task got what.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[expect(dead_code, reason = "the whole of it is used by the tests beside it")]
mod counting;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use egret::grouping::{CustomGrouping, Receivers};
use egret::{
    Blob, Bolt, ComponentResult, Context, Either, Emitter, Error, Grouped, KeyedBolt, LogSink,
    LogSpout, Output, Progress, RunOptions, Stream, Summary, Topology, TopologyBuilder,
};
use egret_log::Log;
use egret_log::stream::{Format, Record, StreamConfig};

use counting::{open, rows};

const TUPLES: u64 = 900;

/// Stream `in` with the numbers below [`TUPLES`], in three partitions.
fn write_numbers(log: &Log) {
    let config = StreamConfig { partitions: 3, format: Format::Utf8, ..StreamConfig::default() };
    log.create_stream("in", config).unwrap();
    for partition in 0..3 {
        let of = (0..TUPLES).filter(|n| n % 3 == u64::from(partition));
        let records: Vec<_> = of.map(|n| Record::of(n.to_string())).collect();
        log.writer_of("in", partition, &Format::Utf8).unwrap().append_wait(&records).unwrap();
    }
}

fn numbers(t: &mut TopologyBuilder) -> Stream<String> {
    t.spout("in", 3, LogSpout::<String>::from_stream("in").bounded()).unwrap()
}

fn run(log: &Log, topology: &Topology, workers: u32) -> Result<Summary, Error> {
    // Small epochs, so that there are several commits and batches of all sizes.
    let options =
        RunOptions { workers, commit_ms: 2, epoch_bytes_max: 2 << 10, ..RunOptions::default() };
    topology.run(log, &options, &Arc::new(Progress::default()))
}

/// Says of each tuple which task had it: what it carried from tasks before, and its own.
#[derive(Default)]
struct Tag {
    task: u32,
}

/// A number, and the tasks it went through.
type Tagged = (u64, Vec<u32>);

impl Bolt<String, Tagged> for Tag {
    fn open(&mut self, cx: &Context) -> ComponentResult {
        self.task = cx.id().task;
        Ok(())
    }
    fn execute(&mut self, n: String, out: &mut Emitter<Tagged>, _: &Context) -> ComponentResult {
        out.emit((n.parse()?, vec![self.task]));
        Ok(())
    }
}

impl Bolt<Tagged, Tagged> for Tag {
    fn open(&mut self, cx: &Context) -> ComponentResult {
        self.task = cx.id().task;
        Ok(())
    }
    fn execute(
        &mut self,
        (n, mut tasks): Tagged,
        out: &mut Emitter<Tagged>,
        _: &Context,
    ) -> ComponentResult {
        tasks.push(self.task);
        out.emit((n, tasks));
        Ok(())
    }
}

fn texts(stream: &Stream<Tagged>, name: &str, to: &str) {
    texts_by(2, stream, name, to);
}

fn texts_by(tasks: u32, stream: &Stream<Tagged>, name: &str, to: &str) {
    let text = || {
        |(n, tasks): Tagged, out: &mut Emitter<(Blob, u64)>| {
            let tasks: Vec<_> = tasks.iter().map(u32::to_string).collect();
            out.emit((Blob::from(tasks.join(" ").as_bytes()), n));
        }
    };
    let rows = stream.local_or_shuffle().bolt(name, tasks, text).unwrap();
    rows.sink(&format!("{name}-out"), LogSink::to_stream(to).partitions(1)).unwrap();
}

/// For each number the tasks it went through, once for each copy of it.
fn read(log: &Log, stream: &str) -> BTreeMap<u64, Vec<Vec<u32>>> {
    let mut read = BTreeMap::<u64, Vec<Vec<u32>>>::new();
    for (tasks, n) in rows(log, stream).into_iter().flatten() {
        let tasks = String::from_utf8(tasks).unwrap();
        let tasks = tasks.split(' ').map(|task| task.parse().unwrap()).collect();
        read.entry(n).or_default().push(tasks);
    }
    read.values_mut().for_each(|copies| copies.sort());
    read
}

/// What comes out of three tasks that feed four by some grouping.
fn grouped(
    workers: u32,
    group: impl Fn(&Stream<Tagged>) -> Grouped<Tagged>,
) -> BTreeMap<u64, Vec<Vec<u32>>> {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    write_numbers(&log);
    let mut t = TopologyBuilder::new("grouped");
    let first = numbers(&mut t).local_or_shuffle().bolt("first", 3, Tag::default).unwrap();
    let second = group(&first).bolt("second", 4, Tag::default).unwrap();
    texts(&second, "texts", "out");
    run(&log, &t.finish().unwrap(), workers).unwrap();
    let read = read(&log, "out");
    assert_eq!(read.len() as u64, TUPLES, "nothing is lost");
    log.close().unwrap();
    read
}

/// The tasks of `second` for each number, where it comes once.
fn once(read: &BTreeMap<u64, Vec<Vec<u32>>>) -> BTreeMap<u64, [u32; 2]> {
    let one = |copies: &Vec<Vec<u32>>| match &copies[..] {
        [tasks] => [tasks[0], tasks[1]],
        more => panic!("{} copies", more.len()),
    };
    read.iter().map(|(n, copies)| (*n, one(copies))).collect()
}

fn counts(tasks: impl Iterator<Item = u32>) -> BTreeMap<u32, u64> {
    tasks.fold(BTreeMap::new(), |mut counts, task| {
        *counts.entry(task).or_default() += 1;
        counts
    })
}

#[test]
fn all_and_global_reach_the_tasks_they_name() {
    for workers in [1, 2] {
        for (n, copies) in grouped(workers, Stream::all) {
            let tasks: Vec<u32> = copies.iter().map(|tasks| tasks[1]).collect();
            assert_eq!(tasks, [0, 1, 2, 3], "{n} on {workers} workers");
        }
        let global = once(&grouped(workers, Stream::global));
        assert!(global.values().all(|[_, task]| *task == 0), "{workers} workers");
    }
}

#[test]
fn every_task_has_its_turn_and_rebalance_gives_each_as_much() {
    for workers in [1, 2] {
        for shuffle in [Stream::shuffle, Stream::none] {
            let shuffled = once(&grouped(workers, shuffle));
            assert_eq!(counts(shuffled.values().map(|[_, task]| *task)).len(), 4);
        }
        let rebalanced = once(&grouped(workers, Stream::rebalance));
        for emitter in 0..3 {
            let its = rebalanced.values().filter(|[from, _]| *from == emitter);
            let its: Vec<u64> = counts(its.map(|[_, to]| *to)).into_values().collect();
            let (least, most) = (its.iter().min().unwrap(), its.iter().max().unwrap());
            assert!(its.len() == 4 && most - least <= 1, "task {emitter} gave {its:?}");
        }
    }
}

#[test]
fn local_or_shuffle_stays_on_its_worker_and_uses_every_task_there() {
    for workers in [1, 2] {
        let local = once(&grouped(workers, Stream::local_or_shuffle));
        for (n, [from, to]) in &local {
            assert_eq!(from % workers, to % workers, "{n}: from task {from} to task {to}");
        }
        assert_eq!(counts(local.values().map(|[_, task]| *task)).len(), 4);
    }
}

#[test]
fn direct_and_custom_reach_the_task_that_is_said() {
    /// Even numbers to one task, odd ones to two.
    #[derive(Default)]
    struct OddTwice(u32);
    impl CustomGrouping<Tagged> for OddTwice {
        fn prepare(&mut self, receivers: &Receivers) {
            assert_eq!((&*receivers.component, &*receivers.emitter.component), ("second", "first"));
            self.0 = receivers.tasks;
        }
        fn choose(&mut self, (n, _): &Tagged, tasks: &mut Vec<u32>) {
            let task = u32::try_from(*n).unwrap() % self.0;
            tasks.push(task);
            if n % 2 == 1 {
                tasks.push((task + 1) % self.0);
            }
        }
    }
    for workers in [1, 2] {
        let task_of = |(n, _): &Tagged| u32::try_from(*n).unwrap() % 4;
        for (n, [_, task]) in once(&grouped(workers, |s| s.direct(task_of))) {
            assert_eq!(u64::from(task), n % 4);
        }
        for (n, [_, task]) in once(&grouped(workers, |s| s.custom(move || task_of))) {
            assert_eq!(u64::from(task), n % 4);
        }
        for (n, copies) in grouped(workers, |s| s.custom(OddTwice::default)) {
            let tasks: BTreeSet<u64> = copies.iter().map(|tasks| u64::from(tasks[1])).collect();
            let want: BTreeSet<u64> = match n % 2 {
                0 => [n % 4].into(),
                _ => [n % 4, (n + 1) % 4].into(),
            };
            assert_eq!((tasks, copies.len()), (want.clone(), want.len()), "{n}");
        }
    }
}

#[test]
fn partial_key_has_two_tasks_for_each_key() {
    for workers in [1, 2] {
        for (tasks, by_field) in [(2, true), (3, false)] {
            let key = move |(n, _): &Tagged| n % tasks;
            let got = once(&grouped(workers, |s| match by_field {
                true => s.partial_key_by(key),
                // A key inside the tuple: the tasks it went through before, of which there are three.
                false => s.partial_key(|(_, tasks)| tasks_as_key(tasks)),
            }));
            let mut of_key = BTreeMap::<u64, BTreeSet<u32>>::new();
            for (n, [from, to]) in &got {
                let key = if by_field { n % tasks } else { u64::from(*from) };
                of_key.entry(key).or_default().insert(*to);
            }
            assert_eq!(of_key.len() as u64, tasks);
            assert!(of_key.values().all(|tasks| tasks.len() == 2), "{of_key:?}");
        }
    }
}

fn tasks_as_key(tasks: &[u32]) -> &u32 {
    &tasks[0]
}

/// The wrong task is the same the next time, so there is none; and it is the emitter that is named, whichever call
/// found it.
#[test]
fn a_task_that_is_not_there_fails_the_topology_and_names_who_sent_what_where() {
    for (workers, wrong) in [(1, 700), (2, TUPLES - 1)] {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path());
        write_numbers(&log);
        let mut t = TopologyBuilder::new("wrong");
        let first = numbers(&mut t).local_or_shuffle().bolt("first", 3, Tag::default).unwrap();
        let to = first.direct(move |(n, _)| if *n == wrong { 9 } else { 0 });
        let second = to.bolt("second", 4, Tag::default).unwrap();
        texts(&second, "texts", "out");
        let error = run(&log, &t.finish().unwrap(), workers).unwrap_err().to_string();
        let why = "a tuple is for task 9 of `second`, which has tasks 0 to 3: have its grouping say one of those";
        assert!(error.contains(why) && error.contains("task first/"), "{error}");
        assert!(error.contains("failed 1 time(s)"), "{error}");
        log.close().unwrap();
    }
}

#[test]
fn a_grouping_that_panics_is_an_error_of_the_task_that_emits() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    write_numbers(&log);
    let mut t = TopologyBuilder::new("panics");
    let by = || |n: &String| if n == "899" { panic!("not this one") } else { 0 };
    let first = numbers(&mut t).custom(by).bolt("first", 2, Tag::default).unwrap();
    texts(&first, "texts", "out");
    let error = run(&log, &t.finish().unwrap(), 2).unwrap_err().to_string();
    assert!(error.contains("task in/") && error.contains("panicked: not this one"), "{error}");
    log.close().unwrap();
}

const THIRDS: Output<Tagged> = Output::new("thirds");
const BIG: Output<u64> = Output::new("big");
const NOBODYS: Output<String> = Output::new("nobodys");

/// Every tuple to the first output, some to named ones of other types; one of them nobody takes.
#[test]
fn named_outputs_have_what_was_emitted_to_them() {
    for workers in [1, 2] {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path());
        write_numbers(&log);
        let mut t = TopologyBuilder::new("outputs");
        let sort = || {
            |n: String, out: &mut Emitter<Tagged>| {
                let number: u64 = n.parse().unwrap();
                if number.is_multiple_of(3) {
                    out.emit_to(&THIRDS, (number, vec![3]));
                }
                if number >= 800 {
                    out.emit_to(&BIG, number);
                }
                out.emit((number, vec![1]));
                out.emit_to(&NOBODYS, n);
            }
        };
        let sorted = numbers(&mut t).shuffle().bolt("sort", 3, sort).unwrap();
        let sorted = sorted.with_output(&THIRDS).unwrap().with_output(&BIG).unwrap();
        let sorted = sorted.with_output(&NOBODYS).unwrap();
        // Attached in another order than declared, some of them twice.
        let big = sorted.output(&BIG).unwrap();
        let doubled = || |n: u64, out: &mut Emitter<Tagged>| out.emit((2 * n, vec![2]));
        texts(&big.rebalance().bolt("double", 2, doubled).unwrap(), "doubles", "doubled");
        texts(&sorted, "all", "all");
        texts(&sorted.output(&THIRDS).unwrap(), "thirds", "thirds");
        let both = sorted.shuffle().join(big.all()).unwrap();
        let count = || {
            |tuple: Either<Tagged, u64>, out: &mut Emitter<Tagged>| match tuple {
                Either::Left((n, _)) => out.emit((n, vec![0])),
                Either::Right(n) => out.emit((n, vec![9])),
            }
        };
        texts(&both.bolt("both", 2, count).unwrap(), "boths", "both");
        let topology = t.finish().unwrap();
        let plan = topology.explain(workers);
        assert!(
            plan.contains("bolt sort x3 -> (u64, Vec<u32>), thirds: (u64, Vec<u32>), big: u64"),
            "{plan}"
        );
        assert!(plan.contains("input 2 from sort:big by all"), "{plan}");
        assert_eq!(
            topology.plan().graph()[2],
            "double bolt <- [sort:big by rebalance]; state none"
        );
        run(&log, &topology, workers).unwrap();

        let of =
            |numbers: &mut dyn Iterator<Item = u64>, task: u32| -> BTreeMap<u64, Vec<Vec<u32>>> {
                numbers.map(|n| (n, vec![vec![task]])).collect()
            };
        assert_eq!(read(&log, "all"), of(&mut (0..TUPLES), 1), "{workers} workers");
        assert_eq!(read(&log, "thirds"), of(&mut (0..TUPLES).filter(|n| n % 3 == 0), 3));
        assert_eq!(read(&log, "doubled"), of(&mut (800..TUPLES).map(|n| 2 * n), 2));
        let mut both = of(&mut (0..TUPLES), 0);
        (800..TUPLES).for_each(|n| both.get_mut(&n).unwrap().extend([vec![9], vec![9]]));
        assert_eq!(read(&log, "both"), both);
        log.close().unwrap();
    }
}

/// What keeps state tells each key's count by a named output, where the commit closes.
#[test]
fn a_keyed_bolt_emits_to_named_outputs_when_it_flushes() {
    struct Count;
    impl KeyedBolt<u64, Tagged, Tagged> for Count {
        type State = u64;
        fn execute(
            &mut self,
            _: &u64,
            count: &mut u64,
            tuple: Tagged,
            out: &mut Emitter<Tagged>,
            _: &Context,
        ) -> ComponentResult {
            *count += 1;
            out.emit(tuple);
            Ok(())
        }
        fn flush(
            &mut self,
            key: &u64,
            count: &mut u64,
            out: &mut Emitter<Tagged>,
            _: &Context,
        ) -> ComponentResult {
            // The key in place of a task.
            out.emit_to(&THIRDS, (*count, vec![u32::try_from(*key)?]));
            Ok(())
        }
    }
    for workers in [1, 2] {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path());
        write_numbers(&log);
        let mut t = TopologyBuilder::new("counted");
        let first = numbers(&mut t).shuffle().bolt("first", 3, Tag::default).unwrap();
        let counted = first.fields_by(|(n, _)| n % 10).keyed("count", 3, || Count).unwrap();
        let counted = counted.with_output(&THIRDS).unwrap();
        texts(&counted, "all", "all");
        texts(&counted.output(&THIRDS).unwrap(), "counts", "counts");
        run(&log, &t.finish().unwrap(), workers).unwrap();
        assert_eq!(read(&log, "all").len() as u64, TUPLES);
        let mut most = BTreeMap::<u32, u64>::new();
        for (count, keys) in read(&log, "counts") {
            keys.into_iter().for_each(|key| _ = most.insert(key[0], count));
        }
        assert_eq!(most, (0..10).map(|key| (key, TUPLES / 10)).collect(), "{workers} workers");
        log.close().unwrap();
    }
}

/// One call that emits far more than a slice to two outputs: it is packed and shipped bit by bit, all of it, in order.
#[test]
fn a_flood_to_a_named_output_is_shipped_in_slices_and_in_order() {
    const FLOOD: Output<Tagged> = Output::new("flood");
    // So that one of them has something packed when the other has not.
    const FEWER: u64 = 50_000;
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    write_numbers(&log);
    let mut t = TopologyBuilder::new("flood");
    let flood = || {
        |n: String, out: &mut Emitter<Tagged>| {
            if n != "0" {
                return;
            }
            for i in 0..200_000 {
                out.emit_to(&FLOOD, (i, vec![1]));
                if i < FEWER {
                    out.emit((i, vec![2]));
                }
            }
        }
    };
    let sorted = numbers(&mut t).shuffle().bolt("flood", 1, flood).unwrap();
    let sorted = sorted.with_output(&FLOOD).unwrap();
    texts_by(1, &sorted, "main", "main");
    texts_by(1, &sorted.output(&FLOOD).unwrap(), "side", "side");
    let options = RunOptions { workers: 1, in_flight_bytes_max: 1 << 20, ..RunOptions::default() };
    let progress = Arc::new(Progress::default());
    t.finish().unwrap().run(&log, &options, &progress).unwrap();
    for (stream, all) in [("main", FEWER), ("side", 200_000)] {
        let read = rows(&log, stream).into_iter().flatten().map(|(_, n)| n);
        assert!(read.eq(0..all), "{stream}");
    }
    assert!(progress.peak_bytes() < 8 << 20, "{} bytes in flight", progress.peak_bytes());
    log.close().unwrap();
}

/// A spout that says it is idle though it emitted to a named output only must not be passed over by commits.
#[test]
fn what_a_spout_emits_to_a_named_output_alone_is_committed() {
    use egret::{Next, Positions, Replay, Spout};
    const ODD: Output<Tagged> = Output::new("odd");
    struct Odds(u64);
    impl Spout<Tagged> for Odds {
        fn replay(&self) -> Replay {
            Replay::Positional
        }
        fn open(&mut self, _: &Context, at: &Positions) -> ComponentResult {
            if let Some(at) = at.get(&b"odds"[..]) {
                self.0 = std::str::from_utf8(at)?.parse()?;
            }
            Ok(())
        }
        fn next(
            &mut self,
            _: usize,
            out: &mut Emitter<Tagged>,
            _: &Context,
        ) -> ComponentResult<Next> {
            if self.0 == 100 {
                return Ok(Next::Done);
            }
            out.emit_to(&ODD, (self.0, vec![0]));
            self.0 += 1;
            Ok(Next::More)
        }
        fn positions(&self) -> Positions {
            [(b"odds".to_vec(), self.0.to_string().into_bytes())].into()
        }
    }
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let topology = || {
        let mut t = TopologyBuilder::new("odds");
        let odds = t.spout("odds", 1, || Odds(0)).unwrap().with_output(&ODD).unwrap();
        texts(&odds.output(&ODD).unwrap(), "odd", "odd");
        t.finish().unwrap()
    };
    let summary = run(&log, &topology(), 2).unwrap();
    assert_eq!(summary.tuples, 100);
    assert_eq!(read(&log, "odd").len(), 100);
    assert_eq!(run(&log, &topology(), 1).unwrap().tuples, 0, "where it stood is committed");
    log.close().unwrap();
}

#[test]
fn a_tuple_for_an_output_that_was_not_declared_fails_the_topology_and_names_those_that_were() {
    const OTHER: Output<u64> = Output::new("thirds");
    type Emit = fn(u64, &mut Emitter<Tagged>);
    let cases: [(Emit, &str); 2] = [
        (|n, out| out.emit_to(&BIG, n), "output `big`, which it does not have (there is `thirds`)"),
        (
            |n, out| out.emit_to(&OTHER, n),
            "u64 to output `thirds`, which was declared to be of (u64, Vec<u32>)",
        ),
    ];
    for (emit, why) in cases {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path());
        write_numbers(&log);
        let mut t = TopologyBuilder::new("undeclared");
        let sort =
            move || move |n: String, out: &mut Emitter<Tagged>| emit(n.parse().unwrap(), out);
        let sorted = numbers(&mut t).shuffle().bolt("sort", 1, sort).unwrap();
        let sorted = sorted.with_output(&THIRDS).unwrap();
        texts(&sorted, "all", "all");
        let error = run(&log, &t.finish().unwrap(), 1).unwrap_err().to_string();
        assert!(error.contains("task sort/0: it emits") && error.contains(why), "{error}");
        assert!(error.contains("failed 1 time(s)"), "{error}");
        log.close().unwrap();
    }
}
