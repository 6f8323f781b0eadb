//! Copies that are lacking, made: [which](crate::ledger::repair) they are is derived from the ledgers'
//! records each time, so a repair may be broken off anywhere and done twice.
//!
//! An entry is written again under the ledger's own term, with the checksum its first writer gave it.
//! Only when everything is durable there does the record say so, by compare-and-set; what became of the
//! ledger meanwhile decides.

use std::collections::BTreeMap;

use egret_schemas::{BookieId, EntryId, LedgerId};

use super::copier::Copier;
use super::error::{ReadError, RecordError, doubt};
use super::ledgers::Ledgers;
use super::loss::{self, Note};
use super::placement;
use crate::caps;
use crate::ledger::reader::Doubt;
use crate::ledger::repair::{self, Lack, Standing, Why};
use crate::ledger::{LedgerKind, LedgerMetadata, Member, TransitionError};
use crate::message::{Refusal, Reply, Request};

/// Why a copy could not be made. It is tried again with the next sweep.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RepairError {
    /// The ledger's record.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Nobody is left to put it on.
    #[error("{ledger}: no bookie takes the copy that is lacking: start another one")]
    Nobody {
        /// The ledger.
        ledger: LedgerId,
    },
    /// An entry cannot be read from any copy.
    #[error("{ledger} cannot be repaired: {why}")]
    Unreadable {
        /// The ledger.
        ledger: LedgerId,
        /// The entry.
        entry: EntryId,
        /// Why.
        why: ReadError,
    },
    /// The bookie that was to get the copy did not take it.
    #[error("{ledger}: the copy was not taken: {why}")]
    NotTaken {
        /// The ledger.
        ledger: LedgerId,
        /// Why.
        why: Doubt,
    },
}

impl RepairError {
    /// Whether somebody else was faster, or the ledger is gone: nothing is lacking any more.
    pub fn is_settled(&self) -> bool {
        let RepairError::Record(error) = self else { return false };
        matches!(
            error,
            RecordError::NoLedger { .. }
                | RecordError::Transition {
                    why: TransitionError::Replaced { .. } | TransitionError::Deleted,
                    ..
                }
        )
    }

    /// Whether no copy is left of an entry, as far as all its bookies prove: no repair will help.
    pub fn is_loss(&self) -> bool {
        matches!(self, RepairError::Unreadable { why: ReadError::Missing { .. }, .. })
    }
}

/// One copy made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made {
    /// Where it is.
    pub at: Member,
    /// Entries that were written.
    pub entries: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// What a sweep over all ledgers came to.
#[derive(Debug, Default)]
pub struct Sweep {
    /// Ledgers looked at.
    pub ledgers: u64,
    /// Copies that were lacking.
    pub lacking: u64,
    /// Copies made.
    pub made: Vec<(LedgerId, Lack, Made)>,
    /// Copies that could not be made.
    pub failed: Vec<(LedgerId, Lack, RepairError)>,
    /// Records that could not be read.
    pub unread: Vec<RecordError>,
    /// Ledgers nobody closed, of whose last bookies one is gone: their writers' to mend, if they have any.
    pub ends: BTreeMap<LedgerId, LedgerMetadata>,
    /// Ledgers nobody can close any more.
    pub endless: BTreeMap<LedgerId, Endless>,
    /// Ledgers given up, for want of any copy of an entry: their copies are not counted as lacking.
    pub unrecoverable: BTreeMap<LedgerId, Note>,
}

/// Why nobody can close a ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endless {
    /// Those of its bookies that have other directories now.
    pub bookies: Vec<BookieId>,
    /// The topology that alone may close it, if it is one's.
    pub owner: Option<String>,
}

/// How much of a bookie's and the network's time a repair takes.
#[derive(Debug, Clone, Copy)]
pub struct Pace {
    /// Bytes a second.
    pub bytes_per_second: u64,
}

impl Default for Pace {
    fn default() -> Pace {
        Pace { bytes_per_second: caps::REPAIR_BYTES_PER_SECOND }
    }
}

