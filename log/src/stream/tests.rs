//! Streams over a bookie and a metadata store in memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use egret_schemas::{EntryId, Position, SegmentId};

use super::error::{AppendError, ReadError, TruncateError};
use super::*;
use crate::caps;
use crate::client::memory_bookie::MemoryBookie;
use crate::message::{Refusal, Wake};
use crate::metadata::MemoryMeta;
use crate::outcome::Outcome;

pub(super) struct World {
    pub(super) bookie: Arc<MemoryBookie>,
    pub(super) meta: Arc<MemoryMeta>,
    pub(super) log: Log,
}

pub(super) fn world() -> World {
    let (bookie, meta) = (Arc::new(MemoryBookie::default()), Arc::new(MemoryMeta::new()));
    let log = Log::over(bookie.clone(), meta.clone()).unwrap();
    World { bookie, meta, log }
}

impl World {
    /// Another process over the same bookie and store: what it opens takes over.
    pub(super) fn again(&self) -> Log {
        Log::over(self.bookie.clone(), self.meta.clone()).unwrap()
    }

    pub(super) fn plain(&self, segment_bytes_max: u64) -> PartitionWriter {
        let config = StreamConfig { segment_bytes_max, ..StreamConfig::default() };
        self.log.create_stream("s", config).unwrap();
        self.log.writer("s", 0).unwrap()
    }

    pub(super) fn owned(&self, segment_bytes_max: u64) {
        let transactional = Some("words".to_owned());
        let config = StreamConfig { segment_bytes_max, transactional, ..StreamConfig::default() };
        self.log.create_stream("t", config).unwrap();
    }
}

pub(super) fn text(s: &str) -> Record {
    Record::of(s.to_owned())
}

pub(super) fn all(log: &Log, stream: &str) -> Vec<String> {
    let mut reader = log.reader(stream, 0, ReadFrom::Earliest).unwrap();
    let mut found = Vec::new();
    let mut number = None;
    while let Some(batch) = reader.next_wait(Duration::ZERO).unwrap() {
        let expected = number.get_or_insert(batch.first_number);
        assert_eq!(batch.first_number, *expected, "numbers are dense");
        *expected += batch.records.len() as u64;
        found.extend(batch.records.iter().map(|r| String::from_utf8(r.value.to_vec()).unwrap()));
    }
    found
}

fn numbered(producer: &str, range: std::ops::Range<u64>) -> (Producer, Vec<Record>) {
    let note = range.end.to_string().into();
    let producer = Producer { name: producer.to_owned().into(), note };
    let record = |n: u64| Record { sequence: Some(n), ..text(&n.to_string()) };
    (producer, range.map(record).collect())
}

