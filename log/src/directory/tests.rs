//! Requests on a log over a bookie and a metadata store in memory.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use egret_schemas::bytes::Reader;
use egret_schemas::records::RecordRef;
use egret_schemas::stream::{
    AppendHead, AppendedPart, BatchInfo, Code, Failure, NewStream, Next, Outcome, Place, ReadFrom,
    ReadHead, Route, StreamReply, StreamRequest,
};
use egret_schemas::{EntryId, Position, key};
use proptest::prelude::*;

use super::{Answerer, Directory};
use crate::caps;
use crate::client::memory_bookie::MemoryBookie;
use crate::message::Refusal;
use crate::metadata::MemoryMeta;
use crate::rpc::{Answer, Answered, Bell};
use crate::stream::{self, Log};

struct World {
    bookie: Arc<MemoryBookie>,
    log: Log,
    answerer: Answerer,
    bell: Arc<Bell>,
}

/// What a read came to.
struct Seen {
    batches: Vec<BatchInfo>,
    next: Vec<Next>,
    values: Vec<(u32, String)>,
}

fn world(partitions: u32, segment_bytes_max: u64) -> World {
    let bookie = Arc::new(MemoryBookie::default());
    let log = Log::over(bookie.clone(), Arc::new(MemoryMeta::new())).unwrap();
    let answerer = Answerer::new(&log);
    let mut world = World { bookie, log, answerer, bell: Arc::default() };
    world.done(StreamRequest::CreateStream(NewStream {
        name: "s".into(),
        partitions,
        format: "bytes".into(),
        segment_bytes_max,
        ..NewStream::default()
    }));
    world
}

impl World {
    fn ask(&mut self, request: StreamRequest, payload: Vec<u8>) -> Answered {
        self.answerer.answer(request, payload.into(), &self.bell)
    }

    fn done(&mut self, request: StreamRequest) -> StreamReply {
        let reply = self.ask(request.clone(), Vec::new()).reply;
        assert!(!matches!(reply, StreamReply::Failed(_)), "{request:?}: {reply:?}");
        reply
    }

    fn refused(&mut self, request: StreamRequest) -> Failure {
        match self.ask(request.clone(), Vec::new()).reply {
            StreamReply::Failed(failure) => failure,
            other => panic!("{request:?}: {other:?}"),
        }
    }

    fn append(
        &mut self,
        head: AppendHead,
        payload: Vec<u8>,
    ) -> (Vec<AppendedPart>, Option<Failure>) {
        match self.ask(StreamRequest::Append(head), payload).reply {
            StreamReply::Appended { parts, failure } => (parts, failure),
            other => panic!("{other:?}"),
        }
    }

    fn append_to(&mut self, partition: u32, values: &[&str]) -> Vec<AppendedPart> {
        let (head, payload) = lines(Route::Partition(partition), values);
        let (parts, failure) = self.append(head, payload);
        assert_eq!(failure, None);
        parts
    }

    fn read(&mut self, from: Vec<Place>, bytes_max: u32, wait_ms: u32) -> Seen {
        let head = ReadHead { stream: "s".into(), from, bytes_max, wait_ms };
        let Answered { reply, payload } = self.ask(StreamRequest::Read(head), Vec::new());
        let StreamReply::Batches { batches, next } = reply else { panic!("{reply:?}") };
        let values = values(&batches, &payload);
        Seen { batches, next, values }
    }

    fn all(&mut self, partition: u32, from: ReadFrom) -> Vec<String> {
        let mut from = vec![Place { partition, from }];
        let mut all = Vec::new();
        loop {
            let seen = self.read(from.clone(), 1, 0);
            if seen.batches.is_empty() {
                return all;
            }
            all.extend(seen.values.into_iter().map(|(_, value)| value));
            from[0].from = ReadFrom::At(seen.next[0].next);
        }
    }
}

fn values(batches: &[BatchInfo], payload: &Bytes) -> Vec<(u32, String)> {
    let mut records = Reader::new(payload);
    let mut all = Vec::new();
    for batch in batches {
        for _ in 0..batch.records {
            let record = RecordRef::take(&mut records).unwrap();
            let value = String::from_utf8(record.value.to_vec()).unwrap();
            all.push((batch.partition, value));
        }
    }
    records.end("payload").unwrap();
    all
}

