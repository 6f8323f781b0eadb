//! Records of streams and partitions in the metadata store.
//!
//! ```text
//! /stream/<name>          version u8 = 2 | state u8 (0 there, 1 being deleted, 2 being made)
//!                         partitions u32 | format text
//!                         segment_bytes_max u64 | owned u8, [owner text]
//!                         retention_ms u64 | retention_bytes u64 (0: no end) | proposal | crc32c
//! /partition/<name>/<n>   version u8 = 2 | term u64 | first: segment u64 entry u64 slot u32
//!                         next_segment u64 | base_number u64 | next_page u64
//!                         pages u32 × (page u64, first u64, last u64, segments u32,
//!                                      last_ms u64, bytes u64)
//!                         segments u32 × (segment u64, ledger u64, first_number u64,
//!                                         rolled u8 (0 unknown, 1 empty, 2 [last u64]),
//!                                         created_ms u64, closed u8, [last_ms u64, bytes u64])
//!                         owned u8, [topology, component text, task u32, generation u32]
//!                         garbage u32 × ledger u64 | proposal | crc32c
//! ```
//! A proposal is process u128, operation u64. Old segments of a long partition are listed in [`pages`](super::pages).

use std::fmt;
use std::str::FromStr;

use egret_schemas::bytes::{DecodeError, Reader, Writer};
use egret_schemas::{EntryId, Generation, LedgerId, Position, SegmentId, Term};

use super::error::NameError;
use super::pages::PageRef;
use crate::caps;
use crate::ledger::Proposal;

/// Of both records.
const VERSION: u8 = 2;

/// What the values of a stream are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Format {
    /// Bytes, of no meaning to anyone but their readers.
    #[default]
    Bytes,
    /// Text.
    Utf8,
    /// One JSON value each.
    Json,
    /// `postcard`, of the type this schema id names.
    Postcard(String),
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Format::Bytes => f.write_str("bytes"),
            Format::Utf8 => f.write_str("utf8"),
            Format::Json => f.write_str("json"),
            Format::Postcard(schema) => write!(f, "postcard:{schema}"),
        }
    }
}

/// A text that names no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no format: it is one of bytes, utf8, json, postcard:<schema id>")]
pub struct ParseFormatError(pub String);

impl FromStr for Format {
    type Err = ParseFormatError;
    fn from_str(text: &str) -> Result<Format, ParseFormatError> {
        match text {
            "bytes" => Ok(Format::Bytes),
            "utf8" => Ok(Format::Utf8),
            "json" => Ok(Format::Json),
            _ => match text.strip_prefix("postcard:") {
                Some(id) if !id.is_empty() => Ok(Format::Postcard(id.to_owned())),
                _ => Err(ParseFormatError(text.to_owned())),
            },
        }
    }
}

/// A reader or writer of another format than the stream's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("stream `{stream}` holds {held}, not {asked}: use its format, or another stream")]
pub struct FormatMismatch {
    /// The stream.
    pub stream: String,
    /// Its format.
    pub held: Format,
    /// The other one.
    pub asked: Format,
}

/// What a stream is created with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamConfig {
    /// How many partitions: 1 to [`caps::PARTITIONS_MAX`].
    pub partitions: u32,
    /// What its values are.
    pub format: Format,
    /// Bytes of a segment before the next is begun.
    pub segment_bytes_max: u64,
    /// The topology that owns it, for a stream only that topology writes, visible when committed.
    pub transactional: Option<String>,
    /// What was appended longer ago is forgotten, a segment at a time; of plain streams only.
    pub retention_ms: Option<u64>,
    /// The oldest segments of a partition are forgotten while what is left holds this many bytes; of
    /// plain streams only.
    pub retention_bytes: Option<u64>,
}

impl Default for StreamConfig {
    fn default() -> StreamConfig {
        StreamConfig {
            partitions: 1,
            format: Format::Bytes,
            segment_bytes_max: caps::SEGMENT_BYTES,
            transactional: None,
            retention_ms: None,
            retention_bytes: None,
        }
    }
}

/// A stream, as it was created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamInfo {
    /// Its name.
    pub name: String,
    /// What it was created with.
    pub config: StreamConfig,
}

