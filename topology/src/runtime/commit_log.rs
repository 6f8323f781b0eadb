//! Where commit records go: one ledger after another, each beginning with a copy of the last record.
//!
//! After a record is acknowledged, ledgers that neither it nor the one before needs can be trimmed. That
//! takes two synced writes of metadata and more, so it is no part of a commit's latency.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use egret_log::client::LedgerWriter;
use egret_log::message::Wake;
use egret_schemas::LedgerId;
use egret_state::commit::{CommitRecord, Outcome};

use super::Faults;
use super::topology_store::{TopologyStore, append_first};
use crate::dataflow::Failure;
use crate::task::chain;

/// Records in a commit ledger before the next one begins: the old one can then be deleted, and a
/// recovery finds the end of a short ledger.
const RECORDS_MAX: u32 = 20_000;

/// How late a commit is that [`Faults::commits_late`] delays.
const LATE: Duration = Duration::from_millis(50);

/// The commit whose record was acknowledged, or why it was not.
pub(crate) type CommitAck = Result<u32, (String, Outcome)>;

#[derive(Default)]
struct Acks {
    queue: Mutex<VecDeque<CommitAck>>,
    wake: Mutex<Option<Wake>>,
}

impl Acks {
    fn push(&self, ack: CommitAck) {
        self.queue.lock().expect("no panic while held").push_back(ack);
        let wake = self.wake.lock().expect("no panic while held").clone();
        if let Some(wake) = wake {
            wake();
        }
    }
}

/// The commit ledger of one generation.
pub(crate) struct CommitLog {
    writer: LedgerWriter,
    store: Arc<TopologyStore>,
    acks: Arc<Acks>,
    records: u32,
    /// The last record acknowledged, and the state ledgers of the one before.
    last: CommitRecord,
    before: CommitRecord,
    /// Ledgers to drop once a new record stands.
    retired: BTreeSet<LedgerId>,
    /// Ledgers that were to be deleted when a bookie was away, or that named commits need: tried again with
    /// the next ones.
    left: BTreeSet<LedgerId>,
    /// Those of them that names need: tried again when names went.
    named: BTreeSet<LedgerId>,
    faults: Faults,
}

impl CommitLog {
    /// `first` stands at the head of `writer`'s ledger.
    pub(crate) fn new(
        writer: LedgerWriter,
        store: Arc<TopologyStore>,
        first: CommitRecord,
        retired: BTreeSet<LedgerId>,
        faults: Faults,
    ) -> CommitLog {
        CommitLog {
            writer,
            store,
            acks: Arc::default(),
            records: 1,
            before: first.clone(),
            last: first,
            retired,
            left: BTreeSet::new(),
            named: BTreeSet::new(),
            faults,
        }
    }

    /// Calls `wake` at every acknowledgement from now on.
    pub(crate) fn wake_with(&mut self, wake: Wake) {
        *self.acks.wake.lock().expect("no panic while held") = Some(wake);
    }

    /// Appends a record; its acknowledgement comes with [`acks`](CommitLog::acks).
    pub(crate) fn append(&mut self, record: &CommitRecord) -> Result<(), Failure> {
        if self.records >= RECORDS_MAX {
            self.roll()?;
        }
        if self.faults.commits_late {
            std::thread::sleep(LATE);
        }
        self.records += 1;
        let acks = Arc::clone(&self.acks);
        let commit = record.last.commit();
        let done = move |result: Result<_, egret_log::client::AppendError>| {
            acks.push(result.map(|_| commit).map_err(|error| {
                let outcome = match error.outcome() {
                    egret_log::Outcome::Definite => Outcome::Definite,
                    egret_log::Outcome::Unknown => Outcome::Unknown,
                };
                (chain(&error), outcome)
            }));
        };
        self.writer.append(Bytes::from(record.encode()), Box::new(done));
        Ok(())
    }

    /// Begins the next ledger with a copy of the last record; only then may the old one go. One record
    /// is in flight at a time, so nothing is under way in the old ledger.
    fn roll(&mut self) -> Result<(), Failure> {
        let poisoned = |error: crate::Error| Failure::poisoned(&error);
        let writer = self.store.add_ledger(true).map_err(poisoned)?;
        append_first(&writer, &self.last).map_err(poisoned)?;
        let old = std::mem::replace(&mut self.writer, writer);
        self.records = 1;
        self.retired.insert(old.id());
        Ok(())
    }

    /// Acknowledgements since the last call.
    pub(crate) fn acks(&mut self) -> VecDeque<CommitAck> {
        std::mem::take(&mut *self.acks.queue.lock().expect("no panic while held"))
    }

    /// `record` is acknowledged. What it and the record before it do not need can be
    /// [trimmed](CommitLog::trim).
    pub(crate) fn committed(&mut self, record: &CommitRecord) {
        let before = std::mem::replace(&mut self.last, record.clone());
        let oldest = std::mem::replace(&mut self.before, before);
        self.retired.extend(oldest.state_ledgers().into_keys());
    }

    /// Deletes the ledgers that neither of the last two commits needs, nor a named one.
    pub(crate) fn trim(&mut self) -> Result<(), Failure> {
        let kept = [&self.before, &self.last];
        self.store.come_away(&kept).map_err(|error| Failure::poisoned(&error))?;
        let needed: BTreeSet<LedgerId> =
            kept.iter().flat_map(|r| r.state_ledgers().into_keys()).collect();
        let mut unneeded: BTreeSet<LedgerId> = self.retired.difference(&needed).copied().collect();
        self.retired.clear();
        let poisoned = |error: crate::Error| Failure::poisoned(&error);
        let due = !unneeded.is_empty()
            || (!self.named.is_empty() && self.store.names_went(&self.named).map_err(poisoned)?);
        if due {
            unneeded.append(&mut self.left);
            // A commit gone back to needs ledgers again that only a name had kept.
            unneeded.retain(|ledger| !needed.contains(ledger));
            self.left = self.store.trim(&unneeded, &kept).map_err(poisoned)?;
            self.named = self.store.named(&self.left);
        }
        Ok(())
    }
}
