//! TLS between the worker processes of a topology, on blocking sockets. What they say over it is theirs.
//!
//! * Both sides show a certificate of their cluster's authority. Which host it names is not looked at, for
//!   workers are placed anywhere, and any of them may take any place; [`WorkerTls::admits`] says whether the
//!   role and the cluster in it are those of a worker of this one.
//! * A [`SecureStream`] is read by one thread while another writes to it: neither waits for the other at the
//!   socket. A connection that was cut off is an error, never an end in order.
//! * A stranger has one deadline for its handshake, and what it sends is bounded by TLS itself.

mod stream;
mod verify;

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use egret_schemas::bookie::Role;
use rustls::crypto::ring;
use rustls::pki_types::ServerName;
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{ClientConfig, ClientConnection, Connection, ServerConfig, ServerConnection};

use self::verify::AnyHost;
use super::bookie::tls::{Parsed, Pem, refused};
use super::bookie::{PeerName, TlsError};
use crate::{caps, clock};

pub use stream::SecureStream;

/// What both sides must say they speak: a worker that reaches a bookie's port is told so, and the other way
/// round.
const PROTOCOL: &[u8] = b"egret-worker/1";

/// What a worker shows, and whom it believes.
#[derive(Clone)]
pub struct WorkerTls {
    connects: Arc<ClientConfig>,
    accepts: Arc<ServerConfig>,
    own: PeerName,
}

impl fmt::Debug for WorkerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WorkerTls({})", self.own)
    }
}

impl WorkerTls {
    /// From a worker's certificate, its key and the authority of its cluster.
    ///
    /// # Errors
    /// When they do not go together or name nobody.
    pub fn new(pem: Pem<'_>) -> Result<WorkerTls, TlsError> {
        let Parsed { chain, key, roots } = pem.parse()?;
        let own = PeerName::of(Some(&chain))?;
        let provider = Arc::new(ring::default_provider());
        let algorithms = provider.signature_verification_algorithms;
        let clients =
            WebPkiClientVerifier::builder_with_provider(Arc::clone(&roots), Arc::clone(&provider))
                .build()
                .map_err(refused)?;
        let mut connects = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&TLS13])
            .map_err(refused)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(AnyHost { roots, algorithms }))
            .with_client_auth_cert(chain.clone(), key.clone_key())
            .map_err(refused)?;
        connects.alpn_protocols = vec![PROTOCOL.to_vec()];
        connects.resumption = rustls::client::Resumption::disabled();
        let mut accepts = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(refused)?
            .with_client_cert_verifier(clients)
            .with_single_cert(chain, key)
            .map_err(refused)?;
        accepts.alpn_protocols = vec![PROTOCOL.to_vec()];
        accepts.send_tls13_tickets = 0;
        Ok(WorkerTls { connects: Arc::new(connects), accepts: Arc::new(accepts), own })
    }

    /// Whom its certificate names.
    pub fn own(&self) -> &PeerName {
        &self.own
    }

    /// Whether somebody of that name is a worker of the same cluster.
    pub fn admits(&self, peer: &PeerName) -> bool {
        peer.role == Role::Worker && peer.cluster == self.own.cluster
    }

    /// Shakes hands over a connection that this process made; with whom.
    ///
    /// # Errors
    /// When the other side is not of this authority, or is not done by `until`.
    pub fn connect(
        &self,
        socket: TcpStream,
        until: Instant,
    ) -> io::Result<(SecureStream, PeerName)> {
        // It is not looked at, and an address is not sent.
        let name = ServerName::IpAddress(socket.peer_addr()?.ip().into());
        let session = ClientConnection::new(Arc::clone(&self.connects), name);
        shake(session.map_err(io::Error::other)?.into(), socket, until)
    }

    /// Shakes hands with whoever made a connection to this process.
    ///
    /// # Errors
    /// As [`connect`](WorkerTls::connect).
    pub fn accept(
        &self,
        socket: TcpStream,
        until: Instant,
    ) -> io::Result<(SecureStream, PeerName)> {
        let session = ServerConnection::new(Arc::clone(&self.accepts)).map_err(io::Error::other)?;
        shake(session.into(), socket, until)
    }

    /// Whether connections to and from there need it.
    pub fn is_needed_at(ip: IpAddr) -> bool {
        !ip.is_loopback()
    }
}

fn shake(
    mut session: Connection,
    socket: TcpStream,
    until: Instant,
) -> io::Result<(SecureStream, PeerName)> {
    let shaken = loop {
        if !session.is_handshaking() && !session.wants_write() {
            break Ok(());
        }
        if let Err(why) = session.complete_io(&mut Within { socket: &socket, until }) {
            break Err(why);
        }
    };
    if let Err(why) = shaken {
        let mut out = Within { socket: &socket, until };
        while session.wants_write() && session.write_tls(&mut out).is_ok_and(|n| n > 0) {}
        // Or the system tells the other side that the connection was cut off, before it read why.
        linger(&socket);
        return Err(why);
    }
    let peer = PeerName::of(session.peer_certificates()).map_err(io::Error::other)?;
    Ok((SecureStream::new(session, socket), peer))
}

/// Reads what the other side still sends, so that what was sent to it last arrives.
fn linger(socket: &TcpStream) {
    let until = clock::now() + Duration::from_millis(caps::WORKER_LINGER_MS);
    socket.shutdown(Shutdown::Write).unwrap_or_default();
    let (mut rest, mut buffer) = (caps::WORKER_LINGER_BYTES, [0; 4096]);
    while let Ok(n @ 1..) = (Within { socket, until }).read(&mut buffer) {
        rest = rest.saturating_sub(n);
        if rest == 0 {
            return;
        }
    }
}

/// A socket, with one deadline for all that is done on it.
struct Within<'a> {
    socket: &'a TcpStream,
    until: Instant,
}

impl Within<'_> {
    fn left(&self) -> io::Result<Option<Duration>> {
        let left = self.until.saturating_duration_since(clock::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(Some(left)) }
    }
}

impl Read for Within<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(self.left()?)?;
        self.socket.read(out)
    }
}

impl Write for Within<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(self.left()?)?;
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests;
