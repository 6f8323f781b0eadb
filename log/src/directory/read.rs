//! Partitions to records, waiting for the next.
//!
//! A reader is kept from one request to the next as long as the client reads on where it stopped. Each
//! has a flag that its wake sets: a partition is looked at when it may have something, so that a wait
//! over a thousand partitions costs what the busy ones cost, and no partition is watched twice.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use egret_schemas::Position;
use egret_schemas::records::RecordRef;
use egret_schemas::stream::{BatchInfo, Failure, Next, Place, ReadFrom, ReadHead, StreamReply};

use super::failure::Told;
use super::last::last;
use crate::message::Wake;
use crate::rpc::bell::Woken;
use crate::rpc::{Answered, Bell};
use crate::stream::error::ReadError;
use crate::stream::{self, Batch, Log, PartitionReader, Poll};
use crate::{caps, clock};

/// The readers of one stream.
#[derive(Debug)]
pub(super) struct Readers {
    log: Log,
    stream: String,
    open: BTreeMap<u32, Watched>,
    /// Whose turn it was last, so that a busy partition does not hide the others.
    turn: usize,
}

#[derive(Debug)]
struct Watched {
    reader: PartitionReader,
    /// Whether there may be something to read.
    woken: Arc<AtomicBool>,
}

impl Watched {
    fn poll(&mut self, bell: &Arc<Bell>) -> Result<Poll, ReadError> {
        let (woken, bell) = (Arc::clone(&self.woken), Arc::clone(bell));
        let wake: Wake = Arc::new(move || {
            woken.store(true, Ordering::Release);
            bell.ring();
        });
        self.reader.poll(&wake)
    }
}

/// What a read has gathered.
#[derive(Debug, Default)]
struct Gathered {
    batches: Vec<BatchInfo>,
    payload: Vec<u8>,
}

/// What a read came to before it is said how far there is to read.
#[derive(Debug, Clone, Copy)]
struct Found {
    /// Whether there were records.
    any: bool,
    /// Whether the client waits for them.
    waited: bool,
}

impl Gathered {
    fn has_room(&self, bytes_max: usize) -> bool {
        self.batches.is_empty() || self.payload.len() < bytes_max
    }

    fn add(&mut self, partition: u32, batch: &Batch) {
        for record in &batch.records {
            let record = RecordRef {
                key: record.key.as_deref(),
                value: &record.value,
                event_time_ms: record.event_time_ms,
                sequence: record.sequence,
            };
            record.put(&mut self.payload);
        }
        self.batches.push(BatchInfo {
            partition,
            first: batch.first,
            records: u32::try_from(batch.records.len()).expect("an entry holds far fewer records"),
            epoch: batch.epoch,
            first_number: batch.first_number,
        });
    }
}

impl Readers {
    /// Of a stream; its partitions are opened when they are read.
    pub(super) fn open(log: &Log, stream: &str) -> Readers {
        Readers { log: log.clone(), stream: stream.to_owned(), open: BTreeMap::new(), turn: 0 }
    }

    /// Whether these are the readers of this stream.
    pub(super) fn is_of(&self, stream: &str) -> bool {
        self.stream == stream
    }

    /// Reads what there is, or waits for the first.
    pub(super) fn read(&mut self, head: &ReadHead, bell: &Arc<Bell>) -> Result<Answered, Failure> {
        for place in &head.from {
            self.stand_at(place)?;
        }
        let wait = Duration::from_millis(u64::from(head.wait_ms.min(caps::READ_WAIT_MS_MAX)));
        let deadline = clock::now() + wait;
        let bytes_max = (head.bytes_max as usize).min(caps::READ_BYTES_MAX);
        let mut gathered = Gathered::default();
        loop {
            let before_closed = bell.is_closed();
            self.gather(&head.from, bytes_max, bell, &mut gathered)?;
            let waits = gathered.batches.is_empty() && !before_closed;
            if !waits || bell.wait_until(deadline) != Woken::Rung {
                break;
            }
        }
        let found = Found { any: !gathered.batches.is_empty(), waited: !wait.is_zero() };
        let next =
            head.from.iter().map(|place| self.next(place, found)).collect::<Result<_, _>>()?;
        let reply = StreamReply::Batches { batches: gathered.batches, next };
        Ok(Answered { reply, payload: gathered.payload.into() })
    }

    /// How far the reader of a place came, and how far it may.
    fn next(&self, place: &Place, found: Found) -> Result<Next, Failure> {
        let watched = &self.open[&place.partition];
        let next = watched.reader.position();
        // Who waits at the end need not ask where that is.
        let at_end = !watched.woken.load(Ordering::Acquire);
        let end = match at_end && (found.waited || watched.reader.is_sure()) {
            true => next,
            false => match watched.reader.end() {
                Ok(end) => end,
                // Who waits for what comes is told when it comes.
                Err(_) if found.waited => next,
                // What was found is told first. Whoever reads on to the end is told why there is none.
                Err(_) if found.any => Position::BEYOND,
                Err(error) => return Err(error.told()),
            },
        };
        Ok(Next { partition: place.partition, next, end: end.max(next) })
    }

    /// Has a reader stand where the client wants to read.
    fn stand_at(&mut self, place: &Place) -> Result<(), Failure> {
        let stands = match (self.open.get(&place.partition), place.from) {
            (Some(watched), ReadFrom::At(position)) => watched.reader.position() == position,
            _ => false,
        };
        if !stands {
            let from = self.begin(place)?;
            let reader = self
                .log
                .reader_of_any(&self.stream, place.partition, from)
                .map_err(|e| e.told())?;
            let woken = Arc::new(AtomicBool::new(true));
            self.open.insert(place.partition, Watched { reader, woken });
        }
        Ok(())
    }

    fn begin(&self, place: &Place) -> Result<stream::ReadFrom, Failure> {
        Ok(match place.from {
            ReadFrom::Earliest => stream::ReadFrom::Earliest,
            ReadFrom::Latest => stream::ReadFrom::Latest,
            ReadFrom::At(position) => stream::ReadFrom::At(position),
            ReadFrom::Since(ms) => stream::ReadFrom::Time(ms),
            ReadFrom::Last(records) => {
                last(&self.log, &self.stream, place.partition, u64::from(records))
                    .map_err(|e| e.told())?
            }
        })
    }

    /// Takes a batch of each that was woken, in turn, until there is enough or no more.
    fn gather(
        &mut self,
        places: &[Place],
        bytes_max: usize,
        bell: &Arc<Bell>,
        gathered: &mut Gathered,
    ) -> Result<(), Failure> {
        let mut idle = 0;
        while idle < places.len() && gathered.has_room(bytes_max) {
            self.turn = (self.turn + 1) % places.len();
            let partition = places[self.turn].partition;
            let watched = self.open.get_mut(&partition).expect("it was opened above");
            idle += 1;
            if !watched.woken.swap(false, Ordering::AcqRel) {
                continue;
            }
            match watched.poll(bell) {
                Ok(Poll::Pending) => {}
                Ok(Poll::Batch(batch)) => {
                    // There may be another behind it.
                    watched.woken.store(true, Ordering::Release);
                    gathered.add(partition, &batch);
                    idle = 0;
                }
                Err(error) => {
                    // It is met again: whoever asks once more is not told that nothing is there.
                    watched.woken.store(true, Ordering::Release);
                    if gathered.batches.is_empty() {
                        return Err(error.told());
                    }
                    // What stands before it is answered first.
                    break;
                }
            }
        }
        Ok(())
    }
}