pub(super) fn strings(range: std::ops::Range<u64>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

#[test]
fn records_are_read_in_order_through_rolls_and_restarts() {
    let world = world();
    let writer = world.plain(40);
    for n in 0..20 {
        writer.append_wait(&[text(&n.to_string())]).unwrap();
    }
    assert_eq!(all(&world.log, "s"), strings(0..20));
    let log = world.again();
    for n in 20..30 {
        log.writer("s", 0).unwrap().append_wait(&[text(&n.to_string())]).unwrap();
    }
    assert_eq!(all(&log, "s"), strings(0..30));
    let described = &log.describe("s").unwrap().partitions[0];
    assert_eq!(described.records, 30);
    assert!(described.segments.len() > 3, "{described:?}");
}

#[test]
fn a_writer_that_was_taken_over_appends_nothing_more() {
    let world = world();
    let old = world.plain(1 << 20);
    old.append_wait(&[text("a")]).unwrap();
    let log = world.again();
    let new = log.writer("s", 0).unwrap();
    let error = old.append_wait(&[text("b")]).unwrap_err();
    assert_eq!(error.outcome(), Outcome::Unknown);
    new.append_wait(&[text("c")]).unwrap();
    assert_eq!(all(&log, "s"), ["a", "c"]);
}

#[test]
fn a_record_and_its_position_find_each_other() {
    let world = world();
    let writer = world.plain(1 << 20);
    writer.append_wait(&[text("a"), text("b")]).unwrap();
    let appended = writer.append_wait(&[text("c"), text("d"), text("e")]).unwrap();
    assert_eq!((appended.position.to_string().as_str(), appended.records), ("S1:1:0", 3));
    let at = Position { slot: 1, ..appended.position };
    let mut reader = world.log.reader("s", 0, ReadFrom::At(at)).unwrap();
    let batch = reader.next_wait(Duration::ZERO).unwrap().unwrap();
    assert_eq!(batch.records, [text("d"), text("e")]);
    assert_eq!((batch.first, batch.first_number), (at, 3));
    assert_eq!(reader.position(), reader.end().unwrap());
    let latest = world.log.reader("s", 0, ReadFrom::Latest).unwrap();
    assert_eq!(latest.position(), reader.position());
}

#[test]
fn an_append_tried_again_is_there_once() {
    let world = world();
    let writer = world.plain(60);
    for end in [3, 5, 9] {
        let (producer, records) = numbered("p", 0..end);
        let appended = writer.append_as_wait(&producer, &records).unwrap();
        assert_eq!(u64::from(appended.records + appended.duplicates), end);
    }
    let log = world.again();
    let writer = log.writer("s", 0).unwrap();
    let state = writer.producer_state(b"p").unwrap().unwrap();
    assert_eq!((state.last_sequence, &state.note[..]), (Some(8), &b"9"[..]));
    assert_eq!(writer.producer_state(b"other").unwrap(), None);
    let (producer, records) = numbered("p", 0..9);
    let again = writer.append_as_wait(&producer, &records).unwrap();
    assert_eq!((again.records, again.duplicates), (0, 9));
    let (producer, records) = numbered("p", 7..12);
    writer.append_as_wait(&producer, &records).unwrap();
    let (producer, records) = numbered("q", 0..1);
    writer.append_as_wait(&producer, &records).unwrap();
    let mut expected = strings(0..12);
    expected.push("0".to_owned());
    assert_eq!(all(&log, "s"), expected);
}

/// The state of producers rides in the snapshot that begins each segment: many segments later it is
/// known though only the last two are read.
#[test]
fn producers_are_remembered_over_many_segments() {
    let world = world();
    let writer = world.plain(1);
    let (producer, records) = numbered("early", 0..4);
    writer.append_as_wait(&producer, &records).unwrap();
    for n in 4..10 {
        writer.append_wait(&[text(&n.to_string())]).unwrap();
    }
    let log = world.again();
    let writer = log.writer("s", 0).unwrap();
    assert_eq!(writer.append_as_wait(&producer, &records).unwrap().duplicates, 4);
    assert_eq!(all(&log, "s"), strings(0..10));
}

#[test]
fn nothing_is_created_until_something_is_appended() {
    let world = world();
    world.plain(1 << 20);
    for _ in 0..3 {
        world.again().writer("s", 0).unwrap();
    }
    assert_eq!(world.log.describe("s").unwrap().partitions[0].segments, []);
    assert_eq!(all(&world.log, "s"), Vec::<String>::new());
}

#[test]
fn after_a_refused_append_the_next_one_starts_anew() {
    let world = world();
    let writer = world.plain(1 << 20);
    let (producer, records) = numbered("p", 0..2);
    writer.append_as_wait(&producer, &records).unwrap();
    world.bookie.refuse_adds(Some(Refusal::DiskFull { dir: "/d".into(), free: 1 }));
    for _ in 0..3 {
        let (producer, records) = numbered("p", 0..4);
        let error = writer.append_as_wait(&producer, &records).unwrap_err();
        assert_eq!(error.outcome(), Outcome::Definite, "{error}");
    }
    world.bookie.refuse_adds(None);
    let (producer, records) = numbered("p", 0..4);
    let appended = writer.append_as_wait(&producer, &records).unwrap();
    assert_eq!((appended.records, appended.duplicates), (2, 2));
    assert_eq!(all(&world.log, "s"), strings(0..4));
    assert_eq!(world.log.describe("s").unwrap().partitions[0].segments.len(), 2);
}

/// The segment was listed and never created: readers must not wait in it for ever.
#[test]
fn after_a_segment_could_not_be_created_readers_pass_it() {
    let world = world();
    let writer = world.plain(1);
    writer.append_wait(&[text("0")]).unwrap();
    world.bookie.refuse_creates(Some(Refusal::DiskFull { dir: "/d".into(), free: 1 }));
    let error = writer.append_wait(&[text("lost")]).unwrap_err();
    assert_eq!(error.outcome(), Outcome::Definite, "{error}");
    world.bookie.refuse_creates(None);
    writer.append_wait(&[text("1")]).unwrap();
    assert_eq!(all(&world.log, "s"), strings(0..2));
}

#[test]
fn a_large_append_is_cut_into_entries_and_stays_one_append() {
    let world = world();
    let writer = world.plain(1 << 30);
    let large = |b: u8| Record::of(vec![b; 3 << 20]);
    let appended = writer.append_wait(&[large(1), large(2), large(3)]).unwrap();
    assert_eq!((appended.position, appended.records), ("S1:0:0".parse().unwrap(), 3));
    let mut reader = world.log.reader("s", 0, ReadFrom::Earliest).unwrap();
    for n in 1..=3u8 {
        let batch = reader.next_wait(Duration::ZERO).unwrap().unwrap();
        assert_eq!(batch.records, [large(n)]);
    }
    let too_large = Record::of(vec![0; caps::RECORD_BYTES_MAX + 1]);
    let error = writer.append_wait(&[text("a"), too_large]).unwrap_err();
    assert!(matches!(error, AppendError::RecordTooLarge { index: 1, .. }));
}

#[test]
fn callers_on_several_threads_append_at_once() {
    let world = world();
    let writer = world.plain(200);
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let writer = writer.clone();
            scope.spawn(move || {
                for n in 0..50 {
                    let (mut producer, records) = numbered("", n..n + 1);
                    producer.name = thread.to_string().into();
                    writer.append_as_wait(&producer, &records).unwrap();
                }
            });
        }
    });
    assert_eq!(all(&world.log, "s").len(), 200);
    let log = world.again();
    let writer = log.writer("s", 0).unwrap();
    for thread in 0..4u64 {
        let state = writer.producer_state(thread.to_string().as_bytes()).unwrap().unwrap();
        assert_eq!(state.last_sequence, Some(49));
    }
}

