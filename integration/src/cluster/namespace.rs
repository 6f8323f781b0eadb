//! A network namespace for one bookie, with one link to the world, of which either direction can be cut.
//!
//! A direction is cut by giving the other end a link address that nobody has: what is sent is lost without
//! a word, connections stay open and wait, as behind a switch that fails. Needs root and `ip` (Debian:
//! iproute2).

use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;

use super::leftovers::NAMESPACE;
use super::run::run;

/// Nobody's.
const NOWHERE: &str = "02:00:00:00:00:01";

/// What does not get through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// What is sent to the bookie.
    To,
    /// What the bookie sends.
    From,
    /// Either.
    Both,
}

/// See the [module](self). It is gone when this is dropped.
#[derive(Debug)]
pub(super) struct Namespace {
    name: String,
    /// The link's end in the world, and that in the namespace.
    links: [String; 2],
    addresses: [Ipv4Addr; 2],
}

/// The link's end in the world.
pub(super) fn outside(process: u32, index: usize) -> String {
    format!("eg{process}w{index}")
}

impl Namespace {
    /// Makes the `index`th one of this process.
    pub(super) fn new(index: usize) -> anyhow::Result<Namespace> {
        let process = std::process::id();
        let name = format!("{NAMESPACE}{process}-{index}");
        let links = [outside(process, index), format!("eg{process}b{index}")];
        // A net of four addresses for each.
        let [low, high, ..] = process.to_le_bytes();
        let at = |host: u8| {
            let place = u8::try_from(index * 4 % 252).unwrap_or(0);
            Ipv4Addr::new(10, 128 | high & 0x7f, low, place + host)
        };
        let namespace = Namespace { name, links, addresses: [at(1), at(2)] };
        let Namespace { name, links: [outside, inside], addresses: [world, bookie] } = &namespace;
        run("ip", ["netns", "add", name])?;
        run("ip", ["link", "add", outside, "type", "veth", "peer", "name", inside])?;
        run("ip", ["link", "set", inside, "netns", name])?;
        run("ip", ["addr", "add", &format!("{world}/30"), "dev", outside])?;
        run("ip", ["link", "set", outside, "up"])?;
        run("ip", ["-n", name, "addr", "add", &format!("{bookie}/30"), "dev", inside])?;
        run("ip", ["-n", name, "link", "set", inside, "up"])?;
        run("ip", ["-n", name, "link", "set", "lo", "up"])?;
        Ok(namespace)
    }

    /// A program in it. `ip` becomes that program: it has the same process id.
    pub(super) fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).arg(program);
        command
    }

    /// The bookie's address.
    pub(super) fn address(&self) -> Ipv4Addr {
        self.addresses[1]
    }

    pub(super) fn cut(&self, cut: Cut) -> anyhow::Result<()> {
        let [world, bookie] = self.addresses.map(|address| address.to_string());
        let [outside, inside] = &self.links;
        let lost = |to: &str| {
            ["neigh", "replace", to, "lladdr", NOWHERE, "nud", "permanent", "dev"]
                .map(str::to_owned)
        };
        if cut != Cut::From {
            run("ip", lost(&bookie).iter().map(String::as_str).chain([outside.as_str()]))?;
        }
        if cut != Cut::To {
            let there = ["-n", &self.name];
            let lost = lost(&world);
            let lost = lost.iter().map(String::as_str).chain([inside.as_str()]);
            run("ip", there.into_iter().chain(lost))?;
        }
        Ok(())
    }

    pub(super) fn heal(&self) -> anyhow::Result<()> {
        let [outside, inside] = &self.links;
        run("ip", ["neigh", "flush", "dev", outside, "nud", "permanent"])?;
        run("ip", ["-n", &self.name, "neigh", "flush", "dev", inside, "nud", "permanent"])
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        // The link goes with it; what is not there needs no removing.
        drop(run("ip", ["netns", "del", &self.name]));
        drop(run("ip", ["link", "del", &self.links[0]]));
    }
}
