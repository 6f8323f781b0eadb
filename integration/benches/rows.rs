//! Entries read one behind the other over loopback: copied to a new disk, looked over, verified by a
//! recovery, caught up on by a reader. Four bookies, each in a process of its own; three copies.
//!
//! ```text
//! cargo bench -p egret-integration --bench rows -- [--rounds 3] [--entries 20000] [--bytes 1024]
//! ```

#![expect(clippy::print_stdout, reason = "a program that prints figures")]

use std::sync::mpsc::sync_channel;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use clap::Parser;
use egret_integration::cluster::{Cluster, serve_if_asked};
use egret_integration::measure::median;
use egret_log::client::repair::{self, Pace};
use egret_log::client::{LedgerWriter, Ledgers};
use egret_log::clock;
use egret_log::ledger::{CloseAt, LedgerKind};
use egret_log::stream::{ReadFrom, Record, StreamConfig};
use egret_schemas::bookie::Role;
use egret_schemas::{EntryId, LedgerId, Term};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Parser)]
struct Options {
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    #[arg(long, default_value_t = 20_000)]
    entries: u64,
    #[arg(long, default_value_t = 1024)]
    bytes: usize,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// As fast as it goes.
const UNBOUNDED: Pace = Pace { bytes_per_second: u64::MAX };

/// A ledger of so many entries, all acknowledged.
fn written(
    ledgers: &Ledgers,
    kind: LedgerKind,
    options: &Options,
) -> anyhow::Result<(LedgerId, LedgerWriter)> {
    let id = ledgers.reserve()?;
    let writer = ledgers.create(id, kind, Term(1))?;
    let payload = Bytes::from(vec![7u8; options.bytes]);
    let (told, tells) = sync_channel(64);
    for n in 0..options.entries {
        // A window, so that no bookie is overloaded.
        if n >= 64 {
            tells.recv()??;
        }
        let told = told.clone();
        writer.append(payload.clone(), Box::new(move |done| drop(told.send(done))));
    }
    for _ in 0..options.entries.min(64) {
        tells.recv()??;
    }
    Ok((id, writer))
}

fn last(options: &Options) -> EntryId {
    EntryId(options.entries - 1)
}

/// Seconds for the whole copy that went with a disk.
fn copied(options: &Options) -> anyhow::Result<f64> {
    let mut cluster = Cluster::start(4)?;
    let ledgers = cluster.ledgers(Role::Client)?;
    let (id, writer) = written(&ledgers, LedgerKind::Plain, options)?;
    writer.close(Some(last(options)))?;
    let members = ledgers.describe(id)?.last_fragment().1.members().to_vec();
    let lost = usize::try_from(members.first().context("a member")?.bookie.0 - 1)?;
    cluster.kill(lost)?;
    cluster.lose_disk(lost)?;
    cluster.start_bookie(lost)?;
    let ledgers = cluster.ledgers(Role::Bookie)?;
    let began = clock::now();
    let sweep = repair::sweep(&ledgers, UNBOUNDED, |_| true)?;
    let took = began.elapsed();
    ensure!(sweep.failed.is_empty(), "{:?}", sweep.failed);
    let entries: u64 = sweep.made.iter().map(|(_, _, made)| made.entries).sum();
    ensure!(entries == options.entries, "{entries} were copied");
    Ok(took.as_secs_f64())
}

/// Seconds for a recovery that verifies every entry, and for the look over what it did not hear of.
fn verified(options: &Options) -> anyhow::Result<(f64, f64)> {
    let cluster = Cluster::start(3)?;
    let ledgers = cluster.ledgers(Role::Client)?;
    let kind = LedgerKind::Transactional { owner: "rows".to_owned() };
    let (id, _writer) = written(&ledgers, kind, options)?;
    let began = clock::now();
    ledgers.recover(id, Term(2), CloseAt::Entry(Some(last(options))))?;
    let recovery = began.elapsed();
    let ledgers = cluster.ledgers(Role::Bookie)?;
    let lacking = repair::survey(&ledgers)?.0.len();
    let began = clock::now();
    let sweep = repair::sweep(&ledgers, UNBOUNDED, |_| true)?;
    let look = began.elapsed();
    ensure!(sweep.failed.is_empty(), "{:?}", sweep.failed);
    Ok((recovery.as_secs_f64(), look.as_secs_f64() / lacking.max(1) as f64))
}

/// Seconds for a reader from the start into the end.
fn caught_up(options: &Options) -> anyhow::Result<f64> {
    let cluster = Cluster::start(3)?;
    let log = cluster.log()?;
    log.create_stream("rows", StreamConfig { partitions: 1, ..StreamConfig::default() })?;
    let writer = log.writer("rows", 0)?;
    let value = Bytes::from(vec![7u8; options.bytes]);
    std::thread::scope(|scope| -> anyhow::Result<()> {
        let threads: Vec<_> = (0..16)
            .map(|_| {
                let (writer, value) = (writer.clone(), value.clone());
                scope.spawn(move || -> anyhow::Result<()> {
                    for _ in 0..options.entries / 16 {
                        let (key, event_time_ms, sequence) = (None, None, None);
                        let record = Record { key, value: value.clone(), event_time_ms, sequence };
                        writer.append_wait(&[record])?;
                    }
                    Ok(())
                })
            })
            .collect();
        for thread in threads {
            thread.join().map_err(|_| anyhow::anyhow!("a writer panicked"))??;
        }
        Ok(())
    })?;
    let log = cluster.log()?;
    let began = clock::now();
    let mut reader = log.reader("rows", 0, ReadFrom::Earliest)?;
    let mut records = 0;
    while records < options.entries / 16 * 16 {
        let batch = reader.next_wait(Duration::from_secs(10))?.context("records")?;
        records += batch.records.len() as u64;
    }
    Ok(began.elapsed().as_secs_f64())
}

fn main() -> anyhow::Result<()> {
    serve_if_asked();
    let options = Options::parse();
    let (mut copy, mut recovery, mut look, mut read) = (vec![], vec![], vec![], vec![]);
    for _ in 0..options.rounds {
        copy.push(copied(&options)?);
        let (recovered, looked) = verified(&options)?;
        recovery.push(recovered);
        look.push(looked);
        read.push(caught_up(&options)?);
    }
    println!(
        "{} entries of {} bytes; medians of {}",
        options.entries, options.bytes, options.rounds
    );
    println!("| what | entries a second |");
    println!("|---|---|");
    let rate = |what: &str, seconds: Vec<f64>| {
        println!("| {what} | {:.0} |", options.entries as f64 / median(seconds));
    };
    rate("copied to a new disk", copy);
    rate("looked over by repair", look);
    rate("verified by a recovery", recovery);
    rate("caught up on by a reader", read);
    Ok(())
}
