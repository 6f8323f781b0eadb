//! A ledger has one end, a record moves forward only, and terms never go back.

use egret_log::ledger::LedgerState;

use super::{Book, Oracle};
use crate::sim::fact::Fact;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Ends;

impl Oracle for Ends {
    fn name(&self) -> &'static str {
        "ends"
    }

    fn hear(&mut self, book: &Book, fact: &Fact) -> Result<(), String> {
        use LedgerState::{Closed, Deleting, InRecovery, Open};
        let Fact::Recorded { ledger, after } = fact else { return Ok(()) };
        let history = book.ledger(*ledger);
        let before = history.and_then(|history| history.record.as_ref());
        let (before, after) = match (before, after) {
            (Some(before), Some(after)) => (before, after),
            (Some(before), None) if before.state != Deleting => {
                return Err(format!("the record of {ledger} went without a tombstone"));
            }
            (None, Some(_)) if history.is_some_and(|history| history.tombstone) => {
                return Err(format!("{ledger} was deleted and is there again"));
            }
            _ => return Ok(()),
        };
        if after.term < before.term {
            return Err(format!("{ledger} went from {} back to {}", before.term, after.term));
        }
        if after.kind != before.kind || after.quorum != before.quorum {
            return Err(format!("{ledger} changed its kind or quorum"));
        }
        let forward = match (before.state, after.state) {
            (Open, _) | (InRecovery, InRecovery | Closed { .. } | Deleting) => true,
            (Closed { last: was }, Closed { last: is }) => was == is,
            (Closed { .. } | Deleting, Deleting) => true,
            _ => false,
        };
        if !forward {
            return Err(format!("{ledger} went from {:?} to {:?}", before.state, after.state));
        }
        if let Closed { last } = after.state {
            let appended = history.and_then(|h| h.appended.last_key_value()).map(|(e, _)| *e);
            if last > appended {
                return Err(format!("{ledger} closed at {last:?}, beyond {appended:?}"));
            }
        }
        Ok(())
    }
}
