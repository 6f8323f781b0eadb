//! State that is rewritten so much that its tasks go on in new ledgers, which members ask the leader for.

use std::collections::{BTreeMap, BTreeSet};

use egret::{
    Blob, ComponentResult, Context, Emitter, KeyedBolt, LogSink, LogSpout, Topology,
    TopologyBuilder,
};
use egret_log::Log;
use egret_log::stream::{Record, StreamConfig};
use egret_schemas::LedgerId;
use egret_state::commit::TopologyRecord;

/// A count and what makes it heavy.
struct Heavy;

impl KeyedBolt<[u8], Blob, (Blob, u64)> for Heavy {
    type State = (u64, Blob);

    fn execute(
        &mut self,
        key: &[u8],
        (n, ballast): &mut (u64, Blob),
        _: Blob,
        out: &mut Emitter<(Blob, u64)>,
        _: &Context,
    ) -> ComponentResult {
        *n += 1;
        *ballast = Blob::from(vec![n.to_le_bytes()[0]; 1 << 20]);
        out.emit((Blob::from(key), *n));
        Ok(())
    }
}

pub(crate) fn topology() -> Topology {
    let mut t = TopologyBuilder::new("heavy");
    let keys = t.spout("keys", 3, LogSpout::<Blob>::from_stream("keys").bounded()).unwrap();
    let counts = keys.fields(|key| key.as_bytes()).keyed("count", 3, || Heavy).unwrap();
    counts.sink("out", LogSink::to_stream("counts").partitions(3)).unwrap();
    t.finish().unwrap()
}

/// As many records as make every task write several ledgers; how often each key comes.
pub(crate) fn write(log: &Log, records: u64) -> BTreeMap<Vec<u8>, u64> {
    let config = StreamConfig { partitions: 3, ..StreamConfig::default() };
    log.create_stream("keys", config).unwrap();
    write_more(log, 0..records);
    expected(records)
}

/// How often each key comes in so many records.
pub(crate) fn expected(records: u64) -> BTreeMap<Vec<u8>, u64> {
    let mut counts = BTreeMap::new();
    (0..records).for_each(|nth| *counts.entry(key(nth)).or_default() += 1);
    counts
}

fn key(nth: u64) -> Vec<u8> {
    format!("key {}", nth * nth % 37).into_bytes()
}

/// These records.
pub(crate) fn write_more(log: &Log, records: std::ops::Range<u64>) {
    for nth in records {
        let partition = u32::try_from(nth * nth % 37 % 3).unwrap();
        log.writer("keys", partition).unwrap().append_wait(&[Record::of(key(nth))]).unwrap();
    }
}

/// The state ledgers the topology has listed.
pub(crate) fn listed(log: &Log) -> BTreeSet<LedgerId> {
    let held = log.metadata().get("/topology/heavy").unwrap();
    held.map(|held| TopologyRecord::decode(&held.value).unwrap().state_ledgers).unwrap_or_default()
}
