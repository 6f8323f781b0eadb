//! Entries of which no copy is left: repairs give up once, an operator accepts, the rest is mended.

use std::collections::BTreeSet;

use egret_schemas::{BookieId, EntryId, LedgerId, Term};

use super::loss::{self, Assessed, Decision, LossError};
use super::repair::{Pace, survey, sweep};
use super::several_tests::{World, text};
use super::*;
use crate::ledger::{CloseAt, LedgerKind};

fn decision(gone: &[usize]) -> Decision {
    Decision {
        gone: gone.iter().map(|&index| bookie(index)).collect(),
        by: "operator".to_owned(),
        reason: "the disks are gone".to_owned(),
    }
}

fn bookie(index: usize) -> BookieId {
    BookieId(index as u64 + 1)
}

/// A closed ledger of ten entries.
fn closed(world: &World) -> (LedgerId, Vec<usize>) {
    let (id, writer) = world.writer();
    for n in 0..10 {
        writer.append_wait(text(n)).unwrap();
    }
    writer.close(Some(EntryId(9))).unwrap();
    let holders = world.holders(id, 0);
    (id, holders)
}

fn lose(world: &World, id: LedgerId, holders: &[usize], entries: &[u64]) {
    for (&holder, &entry) in
        holders.iter().flat_map(|holder| entries.iter().map(move |entry| (holder, entry)))
    {
        world.bookie(holder).lose(id, EntryId(entry));
    }
}

#[test]
fn what_is_nowhere_is_given_up_once_then_accepted_and_the_rest_is_copied() {
    let world = World::new(4);
    let (id, holders) = closed(&world);
    lose(&world, id, &holders, &[4, 5]);
    world.replaced(holders[0]);
    let sweep = || sweep(&world.ledgers, Pace::default(), |_| true).unwrap();
    let first = sweep();
    assert!(first.failed.len() == 1 && first.failed[0].2.is_loss(), "{first:?}");
    // No sweep reads it again and again.
    let second = sweep();
    assert_eq!((second.lacking, second.failed.len()), (0, 0));
    assert_eq!(second.unrecoverable[&id].entry, EntryId(4));
    let lost = vec![(EntryId(4), EntryId(5))];
    let assessed = loss::assess(&world.ledgers, id, &BTreeSet::new(), |_| {}).unwrap();
    assert_eq!(assessed, Assessed::Closed(lost.clone()));

    let mut seen = 0;
    let loss = loss::accept(&world.ledgers, id, decision(&[]), |_| seen += 1).unwrap();
    assert_eq!((loss.ranges.clone(), loss.closed, seen), (lost, None, 10));
    let error = world.ledgers.read(id, EntryId(5)).unwrap_err();
    assert!(matches!(error, ReadError::Lost { .. }), "{error}");
    assert!(error.to_string().contains("go on at entry 6"), "{error}");
    assert_eq!(world.ledgers.read(id, EntryId(6)), Ok(text(6)));
    let third = sweep();
    assert_eq!((third.lacking, third.made.len(), third.made[0].2.entries), (1, 1, 8));
    assert_eq!(survey(&world.ledgers).unwrap().1.lacking, 0);
    assert_eq!(loss::accepted(&world.ledgers).unwrap(), [loss]);
    let again = loss::accept(&world.ledgers, id, decision(&[]), |_| {}).unwrap_err();
    assert_eq!(again, LossError::NothingLost { ledger: id });
}

#[test]
fn a_ledger_whose_bookies_were_all_replaced_is_given_up_too() {
    let world = World::new(6);
    let (id, holders) = closed(&world);
    for &holder in &holders {
        world.replaced(holder);
        world.bookie(holder).set_down(true);
    }
    let first = sweep(&world.ledgers, Pace::default(), |_| true).unwrap();
    assert!(first.failed.iter().all(|(.., why)| !why.is_loss()), "nobody proves anything");
    assert_eq!(survey(&world.ledgers).unwrap().1.unrecoverable[&id].entry, EntryId(0));
    // Somebody puts an old disk in.
    holders.iter().for_each(|&holder| world.bookie(holder).set_down(false));
    loss::forget(&world.ledgers, id).unwrap();
    let again = sweep(&world.ledgers, Pace::default(), |_| true).unwrap();
    assert_eq!(again.made.len(), 3, "{again:?}");
}

#[test]
fn nothing_is_lost_by_a_bookie_that_does_not_answer_unless_it_is_given_up() {
    let world = World::new(4);
    let (id, holders) = closed(&world);
    lose(&world, id, &holders[..2], &[7]);
    world.bookie(holders[2]).set_down(true);
    let error = loss::accept(&world.ledgers, id, decision(&[]), |_| {}).unwrap_err();
    let LossError::NotDecided { entry, bookie: named, .. } = &error else { panic!("{error}") };
    assert_eq!((*entry, *named), (EntryId(7), bookie(holders[2])));
    assert!(world.ledgers.describe(id).unwrap().lost.is_empty());
    assert!(loss::accepted(&world.ledgers).unwrap().is_empty());
    let loss = loss::accept(&world.ledgers, id, decision(&holders[2..]), |_| {}).unwrap();
    assert_eq!(loss.ranges, [(EntryId(7), EntryId(7))]);
}

