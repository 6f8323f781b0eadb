//! Reading: from memory at once, from the medium without the lock.

use egret_schemas::{EntryAddress, EntryId, LedgerId};

use super::accept::Verdict;
use super::{Answer, Shard, State, Waiter};
use crate::bookie::cache::CachedEntry;
use crate::bookie::damage::Damage;
use crate::bookie::extent::StoredEntry;
use crate::bookie::index::Stored;
use crate::message::{Refusal, Reply, ReplyTo, Request, Unknown, Wake};

/// Reads of the medium that may wait at once. Past it a reader is told to come back.
const READ_JOBS_MAX: usize = 4096;

/// When to come back.
const RETRY_AFTER_MS: u32 = 20;

/// Where an entry was found.
pub(super) enum Lookup<'a> {
    Cached(&'a CachedEntry),
    Stored(ReadJob),
    Nothing,
}

/// A read of the medium, to be done without the lock.
#[derive(Debug)]
pub(crate) struct ReadJob {
    lac: Option<EntryId>,
    stored: Stored,
}

/// A read of the medium for a request that was sent.
pub(super) enum SentJob {
    Answer(ReadJob, ReplyTo),
    Compare(ReadJob, Request, ReplyTo),
}

impl State {
    /// Finds an entry, durable or sealed.
    pub(super) fn lookup(&self, address: EntryAddress) -> Lookup<'_> {
        if let Some(cached) = self.cache.get(address) {
            return Lookup::Cached(cached);
        }
        match self.index.find(address) {
            Some(stored) => Lookup::Stored(ReadJob {
                lac: self.table.get(address.ledger).and_then(|found| found.lac),
                stored,
            }),
            None => Lookup::Nothing,
        }
    }

    /// The answer to a read, or where it is.
    pub(super) fn read(&self, address: EntryAddress) -> Answer {
        let found = self.table.get(address.ledger);
        if found.is_some_and(|found| found.durable.deleted) {
            return Answer::Reply(Reply::Refused(Refusal::Deleted));
        }
        let lac = found.and_then(|found| found.lac);
        Answer::Reply(match self.lookup(address) {
            Lookup::Cached(cached) => entry_reply(address, lac, cached.clone()),
            Lookup::Stored(job) => return Answer::Read(job),
            Lookup::Nothing if self.table.in_limbo(address.ledger) => {
                Reply::Unknown(Unknown::Limbo)
            }
            Lookup::Nothing => Reply::NoEntry { lac },
        })
    }
}

fn entry_reply(address: EntryAddress, lac: Option<EntryId>, entry: CachedEntry) -> Reply {
    let CachedEntry { term, crc, payload } = entry;
    Reply::Entry { entry: address.entry, term, crc, lac, payload }
}

fn damaged(damage: Damage) -> Reply {
    Reply::Unknown(Unknown::from(damage))
}

impl ReadJob {
    /// Reads the entry.
    pub(super) fn read(self) -> Reply {
        match self.stored.read() {
            Ok(StoredEntry { entry, term, crc, payload }) => {
                Reply::Entry { entry, term, crc, lac: self.lac, payload }
            }
            Err(damage) => damaged(damage),
        }
    }

    /// The entry's checksum, after its bytes were checked against it.
    pub(super) fn crc(self) -> Result<u32, Reply> {
        self.stored.read().map(|entry| entry.crc).map_err(damaged)
    }
}

impl SentJob {
    /// Answers without reading.
    pub(super) fn refuse(self, answer: Reply) {
        match self {
            SentJob::Answer(_, reply) | SentJob::Compare(_, _, reply) => reply(answer),
        }
    }
}

impl Shard {
    /// Reads for a request that was sent: on the read thread if there is one.
    pub(super) fn read_later(&self, job: SentJob) {
        if !self.config.background {
            return self.read_now(job);
        }
        let mut state = self.lock();
        let refusal = if state.closing {
            Reply::Unknown(Unknown::Closing)
        } else if state.read_jobs.len() >= READ_JOBS_MAX {
            Reply::Refused(Refusal::Overloaded { retry_after_ms: RETRY_AFTER_MS })
        } else {
            state.read_jobs.push_back(job);
            self.reads.notify_one();
            return;
        };
        drop(state);
        job.refuse(refusal);
    }

    /// Reads and answers.
    pub(super) fn read_now(&self, job: SentJob) {
        let (job, request, reply) = match job {
            SentJob::Answer(job, reply) => return reply(job.read()),
            SentJob::Compare(job, request, reply) => (job, request, reply),
        };
        let stored = match job.crc() {
            Ok(stored) => stored,
            Err(answer) => return reply(answer),
        };
        let mut state = self.lock();
        match self.judge_compared(&mut state, &request, stored) {
            Verdict::Reply(answer) => {
                drop(state);
                reply(answer);
            }
            Verdict::Journal(record, then) => {
                state.enqueue(record, then, Waiter::Send(reply));
                self.commit_sent(state, Vec::new());
            }
            Verdict::Read(_) | Verdict::Compare(..) => unreachable!("it was compared"),
        }
    }
}

impl Shard {
    /// Calls `wake` once what readers may see of `ledger` is beyond `beyond`, or at its end.
    pub(crate) fn watch_lac(&self, ledger: LedgerId, beyond: Option<EntryId>, wake: Wake) {
        let mut state = self.lock();
        let due = state.closing
            || state
                .table
                .get(ledger)
                .is_some_and(|found| found.lac > beyond || found.held.deleted);
        if due {
            drop(state);
            return wake();
        }
        state.watches.entry(ledger).or_default().push((beyond, wake));
    }
}
