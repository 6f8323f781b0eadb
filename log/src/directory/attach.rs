//! Attaching to the whole log of a data directory that another process holds.
//!
//! [`Log::attach`] gives a log like one over a cluster of one bookie: streams, ledgers and metadata with their
//! terms, leases and watches, and others that write as well. What is asked goes to the holder over the two
//! sockets of a directory that is [shared](LogConfig::shared).
//!
//! What always holds:
//! * Whoever is attached is attached to one life of the holder. When that ends everything fails in bounded
//!   time, and goes on failing: what was under way with an unknown outcome, the rest definitely. What was
//!   acknowledged is there for the next holder.
//! * An acknowledgement is the holder's: durable on its disk before this process hears of it.
//!
//! [`LogConfig::shared`]: super::LogConfig::shared

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use egret_schemas::bookie::Role;
use egret_schemas::metadata::METADATA_VERSION;
use egret_schemas::stream::Code;

use super::share::cluster_of;
use crate::caps;
use crate::client::{Ledgers, OneBookie};
use crate::rpc::bookie::{ClientConfig, IoThread, TcpTransport};
use crate::rpc::meta::{AttachedMeta, NotOpened};
use crate::rpc::{BOOKIE_SOCKET_NAME, Client, ConnectError};
use crate::stream::Log;

/// Why nobody could be attached to.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    /// Nobody holds it, or who does is found by nobody.
    #[error("{dir}: nobody holds this directory and shares it: start what holds it first", dir = .dir.display())]
    Nobody {
        /// The directory.
        dir: PathBuf,
    },
    /// Its holder takes requests about streams only.
    #[error(
        "{dir}: process {pid} holds this directory and does not share it: end it first, or have it share the directory, which takes this release of egret",
        dir = .dir.display()
    )]
    NotShared {
        /// The directory.
        dir: PathBuf,
        /// Who holds it.
        pid: u32,
    },
    /// Its holder is ending.
    #[error("{dir}: the process that holds this directory is ending: start it again, then attach", dir = .dir.display())]
    Ending {
        /// The directory.
        dir: PathBuf,
    },
    /// Its holder is of another release.
    #[error(
        "{dir}: the process that holds this directory speaks version {holder}, this one speaks {own}: use the same release of egret on both sides",
        dir = .dir.display()
    )]
    Version {
        /// The directory.
        dir: PathBuf,
        /// What the holder speaks.
        holder: u16,
        /// What is spoken here.
        own: u16,
    },
    /// Its holder does not answer.
    #[error(
        "{dir}: the process that holds this directory did not answer within {waited_ms} ms: see that it is not stopped, or attached to by too many",
        dir = .dir.display()
    )]
    Late {
        /// The directory.
        dir: PathBuf,
        /// How long was waited.
        waited_ms: u64,
    },
    /// Its holder says no.
    #[error("{dir}: the process that holds this directory refuses: {why}", dir = .dir.display())]
    Refused {
        /// The directory.
        dir: PathBuf,
        /// Its words.
        why: String,
    },
    /// The socket says no.
    #[error("{dir}: the process that holds this directory cannot be reached: {source}", dir = .dir.display())]
    Socket {
        /// The directory.
        dir: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// No threads.
    #[error("no thread to attach with: {0}")]
    Thread(io::Error),
}

impl Log {
    /// Attaches to the whole log of a directory that another process holds and shares.
    ///
    /// # Errors
    /// When nobody holds it, or who does neither shares it nor answers.
    pub fn attach(dir: &Path) -> Result<Log, AttachError> {
        Log::attach_within(dir, Duration::from_millis(caps::ATTACHED_WAIT_MS))
    }

    /// The same with another patience: so long a request to the metadata or to the bookie may take.
    ///
    /// # Errors
    /// As [`attach`](Log::attach).
    pub fn attach_within(dir: &Path, wait: Duration) -> Result<Log, AttachError> {
        // This process may be elsewhere when it has to connect again.
        let dir = &std::path::absolute(dir)
            .map_err(|source| AttachError::Socket { dir: dir.to_owned(), source })?;
        let (meta, welcome) =
            AttachedMeta::attach(dir, wait).map_err(|why| not_attached(dir, why))?;
        let io = Arc::new(IoThread::start("egret-attached").map_err(AttachError::Thread)?);
        let config = ClientConfig {
            socket: Some(dir.clone()),
            request_wait: wait,
            connect_wait: wait,
            ..ClientConfig::new(
                dir.join(BOOKIE_SOCKET_NAME).display().to_string(),
                OneBookie::ID,
                welcome.incarnation,
                cluster_of(welcome.life),
                Role::Client,
                None,
            )
        };
        let bookie = TcpTransport::new(io, config);
        Log::on(Ledgers::on_one(Arc::new(bookie), Arc::new(meta))).map_err(AttachError::Thread)
    }
}

fn not_attached(dir: &Path, why: NotOpened) -> AttachError {
    let dir = dir.to_owned();
    match why {
        NotOpened::Nobody => nobody(dir),
        NotOpened::Ended => AttachError::Ending { dir },
        NotOpened::Version(holder) => AttachError::Version { dir, holder, own: METADATA_VERSION },
        NotOpened::Socket(source) => AttachError::Socket { dir, source },
        NotOpened::Late { waited_ms } => AttachError::Late { dir, waited_ms },
        NotOpened::Refused(why) => AttachError::Refused { dir, why },
    }
}

/// Nobody shares it; somebody may hold it all the same.
fn nobody(dir: PathBuf) -> AttachError {
    match Client::connect(&dir, None) {
        Ok(client) => AttachError::NotShared { dir, pid: client.pid() },
        Err(ConnectError::Refused { failure, .. }) if failure.code == Code::Closing => {
            AttachError::Ending { dir }
        }
        Err(_) => AttachError::Nobody { dir },
    }
}
