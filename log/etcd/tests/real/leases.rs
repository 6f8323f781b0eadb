//! A client that stops, and what hung on its lease.

use std::sync::{Arc, mpsc};
use std::time::Duration;

use egret_log::metadata::conformance::{PATIENCE, committed, soon};
use egret_log::metadata::{Event, LeaseKeeper, MetaStore, Op};

use crate::server::etcd;

fn leased(key: &str, keeper: &LeaseKeeper) -> Op {
    Op::PutLeased { key: key.to_owned(), value: Vec::new(), lease: keeper.lease() }
}

#[test]
fn a_lease_ends_when_its_client_stops_and_not_before() {
    let Some(etcd) = etcd() else { return };
    let mine: Arc<dyn MetaStore> = Arc::new(etcd.store("a"));
    let others = etcd.store("a");
    let keeper = LeaseKeeper::start(Arc::clone(&mine), 3000, Box::new(|| ())).unwrap();
    let written = committed(mine.txn(&[], &[leased("/mine", &keeper)]).unwrap());
    let mut watch = others.watch("/", written + 1).unwrap();
    assert_eq!(watch.next(Duration::from_secs(5)), Ok(None), "it is kept alive");
    assert!(!keeper.is_lost());
    drop(keeper);
    assert!(matches!(soon(&mut watch), Event::Delete { key, .. } if key == "/mine"));
}

/// Nobody answers renewals: the holder knows before anyone else may hold what it held.
#[test]
fn a_lease_that_cannot_be_renewed_is_lost_on_this_side_first() {
    let Some(mut etcd) = etcd() else { return };
    let store: Arc<dyn MetaStore> = Arc::new(etcd.store("a"));
    let (tell, told) = mpsc::sync_channel(1);
    let on_lost = Box::new(move || tell.send(()).unwrap());
    let keeper = LeaseKeeper::start(Arc::clone(&store), 2000, on_lost).unwrap();
    committed(store.txn(&[], &[leased("/mine", &keeper)]).unwrap());
    etcd.kill();
    told.recv_timeout(PATIENCE).unwrap();
    assert!(keeper.is_lost());
    etcd.restart();
}
