//! What a metadata store says when it does not answer: its error, field by field.

use crate::generated::metadata_capnp::{Kind, failure};
use crate::segment::{HeaderError, text};

/// An error of the store. What each means, and what it leaves open, is said where stores are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetaFailure {
    /// Bytes on the disk are not those that were written.
    Damaged {
        /// The file.
        file: String,
        /// Where in it.
        offset: u64,
        /// What was found.
        what: String,
    },
    /// A record makes no sense.
    Record {
        /// The file.
        file: String,
        /// Which record of it.
        record: String,
        /// What was found.
        what: String,
    },
    /// The file was written by another release.
    Version {
        /// The file.
        file: String,
        /// Its version.
        found: u16,
        /// The version known to the holder.
        known: u16,
    },
    /// The file could not be opened or read.
    Io {
        /// The file.
        file: String,
        /// The system's words.
        why: String,
    },
    /// A commit failed, and nothing is answered until a restart.
    Poisoned {
        /// The file.
        file: String,
        /// The first failure.
        why: String,
    },
    /// The store was closed.
    Closed,
    /// The transaction names one key twice.
    TwiceInTxn {
        /// The key.
        key: String,
    },
    /// More than the store takes.
    TooLarge {
        /// What was asked for.
        what: String,
        /// What is taken.
        max: u64,
    },
    /// The lease has ended.
    NoLease {
        /// The lease.
        lease: u64,
    },
    /// The answer is no.
    Refused {
        /// Its words.
        why: String,
    },
    /// The store behind the holder cannot be reached.
    Unreachable {
        /// Where it is looked for.
        at: String,
        /// The system's words.
        why: String,
    },
    /// The store behind the holder did not answer in time.
    Timeout {
        /// Where it is looked for.
        at: String,
        /// How long was waited.
        waited_ms: u64,
    },
    /// Who held the store has ended.
    Gone {
        /// What it held.
        at: String,
    },
}

impl MetaFailure {
    pub(super) fn fill(&self, mut to: failure::Builder<'_>) {
        use MetaFailure as F;
        let (kind, subject, why) = match self {
            F::Damaged { file, what, .. } => (Kind::Damaged, file.as_str(), what.as_str()),
            F::Record { file, what, .. } => (Kind::Record, file.as_str(), what.as_str()),
            F::Version { file, .. } => (Kind::Version, file.as_str(), ""),
            F::Io { file, why } => (Kind::Io, file.as_str(), why.as_str()),
            F::Poisoned { file, why } => (Kind::Poisoned, file.as_str(), why.as_str()),
            F::Closed => (Kind::Closed, "", ""),
            F::TwiceInTxn { key } => (Kind::TwiceInTxn, key.as_str(), ""),
            F::TooLarge { what, .. } => (Kind::TooLarge, what.as_str(), ""),
            F::NoLease { .. } => (Kind::NoLease, "", ""),
            F::Refused { why } => (Kind::Refused, "", why.as_str()),
            F::Unreachable { at, why } => (Kind::Unreachable, at.as_str(), why.as_str()),
            F::Timeout { at, .. } => (Kind::Timeout, at.as_str(), ""),
            F::Gone { at } => (Kind::Gone, at.as_str(), ""),
        };
        to.set_kind(kind);
        to.set_subject(subject);
        to.set_why(why);
        match self {
            F::Damaged { offset: at, .. }
            | F::TooLarge { max: at, .. }
            | F::NoLease { lease: at }
            | F::Timeout { waited_ms: at, .. } => to.set_at(*at),
            F::Version { found, known, .. } => {
                to.set_at(u64::from(*found));
                to.set_known(*known);
            }
            F::Record { record, .. } => to.set_record(record),
            _ => {}
        }
    }

    pub(super) fn take(from: failure::Reader<'_>) -> Result<MetaFailure, HeaderError> {
        let subject = || text(from.get_subject()?);
        let why = || text(from.get_why()?);
        let at = from.get_at();
        Ok(match from.get_kind()? {
            Kind::Damaged => MetaFailure::Damaged { file: subject()?, offset: at, what: why()? },
            Kind::Record => {
                let record = text(from.get_record()?)?;
                MetaFailure::Record { file: subject()?, record, what: why()? }
            }
            Kind::Version => {
                let found = u16::try_from(at).map_err(|_| HeaderError(format!("version {at}")))?;
                MetaFailure::Version { file: subject()?, found, known: from.get_known() }
            }
            Kind::Io => MetaFailure::Io { file: subject()?, why: why()? },
            Kind::Poisoned => MetaFailure::Poisoned { file: subject()?, why: why()? },
            Kind::Closed => MetaFailure::Closed,
            Kind::TwiceInTxn => MetaFailure::TwiceInTxn { key: subject()? },
            Kind::TooLarge => MetaFailure::TooLarge { what: subject()?, max: at },
            Kind::NoLease => MetaFailure::NoLease { lease: at },
            Kind::Refused => MetaFailure::Refused { why: why()? },
            Kind::Unreachable => MetaFailure::Unreachable { at: subject()?, why: why()? },
            Kind::Timeout => MetaFailure::Timeout { at: subject()?, waited_ms: at },
            Kind::Gone => MetaFailure::Gone { at: subject()? },
        })
    }
}
