//! The layout of an extent. Little-endian; no byte is outside a checksum except those that must be 0.
//!
//! ```text
//! header   4096  magic 8 | version u16 | extent u64 | incarnation u128 | created_ms u64 | crc u32 | 0…
//! data           run after run, entry after entry, each:
//!                  len u32 | crc u32 | ledger u64 | entry u64 | term u64 | entry_crc u32 | flags u32
//!                  | payload (len) | 0… to a multiple of 8
//!                  crc: of len, of ledger to flags, and of the payload; flags: 0 so far
//! tables         per run: count × u32, where each entry starts, in units of 8 from the run's start
//! footer         extent u64 | incarnation u128 | entries u64 | runs u32
//!                  | runs × (ledger u64 | first u64 | count u32 | data_at u64 | data_len u64
//!                            | table_at u64 | table_crc u32)
//!                  | crc u32
//! trailer    24  footer_at u64 | footer_len u32 | magic 8 | crc u32
//! ```
//!
//! Data, tables, footer and trailer follow each other without gaps, and so do runs and tables; runs are
//! sorted by (ledger, first) and do not overlap. [`decode_footer`] checks all of it, so a footer that
//! decodes sizes nothing beyond the file.

use std::path::Path;

use egret_schemas::bytes::{DecodeError, Reader, Writer};
use egret_schemas::{EntryId, Incarnation, LedgerId, Term};

use super::ExtentId;
use crate::bookie::damage::{Damage, FileError};

pub(super) const HEADER_BYTES: u64 = 4096;
pub(super) const TRAILER_BYTES: u64 = 24;
pub(super) const ENTRY_HEAD_BYTES: u64 = 40;
/// Entries start at multiples of this.
pub(super) const ALIGN: u64 = 8;
const HEADER_MAGIC: &[u8; 8] = b"EGRETEXT";
const TRAILER_MAGIC: &[u8; 8] = b"TXETERGE";
const VERSION: u16 = 1;
const FOOTER_HEAD_BYTES: usize = 36;
const RUN_BYTES: usize = 48;

/// Entries of one ledger with consecutive numbers, as an extent holds them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// The ledger.
    pub ledger: LedgerId,
    /// The first entry.
    pub first: EntryId,
    /// How many entries; at least one.
    pub count: u32,
    /// Where its entries start in the file.
    pub data_at: u64,
    /// The bytes its entries take.
    pub data_len: u64,
    pub(super) table_at: u64,
    pub(super) table_crc: u32,
}

impl Run {
    /// The last entry.
    pub fn last(&self) -> EntryId {
        EntryId(self.first.0 + u64::from(self.count - 1))
    }

    /// The index of an entry in this run, if it is in it.
    pub fn index_of(&self, entry: EntryId) -> Option<u32> {
        let index = u32::try_from(entry.0.checked_sub(self.first.0)?).ok()?;
        (index < self.count).then_some(index)
    }

    pub(super) fn table_len(&self) -> u64 {
        u64::from(self.count) * 4
    }
}

/// Whose extent it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) extent: ExtentId,
    pub(super) incarnation: Incarnation,
}

/// The fields before an entry's payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct EntryHead {
    pub(super) len: u32,
    pub(super) ledger: LedgerId,
    pub(super) entry: EntryId,
    pub(super) term: Term,
    pub(super) entry_crc: u32,
}

/// The bytes an entry takes with its head and padding.
pub(super) fn slot_bytes(payload: u64) -> u64 {
    (ENTRY_HEAD_BYTES + payload).next_multiple_of(ALIGN)
}

pub(super) fn encode_header(owner: Owner, created_ms: u64) -> Vec<u8> {
    let mut out = HEADER_MAGIC.to_vec();
    out.put_u16(VERSION);
    out.put_u64(owner.extent.0);
    out.put_u128(owner.incarnation.0);
    out.put_u64(created_ms);
    put_crc(&mut out, 0);
    out.resize(size(HEADER_BYTES), 0);
    out
}

/// Decodes a header of [`HEADER_BYTES`].
pub(super) fn decode_header(file: &Path, bytes: &[u8]) -> Result<Owner, FileError> {
    let damage = |error| Damage::decoding(file, 0, &error);
    let mut reader = Reader::new(bytes);
    if reader.take(8, "magic").map_err(damage)? != HEADER_MAGIC {
        return Err(Damage::new(file, 0, "not an extent").into());
    }
    let version = reader.u16("version").map_err(damage)?;
    let extent = ExtentId(reader.u64("extent").map_err(damage)?);
    let incarnation = Incarnation(reader.u128("incarnation").map_err(damage)?);
    reader.u64("created").map_err(damage)?;
    let covered = reader.at();
    let crc = reader.u32("header checksum").map_err(damage)?;
    if crc != crc32c::crc32c(&bytes[..covered]) {
        return Err(Damage::new(file, 0, "header checksum mismatch").into());
    }
    if version != VERSION {
        let file = file.to_owned();
        return Err(FileError::Version { file, found: version, known: VERSION });
    }
    let rest = reader.at();
    match bytes[rest..].iter().position(|byte| *byte != 0) {
        Some(at) => Err(Damage::new(file, offset(rest + at), "header padding is not zero").into()),
        None => Ok(Owner { extent, incarnation }),
    }
}

