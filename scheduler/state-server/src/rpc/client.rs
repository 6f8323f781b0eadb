//! A client that waits for each answer.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use capnp_rpc::RpcSystem;
use capnp_rpc::rpc_twoparty_capnp::Side;
use capnp_rpc::twoparty::VatNetwork;
use egret_schemas::state::{StateAnswer, StateClient, StateQuestion};
use tokio::net::TcpStream;
use tokio::runtime::Runtime;
use tokio::task::LocalSet;
use tokio::time::timeout;
use tokio_util::compat::{TokioAsyncReadCompatExt as _, TokioAsyncWriteCompatExt as _};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The server is not reached.
    #[error("{address} is not reached: {source}")]
    Connect {
        /// Its address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// It does not answer in time.
    #[error("no answer within {} ms: ask again", .0.as_millis())]
    Late(Duration),
    /// The connection ended, or what came is no answer.
    #[error("there is no answer: {0}; connect again")]
    Rpc(String),
}

/// A connection to a server of state, in the open. It stays on its thread.
#[derive(Debug)]
pub struct RpcClient {
    wait: Duration,
    state: StateClient,
    /// Where the connection is worked on while an answer is waited for.
    local: LocalSet,
    runtime: Runtime,
}

impl RpcClient {
    /// Connects; every answer, too, may take so long.
    ///
    /// # Errors
    /// When the server is not reached.
    pub fn connect(address: SocketAddr, wait: Duration) -> Result<RpcClient, ClientError> {
        let failed = |source| ClientError::Connect { address, source };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(failed)?;
        let connecting = async { timeout(wait, TcpStream::connect(address)).await };
        let stream = runtime.block_on(connecting).map_err(|_| ClientError::Late(wait))?;
        let stream = stream.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let (reader, writer) = tokio::io::split(stream);
        let (reader, writer) = (reader.compat(), writer.compat_write());
        let network = VatNetwork::new(reader, writer, Side::Client, Default::default());
        let mut system = RpcSystem::new(Box::new(network), None);
        let state = system.bootstrap(Side::Server);
        let local = LocalSet::new();
        local.spawn_local(system);
        Ok(RpcClient { wait, state, local, runtime })
    }

    /// Asks.
    ///
    /// # Errors
    /// When there is no answer, or none in time.
    pub fn ask(&self, question: &StateQuestion) -> Result<StateAnswer, ClientError> {
        let asking = async { timeout(self.wait, self.state.ask(question)).await };
        let answer = self.local.block_on(&self.runtime, asking);
        let answer = answer.map_err(|_| ClientError::Late(self.wait))?;
        answer.map_err(|error| ClientError::Rpc(error.to_string()))
    }
}
