//! The file that says where a cluster is.
//!
//! ```toml
//! cluster = "blue"
//! metadata = "etcd://127.0.0.1:2379/blue"
//! # role = "admin"                      # what the certificate is to say; without one: what the program needs
//! # tls = { cert = "me.pem", key = "me.key", ca = "ca.pem" }
//! # copies = { write = 3, ack = 2, fewer_allowed = true }
//! ```

use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use egret_log::Log;
use egret_log::client::{ClusterBookies, ClusterConfig, Copies, Ledgers};
use egret_log::ledger::Quorum;
use egret_log::metadata::MetaStore;
use egret_log::registry::{Registry, RegistryError};
use egret_log::rpc::bookie::server::is_cluster_name;
use egret_log::rpc::worker::WorkerTls;
use egret_schemas::bookie::Role;
use serde::Deserialize;

use super::metadata_url::{MetadataUrlError, metadata_of, open_metadata};
use super::tls_files::{Holder, TlsFileError, TlsFiles};

/// The whole file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    cluster: String,
    metadata: String,
    #[serde(default)]
    role: Option<String>,
    #[serde(default)]
    tls: Option<TlsFiles>,
    #[serde(default)]
    copies: Option<CopiesTable>,
}

/// How many copies new ledgers get.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct CopiesTable {
    write: u8,
    ack: u8,
    #[serde(default)]
    fewer_allowed: bool,
}

/// A file, and what its texts say. Relative paths in it begin at its directory.
#[derive(Debug)]
pub struct ClusterFile {
    table: Table,
    role: Option<Role>,
    copies: Copies,
}

impl FromStr for ClusterFile {
    type Err = String;

    fn from_str(text: &str) -> Result<ClusterFile, String> {
        let table: Table =
            toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
        if !is_cluster_name(&table.cluster) {
            return Err(format!("`{}` is no cluster's name", table.cluster));
        }
        metadata_of(&table.cluster, &table.metadata).map_err(|error| error.to_string())?;
        let role = table.role.as_deref().map(str::parse::<Role>).transpose();
        let role = role.map_err(|error| error.to_string())?;
        let copies = match &table.copies {
            None => Copies::default(),
            Some(table) => {
                let quorum = Quorum::new(table.write, table.write, table.ack)
                    .map_err(|error| format!("copies: {error}"))?;
                Copies { quorum, fewer_allowed: table.fewer_allowed }
            }
        };
        Ok(ClusterFile { table, role, copies })
    }
}

impl ClusterFile {
    /// The file at `path`, and where relative paths in it begin.
    fn read(path: &Path) -> Result<(ClusterFile, PathBuf), ClusterError> {
        let file = || path.to_owned();
        let read = std::fs::read_to_string(path);
        let text = read.map_err(|source| ClusterError::Read { file: file(), source })?;
        let asked = text.parse().map_err(|why| ClusterError::File { file: file(), why })?;
        Ok((asked, path.parent().map(Path::to_owned).unwrap_or_default()))
    }
}

/// Why a cluster is not reached.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The file cannot be read.
    #[error("{}: {source}: name a readable file with `cluster` and `metadata`", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file says something else.
    #[error("{}: {why}", .file.display())]
    File {
        /// The file.
        file: PathBuf,
        /// What is wrong, with its line where there is one.
        why: String,
    },
    /// Its certificate.
    #[error(transparent)]
    Tls(#[from] TlsFileError),
    /// Its metadata.
    #[error(transparent)]
    Metadata(#[from] MetadataUrlError),
    /// Its registry, which may be another cluster's.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// No certificate for worker processes to know each other by.
    #[error(
        "{}: worker processes that are placed by rank know each other by certificates: give `tls` in it, with one \
         that `egret init cert --role worker` issued",
        .file.display()
    )]
    NoWorkerTls {
        /// The file.
        file: PathBuf,
    },
    /// The system gives no threads.
    #[error("no thread to reach bookies with: {0}")]
    Thread(#[source] io::Error),
}

