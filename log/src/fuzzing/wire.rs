//! What arrives over a socket: frames, headers, messages, payloads; and names, typed or sent.

use std::fmt::{Debug, Display};
use std::str::{self, FromStr};
use std::time::Duration;

use bytes::Bytes;
use egret_schemas::bookie::{
    Ask, BookieReply, BookieRequest, EntryHead, Hello, Reason, Refusal, Role, TurnedAway, Unknown,
    Welcome,
};
use egret_schemas::bytes::Reader;
use egret_schemas::records::RecordRef;
use egret_schemas::stream::{
    AppendHead, AppendedPart, BatchInfo, Below, Code, Failure, NewStream, Next, Outcome,
    PartitionDescription, Place, ReadFrom, ReadHead, Route, StreamDescription, StreamInfo,
    StreamReply, StreamRequest, StreamUser, ValueHead, Values,
};
use egret_schemas::{
    BookieId, EntryAddress, EntryId, Epoch, Incarnation, LedgerId, Position, SegmentId, Term,
};

use super::{Sample, Target, comes_back};
use crate::registry::BookieState;
use crate::rpc::bookie::convert;
use crate::rpc::bookie::tls::PeerName;
use crate::rpc::bookie::wire::FrameReader;
use crate::rpc::frame::{self, FrameHead, HEAD_BYTES, Limits};
use crate::stream::Format;

pub(super) const TARGETS: &[Target] = &[
    Target { name: "frame", run: one_frame, samples: frame_samples },
    Target { name: "frames", run: frames, samples: frames_samples },
    Target { name: "bookie_request", run: bookie_request, samples: bookie_request_samples },
    Target { name: "bookie_reply", run: bookie_reply, samples: bookie_reply_samples },
    Target { name: "stream_request", run: stream_request, samples: stream_request_samples },
    Target { name: "stream_reply", run: stream_reply, samples: stream_reply_samples },
    Target { name: "payload_records", run: payload_records, samples: payload_records_samples },
    Target { name: "names", run: names, samples: names_samples },
];

/// Far below what real ones take: an announced length alone must not need memory.
const LIMITS: Limits = Limits { header_bytes_max: 16 << 10, payload_bytes_max: 64 << 10 };

/// Longer than any input is read.
const WAIT: Duration = Duration::from_secs(60);

/// A message in its frame.
pub(super) fn framed(correlation: u64, header: &[u8], payload: &[u8]) -> Vec<u8> {
    [&frame::encode(correlation, header, payload), header, payload].concat()
}

/// The frames of a conversation, as far as they are whole: header and payload of each. Their checksums
/// are not looked at.
pub(super) fn unframed(bytes: &[u8]) -> Vec<(&[u8], &[u8])> {
    let mut reader = Reader::new(bytes);
    let mut all = Vec::new();
    while let Ok(head) = reader.take(HEAD_BYTES, "head") {
        let head: &[u8; HEAD_BYTES] = head.try_into().expect("it has this many bytes");
        let Ok(head) = FrameHead::decode(head, LIMITS) else { break };
        let Ok(header) = reader.take(head.header_bytes, "header") else { break };
        let Ok(payload) = reader.take(head.payload_bytes, "payload") else { break };
        all.push((header, payload));
    }
    all
}

/// The frames of a conversation with their checksums made right.
fn mended(bytes: &[u8]) -> Vec<u8> {
    let correlation = |at: u64| at + 1;
    let frames = (0..).zip(unframed(bytes));
    frames.flat_map(|(at, (header, payload))| framed(correlation(at), header, payload)).collect()
}

fn one_frame(bytes: &[u8]) -> bool {
    let check = |bytes: &[u8]| -> bool {
        let Some((head, rest)) = bytes.split_first_chunk::<HEAD_BYTES>() else { return false };
        let Ok(said) = FrameHead::decode(head, LIMITS) else { return false };
        let mut rest = Reader::new(rest);
        let Ok(header) = rest.take(said.header_bytes, "header") else { return false };
        let Ok(payload) = rest.take(said.payload_bytes, "payload") else { return false };
        if said.check_header(header).is_err() || said.check_payload(payload).is_err() {
            return false;
        }
        let again = frame::encode(said.correlation, header, payload);
        assert_eq!(again, *head, "every byte of a head says something");
        true
    };
    let as_it_is = check(bytes);
    check(&mended(bytes)) || as_it_is
}