#[test]
fn an_asynchronous_append_is_told_once_it_is_durable() {
    let world = world();
    let writer = world.plain(1 << 20);
    writer.append_wait(&[text("0")]).unwrap();
    world.bookie.hold_adds();
    let (sender, receiver) = sync_channel(4);
    for n in 1..4u64 {
        let sender = sender.clone();
        let (producer, records) = numbered("p", n..n + 1);
        writer.append_as(&producer, &records, Box::new(move |done| sender.send(done).unwrap()));
    }
    let (producer, records) = numbered("p", 3..4);
    writer.append_as(&producer, &records, Box::new(move |done| sender.send(done).unwrap()));
    assert!(receiver.try_recv().is_err(), "not even the duplicate is acknowledged yet");
    world.bookie.release_in_reverse(3);
    let done: Vec<_> = receiver.iter().map(|done| done.unwrap()).collect();
    assert_eq!(done.iter().map(|d| d.duplicates).collect::<Vec<_>>(), [0, 0, 0, 1]);
    assert_eq!(all(&world.log, "s"), strings(0..4));
}

#[test]
fn a_tailing_reader_is_woken_by_appends_rolls_and_takeovers() {
    let world = world();
    let writer = world.plain(30);
    let log = world.log.clone();
    let reading = std::thread::spawn(move || {
        let mut reader = log.reader("s", 0, ReadFrom::Earliest).unwrap();
        let mut found = Vec::new();
        while found.len() < 100 {
            let batch = reader.next_wait(Duration::from_secs(20)).unwrap().expect("in time");
            found
                .extend(batch.records.iter().map(|r| String::from_utf8(r.value.to_vec()).unwrap()));
        }
        found
    });
    for n in 0..100 {
        writer.append_wait(&[text(&n.to_string())]).unwrap();
    }
    assert_eq!(reading.join().unwrap(), strings(0..100));
}

#[test]
fn a_wake_is_called_once_for_one_pending_poll() {
    let world = world();
    let writer = world.plain(1 << 20);
    writer.append_wait(&[text("0")]).unwrap();
    let mut reader = world.log.reader("s", 0, ReadFrom::Latest).unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let counter = calls.clone();
    let wake: Wake = Arc::new(move || {
        counter.fetch_add(1, Ordering::SeqCst);
    });
    for _ in 0..5 {
        assert_eq!(reader.poll(&wake).unwrap(), Poll::Pending);
    }
    writer.append_wait(&[text("1")]).unwrap();
    writer.append_wait(&[text("2")]).unwrap();
    assert_eq!(calls.load(Ordering::SeqCst), 1);
    assert!(matches!(reader.poll(&wake).unwrap(), Poll::Batch(_)));
    assert!(matches!(reader.poll(&wake).unwrap(), Poll::Batch(_)));
    assert_eq!(reader.poll(&wake).unwrap(), Poll::Pending);
}

