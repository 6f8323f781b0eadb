//! Errors of the log as a client is told them: a code for programs, the message for people.
//!
//! What is not told apart here is [`Code::Internal`], and its message says it.

use egret_schemas::stream::{Code, Failure, Outcome};

use crate::client::{AppendError as LedgerAppendError, ReadError as LedgerReadError};
use crate::ledger::reader::Doubt;
use crate::ledger::writer::WriterFailure;
use crate::message::{Refusal, Unknown};
use crate::outcome::Outcome as LogOutcome;
use crate::stream::error::{
    AppendError, CatalogError, CreateStreamError, OpenWriterError, ReadError, TruncateError,
    UseError,
};

/// A failure of this kind, with nothing done.
pub(super) fn failure(code: Code, message: impl ToString) -> Failure {
    Failure {
        code,
        message: message.to_string(),
        hint: String::new(),
        outcome: Outcome::Definite,
        position: None,
        retry_after_ms: 0,
    }
}

/// An error that a client is told.
pub(super) trait Told: std::error::Error {
    /// What kind it is.
    fn code(&self) -> Code;

    /// The whole of it, with nothing done.
    fn told(&self) -> Failure {
        failure(self.code(), self)
    }
}

impl Told for CatalogError {
    fn code(&self) -> Code {
        match self {
            CatalogError::NoStream { .. } => Code::NoStream,
            CatalogError::NoPartition { .. } => Code::NoPartition,
            CatalogError::TakenOver { .. } => Code::Fenced,
            CatalogError::Closed => Code::Closing,
            _ => Code::Internal,
        }
    }
}

impl Told for CreateStreamError {
    fn code(&self) -> Code {
        match self {
            CreateStreamError::Name(_) => Code::BadName,
            CreateStreamError::Partitions { .. }
            | CreateStreamError::NothingKept
            | CreateStreamError::OwnedRetention { .. } => Code::Refused,
            CreateStreamError::Exists { .. } => Code::Exists,
            CreateStreamError::Unfinished { why } => why.code(),
            CreateStreamError::Catalog(error) => error.code(),
        }
    }
}

impl Told for OpenWriterError {
    fn code(&self) -> Code {
        match self {
            OpenWriterError::Catalog(error) => error.code(),
            OpenWriterError::Owned { .. } | OpenWriterError::Format(_) => Code::Refused,
            OpenWriterError::Superseded { .. } => Code::Fenced,
            OpenWriterError::Read(error) => error.code(),
            _ => Code::Internal,
        }
    }
}

impl Told for AppendError {
    fn code(&self) -> Code {
        match self {
            AppendError::Open(error) => error.code(),
            AppendError::RecordTooLarge { .. } | AppendError::ProducerTooLarge { .. } => {
                Code::TooLarge
            }
            AppendError::TooManyProducers { .. } => Code::Refused,
            AppendError::Closed => Code::Closing,
            AppendError::Ledger(error) => of_ledger_append(error),
            _ => Code::Internal,
        }
    }

    fn told(&self) -> Failure {
        let outcome = match self.outcome() {
            LogOutcome::Definite => Outcome::Definite,
            LogOutcome::Unknown => Outcome::Unknown,
        };
        Failure { outcome, ..failure(self.code(), self) }
    }
}

impl Told for ReadError {
    fn code(&self) -> Code {
        match self {
            ReadError::Truncated { .. } => Code::Truncated,
            ReadError::NoSuchPosition { .. } => Code::Refused,
            ReadError::Catalog(error) => error.code(),
            ReadError::Ledger { why, .. } => of_ledger_read(why),
            ReadError::Format(_) => Code::Refused,
            ReadError::Decode { .. } => Code::Internal,
        }
    }

    fn told(&self) -> Failure {
        Failure { position: self.go_on(), ..failure(self.code(), self) }
    }
}

impl Told for TruncateError {
    fn code(&self) -> Code {
        match self {
            TruncateError::Catalog(error) => error.code(),
            TruncateError::BeyondEnd { .. }
            | TruncateError::Needed { .. }
            | TruncateError::Used { .. } => Code::Refused,
            TruncateError::Use(UseError::Catalog(error)) => error.code(),
            TruncateError::Use(UseError::TooMany { .. }) => Code::Refused,
            TruncateError::Read(error) => error.code(),
            TruncateError::Delete(_) => Code::Internal,
        }
    }
}

fn of_ledger_append(error: &LedgerAppendError) -> Code {
    match error {
        LedgerAppendError::TooLarge { .. } => Code::TooLarge,
        LedgerAppendError::Ended { why, .. } | LedgerAppendError::Failed { why, .. } => match why {
            WriterFailure::Fenced { .. } => Code::Fenced,
            WriterFailure::Refused(refusal) => of_refusal(refusal),
            WriterFailure::Unknown(unknown) => of_unknown(unknown),
            WriterFailure::Behind { .. } | WriterFailure::NotChanged { .. } => Code::Internal,
        },
    }
}

pub(super) fn of_ledger_read(error: &LedgerReadError) -> Code {
    match error {
        LedgerReadError::Missing { .. } | LedgerReadError::Lost { .. } => Code::Damaged,
        LedgerReadError::Doubtful { unheard, .. } | LedgerReadError::NoEnd { unheard, .. } => {
            // Of several the first that is more than `Internal`.
            let mut codes = unheard.reasons().map(of_doubt);
            codes.find(|code| *code != Code::Internal).unwrap_or(Code::Internal)
        }
        _ => Code::Internal,
    }
}

fn of_doubt(why: &Doubt) -> Code {
    match why {
        Doubt::Checksum { .. } => Code::Damaged,
        Doubt::Bookie(unknown) => of_unknown(unknown),
        Doubt::Refused(refusal) => of_refusal(refusal),
        Doubt::Protocol => Code::Internal,
    }
}

fn of_refusal(refusal: &Refusal) -> Code {
    match refusal {
        Refusal::DiskFull { .. } => Code::DiskFull,
        Refusal::Overloaded { .. } => Code::Overloaded,
        Refusal::TooLarge { .. } => Code::TooLarge,
        Refusal::StaleTerm { .. } => Code::Fenced,
        _ => Code::Internal,
    }
}

fn of_unknown(unknown: &Unknown) -> Code {
    match unknown {
        Unknown::Damaged { .. } => Code::Damaged,
        Unknown::Closing => Code::Closing,
        _ => Code::Internal,
    }
}
