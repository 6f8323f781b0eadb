//! What one bookie has of a ledger, intact, looked at in rows.
//!
//! Only what it showed counts. Whatever it does not show, or shows damaged, it is taken to lack: an entry
//! it had after all is written to it once more, which changes nothing.

use egret_schemas::{EntryId, LedgerId};

use super::ledgers::Ledgers;
use crate::caps;
use crate::ledger::Member;
use crate::ledger::reader::Doubt;
use crate::ledger::row::RowAnswer;
use crate::message::{Refusal, Reply, Request, Unknown};

/// What a bookie has of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Look {
    /// As it was written.
    Intact,
    /// It proves that it has none.
    Missing,
    /// Not as it was written.
    Damaged,
    /// None, and it may have lost it.
    Limbo,
    /// It did not say.
    Unheard(Doubt),
}

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Held<'a> {
    ledgers: &'a Ledgers,
    id: LedgerId,
    at: Member,
    /// Nothing behind it is asked about.
    last: EntryId,
    /// The bookie says that it has nothing behind this; `None` as long as it said nothing.
    highest: Option<Option<EntryId>>,
    /// It showed everything from the entry last asked about to below this.
    shown: EntryId,
}

impl<'a> Held<'a> {
    /// Of the entries up to `last`.
    pub(super) fn ask(ledgers: &'a Ledgers, id: LedgerId, at: Member, last: EntryId) -> Held<'a> {
        let way = ledgers.bookies().transport(at);
        let highest = match way.call(at.incarnation, Request::ReadLac { ledger: id }) {
            Reply::Lac { last, .. } => Some(last),
            _ => None,
        };
        Held { ledgers, id, at, last, highest, shown: EntryId(0) }
    }

    /// The same, asked about every entry: what it does not show may be what it lost.
    pub(super) fn look_for(
        ledgers: &'a Ledgers,
        id: LedgerId,
        at: Member,
        last: EntryId,
    ) -> Held<'a> {
        Held { ledgers, id, at, last, highest: None, shown: EntryId(0) }
    }

    /// Whether it has the entry as it was written. To be asked in order.
    pub(super) fn has(&mut self, entry: EntryId) -> bool {
        if self.highest.is_some_and(|highest| Some(entry) > highest) {
            return false;
        }
        self.look(entry) == Look::Intact
    }

    /// What it has of the entry. To be asked in order.
    pub(super) fn look(&mut self, entry: EntryId) -> Look {
        if entry < self.shown {
            return Look::Intact;
        }
        let count = self.last.next().0.saturating_sub(entry.0);
        let entries_max = u32::try_from(count)
            .map_or(caps::WIRE_ENTRIES_MAX, |count| count.min(caps::WIRE_ENTRIES_MAX));
        let bytes_max = caps::REPAIR_LOOK_BYTES_MAX;
        let request = Request::ReadRange { ledger: self.id, from: entry, entries_max, bytes_max };
        let way = self.ledgers.bookies().transport(self.at);
        let reply = way.call(self.at.incarnation, request);
        match RowAnswer::judge(self.id, entry, entries_max, reply) {
            RowAnswer::Entries(row) => {
                self.shown = row.last().map_or(entry, |found| found.entry).next();
                Look::Intact
            }
            RowAnswer::Nothing | RowAnswer::Unknown(Doubt::Refused(Refusal::NoLedger)) => {
                Look::Missing
            }
            RowAnswer::Unknown(Doubt::Checksum { .. } | Doubt::Bookie(Unknown::Damaged { .. })) => {
                Look::Damaged
            }
            RowAnswer::Unknown(Doubt::Bookie(Unknown::Limbo)) => Look::Limbo,
            RowAnswer::Unknown(why) => Look::Unheard(why),
        }
    }
}