#[test]
fn truncation_is_told_never_silent() {
    let world = world();
    let writer = world.plain(1);
    let positions: Vec<Position> =
        (0..6).map(|n| writer.append_wait(&[text(&n.to_string())]).unwrap().position).collect();
    let mut behind = world.log.reader("s", 0, ReadFrom::Earliest).unwrap();
    behind.next_wait(Duration::ZERO).unwrap().unwrap();
    world.log.truncate("s", 0, positions[3], false).unwrap();
    let told = Err(ReadError::Truncated { first: positions[3] });
    assert_eq!(behind.next_wait(Duration::ZERO), told);
    assert_eq!(world.log.reader("s", 0, ReadFrom::At(positions[1])).err(), told.err());
    assert_eq!(all(&world.log, "s"), strings(3..6));
    let described = &world.log.describe("s").unwrap().partitions[0];
    assert_eq!((described.segments.len(), described.records), (3, 3));
    let end = described.end;
    assert!(matches!(
        world.log.truncate("s", 0, end.next_entry(), false),
        Err(TruncateError::BeyondEnd { .. })
    ));
    world.log.truncate("s", 0, end, false).unwrap();
    assert_eq!(world.log.describe("s").unwrap().partitions[0].records, 0);
    assert_eq!(all(&world.log, "s"), Vec::<String>::new());
    writer.append_wait(&[text("6")]).unwrap();
    assert_eq!(all(&world.log, "s"), ["6"]);
    let beyond = Position { segment: SegmentId(99), ..Position::START };
    assert!(matches!(
        world.log.reader("s", 0, ReadFrom::At(beyond)),
        Err(ReadError::NoSuchPosition { .. })
    ));
}

#[test]
fn a_deleted_stream_is_gone_and_its_name_is_free() {
    let world = world();
    let writer = world.plain(1);
    for n in 0..3 {
        writer.append_wait(&[text(&n.to_string())]).unwrap();
    }
    let mut reader = world.log.reader("s", 0, ReadFrom::Earliest).unwrap();
    let zombie = world.again().writer("s", 0).unwrap();
    zombie.append_wait(&[text("3")]).unwrap();
    world.log.delete_stream("s", false).unwrap();
    assert!(reader.next_wait(Duration::ZERO).is_err());
    assert!(writer.append_wait(&[text("4")]).is_err());
    assert!(zombie.append_wait(&[text("4")]).is_err());
    assert!(zombie.append_wait(&[text("4")]).is_err(), "it does not take over either");
    assert!(world.log.stream("s").is_err());
    assert!(
        crate::metadata::MetaStore::list(&*world.meta, "/ledgers/").unwrap().entries.is_empty()
    );
    world.plain(1).append_wait(&[text("new")]).unwrap();
    assert_eq!(all(&world.log, "s"), ["new"]);
}

#[test]
fn a_closed_log_closed_its_segments_and_refuses() {
    let world = world();
    let writer = world.plain(1 << 20);
    writer.append_wait(&[text("a")]).unwrap();
    let kept = world.log.clone();
    let mut reader = kept.reader("s", 0, ReadFrom::Latest).unwrap();
    world.log.close().unwrap();
    assert_eq!(writer.append_wait(&[text("b")]), Err(AppendError::Closed));
    assert!(kept.writer("s", 0).is_err());
    assert!(reader.next_wait(Duration::from_secs(9)).is_err(), "not left waiting");
    let again = Log::over(world.bookie.clone(), world.meta.clone()).unwrap();
    let segments = &again.describe("s").unwrap().partitions[0].segments;
    assert_eq!(segments[0].end, crate::client::LedgerEnd::Closed { last: Some(EntryId(0)) });
}

#[test]
fn names_partitions_and_doubles_are_refused() {
    let world = world();
    world.plain(1);
    let config = StreamConfig::default;
    assert!(world.log.create_stream("s", config()).is_err());
    assert!(world.log.create_stream("a/b", config()).is_err());
    let none = StreamConfig { partitions: 0, ..config() };
    assert!(world.log.create_stream("n", none).is_err());
    let error = world.log.writer("s", 1).unwrap_err().to_string();
    assert_eq!(error, "stream `s` has 1 partition, numbered from 0: there is no 1");
    assert_eq!(world.log.streams().unwrap().len(), 1);
}

