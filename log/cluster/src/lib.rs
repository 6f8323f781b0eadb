//! A cluster, as every program reaches it: one small file says where its metadata is and, off this host,
//! with which certificate.
//!
//! | module | holds |
//! |---|---|
//! | [`ends`] | how an error ends a program: exit codes |
//! | [`mod@file`] | the file, and what it opens |
//! | [`metadata_url`] | `redb:PATH`, `etcd://…`: where a cluster's metadata is |
//! | [`place`] | a data directory or a cluster: flags and variables |
//! | [`signals`] | when to end |
//! | [`tls_files`] | where a certificate is, and whether anybody would accept it |

pub mod ends;
pub mod file;
pub mod metadata_url;
pub mod place;
pub mod signals;
pub mod tls_files;

pub use file::{Cluster, ClusterError, ClusterFile, worker_tls};
pub use metadata_url::{MetadataUrl, MetadataUrlError, check_metadata, open_metadata};
pub use place::Place;
pub use tls_files::{Holder, TlsFileError, TlsFiles};
