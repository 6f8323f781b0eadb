//! What the holder of a data directory answers.

use super::HeaderError;
use super::below::{Values, fill_values, take_values};
use super::place::{read_position, write_position};
use crate::epoch::Epoch;
use crate::generated::stream_capnp::{
    Code as WireCode, Outcome as WireOutcome, appended_part, batch_info, failure, needed, next,
    partition_description, reply, stream_info, stream_user,
};
use crate::ids::{EntryId, Incarnation, Position, Term};
use crate::mirrored::mirrored;
use crate::segment::{self, collect, count, halves, text, whole};

/// A reply; records travel in the payload behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamReply {
    /// It was not done, or may not have been.
    Failed(Failure),
    /// The answer to a good hello.
    Hello {
        /// What the holder speaks.
        version: u16,
        /// The directory it holds.
        incarnation: Incarnation,
        /// Its process.
        pid: u32,
        /// The largest payload it takes and sends.
        payload_bytes_max: u32,
    },
    /// Truncated, or deleted.
    Done,
    /// Created.
    Stream(StreamInfo),
    /// Some streams, in the order of their names.
    Streams {
        /// The streams.
        streams: Vec<StreamInfo>,
        /// Whether there are more behind the last.
        more: bool,
    },
    /// A stream and its partitions.
    Description(StreamDescription),
    /// What became durable.
    Appended {
        /// One for each partition that took records.
        parts: Vec<AppendedPart>,
        /// Why the rest is not durable, if it is not.
        failure: Option<Failure>,
    },
    /// What was read; the records stand in the payload, batch after batch.
    Batches {
        /// The batches, perhaps none.
        batches: Vec<BatchInfo>,
        /// One for each place asked for, in their order.
        next: Vec<Next>,
    },
    /// Values of metadata; they stand in the payload.
    Values(Values),
    /// Written at this revision; `None`: something compared did not hold.
    Written(Option<u64>),
    /// An entry; its bytes are the payload.
    Entry,
    /// The last entry of a ledger that may be read.
    End(Option<EntryId>),
}

/// A stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamInfo {
    /// Its name.
    pub name: String,
    /// How many partitions it has.
    pub partitions: u32,
    /// The payload format it declares.
    pub format: String,
    /// Bytes after which a segment rolls.
    pub segment_bytes_max: u64,
    /// The topology that alone may write it; empty when anybody may.
    pub owner: String,
    /// What was appended longer ago is forgotten; 0: nothing is.
    pub retention_ms: u64,
    /// The oldest beyond so many bytes of each partition is forgotten; 0: nothing is.
    pub retention_bytes: u64,
}

/// A stream and its partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamDescription {
    /// The stream.
    pub info: StreamInfo,
    /// Its partitions, in order.
    pub partitions: Vec<PartitionDescription>,
    /// The components of topologies that use it: who reads, then who writes.
    pub users: Vec<StreamUser>,
}

/// A component of a topology that uses a stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamUser {
    /// The topology.
    pub topology: String,
    /// The component of it.
    pub component: String,
    /// Whether it writes the stream and keeps state that belongs to it; otherwise it reads it.
    pub writes: bool,
    /// From where on a reader may yet read each partition again.
    pub needed: Vec<(u32, Position)>,
}

/// One partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionDescription {
    /// Its number.
    pub partition: u32,
    /// How many segments it has.
    pub segments: u32,
    /// How many entries readers may see.
    pub entries: u64,
    /// How many records readers may see.
    pub records: u64,
    /// The first position not truncated.
    pub first: Position,
    /// Behind the last position readers may see.
    pub end: Position,
    /// The term of its last owner.
    pub term: Term,
    /// The task that writes it; empty when nobody or anybody does.
    pub owner: String,
}

/// What one partition took of an append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendedPart {
    /// The partition.
    pub partition: u32,
    /// Where the first record stands.
    pub first: Position,
    /// How many became durable.
    pub records: u32,
    /// How many were there already.
    pub duplicates: u32,
}

/// One batch of a read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BatchInfo {
    /// The partition it stands in.
    pub partition: u32,
    /// Where its first record stands; the others follow slot by slot.
    pub first: Position,
    /// How many records it has.
    pub records: u32,
    /// The epoch of a topology that wrote it, 0 when none did.
    pub epoch: Epoch,
    /// The number of its first record in the partition.
    pub first_number: u64,
}

/// How far a read came in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Next {
    /// The partition.
    pub partition: u32,
    /// Where to read on.
    pub next: Position,
    /// Behind the last position readers may see, as it was when this was answered.
    pub end: Position,
}

