//! A bookie on a TCP address, or on a socket in a data directory.
//!
//! A few threads wait for the sockets, and each connection stays on one of them: it reads requests,
//! hands them to the bookie without waiting, and writes answers as they come, many in one write. The
//! bookie's journal thread only puts an answer down and wakes the connection.
//!
//! | file | holds |
//! |---|---|
//! | `accept.rs` | connections in, strangers kept short, hello |
//! | `converse.rs` | one connection: requests in, answers out |
//! | `line.rs` | what one connection waits for, and the answers it has not taken yet |
//! | `watches.rs` | who waits for a ledger's LAC |
//! | `local.rs` | a bookie for the processes of its host |

mod accept;
mod converse;
mod line;
mod local;
mod watches;

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use egret_schemas::BookieId;
use tokio::net::TcpListener;
use tokio::sync::watch;

use self::accept::Listener;
pub(crate) use self::local::LocalServer;
use self::watches::Watches;
use super::io_thread::IoThread;
use super::tls::ServerTls;
use crate::bookie::Bookie;
use crate::message::Transport;
use crate::{caps, clock};

/// Threads that wait for sockets: past this the disk is what is waited for.
const IO_THREADS_MAX: usize = 4;

/// How a bookie is served.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Where it listens; port 0 takes any.
    pub listen: SocketAddr,
    /// Its cluster.
    pub cluster: String,
    /// Its name in ensembles.
    pub bookie: BookieId,
    /// Its certificate; none only on a loopback address.
    pub tls: Option<ServerTls>,
    /// How much it takes.
    pub limits: ServerLimits,
}

/// How much a bookie takes from its clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerLimits {
    /// Connections at once.
    pub connections_max: usize,
    /// Connections that did not say hello yet.
    pub strangers_max: usize,
    /// Requests of one connection without a reply.
    pub requests_max: usize,
    /// Bytes of one connection's requests without a reply.
    pub request_bytes_max: usize,
    /// Bytes of all requests without a reply.
    pub request_bytes_total_max: usize,
    /// Bytes of replies one connection has not taken.
    pub reply_bytes_max: usize,
    /// How long a stranger has to say hello.
    pub hello_wait: Duration,
    /// How long a message that began may take to arrive.
    pub frame_wait: Duration,
    /// How long a client may take nothing.
    pub slow_reader_wait: Duration,
}

impl Default for ServerLimits {
    fn default() -> ServerLimits {
        ServerLimits {
            connections_max: caps::BOOKIE_CONNECTIONS_MAX,
            strangers_max: caps::BOOKIE_STRANGERS_MAX,
            requests_max: caps::BOOKIE_REQUESTS_MAX,
            request_bytes_max: caps::BOOKIE_REQUEST_BYTES_MAX,
            request_bytes_total_max: caps::BOOKIE_REQUEST_BYTES_TOTAL_MAX,
            reply_bytes_max: caps::BOOKIE_REPLY_BYTES_MAX,
            hello_wait: Duration::from_millis(caps::HELLO_WAIT_MS),
            frame_wait: Duration::from_millis(caps::FRAME_WAIT_MS),
            slow_reader_wait: Duration::from_millis(caps::SLOW_READER_WAIT_MS),
        }
    }
}

/// Why a bookie is not served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Without certificates anybody who reaches the address could write.
    #[error(
        "{listen} can be reached from other hosts: give [tls], or listen on a loopback address"
    )]
    Plain {
        /// The address.
        listen: SocketAddr,
    },
    /// The certificate is somebody else's.
    #[error(
        "the certificate names {named}, and this is a bookie of cluster {cluster}: have one issued for it"
    )]
    Certificate {
        /// Whom it names.
        named: String,
        /// The cluster.
        cluster: String,
    },
    /// The cluster has no name, or one too long.
    #[error("a cluster's name has 1 to {max} letters, digits, `-`, `_` or `.`, and `{name}` is none", max = caps::CLUSTER_NAME_BYTES_MAX)]
    ClusterName {
        /// As given.
        name: String,
    },
    /// The system says no.
    #[error("{listen}: {source}: is it an address of this host, and free?")]
    Listen {
        /// The address.
        listen: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// No threads.
    #[error("no thread to wait for sockets: {0}")]
    Thread(io::Error),
}

/// Whether a cluster may have this name.
pub fn is_cluster_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    (1..=caps::CLUSTER_NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(plain)
}

/// A bookie being served. When dropped, connections are cut; see [`drain`](BookieServer::drain).
#[derive(Debug)]
pub struct BookieServer {
    address: SocketAddr,
    served: Served,
}

/// The same wherever it listens.
#[derive(Debug)]
struct Served {
    shared: Arc<Shared>,
    /// Dropped last: whatever runs there holds `shared`.
    threads: Vec<Arc<IoThread>>,
}

/// How a bookie is served, wherever it listens.
#[derive(Debug)]
pub(super) struct Serving {
    cluster: String,
    bookie: BookieId,
    tls: Option<ServerTls>,
    limits: ServerLimits,
}

