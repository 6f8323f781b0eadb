//! Reading: from memory at once, from the medium without the lock.

use std::sync::atomic::{AtomicU64, Ordering};

use egret_schemas::{EntryAddress, EntryId, LedgerId};

use super::accept::Verdict;
use super::{Answer, Shard, State, Waiter};
use crate::bookie::cache::CachedEntry;
use crate::bookie::damage::Damage;
use crate::bookie::extent::StoredEntry;
use crate::bookie::index::Stored;
use crate::message::{RangeEntry, Refusal, Reply, ReplyTo, Request, Unknown, Wake};
use crate::mutants::{self, Mutant};
use crate::{caps, clock};

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
    what: What,
    /// Whether it is a recovery's.
    pub(super) urgent: bool,
}

#[derive(Debug)]
enum What {
    One(Stored),
    /// Parts in a row.
    Row(Vec<Part>, Bounds),
}

#[derive(Debug)]
enum Part {
    Cached(RangeEntry),
    /// So many from it on.
    Stored(Stored, u32),
}

/// What one batched read may take.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    entries: u32,
    bytes: u64,
}

impl Bounds {
    /// As asked for, within the limits.
    pub(super) fn new(entries_max: u32, bytes_max: u32) -> Bounds {
        let most = u64::try_from(caps::READ_BYTES_MAX).expect("a limit in memory fits u64");
        let entries = entries_max.clamp(1, caps::READ_ENTRIES_MAX);
        Bounds { entries, bytes: u64::from(bytes_max).min(most) }
    }

    /// The same, and no more bytes than so many.
    pub(super) fn at_most(self, bytes: u64) -> Bounds {
        Bounds { bytes: self.bytes.min(bytes), ..self }
    }

    #[cfg(test)]
    pub(super) fn bytes(self) -> u64 {
        self.bytes
    }
}

/// Entries read and their bytes, since the start.
#[derive(Debug, Default)]
pub(super) struct ReadCount {
    entries: AtomicU64,
    bytes: AtomicU64,
}

/// Entries in an answer, and their bytes.
fn found(reply: &Reply) -> (u64, u64) {
    let (entries, bytes) = match reply {
        Reply::Entry { payload, .. } => (1, payload.len()),
        Reply::Entries { entries, .. } => {
            (entries.len(), entries.iter().map(|entry| entry.payload.len()).sum())
        }
        _ => (0, 0),
    };
    let count = |n| u64::try_from(n).expect("a length in memory fits u64");
    (count(entries), count(bytes))
}

