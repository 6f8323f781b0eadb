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
//! | [`watch`] | events, and how a watch ends |
//! | [`lease`] | leases, and the clock of embedded stores |
//! | [`keeper`] | a lease kept alive in the background, on any store |
//! | `local` | what both embedded stores are; `history` what their watches read |
//! | `deaf` | a store whose watches say nothing, for tests |
//! | `conformance` | what every store must do, for tests (feature `testing`) |
//!
//! A cluster's store is etcd, in a package of its own: `log/etcd`. That of a data directory which another
//! process holds is reached over a socket: [`rpc::meta`](crate::rpc::meta).

use std::fmt;
use std::path::PathBuf;

use crate::caps;
use crate::disk::located;
use crate::outcome::Outcome;

#[cfg(test)]
pub(crate) mod deaf;
mod history;
#[cfg(test)]
pub(crate) mod hooked;
pub mod keeper;
pub mod lease;
mod local;
pub mod memory;
pub mod redb;
pub mod watch;

#[cfg(any(test, feature = "testing"))]
pub mod conformance;

pub use self::redb::RedbMeta;
pub use keeper::LeaseKeeper;
pub use lease::{LeaseClock, LeaseId};
pub use memory::MemoryMeta;
pub use watch::{Event, Watch, WatchError, WatchSource};

/// A value and when it was last written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned {
    /// The bytes.
    pub value: Vec<u8>,
    /// The revision of the transaction that wrote them.
    pub revision: u64,
}

/// Everything under a prefix, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Keys and values, in the order of the keys.
    pub entries: Vec<(String, Versioned)>,
    /// The store's revision at that moment: a watch from the one after it misses nothing.
    pub revision: u64,
}

impl IntoIterator for Listing {
    type Item = (String, Versioned);
    type IntoIter = std::vec::IntoIter<(String, Versioned)>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
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
    /// Writes a value that stays.
    Put(String, Vec<u8>),
    /// Writes a value that is removed when the lease ends. Any later write of the key takes it off
    /// this lease.
    PutLeased {
        /// The key.
        key: String,
        /// The value.
        value: Vec<u8>,
        /// The lease.
        lease: LeaseId,
    },
    /// Removes a key, there or not.
    Delete(String),
}

impl Op {
    /// The key it writes.
    pub fn key(&self) -> &str {
        match self {
            Op::Put(key, _) | Op::PutLeased { key, .. } | Op::Delete(key) => key,
        }
    }

    /// The value it writes; empty when it removes.
    pub fn value(&self) -> &[u8] {
        match self {
            Op::Put(_, value) | Op::PutLeased { value, .. } => value,
            Op::Delete(_) => &[],
        }
    }

    /// The lease it needs.
    pub fn lease(&self) -> Option<LeaseId> {
        match self {
            Op::PutLeased { lease, .. } => Some(*lease),
            Op::Put(..) | Op::Delete(_) => None,
        }
    }
}

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TxnOutcome {
    /// All of it is durable.
    Committed {
        /// The revision of what it wrote; the store's when it changed nothing.
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
        "{}: the metadata store stopped after a failed write ({why}): mend the disk, or free space on it, then start again",
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
    /// More than the store takes.
    #[error("the metadata store does not take {what}, it takes {max}: ask for less at once")]
    TooLarge {
        /// What was asked for.
        what: String,
        /// What is taken.
        max: usize,
    },
    /// The lease has ended, or never was.
    #[error("lease {lease} has ended: grant another, and write again what hung on it")]
    NoLease {
        /// The lease.
        lease: LeaseId,
    },
    /// The store answered, and its answer is no.
    #[error("the metadata store refused: {why}")]
    Refused {
        /// Its words, and what to do.
        why: String,
    },
    /// The connection was not made, or broke before the answer.
    #[error(
        "the metadata store at {at} cannot be reached ({why}): see that it runs, then try again"
    )]
    Unreachable {
        /// Where it is looked for.
        at: String,
        /// The system's words.
        why: String,
    },
    /// Who held the store has ended, and with that every lease. What was asked was not done.
    #[error("whoever held {at} has ended: start it again, then attach to it again")]
    Gone {
        /// What was held.
        at: String,
    },
    /// No answer came in time.
    #[error(
        "the metadata store at {at} did not answer within {waited_ms} ms: see that it has a majority, then try again"
    )]
    Timeout {
        /// Where it is looked for.
        at: String,
        /// How long was waited.
        waited_ms: u64,
    },
}

impl MetaError {
    /// Whether asking again may go better: only where nobody answered. An answer stays what it is, an
    /// ended lease too.
    pub fn may_pass(&self) -> bool {
        match self {
            MetaError::Unreachable { .. } | MetaError::Timeout { .. } => true,
            MetaError::Poisoned { .. }
            | MetaError::Damaged { .. }
            | MetaError::Record { .. }
            | MetaError::Version { .. }
            | MetaError::Io { .. }
            | MetaError::Closed
            | MetaError::TwiceInTxn { .. }
            | MetaError::TooLarge { .. }
            | MetaError::NoLease { .. }
            | MetaError::Gone { .. }
            | MetaError::Refused { .. } => false,
        }
    }

    /// Whether the transaction may have happened. After `Unknown` it may even happen later, as long as
    /// what it requires holds: whoever asked reads back until it finds its own proposal, or something
    /// that no longer lets it through.
    pub fn outcome(&self) -> Outcome {
        match self {
            // Damage may be come upon after a commit, when pages it freed are looked for.
            MetaError::Poisoned { .. }
            | MetaError::Damaged { .. }
            | MetaError::Unreachable { .. }
            | MetaError::Timeout { .. } => Outcome::Unknown,
            MetaError::Record { .. }
            | MetaError::Version { .. }
            | MetaError::Io { .. }
            | MetaError::Closed
            | MetaError::TwiceInTxn { .. }
            | MetaError::TooLarge { .. }
            | MetaError::NoLease { .. }
            | MetaError::Gone { .. }
            | MetaError::Refused { .. } => Outcome::Definite,
        }
    }
}

