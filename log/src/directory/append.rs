//! Records to partitions, and what became of them.
//!
//! A record goes to the partition that was named; else to that of its key; else, numbered by a
//! producer, to that of its number, so that the same input finds its own duplicates again; else round
//! and round. The partitions of one request are appended to at the same time: they share the journal's
//! sync.

use std::collections::BTreeMap;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use bytes::Bytes;
use egret_schemas::bytes::Reader;
use egret_schemas::key;
use egret_schemas::records::RecordRef;
use egret_schemas::stream::{AppendHead, AppendedPart, Code, Failure, Outcome, Route};

use super::answerer::part;
use super::failure::{Told, failure};
use crate::stream::error::AppendError;
use crate::stream::{Log, PartitionWriter, Producer, Record};
use crate::{caps, clock};

/// The writers of one stream.
#[derive(Debug)]
pub(super) struct Writers {
    log: Log,
    stream: String,
    partitions: u32,
    open: BTreeMap<u32, PartitionWriter>,
    /// Where the next record without a key goes.
    round: u64,
}

/// What is durable, and why the rest is not.
type Parts = (Vec<AppendedPart>, Option<Failure>);

impl Writers {
    /// Of a stream that must be there; its partitions are opened when something is appended to them.
    pub(super) fn open(log: &Log, stream: &str) -> Result<Writers, Failure> {
        let info = log.stream(stream).map_err(|e| e.told())?;
        if let Some(owner) = &info.config.transactional {
            let message = format!("stream `{stream}` is written by topology `{owner}` alone");
            return Err(failure(Code::Refused, message));
        }
        Ok(Writers {
            log: log.clone(),
            stream: stream.to_owned(),
            partitions: info.config.partitions,
            open: BTreeMap::new(),
            // Many short appends, each of its own process, spread like one long one.
            round: key::hash(&clock::wall_ms().to_le_bytes()) >> 1,
        })
    }

    /// Whether these are the writers of this stream.
    pub(super) fn is_of(&self, stream: &str) -> bool {
        self.stream == stream
    }

    /// Appends the payload's records, and waits until each partition said what became of its own. An
    /// error is definite: nothing was appended.
    pub(super) fn append(&mut self, head: &AppendHead, payload: &Bytes) -> Result<Parts, Failure> {
        let by_partition = self.route(head, payload)?;
        let mut writers = Vec::with_capacity(by_partition.len());
        for (partition, records) in by_partition {
            writers.push((partition, self.writer(partition)?, records));
        }
        let producer = (!head.producer.is_empty()).then(|| Producer {
            name: Bytes::copy_from_slice(&head.producer),
            note: Bytes::copy_from_slice(&head.note),
        });
        let (mut parts, mut first_failure) = (Vec::new(), None);
        for (partition, result) in send(writers, producer.as_ref()) {
            match result {
                Ok(appended) => parts.push(appended),
                Err(failure) => {
                    // Opened again, it may be whole again; and what is unknown outweighs what is not.
                    self.open.remove(&partition);
                    let worse = failure.outcome == Outcome::Unknown;
                    if worse || first_failure.is_none() {
                        first_failure = Some(failure);
                    }
                }
            }
        }
        Ok((parts, first_failure))
    }

    fn route(
        &mut self,
        head: &AppendHead,
        payload: &Bytes,
    ) -> Result<BTreeMap<u32, Vec<Record>>, Failure> {
        let odd = |why: &dyn ToString| {
            let mut failure = failure(Code::BadRequest, why.to_string());
            failure.hint = "use the same release of egret on both sides".to_owned();
            failure
        };
        let mut reader = Reader::new(payload);
        let mut by_partition: BTreeMap<u32, Vec<Record>> = BTreeMap::new();
        for _ in 0..head.records {
            let record = RecordRef::take(&mut reader).map_err(|e| odd(&e))?;
            let partition = match (head.route, record.key, record.sequence) {
                (Route::Partition(partition), _, _) => partition,
                (Route::ByKey, Some(key), _) => key::partition(key::hash(key), self.partitions),
                (Route::ByKey, None, Some(sequence)) => self.turn(sequence),
                (Route::ByKey, None, None) => {
                    self.round += 1;
                    self.turn(self.round)
                }
            };
            by_partition.entry(partition).or_default().push(owned(payload, record));
        }
        reader.end("payload").map_err(|e| odd(&e))?;
        Ok(by_partition)
    }

    fn turn(&self, number: u64) -> u32 {
        u32::try_from(number % u64::from(self.partitions)).expect("below the partition count")
    }

    fn writer(&mut self, partition: u32) -> Result<PartitionWriter, Failure> {
        if let Some(writer) = self.open.get(&partition) {
            return Ok(writer.clone());
        }
        let writer = self.log.writer_of_any(&self.stream, partition).map_err(|e| e.told())?;
        self.open.insert(partition, writer.clone());
        Ok(writer)
    }
}

/// A record that shares the payload's memory.
fn owned(payload: &Bytes, record: RecordRef<'_>) -> Record {
    Record {
        key: record.key.map(|key| payload.slice_ref(key)),
        value: payload.slice_ref(record.value),
        event_time_ms: record.event_time_ms,
        sequence: record.sequence,
    }
}

type Sent = Vec<(u32, PartitionWriter, Vec<Record>)>;

/// Appends to all at once, and collects what became of each.
fn send(writers: Sent, producer: Option<&Producer>) -> Vec<(u32, Result<AppendedPart, Failure>)> {
    let one = |partition, result: Result<_, AppendError>| {
        (partition, result.map(|appended| part(partition, appended)).map_err(|e| e.told()))
    };
    // One alone is written and synced on this very thread.
    if let [(partition, writer, records)] = &writers[..] {
        let result = match producer {
            Some(producer) => writer.append_as_wait(producer, records),
            None => writer.append_wait(records),
        };
        return vec![one(*partition, result)];
    }
    let (done, results) = sync_channel(writers.len());
    let mut waiting: Vec<u32> = writers.iter().map(|(partition, ..)| *partition).collect();
    for (partition, writer, records) in writers {
        let done = done.clone();
        // There is room for one result of each: this does not wait.
        let told = Box::new(move |result| drop(done.try_send((partition, result))));
        match producer {
            Some(producer) => writer.append_as(producer, &records, told),
            None => writer.append(&records, told),
        }
    }
    drop(done);
    let deadline = clock::now() + Duration::from_millis(caps::REPLY_WAIT_MS / 2);
    let mut all = Vec::new();
    while !waiting.is_empty() {
        let left = deadline.saturating_duration_since(clock::now());
        let Ok((partition, result)) = results.recv_timeout(left) else { break };
        waiting.retain(|waiting| *waiting != partition);
        all.push(one(partition, result));
    }
    all.extend(waiting.into_iter().map(|partition| (partition, Err(late(partition)))));
    all
}

fn late(partition: u32) -> Failure {
    let message = format!("partition {partition} did not confirm in time");
    Failure { outcome: Outcome::Unknown, ..failure(Code::Internal, message) }
}
