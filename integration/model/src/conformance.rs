//! A shipping bookie, on a disk that fails, beside what a bookie promises: random requests go to both and
//! must be answered alike, across power cuts, damage and restarts.
//!
//! A request that a power cut or a failed sync interrupted may have been done or not. Both are kept in
//! mind, and what the bookie answers afterwards says which it was: it must be one of them, and stay it.
//! Damage may turn an answer into one that proves nothing, never into another.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use egret_log::bookie::{Bookie, BookieConfig, OpenError};
use egret_log::disk::FaultyDisk;
use egret_log::message::{RangeEntry, Reply, Request, Transport, Unknown, entry_crc};
use egret_schemas::{EntryId, Incarnation, LedgerId, Term};

use crate::contract::LedgerContract;
use crate::dice::Dice;

const STEPS: usize = 60;
const LEDGERS: u64 = 3;
const ENTRIES: u64 = 4;
/// Above the first writer's, which is 1.
const TERMS: u64 = 4;
/// A request makes fewer operations of the disk than this, a checkpoint that comes with it included.
const OPERATIONS_MAX: u64 = 12;

/// All ledgers of one bookie, as its contract has them.
type Contracts = BTreeMap<LedgerId, LedgerContract>;

struct Walk {
    dice: Dice,
    disk: FaultyDisk,
    bookie: Option<Bookie>,
    /// What it may hold: more than one after a request that was interrupted.
    may_be: Vec<Contracts>,
    /// The highest anyone said readers may see.
    told: BTreeMap<LedgerId, EntryId>,
    damaged: bool,
    log: Vec<String>,
}

/// What a bookie did that its contract does not allow.
#[derive(Debug, Clone)]
pub struct Strayed {
    /// In words.
    pub what: String,
    /// What was asked up to then.
    pub log: Vec<String>,
}

/// Goes through the life of a seed.
pub fn walk(seed: u64) -> Result<(), Strayed> {
    let disk = FaultyDisk::new();
    let mut walk = Walk {
        dice: Dice::new(seed),
        disk,
        bookie: None,
        may_be: vec![Contracts::new()],
        told: BTreeMap::new(),
        damaged: false,
        log: Vec::new(),
    };
    match walk.live() {
        Ok(()) => Ok(()),
        Err(what) => Err(Strayed { what, log: walk.log }),
    }
}

fn config() -> BookieConfig {
    BookieConfig {
        journal_file_bytes: 32 << 10,
        write_cache_bytes: 4 << 10,
        disk_reserve_bytes: 64 << 10,
        background: false,
        ..BookieConfig::default()
    }
}

impl Walk {
    fn live(&mut self) -> Result<(), String> {
        self.open()?;
        for _ in 0..STEPS {
            if self.bookie.is_none() {
                return Ok(());
            }
            self.step()?;
        }
        self.power_cut()?;
        self.read_everything()
    }

    fn step(&mut self) -> Result<(), String> {
        match self.dice.roll(100) {
            0..72 => {
                let request = self.request();
                self.ask(request)
            }
            72..80 => {
                let after = self.disk.operations() + self.dice.roll(OPERATIONS_MAX);
                self.disk.crash_after(after);
                if self.dice.percent(30) {
                    self.checkpoint();
                } else {
                    let request = self.request();
                    self.ask(request)?;
                }
                self.power_cut()
            }
            80..86 => {
                self.checkpoint();
                Ok(())
            }
            86..90 => self.power_cut(),
            90..93 => {
                self.log.push("the process dies".to_owned());
                self.bookie = None;
                self.open()
            }
            93..95 => {
                self.log.push("the next sync fails".to_owned());
                self.disk.fail_next_sync();
                let request = self.request();
                self.ask(request)?;
                self.power_cut()
            }
            95..97 => {
                self.damage();
                Ok(())
            }
            _ => self.read_everything(),
        }
    }

    fn open(&mut self) -> Result<(), String> {
        match Bookie::open(Arc::new(self.disk.clone()), Path::new("/b"), config()) {
            Ok(bookie) => self.bookie = Some(bookie),
            // It says so and serves nothing: the end of this life.
            Err(OpenError::Damaged { .. }) if self.damaged => self.bookie = None,
            Err(error) => return Err(format!("it does not start: {error}")),
        }
        Ok(())
    }

