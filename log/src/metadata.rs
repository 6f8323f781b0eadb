//! The small, strongly consistent store beside the ledgers: which ledgers there are, who owns what.
//!
//! Shaped after etcd, whose model is the stricter one: revisions count over the whole store, a
//! transaction compares and then writes, and an error says whether it may have happened. Every value
//! that is compared-and-set carries who proposed it, so a lost reply is settled by reading back.
//!
//! | module | holds |
//! |---|---|
//! | [`memory`] | a store for tests and for topologies that keep nothing |
//! | [`redb`] | the embedded store: one file, durable before it answers, damage noticed |

use std::fmt;
use std::path::PathBuf;

use crate::disk::located;
use crate::outcome::Outcome;

pub mod memory;
pub mod redb;

#[cfg(test)]
mod conformance_tests;

pub use self::redb::RedbMeta;
pub use memory::MemoryMeta;

/// A value and when it was last written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned {
    /// The bytes.
    pub value: Vec<u8>,
    /// The revision of the transaction that wrote them.
    pub revision: u64,
}

/// What a transaction requires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compare {
    /// The key is not there.
    Absent(String),
    /// The key was last written at this revision.
    Revision(String, u64),
}

/// What a transaction writes when everything it requires holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Writes a value.
    Put(String, Vec<u8>),
    /// Removes a key, there or not.
    Delete(String),
}

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TxnOutcome {
    /// All of it is durable.
    Committed {
        /// The revision of what it wrote.
        revision: u64,
    },
    /// Something it required did not hold; nothing was written.
    Conflict,
}

/// Why the store could not answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MetaError {
    /// Bytes on the disk are not those that were written.
    #[error(
        "{}: damaged at byte {offset}: {what}: restore the data directory from a copy, or the disk",
        .file.display()
    )]
    Damaged {
        /// The file.
        file: PathBuf,
        /// Where in it the damaged page starts.
        offset: u64,
        /// What was found.
        what: String,
    },
    /// Every page is as written, and together they do not make sense.
    #[error(
        "{}: {record} is damaged: {what}: restore the data directory from a copy, or the disk",
        .file.display()
    )]
    Record {
        /// The file.
        file: PathBuf,
        /// Which record of it.
        record: String,
        /// What was found.
        what: String,
    },
    /// The file was written by another release.
    #[error("{}: format version {found}, this Egret knows {known}: use the newer Egret", .file.display())]
    Version {
        /// The file.
        file: PathBuf,
        /// Its version.
        found: u16,
        /// The version known here.
        known: u16,
    },
    /// The file could not be opened or read.
    #[error("{}", located(.file, .why))]
    Io {
        /// The file.
        file: PathBuf,
        /// The system's words.
        why: String,
    },
    /// A commit failed; whether it is durable is not known, and nothing is answered until a restart.
    #[error(
        "{}: the metadata store stopped after a failed write ({why}): mend the disk, then start again",
        .file.display()
    )]
    Poisoned {
        /// The file.
        file: PathBuf,
        /// The first failure.
        why: String,
    },
    /// The store was closed.
    #[error("the metadata store was closed: open the log again")]
    Closed,
    /// The transaction names one key twice.
    #[error("a transaction writes {key} twice: it is not defined which would count")]
    TwiceInTxn {
        /// The key.
        key: String,
    },
}

impl MetaError {
    /// Whether asking again may go better.
    pub fn may_pass(&self) -> bool {
        match self {
            MetaError::Poisoned { .. }
            | MetaError::Damaged { .. }
            | MetaError::Record { .. }
            | MetaError::Version { .. }
            | MetaError::Io { .. }
            | MetaError::Closed
            | MetaError::TwiceInTxn { .. } => false,
        }
    }

    /// Whether the transaction may have happened.
    pub fn outcome(&self) -> Outcome {
        match self {
            // Damage may be come upon after a commit, when pages it freed are looked for.
            MetaError::Poisoned { .. } | MetaError::Damaged { .. } => Outcome::Unknown,
            MetaError::Record { .. }
            | MetaError::Version { .. }
            | MetaError::Io { .. }
            | MetaError::Closed
            | MetaError::TwiceInTxn { .. } => Outcome::Definite,
        }
    }
}

/// A metadata store.
pub trait MetaStore: Send + Sync + fmt::Debug {
    /// The value of a key.
    fn get(&self, key: &str) -> Result<Option<Versioned>, MetaError>;

    /// All keys that start with `prefix`, in order.
    fn list(&self, prefix: &str) -> Result<Vec<(String, Versioned)>, MetaError>;

    /// Writes all of `ops` if all of `compare` holds, durable before it answers.
    fn txn(&self, compare: &[Compare], ops: &[Op]) -> Result<TxnOutcome, MetaError>;

    /// Lets go of whatever is held; everything is refused afterwards. Whoever opened the store calls
    /// this before it is opened again, because handles may outlive the log.
    fn close(&self) {}
}

/// Whether everything a transaction requires holds, given how to look up a key's revision.
pub(crate) fn holds(compare: &[Compare], revision: impl Fn(&str) -> Option<u64>) -> bool {
    compare.iter().all(|compare| match compare {
        Compare::Absent(key) => revision(key).is_none(),
        Compare::Revision(key, wanted) => revision(key) == Some(*wanted),
    })
}

/// Refuses a transaction that writes one key twice.
pub(crate) fn check_ops(ops: &[Op]) -> Result<(), MetaError> {
    let key = |op: &Op| match op {
        Op::Put(key, _) | Op::Delete(key) => key.clone(),
    };
    let mut keys: Vec<String> = ops.iter().map(key).collect();
    keys.sort_unstable();
    match keys.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(MetaError::TwiceInTxn { key: pair[0].clone() }),
        None => Ok(()),
    }
}