impl StreamInfo {
    /// Refuses a reader or writer of another format.
    pub fn expect_format(&self, asked: &Format) -> Result<(), FormatMismatch> {
        if *asked == self.config.format {
            return Ok(());
        }
        let (stream, held) = (self.name.clone(), self.config.format.clone());
        Err(FormatMismatch { stream, held, asked: asked.clone() })
    }
}

/// Who writes a transactional partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The topology; it owns the stream for ever.
    pub topology: String,
    /// The component of it that writes.
    pub component: String,
    /// The task of that component.
    pub task: u32,
    /// The incarnation of its workers.
    pub generation: Generation,
}

impl fmt::Display for Owner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Owner { topology, component, task, generation } = self;
        write!(f, "{topology}/{component}[{task}] of {generation}")
    }
}

/// Where a stream is in its life. Only one that is there is anything to anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamState {
    /// It and its partitions are there.
    There,
    /// Its partitions go, one after the other.
    Deleting,
    /// Its partitions come: more than fit one transaction.
    Making,
}

/// A stream's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamRecord {
    /// Where it is in its life.
    pub state: StreamState,
    /// What it was created with.
    pub config: StreamConfig,
    /// Who proposed this record.
    pub proposal: Proposal,
}

/// One segment of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentRecord {
    /// Its number in the partition.
    pub id: SegmentId,
    /// The ledger that holds it.
    pub ledger: LedgerId,
    /// The number of its first record.
    pub first_number: u64,
    /// Where the segment before ends, when that was left open by a roll inside a transaction.
    pub rolled_at: Option<Option<EntryId>>,
    /// When it was listed, in milliseconds since 1970.
    pub created_ms: u64,
    /// What its writer knew when the next was begun.
    pub closed: Option<Closed>,
}

impl SegmentRecord {
    /// When the last of it was appended, or later, given the segment after it.
    pub fn last_ms(&self, next: &SegmentRecord) -> u64 {
        self.closed.map_or(next.created_ms, |closed| closed.last_ms)
    }

    /// Bytes of its entries, as far as they are known.
    pub fn bytes(&self) -> u64 {
        self.closed.map_or(0, |closed| closed.bytes)
    }
}

/// What is known of a segment that nothing is appended to any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Closed {
    /// When the last of it was appended, in milliseconds since 1970.
    pub last_ms: u64,
    /// Bytes of its entries.
    pub bytes: u64,
}

/// A partition's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionRecord {
    /// Raised by whoever takes it over.
    pub term: Term,
    /// Where it starts, after truncation.
    pub first: Position,
    /// The number the next segment gets.
    pub next_segment: SegmentId,
    /// The number of the first record, while there is no segment.
    pub base_number: u64,
    /// The number the next page gets.
    pub next_page: u64,
    /// Pages that list its oldest segments, in order.
    pub pages: Vec<PageRef>,
    /// Its other segments, in order.
    pub segments: Vec<SegmentRecord>,
    /// Who writes it, when it is transactional and was opened.
    pub owner: Option<Owner>,
    /// Ledgers no longer part of it that are not deleted yet.
    pub garbage: Vec<LedgerId>,
    /// Who proposed this record.
    pub proposal: Proposal,
}

impl PartitionRecord {
    /// A partition nobody has written to.
    pub fn new(proposal: Proposal) -> PartitionRecord {
        PartitionRecord {
            term: Term(0),
            first: Position::START,
            next_segment: SegmentId(1),
            base_number: 0,
            next_page: 1,
            pages: Vec::new(),
            segments: Vec::new(),
            owner: None,
            garbage: Vec::new(),
            proposal,
        }
    }

    /// The first segment that is listed, on a page or here.
    pub fn first_listed(&self) -> Option<SegmentId> {
        let here = || self.segments.first().map(|segment| segment.id);
        self.pages.first().map(|page| page.first).or_else(here)
    }

    /// The segment of this number among those listed here, or where it would be.
    pub fn find(&self, id: SegmentId) -> Result<usize, usize> {
        self.segments.binary_search_by_key(&id, |segment| segment.id)
    }
}

/// Checks a stream's name: it becomes part of metadata keys and is typed in shells.
pub fn check_name(name: &str) -> Result<(), NameError> {
    let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    if name.is_empty() || name.starts_with(['.', '-']) || !name.bytes().all(good) {
        return Err(NameError::Characters { name: name.to_owned() });
    }
    if name.len() > caps::NAME_BYTES_MAX {
        let (bytes, max) = (name.len(), caps::NAME_BYTES_MAX);
        return Err(NameError::TooLong { bytes, max });
    }
    Ok(())
}

