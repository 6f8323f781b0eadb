//! An address to a conversation: TCP and TLS, or a local socket; hello. All of it within one deadline.
//!
//! Where the address leads to nobody the bookie is unreachable. Whatever takes the connection and does not
//! say hello turns this process away: something is there, and it may be the bookie with all it has.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;

use egret_schemas::Incarnation;
use egret_schemas::bookie::{
    Ask, BOOKIE_VERSION, BookieReply, BookieRequest, Hello, Reason, Role, TurnedAway, Welcome,
};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::super::accepted::host_of;
use super::super::tls::{ClientTls, PeerName};
use super::super::wire::{FrameReader, FrameWriter, WireError};
use super::ClientConfig;
use crate::message::Unknown;
use crate::rpc::frame::Limits;
use crate::rpc::socket::{BOOKIE_SOCKET_NAME, connect_now};
use crate::{caps, clock};

const LIMITS: Limits = Limits { header_bytes_max: caps::HELLO_BYTES_MAX, payload_bytes_max: 0 };

type Reading = Box<dyn AsyncRead + Send + Unpin>;
type Writing = Box<dyn AsyncWrite + Send + Unpin>;

/// A connection on which hello was said.
pub(super) struct Connected {
    pub(super) frames: FrameReader<Reading>,
    pub(super) out: FrameWriter<Writing>,
}

/// Connects and says hello.
pub(super) async fn connect(config: &ClientConfig) -> Result<Connected, Unknown> {
    let wait = config.connect_wait;
    let until = Instant::from_std(clock::now() + wait);
    let late = |why: &str| format!("{why} within {} ms", wait.as_millis());
    let stream = match timeout_at(until, reach(config)).await {
        Ok(stream) => stream?,
        Err(_) => return Err(unreachable(config, &late("nobody took the connection"))),
    };
    match timeout_at(until, greet(config, stream)).await {
        Ok(connected) => connected,
        Err(_) => Err(not_let_in(config, &late("it did not say hello"))),
    }
}

/// Who took the connection.
enum Reached {
    Tcp(TcpStream),
    Local(UnixStream),
}

/// A connection to whoever is there.
async fn reach(config: &ClientConfig) -> Result<Reached, Unknown> {
    let told = |error: &dyn std::fmt::Display| unreachable(config, &error.to_string());
    if let Some(dir) = &config.socket {
        // It never waits: everybody's connections are on this thread.
        let stream = connect_now(dir, BOOKIE_SOCKET_NAME).map_err(|e| told(&e))?;
        return Ok(Reached::Local(UnixStream::from_std(stream).map_err(|e| told(&e))?));
    }
    let address = resolve(&config.address).await.map_err(|why| told(&why))?;
    if config.tls.is_none() && !address.ip().is_loopback() {
        let why = "without a certificate only loopback addresses are spoken to: give one";
        return Err(not_let_in(config, why));
    }
    Ok(Reached::Tcp(TcpStream::connect(address).await.map_err(|e| told(&e))?))
}

async fn greet(config: &ClientConfig, reached: Reached) -> Result<Connected, Unknown> {
    let told = |error: &dyn std::fmt::Display| not_let_in(config, &error.to_string());
    let (read, write) = match reached {
        Reached::Local(stream) => {
            let (read, write) = stream.into_split();
            (Box::new(read) as Reading, Box::new(write) as Writing)
        }
        Reached::Tcp(stream) => {
            stream.set_nodelay(true).map_err(|e| told(&e))?;
            match &config.tls {
                None => {
                    let (read, write) = stream.into_split();
                    (Box::new(read) as Reading, Box::new(write) as Writing)
                }
                Some(tls) => secure(config, tls, stream).await?,
            }
        }
    };
    let mut frames = FrameReader::new(read, config.connect_wait);
    let mut out = FrameWriter::new(write, config.request_wait);
    let hello = Ask::Hello(Hello {
        version: BOOKIE_VERSION,
        cluster: config.cluster.clone(),
        incarnation: Some(config.incarnation).filter(|id| *id != Incarnation::default()),
        role: config.role,
        process: u64::from(std::process::id()),
        features: 0,
    });
    let hello = BookieRequest { to: config.incarnation, wait_ms: 0, ask: hello }.encode();
    out.add(0, &hello, &[]).await.map_err(|e| told(&e))?;
    out.flush().await.map_err(|e| told(&e))?;
    let cut = |error: &WireError| {
        let plain = config.tls.is_none() && config.socket.is_none();
        plain && matches!(error, WireError::Cut | WireError::Frame(_))
    };
    let front = frames.next(LIMITS).await.map_err(|error| match cut(&error) {
        true => not_let_in(config, WANTS_TLS),
        false => told(&error),
    })?;
    let Some(front) = front else {
        return Err(not_let_in(config, "it closed the connection before a word: is it full?"));
    };
    match BookieReply::decode(&front.header) {
        Ok(BookieReply::Welcome(welcome)) => {
            check(config, &welcome)?;
            Ok(Connected { frames, out })
        }
        Ok(BookieReply::TurnedAway(turned)) => Err(turned_away(config, turned)),
        Ok(_) => Err(not_let_in(config, "it did not answer hello: is it a bookie?")),
        Err(error) => Err(told(&error)),
    }
}

