//! Where etcd is, and how to talk to it.

use std::time::Duration;

/// How long a call waits for its answer unless told otherwise: a leader is elected anew within it.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// How to find and use an etcd cluster.
#[derive(Debug, Clone)]
pub struct EtcdConfig {
    /// `host:port` of each member.
    pub endpoints: Vec<String>,
    /// The name of Egret's cluster: all keys are below `/egret/<cluster>/`.
    pub cluster: String,
    /// How long a call may take.
    pub deadline: Duration,
    /// Certificates; without, the connection is in the clear.
    pub tls: Option<Tls>,
    /// User and password.
    pub user: Option<(String, String)>,
}

/// Certificates, all in PEM.
#[derive(Debug, Clone)]
pub struct Tls {
    /// Who signs the members' certificates.
    pub ca: Vec<u8>,
    /// This side's certificate and private key, where etcd asks for one.
    pub identity: Option<(Vec<u8>, Vec<u8>)>,
}

/// What cannot be a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// There is no endpoint.
    #[error("no etcd endpoint is given: name at least one as host:port")]
    NoEndpoint,
    /// An endpoint is none.
    #[error("`{endpoint}` is no etcd endpoint: write host:port")]
    Endpoint {
        /// What was given.
        endpoint: String,
    },
    /// The cluster's name cannot be part of a key.
    #[error("`{cluster}` cannot name a cluster: use letters, digits, `-`, `_` and `.`")]
    Cluster {
        /// What was given.
        cluster: String,
    },
}

impl EtcdConfig {
    /// These members, in the clear.
    pub fn new<E: Into<String>>(
        endpoints: impl IntoIterator<Item = E>,
        cluster: impl Into<String>,
    ) -> EtcdConfig {
        EtcdConfig {
            endpoints: endpoints.into_iter().map(Into::into).collect(),
            cluster: cluster.into(),
            deadline: DEADLINE,
            tls: None,
            user: None,
        }
    }

    /// Whether it makes sense, as far as can be told without asking.
    pub fn check(&self) -> Result<(), ConfigError> {
        if self.endpoints.is_empty() {
            return Err(ConfigError::NoEndpoint);
        }
        for endpoint in &self.endpoints {
            let port = endpoint.rsplit_once(':').filter(|(host, _)| is_host(host));
            if port.is_none_or(|(_, port)| !port.parse::<u16>().is_ok_and(|port| port > 0)) {
                return Err(ConfigError::Endpoint { endpoint: endpoint.clone() });
            }
        }
        let part_of_a_key = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
        if self.cluster.is_empty() || !self.cluster.chars().all(part_of_a_key) {
            return Err(ConfigError::Cluster { cluster: self.cluster.clone() });
        }
        Ok(())
    }

    pub(crate) fn urls(&self) -> Vec<String> {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        self.endpoints.iter().map(|endpoint| format!("{scheme}://{endpoint}")).collect()
    }
}

fn is_host(host: &str) -> bool {
    let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match bare {
        Some(v6) => v6.parse::<std::net::Ipv6Addr>().is_ok(),
        None => {
            !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_meant_is_told_before_anything_is_asked() {
        let check = |endpoint: &str, cluster: &str| EtcdConfig::new([endpoint], cluster).check();
        for good in ["etcd-1.example:2379", "10.0.0.1:2379", "[::1]:2379"] {
            assert_eq!(check(good, "eu-1"), Ok(()), "{good}");
        }
        for bad in ["", "etcd", "etcd:", "etcd:0", "etcd:70000", ":2379", "::1:2379", "http://a:1"]
        {
            assert_eq!(check(bad, "a"), Err(ConfigError::Endpoint { endpoint: bad.to_owned() }));
        }
        for bad in ["", "a/b", "a b"] {
            assert_eq!(check("a:1", bad), Err(ConfigError::Cluster { cluster: bad.to_owned() }));
        }
        assert_eq!(
            EtcdConfig::new(Vec::<String>::new(), "a").check(),
            Err(ConfigError::NoEndpoint)
        );
    }
}
