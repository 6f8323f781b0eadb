//! The journal's bytes: file header, batch, record.
//!
//! All numbers are little-endian; every CRC is CRC32C.
//!
//! ```text
//! file   4096  { magic "EGJF", version u16, rsv u16, incarnation u128, file_seq u64, salt u64,
//!               start_lsn u64, file_bytes u64, crc u32 } zeros
//! batch  4096-aligned
//!          64  { magic "EGJB", hdr_crc u32, body_crc u32, flags u16, rec_count u16, salt u64, lsn u64,
//!               body_len u32, prev_batch_crc u32, durable_lsn u64, zeros 16 }
//!        body  records, then anything up to the next multiple of 4096
//! record   44  { type u8, flags u8, rsv u16, len u32, ledger u64, entry u64, term u64, crc u32, lac u64 }
//!         len  payload
//! ```
//!
//! * `hdr_crc` covers the header after itself; with it `body_crc`, and through that the whole batch.
//! * `prev_batch_crc` is the `hdr_crc` of the batch before in the same file, of the file's header for the
//!   first: a batch that was lost or landed elsewhere breaks the chain.
//! * `durable_lsn` is the highest batch known synced when this one was built.
//! * `file_bytes` is the length the file was filled to before it got its name: a shorter one was cut since.
//! * `salt` is the file's: what an earlier use of the same blocks left behind is not valid here.

use bytes::Bytes;
use egret_schemas::bytes::{DecodeError, Reader, Writer};
use egret_schemas::{EntryId, Incarnation, LedgerId, Term};

/// Batches start and end on this; `O_DIRECT` asks for it.
pub(crate) const BLOCK: usize = 4096;
/// [`BLOCK`] as an offset.
pub(crate) const BLOCK_U64: u64 = 4096;
/// Bytes of a batch before its records.
pub(crate) const BATCH_HEAD: usize = 64;
/// Bytes of a record before its payload.
pub(crate) const RECORD_HEAD: usize = 44;
/// Records of one batch: the count has 16 bits.
pub(crate) const BATCH_RECORDS_MAX: usize = u16::MAX as usize;

const FILE_MAGIC: u32 = u32::from_le_bytes(*b"EGJF");
const BATCH_MAGIC: u32 = u32::from_le_bytes(*b"EGJB");
const VERSION: u16 = 2;
const FILE_HEAD: usize = 4 + 2 + 2 + 16 + 8 + 8 + 8 + 8;

/// Batch flag: the file ends here, `lsn` is the first of the next file.
pub(crate) const FLAG_END: u16 = 1;

const LAC_PRESENT: u8 = 1;
const TRANSACTIONAL: u8 = 2;
const REPLICATED: u8 = 4;

/// The number of a batch, rising by one over all files.
pub(crate) type Lsn = u64;

/// What the first block of a journal file says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FileHeader {
    /// The bookie's life.
    pub(crate) incarnation: Incarnation,
    /// The number in the file's name.
    pub(crate) file_seq: u64,
    /// What makes a batch one of this use of the file.
    pub(crate) salt: u64,
    /// The first batch's number.
    pub(crate) start_lsn: Lsn,
    /// The file's length, which no append changes.
    pub(crate) file_bytes: u64,
}

impl FileHeader {
    /// The header of the `file_seq`-th file. The salt follows from life and number, which no two uses
    /// of a file share.
    pub(crate) fn new(
        incarnation: Incarnation,
        file_seq: u64,
        start_lsn: Lsn,
        file_bytes: u64,
    ) -> FileHeader {
        let mut seed = Vec::with_capacity(24);
        seed.put_u128(incarnation.0);
        seed.put_u64(file_seq);
        let salt = xxhash_rust::xxh3::xxh3_64(&seed);
        FileHeader { incarnation, file_seq, salt, start_lsn, file_bytes }
    }

    /// One block, and the CRC the first batch refers to.
    pub(crate) fn encode(&self) -> (Vec<u8>, u32) {
        let mut out = Vec::with_capacity(BLOCK);
        out.put_u32(FILE_MAGIC);
        out.put_u16(VERSION);
        out.put_u16(0);
        out.put_u128(self.incarnation.0);
        out.put_u64(self.file_seq);
        out.put_u64(self.salt);
        out.put_u64(self.start_lsn);
        out.put_u64(self.file_bytes);
        let crc = crc32c::crc32c(&out);
        out.put_u32(crc);
        out.resize(BLOCK, 0);
        (out, crc)
    }

