//! What can go wrong, operation by operation.

use std::fmt;

use egret_schemas::bytes::DecodeError;
use egret_schemas::{BookieId, EntryId, LedgerId};

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
    #[error("{ledger}: {why}{}", .why.cure(*.ledger))]
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
        "{ledger}:{entry} was acknowledged and is gone: a disk lost it; put that disk back as it was \
         lost, or, in a cluster, accept the loss: `egret ledger accept-loss {ledger}`"
    )]
    Missing {
        /// The ledger.
        ledger: LedgerId,
        /// The entry.
        entry: EntryId,
    },
    /// An operator accepted that no copy of it is left.
    #[error("{}; go on at entry {}", lost(*.ledger, *.entry, (*.first, *.last)), .last.next())]
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
    #[error("{ledger}:{entry} cannot be read: {unheard}{}", .unheard.cure(*.ledger))]
    Doubtful {
        /// The ledger.
        ledger: LedgerId,
        /// The entry.
        entry: EntryId,
        /// Who did not show it, and why.
        unheard: Unheard,
    },
    /// Too few bookies said what may be read.
    #[error(
        "how far {ledger} may be read is not known{}: {unheard}{}",
        match known { Some(known) => format!(" behind entry {known}"), None => String::new() },
        .unheard.cure(*.ledger)
    )]
    NoEnd {
        /// The ledger.
        ledger: LedgerId,
        /// Up to here it may be read all the same.
        known: Option<EntryId>,
        /// Who did not say it, and why.
        unheard: Unheard,
    },
}

/// That entries are lost, and who knows more; `range` is the first and the last of them.
pub(crate) fn lost(ledger: LedgerId, entry: EntryId, (first, last): (EntryId, EntryId)) -> String {
    format!(
        "{ledger}:{entry} is lost, with all entries from {first} to {last}: an operator accepted that \
         (`egret ledger losses` says who and why)"
    )
}

/// Bookies that were asked and did not give what was asked for, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unheard(Vec<(BookieId, Doubt)>);

impl Unheard {
    /// In the order of bookies, whoever answered first.
    pub(super) fn new(mut unheard: Vec<(BookieId, Doubt)>) -> Unheard {
        unheard.sort_by_key(|(bookie, _)| *bookie);
        Unheard(unheard)
    }

    /// What each of them said.
    pub fn reasons(&self) -> impl Iterator<Item = &Doubt> {
        self.0.iter().map(|(_, why)| why)
    }

    /// What to do about it, to be said behind it: nothing beyond what it says itself, unless somebody may
    /// be away.
    fn cure(&self, ledger: LedgerId) -> String {
        let away = || self.0.iter().map(|(_, why)| why).filter(|why| why.is_away());
        let turned_away = |why: &Doubt| matches!(why, Doubt::Bookie(Unknown::TurnedAway { .. }));
        match away().next() {
            None => String::new(),
            // They are there: nothing is lost.
            Some(_) if away().all(turned_away) => {
                "; have them let this process in: they are there, and so is what \
                                                they have"
                    .to_owned()
            }
            Some(_) => cure(ledger),
        }
    }

    /// Whether one of them says that the ledger was deleted, or all that they never had it.
    pub(crate) fn is_gone(&self) -> bool {
        let is = |why: &Doubt, refusal| matches!(why, Doubt::Refused(held) if *held == refusal);
        self.0.iter().any(|(_, why)| is(why, Refusal::Deleted))
            || (!self.0.is_empty() && self.0.iter().all(|(_, why)| is(why, Refusal::NoLedger)))
    }
}

impl fmt::Display for Unheard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (bookie, why)) in self.0.iter().enumerate() {
            let between = if index > 0 { ", and " } else { "" };
            // Some reasons begin with the bookie and its address.
            match why.to_string() {
                named if named.starts_with(&format!("{bookie} ")) => write!(f, "{between}{named}")?,
                why => write!(f, "{between}{bookie} says: {why}")?,
            }
        }
        Ok(())
    }
}

/// What to do when bookies are away that a ledger needs.
fn cure(ledger: LedgerId) -> String {
    format!(
        "; start or mend what does not answer; where a disk is gone for good, `egret ledger accept-loss \
         {ledger}` says what would be lost with it"
    )
}

/// A ledger could not be deleted; the tombstone, if written, stays and deletion may be tried again.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DeleteError {
    /// Its record could not be changed.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Not all of its bookies acknowledged.
    #[error("{ledger} is not deleted everywhere: {why}; it is tried again by and by")]
    Bookie {
        /// The ledger.
        ledger: LedgerId,
        /// Which did not, and why.
        why: Unheard,
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

impl RecoveryFailure {
    /// What to do about it, to be said behind it.
    fn cure(&self, ledger: LedgerId) -> String {
        match self {
            RecoveryFailure::NotFenced { why } | RecoveryFailure::Undecided { why, .. }
                if why.is_away() =>
            {
                cure(ledger)
            }
            _ => String::new(),
        }
    }
}

/// What a reply that was not hoped for is worth.
pub(crate) fn doubt(reply: Reply) -> Doubt {
    match reply {
        Reply::Refused(refusal) => Doubt::Refused(refusal),
        Reply::Unknown(unknown) => Doubt::Bookie(unknown),
        _ => Doubt::Protocol,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whom bookies turned away was told what to do where disks are gone.
    #[test]
    fn what_to_do_about_bookies_that_are_there_is_nothing_about_lost_disks() {
        let (to, why) = ("B1 at b1:7400".to_owned(), "no".to_owned());
        let turned = Doubt::Bookie(Unknown::TurnedAway { to: to.clone(), why: why.clone() });
        let gone = Doubt::Bookie(Unknown::Unreachable { to, why });
        let refused = Doubt::Refused(Refusal::NoLedger);
        let cure = |doubts: &[&Doubt]| {
            let of = |(n, doubt): (u64, &&Doubt)| (BookieId(n), (*doubt).clone());
            Unheard::new((1..).zip(doubts).map(of).collect()).cure(LedgerId(7))
        };
        assert_eq!(cure(&[&refused]), "");
        let let_in = cure(&[&turned, &refused, &turned]);
        assert!(let_in.starts_with("; have them let this process in"), "{let_in}");
        assert!(!let_in.contains("accept-loss"), "{let_in}");
        assert!(cure(&[&turned, &gone]).contains("`egret ledger accept-loss L7`"));
    }
}
