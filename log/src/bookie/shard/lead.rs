//! Leading: one batch after another is taken, written, made readable and answered.

use std::collections::BTreeSet;
use std::sync::{Arc, MutexGuard, PoisonError};

use egret_schemas::EntryAddress;

use super::{Answer, Queued, Shard, Slot, State, Then, Told, Waiter};
use crate::bookie::cache::CachedEntry;
use crate::bookie::journal::format::BATCH_RECORDS_MAX;
use crate::bookie::journal::writer::WriteError;
use crate::bookie::journal::{Lsn, Record};
use crate::bookie::shard::lookup::SentJob;
use crate::caps;
use crate::message::{Refusal, Reply, Unknown, Wake};

/// What one round of leading takes.
#[derive(Default)]
struct Batch {
    items: Vec<Queued>,
    /// LACs that ride along.
    lacs: Vec<Record>,
    /// Whether it is written even if it is empty.
    mark: bool,
}

impl Batch {
    fn records(&self) -> impl Iterator<Item = &Record> + Clone {
        self.items.iter().filter_map(|item| item.record.as_ref()).chain(&self.lacs)
    }

    fn is_empty(&self) -> bool {
        !self.mark && self.records().next().is_none()
    }
}

/// What is to be done without the lock after a round.
#[derive(Default)]
struct After {
    wakes: Vec<Wake>,
    reads: Vec<SentJob>,
}

