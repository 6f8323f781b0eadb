//! The server: a runtime of its own, ended and joined by its owner.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use egret::replica::Follower;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::tls::Tls;
use crate::{accept, http};

/// How to serve.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Where to listen; port 0 takes any.
    pub listen: SocketAddr,
    /// Threads that answer.
    pub threads: NonZeroUsize,
    /// With whose certificate; `None` answers everybody, in the open.
    pub tls: Option<Tls>,
    /// Answer everybody in the open although the address can be reached from other hosts.
    pub in_the_open: bool,
}

impl ServerOptions {
    /// One thread, without certificates.
    pub fn new(listen: SocketAddr) -> ServerOptions {
        ServerOptions { listen, threads: NonZeroUsize::MIN, tls: None, in_the_open: false }
    }
}

/// Why nothing is served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Everybody could read it.
    #[error(
        "{0} can be reached from other hosts, and everybody there could read the state: give a certificate (--tls-cert, --tls-key, --tls-ca), listen on 127.0.0.1, or say --in-the-open"
    )]
    Open(SocketAddr),
    /// The address cannot be listened on.
    #[error("{address} cannot be listened on: {source}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// No threads.
    #[error("no thread to answer with: {0}")]
    Thread(io::Error),
}

/// A topology's state, served. It ends, and is joined, when this is dropped.
#[derive(Debug)]
pub struct StateServer {
    address: SocketAddr,
    follower: Arc<Follower>,
    ending: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl StateServer {
    /// Begins to serve what a follower holds.
    ///
    /// # Errors
    /// When everybody could read it and that was not asked for, or the address cannot be listened on.
    pub fn start(follower: Follower, options: ServerOptions) -> Result<StateServer, ServeError> {
        if options.tls.is_none() && !options.in_the_open && !options.listen.ip().is_loopback() {
            return Err(ServeError::Open(options.listen));
        }
        let runtime = match options.threads.get() {
            1 => tokio::runtime::Builder::new_current_thread().enable_all().build(),
            n => tokio::runtime::Builder::new_multi_thread()
                .worker_threads(n)
                .thread_name("egret-state-http")
                .enable_all()
                .build(),
        };
        let runtime = runtime.map_err(ServeError::Thread)?;
        let no_address = |source| ServeError::Listen { address: options.listen, source };
        let listener = runtime.block_on(TcpListener::bind(options.listen)).map_err(no_address)?;
        let address = listener.local_addr().map_err(no_address)?;
        let follower = Arc::new(follower);
        let router = http::router(&follower);
        let (ending, ended) = watch::channel(false);
        let tls = options.tls;
        let thread = thread::Builder::new()
            .name("egret-state-http".to_owned())
            .spawn(move || runtime.block_on(accept::serve(listener, tls, router, ended)))
            .map_err(ServeError::Thread)?;
        Ok(StateServer { address, follower, ending, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it answers from.
    pub fn follower(&self) -> &Follower {
        &self.follower
    }
}

impl Drop for StateServer {
    fn drop(&mut self) {
        self.ending.send_replace(true);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that serves state panicked");
        }
    }
}
