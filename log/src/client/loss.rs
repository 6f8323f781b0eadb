//! Entries of which no copy is left: found, noted so that nobody looks for them for ever, and accepted by
//! an operator, who answers for it by name.
//!
//! A repair that proves that an entry is nowhere notes it at `/unrecoverable/<ledger>`; sweeps leave that
//! ledger alone until somebody [tries again](forget) or [accepts](accept) it. What was accepted is in the
//! ledger's record, where readers and repairs find it, and, with who and why, at `/losses/<ledger>/<time>`,
//! which nothing removes.
//!
//! Of an open ledger bookies can be given up: what they had is taken for absent, and the ledger is closed
//! with what the others have. Should one of them come back, its copies are of no account. Only who is gone is
//! given up: not a bookie that answers, that turns this process away, or that says that it is there.

use std::collections::{BTreeMap, BTreeSet};

use egret_schemas::bytes::{DecodeError, Reader, Writer as _};
use egret_schemas::{BookieId, EntryId, LedgerId, Term};

use super::error::{ReadError, RecordError, RecoverError, doubt};
use super::fan_out;
use super::ledgers::{Ledgers, damage};
use super::scan::Scan;
use crate::ledger::reader::{Doubt, ReadAnswer};
use crate::ledger::repair::{self, Standing};
use crate::ledger::{CloseAt, LedgerKind, LedgerMetadata, LedgerState, Member};
use crate::message::{Refusal, Reply, Request, Unknown};
use crate::metadata::{Compare, MetaError, Op, TxnOutcome};
use crate::{caps, clock};

const NOTED: &str = "/unrecoverable/";
const ACCEPTED: &str = "/losses/";
const VERSION: u8 = 1;

/// What an operator decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Bookies that will not come back, or not with what they had.
    pub gone: BTreeSet<BookieId>,
    /// Who decided.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// What was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The ledger.
    pub ledger: LedgerId,
    /// Entries of which no copy is left: first and last.
    pub ranges: Vec<(EntryId, EntryId)>,
    /// Where the ledger was closed by this decision, if it was not closed before.
    pub closed: Option<Option<EntryId>>,
    /// What was decided.
    pub decision: Decision,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
}

/// A repair's note that an entry is nowhere.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The first entry that is nowhere.
    pub entry: EntryId,
    /// When that was found, in milliseconds since 1970.
    pub at_ms: u64,
}

/// Why a loss was not accepted. Nothing was changed unless it says so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LossError {
    /// The ledger's record.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Every entry has a copy.
    #[error("{ledger} has lost nothing: every entry can be read, or was accepted as lost")]
    NothingLost {
        /// The ledger.
        ledger: LedgerId,
    },
    /// A bookie that is said to be gone is there.
    #[error("{bookie} answers for {ledger}: it is not gone, and what it has counts")]
    Answers {
        /// The ledger.
        ledger: LedgerId,
        /// The bookie.
        bookie: BookieId,
    },
    /// Something is there in place of a bookie that is said to be gone, and does not let this process in.
    #[error(
        "{bookie} is not gone, what it has of {ledger} counts: something answers at its place ({why}); mend \
         what keeps this process out, its certificate, say; if that is no bookie, stop it first"
    )]
    ShutOut {
        /// The ledger.
        ledger: LedgerId,
        /// The bookie.
        bookie: BookieId,
        /// What was said.
        why: Doubt,
    },
    /// A bookie that is said to be gone says that it is there.
    #[error(
        "{bookie} is not gone, what it has of {ledger} counts: the metadata has it as there, though it did not \
         answer ({why}); let this process reach it, or, if it was stopped just now, try again in {} s",
        caps::BOOKIE_LEASE_MS / 1000
    )]
    There {
        /// The ledger.
        ledger: LedgerId,
        /// The bookie.
        bookie: BookieId,
        /// Why it did not answer.
        why: Doubt,
    },
    /// The ledger is not closed, and nobody is said to be gone.
    #[error(
        "{ledger} is not closed, and none of its bookies is said to be gone: whoever writes next closes it; if \
         that fails for a bookie that will not come back, say which ({})",
        match &away[..] {
            [] => "`--gone BOOKIE`".to_owned(),
            away => format!("`{}`, which do not answer", options(away)),
        }
    )]
    NobodyGone {
        /// The ledger.
        ledger: LedgerId,
        /// Those of its bookies that may be.
        away: Vec<BookieId>,
    },
    /// A bookie that may have more than the others does not answer.
    #[error(
        "{ledger} may have entries on {bookie}, which does not answer ({why}): {}", to_do(*.bookie, *.there)
    )]
    Unheard {
        /// The ledger.
        ledger: LedgerId,
        /// The bookie.
        bookie: BookieId,
        /// Whether it is there all the same.
        there: bool,
        /// What it said.
        why: Doubt,
    },
    /// A bookie that may have the entry does not say.
    #[error(
        "{ledger}:{entry} may be on {bookie}, which proves nothing ({why}): {}", to_do(*.bookie, *.there)
    )]
    NotDecided {
        /// The ledger.
        ledger: LedgerId,
        /// The entry.
        entry: EntryId,
        /// The bookie.
        bookie: BookieId,
        /// Whether it is there all the same.
        there: bool,
        /// What it said.
        why: Doubt,
    },
    /// The open ledger could not be closed with what is left.
    #[error(transparent)]
    Recover(#[from] RecoverError),
    /// It is being deleted.
    #[error("{ledger} is being deleted")]
    Deleting {
        /// The ledger.
        ledger: LedgerId,
    },
}

