//! Where the records of a time begin.
//!
//! Segments are passed over by the time their last record was appended, as their partition's record
//! says; in the first that may hold what is looked for the entry is found by halving, because times
//! never go down within a segment.

use egret_schemas::{EntryId, Position};

use super::catalog::{PartitionRecord, SegmentRecord};
use super::entry_codec;
use super::error::ReadError;
use super::partition::{Partition, decode};

/// The first visible position of an entry appended at `ms` or later; the visible end when there is none.
pub(super) fn at_time(
    partition: &Partition,
    record: &PartitionRecord,
    ms: u64,
) -> Result<Position, ReadError> {
    let end = partition.visible_end(record)?;
    let Some((newest, last)) = end.segment else { return Ok(end.position) };
    for (index, segment) in record.segments[..=newest].iter().enumerate() {
        let visible = match record.segments.get(index + 1) {
            Some(next) if index < newest => {
                // What was not noted was appended before the next was begun.
                let latest = segment.closed.map_or(next.created_ms, |closed| closed.last_ms);
                if latest < ms || segment.id < record.first.segment {
                    continue;
                }
                partition.end_of(segment)?.readable()
            }
            _ => last,
        };
        let entries = EntryId::after(visible);
        let entry = first_at(partition, segment, entries, ms)?;
        if entry < entries {
            let at = Position { segment: segment.id, entry, slot: 0 };
            return Ok(at.max(record.first));
        }
    }
    Ok(end.position)
}

/// The first entry before `end` that was appended at `ms` or later, or `end`.
fn first_at(
    partition: &Partition,
    segment: &SegmentRecord,
    end: EntryId,
    ms: u64,
) -> Result<EntryId, ReadError> {
    let (mut low, mut high) = (0, end.0);
    while low < high {
        let middle = low + (high - low) / 2;
        let entry = EntryId(middle);
        let bytes = partition.read(segment, entry)?;
        let head = entry_codec::decode_head(&bytes).map_err(|why| decode(segment, entry, why))?;
        // A snapshot stands before the records of its segment.
        match head.and_then(|head| head.appended_ms) {
            Some(appended) if appended >= ms => high = middle,
            _ => low = middle + 1,
        }
    }
    Ok(EntryId(low))
}
