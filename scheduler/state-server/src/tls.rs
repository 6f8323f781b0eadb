//! Certificates of the cluster, on both sides.

use std::fmt;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::version::TLS13;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

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
    /// They do not fit each other.
    #[error("the certificate, its key and the authority do not go together: {0}")]
    Refused(String),
}

/// With which certificate to serve, and whose to take.
#[derive(Clone)]
pub struct Tls {
    config: Arc<ServerConfig>,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tls")
    }
}

impl Tls {
    /// From a certificate, its key and the authority, as PEM. Clients have to show a certificate of the same
    /// authority.
    ///
    /// # Errors
    /// When one of them is none, or they do not go together.
    pub fn new(cert: &[u8], key: &[u8], ca: &[u8]) -> Result<Tls, TlsError> {
        let pem = |what, why: &dyn fmt::Display| TlsError::Pem { what, why: why.to_string() };
        let list = |what, bytes| -> Result<Vec<CertificateDer<'static>>, TlsError> {
            let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
            let all = all.map_err(|why| pem(what, &why))?;
            if all.is_empty() { Err(pem(what, &"it is empty")) } else { Ok(all) }
        };
        let chain = list("certificate", cert)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|why| pem("key", &why))?;
        let mut roots = RootCertStore::empty();
        for authority in list("authority", ca)? {
            roots.add(authority).map_err(|why| pem("authority", &why))?;
        }
        let refused = |why: &dyn fmt::Display| TlsError::Refused(why.to_string());
        let provider = Arc::new(ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .map_err(|why| refused(&why))?;
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])
            .map_err(|why| refused(&why))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(|why| refused(&why))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Tls { config: Arc::new(config) })
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.config))
    }
}
