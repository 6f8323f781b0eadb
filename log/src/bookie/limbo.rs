//! What a start does that cannot tell what it lost: it keeps what is good, and says so of the rest.
//!
//! Durable data is missing or damaged: a batch of the journal that a later one knew to be durable, a
//! file of the journal, an extent. Other bookies have copies, so this one need not refuse to start, but
//! its word on what it lacks is worth nothing:
//!
//! * Every ledger that exists here is in **limbo** until it is cleared: entries that are here are served,
//!   the others are answered as unknown, and a writer's adds are shut out, because a fence it should
//!   have met may be among what was lost.
//! * A ledger that is not known may have been created and lost. Below the **limbo bound** it comes to be
//!   known in limbo.
//!
//! All of it becomes durable in one replacement of the manifest, which also says that the journal so far
//! is no longer needed: what was good in it was written to an extent first. Cut anywhere before, the next
//! start finds the damage again and does the same. Damaged files are renamed, not removed.
//!
//! With a ledger of one copy here nobody else has what was lost: opening refuses. Why limbo is as it is:
//! `docs/004-limbo.md`.

use std::io;
use std::path::Path;
use std::sync::Arc;

use egret_schemas::Incarnation;

use super::cache::WriteCache;
use super::damage::Damage;
use super::extent::{self, Extent, TableCache};
use super::index::ExtentIndex;
use super::journal::Lsn;
use super::journal::files;
use super::journal::replay::Tail;
use super::manifest::Manifest;
use super::open::{OpenError, Replayed};
use super::shard::checkpoint::write_extent;
use crate::disk::Disk;

/// What a damaged file's name ends in from then on. No file of ours has it otherwise.
const SUFFIX: &str = "damaged";

/// Where a bookie keeps what.
pub(super) struct Place<'a> {
    pub(super) disk: &'a Arc<dyn Disk>,
    pub(super) dir: &'a Path,
    pub(super) own: Incarnation,
    pub(super) tables: &'a Arc<TableCache>,
}

/// A journal that was read back as far as it was good.
pub(super) enum Journal {
    /// To its end.
    Whole(Box<Tail>),
    /// Up to damage; no batch that was found has a higher number.
    Damaged(Lsn),
}

/// Enters limbo, durably. Afterwards nothing of the old journal is needed.
pub(super) fn enter(
    place: &Place<'_>,
    manifest: &mut Manifest,
    index: &mut ExtentIndex,
    state: &mut Replayed,
    journal: Journal,
) -> Result<Tail, OpenError> {
    let io = |source| OpenError::Io { dir: place.dir.to_owned(), source };
    state.table.enter_limbo();
    let (next_lsn, tail) = match journal {
        Journal::Whole(tail) => (tail.next_lsn, Some(*tail)),
        Journal::Damaged(last) => (last.max(manifest.checkpoint_lsn) + 1, None),
    };
    let mut extents = index.extents().to_vec();
    let mut next = Manifest {
        sequence: manifest.sequence + 1,
        checkpoint_lsn: next_lsn,
        next_extent: manifest.next_extent,
        limbo_below: state.table.limbo_below(),
        ..Manifest::empty(place.own)
    };
    let extent_dir = place.dir.join(extent::DIR);
    let cache = std::mem::take(&mut state.cache);
    if let Some(extent) = keep(place, &extent_dir, manifest, &cache)? {
        next.next_extent = extent.id().next();
        extents.push(extent);
    }
    (next.ledgers, next.deleted) = state.table.rows();
    next.extents = extents.iter().map(|extent| extent.id()).collect();
    let lost = manifest.extents.iter().filter(|id| !next.extents.contains(id));
    let lost: Vec<String> = lost.map(ToString::to_string).collect();
    put_aside(&**place.disk, &extent_dir, &lost).map_err(io)?;
    next.store(&**place.disk, place.dir, Some(manifest)).map_err(io)?;
    *manifest = next;
    *index = ExtentIndex::new(extents);
    match tail {
        Some(tail) => Ok(tail),
        None => begin_journal(&**place.disk, &place.dir.join("journal"), next_lsn).map_err(io),
    }
}

/// Writes what the good part of the journal holds to an extent.
fn keep(
    place: &Place<'_>,
    dir: &Path,
    manifest: &Manifest,
    cache: &WriteCache,
) -> Result<Option<Arc<Extent>>, OpenError> {
    if cache.len() == 0 {
        return Ok(None);
    }
    let io = |source| OpenError::Io { dir: place.dir.to_owned(), source };
    let id = manifest.next_extent;
    let written = write_extent(place.disk, dir, id, place.own, cache.active());
    written.map_err(|error| io(io::Error::other(error.to_string())))?;
    let opened = Extent::open(&**place.disk, dir, id, place.own, Arc::clone(place.tables));
    Ok(Some(Arc::new(opened?)))
}

/// Renames files of a directory so that they are never read again, nor lost to whoever looks into it.
fn put_aside(disk: &dyn Disk, dir: &Path, names: &[String]) -> io::Result<()> {
    for name in names {
        let path = dir.join(name);
        if disk.exists(&path)? {
            disk.rename(&path, &dir.join(format!("{name}.{SUFFIX}")))?;
        }
    }
    if names.is_empty() { Ok(()) } else { disk.sync_dir(dir) }
}

/// Puts the old journal aside; the new one begins in a file whose number was never used, and without
/// spares, so that no block of an earlier use can be taken for one of its own.
fn begin_journal(disk: &dyn Disk, dir: &Path, next_lsn: Lsn) -> io::Result<Tail> {
    let mut last_seq = 0;
    let mut names = Vec::new();
    for name in disk.list(dir)? {
        let stem = name.strip_suffix(SUFFIX).and_then(|stem| stem.strip_suffix('.'));
        if let Some(seq) = files::number(stem.unwrap_or(&name)) {
            last_seq = last_seq.max(seq);
        }
        if files::number(&name).is_some() {
            names.push(name);
        } else if stem.is_none() && files::is_spare(&name) {
            disk.remove(&dir.join(&name))?;
        }
    }
    put_aside(disk, dir, &names)?;
    disk.sync_dir(dir)?;
    let next_seq = last_seq + 1;
    Ok(Tail { current: None, full: Default::default(), next_lsn, next_seq, cut: None })
}

/// Tells the operator.
pub(super) fn alarm(damages: &[Damage], ledgers: usize) {
    for damage in damages {
        tracing::error!(%damage, "acknowledged data may be lost here");
    }
    tracing::error!(ledgers, "they are in limbo until their other copies have mended them");
}
