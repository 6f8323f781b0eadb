//! The topologies of a place: which there are, whether they read their sources, and the deletion of one by whoever does
//! not run it.
//!
//! What a deletion means is said by [`egret_state::commit::deletion`]; this reads the facts and carries it out, step
//! by step, each of which may be the last: deleting again goes on where it stopped, for the topology's record is
//! marked first and goes last.

mod error;

use std::collections::BTreeSet;

use egret_log::client::DeleteError;
use egret_log::ledger::CloseAt;
use egret_log::metadata::{Compare, MetaError, Op, TxnOutcome};
use egret_log::stream::Kept;
use egret_log::stream::error::{CatalogError, TruncateError};
use egret_log::{Log, Outcome};
use egret_schemas::{Epoch, Generation, LedgerId, Term};
use egret_state::Guarantee;
use egret_state::commit::{Origin, RunState, TopologyRecord, term_of};

pub use error::TopologyError;

use super::named::{claimant, newest_commit};
use super::topology_store::key;
use super::{activity, announce};
use crate::replica::schema_prefix;

/// Attempts at one change while others change what it is made from.
const TRIES: usize = 64;

/// Schemas whose texts are removed by one transaction.
const SCHEMAS_AT_ONCE: usize = 64;

/// A topology that there is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopologyInfo {
    /// Its name.
    pub name: String,
    /// The newest generation.
    pub generation: Generation,
    /// What it promises.
    pub guarantee: Guarantee,
    /// Its newest commit; `None` when there is none, or it cannot be read.
    pub last: Option<Epoch>,
    /// Why its newest commit cannot be read, where it cannot: it does not start then.
    pub unreadable: Option<String>,
    /// The names of commits.
    pub names: Vec<String>,
    /// Where it was forked from, if it was.
    pub origin: Option<Origin>,
    /// Whether it needs that still.
    pub holds_origin: bool,
    /// What was forked from it, and needs it still.
    pub forks: BTreeSet<String>,
    /// Ledgers of state and of commits.
    pub ledgers: usize,
    /// The streams that it alone writes.
    pub streams: BTreeSet<String>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Whether it reads its sources when it runs.
    pub active: bool,
}

/// What was deleted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deleted {
    /// Ledgers of state and of commits that were listed.
    pub ledgers: usize,
    /// The streams that went with it.
    pub streams: BTreeSet<String>,
    /// The named commit of another topology that is not kept for it any more.
    pub released: Option<Origin>,
}

/// What becomes of the streams that only the topology writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnStreams {
    /// While there are any, it is not deleted.
    Refuse,
    /// They go with it.
    Delete,
}

/// The names of all topologies, in order.
pub(super) fn names(log: &Log) -> Result<Vec<String>, MetaError> {
    let all = key("");
    let found = log.metadata().list(&all)?.entries.into_iter();
    Ok(found.map(|(key, _)| key[all.len()..].to_owned()).collect())
}

/// The topologies there are, by name.
///
/// # Errors
/// When the metadata cannot be read.
pub fn list(log: &Log) -> Result<Vec<TopologyInfo>, TopologyError> {
    let mut all = Vec::new();
    for name in names(log)? {
        // Gone since it was listed.
        let Some((record, _)) = read(log, &name)? else { continue };
        let (newest, unreadable) = match newest_commit(log, &record) {
            Ok(newest) => (newest, None),
            Err(why) => (None, Some(crate::chain(&why))),
        };
        let held = |fork: &egret_state::commit::Fork| fork.held;
        all.push(TopologyInfo {
            active: activity::is_active(log, &name)?,
            streams: owned(log, &name)?,
            generation: record.generation,
            guarantee: record.guarantee,
            last: newest.map(|record| record.last).filter(|last| *last > Epoch(0)),
            unreadable,
            forks: record.forks_kept(),
            holds_origin: record.fork.as_ref().is_some_and(held),
            origin: record.fork.map(|fork| fork.origin),
            ledgers: record.state_ledgers.len() + record.commit_ledgers.len(),
            names: record.names.commits.into_keys().collect(),
            deleting: record.deleting,
            name,
        });
    }
    Ok(all)
}

