//! What a client asks of a bookie and what it answers, the same in one process and over a socket.
//!
//! Answers to reads are three-valued: an [`Reply::Entry`], a [`Reply::NoEntry`] that is proof, or a
//! [`Reply::Unknown`] that proves nothing. A refusal is definite: nothing was written.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use egret_schemas::bookie::Role;
use egret_schemas::{EntryId, Incarnation, LedgerId, Term};

/// A request to one bookie.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Request {
    /// Creates a ledger. Adds never do.
    Create {
        /// The ledger, never used before.
        ledger: LedgerId,
        /// The creator's term.
        term: Term,
        /// Whether readers are bounded by a published position instead of the last confirmed add.
        transactional: bool,
        /// Whether other bookies have copies: what this one loses can then be had from them.
        replicated: bool,
    },
    /// Stores one entry; answered when it is durable.
    Add {
        /// The ledger.
        ledger: LedgerId,
        /// The entry's number.
        entry: EntryId,
        /// The writer's term.
        term: Term,
        /// What readers may see, as the writer knew it when it sent this.
        lac: Option<EntryId>,
        /// [`entry_crc`] as the client computed it.
        crc: u32,
        /// Whether recovery or repair sends it, who had the entry from another bookie. Taken where
        /// a writer's own add is not.
        copy: bool,
        /// The entry's bytes.
        payload: Bytes,
    },
    /// Reads one entry. With `fence`, raises the ledger's term first: a recovery read.
    Read {
        /// The ledger.
        ledger: LedgerId,
        /// The entry's number.
        entry: EntryId,
        /// The recoverer's term.
        fence: Option<Term>,
    },
    /// Reads entries in a row, as many as are here and fit: at least the first, if it is here; else
    /// answered as a read of it.
    ReadRange {
        /// The ledger.
        ledger: LedgerId,
        /// The first entry.
        from: EntryId,
        /// How many at most; a bookie's own limit is
        /// [`READ_ENTRIES_MAX`](crate::caps::READ_ENTRIES_MAX).
        entries_max: u32,
        /// Bytes at most, but for the first; a bookie's own limit is
        /// [`READ_BYTES_MAX`](crate::caps::READ_BYTES_MAX).
        bytes_max: u32,
    },
    /// Raises the ledger's term, so that lower ones are refused for ever.
    Fence {
        /// The ledger, known here or not.
        ledger: LedgerId,
        /// The new term.
        term: Term,
    },
    /// Tells what readers may see, when no add will carry it soon. Not durable by itself.
    WriteLac {
        /// The ledger.
        ledger: LedgerId,
        /// The writer's term.
        term: Term,
        /// The last entry readers may see.
        lac: EntryId,
    },
    /// Asks what readers may see.
    ReadLac {
        /// The ledger.
        ledger: LedgerId,
    },
    /// Ends a ledger's limbo: it was closed, and all its entries that belong here are here again.
    ClearLimbo {
        /// The ledger.
        ledger: LedgerId,
        /// Its term, as its closed record has it.
        term: Term,
    },
    /// Tells that no ledger numbered `below` or higher had been created when the bookie last lost
    /// something: it never had those it does not know. Zero when every lower one was cleared too.
    LimboBound {
        /// The lowest number that was not taken.
        below: LedgerId,
    },
    /// Forgets a ledger for ever; its id stays refused.
    Delete {
        /// The ledger.
        ledger: LedgerId,
    },
}

impl Request {
    /// The ledger it is about; `None` when it is about all of a bookie.
    pub fn ledger(&self) -> Option<LedgerId> {
        match self {
            Request::Create { ledger, .. }
            | Request::Add { ledger, .. }
            | Request::Read { ledger, .. }
            | Request::ReadRange { ledger, .. }
            | Request::Fence { ledger, .. }
            | Request::WriteLac { ledger, .. }
            | Request::ReadLac { ledger }
            | Request::ClearLimbo { ledger, .. }
            | Request::Delete { ledger } => Some(*ledger),
            Request::LimboBound { .. } => None,
        }
    }
}

/// A bookie's answer.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Reply {
    /// Done and durable (a `WriteLac`: taken note of).
    Done,
    /// The entry asked for.
    Entry {
        /// Its number.
        entry: EntryId,
        /// The term it was written under.
        term: Term,
        /// Its checksum, as stored.
        crc: u32,
        /// What readers may see, as this bookie knows.
        lac: Option<EntryId>,
        /// Its bytes.
        payload: Bytes,
    },
    /// The entries asked for, in a row from the first.
    Entries {
        /// What readers may see, as this bookie knows.
        lac: Option<EntryId>,
        /// At least one. Their bytes may share one buffer: copy what is kept for long.
        entries: Vec<RangeEntry>,
    },
    /// Proof that this bookie never acknowledged the entry, and, if the read fenced, never will.
    NoEntry {
        /// What readers may see, as this bookie knows.
        lac: Option<EntryId>,
    },
    /// The fence is durable.
    Fenced {
        /// What readers may see, as this bookie knows.
        lac: Option<EntryId>,
        /// The highest entry stored here.
        last: Option<EntryId>,
    },
    /// What readers may see.
    Lac {
        /// The last entry readers may see.
        lac: Option<EntryId>,
        /// The highest entry stored here.
        last: Option<EntryId>,
    },
    /// Definitely not done.
    Refused(Refusal),
    /// It may or may not have been done, or be there.
    Unknown(Unknown),
}

