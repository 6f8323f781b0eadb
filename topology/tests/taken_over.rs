//! Two runs of one topology: the later one has it, the earlier one stops and says so.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use egret::{Blob, Error, LogSink, LogSpout, Progress, RunOptions, Topology, TopologyBuilder};
use egret_log::ledger::{CloseAt, LedgerKind, metadata_codec};
use egret_log::metadata::Op;
use egret_log::stream::{ReadFrom, Record, StreamConfig};
use egret_log::{Log, LogConfig, clock};
use egret_schemas::{Generation, Term};
use egret_state::commit::{Claimant, TopologyRecord};

fn topology() -> Topology {
    let mut t = TopologyBuilder::new("copy");
    let lines = t.spout("lines", 1, LogSpout::<Blob>::from_stream("lines")).unwrap();
    lines.sink("copies", LogSink::to_stream("copies").partitions(1)).unwrap();
    t.finish().unwrap()
}

/// The records of `copies`, once there are so many.
fn copies(log: &Log, records: usize) -> Vec<Vec<u8>> {
    let until = clock::now() + Duration::from_secs(60);
    while log.stream("copies").is_err() {
        assert!(clock::now() < until, "the topology does not begin");
        thread::yield_now();
    }
    let mut found = Vec::new();
    let mut reader = log.reader("copies", 0, ReadFrom::Earliest).unwrap();
    while found.len() < records {
        let batch = reader.next_wait(Duration::from_secs(60)).unwrap().expect("they come");
        found.extend(batch.records.into_iter().map(|record| record.value.to_vec()));
    }
    found
}

#[test]
fn who_was_taken_over_stops_and_does_not_take_the_topology_back() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogConfig::default()).unwrap();
    log.create_stream("lines", StreamConfig { partitions: 1, ..StreamConfig::default() }).unwrap();
    let lines = log.writer("lines", 0).unwrap();
    lines.append_wait(&[Record::of("a")]).unwrap();

    let options = RunOptions { commit_ms: 5, ..RunOptions::default() };
    let start = |progress: &Arc<Progress>| {
        let (log, options, progress) = (log.clone(), options.clone(), Arc::clone(progress));
        thread::spawn(move || topology().run(&log, &options, &progress))
    };
    let (first, second) = (Arc::default(), Arc::default());
    let earlier = start(&first);
    assert_eq!(copies(&log, 1), [b"a"]);
    let later = start(&second);
    let until = clock::now() + Duration::from_secs(60);
    while second.generation() < 2 {
        assert!(clock::now() < until, "the second one does not begin");
        thread::yield_now();
    }
    lines.append_wait(&[Record::of("b")]).unwrap();
    let ended = earlier.join().unwrap().unwrap_err();
    assert!(matches!(&ended, Error::TakenOver { topology } if topology == "copy"), "{ended}");
    assert!(ended.to_string().contains("taken over by another process: this one stops"));
    assert_eq!(copies(&log, 2), [b"a", b"b"], "each once");
    second.stop();
    assert_eq!(later.join().unwrap().unwrap().restarts, 0, "nobody took it back");
    log.close().unwrap();
}

