//! The state of a topology as of one commit, held by somebody who does not run it.
//!
//! A [`View`] begins empty. For each commit record it is told which entries to read ([`View::plan`]); those
//! are [staged](Staged), and then it switches to the commit in one step. It needs no type of the program: a
//! state is a value or cells, and [formats](mod@crate::keyed::format) say what they mean.
//!
//! ```text
//! commit record ──► plan: component, ledger, entries, key groups
//!                     │ entries read by the driver, checked one by one
//!                     ▼
//!                   staged: what changed, or a table of its own where there is no way on from what is held
//!                     │ all of them
//!                     ▼ switch
//!                   view: keys in the order of their encodings, at one commit
//! ```
//!
//! # What always holds
//! * A view is at one commit, never between two; what is staged is seen by nobody.
//! * An entry that does not check out is an error before anything changed.
//! * What a view and what is staged for it take is counted, and bounded when a limit is given.
//! * Where it is not certain that what is held is the beginning of what is now, everything is read anew:
//!   after a commit that was gone back to, and when a ledger between the two is gone.

mod plan;
mod staged;
mod table;

use std::collections::BTreeMap;
use std::fmt;

use egret_schemas::{EntryAddress, Epoch, Generation};

pub use plan::{Piece, Plan, Stretch, Wanted, Way};
pub use staged::Staged;
pub use table::{Held, Table};

use crate::commit::{CommitRecord, RecordError, RestoreSet};

/// Which commit a view is at: of two, the greater one is the later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mark {
    /// The generation that wrote its record; one that restates a commit is another mark of it.
    pub written_by: Generation,
    /// The last epoch it covers.
    pub last: Epoch,
}

impl Mark {
    /// That of a record.
    pub fn of(record: &CommitRecord) -> Mark {
        Mark { written_by: record.generation, last: record.last }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "commit {} of generation {}", self.last.commit(), self.last.generation().0)
    }
}

/// Entries that cannot be part of a view.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ViewError {
    /// The bytes are no state entry this build can read.
    #[error("{at}: {why}")]
    Bytes {
        /// The entry.
        at: EntryAddress,
        /// What is wrong.
        why: RecordError,
    },
    /// A state of cells does not decode.
    #[error("{at}: a state of cells that does not decode: {why}")]
    Cells {
        /// The entry.
        at: EntryAddress,
        /// Where and why.
        why: egret_schemas::bytes::DecodeError,
    },
    /// The entry is another component's, or of another number of key groups.
    #[error(
        "{at}: state of `{stored}` with {groups} key groups where `{wanted}` with {of} was expected: the metadata names a wrong ledger"
    )]
    Foreign {
        /// The entry.
        at: EntryAddress,
        /// Whose it is.
        stored: String,
        /// Of how many key groups.
        groups: u32,
        /// Whose it should be.
        wanted: String,
        /// How many key groups there are.
        of: u32,
    },
    /// A ledger ends inside a batch, or entries do not follow one another.
    #[error("{at}: {why}: an entry is missing or out of place; restore the ledger from a copy")]
    Order {
        /// The entry.
        at: EntryAddress,
        /// What does not follow.
        why: &'static str,
    },
    /// It does not fit.
    #[error(
        "the state takes more than the {limit_mb} MiB allowed here, of which {held_mb} are what is shown while the rest is read: allow more (--memory-mb), or ask for less (one component, one key)"
    )]
    Memory {
        /// The limit.
        limit_mb: usize,
        /// What the view at its commit takes.
        held_mb: usize,
    },
}

/// The state of some components as of one commit; see the [module](self).
#[derive(Clone, Debug, Default)]
pub struct View {
    mark: Option<Mark>,
    components: BTreeMap<String, Component>,
}

/// A component's state, and what it was restored from.
#[derive(Clone, Debug, Default)]
struct Component {
    set: RestoreSet,
    table: Table,
}

impl View {
    /// The commit it is at; `None` before the first.
    pub fn mark(&self) -> Option<Mark> {
        self.mark
    }

    /// The components it holds, by name.
    pub fn components(&self) -> impl Iterator<Item = (&str, &Table)> {
        self.components.iter().map(|(name, component)| (name.as_str(), &component.table))
    }

    /// How many tasks a component had.
    pub fn tasks(&self, component: &str) -> Option<u32> {
        self.components.get(component).map(|component| component.set.tasks)
    }

    /// A component's keys.
    pub fn component(&self, name: &str) -> Option<&Table> {
        self.components.get(name).map(|component| &component.table)
    }

    /// Bytes that keys and states take, nearly.
    pub fn bytes(&self) -> usize {
        self.components.values().map(|component| component.table.bytes()).sum()
    }

    /// Goes to the commit that was staged, in one step.
    ///
    /// # Panics
    /// When it was staged for another commit than this view is at: a driver stages and switches in turn.
    pub fn switch(&mut self, staged: Staged) {
        assert_eq!(self.mark, staged.from, "it was staged for a view at another commit");
        let mark = staged.mark;
        let mut before = std::mem::take(&mut self.components);
        for (name, (set, next)) in staged.components {
            let table = match next {
                staged::Next::Fresh(table) => table,
                staged::Next::Changes(changes) => {
                    let mut table = before.remove(&name).unwrap_or_default().table;
                    changes.iter().for_each(|change| change.apply(&mut table));
                    table
                }
            };
            self.components.insert(name, Component { set, table });
        }
        self.mark = Some(mark);
    }
}

#[cfg(test)]
mod tests;
