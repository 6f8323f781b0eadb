//! Readers that have much to catch up on: in rows, past damage it is an error, and nothing that is not
//! visible is asked for.

use std::sync::Arc;
use std::time::Duration;

use egret_schemas::{Epoch, Generation};

use super::*;
use crate::client::memory_bookie::MemoryBookie;
use crate::metadata::MemoryMeta;

fn world() -> (Arc<MemoryBookie>, Log) {
    let bookie = Arc::new(MemoryBookie::default());
    let log = Log::over(bookie.clone(), Arc::new(MemoryMeta::new())).unwrap();
    (bookie, log)
}

fn stream(log: &Log, transactional: Option<&str>, segment_bytes_max: u64) {
    let transactional = transactional.map(str::to_owned);
    let config = StreamConfig { segment_bytes_max, transactional, ..StreamConfig::default() };
    log.create_stream("s", config).unwrap();
}

/// What a reader finds from the start on, without waiting.
fn found(log: &Log) -> Vec<String> {
    let mut reader = log.reader("s", 0, ReadFrom::Earliest).unwrap();
    let mut found = Vec::new();
    while let Some(batch) = reader.next_wait(Duration::ZERO).unwrap() {
        found.extend(batch.records.iter().map(|r| String::from_utf8(r.value.to_vec()).unwrap()));
    }
    found
}

fn strings(range: std::ops::Range<u32>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

#[test]
fn history_is_read_in_rows_through_many_segments() {
    let (bookie, log) = world();
    stream(&log, None, 20_000);
    let writer = log.writer("s", 0).unwrap();
    for n in 0..3000 {
        writer.append_wait(&[Record::of(n.to_string())]).unwrap();
    }
    bookie.take_reads();
    assert_eq!(found(&log), strings(0..3000));
    let segments = log.describe("s").unwrap().partitions[0].segments.len();
    let reads = bookie.take_reads();
    assert!(segments > 2 && reads.rows < 5 * segments, "{segments} segments, {reads:?}");
    assert!(reads.alone < 2 * segments, "{segments} segments, {reads:?}");
}

#[test]
fn nothing_is_asked_for_that_was_not_published() {
    let (bookie, log) = world();
    stream(&log, Some("words"), 1 << 30);
    let (topology, component) = ("words".to_owned(), "sink".to_owned());
    let owner = Owner { topology, component, task: 0, generation: Generation(1) };
    let mut writer = log.transactional_writer("s", 0, &owner, None).unwrap();
    let mut at = Vec::new();
    for n in 0..200 {
        let (sender, receiver) = std::sync::mpsc::sync_channel(1);
        let epoch = Epoch::new(Generation(1), n, 0);
        let record = Record::of(n.to_string());
        writer.append(epoch, &[record], Box::new(move |done| drop(sender.send(done))));
        at.push(receiver.recv().unwrap().unwrap());
    }
    writer.publish(at[149]).unwrap();
    bookie.take_reads();
    assert_eq!(found(&log), strings(0..150));
    let reads = bookie.take_reads();
    assert_eq!(reads.highest, Some(at[149].1));
    assert!(reads.rows + reads.alone < 10, "{reads:?}");
}

/// A row must not carry a reader over an entry that is gone, nor keep it from what stands before.
#[test]
fn a_reader_comes_to_a_damaged_entry_and_not_past_it() {
    let (bookie, log) = world();
    stream(&log, None, 1 << 30);
    let writer = log.writer("s", 0).unwrap();
    let append = |n: u32| writer.append_wait(&[Record::of(n.to_string())]).unwrap().position;
    let at: Vec<_> = (0..100).map(append).collect();
    let ledger = log.describe("s").unwrap().partitions[0].segments[0].ledger;
    bookie.flip(ledger, at[60].entry);
    let mut reader = log.reader("s", 0, ReadFrom::Earliest).unwrap();
    for n in 0..60u32 {
        let batch = reader.next_wait(Duration::ZERO).unwrap().unwrap();
        assert_eq!(batch.records, [Record::of(n.to_string())]);
    }
    for _ in 0..2 {
        let error = reader.next_wait(Duration::ZERO).unwrap_err();
        assert!(error.to_string().contains("checksum"), "{error}");
        assert_eq!(reader.position(), at[60], "it stays where it is");
    }
}
