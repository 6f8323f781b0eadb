//! Topologies forked from named commits of others: they begin there exactly, go their own way, and disturb nobody.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../counting/mod.rs"]
mod counting;
mod deleted;
mod dying;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use egret::runtime::named;
use egret::{
    Blob, Error, Guarantee, LogSink, LogSpout, Origin, Progress, RunOptions, Summary, Topology,
    TopologyBuilder,
};
use egret_log::metadata::Versioned;
use egret_log::stream::{Record, StreamConfig};
use egret_log::{Log, clock};
use egret_schemas::LedgerId;
use egret_state::commit::TopologyRecord;

use counting::{Count, open, said};
use dying::Dying;

/// Counts `lines` into a stream of its own; what differs between topologies is their name.
fn topology(name: &str, to: &str, guarantee: Guarantee, bounded: bool) -> Topology {
    let mut t = TopologyBuilder::new(name);
    t.guarantee(guarantee);
    let spout = LogSpout::<Blob>::from_stream("lines");
    let spout = if bounded { spout.bounded() } else { spout };
    let lines = t.spout("lines", 2, spout).unwrap();
    let counts = lines.fields(|w| w.as_bytes()).keyed("count", 2, || Count).unwrap();
    counts.sink("out", LogSink::to_stream(to).partitions(2)).unwrap();
    t.finish().unwrap()
}

/// Some come again and again, and others once.
fn words(from: usize, to: usize) -> Vec<String> {
    (from..to)
        .map(|n| if n % 3 == 0 { format!("once{n}") } else { format!("w{}", n * n % 23) })
        .collect()
}

fn write(log: &Log, words: &[String]) {
    if log.stream("lines").is_err() {
        let config =
            StreamConfig { partitions: 3, segment_bytes_max: 400, ..StreamConfig::default() };
        log.create_stream("lines", config).unwrap();
    }
    for (n, word) in (0u32..).zip(words) {
        log.writer("lines", n % 3).unwrap().append_wait(&[Record::of(word.clone())]).unwrap();
    }
}

fn options(from: Option<&str>) -> RunOptions {
    let from = from.map(|from| from.parse::<Origin>().unwrap());
    RunOptions { commit_ms: 5, from, ..RunOptions::default() }
}

/// Runs a topology over what there is; `from` is what it is forked from.
fn run(log: &Log, name: &str, from: Option<&str>) -> Result<Summary, Error> {
    let topology = topology(name, &format!("{name}-counts"), Guarantee::EffectivelyOnce, true);
    topology.run(log, &options(from), &Arc::default())
}

fn counted(words: &[String]) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    words.iter().for_each(|word| *counts.entry(word.clone()).or_insert(0) += 1);
    counts
}

/// What a topology says of each word, in order.
fn output(log: &Log, name: &str) -> BTreeMap<String, Vec<u64>> {
    let said = said(log, &format!("{name}-counts")).into_iter();
    said.map(|(word, counts)| (String::from_utf8(word).unwrap(), counts)).collect()
}

/// Whether a topology that began after `before` has counted `all` exactly, and says nothing of what it had.
fn goes_on(log: &Log, name: &str, before: &[String], all: &[String]) {
    let (begun, whole) = (counted(before), counted(all));
    let news: BTreeSet<_> = all[before.len()..].iter().cloned().collect();
    let rows = output(log, name);
    assert_eq!(rows.keys().cloned().collect::<BTreeSet<_>>(), news, "{name}");
    for (word, counts) in rows {
        let first = begun.get(&word).copied().unwrap_or(0);
        assert!(counts[0] > first, "{name}: {word} goes on from {first}: {counts:?}");
        assert!(counts.is_sorted_by(|a, b| a < b), "{name}: {word}: {counts:?}");
        assert_eq!(*counts.last().unwrap(), whole[&word], "{name}: {word}");
    }
}

