//! The state of a topology over HTTP, as JSON, and over Cap'n Proto RPC.
//!
//! It answers from a [replica](egret::replica): as of a committed epoch, which every answer names, whether the
//! topology runs or not. It stands beside the `egret` command and beside topology programs that want it in
//! their own process; it is a package of its own so that none other has to be built with a web server.
//!
//! | request | answer |
//! |---|---|
//! | `GET /v1/state` | the components: tasks, keys, bytes, format |
//! | `GET /v1/state/COMPONENT/KEY` | the state of one key |
//! | `POST /v1/state/COMPONENT` `{"keys": [..]}` | the states of many keys, all as of one commit |
//! | `GET /v1/state/COMPONENT?prefix=&from=&limit=` | keys and states in the order of the keys |
//! | `GET /v1/health` | whether there is something to answer, and how new it is |
//!
//! An answer has `topology`, `epoch` (`generation`, `commit`, `written_by`) and `age_ms`: for how long it has not
//! been known to be of the newest commit. A topology that goes back to a named commit takes `generation` and `commit`
//! back with it; `written_by` is the generation that did, and only rises. Of two answers the later one, by
//! `written_by` and then the other two, is of what the topology holds to. An error has `error` in words and `code`
//! for programs.
//!
//! ```no_run
//! use egret::replica::{Follower, Replica, ReplicaOptions};
//! use egret_state_server::{ServerOptions, StateServer};
//!
//! # fn serve(log: egret_log::Log) -> Result<(), Box<dyn std::error::Error>> {
//! let follower = Follower::start(Replica::new("words", ReplicaOptions::default()), log)?;
//! let server = StateServer::start(follower, ServerOptions::new("127.0.0.1:7070".parse()?))?;
//! println!("http://{}/v1/state", server.address());
//! # Ok(())
//! # }
//! ```
//!
//! # What always holds
//! * All of one answer is of one commit, and nothing in it is of none.
//! * Connections, requests under way, their sizes and those of answers are bounded, one by one and together,
//!   and whoever does not take an answer, or takes it too slowly, is let go of ([`caps`]).
//! * Off this host only those are answered who have a certificate of the cluster, unless it is asked for in
//!   the open.

mod accept;
mod budget;
pub mod caps;
mod encoding;
mod http;
mod patience;
pub mod rpc;
mod server;
mod tls;

pub use server::{ServeError, ServerOptions, StateServer};
pub use tls::{Tls, TlsError};
