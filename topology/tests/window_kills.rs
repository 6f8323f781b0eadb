//! Windows of every kind and whatever is made of them, wherever the process is killed, against one thread.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::time::Duration;

use egret::testing::TopologyTest;
use egret::window::{
    Count, CountSliding, CountTumbling, EveryTuples, Evictor, Firing, Global, Latest, Now,
    Sessions, Sliding, Timing, Trigger, Tumbling, Verdict, Window, distinct, max, reduce, top,
};
use egret::{EventTime, LogSink, LogSpout, TopologyBuilder};

const MS: fn(u64) -> Duration = Duration::from_millis;
const BOUND_MS: i64 = 20;

/// A key, a time and a value.
type Event = (u64, i64, u64);

#[expect(clippy::ptr_arg, reason = "a tuple is a `String`")]
fn event(line: &String) -> Event {
    let mut words = line.split(' ').map(|word| word.parse::<u64>().unwrap());
    let (key, at) = (words.next().unwrap(), i64::try_from(words.next().unwrap()).unwrap());
    (key, at, words.next().unwrap())
}

fn key(line: &String) -> u64 {
    event(line).0
}

fn at(line: &String) -> i64 {
    event(line).1
}

fn value(line: &String) -> u64 {
    event(line).2
}

/// Leaves out the first half.
struct Half;

impl Evictor<String> for Half {
    fn evict(&self, _: Window, _: &[i64], lines: &[String]) -> usize {
        lines.len() / 2
    }
}

/// Tells when a value above this comes.
#[derive(Clone)]
struct Above(u64);

impl Trigger<String> for Above {
    type State = ();
    fn on_tuple(&self, line: &String, _: Window, _: &mut (), _: Now<'_>) -> Verdict {
        if value(line) > self.0 { Verdict::FIRE } else { Verdict::GO_ON }
    }
}

fn values(lines: &[String]) -> String {
    lines.iter().map(|line| value(line).to_string()).collect::<Vec<_>>().join(",")
}

fn timing(told: Firing) -> &'static str {
    match told.timing {
        Timing::Early => "early",
        Timing::OnTime => "at its end",
        Timing::Late => "late",
    }
}

