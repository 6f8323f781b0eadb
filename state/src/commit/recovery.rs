//! How a new generation takes a topology over: the order of steps, and every reason to refuse.
//!
//! ```text
//! read topology record ─► compare graphs ─► reserve ledger ids ─► CLAIM generation g+1, new ledgers listed
//!   ─► raise the terms of owned partitions ─► close every older commit ledger ─► read its last record c
//!   ─► close listed state ledgers at c ─► close owned partitions at c ─► restate c in the new commit ledger
//!   ─► (first time: mark the topology begun) ─► open
//! ```
//! With a named commit to go back to, what is there of it is checked before the claim, and after the
//! partitions are closed at c its sources are told; then it is restated instead of c, with c's ends of
//! output. Where c cannot be read, the ends are those that readers see.
//!
//! With another topology's named commit to fork, that one's record is read where there is none of this one, and the
//! claim is one transaction with the note there that the commit is kept; see [`fork`](super::fork).
//!
//! What always holds:
//! * nothing is written before the claim, and the claim is refused before it is proposed when the
//!   graph, the key groups or the guarantee differ;
//! * c is read only after every commit ledger that could grow is closed, so no zombie can add one;
//! * a topology that ever began and has no commit record is damaged; it is never started empty, and goes
//!   back to a named commit only when that was asked for by its name;
//! * a save whose reply was lost is settled by reading back who wrote it, never by assuming;
//! * each attempt is a new generation: a crash at any step is followed by the same steps again, with
//!   the same c.

use std::collections::{BTreeMap, BTreeSet};

use egret_schemas::{EntryId, Generation, LedgerId, Term};

use super::fork::Origin;
use super::guarantee::Guarantee;
use super::record::CommitRecord;
use super::report::SinkPosition;
use super::topology_record::{Claimant, Graph, Partition, TopologyRecord};
use crate::mutants::{self, Mutant};

mod error;
mod fork;
mod restore;

pub use error::RecoveryError;

/// What the process that takes over wants to run.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Wanted {
    /// This process, and the operation before its first here.
    pub claimant: Claimant,
    /// The graph.
    pub graph: Graph,
    /// What the topology promises.
    pub guarantee: Guarantee,
    /// The number of key groups.
    pub key_groups: u32,
    /// How many state ledgers the tasks will begin with.
    pub state_ledgers: u32,
    /// The partitions of transactional output, each with the sink component that writes it.
    pub partitions: BTreeMap<Partition, String>,
    /// The named commit to go back to, instead of going on from the last one.
    pub restore: Option<String>,
    /// What the topology is to be forked from where there is none yet, and its own name.
    pub fork: Option<(Origin, String)>,
}

/// Where a state ledger of an older generation ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StateEnd {
    /// Exactly at the last entry c names; a missing entry below is damage. One that was closed beyond
    /// it already stays: c is a named commit that was gone back to, and reads no further than it says.
    At(Option<EntryId>),
    /// c does not need the ledger and the commit to go back to does, up to this entry: as `Unneeded`,
    /// and ending before it is damage.
    Beyond(Option<EntryId>),
    /// c does not need the ledger: shut its writer out and close it wherever it ends.
    Unneeded,
}

