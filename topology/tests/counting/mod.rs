//! A bolt that counts, and what it said: what the tests of topologies here share.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use egret::{Blob, ComponentResult, Context, Emitter, KeyedBolt};
use egret_log::stream::ReadFrom;
use egret_log::{Log, LogConfig};

/// Counts each key's tuples, and says how many there were with each commit in which some came.
pub(crate) struct Count;

impl KeyedBolt<[u8], Blob, (Blob, u64)> for Count {
    type State = u64;

    fn execute(
        &mut self,
        _: &[u8],
        n: &mut u64,
        _: Blob,
        _: &mut Emitter<(Blob, u64)>,
        _: &Context,
    ) -> ComponentResult {
        *n += 1;
        Ok(())
    }

    fn flush(
        &mut self,
        word: &[u8],
        n: &mut u64,
        out: &mut Emitter<(Blob, u64)>,
        _: &Context,
    ) -> ComponentResult {
        out.emit((Blob::from(word), *n));
        Ok(())
    }
}

pub(crate) fn open(dir: &Path) -> Log {
    Log::open(dir, LogConfig::default()).unwrap()
}

/// Every key and number in a stream, partition by partition, in order, as far as it may be read now.
pub(crate) fn rows(log: &Log, stream: &str) -> Vec<Vec<(Vec<u8>, u64)>> {
    let partitions = log.stream(stream).unwrap().config.partitions;
    let of = |partition| {
        let mut reader = log.reader(stream, partition, ReadFrom::Earliest).unwrap();
        let end = reader.end().unwrap();
        let mut rows = Vec::new();
        while let Some(batch) = reader.next_wait(Duration::ZERO).unwrap() {
            if batch.first >= end {
                break;
            }
            rows.extend(batch.records.into_iter().map(|record| {
                let number = std::str::from_utf8(&record.value).unwrap().parse().unwrap();
                (record.key.unwrap().to_vec(), number)
            }));
        }
        rows
    };
    (0..partitions).map(of).collect()
}

/// What was said of each key, in order; each is in one partition.
pub(crate) fn said(log: &Log, stream: &str) -> BTreeMap<Vec<u8>, Vec<u64>> {
    let mut said = BTreeMap::<_, Vec<u64>>::new();
    for (key, number) in rows(log, stream).into_iter().flatten() {
        said.entry(key).or_default().push(number);
    }
    said
}
