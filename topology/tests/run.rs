//! Topologies on a real log in a directory: counted exactly, restarted, rescaled, refused.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, and says what it skips")]

#[expect(dead_code, reason = "the whole of it is used by the tests beside it")]
mod counting;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use egret::{
    Blob, Emitter, Error, Guarantee, LogSink, LogSpout, Progress, RunOptions, Summary, Topology,
    TopologyBuilder,
};
use egret_log::Log;
use egret_log::stream::{Format, ReadFrom, Record, StreamConfig};

use counting::{Count, open, rows};

fn write_lines(log: &Log, lines: impl IntoIterator<Item = String>) {
    if log.stream("lines").is_err() {
        let config = StreamConfig { partitions: 3, ..StreamConfig::default() };
        log.create_stream("lines", config).unwrap();
    }
    for (i, line) in (0u32..).zip(lines) {
        let record = Record { key: None, value: line.into(), event_time_ms: None, sequence: None };
        log.writer("lines", i % 3).unwrap().append_wait(&[record]).unwrap();
    }
}

fn text(lines: usize) -> Vec<String> {
    (0..lines).map(|i| format!("the {} fox {} times the {}", i % 7, i % 11, i % 3)).collect()
}

fn expected(lines: &[String]) -> BTreeMap<Vec<u8>, u64> {
    let mut counts = BTreeMap::new();
    for word in lines.iter().flat_map(|line| line.split(' ')) {
        *counts.entry(word.as_bytes().to_vec()).or_insert(0) += 1;
    }
    counts
}

/// Every record of `counts`, by partition, in order.
fn output(log: &Log) -> Vec<Vec<(Vec<u8>, u64)>> {
    rows(log, "counts")
}

fn last_counts(log: &Log) -> BTreeMap<Vec<u8>, u64> {
    output(log).into_iter().flatten().collect()
}

fn repeats(log: &Log) -> usize {
    let mut last = BTreeMap::new();
    let rows = output(log).into_iter().flatten();
    rows.filter(|(key, n)| last.insert(key.clone(), *n).is_some_and(|before| *n <= before)).count()
}

/// `split` may fail on purpose: it is told every line.
fn topology(
    tasks: u32,
    guarantee: Guarantee,
    trap: impl Fn(&[u8]) + Clone + Send + Sync + 'static,
) -> Topology {
    let mut t = TopologyBuilder::new("words");
    t.guarantee(guarantee);
    let lines = t.spout("lines", tasks, LogSpout::<Blob>::from_stream("lines").bounded()).unwrap();
    let words = lines.shuffle().bolt("split", tasks, move || {
        let trap = trap.clone();
        move |line: Blob, out: &mut Emitter<Blob>| {
            trap(&line);
            line.split(|b| *b == b' ').for_each(|word| out.emit(Blob::from(word)));
        }
    });
    let counts = words.unwrap().fields(|w| w.as_bytes()).keyed("count", tasks, || Count).unwrap();
    counts.sink("out", LogSink::to_stream("counts").partitions(2)).unwrap();
    t.finish().unwrap()
}

fn options(workers: u32, commit_ms: u64) -> RunOptions {
    RunOptions { workers, commit_ms, ..RunOptions::default() }
}

fn run(log: &Log, topology: &Topology, options: &RunOptions) -> Result<Summary, Error> {
    topology.run(log, options, &Arc::new(Progress::default()))
}

#[test]
fn words_are_counted_exactly_on_one_worker_and_on_several() {
    for workers in [1, 2, 3] {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path());
        let lines = text(500);
        write_lines(&log, lines.clone());
        let topology = topology(workers, Guarantee::EffectivelyOnce, |_| {});
        run(&log, &topology, &options(workers, 1)).unwrap();
        assert_eq!(last_counts(&log), expected(&lines), "{workers} workers");
        assert_eq!(repeats(&log), 0);
        let again = run(&log, &topology, &options(workers, 1)).unwrap();
        assert_eq!(again.tuples, 0, "a second run finds nothing new");
        assert_eq!(last_counts(&log), expected(&lines));
        log.close().unwrap();
    }
}

