//! How far an open ledger may be read while some of its bookies are away.

use egret_schemas::{EntryId, LedgerId, Term};

use super::several_tests::{World, text};
use super::*;
use crate::ledger::LedgerKind;

/// An open ledger of three bookies, of which the first was away while so many entries were appended behind
/// `before`; now it alone is there.
fn known_to_one(before: Option<u64>, behind: u64) -> (World, LedgerId) {
    let world = World::new(3);
    world.bookie(0).set_down(before.is_none());
    let (id, writer) = world.writer();
    let first = before.unwrap_or(0);
    (0..first).for_each(|n| assert_eq!(writer.append_wait(text(n)), Ok(EntryId(n))));
    writer.drain().unwrap();
    world.bookie(0).set_down(true);
    let last = first + behind;
    (first..last).for_each(|n| assert_eq!(writer.append_wait(text(n)), Ok(EntryId(n))));
    drop(writer);
    world.bookie(0).set_down(false);
    (1..3).for_each(|away| world.bookie(away).set_down(true));
    (world, id)
}

fn names_the_others(said: &str, id: LedgerId) {
    for part in ["B2 says", "B3 says", "cannot be reached", "start or mend what does not answer"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert!(said.contains(&format!("`egret ledger accept-loss {id}`")), "{said}");
}

/// Once, a ledger whose bookies were away was empty, because one that had never heard of it was asked.
#[test]
fn a_bookie_that_never_had_the_ledger_proves_nothing_alone() {
    let (world, id) = known_to_one(None, 10);
    let error = world.ledgers.end(id).unwrap_err();
    assert!(matches!(error, ReadError::NoEnd { known: None, .. }), "{error}");
    let said = error.to_string();
    assert!(said.contains(&format!("how far {id} may be read is not known: B1 says")), "{said}");
    names_the_others(&said, id);
    let unread = world.ledgers.read_unconfirmed(id, EntryId(3)).unwrap_err();
    assert!(matches!(unread, ReadError::Doubtful { .. }), "{unread}");
    names_the_others(&unread.to_string(), id);
    // Two of three are enough to know that it is not empty, or that it is.
    world.bookie(1).set_down(false);
    assert!(world.ledgers.known_end(id).unwrap().whole().unwrap().readable() >= Some(EntryId(8)));
    assert_eq!(world.ledgers.read(id, EntryId(3)), Ok(text(3)));
}

#[test]
fn two_bookies_of_three_that_never_had_it_prove_that_it_is_empty() {
    let world = World::new(3);
    (0..3).for_each(|down| world.bookie(down).set_down(true));
    let id = world.ledgers.reserve().unwrap();
    let made = world.ledgers.create(id, LedgerKind::Plain, Term(1));
    assert!(made.is_err(), "its record was written, and no bookie was told");
    world.bookie(0).set_down(false);
    names_the_others(&world.ledgers.end(id).unwrap_err().to_string(), id);
    world.bookie(1).set_down(false);
    let known = world.ledgers.known_end(id).unwrap();
    assert_eq!(known.whole(), Ok(LedgerEnd::Open { lac: None }));
}

#[test]
fn what_one_of_three_knows_is_enough_to_follow_and_not_to_say_where_it_ends() {
    let (world, id) = known_to_one(Some(4), 6);
    let known = world.ledgers.known_end(id).unwrap();
    let end = known.clone().at_least().unwrap();
    assert!((Some(EntryId(2))..=Some(EntryId(3))).contains(&end.readable()), "{end:?}");
    assert_eq!(world.ledgers.end(id), Ok(end));
    assert_eq!(world.ledgers.read(id, EntryId(2)), Ok(text(2)));
    let error = known.whole().unwrap_err();
    names_the_others(&error.to_string(), id);
    let error = world.ledgers.read(id, EntryId(5)).unwrap_err();
    assert!(matches!(error, ReadError::NoEnd { .. }), "it may be there: {error}");
    assert!(error.to_string().contains("not known behind entry"), "{error}");
}