fn lines(route: Route, values: &[&str]) -> (AppendHead, Vec<u8>) {
    let mut payload = Vec::new();
    for value in values {
        RecordRef { value: value.as_bytes(), ..RecordRef::default() }.put(&mut payload);
    }
    let records = u32::try_from(values.len()).unwrap();
    (AppendHead { stream: "s".into(), route, records, producer: vec![], note: vec![] }, payload)
}

fn earliest(partitions: u32) -> Vec<Place> {
    (0..partitions).map(|partition| Place { partition, from: ReadFrom::Earliest }).collect()
}

#[test]
fn a_key_goes_to_its_partition_and_what_has_none_goes_round() {
    let mut world = world(3, 1 << 20);
    let mut payload = Vec::new();
    for n in 0..30u8 {
        RecordRef { key: Some(&[n]), value: b"keyed", ..RecordRef::default() }.put(&mut payload);
    }
    let head = lines(Route::ByKey, &[]).0;
    world.append(AppendHead { records: 30, ..head }, payload);
    let mut expected = BTreeMap::new();
    for n in 0..30u8 {
        *expected.entry(key::partition(key::hash(&[n]), 3)).or_insert(0) += 1;
    }
    let seen = world.read(earliest(3), u32::MAX, 0);
    let mut found = BTreeMap::new();
    for (partition, _) in seen.values {
        *found.entry(partition).or_insert(0) += 1;
    }
    assert_eq!(found, expected);
    let (head, payload) = lines(Route::ByKey, &["x"; 30]);
    let (parts, _) = world.append(head, payload);
    let counts: Vec<_> = parts.iter().map(|part| (part.partition, part.records)).collect();
    assert_eq!(counts, [(0, 10), (1, 10), (2, 10)]);
}

#[test]
fn a_producer_finds_its_duplicates_whatever_the_requests_were_cut_into() {
    let mut world = world(3, 1 << 20);
    let numbered = |numbers: std::ops::Range<u64>| {
        let mut payload = Vec::new();
        for n in numbers.clone() {
            let value = n.to_string();
            let sequence = Some(n);
            RecordRef { value: value.as_bytes(), sequence, ..RecordRef::default() }
                .put(&mut payload);
        }
        let head = lines(Route::ByKey, &[]).0;
        let records = u32::try_from(numbers.count()).unwrap();
        (AppendHead { records, producer: b"p".to_vec(), ..head }, payload)
    };
    let sum = |parts: &[AppendedPart]| {
        (parts.iter().map(|p| p.records).sum::<u32>(), parts.iter().map(|p| p.duplicates).sum())
    };
    let (head, payload) = numbered(0..10);
    assert_eq!(sum(&world.append(head, payload).0), (10, 0));
    let (head, payload) = numbered(5..13);
    assert_eq!(sum(&world.append(head, payload).0), (3, 5));
}

#[test]
fn a_read_over_partitions_hides_none_behind_a_busy_one() {
    let mut world = world(3, 1 << 20);
    for _ in 0..50 {
        world.append_to(0, &["busy"]);
    }
    world.append_to(2, &["quiet"]);
    // One batch at a time: the second or third must be the quiet partition's.
    let mut from = earliest(3);
    let mut seen = Vec::new();
    for _ in 0..3 {
        let read = world.read(from.clone(), 1, 0);
        for (place, next) in from.iter_mut().zip(&read.next) {
            place.from = ReadFrom::At(next.next);
        }
        seen.extend(read.values);
    }
    assert!(seen.contains(&(2, "quiet".to_owned())), "{seen:?}");
}

#[test]
fn a_read_that_waits_is_woken_by_an_append_to_any_of_its_partitions() {
    let mut world = world(2, 1 << 20);
    let seen = world.read(earliest(2), u32::MAX, 0);
    assert!(seen.batches.is_empty());
    let from: Vec<Place> = seen
        .next
        .iter()
        .map(|next| Place { partition: next.partition, from: ReadFrom::At(next.next) })
        .collect();
    let writer = world.log.writer("s", 1).unwrap();
    let appending = std::thread::spawn(move || {
        writer.append_wait(&[stream::Record::of("late")]).unwrap();
    });
    // Long enough that only the wake can end it.
    let seen = world.read(from, u32::MAX, 30_000);
    appending.join().unwrap();
    assert_eq!(seen.values, [(1, "late".to_owned())]);
}

