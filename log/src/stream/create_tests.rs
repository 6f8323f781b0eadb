//! Streams of more partitions than one transaction of the metadata store takes.

use std::sync::Arc;

use super::error::{CatalogError, CreateStreamError};
use super::*;
use crate::caps;
use crate::client::Ledgers;
use crate::client::memory_bookie::MemoryBookie;
use crate::metadata::conformance::lossy::Lossy;
use crate::metadata::hooked::Hooked;
use crate::metadata::{MemoryMeta, MetaError, MetaStore};

const MANY: u32 = 300;

fn config(partitions: u32) -> StreamConfig {
    StreamConfig { partitions, ..StreamConfig::default() }
}

/// A log whose store others use as well.
fn shared(bookie: &Arc<MemoryBookie>, meta: Arc<dyn MetaStore>) -> Log {
    Log::on(Ledgers::on_one(bookie.clone(), meta)).unwrap()
}

fn left(meta: &MemoryMeta) -> Vec<String> {
    let all = ["/stream/", "/partition/", "/ledgers/"].map(|p| meta.list(p).unwrap().entries);
    all.into_iter().flatten().map(|(key, _)| key).collect()
}

/// Once, a stream was made in one transaction, and etcd takes 128 operations.
#[test]
fn a_stream_of_any_number_of_partitions_is_made_and_deleted() {
    let edge = u32::try_from(caps::META_TXN_OPS_MAX).unwrap();
    for partitions in [edge - 1, edge, 2 * (edge - 1), MANY, caps::PARTITIONS_MAX] {
        let (bookie, meta) = (Arc::default(), Arc::new(MemoryMeta::new()));
        let log = shared(&bookie, meta.clone());
        log.create_stream("s", config(partitions)).unwrap();
        let again = log.create_stream("s", config(1)).unwrap_err();
        assert!(matches!(again, CreateStreamError::Exists { .. }), "{again}");
        let described = log.describe("s").unwrap();
        assert_eq!(described.partitions.len(), usize::try_from(partitions).unwrap());
        let last = log.writer("s", partitions - 1).unwrap();
        last.append_wait(&[Record::of("there")]).unwrap();
        log.delete_stream("s", false).unwrap();
        assert_eq!(left(&meta), [""; 0]);
    }
}

#[test]
fn lost_answers_make_it_once() {
    for seed in 0..20 {
        let (bookie, inner) = (Arc::default(), Arc::new(MemoryMeta::new()));
        let log = shared(&bookie, Arc::new(Lossy::new(inner.clone(), seed)));
        log.create_stream("s", config(MANY)).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        assert_eq!(log.describe("s").unwrap().partitions.len(), 300, "seed {seed}");
        assert_eq!(inner.list("/partition/").unwrap().entries.len(), 300);
    }
}

/// A crash after each transaction: the stream is there or it is not, and what is left is in nobody's way.
#[test]
fn a_stream_half_made_is_not_there_and_its_name_is_free() {
    for crash in 0..3 {
        let (bookie, meta) = (Arc::default(), Arc::new(MemoryMeta::new()));
        let gone = move |txn| if txn < crash { Ok(()) } else { Err(MetaError::Closed) };
        let dying = shared(&bookie, Arc::new(Hooked::new(meta.clone(), Box::new(gone))));
        dying.create_stream("s", config(MANY)).unwrap_err();
        assert_eq!(left(&meta).is_empty(), crash == 0);
        let log = shared(&bookie, meta.clone());
        assert_eq!(log.streams().unwrap(), []);
        let missing = Err(CatalogError::NoStream { stream: "s".to_owned() });
        assert_eq!(log.stream("s"), missing);
        if crash == 1 {
            // A data directory's only holder removes it at its next start.
            Log::over(bookie.clone(), meta.clone()).unwrap();
            assert_eq!(left(&meta), [""; 0]);
        }
        log.create_stream("s", config(2)).unwrap();
        assert_eq!(left(&meta).len(), 3, "none is left of those that were made");
    }
}

#[test]
fn a_stream_half_made_is_deleted_by_name() {
    let (bookie, meta) = (Arc::default(), Arc::new(MemoryMeta::new()));
    let gone = |txn| if txn < 2 { Ok(()) } else { Err(MetaError::Closed) };
    let dying = shared(&bookie, Arc::new(Hooked::new(meta.clone(), Box::new(gone))));
    let owned = StreamConfig { transactional: Some("words".to_owned()), ..config(MANY) };
    dying.create_stream("s", owned).unwrap_err();
    shared(&bookie, meta.clone()).delete_stream("s", false).unwrap();
    assert_eq!(left(&meta), [""; 0]);
}

/// Whoever comes second takes what the first is at for left behind: the first learns of it, and there is
/// one whole stream.
#[test]
fn of_two_that_make_one_stream_one_does() {
    for between in 0..4 {
        let (bookie, meta): (Arc<MemoryBookie>, _) = (Arc::default(), Arc::new(MemoryMeta::new()));
        let other = shared(&bookie, meta.clone());
        let interrupt = move |txn| {
            if txn == between {
                // It is there already, at the last.
                drop(other.create_stream("s", config(200)));
            }
            Ok(())
        };
        let log = shared(&bookie, Arc::new(Hooked::new(meta.clone(), Box::new(interrupt))));
        let made = log.create_stream("s", config(MANY));
        let expected = if between == 3 { 300 } else { 200 };
        match made {
            Ok(_) => assert_eq!(between, 3),
            Err(error) => assert!(matches!(error, CreateStreamError::Exists { .. }), "{error}"),
        }
        assert_eq!(shared(&bookie, meta.clone()).describe("s").unwrap().partitions.len(), expected);
        assert_eq!(left(&meta).len(), expected + 1);
    }
}
