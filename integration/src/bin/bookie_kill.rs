//! Bookies in processes of their own under writers and readers, while they are killed (SIGKILL), stand still
//! (SIGSTOP), lose their disks, find bits of them turned over, find them full, and are cut off; and while
//! their metadata store is killed. In the end everything acknowledged is there once, in order, nothing is
//! there that nobody appended, and every copy that was lost is made again.
//!
//! ```text
//! bookie_kill [--kills 30 | --seconds 120] [--seed 1] [--bookies 3] [--writers 4] [--readers 4]
//!             [--etcd] [--cuts] [--full-disk] [--patience 300]
//! bookie_kill --control disks   two disks of three are lost at once: the loss must be found
//! bookie_kill --control flips   every file of every bookie is damaged: that must be found, and nothing served
//! bookie_kill --control cut     one bookie alone acknowledges nothing
//! ```
//! `--etcd` wants a build with `--features etcd`; `--cuts` and `--full-disk` want root, and say so without.

#![expect(clippy::print_stdout, reason = "a program that says how it went")]

use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use clap::{Parser, ValueEnum};
use egret_integration::bookie_kill::deed::{Deeds, Doer};
use egret_integration::bookie_kill::flip::flip;
use egret_integration::bookie_kill::mend::{lacking, mend};
use egret_integration::bookie_kill::numbers::Numbers;
use egret_integration::bookie_kill::wait;
use egret_integration::bookie_kill::watch::Watch;
use egret_integration::cluster::{Cluster, Cut, Parts, serve_if_asked};
use egret_integration::sim::dice::Dice;
use egret_log::clock;

