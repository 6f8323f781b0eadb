//! Creates one ledger, appends, commits where readers wait for that, closes, or ends as its core does.

use bytes::Bytes;
use egret_log::client::Candidate;
use egret_log::ledger::writer::{AddAnswer, Writer, WriterFailure};
use egret_log::ledger::{
    Ensemble, LedgerKind, LedgerMetadata, Proposal, Quorum, TransitionError, WriterEffect,
    metadata_codec,
};
use egret_log::message::{Refusal, Reply, Request, Unknown, entry_crc};
use egret_log::metadata::{Compare, Op, TxnOutcome};
use egret_schemas::bytes::{Reader, Writer as _};
use egret_schemas::{EntryId, LedgerId, Term};

use super::change::{Change, Changed, Transition};
use super::replacement::{Replaced, Replacement, Wanted};
use super::{Action, MetaAnswer, Role, Tag, What, Who, commit_key, record_key};
use crate::sim::dice::Dice;
use crate::sim::fact::Fact;
use crate::sim::fault::Fault;
use crate::sim::options::Defect;

/// Every ledger begins at this term.
pub(crate) const FIRST_TERM: Term = Term(1);

/// Entries sent and not confirmed, at most.
const PENDING_MAX: u64 = 8;

/// Entries of one ledger, at most.
const ENTRIES_MAX: u64 = 40;

/// What it does with the metadata store at the moment.
#[derive(Debug)]
enum Meta {
    Idle,
    Creating,
    /// The commit's key is compared-and-set: to which entry, over which revision.
    Committing {
        upto: EntryId,
        lost: bool,
    },
    Closing(Change),
    /// The ensemble is compared-and-set, with other bookies in these slots.
    Changing {
        change: Change,
        renewed: Vec<usize>,
    },
}

/// An ensemble the core asked for.
#[derive(Debug)]
enum Asked {
    /// Bookies are looked for.
    Looking { first: EntryId, search: Replacement },
    /// They were found; the metadata store is busy with something else.
    Found { first: EntryId, ensemble: Ensemble, renewed: Vec<usize> },
}

/// A commit in the metadata store: at which term, held by whom, up to where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Commit {
    pub(crate) term: Term,
    pub(crate) process: u128,
    pub(crate) upto: Option<EntryId>,
}

impl Commit {
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut out = Vec::new();
        out.put_u64(self.term.0);
        out.put_u128(self.process);
        out.put_u64(self.upto.map_or(0, |entry| entry.0 + 1));
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Commit {
        let mut reader = Reader::new(bytes);
        let written = "only commits are written there";
        let term = Term(reader.u64("commit").expect(written));
        let process = reader.u128("commit").expect(written);
        Commit { term, process, upto: EntryId(reader.u64("commit").expect(written)).before() }
    }
}

/// See the [module](self).
#[derive(Debug)]
pub(crate) struct WriterRole {
    who: Who,
    ledger: LedgerId,
    metadata: LedgerMetadata,
    core: Option<Writer>,
    created: Vec<Option<bool>>,
    meta: Meta,
    asked: Option<Asked>,
    searches: u64,
    /// Whether bookies that failed may be asked again.
    again: bool,
    commit_revision: u64,
    committed: Option<EntryId>,
    appended: u64,
    entries: u64,
    dice: Dice,
    calm: bool,
    finished: bool,
    operation: u64,
}

/// What a writer is to write, and how.
pub(crate) struct Plan {
    pub(crate) ledger: LedgerId,
    pub(crate) transactional: bool,
    pub(crate) quorum: Quorum,
    pub(crate) ensemble: Ensemble,
}

