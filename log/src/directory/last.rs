//! Where the last so many records of a partition begin.
//!
//! Records are numbered without gaps, and each entry tells the number of its first: the place is found
//! by halving, with as many reads as the segment's count of entries has bits.

use std::sync::Arc;

use egret_schemas::{EntryId, Position};

use crate::message::Wake;
use crate::stream::error::ReadError;
use crate::stream::{Batch, Log, Poll, ReadFrom};

/// Where to read so that `count` records, or as many as there are, stand before the end.
pub(super) fn last(
    log: &Log,
    stream: &str,
    partition: u32,
    count: u64,
) -> Result<ReadFrom, ReadError> {
    let end = log.reader_of_any(stream, partition, ReadFrom::Latest)?.position();
    let description = log.describe_partition(stream, partition)?;
    let first = description.first_number;
    let wanted = match (first + description.records).checked_sub(count) {
        Some(wanted) if wanted > first => wanted,
        _ => return Ok(ReadFrom::Earliest),
    };
    if count == 0 {
        return Ok(ReadFrom::At(end));
    }
    let home = description.segments.iter().rev().find(|s| s.first_number <= wanted);
    let Some(segment) = home else { return Ok(ReadFrom::Earliest) };
    let at = |entry| {
        Position { segment: segment.id, entry: EntryId(entry), slot: 0 }.max(description.first)
    };
    let truncated = segment.id == description.first.segment;
    let mut low = if truncated { description.first.entry.0 } else { 0 };
    let mut high = segment.entries();
    // The last entry that begins at or before the record wanted lies in low..high.
    while high.saturating_sub(low) > 1 {
        let middle = low + (high - low) / 2;
        match batch_at(log, stream, partition, at(middle))? {
            Some(batch) if batch.first_number <= wanted => low = middle,
            _ => high = middle,
        }
    }
    let Some(batch) = batch_at(log, stream, partition, at(low))? else {
        return Ok(ReadFrom::Earliest);
    };
    match wanted.checked_sub(batch.first_number).and_then(|slot| u32::try_from(slot).ok()) {
        Some(slot) => Ok(ReadFrom::At(batch.position(slot))),
        // What is wanted was truncated.
        None => Ok(ReadFrom::Earliest),
    }
}

/// The first batch at or behind a position.
fn batch_at(
    log: &Log,
    stream: &str,
    partition: u32,
    at: Position,
) -> Result<Option<Batch>, ReadError> {
    let mut reader = log.reader_of_any(stream, partition, ReadFrom::At(at))?;
    let nobody: Wake = Arc::new(|| {});
    match reader.poll(&nobody)? {
        Poll::Batch(batch) => Ok(Some(batch)),
        Poll::Pending => Ok(None),
    }
}
