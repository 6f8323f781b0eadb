//! The history every oracle may look at.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use egret_log::ledger::{LedgerMetadata, LedgerState, Member};
use egret_log::message::{Reply, Request};
use egret_schemas::{EntryId, Incarnation, LedgerId};

use crate::sim::fact::Fact;

/// What happened to one ledger.
#[derive(Debug, Clone, Default)]
pub(crate) struct LedgerHistory {
    /// Its record in the metadata store now.
    pub(crate) record: Option<LedgerMetadata>,
    /// Whether a tombstone was ever set.
    pub(crate) tombstone: bool,
    /// Entries its writer gave a number.
    pub(crate) appended: BTreeMap<EntryId, Bytes>,
    /// The last entry whose caller was told that it is there.
    pub(crate) confirmed: Option<EntryId>,
    /// The last entry its owner committed.
    pub(crate) committed: Option<EntryId>,
    /// Who has said that it has an entry.
    pub(crate) copies: BTreeMap<EntryId, BTreeSet<Incarnation>>,
    /// Who has said that it created the ledger.
    pub(crate) created: BTreeSet<Incarnation>,
}

/// What happened to all of them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Book {
    ledgers: BTreeMap<LedgerId, LedgerHistory>,
    suspect: BTreeSet<Incarnation>,
    destroyed: BTreeSet<Incarnation>,
    sync_failed: BTreeSet<Incarnation>,
}

impl LedgerHistory {
    /// Whether its readers are bounded by what was published.
    pub(crate) fn is_transactional(&self) -> bool {
        self.record.as_ref().is_some_and(|record| record.kind.is_transactional())
    }

    /// The end it was closed at.
    pub(crate) fn closed(&self) -> Option<Option<EntryId>> {
        match self.record.as_ref()?.state {
            LedgerState::Closed { last } => Some(last),
            _ => None,
        }
    }

    /// The last entry its callers rely on.
    pub(crate) fn promised(&self) -> Option<EntryId> {
        if self.is_transactional() { self.committed } else { self.confirmed }
    }
}

impl Book {
    /// A ledger that anything is known of.
    pub(crate) fn ledger(&self, ledger: LedgerId) -> Option<&LedgerHistory> {
        self.ledgers.get(&ledger)
    }

    /// All of them.
    pub(crate) fn ledgers(&self) -> impl Iterator<Item = (LedgerId, &LedgerHistory)> {
        self.ledgers.iter().map(|(ledger, history)| (*ledger, history))
    }

    /// Whether the medium below this bookie was tampered with.
    pub(crate) fn is_suspect(&self, bookie: Incarnation) -> bool {
        self.suspect.contains(&bookie)
    }

    /// Whether this bookie's disk is there and was never tampered with.
    pub(crate) fn is_intact(&self, bookie: Incarnation) -> bool {
        !self.suspect.contains(&bookie) && !self.destroyed.contains(&bookie)
    }

    /// Whether a sync ever failed below this bookie.
    pub(crate) fn had_failed_sync(&self, bookie: Incarnation) -> bool {
        self.sync_failed.contains(&bookie)
    }

    /// The bookies that should hold `entry`, as its record says now.
    pub(crate) fn replicas(&self, ledger: LedgerId, entry: EntryId) -> Vec<Member> {
        let Some(record) = self.ledger(ledger).and_then(|history| history.record.as_ref()) else {
            return Vec::new();
        };
        let ensemble = record.fragment_of(entry).1;
        ensemble.write_set(entry, record.quorum).map(|slot| ensemble.member(slot)).collect()
    }

    /// Replicas of `entry` that are known to have it and whose disks are intact.
    pub(crate) fn intact_copies(&self, ledger: LedgerId, entry: EntryId) -> usize {
        let copies = self.ledger(ledger).and_then(|history| history.copies.get(&entry));
        let Some(copies) = copies else { return 0 };
        let has = |member: &Member| {
            copies.contains(&member.incarnation) && self.is_intact(member.incarnation)
        };
        self.replicas(ledger, entry).iter().filter(|member| has(member)).count()
    }

    pub(super) fn note(&mut self, fact: &Fact) {
        match fact {
            Fact::Answered { by, request, reply } => self.note_answer(*by, request, reply),
            Fact::Suspect { bookie } => {
                self.suspect.insert(*bookie);
            }
            Fact::Destroyed { bookie } => {
                self.destroyed.insert(*bookie);
            }
            Fact::Recorded { ledger, after } => {
                let history = self.history(*ledger);
                history.tombstone |= match after {
                    Some(record) => record.state == LedgerState::Deleting,
                    None => true,
                };
                history.record.clone_from(after);
            }
            Fact::Committed { ledger, upto } => {
                let history = self.history(*ledger);
                history.committed = history.committed.max(Some(*upto));
            }
            Fact::Appended { ledger, entry, payload } => {
                self.history(*ledger).appended.insert(*entry, payload.clone());
            }
            Fact::Confirmed { ledger, entry, .. } => {
                self.history(*ledger).confirmed = Some(*entry);
            }
            Fact::SyncFailed { bookie } => {
                self.sync_failed.insert(*bookie);
            }
            Fact::Started { .. }
            | Fact::ScrubFound { .. }
            | Fact::OpenRefused { .. }
            | Fact::DeleteAsked { .. }
            | Fact::Read { .. }
            | Fact::ReadMissing { .. } => {}
        }
    }

    fn note_answer(&mut self, by: Incarnation, request: &Request, reply: &Reply) {
        match (request, reply) {
            (Request::Create { ledger, .. }, Reply::Done) => {
                self.history(*ledger).created.insert(by);
            }
            (Request::Add { ledger, entry, .. }, Reply::Done)
            | (Request::Read { ledger, entry, .. }, Reply::Entry { .. }) => {
                self.history(*ledger).copies.entry(*entry).or_default().insert(by);
            }
            _ => {}
        }
    }

    fn history(&mut self, ledger: LedgerId) -> &mut LedgerHistory {
        self.ledgers.entry(ledger).or_default()
    }
}
