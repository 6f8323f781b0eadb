//! Where commit records go: one ledger after another, each beginning with a copy of the last record.
//!
//! After a record is acknowledged, ledgers that neither it nor the one before needs can be trimmed. That
//! takes several synced writes of metadata, so it is done beside, on a thread of its own: what a later commit
//! leaves meanwhile goes with the next trim.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use egret_log::client::LedgerWriter;
use egret_log::message::Wake;
use egret_log::simulation;
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
    left: Left,
    /// The trim under way.
    trim: Option<JoinHandle<crate::Result<Left>>>,
    faults: Faults,
}

/// What trims left.
#[derive(Default)]
struct Left {
    /// Ledgers that were to be deleted when a bookie was away, or that named commits need: tried again with
    /// the next ones.
    ledgers: BTreeSet<LedgerId>,
    /// Those of them that names need: tried again when names went.
    named: BTreeSet<LedgerId>,
    /// Whether the topology may still need what it was forked from.
    forked: bool,
}

/// A trim: what may go now that these commits are the last two.
struct Trim {
    store: Arc<TopologyStore>,
    kept: [CommitRecord; 2],
    unneeded: BTreeSet<LedgerId>,
    left: Left,
}

impl Trim {
    fn carry_out(self) -> crate::Result<Left> {
        let Trim { store, kept, mut unneeded, mut left } = self;
        let kept = [&kept[0], &kept[1]];
        if left.forked {
            store.come_away(&kept)?;
            left.forked = store.is_fork();
        }
        let went = !left.named.is_empty() && store.names_went(&left.named)?;
        if unneeded.is_empty() && !went {
            return Ok(left);
        }
        unneeded.append(&mut left.ledgers);
        // A commit gone back to needs ledgers again that only a name had kept.
        let needed = needed_by(kept);
        unneeded.retain(|ledger| !needed.contains(ledger));
        left.ledgers = store.trim(&unneeded, &kept)?;
        left.named = store.named(&left.ledgers);
        Ok(left)
    }
}

fn needed_by(kept: [&CommitRecord; 2]) -> BTreeSet<LedgerId> {
    kept.into_iter().flat_map(|record| record.state_ledgers().into_keys()).collect()
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
        let left = Left { forked: store.is_fork(), ..Left::default() };
        CommitLog {
            writer,
            store,
            acks: Arc::default(),
            records: 1,
            before: first.clone(),
            last: first,
            retired,
            left,
            trim: None,
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
            thread::sleep(LATE);
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

    /// Begins to delete the ledgers that neither of the last two commits needs, nor a named one, unless that is
    /// under way for earlier ones; with `all` does all of it now.
    pub(crate) fn trim(&mut self, all: bool) -> Result<(), Failure> {
        if let Some(trim) = self.trim.take_if(|trim| all || trim.is_finished()) {
            self.left = end_of(trim).map_err(|error| Failure::poisoned(&error))?;
        }
        if self.trim.is_some() {
            return Ok(());
        }
        let needed = needed_by([&self.before, &self.last]);
        let retired = std::mem::take(&mut self.retired);
        let unneeded: BTreeSet<LedgerId> = retired.difference(&needed).copied().collect();
        let left = &self.left;
        let looks = !left.named.is_empty() && self.store.is_to_look();
        if unneeded.is_empty() && !left.forked && !looks {
            return Ok(());
        }
        let trim = Trim {
            store: Arc::clone(&self.store),
            kept: [self.before.clone(), self.last.clone()],
            unneeded,
            left: std::mem::take(&mut self.left),
        };
        // A simulation has no other threads.
        if all || simulation::is_entered() {
            self.left = trim.carry_out().map_err(|error| Failure::poisoned(&error))?;
            return Ok(());
        }
        let thread = thread::Builder::new().name("egret-trim".to_owned());
        let begun = thread.spawn(move || trim.carry_out());
        self.trim = Some(begun.map_err(|why| Failure::passing(format!("a thread: {why}")))?);
        Ok(())
    }
}

fn end_of(trim: JoinHandle<crate::Result<Left>>) -> crate::Result<Left> {
    trim.join().unwrap_or_else(|_| Err(crate::Error::other("the thread that trims panicked")))
}

impl Drop for CommitLog {
    fn drop(&mut self) {
        // What it did not delete is listed, and whoever takes the topology over next finds it.
        if let Some(Err(error)) = self.trim.take().map(end_of) {
            tracing::warn!(error = chain(&error), "old ledgers are left to the next trim");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use egret_log::metadata::{Compare, Op};
    use egret_log::{Log, LogConfig};
    use egret_schemas::{EntryId, Generation};
    use egret_state::Guarantee;
    use egret_state::commit::{Claimant, Graph, TopologyRecord};

    use crate::runtime::topology_store::key;

    /// The ledger before may be deleted from then on: a topology whose process dies before its next record is there
    /// has the copy.
    #[test]
    fn a_ledger_is_listed_and_begins_with_a_copy_of_the_last_record() {
        let dir = tempfile::tempdir().unwrap();
        let log = Log::open(dir.path(), LogConfig::default()).unwrap();
        let me = Claimant { process: 7, operation: 1 };
        let record = TopologyRecord::first(me, Guarantee::EffectivelyOnce, 64, Graph::default());
        let put = Op::Put(key("t"), record.encode());
        log.metadata().txn(&[Compare::Absent(key("t"))], &[put]).unwrap();
        let saved = || {
            let held = log.metadata().get(&key("t")).unwrap().unwrap();
            (TopologyRecord::decode(&held.value).unwrap(), held.revision)
        };
        let (record, revision) = saved();
        let store = Arc::new(TopologyStore::new("t", log.ledgers(), record, revision));
        let writer = store.add_ledger(true).unwrap();
        let first = CommitRecord::genesis(Generation(1), 0);
        append_first(&writer, &first).unwrap();
        let old = writer.id();
        let faults = Faults::default();
        let mut commits = CommitLog::new(writer, store, first.clone(), BTreeSet::new(), faults);

        commits.records = RECORDS_MAX;
        let mut next = first.clone();
        next.last = egret_schemas::Epoch::first(Generation(1)).commit_end();
        commits.append(&next).unwrap();
        commits.trim(true).unwrap();
        commits.writer.drain().unwrap();

        let new = commits.writer.id();
        assert_eq!(saved().0.commit_ledgers.last(), Some(&new), "whoever takes over finds it");
        assert!(log.ledgers().describe(old).is_err(), "the one before is gone");
        let read = |entry| {
            let bytes = log.ledgers().read_unconfirmed(new, EntryId(entry)).unwrap();
            CommitRecord::decode(&bytes).unwrap()
        };
        assert_eq!([read(0), read(1)], [first, next]);
        drop(commits);
        log.close().unwrap();
    }
}