fn frame_samples() -> Vec<Sample> {
    vec![("sixteen_and_five", framed(7, &[1; 16], b"egret"))]
}

/// A conversation, as the reader of a connection takes it.
fn frames(bytes: &[u8]) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
    let runtime = runtime.expect("a runtime of this thread alone");
    let take = |bytes: &[u8]| {
        runtime.block_on(async {
            let mut reader = FrameReader::new(bytes, WAIT);
            let mut taken = Vec::new();
            while let Ok(Some(front)) = reader.next(LIMITS).await {
                let Ok(payload) = reader.payload(&front).await else { break };
                taken.push((front.header.to_vec(), payload.to_vec()));
            }
            taken
        })
    };
    let as_they_are = take(bytes);
    let sealed = take(&mended(bytes));
    let all: Vec<_> = unframed(bytes)
        .iter()
        .map(|(header, payload)| (header.to_vec(), payload.to_vec()))
        .collect();
    assert_eq!(sealed, all, "with good checksums every frame arrives");
    assert_eq!(as_they_are[..], all[..as_they_are.len()], "nothing but what was sent arrives");
    !sealed.is_empty()
}

fn frames_samples() -> Vec<Sample> {
    let short = framed(1, &[2; 8], b"");
    let long = framed(2, &[3; 24], &[4; 300]);
    vec![("two_frames", [short, long].concat())]
}

fn bookie_request(bytes: &[u8]) -> bool {
    let Ok(request) = BookieRequest::decode(bytes) else { return false };
    let payload = Bytes::from_static(b"egret");
    if let Some(message) = convert::request(request.ask, payload) {
        let (ask, payload) = convert::ask(message.clone());
        let back = convert::request(ask, payload);
        assert_eq!(back, Some(message), "a request comes back");
    }
    comes_back(bytes, BookieRequest::decode, BookieRequest::encode)
}

/// A request of each kind.
pub(super) fn bookie_requests() -> Vec<(&'static str, Ask)> {
    let (ledger, entry, term) = (LedgerId(9), EntryId(4), Term(2));
    let hello = Hello {
        version: 1,
        cluster: "blue".to_owned(),
        incarnation: Some(Incarnation(0x77)),
        role: Role::Client,
        process: 4711,
        features: 0,
    };
    let crc = crate::message::entry_crc(ledger, entry, b"egret");
    vec![
        ("hello", Ask::Hello(hello)),
        ("create", Ask::Create { ledger, term, transactional: true, replicated: true }),
        ("add", Ask::Add { ledger, entry, term, lac: Some(EntryId(3)), crc, copy: true }),
        ("read", Ask::Read { ledger, entry, fence: Some(term) }),
        ("read_range", Ask::ReadRange { ledger, from: entry, entries_max: 9, bytes_max: 4096 }),
        ("write_lac", Ask::WriteLac { ledger, term, lac: entry }),
        ("read_lac", Ask::ReadLac { ledger }),
        ("watch_lac", Ask::WatchLac { ledger, beyond: Some(entry) }),
        ("fence", Ask::Fence { ledger, term: Term(3) }),
        ("clear_limbo", Ask::ClearLimbo { ledger, term: Term(3) }),
        ("limbo_bound", Ask::LimboBound { below: LedgerId(11) }),
        ("delete", Ask::Delete { ledger }),
    ]
}

/// A request's header.
pub(super) fn bookie_header(ask: Ask) -> Vec<u8> {
    BookieRequest { to: Incarnation(0x77), wait_ms: 5000, ask }.encode()
}