impl WriterRole {
    pub(crate) fn new(who: Who, plan: Plan, mut dice: Dice) -> WriterRole {
        let kind = if plan.transactional {
            LedgerKind::Transactional { owner: "simulated".to_owned() }
        } else {
            LedgerKind::Plain
        };
        let proposal = Proposal { process: who.process, operation: 0 };
        let created = vec![None; plan.ensemble.members().len()];
        let metadata = LedgerMetadata::open(kind, plan.quorum, plan.ensemble, FIRST_TERM, proposal);
        let entries = dice.between(1, ENTRIES_MAX);
        WriterRole {
            who,
            ledger: plan.ledger,
            metadata,
            core: None,
            created,
            meta: Meta::Idle,
            asked: None,
            searches: 0,
            again: false,
            commit_revision: 0,
            committed: None,
            appended: 0,
            entries,
            dice,
            calm: false,
            finished: false,
            operation: 1,
        }
    }

    fn own_commit(&self, upto: Option<EntryId>) -> Commit {
        Commit { term: FIRST_TERM, process: self.who.process, upto }
    }

    fn finish(&mut self, out: &mut Vec<Action>) {
        self.finished = true;
        out.push(Action::Finished);
    }

    /// The record is there: the bookies are told of the ledger.
    fn create_on_bookies(&mut self, out: &mut Vec<Action>) {
        self.meta = Meta::Idle;
        let transactional = self.metadata.kind.is_transactional();
        for (slot, &to) in self.metadata.last_fragment().1.members().iter().enumerate() {
            let replicated = self.metadata.quorum.write() > 1;
            let (ledger, term) = (self.ledger, FIRST_TERM);
            let request = Request::Create { ledger, term, transactional, replicated };
            let tag = Tag { what: What::Create, slot, ..Tag::default() };
            out.push(Action::Ask { to, request, tag });
        }
    }

    fn on_created(&mut self, slot: usize, done: bool, out: &mut Vec<Action>) {
        self.created[slot] = Some(done);
        if self.core.is_some() || self.created.iter().any(Option::is_none) {
            return;
        }
        let enough = self.created.iter().filter(|done| **done == Some(true)).count();
        if enough < self.metadata.quorum.ack() {
            return self.finish(out);
        }
        self.core = Some(Writer::new(self.ledger, &self.metadata));
        out.push(Action::Wait { us: 1 });
    }

    fn append(&mut self, out: &mut Vec<Action>) {
        let Some(core) = &mut self.core else { return };
        let entry = EntryId::after(core.last_appended());
        // Bytes nobody else would write, a few of them past a journal block.
        let mut text = format!("{}:{entry} of {:x} ", self.ledger, self.who.process);
        let bytes = match self.dice.roll(20) {
            0 => self.dice.roll(9000),
            1..6 => self.dice.roll(1500),
            _ => self.dice.roll(200),
        };
        while (text.len() as u64) < bytes {
            text.push_str(&format!("{:016x}", self.dice.draw()));
        }
        let payload = Bytes::from(text);
        let mut effects = Vec::new();
        if let Ok(given) = core.append(payload.clone(), &mut effects) {
            assert_eq!(given, entry, "the next number");
            self.appended += 1;
            out.push(Action::Tell(Fact::Appended { ledger: self.ledger, entry, payload }));
        }
        self.carry_out(effects, out);
    }

    fn carry_out(&mut self, effects: Vec<WriterEffect>, out: &mut Vec<Action>) {
        let (ledger, term) = (self.ledger, FIRST_TERM);
        for effect in effects {
            match effect {
                WriterEffect::Send { slot, to, era, entry, lac, payload } => {
                    let crc = entry_crc(ledger, entry, &payload);
                    let request =
                        Request::Add { ledger, entry, term, lac, crc, copy: false, payload };
                    let attempt = u64::from(era);
                    let tag = Tag { what: What::Add, slot, entry, attempt };
                    out.push(Action::Ask { to, request, tag });
                }
                WriterEffect::Confirm { entry } => {
                    out.push(Action::Tell(Fact::Confirmed { ledger, term, entry }));
                }
                WriterEffect::Publish { lac } => {
                    let core = self.core.as_ref().expect("it asks for this");
                    for to in core.live().map(|slot| core.ensemble().member(slot)) {
                        let request = Request::WriteLac { ledger, term, lac };
                        out.push(Action::Ask { to, request, tag: Tag::default() });
                    }
                }
                WriterEffect::ChangeEnsemble { first, failed } => {
                    let core = self.core.as_ref().expect("it asks for this");
                    let wanted = Wanted {
                        ledger,
                        term,
                        transactional: core.is_transactional(),
                        replicated: core.is_replicated(),
                        ensemble: core.ensemble().clone(),
                        failed,
                        again: std::mem::take(&mut self.again),
                    };
                    self.searches += 1;
                    let search = Replacement::start(wanted, self.searches, out);
                    self.asked = Some(Asked::Looking { first, search });
                }
                WriterEffect::Fail { .. } => {}
            }
        }
    }

