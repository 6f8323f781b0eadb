//! The embedded metadata store: one redb file on a [`Disk`], durable before it answers.
//!
//! | module | holds |
//! |---|---|
//! | `pages` | redb's pages with their checksums: damage is told before redb sees it |
//! | `records` | a value's bytes, and the sums that tell a record is missing |
//!
//! Everything is read and verified when the store is opened and kept in memory; reads are served from
//! there, and so are leases and watches. A leased key is never in the file. A commit that fails poisons
//! the store, because whether it is durable is not known.

pub(crate) mod pages;
pub(crate) mod records;
#[cfg(test)]
mod tests;

use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{Builder, Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};

use self::pages::{FirstBad, Pages};
use self::records::{Totals, decode, encode};
use super::lease::{LeaseClock, LeaseId};
use super::local::{Base, Change, Local};
use super::{Compare, Listing, MetaError, MetaStore, Op, TxnOutcome, Versioned, Watch};
use crate::disk::{Disk, OpenHow};

const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");
const STORE: TableDefinition<'_, &str, u64> = TableDefinition::new("store");
/// Everything is in memory anyway: redb's own cache need not hold it again.
const CACHE_BYTES: usize = 1 << 20;

#[derive(Debug)]
struct Writing {
    /// `None` once closed.
    database: Option<Database>,
    totals: Totals,
}

/// See the [module](self).
#[derive(Debug)]
pub struct RedbMeta {
    local: Arc<Local<RedbFile>>,
}

/// What is durable of it.
#[derive(Debug)]
struct RedbFile {
    file: PathBuf,
    first_bad: FirstBad,
    writing: Mutex<Writing>,
}

impl RedbMeta {
    /// Opens the store, or creates it where there is none, and verifies all of it.
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<RedbMeta, MetaError> {
        RedbMeta::open_with_clock(disk, path, LeaseClock::real())
    }

    /// The same, its leases measured by `clock`.
    pub fn open_with_clock(
        disk: &dyn Disk,
        path: &Path,
        clock: LeaseClock,
    ) -> Result<RedbMeta, MetaError> {
        let io = |error: io::Error| MetaError::Io { file: path.into(), why: error.to_string() };
        if !disk.exists(path).map_err(io)? {
            create(disk, path)?;
        }
        let file = disk.open(path, OpenHow::Write, false).map_err(io)?;
        let pages = Pages::open(file, path)?;
        let first_bad = pages.first_bad();
        let doubtful = pages.look_at_all().map_err(io)?;
        // redb asserts what it believes no file of its own can break. The checksums leave it only what
        // was written, and still a medium may have left out a whole page of it.
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let mut database = database(pages, path)?;
            if let Some(bad) = &doubtful {
                check_all(&mut database, path)?;
                tracing::warn!(%bad, "torn by a power cut or damaged, and nothing refers to it");
            }
            let (values, totals) = read_all(&database, path)?;
            Ok((database, values, totals))
        }));
        let opened = opened.unwrap_or_else(|panic| Err(contradicts(path, &panic_text(&*panic))));
        let (database, values, totals) = opened.map_err(|error| damage_or(&first_bad, error))?;
        let revision = totals.revision;
        let writing = Mutex::new(Writing { database: Some(database), totals });
        let base = RedbFile { file: path.into(), first_bad, writing };
        Ok(RedbMeta { local: Local::new(base, values, revision, clock) })
    }
}

/// A watch may outlive its store: the file is let go of here all the same.
impl Drop for RedbMeta {
    fn drop(&mut self) {
        self.local.close();
    }
}

impl RedbFile {
    fn writing(&self) -> MutexGuard<'_, Writing> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poison(&self, why: String) -> MetaError {
        damage_or(&self.first_bad, MetaError::Poisoned { file: self.file.clone(), why })
    }
}

impl Base for RedbFile {
    fn commit(&self, revision: u64, changes: &[Change]) -> Result<(), MetaError> {
        let mut writing = self.writing();
        let mut totals = Totals { revision, ..writing.totals };
        let mut stored = Vec::with_capacity(changes.len());
        for Change { key, before, after } in changes {
            if let Some(before) = before {
                totals.remove(key, &encode(before));
            }
            let after = after.as_ref().map(encode);
            if let Some(after) = &after {
                totals.add(key, after);
            }
            stored.push((key, after));
        }
        let commit = || -> Result<(), redb::Error> {
            let database = writing.database.as_ref().expect("a closed store answered before");
            let mut txn = database.begin_write()?;
            txn.set_durability(Durability::Immediate)?;
            // What `pages` relies on: a torn page is never one that page 0 leads to.
            txn.set_two_phase_commit(true);
            {
                let mut records = txn.open_table(RECORDS)?;
                for (key, after) in &stored {
                    match after {
                        Some(after) => records.insert(key.as_str(), after.as_slice())?,
                        None => records.remove(key.as_str())?,
                    };
                }
                let mut store = txn.open_table(STORE)?;
                store.insert("revision", totals.revision)?;
                store.insert("count", totals.count)?;
                store.insert("digest", totals.digest)?;
            }
            txn.commit()?;
            Ok(())
        };
        match catch_unwind(AssertUnwindSafe(commit)) {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(self.poison(error.to_string())),
            Err(panic) => return Err(self.poison(panic_text(&*panic))),
        }
        writing.totals = totals;
        Ok(())
    }

