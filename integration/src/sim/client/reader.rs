//! Reads what readers may see: asks one bookie how far that is, then entry after entry.

use egret_log::ledger::reader::{EntryRead, ReadAnswer, ReadStep};
use egret_log::ledger::{LedgerMetadata, LedgerState, metadata_codec};
use egret_log::message::{Refusal, Reply, Request};
use egret_schemas::{EntryId, LedgerId};

use super::{Action, MetaAnswer, Role, Tag, What, Who, record_key};
use crate::sim::dice::Dice;
use crate::sim::fact::Fact;
use crate::sim::fault::Fault;

/// Entries one reader reads in one go.
const ENTRIES: u64 = 24;

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct ReaderRole {
    who: Who,
    ledger: LedgerId,
    record: Option<LedgerMetadata>,
    /// Whether the record was read after the entry was known to be visible.
    fresh: bool,
    end: Option<EntryId>,
    entry: EntryId,
    read: Option<EntryRead>,
    attempt: u64,
    looks: u32,
    left: u64,
    dice: Dice,
}

impl ReaderRole {
    pub(crate) fn new(who: Who, ledger: LedgerId, dice: Dice) -> ReaderRole {
        ReaderRole {
            who,
            ledger,
            record: None,
            fresh: false,
            end: None,
            entry: EntryId(0),
            read: None,
            attempt: 0,
            looks: 0,
            left: ENTRIES,
            dice,
        }
    }

    fn look(&mut self, out: &mut Vec<Action>) {
        self.looks += 1;
        if self.looks > 8 {
            out.push(Action::Finished);
            return;
        }
        out.push(Action::Get(record_key(self.ledger)));
    }

    fn ask_end(&mut self, out: &mut Vec<Action>) {
        let record = self.record.as_ref().expect("read before");
        self.attempt += 1;
        match record.state {
            LedgerState::Closed { last } => {
                self.end = last;
                self.fresh = true;
                self.begin(out);
            }
            LedgerState::Deleting => out.push(Action::Finished),
            LedgerState::Open | LedgerState::InRecovery => {
                let members = record.last_fragment().1.members();
                let to = members[self.dice.pick(members.len())];
                let request = Request::ReadLac { ledger: self.ledger };
                let attempt = self.attempt;
                let tag = Tag { what: What::ReadLac, attempt, ..Tag::default() };
                out.push(Action::Ask { to, request, tag });
            }
        }
    }

    /// Reads the next entry.
    fn begin(&mut self, out: &mut Vec<Action>) {
        if Some(self.entry) > self.end || self.left == 0 {
            out.push(Action::Finished);
            return;
        }
        self.left -= 1;
        self.attempt += 1;
        let record = self.record.as_ref().expect("read before");
        let ensemble = record.fragment_of(self.entry).1;
        let (read, step) = EntryRead::new(ensemble.write_set(self.entry, record.quorum));
        self.read = Some(read);
        self.carry_out(step, out);
    }

    fn carry_out(&mut self, step: ReadStep, out: &mut Vec<Action>) {
        let (ledger, entry) = (self.ledger, self.entry);
        match step {
            ReadStep::Ask(slot) => {
                let record = self.record.as_ref().expect("read before");
                let to = record.fragment_of(entry).1.member(slot);
                let request = Request::Read { ledger, entry, fence: None };
                let tag = Tag { what: What::Read, attempt: self.attempt, slot, entry };
                out.push(Action::Ask { to, request, tag });
                // As if the answer took long.
                if self.dice.per_mille(150)
                    && let Some(read) = self.read.as_mut().filter(|read| read.can_hedge())
                {
                    let step = read.hedge();
                    self.carry_out(step, out);
                }
            }
            ReadStep::Wait => {}
            ReadStep::Found(payload) => {
                out.push(Action::Tell(Fact::Read { ledger, entry, payload }));
                self.entry = entry.next();
                self.begin(out);
            }
            ReadStep::Missing if self.fresh => {
                out.push(Action::Tell(Fact::ReadMissing { ledger, entry }));
                out.push(Action::Finished);
            }
            // The record may be older than what it says of this entry: read it again.
            ReadStep::Missing | ReadStep::Doubtful(_) => {
                if matches!(step, ReadStep::Missing) {
                    out.push(Action::Hit(Fault::StaleRecord));
                }
                let us = self.dice.between(500, 20_000);
                out.push(Action::Wait { us });
            }
        }
    }
}

impl Role for ReaderRole {
    fn name(&self) -> &'static str {
        "reader"
    }

    fn ledger(&self) -> Option<LedgerId> {
        Some(self.ledger)
    }

    fn start(&mut self, out: &mut Vec<Action>) {
        debug_assert!(self.who.process != 0, "every client is someone");
        self.look(out);
    }

    fn on_answer(&mut self, tag: Tag, reply: Reply, out: &mut Vec<Action>) {
        if tag.attempt != self.attempt {
            return;
        }
        match tag.what {
            What::ReadLac => match reply {
                Reply::Lac { lac, .. } => {
                    self.end = lac;
                    self.fresh = false;
                    self.begin(out);
                }
                Reply::Refused(Refusal::Deleted) => out.push(Action::Finished),
                _ => out.push(Action::Wait { us: 5_000 }),
            },
            What::Read => {
                let answer = ReadAnswer::judge(self.ledger, tag.entry, reply);
                if let Some(read) = &mut self.read {
                    let step = read.on_answer(answer);
                    self.carry_out(step, out);
                }
            }
            _ => {}
        }
    }

    fn on_meta(&mut self, answer: MetaAnswer, out: &mut Vec<Action>) {
        match answer {
            MetaAnswer::Got(Some(found)) => {
                let held = metadata_codec::decode(&found.value)
                    .expect("only this codec's bytes were written");
                self.record = Some(held);
                if self.end.is_some() {
                    // The end is known from before: the record is younger.
                    self.fresh = true;
                    let deleting = self.record.as_ref().map(|record| record.state);
                    if deleting == Some(LedgerState::Deleting) {
                        out.push(Action::Finished);
                    } else {
                        self.begin(out);
                    }
                } else {
                    self.ask_end(out);
                }
            }
            MetaAnswer::Got(None) => out.push(Action::Finished),
            MetaAnswer::Txn(_) | MetaAnswer::Lost => out.push(Action::Wait { us: 3_000 }),
        }
    }

    fn on_time(&mut self, out: &mut Vec<Action>) {
        self.look(out);
    }
}
