//! Named commits: made, listed, taken away, gone back to, by a process that need not run the topology.
//!
//! What is decided is decided by [`egret_state::commit::named`]; this reads the facts and carries one
//! transaction out. It writes the topology's record and who uses each of its sources, so that a crash
//! leaves a name with all it needs or none at all. The newest commit is read between the two: whatever
//! was trimmed or truncated since is found by the transaction, and all of it is read again.
//!
//! * [`create`] and [`delete`] leave whoever runs the topology alone, and it them;
//! * [`restore`] takes the topology over and leaves it to whoever runs it next, who goes on from there.

mod error;

use std::collections::BTreeMap;

use egret_log::client::ReadError;
use egret_log::client::error::RecordError as LedgerError;
use egret_log::ledger::LedgerState;
use egret_log::metadata::{Compare, Op, TxnOutcome};
use egret_log::stream::Sources;
use egret_log::{Log, Outcome, clock};
use egret_schemas::{EntryId, Epoch, LedgerId};
use egret_state::commit::{Claimant, CommitRecord, Named, TopologyRecord, Wanted, check_name};

pub use egret_state::commit::NameError;
pub use egret_state::commit::named::in_words;
pub use error::NamedError;

use super::Faults;
use super::sources::{check_sources, kept_by, still_needed};
use super::takeover::{self, Here};
use super::topologies;
use super::topology_store::key;
use crate::builder::Outputs;
use crate::task::chain;

/// Attempts at one change while the topology goes on committing, truncating, trimming.
const TRIES: usize = 64;

/// A commit that has a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedCommit {
    /// Its name.
    pub name: String,
    /// When it was named, in milliseconds since 1970.
    pub created_ms: u64,
    /// The last epoch it covers; its generation and commit are part of it.
    pub last: Epoch,
    /// Component → split → position, as each spout writes them.
    pub positions: BTreeMap<String, BTreeMap<String, String>>,
    /// The ledgers its state is in, and how many entries of each it needs.
    pub state: BTreeMap<LedgerId, u64>,
    /// Those of them that only names keep: deleting the name may free them.
    pub only_named: Vec<LedgerId>,
    /// What was forked from it and needs it still: until then the name is not taken away.
    pub forks: Vec<String>,
    /// Why it cannot be restored, if something it needs is gone.
    pub lost: Option<String>,
}

/// What going back did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// What was gone back to.
    pub commit: NamedCommit,
    /// The generation that did, above which the next run begins.
    pub generation: u32,
}

/// The named commits of a topology, by name.
///
/// # Errors
/// When there is no such topology, or the metadata cannot be read.
pub fn list(log: &Log, topology: &str) -> Result<Vec<NamedCommit>, NamedError> {
    let (record, _) = read(log, topology)?;
    let sources = log.sources(topology)?;
    // A topology that committed nothing, or whose newest commit cannot be read, has names all the same.
    let newest = newest_commit(log, &record).ok().flatten();
    let names = record.names.commits.iter();
    Ok(names.map(|(name, named)| shown(log, &sources, newest.as_ref(), name, named)).collect())
}

/// Names the newest commit, whether the topology runs or not.
///
/// # Errors
/// When the name is none or given away, there is nothing to name, or there are too many names.
pub fn create(log: &Log, topology: &str, name: &str) -> Result<NamedCommit, NamedError> {
    check_name(name)?;
    let by = claimant(log);
    let created_ms = clock::wall_ms();
    // What was proposed, and may have been taken without an answer.
    let mut proposed: Option<Named> = None;
    for _ in 0..TRIES {
        let (record, revision) = read(log, topology)?;
        let taken = record.names.commits.get(name).filter(|held| Some(*held) == proposed.as_ref());
        if let Some(named) = taken {
            let sources = log.sources(topology)?;
            return Ok(shown(log, &sources, Some(&named.record), name, named));
        }
        let sources = log.sources(topology)?;
        let newest = newest_commit(log, &record)?;
        let newest = newest.unwrap_or_else(|| CommitRecord::genesis(record.generation, 0));
        let next = match record.name_commit(by, name, created_ms, newest.clone()) {
            Ok(next) => next,
            // It was read before a trim that the record has: the next look finds a newer one.
            Err(NameError::Trimmed { .. }) => continue,
            Err(why) => return Err(why.into()),
        };
        // A source that moved on since the commit was made: there is a newer one.
        if !still_needed(&sources, &newest)? {
            continue;
        }
        proposed = next.names.commits.get(name).cloned();
        if change(log, topology, &sources, &next, revision)? {
            let named = next.named(name)?;
            return Ok(shown(log, &sources, Some(&newest), name, named));
        }
    }
    Err(NamedError::Busy { topology: topology.to_owned() })
}

