//! Create, recover, read, watch and delete ledgers.
//!
//! A ledger's record lives at `/ledgers/<number>`; numbers are allotted in blocks from `/id/ledger`
//! and never used again, so a crash leaves gaps and nothing else. Every record carries who proposed
//! it: when a compare-and-set conflicts or its reply is lost, the record is read back, and if the
//! proposal found is our own it succeeded.

use std::collections::BTreeSet;
use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::slice;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use egret_schemas::bytes::{Reader, Writer as _};
use egret_schemas::{BookieId, EntryId, Incarnation, LedgerId, Term};

use super::bookies::{Bookies, OneBookie};
use super::error::{
    CloseError, CreateError, DeleteError, ReadError, RecordError, RecoverError, Unheard, doubt,
};
use super::placement::{self, Copies, TooFewBookies};
use super::reads::Reads;
use super::scan::Scan;
use super::timer::Timer;
use super::writer::LedgerWriter;
use super::{fan_out, recover};
use crate::ledger::metadata::{LedgerKind, LedgerMetadata, LedgerState, Proposal, TransitionError};
use crate::ledger::metadata_codec;
use crate::ledger::reader::Doubt;
use crate::ledger::writer::WriterFailure;
use crate::ledger::{CloseAt, Ensemble, Member, Quorum};
use crate::message::{Refusal, Reply, Request, Transport, Unknown, Wake};
use crate::metadata::{self, Compare, MetaError, MetaStore, Op, TxnOutcome, txn_or_conflict};
use crate::{caps, simulation};

/// The ledgers of some bookies and one metadata store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Ledgers {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    bookies: Arc<dyn Bookies>,
    copies: Copies,
    meta: Arc<dyn MetaStore>,
    process: u128,
    operation: AtomicU64,
    /// Allotted to this process and not used yet.
    ids: Mutex<Range<u64>>,
    reads: Reads,
    timer: Timer,
}

/// Ledger numbers one process takes from the store at once: one synced transaction for so many
/// rolls, against so many numbers skipped by a crash.
const IDS_AT_ONCE: u64 = 64;

/// Tries of one compare-and-set before giving up: contention here is two owners, not a crowd.
const CAS_TRIES: usize = 64;

const ID_KEY: &str = "/id/ledger";

fn key(id: LedgerId) -> String {
    format!("/ledgers/{}", id.0)
}

impl Ledgers {
    /// Over bookies and a metadata store; new ledgers have so many copies.
    pub fn new(bookies: Arc<dyn Bookies>, copies: Copies, meta: Arc<dyn MetaStore>) -> Ledgers {
        // The standard library's hasher is seeded from the system's randomness.
        let system = || RandomState::new().hash_one(0u8);
        let random = || u128::from(simulation::draw().unwrap_or_else(system));
        let process = random() << 64 | random();
        let operation = AtomicU64::new(1);
        let ids = Mutex::new(0..0);
        let (reads, timer) = (Reads::default(), Timer::default());
        let inner = Inner { bookies, copies, meta, process, operation, ids, reads, timer };
        Ledgers { inner: Arc::new(inner) }
    }

    /// Over the way to one bookie: one copy.
    pub fn on_one(transport: Arc<dyn Transport>, meta: Arc<dyn MetaStore>) -> Ledgers {
        Ledgers::new(Arc::new(OneBookie::new(transport)), Copies::ONE, meta)
    }

    /// The metadata store.
    pub fn metadata(&self) -> &Arc<dyn MetaStore> {
        &self.inner.meta
    }

    /// The bookies.
    pub fn bookies(&self) -> &Arc<dyn Bookies> {
        &self.inner.bookies
    }

    /// What is done a little later.
    pub(super) fn timer(&self) -> &Timer {
        &self.inner.timer
    }

    /// Does `deed`, which does not block, in `wait`.
    pub(crate) fn later(&self, wait: Duration, deed: impl FnOnce() + Send + 'static) {
        self.timer().after(wait, deed);
    }