#[test]
fn a_closed_bell_ends_a_read_that_waits() {
    let mut world = world(1, 1 << 20);
    let bell = Arc::clone(&world.bell);
    let closing = std::thread::spawn(move || bell.close());
    let seen = world.read(earliest(1), 1, 30_000);
    closing.join().unwrap();
    assert!(seen.batches.is_empty());
}

#[test]
fn a_part_that_fails_is_told_beside_the_parts_that_do_not() {
    let mut world = world(1, 1 << 20);
    world.append_to(0, &["a"]);
    let dir = std::path::PathBuf::from("/data");
    world.bookie.refuse_adds(Some(Refusal::DiskFull { dir, free: 5 }));
    let (head, payload) = lines(Route::Partition(0), &["b"]);
    let (parts, failure) = world.append(head, payload);
    assert_eq!(parts, []);
    let failure = failure.expect("the bookie refused");
    assert_eq!((failure.code, failure.outcome), (Code::DiskFull, Outcome::Definite), "{failure}");
    world.bookie.refuse_adds(None);
    world.append_to(0, &["c"]);
    assert_eq!(world.all(0, ReadFrom::Earliest), ["a", "c"]);
}

#[test]
fn each_refusal_has_its_code() {
    let mut world = world(2, 1 << 20);
    let name = |name: &str| name.to_owned();
    let read = |stream: &str, partition, from| {
        StreamRequest::Read(ReadHead {
            stream: name(stream),
            from: vec![Place { partition, from }],
            bytes_max: 1,
            wait_ms: 0,
        })
    };
    let create = |stream: &str, partitions, format: &str| {
        StreamRequest::CreateStream(NewStream {
            name: name(stream),
            partitions,
            format: name(format),
            segment_bytes_max: 0,
            ..NewStream::default()
        })
    };
    let append = |stream: &str, route, records| {
        let (producer, note) = (vec![], vec![]);
        StreamRequest::Append(AppendHead { stream: name(stream), route, records, producer, note })
    };
    let far: Position = "S9:0:0".parse().unwrap();
    for (request, code) in [
        (create("s", 1, "bytes"), Code::Exists),
        (create("a/b", 1, "bytes"), Code::BadName),
        (create("t", 0, "bytes"), Code::Refused),
        (create("t", 1, "xml"), Code::Refused),
        (StreamRequest::DescribeStream { name: name("t") }, Code::NoStream),
        (StreamRequest::DeleteStream { name: name("t"), force: false }, Code::NoStream),
        (append("t", Route::ByKey, 0), Code::NoStream),
        (append("s", Route::ByKey, 1), Code::BadRequest),
        (read("t", 0, ReadFrom::Earliest), Code::NoStream),
        (read("s", 2, ReadFrom::Earliest), Code::NoPartition),
        (read("s", 0, ReadFrom::At(far)), Code::Refused),
        (
            StreamRequest::Truncate { stream: name("s"), partition: 0, before: far, force: false },
            Code::Refused,
        ),
        (StreamRequest::Hello { version: 1, incarnation: None }, Code::BadRequest),
    ] {
        let failure = world.refused(request.clone());
        assert_eq!((failure.code, failure.outcome), (code, Outcome::Definite), "{request:?}");
    }
    let (head, payload) = lines(Route::Partition(2), &["x"]);
    let StreamReply::Failed(failure) = world.ask(StreamRequest::Append(head), payload).reply else {
        panic!("there is no third partition")
    };
    assert_eq!(failure.code, Code::NoPartition);
}

#[test]
fn what_was_truncated_is_told_with_the_first_position_there_is() {
    let mut world = world(1, 1 << 20);
    world.append_to(0, &["a"]);
    let second = world.append_to(0, &["b"])[0].first;
    world.done(StreamRequest::Truncate {
        stream: "s".into(),
        partition: 0,
        before: second,
        force: false,
    });
    assert_eq!(world.all(0, ReadFrom::Earliest), ["b"]);
    let from = vec![Place { partition: 0, from: ReadFrom::At(Position::START) }];
    let failure = world.refused(StreamRequest::Read(ReadHead {
        stream: "s".into(),
        from,
        bytes_max: 1,
        wait_ms: 0,
    }));
    assert_eq!((failure.code, failure.position), (Code::Truncated, Some(second)));
}

