//! What appends: so many outstanding all the time (a closed loop), or at a fixed rate whatever the answers
//! do (an open one).
//!
//! An open loop counts each append from when it was meant to be sent: one that was held up, because the
//! one before it was, took that time too. Otherwise a pause of a second would be a single slow append
//! (coordinated omission).

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::anyhow;
use bytes::Bytes;
use egret_log::clock;
use egret_log::stream::error::AppendError;
use egret_log::stream::{PartitionWriter, Record};

use super::host;
use super::latencies::{Latencies, Row};
use crate::measure::cpu_seconds;

/// Somebody who appends durably, from one thread.
pub trait Producer: Send {
    /// Appends one record of this value and waits until it is durable.
    ///
    /// # Errors
    /// When it is not.
    fn append_wait(&mut self, value: &Bytes) -> anyhow::Result<()>;

    /// Begins to append one, meant to be sent at `meant`.
    ///
    /// # Errors
    /// When that cannot be.
    fn append(&mut self, value: &Bytes, meant: Instant) -> anyhow::Result<()>;

    /// Waits until at most so many are outstanding.
    ///
    /// # Errors
    /// When one failed.
    fn settle(&mut self, outstanding: usize) -> anyhow::Result<()>;

    /// The latencies of those begun.
    fn take_latencies(&mut self) -> Latencies;
}

/// What is known of a producer's appends, shared with the callbacks they are answered by.
#[derive(Debug, Default)]
struct Window {
    state: Mutex<WindowState>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct WindowState {
    outstanding: usize,
    latencies: Latencies,
    failure: Option<AppendError>,
    waits_below: Option<usize>,
    last_durable: Option<Instant>,
    longest_gap: Duration,
}

impl Window {
    fn lock(&self) -> MutexGuard<'_, WindowState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn durable(&self, meant: Instant, result: Result<(), AppendError>) {
        let now = clock::now();
        let mut state = self.lock();
        state.outstanding -= 1;
        match result {
            Ok(()) => {
                state.latencies.add(now.saturating_duration_since(meant));
                let gap = now.saturating_duration_since(state.last_durable.unwrap_or(now));
                state.longest_gap = state.longest_gap.max(gap);
                state.last_durable = Some(now);
            }
            Err(error) => drop(state.failure.get_or_insert(error)),
        }
        if state.waits_below.is_some_and(|below| state.outstanding < below) {
            state.waits_below = None;
            self.changed.notify_one();
        }
    }
}

/// Appends to a partition.
#[derive(Debug)]
pub struct StreamProducer {
    writer: PartitionWriter,
    window: Arc<Window>,
    /// Records of one append.
    at_once: usize,
}

impl StreamProducer {
    /// By a handle of the partition's writer.
    pub fn new(writer: &PartitionWriter) -> StreamProducer {
        StreamProducer { writer: writer.clone(), window: Arc::default(), at_once: 1 }
    }

    /// Each append is of so many records of the value.
    pub fn at_once(self, records: usize) -> StreamProducer {
        StreamProducer { at_once: records, ..self }
    }

    fn records(&self, value: &Bytes) -> Vec<Record> {
        vec![Record::of(value.clone()); self.at_once]
    }

    /// Begins to append all of these as one; [`settle`](Producer::settle) tells when it failed.
    pub fn append_all(&mut self, records: &[Record], meant: Instant) {
        self.window.lock().outstanding += 1;
        let window = Arc::clone(&self.window);
        let done = Box::new(move |result: Result<_, _>| window.durable(meant, result.map(drop)));
        self.writer.append(records, done);
    }

    /// The longest time in which nothing became durable, between two that did.
    pub fn longest_gap(&self) -> Duration {
        self.window.lock().longest_gap
    }
}

impl Producer for StreamProducer {
    fn append_wait(&mut self, value: &Bytes) -> anyhow::Result<()> {
        self.writer.append_wait(&self.records(value))?;
        Ok(())
    }

    fn append(&mut self, value: &Bytes, meant: Instant) -> anyhow::Result<()> {
        self.append_all(&self.records(value), meant);
        Ok(())
    }