/// Why a request was not done, or may not have been.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}{}{hint}", if hint.is_empty() { "" } else { ": " })]
pub struct Failure {
    /// What kind of failure, for programs.
    pub code: Code,
    /// What was wrong.
    pub message: String,
    /// What to do about it; may be empty.
    pub hint: String,
    /// Whether it may have been done all the same.
    pub outcome: Outcome,
    /// With [`Code::Truncated`]: the first position there is.
    pub position: Option<Position>,
    /// With [`Code::Overloaded`]: when to try again, in milliseconds.
    pub retry_after_ms: u32,
}

mirrored! {
    /// Whether something that was not confirmed may have been done.
    Outcome = WireOutcome {
        /// Nothing was done.
        Definite,
        /// It may have been done.
        Unknown,
    }
}

mirrored! {
    /// What kind of failure it is.
    Code = WireCode {
        /// Told by the message alone.
        Internal,
        /// The request does not decode, or is out of order.
        BadRequest,
        /// The two sides speak different versions.
        Version,
        /// This is another directory than the client knew.
        Incarnation,
        /// No stream has this name.
        NoStream,
        /// The stream has no such partition.
        NoPartition,
        /// A stream of this name exists.
        Exists,
        /// No stream may have this name.
        BadName,
        /// Not allowed: another format, a stream of a topology.
        Refused,
        /// What was asked for was truncated.
        Truncated,
        /// A record or payload over the limit.
        TooLarge,
        /// Too much is waiting.
        Overloaded,
        /// The disk is nearly full; reads go on.
        DiskFull,
        /// The medium returned something else than was written.
        Damaged,
        /// A newer owner took the partition over.
        Fenced,
        /// The holder is going away.
        Closing,
    }
}

impl StreamReply {
    /// One segment of Cap'n Proto.
    pub fn encode(&self) -> Vec<u8> {
        segment::encode::<reply::Owned>(|root| self.fill(root))
    }

    /// From one segment of Cap'n Proto.
    pub fn decode(bytes: &[u8]) -> Result<StreamReply, HeaderError> {
        segment::decode::<reply::Owned, _>(bytes, StreamReply::take)
    }

    fn fill(&self, mut root: reply::Builder<'_>) {
        match self {
            StreamReply::Failed(failure) => fill_failure(failure, root.init_failed()),
            StreamReply::Hello { version, incarnation, pid, payload_bytes_max } => {
                let mut to = root.init_hello();
                let (low, high) = halves(*incarnation);
                to.set_version(*version);
                to.set_incarnation_low(low);
                to.set_incarnation_high(high);
                to.set_pid(*pid);
                to.set_payload_bytes_max(*payload_bytes_max);
            }
            StreamReply::Done => root.set_done(()),
            StreamReply::Stream(info) => fill_info(info, root.init_stream()),
            StreamReply::Streams { streams, more } => {
                let mut to = root.init_streams();
                to.set_more(*more);
                let mut list = to.init_streams(count(streams));
                for (at, info) in (0..).zip(streams) {
                    fill_info(info, list.reborrow().get(at));
                }
            }
            StreamReply::Description(description) => {
                let mut to = root.init_description();
                fill_info(&description.info, to.reborrow().init_info());
                let mut list = to.reborrow().init_partitions(count(&description.partitions));
                for (at, partition) in (0..).zip(&description.partitions) {
                    fill_partition(partition, list.reborrow().get(at));
                }
                let mut list = to.init_users(count(&description.users));
                for (at, user) in (0..).zip(&description.users) {
                    fill_user(user, list.reborrow().get(at));
                }
            }
            StreamReply::Appended { parts, failure } => {
                let mut to = root.init_appended();
                if let Some(failure) = failure {
                    fill_failure(failure, to.reborrow().init_failure());
                }
                let mut list = to.init_parts(count(parts));
                for (at, part) in (0..).zip(parts) {
                    let mut to = list.reborrow().get(at);
                    to.set_partition(part.partition);
                    to.set_records(part.records);
                    to.set_duplicates(part.duplicates);
                    write_position(to.init_first(), part.first);
                }
            }
            StreamReply::Batches { batches, next } => {
                let mut to = root.reborrow().init_batches();
                let mut list = to.reborrow().init_next(count(next));
                for (at, next) in (0..).zip(next) {
                    let mut to = list.reborrow().get(at);
                    to.set_partition(next.partition);
                    write_position(to.reborrow().init_next(), next.next);
                    write_position(to.init_end(), next.end);
                }
                let mut list = to.init_batches(count(batches));
                for (at, batch) in (0..).zip(batches) {
                    let mut to = list.reborrow().get(at);
                    to.set_partition(batch.partition);
                    to.set_records(batch.records);
                    to.set_epoch(batch.epoch.0);
                    to.set_first_number(batch.first_number);
                    write_position(to.init_first(), batch.first);
                }
            }
            StreamReply::Values(values) => fill_values(values, root.init_values()),
            StreamReply::Written(revision) => {
                root.init_written().set_revision(revision.unwrap_or(0));
            }
            StreamReply::Entry => root.set_entry(()),
            StreamReply::End(last) => root.init_end().set_after(EntryId::after(*last).0),
        }
    }