#[test]
fn every_guarantee_counts_everything_when_nothing_fails() {
    for guarantee in [Guarantee::AtMostOnce, Guarantee::AtLeastOnce] {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path());
        let lines = text(100);
        write_lines(&log, lines.clone());
        run(&log, &topology(2, guarantee, |_| {}), &options(2, 5)).unwrap();
        assert_eq!(last_counts(&log), expected(&lines), "{guarantee}");
        log.close().unwrap();
    }
}

#[test]
fn counts_go_on_over_a_restart_of_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let mut all = Vec::new();
    for round in 0..4 {
        let log = open(dir.path());
        let lines: Vec<String> = text(60).into_iter().map(|l| format!("{l} r{round}")).collect();
        write_lines(&log, lines.clone());
        all.extend(lines);
        // Another number of tasks and workers each time: state moves by key group.
        let tasks = [1, 3, 2, 4][round];
        let topology = topology(tasks, Guarantee::EffectivelyOnce, |_| {});
        run(&log, &topology, &options(1 + u32::try_from(round).unwrap() % 2, 1)).unwrap();
        assert_eq!(last_counts(&log), expected(&all), "round {round}");
        assert_eq!(repeats(&log), 0, "round {round}");
        match round % 2 {
            0 => log.close().unwrap(),
            _ => drop(log),
        }
    }
}

#[test]
fn a_bolt_that_panics_is_restarted_and_nothing_is_lost_or_repeated() {
    for workers in [1, 2] {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path());
        let lines = text(2000);
        write_lines(&log, lines.clone());
        let seen = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&seen);
        let trap = move |_: &[u8]| {
            let n = counter.fetch_add(1, Ordering::Relaxed);
            assert!(n != 700 && n != 1900, "a trap after {n} lines");
        };
        let topology = topology(2, Guarantee::EffectivelyOnce, trap);
        let summary = run(&log, &topology, &options(workers, 1)).unwrap();
        assert_eq!(summary.restarts, 2);
        assert_eq!(last_counts(&log), expected(&lines), "{workers} workers");
        assert_eq!(repeats(&log), 0);
        log.close().unwrap();
    }
}

#[test]
fn a_bolt_that_always_panics_fails_the_topology_and_says_where() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    write_lines(&log, text(10));
    let topology = topology(1, Guarantee::EffectivelyOnce, |_| panic!("no luck"));
    let error = run(&log, &topology, &options(1, 1)).unwrap_err().to_string();
    assert_eq!(
        error,
        "topology `words` failed 3 time(s) without a commit between: task split/0: panicked: no luck; \
         nothing after its last commit is kept, and running it again goes on from there"
    );
    assert!(log.stream("counts").is_ok());
    assert!(last_counts(&log).is_empty(), "nothing uncommitted is visible");
    log.close().unwrap();
}

#[test]
fn another_graph_under_the_same_name_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    write_lines(&log, text(10));
    run(&log, &topology(1, Guarantee::EffectivelyOnce, |_| {}), &options(1, 1)).unwrap();
    let mut t = TopologyBuilder::new("words");
    let lines = t.spout("lines", 1, LogSpout::<Blob>::from_stream("lines").bounded()).unwrap();
    lines.sink("copy", LogSink::to_stream("copies")).unwrap();
    let error = run(&log, &t.finish().unwrap(), &options(1, 1)).unwrap_err().to_string();
    assert!(error.contains("added {\"copy\"}") && error.contains("removed"), "{error}");
    log.close().unwrap();
}

#[test]
fn a_missing_stream_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let topology = topology(1, Guarantee::EffectivelyOnce, |_| {});
    let error = run(&log, &topology, &options(1, 1)).unwrap_err().to_string();
    assert!(error.contains("lines"), "{error}");
    log.close().unwrap();
}

#[test]
fn a_stream_of_another_owner_or_kind_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    write_lines(&log, text(3));
    log.create_stream("counts", StreamConfig::default()).unwrap();
    let topology = topology(1, Guarantee::EffectivelyOnce, |_| {});
    let error = run(&log, &topology, &options(1, 1)).unwrap_err().to_string();
    assert!(error.contains("`counts`") && error.contains("plain writers"), "{error}");
    log.close().unwrap();
}

