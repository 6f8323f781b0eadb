//! Ledgers that nobody closed, of whose last bookies one is gone, and whose writer does nothing about it:
//! found, and their copies made, without saying where they end.
//!
//! A writer that is there gives such a ledger other bookies by itself. Where for a grace nothing was
//! appended and the record stayed what it was, there is none: the writer of that term is shut out, what
//! may have been acknowledged is found, and the ledger goes on behind it with bookies that are there
//! ([`LedgerMetadata::settle`]). What lies before is then immutable, and the next sweep makes its copies.
//! The ledger stays open: its owner closes it, at a commit or at its end, whenever it comes.
//!
//! What was seen is kept in memory only. A repairer that begins waits the whole grace again.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use egret_schemas::{EntryId, LedgerId, Term};

use super::ends::LedgerEnd;
use super::error::{RecordError, RecoverError};
use super::ledgers::Ledgers;
use super::{fan_out, placement, recover};
use crate::ledger::repair;
use crate::ledger::{Ensemble, LedgerMetadata, LedgerState, Member, Proposal, TransitionError};
use crate::message::{Reply, Request};

/// What tells that somebody writes: any of it changes then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Signs {
    record: Proposal,
    /// The highest that any bookie knows of.
    last: Option<EntryId>,
    lac: Option<EntryId>,
}

/// Ledgers that may be abandoned, and since when nothing was seen of a writer.
#[derive(Debug, Default)]
pub(super) struct Abandoned {
    quiet: BTreeMap<LedgerId, (Signs, Instant)>,
}

impl Abandoned {
    /// Looks at the ledgers a [survey](super::repair::survey) found to lack one of their last bookies;
    /// those that were quiet for `grace` by now. The others that were known are not lacking any more.
    pub(super) fn look(
        &mut self,
        ledgers: &Ledgers,
        found: &BTreeMap<LedgerId, LedgerMetadata>,
        (now, grace): (Instant, Duration),
    ) -> Vec<LedgerId> {
        self.quiet.retain(|id, _| found.contains_key(id));
        let mut due = Vec::new();
        for (&id, record) in found {
            let signs = Signs::of(ledgers, id, record);
            let (before, since) = self.quiet.entry(id).or_insert((signs, now));
            // A bookie that does not answer this time makes nothing lower.
            let higher = signs.last > before.last || signs.lac > before.lac;
            if higher || signs.record != before.record {
                (*before, *since) = (signs, now);
            } else if now.saturating_duration_since(*since) >= grace {
                due.push(id);
            }
        }
        due
    }
}

impl Signs {
    fn of(ledgers: &Ledgers, id: LedgerId, record: &LedgerMetadata) -> Signs {
        let members = record.last_fragment().1.members();
        let there = |member: &&Member| !repair::is_gone(ledgers.bookies().standing(**member));
        let mut asked: Vec<&Member> = members.iter().filter(there).collect();
        // One that is to go may be all there is.
        if asked.is_empty() {
            asked = members.iter().collect();
        }
        let question = |&member: &Member| {
            let way = ledgers.bookies().transport(member);
            (way, member.incarnation, Request::ReadLac { ledger: id })
        };
        let count = asked.len();
        let questions = asked.into_iter().map(question).collect();
        let mut signs = Signs { record: record.proposal, last: None, lac: None };
        for reply in fan_out::ask(questions, count, |_| true).into_iter().flatten() {
            if let Reply::Lac { lac, last } = reply {
                signs.last = signs.last.max(last);
                signs.lac = signs.lac.max(lac);
            }
        }
        signs
    }
}

/// Shuts out whoever writes the ledger, and lets it go on with bookies that are there; whether there were
/// any. Nobody is shut out when there are none. What an attempt left undone the next one does.
pub(super) fn settle(ledgers: &Ledgers, id: LedgerId) -> Result<bool, RecoverError> {
    let record = ledgers.describe(id)?;
    let standing = |member: Member| ledgers.bookies().standing(member);
    let gone = repair::gone_from_the_end(&record, standing);
    let candidates = ledgers.bookies().candidates();
    let ensemble = record.last_fragment().1;
    if placement::replace(ensemble, &gone, &candidates, &[], id.0).is_empty() {
        return Ok(false);
    }
    // The next owner comes with a term above the writer's, and is not to find a higher one here.
    let term = match record.state {
        LedgerState::Open => Term(record.term.0 + 1),
        _ => record.term,
    };
    let taken = ledgers.change(id, |held, proposal| held.start_recovery(term, proposal))?;
    let found = recover::find_end(ledgers, id, term, taken.clone(), None, &BTreeSet::new())?;
    let last = found.moved.values().next_back().unwrap_or(taken.last_fragment().1);
    let slots: Vec<usize> = (0..last.members().len())
        .filter(|&slot| repair::is_gone(standing(last.member(slot))))
        .collect();
    let next = match slots[..] {
        [] => last.clone(),
        _ => match recover::replace(ledgers, id, term, &taken, (last, &slots), id.0) {
            Some((next, _)) => next,
            None => return Ok(false),
        },
    };
    if !tell(ledgers, id, term, last, &next) {
        return Ok(false);
    }
    let settled = ledgers.change(id, |held, p| held.settle(&found, next.clone(), p))?;
    ledgers.reads().forget(id);
    tracing::warn!(
        ledger = %id, end = ?found.last, bookies = ?settled.last_fragment().1,
        "nobody writes it and a bookie was gone: it goes on elsewhere when its owner comes"
    );
    Ok(true)
}

/// Tells those that are new how far readers may see: the others may go before the owner comes.
fn tell(ledgers: &Ledgers, ledger: LedgerId, term: Term, was: &Ensemble, next: &Ensemble) -> bool {
    let Ok(LedgerEnd::Open { lac: Some(lac) }) = ledgers.end(ledger) else { return true };
    let new = next.members().iter().filter(|member| !was.members().contains(member));
    let question = |member: &Member| {
        let way = ledgers.bookies().transport(*member);
        (way, member.incarnation, Request::WriteLac { ledger, term, lac })
    };
    let questions: Vec<_> = new.map(question).collect();
    let count = questions.len();
    let replies = fan_out::ask(questions, count, |_| true);
    replies.iter().all(|reply| matches!(reply, Some(Reply::Done)))
}

/// Whether somebody else was faster, or the ledger is gone.
pub(super) fn is_settled(error: &RecoverError) -> bool {
    let RecoverError::Record(error) = error else { return false };
    matches!(
        error,
        RecordError::NoLedger { .. }
            | RecordError::Transition {
                why: TransitionError::Closed { .. }
                    | TransitionError::Settled
                    | TransitionError::Deleted
                    | TransitionError::StaleTerm { .. },
                ..
            }
    )
}
