//! Two streams with event time, united; whoever sees a tuple checks the watermarks it meets.

#![allow(dead_code, reason = "each test uses its part")]
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use egret::{
    Bolt, ComponentResult, Context, Emitter, EventTime, KeyedBolt, LogSink, LogSpout, Topology,
    TopologyBuilder, Tuple,
};
use egret_log::Log;
use egret_log::stream::{Format, ReadFrom, Record, StreamConfig};
use serde::{Deserialize, Serialize};

/// Partitions of each stream.
pub(crate) const PARTITIONS: u32 = 3;

/// How far tuples are out of order, in ms.
pub(crate) const BOUND_MS: u64 = 7;

/// An event, and the watermark it met on its way.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Event {
    pub(crate) key: u64,
    pub(crate) at_ms: i64,
    met_ms: Option<i64>,
}

impl Tuple for Event {}

/// Told every event: whether it fails.
pub(crate) type Trap = Arc<dyn Fn() -> ComponentResult + Send + Sync>;

struct Parse(Trap);

impl Bolt<String, Event> for Parse {
    fn execute(&mut self, line: String, out: &mut Emitter<Event>, cx: &Context) -> ComponentResult {
        (self.0)()?;
        let (key, at_ms) = line.split_once(' ').ok_or("not an event")?;
        let (key, at_ms) = (key.parse()?, at_ms.parse()?);
        out.emit(Event { key, at_ms, met_ms: cx.watermark() });
        Ok(())
    }
}

/// Counts events of a key, and refuses watermarks that cannot be.
struct Check;

/// Events, those that were late, and the watermark as of the last change.
type Seen = (u64, u64, Option<i64>);

impl KeyedBolt<u64, Event, (String, String)> for Check {
    type State = Seen;

    fn execute(
        &mut self,
        _: &u64,
        (count, late, last): &mut Seen,
        event: Event,
        _: &mut Emitter<(String, String)>,
        cx: &Context,
    ) -> ComponentResult {
        let now = cx.watermark();
        if now != event.met_ms {
            return Err(format!("here it is {now:?}, and upstream {:?}", event.met_ms).into());
        }
        if now < *last {
            return Err(format!("the watermark went back from {last:?} to {now:?}").into());
        }
        *count += 1;
        *late += u64::from(now.is_some_and(|now| event.at_ms < now));
        Ok(())
    }

    fn flush(
        &mut self,
        key: &u64,
        (count, late, last): &mut Seen,
        out: &mut Emitter<(String, String)>,
        cx: &Context,
    ) -> ComponentResult {
        *last = cx.watermark();
        let watermark = last.map_or_else(|| "none".to_owned(), |ms| ms.to_string());
        out.emit((key.to_string(), format!("{count} {late} {watermark}")));
        Ok(())
    }
}

pub(crate) fn time_of(line: &str) -> i64 {
    line.split_once(' ').map_or(0, |(_, at)| at.parse().unwrap_or_default())
}

/// Streams `a` and `b`, `tasks` of each component.
pub(crate) fn topology(tasks: u32, trap: &Trap) -> Topology {
    let mut t = TopologyBuilder::new("timed");
    let mut spout = |name: &str| {
        let lines = t.spout(name, tasks, LogSpout::<String>::from_stream(name).bounded()).unwrap();
        let config = EventTime { out_of_order_ms: BOUND_MS, ..EventTime::default() };
        lines.event_time_with(config, |line| time_of(line)).unwrap()
    };
    let (a, b) = (spout("a"), spout("b"));
    let trap = Arc::clone(trap);
    let events =
        a.union(&b).unwrap().shuffle().bolt("parse", tasks, move || Parse(Arc::clone(&trap)));
    let checked =
        events.unwrap().fields(|event| &event.key).keyed("check", tasks, || Check).unwrap();
    checked.sink("out", LogSink::to_stream("out").partitions(2)).unwrap();
    t.finish().unwrap()
}

pub(crate) fn calm() -> Trap {
    Arc::new(|| Ok(()))
}

/// Events of `from..to` ms, out of order by less than the bound within their partition.
pub(crate) fn events(from: i64, to: i64) -> Vec<(u64, i64)> {
    (from..to)
        .map(|i| {
            (
                (i * 7).rem_euclid(11).cast_unsigned(),
                i + [0, 3, -3]
                    [usize::from(i.rem_euclid(3) != 0) * (1 + usize::from(i.rem_euclid(3) == 2))],
            )
        })
        .collect()
}

/// Writes events by turns into every partition of a stream.
pub(crate) fn write(log: &Log, stream: &str, events: &[(u64, i64)]) {
    if log.stream(stream).is_err() {
        let config = StreamConfig {
            partitions: PARTITIONS,
            format: Format::Utf8,
            ..StreamConfig::default()
        };
        log.create_stream(stream, config).unwrap();
    }
    for (partition, part) in (0u32..).zip(by_partition(events)) {
        for records in part.chunks(20) {
            let records = records.iter().map(|(key, at)| Record::of(format!("{key} {at}")));
            let records: Vec<Record> = records.collect();
            log.writer_of(stream, partition, &Format::Utf8).unwrap().append_wait(&records).unwrap();
        }
    }
}

fn by_partition(events: &[(u64, i64)]) -> Vec<Vec<(u64, i64)>> {
    let mut parts = vec![Vec::new(); PARTITIONS as usize];
    for (i, event) in events.iter().enumerate() {
        // Runs of ten, so that neighbours in time are neighbours in a partition.
        parts[i / 10 % PARTITIONS as usize].push(*event);
    }
    parts
}

/// The watermark that all these events come to: of the partition furthest behind.
pub(crate) fn reference_watermark(streams: &[&[(u64, i64)]]) -> i64 {
    let parts = streams.iter().flat_map(|events| by_partition(events));
    let latest = parts.map(|part| part.iter().map(|(_, at)| *at).max().unwrap());
    latest.min().unwrap() - i64::try_from(BOUND_MS).unwrap()
}

pub(crate) fn reference_counts(streams: &[&[(u64, i64)]]) -> BTreeMap<u64, u64> {
    let mut counts = BTreeMap::new();
    for (key, _) in streams.iter().flat_map(|events| events.iter()) {
        *counts.entry(*key).or_default() += 1;
    }
    counts
}

/// The last count of each key, those that were late, and the highest watermark.
pub(crate) fn outcome(log: &Log) -> (BTreeMap<u64, u64>, u64, Option<i64>) {
    let mut last = BTreeMap::new();
    let mut highest = None;
    for record in records(log, "out") {
        let key: u64 = std::str::from_utf8(record.key.as_ref().unwrap()).unwrap().parse().unwrap();
        let value = std::str::from_utf8(&record.value).unwrap();
        let mut fields = value.split(' ');
        let mut number = || fields.next().unwrap().parse::<u64>().unwrap();
        last.insert(key, (number(), number()));
        highest = highest.max(fields.next().unwrap().parse().ok());
    }
    let late = last.values().map(|(_, late)| late).sum();
    (last.into_iter().map(|(key, (count, _))| (key, count)).collect(), late, highest)
}

/// Every record of a stream, by partition, in order.
pub(crate) fn records(log: &Log, stream: &str) -> Vec<Record> {
    let mut found = Vec::new();
    let config = log.stream(stream).unwrap().config;
    for partition in 0..config.partitions {
        let from = ReadFrom::Earliest;
        let mut reader = log.reader_of(stream, partition, from, &config.format).unwrap();
        while let Some(batch) = reader.next_wait(Duration::ZERO).unwrap() {
            found.extend(batch.records);
        }
    }
    found
}
