//! The manifest: what a bookie's directory holds as of a checkpoint. Replaced as a whole.
//!
//! It names the sealed extents, the position of the journal up to which they hold everything, and the
//! state of every ledger: a fence is part of every checkpoint, also when no entry was added. Reading
//! the manifest and then the journal from [`checkpoint_lsn`](Manifest::checkpoint_lsn) gives back all
//! that was acknowledged. Why it is not a log of changes: `docs/001-manifest-replaced-whole.md`.
//!
//! ```text
//! MANIFEST: magic 8 | version u16 | incarnation u128 | sequence u64 | checkpoint_lsn u64
//!           | next_extent u64 | limbo_below u64 (since version 2)
//!           | extents u32 × (id u64)                                  rising
//!           | ledgers u32 × (ledger u64 | term u64 | lac u64 | flags u8)  rising
//!           | deleted u32 × (first u64 | last u64)                    rising, apart
//!           | crc32c u32 of all before
//! flags: 1 has a lac (else lac is 0) | 2 transactional | 4 created | 8 deleted | 16 replicated | 32 limbo
//! ```

use std::io;
use std::path::Path;

use egret_schemas::bytes::{DecodeError, Reader, Writer};
use egret_schemas::{EntryId, Incarnation, LedgerId, Term};

use super::damage::{Damage, FileError};
use super::extent::ExtentId;
use super::whole_file;
use crate::caps;
use crate::disk::Disk;

#[cfg(test)]
mod tests;

pub(super) const NAME: &str = "MANIFEST";
const MAGIC: &[u8; 8] = b"EGRETMAN";
const VERSION: u16 = 2;
/// The first version, which is read too: it had nothing of limbo.
const VERSION_WITHOUT_LIMBO: u16 = 1;
const EXTENT_BYTES: usize = 8;
const LEDGER_BYTES: usize = 25;
const RANGE_BYTES: usize = 16;

const HAS_LAC: u8 = 1;
const TRANSACTIONAL: u8 = 2;
const CREATED: u8 = 4;
const DELETED: u8 = 8;
const REPLICATED: u8 = 16;
const LIMBO: u8 = 32;

/// What a bookie's directory holds as of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// Whose directory this is.
    pub incarnation: Incarnation,
    /// How many manifests came before in this directory.
    pub sequence: u64,
    /// Everything the journal holds below this LSN is in the extents and in this manifest.
    pub checkpoint_lsn: u64,
    /// The number of the next extent; all those listed are below it.
    pub next_extent: ExtentId,
    /// A ledger below this that is not known may have been lost here; zero when nothing was.
    pub limbo_below: LedgerId,
    /// The extents in use, rising.
    pub extents: Vec<ExtentId>,
    /// The ledgers known here, rising.
    pub ledgers: Vec<LedgerRow>,
    /// Ledgers deleted for good and no longer among the rows, rising and apart.
    pub deleted: Vec<LedgerRange>,
}

/// What a bookie remembers of one ledger, beside its entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LedgerRow {
    /// The ledger.
    pub ledger: LedgerId,
    /// The highest term seen: requests of lower ones are refused.
    pub term: Term,
    /// What readers may see, as far as was told.
    pub lac: Option<EntryId>,
    /// Whether readers are bounded by a published position.
    pub transactional: bool,
    /// Whether it was created here, not only fenced.
    pub created: bool,
    /// Whether it was deleted.
    pub deleted: bool,
    /// Whether other bookies have copies.
    pub replicated: bool,
    /// Whether entries that were acknowledged may be lost here, and nobody has settled that yet.
    pub limbo: bool,
}

/// Ledgers from `first` to `last`, both included.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct LedgerRange {
    /// The first.
    pub first: LedgerId,
    /// The last.
    pub last: LedgerId,
}

impl Manifest {
    /// The manifest of a directory in which nothing has been stored.
    pub fn empty(incarnation: Incarnation) -> Manifest {
        Manifest {
            incarnation,
            sequence: 0,
            checkpoint_lsn: 0,
            next_extent: ExtentId(0),
            limbo_below: LedgerId(0),
            extents: Vec::new(),
            ledgers: Vec::new(),
            deleted: Vec::new(),
        }
    }