fn record(log: &Log, name: &str) -> TopologyRecord {
    let held: Option<Versioned> = log.metadata().get(&format!("/topology/{name}")).unwrap();
    TopologyRecord::decode(&held.unwrap().value).unwrap()
}

/// `words` counted to 40, that named, and gone on to 70.
fn with_a_name(dir: &Path) -> Log {
    let log = open(dir);
    write(&log, &words(0, 40));
    run(&log, "words", None).unwrap();
    named::create(&log, "words", "forty").unwrap();
    write(&log, &words(40, 70));
    run(&log, "words", None).unwrap();
    log
}

#[test]
fn a_fork_has_the_state_and_positions_of_the_named_commit_and_goes_its_own_way() {
    let dir = tempfile::tempdir().unwrap();
    let log = with_a_name(dir.path());
    let before = output(&log, "words");
    let summary = run(&log, "what-if", Some("words:forty")).unwrap();
    assert_eq!(summary.tuples, 30, "what came after the name");
    goes_on(&log, "what-if", &words(0, 40), &words(0, 70));
    assert_eq!(output(&log, "words"), before, "nothing was written for the parent");
    // Both go on, each by itself; said again the option changes nothing.
    write(&log, &words(70, 90));
    run(&log, "what-if", Some("words:forty")).unwrap();
    goes_on(&log, "what-if", &words(0, 40), &words(0, 90));
    run(&log, "words", None).unwrap();
    goes_on(&log, "words", &[], &words(0, 90));
    write(&log, &words(90, 100));
    run(&log, "what-if", None).unwrap();
    goes_on(&log, "what-if", &words(0, 40), &words(0, 100));
    log.close().unwrap();
}

#[test]
fn a_parent_that_runs_is_not_disturbed() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    write(&log, &words(0, 40));
    let progress = Arc::<Progress>::default();
    let (of_run, of_thread) = (log.clone(), Arc::clone(&progress));
    let parent = thread::spawn(move || {
        let topology = topology("words", "words-counts", Guarantee::EffectivelyOnce, false);
        topology.run(&of_run, &options(None), &of_thread)
    });
    let until = clock::now() + Duration::from_secs(60);
    let wait = |words: &[String]| {
        let is = |log: &Log| {
            let last = |(word, counts): (String, Vec<u64>)| (word, *counts.last().unwrap());
            output(log, "words").into_iter().map(last).collect::<BTreeMap<_, _>>() == counted(words)
        };
        while log.stream("words-counts").is_err() || !is(&log) {
            assert!(clock::now() < until, "the parent does not count");
            thread::park_timeout(Duration::from_millis(10));
        }
    };
    wait(&words(0, 40));
    named::create(&log, "words", "forty").unwrap();
    write(&log, &words(40, 60));
    wait(&words(0, 60));
    run(&log, "what-if", Some("words:forty")).unwrap();
    goes_on(&log, "what-if", &words(0, 40), &words(0, 60));
    deleted::is_refused_while_it_runs(&log, "words");
    write(&log, &words(60, 70));
    wait(&words(0, 70));
    progress.stop();
    let summary = parent.join().unwrap().unwrap();
    assert_eq!((summary.restarts, summary.generation.0), (0, 1), "it went on all the time");
    goes_on(&log, "words", &[], &words(0, 70));
    log.close().unwrap();
}