#[test]
fn a_listing_goes_on_where_it_stopped() {
    let mut world = world(1, 1 << 20);
    for name in ["b", "a", "z"] {
        world.done(StreamRequest::CreateStream(NewStream {
            name: name.into(),
            partitions: 1,
            format: "utf8".into(),
            segment_bytes_max: 0,
            ..NewStream::default()
        }));
    }
    let (mut names, mut after) = (Vec::new(), String::new());
    loop {
        let list = StreamRequest::ListStreams { after: after.clone(), limit: 2 };
        let StreamReply::Streams { streams, more } = world.done(list) else { panic!("a listing") };
        names.extend(streams.iter().map(|info| info.name.clone()));
        after = names.last().expect("there are streams").clone();
        if !more {
            break;
        }
    }
    assert_eq!(names, ["a", "b", "s", "z"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    /// Against a list: whatever the entries, segments and truncation, the last n are the last n.
    #[test]
    fn the_last_n_are_the_last_n(
        appends in proptest::collection::vec(1..5usize, 0..12),
        segment_bytes_max in prop_oneof![Just(1u64), Just(60), Just(1 << 20)],
        truncate_at in proptest::option::of(0..40usize),
        counts in proptest::collection::vec(0..40u32, 1..6),
    ) {
        let mut world = world(1, segment_bytes_max);
        let mut all: Vec<String> = Vec::new();
        let mut places: Vec<Position> = Vec::new();
        for records in appends {
            let values: Vec<String> = (0..records).map(|n| (all.len() + n).to_string()).collect();
            let refs: Vec<&str> = values.iter().map(String::as_str).collect();
            let first = world.append_to(0, &refs)[0].first;
            places.extend((0..u32::try_from(records).unwrap()).map(|slot| Position { slot, ..first }));
            all.extend(values);
        }
        if let Some(at) = truncate_at.filter(|at| *at < places.len()) {
            let before = places[at];
            world.done(StreamRequest::Truncate { stream: "s".into(), partition: 0, before, force: false });
            all.drain(..at);
        }
        for count in counts {
            let expected = &all[all.len().saturating_sub(count as usize)..];
            prop_assert_eq!(&world.all(0, ReadFrom::Last(count))[..], expected);
        }
    }
}

/// The same over a real directory: reader, writer, bookie and store meet here for the first time.
#[test]
fn a_read_that_waits_is_woken_in_a_real_directory() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), crate::LogConfig::default()).unwrap();
    let bookie = Arc::new(MemoryBookie::default());
    let mut world =
        World { bookie, answerer: Answerer::new(&log), log: log.clone(), bell: Arc::default() };
    world.done(StreamRequest::CreateStream(NewStream {
        name: "s".into(),
        partitions: 2,
        format: "bytes".into(),
        segment_bytes_max: 0,
        ..NewStream::default()
    }));
    let mut from = earliest(2);
    for round in 0..20 {
        let writer = log.clone();
        let (partition, value) = (round % 2, round.to_string());
        let sent = value.clone();
        let appending = std::thread::spawn(move || {
            let writer = writer.writer("s", partition).unwrap();
            writer.append_wait(&[stream::Record::of(sent)]).unwrap();
        });
        let seen = world.read(from.clone(), u32::MAX, 5_000);
        appending.join().unwrap();
        assert_eq!(seen.values, [(partition, value)], "round {round}");
        for (place, next) in from.iter_mut().zip(&seen.next) {
            place.from = ReadFrom::At(next.next);
        }
    }
    drop(world);
    log.close().unwrap();
}

/// A process was killed right after an append was acknowledged. What the bookie knew of the visible end
/// lagged behind, and until somebody appended again, readers were not shown the record.
#[test]
fn what_was_acknowledged_before_a_crash_is_visible_without_another_append() {
    let dir = tempfile::tempdir().unwrap();
    let log = Log::open(dir.path(), crate::LogConfig::default()).unwrap();
    log.create_stream("s", stream::StreamConfig::default()).unwrap();
    let writer = log.writer("s", 0).unwrap();
    for value in ["a", "b", "c"] {
        writer.append_wait(&[stream::Record::of(value)]).unwrap();
    }
    // Dropped without being closed: as if the process had died.
    drop((writer, log));
    let log = Log::open(dir.path(), crate::LogConfig::default()).unwrap();
    assert_eq!(log.describe("s").unwrap().partitions[0].records, 3);
    let mut answerer = Answerer::new(&log);
    let from = earliest(1);
    let head = ReadHead { stream: "s".into(), from, bytes_max: 1 << 20, wait_ms: 0 };
    let answered = answerer.answer(StreamRequest::Read(head), Bytes::new(), &Arc::default());
    let StreamReply::Batches { batches, .. } = answered.reply else { panic!("{answered:?}") };
    assert_eq!(values(&batches, &answered.payload).len(), 3);
    drop(answerer);
    log.close().unwrap();
}