/// The certificate of the file at `path`, as worker processes show it to each other.
///
/// # Errors
/// When the file says nothing of one, or one that is not of role `worker`, or that nobody would accept.
pub fn worker_tls(path: &Path) -> Result<WorkerTls, ClusterError> {
    let (ClusterFile { table, .. }, base) = ClusterFile::read(path)?;
    let file = || path.to_owned();
    let files = table.tls.as_ref().ok_or_else(|| ClusterError::NoWorkerTls { file: file() })?;
    Ok(files.worker(&base, &table.cluster)?)
}

/// A cluster that is reached.
#[derive(Debug)]
pub struct Cluster {
    /// Its name.
    pub name: String,
    /// Who its bookies are.
    pub registry: Registry,
    /// Its ledgers.
    pub ledgers: Ledgers,
}

impl Cluster {
    /// Reaches the cluster that a file names, in the role of its certificate; without one in that of the
    /// file, or in that which `needs` says.
    ///
    /// # Errors
    /// When the file, what it names, or the cluster's metadata is not there or not what it must be.
    pub fn open(path: &Path, needs: Role) -> Result<Cluster, ClusterError> {
        let (ClusterFile { table, role, copies }, base) = ClusterFile::read(path)?;
        let holder = Holder { cluster: &table.cluster, role };
        let tls = table.tls.as_ref().map(|files| files.client(&base, holder)).transpose()?;
        // Whoever shows a certificate is what it says.
        let role = tls.as_ref().map(|tls| tls.own().role).or(role).unwrap_or(needs);
        let metadata: Arc<dyn MetaStore> = open_metadata(&table.cluster, &table.metadata, &base)?;
        let registry = Registry::new(Arc::clone(&metadata));
        registry.check_cluster(&table.cluster)?;
        let config = ClusterConfig::new(table.cluster.clone(), role, tls);
        let bookies = ClusterBookies::new(Arc::clone(&metadata), config);
        let bookies = Arc::new(bookies.map_err(ClusterError::Thread)?);
        let ledgers = Ledgers::new(bookies, copies, metadata);
        Ok(Cluster { name: table.cluster, registry, ledgers })
    }

    /// Its streams.
    ///
    /// # Errors
    /// When the system gives no thread to follow them with.
    pub fn log(&self) -> Result<Log, ClusterError> {
        Log::on(self.ledgers.clone()).map_err(ClusterError::Thread)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_does_not_say_it_is_named_with_the_reason() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cluster.toml");
        let said = || Cluster::open(&path, Role::Client).unwrap_err().to_string();
        assert!(said().contains("cluster.toml") && said().contains("name a readable file"));
        for (text, why) in [
            ("cluster = \"a b\"\nmetadata = \"redb:m\"\n", "`a b` is no cluster's name"),
            ("cluster = \"blue\"\n", "missing field `metadata`"),
            ("cluster = \"blue\"\nmetadata = \"redb:m\"\nmetdata = 1\n", "line 3"),
            ("cluster = \"blue\"\nmetadata = \"zk:m\"\n", "write redb:PATH or etcd://"),
            (
                "cluster = \"blue\"\nmetadata = \"redb:m\"\ncopies = { write = 2, ack = 3 }\n",
                "copies: ",
            ),
            ("cluster = \"blue\"\nmetadata = \"redb:m\"\nrole = \"king\"\n", "king"),
            ("cluster = \"blue\"\nmetadata = \"etcd://a:1/green\"\n", "cluster `green`, and this"),
            (
                "cluster = \"blue\"\nmetadata = \"redb:m\"\n\
                 tls = { cert = \"a\", key = \"b\", ca = \"c\" }\n",
                "No such file",
            ),
        ] {
            std::fs::write(&path, text).unwrap();
            assert!(said().contains(why), "{text}: {}", said());
        }
    }

    /// Whoever is placed by rank has nothing else to be known by.
    #[test]
    fn worker_processes_need_a_certificate_and_are_told_which() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("cluster.toml");
        std::fs::write(&path, "cluster = \"blue\"\nmetadata = \"redb:m\"\n").unwrap();
        let said = worker_tls(&path).unwrap_err().to_string();
        assert!(said.contains("cluster.toml") && said.contains("give `tls` in it"), "{said}");
        assert!(said.contains("`egret init cert --role worker`"), "{said}");
    }
}
