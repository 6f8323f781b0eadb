//! An etcd of our own, on loopback, in a directory that goes with it.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use egret_log::clock;
use egret_log_etcd::{EtcdConfig, EtcdMeta};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// How long an etcd may take to answer that it is well.
const READY: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(crate) struct Etcd {
    dir: TempDir,
    client: u16,
    peer: u16,
    extra: Vec<String>,
    child: Child,
}

/// An etcd, or `None` after a word about where it is to be had.
pub(crate) fn etcd() -> Option<Etcd> {
    etcd_with(Vec::new())
}

/// The same with more arguments; with those of certificates it listens by TLS.
pub(crate) fn etcd_with(extra: Vec<String>) -> Option<Etcd> {
    if !is_there() {
        let remedy = "install it (Debian: apt-get install etcd-server), then run this again";
        assert!(std::env::var_os("EGRET_REQUIRE_ETCD").is_none(), "there is no etcd: {remedy}");
        eprintln!("skipped, for there is no etcd: {remedy}");
        return None;
    }
    // Another process may take a port between our looking and etcd's: then others are tried.
    for _ in 0..5 {
        let dir = TempDir::new().unwrap();
        let (client, peer) = (free_port(), free_port());
        let child = spawn(dir.path(), client, peer, &extra);
        let mut etcd = Etcd { dir, client, peer, extra: extra.clone(), child };
        if etcd.wait_until_ready() {
            return Some(etcd);
        }
        etcd.kill();
        eprintln!("etcd did not start: {}", etcd.log());
    }
    panic!("etcd does not start");
}

fn is_there() -> bool {
    let asked = Command::new("etcd").arg("--version").stdout(Stdio::null()).status();
    asked.is_ok_and(|status| status.success())
}

/// Below what the system gives out by itself, so that it is still free after a restart.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let own = u16::try_from(std::process::id() % 1000).expect("below 1000") * 12;
    loop {
        let port = 20_000 + (own + NEXT.fetch_add(1, Ordering::Relaxed)) % 12_000;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

fn spawn(dir: &Path, client: u16, peer: u16, extra: &[String]) -> Child {
    let scheme = if extra.is_empty() { "http" } else { "https" };
    let client = format!("{scheme}://127.0.0.1:{client}");
    let peer = format!("http://127.0.0.1:{peer}");
    let log = File::options().create(true).append(true).open(dir.join("log")).unwrap();
    Command::new("etcd")
        .args(["--name", "a", "--logger", "zap", "--log-level", "error"])
        .arg("--data-dir")
        .arg(dir.join("data"))
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("a={peer}")])
        // A single member elects itself; short times make the shortest lease one second.
        .args(["--heartbeat-interval", "50", "--election-timeout", "500"])
        .args(extra)
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .unwrap()
}

impl Etcd {
    /// Waits until it says that it is well; `false` when it ended or took too long.
    fn wait_until_ready(&mut self) -> bool {
        let start = clock::now();
        while clock::now() - start < READY {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            let well = if self.extra.is_empty() { self.is_well() } else { self.accepts() };
            if well {
                return true;
            }
            // Asking is all there is: it tells nobody when it is ready.
            std::thread::park_timeout(Duration::from_millis(20));
        }
        false
    }

    fn accepts(&self) -> bool {
        TcpStream::connect(("127.0.0.1", self.client)).is_ok()
    }

    fn is_well(&self) -> bool {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.client))?;
            stream.set_read_timeout(Some(Duration::from_secs(2)))?;
            stream.write_all(b"GET /health HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().is_ok_and(|answer| answer.contains(r#""health":"true""#))
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("127.0.0.1:{}", self.client)
    }

    pub(crate) fn config(&self, cluster: &str) -> EtcdConfig {
        EtcdConfig::new([self.endpoint()], cluster)
    }

    pub(crate) fn store(&self, cluster: &str) -> EtcdMeta {
        EtcdMeta::open(&self.config(cluster)).unwrap()
    }

    /// Ends it in the middle of whatever it does.
    pub(crate) fn kill(&mut self) {
        // It may have ended by itself.
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// Starts it again, over what it had.
    pub(crate) fn restart(&mut self) {
        self.child = spawn(self.dir.path(), self.client, self.peer, &self.extra);
        assert!(self.wait_until_ready(), "etcd does not start again: {}", self.log());
    }

    /// Stops it where it is; its sockets stay open. A signal is only sent when `kill` returns: a thread on
    /// another core may answer yet, so this waits until every thread stands still.
    pub(crate) fn stop(&self) {
        kill_process(self.pid(), Signal::STOP).unwrap();
        let start = clock::now();
        while !self.stands_still() {
            assert!(clock::now() - start < READY, "etcd does not stop");
            std::thread::yield_now();
        }
    }

    fn stands_still(&self) -> bool {
        let tasks = format!("/proc/{}/task", self.child.id());
        std::fs::read_dir(tasks).unwrap().all(|task| {
            let stat =
                std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap_or_default();
            // The state follows the name, which is in brackets and may hold anything.
            stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
        })
    }

    pub(crate) fn go_on(&self) {
        kill_process(self.pid(), Signal::CONT).unwrap();
    }

    fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Forgets every change up to now.
    pub(crate) fn compact(&self, revision: u64) {
        let status = Command::new("etcdctl")
            .env("ETCDCTL_API", "3")
            .args(["--endpoints", &self.endpoint(), "compaction", "--physical=true"])
            .arg(revision.to_string())
            .stdout(Stdio::null())
            .status()
            .unwrap();
        assert!(status.success(), "etcdctl compaction: {status}");
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        self.kill();
    }
}
