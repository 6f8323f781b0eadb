//! Takes a ledger over: raises its term, finds or verifies its end, closes it; tries again a few times.

use std::collections::{BTreeMap, BTreeSet};

use egret_log::client::Candidate;
use egret_log::ledger::reader::ReadAnswer;
use egret_log::ledger::recovery::{Recovery, RecoveryFailure};
use egret_log::ledger::writer::AddAnswer;
use egret_log::ledger::{CloseAt, Found, LedgerMetadata, RecoveryEffect, metadata_codec};
use egret_log::message::{Reply, Request, Unknown};
use egret_log::metadata::{Compare, Op, TxnOutcome};
use egret_schemas::{EntryId, LedgerId, Term};

use super::change::{Change, Changed, Transition};
use super::replacement::{Replaced, Replacement, Wanted};
use super::writer::Commit;
use super::{Action, MetaAnswer, Role, Tag, What, Who, commit_key, record_key};
use crate::sim::dice::Dice;
use crate::sim::fault::Fault;
use crate::sim::options::Defect;

/// Tries of one recoverer.
const TRIES: u64 = 4;

#[derive(Debug)]
enum Stage {
    /// Reading the record, to see whether the ledger has commits.
    Looking,
    /// Shutting out the commits of lower terms: reads, then compares and sets.
    Claiming,
    /// Raising the term of the record.
    Taking(Change),
    /// Fencing, reading, copying.
    Finding(Box<Recovery>),
    /// Closing.
    Closing(Change),
    /// Waiting to try again.
    Resting,
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct Recoverer {
    who: Who,
    ledger: LedgerId,
    stage: Stage,
    attempt: u64,
    operation: u64,
    /// The term to take the ledger at; that of the try before, sometimes.
    term: Option<Term>,
    /// A term at which someone else holds the commits.
    claim_above: Option<Term>,
    /// Other bookies are looked for.
    replacing: Option<Replacement>,
    searches: u64,
    /// Whether the ledger is transactional, and whether it has several copies.
    kind: (bool, bool),
    close: CloseAt,
    dice: Dice,
    /// Where the ledger was closed, if it was.
    closed: bool,
    tries: u64,
}

impl Recoverer {
    pub(crate) fn new(who: Who, ledger: LedgerId, dice: Dice) -> Recoverer {
        Recoverer {
            who,
            ledger,
            stage: Stage::Resting,
            attempt: 0,
            operation: 0,
            term: None,
            claim_above: None,
            replacing: None,
            searches: 0,
            kind: (false, false),
            close: CloseAt::End,
            dice,
            closed: false,
            tries: TRIES,
        }
    }

    fn change(&mut self, transition: Transition, out: &mut Vec<Action>) -> Change {
        self.operation += 1;
        Change::start(self.ledger, transition, self.who.process, self.operation, out)
    }

    fn take(&mut self, out: &mut Vec<Action>) {
        let change = self.change(Transition::StartRecovery(self.term), out);
        self.stage = Stage::Taking(change);
    }

    fn retry(&mut self, out: &mut Vec<Action>) {
        if self.attempt >= self.tries {
            out.push(Action::Finished);
            return;
        }
        out.push(Action::Hit(Fault::RecoveryGaveUp));
        self.stage = Stage::Resting;
        let us = self.dice.between(100, 20_000);
        out.push(Action::Wait { us });
    }

    fn on_look(&mut self, answer: MetaAnswer, out: &mut Vec<Action>) {
        match answer {
            MetaAnswer::Got(None) => out.push(Action::Finished),
            MetaAnswer::Got(Some(found)) => {
                let held = metadata_codec::decode(&found.value)
                    .expect("only this codec's bytes were written");
                if held.closed().is_some() {
                    out.push(Action::Finished);
                } else if held.kind.is_transactional() {
                    let above = held.term.max(self.claim_above.unwrap_or_default()).next();
                    self.term = Some(self.term.filter(|own| *own >= held.term).unwrap_or(above));
                    self.stage = Stage::Claiming;
                    out.push(Action::Get(commit_key(self.ledger)));
                } else {
                    self.take(out);
                }
            }
            MetaAnswer::Txn(_) | MetaAnswer::Lost => self.retry(out),
        }
    }

