//! Windows through failures, restarts and other numbers of tasks and workers, against one thread.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "processes/timed.rs"]
mod timed;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use egret::window::{
    Aggregate, Count, EveryTuples, Sessions, Sliding, Timing, Tumbling, Windowed, distinct, sum,
};
use egret::{
    Emitter, EventTime, LogSink, LogSpout, Progress, RunOptions, Stream, Summary, Topology,
    TopologyBuilder,
};
use egret_log::stream::Record;
use egret_log::{Log, LogConfig};

use timed::{Trap, calm, records};

type Event = (u64, i64);

const MS: fn(u64) -> Duration = Duration::from_millis;

/// Length and slide of windows, and the gap of sessions.
const SIZE: i64 = 50;
const SLIDE: i64 = 10;
const GAP: i64 = 12;

fn open(dir: &Path) -> Log {
    Log::open(dir, LogConfig::default()).unwrap()
}

fn run(log: &Log, topology: &Topology, workers: u32) -> (Summary, u64) {
    let options = RunOptions { workers, commit_ms: 1, tries: 6, ..RunOptions::default() };
    let progress = Arc::new(Progress::default());
    let summary = topology.run(log, &options, &progress).unwrap();
    (summary, progress.late_tuples())
}

/// Fails at these calls, each a generation; counted over all tasks and generations.
fn trap_at(calls: &'static [u32]) -> Trap {
    let seen = AtomicU32::new(0);
    Arc::new(move || {
        let nth = seen.fetch_add(1, Ordering::Relaxed);
        match calls.contains(&nth) {
            true => Err(format!("tuple {nth} is one too many").into()),
            false => Ok(()),
        }
    })
}

/// The events of streams `a` and `b`, and where else they go wrong than where they are read.
fn events(t: &mut TopologyBuilder, tasks: u32, trap: &Trap) -> Stream<Event> {
    let mut spout = |name: &str| {
        let lines = t.spout(name, tasks, LogSpout::<String>::from_stream(name).bounded()).unwrap();
        let config = EventTime { out_of_order_ms: timed::BOUND_MS, ..EventTime::default() };
        lines.event_time_with(config, |line| timed::time_of(line)).unwrap()
    };
    let both = spout("a").union(&spout("b")).unwrap();
    let trap = Arc::clone(trap);
    let parsed = both.shuffle().bolt("parse", tasks, move || {
        let trap = Arc::clone(&trap);
        move |line: String, out: &mut Emitter<Event>| {
            trap().unwrap();
            let (key, _) = line.split_once(' ').unwrap();
            out.emit((key.parse().unwrap(), timed::time_of(&line)));
        }
    });
    parsed.unwrap()
}

fn at(event: &Event) -> i64 {
    event.1
}

/// Every kind of windows by time over the same events, and windows of windows.
fn topology(tasks: u32, trap: &Trap) -> Topology {
    let mut t = TopologyBuilder::new("windows");
    t.key_groups(64);
    let events = events(&mut t, tasks, trap);
    let keyed = || events.fields(|event: &Event| &event.0);
    let tumbling = Tumbling::of(MS(50)).offset(MS(20));
    let counts = keyed().window(tumbling).event_time(at).count("tumbling", tasks).unwrap();
    let lines = counts.shuffle().bolt("lines", tasks, || {
        |n: Windowed<u64, u64>, out: &mut Emitter<String>| {
            assert_eq!(n.firing.timing, Timing::OnTime);
            out.emit(format!("{} {} {}", n.key, n.firing.window.end_ms, n.value));
        }
    });
    lines.unwrap().sink("tumbling-out", LogSink::to_stream("tumbling")).unwrap();

    let sliding = keyed().window(Sliding::of(MS(50)).every(MS(10))).event_time(at);
    let both = (Count, distinct(|event: &Event| event.1));
    let say = |key: &u64, told: egret::window::Firing, (n, times): (u64, u64)| {
        [format!("{key} {} {n} {times}", told.window.end_ms)]
    };
    let (told, late) = sliding.late_stream().aggregate_with("sliding", tasks, both, say).unwrap();
    told.sink("sliding-out", LogSink::to_stream("sliding")).unwrap();
    let late = late.shuffle().bolt("late", 1, || {
        |(key, at): Event, out: &mut Emitter<String>| out.emit(format!("{key} {at}"))
    });
    late.unwrap().sink("late-out", LogSink::to_stream("late")).unwrap();

    let sessions = keyed().window(Sessions::with_gap(MS(12))).event_time(at);
    let say = |key: &u64, told: egret::window::Firing, events: Vec<Event>| {
        assert!(events.is_sorted_by_key(at) && events.iter().all(|event| event.0 == *key));
        Some(format!("{key} {} {}", told.window, events.len()))
    };
    let told = sessions.contents("sessions", tasks, say).unwrap();
    told.sink("sessions-out", LogSink::to_stream("sessions")).unwrap();

    let all =
        counts.window_all(tumbling).event_time(|n: &Windowed<u64, u64>| n.firing.window.end_ms - 1);
    let all = all.aggregate_with("all", 1, sum(|n: &Windowed<u64, u64>| n.value), |(), told, n| {
        [format!("{} {n}", told.window.end_ms)]
    });
    all.unwrap().sink("all-out", LogSink::to_stream("all")).unwrap();
    t.finish().unwrap()
}

