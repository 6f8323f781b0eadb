//! What every metadata store must do, done by etcd.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use egret_log::metadata::MetaStore;
use egret_log::metadata::conformance::{self, Subject, committed, put};

use crate::server::{Etcd, etcd};

#[derive(Debug)]
struct RealEtcd {
    etcd: Etcd,
    clusters: AtomicU64,
}

impl Subject for RealEtcd {
    fn fresh(&self) -> Arc<dyn MetaStore> {
        let number = self.clusters.fetch_add(1, Ordering::SeqCst);
        Arc::new(self.etcd.store(&format!("c{number}")))
    }

    fn ttl_ms(&self) -> u64 {
        3000
    }

    fn pass_ms(&self, ms: u64) {
        // It is etcd's own time that must go by: there is nothing to wait for.
        thread::sleep(Duration::from_millis(ms));
    }

    fn forget_history(&self, store: &dyn MetaStore) {
        self.etcd.compact(store.list("/").unwrap().revision);
    }
}

#[test]
fn etcd_conforms() {
    let Some(etcd) = etcd() else { return };
    conformance::all(&RealEtcd { etcd, clusters: AtomicU64::new(0) });
}

#[test]
fn clusters_do_not_see_each_other() {
    let Some(etcd) = etcd() else { return };
    let (a, ab) = (etcd.store("a"), etcd.store("ab"));
    committed(ab.txn(&[], &[put("/x", "1")]).unwrap());
    assert_eq!(a.list("").unwrap().entries, []);
    assert_eq!(a.get("/x").unwrap(), None);
    assert_eq!(ab.list("").unwrap().entries.len(), 1);
}
