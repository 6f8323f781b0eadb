//! A topology that counts words, to be asked about by the `egret` command.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use egret::{
    Blob, ComponentResult, Context, Emitter, KeyedBolt, LogSink, LogSpout, Progress, RunOptions,
    Topology, TopologyBuilder,
};
use egret_log::stream::{ReadFrom, Record, StreamConfig};
use egret_log::{Log, LogConfig};

/// Counts each word, and tells each count.
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

/// `words`: from the stream `lines` to `counts`, until there is no more if it is `bounded`.
pub(crate) fn topology(bounded: bool) -> Topology {
    let mut t = TopologyBuilder::new("words");
    let spout = LogSpout::<Blob>::from_stream("lines");
    let lines = t.spout("lines", 1, if bounded { spout.bounded() } else { spout }).unwrap();
    let counts = lines.fields(|w| w.as_bytes()).keyed("count", 1, || Count).unwrap();
    counts.sink("out", LogSink::to_stream("counts").partitions(1)).unwrap();
    t.finish().unwrap()
}

/// Holds the directory, for others, too.
pub(crate) fn open(dir: &Path) -> Log {
    Log::open(dir, LogConfig { serve: true, ..LogConfig::default() }).unwrap()
}

/// Appends words to `lines`, which is made if need be.
pub(crate) fn write(log: &Log, words: &[&str]) {
    if log.stream("lines").is_err() {
        log.create_stream("lines", StreamConfig::default()).unwrap();
    }
    for word in words {
        let word = Record::of(Blob::from(*word).as_bytes().to_vec());
        log.writer("lines", 0).unwrap().append_wait(&[word]).unwrap();
    }
}

/// Runs the topology over what there is.
pub(crate) fn run(dir: &Path, words: &[&str]) {
    let log = open(dir);
    write(&log, words);
    let options = RunOptions { commit_ms: 5, ..RunOptions::default() };
    topology(true).run(&log, &options, &Arc::new(Progress::default())).unwrap();
    log.close().unwrap();
}

/// Every count written, in order.
pub(crate) fn counts(log: &Log) -> Vec<String> {
    let mut reader = log.reader("counts", 0, ReadFrom::Earliest).unwrap();
    let mut all = Vec::new();
    while let Some(batch) = reader.next_wait(Duration::ZERO).unwrap() {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let row = |r: &Record| format!("{}{}", text(r.key.as_ref().unwrap()), text(&r.value));
        all.extend(batch.records.iter().map(row));
    }
    all
}
