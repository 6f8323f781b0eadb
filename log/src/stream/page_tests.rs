//! Partitions of so many segments that their list has pages.

use std::sync::Arc;
use std::time::Duration;

use egret_schemas::{EntryId, Epoch, Generation, Position, SegmentId};

use super::error::ReadError;
use super::*;
use crate::caps;
use crate::client::memory_bookie::MemoryBookie;
use crate::metadata::{MemoryMeta, MetaStore};

const SEGMENTS: u64 = 5000;
/// What a segment's record takes, with room for all else in the partition's record.
const RECORD_BYTES_MAX: usize = (caps::SEGMENTS_INLINE_MAX + 10) * 64;

struct World {
    bookie: Arc<MemoryBookie>,
    meta: Arc<MemoryMeta>,
    log: Log,
}

impl World {
    /// A partition of [`SEGMENTS`] segments of one record each.
    fn long() -> World {
        let (bookie, meta) = (Arc::new(MemoryBookie::default()), Arc::new(MemoryMeta::new()));
        let log = Log::over(bookie.clone(), meta.clone()).unwrap();
        let config = StreamConfig { segment_bytes_max: 1, ..StreamConfig::default() };
        log.create_stream("s", config).unwrap();
        let writer = log.writer("s", 0).unwrap();
        for n in 0..SEGMENTS {
            writer.append_wait(&[Record::of(n.to_string())]).unwrap();
        }
        World { bookie, meta, log }
    }

    fn again(&self) -> Log {
        Log::over(self.bookie.clone(), self.meta.clone()).unwrap()
    }

    fn pages(&self) -> usize {
        self.meta.list("/segments/s/0/").unwrap().entries.len()
    }
}

fn start(segment: u64) -> Position {
    Position { segment: SegmentId(segment), entry: EntryId(0), slot: 0 }
}

/// What stands from a place on, up to `count` records.
fn read(log: &Log, from: ReadFrom, count: usize) -> Vec<u64> {
    let mut reader = log.reader("s", 0, from).unwrap();
    let mut found = Vec::new();
    while found.len() < count
        && let Some(batch) = reader.next_wait(Duration::ZERO).unwrap()
    {
        found.extend(
            batch
                .records
                .iter()
                .map(|r| String::from_utf8(r.value.to_vec()).unwrap().parse::<u64>().unwrap()),
        );
    }
    found
}

/// Once, the whole list was written at every roll.
#[test]
fn a_record_of_thousands_of_segments_stays_bounded_and_all_of_them_are_there() {
    let world = World::long();
    let record = world.meta.get("/partition/s/0").unwrap().unwrap().value;
    assert!(record.len() < RECORD_BYTES_MAX, "{}", record.len());
    assert_eq!(world.pages(), 4);
    let described = world.log.describe_partition("s", 0).unwrap();
    assert_eq!((described.segments.len() as u64, described.records), (SEGMENTS, SEGMENTS));
    let ids: Vec<u64> = described.segments.iter().map(|segment| segment.id.0).collect();
    assert_eq!(ids, (1..=SEGMENTS).collect::<Vec<_>>());
    assert_eq!(read(&world.log, ReadFrom::Earliest, 3), [0, 1, 2]);
    // From one page to the next, and from the last page to the record.
    assert_eq!(read(&world.log, ReadFrom::At(start(999)), 4), [998, 999, 1000, 1001]);
    assert_eq!(read(&world.log, ReadFrom::At(start(3999)), 4), [3998, 3999, 4000, 4001]);
    assert_eq!(read(&world.log, ReadFrom::At(start(3800)), usize::MAX).len(), 1201);
    assert_eq!(read(&world.log, ReadFrom::Time(0), 2), [0, 1]);
    assert_eq!(read(&world.log, ReadFrom::Time(u64::MAX), 2), [0; 0]);
    let log = world.again();
    log.writer("s", 0).unwrap().append_wait(&[Record::of("5000")]).unwrap();
    assert_eq!(read(&log, ReadFrom::At(start(SEGMENTS)), 9), [4999, 5000]);
}

#[test]
fn truncation_removes_pages_and_stops_inside_one() {
    let world = World::long();
    let mut reader = world.log.reader("s", 0, ReadFrom::At(start(500))).unwrap();
    world.log.truncate("s", 0, start(501), false).unwrap();
    assert_eq!(world.pages(), 4, "a page is not written again");
    let described = world.log.describe_partition("s", 0).unwrap();
    assert_eq!(described.segments.len() as u64, SEGMENTS - 500);
    assert_eq!(described.records, SEGMENTS - 500);
    assert_eq!(read(&world.log, ReadFrom::Earliest, 2), [500, 501]);
    let error = reader.next_wait(Duration::ZERO).unwrap_err();
    assert!(matches!(error, ReadError::Truncated { first } if first == start(501)), "{error}");
    world.log.truncate("s", 0, start(2500), false).unwrap();
    assert_eq!(world.pages(), 2);
    assert_eq!(read(&world.log, ReadFrom::Earliest, 2), [2499, 2500]);
    let log = world.again();
    log.truncate("s", 0, start(4900), false).unwrap();
    assert_eq!(world.pages(), 0);
    assert_eq!(log.describe_partition("s", 0).unwrap().segments.len(), 101);
    assert_eq!(read(&log, ReadFrom::Earliest, 2), [4899, 4900]);
    log.delete_stream("s", false).unwrap();
    assert_eq!(world.meta.list("/ledgers/").unwrap().entries, [], "none is left behind");
}

#[test]
fn a_deleted_stream_leaves_no_page_and_no_ledger() {
    let world = World::long();
    world.log.delete_stream("s", false).unwrap();
    assert_eq!(world.pages(), 0);
    assert_eq!(world.meta.list("/partition/s/").unwrap().entries, []);
    assert_eq!(world.meta.list("/ledgers/").unwrap().entries, []);
}

#[test]
fn an_owner_that_comes_back_drops_what_was_not_committed_from_pages_too() {
    let (bookie, meta) = (Arc::new(MemoryBookie::default()), Arc::new(MemoryMeta::new()));
    let log = Log::over(bookie, meta.clone()).unwrap();
    let transactional = Some("words".to_owned());
    let config = StreamConfig { transactional, segment_bytes_max: 1, ..StreamConfig::default() };
    log.create_stream("s", config).unwrap();
    let owner = |generation| Owner {
        topology: "words".to_owned(),
        component: "sink".to_owned(),
        task: 0,
        generation: Generation(generation),
    };
    let mut writer = log.transactional_writer("s", 0, &owner(1), None).unwrap();
    let mut epoch = Epoch::first(Generation(1));
    let mut at = Vec::new();
    for n in 0..2200 {
        writer.append(epoch, &[Record::of(n.to_string())], Box::new(drop));
        at.push(writer.position());
        epoch = epoch.next_commit().unwrap();
    }
    assert_eq!(meta.list("/segments/s/0/").unwrap().entries.len(), 2);
    let committed = at[499];
    let writer = log.transactional_writer("s", 0, &owner(2), Some(committed)).unwrap();
    assert_eq!(meta.list("/segments/s/0/").unwrap().entries.len(), 0);
    assert_eq!(log.describe_partition("s", 0).unwrap().records, 500);
    assert_eq!(read(&log, ReadFrom::At(start(499)), 9), [498, 499]);
    drop(writer);
}
