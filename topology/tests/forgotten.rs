//! Keys that a bolt has forgotten: nothing is kept for them, and they begin anew.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use egret::replica::{Replica, ReplicaOptions};
use egret::{
    Blob, ComponentResult, Context, Emitter, KeyedBolt, LogSink, LogSpout, Progress, RunOptions,
    Timer, TopologyBuilder,
};
use egret_log::stream::{ReadFrom, Record, StreamConfig};
use egret_log::{Log, LogConfig};

/// Counts a key's tuples; `key!` has it forgotten at once, `key?` at the end of the commit, `key.` by a timer, and
/// `key+` sets a timer that is never to fire, for the key is forgotten in the same call.
struct Count;

type Tuple = (String, char);

impl KeyedBolt<str, Tuple, Blob> for Count {
    type State = (u64, bool);

    fn execute(
        &mut self,
        key: &str,
        state: &mut (u64, bool),
        (_, what): Tuple,
        out: &mut Emitter<Blob>,
        cx: &Context,
    ) -> ComponentResult {
        state.0 += 1;
        match what {
            '!' => cx.forget_key()?,
            '?' => state.1 = true,
            '.' => cx.timers().set(Timer::processing(0))?,
            '+' => {
                cx.timers().set(Timer::processing(0))?;
                cx.forget_key()?;
            }
            _ => {}
        }
        out.emit(Blob::from(format!("{key}{}", state.0).as_bytes()));
        Ok(())
    }

    fn flush(
        &mut self,
        _: &str,
        state: &mut (u64, bool),
        _: &mut Emitter<Blob>,
        cx: &Context,
    ) -> ComponentResult {
        if state.1 {
            cx.forget_key()?;
        }
        Ok(())
    }

    fn on_timer(
        &mut self,
        key: &str,
        state: &mut (u64, bool),
        _: Timer,
        out: &mut Emitter<Blob>,
        cx: &Context,
    ) -> ComponentResult {
        out.emit(Blob::from(format!("{key} fires at {}", state.0).as_bytes()));
        Ok(cx.forget_key()?)
    }
}

fn tuple(word: &[u8]) -> Tuple {
    let word = std::str::from_utf8(word).unwrap();
    let key = word.trim_end_matches(['!', '?', '.', '+']);
    (key.to_owned(), word[key.len()..].chars().next().unwrap_or(' '))
}

/// Counts these words, and no others, in a run of so many tasks.
fn run(log: &Log, tasks: u32, words: &[&str]) {
    let records: Vec<_> = words.iter().map(|word| Record::of(word.as_bytes().to_vec())).collect();
    log.writer("words", 0).unwrap().append_wait(&records).unwrap();
    let mut t = TopologyBuilder::new("counts");
    let words = t.spout("words", 1, LogSpout::<Blob>::from_stream("words").bounded()).unwrap();
    let tuples = words
        .shuffle()
        .bolt("parse", 1, || {
            |word: Blob, out: &mut Emitter<Tuple>| out.emit(tuple(word.as_bytes()))
        })
        .unwrap();
    let counts = tuples.fields(|(key, _)| key.as_str()).keyed("count", tasks, || Count).unwrap();
    counts.sink("out", LogSink::to_stream("out").partitions(1)).unwrap();
    let options = RunOptions { workers: tasks, ..RunOptions::default() };
    t.finish().unwrap().run(log, &options, &Arc::new(Progress::default())).unwrap();
}

/// Key → count, as it is kept.
fn kept(log: &Log) -> BTreeMap<String, u64> {
    let mut replica = Replica::new("counts", ReplicaOptions::default());
    replica.catch_up(log).unwrap();
    let shown = replica.read();
    let count = shown.component("count").unwrap();
    let of = |(key, held)| (count.key_word(key), count.state_json(held)[0].as_u64().unwrap());
    count.table.range(Bound::Unbounded).map(of).collect()
}

fn told(log: &Log) -> Vec<String> {
    let mut reader = log.reader("out", 0, ReadFrom::Earliest).unwrap();
    let mut told = Vec::new();
    while let Some(batch) = reader.next_wait(Duration::ZERO).unwrap() {
        let text = |record: &Record| String::from_utf8(record.value.to_vec()).unwrap();
        told.extend(batch.records.iter().map(text));
    }
    told
}

fn of(all: &[(&str, u64)]) -> BTreeMap<String, u64> {
    all.iter().map(|(key, n)| ((*key).to_owned(), *n)).collect()
}

#[test]
fn what_is_forgotten_is_not_kept_begins_anew_and_stays_forgotten_for_other_tasks() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogConfig::default()).unwrap();
    log.create_stream("words", StreamConfig::default()).unwrap();
    // Forgotten in the middle of a commit, a key goes on from nothing in the same one.
    run(&log, 1, &["a", "a!", "a", "b", "b?", "c", "c.", "d", "e", "e+"]);
    assert_eq!(kept(&log), of(&[("a", 1), ("d", 1)]));
    let mut first = told(&log);
    assert_eq!(first.pop().as_deref(), Some("c fires at 2"), "once, and nothing for e: {first:?}");
    assert_eq!(first, ["a1", "a2", "a1", "b1", "b2", "c1", "c2", "d1", "e1", "e2"]);
    run(&log, 3, &["b", "c", "d!", "e", "a"]);
    assert_eq!(kept(&log), of(&[("a", 2), ("b", 1), ("c", 1), ("e", 1)]));
    run(&log, 2, &["a!", "b!", "c?", "e."]);
    assert_eq!(kept(&log), of(&[]));
    run(&log, 1, &["a", "e"]);
    assert_eq!(kept(&log), of(&[("a", 1), ("e", 1)]));
    log.close().unwrap();
}
