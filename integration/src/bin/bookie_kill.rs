//! Three bookies in processes of their own under writers and readers, while they are killed (SIGKILL), stand
//! still (SIGSTOP), and lose their disks. In the end everything acknowledged is there once, in order,
//! nothing is there that nobody appended, and every copy that was lost is made again.
//!
//! ```text
//! bookie_kill [--kills 30 | --seconds 120] [--seed 1] [--writers 4] [--readers 4]
//! bookie_kill --control        two disks of three are lost at once: the loss must be found
//! ```
//! What was acknowledged is remembered here, outside the log.

#![expect(clippy::print_stdout, reason = "a program that says how it went")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use bytes::Bytes;
use clap::Parser;
use egret_integration::cluster::{Cluster, serve_if_asked};
use egret_log::client::repair::{self, Pace};
use egret_log::stream::{Producer, ReadFrom, Record, StreamConfig};
use egret_log::{Log, clock};
use egret_schemas::bookie::Role;

#[derive(Parser)]
struct Options {
    /// Ends after so many kills and stops.
    #[arg(long)]
    kills: Option<u64>,
    /// Ends after so many seconds.
    #[arg(long)]
    seconds: Option<u64>,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[arg(long, default_value_t = 4)]
    writers: u32,
    #[arg(long, default_value_t = 4)]
    readers: u32,
    /// Loses two disks at once, which nothing can survive, and expects that to be found.
    #[arg(long)]
    control: bool,
}

const STREAM: &str = "numbers";

/// A small generator (splitmix64): a seed is a whole schedule.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ z >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ z >> 31) % sides
    }
}

/// What the writer of a partition knows, outside the log.
#[derive(Debug, Default)]
struct Acknowledged {
    /// So many numbers, from 0 on, are acknowledged.
    numbers: AtomicU64,
    /// So many were sent.
    sent: AtomicU64,
    /// Appends that had to be tried again.
    retries: AtomicU64,
    /// The longest append, in milliseconds.
    longest_ms: AtomicU64,
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
            }
            // Whatever it was: the number is sent again until it is acknowledged.
            Err(_) => {
                known.retries.fetch_add(1, Ordering::Relaxed);
                std::thread::park_timeout(Duration::from_millis(20));
            }
        }
    }
    Ok(())
}