/// One entry of several.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RangeEntry {
    /// Its number.
    pub entry: EntryId,
    /// The term it was written under.
    pub term: Term,
    /// Its checksum, as stored.
    pub crc: u32,
    /// Its bytes.
    pub payload: Bytes,
}

/// Why a bookie definitely did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refusal {
    /// A newer owner raised the term.
    #[error("the ledger was fenced at {held}: a newer owner has taken over")]
    StaleTerm {
        /// The term the bookie holds.
        held: Term,
    },
    /// The ledger was never created here.
    #[error("the ledger was never created on this bookie")]
    NoLedger,
    /// The ledger was deleted.
    #[error("the ledger was deleted")]
    Deleted,
    /// The ledger is there already.
    #[error("the ledger exists already")]
    Exists,
    /// Another entry is stored under the same number.
    #[error("another entry is stored under this number")]
    Conflict,
    /// The bytes did not arrive as they were sent.
    #[error("the entry's checksum does not match its bytes")]
    BadCrc,
    /// The entry is larger than any may be.
    #[error("an entry of {bytes} bytes is over the limit of {max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The disk is nearly full; reads go on.
    #[error(
        "the disk of {dir} has {free} bytes left, too few to write on: free some space, then go on",
        dir = .dir.display()
    )]
    DiskFull {
        /// The bookie's directory.
        dir: PathBuf,
        /// Bytes left.
        free: u64,
    },
    /// The bookie takes no new ledgers and entries, on an operator's word; reads go on.
    #[error("the bookie is read-only: it takes nothing new until its operator says so")]
    ReadOnly,
    /// Too much is waiting.
    #[error("the bookie is overloaded: try again in {retry_after_ms} ms")]
    Overloaded {
        /// When to try again.
        retry_after_ms: u32,
    },
    /// The role of the client does not go as far.
    #[error("role {role} may not ask a bookie to {method}: use a certificate of a role that may")]
    NotAllowed {
        /// What the client is.
        role: Role,
        /// What it asked.
        method: String,
    },
}

/// Why an answer proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Unknown {
    /// A write or sync failed; nothing more is written until a restart.
    #[error(
        "the bookie stopped after a failed write ({why}): mend the disk, or free space on it, then start again"
    )]
    Poisoned {
        /// The first failure.
        why: String,
    },
    /// The medium returned something else than was written.
    #[error(
        "{}: damaged at byte {offset}: {what}: restore the whole directory from a copy; but in a cluster start the bookie on \
         an empty one with --replace, for an older copy would deny what came since", .file.display()
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where in it.
        offset: u64,
        /// What was found.
        what: String,
    },
    /// The request was for another life of this data directory.
    #[error("the request was for bookie incarnation {asked}, this one is {own}")]
    Incarnation {
        /// Whom it was for.
        asked: Incarnation,
        /// Who answered.
        own: Incarnation,
    },
    /// The bookie started after an unclean stop and may have lost what it acknowledged of this ledger;
    /// until that is settled from the other copies its word on what it lacks is worth nothing.
    #[error(
        "the bookie may have lost entries of this ledger when it stopped: its copies are being mended"
    )]
    Limbo,
    /// The bookie cannot be reached.
    #[error("{to} cannot be reached: {why}")]
    Unreachable {
        /// The bookie, and where it was looked for.
        to: String,
        /// What the system said.
        why: String,
    },
    /// Something answers where the bookie is looked for, and takes no request of this process: not its
    /// certificate or what it says of itself, say.
    #[error("{to} does not let this process in: {why}")]
    TurnedAway {
        /// The bookie, and where it was looked for.
        to: String,
        /// What it said, or what was found.
        why: String,
    },
    /// The bookie is closing.
    #[error("the bookie is closing")]
    Closing,
    /// No answer came in time.
    #[error("no answer within {ms} ms")]
    Deadline {
        /// The deadline.
        ms: u64,
    },
}

/// Where an answer goes. Called exactly once, on any thread; it must not block.
pub type ReplyTo = Box<dyn FnOnce(Reply) + Send>;

/// Called once, on any thread, when what it waits for may have come.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// The way to one bookie: in this process, or over a socket.
pub trait Transport: Send + Sync + fmt::Debug {
    /// Sends a request to the bookie of incarnation `to`.
    fn send(&self, to: Incarnation, request: Request, reply: ReplyTo);

    /// Sends a request and waits. The in-process bookie may write and sync on this very thread.
    fn call(&self, to: Incarnation, request: Request) -> Reply;

    /// The bookie this leads to.
    fn incarnation(&self) -> Incarnation;

    /// Calls `wake` once when the ledger's LAC is beyond `beyond`, or the ledger was fenced or
    /// deleted; at once if it is so already.
    fn watch_lac(&self, ledger: LedgerId, beyond: Option<EntryId>, wake: Wake);
}

/// CRC32C over ledger, entry and payload: what makes an entry that entry, on every bookie, for ever.
/// The term of the request is not in it, so a later term may copy the entry.
pub fn entry_crc(ledger: LedgerId, entry: EntryId, payload: &[u8]) -> u32 {
    let head = crc32c::crc32c(&ledger.0.to_le_bytes());
    let head = crc32c::crc32c_append(head, &entry.0.to_le_bytes());
    crc32c::crc32c_append(head, payload)
}
