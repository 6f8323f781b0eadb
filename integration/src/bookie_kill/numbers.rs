//! What is written and read: each partition's numbers, from 0 on, each until it is acknowledged. What was
//! acknowledged is remembered here, outside the log.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use egret_log::stream::{Producer, ReadFrom, Record, StreamConfig};
use egret_log::{Log, clock};

use super::wait;
use crate::cluster::Cluster;

const STREAM: &str = "numbers";

/// How long the end of a partition may be quiet before that is all there is.
const QUIET: Duration = Duration::from_millis(500);

/// How long what was acknowledged may take to be readable while everything is written to.
const VISIBLE: Duration = Duration::from_secs(20);

/// A reader begins again at the start when so many records came since it began, and it read them too.
const AGAIN: u64 = 50_000;

/// The least an append takes, resting included: what a run writes is bounded by its time, for a disk that
/// is lost costs all of it again.
const APPEND: Duration = Duration::from_millis(4);

/// What the writer of a partition knows.
#[derive(Debug, Default)]
pub struct Acknowledged {
    /// So many numbers, from 0 on, are acknowledged.
    pub numbers: AtomicU64,
    /// So many were sent.
    sent: AtomicU64,
    /// Appends that had to be tried again.
    pub retries: AtomicU64,
    /// The longest append, in milliseconds.
    pub longest_ms: AtomicU64,
    /// Records that readers have checked.
    pub read: AtomicU64,
    /// Why the last append that failed did.
    last_error: Mutex<String>,
}

type Thread = JoinHandle<anyhow::Result<()>>;

/// Writers, one for each partition, and readers.
#[derive(Debug)]
pub struct Numbers {
    known: Vec<Arc<Acknowledged>>,
    over: Arc<AtomicBool>,
    threads: Vec<Thread>,
}

impl Numbers {
    /// Makes the stream and starts them.
    ///
    /// # Errors
    /// When the stream cannot be made.
    pub fn start(cluster: &Cluster, writers: u32, readers: u32) -> anyhow::Result<Numbers> {
        let log = cluster.log()?;
        let config = StreamConfig {
            partitions: writers,
            segment_bytes_max: 256 << 10,
            ..StreamConfig::default()
        };
        log.create_stream(STREAM, config)?;
        let known: Vec<Arc<Acknowledged>> = (0..writers).map(|_| Arc::default()).collect();
        let over = Arc::new(AtomicBool::new(false));
        let mut threads = Vec::new();
        for (partition, known) in (0..).zip(&known) {
            let (log, known, over) = (log.clone(), Arc::clone(known), Arc::clone(&over));
            threads.push(std::thread::spawn(move || write(&log, partition, &known, &over)));
        }
        for reader in 0..readers {
            let partition = reader % writers;
            let known = Arc::clone(known.get(partition as usize).context("a partition")?);
            let (log, over) = (cluster.log()?, Arc::clone(&over));
            threads.push(std::thread::spawn(move || read(&log, partition, &known, &over)));
        }
        Ok(Numbers { known, over, threads })
    }

    /// Whether a reader found what must not be, or a writer gave up.
    pub fn has_failed(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Ends them.
    ///
    /// # Errors
    /// What a reader found that must not be.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        self.over.store(true, Ordering::Relaxed);
        let ended = |thread: Thread| {
            thread.join().map_err(|_| anyhow::anyhow!("a thread panicked")).and_then(|done| done)
        };
        let all: Vec<anyhow::Result<()>> = self.threads.drain(..).map(ended).collect();
        all.into_iter().collect()
    }

    /// Of all partitions together.
    pub fn sum(&self, of: fn(&Acknowledged) -> &AtomicU64) -> u64 {
        self.known.iter().map(|known| of(known).load(Ordering::Relaxed)).sum()
    }

    /// Why the last append to each partition that failed did: what to look at when nothing is acknowledged
    /// any more.
    pub fn last_errors(&self) -> Vec<String> {
        let of = |known: &Arc<Acknowledged>| {
            known.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
        };
        self.known.iter().map(of).collect()
    }

    /// The longest append, in milliseconds.
    pub fn longest_ms(&self) -> u64 {
        self.known.iter().map(|k| k.longest_ms.load(Ordering::Relaxed)).max().unwrap_or(0)
    }

    /// Reads everything there is now as somebody new, who is no owner: what was acknowledged when this
    /// began is there, once and in order.
    ///
    /// # Errors
    /// When it is not.
    pub fn look(&self, cluster: &Cluster) -> anyhow::Result<u64> {
        self.pass(&cluster.log()?)
    }

