//! What a client asks of the holder of a data directory.

use super::HeaderError;
use super::below::{Below, fill_below, take_below};
use super::place::{read_position, write_position};
use crate::generated::stream_capnp::{append, place, read, request};
use crate::ids::{Incarnation, Position};
use crate::segment::{self, halves, text, whole};

/// A request; records travel in the payload behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StreamRequest {
    /// The first request of a connection.
    Hello {
        /// What the client speaks.
        version: u16,
        /// The directory it means; `None` is whichever answers.
        incarnation: Option<Incarnation>,
    },
    /// Creates a stream.
    CreateStream(NewStream),
    /// Lists streams in the order of their names.
    ListStreams {
        /// Only names behind this one.
        after: String,
        /// How many at most.
        limit: u32,
    },
    /// Describes a stream and its partitions.
    DescribeStream {
        /// Its name.
        name: String,
    },
    /// Appends the records in the payload.
    Append(AppendHead),
    /// Reads records, waiting for the first when asked to.
    Read(ReadHead),
    /// Forgets what is before a position.
    Truncate {
        /// The stream.
        stream: String,
        /// The partition.
        partition: u32,
        /// The first position to keep.
        before: Position,
        /// Even what a topology may yet read.
        force: bool,
    },
    /// Deletes a stream with all it holds.
    DeleteStream {
        /// Its name.
        name: String,
        /// Even one that a topology uses.
        force: bool,
    },
    /// Asks a holder that has the directory only for a command to let it go.
    Yield,
    /// Asks for what lies below the streams.
    Below(Below),
}

/// A stream to create.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NewStream {
    /// Its name.
    pub name: String,
    /// How many partitions, for ever.
    pub partitions: u32,
    /// The payload format it declares.
    pub format: String,
    /// Bytes after which a segment rolls; 0 is the holder's default.
    pub segment_bytes_max: u64,
    /// What was appended longer ago is forgotten; 0: nothing is.
    pub retention_ms: u64,
    /// The oldest beyond so many bytes of each partition is forgotten; 0: nothing is.
    pub retention_bytes: u64,
}

/// What to do with the records in the payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AppendHead {
    /// The stream.
    pub stream: String,
    /// Which partitions take them.
    pub route: Route,
    /// How many there are.
    pub records: u32,
    /// When not empty, records whose sequence is not above this producer's last are skipped.
    pub producer: Vec<u8>,
    /// Kept with the append for the producer.
    pub note: Vec<u8>,
}

/// Which partition takes a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    /// That of its key; records without a key spread evenly.
    ByKey,
    /// This one.
    Partition(u32),
}

/// What to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadHead {
    /// The stream.
    pub stream: String,
    /// One for each partition to read.
    pub from: Vec<Place>,
    /// Whole batches up to about this many bytes, but at least one when there is one.
    pub bytes_max: u32,
    /// How long to wait for the first batch of any partition, in milliseconds.
    pub wait_ms: u32,
}

/// Where to begin in one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// The partition.
    pub partition: u32,
    /// Where in it.
    pub from: ReadFrom,
}

/// Where to begin reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReadFrom {
    /// At the first record not truncated.
    Earliest,
    /// Behind the last record readers may see.
    Latest,
    /// At this position.
    At(Position),
    /// This many records before the end, or as many as there are.
    Last(u32),
    /// At the first record appended at this time or later, in milliseconds since 1970.
    Since(u64),
}

impl StreamRequest {
    /// One segment of Cap'n Proto.
    pub fn encode(&self) -> Vec<u8> {
        segment::encode::<request::Owned>(|root| self.fill(root))
    }

    /// From one segment of Cap'n Proto.
    pub fn decode(bytes: &[u8]) -> Result<StreamRequest, HeaderError> {
        segment::decode::<request::Owned, _>(bytes, StreamRequest::take)
    }

    fn fill(&self, mut root: request::Builder<'_>) {
        match self {
            StreamRequest::Hello { version, incarnation } => {
                let mut to = root.init_hello();
                let (low, high) = halves(incarnation.unwrap_or_default());
                to.set_version(*version);
                to.set_incarnation_low(low);
                to.set_incarnation_high(high);
            }
            StreamRequest::CreateStream(new) => {
                let mut to = root.init_create_stream();
                to.set_name(&new.name);
                to.set_partitions(new.partitions);
                to.set_format(&new.format);
                to.set_segment_bytes_max(new.segment_bytes_max);
                to.set_retention_ms(new.retention_ms);
                to.set_retention_bytes(new.retention_bytes);
            }
            StreamRequest::ListStreams { after, limit } => {
                let mut to = root.init_list_streams();
                to.set_after(after);
                to.set_limit(*limit);
            }
            StreamRequest::DescribeStream { name } => root.init_describe_stream().set_name(name),
            StreamRequest::Append(head) => fill_append(head, root.init_append()),
            StreamRequest::Read(head) => fill_read(head, root.init_read()),
            StreamRequest::Truncate { stream, partition, before, force } => {
                let mut to = root.init_truncate();
                to.set_stream(stream);
                to.set_partition(*partition);
                to.set_force(*force);
                write_position(to.init_before(), *before);
            }
            StreamRequest::DeleteStream { name, force } => {
                let mut to = root.init_delete_stream();
                to.set_name(name);
                to.set_force(*force);
            }
            StreamRequest::Yield => root.set_yield(()),
            StreamRequest::Below(below) => fill_below(below, root.init_below()),
        }
    }