fn bookie_request_samples() -> Vec<Sample> {
    bookie_requests().into_iter().map(|(name, ask)| (name, bookie_header(ask))).collect()
}

fn bookie_reply(bytes: &[u8]) -> bool {
    let Ok(head) = BookieReply::decode(bytes) else { return false };
    let announced = match &head {
        BookieReply::Entries { entries, .. } => {
            entries.iter().map(|entry| entry.length as usize).fold(0, usize::saturating_add)
        }
        _ => 5,
    };
    let payload = Bytes::from(vec![7; announced.min(LIMITS.payload_bytes_max)]);
    if let Some(message) = convert::reply(head, payload) {
        let (head, payload) = convert::head(message.clone());
        assert_eq!(convert::reply(head, payload), Some(message), "a reply comes back");
    }
    comes_back(bytes, BookieReply::decode, BookieReply::encode)
}

fn bookie_reply_samples() -> Vec<Sample> {
    let (lac, last) = (Some(EntryId(4)), Some(EntryId(5)));
    let own = Incarnation(0x77);
    let welcome = Welcome {
        version: 1,
        cluster: "blue".to_owned(),
        incarnation: own,
        bookie: BookieId(3),
        role: Role::Admin,
        features: 0,
        payload_bytes_max: 1 << 20,
        requests_max: 64,
        request_bytes_max: 1 << 21,
    };
    let turned = TurnedAway {
        reason: Reason::Cluster,
        message: "of another cluster".to_owned(),
        incarnation: Some(own),
    };
    let heads = [(1, 2, 3), (1, 4, 5)].map(|(term, crc, length)| EntryHead {
        term: Term(term),
        crc,
        length,
    });
    let entries = BookieReply::Entries { first: EntryId(4), lac, entries: heads.to_vec() };
    let entry = BookieReply::Entry { entry: EntryId(4), term: Term(2), crc: 77, lac };
    let role = Role::Client;
    let refused = |why| BookieReply::Refused(why);
    let unknown = |why| BookieReply::Unknown(why);
    let method = "delete".to_owned();
    let directory = "/data".to_owned();
    let (file, what) = ("J1".to_owned(), "checksum".to_owned());
    let (to, why) = ("B3 at b3:1".to_owned(), "refused".to_owned());
    let poisoned = Unknown::Poisoned { why: "disk".to_owned() };
    let asked = Incarnation(1);
    [
        ("turned_away", BookieReply::TurnedAway(turned)),
        ("welcome", BookieReply::Welcome(welcome)),
        ("done", BookieReply::Done),
        ("entry", entry),
        ("entries", entries),
        ("no_entry", BookieReply::NoEntry { lac }),
        ("fenced", BookieReply::Fenced { lac, last }),
        ("lac", BookieReply::Lac { lac, last }),
        ("watched", BookieReply::Watched),
        ("refused_stale_term", refused(Refusal::StaleTerm { held: Term(3) })),
        ("refused_too_large", refused(Refusal::TooLarge { bytes: 9, max: 8 })),
        ("refused_disk_full", refused(Refusal::DiskFull { directory, free: 5 })),
        ("refused_not_allowed", refused(Refusal::NotAllowed { role, method })),
        ("unknown_poisoned", unknown(poisoned)),
        ("unknown_damaged", unknown(Unknown::Damaged { file, offset: 5, what })),
        ("unknown_incarnation", unknown(Unknown::Incarnation { asked, own })),
        ("unknown_unreachable", unknown(Unknown::Unreachable { to, why })),
        ("unknown_deadline", unknown(Unknown::Deadline { ms: 5 })),
    ]
    .map(|(name, reply)| (name, reply.encode()))
    .to_vec()
}

fn stream_request(bytes: &[u8]) -> bool {
    comes_back(bytes, StreamRequest::decode, StreamRequest::encode)
}

