//! What is wrong with a file, all of it, and where.

use std::fmt;
use std::io;
use std::path::PathBuf;

use crate::node::At;

/// How many faults are said: what comes behind so many is of the same kind, or follows from them.
const SAID_MAX: usize = 20;

/// How many faults are looked for: what each of them may have meant is looked up among all there is, so a file full of
/// them would be looked at for as long as it likes.
const LOOKED_FOR_MAX: usize = 100;

/// Whether so much is wrong that no more is looked for.
pub(crate) fn is_enough(faults: &[Fault]) -> bool {
    faults.len() >= LOOKED_FOR_MAX
}

/// One thing that is wrong with a file, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The line, from 1.
    pub line: usize,
    /// The character of the line, from 1.
    pub column: usize,
    /// What is wrong, and what to do.
    pub message: String,
}

impl Fault {
    pub(crate) fn new(at: At, message: impl Into<String>) -> Fault {
        Fault { line: at.line, column: at.column, message: message.into() }
    }
}

/// A topology that cannot be made of a file. Every fault is said as `FILE:LINE:COLUMN: MESSAGE`, a line each.
#[derive(Debug)]
pub enum WiringError {
    /// The file cannot be read.
    Unread {
        /// The file.
        file: PathBuf,
        /// Why not.
        why: io::Error,
    },
    /// What it says cannot be.
    Wrong {
        /// The file, as it was named.
        file: String,
        /// What is wrong, in order.
        faults: Vec<Fault>,
    },
    /// What was registered cannot be.
    Registry {
        /// What is wrong.
        faults: Vec<String>,
    },
}

impl WiringError {
    pub(crate) fn of(file: &str, mut faults: Vec<Fault>) -> WiringError {
        faults.sort_by_key(|fault| (fault.line, fault.column));
        faults.dedup();
        WiringError::Wrong { file: file.to_owned(), faults }
    }
}

impl fmt::Display for WiringError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            WiringError::Unread { file, why } => {
                write!(f, "{}: {why}: give the path of a topology file", file.display())
            }
            WiringError::Registry { faults } => f.write_str(&faults.join("\n")),
            WiringError::Wrong { file, faults } => {
                let said: Vec<String> = faults
                    .iter()
                    .take(SAID_MAX)
                    .map(|Fault { line, column, message }| {
                        format!("{file}:{line}:{column}: {message}")
                    })
                    .collect();
                f.write_str(&said.join("\n"))?;
                match faults.len().saturating_sub(SAID_MAX) {
                    0 => Ok(()),
                    more => {
                        let at_least = if is_enough(faults) { "at least " } else { "" };
                        write!(f, "\nand {at_least}{more} more: mend these first")
                    }
                }
            }
        }
    }
}

impl std::error::Error for WiringError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        // The reason is part of what is said.
        None
    }
}

impl From<WiringError> for egret::Error {
    /// A file that cannot be meant: a topology program ends with exit code 2.
    fn from(error: WiringError) -> egret::Error {
        egret::Error::Usage(error.to_string())
    }
}