impl Shard {
    /// Waits until what stands in `slot` is durable, leading if nobody does.
    pub(super) fn commit<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        slot: &Arc<Slot>,
    ) -> Answer {
        if state.writing {
            drop(state);
            match slot.wait() {
                Told::Answer(answer) => return answer,
                Told::Lead | Told::Nothing => state = self.lock(),
            }
        } else {
            if let Told::Answer(answer) = slot.take() {
                return answer;
            }
            state.writing = true;
        }
        loop {
            let (after, led) = self.round(state, false);
            state = led;
            let told = slot.take();
            if let Told::Answer(answer) = told {
                self.hand_over(&mut state);
                drop(state);
                self.finish(after);
                return answer;
            }
            drop(state);
            self.finish(after);
            state = self.lock();
        }
    }

    /// Has what was queued for a send committed: by the journal thread, or here if there is none.
    pub(super) fn commit_sent(&self, mut state: MutexGuard<'_, State>, wakes: Vec<Wake>) {
        if self.config.background {
            self.rouse_journal(&mut state);
            drop(state);
            wakes.into_iter().for_each(|wake| wake());
            return;
        }
        drop(state);
        wakes.into_iter().for_each(|wake| wake());
        self.lead_until_idle();
    }

    /// Commits everything queued and gives all answers that are due, on this thread.
    pub(super) fn lead_until_idle(&self) {
        loop {
            self.lead_once();
            let mut state = self.lock();
            let replies = std::mem::take(&mut state.replies);
            let idle = state.queue.is_empty() || state.writing;
            drop(state);
            if replies.is_empty() && idle {
                return;
            }
            replies.into_iter().for_each(|(reply, answer)| reply(answer));
        }
    }

    /// Leads one round, if there is something to write and nobody does.
    pub(super) fn lead_once(&self) {
        let mut state = self.lock();
        if state.queue.is_empty() || state.writing {
            return;
        }
        state.writing = true;
        let (after, mut state) = self.round(state, false);
        self.hand_over(&mut state);
        drop(state);
        self.finish(after);
    }

    /// Writes a batch with the LACs the journal lacks, even if there are none: an idle mark.
    pub(super) fn mark_idle<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
    ) -> MutexGuard<'a, State> {
        state.writing = true;
        let (after, mut state) = self.round(state, true);
        self.hand_over(&mut state);
        drop(state);
        self.finish(after);
        self.lock()
    }

    /// Marks the last batch as durable.
    #[cfg(test)]
    pub(crate) fn mark_idle_now(&self) {
        drop(self.mark_idle(self.lock()));
    }

    /// One round: the caller leads.
    fn round<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        mark: bool,
    ) -> (After, MutexGuard<'a, State>) {
        let batch = state.take_batch(mark);
        let may_write = state.poisoned.is_none() && !state.stopped;
        let lsn = state.durable_lsn;
        drop(state);
        let (written, files) = if batch.is_empty() || !may_write {
            (Ok(lsn), None)
        } else {
            let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
            let written = writer.append(batch.records());
            (written, Some(writer.files()))
        };
        let mut state = self.lock();
        if let Some(files) = files
            && files > state.journal_files
        {
            state.spare_wanted = true;
            self.measure(&mut state);
            self.chores.notify_one();
        }
        state.journal_files = files.unwrap_or(state.journal_files);
        let mut after = After::default();
        if may_write {
            self.settle(&mut state, batch, written, &mut after);
        } else {
            let answer = state.standstill();
            state.give_up(batch, &answer, &mut after);
        }
        if !state.replies.is_empty() {
            self.rouse_journal(&mut state);
        }
        (after, state)
    }

    fn settle(
        &self,
        state: &mut State,
        batch: Batch,
        written: Result<Lsn, WriteError>,
        after: &mut After,
    ) {
        match written {
            Ok(lsn) => {
                if !batch.is_empty() {
                    state.batches += 1;
                    state.unmarked = batch.items.iter().any(|item| item.record.is_some());
                    state.idle_since = crate::clock::now();
                    self.arm_timer(state);
                }
                state.durable_lsn = lsn;
                let added = batch.records().filter(|record| matches!(record, Record::Add { .. }));
                let added: usize = added.map(Record::len).sum();
                if added > 0 {
                    state.read_jobs.added(added, crate::clock::now());
                }
                if state.made_durable(batch, after) {
                    self.want_compaction(state);
                }
                if self.due_for_checkpoint(state) {
                    state.cache.seal(lsn);
                    self.chores.notify_one();
                }
            }
            Err(WriteError::Full { free }) => {
                let answer = Reply::Refused(Refusal::DiskFull { dir: self.dir.clone(), free });
                state.give_up(batch, &answer, after);
            }
            Err(WriteError::Failed(why)) => {
                tracing::error!(%why, "the bookie stops writing");
                state.poisoned.get_or_insert(why);
                let answer = state.standstill();
                state.give_up(batch, &answer, after);
            }
        }
    }

    /// Accepts nothing more and waits until everything accepted was answered for by the journal.
    pub(crate) fn drain(&self) {
        self.lock().closing = true;
        self.room.notify_all();
        loop {
            self.lead_once();
            let mut state = self.lock();
            if state.queue.is_empty() && !state.writing {
                if !state.lazy.is_empty() && state.poisoned.is_none() && !state.stopped {
                    drop(self.mark_idle(state));
                }
                return;
            }
            state.callers_wait += 1;
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.callers_wait -= 1;
        }
    }

    /// Stops leading: the next call in the queue leads, else the journal thread.
    fn hand_over(&self, state: &mut State) {
        if state.queued_calls > 0 {
            let next = state.queue.iter().find_map(|queued| match &queued.to {
                Waiter::Call(slot) => Some(slot),
                Waiter::Send(_) => None,
            });
            if let Some(slot) = next {
                slot.tell(Told::Lead);
                if state.callers_wait > 0 {
                    self.room.notify_all();
                }
                return;
            }
        }
        state.writing = false;
        if state.callers_wait > 0 {
            self.room.notify_all();
        }
        if !state.queue.is_empty() || !state.replies.is_empty() {
            self.rouse_journal(state);
        }
    }

    fn finish(&self, after: After) {
        after.wakes.into_iter().for_each(|wake| wake());
        for job in after.reads {
            self.read_later(job);
        }
    }
}

impl State {
    fn take_batch(&mut self, mark: bool) -> Batch {
        let mut batch = Batch { mark, ..Batch::default() };
        let mut bytes = 0;
        while let Some(next) = self.queue.front() {
            let full = bytes + next.bytes > caps::JOURNAL_BATCH_BYTES_MAX
                || batch.items.len() >= BATCH_RECORDS_MAX / 2;
            if full && !batch.items.is_empty() {
                break;
            }
            bytes += next.bytes;
            let next = self.queue.pop_front().expect("front was there");
            self.queued_calls -= usize::from(matches!(next.to, Waiter::Call(_)));
            batch.items.push(next);
        }
        if batch.is_empty() {
            return batch;
        }
        while batch.lacs.len() < BATCH_RECORDS_MAX / 2
            && let Some(ledger) = self.lazy.pop_first()
        {
            let Some(found) = self.table.get_mut(ledger) else { continue };
            if let Some(lac) = found.lac.filter(|_| found.lac > found.lac_journaled)
                && !found.held.deleted
            {
                found.lac_journaled = Some(lac);
                batch.lacs.push(Record::ExplicitLac { ledger, term: found.held.term, lac });
            }
        }
        batch
    }

