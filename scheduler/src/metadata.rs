//! A cluster's metadata store by its address.
//!
//! | address | store |
//! |---|---|
//! | `redb:DIR` | a file in a directory, for one process at a time: trying things out on one host |
//! | `etcd://HOST:PORT,…` | etcd, for a cluster |

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use egret_log::disk::{DirLock, Disk, LockError, RealDisk};
use egret_log::metadata::{MetaError, MetaStore, RedbMeta};

/// Why a metadata store cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum OpenMetadataError {
    /// The address is none.
    #[error("`{0}` is no metadata store: write `redb:DIR` or `etcd://HOST:PORT`")]
    Address(String),
    /// This build lacks its client.
    #[error("`{0}` is etcd, which this build does not speak: build egret with the feature `etcd`")]
    NoEtcd(String),
    /// Another process has it.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The store itself.
    #[error(transparent)]
    Store(#[from] MetaError),
    /// Its directory cannot be made.
    #[error("{}: {source}", .dir.display())]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// An open store, and what keeps others out of it.
#[derive(Debug)]
pub struct Metadata {
    store: Arc<dyn MetaStore>,
    /// Let go after the store is closed.
    _lock: Option<DirLock>,
}

impl Metadata {
    /// The store.
    pub fn store(&self) -> Arc<dyn MetaStore> {
        Arc::clone(&self.store)
    }
}

impl Drop for Metadata {
    fn drop(&mut self) {
        self.store.close();
    }
}

/// Opens the store at an address; relative paths begin at `base`.
///
/// # Errors
/// When there is none, or another process has it.
pub fn open_metadata(address: &str, base: &Path) -> Result<Metadata, OpenMetadataError> {
    if address.starts_with("etcd://") {
        return Err(OpenMetadataError::NoEtcd(address.to_owned()));
    }
    let Some(dir) = address.strip_prefix("redb:").filter(|dir| !dir.is_empty()) else {
        return Err(OpenMetadataError::Address(address.to_owned()));
    };
    let dir = base.join(dir);
    let told = |source| OpenMetadataError::Directory { dir: dir.clone(), source };
    RealDisk.create_dir(&dir).map_err(told)?;
    let lock = RealDisk::lock(&dir)?;
    let store = Arc::new(RedbMeta::open(&RealDisk, &dir.join("meta.redb"))?);
    Ok(Metadata { store, _lock: Some(lock) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_one_processs_and_is_let_go() {
        let root = tempfile::tempdir().unwrap();
        let first = open_metadata("redb:meta", root.path()).unwrap();
        let second = open_metadata("redb:meta", root.path()).unwrap_err();
        assert!(matches!(second, OpenMetadataError::Lock(_)), "{second}");
        drop(first);
        open_metadata("redb:meta", root.path()).unwrap();
    }

    #[test]
    fn an_address_of_another_kind_is_told_what_to_write() {
        for wrong in ["redb:", "file:x", "", "meta.redb"] {
            let error = open_metadata(wrong, Path::new(".")).unwrap_err();
            assert!(matches!(error, OpenMetadataError::Address(_)), "{wrong}: {error}");
        }
        let etcd = open_metadata("etcd://a:2379", Path::new(".")).unwrap_err();
        assert!(matches!(etcd, OpenMetadataError::NoEtcd(_)), "{etcd}");
    }
}
