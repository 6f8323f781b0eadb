//! Making a stream: its record and those of its partitions, in as many transactions as the store wants.
//!
//! One that fits a transaction is made in one. Of a larger one the record comes first, as *being made*, and
//! is not there for anybody; then its partitions, a transaction's worth at a time; with the last of them
//! the stream is there. Each of these transactions wants the record as it was put, so that whoever finds a
//! half-made stream may remove it: the one that makes it learns of that, and gives up.

use std::sync::Arc;

use super::catalog::{
    PartitionRecord, StreamConfig, StreamInfo, StreamRecord, StreamState, check_name,
    decode_stream, encode_partition, encode_stream,
};
use super::error::{CatalogError, CreateStreamError};
use super::partition::{CAS_TRIES, Catalog, partition_key, stream_key};
use super::truncate;
use crate::caps;
use crate::metadata::{Compare, Op, TxnOutcome, Versioned, txn_or_conflict};

/// Makes a stream.
pub(super) fn create(
    catalog: &Arc<Catalog>,
    name: &str,
    config: StreamConfig,
) -> Result<StreamInfo, CreateStreamError> {
    check(name, &config)?;
    catalog.check_open()?;
    let proposal = catalog.ledgers.proposal();
    let partition = encode_partition(&PartitionRecord::new(proposal));
    let put = |number| Op::Put(partition_key(name, number), partition.clone());
    let partitions: Vec<Op> = (0..config.partitions).map(put).collect();
    let record = StreamRecord { state: StreamState::There, config, proposal };
    let making = Making { catalog, name, record };
    // With room for the record itself.
    let mut parts = partitions.chunks(caps::META_TXN_OPS_MAX - 1).peekable();
    let mut held = None;
    while let Some(part) = parts.next() {
        let state = if parts.peek().is_none() { StreamState::There } else { StreamState::Making };
        held = Some(match held {
            None => making.begin(state, part)?,
            Some(revision) => making.go_on(revision, state, part)?,
        });
    }
    Ok(StreamInfo { name: name.to_owned(), config: making.record.config })
}

struct Making<'a> {
    catalog: &'a Arc<Catalog>,
    name: &'a str,
    /// As it is to be.
    record: StreamRecord,
}

impl Making<'_> {
    fn key(&self) -> String {
        stream_key(self.name)
    }

    /// The record in this state, and some of the partitions.
    fn ops(&self, state: StreamState, part: &[Op]) -> Vec<Op> {
        let record = StreamRecord { state, ..self.record.clone() };
        let put = Op::Put(self.key(), encode_stream(&record));
        [&[put], part].concat()
    }

    /// What is there under the name.
    fn find(&self) -> Result<Option<(StreamRecord, u64)>, CatalogError> {
        let key = self.key();
        let found: Option<Versioned> = self.catalog.ledgers.metadata().get(&key)?;
        let Some(found) = found else { return Ok(None) };
        match decode_stream(&found.value) {
            Ok(record) => Ok(Some((record, found.revision))),
            Err(why) => Err(CatalogError::Decode { key, why }),
        }
    }

    fn exists(&self) -> CreateStreamError {
        CreateStreamError::Exists { stream: self.name.to_owned() }
    }

    fn contended(&self) -> CreateStreamError {
        CatalogError::Contended { key: self.key() }.into()
    }

    /// Takes the name; the record's revision. What somebody left half made or half deleted goes first.
    fn begin(&self, state: StreamState, part: &[Op]) -> Result<u64, CreateStreamError> {
        let (absent, ops) = ([Compare::Absent(self.key())], self.ops(state, part));
        for _ in 0..CAS_TRIES {
            let meta = &**self.catalog.ledgers.metadata();
            if let TxnOutcome::Committed { revision } =
                txn_or_conflict(meta, &absent, &ops).map_err(CatalogError::Meta)?
            {
                return Ok(revision);
            }
            match self.find()? {
                Some((held, revision)) if held.proposal == self.record.proposal => {
                    return Ok(revision);
                }
                Some((held, _)) if held.state == StreamState::There => return Err(self.exists()),
                Some(_) => truncate::finish_stream(self.catalog, self.name)
                    .map_err(|why| CreateStreamError::Unfinished { why: Box::new(why) })?,
                // Lost before it was carried out, or made by someone and deleted since.
                None => {}
            }
        }
        Err(self.contended())
    }

    /// More partitions of a stream that is being made, or the last and the stream itself; its revision.
    fn go_on(
        &self,
        revision: u64,
        state: StreamState,
        part: &[Op],
    ) -> Result<u64, CreateStreamError> {
        let still = [Compare::Revision(self.key(), revision)];
        let ops = match state {
            StreamState::There => self.ops(state, part),
            _ => part.to_vec(),
        };
        for _ in 0..CAS_TRIES {
            let meta = &**self.catalog.ledgers.metadata();
            let done = txn_or_conflict(meta, &still, &ops).map_err(CatalogError::Meta)?;
            if let TxnOutcome::Committed { .. } = done {
                return Ok(revision);
            }
            match self.find()? {
                // Lost before it was carried out, or after: the same once more changes nothing.
                Some((_, held)) if held == revision => {}
                Some((held, _))
                    if held.proposal == self.record.proposal
                        && held.state == StreamState::There =>
                {
                    return Ok(revision);
                }
                _ => return Err(self.exists()),
            }
        }
        Err(self.contended())
    }
}

fn check(name: &str, config: &StreamConfig) -> Result<(), CreateStreamError> {
    check_name(name)?;
    if let Some(owner) = &config.transactional {
        check_name(owner)?;
    }
    if !(1..=caps::PARTITIONS_MAX).contains(&config.partitions) {
        return Err(CreateStreamError::Partitions { asked: config.partitions });
    }
    // Nothing may be kept of nothing, nor may what belongs to a topology be forgotten.
    let limits = [config.retention_ms, config.retention_bytes];
    if limits.contains(&Some(0)) {
        return Err(CreateStreamError::NothingKept);
    }
    match &config.transactional {
        Some(owner) if limits.iter().any(Option::is_some) => {
            Err(CreateStreamError::OwnedRetention { owner: owner.clone() })
        }
        _ => Ok(()),
    }
}
