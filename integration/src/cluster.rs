//! A small cluster for tests and benchmarks: bookies in processes of their own, reached over loopback.
//!
//! A program that uses it calls [`serve_if_asked`] first thing in `main`: a bookie's process is the same
//! program, started with [`SERVE`]. The metadata store is in the program itself, which outlives every
//! bookie; who is there is written to it as the bookies would.
//!
//! With [`Parts`] it is more like a real one: etcd for the store, a network namespace for each bookie, a
//! disk that can be filled. What the system has not is left out, and [`Cluster::without`] says why. What a
//! program that was killed left of them is removed by the next.

mod certificates;
#[cfg(feature = "etcd")]
mod etcd;
mod leftovers;
mod namespace;
pub(crate) mod run;
mod small_disk;

use std::io::{self, BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail, ensure};
use egret_log::bookie::identity::Identity;
use egret_log::bookie::{Bookie, BookieConfig};
use egret_log::client::{Bookies, ClusterBookies, ClusterConfig, Copies, Ledgers};
use egret_log::disk::RealDisk;
use egret_log::ledger::Member;
use egret_log::message::Transport;
use egret_log::metadata::{MemoryMeta, MetaStore};
use egret_log::registry::{BookieState, Presence, Registration, Registry};
use egret_log::rpc::bookie::server::ServerLimits;
use egret_log::rpc::bookie::{BookieServer, ServerConfig};
use egret_log::{Log, caps, clock};
use egret_schemas::bookie::Role;
use egret_schemas::{BookieId, Incarnation};
use rustix::process::{Pid, Signal, kill_process};

use certificates::Authority;
pub use namespace::Cut;
use namespace::Namespace;
use small_disk::SmallDisk;

/// The first argument of a bookie's process; then follow its number, its directory, where it listens, and
/// where its certificates are if it is not on loopback.
pub const SERVE: &str = "--serve-bookie";

const CLUSTER: &str = "small";

/// How long a process takes at most to stand still.
const STILL: Duration = Duration::from_secs(10);

/// Serves a bookie until the process is killed, if the arguments ask for it.
pub fn serve_if_asked() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).map(String::as_str) != Some(SERVE) {
        return;
    }
    let served = match &arguments[2..] {
        [number, dir, listen] => serve(number, Path::new(dir), listen, None),
        [number, dir, listen, tls] => serve(number, Path::new(dir), listen, Some(Path::new(tls))),
        _ => Err(anyhow!("{SERVE} wants a number, a directory and an address")),
    };
    if let Err(error) = served {
        println!("failed {error:#}");
        std::process::exit(1);
    }
}

fn serve(number: &str, dir: &Path, listen: &str, tls: Option<&Path>) -> anyhow::Result<()> {
    let id = BookieId(number.parse().context("a number")?);
    let disk = Arc::new(RealDisk);
    std::fs::create_dir_all(dir)?;
    let identity = Identity::load_or_mint_in(&*disk, dir, CLUSTER, id, 1)?;
    let bookie = Bookie::open(disk, dir, BookieConfig::default())?;
    let config = ServerConfig {
        listen: listen.parse().context("an address")?,
        cluster: CLUSTER.to_owned(),
        bookie: id,
        tls: tls.map(certificates::read).transpose()?,
        limits: ServerLimits::default(),
    };
    let server = BookieServer::start(bookie, config)?;
    let mut out = io::stdout().lock();
    writeln!(out, "ready {} {}", server.address(), identity.incarnation.0)?;
    out.flush()?;
    // Its owner closes the pipe, or kills.
    io::copy(&mut io::stdin().lock(), &mut io::sink())?;
    Ok(())
}

/// What a cluster has beside bookies on loopback.
#[derive(Debug, Default, Clone, Copy)]
pub struct Parts {
    /// A real etcd for its metadata.
    pub etcd: bool,
    /// Bookies in network namespaces.
    pub namespaces: bool,
    /// A disk for the first bookie that can be filled.
    pub small_disk: bool,
}

/// One bookie's process.
#[derive(Debug)]
struct Process {
    child: Child,
    presence: Presence,
    member: Member,
}

/// See the [module](self). Everything ends when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    meta: Arc<dyn MetaStore>,
    registry: Registry,
    processes: Vec<Option<Process>>,
    #[cfg(feature = "etcd")]
    etcd: Option<etcd::Etcd>,
    namespaces: Vec<Namespace>,
    authority: Option<Authority>,
    small_disk: Option<SmallDisk>,
    without: Vec<String>,
    /// Last, because fields are dropped in this order.
    dir: tempfile::TempDir,
}