/// Bookies as the command takes them.
pub fn options(gone: &[BookieId]) -> String {
    gone.iter().map(|bookie| format!("--gone {bookie}")).collect::<Vec<_>>().join(" ")
}

/// What to do about a bookie that did not answer.
fn to_do(bookie: BookieId, there: bool) -> String {
    match there {
        true => "it is there: see why it does not answer this process".to_owned(),
        false => format!("start or mend it, or say that its copies are gone (`--gone {bookie}`)"),
    }
}

impl From<MetaError> for LossError {
    fn from(error: MetaError) -> LossError {
        LossError::Record(error.into())
    }
}

/// What accepting the loss of a ledger would come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Assessed {
    /// It is closed: of these entries no copy is left.
    Closed(Vec<(EntryId, EntryId)>),
    /// It is not: it would be closed with what the bookies that are left have.
    Open {
        /// Its bookies that are given up, or were replaced.
        without: Vec<BookieId>,
    },
}

/// Finds what is lost, and changes nothing. `seen` is told every entry that was looked at.
pub fn assess(
    ledgers: &Ledgers,
    id: LedgerId,
    gone: &BTreeSet<BookieId>,
    mut seen: impl FnMut(EntryId),
) -> Result<Assessed, LossError> {
    let record = ledgers.describe(id)?;
    all_are_gone(ledgers, id, &record, gone)?;
    let last = match record.state {
        LedgerState::Deleting => return Err(LossError::Deleting { ledger: id }),
        LedgerState::Open | LedgerState::InRecovery => {
            if let LedgerKind::Transactional { owner } = &record.kind {
                let (ledger, owner) = (id, owner.clone());
                return Err(RecoverError::Owned { ledger, owner }.into());
            }
            let gone = given_up(ledgers, &record, gone);
            if gone.is_empty() {
                return Err(LossError::NobodyGone { ledger: id, away: away(ledgers, id, &record) });
            }
            for member in record.last_fragment().1.members() {
                if let (false, Err(why)) = (gone.contains(member), probe(ledgers, id, *member)) {
                    return Err(unheard(ledgers, id, *member, why));
                }
            }
            let without: BTreeSet<BookieId> = gone.iter().map(|member| member.bookie).collect();
            return Ok(Assessed::Open { without: without.into_iter().collect() });
        }
        LedgerState::Closed { last } => last,
    };
    let mut ranges: Vec<(EntryId, EntryId)> = Vec::new();
    let mut scan = Scan::new(ledgers, id);
    for entry in (0..EntryId::after(last).0).map(EntryId) {
        seen(entry);
        if record.lost_with(entry).is_some() {
            continue;
        }
        match scan.read(entry, last.unwrap_or(entry)) {
            Ok(_) => continue,
            Err(ReadError::Missing { .. }) => {}
            Err(ReadError::Record(why)) => return Err(why.into()),
            Err(_) if !is_lost(ledgers, id, &record, entry, gone)? => continue,
            Err(_) => {}
        }
        match ranges.last_mut() {
            Some((_, until)) if until.next() == entry => *until = entry,
            _ => ranges.push((entry, entry)),
        }
    }
    if ranges.is_empty() {
        return Err(LossError::NothingLost { ledger: id });
    }
    Ok(Assessed::Closed(ranges))
}