    fn power_cut(&mut self) -> Result<(), String> {
        let seed = self.dice.roll(1 << 20);
        self.log.push(format!("power cut {seed}"));
        self.bookie = None;
        self.disk = self.disk.reboot(seed);
        self.open()
    }

    fn checkpoint(&mut self) {
        self.log.push("checkpoint".to_owned());
        if let Some(bookie) = &self.bookie {
            // Nothing acknowledged is lost by one that could not be finished.
            let _ = bookie.checkpoint();
        }
    }

    /// Flips a bit of an extent. What one copy cannot tell of a journal is another matter.
    fn damage(&mut self) {
        let extents: Vec<(PathBuf, u64)> = self
            .disk
            .files()
            .into_iter()
            .filter(|(path, len)| path.starts_with("/b/extents") && *len > 0)
            .collect();
        if extents.is_empty() {
            return;
        }
        let (path, len) = &extents[self.dice.pick(extents.len())];
        let (at, bit) = (self.dice.roll(*len), self.dice.roll(8));
        self.log.push(format!("bit {bit} of byte {at} of {} flips", path.display()));
        self.disk.flip(path, at, 1 << bit);
        self.damaged = true;
    }

    fn request(&mut self) -> Request {
        let ledger = LedgerId(1 + self.dice.roll(LEDGERS));
        let entry = EntryId(self.dice.roll(ENTRIES));
        let term = Term(1 + self.dice.roll(TERMS));
        // Most requests are of the first writer, or nothing would ever be stored.
        let writer = if self.dice.percent(70) { Term(1) } else { term };
        match self.dice.roll(100) {
            0..12 => {
                let (transactional, replicated) = (false, false);
                Request::Create { ledger, term: writer, transactional, replicated }
            }
            12..55 => {
                let payload = self.payload(entry);
                let mut crc = entry_crc(ledger, entry, &payload);
                if self.dice.percent(5) {
                    crc ^= 1;
                }
                let (term, lac) = (writer, entry.before());
                // A copy takes the place of a damaged entry unseen; whoever sends one has the bytes
                // from another bookie, and here there is none.
                let copy = self.dice.percent(10) && !self.damaged;
                Request::Add { ledger, entry, term, lac, crc, copy, payload }
            }
            55..65 => Request::Read { ledger, entry, fence: None },
            65..77 => Request::Read { ledger, entry, fence: Some(term) },
            77..85 => Request::Fence { ledger, term },
            85..90 => Request::WriteLac { ledger, term: writer, lac: entry },
            90..94 => Request::ReadLac { ledger },
            94..97 => {
                let (entries_max, bytes_max) = (3, 4000);
                Request::ReadRange { ledger, from: entry, entries_max, bytes_max }
            }
            _ => Request::Delete { ledger },
        }
    }

    /// An entry's bytes: mostly the same, sometimes others.
    fn payload(&mut self, entry: EntryId) -> Bytes {
        let byte = if self.dice.percent(90) { b'a' } else { b'b' };
        let bytes = [20, 300, 2000, 5000][usize::try_from(entry.0 % 4).expect("below 4")];
        Bytes::from(vec![byte; bytes])
    }

    fn ask(&mut self, request: Request) -> Result<(), String> {
        let Some(bookie) = &self.bookie else { return Ok(()) };
        let own = bookie.incarnation();
        let stranger = self.dice.percent(4);
        let to = if stranger { Incarnation(own.0 ^ 1) } else { own };
        let reply = bookie.call(to, request.clone());
        self.log.push(format!("{} → {}", brief(&request), brief(&reply)));
        if stranger {
            return match reply {
                Reply::Unknown(Unknown::Incarnation { .. }) => Ok(()),
                other => Err(format!("asked as another life of it, it answers {}", brief(&other))),
            };
        }
        self.judge(&request, reply)
    }

