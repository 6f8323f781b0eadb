//! A directory that is shared: its holder and those who are attached write and read the same streams.
//!
//! Both are in this process here, over real sockets; `log/tests/attach.rs` has them in processes of their own.

use std::path::Path;
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use egret_schemas::stream::NewStream;
use egret_schemas::{EntryId, Epoch, Generation, LedgerId, Position, SegmentId, Term};

use super::*;
use crate::client::LedgerEnd;
use crate::ledger::{CloseAt, LedgerKind};
use crate::message::{Reply, Request, Unknown};
use crate::metadata::conformance::{PATIENCE, committed, put, soon};
use crate::metadata::{LeaseKeeper, MetaError, TxnOutcome};
use crate::rpc::{BOOKIE_SOCKET_NAME, META_SOCKET_NAME, SOCKET_NAME};
use crate::stream::error::AppendError;
use crate::stream::{
    Format, Owner, PartitionReader, PartitionWriter, Poll, ReadFrom, Record, StreamConfig,
    TransactionalWriter,
};

fn hold(dir: &Path) -> Log {
    Log::open(dir, LogConfig { serve: true, shared: true, ..LogConfig::default() }).unwrap()
}

/// A directory with a plain stream `s`, held and shared, and somebody attached to it.
struct World {
    dir: tempfile::TempDir,
    holder: Log,
    attached: Log,
}

impl World {
    fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let holder = hold(dir.path());
        let config = StreamConfig { partitions: 2, ..StreamConfig::default() };
        holder.create_stream("s", config).unwrap();
        let attached = Log::attach(dir.path()).unwrap();
        World { dir, holder, attached }
    }

    /// Both, the one that writes first and the one that takes over.
    fn both_ways(&self) -> [(&Log, &Log); 2] {
        [(&self.attached, &self.holder), (&self.holder, &self.attached)]
    }
}

fn append(writer: &PartitionWriter, value: &str) -> Result<(), AppendError> {
    writer.append_wait(&[Record::of(value.to_owned())]).map(drop)
}

/// The next so many records, which must come.
fn next(reader: &mut PartitionReader, count: usize) -> Vec<String> {
    let mut all = Vec::new();
    while all.len() < count {
        let batch = reader.next_wait(PATIENCE).unwrap().expect("a record");
        let text = |r: &Record| String::from_utf8(r.value.to_vec()).unwrap();
        all.extend(batch.records.iter().map(text));
    }
    all
}

fn owner(generation: u32) -> Owner {
    Owner {
        topology: "words".to_owned(),
        component: "sink".to_owned(),
        task: 0,
        generation: Generation(generation),
    }
}

fn commit(writer: &mut TransactionalWriter, generation: u32, value: &str) -> (SegmentId, EntryId) {
    let (sender, receiver) = sync_channel(1);
    let records = [Record::of(value.to_owned())];
    let epoch = Epoch::new(Generation(generation), 0, 0);
    writer.append(epoch, &records, Box::new(move |done| sender.send(done).unwrap()));
    let at = receiver.recv_timeout(PATIENCE).unwrap().unwrap();
    writer.publish(at).unwrap();
    at
}

#[test]
fn holder_and_attached_write_and_read_the_same_stream_at_once() {
    const EACH: usize = 200;
    let world = World::new();
    let (holder, attached) = (&world.holder, &world.attached);
    let write = |log: &Log, partition, name: &str| {
        let writer = log.writer("s", partition).unwrap();
        for n in 0..EACH {
            append(&writer, &format!("{name}{n}")).unwrap();
        }
    };
    let read = |log: &Log, partition, name: &str| {
        let mut reader = log.reader("s", partition, ReadFrom::Earliest).unwrap();
        let expected: Vec<String> = (0..EACH).map(|n| format!("{name}{n}")).collect();
        assert_eq!(next(&mut reader, EACH), expected);
    };
    // Each reads at the tail what the other writes, and what itself writes.
    thread::scope(|scope| {
        scope.spawn(|| write(holder, 0, "h"));
        scope.spawn(|| write(attached, 1, "a"));
        for log in [holder, attached] {
            scope.spawn(move || read(log, 0, "h"));
            scope.spawn(move || read(log, 1, "a"));
        }
    });
    let described = |log: &Log| {
        let all = log.describe("s").unwrap().partitions;
        all.iter().map(|p| (p.records, p.end)).collect::<Vec<_>>()
    };
    assert_eq!(described(holder), described(attached));
    assert_eq!(described(holder)[1].0, EACH as u64);
}

