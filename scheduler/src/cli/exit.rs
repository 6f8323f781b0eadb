//! Errors, and what the process ends with. Like errors end alike, whatever command meets them: which is
//! which is decided here alone, by `Ends`.

use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;

use egret_log::bookie::damage::FileError;
use egret_log::bookie::identity::IdentityError;
use egret_log::bookie::{self, CheckpointError};
use egret_log::client::error::RecordError;
use egret_log::client::loss::LossError;
use egret_log::client::{ReadError, RecoverError};
use egret_log::directory::{DirectoryError, HalvesError, OpenError};
use egret_log::disk::LockError;
use egret_log::metadata::MetaError;
use egret_log::registry::{NoState, RegistryError};
use egret_log::rpc::bookie::{ServeError, TlsError};
use egret_log_cluster::{ClusterError, MetadataUrlError, TlsFileError};

/// As the help has it.
pub(super) const TABLE: &str = "Exit codes:
  0  done, or nobody reads standard output any more
  1  failed: it was not done, or not wholly; after what is said was mended it may go better
  2  wrong usage: the command line, or a configuration file, cannot be meant
  3  refused: nothing was done, and the same question gets the same answer; or it was asked back, and the
     answer was no";

/// Why a command was not carried out.
#[derive(Debug, thiserror::Error)]
pub enum Exit {
    /// It did not work, or not wholly.
    #[error("{0}")]
    Failed(String),
    /// The question makes no sense.
    #[error("{0}")]
    Usage(String),
    /// The answer is no, and nothing was done.
    #[error("{0}")]
    Refused(String),
    /// Nobody reads what is written any more: a quiet end.
    #[error("standard output was closed")]
    Pipe,
}

/// What a command ends with.
pub type Done = Result<(), Exit>;

impl Exit {
    /// The same, and what else is to be said.
    #[must_use]
    pub(super) fn adding(self, more: impl fmt::Display) -> Exit {
        match self {
            Exit::Failed(said) => Exit::Failed(format!("{said}{more}")),
            Exit::Usage(said) => Exit::Usage(format!("{said}{more}")),
            Exit::Refused(said) => Exit::Refused(format!("{said}{more}")),
            Exit::Pipe => Exit::Pipe,
        }
    }

    /// The exit code.
    pub fn code(&self) -> u8 {
        match self {
            Exit::Pipe => 0,
            Exit::Failed(_) => 1,
            Exit::Usage(_) => 2,
            Exit::Refused(_) => 3,
        }
    }
}

/// How an error ends the process.
enum How {
    Failed,
    Usage,
    Refused,
}

/// An error that ends the process.
trait Ends: fmt::Display {
    /// How.
    fn how(&self) -> How;
}

impl<E: Ends> From<E> for Exit {
    fn from(error: E) -> Exit {
        let message = error.to_string();
        match error.how() {
            How::Failed => Exit::Failed(message),
            How::Usage => Exit::Usage(message),
            How::Refused => Exit::Refused(message),
        }
    }
}

impl From<io::Error> for Exit {
    fn from(error: io::Error) -> Exit {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Exit::Pipe,
            _ => Exit::Failed(error.to_string()),
        }
    }
}

impl Ends for DirectoryError {
    fn how(&self) -> How {
        match self {
            DirectoryError::Open(error) => error.how(),
            other if other.is_refusal() => How::Refused,
            _ => How::Failed,
        }
    }
}

impl Ends for OpenError {
    fn how(&self) -> How {
        match self {
            OpenError::Lock(error) => error.how(),
            OpenError::Bookie(error) => error.how(),
            OpenError::Halves(HalvesError::Strangers { .. }) => How::Refused,
            OpenError::Metadata(error) => error.how(),
            OpenError::Halves(_)
            | OpenError::Directory { .. }
            | OpenError::Streams(_)
            | OpenError::Serve(_) => How::Failed,
        }
    }
}

impl Ends for bookie::OpenError {
    fn how(&self) -> How {
        match self {
            bookie::OpenError::File(error) => error.how(),
            bookie::OpenError::Identity(error) => error.how(),
            bookie::OpenError::Damaged(_)
            | bookie::OpenError::Full(_)
            | bookie::OpenError::Io { .. } => How::Failed,
        }
    }
}

impl Ends for FileError {
    fn how(&self) -> How {
        match self {
            FileError::Damaged(_) | FileError::Io(_) => How::Failed,
            FileError::Version { .. } | FileError::Foreign { .. } => How::Refused,
        }
    }
}

impl Ends for IdentityError {
    fn how(&self) -> How {
        match self {
            IdentityError::File(error) => error.how(),
            // As any other file of it that is not there.
            IdentityError::Missing { .. } => How::Failed,
            IdentityError::Another { .. } | IdentityError::Shards { .. } => How::Refused,
        }
    }
}

impl Ends for CheckpointError {
    fn how(&self) -> How {
        How::Failed
    }
}