    /// The search for bookies ended.
    fn on_replaced(&mut self, replaced: Replaced, out: &mut Vec<Action>) {
        let Some(Asked::Looking { first, .. }) = self.asked.take() else { return };
        match replaced {
            Replaced::By(ensemble, renewed) => {
                self.asked = Some(Asked::Found { first, ensemble, renewed });
                self.change_if_idle(out);
            }
            Replaced::Nobody => {
                out.push(Action::Hit(Fault::NoOtherBookies));
                self.with_core(out, |core, effects| core.on_no_replacement(effects));
            }
            Replaced::Fenced(held) => {
                let failure = WriterFailure::Fenced { held };
                self.with_core(out, |core, effects| core.on_not_changed(failure, effects));
            }
        }
    }

    fn change_if_idle(&mut self, out: &mut Vec<Action>) {
        if !matches!(self.meta, Meta::Idle) || !matches!(self.asked, Some(Asked::Found { .. })) {
            return;
        }
        let Some(Asked::Found { first, ensemble, renewed }) = self.asked.take() else { return };
        let transition = Transition::ChangeEnsemble { term: FIRST_TERM, first, ensemble };
        self.operation += 1;
        let (process, operation) = (self.who.process, self.operation);
        let change = Change::start(self.ledger, transition, process, operation, out);
        self.meta = Meta::Changing { change, renewed };
    }

    fn on_changed(&mut self, changed: Changed, renewed: &[usize], out: &mut Vec<Action>) {
        match changed {
            Changed::Done(committed) => {
                out.push(Action::Hit(Fault::BookiesChanged));
                self.with_core(out, |core, effects| core.on_ensemble(&committed, renewed, effects));
                self.metadata = committed;
            }
            Changed::Refused(why) => {
                let failure = match why {
                    TransitionError::StaleTerm { held, .. }
                    | TransitionError::InRecovery { held } => WriterFailure::Fenced { held },
                    other => WriterFailure::NotChanged { why: other.to_string() },
                };
                self.with_core(out, |core, effects| core.on_not_changed(failure, effects));
            }
            Changed::Gone | Changed::GaveUp => {
                let failure = WriterFailure::NotChanged { why: "nothing was heard".to_owned() };
                self.with_core(out, |core, effects| core.on_not_changed(failure, effects));
            }
        }
    }

    fn with_core(
        &mut self,
        out: &mut Vec<Action>,
        act: impl FnOnce(&mut Writer, &mut Vec<WriterEffect>),
    ) {
        let mut effects = Vec::new();
        if let Some(core) = &mut self.core {
            let alive = core.failure().is_none();
            act(core, &mut effects);
            if alive && let Some(failure) = core.failure() {
                let fault = match failure {
                    WriterFailure::Fenced { .. } => Fault::WriterFenced,
                    _ => Fault::WriterLostQuorum,
                };
                out.push(Action::Hit(fault));
            }
        }
        self.carry_out(effects, out);
    }

    fn judge(&self, reply: Reply) -> AddAnswer {
        match reply {
            Reply::Done => AddAnswer::Done,
            Reply::Refused(Refusal::StaleTerm { .. }) if self.who.does(Defect::IgnoresFences) => {
                AddAnswer::Done
            }
            Reply::Refused(refusal) => AddAnswer::Refused(refusal),
            Reply::Unknown(unknown) => AddAnswer::Unknown(unknown),
            _ => AddAnswer::Unknown(Unknown::Poisoned { why: "another answer".to_owned() }),
        }
    }

