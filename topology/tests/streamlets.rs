//! Streamlets against one thread: calm, killed anywhere, restored with other tasks; and what they become.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "streamlets/driven.rs"]
mod driven;

use std::collections::BTreeMap;
use std::time::Duration;

use driven::{END, Part, Scenario, in_parts, key, lines, ms, sorted, timed};
use egret::streamlet::{Branch, Interval, Transformer};
use egret::testing::TopologyTest;
use egret::window::{Count, CountTumbling, Sessions, Sliding, Tumbling, Windowed, max, sum};
use egret::{
    BuildError, ComponentResult, Context, DeadLetter, Either, Emitter, Error, Generator, Guarantee,
    KeyedBolt, LogSpout, Next, OnError, Positions, Replay, Result, Spout, Streamlet, TimeToLive,
    Timer, TopologyBuilder,
};

const MS: fn(u64) -> Duration = Duration::from_millis;

fn source(t: &mut TopologyBuilder) -> Streamlet<String> {
    t.streamlet("lines", 1, LogSpout::<String>::from_stream("lines")).unwrap()
}

/// The names of all components.
fn names(t: TopologyBuilder) -> Vec<String> {
    let topology = t.finish().unwrap();
    topology.plan().components.iter().map(|component| component.name.clone()).collect()
}

fn texts(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

/// The last number told of each key.
fn last(t: &mut TopologyTest, stream: &str) -> BTreeMap<String, u64> {
    let told = t.keyed_output::<String>(stream).unwrap();
    let mut last = BTreeMap::new();
    for (key, n) in told {
        let n: u64 = n.parse().unwrap();
        let before = last.insert(key.clone(), n);
        assert!(before.is_none_or(|before| before < n), "{key} is told {before:?} and then {n}");
    }
    last
}

fn words(t: &mut TopologyBuilder) -> Streamlet<String> {
    source(t)
        .flat_map(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>())
        .filter(|word| !word.is_empty())
        .named("words")
        .parallelism(2)
        .shared()
}

const LINES: [&str; 6] = ["a b c", "b c", "c", "d e  f g", "a a", "g"];

fn word_parts() -> Vec<Part> {
    LINES.chunks(2).map(|lines| vec![("lines", texts(lines))]).collect()
}

fn counted() -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    let words = LINES.iter().flat_map(|line| line.split_whitespace());
    words.for_each(|word| *counts.entry(word.to_owned()).or_default() += 1);
    counts
}

// ---- Steps without state.

#[test]
fn steps_without_state_are_one_bolt_and_do_what_iterators_do() {
    fn build(t: &mut TopologyBuilder) -> Result<()> {
        source(t)
            .flat_map(|line| line.split(' ').map(str::to_owned).collect::<Vec<_>>())
            .filter(|word| word.len() > 1)
            .filter_map(|word| word.parse::<u64>().ok())
            .inspect(|n| assert!(*n > 9))
            .map(|n| (n, n * n))
            .map(|(n, square)| format!("{n} {square}"))
            .named("squares")
            .to_stream("out")
    }
    let mut t = TopologyBuilder::new("t");
    build(&mut t).unwrap();
    let topology = t.finish().unwrap();
    let plan = &topology.plan().components;
    let names: Vec<&str> = plan.iter().map(|component| component.name.as_str()).collect();
    assert_eq!(names, ["lines", "squares", "to-out"], "one bolt, and no more");
    assert_eq!(plan[1].detail, "flat_map, filter, filter_map, inspect, map, map");
    assert!(topology.explain(1).contains(&plan[1].detail));

    let given = ["10 2 x 30", "77", "", "abc 9 12 12"];
    let parts = given.map(|line| vec![("lines", texts(&[line]))]).to_vec();
    let wanted = given.iter().flat_map(|line| line.split(' ')).filter(|word| word.len() > 1);
    let wanted = wanted.filter_map(|word| word.parse::<u64>().ok());
    let mut wanted: Vec<String> = wanted.map(|n| format!("{n} {}", n * n)).collect();
    wanted.sort_unstable();
    let scenario = Scenario { build, stateful: &[], parts };
    scenario.holds(|t| sorted(t, "out"), &wanted);
}

