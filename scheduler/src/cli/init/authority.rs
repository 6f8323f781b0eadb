//! The authority's files, and what it signs.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use egret_log::clock;
use egret_log::rpc::bookie::server::is_cluster_name;
use egret_log::rpc::bookie::tls::PeerName;
use egret_schemas::bookie::Role;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use time::{Duration, OffsetDateTime};

use super::super::exit::{Done, Exit};

/// How many days an authority is good for: ten years.
const AUTHORITY_DAYS: u32 = 3653;

/// A clock on another host may be a little behind.
const CLOCKS_APART: Duration = Duration::hours(1);

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Authority {
    dir: PathBuf,
    cluster: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes one, in a directory that has none.
    pub(super) fn create(dir: &Path, cluster: &str) -> Done {
        check_name("cluster", cluster)?;
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(0o700).create(dir).map_err(at(dir))?;
        let key = KeyPair::generate().map_err(failed)?;
        let cert = params(cluster)?.self_signed(&key).map_err(failed)?;
        // The key first: it is what must not be written over.
        write_new(&dir.join("ca.key"), &key.serialize_pem())?;
        write_new(&dir.join("ca.pem"), &cert.pem())?;
        write_new(&dir.join("cluster"), &format!("{cluster}\n"))
    }

    /// Opens one.
    pub(super) fn open(dir: &Path) -> Result<Authority, Exit> {
        let read = |name: &str| {
            let path = dir.join(name);
            std::fs::read_to_string(&path).map_err(|error| {
                let hint = "make the authority first, with `egret init --cluster NAME --dir DIR`";
                Exit::Refused(format!("{}: {error}: {hint}", path.display()))
            })
        };
        let cluster = read("cluster")?.trim_end().to_owned();
        check_name("cluster", &cluster)?;
        let key = KeyPair::from_pem(&read("ca.key")?)
            .map_err(|error| Exit::Refused(format!("{}/ca.key: {error}", dir.display())))?;
        let issuer = Issuer::new(params(&cluster)?, key);
        Ok(Authority { dir: dir.to_owned(), cluster, issuer })
    }

    /// Issues a certificate; the paths of it and its key.
    pub(super) fn issue(
        &self,
        role: Role,
        name: &str,
        hosts: &[String],
        days: u32,
    ) -> Result<(PathBuf, PathBuf), Exit> {
        check_name("name", name)?;
        if name == "ca" {
            return Err(Exit::Usage("`ca` is the authority's own name: give another".to_owned()));
        }
        let mut params = CertificateParams::new(hosts.to_vec()).map_err(failed)?;
        let peer = PeerName { cluster: self.cluster.clone(), role, name: name.to_owned() };
        let uri = peer.to_string().try_into().map_err(failed)?;
        params.subject_alt_names.push(SanType::URI(uri));
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = match role {
            Role::Bookie | Role::Worker => {
                vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth]
            }
            Role::Client | Role::Admin => vec![ExtendedKeyUsagePurpose::ClientAuth],
        };
        (params.not_before, params.not_after) = validity(days)?;
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(failed)?;
        let cert = params.signed_by(&key, &self.issuer).map_err(failed)?;
        let (cert_path, key_path) =
            (self.dir.join(format!("{name}.pem")), self.dir.join(format!("{name}.key")));
        write_new(&key_path, &key.serialize_pem())?;
        write_new(&cert_path, &cert.pem())?;
        Ok((cert_path, key_path))
    }
}

/// What an authority is, from its cluster's name alone.
fn params(cluster: &str) -> Result<CertificateParams, Exit> {
    let mut params = CertificateParams::default();
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, format!("authority of {cluster}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    (params.not_before, params.not_after) = validity(AUTHORITY_DAYS)?;
    Ok(params)
}

fn validity(days: u32) -> Result<(OffsetDateTime, OffsetDateTime), Exit> {
    let seconds = i64::try_from(clock::wall_ms() / 1000).unwrap_or(i64::MAX);
    let now = OffsetDateTime::from_unix_timestamp(seconds).map_err(failed)?;
    let until = now.checked_add(Duration::days(days.into()));
    let until = until.ok_or_else(|| Exit::Usage(format!("{days} days are too many")))?;
    Ok((now - CLOCKS_APART, until))
}

fn check_name(what: &str, name: &str) -> Done {
    if is_cluster_name(name) {
        return Ok(());
    }
    Err(Exit::Usage(format!(
        "`{name}` is no {what}: give 1 to 64 letters, digits, `-`, `_` or `.`"
    )))
}

/// Writes a file that is not there yet, for its owner alone.
fn write_new(path: &Path, text: &str) -> Done {
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(path).map_err(at(path))?;
    file.write_all(text.as_bytes()).map_err(at(path))?;
    file.sync_all().map_err(at(path))
}

fn at(path: &Path) -> impl Fn(io::Error) -> Exit {
    move |error| match error.kind() {
        io::ErrorKind::AlreadyExists => Exit::Refused(format!(
            "{} is there already and is not written over: name another, or move it away",
            path.display()
        )),
        _ => Exit::Failed(format!("{}: {error}", path.display())),
    }
}

fn failed(error: impl std::fmt::Display) -> Exit {
    Exit::Failed(error.to_string())
}