#[test]
fn a_name_is_kept_until_the_fork_has_written_its_state_anew_and_not_longer() {
    let dir = tempfile::tempdir().unwrap();
    let log = with_a_name(dir.path());
    run(&log, "what-if", Some("words:forty")).unwrap();
    let theirs: Vec<LedgerId> = {
        let names = record(&log, "words").names;
        names.commits["forty"].record.state_ledgers().into_keys().collect()
    };
    let mut refused = 0;
    let mut at = 70;
    while record(&log, "what-if").fork.unwrap().held {
        let why = named::delete(&log, "words", "forty").unwrap_err();
        assert!(why.is_refusal() && why.to_string().contains("`what-if`"), "{why}");
        let listed = named::list(&log, "words").unwrap();
        assert_eq!(listed[0].forks, ["what-if"]);
        assert!(theirs.iter().all(|ledger| log.ledgers().describe(*ledger).is_ok()));
        refused += 1;
        assert!(refused <= 4, "the fork does not come away from its parent soon");
        write(&log, &words(at, at + 10));
        at += 10;
        run(&log, "words", None).unwrap();
        run(&log, "what-if", None).unwrap();
    }
    let fork = record(&log, "what-if").fork.unwrap();
    assert!(fork.ledgers.is_empty() && fork.commit.is_none());
    let named = &named::list(&log, "words").unwrap()[0];
    assert!(named.forks.is_empty(), "after {refused} refusals");
    // They are not the fork's to delete.
    write(&log, &words(at, at + 10));
    at += 10;
    run(&log, "what-if", None).unwrap();
    assert!(theirs.iter().all(|ledger| log.ledgers().describe(*ledger).is_ok()));
    assert_eq!(named::list(&log, "words").unwrap()[0].lost, None);
    named::delete(&log, "words", "forty").unwrap();
    // What only the name kept goes, and the fork needs none of it.
    for _ in 0..2 {
        write(&log, &words(at, at + 10));
        at += 10;
        run(&log, "words", None).unwrap();
        run(&log, "what-if", Some("words:forty")).unwrap();
    }
    goes_on(&log, "what-if", &words(0, 40), &words(0, at));
    goes_on(&log, "words", &[], &words(0, at));
    log.close().unwrap();
}

/// It trims what its commits no longer need, and would find ledgers of its parent there.
#[test]
fn a_fork_that_comes_away_while_it_runs_deletes_nothing_of_its_parent() {
    let dir = tempfile::tempdir().unwrap();
    let log = with_a_name(dir.path());
    let theirs = record(&log, "words").names.commits["forty"].record.state_ledgers();
    let many = words(70, 30_000);
    for (n, part) in (0u32..).zip(many.chunks(1000)) {
        let records: Vec<Record> = part.iter().map(|word| Record::of(word.clone())).collect();
        log.writer("lines", n % 3).unwrap().append_wait(&records).unwrap();
    }
    // Small epochs, so that many commits come to pass.
    let slow = RunOptions { commit_ms: 1, epoch_bytes_max: 2000, ..options(Some("words:forty")) };
    let fork = topology("what-if", "what-if-counts", Guarantee::EffectivelyOnce, true);
    let summary = fork.run(&log, &slow, &Arc::default()).unwrap();
    assert!(summary.commits > 5, "{} commits", summary.commits);
    assert!(!record(&log, "what-if").fork.unwrap().held, "it came away");
    for ledger in theirs.keys() {
        assert!(log.ledgers().describe(*ledger).is_ok(), "{ledger} is gone");
    }
    assert_eq!(named::list(&log, "words").unwrap()[0].lost, None);
    goes_on(&log, "what-if", &words(0, 40), &words(0, 30_000));
    run(&log, "words", None).unwrap();
    goes_on(&log, "words", &[], &words(0, 30_000));
    log.close().unwrap();
}

#[test]
fn a_fork_of_a_fork_begins_there_and_keeps_both() {
    let dir = tempfile::tempdir().unwrap();
    let log = with_a_name(dir.path());
    run(&log, "what-if", Some("words:forty")).unwrap();
    let early = named::create(&log, "what-if", "seventy");
    early.unwrap();
    write(&log, &words(70, 90));
    run(&log, "and-then", Some("what-if:seventy")).unwrap();
    goes_on(&log, "and-then", &words(0, 70), &words(0, 90));
    let why = named::delete(&log, "what-if", "seventy").unwrap_err().to_string();
    assert!(why.contains("`and-then`"), "{why}");
    run(&log, "what-if", None).unwrap();
    goes_on(&log, "what-if", &words(0, 40), &words(0, 90));
    write(&log, &words(90, 100));
    for name in ["and-then", "what-if", "words"] {
        run(&log, name, None).unwrap();
    }
    goes_on(&log, "and-then", &words(0, 70), &words(0, 100));
    goes_on(&log, "words", &[], &words(0, 100));
    log.close().unwrap();
}