    /// Reads a header and its CRC.
    pub(crate) fn decode(block: &[u8]) -> Result<(FileHeader, u32), DecodeError> {
        let mut r = Reader::new(block);
        if r.u32("journal file magic")? != FILE_MAGIC {
            return Err(DecodeError {
                what: "journal file magic",
                at: 0,
                why: "not a journal file",
            });
        }
        let version = r.u16("version")?;
        r.u16("reserved")?;
        let incarnation = Incarnation(r.u128("incarnation")?);
        let file_seq = r.u64("file number")?;
        let salt = r.u64("salt")?;
        let start_lsn = r.u64("first batch")?;
        let file_bytes = r.u64("file length")?;
        let crc = r.u32("header checksum")?;
        if crc != crc32c::crc32c(&block[..FILE_HEAD]) {
            return Err(r.wrong("journal file header", "the checksum does not match"));
        }
        if version != VERSION {
            return Err(
                r.wrong("journal file version", "written by another version of the program")
            );
        }
        Ok((FileHeader { incarnation, file_seq, salt, start_lsn, file_bytes }, crc))
    }
}

/// What stands before a batch's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    /// [`FLAG_END`] or nothing.
    pub(crate) flags: u16,
    /// Records in the body.
    pub(crate) records: u16,
    /// The file's salt.
    pub(crate) salt: u64,
    /// The batch's number.
    pub(crate) lsn: Lsn,
    /// Bytes of the body.
    pub(crate) body_len: u32,
    /// CRC of the body.
    pub(crate) body_crc: u32,
    /// `hdr_crc` of the batch before.
    pub(crate) prev_batch_crc: u32,
    /// The highest batch known synced when this was built.
    pub(crate) durable_lsn: Lsn,
}

impl BatchHeader {
    /// Writes the header into the front of `out` and returns its CRC.
    pub(crate) fn encode(&self, out: &mut [u8]) -> u32 {
        let mut tail = Vec::with_capacity(BATCH_HEAD);
        tail.put_u32(self.body_crc);
        tail.put_u16(self.flags);
        tail.put_u16(self.records);
        tail.put_u64(self.salt);
        tail.put_u64(self.lsn);
        tail.put_u32(self.body_len);
        tail.put_u32(self.prev_batch_crc);
        tail.put_u64(self.durable_lsn);
        tail.resize(BATCH_HEAD - 8, 0);
        let crc = crc32c::crc32c(&tail);
        out[..4].copy_from_slice(&BATCH_MAGIC.to_le_bytes());
        out[4..8].copy_from_slice(&crc.to_le_bytes());
        out[8..BATCH_HEAD].copy_from_slice(&tail);
        crc
    }

    /// Reads a header and its CRC.
    pub(crate) fn decode(bytes: &[u8]) -> Result<(BatchHeader, u32), DecodeError> {
        let mut r = Reader::new(bytes);
        if r.u32("batch magic")? != BATCH_MAGIC {
            return Err(DecodeError { what: "batch magic", at: 0, why: "no batch starts here" });
        }
        let crc = r.u32("batch header checksum")?;
        let tail = r.take(BATCH_HEAD - 8, "batch header")?;
        if crc != crc32c::crc32c(tail) {
            return Err(DecodeError {
                what: "batch header",
                at: 4,
                why: "the checksum does not match",
            });
        }
        let mut r = Reader::new(tail);
        let body_crc = r.u32("body checksum")?;
        let flags = r.u16("flags")?;
        let records = r.u16("record count")?;
        let salt = r.u64("salt")?;
        let lsn = r.u64("batch number")?;
        let body_len = r.u32("body length")?;
        let prev_batch_crc = r.u32("previous batch")?;
        let durable_lsn = r.u64("durable batch")?;
        let header = BatchHeader {
            flags,
            records,
            salt,
            lsn,
            body_len,
            body_crc,
            prev_batch_crc,
            durable_lsn,
        };
        Ok((header, crc))
    }

    /// Bytes of the batch on disk: header, body and what fills the last block.
    pub(crate) fn padded_len(&self) -> u64 {
        padded(BATCH_HEAD as u64 + u64::from(self.body_len))
    }
}

/// The next multiple of [`BLOCK`].
pub(crate) const fn padded(bytes: u64) -> u64 {
    bytes.next_multiple_of(BLOCK_U64)
}

/// One change, as the journal keeps it. Type 6 is kept free; numbers are never used again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Record {
    /// An entry (type 1). Raises the ledger's term.
    Add {
        /// The ledger.
        ledger: LedgerId,
        /// The entry.
        entry: EntryId,
        /// The writer's term.
        term: Term,
        /// What readers may see.
        lac: Option<EntryId>,
        /// The entry's checksum.
        crc: u32,
        /// The entry's bytes.
        payload: Bytes,
    },
    /// A raised term (type 2).
    Fence {
        /// The ledger.
        ledger: LedgerId,
        /// Its new term.
        term: Term,
    },
    /// What readers may see, with no add to carry it (type 3). Raises the ledger's term.
    ExplicitLac {
        /// The ledger.
        ledger: LedgerId,
        /// The writer's term.
        term: Term,
        /// The last entry readers may see.
        lac: EntryId,
    },
    /// A new ledger (type 4).
    Create {
        /// The ledger.
        ledger: LedgerId,
        /// The creator's term.
        term: Term,
        /// Whether readers are bounded by a published position.
        transactional: bool,
        /// Whether other bookies have copies.
        replicated: bool,
    },
    /// A ledger gone for ever (type 5).
    Delete {
        /// The ledger.
        ledger: LedgerId,
    },
    /// The end of a ledger's limbo (type 7). Raises its term.
    ClearLimbo {
        /// The ledger.
        ledger: LedgerId,
        /// The term of its closed record.
        term: Term,
    },
    /// No ledger from this one on was lost together with its creation (type 8).
    LimboBound {
        /// The lowest ledger that was never here unless it is known.
        below: LedgerId,
    },
}

