//! Readers that wait for more: whatever happens to those who were to call them.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use super::reader::Poll;
use super::*;
use crate::client::memory_bookie::MemoryBookie;
use crate::message::Wake;
use crate::metadata::MemoryMeta;

/// Long beyond any pause before a ledger is watched again.
const SOON: Duration = Duration::from_secs(20);

/// Once, a reader whose bookie could not be asked for a moment took the ledger for fenced, and waited for
/// ever.
#[test]
fn a_reader_that_was_called_for_nothing_is_called_again_when_there_is_more() {
    let bookie = Arc::new(MemoryBookie::default());
    let log = Log::over(bookie.clone(), Arc::new(MemoryMeta::new())).unwrap();
    log.create_stream("s", StreamConfig::default()).unwrap();
    let writer = log.writer("s", 0).unwrap();
    writer.append_wait(&[Record::of("first")]).unwrap();
    let mut reader = log.reader("s", 0, ReadFrom::Latest).unwrap();
    let (told, tells) = channel();
    let wake: Wake = Arc::new(move || told.send(()).unwrap());
    for round in 0..3 {
        assert!(matches!(reader.poll(&wake), Ok(Poll::Pending)));
        bookie.call_watchers();
        tells.recv_timeout(SOON).expect("it is called");
        assert!(matches!(reader.poll(&wake), Ok(Poll::Pending)), "there is no more");
        writer.append_wait(&[Record::of("more")]).unwrap();
        let found = std::iter::repeat_with(|| {
            tells.recv_timeout(SOON).expect("it is called when there is more");
            reader.poll(&wake).unwrap()
        });
        let found = found.into_iter().find_map(|poll| match poll {
            Poll::Batch(batch) => Some(batch),
            Poll::Pending => None,
        });
        assert_eq!(found.unwrap().records[0].value, "more", "round {round}");
    }
}