#[derive(Parser)]
struct Options {
    /// Ends after so many kills of bookies.
    #[arg(long)]
    kills: Option<u64>,
    /// Ends after so many seconds.
    #[arg(long)]
    seconds: Option<u64>,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[arg(long, default_value_t = 3)]
    bookies: usize,
    #[arg(long, default_value_t = 4)]
    writers: u32,
    #[arg(long, default_value_t = 4)]
    readers: u32,
    /// Metadata in a real etcd, which is killed as well.
    #[arg(long)]
    etcd: bool,
    /// Bookies in network namespaces, which are cut off.
    #[arg(long)]
    cuts: bool,
    /// A disk for the first bookie that is filled.
    #[arg(long)]
    full_disk: bool,
    /// Seconds that one deed may take before that is a failure.
    #[arg(long, default_value_t = 300)]
    patience: u64,
    /// Does what nothing can survive, and expects that to be found.
    #[arg(long)]
    control: Option<Control>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Control {
    Disks,
    Flips,
    Cut,
}

fn main() -> anyhow::Result<()> {
    serve_if_asked();
    let options = Options::parse();
    let watch = Watch::start(Duration::from_secs(options.patience));
    let parts = Parts {
        etcd: options.etcd,
        namespaces: options.cuts || options.control == Some(Control::Cut),
        small_disk: options.full_disk,
    };
    let mut cluster = Cluster::with(options.bookies, parts)?;
    for without in cluster.without() {
        println!("left out: {without}");
    }
    match options.control {
        Some(Control::Cut) if !cluster.has_namespaces() => Ok(()),
        Some(control) => expect_loss(&options, &mut cluster, control, &watch),
        None => run(&options, &mut cluster, &watch),
    }
}

fn run(options: &Options, cluster: &mut Cluster, watch: &Watch) -> anyhow::Result<()> {
    let mut numbers = Numbers::start(cluster, options.writers, options.readers)?;
    let mut doer = Doer::new(cluster, options.seed);
    let kills = options.kills.unwrap_or(if options.seconds.is_some() { u64::MAX } else { 30 });
    let seconds = Duration::from_secs(options.seconds.unwrap_or(u64::from(u32::MAX)));
    let began = clock::now();
    let (mut said, mut acknowledged) = (began, 0);
    let seed = || format!("seed {}", options.seed);
    while doer.deeds.kills < kills && began.elapsed() < seconds && !numbers.has_failed() {
        if let Err(error) = doer.one(cluster, &numbers, watch) {
            say(&doer.deeds, &numbers, began);
            // What a reader found says more than what came of it.
            numbers.stop().with_context(seed)?;
            return Err(error.context(seed()));
        }
        if said.elapsed() > Duration::from_secs(10) {
            said = clock::now();
            say(&doer.deeds, &numbers, began);
            let now = numbers.sum(|known| &known.numbers);
            if now == acknowledged {
                println!("nothing was acknowledged meanwhile: {:?}", numbers.last_errors());
            }
            acknowledged = now;
        }
    }
    watch.begin("the end of writers and readers");
    numbers.stop().with_context(seed)?;
    watch.begin("the last copies");
    doer.deeds.copies += mend(cluster)?;
    watch.begin("the last look");
    let records = numbers.verify(cluster).with_context(seed)?;
    // Whoever read it last closed what was open, and notes whom it did not hear.
    watch.begin("what the last look noted");
    doer.deeds.copies += mend(cluster)?;
    say(&doer.deeds, &numbers, began);
    println!("the deeds, mending included: {}", doer.took());
    let left = lacking(cluster)?;
    ensure!(left == 0, "{left} copies are lacking after everything was mended");
    println!("{records} records, each acknowledged one there once and in order; every copy made");
    Ok(())
}

/// A run that nothing survives: whoever does not find that finds nothing.
fn expect_loss(
    options: &Options,
    cluster: &mut Cluster,
    control: Control,
    watch: &Watch,
) -> anyhow::Result<()> {
    watch.begin("a control");
    let mut numbers = Numbers::start(cluster, options.writers, options.readers)?;
    wait(Duration::from_secs(2));
    let before = numbers.sum(|known| &known.numbers);
    ensure!(before > 0, "nothing was acknowledged before the control began");
    let found = match control {
        Control::Disks => {
            // Both before either is back: a writer that goes on without the first survives the second.
            for victim in [0, 1] {
                cluster.kill(victim)?;
            }
            wait(Duration::from_millis(500));
            for victim in [0, 1] {
                cluster.lose_disk(victim)?;
                cluster.start_bookie(victim)?;
            }
            wait(Duration::from_millis(500));
            numbers.stop().and_then(|()| numbers.verify(cluster))
        }
        Control::Flips => {
            let stopped = numbers.stop();
            let mut dice = Dice::new(options.seed, "flips");
            for victim in 0..cluster.size() {
                cluster.kill(victim)?;
                flip(&cluster.bookie_dir(victim), 20_000, &mut dice)?;
            }
            // One that does not start has found it.
            let started: anyhow::Result<()> =
                (0..cluster.size()).try_for_each(|victim| cluster.start_bookie(victim));
            stopped.and(started).and_then(|()| numbers.verify(cluster))
        }
        Control::Cut => {
            for victim in 1..cluster.size() {
                cluster.cut(victim, Cut::Both)?;
            }
            // What was under way may have arrived.
            wait(Duration::from_millis(500));
            let cut = numbers.sum(|known| &known.numbers);
            wait(Duration::from_secs(5));
            let more = numbers.sum(|known| &known.numbers) - cut;
            for victim in 1..cluster.size() {
                cluster.heal(victim)?;
            }
            numbers.stop()?;
            ensure!(more == 0, "{more} were acknowledged by one bookie alone");
            println!("control: one bookie alone acknowledged nothing");
            return Ok(());
        }
    };
    match found {
        Err(error) => {
            let error = format!("{error:#}");
            println!("control: it was found: {}", error.lines().next().unwrap_or_default());
            Ok(())
        }
        Ok(_) => {
            bail!("control: what was acknowledged cannot be there and nothing was found missing")
        }
    }
}

fn say(deeds: &Deeds, numbers: &Numbers, began: Instant) {
    println!(
        "{:.0} s: {deeds}; {} acknowledged, {} read, {} appends tried again, the longest {} ms",
        began.elapsed().as_secs_f64(),
        numbers.sum(|k| &k.numbers),
        numbers.sum(|k| &k.read),
        numbers.sum(|k| &k.retries),
        numbers.longest_ms(),
    );
}