#[test]
fn tuples_dealt_out_anew_begin_another_bolt() {
    let mut t = TopologyBuilder::new("t");
    let some = source(&mut t).map(|line| line + ".").parallelism(3).filter(|line| line.len() > 1);
    some.repartition(2).map(|line| line + "!").to_stream("out").unwrap();
    let topology = t.finish().unwrap();
    let plan = &topology.plan().components;
    let bolts: Vec<_> = plan.iter().map(|c| (c.name.as_str(), c.parallelism)).collect();
    assert_eq!(bolts[..3], [("lines", 1), ("lines.steps", 3), ("lines.steps.steps", 2)]);
    let groupings: Vec<_> = plan.iter().flat_map(|c| &c.inputs).map(|i| i.grouping).collect();
    let groupings: Vec<String> = groupings.iter().map(ToString::to_string).collect();
    assert_eq!(groupings, ["shuffle", "rebalance", "by-partition"]);
}

#[derive(Default)]
struct Numbered {
    task: Option<String>,
    n: u32,
}

impl Transformer<String, String> for Numbered {
    fn setup(&mut self, cx: &Context) -> ComponentResult {
        self.task = Some(cx.id().to_string());
        Ok(())
    }

    fn transform(&mut self, line: String, out: &mut dyn FnMut(String)) -> ComponentResult {
        let task = self.task.as_ref().ok_or("it was not set up")?;
        self.n += 1;
        (0..line.len()).for_each(|_| out(format!("{task} {line}")));
        Ok(())
    }
}

#[test]
fn a_transformer_is_set_up_and_makes_any_number_of_tuples() {
    fn build(t: &mut TopologyBuilder) -> Result<()> {
        source(t).transform(Numbered::default).named("numbered").to_stream("out")
    }
    let parts = vec![vec![("lines", texts(&["a", "bb"]))], vec![("lines", texts(&["c", ""]))]];
    let wanted = texts(&["numbered/0 a", "numbered/0 bb", "numbered/0 bb", "numbered/0 c"]);
    Scenario { build, stateful: &[], parts }.holds(|t| sorted(t, "out"), &wanted);
}

#[test]
fn a_tuple_at_which_a_step_fails_becomes_a_dead_letter_and_leaves_nothing() {
    fn build(t: &mut TopologyBuilder) -> Result<()> {
        let numbers = source(t)
            .flat_map(|line| [line.clone(), line])
            .try_map(|line| Ok(line.parse::<u64>()?))
            .named("parse")
            .stream()?
            .on_error(OnError::DeadLetter)?;
        let letters = numbers.dead_letters::<String>()?.streamlet();
        letters.map(|letter: DeadLetter<String>| letter.tuple).to_stream("wrong")?;
        numbers.streamlet().map(|n| n.to_string()).to_stream("out")
    }
    let parts = vec![vec![("lines", texts(&["1", "x", "2"]))]];
    let look = |t: &mut TopologyTest| (sorted(t, "out"), sorted(t, "wrong"));
    let wanted = (texts(&["1", "1", "2", "2"]), texts(&["x"]));
    Scenario { build, stateful: &[], parts }.holds(look, &wanted);
}

#[test]
fn streamlets_are_split_united_and_dealt_out_as_is_said() {
    fn build(t: &mut TopologyBuilder) -> Result<()> {
        let numbers = source(t).filter_map(|line| line.parse::<u32>().ok()).shared();
        let (even, odd) = numbers.clone().split(|n| n % 2 == 0);
        let [small, all, none] = numbers.split_to([
            Branch::new("small", |n: &u32| *n < 3),
            Branch::new("all", |_| true),
            Branch::new("none", |_| false),
        ]);
        drop(none);
        even.named("parity").map(|n| format!("even {n}")).named("even").to_stream("even")?;
        let joined = odd.map(|n| format!("odd {n}")).named("odd");
        joined.union(small.map(|n| format!("small {n}"))).to_stream("out")?;
        let all = all.broadcast().map(|n| n.to_string()).named("each").parallelism(3);
        all.to_stream("copies")?;
        let tasks = |n: &String, tasks: u32| u32::from(n.len() < 2) % tasks;
        source_of(t, "more").repartition_by(2, tasks).transform(Numbered::default).to_stream("by")
    }
    fn source_of(t: &mut TopologyBuilder, name: &str) -> Streamlet<String> {
        t.streamlet(name, 1, LogSpout::<String>::from_stream(name)).unwrap()
    }
    let parts = vec![
        vec![("lines", texts(&["1", "2"])), ("more", texts(&["a", "bb"]))],
        vec![("lines", texts(&["4", "7", "x"]))],
    ];
    let look = |t: &mut TopologyTest| {
        [sorted(t, "even"), sorted(t, "out"), sorted(t, "copies"), sorted(t, "by")]
    };
    let wanted = [
        texts(&["even 2", "even 4"]),
        texts(&["odd 1", "odd 7", "small 1", "small 2"]),
        texts(&["1", "1", "1", "2", "2", "2", "4", "4", "4", "7", "7", "7"]),
        texts(&["more.steps/0 bb", "more.steps/0 bb", "more.steps/1 a"]),
    ];
    Scenario { build, stateful: &[], parts }.holds(look, &wanted);
}

