//! Whether a topology is to read its sources, said in metadata: one that is *inactive* runs and rests.
//!
//! It is said by a word under a key of its own, which a process that is attached to a directory may write, too. So it
//! outlives whoever runs the topology. That process looks before it begins, and as often as its lease is long
//! ([`Announcer`](super::Announcer)); its coordinator then tells the spouts of every worker.

use egret_log::metadata::{Compare, MetaError, Op, TxnOutcome};
use egret_log::{Log, Outcome};

use super::topologies::{self, TopologyError};
use super::topology_store;

/// Tries of one change while the topology's record changes, or answers get lost.
const TRIES: usize = 64;

/// What stands there; nothing is as good as the second.
const INACTIVE: &[u8] = b"inactive";
const ACTIVE: &[u8] = b"active";

/// The metadata key of it.
pub(super) fn key(topology: &str) -> String {
    format!("/activity/{topology}")
}

/// Whether it is to read its sources.
pub(super) fn is_active(log: &Log, topology: &str) -> Result<bool, MetaError> {
    let held = log.metadata().get(&key(topology))?;
    Ok(held.is_none_or(|held| held.value != INACTIVE))
}

/// Says whether it is to.
pub(super) fn set(log: &Log, topology: &str, active: bool) -> Result<(), TopologyError> {
    for _ in 0..TRIES {
        let revision = topologies::revision_of(log, topology)?;
        let word = if active { ACTIVE } else { INACTIVE };
        let op = Op::Put(key(topology), word.to_vec());
        let compare = Compare::Revision(topology_store::key(topology), revision);
        match log.metadata().txn(&[compare], &[op]) {
            Ok(TxnOutcome::Committed { .. }) => return Ok(()),
            Ok(TxnOutcome::Conflict) => {}
            // Said once more it is the same.
            Err(error) if error.outcome() == Outcome::Unknown => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(TopologyError::Busy { topology: topology.to_owned() })
}