    pub(super) fn reads(&self) -> &Reads {
        &self.inner.reads
    }

    /// A mark for a value about to be compared-and-set, unlike any other ever made.
    pub fn proposal(&self) -> Proposal {
        let operation = self.inner.operation.fetch_add(1, Ordering::Relaxed);
        Proposal { process: self.inner.process, operation }
    }

    /// Allots a number, so that a ledger can be listed before it is created.
    pub fn reserve(&self) -> Result<LedgerId, MetaError> {
        let mut ids = self.inner.ids.lock().unwrap_or_else(PoisonError::into_inner);
        if ids.is_empty() {
            *ids = self.take_ids()?;
        }
        Ok(LedgerId(ids.next().expect("just filled")))
    }

    /// The first number that no process has taken: no ledger from it on was ever created.
    pub fn first_untaken(&self) -> Result<LedgerId, MetaError> {
        match self.inner.meta.get(ID_KEY)? {
            None => Ok(LedgerId(1)),
            Some(held) => {
                let next = Reader::new(&held.value).u64("ledger counter").map_err(damaged)?;
                Ok(LedgerId(next))
            }
        }
    }

    fn take_ids(&self) -> Result<Range<u64>, MetaError> {
        let meta = &self.inner.meta;
        for _ in 0..CAS_TRIES {
            let held = meta.get(ID_KEY)?;
            let (next, compare) = match &held {
                None => (1, Compare::Absent(ID_KEY.to_owned())),
                Some(held) => {
                    let next = Reader::new(&held.value).u64("ledger counter").map_err(damaged)?;
                    (next, Compare::Revision(ID_KEY.to_owned(), held.revision))
                }
            };
            let mut value = Vec::new();
            value.put_u64(next + IDS_AT_ONCE);
            // A lost reply only skips numbers.
            match txn_or_conflict(&**meta, &[compare], &[Op::Put(ID_KEY.to_owned(), value)])? {
                TxnOutcome::Committed { .. } => return Ok(next..next + IDS_AT_ONCE),
                TxnOutcome::Conflict => {}
            }
        }
        Err(contended(ID_KEY))
    }

    /// What to put into a transaction of the caller's so that the ledger's record is written with it;
    /// then [`Ledgers::create_prepared`].
    pub fn prepare(
        &self,
        id: LedgerId,
        kind: LedgerKind,
        term: Term,
    ) -> Result<(Compare, Op, LedgerMetadata), TooFewBookies> {
        let candidates = self.inner.bookies.candidates();
        let (quorum, ensemble) = placement::choose(self.inner.copies, &candidates, id.0)?;
        let metadata = LedgerMetadata::open(kind, quorum, ensemble, term, self.proposal());
        let op = Op::Put(key(id), metadata_codec::encode(&metadata));
        Ok((Compare::Absent(key(id)), op, metadata))
    }

    /// Creates a ledger under a number that was [reserved](Ledgers::reserve).
    pub fn create(
        &self,
        id: LedgerId,
        kind: LedgerKind,
        term: Term,
    ) -> Result<LedgerWriter, CreateError> {
        let (compare, op, metadata) = self.prepare(id, kind, term)?;
        let meta = &*self.inner.meta;
        for _ in 0..CAS_TRIES {
            let done = txn_or_conflict(meta, slice::from_ref(&compare), slice::from_ref(&op))?;
            if done != TxnOutcome::Conflict {
                return self.create_prepared(id, &metadata);
            }
            match self.find(id)? {
                Some((held, _)) if held.proposal == metadata.proposal => {
                    return self.create_prepared(id, &metadata);
                }
                Some(_) => return Err(CreateError::Exists { ledger: id }),
                // Lost before it was carried out.
                None => {}
            }
        }
        Err(RecordError::from(contended(&key(id))).into())
    }