/// Of a bookie that answers a plain hello with something else than a word of its own.
const WANTS_TLS: &str = "it understands no plain hello, so it may speak TLS: give this process a certificate \
                         (`tls` in the file that says where the cluster is)";

/// The first address of a name. Names are looked up on a thread for things that block.
async fn resolve(address: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = address.parse() {
        return Ok(address);
    }
    let name = address.to_owned();
    let found =
        tokio::task::spawn_blocking(move || name.to_socket_addrs().map(|mut all| all.next()));
    match found.await {
        Ok(Ok(Some(address))) => Ok(address),
        Ok(Ok(None)) => Err("the name has no address".to_owned()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err("the name was not looked up".to_owned()),
    }
}

async fn secure(
    config: &ClientConfig,
    tls: &ClientTls,
    stream: TcpStream,
) -> Result<(Reading, Writing), Unknown> {
    let told = |error: &dyn std::fmt::Display| not_let_in(config, &error.to_string());
    let host = host_of(&config.address).to_owned();
    let name = ServerName::try_from(host).map_err(|e| told(&e))?;
    let connector = TlsConnector::from(Arc::clone(&tls.config));
    let stream = connector.connect(name, stream).await.map_err(|e| told(&e))?;
    let named = PeerName::of(stream.get_ref().1.peer_certificates()).map_err(|e| told(&e))?;
    if named.role != Role::Bookie || named.cluster != config.cluster {
        let why = format!("its certificate names {named}, no bookie of {}", config.cluster);
        return Err(not_let_in(config, &why));
    }
    let (read, write) = tokio::io::split(stream);
    Ok((Box::new(read), Box::new(write)))
}

fn check(config: &ClientConfig, welcome: &Welcome) -> Result<(), Unknown> {
    if welcome.version != BOOKIE_VERSION {
        let why = format!("it speaks version {}: use the same release", welcome.version);
        return Err(not_let_in(config, &why));
    }
    if welcome.cluster != config.cluster {
        let why = format!("it is of cluster {}, not {}", welcome.cluster, config.cluster);
        return Err(not_let_in(config, &why));
    }
    let (asked, own) = (config.incarnation, welcome.incarnation);
    if asked != own && asked != Incarnation::default() {
        return Err(Unknown::Incarnation { asked, own });
    }
    Ok(())
}

fn turned_away(config: &ClientConfig, turned: TurnedAway) -> Unknown {
    match (turned.reason, turned.incarnation) {
        (Reason::Incarnation, Some(own)) => Unknown::Incarnation { asked: config.incarnation, own },
        (Reason::Closing, _) => Unknown::Closing,
        // On a directory's socket that is the life of the holder.
        (Reason::Cluster, _) if config.socket.is_some() => {
            let why = "the directory is held by another process now: attach to it again";
            unreachable(config, why)
        }
        _ => not_let_in(config, &turned.message),
    }
}

pub(super) fn not_let_in(config: &ClientConfig, why: &str) -> Unknown {
    Unknown::TurnedAway { to: config.to(), why: why.to_owned() }
}

pub(super) fn unreachable(config: &ClientConfig, why: &str) -> Unknown {
    Unknown::Unreachable { to: config.to(), why: why.to_owned() }
}