#[test]
fn a_slow_consumer_holds_the_spout_back_and_memory_stays_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let line = "x".repeat(1000);
    let config = StreamConfig { partitions: 3, ..StreamConfig::default() };
    log.create_stream("lines", config).unwrap();
    let record = Record { key: None, value: line.into(), event_time_ms: None, sequence: None };
    for partition in 0..3 {
        let batch = vec![record.clone(); 4000];
        log.writer("lines", partition).unwrap().append_wait(&batch).unwrap();
    }
    let mut t = TopologyBuilder::new("slow");
    t.guarantee(Guarantee::AtLeastOnce);
    let lines = t.spout("lines", 1, LogSpout::<Blob>::from_stream("lines").bounded()).unwrap();
    let seen = Arc::new(AtomicU32::new(0));
    let counter = Arc::clone(&seen);
    lines
        .shuffle()
        .sink("slow", 1, move || {
            let counter = Arc::clone(&counter);
            move |_: Blob| {
                // Busy, not asleep: a bolt that takes its time.
                (0..2000).for_each(|i| assert!(std::hint::black_box(i) < 2000));
                counter.fetch_add(1, Ordering::Relaxed);
            }
        })
        .unwrap();
    let progress = Arc::new(Progress::default());
    let options = RunOptions { in_flight_bytes_max: 2 << 20, ..options(2, 5) };
    t.finish().unwrap().run(&log, &options, &progress).unwrap();
    assert_eq!(seen.load(Ordering::Relaxed), 12_000);
    assert!(progress.peak_bytes() < 4 << 20, "{} bytes in flight", progress.peak_bytes());
    log.close().unwrap();
}

#[test]
fn a_topology_that_follows_a_stream_stops_when_asked_with_everything_committed() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let lines = text(50);
    write_lines(&log, lines.clone());
    let mut t = TopologyBuilder::new("follow");
    let stream = t.spout("lines", 1, LogSpout::<Blob>::from_stream("lines")).unwrap();
    let words = stream
        .shuffle()
        .bolt("split", 1, || {
            |line: Blob, out: &mut Emitter<Blob>| {
                line.split(|b| *b == b' ').for_each(|word| out.emit(Blob::from(word)));
            }
        })
        .unwrap();
    let counts = words.fields(|w| w.as_bytes()).keyed("count", 1, || Count).unwrap();
    counts.sink("out", LogSink::to_stream("counts").partitions(1)).unwrap();
    let topology = t.finish().unwrap();
    let progress = Arc::new(Progress::default());
    let runner = {
        let (log, progress) = (log.clone(), Arc::clone(&progress));
        std::thread::spawn(move || topology.run(&log, &options(1, 5), &progress).unwrap())
    };
    // Records appended while it runs are counted as well.
    write_lines(&log, lines.clone());
    let mut all = lines.clone();
    all.extend(lines);
    let want: u64 = expected(&all).values().sum();
    let mut reader = loop {
        if let Ok(reader) = log.reader("counts", 0, ReadFrom::Earliest) {
            break reader;
        }
        std::thread::yield_now();
    };
    let mut last = BTreeMap::new();
    while last.values().sum::<u64>() < want {
        let batch = reader.next_wait(Duration::from_secs(20)).unwrap().expect("counts arrive");
        for record in batch.records {
            let n: u64 = std::str::from_utf8(&record.value).unwrap().parse().unwrap();
            last.insert(record.key.unwrap().to_vec(), n);
        }
    }
    progress.stop();
    runner.join().unwrap();
    assert_eq!(last_counts(&log), expected(&all));
    log.close().unwrap();
}

/// Once, a keyed bolt whose input had moved on inside a commit, with nothing for it, emitted the
/// commit's results at an epoch its capability had left, and the worker panicked.
#[test]
fn results_of_a_commit_are_emitted_though_the_frontier_moved_on_inside_it() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let lines = text(3000);
    write_lines(&log, lines.clone());
    let options = RunOptions { epoch_bytes_max: 100, tries: 1, ..options(2, 3) };
    run(&log, &topology(2, Guarantee::EffectivelyOnce, |_| {}), &options).unwrap();
    assert_eq!(last_counts(&log), expected(&lines));
    log.close().unwrap();
}

