//! The embedded metadata store: one redb file on a [`Disk`], durable before it answers.
//!
//! ```text
//! table "records": key → version u8 = 1 | revision u64 | crc32c(key, version, revision, value) u32 | value
//! table "store":   "revision" → u64, "count" → u64, "digest" → u64
//! ```
//! redb's own checksums cover its pages on repair only; a flipped byte in a value came back from it
//! unnoticed. So each value carries a checksum over its key and itself, and the sum (wrapping) of
//! XXH3-64 over (key, stored value) of all records is kept beside them in the same transaction: a
//! record that vanished, or whose key changed, is noticed too.
//!
//! Everything is read and verified when the store is opened and kept in memory; reads are served from
//! there. A commit that fails poisons the store, because whether it is durable is not known.

use std::any::Any;
use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};

use egret_schemas::bytes::{Reader, Writer};
use redb::{
    Builder, Database, Durability, ReadableDatabase, ReadableTable, StorageBackend, TableDefinition,
};
use xxhash_rust::xxh3::Xxh3;

use super::{Compare, MetaError, MetaStore, Op, TxnOutcome, Versioned, check_ops, holds};
use crate::disk::{Disk, DiskFile, OpenHow};

const RECORDS: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("records");
const STORE: TableDefinition<'_, &str, u64> = TableDefinition::new("store");
const VERSION: u8 = 1;
/// Everything is in memory anyway: redb's own cache need not hold it again.
const CACHE_BYTES: usize = 1 << 20;

/// What is known of the whole store; changes with each transaction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Totals {
    revision: u64,
    count: u64,
    digest: u64,
}

#[derive(Debug)]
struct Writing {
    /// `None` once closed.
    database: Option<Database>,
    totals: Totals,
}

/// See the [module](self).
#[derive(Debug)]
pub struct RedbMeta {
    file: PathBuf,
    writing: Mutex<Writing>,
    values: RwLock<Held>,
}

#[derive(Debug)]
struct Held {
    values: BTreeMap<String, Versioned>,
    /// Why nothing is answered any more: set by the first commit that failed, or by closing.
    ended: Option<MetaError>,
}

#[derive(Debug)]
struct Backend {
    file: Arc<dyn DiskFile>,
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }
}

impl RedbMeta {
    /// Opens the store, or creates it where there is none, and verifies all of it.
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<RedbMeta, MetaError> {
        let io = |error: io::Error| MetaError::Io { file: path.into(), why: error.to_string() };
        if !disk.exists(path).map_err(io)? {
            create(disk, path)?;
        }
        let file = disk.open(path, OpenHow::Write, false).map_err(io)?;
        // redb asserts what it believes no file of its own can break; a damaged file can.
        let opened = catch_unwind(AssertUnwindSafe(|| {
            let database = database(file, path)?;
            let (values, totals) = read_all(&database, path)?;
            Ok((database, values, totals))
        }));
        let (database, values, totals) =
            opened.unwrap_or_else(|panic| Err(damaged(path, "the file", &panic_text(&*panic))))?;
        Ok(RedbMeta {
            file: path.into(),
            writing: Mutex::new(Writing { database: Some(database), totals }),
            values: RwLock::new(Held { values, ended: None }),
        })
    }

    fn held(&self) -> Result<RwLockReadGuard<'_, Held>, MetaError> {
        let held = self.values.read().unwrap_or_else(PoisonError::into_inner);
        match &held.ended {
            Some(why) => Err(why.clone()),
            None => Ok(held),
        }
    }

    fn writing(&self) -> MutexGuard<'_, Writing> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn poison(&self, why: String) -> MetaError {
        self.end(MetaError::Poisoned { file: self.file.clone(), why })
    }

    fn end(&self, why: MetaError) -> MetaError {
        let mut held = self.values.write().unwrap_or_else(PoisonError::into_inner);
        held.ended.get_or_insert(why).clone()
    }
}

impl MetaStore for RedbMeta {
    fn get(&self, key: &str) -> Result<Option<Versioned>, MetaError> {
        Ok(self.held()?.values.get(key).cloned())
    }

