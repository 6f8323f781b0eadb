//! Cycles: what goes round is there once, whatever is killed, and a topology knows when nothing does any more.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use egret::plan::Form;
use egret::runtime::Faults;
use egret::testing::TopologyTest;
use egret::{
    Bolt, ComponentResult, Context, Either, Emitter, Guarantee, KeyedBolt, LogSink, LogSpout,
    Output, Progress, RunOptions, TopologyBuilder,
};
use egret_log::stream::{Format, ReadFrom, Record, StreamConfig};
use egret_log::{Log, LogConfig};

/// A number that Collatz's steps began with, where they are, and how many there were.
type Walk = (u64, u64, u64);

/// Where a walk ended.
const DONE: Output<String> = Output::new("done");

/// Takes one step; says where it ends.
#[derive(Default)]
struct Step;

impl Bolt<Walk, Walk> for Step {
    fn execute(
        &mut self,
        (from, n, steps): Walk,
        out: &mut Emitter<Walk>,
        _: &Context,
    ) -> ComponentResult {
        match n {
            0 | 1 => out.emit_to(&DONE, format!("{from} {steps}")),
            n if n.is_multiple_of(2) => out.emit((from, n / 2, steps + 1)),
            n => out.emit((from, 3 * n + 1, steps + 1)),
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
struct Shape {
    guarantee: Guarantee,
    bounded: bool,
    fuses: bool,
    tasks: u32,
}

const SHAPE: Shape =
    Shape { guarantee: Guarantee::EffectivelyOnce, bounded: true, fuses: true, tasks: 2 };

fn collatz(shape: Shape) -> impl Fn(&mut TopologyBuilder) -> egret::Result<()> {
    move |t| {
        t.guarantee(shape.guarantee).fuse(shape.fuses).key_groups(64);
        let spout = LogSpout::<String>::from_stream("numbers");
        let spout = if shape.bounded { spout.bounded() } else { spout };
        let lines = t.spout("numbers", 1, spout)?;
        let walk = || {
            |line: String, out: &mut Emitter<Walk>| {
                line.parse().into_iter().for_each(|n| out.emit((n, n, 0)));
            }
        };
        let walks = lines.shuffle().bolt("walk", 1, walk)?;
        let (back, again) = t.feedback::<Walk>("again", shape.tasks)?;
        let stepped = walks.union(&back)?.rebalance().bolt("step", shape.tasks, Step::default)?;
        // The end is one operator with it, if they may be.
        again.connect(stepped.with_output(&DONE)?.local_or_shuffle())?;
        stepped.output(&DONE)?.sink("out", LogSink::to_stream("steps").partitions(2))
    }
}

fn steps(of: u64) -> String {
    let (mut n, mut steps) = (of, 0);
    while n > 1 {
        n = if n.is_multiple_of(2) { n / 2 } else { 3 * n + 1 };
        steps += 1;
    }
    format!("{of} {steps}")
}

fn expected(numbers: std::ops::Range<u64>) -> Vec<String> {
    let mut all: Vec<_> = numbers.map(steps).collect();
    all.sort();
    all
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

fn texts(numbers: std::ops::Range<u64>) -> Vec<String> {
    numbers.map(|n| n.to_string()).collect()
}

#[test]
fn a_bounded_topology_ends_when_nothing_goes_round_any_more() {
    for guarantee in [Guarantee::EffectivelyOnce, Guarantee::AtLeastOnce, Guarantee::AtMostOnce] {
        for fuses in [true, false] {
            let mut t = TopologyTest::new(collatz(Shape { guarantee, fuses, ..SHAPE })).unwrap();
            t.send("numbers", texts(1..60)).unwrap();
            t.run_until_idle().unwrap();
            assert!(t.is_finished(), "{guarantee}");
            let out = sorted(t.output("steps").unwrap());
            assert_eq!(out, expected(1..60), "{guarantee}");
        }
    }
}

#[test]
fn a_bounded_topology_without_input_ends_too() {
    let mut t = TopologyTest::new(collatz(SHAPE)).unwrap();
    t.run_until_idle().unwrap();
    assert!(t.is_finished());
}

#[test]
fn a_topology_that_goes_on_rests_when_nothing_goes_round_and_takes_more() {
    let mut t = TopologyTest::new(collatz(Shape { bounded: false, ..SHAPE })).unwrap();
    for to in [30, 60] {
        t.send("numbers", texts(to - 30..to)).unwrap();
        t.run_until_idle().unwrap();
        assert!(!t.is_finished());
        assert_eq!(sorted(t.output("steps").unwrap()), expected(0..to));
    }
    // One with another number of tasks or workers begins with nothing that is left.
    t.tasks("again", 3).workers(3).restore().unwrap();
    t.send("numbers", texts(60..70)).unwrap();
    t.run_until_idle().unwrap();
    assert_eq!(sorted(t.output("steps").unwrap()), expected(0..70));
}

#[test]
fn steps_are_counted_exactly_wherever_the_process_is_killed() {
    for seed in 0..25 {
        for bounded in [true, false] {
            let shape = Shape { bounded, fuses: seed % 2 == 0, ..SHAPE };
            let mut t = TopologyTest::new(collatz(shape)).unwrap().seed(seed);
            t.options(|options| options.commit_ms = 2);
            t.send("numbers", texts(1..40)).unwrap();
            t.kill_anywhere();
            t.run_until_idle().unwrap();
            assert_eq!(sorted(t.output("steps").unwrap()), expected(1..40), "seed {seed}");
            assert_eq!(t.is_finished(), bounded);
        }
    }
}

/// A topology that counts the steps of a few numbers, and what it does at failpoints.
fn at_failpoint(faults: Faults) -> TopologyTest {
    let mut t = TopologyTest::new(collatz(SHAPE)).unwrap();
    t.options(|options| (options.commit_ms, options.faults) = (1, faults));
    t.send("numbers", texts(26..32)).unwrap();
    t
}

/// Every so many of the failpoints there are.
fn failpoints(every: usize) -> impl Iterator<Item = u64> {
    let mut calm = at_failpoint(Faults::default());
    calm.run_until_idle().unwrap();
    let failpoints = calm.failpoints();
    assert!(failpoints > 200, "{failpoints}");
    (0..failpoints).step_by(every)
}

#[test]
fn steps_are_counted_exactly_at_any_failpoint() {
    for failpoint in failpoints(19) {
        let mut t = at_failpoint(Faults::default());
        t.kill_at(failpoint);
        t.run_until_idle().unwrap();
        assert_eq!(sorted(t.output("steps").unwrap()), expected(26..32), "failpoint {failpoint}");
        assert!(t.is_finished(), "failpoint {failpoint}");
    }
}

#[test]
#[ignore = "minutes: run it before a change of what a cycle is"]
fn steps_are_counted_exactly_at_every_failpoint() {
    for failpoint in failpoints(1) {
        let mut t = at_failpoint(Faults::default());
        t.kill_at(failpoint);
        t.run_until_idle().unwrap();
        assert_eq!(sorted(t.output("steps").unwrap()), expected(26..32), "failpoint {failpoint}");
        assert!(t.is_finished(), "failpoint {failpoint}");
    }
}

/// Without what was on its way, tuples are lost: else these tests would show nothing.
#[test]
fn a_generation_that_forgets_what_was_on_its_way_loses_tuples() {
    let (mut all, mut loses) = (0, 0);
    for failpoint in failpoints(43) {
        let mut t = at_failpoint(Faults { forget_rounds: true, ..Faults::default() });
        t.kill_at(failpoint);
        t.run_until_idle().unwrap();
        all += 1;
        loses += u32::from(sorted(t.output("steps").unwrap()) != expected(26..32));
    }
    println!("{loses} of {all} kills lost tuples");
    assert!(loses * 4 > all, "{loses} of {all} kills lost tuples");
}

/// Every output record is there at least once, and a record that is there twice is the same.
#[test]
fn at_least_once_repeats_output_and_loses_none() {
    for seed in 0..30 {
        let shape = Shape { guarantee: Guarantee::AtLeastOnce, ..SHAPE };
        let mut t = TopologyTest::new(collatz(shape)).unwrap().seed(seed);
        t.options(|options| options.commit_ms = 2);
        t.send("numbers", texts(1..40)).unwrap();
        t.kill_anywhere();
        t.run_until_idle().unwrap();
        let out: BTreeSet<String> = t.output("steps").unwrap().into_iter().collect();
        assert_eq!(Vec::from_iter(out), expected(1..40), "seed {seed}");
    }
}

/// Fails now and then: the generation goes back in memory.
#[derive(Clone)]
struct Fails(Arc<std::sync::atomic::AtomicU32>);

impl Bolt<Walk, Walk> for Fails {
    fn execute(&mut self, walk: Walk, out: &mut Emitter<Walk>, _: &Context) -> ComponentResult {
        let nth = self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        if [30, 170, 171, 400].contains(&nth) {
            return Err(format!("tuple {nth} is one too many").into());
        }
        out.emit(walk);
        Ok(())
    }
}

#[test]
fn a_generation_that_fails_goes_on_with_what_was_on_its_way() {
    for (seed, undo_bytes_max) in (0..20).flat_map(|seed| [(seed, 0), (seed, 1 << 20)]) {
        let fails = Fails(Arc::default());
        let build = move |t: &mut TopologyBuilder| {
            let lines =
                t.spout("numbers", 1, LogSpout::<String>::from_stream("numbers").bounded())?;
            let (back, again) = t.feedback::<Walk>("again", 2)?;
            let walk = || {
                |line: String, out: &mut Emitter<Walk>| {
                    line.parse().into_iter().for_each(|n| out.emit((n, n, 0)));
                }
            };
            let walks = lines.shuffle().bolt("walk", 1, walk)?;
            let fails = fails.clone();
            let tried = walks.union(&back)?.shuffle().bolt("fails", 2, move || fails.clone())?;
            let stepped = tried.shuffle().bolt("step", 2, Step::default)?.with_output(&DONE)?;
            again.connect(stepped.shuffle())?;
            stepped.output(&DONE)?.sink("out", LogSink::to_stream("steps").partitions(2))
        };
        let mut t = TopologyTest::new(build).unwrap().seed(seed);
        t.options(|options| {
            (options.commit_ms, options.tries) = (2, 10);
            options.undo_bytes_max = undo_bytes_max;
        });
        t.send("numbers", texts(1..40)).unwrap();
        t.run_until_idle().unwrap();
        assert!(!t.failures().is_empty());
        assert_eq!(sorted(t.output("steps").unwrap()), expected(1..40), "seed {seed}");
    }
}

#[test]
fn what_is_on_its_way_is_dealt_out_to_any_number_of_tasks() {
    let mut caught = 0;
    for seed in 0..20 {
        let mut t = TopologyTest::new(collatz(SHAPE)).unwrap().seed(seed);
        t.options(|options| options.commit_ms = 1);
        t.tasks("again", 1).tasks("step", 1).workers(1);
        t.send("numbers", texts(1..80)).unwrap();
        for (tasks, workers) in [(2, 2), (1, 1), (5, 3), (2, 1)] {
            t.advance(Duration::from_millis(5)).unwrap();
            let states = t.state::<Vec<Walk>>("again.back").unwrap();
            caught += states.values().map(Vec::len).sum::<usize>();
            t.kill();
            t.tasks("again", tasks).tasks("step", tasks).workers(workers);
            t.restore().unwrap();
        }
        t.run_until_idle().unwrap();
        assert_eq!(sorted(t.output("steps").unwrap()), expected(1..80), "seed {seed}");
        assert!(t.is_finished());
    }
    assert!(caught > 100, "{caught} were on their way when the tasks changed");
}

/// A graph, and who was seen in it.
struct Seen(Arc<Vec<Vec<u64>>>);

impl KeyedBolt<u64, u64, Either<u64, String>> for Seen {
    type State = bool;

    fn execute(
        &mut self,
        node: &u64,
        seen: &mut bool,
        _: u64,
        out: &mut Emitter<Either<u64, String>>,
        _: &Context,
    ) -> ComponentResult {
        if !std::mem::replace(seen, true) {
            out.emit(Either::Right(node.to_string()));
            self.0[index(*node)].iter().for_each(|next| out.emit(Either::Left(*next)));
        }
        Ok(())
    }
}

fn index(node: u64) -> usize {
    usize::try_from(node).unwrap()
}

/// So many nodes with two edges from each, by chance.
fn graph(nodes: u64, seed: u64) -> Vec<Vec<u64>> {
    let mut chance = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut draw = move || {
        chance ^= chance << 13;
        chance ^= chance >> 7;
        chance ^= chance << 17;
        chance % nodes
    };
    (0..nodes).map(|_| vec![draw(), draw()]).collect()
}

fn reached(graph: &[Vec<u64>], from: u64) -> Vec<String> {
    let (mut seen, mut todo) = (BTreeSet::new(), vec![from]);
    while let Some(node) = todo.pop() {
        if seen.insert(node) {
            todo.extend(&graph[index(node)]);
        }
    }
    sorted(seen.iter().map(u64::to_string).collect())
}

#[test]
fn what_can_be_reached_in_a_graph_is_found_once_wherever_the_process_is_killed() {
    for seed in 0..40 {
        let edges = Arc::new(graph(120, seed));
        let of = Arc::clone(&edges);
        let build = move |t: &mut TopologyBuilder| {
            let spout = LogSpout::<String>::from_stream("from").bounded();
            let parse = || {
                |line: String, out: &mut Emitter<u64>| {
                    line.parse().into_iter().for_each(|node| out.emit(node));
                }
            };
            let from = t.spout("from", 1, spout)?.shuffle().bolt("parse", 1, parse)?;
            let (back, again) = t.feedback::<u64>("again", 3)?;
            let of = Arc::clone(&of);
            let nodes = from.union(&back)?;
            let seen = nodes.fields(|node| node).keyed("seen", 2, move || Seen(Arc::clone(&of)))?;
            let (next, found) = seen.split();
            again.connect(next.shuffle())?;
            found.sink("out", LogSink::to_stream("reached"))
        };
        let mut t = TopologyTest::new(build).unwrap().seed(seed);
        t.options(|options| options.commit_ms = 2).workers(3);
        t.send("from", ["7"]).unwrap();
        t.kill_anywhere();
        t.run_until_idle().unwrap();
        assert!(t.is_finished());
        assert_eq!(sorted(t.output("reached").unwrap()), reached(&edges, 7), "seed {seed}");
    }
}

#[test]
fn a_cycle_that_doubles_what_it_gets_ends_with_an_error_that_names_it() {
    let build = |t: &mut TopologyBuilder| {
        let lines = t.spout("lines", 1, LogSpout::<String>::from_stream("lines"))?;
        let (back, again) = t.feedback::<String>("again", 2)?;
        let double = || {
            |line: String, out: &mut Emitter<String>| {
                out.emit(line.clone());
                out.emit(line);
            }
        };
        let doubled = lines.union(&back)?.shuffle().bolt("double", 2, double)?;
        again.connect(doubled.shuffle())?;
        doubled.sink("out", LogSink::to_stream("out"))
    };
    let mut t = TopologyTest::new(build).unwrap();
    t.options(|options| options.in_flight_bytes_max = 1 << 20);
    t.send("lines", ["x".repeat(1000)]).unwrap();
    let error = t.run_until_idle().unwrap_err().to_string();
    let why = "bytes are on their way round in cycles, of 1048576 that may be under way at all: \
               send back fewer tuples than come";
    assert!(error.contains("task again.back/") && error.contains(why), "{error}");
}

type Pair = (u64, u64);

#[test]
fn two_cycles_one_in_the_other_end_together() {
    let build = |t: &mut TopologyBuilder| {
        let lines = t.spout("lines", 1, LogSpout::<String>::from_stream("lines").bounded())?;
        let (outer, outer_end) = t.feedback::<(u64, u64)>("outer", 1)?;
        let (inner, inner_end) = t.feedback::<(u64, u64)>("inner", 2)?;
        let parse = || {
            |line: String, out: &mut Emitter<(u64, u64)>| {
                line.parse().into_iter().for_each(|n| out.emit((n, n)));
            }
        };
        let pairs = lines.shuffle().bolt("parse", 1, parse)?;
        // The inner one counts the second number down, the outer one the first.
        let count = || {
            |(n, m): Pair, out: &mut Emitter<Either<Pair, Pair>>| {
                out.emit(if m > 0 { Either::Left((n, m - 1)) } else { Either::Right((n, 0)) });
            }
        };
        let counted = pairs.union(&outer)?.union(&inner)?.shuffle().bolt("count", 2, count)?;
        let (on, down) = counted.split();
        inner_end.connect(on.shuffle())?;
        let begin = || {
            |(n, _): (u64, u64), out: &mut Emitter<Either<(u64, u64), String>>| {
                out.emit(Either::Right(n.to_string()));
                if n > 0 {
                    out.emit(Either::Left((n - 1, n - 1)));
                }
            }
        };
        let (next, said) = down.shuffle().bolt("begin", 2, begin)?.split();
        outer_end.connect(next.shuffle())?;
        said.sink("out", LogSink::to_stream("out"))
    };
    for seed in 0..20 {
        let mut t = TopologyTest::new(build).unwrap().seed(seed);
        t.options(|options| options.commit_ms = 2);
        t.send("lines", ["9", "4"]).unwrap();
        t.kill_anywhere();
        t.run_until_idle().unwrap();
        assert!(t.is_finished());
        let all: Vec<_> = (0..10).chain(0..5).map(|n: u64| n.to_string()).collect();
        assert_eq!(sorted(t.output("out").unwrap()), sorted(all), "seed {seed}");
    }
}

#[test]
fn a_plan_shows_where_tuples_leave_and_come_back() {
    let mut t = TopologyBuilder::new("collatz");
    collatz(SHAPE)(&mut t).unwrap();
    let topology = t.finish().unwrap();
    let text = topology.explain(2);
    let cycle = "  feedback end again.back x2\n    from step by local-or-shuffle, fused\n    back to again, task by task\n    \
                 state (u64, u64, u64) on their way, per task, checkpointed per commit\n";
    assert!(text.contains("  feedback again x2 -> (u64, u64, u64)\n"), "{text}");
    assert!(text.contains(cycle), "{text}");
    let json = topology.explain_as(Form::Json, 1, 2);
    assert!(json.contains("\"feeds\": \"again\""), "{json}");
    let dot = topology.explain_as(Form::Dot, 1, 2);
    assert!(dot.contains("[label=\"back\", style=dashed, constraint=false];"), "{dot}");
    assert!(topology.explain_as(Form::Svg, 1, 2).contains("stroke-dasharray"));
}

fn down(t: &mut TopologyBuilder) -> egret::Result<()> {
    let lines = t.spout("numbers", 1, LogSpout::<String>::from_stream("numbers").bounded())?;
    let parse = || {
        |line: String, out: &mut Emitter<Pair>| {
            line.parse().into_iter().for_each(|n| out.emit((n, n)));
        }
    };
    let numbers = lines.shuffle().bolt("parse", 1, parse)?;
    let (back, again) = t.feedback::<Pair>("again", 3)?;
    let down = || {
        |(of, n): Pair, out: &mut Emitter<Either<Pair, String>>| {
            out.emit(match n.checked_sub(1) {
                Some(less) => Either::Left((of, less)),
                None => Either::Right(of.to_string()),
            });
        }
    };
    let (on, done) = numbers.union(&back)?.shuffle().bolt("down", 2, down)?.split();
    again.connect(on.shuffle())?;
    done.sink("out", LogSink::to_stream("out").partitions(1))
}

/// On threads of its own, with time as it is.
#[test]
fn what_is_on_its_way_at_a_stop_goes_on_in_the_next_run() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogConfig::default()).unwrap();
    let config = StreamConfig { format: Format::Utf8, partitions: 1, ..StreamConfig::default() };
    log.create_stream("numbers", config).unwrap();
    let records: Vec<_> = (5000..5010).map(|n: u64| Record::of(n.to_string())).collect();
    log.writer_of("numbers", 0, &Format::Utf8).unwrap().append_wait(&records).unwrap();
    let counted = || {
        let mut reader = log.reader_of("out", 0, ReadFrom::Earliest, &Format::Utf8).unwrap();
        let mut all = Vec::new();
        while let Some(batch) = reader.next_wait(Duration::ZERO).unwrap() {
            let text = |record: &Record| String::from_utf8(record.value.to_vec()).unwrap();
            all.extend(batch.records.iter().map(text));
        }
        sorted(all)
    };
    let run = |workers, commits: Option<u64>| {
        let mut t = TopologyBuilder::new("down");
        down(&mut t).unwrap();
        let (topology, progress) = (t.finish().unwrap(), Arc::new(Progress::default()));
        let options = RunOptions { workers, commit_ms: 1, ..RunOptions::default() };
        let of_run = Arc::clone(&progress);
        std::thread::scope(|scope| {
            let run = scope.spawn(|| topology.run(&log, &options, &of_run).unwrap());
            while commits.is_some_and(|commits| progress.commits() < commits) && !run.is_finished()
            {
                std::thread::park_timeout(Duration::from_millis(1));
            }
            if commits.is_some() {
                progress.stop();
            }
            run.join().unwrap();
        });
    };
    run(2, Some(3));
    assert_eq!(counted(), Vec::<String>::new(), "all of them are on their way");
    run(3, Some(3));
    run(1, None);
    let all: Vec<_> = (5000..5010).map(|n: u64| n.to_string()).collect();
    assert_eq!(counted(), all);
    log.close().unwrap();
}
