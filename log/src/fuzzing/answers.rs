//! What stands behind the decoders: a bookie and a data directory, asked anything.
//!
//! An input is a conversation: frames one behind the other, each a request and its payload. Whatever is
//! asked, the other side answers, and what it acknowledged is there when it is opened again.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use egret_schemas::bookie::{Ask, BookieRequest};
use egret_schemas::stream::{NewStream, StreamReply, StreamRequest};
use egret_schemas::{BookieId, EntryId, Incarnation, LedgerId, Term};

use super::wire::{bookie_header, bookie_requests, framed, stream_requests, two_records, unframed};
use super::{Sample, Target};
use crate::bookie::identity::Identity;
use crate::bookie::{Bookie, BookieConfig};
use crate::directory::answerer::Answerer;
use crate::disk::{Disk, FaultyDisk};
use crate::message::{Reply, Request, Transport, entry_crc};
use crate::metadata::MemoryMeta;
use crate::rpc::bookie::convert;
use crate::rpc::{Answer, Bell};
use crate::stream::{Log, Record, StreamConfig};

pub(super) const TARGETS: &[Target] = &[
    Target { name: "bookie_answers", run: bookie_answers, samples: bookie_answers_samples },
    Target { name: "directory_answers", run: directory_answers, samples: directory_samples },
];

/// Partitions of a stream that is asked for: a thousand only take longer.
const PARTITIONS_MAX: u32 = 8;

const OWNER: Incarnation = Incarnation(0x77);

fn formatted() -> FaultyDisk {
    let disk = FaultyDisk::new();
    disk.create_dir(Path::new("/b")).expect("the disk is new");
    let identity = Identity {
        bookie: BookieId(1),
        cluster: String::new(),
        incarnation: OWNER,
        created_ms: 0,
        shards: 1,
    };
    identity.store(&disk, Path::new("/b")).expect("the disk has room");
    disk
}

fn open(disk: &FaultyDisk) -> Bookie {
    let config = BookieConfig {
        journal_file_bytes: 16 << 10,
        write_cache_bytes: 4 << 10,
        tail_cache_bytes: 1 << 10,
        disk_reserve_bytes: 64 << 10,
        disk_low_bytes: 0,
        disk_high_bytes: 0,
        background: false,
        ..BookieConfig::default()
    };
    Bookie::open(Arc::new(disk.clone()), Path::new("/b"), config)
        .expect("no request leaves what cannot be opened")
}

fn bookie_answers(bytes: &[u8]) -> bool {
    let disk = formatted();
    let bookie = open(&disk);
    let mut acknowledged: BTreeMap<(LedgerId, EntryId), Bytes> = BTreeMap::new();
    let mut taken = false;
    for (header, payload) in unframed(bytes) {
        let Ok(BookieRequest { ask, .. }) = BookieRequest::decode(header) else { continue };
        let Some(request) = convert::request(ask, Bytes::copy_from_slice(payload)) else {
            continue;
        };
        let request = with_crc(request);
        taken = true;
        let reply = bookie.call(OWNER, request.clone());
        if let (Request::Add { ledger, entry, payload, .. }, Reply::Done) = (&request, &reply) {
            acknowledged.insert((*ledger, *entry), payload.clone());
        }
        if let (Request::Delete { ledger }, Reply::Done) = (&request, &reply) {
            acknowledged.retain(|(of, _), _| of != ledger);
        }
        if let Reply::Entry { lac, .. }
        | Reply::Entries { lac, .. }
        | Reply::NoEntry { lac }
        | Reply::Fenced { lac, .. }
        | Reply::Lac { lac, .. } = &reply
        {
            assert_ne!(*lac, Some(EntryId(u64::MAX)), "readers would look behind the last of all");
        }
        // It must fit what the other side reads.
        let (head, payload) = convert::head(reply.clone());
        assert_eq!(convert::reply(head, payload), Some(reply), "an answer to {request:?}");
    }
    bookie.close().expect("a disk with room takes a checkpoint");
    let bookie = open(&disk);
    for ((ledger, entry), payload) in acknowledged {
        match bookie.call(OWNER, Request::Read { ledger, entry, fence: None }) {
            Reply::Entry { payload: found, .. } => assert_eq!(found, payload),
            other => panic!("{ledger}:{entry} was acknowledged and is {other:?}"),
        }
    }
    bookie.close().expect("a disk with room takes a checkpoint");
    taken
}

