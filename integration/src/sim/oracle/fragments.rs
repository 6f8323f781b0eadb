//! Fragments start in order; only the last of a ledger that is not closed may change, and never below
//! what is confirmed.

use std::collections::BTreeMap;

use egret_log::ledger::{Ensemble, LedgerState};
use egret_schemas::EntryId;

use super::{Book, Oracle};
use crate::sim::fact::Fact;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Fragments;

/// All but the last, and where the last starts.
fn fixed(fragments: &BTreeMap<EntryId, Ensemble>) -> (Vec<(&EntryId, &Ensemble)>, EntryId) {
    let mut all: Vec<_> = fragments.iter().collect();
    let last = all.pop().map_or(EntryId(0), |(first, _)| *first);
    (all, last)
}

impl Oracle for Fragments {
    fn name(&self) -> &'static str {
        "fragments"
    }

    fn hear(&mut self, book: &Book, fact: &Fact) -> Result<(), String> {
        let Fact::Recorded { ledger, after: Some(after) } = fact else { return Ok(()) };
        let Some(history) = book.ledger(*ledger) else { return Ok(()) };
        let Some(before) = &history.record else { return Ok(()) };
        if before.fragments == after.fragments {
            return Ok(());
        }
        if matches!(before.state, LedgerState::Closed { .. } | LedgerState::Deleting) {
            return Err(format!("{ledger} is closed and its fragments changed"));
        }
        let (kept, last) = fixed(&before.fragments);
        let (still, now_last) = fixed(&after.fragments);
        if now_last < last || !still.starts_with(&kept) {
            return Err(format!("{ledger} changed a fragment that was not the last"));
        }
        // A recovery may move what is confirmed, with enough copies of it.
        if after.state == LedgerState::Open && Some(now_last) <= history.confirmed {
            let confirmed = history.confirmed;
            return Err(format!(
                "{ledger} replaced bookies from {now_last}, {confirmed:?} is told"
            ));
        }
        Ok(())
    }
}
