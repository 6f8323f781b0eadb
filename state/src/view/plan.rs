//! Which entries to read to go from the commit a view is at to another one.
//!
//! A commit names a chain of ledgers for each key group. Where the last ledger of the old chain stands in
//! the new one, what came since are the entries behind its old end and the ledgers behind it: chains are let
//! go of at their beginning only. Where it does not, a ledger may have come and gone between the two, and a
//! key removed in it would never be heard of: such a component is read anew. So is one whose topology went back
//! to a named commit: a ledger it had read then ends before where it had come to.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use egret_schemas::{EntryId, LedgerId};

use super::{Mark, View};
use crate::commit::{CommitRecord, LedgerRange, Reading, RestoreSet, Slice, reading_plan};

/// What of a topology's state to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// One component; `None` for all.
    pub component: Option<String>,
    /// Some key groups; `None` for all.
    pub groups: Option<Range<u32>>,
}

/// Entries to read, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Whose state it is.
    pub component: String,
    /// The ledger.
    pub ledger: LedgerId,
    /// The first entry.
    pub from: EntryId,
    /// The last one.
    pub last: EntryId,
    /// The key groups to take from them.
    pub groups: Vec<Range<u32>>,
}

/// Entries of one ledger to read, one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stretch {
    /// The ledger.
    pub ledger: LedgerId,
    /// The first entry.
    pub from: EntryId,
    /// The last one.
    pub last: EntryId,
    /// The key groups to take from them.
    pub groups: Vec<Range<u32>>,
}

impl Stretch {
    /// Whether records of `group` are to be taken.
    pub fn takes(&self, group: u32) -> bool {
        self.groups.iter().any(|groups| groups.contains(&group))
    }
}

/// How to get from what was restored from some slices to what others say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// Whether nothing of what there is counts: it begins with nothing.
    pub anew: bool,
    /// What to read, in this order.
    pub stretches: Vec<Stretch>,
}

impl Way {
    /// From what was restored from `old`, if anything was, to `new`.
    pub fn between(old: Option<&RestoreSet>, new: &[Slice]) -> Way {
        let old = old.filter(|old| follows(old, new));
        let ends = old.map(RestoreSet::ledgers).unwrap_or_default();
        let stretch = |reading: Reading| {
            let LedgerRange { ledger, last } = reading.range;
            let from = EntryId::after(ends.get(&ledger).copied().flatten());
            let last = last.filter(|last| from <= *last)?;
            Some(Stretch { ledger, from, last, groups: reading.groups })
        };
        let stretches = reading_plan(new).into_iter().filter_map(stretch).collect();
        Way { anew: old.is_none(), stretches }
    }
}

/// What to read, and what a view is then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The commit to go to.
    pub mark: Mark,
    /// What to read, in this order.
    pub pieces: Vec<Piece>,
    /// The commit to go from.
    pub(super) from: Option<Mark>,
    /// What there is then, and whether it is read anew.
    pub(super) components: BTreeMap<String, (RestoreSet, bool)>,
}

impl Plan {
    /// Whether nothing of what is held is any use.
    pub fn is_anew(&self) -> bool {
        self.components.values().all(|(_, anew)| *anew)
    }
}

impl View {
    /// What to read to go to a commit.
    pub fn plan(&self, record: &CommitRecord, wanted: &Wanted) -> Plan {
        let mut plan = Plan {
            mark: Mark::of(record),
            pieces: Vec::new(),
            from: self.mark,
            components: BTreeMap::new(),
        };
        for (name, set) in &record.state {
            if wanted.component.as_ref().is_some_and(|wanted| wanted != name) {
                continue;
            }
            let set = clipped(set, wanted.groups.as_ref());
            let before = self.components.get(name).map(|component| &component.set);
            let way = Way::between(before, &set.slices);
            for Stretch { ledger, from, last, groups } in way.stretches {
                let component = name.clone();
                plan.pieces.push(Piece { component, ledger, from, last, groups });
            }
            plan.components.insert(name.clone(), (set, way.anew));
        }
        plan
    }
}

/// Some of the key groups of a restore set.
fn clipped(set: &RestoreSet, groups: Option<&Range<u32>>) -> RestoreSet {
    let Some(groups) = groups else { return set.clone() };
    let slices = set.slices.iter().map(|slice| Slice {
        first_group: slice.first_group.max(groups.start),
        end_group: slice.end_group.min(groups.end),
        ledgers: slice.ledgers.clone(),
    });
    let slices = slices.filter(|slice| slice.first_group < slice.end_group).collect();
    RestoreSet { tasks: set.tasks, slices }
}

/// Whether what was restored from `old` becomes `new` by what is behind the old ends.
fn follows(old: &RestoreSet, new: &[Slice]) -> bool {
    let known = old.ledgers();
    let edges: BTreeSet<u32> =
        old.slices.iter().chain(new).flat_map(|s| [s.first_group, s.end_group]).collect();
    let chain = |slices: &'_ [Slice], group: u32| -> Vec<LedgerRange> {
        let holds = |slice: &&Slice| (slice.first_group..slice.end_group).contains(&group);
        slices.iter().find(holds).map(|slice| slice.ledgers.clone()).unwrap_or_default()
    };
    edges.into_iter().all(|group| {
        let (old, new) = (chain(&old.slices, group), chain(new, group));
        let is_new = |range: &LedgerRange| !known.contains_key(&range.ledger);
        let Some(newest) = old.last() else { return new.iter().all(is_new) };
        let Some(at) = new.iter().position(|range| range.ledger == newest.ledger) else {
            return false;
        };
        let (kept, added) = new.split_at(at + 1);
        old.len() >= kept.len()
            && old[old.len() - kept.len()..]
                .iter()
                .zip(kept)
                .all(|(old, new)| old.ledger == new.ledger && old.last <= new.last)
            && added.iter().all(is_new)
    })
}
