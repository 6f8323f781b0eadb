//! What a bookie promises of one ledger, as a value: the least a shipping bookie must do, and all that
//! clients may rely on. Whatever is answered here is durable.

use std::collections::BTreeMap;

use bytes::Bytes;
use egret_log::message::{RangeEntry, Refusal, Reply, Request, entry_crc};
use egret_schemas::{EntryId, Term};

/// One ledger on one bookie.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct LedgerContract {
    /// The highest term seen.
    pub term: Term,
    /// Whether it was created here.
    pub created: bool,
    /// Whether it is gone for ever.
    pub deleted: bool,
    /// Checksums and bytes.
    pub entries: BTreeMap<EntryId, (u32, Bytes)>,
    /// What readers may see.
    pub lac: Option<EntryId>,
}

impl LedgerContract {
    /// Created by a writer of this term, and empty.
    pub fn created(term: Term) -> LedgerContract {
        LedgerContract { term, created: true, ..LedgerContract::default() }
    }

    /// Does as asked and answers.
    pub fn answer(&mut self, request: &Request) -> Reply {
        self.judge(request).unwrap_or_else(Reply::Refused)
    }

    fn judge(&mut self, request: &Request) -> Result<Reply, Refusal> {
        match request {
            Request::Create { term, .. } => {
                self.not_deleted()?;
                if self.created {
                    return Err(Refusal::Exists);
                }
                self.raise(*term)?;
                self.created = true;
                Ok(Reply::Done)
            }
            Request::Add { ledger, entry, term, lac, crc, payload, .. } => {
                if entry_crc(*ledger, *entry, payload) != *crc {
                    return Err(Refusal::BadCrc);
                }
                self.writable(*term)?;
                if self.entries.get(entry).is_some_and(|(held, _)| held != crc) {
                    return Err(Refusal::Conflict);
                }
                self.raise(*term)?;
                self.entries.entry(*entry).or_insert_with(|| (*crc, payload.clone()));
                self.lac = self.lac.max(*lac);
                Ok(Reply::Done)
            }
            Request::Read { entry, fence, .. } => {
                self.not_deleted()?;
                match fence {
                    Some(term) => self.raise(*term)?,
                    None if self.created => {}
                    None => return Err(Refusal::NoLedger),
                }
                let lac = self.lac;
                Ok(match self.entries.get(entry).cloned() {
                    None => Reply::NoEntry { lac },
                    Some((crc, payload)) => {
                        Reply::Entry { entry: *entry, term: Term(0), crc, lac, payload }
                    }
                })
            }
            Request::ReadRange { from, .. } => {
                self.existing()?;
                Ok(self.row(*from))
            }
            Request::Fence { term, .. } => {
                self.not_deleted()?;
                self.raise(*term)?;
                Ok(Reply::Fenced { lac: self.lac, last: self.last() })
            }
            Request::WriteLac { term, lac, .. } => {
                self.writable(*term)?;
                self.raise(*term)?;
                self.lac = self.lac.max(Some(*lac));
                Ok(Reply::Done)
            }
            Request::ReadLac { .. } => {
                self.existing()?;
                Ok(Reply::Lac { lac: self.lac, last: self.last() })
            }
            // What is promised here is promised by bookies that lost nothing: none is in limbo.
            Request::ClearLimbo { term, .. } => {
                self.not_deleted()?;
                self.admits(*term)?;
                Ok(Reply::Done)
            }
            Request::LimboBound { .. } => Ok(Reply::Done),
            Request::Delete { .. } => {
                *self = LedgerContract { deleted: true, ..LedgerContract::default() };
                Ok(Reply::Done)
            }
        }
    }

    /// All entries in a row from this one; a bookie may give fewer, and at least the first.
    fn row(&self, from: EntryId) -> Reply {
        let mut entries = Vec::new();
        let mut next = from;
        while let Some((crc, payload)) = self.entries.get(&next) {
            let (crc, payload) = (*crc, payload.clone());
            entries.push(RangeEntry { entry: next, term: Term(0), crc, payload });
            next = next.next();
        }
        let lac = self.lac;
        if entries.is_empty() { Reply::NoEntry { lac } } else { Reply::Entries { lac, entries } }
    }

    fn last(&self) -> Option<EntryId> {
        self.entries.last_key_value().map(|(entry, _)| *entry)
    }

    fn not_deleted(&self) -> Result<(), Refusal> {
        if self.deleted { Err(Refusal::Deleted) } else { Ok(()) }
    }

    fn existing(&self) -> Result<(), Refusal> {
        self.not_deleted()?;
        if self.created { Ok(()) } else { Err(Refusal::NoLedger) }
    }

    fn writable(&self, term: Term) -> Result<(), Refusal> {
        self.existing()?;
        self.admits(term)
    }

    fn admits(&self, term: Term) -> Result<(), Refusal> {
        if term < self.term {
            return Err(Refusal::StaleTerm { held: self.term });
        }
        Ok(())
    }

    fn raise(&mut self, term: Term) -> Result<(), Refusal> {
        self.admits(term)?;
        self.term = term;
        Ok(())
    }
}
