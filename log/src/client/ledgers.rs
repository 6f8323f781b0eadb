//! Create, recover, read, watch and delete ledgers.
//!
//! A ledger's record lives at `/ledgers/<number>`; numbers are allotted in blocks from `/id/ledger`
//! and never used again, so a crash leaves gaps and nothing else. Every record carries who proposed
//! it: when a compare-and-set conflicts or its reply is lost, the record is read back, and if the
//! proposal found is our own it succeeded.

use std::hash::{BuildHasher, RandomState};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use egret_schemas::bytes::{Reader, Writer as _};
use egret_schemas::{BookieId, EntryId, LedgerId, Term};

use super::error::{
    CloseError, CreateError, DeleteError, ReadError, RecordError, RecoverError, doubt,
};
use super::writer::LedgerWriter;
use crate::ledger::effect::RecoveryEffect;
use crate::ledger::metadata::{LedgerKind, LedgerMetadata, LedgerState, Proposal, TransitionError};
use crate::ledger::metadata_codec;
use crate::ledger::reader::{EntryRead, ReadAnswer, ReadStep};
use crate::ledger::recovery::Recovery;
use crate::ledger::writer::AddAnswer;
use crate::ledger::{CloseAt, Ensemble, Member, Quorum};
use crate::message::{Refusal, Reply, Request, Transport, Wake};
use crate::metadata::{Compare, MetaError, MetaStore, Op, TxnOutcome};

/// How far a ledger may be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LedgerEnd {
    /// It may grow.
    Open {
        /// The last entry readers may see now.
        lac: Option<EntryId>,
    },
    /// It is immutable.
    Closed {
        /// Its last entry.
        last: Option<EntryId>,
    },
}

impl LedgerEnd {
    /// The last entry readers may see.
    pub fn readable(self) -> Option<EntryId> {
        match self {
            LedgerEnd::Open { lac: end } | LedgerEnd::Closed { last: end } => end,
        }
    }
}

