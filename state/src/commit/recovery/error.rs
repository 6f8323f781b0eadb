//! Every reason not to take a topology over.

use std::collections::BTreeSet;

use egret_schemas::{EntryId, Epoch, Generation, LedgerId};

use crate::commit::fork::Origin;
use crate::commit::guarantee::Guarantee;
use crate::commit::named::{NameError, in_words};
use crate::commit::topology_record::ChangeError;

/// What may be tried when the newest commit is not there.
fn go_back(names: &[String]) -> String {
    match names {
        [] => {
            "go back to a named commit, of which this topology has none (`egret checkpoint list`)"
                .to_owned()
        }
        names => format!(
            "go back to a named commit (`--restore NAME`, or `egret checkpoint restore`): `egret checkpoint list` has `{}`",
            names.join("`, `")
        ),
    }
}

/// Why a topology is not taken over.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum RecoveryError {
    /// The stored topology has another graph.
    #[error(
        "the graph differs from the one this topology began with: added {added:?}, removed {removed:?}, changed {changed:?}: submit it under a new name, or with the components it had"
    )]
    Graph {
        /// Components only the new graph has.
        added: BTreeSet<String>,
        /// Components only the stored graph has.
        removed: BTreeSet<String>,
        /// Components both have, in different ways.
        changed: BTreeSet<String>,
    },
    /// The number of key groups differs.
    #[error(
        "the topology began with {stored} key groups and cannot have {wanted}: the number is fixed for its life"
    )]
    KeyGroups {
        /// As stored.
        stored: u32,
        /// As wanted.
        wanted: u32,
    },
    /// The guarantee differs.
    #[error(
        "the topology began as {stored} and cannot become {wanted}: submit it under a new name"
    )]
    Guarantee {
        /// As stored.
        stored: Guarantee,
        /// As wanted.
        wanted: Guarantee,
    },
    /// There is no commit record where one must be.
    #[error(
        "no commit record in {ledgers:?} although the topology began: its ledgers are damaged or gone; it is not started empty: restore the data directory from a copy, {}, or start again from nothing in a fresh one (`--data`)",
        go_back(.names)
    )]
    NoRecord {
        /// The commit ledgers looked at.
        ledgers: Vec<LedgerId>,
        /// The named commits there are.
        names: Vec<String>,
    },
    /// The newest record cannot be read.
    #[error(
        "the newest commit record, {ledger}:{entry}, cannot be read: {why}; no state, position or output was changed, and the topology is not started empty: restore the ledger from a copy, or {}",
        go_back(.names)
    )]
    Unreadable {
        /// The commit ledger.
        ledger: LedgerId,
        /// The entry.
        entry: EntryId,
        /// What is wrong.
        why: String,
        /// The named commits there are.
        names: Vec<String>,
    },
    /// The commit to go back to is not there.
    #[error("nothing is restored: {0}")]
    Name(#[source] NameError),
    /// The guarantee commits nothing to go back to.
    #[error("nothing is restored: {guarantee} commits nothing, so no commit of it has a name")]
    NothingNamed {
        /// The guarantee.
        guarantee: Guarantee,
    },
    /// The commit to go back to has a name, and something it needs is gone.
    #[error(
        "`{name}`, {}, cannot be restored: {why}; nothing was changed: `egret checkpoint list` shows the other named commits, and without `--restore` the topology goes on from its last commit",
        in_words(*.epoch)
    )]
    Lost {
        /// The name.
        name: String,
        /// Its commit.
        epoch: Epoch,
        /// What is gone.
        why: String,
    },
    /// There is a topology of that name, and it is another one.
    #[error(
        "topology `{topology}` is there already and was not forked from {origin}: give the fork a name of its own, or \
         leave out `--from` to go on with what is there"
    )]
    NoFork {
        /// The topology.
        topology: String,
        /// What was to be forked.
        origin: Origin,
    },
    /// A topology is no fork of itself.
    #[error(
        "`{topology}` cannot be forked from itself: give the fork a name of its own, or go back with `--restore`"
    )]
    OwnFork {
        /// The topology.
        topology: String,
    },
    /// What was to be forked is not there.
    #[error(
        "there is no topology `{topology}` here to fork: name one that ran here, as TOPOLOGY:NAME"
    )]
    NoParent {
        /// Its name.
        topology: String,
    },
    /// What is forked is another topology.
    #[error(
        "{origin} cannot be forked: its {what} is {theirs}, and that of this topology {ours}: run the same topology, \
         with output streams of its own"
    )]
    UnlikeParent {
        /// What was to be forked.
        origin: Origin,
        /// What differs.
        what: String,
        /// Of what was to be forked.
        theirs: String,
        /// Of the fork.
        ours: String,
    },
    /// Something that the commit to fork needs is gone.
    #[error("{origin} cannot be forked: {why}; nothing was changed")]
    LostParent {
        /// What was to be forked.
        origin: Origin,
        /// What is gone.
        why: String,
    },
    /// The record of what is forked changed at every attempt.
    #[error("the record of topology `{topology}` was changed at every attempt: try again")]
    ParentBusy {
        /// Its name.
        topology: String,
    },
    /// The record contradicts the topology record.
    #[error(
        "the newest commit record, {ledger}:{entry}, does not fit the topology record: {why}; the metadata or the ledger was replaced: restore both from one copy"
    )]
    Contradiction {
        /// The commit ledger.
        ledger: LedgerId,
        /// The entry.
        entry: EntryId,
        /// What does not fit.
        why: String,
    },
    /// Another process took the topology.
    #[error(
        "process {process:032x} took the topology over in {generation} meanwhile: stop this one, or try again to take it back"
    )]
    TakenOver {
        /// The newer generation.
        generation: Generation,
        /// Its claimant.
        process: u128,
    },
    /// It is being deleted.
    #[error(
        "the topology is being deleted, and some of its state may be gone: finish that (`egret topology delete`), and it \
         begins anew, or give this one another name (`--name`)"
    )]
    BeingDeleted,
    /// The topology record vanished.
    #[error("the topology record was deleted meanwhile: submit the topology again")]
    Deleted,
    /// The topology record cannot be changed.
    #[error(transparent)]
    Change(#[from] ChangeError),
}
