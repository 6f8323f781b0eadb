//! Streams over a metadata store whose requests and answers get lost.

use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::client::memory_bookie::MemoryBookie;
use crate::metadata::conformance::lossy::Lossy;
use crate::metadata::{MemoryMeta, MetaStore};

/// A third of all transactions get no answer, half of those were carried out. Creating a stream, taking
/// a partition over, rolling its segments, naming users and deleting read back and go on; each is done
/// once.
#[test]
fn a_lost_answer_of_the_metadata_store_stops_no_stream() {
    for seed in 0..20 {
        let meta = Arc::new(Lossy::new(Arc::new(MemoryMeta::new()), seed));
        let bookie = Arc::new(MemoryBookie::default());
        let config = StreamConfig { segment_bytes_max: 40, ..StreamConfig::default() };
        let log = Log::over(bookie.clone(), meta.clone()).unwrap();
        log.create_stream("s", config).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        for start in [0, 10, 20] {
            let log = Log::over(bookie.clone(), meta.clone()).unwrap();
            let writer = log.writer("s", 0).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
            for n in start..start + 10 {
                let record = Record::of(n.to_string());
                writer.append_wait(&[record]).unwrap_or_else(|e| panic!("seed {seed}, {n}: {e}"));
            }
        }
        let mut reader = log.reader("s", 0, ReadFrom::Earliest).unwrap();
        let mut found = Vec::new();
        while let Some(batch) = reader.next_wait(Duration::ZERO).unwrap() {
            found
                .extend(batch.records.iter().map(|r| String::from_utf8(r.value.to_vec()).unwrap()));
        }
        let all: Vec<_> = (0..30).map(|n: u64| n.to_string()).collect();
        assert_eq!(found, all, "seed {seed}");
        for n in 0..5 {
            let user = User { topology: "t".to_owned(), component: n.to_string() };
            log.produce("s", &user).unwrap_or_else(|e| panic!("seed {seed}, {n}: {e}"));
        }
        assert_eq!(log.users("s").unwrap().producers.len(), 5, "seed {seed}");
        log.delete_stream("s", true).unwrap_or_else(|e| panic!("seed {seed}: {e}"));
        for prefix in ["/stream/", "/ledgers/", "/users/", "/partition/"] {
            let left = meta.list(prefix).unwrap().entries;
            assert!(left.is_empty(), "seed {seed}: {left:?}");
        }
    }
}