/// Deletes a topology: its state and commits, its names, and what others keep for it. While a process says that it
/// runs it, that is refused; whoever runs it and could not say so is shut out, as by a takeover. Its output stays where it is not [its own](OwnStreams). A deletion that was interrupted is gone
/// on with.
///
/// # Errors
/// When there is no such topology; a process runs it; others need a named commit of it; streams are its own and are not to go, or are
/// read by others: nothing was changed then. When something could not be deleted: the topology is not run any more,
/// and deleting it again goes on.
pub fn delete(log: &Log, topology: &str, streams: OwnStreams) -> Result<Deleted, TopologyError> {
    let (record, released) = mark(log, topology, streams)?;
    let ledgers = record.state_ledgers.len() + record.commit_ledgers.len();
    let mut deleted = Deleted { ledgers, streams: BTreeSet::new(), released };
    // One term up: the writer that is shut out may be of this very generation.
    let term = term_of(record.generation).next();
    // Nothing is committed from here on, whoever runs it still.
    for &ledger in &record.commit_ledgers {
        match log.ledgers().recover(ledger, term, CloseAt::End) {
            Err(error) if !error.is_deleted() => return Err(error.into()),
            _ => {}
        }
    }
    for stream in owned(log, topology)? {
        match log.delete_stream(&stream, true) {
            Ok(()) | Err(TruncateError::Catalog(CatalogError::NoStream { .. })) => {}
            Err(why) => return Err(TopologyError::Stream { stream, why: Box::new(why) }),
        }
        deleted.streams.insert(stream);
    }
    for &ledger in &record.state_ledgers {
        remove(log, ledger, term)?;
    }
    remove_schemas(log, topology)?;
    for &ledger in &record.commit_ledgers {
        remove(log, ledger, term)?;
    }
    // Late, so that nobody who was shut out names it again.
    log.forget_topology(topology)?;
    remove_record(log, topology)?;
    Ok(deleted)
}

/// Has a topology read its sources again, wherever it runs.
///
/// # Errors
/// When there is no such topology, or the metadata cannot be changed.
pub fn activate(log: &Log, topology: &str) -> Result<(), TopologyError> {
    activity::set(log, topology, true)
}

/// Has a topology stop to read its sources, until it is [activated](activate): whoever runs it finds out within the
/// time of its lease, and whoever runs it later begins so. What was read before is processed and committed, state stays
/// where it is, and timers fire; nothing is read again. One with an end does not come to it meanwhile.
///
/// ```
/// use egret::runtime::topologies::{self, TopologyError};
///
/// let dir = tempfile::tempdir()?;
/// let log = egret_log::Log::open(dir.path(), egret_log::LogConfig::default())?;
/// let refused = topologies::deactivate(&log, "word_count").unwrap_err();
/// assert!(matches!(refused, TopologyError::NoTopology { .. }));
/// # log.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// When there is no such topology, or the metadata cannot be changed.
pub fn deactivate(log: &Log, topology: &str) -> Result<(), TopologyError> {
    activity::set(log, topology, false)
}

/// Where a topology's record stands.
pub(super) fn revision_of(log: &Log, topology: &str) -> Result<u64, TopologyError> {
    match read(log, topology)? {
        Some((record, revision)) if !record.deleting => Ok(revision),
        _ => Err(no_topology(log, topology)?),
    }
}

fn no_topology(log: &Log, topology: &str) -> Result<TopologyError, MetaError> {
    let topologies = names(log)?;
    Ok(TopologyError::NoTopology { topology: topology.to_owned(), topologies })
}

fn read(log: &Log, topology: &str) -> Result<Option<(TopologyRecord, u64)>, TopologyError> {
    let Some(held) = log.metadata().get(&key(topology))? else { return Ok(None) };
    let record = TopologyRecord::decode(&held.value).map_err(|why| TopologyError::Record {
        topology: topology.to_owned(),
        why: Box::new(why),
    })?;
    Ok(Some((record, held.revision)))
}

/// The streams that only this topology writes.
fn owned(log: &Log, topology: &str) -> Result<BTreeSet<String>, CatalogError> {
    let all = log.streams()?.into_iter();
    let own = all.filter(|info| info.config.transactional.as_deref() == Some(topology));
    Ok(own.map(|info| info.name).collect())
}