/// A kill between the two steps of a deletion left a ledger that was listed, could not be closed, and kept
/// the topology from ever starting again.
#[test]
fn ledgers_whose_deletion_was_interrupted_are_not_in_the_way() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogConfig::default()).unwrap();
    log.create_stream("lines", StreamConfig { partitions: 1, ..StreamConfig::default() }).unwrap();
    log.writer("lines", 0).unwrap().append_wait(&[Record::of("a b a")]).unwrap();
    let run = || {
        let mut t = TopologyBuilder::new("words");
        let lines = t.spout("lines", 1, LogSpout::<Blob>::from_stream("lines").bounded()).unwrap();
        lines.sink("copies", LogSink::to_stream("copies").partitions(1)).unwrap();
        t.finish().unwrap().run(&log, &RunOptions::default(), &Arc::default())
    };
    run().unwrap();
    let meta = log.metadata();
    let held = meta.get("/topology/words").unwrap().unwrap();
    let record = TopologyRecord::decode(&held.value).unwrap();
    // One more is listed and marked, as a trim that was killed leaves it; no bookie was told.
    let extra = log.ledgers().reserve().unwrap();
    let listed = record.list(record.claimant.next(), None, [extra]).unwrap();
    meta.txn(&[], &[Op::Put("/topology/words".to_owned(), listed.encode())]).unwrap();
    let writer = log.ledgers().create(extra, LedgerKind::Plain, Term(1)).unwrap();
    writer.append_wait("x".into()).unwrap();
    log.ledgers().recover(extra, Term(2), CloseAt::End).unwrap();
    let key = meta.list("/ledgers/").unwrap().entries;
    let (key, held) = key.into_iter().find(|(key, _)| key.ends_with(&extra.0.to_string())).unwrap();
    let proposal = log.ledgers().proposal();
    let marked = metadata_codec::decode(&held.value).unwrap().start_delete(proposal).unwrap();
    meta.txn(&[], &[Op::Put(key, metadata_codec::encode(&marked))]).unwrap();

    run().unwrap();
    assert_eq!(copies(&log, 1), [b"a b a"]);
    log.close().unwrap();
}

/// "L5:11 was not acknowledged: fenced" and "partition 0 of `lines` was taken over" were all a run said whose
/// place another one had taken.
#[test]
fn who_lost_a_partition_while_it_loaded_knows_that_it_was_taken_over() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), LogConfig::default()).unwrap();
    log.create_stream("lines", StreamConfig { partitions: 1, ..StreamConfig::default() }).unwrap();
    let earlier = log.writer("lines", 0).unwrap();
    earlier.append_wait(&[Record::of("a")]).unwrap();
    let other = Log::on(log.ledgers().clone()).unwrap();
    other.writer("lines", 0).unwrap().append_wait(&[Record::of("b")]).unwrap();
    let error = earlier.append_wait(&[Record::of("c")]).unwrap_err();
    assert!(egret::is_taken_over(&error), "{error}");
    assert_eq!(egret::exit_code(&error), std::process::ExitCode::from(1));
    other.close().unwrap();
    log.close().unwrap();
}

/// Whoever runs a topology that has nothing to do heard of no takeover and of no deletion, went on saying that it
/// ran it, and after a deletion began it anew.
#[test]
fn who_has_nothing_to_do_hears_that_it_was_shut_out_or_that_its_topology_is_gone() {
    let change = |log: &Log, record: &TopologyRecord, how: u8| {
        let key = "/topology/copy".to_owned();
        let by = Claimant { process: record.claimant.process ^ 1, operation: 1 };
        let next = TopologyRecord { claimant: by, ..record.clone() };
        let op = match how {
            0 => Op::Put(key, TopologyRecord { generation: Generation(2), ..next }.encode()),
            1 => Op::Put(key, next.doomed(by).unwrap().encode()),
            _ => Op::Delete(key),
        };
        log.metadata().txn(&[], &[op]).unwrap();
    };
    for how in 0..3 {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path(), LogConfig::default()).unwrap();
        let config = StreamConfig { partitions: 1, ..StreamConfig::default() };
        log.create_stream("lines", config).unwrap();
        log.writer("lines", 0).unwrap().append_wait(&[Record::of("a")]).unwrap();
        let running = log.clone();
        let options = RunOptions { commit_ms: 5, silence_ms: 200, ..RunOptions::default() };
        let run = thread::spawn(move || topology().run(&running, &options, &Arc::default()));
        assert_eq!(copies(&log, 1), [b"a"]);
        let held = || log.metadata().get("/topology/copy").unwrap();
        let record = TopologyRecord::decode(&held().unwrap().value).unwrap();
        change(&log, &record, how);
        let before = held();
        let until = clock::now() + Duration::from_secs(60);
        while !run.is_finished() {
            assert!(clock::now() < until, "{how}: it does not hear of it");
            thread::park_timeout(Duration::from_millis(5));
        }
        let ended = run.join().unwrap().unwrap_err();
        assert!(matches!(&ended, Error::TakenOver { topology } if topology == "copy"), "{ended}");
        assert_eq!(held(), before, "{how}: it was begun anew");
        log.close().unwrap();
    }
}