/// What is to be done, one step at a time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Read the topology record; answered by [`Fact::Topology`].
    ReadTopology,
    /// See whether everything a named commit needs is there, before anything is written; answered by
    /// [`Fact::Checked`].
    CheckNamed {
        /// The commit.
        record: Box<CommitRecord>,
        /// Another topology, if it is one's of that.
        of: Option<String>,
    },
    /// Read the record of the topology to fork; answered by [`Fact::Parent`].
    ReadParent {
        /// Its name.
        topology: String,
    },
    /// Allot this many ledger ids; answered by [`Fact::Reserved`].
    Reserve {
        /// How many.
        ledgers: u32,
    },
    /// Write the topology record if its revision is still this one (`None`: if there is none);
    /// answered by [`Fact::Saved`], [`Fact::SaveConflict`] or [`Fact::SaveUnknown`].
    Save {
        /// The new value.
        record: Box<TopologyRecord>,
        /// The revision it replaces.
        expect: Option<u64>,
        /// The record of another topology that is written by the same transaction, its name, and the revision it
        /// replaces.
        parent: Option<Box<(String, TopologyRecord, u64)>>,
    },
    /// Raise the term of each partition; answered by [`Fact::TermsRaised`].
    RaiseTerms {
        /// The partitions.
        partitions: Vec<Partition>,
    },
    /// Fence and close each ledger at its end, whatever that is; answered by
    /// [`Fact::CommitLedgersClosed`].
    CloseCommitLedgers {
        /// The ledgers, oldest first.
        ledgers: Vec<LedgerId>,
        /// The term to fence with.
        term: Term,
    },
    /// Read one commit record; answered by [`Fact::Record`].
    ReadRecord {
        /// The ledger.
        ledger: LedgerId,
        /// Its last entry.
        entry: EntryId,
    },
    /// Fence and close state ledgers; answered by [`Fact::StateClosed`].
    CloseState {
        /// Ledger → where it ends.
        ledgers: BTreeMap<LedgerId, StateEnd>,
        /// The term to fence with.
        term: Term,
    },
    /// Close the committed segment of each partition at c and drop later ones; answered by
    /// [`Fact::PartitionsClosed`].
    ClosePartitions {
        /// Partition → its sink component, and the end of its committed output, if it has any.
        partitions: BTreeMap<Partition, (String, Option<SinkPosition>)>,
    },
    /// c cannot be read: find how far readers see each partition; answered by [`Fact::Visible`].
    FindVisible {
        /// The partitions.
        partitions: Vec<Partition>,
    },
    /// Have the sources keep what is read again from a named commit on; answered by [`Fact::Rewound`].
    Rewind {
        /// The commit.
        record: Box<CommitRecord>,
    },
    /// Create the commit ledger and append this record as its first entry; answered by
    /// [`Fact::Restated`].
    Restate {
        /// The ledger, listed and not yet created.
        ledger: LedgerId,
        /// The term to create it with.
        term: Term,
        /// The record.
        record: Box<CommitRecord>,
    },
    /// Restore from the record, then open epochs. The last step.
    Open(Box<Opened>),
    /// Give up; the last step.
    Refuse(RecoveryError),
}

/// What a generation begins with.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Opened {
    /// The topology record as it stands.
    pub topology: TopologyRecord,
    /// Its revision.
    pub revision: u64,
    /// The generation's first record.
    pub record: CommitRecord,
    /// The commit ledger the record stands in; `None` when the guarantee needs none.
    pub commit_ledger: Option<LedgerId>,
    /// The new state ledgers, listed and not yet created.
    pub state_ledgers: Vec<LedgerId>,
    /// Listed ledgers the record does not need: delete those that no name needs either, then drop them
    /// from the topology record.
    pub retired: BTreeSet<LedgerId>,
}

/// What became of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fact {
    /// The topology record and its revision, if there is one.
    Topology(Option<(TopologyRecord, u64)>),
    /// The record of the topology to fork and its revision, if there is one.
    Parent(Option<(TopologyRecord, u64)>),
    /// Whether all that a named commit needs is there, and if not, what is not.
    Checked(Result<(), String>),
    /// Ledger ids never used before.
    Reserved(Vec<LedgerId>),
    /// The topology record was written at this revision.
    Saved {
        /// The new revision.
        revision: u64,
    },
    /// The topology record has another revision.
    SaveConflict,
    /// No reply: it may or may not have been written.
    SaveUnknown,
    /// Every partition's term is raised.
    TermsRaised,
    /// The last entry of each commit ledger.
    CommitLedgersClosed(BTreeMap<LedgerId, Option<EntryId>>),
    /// The record, or why it cannot be read.
    Record(Result<CommitRecord, String>),
    /// All state ledgers are closed.
    StateClosed,
    /// All partitions are closed.
    PartitionsClosed,
    /// The end of what readers see, by partition.
    Visible(BTreeMap<Partition, Option<SinkPosition>>),
    /// The sources keep what is read again.
    Rewound,
    /// The record is durable in the new commit ledger.
    Restated,
}

/// The term a generation fences and creates ledgers with.
pub fn term_of(generation: Generation) -> Term {
    Term(u64::from(generation.0))
}

