//! What must hold in every state of a world.

use egret_log::ledger::reader::{EntryRead, ReadAnswer, ReadStep};
use egret_log::message::{Reply, Unknown, entry_crc};
use egret_schemas::{EntryId, Term};

use crate::call::{LEDGER, payload};
use crate::scope::Scope;
use crate::world::World;

/// The first promise that does not hold, in words.
pub fn check(world: &World, scope: &Scope) -> Result<(), String> {
    readers_are_told_of_what_is_acknowledged(world, scope)?;
    refused_means_nowhere(world)?;
    acknowledged_is_durable(world, scope)?;
    if let Some(last) = world.closed() {
        closed_keeps_its_word(world, scope, last)?;
    }
    Ok(())
}

fn up_to(last: Option<EntryId>) -> impl Iterator<Item = EntryId> {
    (0..EntryId::after(last).0).map(EntryId)
}

fn ensure(holds: bool, broken: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(broken()) }
}

fn readers_are_told_of_what_is_acknowledged(world: &World, scope: &Scope) -> Result<(), String> {
    let bound = if scope.transactional { world.committed() } else { world.acked() };
    for node in world.nodes() {
        let lac = node.ledger.lac;
        ensure(lac <= bound, || format!("a reader may see up to {lac:?}, beyond {bound:?}"))?;
    }
    Ok(())
}

fn refused_means_nowhere(world: &World) -> Result<(), String> {
    for entry in world.refused() {
        let there = world.nodes().iter().any(|node| node.ledger.entries.contains_key(entry));
        ensure(!there, || format!("{entry} was told to be nowhere, and it is there"))?;
    }
    Ok(())
}

fn acknowledged_is_durable(world: &World, scope: &Scope) -> Result<(), String> {
    let expected = expected_copies(world, scope);
    let last = if scope.transactional { world.committed() } else { world.acked() };
    for entry in up_to(last) {
        let copies = world.copies(entry);
        ensure(copies >= expected, || format!("{entry} is acknowledged, with {copies} copies"))?;
    }
    Ok(())
}

fn expected_copies(world: &World, scope: &Scope) -> usize {
    scope.sizes().ack().saturating_sub(world.copies_taken(scope))
}

fn closed_keeps_its_word(
    world: &World,
    scope: &Scope,
    last: Option<EntryId>,
) -> Result<(), String> {
    let (acked, committed) = (world.acked(), world.committed());
    if scope.stale_commit {
        return Ok(());
    }
    if scope.transactional {
        ensure(last == committed, || format!("closed at {last:?}, committed {committed:?}"))?;
    } else {
        ensure(acked <= last, || format!("acknowledged up to {acked:?}, closed at {last:?}"))?;
    }
    let expected = expected_copies(world, scope).max(1);
    for entry in up_to(last) {
        let copies = world.copies(entry);
        ensure(copies >= expected, || format!("closed at {last:?} with {copies} of {entry}"))?;
        for broken in 0..scope.sizes().ensemble() {
            reads_right(world, entry, broken, copies)?;
        }
    }
    Ok(())
}

/// Reads an entry as a client would, one copy being damaged on its way.
fn reads_right(world: &World, entry: EntryId, broken: usize, copies: usize) -> Result<(), String> {
    let (_, ensemble) = world.record().fragment_of(entry);
    let slots = ensemble.write_set(entry, world.record().quorum);
    let (mut read, mut step) = EntryRead::new(slots);
    loop {
        step = match step {
            ReadStep::Ask(slot) => {
                let member = ensemble.member(slot);
                let whole = payload(entry);
                let crc = entry_crc(LEDGER, entry, &whole);
                let reply = match (world.holds(member, entry), slot == broken) {
                    (true, true) => {
                        let payload = bytes::Bytes::from_static(b"?");
                        Reply::Entry { entry, term: Term(1), crc, lac: None, payload }
                    }
                    (true, false) => {
                        Reply::Entry { entry, term: Term(1), crc, lac: None, payload: whole }
                    }
                    (false, true) => Reply::Unknown(Unknown::Limbo),
                    (false, false) => Reply::NoEntry { lac: None },
                };
                read.on_answer(ReadAnswer::judge(LEDGER, entry, reply))
            }
            ReadStep::Found(found) => {
                return ensure(found == payload(entry), || format!("{entry} is read wrong"));
            }
            ReadStep::Wait => return Err(format!("a read of {entry} waits for nobody")),
            ReadStep::Missing => return Err(format!("{entry} is there and read as missing")),
            ReadStep::Doubtful(why) => {
                return ensure(copies <= 1, || format!("{entry} has another copy: {why}"));
            }
        }
    }
}
