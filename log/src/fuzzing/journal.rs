//! The journal: what a replay reads.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use egret_schemas::bytes::Reader;
use egret_schemas::{EntryId, Incarnation, LedgerId, Term};

use super::{Sample, Target, comes_back};
use crate::bookie::journal::format::{
    BATCH_HEAD, BLOCK, BatchHeader, FLAG_END, FileHeader, padded,
};
use crate::bookie::journal::replay::replay;
use crate::bookie::journal::{Record, files};
use crate::disk::{Disk, FaultyDisk, OpenHow};
use crate::message::entry_crc;

pub(super) const TARGETS: &[Target] = &[
    Target { name: "journal_file_header", run: file_header, samples: file_header_samples },
    Target { name: "journal_batch_header", run: batch_header, samples: batch_header_samples },
    Target { name: "journal_record", run: record, samples: record_samples },
    Target { name: "journal_replay", run: replayed, samples: replayed_samples },
];

const OWNER: Incarnation = Incarnation(0x77);
const FILE: u64 = 3;

/// Where the CRC of a batch's header, of its body, and of the batch before stand in it.
const HEADER_CRC: std::ops::Range<usize> = 4..8;
const BODY_CRC: std::ops::Range<usize> = 8..12;
const PREVIOUS_CRC: std::ops::Range<usize> = 36..40;
const BODY_LEN: std::ops::Range<usize> = 32..36;

fn file_header(bytes: &[u8]) -> bool {
    let decode = |bytes: &[u8]| FileHeader::decode(bytes).map(|(header, _)| header);
    comes_back(bytes, decode, |header| header.encode().0)
}

fn file_header_samples() -> Vec<Sample> {
    vec![("first", FileHeader::new(OWNER, FILE, 17, 1 << 20).encode().0)]
}

fn batch_header(bytes: &[u8]) -> bool {
    // Its own checksum is not compared: it covers bytes that say nothing yet.
    let decode = |bytes: &[u8]| BatchHeader::decode(bytes).map(|(header, _)| header);
    let encode = |header: &BatchHeader| {
        let mut out = vec![0; BATCH_HEAD];
        header.encode(&mut out);
        out
    };
    let as_it_is = comes_back(bytes, decode, encode);
    let mut sealed = bytes.to_vec();
    if sealed.len() < BATCH_HEAD {
        return as_it_is;
    }
    let crc = crc32c::crc32c(&sealed[HEADER_CRC.end..BATCH_HEAD]);
    sealed[HEADER_CRC].copy_from_slice(&crc.to_le_bytes());
    if let Ok(header) = decode(&sealed) {
        assert!(header.padded_len() >= BATCH_HEAD as u64, "{header:?}");
    }
    comes_back(&sealed, decode, encode) || as_it_is
}

fn batch_header_samples() -> Vec<Sample> {
    let header = BatchHeader {
        flags: FLAG_END,
        records: 2,
        salt: 5,
        lsn: 6,
        body_len: 300,
        body_crc: 7,
        prev_batch_crc: 8,
        durable_lsn: 4,
    };
    let mut out = vec![0; BATCH_HEAD];
    header.encode(&mut out);
    vec![("last_of_its_file", out)]
}

fn records_of(bytes: &[u8]) -> Result<Vec<Record>, egret_schemas::bytes::DecodeError> {
    let mut reader = Reader::new(bytes);
    let mut records = Vec::new();
    while reader.remaining() > 0 {
        records.push(Record::decode(&mut reader)?);
    }
    Ok(records)
}

fn bytes_of(records: &[Record]) -> Vec<u8> {
    let mut body = vec![0; records.iter().map(Record::len).sum()];
    let mut at = 0;
    for record in records {
        at += record.encode(&mut body[at..]);
    }
    body
}

fn record(bytes: &[u8]) -> bool {
    comes_back(bytes, records_of, |records| bytes_of(records))
}

fn some_records() -> Vec<Record> {
    let (ledger, entry, term) = (LedgerId(9), EntryId(4), Term(2));
    let payload = Bytes::from_static(b"two herons and an egret");
    let crc = entry_crc(ledger, entry, &payload);
    vec![
        Record::Create { ledger, term, transactional: true, replicated: true },
        Record::Add { ledger, entry, term, lac: Some(EntryId(3)), crc, payload },
        Record::Fence { ledger, term: Term(3) },
        Record::ExplicitLac { ledger, term, lac: entry },
        Record::ClearLimbo { ledger, term: Term(4) },
        Record::LimboBound { below: LedgerId(12) },
        Record::Delete { ledger },
    ]
}

