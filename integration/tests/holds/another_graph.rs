//! **The same name with another graph is refused, and components are known by their names**: what is added, gone
//! and changed is said, nothing is written, and the old graph goes on. The order in which components are wired,
//! and how many tasks each has, is no part of the graph.
//!
//! Control: under a name of its own the other graph must run, so it is refused for nothing but the name.

use std::sync::Arc;

use egret::{
    Blob, Emitter, Error, LogSink, LogSpout, Progress, RunOptions, Topology, TopologyBuilder,
};
use egret_log::stream::{ReadFrom, Record, StreamConfig};
use egret_log::{Log, LogConfig};
use egret_state::commit::RecoveryError;

/// Copies of `lines`, by way of as many bolts as there are names, into the streams of the same number.
fn copies(name: &str, bolts: &[&str], tasks: u32) -> Topology {
    let mut t = TopologyBuilder::new(name);
    let lines = t.spout("lines", tasks, LogSpout::<Blob>::from_stream("lines").bounded()).unwrap();
    for bolt in bolts {
        let copied = lines
            .shuffle()
            .bolt(bolt, tasks, || |line: Blob, out: &mut Emitter<Blob>| out.emit(line));
        let stream = format!("{name}-{bolt}");
        let sink = LogSink::to_stream(&stream).partitions(1);
        copied.unwrap().sink(&format!("out-{bolt}"), sink).unwrap();
    }
    t.finish().unwrap()
}

/// What a stream has.
fn read(log: &Log, stream: &str) -> Vec<String> {
    let mut reader = log.reader(stream, 0, ReadFrom::Earliest).unwrap();
    let mut found = Vec::new();
    while let Some(batch) = reader.next_wait(std::time::Duration::ZERO).unwrap() {
        let text = |record: Record| String::from_utf8(record.value.to_vec()).unwrap();
        found.extend(batch.records.into_iter().map(text));
    }
    found.sort();
    found
}

fn append(log: &Log, line: &str) {
    log.writer("lines", 0).unwrap().append_wait(&[Record::of(line.to_owned())]).unwrap();
}

fn run(log: &Log, topology: &Topology) -> Result<egret::Summary, Error> {
    topology.run(log, &RunOptions::default(), &Arc::<Progress>::default())
}

#[test]
fn another_graph_is_refused_in_words_and_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogConfig::default()).unwrap();
    log.create_stream("lines", StreamConfig { partitions: 1, ..StreamConfig::default() }).unwrap();
    append(&log, "1");
    run(&log, &copies("copy", &["a", "b"], 1)).unwrap();
    append(&log, "2");
    let everything = || {
        let found = log.metadata().list("/topology/").unwrap();
        found.into_iter().map(|(key, held)| (key, held.revision)).collect::<Vec<_>>()
    };
    let before = everything();
    let streams = log.streams().unwrap().len();

    for (bolts, gone, new) in [
        (&["a", "c"][..], vec!["b", "out-b"], vec!["c", "out-c"]),
        (&["a"][..], vec!["b", "out-b"], vec![]),
        (&["a", "b", "c"][..], vec![], vec!["c", "out-c"]),
    ] {
        let error = run(&log, &copies("copy", bolts, 1)).unwrap_err();
        let text = error.to_string();
        let Error::Recovery(why) = error else { panic!("{text}") };
        let RecoveryError::Graph { added, removed, .. } = *why else { panic!("{text}") };
        assert_eq!(added.into_iter().collect::<Vec<_>>(), new, "{text}");
        assert_eq!(removed.into_iter().collect::<Vec<_>>(), gone, "{text}");
        assert_eq!(everything(), before, "nothing is claimed");
    }
    assert!(log.streams().unwrap().len() <= streams + 1, "at most the refused output's stream");
    assert_eq!(read(&log, "copy-a"), ["1"]);

    // The old one goes on; wired in another order, with other numbers of tasks.
    assert_eq!(run(&log, &copies("copy", &["b", "a"], 3)).unwrap().tuples, 1);
    for stream in ["copy-a", "copy-b"] {
        assert_eq!(read(&log, stream), ["1", "2"]);
    }
    log.close().unwrap();
}

#[test]
fn control_the_other_graph_runs_under_a_name_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogConfig::default()).unwrap();
    log.create_stream("lines", StreamConfig { partitions: 1, ..StreamConfig::default() }).unwrap();
    append(&log, "1");
    run(&log, &copies("copy", &["a", "b"], 1)).unwrap();
    run(&log, &copies("other", &["a", "c"], 1)).unwrap();
    assert_eq!(read(&log, "other-c"), ["1"]);
    log.close().unwrap();
}
