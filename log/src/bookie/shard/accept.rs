//! Judging requests: what is refused, what is answered at once, what the journal must have first.

use std::sync::{Arc, MutexGuard, PoisonError};

use egret_schemas::{EntryAddress, EntryId, Incarnation, LedgerId, Term};

use super::lookup::{Bounds, Lookup, ReadJob, SentJob};
use super::threads::is_bookie_thread;
use super::{Queued, Shard, Slot, State, Then, Waiter};
use crate::bookie::journal::Record;
use crate::bookie::journal::format::RECORD_HEAD;
use crate::caps;
use crate::message::{Refusal, Reply, ReplyTo, Request, Unknown, Wake, entry_crc};
use crate::mutants::{self, Mutant};

/// What became of a request.
pub(super) enum Verdict {
    /// Answered.
    Reply(Reply),
    /// The answer is on the medium.
    Read(ReadJob),
    /// The medium must be asked whether this add repeats an entry stored long ago.
    Compare(ReadJob, Request),
    /// Something waits for the journal.
    Journal(Option<Record>, Then),
}

/// Whether a caller waits for room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Patience {
    /// It waits.
    Yes,
    /// It is told that there is none: others wait for its thread.
    No,
}

/// The number that no entry has.
const LAST_OF_ALL: EntryId = EntryId(u64::MAX);

impl Shard {
    /// Judges a request for `to` that needs no state: `Err` is the answer.
    pub(super) fn judge_form(&self, to: Incarnation, request: &Request) -> Result<(), Reply> {
        if to != self.own && !mutants::on(Mutant::IncarnationIgnored) {
            return Err(Reply::Unknown(Unknown::Incarnation { asked: to, own: self.own }));
        }
        if let Request::Add { ledger, entry, crc, payload, .. } = request {
            if payload.len() > caps::ENTRY_BYTES_MAX {
                let (bytes, max) = (payload.len(), caps::ENTRY_BYTES_MAX);
                return Err(Reply::Refused(Refusal::TooLarge { bytes, max }));
            }
            if *entry == LAST_OF_ALL {
                // There is no entry after it, which ranges of entries rely on.
                return Err(Reply::Refused(Refusal::TooLarge { bytes: payload.len(), max: 0 }));
            }
            let trusted = mutants::on(Mutant::ChecksumNotVerifiedOnAdd);
            if !trusted && entry_crc(*ledger, *entry, payload) != *crc {
                return Err(Reply::Refused(Refusal::BadCrc));
            }
        }
        match request {
            // Such an entry cannot be there, and recovery would begin to read behind it.
            Request::Add { lac: Some(LAST_OF_ALL), .. }
            | Request::WriteLac { lac: LAST_OF_ALL, .. } => {
                Err(Reply::Refused(Refusal::TooLarge { bytes: 0, max: 0 }))
            }
            _ => Ok(()),
        }
    }

