//! Where the records of a time begin.
//!
//! Segments are passed over by the time their last record was appended, as their partition's record
//! says; in the first that may hold what is looked for the entry is found by halving, because times
//! never go down within a segment.

use egret_schemas::{EntryId, Position};

use super::catalog::{PartitionRecord, SegmentRecord};
use super::entry_codec;
use super::error::ReadError;
use super::pages::PageRef;
use super::partition::{Partition, decode};

/// The first visible position of an entry appended at `ms` or later; the visible end when there is none.
pub(super) fn at_time(
    partition: &Partition,
    record: &PartitionRecord,
    ms: u64,
) -> Result<Position, ReadError> {
    let end = partition.visible_end(record)?;
    let Some((newest, last)) = end.segment else { return Ok(end.position) };
    let first = record.first.segment;
    let earlier = move |page: &PageRef| page.last_ms < ms || page.last < first;
    let mut segments = partition.segments_but(record, earlier).peekable();
    while let Some(segment) = segments.next().transpose()? {
        if segment.id > newest.id {
            break;
        }
        let visible = match segments.peek() {
            Some(Ok(next)) if segment.id < newest.id => {
                if segment.last_ms(next) < ms || segment.id < first {
                    continue;
                }
                partition.end_of(&segment)?.readable()
            }
            Some(Err(error)) if segment.id < newest.id => return Err(error.clone().into()),
            _ => last,
        };
        let entries = EntryId::after(visible);
        let entry = first_at(partition, &segment, entries, ms)?;
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
        // The nearest before it that was not lost.
        let mut found = None;
        for entry in (low..=middle).rev().map(EntryId) {
            if let Some(bytes) = partition.read_or_lost(segment, entry)? {
                let head = entry_codec::decode_head(&bytes);
                found = head.map_err(|why| decode(segment, entry, why))?.map(|head| (entry, head));
                break;
            }
        }
        // A snapshot stands before the records of its segment.
        match found.and_then(|(entry, head)| Some((entry, head.appended_ms?))) {
            Some((entry, appended)) if appended >= ms => high = entry.0,
            _ => low = middle + 1,
        }
    }
    Ok(EntryId(low))
}
