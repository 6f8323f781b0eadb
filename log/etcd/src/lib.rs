//! Egret's metadata in etcd: [`EtcdMeta`] is the [`MetaStore`](egret_log::metadata::MetaStore) of a
//! cluster.
//!
//! It is called from threads that block, and owns the small runtime its connections live on. Every call
//! has a deadline. A read is asked again until then, of any member; a transaction is sent once: an
//! answer that does not come is `Unknown`, and whoever asked reads back.
//!
//! ```no_run
//! use egret_log::metadata::{MetaStore, Op};
//! use egret_log_etcd::{EtcdConfig, EtcdMeta};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let config = EtcdConfig::new(["10.0.0.1:2379", "10.0.0.2:2379", "10.0.0.3:2379"], "production");
//! let store = EtcdMeta::open(&config)?;
//! store.txn(&[], &[Op::Put("/greeting".to_owned(), b"hello".to_vec())])?; // /egret/production/greeting
//! # Ok(())
//! # }
//! ```
//!
//! | module | holds |
//! |---|---|
//! | [`config`] | where etcd is, and how to talk to it |
//! | [`store`] | the store: reads, transactions, leases |
//! | `watch` | a watch that survives its connection |
//! | `answer` | what an error of etcd means for who asked |
//! | `keys` | Egret's keys below `/egret/<cluster>/` |

mod answer;
pub mod config;
mod keys;
pub mod store;
mod watch;

pub use config::{ConfigError, EtcdConfig, Tls};
pub use store::EtcdMeta;
