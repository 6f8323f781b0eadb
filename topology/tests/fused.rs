//! Chains of bolts that are one operator: what they do is what each would do as an operator of its own, whatever is
//! killed or fails, and a topology goes on from one way to the other.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use egret::testing::TopologyTest;
use egret::{
    Bolt, ComponentError, ComponentResult, Context, DeadLetter, Emitter, KeyedBolt, LogSink,
    LogSpout, OnError, Output, Rescale, StatefulBolt, Stream, Then, TopologyBuilder,
};

/// Emits every count: one too many or too few shows.
struct Count;

impl KeyedBolt<str, String, (String, u64)> for Count {
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

/// Each task's number, and how many tuples it has seen when a commit closes.
const TOTALS: Output<(String, u64)> = Output::new("totals");

/// Lets words through and counts them; a total is emitted when the commit closes, by when all words of it are here.
struct Total;

impl StatefulBolt<String, String> for Total {
    type State = u64;
    fn execute(
        &mut self,
        n: &mut u64,
        word: String,
        out: &mut Emitter<String>,
        _: &Context,
    ) -> ComponentResult {
        *n += 1;
        out.emit(word);
        Ok(())
    }
    fn flush(&mut self, n: &mut u64, out: &mut Emitter<String>, cx: &Context) -> ComponentResult {
        out.emit_to(&TOTALS, (cx.id().task.to_string(), *n));
        out.emit(format!("total-{}", cx.id().task));
        Ok(())
    }
    fn rescale(&self) -> Rescale<u64> {
        Rescale::Merge(|n, more| *n += more)
    }
}

/// Fails at some words: always, or the first time; after it emitted the word.
#[derive(Clone, Default)]
struct Mark(Arc<AtomicU32>);

impl Bolt<String, String> for Mark {
    fn execute(&mut self, word: String, out: &mut Emitter<String>, _: &Context) -> ComponentResult {
        let bad = word.starts_with("bad");
        let first =
            word.starts_with("once") && self.0.fetch_add(1, Ordering::Relaxed).is_multiple_of(2);
        out.emit(word);
        match bad || first {
            true => Err(ComponentError::from("not this one")),
            false => Ok(()),
        }
    }
}

/// split + mark + total as one operator, with edges out of its middle and its end; `count` behind them.
fn chain(t: &mut TopologyBuilder, fuses: bool) -> egret::Result<()> {
    t.fuse(fuses);
    let lines = t.spout("lines", 2, LogSpout::<String>::from_stream("lines"))?;
    let words = lines.shuffle().bolt("split", 4, || {
        |line: String, out: &mut Emitter<String>| {
            line.split(' ').for_each(|word| out.emit(word.to_owned()));
        }
    })?;
    let mark = Mark::default();
    let marked = words.local_or_shuffle().bolt("mark", 4, move || mark.clone())?;
    let backoff = Duration::from_micros(300);
    marked.on_error(OnError::Retry { times: 2, backoff, then: Then::DeadLetter })?;
    let dead: Stream<DeadLetter<String>> = marked.dead_letters()?;
    let dead = dead.shuffle().bolt("dead", 1, || {
        |letter: DeadLetter<String>, out: &mut Emitter<String>| out.emit(letter.tuple)
    })?;
    dead.sink("bad", LogSink::to_stream("bad").partitions(1))?;
    let total = marked.local_or_shuffle().stateful("total", 4, || Total)?.with_output(&TOTALS)?;
    let totals = total.output(&TOTALS)?;
    totals.sink("totals", LogSink::to_stream("totals").partitions(1))?;
    let counts = total.fields(|word| word.as_str()).keyed("count", 2, || Count)?;
    counts.sink("out", LogSink::to_stream("counts").partitions(2))
}

const LINES: [&str; 8] =
    ["a b c", "b bad-1 c", "once-1 c", "d e f g", "a bad-2 a", "g", "once-2 g h", "h"];

fn expected(lines: &[&str]) -> BTreeMap<String, Vec<u64>> {
    let mut counts: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    let words = lines.iter().flat_map(|line| line.split(' '));
    for word in words.filter(|word| !word.starts_with("bad")) {
        let of = counts.entry(word.to_owned()).or_default();
        of.push(of.len() as u64 + 1);
    }
    counts
}

fn told(t: &mut TopologyTest) -> BTreeMap<String, Vec<u64>> {
    let mut told: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for (word, n) in t.keyed_output::<String>("counts").unwrap() {
        told.entry(word).or_default().push(n.parse().unwrap());
    }
    told
}

/// Whether all that was told is what has to be.
fn check(t: &mut TopologyTest, lines: &[&str], run: &str) {
    let mut told = told(t);
    // One word for each task and commit that had something in it, as many as there are totals.
    let mut announced: BTreeMap<String, u64> = BTreeMap::new();
    told.retain(|word, ns| match word.strip_prefix("total-") {
        Some(task) => {
            announced.insert(task.to_owned(), ns.len() as u64);
            false
        }
        None => true,
    });
    assert_eq!(told, expected(lines), "{run}");
    let bad: BTreeSet<String> = t.output::<String>("bad").unwrap().into_iter().collect();
    assert_eq!(bad, BTreeSet::from(["bad-1".to_owned(), "bad-2".to_owned()]), "{run}");
    assert_eq!(t.output::<String>("bad").unwrap().len(), 2, "{run}");
    let (mut last, mut totals): (BTreeMap<String, u64>, BTreeMap<String, u64>) = Default::default();
    for (task, n) in t.keyed_output::<String>("totals").unwrap() {
        let n: u64 = n.parse().unwrap();
        *totals.entry(task.clone()).or_default() += 1;
        assert!(last.insert(task, n) <= Some(n), "{run}: a total went back");
    }
    let good: usize = expected(lines).values().map(Vec::len).sum();
    assert_eq!(last.values().sum::<u64>(), good as u64, "{run}: every word is in a total");
    assert_eq!(totals, announced, "{run}");
}

fn test_of(fuses: bool) -> TopologyTest {
    TopologyTest::new(move |t| chain(t, fuses)).unwrap()
}

#[test]
fn the_plan_says_what_is_fused() {
    let explain = |fuses| {
        let mut t = TopologyBuilder::new("t");
        chain(&mut t, fuses).unwrap();
        t.finish().unwrap().explain(2)
    };
    let fused = explain(true);
    for line in ["from split by local-or-shuffle, fused", "from mark by local-or-shuffle, fused"] {
        assert!(fused.contains(line), "{fused}");
    }
    assert_eq!(fused.matches("fused").count(), 2, "{fused}");
    assert!(!explain(false).contains("fused"));
}

/// What is not local, or not alone, stays an operator of its own.
#[test]
fn only_what_is_really_local_is_fused() {
    let copy = || |line: String, out: &mut Emitter<String>| out.emit(line);
    let mut t = TopologyBuilder::new("t");
    let lines = t.spout("lines", 2, LogSpout::<String>::from_stream("lines")).unwrap();
    let head = lines.local_or_shuffle().bolt("head", 2, copy).unwrap();
    let more = head.local_or_shuffle().bolt("more-tasks", 3, copy).unwrap();
    let shuffled = more.shuffle().bolt("shuffled", 3, copy).unwrap();
    let first = shuffled.local_or_shuffle().bolt("one-of-two", 3, copy).unwrap();
    let second = shuffled.local_or_shuffle().bolt("two-of-two", 3, copy).unwrap();
    let both = first.union(&second).unwrap();
    let both = both.local_or_shuffle().bolt("two-inputs", 3, copy).unwrap();
    let keyed = both.fields(|line| line.as_str()).bolt("keyed", 3, copy).unwrap();
    let one = keyed.global().bolt("one", 1, copy).unwrap();
    let fused = one.shuffle().bolt("one-of-one", 1, copy).unwrap();
    fused.sink("out", LogSink::to_stream("out")).unwrap();
    let plan = t.finish().unwrap().explain(2);
    assert_eq!(plan.matches("fused").count(), 1, "{plan}");
    assert!(plan.contains("from one by shuffle, fused"), "{plan}");
}

const SIDE: Output<String> = Output::new("side");

/// Each of two outputs goes to one bolt of as many tasks: one of the two is fused, and the other one runs, too.
#[test]
fn one_of_several_outputs_is_fused() {
    let build = |t: &mut TopologyBuilder| {
        let copy = || |line: String, out: &mut Emitter<String>| out.emit(line);
        let both = || {
            |line: String, out: &mut Emitter<String>| {
                out.emit_to(&SIDE, line.clone());
                out.emit(line);
            }
        };
        let lines = t.spout("lines", 1, LogSpout::<String>::from_stream("lines"))?;
        let head = lines.shuffle().bolt("head", 2, both)?.with_output(&SIDE)?;
        let main = head.local_or_shuffle().bolt("main", 2, copy)?;
        let side = head.output(&SIDE)?.local_or_shuffle().bolt("side", 2, copy)?;
        main.sink("out", LogSink::to_stream("out").partitions(1))?;
        side.sink("side-out", LogSink::to_stream("side").partitions(1))
    };
    let mut t = TopologyBuilder::new("t");
    build(&mut t).unwrap();
    let plan = t.finish().unwrap().explain(2);
    assert_eq!(plan.matches("fused").count(), 1, "{plan}");
    assert!(plan.contains("from head by local-or-shuffle, fused"), "{plan}");

    let mut t = TopologyTest::new(build).unwrap();
    t.send("lines", ["a", "b", "c"]).unwrap();
    t.run_until_idle().unwrap();
    for stream in ["out", "side"] {
        let mut told = t.output::<String>(stream).unwrap();
        told.sort();
        assert_eq!(told, ["a", "b", "c"], "{stream}");
    }
}

#[test]
fn each_word_counts_once_wherever_the_process_is_killed() {
    for seed in 0..16 {
        let fuses = seed % 4 != 3;
        let mut t = test_of(fuses).seed(seed);
        t.workers(1 + u32::try_from(seed % 3).unwrap());
        t.kill_anywhere();
        for lines in LINES.chunks(3) {
            t.send("lines", lines.iter().copied()).unwrap();
            t.run_until_idle().unwrap();
        }
        assert_eq!(t.kills(), 1);
        check(&mut t, &LINES, &format!("seed {seed}, fused: {fuses}"));
    }
}

#[test]
fn each_word_counts_once_with_a_kill_at_any_place() {
    let run = |at: Option<u64>| {
        let mut t = test_of(true).seed(7);
        if let Some(at) = at {
            t.kill_at(at);
        }
        t.send("lines", LINES).unwrap();
        t.run_until_idle().unwrap();
        check(&mut t, &LINES, &format!("killed at {at:?}"));
        t.failpoints()
    };
    let places = run(None);
    for at in (0..places).step_by(41) {
        run(Some(at));
    }
}

#[test]
fn a_topology_goes_on_fused_and_not() {
    let mut t = test_of(true).seed(3);
    for (at, lines) in LINES.chunks(2).enumerate() {
        t.send("lines", lines.iter().copied()).unwrap();
        t.run_until_idle().unwrap();
        t.rebuild(move |t| chain(t, at % 2 == 1));
        t.restore().unwrap();
    }
    t.run_until_idle().unwrap();
    check(&mut t, &LINES, "taken over");
}

/// An error in the middle names its own task, and the generation after it repeats nothing and leaves nothing out.
#[test]
fn a_failure_in_the_middle_is_that_of_its_own_task() {
    for fuses in [true, false] {
        let failed = Arc::new(AtomicU32::new(0));
        let mut t = TopologyTest::new(move |t| {
            t.fuse(fuses);
            let lines = t.spout("lines", 2, LogSpout::<String>::from_stream("lines"))?;
            let copy = || |line: String, out: &mut Emitter<String>| out.emit(line);
            let first = lines.shuffle().bolt("first", 2, copy)?;
            let failed = Arc::clone(&failed);
            let middle = first.local_or_shuffle().bolt("middle", 2, move || {
                let failed = Arc::clone(&failed);
                move |line: String, out: &mut Emitter<String>| {
                    let first = line == "c" && failed.fetch_add(1, Ordering::Relaxed) == 0;
                    out.emit(line);
                    assert!(!first, "not yet");
                }
            })?;
            let last = middle.local_or_shuffle().bolt("last", 2, copy)?;
            let counts = last.fields(|word| word.as_str()).keyed("count", 2, || Count)?;
            counts.sink("out", LogSink::to_stream("counts").partitions(2))
        })
        .unwrap()
        .seed(1);
        let words = ["a", "b", "a", "c", "b", "c", "c"];
        t.send("lines", words).unwrap();
        t.run_until_idle().unwrap();
        assert_eq!(told(&mut t), expected(&words), "fused: {fuses}");
        let failures = t.failures();
        assert!(
            matches!(failures, [why] if why.contains("middle/") && why.contains("not yet")),
            "fused: {fuses}: {failures:?}"
        );
    }
}

/// A call in the middle that emits far more than may be on its way: it is packed, taken slice by slice, and in order.
#[test]
fn what_a_stage_emits_at_once_comes_in_order_and_bounded() {
    const MANY: u64 = 60_000;
    /// Sees that numbers come in order, and tells the last one.
    #[derive(Default)]
    struct InOrder(u64);
    impl Bolt<u64, String> for InOrder {
        fn execute(&mut self, n: u64, out: &mut Emitter<String>, _: &Context) -> ComponentResult {
            assert_eq!(n, self.0, "in order");
            self.0 += 1;
            if self.0 == MANY {
                self.0 = 0;
                out.emit("all".to_owned());
            }
            Ok(())
        }
    }
    for fuses in [true, false] {
        let mut t = TopologyTest::new(move |t| {
            t.fuse(fuses);
            let lines = t.spout("lines", 1, LogSpout::<String>::from_stream("lines"))?;
            let copy = || |line: String, out: &mut Emitter<String>| out.emit(line);
            let head = lines.shuffle().bolt("head", 1, copy)?;
            let many = head.shuffle().bolt("many", 1, || {
                |_: String, out: &mut Emitter<u64>| (0..MANY).for_each(|n| out.emit(n))
            })?;
            let numbers = || |n: u64, out: &mut Emitter<u64>| out.emit(n);
            let same = many.shuffle().bolt("same", 1, numbers)?;
            let told = same.shuffle().bolt("order", 1, InOrder::default)?;
            told.sink("out", LogSink::to_stream("out").partitions(1))
        })
        .unwrap();
        t.partitions("lines", 1);
        t.options(|options| options.in_flight_bytes_max = 1 << 20);
        t.send("lines", ["x", "y"]).unwrap();
        t.run_until_idle().unwrap();
        assert_eq!(t.output::<String>("out").unwrap(), ["all", "all"], "fused: {fuses}");
        assert_eq!(t.failures(), [""; 0], "fused: {fuses}");
    }
}

/// Says a word at each tick.
#[derive(Default)]
struct Ticking(u32);

impl Bolt<String, String> for Ticking {
    fn execute(&mut self, word: String, out: &mut Emitter<String>, _: &Context) -> ComponentResult {
        out.emit(word);
        Ok(())
    }
    fn tick(&mut self, out: &mut Emitter<String>, cx: &Context) -> ComponentResult {
        self.0 += 1;
        if self.0 <= 3 {
            out.emit(format!("{}:{}", cx.id(), self.0));
        }
        Ok(())
    }
}

#[test]
fn every_stage_ticks_and_what_it_says_goes_on_through_those_behind_it() {
    for fuses in [true, false] {
        let mut t = TopologyTest::new(move |t| {
            t.fuse(fuses);
            let lines = t.spout("lines", 1, LogSpout::<String>::from_stream("lines"))?;
            let first = lines.shuffle().bolt("first", 1, Ticking::default)?;
            first.tick_every(Duration::from_millis(20))?;
            let second = first.shuffle().bolt("second", 1, Ticking::default)?;
            second.tick_every(Duration::from_millis(30))?;
            let third = second.shuffle().bolt("third", 1, || {
                |word: String, out: &mut Emitter<String>| out.emit(format!("{word}!"))
            })?;
            third.sink("out", LogSink::to_stream("out").partitions(1))
        })
        .unwrap();
        t.partitions("lines", 1);
        t.send("lines", ["x"]).unwrap();
        t.advance(Duration::from_millis(500)).unwrap();
        t.run_until_idle().unwrap();
        let told: BTreeSet<String> = t.output::<String>("out").unwrap().into_iter().collect();
        let mut wanted = BTreeSet::from(["x!".to_owned()]);
        for stage in ["first", "second"] {
            wanted.extend((1..=3).map(|n| format!("{stage}/0:{n}!")));
        }
        assert_eq!(told, wanted, "fused: {fuses}");
    }
}

/// Counts, and emits what it counted since the last commit when one closes.
struct Since;

impl StatefulBolt<String, u64> for Since {
    type State = (u64, u64);
    fn execute(
        &mut self,
        (all, since): &mut (u64, u64),
        _: String,
        _: &mut Emitter<u64>,
        _: &Context,
    ) -> ComponentResult {
        *all += 1;
        *since += 1;
        Ok(())
    }
    fn flush(
        &mut self,
        (_, since): &mut (u64, u64),
        out: &mut Emitter<u64>,
        _: &Context,
    ) -> ComponentResult {
        out.emit(std::mem::take(since));
        Ok(())
    }
    fn rescale(&self) -> Rescale<(u64, u64)> {
        Rescale::Merge(|(all, _), (more, _)| *all += more)
    }
}

/// Adds up, and tells the sum when a commit closes.
struct Adds;

impl StatefulBolt<u64, String> for Adds {
    type State = u64;
    fn execute(
        &mut self,
        sum: &mut u64,
        n: u64,
        _: &mut Emitter<String>,
        _: &Context,
    ) -> ComponentResult {
        *sum += n;
        Ok(())
    }
    fn flush(&mut self, sum: &mut u64, out: &mut Emitter<String>, _: &Context) -> ComponentResult {
        out.emit(sum.to_string());
        Ok(())
    }
    fn rescale(&self) -> Rescale<u64> {
        Rescale::Merge(|sum, more| *sum += more)
    }
}

/// A stage closes when what the one before emitted by closing is worked on: both have the same in each commit.
#[test]
fn what_a_stage_emits_when_a_commit_closes_is_in_the_same_commit_behind_it() {
    for fuses in [true, false] {
        let mut t = TopologyTest::new(move |t| {
            t.fuse(fuses);
            let lines = t.spout("lines", 2, LogSpout::<String>::from_stream("lines"))?;
            let since = lines.shuffle().stateful("since", 2, || Since)?;
            let adds = since.local_or_shuffle().stateful("adds", 2, || Adds)?;
            adds.sink("out", LogSink::to_stream("out").partitions(1))
        })
        .unwrap()
        .seed(2);
        let mut sent = 0;
        for lines in LINES.chunks(3) {
            sent += lines.len() as u64;
            t.send("lines", lines.iter().copied()).unwrap();
            t.run_until_idle().unwrap();
            let counted = t.state::<(u64, u64)>("since").unwrap();
            let added = t.state::<u64>("adds").unwrap();
            assert_eq!(counted.values().map(|(all, _)| all).sum::<u64>(), sent, "fused: {fuses}");
            assert_eq!(added.values().sum::<u64>(), sent, "fused: {fuses}");
            t.restore().unwrap();
        }
    }
}