fn build(t: &mut TopologyBuilder) -> egret::Result<()> {
    t.key_groups(16);
    let time = EventTime { out_of_order_ms: 20, ..EventTime::default() };
    let lines = t.spout("in", 1, LogSpout::<String>::from_stream("in"))?;
    let lines = lines.event_time_with(time, at)?;
    let only = std::env::var("ONLY").unwrap_or_default();
    let lines = &lines;
    let keyed = || lines.fields_by(key);
    if only.is_empty() || only.contains("zz") {
        lines.sink("zz", LogSink::to_stream("zz"))?;
    }
    let end = |told: Firing| told.window.end_ms;

    if only.is_empty() || only.contains("top") {
        let top2 = keyed().window(Tumbling::of(MS(50))).event_time(at);
        let top2 = top2.aggregate_with("top", 2, top(2, value), move |k, told, v: Vec<u64>| {
            [format!("{k} {} {v:?}", end(told))]
        })?;
        top2.sink("top-out", LogSink::to_stream("top"))?;
    }
    if only.is_empty() || only.contains("distinct") {
        let kinds = keyed().window(Sliding::of(MS(50)).every(MS(10))).event_time(at);
        let kinds =
            kinds.aggregate_with("distinct", 2, distinct(value), move |k, told, n: u64| {
                [format!("{k} {} {n}", end(told))]
            })?;
        kinds.sink("distinct-out", LogSink::to_stream("distinct"))?;
    }
    if only.is_empty() || only.contains("sessions") {
        let latest = reduce(|a: &mut String, b: &String| {
            if value(b) > value(a) {
                b.clone_into(a);
            }
        });
        let sessions = keyed().window(Sessions::with_gap(MS(12))).event_time(at);
        let sessions =
            sessions.aggregate_with("sessions", 2, latest, move |k, told, line: String| {
                [format!("{k} {} {}", told.window, value(&line))]
            })?;
        sessions.sink("sessions-out", LogSink::to_stream("sessions"))?;
    }
    if only.is_empty() || only.contains("fours") {
        let fours = keyed().window(CountTumbling(4));
        let fours = fours.contents("fours", 2, |k: &u64, _, lines: Vec<String>| {
            [format!("{k} {}", values(&lines))]
        })?;
        fours.sink("fours-out", LogSink::to_stream("fours"))?;
    }
    if only.is_empty() || only.contains("fives") {
        let fives = keyed().window(CountSliding::of(5).every(2));
        let fives =
            fives.aggregate_with("fives", 2, max(value), |k, _, most| [format!("{k} {most}")])?;
        fives.sink("fives-out", LogSink::to_stream("fives"))?;
    }
    if only.is_empty() || only.contains("threes") {
        let threes = keyed().window(Global).trigger(EveryTuples(3)).discarding();
        let threes = threes.aggregate_with(
            "threes",
            2,
            reduce(|a: &mut String, b: &String| {
                *a = format!("{} 0 {}", key(a), value(a) + value(b));
            }),
            |k, _, sum: String| [format!("{k} {}", value(&sum))],
        )?;
        threes.sink("threes-out", LogSink::to_stream("threes"))?;
    }
    if only.is_empty() || only.contains("last") {
        let last = keyed().window(Global).event_time(at).trigger(EveryTuples(4)).evict(Latest(2));
        let last = last.contents("last", 2, |k: &u64, _, lines: Vec<String>| {
            [format!("{k} {}", values(&lines))]
        })?;
        last.sink("last-out", LogSink::to_stream("last"))?;
    }
    if only.is_empty() || only.contains("half") {
        let half = lines.window_all(Tumbling::of(MS(50))).event_time(at).evict(Half);
        let half = half.contents("half", 1, move |(), told, lines: Vec<String>| {
            [format!("{} {}", end(told), values(&lines))]
        })?;
        half.sink("half-out", LogSink::to_stream("half"))?;
    }
    if only.is_empty() || only.contains("early") {
        let early = keyed().window(Tumbling::of(MS(50))).event_time(at).trigger(Above(80));
        let early = early.aggregate_with("early", 2, Count, move |k, told: Firing, n| {
            [format!("{k} {} {n} {}", end(told), timing(told))]
        })?;
        early.sink("early-out", LogSink::to_stream("early"))?;
    }
    Ok(())
}

