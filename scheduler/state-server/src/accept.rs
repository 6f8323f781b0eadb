//! Connections in, so many at once, each served until either side is done.

use std::io;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::caps;
use crate::patience::{Gate, Patient, WAITS};
use crate::tls::Tls;

/// Where connections come in, and how many there may be.
pub(crate) struct Door {
    listener: TcpListener,
    places: Arc<Semaphore>,
}

impl Door {
    pub(crate) fn new(listener: TcpListener, connections_max: usize) -> Door {
        Door { listener, places: Arc::new(Semaphore::new(connections_max)) }
    }

    /// The next connection, with its place. Who comes when all are taken is told by the end of the connection.
    pub(crate) async fn next(&self) -> (TcpStream, OwnedSemaphorePermit) {
        loop {
            match self.listener.accept().await {
                Ok((stream, _)) => {
                    if let Ok(place) = Arc::clone(&self.places).try_acquire_owned() {
                        return (stream, place);
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "a connection cannot be accepted");
                    tokio::time::sleep(caps::NO_FILES_WAIT).await;
                }
            }
        }
    }
}

/// Accepts until it is told to end; then connections have a while to be answered.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    router: Router,
    mut ending: watch::Receiver<bool>,
) {
    let acceptor = tls.map(|tls| tls.acceptor());
    let door = Door::new(listener, caps::CONNECTIONS_MAX);
    let mut connections = JoinSet::new();
    let ended = ending.clone();
    loop {
        let (stream, place) = tokio::select! {
            accepted = door.next() => accepted,
            () = told(&mut ending) => break,
            // Those that are done are let go of.
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
        };
        let (acceptor, router, ended) = (acceptor.clone(), router.clone(), ended.clone());
        connections.spawn(async move {
            if let Err(error) = shake_hands(stream, acceptor, router, ended).await {
                tracing::debug!(%error, "a connection ended");
            }
            drop(place);
        });
    }
    drop(door);
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(caps::END_WAIT, all).await.is_err() {
        tracing::debug!("connections are cut off: their requests took too long");
    }
}

async fn shake_hands(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    router: Router,
    ended: watch::Receiver<bool>,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let stream = Patient::one_at_a_time(stream, WAITS);
    let gate = stream.gate();
    let Some(acceptor) = acceptor else { return converse(stream, gate, router, ended).await };
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long");
    let stream = timeout(caps::HANDSHAKE_WAIT, acceptor.accept(stream)).await.map_err(late)??;
    converse(stream, gate, router, ended).await
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    gate: Arc<Gate>,
    router: Router,
    mut ended: watch::Receiver<bool>,
) -> io::Result<()> {
    let router = TowerToHyperService::new(router);
    let service = hyper::service::service_fn(move |request: Request<Incoming>| {
        let (gate, router) = (Arc::clone(&gate), router.clone());
        async move {
            // Of requests that came one behind the other none is answered before the answer to the one before
            // is taken.
            gate.pass().await;
            hyper::service::Service::call(&router, request).await
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(caps::REQUEST_WAIT)
        .max_buf_size(caps::READ_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let done = tokio::select! {
        done = connection.as_mut() => Some(done),
        () = told(&mut ended) => None,
    };
    let done = match done {
        Some(done) => done,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    done.map_err(io::Error::other)
}

/// Waits until it is to end.
async fn told(ended: &mut watch::Receiver<bool>) {
    // Whoever would tell is gone: that is the end, too.
    let _ = ended.wait_for(|ended| *ended).await;
}