/// Takes a name away; the next trim frees what only that kept.
///
/// # Errors
/// When there is no such topology, or no such name.
pub fn delete(log: &Log, topology: &str, name: &str) -> Result<NamedCommit, NamedError> {
    let by = claimant(log);
    let mut proposed: Option<Named> = None;
    for _ in 0..TRIES {
        let (record, revision) = read(log, topology)?;
        let sources = log.sources(topology)?;
        let newest = newest_commit(log, &record).ok().flatten();
        let named = match (record.named(name), &proposed) {
            (Ok(named), _) => named.clone(),
            // Gone since it was proposed: that was this, or somebody who wanted the same.
            (Err(_), Some(gone)) => {
                return Ok(shown(log, &sources, newest.as_ref(), name, gone));
            }
            (Err(why), None) => return Err(why.into()),
        };
        let next = record.forget_name(by, name)?;
        let gone = shown(log, &sources, newest.as_ref(), name, &named);
        proposed = Some(named);
        if change(log, topology, &sources, &next, revision)? {
            return Ok(gone);
        }
    }
    Err(NamedError::Busy { topology: topology.to_owned() })
}

/// Goes back to a named commit: takes the topology over, whoever runs it, and makes that commit its last
/// one. Its next run goes on from there. Output stays, and is followed by what that run writes.
///
/// # Errors
/// When there is no such name, or something it needs is gone; nothing was changed then.
pub fn restore(log: &Log, topology: &str, name: &str) -> Result<Restored, NamedError> {
    let (record, _) = read(log, topology)?;
    let sources = log.sources(topology)?;
    let named = record.named(name)?;
    let commit = shown(log, &sources, None, name, named);
    let wanted = Wanted {
        claimant: claimant(log),
        graph: record.graph.clone(),
        guarantee: record.guarantee,
        key_groups: record.key_groups,
        state_ledgers: 0,
        partitions: record.partitions.clone(),
        restore: Some(name.to_owned()),
        fork: None,
    };
    // Its next run writes; here it is only cut at the commit.
    let here = Here { writes: &|_| false, outputs: &Outputs::default() };
    let taken = takeover::carry_through(log, topology, wanted, here, Faults::default());
    let taken = taken.map_err(|error| NamedError::Restore(Box::new(error)))?;
    Ok(Restored { commit, generation: taken.opened.topology.generation.0 })
}

pub(super) fn claimant(log: &Log) -> Claimant {
    let proposal = log.ledgers().proposal();
    Claimant { process: proposal.process, operation: proposal.operation }
}

/// The record of a topology that there is.
fn read(log: &Log, topology: &str) -> Result<(TopologyRecord, u64), NamedError> {
    let decode = |bytes: &[u8]| {
        TopologyRecord::decode(bytes)
            .map_err(|why| NamedError::Record { topology: topology.to_owned(), why: Box::new(why) })
    };
    match log.metadata().get(&key(topology))? {
        Some(held) => {
            let record = decode(&held.value)?;
            match record.deleting {
                true => Err(NamedError::Deleting { topology: topology.to_owned() }),
                false => Ok((record, held.revision)),
            }
        }
        None => {
            let topologies = topologies::names(log)?;
            Err(NamedError::NoTopology { topology: topology.to_owned(), topologies })
        }
    }
}