fn lines(log: &Log, stream: &str) -> Vec<String> {
    let text = |record: Record| String::from_utf8(record.value.to_vec()).unwrap();
    let mut lines: Vec<String> = records(log, stream).into_iter().map(text).collect();
    lines.sort();
    lines
}

/// Key and end of a window → its events.
fn windows_of(
    events: &[Event],
    (size, slide, offset): (i64, i64, i64),
    watermark: i64,
) -> BTreeMap<(u64, i64), Vec<i64>> {
    let mut windows = BTreeMap::<_, Vec<i64>>::new();
    for (key, at) in events {
        let mut start = (at - offset).div_euclid(slide) * slide + offset;
        while start + size > *at {
            if start + size <= watermark {
                windows.entry((*key, start + size)).or_default().push(*at);
            }
            start -= slide;
        }
    }
    windows
}

fn sessions_of(events: &[Event], watermark: i64) -> Vec<String> {
    let mut by_key = BTreeMap::<u64, Vec<i64>>::new();
    events.iter().for_each(|(key, at)| by_key.entry(*key).or_default().push(*at));
    let mut told = Vec::new();
    for (key, mut times) in by_key {
        times.sort_unstable();
        for session in times.chunk_by(|one, next| next - one < GAP) {
            let (start, end) = (session[0], session[session.len() - 1] + GAP);
            if end <= watermark {
                told.push(format!("{key} {start}..{end} {}", session.len()));
            }
        }
    }
    told.sort();
    told
}

fn sorted(lines: impl Iterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<String> = lines.collect();
    lines.sort();
    lines
}

/// What one thread says that the windows are, of which time has passed the end.
fn expect(log: &Log, events: &[Event], watermark: i64, what: &str) {
    let tumbling = windows_of(events, (SIZE, SIZE, 20), watermark);
    let counts = tumbling.iter().map(|((key, end), at)| format!("{key} {end} {}", at.len()));
    assert_eq!(lines(log, "tumbling"), sorted(counts), "{what}");
    let mut all = BTreeMap::<i64, usize>::new();
    tumbling.iter().for_each(|((_, end), at)| *all.entry(*end).or_default() += at.len());
    let all = all.iter().map(|(end, n)| format!("{end} {n}"));
    assert_eq!(lines(log, "all"), sorted(all), "{what}");
    let sliding = windows_of(events, (SIZE, SLIDE, 0), watermark);
    let sliding = sliding.iter().map(|((key, end), at)| {
        let times: BTreeSet<_> = at.iter().collect();
        format!("{key} {end} {} {}", at.len(), times.len())
    });
    assert_eq!(lines(log, "sliding"), sorted(sliding), "{what}");
    assert_eq!(lines(log, "sessions"), sessions_of(events, watermark), "{what}");
}

