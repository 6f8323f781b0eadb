//! What can be wrong with a named commit, or with naming one.

use egret_log::Outcome;
use egret_log::client::ReadError;
use egret_log::client::error::RecordError as LedgerError;
use egret_log::metadata::MetaError;
use egret_log::stream::error::{CatalogError, UseError};
use egret_schemas::{EntryId, LedgerId};
use egret_state::commit::{NameError, RecordError};

use crate::Error;

/// Why a named commit was not made, found, taken away or gone back to.
#[derive(Debug, thiserror::Error)]
pub enum NamedError {
    /// Nothing of that name ran here.
    #[error("there is no topology `{topology}` here: {}", there_are(.topologies))]
    NoTopology {
        /// What was asked for.
        topology: String,
        /// The topologies there are.
        topologies: Vec<String>,
    },
    /// It is being deleted.
    #[error(
        "topology `{topology}` is being deleted, and has no names any more: `egret topology delete` finishes that"
    )]
    Deleting {
        /// The topology.
        topology: String,
    },
    /// The name, or what it is to name.
    #[error(transparent)]
    Name(#[from] NameError),
    /// The topology's record does not decode.
    #[error("the record of topology `{topology}` cannot be read: {why}")]
    Record {
        /// The topology.
        topology: String,
        /// Why.
        why: Box<RecordError>,
    },
    /// The newest commit record does not decode.
    #[error(
        "the newest commit record, {ledger}:{entry}, cannot be read: {why}: it cannot be named; `egret checkpoint list` shows the commits that can be gone back to"
    )]
    Unreadable {
        /// The commit ledger.
        ledger: LedgerId,
        /// The entry.
        entry: EntryId,
        /// Why.
        why: Box<RecordError>,
    },
    /// A ledger of commit records cannot be read.
    #[error("the newest commit cannot be read: {0}")]
    Ledger(#[source] ReadError),
    /// A committed position that is none.
    #[error(
        "the commit has `{component}` at `{position}`, and that is no position of stream `{stream}`: it was written by another build of egret"
    )]
    Position {
        /// The spout.
        component: String,
        /// The stream.
        stream: String,
        /// What was found.
        position: String,
    },
    /// A source was truncated by force.
    #[error(
        "`{component}` reads a stream that was truncated or deleted by force, so its commits cannot be gone back to: let the topology run first"
    )]
    Forced {
        /// The spout.
        component: String,
    },
    /// Others changed the same records all the time.
    #[error(
        "the record of topology `{topology}`, or of what it reads, was changed at every attempt: try again"
    )]
    Busy {
        /// The topology.
        topology: String,
    },
    /// The streams a topology reads.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// Who uses a stream could not be noted.
    #[error(transparent)]
    Use(#[from] UseError),
    /// The metadata store.
    #[error(transparent)]
    Meta(#[from] MetaError),
    /// A takeover that was to go back.
    #[error(transparent)]
    Restore(Box<Error>),
}

fn there_are(topologies: &[String]) -> String {
    match topologies {
        [] => "none ran in this place yet".to_owned(),
        some => format!("there are `{}`", some.join("`, `")),
    }
}

impl From<LedgerError> for NamedError {
    fn from(error: LedgerError) -> NamedError {
        NamedError::Ledger(error.into())
    }
}

impl NamedError {
    /// Whether the answer is no: nothing was done, and the same question gets the same answer.
    pub fn is_refusal(&self) -> bool {
        match self {
            NamedError::NoTopology { .. }
            | NamedError::Deleting { .. }
            | NamedError::Name(_)
            | NamedError::Forced { .. } => true,
            NamedError::Use(UseError::TooMany { .. }) => true,
            NamedError::Restore(error) => matches!(**error, Error::Recovery(_)),
            _ => false,
        }
    }

    /// Whether anything may have been changed.
    pub fn outcome(&self) -> Outcome {
        match self {
            NamedError::Busy { .. } | NamedError::Restore(_) if !self.is_refusal() => {
                Outcome::Unknown
            }
            _ => Outcome::Definite,
        }
    }
}
