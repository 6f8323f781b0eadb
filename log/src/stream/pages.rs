//! Pages: where the old segments of a long partition are listed.
//!
//! ```text
//! /segments/<name>/<n>/<page>   version u8 = 1 | segments, as in the partition's record
//!                               proposal | crc32c
//! ```
//! A partition's record is written whole at each roll, so it lists the newest segments itself and the
//! others by page. A page is written once, in the step that takes its segments out of the record, and
//! removed in the step that takes the last of them out of the partition. The record says from which to
//! which of a page's segments are still part of the partition; a page that is not there was removed
//! since the record was read, and the record is to be read again.

use std::collections::BTreeSet;

use egret_schemas::SegmentId;
use egret_schemas::bytes::{DecodeError, Reader};

use super::catalog::{
    PartitionRecord, SegmentRecord, proposal, put_segments, seal, take_segments, unseal,
};
use super::error::CatalogError;
use super::partition::{CAS_TRIES, Partition};
use crate::caps;
use crate::ledger::Proposal;
use crate::metadata::Op;

/// Of a page.
const VERSION: u8 = 1;

/// What a partition's record says of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageRef {
    /// Its number; part of its key, never given twice.
    pub number: u64,
    /// The first segment of it that is part of the partition.
    pub first: SegmentId,
    /// Its last segment.
    pub last: SegmentId,
    /// How many from `first` on.
    pub segments: u32,
    /// When the last of `last` was appended, or later.
    pub last_ms: u64,
    /// Bytes of all from `first` on.
    pub bytes: u64,
}

impl PageRef {
    fn of(number: u64, segments: &[SegmentRecord], next: &SegmentRecord) -> PageRef {
        let [first, .., last] = segments else { unreachable!("a page has many segments") };
        PageRef {
            number,
            first: first.id,
            last: last.id,
            segments: u32::try_from(segments.len()).expect("a page has a thousand"),
            last_ms: last.last_ms(next),
            bytes: segments.iter().map(SegmentRecord::bytes).sum(),
        }
    }

    fn holds(&self, id: SegmentId) -> bool {
        (self.first..=self.last).contains(&id)
    }
}

impl Partition {
    fn page_key(&self, number: u64) -> String {
        format!("/segments/{}/{}/{number}", self.stream_name(), self.number())
    }

    /// The segments of a page that are part of the partition.
    fn page(&self, page: &PageRef) -> Result<Vec<SegmentRecord>, CatalogError> {
        let key = self.page_key(page.number);
        let Some(held) = self.ledgers().metadata().get(&key)? else {
            return Err(CatalogError::PageGone { key });
        };
        let segments = decode(&held.value);
        let mut segments = segments.map_err(|why| CatalogError::Decode { key, why })?;
        segments.retain(|segment| page.holds(segment.id));
        Ok(segments)
    }

