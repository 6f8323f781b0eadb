//! Forgetting the start of a partition, or a whole stream.
//!
//! What is forgotten leaves the partition's record first, in the step that lists its ledgers as
//! garbage; then the ledgers are deleted, each by a tombstone; then the list is shortened. A crash
//! anywhere leaves a list to finish.
//!
//! What a topology may yet read is kept, and so is a stream it uses, unless by force: then the
//! topology is no longer named, and refuses to go on when it is run again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use egret_schemas::{LedgerId, Position, SegmentId};

use super::catalog::{StreamRecord, StreamState, decode_stream, encode_stream};
use super::error::{CatalogError, TruncateError};
use super::partition::{Catalog, Partition, partition_key, stream_key};
use super::retention;
use super::users::{self, Users};
use crate::metadata::{self, Compare, Op, TxnOutcome, txn_or_conflict};

/// Forgets everything before `before`. The last segment stays, whatever of it is forgotten.
pub(super) fn truncate(
    partition: &Partition,
    before: Position,
    force: bool,
) -> Result<(), TruncateError> {
    let record = partition.load()?;
    let end = partition.visible_end(&record)?;
    if before > end.position {
        let end = partition.whole_end(&record)?.position;
        return Err(TruncateError::BeyondEnd { asked: before, end });
    }
    release(partition, before, force)?;
    forget(partition, before, end.segment.map(|(segment, _)| segment.id))
}

/// Begins the partition at `before`, and drops the segments that this leaves behind, page by page.
fn forget(
    partition: &Partition,
    before: Position,
    visible: Option<SegmentId>,
) -> Result<(), TruncateError> {
    loop {
        let record = partition.change::<CatalogError>((&[], &[]), |record| {
            record.first = record.first.max(before);
            let first = record.first;
            partition.forget(record, |id| goes(id, first, visible))
        })?;
        partition.collect_garbage(&record);
        if record.first_listed().is_none_or(|id| !goes(id, record.first, visible)) {
            return Ok(());
        }
    }
}

/// Only what lies before the visible segment may go: it is closed.
fn goes(id: SegmentId, first: Position, visible: Option<SegmentId>) -> bool {
    id < first.segment && Some(id) < visible
}

/// Goes on with a truncation that a crash interrupted between two pages.
fn finish_truncation(partition: &Partition) -> Result<(), TruncateError> {
    let record = partition.load()?;
    partition.collect_garbage(&record);
    if record.first_listed().is_none_or(|id| id >= record.first.segment) {
        return Ok(());
    }
    let end = partition.visible_end(&record)?;
    forget(partition, record.first, end.segment.map(|(segment, _)| segment.id))
}

/// Sees to it that nobody named needs what lies before `before`: refuses, or by force names them no
/// more. Whoever is named after this looked begins at what it finds.
fn release(partition: &Partition, before: Position, force: bool) -> Result<(), TruncateError> {
    let (catalog, stream, number) =
        (partition.catalog(), partition.stream_name(), partition.number());
    let (users, _) = users::load(catalog, stream)?;
    let Some((user, needed)) = users.needing(number, before) else { return Ok(()) };
    if !force {
        let (stream, user) = (stream.to_owned(), user.clone());
        return Err(TruncateError::Needed { stream, partition: number, user, needed });
    }
    users::change(catalog, stream, |users| {
        let needs = |needed: &BTreeMap<u32, Position>| {
            needed.get(&number).is_some_and(|needed| *needed < before)
        };
        users.consumers.retain(|_, needed| !needs(needed));
    })?;
    Ok(())
}

/// Begins to delete a stream: from here on it is not there, and nobody is named as using it.
pub(super) fn mark_deleted(
    catalog: &Catalog,
    name: &str,
    force: bool,
) -> Result<(), TruncateError> {
    let meta = catalog.ledgers.metadata();
    let key = stream_key(name);
    loop {
        let (mut record, revision) = match load_stream(catalog, name)? {
            Some(found) => found,
            None => return Err(CatalogError::NoStream { stream: name.to_owned() }.into()),
        };
        if record.state == StreamState::Deleting {
            return Ok(());
        }
        let (users, same_users) = users::load(catalog, name)?;
        if !force && record.state == StreamState::There {
            check_unused(name, record.config.transactional.as_deref(), &users)?;
        }
        record.state = StreamState::Deleting;
        record.proposal = catalog.ledgers.proposal();
        let ops =
            [Op::Put(key.clone(), encode_stream(&record)), Op::Delete(users::users_key(name))];
        let compare = [Compare::Revision(key.clone(), revision), same_users];
        // A lost answer is settled by what is found: marked, or as it was.
        let done = txn_or_conflict(&**meta, &compare, &ops).map_err(CatalogError::Meta)?;
        if done != TxnOutcome::Conflict {
            return Ok(());
        }
    }
}

