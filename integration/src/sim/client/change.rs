//! A ledger's record compared-and-set by one of its transitions, until it holds or may not.
//!
//! Every record carries who proposed it: after a conflict or a lost answer the record is read back, and
//! when the proposal found is our own, it succeeded.

use egret_log::ledger::metadata_codec;
use egret_log::ledger::{Ensemble, Found, LedgerMetadata, LedgerState, Proposal, TransitionError};
use egret_log::metadata::{Compare, Op, TxnOutcome};
use egret_schemas::{EntryId, LedgerId, Term};

use super::{Action, MetaAnswer, record_key};
use crate::sim::fault::Fault;

/// Tries before giving up.
const TRIES: u32 = 12;

/// Which transition.
#[derive(Debug, Clone)]
pub(crate) enum Transition {
    /// At a term above the one found, or again at the one given.
    StartRecovery(Option<Term>),
    /// By the writer of an open ledger.
    CloseOpen {
        term: Term,
        last: Option<EntryId>,
    },
    /// By a recoverer.
    CloseRecovered(Found),
    /// By the writer of an open ledger.
    ChangeEnsemble {
        term: Term,
        first: EntryId,
        ensemble: Ensemble,
    },
    StartDelete,
    Abandon,
}

/// How it ended.
#[derive(Debug)]
pub(crate) enum Changed {
    /// It holds.
    Done(LedgerMetadata),
    /// It may not.
    Refused(TransitionError),
    /// There is no such record.
    Gone,
    /// Nothing certain was heard, too often.
    GaveUp,
}

/// One change under way.
#[derive(Debug)]
pub(crate) struct Change {
    ledger: LedgerId,
    transition: Transition,
    process: u128,
    operation: u64,
    proposed: Option<LedgerMetadata>,
    lost: bool,
    tries: u32,
}

impl Change {
    /// Begins by reading the record. `operation` must be new for this process.
    pub(crate) fn start(
        ledger: LedgerId,
        transition: Transition,
        process: u128,
        operation: u64,
        out: &mut Vec<Action>,
    ) -> Change {
        out.push(Action::Get(record_key(ledger)));
        Change { ledger, transition, process, operation, proposed: None, lost: false, tries: 0 }
    }

    fn apply(&self, held: &LedgerMetadata) -> Result<LedgerMetadata, TransitionError> {
        let proposal = Proposal {
            process: self.process,
            operation: self.operation * u64::from(TRIES + 1) + u64::from(self.tries),
        };
        match &self.transition {
            &Transition::StartRecovery(term) => {
                held.start_recovery(term.unwrap_or(held.term.next()), proposal)
            }
            &Transition::CloseOpen { term, last } => match held.state {
                LedgerState::InRecovery => Err(TransitionError::InRecovery { held: held.term }),
                _ => held.close(term, last, proposal),
            },
            Transition::CloseRecovered(found) => held.close_recovered(found, proposal),
            Transition::ChangeEnsemble { term, first, ensemble } => {
                held.change_ensemble(*term, *first, ensemble.clone(), proposal)
            }
            Transition::StartDelete => held.start_delete(proposal),
            Transition::Abandon => held.abandon(held.term.next(), proposal),
        }
    }

    /// The store answered; `Some` when it is decided.
    pub(crate) fn on_meta(&mut self, answer: MetaAnswer, out: &mut Vec<Action>) -> Option<Changed> {
        match answer {
            MetaAnswer::Txn(TxnOutcome::Committed { .. }) => {
                return self.proposed.take().map(Changed::Done);
            }
            MetaAnswer::Got(None) => return Some(Changed::Gone),
            MetaAnswer::Got(Some(found)) => {
                let held = metadata_codec::decode(&found.value)
                    .expect("only this codec's bytes were written");
                if let Some(proposed) = &self.proposed {
                    if held.proposal == proposed.proposal {
                        if self.lost {
                            out.push(Action::Hit(Fault::MetaOwnFound));
                        }
                        return Some(Changed::Done(held));
                    }
                    out.push(Action::Hit(Fault::MetaConflict));
                }
                let next = match self.apply(&held) {
                    Ok(next) if next == held => return Some(Changed::Done(held)),
                    Ok(next) => next,
                    Err(why) => return Some(Changed::Refused(why)),
                };
                let op = Op::Put(record_key(self.ledger), metadata_codec::encode(&next));
                let compare = Compare::Revision(record_key(self.ledger), found.revision);
                out.push(Action::Txn(vec![compare], vec![op]));
                self.proposed = Some(next);
            }
            MetaAnswer::Txn(TxnOutcome::Conflict) | MetaAnswer::Lost => {
                self.lost = matches!(answer, MetaAnswer::Lost);
                self.tries += 1;
                if self.tries == TRIES {
                    return Some(Changed::GaveUp);
                }
                out.push(Action::Get(record_key(self.ledger)));
            }
        }
        None
    }
}
