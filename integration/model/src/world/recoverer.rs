//! A recoverer: what its core asks for, and its changes of the record.

use std::sync::Arc;

use egret_log::ledger::recovery::{Recovery, RecoveryFailure};
use egret_log::ledger::{
    CloseAt, Ensemble, Found, Member, Proposal, RecoveryEffect, TransitionError,
};
use egret_schemas::{EntryId, Term};

use super::World;
use crate::call::{Ask, Call, LEDGER, Stage, Who, payload};
use crate::scope::Scope;

/// What a recoverer is at.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Turn {
    /// It may take the ledger into recovery.
    Idle,
    /// Its core waits for answers to this.
    Running(Arc<Recovery>, Ask),
    /// It found the end and closes.
    Closing(Arc<Found>),
    /// It is closed, or somebody newer recovers, or it has given up.
    Done,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Recoverer {
    pub(super) term: Term,
    pub(super) turn: Turn,
    /// Tries it has left.
    pub(super) tries: u8,
    /// What fenced bookies told it readers may see.
    pub(super) heard: Option<EntryId>,
    /// Its change of the record whose outcome it did not hear.
    pub(super) unheard: Option<Proposal>,
}

impl World {
    /// A recoverer's compare-and-set.
    pub(super) fn change(&mut self, scope: &Scope, n: u8, heard: bool) {
        let at = usize::from(n);
        let proposal = self.proposal(u128::from(n) + 1);
        let term = self.recoverers[at].term;
        let next = match &self.recoverers[at].turn {
            Turn::Idle => self.record.start_recovery(term, proposal),
            Turn::Closing(found) => self.record.close_recovered(found, proposal),
            Turn::Running(..) | Turn::Done => unreachable!("it has nothing to change"),
        };
        match next {
            Ok(next) => {
                self.install(next);
                if heard {
                    self.changed(scope, n);
                } else {
                    self.recoverers[at].unheard = Some(proposal);
                }
            }
            Err(TransitionError::SameTerm { .. }) => {
                self.recoverers[at].term = Term(2 + u64::from(n));
            }
            Err(error) => {
                let newer = self.record.term > term;
                if !newer && matches!(error, TransitionError::ClosedElsewhere { .. }) {
                    self.broken(format!("closers disagree: {error}"));
                }
                self.recoverers[at].turn = Turn::Done;
            }
        }
    }

    /// A change came to hold.
    pub(super) fn changed(&mut self, scope: &Scope, n: u8) {
        let close = self.close_at(scope);
        let recoverer = &mut self.recoverers[usize::from(n)];
        if recoverer.turn != Turn::Idle {
            recoverer.turn = Turn::Done;
            return;
        }
        recoverer.tries -= 1;
        recoverer.heard = None;
        let mut out = Vec::new();
        let core = Recovery::start(LEDGER, (*self.record).clone(), close, &mut out);
        recoverer.turn = Turn::Running(Arc::new(core), Ask::Fence);
        self.carry_recovery(n, out);
    }

    pub(super) fn close_at(&self, scope: &Scope) -> CloseAt {
        match (scope.transactional, scope.stale_commit) {
            (false, _) => CloseAt::End,
            (true, false) => CloseAt::Entry(self.committed),
            (true, true) => CloseAt::Entry(None),
        }
    }

    pub(super) fn read_back(&mut self, scope: &Scope, n: u8) {
        let recoverer = &mut self.recoverers[usize::from(n)];
        let own = recoverer.unheard.take();
        if own == Some(self.record.proposal) {
            self.changed(scope, n);
        }
    }

    pub(super) fn carry_recovery(&mut self, n: u8, effects: Vec<RecoveryEffect>) {
        let at = usize::from(n);
        for effect in effects {
            match effect {
                RecoveryEffect::Fence { slot, to } => self.ask(n, slot, to, Ask::Fence),
                RecoveryEffect::Read { slot, to, entry } => {
                    self.ask(n, slot, to, Ask::Read { entry });
                }
                RecoveryEffect::Add { slot, to, entry, lac, payload: bytes, .. } => {
                    if bytes != payload(entry) {
                        self.broken(format!("recovery copies other bytes for {entry}"));
                    }
                    self.ask(n, slot, to, Ask::Add { entry, lac });
                }
                RecoveryEffect::Replace { failed, ensemble, .. } => {
                    self.replace_for_copies(n, &failed, &ensemble);
                }
                RecoveryEffect::Close(found) => {
                    let last = found.last;
                    let heard = self.recoverers[at].heard;
                    if heard > last {
                        self.broken(format!("closes at {last:?}, and readers saw up to {heard:?}"));
                    }
                    self.recoverers[at].turn = Turn::Closing(Arc::new(found));
                }
                RecoveryEffect::Fail(RecoveryFailure::Superseded { .. }) => {
                    self.recoverers[at].turn = Turn::Done;
                }
                RecoveryEffect::Fail(RecoveryFailure::Missing { entry })
                    if self.copies(entry) == 0 =>
                {
                    self.recoverers[at].turn = Turn::Done;
                }
                RecoveryEffect::Fail(_) => {
                    let tries = self.recoverers[at].tries;
                    self.recoverers[at].turn = if tries > 0 { Turn::Idle } else { Turn::Done };
                }
            }
        }
    }

    /// Finds others for copies at once; they answer when the copies arrive.
    pub(super) fn replace_for_copies(&mut self, n: u8, failed: &[usize], ensemble: &Ensemble) {
        let at = usize::from(n);
        let term = self.recoverers[at].term;
        let (mut members, mut renewed) = (ensemble.members().to_vec(), Vec::new());
        for &slot in failed {
            let Some(spare) = self.created_on_spare(term, &members) else { continue };
            members[slot] = spare;
            renewed.push(slot);
        }
        let Turn::Running(core, _) = &mut self.recoverers[at].turn else { return };
        let found = (!renewed.is_empty()).then(|| (Ensemble::new(members), renewed));
        let mut out = Vec::new();
        Arc::make_mut(core).on_replaced(found, &mut out);
        self.carry_recovery(n, out);
    }

    pub(super) fn ask(&mut self, n: u8, slot: usize, to: Member, ask: Ask) {
        let recoverer = &mut self.recoverers[usize::from(n)];
        if let Turn::Running(_, asking) = &mut recoverer.turn {
            *asking = ask;
        }
        let (who, term, stage) = (Who::Recoverer(n), recoverer.term, Stage::Sent);
        self.calls.push(Call { who, slot, to, era: 0, term, ask, stage });
    }
}
