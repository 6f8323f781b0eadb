//! Hosts for worker processes: a network namespace for each, joined by a switch that is one more.
//!
//! Needs root and `ip` (Debian: iproute2). What the system has not is said, and the hosts are addresses of the
//! loopback network then: 127.0.0.11 and so on. A namespace that a killed program left is removed by the next
//! [`Cluster`](crate::cluster::Cluster).

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::process::Command;

use crate::cluster::run::run;

/// Where the numbers of this process's namespaces begin: a cluster's bookies have those below.
const FIRST: usize = 200;

/// See the [module](self). They are gone when this is dropped.
#[derive(Debug)]
pub struct Hosts {
    /// The switch's namespace, and each host's; none where there are only addresses.
    names: Vec<String>,
    addresses: Vec<IpAddr>,
}

impl Hosts {
    /// So many of them; as addresses alone, with why, where the system gives no namespaces.
    pub fn new(count: u8) -> (Hosts, Option<anyhow::Error>) {
        let [low, high, ..] = std::process::id().to_le_bytes();
        let at = |host: u8| IpAddr::V4(Ipv4Addr::new(10, 64 | high & 0x3f, low, host));
        let mut hosts = Hosts { names: Vec::new(), addresses: (11..11 + count).map(at).collect() };
        match hosts.join() {
            Ok(()) => (hosts, None),
            Err(why) => {
                hosts.remove();
                let local = |host| IpAddr::V4(Ipv4Addr::new(127, 0, 0, host));
                hosts.addresses = (11..11 + count).map(local).collect();
                (hosts, Some(why))
            }
        }
    }

    fn join(&mut self) -> anyhow::Result<()> {
        let name = |index: usize| format!("egret-{}-{}", std::process::id(), FIRST + index);
        let switch = name(0);
        run("ip", ["netns", "add", &switch])?;
        self.names.push(switch.clone());
        run("ip", ["-n", &switch, "link", "add", "name", "switch", "type", "bridge"])?;
        run("ip", ["-n", &switch, "link", "set", "switch", "up"])?;
        for (index, address) in (1..).zip(&self.addresses) {
            let (host, port) = (name(index), format!("p{index}"));
            run("ip", ["netns", "add", &host])?;
            self.names.push(host.clone());
            let pair = [
                "link", "add", "name", &port, "type", "veth", "peer", "name", "eth", "netns", &host,
            ];
            run("ip", ["-n", &switch].iter().chain(&pair))?;
            run("ip", ["-n", &switch, "link", "set", &port, "master", "switch", "up"])?;
            run("ip", ["-n", &host, "addr", "add", &format!("{address}/24"), "dev", "eth"])?;
            run("ip", ["-n", &host, "link", "set", "eth", "up"])?;
            run("ip", ["-n", &host, "link", "set", "lo", "up"])?;
        }
        Ok(())
    }

    /// Whether a host can be cut off.
    pub fn are_apart(&self) -> bool {
        !self.names.is_empty()
    }

    /// A host's address.
    pub fn address(&self, host: usize) -> IpAddr {
        self.addresses[host]
    }

    /// A program on a host. `ip` becomes that program: it has the same process id.
    pub fn command(&self, host: usize, program: &Path) -> Command {
        let Some(name) = self.names.get(host + 1) else { return Command::new(program) };
        let mut command = Command::new("ip");
        command.args(["netns", "exec", name]).arg(program);
        command
    }

    /// Pulls a host's plug, or puts it in again.
    ///
    /// # Errors
    /// When they are not apart, or the system refuses.
    pub fn plug(&self, host: usize, is_in: bool) -> anyhow::Result<()> {
        let switch = self.names.first().ok_or_else(|| anyhow::anyhow!("no namespaces"))?;
        let port = format!("p{}", host + 1);
        let state = if is_in { "up" } else { "down" };
        run("ip", ["-n", switch, "link", "set", &port, state])
    }

    fn remove(&mut self) {
        for name in self.names.drain(..) {
            // Links go with it; what is not there needs no removing.
            drop(run("ip", ["netns", "del", &name]));
        }
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        self.remove();
    }
}