    /// Commits what is confirmed, then lets readers see it.
    fn commit(&mut self, out: &mut Vec<Action>) {
        let Some(core) = &mut self.core else { return };
        let Some(upto) = core.confirmed().filter(|upto| Some(*upto) > self.committed) else {
            return;
        };
        if self.who.does(Defect::PublishesBeforeCommit) {
            let mut effects = Vec::new();
            core.publish(upto, &mut effects);
            self.carry_out(effects, out);
        }
        // Any entry that is confirmed may be a commit; mostly it is the last.
        let back = if self.dice.per_mille(300) { self.dice.roll(3) } else { 0 };
        let upto = EntryId(upto.0.saturating_sub(back));
        if Some(upto) <= self.committed {
            return;
        }
        self.meta = Meta::Committing { upto, lost: false };
        let value = self.own_commit(Some(upto)).encode();
        let key = commit_key(self.ledger);
        let compare = Compare::Revision(key.clone(), self.commit_revision);
        out.push(Action::Txn(vec![compare], vec![Op::Put(key, value)]));
    }

    fn on_committed(&mut self, upto: EntryId, revision: u64, out: &mut Vec<Action>) {
        self.meta = Meta::Idle;
        self.committed = Some(upto);
        self.commit_revision = revision;
        let mut effects = Vec::new();
        if let Some(core) = &mut self.core {
            core.publish(upto, &mut effects);
        }
        self.carry_out(effects, out);
    }

    fn close(&mut self, out: &mut Vec<Action>) {
        let Some(core) = &self.core else { return };
        let transactional = self.metadata.kind.is_transactional();
        let last = if transactional { self.committed } else { core.confirmed() };
        let transition = Transition::CloseOpen { term: FIRST_TERM, last };
        self.operation += 1;
        let (process, operation) = (self.who.process, self.operation);
        self.meta = Meta::Closing(Change::start(self.ledger, transition, process, operation, out));
    }

    fn on_creating(&mut self, answer: MetaAnswer, out: &mut Vec<Action>) {
        match answer {
            MetaAnswer::Txn(TxnOutcome::Committed { revision }) => {
                self.commit_revision = revision;
                self.create_on_bookies(out);
            }
            MetaAnswer::Got(Some(found)) => {
                let held = metadata_codec::decode(&found.value)
                    .expect("only this codec's bytes were written");
                if held.proposal == self.metadata.proposal {
                    out.push(Action::Hit(Fault::MetaOwnFound));
                    self.commit_revision = found.revision;
                    self.create_on_bookies(out);
                } else {
                    self.finish(out);
                }
            }
            MetaAnswer::Got(None) => self.finish(out),
            MetaAnswer::Txn(TxnOutcome::Conflict) | MetaAnswer::Lost => {
                out.push(Action::Get(record_key(self.ledger)));
            }
        }
    }

    fn on_committing(
        &mut self,
        upto: EntryId,
        lost: bool,
        answer: MetaAnswer,
        out: &mut Vec<Action>,
    ) {
        match answer {
            MetaAnswer::Txn(TxnOutcome::Committed { revision }) => {
                self.on_committed(upto, revision, out);
            }
            MetaAnswer::Got(Some(found)) => {
                let commit = Commit::decode(&found.value);
                if commit == self.own_commit(Some(upto)) {
                    out.push(Action::Hit(Fault::MetaOwnFound));
                    self.on_committed(upto, found.revision, out);
                } else if commit.term > FIRST_TERM {
                    // Someone else owns it now.
                    self.finish(out);
                } else {
                    // It did not happen, and may still: the same again settles it.
                    self.meta = Meta::Committing { upto, lost };
                    let key = commit_key(self.ledger);
                    let compare = Compare::Revision(key.clone(), found.revision);
                    let value = self.own_commit(Some(upto)).encode();
                    out.push(Action::Txn(vec![compare], vec![Op::Put(key, value)]));
                }
            }
            MetaAnswer::Got(None) => self.finish(out),
            MetaAnswer::Txn(TxnOutcome::Conflict) | MetaAnswer::Lost => {
                self.meta = Meta::Committing { upto, lost: true };
                out.push(Action::Get(commit_key(self.ledger)));
            }
        }
    }
}

