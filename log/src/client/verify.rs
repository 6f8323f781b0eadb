//! Every copy of a ledger looked at where it should be, and those that are missing or no longer what was
//! written made anew.
//!
//! [Repair](super::repair) makes what a record says is lacking; a record does not know what a disk lost or
//! let rot. Here each bookie shows every entry it should have, with a checksum that is verified. What it
//! does not show is written to it again from one that did. Entries of which nobody showed a copy are
//! [told](Nowhere) with what their bookies said, and nothing is decided about them.

use std::collections::BTreeMap;

use egret_schemas::{BookieId, EntryId, LedgerId};

use super::copier::Copying;
use super::error::{RecordError, doubt};
use super::held::{Held, Look};
use super::ledgers::Ledgers;
use super::loss;
use super::repair::Pace;
use super::scan::Scan;
use crate::ledger::reader::Doubt;
use crate::ledger::repair::{self, Standing};
use crate::ledger::{Ensemble, LedgerMetadata, Member};
use crate::message::{Refusal, Reply, Request};

/// What was found, and made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verified {
    /// Entries looked for.
    pub entries: u64,
    /// What each bookie had of them.
    pub bookies: BTreeMap<Member, Share>,
    /// Entries of which nobody showed a copy.
    pub nowhere: Vec<Nowhere>,
    /// From here on the ledger is still written: its writer sees to that.
    pub written_from: Option<EntryId>,
}

/// What one bookie had of a ledger.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Share {
    /// Copies that are what was written.
    pub intact: u64,
    /// Copies that are something else now.
    pub damaged: u64,
    /// Copies that are not there, those in limbo among them.
    pub missing: u64,
    /// Copies made anew.
    pub mended: u64,
    /// Why it was not looked at to the end, or took no copies.
    pub failed: Option<Doubt>,
}

/// Entries in a row of which nobody showed a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Nowhere {
    /// The first.
    pub first: EntryId,
    /// The last.
    pub last: EntryId,
    /// What is known of them.
    pub why: NowhereWhy,
}

/// What is known of an entry of which nobody showed a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NowhereWhy {
    /// All its bookies prove that they have no good copy, or have another directory now.
    Lost,
    /// Those of its bookies that prove nothing are in limbo: they may have lost it when they stopped.
    Limbo {
        /// Which.
        bookies: Vec<BookieId>,
    },
    /// Some did not answer.
    Unheard {
        /// Which that may be gone.
        bookies: Vec<BookieId>,
        /// Which are there all the same: they turn this process away, or say so in the metadata.
        there: Vec<BookieId>,
    },
}

impl Verified {
    /// Copies that were missing or damaged.
    pub fn bad(&self) -> u64 {
        self.bookies.values().map(|share| share.damaged + share.missing).sum()
    }

    /// Copies made anew.
    pub fn mended(&self) -> u64 {
        self.bookies.values().map(|share| share.mended).sum()
    }

    /// Copies that were missing or damaged and still are.
    pub fn unmended(&self) -> u64 {
        self.bad() - self.mended()
    }

    /// Whether every copy was looked at, and each is there now.
    pub fn is_whole(&self) -> bool {
        self.unmended() == 0
            && self.nowhere.is_empty()
            && self.bookies.values().all(|share| share.failed.is_none())
    }
}

/// Looks at every copy of a ledger as far as nobody writes it any more, and with `mend` makes anew what is
/// missing or damaged. `seen` is told every entry that was looked for.
pub fn verify(
    ledgers: &Ledgers,
    id: LedgerId,
    mend: Option<Pace>,
    mut seen: impl FnMut(EntryId),
) -> Result<Verified, RecordError> {
    let record = ledgers.describe(id)?;
    // What is remembered may name other bookies.
    ledgers.reads().forget(id);
    let mut verified = Verified::default();
    if record.closed().is_none() {
        verified.written_from = Some(record.last_fragment().0);
    }
    for (first, last, ensemble) in repair::ended(&record) {
        let mut fragment = Fragment::new(ledgers, id, &record, (ensemble, last), mend);
        for entry in (first.0..=last.0).map(EntryId) {
            seen(entry);
            if record.lost_with(entry).is_none() {
                verified.entries += 1;
                if let Some(why) = fragment.entry(entry) {
                    verified.note(entry, why);
                }
            }
        }
        fragment.end(&mut verified.bookies);
    }
    Ok(verified)
}

impl Verified {
    fn note(&mut self, entry: EntryId, why: NowhereWhy) {
        match self.nowhere.last_mut() {
            Some(held) if held.last.next() == entry && held.why == why => held.last = entry,
            _ => self.nowhere.push(Nowhere { first: entry, last: entry, why }),
        }
    }
}

/// The copies of one fragment.
struct Fragment<'a> {
    ledgers: &'a Ledgers,
    id: LedgerId,
    record: &'a LedgerMetadata,
    ensemble: &'a Ensemble,
    last: EntryId,
    mend: Option<Pace>,
    /// For what is copied.
    scan: Scan,
    replicas: Vec<Replica<'a>>,
}

/// A bookie of it.
struct Replica<'a> {
    member: Member,
    standing: Standing,
    held: Held<'a>,
    share: Share,
    copying: Option<Copying<'a>>,
}

