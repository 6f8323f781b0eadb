//! Wrong wirings, each with what is said of it. All of that is in `wirings.txt`, to be read as a whole;
//! `UPDATE=1 cargo test -p egret --test wirings` writes it again.
//!
//! What cannot be written at all (a cycle without a feedback, state per key without a key, a bolt of another type) is in the head of
//! `egret::builder`, as examples that do not compile.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use egret::connect::{Queue, QueueSpout, Received};
use egret::streamlet::Interval;
use egret::window::{Count, CountTumbling, Global, Tumbling};
use egret::{
    Blob, Calls, ComponentResult, Context, Emitter, Error, Guarantee, KeyedBolt, LogSink, LogSpout,
    Next, OnError, Output, Positions, Progress, Replay, Result, RunOptions, Spout, Stream,
    TopologyBuilder,
};
use egret_log::stream::{Format, StreamConfig};
use egret_log::{Log, LogConfig};

const TOLD: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/wirings.txt");

const SOURCE: &str = include_str!("../src/builder/error.rs");

/// Reasons of [`egret::BuildError`] that have no wiring here, and where they are shown.
const ELSEWHERE: [&str; 0] = [];

/// A wiring: what is wrong with it, who must be named, and what makes it.
type Wiring = (&'static str, &'static [&'static str], fn(&mut TopologyBuilder) -> Result<()>);

fn lines(t: &mut TopologyBuilder) -> Stream<String> {
    t.spout("lines", 1, LogSpout::<String>::from_stream("lines")).unwrap()
}

fn copy() -> impl FnMut(String, &mut Emitter<String>) + 'static {
    |line, out| out.emit(line)
}

fn to(stream: &str) -> LogSink<String> {
    LogSink::to_stream(stream)
}

/// Lines and where they go, so that nothing else is wrong.
fn right(t: &mut TopologyBuilder) -> Stream<String> {
    let lines = lines(t);
    lines.sink("out", to("out")).unwrap();
    lines
}

/// Another stream.
fn more(t: &mut TopologyBuilder) -> Stream<String> {
    t.spout("more", 1, LogSpout::<String>::from_stream("more")).unwrap()
}

struct Counts;

impl KeyedBolt<str, String, String> for Counts {
    type State = u64;
    fn execute(
        &mut self,
        _: &str,
        _: &mut u64,
        _: String,
        _: &mut Emitter<String>,
        _: &Context,
    ) -> ComponentResult {
        Ok(())
    }
}

struct Clock;

impl Spout<String> for Clock {
    fn replay(&self) -> Replay {
        Replay::None
    }
    fn open(&mut self, _: &Context, _: &Positions) -> ComponentResult {
        Ok(())
    }
    fn next(&mut self, _: usize, _: &mut Emitter<String>, _: &Context) -> ComponentResult<Next> {
        Ok(Next::Done)
    }
    fn positions(&self) -> Positions {
        Positions::new()
    }
}

struct Orders;

impl Queue<String> for Orders {
    type Id = u64;
    fn open(&mut self, _: &Context) -> ComponentResult {
        Ok(())
    }
    fn receive(&mut self, _: &Context) -> ComponentResult<Received<u64, String>> {
        Ok(Received::Done)
    }
    fn ack(&mut self, _: Vec<u64>, _: &Context) -> ComponentResult {
        Ok(())
    }
}

const LATE: Output<String> = Output::new("late");
const LATE_NUMBERS: Output<u64> = Output::new("late");
const BAD: Output<u64> = Output::new("bad");

const WIRINGS: &[Wiring] = &[
    ("a topology without a spout", &["t"], |_| Ok(())),
    ("two components of one name", &["lines"], |t| {
        right(t).shuffle().bolt("lines", 1, copy).map(drop)
    }),
    ("a component of no task", &["split"], |t| right(t).shuffle().bolt("split", 0, copy).map(drop)),
    ("a component of too many tasks", &["split"], |t| {
        right(t).shuffle().bolt("split", 5000, copy).map(drop)
    }),
    ("a component whose name cannot be a key", &["a/b"], |t| {
        right(t).shuffle().bolt("a/b", 1, copy).map(drop)
    }),
    ("a topology without a name", &[""], |t| {
        t.name("");
        Ok(())
    }),
    ("no key group", &["t"], |t| {
        t.key_groups(0);
        Ok(())
    }),
    ("more tasks with state than key groups", &["count"], |t| {
        t.key_groups(2);
        let counts = lines(t).fields(|line| line.as_str()).keyed("count", 3, || Counts)?;
        counts.sink("out", to("out"))
    }),
    ("output that goes nowhere", &["split"], |t| {
        right(t).shuffle().bolt("split", 1, copy).map(drop)
    }),
    ("a spout that cannot replay, under effectively-once", &["clock"], |t| {
        t.spout("clock", 1, || Clock)?.sink("out", to("out"))
    }),
    ("a spout that cannot replay, under at-least-once", &["clock"], |t| {
        t.guarantee(Guarantee::AtLeastOnce);
        t.spout("clock", 1, || Clock)?.sink("out", to("out"))
    }),
    ("a queue that only acknowledges, under effectively-once", &["orders"], |t| {
        t.spout("orders", 1, QueueSpout::new(|| Orders))?.sink("out", to("out"))
    }),
    ("a sink outside of the commit, under effectively-once", &["mail"], |t| {
        right(t).shuffle().sink("mail", 1, || |_: String| {})
    }),
    ("two writers of one stream", &["out", "copy"], |t| right(t).sink("copy", to("out"))),
    ("streams of two topologies as one", &["lines", "others"], |t| {
        let mut other = TopologyBuilder::new("other");
        let others = other.spout("others", 1, LogSpout::<String>::from_stream("others"))?;
        right(t).union(&others).map(drop)
    }),
    ("something more for a topology that is finished", &["late"], |_| {
        let mut other = TopologyBuilder::new("other");
        let lines = right(&mut other);
        other.finish()?;
        lines.shuffle().bolt("late", 1, copy).map(drop)
    }),
    ("an output more for a topology that is finished", &["late"], |_| {
        let mut other = TopologyBuilder::new("other");
        let lines = right(&mut other);
        other.finish()?;
        lines.with_output(&LATE).map(drop)
    }),
    ("two outputs of one name", &["lines", "late"], |t| {
        right(t).with_output(&LATE)?.with_output(&LATE_NUMBERS).map(drop)
    }),
    ("an output that was not declared, of several", &["lines", "late", "bad"], |t| {
        right(t).with_output(&BAD)?.output(&LATE).map(drop)
    }),
    ("an output that was not declared, of none", &["lines", "late"], |t| {
        right(t).output(&LATE).map(drop)
    }),
    ("an output taken as one of another type", &["lines", "late"], |t| {
        right(t).with_output(&LATE)?.output(&LATE_NUMBERS).map(drop)
    }),
    ("an output of a union", &["lines", "more"], |t| {
        let more = t.spout("more", 1, LogSpout::<String>::from_stream("more"))?;
        right(t).union(&more)?.with_output(&LATE).map(drop)
    }),
    ("an output of an output", &["lines"], |t| {
        right(t).with_output(&LATE)?.output(&LATE)?.output(&BAD).map(drop)
    }),
    ("an output whose name cannot be one", &["too late"], |t| {
        right(t).with_output(&Output::<u64>::new("too late")).map(drop)
    }),
    ("event time of a bolt's tuples", &["split"], |t| {
        let split = right(t).shuffle().bolt("split", 1, copy)?;
        split.event_time(|_| 0).map(drop)
    }),
    ("event time said twice", &["lines"], |t| {
        right(t).event_time(|_| 0)?.event_time(|_| 1).map(drop)
    }),
    ("event time of what comes back", &["again"], |t| {
        let (back, _again) = t.feedback::<String>("again", 1)?;
        back.event_time(|_| 0).map(drop)
    }),
    ("a feedback that is not connected", &["again"], |t| {
        let (back, _) = t.feedback::<String>("again", 1)?;
        right(t).union(&back)?.sink("all", to("all"))
    }),
    ("a feedback of what has nothing to do with it", &["again", "split"], |t| {
        let (back, again) = t.feedback::<String>("again", 1)?;
        back.sink("all", to("all"))?;
        again.connect(right(t).shuffle().bolt("split", 1, copy)?.shuffle())
    }),
    ("a feedback of another topology", &["again", "split"], |t| {
        let (_, again) = t.feedback::<String>("again", 1)?;
        let mut other = TopologyBuilder::new("other");
        again.connect(right(&mut other).shuffle().bolt("split", 1, copy)?.shuffle())
    }),
    ("a feedback whose other end has the name of a component", &["again.back"], |t| {
        let (back, again) = t.feedback::<String>("again", 1)?;
        let copies = right(t).union(&back)?.shuffle().bolt("again.back", 1, copy)?;
        again.connect(copies.shuffle())
    }),
    ("windows by event time in a cycle", &["counts", "again"], |t| {
        let timed = right(t).event_time(|_| 0)?;
        let (back, again) = t.feedback::<String>("again", 1)?;
        let lines = timed.union(&back)?.shuffle().bolt("copy", 1, copy)?;
        again.connect(lines.shuffle())?;
        let windows =
            lines.fields(|line| line.as_str()).window(Tumbling::of(Duration::from_secs(1)));
        let counts = windows.event_time(|_| 0).aggregate("counts", 1, Count)?;
        counts
            .shuffle()
            .bolt("texts", 1, || |_, out: &mut Emitter<String>| out.emit(String::new()))?
            .sink("texts.out", to("texts"))
    }),
    ("windows that never end", &["counts"], |t| {
        let windows = right(t).fields(|line| line.as_str()).window(Global);
        windows.aggregate("counts", 1, Count).map(drop)
    }),
    ("windows by a time that nobody says", &["counts"], |t| {
        let windows =
            lines(t).fields(|line| line.as_str()).window(Tumbling::of(Duration::from_secs(1)));
        let windows = windows.event_time(|_| 0);
        let counts = windows.aggregate_with("counts", 1, Count, |_, _, n| [n.to_string()])?;
        counts.sink("out", to("out"))
    }),
    ("what becomes of tuples at which a spout fails", &["lines"], |t| {
        right(t).on_error(OnError::DeadLetter).map(drop)
    }),
    ("what becomes of tuples at which several bolts fail", &["split", "copy"], |t| {
        let split = right(t).shuffle().bolt("split", 1, copy)?;
        let copies = split.shuffle().bolt("copy", 1, copy)?;
        split.union(&copies)?.on_error(OnError::DeadLetter).map(drop)
    }),
    ("dead letters of a bolt that makes none", &["split"], |t| {
        right(t).shuffle().bolt("split", 1, copy)?.dead_letters::<String>().map(drop)
    }),
    ("dead letters of another type", &["split", "String"], |t| {
        let split = right(t).shuffle().bolt("split", 1, copy)?.on_error(OnError::DeadLetter)?;
        split.dead_letters::<u64>().map(drop)
    }),
    ("dead letters that go nowhere", &["split"], |t| {
        let split = lines(t).shuffle().bolt("split", 1, copy)?.on_error(OnError::DeadLetter)?;
        split.sink("out", to("out"))
    }),
    ("an output of dead letters", &["split"], |t| {
        let split = right(t).shuffle().bolt("split", 1, copy)?.on_error(OnError::DeadLetter)?;
        split.dead_letters::<String>()?.with_output(&LATE).map(drop)
    }),
    ("a bolt that ticks all the time", &["split"], |t| {
        let split = right(t).shuffle().bolt("split", 1, copy)?;
        split.tick_every(Duration::ZERO).map(drop)
    }),
    ("a spout that may emit nothing", &["lines"], |t| right(t).rate(0.0).map(drop)),
    ("the rate of a bolt", &["split"], |t| {
        right(t).shuffle().bolt("split", 1, copy)?.rate(1.0).map(drop)
    }),
    ("a bolt that may make no call", &["ask"], |t| {
        let ask = || |line: String| async move { Ok([line]) };
        right(t).shuffle().call("ask", 1, Calls::at_once(0), ask).map(drop)
    }),
    ("a join by a time that nobody says", &["join"], |t| {
        let keyed = |stream: Stream<String>| stream.streamlet().key_by(|line| line.clone());
        let pair = keyed(lines(t)).join(keyed(more(t)));
        let near = pair.interval(Interval::ms(0..=10), |_| 0, |_| 0);
        near.inner(|_, left, _| left.clone()).named("join").to_sink("out", to("out"))
    }),
    ("a join within an interval that ends before it begins", &["join"], |t| {
        let keyed = |stream: Stream<String>| stream.streamlet().key_by(|line| line.clone());
        let pair = keyed(lines(t)).join(keyed(more(t)));
        let near = pair.interval(Interval::ms(std::ops::RangeInclusive::new(10, 0)), |_| 0, |_| 0);
        near.inner(|_, left, _| left.clone()).named("join").stream().map(drop)
    }),
    ("a streamlet's steps with two names", &["words", "long"], |t| {
        let words = right(t).streamlet().map(|line| line).named("words");
        words.filter(|_| true).named("long").stream().map(drop)
    }),
    ("a streamlet's steps with two numbers of tasks", &["words"], |t| {
        let words = right(t).streamlet().map(|line| line).named("words").parallelism(4);
        words.filter(|_| true).parallelism(2).stream().map(drop)
    }),
    ("a streamlet's steps with tasks of their own behind tuples dealt out", &["words"], |t| {
        let words = right(t).streamlet().repartition(4).map(|line| line).named("words");
        words.parallelism(2).stream().map(drop)
    }),
    ("the name of a streamlet that is a stream", &["words"], |t| {
        right(t).streamlet().named("words").stream().map(drop)
    }),
    ("the name of a step that was wired before", &["late"], |t| {
        let words = right(t).streamlet().map(|line| line).shared();
        words.clone().stream()?;
        words.named("late").stream().map(drop)
    }),
    ("tuples dealt out to streamlets that are united", &["words"], |t| {
        let words = right(t).streamlet().map(|line| line).named("words");
        let copies = words.shared();
        copies.clone().repartition(4).union(copies).stream().map(drop)
    }),
    ("a tuple for every task of what goes by a key", &["words"], |t| {
        let words = right(t).streamlet().map(|line| line).named("words");
        words.broadcast().key_by(|line| line.clone()).count_by_key().stream().map(drop)
    }),
    ("tuples dealt out to a sink that places them itself", &["words"], |t| {
        let words = right(t).streamlet().map(|line| line).named("words");
        words.rebalance().to_sink("out", to("out"))
    }),
    ("repetitions within no time", &["lines.dedup"], |t| {
        let words = right(t).streamlet().key_by(|line| line.clone());
        words.dedup_for(Duration::ZERO).stream().map(drop)
    }),
    ("all tuples in one window at several tasks", &["all"], |t| {
        let all = right(t).streamlet().window_all(CountTumbling(5));
        let all = all.aggregate_with(Count, |_, _, n| [n.to_string()]);
        all.named("all").parallelism(2).stream().map(drop)
    }),
];

/// Wirings that are right by themselves, on a log where something is not: `lines` and `plain` are plain streams of
/// text, `owned` is another topology's.
const PLACED: &[Wiring] = &[
    ("a stream that is not there", &["reads", "nowhere"], |t| {
        let none = t.spout("reads", 1, LogSpout::<String>::from_stream("nowhere"))?;
        none.sink("out", to("out"))
    }),
    ("a stream of another format", &["reads", "lines"], |t| {
        let bytes = t.spout("reads", 1, LogSpout::<Blob>::from_stream("lines"))?;
        bytes.sink("out", LogSink::to_stream("out"))
    }),
    ("output to a stream of another format", &["writes", "plain"], |t| {
        let bytes = lines(t).shuffle().bolt("bytes", 1, || {
            |line: String, out: &mut Emitter<Blob>| out.emit(Blob::from(line.as_bytes()))
        })?;
        bytes.sink("writes", LogSink::to_stream("plain"))
    }),
    ("output to a stream of plain writers", &["writes", "plain"], |t| {
        lines(t).sink("writes", to("plain"))
    }),
    ("output to a stream of another topology", &["writes", "owned", "owner"], |t| {
        lines(t).sink("writes", to("owned"))
    }),
    (
        "output at least once to a stream of another topology's commits",
        &["writes", "owned", "owner"],
        |t| {
            t.guarantee(Guarantee::AtLeastOnce);
            lines(t).sink("writes", to("owned"))
        },
    ),
];

fn place() -> (tempfile::TempDir, Log) {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogConfig::default()).unwrap();
    let config = || StreamConfig { format: Format::Utf8, partitions: 1, ..StreamConfig::default() };
    log.create_stream("lines", config()).unwrap();
    log.create_stream("plain", config()).unwrap();
    let owned = StreamConfig { transactional: Some("owner".to_owned()), ..config() };
    log.create_stream("owned", owned).unwrap();
    (dir, log)
}

