//! Forgetting the start of a partition, or a whole stream.
//!
//! What is forgotten leaves the partition's record first, in the step that lists its ledgers as
//! garbage; then the ledgers are deleted, each by a tombstone; then the list is shortened. A crash
//! anywhere leaves a list to finish.

use std::sync::Arc;

use egret_schemas::Position;

use super::catalog::{decode_stream, encode_stream};
use super::error::{CatalogError, TruncateError};
use super::partition::{Catalog, Partition, partition_key, stream_key};
use crate::metadata::{Compare, Op, TxnOutcome};

/// Forgets everything before `before`. The last segment stays, whatever of it is forgotten.
pub(super) fn truncate(partition: &Partition, before: Position) -> Result<(), TruncateError> {
    let record = partition.load()?;
    let end = partition.visible_end(&record)?;
    if before > end.position {
        return Err(TruncateError::BeyondEnd { asked: before, end: end.position });
    }
    // Only what lies before the visible segment may go: it is closed.
    let visible = end.segment.map(|(index, _)| record.segments[index].id);
    let record = partition.change::<CatalogError>((&[], &[]), |record| {
        record.first = record.first.max(before);
        let first = record.first;
        let (gone, kept) = record
            .segments
            .drain(..)
            .partition(|segment| segment.id < first.segment && Some(segment.id) < visible);
        let gone: Vec<super::catalog::SegmentRecord> = gone;
        record.segments = kept;
        record.garbage.extend(gone.iter().map(|segment| segment.ledger));
        Ok(())
    })?;
    partition.collect_garbage(&record);
    Ok(())
}

/// Deletes a stream: it is marked, writers are shut out, every ledger is deleted, the records go.
pub(super) fn delete_stream(catalog: &Arc<Catalog>, name: &str) -> Result<(), TruncateError> {
    let meta = catalog.ledgers.metadata();
    let key = stream_key(name);
    let mut record = loop {
        catalog.check_open()?;
        let held = meta.get(&key).map_err(CatalogError::Meta)?;
        let held = held.ok_or_else(|| CatalogError::NoStream { stream: name.to_owned() })?;
        let mut record = decode_stream(&held.value)
            .map_err(|why| CatalogError::Decode { key: key.clone(), why })?;
        if record.deleting {
            break record;
        }
        record.deleting = true;
        record.proposal = catalog.ledgers.proposal();
        let put = Op::Put(key.clone(), encode_stream(&record));
        let compare = Compare::Revision(key.clone(), held.revision);
        if meta.txn(&[compare], &[put]).map_err(CatalogError::Meta)? != TxnOutcome::Conflict {
            break record;
        }
    };
    for number in 0..record.config.partitions {
        match delete_partition(&catalog.partition_of(name, number)) {
            // Deleted by an attempt before this one.
            Err(TruncateError::Catalog(CatalogError::NoStream { .. })) => {}
            other => other?,
        }
        let gone = [Op::Delete(partition_key(name, number))];
        meta.txn(&[], &gone).map_err(CatalogError::Meta)?;
        catalog.partition_of(name, number).hub.notify();
    }
    record.proposal = catalog.ledgers.proposal();
    meta.txn(&[], &[Op::Delete(key)]).map_err(CatalogError::Meta)?;
    Ok(())
}

fn delete_partition(partition: &Partition) -> Result<(), TruncateError> {
    let record = partition.change::<CatalogError>((&[], &[]), |record| {
        record.term = record.term.next();
        let segments = std::mem::take(&mut record.segments);
        record.garbage.extend(segments.iter().map(|segment| segment.ledger));
        Ok(())
    })?;
    for ledger in &record.garbage {
        partition.ledgers().abandon(*ledger, record.term)?;
    }
    Ok(())
}

/// Finishes what a crash interrupted: deletions of streams, of ledgers, garbage of partitions.
pub(super) fn finish(catalog: &Arc<Catalog>) -> Result<(), TruncateError> {
    let meta = catalog.ledgers.metadata();
    catalog.ledgers.finish_deletions()?;
    for (key, held) in meta.list("/stream/").map_err(CatalogError::Meta)? {
        let name = key["/stream/".len()..].to_owned();
        let record = decode_stream(&held.value).map_err(|why| CatalogError::Decode { key, why })?;
        if record.deleting {
            delete_stream(catalog, &name)?;
            continue;
        }
        for number in 0..record.config.partitions {
            let partition = catalog.partition_of(&name, number);
            partition.collect_garbage(&partition.load()?);
        }
    }
    Ok(())
}
