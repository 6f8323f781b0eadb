//! Why there is nothing to show.

use egret_log::client::ReadError;
use egret_log::client::error::RecordError as LedgerError;
use egret_log::directory::DirectoryError;
use egret_log::metadata::MetaError;
use egret_schemas::{EntryId, LedgerId};
use egret_state::commit::RecordError;
use egret_state::keyed::format::key::KeyError;
use egret_state::view::ViewError;

/// Why a topology's state cannot be read, or a question about it not answered.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// Nothing of that name ran here.
    #[error("there is no topology `{topology}` here: {}", there_are(.topologies, "none ran in this place yet"))]
    NoTopology {
        /// What was asked for.
        topology: String,
        /// The topologies there are.
        topologies: Vec<String>,
    },
    /// Half of what it had may be gone.
    #[error(
        "topology `{topology}` is being deleted: `egret topology delete {topology} --yes` finishes that"
    )]
    Deleting {
        /// The topology.
        topology: String,
    },
    /// It never committed.
    #[error("topology `{topology}` has committed nothing yet: ask again after its first commit")]
    NothingCommitted {
        /// The topology.
        topology: String,
    },
    /// The topology has no such component, or that has no state.
    #[error(
        "topology `{topology}` has no component `{component}` with state: {}",
        there_are(.components, "it has none with state")
    )]
    NoComponent {
        /// The topology.
        topology: String,
        /// What was asked for.
        component: String,
        /// Those there are.
        components: Vec<String>,
    },
    /// What was given as a key is none.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The topology's record does not decode.
    #[error("the record of topology `{topology}` cannot be read: {why}")]
    Record {
        /// The topology.
        topology: String,
        /// Why.
        why: Box<RecordError>,
    },
    /// The newest commit record does not decode.
    #[error("commit record {ledger}:{entry} cannot be read: {why}")]
    Unreadable {
        /// The commit ledger.
        ledger: LedgerId,
        /// The entry.
        entry: EntryId,
        /// Why.
        why: Box<RecordError>,
    },
    /// A ledger cannot be read.
    #[error(transparent)]
    Ledger(#[from] Box<ReadError>),
    /// The state is not what it should be, or too much.
    #[error(transparent)]
    View(#[from] Box<ViewError>),
    /// The metadata store.
    #[error(transparent)]
    Meta(#[from] MetaError),
    /// It trims faster than can be read.
    #[error(
        "topology `{topology}` trimmed what was being read at every attempt: let it commit less often, or ask for less (one component, one key)"
    )]
    Busy {
        /// The topology.
        topology: String,
    },
    /// The place the topology is in cannot be reached.
    #[error(transparent)]
    Place(Box<DirectoryError>),
    /// No thread.
    #[error("no thread to follow a topology with: {0}")]
    Thread(std::io::Error),
}

fn there_are(names: &[String], none: &str) -> String {
    match names {
        [] => none.to_owned(),
        some => format!("there are `{}`", some.join("`, `")),
    }
}

impl From<ReadError> for ReplicaError {
    fn from(error: ReadError) -> ReplicaError {
        Box::new(error).into()
    }
}

impl From<LedgerError> for ReplicaError {
    fn from(error: LedgerError) -> ReplicaError {
        ReadError::from(error).into()
    }
}

impl From<ViewError> for ReplicaError {
    fn from(error: ViewError) -> ReplicaError {
        Box::new(error).into()
    }
}

impl ReplicaError {
    /// Whether the answer is no: the same question gets the same answer.
    pub fn is_refusal(&self) -> bool {
        match self {
            ReplicaError::NoTopology { .. }
            | ReplicaError::Deleting { .. }
            | ReplicaError::NoComponent { .. }
            | ReplicaError::NothingCommitted { .. } => true,
            ReplicaError::View(why) => matches!(**why, ViewError::Memory { .. }),
            _ => false,
        }
    }

    /// Whether it may be that what was read is not needed any more, and was let go of.
    pub(super) fn may_be_trimmed(&self) -> bool {
        matches!(self, ReplicaError::Ledger(_))
    }
}
