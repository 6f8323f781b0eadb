//! Forgets a ledger: a tombstone in its record, then the bookies, then the record.

use std::collections::BTreeSet;

use egret_log::ledger::{LedgerMetadata, Member};
use egret_log::message::{Refusal, Reply, Request, Unknown};
use egret_log::metadata::Op;
use egret_schemas::{EntryId, LedgerId};

use super::change::{Change, Changed, Transition};
use super::{Action, MetaAnswer, Role, Tag, What, Who, record_key};
use crate::sim::dice::Dice;
use crate::sim::fact::Fact;
use crate::sim::fault::Fault;
use crate::sim::options::Defect;

/// Rounds of asking bookies that do not answer.
const ROUNDS: u64 = 6;

#[derive(Debug)]
enum Stage {
    Marking(Box<Change>),
    Asking,
    Removing,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Deleter {
    who: Who,
    ledger: LedgerId,
    abandon: bool,
    stage: Stage,
    members: Vec<Member>,
    left: BTreeSet<usize>,
    waiting: usize,
    round: u64,
    dice: Dice,
}

impl Deleter {
    pub(crate) fn new(who: Who, ledger: LedgerId, abandon: bool, dice: Dice) -> Deleter {
        Deleter {
            who,
            ledger,
            abandon,
            stage: Stage::Asking,
            members: Vec::new(),
            left: BTreeSet::new(),
            waiting: 0,
            round: 0,
            dice,
        }
    }

    fn on_marked(&mut self, marked: &LedgerMetadata, out: &mut Vec<Action>) {
        out.push(Action::Hit(if self.abandon { Fault::Abandoned } else { Fault::Deleted }));
        self.stage = Stage::Asking;
        let members = marked.fragments.values().flat_map(|ensemble| ensemble.members().to_vec());
        let members: BTreeSet<Member> = members.collect();
        self.members = members.into_iter().collect();
        self.left = (0..self.members.len()).collect();
        self.ask(out);
    }

    fn ask(&mut self, out: &mut Vec<Action>) {
        self.round += 1;
        self.waiting = self.left.len();
        out.push(Action::Tell(Fact::DeleteAsked { ledger: self.ledger }));
        for &slot in &self.left {
            let request = Request::Delete { ledger: self.ledger };
            let attempt = self.round;
            let tag = Tag { what: What::Delete, attempt, slot, entry: EntryId(0) };
            out.push(Action::Ask { to: self.members[slot], request, tag });
        }
    }
}

impl Role for Deleter {
    fn name(&self) -> &'static str {
        "deleter"
    }

    fn ledger(&self) -> Option<LedgerId> {
        Some(self.ledger)
    }

    fn start(&mut self, out: &mut Vec<Action>) {
        if self.who.does(Defect::DeletesUnmarked) {
            out.push(Action::Tell(Fact::DeleteAsked { ledger: self.ledger }));
        }
        let transition = if self.abandon { Transition::Abandon } else { Transition::StartDelete };
        self.stage = Stage::Marking(Box::new(Change::start(
            self.ledger,
            transition,
            self.who.process,
            1,
            out,
        )));
    }

    fn on_answer(&mut self, tag: Tag, reply: Reply, out: &mut Vec<Action>) {
        if tag.attempt != self.round || !matches!(self.stage, Stage::Asking) {
            return;
        }
        self.waiting -= 1;
        match reply {
            Reply::Done
            | Reply::Refused(Refusal::NoLedger | Refusal::Deleted)
            // That life's data is gone with its disk.
            | Reply::Unknown(Unknown::Incarnation { .. }) => {
                self.left.remove(&tag.slot);
            }
            _ => {}
        }
        if self.left.is_empty() {
            self.stage = Stage::Removing;
            out.push(Action::Txn(Vec::new(), vec![Op::Delete(record_key(self.ledger))]));
        } else if self.waiting == 0 {
            if self.round == ROUNDS {
                out.push(Action::Finished);
            } else {
                let us = self.dice.between(1_000, 30_000);
                out.push(Action::Wait { us });
            }
        }
    }

    fn on_meta(&mut self, answer: MetaAnswer, out: &mut Vec<Action>) {
        match &mut self.stage {
            Stage::Marking(change) => match change.on_meta(answer, out) {
                None => {}
                Some(Changed::Done(marked)) => self.on_marked(&marked, out),
                Some(Changed::Refused(_) | Changed::Gone | Changed::GaveUp) => {
                    out.push(Action::Finished);
                }
            },
            Stage::Asking => {}
            // Lost or not: whoever finds the tombstone finishes it.
            Stage::Removing => out.push(Action::Finished),
        }
    }

    fn on_time(&mut self, out: &mut Vec<Action>) {
        if matches!(self.stage, Stage::Asking) {
            self.ask(out);
        }
    }
}
