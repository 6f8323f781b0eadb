//! Streams some of whose bookies are away: what can be read is read, and nobody is told that there is no more.

use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use bytes::Bytes;
use egret_schemas::bytes::Reader;
use egret_schemas::records::RecordRef;
use egret_schemas::stream::{Place, ReadFrom as From, ReadHead};
use egret_schemas::{EntryId, Epoch, Generation, Position, SegmentId};

use super::error::OpenWriterError;
use super::*;
use crate::client::several_tests::World;
use crate::directory::{Directory, DirectoryError, Read};

fn log(world: &World) -> Log {
    Log::on(world.ledgers.clone()).unwrap()
}

fn append(world: &World, numbers: std::ops::Range<u32>, away: std::ops::Range<u32>) {
    let log = log(world);
    let writer = log.writer("s", 0).unwrap();
    for n in numbers.chain(away.clone()) {
        // From here on the first bookie misses everything.
        if away.contains(&n) && n == away.start {
            writer.append_wait(&[Record::of("")]).unwrap();
            world.bookie(0).set_down(true);
        }
        writer.append_wait(&[Record::of(n.to_string())]).unwrap();
    }
}

/// Only the first bookie is there.
fn only_the_first(world: &World) {
    (0..3).for_each(|bookie| world.bookie(bookie).set_down(bookie > 0));
}

struct Shell(Directory);

impl Shell {
    fn of(world: &World) -> Shell {
        Shell(Directory::over(Path::new("blue.toml"), log(world), Box::new(())))
    }

    fn read(&mut self, from: From, wait_ms: u32) -> Result<Read, DirectoryError> {
        let (stream, from) = ("s".to_owned(), vec![Place { partition: 0, from }]);
        self.0.read(ReadHead { stream, from, bytes_max: 1 << 20, wait_ms })
    }

    /// Everything there is, like `egret stream cat`, and the error that ends it, if one does.
    fn all(&mut self) -> (Vec<String>, Option<String>) {
        let (mut from, mut all, mut until) = (From::Earliest, Vec::new(), None);
        loop {
            let read = match self.read(from, 0) {
                Ok(read) => read,
                Err(error) => return (all, Some(error.to_string())),
            };
            all.extend(values(&read));
            let next = read.next[0];
            if next.next >= *until.get_or_insert(next.end) || read.batches.is_empty() {
                return (all, None);
            }
            from = From::At(next.next);
        }
    }
}

fn values(read: &Read) -> Vec<String> {
    let mut payload = Reader::new(&read.payload);
    let records: u32 = read.batches.iter().map(|batch| batch.records).sum();
    let take = |_| RecordRef::take(&mut payload).unwrap().value.to_vec();
    let texts = (0..records).map(take).map(|value| String::from_utf8(value).unwrap());
    texts.filter(|text| !text.is_empty()).collect()
}

fn strings(numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|n| n.to_string()).collect()
}

