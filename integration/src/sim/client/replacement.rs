//! Other bookies in place of those that failed: chosen as a client chooses, the ledger created there.

use egret_log::client::{Candidate, placement};
use egret_log::ledger::{Ensemble, Member};
use egret_log::message::{Refusal, Reply, Request};
use egret_schemas::{EntryId, LedgerId, Term};

use super::{Action, Tag, What};

/// What is to be replaced.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) ledger: LedgerId,
    pub(crate) term: Term,
    pub(crate) transactional: bool,
    pub(crate) replicated: bool,
    pub(crate) ensemble: Ensemble,
    pub(crate) failed: Vec<usize>,
    /// Whether those that failed may be asked again.
    pub(crate) again: bool,
}

/// How it ended.
#[derive(Debug)]
pub(crate) enum Replaced {
    /// These slots have other bookies, on which the ledger was created.
    By(Ensemble, Vec<usize>),
    /// There is nobody.
    Nobody,
    /// A newer owner was there before.
    Fenced(Term),
}

/// One search under way.
#[derive(Debug)]
pub(crate) struct Replacement {
    wanted: Wanted,
    avoid: Vec<Member>,
    chosen: Vec<(usize, Member)>,
    heard: Vec<Option<bool>>,
    /// Which search of its client, then which round of it: answers to others are ignored.
    attempt: u64,
}

/// Rounds of one search stay below this.
const ROUNDS: u64 = 1000;

impl Replacement {
    /// Begins by asking who there is. `search` counts the searches of its client.
    pub(crate) fn start(wanted: Wanted, search: u64, out: &mut Vec<Action>) -> Replacement {
        let failed = wanted.failed.iter().map(|slot| wanted.ensemble.member(*slot));
        let avoid = if wanted.again { Vec::new() } else { failed.collect() };
        out.push(Action::ListBookies);
        let attempt = search * ROUNDS;
        Replacement { wanted, avoid, chosen: Vec::new(), heard: Vec::new(), attempt }
    }

    /// These take ledgers; `Some` when it is decided.
    pub(crate) fn on_bookies(
        &mut self,
        candidates: &[Candidate],
        out: &mut Vec<Action>,
    ) -> Option<Replaced> {
        let Wanted { ledger, term, transactional, replicated, ensemble, failed, .. } = &self.wanted;
        let round = ledger.0 + self.attempt;
        self.chosen = placement::replace(ensemble, failed, candidates, &self.avoid, round);
        if self.chosen.is_empty() {
            return Some(Replaced::Nobody);
        }
        self.attempt += 1;
        self.heard = vec![None; self.chosen.len()];
        for (place, (_, to)) in self.chosen.iter().enumerate() {
            let request = Request::Create {
                ledger: *ledger,
                term: *term,
                transactional: *transactional,
                replicated: *replicated,
            };
            let attempt = self.attempt;
            let tag = Tag { what: What::Replace, attempt, slot: place, entry: EntryId(0) };
            out.push(Action::Ask { to: *to, request, tag });
        }
        None
    }

    /// A bookie answered; `Some` when it is decided.
    pub(crate) fn on_answer(
        &mut self,
        tag: Tag,
        reply: &Reply,
        out: &mut Vec<Action>,
    ) -> Option<Replaced> {
        if tag.attempt != self.attempt {
            return None;
        }
        if let Reply::Refused(Refusal::StaleTerm { held }) = reply {
            return Some(Replaced::Fenced(*held));
        }
        // It may have been in an earlier fragment.
        let created = matches!(reply, Reply::Done | Reply::Refused(Refusal::Exists));
        self.heard[tag.slot] = Some(created);
        if self.heard.iter().any(Option::is_none) {
            return None;
        }
        let mut members = self.wanted.ensemble.members().to_vec();
        let mut renewed = Vec::new();
        for ((slot, member), created) in self.chosen.iter().zip(&self.heard) {
            if *created == Some(true) {
                members[*slot] = *member;
                renewed.push(*slot);
            } else {
                self.avoid.push(*member);
            }
        }
        if renewed.is_empty() {
            out.push(Action::ListBookies);
            return None;
        }
        Some(Replaced::By(Ensemble::new(members), renewed))
    }
}
