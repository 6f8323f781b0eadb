//! Ledgers whose writers are gone and which lose one bookie after the other: nothing acknowledged goes with
//! them, and where they end stays their owners' to say.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use egret_schemas::{EntryId, LedgerId, Term};

use super::abandoned::{Abandoned, settle};
use super::repair::{Pace, Sweep, sweep};
use super::several_tests::{World, eventually, text};
use super::*;
use crate::clock;
use crate::ledger::{CloseAt, LedgerKind, LedgerMetadata, LedgerState};
use crate::metadata::hooked::Hooked;

const GRACE: Duration = Duration::from_secs(60);

/// An open ledger of ten entries, and who has them.
fn open(world: &World, kind: LedgerKind) -> (LedgerId, LedgerWriter, Vec<usize>) {
    let id = world.ledgers.reserve().unwrap();
    let writer = world.ledgers.create(id, kind, Term(1)).unwrap();
    for n in 0..10 {
        writer.append_wait(text(n)).unwrap();
    }
    let holders = world.holders(id, 0);
    (id, writer, holders)
}

fn owned() -> LedgerKind {
    LedgerKind::Transactional { owner: "words".to_owned() }
}

/// A disk that is gone, and the bookie that had it.
fn lose(world: &World, index: usize) {
    world.bookie(index).set_down(true);
    world.replaced(index);
    let left: Vec<usize> =
        (0..world.size()).filter(|&other| !world.bookie(other).is_down()).collect();
    world.taking(&left);
}

fn swept(world: &World) -> Sweep {
    sweep(&world.ledgers, Pace::default(), |_| true).unwrap()
}

/// What a repairer does until nothing is left to do, with the writers' grace over.
fn mend(world: &World) {
    while !swept(world).ends.is_empty() {
        for id in swept(world).ends.into_keys() {
            assert_eq!(settle(&world.ledgers, id), Ok(true));
        }
    }
    let last = swept(world);
    assert_eq!((last.lacking, last.failed.len()), (0, 0), "{last:?}");
}

/// Once, only whoever opened the stream again had an open ledger mended: two more disks, and what had been
/// acknowledged was nowhere.
#[test]
fn an_abandoned_ledger_survives_one_disk_after_the_other() {
    let world = World::new(6);
    let (id, writer, _) = open(&world, LedgerKind::Plain);
    drop(writer);
    for _ in 0..3 {
        let fragment = world.ledgers.describe(id).unwrap();
        let victim = fragment.last_fragment().1.member(0).bookie.0 - 1;
        lose(&world, usize::try_from(victim).unwrap());
        mend(&world);
        assert!((0..10).all(|n| world.copies(id, n) == 3));
        // It is not closed, and its owner's next term is not taken.
        let record = world.ledgers.describe(id).unwrap();
        assert_eq!((record.state, record.term), (LedgerState::InRecovery, Term(2)));
    }
    assert_eq!(world.ledgers.end(id), Ok(LedgerEnd::Open { lac: Some(EntryId(9)) }));
    assert_eq!(world.ledgers.recover(id, Term(2), CloseAt::End), Ok(Some(EntryId(9))));
    for n in 0..10 {
        assert_eq!(world.ledgers.read(id, EntryId(n)), Ok(text(n)));
    }
}

/// The control: so it was.
#[test]
fn without_repair_two_disks_take_the_end_with_them() {
    let world = World::new(6);
    let (id, writer, holders) = open(&world, LedgerKind::Plain);
    drop(writer);
    lose(&world, holders[0]);
    assert_eq!(swept(&world).lacking, 0, "its writer's to mend");
    lose(&world, holders[1]);
    world.ledgers.recover(id, Term(2), CloseAt::End).unwrap_err();
}

#[test]
fn its_owner_closes_an_abandoned_transactional_ledger_at_the_commit() {
    let world = World::new(6);
    let (id, writer, holders) = open(&world, owned());
    writer.publish(EntryId(5));
    drop(writer);
    // The last two have one copy: what is copied tells nobody that it may be read.
    for entry in [8, 9] {
        world.bookie(holders[0]).lose(id, EntryId(entry));
        world.bookie(holders[1]).lose(id, EntryId(entry));
    }
    lose(&world, holders[0]);
    mend(&world);
    assert!((0..10).all(|n| world.copies(id, n) == 3));
    assert_eq!(world.ledgers.end(id), Ok(LedgerEnd::Open { lac: Some(EntryId(5)) }));
    // Readers see what they saw, though nobody is left of those who were told.
    for &holder in &holders[1..] {
        lose(&world, holder);
        mend(&world);
        assert_eq!(world.ledgers.end(id), Ok(LedgerEnd::Open { lac: Some(EntryId(5)) }));
    }
    let at = Some(EntryId(7));
    assert_eq!(world.ledgers.recover(id, Term(2), CloseAt::Entry(at)), Ok(at));
}

/// What an ensemble change began with is not what readers may see of a transactional ledger.
#[test]
fn copies_of_a_transactional_ledger_show_nothing_that_is_not_committed() {
    let world = World::new(6);
    let (id, writer, holders) = open(&world, owned());
    world.bookie(holders[2]).set_down(true);
    writer.append_wait(text(10)).unwrap();
    writer.append_wait(text(11)).unwrap();
    drop(writer);
    let now = world.holders(id, 11);
    assert_ne!(now, holders, "another fragment");
    world.bookie(now[0]).lose(id, EntryId(11));
    world.bookie(now[1]).lose(id, EntryId(11));
    lose(&world, now[0]);
    settle(&world.ledgers, id).unwrap();
    assert!(world.copies(id, 11) >= 2);
    assert_eq!(world.ledgers.end(id), Ok(LedgerEnd::Open { lac: None }));
}

