//! Connections in: a place for each, handshake and hello within a deadline.
//!
//! Who finds no place is closed at once: to answer would cost what the limit is there to save.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use egret_schemas::bookie::{
    Ask, BOOKIE_VERSION, BookieReply, BookieRequest, Hello, Reason, Role, TurnedAway, Welcome,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::super::race::{First, first};
use super::super::tls::PeerName;
use super::super::wire::{FrameReader, FrameWriter, WireError};
use super::{Shared, converse};
use crate::caps;
use crate::rpc::frame::Limits;
use crate::rpc::socket::may_speak;

const BEFORE_HELLO: Limits =
    Limits { header_bytes_max: caps::HELLO_BYTES_MAX, payload_bytes_max: 0 };

/// How long to wait when the system gives no connection: out of files, mostly.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);

/// Where connections come in.
pub(super) enum Listener {
    /// From hosts.
    Tcp(TcpListener),
    /// From processes of this host that may open a directory.
    Local(UnixListener),
}

/// One that came in, and may move to the thread that will wait for it.
enum Incoming {
    Tcp(std::net::TcpStream, SocketAddr),
    Local(std::os::unix::net::UnixStream),
}

impl Listener {
    async fn accept(&self) -> io::Result<Incoming> {
        match self {
            Listener::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok(Incoming::Tcp(stream.into_std()?, peer))
            }
            Listener::Local(listener) => {
                let (stream, _) = listener.accept().await?;
                Ok(Incoming::Local(stream.into_std()?))
            }
        }
    }
}

/// Who is at the other end, for logs.
#[derive(Clone, Copy)]
enum Peer {
    At(SocketAddr),
    Here,
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Peer::At(address) => address.fmt(f),
            Peer::Here => f.write_str("a process of this host"),
        }
    }
}

/// Accepts until nothing more is, and spreads connections over the threads.
pub(super) async fn accept(listener: Listener, shared: Arc<Shared>, threads: Vec<Handle>) {
    let mut draining = shared.draining.subscribe();
    for thread in threads.iter().cycle() {
        let drained = drained(&mut draining);
        match first(drained, listener.accept()).await {
            First::Left(()) => return,
            First::Right(Ok(incoming)) => {
                let Some(place) = Place::take(&shared) else { continue };
                drop(thread.spawn(admit(incoming, place)));
            }
            First::Right(Err(error)) => {
                tracing::warn!(%error, "a connection was not accepted");
                tokio::time::sleep(ACCEPT_AGAIN).await;
            }
        }
    }
}

/// Waits until nothing more is accepted.
pub(super) async fn drained(draining: &mut watch::Receiver<bool>) {
    // An error is the end of the server, which is the same. What it returns is a lock, let go here.
    drop(draining.wait_for(|draining| *draining).await);
}

/// A place among the connections, given back when dropped.
pub(super) struct Place {
    shared: Arc<Shared>,
    stranger: bool,
}

impl Place {
    fn take(shared: &Arc<Shared>) -> Option<Place> {
        let limits = &shared.config.limits;
        let mut places = shared.places.lock().unwrap_or_else(PoisonError::into_inner);
        let full = places.connections >= limits.connections_max
            || places.strangers >= limits.strangers_max;
        if full {
            places.refused += 1;
            return None;
        }
        places.connections += 1;
        places.strangers += 1;
        Some(Place { shared: Arc::clone(shared), stranger: true })
    }

