//! Where the files of a certificate are, and what they say: the same for a bookie and for its clients.

use std::path::{Path, PathBuf};

use egret_log::clock;
use egret_log::rpc::bookie::accepted::{NotAccepted, Shown, host_of, is_accepted};
use egret_log::rpc::bookie::tls::Pem;
use egret_log::rpc::bookie::{ClientTls, PeerName, ServerTls};
use egret_schemas::bookie::Role;
use serde::{Deserialize, Serialize};

use super::exit::Exit;

/// Files that `egret init` wrote.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsFiles {
    cert: PathBuf,
    key: PathBuf,
    ca: PathBuf,
}

/// A certificate that nobody would accept.
#[derive(Debug, thiserror::Error)]
#[error(
    "{}: this certificate is of no use: {why}; have the authority of {} issue another one, under a name of \
     its own: `egret init cert --role {} --name {}-2{hosts}`",
    .file.display(), .own.cluster, .own.role, .own.name
)]
pub(super) struct Useless {
    file: PathBuf,
    why: NotAccepted,
    own: PeerName,
    /// As the command takes them.
    hosts: String,
}

impl TlsFiles {
    /// As a client uses them; relative paths begin at `base`.
    pub(super) fn client(&self, base: &Path) -> Result<ClientTls, Exit> {
        let files = self.read(base)?;
        let tls = ClientTls::new(files.pem())?;
        self.check(base, &files, tls.own(), Shown::AsClient)?;
        Ok(tls)
    }

    /// As a server uses them that is reached at `address`, and that asks others, too.
    pub(super) fn server(&self, base: &Path, address: &str) -> Result<ServerTls, Exit> {
        let files = self.read(base)?;
        let tls = ServerTls::new(files.pem())?;
        self.check(base, &files, tls.own(), Shown::AsClient)?;
        self.check(base, &files, tls.own(), Shown::At(address))?;
        Ok(tls)
    }

    fn read(&self, base: &Path) -> Result<Files, Exit> {
        let read = |path: &Path| {
            let path = base.join(path);
            std::fs::read(&path).map_err(|e| Exit::Usage(format!("{}: {e}", path.display())))
        };
        Ok(Files { cert: read(&self.cert)?, key: read(&self.key)?, ca: read(&self.ca)? })
    }

    fn check(
        &self,
        base: &Path,
        files: &Files,
        own: &PeerName,
        shown: Shown<'_>,
    ) -> Result<(), Exit> {
        let accepted = is_accepted(files.pem(), shown, clock::wall_ms())?;
        let hosts = match shown {
            Shown::At(address) => format!(" --host {}", host_of(address)),
            Shown::AsClient if own.role == Role::Bookie => " --host HOST".to_owned(),
            Shown::AsClient => String::new(),
        };
        let (file, own) = (base.join(&self.cert), own.clone());
        Ok(accepted.map_err(|why| Useless { file, why, own, hosts })?)
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