#[test]
fn a_reader_or_writer_of_another_format_is_refused_with_both_names() {
    let world = world();
    let config = StreamConfig { format: Format::Json, ..StreamConfig::default() };
    world.log.create_stream("j", config).unwrap();
    let want = "stream `j` holds json, not bytes: use its format, or another stream";
    assert_eq!(world.log.writer("j", 0).unwrap_err().to_string(), want);
    assert_eq!(world.log.reader("j", 0, ReadFrom::Earliest).unwrap_err().to_string(), want);
    let other = Format::Postcard("clicks.v1".to_owned());
    let want = "stream `j` holds json, not postcard:clicks.v1: use its format, or another stream";
    assert_eq!(world.log.writer_of("j", 0, &other).unwrap_err().to_string(), want);
    let writer = world.log.writer_of("j", 0, &Format::Json).unwrap();
    writer.append_wait(&[text("{}")]).unwrap();
    let mut reader = world.log.reader_of("j", 0, ReadFrom::Earliest, &Format::Json).unwrap();
    assert!(reader.next_wait(Duration::ZERO).unwrap().is_some());
}

/// Once, the producer that appended longest ago was forgotten to make room, and what it sent again was
/// there twice.
#[test]
fn a_producer_too_many_is_refused_and_none_is_forgotten() {
    let world = world();
    let writer = world.plain(caps::SEGMENT_BYTES);
    for n in 0..caps::PRODUCERS_MAX {
        let (producer, records) = numbered(&n.to_string(), 0..1);
        assert_eq!(writer.append_as_wait(&producer, &records).unwrap().records, 1);
    }
    let (one_more, records) = numbered("one more", 0..1);
    let refused = |writer: &PartitionWriter| {
        let error = writer.append_as_wait(&one_more, &records).unwrap_err();
        assert_eq!(error.outcome(), Outcome::Definite);
        assert!(error.to_string().contains("no room for another"), "{error}");
        let (first, records) = numbered("0", 0..2);
        writer.append_as_wait(&first, &records).unwrap()
    };
    let appended = refused(&writer);
    assert_eq!((appended.records, appended.duplicates), (1, 1), "known, and known again");
    assert_eq!(writer.append_wait(&[text("of nobody")]).unwrap().records, 1);
    let appended = refused(&world.again().writer("s", 0).unwrap());
    assert_eq!((appended.records, appended.duplicates), (0, 2));
}

/// Another process appends, its segments roll, a third takes the partition over: a reader that had come
/// to the end before each sees what was appended since.
#[test]
fn a_reader_follows_what_other_processes_append() {
    let world = world();
    world.plain(200);
    let other = || {
        let one = crate::client::Ledgers::on_one(world.bookie.clone(), world.meta.clone());
        Log::on(one).unwrap()
    };
    let reading = other();
    let mut reader = reading.reader("s", 0, ReadFrom::Earliest).unwrap();
    let mut appended = Vec::new();
    for _ in 0..3 {
        let log = other();
        let writer = log.writer("s", 0).unwrap();
        for _ in 0..20 {
            let value = format!("record {}", appended.len());
            writer.append_wait(&[text(&value)]).unwrap();
            appended.push(value);
        }
        let mut seen = appended.len() - 20;
        while seen < appended.len() {
            let batch = reader.next_wait(Duration::from_secs(20)).unwrap();
            for record in batch.expect("it was appended").records {
                assert_eq!(record.value, appended[seen].as_bytes());
                seen += 1;
            }
        }
        assert!(reader.next_wait(Duration::from_millis(20)).unwrap().is_none());
    }
    assert!(world.log.describe_partition("s", 0).unwrap().segments.len() > 3, "they rolled");
}

/// What a segment still held before the first position was counted, too.
#[test]
fn truncated_records_are_not_counted() {
    let world = world();
    let writer = world.plain(1 << 20);
    let positions: Vec<Position> = (0..6)
        .map(|n| writer.append_wait(&[text(&n.to_string()), text("beside it")]).unwrap().position)
        .collect();
    let described = || world.log.describe("s").unwrap().partitions.remove(0);
    assert_eq!((described().first_number, described().records), (0, 12));
    let within = Position { slot: 1, ..positions[4] };
    for (before, left) in [(positions[0], 12), (positions[2], 8), (within, 3)] {
        world.log.truncate("s", 0, before, false).unwrap();
        let described = described();
        assert_eq!((described.segments.len(), described.records), (1, left), "{before}");
        assert_eq!(described.first_number, 12 - left);
        assert_eq!(all(&world.log, "s").len() as u64, left);
    }
}
