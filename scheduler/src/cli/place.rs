//! Where the topologies are that a command is about: in a data directory, or on a cluster.

use std::path::{Path, PathBuf};

use egret_log::directory::{Attached, Directory, OpenError};
use egret_log::disk::LockError;
use egret_log::{Log, LogConfig};
use egret_log_cluster::Cluster;
use egret_schemas::bookie::Role;

use super::exit::{self, Exit};

/// Where the topologies are.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) dir: PathBuf,
    pub(super) cluster: Option<PathBuf>,
}

impl Place {
    /// Does something with the log, whoever else uses it.
    pub(super) fn beside<T>(&self, what: impl FnOnce(&Log) -> Result<T, Exit>) -> Result<T, Exit> {
        if let Some(file) = &self.cluster {
            return on_cluster(file, what);
        }
        let (attached, log) = Attached::over(Directory::open_existing(&self.dir)?);
        let done = what(&log);
        drop(log);
        // What was answered is durable; see `egret stream`.
        if let Err(error) = attached.close() {
            exit::warn(error);
        }
        done
    }

    /// Does something with a log that nobody else uses; of a cluster, that nobody else may go on using.
    pub(super) fn alone<T>(&self, what: impl FnOnce(&Log) -> Result<T, Exit>) -> Result<T, Exit> {
        if let Some(file) = &self.cluster {
            return on_cluster(file, what);
        }
        let config = LogConfig { serve: true, existing: true, ..LogConfig::default() };
        let log = match Log::open(&self.dir, config) {
            Err(OpenError::Lock(held @ LockError::Held { .. })) => {
                return Err(Exit::Refused(format!(
                    "{held}; a topology that runs there goes back when it is started with --restore NAME --yes"
                )));
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

fn on_cluster<T>(file: &Path, what: impl FnOnce(&Log) -> Result<T, Exit>) -> Result<T, Exit> {
    let cluster = Cluster::open(file, Role::Client)?;
    let log = cluster.log()?;
    let done = what(&log);
    if let Err(error) = log.close() {
        exit::warn(error);
    }
    done
}
