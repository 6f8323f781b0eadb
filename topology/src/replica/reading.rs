//! The newest commit of a topology, and the entries a plan asks for.

use std::collections::BTreeMap;
use std::sync::Arc;

use egret_log::Log;
use egret_schemas::{EntryAddress, EntryId, LedgerId};
use egret_state::commit::{CommitRecord, RestoreSet, TopologyRecord};
use egret_state::keyed::format::Schema;
use egret_state::keyed::replay::StateEntry;
use egret_state::view::{Piece, Staged, ViewError};

use super::{ReplicaError, schema_key};
use crate::runtime::{last_acknowledged, topology_key};

/// The newest commit that is known to be acknowledged.
#[derive(Debug)]
pub(super) struct Newest {
    pub(super) record: CommitRecord,
    pub(super) key_groups: u32,
}

/// Where the commits of a topology are looked for.
#[derive(Debug)]
pub(super) struct Cursor {
    topology: Arc<str>,
}

impl Cursor {
    pub(super) fn new(topology: &str) -> Cursor {
        Cursor { topology: topology.into() }
    }

    pub(super) fn topology(&self) -> &str {
        &self.topology
    }

    pub(super) fn newest(&self, log: &Log) -> Result<Newest, ReplicaError> {
        let topology = self.topology.to_string();
        let Some(held) = log.metadata().get(&topology_key(&topology))? else {
            return Err(self.no_topology(log)?);
        };
        let record = TopologyRecord::decode(&held.value).map_err(|why| {
            let topology = topology.clone();
            ReplicaError::Record { topology, why: Box::new(why) }
        })?;
        if record.deleting {
            return Err(ReplicaError::Deleting { topology });
        }
        for &ledger in record.commit_ledgers.iter().rev() {
            let Some(entry) = last_acknowledged(log, ledger)? else { continue };
            let commit = commit(log, ledger, entry)?;
            return Ok(Newest { record: commit, key_groups: record.key_groups });
        }
        Err(ReplicaError::NothingCommitted { topology })
    }

    fn no_topology(&self, log: &Log) -> Result<ReplicaError, ReplicaError> {
        let all = topology_key("");
        let found = log.metadata().list(&all)?.entries.into_iter();
        let topologies = found.map(|(key, _)| key[all.len()..].to_owned()).collect();
        Ok(ReplicaError::NoTopology { topology: self.topology.to_string(), topologies })
    }

    pub(super) fn no_component(&self, component: &str, record: &CommitRecord) -> ReplicaError {
        ReplicaError::NoComponent {
            topology: self.topology.to_string(),
            component: component.to_owned(),
            components: record.state.keys().cloned().collect(),
        }
    }

    /// The schema the last entry of a component was written under, if its text is kept.
    pub(super) fn last_schema(
        &self,
        log: &Log,
        set: &RestoreSet,
    ) -> Result<Option<Schema>, ReplicaError> {
        let last = set.ledgers().into_iter().rev().find_map(|(id, last)| Some((id, last?)));
        let Some((ledger, entry)) = last else { return Ok(None) };
        let bytes = log.ledgers().read_unconfirmed(ledger, entry)?;
        let at = EntryAddress { ledger, entry };
        let entry = StateEntry::decode(&bytes).map_err(|why| ViewError::Bytes { at, why })?;
        Ok(self.schemas(log, vec![entry.schema])?.remove(&entry.schema).flatten())
    }

    /// The texts of schemas, as far as the metadata has them.
    pub(super) fn schemas(
        &self,
        log: &Log,
        ids: Vec<u64>,
    ) -> Result<BTreeMap<u64, Option<Schema>>, ReplicaError> {
        let mut schemas = BTreeMap::new();
        for id in ids {
            let held = log.metadata().get(&schema_key(&self.topology, id))?;
            let text = held.and_then(|held| String::from_utf8(held.value).ok());
            schemas.insert(id, text.and_then(|text| text.parse().ok()));
        }
        Ok(schemas)
    }
}

fn commit(log: &Log, ledger: LedgerId, entry: EntryId) -> Result<CommitRecord, ReplicaError> {
    let bytes = log.ledgers().read_unconfirmed(ledger, entry)?;
    let decoded = CommitRecord::decode(&bytes);
    decoded.map_err(|why| ReplicaError::Unreadable { ledger, entry, why: Box::new(why) })
}

/// Reads the entries of a piece.
pub(super) fn piece(log: &Log, piece: &Piece, staged: &mut Staged) -> Result<(), ReplicaError> {
    let mut scan = log.ledgers().scan(piece.ledger);
    for entry in piece.from.0..=piece.last.0 {
        let at = EntryAddress { ledger: piece.ledger, entry: EntryId(entry) };
        let bytes = scan.read(at.entry, piece.last)?;
        staged.entry(piece, at, bytes)?;
    }
    Ok(staged.end_piece()?)
}
