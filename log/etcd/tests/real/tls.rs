//! Certificates on both sides.

use std::path::Path;

use egret_log::metadata::conformance::{committed, put, soon};
use egret_log::metadata::{MetaError, MetaStore};
use egret_log_etcd::{EtcdConfig, EtcdMeta, Tls};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::server::etcd_with;

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Authority {
        let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Authority { pem, issuer: Issuer::new(params, key) }
    }

    /// A certificate for loopback, and its key.
    fn issue(&self) -> (String, String) {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate().unwrap();
        let signed = params.signed_by(&key, &self.issuer).unwrap();
        (signed.pem(), key.serialize_pem())
    }
}

fn write(dir: &Path, name: &str, text: &str) -> String {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn each_side_sees_the_others_certificate() {
    let authority = Authority::new();
    let (certificate, key) = authority.issue();
    let dir = tempfile::tempdir().unwrap();
    let arguments = vec![
        "--client-cert-auth".to_owned(),
        format!("--trusted-ca-file={}", write(dir.path(), "ca", &authority.pem)),
        format!("--cert-file={}", write(dir.path(), "cert", &certificate)),
        format!("--key-file={}", write(dir.path(), "key", &key)),
    ];
    let Some(etcd) = etcd_with(arguments) else { return };
    let open = |ca: &Authority, identity: Option<(String, String)>| {
        let identity = identity.map(|(cert, key)| (cert.into_bytes(), key.into_bytes()));
        let tls = Some(Tls { ca: ca.pem.clone().into_bytes(), identity });
        EtcdMeta::open(&EtcdConfig { tls, ..etcd.config("a") })
    };
    let store = open(&authority, Some(authority.issue())).unwrap();
    let revision = committed(store.txn(&[], &[put("/a", "1")]).unwrap());
    assert_eq!(soon(&mut store.watch("/", revision).unwrap()).revision(), revision);
    let stranger = Authority::new();
    for refused in [
        open(&stranger, Some(authority.issue())),
        open(&authority, Some(stranger.issue())),
        open(&authority, None),
    ] {
        let error = refused.unwrap_err();
        // Either side may be the one that hangs up, or says nothing more.
        let shut_out = matches!(error, MetaError::Unreachable { .. } | MetaError::Timeout { .. });
        assert!(shut_out, "{error}");
    }
}