#[test]
fn every_grouping_delivers_to_the_tasks_it_names() {
    type Attach = fn(&egret::Stream<Blob>) -> egret::Grouped<Blob>;
    let groupings: [(&str, Attach, u32); 4] = [
        ("shuffle", |s| s.shuffle(), 90),
        ("global", |s| s.global(), 90),
        ("local-or-shuffle", |s| s.local_or_shuffle(), 90),
        ("all", |s| s.all(), 270),
    ];
    for (name, attach, want) in groupings {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path());
        write_lines(&log, text(90));
        let mut t = TopologyBuilder::new("grouped");
        t.guarantee(Guarantee::AtLeastOnce);
        let lines = t.spout("lines", 2, LogSpout::<Blob>::from_stream("lines").bounded()).unwrap();
        let seen: Arc<[AtomicU32; 3]> = Arc::default();
        let (counters, tasks) = (Arc::clone(&seen), Arc::new(AtomicU32::new(0)));
        attach(&lines)
            .sink("out", 3, move || {
                let own = usize::try_from(tasks.fetch_add(1, Ordering::Relaxed) % 3).unwrap();
                let counters = Arc::clone(&counters);
                move |_: Blob| {
                    counters[own].fetch_add(1, Ordering::Relaxed);
                }
            })
            .unwrap();
        run(&log, &t.finish().unwrap(), &options(2, 5)).unwrap();
        let seen: Vec<u32> = seen.iter().map(|n| n.load(Ordering::Relaxed)).collect();
        assert_eq!(seen.iter().sum::<u32>(), want, "{name}: {seen:?}");
        match name {
            "all" => assert_eq!(seen, [90, 90, 90]),
            "global" => assert_eq!(seen.iter().filter(|n| **n > 0).count(), 1, "{seen:?}"),
            _ => {}
        }
        log.close().unwrap();
    }
}

/// Once, anybody could delete what a topology reads or writes: under at-least-once the next run made
/// the output anew and wrote to it only what changed from then on.
#[test]
fn a_stream_that_a_topology_uses_is_deleted_only_by_force_and_then_not_written_on() {
    for guarantee in [Guarantee::AtLeastOnce, Guarantee::EffectivelyOnce] {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path());
        write_lines(&log, text(300));
        let topology = topology(2, guarantee, |_| {});
        run(&log, &topology, &options(2, 1)).unwrap();
        for stream in ["lines", "counts"] {
            let error = log.delete_stream(stream, false).unwrap_err().to_string();
            assert!(error.contains("words/") && error.contains("--force"), "{error}");
        }
        assert_eq!(last_counts(&log), expected(&text(300)), "nothing was done");
        log.delete_stream("counts", true).unwrap();
        write_lines(&log, text(10));
        for attempt in 0..2 {
            let error = run(&log, &topology, &options(2, 1)).unwrap_err().to_string();
            assert!(error.contains("deleted"), "{guarantee}, attempt {attempt}: {error}");
            assert_eq!(last_counts(&log), BTreeMap::new());
        }
        log.close().unwrap();
    }
}

/// A truncation may take what is committed and nothing else; by force it may, and the topology says so
/// instead of going on behind the gap.
#[test]
fn what_a_topology_may_yet_read_is_truncated_only_by_force() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    write_lines(&log, text(300));
    let topology = topology(2, Guarantee::AtLeastOnce, |_| {});
    run(&log, &topology, &options(2, 1)).unwrap();
    write_lines(&log, text(300));
    let end = log.describe_partition("lines", 1).unwrap().end;
    let error = log.truncate("lines", 1, end, false).unwrap_err().to_string();
    assert!(error.contains("words/lines") && error.contains("--force"), "{error}");
    // At its start a run says where its last commit has it.
    run(&log, &topology, &options(2, 1)).unwrap();
    let needed = log.users("lines").unwrap().consumers.into_values().next().unwrap();
    log.truncate("lines", 1, needed[&1], false).unwrap();
    run(&log, &topology, &options(2, 1)).unwrap();
    log.truncate("lines", 1, end, false).unwrap();
    write_lines(&log, text(300));
    let end = log.describe_partition("lines", 1).unwrap().end;
    log.truncate("lines", 1, end, true).unwrap();
    assert!(log.users("lines").unwrap().consumers.is_empty(), "it is named no more");
    let error = run(&log, &topology, &options(2, 1)).unwrap_err().to_string();
    assert!(error.contains("truncated"), "{error}");
    assert!(error.contains("failed 1 time(s)"), "the next attempt reads the same: {error}");
    log.close().unwrap();
}

