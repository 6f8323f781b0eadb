//! Which bookies there are, and the way to each.
//!
//! An address is no identity: whoever asks for the way names the incarnation it means, and a bookie
//! of another one answers [`Unknown::Incarnation`](crate::message::Unknown::Incarnation), which
//! proves nothing.

use std::fmt;
use std::sync::Arc;

use egret_schemas::BookieId;

use crate::ledger::Member;
use crate::ledger::repair::Standing;
use crate::message::Transport;

/// A bookie that takes new ledgers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Who it is.
    pub member: Member,
    /// What fails together with it; bookies of one rack are one risk. Empty: a rack of its own.
    pub rack: String,
}

/// The bookies a client can reach.
pub trait Bookies: Send + Sync + fmt::Debug {
    /// The way to a bookie. There is always one: that of a bookie that cannot be reached, or is not
    /// known, answers so, within the deadline of any request.
    fn transport(&self, member: Member) -> Arc<dyn Transport>;

    /// Those that take new ledgers now, in order of their names.
    fn candidates(&self) -> Vec<Candidate>;

    /// Whether the bookie says that it is there, by what hangs on its lease: with its directory, however
    /// little it answers.
    fn is_there(&self, member: Member) -> bool;

    /// What is known of a bookie that an ensemble names.
    fn standing(&self, member: Member) -> Standing {
        let candidates = self.candidates();
        match candidates.iter().find(|candidate| candidate.member.bookie == member.bookie) {
            Some(now) if now.member != member => Standing::Replaced { by: now.member.incarnation },
            _ => Standing::Present,
        }
    }

    /// Whether it was taken out, or has another directory: nothing there is ever asked for again.
    fn has_left(&self, member: Member) -> bool {
        matches!(self.standing(member), Standing::Replaced { .. })
    }
}

/// The one bookie of embedded mode.
#[derive(Debug, Clone)]
pub struct OneBookie {
    transport: Arc<dyn Transport>,
}

impl OneBookie {
    /// Every data directory has the same one.
    pub const ID: BookieId = BookieId(1);

    /// Over the way to it.
    pub fn new(transport: Arc<dyn Transport>) -> OneBookie {
        OneBookie { transport }
    }
}

impl Bookies for OneBookie {
    fn transport(&self, _member: Member) -> Arc<dyn Transport> {
        Arc::clone(&self.transport)
    }

    fn candidates(&self) -> Vec<Candidate> {
        let member = Member { bookie: OneBookie::ID, incarnation: self.transport.incarnation() };
        vec![Candidate { member, rack: String::new() }]
    }

    /// In this process, or not at all.
    fn is_there(&self, _member: Member) -> bool {
        true
    }
}