// ---- State by key.

/// Heron's streamlets keep these beside their state: after a restore they begin anew.
#[test]
fn counts_by_key_are_kept_wherever_the_process_is_killed() {
    fn build(t: &mut TopologyBuilder) -> Result<()> {
        words(t).key_by_ref(|word| word.as_str()).count_by_key().named("count").to_stream("counts")
    }
    let scenario = Scenario { build, stateful: &["count", "words"], parts: word_parts() };
    scenario.holds(|t| last(t, "counts"), &counted());
}

#[test]
fn reductions_by_key_are_kept_wherever_the_process_is_killed() {
    fn build(t: &mut TopologyBuilder) -> Result<()> {
        let pairs = words(t).map(|word| (word, 1u64)).named("pairs");
        let sums = pairs.key_by(|(word, _)| word.clone()).reduce_by_key(|all, one| all.1 += one.1);
        sums.named("sum").map(|(word, (_, n))| (word, n)).to_stream("sums")
    }
    let scenario = Scenario { build, stateful: &["sum"], parts: word_parts() };
    scenario.holds(|t| last(t, "sums"), &counted());
}

#[test]
fn aggregates_by_key_are_kept_wherever_the_process_is_killed() {
    fn build(t: &mut TopologyBuilder) -> Result<()> {
        let length = |line: &String| line.len() as u64;
        let stats = source(t).key_by(|line| u64::from(line.as_bytes()[0]));
        let stats = stats.aggregate_by_key((Count, (sum(length), max(length)))).named("stats");
        stats.map(|(first, of)| (first.to_string(), format!("{of:?}"))).to_stream("stats")
    }
    let mut wanted: BTreeMap<String, (u64, (u64, u64))> = BTreeMap::new();
    for line in LINES {
        let of = wanted.entry(line.as_bytes()[0].to_string()).or_default();
        let length = line.len() as u64;
        *of = (of.0 + 1, (of.1.0 + length, of.1.1.max(length)));
    }
    let wanted: BTreeMap<String, String> =
        wanted.into_iter().map(|(first, of)| (first, format!("{of:?}"))).collect();
    let scenario = Scenario { build, stateful: &["stats"], parts: word_parts() };
    let look = |t: &mut TopologyTest| -> BTreeMap<String, String> {
        t.keyed_output::<String>("stats").unwrap().into_iter().collect()
    };
    scenario.holds(look, &wanted);
}

#[test]
fn a_key_lives_as_long_as_is_said() {
    let mut t = TopologyTest::new(|t| {
        let lives = TimeToLive::processing(MS(1000));
        let counts = source(t).key_by(|line| line.clone()).time_to_live(lives).count_by_key();
        counts.named("count").to_stream("counts")
    })
    .unwrap();
    t.send("lines", ["a"]).unwrap();
    t.run_until_idle().unwrap();
    assert_eq!(t.state::<Option<u64>>("count").unwrap()["a"], Some(1));
    t.advance(MS(3000)).unwrap();
    t.run_until_idle().unwrap();
    assert_eq!(t.state::<Option<u64>>("count").unwrap(), BTreeMap::new());
}

#[test]
fn the_first_of_each_key_goes_through_once() {
    fn build(t: &mut TopologyBuilder) -> Result<()> {
        words(t).key_by(|word| word.clone()).dedup().named("once").to_stream("out")
    }
    let wanted: Vec<String> = counted().into_keys().collect();
    let scenario = Scenario { build, stateful: &["once"], parts: word_parts() };
    scenario.holds(|t| sorted(t, "out"), &wanted);
}