/// Of a partition that no commit names everything that is there is counted: what stands at its first
/// position, which is not zero after a truncation, and no less because a run before it committed nothing.
#[test]
fn a_partition_that_no_commit_names_is_read_from_its_first_position() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    write_lines(&log, text(30));
    let gone = log.describe_partition("lines", 1).unwrap().end;
    log.truncate("lines", 1, gone, false).unwrap();
    let more = text(60);
    write_lines(&log, more.clone());
    let all = topology(2, Guarantee::EffectivelyOnce, |_| {});
    let failing = topology(2, Guarantee::EffectivelyOnce, |_| panic!("on purpose"));
    run(&log, &failing, &options(2, 1)).unwrap_err();
    let left = text(30).into_iter().enumerate().filter(|(i, _)| i % 3 != 1).map(|(_, line)| line);
    let left: Vec<String> = left.chain(more).collect();
    run(&log, &all, &options(2, 1)).unwrap();
    assert_eq!(last_counts(&log), expected(&left));
    assert_eq!(repeats(&log), 0);
    log.close().unwrap();
}

/// Once, a stream that was deleted and made again was read on from the old one's position, and what
/// stood before it was never counted.
#[test]
fn a_source_that_was_deleted_and_made_again_is_refused_not_read_on() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    write_lines(&log, text(30));
    let topology = topology(1, Guarantee::EffectivelyOnce, |_| {});
    run(&log, &topology, &options(1, 1)).unwrap();
    log.delete_stream("lines", true).unwrap();
    write_lines(&log, text(90));
    let error = run(&log, &topology, &options(1, 1)).unwrap_err().to_string();
    assert!(error.contains("`lines` was deleted and made again"), "{error}");
    assert!(error.contains("failed 1 time(s)"), "the next attempt reads the same: {error}");
    log.close().unwrap();
}

/// Once, what one line or one changed key emitted was expanded whole before any of it was consumed.
#[test]
fn a_bolt_that_makes_much_of_little_stays_within_the_budget() {
    const WORDS: usize = 2_000_000;
    for workers in [1, 2] {
        let dir = tempfile::tempdir().unwrap();
        let log = open(dir.path());
        write_lines(&log, ["a b c d ".repeat(WORDS / 4).trim_end().to_owned()]);
        let topology = topology(workers, Guarantee::EffectivelyOnce, |_| {});
        let progress = Arc::new(Progress::default());
        let options = RunOptions { in_flight_bytes_max: 2 << 20, ..options(workers, 5) };
        topology.run(&log, &options, &progress).unwrap();
        let each = u64::try_from(WORDS / 4).unwrap();
        let want = [b"a", b"b", b"c", b"d"].map(|word| (word.to_vec(), each));
        assert_eq!(last_counts(&log), BTreeMap::from(want), "{workers} workers");
        // The line, its words packed, and what is on its way; the words as tuples are 48 MB and more.
        let peak = progress.peak_bytes();
        assert!(peak < 12 << 20, "{peak} bytes in flight on {workers} workers");
        log.close().unwrap();
    }
}

