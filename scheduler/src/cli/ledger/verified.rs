//! What looking at every copy of a ledger came to, said to people and to programs.

use egret_log::client::loss::options;
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
        let (why, bookies, there) = match &nowhere.why {
            NowhereWhy::Lost => ("lost", &[][..], &[][..]),
            NowhereWhy::Limbo { bookies } => ("limbo", &bookies[..], &[][..]),
            NowhereWhy::Unheard { bookies, there } => ("unheard", &bookies[..], &there[..]),
        };
        let numbers = |bookies: &[BookieId]| bookies.iter().map(|b| b.0).collect::<Vec<u64>>();
        json!({
            "first": nowhere.first.0,
            "last": nowhere.last.0,
            "why": why,
            "bookies": numbers(bookies),
            "there": numbers(there),
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
        let space = if bookies.is_empty() { "" } else { " " };
        format!("`egret ledger accept-loss {id}{space}{}`", options(bookies))
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
            accept(&[])
        ),
        NowhereWhy::Unheard { bookies, there } if there.is_empty() => format!(
            "{id}: {entries} may be on {}, which did not answer, and on no other bookie: start or mend it \
             and call this again; if it will not come back: {}",
            names(bookies),
            accept(bookies)
        ),
        // Whatever else is away, what those have is not lost.
        NowhereWhy::Unheard { bookies, there } => format!(
            "{id}: {entries} may be on {}, there as the metadata has it or by what was answered{}: see above \
             why this process hears nothing of it, mend that and call this again; or in some seconds, if it was \
             killed just now",
            names(there),
            match bookies.is_empty() {
                true => String::new(),
                false => format!(", and on {}, to be started or mended", names(bookies)),
            },
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use egret_schemas::EntryId;

    fn said(why: NowhereWhy) -> String {
        what_to_do(LedgerId(7), &Nowhere { first: EntryId(4), last: EntryId(5), why })
    }

    #[test]
    fn what_is_in_limbo_is_said_with_the_command_that_ends_it() {
        let said = said(NowhereWhy::Limbo { bookies: vec![BookieId(1), BookieId(3)] });
        assert!(said.contains("4–5 in limbo: B1, B3 stopped uncleanly"), "{said}");
        // They are up: nobody is to call them gone.
        assert!(said.ends_with("accept the loss: `egret ledger accept-loss L7`"), "{said}");
    }

    /// Once, an operator whose certificate no bookie took was told to call all of them gone.
    #[test]
    fn only_who_may_be_gone_is_named_as_gone() {
        let (one, two) = (BookieId(1), BookieId(2));
        let away = said(NowhereWhy::Unheard { bookies: vec![one, two], there: vec![] });
        assert!(away.contains("may be on B1, B2, which did not answer"), "{away}");
        assert!(away.ends_with("`egret ledger accept-loss L7 --gone B1 --gone B2`"), "{away}");
        for bookies in [vec![], vec![one]] {
            let there = said(NowhereWhy::Unheard { bookies, there: vec![two] });
            assert!(there.contains("may be on B2, there as the metadata has it"), "{there}");
            assert!(there.contains("see above why this process hears nothing of it"), "{there}");
            assert!(!there.contains("gone") && !there.contains("accept-loss"), "{there}");
        }
    }
}