    /// Reads the manifest of a directory; `None` when none was ever stored.
    ///
    /// # Errors
    /// Damage, a newer format, or the manifest of another incarnation.
    pub fn load(
        disk: &dyn Disk,
        dir: &Path,
        incarnation: Incarnation,
    ) -> Result<Option<Manifest>, FileError> {
        let path = dir.join(NAME);
        let Some(bytes) = whole_file::read(disk, &path, caps::MANIFEST_BYTES_MAX)? else {
            return Ok(None);
        };
        let manifest = decode(&path, &bytes)?;
        if manifest.incarnation == incarnation {
            return Ok(Some(manifest));
        }
        let name = |incarnation| format!("bookie {incarnation}");
        let (found, expected) = (name(manifest.incarnation), name(incarnation));
        Err(FileError::Foreign { file: path, found, expected })
    }

    /// Stores this manifest in place of `previous`, durably. What only `previous` needed (journal
    /// files, extents) may be removed once this returns `Ok`, and not before.
    ///
    /// # Panics
    /// When it does not follow `previous`: LSN and extent numbers only rise, and the sequence goes up
    /// by one. A manifest that went back would bring back what was trimmed.
    pub fn store(
        &self,
        disk: &dyn Disk,
        dir: &Path,
        previous: Option<&Manifest>,
    ) -> io::Result<()> {
        if let Some(previous) = previous {
            assert_eq!(self.incarnation, previous.incarnation, "the directory's own manifest");
            assert_eq!(self.sequence, previous.sequence + 1, "the next manifest");
            assert!(self.checkpoint_lsn >= previous.checkpoint_lsn, "checkpoints do not go back");
            assert!(self.next_extent >= previous.next_extent, "extent numbers are not reused");
        }
        if let Err(what) = self.check() {
            panic!("a manifest is well-formed before it is stored: {what}");
        }
        let bytes = self.encode();
        let len = u64::try_from(bytes.len()).expect("a length in memory fits u64");
        if len > caps::MANIFEST_BYTES_MAX {
            let text = format!("a manifest of {len} bytes is over the limit: delete some ledgers");
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
        }
        whole_file::replace(disk, dir, NAME, &bytes)
    }

    /// What is always so, on disk and in memory.
    fn check(&self) -> Result<(), &'static str> {
        if !self.extents.is_sorted_by(|a, b| a < b) {
            return Err("the extents are not rising");
        }
        if self.extents.last().is_some_and(|last| *last >= self.next_extent) {
            return Err("an extent is not below the next number");
        }
        if !self.ledgers.is_sorted_by(|a, b| a.ledger < b.ledger) {
            return Err("the ledgers are not rising");
        }
        if self.deleted.iter().any(|range| range.first > range.last)
            || !self.deleted.is_sorted_by(|a, b| a.last < b.first)
        {
            return Err("the deleted ranges are not rising and apart");
        }
        Ok(())
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        out.put_u16(VERSION);
        out.put_u128(self.incarnation.0);
        out.put_u64(self.sequence);
        out.put_u64(self.checkpoint_lsn);
        out.put_u64(self.next_extent.0);
        out.put_u64(self.limbo_below.0);
        put_count(&mut out, self.extents.len());
        for extent in &self.extents {
            out.put_u64(extent.0);
        }
        put_count(&mut out, self.ledgers.len());
        for row in &self.ledgers {
            out.put_u64(row.ledger.0);
            out.put_u64(row.term.0);
            out.put_u64(row.lac.map_or(0, |lac| lac.0));
            let flag = |set: bool, bit| if set { bit } else { 0 };
            out.put_u8(
                flag(row.lac.is_some(), HAS_LAC)
                    | flag(row.transactional, TRANSACTIONAL)
                    | flag(row.created, CREATED)
                    | flag(row.deleted, DELETED)
                    | flag(row.replicated, REPLICATED)
                    | flag(row.limbo, LIMBO),
            );
        }
        put_count(&mut out, self.deleted.len());
        for range in &self.deleted {
            out.put_u64(range.first.0);
            out.put_u64(range.last.0);
        }
        let crc = crc32c::crc32c(&out);
        out.put_u32(crc);
        out
    }
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.put_u32(u32::try_from(count).expect("a manifest over its byte limit is refused later"));
}