    fn take(root: request::Reader<'_>) -> Result<StreamRequest, HeaderError> {
        Ok(match root.which()? {
            request::Hello(from) => {
                let from = from?;
                let incarnation = whole(from.get_incarnation_low(), from.get_incarnation_high());
                StreamRequest::Hello {
                    version: from.get_version(),
                    incarnation: (incarnation != Incarnation::default()).then_some(incarnation),
                }
            }
            request::CreateStream(from) => {
                let from = from?;
                StreamRequest::CreateStream(NewStream {
                    name: text(from.get_name()?)?,
                    partitions: from.get_partitions(),
                    format: text(from.get_format()?)?,
                    segment_bytes_max: from.get_segment_bytes_max(),
                    retention_ms: from.get_retention_ms(),
                    retention_bytes: from.get_retention_bytes(),
                })
            }
            request::ListStreams(from) => {
                let from = from?;
                StreamRequest::ListStreams {
                    after: text(from.get_after()?)?,
                    limit: from.get_limit(),
                }
            }
            request::DescribeStream(from) => {
                StreamRequest::DescribeStream { name: text(from?.get_name()?)? }
            }
            request::Append(from) => StreamRequest::Append(take_append(from?)?),
            request::Read(from) => StreamRequest::Read(take_read(from?)?),
            request::Truncate(from) => {
                let from = from?;
                StreamRequest::Truncate {
                    stream: text(from.get_stream()?)?,
                    partition: from.get_partition(),
                    before: read_position(from.get_before()?),
                    force: from.get_force(),
                }
            }
            request::DeleteStream(from) => {
                let from = from?;
                let name = text(from.get_name()?)?;
                StreamRequest::DeleteStream { name, force: from.get_force() }
            }
            request::Yield(()) => StreamRequest::Yield,
            request::Below(from) => StreamRequest::Below(take_below(from?)?),
        })
    }
}

fn fill_append(head: &AppendHead, mut to: append::Builder<'_>) {
    to.set_stream(&head.stream);
    match head.route {
        Route::ByKey => to.reborrow().init_route().set_by_key(()),
        Route::Partition(partition) => to.reborrow().init_route().set_partition(partition),
    }
    to.set_records(head.records);
    to.set_producer(&head.producer);
    to.set_note(&head.note);
}

fn take_append(from: append::Reader<'_>) -> Result<AppendHead, HeaderError> {
    let route = match from.get_route().which()? {
        append::route::ByKey(()) => Route::ByKey,
        append::route::Partition(partition) => Route::Partition(partition),
    };
    Ok(AppendHead {
        stream: text(from.get_stream()?)?,
        route,
        records: from.get_records(),
        producer: from.get_producer()?.to_vec(),
        note: from.get_note()?.to_vec(),
    })
}

fn fill_read(head: &ReadHead, mut to: read::Builder<'_>) {
    to.set_stream(&head.stream);
    to.set_bytes_max(head.bytes_max);
    to.set_wait_ms(head.wait_ms);
    let mut list = to.init_from(segment::count(&head.from));
    for (at, place) in (0..).zip(&head.from) {
        let mut to = list.reborrow().get(at);
        to.set_partition(place.partition);
        match place.from {
            ReadFrom::Earliest => to.set_earliest(()),
            ReadFrom::Latest => to.set_latest(()),
            ReadFrom::At(position) => write_position(to.init_at(), position),
            ReadFrom::Last(records) => to.set_last(records),
            ReadFrom::Since(ms) => to.set_since(ms),
        }
    }
}

fn take_read(from: read::Reader<'_>) -> Result<ReadHead, HeaderError> {
    Ok(ReadHead {
        stream: text(from.get_stream()?)?,
        from: segment::collect(from.get_from()?.iter().map(take_place))?,
        bytes_max: from.get_bytes_max(),
        wait_ms: from.get_wait_ms(),
    })
}