    /// Creates the ledger on its bookies, its record having been committed. An ack quorum of them, or as
    /// many that can take their place, is enough to begin; those are asked at once.
    pub fn create_prepared(
        &self,
        id: LedgerId,
        metadata: &LedgerMetadata,
    ) -> Result<LedgerWriter, CreateError> {
        let members = metadata.last_fragment().1.members();
        let question = |&member: &Member| {
            let request = Request::Create {
                ledger: id,
                term: metadata.term,
                transactional: metadata.kind.is_transactional(),
                replicated: metadata.quorum.write() > 1,
            };
            (self.inner.bookies.transport(member), member.incarnation, request)
        };
        let replies = fan_out::ask(members.iter().map(question).collect(), members.len(), |_| true);
        let mut failed = Vec::new();
        for (slot, reply) in replies.into_iter().enumerate() {
            match reply.expect("all were waited for") {
                Reply::Done => {}
                Reply::Refused(Refusal::Exists | Refusal::StaleTerm { .. }) => {
                    return Err(CreateError::Exists { ledger: id });
                }
                Reply::Refused(why) => failed.push((slot, WriterFailure::Refused(why))),
                Reply::Unknown(why) => failed.push((slot, WriterFailure::Unknown(why))),
                other => unreachable!("an answer to a create: {other:?}"),
            }
        }
        let there = members.len() - failed.len();
        if there < metadata.quorum.ack()
            && there + self.others(id, metadata, &failed) < metadata.quorum.ack()
        {
            return Err(match failed.swap_remove(0).1 {
                WriterFailure::Refused(why) => CreateError::Refused { ledger: id, why },
                WriterFailure::Unknown(why) => CreateError::Unknown { ledger: id, why },
                other => unreachable!("it was made above: {other}"),
            });
        }
        Ok(LedgerWriter::new(self.clone(), id, metadata, failed))
    }

    /// How many bookies there are in place of those that did not take the ledger.
    fn others(
        &self,
        id: LedgerId,
        metadata: &LedgerMetadata,
        failed: &[(usize, WriterFailure)],
    ) -> usize {
        let ensemble = metadata.last_fragment().1;
        let slots: Vec<usize> = failed.iter().map(|&(slot, _)| slot).collect();
        let avoid: Vec<Member> = slots.iter().map(|&slot| ensemble.member(slot)).collect();
        let candidates = self.inner.bookies.candidates();
        placement::replace(ensemble, &slots, &candidates, &avoid, id.0).len()
    }

    /// A ledger's record.
    pub fn describe(&self, id: LedgerId) -> Result<LedgerMetadata, RecordError> {
        Ok(self.load(id)?.0)
    }

    pub(super) fn load(&self, id: LedgerId) -> Result<(LedgerMetadata, u64), RecordError> {
        self.find(id)?.ok_or(RecordError::NoLedger { ledger: id })
    }

    fn find(&self, id: LedgerId) -> Result<Option<(LedgerMetadata, u64)>, RecordError> {
        let Some(held) = self.inner.meta.get(&key(id))? else { return Ok(None) };
        let metadata = metadata_codec::decode(&held.value)
            .map_err(|why| RecordError::Decode { ledger: id, why })?;
        Ok(Some((metadata, held.revision)))
    }

    /// Compare-and-sets a record by a pure transition, until it holds or may not.
    pub(super) fn change(
        &self,
        id: LedgerId,
        transition: impl Fn(&LedgerMetadata, Proposal) -> Result<LedgerMetadata, TransitionError>,
    ) -> Result<LedgerMetadata, RecordError> {
        self.change_with(id, transition, &[])
    }