#[test]
fn a_closed_directory_can_be_held_again_while_handles_linger() {
    let dir = tempfile::tempdir().unwrap();
    let open = || Log::open(dir.path(), crate::LogConfig { serve: true, ..Default::default() });
    let log = open().unwrap();
    log.create_stream("s", stream::StreamConfig::default()).unwrap();
    let reader = log.reader("s", 0, stream::ReadFrom::Earliest).unwrap();
    let other = log.clone();
    let held = open().expect_err("it is held");
    assert!(held.to_string().contains(&std::process::id().to_string()), "{held}");
    log.close().unwrap();
    let again = open().unwrap();
    assert_eq!(again.streams().unwrap().len(), 1);
    assert!(other.streams().is_err(), "a handle of a closed log answered");
    drop(reader);
    again.close().unwrap();
}

/// A batch that cannot be read takes nothing from those before it.
#[test]
fn what_stands_before_an_error_is_answered_first() {
    let mut world = world(1, 1 << 20);
    let writer = world.log.writer("s", 0).unwrap();
    // The fourth tells the bookie that the third may be read.
    for value in ["a", "b", "c", "d"] {
        writer.append_wait(&[stream::Record::of(value)]).unwrap();
    }
    let ledger = world.log.describe("s").unwrap().partitions[0].segments[0].ledger;
    world.bookie.flip(ledger, EntryId(2));
    let mut read = |from| {
        let from = vec![Place { partition: 0, from }];
        let head = ReadHead { stream: "s".into(), from, bytes_max: 1 << 20, wait_ms: 0 };
        world.ask(StreamRequest::Read(head), Vec::new())
    };
    let first = read(ReadFrom::Earliest);
    let StreamReply::Batches { batches, next } = first.reply else { panic!("{first:?}") };
    let seen: Vec<String> =
        values(&batches, &first.payload).into_iter().map(|(_, value)| value).collect();
    assert_eq!(seen, ["a", "b"]);
    for _ in 0..2 {
        let then = read(ReadFrom::At(next[0].next));
        let StreamReply::Failed(failure) = then.reply else { panic!("{then:?}") };
        assert_eq!(failure.code, Code::Damaged, "{failure}");
    }
}

/// Whoever only wants to know how many partitions there are is not held up by what cannot be read.
#[test]
fn a_stream_is_found_among_all_that_begin_alike_and_nobody_looks_into_it() {
    let world = world(3, 1 << 20);
    let prefix = "s".repeat(2);
    let beside = u64::from(caps::LIST_STREAMS_MAX) + 2;
    for n in 0..beside {
        let name = format!("{prefix}-{n}");
        world.log.create_stream(&name, stream::StreamConfig::default()).unwrap();
    }
    let last = format!("{prefix}z");
    for name in [&last, &prefix] {
        let config = stream::StreamConfig { partitions: 2, ..stream::StreamConfig::default() };
        world.log.create_stream(name, config).unwrap();
    }
    world.log.writer("s", 0).unwrap().append_wait(&[stream::Record::of("0")]).unwrap();
    world.bookie.set_down(true);
    let mut directory = Directory::over(Path::new("d"), world.log.clone(), Box::new(()));
    assert!(directory.describe("s").is_err(), "its end is not known");
    for (name, partitions) in [("s", 3), (&last, 2), (&prefix, 2), ("ss-7", 1)] {
        let found = directory.stream(name).unwrap();
        assert_eq!((&*found.name, found.partitions), (name, partitions));
    }
    for name in ["r", "ssy", "t", ""] {
        let error = directory.stream(name).unwrap_err();
        assert_eq!(error.to_string(), format!("there is no stream `{name}`: create it first"));
    }
}
