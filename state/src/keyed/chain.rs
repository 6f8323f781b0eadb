//! Which ledgers one task would be restored from, and when it is time to begin a new one.
//!
//! A task writes one ledger at a time. Restored from older ledgers, it appends its changes to a new
//! one after them; when the log has grown past the policy of [`image_due`], the next commit writes an
//! image at the head of a fresh ledger, and that ledger alone is the task's chain from then on.

use std::ops::Range;

use egret_schemas::{EntryId, LedgerId};

use super::changelog::Written;
use super::replay::Replayed;
use crate::caps;
use crate::commit::restore_set::{LedgerRange, Slice};

/// What the decision for an image is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogSize {
    /// Bytes a restore would read.
    pub changelog_bytes: u64,
    /// Bytes an image would have.
    pub live_bytes: u64,
    /// Ledgers a restore would open.
    pub ledgers: usize,
    /// Whether a ledger of the chain was written by another cut of tasks: every task reads it whole.
    pub tasks_changed: bool,
}

/// Whether the next commit should write an image: the log is more than twice what lives and some
/// slack, or of too many pieces, or shared with tasks that would have to read it too.
pub fn image_due(size: &LogSize) -> bool {
    let worth = size.live_bytes.saturating_mul(2).saturating_add(caps::IMAGE_SLACK_BYTES);
    size.tasks_changed || size.ledgers > caps::CHAIN_LEDGERS_MAX || size.changelog_bytes > worth
}

/// The chain of one task; see the [module](self).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    groups: Range<u32>,
    /// Older ledgers; covers all groups without a gap.
    older: Vec<Slice>,
    current: Option<LedgerRange>,
    changelog_bytes: u64,
    tasks_changed: bool,
    /// Records written or read, and their bytes: what one is worth on average.
    records: u64,
    record_bytes: u64,
}

impl Chain {
    /// The chain of a task that restored `slices` of its key groups (none, if it begins empty).
    /// `tasks_changed`: they were written by another number of tasks.
    pub fn restored(
        groups: Range<u32>,
        slices: &[Slice],
        tasks_changed: bool,
        replayed: Replayed,
    ) -> Chain {
        let mut older = Vec::new();
        let mut from = groups.start;
        let gap = |first_group, end_group| Slice { first_group, end_group, ledgers: Vec::new() };
        for slice in slices {
            assert!(from <= slice.first_group && slice.end_group <= groups.end, "own groups only");
            if from < slice.first_group {
                older.push(gap(from, slice.first_group));
            }
            from = slice.end_group;
            older.push(slice.clone());
        }
        if from < groups.end {
            older.push(gap(from, groups.end));
        }
        Chain {
            groups,
            older,
            current: None,
            changelog_bytes: replayed.bytes,
            tasks_changed: tasks_changed && !slices.is_empty(),
            records: replayed.records,
            record_bytes: replayed.record_bytes,
        }
    }

    /// The ledger being written.
    pub fn current(&self) -> Option<LedgerId> {
        self.current.map(|range| range.ledger)
    }

    /// Goes on in a new ledger. With `image`, the ledger begins with one and nothing older is needed.
    pub fn begin_ledger(&mut self, ledger: LedgerId, image: bool) {
        if image {
            let Range { start: first_group, end: end_group } = self.groups.clone();
            self.older = Vec::new();
            if first_group < end_group {
                self.older.push(Slice { first_group, end_group, ledgers: Vec::new() });
            }
            self.changelog_bytes = 0;
            self.tasks_changed = false;
        } else {
            self.older = self.all();
        }
        self.current = Some(LedgerRange { ledger, last: None });
    }

    /// A commit's batch was appended to the current ledger, `last` being its last entry.
    ///
    /// # Panics
    /// When no ledger was begun, or entries do not rise.
    pub fn appended(&mut self, last: EntryId, written: Written) {
        let current = self.current.as_mut().expect("a ledger was begun");
        assert!(current.last < Some(last), "entries rise");
        current.last = Some(last);
        self.changelog_bytes += written.bytes;
        self.records += written.records;
        self.record_bytes += written.bytes;
    }

    /// What to report for the commit whose batch was appended last.
    pub fn slices(&self) -> Vec<Slice> {
        let mut slices = self.all();
        slices.retain(|slice| !slice.ledgers.is_empty());
        slices
    }

    /// Whether the next commit should write an image, of a table of this many keys.
    pub fn image_due(&self, live_keys: usize) -> bool {
        let average = self.record_bytes.checked_div(self.records).unwrap_or(0);
        image_due(&LogSize {
            changelog_bytes: self.changelog_bytes,
            live_bytes: average.saturating_mul(live_keys as u64),
            ledgers: self.all().iter().map(|slice| slice.ledgers.len()).max().unwrap_or(0),
            tasks_changed: self.tasks_changed,
        })
    }

    /// Older ledgers and the current one, as far as it has entries.
    fn all(&self) -> Vec<Slice> {
        let current = self.current.filter(|range| range.last.is_some());
        let mut all = self.older.clone();
        all.iter_mut().for_each(|slice| slice.ledgers.extend(current));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(groups: Range<u32>, ranges: &[(u64, u64)]) -> Slice {
        let range =
            |&(ledger, last)| LedgerRange { ledger: LedgerId(ledger), last: Some(EntryId(last)) };
        let ledgers = ranges.iter().map(range).collect();
        Slice { first_group: groups.start, end_group: groups.end, ledgers }
    }

    fn written(bytes: u64) -> Written {
        Written { entries: 1, records: 1, bytes }
    }

    #[test]
    fn changes_after_a_restore_follow_what_was_restored() {
        let old = [slice(2..4, &[(1, 9)])];
        let mut chain = Chain::restored(0..8, &old, false, Replayed::default());
        assert_eq!(chain.slices(), old);
        chain.begin_ledger(LedgerId(5), false);
        assert_eq!(chain.slices(), old, "a ledger without entries is not needed");
        chain.appended(EntryId(0), written(10));
        let all = [slice(0..2, &[(5, 0)]), slice(2..4, &[(1, 9), (5, 0)]), slice(4..8, &[(5, 0)])];
        assert_eq!(chain.slices(), all);
        chain.begin_ledger(LedgerId(6), true);
        chain.appended(EntryId(3), written(10));
        assert_eq!(chain.slices(), [slice(0..8, &[(6, 3)])]);
    }

    #[test]
    fn an_image_is_due_when_the_log_is_twice_what_lives_or_in_pieces_or_shared() {
        let size = |changelog_bytes, live_bytes, ledgers, tasks_changed| {
            image_due(&LogSize { changelog_bytes, live_bytes, ledgers, tasks_changed })
        };
        assert!(!size(4 << 20, 0, 1, false));
        assert!(size((4 << 20) + 1, 0, 1, false));
        assert!(!size(24 << 20, 10 << 20, 16, false));
        assert!(size((24 << 20) + 1, 10 << 20, 1, false));
        assert!(size(0, 0, 17, false));
        assert!(size(0, 0, 1, true));
        assert!(!size(u64::MAX, u64::MAX, 1, false), "no overflow");
    }

    #[test]
    fn a_task_that_begins_empty_owes_no_image() {
        let chain = Chain::restored(0..8, &[], true, Replayed::default());
        assert!(!chain.image_due(0));
        let chain = Chain::restored(0..8, &[slice(0..8, &[(1, 1)])], true, Replayed::default());
        assert!(chain.image_due(0));
    }
}
