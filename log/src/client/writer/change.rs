//! Other bookies for a ledger that is being written: chosen, the ledger created there, the ensemble
//! committed, then the core is told.
//!
//! Only one change of a ledger is under way at a time: the core asks for the next when this one is
//! settled.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use egret_schemas::{BookieId, EntryId};

use super::{After, Shared, State};
use crate::client::error::RecordError;
use crate::client::fan_out;
use crate::client::placement;
use crate::ledger::metadata::{FRAGMENTS_MAX, TransitionError};
use crate::ledger::repair::is_gone;
use crate::ledger::writer::WriterFailure;
use crate::ledger::{Ensemble, LedgerMetadata, Member};
use crate::message::{Refusal, Reply, Request, Unknown};
use crate::{caps, clock};

/// An ensemble the core asks for.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) first: EntryId,
    pub(super) failed: Vec<usize>,
    /// As it is.
    pub(super) ensemble: Ensemble,
    /// Whether bookies that failed may be asked again: it is a while ago.
    pub(super) again: bool,
}

/// What came of it.
enum Changed {
    /// Committed; these slots have new bookies.
    To(LedgerMetadata, Vec<usize>),
    /// There is nobody.
    Nobody,
    /// The writer ends.
    Not(WriterFailure),
}

/// How long a writer that lacks bookies waits before it asks again.
const RETRY: Duration = Duration::from_secs(5);

/// Between two tries to reach the metadata store.
const PAUSE: Duration = Duration::from_millis(200);

impl Shared {
    /// Asks again for bookies in place of those nobody could be found for.
    pub(super) fn retry(&self, state: &mut State) {
        state.retry_at = None;
        state.retrying = true;
        state.core.retry_bookies(&mut state.effects);
        state.retrying &= !state.effects.is_empty();
    }

    /// Looks [again and again](caps::WRITER_LOOKS_MS) whether the bookies are still there, for as long as
    /// somebody has this writer.
    pub(super) fn look_later(self: &Arc<Self>) {
        let writer = Arc::downgrade(self);
        let look = move || {
            let Some(shared) = writer.upgrade() else { return };
            if shared.lock().core.failure().is_none() && !shared.abandoned.load(Ordering::Acquire) {
                shared.look();
                shared.look_later();
            }
        };
        let every = Duration::from_millis(caps::WRITER_LOOKS_MS);
        // Without a thread for it nobody looks, and an append finds what is gone.
        drop(self.ledgers.timer().try_after(every, Box::new(look)));
    }

    /// Asks for another bookie in place of one that is gone, or is to go, though no append failed there. One
    /// at a time, and only where there is somebody.
    pub(super) fn look(self: &Arc<Self>) {
        let (ensemble, live) = {
            let core = &self.lock().core;
            (core.ensemble().clone(), core.live().collect::<Vec<usize>>())
        };
        let standing = |slot: usize| self.ledgers.bookies().standing(ensemble.member(slot));
        let Some(slot) = live.into_iter().find(|&slot| is_gone(standing(slot))) else { return };
        let first = EntryId::after(self.lock().core.confirmed());
        let change = Change { first, failed: vec![slot], ensemble, again: false };
        if self.choose(&change, &self.avoid(&change)).is_empty() {
            return;
        }
        let after = {
            let mut state = self.lock();
            let State { core, effects, .. } = &mut *state;
            if core.ensemble() != &change.ensemble || !core.can_spare(slot) {
                return;
            }
            let to = change.ensemble.member(slot).bookie.to_string();
            let why = "it is gone, or is to go".to_owned();
            let failure = WriterFailure::Unknown(Unknown::Unreachable { to, why });
            core.on_slot_failed(slot, failure, effects);
            self.collect(&mut state)
        };
        self.finish(after);
    }

    /// Starts to look for bookies; at once what follows when there are none.
    pub(super) fn start_change(self: &Arc<Self>, change: Change) -> Option<After> {
        // With one copy there is nothing to go on with, and nobody to note it for.
        let alone = change.ensemble.members().len() == 1;
        if alone && self.choose(&change, &self.avoid(&change)).is_empty() {
            return Some(self.settle(Changed::Nobody));
        }
        let shared = Arc::clone(self);
        let name = format!("egret-{}-change", self.ledger);
        let run = move || {
            let changed = shared.change(&change);
            if let Changed::Nobody = changed {
                shared.note_lacking(&change);
            }
            let after = shared.settle(changed);
            shared.finish(after);
        };
        match std::thread::Builder::new().name(name).spawn(run) {
            Ok(handle) => {
                let mut changers = self.changers.lock().unwrap_or_else(PoisonError::into_inner);
                changers.retain(|handle| !handle.is_finished());
                changers.push(handle);
                None
            }
            Err(error) => {
                tracing::warn!(ledger = %self.ledger, %error, "no thread to look for bookies with");
                Some(self.settle(Changed::Nobody))
            }
        }
    }

    /// Whoever just failed is not asked at once.
    fn avoid(&self, change: &Change) -> Vec<Member> {
        match change.again {
            true => Vec::new(),
            false => change.failed.iter().map(|&slot| change.ensemble.member(slot)).collect(),
        }
    }

    fn choose(&self, change: &Change, avoid: &[Member]) -> Vec<(usize, Member)> {
        let candidates = self.ledgers.bookies().candidates();
        let round = self.ledger.0.wrapping_add(change.first.0);
        placement::replace(&change.ensemble, &change.failed, &candidates, avoid, round)
    }