#[test]
fn whoever_opens_a_partition_shuts_the_other_out_and_nothing_is_lost() {
    let world = World::new();
    for (partition, (first, second)) in (0..).zip(world.both_ways()) {
        let one = first.writer("s", partition).unwrap();
        append(&one, "1").unwrap();
        let two = second.writer("s", partition).unwrap();
        append(&two, "2").unwrap();
        let shut_out = append(&one, "never").unwrap_err();
        assert!(shut_out.to_string().contains("a newer owner has taken over"), "{shut_out}");
        // It takes the partition back when it is asked again, like any writer of a cluster.
        append(&one, "3").unwrap();
        append(&two, "never").unwrap_err();
        for log in [first, second] {
            let mut reader = log.reader("s", partition, ReadFrom::Earliest).unwrap();
            assert_eq!(next(&mut reader, 3), ["1", "2", "3"]);
        }
    }
}

#[test]
fn a_reader_at_the_tail_is_woken_by_whoever_takes_over() {
    let world = World::new();
    for (partition, (first, second)) in (0..).zip(world.both_ways()) {
        append(&first.writer("s", partition).unwrap(), "1").unwrap();
        let mut reader = first.reader("s", partition, ReadFrom::Earliest).unwrap();
        assert_eq!(next(&mut reader, 1), ["1"]);
        thread::scope(|scope| {
            let waits = scope.spawn(move || next(&mut reader, 1));
            append(&second.writer("s", partition).unwrap(), "2").unwrap();
            assert_eq!(waits.join().unwrap(), ["2"]);
        });
    }
}

/// The holder looked for the end of a partition as if nobody else could be writing, and shut out whoever was.
#[test]
fn the_holder_looks_at_a_partition_without_taking_it_over() {
    let world = World::new();
    let writer = world.attached.writer("s", 0).unwrap();
    let mut reader = world.holder.reader("s", 0, ReadFrom::Earliest).unwrap();
    for n in 0..3u64 {
        append(&writer, &n.to_string()).unwrap();
        next(&mut reader, 1);
        let described = world.holder.describe("s").unwrap();
        assert_eq!(described.partitions[0].records, n + 1);
        assert_eq!(described.partitions[0].term, Term(1));
        // The same as the shell asks for it.
        let mut directory = Directory::open(world.dir.path()).unwrap();
        assert_eq!(directory.describe("s").unwrap().partitions[0].records, n + 1);
        world.holder.reader("s", 0, ReadFrom::Earliest).unwrap();
    }
}

#[test]
fn a_higher_generation_fences_the_writer_of_a_transactional_partition() {
    let world = World::new();
    for (n, (first, second)) in (0..).zip(world.both_ways()) {
        let name = format!("t{n}");
        let config =
            StreamConfig { transactional: Some("words".to_owned()), ..StreamConfig::default() };
        first.create_stream(&name, config).unwrap();
        let open =
            |log: &Log, generation, at| log.transactional_writer(&name, 0, &owner(generation), at);
        let mut old = open(first, 1, None).unwrap();
        let (segment, entry) = commit(&mut old, 1, "1");
        assert_eq!(second.claim_partition(&name, 0, &owner(2)).unwrap(), Term(2));
        let mut new = open(second, 2, Some((segment, Some(entry)))).unwrap();
        commit(&mut new, 2, "2");
        let (sender, receiver) = sync_channel(1);
        let zombie = [Record::of("zombie")];
        let done = Box::new(move |done| sender.send(done).unwrap());
        old.append(Epoch::new(Generation(1), 1, 0), &zombie, done);
        receiver.recv_timeout(PATIENCE).unwrap().unwrap_err();
        let late = open(first, 1, None).unwrap_err();
        assert!(late.to_string().contains("is older"), "{late}");
        for log in [first, second] {
            let mut reader = log.reader(&name, 0, ReadFrom::Earliest).unwrap();
            assert_eq!(next(&mut reader, 2), ["1", "2"], "{name}");
        }
    }
}

#[test]
fn ledgers_are_created_recovered_read_and_deleted_from_either_side() {
    let world = World::new();
    let payload = |text: &'static str| Bytes::from_static(text.as_bytes());
    for (first, second) in world.both_ways() {
        let (first, second) = (first.ledgers(), second.ledgers());
        let id: LedgerId = first.reserve().unwrap();
        let kind = LedgerKind::Transactional { owner: "words".to_owned() };
        let writer = first.create(id, kind, Term(1)).unwrap();
        writer.append_wait(payload("one")).unwrap();
        writer.append_wait(payload("two")).unwrap();
        assert_eq!(second.read_unconfirmed(id, EntryId(1)), Ok(payload("two")));
        second.read(id, EntryId(1)).unwrap_err();
        let at = CloseAt::Entry(Some(EntryId(1)));
        assert_eq!(second.recover(id, Term(2), at).unwrap(), Some(EntryId(1)));
        writer.append_wait(payload("never")).unwrap_err();
        assert_eq!(first.end(id).unwrap(), LedgerEnd::Closed { last: Some(EntryId(1)) });
        assert_eq!(first.read(id, EntryId(1)), Ok(payload("two")));
        first.delete(id).unwrap();
        second.read(id, EntryId(0)).unwrap_err();
    }
}

