//! Where a cluster's metadata is, in one word of a command line.
//!
//! ```text
//! redb:PATH                                          a file of this machine; one process at a time
//! etcd://HOST:PORT[,HOST:PORT…]/CLUSTER              etcd, in the clear
//! etcd://…/CLUSTER?ca=FILE[&cert=FILE&key=FILE]      etcd by TLS; all files are PEM
//! ```
//! Relative paths begin where the caller says. etcd needs a build with the feature `etcd`; every build can read the words and say so.

use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use egret_log::directory::{OpenError, hold_metadata};
use egret_log::metadata::{MetaError, MetaStore};

/// A place of metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MetadataUrl {
    /// An embedded store in this file.
    Redb(PathBuf),
    /// An etcd cluster.
    Etcd(EtcdPlace),
}

/// Which etcd, and which of its clusters' keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EtcdPlace {
    /// `host:port` of each member.
    pub endpoints: Vec<String>,
    /// The name of Egret's cluster.
    pub cluster: String,
    /// Who signs the members' certificates.
    pub ca: Option<PathBuf>,
    /// This side's certificate and its key.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Why metadata cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum MetadataUrlError {
    /// It begins with nothing that is known.
    #[error("`{url}` is no place of metadata: write redb:PATH or etcd://HOST:PORT/CLUSTER")]
    Scheme {
        /// What was given.
        url: String,
    },
    /// It says etcd, and not where.
    #[error("`{url}` does not say which etcd: write etcd://HOST:PORT[,HOST:PORT]/CLUSTER")]
    Etcd {
        /// What was given.
        url: String,
    },
    /// It says something of TLS that is not known, or half of it.
    #[error(
        "`{option}` in `{url}`: write ?ca=FILE, and for a certificate of this side &cert=FILE&key=FILE too"
    )]
    Option {
        /// What was given.
        url: String,
        /// Which part of it.
        option: String,
    },
    /// It is the place of another cluster.
    #[error(
        "`{url}` is the metadata of cluster `{found}`, and this is of cluster `{own}`: correct the one or the \
         other"
    )]
    Cluster {
        /// What was given.
        url: String,
        /// Which cluster it names.
        found: String,
        /// Which one it is for.
        own: String,
    },
    /// A certificate cannot be read.
    #[error("{}: {source}: name a readable PEM file", .file.display())]
    Certificate {
        /// The file.
        file: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// This program knows no etcd.
    #[error(
        "this program was built without etcd: build it with the feature `etcd`, the command line with `cargo build --release -p egret-scheduler --features etcd`; that needs protoc (Debian: apt-get install protobuf-compiler)"
    )]
    NotBuilt,
    /// The file's store.
    #[error(transparent)]
    Redb(#[from] OpenError),
    /// The store.
    #[error(transparent)]
    Store(#[from] MetaError),
}

impl FromStr for MetadataUrl {
    type Err = MetadataUrlError;

    fn from_str(url: &str) -> Result<MetadataUrl, MetadataUrlError> {
        if let Some(path) = url.strip_prefix("redb:").filter(|path| !path.is_empty()) {
            return Ok(MetadataUrl::Redb(path.into()));
        }
        match url.strip_prefix("etcd://") {
            Some(rest) => Ok(MetadataUrl::Etcd(etcd_place(url, rest)?)),
            None => Err(MetadataUrlError::Scheme { url: url.to_owned() }),
        }
    }
}

fn etcd_place(url: &str, rest: &str) -> Result<EtcdPlace, MetadataUrlError> {
    let (place, options) = rest.split_once('?').unwrap_or((rest, ""));
    let parts = place.split_once('/').filter(|(endpoints, cluster)| {
        !endpoints.split(',').any(str::is_empty) && !cluster.is_empty() && !cluster.contains('/')
    });
    let Some((endpoints, cluster)) = parts else {
        return Err(MetadataUrlError::Etcd { url: url.to_owned() });
    };
    let (mut ca, mut cert, mut key) = (None, None, None);
    let wrong =
        |option: &str| MetadataUrlError::Option { url: url.to_owned(), option: option.to_owned() };
    for option in options.split('&').filter(|option| !option.is_empty()) {
        let slot = match option.split_once('=') {
            Some(("ca", _)) => &mut ca,
            Some(("cert", _)) => &mut cert,
            Some(("key", _)) => &mut key,
            _ => return Err(wrong(option)),
        };
        let file = option.split_once('=').map_or("", |(_, file)| file);
        if file.is_empty() || slot.replace(PathBuf::from(file)).is_some() {
            return Err(wrong(option));
        }
    }
    let identity = match (cert, key) {
        (Some(cert), Some(key)) if ca.is_some() => Some((cert, key)),
        (None, None) => None,
        _ => return Err(wrong(options)),
    };
    let endpoints = endpoints.split(',').map(str::to_owned).collect();
    Ok(EtcdPlace { endpoints, cluster: cluster.to_owned(), ca, identity })
}

/// Reads where the metadata of `cluster` is.
///
/// # Errors
/// When `url` says nothing of that kind, or names another cluster.
pub fn metadata_of(cluster: &str, url: &str) -> Result<MetadataUrl, MetadataUrlError> {
    match url.parse()? {
        MetadataUrl::Etcd(place) if place.cluster != cluster => Err(MetadataUrlError::Cluster {
            url: url.to_owned(),
            found: place.cluster,
            own: cluster.to_owned(),
        }),
        place => Ok(place),
    }
}

/// Looks whether [`open_metadata`] could open it, without asking anybody.
///
/// # Errors
/// As `open_metadata`, but for what only the store itself can say.
pub fn check_metadata(cluster: &str, url: &str, base: &Path) -> Result<(), MetadataUrlError> {
    match metadata_of(cluster, url)? {
        MetadataUrl::Redb(_) => Ok(()),
        MetadataUrl::Etcd(place) => etcd_config(&place, base).map(drop),
    }
}

/// Opens the metadata of `cluster` at `url`; relative paths begin at `base`.
///
/// # Errors
/// When there is none, or it cannot be reached.
pub fn open_metadata(
    cluster: &str,
    url: &str,
    base: &Path,
) -> Result<Arc<dyn MetaStore>, MetadataUrlError> {
    match metadata_of(cluster, url)? {
        MetadataUrl::Redb(file) => Ok(hold_metadata(&base.join(file))?),
        MetadataUrl::Etcd(place) => open_etcd(&place, base),
    }
}

#[cfg(feature = "etcd")]
fn etcd_config(
    place: &EtcdPlace,
    base: &Path,
) -> Result<egret_log_etcd::EtcdConfig, MetadataUrlError> {
    use egret_log_etcd::{EtcdConfig, Tls};

    let read = |file: &PathBuf| {
        let file = base.join(file);
        std::fs::read(&file).map_err(|source| MetadataUrlError::Certificate { file, source })
    };
    let mut config = EtcdConfig::new(place.endpoints.iter().cloned(), &place.cluster);
    if let Some(ca) = &place.ca {
        let identity = match &place.identity {
            Some((cert, key)) => Some((read(cert)?, read(key)?)),
            None => None,
        };
        config.tls = Some(Tls { ca: read(ca)?, identity });
    }
    Ok(config)
}

#[cfg(feature = "etcd")]
fn open_etcd(place: &EtcdPlace, base: &Path) -> Result<Arc<dyn MetaStore>, MetadataUrlError> {
    Ok(Arc::new(egret_log_etcd::EtcdMeta::open(&etcd_config(place, base)?)?))
}

#[cfg(not(feature = "etcd"))]
fn etcd_config(_: &EtcdPlace, _: &Path) -> Result<(), MetadataUrlError> {
    Err(MetadataUrlError::NotBuilt)
}

#[cfg(not(feature = "etcd"))]
fn open_etcd(_: &EtcdPlace, _: &Path) -> Result<Arc<dyn MetaStore>, MetadataUrlError> {
    Err(MetadataUrlError::NotBuilt)
}

#[cfg(test)]
mod tests {
    use egret_log::metadata::Op;

    use super::*;

    #[test]
    fn a_place_is_read_as_it_is_written() {
        let redb: MetadataUrl = "redb:/var/lib/egret/meta.redb".parse().unwrap();
        assert_eq!(redb, MetadataUrl::Redb("/var/lib/egret/meta.redb".into()));
        let plain: MetadataUrl = "etcd://a:2379,b:2379/eu".parse().unwrap();
        let place = EtcdPlace {
            endpoints: vec!["a:2379".to_owned(), "b:2379".to_owned()],
            cluster: "eu".to_owned(),
            ca: None,
            identity: None,
        };
        assert_eq!(plain, MetadataUrl::Etcd(place.clone()));
        let tls: MetadataUrl =
            "etcd://a:2379,b:2379/eu?ca=/ca.pem&cert=c.pem&key=k.pem".parse().unwrap();
        let identity = Some(("c.pem".into(), "k.pem".into()));
        let ca = Some("/ca.pem".into());
        assert_eq!(tls, MetadataUrl::Etcd(EtcdPlace { ca, identity, ..place }));
    }

    #[test]
    fn what_cannot_be_meant_says_what_to_write() {
        let said = |url: &str| url.parse::<MetadataUrl>().unwrap_err().to_string();
        for url in ["", "redb:", "zk://a:1/b", "/meta.redb"] {
            assert!(said(url).contains("write redb:PATH or etcd://"), "{url}");
        }
        for url in
            ["etcd://", "etcd://a:1", "etcd://a:1/", "etcd:///b", "etcd://a:1,/b", "etcd://a:1/b/c"]
        {
            assert!(said(url).contains("does not say which etcd"), "{url}");
        }
        for url in ["?cert=c&key=k", "?ca=", "?ca=a&ca=b", "?ca=a&cert=c", "?tls=yes", "?ca"] {
            assert!(said(&format!("etcd://a:1/b{url}")).contains("write ?ca=FILE"), "{url}");
        }
    }

    /// It was taken, and the cluster's metadata was where nobody looked for it.
    #[test]
    fn a_place_of_another_cluster_is_told_with_both_names() {
        let said = metadata_of("blue", "etcd://a:1/green").unwrap_err().to_string();
        assert_eq!(
            said,
            "`etcd://a:1/green` is the metadata of cluster `green`, and this is of cluster `blue`: correct the \
             one or the other"
        );
        metadata_of("green", "etcd://a:1/green").unwrap();
        metadata_of("blue", "redb:green").unwrap();
    }

    #[test]
    fn a_file_has_one_holder_and_keeps_what_it_was_given() {
        let dir = tempfile::tempdir().unwrap();
        let open = || open_metadata("blue", "redb:meta/cluster.redb", dir.path());
        let store = open().unwrap();
        store.txn(&[], &[Op::Put("/a".to_owned(), b"1".to_vec())]).unwrap();
        assert!(matches!(open(), Err(MetadataUrlError::Redb(OpenError::Lock(_)))));
        drop(store);
        assert_eq!(open().unwrap().get("/a").unwrap().unwrap().value, b"1");
    }

    #[cfg(not(feature = "etcd"))]
    #[test]
    fn a_build_without_etcd_says_how_to_make_one() {
        for error in [
            open_metadata("a", "etcd://127.0.0.1:2379/a", Path::new("/")).unwrap_err(),
            check_metadata("a", "etcd://127.0.0.1:2379/a", Path::new("/")).unwrap_err(),
        ] {
            assert!(error.to_string().contains("--features etcd"), "{error}");
        }
    }

    #[cfg(feature = "etcd")]
    #[test]
    fn a_certificate_that_is_not_there_is_named() {
        let url = "etcd://127.0.0.1:2379/a?ca=no/such.pem";
        let opened = open_metadata("a", url, Path::new("/")).unwrap_err();
        let checked = check_metadata("a", url, Path::new("/")).unwrap_err();
        for error in [opened, checked] {
            assert!(error.to_string().starts_with("/no/such.pem"), "{error}");
        }
    }
}
