//! Which ledgers hold a component's state as of a commit, key group by key group.
//!
//! The key groups of a component are cut into [`Slice`]s, each with the ordered *chain* of ledger
//! ranges to replay for it, beginning where all of the groups were last rewritten. A task owns a contiguous
//! run of groups ([`groups_of_task`]); rescaling clips slices and never mixes chains, so a task that
//! rewrote everything drops its old ledgers without touching what its neighbours still need.

use std::collections::BTreeMap;
use std::ops::Range;

use egret_schemas::{EntryId, LedgerId};

/// A state ledger up to and including an entry; `None` means no entry of it counts.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct LedgerRange {
    /// The ledger.
    pub ledger: LedgerId,
    /// The last entry that counts.
    pub last: Option<EntryId>,
}

/// Consecutive key groups that are restored from the same chain of ledgers.
#[derive(
    Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct Slice {
    /// The first key group.
    pub first_group: u32,
    /// The key group after the last.
    pub end_group: u32,
    /// What to replay, in this order.
    pub ledgers: Vec<LedgerRange>,
}

/// A component's state as of a commit. Groups in no slice are empty.
#[derive(
    Clone,
    Debug,
    Default,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    serde::Serialize,
    serde::Deserialize,
)]
pub struct RestoreSet {
    /// How many tasks the component had.
    pub tasks: u32,
    /// Ascending, without overlap.
    pub slices: Vec<Slice>,
}

/// Slices that cannot be a restore set.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum SliceError {
    /// A slice is empty, out of order, overlapping, or outside the groups it may speak of.
    #[error(
        "key groups {first}..{end} are empty, out of order or outside {from}..{to}: a task reports ascending slices of its own groups"
    )]
    Groups {
        /// The slice's first group.
        first: u32,
        /// The group after its last.
        end: u32,
        /// The first group allowed.
        from: u32,
        /// The group after the last allowed.
        to: u32,
    },
    /// One ledger ends at two entries.
    #[error("{ledger} is said to end at two different entries of one commit")]
    Ends {
        /// The ledger.
        ledger: LedgerId,
    },
    /// A chain names a ledger twice.
    #[error("{ledger} stands twice in the chain of one slice")]
    Twice {
        /// The ledger.
        ledger: LedgerId,
    },
}

/// The key groups of task `task` of `tasks`, of `key_groups`: those `task_of_group` sends to it.
///
/// # Panics
/// When `task` is not below `tasks`.
pub fn groups_of_task(task: u32, tasks: u32, key_groups: u32) -> Range<u32> {
    assert!(task < tasks, "task {task} of {tasks}");
    let edge = |task: u32| {
        let edge = (u64::from(task) * u64::from(key_groups)).div_ceil(u64::from(tasks));
        u32::try_from(edge).expect("at most the key group count")
    };
    edge(task)..edge(task + 1)
}

/// Checks that slices ascend, stay within `groups`, and give each ledger one end.
pub fn check_slices(slices: &[Slice], groups: Range<u32>) -> Result<(), SliceError> {
    let mut from = groups.start;
    let mut ends = BTreeMap::new();
    for slice in slices {
        let (first, end) = (slice.first_group, slice.end_group);
        if first < from || end <= first || end > groups.end {
            return Err(SliceError::Groups { first, end, from, to: groups.end });
        }
        from = end;
        for (i, range) in slice.ledgers.iter().enumerate() {
            if slice.ledgers[..i].iter().any(|earlier| earlier.ledger == range.ledger) {
                return Err(SliceError::Twice { ledger: range.ledger });
            }
            if *ends.entry(range.ledger).or_insert(range.last) != range.last {
                return Err(SliceError::Ends { ledger: range.ledger });
            }
        }
    }
    Ok(())
}

impl RestoreSet {
    /// Every ledger of the set and its last entry that counts.
    pub fn ledgers(&self) -> BTreeMap<LedgerId, Option<EntryId>> {
        let ranges = self.slices.iter().flat_map(|slice| &slice.ledgers);
        ranges.map(|range| (range.ledger, range.last)).collect()
    }

    /// What task `task` of `tasks` restores, however many tasks wrote it.
    pub fn of_task(&self, task: u32, tasks: u32, key_groups: u32) -> Vec<Slice> {
        self.of_groups(groups_of_task(task, tasks, key_groups))
    }

    /// What these key groups are restored from.
    pub fn of_groups(&self, groups: Range<u32>) -> Vec<Slice> {
        let clipped = self.slices.iter().map(|slice| Slice {
            first_group: slice.first_group.max(groups.start),
            end_group: slice.end_group.min(groups.end),
            ledgers: slice.ledgers.clone(),
        });
        clipped.filter(|slice| slice.first_group < slice.end_group).collect()
    }
}

/// One pass over one ledger, for the groups of all slices that need it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading {
    /// The ledger and how far to read it.
    pub range: LedgerRange,
    /// The key groups to take from it.
    pub groups: Vec<Range<u32>>,
}

