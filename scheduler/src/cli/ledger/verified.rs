//! What looking at every copy of a ledger came to, said to people and to programs.

use egret_log::client::verify::{Nowhere, NowhereWhy, Share, Verified};
use egret_log::ledger::Member;
use egret_schemas::{BookieId, LedgerId};
use serde_json::{Value, json};

use super::super::exit::Done;
use super::super::output;
use super::loss::range;

/// For programs.
pub(super) fn json(id: LedgerId, verified: &Verified) -> Value {
    let share = |(member, share): (&Member, &Share)| {
        json!({
            "bookie": member.bookie.0,
            "intact": share.intact,
            "damaged": share.damaged,
            "missing": share.missing,
            "mended": share.mended,
            "failed": share.failed.as_ref().map(ToString::to_string),
        })
    };
    let nowhere = |nowhere: &Nowhere| {
        let (why, bookies) = match &nowhere.why {
            NowhereWhy::Lost => ("lost", &[][..]),
            NowhereWhy::Limbo { bookies } => ("limbo", &bookies[..]),
            NowhereWhy::Unheard { bookies } => ("unheard", &bookies[..]),
        };
        json!({
            "first": nowhere.first.0,
            "last": nowhere.last.0,
            "why": why,
            "bookies": bookies.iter().map(|bookie| bookie.0).collect::<Vec<u64>>(),
        })
    };
    json!({
        "ledger": id.to_string(),
        "entries": verified.entries,
        "bookies": verified.bookies.iter().map(share).collect::<Vec<Value>>(),
        "nowhere": verified.nowhere.iter().map(nowhere).collect::<Vec<Value>>(),
        "written_from": verified.written_from.map(|from| from.0),
    })
}

/// For people.
pub(super) fn say(id: LedgerId, verified: &Verified) -> Done {
    output::line(&format!("{id}: {} entries looked for on every bookie", verified.entries))?;
    for (member, share) in &verified.bookies {
        let Share { intact, damaged, missing, mended, failed } = share;
        let mut said = format!(
            "{}: {intact} copies as written, {damaged} damaged, {missing} missing, {mended} made anew",
            member.bookie
        );
        if let Some(why) = failed {
            said += &format!("; not done to the end: {why}");
        }
        output::line(&said)?;
    }
    if let Some(from) = verified.written_from {
        output::line(&format!("from entry {from} on it is still written, and was not looked at"))?;
    }
    for nowhere in &verified.nowhere {
        output::line(&what_to_do(id, nowhere))?;
    }
    Ok(())
}

fn what_to_do(id: LedgerId, Nowhere { first, last, why }: &Nowhere) -> String {
    let entries = range(&(*first, *last));
    let names = |bookies: &[BookieId]| {
        bookies.iter().map(BookieId::to_string).collect::<Vec<_>>().join(", ")
    };
    let accept = |bookies: &[BookieId]| {
        let gone: String = bookies.iter().map(|bookie| format!(" --gone {bookie}")).collect();
        format!("`egret ledger accept-loss {id}{gone}`")
    };
    match why {
        NowhereWhy::Lost => format!(
            "{id}: no copy is left of {entries}: put a disk back that has one and call this again, or \
             accept the loss: {}",
            accept(&[])
        ),
        NowhereWhy::Limbo { bookies } => format!(
            "{id}: {entries} in limbo: {} stopped uncleanly and may have lost it (Unknown), and no other \
             bookie has a copy: put a disk back that has one and call this again, or accept the loss: {}",
            names(bookies),
            accept(bookies)
        ),
        NowhereWhy::Unheard { bookies } => format!(
            "{id}: {entries} may be on {}, which did not answer, and on no other bookie: start or mend it \
             and call this again; if it will not come back: {}",
            names(bookies),
            accept(bookies)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use egret_schemas::EntryId;

    #[test]
    fn what_is_in_limbo_is_said_with_the_command_that_ends_it() {
        let bookies = vec![BookieId(1), BookieId(3)];
        let why = NowhereWhy::Limbo { bookies };
        let said = what_to_do(LedgerId(7), &Nowhere { first: EntryId(4), last: EntryId(5), why });
        assert!(said.contains("4–5 in limbo: B1, B3 stopped uncleanly"), "{said}");
        assert!(said.contains("`egret ledger accept-loss L7 --gone B1 --gone B3`"), "{said}");
    }
}