fn take_place(from: place::Reader<'_>) -> Result<Place, HeaderError> {
    let begin = match from.which()? {
        place::Earliest(()) => ReadFrom::Earliest,
        place::Latest(()) => ReadFrom::Latest,
        place::At(position) => ReadFrom::At(read_position(position?)),
        place::Last(records) => ReadFrom::Last(records),
        place::Since(ms) => ReadFrom::Since(ms),
    };
    Ok(Place { partition: from.get_partition(), from: begin })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{EntryId, LedgerId, SegmentId};
    use proptest::prelude::*;

    fn position() -> impl Strategy<Value = Position> {
        any::<(u64, u64, u32)>().prop_map(|(s, e, slot)| Position {
            segment: SegmentId(s),
            entry: EntryId(e),
            slot,
        })
    }

    fn below() -> impl Strategy<Value = Below> {
        let name = ".{0,40}";
        let pairs = |max: u64| proptest::collection::vec((name, 0..=max), 0..5);
        let puts = |all: Vec<(String, u64)>| {
            let short = |(key, bytes)| (key, u32::try_from(bytes).expect("as drawn"));
            all.into_iter().map(short).collect()
        };
        prop_oneof![
            name.prop_map(|key| Below::Get { key }),
            (name, name).prop_map(|(prefix, after)| Below::List { prefix, after }),
            (pairs(u64::MAX), pairs(u64::from(u32::MAX)))
                .prop_map(move |(compare, all)| Below::Write { compare, puts: puts(all) }),
            any::<(u64, u64)>().prop_map(|(ledger, entry)| Below::Read {
                ledger: LedgerId(ledger),
                entry: EntryId(entry),
            }),
            any::<u64>().prop_map(|ledger| Below::End { ledger: LedgerId(ledger) }),
        ]
    }

    fn request() -> impl Strategy<Value = StreamRequest> {
        let name = ".{0,300}";
        let bytes = proptest::collection::vec(any::<u8>(), 0..300);
        let route = prop_oneof![Just(Route::ByKey), any::<u32>().prop_map(Route::Partition)];
        let from = prop_oneof![
            Just(ReadFrom::Earliest),
            Just(ReadFrom::Latest),
            position().prop_map(ReadFrom::At),
            any::<u32>().prop_map(ReadFrom::Last),
            any::<u64>().prop_map(ReadFrom::Since),
        ];
        let place = (any::<u32>(), from).prop_map(|(partition, from)| Place { partition, from });
        let places = proptest::collection::vec(place, 0..20);
        prop_oneof![
            (any::<u16>(), 0u128..).prop_map(|(version, id)| StreamRequest::Hello {
                version,
                incarnation: (id != 0).then_some(Incarnation(id)),
            }),
            (name, any::<u32>(), name, any::<(u64, u64, u64)>()).prop_map(
                |(name, partitions, format, (segment_bytes_max, retention_ms, retention_bytes))| {
                    StreamRequest::CreateStream(NewStream {
                        name,
                        partitions,
                        format,
                        segment_bytes_max,
                        retention_ms,
                        retention_bytes,
                    })
                }
            ),
            (name, any::<u32>())
                .prop_map(|(after, limit)| StreamRequest::ListStreams { after, limit }),
            name.prop_map(|name| StreamRequest::DescribeStream { name }),
            (name, route, any::<u32>(), bytes.clone(), bytes).prop_map(
                |(stream, route, records, producer, note)| {
                    StreamRequest::Append(AppendHead { stream, route, records, producer, note })
                }
            ),
            (name, places, any::<u32>(), any::<u32>()).prop_map(
                |(stream, from, bytes_max, wait_ms)| {
                    StreamRequest::Read(ReadHead { stream, from, bytes_max, wait_ms })
                }
            ),
            (name, any::<u32>(), position(), any::<bool>()).prop_map(
                |(stream, partition, before, force)| {
                    StreamRequest::Truncate { stream, partition, before, force }
                }
            ),
            (name, any::<bool>())
                .prop_map(|(name, force)| StreamRequest::DeleteStream { name, force }),
            Just(StreamRequest::Yield),
            below().prop_map(StreamRequest::Below),
        ]
    }

    proptest! {
        #[test]
        fn a_request_comes_back(request in request()) {
            prop_assert_eq!(StreamRequest::decode(&request.encode()), Ok(request));
        }

        #[test]
        fn arbitrary_bytes_decode_or_fail_without_panic(words: Vec<u64>, tail: Vec<u8>) {
            let mut bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
            let _ = StreamRequest::decode(&bytes);
            bytes.extend(tail);
            let _ = StreamRequest::decode(&bytes);
        }

        #[test]
        fn a_damaged_request_decodes_or_fails_without_panic(
            request in request(),
            at: proptest::sample::Index,
            with: u8,
        ) {
            let mut bytes = request.encode();
            let at = at.index(bytes.len());
            bytes[at] ^= with;
            let _ = StreamRequest::decode(&bytes);
            let _ = StreamRequest::decode(&bytes[..at / 8 * 8]);
        }
    }

    /// Golden bytes: a reader of the first version reads this for ever.
    #[test]
    fn the_layout_of_a_request_is_frozen() {
        let request = StreamRequest::Truncate {
            stream: "orders".into(),
            partition: 3,
            before: Position { segment: SegmentId(1), entry: EntryId(17), slot: 2 },
            force: false,
        };
        let words: Vec<u64> = request
            .encode()
            .chunks_exact(8)
            .map(|w| u64::from_le_bytes(w.try_into().expect("eight bytes")))
            .collect();
        assert_eq!(words, GOLDEN, "{words:#x?}");
    }

    /// Read against the schema: request 6, partition 3, the name, then segment, entry and slot.
    const GOLDEN: [u64; 10] = [
        0x0001_0001_0000_0000,
        6,
        0x0002_0001_0000_0000,
        3,
        0x0000_003a_0000_0005,
        0x0000_0003_0000_0004,
        u64::from_le_bytes(*b"orders\0\0"),
        1,
        17,
        2,
    ];
}