impl ReadCount {
    fn add(&self, (entries, bytes): (u64, u64)) {
        self.entries.fetch_add(entries, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn get(&self) -> (u64, u64) {
        (self.entries.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
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
                what: What::One(stored),
                urgent: false,
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

    /// As [`read`](State::read), for a recovery.
    pub(super) fn read_urgent(&self, address: EntryAddress) -> Answer {
        match self.read(address) {
            Answer::Read(job) => Answer::Read(ReadJob { urgent: true, ..job }),
            reply @ Answer::Reply(_) => reply,
        }
    }

    /// The answer to a batched read, or where its entries are.
    pub(super) fn read_range(&self, from: EntryAddress, mut bounds: Bounds) -> Answer {
        let ledger = from.ledger;
        let (mut next, mut parts) = (from.entry, Vec::new());
        let (mut entries, mut bytes, mut on_medium) = (0, 0, false);
        while entries < bounds.entries && (parts.is_empty() || bytes < bounds.bytes) {
            let found = match self.lookup(EntryAddress { ledger, entry: next }) {
                Lookup::Nothing => break,
                Lookup::Cached(cached) => {
                    let CachedEntry { term, crc, payload } = cached.clone();
                    bytes += payload.len() as u64;
                    if bytes > bounds.bytes && !parts.is_empty() {
                        break;
                    }
                    parts.push(Part::Cached(RangeEntry { entry: next, term, crc, payload }));
                    1
                }
                Lookup::Stored(ReadJob { what: What::One(stored), .. }) => {
                    if !on_medium {
                        // What is in memory is read at no pace, and asks for no time.
                        bounds = self.read_jobs.within(bounds, clock::now());
                        if !parts.is_empty() && bytes >= bounds.bytes {
                            break;
                        }
                        on_medium = true;
                    }
                    let fits = (bounds.bytes - bytes.min(bounds.bytes)) / stored.usual_bytes();
                    let fits = u32::try_from(fits).unwrap_or(u32::MAX).max(1);
                    let count = stored.in_row().min(bounds.entries - entries).min(fits);
                    bytes += u64::from(count) * stored.usual_bytes();
                    parts.push(Part::Stored(stored, count));
                    count
                }
                Lookup::Stored(_) => unreachable!("a lookup finds one entry"),
            };
            entries += found;
            next = EntryId(next.0 + u64::from(found));
        }
        let lac = self.table.get(ledger).and_then(|found| found.lac);
        match (parts.is_empty(), on_medium) {
            (true, _) => self.read(from),
            (false, true) => {
                Answer::Read(ReadJob { lac, what: What::Row(parts, bounds), urgent: false })
            }
            (false, false) => {
                let entry = |part| match part {
                    Part::Cached(entry) => Some(entry),
                    Part::Stored(..) => None,
                };
                let entries = parts.into_iter().filter_map(entry).collect();
                Answer::Reply(Reply::Entries { lac, entries })
            }
        }
    }
}

fn entry_reply(address: EntryAddress, lac: Option<EntryId>, entry: CachedEntry) -> Reply {
    let CachedEntry { term, crc, payload } = entry;
    Reply::Entry { entry: address.entry, term, crc, lac, payload }
}

impl ReadJob {
    /// Reads the entry, or the row; how many bytes that were, too.
    pub(super) fn read(self, shard: &Shard) -> (Reply, u64) {
        let ReadJob { lac, what, .. } = self;
        let reply = match what {
            What::One(stored) => match stored.read() {
                Ok(StoredEntry { entry, term, crc, payload }) => {
                    Reply::Entry { entry, term, crc, lac, payload }
                }
                Err(_) if mutants::on(Mutant::DamagedIsAbsent) => Reply::NoEntry { lac },
                Err(damage) => damaged(shard, &stored, damage),
            },
            What::Row(parts, bounds) => match read_row(parts, bounds) {
                Ok(entries) => Reply::Entries { lac, entries },
                Err((stored, damage)) => damaged(shard, &stored, damage),
            },
        };
        let found = found(&reply);
        shard.catch_up_reads.add(found);
        (reply, found.1)
    }

    /// The entry's checksum, after its bytes were checked against it.
    pub(super) fn crc(self, shard: &Shard) -> Result<u32, Reply> {
        let What::One(stored) = self.what else { unreachable!("only one entry is compared") };
        let read = stored.read();
        read.map(|entry| entry.crc).map_err(|damage| damaged(shard, &stored, damage))
    }

    /// About how much memory it takes to read.
    fn bytes(&self) -> usize {
        let bytes = match &self.what {
            What::One(stored) => stored.usual_bytes(),
            What::Row(_, bounds) => bounds.bytes,
        };
        usize::try_from(bytes).unwrap_or(usize::MAX)
    }
}

fn damaged(shard: &Shard, stored: &Stored, damage: Damage) -> Reply {
    shard.note_damage(damage.clone(), Some(stored.address()));
    Reply::Unknown(Unknown::from(damage))
}

/// Reads parts in a row until the bounds are reached or something is damaged, which is an error if
/// nothing stands before it: whoever asks again from there is told, or finds where it was mended.
fn read_row(parts: Vec<Part>, bounds: Bounds) -> Result<Vec<RangeEntry>, (Stored, Damage)> {
    let mut row: Vec<RangeEntry> = Vec::new();
    let mut left = bounds.bytes;
    for part in parts {
        let (found, wanted) = match part {
            Part::Cached(entry) => (vec![entry], 1),
            Part::Stored(stored, count) => match stored.read_row(count, left) {
                Ok(found) => (found.into_iter().map(RangeEntry::from).collect(), count),
                Err(damage) if row.is_empty() => return Err((stored, damage)),
                Err(_) => break,
            },
        };
        let short = found.len() < wanted as usize;
        for entry in found {
            let bytes = entry.payload.len() as u64;
            if bytes > left && !row.is_empty() {
                return Ok(row);
            }
            left = left.saturating_sub(bytes);
            row.push(entry);
        }
        if short {
            break;
        }
    }
    Ok(row)
}

impl From<StoredEntry> for RangeEntry {
    fn from(stored: StoredEntry) -> RangeEntry {
        let StoredEntry { entry, term, crc, payload } = stored;
        RangeEntry { entry, term, crc, payload }
    }
}

impl SentJob {
    /// About how much memory it takes to read.
    pub(super) fn bytes(&self) -> usize {
        match self {
            SentJob::Answer(job, _) | SentJob::Compare(job, _, _) => job.bytes(),
        }
    }

    /// Whether somebody waits for it who must not: a recovery, or an add. All others catch up.
    pub(super) fn is_urgent(&self) -> bool {
        match self {
            SentJob::Answer(job, _) => job.urgent,
            SentJob::Compare(..) => true,
        }
    }

    /// A row of no entries that counts as so many bytes.
    #[cfg(test)]
    pub(super) fn of_nothing(urgent: bool, bytes: u32) -> SentJob {
        let what = What::Row(Vec::new(), Bounds::new(1, bytes));
        SentJob::Answer(ReadJob { lac: None, what, urgent }, Box::new(drop))
    }

    /// Answers without reading.
    pub(super) fn refuse(self, answer: Reply) {
        match self {
            SentJob::Answer(_, reply) | SentJob::Compare(_, _, reply) => reply(answer),
        }
    }
}

impl Shard {
    /// Takes note of an answer from memory.
    pub(super) fn count_tail(&self, answer: &Reply) {
        self.tail_reads.add(found(answer));
    }

    /// Reads for a request that was sent: on the read thread if there is one.
    pub(super) fn read_later(&self, mut job: SentJob) {
        if !self.config.background {
            self.read_now(job);
            return;
        }
        let mut state = self.lock();
        let refusal = if state.closing {
            Reply::Unknown(Unknown::Closing)
        } else {
            match state.read_jobs.push(job) {
                None => {
                    self.reads.notify_one();
                    return;
                }
                Some(refused) => {
                    job = refused;
                    Reply::Refused(Refusal::Overloaded { retry_after_ms: RETRY_AFTER_MS })
                }
            }
        };
        drop(state);
        job.refuse(refusal);
    }

    /// Reads and answers; how many bytes were read for a reader.
    pub(super) fn read_now(&self, job: SentJob) -> u64 {
        let (job, request, reply) = match job {
            SentJob::Answer(job, reply) => {
                let (answer, bytes) = job.read(self);
                reply(answer);
                return bytes;
            }
            SentJob::Compare(job, request, reply) => (job, request, reply),
        };
        let compared = job.crc(self);
        let mut state = self.lock();
        match self.judge_compared(&mut state, request, compared) {
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
        0
    }
}

impl Shard {
    /// Bytes of history that count against the pace of reads.
    #[cfg(test)]
    pub(crate) fn charged_reads(&self) -> u64 {
        self.lock().read_jobs.charged
    }

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