    /// All segments, oldest first; a page is read when it is come to.
    pub(super) fn segments<'a>(
        &'a self,
        record: &'a PartitionRecord,
    ) -> impl DoubleEndedIterator<Item = Result<SegmentRecord, CatalogError>> + 'a {
        self.segments_but(record, |_| false)
    }

    /// All segments but those of the pages to `skip`.
    pub(super) fn segments_but<'a>(
        &'a self,
        record: &'a PartitionRecord,
        skip: impl Fn(&PageRef) -> bool + 'a,
    ) -> impl DoubleEndedIterator<Item = Result<SegmentRecord, CatalogError>> + 'a {
        let pages = record.pages.iter().filter(move |page| !skip(page));
        let paged = pages.flat_map(move |page| match self.page(page) {
            Ok(segments) => segments.into_iter().map(Ok).collect(),
            Err(error) => vec![Err(error)],
        });
        paged.chain(record.segments.iter().cloned().map(Ok))
    }

    /// The segment of this number, or the first after it.
    pub(super) fn at_or_after(
        &self,
        record: &PartitionRecord,
        id: SegmentId,
    ) -> Result<Option<SegmentRecord>, CatalogError> {
        let mut segments = self.segments_but(record, move |page| page.last < id);
        segments.find(|segment| segment.as_ref().map_or(true, |s| s.id >= id)).transpose()
    }

    /// Makes pages of what the record should not list itself, and removes those it lets go of: what to
    /// write with the record.
    pub(super) fn turn_pages(
        &self,
        before: &PartitionRecord,
        record: &mut PartitionRecord,
    ) -> Vec<Op> {
        let stay: BTreeSet<u64> = record.pages.iter().map(|page| page.number).collect();
        let gone = before.pages.iter().filter(|page| !stay.contains(&page.number));
        let mut ops: Vec<Op> = gone.map(|page| Op::Delete(self.page_key(page.number))).collect();
        while record.segments.len() > caps::SEGMENTS_INLINE_MAX {
            let old: Vec<SegmentRecord> = record.segments.drain(..caps::SEGMENTS_PAGE).collect();
            let number = record.next_page;
            record.next_page += 1;
            record.pages.push(PageRef::of(number, &old, &record.segments[0]));
            ops.push(Op::Put(self.page_key(number), encode(&old, self.ledgers().proposal())));
        }
        ops
    }

    /// Takes the oldest segments, those that go, out of the record: those of one page at most.
    pub(super) fn forget(
        &self,
        record: &mut PartitionRecord,
        goes: impl Fn(SegmentId) -> bool,
    ) -> Result<(), CatalogError> {
        let goes = |segment: &SegmentRecord| goes(segment.id);
        if record.pages.is_empty() {
            let (gone, kept): (Vec<_>, Vec<_>) = record.segments.drain(..).partition(goes);
            record.segments = kept;
            record.garbage.extend(gone.iter().map(|segment| segment.ledger));
            return Ok(());
        }
        let segments = match self.page(&record.pages[0]) {
            Ok(segments) => segments,
            Err(CatalogError::PageGone { .. }) => {
                // The record changed since it was read: what is made of it here is not written.
                record.pages.remove(0);
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        let (gone, kept): (Vec<_>, Vec<_>) = segments.into_iter().partition(goes);
        record.garbage.extend(gone.iter().map(|segment| segment.ledger));
        match kept.first() {
            None => drop(record.pages.remove(0)),
            Some(first) => {
                let page = &mut record.pages[0];
                page.first = first.id;
                page.segments = u32::try_from(kept.len()).expect("a page has a thousand");
                page.bytes = kept.iter().map(SegmentRecord::bytes).sum();
            }
        }
        Ok(())
    }
}

/// Drops what is not in `keep` from the record, which lists `all` of a partition's segments.
pub(super) fn keep_only(
    record: &mut PartitionRecord,
    all: &[SegmentRecord],
    keep: &BTreeSet<SegmentId>,
) {
    let whole =
        |page: &&PageRef| keep.range(page.first..=page.last).count() == page.segments as usize;
    let whole = record.pages.iter().take_while(whole).count();
    // From the first page on that loses some, what stays is listed in the record again.
    let split = record.pages.split_off(whole);
    let paged = |segment: &&SegmentRecord| split.iter().any(|page| page.holds(segment.id));
    let listed: Vec<SegmentRecord> =
        all.iter().filter(paged).cloned().chain(record.segments.drain(..)).collect();
    let (stay, go): (Vec<_>, Vec<_>) =
        listed.into_iter().partition(|segment| keep.contains(&segment.id));
    record.segments = stay;
    record.garbage.extend(go.iter().map(|segment| segment.ledger));
}

/// Does what reads pages again while they are removed meanwhile.
pub(super) fn while_pages_go<T, E>(
    is_gone: impl Fn(&E) -> bool,
    mut read: impl FnMut() -> Result<T, E>,
) -> Result<T, E> {
    for _ in 1..CAS_TRIES {
        match read() {
            Err(error) if is_gone(&error) => {}
            other => return other,
        }
    }
    read()
}

pub(crate) fn encode(segments: &[SegmentRecord], proposal: Proposal) -> Vec<u8> {
    let mut out = vec![VERSION];
    put_segments(&mut out, segments);
    seal(out, proposal)
}

pub(crate) fn decode(bytes: &[u8]) -> Result<Vec<SegmentRecord>, DecodeError> {
    let mut r: Reader<'_> = unseal(bytes, VERSION, "segment page")?;
    let segments = take_segments(&mut r)?;
    proposal(&mut r)?;
    r.end("segment page")?;
    Ok(segments)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::catalog::Closed;
    use egret_schemas::LedgerId;
    use egret_schemas::bytes::Writer;
    use proptest::prelude::*;

    fn segments() -> Vec<SegmentRecord> {
        let segment = |id: u64| SegmentRecord {
            id: SegmentId(id),
            ledger: LedgerId(id + 10),
            first_number: id * 100,
            rolled_at: None,
            created_ms: id * 1000,
            closed: Some(Closed { last_ms: id * 1000 + 7, bytes: id }),
        };
        (1..=3).map(segment).collect()
    }

    #[test]
    fn a_page_comes_back_and_its_bytes_are_frozen() {
        let bytes = encode(&segments(), Proposal { process: 1, operation: 2 });
        assert_eq!(decode(&bytes), Ok(segments()));
        let hash = format!("{:016x} of {}", egret_schemas::key::hash(&bytes), bytes.len());
        assert_eq!(hash, "a3f44b136424963c of 183");
    }

    #[test]
    fn what_is_not_kept_leaves_its_page() {
        let all = segments();
        let mut record = PartitionRecord::new(Proposal { process: 1, operation: 1 });
        record.pages = vec![PageRef::of(1, &all[..2], &all[2])];
        record.segments = all[2..].to_vec();
        let whole = record.clone();
        keep_only(&mut record, &all, &all.iter().map(|s| s.id).collect());
        assert_eq!(record, whole);
        keep_only(&mut record, &all, &[SegmentId(2)].into());
        assert_eq!((record.pages.len(), &record.segments[..]), (0, &all[1..2]));
        assert_eq!(record.garbage, [LedgerId(11), LedgerId(13)]);
    }

    proptest! {
        #[test]
        fn any_bytes_decode_or_fail_without_panic(mut bytes: Vec<u8>) {
            let crc = crc32c::crc32c(&bytes);
            bytes.put_u32(crc);
            let _ = decode(&bytes);
        }
    }
}