    /// Whoever commits at a lower term conflicts once the commit carries ours.
    fn on_claim(&mut self, answer: MetaAnswer, out: &mut Vec<Action>) {
        let term = self.term.expect("chosen when the record was read");
        match answer {
            MetaAnswer::Got(Some(found)) => {
                let commit = Commit::decode(&found.value);
                if commit.term == term && commit.process == self.who.process {
                    self.close = CloseAt::Entry(commit.upto);
                    return self.take(out);
                }
                if commit.term >= term {
                    self.term = None;
                    self.claim_above = Some(commit.term);
                    return self.retry(out);
                }
                let key = commit_key(self.ledger);
                let value = Commit { term, process: self.who.process, ..commit }.encode();
                let compare = Compare::Revision(key.clone(), found.revision);
                out.push(Action::Txn(vec![compare], vec![Op::Put(key, value)]));
            }
            MetaAnswer::Got(None) => out.push(Action::Finished),
            // Either way the commit is read back, with what it says of the end.
            MetaAnswer::Txn(TxnOutcome::Committed { .. } | TxnOutcome::Conflict) => {
                out.push(Action::Get(commit_key(self.ledger)));
            }
            MetaAnswer::Lost => self.retry(out),
        }
    }

    fn begin(&mut self, taken: LedgerMetadata, out: &mut Vec<Action>) {
        self.term = Some(taken.term);
        self.kind = (taken.kind.is_transactional(), taken.quorum.write() > 1);
        self.replacing = None;
        if self.who.does(Defect::ClosesUnread) {
            // As far as it knows nothing was ever written.
            let last = taken.last_fragment().0.before();
            let (moved, unseen) = (BTreeMap::new(), BTreeSet::new());
            let found = Found::new(&taken, last, moved, unseen);
            let transition = Transition::CloseRecovered(found);
            let change = self.change(transition, out);
            self.stage = Stage::Closing(change);
            return;
        }
        let mut effects = Vec::new();
        let core = Recovery::start(self.ledger, taken, self.close, &mut effects);
        self.stage = Stage::Finding(Box::new(core));
        self.carry_out(effects, out);
    }

    fn carry_out(&mut self, effects: Vec<RecoveryEffect>, out: &mut Vec<Action>) {
        let (ledger, attempt) = (self.ledger, self.attempt);
        let term = self.term.expect("the record was taken at it");
        for effect in effects {
            match effect {
                RecoveryEffect::Fence { slot, to } => {
                    let tag = Tag { what: What::Fence, attempt, slot, entry: EntryId(0) };
                    out.push(Action::Ask { to, request: Request::Fence { ledger, term }, tag });
                }
                RecoveryEffect::Read { slot, to, entry } => {
                    let fence = (!self.who.does(Defect::ReadsDoNotFence)).then_some(term);
                    let request = Request::Read { ledger, entry, fence };
                    let tag = Tag { what: What::Read, attempt, slot, entry };
                    out.push(Action::Ask { to, request, tag });
                }
                RecoveryEffect::Add { slot, to, entry, lac, crc, payload } => {
                    let lac = if self.who.does(Defect::CopiesMoveLac) { Some(entry) } else { lac };
                    let request =
                        Request::Add { ledger, entry, term, lac, crc, copy: true, payload };
                    let tag = Tag { what: What::Add, attempt, slot, entry };
                    out.push(Action::Ask { to, request, tag });
                }
                RecoveryEffect::Replace { failed, ensemble, .. } => {
                    let (transactional, replicated) = self.kind;
                    self.searches += 1;
                    let wanted = Wanted {
                        ledger,
                        term,
                        transactional,
                        replicated,
                        ensemble,
                        failed,
                        again: false,
                    };
                    self.replacing = Some(Replacement::start(wanted, self.searches, out));
                }
                RecoveryEffect::Close(found) => {
                    if !found.moved.is_empty() {
                        out.push(Action::Hit(Fault::CopiesMoved));
                    }
                    let change = self.change(Transition::CloseRecovered(found), out);
                    self.stage = Stage::Closing(change);
                }
                RecoveryEffect::Fail(failure) => self.on_failure(&failure, out),
            }
        }
    }

    fn on_failure(&mut self, failure: &RecoveryFailure, out: &mut Vec<Action>) {
        match failure {
            RecoveryFailure::Superseded { .. } => {
                out.push(Action::Hit(Fault::Superseded));
                self.term = None;
                self.retry(out);
            }
            RecoveryFailure::Deleted => out.push(Action::Finished),
            _ => {
                // The same term again is as good as a new one.
                if self.dice.per_mille(500) {
                    self.term = None;
                }
                self.retry(out);
            }
        }
    }

