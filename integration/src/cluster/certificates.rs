//! Certificates for bookies that are not on a loopback address, and for those who talk to them.

use std::net::Ipv4Addr;
use std::path::Path;

use anyhow::Context;
use egret_log::rpc::bookie::tls::Pem;
use egret_log::rpc::bookie::{ClientTls, ServerTls};
use egret_schemas::BookieId;
use egret_schemas::bookie::Role;
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, SanType};

/// The authority of one cluster, in memory.
pub(super) struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl std::fmt::Debug for Authority {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Authority")
    }
}

impl Authority {
    pub(super) fn new() -> anyhow::Result<Authority> {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Authority { pem, issuer: Issuer::new(params, key) })
    }

    fn issue(&self, name: &str, address: Option<Ipv4Addr>) -> anyhow::Result<(String, String)> {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()])?;
        params.subject_alt_names.extend(address.map(|at| SanType::IpAddress(at.into())));
        params.subject_alt_names.push(SanType::URI(name.try_into()?));
        let key = KeyPair::generate()?;
        Ok((params.signed_by(&key, &self.issuer)?.pem(), key.serialize_pem()))
    }

    /// Writes what a bookie at `address` needs to `dir`.
    pub(super) fn write(
        &self,
        dir: &Path,
        (cluster, id): (&str, BookieId),
        address: Ipv4Addr,
    ) -> anyhow::Result<()> {
        let name = format!("egret://{cluster}/bookie/b{}", id.0);
        let (cert, key) = self.issue(&name, Some(address))?;
        std::fs::create_dir_all(dir)?;
        std::fs::write(dir.join("cert.pem"), cert)?;
        std::fs::write(dir.join("key.pem"), key)?;
        std::fs::write(dir.join("ca.pem"), &self.pem)?;
        Ok(())
    }

    /// What whoever is `role` needs.
    pub(super) fn client(&self, cluster: &str, role: Role) -> anyhow::Result<ClientTls> {
        let (cert, key) = self.issue(&format!("egret://{cluster}/{role}/x1"), None)?;
        let (cert, key, ca) = (cert.as_bytes(), key.as_bytes(), self.pem.as_bytes());
        Ok(ClientTls::new(Pem { cert, key, ca })?)
    }
}

/// What was [written](Authority::write) to `dir`.
pub(super) fn read(dir: &Path) -> anyhow::Result<ServerTls> {
    let read = |name: &str| std::fs::read(dir.join(name)).with_context(|| name.to_owned());
    let (cert, key, ca) = (read("cert.pem")?, read("key.pem")?, read("ca.pem")?);
    Ok(ServerTls::new(Pem { cert: &cert, key: &key, ca: &ca })?)
}