/// Refuses while streams are in the way.
fn check_streams(log: &Log, topology: &str, streams: OwnStreams) -> Result<(), TopologyError> {
    let own = owned(log, topology)?;
    if streams == OwnStreams::Refuse && !own.is_empty() {
        return Err(TopologyError::Owns { topology: topology.to_owned(), streams: own });
    }
    for stream in own {
        let users = log.users(&stream)?;
        let reads = users.consumers.keys().map(|user| &user.topology);
        let others: BTreeSet<_> = reads.filter(|by| *by != topology).cloned().collect();
        if !others.is_empty() {
            return Err(TopologyError::Read { stream, topologies: others });
        }
    }
    Ok(())
}

/// Marks the record, if it is not. It as it is then, and what is not kept for the topology any more.
fn mark(
    log: &Log,
    topology: &str,
    streams: OwnStreams,
) -> Result<(TopologyRecord, Option<Origin>), TopologyError> {
    let mut released = None;
    for _ in 0..TRIES {
        let Some((record, revision)) = read(log, topology)? else {
            return Err(no_topology(log, topology)?);
        };
        check_streams(log, topology, streams)?;
        if record.deleting {
            return Ok((record, released));
        }
        let runs = announce::read(log, topology).map_err(|why| TopologyError::Run {
            topology: topology.to_owned(),
            why: Box::new(why),
        })?;
        if runs.is_some_and(|run| run.state == RunState::Runs) {
            return Err(TopologyError::Runs { topology: topology.to_owned() });
        }
        let sources = log.sources(topology)?;
        let Some(doomed) = record.doomed(claimant(log)) else {
            let (topology, forks) = (topology.to_owned(), record.forks_kept());
            return Err(TopologyError::Forked { topology, forks });
        };
        let (mut compare, mut ops) = sources.keep(log, &Kept::new())?;
        compare.push(Compare::Revision(key(topology), revision));
        ops.push(Op::Put(key(topology), doomed.encode()));
        if let Some(fork) = record.fork.as_ref().filter(|fork| fork.held)
            && let Some((parent, revision)) = read(log, &fork.origin.topology)?
            && let Some(let_go) = parent.let_go_for(claimant(log), &fork.origin.name, topology)
        {
            compare.push(Compare::Revision(key(&fork.origin.topology), revision));
            ops.push(Op::Put(key(&fork.origin.topology), let_go.encode()));
            released = Some(fork.origin.clone());
        }
        match log.metadata().txn(&compare, &ops) {
            Ok(TxnOutcome::Committed { .. }) => return Ok((doomed, released)),
            // Read back: it is marked, or as somebody else changed it.
            Ok(TxnOutcome::Conflict) => {}
            Err(error) if error.outcome() == Outcome::Unknown => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(TopologyError::Busy { topology: topology.to_owned() })
}

/// Shuts out whoever writes a ledger, and deletes it; one that is gone stays so.
fn remove(log: &Log, ledger: LedgerId, term: Term) -> Result<(), TopologyError> {
    let ledgers = log.ledgers();
    let gone = match ledgers.recover(ledger, term, CloseAt::End) {
        Ok(_) => ledgers.delete(ledger),
        Err(error) if error.is_deleted() => ledgers.abandon(ledger, term),
        Err(error) => return Err(error.into()),
    };
    gone.map_err(|why: DeleteError| why.into())
}

fn remove_schemas(log: &Log, topology: &str) -> Result<(), MetaError> {
    let found = log.metadata().list(&schema_prefix(topology))?.entries;
    for some in found.chunks(SCHEMAS_AT_ONCE) {
        let ops: Vec<_> = some.iter().map(|(key, _)| Op::Delete(key.clone())).collect();
        log.metadata().txn(&[], &ops)?;
    }
    Ok(())
}

/// The last step.
fn remove_record(log: &Log, topology: &str) -> Result<(), TopologyError> {
    for _ in 0..TRIES {
        let Some((record, revision)) = read(log, topology)? else { return Ok(()) };
        // Somebody else finished, and it began anew.
        if !record.deleting {
            return Ok(());
        }
        let compare = [Compare::Revision(key(topology), revision)];
        let keys = [key(topology), announce::key(topology), activity::key(topology)];
        let ops = keys.map(Op::Delete);
        match log.metadata().txn(&compare, &ops) {
            Err(error) if error.outcome() != Outcome::Unknown => return Err(error.into()),
            // What is found says what came of it.
            _ => {}
        }
    }
    Err(TopologyError::Busy { topology: topology.to_owned() })
}
