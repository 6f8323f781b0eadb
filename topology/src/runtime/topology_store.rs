//! The one topology record in metadata, and the ledgers it lists.
//!
//! Every change compares the revision it knows and carries process and operation number. A ledger is
//! listed before it is created, and dropped from the list after it is deleted: what a crash leaves half
//! done stands in the list, and the next takeover finishes it. Commits are named by other processes, which
//! change nothing but the names: that is no takeover.

use std::collections::BTreeSet;
use std::slice;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bytes::Bytes;
use egret_log::client::{AppendError, DeleteError, LedgerWriter, Ledgers};
use egret_log::ledger::{CloseAt, LedgerKind};
use egret_log::metadata::{Compare, MetaStore, Op, TxnOutcome};
use egret_log::{Outcome, clock};
use egret_schemas::{EntryId, LedgerId};
use egret_state::commit::{ChangeError, Claimant, CommitRecord, TopologyRecord, term_of};

use crate::task::OpenStateLedger;
use crate::{Error, Result};

/// The metadata key of a topology.
pub(crate) fn key(topology: &str) -> String {
    format!("/topology/{topology}")
}

/// Tries of one change whose answers get lost, or that names are changed under; each waited as long as the
/// store waits.
const TRIES: usize = 16;

/// How often to look whether names went that ledgers are left for: it costs one read of the metadata.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The record as this process last wrote it.
pub(crate) struct TopologyStore {
    name: String,
    meta: Arc<dyn MetaStore>,
    ledgers: Ledgers,
    held: Mutex<(TopologyRecord, u64)>,
    /// Deleted, and listed still.
    deleted: Mutex<BTreeSet<LedgerId>>,
    /// When it was last looked at for names that went.
    looked: Mutex<Instant>,
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
            deleted: Mutex::default(),
            looked: Mutex::new(clock::now()),
        }
    }

    /// Changes the record; how it is then. Names that others gave or took away meanwhile stay so: such a
    /// change touches nothing of this process, and the change is made again on top of it.
    fn change(
        &self,
        next: impl Fn(&TopologyRecord) -> Result<TopologyRecord, ChangeError>,
    ) -> Result<TopologyRecord> {
        let mut held = self.held.lock().expect("no panic while held");
        let taken_over = || Error::TakenOver { topology: self.name.clone() };
        let mut lost = None;
        for _ in 0..TRIES {
            let proposal = next(&held.0).map_err(|why| Error::Superseded(Box::new(why)))?;
            let compare = Compare::Revision(key(&self.name), held.1);
            let put = Op::Put(key(&self.name), proposal.encode());
            match self.meta.txn(slice::from_ref(&compare), slice::from_ref(&put)) {
                Ok(TxnOutcome::Committed { revision }) => {
                    *held = (proposal.clone(), revision);
                    return Ok(proposal);
                }
                Ok(TxnOutcome::Conflict) => {}
                Err(error) if error.outcome() == Outcome::Unknown => lost = Some(error),
                Err(error) => return Err(error.into()),
            }
            // What is found says whether it was carried out, for no two proposals are alike.
            let (now, revision) = self.read()?.ok_or_else(taken_over)?;
            if now.same_but_names(&proposal) {
                *held = (now.clone(), revision);
                return Ok(now);
            }
            if !now.same_but_names(&held.0) {
                return Err(taken_over());
            }
            *held = (now, revision);
        }
        Err(lost.map_or_else(taken_over, Error::from))
    }

    fn read(&self) -> Result<Option<(TopologyRecord, u64)>> {
        self.read_of(&self.name)
    }

    fn read_of(&self, topology: &str) -> Result<Option<(TopologyRecord, u64)>> {
        let Some(held) = self.meta.get(&key(topology))? else { return Ok(None) };
        let record = TopologyRecord::decode(&held.value).map_err(|why| Error::TopologyRecord {
            topology: topology.to_owned(),
            why: Box::new(why),
        })?;
        Ok(Some((record, held.revision)))
    }

    /// Those of these ledgers that names need, as far as is known.
    pub(crate) fn named(&self, ledgers: &BTreeSet<LedgerId>) -> BTreeSet<LedgerId> {
        let held = self.held.lock().expect("no panic while held");
        ledgers.intersection(&held.0.names.ledgers()).copied().collect()
    }

    /// Whether it has not been looked for long whether names went.
    pub(crate) fn is_to_look(&self) -> bool {
        let looked = *self.looked.lock().expect("no panic while held");
        clock::now().duration_since(looked) >= LOOK_EVERY
    }

    /// Whether what it was forked from is kept for it still.
    pub(crate) fn is_fork(&self) -> bool {
        self.held.lock().expect("no panic while held").0.fork.is_some()
    }

    /// Looks, now and then, whether no name needs some of these ledgers any more.
    pub(crate) fn names_went(&self, named: &BTreeSet<LedgerId>) -> Result<bool> {
        let mut looked = self.looked.lock().expect("no panic while held");
        if clock::now().duration_since(*looked) < LOOK_EVERY {
            return Ok(false);
        }
        *looked = clock::now();
        let found = self.read()?;
        let names = found.map(|(now, _)| now.names.ledgers()).unwrap_or_default();
        Ok(!named.is_subset(&names))
    }

    /// Lists and creates a ledger.
    pub(crate) fn add_ledger(&self, commit: bool) -> Result<LedgerWriter> {
        let ledger = self.list_ledger(commit)?;
        self.create_listed(ledger)
    }

    /// Lists a ledger, for whoever creates it.
    pub(crate) fn list_ledger(&self, commit: bool) -> Result<LedgerId> {
        let ledger = self.ledgers.reserve()?;
        self.change(|held| match commit {
            true => held.list(held.claimant.next(), Some(ledger), []),
            false => held.list(held.claimant.next(), None, [ledger]),
        })?;
        Ok(ledger)
    }

    /// Creates a ledger that is listed already.
    pub(crate) fn create_listed(&self, ledger: LedgerId) -> Result<LedgerWriter> {
        let generation = self.held.lock().expect("no panic while held").0.generation;
        Ok(self.ledgers.create(ledger, LedgerKind::Plain, term_of(generation))?)
    }

    /// Deletes listed ledgers, none of them needed by `kept`. First the floor is raised, so that a
    /// process that was superseded deletes nothing. They leave the list with the next change of it:
    /// until then a takeover finds them there and deletes them, whatever a crash left of them. Those that a
    /// named commit needs, or a bookie did not confirm, are returned: they stay listed, for another trim.
    pub(crate) fn trim(
        &self,
        ledgers: &BTreeSet<LedgerId>,
        kept: &[&CommitRecord],
    ) -> Result<BTreeSet<LedgerId>> {
        if ledgers.is_empty() {
            return Ok(BTreeSet::new());
        }
        let doomed = self.begin_trim(ledgers, kept)?;
        let mut left = self.delete(&doomed)?;
        left.extend(ledgers.difference(&doomed));
        // A fork's commits name ledgers of others as well, who keep them or delete them as they like.
        left.retain(|ledger| self.is_listed(*ledger));
        Ok(left)
    }

    /// The last moment at which everything is there still; what is to go of these ledgers. A name given
    /// after it needs none of them: it is of a commit at the floor or above.
    fn begin_trim(
        &self,
        ledgers: &BTreeSet<LedgerId>,
        kept: &[&CommitRecord],
    ) -> Result<BTreeSet<LedgerId>> {
        let deleted = std::mem::take(&mut *self.deleted.lock().expect("no panic while held"));
        let floor = kept.iter().map(|record| record.last).min();
        let raised = self.change(|held| {
            held.check_unneeded(&held.spared(ledgers), kept.iter().copied())?;
            let floor = held.floor_below(floor.unwrap_or(held.floor));
            let raised = held.raise_floor(held.claimant.next(), floor)?;
            raised.drop_ledgers(raised.claimant.next(), &deleted, kept.iter().copied())
        })?;
        let spared = raised.spared(ledgers).into_iter();
        Ok(spared.filter(|ledger| raised.lists(*ledger)).collect())
    }

    fn is_listed(&self, ledger: LedgerId) -> bool {
        self.held.lock().expect("no panic while held").0.lists(ledger)
    }

    /// Lets go of the commit that this topology was forked from, once neither the `kept` commits nor named ones
    /// need a ledger of it: both records say so by one transaction. When others change them all the time, the
    /// next trim does it.
    pub(crate) fn come_away(&self, kept: &[&CommitRecord]) -> Result<()> {
        let mut held = self.held.lock().expect("no panic while held");
        if !held.0.outgrew_origin(kept.iter().copied()) {
            return Ok(());
        }
        let taken_over = || Error::TakenOver { topology: self.name.clone() };
        let next = held.0.on_its_own(held.0.claimant.next());
        let next = next.map_err(|why| Error::Superseded(Box::new(why)))?;
        for _ in 0..TRIES {
            let (now, revision) = self.read()?.ok_or_else(taken_over)?;
            // An answer was lost.
            if now.same_but_names(&next) {
                *held = (now, revision);
                return Ok(());
            }
            if !now.same_but_names(&held.0) {
                return Err(taken_over());
            }
            *held = (now, revision);
            // A name that was given meanwhile may need it.
            let outgrew = held.0.outgrew_origin(kept.iter().copied());
            let Some(fork) = held.0.fork.as_ref().filter(|_| outgrew) else { return Ok(()) };
            let next = TopologyRecord { names: held.0.names.clone(), ..next.clone() };
            let mut compare = vec![Compare::Revision(key(&self.name), revision)];
            let mut puts = vec![Op::Put(key(&self.name), next.encode())];
            let parent = self.read_of(&fork.origin.topology)?;
            let sign = self.ledgers.proposal();
            let by = Claimant { process: sign.process, operation: sign.operation };
            if let Some((parent, revision)) = parent
                && let Some(let_go) = parent.let_go_for(by, &fork.origin.name, &self.name)
            {
                compare.push(Compare::Revision(key(&fork.origin.topology), revision));
                puts.push(Op::Put(key(&fork.origin.topology), let_go.encode()));
            }
            match self.meta.txn(&compare, &puts) {
                Ok(TxnOutcome::Committed { revision }) => {
                    *held = (next, revision);
                    return Ok(());
                }
                Ok(TxnOutcome::Conflict) => {}
                Err(error) if error.outcome() == Outcome::Unknown => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn delete(&self, ledgers: &BTreeSet<LedgerId>) -> Result<BTreeSet<LedgerId>> {
        let generation = self.held.lock().expect("no panic while held").0.generation;
        let mut left = BTreeSet::new();
        for &ledger in ledgers {
            // One term up: the writer that is shut out may be of this very generation.
            let term = term_of(generation).next();
            let gone = match self.ledgers.recover(ledger, term, CloseAt::End) {
                Ok(_) => self.ledgers.delete(ledger),
                // A deletion that was interrupted is gone on with. Or it was deleted to the end, and then
                // created by whoever listed it and was taken over meanwhile: its record is back, and no
                // bookie takes the ledger.
                Err(error) if error.is_deleted() => self.ledgers.abandon(ledger, term),
                Err(error) => return Err(error.into()),
            };
            match gone {
                Ok(()) => {
                    self.deleted.lock().expect("no panic while held").insert(ledger);
                }
                // It keeps space until that bookie is back; the topology goes on.
                Err(DeleteError::Bookie { why, .. }) => {
                    tracing::warn!(topology = self.name, %ledger, %why, "not deleted everywhere yet");
                    left.insert(ledger);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(left)
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

#[cfg(test)]
mod tests {
    use super::*;
    use egret_log::client::{Copies, OneBookie};
    use egret_log::message::{Reply, ReplyTo, Request, Transport, Unknown, Wake};
    use egret_log::metadata::conformance::lossy::Lossy;
    use egret_log::{Log, LogConfig};
    use egret_schemas::{Generation, Incarnation};
    use egret_state::Guarantee;
    use egret_state::commit::{Claimant, Graph, LedgerRange, RestoreSet, Slice};
    use std::path::Path;

    fn store(log: &Log, record: TopologyRecord, revision: u64) -> TopologyStore {
        TopologyStore::new("t", log.ledgers(), record, revision)
    }

    /// A log on which the topology `t` has begun.
    fn begun(dir: &Path) -> Log {
        let log = Log::open(dir, LogConfig::default()).unwrap();
        let me = Claimant { process: 7, operation: 1 };
        let first = TopologyRecord::first(me, Guarantee::EffectivelyOnce, 64, Graph::default());
        let put = Op::Put(key("t"), first.encode());
        log.metadata().txn(&[Compare::Absent(key("t"))], &[put]).unwrap();
        log
    }

    fn saved(log: &Log) -> (TopologyRecord, u64) {
        let held = log.metadata().get(&key("t")).unwrap().unwrap();
        (TopologyRecord::decode(&held.value).unwrap(), held.revision)
    }

    /// A third of all transactions get no answer, and half of those were carried out.
    #[test]
    fn a_lost_answer_of_the_metadata_store_ends_no_topology() {
        let dir = tempfile::tempdir().unwrap();
        let log = begun(dir.path());
        for seed in 0..10 {
            let (record, revision) = saved(&log);
            let listed = record.state_ledgers.len();
            let lossy = Arc::new(Lossy::new(Arc::clone(log.metadata()), seed));
            let bookies = Arc::clone(log.ledgers().bookies());
            let ledgers = Ledgers::new(bookies, Copies::ONE, lossy);
            let store = TopologyStore::new("t", &ledgers, record, revision);
            for n in 0..5 {
                store.add_ledger(false).unwrap_or_else(|e| panic!("seed {seed}, {n}: {e}"));
            }
            assert_eq!(saved(&log).0.state_ledgers.len(), listed + 5, "seed {seed}");
        }
    }

    fn commit(record: &TopologyRecord, ledgers: &[LedgerId]) -> CommitRecord {
        let mut commit = CommitRecord::genesis(Generation(1), record.graph.fingerprint());
        commit.last = egret_schemas::Epoch::first(Generation(1)).commit_end();
        let range = |&ledger| LedgerRange { ledger, last: None };
        let ledgers = ledgers.iter().map(range).collect();
        let slices = vec![Slice { first_group: 0, end_group: 64, ledgers }];
        commit.state.insert("count".into(), RestoreSet { tasks: 1, slices });
        commit
    }

    fn change_record(log: &Log, change: impl FnOnce(&TopologyRecord) -> TopologyRecord) {
        let (record, revision) = saved(log);
        let put = Op::Put(key("t"), change(&record).encode());
        let done = log.metadata().txn(&[Compare::Revision(key("t"), revision)], &[put]).unwrap();
        assert!(matches!(done, TxnOutcome::Committed { .. }));
    }

    /// Whoever named a commit took the topology over, as the process that ran it saw it.
    #[test]
    fn names_that_others_change_are_no_takeover_and_what_they_need_is_not_trimmed() {
        let dir = tempfile::tempdir().unwrap();
        let log = begun(dir.path());
        change_record(&log, |record| record.begin(record.claimant.next()).unwrap());
        let (record, revision) = saved(&log);
        let running = store(&log, record, revision);
        let old: BTreeSet<_> = (0..2).map(|_| running.add_ledger(false).unwrap().id()).collect();
        let all: Vec<_> = old.iter().copied().collect();
        let (named, other) = (all[0], all[1]);
        let by = |operation| Claimant { process: 9, operation };
        change_record(&log, |record| {
            record.name_commit(by(1), "n", 5, commit(record, &[named])).unwrap()
        });
        let newest = running.add_ledger(false).unwrap().id();
        let (record, _) = saved(&log);
        assert!(record.state_ledgers.contains(&newest) && record.names.commits.contains_key("n"));

        let mut kept = commit(&record, &[newest]);
        kept.last = kept.last.next_commit().unwrap().commit_end();
        assert_eq!(running.trim(&old, &[&kept]).unwrap(), [named].into(), "left for the name");
        assert!(log.ledgers().describe(named).is_ok() && log.ledgers().describe(other).is_err());
        assert_eq!(saved(&log).0.floor, commit(&record, &[]).last, "the floor stays below it");
        assert_eq!(running.named(&old), [named].into());

        change_record(&log, |record| record.forget_name(by(2), "n").unwrap());
        assert!(running.trim(&[named].into(), &[&kept]).unwrap().is_empty());
        assert!(log.ledgers().describe(named).is_err());
        // Another process that really takes it over ends this one.
        change_record(&log, |record| record.claim(by(3)).unwrap());
        let error = running.add_ledger(false).map(|_| ()).unwrap_err();
        assert!(matches!(error, Error::TakenOver { .. }), "{error}");
        log.close().unwrap();
    }

    /// Found by the simulation of topologies: whoever was taken over between listing a ledger and creating
    /// it brought back the record of one that was deleted meanwhile, and every later trim failed.
    #[test]
    fn a_ledger_that_is_created_after_it_was_deleted_is_deleted_again() {
        let dir = tempfile::tempdir().unwrap();
        let log = begun(dir.path());
        let (record, revision) = saved(&log);
        let running = store(&log, record, revision);
        let kept = running.add_ledger(false).unwrap().id();
        let listed = running.list_ledger(false).unwrap();
        let (record, _) = saved(&log);
        let kept = commit(&record, &[kept]);
        assert!(running.trim(&[listed].into(), &[&kept]).unwrap().is_empty());
        let error = running.create_listed(listed).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("was deleted"), "{error}");
        assert!(log.ledgers().describe(listed).is_ok(), "its record is back");

        // It is listed still, for whoever takes the topology over next.
        let (record, revision) = saved(&log);
        let next = store(&log, record, revision);
        assert!(next.trim(&[listed].into(), &[&kept]).unwrap().is_empty());
        assert!(log.ledgers().describe(listed).is_err());
        log.close().unwrap();
    }

    /// Once, a ledger left the list before it was deleted: a crash between the two left it for ever.
    #[test]
    fn a_crash_while_ledgers_are_deleted_leaves_them_listed_until_they_are_gone() {
        let dir = tempfile::tempdir().unwrap();
        let log = begun(dir.path());
        let (record, revision) = saved(&log);
        let before = store(&log, record, revision);
        let old: BTreeSet<_> = (0..2).map(|_| before.add_ledger(false).unwrap().id()).collect();
        let kept = CommitRecord::genesis(Generation(1), 0);
        // Power goes after the change of the record; and again after one of two is deleted.
        assert_eq!(before.begin_trim(&old, &[&kept]).unwrap(), old);
        before.delete(&old.iter().copied().take(1).collect()).unwrap();
        drop(before);

        let (record, revision) = saved(&log);
        assert!(
            record.state_ledgers.is_superset(&old),
            "they are listed, so a takeover finds them"
        );
        let after = store(&log, record, revision);
        after.trim(&old, &[&kept]).unwrap();
        for ledger in &old {
            assert!(log.ledgers().describe(*ledger).is_err(), "{ledger} is there still");
        }
        // The next trim takes them off the list.
        let next = after.add_ledger(false).unwrap().id();
        after.trim(&[next].into(), &[&kept]).unwrap();
        assert!(saved(&log).0.state_ledgers.is_disjoint(&old));
        log.close().unwrap();
    }

    /// The way to a bookie that answers everything but deletions, as if it went away just then.
    #[derive(Debug)]
    struct Away(Arc<dyn Transport>);

    impl Away {
        fn refusal(request: &Request) -> Option<Reply> {
            let (to, why) = ("B1".to_owned(), "it is away".to_owned());
            let away = Reply::Unknown(Unknown::Unreachable { to, why });
            matches!(request, Request::Delete { .. }).then_some(away)
        }
    }

    impl Transport for Away {
        fn send(&self, to: Incarnation, request: Request, reply: ReplyTo) {
            match Away::refusal(&request) {
                Some(away) => reply(away),
                None => self.0.send(to, request, reply),
            }
        }

        fn call(&self, to: Incarnation, request: Request) -> Reply {
            Away::refusal(&request).unwrap_or_else(|| self.0.call(to, request))
        }

        fn incarnation(&self) -> Incarnation {
            self.0.incarnation()
        }

        fn watch_lac(&self, ledger: LedgerId, beyond: Option<EntryId>, wake: Wake) {
            self.0.watch_lac(ledger, beyond, wake);
        }
    }

    /// One bookie away when old ledgers were trimmed failed the generation, and all that followed.
    #[test]
    fn a_bookie_that_is_away_keeps_no_topology_from_going_on() {
        let dir = tempfile::tempdir().unwrap();
        let log = begun(dir.path());
        let (record, revision) = saved(&log);
        let member = log.ledgers().bookies().candidates()[0].member;
        let away = Away(log.ledgers().bookies().transport(member));
        let bookies = Arc::new(OneBookie::new(Arc::new(away)));
        let ledgers = Ledgers::new(bookies, Copies::ONE, Arc::clone(log.metadata()));
        let before = TopologyStore::new("t", &ledgers, record, revision);
        let old: BTreeSet<_> = [before.add_ledger(false).unwrap().id()].into();
        let kept = CommitRecord::genesis(Generation(1), 0);
        assert_eq!(before.trim(&old, &[&kept]).unwrap(), old, "told, and no error");
        drop(before);

        // The next trim, when the bookie is back, goes on with what is marked already.
        let (record, revision) = saved(&log);
        assert!(record.state_ledgers.is_superset(&old), "it is listed still");
        let after = store(&log, record, revision);
        assert!(after.trim(&old, &[&kept]).unwrap().is_empty());
        let gone = old.iter().all(|ledger| log.ledgers().describe(*ledger).is_err());
        assert!(gone, "the ledger is there still");
        log.close().unwrap();
    }
}
