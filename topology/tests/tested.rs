//! Topologies tested as their users would: sent to, killed, restored, looked at.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use egret::testing::{TestError, TopologyTest};
use egret::{
    ComponentResult, Context, Emitter, Guarantee, KeyedBolt, LogSink, LogSpout, Timer,
    TopologyBuilder,
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

/// Counts beside its state: what it counted is gone with the process, or there twice when a commit is repeated.
#[derive(Default)]
struct Forgetful(BTreeMap<String, u64>);

impl KeyedBolt<str, String, (String, u64)> for Forgetful {
    type State = ();

    fn execute(
        &mut self,
        word: &str,
        (): &mut (),
        _: String,
        out: &mut Emitter<(String, u64)>,
        _: &Context,
    ) -> ComponentResult {
        let n = self.0.entry(word.to_owned()).or_default();
        *n += 1;
        out.emit((word.to_owned(), *n));
        Ok(())
    }
}

fn counted<B>(
    t: &mut TopologyBuilder,
    count: impl Fn() -> B + Send + Sync + 'static,
) -> egret::Result<()>
where
    B: KeyedBolt<str, String, (String, u64)>,
{
    let lines = t.spout("lines", 2, LogSpout::<String>::from_stream("lines"))?;
    let words = lines.shuffle().bolt("split", 2, || {
        |line: String, out: &mut Emitter<String>| {
            line.split(' ').for_each(|word| out.emit(word.to_owned()));
        }
    })?;
    let counts = words.fields(|word| word.as_str()).keyed("count", 2, count)?;
    counts.sink("out", LogSink::to_stream("counts").partitions(2))
}

fn words(t: &mut TopologyBuilder) -> egret::Result<()> {
    counted(t, || Count)
}

const LINES: [&str; 6] = ["a b c", "b c", "c", "d e f g", "a a", "g"];

/// What comes of the lines: each word's 1, 2, 3, …, in order.
fn expected(lines: &[&str]) -> BTreeMap<String, Vec<u64>> {
    let mut counts: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for word in lines.iter().flat_map(|line| line.split(' ')) {
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

/// Sends the lines in two parts, killed once somewhere; what was told then.
fn under_a_kill(mut t: TopologyTest) -> (BTreeMap<String, Vec<u64>>, u32) {
    t.kill_anywhere();
    for lines in LINES.chunks(3) {
        t.send("lines", lines.iter().copied()).unwrap();
        t.run_until_idle().unwrap();
    }
    (told(&mut t), t.kills())
}

#[test]
fn each_input_counts_once_wherever_the_process_is_killed() {
    for seed in 0..25 {
        let (told, kills) = under_a_kill(TopologyTest::new(words).unwrap().seed(seed));
        assert_eq!((told, kills), (expected(&LINES), 1), "seed {seed}");
    }
}

#[test]
fn each_input_counts_once_with_a_kill_at_any_place() {
    let run = |at: Option<u64>| {
        let mut t = TopologyTest::new(words).unwrap().seed(5);
        if let Some(at) = at {
            t.kill_at(at);
        }
        t.send("lines", ["a b", "b"]).unwrap();
        t.run_until_idle().unwrap();
        (told(&mut t), t.kills(), t.failpoints())
    };
    let (undisturbed, kills, places) = run(None);
    assert_eq!((&undisturbed, kills), (&expected(&["a b", "b"]), 0));
    assert!(places > 100, "{places} places are too few for a topology that commits");
    // Every place takes long; which are left out is another question each time the code changes.
    for at in (0..places).step_by(9) {
        let (told, kills, _) = run(Some(at));
        assert_eq!((told, kills), (expected(&["a b", "b"]), 1), "killed at {at} of {places}");
    }
}

/// The control: state that the engine does not know of is found by the same test.
#[test]
fn a_bolt_that_keeps_its_counts_beside_its_state_is_found() {
    let wrong = (0..25).filter(|seed| {
        let build = |t: &mut TopologyBuilder| counted(t, Forgetful::default);
        let (told, _) = under_a_kill(TopologyTest::new(build).unwrap().seed(*seed));
        told != expected(&LINES)
    });
    assert!(wrong.count() > 2, "kills lose what is in no commit");
}

/// The control of the guarantee: at least once shows output twice.
#[test]
fn output_at_least_once_is_repeated_after_some_kill_and_never_missing() {
    let run = |at: Option<u64>| {
        let build = |t: &mut TopologyBuilder| words(t.guarantee(Guarantee::AtLeastOnce));
        let mut t = TopologyTest::new(build).unwrap().seed(5);
        if let Some(at) = at {
            t.kill_at(at);
        }
        t.send("lines", ["a b", "b"]).unwrap();
        t.run_until_idle().unwrap();
        (told(&mut t), t.failpoints())
    };
    let (undisturbed, places) = run(None);
    assert_eq!(undisturbed, expected(&["a b", "b"]));
    let repeats = |at| {
        let (told, _) = run(Some(at));
        for (word, wanted) in expected(&["a b", "b"]) {
            assert!(wanted.iter().all(|n| told[&word].contains(n)), "killed at {at}: {word}");
        }
        told != undisturbed
    };
    let repeated = (0..places).step_by(3).filter(|at| repeats(*at)).count();
    assert!(repeated > 0, "no kill at {places} places came between output and commit");
}

#[test]
fn a_topology_goes_on_with_other_tasks_and_workers() {
    let mut t = TopologyTest::new(words).unwrap().seed(3);
    for (lines, (tasks, workers)) in LINES.chunks(2).zip([(1, 3), (5, 1), (3, 2)]) {
        t.send("lines", lines.iter().copied()).unwrap();
        t.tasks("count", tasks).tasks("lines", tasks).workers(workers);
        t.restore().unwrap();
        t.run_until_idle().unwrap();
    }
    assert_eq!(told(&mut t), expected(&LINES));
    let last: BTreeMap<String, u64> =
        expected(&LINES).into_iter().map(|(word, of)| (word, of.len() as u64)).collect();
    assert_eq!(t.state::<u64>("count").unwrap(), last);
}

#[test]
fn the_same_seed_is_the_same_run() {
    let run = |seed| {
        let mut t = TopologyTest::new(words).unwrap().seed(seed);
        t.kill_anywhere();
        t.send("lines", LINES).unwrap();
        t.run_until_idle().unwrap();
        (t.failpoints(), t.keyed_output::<String>("counts").unwrap())
    };
    assert_eq!(run(11), run(11));
    assert_ne!(run(11).0, run(12).0);
}

#[test]
fn what_is_not_committed_is_not_seen_and_is_lost_with_the_process() {
    let mut t = TopologyTest::new(words).unwrap();
    t.options(|options| options.commit_ms = 1000);
    t.send("lines", ["a"]).unwrap();
    t.advance(Duration::from_millis(200)).unwrap();
    assert_eq!(told(&mut t), BTreeMap::new(), "nothing is committed yet");
    assert_eq!(t.state::<u64>("count").unwrap(), BTreeMap::new());
    t.kill();
    assert!(matches!(t.run_until_idle(), Err(TestError::Killed)));
    t.restore().unwrap();
    t.run_until_idle().unwrap();
    assert_eq!(told(&mut t), expected(&["a"]));
}

#[test]
fn a_bolt_that_panics_once_is_told_and_changes_nothing() {
    let armed = Arc::new(AtomicBool::new(true));
    let mut t = TopologyTest::new(move |t| {
        let armed = Arc::clone(&armed);
        let lines = t.spout("lines", 1, LogSpout::<String>::from_stream("lines"))?;
        let lines = lines.shuffle().bolt("trap", 1, move || {
            let armed = Arc::clone(&armed);
            move |line: String, out: &mut Emitter<String>| {
                assert!(!(line == "b" && armed.swap(false, Ordering::Relaxed)), "at the disco");
                out.emit(line);
            }
        })?;
        let counts = lines.fields(|line| line.as_str()).keyed("count", 1, || Count)?;
        counts.sink("out", LogSink::to_stream("counts"))
    })
    .unwrap();
    t.send("lines", ["a", "b", "c"]).unwrap();
    t.run_until_idle().unwrap();
    assert_eq!(told(&mut t), expected(&["a", "b", "c"]));
    assert!(matches!(t.failures(), [why] if why.contains("at the disco")), "{:?}", t.failures());
    assert_eq!((t.generation(), t.kills()), (Some(2), 0));
}

/// Tells a word a minute after it came first.
struct Later;

impl KeyedBolt<str, String, String> for Later {
    type State = bool;

    fn execute(
        &mut self,
        _: &str,
        waits: &mut bool,
        _: String,
        _: &mut Emitter<String>,
        cx: &Context,
    ) -> ComponentResult {
        if !std::mem::replace(waits, true) {
            cx.timers().set(Timer::processing(cx.processing_time() + 60_000))?;
        }
        Ok(())
    }

    fn on_timer(
        &mut self,
        word: &str,
        _: &mut bool,
        _: Timer,
        out: &mut Emitter<String>,
        _: &Context,
    ) -> ComponentResult {
        out.emit(word.to_owned());
        Ok(())
    }
}

#[test]
fn time_passes_when_it_is_said_and_a_timer_outlives_a_kill() {
    let mut t = TopologyTest::new(|t| {
        let lines = t.spout("lines", 1, LogSpout::<String>::from_stream("lines"))?;
        let later = lines.fields(|line| line.as_str()).keyed("later", 2, || Later)?;
        later.sink("out", LogSink::to_stream("late").partitions(1))
    })
    .unwrap();
    t.send("lines", ["a"]).unwrap();
    t.run_until_idle().unwrap();
    t.advance(Duration::from_secs(59)).unwrap();
    t.restore().unwrap();
    t.run_until_idle().unwrap();
    assert_eq!(t.output::<String>("late").unwrap(), [""; 0]);
    t.advance(Duration::from_secs(2)).unwrap();
    t.run_until_idle().unwrap();
    assert_eq!(t.output::<String>("late").unwrap(), ["a"]);
}

#[test]
fn a_bounded_topology_finishes_and_goes_on_when_it_is_restored() {
    let mut t = TopologyTest::with_args(
        |t, args| {
            let spout = LogSpout::<String>::from_stream(&args.rest[0]).bounded();
            t.spout("in", 1, spout)?.sink("out", LogSink::to_stream("copy").partitions(1))
        },
        &["from"],
    )
    .unwrap();
    t.partitions("from", 1).send("from", ["a", "b"]).unwrap();
    t.run_until_idle().unwrap();
    assert!(t.is_finished());
    t.send("from", ["c"]).unwrap();
    t.restore().unwrap();
    t.run_until_idle().unwrap();
    assert_eq!(t.output::<String>("copy").unwrap(), ["a", "b", "c"]);
}

#[test]
fn what_cannot_be_tested_is_said() {
    let empty = TopologyTest::new(|_| Ok(())).unwrap_err();
    assert!(empty.to_string().contains("has no spout"), "{empty}");
    let mut t = TopologyTest::new(words).unwrap();
    let none = t.tasks("counter", 2).restore().unwrap_err();
    assert!(none.to_string().contains("no component `counter`"), "{none}");
    let mut t = TopologyTest::new(words).unwrap();
    assert!(t.output::<String>("nowhere").unwrap_err().to_string().contains("nowhere"));
}