/// Encodes a stream's record.
pub fn encode_stream(record: &StreamRecord) -> Vec<u8> {
    let state = match record.state {
        StreamState::There => 0,
        StreamState::Deleting => 1,
        StreamState::Making => 2,
    };
    let mut out = vec![VERSION, state];
    out.put_u32(record.config.partitions);
    out.put_bytes(record.config.format.to_string().as_bytes());
    out.put_u64(record.config.segment_bytes_max);
    out.put_u8(u8::from(record.config.transactional.is_some()));
    if let Some(owner) = &record.config.transactional {
        out.put_bytes(owner.as_bytes());
    }
    out.put_u64(record.config.retention_ms.unwrap_or(0));
    out.put_u64(record.config.retention_bytes.unwrap_or(0));
    seal(out, record.proposal)
}

/// Decodes a stream's record.
pub fn decode_stream(bytes: &[u8]) -> Result<StreamRecord, DecodeError> {
    let mut r = unseal(bytes, VERSION, "stream record")?;
    let state = match r.u8("state")? {
        0 => StreamState::There,
        1 => StreamState::Deleting,
        2 => StreamState::Making,
        _ => return Err(r.wrong("state", "not known to this build")),
    };
    let partitions = r.u32("partitions")?;
    if !(1..=caps::PARTITIONS_MAX).contains(&partitions) {
        return Err(r.wrong("partitions", "out of range"));
    }
    let format = r.text("format")?;
    let format = format.parse().map_err(|_| r.wrong("format", "not known to this build"))?;
    let segment_bytes_max = r.u64("segment bytes")?;
    let transactional = match flag(&mut r, "owned")? {
        true => Some(r.text("owner")?.to_owned()),
        false => None,
    };
    let retention_ms = Some(r.u64("retention time")?).filter(|ms| *ms > 0);
    let retention_bytes = Some(r.u64("retention bytes")?).filter(|bytes| *bytes > 0);
    let config = StreamConfig {
        partitions,
        format,
        segment_bytes_max,
        transactional,
        retention_ms,
        retention_bytes,
    };
    let proposal = proposal(&mut r)?;
    r.end("stream record")?;
    Ok(StreamRecord { state, config, proposal })
}

/// Encodes a partition's record.
pub fn encode_partition(record: &PartitionRecord) -> Vec<u8> {
    let mut out = vec![VERSION];
    out.put_u64(record.term.0);
    out.put_u64(record.first.segment.0);
    out.put_u64(record.first.entry.0);
    out.put_u32(record.first.slot);
    out.put_u64(record.next_segment.0);
    out.put_u64(record.base_number);
    out.put_u64(record.next_page);
    out.put_u32(u32::try_from(record.pages.len()).expect("far fewer pages"));
    for page in &record.pages {
        out.put_u64(page.number);
        out.put_u64(page.first.0);
        out.put_u64(page.last.0);
        out.put_u32(page.segments);
        out.put_u64(page.last_ms);
        out.put_u64(page.bytes);
    }
    put_segments(&mut out, &record.segments);
    out.put_u8(u8::from(record.owner.is_some()));
    if let Some(owner) = &record.owner {
        out.put_bytes(owner.topology.as_bytes());
        out.put_bytes(owner.component.as_bytes());
        out.put_u32(owner.task);
        out.put_u32(owner.generation.0);
    }
    out.put_u32(u32::try_from(record.garbage.len()).expect("far fewer ledgers"));
    for ledger in &record.garbage {
        out.put_u64(ledger.0);
    }
    seal(out, record.proposal)
}

pub(super) fn put_segments(out: &mut Vec<u8>, segments: &[SegmentRecord]) {
    out.put_u32(u32::try_from(segments.len()).expect("far fewer segments"));
    for segment in segments {
        out.put_u64(segment.id.0);
        out.put_u64(segment.ledger.0);
        out.put_u64(segment.first_number);
        match segment.rolled_at {
            None => out.put_u8(0),
            Some(None) => out.put_u8(1),
            Some(Some(last)) => {
                out.put_u8(2);
                out.put_u64(last.0);
            }
        }
        out.put_u64(segment.created_ms);
        out.put_u8(u8::from(segment.closed.is_some()));
        if let Some(closed) = segment.closed {
            out.put_u64(closed.last_ms);
            out.put_u64(closed.bytes);
        }
    }
}