#[test]
fn repetitions_within_a_time_are_kept_back_and_keys_are_forgotten() {
    fn build(t: &mut TopologyBuilder) -> Result<()> {
        let once = timed(t, "lines").streamlet().key_by(|line| key(line));
        once.dedup_within(MS(25), |line| ms(line)).named("once").to_stream("out")
    }
    let given = lines(5, 90);
    let mut passed: BTreeMap<u64, Vec<i64>> = BTreeMap::new();
    let mut wanted = vec![format!("{END} 1000000 end")];
    for line in &given {
        let of = passed.entry(key(line)).or_default();
        if of.iter().all(|other| (ms(line) - other).abs() >= 25) {
            of.push(ms(line));
            wanted.push(line.clone());
        }
    }
    assert!(wanted.len() < 70 && wanted.len() > 20, "{}", wanted.len());
    wanted.sort_unstable();
    let parts = in_parts(&[("lines", &given)]);
    let look = |t: &mut TopologyTest| {
        let kept: Vec<String> = t.state::<Vec<i64>>("once").unwrap().into_keys().collect();
        (sorted(t, "out"), kept)
    };
    Scenario { build, stateful: &["once"], parts }.holds(look, &(wanted, vec![END.to_string()]));
}

#[test]
fn repetitions_by_the_clock_go_through_when_it_is_over() {
    let mut t = TopologyTest::new(|t| {
        source(t).key_by(|line| line.clone()).dedup_for(MS(1000)).named("once").to_stream("out")
    })
    .unwrap();
    let mut round = |wait: u64| {
        t.send("lines", ["a"]).unwrap();
        t.run_until_idle().unwrap();
        t.restore().unwrap();
        t.advance(MS(wait)).unwrap();
        t.run_until_idle().unwrap();
        (t.output::<String>("out").unwrap().len(), t.state::<Vec<i64>>("once").unwrap().len())
    };
    assert_eq!(round(500), (1, 1));
    assert_eq!(round(1500), (1, 0), "nothing is kept when it is over");
    assert_eq!(round(0), (2, 1));
}

/// Tells a key when so much event time has passed it.
struct After(i64);

impl KeyedBolt<u64, String, String> for After {
    type State = u32;

    fn execute(
        &mut self,
        _: &u64,
        n: &mut u32,
        line: String,
        _: &mut Emitter<String>,
        cx: &Context,
    ) -> ComponentResult {
        *n += 1;
        Ok(cx.timers().set(Timer::event(ms(&line) + self.0))?)
    }

    fn on_timer(
        &mut self,
        key: &u64,
        _: &mut u32,
        timer: Timer,
        out: &mut Emitter<String>,
        _: &Context,
    ) -> ComponentResult {
        out.emit(format!("{key} {}", timer.ms));
        Ok(())
    }
}

#[test]
fn a_process_function_has_state_and_timers() {
    fn build(t: &mut TopologyBuilder) -> Result<()> {
        let lines = timed(t, "lines").streamlet().key_by(|line| key(line));
        lines.process(|| After(100)).named("after").to_stream("out")
    }
    let given = lines(9, 45);
    let told = given.iter().map(|line| format!("{} {}", key(line), ms(line) + 100));
    let mut wanted: Vec<String> = told.collect();
    wanted.sort_unstable();
    wanted.dedup();
    let parts = in_parts(&[("lines", &given)]);
    Scenario { build, stateful: &["after"], parts }.holds(|t| sorted(t, "out"), &wanted);
}

// ---- Windows: with a key and without, by event time and by number.

