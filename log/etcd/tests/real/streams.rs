//! Streams whose metadata is in an etcd started as its packages start it.

use std::sync::Arc;

use egret_log::Log;
use egret_log::bookie::{Bookie, BookieConfig};
use egret_log::client::Ledgers;
use egret_log::disk::RealDisk;
use egret_log::metadata::MetaStore;
use egret_log::stream::{Record, StreamConfig};

use crate::server::etcd;

/// etcd takes 128 operations in a transaction: a stream of so many partitions could not be made.
#[test]
fn a_stream_of_more_partitions_than_a_transaction_takes() {
    let Some(etcd) = etcd() else { return };
    let dir = tempfile::tempdir().unwrap();
    let bookie = Bookie::open(Arc::new(RealDisk), dir.path(), BookieConfig::default()).unwrap();
    let store = Arc::new(etcd.store("blue"));
    let log = Log::on(Ledgers::on_one(Arc::new(bookie), store.clone())).unwrap();
    for partitions in [127, 128, 300] {
        let config = StreamConfig { partitions, ..StreamConfig::default() };
        log.create_stream("s", config).unwrap();
        let listed = store.list("/partition/").unwrap().entries.len();
        assert_eq!(u32::try_from(listed).unwrap(), partitions);
        let last = log.writer("s", partitions - 1).unwrap();
        last.append_wait(&[Record::of("there")]).unwrap();
        log.delete_stream("s", false).unwrap();
        assert_eq!(store.list("/partition/").unwrap().entries, []);
        assert_eq!(store.list("/stream/").unwrap().entries, []);
    }
}