#[test]
fn leases_and_watches_work_across() {
    let world = World::new();
    for (first, second) in world.both_ways() {
        let revision = second.metadata().list("/who").unwrap().revision;
        let mut watch = second.metadata().watch("/who", revision + 1).unwrap();
        let keeper = LeaseKeeper::start(first.metadata().clone(), 60_000, Box::new(|| ())).unwrap();
        let key = "/who/is".to_owned();
        let op = crate::metadata::Op::PutLeased { key, value: vec![1], lease: keeper.lease() };
        let there = committed(first.metadata().txn(&[], &[op]).unwrap());
        assert_eq!(soon(&mut watch).revision(), there);
        keeper.release().unwrap();
        assert_eq!(soon(&mut watch).key(), "/who/is");
        assert_eq!(second.metadata().get("/who/is").unwrap(), None);
    }
}

fn is_over(log: &Log, writer: &PartitionWriter, reader: &mut PartitionReader) {
    let start = clock::now();
    let last = loop {
        match append(writer, "late") {
            Err(error) => break error,
            Ok(()) => assert!(clock::now() - start < PATIENCE, "nobody is there to acknowledge"),
        }
    };
    assert!(!last.to_string().is_empty());
    let gone = log.metadata().get("/a").unwrap_err();
    assert!(matches!(gone, MetaError::Gone { .. }), "{gone}");
    let error = append(writer, "later").unwrap_err();
    assert_eq!(error.outcome(), crate::Outcome::Definite, "{error}");
    assert!(error.to_string().contains("start it again, then attach"), "{error}");
    reader.next_wait(PATIENCE).map(|batch| batch.map(|b| b.records)).unwrap_err();
    log.create_stream("other", StreamConfig::default()).unwrap_err();
    assert!(clock::now() - start < PATIENCE, "all of it ends in bounded time");
}

#[test]
fn when_the_holder_closes_everything_attached_ends_and_what_was_acknowledged_stays() {
    let World { dir, holder, attached } = World::new();
    let writer = attached.writer("s", 0).unwrap();
    append(&writer, "kept").unwrap();
    let mut reader = attached.reader("s", 0, ReadFrom::Earliest).unwrap();
    assert_eq!(next(&mut reader, 1), ["kept"]);
    holder.close().unwrap();
    is_over(&attached, &writer, &mut reader);
    let ending = Log::attach(dir.path()).unwrap_err();
    assert!(matches!(ending, AttachError::Nobody { .. }), "{ending}");
    // Whoever holds it next is another: what was attached stays without it.
    let next_holder = hold(dir.path());
    is_over(&attached, &writer, &mut reader);
    attached.close().unwrap();
    let again = Log::attach(dir.path()).unwrap();
    for log in [&again, &next_holder] {
        let mut reader = log.reader("s", 0, ReadFrom::Earliest).unwrap();
        assert_eq!(next(&mut reader, 1), ["kept"]);
        assert_eq!(reader.next_wait(Duration::ZERO).unwrap().map(|b| b.records), None);
    }
}

/// The bookie is the same one, of the same incarnation; the life is another. What a process that was attached
/// to the last still sends is not for this one: where partitions end was looked for in between.
#[test]
fn the_bookie_of_the_next_holder_takes_nothing_from_whoever_was_attached_before() {
    let World { dir, holder, attached } = World::new();
    append(&attached.writer("s", 0).unwrap(), "1").unwrap();
    let ledger = attached.describe("s").unwrap().partitions[0].segments[0].ledger;
    holder.close().unwrap();
    let next_holder = hold(dir.path());
    let bookies = attached.ledgers().bookies();
    let member = bookies.candidates()[0].member;
    assert_eq!(bookies.candidates(), next_holder.ledgers().bookies().candidates());
    let until = clock::now() + PATIENCE;
    loop {
        let reply = bookies.transport(member).call(member.incarnation, Request::ReadLac { ledger });
        let Reply::Unknown(Unknown::Unreachable { why, .. }) = reply else {
            panic!("it answered: {reply:?}");
        };
        if why == "the directory is held by another process now: attach to it again" {
            return;
        }
        // For a moment it still knows only that the connection was lost.
        assert!(clock::now() < until, "{why}");
        thread::yield_now();
    }
}

