//! How far a ledger may be read.
//!
//! Of a closed one the record says it. Of an open one its last bookies know it, and each only what its writer
//! told it: whatever one says is a lower bound. As many as every ack quorum has one of know all there is to
//! know; fewer may have been away while entries were acknowledged without them. That a bookie was never told
//! of the ledger is an answer only among so many: alone it would make nothing of everything the others have.

use egret_schemas::{EntryId, LedgerId};

use super::error::{ReadError, RecordError, Unheard, doubt};
use super::fan_out;
use super::ledgers::Ledgers;
use crate::ledger::reader::Doubt;
use crate::ledger::{LedgerMetadata, LedgerState, Member};
use crate::message::{Refusal, Reply, Request};

/// How far a ledger may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LedgerEnd {
    /// It may grow.
    Open {
        /// The last entry readers may see now.
        lac: Option<EntryId>,
    },
    /// It is immutable.
    Closed {
        /// Its last entry.
        last: Option<EntryId>,
    },
}

impl LedgerEnd {
    /// The last entry readers may see.
    pub fn readable(self) -> Option<EntryId> {
        match self {
            LedgerEnd::Open { lac: end } | LedgerEnd::Closed { last: end } => end,
        }
    }
}

/// What is known of how far a ledger may be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownEnd {
    /// At least so far.
    pub end: LedgerEnd,
    /// Too few bookies answered: there may be more.
    pub doubt: Option<ReadError>,
    /// Not one of the bookies that have it answered.
    pub unheard: bool,
}

impl KnownEnd {
    /// So far at least: enough for who follows what is appended.
    ///
    /// # Errors
    /// When nobody who has the ledger was heard, and too few who have it not.
    pub fn at_least(self) -> Result<LedgerEnd, ReadError> {
        match self.doubt {
            Some(doubt) if self.unheard => Err(doubt),
            _ => Ok(self.end),
        }
    }

    /// So far, and no farther.
    ///
    /// # Errors
    /// When too few bookies were heard to know that.
    pub fn whole(self) -> Result<LedgerEnd, ReadError> {
        self.doubt.map_or(Ok(self.end), Err)
    }
}

impl Ledgers {
    /// How far the ledger may be read now, at least.
    ///
    /// # Errors
    /// As [`KnownEnd::at_least`].
    pub fn end(&self, id: LedgerId) -> Result<LedgerEnd, ReadError> {
        self.known_end(id)?.at_least()
    }

    /// How far the ledger may be read now, and who could not be asked.
    ///
    /// # Errors
    /// When its record cannot be read.
    pub fn known_end(&self, id: LedgerId) -> Result<KnownEnd, ReadError> {
        let metadata = self.describe(id)?;
        match metadata.state {
            LedgerState::Closed { last } => {
                let end = LedgerEnd::Closed { last };
                Ok(KnownEnd { end, doubt: None, unheard: false })
            }
            LedgerState::Deleting => Err(RecordError::NoLedger { ledger: id }.into()),
            LedgerState::Open | LedgerState::InRecovery => Ok(self.lac(id, &metadata)),
        }
    }

    /// What the bookies know of how far an open ledger may be read.
    fn lac(&self, id: LedgerId, metadata: &LedgerMetadata) -> KnownEnd {
        let (first, ensemble) = metadata.last_fragment();
        let question = |&member: &Member| {
            let way = self.bookies().transport(member);
            (way, member.incarnation, Request::ReadLac { ledger: id })
        };
        let quorum = metadata.quorum;
        // As many as every ack quorum has one of.
        let enough = quorum.ensemble() - quorum.ack() + 1;
        let worth =
            |reply: &Reply| matches!(reply, Reply::Lac { .. } | Reply::Refused(Refusal::NoLedger));
        let members = ensemble.members();
        let replies = fan_out::ask(members.iter().map(question).collect(), enough, worth);
        // A fragment begins behind what was acknowledged.
        let mut lac = if metadata.kind.is_transactional() { None } else { first.before() };
        let (mut heard, mut knows, mut doubts) = (0, false, Vec::new());
        for (member, reply) in members.iter().zip(replies) {
            match reply {
                None => {}
                Some(Reply::Lac { lac: known, .. }) => {
                    (heard, knows) = (heard + 1, true);
                    lac = lac.max(known);
                }
                // It was not told of the ledger yet, or was away when the others were.
                Some(Reply::Refused(Refusal::NoLedger)) => {
                    heard += 1;
                    doubts.push((member.bookie, Doubt::Refused(Refusal::NoLedger)));
                }
                Some(other) => doubts.push((member.bookie, doubt(other))),
            }
        }
        let known = lac;
        let no_end = || ReadError::NoEnd { ledger: id, known, unheard: Unheard::new(doubts) };
        let doubt = (heard < enough).then(no_end);
        KnownEnd { end: LedgerEnd::Open { lac }, doubt, unheard: !knows }
    }
}
