//! A transactional ledger ends exactly at its last commit, and nothing is committed behind its end.

use egret_log::ledger::LedgerState;

use super::{Book, Oracle};
use crate::sim::fact::Fact;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Transactional;

impl Oracle for Transactional {
    fn name(&self) -> &'static str {
        "transactional"
    }

    fn hear(&mut self, book: &Book, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Recorded { ledger, after: Some(after) } if after.kind.is_transactional() => {
                let LedgerState::Closed { last } = after.state else { return Ok(()) };
                let committed = book.ledger(*ledger).and_then(|history| history.committed);
                if last != committed {
                    return Err(format!("{ledger} closed at {last:?}, committed {committed:?}"));
                }
                Ok(())
            }
            Fact::Committed { ledger, upto } => {
                let history = book.ledger(*ledger);
                let confirmed = history.and_then(|history| history.confirmed);
                if Some(*upto) > confirmed {
                    return Err(format!("{ledger}:{upto} committed, confirmed {confirmed:?}"));
                }
                match history.and_then(|history| history.closed()) {
                    Some(last) if Some(*upto) > last => {
                        Err(format!("{ledger}:{upto} committed, and it is closed at {last:?}"))
                    }
                    _ => Ok(()),
                }
            }
            _ => Ok(()),
        }
    }
}