impl Reading {
    /// Whether records of `group` are to be taken.
    pub fn takes(&self, group: u32) -> bool {
        self.groups.iter().any(|groups| groups.contains(&group))
    }
}

/// An order of reading that keeps every slice's own order and reads each ledger once where the
/// slices agree on an order (they do when each was written by one owner after the other).
pub fn reading_plan(slices: &[Slice]) -> Vec<Reading> {
    let mut rest: Vec<(&Slice, &[LedgerRange])> =
        slices.iter().map(|slice| (slice, &slice.ledgers[..])).collect();
    let mut plan = Vec::new();
    while let Some(fallback) = rest.iter().find_map(|(_, chain)| chain.first()) {
        let ready = |range: &&LedgerRange| {
            rest.iter().all(|(_, chain)| !chain.iter().skip(1).any(|r| r.ledger == range.ledger))
        };
        let heads = rest.iter().filter_map(|(_, chain)| chain.first());
        let range = *heads.min_by_key(|range| !ready(range)).unwrap_or(fallback);
        let mut groups = Vec::new();
        for (slice, chain) in &mut rest {
            if chain.first() == Some(&range) {
                groups.push(slice.first_group..slice.end_group);
                *chain = &chain[1..];
            }
        }
        plan.push(Reading { range, groups });
    }
    plan
}

#[cfg(test)]
mod tests {
    use super::*;
    use egret_schemas::key::task_of_group;
    use proptest::prelude::*;

    fn range(ledger: u64) -> LedgerRange {
        LedgerRange { ledger: LedgerId(ledger), last: Some(EntryId(ledger * 10)) }
    }

    fn slice(groups: Range<u32>, ledgers: &[u64]) -> Slice {
        let ledgers = ledgers.iter().map(|&l| range(l)).collect();
        Slice { first_group: groups.start, end_group: groups.end, ledgers }
    }

    proptest! {
        #[test]
        fn the_groups_of_a_task_are_those_placed_on_it(tasks in 1u32..70, key_groups in 1u32..500) {
            for group in 0..key_groups {
                let task = task_of_group(group, key_groups, tasks);
                for other in 0..tasks {
                    let owns = groups_of_task(other, tasks, key_groups).contains(&group);
                    prop_assert_eq!(owns, other == task);
                }
            }
        }

        #[test]
        fn clipping_covers_every_group_once(tasks in 1u32..9, cut in 1u32..63) {
            let set = RestoreSet { tasks: 2, slices: vec![slice(0..cut, &[1]), slice(cut..64, &[2])] };
            for group in 0..64 {
                let owners = (0..tasks).flat_map(|t| set.of_task(t, tasks, 64));
                let chains: Vec<_> = owners
                    .filter(|s| (s.first_group..s.end_group).contains(&group))
                    .map(|s| s.ledgers)
                    .collect();
                prop_assert_eq!(chains, vec![vec![range(if group < cut { 1 } else { 2 })]]);
            }
        }

        #[test]
        fn a_reading_plan_keeps_the_order_of_every_slice(
            chains in proptest::collection::vec(proptest::collection::vec(0u64..6, 0..5), 0..5)
        ) {
            let mut slices = Vec::new();
            for (i, chain) in (0..).zip(&chains) {
                let mut seen = Vec::new();
                for &l in chain {
                    if !seen.contains(&l) { seen.push(l); }
                }
                slices.push(slice(i..i + 1, &seen));
            }
            let plan = reading_plan(&slices);
            for slice in &slices {
                let read: Vec<_> = plan
                    .iter()
                    .filter(|reading| reading.takes(slice.first_group))
                    .map(|reading| reading.range)
                    .collect();
                prop_assert_eq!(&read, &slice.ledgers);
            }
        }
    }

    #[test]
    fn slices_that_share_an_old_ledger_read_it_once() {
        let slices = [slice(0..5, &[1, 2, 4]), slice(5..9, &[1, 3, 4])];
        let read: Vec<_> = reading_plan(&slices).iter().map(|r| r.range.ledger.0).collect();
        assert_eq!(read, [1, 2, 3, 4]);
    }

    #[test]
    fn slices_out_of_place_are_refused() {
        assert_eq!(check_slices(&[slice(2..4, &[1]), slice(4..6, &[1])], 2..6), Ok(()));
        assert!(check_slices(&[slice(2..4, &[1]), slice(3..6, &[1])], 2..6).is_err());
        assert!(check_slices(&[slice(1..4, &[1])], 2..6).is_err());
        assert!(check_slices(&[slice(4..4, &[1])], 2..6).is_err());
        assert!(check_slices(&[slice(2..4, &[1, 1])], 2..6).is_err());
        let mut two_ends = [slice(2..4, &[1]), slice(4..6, &[1])];
        two_ends[1].ledgers[0].last = None;
        assert_eq!(check_slices(&two_ends, 2..6), Err(SliceError::Ends { ledger: LedgerId(1) }));
    }
}
