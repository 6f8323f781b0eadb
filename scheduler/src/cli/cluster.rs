//! A cluster, as the command line reaches it: one small file says where its metadata is and, off this
//! host, with which certificate.
//!
//! ```toml
//! cluster = "blue"
//! metadata = "etcd://127.0.0.1:2379/blue"
//! # role = "admin"                      # what the certificate says; without one: admin
//! # tls = { cert = "me.pem", key = "me.key", ca = "ca.pem" }
//! ```

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use egret_log::Log;
use egret_log::client::{ClusterBookies, ClusterConfig, Copies, Ledgers};
use egret_log::ledger::Quorum;
use egret_log::registry::Registry;
use egret_log::rpc::bookie::server::is_cluster_name;
use egret_schemas::bookie::Role;
use serde::Deserialize;

use super::exit::Exit;
use super::tls_files::TlsFiles;
use crate::metadata_url::open_metadata;

/// The whole file. Relative paths begin at its directory.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClusterFile {
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

/// A cluster that is reached.
#[derive(Debug)]
pub(super) struct Cluster {
    /// Its name.
    pub(super) name: String,
    /// Who its bookies are.
    pub(super) registry: Registry,
    /// Its ledgers.
    pub(super) ledgers: Ledgers,
}

impl Cluster {
    /// Reaches the cluster that a file names, in the role that `needs` says when the file has none.
    pub(super) fn open(path: &Path, needs: Role) -> Result<Cluster, Exit> {
        let told = |why: String| Exit::Usage(format!("{}: {why}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|e| told(e.to_string()))?;
        let Asked { file, role, copies } = asked(&text).map_err(told)?;
        let role = role.unwrap_or(needs);
        let base = path.parent().map(Path::to_owned).unwrap_or_default();
        let tls = file.tls.as_ref().map(|files| files.client(&base)).transpose()?;
        let metadata = open_metadata(&file.metadata, &base).map_err(refused)?;
        let registry = Registry::new(Arc::clone(&metadata));
        registry.check_cluster(&file.cluster)?;
        let config = ClusterConfig::new(file.cluster.clone(), role, tls);
        let bookies = ClusterBookies::new(Arc::clone(&metadata), config).map_err(failed)?;
        let ledgers = Ledgers::new(Arc::new(bookies), copies, metadata);
        Ok(Cluster { name: file.cluster, registry, ledgers })
    }

    /// Its streams.
    pub(super) fn log(&self) -> Log {
        Log::on(self.ledgers.clone())
    }
}

/// A file, and what its texts say.
#[derive(Debug)]
pub(super) struct Asked {
    file: ClusterFile,
    role: Option<Role>,
    copies: Copies,
}

/// Reads the text of a file.
pub(super) fn asked(text: &str) -> Result<Asked, String> {
    let file: ClusterFile =
        toml::from_str(text).map_err(|error| error.to_string().trim_end().to_owned())?;
    if !is_cluster_name(&file.cluster) {
        return Err(format!("`{}` is no cluster's name", file.cluster));
    }
    let role = file.role.as_deref().map(str::parse::<Role>).transpose();
    let role = role.map_err(|error| error.to_string())?;
    let copies = match &file.copies {
        None => Copies::default(),
        Some(table) => {
            let quorum = Quorum::new(table.write, table.write, table.ack)
                .map_err(|error| format!("copies: {error}"))?;
            Copies { quorum, fewer_allowed: table.fewer_allowed }
        }
    };
    Ok(Asked { file, role, copies })
}

fn failed(error: impl fmt::Display) -> Exit {
    Exit::Failed(error.to_string())
}

fn refused(error: impl fmt::Display) -> Exit {
    Exit::Refused(error.to_string())
}