/// Writes a record whose names were changed, and what the sources keep for them. Whether it was: `false`
/// when anything it was made from changed meanwhile, or no answer came.
fn change(
    log: &Log,
    topology: &str,
    sources: &Sources,
    next: &TopologyRecord,
    revision: u64,
) -> Result<bool, NamedError> {
    let (mut compare, mut ops) = sources.keep(log, &kept_by(sources, &next.names)?)?;
    compare.push(Compare::Revision(key(topology), revision));
    ops.push(Op::Put(key(topology), next.encode()));
    match log.metadata().txn(&compare, &ops) {
        Ok(TxnOutcome::Committed { .. }) => Ok(true),
        Ok(TxnOutcome::Conflict) => Ok(false),
        Err(error) if error.outcome() == Outcome::Unknown => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// The newest commit that is known to be acknowledged. `None`: there is none.
pub(crate) fn newest_commit(
    log: &Log,
    record: &TopologyRecord,
) -> Result<Option<CommitRecord>, NamedError> {
    for &ledger in record.commit_ledgers.iter().rev() {
        let Some(entry) = last_acknowledged(log, ledger).map_err(NamedError::Ledger)? else {
            continue;
        };
        let bytes = log.ledgers().read_unconfirmed(ledger, entry).map_err(NamedError::Ledger)?;
        let decoded = CommitRecord::decode(&bytes);
        let unreadable = |why| NamedError::Unreadable { ledger, entry, why: Box::new(why) };
        return Ok(Some(decoded.map_err(unreadable)?));
    }
    Ok(None)
}

/// The last entry of a commit ledger that is acknowledged, as far as can be known without shutting out
/// whoever writes it. Readers hear of an entry some time after its writer; with one copy of everything an
/// entry that is there is acknowledged.
pub(crate) fn last_acknowledged(log: &Log, ledger: LedgerId) -> Result<Option<EntryId>, ReadError> {
    let ledgers = log.ledgers();
    let visible = match ledgers.end(ledger) {
        Ok(end) => end.readable(),
        // Listed and not created yet, or being deleted.
        Err(ReadError::Record(LedgerError::NoLedger { .. })) => return Ok(None),
        Err(error) => return Err(error),
    };
    let metadata = ledgers.describe(ledger)?;
    if metadata.state != LedgerState::Open || metadata.quorum.ensemble() > 1 {
        return Ok(visible);
    }
    let mut last = visible;
    while ledgers.read_unconfirmed(ledger, EntryId::after(last)).is_ok() {
        last = Some(EntryId::after(last));
    }
    Ok(last)
}

/// A named commit for people, with what of it is gone.
fn shown(
    log: &Log,
    sources: &Sources,
    newest: Option<&CommitRecord>,
    name: &str,
    named: &Named,
) -> NamedCommit {
    let record = &named.record;
    let text = |bytes: &Vec<u8>| String::from_utf8_lossy(bytes).into_owned();
    let splits = |splits: &BTreeMap<Vec<u8>, Vec<u8>>| {
        splits.iter().map(|(split, at)| (text(split), text(at))).collect()
    };
    let spouts = record.spouts.iter();
    let needed = newest.map(CommitRecord::state_ledgers).unwrap_or_default();
    let state = record.state_ledgers();
    let only = state.keys().filter(|ledger| !needed.contains_key(ledger)).copied();
    NamedCommit {
        name: name.to_owned(),
        created_ms: named.created_ms,
        last: record.last,
        positions: spouts.map(|(name, of)| (name.clone(), splits(of))).collect(),
        only_named: only.collect(),
        state: state.into_iter().map(|(ledger, last)| (ledger, EntryId::after(last).0)).collect(),
        forks: named.forks.iter().cloned().collect(),
        lost: check(log, sources, record).err(),
    }
}

/// Whether everything a named commit needs is there; if not, what is not.
pub(super) fn check(log: &Log, sources: &Sources, record: &CommitRecord) -> Result<(), String> {
    for (ledger, last) in record.state_ledgers() {
        let gone = |why: String| format!("{ledger}, which holds a part of its state, {why}");
        let metadata = log.ledgers().describe(ledger).map_err(|error| {
            gone(match error {
                LedgerError::NoLedger { .. } => "is gone".to_owned(),
                other => format!("cannot be looked at: {}", chain(&other)),
            })
        })?;
        match metadata.state {
            LedgerState::Deleting => return Err(gone("is being deleted".to_owned())),
            LedgerState::Closed { last: end } if end < last => {
                let end = EntryId::after(end).0;
                return Err(gone(format!("ends after {end} entries, before it")));
            }
            _ => {}
        }
    }
    check_sources(log, sources, record)
}
