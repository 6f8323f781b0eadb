//! What an error of etcd means for who asked.

use std::error::Error as _;

use egret_log::caps;
use egret_log::metadata::{LeaseId, MetaError};
use etcd_client::Error;
use tonic::Code;

/// What became of a request that was not answered with what it asked for.
#[derive(Debug)]
pub(crate) enum Answer {
    /// It never left: sending it again cannot repeat it.
    NotSent(String),
    /// It may have been carried out, or may still be.
    Lost(String),
    /// The revision asked for is no longer kept.
    Compacted,
    /// The lease it names is not there.
    NoLease,
    /// It was refused: nothing happened.
    No(MetaError),
}

impl Answer {
    pub(crate) fn of(error: &Error) -> Answer {
        match error {
            Error::GRpcStatus(status) => of_status(status),
            Error::LeaseKeepAliveError(why) if why.contains("not found") => Answer::NoLease,
            Error::InvalidArgs(_)
            | Error::InvalidUri(_)
            | Error::InvalidMetadataValue(_)
            | Error::EndpointError(_)
            | Error::EndpointsNotManaged => Answer::No(refused(&error.to_string())),
            other => Answer::Lost(other.to_string()),
        }
    }

    /// The error of a call that has no further use for details.
    pub(crate) fn into_error(self, at: &str, lease: Option<LeaseId>) -> MetaError {
        match (self, lease) {
            (Answer::NotSent(why) | Answer::Lost(why), _) => {
                MetaError::Unreachable { at: at.to_owned(), why }
            }
            (Answer::NoLease, Some(lease)) => MetaError::NoLease { lease },
            (Answer::NoLease, None) => refused("a lease is not there"),
            (Answer::Compacted, _) => refused("what was asked for is no longer kept"),
            (Answer::No(error), _) => error,
        }
    }
}

fn of_status(status: &tonic::Status) -> Answer {
    let said = status.message();
    let mut cause = status.source();
    while let Some(this) = cause {
        if this.is::<tonic::ConnectError>() {
            return Answer::NotSent(innermost(this));
        }
        cause = this.source();
    }
    match status.code() {
        Code::NotFound if said.contains("lease") => Answer::NoLease,
        Code::OutOfRange if said.contains("compacted") => Answer::Compacted,
        Code::InvalidArgument if said.contains("too many operations") => {
            let what = "so many operations in a transaction unless etcd is started with a higher --max-txn-ops".to_owned();
            Answer::No(MetaError::TooLarge { what, max: 128 })
        }
        Code::InvalidArgument if said.contains("too large") => {
            let what = "so many bytes in a transaction unless etcd is started with a higher --max-request-bytes".to_owned();
            Answer::No(MetaError::TooLarge { what, max: caps::META_TXN_BYTES_MAX })
        }
        Code::ResourceExhausted if said.contains("space") => Answer::No(refused(&format!(
            "{said}: compact and defragment etcd, disarm its alarm, and give it a higher --quota-backend-bytes"
        ))),
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::Unauthenticated
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::ResourceExhausted
        | Code::Unimplemented => Answer::No(refused(said)),
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss => Answer::Lost(said.to_owned()),
    }
}

fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut this = error;
    while let Some(cause) = this.source() {
        this = cause;
    }
    this.to_string()
}

fn refused(why: &str) -> MetaError {
    MetaError::Refused { why: why.to_owned() }
}