/// Decodes a partition's record.
pub fn decode_partition(bytes: &[u8]) -> Result<PartitionRecord, DecodeError> {
    let mut r = unseal(bytes, VERSION, "partition record")?;
    let term = Term(r.u64("term")?);
    let first = Position {
        segment: SegmentId(r.u64("first segment")?),
        entry: EntryId(r.u64("first entry")?),
        slot: r.u32("first slot")?,
    };
    let next_segment = SegmentId(r.u64("next segment")?);
    let base_number = r.u64("base number")?;
    let next_page = r.u64("next page")?;
    let mut pages = Vec::new();
    for _ in 0..r.u32("pages")? {
        pages.push(PageRef {
            number: r.u64("page")?,
            first: SegmentId(r.u64("first of page")?),
            last: SegmentId(r.u64("last of page")?),
            segments: r.u32("segments of page")?,
            last_ms: r.u64("last time of page")?,
            bytes: r.u64("bytes of page")?,
        });
    }
    let segments = take_segments(&mut r)?;
    let listed = pages.iter().flat_map(|page: &PageRef| [page.first, page.last]);
    let listed: Vec<SegmentId> = listed.chain(segments.iter().map(|s| s.id)).collect();
    if !listed.is_sorted() || listed.last().is_some_and(|last| *last >= next_segment) {
        return Err(r.wrong("segment", "out of order"));
    }
    let owner = match flag(&mut r, "owned")? {
        false => None,
        true => Some(Owner {
            topology: r.text("topology")?.to_owned(),
            component: r.text("component")?.to_owned(),
            task: r.u32("task")?,
            generation: Generation(r.u32("generation")?),
        }),
    };
    let mut garbage = Vec::new();
    for _ in 0..r.u32("garbage")? {
        garbage.push(LedgerId(r.u64("ledger")?));
    }
    let proposal = proposal(&mut r)?;
    r.end("partition record")?;
    Ok(PartitionRecord {
        term,
        first,
        next_segment,
        base_number,
        next_page,
        pages,
        segments,
        owner,
        garbage,
        proposal,
    })
}

pub(super) fn take_segments(r: &mut Reader<'_>) -> Result<Vec<SegmentRecord>, DecodeError> {
    let mut segments: Vec<SegmentRecord> = Vec::new();
    for _ in 0..r.u32("segments")? {
        let id = SegmentId(r.u64("segment")?);
        let ledger = LedgerId(r.u64("ledger")?);
        let first_number = r.u64("first number")?;
        let rolled_at = match r.u8("roll")? {
            0 => None,
            1 => Some(None),
            2 => match r.u64("last entry")? {
                // Nothing could come behind it.
                u64::MAX => return Err(r.wrong("last entry", "a number that no entry has")),
                last => Some(Some(EntryId(last))),
            },
            _ => return Err(r.wrong("roll", "not known to this build")),
        };
        if segments.last().is_some_and(|before| before.id >= id) {
            return Err(r.wrong("segment", "out of order"));
        }
        let created_ms = r.u64("creation time")?;
        let closed = match flag(r, "closed")? {
            false => None,
            true => Some(Closed { last_ms: r.u64("last time")?, bytes: r.u64("bytes")? }),
        };
        segments.push(SegmentRecord { id, ledger, first_number, rolled_at, created_ms, closed });
    }
    Ok(segments)
}

pub(super) fn seal(mut out: Vec<u8>, proposal: Proposal) -> Vec<u8> {
    out.put_u128(proposal.process);
    out.put_u64(proposal.operation);
    let crc = crc32c::crc32c(&out);
    out.put_u32(crc);
    out
}

pub(super) fn unseal<'a>(
    bytes: &'a [u8],
    version: u8,
    what: &'static str,
) -> Result<Reader<'a>, DecodeError> {
    let Some(end) = bytes.len().checked_sub(4) else {
        return Err(DecodeError { what, at: 0, why: "shorter than its checksum" });
    };
    if crc32c::crc32c(&bytes[..end]) != Reader::new(&bytes[end..]).u32("checksum")? {
        return Err(DecodeError { what, at: end, why: "its checksum does not match" });
    }
    let mut r = Reader::new(&bytes[..end]);
    if r.u8("version")? != version {
        return Err(r.wrong(what, "of a version not known to this build"));
    }
    Ok(r)
}

