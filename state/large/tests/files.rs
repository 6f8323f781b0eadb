//! Tables over files: what every table must do, memory that is bounded, and disks that fail.

#![expect(clippy::cast_possible_truncation, reason = "a test of a small world")]

use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use egret_schemas::{Epoch, Generation};
use egret_state::keyed::backing::{Fault, Place};
use egret_state::keyed::{Backing, Key, KeyedTable, Storage, conformance};
use egret_state_large::{Files, LargerThanMemory};

fn open(below: &Path, cache_bytes: usize) -> Result<Files, Box<Fault>> {
    static GENERATION: AtomicU32 = AtomicU32::new(1);
    let generation = GENERATION.fetch_add(1, Ordering::Relaxed);
    let (topology, component) = ("words", "count");
    let place = Place { directory: Some(below), topology, component, task: 0, generation };
    LargerThanMemory::with_cache_bytes(cache_bytes).open(&place)
}

fn end(commit: u32) -> Epoch {
    Epoch::new(Generation(1), commit, 0)
}

type Table = KeyedTable<u64, Vec<u8>, Files>;

fn set(table: &mut Table, key: u64, value: Vec<u8>) -> Result<(), Box<Fault>> {
    let slot = table.reach(key.hash64(), &key)?;
    *table.get_mut(slot).1 = value;
    Ok(())
}

#[test]
fn a_table_over_files_does_what_it_must() {
    let below = tempfile::tempdir().unwrap();
    conformance::all(|| open(below.path(), 1).unwrap(), 25);
}

/// Many buffers, many files, merges, removals; the table takes what it may and says so.
#[test]
fn thirty_times_the_memory_is_held_and_found_again() {
    let below = tempfile::tempdir().unwrap();
    let cache = 2 << 20;
    let mut table = Table::over(open(below.path(), cache).unwrap(), 64);
    let keys = 60_000u64;
    let value = |key: u64, round: u32| vec![(key % 251) as u8 ^ round as u8; 1000];
    let mut commit = 0;
    let mut most = 0;
    for round in 0..2 {
        for key in 0..keys {
            set(&mut table, key, value(key, round)).unwrap();
            if key % 500 == 499 {
                commit += 1;
                table.drain(end(commit), |_| ()).unwrap();
                table.sweep(100_000, |_| ()).unwrap();
                table.evict().unwrap();
                most = most.max(table.memory_bytes());
            }
        }
    }
    for key in (0..keys).step_by(3) {
        let slot = table.reach(key.hash64(), &key).unwrap();
        table.remove(slot);
        if key % 1500 == 0 {
            commit += 1;
            table.drain(end(commit), |_| ()).unwrap();
            table.evict().unwrap();
        }
    }
    table.drain(end(commit + 1), |_| ()).unwrap();
    table.evict().unwrap();
    assert_eq!(table.len() as u64, keys - keys / 3);
    for key in (0..keys).step_by(7) {
        let slot = table.reach(key.hash64(), &key).unwrap();
        let expected = if key % 3 == 0 { Vec::new() } else { value(key, 1) };
        assert_eq!(table.get(slot).1, &expected, "{key}");
    }
    // A commit's own keys come on top, and buffers are counted as full.
    assert!(most < 2 * cache, "{most} bytes");
    let files = below.path().join("state/words/count");
    drop(table);
    let left: Vec<_> = fs::read_dir(files).unwrap().map(|f| f.unwrap().file_name()).collect();
    assert_eq!(left, ["lock"], "files go with their table");
}

/// Where no other file system can be mounted, this says so and proves nothing.
#[test]
fn a_full_disk_is_an_error_that_says_where_and_what_to_do() {
    let disk = tempfile::tempdir().unwrap();
    let small = ["-t", "tmpfs", "-o", "size=8m", "tmpfs"];
    let mounted = Command::new("mount").args(small).arg(disk.path()).status();
    if !mounted.is_ok_and(|status| status.success()) {
        eprintln!("not run: a small file system cannot be mounted here");
        return;
    }
    let why = fill(disk.path()).unwrap_err();
    // Everything went with the table, and it works again.
    let again = fill_some(disk.path(), 1000);
    let unmounted = Command::new("umount").arg(disk.path()).status().unwrap();
    assert!(unmounted.success());
    let said = why.to_string();
    assert!(why.may_pass, "there may be room the next time");
    assert!(said.contains("state/words/count/0-"), "{said}");
    assert!(said.contains("No space left on device"), "{said}");
    assert!(said.contains("make room there, or name another directory"), "{said}");
    again.unwrap();
}

fn fill(disk: &Path) -> Result<(), Box<Fault>> {
    fill_some(disk, 100_000)
}

fn fill_some(disk: &Path, keys: u64) -> Result<(), Box<Fault>> {
    let mut files = open(disk, 1 << 20)?;
    for key in 0..keys {
        files.put(&key.to_le_bytes(), &[7; 1000])?;
    }
    Ok(())
}

#[test]
fn a_key_too_long_for_files_is_refused() {
    let below = tempfile::tempdir().unwrap();
    let mut files = open(below.path(), 1 << 20).unwrap();
    files.put(&vec![1; 65_535], b"").unwrap();
    assert!(files.get(&vec![1; 65_535]).unwrap().is_some());
    let why = files.put(&vec![1; 65_536], b"").unwrap_err();
    assert!(!why.may_pass && why.to_string().contains("keep this component in memory"), "{why}");
}

#[test]
fn without_a_directory_or_memory_nothing_is_opened() {
    let place = Place { directory: None, topology: "t", component: "c", task: 0, generation: 1 };
    let why = LargerThanMemory::new(1).open(&place).unwrap_err();
    assert!(why.to_string().contains("name one with `LargerThanMemory::at`"), "{why}");
    let below = tempfile::tempdir().unwrap();
    let why = LargerThanMemory::new(0).at(below.path()).open(&place).unwrap_err();
    assert!(why.to_string().contains("give 1 or more"), "{why}");
}