    /// The same, and `also` in the same transaction.
    pub(super) fn change_with(
        &self,
        id: LedgerId,
        transition: impl Fn(&LedgerMetadata, Proposal) -> Result<LedgerMetadata, TransitionError>,
        also: &[Op],
    ) -> Result<LedgerMetadata, RecordError> {
        let proposal = self.proposal();
        for _ in 0..CAS_TRIES {
            let (held, revision) = self.load(id)?;
            if held.proposal == proposal {
                return Ok(held);
            }
            let next = transition(&held, proposal)
                .map_err(|why| RecordError::Transition { ledger: id, why })?;
            if next == held {
                return Ok(held);
            }
            let compare = Compare::Revision(key(id), revision);
            let op = Op::Put(key(id), metadata_codec::encode(&next));
            let ops = [slice::from_ref(&op), also].concat();
            match txn_or_conflict(&*self.inner.meta, &[compare], &ops)? {
                TxnOutcome::Committed { .. } => return Ok(next),
                // Read back: a reply that was lost and sent again finds its own proposal.
                TxnOutcome::Conflict if self.load(id)?.0.proposal == proposal => return Ok(next),
                TxnOutcome::Conflict => {}
            }
        }
        Err(contended(&key(id)).into())
    }

    pub(super) fn close(
        &self,
        id: LedgerId,
        term: Term,
        last: Option<EntryId>,
    ) -> Result<(), CloseError> {
        self.change(id, |held, proposal| match held.state {
            LedgerState::InRecovery => Err(TransitionError::InRecovery { held: held.term }),
            _ => held.close(term, last, proposal),
        })?;
        Ok(())
    }

    /// Shuts out every lower term, finds or verifies the end, closes; the last entry. A ledger that
    /// was listed and never created is closed empty, so that nobody creates it afterwards.
    pub fn recover(
        &self,
        id: LedgerId,
        term: Term,
        close: CloseAt,
    ) -> Result<Option<EntryId>, RecoverError> {
        let metadata = match self.find(id)? {
            Some((metadata, _)) => metadata,
            None => match self.close_uncreated(id, term, close)? {
                Some(metadata) => metadata,
                None => return Ok(None),
            },
        };
        if let Some(last) = metadata.closed() {
            return closed_as_asked(id, last, close);
        }
        if let (LedgerKind::Transactional { owner }, CloseAt::End) = (&metadata.kind, close) {
            return Err(RecoverError::Owned { ledger: id, owner: owner.clone() });
        }
        let mut tries = 0;
        loop {
            let taken = match self.change(id, |held, p| held.start_recovery(term, p)) {
                Ok(taken) => taken,
                Err(RecordError::Transition { why: TransitionError::Closed { last }, .. }) => {
                    return closed_as_asked(id, last, close);
                }
                Err(other) => return Err(other.into()),
            };
            let taken = (taken, close);
            match self.close_without(id, term, taken, &BTreeSet::new(), |_| Vec::new()) {
                // A repair was in the middle of its copies; once is all it takes.
                Err(RecoverError::Record(RecordError::Transition {
                    why: TransitionError::Settled,
                    ..
                })) if tries < CAS_TRIES => tries += 1,
                ended => return ended,
            }
        }
    }

    /// Finds the end of a ledger taken into recovery and closes it there, and writes with it what `also`
    /// makes of that end. What those `gone` had is taken for absent.
    pub(super) fn close_without(
        &self,
        id: LedgerId,
        term: Term,
        (taken, close): (LedgerMetadata, CloseAt),
        gone: &BTreeSet<Member>,
        also: impl FnOnce(Option<EntryId>) -> Vec<Op>,
    ) -> Result<Option<EntryId>, RecoverError> {
        let found = recover::find_end(self, id, term, taken, Some(close), gone)?;
        let close = |held: &LedgerMetadata, proposal| held.close_recovered(&found, proposal);
        self.change_with(id, close, &also(found.last))?;
        Ok(found.last)
    }

