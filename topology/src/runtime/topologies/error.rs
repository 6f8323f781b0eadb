//! Why a topology is not listed, not changed, or not deleted.

use std::collections::BTreeSet;

use egret_log::client::{DeleteError, RecoverError};
use egret_log::metadata::MetaError;
use egret_log::stream::error::{CatalogError, TruncateError, UseError};
use egret_state::commit::RecordError;

/// Why a topology was not listed, changed or deleted.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    /// Nothing of that name ran here.
    #[error("there is no topology `{topology}` here: {}", there_are(.topologies))]
    NoTopology {
        /// What was asked for.
        topology: String,
        /// The topologies there are.
        topologies: Vec<String>,
    },
    /// Its record does not decode.
    #[error("the record of topology `{topology}` cannot be read: {why}")]
    Record {
        /// The topology.
        topology: String,
        /// Why.
        why: Box<RecordError>,
    },
    /// A process runs it.
    #[error(
        "topology `{topology}` is run by a process: end that first, and those that stand by for it (one that was killed \
         counts as running until its lease is over, a few seconds)"
    )]
    Runs {
        /// The topology.
        topology: String,
    },
    /// Who runs it cannot be told.
    #[error("who runs topology `{topology}` cannot be told: {why}")]
    Run {
        /// The topology.
        topology: String,
        /// Why.
        why: Box<crate::Error>,
    },
    /// Forks stand in its ledgers.
    #[error(
        "topology `{topology}` is kept for what was forked from it, `{}`: let that run until it has written its state \
         anew, or delete it first",
        words(.forks)
    )]
    Forked {
        /// The topology.
        topology: String,
        /// Who needs it.
        forks: BTreeSet<String>,
    },
    /// There is output that only it writes.
    #[error(
        "only topology `{topology}` writes `{}`, and nobody could any more: delete them with it (`--streams`), or read \
         what you need of them first",
        words(.streams)
    )]
    Owns {
        /// The topology.
        topology: String,
        /// The streams.
        streams: BTreeSet<String>,
    },
    /// Others read its output.
    #[error(
        "stream `{stream}` is read by topology `{}`, which could not go on without it: delete that first, or leave the \
         stream",
        words(.topologies)
    )]
    Read {
        /// The stream.
        stream: String,
        /// Who reads it.
        topologies: BTreeSet<String>,
    },
    /// One of its streams could not be deleted.
    #[error("stream `{stream}` was not deleted: {why}; delete the topology again, and it goes on")]
    Stream {
        /// The stream.
        stream: String,
        /// Why.
        why: Box<TruncateError>,
    },
    /// A ledger could not be closed.
    #[error("not all is deleted: {0}; delete the topology again, and it goes on")]
    Recover(Box<RecoverError>),
    /// A ledger could not be deleted.
    #[error("not all is deleted: {0}; delete the topology again, and it goes on")]
    Delete(Box<DeleteError>),
    /// Others changed the same records all the time.
    #[error(
        "the record of topology `{topology}`, or of what it reads, was changed at every attempt: try again"
    )]
    Busy {
        /// The topology.
        topology: String,
    },
    /// The streams.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// Who uses a stream could not be changed.
    #[error(transparent)]
    Use(#[from] UseError),
    /// The metadata store.
    #[error(transparent)]
    Meta(#[from] MetaError),
}

fn words(names: &BTreeSet<String>) -> String {
    names.iter().map(String::as_str).collect::<Vec<_>>().join("`, `")
}

fn there_are(topologies: &[String]) -> String {
    match topologies {
        [] => "none ran in this place yet".to_owned(),
        some => format!("there are `{}`", some.join("`, `")),
    }
}

impl From<RecoverError> for TopologyError {
    fn from(error: RecoverError) -> TopologyError {
        TopologyError::Recover(Box::new(error))
    }
}

impl From<DeleteError> for TopologyError {
    fn from(error: DeleteError) -> TopologyError {
        TopologyError::Delete(Box::new(error))
    }
}

impl TopologyError {
    /// Whether the answer is no: nothing was changed, and the same question gets the same answer.
    pub fn is_refusal(&self) -> bool {
        matches!(
            self,
            TopologyError::NoTopology { .. }
                | TopologyError::Runs { .. }
                | TopologyError::Forked { .. }
                | TopologyError::Owns { .. }
                | TopologyError::Read { .. }
        )
    }
}