    /// It said hello.
    fn known(&mut self) {
        if std::mem::take(&mut self.stranger) {
            let mut places = self.shared.places.lock().unwrap_or_else(PoisonError::into_inner);
            places.strangers -= 1;
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.known();
        let mut places = self.shared.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.connections -= 1;
        drop(places);
        self.shared.left.notify_all();
    }
}

async fn admit(incoming: Incoming, place: Place) {
    let (peer, ended) = match incoming {
        Incoming::Tcp(stream, peer) => (Peer::At(peer), admit_tcp(stream, peer, place).await),
        Incoming::Local(stream) => (Peer::Here, admit_local(stream, place).await),
    };
    if let Err(error) = ended {
        tracing::debug!(%peer, %error, "a connection ended");
    }
}

async fn admit_local(
    stream: std::os::unix::net::UnixStream,
    place: Place,
) -> Result<(), WireError> {
    if !may_speak(&stream) {
        tracing::warn!("a process of another user was refused");
        return Ok(());
    }
    let (read, write) = UnixStream::from_std(stream)?.into_split();
    greet(read, write, None, Peer::Here, place).await
}

async fn admit_tcp(
    stream: std::net::TcpStream,
    peer: SocketAddr,
    place: Place,
) -> Result<(), WireError> {
    let shared = Arc::clone(&place.shared);
    let (wait, peer) = (shared.config.limits.hello_wait, Peer::At(peer));
    let stream = TcpStream::from_std(stream)?;
    stream.set_nodelay(true)?;
    let Some(tls) = &shared.config.tls else {
        let (read, write) = stream.into_split();
        return greet(read, write, None, peer, place).await;
    };
    let acceptor = TlsAcceptor::from(Arc::clone(&tls.config));
    let stream = match timeout(wait, acceptor.accept(stream)).await {
        Err(_) => return Err(WireError::Slow { ms: wait.as_millis() }),
        Ok(accepted) => accepted?,
    };
    match PeerName::of(stream.get_ref().1.peer_certificates()) {
        Ok(name) => {
            let (read, write) = tokio::io::split(stream);
            greet(read, write, Some(name), peer, place).await
        }
        Err(error) => {
            tracing::warn!(%peer, %error, "a certificate was refused");
            Ok(())
        }
    }
}

/// Hello, then the conversation.
async fn greet(
    read: impl AsyncRead + Unpin,
    write: impl AsyncWrite + Unpin,
    named: Option<PeerName>,
    peer: Peer,
    mut place: Place,
) -> Result<(), WireError> {
    let shared = Arc::clone(&place.shared);
    let limits = &shared.config.limits;
    let mut frames = FrameReader::new(read, limits.frame_wait);
    let mut out = FrameWriter::new(write, limits.slow_reader_wait);
    let Ok(front) = timeout(limits.hello_wait, frames.next(BEFORE_HELLO)).await else {
        return Err(WireError::Slow { ms: limits.hello_wait.as_millis() });
    };
    let Some(front) = front? else { return Ok(()) };
    let judged = judge(&front.header, named.as_ref(), &shared);
    let (role, answer) = match judged {
        Ok((hello, welcome)) => {
            tracing::debug!(%peer, role = %welcome.role, process = hello.process, "hello");
            (Some(welcome.role), BookieReply::Welcome(welcome))
        }
        Err(turned) => {
            tracing::warn!(%peer, why = %turned, "a client was turned away");
            (None, BookieReply::TurnedAway(turned))
        }
    };
    out.add(front.correlation, &answer.encode(), &[]).await?;
    out.flush().await?;
    let Some(role) = role else { return out.shutdown().await };
    place.known();
    converse::converse(frames, out, role, &shared).await
}

fn judge(
    header: &[u8],
    named: Option<&PeerName>,
    shared: &Shared,
) -> Result<(Hello, Welcome), TurnedAway> {
    let turned = |reason, message: String| TurnedAway { reason, message, incarnation: None };
    let own = shared.own();
    let config = &shared.config;
    let hello = match BookieRequest::decode(header) {
        Ok(BookieRequest { ask: Ask::Hello(hello), .. }) => hello,
        Ok(_) => {
            return Err(turned(Reason::BadRequest, "hello was not said yet".to_owned()));
        }
        Err(error) => return Err(turned(Reason::BadRequest, error.to_string())),
    };
    if *shared.draining.borrow() {
        return Err(turned(Reason::Closing, "the bookie is going away".to_owned()));
    }
    if hello.version != BOOKIE_VERSION {
        let message = format!(
            "the bookie speaks version {BOOKIE_VERSION}, you speak {}: use the same release",
            hello.version
        );
        return Err(turned(Reason::Version, message));
    }
    let role = authenticated(&hello, named).map_err(|m| turned(Reason::Role, m))?;
    if hello.cluster != config.cluster {
        let message = format!(
            "this is a bookie of cluster {}, you are of {}: check the address",
            config.cluster, hello.cluster
        );
        return Err(turned(Reason::Cluster, message));
    }
    if hello.incarnation.is_some_and(|asked| asked != own) {
        let message = format!("this is incarnation {own}: it was formatted anew, or moved here");
        return Err(TurnedAway { incarnation: Some(own), ..turned(Reason::Incarnation, message) });
    }
    let welcome = Welcome {
        version: BOOKIE_VERSION,
        cluster: config.cluster.clone(),
        incarnation: own,
        bookie: config.bookie,
        role,
        features: 0,
        payload_bytes_max: u32::try_from(caps::ENTRY_BYTES_MAX).unwrap_or(u32::MAX),
        requests_max: u32::try_from(config.limits.requests_max).unwrap_or(u32::MAX),
        request_bytes_max: u64::try_from(config.limits.request_bytes_max).unwrap_or(u64::MAX),
    };
    Ok((hello, welcome))
}

/// What the client is: what its certificate says, and where there is none, on loopback, what it says.
fn authenticated(hello: &Hello, named: Option<&PeerName>) -> Result<Role, String> {
    let Some(named) = named else { return Ok(hello.role) };
    if named.role != hello.role || named.cluster != hello.cluster {
        return Err(format!(
            "the certificate names {named}, the hello says {} of {}: show a certificate of role {} in cluster {}",
            hello.role, hello.cluster, hello.role, hello.cluster
        ));
    }
    Ok(named.role)
}