/// Every bolt makes more than its lane holds and the budget is used up by later commits: what holds
/// the oldest one goes on all the same.
#[test]
fn bolts_that_amplify_in_a_row_finish_with_the_smallest_budget() {
    const LINES: u64 = 300;
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    write_lines(&log, (0..LINES).map(|i| format!("line {i}")));
    let mut t = TopologyBuilder::new("amplify");
    let lines = t.spout("lines", 2, LogSpout::<Blob>::from_stream("lines").bounded()).unwrap();
    let many = lines.shuffle().bolt("many", 3, || {
        |line: Blob, out: &mut Emitter<Blob>| (0..60).for_each(|_| out.emit(line.clone()))
    });
    let more = many.unwrap().shuffle().bolt("more", 2, || {
        |line: Blob, out: &mut Emitter<Blob>| {
            (0..50u8).for_each(|i| out.emit(Blob::from(vec![i; 1 + line.len() % 7])));
        }
    });
    let counts = more.unwrap().fields(|w| w.as_bytes()).keyed("count", 3, || Count).unwrap();
    counts.sink("out", LogSink::to_stream("counts").partitions(2)).unwrap();
    let progress = Arc::new(Progress::default());
    let options = RunOptions { in_flight_bytes_max: 1 << 20, ..options(3, 1) };
    t.finish().unwrap().run(&log, &options, &progress).unwrap();
    assert_eq!(last_counts(&log).values().sum::<u64>(), LINES * 60 * 50);
    assert_eq!(repeats(&log), 0);
    assert!(progress.peak_bytes() < 6 << 20, "{} bytes in flight", progress.peak_bytes());
    log.close().unwrap();
}

/// One task has the oldest commit and much to ship for it, while another fills the budget with later
/// commits, which no consumer may touch before the oldest ends. If it waited for the budget, nothing would
/// ever move again.
#[test]
fn what_holds_the_oldest_commit_goes_on_when_later_ones_used_up_the_budget() {
    const SMALL: u64 = 6_000;
    const BIG: u64 = 300_000;
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    write_lines(&log, ["big".to_owned()]);
    let line = Record { key: None, value: "small".into(), event_time_ms: None, sequence: None };
    let small = vec![line; usize::try_from(SMALL).unwrap()];
    log.writer("lines", 1).unwrap().append_wait(&small).unwrap();
    let mut t = TopologyBuilder::new("oldest");
    let lines = t.spout("lines", 2, LogSpout::<Blob>::from_stream("lines").bounded()).unwrap();
    let many = lines.shuffle().bolt("many", 2, || {
        |line: Blob, out: &mut Emitter<Blob>| {
            let times = if line.as_bytes() == b"big" { BIG } else { 60 };
            (0..times).for_each(|_| out.emit(line.clone()));
        }
    });
    let counts = many.unwrap().fields(|w| w.as_bytes()).keyed("count", 2, || Count).unwrap();
    counts.sink("out", LogSink::to_stream("counts").partitions(2)).unwrap();
    let topology = t.finish().unwrap();
    let (ended, end) = std::sync::mpsc::channel();
    let in_thread = std::thread::spawn(move || {
        let options = RunOptions { in_flight_bytes_max: 1 << 20, ..options(2, 1) };
        let outcome = topology.run(&log, &options, &Arc::new(Progress::default()));
        ended.send(()).unwrap();
        outcome.unwrap();
        log
    });
    end.recv_timeout(Duration::from_secs(60)).expect("nothing waits for ever");
    let log = in_thread.join().unwrap();
    let want = BTreeMap::from([(b"big".to_vec(), BIG), (b"small".to_vec(), SMALL * 60)]);
    assert_eq!(last_counts(&log), want);
    log.close().unwrap();
}

#[test]
fn a_source_or_output_of_another_format_is_refused_with_both_names() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let config = StreamConfig { format: Format::Json, ..StreamConfig::default() };
    log.create_stream("events", config).unwrap();
    log.create_stream("texts", StreamConfig { format: Format::Utf8, ..StreamConfig::default() })
        .unwrap();
    let refused = |from: &str, to: &str| {
        let mut t = TopologyBuilder::new("formats");
        t.guarantee(Guarantee::AtLeastOnce);
        let texts = t.spout("in", 1, LogSpout::<String>::from_stream(from).bounded()).unwrap();
        texts.sink("out", LogSink::to_stream(to)).unwrap();
        run(&log, &t.finish().unwrap(), &options(1, 1)).map_err(|error| error.to_string())
    };
    let want = "stream `events` holds json, not utf8: use its format, or another stream";
    let of = |component| format!("component `{component}`: {want}");
    assert_eq!(refused("events", "copies").unwrap_err(), of("in"));
    assert_eq!(refused("texts", "events").unwrap_err(), of("out"));
    refused("texts", "copies").unwrap();
    log.close().unwrap();
}