    /// Why nothing is written any more.
    fn standstill(&self) -> Reply {
        Reply::Unknown(match &self.poisoned {
            Some(why) => Unknown::Poisoned { why: why.clone() },
            None => Unknown::Closing,
        })
    }

    /// Makes a batch that is on the medium readable and answers it. Tells whether a ledger is gone.
    fn made_durable(&mut self, batch: Batch, after: &mut After) -> bool {
        let mut any_gone = false;
        for lac in &batch.lacs {
            self.table.durable(lac);
            self.records += 1;
        }
        for item in batch.items {
            self.queued_bytes -= item.bytes;
            if let Some(record) = item.record {
                self.records += 1;
                self.table.durable(&record);
                any_gone |= matches!(record, Record::Delete { .. });
                after.wakes.extend(self.take_effect(record));
            }
            let answer = self.answer(item.then);
            self.give(item.to, answer, after);
        }
        any_gone
    }

    fn take_effect(&mut self, record: Record) -> Vec<Wake> {
        match record {
            Record::Add { ledger, entry, term, crc, payload, .. } => {
                let address = EntryAddress { ledger, entry };
                self.pending.remove(&address);
                if self.table.get(ledger).is_some_and(|found| !found.durable.deleted) {
                    self.cache.insert(address, CachedEntry { term, crc, payload });
                }
                Vec::new()
            }
            Record::Delete { ledger } => {
                // Its extents may be what a checkpoint without space waits for.
                self.checkpoint_stuck = None;
                self.cache.forget(ledger);
                self.due(ledger, true)
            }
            Record::Fence { ledger, .. } => self.due(ledger, true),
            // A reader may watch a ledger that is listed and not created yet: there is nothing to see
            // in it now either, and being woken for nothing means a fence to that reader.
            Record::Create { .. }
            | Record::ExplicitLac { .. }
            | Record::ClearLimbo { .. }
            | Record::LimboBound { .. } => Vec::new(),
        }
    }

    fn answer(&self, then: Then) -> Answer {
        match then {
            Then::Done => Answer::Reply(Reply::Done),
            Then::Read(address) => self.read_urgent(address),
            Then::Fenced(ledger) => {
                let found = self.table.get(ledger);
                Answer::Reply(Reply::Fenced {
                    lac: found.and_then(|found| found.lac),
                    last: found.and_then(|found| found.last),
                })
            }
        }
    }

    fn give(&mut self, to: Waiter, answer: Answer, after: &mut After) {
        match (to, answer) {
            (Waiter::Call(slot), answer) => slot.tell(Told::Answer(answer)),
            (Waiter::Send(reply), Answer::Reply(answer)) => self.replies.push_back((reply, answer)),
            (Waiter::Send(reply), Answer::Read(job)) => {
                after.reads.push(SentJob::Answer(job, reply));
            }
        }
    }

    /// Answers a batch, and all that is queued behind it, that will not be written: what was accepted
    /// is taken back.
    fn give_up(&mut self, batch: Batch, answer: &Reply, after: &mut After) {
        self.queued_calls = 0;
        let mut touched: BTreeSet<_> = batch.lacs.iter().map(Record::ledger).collect();
        let behind = std::mem::take(&mut self.queue);
        for item in batch.items.into_iter().chain(behind) {
            self.queued_bytes -= item.bytes;
            touched.extend(item.record.as_ref().map(Record::ledger));
            self.give(item.to, Answer::Reply(answer.clone()), after);
        }
        self.pending.clear();
        for ledger in touched {
            self.table.fall_back(ledger);
            if self.table.get(ledger).is_some_and(|found| found.lac.is_some()) {
                self.lazy.insert(ledger);
            }
        }
    }
}