    fn judge(&mut self, request: &Request, reply: Reply) -> Result<(), String> {
        let ledger = request.ledger().expect("every request here is about a ledger");
        if let Request::Add { lac: Some(lac), .. } | Request::WriteLac { lac, .. } = request {
            let told = self.told.entry(ledger).or_default();
            *told = (*told).max(*lac);
        }
        if let Reply::Unknown(why) = &reply {
            return self.in_doubt(request, why);
        }
        let lac = match &reply {
            Reply::Entry { lac, .. } | Reply::Entries { lac, .. } | Reply::NoEntry { lac } => *lac,
            Reply::Fenced { lac, .. } | Reply::Lac { lac, .. } => *lac,
            Reply::Done | Reply::Refused(_) | Reply::Unknown(_) => None,
        };
        if lac > self.told.get(&ledger).copied() {
            return Err(format!("{} tells readers of what nobody told it", brief(&reply)));
        }
        let mut expected = None;
        self.may_be.retain_mut(|contracts| {
            let due = contracts.entry(ledger).or_default().answer(request);
            let fits = alike(&due, &reply);
            if !fits {
                expected = Some(brief(&due));
            }
            fits
        });
        if self.may_be.is_empty() {
            let expected = expected.unwrap_or_default();
            return Err(format!(
                "{} is answered {}, not {expected}",
                brief(request),
                brief(&reply)
            ));
        }
        self.may_be.dedup();
        Ok(())
    }

    /// It was done or not.
    fn in_doubt(&mut self, request: &Request, why: &Unknown) -> Result<(), String> {
        if matches!(why, Unknown::Damaged { .. }) && !self.damaged {
            return Err(format!("{why}, and nothing was damaged"));
        }
        let ledger = request.ledger().expect("every request here is about a ledger");
        let mut done = self.may_be.clone();
        for contracts in &mut done {
            contracts.entry(ledger).or_default().answer(request);
        }
        for contracts in done {
            if !self.may_be.contains(&contracts) {
                self.may_be.push(contracts);
            }
        }
        Ok(())
    }

    fn read_everything(&mut self) -> Result<(), String> {
        for ledger in (1..=LEDGERS).map(LedgerId) {
            for entry in (0..ENTRIES).map(EntryId) {
                let request = Request::Read { ledger, entry, fence: None };
                let Some(bookie) = &self.bookie else { return Ok(()) };
                let reply = bookie.call(bookie.incarnation(), request.clone());
                self.judge(&request, reply)?;
            }
            // The lowest term that is refused tells the term.
            for term in (1..TERMS).rev().map(Term) {
                let known = self.may_be.iter().all(|contracts| {
                    contracts.get(&ledger).is_some_and(|held| held.term > term && !held.deleted)
                });
                let Some(bookie) = self.bookie.as_ref().filter(|_| known) else { continue };
                let request = Request::Fence { ledger, term };
                let reply = bookie.call(bookie.incarnation(), request.clone());
                self.judge(&request, reply)?;
            }
        }
        Ok(())
    }
}

/// The same answer, what readers may see and the last entry apart: those may lag.
fn alike(due: &Reply, given: &Reply) -> bool {
    match (due, given) {
        (
            Reply::Entry { entry, crc, payload, .. },
            Reply::Entry { entry: e, crc: c, payload: p, .. },
        ) => (entry, crc, payload) == (e, c, p),
        (Reply::Entries { entries: due, .. }, Reply::Entries { entries: given, .. }) => {
            let same = |(due, given): (&RangeEntry, &RangeEntry)| {
                (due.entry, due.crc, &due.payload) == (given.entry, given.crc, &given.payload)
            };
            !given.is_empty() && given.len() <= due.len() && due.iter().zip(given).all(same)
        }
        (Reply::NoEntry { .. }, Reply::NoEntry { .. })
        | (Reply::Fenced { .. }, Reply::Fenced { .. })
        | (Reply::Lac { .. }, Reply::Lac { .. })
        | (Reply::Done, Reply::Done) => true,
        (Reply::Refused(due), Reply::Refused(given)) => due == given,
        _ => false,
    }
}

/// With long payloads cut off.
fn brief(what: &impl std::fmt::Debug) -> String {
    let mut text = format!("{what:?}");
    if let Some(at) = text.find("payload: b\"") {
        let end = (at + 20).min(text.len());
        text.truncate(end);
        text.push('…');
    }
    text
}