    /// The same, as whoever takes everything over: each partition's end is found first.
    ///
    /// # Errors
    /// When something acknowledged is not there once and in order, or something else is.
    pub fn verify(&self, cluster: &Cluster) -> anyhow::Result<u64> {
        let log = cluster.log()?;
        for (partition, _) in (0..).zip(&self.known) {
            log.writer(STREAM, partition)?;
        }
        self.pass(&log)
    }

    fn pass(&self, log: &Log) -> anyhow::Result<u64> {
        let mut records = 0;
        let over = self.over.load(Ordering::Relaxed);
        let patience = if over { QUIET } else { VISIBLE };
        for (partition, known) in (0..).zip(&self.known) {
            let acknowledged = known.numbers.load(Ordering::Acquire);
            let mut reader = log.reader(STREAM, partition, ReadFrom::Earliest)?;
            let mut next = 0;
            while next < acknowledged || over {
                let Some(batch) = reader.next_wait(patience)? else { break };
                next = check(&batch.records, next, known, partition)?;
            }
            ensure!(
                next >= acknowledged,
                "partition {partition}: {acknowledged} were acknowledged, {next} are there"
            );
            records += next;
        }
        Ok(records)
    }
}

fn value(number: u64) -> Bytes {
    Bytes::from(format!("{number:>200}"))
}

fn number(value: &[u8]) -> anyhow::Result<u64> {
    Ok(std::str::from_utf8(value)?.trim().parse()?)
}

/// Appends numbers, each until it is acknowledged; one that may be there already is known by its sequence.
fn write(log: &Log, partition: u32, known: &Acknowledged, over: &AtomicBool) -> anyhow::Result<()> {
    let name = Bytes::from(format!("writer {partition}"));
    while !over.load(Ordering::Relaxed) {
        let first = known.numbers.load(Ordering::Acquire);
        let batch = 1 + first % 5;
        let records: Vec<Record> = (first..first + batch)
            .map(|n| Record { key: None, value: value(n), event_time_ms: None, sequence: Some(n) })
            .collect();
        known.sent.store(first + batch, Ordering::Release);
        let producer = Producer { name: name.clone(), note: Bytes::new() };
        let began = clock::now();
        let appended = log
            .writer(STREAM, partition)
            .map_err(anyhow::Error::from)
            .and_then(|writer| Ok(writer.append_as_wait(&producer, &records)?));
        match appended {
            Ok(_) => {
                let took = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
                known.longest_ms.fetch_max(took, Ordering::Relaxed);
                known.numbers.store(first + batch, Ordering::Release);
                wait(APPEND.saturating_sub(began.elapsed()));
            }
            // Whatever it was: the number is sent again until it is acknowledged.
            Err(error) => {
                known.retries.fetch_add(1, Ordering::Relaxed);
                *known.last_error.lock().unwrap_or_else(PoisonError::into_inner) =
                    format!("{error:#}");
                wait(Duration::from_millis(20));
            }
        }
    }
    Ok(())
}

/// Reads a partition from its start, again and again into its live end: every number once, in order, none
/// that was not sent.
fn read(log: &Log, partition: u32, known: &Acknowledged, over: &AtomicBool) -> anyhow::Result<()> {
    let (mut next, mut until, mut reader) = (0, 0, None);
    while !over.load(Ordering::Relaxed) {
        let position = match &mut reader {
            Some(reader) => reader,
            none => match log.reader(STREAM, partition, ReadFrom::Earliest) {
                Ok(opened) => {
                    next = 0;
                    until = known.numbers.load(Ordering::Acquire) + AGAIN;
                    none.insert(opened)
                }
                Err(_) => {
                    wait(Duration::from_millis(20));
                    continue;
                }
            },
        };
        match position.next_wait(Duration::from_millis(200)) {
            Ok(Some(batch)) => {
                let before = next;
                next = check(&batch.records, next, known, partition)?;
                known.read.fetch_add(next - before, Ordering::Relaxed);
                if next >= until {
                    reader = None;
                }
            }
            Ok(None) => {}
            // Too few bookies answered: the same again.
            Err(_) => reader = None,
        }
    }
    Ok(())
}

fn check(
    records: &[Record],
    mut next: u64,
    known: &Acknowledged,
    partition: u32,
) -> anyhow::Result<u64> {
    for record in records {
        let found = number(&record.value)?;
        ensure!(found == next, "partition {partition}: {found} where {next} was to come");
        let sent = known.sent.load(Ordering::Acquire);
        ensure!(found < sent, "partition {partition}: {found} was never sent, {sent} were");
        next += 1;
    }
    Ok(next)
}
