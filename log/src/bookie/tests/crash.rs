//! The power goes at every single operation of a scripted life; what was acknowledged must be there.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::message::Refusal;

/// What the clients of a bookie were told, and what they asked for in vain.
#[derive(Debug, Default, Clone)]
struct Told {
    entries: BTreeMap<(u64, u64), usize>,
    /// Asked for, without a definite answer.
    open_entries: BTreeMap<(u64, u64), usize>,
    created: BTreeSet<u64>,
    deleted: BTreeSet<u64>,
    open_deleted: BTreeSet<u64>,
    terms: BTreeMap<u64, u64>,
    /// The highest LAC ever handed in.
    lac: BTreeMap<u64, u64>,
}

/// One step of a life.
#[derive(Debug, Clone, Copy)]
enum Step {
    Create(u64),
    Add(u64, u64, usize),
    Lac(u64, u64),
    Fence(u64, u64),
    Delete(u64),
    Checkpoint,
}

/// A life that fills several journal files, checkpoints by itself and on demand, and has an entry
/// larger than a file.
fn life() -> Vec<Step> {
    use Step::{Add, Checkpoint, Create, Delete, Fence, Lac};
    let mut steps = vec![Create(1), Create(2), Fence(7, 3)];
    for entry in 0..4 {
        steps.extend([Add(1, entry, 300), Lac(1, entry), Add(2, entry, 1500)]);
    }
    steps.extend([Fence(1, 2), Checkpoint, Create(3), Add(3, 0, 40_000), Add(3, 1, 10)]);
    steps.extend([Delete(2), Add(1, 4, 5000), Add(1, 5, 9000), Create(7), Add(7, 0, 100)]);
    for entry in 6..12 {
        steps.extend([Add(1, entry, 700), Lac(1, entry)]);
    }
    steps.extend([Delete(3), Checkpoint, Fence(8, 9), Add(7, 1, 100), Lac(7, 1)]);
    steps
}

fn term_of(told: &Told, ledger: u64) -> u64 {
    told.terms.get(&ledger).copied().unwrap_or(1)
}

impl Told {
    /// Does a step and takes note of the answer; `false` once the power is gone.
    fn step(&mut self, bookie: &Bookie, step: Step) -> bool {
        let unsure = |reply: &Reply| matches!(reply, Reply::Unknown(_));
        let reply = match step {
            Step::Create(ledger) => {
                let term = term_of(self, ledger);
                let reply = ask(bookie, create(ledger, term));
                if matches!(reply, Reply::Done) {
                    self.created.insert(ledger);
                    self.terms.insert(ledger, term);
                }
                reply
            }
            Step::Add(ledger, entry, bytes) => {
                let term = term_of(self, ledger);
                let request = add_bytes(ledger, entry, term, payload(ledger, entry, bytes));
                if entry > 0 {
                    let lac = self.lac.entry(ledger).or_default();
                    *lac = (*lac).max(entry - 1);
                }
                let reply = ask(bookie, request);
                if matches!(reply, Reply::Done) {
                    self.entries.insert((ledger, entry), bytes);
                } else {
                    self.open_entries.insert((ledger, entry), bytes);
                }
                reply
            }
            Step::Lac(ledger, lac) => {
                self.lac.insert(ledger, lac);
                ask(bookie, write_lac(ledger, term_of(self, ledger), lac))
            }
            Step::Fence(ledger, term) => {
                let reply = ask(bookie, fence(ledger, term));
                if !unsure(&reply) {
                    self.terms.insert(ledger, term);
                }
                reply
            }
            Step::Delete(ledger) => {
                let reply = ask(bookie, delete(ledger));
                if unsure(&reply) {
                    self.open_deleted.insert(ledger);
                } else {
                    self.deleted.insert(ledger);
                }
                reply
            }
            Step::Checkpoint => return bookie.checkpoint().is_ok(),
        };
        assert!(!matches!(reply, Reply::Refused(_)), "{step:?}: {reply:?}");
        !unsure(&reply)
    }

    /// What the bookie answers now and should not.
    fn faults(&self, bookie: &Bookie) -> Vec<String> {
        let mut faults = Vec::new();
        for ledger in 1..10 {
            let gone = matches!(ask(bookie, read_lac(ledger)), Reply::Refused(Refusal::Deleted));
            let may_be_gone = self.deleted.contains(&ledger) || self.open_deleted.contains(&ledger);
            if gone != self.deleted.contains(&ledger) && !(gone && may_be_gone) {
                faults.push(format!("L{ledger}: gone {gone}, {self:?}"));
            }
            if gone {
                continue;
            }
            for entry in 0..14 {
                let acked = self.entries.get(&(ledger, entry));
                let asked = acked.or(self.open_entries.get(&(ledger, entry)));
                let right = match ask(bookie, read(ledger, entry)) {
                    Reply::Entry { payload: found, .. } => {
                        asked.is_some_and(|bytes| found == payload(ledger, entry, *bytes))
                    }
                    Reply::NoEntry { .. } | Reply::Refused(Refusal::NoLedger) => acked.is_none(),
                    _ => false,
                };
                if !right {
                    let reply = ask(bookie, read(ledger, entry));
                    faults.push(format!("L{ledger}:{entry}, acknowledged {acked:?}: {reply:?}"));
                }
            }
            if let Reply::Lac { lac: Some(lac), .. } = ask(bookie, read_lac(ledger))
                && self.lac.get(&ledger).is_none_or(|told| *told < lac.0)
            {
                faults.push(format!("L{ledger}: the lac is {lac}, beyond what was told"));
            }
            if let Some(term) = self.terms.get(&ledger)
                && *term > 1
            {
                let reply = ask(bookie, fence(ledger, term - 1));
                if !matches!(reply, Reply::Refused(Refusal::StaleTerm { .. })) {
                    faults.push(format!("L{ledger}: fenced at {term}, then {reply:?}"));
                }
            }
        }
        faults
    }
}