/// What every ledger lacks, which ones are given up, and which records could not be read.
pub fn survey(ledgers: &Ledgers) -> Result<(Vec<(LedgerId, Lack)>, Sweep), RecordError> {
    let mut noted = loss::unrecoverable(ledgers)?;
    let mut sweep = Sweep::default();
    let mut found = Vec::new();
    for id in ledgers.list()? {
        sweep.ledgers += 1;
        if let Some(note) = noted.remove(&id) {
            sweep.unrecoverable.insert(id, note);
            continue;
        }
        match ledgers.describe(id) {
            Ok(record) => {
                let standing = |member| ledgers.bookies().standing(member);
                let lacks = repair::lacks(&record, standing);
                found.extend(lacks.into_iter().map(|lack| (id, lack)));
                if let Some(endless) = endless(ledgers, &record) {
                    sweep.endless.insert(id, endless);
                } else if !repair::gone_from_the_end(&record, standing).is_empty() {
                    sweep.ends.insert(id, record);
                }
            }
            // Deleted since it was listed.
            Err(RecordError::NoLedger { .. }) => {}
            Err(why) => sweep.unread.push(why),
        }
    }
    // Deleted since it was given up.
    for id in noted.into_keys() {
        loss::forget(ledgers, id)?;
    }
    sweep.lacking = found.len() as u64;
    Ok((found, sweep))
}

/// Why nobody can close a ledger, if nobody can.
pub fn endless(ledgers: &Ledgers, record: &LedgerMetadata) -> Option<Endless> {
    let lost = repair::lost_from_the_end(record, |member| ledgers.bookies().standing(member));
    let last = record.last_fragment().1;
    let mut bookies: Vec<BookieId> = lost.iter().map(|&slot| last.member(slot).bookie).collect();
    bookies.sort_unstable();
    let owner = match &record.kind {
        LedgerKind::Plain => None,
        LedgerKind::Transactional { owner } => Some(owner.clone()),
    };
    (!bookies.is_empty()).then_some(Endless { bookies, owner })
}

/// Looks at every ledger and makes what is lacking, for as long as `go_on` says so.
pub fn sweep(
    ledgers: &Ledgers,
    pace: Pace,
    mut go_on: impl FnMut(&Sweep) -> bool,
) -> Result<Sweep, RecordError> {
    let (found, mut sweep) = survey(ledgers)?;
    for (id, lack) in found {
        if !go_on(&sweep) {
            break;
        }
        match make(ledgers, id, &lack, pace) {
            Ok(made) => sweep.made.push((id, lack, made)),
            Err(why) if why.is_settled() => sweep.lacking -= 1,
            Err(why) => {
                tracing::warn!(ledger = %id, ?lack, %why, "a copy could not be made");
                give_up(ledgers, id, &why);
                sweep.failed.push((id, lack, why));
            }
        }
    }
    Ok(sweep)
}

/// Notes a ledger that no repair can help.
fn give_up(ledgers: &Ledgers, id: LedgerId, why: &RepairError) {
    let entry = match why {
        RepairError::Unreadable { why: ReadError::Missing { entry, .. }, .. } => Some(*entry),
        RepairError::Unreadable { .. } => {
            ledgers.describe(id).ok().and_then(|record| loss::hopeless(ledgers, &record))
        }
        _ => None,
    };
    if let Some(entry) = entry
        && let Err(error) = loss::note(ledgers, id, entry)
    {
        tracing::warn!(ledger = %id, %error, "that it cannot be repaired is noted later");
    }
}

/// What a bookie that started in limbo came to.
#[derive(Debug, Default)]
pub struct Settled {
    /// Ledgers that are whole there again.
    pub cleared: u64,
    /// Copies that were looked at, and what was missing of them.
    pub made: Vec<(LedgerId, Made)>,
    /// Ledgers that are not closed: their owners go on elsewhere, and close them.
    pub open: Vec<LedgerId>,
    /// Ledgers that could not be mended.
    pub failed: Vec<(LedgerId, RepairError)>,
}

