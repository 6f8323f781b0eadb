//! `egret state serve`: a topology's state over HTTP, until told to end.

use std::fs;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use clap::Args;
use egret::replica::Follower;
use egret::replica::follow::Beside;
use egret_log_cluster::Cluster;
use egret_log_cluster::place;
use egret_log_cluster::signals::when_asked_to_end;
use egret_schemas::bookie::Role;
use egret_state_server::{ServeError, ServerOptions, StateServer, Tls};

use super::{mib, replica};
use crate::cli::exit::{self, Done, Exit};
use crate::cli::output;
use crate::cli::place::Place;

/// How long to read before saying that it takes longer.
const FIRST_WAIT: Duration = Duration::from_secs(600);

/// What part of the memory is for answers that are on their way.
const ANSWERS_PART: usize = 8;

/// Answer over HTTP.
#[derive(Debug, Args)]
#[command(after_help = "GET /v1/state                                  the components
GET /v1/state/COMPONENT/KEY                    one key
GET /v1/state/COMPONENT?prefix=&from=&limit=   many keys, in order
POST /v1/state/COMPONENT {\"keys\": [..]}        many keys, of one commit
GET /v1/health                                 whether it answers, and how new it is

Every answer names the commit it is of. All state is held in memory; a topology that restarts elsewhere, or \
with another number of tasks, is followed. While the newest commit cannot be read, \
because the directory was moved away say, what is held is answered, /v1/health says why, and it is tried again, after \
ten seconds at most. Whoever can reach the address can read the state: off this host it \
takes certificates on both sides (`egret init cert`), or --in-the-open.")]
pub(super) struct Serve {
    /// The topology.
    topology: String,
    /// Where to listen; port 0 takes any.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7070")]
    listen: SocketAddr,
    /// Answer Cap'n Proto RPC here, too; the interface is schemas/schema/state.capnp.
    #[arg(long, value_name = "ADDR")]
    rpc_listen: Option<SocketAddr>,
    /// Hold only this component.
    #[arg(long, value_name = "COMPONENT")]
    component: Option<String>,
    /// How much memory the state and answers over HTTP may take together, in MiB; an eighth of it is for answers.
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    memory_mb: u32,
    /// Threads that answer HTTP.
    #[arg(long, value_name = "N", default_value = "1")]
    threads: NonZeroUsize,
    /// The certificate to serve with (PEM).
    #[arg(long, value_name = "FILE", requires_all = ["tls_key", "tls_ca"])]
    tls_cert: Option<PathBuf>,
    /// Its private key (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// The authority whose certificates clients show (PEM).
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_ca: Option<PathBuf>,
    /// Answer everybody who can reach the address, without certificates.
    #[arg(long, conflicts_with = "tls_cert")]
    in_the_open: bool,
}

/// As everywhere: an address that is taken now may be free later, and what is not to be is not.
fn unserved(error: ServeError) -> Exit {
    let words = error.to_string();
    match error {
        ServeError::Open(_) => Exit::Refused(words),
        ServeError::Listen { .. } | ServeError::Thread(_) => Exit::Failed(words),
    }
}

impl Serve {
    pub(super) fn run(self, place: &Place) -> Done {
        let (tell, told) = mpsc::sync_channel(1);
        let ask = move || {
            let _ = tell.send(());
        };
        when_asked_to_end(ask).map_err(|why| Exit::Failed(why.to_string()))?;
        let tls = self.tls()?;
        let memory_bytes = mib(self.memory_mb);
        let answers_bytes_max = memory_bytes / ANSWERS_PART;
        let state_bytes_max = memory_bytes - answers_bytes_max;
        let replica = replica(&self.topology, self.component.as_deref(), state_bytes_max);
        // Held until the server has ended: its log goes through it.
        let mut _cluster = None;
        let begun = match place.said() {
            place::Place::Cluster(file) => {
                let cluster = Cluster::open(&file, Role::Client)?;
                let log = cluster.log()?;
                _cluster = Some(cluster);
                Follower::start_and_wait(replica, log, FIRST_WAIT)
            }
            place::Place::Directory(dir) => {
                Follower::start_and_wait(replica, Beside::new(&dir), FIRST_WAIT)
            }
        };
        // What cannot be shown at all is said at once, and not to every client.
        let (follower, held) = begun.map_err(|error| Exit::from(&*error))?;
        if !held {
            exit::warn("reading takes long: until it is done there is no answer");
        }
        let options = ServerOptions {
            listen: self.listen,
            rpc_listen: self.rpc_listen,
            answers_bytes_max,
            threads: self.threads,
            tls,
            in_the_open: self.in_the_open,
        };
        let https = if options.tls.is_some() { "https" } else { "http" };
        let server = StateServer::start(follower, options).map_err(unserved)?;
        output::line(&format!("{https}://{}/v1/state", server.address()))?;
        if let Some(address) = server.rpc_address() {
            output::line(&format!("Cap'n Proto RPC on {address}"))?;
        }
        let _ = told.recv();
        drop(server);
        Ok(())
    }

    fn tls(&self) -> Result<Option<Tls>, Exit> {
        let (Some(cert), Some(key), Some(ca)) = (&self.tls_cert, &self.tls_key, &self.tls_ca)
        else {
            return Ok(None);
        };
        let read = |path: &Path| {
            fs::read(path).map_err(|why| Exit::Usage(format!("{}: {why}", path.display())))
        };
        let tls = Tls::new(&read(cert)?, &read(key)?, &read(ca)?);
        tls.map(Some).map_err(|error| Exit::Usage(error.to_string()))
    }
}