fn names_the_others(said: &str) {
    for part in ["how far L", "B2 says", "B3 says", "start or mend what does not answer"] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

/// Once, it was said to hold nothing behind its first segment, and that nothing was wrong.
#[test]
fn who_never_heard_of_the_last_segment_does_not_make_it_empty() {
    let world = World::new(3);
    log(&world).create_stream("s", StreamConfig::default()).unwrap();
    append(&world, 0..3, 0..0);
    world.bookie(0).set_down(true);
    append(&world, 3..6, 0..0);
    only_the_first(&world);
    let mut shell = Shell::of(&world);
    // Twice: what was told once is met again.
    for _ in 0..2 {
        let (found, why) = shell.all();
        assert_eq!(found, strings(0..3), "what stands before it is read");
        names_the_others(&why.expect("and then it is said who is away"));
    }
    let error = shell.0.describe("s").unwrap_err();
    assert!(!error.is_refusal(), "it may go better: {error}");
    names_the_others(&error.to_string());
    names_the_others(&shell.read(From::Latest, 0).unwrap_err().to_string());
    world.bookie(1).set_down(false);
    assert_eq!(Shell::of(&world).all(), (strings(0..6), None));
    let described = Shell::of(&world).0.describe("s").unwrap();
    assert_eq!(described.partitions[0].records, 6);
}

#[test]
fn what_one_bookie_knows_is_followed_and_is_not_all_there_is() {
    let world = World::new(3);
    log(&world).create_stream("s", StreamConfig::default()).unwrap();
    append(&world, 0..3, 3..9);
    only_the_first(&world);
    let mut shell = Shell::of(&world);
    let (found, why) = shell.all();
    assert_eq!(found, strings(0..3));
    names_the_others(&why.expect("there is more, or may be"));
    names_the_others(&shell.0.describe("s").unwrap_err().to_string());
    // Who waits for what comes is not held up.
    let read = shell.read(From::Last(2), 1).unwrap();
    assert!(values(&read).contains(&"2".to_owned()), "{read:?}");
    let next = read.next[0].next;
    let read = shell.read(From::At(next), 1).unwrap();
    assert_eq!((read.batches.len(), read.next[0].end), (0, next));
    let mut reader = log(&world).reader("s", 0, ReadFrom::At(next)).unwrap();
    assert_eq!(reader.next_wait(Duration::ZERO), Ok(None));
    assert!(!reader.is_sure());
    names_the_others(&reader.end().unwrap_err().to_string());
    // The others are back, and it goes on where it was.
    (0..3).for_each(|bookie| world.bookie(bookie).set_down(false));
    let batch = reader.next_wait(Duration::from_secs(30)).unwrap().unwrap();
    assert_eq!(batch.records[0].value, Bytes::from_static(b"3"));
}

fn owner(generation: u32) -> Owner {
    Owner {
        topology: "words".to_owned(),
        component: "sink".to_owned(),
        task: 0,
        generation: Generation(generation),
    }
}

/// An entry of the first commit of a generation.
fn commit(writer: &mut TransactionalWriter, generation: u32) -> (SegmentId, EntryId) {
    let epoch = Epoch::new(Generation(generation), 0, 0);
    let (told, tells) = sync_channel(1);
    let done = Box::new(move |done| told.send(done).unwrap());
    writer.append(epoch, &[Record::of(generation.to_string())], done);
    tells.recv_timeout(Duration::from_secs(30)).unwrap().unwrap()
}

/// A topology was killed in the middle of a commit; one of three bookies was away when its segment was made,
/// and is there now instead of another. What lies behind the last commit is neither there nor provably
/// absent, and once that kept the topology from starting.
#[test]
fn a_takeover_does_not_mind_what_is_in_doubt_behind_its_last_commit() {
    let world = World::new(3);
    let transactional = Some("words".to_owned());
    let config = StreamConfig { transactional, ..StreamConfig::default() };
    log(&world).create_stream("t", config).unwrap();
    world.bookie(0).set_down(true);
    let first = log(&world);
    let mut writer = first.transactional_writer("t", 0, &owner(1), None).unwrap();
    let (segment, last) = commit(&mut writer, 1);
    writer.publish((segment, last)).unwrap();
    drop(writer);
    world.bookie(0).set_down(false);
    world.bookie(1).set_down(true);
    let again = log(&world);
    let committed = Some((segment, Some(last)));
    let opened = again.transactional_writer("t", 0, &owner(2), committed);
    let mut writer = opened.unwrap_or_else(|why: OpenWriterError| panic!("{why}"));
    let (next, entry) = commit(&mut writer, 2);
    writer.publish((next, entry)).unwrap();
    let mut reader = again.reader("t", 0, ReadFrom::Earliest).unwrap();
    for at in [segment, next] {
        let batch = reader.next_wait(Duration::from_secs(30)).unwrap().unwrap();
        assert_eq!(batch.first, Position { segment: at, entry: EntryId(0), slot: 0 });
    }
}