    /// Waits until there is room for `request`, or gives the answer for having none. Threads of the
    /// bookie itself never wait: they are the ones that make room.
    pub(super) fn wait_for_room<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        request: &Request,
        patience: Patience,
    ) -> Result<MutexGuard<'a, State>, Reply> {
        let Request::Add { payload, .. } = request else { return Ok(state) };
        let bytes = payload.len() + RECORD_HEAD;
        let own = is_bookie_thread();
        loop {
            if state.closing || state.poisoned.is_some() || own {
                return Ok(state);
            }
            state = self.checkpoint_inline(state);
            let queue_full =
                state.queued_bytes > 0 && state.queued_bytes + bytes > self.config.queue_bytes_max;
            let most = caps::WRITE_CACHE_AHEAD * self.config.write_cache_bytes;
            let cache_full = state.cache.sealed().is_some()
                && state.cache.active_bytes() + state.queued_bytes >= most;
            if !queue_full && !cache_full {
                return Ok(state);
            }
            if cache_full && let Some(refusal) = self.unstick_checkpoint(&mut state) {
                return Err(Reply::Refused(refusal));
            }
            if patience == Patience::No {
                let retry_after_ms = caps::RETRY_AFTER_MS;
                return Err(Reply::Refused(Refusal::Overloaded { retry_after_ms }));
            }
            if self.config.background {
                state.callers_wait += 1;
                state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.callers_wait -= 1;
            }
        }
    }

    /// Judges a request by the state. Wakes that are due are added to `wakes`, to be called without
    /// the lock.
    pub(super) fn judge(
        &self,
        state: &mut State,
        request: Request,
        wakes: &mut Vec<Wake>,
    ) -> Verdict {
        if state.closing {
            return Verdict::Reply(Reply::Unknown(Unknown::Closing));
        }
        let reads = matches!(
            request,
            Request::Read { fence: None, .. } | Request::ReadRange { .. } | Request::ReadLac { .. }
        );
        if let Some(why) = state.poisoned.as_ref().filter(|_| !reads) {
            return Verdict::Reply(Reply::Unknown(Unknown::Poisoned { why: why.clone() }));
        }
        if let Some(refusal) = self.shut(state, &request) {
            return Verdict::Reply(Reply::Refused(refusal));
        }
        let judged = match request {
            Request::Create { ledger, term, transactional, replicated } => {
                let record = Record::Create { ledger, term, transactional, replicated };
                state.table.creatable(ledger, term).map(|()| journal(record, Then::Done))
            }
            Request::Add { .. } => state.judge_add(request, wakes),
            Request::Read { ledger, entry, fence } => {
                state.judge_read(EntryAddress { ledger, entry }, fence)
            }
            Request::ReadRange { ledger, from, entries_max, bytes_max } => {
                let bounds = Bounds::new(entries_max, bytes_max);
                state.judge_range(EntryAddress { ledger, entry: from }, bounds)
            }
            Request::Fence { ledger, term } => state.judge_fence(ledger, term),
            Request::WriteLac { ledger, term, lac } => state.judge_lac(ledger, term, lac, wakes),
            Request::ReadLac { ledger } => {
                let limbo = state.table.in_limbo(ledger);
                match state.table.existing_mut(ledger) {
                    Ok(found) => {
                        Ok(Verdict::Reply(Reply::Lac { lac: found.lac, last: found.last }))
                    }
                    Err(Refusal::NoLedger) if limbo => Ok(in_limbo()),
                    Err(refusal) => Err(refusal),
                }
            }
            Request::ClearLimbo { ledger, term } => state.judge_clear_limbo(ledger, term),
            Request::LimboBound { below } => Ok(state.judge_limbo_bound(below)),
            Request::Delete { ledger } => Ok(state.judge_delete(ledger)),
        };
        if !state.lazy.is_empty() {
            self.arm_timer(state);
        }
        judged.unwrap_or_else(|refusal| Verdict::Reply(Reply::Refused(refusal)))
    }

    /// Judges an add of an entry that the medium holds, with the checksum it was found to have. A
    /// copy takes the place of one that is damaged.
    pub(super) fn judge_compared(
        &self,
        state: &mut State,
        request: Request,
        stored: Result<u32, Reply>,
    ) -> Verdict {
        let Request::Add { ledger, entry, term, lac, crc, copy, payload } = request else {
            unreachable!("only adds are compared");
        };
        if state.closing {
            return Verdict::Reply(Reply::Unknown(Unknown::Closing));
        }
        if let Some(why) = state.poisoned.clone() {
            return Verdict::Reply(Reply::Unknown(Unknown::Poisoned { why }));
        }
        let judged = match stored {
            Ok(stored) => state.judge_repeated(ledger, term, stored == crc),
            Err(_) if copy => {
                let record = Record::Add { ledger, entry, term, lac, crc, payload };
                state.table.writable(ledger, term).map(|_| journal(record, Then::Done))
            }
            Err(answer) => return Verdict::Reply(answer),
        };
        judged.unwrap_or_else(|refusal| Verdict::Reply(Reply::Refused(refusal)))
    }
}

impl From<super::Answer> for Verdict {
    fn from(answer: super::Answer) -> Verdict {
        match answer {
            super::Answer::Reply(reply) => Verdict::Reply(reply),
            super::Answer::Read(job) => Verdict::Read(job),
        }
    }
}

fn journal(record: Record, then: Then) -> Verdict {
    Verdict::Journal(Some(record), then)
}

fn in_limbo() -> Verdict {
    Verdict::Reply(Reply::Unknown(Unknown::Limbo))
}

impl State {
    fn judge_add(&mut self, request: Request, wakes: &mut Vec<Wake>) -> Result<Verdict, Refusal> {
        let Request::Add { ledger, entry, term, lac, crc, copy, ref payload } = request else {
            unreachable!("only adds come here");
        };
        let address = EntryAddress { ledger, entry };
        if mutants::on(Mutant::AddCreatesLedger) && self.table.get(ledger).is_none() {
            self.table.entry(ledger).held.created = true;
        }
        if !copy && self.shut_by_limbo(ledger, term)? {
            return Ok(in_limbo());
        }
        let found = self.table.writable(ledger, term)?;
        if found.highest < Some(entry) {
            let rises = lac.is_some_and(|lac| found.raise_lac(lac));
            if rises {
                wakes.extend(self.due(ledger, false));
            }
            let payload = payload.clone();
            return Ok(journal(Record::Add { ledger, entry, term, lac, crc, payload }, Then::Done));
        }
        let stored = match self.pending.get(&address) {
            Some(pending) => Some(*pending),
            None => match self.lookup(address) {
                Lookup::Cached(cached) => Some(cached.crc),
                Lookup::Stored(job) => return Ok(Verdict::Compare(job, request)),
                Lookup::Nothing => None,
            },
        };
        match stored {
            None => {
                let payload = payload.clone();
                Ok(journal(Record::Add { ledger, entry, term, lac, crc, payload }, Then::Done))
            }
            Some(stored) => self.judge_repeated(ledger, term, stored == crc),
        }
    }

