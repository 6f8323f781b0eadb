//! A real etcd of the cluster's own, on loopback, that can be killed and started again over what it had.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use egret_log::clock;
use egret_log::metadata::MetaStore;
use egret_log_etcd::{EtcdConfig, EtcdMeta};

/// How long it may take to answer that it is well.
const READY: Duration = Duration::from_secs(60);

/// See the [module](self). It ends when this is dropped.
#[derive(Debug)]
pub(super) struct Etcd {
    dir: PathBuf,
    ports: [u16; 2],
    child: Child,
}

impl Etcd {
    /// Starts one in `dir`.
    pub(super) fn start(dir: &Path) -> anyhow::Result<Etcd> {
        std::fs::create_dir_all(dir)?;
        // Free now; another process may be faster, then it does not start and says so.
        let free =
            || Ok::<u16, std::io::Error>(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port());
        let ports = [free()?, free()?];
        let child = spawn(dir, ports)?;
        let mut etcd = Etcd { dir: dir.to_owned(), ports, child };
        etcd.wait_until_ready()?;
        Ok(etcd)
    }

    /// A client of it.
    pub(super) fn store(&self, cluster: &str) -> anyhow::Result<Arc<dyn MetaStore>> {
        let endpoint = format!("127.0.0.1:{}", self.ports[0]);
        Ok(Arc::new(EtcdMeta::open(&EtcdConfig::new([endpoint], cluster))?))
    }

    /// How others are told of it.
    pub(super) fn url(&self, cluster: &str) -> String {
        format!("etcd://127.0.0.1:{}/{cluster}", self.ports[0])
    }

    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    pub(super) fn restart(&mut self) -> anyhow::Result<()> {
        self.child = spawn(&self.dir, self.ports)?;
        self.wait_until_ready()
    }

    fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        let until = clock::now() + READY;
        while !self.is_well() {
            let ended = self.child.try_wait()?;
            if ended.is_some() || clock::now() >= until {
                let said = std::fs::read_to_string(self.dir.join("log")).unwrap_or_default();
                bail!("etcd does not start ({ended:?}): {said}");
            }
            // Asking is all there is: it tells nobody when it is ready.
            std::thread::park_timeout(Duration::from_millis(20));
        }
        Ok(())
    }

    fn is_well(&self) -> bool {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(("127.0.0.1", self.ports[0]))?;
            stream.set_read_timeout(Some(Duration::from_secs(2)))?;
            stream.write_all(b"GET /health HTTP/1.0\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        ask().is_ok_and(|answer| answer.contains(r#""health":"true""#))
    }
}

fn spawn(dir: &Path, [client, peer]: [u16; 2]) -> anyhow::Result<Child> {
    let client = format!("http://127.0.0.1:{client}");
    let peer = format!("http://127.0.0.1:{peer}");
    let log = File::options().create(true).append(true).open(dir.join("log"))?;
    let child = Command::new("etcd")
        .args(["--name", "a", "--logger", "zap", "--log-level", "error"])
        .arg("--data-dir")
        .arg(dir.join("data"))
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .args(["--initial-cluster", &format!("a={peer}")])
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .context("etcd (Debian: etcd-server)")?;
    std::fs::write(dir.join("pid"), child.id().to_string())?;
    Ok(child)
}

impl Drop for Etcd {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.kill());
    }
}