    fn take(root: reply::Reader<'_>) -> Result<StreamReply, HeaderError> {
        Ok(match root.which()? {
            reply::Failed(from) => StreamReply::Failed(take_failure(from?)?),
            reply::Hello(from) => {
                let from = from?;
                StreamReply::Hello {
                    version: from.get_version(),
                    incarnation: whole(from.get_incarnation_low(), from.get_incarnation_high()),
                    pid: from.get_pid(),
                    payload_bytes_max: from.get_payload_bytes_max(),
                }
            }
            reply::Done(()) => StreamReply::Done,
            reply::Stream(from) => StreamReply::Stream(take_info(from?)?),
            reply::Streams(from) => {
                let from = from?;
                StreamReply::Streams {
                    streams: collect(from.get_streams()?.iter().map(take_info))?,
                    more: from.get_more(),
                }
            }
            reply::Description(from) => {
                let from = from?;
                StreamReply::Description(StreamDescription {
                    info: take_info(from.get_info()?)?,
                    partitions: collect(from.get_partitions()?.iter().map(take_partition))?,
                    users: collect(from.get_users()?.iter().map(take_user))?,
                })
            }
            reply::Appended(from) => {
                let from = from?;
                let failure = from.has_failure().then(|| take_failure(from.get_failure()?));
                StreamReply::Appended {
                    parts: collect(from.get_parts()?.iter().map(take_part))?,
                    failure: failure.transpose()?,
                }
            }
            reply::Batches(from) => {
                let from = from?;
                StreamReply::Batches {
                    batches: collect(from.get_batches()?.iter().map(take_batch))?,
                    next: collect(from.get_next()?.iter().map(take_next))?,
                }
            }
            reply::Values(from) => StreamReply::Values(take_values(from?)?),
            reply::Written(from) => {
                let revision = from?.get_revision();
                StreamReply::Written((revision != 0).then_some(revision))
            }
            reply::Entry(()) => StreamReply::Entry,
            reply::End(from) => StreamReply::End(EntryId(from?.get_after()).before()),
        })
    }
}

fn fill_failure(from: &Failure, mut to: failure::Builder<'_>) {
    to.set_code(from.code.into());
    to.set_message(&from.message);
    to.set_hint(&from.hint);
    to.set_outcome(from.outcome.into());
    to.set_retry_after_ms(from.retry_after_ms);
    if let Some(position) = from.position {
        write_position(to.init_position(), position);
    }
}

fn take_failure(from: failure::Reader<'_>) -> Result<Failure, HeaderError> {
    let position = from.has_position().then(|| from.get_position()).transpose()?;
    Ok(Failure {
        // A code of a later version is told by its message alone.
        code: from.get_code().map_or(Code::Internal, Code::from),
        message: text(from.get_message()?)?,
        hint: text(from.get_hint()?)?,
        outcome: from.get_outcome().map_or(Outcome::Unknown, Outcome::from),
        position: position.map(read_position),
        retry_after_ms: from.get_retry_after_ms(),
    })
}

fn fill_info(from: &StreamInfo, mut to: stream_info::Builder<'_>) {
    to.set_name(&from.name);
    to.set_partitions(from.partitions);
    to.set_format(&from.format);
    to.set_segment_bytes_max(from.segment_bytes_max);
    to.set_owner(&from.owner);
    to.set_retention_ms(from.retention_ms);
    to.set_retention_bytes(from.retention_bytes);
}

fn take_info(from: stream_info::Reader<'_>) -> Result<StreamInfo, HeaderError> {
    Ok(StreamInfo {
        name: text(from.get_name()?)?,
        partitions: from.get_partitions(),
        format: text(from.get_format()?)?,
        segment_bytes_max: from.get_segment_bytes_max(),
        owner: text(from.get_owner()?)?,
        retention_ms: from.get_retention_ms(),
        retention_bytes: from.get_retention_bytes(),
    })
}