/// A request of each kind, for a stream named `s`.
pub(super) fn stream_requests() -> Vec<(&'static str, StreamRequest)> {
    let stream = "s".to_owned();
    let at = Position { segment: SegmentId(1), entry: EntryId(1), slot: 0 };
    let new = NewStream {
        name: "orders".to_owned(),
        partitions: 2,
        format: "utf8".to_owned(),
        ..NewStream::default()
    };
    let append = AppendHead {
        stream: stream.clone(),
        route: Route::ByKey,
        records: 2,
        producer: b"cli".to_vec(),
        note: b"note".to_vec(),
    };
    let froms = [
        ReadFrom::Earliest,
        ReadFrom::Latest,
        ReadFrom::At(at),
        ReadFrom::Last(2),
        ReadFrom::Since(5),
    ];
    let place = |(partition, from)| Place { partition, from };
    let from: Vec<Place> = (0..).zip(froms).map(place).collect();
    let one = vec![Place { partition: 0, from: ReadFrom::Earliest }];
    let read = |from| ReadHead { stream: stream.clone(), from, bytes_max: 4096, wait_ms: 0 };
    let (name, force) = (stream.clone(), true);
    let list = Below::List { prefix: "/users/".to_owned(), after: "/users/a".to_owned() };
    let key = "/topology/words".to_owned();
    let write = Below::Write { compare: vec![(key.clone(), 0)], puts: vec![(key, 0)] };
    let ledger = LedgerId(1);
    vec![
        ("hello", StreamRequest::Hello { version: 1, incarnation: Some(Incarnation(0x77)) }),
        ("create", StreamRequest::CreateStream(new)),
        ("list", StreamRequest::ListStreams { after: String::new(), limit: 10 }),
        ("describe", StreamRequest::DescribeStream { name: stream.clone() }),
        ("append", StreamRequest::Append(append)),
        ("read", StreamRequest::Read(read(one))),
        ("read_five", StreamRequest::Read(read(from))),
        (
            "truncate",
            StreamRequest::Truncate { stream: stream.clone(), partition: 0, before: at, force },
        ),
        ("delete", StreamRequest::DeleteStream { name, force: false }),
        ("yield", StreamRequest::Yield),
        ("below_get", StreamRequest::Below(Below::Get { key: "/stream/s".to_owned() })),
        ("below_list", StreamRequest::Below(list)),
        ("below_write", StreamRequest::Below(write)),
        ("below_read", StreamRequest::Below(Below::Read { ledger, entry: EntryId(0) })),
        ("below_end", StreamRequest::Below(Below::End { ledger })),
    ]
}

fn stream_request_samples() -> Vec<Sample> {
    stream_requests().into_iter().map(|(name, request)| (name, request.encode())).collect()
}

fn stream_reply(bytes: &[u8]) -> bool {
    comes_back(bytes, StreamReply::decode, StreamReply::encode)
}

fn stream_reply_samples() -> Vec<Sample> {
    let at = Position { segment: SegmentId(1), entry: EntryId(1), slot: 0 };
    let info = StreamInfo {
        name: "s".to_owned(),
        partitions: 1,
        format: "bytes".to_owned(),
        segment_bytes_max: 1 << 20,
        owner: "words".to_owned(),
        retention_ms: 5,
        retention_bytes: 6,
    };
    let partition = PartitionDescription {
        partition: 0,
        segments: 1,
        entries: 2,
        records: 3,
        first: at,
        end: at.next_entry(),
        term: Term(2),
        owner: "words/sink[0]".to_owned(),
    };
    let user = StreamUser {
        topology: "words".to_owned(),
        component: "lines".to_owned(),
        writes: false,
        needed: vec![(0, at)],
    };
    let failure = Failure {
        code: Code::Truncated,
        message: "it begins later".to_owned(),
        hint: "read from there".to_owned(),
        outcome: Outcome::Definite,
        position: Some(at),
        retry_after_ms: 5,
    };
    let part = AppendedPart { partition: 0, first: at, records: 2, duplicates: 1 };
    let batch = BatchInfo { partition: 0, first: at, records: 2, epoch: Epoch(0), first_number: 7 };
    let next = Next { partition: 0, next: at, end: at.next_entry() };
    let description =
        StreamDescription { info: info.clone(), partitions: vec![partition], users: vec![user] };
    let value = ValueHead { key: "/users/s".to_owned(), revision: 8, bytes: 3 };
    let hello = StreamReply::Hello {
        version: 1,
        incarnation: Incarnation(0x77),
        pid: 4711,
        payload_bytes_max: 1 << 20,
    };
    [
        ("failed", StreamReply::Failed(failure.clone())),
        ("hello", hello),
        ("done", StreamReply::Done),
        ("stream", StreamReply::Stream(info.clone())),
        ("streams", StreamReply::Streams { streams: vec![info.clone(), info], more: true }),
        ("description", StreamReply::Description(description)),
        ("appended", StreamReply::Appended { parts: vec![part], failure: Some(failure) }),
        ("batches", StreamReply::Batches { batches: vec![batch], next: vec![next] }),
        ("values", StreamReply::Values(Values { values: vec![value], more: true, revision: 9 })),
        ("written", StreamReply::Written(Some(9))),
        ("entry", StreamReply::Entry),
        ("end", StreamReply::End(Some(EntryId(4)))),
    ]
    .map(|(name, reply)| (name, reply.encode()))
    .to_vec()
}

