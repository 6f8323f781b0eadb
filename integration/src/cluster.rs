//! A small cluster for tests and benchmarks: bookies in processes of their own, reached over loopback.
//!
//! A program that uses it calls [`serve_if_asked`] first thing in `main`: a bookie's process is the same
//! program, started with [`SERVE`]. The metadata store is in the program itself, which outlives every
//! bookie; who is there is written to it as the bookies would.

use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use egret_log::bookie::identity::Identity;
use egret_log::bookie::{Bookie, BookieConfig};
use egret_log::client::{ClusterBookies, ClusterConfig, Copies, Ledgers};
use egret_log::disk::RealDisk;
use egret_log::metadata::{MemoryMeta, MetaStore};
use egret_log::registry::{BookieState, Presence, Registration, Registry};
use egret_log::rpc::bookie::server::ServerLimits;
use egret_log::rpc::bookie::{BookieServer, ServerConfig};
use egret_log::{Log, caps, clock};
use egret_schemas::bookie::Role;
use egret_schemas::{BookieId, Incarnation};
use rustix::process::{Pid, Signal, kill_process};

/// The first argument of a bookie's process; then follow its number and its directory.
pub const SERVE: &str = "--serve-bookie";

const CLUSTER: &str = "small";

/// Serves a bookie until the process is killed, if the arguments ask for it.
pub fn serve_if_asked() {
    let arguments: Vec<String> = std::env::args().collect();
    if arguments.get(1).map(String::as_str) != Some(SERVE) {
        return;
    }
    let served = match &arguments[2..] {
        [number, dir] => serve(number, Path::new(dir)),
        _ => Err(anyhow!("{SERVE} wants a number and a directory")),
    };
    if let Err(error) = served {
        println!("failed {error:#}");
        std::process::exit(1);
    }
}

fn serve(number: &str, dir: &Path) -> anyhow::Result<()> {
    let id = BookieId(number.parse().context("a number")?);
    let disk = Arc::new(RealDisk);
    std::fs::create_dir_all(dir)?;
    let identity = Identity::load_or_mint_in(&*disk, dir, CLUSTER, id, 1)?;
    let bookie = Bookie::open(disk, dir, BookieConfig::default())?;
    let config = ServerConfig {
        listen: "127.0.0.1:0".parse().context("an address")?,
        cluster: CLUSTER.to_owned(),
        bookie: id,
        tls: None,
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

/// One bookie's process.
#[derive(Debug)]
struct Process {
    child: Child,
    presence: Presence,
}

/// See the [module](self). Everything ends when it is dropped.
#[derive(Debug)]
pub struct Cluster {
    dir: tempfile::TempDir,
    meta: Arc<MemoryMeta>,
    registry: Registry,
    processes: Vec<Option<Process>>,
}

impl Cluster {
    /// Starts so many bookies.
    ///
    /// # Errors
    /// When one does not start.
    pub fn start(bookies: usize) -> anyhow::Result<Cluster> {
        let dir = tempfile::tempdir_in(crate::scratch())?;
        let meta = Arc::new(MemoryMeta::new());
        let registry = Registry::new(Arc::clone(&meta) as Arc<dyn MetaStore>);
        let processes = (0..bookies).map(|_| None).collect();
        let mut cluster = Cluster { dir, meta, registry, processes };
        for index in 0..bookies {
            cluster.start_bookie(index)?;
        }
        Ok(cluster)
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

    fn bookie_dir(&self, index: usize) -> PathBuf {
        self.dir.path().join(format!("b{}", index + 1))
    }

    /// Starts a bookie that is down, on whatever its directory holds.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_bookie(&mut self, index: usize) -> anyhow::Result<()> {
        let id = Cluster::id(index);
        let mut child = Command::new(std::env::current_exe()?)
            .arg(SERVE)
            .arg(id.0.to_string())
            .arg(self.bookie_dir(index))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("a pipe")?).read_line(&mut line)?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let ["ready", address, incarnation] = words[..] else {
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
        self.processes[index] = Some(Process { child, presence });
        Ok(())
    }

    fn process(&mut self, index: usize) -> anyhow::Result<&mut Process> {
        self.processes[index].as_mut().context("that bookie is down")
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

    /// Lets a bookie stand still (SIGSTOP), or go on (SIGCONT).
    ///
    /// # Errors
    /// When it is down.
    pub fn pause(&mut self, index: usize, still: bool) -> anyhow::Result<()> {
        let process = self.process(index)?;
        let pid = Pid::from_child(&process.child);
        kill_process(pid, if still { Signal::STOP } else { Signal::CONT })?;
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

    /// Another client of the cluster.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn ledgers(&self, role: Role) -> anyhow::Result<Ledgers> {
        let meta = Arc::clone(&self.meta) as Arc<dyn MetaStore>;
        let config = ClusterConfig {
            refresh: Duration::from_millis(50),
            ..ClusterConfig::new(CLUSTER.to_owned(), role, None)
        };
        let bookies = ClusterBookies::new(Arc::clone(&meta), config)?;
        Ok(Ledgers::new(Arc::new(bookies), Copies::default(), meta))
    }

    /// Another client's streams.
    ///
    /// # Errors
    /// As [`ledgers`](Cluster::ledgers).
    pub fn log(&self) -> anyhow::Result<Log> {
        Ok(Log::on(self.ledgers(Role::Client)?))
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