/// A metadata store.
///
/// 1. **Order.** Transactions are one after the other. One that changes something has a revision higher
///    than all before it; one that changes nothing leaves the revision alone. Revisions have gaps.
/// 2. **Reads** see every transaction that was answered before they began, whoever asked for it.
/// 3. **A conflict is an answer**, not an error: nothing was written. An error's
///    [`outcome`](MetaError::outcome) says whether the transaction may have been, or may still be.
/// 4. **Leases** end when nobody kept them alive for their time, not before; how much later depends on
///    the store. With a lease its keys go, in one transaction. A lease of an embedded store ends with
///    its process.
/// 5. **Watches** give every change from their revision on, once, in order, the changes of a
///    transaction together; or they end and say why. See [`watch`].
///
/// Every store takes transactions of [`META_TXN_OPS_MAX`](caps::META_TXN_OPS_MAX) conditions, as many
/// writes, and [`META_TXN_BYTES_MAX`](caps::META_TXN_BYTES_MAX) bytes, and none takes more: that is
/// [`TooLarge`](MetaError::TooLarge).
pub trait MetaStore: Send + Sync + fmt::Debug {
    /// The value of a key.
    fn get(&self, key: &str) -> Result<Option<Versioned>, MetaError>;

    /// All keys that start with `prefix`, in order, at one revision.
    fn list(&self, prefix: &str) -> Result<Listing, MetaError>;

    /// Writes all of `ops` if all of `compare` holds, durable before it answers.
    fn txn(&self, compare: &[Compare], ops: &[Op]) -> Result<TxnOutcome, MetaError>;

    /// A new lease that lives for `ttl_ms`, or longer if the store counts in longer steps.
    fn grant(&self, ttl_ms: u64) -> Result<LeaseId, MetaError>;

    /// Lets a lease live for its whole time again; that time in milliseconds.
    fn keep_alive(&self, lease: LeaseId) -> Result<u64, MetaError>;

    /// Ends a lease now; one that has ended is let be.
    fn revoke(&self, lease: LeaseId) -> Result<(), MetaError>;

    /// Every change of keys that start with `prefix`, from `from_revision` on.
    fn watch(&self, prefix: &str, from_revision: u64) -> Result<Watch, MetaError>;

    /// Lets go of whatever is held; everything is refused afterwards. Whoever opened the store calls
    /// this before it is opened again, because handles may outlive the log.
    fn close(&self) {}
}

/// A transaction whose lost answer counts as a conflict: for a caller that reads back after a conflict
/// and looks for its own proposal, the same in every attempt, because a lost one may come true later.
pub(crate) fn txn_or_conflict(
    store: &dyn MetaStore,
    compare: &[Compare],
    ops: &[Op],
) -> Result<TxnOutcome, MetaError> {
    match store.txn(compare, ops) {
        Err(error) if error.outcome() == Outcome::Unknown => Ok(TxnOutcome::Conflict),
        answer => answer,
    }
}

/// Removes a key if all of `compare` holds; a lost answer is settled by looking whether it is gone.
pub(crate) fn remove(
    store: &dyn MetaStore,
    compare: &[Compare],
    key: &str,
) -> Result<(), MetaError> {
    let op = [Op::Delete(key.to_owned())];
    let mut tries = 0;
    loop {
        match store.txn(compare, &op) {
            Ok(_) => return Ok(()),
            Err(error) if !error.may_pass() || tries == REMOVE_TRIES => return Err(error),
            Err(_) if store.get(key)?.is_none() => return Ok(()),
            Err(_) => tries += 1,
        }
    }
}

/// Tries to remove a key whose answers get lost; each waited as long as the store waits.
const REMOVE_TRIES: usize = 16;

/// Whether everything a transaction requires holds, given how to look up a key's revision.
pub(crate) fn holds(compare: &[Compare], revision: impl Fn(&str) -> Option<u64>) -> bool {
    compare.iter().all(|compare| match compare {
        Compare::Absent(key) => revision(key).is_none(),
        Compare::Revision(key, wanted) => revision(key) == Some(*wanted),
    })
}

/// Refuses a transaction that no store takes.
pub fn check_txn(compare: &[Compare], ops: &[Op]) -> Result<(), MetaError> {
    let mut keys: Vec<&str> = ops.iter().map(Op::key).collect();
    keys.sort_unstable();
    if let Some(pair) = keys.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(MetaError::TwiceInTxn { key: pair[0].to_owned() });
    }
    let too_large = |what: String, max| Err(MetaError::TooLarge { what, max });
    let most = compare.len().max(ops.len());
    if most > caps::META_TXN_OPS_MAX {
        return too_large(format!("{most} operations"), caps::META_TXN_OPS_MAX);
    }
    let compared = compare.iter().map(|compare| match compare {
        Compare::Absent(key) | Compare::Revision(key, _) => key.as_str(),
    });
    if let Some(key) = keys.iter().copied().chain(compared.clone()).map(str::len).max()
        && key > caps::META_KEY_BYTES_MAX
    {
        return too_large(format!("a key of {key} bytes"), caps::META_KEY_BYTES_MAX);
    }
    let written: usize = ops.iter().map(|op| op.key().len() + op.value().len()).sum();
    let bytes = written + compared.map(str::len).sum::<usize>();
    if bytes > caps::META_TXN_BYTES_MAX {
        return too_large(format!("{bytes} bytes in a transaction"), caps::META_TXN_BYTES_MAX);
    }
    Ok(())
}