impl Ends for LockError {
    fn how(&self) -> How {
        match self {
            LockError::Held { .. } => How::Refused,
            LockError::Io { .. } => How::Failed,
        }
    }
}

impl Ends for MetadataUrlError {
    fn how(&self) -> How {
        match self {
            MetadataUrlError::Scheme { .. }
            | MetadataUrlError::Etcd { .. }
            | MetadataUrlError::Option { .. }
            | MetadataUrlError::Cluster { .. }
            | MetadataUrlError::Certificate { .. } => How::Usage,
            MetadataUrlError::NotBuilt => How::Refused,
            MetadataUrlError::Redb(error) => error.how(),
            MetadataUrlError::Store(error) => error.how(),
        }
    }
}

impl Ends for MetaError {
    fn how(&self) -> How {
        match self {
            MetaError::Refused { .. } => How::Refused,
            _ => How::Failed,
        }
    }
}

impl Ends for RegistryError {
    fn how(&self) -> How {
        match self {
            RegistryError::Metadata(error) => error.how(),
            RegistryError::Another { .. }
            | RegistryError::AnotherCluster { .. }
            | RegistryError::Up { .. }
            | RegistryError::Decommissioned { .. }
            | RegistryError::CalledBack { .. }
            | RegistryError::Nobody { .. } => How::Refused,
            RegistryError::Decode { .. }
            | RegistryError::Contended { .. }
            | RegistryError::ClusterContended => How::Failed,
        }
    }
}

impl Ends for NoState {
    fn how(&self) -> How {
        How::Usage
    }
}

impl Ends for ServeError {
    fn how(&self) -> How {
        match self {
            ServeError::ClusterName { .. } => How::Usage,
            ServeError::Plain { .. } | ServeError::Certificate { .. } => How::Refused,
            ServeError::Listen { .. } | ServeError::Thread(_) => How::Failed,
        }
    }
}

impl Ends for TlsError {
    fn how(&self) -> How {
        match self {
            TlsError::Pem { .. } => How::Usage,
            TlsError::Refused(_) | TlsError::Nameless => How::Refused,
        }
    }
}

impl Ends for TlsFileError {
    fn how(&self) -> How {
        match self {
            TlsFileError::Read { .. } => How::Usage,
            TlsFileError::Tls(error) => error.how(),
            TlsFileError::Another(_) | TlsFileError::Useless(_) => How::Refused,
        }
    }
}

impl Ends for ClusterError {
    fn how(&self) -> How {
        match self {
            ClusterError::Read { .. } | ClusterError::File { .. } => How::Usage,
            ClusterError::Tls(error) => error.how(),
            ClusterError::Metadata(error) => error.how(),
            ClusterError::Registry(error) => error.how(),
            ClusterError::Thread(_) => How::Failed,
        }
    }
}

impl Ends for RecordError {
    fn how(&self) -> How {
        match self {
            RecordError::Meta(error) => error.how(),
            RecordError::NoLedger { .. } | RecordError::Transition { .. } => How::Refused,
            RecordError::Decode { .. } => How::Failed,
        }
    }
}

impl Ends for ReadError {
    fn how(&self) -> How {
        match self {
            ReadError::Record(error) => error.how(),
            ReadError::Beyond { .. } | ReadError::Lost { .. } => How::Refused,
            ReadError::Missing { .. } | ReadError::Doubtful { .. } | ReadError::NoEnd { .. } => {
                How::Failed
            }
        }
    }
}

impl Ends for RecoverError {
    fn how(&self) -> How {
        match self {
            RecoverError::Record(error) => error.how(),
            RecoverError::Owned { .. } => How::Refused,
            RecoverError::Recovery { .. } | RecoverError::CommittedButAbsent { .. } => How::Failed,
        }
    }
}

impl Ends for LossError {
    fn how(&self) -> How {
        match self {
            LossError::Record(error) => error.how(),
            LossError::Recover(error) => error.how(),
            // As whatever else a bookie is needed for that does not answer.
            LossError::Unheard { .. } | LossError::NotDecided { .. } => How::Failed,
            LossError::NothingLost { .. }
            | LossError::Answers { .. }
            | LossError::ShutOut { .. }
            | LossError::There { .. }
            | LossError::NobodyGone { .. }
            | LossError::Deleting { .. } => How::Refused,
        }
    }
}

/// Says what a command was done in spite of.
pub(super) fn warn(what: impl fmt::Display) {
    say(format_args!("egret: warning: {what}"));
}

/// Where nobody can be told, nobody is: `eprintln!` would panic.
fn say(what: fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{what}");
}

/// Says what went wrong, and gives the code.
pub(super) fn end(done: Done) -> ExitCode {
    let Err(exit) = done else { return ExitCode::SUCCESS };
    if !matches!(exit, Exit::Pipe) {
        say(format_args!("egret: {exit}"));
    }
    ExitCode::from(exit.code())
}