    fn close(&self) {
        drop(self.writing().database.take());
    }
}

impl MetaStore for RedbMeta {
    fn get(&self, key: &str) -> Result<Option<Versioned>, MetaError> {
        self.local.get(key)
    }

    fn list(&self, prefix: &str) -> Result<Listing, MetaError> {
        self.local.list(prefix)
    }

    fn txn(&self, compare: &[Compare], ops: &[Op]) -> Result<TxnOutcome, MetaError> {
        self.local.txn(compare, ops)
    }

    fn grant(&self, ttl_ms: u64) -> Result<LeaseId, MetaError> {
        self.local.grant(ttl_ms)
    }

    fn keep_alive(&self, lease: LeaseId) -> Result<u64, MetaError> {
        self.local.keep_alive(lease)
    }

    fn revoke(&self, lease: LeaseId) -> Result<(), MetaError> {
        self.local.revoke(lease)
    }

    fn watch(&self, prefix: &str, from_revision: u64) -> Result<Watch, MetaError> {
        self.local.watch(prefix, from_revision)
    }

    fn close(&self) {
        self.local.close();
    }
}

/// Writes an empty store beside its final name first, so that a crash never leaves half of one.
fn create(disk: &dyn Disk, path: &Path) -> Result<(), MetaError> {
    let io = |error: io::Error| MetaError::Io { file: path.into(), why: error.to_string() };
    let fresh = path.with_extension("new");
    let dir = path.parent().expect("a store lies in a directory");
    if disk.exists(&fresh).map_err(io)? {
        disk.remove(&fresh).map_err(io)?;
    }
    let file = disk.open(&fresh, OpenHow::CreateNew, false).map_err(io)?;
    let database = database(Pages::create(file.clone(), &fresh), &fresh)?;
    let fill = || -> Result<(), redb::Error> {
        let mut txn = database.begin_write()?;
        txn.set_durability(Durability::Immediate)?;
        txn.set_two_phase_commit(true);
        txn.open_table(RECORDS)?;
        for name in ["revision", "count", "digest"] {
            txn.open_table(STORE)?.insert(name, 0)?;
        }
        txn.commit()?;
        Ok(())
    };
    fill().map_err(|error| MetaError::Io { file: path.into(), why: error.to_string() })?;
    drop(database);
    file.sync_data().map_err(io)?;
    disk.rename(&fresh, path).map_err(io)?;
    disk.sync_dir(dir).map_err(io)
}

fn database(pages: Pages, path: &Path) -> Result<Database, MetaError> {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder.create_with_backend(pages).map_err(|error| redb_error(path, error.into()))
}

/// Reads every page that anything refers to.
fn check_all(database: &mut Database, path: &Path) -> Result<(), MetaError> {
    match database.check_integrity() {
        Ok(true) => Ok(()),
        Ok(false) => Err(contradicts(path, "its list of free pages was wrong")),
        Err(error) => Err(redb_error(path, error.into())),
    }
}

fn read_all(
    database: &Database,
    path: &Path,
) -> Result<(BTreeMap<String, Versioned>, Totals), MetaError> {
    let redb = |error: redb::Error| redb_error(path, error);
    let read = || -> Result<_, redb::Error> {
        let txn = database.begin_read()?;
        let mut stored: Vec<(String, Vec<u8>)> = Vec::new();
        for record in txn.open_table(RECORDS)?.iter()? {
            let (key, value) = record?;
            stored.push((key.value().to_owned(), value.value().to_vec()));
        }
        let store = txn.open_table(STORE)?;
        let total = |name| Ok::<_, redb::Error>(store.get(name)?.map(|total| total.value()));
        Ok((stored, [total("revision")?, total("count")?, total("digest")?]))
    };
    let (stored, totals) = read().map_err(redb)?;
    let [Some(revision), Some(count), Some(digest)] = totals else {
        return Err(damaged(path, "the totals", "one is missing"));
    };
    let held = Totals { revision, count, digest };
    let mut found = Totals { revision, ..Totals::default() };
    let mut values = BTreeMap::new();
    for (key, stored) in stored {
        let value = decode(&stored).map_err(|what| damaged(path, &key, &what))?;
        if value.revision > revision {
            return Err(damaged(path, &key, "it is newer than the store"));
        }
        found.add(&key, &stored);
        values.insert(key, value);
    }
    if found != held {
        let what = format!(
            "{} records of digest {:016x} were written, {} of {:016x} are there",
            held.count, held.digest, found.count, found.digest
        );
        return Err(damaged(path, "the set of records", &what));
    }
    Ok((values, held))
}

fn damaged(file: &Path, record: &str, what: &str) -> MetaError {
    MetaError::Record { file: file.into(), record: record.to_owned(), what: what.to_owned() }
}

fn contradicts(file: &Path, what: &str) -> MetaError {
    damaged(file, "the whole", what)
}

fn redb_error(path: &Path, error: redb::Error) -> MetaError {
    match error {
        redb::Error::Io(error) => MetaError::Io { file: path.into(), why: error.to_string() },
        other => contradicts(path, &other.to_string()),
    }
}

/// The damage that was come upon, if any: what redb makes of it says less.
fn damage_or(first_bad: &FirstBad, otherwise: MetaError) -> MetaError {
    let bad = first_bad.lock().unwrap_or_else(PoisonError::into_inner).clone();
    bad.map_or(otherwise, MetaError::from)
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("redb gave up").to_owned()
}