impl Record {
    /// The ledger it changes; the bound, if it is one.
    pub(crate) fn ledger(&self) -> LedgerId {
        match self {
            Record::Add { ledger, .. }
            | Record::Fence { ledger, .. }
            | Record::ExplicitLac { ledger, .. }
            | Record::Create { ledger, .. }
            | Record::ClearLimbo { ledger, .. }
            | Record::Delete { ledger } => *ledger,
            Record::LimboBound { below } => *below,
        }
    }

    /// Bytes in a batch.
    pub(crate) fn len(&self) -> usize {
        RECORD_HEAD + if let Record::Add { payload, .. } = self { payload.len() } else { 0 }
    }

    /// Writes the record into the front of `out`; returns how many bytes it took.
    pub(crate) fn encode(&self, out: &mut [u8]) -> usize {
        let none = EntryId(0);
        let (kind, flags, entry, term, crc, lac, payload): (u8, u8, _, _, _, _, &[u8]) = match self
        {
            Record::Add { entry, term, lac, crc, payload, .. } => {
                let flags = if lac.is_some() { LAC_PRESENT } else { 0 };
                (1, flags, *entry, *term, *crc, lac.unwrap_or(none), payload)
            }
            Record::Fence { term, .. } => (2, 0, none, *term, 0, none, &[]),
            Record::ExplicitLac { term, lac, .. } => (3, LAC_PRESENT, none, *term, 0, *lac, &[]),
            Record::Create { term, transactional, replicated, .. } => {
                let flags = if *transactional { TRANSACTIONAL } else { 0 };
                let flags = flags | if *replicated { REPLICATED } else { 0 };
                (4, flags, none, *term, 0, none, &[])
            }
            Record::Delete { .. } => (5, 0, none, Term(0), 0, none, &[]),
            Record::ClearLimbo { term, .. } => (7, 0, none, *term, 0, none, &[]),
            Record::LimboBound { .. } => (8, 0, none, Term(0), 0, none, &[]),
        };
        let len = u32::try_from(payload.len()).expect("entries are bounded far below 4 GiB");
        out[0] = kind;
        out[1] = flags;
        out[2..4].fill(0);
        out[4..8].copy_from_slice(&len.to_le_bytes());
        out[8..16].copy_from_slice(&self.ledger().0.to_le_bytes());
        out[16..24].copy_from_slice(&entry.0.to_le_bytes());
        out[24..32].copy_from_slice(&term.0.to_le_bytes());
        out[32..36].copy_from_slice(&crc.to_le_bytes());
        out[36..44].copy_from_slice(&lac.0.to_le_bytes());
        out[RECORD_HEAD..RECORD_HEAD + payload.len()].copy_from_slice(payload);
        RECORD_HEAD + payload.len()
    }

    /// Reads the next record of a body whose CRC was checked.
    pub(crate) fn decode(r: &mut Reader<'_>) -> Result<Record, DecodeError> {
        let kind = r.u8("record type")?;
        let flags = r.u8("record flags")?;
        r.u16("reserved")?;
        let len = r.u32("payload length")?;
        let ledger = LedgerId(r.u64("ledger")?);
        let entry = EntryId(r.u64("entry")?);
        let term = Term(r.u64("term")?);
        let crc = r.u32("entry checksum")?;
        let lac = EntryId(r.u64("last add confirmed")?);
        let payload = r.take(len as usize, "payload")?;
        if kind != 1 && len != 0 {
            return Err(r.wrong("record", "a payload where none belongs"));
        }
        Ok(match kind {
            1 => Record::Add {
                ledger,
                entry,
                term,
                lac: (flags & LAC_PRESENT != 0).then_some(lac),
                crc,
                payload: Bytes::copy_from_slice(payload),
            },
            2 => Record::Fence { ledger, term },
            3 => Record::ExplicitLac { ledger, term, lac },
            4 => Record::Create {
                ledger,
                term,
                transactional: flags & TRANSACTIONAL != 0,
                replicated: flags & REPLICATED != 0,
            },
            5 => Record::Delete { ledger },
            7 => Record::ClearLimbo { ledger, term },
            8 => Record::LimboBound { below: ledger },
            _ => return Err(r.wrong("record type", "unknown")),
        })
    }
}

#[cfg(test)]
mod tests;
