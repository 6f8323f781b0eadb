//! Certificates: TLS 1.3 on both sides, and whom a certificate names.
//!
//! A cluster has its own authority and trusts no other. A certificate names its holder in a URI,
//! `egret://CLUSTER/ROLE/NAME`, beside the host names it is reached by. Files are read by the caller;
//! here are their bytes, as PEM.

use std::fmt;
use std::sync::Arc;

use egret_schemas::bookie::Role;
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// What both sides must say they speak.
const PROTOCOL: &[u8] = b"egret-bookie/1";

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file holds something else.
    #[error("the {what} is no PEM of one: {why}: give the file that `egret init` wrote")]
    Pem {
        /// Which of them.
        what: &'static str,
        /// What was found.
        why: String,
    },
    /// They do not fit each other, or are not allowed.
    #[error("the certificate, its key and the authority do not go together: {0}")]
    Refused(String),
    /// It names nobody of ours.
    #[error(
        "the certificate names no `egret://CLUSTER/ROLE/NAME`: have one issued by `egret init cert`"
    )]
    Nameless,
}

/// Whom a certificate names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerName {
    /// The cluster.
    pub cluster: String,
    /// What it is there.
    pub role: Role,
    /// Which one.
    pub name: String,
}

impl fmt::Display for PeerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "egret://{}/{}/{}", self.cluster, self.role, self.name)
    }
}

impl PeerName {
    /// From the URI in a certificate.
    pub fn parse(uri: &str) -> Option<PeerName> {
        let mut parts = uri.strip_prefix("egret://")?.split('/');
        let (cluster, role, name) = (parts.next()?, parts.next()?, parts.next()?);
        let whole = parts.next().is_none() && !cluster.is_empty() && !name.is_empty();
        let role = role.parse().ok()?;
        whole.then(|| PeerName { cluster: cluster.to_owned(), role, name: name.to_owned() })
    }

    /// Of a certificate whose chain was verified; it must name exactly one.
    pub(in crate::rpc) fn of(
        certificates: Option<&[CertificateDer<'_>]>,
    ) -> Result<PeerName, TlsError> {
        let first = certificates.and_then(<[_]>::first).ok_or(TlsError::Nameless)?;
        let parsed = webpki::EndEntityCert::try_from(first).map_err(|_| TlsError::Nameless)?;
        let mut names = parsed.valid_uri_names().filter_map(PeerName::parse);
        match (names.next(), names.next()) {
            (Some(name), None) => Ok(name),
            _ => Err(TlsError::Nameless),
        }
    }
}

/// A certificate, its key and the authority of the cluster, as PEM.
#[derive(Clone, Copy)]
pub struct Pem<'a> {
    /// The certificate.
    pub cert: &'a [u8],
    /// Its private key.
    pub key: &'a [u8],
    /// The authority's certificate.
    pub ca: &'a [u8],
}

impl fmt::Debug for Pem<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A key is nobody's business.
        f.write_str("Pem")
    }
}

pub(in crate::rpc) struct Parsed {
    pub(in crate::rpc) chain: Vec<CertificateDer<'static>>,
    pub(in crate::rpc) key: PrivateKeyDer<'static>,
    pub(in crate::rpc) roots: Arc<RootCertStore>,
}

impl Pem<'_> {
    pub(in crate::rpc) fn parse(self) -> Result<Parsed, TlsError> {
        let chain = self.chain()?;
        let key = PrivateKeyDer::from_pem_slice(self.key).map_err(|e| told("key", &e))?;
        Ok(Parsed { chain, key, roots: Arc::new(self.roots()?) })
    }

    /// The certificate, and those between it and the authority.
    pub(super) fn chain(self) -> Result<Vec<CertificateDer<'static>>, TlsError> {
        let chain = certificates(self.cert).map_err(|e| told("certificate", &e))?;
        if chain.is_empty() { Err(told("certificate", &"it is empty")) } else { Ok(chain) }
    }

    /// The authority.
    pub(super) fn roots(self) -> Result<RootCertStore, TlsError> {
        let authorities = certificates(self.ca).map_err(|e| told("authority", &e))?;
        if authorities.is_empty() {
            return Err(told("authority", &"it is empty"));
        }
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(authority).map_err(|e| told("authority", &e))?;
        }
        Ok(roots)
    }
}

fn told(what: &'static str, why: &dyn fmt::Display) -> TlsError {
    TlsError::Pem { what, why: why.to_string() }
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, rustls::pki_types::pem::Error> {
    CertificateDer::pem_slice_iter(pem).collect()
}

pub(in crate::rpc) fn refused(why: impl fmt::Display) -> TlsError {
    TlsError::Refused(why.to_string())
}

/// What a bookie needs.
#[derive(Clone)]
pub struct ServerTls {
    pub(super) config: Arc<ServerConfig>,
    own: PeerName,
}

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ServerTls({})", self.own)
    }
}

impl ServerTls {
    /// From its certificate, key and authority.
    ///
    /// # Errors
    /// When they do not go together or name nobody.
    pub fn new(pem: Pem<'_>) -> Result<ServerTls, TlsError> {
        let Parsed { chain, key, roots } = pem.parse()?;
        let own = PeerName::of(Some(&chain))?;
        let provider = Arc::new(ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(&provider))
            .build()
            .map_err(refused)?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(refused)?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(refused)?;
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        // Connections are few and long: nothing is gained by resuming one.
        config.send_tls13_tickets = 0;
        Ok(ServerTls { config: Arc::new(config), own })
    }

    /// Whom its certificate names.
    pub fn own(&self) -> &PeerName {
        &self.own
    }
}

/// What a client needs.
#[derive(Clone)]
pub struct ClientTls {
    pub(super) config: Arc<ClientConfig>,
    own: PeerName,
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ClientTls({})", self.own)
    }
}

impl ClientTls {
    /// From its certificate, key and authority.
    ///
    /// # Errors
    /// When they do not go together or name nobody.
    pub fn new(pem: Pem<'_>) -> Result<ClientTls, TlsError> {
        let Parsed { chain, key, roots } = pem.parse()?;
        let own = PeerName::of(Some(&chain))?;
        let provider = Arc::new(ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(refused)?
            .with_root_certificates(roots)
            .with_client_auth_cert(chain, key)
            .map_err(refused)?;
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        Ok(ClientTls { config: Arc::new(config), own })
    }

    /// Whom its certificate names.
    pub fn own(&self) -> &PeerName {
        &self.own
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_name_parses_back_from_what_it_prints() {
        let name = PeerName { cluster: "blue".into(), role: Role::Bookie, name: "b1".into() };
        assert_eq!(name.to_string(), "egret://blue/bookie/b1");
        assert_eq!(PeerName::parse("egret://blue/bookie/b1"), Some(name));
        for wrong in [
            "egret://blue/bookie",
            "egret://blue/bookie/b1/x",
            "egret://blue/root/b1",
            "egret:///bookie/b1",
            "egret://blue/bookie/",
            "http://blue/bookie/b1",
        ] {
            assert_eq!(PeerName::parse(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn arbitrary_texts_and_certificates_name_nobody(text in ".{0,60}", der: Vec<u8>) {
            prop_assert_eq!(PeerName::parse(&text), None);
            let der = CertificateDer::from(der);
            prop_assert!(PeerName::of(Some(&[der])).is_err());
        }
    }
}
