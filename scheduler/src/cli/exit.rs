//! Errors, and what the process ends with. Like errors end alike, whatever command meets them: which is
//! which is decided by [`Ends`], for topology programs, too.

use std::fmt;
use std::io::{self, Write as _};
use std::process::ExitCode;

use egret_log_cluster::ends::{Ends, How};

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

    /// An end like this one, for a reason of which it is part.
    #[must_use]
    pub(super) fn saying(&self, what: String) -> Exit {
        match self {
            Exit::Failed(_) => Exit::Failed(what),
            Exit::Usage(_) => Exit::Usage(what),
            Exit::Refused(_) => Exit::Refused(what),
            Exit::Pipe => Exit::Pipe,
        }
    }

    /// The exit code.
    pub fn code(&self) -> u8 {
        let how = match self {
            Exit::Pipe => How::Pipe,
            Exit::Failed(_) => How::Failed,
            Exit::Usage(_) => How::Usage,
            Exit::Refused(_) => How::Refused,
        };
        how.code()
    }
}

impl<E: Ends> From<E> for Exit {
    fn from(error: E) -> Exit {
        let message = error.to_string();
        match error.how() {
            How::Pipe => Exit::Pipe,
            How::Failed => Exit::Failed(message),
            How::Usage => Exit::Usage(message),
            How::Refused => Exit::Refused(message),
        }
    }
}

/// Says what a command was done in spite of.
pub(super) fn warn(what: impl fmt::Display) {
    say(format_args!("egret: warning: {what}"));
}

/// Where nobody can be told, nobody is: `eprintln!` would panic.
pub(super) fn say(what: fmt::Arguments<'_>) {
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
