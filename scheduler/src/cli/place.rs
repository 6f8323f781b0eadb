//! Where the streams and topologies are that a command is about: in a data directory, or on a cluster.

use std::path::{Path, PathBuf};

use clap::Args;
use egret_log::directory::{Attached, Directory, OpenError};
use egret_log::disk::LockError;
use egret_log::{Log, LogConfig};
use egret_log_cluster::Cluster;
use egret_log_cluster::place;
use egret_schemas::bookie::Role;

use super::exit::{self, Exit};

/// Where, on the command line.
#[derive(Debug, Args)]
pub(super) struct Place {
    /// The data directory [env: EGRET_DATA] [default: ./egret-data]
    #[arg(long, value_name = "DIR", global = true)]
    data: Option<PathBuf>,
    /// A cluster instead: the file that says where it is [env: EGRET_CLUSTER]
    #[arg(long, value_name = "FILE", global = true, conflicts_with = "data")]
    cluster: Option<PathBuf>,
}

impl Place {
    /// A flag beats a variable.
    pub(super) fn said(&self) -> place::Place {
        place::Place::of(self.data.as_deref(), self.cluster.as_deref())
    }

    /// Opens the directory, which must be there.
    pub(super) fn open(&self) -> Result<Directory, Exit> {
        match self.said() {
            place::Place::Cluster(file) => open_cluster(&file),
            place::Place::Directory(dir) => Ok(Directory::open_existing(&dir)?),
        }
    }

    /// Opens the directory, making it if need be.
    pub(super) fn open_or_create(&self) -> Result<Directory, Exit> {
        match self.said() {
            place::Place::Cluster(file) => open_cluster(&file),
            place::Place::Directory(dir) => Ok(Directory::open(&dir)?),
        }
    }

    /// Does something with the log, whoever else uses it.
    pub(super) fn beside<T>(&self, what: impl FnOnce(&Log) -> Result<T, Exit>) -> Result<T, Exit> {
        let dir = match self.said() {
            place::Place::Cluster(file) => return on_cluster(&file, what),
            place::Place::Directory(dir) => dir,
        };
        let (attached, log) = Attached::over(Directory::open_existing(&dir)?);
        let done = what(&log);
        drop(log);
        // What was answered is durable; see `egret stream`.
        if let Err(error) = attached.close() {
            exit::warn(error);
        }
        done
    }

    /// Does something with a log that nobody else uses; of a cluster, that nobody else may go on using. `instead` is
    /// what may be done while somebody does.
    pub(super) fn alone<T>(
        &self,
        instead: &str,
        what: impl FnOnce(&Log) -> Result<T, Exit>,
    ) -> Result<T, Exit> {
        let dir = match self.said() {
            place::Place::Cluster(file) => return on_cluster(&file, what),
            place::Place::Directory(dir) => dir,
        };
        let config = LogConfig { serve: true, existing: true, ..LogConfig::default() };
        let log = match Log::open(&dir, config) {
            Err(OpenError::Lock(held @ LockError::Held { .. })) => {
                return Err(Exit::Refused(format!("{held}; {instead}")));
            }
            opened => opened?,
        };
        let done = what(&log);
        if let Err(error) = log.close() {
            exit::warn(error);
        }
        done
    }
}

fn open_cluster(file: &Path) -> Result<Directory, Exit> {
    let cluster = Cluster::open(file, Role::Client)?;
    let log = cluster.log()?;
    Ok(Directory::over(file, log, Box::new(cluster)))
}

fn on_cluster<T>(file: &Path, what: impl FnOnce(&Log) -> Result<T, Exit>) -> Result<T, Exit> {
    let cluster = Cluster::open(file, Role::Client)?;
    let log = cluster.log()?;
    let done = what(&log);
    if let Err(error) = log.close() {
        exit::warn(error);
    }
    done
}
