//! Who waits for a ledger's LAC, over all connections.
//!
//! The bookie keeps a watch until it is due, and clients come and go. So it is given one for a ledger,
//! at the LAC of that moment: it is due with any progress, and whoever waits is woken by it and asks
//! again. A client that goes away leaves nothing behind.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use egret_schemas::bookie::BookieReply;
use egret_schemas::{EntryId, LedgerId};

use super::line::Line;
use crate::bookie::Bookie;
use crate::caps;
use crate::message::{Refusal, Reply, Request, Transport};

/// See the [module](self).
#[derive(Debug)]
pub(super) struct Watches {
    bookie: Bookie,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    ledgers: BTreeMap<LedgerId, Watched>,
}

#[derive(Debug, Default)]
struct Watched {
    /// Whether the bookie has a watch for it.
    armed: bool,
    waiting: BTreeMap<u64, (Arc<Line>, u64)>,
}

impl Watches {
    pub(super) fn new(bookie: Bookie) -> Watches {
        Watches { bookie, state: Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers the request when readers may see beyond `beyond`, or at once if they may already.
    pub(super) fn watch(
        self: &Arc<Watches>,
        line: &Arc<Line>,
        correlation: u64,
        ledger: LedgerId,
        beyond: Option<EntryId>,
    ) {
        // Asks the memory of the bookie only.
        let lac = match self.bookie.call(self.bookie.incarnation(), Request::ReadLac { ledger }) {
            Reply::Lac { lac, .. } => lac,
            // Its record was written and the bookie was not told yet.
            Reply::Refused(Refusal::NoLedger) => None,
            _ => return watched(line, correlation),
        };
        if lac > beyond {
            return watched(line, correlation);
        }
        let arm = {
            let mut state = self.state();
            if !state.ledgers.contains_key(&ledger)
                && state.ledgers.len() >= caps::WATCHED_LEDGERS_MAX
            {
                drop(state);
                let retry_after_ms = caps::RETRY_AFTER_MS;
                return line
                    .answer(correlation, Reply::Refused(Refusal::Overloaded { retry_after_ms }));
            }
            let id = state.next;
            state.next += 1;
            if !line.watches(correlation, ledger, id) {
                return;
            }
            let watched = state.ledgers.entry(ledger).or_default();
            watched.waiting.insert(id, (Arc::clone(line), correlation));
            !std::mem::replace(&mut watched.armed, true)
        };
        if arm {
            let own = Arc::downgrade(self);
            let wake = Arc::new(move || {
                if let Some(own) = own.upgrade() {
                    own.wake(ledger);
                }
            });
            self.bookie.watch_lac(ledger, lac, wake);
        }
    }

    /// Somebody waits no longer.
    pub(super) fn forget(&self, ledger: LedgerId, watch: u64) {
        let mut state = self.state();
        if let Some(watched) = state.ledgers.get_mut(&ledger) {
            // What the bookie has stays, and is there for who comes next.
            watched.waiting.remove(&watch);
        }
    }

    fn wake(&self, ledger: LedgerId) {
        let watched_by = self.state().ledgers.remove(&ledger);
        for (line, correlation) in watched_by.into_iter().flat_map(|w| w.waiting.into_values()) {
            watched(&line, correlation);
        }
    }
}

fn watched(line: &Line, correlation: u64) {
    line.answer_with(correlation, BookieReply::Watched, Bytes::new());
}