/// Whether a stored topology is the one that is wanted: it can only be gone on with then.
///
/// # Errors
/// In what they differ.
pub fn check_like(
    stored: &TopologyRecord,
    graph: &Graph,
    key_groups: u32,
    guarantee: Guarantee,
) -> Result<(), RecoveryError> {
    if stored.graph != *graph {
        return Err(RecoveryError::Graph {
            added: graph.without(&stored.graph),
            removed: stored.graph.without(graph),
            changed: graph.changed(&stored.graph),
        });
    }
    if stored.key_groups != key_groups {
        let (stored, wanted) = (stored.key_groups, key_groups);
        return Err(RecoveryError::KeyGroups { stored, wanted });
    }
    if stored.guarantee != guarantee {
        let (stored, wanted) = (stored.guarantee, guarantee);
        return Err(RecoveryError::Guarantee { stored, wanted });
    }
    Ok(())
}

/// Plans one attempt; see the [module](self). Begin with [`Recovery::start`].
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Recovery {
    wanted: Wanted,
    phase: Phase,
    found: Option<(TopologyRecord, u64)>,
    reserved: Vec<LedgerId>,
    /// Where c was read.
    at: Option<(LedgerId, EntryId)>,
    committed: Option<CommitRecord>,
    /// The named commit that is gone back to.
    named: Option<CommitRecord>,
    /// The topology that is forked, and how often its record was read.
    parent: Option<(TopologyRecord, u64)>,
    parent_reads: u32,
    /// The commit of it that was looked at.
    named_of_parent: Option<CommitRecord>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Phase {
    Reading,
    ReadingParent,
    Checking,
    Reserving,
    Saving { proposal: Box<TopologyRecord>, expect: Option<u64>, saves: Saves, settling: bool },
    Raising,
    ClosingCommitLedgers,
    ReadingRecord,
    FindingVisible,
    ClosingState,
    ClosingPartitions,
    Rewinding,
    Restating,
    Over,
}

/// What a save is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Saves {
    Claim,
    Begin,
}

impl Recovery {
    /// A plan and its first step.
    pub fn start(wanted: Wanted) -> (Recovery, Step) {
        let recovery = Recovery {
            wanted,
            phase: Phase::Reading,
            found: None,
            reserved: Vec::new(),
            at: None,
            committed: None,
            named: None,
            parent: None,
            parent_reads: 0,
            named_of_parent: None,
        };
        (recovery, Step::ReadTopology)
    }

    /// Takes in what became of the last step and says the next.
    ///
    /// # Panics
    /// When the fact is no answer to the last step.
    pub fn step(&mut self, fact: Fact) -> Step {
        match self.on_fact(fact) {
            Ok(step) => {
                if matches!(step, Step::Open(_)) {
                    self.phase = Phase::Over;
                }
                step
            }
            Err(why) => {
                self.phase = Phase::Over;
                Step::Refuse(why)
            }
        }
    }

    fn on_fact(&mut self, fact: Fact) -> Result<Step, RecoveryError> {
        match (&self.phase, fact) {
            (Phase::Reading, Fact::Topology(found)) => self.on_found(found),
            (Phase::ReadingParent, Fact::Parent(found)) => self.on_parent(found),
            (Phase::Checking, Fact::Checked(there)) => self.on_checked(there),
            (Phase::Reserving, Fact::Reserved(ledgers)) => self.claim(ledgers),
            (Phase::Saving { saves, .. }, Fact::Saved { revision }) => {
                let saves = *saves;
                self.on_saved(revision, saves)
            }
            (Phase::Saving { saves, expect, .. }, Fact::SaveConflict)
                if mutants::on(Mutant::ConflictCountsAsSaved) =>
            {
                let (revision, saves) = (expect.unwrap_or(0) + 1, *saves);
                self.on_saved(revision, saves)
            }
            (Phase::Saving { saves, expect, .. }, Fact::SaveUnknown)
                if mutants::on(Mutant::UnheardSaveIsSaved) =>
            {
                let (revision, saves) = (expect.unwrap_or(0) + 1, *saves);
                self.on_saved(revision, saves)
            }
            (Phase::Saving { .. }, Fact::SaveConflict | Fact::SaveUnknown) => self.read_back(),
            (Phase::Saving { settling: true, .. }, Fact::Topology(read)) => self.settle(read),
            (Phase::Raising, Fact::TermsRaised) => self.close_commit_ledgers(),
            (Phase::ClosingCommitLedgers, Fact::CommitLedgersClosed(ends)) => {
                self.read_newest(&ends)
            }
            (Phase::ReadingRecord, Fact::Record(read)) => self.on_record(read),
            (Phase::FindingVisible, Fact::Visible(ends)) => self.on_visible(&ends),
            (Phase::ClosingState, Fact::StateClosed) => self.close_partitions(),
            (Phase::ClosingPartitions, Fact::PartitionsClosed) => self.rewind(),
            (Phase::Rewinding, Fact::Rewound) => self.restate(),
            (Phase::Restating, Fact::Restated) => self.on_restated(),
            (phase, fact) => panic!("{fact:?} is no answer in {phase:?}"),
        }
    }