fn fill_partition(from: &PartitionDescription, mut to: partition_description::Builder<'_>) {
    to.set_partition(from.partition);
    to.set_segments(from.segments);
    to.set_entries(from.entries);
    to.set_records(from.records);
    to.set_term(from.term.0);
    to.set_owner(&from.owner);
    write_position(to.reborrow().init_first(), from.first);
    write_position(to.init_end(), from.end);
}

fn take_partition(
    from: partition_description::Reader<'_>,
) -> Result<PartitionDescription, HeaderError> {
    Ok(PartitionDescription {
        partition: from.get_partition(),
        segments: from.get_segments(),
        entries: from.get_entries(),
        records: from.get_records(),
        first: read_position(from.get_first()?),
        end: read_position(from.get_end()?),
        term: Term(from.get_term()),
        owner: text(from.get_owner()?)?,
    })
}

fn fill_user(from: &StreamUser, mut to: stream_user::Builder<'_>) {
    to.set_topology(&from.topology);
    to.set_component(&from.component);
    to.set_writes(from.writes);
    let mut list = to.init_needed(count(&from.needed));
    for (at, (partition, position)) in (0..).zip(&from.needed) {
        let mut to = list.reborrow().get(at);
        to.set_partition(*partition);
        write_position(to.init_from(), *position);
    }
}

fn take_user(from: stream_user::Reader<'_>) -> Result<StreamUser, HeaderError> {
    let take =
        |from: needed::Reader<'_>| Ok((from.get_partition(), read_position(from.get_from()?)));
    Ok(StreamUser {
        topology: text(from.get_topology()?)?,
        component: text(from.get_component()?)?,
        writes: from.get_writes(),
        needed: collect(from.get_needed()?.iter().map(take))?,
    })
}

fn take_part(from: appended_part::Reader<'_>) -> Result<AppendedPart, HeaderError> {
    Ok(AppendedPart {
        partition: from.get_partition(),
        first: read_position(from.get_first()?),
        records: from.get_records(),
        duplicates: from.get_duplicates(),
    })
}

fn take_batch(from: batch_info::Reader<'_>) -> Result<BatchInfo, HeaderError> {
    Ok(BatchInfo {
        partition: from.get_partition(),
        first: read_position(from.get_first()?),
        records: from.get_records(),
        epoch: Epoch(from.get_epoch()),
        first_number: from.get_first_number(),
    })
}

fn take_next(from: next::Reader<'_>) -> Result<Next, HeaderError> {
    Ok(Next {
        partition: from.get_partition(),
        next: read_position(from.get_next()?),
        end: read_position(from.get_end()?),
    })
}

#[cfg(test)]
mod tests {
    use super::super::below::ValueHead;
    use super::*;
    use crate::ids::{EntryId, SegmentId};
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;

    fn position() -> impl Strategy<Value = Position> {
        any::<(u64, u64, u32)>().prop_map(|(s, e, slot)| Position {
            segment: SegmentId(s),
            entry: EntryId(e),
            slot,
        })
    }

    fn failure() -> impl Strategy<Value = Failure> {
        let codes = select(Code::ALL.to_vec());
        let outcomes = select(Outcome::ALL.to_vec());
        let place = proptest::option::of(position());
        (codes, ".{0,80}", ".{0,80}", outcomes, place, any::<u32>()).prop_map(
            |(code, message, hint, outcome, position, retry_after_ms)| Failure {
                code,
                message,
                hint,
                outcome,
                position,
                retry_after_ms,
            },
        )
    }

    fn info() -> impl Strategy<Value = StreamInfo> {
        (".{0,300}", any::<u32>(), ".{0,20}", any::<(u64, u64, u64)>(), ".{0,20}").prop_map(
            |(name, partitions, format, numbers, owner)| StreamInfo {
                name,
                partitions,
                format,
                segment_bytes_max: numbers.0,
                owner,
                retention_ms: numbers.1,
                retention_bytes: numbers.2,
            },
        )
    }

    fn partition() -> impl Strategy<Value = PartitionDescription> {
        let numbers = any::<(u32, u32, u64, u64, u64)>();
        (numbers, position(), position(), ".{0,20}").prop_map(|(n, first, end, owner)| {
            PartitionDescription {
                partition: n.0,
                segments: n.1,
                entries: n.2,
                records: n.3,
                first,
                end,
                term: Term(n.4),
                owner,
            }
        })
    }

    fn user() -> impl Strategy<Value = StreamUser> {
        let needed = vec((any::<u32>(), position()), 0..20);
        (".{0,20}", ".{0,20}", any::<bool>(), needed).prop_map(
            |(topology, component, writes, needed)| StreamUser {
                topology,
                component,
                writes,
                needed,
            },
        )
    }

