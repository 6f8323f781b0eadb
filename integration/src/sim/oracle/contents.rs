//! An entry's number decides its bytes, for every reader and on every bookie, and none is invented.

use bytes::Bytes;
use egret_log::message::{Reply, Request};
use egret_schemas::{EntryId, LedgerId};

use super::{Book, Oracle};
use crate::sim::fact::Fact;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Contents;

fn check(book: &Book, ledger: LedgerId, entry: EntryId, payload: &Bytes) -> Result<(), String> {
    match book.ledger(ledger).and_then(|history| history.appended.get(&entry)) {
        None => Err(format!("{ledger}:{entry} was found and nobody wrote it")),
        Some(written) if written != payload => {
            Err(format!("{ledger}:{entry} has other bytes than were written"))
        }
        Some(_) => Ok(()),
    }
}

impl Oracle for Contents {
    fn name(&self) -> &'static str {
        "contents"
    }

    fn hear(&mut self, book: &Book, fact: &Fact) -> Result<(), String> {
        match fact {
            Fact::Appended { ledger, entry, .. } => {
                let again = book.ledger(*ledger).is_some_and(|h| h.appended.contains_key(entry));
                if again { Err(format!("{ledger}:{entry} was given out twice")) } else { Ok(()) }
            }
            Fact::Read { ledger, entry, payload } => check(book, *ledger, *entry, payload),
            Fact::Answered { request, reply, .. } => match (request, reply) {
                (
                    Request::Read { ledger, entry: asked, .. },
                    Reply::Entry { entry, payload, .. },
                ) => {
                    if entry != asked {
                        return Err(format!("{ledger}:{entry} answers a read of {asked}"));
                    }
                    check(book, *ledger, *entry, payload)
                }
                (Request::Add { ledger, entry, payload, .. }, Reply::Done) => {
                    check(book, *ledger, *entry, payload)
                }
                _ => Ok(()),
            },
            _ => Ok(()),
        }
    }
}