    fn list(&self, prefix: &str) -> Result<Vec<(String, Versioned)>, MetaError> {
        let held = self.held()?;
        let from = held.values.range(prefix.to_owned()..);
        let these = from.take_while(|(key, _)| key.starts_with(prefix));
        Ok(these.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn txn(&self, compare: &[Compare], ops: &[Op]) -> Result<TxnOutcome, MetaError> {
        check_ops(ops)?;
        // Held to the end, so transactions are one after the other; readers go on meanwhile.
        let mut writing = self.writing();
        let mut totals = writing.totals;
        let mut changes = Vec::with_capacity(ops.len());
        {
            let held = self.held()?;
            if !holds(compare, |key| held.values.get(key).map(|v| v.revision)) {
                return Ok(TxnOutcome::Conflict);
            }
            totals.revision += 1;
            for op in ops {
                let (Op::Put(key, _) | Op::Delete(key)) = op;
                if let Some(before) = held.values.get(key) {
                    totals.remove(key, &encode(key, before));
                }
                let Op::Put(key, value) = op else {
                    changes.push((key, None));
                    continue;
                };
                let value = Versioned { value: value.clone(), revision: totals.revision };
                let stored = encode(key, &value);
                totals.add(key, &stored);
                changes.push((key, Some((value, stored))));
            }
        }
        let commit = || -> Result<(), redb::Error> {
            let database = writing.database.as_ref().expect("a closed store answered before");
            let mut txn = database.begin_write()?;
            txn.set_durability(Durability::Immediate)?;
            {
                let mut records = txn.open_table(RECORDS)?;
                for (key, change) in &changes {
                    match change {
                        Some((_, stored)) => records.insert(key.as_str(), stored.as_slice())?,
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
        let mut held = self.values.write().unwrap_or_else(PoisonError::into_inner);
        for (key, change) in changes {
            match change {
                Some((value, _)) => held.values.insert(key.clone(), value),
                None => held.values.remove(key),
            };
        }
        Ok(TxnOutcome::Committed { revision: totals.revision })
    }

    fn close(&self) {
        let mut writing = self.writing();
        self.end(MetaError::Closed);
        drop(writing.database.take());
    }
}

impl Totals {
    fn add(&mut self, key: &str, stored: &[u8]) {
        self.count += 1;
        self.digest = self.digest.wrapping_add(digest(key, stored));
    }

    fn remove(&mut self, key: &str, stored: &[u8]) {
        self.count -= 1;
        self.digest = self.digest.wrapping_sub(digest(key, stored));
    }
}

fn digest(key: &str, stored: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(&(key.len() as u64).to_le_bytes());
    hash.update(key.as_bytes());
    hash.update(stored);
    hash.digest()
}

fn checksum(key: &str, revision: u64, value: &[u8]) -> u32 {
    let crc = crc32c::crc32c(key.as_bytes());
    let crc = crc32c::crc32c_append(crc, &[VERSION]);
    let crc = crc32c::crc32c_append(crc, &revision.to_le_bytes());
    crc32c::crc32c_append(crc, value)
}

fn encode(key: &str, value: &Versioned) -> Vec<u8> {
    let mut out = Vec::with_capacity(13 + value.value.len());
    out.put_u8(VERSION);
    out.put_u64(value.revision);
    out.put_u32(checksum(key, value.revision, &value.value));
    out.extend_from_slice(&value.value);
    out
}

fn decode(key: &str, stored: &[u8]) -> Result<Versioned, String> {
    let mut r = Reader::new(stored);
    let mut head = || Ok((r.u8("version")?, r.u64("revision")?, r.u32("checksum")?));
    let (version, revision, crc) =
        head().map_err(|e: egret_schemas::bytes::DecodeError| e.to_string())?;
    let value = &stored[13..];
    if version != VERSION {
        return Err(format!("version {version} is not known to this build"));
    }
    if checksum(key, revision, value) != crc {
        return Err("its checksum does not match".to_owned());
    }
    Ok(Versioned { value: value.to_vec(), revision })
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
    let database = database(file.clone(), &fresh)?;
    let fill = || -> Result<(), redb::Error> {
        let mut txn = database.begin_write()?;
        txn.set_durability(Durability::Immediate)?;
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

fn database(file: Arc<dyn DiskFile>, path: &Path) -> Result<Database, MetaError> {
    let mut builder = Builder::new();
    builder.set_cache_size(CACHE_BYTES);
    builder.create_with_backend(Backend { file }).map_err(|error| redb_error(path, error.into()))
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
        let value = decode(&key, &stored).map_err(|what| damaged(path, &key, &what))?;
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
    MetaError::Damaged { file: file.into(), record: record.to_owned(), what: what.to_owned() }
}

fn redb_error(path: &Path, error: redb::Error) -> MetaError {
    match error {
        redb::Error::Io(error) => MetaError::Io { file: path.into(), why: error.to_string() },
        other => damaged(path, "the file", &other.to_string()),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("redb gave up").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::FaultyDisk;

    const DIR: &str = "/data";
    const PATH: &str = "/data/meta.redb";

    fn disk() -> FaultyDisk {
        let disk = FaultyDisk::new();
        disk.create_dir(Path::new(DIR)).unwrap();
        disk
    }

    fn open(disk: &FaultyDisk) -> Result<RedbMeta, MetaError> {
        RedbMeta::open(disk, Path::new(PATH))
    }

    fn put(key: &str, value: &str) -> Op {
        Op::Put(key.to_owned(), value.as_bytes().to_vec())
    }

    #[test]
    fn redb_conforms() {
        super::super::conformance_tests::all(&|| Box::new(open(&disk()).unwrap()));
    }

    #[test]
    fn the_bytes_are_frozen() {
        let stored = encode("/k", &Versioned { value: b"v".to_vec(), revision: 3 });
        assert_eq!(stored[..9], [1, 3, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(stored[9..13], [10, 200, 11, 92]);
        assert_eq!(stored[13..], *b"v");
        assert_eq!(digest("/k", &stored), 4_631_307_022_589_988_232);
    }

    #[test]
    fn what_was_committed_is_there_after_a_restart() {
        let disk = disk();
        let store = open(&disk).unwrap();
        store.txn(&[], &[put("/a", "1"), put("/b", "2")]).unwrap();
        store.txn(&[], &[Op::Delete("/a".to_owned()), put("/c", "3")]).unwrap();
        let before = store.list("/").unwrap();
        drop(store);
        assert_eq!(open(&disk).unwrap().list("/").unwrap(), before);
    }

    /// A cut at each write: every acknowledged transaction is there, and at most the one that was
    /// under way beside them.
    #[test]
    fn a_cut_anywhere_loses_nothing_acknowledged() {
        let mut n = 0;
        loop {
            let disk = disk();
            disk.crash_after(n);
            let mut acked = 0;
            if let Ok(store) = open(&disk) {
                for i in 1..=6 {
                    let ops = [put("/n", &i.to_string()), put(&format!("/k{i}"), "x")];
                    match store.txn(&[], &ops) {
                        Ok(_) => acked = i,
                        Err(error) => {
                            assert!(matches!(error, MetaError::Poisoned { .. }), "{error}");
                            assert!(store.get("/n").is_err(), "a poisoned store answers nothing");
                            break;
                        }
                    }
                }
            }
            let finished = !disk.is_cut();
            for seed in 0..4 {
                let store = open(&disk.reboot(seed)).unwrap_or_else(|e| panic!("cut {n}: {e}"));
                let found: usize = store
                    .get("/n")
                    .unwrap()
                    .map_or(0, |v| String::from_utf8(v.value).unwrap().parse().unwrap());
                assert!(found == acked || found == acked + 1, "cut {n}: {found} after {acked}");
                assert_eq!(store.list("/k").unwrap().len(), found, "cut {n}");
            }
            if finished {
                break;
            }
            n += 1;
        }
        assert!(n > 20, "{n} cuts");
    }

    /// Whatever byte of the file is flipped: what is served is what was written, or it is refused.
    #[test]
    fn a_flipped_byte_is_never_served() {
        let disk = disk();
        let store = open(&disk).unwrap();
        for i in 0..20 {
            store.txn(&[], &[put(&format!("/key/{i}"), &format!("value {i}"))]).unwrap();
        }
        let before = store.list("/").unwrap();
        drop(store);
        let bytes = disk.bytes(Path::new(PATH)).unwrap();
        let mut refused = 0;
        let used: Vec<usize> = (0..bytes.len()).filter(|&i| bytes[i] != 0).collect();
        for &at in used.iter().step_by(used.len() / 300 + 1) {
            let disk = disk.reboot(1);
            disk.flip(Path::new(PATH), at as u64, 0x10);
            match open(&disk) {
                Ok(store) => assert_eq!(store.list("/").unwrap(), before, "byte {at}"),
                Err(MetaError::Damaged { .. } | MetaError::Io { .. }) => refused += 1,
                Err(other) => panic!("byte {at}: {other}"),
            }
        }
        assert!(refused >= 3, "{refused} flips noticed");
    }

    #[test]
    fn a_closed_store_lets_go_of_its_file() {
        let disk = disk();
        let store = open(&disk).unwrap();
        store.txn(&[], &[put("/a", "1")]).unwrap();
        store.close();
        let operations = disk.operations();
        assert_eq!(store.get("/a"), Err(MetaError::Closed));
        assert_eq!(store.txn(&[], &[]), Err(MetaError::Closed));
        drop(store);
        assert_eq!(disk.operations(), operations, "a handle kept longer writes nothing");
        assert!(open(&disk).unwrap().get("/a").unwrap().is_some());
    }

    #[test]
    fn a_damaged_value_is_told_by_its_name() {
        let mut stored = encode("/k", &Versioned { value: b"value".to_vec(), revision: 3 });
        stored[15] ^= 1;
        assert_eq!(decode("/k", &stored), Err("its checksum does not match".to_owned()));
    }

    #[test]
    fn a_lost_record_is_noticed() {
        let disk = disk();
        let store = open(&disk).unwrap();
        store.txn(&[], &[put("/a", "1"), put("/b", "2")]).unwrap();
        {
            let writing = store.writing();
            let txn = writing.database.as_ref().unwrap().begin_write().unwrap();
            txn.open_table(RECORDS).unwrap().remove("/a").unwrap();
            txn.commit().unwrap();
        }
        drop(store);
        let error = open(&disk).unwrap_err();
        assert!(error.to_string().contains("restore the file"), "{error}");
    }
}
