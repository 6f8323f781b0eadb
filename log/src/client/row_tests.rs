//! Rows of entries read, copied and verified over several bookies: short answers, damage, bookies that
//! die in the middle, and the bounds.

use bytes::Bytes;
use egret_schemas::{EntryId, LedgerId, Term};

use super::repair::{self, Pace};
use super::several_tests::World;
use super::*;
use crate::caps;
use crate::ledger::{CloseAt, LedgerKind};

const UNBOUNDED: Pace = Pace { bytes_per_second: u64::MAX };

fn payload(n: u64, bytes: usize) -> Bytes {
    let mut payload = vec![0u8; bytes];
    payload[..8].copy_from_slice(&n.to_le_bytes());
    Bytes::from(payload)
}

/// A closed ledger of so many entries of so many bytes on three bookies, and whom of them its reads ask
/// first.
fn closed(world: &World, entries: u64, bytes: usize) -> (LedgerId, Vec<usize>) {
    let (id, writer) = world.writer();
    for n in 0..entries {
        writer.append_wait(payload(n, bytes)).unwrap();
    }
    writer.drain().unwrap();
    writer.close(Some(EntryId(entries - 1))).unwrap();
    let mut order = world.holders(id, 0);
    order.rotate_left(usize::try_from(id.0 % 3).unwrap());
    for &holder in &order {
        world.bookie(holder).take_reads();
    }
    (id, order)
}

fn scan_all(world: &World, id: LedgerId, entries: u64, bytes: usize) {
    let mut scan = world.ledgers.scan(id);
    for n in 0..entries {
        let found = scan.read(EntryId(n), EntryId(entries - 1));
        assert_eq!(found, Ok(payload(n, bytes)), "entry {n}");
    }
}

#[test]
fn a_scan_takes_few_requests_and_no_more_bytes_than_it_may() {
    let world = World::new(3);
    let (id, order) = closed(&world, 3000, 1000);
    scan_all(&world, id, 3000, 1000);
    let reads = world.bookie(order[0]).take_reads();
    assert_eq!((reads.alone, reads.highest), (0, Some(EntryId(2999))), "nothing behind the last");
    assert!(reads.rows < 12, "{reads:?}");
    assert!(reads.row_bytes_max <= caps::SCAN_BYTES_MAX as usize / 2, "{reads:?}");
    assert!(reads.row_bytes_max > caps::SCAN_BYTES_MAX as usize / 3, "{reads:?}");
    for &other in &order[1..] {
        assert_eq!(world.bookie(other).take_reads().rows, 0, "one bookie is enough");
    }
}

#[test]
fn an_entry_larger_than_a_row_comes_alone_and_whole() {
    let (world, large) = (World::new(3), caps::SCAN_BYTES_MAX as usize);
    let (id, order) = closed(&world, 5, large);
    scan_all(&world, id, 5, large);
    assert_eq!(world.bookie(order[0]).take_reads().row_bytes_max, large);
}

#[test]
fn a_scan_goes_round_what_one_bookie_lacks_or_has_damaged() {
    let world = World::new(3);
    let (id, order) = closed(&world, 1000, 100);
    for n in [0, 1, 400, 700, 999] {
        world.bookie(order[0]).lose(id, EntryId(n));
    }
    for n in [600, 601, 900] {
        world.bookie(order[0]).flip(id, EntryId(n));
    }
    scan_all(&world, id, 1000, 100);
    let alone: usize = order.iter().map(|&n| world.bookie(n).take_reads().alone).sum();
    assert!(alone <= 1, "another bookie has the row: {alone} were read alone");
}

#[test]
fn what_no_row_begins_with_is_read_alone_and_only_that_decides() {
    let world = World::new(3);
    let (id, order) = closed(&world, 300, 100);
    for &holder in &order {
        world.bookie(holder).lose(id, EntryId(100));
        world.bookie(holder).flip(id, EntryId(200));
    }
    let mut scan = world.ledgers.scan(id);
    for n in 0..300 {
        match (n, scan.read(EntryId(n), EntryId(299))) {
            (100, found) => assert!(matches!(found, Err(ReadError::Missing { .. })), "{found:?}"),
            (200, found) => assert!(matches!(found, Err(ReadError::Doubtful { .. })), "{found:?}"),
            (_, found) => assert_eq!(found, Ok(payload(n, 100)), "entry {n}"),
        }
    }
}

#[test]
fn a_scan_goes_on_when_the_bookie_it_reads_from_dies() {
    let world = World::new(3);
    let (id, order) = closed(&world, 3000, 1000);
    world.bookie(order[0]).die_after(2);
    world.bookie(order[1]).die_after(2);
    scan_all(&world, id, 3000, 1000);
    assert!(world.bookie(order[2]).take_reads().rows > 2, "the last one had to do the rest");
}

#[test]
fn a_scan_that_jumps_reads_what_it_is_asked_for() {
    let world = World::new(3);
    let (id, _) = closed(&world, 2000, 1000);
    let mut scan = world.ledgers.scan(id);
    for n in [5, 6, 30, 31, 1500, 7, 8, 1999, 0] {
        assert_eq!(scan.read(EntryId(n), EntryId(1999)), Ok(payload(n, 1000)), "entry {n}");
    }
}