fn record_samples() -> Vec<Sample> {
    vec![("one_of_each", bytes_of(&some_records()))]
}

/// A directory with one journal file in it, replayed from its beginning.
fn replayed(bytes: &[u8]) -> bool {
    let as_it_is = replay_file(bytes);
    let mut mended = bytes.to_vec();
    mend(&mut mended);
    replay_file(&mended) || as_it_is
}

fn replay_file(bytes: &[u8]) -> bool {
    let dir = Path::new("/journal");
    let disk = FaultyDisk::new();
    disk.create_dir(dir).expect("the disk is new");
    let path = dir.join(files::name(FILE));
    let file = disk.open(&path, OpenHow::CreateNew, false).expect("the disk is new");
    file.write_all_at(bytes, 0).expect("the disk has room");
    let disk: Arc<dyn Disk> = Arc::new(disk);
    let mut first = Vec::new();
    let found = replay(&disk, dir, OWNER, 0, |record| first.push(record)).is_ok();
    if found {
        // A replay cuts a torn tail; what it cut must not come up, nor anything else be gone.
        let mut again = Vec::new();
        let second = replay(&disk, dir, OWNER, 0, |record| again.push(record));
        assert!(second.is_ok(), "read once and not again: {:?}", second.err());
        assert_eq!(first, again, "a second replay finds something else");
    }
    found
}

/// Makes the checksums of a file's header and batches right, as far as batches follow each other.
fn mend(bytes: &mut [u8]) {
    if bytes.len() < BLOCK {
        return;
    }
    // A header that does not decode is replaced; the search inside is for batches.
    let salt_and_crc = match FileHeader::decode(bytes) {
        Ok((header, crc)) if header.file_bytes == bytes.len() as u64 => (header.salt, crc),
        _ => {
            let header = FileHeader::new(OWNER, FILE, 1, bytes.len() as u64);
            let (block, crc) = header.encode();
            bytes[..BLOCK].copy_from_slice(&block);
            (header.salt, crc)
        }
    };
    let (_, mut previous) = salt_and_crc;
    let mut at = BLOCK;
    while at + BATCH_HEAD <= bytes.len() && bytes[at..].starts_with(b"EGJB") {
        let batch = &mut bytes[at..];
        let len = batch[BODY_LEN].try_into().map(u32::from_le_bytes);
        let len = len.expect("a range of four bytes") as usize;
        let Some(body) = batch.get(BATCH_HEAD..BATCH_HEAD.saturating_add(len)) else { return };
        let body_crc = crc32c::crc32c(body);
        batch[BODY_CRC].copy_from_slice(&body_crc.to_le_bytes());
        batch[PREVIOUS_CRC].copy_from_slice(&previous.to_le_bytes());
        previous = crc32c::crc32c(&batch[HEADER_CRC.end..BATCH_HEAD]);
        batch[HEADER_CRC].copy_from_slice(&previous.to_le_bytes());
        let whole = padded((BATCH_HEAD + len) as u64);
        at = at.saturating_add(usize::try_from(whole).unwrap_or(usize::MAX));
    }
}

fn replayed_samples() -> Vec<Sample> {
    let len = two_batches(0).len();
    let (longer, torn) = (len + BLOCK, len - BLOCK);
    let resized = |len: usize| {
        let mut out = two_batches(len as u64);
        out.resize(len, 0);
        out
    };
    vec![("two_batches", resized(longer)), ("full_to_the_end", resized(torn))]
}

/// A file of some batches, which says that it has so many bytes.
fn two_batches(file_bytes: u64) -> Vec<u8> {
    let header = FileHeader::new(OWNER, FILE, 1, file_bytes);
    let (mut out, mut previous) = header.encode();
    for (lsn, records) in (1..).zip(some_records().chunks(4)) {
        let body = bytes_of(records);
        let batch = BatchHeader {
            flags: 0,
            records: u16::try_from(records.len()).expect("a few"),
            salt: header.salt,
            lsn,
            body_len: u32::try_from(body.len()).expect("a few bytes"),
            body_crc: crc32c::crc32c(&body),
            prev_batch_crc: previous,
            durable_lsn: lsn - 1,
        };
        let at = out.len();
        out.resize(at + usize::try_from(batch.padded_len()).expect("a block"), 0);
        previous = batch.encode(&mut out[at..]);
        out[at + BATCH_HEAD..at + BATCH_HEAD + body.len()].copy_from_slice(&body);
    }
    out
}
