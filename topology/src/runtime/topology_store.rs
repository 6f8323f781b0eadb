//! The one topology record in metadata, and the ledgers it lists.
//!
//! Every change compares the revision it knows and carries process and operation number. A ledger is
//! listed before it is created, and dropped from the list before it is deleted.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use egret_log::client::{AppendError, LedgerWriter, Ledgers};
use egret_log::ledger::{CloseAt, LedgerKind};
use egret_log::metadata::{Compare, MetaStore, Op, TxnOutcome};
use egret_schemas::{EntryId, LedgerId};
use egret_state::commit::{ChangeError, CommitRecord, TopologyRecord, term_of};

use crate::task::OpenStateLedger;
use crate::{Error, Result};

/// The metadata key of a topology.
pub(crate) fn key(topology: &str) -> String {
    format!("/topology/{topology}")
}

/// The record as this process last wrote it.
pub(crate) struct TopologyStore {
    name: String,
    meta: Arc<dyn MetaStore>,
    ledgers: Ledgers,
    held: Mutex<(TopologyRecord, u64)>,
}

impl TopologyStore {
    pub(crate) fn new(
        name: &str,
        ledgers: &Ledgers,
        record: TopologyRecord,
        revision: u64,
    ) -> TopologyStore {
        TopologyStore {
            name: name.to_owned(),
            meta: Arc::clone(ledgers.metadata()),
            ledgers: ledgers.clone(),
            held: Mutex::new((record, revision)),
        }
    }

    fn change(
        &self,
        next: impl FnOnce(&TopologyRecord) -> Result<TopologyRecord, ChangeError>,
    ) -> Result<()> {
        let mut held = self.held.lock().expect("no panic while held");
        let proposal = next(&held.0).map_err(|why| Error::Superseded(Box::new(why)))?;
        let compare = Compare::Revision(key(&self.name), held.1);
        let put = Op::Put(key(&self.name), proposal.encode());
        match self.meta.txn(&[compare], &[put])? {
            TxnOutcome::Committed { revision } => {
                *held = (proposal, revision);
                Ok(())
            }
            TxnOutcome::Conflict => Err(Error::TakenOver { topology: self.name.clone() }),
        }
    }

    /// Lists and creates a ledger.
    pub(crate) fn add_ledger(&self, commit: bool) -> Result<LedgerWriter> {
        let ledger = self.ledgers.reserve()?;
        self.change(|held| match commit {
            true => held.list(held.claimant.next(), Some(ledger), []),
            false => held.list(held.claimant.next(), None, [ledger]),
        })?;
        self.create_listed(ledger)
    }

    /// Creates a ledger that is listed already.
    pub(crate) fn create_listed(&self, ledger: LedgerId) -> Result<LedgerWriter> {
        let generation = self.held.lock().expect("no panic while held").0.generation;
        Ok(self.ledgers.create(ledger, LedgerKind::Plain, term_of(generation))?)
    }

    /// Drops ledgers from the list, none of them needed by `kept`, then deletes them.
    pub(crate) fn drop_ledgers(
        &self,
        ledgers: &BTreeSet<LedgerId>,
        kept: &[&CommitRecord],
    ) -> Result<()> {
        if ledgers.is_empty() {
            return Ok(());
        }
        let floor = kept.iter().map(|record| record.last).min();
        self.change(|held| {
            let raised = match floor {
                Some(floor) if floor > held.floor => {
                    held.raise_floor(held.claimant.next(), floor)?
                }
                _ => held.clone(),
            };
            raised.drop_ledgers(raised.claimant.next(), ledgers, kept.iter().copied())
        })?;
        let generation = self.held.lock().expect("no panic while held").0.generation;
        for ledger in ledgers {
            // One term up: the writer that is shut out may be of this very generation.
            let term = term_of(generation).next();
            self.ledgers.recover(*ledger, term, CloseAt::End)?;
            self.ledgers.delete(*ledger)?;
        }
        Ok(())
    }
}

impl OpenStateLedger for TopologyStore {
    fn open(&self) -> Result<LedgerWriter, String> {
        self.add_ledger(false).map_err(|error| crate::task::chain(&error))
    }
}

/// Appends and waits: for the first record of a ledger, when nothing else goes on yet.
pub(crate) fn append_first(writer: &LedgerWriter, record: &CommitRecord) -> Result<EntryId> {
    let appended: Result<EntryId, AppendError> = writer.append_wait(Bytes::from(record.encode()));
    Ok(appended?)
}