#[test]
fn an_open_ledger_is_closed_without_the_bookies_given_up() {
    let world = World::new(5);
    let (id, writer) = world.writer();
    for n in 0..4 {
        writer.append_wait(text(n)).unwrap();
    }
    let holders = world.holders(id, 0);
    // The last entry is acknowledged by two disks, and they go.
    world.taking(&[]);
    world.bookie(holders[0]).set_down(true);
    writer.append_wait(text(4)).unwrap();
    drop(writer);
    world.bookie(holders[0]).set_down(false);
    holders[1..].iter().for_each(|&holder| world.bookie(holder).set_down(true));
    world.ledgers.recover(id, Term(2), CloseAt::End).unwrap_err();
    let refused = loss::accept(&world.ledgers, id, decision(&holders[1..2]), |_| {}).unwrap_err();
    assert!(matches!(refused, LossError::Unheard { .. }), "the third may have more: {refused}");
    let spares: Vec<usize> = (0..5).filter(|index| !holders.contains(index)).collect();
    world.taking(&spares);
    let loss = loss::accept(&world.ledgers, id, decision(&holders[1..]), |_| {}).unwrap();
    assert_eq!(loss.closed, Some(Some(EntryId(3))));
    assert_eq!(loss::accepted(&world.ledgers).unwrap(), [loss]);
    assert_eq!(world.ledgers.recover(id, Term(9), CloseAt::End), Ok(Some(EntryId(3))));
    assert_eq!(world.ledgers.read(id, EntryId(3)), Ok(text(3)));
}

/// Also where that bookie was never told what readers may see. In which order the others deny is held by the
/// tests of `given_up`: here answers come at once.
#[test]
fn what_is_on_the_last_bookie_only_is_kept() {
    let world = World::new(5);
    let (id, writer) = world.writer();
    for n in 0..20 {
        writer.append_wait(text(n)).unwrap();
    }
    drop(writer);
    let holders = world.holders(id, 0);
    holders[1..].iter().for_each(|&holder| world.bookie(holder).set_down(true));
    world.bookie(holders[0]).forget_lac(id);
    let loss = loss::accept(&world.ledgers, id, decision(&holders[1..]), |_| {}).unwrap();
    assert_eq!(loss.closed, Some(Some(EntryId(19))));
    assert_eq!(world.ledgers.read(id, EntryId(0)), Ok(text(0)));
}

/// Once, bookies that answered could be given up, and what they had was thrown away.
#[test]
fn nobody_gives_up_a_bookie_that_answers() {
    let world = World::new(5);
    let (id, writer) = world.writer();
    writer.append_wait(text(0)).unwrap();
    let holders = world.holders(id, 0);
    for gone in [&holders[..1], &holders[..]] {
        let error = loss::accept(&world.ledgers, id, decision(gone), |_| {}).unwrap_err();
        assert!(matches!(error, LossError::Answers { .. }), "{error}");
    }
    let error = loss::accept(&world.ledgers, id, decision(&[]), |_| {}).unwrap_err();
    assert!(matches!(error, LossError::NobodyGone { .. }), "{error}");
    assert!(error.to_string().ends_with("say which (`--gone BOOKIE`)"), "{error}");
    // Who may be meant is said, but for those that are there.
    holders.iter().for_each(|&holder| world.bookie(holder).set_down(true));
    world.there(&holders[..1]);
    let error = loss::accept(&world.ledgers, id, decision(&[]), |_| {}).unwrap_err();
    let mut away: Vec<BookieId> = holders[1..].iter().map(|&holder| bookie(holder)).collect();
    away.sort_unstable();
    let named = format!("`--gone {} --gone {}`, which do not answer)", away[0], away[1]);
    assert!(error.to_string().ends_with(&named), "{error}");
    holders.iter().for_each(|&holder| world.bookie(holder).set_down(false));
    writer.append_wait(text(1)).expect("its writer was not disturbed");
}

