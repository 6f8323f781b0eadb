//! Readers of the output stream in a cluster: one that follows it while bookies and topology die, and one
//! that reads it whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use egret_log::Log;
use egret_log::stream::{Batch, PartitionReader, ReadFrom};
use egret_schemas::Position;

use super::reader::Seen;

/// The stream.
const STREAM: &str = "counts";

/// How long to wait for more, or before a reader that failed is tried again.
const PATIENCE: Duration = Duration::from_millis(20);

fn take(seen: &mut Seen, partition: u32, batch: Batch) -> Result<()> {
    for (slot, record) in (0..).zip(&batch.records) {
        let key = record.key.as_ref().context("a count has its word")?.to_vec();
        let count = std::str::from_utf8(&record.value)?.parse()?;
        seen.add(partition, batch.position(slot), batch.epoch, (key, count));
    }
    Ok(())
}

/// Reads the whole stream as anyone would see it now.
pub fn read_all(log: &Log) -> Result<Seen> {
    let mut seen = Seen::default();
    for partition in 0..log.stream(STREAM)?.config.partitions {
        let mut reader = log.reader(STREAM, partition, ReadFrom::Earliest)?;
        let end = reader.end()?;
        while reader.position() < end {
            // Where it ends behind a closed segment there is nothing more to come.
            let Some(batch) = reader.next_wait(Duration::from_secs(2))? else { break };
            take(&mut seen, partition, batch)?;
        }
    }
    Ok(seen)
}

/// Follows the stream.
#[derive(Debug)]
pub struct Follower {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Result<Seen>>,
}

impl Follower {
    /// Begins to follow.
    pub fn begin(log: Log) -> Follower {
        let over = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&over);
        let thread = std::thread::spawn(move || follow(&log, &stop));
        Follower { over, thread }
    }

    /// Ends it; everything it saw.
    pub fn end(self) -> Result<Seen> {
        self.over.store(true, Ordering::Release);
        self.thread.join().map_err(|_| anyhow!("the reader panicked"))?
    }
}

/// Where a partition is read on.
struct Place {
    reader: Option<PartitionReader>,
    next: Option<Position>,
}

fn follow(log: &Log, over: &AtomicBool) -> Result<Seen> {
    let mut seen = Seen::default();
    let mut places: Vec<Place> = Vec::new();
    while !over.load(Ordering::Acquire) {
        if places.is_empty() {
            // It may not be there yet.
            let partitions = log.stream(STREAM).map_or(0, |info| info.config.partitions);
            places = (0..partitions).map(|_| Place { reader: None, next: None }).collect();
        }
        let each = places.iter_mut().zip(0..);
        if each.filter_map(|(place, partition)| place.reader(log, partition)).count() == 0 {
            std::thread::park_timeout(PATIENCE);
        }
        for (place, partition) in places.iter_mut().zip(0..) {
            let Some(reader) = &mut place.reader else { continue };
            match reader.next_wait(PATIENCE) {
                Ok(Some(batch)) => {
                    place.next = Some(batch.next());
                    take(&mut seen, partition, batch)?;
                }
                Ok(None) => {}
                // Too few bookies or no metadata just now: it begins anew where it was.
                Err(_) => place.reader = None,
            }
        }
    }
    Ok(seen)
}

impl Place {
    fn reader(&mut self, log: &Log, partition: u32) -> Option<&mut PartitionReader> {
        if self.reader.is_none() {
            let from = self.next.map_or(ReadFrom::Earliest, ReadFrom::At);
            self.reader = log.reader(STREAM, partition, from).ok();
        }
        self.reader.as_mut()
    }
}