pub(crate) fn decode(path: &Path, bytes: &[u8]) -> Result<Manifest, FileError> {
    let body = whole_file::checked(path, bytes)?;
    let damage = |error| Damage::decoding(path, 0, &error);
    let mut reader = Reader::new(body);
    if reader.take(MAGIC.len(), "magic").map_err(damage)? != MAGIC {
        return Err(Damage::new(path, 0, "not a manifest").into());
    }
    let version = reader.u16("version").map_err(damage)?;
    if version != VERSION && version != VERSION_WITHOUT_LIMBO {
        let file = path.to_owned();
        return Err(FileError::Version { file, found: version, known: VERSION });
    }
    let manifest = decode_body(reader, version).map_err(damage)?;
    manifest.check().map_err(|what| Damage::new(path, 0, what))?;
    Ok(manifest)
}

fn decode_body(mut reader: Reader<'_>, version: u16) -> Result<Manifest, DecodeError> {
    let r = &mut reader;
    let manifest = Manifest {
        incarnation: Incarnation(r.u128("incarnation")?),
        sequence: r.u64("sequence")?,
        checkpoint_lsn: r.u64("checkpoint")?,
        next_extent: ExtentId(r.u64("next extent")?),
        limbo_below: match version {
            VERSION_WITHOUT_LIMBO => LedgerId(0),
            _ => LedgerId(r.u64("limbo bound")?),
        },
        extents: many(r, EXTENT_BYTES, "extents", |r| Ok(ExtentId(r.u64("extent")?)))?,
        ledgers: many(r, LEDGER_BYTES, "ledgers", decode_row)?,
        deleted: many(r, RANGE_BYTES, "deleted ledgers", |r| {
            let first = LedgerId(r.u64("first deleted ledger")?);
            Ok(LedgerRange { first, last: LedgerId(r.u64("last deleted ledger")?) })
        })?,
    };
    reader.end("manifest")?;
    Ok(manifest)
}

/// A count and that many items of `item_bytes`; the count is believed only as far as bytes are there.
fn many<T>(
    reader: &mut Reader<'_>,
    item_bytes: usize,
    what: &'static str,
    decode: impl Fn(&mut Reader<'_>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let count = reader.u32(what)? as usize;
    if count.checked_mul(item_bytes).is_none_or(|bytes| bytes > reader.remaining()) {
        return Err(reader.wrong(what, "more than there are bytes for"));
    }
    (0..count).map(|_| decode(reader)).collect()
}

fn decode_row(reader: &mut Reader<'_>) -> Result<LedgerRow, DecodeError> {
    let ledger = LedgerId(reader.u64("ledger")?);
    let term = Term(reader.u64("term")?);
    let lac = reader.u64("lac")?;
    let flags = reader.u8("ledger's flags")?;
    if flags & !(HAS_LAC | TRANSACTIONAL | CREATED | DELETED | REPLICATED | LIMBO) != 0 {
        return Err(reader.wrong("ledger's flags", "a flag that is not known"));
    }
    if flags & HAS_LAC == 0 && lac != 0 {
        return Err(reader.wrong("lac", "a number where there is none"));
    }
    Ok(LedgerRow {
        ledger,
        term,
        lac: (flags & HAS_LAC != 0).then_some(EntryId(lac)),
        transactional: flags & TRANSACTIONAL != 0,
        created: flags & CREATED != 0,
        deleted: flags & DELETED != 0,
        replicated: flags & REPLICATED != 0,
        limbo: flags & LIMBO != 0,
    })
}