#[test]
fn windows_of_every_kind_hold_what_they_should() {
    fn build(t: &mut TopologyBuilder) -> Result<()> {
        let lines = timed(t, "lines").streamlet();
        let keyed = || lines.clone().key_by(|line| key(line));
        let told = |n: Windowed<u64, u64>| format!("{} {} {}", n.key, n.firing.window, n.value);
        let counts = keyed().window(Tumbling::of(MS(50))).event_time(|line| ms(line));
        counts.count_by_key().named("tumbling").map(told).named("a").to_stream("tumbling")?;
        let sliding = keyed().window(Sliding::of(MS(50)).every(MS(10))).event_time(|line| ms(line));
        let sums = sliding.aggregate_by_key(sum(|line: &String| ms(line).unsigned_abs()));
        sums.named("sliding").map(told).named("b").to_stream("sliding")?;
        let sessions = keyed().window(Sessions::with_gap(MS(15))).event_time(|line| ms(line));
        let (sessions, late) = sessions
            .late_stream()
            .contents(|key, told, lines| [format!("{key} {} {}", told.window, lines.len())]);
        sessions.named("sessions").to_stream("sessions")?;
        late.to_stream("late")?;
        let fives = keyed().window(CountTumbling(5));
        let fives = fives.aggregate_with(Count, |key, _, n| [format!("{key} {n}")]);
        fives.named("fives").to_stream("fives")?;
        let all = lines.window_all(Tumbling::of(MS(50))).event_time(|line| ms(line));
        let longest = all.reduce_by_key(|latest, line| {
            if ms(line) > ms(latest) {
                line.clone_into(latest);
            }
        });
        longest.named("all").map(|told| ms(&told.value).to_string()).named("c").to_stream("all")
    }
    let given = lines(7, 90);
    let of = |key_: u64| given.iter().filter(move |line| key(line) == key_);
    let window = |line: &String, start: i64| (start..start + 50).contains(&ms(line));
    let (mut tumbling, mut sliding, mut sessions, mut fives, mut all) =
        (vec![], vec![], vec![], vec![], vec![]);
    for start in (-40..700).step_by(10) {
        let (end, tumbles) = (start + 50, start % 50 == 0);
        for k in 0..4 {
            let inside = || of(k).filter(|line| window(line, start));
            let n = inside().count();
            if n > 0 {
                let sum: i64 = inside().map(|line| ms(line)).sum();
                sliding.push(format!("{k} {start}..{end} {sum}"));
                if tumbles {
                    tumbling.push(format!("{k} {start}..{end} {n}"));
                }
            }
        }
        let latest = given.iter().filter(|line| window(line, start)).map(|line| ms(line)).max();
        all.extend(latest.filter(|_| tumbles).map(|ms| ms.to_string()));
    }
    for k in 0..4 {
        let mut times: Vec<i64> = of(k).map(|line| ms(line)).collect();
        fives.extend((0..times.len() / 5).map(|_| format!("{k} 5")));
        times.sort_unstable();
        for session in times.chunk_by(|a, b| b - a < 15) {
            let end = session[session.len() - 1] + 15;
            sessions.push(format!("{k} {}..{end} {}", session[0], session.len()));
        }
    }
    let mut wanted = [tumbling, sliding, sessions, fives, all];
    wanted.iter_mut().for_each(|told| told.sort_unstable());
    assert!(wanted.iter().all(|told| told.len() > 10));
    let look = |t: &mut TopologyTest| {
        assert_eq!(t.output::<String>("late").unwrap(), [""; 0]);
        ["tumbling", "sliding", "sessions", "fives", "all"].map(|stream| sorted(t, stream))
    };
    let parts = in_parts(&[("lines", &given)]);
    let stateful = &["tumbling", "sliding", "sessions", "fives"];
    Scenario { build, stateful, parts }.holds(look, &wanted);
}

// ---- Names.

#[test]
fn names_are_given_by_what_is_before_and_are_the_same_each_time() {
    let given = || {
        let mut t = TopologyBuilder::new("t");
        let words = source(&mut t).map(|line| line).shared();
        let other = t.streamlet("other", 1, LogSpout::<String>::from_stream("other")).unwrap();
        let keyed = || words.clone().key_by(|word| word.clone());
        keyed().count_by_key().to_stream("a").unwrap();
        keyed().count_by_key().named("mine").map(|count| count).to_stream("b").unwrap();
        words.clone().map(|word| word).to_stream("c").unwrap();
        words.clone().map(|word| word).to_stream("f").unwrap();
        let table = keyed().join(other.clone().key_by(|word| word.clone())).table();
        table.inner(|_, word, _| word.clone()).to_stream("d").unwrap();
        words.union(other).key_by(|word| word.clone()).dedup().to_stream("e").unwrap();
        names(t)
    };
    let expected = [
        "lines",
        "other",
        "lines.steps",
        "lines.steps.count",
        "to-a",
        "mine",
        "mine.steps",
        "to-b",
        "lines.steps.steps",
        "to-c",
        "lines.steps.steps.2",
        "to-f",
        "lines.steps.join",
        "to-d",
        "lines.steps.dedup",
        "to-e",
    ];
    assert_eq!(given(), expected);
    assert_eq!(given(), given());
}

