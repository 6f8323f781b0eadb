//! Streams some of whose entries are lost, as somebody accepted: what is left is read, and they go on.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use egret_schemas::EntryId;

use super::*;
use crate::client::loss::{Decision, accept};
use crate::client::memory_bookie::MemoryBookie;
use crate::metadata::MemoryMeta;

/// A stream of six entries in one closed segment, of which these are lost.
fn without(entries: &[u64]) -> Log {
    let bookie = Arc::new(MemoryBookie::default());
    let meta = Arc::new(MemoryMeta::new());
    let log = Log::over(bookie.clone(), meta.clone()).unwrap();
    log.create_stream("s", StreamConfig::default()).unwrap();
    let writer = log.writer("s", 0).unwrap();
    for n in 0..6 {
        writer.append_wait(&[Record::of(n.to_string())]).unwrap();
    }
    writer.close();
    let ledger = log.describe_partition("s", 0).unwrap().segments[0].ledger;
    entries.iter().for_each(|&entry| bookie.lose(ledger, EntryId(entry)));
    let (by, reason) = ("ann".to_owned(), "burnt".to_owned());
    let decision = Decision { gone: BTreeSet::new(), by, reason };
    accept(log.ledgers(), ledger, decision, |_| {}).unwrap();
    // Another process.
    Log::over(bookie, meta).unwrap()
}

/// What is read from a position on, and the error that ends it.
fn from(log: &Log, from: ReadFrom) -> (Vec<String>, Option<String>) {
    let mut reader = log.reader("s", 0, from).unwrap();
    let mut found = Vec::new();
    loop {
        match reader.next_wait(Duration::ZERO) {
            Ok(None) => return (found, None),
            Ok(Some(batch)) => {
                let text = |r: &Record| String::from_utf8(r.value.to_vec()).unwrap();
                found.extend(batch.records.iter().map(text));
            }
            Err(why) => return (found, Some(why.to_string())),
        }
    }
}

/// Once, a partition whose newest segment had lost entries took no appends any more.
#[test]
fn a_partition_goes_on_behind_what_is_lost() {
    for lost in [&[2][..], &[5], &[0, 5], &[0, 1, 2, 3, 4, 5]] {
        let log = without(lost);
        let writer = log.writer("s", 0).unwrap();
        writer.append_wait(&[Record::of("new")]).unwrap();
        let (_, why) = from(&log, ReadFrom::Earliest);
        let why = why.expect("a reader is told");
        assert!(why.contains("an operator accepted that"), "{why}");
        let behind = "S1:6:0".parse().unwrap();
        assert_eq!(from(&log, ReadFrom::At(behind)), (vec!["new".to_owned()], None), "{lost:?}");
        let described = log.describe_partition("s", 0).unwrap();
        assert_eq!(described.segments.len(), 2, "{described:?}");
    }
}

#[test]
fn what_stands_before_and_behind_a_loss_is_read() {
    let log = without(&[2, 3]);
    let (found, why) = from(&log, ReadFrom::Earliest);
    assert_eq!(found, ["0", "1"]);
    let why = why.unwrap();
    assert!(why.ends_with("(`egret ledger losses` says who and why); go on at S1:4:0"), "{why}");
    let (found, why) = from(&log, ReadFrom::At("S1:4:0".parse().unwrap()));
    assert_eq!((found, why), (vec!["4".to_owned(), "5".to_owned()], None));
    for ms in [0, u64::MAX] {
        log.reader("s", 0, ReadFrom::Time(ms)).unwrap();
    }
}