impl Role for WriterRole {
    fn name(&self) -> &'static str {
        "writer"
    }

    fn ledger(&self) -> Option<LedgerId> {
        Some(self.ledger)
    }

    fn start(&mut self, out: &mut Vec<Action>) {
        self.meta = Meta::Creating;
        let key = record_key(self.ledger);
        let mut ops = vec![Op::Put(key.clone(), metadata_codec::encode(&self.metadata))];
        if self.metadata.kind.is_transactional() {
            let commit = self.own_commit(None);
            ops.push(Op::Put(commit_key(self.ledger), commit.encode()));
        }
        out.push(Action::Txn(vec![Compare::Absent(key)], ops));
    }

    fn on_answer(&mut self, tag: Tag, reply: Reply, out: &mut Vec<Action>) {
        if self.finished {
            return;
        }
        match tag.what {
            What::Create => self.on_created(tag.slot, matches!(reply, Reply::Done), out),
            What::Add => {
                let answer = self.judge(reply);
                let era = u32::try_from(tag.attempt).expect("it was an era");
                self.with_core(out, |core, effects| {
                    core.on_answer(tag.slot, era, tag.entry, answer, effects);
                });
            }
            What::Replace => {
                let Some(Asked::Looking { search, .. }) = &mut self.asked else { return };
                if let Some(replaced) = search.on_answer(tag, &reply, out) {
                    self.on_replaced(replaced, out);
                }
            }
            _ => {}
        }
    }

    fn on_meta(&mut self, answer: MetaAnswer, out: &mut Vec<Action>) {
        match std::mem::replace(&mut self.meta, Meta::Idle) {
            Meta::Idle => {}
            Meta::Creating => {
                self.meta = Meta::Creating;
                self.on_creating(answer, out);
            }
            Meta::Committing { upto, lost } => self.on_committing(upto, lost, answer, out),
            Meta::Closing(mut change) => match change.on_meta(answer, out) {
                None => self.meta = Meta::Closing(change),
                Some(Changed::Done(_) | Changed::Refused(_) | Changed::Gone | Changed::GaveUp) => {
                    self.finish(out);
                }
            },
            Meta::Changing { mut change, renewed } => match change.on_meta(answer, out) {
                None => self.meta = Meta::Changing { change, renewed },
                Some(changed) => self.on_changed(changed, &renewed, out),
            },
        }
        self.change_if_idle(out);
    }

    fn on_bookies(&mut self, candidates: &[Candidate], out: &mut Vec<Action>) {
        let Some(Asked::Looking { search, .. }) = &mut self.asked else { return };
        if let Some(replaced) = search.on_bookies(candidates, out) {
            self.on_replaced(replaced, out);
        }
    }

    fn on_time(&mut self, out: &mut Vec<Action>) {
        let Some(core) = &self.core else { return };
        if self.finished {
            return;
        }
        if core.failure().is_some() {
            if matches!(self.meta, Meta::Idle) {
                return self.finish(out);
            }
        } else {
            let pending =
                EntryId::after(core.last_appended()).0 - EntryId::after(core.confirmed()).0;
            let done = self.appended >= self.entries || self.calm;
            if !done && pending < PENDING_MAX {
                for _ in 0..self.dice.between(1, 3) {
                    self.append(out);
                }
            }
            let core = self.core.as_ref().expect("it is there");
            let idle = core.is_idle() && !core.is_changing();
            if core.given_up().next().is_some() && self.dice.per_mille(100) {
                self.again = true;
                self.with_core(out, |core, effects| core.retry_bookies(effects));
            }
            if matches!(self.meta, Meta::Idle) {
                let transactional = self.metadata.kind.is_transactional();
                if done && idle {
                    self.close(out);
                } else if self.asked.is_none() && transactional && self.dice.per_mille(500) {
                    self.commit(out);
                }
            }
        }
        let us = self.dice.between(50, 1500);
        out.push(Action::Wait { us });
    }

    fn calm(&mut self) {
        self.calm = true;
    }
}
