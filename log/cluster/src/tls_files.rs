//! Where the files of a certificate are, and what they say: the same for a bookie and for its clients.

use std::io;
use std::path::{Path, PathBuf};

use egret_log::clock;
use egret_log::rpc::bookie::accepted::{NotAccepted, Shown, host_of, is_accepted};
use egret_log::rpc::bookie::tls::Pem;
use egret_log::rpc::bookie::{ClientTls, PeerName, ServerTls, TlsError};
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
    /// Nobody would accept it.
    #[error(transparent)]
    Useless(Box<Useless>),
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

impl TlsFiles {
    /// As a client uses them; relative paths begin at `base`.
    ///
    /// # Errors
    /// When they cannot be read, do not go together, or nobody would accept them.
    pub fn client(&self, base: &Path) -> Result<ClientTls, TlsFileError> {
        let files = self.read(base)?;
        let tls = ClientTls::new(files.pem())?;
        self.check(base, &files, tls.own(), Shown::AsClient)?;
        Ok(tls)
    }

    /// As a server uses them that is reached at `address`, and that asks others, too.
    ///
    /// # Errors
    /// As [`client`](TlsFiles::client), or when they do not name the address.
    pub fn server(&self, base: &Path, address: &str) -> Result<ServerTls, TlsFileError> {
        let files = self.read(base)?;
        let tls = ServerTls::new(files.pem())?;
        self.check(base, &files, tls.own(), Shown::AsClient)?;
        self.check(base, &files, tls.own(), Shown::At(address))?;
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
        own: &PeerName,
        shown: Shown<'_>,
    ) -> Result<(), TlsFileError> {
        let accepted = is_accepted(files.pem(), shown, clock::wall_ms())?;
        let hosts = match shown {
            Shown::At(address) => format!(" --host {}", host_of(address)),
            Shown::AsClient if own.role == Role::Bookie => " --host HOST".to_owned(),
            Shown::AsClient => String::new(),
        };
        let (file, own) = (base.join(&self.cert), own.clone());
        accepted.map_err(|why| TlsFileError::Useless(Box::new(Useless { file, why, own, hosts })))
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
