//! Connections in, so many at once, each served until either side is done.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::caps;
use crate::patience::Patient;
use crate::tls::Tls;

/// How long to wait when the system gives no more files.
const NO_FILES_WAIT: Duration = Duration::from_millis(100);

/// Accepts until it is told to end; then connections have a while to be answered.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    router: Router,
    mut ending: watch::Receiver<bool>,
) {
    let acceptor = tls.map(|tls| tls.acceptor());
    let places = Arc::new(Semaphore::new(caps::CONNECTIONS_MAX));
    let mut connections = JoinSet::new();
    let ended = ending.clone();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = told(&mut ending) => break,
            // Those that are done are let go of.
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection cannot be accepted");
                tokio::time::sleep(NO_FILES_WAIT).await;
                continue;
            }
        };
        // Who comes when all places are taken is told by the end of the connection.
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
        let (acceptor, router, ended) = (acceptor.clone(), router.clone(), ended.clone());
        connections.spawn(async move {
            if let Err(error) = shake_hands(stream, acceptor, router, ended).await {
                tracing::debug!(%error, "a connection ended");
            }
            drop(place);
        });
    }
    drop(listener);
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
    let stream = Patient::new(stream, caps::READER_WAIT);
    let Some(acceptor) = acceptor else { return converse(stream, router, ended).await };
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long");
    let stream = timeout(caps::HANDSHAKE_WAIT, acceptor.accept(stream)).await.map_err(late)??;
    converse(stream, router, ended).await
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    router: Router,
    mut ended: watch::Receiver<bool>,
) -> io::Result<()> {
    let service = TowerToHyperService::new(router);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(caps::REQUEST_WAIT)
        .pipeline_flush(true)
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