    /// Compares what is stored with what is wanted, before anything is written.
    fn on_found(&mut self, found: Option<(TopologyRecord, u64)>) -> Result<Step, RecoveryError> {
        if found.as_ref().is_some_and(|(stored, _)| stored.deleting) {
            return Err(RecoveryError::BeingDeleted);
        }
        if let Some((origin, own)) = &self.wanted.fork {
            match &found {
                None => return self.read_parent(),
                Some((stored, _)) if stored.is_fork_of(origin) => {}
                Some(_) => {
                    let (topology, origin) = (own.clone(), origin.clone());
                    return Err(RecoveryError::NoFork { topology, origin });
                }
            }
        }
        if let Some((stored, _)) = &found {
            let Wanted { graph, guarantee, key_groups, .. } = &self.wanted;
            check_like(stored, graph, *key_groups, *guarantee)?;
        }
        self.found = found;
        match &self.wanted.restore {
            Some(name) => {
                let record = self.find_named(name)?;
                self.named = Some(record.clone());
                self.phase = Phase::Checking;
                Ok(Step::CheckNamed { record: Box::new(record), of: None })
            }
            None => self.reserve(),
        }
    }

    fn reserve(&mut self) -> Result<Step, RecoveryError> {
        if !self.wanted.guarantee.commits() {
            return self.claim(Vec::new());
        }
        self.phase = Phase::Reserving;
        Ok(Step::Reserve { ledgers: self.wanted.state_ledgers + 1 })
    }

    /// Proposes the next generation, with its ledgers listed before anything is appended to them.
    fn claim(&mut self, reserved: Vec<LedgerId>) -> Result<Step, RecoveryError> {
        let claimant = self.operation();
        let mut proposal = match (&self.found, &self.parent) {
            (Some((stored, _)), _) => stored.claim(claimant)?,
            (None, Some(parent)) => self.first_of_fork(claimant, parent)?,
            (None, None) => {
                let Wanted { guarantee, key_groups, graph, .. } = &self.wanted;
                TopologyRecord::first(claimant, *guarantee, *key_groups, graph.clone())
            }
        };
        if let Some((commit, state)) = reserved.split_first() {
            proposal.commit_ledgers.push(*commit);
            proposal.state_ledgers.extend(state);
        }
        proposal.partitions.extend(self.wanted.partitions.clone());
        proposal.begun |= mutants::on(Mutant::BegunBeforeRecord);
        self.reserved = reserved;
        let expect = self.found.as_ref().map(|(_, revision)| *revision);
        let step = self.save(proposal, expect, Saves::Claim);
        self.with_parent(step, claimant)
    }

    fn save(&mut self, proposal: TopologyRecord, expect: Option<u64>, saves: Saves) -> Step {
        let record = Box::new(proposal);
        self.phase = Phase::Saving { proposal: record.clone(), expect, saves, settling: false };
        Step::Save { record, expect, parent: None }
    }

    fn read_back(&mut self) -> Result<Step, RecoveryError> {
        if let Phase::Saving { settling, .. } = &mut self.phase {
            *settling = true;
        }
        Ok(Step::ReadTopology)
    }

    /// Decides whether a save that was not confirmed was made: ours, another's, or nobody's yet.
    fn settle(&mut self, read: Option<(TopologyRecord, u64)>) -> Result<Step, RecoveryError> {
        let Phase::Saving { proposal, expect, saves, .. } = self.phase.clone() else {
            unreachable!("only a save is settled");
        };
        match read {
            Some((record, revision)) if record.same_but_names(&proposal) => {
                self.on_saved_as(record, revision, saves)
            }
            // Only names were changed since it was read: they go into the proposal, too.
            Some((record, revision)) if self.is_found_but_names(&record) => {
                if self.wanted.restore.is_some() && Some(revision) != expect {
                    return self.on_found(Some((record, revision)));
                }
                let names = record.names.clone();
                self.found = Some((record, revision));
                let proposal = TopologyRecord { names, ..*proposal };
                Ok(self.save(proposal, Some(revision), saves))
            }
            // Unchanged: the same save again. Should the lost one still arrive, one of them
            // conflicts and is settled here.
            None if expect.is_none() && self.parent.is_some() => self.read_parent(),
            None if expect.is_none() => Ok(self.save(*proposal, expect, saves)),
            Some((record, _)) => Err(RecoveryError::TakenOver {
                generation: record.generation,
                process: record.claimant.process,
            }),
            None => Err(RecoveryError::Deleted),
        }
    }