fn events(seed: u64) -> Vec<Event> {
    let event = |i: u64| {
        let chance = (i * 31 + seed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
        (chance % 4, i64::try_from(i * 3 + chance % 20).unwrap(), (chance >> 9) % 100)
    };
    (0..160).map(event).collect()
}

fn ends(at: i64, slide: i64) -> impl Iterator<Item = i64> {
    let first = at - at.rem_euclid(slide) + slide;
    (0..50 / slide).map(move |n| first + n * slide)
}

/// What every way is to say, from the words, in the order in which events come.
fn expected(events: &[Event]) -> BTreeMap<&'static str, Vec<String>> {
    let mut said = BTreeMap::<&'static str, Vec<String>>::new();
    let mut say = |what: &'static str, line: String| said.entry(what).or_default().push(line);
    let (mut tumbling, mut sliding) =
        (BTreeMap::<_, Vec<u64>>::new(), BTreeMap::<_, Vec<u64>>::new());
    let (mut of_key, mut all) =
        (BTreeMap::<u64, Vec<Event>>::new(), BTreeMap::<i64, Vec<Event>>::new());
    for event in events {
        let (key, at, value) = *event;
        let end = ends(at, 50).next().unwrap();
        let window = tumbling.entry((key, end)).or_default();
        window.push(value);
        if value > 80 {
            say("early", format!("{key} {end} {} early", window.len()));
        }
        ends(at, 10).for_each(|end| sliding.entry((key, end)).or_default().push(value));
        of_key.entry(key).or_default().push(*event);
        all.entry(end).or_default().push(*event);
    }
    for ((key, end), mut values) in tumbling {
        say("early", format!("{key} {end} {} at its end", values.len()));
        values.sort_unstable_by(|a, b| b.cmp(a));
        values.dedup();
        values.truncate(2);
        say("top", format!("{key} {end} {values:?}"));
    }
    for ((key, end), mut values) in sliding {
        values.sort_unstable();
        values.dedup();
        say("distinct", format!("{key} {end} {}", values.len()));
    }
    let text = |events: &[Event]| {
        events.iter().map(|event| event.2.to_string()).collect::<Vec<_>>().join(",")
    };
    for (end, mut events) in all {
        events.sort_by_key(|event| event.1);
        say("half", format!("{end} {}", text(&events[events.len() / 2..])));
    }
    for (key, events) in of_key {
        let sum = |events: &[Event]| events.iter().map(|event| event.2).sum::<u64>();
        let most = |events: &[Event]| events.iter().map(|event| event.2).max().unwrap();
        events.chunks_exact(4).for_each(|four| say("fours", format!("{key} {}", text(four))));
        events.chunks_exact(3).for_each(|three| say("threes", format!("{key} {}", sum(three))));
        for upto in (2..=events.len()).step_by(2) {
            say("fives", format!("{key} {}", most(&events[upto.saturating_sub(5)..upto])));
        }
        let mut kept = Vec::new();
        for four in events.chunks_exact(4) {
            kept.extend_from_slice(four);
            kept.sort_by_key(|event| event.1);
            kept.drain(..kept.len() - 2);
            say("last", format!("{key} {}", text(&kept)));
        }
        let mut sorted = events;
        sorted.sort_by_key(|event| event.1);
        for session in sorted.chunk_by(|a, b| b.1 - a.1 < 12) {
            let (start, end) = (session[0].1, session.last().unwrap().1 + 12);
            say("sessions", format!("{key} {start}..{end} {}", most(session)));
        }
    }
    said.values_mut().for_each(|lines| lines.sort());
    said
}

#[test]
fn every_kind_of_window_is_what_one_thread_says_wherever_the_process_is_killed() {
    let mut kills = 0;
    let more = ["top", "distinct", "fives", "early"]
        .into_iter()
        .cycle()
        .zip([1, 2, 3].into_iter().cycle());
    for (seed, (component, tasks)) in (0..8).zip(more) {
        let events = events(seed);
        let mut expected = expected(&events);
        let mut t = TopologyTest::new(build).unwrap().seed(seed);
        t.partitions("in", 1);
        for part in events.chunks(40) {
            t.send("in", part.iter().map(|(key, at, value)| format!("{key} {at} {value}")))
                .unwrap();
            t.kill_anywhere();
            if std::env::var_os("ONLY").is_none() {
                t.tasks(component, tasks);
            }
            if let Err(why) = t.run_until_idle() {
                panic!("seed {seed}: {why}, {} kills: {:?}", t.kills(), t.failures());
            }
        }
        // By this all windows are over but its own.
        t.send("in", [format!("9 {} 0", 100_000 + BOUND_MS)]).unwrap();
        t.run_until_idle().unwrap();
        assert_eq!(expected.len(), 9);
        let only = std::env::var("ONLY").unwrap_or_default();
        for (stream, lines) in
            expected.iter_mut().filter(|(s, _)| only.is_empty() || only.contains(**s))
        {
            let mut said = t.output::<String>(stream).unwrap();
            said.sort();
            assert_eq!(said, *lines, "seed {seed}: {stream}");
        }
        kills += t.kills();
    }
    assert!(kills >= 16, "{kills}");
}
