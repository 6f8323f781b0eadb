//! Joins of streamlets against nested loops: calm, killed anywhere, restored with other tasks.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "streamlets/driven.rs"]
mod driven;

use std::collections::BTreeSet;
use std::time::Duration;

use driven::{BOUND_MS, END, Scenario, in_parts, key, lines, ms, sorted, timed};
use egret::streamlet::{Interval, Joined};
use egret::testing::TopologyTest;
use egret::window::{Sessions, Sliding, Tumbling};
use egret::{Either, LogSpout, Result, Streamlet, TopologyBuilder};

const MS: fn(u64) -> Duration = Duration::from_millis;

/// What is told of two that met.
fn both(left: &str, right: &str) -> String {
    format!("{left} | {right}")
}

/// What is told of one that may have met nobody.
fn maybe(left: Option<&String>, right: Option<&String>) -> String {
    let text = |line: Option<&String>| line.cloned().unwrap_or_else(|| "nobody".to_owned());
    both(&text(left), &text(right))
}

/// Both streams by the key of their lines; a joined pipeline has its own type.
macro_rules! joined {
    ($t:expr) => {{
        let left = timed($t, "left").streamlet().key_by(|line| key(line));
        let right = timed($t, "right").streamlet().key_by(|line| key(line));
        left.join(right)
    }};
}

fn data() -> (Vec<String>, Vec<String>) {
    (lines(3, 60), lines(17, 54))
}

/// Every pair for which `meets`, and those that met nobody where that is asked for.
fn nested_loop(meets: impl Fn(&str, &str) -> bool, outer: (bool, bool)) -> Vec<String> {
    let (left, right) = data();
    let mut told = Vec::new();
    for l in &left {
        let met: Vec<_> = right.iter().filter(|r| key(l) == key(r) && meets(l, r)).collect();
        told.extend(met.iter().map(|r| both(l, r)));
        if met.is_empty() && outer.0 {
            told.push(maybe(Some(l), None));
        }
    }
    for r in &right {
        let is_met = left.iter().any(|l| key(l) == key(r) && meets(l, r));
        if !is_met && outer.1 {
            told.push(maybe(None, Some(r)));
        }
    }
    told.sort_unstable();
    told
}

fn holds(build: fn(&mut TopologyBuilder) -> Result<()>, wanted: Vec<String>) {
    assert!(wanted.len() > 20, "{} are too few to show anything", wanted.len());
    let (left, right) = data();
    let parts = in_parts(&[("left", &left), ("right", &right)]);
    let scenario = Scenario { build, stateful: &["join"], parts };
    let look = |t: &mut TopologyTest| {
        let kept = t.state::<serde_json::Value>("join").unwrap();
        let others = kept.into_keys().filter(|key| key.parse::<u64>().unwrap() < END);
        (sorted(t, "told"), others.collect::<Vec<_>>())
    };
    // Nothing is kept of what is over.
    scenario.holds(look, &(wanted, Vec::new()));
}

fn interval_meets(left: &str, right: &str) -> bool {
    (-10..=25).contains(&(ms(right) - ms(left)))
}

const NEAR: std::ops::RangeInclusive<i64> = -10..=25;

#[test]
fn an_inner_interval_join_is_a_nested_loop() {
    let build = |t: &mut TopologyBuilder| {
        let near = joined!(t).interval(Interval::ms(NEAR), |l| ms(l), |r| ms(r));
        near.inner(|_, left, right| both(left, right)).named("join").to_stream("told")
    };
    holds(build, nested_loop(interval_meets, (false, false)));
}

#[test]
fn a_left_interval_join_is_a_nested_loop() {
    let build = |t: &mut TopologyBuilder| {
        let near = joined!(t).interval(Interval::ms(NEAR), |l| ms(l), |r| ms(r));
        near.left(|_, left, right| maybe(Some(left), right)).named("join").to_stream("told")
    };
    holds(build, nested_loop(interval_meets, (true, false)));
}

#[test]
fn a_right_interval_join_is_a_nested_loop() {
    let build = |t: &mut TopologyBuilder| {
        let near = joined!(t).interval(Interval::ms(NEAR), |l| ms(l), |r| ms(r));
        near.right(|_, left, right| maybe(left, Some(right))).named("join").to_stream("told")
    };
    holds(build, nested_loop(interval_meets, (false, true)));
}