impl Cluster {
    /// Starts so many bookies.
    ///
    /// # Errors
    /// When one does not start.
    pub fn start(bookies: usize) -> anyhow::Result<Cluster> {
        Cluster::with(bookies, Parts::default())
    }

    /// Starts so many bookies, and what else of `parts` the system has.
    ///
    /// # Errors
    /// When one does not start, or there is no etcd and one was asked for.
    pub fn with(bookies: usize, parts: Parts) -> anyhow::Result<Cluster> {
        let scratch = crate::scratch();
        leftovers::remove(&scratch);
        let dir = tempfile::Builder::new().prefix(&leftovers::dir_prefix()).tempdir_in(scratch)?;
        #[cfg(feature = "etcd")]
        let etcd = parts.etcd.then(|| etcd::Etcd::start(&dir.path().join("etcd"))).transpose()?;
        #[cfg(feature = "etcd")]
        let meta = match &etcd {
            Some(etcd) => etcd.store(CLUSTER)?,
            None => Arc::new(MemoryMeta::new()) as Arc<dyn MetaStore>,
        };
        #[cfg(not(feature = "etcd"))]
        ensure!(!parts.etcd, "this was built without etcd: build it with `--features etcd`");
        #[cfg(not(feature = "etcd"))]
        let meta = Arc::new(MemoryMeta::new()) as Arc<dyn MetaStore>;
        let registry = Registry::new(Arc::clone(&meta));
        let mut cluster = Cluster {
            meta,
            registry,
            processes: (0..bookies).map(|_| None).collect(),
            #[cfg(feature = "etcd")]
            etcd,
            namespaces: Vec::new(),
            authority: None,
            small_disk: None,
            without: Vec::new(),
            dir,
        };
        if parts.namespaces {
            let made: anyhow::Result<Vec<Namespace>> = (0..bookies).map(Namespace::new).collect();
            match made {
                Ok(made) => {
                    cluster.namespaces = made;
                    cluster.authority = Some(Authority::new()?);
                }
                Err(why) => cluster.without.push(format!("no partitions: {why:#}")),
            }
        }
        if parts.small_disk {
            let (image, at) =
                (cluster.dir.path().join("image"), cluster.dir.path().join(leftovers::DISK));
            match SmallDisk::new(&image, &at) {
                Ok(disk) => cluster.small_disk = Some(disk),
                Err(why) => cluster.without.push(format!("no full disk: {why:#}")),
            }
        }
        for index in 0..bookies {
            cluster.start_bookie(index)?;
        }
        Ok(cluster)
    }

    /// What was asked for and is not there, with why.
    pub fn without(&self) -> &[String] {
        &self.without
    }

    /// How many bookies there are.
    pub fn size(&self) -> usize {
        self.processes.len()
    }

    /// The processes of those that are up.
    pub fn pids(&self) -> impl Iterator<Item = u32> {
        self.processes.iter().flatten().map(|process| process.child.id())
    }

    fn id(index: usize) -> BookieId {
        BookieId(index as u64 + 1)
    }

    /// Where a bookie has its files.
    pub fn bookie_dir(&self, index: usize) -> PathBuf {
        match &self.small_disk {
            Some(disk) if index == 0 => disk.room(),
            _ => self.dir.path().join(format!("b{}", index + 1)),
        }
    }

    /// The command that starts a bookie.
    fn command(&self, index: usize) -> anyhow::Result<Command> {
        let program = std::env::current_exe()?;
        let namespace = self.namespaces.get(index);
        let mut command = match namespace {
            Some(namespace) => namespace.command(&program),
            None => Command::new(&program),
        };
        let address = namespace.map_or(Ipv4Addr::LOCALHOST, Namespace::address);
        let id = Cluster::id(index);
        command.arg(SERVE).arg(id.0.to_string()).arg(self.bookie_dir(index));
        command.arg(SocketAddr::new(IpAddr::V4(address), 0).to_string());
        if let Some(authority) = &self.authority {
            let dir = self.dir.path().join(format!("tls{}", id.0));
            authority.write(&dir, (CLUSTER, id), address)?;
            command.arg(dir);
        }
        Ok(command)
    }

