//! Errors, and what the process ends with: 0 done, 1 failed, 2 wrong usage, 3 refused.

use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;

use egret_log::directory::DirectoryError;
use egret_log::metadata::MetaError;
use egret_log::registry::RegistryError;
use egret_log_cluster::{ClusterError, MetadataUrlError, TlsFileError};

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

impl From<DirectoryError> for Exit {
    fn from(error: DirectoryError) -> Exit {
        let message = error.to_string();
        if error.is_refusal() { Exit::Refused(message) } else { Exit::Failed(message) }
    }
}

impl From<RegistryError> for Exit {
    fn from(error: RegistryError) -> Exit {
        let message = error.to_string();
        match error {
            RegistryError::Another { .. }
            | RegistryError::AnotherCluster { .. }
            | RegistryError::Decommissioned { .. }
            | RegistryError::Nobody { .. } => Exit::Refused(message),
            RegistryError::Metadata(why) => why.into(),
            RegistryError::Decode { .. }
            | RegistryError::Contended { .. }
            | RegistryError::ClusterContended => Exit::Failed(message),
        }
    }
}

impl From<MetaError> for Exit {
    fn from(error: MetaError) -> Exit {
        let message = error.to_string();
        match error {
            MetaError::Refused { .. } => Exit::Refused(message),
            _ => Exit::Failed(message),
        }
    }
}

impl From<TlsFileError> for Exit {
    fn from(error: TlsFileError) -> Exit {
        let message = error.to_string();
        match error {
            TlsFileError::Read { .. } => Exit::Usage(message),
            TlsFileError::Tls(_) | TlsFileError::Useless(_) => Exit::Refused(message),
        }
    }
}

impl From<MetadataUrlError> for Exit {
    fn from(error: MetadataUrlError) -> Exit {
        Exit::Refused(error.to_string())
    }
}

impl From<ClusterError> for Exit {
    fn from(error: ClusterError) -> Exit {
        let message = error.to_string();
        match error {
            ClusterError::Read { .. } | ClusterError::File { .. } => Exit::Usage(message),
            ClusterError::Tls(why) => why.into(),
            ClusterError::Metadata(why) => why.into(),
            ClusterError::Registry(why) => why.into(),
            ClusterError::Thread(_) => Exit::Failed(message),
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
