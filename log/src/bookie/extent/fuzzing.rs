//! Extents: what a checkpoint wrote, read back from any bytes.

use std::path::Path;
use std::sync::Arc;

use egret_schemas::{EntryId, Incarnation, LedgerId, Term};

use super::format::{self, HEADER_BYTES, Owner, TRAILER_BYTES, offset, size};
use super::{EntryToWrite, Extent, ExtentId, ExtentWriter, TableCache};
use crate::caps;
use crate::disk::{Disk, FaultyDisk, OpenHow};
use crate::fuzzing::{Sample, Target, with_checksum};
use crate::message::entry_crc;

pub(crate) const TARGETS: &[Target] = &[
    Target { name: "extent_header", run: header, samples: header_samples },
    Target { name: "extent_entry", run: entry, samples: entry_samples },
    Target { name: "extent_footer", run: footer, samples: footer_samples },
    Target { name: "extent_file", run: file, samples: file_samples },
];

const OWNER: Incarnation = Incarnation(0x77);
const ID: ExtentId = ExtentId(0x2a);

/// Where the CRC of an extent's header stands.
const HEADER_CRC_AT: usize = 8 + 2 + 8 + 16 + 8;
/// No file is longer; what a trailer says was checked against the file's length.
const FILE_BYTES_MAX: u64 = 1 << 62;
/// Where the CRC of an entry stands.
const ENTRY_CRC: std::ops::Range<usize> = 4..8;

fn dir() -> &'static Path {
    Path::new("/extents")
}

/// The bytes with the checksum over all before `at` written there.
fn sealed_at(bytes: &[u8], at: usize) -> Option<Vec<u8>> {
    let mut sealed = bytes.to_vec();
    let crc = crc32c::crc32c(bytes.get(..at)?);
    sealed.get_mut(at..at + 4)?.copy_from_slice(&crc.to_le_bytes());
    Some(sealed)
}

fn header(bytes: &[u8]) -> bool {
    let decode = |bytes: &[u8]| format::decode_header(dir(), bytes).is_ok();
    let as_it_is = decode(bytes);
    sealed_at(bytes, HEADER_CRC_AT).is_some_and(|sealed| decode(&sealed)) || as_it_is
}

fn header_samples() -> Vec<Sample> {
    vec![("a_header", format::encode_header(Owner { extent: ID, incarnation: OWNER }, 9))]
}

fn entry(bytes: &[u8]) -> bool {
    let as_it_is = one_entry(bytes);
    let mut sealed = bytes.to_vec();
    let head = size(format::ENTRY_HEAD_BYTES);
    if sealed.len() < head {
        return as_it_is;
    }
    let len = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
    let payload = sealed.get(head..head.saturating_add(len)).unwrap_or_default();
    let crc = crc32c::crc32c(&sealed[..4]);
    let crc = crc32c::crc32c_append(crc, &sealed[8..head]);
    let crc = crc32c::crc32c_append(crc, payload);
    sealed[ENTRY_CRC].copy_from_slice(&crc.to_le_bytes());
    one_entry(&sealed) || as_it_is
}

fn one_entry(slot: &[u8]) -> bool {
    let Ok(head) = format::decode_slot(slot) else { return false };
    let start = size(format::ENTRY_HEAD_BYTES);
    let payload = &slot[start..start + head.len as usize];
    let mut again = Vec::new();
    format::put_entry_head(&mut again, &head, payload);
    again.extend_from_slice(payload);
    again.resize(slot.len(), 0);
    assert_eq!(again, slot, "every byte of an entry says something");
    true
}

fn entry_samples() -> Vec<Sample> {
    let whole = extent_bytes();
    let len = usize::try_from(format::slot_bytes(5)).expect("a few bytes");
    let start = size(HEADER_BYTES);
    vec![("five_bytes", whole[start..start + len].to_vec())]
}