/// An add with the checksum its writer would send: a wrong one is refused, and that is tried enough.
fn with_crc(request: Request) -> Request {
    match request {
        Request::Add { ledger, entry, term, lac, crc, copy, payload } => {
            let crc = if crc % 8 == 0 { crc } else { entry_crc(ledger, entry, &payload) };
            Request::Add { ledger, entry, term, lac, crc, copy, payload }
        }
        other => other,
    }
}

fn bookie_answers_samples() -> Vec<Sample> {
    let all = |asks: Vec<Ask>| {
        let frame = |(at, ask): (u64, Ask)| {
            let payload: &[u8] = if matches!(ask, Ask::Add { .. }) { b"egret" } else { b"" };
            framed(at, &bookie_header(ask), payload)
        };
        (1..).zip(asks).flat_map(frame).collect::<Vec<u8>>()
    };
    let (ledger, term, lac) = (LedgerId(9), Term(2), None);
    let add = |entry| Ask::Add { ledger, entry: EntryId(entry), term, lac, crc: 1, copy: false };
    let create = Ask::Create { ledger, term, transactional: false, replicated: false };
    let last_create = create.clone();
    let last_lac = Ask::WriteLac { ledger, term, lac: EntryId(u64::MAX) };
    let ends = Ask::ReadLac { ledger };
    let row = Ask::ReadRange { ledger, from: EntryId(0), entries_max: 9, bytes_max: 4096 };
    vec![
        ("one_of_each", all(bookie_requests().into_iter().map(|(_, ask)| ask).collect())),
        ("written_and_read", all(vec![create, add(0), add(1), add(2), row])),
        (
            "at_the_end_of_numbers",
            all(vec![last_create, add(u64::MAX - 1), add(u64::MAX), last_lac, ends]),
        ),
    ]
}

fn directory_answers(bytes: &[u8]) -> bool {
    let disk = formatted();
    let bookie = open(&disk);
    let log = Log::over(Arc::new(bookie), Arc::new(MemoryMeta::new())).expect("an empty log");
    let config = StreamConfig { partitions: 2, ..StreamConfig::default() };
    log.create_stream("s", config).expect("the log is empty");
    let writer = log.writer("s", 0).expect("the stream is there");
    for value in ["two herons", "an egret"] {
        writer.append_wait(&[Record::of(value)]).expect("the disk has room");
    }
    drop(writer);
    let mut answerer = Answerer::new(&log);
    let bell = Arc::<Bell>::default();
    let mut taken = false;
    for (header, payload) in unframed(bytes) {
        let Ok(request) = StreamRequest::decode(header) else { continue };
        taken = true;
        let payload = Bytes::copy_from_slice(payload);
        let answered = answerer.answer(short(request), payload, &bell);
        let again = StreamReply::decode(&answered.reply.encode());
        assert_eq!(again.as_ref(), Ok(&answered.reply), "an answer the client can read");
    }
    drop(answerer);
    log.close().expect("a disk with room takes a checkpoint");
    taken
}

/// The request, so that it does not take long.
fn short(request: StreamRequest) -> StreamRequest {
    match request {
        StreamRequest::Read(mut head) => {
            head.wait_ms = 0;
            StreamRequest::Read(head)
        }
        StreamRequest::CreateStream(new) => {
            let partitions = new.partitions.min(PARTITIONS_MAX);
            StreamRequest::CreateStream(NewStream { partitions, ..new })
        }
        other => other,
    }
}

fn directory_samples() -> Vec<Sample> {
    let payload = two_records();
    let mut all = Vec::new();
    let mut samples = Vec::new();
    for (at, (name, request)) in (1..).zip(stream_requests()) {
        let payload: &[u8] = if let StreamRequest::Append(_) = &request { &payload } else { b"" };
        let frame = framed(at, &request.encode(), payload);
        all.extend_from_slice(&frame);
        if matches!(name, "read_five" | "truncate") {
            samples.push((name, frame));
        }
    }
    samples.push(("one_of_each", all));
    samples
}