fn look(watch: &mut Abandoned, world: &World, now: Instant) -> Vec<LedgerId> {
    watch.look(&world.ledgers, &swept(world).ends, (now, GRACE))
}

#[test]
fn only_a_ledger_that_is_quiet_for_the_whole_grace_counts_as_abandoned() {
    let world = World::new(3);
    let (id, writer, holders) = open(&world, LedgerKind::Plain);
    let mut watch = Abandoned::default();
    let start = clock::now();
    let after = |seconds| start + Duration::from_secs(seconds);
    // A bookie that is down for a while is expected back.
    world.bookie(holders[0]).set_down(true);
    assert_eq!(look(&mut watch, &world, after(0)), []);
    assert_eq!(look(&mut watch, &world, after(3600)), []);
    world.bookie(holders[0]).set_down(false);

    lose(&world, holders[0]);
    assert_eq!(look(&mut watch, &world, after(4000)), []);
    assert_eq!(look(&mut watch, &world, after(4059)), []);
    // Nobody can take the place of the bookie that is gone: the writer goes on without it.
    writer.append_wait(text(10)).unwrap();
    assert_eq!(look(&mut watch, &world, after(4060)), [], "something was appended, or noted");
    writer.append_wait(text(11)).unwrap();
    assert_eq!(look(&mut watch, &world, after(4100)), [], "something was appended");
    assert_eq!(look(&mut watch, &world, after(4159)), []);
    assert_eq!(look(&mut watch, &world, after(4160)), [id]);
    // Nobody is shut out for nothing.
    assert_eq!(settle(&world.ledgers, id), Ok(false));
    writer.append_wait(text(12)).unwrap();
    world.returned();
    assert_eq!(look(&mut watch, &world, after(9000)), []);
    assert_eq!(
        watch.look(&world.ledgers, &BTreeMap::<_, LedgerMetadata>::new(), (start, GRACE)),
        []
    );
}

/// A writer that has nothing to append is not taken for one that is gone.
#[test]
fn a_quiet_writer_replaces_a_bookie_that_is_gone() {
    let world = World::new(6);
    let (id, writer, holders) = open(&world, LedgerKind::Plain);
    writer.look();
    assert_eq!(world.ledgers.describe(id).unwrap().fragments.len(), 1, "all are there");
    lose(&world, holders[0]);
    writer.look();
    let fragments = || world.ledgers.describe(id).unwrap().fragments.len();
    eventually("it has other bookies before it appends", || fragments() == 2);
    writer.append_wait(text(10)).unwrap();
    let record = world.ledgers.describe(id).unwrap();
    assert_eq!((record.state, record.fragments.len()), (LedgerState::Open, 2));
    assert!(!world.holders(id, 10).contains(&holders[0]));
    mend(&world);
    assert_eq!(writer.failure(), None);
    // A bookie that nobody can take the place of is kept, gone or not: it may answer yet.
    let (kept, alone) = (world.holders(id, 10)[0], world.holders(id, 10));
    world.replaced(kept);
    world.taking(&alone);
    writer.look();
    writer.append_wait(text(11)).unwrap();
    assert_eq!((writer.missing_bookies(), world.copies(id, 11)), (0, 3));
}

#[test]
fn a_repairer_takes_over_what_was_abandoned() {
    let world = World::new(6);
    let (id, writer, holders) = open(&world, LedgerKind::Plain);
    drop(writer);
    lose(&world, holders[0]);
    let (every, grace) = (Duration::from_millis(5), Duration::from_millis(20));
    let config = RepairerConfig { every, grace, ..RepairerConfig::default() };
    let own = world.ledgers.bookies().candidates()[0].member;
    let repairer = Repairer::start(world.ledgers.clone(), own, || false, config).unwrap();
    let mended = |n| !world.holders(id, n).contains(&holders[0]) && world.copies(id, n) == 3;
    eventually("its copies are made", || (0..10).all(mended));
    repairer.stop();
    assert_eq!(world.ledgers.describe(id).unwrap().state, LedgerState::InRecovery);
}

/// The owner came first, and the repairer was done while it still read: it reads again, and closes.
#[test]
fn an_owner_that_recovers_while_the_end_is_given_away_begins_again() {
    let world = World::new(6);
    let (id, writer, holders) = open(&world, LedgerKind::Plain);
    drop(writer);
    lose(&world, holders[0]);
    let (repairer, meta) = (world.ledgers.clone(), Arc::clone(world.ledgers.metadata()));
    let before = move |txn| {
        // The first takes it into recovery, the second is to close it.
        if txn == 1 {
            assert_eq!(settle(&repairer, id), Ok(true));
        }
        Ok(())
    };
    let between = Arc::new(Hooked::new(meta, Box::new(before)));
    let bookies = Arc::clone(world.ledgers.bookies());
    let owner = Ledgers::new(bookies, Copies::default(), between);
    assert_eq!(owner.recover(id, Term(2), CloseAt::End), Ok(Some(EntryId(9))));
    let record = world.ledgers.describe(id).unwrap();
    assert_eq!((record.closed(), record.fragments.len()), (Some(Some(EntryId(9))), 2));
}
