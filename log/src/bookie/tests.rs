//! A bookie as its clients see it, on disks that fail.

mod catalogue;
mod compaction;
mod crash;
mod flips;
mod limbo;
mod reads;
mod requests;
mod scrub;
mod shards;
mod space;

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use egret_schemas::{EntryId, LedgerId, Term};

use super::{Bookie, BookieConfig, OpenError};
use crate::disk::FaultyDisk;
use crate::message::{Reply, Request, Transport, entry_crc};

/// The directory all tests use.
fn dir() -> PathBuf {
    PathBuf::from("/b")
}

/// Small files, no threads.
fn small() -> BookieConfig {
    BookieConfig {
        journal_file_bytes: 32 << 10,
        write_cache_bytes: 4 << 10,
        tail_cache_bytes: 1 << 10,
        disk_reserve_bytes: 64 << 10,
        disk_low_bytes: 0,
        disk_high_bytes: 0,
        background: false,
        ..BookieConfig::default()
    }
}

fn try_open(disk: &FaultyDisk, config: BookieConfig) -> Result<Bookie, OpenError> {
    Bookie::open(Arc::new(disk.clone()), &dir(), config)
}

fn open(disk: &FaultyDisk) -> Bookie {
    try_open(disk, small()).unwrap()
}

fn ask(bookie: &Bookie, request: Request) -> Reply {
    bookie.call(bookie.incarnation(), request)
}

fn create(ledger: u64, term: u64) -> Request {
    let (ledger, term) = (LedgerId(ledger), Term(term));
    Request::Create { ledger, term, transactional: false, replicated: false }
}

/// Creates a ledger that other bookies have copies of.
fn create_replicated(ledger: u64, term: u64) -> Request {
    let (ledger, term) = (LedgerId(ledger), Term(term));
    Request::Create { ledger, term, transactional: false, replicated: true }
}

/// An entry's bytes, told apart by ledger and number.
fn payload(ledger: u64, entry: u64, bytes: usize) -> Bytes {
    let seed = ledger.wrapping_mul(31).wrapping_add(entry.wrapping_mul(7));
    (0..bytes as u64).map(|i| seed.wrapping_add(i).to_le_bytes()[0]).collect()
}

fn add_bytes(ledger: u64, entry: u64, term: u64, payload: Bytes) -> Request {
    let (ledger, entry) = (LedgerId(ledger), EntryId(entry));
    let crc = entry_crc(ledger, entry, &payload);
    Request::Add { ledger, entry, term: Term(term), lac: entry.before(), crc, copy: false, payload }
}

fn add(ledger: u64, entry: u64, term: u64) -> Request {
    add_bytes(ledger, entry, term, payload(ledger, entry, 100))
}

/// An add as recovery and repair send it.
fn copy(ledger: u64, entry: u64, term: u64) -> Request {
    match add(ledger, entry, term) {
        Request::Add { ledger, entry, term, lac, crc, payload, .. } => {
            Request::Add { ledger, entry, term, lac, crc, copy: true, payload }
        }
        other => other,
    }
}

fn read(ledger: u64, entry: u64) -> Request {
    Request::Read { ledger: LedgerId(ledger), entry: EntryId(entry), fence: None }
}

fn recovery_read(ledger: u64, entry: u64, term: u64) -> Request {
    Request::Read { ledger: LedgerId(ledger), entry: EntryId(entry), fence: Some(Term(term)) }
}

fn fence(ledger: u64, term: u64) -> Request {
    Request::Fence { ledger: LedgerId(ledger), term: Term(term) }
}

fn write_lac(ledger: u64, term: u64, lac: u64) -> Request {
    Request::WriteLac { ledger: LedgerId(ledger), term: Term(term), lac: EntryId(lac) }
}

fn read_lac(ledger: u64) -> Request {
    Request::ReadLac { ledger: LedgerId(ledger) }
}

fn delete(ledger: u64) -> Request {
    Request::Delete { ledger: LedgerId(ledger) }
}

#[track_caller]
fn done(reply: Reply) {
    assert!(matches!(reply, Reply::Done), "{reply:?}");
}

/// Reads an entry and checks that it is what [`add`] wrote.
#[track_caller]
fn check_entry(bookie: &Bookie, ledger: u64, entry: u64, bytes: usize) {
    match ask(bookie, read(ledger, entry)) {
        Reply::Entry { payload: found, .. } => assert_eq!(found, payload(ledger, entry, bytes)),
        other => panic!("L{ledger}:{entry}: {other:?}"),
    }
}