    fn is_found_but_names(&self, record: &TopologyRecord) -> bool {
        self.found.as_ref().is_some_and(|(found, _)| record.same_but_names(found))
    }

    fn on_saved(&mut self, revision: u64, saves: Saves) -> Result<Step, RecoveryError> {
        let Phase::Saving { proposal, .. } = &self.phase else {
            unreachable!("only a save is saved");
        };
        let record = *proposal.clone();
        self.on_saved_as(record, revision, saves)
    }

    fn on_saved_as(
        &mut self,
        record: TopologyRecord,
        revision: u64,
        saves: Saves,
    ) -> Result<Step, RecoveryError> {
        self.found = Some((record, revision));
        if let Saves::Begin = saves {
            return Ok(self.open());
        }
        if !self.wanted.guarantee.commits() {
            let record = CommitRecord::genesis(self.generation(), self.fingerprint());
            self.committed = Some(record);
            return Ok(self.open());
        }
        self.phase = Phase::Raising;
        Ok(Step::RaiseTerms { partitions: self.topology().partitions.keys().cloned().collect() })
    }

    fn close_commit_ledgers(&mut self) -> Result<Step, RecoveryError> {
        let ledgers = self.older_commit_ledgers();
        if ledgers.is_empty() {
            return self.read_newest(&BTreeMap::new());
        }
        self.phase = Phase::ClosingCommitLedgers;
        Ok(Step::CloseCommitLedgers { ledgers, term: term_of(self.generation()) })
    }

    fn read_newest(
        &mut self,
        ends: &BTreeMap<LedgerId, Option<EntryId>>,
    ) -> Result<Step, RecoveryError> {
        let ledgers = self.older_commit_ledgers();
        let end = |ledger: &LedgerId| {
            let end = ends.get(ledger).expect("every commit ledger was asked for its end");
            end.map(|entry| (*ledger, entry))
        };
        let newest = match mutants::on(Mutant::OldestLedgerRead) {
            true => ledgers.iter().find_map(end),
            false => ledgers.iter().rev().find_map(end),
        };
        match newest {
            Some((ledger, entry)) => {
                self.at = Some((ledger, entry));
                self.phase = Phase::ReadingRecord;
                Ok(Step::ReadRecord { ledger, entry })
            }
            None if self.named.is_some() => self.find_visible(),
            None if self.topology().begun => {
                Err(RecoveryError::NoRecord { ledgers, names: self.names() })
            }
            None => self.close_state(),
        }
    }

    fn on_record(&mut self, read: Result<CommitRecord, String>) -> Result<Step, RecoveryError> {
        let (ledger, entry) = self.at.expect("a record was asked for");
        let record = match read {
            Ok(record) => record,
            Err(_) if self.named.is_some() => return self.find_visible(),
            Err(_) if mutants::on(Mutant::UnreadableIsEmpty) => return self.close_state(),
            Err(why) => {
                let names = self.names();
                return Err(RecoveryError::Unreadable { ledger, entry, why, names });
            }
        };
        if let Err(why) = self.check_record(&record) {
            return Err(RecoveryError::Contradiction { ledger, entry, why });
        }
        self.committed = Some(record);
        self.close_state()
    }

    fn check_record(&self, record: &CommitRecord) -> Result<(), String> {
        let topology = self.topology();
        if record.generation >= topology.generation {
            return Err(format!(
                "it is of {}, not below {}",
                record.generation, topology.generation
            ));
        }
        if record.fingerprint != self.fingerprint() {
            return Err("it was written by another graph".to_owned());
        }
        let mut needed = record.state_ledgers().into_keys();
        match needed.find(|ledger| !topology.may_read(*ledger)) {
            Some(ledger) => Err(format!("it needs {ledger}, which is not listed")),
            None => Ok(()),
        }
    }

