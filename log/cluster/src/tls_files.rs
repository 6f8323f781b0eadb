//! Where the files of a certificate are, and what they say: the same for a bookie and for its clients.

use std::io;
use std::path::{Path, PathBuf};

use egret_log::clock;
use egret_log::rpc::bookie::accepted::{NotAccepted, Shown, host_of, is_accepted};
use egret_log::rpc::bookie::tls::Pem;
use egret_log::rpc::bookie::{ClientTls, PeerName, ServerTls, TlsError};
use egret_log::rpc::worker::WorkerTls;
use egret_schemas::bookie::Role;
use serde::{Deserialize, Serialize};

/// Files that `egret init` wrote.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    cert: PathBuf,
    key: PathBuf,
    ca: PathBuf,
}

/// Why a certificate cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsFileError {
    /// One of its files cannot be read.
    #[error("{}: {source}", .file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// They hold something else, or do not go together.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// It is somebody else's.
    #[error(transparent)]
    Another(Box<Another>),
    /// Nobody would accept it.
    #[error(transparent)]
    Useless(Box<Useless>),
}

/// A certificate of another role, or of another cluster.
#[derive(Debug, thiserror::Error)]
#[error(
    "{}: this certificate names {own}, and one of role {role} in cluster {cluster} is needed: have the authority \
     of {cluster} issue it, under a name of its own: `egret init cert --role {role} --name {}-{role}{hosts}`",
    .file.display(), .own.name
)]
pub struct Another {
    file: PathBuf,
    own: PeerName,
    /// Whose it is to be.
    role: Role,
    cluster: String,
    /// As the command takes them.
    hosts: String,
}

/// A certificate that nobody would accept.
#[derive(Debug, thiserror::Error)]
#[error(
    "{}: this certificate is of no use: {why}; have the authority of {} issue another one, under a name of \
     its own: `egret init cert --role {} --name {}-2{hosts}`",
    .file.display(), .own.cluster, .own.role, .own.name
)]
pub struct Useless {
    file: PathBuf,
    why: NotAccepted,
    own: PeerName,
    /// As the command takes them.
    hosts: String,
}

/// For whom a certificate is to be.
#[derive(Debug, Clone, Copy)]
pub struct Holder<'a> {
    /// Its cluster.
    pub cluster: &'a str,
    /// What it is there; any role when there is none.
    pub role: Option<Role>,
}

impl TlsFiles {
    /// As a client uses them; relative paths begin at `base`.
    ///
    /// # Errors
    /// When they cannot be read, do not go together, are not the holder's, or nobody would accept them.
    pub fn client(&self, base: &Path, holder: Holder<'_>) -> Result<ClientTls, TlsFileError> {
        let files = self.read(base)?;
        let tls = ClientTls::new(files.pem())?;
        self.check(base, &files, (tls.own(), holder), &[Shown::AsClient])?;
        Ok(tls)
    }

    /// As a bookie of `cluster` uses them that is reached at `address`, and that asks others, too.
    ///
    /// # Errors
    /// As [`client`](TlsFiles::client), or when they do not name the address.
    pub fn server(
        &self,
        base: &Path,
        cluster: &str,
        address: &str,
    ) -> Result<ServerTls, TlsFileError> {
        let files = self.read(base)?;
        let tls = ServerTls::new(files.pem())?;
        let holder = Holder { cluster, role: Some(Role::Bookie) };
        let shown = [Shown::AsClient, Shown::At(address)];
        self.check(base, &files, (tls.own(), holder), &shown)?;
        Ok(tls)
    }

    /// As the worker processes of a topology use them with each other.
    ///
    /// # Errors
    /// As [`client`](TlsFiles::client).
    pub fn worker(&self, base: &Path, cluster: &str) -> Result<WorkerTls, TlsFileError> {
        let files = self.read(base)?;
        let tls = WorkerTls::new(files.pem())?;
        let holder = Holder { cluster, role: Some(Role::Worker) };
        self.check(base, &files, (tls.own(), holder), &[Shown::AsClient, Shown::AsServer])?;
        Ok(tls)
    }

    fn read(&self, base: &Path) -> Result<Files, TlsFileError> {
        let read = |path: &Path| {
            let file = base.join(path);
            std::fs::read(&file).map_err(|source| TlsFileError::Read { file, source })
        };
        Ok(Files { cert: read(&self.cert)?, key: read(&self.key)?, ca: read(&self.ca)? })
    }

    fn check(
        &self,
        base: &Path,
        files: &Files,
        (own, holder): (&PeerName, Holder<'_>),
        shown: &[Shown<'_>],
    ) -> Result<(), TlsFileError> {
        let role = holder.role.unwrap_or(own.role);
        let host = shown.iter().find_map(|shown| match shown {
            Shown::At(address) => Some(host_of(address)),
            Shown::AsClient | Shown::AsServer => None,
        });
        let hosts = match host {
            Some(host) => format!(" --host {host}"),
            None if role == Role::Bookie => " --host HOST".to_owned(),
            None => String::new(),
        };
        let (file, own) = (base.join(&self.cert), own.clone());
        if own.role != role || own.cluster != holder.cluster {
            let cluster = holder.cluster.to_owned();
            let another = Another { file, own, role, cluster, hosts };
            return Err(TlsFileError::Another(Box::new(another)));
        }
        for &shown in shown {
            if let Err(why) = is_accepted(files.pem(), shown, clock::wall_ms())? {
                let useless = Useless { file, why, own, hosts };
                return Err(TlsFileError::Useless(Box::new(useless)));
            }
        }
        Ok(())
    }
}

/// What is in them.
struct Files {
    cert: Vec<u8>,
    key: Vec<u8>,
    ca: Vec<u8>,
}

impl Files {
    fn pem(&self) -> Pem<'_> {
        Pem { cert: &self.cert, key: &self.key, ca: &self.ca }
    }
}
