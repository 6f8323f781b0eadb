//! Whether a topology is to read its sources, said in metadata: one that is *inactive* runs and rests.
//!
//! It is said by a key that is there while the topology is inactive and has no value, so it outlives whoever runs
//! the topology. That process looks as often as its lease is long ([`Announcer`](super::Announcer)), and before it
//! begins; the coordinator then tells the spouts of every worker.

use egret_log::Log;
use egret_log::metadata::{Compare, MetaError, Op, TxnOutcome};
use egret_log::Outcome;

use super::topology_store;

/// Tries of one change whose answers get lost.
const TRIES: usize = 16;

/// The metadata key that is there while a topology is inactive.
pub(crate) fn key(topology: &str) -> String {
    format!("/topologies/{topology}/inactive")
}

/// Whether it is to read its sources.
pub(crate) fn is_active(log: &Log, topology: &str) -> Result<bool, MetaError> {
    Ok(log.metadata().get(&key(topology))?.is_none())
}

/// Says whether it is to, if there is such a topology; whether there is.
pub(crate) fn set(log: &Log, topology: &str, active: bool) -> Result<bool, MetaError> {
    let mut lost = None;
    for _ in 0..TRIES {
        let record = topology_store::key(topology);
        let Some(held) = log.metadata().get(&record)? else { return Ok(false) };
        let op = match active {
            true => Op::Delete(key(topology)),
            false => Op::Put(key(topology), Vec::new()),
        };
        match log.metadata().txn(&[Compare::Revision(record, held.revision)], &[op]) {
            Ok(TxnOutcome::Committed { .. }) => return Ok(true),
            Ok(TxnOutcome::Conflict) => {}
            // Said once more it is the same.
            Err(error) if error.outcome() == Outcome::Unknown => lost = Some(error),
            Err(error) => return Err(error),
        }
    }
    lost.map_or(Err(MetaError::Closed), Err)
}
