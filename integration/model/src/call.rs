//! A request under way: sent, answered, or waited for by nobody any more.
//!
//! The sender hears exactly one answer, as a transport promises; that may be that none came in time. The
//! request itself may then still arrive, at any later time, or never.

use bytes::Bytes;
use egret_log::ledger::Member;
use egret_log::message::{Reply, Request, entry_crc};
use egret_schemas::{EntryId, LedgerId, Term};

/// The one ledger there is.
pub const LEDGER: LedgerId = LedgerId(1);

/// Who waits for the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Who {
    /// The writer.
    Writer,
    /// One of the recoverers.
    Recoverer(u8),
}

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ask {
    /// To store an entry; its number decides its bytes.
    Add {
        /// The entry.
        entry: EntryId,
        /// What readers may see.
        lac: Option<EntryId>,
    },
    /// To shut out lower terms.
    Fence,
    /// To read an entry, and shut out lower terms.
    Read {
        /// The entry.
        entry: EntryId,
    },
}

/// How far it got.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// On its way there.
    Sent,
    /// Its answer is on the way back.
    Answered(Reply),
    /// It may still arrive; its answer interests nobody.
    Abandoned,
}

/// One request.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Call {
    /// Who waits.
    pub who: Who,
    /// The slot it was sent to.
    pub slot: usize,
    /// The bookie meant.
    pub to: Member,
    /// What a writer tells its sends apart by.
    pub era: u32,
    /// The sender's term.
    pub term: Term,
    /// What is asked for.
    pub ask: Ask,
    /// How far it got.
    pub stage: Stage,
}

/// The bytes of an entry: what the writer gives it, and nobody else may.
pub fn payload(entry: EntryId) -> Bytes {
    const BYTES: &[u8] = b"abcdefghijklmnop";
    let at = usize::try_from(entry.0).expect("a scope has a few entries");
    Bytes::from_static(&BYTES[at..=at])
}

impl Call {
    /// Its place among others: two that compare equal are the same request sent twice.
    pub fn key(&self) -> (Who, Ask, usize, Member, Term, bool) {
        let abandoned = self.stage == Stage::Abandoned;
        (self.who, self.ask, self.slot, self.to, self.term, abandoned)
    }

    /// What the bookie is sent.
    pub fn request(&self) -> Request {
        let (ledger, term) = (LEDGER, self.term);
        match self.ask {
            Ask::Add { entry, lac } => {
                let payload = payload(entry);
                let crc = entry_crc(ledger, entry, &payload);
                let copy = self.who != Who::Writer;
                Request::Add { ledger, entry, term, lac, crc, copy, payload }
            }
            Ask::Fence => Request::Fence { ledger, term },
            Ask::Read { entry } => Request::Read { ledger, entry, fence: Some(term) },
        }
    }
}
