//! A bookie's life: identity, registration, service, drain.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use egret_log::bookie::identity::Identity;
use egret_log::bookie::starts::Starts;
use egret_log::bookie::{Bookie, BookieConfig};
use egret_log::client::{ClusterBookies, ClusterConfig, Copies, Ledgers, Repairer};
use egret_log::disk::{Disk, RealDisk};
use egret_log::ledger::Member;
use egret_log::metadata::MetaStore;
use egret_log::registry::{BookieState, Registration, Registry, RegistryError};
use egret_log::rpc::bookie::{BookieServer, ServerConfig};
use egret_log::{caps, clock};
use egret_log_cluster::signals::when_asked_to_end;
use egret_log_cluster::{Holder, open_metadata};
use egret_schemas::BookieId;
use egret_schemas::bookie::Role;
use serde::Serialize;

use super::super::exit::{self, Done, Exit};
use super::super::output;
use super::config::BookieFile;

/// What is said when it serves.
#[derive(Debug, Serialize)]
struct Ready {
    bookie: u64,
    cluster: String,
    incarnation: String,
    address: String,
    pid: u32,
}

/// How much longer than a lease the end of one is waited for: whoever counts it down looks now and then.
const LEASE_SLACK: Duration = Duration::from_secs(3);

/// How often it is looked whether it ended.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Serves until asked to end.
pub(super) fn serve(
    file: &BookieFile,
    base: &Path,
    replace: bool,
    ready_file: Option<&Path>,
) -> Done {
    let tls = file.check(base)?;
    // First of all, so that a signal while it starts is not lost.
    let (sender, asked) = sync_channel(1);
    when_asked_to_end(move || sender.send(()).unwrap_or_default())?;
    let (dir, id) = (base.join(&file.directory), BookieId(file.id));
    let disk = Arc::new(RealDisk);
    disk.create_dir(&dir)?;
    let _lock = RealDisk::lock(&dir)?;
    let config = BookieConfig {
        catch_up_percent: file.catch_up_percent,
        shards: file.shards,
        journal_file_bytes: file.journal_file_bytes,
        ..BookieConfig::default()
    };
    let metadata = open_metadata(&file.cluster, &file.metadata, base)?;
    let registry = Registry::new(Arc::clone(&metadata));
    // Before an empty directory becomes one of this cluster for ever.
    registry.check_cluster(&file.cluster)?;
    let identity = Identity::load_or_mint_in(&*disk, &dir, &file.cluster, id, config.shards)?;
    // Before anybody is served who would be sent away again.
    registry.check_place(id, identity.incarnation, replace)?;
    let mut starts = Starts::load(&*disk, &dir)?;
    starts.starts = registry.next_start(id, identity.incarnation, starts)?;
    let bookie = Bookie::open(Arc::clone(&disk) as _, &dir, config)?;
    let server = BookieServer::start(
        bookie.clone(),
        ServerConfig {
            listen: file.listen,
            cluster: file.cluster.clone(),
            bookie: id,
            tls,
            limits: file.limits(),
        },
    )?;
    let listens = server.address().to_string();
    let address = if file.advertise.is_empty() { listens.clone() } else { file.advertise.clone() };
    let own = Registration {
        bookie: id,
        incarnation: identity.incarnation,
        address,
        rack: file.rack.clone(),
        since_ms: clock::wall_ms(),
        state: BookieState::Active,
    };
    registry.claim_cluster(&file.cluster)?;
    let registered = register(&registry, &own, replace, &asked)?;
    // In the directory first: it never counts less than the metadata, unless it is an older one.
    starts.store(&*disk, &dir)?;
    registry.count_start(id, identity.incarnation, starts, Identity::random()?)?;
    starts.known = starts.starts;
    starts.store(&*disk, &dir)?;
    let presence = registry.announce(id, identity.incarnation, caps::BOOKIE_LEASE_MS)?;
    let ready = Ready {
        bookie: file.id,
        cluster: file.cluster.clone(),
        incarnation: identity.incarnation.to_string(),
        address: listens,
        pid: std::process::id(),
    };
    let repairer = start_repairer(file, base, &identity, &bookie, metadata)?;
    say_ready(&ready, ready_file)?;
    if registered.state != BookieState::Active {
        exit::warn(format_args!(
            "{id} is {}, as it was told: `egret bookie set {id} active` ends that",
            registered.state
        ));
    }
    // An error is the end of the thread that would say so, which is the end all the same.
    let _ = asked.recv();
    tracing::info!(bookie = %id, "draining");
    if let Some(repairer) = repairer {
        repairer.stop();
    }
    if let Err(error) = presence.withdraw() {
        tracing::warn!(%error, "it counts as there until its lease ends");
    }
    let answered = server.drain(Duration::from_millis(file.drain_wait_ms));
    if !answered {
        tracing::warn!(wait_ms = file.drain_wait_ms, "some clients were cut off");
    }
    Ok(bookie.close()?)
}