    fn on_replaced(&mut self, replaced: Replaced, out: &mut Vec<Action>) {
        self.replacing = None;
        let Stage::Finding(core) = &mut self.stage else { return };
        let found = match replaced {
            Replaced::By(ensemble, renewed) => Some((ensemble, renewed)),
            Replaced::Nobody | Replaced::Fenced(_) => None,
        };
        let mut effects = Vec::new();
        core.on_replaced(found, &mut effects);
        self.carry_out(effects, out);
    }

    /// Unlike the writer's, an answer that proves nothing stays that.
    fn judge(&self, reply: Reply) -> Reply {
        match reply {
            Reply::Unknown(_) if self.who.does(Defect::UnknownIsNoEntry) => {
                Reply::NoEntry { lac: None }
            }
            other => other,
        }
    }
}

impl Role for Recoverer {
    fn name(&self) -> &'static str {
        "recoverer"
    }

    fn ledger(&self) -> Option<LedgerId> {
        Some(self.ledger)
    }

    fn start(&mut self, out: &mut Vec<Action>) {
        self.attempt += 1;
        self.stage = Stage::Looking;
        out.push(Action::Get(record_key(self.ledger)));
    }

    fn on_answer(&mut self, tag: Tag, reply: Reply, out: &mut Vec<Action>) {
        if tag.what == What::Replace {
            let search = self.replacing.as_mut();
            if let Some(replaced) = search.and_then(|search| search.on_answer(tag, &reply, out)) {
                self.on_replaced(replaced, out);
            }
            return;
        }
        if tag.attempt != self.attempt {
            return;
        }
        let reply = if tag.what == What::Read { self.judge(reply) } else { reply };
        let Stage::Finding(core) = &mut self.stage else { return };
        let mut effects = Vec::new();
        match tag.what {
            What::Fence => core.on_fence(tag.slot, reply, &mut effects),
            What::Read => {
                let answer = ReadAnswer::judge(self.ledger, tag.entry, reply);
                core.on_read(tag.slot, tag.entry, answer, &mut effects);
            }
            What::Add => {
                let answer = match reply {
                    Reply::Done => AddAnswer::Done,
                    Reply::Refused(refusal) => AddAnswer::Refused(refusal),
                    Reply::Unknown(unknown) => AddAnswer::Unknown(unknown),
                    _ => AddAnswer::Unknown(Unknown::Poisoned { why: "another answer".into() }),
                };
                core.on_add(tag.slot, tag.entry, answer, &mut effects);
            }
            _ => {}
        }
        self.carry_out(effects, out);
    }

    fn on_meta(&mut self, answer: MetaAnswer, out: &mut Vec<Action>) {
        match std::mem::replace(&mut self.stage, Stage::Resting) {
            Stage::Looking => {
                self.stage = Stage::Looking;
                self.on_look(answer, out);
            }
            Stage::Claiming => {
                self.stage = Stage::Claiming;
                self.on_claim(answer, out);
            }
            Stage::Taking(mut change) => match change.on_meta(answer, out) {
                None => self.stage = Stage::Taking(change),
                Some(Changed::Done(taken)) => self.begin(taken, out),
                Some(Changed::Refused(why)) => match why {
                    egret_log::ledger::TransitionError::Closed { .. }
                    | egret_log::ledger::TransitionError::Deleted => out.push(Action::Finished),
                    _ => {
                        out.push(Action::Hit(Fault::Superseded));
                        self.term = None;
                        self.retry(out);
                    }
                },
                Some(Changed::Gone) => out.push(Action::Finished),
                Some(Changed::GaveUp) => self.retry(out),
            },
            Stage::Closing(mut change) => match change.on_meta(answer, out) {
                None => self.stage = Stage::Closing(change),
                Some(Changed::Done(_)) => {
                    self.closed = true;
                    out.push(Action::Finished);
                }
                Some(Changed::Refused(_) | Changed::Gone) => out.push(Action::Finished),
                Some(Changed::GaveUp) => self.retry(out),
            },
            other => self.stage = other,
        }
    }

    fn on_bookies(&mut self, candidates: &[Candidate], out: &mut Vec<Action>) {
        let search = self.replacing.as_mut();
        if let Some(replaced) = search.and_then(|search| search.on_bookies(candidates, out)) {
            self.on_replaced(replaced, out);
        }
    }

    fn on_time(&mut self, out: &mut Vec<Action>) {
        if matches!(self.stage, Stage::Resting) {
            self.start(out);
        }
    }
}
