//! **A newest commit that cannot be read stops the topology, and it says so**: whatever byte of the record is
//! damaged in the files, nothing is started, least of all empty, and nothing is written. Undamaged, the topology
//! goes on as if nothing had been.
//!
//! Control: a takeover that takes a commit it cannot read for none must not stop.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use egret::runtime::Faults;
use egret::{Progress, RunOptions};
use egret_integration::kill::commits::copy_files;
use egret_integration::kill::every_kind::{Told, Wiring, compare, outputs};
use egret_log::{Log, LogConfig};

use crate::lives::{Place, newest};

/// Every place in the files of a directory where these bytes are.
fn places(dir: &Path, bytes: &[u8]) -> Vec<(PathBuf, usize)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(places(&path, bytes));
        } else if path.is_file() {
            let held = fs::read(&path).unwrap();
            let at = held.windows(bytes.len()).enumerate().filter(|(_, some)| *some == bytes);
            found.extend(at.map(|(at, _)| (path.clone(), at)));
        }
    }
    found
}

/// A copy of the directory whose newest commit has a byte changed, wherever its record is.
fn damaged(place: &Place, record: &[u8], offset: usize) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_files(place.path(), copy.path()).unwrap();
    let there = places(copy.path(), record);
    assert!(!there.is_empty(), "the record is in no file");
    for (path, at) in there {
        let mut held = fs::read(&path).unwrap();
        held[at + offset] ^= 0x40;
        fs::write(&path, held).unwrap();
    }
    copy
}

/// Runs the topology in the directory; why it does not.
fn run(dir: &Path, faults: Faults) -> Result<(), String> {
    let log = Log::open(dir, LogConfig::default()).map_err(|error| egret::chain(&error))?;
    let options = RunOptions { faults, ..RunOptions::default() };
    let topology = Wiring::of(2).topology().unwrap();
    let ran = topology.run(&log, &options, &Arc::<Progress>::default());
    log.close().unwrap();
    ran.map(drop).map_err(|error| egret::chain(&error))
}

/// A killed topology, its newest commit, and its output so far.
fn killed(seed: u64) -> (Place, Vec<u8>, BTreeMap<&'static str, Told>) {
    let mut place = Place::new(seed);
    place.lives(&[], |_| {});
    // Closed, and so in files that a bookie serves from.
    let log = place.open();
    let found = (newest(&log).unwrap().encode(), outputs(&log).unwrap());
    log.close().unwrap();
    (place, found.0, found.1)
}

#[test]
fn a_damaged_newest_commit_stops_the_topology_which_is_never_started_empty() {
    let (place, record, before) = killed(71);
    for offset in [0, record.len() / 2, record.len() - 1] {
        let copy = damaged(&place, &record, offset);
        for _ in 0..2 {
            let why = run(copy.path(), Faults::default()).expect_err("it runs on what is damaged");
            // Met by whoever closes its ledger, or by whoever reads it.
            let says = why.contains("not started empty") || why.contains("damaged at byte");
            assert!(says, "byte {offset}: {why}");
        }
        let log = Log::open(copy.path(), LogConfig::default()).unwrap();
        assert_eq!(outputs(&log).unwrap(), before, "something was written");
        log.close().unwrap();
    }
    run(place.path(), Faults::default()).unwrap();
    let log = place.open();
    compare(&outputs(&log).unwrap(), &place.input).unwrap();
    log.close().unwrap();
}

#[test]
fn control_a_topology_that_takes_a_damaged_commit_for_none_starts_empty() {
    let (place, record, _) = killed(72);
    let copy = damaged(&place, &record, record.len() / 2);
    let faults = Faults { unreadable_is_empty: true, ..Faults::default() };
    let ran = run(copy.path(), faults);
    let says = |why: &str| why.contains("not started empty");
    assert!(!ran.as_ref().is_err_and(|why| says(why)), "it stops all the same: {ran:?}");
}