/// Lives until the power goes after `cut` operations; `false` if it never went.
fn live(disk: &FaultyDisk, config: BookieConfig, cut: u64) -> (Told, bool) {
    disk.crash_after(cut);
    let mut told = Told::default();
    let Ok(bookie) = try_open(disk, config) else { return (told, true) };
    for step in life() {
        if !told.step(&bookie, step) {
            return (told, true);
        }
    }
    let _ = bookie.close();
    let cut = disk.is_cut();
    (told, cut)
}

#[test]
fn no_power_cut_loses_what_was_acknowledged() {
    let mut cut = 0;
    loop {
        let disk = FaultyDisk::new();
        let (told, was_cut) = live(&disk, small(), cut);
        for seed in 0..6 {
            let disk = disk.reboot(seed);
            let bookie = try_open(&disk, small())
                .unwrap_or_else(|error| panic!("cut {cut} seed {seed}: {error}"));
            let faults = told.faults(&bookie);
            assert!(faults.is_empty(), "cut {cut} seed {seed}: {faults:#?}");
            drop(bookie);
            // What was found once is found again, whatever a second cut does.
            let again = disk.reboot(seed + 100);
            let bookie = try_open(&again, small()).unwrap();
            let faults = told.faults(&bookie);
            assert!(faults.is_empty(), "cut {cut} seed {seed}, again: {faults:#?}");
            done(ask(&bookie, create(20, 1)));
            done(ask(&bookie, add(20, 0, 1)));
            drop(bookie);
            check_entry(&open(&again.reboot(seed)), 20, 0, 100);
        }
        if !was_cut {
            break;
        }
        cut += 1;
    }
    assert!(cut > 150, "the life is long enough to mean something: {cut}");
}

#[test]
fn a_power_cut_while_opening_after_a_power_cut_loses_nothing_either() {
    for cut in (20..250).step_by(7) {
        let first = FaultyDisk::new();
        let (told, _) = live(&first, small(), cut);
        for second in 0..40 {
            let disk = first.reboot(cut + second);
            disk.crash_after(second);
            let opened = try_open(&disk, small());
            let over = opened.is_ok() && !disk.is_cut();
            drop(opened);
            let bookie = open(&disk.reboot(second));
            let faults = told.faults(&bookie);
            assert!(faults.is_empty(), "cut {cut} then {second}: {faults:#?}");
            if over {
                break;
            }
        }
    }
}

#[test]
fn a_process_that_dies_without_a_power_cut_loses_nothing() {
    for cut in (0..250).step_by(3) {
        let disk = FaultyDisk::new();
        let told = {
            let mut told = Told::default();
            let bookie = open(&disk);
            for step in life().into_iter().take(cut) {
                told.step(&bookie, step);
            }
            told
        };
        let faults = told.faults(&open(&disk));
        assert!(faults.is_empty(), "after {cut} steps: {faults:#?}");
    }
}

/// The positive control: the tests above notice a bookie that acknowledges too early.
#[test]
fn acknowledging_before_the_sync_is_noticed() {
    let config = BookieConfig { acknowledge_before_sync: true, ..small() };
    let mut noticed = 0;
    for cut in (20..200).step_by(3) {
        let disk = FaultyDisk::new();
        let (told, _) = live(&disk, config.clone(), cut);
        for seed in 0..6 {
            if let Ok(bookie) = try_open(&disk.reboot(seed), small()) {
                noticed += usize::from(!told.faults(&bookie).is_empty());
            }
        }
    }
    assert!(noticed > 50, "noticed {noticed} times");
}

#[test]
fn threads_that_call_through_a_power_cut_lose_nothing_acknowledged() {
    for seed in 0..30 {
        let disk = FaultyDisk::new();
        let config = BookieConfig { background: true, idle_mark_ms: 1, ..small() };
        let bookie = try_open(&disk, config).unwrap();
        for ledger in 1..4 {
            done(ask(&bookie, create(ledger, 1)));
        }
        disk.crash_after(disk.operations() + 20 + seed * 11);
        let told: Vec<(u64, u64)> = std::thread::scope(|scope| {
            let writers = (1..4).map(|ledger| {
                let bookie = &bookie;
                scope.spawn(move || {
                    let acked = |entry: &u64| {
                        let size = 100 + 500 * usize::try_from(ledger).unwrap();
                        let bytes = payload(ledger, *entry, size);
                        matches!(ask(bookie, add_bytes(ledger, *entry, 1, bytes)), Reply::Done)
                    };
                    (0..1000).take_while(acked).map(|entry| (ledger, entry)).collect::<Vec<_>>()
                })
            });
            let writers: Vec<_> = writers.collect();
            writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect()
        });
        assert!(!told.is_empty());
        drop(bookie);
        let bookie = open(&disk.reboot(seed));
        for (ledger, entry) in told {
            check_entry(&bookie, ledger, entry, 100 + 500 * usize::try_from(ledger).unwrap());
        }
    }
}