impl<'a> Fragment<'a> {
    fn new(
        ledgers: &'a Ledgers,
        id: LedgerId,
        record: &'a LedgerMetadata,
        (ensemble, last): (&'a Ensemble, EntryId),
        mend: Option<Pace>,
    ) -> Fragment<'a> {
        let replica = |&member: &Member| Replica {
            member,
            standing: ledgers.bookies().standing(member),
            held: Held::look_for(ledgers, id, member, last),
            share: Share::default(),
            copying: None,
        };
        let replicas = ensemble.members().iter().map(replica).collect();
        let scan = Scan::new(ledgers, id);
        Fragment { ledgers, id, record, ensemble, last, mend, scan, replicas }
    }

    /// Looks at all copies of an entry, and mends; what is known of it when nobody shows one.
    fn entry(&mut self, entry: EntryId) -> Option<NowhereWhy> {
        let (mut intact, mut bad, mut limbo) = (false, vec![], vec![]);
        let (mut unheard, mut there) = (vec![], vec![]);
        for slot in self.ensemble.write_set(entry, self.record.quorum) {
            let replica = &mut self.replicas[slot];
            if matches!(replica.standing, Standing::Replaced { .. }) {
                continue;
            }
            match replica.look(entry) {
                Some(Look::Intact) => intact = true,
                Some(Look::Missing | Look::Damaged) => bad.push(slot),
                Some(Look::Limbo) => {
                    limbo.push(replica.member.bookie);
                    bad.push(slot);
                }
                Some(Look::Unheard(_)) | None if replica.is_there(self.ledgers) => {
                    there.push(replica.member.bookie);
                }
                Some(Look::Unheard(_)) | None => unheard.push(replica.member.bookie),
            }
        }
        if !intact {
            // As a set: those behind one another are told together.
            limbo.sort_unstable();
            unheard.sort_unstable();
            there.sort_unstable();
            return Some(match (unheard.is_empty() && there.is_empty(), limbo.is_empty()) {
                (false, _) => NowhereWhy::Unheard { bookies: unheard, there },
                (true, false) => NowhereWhy::Limbo { bookies: limbo },
                (true, true) => NowhereWhy::Lost,
            });
        }
        if let Some(pace) = self.mend {
            bad.into_iter().for_each(|slot| self.mend(entry, slot, pace));
        }
        None
    }

    fn mend(&mut self, entry: EntryId, slot: usize, pace: Pace) {
        let Fragment { ledgers, id, record, last, scan, replicas, .. } = self;
        let replica = &mut replicas[slot];
        // One that is to go gets nothing more; its copies are made elsewhere.
        if replica.standing != Standing::Present || replica.share.failed.is_some() {
            return;
        }
        // Shown a moment ago: should it be gone now, the next look says what of it.
        let Ok(payload) = scan.read(entry, *last) else { return };
        let put = match &mut replica.copying {
            Some(copying) => copying.put(entry, payload),
            none => create(ledgers, *id, record, replica.member).and_then(|()| {
                let copying = Copying::to(ledgers, *id, record.term, replica.member, pace);
                none.insert(copying).put(entry, payload)
            }),
        };
        if let Err(why) = put {
            replica.share.failed = Some(why);
        }
    }

    fn end(self, bookies: &mut BTreeMap<Member, Share>) {
        for Replica { member, standing, mut share, copying, .. } in self.replicas {
            if matches!(standing, Standing::Replaced { .. }) {
                continue;
            }
            match copying.map(Copying::done) {
                None => {}
                Some(Ok((entries, _))) => share.mended = entries,
                Some(Err(why)) => {
                    share.failed.get_or_insert(why);
                }
            }
            bookies.entry(member).or_default().add(share);
        }
    }
}

impl Replica<'_> {
    /// Whether it is there, though it does not answer.
    fn is_there(&self, ledgers: &Ledgers) -> bool {
        let why = self.share.failed.as_ref();
        why.is_some_and(|why| loss::is_there(ledgers, self.member, why))
    }

    /// `None` when it did not answer before: it is not asked again.
    fn look(&mut self, entry: EntryId) -> Option<Look> {
        if self.share.failed.is_some() {
            return None;
        }
        let look = self.held.look(entry);
        match &look {
            Look::Intact => self.share.intact += 1,
            Look::Damaged => self.share.damaged += 1,
            Look::Missing | Look::Limbo => self.share.missing += 1,
            Look::Unheard(why) => self.share.failed = Some(why.clone()),
        }
        Some(look)
    }
}

impl Share {
    fn add(&mut self, other: Share) {
        self.intact += other.intact;
        self.damaged += other.damaged;
        self.missing += other.missing;
        self.mended += other.mended;
        self.failed = self.failed.take().or(other.failed);
    }
}

/// Has a bookie know the ledger, which it may have lost with all the rest.
fn create(
    ledgers: &Ledgers,
    id: LedgerId,
    record: &LedgerMetadata,
    at: Member,
) -> Result<(), Doubt> {
    let request = Request::Create {
        ledger: id,
        term: record.term,
        transactional: record.kind.is_transactional(),
        replicated: record.quorum.write() > 1,
    };
    match ledgers.bookies().transport(at).call(at.incarnation, request) {
        Reply::Done | Reply::Refused(Refusal::Exists) => Ok(()),
        other => Err(doubt(other)),
    }
}