    /// `None` when it is closed now; the record when someone created it meanwhile.
    fn close_uncreated(
        &self,
        id: LedgerId,
        term: Term,
        close: CloseAt,
    ) -> Result<Option<LedgerMetadata>, RecoverError> {
        if let CloseAt::Entry(Some(entry)) = close {
            return Err(RecoverError::CommittedButAbsent { ledger: id, entry });
        }
        // It has no entries: whoever is named as holding it has nothing of it.
        let candidates = self.inner.bookies.candidates();
        let nobody = Member { bookie: BookieId(0), incarnation: Incarnation(0) };
        let member = candidates.first().map_or(nobody, |candidate| candidate.member);
        let (ensemble, proposal) = (Ensemble::new(vec![member]), self.proposal());
        let kind = LedgerKind::Plain;
        let mut metadata = LedgerMetadata::open(kind, Quorum::ONE, ensemble, term, proposal);
        metadata.state = LedgerState::Closed { last: None };
        let absent = Compare::Absent(key(id));
        let op = Op::Put(key(id), metadata_codec::encode(&metadata));
        for _ in 0..CAS_TRIES {
            let (absent, op) = (slice::from_ref(&absent), slice::from_ref(&op));
            if txn_or_conflict(&*self.inner.meta, absent, op)? != TxnOutcome::Conflict {
                return Ok(None);
            }
            match self.find(id)? {
                Some((held, _)) if held.proposal == proposal => return Ok(None),
                Some((held, _)) => return Ok(Some(held)),
                // Lost before it was carried out.
                None => {}
            }
        }
        Err(RecordError::from(contended(&key(id))).into())
    }

    /// Reads an entry that readers may see; its checksum is verified.
    pub fn read(&self, id: LedgerId, entry: EntryId) -> Result<Bytes, ReadError> {
        let known = self.known_end(id)?;
        if Some(entry) > known.end.readable() {
            let end = known.whole()?.readable();
            return Err(ReadError::Beyond { ledger: id, entry, end });
        }
        self.read_unconfirmed(id, entry)
    }

    /// Reads an entry whether readers may see it or not: for recovery, and for callers that know
    /// the [end](Ledgers::end) already. The checksum is verified.
    pub fn read_unconfirmed(&self, id: LedgerId, entry: EntryId) -> Result<Bytes, ReadError> {
        super::reads::read(self, id, entry)
    }

    /// For entries one behind the other, of which only those up to the [end](Ledgers::end) may be asked
    /// for by whoever is no recovery.
    pub fn scan(&self, id: LedgerId) -> Scan {
        Scan::new(self, id)
    }

    /// Calls `wake` once when readers may see beyond `beyond`, or the ledger was fenced or deleted;
    /// at once if it is so. A ledger closed by its own writer does not call: whoever closes it tells.
    pub fn watch(&self, id: LedgerId, beyond: Option<EntryId>, wake: Wake) {
        let Ok(record) = self.inner.reads.record(self, id) else { return wake() };
        let members = record.last_fragment().1.members();
        if let [only] = members[..] {
            return self.inner.bookies.transport(only).watch_lac(id, beyond, wake);
        }
        let called = Arc::new(AtomicBool::new(false));
        let once: Wake = Arc::new(move || {
            if !called.swap(true, Ordering::AcqRel) {
                wake();
            }
        });
        for &member in members {
            self.inner.bookies.transport(member).watch_lac(id, beyond, Arc::clone(&once));
        }
    }

    /// Forgets a closed ledger: a tombstone in its record, then the bookies, then the record. What a
    /// crash leaves is finished by [`Ledgers::finish_deletions`]. One that is gone already is fine.
    pub fn delete(&self, id: LedgerId) -> Result<(), DeleteError> {
        self.bury(id, |held, proposal| held.start_delete(proposal))
    }

    /// Forgets a ledger that is part of nothing any more, closed or not. `term` is above its writer's,
    /// who is refused from then on.
    pub fn abandon(&self, id: LedgerId, term: Term) -> Result<(), DeleteError> {
        self.bury(id, |held, proposal| held.abandon(term, proposal))
    }

