//! Carries out the requests of one client on a [`Log`], one after the other.
//!
//! What it keeps between requests only spares work: the writers and readers of the stream that was
//! asked for last. A request for another stream lets them go.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use egret_schemas::Position;
use egret_schemas::stream::{
    AppendedPart, Code, Failure, PartitionDescription, StreamDescription, StreamInfo, StreamReply,
    StreamRequest, StreamUser,
};

use super::append::Writers;
use super::below;
use super::failure::{Told, failure};
use super::read::Readers;
use crate::caps;
use crate::rpc::{Answer, Answered, Bell};
use crate::stream::{self, Format, Log, StreamConfig};

/// Carries out requests on a log.
#[derive(Debug)]
pub struct Answerer {
    log: Log,
    /// The stream that was appended to last, and its writers.
    writers: Option<Writers>,
    /// The stream that was read last, and its readers.
    readers: Option<Readers>,
    /// Rung when somebody needs the directory that this process has only for a command.
    lent: Option<Arc<Bell>>,
}

impl Answerer {
    /// For one client of this log.
    pub fn new(log: &Log) -> Answerer {
        Answerer { log: log.clone(), writers: None, readers: None, lent: None }
    }

    /// The same, which rings this when the directory is asked for.
    pub(super) fn lent(self, bell: Option<Arc<Bell>>) -> Answerer {
        Answerer { lent: bell, ..self }
    }

    fn carry_out(
        &mut self,
        request: StreamRequest,
        payload: &Bytes,
        bell: &Arc<Bell>,
    ) -> Result<Answered, Failure> {
        match request {
            StreamRequest::Hello { .. } => {
                Err(failure(Code::BadRequest, "hello is said once, before anything else"))
            }
            StreamRequest::CreateStream(new) => {
                let format: Format = new.format.parse().map_err(|e| failure(Code::Refused, e))?;
                let given = |n: u64| Some(n).filter(|n| *n > 0);
                let config = StreamConfig {
                    partitions: new.partitions,
                    format,
                    segment_bytes_max: given(new.segment_bytes_max).unwrap_or(caps::SEGMENT_BYTES),
                    transactional: None,
                    retention_ms: given(new.retention_ms),
                    retention_bytes: given(new.retention_bytes),
                };
                let info = self.log.create_stream(&new.name, config).map_err(|e| e.told())?;
                Ok(StreamReply::Stream(info_of(&info)).into())
            }
            StreamRequest::ListStreams { after, limit } => self.list(&after, limit),
            StreamRequest::DescribeStream { name } => {
                let description = self.log.describe(&name).map_err(|e| e.told())?;
                Ok(StreamReply::Description(description_of(&description)).into())
            }
            StreamRequest::Append(head) => {
                let writers = match self.writers.take() {
                    Some(writers) if writers.is_of(&head.stream) => writers,
                    _ => Writers::open(&self.log, &head.stream)?,
                };
                let (parts, failure) = self.writers.insert(writers).append(&head, payload)?;
                Ok(StreamReply::Appended { parts, failure }.into())
            }
            StreamRequest::Read(head) => {
                let readers = match self.readers.take() {
                    Some(readers) if readers.is_of(&head.stream) => readers,
                    _ => Readers::open(&self.log, &head.stream),
                };
                self.readers.insert(readers).read(&head, bell)
            }
            StreamRequest::Truncate { stream, partition, before, force } => {
                self.log.truncate(&stream, partition, before, force).map_err(|e| e.told())?;
                Ok(StreamReply::Done.into())
            }
            StreamRequest::DeleteStream { name, force } => {
                self.writers = None;
                self.readers = None;
                self.log.delete_stream(&name, force).map_err(|e| e.told())?;
                Ok(StreamReply::Done.into())
            }
            StreamRequest::Yield => match &self.lent {
                Some(bell) => {
                    bell.ring();
                    Ok(StreamReply::Done.into())
                }
                None => Err(failure(Code::Refused, "the holder of this directory keeps it")),
            },
            StreamRequest::Below(below) => below::answer(&self.log, below, payload),
        }
    }

    fn list(&self, after: &str, limit: u32) -> Result<Answered, Failure> {
        let limit = limit.clamp(1, caps::LIST_STREAMS_MAX) as usize;
        let mut all = self.log.streams().map_err(|e| e.told())?;
        all.sort_by(|a, b| a.name.cmp(&b.name));
        let behind = all.iter().filter(|info| *info.name > *after);
        let mut streams: Vec<StreamInfo> = behind.take(limit + 1).map(info_of).collect();
        let more = streams.len() > limit;
        streams.truncate(limit);
        Ok(StreamReply::Streams { streams, more }.into())
    }
}

impl Answer for Answerer {
    fn answer(&mut self, request: StreamRequest, payload: Bytes, bell: &Arc<Bell>) -> Answered {
        match self.carry_out(request, &payload, bell) {
            Ok(answered) => answered,
            Err(failure) => StreamReply::Failed(failure).into(),
        }
    }
}

fn info_of(info: &stream::StreamInfo) -> StreamInfo {
    StreamInfo {
        name: info.name.clone(),
        partitions: info.config.partitions,
        format: info.config.format.to_string(),
        segment_bytes_max: info.config.segment_bytes_max,
        owner: info.config.transactional.clone().unwrap_or_default(),
        retention_ms: info.config.retention_ms.unwrap_or(0),
        retention_bytes: info.config.retention_bytes.unwrap_or(0),
    }
}

fn description_of(description: &stream::StreamDescription) -> StreamDescription {
    StreamDescription {
        info: info_of(&description.info),
        partitions: description.partitions.iter().map(partition_of).collect(),
        users: users_of(&description.users),
    }
}

fn users_of(users: &stream::Users) -> Vec<StreamUser> {
    let consumer = |(user, needed): (&stream::User, &BTreeMap<u32, Position>)| StreamUser {
        topology: user.topology.clone(),
        component: user.component.clone(),
        writes: false,
        needed: needed.iter().map(|(partition, position)| (*partition, *position)).collect(),
    };
    let producer = |user: &stream::User| StreamUser {
        topology: user.topology.clone(),
        component: user.component.clone(),
        writes: true,
        needed: Vec::new(),
    };
    users.consumers.iter().map(consumer).chain(users.producers.iter().map(producer)).collect()
}

/// A sum of parts of one append.
pub(super) fn part(partition: u32, appended: stream::Appended) -> AppendedPart {
    AppendedPart {
        partition,
        first: appended.position,
        records: appended.records,
        duplicates: appended.duplicates,
    }
}

fn partition_of(partition: &stream::PartitionDescription) -> PartitionDescription {
    let segments = &partition.segments;
    let truncated = match segments.first() {
        Some(oldest) if oldest.id == partition.first.segment => partition.first.entry.0,
        _ => 0,
    };
    let entries: u64 = segments.iter().map(stream::SegmentDescription::entries).sum();
    PartitionDescription {
        partition: partition.number,
        segments: u32::try_from(segments.len()).unwrap_or(u32::MAX),
        entries: entries.saturating_sub(truncated),
        records: partition.records,
        first: partition.first,
        end: partition.end,
        term: partition.term,
        owner: partition.owner.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}