/// The first half of what a lost disk held is on bookies that die, each with damage of its own.
#[test]
fn a_copy_is_made_in_rows_round_damage_and_a_bookie_that_dies() {
    let world = World::new(4);
    let (id, order) = closed(&world, 2000, 1000);
    let (lost, sources) = (order[0], &order[1..]);
    world.bookie(lost).set_down(true);
    world.replaced(lost);
    world.bookie(sources[0]).flip(id, EntryId(50));
    world.bookie(sources[0]).lose(id, EntryId(60));
    world.bookie(sources[0]).die_after(3);
    let sweep = repair::sweep(&world.ledgers, UNBOUNDED, |_| true).unwrap();
    assert_eq!((sweep.made.len(), sweep.made[0].2.entries), (1, 2000), "{sweep:?}");
    let to = world.holders(id, 0).into_iter().find(|holder| !order.contains(holder)).unwrap();
    assert!((0..2000).all(|n| world.bookie(to).holds(id, EntryId(n))));
    let reads = world.bookie(sources[1]).take_reads();
    assert!(reads.rows + reads.alone < 20, "{reads:?}");
}

/// Only what is lacking is written, and of what is there little is asked.
#[test]
fn a_copy_with_holes_is_looked_over_in_rows_and_filled() {
    let world = World::new(3);
    let (id, writer) = world.writer();
    writer.append_wait(payload(0, 1000)).unwrap();
    for n in 1..2000 {
        writer.append_wait(payload(n, 1000)).unwrap();
    }
    world.bookie(2).set_down(true);
    for n in 2000..2100 {
        writer.append_wait(payload(n, 1000)).unwrap();
    }
    writer.close(Some(EntryId(2099))).unwrap();
    world.bookie(2).set_down(false);
    for n in [0, 700, 701] {
        world.bookie(2).lose(id, EntryId(n));
    }
    world.bookie(2).take_reads();
    let sweep = repair::sweep(&world.ledgers, UNBOUNDED, |_| true).unwrap();
    assert_eq!((sweep.lacking, sweep.made[0].2.entries), (1, 103), "{sweep:?}");
    assert!((0..2100).all(|n| world.copies(id, n) == 3));
    let looked = world.bookie(2).take_reads();
    assert!(looked.rows < 20 && looked.alone == 0, "{looked:?}");
    assert!(looked.row_bytes_max <= caps::REPAIR_LOOK_BYTES_MAX as usize, "{looked:?}");
}

#[test]
fn only_so_many_copies_are_under_way_at_once() {
    let world = World::new(4);
    for (entries, bytes, most) in [
        (caps::REPAIR_IN_FLIGHT_ENTRIES_MAX as u64 + 500, 10, caps::REPAIR_IN_FLIGHT_ENTRIES_MAX),
        (20, 1 << 20, caps::REPAIR_IN_FLIGHT_BYTES_MAX >> 20),
    ] {
        let (id, order) = closed(&world, entries, bytes);
        let spare = (0..4).find(|n| !order.contains(n)).unwrap();
        world.replaced(order[0]);
        world.bookie(spare).hold_adds();
        std::thread::scope(|scope| {
            let copying = scope.spawn(|| repair::sweep(&world.ledgers, UNBOUNDED, |_| true));
            world.bookie(spare).release_in_reverse(most);
            let sweep = copying.join().unwrap().unwrap();
            assert_eq!((sweep.failed.len(), sweep.made[0].2.entries), (0, entries), "{sweep:?}");
        });
        world.returned();
        world.ledgers.delete(id).unwrap();
    }
}

/// A transactional ledger of so many entries, none published, whose owner is gone.
fn left(world: &World, entries: u64) -> (LedgerId, Vec<usize>) {
    let id = world.ledgers.reserve().unwrap();
    let kind = LedgerKind::Transactional { owner: "words".to_owned() };
    let writer = world.ledgers.create(id, kind, Term(1)).unwrap();
    for n in 0..entries {
        writer.append_wait(payload(n, 1000)).unwrap();
    }
    writer.drain().unwrap();
    let holders = world.holders(id, 0);
    for &holder in &holders {
        world.bookie(holder).take_reads();
    }
    (id, holders)
}

#[test]
fn a_recovery_that_reads_ahead_verifies_every_entry_whatever_one_bookie_does() {
    let world = World::new(4);
    let (id, holders) = left(&world, 300);
    world.bookie(holders[0]).flip(id, EntryId(100));
    world.bookie(holders[1]).lose(id, EntryId(101));
    world.bookie(holders[2]).lose(id, EntryId(101));
    world.bookie(holders[2]).die_after(150);
    let close = CloseAt::Entry(Some(EntryId(249)));
    assert_eq!(world.ledgers.recover(id, Term(2), close), Ok(Some(EntryId(249))));
    let asked = world.bookie(holders[0]).take_reads();
    assert_eq!((asked.rows, asked.highest), (0, Some(EntryId(249))), "each read fences");
    for n in 0..250 {
        assert_eq!(world.ledgers.read(id, EntryId(n)), Ok(payload(n, 1000)), "entry {n}");
    }
}

#[test]
fn a_recovery_that_reads_ahead_never_ends_below_the_commit() {
    let world = World::new(3);
    let (id, holders) = left(&world, 100);
    holders.iter().for_each(|&holder| world.bookie(holder).lose(id, EntryId(90)));
    let close = CloseAt::Entry(Some(EntryId(99)));
    let error = world.ledgers.recover(id, Term(2), close).unwrap_err();
    assert!(error.to_string().contains("entry 90 was committed and is gone"), "{error}");
    assert_eq!(world.ledgers.describe(id).unwrap().closed(), None);
}