/// Reads a partition from its start, again and again into its live end: every number once, in order, none
/// that was not sent.
fn read(log: &Log, partition: u32, known: &Acknowledged, over: &AtomicBool) -> anyhow::Result<u64> {
    let mut next = 0;
    let mut reader = None;
    while !over.load(Ordering::Relaxed) {
        let position = match &mut reader {
            Some(reader) => reader,
            none => match log.reader(STREAM, partition, ReadFrom::Earliest) {
                Ok(opened) => {
                    next = 0;
                    none.insert(opened)
                }
                Err(_) => {
                    std::thread::park_timeout(Duration::from_millis(20));
                    continue;
                }
            },
        };
        match position.next_wait(Duration::from_millis(200)) {
            Ok(Some(batch)) => next = check(&batch.records, next, known, partition)?,
            Ok(None) => {}
            // Too few bookies answered: the same again.
            Err(_) => reader = None,
        }
    }
    Ok(next)
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

/// Reads everything once more as somebody new.
fn verify(cluster: &Cluster, known: &[Arc<Acknowledged>]) -> anyhow::Result<u64> {
    let log = cluster.log()?;
    let mut records = 0;
    for (partition, known) in (0..).zip(known) {
        // Whoever opens it finds its end.
        log.writer(STREAM, partition)?;
        let mut reader = log.reader(STREAM, partition, ReadFrom::Earliest)?;
        let mut next = 0;
        while let Some(batch) = reader.next_wait(Duration::from_millis(300))? {
            next = check(&batch.records, next, known, partition)?;
        }
        let acknowledged = known.numbers.load(Ordering::Acquire);
        ensure!(
            next >= acknowledged,
            "partition {partition}: {acknowledged} were acknowledged, {next} are there"
        );
        records += next;
    }
    Ok(records)
}

fn wait(time: Duration) {
    let until = clock::now() + time;
    while let Some(left) = until.checked_duration_since(clock::now()) {
        std::thread::park_timeout(left);
    }
}

/// What happened to the bookies.
#[derive(Debug, Default)]
struct Deeds {
    kills: u64,
    stops: u64,
    disks: u64,
    copies: u64,
}

fn mend(cluster: &Cluster) -> anyhow::Result<u64> {
    let ledgers = cluster.ledgers(Role::Bookie)?;
    let pace = Pace { bytes_per_second: 1 << 30 };
    let mut copies = 0;
    let until = clock::now() + Duration::from_secs(60);
    loop {
        let sweep = repair::sweep(&ledgers, pace, |_| true)?;
        copies += sweep.made.len() as u64;
        if sweep.failed.is_empty() && sweep.unread.is_empty() {
            return Ok(copies);
        }
        if clock::now() >= until {
            bail!("copies are still lacking: {:?}", sweep.failed.first());
        }
        wait(Duration::from_millis(200));
    }
}

fn one_deed(cluster: &mut Cluster, dice: &mut Dice, deeds: &mut Deeds) -> anyhow::Result<()> {
    let victim = usize::try_from(dice.roll(cluster.size() as u64))?;
    match dice.roll(10) {
        0..6 => {
            cluster.kill(victim)?;
            deeds.kills += 1;
            wait(Duration::from_millis(dice.roll(600)));
            cluster.start_bookie(victim)?;
        }
        6..9 => {
            cluster.pause(victim, true)?;
            deeds.stops += 1;
            wait(Duration::from_millis(100 + dice.roll(2_000)));
            cluster.pause(victim, false)?;
        }
        _ => {
            // Another disk may go only when what went with this one was made again.
            deeds.copies += mend(cluster)?;
            cluster.kill(victim)?;
            cluster.lose_disk(victim)?;
            deeds.kills += 1;
            deeds.disks += 1;
            wait(Duration::from_millis(dice.roll(300)));
            cluster.start_bookie(victim)?;
            deeds.copies += mend(cluster)?;
        }
    }
    wait(Duration::from_millis(50 + dice.roll(400)));
    Ok(())
}

type Thread<T> = JoinHandle<anyhow::Result<T>>;

fn join<T>(threads: Vec<Thread<T>>) -> anyhow::Result<Vec<T>> {
    let ended = |thread: Thread<T>| {
        thread.join().map_err(|_| anyhow::anyhow!("a thread panicked")).and_then(|done| done)
    };
    threads.into_iter().map(ended).collect()
}

fn main() -> anyhow::Result<()> {
    serve_if_asked();
    let options = Options::parse();
    let mut cluster = Cluster::start(if options.control { 3 } else { 4 })?;
    let log = cluster.log()?;
    let config = StreamConfig {
        partitions: options.writers,
        segment_bytes_max: 256 << 10,
        ..StreamConfig::default()
    };
    log.create_stream(STREAM, config)?;
    let known: Vec<Arc<Acknowledged>> = (0..options.writers).map(|_| Arc::default()).collect();
    let over = Arc::new(AtomicBool::new(false));
    let (mut writers, mut readers) = (Vec::new(), Vec::new());
    for (partition, known) in (0..).zip(&known) {
        let (log, known, over) = (log.clone(), Arc::clone(known), Arc::clone(&over));
        writers.push(std::thread::spawn(move || write(&log, partition, &known, &over)));
    }
    for reader in 0..options.readers {
        let partition = reader % options.writers;
        let known = Arc::clone(known.get(partition as usize).context("a partition")?);
        let (log, over) = (cluster.log()?, Arc::clone(&over));
        readers.push(std::thread::spawn(move || read(&log, partition, &known, &over)));
    }
    let mut dice = Dice(options.seed);
    let mut deeds = Deeds::default();
    let began = clock::now();
    let mut said = began;
    if options.control {
        wait(Duration::from_secs(2));
        for victim in [0, 1] {
            cluster.kill(victim)?;
            cluster.lose_disk(victim)?;
            cluster.start_bookie(victim)?;
        }
        wait(Duration::from_millis(500));
    } else {
        let kills = options.kills.unwrap_or(if options.seconds.is_some() { u64::MAX } else { 30 });
        let seconds = Duration::from_secs(options.seconds.unwrap_or(u64::MAX / 2));
        while deeds.kills + deeds.stops < kills && began.elapsed() < seconds {
            if let Err(error) = one_deed(&mut cluster, &mut dice, &mut deeds) {
                over.store(true, Ordering::Relaxed);
                return Err(error.context(format!("after {deeds:?}, seed {}", options.seed)));
            }
            if said.elapsed() > Duration::from_secs(5) {
                said = clock::now();
                say(&deeds, &known, began);
            }
        }
    }
    over.store(true, Ordering::Relaxed);
    let written = join(writers);
    let read = join(readers);
    drop(log);
    let verified = written
        .and(read)
        .and_then(|_| if options.control { Ok(0) } else { mend(&cluster) })
        .and_then(|copies| {
            deeds.copies += copies;
            verify(&cluster, &known)
        });
    say(&deeds, &known, began);
    if options.control {
        return match verified {
            Err(error) => {
                println!("control: the loss was found: {error:#}");
                Ok(())
            }
            Ok(_) => bail!("control: two of three disks were lost and nothing was found missing"),
        };
    }
    let records = verified.with_context(|| format!("seed {}", options.seed))?;
    // Whoever read it last closed what was open, and notes whom it did not hear.
    mend(&cluster)?;
    let left = repair::survey(&cluster.ledgers(Role::Bookie)?)?.0.len();
    ensure!(left == 0, "{left} copies are lacking after everything was mended");
    println!("{records} records, each acknowledged one there once and in order; every copy made");
    Ok(())
}

fn say(deeds: &Deeds, known: &[Arc<Acknowledged>], began: Instant) {
    let sum = |of: fn(&Acknowledged) -> &AtomicU64| -> u64 {
        known.iter().map(|known| of(known).load(Ordering::Relaxed)).sum()
    };
    let longest = known.iter().map(|k| k.longest_ms.load(Ordering::Relaxed)).max().unwrap_or(0);
    println!(
        "{:.0} s: {} kills, {} stops, {} disks lost, {} copies made; {} acknowledged, {} appends tried \
         again, the longest {longest} ms",
        began.elapsed().as_secs_f64(),
        deeds.kills,
        deeds.stops,
        deeds.disks,
        deeds.copies,
        sum(|k| &k.numbers),
        sum(|k| &k.retries),
    );
}