/// Footer and trailer of a file in which the footer stands behind the header's and runs' bytes.
fn footer(bytes: &[u8]) -> bool {
    let Some((body, trailer)) = bytes.split_last_chunk::<24>() else {
        return false;
    };
    let at = u64::from_le_bytes(trailer[..8].try_into().expect("eight bytes"));
    if at > FILE_BYTES_MAX {
        return false;
    }
    with_checksum(body, |body| {
        let Ok((owner, runs)) = format::decode_footer(dir(), body, at) else { return false };
        let mut again = Vec::new();
        format::put_footer(&mut again, owner, &runs, at);
        let (again, said) = again.split_at(again.len() - trailer.len());
        assert_eq!(again, body, "every byte of a footer says something");
        let end = at + offset(body.len()) + TRAILER_BYTES;
        let found = format::decode_trailer(dir(), said, end).expect("it was just written");
        assert_eq!(found.0, at);
        true
    })
}

fn footer_samples() -> Vec<Sample> {
    let whole = extent_bytes();
    let trailer = &whole[whole.len() - size(TRAILER_BYTES)..];
    let len = offset(whole.len());
    let (at, _) = format::decode_trailer(dir(), trailer, len).expect("an extent has a trailer");
    vec![("four_runs", whole[size(at)..].to_vec())]
}

/// A whole file: opened, verified and read in rows.
fn file(bytes: &[u8]) -> bool {
    let as_it_is = one_file(bytes);
    mended(bytes).is_some_and(|mended| one_file(&mended)) || as_it_is
}

/// The file with the checksums of header, footer and trailer made right.
fn mended(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = sealed_at(bytes, HEADER_CRC_AT)?;
    let base = bytes.len().checked_sub(size(TRAILER_BYTES))?;
    let footer_at = u64::from_le_bytes(bytes.get(base..base + 8)?.try_into().ok()?);
    let footer_at = usize::try_from(footer_at).ok().filter(|at| *at < base)?;
    for (from, to) in [(footer_at, base), (base, bytes.len())] {
        let (body, crc) = bytes.get_mut(from..to)?.split_last_chunk_mut::<4>()?;
        *crc = crc32c::crc32c(body).to_le_bytes();
    }
    Some(bytes)
}

fn one_file(bytes: &[u8]) -> bool {
    let disk = FaultyDisk::new();
    disk.create_dir(dir()).expect("the disk is new");
    let file = disk.open(&ID.path(dir()), OpenHow::CreateNew, false).expect("the disk is new");
    file.write_all_at(bytes, 0).expect("the disk has room");
    let tables = Arc::new(TableCache::new(caps::TABLE_CACHE_BYTES));
    let Ok(extent) = Extent::open(&disk, dir(), ID, OWNER, tables) else { return false };
    let whole = extent.verify();
    for (number, run) in extent.runs().iter().enumerate() {
        let row = extent.read_row(number, 0, run.count, u64::MAX);
        if whole.is_ok() {
            let row = row.expect("every byte was found to be right");
            assert_eq!(row.len(), run.count as usize, "and every entry");
        }
    }
    whole.is_ok()
}

fn file_samples() -> Vec<Sample> {
    vec![("eight_entries", extent_bytes())]
}

fn extent_bytes() -> Vec<u8> {
    let disk = FaultyDisk::new();
    disk.create_dir(dir()).expect("the disk is new");
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut writer = ExtentWriter::create(&shared, dir(), ID, OWNER, 9).expect("the disk has room");
    let ids = [(1, 0), (1, 1), (1, 2), (1, 7), (1, 8), (4, 3), (u64::MAX, 0), (u64::MAX, 1)];
    for (ledger, entry) in ids {
        let (ledger, entry) = (LedgerId(ledger), EntryId(entry));
        let payload = b"egret";
        let crc = entry_crc(ledger, entry, payload);
        let written = writer.append(&EntryToWrite { ledger, entry, term: Term(5), crc, payload });
        written.expect("the disk has room");
    }
    writer.seal().expect("the disk has room");
    disk.bytes(&ID.path(dir())).expect("it was just written")
}
