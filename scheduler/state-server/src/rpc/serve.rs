//! Connections in, each with a `State`, all on one thread: what the protocol's objects share is not for many.

use std::io;
use std::sync::Arc;

use capnp::message::ReaderOptions;
use capnp_rpc::RpcSystem;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::twoparty::VatNetwork;
use egret::replica::Follower;
use egret_schemas::state::{StateClient, StateService};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{LocalSet, spawn_local};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::compat::{TokioAsyncReadCompatExt as _, TokioAsyncWriteCompatExt as _};

use super::answer::Answers;
use crate::accept::Door;
use crate::caps;
use crate::patience::{Patient, WAITS};
use crate::tls::Tls;

/// Serves until it is told to end; connections end then.
pub(crate) async fn serve(
    listener: TcpListener,
    tls: Option<Tls>,
    follower: Arc<Follower>,
    mut ending: watch::Receiver<bool>,
) {
    let local = LocalSet::new();
    let accepting = accept(listener, tls, follower);
    let told = async {
        // Whoever would tell is gone: that is the end, too.
        let _ = ending.wait_for(|ending| *ending).await;
    };
    local
        .run_until(async {
            tokio::select! {
                () = accepting => {}
                () = told => {}
            }
        })
        .await;
}

async fn accept(listener: TcpListener, tls: Option<Tls>, follower: Arc<Follower>) {
    let acceptor = tls.map(|tls| tls.acceptor());
    let state: StateClient = capnp_rpc::new_client(StateService(Answers(follower)));
    let door = Door::new(listener, caps::RPC_CONNECTIONS_MAX);
    loop {
        let (stream, place) = door.next().await;
        let (acceptor, state) = (acceptor.clone(), state.clone());
        spawn_local(async move {
            if let Err(error) = shake_hands(stream, acceptor, state).await {
                tracing::debug!(%error, "a connection ended");
            }
            drop(place);
        });
    }
}

async fn shake_hands(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    state: StateClient,
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let stream = Patient::one_at_a_time(stream, WAITS);
    let Some(acceptor) = acceptor else { return converse(stream, state).await };
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "the handshake took too long");
    let stream = timeout(caps::HANDSHAKE_WAIT, acceptor.accept(stream)).await.map_err(late)??;
    converse(stream, state).await
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    state: StateClient,
) -> io::Result<()> {
    let (reader, writer) = tokio::io::split(stream);
    let mut reading = ReaderOptions::new();
    reading.traversal_limit_in_words(Some(caps::REQUEST_BYTES_MAX / 8)).nesting_limit(16);
    let network = VatNetwork::new(reader.compat(), writer.compat_write(), Side::Server, reading);
    let state = capnp::capability::FromClientHook::cast_to(state);
    let system = RpcSystem::new(Box::new(network), Some(state));
    system.await.map_err(io::Error::other)
}