/// Two counts of one stream had a name by the order in which they were wired; a program that wired them in another order
/// had each go on with what the other one kept, and nobody said so.
#[test]
fn a_step_with_state_has_no_name_that_goes_by_the_order_of_steps() {
    type Wire = fn(Streamlet<String>) -> Result<()>;
    let refused = |wire: Wire| {
        let mut t = TopologyBuilder::new("t");
        let lines = t.streamlet("lines", 1, LogSpout::<String>::from_stream("lines")).unwrap();
        wire(lines.shared()).unwrap_err().to_string()
    };
    let of_one = refused(|lines| {
        lines.clone().key_by(|line| line.clone()).count_by_key().to_stream("a")?;
        lines.key_by(|line| line.to_lowercase()).count_by_key().to_stream("b")
    });
    assert!(of_one.contains("`lines.count.2`") && of_one.contains(".named("), "{of_one}");
    // Each is the only one behind its steps; which of those come first is what their names say.
    let of_two = refused(|lines| {
        let upper = lines.clone().map(|line| line.to_uppercase());
        upper.key_by(|line| line.clone()).count_by_key().to_stream("a")?;
        let lower = lines.map(|line| line.to_lowercase());
        lower.key_by(|line| line.clone()).count_by_key().to_stream("b")
    });
    assert!(of_two.contains("`lines.steps.2.count`"), "{of_two}");
    let further = refused(|lines| {
        lines.clone().map(|line| line).to_stream("a")?;
        let second = lines.map(|line| line).shared().map(|line| line).shared();
        second
            .key_by(|line| line.clone())
            .window(CountTumbling(2))
            .count_by_key()
            .map(|window| window.key.to_string())
            .to_stream("b")
    });
    assert!(further.contains("`lines.steps.2.steps.window`"), "{further}");
}

/// A name that nobody said was told of as if somebody had said it.
#[test]
fn a_name_that_is_given_and_too_long_says_of_what_to_say_another() {
    let mut t = TopologyBuilder::new("t");
    let lines = t.streamlet(&"l".repeat(255), 1, LogSpout::<String>::from_stream("lines")).unwrap();
    let error = lines.map(|line| line).to_stream("a").unwrap_err().to_string();
    assert!(error.contains("255 bytes") && error.contains(".named("), "{error}");
}

/// What is kept is found under a name that steps without state are no part of.
#[test]
fn steps_without_state_come_and_go_and_what_is_kept_stays() {
    let mut t = TopologyTest::new(|t| {
        let words = source(t).map(|line| line);
        words.key_by(|word| word.clone()).count_by_key().to_stream("counts")
    })
    .unwrap();
    t.send("lines", ["a", "b", "a"]).unwrap();
    t.run_until_idle().unwrap();
    t.rebuild(|t| {
        let words = source(t).filter(|line| line != "c").map(|line| line).inspect(|_| {});
        words.key_by(|word| word.clone()).count_by_key().to_stream("counts")
    });
    t.restore().unwrap();
    t.send("lines", ["a", "b", "c"]).unwrap();
    t.run_until_idle().unwrap();
    let counts = last(&mut t, "counts");
    assert_eq!(counts, BTreeMap::from([("a".to_owned(), 3), ("b".to_owned(), 2)]));
}

// ---- Sources.

/// Emits, and knows not what: as a supplier in Heron's streamlets.
struct Supplier;

impl Spout<u64> for Supplier {
    fn replay(&self) -> Replay {
        Replay::None
    }
    fn open(&mut self, _: &Context, _: &Positions) -> ComponentResult {
        Ok(())
    }
    fn next(&mut self, _: usize, _: &mut Emitter<u64>, _: &Context) -> ComponentResult<Next> {
        Ok(Next::Done)
    }
    fn positions(&self) -> Positions {
        Positions::new()
    }
}