#[test]
fn a_full_interval_join_is_a_nested_loop() {
    let build = |t: &mut TopologyBuilder| {
        let near = joined!(t).interval(Interval::ms(NEAR), |l| ms(l), |r| ms(r));
        near.full(|_, left, right| maybe(left, right)).named("join").to_stream("told")
    };
    holds(build, nested_loop(interval_meets, (true, true)));
}

/// In the same tumbling window.
fn same_window(left: &str, right: &str) -> bool {
    ms(left).div_euclid(30) == ms(right).div_euclid(30)
}

#[test]
fn an_inner_join_in_windows_is_a_nested_loop() {
    let build = |t: &mut TopologyBuilder| {
        let windows = joined!(t).window(Tumbling::of(MS(30))).event_time(|l| ms(l), |r| ms(r));
        windows.inner(|_, left, right| both(left, right)).named("join").to_stream("told")
    };
    holds(build, nested_loop(same_window, (false, false)));
}

#[test]
fn left_and_right_joins_in_windows_are_nested_loops() {
    let left = |t: &mut TopologyBuilder| {
        let windows = joined!(t).window(Tumbling::of(MS(30))).event_time(|l| ms(l), |r| ms(r));
        windows.left(|_, left, right| maybe(Some(left), right)).named("join").to_stream("told")
    };
    let right = |t: &mut TopologyBuilder| {
        let windows = joined!(t).window(Tumbling::of(MS(30))).event_time(|l| ms(l), |r| ms(r));
        windows.right(|_, left, right| maybe(left, Some(right))).named("join").to_stream("told")
    };
    holds(left, nested_loop(same_window, (true, false)));
    holds(right, nested_loop(same_window, (false, true)));
}

#[test]
fn a_full_join_in_windows_is_a_nested_loop() {
    let build = |t: &mut TopologyBuilder| {
        let windows = joined!(t).window(Tumbling::of(MS(30))).event_time(|l| ms(l), |r| ms(r));
        windows.full(|_, left, right| maybe(left, right)).named("join").to_stream("told")
    };
    holds(build, nested_loop(same_window, (true, true)));
}

/// A pair is told for every window that has both.
#[test]
fn a_join_in_sliding_windows_tells_a_pair_of_each_window() {
    let build = |t: &mut TopologyBuilder| {
        let sliding = Sliding::of(MS(30)).every(MS(10));
        let windows = joined!(t).window(sliding).event_time(|l| ms(l), |r| ms(r));
        windows.inner(|_, left, right| both(left, right)).named("join").to_stream("told")
    };
    let (left, right) = data();
    let mut told = Vec::new();
    for start in (-30..1000).step_by(10) {
        let has = |line: &&String| (start..start + 30).contains(&ms(line));
        for l in left.iter().filter(has) {
            told.extend(right.iter().filter(has).filter(|r| key(l) == key(r)).map(|r| both(l, r)));
        }
    }
    told.sort_unstable();
    holds(build, told);
}

#[test]
fn a_join_in_sessions_is_of_what_comes_without_a_break() {
    let build = |t: &mut TopologyBuilder| {
        let windows = joined!(t).window(Sessions::with_gap(MS(9))).event_time(|l| ms(l), |r| ms(r));
        windows.full(|_, left, right| maybe(left, right)).named("join").to_stream("told")
    };
    let (left, right) = data();
    let mut told = Vec::new();
    for of in 0..4 {
        let tagged = |lines: &[String], is_left| -> Vec<(i64, bool, String)> {
            let own = lines.iter().filter(|line| key(line) == of);
            own.map(|line| (ms(line), is_left, line.clone())).collect()
        };
        let mut all = [tagged(&left, true), tagged(&right, false)].concat();
        all.sort();
        for session in all.chunk_by(|a, b| b.0 - a.0 < 9) {
            let side =
                |is_left| session.iter().filter(move |one| one.1 == is_left).map(|one| &one.2);
            for l in side(true) {
                told.extend(side(false).map(|r| both(l, r)));
                if side(false).next().is_none() {
                    told.push(maybe(Some(l), None));
                }
            }
            if side(true).next().is_none() {
                told.extend(side(false).map(|r| maybe(None, Some(r))));
            }
        }
    }
    told.sort_unstable();
    holds(build, told);
}

