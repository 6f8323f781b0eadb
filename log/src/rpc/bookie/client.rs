//! The way to one bookie over TCP, or over a socket of its host: one connection, requests without waiting, answers as they come.
//!
//! Every request gets exactly one answer, with no lock held:
//! * the bookie's;
//! * [`Unknown::Unreachable`] when there is no connection, or it was lost before the answer;
//! * [`Unknown::TurnedAway`] when something at the address does not let this process in;
//! * [`Unknown::Incarnation`] when somebody else lives at the address;
//! * [`Unknown::Deadline`] when its time is over, whatever the connection does;
//! * [`Refusal::Overloaded`] when too much waits already, which is definite.
//!
//! It connects when it is first asked for something, and again after a pause that grows while nobody
//! is there; until the pause is over requests are answered at once.
//!
//! | file | holds |
//! |---|---|
//! | `table.rs` | requests without an answer, their bytes and deadlines |
//! | `connect.rs` | address to conversation: TCP, TLS or a local socket, hello |
//! | `drive.rs` | the tasks: connect, write, read, watch deadlines |

mod connect;
mod drive;
mod table;

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use egret_schemas::bookie::Role;
use egret_schemas::{BookieId, EntryId, Incarnation, LedgerId};

use self::table::{Table, Then};
use super::io_thread::IoThread;
use super::tls::ClientTls;
use crate::caps;
use crate::message::{Refusal, Reply, ReplyTo, Request, Transport, Unknown, Wake};

/// Whom to reach, and how.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// `host:port`; with TLS the certificate must name the host. Only a name where there is a `socket`.
    pub address: String,
    /// The data directory on whose socket the bookie is, when it is on none of TCP.
    pub socket: Option<PathBuf>,
    /// The bookie's name, for messages.
    pub bookie: BookieId,
    /// The incarnation that is meant.
    pub incarnation: Incarnation,
    /// The cluster.
    pub cluster: String,
    /// What this process is; with TLS its certificate says the same.
    pub role: Role,
    /// Its certificate; none only to a loopback address.
    pub tls: Option<ClientTls>,
    /// How long a request may take.
    pub request_wait: Duration,
    /// How long to connect and be welcomed.
    pub connect_wait: Duration,
    /// Bytes of requests without an answer.
    pub request_bytes_max: usize,
    /// Requests without an answer.
    pub requests_max: usize,
}

impl ClientConfig {
    /// With the usual limits.
    pub fn new(
        address: String,
        bookie: BookieId,
        incarnation: Incarnation,
        cluster: String,
        role: Role,
        tls: Option<ClientTls>,
    ) -> ClientConfig {
        ClientConfig {
            address,
            socket: None,
            bookie,
            incarnation,
            cluster,
            role,
            tls,
            request_wait: Duration::from_millis(caps::REQUEST_WAIT_MS),
            connect_wait: Duration::from_millis(caps::CONNECT_WAIT_MS),
            request_bytes_max: caps::BOOKIE_REQUEST_BYTES_MAX,
            requests_max: caps::BOOKIE_REQUESTS_MAX,
        }
    }

    /// Whom an answer is about.
    fn to(&self) -> String {
        format!("{} at {}", self.bookie, self.address)
    }
}

/// See the [module](self). Clones share the connection; when the last is dropped, what waits is
/// answered [`Unknown::Closing`].
#[derive(Clone)]
pub struct TcpTransport {
    inner: Arc<Inner>,
}

struct Inner {
    table: Arc<Table>,
    /// Outlives what runs on it.
    io: Arc<IoThread>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.table.close();
    }
}

impl fmt::Debug for TcpTransport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TcpTransport").field("config", &self.inner.table.config).finish()
    }
}

impl TcpTransport {
    /// The way to a bookie; connects when it is first used.
    pub fn new(io: Arc<IoThread>, config: ClientConfig) -> TcpTransport {
        let table = Arc::new(Table::new(config));
        io.spawn(drive::drive(Arc::clone(&table)));
        io.spawn(drive::watch_deadlines(Arc::clone(&table)));
        TcpTransport { inner: Arc::new(Inner { table, io }) }
    }

    /// Whom it reaches.
    pub fn config(&self) -> &ClientConfig {
        &self.inner.table.config
    }

    /// Requests without an answer.
    pub fn outstanding(&self) -> usize {
        self.inner.table.outstanding()
    }
}

impl Transport for TcpTransport {
    fn send(&self, to: Incarnation, request: Request, reply: ReplyTo) {
        if let Request::Add { payload, .. } = &request
            && payload.len() > caps::ENTRY_BYTES_MAX
        {
            let (bytes, max) = (payload.len(), caps::ENTRY_BYTES_MAX);
            return reply(Reply::Refused(Refusal::TooLarge { bytes, max }));
        }
        self.inner.table.send(to, request, reply);
    }

    /// # Panics
    /// When called by an answer, which runs on the thread that would bring this one's.
    fn call(&self, to: Incarnation, request: Request) -> Reply {
        assert!(!self.inner.io.is_current(), "an answer waits for another on its own thread");
        let slot = Arc::new(Slot::default());
        let told = Arc::clone(&slot);
        self.send(to, request, Box::new(move |reply| told.tell(reply)));
        slot.wait()
    }

    fn incarnation(&self) -> Incarnation {
        self.inner.table.config.incarnation
    }

    fn watch_lac(&self, ledger: LedgerId, beyond: Option<EntryId>, wake: Wake) {
        let watch = Then::Watch { ledger, beyond, wake };
        self.inner.table.watch(watch);
    }
}

/// The way to a bookie that there is none to: says so at once.
#[derive(Debug, Clone)]
pub struct NoWay {
    own: Incarnation,
    why: Unknown,
}

impl NoWay {
    /// To the bookie of this incarnation, for this reason.
    pub fn new(own: Incarnation, why: Unknown) -> NoWay {
        NoWay { own, why }
    }
}

impl Transport for NoWay {
    fn send(&self, to: Incarnation, request: Request, reply: ReplyTo) {
        reply(self.call(to, request));
    }

    fn call(&self, _to: Incarnation, _request: Request) -> Reply {
        Reply::Unknown(self.why.clone())
    }

    fn incarnation(&self) -> Incarnation {
        self.own
    }

    fn watch_lac(&self, _ledger: LedgerId, _beyond: Option<EntryId>, wake: Wake) {
        wake();
    }
}

/// Where a thread waits for its answer.
#[derive(Debug, Default)]
struct Slot {
    reply: Mutex<Option<Reply>>,
    told: Condvar,
}

impl Slot {
    fn tell(&self, reply: Reply) {
        *self.reply.lock().unwrap_or_else(PoisonError::into_inner) = Some(reply);
        self.told.notify_one();
    }

    fn wait(&self) -> Reply {
        let mut reply = self.reply.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match reply.take() {
                Some(reply) => return reply,
                // The deadline of the request brings an answer if nothing else does.
                None => reply = self.told.wait(reply).unwrap_or_else(PoisonError::into_inner),
            }
        }
    }
}
