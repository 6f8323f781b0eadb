//! What is done to the bookies, the store and the network while numbers are written and read. A seed is a
//! whole schedule. One deed ends before the next begins, and what no quorum survives is never done: a
//! second disk goes only when every copy that went with the first was made again.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use anyhow::{Context, ensure};
use egret_log::message::{Reply, Request, Transport, Unknown, entry_crc};
use egret_log::{caps, clock};
use egret_schemas::bookie::Role;
use egret_schemas::{EntryId, Incarnation, LedgerId, Term};

use super::flip::flip;
use super::mend::{mend, on_whole_disks};
use super::numbers::Numbers;
use super::wait;
use super::watch::Watch;
use crate::cluster::{Cluster, Cut};
use crate::sim::dice::Dice;

/// Places of a bookie's files in which a bit is turned over at once.
const FLIPS: u64 = 200;

/// What can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Deed {
    Kill,
    Stop,
    LoseDisk,
    FlipBits,
    FillDisk,
    Cut,
    KillEtcd,
}

/// Each with how often, of all that are possible.
const WEIGHTS: [(Deed, u64); 7] = [
    (Deed::Kill, 60),
    (Deed::Stop, 20),
    (Deed::LoseDisk, 5),
    (Deed::FlipBits, 3),
    (Deed::FillDisk, 3),
    (Deed::Cut, 10),
    (Deed::KillEtcd, 6),
];

/// What was done, and what came of it.
#[derive(Debug, Default, Clone, Copy)]
pub struct Deeds {
    /// Bookies killed with SIGKILL.
    pub kills: u64,
    /// Bookies that stood still.
    pub stops: u64,
    /// Disks lost.
    pub disks: u64,
    /// Bits turned over.
    pub flips: u64,
    /// Entries and ledgers of which a bookie with such files says that it may have lost them.
    pub damaged: u64,
    /// Bookies that would not start on such files.
    pub refused: u64,
    /// Disks filled.
    pub full: u64,
    /// Ledgers and entries that a bookie refused for want of space.
    pub turned_away: u64,
    /// Bookies cut off.
    pub cuts: u64,
    /// Kills of etcd.
    pub etcd: u64,
    /// Copies made.
    pub copies: u64,
}

impl fmt::Display for Deeds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Deeds { kills, stops, disks, flips, damaged, refused, .. } = self;
        let Deeds { full, turned_away, cuts, etcd, copies, .. } = self;
        write!(
            f,
            "{kills} kills, {stops} stops, {cuts} cuts, {etcd} kills of etcd, {disks} disks lost, \
             {full} full (turned away {turned_away} times), {flips} bits flipped (found {damaged} \
             times, {refused} would not start), {copies} copies made"
        )
    }
}

/// Does one deed after the other.
#[derive(Debug)]
pub struct Doer {
    dice: Dice,
    possible: Vec<(Deed, u64)>,
    /// How often each was done, and how long all of them took.
    took: BTreeMap<Deed, (u64, Duration)>,
    /// What was done.
    pub deeds: Deeds,
}

impl Doer {
    /// The schedule of a seed, of what this cluster has.
    pub fn new(cluster: &Cluster, seed: u64) -> Doer {
        let possible = |&(deed, _): &(Deed, u64)| match deed {
            Deed::Kill | Deed::Stop | Deed::LoseDisk | Deed::FlipBits => true,
            Deed::FillDisk => cluster.has_small_disk(),
            Deed::Cut => cluster.has_namespaces(),
            Deed::KillEtcd => cluster.has_etcd(),
        };
        let possible = WEIGHTS.into_iter().filter(possible).collect();
        let (dice, took) = (Dice::new(seed, "deeds"), BTreeMap::new());
        Doer { dice, possible, took, deeds: Deeds::default() }
    }

    /// Where the time went.
    pub fn took(&self) -> String {
        let all = self.took.iter().map(|(deed, (times, took))| {
            format!("{deed:?} {times} in {:.0} s", took.as_secs_f64())
        });
        all.collect::<Vec<String>>().join(", ")
    }

    /// The next one.
    ///
    /// # Errors
    /// When something does not come back, or what was acknowledged is not there.
    pub fn one(
        &mut self,
        cluster: &mut Cluster,
        numbers: &Numbers,
        watch: &Watch,
    ) -> anyhow::Result<()> {
        let victim = self.dice.pick(cluster.size());
        let mut at = self.dice.roll(self.possible.iter().map(|(_, weight)| weight).sum());
        let drawn = self.possible.iter().find(|(_, weight)| {
            let here = at < *weight;
            at = at.wrapping_sub(*weight);
            here
        });
        let deed = drawn.context("below their sum")?.0;
        watch.begin(format!("{deed:?} of bookie {}", victim + 1));
        let began = clock::now();
        match deed {
            Deed::Kill => self.kill(cluster, victim, 600)?,
            Deed::Stop => {
                cluster.pause(victim, true)?;
                self.deeds.stops += 1;
                wait(Duration::from_millis(100 + self.dice.roll(2_000)));
                cluster.pause(victim, false)?;
            }
            Deed::LoseDisk => {
                self.deeds.copies += mend(cluster)?;
                if on_whole_disks(cluster)? {
                    self.lose_disk(cluster, victim)?;
                }
            }
            Deed::FlipBits => self.flip_bits(cluster, victim, numbers)?,
            Deed::FillDisk => self.fill_disk(cluster)?,
            Deed::Cut => {
                let cut = [Cut::To, Cut::From, Cut::Both][self.dice.pick(3)];
                cluster.cut(victim, cut)?;
                self.deeds.cuts += 1;
                wait(Duration::from_millis(100 + self.dice.roll(4_000)));
                cluster.heal(victim)?;
            }
            Deed::KillEtcd => {
                cluster.kill_etcd()?;
                self.deeds.etcd += 1;
                wait(Duration::from_millis(self.dice.roll(2_000)));
                cluster.restart_etcd()?;
            }
        }
        let (times, took) = self.took.entry(deed).or_default();
        (*times, *took) = (*times + 1, *took + began.elapsed());
        wait(Duration::from_millis(50 + self.dice.roll(400)));
        Ok(())
    }