/// The last of the right at the left one's time or before; of one ms the last in the stream.
fn last_at<'a>(right: &'a [String], left: &str) -> Option<&'a String> {
    let known = right.iter().filter(|r| key(r) == key(left) && ms(r) <= ms(left));
    known.max_by_key(|r| ms(r))
}

#[test]
fn a_join_as_of_finds_what_was_known_then() {
    let build = |t: &mut TopologyBuilder| {
        let as_of = joined!(t).as_of(|l| ms(l), |r| ms(r)).no_older_than(MS(40));
        as_of.left(|_, left, right| maybe(Some(left), right)).named("join").to_stream("told")
    };
    let (left, right) = data();
    let told = left.iter().map(|l| {
        let last = last_at(&right, l).filter(|r| ms(l) - ms(r) <= 40);
        maybe(Some(l), last)
    });
    let mut told: Vec<String> = told.collect();
    told.sort_unstable();
    assert!(told.iter().any(|told| told.contains("nobody")));
    holds(build, told);
}

#[test]
fn an_inner_join_as_of_keeps_the_last_of_each_key() {
    let build = |t: &mut TopologyBuilder| {
        let as_of = joined!(t).as_of(|l| ms(l), |r| ms(r));
        as_of.inner(|_, left, right| both(left, right)).named("join").to_stream("told")
    };
    let (left, right) = data();
    let told = left.iter().filter_map(|l| Some(both(l, last_at(&right, l)?)));
    let mut told: Vec<String> = told.collect();
    told.sort_unstable();
    let scenario = Scenario {
        build,
        stateful: &["join"],
        parts: in_parts(&[("left", &left), ("right", &right)]),
    };
    let look = |t: &mut TopologyTest| {
        let kept = t.state::<serde_json::Value>("join").unwrap();
        (
            sorted(t, "told"),
            kept.into_keys().filter(|key| key.parse::<u64>().unwrap() < END).count(),
        )
    };
    scenario.holds(look, &(told, 4));
}

/// Late or on time, each is told of once, and which it is stays what it was after a kill.
#[test]
fn what_is_late_for_a_join_is_in_the_late_stream_and_nowhere_else() {
    let build = |t: &mut TopologyBuilder| {
        let near = joined!(t).interval(Interval::ms(NEAR), |l| ms(l), |r| ms(r)).late_stream();
        let (told, late) = near.full(|_, left, right| maybe(left, right));
        told.named("join").to_stream("told")?;
        let text = |late: Either<String, String>| match late {
            Either::Left(line) => format!("left {line}"),
            Either::Right(line) => format!("right {line}"),
        };
        late.map(text).to_stream("late")
    };
    for seed in 0..12 {
        let (left, right) = data();
        let mut t = TopologyTest::new(build).unwrap().seed(seed);
        t.partitions("left", 1).partitions("right", 1);
        let mut sent = BTreeSet::new();
        if seed % 2 == 0 {
            t.kill_anywhere();
        }
        for n in 0..3 {
            // Each part begins with lines that are older than anything of the part before.
            for (stream, lines) in [("left", &left), ("right", &right)] {
                let own = &lines[n * 18..(n + 1) * 18];
                let old = format!("1 {} old{n}", 30 * n);
                let own: Vec<&str> =
                    own.iter().chain(n.gt(&0).then_some(&old)).map(String::as_str).collect();
                sent.extend(own.iter().map(|line| format!("{stream} {line}")));
                t.send(stream, own).unwrap();
            }
            t.run_until_idle().unwrap();
        }
        let end = format!("{END} 1000000 end");
        t.send("left", [end.as_str()]).unwrap();
        t.send("right", [end.as_str()]).unwrap();
        t.run_until_idle().unwrap();
        let late = t.output::<String>("late").unwrap();
        let late_once: BTreeSet<String> = late.iter().cloned().collect();
        assert_eq!(late.len(), late_once.len(), "seed {seed}: each is late once");
        assert!(late.len() >= 4, "seed {seed}: {late:?}");
        let mut seen = BTreeSet::new();
        for told in t.output::<String>("told").unwrap() {
            let (l, r) = told.split_once(" | ").unwrap();
            for (side, line) in [("left", l), ("right", r)] {
                if line != "nobody" && key(line) != END {
                    seen.insert(format!("{side} {line}"));
                }
            }
        }
        assert!(seen.is_disjoint(&late_once), "seed {seed}");
        let all: BTreeSet<String> = seen.union(&late_once).cloned().collect();
        assert_eq!(all, sent, "seed {seed}");
    }
}