/// Enters the bookie. One that was killed, and is started where it is reached at another address, waits until
/// it no longer counts as up at the old one.
fn register(
    registry: &Registry,
    own: &Registration,
    replace: bool,
    asked: &Receiver<()>,
) -> Result<Registration, Exit> {
    let until = clock::now() + Duration::from_millis(caps::BOOKIE_LEASE_MS) + LEASE_SLACK;
    let mut said = false;
    loop {
        match registry.register(own, replace) {
            Err(RegistryError::UpElsewhere { bookie, address }) if clock::now() < until => {
                if !std::mem::replace(&mut said, true) {
                    exit::warn(format_args!("{bookie} counts as up at {address}: waiting"));
                }
                if asked.recv_timeout(LOOK_EVERY).is_ok() {
                    return Err(RegistryError::UpElsewhere { bookie, address }.into());
                }
            }
            other => return Ok(other?),
        }
    }
}

/// The cluster is mended from here, too.
fn start_repairer(
    file: &BookieFile,
    base: &Path,
    identity: &Identity,
    bookie: &Bookie,
    metadata: Arc<dyn MetaStore>,
) -> Result<Option<Repairer>, Exit> {
    if !file.repair.enabled {
        return Ok(None);
    }
    let holder = Holder { cluster: &file.cluster, role: Some(Role::Bookie) };
    let tls = file.tls.as_ref().map(|tls| tls.client(base, holder)).transpose()?;
    let config = ClusterConfig {
        lost_after: Duration::from_millis(file.repair.lost_after_ms),
        ..ClusterConfig::new(file.cluster.clone(), Role::Bookie, tls)
    };
    let bookies = ClusterBookies::new(Arc::clone(&metadata), config)?;
    let ledgers = Ledgers::new(Arc::new(bookies), Copies::default(), metadata);
    let own = Member { bookie: identity.bookie, incarnation: identity.incarnation };
    let stats = bookie.clone();
    let in_limbo = move || {
        let stats = stats.stats();
        stats.limbo > 0 || stats.limbo_below > 0
    };
    let repairer = Repairer::start(ledgers, own, in_limbo, file.repair.config());
    Ok(Some(repairer?))
}

fn say_ready(ready: &Ready, ready_file: Option<&Path>) -> Done {
    let Ready { bookie, cluster, incarnation, address, .. } = ready;
    let id = BookieId(*bookie);
    output::line(&format!("{id} of {cluster} listens on {address}, incarnation {incarnation}"))?;
    if let Some(path) = ready_file {
        let text = serde_json::to_string(ready).map_err(io::Error::from)?;
        // Whole or not there: who waits for the file reads it at once.
        let beside = path.with_extension("tmp");
        std::fs::write(&beside, text + "\n")?;
        std::fs::rename(&beside, path)?;
    }
    Ok(())
}
