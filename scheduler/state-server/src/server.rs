//! The server: a runtime of its own, ended and joined by its owner.

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use egret::replica::Follower;
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::tls::Tls;
use crate::{accept, caps, http, rpc};

/// How to serve.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Where to listen; port 0 takes any.
    pub listen: SocketAddr,
    /// Where to answer Cap'n Proto RPC besides.
    pub rpc_listen: Option<SocketAddr>,
    /// Bytes that answers over HTTP may take together, in the making and until they are taken; small ones
    /// ([`caps::SMALL_ANSWER_BYTES`]) besides.
    pub answers_bytes_max: usize,
    /// Threads that answer HTTP.
    pub threads: NonZeroUsize,
    /// With whose certificate; `None` answers everybody, in the open.
    pub tls: Option<Tls>,
    /// Answer everybody in the open although the address can be reached from other hosts.
    pub in_the_open: bool,
}

impl ServerOptions {
    /// One thread, without certificates.
    pub fn new(listen: SocketAddr) -> ServerOptions {
        ServerOptions {
            listen,
            rpc_listen: None,
            answers_bytes_max: caps::ANSWERS_BYTES,
            threads: NonZeroUsize::MIN,
            tls: None,
            in_the_open: false,
        }
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
    rpc_address: Option<SocketAddr>,
    ending: watch::Sender<bool>,
    threads: Vec<JoinHandle<()>>,
}

impl StateServer {
    /// Begins to serve what a follower holds.
    ///
    /// # Errors
    /// When everybody could read it and that was not asked for, or the address cannot be listened on.
    pub fn start(follower: Follower, options: ServerOptions) -> Result<StateServer, ServeError> {
        let asked = [Some(options.listen), options.rpc_listen];
        for address in asked.into_iter().flatten() {
            if options.tls.is_none() && !options.in_the_open && !address.ip().is_loopback() {
                return Err(ServeError::Open(address));
            }
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
        let (ending, ended) = watch::channel(false);
        let follower = Arc::new(follower);
        let (listener, address) = listen(&runtime, options.listen)?;
        let mut server = StateServer {
            address,
            follower: Arc::clone(&follower),
            rpc_address: None,
            ending,
            threads: Vec::new(),
        };
        if let Some(listen_rpc) = options.rpc_listen {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let runtime = runtime.map_err(ServeError::Thread)?;
            let (listener, address) = listen(&runtime, listen_rpc)?;
            let (tls, follower, ended) =
                (options.tls.clone(), Arc::clone(&follower), ended.clone());
            server.rpc_address = Some(address);
            server.spawn("egret-state-rpc", move || {
                runtime.block_on(rpc::serve::serve(listener, tls, follower, ended));
            })?;
        }
        let router = http::router(&follower, options.answers_bytes_max);
        let tls = options.tls;
        server.spawn("egret-state-http", move || {
            runtime.block_on(accept::serve(listener, tls, router, ended));
        })?;
        Ok(server)
    }

    fn spawn(
        &mut self,
        name: &str,
        what: impl FnOnce() + Send + 'static,
    ) -> Result<(), ServeError> {
        let thread = thread::Builder::new().name(name.to_owned()).spawn(what);
        self.threads.push(thread.map_err(ServeError::Thread)?);
        Ok(())
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens for Cap'n Proto RPC.
    pub fn rpc_address(&self) -> Option<SocketAddr> {
        self.rpc_address
    }

    /// What it answers from.
    pub fn follower(&self) -> &Follower {
        &self.follower
    }
}

impl Drop for StateServer {
    fn drop(&mut self) {
        self.ending.send_replace(true);
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("a thread that serves state panicked");
            }
        }
    }
}

fn listen(runtime: &Runtime, address: SocketAddr) -> Result<(TcpListener, SocketAddr), ServeError> {
    let failed = |source| ServeError::Listen { address, source };
    let listener = runtime.block_on(async { open(address) }).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}

/// Connections have the listener's options.
fn open(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    socket.set_reuseaddr(true)?;
    socket.set_send_buffer_size(caps::SEND_BUFFER_BYTES)?;
    socket.bind(address)?;
    socket.listen(caps::BACKLOG)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::sockopt::socket_send_buffer_size;
    use std::net::TcpStream;

    /// 900 connections that took none of their answers had the system hold two gigabytes of them.
    #[test]
    fn what_the_system_holds_for_who_takes_no_answers_is_bounded() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime is made");
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let address = address.parse().expect("it is an address");
            let Ok((listener, address)) = listen(&runtime, address) else {
                assert!(address.is_ipv6(), "not every host has the other");
                continue;
            };
            let _client = TcpStream::connect(address).expect("it listens");
            let (served, _) = runtime.block_on(listener.accept()).expect("it came");
            let bytes = socket_send_buffer_size(&served).expect("it is a socket");
            assert!(bytes <= 2 * caps::SEND_BUFFER_BYTES as usize, "{bytes}");
            // What was not asked for grows with what is written.
            let blank = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("it listens");
            let before = socket_send_buffer_size(&blank).expect("it is a socket");
            assert_ne!(bytes, before, "it was not asked for");
        }
    }
}
