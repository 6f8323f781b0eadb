//! Why a bookie did not do what was asked, or cannot tell.

use super::request::Role;
use crate::generated::bookie_capnp::{refusal, unknown};
use crate::ids::{Incarnation, Term};
use crate::segment::{HeaderError, halves, text, whole};

/// Why a bookie definitely did not do it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// A newer owner raised the term.
    StaleTerm {
        /// The term the bookie holds.
        held: Term,
    },
    /// The ledger was never created here.
    NoLedger,
    /// The ledger was deleted.
    Deleted,
    /// The ledger is there already.
    Exists,
    /// Another entry is stored under the same number.
    Conflict,
    /// The bytes did not arrive as they were sent.
    BadCrc,
    /// The entry is larger than any may be.
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The limit.
        max: u64,
    },
    /// The disk is nearly full.
    DiskFull {
        /// The bookie's directory.
        directory: String,
        /// Bytes left.
        free: u64,
    },
    /// Nothing new is taken, on an operator's word.
    ReadOnly,
    /// Too much is waiting.
    Overloaded {
        /// When to try again.
        retry_after_ms: u32,
    },
    /// The role may not ask this.
    NotAllowed {
        /// What the client is.
        role: Role,
        /// What it asked.
        method: String,
    },
}

/// Why an answer proves nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unknown {
    /// A write or sync failed.
    Poisoned {
        /// The first failure.
        why: String,
    },
    /// The medium returned something else than was written.
    Damaged {
        /// The file.
        file: String,
        /// Where in it.
        offset: u64,
        /// What was found.
        what: String,
    },
    /// The request was for another incarnation.
    Incarnation {
        /// Whom it was for.
        asked: Incarnation,
        /// Who answered.
        own: Incarnation,
    },
    /// The bookie may have lost entries of this ledger.
    Limbo,
    /// The bookie cannot be reached.
    Unreachable {
        /// The bookie, and where it was looked for.
        to: String,
        /// What the system said.
        why: String,
    },
    /// The bookie is closing.
    Closing,
    /// No answer came in time.
    Deadline {
        /// The deadline.
        ms: u64,
    },
}

impl Refusal {
    pub(super) fn fill(&self, mut to: refusal::Builder<'_>) {
        match self {
            Refusal::StaleTerm { held } => to.set_stale_term(held.0),
            Refusal::NoLedger => to.set_no_ledger(()),
            Refusal::Deleted => to.set_deleted(()),
            Refusal::Exists => to.set_exists(()),
            Refusal::Conflict => to.set_conflict(()),
            Refusal::BadCrc => to.set_bad_crc(()),
            Refusal::TooLarge { bytes, max } => {
                let mut to = to.init_too_large();
                to.set_bytes(*bytes);
                to.set_max(*max);
            }
            Refusal::DiskFull { directory, free } => {
                let mut to = to.init_disk_full();
                to.set_directory(directory);
                to.set_free(*free);
            }
            Refusal::ReadOnly => to.set_read_only(()),
            Refusal::Overloaded { retry_after_ms } => to.set_overloaded(*retry_after_ms),
            Refusal::NotAllowed { role, method } => {
                let mut to = to.init_not_allowed();
                to.set_role((*role).into());
                to.set_method(method);
            }
        }
    }

    pub(super) fn take(from: refusal::Reader<'_>) -> Result<Refusal, HeaderError> {
        Ok(match from.which()? {
            refusal::StaleTerm(held) => Refusal::StaleTerm { held: Term(held) },
            refusal::NoLedger(()) => Refusal::NoLedger,
            refusal::Deleted(()) => Refusal::Deleted,
            refusal::Exists(()) => Refusal::Exists,
            refusal::Conflict(()) => Refusal::Conflict,
            refusal::BadCrc(()) => Refusal::BadCrc,
            refusal::TooLarge(from) => {
                let from = from?;
                Refusal::TooLarge { bytes: from.get_bytes(), max: from.get_max() }
            }
            refusal::DiskFull(from) => {
                let from = from?;
                let directory = text(from.get_directory()?)?;
                Refusal::DiskFull { directory, free: from.get_free() }
            }
            refusal::ReadOnly(()) => Refusal::ReadOnly,
            refusal::Overloaded(retry_after_ms) => Refusal::Overloaded { retry_after_ms },
            refusal::NotAllowed(from) => {
                let from = from?;
                let method = text(from.get_method()?)?;
                Refusal::NotAllowed { role: from.get_role()?.into(), method }
            }
        })
    }
}

impl Unknown {
    pub(super) fn fill(&self, mut to: unknown::Builder<'_>) {
        match self {
            Unknown::Poisoned { why } => to.set_poisoned(why),
            Unknown::Damaged { file, offset, what } => {
                let mut to = to.init_damaged();
                to.set_file(file);
                to.set_offset(*offset);
                to.set_what(what);
            }
            Unknown::Incarnation { asked, own } => {
                let mut to = to.init_incarnation();
                let (low, high) = halves(*asked);
                to.set_asked_low(low);
                to.set_asked_high(high);
                let (low, high) = halves(*own);
                to.set_own_low(low);
                to.set_own_high(high);
            }
            Unknown::Limbo => to.set_limbo(()),
            Unknown::Unreachable { to: whom, why } => {
                let mut to = to.init_unreachable();
                to.set_to(whom);
                to.set_why(why);
            }
            Unknown::Closing => to.set_closing(()),
            Unknown::Deadline { ms } => to.set_deadline(*ms),
        }
    }

    pub(super) fn take(from: unknown::Reader<'_>) -> Result<Unknown, HeaderError> {
        Ok(match from.which()? {
            unknown::Poisoned(why) => Unknown::Poisoned { why: text(why?)? },
            unknown::Damaged(from) => {
                let from = from?;
                Unknown::Damaged {
                    file: text(from.get_file()?)?,
                    offset: from.get_offset(),
                    what: text(from.get_what()?)?,
                }
            }
            unknown::Incarnation(from) => {
                let from = from?;
                Unknown::Incarnation {
                    asked: whole(from.get_asked_low(), from.get_asked_high()),
                    own: whole(from.get_own_low(), from.get_own_high()),
                }
            }
            unknown::Limbo(()) => Unknown::Limbo,
            unknown::Unreachable(from) => {
                let from = from?;
                Unknown::Unreachable { to: text(from.get_to()?)?, why: text(from.get_why()?)? }
            }
            unknown::Closing(()) => Unknown::Closing,
            unknown::Deadline(ms) => Unknown::Deadline { ms },
        })
    }
}