    /// An add of an entry that is stored, or about to be.
    fn judge_repeated(
        &mut self,
        ledger: LedgerId,
        term: Term,
        same: bool,
    ) -> Result<Verdict, Refusal> {
        let found = self.table.writable(ledger, term)?;
        if !same && !mutants::on(Mutant::OtherBytesAccepted) {
            return Err(Refusal::Conflict);
        }
        if term > found.held.term {
            return Ok(journal(Record::Fence { ledger, term }, Then::Done));
        }
        // The one before it may not be durable yet.
        Ok(Verdict::Journal(None, Then::Done))
    }

    /// Whether limbo shuts a writer out: a fence it should have met may be among what was lost, so
    /// only copies get in. A refusal that is certain goes first.
    fn shut_by_limbo(&mut self, ledger: LedgerId, term: Term) -> Result<bool, Refusal> {
        let limbo = self.table.in_limbo_held(ledger);
        match self.table.writable(ledger, term) {
            Ok(_) => Ok(limbo),
            Err(Refusal::NoLedger) if limbo => Ok(true),
            Err(refusal) => Err(refusal),
        }
    }

    fn judge_clear_limbo(&mut self, ledger: LedgerId, term: Term) -> Result<Verdict, Refusal> {
        self.table.fenceable(ledger, term)?;
        if self.table.in_limbo_held(ledger) {
            return Ok(journal(Record::ClearLimbo { ledger, term }, Then::Done));
        }
        // The record that cleared it may not be durable yet.
        Ok(Verdict::Journal(None, Then::Done))
    }

    fn judge_limbo_bound(&mut self, below: LedgerId) -> Verdict {
        if below < self.table.limbo_below_held() {
            return journal(Record::LimboBound { below }, Then::Done);
        }
        Verdict::Journal(None, Then::Done)
    }

    fn judge_read(
        &mut self,
        address: EntryAddress,
        fence: Option<Term>,
    ) -> Result<Verdict, Refusal> {
        let ledger = address.ledger;
        if let Some(term) = fence.filter(|_| !mutants::on(Mutant::ReadsDoNotFence)) {
            self.table.fenceable(ledger, term)?;
            if mutants::on(Mutant::NoEntryBeforeFence)
                && let super::Answer::Reply(reply @ Reply::NoEntry { .. }) = self.read(address)
            {
                self.table.accept(&Record::Fence { ledger, term });
                return Ok(Verdict::Reply(reply));
            }
            if self.table.get(ledger).is_none_or(|found| found.durable.term < term) {
                return Ok(journal(Record::Fence { ledger, term }, Then::Read(address)));
            }
        } else if fence.is_none()
            && let Some(unknown) = self.unreadable(ledger)?
        {
            return Ok(unknown);
        }
        // A durable fence has all adds accepted before it durable and readable.
        let answer = match fence {
            Some(_) => self.read_urgent(address),
            None => self.read(address),
        };
        Ok(answer.into())
    }

    fn judge_range(&mut self, from: EntryAddress, bounds: Bounds) -> Result<Verdict, Refusal> {
        if let Some(unknown) = self.unreadable(from.ledger)? {
            return Ok(unknown);
        }
        Ok(self.read_range(from, bounds).into())
    }

    /// The answer to a reader of a ledger that was never created here, as far as is known.
    fn unreadable(&mut self, ledger: LedgerId) -> Result<Option<Verdict>, Refusal> {
        let limbo = self.table.in_limbo(ledger);
        match self.table.existing_mut(ledger) {
            Ok(_) => Ok(None),
            Err(Refusal::NoLedger) if limbo => Ok(Some(in_limbo())),
            Err(refusal) => Err(refusal),
        }
    }

    fn judge_fence(&mut self, ledger: LedgerId, term: Term) -> Result<Verdict, Refusal> {
        self.table.fenceable(ledger, term)?;
        let unknown = self.table.get(ledger).is_none();
        if unknown && mutants::on(Mutant::UnknownLedgerNotFenced) {
            return Ok(Verdict::Reply(Reply::Fenced { lac: None, last: None }));
        }
        if mutants::on(Mutant::FenceNotDurable) {
            self.table.accept(&Record::Fence { ledger, term });
            let found = self.table.get(ledger);
            let (lac, last) = found.map_or((None, None), |found| (found.lac, found.last));
            return Ok(Verdict::Reply(Reply::Fenced { lac, last }));
        }
        if self.table.get(ledger).is_some_and(|found| found.durable.term >= term) {
            return Ok(Verdict::Journal(None, Then::Fenced(ledger)));
        }
        Ok(journal(Record::Fence { ledger, term }, Then::Fenced(ledger)))
    }

