//! What was confirmed, or committed, is readable by everyone for ever.

use egret_log::ledger::LedgerState;

use super::{Book, Oracle};
use crate::sim::fact::Fact;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Acknowledged;

impl Oracle for Acknowledged {
    fn name(&self) -> &'static str {
        "acknowledged"
    }

    fn hear(&mut self, book: &Book, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Recorded { ledger, after: Some(after) } => {
                let LedgerState::Closed { last } = after.state else { return Ok(()) };
                let Some(history) = book.ledger(*ledger) else { return Ok(()) };
                if history.promised() > last {
                    let promised = history.promised();
                    return Err(format!("{ledger} closed at {last:?} below {promised:?}"));
                }
                let ack = after.quorum.ack();
                // Every entry up to the end is on an ack quorum of those who should have it.
                for entry in history.appended.keys().filter(|entry| Some(**entry) <= last) {
                    let replicas = after.fragment_of(*entry).1;
                    let copies = history.copies.get(entry);
                    let has = |slot: &usize| {
                        let who = replicas.member(*slot).incarnation;
                        copies.is_some_and(|copies| copies.contains(&who))
                    };
                    let held = replicas.write_set(*entry, after.quorum).filter(has).count();
                    if held < ack {
                        return Err(format!(
                            "{ledger} closed at {last:?} with {held} copies of {entry}"
                        ));
                    }
                }
                Ok(())
            }
            Fact::Confirmed { ledger, entry, term } => {
                let history = book.ledger(*ledger);
                // What its owner did not commit may be confirmed late and dropped all the same.
                if history.is_some_and(|history| history.is_transactional()) {
                    return Ok(());
                }
                match history.and_then(|history| history.closed()) {
                    Some(last) if Some(*entry) > last => Err(format!(
                        "{ledger}:{entry} confirmed at {term}, and it is closed at {last:?}"
                    )),
                    _ => Ok(()),
                }
            }
            Fact::ReadMissing { ledger, entry } => {
                let Some(history) = book.ledger(*ledger) else { return Ok(()) };
                let promised = Some(*entry) <= history.promised()
                    || history.closed().is_some_and(|last| Some(*entry) <= last);
                if promised && !history.tombstone {
                    return Err(format!("{ledger}:{entry} was promised and is proved absent"));
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
