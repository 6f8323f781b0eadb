//! Forgetting what is older, or more, than a stream keeps.
//!
//! Whole segments go, oldest first, when their last record is older than the stream keeps, or while
//! what is left of the partition holds the bytes it keeps. The last segment stays, and so does whatever
//! a topology may yet read. It is looked at when a segment is begun and when the log is opened: what is
//! not written to while it is open is forgotten later.

use egret_schemas::{EntryId, Position, SegmentId};

use super::catalog::{SegmentRecord, StreamConfig};
use super::error::{CatalogError, TruncateError};
use super::partition::Partition;
use super::{truncate, users};

/// Forgets what is to be forgotten now. What fails is left for the next time.
pub(super) fn enforce_or_warn(partition: &Partition, config: &StreamConfig) {
    if let Err(error) = enforce(partition, config) {
        let (stream, number) = (partition.stream_name(), partition.number());
        tracing::warn!(stream, number, %error, "what is over its retention is forgotten later");
    }
}

fn enforce(partition: &Partition, config: &StreamConfig) -> Result<(), TruncateError> {
    if config.retention_ms.is_none() && config.retention_bytes.is_none() {
        return Ok(());
    }
    let record = partition.load()?;
    let paged: u64 = record.pages.iter().map(|page| page.bytes).sum();
    let bytes = paged + record.segments.iter().map(SegmentRecord::bytes).sum::<u64>();
    let kept = first_kept(partition.segments(&record), bytes, config, partition.now_ms());
    let keep = match kept {
        Ok(Some(keep)) => keep,
        // What removed a page forgot as much.
        Ok(None) | Err(CatalogError::PageGone { .. }) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    let (users, _) = users::load(partition.catalog(), partition.stream_name())?;
    let due = Position { segment: keep, entry: EntryId(0), slot: 0 };
    let before = users.needed(partition.number()).map_or(due, |needed| needed.min(due));
    if before <= record.first {
        return Ok(());
    }
    match truncate::truncate(partition, before, false) {
        // It was named since we looked.
        Err(TruncateError::Needed { .. }) => Ok(()),
        other => other,
    }
}

/// The oldest of `segments`, which hold so many `bytes`, that is kept; `None` when all are.
fn first_kept<E>(
    segments: impl Iterator<Item = Result<SegmentRecord, E>>,
    bytes: u64,
    config: &StreamConfig,
    now_ms: u64,
) -> Result<Option<SegmentId>, E> {
    let (mut left, mut kept) = (bytes, None);
    let mut oldest: Option<SegmentRecord> = None;
    for next in segments {
        let next = next?;
        if let Some(oldest) = oldest {
            let age = now_ms.saturating_sub(oldest.last_ms(&next));
            let old = config.retention_ms.is_some_and(|ms| age >= ms);
            left = left.saturating_sub(oldest.bytes());
            let many = config.retention_bytes.is_some_and(|keep| left >= keep);
            if !old && !many {
                break;
            }
            kept = Some(next.id);
        }
        oldest = Some(next);
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::catalog::Closed;

    /// Segments of 10 bytes each that end at 100, 200 and so on, and one that is written.
    fn segments(closed: u64) -> Vec<SegmentRecord> {
        let segment = |id: u64| SegmentRecord {
            id: SegmentId(id),
            ledger: egret_schemas::LedgerId(id),
            first_number: id,
            rolled_at: None,
            created_ms: id * 100 - 50,
            closed: (id <= closed).then_some(Closed { last_ms: id * 100, bytes: 10 }),
        };
        (1..=closed + 1).map(segment).collect()
    }

    fn kept(retention_ms: Option<u64>, retention_bytes: Option<u64>, now: u64) -> Option<u64> {
        let config = StreamConfig { retention_ms, retention_bytes, ..StreamConfig::default() };
        let segments = segments(5).into_iter().map(Ok::<_, ()>);
        first_kept(segments, 50, &config, now).unwrap().map(|id| id.0)
    }

    #[test]
    fn what_is_old_enough_goes_and_the_last_segment_stays() {
        assert_eq!(kept(Some(100), None, 199), None);
        assert_eq!(kept(Some(100), None, 200), Some(2));
        assert_eq!(kept(Some(100), None, 450), Some(4));
        assert_eq!(kept(Some(100), None, 1_000_000), Some(6));
        assert_eq!(kept(Some(100), None, 0), None, "a clock that was set back forgets nothing");
    }

    #[test]
    fn what_is_left_holds_the_bytes_that_are_kept() {
        assert_eq!(kept(None, Some(50), 0), None);
        assert_eq!(kept(None, Some(41), 0), None);
        assert_eq!(kept(None, Some(40), 0), Some(2));
        assert_eq!(kept(None, Some(1), 0), Some(5));
        assert_eq!(kept(Some(1000), Some(25), 0), Some(3), "either is enough");
        assert_eq!(kept(None, None, 1_000_000), None);
    }
}