    fn change(&self, change: &Change) -> Changed {
        let mut avoid = self.avoid(change);
        loop {
            let chosen = self.choose(change, &avoid);
            if chosen.is_empty() {
                return Changed::Nobody;
            }
            let created = match self.create(&chosen, &mut avoid) {
                Ok(created) => created,
                Err(failure) => return Changed::Not(failure),
            };
            if !created.is_empty() {
                return self.commit(change, &created);
            }
        }
    }

    /// Creates the ledger on the bookies chosen; those where it is. The others go to `avoid`.
    fn create(
        &self,
        chosen: &[(usize, Member)],
        avoid: &mut Vec<Member>,
    ) -> Result<Vec<(usize, Member)>, WriterFailure> {
        let (transactional, replicated) = {
            let state = self.lock();
            (state.core.is_transactional(), state.core.is_replicated())
        };
        let question = |&(_, member): &(usize, Member)| {
            let (ledger, term) = (self.ledger, self.term);
            let request = Request::Create { ledger, term, transactional, replicated };
            (self.ledgers.bookies().transport(member), member.incarnation, request)
        };
        let questions = chosen.iter().map(question).collect();
        let replies = fan_out::ask(questions, chosen.len(), |_| true);
        let mut created = Vec::new();
        for (&(slot, member), reply) in chosen.iter().zip(replies) {
            match reply {
                // It may have been in an earlier fragment.
                Some(Reply::Done | Reply::Refused(Refusal::Exists)) => created.push((slot, member)),
                Some(Reply::Refused(Refusal::StaleTerm { held })) => {
                    return Err(WriterFailure::Fenced { held });
                }
                other => {
                    tracing::warn!(ledger = %self.ledger, ?member, ?other, "a bookie took no ledger");
                    avoid.push(member);
                }
            }
        }
        Ok(created)
    }

    fn commit(&self, change: &Change, created: &[(usize, Member)]) -> Changed {
        let mut members = change.ensemble.members().to_vec();
        for &(slot, member) in created {
            members[slot] = member;
        }
        let ensemble = Ensemble::new(members);
        let until = clock::now() + Duration::from_millis(caps::ENSEMBLE_CHANGE_MS_MAX);
        loop {
            let changed = self.ledgers.change(self.ledger, |held, proposal| {
                held.change_ensemble(self.term, change.first, ensemble.clone(), proposal)
            });
            let why = match changed {
                Ok(committed) => {
                    tracing::info!(ledger = %self.ledger, first = %change.first, ?created, "other bookies");
                    let renewed = created.iter().map(|&(slot, _)| slot).collect();
                    return Changed::To(committed, renewed);
                }
                Err(RecordError::Transition { why, .. }) => return self.refused(why),
                Err(other) => other,
            };
            let may_pass = matches!(&why, RecordError::Meta(error) if error.may_pass());
            if !may_pass || clock::now() >= until || self.abandoned.load(Ordering::Acquire) {
                return Changed::Not(WriterFailure::NotChanged { why: why.to_string() });
            }
            tracing::warn!(ledger = %self.ledger, %why, "the ensemble is not committed yet");
            // Woken early by answers, which is only an earlier try.
            let state = self.lock();
            drop(self.changed.wait_timeout(state, PAUSE).unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// Notes in the ledger's record that the bookies which failed will lack entries, so that repair
    /// finds them whatever becomes of this writer.
    fn note_lacking(&self, change: &Change) {
        let bookies: Vec<BookieId> =
            change.failed.iter().map(|&slot| change.ensemble.member(slot).bookie).collect();
        let noted = self.ledgers.change(self.ledger, |held, proposal| {
            held.note_lacking(self.term, held.last_fragment().0, &bookies, proposal)
        });
        if let Err(why) = noted {
            tracing::warn!(ledger = %self.ledger, %why, "missing copies are not noted");
        }
    }

    fn refused(&self, why: TransitionError) -> Changed {
        match why {
            TransitionError::TooManyFragments => {
                tracing::warn!(
                    ledger = %self.ledger, FRAGMENTS_MAX, "no more changes: the segment should roll"
                );
                Changed::Nobody
            }
            TransitionError::StaleTerm { held, .. } | TransitionError::InRecovery { held } => {
                Changed::Not(WriterFailure::Fenced { held })
            }
            other => Changed::Not(WriterFailure::NotChanged { why: other.to_string() }),
        }
    }

    /// Tells the core.
    fn settle(&self, changed: Changed) -> After {
        let mut state = self.lock();
        let State { core, effects, ways, .. } = &mut *state;
        match changed {
            Changed::To(committed, renewed) => {
                let ensemble = committed.last_fragment().1;
                for &slot in &renewed {
                    ways[slot] = self.ledgers.bookies().transport(ensemble.member(slot));
                }
                core.on_ensemble(&committed, &renewed, effects);
            }
            Changed::Nobody => core.on_no_replacement(effects),
            Changed::Not(failure) => core.on_not_changed(failure, effects),
        }
        let lacking = core.failure().is_none() && core.given_up().next().is_some();
        state.retry_at = lacking.then(|| clock::now() + RETRY);
        if lacking {
            tracing::warn!(
                ledger = %self.ledger, missing = state.core.given_up().count(),
                "entries have too few copies until there are more bookies"
            );
        }
        self.collect(&mut state)
    }

    /// Nobody waits for this writer any more; waits for its threads.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
        self.changed.notify_all();
        let changers = {
            let mut changers = self.changers.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *changers)
        };
        for changer in changers {
            // The handle may be dropped by a callback that runs on one of them.
            if changer.thread().id() != std::thread::current().id() && changer.join().is_err() {
                tracing::error!(ledger = %self.ledger, "a change of bookies panicked");
            }
        }
    }
}
