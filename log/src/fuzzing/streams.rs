//! Streams: their records in the metadata store, and the entries of their ledgers.

use bytes::Bytes;
use egret_schemas::{EntryId, Epoch, Generation, LedgerId, Position, SegmentId, Term};

use super::{Sample, Target, comes_back, with_checksum};
use crate::ledger::Proposal;
use crate::stream::catalog::{
    Closed, PartitionRecord, SegmentRecord, StreamRecord, StreamState, decode_partition,
    decode_stream, encode_partition, encode_stream,
};
use crate::stream::entry_codec::{self, Entry, Head};
use crate::stream::pages::PageRef;
use crate::stream::{
    Format, Owner, Producer, ProducerState, Record, StreamConfig, User, Users, pages, users,
};

pub(super) const TARGETS: &[Target] = &[
    Target { name: "stream_record", run: stream, samples: stream_samples },
    Target { name: "partition_record", run: partition, samples: partition_samples },
    Target { name: "segment_page", run: page, samples: page_samples },
    Target { name: "users_record", run: users, samples: users_samples },
    Target { name: "stream_entry", run: entry, samples: entry_samples },
];

const BY: Proposal = Proposal { process: 0xabcd, operation: 3 };

fn stream(bytes: &[u8]) -> bool {
    with_checksum(bytes, |bytes| comes_back(bytes, decode_stream, encode_stream))
}

fn stream_samples() -> Vec<Sample> {
    let plain =
        StreamRecord { state: StreamState::There, config: StreamConfig::default(), proposal: BY };
    let config = StreamConfig {
        partitions: 12,
        format: Format::Postcard("words.v1".to_owned()),
        transactional: Some("words".to_owned()),
        retention_ms: Some(1000),
        retention_bytes: Some(1 << 30),
        ..StreamConfig::default()
    };
    let owned = StreamRecord { state: StreamState::Deleting, config, proposal: BY };
    vec![("plain", encode_stream(&plain)), ("owned", encode_stream(&owned))]
}

fn partition(bytes: &[u8]) -> bool {
    with_checksum(bytes, |bytes| {
        let taken = comes_back(bytes, decode_partition, encode_partition);
        if let Ok(record) = decode_partition(bytes) {
            // What every reader of a record asks of it.
            let first = record.first_listed();
            assert!(first.is_none_or(|first| record.find(first).is_ok() || first.0 < u64::MAX));
        }
        taken
    })
}

fn segments() -> Vec<SegmentRecord> {
    let segment = |id, rolled_at| SegmentRecord {
        id: SegmentId(id),
        ledger: LedgerId(id + 10),
        first_number: id * 100,
        rolled_at,
        created_ms: id * 1000,
        closed: (id < 5).then_some(Closed { last_ms: id * 1000 + 7, bytes: id }),
    };
    vec![segment(4, Some(None)), segment(5, Some(Some(EntryId(9)))), segment(6, None)]
}

fn partition_samples() -> Vec<Sample> {
    let new = PartitionRecord::new(BY);
    let owner = Owner {
        topology: "words".to_owned(),
        component: "sink".to_owned(),
        task: 1,
        generation: Generation(4),
    };
    let page = PageRef {
        number: 2,
        first: SegmentId(2),
        last: SegmentId(3),
        segments: 2,
        last_ms: 2500,
        bytes: 77,
    };
    let used = PartitionRecord {
        term: Term(3),
        first: Position { segment: SegmentId(2), entry: EntryId(5), slot: 1 },
        next_segment: SegmentId(7),
        next_page: 3,
        pages: vec![page],
        segments: segments(),
        owner: Some(owner),
        garbage: vec![LedgerId(11)],
        ..new.clone()
    };
    vec![("new", encode_partition(&new)), ("used", encode_partition(&used))]
}

fn page(bytes: &[u8]) -> bool {
    with_checksum(bytes, |bytes| {
        comes_back(bytes, pages::decode, |segments| pages::encode(segments, BY))
    })
}

fn page_samples() -> Vec<Sample> {
    vec![("three_segments", pages::encode(&segments(), BY))]
}

fn users(bytes: &[u8]) -> bool {
    with_checksum(bytes, |bytes| comes_back(bytes, users::decode, |held| users::encode(held, BY)))
}

fn users_samples() -> Vec<Sample> {
    let user = |topology: &str| User { topology: topology.to_owned(), component: "c".to_owned() };
    let at = |segment| Position { segment: SegmentId(segment), entry: EntryId(2), slot: 3 };
    let held = Users {
        consumers: [(user("reader"), [(0, at(1)), (7, at(4))].into())].into(),
        producers: [user("writer"), user("other")].into(),
    };
    vec![("a_reader_and_two_writers", users::encode(&held, BY))]
}

/// An entry, and its head alone: both must say the same.
fn entry(bytes: &[u8]) -> bool {
    let bytes = Bytes::copy_from_slice(bytes);
    let head = entry_codec::decode_head(&bytes);
    let Ok(entry) = entry_codec::decode(&bytes) else { return false };
    let again = match &entry {
        Entry::Data { epoch, first_number, appended_ms, producer, records } => {
            let (epoch, first_number, appended_ms) = (*epoch, *first_number, *appended_ms);
            let said = Head { epoch, first_number, appended_ms, records: records.len() as u64 };
            assert_eq!(head, Ok(Some(said)), "the head of {entry:?}");
            // Only the first entries that were ever written have no time.
            let ms = appended_ms.unwrap_or(0);
            let producer = producer.as_ref();
            entry_codec::encode_data(epoch, first_number, ms, producer, records.iter())
        }
        Entry::Snapshot { next_number, producers } => {
            assert_eq!(head, Ok(None), "the head of {entry:?}");
            let producers = producers.iter().map(|(name, state)| (name, state));
            entry_codec::encode_snapshot(*next_number, producers)
        }
    };
    let mut back = entry_codec::decode(&again).expect("what was taken is taken again");
    if let (Entry::Data { appended_ms: was, .. }, Entry::Data { appended_ms: now, .. }) =
        (&entry, &mut back)
        && was.is_none()
    {
        *now = None;
    }
    assert_eq!(back, entry, "an entry comes back");
    true
}

fn entry_samples() -> Vec<Sample> {
    let records = [
        Record::of("two herons"),
        Record {
            key: Some(Bytes::from_static(b"k")),
            value: Bytes::from_static(b"an egret"),
            event_time_ms: Some(-5),
            sequence: Some(300),
        },
        Record {
            key: None,
            value: Bytes::new(),
            event_time_ms: Some(i64::MAX),
            sequence: Some(u64::MAX),
        },
    ];
    let producer = Producer { name: Bytes::from_static(b"cli"), note: Bytes::from_static(b"note") };
    let epoch = Epoch::new(Generation(2), 3, 1);
    let state = |sequence| ProducerState { last_sequence: sequence, note: Bytes::new() };
    let known =
        [(Bytes::from_static(b"a"), state(None)), (Bytes::from_static(b"cli"), state(Some(300)))];
    let known = known.iter().map(|(name, state)| (name, state));
    let data = entry_codec::encode_data(epoch, 17, 1_764_113_000_000, None, records.iter());
    let by = entry_codec::encode_data(Epoch(0), 17, 5, Some(&producer), records[..1].iter());
    vec![
        ("three_records", data.to_vec()),
        ("of_a_producer", by.to_vec()),
        ("snapshot", entry_codec::encode_snapshot(20, known).to_vec()),
    ]
}
