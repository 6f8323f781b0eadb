//! Tables that are at one commit when another is the newest: nothing older is gone to, and nothing older is handed over.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use egret_log::stream::{ReadFrom, Record, StreamConfig};
use egret_log::{Log, LogConfig};

use super::*;
use crate::runtime::{Announcer, Progress, RunOptions, newest_commit, stored_topology};
use crate::{
    Blob, ComponentResult, Context, Emitter, KeyedBolt, LogSink, LogSpout, TopologyBuilder,
};

struct Count;

impl KeyedBolt<[u8], Blob, (Blob, u64)> for Count {
    type State = u64;
    fn execute(
        &mut self,
        word: &[u8],
        n: &mut u64,
        _: Blob,
        out: &mut Emitter<(Blob, u64)>,
        _: &Context,
    ) -> ComponentResult {
        *n += 1;
        out.emit((Blob::from(word), *n));
        Ok(())
    }
}

fn topology() -> Topology {
    let mut builder = TopologyBuilder::new("count");
    let words = LogSpout::<Blob>::from_stream("words").bounded();
    let words = builder.spout("words", 1, words).unwrap().fields(|word: &Blob| &word[..]);
    let counted = words.keyed("count", 2, || Count).unwrap();
    counted.sink("out", LogSink::to_stream("counts").partitions(1)).unwrap();
    builder.finish().unwrap()
}

fn open(dir: &Path) -> Log {
    let log = Log::open(dir, LogConfig::default()).unwrap();
    let config = StreamConfig { partitions: 1, ..StreamConfig::default() };
    log.create_stream("words", config).unwrap();
    log
}

fn write(log: &Log, words: u64) {
    let records: Vec<_> = (0..words).map(|i| Record::of(format!("word {}", i % 7))).collect();
    log.writer("words", 0).unwrap().append_wait(&records).unwrap();
}

fn newest(log: &Log) -> CommitRecord {
    let (stored, _) = stored_topology(log, "count").unwrap().unwrap();
    newest_commit(log, &stored).unwrap().unwrap()
}

/// Counts so many words more; the commit it ends with.
fn run(log: &Log, words: u64) -> CommitRecord {
    write(log, words);
    topology().run(log, &RunOptions::default(), &Arc::<Progress>::default()).unwrap();
    newest(log)
}

/// Every bookie of a cluster knows an end of its own of a ledger that is written.
#[test]
fn a_commit_that_is_older_than_what_is_held_is_no_news() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let (topology, kept) = (topology(), RunOptions::default().keep());
    let (first, second) = (run(&log, 500), run(&log, 400));
    let mut tables = Tables::new(&topology, &kept, false);
    let env = topology.env(&log, &kept);
    assert!(tables.catch_up(&env, &second).unwrap());
    assert!(!tables.catch_up(&env, &first).unwrap());
    assert_eq!(tables.mark(), Some(Mark::of(&second)));
    drop(env);
    log.close().unwrap();
}

#[test]
fn tables_that_are_behind_are_brought_to_the_commit_before_they_are_handed_over() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    let (topology, options) = (topology(), RunOptions::default());
    let kept = options.keep();
    let first = run(&log, 500);
    let mut tables = Tables::new(&topology, &kept, false);
    assert!(tables.catch_up(&topology.env(&log, &kept), &first).unwrap());
    run(&log, 400);

    write(&log, 300);
    let (tell, told) = sync_channel(1);
    kept.stood_by(tables, Box::new(move |_, warm| tell.send(warm).unwrap()));
    let (announcer, progress) = (Announcer::new(&log, "count", options.silence()), Arc::default());
    topology.lead_announced(&log, &options, &progress, (&mut None, &kept), announcer).unwrap();
    assert_eq!(told.recv().unwrap(), (2, 2), "what came since is all that was read");
    assert_eq!((progress.tasks_kept(), progress.tasks_read()), (2, 0));
    let mut reader = log.reader("counts", 0, ReadFrom::Earliest).unwrap();
    let mut counts = BTreeMap::new();
    while let Some(batch) = reader.next_wait(Duration::ZERO).unwrap() {
        for record in batch.records {
            let n: u64 = std::str::from_utf8(&record.value).unwrap().parse().unwrap();
            let before = counts.insert(record.key.unwrap(), n);
            assert_eq!(before.unwrap_or_default() + 1, n);
        }
    }
    assert_eq!(counts.into_values().sum::<u64>(), 1200);
    drop(reader);
    log.close().unwrap();
}