pub(super) fn proposal(r: &mut Reader<'_>) -> Result<Proposal, DecodeError> {
    Ok(Proposal { process: r.u128("process")?, operation: r.u64("operation")? })
}

fn flag(r: &mut Reader<'_>, what: &'static str) -> Result<bool, DecodeError> {
    match r.u8(what)? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(r.wrong(what, "neither yes nor no")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stream(format: Format) -> StreamRecord {
        let transactional = Some("words".to_owned());
        let (retention_ms, retention_bytes) = (Some(1000), None);
        let config = StreamConfig {
            format,
            transactional,
            retention_ms,
            retention_bytes,
            ..StreamConfig::default()
        };
        let (state, proposal) = (StreamState::There, Proposal { process: 1, operation: 2 });
        StreamRecord { state, config, proposal }
    }

    fn partition() -> PartitionRecord {
        let segment = |id, rolled_at| SegmentRecord {
            id: SegmentId(id),
            ledger: LedgerId(id + 10),
            first_number: id * 100,
            rolled_at,
            created_ms: id * 1000,
            closed: (id < 5).then_some(Closed { last_ms: id * 1000 + 7, bytes: id }),
        };
        let owner = Owner {
            topology: "words".to_owned(),
            component: "sink".to_owned(),
            task: 1,
            generation: Generation(4),
        };
        PartitionRecord {
            term: Term(3),
            first: "S2:5:1".parse().unwrap(),
            next_segment: SegmentId(6),
            next_page: 3,
            pages: vec![PageRef {
                number: 2,
                first: SegmentId(2),
                last: SegmentId(3),
                segments: 2,
                last_ms: 2500,
                bytes: 77,
            }],
            segments: vec![segment(4, Some(None)), segment(5, Some(Some(EntryId(9))))],
            owner: Some(owner),
            garbage: vec![LedgerId(11)],
            ..PartitionRecord::new(Proposal { process: 9, operation: 8 })
        }
    }

    #[test]
    fn records_come_back() {
        for format in
            [Format::Bytes, Format::Utf8, Format::Json, Format::Postcard("x.y".to_owned())]
        {
            for state in [StreamState::There, StreamState::Deleting, StreamState::Making] {
                let record = StreamRecord { state, ..stream(format.clone()) };
                assert_eq!(decode_stream(&encode_stream(&record)), Ok(record));
            }
        }
        assert_eq!(decode_partition(&encode_partition(&partition())), Ok(partition()));
    }

    #[test]
    fn the_bytes_are_frozen() {
        let hash =
            |bytes: &[u8]| format!("{:016x} of {}", egret_schemas::key::hash(bytes), bytes.len());
        assert_eq!(hash(&encode_stream(&stream(Format::Json))), "4124de2c1cc982ca of 76");
        assert_eq!(hash(&encode_partition(&partition())), "e672839067e2cfa5 of 263");
    }

    #[test]
    fn no_segment_ends_where_no_entry_can_be() {
        let mut record = partition();
        record.segments[1].rolled_at = Some(Some(EntryId(u64::MAX)));
        let error = decode_partition(&encode_partition(&record)).unwrap_err();
        assert_eq!(error.what, "last entry");
    }

    #[test]
    fn names_and_formats_are_checked() {
        for good in ["orders", "a.b-c_9", "0"] {
            check_name(good).unwrap();
        }
        for bad in ["", ".a", "-a", "a/b", "a b", "ü", &"x".repeat(256)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        assert!("postcard:".parse::<Format>().is_err());
        let info = StreamInfo { name: "s".to_owned(), config: stream(Format::Json).config };
        let error = info.expect_format(&Format::Utf8).unwrap_err().to_string();
        assert!(error.contains("json") && error.contains("utf8"), "{error}");
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_fail_without_panic(mut bytes: Vec<u8>) {
            let crc = crc32c::crc32c(&bytes);
            bytes.put_u32(crc);
            let _ = decode_stream(&bytes);
            let _ = decode_partition(&bytes);
        }
    }
}
