//! What a bookie acknowledged, or showed, it has after any restart, or says that it is damaged: an
//! acknowledgement is durable, and "no entry" is proof.

use egret_log::message::{Refusal, Reply, Request};
use egret_schemas::{EntryId, Incarnation, LedgerId};

use super::{Book, Oracle};
use crate::sim::fact::Fact;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Kept;

fn lacks(book: &Book, by: Incarnation, ledger: LedgerId, entry: EntryId) -> Result<(), String> {
    let copies = book.ledger(ledger).and_then(|history| history.copies.get(&entry));
    if copies.is_some_and(|copies| copies.contains(&by)) && !book.is_suspect(by) {
        return Err(format!("bookie {by} had {ledger}:{entry} and proves that it never did"));
    }
    Ok(())
}

impl Oracle for Kept {
    fn name(&self) -> &'static str {
        "kept"
    }

    fn hear(&mut self, book: &Book, fact: &Fact) -> Result<(), String> {
        let Fact::Answered { by, request, reply } = fact else { return Ok(()) };
        match (request, reply) {
            (Request::Read { ledger, entry, .. }, Reply::NoEntry { .. }) => {
                lacks(book, *by, *ledger, *entry)
            }
            (
                Request::Add { ledger, .. }
                | Request::Read { ledger, .. }
                | Request::ReadLac { ledger },
                Reply::Refused(Refusal::NoLedger),
            ) => {
                let created = book.ledger(*ledger).is_some_and(|h| h.created.contains(by));
                if created && !book.is_suspect(*by) {
                    return Err(format!("bookie {by} created {ledger} and does not know it"));
                }
                Ok(())
            }
            (
                Request::Add { ledger, .. } | Request::Read { ledger, .. },
                Reply::Refused(Refusal::Deleted),
            ) if book.ledger(*ledger).is_none_or(|history| !history.tombstone) => {
                Err(format!("bookie {by} forgot {ledger}, which nobody deleted"))
            }
            _ => Ok(()),
        }
    }
}