/// Each window of each key, whole and told of once, though generations fail, and tasks and workers are others
/// while windows are open. Windows of what windows told are whole as well: what a commit tells comes in time.
#[test]
fn windows_are_what_one_thread_says_whatever_fails_and_however_many_tasks_there_are() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let mut all = Vec::new();
    let rounds = [(1, 1), (3, 2), (2, 3), (4, 1)];
    for ((tasks, workers), from) in rounds.into_iter().zip((0..).step_by(300)) {
        // Every other stretch has events of some keys only, so that sessions end.
        let more: Vec<Event> = timed::events(from, from + 300)
            .into_iter()
            .filter(|(key, at)| at.rem_euclid(100) < 60 || *key < 3)
            .collect();
        timed::write(&log, "a", &more);
        timed::write(&log, "b", &more);
        all.extend(more.iter().flat_map(|event| [*event, *event]));
        let trap = trap_at(&[100, 350, 420]);
        let (summary, late) = run(&log, &topology(tasks, &trap), workers);
        assert!(summary.restarts > 0, "a trap went off");
        assert_eq!(late, 0, "every split keeps within its bound");
        let watermark = timed::reference_watermark(&[&more]);
        expect(&log, &all, watermark, &format!("{tasks} tasks"));
    }
    assert_eq!(lines(&log, "late"), [""; 0]);
    log.close().unwrap();
}

/// One split, so that the order is known.
fn write_in_order(log: &Log, events: &[Event]) {
    use egret_log::stream::{Format, StreamConfig};
    if log.stream("in").is_err() {
        let config =
            StreamConfig { partitions: 1, format: Format::Utf8, ..StreamConfig::default() };
        log.create_stream("in", config).unwrap();
    }
    let lines: Vec<_> = events.iter().map(|(key, at)| Record::of(format!("{key} {at}"))).collect();
    log.writer_of("in", 0, &Format::Utf8).unwrap().append_wait(&lines).unwrap();
}

fn late_topology<A>(tasks: u32, trap: &Trap, aggregate: A) -> Topology
where
    A: Aggregate<Event, Out = u64>,
{
    let mut t = TopologyBuilder::new("late");
    t.key_groups(64);
    let lines = t.spout("in", 1, LogSpout::<String>::from_stream("in").bounded()).unwrap();
    let lines = lines.event_time(|line| timed::time_of(line)).unwrap();
    let trap = Arc::clone(trap);
    let parsed = lines.shuffle().bolt("parse", tasks, move || {
        let trap = Arc::clone(&trap);
        move |line: String, out: &mut Emitter<Event>| {
            trap().unwrap();
            let (key, _) = line.split_once(' ').unwrap();
            out.emit((key.parse().unwrap(), timed::time_of(&line)));
        }
    });
    let (told, late) = parsed
        .unwrap()
        .fields(|event| &event.0)
        .window(Tumbling::of(MS(50)))
        .event_time(at)
        .allowed_lateness(MS(100))
        .trigger(EveryTuples(3))
        .late_stream()
        .aggregate_with("counts", tasks, aggregate, |key, told, n| {
            [format!("{key} {} {:?} {n}", told.window.end_ms, told.timing)]
        })
        .unwrap();
    told.sink("told", LogSink::to_stream("out").partitions(1)).unwrap();
    let late = late.shuffle().bolt("late", tasks, || {
        |(key, at): Event, out: &mut Emitter<String>| out.emit(format!("{key} {at}"))
    });
    late.unwrap().sink("late-out", LogSink::to_stream("late")).unwrap();
    t.finish().unwrap()
}