/// A process that forks is killed after each of its transactions, and the next one begins where the first was to.
#[test]
fn a_fork_that_is_killed_anywhere_is_begun_again_exactly() {
    for left in 0..200 {
        let dir = tempfile::tempdir().unwrap();
        let log = with_a_name(dir.path());
        let done = run(&Dying::over(&log, left), "what-if", Some("words:forty")).is_ok();
        let is_there = log.metadata().get("/topology/what-if").unwrap().is_some();
        let kept = !record(&log, "words").names.commits["forty"].forks.is_empty();
        let held = is_there && record(&log, "what-if").fork.unwrap().held;
        assert_eq!(held, kept, "both or neither, after {left} transactions");
        // Whoever starts it again may have left the option out.
        run(&log, "what-if", if is_there { None } else { Some("words:forty") }).unwrap();
        goes_on(&log, "what-if", &words(0, 40), &words(0, 70));
        run(&log, "words", None).unwrap();
        goes_on(&log, "words", &[], &words(0, 70));
        log.close().unwrap();
        if done {
            assert!(left > 8, "{left} transactions are too few to have been killed in");
            return;
        }
    }
    panic!("it is never done");
}

#[test]
fn what_cannot_be_forked_is_refused_and_nothing_is_there_then() {
    let dir = tempfile::tempdir().unwrap();
    let log = with_a_name(dir.path());
    let refused = |name: &str, to: &str, guarantee, from: &str| {
        let topology = topology(name, to, guarantee, true);
        let ran = topology.run(&log, &options(Some(from)), &Arc::default());
        ran.unwrap_err().to_string()
    };
    let exactly = Guarantee::EffectivelyOnce;
    let why = refused("what-if", "words-counts", exactly, "words:forty");
    assert!(why.contains("words-counts") && why.contains("words"), "{why}");
    let why = refused("what-if", "other", exactly, "words:fifty");
    assert!(why.contains("no commit is named `fifty`: there is `forty`"), "{why}");
    let why = refused("what-if", "other", exactly, "nobody:forty");
    assert!(why.contains("no topology `nobody`"), "{why}");
    let why = refused("what-if", "plain", Guarantee::AtLeastOnce, "words:forty");
    assert!(why.contains("its guarantee is effectively-once"), "{why}");
    let why = refused("words", "words-counts", exactly, "words:forty");
    assert!(why.contains("was not forked from") || why.contains("is forked"), "{why}");
    // A stream that was made for it would shut out whoever it belongs to.
    assert!(log.stream("other").is_err());
    assert!(log.metadata().get("/topology/what-if").unwrap().is_none());
    assert!(record(&log, "words").names.commits["forty"].forks.is_empty());
    for text in ["words", ":forty", "words:", "words:a b"] {
        text.parse::<Origin>().unwrap_err();
    }
    log.close().unwrap();
}

/// Streams that nobody owns are written by whoever likes, and a fork is not to.
#[test]
fn a_fork_does_not_write_where_its_parent_writes_whatever_the_guarantee() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    write(&log, &words(0, 20));
    let at_least = |name, to, from| {
        let topology = topology(name, to, Guarantee::AtLeastOnce, true);
        topology.run(&log, &options(from), &Arc::default())
    };
    at_least("words", "counts", None).unwrap();
    named::create(&log, "words", "twenty").unwrap();
    let why = at_least("what-if", "counts", Some("words:twenty")).unwrap_err().to_string();
    assert!(why.contains("stream `counts` is written by topology `words`"), "{why}");
    assert!(log.metadata().get("/topology/what-if").unwrap().is_none());
    at_least("what-if", "what-ifs", Some("words:twenty")).unwrap();
    log.close().unwrap();
}