/// Accepts what [`assess`] finds: closes an open ledger without the bookies given up, and notes what of a
/// closed one is lost. Written together with who decided.
pub fn accept(
    ledgers: &Ledgers,
    id: LedgerId,
    decision: Decision,
    seen: impl FnMut(EntryId),
) -> Result<Loss, LossError> {
    let assessed = assess(ledgers, id, &decision.gone, seen)?;
    let at_ms = clock::wall_ms();
    let mut loss = Loss { ledger: id, ranges: Vec::new(), closed: None, decision, at_ms };
    match assessed {
        Assessed::Closed(ranges) => {
            loss.ranges = ranges;
            let also = [loss.put(), Op::Delete(noted(id))];
            let ranges = &loss.ranges;
            ledgers.change_with(id, |held, proposal| held.accept_loss(ranges, proposal), &also)?;
        }
        Assessed::Open { .. } => {
            let record = ledgers.describe(id)?;
            let gone = given_up(ledgers, &record, &loss.decision.gone);
            let term = Term(record.term.0 + 1);
            let taken = ledgers.change(id, |held, p| held.start_recovery(term, p))?;
            all_others_answer(ledgers, id, &taken, &gone)?;
            let also = |last| vec![Loss { closed: Some(last), ..loss.clone() }.put()];
            let taken = (taken, CloseAt::End);
            loss.closed = Some(ledgers.close_without(id, term, taken, &gone, also)?);
        }
    }
    ledgers.reads().forget(id);
    tracing::warn!(ledger = %id, ranges = ?loss.ranges, by = loss.decision.by, "a loss was accepted");
    Ok(loss)
}

/// Everything that was ever accepted, by ledger and time.
pub fn accepted(ledgers: &Ledgers) -> Result<Vec<Loss>, RecordError> {
    let mut all = Vec::new();
    for (name, held) in ledgers.metadata().list(ACCEPTED)? {
        let ledger = ledger_of(&name, ACCEPTED)?;
        let decode = Loss::decode(ledger, &held.value);
        all.push(decode.map_err(|why| RecordError::Decode { ledger, why })?);
    }
    all.sort_by_key(|loss| (loss.ledger, loss.at_ms));
    Ok(all)
}

/// Notes that an entry is nowhere, so that sweeps leave the ledger alone.
pub(super) fn note(ledgers: &Ledgers, id: LedgerId, entry: EntryId) -> Result<(), MetaError> {
    let key = noted(id);
    let value = Note { entry, at_ms: clock::wall_ms() }.encode();
    let outcome =
        ledgers.metadata().txn(&[Compare::Absent(key.clone())], &[Op::Put(key, value)])?;
    if let TxnOutcome::Committed { .. } = outcome {
        tracing::error!(
            ledger = %id, %entry,
            "no copy of an entry is left: restore a disk and run `egret ledger repair {id}`, or accept \
             it with `egret ledger accept-loss {id}`"
        );
    }
    Ok(())
}

/// Every ledger that repairs have given up.
pub fn unrecoverable(ledgers: &Ledgers) -> Result<BTreeMap<LedgerId, Note>, RecordError> {
    let mut all = BTreeMap::new();
    for (name, held) in ledgers.metadata().list(NOTED)? {
        let ledger = ledger_of(&name, NOTED)?;
        let note = Note::decode(&held.value);
        all.insert(ledger, note.map_err(|why| RecordError::Decode { ledger, why })?);
    }
    Ok(all)
}

/// Lets repairs try a ledger again.
pub fn forget(ledgers: &Ledgers, id: LedgerId) -> Result<(), RecordError> {
    Ok(ledgers.metadata().txn(&[], &[Op::Delete(noted(id))]).map(drop)?)
}

/// The ledger a key names, behind its prefix.
fn ledger_of(key: &str, prefix: &str) -> Result<LedgerId, MetaError> {
    let number = key.trim_start_matches(prefix).split('/').next().and_then(|n| n.parse().ok());
    number.map(LedgerId).ok_or_else(|| damage(key, "its name is no ledger's"))
}

fn noted(id: LedgerId) -> String {
    format!("{NOTED}{}", id.0)
}

/// Of the ledger's bookies those that are given up, or have another directory now.
fn given_up(
    ledgers: &Ledgers,
    record: &LedgerMetadata,
    gone: &BTreeSet<BookieId>,
) -> BTreeSet<Member> {
    let members = record.fragments.values().flat_map(|ensemble| ensemble.members());
    members.filter(|&&member| has_nothing(ledgers, member, gone)).copied().collect()
}

