//! Processes that somebody else placed on hosts: each is told its rank and where the first one is.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};

use egret_log::rpc::worker::WorkerTls;

use super::MeshError;
use super::connect::Identity;
use super::link::Trust;

/// A place among worker processes on several hosts. Whoever placed them starts one again when it ends; they
/// find each other again by themselves.
#[derive(Clone)]
pub struct Placed {
    /// Which one this is; 0 leads.
    pub rank: u32,
    /// How many there are.
    pub count: u32,
    /// Where the first one is reached: `HOST:PORT`. A name is looked up for each attempt.
    pub leader: String,
    /// Where this one listens: `HOST` or `HOST:PORT`. Without it the first one listens at `leader`, and another
    /// at the address from which it reached the first one; without a port the first one at that of `leader`, and
    /// another at one of its own.
    pub listen: Option<String>,
    /// What it shows, and whom it believes.
    pub tls: WorkerTls,
    /// Told whom it waits for, when it waits long.
    pub tell: fn(&str),
}

impl fmt::Debug for Placed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Placed { rank, count, leader, .. } = self;
        write!(f, "{rank} of {count}, led from {leader}")
    }
}

impl Placed {
    /// Who this process is to the others.
    pub(crate) fn identity(&self, plan: u64) -> Result<Identity, MeshError> {
        Identity::new((self.rank, self.count), plan, Trust::Certificate(self.tls.clone()))
    }

    /// Where the first one is now.
    pub(super) fn find_leader(&self) -> Result<SocketAddr, String> {
        find(&self.leader, None)
    }

    /// Where this one is to listen, if that was said.
    pub(super) fn listens(&self) -> Result<Option<SocketAddr>, MeshError> {
        let (text, port) = match (&self.listen, self.rank) {
            (Some(text), 0) => (text, self.leader_port()),
            (Some(text), _) => (text, Some(0)),
            (None, 0) => (&self.leader, None),
            (None, _) => return Ok(None),
        };
        let wrong = |why| MeshError::Address { address: text.clone(), why };
        find(text, port).map(Some).map_err(wrong)
    }

    fn leader_port(&self) -> Option<u16> {
        self.leader.rsplit_once(':').and_then(|(_, port)| port.parse().ok())
    }
}

/// The first address of `HOST:PORT`, or of `HOST` where a port is known.
fn find(text: &str, port: Option<u16>) -> Result<SocketAddr, String> {
    let host = text.trim_start_matches('[').trim_end_matches(']');
    let found = match (text.parse::<SocketAddr>(), host.parse(), port) {
        (Ok(whole), ..) => return Ok(whole),
        (_, Ok(ip), Some(port)) => return Ok(SocketAddr::new(ip, port)),
        (_, Ok(_), None) => return Err("it says no port: write HOST:PORT".to_owned()),
        _ if text.contains(':') => text.to_socket_addrs(),
        (.., Some(port)) => (text, port).to_socket_addrs(),
        (.., None) => return Err("it says no port: write HOST:PORT".to_owned()),
    };
    let found = found.map_err(|why| why.to_string())?.next();
    found.ok_or_else(|| "the name has no address".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_with_a_port_where_none_is_known() {
        let at = |text, port| find(text, port).map(|at| at.to_string());
        assert_eq!(at("10.0.0.1:7600", None).unwrap(), "10.0.0.1:7600");
        assert_eq!(at("[::1]:7600", Some(0)).unwrap(), "[::1]:7600");
        assert_eq!(at("10.0.0.1", Some(0)).unwrap(), "10.0.0.1:0");
        assert_eq!(at("::1", Some(0)).unwrap(), "[::1]:0");
        assert!(["127.0.0.1:7600", "[::1]:7600"].contains(&&*at("localhost:7600", None).unwrap()));
        for text in ["10.0.0.1", "localhost", "::1"] {
            assert!(at(text, None).unwrap_err().contains("no port"), "{text}");
        }
        for text in ["localhost:seven", "localhost:70000", ""] {
            at(text, None).unwrap_err();
        }
    }
}
