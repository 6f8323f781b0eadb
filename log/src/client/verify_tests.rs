//! Copies looked at and made anew, and what is said of those that cannot be.

use egret_schemas::{BookieId, EntryId, LedgerId};

use super::repair::{Pace, survey};
use super::several_tests::{World, text};
use super::verify::{Nowhere, NowhereWhy, Verified, verify};

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

fn bookie(index: usize) -> BookieId {
    BookieId(index as u64 + 1)
}

fn verified(world: &World, id: LedgerId) -> Verified {
    verify(&world.ledgers, id, Some(Pace::default()), |_| {}).unwrap()
}

/// Intact, damaged, missing, mended.
fn share(verified: &Verified, index: usize) -> (u64, u64, u64, u64) {
    let mut all = verified.bookies.iter();
    let (_, share) = all.find(|(member, _)| member.bookie == bookie(index)).unwrap();
    (share.intact, share.damaged, share.missing, share.mended)
}

/// Records knew nothing of it, and a repair by name said that nothing was lacking.
#[test]
fn copies_that_rotted_or_are_gone_are_made_anew() {
    let world = World::new(3);
    let (id, holders) = closed(&world);
    world.bookie(holders[0]).flip(id, EntryId(3));
    world.bookie(holders[1]).lose(id, EntryId(3));
    world.bookie(holders[1]).lose(id, EntryId(9));
    assert_eq!(survey(&world.ledgers).unwrap().1.lacking, 0);

    let looked = verify(&world.ledgers, id, None, |_| {}).unwrap();
    assert_eq!((share(&looked, holders[0]), looked.unmended()), ((9, 1, 0, 0), 3));

    let mut seen = 0;
    let mended = verify(&world.ledgers, id, Some(Pace::default()), |_| seen += 1).unwrap();
    assert_eq!((mended.entries, seen), (10, 10));
    assert_eq!((mended.bad(), mended.mended()), (3, 3));
    assert_eq!(share(&mended, holders[0]), (9, 1, 0, 1));
    assert_eq!(share(&mended, holders[1]), (8, 0, 2, 2));
    assert_eq!(share(&mended, holders[2]), (10, 0, 0, 0));
    assert!(mended.is_whole(), "{mended:?}");
    let again = verified(&world, id);
    assert!(again.bookies.values().all(|share| share.intact == 10), "{again:?}");
}

#[test]
fn what_nobody_shows_is_told_with_what_its_bookies_say() {
    let world = World::new(3);
    let (id, holders) = closed(&world);
    let lose = |these: &[usize], entry| {
        these.iter().for_each(|&holder| world.bookie(holder).lose(id, EntryId(entry)));
    };
    lose(&holders, 4);
    lose(&holders, 5);
    lose(&holders[..1], 7);
    let nowhere = |why| Nowhere { first: EntryId(4), last: EntryId(5), why };
    assert_eq!(verified(&world, id).nowhere, [nowhere(NowhereWhy::Lost)]);

    holders.iter().for_each(|&holder| world.bookie(holder).set_limbo(true));
    let found = verified(&world, id);
    let mut bookies: Vec<BookieId> = holders.iter().map(|&holder| bookie(holder)).collect();
    bookies.sort_unstable();
    assert_eq!(found.nowhere, [nowhere(NowhereWhy::Limbo { bookies })]);
    assert!(!found.is_whole());

    world.bookie(holders[2]).set_down(true);
    let found = verified(&world, id);
    let unheard = |bookies, there| nowhere(NowhereWhy::Unheard { bookies, there });
    assert_eq!(found.nowhere, [unheard(vec![bookie(holders[2])], vec![])]);
    let failed: Vec<_> = found.bookies.values().filter(|share| share.failed.is_some()).collect();
    assert_eq!(failed.len(), 1, "it was asked once: {failed:?}");
    // Somebody who is there is not to be called gone.
    world.there(&holders[2..]);
    assert_eq!(verified(&world, id).nowhere, [unheard(vec![], vec![bookie(holders[2])])]);
    world.there(&[]);
    world.bookie(holders[2]).turn_away();
    assert_eq!(verified(&world, id).nowhere, [unheard(vec![], vec![bookie(holders[2])])]);
}

#[test]
fn what_is_still_written_is_left_to_its_writer() {
    let world = World::new(4);
    let (id, writer) = world.writer();
    writer.append_wait(text(0)).unwrap();
    let dead = world.holders(id, 0)[0];
    world.bookie(dead).set_down(true);
    for n in 1..5 {
        writer.append_wait(text(n)).unwrap();
    }
    world.bookie(dead).set_down(false);
    let found = verified(&world, id);
    let from = *world.ledgers.describe(id).unwrap().fragments.last_key_value().unwrap().0;
    assert_eq!((found.entries, found.written_from), (from.0, Some(from)));
    writer.append_wait(text(5)).expect("its writer was not disturbed");
}
