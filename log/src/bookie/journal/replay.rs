//! Reads the journal back and decides what its end means.
//!
//! At the first batch of the last file that does not stand as written:
//!
//! * no valid batch follows: a torn tail, or nothing at all. It is cut: zeros are written over it,
//!   durably, so that nothing of it can come up later.
//! * a valid batch follows that knew this one to be durable: durable data was lost. What stands before
//!   it was applied; what to make of the rest is the caller's to say (`limbo`).
//!
//! A last file that is shorter than its header says was cut by something else, and what was in it cannot
//! be told: durable data may be lost, wherever the cut is.
//!
//! Batches the checkpoint covers are in extents: damage to them alone loses nothing.

use std::collections::VecDeque;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use egret_schemas::Incarnation;
use egret_schemas::bytes::Reader;

use super::files::{self, AlignedBuf};
use super::format::{BATCH_HEAD, BLOCK, BLOCK_U64, BatchHeader, FLAG_END, FileHeader, Lsn, Record};
use super::writer::{Current, JournalFile, WrittenPart};
use crate::bookie::damage::{Damage, FileError};
use crate::disk::{Disk, DiskFile, OpenHow};

/// Files are read in pieces of this size.
const PIECE_BYTES: u64 = 1 << 20;

/// Why a journal could not be read back.
#[derive(Debug)]
pub(crate) enum ReplayError {
    /// Durable data is lost. All that stands before it was applied.
    Damaged {
        /// What was found.
        damage: Damage,
        /// No batch that was found has a higher number.
        last_lsn: Lsn,
    },
    /// The disk failed.
    Io(PathBuf, io::Error),
}

/// Where a journal ends.
#[derive(Debug)]
pub(crate) struct Tail {
    /// The last file, synced, to be appended to; `None` when appending goes on in a new one.
    pub(crate) current: Option<Current>,
    /// The files before it.
    pub(crate) full: VecDeque<JournalFile>,
    /// The number the next batch gets.
    pub(crate) next_lsn: Lsn,
    /// The number the next new file gets.
    pub(crate) next_seq: u64,
    /// The file whose torn tail was cut, where, and why.
    pub(crate) cut: Option<Damage>,
}

struct OpenFile {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    bytes: u64,
    header: FileHeader,
    crc: u32,
}

/// Checks that a part of the journal stands as written.
pub(crate) fn verify(
    disk: &Arc<dyn Disk>,
    part: &WrittenPart,
    incarnation: Incarnation,
) -> Result<(), FileError> {
    let WrittenPart { path, until, next_lsn } = part;
    let name = path.file_name().and_then(|name| name.to_str()).and_then(files::number);
    let seq = name.expect("a journal file is named by its number");
    let dir = path.parent().expect("a journal file is in a directory");
    let checked = open_file(disk, dir, seq, incarnation).and_then(|file| {
        let walk = walk(&file, Lsn::MAX, &mut |_| {})?;
        if walk.expected < *next_lsn || until.is_some_and(|until| walk.offset < until) {
            let what = format!("batch {} should stand here: {}", walk.expected, walk.why);
            return Err(damaged(path, walk.offset, what));
        }
        Ok(())
    });
    checked.map_err(|error| match error {
        ReplayError::Damaged { damage, .. } => damage.into(),
        ReplayError::Io(_, error) => error.into(),
    })
}

/// How far a file could be read.
struct Walk {
    /// The batch that would come next.
    expected: Lsn,
    /// Where it would start.
    offset: u64,
    prev_crc: u32,
    /// Where the last good batch starts.
    last_batch: u64,
    /// Whether the file says that another follows.
    ended: bool,
    /// What stands at `offset` instead.
    why: String,
}

/// Calls `apply` with every record after `checkpoint_lsn`, in order.
pub(crate) fn replay(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    incarnation: Incarnation,
    checkpoint_lsn: Lsn,
    mut apply: impl FnMut(Record),
) -> Result<Tail, ReplayError> {
    let io = |error| ReplayError::Io(dir.to_owned(), error);
    let mut seqs: Vec<u64> =
        disk.list(dir).map_err(io)?.iter().filter_map(|name| files::number(name)).collect();
    seqs.sort_unstable();
    let mut last_lsn = checkpoint_lsn;
    let replayed = replay_files(disk, dir, incarnation, &seqs, &mut last_lsn, &mut |record| {
        apply(record);
    });
    replayed.map_err(|error| match error {
        ReplayError::Damaged { damage, last_lsn: found } => {
            ReplayError::Damaged { damage, last_lsn: last_lsn.max(found) }
        }
        other => other,
    })
}