/// Mends a bookie that may have lost what it acknowledged: everything it should have of closed ledgers
/// is looked at and, where missing, copied from the others; then it is told that its word counts
/// again. To be called until nothing is `open` or `failed`.
pub fn settle_limbo(ledgers: &Ledgers, own: Member, pace: Pace) -> Result<Settled, RepairError> {
    let mut settled = Settled::default();
    let way = ledgers.bookies().transport(own);
    let tell = |request, ledger| match way.call(own.incarnation, request) {
        Reply::Done | Reply::Refused(Refusal::NoLedger | Refusal::Deleted) => Ok(()),
        other => Err(RepairError::NotTaken { ledger, why: doubt(other) }),
    };
    let below = ledgers.first_untaken().map_err(RecordError::from)?;
    tell(Request::LimboBound { below }, below)?;
    for id in ledgers.list()?.into_iter().filter(|id| *id < below) {
        let record = match ledgers.describe(id) {
            Ok(record) => record,
            Err(RecordError::NoLedger { .. }) => continue,
            Err(why) => {
                settled.failed.push((id, why.into()));
                continue;
            }
        };
        let holds = record.fragments.values().any(|ensemble| ensemble.members().contains(&own));
        match record.closed() {
            _ if !holds => {}
            None => settled.open.push(id),
            Some(_) => match fill(ledgers, id, &record, own, pace) {
                Ok(made) => {
                    settled.made.extend(made.into_iter().map(|made| (id, made)));
                    tell(Request::ClearLimbo { ledger: id, term: record.term }, id)?;
                    settled.cleared += 1;
                }
                Err(why) => settled.failed.push((id, why)),
            },
        }
    }
    if settled.open.is_empty() && settled.failed.is_empty() {
        tell(Request::LimboBound { below: LedgerId(0) }, below)?;
    }
    Ok(settled)
}

/// Copies to a bookie what it lacks of a closed ledger.
fn fill(
    ledgers: &Ledgers,
    id: LedgerId,
    record: &LedgerMetadata,
    own: Member,
    pace: Pace,
) -> Result<Vec<Made>, RepairError> {
    let closed = LedgerMetadata { lacking: Default::default(), ..record.clone() };
    let all = repair::lacks(&closed, |member| match member == own {
        true => Standing::Leaving,
        false => Standing::Present,
    });
    let mut made = Vec::new();
    for lack in all {
        let lack = Lack { why: Why::Incomplete, ..lack };
        let copier = Copier { ledgers, id, record, at: own };
        let (entries, bytes) = copier.copy(&lack, pace)?;
        made.push(Made { at: own, entries, bytes });
    }
    Ok(made)
}

/// Makes one copy that is lacking.
pub fn make(ledgers: &Ledgers, id: LedgerId, lack: &Lack, pace: Pace) -> Result<Made, RepairError> {
    let record = ledgers.describe(id)?;
    let at = target(ledgers, id, &record, lack)?;
    let way = ledgers.bookies().transport(at);
    let create = Request::Create {
        ledger: id,
        term: record.term,
        transactional: record.kind.is_transactional(),
        replicated: record.quorum.write() > 1,
    };
    match way.call(at.incarnation, create) {
        Reply::Done | Reply::Refused(Refusal::Exists) => {}
        other => return Err(RepairError::NotTaken { ledger: id, why: doubt(other) }),
    }
    let copier = Copier { ledgers, id, record: &record, at };
    let (entries, bytes) = copier.copy(lack, pace)?;
    let (first, slot, was) = (lack.first, lack.slot, lack.member);
    ledgers.change(id, |held, proposal| held.repaired(first, slot, was, at, proposal))?;
    ledgers.reads().forget(id);
    tracing::info!(ledger = %id, fragment = %first, ?was, ?at, entries, bytes, "a copy was made");
    Ok(Made { at, entries, bytes })
}

/// Who gets the copy: the same bookie when it only lacks some entries and takes any, else another.
fn target(
    ledgers: &Ledgers,
    id: LedgerId,
    record: &LedgerMetadata,
    lack: &Lack,
) -> Result<Member, RepairError> {
    let candidates = ledgers.bookies().candidates();
    if lack.why == Why::Incomplete && candidates.iter().any(|c| c.member == lack.member) {
        return Ok(lack.member);
    }
    let ensemble = record.fragment_of(lack.first).1;
    let round = id.0.wrapping_add(lack.first.0);
    let avoid = [lack.member];
    let found = placement::replace(ensemble, &[lack.slot], &candidates, &avoid, round);
    found.first().map(|&(_, member)| member).ok_or(RepairError::Nobody { ledger: id })
}