    fn bury(
        &self,
        id: LedgerId,
        mark: impl Fn(&LedgerMetadata, Proposal) -> Result<LedgerMetadata, TransitionError>,
    ) -> Result<(), DeleteError> {
        let marked = match self.change(id, mark) {
            Ok(marked) => marked,
            Err(RecordError::NoLedger { .. }) => return Ok(()),
            Err(other) => return Err(other.into()),
        };
        let mut members: Vec<Member> =
            marked.fragments.values().flat_map(|ensemble| ensemble.members()).copied().collect();
        members.sort_unstable();
        members.dedup();
        members.retain(|member| member.bookie != BookieId(0));
        // What those have is gone, or goes with them: nothing would ever be deleted again.
        members.retain(|member| !self.inner.bookies.has_left(*member));
        let question = |&member: &Member| {
            let way = self.inner.bookies.transport(member);
            (way, member.incarnation, Request::Delete { ledger: id })
        };
        // Nobody needs it soon, and whoever trims must not stand still for a bookie that does.
        let wait = Duration::from_millis(caps::DELETE_WAIT_MS);
        let replies = fan_out::ask_all_within(members.iter().map(question).collect(), wait);
        let mut unheard = Vec::new();
        for (member, reply) in members.iter().zip(replies) {
            let why = match reply {
                Some(Reply::Done | Reply::Refused(Refusal::NoLedger | Refusal::Deleted)) => {
                    continue;
                }
                Some(other) => doubt(other),
                None => Doubt::Bookie(Unknown::Deadline { ms: caps::DELETE_WAIT_MS }),
            };
            unheard.push((member.bookie, why));
        }
        if !unheard.is_empty() {
            return Err(DeleteError::Bookie { ledger: id, why: Unheard::new(unheard) });
        }
        self.inner.reads.forget(id);
        metadata::remove(&*self.inner.meta, &[], &key(id))?;
        Ok(())
    }

    /// All ledgers there are, in order.
    pub fn list(&self) -> Result<Vec<LedgerId>, RecordError> {
        let all = self.inner.meta.list("/ledgers/")?;
        let ids: Result<Vec<LedgerId>, MetaError> =
            all.entries.iter().map(|(name, _)| number(name)).collect();
        let mut ids = ids?;
        ids.sort_unstable();
        Ok(ids)
    }

    /// Finishes deletions that a crash interrupted.
    pub fn finish_deletions(&self) -> Result<(), DeleteError> {
        for (name, held) in self.inner.meta.list("/ledgers/")? {
            let id = number(&name)?;
            let metadata = metadata_codec::decode(&held.value)
                .map_err(|why| RecordError::Decode { ledger: id, why })?;
            if metadata.state == LedgerState::Deleting {
                self.delete(id)?;
            }
        }
        Ok(())
    }
}

fn number(name: &str) -> Result<LedgerId, MetaError> {
    let number = name.trim_start_matches("/ledgers/").parse();
    Ok(LedgerId(number.map_err(|_| damage(name, "its name is no number"))?))
}

fn closed_as_asked(
    ledger: LedgerId,
    last: Option<EntryId>,
    close: CloseAt,
) -> Result<Option<EntryId>, RecoverError> {
    match close {
        CloseAt::Entry(asked) if asked != last => {
            let why = TransitionError::ClosedElsewhere { last, asked };
            Err(RecordError::Transition { ledger, why }.into())
        }
        _ => Ok(last),
    }
}

pub(super) fn damage(record: &str, what: &str) -> MetaError {
    MetaError::Record {
        file: "the metadata store".into(),
        record: record.to_owned(),
        what: what.to_owned(),
    }
}

fn damaged(error: egret_schemas::bytes::DecodeError) -> MetaError {
    damage(ID_KEY, &error.to_string())
}

fn contended(key: &str) -> MetaError {
    damage(key, "it changed at every attempt to change it: another process writes here")
}
