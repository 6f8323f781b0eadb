//! The writer: what its core asks for, and its changes of the record.

use std::sync::Arc;

use egret_log::Outcome;
use egret_log::ledger::writer::{Writer, WriterFailure};
use egret_log::ledger::{Ensemble, LedgerState, WriterEffect};
use egret_schemas::{EntryId, Term};

use super::World;
use crate::call::{Ask, Call, Stage, Who, payload};

impl World {
    pub(super) fn append(&mut self) {
        let entry = EntryId(self.appended);
        self.appended += 1;
        let mut given = None;
        self.with_writer(|writer, out| given = Some(writer.append(payload(entry), out)));
        if given != Some(Ok(entry)) {
            self.broken(format!("{given:?} for append {entry}"));
        }
    }

    /// Fills the slots that failed with bookies that the ledger is created on, and commits that.
    pub(super) fn replace(&mut self) {
        let (first, failed) = self.asked.take().expect("it was asked for");
        let mut members = self.record.last_fragment().1.members().to_vec();
        let mut renewed = Vec::new();
        for slot in failed {
            let Some(spare) = self.created_on_spare(Term(1), &members) else { continue };
            members[slot] = spare;
            renewed.push(slot);
        }
        let ensemble = Ensemble::new(members);
        match self.record.change_ensemble(Term(1), first, ensemble, self.proposal(0)) {
            Ok(next) => {
                self.install(next.clone());
                self.with_writer(|writer, out| writer.on_ensemble(&next, &renewed, out));
            }
            Err(_) => {
                let held = self.record.term;
                let failure = WriterFailure::Fenced { held };
                self.with_writer(|writer, out| writer.on_not_changed(failure, out));
            }
        }
    }

    pub(super) fn with_writer(&mut self, act: impl FnOnce(&mut Writer, &mut Vec<WriterEffect>)) {
        let Some(writer) = &mut self.writer else { return };
        let mut out = Vec::new();
        act(Arc::make_mut(writer), &mut out);
        let ended = writer.failure().is_some();
        self.carry_writer(out);
        if ended {
            self.writer = None;
            self.asked = None;
        } else if self.asked.is_some()
            && self.spare(self.record.last_fragment().1.members()).is_none()
        {
            self.asked = None;
            self.with_writer(Writer::on_no_replacement);
        }
    }

    pub(super) fn carry_writer(&mut self, effects: Vec<WriterEffect>) {
        for effect in effects {
            match effect {
                WriterEffect::Send { slot, to, era, entry, lac, payload: bytes } => {
                    if bytes != payload(entry) {
                        self.broken(format!("other bytes are sent for {entry}"));
                    }
                    let (who, term) = (Who::Writer, Term(1));
                    let (ask, stage) = (Ask::Add { entry, lac }, Stage::Sent);
                    self.calls.push(Call { who, slot, to, era, term, ask, stage });
                }
                WriterEffect::Confirm { entry } => {
                    if entry != EntryId::after(self.acked) {
                        self.broken(format!("{entry} is acknowledged after {:?}", self.acked));
                    }
                    self.acked = Some(entry);
                    // What a transactional ledger closes without was never committed: an answer that was
                    // on its way may still tell its writer, whose commits are shut out already.
                    if let Some(last) = self.closed
                        && Some(entry) > last
                        && !self.record.kind.is_transactional()
                    {
                        self.broken(format!("{entry} is acknowledged after the close at {last:?}"));
                    }
                }
                WriterEffect::ChangeEnsemble { first, failed } => {
                    self.asked = Some((first, failed))
                }
                WriterEffect::Publish { .. } => {}
                WriterEffect::Fail { entry, outcome, .. } => {
                    if outcome == Outcome::Definite {
                        self.refused.push(entry);
                    }
                }
            }
        }
    }

    pub(super) fn close_by_writer(&mut self) {
        let Some(writer) = self.writer.take() else { return };
        if self.record.state == LedgerState::InRecovery {
            return;
        }
        let proposal = self.proposal(0);
        if let Ok(next) = self.record.close(writer.term(), writer.confirmed(), proposal) {
            self.install(next);
        }
    }
}
