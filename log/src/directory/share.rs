//! Sharing a data directory whole: its metadata and its bookie, each on a socket of its own, for processes
//! that [attach](super::attach) and have a log like the holder's.
//!
//! ```text
//! <dir>/meta.sock     the metadata: schemas/schema/metadata.capnp
//! <dir>/bookie.sock   the bookie: schemas/schema/bookie.capnp
//! ```
//! Both name the *life* of the holder, a number unlike that of any holding before: leases and the order of
//! what was written hold within one life, so nobody goes on with another.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use egret_schemas::Incarnation;

use crate::bookie::Bookie;
use crate::caps;
use crate::client::OneBookie;
use crate::message::Transport;
use crate::metadata::MetaStore;
use crate::rpc::bookie::LocalServer;
use crate::rpc::{BOOKIE_SOCKET_NAME, META_SOCKET_NAME, ServeError, Server, meta, socket};

/// A directory being shared. Those who are attached are cut off when it is dropped.
#[derive(Debug)]
pub(super) struct Share {
    meta: Server,
    bookie: LocalServer,
}

impl Share {
    /// Makes both sockets, replacing stale ones. The caller holds the directory's lock.
    pub(super) fn start(
        dir: &Path,
        bookie: Bookie,
        store: Arc<dyn MetaStore>,
        life: Incarnation,
    ) -> Result<Share, ServeError> {
        let incarnation = bookie.incarnation();
        // The metadata last: who finds it finds the bookie.
        let bookie = LocalServer::start(dir, bookie, OneBookie::ID, cluster_of(life))?;
        let meta = meta::serve(dir, store, life, incarnation)?;
        Ok(Share { meta, bookie })
    }

    /// Answers what is under way, and lets go of everybody.
    pub(super) fn close(self) {
        self.meta.close();
        self.bookie.drain(Duration::from_millis(caps::DRAIN_MS));
    }
}

/// What a life is called where bookies and their clients say which cluster they are of.
pub(super) fn cluster_of(life: Incarnation) -> String {
    format!("{:032x}", life.0)
}

/// Removes what a holder that shared the directory left behind when it died.
pub(super) fn remove_stale(dir: &Path) {
    for name in [META_SOCKET_NAME, BOOKIE_SOCKET_NAME] {
        // Nobody listens there: who tries is told so with it as well.
        let _ = socket::remove(dir, name);
    }
}
