//! Where the files of a certificate are, and what they say: the same for a bookie and for its clients.

use std::path::{Path, PathBuf};

use egret_log::rpc::bookie::tls::Pem;
use egret_log::rpc::bookie::{ClientTls, ServerTls};
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

impl TlsFiles {
    /// As a client uses them; relative paths begin at `base`.
    pub(super) fn client(&self, base: &Path) -> Result<ClientTls, Exit> {
        self.read(base, |pem| ClientTls::new(pem).map_err(|why| why.to_string()))
    }

    /// As a server uses them.
    pub(super) fn server(&self, base: &Path) -> Result<ServerTls, Exit> {
        self.read(base, |pem| ServerTls::new(pem).map_err(|why| why.to_string()))
    }

    fn read<T>(
        &self,
        base: &Path,
        make: impl FnOnce(Pem<'_>) -> Result<T, String>,
    ) -> Result<T, Exit> {
        let read = |path: &Path| {
            let path = base.join(path);
            std::fs::read(&path).map_err(|e| Exit::Usage(format!("{}: {e}", path.display())))
        };
        let (cert, key, ca) = (read(&self.cert)?, read(&self.key)?, read(&self.ca)?);
        make(Pem { cert: &cert, key: &key, ca: &ca }).map_err(Exit::Refused)
    }
}