/// What is said of a wiring, by the call that makes it or when it is to run.
fn said(wiring: &Wiring, log: Option<&Log>) -> Error {
    let (what, names, build) = wiring;
    let mut t = TopologyBuilder::new("t");
    let built = build(&mut t).and_then(|()| t.finish());
    let error = match (built, log) {
        (Ok(topology), Some(log)) => {
            let progress = Arc::new(Progress::default());
            topology.run(log, &RunOptions::default(), &progress).unwrap_err()
        }
        (Ok(_), None) => panic!("{what}: it can be built"),
        (Err(error), Some(_)) => panic!("{what}: it cannot even be built: {error}"),
        (Err(error), None) => error,
    };
    let text = error.to_string();
    for name in *names {
        assert!(text.contains(&format!("`{name}`")), "{what}: `{name}` is not named: {text}");
    }
    // What was wrong, and what to do.
    assert!(text.contains(": "), "{what}: there is no remedy: {text}");
    error
}

fn variant(error: &Error) -> Option<String> {
    let Error::Build(why) = error else { return None };
    let text = format!("{why:?}");
    Some(text.split([' ', '{', '(']).next().unwrap().to_owned())
}

#[test]
fn what_is_said_of_a_wrong_wiring_names_the_component_and_the_remedy() {
    let mut told = "What is said of a wiring that cannot run; see wirings.rs.\n".to_owned();
    let mut tell = |wiring: &Wiring, error: &Error| {
        told.push_str(&format!("\n{}\n  {error}\n", wiring.0));
    };
    let mut shown = BTreeSet::from(ELSEWHERE.map(str::to_owned));
    for wiring in WIRINGS {
        let error = said(wiring, None);
        shown.extend(variant(&error));
        tell(wiring, &error);
    }
    let (_dir, log) = place();
    for wiring in PLACED {
        tell(wiring, &said(wiring, Some(&log)));
    }
    log.close().unwrap();
    let there = SOURCE.lines().filter_map(|line| {
        let name = line.strip_prefix("    ")?.strip_suffix(" {")?;
        name.chars().all(char::is_alphanumeric).then(|| name.to_owned())
    });
    let there: BTreeSet<String> = there.collect();
    assert!(there.len() > 10, "{there:?}");
    assert_eq!(there, shown, "each reason has a wiring here, or says where else it is shown");

    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(TOLD, &told).unwrap();
    }
    let kept = std::fs::read_to_string(TOLD).unwrap_or_default();
    assert_eq!(told, kept, "if that is meant: UPDATE=1 cargo test -p egret --test wirings");
}