/// What all connections share.
#[derive(Debug)]
pub(super) struct Shared {
    bookie: Bookie,
    config: Serving,
    watches: Arc<Watches>,
    /// Bytes of all requests without a reply.
    request_bytes: AtomicUsize,
    places: Mutex<Places>,
    /// Somebody left.
    left: Condvar,
    /// Set once, when nothing more is accepted.
    draining: watch::Sender<bool>,
}

/// Who is here.
#[derive(Debug, Default)]
struct Places {
    connections: usize,
    strangers: usize,
    /// Turned away for want of a place, since the start.
    refused: u64,
}

/// Connections of this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ServerStats {
    /// Those that said hello, and strangers.
    pub connections: usize,
    /// Those that did not say hello yet.
    pub strangers: usize,
    /// Turned away for want of a place, since the start.
    pub refused: u64,
    /// Bytes of requests without a reply.
    pub request_bytes: usize,
}

impl BookieServer {
    /// Listens, and serves `bookie`.
    ///
    /// # Errors
    /// When the address, the certificate or the cluster's name may not be, or the system says no.
    pub fn start(bookie: Bookie, config: ServerConfig) -> Result<BookieServer, ServeError> {
        check(&config)?;
        let ServerConfig { listen, cluster, bookie: id, tls, limits } = config;
        let threads = threads()?;
        let told = |source| ServeError::Listen { listen, source };
        let listener = std::net::TcpListener::bind(listen).map_err(told)?;
        listener.set_nonblocking(true).map_err(told)?;
        let address = listener.local_addr().map_err(told)?;
        let listener = {
            let _in = threads[0].handle().enter();
            Listener::Tcp(TcpListener::from_std(listener).map_err(told)?)
        };
        let config = Serving { cluster, bookie: id, tls, limits };
        Ok(BookieServer { address, served: Served::start(listener, threads, bookie, config) })
    }

    /// Where it listens, with its real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Figures of this moment.
    pub fn stats(&self) -> ServerStats {
        let shared = &self.served.shared;
        let places = shared.places.lock().unwrap_or_else(PoisonError::into_inner);
        ServerStats {
            connections: places.connections,
            strangers: places.strangers,
            refused: places.refused,
            request_bytes: shared.request_bytes.load(Ordering::Relaxed),
        }
    }

    /// Accepts nothing more, lets what was accepted be answered, says goodbye. Whoever is not done
    /// `within` this time is cut off; whether everybody was.
    pub fn drain(self, within: Duration) -> bool {
        self.served.drain(within)
    }
}

impl Served {
    fn start(
        listener: Listener,
        threads: Vec<Arc<IoThread>>,
        bookie: Bookie,
        config: Serving,
    ) -> Served {
        let watches = Arc::new(Watches::new(bookie.clone()));
        let shared = Arc::new(Shared {
            bookie,
            config,
            watches,
            request_bytes: AtomicUsize::new(0),
            places: Mutex::default(),
            left: Condvar::new(),
            draining: watch::Sender::new(false),
        });
        threads[0].spawn(accept::accept(listener, Arc::clone(&shared), handles(&threads)));
        Served { shared, threads }
    }

    fn drain(self, within: Duration) -> bool {
        self.shared.draining.send_replace(true);
        let deadline = clock::now() + within;
        let mut places = self.shared.places.lock().unwrap_or_else(PoisonError::into_inner);
        while places.connections > 0 {
            let left = deadline.saturating_duration_since(clock::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.shared.left.wait_timeout(places, left);
            places = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(places);
        drop(self.threads);
        true
    }
}

/// Threads to wait for sockets.
fn threads() -> Result<Vec<Arc<IoThread>>, ServeError> {
    let count = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    (0..count.min(IO_THREADS_MAX))
        .map(|n| IoThread::start(&format!("egret-net-{n}")).map(Arc::new))
        .collect::<Result<_, _>>()
        .map_err(ServeError::Thread)
}

/// The runtimes only: a task that held the threads would keep them from ever ending.
fn handles(threads: &[Arc<IoThread>]) -> Vec<tokio::runtime::Handle> {
    threads.iter().map(|thread| thread.handle().clone()).collect()
}

fn check(config: &ServerConfig) -> Result<(), ServeError> {
    let cluster = &config.cluster;
    if !is_cluster_name(cluster) {
        return Err(ServeError::ClusterName { name: cluster.clone() });
    }
    check_place(config.listen, config.tls.is_some())?;
    let Some(tls) = &config.tls else { return Ok(()) };
    let own = tls.own();
    let fits = own.cluster == *cluster && own.role == egret_schemas::bookie::Role::Bookie;
    let (named, cluster) = (own.to_string(), cluster.clone());
    if fits { Ok(()) } else { Err(ServeError::Certificate { named, cluster }) }
}

/// Whether a bookie may listen there, with a certificate or without.
///
/// # Errors
/// [`ServeError::Plain`] when it may not.
pub fn check_place(listen: SocketAddr, has_certificate: bool) -> Result<(), ServeError> {
    match has_certificate || listen.ip().is_loopback() {
        true => Ok(()),
        false => Err(ServeError::Plain { listen }),
    }
}

impl Shared {
    fn own(&self) -> egret_schemas::Incarnation {
        self.bookie.incarnation()
    }
}