#[test]
fn a_table_is_kept_and_its_last_rows_are_met() {
    let build = |t: &mut TopologyBuilder| {
        let orders = t.streamlet("orders", 1, LogSpout::<String>::from_stream("orders"))?;
        let prices = t.streamlet("prices", 1, LogSpout::<String>::from_stream("prices"))?;
        orders
            .key_by(|line| key(line))
            .join(prices.key_by(|line| key(line)))
            .table()
            .removed_by(|row| row.ends_with("none"))
            .left(|_, left, right| maybe(Some(left), right))
            .named("join")
            .to_stream("told")
    };
    let of = |lines: &[&str]| lines.iter().map(|line| (*line).to_owned()).collect::<Vec<_>>();
    let parts = vec![
        vec![("prices", of(&["1 0 ten", "2 0 six", "1 1 eleven"]))],
        vec![("orders", of(&["1 5 a", "2 5 b", "3 5 c"]))],
        vec![("prices", of(&["2 9 none", "3 9 four"]))],
        vec![("orders", of(&["1 6 d", "2 6 e", "3 6 f"]))],
    ];
    let mut wanted = of(&[
        "1 5 a | 1 1 eleven",
        "2 5 b | 2 0 six",
        "3 5 c | nobody",
        "1 6 d | 1 1 eleven",
        "2 6 e | nobody",
        "3 6 f | 3 9 four",
    ]);
    wanted.sort_unstable();
    let rows = of(&["1", "3"]);
    let look = |t: &mut TopologyTest| {
        let kept = t.state::<serde_json::Value>("join").unwrap();
        (sorted(t, "told"), kept.into_keys().collect::<Vec<_>>())
    };
    Scenario { build, stateful: &["join"], parts }.holds(look, &(wanted, rows));
}

#[test]
fn what_is_out_of_order_by_less_than_said_is_never_late() {
    let (left, right) = data();
    for lines in [left, right] {
        let mut latest = i64::MIN;
        for line in lines {
            assert!(latest.saturating_sub(ms(&line)) < BOUND_MS);
            latest = latest.max(ms(&line));
        }
    }
}

/// Another kind of join keeps something else: it does not go on with what was kept.
#[test]
fn a_join_of_another_kind_does_not_go_on_with_what_was_kept() {
    let mut t = TopologyTest::new(|t| {
        let near = joined!(t).interval(Interval::ms(NEAR), |l| ms(l), |r| ms(r));
        near.inner(|_, left, right| both(left, right)).named("join").to_stream("told")
    })
    .unwrap();
    t.send("left", ["1 5 a"]).unwrap();
    t.send("right", ["1 6 b"]).unwrap();
    t.run_until_idle().unwrap();
    t.rebuild(|t| {
        let near = joined!(t).interval(Interval::ms(NEAR), |l| ms(l), |r| ms(r));
        near.left(|_, left, right| maybe(Some(left), right)).named("join").to_stream("told")
    });
    let restored = t.restore().and_then(|()| t.run_until_idle());
    assert!(restored.unwrap_err().to_string().contains("left"));
}

/// The type of what is joined can be written, where a function gives it.
#[expect(dead_code, reason = "it is to compile")]
fn a_function_may_give_what_is_joined(
    left: Streamlet<String>,
    right: Streamlet<String>,
) -> Joined<
    String,
    impl egret::builder::KeyFn<String, Key = u64>,
    String,
    impl egret::builder::KeyFn<String, Key = u64>,
> {
    left.key_by(|line| key(line)).join(right.key_by(|line| key(line)))
}
