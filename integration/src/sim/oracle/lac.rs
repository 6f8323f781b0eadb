//! What readers may see never leads what is confirmed, of a transactional ledger what is committed,
//! and never falls while the bookie runs.

use std::collections::BTreeMap;

use egret_log::message::{Reply, Request};
use egret_schemas::{EntryId, Incarnation, LedgerId};

use super::{Book, Oracle};
use crate::sim::fact::Fact;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Lac {
    told: BTreeMap<Incarnation, BTreeMap<LedgerId, EntryId>>,
}

fn told(request: &Request, reply: &Reply) -> Option<(LedgerId, Option<EntryId>)> {
    match (request, reply) {
        (Request::Read { ledger, .. }, Reply::Entry { lac, .. } | Reply::NoEntry { lac })
        | (Request::Fence { ledger, .. }, Reply::Fenced { lac, .. })
        | (Request::ReadLac { ledger }, Reply::Lac { lac, .. }) => Some((*ledger, *lac)),
        _ => None,
    }
}

impl Oracle for Lac {
    fn name(&self) -> &'static str {
        "lac"
    }

    fn hear(&mut self, book: &Book, fact: &Fact) -> Result<(), String> {
        match fact {
            // What no add carried was only in memory.
            Fact::Started { bookie } => {
                self.told.remove(bookie);
            }
            Fact::Answered { by, request, reply } => {
                let Some((ledger, lac)) = told(request, reply) else { return Ok(()) };
                let promised = book.ledger(ledger).and_then(|history| history.promised());
                if lac > promised {
                    return Err(format!(
                        "bookie {by} shows {ledger} up to {lac:?}, beyond {promised:?}"
                    ));
                }
                let seen = self.told.entry(*by).or_default();
                if lac < seen.get(&ledger).copied() {
                    return Err(format!("bookie {by} showed more of {ledger} than {lac:?}"));
                }
                if let Some(lac) = lac {
                    seen.insert(ledger, lac);
                }
            }
            Fact::Read { ledger, entry, .. } => {
                let Some(history) = book.ledger(*ledger) else { return Ok(()) };
                let bound = history.promised().max(history.closed().flatten());
                if Some(*entry) > bound && !history.tombstone {
                    return Err(format!("a reader saw {ledger}:{entry}, beyond {bound:?}"));
                }
            }
            _ => {}
        }
        Ok(())
    }
}
