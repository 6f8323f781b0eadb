//! A bookie for the processes of its host that may open its data directory: on a Unix socket in there.
//!
//! Nobody needs a certificate: the system says whose process it is that connects. The cluster that is named
//! in hellos is the life of the holder, so that nobody who was attached to one goes on with the next.

use std::path::{Path, PathBuf};
use std::time::Duration;

use egret_schemas::BookieId;
use tokio::net::UnixListener;

use super::accept::Listener;
use super::{ServeError as NotServed, Served, ServerLimits, Serving, threads};
use crate::bookie::Bookie;
use crate::rpc::ServeError;
use crate::rpc::socket::{self, BOOKIE_SOCKET_NAME};

/// See the [module](self). When dropped, connections are cut.
#[derive(Debug)]
pub(crate) struct LocalServer {
    dir: PathBuf,
    served: Option<Served>,
}

impl LocalServer {
    /// Makes the socket in `dir`, replacing a stale one, and serves `bookie` on it. The caller holds the
    /// directory's lock.
    pub(crate) fn start(
        dir: &Path,
        bookie: Bookie,
        id: BookieId,
        cluster: String,
    ) -> Result<LocalServer, ServeError> {
        let told = |source| ServeError { path: dir.join(BOOKIE_SOCKET_NAME), source };
        let threads = threads().map_err(|error| match error {
            NotServed::Thread(source) => told(source),
            other => told(std::io::Error::other(other)),
        })?;
        let listener = socket::listen(dir, BOOKIE_SOCKET_NAME).map_err(told)?;
        listener.set_nonblocking(true).map_err(told)?;
        let listener = {
            let _in = threads[0].handle().enter();
            Listener::Local(UnixListener::from_std(listener).map_err(told)?)
        };
        let limits = ServerLimits::default();
        let config = Serving { cluster, bookie: id, tls: None, limits };
        let served = Some(Served::start(listener, threads, bookie, config));
        Ok(LocalServer { dir: dir.to_owned(), served })
    }

    /// Accepts nothing more, lets what was accepted be answered, and cuts off whoever is not done `within`
    /// this time.
    pub(crate) fn drain(mut self, within: Duration) {
        self.remove();
        if let Some(served) = self.served.take() {
            let _everybody = served.drain(within);
        }
    }

    /// First the name, so that who comes now sees nobody rather than a closed door.
    fn remove(&self) {
        if let Err(error) = socket::remove(&self.dir, BOOKIE_SOCKET_NAME) {
            tracing::warn!(dir = %self.dir.display(), %error, "the bookie's socket stays behind");
        }
    }
}

impl Drop for LocalServer {
    fn drop(&mut self) {
        if self.served.is_some() {
            self.remove();
        }
    }
}