    fn close_state(&mut self) -> Result<Step, RecoveryError> {
        let needed = self.committed.as_ref().map(CommitRecord::state_ledgers).unwrap_or_default();
        let named = self.named.as_ref().map(CommitRecord::state_ledgers).unwrap_or_default();
        let end = |ledger| match (needed.get(ledger), named.get(ledger)) {
            (Some(&last), _) => StateEnd::At(last),
            (None, Some(&last)) => StateEnd::Beyond(last),
            (None, None) => StateEnd::Unneeded,
        };
        let listed = self.topology().state_ledgers.iter();
        let old = listed.filter(|ledger| !self.reserved.contains(ledger));
        let ledgers: BTreeMap<_, _> = old.map(|ledger| (*ledger, end(ledger))).collect();
        self.phase = Phase::ClosingState;
        Ok(Step::CloseState { ledgers, term: term_of(self.generation()) })
    }

    fn close_partitions(&mut self) -> Result<Step, RecoveryError> {
        let end = |component: &String, partition: u32| -> Option<SinkPosition> {
            if mutants::on(Mutant::OutputCutAway) {
                return None;
            }
            self.committed.as_ref()?.sinks.get(component)?.get(&partition).copied()
        };
        let owned = self.topology().partitions.iter();
        let partitions = owned
            .map(|(id, component)| (id.clone(), (component.clone(), end(component, id.1))))
            .collect();
        self.phase = Phase::ClosingPartitions;
        Ok(Step::ClosePartitions { partitions })
    }

    fn restate(&mut self) -> Result<Step, RecoveryError> {
        let (generation, fingerprint) = (self.generation(), self.fingerprint());
        let record = match (&self.committed, &self.named) {
            (Some(committed), Some(named)) => {
                named.restored_after(committed, generation, fingerprint)
            }
            (Some(committed), None) => committed.restated(generation, fingerprint),
            (None, _) => self.begins_with(generation, fingerprint),
        };
        self.committed = Some(record.clone());
        let ledger = *self.reserved.first().expect("a commit ledger was reserved");
        self.phase = Phase::Restating;
        Ok(Step::Restate { ledger, term: term_of(generation), record: Box::new(record) })
    }

    fn on_restated(&mut self) -> Result<Step, RecoveryError> {
        if self.topology().begun {
            return Ok(self.open());
        }
        let claimant = self.topology().claimant.next();
        let proposal = self.topology().begin(claimant)?;
        let expect = self.found.as_ref().map(|(_, revision)| *revision);
        Ok(self.save(proposal, expect, Saves::Begin))
    }

    fn open(&mut self) -> Step {
        let (topology, revision) = self.found.clone().expect("claimed");
        let record = self.committed.clone().expect("restated");
        let needed = record.state_ledgers();
        let unneeded = |ledger: &&LedgerId| {
            !needed.contains_key(ledger) || mutants::on(Mutant::NeededIsRetired)
        };
        let state = topology.state_ledgers.iter().filter(unneeded);
        let mut retired: BTreeSet<LedgerId> = state.copied().collect();
        // The ledger c was read from stays: a second copy of c.
        let read_from = self.at.map(|(ledger, _)| ledger);
        retired.extend(self.older_commit_ledgers());
        retired.retain(|ledger| !self.reserved.contains(ledger) && Some(*ledger) != read_from);
        Step::Open(Box::new(Opened {
            topology,
            revision,
            record,
            commit_ledger: self.reserved.first().copied(),
            state_ledgers: self.reserved.iter().skip(1).copied().collect(),
            retired,
        }))
    }

    fn operation(&self) -> Claimant {
        let before = self.wanted.claimant;
        let stored = self.found.as_ref().map(|(stored, _)| stored.claimant);
        match stored.filter(|stored| stored.process == before.process) {
            Some(stored) if stored.operation > before.operation => stored.next(),
            _ => before.next(),
        }
    }

    fn topology(&self) -> &TopologyRecord {
        &self.found.as_ref().expect("found or claimed").0
    }

    fn generation(&self) -> Generation {
        self.topology().generation
    }

    fn fingerprint(&self) -> u64 {
        self.topology().graph.fingerprint()
    }

    /// Listed commit ledgers but this generation's own.
    fn older_commit_ledgers(&self) -> Vec<LedgerId> {
        let listed = self.topology().commit_ledgers.iter();
        listed.filter(|ledger| !self.reserved.contains(ledger)).copied().collect()
    }
}

#[cfg(test)]
#[path = "recovery_tests.rs"]
mod tests;
