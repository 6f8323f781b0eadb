//! What time does to streams: retention, and reading from a time. The clock is the test's own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use egret_schemas::{EntryId, Epoch, Generation, Position, SegmentId};

use super::error::{CreateStreamError, ReadError};
use super::*;
use crate::client::memory_bookie::MemoryBookie;
use crate::clock::Wall;
use crate::metadata::MemoryMeta;

struct World {
    bookie: Arc<MemoryBookie>,
    meta: Arc<MemoryMeta>,
    now: Arc<AtomicU64>,
    log: Log,
}

fn log(bookie: &Arc<MemoryBookie>, meta: &Arc<MemoryMeta>, now: &Arc<AtomicU64>) -> Log {
    let now = now.clone();
    let wall = Wall::of(move || now.load(Ordering::SeqCst));
    Log::over_by(bookie.clone(), meta.clone(), wall).unwrap()
}

fn world() -> World {
    let (bookie, meta) = (Arc::new(MemoryBookie::default()), Arc::new(MemoryMeta::new()));
    let now = Arc::new(AtomicU64::new(1000));
    let log = log(&bookie, &meta, &now);
    World { bookie, meta, now, log }
}

impl World {
    /// Another process over the same bookie and store.
    fn again(&self) -> Log {
        log(&self.bookie, &self.meta, &self.now)
    }

    fn at(&self, ms: u64) {
        self.now.store(ms, Ordering::SeqCst);
    }

    /// A segment for each append.
    fn create(&self, retention_ms: Option<u64>, retention_bytes: Option<u64>) {
        let config = StreamConfig {
            segment_bytes_max: 1,
            retention_ms,
            retention_bytes,
            ..StreamConfig::default()
        };
        self.log.create_stream("s", config).unwrap();
    }

    /// Appends the time at each time.
    fn append(&self, log: &Log, times: impl IntoIterator<Item = u64>) {
        for ms in times {
            self.at(ms);
            log.writer("s", 0).unwrap().append_wait(&[Record::of(ms.to_string())]).unwrap();
        }
    }
}

fn from(log: &Log, stream: &str, from: ReadFrom) -> Vec<String> {
    let mut reader = log.reader(stream, 0, from).unwrap();
    let mut found = Vec::new();
    while let Some(batch) = reader.next_wait(Duration::ZERO).unwrap() {
        found.extend(batch.records.iter().map(|r| String::from_utf8(r.value.to_vec()).unwrap()));
    }
    found
}

fn all(log: &Log) -> Vec<String> {
    from(log, "s", ReadFrom::Earliest)
}

fn since(log: &Log, ms: u64) -> Vec<String> {
    from(log, "s", ReadFrom::Time(ms))
}

#[test]
fn what_is_older_than_a_stream_keeps_goes_at_a_roll() {
    let world = world();
    world.create(Some(1000), None);
    world.append(&world.log, [1000, 1500, 2000]);
    assert_eq!(all(&world.log), ["1500", "2000"]);
    let segments = &world.log.describe("s").unwrap().partitions[0].segments;
    assert_eq!(segments.len(), 2, "and its ledger too");
    assert_eq!(segments[0].closed.unwrap().last_ms, 1500);
    world.append(&world.log, [100_000]);
    assert_eq!(all(&world.log), ["100000"]);
    let gone = Position { segment: SegmentId(1), entry: EntryId(0), slot: 0 };
    let error = world.log.reader("s", 0, ReadFrom::At(gone)).unwrap_err();
    assert!(matches!(error, ReadError::Truncated { .. }), "{error}");
}

#[test]
fn what_grew_too_old_meanwhile_goes_when_the_log_is_opened() {
    let world = world();
    world.create(Some(1000), None);
    world.append(&world.log, [1000, 1500, 1600]);
    world.at(2550);
    assert_eq!(all(&world.log), ["1000", "1500", "1600"], "nobody wrote");
    assert_eq!(all(&world.again()), ["1600"]);
    world.at(1_000_000);
    assert_eq!(all(&world.again()), ["1600"], "the last segment stays");
}

#[test]
fn a_stream_that_little_is_written_to_still_begins_segments() {
    let world = world();
    let config = StreamConfig { retention_ms: Some(1000), ..StreamConfig::default() };
    world.log.create_stream("s", config).unwrap();
    world.append(&world.log, (1..=10).map(|n| n * 600));
    assert_eq!(all(&world.log), ["4200", "4800", "5400", "6000"]);
}

#[test]
fn the_oldest_goes_while_what_is_left_holds_the_bytes_that_are_kept() {
    let world = world();
    world.create(None, Some(1));
    world.append(&world.log, 1000..1010);
    assert_eq!(all(&world.log), ["1008", "1009"]);
    let log = world.again();
    world.append(&log, 1010..1012);
    assert_eq!(all(&log), ["1010", "1011"], "a takeover knows what is there");
}

