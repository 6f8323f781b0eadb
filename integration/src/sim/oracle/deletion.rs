//! A ledger is deleted after a tombstone only, and whoever forgot it never shows it again.

use std::collections::BTreeSet;

use egret_log::message::{Refusal, Reply, Request};
use egret_schemas::{Incarnation, LedgerId};

use super::{Book, Oracle};
use crate::sim::fact::Fact;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Deletion {
    forgotten: BTreeSet<(Incarnation, LedgerId)>,
}

impl Oracle for Deletion {
    fn name(&self) -> &'static str {
        "deletion"
    }

    fn hear(&mut self, book: &Book, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::DeleteAsked { ledger } => {
                let tombstone = book.ledger(*ledger).is_some_and(|history| history.tombstone);
                if tombstone {
                    return Ok(());
                }
                Err(format!("bookies are asked to forget {ledger}, and it has no tombstone"))
            }
            Fact::Answered { by, request, reply } => {
                let (Request::Create { ledger, .. }
                | Request::Add { ledger, .. }
                | Request::Read { ledger, .. }
                | Request::ReadRange { ledger, .. }
                | Request::Fence { ledger, .. }
                | Request::WriteLac { ledger, .. }
                | Request::ReadLac { ledger }
                | Request::ClearLimbo { ledger, .. }
                | Request::Delete { ledger }) = request
                else {
                    return Ok(());
                };
                let shown = !matches!(
                    (request, reply),
                    (Request::Delete { .. }, _)
                        | (_, Reply::Refused(Refusal::Deleted) | Reply::Unknown(_))
                        // Refused before anyone looked at the ledger.
                        | (_, Reply::Refused(Refusal::BadCrc | Refusal::ReadOnly | Refusal::DiskFull { .. }))
                );
                let who = (*by, *ledger);
                if shown && self.forgotten.contains(&who) && !book.is_suspect(*by) {
                    return Err(format!("bookie {by} forgot {ledger} and answers for it again"));
                }
                if matches!((request, reply), (Request::Delete { .. }, Reply::Done)) {
                    self.forgotten.insert(who);
                }
                Ok(())
            }
            _ => Ok(()),
        }
    }
}