    fn judge_lac(
        &mut self,
        ledger: LedgerId,
        term: Term,
        lac: EntryId,
        wakes: &mut Vec<Wake>,
    ) -> Result<Verdict, Refusal> {
        if self.shut_by_limbo(ledger, term)? {
            return Ok(in_limbo());
        }
        let found = self.table.writable(ledger, term)?;
        let raises_term = term > found.held.term;
        if found.raise_lac(lac) {
            self.lazy.insert(ledger);
            wakes.extend(self.due(ledger, false));
        }
        if raises_term {
            return Ok(journal(Record::ExplicitLac { ledger, term, lac }, Then::Done));
        }
        Ok(Verdict::Reply(Reply::Done))
    }

    fn judge_delete(&mut self, ledger: LedgerId) -> Verdict {
        match self.table.get(ledger) {
            Some(found) if found.durable.deleted => Verdict::Reply(Reply::Done),
            Some(found) if found.held.deleted => Verdict::Journal(None, Then::Done),
            _ => journal(Record::Delete { ledger }, Then::Done),
        }
    }

    /// Queues what must be durable before the answer.
    pub(super) fn enqueue(&mut self, record: Option<Record>, then: Then, to: Waiter) {
        let bytes = record.as_ref().map_or(0, Record::len);
        if let Some(record) = &record {
            self.table.accept(record);
            if let Record::Add { ledger, entry, crc, .. } = record {
                self.pending.insert(EntryAddress { ledger: *ledger, entry: *entry }, *crc);
            }
        }
        self.queued_bytes += bytes;
        self.queued_calls += usize::from(matches!(to, Waiter::Call(_)));
        self.queue.push_back(Queued { record, bytes, then, to });
    }
}

impl Shard {
    /// Serves a request whose answer goes to `reply`.
    pub(crate) fn send(
        &self,
        to: Incarnation,
        request: Request,
        reply: ReplyTo,
        patience: Patience,
    ) {
        if let Err(answer) = self.judge_form(to, &request) {
            return reply(answer);
        }
        let mut state = match self.wait_for_room(self.lock(), &request, patience) {
            Ok(state) => state,
            Err(answer) => return reply(answer),
        };
        let mut wakes = Vec::new();
        let verdict = self.judge(&mut state, request, &mut wakes);
        match verdict {
            Verdict::Reply(answer) => {
                drop(state);
                self.count_tail(&answer);
                wakes.into_iter().for_each(|wake| wake());
                reply(answer);
            }
            Verdict::Read(job) => {
                drop(state);
                self.read_later(SentJob::Answer(job, reply));
            }
            Verdict::Compare(job, request) => {
                drop(state);
                self.read_later(SentJob::Compare(job, request, reply));
            }
            Verdict::Journal(record, then) => {
                state.enqueue(record, then, Waiter::Send(reply));
                self.commit_sent(state, wakes);
            }
        }
    }

    /// Serves a request on this very thread.
    pub(crate) fn call(&self, to: Incarnation, request: Request) -> Reply {
        if let Err(answer) = self.judge_form(to, &request) {
            return answer;
        }
        let mut state = match self.wait_for_room(self.lock(), &request, Patience::Yes) {
            Ok(state) => state,
            Err(answer) => return answer,
        };
        let mut wakes = Vec::new();
        let mut verdict = self.judge(&mut state, request, &mut wakes);
        if let Verdict::Compare(job, request) = verdict {
            drop(state);
            let compared = job.crc(self);
            state = self.lock();
            verdict = self.judge_compared(&mut state, request, compared);
        }
        let answer = match verdict {
            Verdict::Reply(answer) => {
                drop(state);
                self.count_tail(&answer);
                super::Answer::Reply(answer)
            }
            Verdict::Read(job) => {
                drop(state);
                super::Answer::Read(job)
            }
            Verdict::Journal(record, then) => {
                let slot = Arc::new(Slot::default());
                state.enqueue(record, then, Waiter::Call(Arc::clone(&slot)));
                if !wakes.is_empty() {
                    drop(state);
                    wakes.drain(..).for_each(|wake| wake());
                    state = self.lock();
                }
                self.commit(state, &slot)
            }
            Verdict::Compare(..) => unreachable!("compared above"),
        };
        wakes.into_iter().for_each(|wake| wake());
        match answer {
            super::Answer::Reply(reply) => reply,
            super::Answer::Read(job) => job.read(self).0,
        }
    }
}