    /// Starts a bookie that is down, on whatever its directory holds.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_bookie(&mut self, index: usize) -> anyhow::Result<()> {
        let id = Cluster::id(index);
        let mut command = self.command(index)?;
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("a pipe")?).read_line(&mut line)?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["ready", address, incarnation] = words[..] else {
            child.wait()?;
            bail!("{id} did not start: {line}");
        };
        let incarnation = Incarnation(incarnation.parse()?);
        let registration = Registration {
            bookie: id,
            incarnation,
            address: address.to_owned(),
            rack: String::new(),
            since_ms: clock::wall_ms(),
            state: BookieState::Active,
        };
        self.registry.register(&registration, true)?;
        let presence = self.registry.announce(id, incarnation, caps::BOOKIE_LEASE_MS)?;
        let member = Member { bookie: id, incarnation };
        self.processes[index] = Some(Process { child, presence, member });
        Ok(())
    }

    fn process(&self, index: usize) -> anyhow::Result<&Process> {
        self.processes[index].as_ref().context("that bookie is down")
    }

    /// Kills a bookie with SIGKILL. Like a lease that ran out, it no longer counts as there.
    ///
    /// # Errors
    /// When it is down already.
    pub fn kill(&mut self, index: usize) -> anyhow::Result<()> {
        let mut process = self.processes[index].take().context("that bookie is down")?;
        process.child.kill()?;
        process.child.wait()?;
        process.presence.withdraw()?;
        Ok(())
    }

    /// Lets a bookie stand still (SIGSTOP), or go on (SIGCONT). When this returns, every thread of it does.
    ///
    /// # Errors
    /// When it is down, or does not stop in time.
    pub fn pause(&self, index: usize, still: bool) -> anyhow::Result<()> {
        let pid = Pid::from_child(&self.process(index)?.child);
        kill_process(pid, if still { Signal::STOP } else { Signal::CONT })?;
        // The call returns before the threads have stopped, and one that runs still answers.
        let until = clock::now() + STILL;
        while still && !stands_still(pid)? {
            ensure!(clock::now() < until, "{} does not stand still", Cluster::id(index));
            std::thread::park_timeout(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Destroys what a bookie that is down has: a lost disk.
    ///
    /// # Errors
    /// When it is not down, or the directory cannot be removed.
    pub fn lose_disk(&mut self, index: usize) -> anyhow::Result<()> {
        if self.processes[index].is_some() {
            bail!("kill it first");
        }
        std::fs::remove_dir_all(self.bookie_dir(index))?;
        Ok(())
    }

    /// Whether bookies can be cut off.
    pub fn has_namespaces(&self) -> bool {
        !self.namespaces.is_empty()
    }

    /// Cuts a bookie off from everybody.
    ///
    /// # Errors
    /// When it has no network namespace, or the system refuses.
    pub fn cut(&self, index: usize, cut: Cut) -> anyhow::Result<()> {
        self.namespaces.get(index).context("no namespace")?.cut(cut)
    }

    /// Undoes it.
    ///
    /// # Errors
    /// As [`cut`](Cluster::cut).
    pub fn heal(&self, index: usize) -> anyhow::Result<()> {
        self.namespaces.get(index).context("no namespace")?.heal()
    }

    /// Whether the first bookie has a disk that can be filled.
    pub fn has_small_disk(&self) -> bool {
        self.small_disk.is_some()
    }

    /// Fills the first bookie's disk but for so many bytes.
    ///
    /// # Errors
    /// When it has none of its own, or the system refuses.
    pub fn fill_disk(&self, leave: u64) -> anyhow::Result<()> {
        self.small_disk.as_ref().context("no disk of its own")?.fill(leave)
    }

    /// Frees it again.
    ///
    /// # Errors
    /// As [`fill_disk`](Cluster::fill_disk).
    pub fn free_disk(&self) -> anyhow::Result<()> {
        self.small_disk.as_ref().context("no disk of its own")?.empty()
    }

    /// Whether the metadata store is a process that can be killed.
    pub fn has_etcd(&self) -> bool {
        #[cfg(feature = "etcd")]
        let there = self.etcd.is_some();
        #[cfg(not(feature = "etcd"))]
        let there = false;
        there
    }

    /// Kills etcd with SIGKILL.
    ///
    /// # Errors
    /// When there is none.
    pub fn kill_etcd(&mut self) -> anyhow::Result<()> {
        #[cfg(feature = "etcd")]
        return self.etcd.as_mut().context("no etcd")?.kill();
        #[cfg(not(feature = "etcd"))]
        bail!("no etcd")
    }

    /// Starts it again, and waits until it is well.
    ///
    /// # Errors
    /// When it does not come back.
    pub fn restart_etcd(&mut self) -> anyhow::Result<()> {
        #[cfg(feature = "etcd")]
        return self.etcd.as_mut().context("no etcd")?.restart();
        #[cfg(not(feature = "etcd"))]
        bail!("no etcd")
    }

    /// The way to one bookie, and who it is now.
    ///
    /// # Errors
    /// When it is down.
    pub fn way(
        &self,
        ledgers: &Ledgers,
        index: usize,
    ) -> anyhow::Result<(Arc<dyn Transport>, Member)> {
        let member = self.process(index)?.member;
        Ok((ledgers.bookies().transport(member), member))
    }

    /// Another client of the cluster.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn ledgers(&self, role: Role) -> anyhow::Result<Ledgers> {
        let meta = Arc::clone(&self.meta);
        let authority = self.authority.as_ref();
        let tls = authority.map(|authority| authority.client(CLUSTER, role)).transpose()?;
        let config = ClusterConfig {
            refresh: Duration::from_millis(50),
            ..ClusterConfig::new(CLUSTER.to_owned(), role, tls)
        };
        let bookies = ClusterBookies::new(Arc::clone(&meta), config)?;
        Ok(Ledgers::new(Arc::new(bookies) as Arc<dyn Bookies>, Copies::default(), meta))
    }

    /// Another client's streams.
    ///
    /// # Errors
    /// As [`ledgers`](Cluster::ledgers).
    pub fn log(&self) -> anyhow::Result<Log> {
        Ok(Log::on(self.ledgers(Role::Client)?)?)
    }

    /// A file that tells programs where the cluster is.
    ///
    /// # Errors
    /// When its metadata is in this process only, or its bookies want certificates.
    pub fn file(&self) -> anyhow::Result<PathBuf> {
        ensure!(self.authority.is_none(), "its clients need certificates");
        #[cfg(feature = "etcd")]
        let place = self.etcd.as_ref().map(|etcd| etcd.url(CLUSTER));
        #[cfg(not(feature = "etcd"))]
        let place: Option<String> = None;
        let place = place.context("only metadata in etcd can be reached by other processes")?;
        let file = self.dir.path().join("cluster.toml");
        std::fs::write(&file, format!("cluster = {CLUSTER:?}\nmetadata = {place:?}\n"))?;
        Ok(file)
    }

    /// The bookies' files and their bytes.
    ///
    /// # Errors
    /// When a directory cannot be read.
    pub fn files(&self) -> io::Result<Vec<(PathBuf, u64)>> {
        let (mut files, mut dirs) = (Vec::new(), vec![self.dir.path().to_owned()]);
        while let Some(dir) = dirs.pop() {
            for entry in std::fs::read_dir(dir)? {
                let entry = entry?;
                match entry.metadata() {
                    Ok(kind) if kind.is_dir() => dirs.push(entry.path()),
                    Ok(kind) => files.push((entry.path(), kind.len())),
                    // A file that a checkpoint renamed or removed meanwhile.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    Err(error) => return Err(error),
                }
            }
        }
        files.sort();
        Ok(files)
    }

    /// Bytes that the bookies' directories hold.
    ///
    /// # Errors
    /// When a directory cannot be read.
    pub fn stored_bytes(&self) -> io::Result<u64> {
        Ok(self.files()?.iter().map(|(_, bytes)| bytes).sum())
    }
}

/// Whether every thread of a process is stopped (`T`), as its line in `/proc` says.
fn stands_still(pid: Pid) -> io::Result<bool> {
    let threads = format!("/proc/{}/task", pid.as_raw_nonzero());
    for thread in std::fs::read_dir(threads)? {
        // One that ended meanwhile runs no more.
        let Ok(line) = std::fs::read_to_string(thread?.path().join("stat")) else { continue };
        // The name before it is in parentheses, and may hold any character.
        let state = line.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        if state != Some('T') {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for process in self.processes.iter_mut().flatten() {
            // One that stands still is killed all the same.
            if process.child.kill().is_ok() {
                drop(process.child.wait());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The signal is sent before the threads have stopped; whoever counts on that must wait.
    #[test]
    fn a_process_stands_still_only_after_it_was_stopped() {
        let mut child = Command::new("sleep").arg("600").spawn().unwrap();
        let pid = Pid::from_child(&child);
        assert!(!stands_still(pid).unwrap());
        kill_process(pid, Signal::STOP).unwrap();
        let until = clock::now() + STILL;
        while !stands_still(pid).unwrap() {
            assert!(clock::now() < until, "it does not stop");
            std::thread::park_timeout(Duration::from_millis(1));
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }
}