    fn kill(&mut self, cluster: &mut Cluster, victim: usize, down_ms: u64) -> anyhow::Result<()> {
        cluster.kill(victim)?;
        self.deeds.kills += 1;
        wait(Duration::from_millis(self.dice.roll(down_ms)));
        cluster.start_bookie(victim)
    }

    fn lose_disk(&mut self, cluster: &mut Cluster, victim: usize) -> anyhow::Result<()> {
        cluster.kill(victim)?;
        self.deeds.kills += 1;
        self.replace_disk(cluster, victim)
    }

    /// A new disk for a bookie that is down, and everything that was on the old one.
    fn replace_disk(&mut self, cluster: &mut Cluster, victim: usize) -> anyhow::Result<()> {
        cluster.lose_disk(victim)?;
        self.deeds.disks += 1;
        wait(Duration::from_millis(self.dice.roll(300)));
        cluster.start_bookie(victim)?;
        self.deeds.copies += mend(cluster)?;
        Ok(())
    }

    /// A bookie whose files are damaged serves no wrong entry, whatever it finds. Its disk is replaced then.
    fn flip_bits(
        &mut self,
        cluster: &mut Cluster,
        victim: usize,
        numbers: &Numbers,
    ) -> anyhow::Result<()> {
        self.deeds.copies += mend(cluster)?;
        if !on_whole_disks(cluster)? {
            return Ok(());
        }
        cluster.kill(victim)?;
        self.deeds.kills += 1;
        self.deeds.flips += flip(&cluster.bookie_dir(victim), FLIPS, &mut self.dice)?;
        if cluster.start_bookie(victim).is_ok() {
            self.deeds.damaged += damaged(cluster, victim)?;
            numbers.look(cluster)?;
            cluster.kill(victim)?;
            self.deeds.kills += 1;
        } else {
            self.deeds.refused += 1;
        }
        self.replace_disk(cluster, victim)
    }

    /// The first bookie's disk has less space than it keeps free, or none at all; then it has again. One
    /// that stopped over it is started again.
    fn fill_disk(&mut self, cluster: &mut Cluster) -> anyhow::Result<()> {
        let leave = [0, caps::DISK_RESERVE_BYTES / 2, caps::DISK_LOW_BYTES - (8 << 20)];
        cluster.fill_disk(leave[self.dice.pick(leave.len())])?;
        self.deeds.full += 1;
        wait(Duration::from_millis(500 + self.dice.roll(3_000)));
        let ledgers = cluster.ledgers(Role::Client)?;
        let (way, member) = cluster.way(&ledgers, 0)?;
        let create = Request::Create {
            ledger: ledgers.reserve()?,
            term: Term(1),
            transactional: false,
            replicated: true,
        };
        if let Reply::Refused(_) | Reply::Unknown(_) = way.call(member.incarnation, create) {
            self.deeds.turned_away += 1;
        }
        cluster.free_disk()?;
        self.kill(cluster, 0, 100)
    }
}

/// How often a bookie says that an entry is damaged, or that it may have lost what follows, asked for
/// everything it may have.
fn damaged(cluster: &Cluster, index: usize) -> anyhow::Result<u64> {
    let ledgers = cluster.ledgers(Role::Client)?;
    let (way, member) = cluster.way(&ledgers, index)?;
    let mut damaged = 0;
    for ledger in ledgers.list()? {
        let mut from = EntryId(0);
        while let Some(next) = behind(&*way, member.incarnation, ledger, from, &mut damaged)? {
            from = next;
        }
    }
    Ok(damaged)
}

/// Asks for a row, and says where the next begins; `None` when there is none.
fn behind(
    way: &dyn Transport,
    to: Incarnation,
    ledger: LedgerId,
    from: EntryId,
    damaged: &mut u64,
) -> anyhow::Result<Option<EntryId>> {
    let (entries_max, bytes_max) = (caps::WIRE_ENTRIES_MAX, caps::REPAIR_LOOK_BYTES_MAX);
    match way.call(to, Request::ReadRange { ledger, from, entries_max, bytes_max }) {
        Reply::Entries { entries, .. } => {
            for found in &entries {
                let crc = entry_crc(ledger, found.entry, &found.payload);
                ensure!(crc == found.crc, "{ledger}:{} was served damaged", found.entry);
            }
            Ok(entries.last().map(|found| found.entry.next()))
        }
        Reply::Unknown(Unknown::Damaged { .. }) => {
            *damaged += 1;
            Ok(Some(from.next()))
        }
        Reply::Unknown(Unknown::Limbo) => {
            *damaged += 1;
            Ok(None)
        }
        _ => Ok(None),
    }
}