fn replay_files(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    incarnation: Incarnation,
    seqs: &[u64],
    last_lsn: &mut Lsn,
    apply: &mut impl FnMut(Record),
) -> Result<Tail, ReplayError> {
    let checkpoint_lsn = *last_lsn;
    let mut opened = Vec::new();
    let mut unread = None;
    for seq in seqs {
        match open_file(disk, dir, *seq, incarnation) {
            Ok(file) if unread.is_none() => opened.push(file),
            // What stands before the one that cannot be read is applied nevertheless.
            Ok(file) => *last_lsn = (*last_lsn).max(file.header.start_lsn),
            Err(error @ ReplayError::Damaged { .. }) => unread = unread.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    for file in &opened {
        *last_lsn = (*last_lsn).max(file.header.start_lsn);
    }
    let Some(first) = opened.first() else {
        let none = || damaged(dir, 0, "the journal has no file".to_owned());
        return Err(unread.unwrap_or_else(none));
    };
    if first.header.start_lsn > checkpoint_lsn + 1 {
        let what = format!(
            "the journal starts at batch {}, after a checkpoint at {checkpoint_lsn}: a file before \
             this one is missing",
            first.header.start_lsn
        );
        return Err(damaged(&first.path, 0, what));
    }
    let mut full = VecDeque::new();
    let mut files = opened.iter().peekable();
    while let Some(this) = files.next() {
        let walk = walk(this, checkpoint_lsn, apply)?;
        *last_lsn = (*last_lsn).max(walk.expected);
        if let Some(next) = files.peek() {
            let start = next.header.start_lsn;
            if start < walk.expected || (start > walk.expected && start > checkpoint_lsn + 1) {
                let what = format!(
                    "batch {} should stand here, the next file starts at {start}: {}",
                    walk.expected, walk.why
                );
                return Err(damaged(&this.path, walk.offset, what));
            }
            let (path, bytes) = (this.path.clone(), this.bytes);
            full.push_back(JournalFile { path, bytes, last_lsn: start - 1 });
            continue;
        }
        if let Some(error) = unread {
            return Err(error);
        }
        return finish(disk, dir, this, walk, full, checkpoint_lsn);
    }
    unreachable!("the loop returns at the last file, and there is one");
}

fn finish(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    last: &OpenFile,
    walk: Walk,
    mut full: VecDeque<JournalFile>,
    checkpoint_lsn: Lsn,
) -> Result<Tail, ReplayError> {
    let io = |error| ReplayError::Io(last.path.clone(), error);
    let next_seq = last.header.file_seq + 1;
    let written = last.header.file_bytes;
    if last.bytes < written {
        let what = format!(
            "the file ends here, after {} of {written} bytes: something cut it, and what stood behind \
             is lost",
            last.bytes
        );
        return Err(damaged(&last.path, last.bytes, what));
    }
    // Also where a checkpoint covers all that is here: the next file was there before the mark was written,
    // and the newest is never taken away.
    if walk.ended {
        let what = format!("the next journal file, {}, is missing", files::name(next_seq));
        return Err(damaged(&last.path, walk.offset, what));
    }
    let later = later_batch(last, &walk).map_err(io)?;
    if let Some(lsn) = later
        && lsn > checkpoint_lsn
    {
        let what = format!(
            "batch {} was durable and is not here, batch {lsn} stands further on: {}",
            walk.expected, walk.why
        );
        let damage = Damage::new(&last.path, walk.offset, what);
        return Err(ReplayError::Damaged { damage, last_lsn: lsn });
    }
    // A file that may hold batches nobody needs, or fewer than the checkpoint covers, is left as it is.
    if later.is_some() || walk.expected <= checkpoint_lsn {
        let (path, bytes) = (last.path.clone(), last.bytes);
        full.push_back(JournalFile { path, bytes, last_lsn: checkpoint_lsn });
        let next_lsn = checkpoint_lsn + 1;
        return Ok(Tail { current: None, full, next_lsn, next_seq, cut: None });
    }
    let writable = disk.open(&last.path, OpenHow::Write, true).map_err(io)?;
    let zeroed = zero_rest(last, &writable, walk.offset).map_err(io)?;
    let cut = zeroed.then(|| Damage {
        file: last.path.clone(),
        offset: walk.offset,
        what: format!("a torn batch {} was cut: {}", walk.expected, walk.why),
    });
    // What was read may so far be in the page cache only, and not even dirty there if its sync failed:
    // the last batch is written again. Those before it were synced before it was begun.
    write_again(last, &writable, walk.last_batch, walk.offset).map_err(io)?;
    writable.sync_data().map_err(io)?;
    disk.sync_dir(dir).map_err(io)?;
    let current = Current {
        file: writable,
        header: last.header,
        path: last.path.clone(),
        bytes: last.bytes,
        offset: walk.offset,
        prev_crc: walk.prev_crc,
    };
    Ok(Tail { current: Some(current), full, next_lsn: walk.expected, next_seq, cut })
}

fn open_file(
    disk: &Arc<dyn Disk>,
    dir: &Path,
    seq: u64,
    incarnation: Incarnation,
) -> Result<OpenFile, ReplayError> {
    let path = dir.join(files::name(seq));
    let io = |error| ReplayError::Io(path.clone(), error);
    let file = disk.open(&path, OpenHow::Read, false).map_err(io)?;
    let bytes = file.len().map_err(io)? / BLOCK_U64 * BLOCK_U64;
    if bytes < BLOCK_U64 {
        return Err(damaged(&path, 0, "the file has no header".to_owned()));
    }
    let mut block = vec![0; BLOCK];
    file.read_exact_at(&mut block, 0).map_err(io)?;
    let (header, crc) =
        FileHeader::decode(&block).map_err(|error| damaged(&path, 0, error.to_string()))?;
    if header.incarnation != incarnation {
        let what = format!("it belongs to bookie {}, not {incarnation}", header.incarnation);
        return Err(damaged(&path, 0, what));
    }
    if header.file_seq != seq {
        let what = format!("it was written as {}", files::name(header.file_seq));
        return Err(damaged(&path, 0, what));
    }
    // What something else appended is not the journal's.
    let bytes = bytes.min(header.file_bytes);
    Ok(OpenFile { file, path, bytes, header, crc })
}

/// Applies the records of a file up to the first batch that is not valid.
fn walk(
    file: &OpenFile,
    checkpoint_lsn: Lsn,
    apply: &mut impl FnMut(Record),
) -> Result<Walk, ReplayError> {
    let io = |error| ReplayError::Io(file.path.clone(), error);
    let mut at = Walk {
        expected: file.header.start_lsn,
        offset: BLOCK_U64,
        prev_crc: file.crc,
        last_batch: BLOCK_U64,
        ended: false,
        why: "the file ends".to_owned(),
    };
    while at.offset < file.bytes {
        let (header, crc, body) = match read_batch(file, at.offset).map_err(io)? {
            Ok(batch) => batch,
            Err(why) => {
                at.why = why;
                return Ok(at);
            }
        };
        if header.lsn != at.expected || header.prev_batch_crc != at.prev_crc {
            at.why = format!("batch {} does not follow the one before", header.lsn);
            return Ok(at);
        }
        if header.flags & FLAG_END != 0 {
            at.ended = true;
            at.why = "the file ends here".to_owned();
            return Ok(at);
        }
        if header.lsn > checkpoint_lsn {
            let mut reader = Reader::new(&body);
            for _ in 0..header.records {
                let record = Record::decode(&mut reader).map_err(|error| {
                    damaged(&file.path, at.offset, format!("a batch with a good checksum: {error}"))
                })?;
                apply(record);
            }
        }
        at.expected += 1;
        at.last_batch = at.offset;
        at.offset += header.padded_len();
        at.prev_crc = crc;
    }
    Ok(at)
}

type Batch = (BatchHeader, u32, Vec<u8>);

/// The batch at `offset`, or why there is none.
fn read_batch(file: &OpenFile, offset: u64) -> io::Result<Result<Batch, String>> {
    let mut head = [0; BATCH_HEAD];
    file.file.read_exact_at(&mut head, offset)?;
    let (header, crc) = match BatchHeader::decode(&head) {
        Ok(decoded) => decoded,
        Err(error) => return Ok(Err(error.to_string())),
    };
    if header.salt != file.header.salt {
        return Ok(Err("a batch of an earlier use of the file".to_owned()));
    }
    // The length is covered by the checksum just checked, and by the file.
    if header.padded_len() > file.bytes - offset {
        return Ok(Err("a batch longer than the file".to_owned()));
    }
    let mut body = vec![0; header.body_len as usize];
    file.file.read_exact_at(&mut body, offset + BATCH_HEAD as u64)?;
    if crc32c::crc32c(&body) != header.body_crc {
        return Ok(Err("the batch's checksum does not match its records".to_owned()));
    }
    Ok(Ok((header, crc, body)))
}

/// The highest valid batch at or after the one that is not, if it knew that one to be durable.
fn later_batch(file: &OpenFile, walk: &Walk) -> io::Result<Option<Lsn>> {
    let mut highest = None;
    for_pieces(file, walk.offset, |at, piece| {
        for (block, bytes) in (0u64..).zip(piece.chunks_exact(BLOCK)) {
            let Ok((header, _)) = BatchHeader::decode(bytes) else { continue };
            if header.salt != file.header.salt || header.durable_lsn < walk.expected {
                continue;
            }
            if read_batch(file, at + block * BLOCK_U64)?.is_ok() {
                highest = highest.max(Some(header.lsn));
            }
        }
        Ok(())
    })?;
    Ok(highest)
}

/// Writes zeros over what could be taken for a batch of this use of the file from `offset` on. Tells
/// whether a batch had been begun there. What an earlier use left behind stays: its salt is another.
fn zero_rest(last: &OpenFile, file: &Arc<dyn DiskFile>, offset: u64) -> io::Result<bool> {
    let salt = last.header.salt;
    let mut begun = false;
    let mut torn_until = offset;
    let mut zeros = AlignedBuf::zeroed(BLOCK);
    for_pieces(last, offset, |from, piece| {
        for (block, bytes) in (0u64..).zip(piece.chunks_exact(BLOCK)) {
            let at = from + block * BLOCK_U64;
            let header = BatchHeader::decode(bytes).ok().map(|(header, _)| header);
            let own = header.filter(|header| header.salt == salt);
            if let Some(header) = own
                && at == offset
            {
                begun = true;
                torn_until = at + header.padded_len().min(last.bytes - at);
            }
            let garbage = at == offset && header.is_none() && bytes.iter().any(|byte| *byte != 0);
            if own.is_some() || garbage || at < torn_until {
                file.write_all_at(zeros.front(BLOCK), at)?;
            }
        }
        Ok(())
    })?;
    Ok(begun)
}

/// Writes the blocks from `from` to `until` as they were read.
fn write_again(last: &OpenFile, file: &Arc<dyn DiskFile>, from: u64, until: u64) -> io::Result<()> {
    let mut aligned = AlignedBuf::zeroed(BLOCK);
    for at in (from..until).step_by(BLOCK) {
        last.file.read_exact_at(aligned.front(BLOCK), at)?;
        file.write_all_at(aligned.front(BLOCK), at)?;
    }
    Ok(())
}

fn for_pieces(
    file: &OpenFile,
    from: u64,
    mut each: impl FnMut(u64, &[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut piece = Vec::new();
    let mut at = from;
    while at < file.bytes {
        let len = PIECE_BYTES.min(file.bytes - at);
        piece.resize(usize::try_from(len).expect("a piece is a mebibyte"), 0);
        file.file.read_exact_at(&mut piece, at)?;
        each(at, &piece)?;
        at += len;
    }
    Ok(())
}

fn damaged(file: &Path, offset: u64, what: String) -> ReplayError {
    ReplayError::Damaged { damage: Damage::new(file, offset, what), last_lsn: 0 }
}