    fn settle(&mut self, outstanding: usize) -> anyhow::Result<()> {
        let mut state = self.window.lock();
        while state.outstanding > outstanding {
            state.waits_below = Some(outstanding + 1);
            state = self.window.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.failure.take().map_or(Ok(()), |error| Err(error.into()))
    }

    fn take_latencies(&mut self) -> Latencies {
        std::mem::take(&mut self.window.lock().latencies)
    }
}

/// Keeps `window` appends of each producer outstanding for so long; each producer has a thread.
/// `elsewhere` tells CPU seconds of other processes that take part.
///
/// # Errors
/// When an append fails.
pub fn closed<P: Producer>(
    producers: &mut [P],
    window: usize,
    value: &Bytes,
    time: Duration,
    elsewhere: impl Fn() -> f64,
) -> anyhow::Result<Row> {
    let over = AtomicBool::new(false);
    let (begin, cpu) = (clock::now(), cpu_seconds() + elsewhere());
    let mut all = Latencies::new();
    thread::scope(|scope| {
        let threads: Vec<_> = producers
            .iter_mut()
            .map(|producer| scope.spawn(|| produce(producer, window, value, &over)))
            .collect();
        rest_until(begin + time);
        over.store(true, Ordering::Relaxed);
        for thread in threads {
            all.merge(&thread.join().map_err(|_| anyhow!("a producer panicked"))??);
        }
        anyhow::Ok(())
    })?;
    let cpu = cpu_seconds() + elsewhere() - cpu;
    Ok(all.row(begin.elapsed(), (1, value.len()), cpu))
}

fn produce(
    producer: &mut impl Producer,
    window: usize,
    value: &Bytes,
    over: &AtomicBool,
) -> anyhow::Result<Latencies> {
    if window == 1 {
        let mut latencies = Latencies::new();
        while !over.load(Ordering::Relaxed) {
            let started = clock::now();
            producer.append_wait(value)?;
            latencies.add(started.elapsed());
        }
        return Ok(latencies);
    }
    let mut outstanding = 0;
    while !over.load(Ordering::Relaxed) {
        producer.append(value, clock::now())?;
        outstanding += 1;
        if outstanding == window {
            // Half of them: each wake is then worth a few appends, as for anybody who works in batches.
            producer.settle(window / 2)?;
            outstanding = window / 2;
        }
    }
    producer.settle(0)?;
    Ok(producer.take_latencies())
}

/// Appends `rate` records a second for so long; how many there were. What each says is made by `value` of its number; `half`
/// happens, on a thread of its own, when half of the time is over.
///
/// # Errors
/// When an append fails, or `half` does.
pub fn open(
    producer: &mut StreamProducer,
    rate: f64,
    time: Duration,
    mut value: impl FnMut(u64) -> Bytes,
    half: impl FnOnce() -> anyhow::Result<()> + Send,
) -> anyhow::Result<(u64, Row)> {
    host::wake_on_time();
    let begin = clock::now();
    let mut count = 0;
    thread::scope(|scope| {
        let half = scope.spawn(move || {
            rest_until(begin + time / 2);
            half()
        });
        loop {
            let meant = begin + Duration::from_secs_f64(count as f64 / rate);
            if meant >= begin + time {
                break;
            }
            rest_until(meant);
            producer.append(&value(count), meant)?;
            count += 1;
        }
        producer.settle(0)?;
        half.join().map_err(|_| anyhow!("what was to happen panicked"))?
    })?;
    let row = producer.take_latencies().row(begin.elapsed(), (1, value(0).len()), f64::NAN);
    Ok((count, row))
}

/// Does nothing until then.
pub fn rest_until(then: Instant) {
    loop {
        let left = then.saturating_duration_since(clock::now());
        if left.is_zero() {
            return;
        }
        thread::park_timeout(left);
    }
}

/// A record that says its number, padded to so many bytes.
pub fn numbered(number: u64, bytes: usize) -> Bytes {
    let mut value = number.to_le_bytes().to_vec();
    value.resize(bytes.max(8), 7);
    value.into()
}

/// How many of the numbers below `count` are not among the values.
pub fn missing<'a>(count: u64, values: impl Iterator<Item = &'a Bytes>) -> u64 {
    let number = |value: &Bytes| Some(u64::from_le_bytes(value.get(..8)?.try_into().ok()?));
    let seen: BTreeSet<u64> = values.filter_map(number).filter(|n| *n < count).collect();
    count - seen.len() as u64
}