#[test]
fn what_a_topology_may_yet_read_is_kept_whatever_its_age() {
    let world = world();
    world.create(Some(100), None);
    let user = User { topology: "t".into(), component: "c".into() };
    let needed: BTreeMap<u32, Position> = [(0, "S2:0:0".parse().unwrap())].into();
    world.log.consume("s", &user, &needed).unwrap();
    world.append(&world.log, [1000, 2000, 3000, 4000]);
    assert_eq!(all(&world.log), ["2000", "3000", "4000"]);
    assert_eq!(all(&world.again()), ["2000", "3000", "4000"]);
    let needed: BTreeMap<u32, Position> = [(0, "S4:0:0".parse().unwrap())].into();
    world.log.consume("s", &user, &needed).unwrap();
    assert_eq!(all(&world.again()), ["4000"]);
}

#[test]
fn a_retention_that_makes_no_sense_is_refused() {
    let world = world();
    let create = |config| world.log.create_stream("s", config).unwrap_err();
    let none = StreamConfig { retention_bytes: Some(0), ..StreamConfig::default() };
    assert_eq!(create(none), CreateStreamError::NothingKept);
    let owned = StreamConfig {
        retention_ms: Some(1),
        transactional: Some("words".into()),
        ..StreamConfig::default()
    };
    assert_eq!(create(owned), CreateStreamError::OwnedRetention { owner: "words".into() });
}

#[test]
fn a_reader_begins_at_a_time_in_any_segment_and_entry() {
    let world = world();
    world.log.create_stream("s", StreamConfig::default()).unwrap();
    world.append(&world.log, [1000, 1100, 1100, 1200]);
    let log = world.again();
    world.append(&log, [2000, 2100]);
    let log = world.again();
    world.append(&log, [3000]);
    assert_eq!(since(&log, 0).len(), 7);
    assert_eq!(since(&log, 1100)[0..3], ["1100", "1100", "1200"]);
    assert_eq!(since(&log, 1101)[0], "1200");
    assert_eq!(since(&log, 1201), ["2000", "2100", "3000"]);
    assert_eq!(since(&log, 2100), ["2100", "3000"]);
    assert_eq!(since(&log, 3000), ["3000"]);
    let mut reader = log.reader("s", 0, ReadFrom::Time(9000)).unwrap();
    assert_eq!(reader.next_wait(Duration::ZERO).unwrap(), None);
    world.append(&log, [4000]);
    assert_eq!(reader.next_wait(Duration::ZERO).unwrap().unwrap().records.len(), 1);
}

#[test]
fn a_time_before_a_truncation_begins_at_what_is_left() {
    let world = world();
    world.create(None, None);
    world.append(&world.log, [1000, 2000, 3000]);
    world.log.truncate("s", 0, "S2:0:0".parse().unwrap(), false).unwrap();
    assert_eq!(since(&world.log, 500), ["2000", "3000"]);
    world.log.truncate("s", 0, "S3:1:0".parse().unwrap(), false).unwrap();
    assert_eq!(since(&world.log, 500), [""; 0]);
}

#[test]
fn a_clock_that_is_set_back_stands_still_in_the_log() {
    let world = world();
    world.log.create_stream("s", StreamConfig::default()).unwrap();
    world.append(&world.log, [5000, 1000, 6000]);
    assert_eq!(since(&world.log, 5000), ["5000", "1000", "6000"]);
    let log = world.again();
    world.append(&log, [2000]);
    assert_eq!(since(&log, 6000), ["6000", "2000"]);
}

#[test]
fn what_a_topology_commits_is_found_by_its_time() {
    let world = world();
    let transactional = Some("words".to_owned());
    let config = StreamConfig { transactional, segment_bytes_max: 1, ..StreamConfig::default() };
    world.log.create_stream("t", config).unwrap();
    let generation = Generation(1);
    let (topology, component) = ("words".to_owned(), "sink".to_owned());
    let owner = Owner { topology, component, task: 0, generation };
    let mut writer = world.log.transactional_writer("t", 0, &owner, None).unwrap();
    let mut epoch = Epoch::first(generation);
    for ms in [1000, 2000, 3000] {
        world.at(ms);
        let (told, done) = std::sync::mpsc::sync_channel(1);
        let told = Box::new(move |at| told.send(at).expect("somebody waits"));
        writer.append(epoch, &[Record::of(ms.to_string())], told);
        writer.publish(done.recv().unwrap().unwrap()).unwrap();
        epoch = epoch.next_commit().unwrap();
    }
    assert_eq!(from(&world.log, "t", ReadFrom::Time(1500)), ["2000", "3000"]);
    assert_eq!(from(&world.log, "t", ReadFrom::Time(3001)), [""; 0]);
}