/// Nobody gives up a bookie that is there: what it says is proof, and its copies count. Whether this process
/// is let in is another matter.
fn all_are_gone(
    ledgers: &Ledgers,
    id: LedgerId,
    record: &LedgerMetadata,
    gone: &BTreeSet<BookieId>,
) -> Result<(), LossError> {
    let members = record.fragments.values().flat_map(|ensemble| ensemble.members());
    let named: BTreeSet<Member> =
        members.filter(|member| gone.contains(&member.bookie)).copied().collect();
    for member in named {
        let (ledger, bookie) = (id, member.bookie);
        let Err(why) = probe(ledgers, id, member) else {
            return Err(LossError::Answers { ledger, bookie });
        };
        match &why {
            // By its own word it may have lost what it had, or it is another directory.
            Doubt::Bookie(Unknown::Limbo | Unknown::Incarnation { .. }) => {}
            _ if is_shut_out(&why) => return Err(LossError::ShutOut { ledger, bookie, why }),
            _ if ledgers.bookies().is_there(member) => {
                return Err(LossError::There { ledger, bookie, why });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Whether somebody answered, though not what was asked.
fn is_shut_out(why: &Doubt) -> bool {
    !matches!(why, Doubt::Bookie(Unknown::Unreachable { .. } | Unknown::Deadline { .. }))
}

/// Whether a bookie that gave this reason for not answering is there all the same.
pub(super) fn is_there(ledgers: &Ledgers, member: Member, why: &Doubt) -> bool {
    is_shut_out(why) || ledgers.bookies().is_there(member)
}

fn unheard(ledgers: &Ledgers, ledger: LedgerId, member: Member, why: Doubt) -> LossError {
    let there = is_there(ledgers, member, &why);
    LossError::Unheard { ledger, bookie: member.bookie, there, why }
}

/// Those of a ledger's last bookies that may be gone.
fn away(ledgers: &Ledgers, id: LedgerId, record: &LedgerMetadata) -> Vec<BookieId> {
    let is_away = |member: &&Member| {
        let why = probe(ledgers, id, **member).err();
        why.is_some_and(|why| !is_there(ledgers, **member, &why))
    };
    let members = record.last_fragment().1.members().iter();
    let away: BTreeSet<BookieId> = members.filter(is_away).map(|member| member.bookie).collect();
    away.into_iter().collect()
}

/// Whether a bookie's word on what it has of a ledger counts; why not.
fn probe(ledgers: &Ledgers, id: LedgerId, member: Member) -> Result<(), Doubt> {
    // No ledger has an entry of this number.
    let request = Request::Read { ledger: id, entry: EntryId(u64::MAX - 1), fence: None };
    let way = ledgers.bookies().transport(member);
    let replies = fan_out::ask(vec![(way, member.incarnation, request)], 1, |_| true);
    match replies.into_iter().next().flatten() {
        Some(Reply::NoEntry { .. } | Reply::Refused(Refusal::NoLedger)) => Ok(()),
        other => Err(other.map_or(Doubt::Protocol, doubt)),
    }
}

fn has_nothing(ledgers: &Ledgers, member: Member, gone: &BTreeSet<BookieId>) -> bool {
    let replaced = || matches!(ledgers.bookies().standing(member), Standing::Replaced { .. });
    gone.contains(&member.bookie) || replaced()
}

/// Whether no copy is left of an entry that could not be read. A copy that went bad on its disk is none, nor
/// is one that a bookie in limbo may have had.
fn is_lost(
    ledgers: &Ledgers,
    id: LedgerId,
    record: &LedgerMetadata,
    entry: EntryId,
    gone: &BTreeSet<BookieId>,
) -> Result<bool, LossError> {
    let ensemble = record.fragment_of(entry).1;
    for slot in ensemble.write_set(entry, record.quorum) {
        let member = ensemble.member(slot);
        if has_nothing(ledgers, member, gone) {
            continue;
        }
        let way = ledgers.bookies().transport(member);
        let request = Request::Read { ledger: id, entry, fence: None };
        let replies = fan_out::ask(vec![(way, member.incarnation, request)], 1, |_| true);
        let reply = replies.into_iter().next().flatten();
        let answer = reply.map(|reply| ReadAnswer::judge(id, entry, reply));
        let why = match answer {
            Some(ReadAnswer::Entry { .. }) => return Ok(false),
            Some(ReadAnswer::NoEntry) => continue,
            Some(ReadAnswer::Unknown(
                Doubt::Checksum { .. } | Doubt::Bookie(Unknown::Damaged { .. } | Unknown::Limbo),
            )) => {
                continue;
            }
            Some(ReadAnswer::Unknown(why)) => why,
            None => Doubt::Protocol,
        };
        let (bookie, there) = (member.bookie, is_there(ledgers, member, &why));
        return Err(LossError::NotDecided { ledger: id, entry, bookie, there, why });
    }
    Ok(true)
}

/// Shuts out the writer at every bookie that is not given up. A quorum would do for a recovery, but here
/// those given up count as having nothing, and whoever is left may be the only one to have an entry.
fn all_others_answer(
    ledgers: &Ledgers,
    id: LedgerId,
    taken: &LedgerMetadata,
    gone: &BTreeSet<Member>,
) -> Result<(), LossError> {
    let members = taken.last_fragment().1.members().iter();
    let left: Vec<Member> = members.filter(|member| !gone.contains(member)).copied().collect();
    let question = |&member: &Member| {
        let way = ledgers.bookies().transport(member);
        (way, member.incarnation, Request::Fence { ledger: id, term: taken.term })
    };
    let replies = fan_out::ask(left.iter().map(question).collect(), left.len(), |_| true);
    for (member, reply) in left.iter().zip(replies) {
        match reply {
            Some(Reply::Fenced { .. }) => {}
            other => {
                let why = other.map_or(Doubt::Protocol, doubt);
                return Err(unheard(ledgers, id, *member, why));
            }
        }
    }
    Ok(())
}

/// The first entry of a ledger that is nowhere by what is known of its bookies alone.
pub(super) fn hopeless(ledgers: &Ledgers, record: &LedgerMetadata) -> Option<EntryId> {
    repair::hopeless(record, |member| ledgers.bookies().standing(member))
}

impl Loss {
    fn put(&self) -> Op {
        Op::Put(format!("{ACCEPTED}{}/{:020}", self.ledger.0, self.at_ms), self.encode())
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.put_u64(self.at_ms);
        out.put_bytes(self.decision.by.as_bytes());
        out.put_bytes(self.decision.reason.as_bytes());
        out.put_u32(u32::try_from(self.decision.gone.len()).expect("bookies of a cluster"));
        self.decision.gone.iter().for_each(|bookie| out.put_u64(bookie.0));
        match self.closed {
            None => out.put_u8(0),
            Some(None) => out.put_u8(1),
            Some(Some(last)) => {
                out.put_u8(2);
                out.put_u64(last.0);
            }
        }
        out.put_u32(u32::try_from(self.ranges.len()).expect("fewer than a record may have"));
        for (first, last) in &self.ranges {
            out.put_u64(first.0);
            out.put_u64(last.0);
        }
        out
    }

    pub(crate) fn decode(ledger: LedgerId, bytes: &[u8]) -> Result<Loss, DecodeError> {
        let mut r = versioned(bytes)?;
        let at_ms = r.u64("time")?;
        let (by, reason) = (r.text("who")?.to_owned(), r.text("reason")?.to_owned());
        let mut gone = BTreeSet::new();
        for _ in 0..r.u32("bookies")? {
            gone.insert(BookieId(r.u64("bookie")?));
        }
        let closed = match r.u8("close")? {
            0 => None,
            1 => Some(None),
            2 => Some(Some(EntryId(r.u64("last entry")?))),
            _ => return Err(r.wrong("close", "not known to this build")),
        };
        let mut ranges = Vec::new();
        for _ in 0..r.u32("ranges")? {
            ranges.push((EntryId(r.u64("first lost")?), EntryId(r.u64("last lost")?)));
        }
        r.end("accepted loss")?;
        let decision = Decision { gone, by, reason };
        Ok(Loss { ledger, ranges, closed, decision, at_ms })
    }
}

impl Note {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        out.put_u64(self.entry.0);
        out.put_u64(self.at_ms);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Note, DecodeError> {
        let mut r = versioned(bytes)?;
        let note = Note { entry: EntryId(r.u64("entry")?), at_ms: r.u64("time")? };
        r.end("note of a loss")?;
        Ok(note)
    }
}

fn versioned(bytes: &[u8]) -> Result<Reader<'_>, DecodeError> {
    let mut r = Reader::new(bytes);
    if r.u8("version")? != VERSION {
        return Err(r.wrong("version", "not known to this build"));
    }
    Ok(r)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_loss_comes_back(
            at_ms: u64, by: String, reason: String, gone: BTreeSet<u64>,
            closed: Option<Option<u64>>, ranges: Vec<(u64, u64)>,
        ) {
            let gone = gone.into_iter().map(BookieId).collect();
            let loss = Loss {
                ledger: LedgerId(7),
                ranges: ranges.into_iter().map(|(a, b)| (EntryId(a), EntryId(b))).collect(),
                closed: closed.map(|last| last.map(EntryId)),
                decision: Decision { gone, by, reason },
                at_ms,
            };
            prop_assert_eq!(Loss::decode(LedgerId(7), &loss.encode()), Ok(loss));
        }

        #[test]
        fn any_bytes_decode_or_fail_without_panic(bytes: Vec<u8>) {
            let _ = Loss::decode(LedgerId(1), &bytes);
            let _ = Note::decode(&bytes);
        }
    }
}
