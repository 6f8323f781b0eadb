//! What can go wrong, operation by operation.

use egret_schemas::bytes::DecodeError;
use egret_schemas::{EntryId, LedgerId};

use super::placement::TooFewBookies;
use crate::ledger::TransitionError;
use crate::ledger::reader::Doubt;
use crate::ledger::recovery::RecoveryFailure;
use crate::ledger::writer::WriterFailure;
use crate::message::{Refusal, Reply, Unknown};
use crate::metadata::MetaError;
use crate::outcome::Outcome;

/// A ledger's record could not be read or changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// The metadata store could not answer.
    #[error(transparent)]
    Meta(#[from] MetaError),
    /// The record does not decode.
    #[error(
        "the record of {ledger} does not decode: {why}; the metadata was written by another build"
    )]
    Decode {
        /// The ledger.
        ledger: LedgerId,
        /// What is wrong with it.
        why: DecodeError,
    },
    /// There is no record.
    #[error("there is no {ledger}: it was never created, or it was deleted")]
    NoLedger {
        /// The ledger.
        ledger: LedgerId,
    },
    /// The record does not allow it.
    #[error("{ledger}: {why}")]
    Transition {
        /// The ledger.
        ledger: LedgerId,
        /// Why not.
        why: TransitionError,
    },
}

/// A ledger could not be created.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CreateError {
    /// Its record could not be written.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// There are not enough bookies for its copies.
    #[error(transparent)]
    TooFew(#[from] TooFewBookies),
    /// Someone created it, or closed it as never created.
    #[error("{ledger} exists already: a newer owner has taken over")]
    Exists {
        /// The ledger.
        ledger: LedgerId,
    },
    /// The bookie refused.
    #[error("{ledger}: {why}")]
    Refused {
        /// The ledger.
        ledger: LedgerId,
        /// Why.
        why: Refusal,
    },
    /// The bookie did not say.
    #[error("{ledger}: {why}")]
    Unknown {
        /// The ledger.
        ledger: LedgerId,
        /// Why.
        why: Unknown,
    },
}

/// An entry could not be appended.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The writer ended before this entry was sent.
    #[error("{ledger} takes no more entries from this writer: {why}; open the partition again")]
    Ended {
        /// The ledger.
        ledger: LedgerId,
        /// Why it ended.
        why: WriterFailure,
    },
    /// The entry was sent and not acknowledged.
    #[error("{ledger}:{entry} was not acknowledged: {why}")]
    Failed {
        /// The ledger.
        ledger: LedgerId,
        /// The entry.
        entry: EntryId,
        /// Why.
        why: WriterFailure,
        /// Whether it may be there all the same.
        outcome: Outcome,
    },
    /// Larger than any entry may be.
    #[error("an entry of {bytes} bytes is over the limit of {max}: split it")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
}

impl AppendError {
    /// Whether the entry may be there all the same.
    pub fn outcome(&self) -> Outcome {
        match self {
            AppendError::Failed { outcome, .. } => *outcome,
            AppendError::Ended { .. } | AppendError::TooLarge { .. } => Outcome::Definite,
        }
    }
}

/// A ledger could not be closed by its writer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CloseError {
    /// Its record could not be changed.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Entries in flight failed.
    #[error("{ledger} cannot be closed by its writer: {why}; recover it")]
    Ended {
        /// The ledger.
        ledger: LedgerId,
        /// Why.
        why: WriterFailure,
    },
    /// Not where it ends.
    #[error("{ledger} can be closed at {} at most, not at {}", crate::ledger::metadata::end(*.confirmed), crate::ledger::metadata::end(*.asked))]
    NotThere {
        /// The ledger.
        ledger: LedgerId,
        /// The last entry acknowledged.
        confirmed: Option<EntryId>,
        /// What was asked.
        asked: Option<EntryId>,
    },
}

/// A ledger could not be recovered; it stays as it was, or in recovery.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecoverError {
    /// Its record could not be read or changed.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The end was not found.
    #[error("{ledger}: {why}")]
    Recovery {
        /// The ledger.
        ledger: LedgerId,
        /// Why.
        why: RecoveryFailure,
    },
    /// Only its owner knows where a transactional ledger ends.
    #[error("{ledger} belongs to topology `{owner}`: only it closes it, at its last commit")]
    Owned {
        /// The ledger.
        ledger: LedgerId,
        /// Its owner.
        owner: String,
    },
    /// An entry was committed in a ledger that was never created.
    #[error("{ledger} was never created, yet entry {entry} of it was committed: metadata was lost")]
    CommittedButAbsent {
        /// The ledger.
        ledger: LedgerId,
        /// The entry.
        entry: EntryId,
    },
}

impl RecoverError {
    /// Whether the ledger is being deleted, or was: somebody decided that nothing needs it.
    pub fn is_deleted(&self) -> bool {
        match self {
            RecoverError::Record(RecordError::Transition { why, .. }) => {
                matches!(why, TransitionError::Deleted)
            }
            RecoverError::Recovery { why, .. } => matches!(why, RecoveryFailure::Deleted),
            _ => false,
        }
    }
}

/// An entry could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Its ledger's record could not be read.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Readers may not see it, or it does not exist.
    #[error("{ledger}:{entry} is beyond what may be read ({})", crate::ledger::metadata::end(*.end))]
    Beyond {
        /// The ledger.
        ledger: LedgerId,
        /// The entry.
        entry: EntryId,
        /// The last entry that may be read.
        end: Option<EntryId>,
    },
    /// It was acknowledged and is gone.
    #[error(
        "{ledger}:{entry} was acknowledged and is gone: a disk lost it; restore that disk from a copy"
    )]
    Missing {
        /// The ledger.
        ledger: LedgerId,
        /// The entry.
        entry: EntryId,
    },
    /// An operator accepted that no copy of it is left.
    #[error(
        "{ledger}:{entry} is lost, with all entries from {first} to {last}: an operator accepted that \
         (`egret ledger losses` says who and why); go on at entry {}", .last.next()
    )]
    Lost {
        /// The ledger.
        ledger: LedgerId,
        /// The entry.
        entry: EntryId,
        /// The first of those lost with it.
        first: EntryId,
        /// The last of them.
        last: EntryId,
    },
    /// No answer that proves anything.
    #[error("{ledger}:{entry} cannot be read: {why}")]
    Doubtful {
        /// The ledger.
        ledger: LedgerId,
        /// The entry.
        entry: EntryId,
        /// Why.
        why: Doubt,
    },
    /// The bookie could not say what may be read.
    #[error("{ledger}: {why}")]
    NoEnd {
        /// The ledger.
        ledger: LedgerId,
        /// Why.
        why: Doubt,
    },
}

/// A ledger could not be deleted; the tombstone, if written, stays and deletion may be tried again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeleteError {
    /// Its record could not be changed.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The bookie did not acknowledge.
    #[error("{ledger}: {why}")]
    Bookie {
        /// The ledger.
        ledger: LedgerId,
        /// Why.
        why: Doubt,
    },
}

macro_rules! meta {
    ($($error:ident),*) => {$(
        impl From<MetaError> for $error {
            fn from(error: MetaError) -> $error {
                $error::Record(RecordError::Meta(error))
            }
        }
    )*};
}
meta!(CreateError, CloseError, RecoverError, ReadError, DeleteError);

/// What a reply that was not hoped for is worth.
pub(crate) fn doubt(reply: Reply) -> Doubt {
    match reply {
        Reply::Refused(refusal) => Doubt::Refused(refusal),
        Reply::Unknown(unknown) => Doubt::Bookie(unknown),
        _ => Doubt::Protocol,
    }
}