/// The ledgers of one bookie and one metadata store. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Ledgers {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    transport: Arc<dyn Transport>,
    meta: Arc<dyn MetaStore>,
    process: u128,
    operation: AtomicU64,
    /// Allotted to this process and not used yet.
    ids: Mutex<Range<u64>>,
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
    /// Over a way to the bookie and a metadata store.
    pub fn new(transport: Arc<dyn Transport>, meta: Arc<dyn MetaStore>) -> Ledgers {
        // The standard library's hasher is seeded from the system's randomness.
        let random = || u128::from(RandomState::new().hash_one(0u8));
        let process = random() << 64 | random();
        let operation = AtomicU64::new(1);
        let ids = Mutex::new(0..0);
        Ledgers { inner: Arc::new(Inner { transport, meta, process, operation, ids }) }
    }

    /// The metadata store.
    pub fn metadata(&self) -> &Arc<dyn MetaStore> {
        &self.inner.meta
    }

    /// The way to the bookie.
    pub fn transport(&self) -> &Arc<dyn Transport> {
        &self.inner.transport
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
            match meta.txn(&[compare], &[Op::Put(ID_KEY.to_owned(), value)])? {
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
    ) -> (Compare, Op, LedgerMetadata) {
        let member =
            Member { bookie: BookieId(1), incarnation: self.inner.transport.incarnation() };
        let ensemble = Ensemble::new(vec![member]);
        let metadata = LedgerMetadata::open(kind, Quorum::ONE, ensemble, term, self.proposal());
        let op = Op::Put(key(id), metadata_codec::encode(&metadata));
        (Compare::Absent(key(id)), op, metadata)
    }

    /// Creates a ledger under a number that was [reserved](Ledgers::reserve).
    pub fn create(
        &self,
        id: LedgerId,
        kind: LedgerKind,
        term: Term,
    ) -> Result<LedgerWriter, CreateError> {
        let (compare, op, metadata) = self.prepare(id, kind, term);
        let committed = match self.inner.meta.txn(&[compare], &[op]) {
            Ok(TxnOutcome::Committed { .. }) => true,
            Ok(TxnOutcome::Conflict) | Err(MetaError::Poisoned { .. }) => {
                self.load(id)?.0.proposal == metadata.proposal
            }
            Err(other) => return Err(other.into()),
        };
        if !committed {
            return Err(CreateError::Exists { ledger: id });
        }
        self.create_prepared(id, &metadata)
    }

    /// Creates the ledger on its bookie, its record having been committed.
    pub fn create_prepared(
        &self,
        id: LedgerId,
        metadata: &LedgerMetadata,
    ) -> Result<LedgerWriter, CreateError> {
        let request = Request::Create {
            ledger: id,
            term: metadata.term,
            transactional: metadata.kind.is_transactional(),
        };
        let to = metadata.last_fragment().1.member(0).incarnation;
        match self.inner.transport.call(to, request) {
            Reply::Done => {
                Ok(LedgerWriter::new(self.clone(), self.inner.transport.clone(), id, metadata))
            }
            Reply::Refused(Refusal::Exists | Refusal::StaleTerm { .. }) => {
                Err(CreateError::Exists { ledger: id })
            }
            Reply::Refused(why) => Err(CreateError::Refused { ledger: id, why }),
            Reply::Unknown(why) => Err(CreateError::Unknown { ledger: id, why }),
            other => unreachable!("an answer to a create: {other:?}"),
        }
    }

    /// A ledger's record.
    pub fn describe(&self, id: LedgerId) -> Result<LedgerMetadata, RecordError> {
        Ok(self.load(id)?.0)
    }

    fn load(&self, id: LedgerId) -> Result<(LedgerMetadata, u64), RecordError> {
        self.find(id)?.ok_or(RecordError::NoLedger { ledger: id })
    }

    fn find(&self, id: LedgerId) -> Result<Option<(LedgerMetadata, u64)>, RecordError> {
        let Some(held) = self.inner.meta.get(&key(id))? else { return Ok(None) };
        let metadata = metadata_codec::decode(&held.value)
            .map_err(|why| RecordError::Decode { ledger: id, why })?;
        Ok(Some((metadata, held.revision)))
    }

    /// Compare-and-sets a record by a pure transition, until it holds or may not.
    fn change(
        &self,
        id: LedgerId,
        transition: impl Fn(&LedgerMetadata, Proposal) -> Result<LedgerMetadata, TransitionError>,
    ) -> Result<LedgerMetadata, RecordError> {
        for _ in 0..CAS_TRIES {
            let (held, revision) = self.load(id)?;
            let proposal = self.proposal();
            let next = transition(&held, proposal)
                .map_err(|why| RecordError::Transition { ledger: id, why })?;
            if next == held {
                return Ok(held);
            }
            let compare = Compare::Revision(key(id), revision);
            let op = Op::Put(key(id), metadata_codec::encode(&next));
            match self.inner.meta.txn(&[compare], &[op])? {
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
        let taken = match self.change(id, |held, p| held.start_recovery(term, p)) {
            Ok(taken) => taken,
            Err(RecordError::Transition { why: TransitionError::Closed { last }, .. }) => {
                return closed_as_asked(id, last, close);
            }
            Err(other) => return Err(other.into()),
        };
        let last = self.find_end(id, term, taken, close)?;
        self.change(id, |held, proposal| held.close(term, last, proposal))?;
        Ok(last)
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
        let (absent, _, mut metadata) = self.prepare(id, LedgerKind::Plain, term);
        metadata.state = LedgerState::Closed { last: None };
        let op = Op::Put(key(id), metadata_codec::encode(&metadata));
        match self.inner.meta.txn(&[absent], &[op])? {
            TxnOutcome::Committed { .. } => Ok(None),
            TxnOutcome::Conflict => Ok(Some(self.load(id)?.0)),
        }
    }

    /// Carries out what the recovery core asks for, one request after the other.
    fn find_end(
        &self,
        id: LedgerId,
        term: Term,
        taken: LedgerMetadata,
        close: CloseAt,
    ) -> Result<Option<EntryId>, RecoverError> {
        let transport = &self.inner.transport;
        let mut todo = Vec::new();
        let mut out = Vec::new();
        let mut core = Recovery::start(id, taken, close, &mut out);
        loop {
            todo.extend(out.drain(..).rev());
            match todo.pop().expect("a recovery that waits for nothing has ended") {
                RecoveryEffect::Fence { slot, to } => {
                    let request = Request::Fence { ledger: id, term };
                    core.on_fence(slot, transport.call(to.incarnation, request), &mut out);
                }
                RecoveryEffect::Read { slot, to, entry } => {
                    let request = Request::Read { ledger: id, entry, fence: Some(term) };
                    let reply = transport.call(to.incarnation, request);
                    core.on_read(slot, entry, ReadAnswer::judge(id, entry, reply), &mut out);
                }
                RecoveryEffect::Add { to, entry, lac, crc, payload, .. } => {
                    let request = Request::Add { ledger: id, entry, term, lac, crc, payload };
                    let answer = match transport.call(to.incarnation, request) {
                        Reply::Done => AddAnswer::Done,
                        Reply::Refused(refusal) => AddAnswer::Refused(refusal),
                        Reply::Unknown(unknown) => AddAnswer::Unknown(unknown),
                        other => unreachable!("an answer to an add: {other:?}"),
                    };
                    core.on_add(entry, answer, &mut out);
                }
                RecoveryEffect::Close { last } => return Ok(last),
                RecoveryEffect::Fail(why) => {
                    return Err(RecoverError::Recovery { ledger: id, why });
                }
            }
        }
    }

    /// How far the ledger may be read now.
    pub fn end(&self, id: LedgerId) -> Result<LedgerEnd, ReadError> {
        let metadata = self.describe(id)?;
        match metadata.state {
            LedgerState::Closed { last } => Ok(LedgerEnd::Closed { last }),
            LedgerState::Deleting => Err(RecordError::NoLedger { ledger: id }.into()),
            LedgerState::Open | LedgerState::InRecovery => {
                let to = metadata.last_fragment().1.member(0).incarnation;
                match self.inner.transport.call(to, Request::ReadLac { ledger: id }) {
                    Reply::Lac { lac, .. } => Ok(LedgerEnd::Open { lac }),
                    // Its record was written and the bookie was not told yet.
                    Reply::Refused(Refusal::NoLedger) => Ok(LedgerEnd::Open { lac: None }),
                    other => Err(ReadError::NoEnd { ledger: id, why: doubt(other) }),
                }
            }
        }
    }

    /// Reads an entry that readers may see; its checksum is verified.
    pub fn read(&self, id: LedgerId, entry: EntryId) -> Result<Bytes, ReadError> {
        let end = self.end(id)?.readable();
        if Some(entry) > end {
            return Err(ReadError::Beyond { ledger: id, entry, end });
        }
        self.read_unconfirmed(id, entry)
    }

    /// Reads an entry whether readers may see it or not: for recovery, and for callers that know
    /// the [end](Ledgers::end) already. The checksum is verified.
    pub fn read_unconfirmed(&self, id: LedgerId, entry: EntryId) -> Result<Bytes, ReadError> {
        // At one bookie the record need not be asked who has it.
        let (mut read, mut step) = EntryRead::new(std::iter::once(0));
        let to = self.inner.transport.incarnation();
        loop {
            step = match step {
                ReadStep::Ask(_) => {
                    let request = Request::Read { ledger: id, entry, fence: None };
                    let reply = self.inner.transport.call(to, request);
                    read.on_answer(ReadAnswer::judge(id, entry, reply))
                }
                ReadStep::Found(payload) => return Ok(payload),
                ReadStep::Missing => return Err(ReadError::Missing { ledger: id, entry }),
                ReadStep::Doubtful(why) => {
                    return Err(ReadError::Doubtful { ledger: id, entry, why });
                }
            }
        }
    }

    /// Calls `wake` once when readers may see beyond `beyond`, or the ledger was fenced or deleted;
    /// at once if it is so. A ledger closed by its own writer does not call: whoever closes it tells.
    pub fn watch(&self, id: LedgerId, beyond: Option<EntryId>, wake: Wake) {
        self.inner.transport.watch_lac(id, beyond, wake);
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
        let to = marked.last_fragment().1.member(0).incarnation;
        match self.inner.transport.call(to, Request::Delete { ledger: id }) {
            Reply::Done | Reply::Refused(Refusal::NoLedger | Refusal::Deleted) => {}
            other => return Err(DeleteError::Bookie { ledger: id, why: doubt(other) }),
        }
        self.inner.meta.txn(&[], &[Op::Delete(key(id))])?;
        Ok(())
    }

    /// Finishes deletions that a crash interrupted.
    pub fn finish_deletions(&self) -> Result<(), DeleteError> {
        for (name, held) in self.inner.meta.list("/ledgers/")? {
            let number = name.trim_start_matches("/ledgers/").parse();
            let id = LedgerId(number.map_err(|_| damage(&name, "its name is no number"))?);
            let metadata = metadata_codec::decode(&held.value)
                .map_err(|why| RecordError::Decode { ledger: id, why })?;
            if metadata.state == LedgerState::Deleting {
                self.delete(id)?;
            }
        }
        Ok(())
    }
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

fn damage(record: &str, what: &str) -> MetaError {
    MetaError::Damaged {
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
