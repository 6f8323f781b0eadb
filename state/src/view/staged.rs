//! What a view will be, while it is read.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use bytes::Bytes;
use egret_schemas::EntryAddress;

use super::plan::{Piece, Plan};
use super::table::Table;
use super::{Mark, View, ViewError};
use crate::commit::RestoreSet;
use crate::keyed::cell::cells;
use crate::keyed::record::What;
use crate::keyed::replay::StateEntry;

/// Entries of a commit, checked, not seen by anybody yet.
#[derive(Debug)]
pub struct Staged {
    pub(super) mark: Mark,
    pub(super) from: Option<Mark>,
    pub(super) components: BTreeMap<String, (RestoreSet, Next)>,
    key_groups: u32,
    /// What is held and stays until the switch.
    held: usize,
    /// Bytes of entries kept.
    kept: usize,
    limit: Option<usize>,
    /// The entry before, and whether it ended its batch.
    before: Option<(EntryAddress, bool)>,
    schemas: BTreeSet<u64>,
}

/// What becomes of a component.
#[derive(Debug)]
pub(super) enum Next {
    /// What there was does not count.
    Fresh(Table),
    /// What there was, with these applied.
    Changes(Vec<Change>),
}

/// An entry that was checked.
#[derive(Debug)]
pub(super) struct Change {
    entry: Bytes,
    groups: Vec<Range<u32>>,
}

impl Change {
    pub(super) fn apply(&self, table: &mut Table) {
        // It decoded when it was staged.
        if let Ok(entry) = StateEntry::decode(&self.entry) {
            apply(&entry, &self.groups, table);
        }
    }
}

fn apply(entry: &StateEntry<'_>, groups: &[Range<u32>], table: &mut Table) {
    let takes = |group: u32| groups.iter().any(|groups| groups.contains(&group));
    for record in entry.records.iter().filter(|record| takes(record.group)) {
        table.apply(entry.schema, record);
    }
}

impl Staged {
    /// Nothing read yet of what a plan says, for a topology of so many key groups. View and staged entries
    /// may take `limit` bytes together.
    pub fn new(view: &View, plan: &Plan, key_groups: u32, limit: Option<usize>) -> Staged {
        let next = |(name, (set, anew)): (&String, &(RestoreSet, bool))| {
            let next =
                if *anew { Next::Fresh(Table::default()) } else { Next::Changes(Vec::new()) };
            (name.clone(), (set.clone(), next))
        };
        Staged {
            mark: plan.mark,
            from: plan.from,
            components: plan.components.iter().map(next).collect(),
            key_groups,
            held: view.bytes(),
            kept: 0,
            limit,
            before: None,
            schemas: BTreeSet::new(),
        }
    }

    /// One entry of a piece; pieces come in the order of the plan, entries in theirs.
    ///
    /// # Errors
    /// When the entry cannot be part of the view, or does not fit.
    pub fn entry(
        &mut self,
        piece: &Piece,
        at: EntryAddress,
        bytes: Bytes,
    ) -> Result<(), ViewError> {
        let entry = StateEntry::decode(&bytes).map_err(|why| ViewError::Bytes { at, why })?;
        self.check(piece, at, &entry)?;
        let Some((_, next)) = self.components.get_mut(&piece.component) else {
            return Err(ViewError::Order { at, why: "no plan asked for it" });
        };
        match next {
            Next::Fresh(table) => {
                let before = table.bytes();
                apply(&entry, &piece.groups, table);
                self.kept = self.kept - before + table.bytes();
            }
            Next::Changes(changes) => {
                self.kept += bytes.len();
                // Entries come in rows that share their memory; what is kept must not keep a row.
                let groups = piece.groups.clone();
                changes.push(Change { entry: bytes, groups });
            }
        }
        match self.limit {
            Some(limit) if self.held + self.kept > limit => {
                Err(ViewError::Memory { limit_mb: limit >> 20, held_mb: self.held >> 20 })
            }
            _ => Ok(()),
        }
    }

    /// A piece was read to its end.
    ///
    /// # Errors
    /// When its last batch is not whole.
    pub fn end_piece(&mut self) -> Result<(), ViewError> {
        match self.before.take() {
            Some((at, false)) => {
                Err(ViewError::Order { at, why: "the ledger ends inside a batch" })
            }
            _ => Ok(()),
        }
    }

    /// The schemas of what was staged.
    pub fn schemas(&self) -> BTreeSet<u64> {
        self.schemas.clone()
    }

    fn check(
        &mut self,
        piece: &Piece,
        at: EntryAddress,
        entry: &StateEntry<'_>,
    ) -> Result<(), ViewError> {
        if entry.component != piece.component || entry.key_groups != self.key_groups {
            return Err(ViewError::Foreign {
                at,
                stored: entry.component.to_owned(),
                groups: entry.key_groups,
                wanted: piece.component.clone(),
                of: self.key_groups,
            });
        }
        let begins = entry.part == 0;
        let (follows, goes_on) = match self.before {
            None => (at.entry == piece.from, begins),
            Some((before, ended)) => (before.entry.next() == at.entry, ended == begins),
        };
        if !follows || at.ledger != piece.ledger {
            return Err(ViewError::Order { at, why: "it does not follow the entry before" });
        }
        if !goes_on {
            return Err(ViewError::Order { at, why: "it is not the next part of its batch" });
        }
        for record in &entry.records {
            if let What::Whole(body) | What::Changes(body) = record.what {
                let wrong = cells(body).find_map(Result::err);
                wrong.map_or(Ok(()), |why| Err(ViewError::Cells { at, why }))?;
            }
        }
        self.schemas.insert(entry.schema);
        self.before = Some((at, entry.last));
        Ok(())
    }
}