/// Removes what is left of a stream that was half made or half deleted. Whoever makes it yet gives up.
pub(super) fn finish_stream(catalog: &Arc<Catalog>, name: &str) -> Result<(), TruncateError> {
    match load_stream(catalog, name)? {
        Some((record, _)) if record.state != StreamState::There => {}
        _ => return Ok(()),
    }
    match mark_deleted(catalog, name, false) {
        // Somebody was faster; or it was finished, and is in use.
        Err(TruncateError::Catalog(CatalogError::NoStream { .. }) | TruncateError::Used { .. }) => {
            Ok(())
        }
        marked => {
            marked?;
            delete_marked(catalog, name)
        }
    }
}

/// Deletes a stream that is marked: writers are shut out, every ledger is deleted, the records go.
pub(super) fn delete_marked(catalog: &Arc<Catalog>, name: &str) -> Result<(), TruncateError> {
    let meta = catalog.ledgers.metadata();
    let Some((record, revision)) = load_stream(catalog, name)? else { return Ok(()) };
    // A removal whose answer was lost may come true later: it must not meet a new stream of the name.
    let still = [Compare::Revision(stream_key(name), revision)];
    for number in 0..record.config.partitions {
        match delete_partition(&catalog.partition_of(name, number)) {
            // Deleted by an attempt before this one.
            Err(TruncateError::Catalog(CatalogError::NoStream { .. })) => {}
            other => other?,
        }
        let key = partition_key(name, number);
        metadata::remove(&**meta, &still, &key).map_err(CatalogError::Meta)?;
        catalog.partition_of(name, number).hub.notify();
    }
    metadata::remove(&**meta, &still, &stream_key(name)).map_err(CatalogError::Meta)?;
    Ok(())
}

/// A stream's record, being deleted or not, and its revision.
fn load_stream(catalog: &Catalog, name: &str) -> Result<Option<(StreamRecord, u64)>, CatalogError> {
    catalog.check_open()?;
    let key = stream_key(name);
    let Some(held) = catalog.ledgers.metadata().get(&key)? else { return Ok(None) };
    let record = decode_stream(&held.value).map_err(|why| CatalogError::Decode { key, why })?;
    Ok(Some((record, held.revision)))
}

/// Refuses to delete a stream that a topology owns, reads or writes.
fn check_unused(stream: &str, owner: Option<&str>, users: &Users) -> Result<(), TruncateError> {
    let users = match (owner, users.is_empty()) {
        (None, true) => return Ok(()),
        // Its topology is named by the component that writes once it ran.
        (Some(owner), true) => format!("owned by {owner}"),
        (_, false) => users.in_words(),
    };
    Err(TruncateError::Used { stream: stream.to_owned(), users })
}

fn delete_partition(partition: &Partition) -> Result<(), TruncateError> {
    let mut deleted: BTreeSet<LedgerId> = BTreeSet::new();
    loop {
        let record = partition.change::<CatalogError>((&[], &[]), |record| {
            record.term = record.term.next();
            record.garbage.retain(|ledger| !deleted.contains(ledger));
            partition.forget(record, |_| true)
        })?;
        for ledger in &record.garbage {
            partition.ledgers().abandon(*ledger, record.term)?;
        }
        if record.first_listed().is_none() {
            return Ok(());
        }
        deleted = record.garbage.into_iter().collect();
    }
}

/// Finishes what a crash interrupted: deletions of streams, of ledgers, garbage of partitions. Forgets
/// what grew too old meanwhile.
pub(super) fn finish(catalog: &Arc<Catalog>) -> Result<(), TruncateError> {
    let meta = catalog.ledgers.metadata();
    catalog.ledgers.finish_deletions()?;
    for (key, held) in meta.list("/stream/").map_err(CatalogError::Meta)? {
        let name = key["/stream/".len()..].to_owned();
        let record = decode_stream(&held.value).map_err(|why| CatalogError::Decode { key, why })?;
        if record.state != StreamState::There {
            finish_stream(catalog, &name)?;
            continue;
        }
        for number in 0..record.config.partitions {
            let partition = catalog.partition_of(&name, number);
            finish_truncation(&partition)?;
            retention::enforce_or_warn(&partition, &record.config);
        }
    }
    Ok(())
}