/// Appends an entry's head, its checksum included; the payload and padding follow.
pub(super) fn put_entry_head(out: &mut Vec<u8>, head: &EntryHead, payload: &[u8]) {
    let start = out.len();
    out.put_u32(head.len);
    out.put_u32(0);
    out.put_u64(head.ledger.0);
    out.put_u64(head.entry.0);
    out.put_u64(head.term.0);
    out.put_u32(head.entry_crc);
    out.put_u32(0);
    let crc = slot_crc(&out[start..], payload);
    out[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
}

/// The checksum of an entry's slot: all of its head but the checksum itself, and the payload.
fn slot_crc(head: &[u8], payload: &[u8]) -> u32 {
    let crc = crc32c::crc32c(&head[..4]);
    let crc = crc32c::crc32c_append(crc, &head[8..]);
    crc32c::crc32c_append(crc, payload)
}

/// Decodes the slot of one entry: head, payload and padding, no more and no less.
pub(super) fn decode_slot(slot: &[u8]) -> Result<EntryHead, DecodeError> {
    let head_bytes = size(ENTRY_HEAD_BYTES);
    let mut reader = Reader::new(slot);
    let len = reader.u32("entry length")?;
    let crc = reader.u32("entry checksum")?;
    let ledger = LedgerId(reader.u64("ledger")?);
    let entry = EntryId(reader.u64("entry")?);
    let term = Term(reader.u64("term")?);
    let entry_crc = reader.u32("client's checksum")?;
    let flags = reader.u32("flags")?;
    let payload = reader.take(len as usize, "payload")?;
    if crc != slot_crc(&slot[..head_bytes], payload) {
        return Err(DecodeError { what: "entry", at: 0, why: "checksum mismatch" });
    }
    if flags != 0 {
        return Err(DecodeError { what: "flags", at: head_bytes - 4, why: "none are known" });
    }
    let padding = reader.at();
    if offset(slot.len()) != slot_bytes(u64::from(len)) || slot[padding..].iter().any(|b| *b != 0) {
        return Err(DecodeError {
            what: "entry padding",
            at: padding,
            why: "not zeros to the end",
        });
    }
    Ok(EntryHead { len, ledger, entry, term, entry_crc })
}

/// Appends the footer and the trailer of a file in which the footer starts at `footer_at`.
///
/// # Panics
/// When the footer is over 4 GiB: a writer seals long before it has ninety million runs.
pub(super) fn put_footer(out: &mut Vec<u8>, owner: Owner, runs: &[Run], footer_at: u64) {
    let start = out.len();
    out.put_u64(owner.extent.0);
    out.put_u128(owner.incarnation.0);
    out.put_u64(runs.iter().map(|run| u64::from(run.count)).sum());
    out.put_u32(u32::try_from(runs.len()).expect("checked by the length below"));
    for run in runs {
        out.put_u64(run.ledger.0);
        out.put_u64(run.first.0);
        out.put_u32(run.count);
        out.put_u64(run.data_at);
        out.put_u64(run.data_len);
        out.put_u64(run.table_at);
        out.put_u32(run.table_crc);
    }
    put_crc(out, start);
    let trailer = out.len();
    out.put_u64(footer_at);
    out.put_u32(u32::try_from(trailer - start).expect("a footer is far below 4 GiB"));
    out.extend_from_slice(TRAILER_MAGIC);
    put_crc(out, trailer);
}

/// Decodes the trailer of a file of `file_len` bytes: where the footer starts and how long it is, both
/// within the file.
pub(super) fn decode_trailer(
    file: &Path,
    bytes: &[u8],
    file_len: u64,
) -> Result<(u64, u32), Damage> {
    let base = file_len - TRAILER_BYTES;
    let damage = |error| Damage::decoding(file, base, &error);
    let mut reader = Reader::new(bytes);
    let footer_at = reader.u64("footer's place").map_err(damage)?;
    let footer_len = reader.u32("footer's length").map_err(damage)?;
    let magic = reader.take(8, "trailer's magic").map_err(damage)?;
    let covered = reader.at();
    let crc = reader.u32("trailer's checksum").map_err(damage)?;
    if magic != TRAILER_MAGIC || crc != crc32c::crc32c(&bytes[..covered]) {
        return Err(Damage::new(file, base, "no trailer: not sealed, cut short, or overwritten"));
    }
    if footer_at < HEADER_BYTES || footer_at.checked_add(u64::from(footer_len)) != Some(base) {
        return Err(Damage::new(file, base, "the footer does not end at the trailer"));
    }
    Ok((footer_at, footer_len))
}

/// Decodes a footer that starts at `footer_at`, and checks that its runs and tables fill the file from
/// the header to it.
pub(super) fn decode_footer(
    file: &Path,
    bytes: &[u8],
    footer_at: u64,
) -> Result<(Owner, Vec<Run>), Damage> {
    let damage = |error: DecodeError| Damage::decoding(file, footer_at, &error);
    let wrong = |what: &str| Damage::new(file, footer_at, what);
    let Some((body, crc)) = bytes.split_last_chunk::<4>() else {
        return Err(wrong("the footer is too short"));
    };
    if u32::from_le_bytes(*crc) != crc32c::crc32c(body) {
        return Err(wrong("footer checksum mismatch"));
    }
    let mut reader = Reader::new(body);
    let extent = ExtentId(reader.u64("extent").map_err(damage)?);
    let incarnation = Incarnation(reader.u128("incarnation").map_err(damage)?);
    let entries = reader.u64("entries").map_err(damage)?;
    let count = reader.u32("runs").map_err(damage)? as usize;
    if body.len() != FOOTER_HEAD_BYTES.saturating_add(count.saturating_mul(RUN_BYTES)) {
        return Err(wrong("the footer's length does not fit its runs"));
    }
    let mut runs = Vec::with_capacity(count);
    for _ in 0..count {
        runs.push(decode_run(&mut reader).map_err(damage)?);
    }
    check_runs(&runs, footer_at).map_err(wrong)?;
    if runs.iter().map(|run| u64::from(run.count)).sum::<u64>() != entries {
        return Err(wrong("the footer's entries are not those of its runs"));
    }
    Ok((Owner { extent, incarnation }, runs))
}

fn decode_run(reader: &mut Reader<'_>) -> Result<Run, DecodeError> {
    Ok(Run {
        ledger: LedgerId(reader.u64("run's ledger")?),
        first: EntryId(reader.u64("run's first entry")?),
        count: reader.u32("run's entries")?,
        data_at: reader.u64("run's data")?,
        data_len: reader.u64("run's data length")?,
        table_at: reader.u64("run's table")?,
        table_crc: reader.u32("run's table checksum")?,
    })
}

/// Checks order and that nothing is left between header, runs, tables and footer.
fn check_runs(runs: &[Run], footer_at: u64) -> Result<(), &'static str> {
    let mut data_at = HEADER_BYTES;
    for run in runs {
        let least = u64::from(run.count) * ENTRY_HEAD_BYTES;
        if run.count == 0 || run.data_len < least || run.data_len % ALIGN != 0 {
            return Err("a run's length does not fit its entries");
        }
        if run.first.0.checked_add(u64::from(run.count)).is_none() {
            return Err("a run's entry numbers overflow");
        }
        if run.data_at != data_at {
            return Err("a run does not follow the one before");
        }
        data_at = data_at.checked_add(run.data_len).ok_or("a run ends past the file")?;
    }
    let mut table_at = data_at;
    for run in runs {
        if run.table_at != table_at {
            return Err("a table does not follow the one before");
        }
        table_at = table_at.checked_add(run.table_len()).ok_or("a table ends past the file")?;
    }
    let sorted = |pair: &[Run]| (pair[0].ledger, pair[0].last()) < (pair[1].ledger, pair[1].first);
    match (table_at == footer_at, runs.windows(2).all(sorted)) {
        (true, true) => Ok(()),
        (false, _) => Err("the tables do not end at the footer"),
        (_, false) => Err("the runs are not in order"),
    }
}

/// Appends the CRC32C of everything in `out` from `start`.
fn put_crc(out: &mut Vec<u8>, start: usize) {
    let crc = crc32c::crc32c(&out[start..]);
    out.put_u32(crc);
}

/// A length of this format as memory counts.
pub(super) fn size(bytes: u64) -> usize {
    usize::try_from(bytes).expect("lengths here are bounded by what is in memory")
}

/// A length in memory as the file counts.
pub(super) fn offset(bytes: usize) -> u64 {
    u64::try_from(bytes).expect("a length in memory fits u64")
}