    fn reply() -> impl Strategy<Value = StreamReply> {
        let part = (any::<(u32, u32, u32)>(), position()).prop_map(|(n, first)| AppendedPart {
            partition: n.0,
            first,
            records: n.1,
            duplicates: n.2,
        });
        let next = (any::<u32>(), position(), position()).prop_map(|(partition, next, end)| Next {
            partition,
            next,
            end,
        });
        let batch = (any::<(u32, u64, u64, u32)>(), position()).prop_map(|(n, first)| BatchInfo {
            partition: n.3,
            first,
            records: n.0,
            epoch: Epoch(n.1),
            first_number: n.2,
        });
        prop_oneof![
            failure().prop_map(StreamReply::Failed),
            any::<(u16, u128, u32, u32)>().prop_map(|n| StreamReply::Hello {
                version: n.0,
                incarnation: Incarnation(n.1),
                pid: n.2,
                payload_bytes_max: n.3,
            }),
            Just(StreamReply::Done),
            info().prop_map(StreamReply::Stream),
            (vec(info(), 0..20), any::<bool>())
                .prop_map(|(streams, more)| StreamReply::Streams { streams, more }),
            (info(), vec(partition(), 0..20), vec(user(), 0..4)).prop_map(
                |(info, partitions, users)| {
                    StreamReply::Description(StreamDescription { info, partitions, users })
                }
            ),
            (vec(part, 0..20), proptest::option::of(failure()))
                .prop_map(|(parts, failure)| StreamReply::Appended { parts, failure }),
            (vec(batch, 0..20), vec(next, 0..20))
                .prop_map(|(batches, next)| StreamReply::Batches { batches, next }),
            (vec((".{0,40}", any::<u64>(), any::<u32>()), 0..9), any::<bool>(), any::<u64>())
                .prop_map(|(values, more, revision)| {
                    let head = |(key, revision, bytes)| ValueHead { key, revision, bytes };
                    let values = values.into_iter().map(head).collect();
                    StreamReply::Values(Values { values, more, revision })
                }),
            proptest::option::of(1u64..).prop_map(StreamReply::Written),
            Just(StreamReply::Entry),
            proptest::option::of((0..u64::MAX).prop_map(EntryId)).prop_map(StreamReply::End),
        ]
    }

    proptest! {
        #[test]
        fn a_reply_comes_back(reply in reply()) {
            prop_assert_eq!(StreamReply::decode(&reply.encode()), Ok(reply));
        }

        #[test]
        fn arbitrary_bytes_decode_or_fail_without_panic(words: Vec<u64>) {
            let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
            let _ = StreamReply::decode(&bytes);
        }

        #[test]
        fn a_damaged_reply_decodes_or_fails_without_panic(
            reply in reply(),
            at: proptest::sample::Index,
            with: u8,
        ) {
            let mut bytes = reply.encode();
            let at = at.index(bytes.len());
            bytes[at] ^= with;
            let _ = StreamReply::decode(&bytes);
            let _ = StreamReply::decode(&bytes[..at / 8 * 8]);
        }
    }

    /// A list pointer may claim half a thousand million elements of no words at all.
    #[test]
    fn a_list_of_nothing_without_end_is_refused() {
        let empty = StreamReply::Streams { streams: vec![StreamInfo::default()], more: false };
        let mut bytes = empty.encode();
        let tag = bytes
            .chunks_exact(8)
            .position(|w| w[0] == 4 && w[4..6] != [0, 0])
            .expect("a list of one struct has a tag");
        // Tag: 2^29 elements, no data, no pointers.
        bytes[tag * 8..tag * 8 + 8].copy_from_slice(&0x7fff_fffc_u64.to_le_bytes());
        let refused = StreamReply::decode(&bytes).expect_err("it is larger than it is long");
        assert!(refused.to_string().contains("does not decode"), "{refused}");
    }

    #[test]
    fn a_failure_reads_as_one_sentence() {
        let mut failure = Failure {
            code: Code::NoStream,
            message: "there is no stream `orders`".into(),
            hint: "create it with `egret stream create orders`".into(),
            outcome: Outcome::Definite,
            position: None,
            retry_after_ms: 0,
        };
        assert_eq!(
            failure.to_string(),
            "there is no stream `orders`: create it with `egret stream create orders`"
        );
        failure.hint.clear();
        assert_eq!(failure.to_string(), "there is no stream `orders`");
    }
}