/// Once, whatever did not answer was believed to be gone: an operator whom no bookie let in lost ledgers of
/// which nothing was wrong.
#[test]
fn nobody_gives_up_a_bookie_that_is_there_and_does_not_let_one_in() {
    let world = World::new(3);
    let (whole, holders) = closed(&world);
    let (open, writer) = world.writer();
    writer.append_wait(text(0)).unwrap();
    (0..3).for_each(|n| world.bookie(n).turn_away());
    for id in [whole, open] {
        let refused = loss::accept(&world.ledgers, id, decision(&holders), |_| {}).unwrap_err();
        assert!(matches!(refused, LossError::ShutOut { .. }), "{refused}");
        let said = refused.to_string();
        let part =
            format!("B1 is not gone, what it has of {id} counts: something answers at its place");
        assert!(said.starts_with(&part) && said.contains("UnknownCA"), "{said}");
        assert!(said.contains("mend what keeps this process out, its certificate, say"), "{said}");
    }
    let unnamed = loss::accept(&world.ledgers, whole, decision(&[]), |_| {}).unwrap_err();
    let said = unnamed.to_string();
    assert!(said.contains("it is there: see why it does not answer"), "{said}");
    assert!(!said.contains("gone"), "{said}");
    // Nor one that cannot be reached from here, and holds its lease.
    (0..3).for_each(|n| world.bookie(n).set_down(true));
    world.there(&[1]);
    for id in [whole, open] {
        let refused = loss::accept(&world.ledgers, id, decision(&holders), |_| {}).unwrap_err();
        let LossError::There { bookie: named, .. } = refused else { panic!("{refused}") };
        assert_eq!(named, bookie(1));
        let said = refused.to_string();
        assert!(said.contains("the metadata has it as there, though it did not answer"), "{said}");
        assert!(said.contains("if it was stopped just now, try again in 10 s"), "{said}");
    }
    assert!(loss::accepted(&world.ledgers).unwrap().is_empty());
    // Its lease is over: somebody said that it is gone, and nothing says otherwise.
    world.there(&[]);
    let loss = loss::accept(&world.ledgers, whole, decision(&holders), |_| {}).unwrap();
    assert_eq!(loss.ranges, [(EntryId(0), EntryId(9))]);
}

#[test]
fn what_bookies_in_limbo_do_not_have_is_lost_without_calling_them_gone() {
    let world = World::new(3);
    let (id, holders) = closed(&world);
    lose(&world, id, &holders, &[4]);
    world.there(&holders);
    holders.iter().for_each(|&holder| world.bookie(holder).set_limbo(true));
    for gone in [&[][..], &holders] {
        let gone = gone.iter().map(|&index| bookie(index)).collect();
        let assessed = loss::assess(&world.ledgers, id, &gone, |_| {}).unwrap();
        assert_eq!(assessed, Assessed::Closed(vec![(EntryId(4), EntryId(4))]));
    }
}

#[test]
fn only_its_owner_closes_a_transactional_ledger() {
    let world = World::new(3);
    let id = world.ledgers.reserve().unwrap();
    let kind = LedgerKind::Transactional { owner: "words".to_owned() };
    let _writer = world.ledgers.create(id, kind, Term(1)).unwrap();
    world.bookie(0).set_down(true);
    let error = loss::accept(&world.ledgers, id, decision(&[0]), |_| {}).unwrap_err();
    assert!(error.to_string().contains("topology `words`"), "{error}");
}

/// Once, nothing said what to do about it: no copy was lacking, and no writer could go on.
#[test]
fn a_ledger_nobody_can_close_is_found_with_those_that_had_it() {
    let world = World::new(5);
    let (id, writer) = world.writer();
    writer.append_wait(text(0)).unwrap();
    drop(writer);
    let mut holders = world.holders(id, 0);
    holders.sort_unstable();
    world.back_with_another(holders[0]);
    assert!(survey(&world.ledgers).unwrap().1.endless.is_empty(), "two are enough");
    world.back_with_another(holders[1]);
    let found = survey(&world.ledgers).unwrap().1;
    assert_eq!(found.endless[&id].bookies, [bookie(holders[0]), bookie(holders[1])]);
    assert!(found.ends.is_empty(), "nobody tries to take it over");
    let stuck = world.ledgers.recover(id, Term(2), CloseAt::End).unwrap_err().to_string();
    assert!(stuck.contains(&format!("`egret ledger accept-loss {id}`")), "{stuck}");
    loss::accept(&world.ledgers, id, decision(&[]), |_| {}).unwrap();
    assert!(survey(&world.ledgers).unwrap().1.endless.is_empty());
}

/// What its former directory had is gone, but the bookie is there, and takes copies as any other.
#[test]
fn a_bookie_that_is_back_with_another_directory_is_given_up_and_takes_copies() {
    let world = World::new(3);
    let (id, writer) = world.writer();
    for n in 0..5 {
        writer.append_wait(text(n)).unwrap();
    }
    drop(writer);
    let holders = world.holders(id, 0);
    let back = world.back_with_another(holders[0]);
    let without = vec![bookie(holders[0])];
    let assessed = loss::assess(&world.ledgers, id, &BTreeSet::new(), |_| {}).unwrap();
    assert_eq!(assessed, Assessed::Open { without });
    let loss = loss::accept(&world.ledgers, id, decision(&[]), |_| {}).unwrap();
    assert_eq!(loss.closed, Some(Some(EntryId(4))));
    // What the close did not move there, a sweep does.
    let swept = sweep(&world.ledgers, Pace::default(), |_| true).unwrap();
    assert!(swept.failed.is_empty(), "{swept:?}");
    assert_eq!(survey(&world.ledgers).unwrap().1.lacking, 0);
    assert!((0..5).all(|n| back.holds(id, EntryId(n))), "the same id, with copies again");
    holders[1..].iter().for_each(|&holder| world.bookie(holder).set_down(true));
    assert_eq!(world.ledgers.read(id, EntryId(4)), Ok(text(4)), "from there alone");
}