#[test]
fn what_is_late_tells_of_its_window_again_and_what_is_too_late_has_a_stream_once() {
    for (tasks, fails) in [(1, &[][..]), (3, &[7, 9, 12])] {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path());
        // The watermark comes to 230: the window that ends at 50 is gone, those at 150 and 200 can still change.
        write_in_order(&log, &[(1, 10), (1, 20), (1, 30), (1, 40), (1, 120), (2, 160), (9, 230)]);
        let trap = trap_at(fails);
        let (_, late) = run(&log, &late_topology(tasks, &trap, Count), 2);
        assert_eq!(late, 0);
        let on_time = ["1 150 OnTime 1", "1 50 Early 3", "1 50 OnTime 4", "2 200 OnTime 1"];
        assert_eq!(lines(&log, "out"), on_time, "{tasks} tasks");
        // Nothing moves the watermark; so it does not depend on where commits are cut what is late.
        write_in_order(&log, &[(1, 15), (1, 130), (2, 49), (2, 170), (3, 199), (3, 201)]);
        let (summary, late) = run(&log, &late_topology(tasks + 1, &trap, Count), 1);
        let again = ["1 150 Late 2", "2 200 Late 2", "3 200 Late 1"];
        let told = [&on_time[..], &again[..]].concat();
        assert_eq!(lines(&log, "out"), sorted(told.iter().map(|line| (*line).to_owned())));
        assert_eq!(lines(&log, "late"), ["1 15", "2 49"], "{tasks} tasks");
        // Those of a commit that was repeated are counted again.
        assert!(late >= 2 && (summary.restarts > 0 || late == 2), "{late} late tuples");
        log.close().unwrap();
    }
}

/// Ends of windows by the thousand fall into one commit, and windows of what they tell are whole all the same.
#[test]
fn any_number_of_windows_that_end_at_once_are_in_time_for_those_downstream() {
    let keys = 20_000u64;
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let mut first: Vec<Event> = (0..keys).map(|key| (key, 10)).collect();
    first.push((0, 70));
    write_in_order(&log, &first);
    let mut t = TopologyBuilder::new("many");
    let lines_in = t.spout("in", 1, LogSpout::<String>::from_stream("in").bounded()).unwrap();
    let lines_in = lines_in.event_time(|line| timed::time_of(line)).unwrap();
    let counts = lines_in
        .fields_by(|line| line.split(' ').next().map_or(0, |key| key.parse::<u64>().unwrap()))
        .window(Tumbling::of(MS(50)))
        .event_time(|line| timed::time_of(line))
        .count("counts", 1)
        .unwrap();
    let all = counts
        .window_all(Tumbling::of(MS(50)))
        .event_time(|n: &Windowed<u64, u64>| n.firing.window.start_ms)
        .aggregate_with("all", 1, sum(|n: &Windowed<u64, u64>| n.value), |(), told, n: u64| {
            [format!("{} {n}", told.window.end_ms)]
        })
        .unwrap();
    all.sink("out", LogSink::to_stream("out")).unwrap();
    let (_, late) = run(&log, &t.finish().unwrap(), 1);
    assert_eq!((late, lines(&log, "out")), (0, vec![format!("50 {keys}")]));
    log.close().unwrap();
}

/// What is kept for keys is gone with their windows: the state of a component is that of the keys that have one
/// open, in what is written as well.
#[test]
fn nothing_is_kept_of_windows_that_are_over() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let trap = calm();
    write_in_order(&log, &(0..500i64).map(|i| ((i % 97).cast_unsigned(), i)).collect::<Vec<_>>());
    run(&log, &late_topology(2, &trap, Count), 1);
    let open_then = kept(&log);
    assert!(open_then.len() > 90, "{} keys have a window open", open_then.len());
    write_in_order(&log, &[(1000, 100_000)]);
    run(&log, &late_topology(3, &trap, Count), 1);
    assert_eq!(kept(&log), [1000]);
    log.close().unwrap();
}

/// The keys for which something is kept, as a reader beside the topology sees it.
fn kept(log: &Log) -> Vec<u64> {
    use egret::replica::shown::Range;
    use egret::replica::{Replica, ReplicaOptions};
    let mut replica = Replica::new("late", ReplicaOptions::default());
    replica.catch_up(log).unwrap();
    let all = Range { limit: usize::MAX, bytes: usize::MAX, ..Range::default() };
    let page = replica.read().scan("counts", &all).unwrap();
    let mut keys: Vec<u64> = page
        .entries
        .iter()
        .map(|(key, _)| key.as_u64().unwrap_or_else(|| panic!("{key}")))
        .collect();
    keys.sort_unstable();
    keys
}