#[test]
fn a_source_that_cannot_replay_is_refused_and_none_is_taken_for_one_that_can() {
    for guarantee in [Guarantee::AtLeastOnce, Guarantee::EffectivelyOnce] {
        let mut t = TopologyBuilder::new("t");
        t.guarantee(guarantee);
        let numbers = t.streamlet::<u64, _>("numbers", 1, || Supplier).unwrap();
        numbers.map(|n| n.to_string()).to_stream("out").unwrap();
        let Err(Error::Build(why)) = t.finish() else { panic!("it is not refused") };
        assert!(matches!(*why, BuildError::CannotReplay { .. }), "{why}");
    }
}

#[test]
fn a_source_is_replayed_after_a_kill() {
    let mut kills = 0;
    for seed in 0..8 {
        let mut t = TopologyTest::new(|t| {
            let numbers = t.streamlet("numbers", 2, Generator::new(|n| n).count(300))?;
            let sums = numbers.key_by(|n| n % 3).aggregate_by_key(sum(|n: &u64| *n));
            sums.named("sum").map(|(of, sum)| format!("{of} {sum}")).to_stream("sums")
        })
        .unwrap()
        .seed(seed);
        t.kill_anywhere();
        t.run_until_idle().unwrap();
        let sums = t.state::<Option<u64>>("sum").unwrap();
        let wanted = |of: u64| (0..300).filter(|n| n % 3 == of).sum::<u64>();
        kills += t.kills();
        (0..3).for_each(|of| assert_eq!(sums[&of.to_string()], Some(wanted(of)), "seed {seed}"));
    }
    assert!(kills > 3, "{kills} are too few");
}

// ---- What is said of what cannot be.

#[test]
fn an_error_of_any_step_is_told_at_the_end_and_again() {
    let mut t = TopologyBuilder::new("t");
    let counts = source(&mut t).key_by(|line| line.clone()).count_by_key().named("no name");
    let first = counts.clone().to_stream("a").unwrap_err().to_string();
    assert!(first.contains("`no name`"), "{first}");
    assert_eq!(counts.map(|count| count).to_stream("b").unwrap_err().to_string(), first);
}

/// A key says which task gets a tuple, wherever it would have been dealt to.
#[test]
fn tasks_said_before_a_key_are_those_of_what_goes_by_it() {
    let mut t = TopologyBuilder::new("t");
    let counts = source(&mut t).repartition(3).key_by(|line| line.clone()).count_by_key();
    counts.named("count").to_stream("counts").unwrap();
    let said = t.finish().unwrap().explain(1);
    let count = said.lines().find(|line| line.contains("count ")).unwrap_or_default();
    assert!(count.contains('3'), "{said}");
}

#[test]
fn two_names_for_one_component_are_refused_and_one_said_twice_is_not() {
    let mut t = TopologyBuilder::new("t");
    let lines = source(&mut t);
    let same = lines.clone().map(|line| line).named("a").filter(|_| true).named("a");
    same.to_stream("a").unwrap();
    let two = lines.map(|line| line).named("b").filter(|_| true).named("c");
    let why = two.to_stream("b").unwrap_err().to_string();
    assert!(why.contains("`b`") && why.contains("`c`") && why.contains(".shared()"), "{why}");
}

// ---- What the note says.

/// The note that says what streamlets become shows what `explain` prints.
#[test]
fn the_note_shows_what_is_printed() {
    let mut t = TopologyBuilder::new("paid");
    let orders = timed(&mut t, "orders").streamlet();
    let paid = timed(&mut t, "payments").streamlet();
    let orders = orders.map(|line| line.trim().to_owned()).filter(|line| !line.is_empty());
    let in_time = orders
        .named("clean")
        .key_by(|line| key(line))
        .join(paid.key_by(|line| key(line)))
        .interval(Interval::ms(0..=3_600_000), |line| ms(line), |line| ms(line))
        .late_stream();
    let (told, late) = in_time.left(|order, _, paid| format!("{order} {}", paid.is_some()));
    told.named("in-time").parallelism(4).to_stream("told").unwrap();
    late.map(|late: Either<String, String>| format!("{late:?}")).to_stream("late").unwrap();
    let printed = t.finish().unwrap().explain(2);
    let note = include_str!("../docs/015-streamlets-lower-to-bolts.md");
    assert!(note.contains(printed.trim_end()), "the note is to show this:\n{printed}");
}
