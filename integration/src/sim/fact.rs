//! What oracles are told: facts of the world, as they happen, from every place at once.

use bytes::Bytes;
use egret_log::ledger::LedgerMetadata;
use egret_log::message::{Reply, Request};
use egret_schemas::{EntryId, Incarnation, LedgerId, Term};

/// One thing that happened.
#[derive(Debug, Clone)]
pub(crate) enum Fact {
    /// A bookie answered; whether anyone hears it is another matter.
    Answered { by: Incarnation, request: Request, reply: Reply },
    /// A bookie started.
    Started { bookie: Incarnation },
    /// A bookie refused to start, though power stayed on.
    OpenRefused { bookie: Incarnation, why: String },
    /// A byte on a bookie's disk changed: what it has may be damaged.
    Suspect { bookie: Incarnation },
    /// A sync failed on a bookie's disk.
    SyncFailed { bookie: Incarnation },
    /// A scrub found damage.
    ScrubFound { bookie: Incarnation, why: String },
    /// A bookie's disk is gone.
    Destroyed { bookie: Incarnation },
    /// The metadata store changed a ledger's record.
    Recorded { ledger: LedgerId, after: Option<LedgerMetadata> },
    /// The owner's commit is in the metadata store.
    Committed { ledger: LedgerId, upto: EntryId },
    /// A writer gave an entry its number.
    Appended { ledger: LedgerId, entry: EntryId, payload: Bytes },
    /// A writer's caller was told that the entry is there for ever.
    Confirmed { ledger: LedgerId, term: Term, entry: EntryId },
    /// A client is about to ask a bookie to forget a ledger.
    DeleteAsked { ledger: LedgerId },
    /// A reader read an entry that readers may see.
    Read { ledger: LedgerId, entry: EntryId, payload: Bytes },
    /// A reader, with the ledger's record read after it knew the entry visible, was told by every
    /// replica that there is no such entry.
    ReadMissing { ledger: LedgerId, entry: EntryId },
}
