//! Confirmations leave in order, each once an ack quorum of the committed ensemble has the entry.

use egret_schemas::EntryId;

use super::{Book, Oracle};
use crate::sim::fact::Fact;

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Order;

impl Oracle for Order {
    fn name(&self) -> &'static str {
        "order"
    }

    fn hear(&mut self, book: &Book, fact: &Fact) -> Result<(), String> {
        let Fact::Confirmed { ledger, entry, .. } = fact else { return Ok(()) };
        let Some(history) = book.ledger(*ledger) else {
            return Err(format!("{ledger}:{entry} confirmed, and there is no such ledger"));
        };
        let expected = EntryId::after(history.confirmed);
        if *entry != expected {
            return Err(format!("{ledger}:{entry} confirmed, {expected} was next"));
        }
        // Of a ledger that is gone meanwhile nobody knows the ensemble.
        let Some(record) = &history.record else { return Ok(()) };
        let copies = history.copies.get(entry);
        let has = |who| copies.is_some_and(|copies| copies.contains(&who));
        let replicas = book.replicas(*ledger, *entry);
        let held = replicas.iter().filter(|member| has(member.incarnation)).count();
        if held < record.quorum.ack() {
            return Err(format!(
                "{ledger}:{entry} confirmed with {held} copies in the ensemble of its record"
            ));
        }
        Ok(())
    }
}