fn payload_records(bytes: &[u8]) -> bool {
    fn all(bytes: &[u8]) -> Result<Vec<RecordRef<'_>>, egret_schemas::bytes::DecodeError> {
        let mut reader = Reader::new(bytes);
        let mut records = Vec::new();
        while reader.remaining() > 0 {
            records.push(RecordRef::take(&mut reader)?);
        }
        Ok(records)
    }
    let Ok(records) = all(bytes) else { return false };
    let mut again = Vec::new();
    records.iter().for_each(|record| record.put(&mut again));
    assert_eq!(all(&again), Ok(records), "records come back");
    true
}

/// Two records, as the samples of an append send them.
pub(super) fn two_records() -> Vec<u8> {
    let mut payload = Vec::new();
    RecordRef { value: b"two herons", ..RecordRef::default() }.put(&mut payload);
    let record = RecordRef {
        key: Some(b"k"),
        value: b"an egret",
        event_time_ms: Some(-2),
        sequence: Some(300),
    };
    record.put(&mut payload);
    payload
}

fn payload_records_samples() -> Vec<Sample> {
    vec![("two", two_records())]
}

fn names(bytes: &[u8]) -> bool {
    fn one<T: FromStr + Display + PartialEq + Debug>(text: &str) -> bool {
        let Ok(value) = text.parse::<T>() else { return false };
        let printed = value.to_string();
        let again = printed.parse::<T>().ok();
        assert_eq!(again, Some(value), "`{text}` prints `{printed}`");
        true
    }
    let Ok(text) = str::from_utf8(bytes) else { return false };
    let peer = PeerName::parse(text);
    if let Some(peer) = &peer {
        assert_eq!(PeerName::parse(&peer.to_string()).as_ref(), Some(peer));
    }
    let ids = [
        one::<LedgerId>(text),
        one::<EntryId>(text),
        one::<Term>(text),
        one::<SegmentId>(text),
        one::<EntryAddress>(text),
        one::<Position>(text),
        one::<Format>(text),
        one::<BookieState>(text),
        one::<Role>(text),
        crate::stream::catalog::check_name(text).is_ok(),
    ];
    ids.contains(&true) || peer.is_some()
}

fn names_samples() -> Vec<Sample> {
    [
        ("ledger", "L42"),
        ("entry", "L42:17"),
        ("position", "S3:17:0"),
        ("last_position", "S18446744073709551615:18446744073709551615:4294967295"),
        ("format", "postcard:words.v1"),
        ("state", "read-only"),
        ("peer", "egret://blue/bookie/b3"),
        ("stream", "orders.v1"),
    ]
    .map(|(name, text)| (name, text.as_bytes().to_vec()))
    .to_vec()
}
