//! Who answered for a term accepts no lower one, whatever restarts lie between.

use std::collections::BTreeMap;

use egret_log::message::{Reply, Request};
use egret_schemas::{Incarnation, LedgerId, Term};

use super::{Book, Oracle};
use crate::sim::fact::Fact;

/// See the [module](self).
#[derive(Debug, Default)]
pub(super) struct Fences {
    answered_for: BTreeMap<(Incarnation, LedgerId), Term>,
}

/// The ledger and term a request comes with, when its answer says that the bookie went along.
fn accepted(request: &Request, reply: &Reply) -> Option<(LedgerId, Term)> {
    match (request, reply) {
        (
            Request::Create { ledger, term, .. }
            | Request::Add { ledger, term, .. }
            | Request::WriteLac { ledger, term, .. },
            Reply::Done,
        ) => Some((*ledger, *term)),
        (Request::Fence { ledger, term }, Reply::Fenced { .. }) => Some((*ledger, *term)),
        (
            Request::Read { ledger, fence: Some(term), .. },
            Reply::Entry { .. } | Reply::NoEntry { .. },
        ) => Some((*ledger, *term)),
        _ => None,
    }
}

impl Oracle for Fences {
    fn name(&self) -> &'static str {
        "fences"
    }

    fn hear(&mut self, book: &Book, fact: &Fact) -> Result<(), String> {
        let Fact::Answered { by, request, reply } = fact else { return Ok(()) };
        let Some((ledger, term)) = accepted(request, reply) else { return Ok(()) };
        // A tampered disk may have lost the fence; the others outvote it.
        if book.is_suspect(*by) {
            return Ok(());
        }
        let held = self.answered_for.entry((*by, ledger)).or_default();
        if term < *held {
            return Err(format!("bookie {by} answered for {ledger} at {held}, now at {term}"));
        }
        *held = term;
        Ok(())
    }
}