/// A reader that waited for a segment to be begun was woken by nobody; and one that was told of an error
/// once waited for ever when it was asked again.
#[test]
fn whoever_waits_for_the_next_segment_is_told_that_the_holder_is_gone() {
    let World { dir: _dir, holder, attached } = World::new();
    let mut reader = attached.reader("s", 0, ReadFrom::Earliest).unwrap();
    let (sender, woken) = sync_channel(4);
    let wake: crate::message::Wake = Arc::new(move || sender.send(()).unwrap());
    let mut polled = reader.poll(&wake).unwrap();
    // The follower has everybody look once when it begins to follow.
    while woken.try_recv().is_ok() {
        polled = reader.poll(&wake).unwrap();
    }
    assert!(matches!(polled, Poll::Pending), "nothing was written");
    holder.close().unwrap();
    woken.recv_timeout(PATIENCE).expect("whoever waits is woken");
    for _ in 0..2 {
        let error = reader.poll(&wake).unwrap_err();
        assert!(error.to_string().contains("has ended"), "{error}");
    }
}

#[test]
fn whoever_attaches_is_told_what_to_do_first() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().display();
    let error = Log::attach(dir.path()).unwrap_err().to_string();
    assert_eq!(
        error,
        format!("{path}: nobody holds this directory and shares it: start what holds it first")
    );
    Log::attach(&dir.path().join("missing")).unwrap_err();
    let log = Log::open(dir.path(), LogConfig { serve: true, ..LogConfig::default() }).unwrap();
    let error = Log::attach(dir.path()).unwrap_err().to_string();
    let pid = std::process::id();
    assert_eq!(
        error,
        format!(
            "{path}: process {pid} holds this directory and does not share it: end it first, or have it share the directory, which takes this release of egret"
        )
    );
    log.close().unwrap();
    for (error, says) in [
        (
            AttachError::Version { dir: dir.path().to_owned(), holder: 2, own: 1 },
            "speaks version 2, this one speaks 1: use the same release of egret on both sides",
        ),
        (AttachError::Ending { dir: dir.path().to_owned() }, "start it again, then attach"),
        (
            AttachError::Late { dir: dir.path().to_owned(), waited_ms: 5 },
            "did not answer within 5 ms: see that it is not stopped, or attached to by too many",
        ),
    ] {
        assert!(error.to_string().ends_with(says), "{error}");
    }
}

/// The sockets are their owner's alone, and go with the holder; what a killed one left does not mislead.
#[test]
fn sockets_come_and_go_with_a_holder_that_shares() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let names = [SOCKET_NAME, META_SOCKET_NAME, BOOKIE_SOCKET_NAME];
    let there = || names.map(|name| dir.path().join(name).exists());
    let log = hold(dir.path());
    for name in names {
        let mode = std::fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    log.close().unwrap();
    assert_eq!(there(), [false; 3]);
    for name in names {
        drop(std::os::unix::net::UnixListener::bind(dir.path().join(name)).unwrap());
    }
    let log = Log::open(dir.path(), LogConfig { serve: true, ..LogConfig::default() }).unwrap();
    assert_eq!(there(), [true, false, false], "nobody shares it");
    log.close().unwrap();
}

/// A command that finds the directory shared works as with any holder, and sees what the attached wrote.
#[test]
fn the_shell_works_beside_those_who_are_attached() {
    let world = World::new();
    append(&world.attached.writer("s", 1).unwrap(), "1").unwrap();
    let mut directory = Directory::open(world.dir.path()).unwrap();
    assert!(!directory.is_held());
    directory
        .create_stream(NewStream {
            name: "new".to_owned(),
            partitions: 1,
            format: "bytes".to_owned(),
            ..NewStream::default()
        })
        .unwrap();
    assert_eq!(world.attached.stream("new").unwrap().config.format, Format::Bytes);
    world.attached.truncate("s", 1, Position::START, false).unwrap();
    world.attached.delete_stream("s", false).unwrap();
    let names: Vec<String> =
        directory.streams().unwrap().into_iter().map(|info| info.name).collect();
    assert_eq!(names, ["new"]);
    let outcome = world.attached.metadata().txn(&[], &[put("/a", "1")]).unwrap();
    assert!(matches!(outcome, TxnOutcome::Committed { .. }));
}
