//! Taking a topology over: the driver of [`Recovery`], which decides; this does.

use std::collections::BTreeMap;

use egret_log::Log;
use egret_log::client::Ledgers;
use egret_log::ledger::{CloseAt, LedgerKind};
use egret_log::metadata::{Compare, Op, TxnOutcome};
use egret_log::stream::Owner;
use egret_schemas::{EntryId, Generation, LedgerId, Term};
use egret_state::commit::{
    Claimant, CommitRecord, Fact, Graph, Opened, Origin, Recovery, RecoveryError, SinkPosition,
    StateEnd, Step, TopologyRecord, Wanted,
};

use super::Faults;
use super::at_once::at_once;
use super::topology_store::{append_first, key};
use crate::builder::{Env, Outputs};
use crate::plan::LogicalPlan;
use crate::task::chain;
use crate::{Error, Result};

/// Partitions of output streams, with the sink component that writes each.
pub(crate) type OwnedPartitions = BTreeMap<(String, u32), String>;

/// What a takeover leaves ready: the generation and the writers it opened.
pub(crate) struct Taken {
    pub(crate) opened: Opened,
    pub(crate) commit_writer: Option<egret_log::client::LedgerWriter>,
}

/// The graph as recovery compares it: each component's line of the plan.
pub(crate) fn graph(plan: &LogicalPlan) -> Graph {
    let lines = plan.components.iter().zip(plan.graph());
    let components =
        lines.map(|(c, line)| (c.name.clone(), egret_schemas::key::hash(line.as_bytes())));
    Graph { components: components.collect() }
}

/// The generation that a topology is in, whoever runs it.
pub(crate) fn newest_generation(log: &Log, topology: &str) -> Result<Option<Generation>> {
    Ok(read_record(log, topology)?.map(|(record, _)| record.generation))
}

/// Refuses to fork what is not there, or has no commit of that name.
pub(crate) fn check_parent(log: &Log, from: &Origin) -> Result<()> {
    let refused = |why| Err(Error::Recovery(Box::new(why)));
    let Some((parent, _)) = read_record(log, &from.topology)? else {
        return refused(RecoveryError::NoParent { topology: from.topology.clone() });
    };
    let proposal = log.ledgers().proposal();
    let claimant = Claimant { process: proposal.process, operation: proposal.operation };
    match parent.forked(claimant, from.clone()) {
        Ok(_) => Ok(()),
        Err(why) => refused(why.into()),
    }
}

pub(crate) fn read_record(log: &Log, topology: &str) -> Result<Option<(TopologyRecord, u64)>> {
    let Some(held) = log.metadata().get(&key(topology))? else { return Ok(None) };
    let record = TopologyRecord::decode(&held.value).map_err(|why| Error::TopologyRecord {
        topology: topology.to_owned(),
        why: Box::new(why),
    })?;
    Ok(Some((record, held.revision)))
}

/// Who owns a partition while a generation runs.
pub(crate) fn owner(env: &Env, component: &str, partition: u32) -> Owner {
    owner_of(&env.topology, component, partition, env.generation)
}

fn owner_of(topology: &str, component: &str, task: u32, generation: Generation) -> Owner {
    let (topology, component) = (topology.to_owned(), component.to_owned());
    Owner { topology, component, task, generation }
}

/// What this process writes of the output.
#[derive(Clone, Copy)]
pub(crate) struct Here<'a> {
    /// Whether a partition is written here; others are cut at the commit, and opened by whoever writes them.
    pub(crate) writes: &'a (dyn Fn(u32) -> bool + Sync),
    /// Where writers go.
    pub(crate) outputs: &'a Outputs,
}

pub(super) struct Driver<'a> {
    pub(super) log: &'a Log,
    pub(super) ledgers: &'a Ledgers,
    pub(super) topology: &'a str,
    here: Here<'a>,
    components: &'a OwnedPartitions,
    faults: Faults,
    fingerprint: u64,
    generation: Generation,
    commit_writer: Option<egret_log::client::LedgerWriter>,
}

/// Claims the next generation and carries out the recovery; with `restore`, back to that named commit.
pub(crate) fn take_over(
    env: &Env,
    plan: &LogicalPlan,
    state_ledgers: u32,
    partitions: OwnedPartitions,
    (restore, from): (Option<String>, Option<Origin>),
    (writes, faults): (&(dyn Fn(u32) -> bool + Sync), Faults),
) -> Result<Taken> {
    let proposal = env.log.ledgers().proposal();
    let wanted = Wanted {
        claimant: Claimant { process: proposal.process, operation: proposal.operation },
        graph: graph(plan),
        guarantee: plan.guarantee,
        key_groups: plan.key_groups,
        state_ledgers,
        partitions,
        restore,
        fork: from.map(|origin| (origin, plan.name.clone())),
    };
    let here = Here { writes, outputs: &env.outputs };
    carry_through(&env.log, &plan.name, wanted, here, faults)
}

/// Carries out the recovery of a topology, step by step.
pub(super) fn carry_through(
    log: &Log,
    topology: &str,
    wanted: Wanted,
    here: Here<'_>,
    faults: Faults,
) -> Result<Taken> {
    let partitions = wanted.partitions.clone();
    let mut driver = Driver {
        log,
        ledgers: log.ledgers(),
        topology,
        here,
        components: &partitions,
        faults,
        fingerprint: wanted.graph.fingerprint(),
        generation: Generation(0),
        commit_writer: None,
    };
    let (mut recovery, mut step) = Recovery::start(wanted);
    loop {
        let fact = match step {
            Step::Open(opened) => {
                return Ok(Taken { opened: *opened, commit_writer: driver.commit_writer });
            }
            Step::Refuse(why) => return Err(Error::Recovery(Box::new(why))),
            step => driver.carry_out(step).map_err(|error| driver.judged(error))?,
        };
        step = recovery.step(fact);
    }
}

impl Driver<'_> {
    fn carry_out(&mut self, step: Step) -> Result<Fact> {
        match step {
            Step::ReadTopology => Ok(Fact::Topology(read_record(self.log, self.topology)?)),
            Step::ReadParent { topology } => Ok(Fact::Parent(read_record(self.log, &topology)?)),
            Step::CheckNamed { record, of } => {
                self.check_named(of.as_deref().unwrap_or(self.topology), &record)
            }
            Step::FindVisible { partitions } => self.find_visible(partitions),
            Step::Rewind { record } => self.rewind(&record),
            Step::Reserve { ledgers } => {
                let ids: Result<_, _> = (0..ledgers).map(|_| self.ledgers.reserve()).collect();
                Ok(Fact::Reserved(ids?))
            }
            Step::Save { record, expect, parent } => self.save(&record, expect, parent),
            Step::RaiseTerms { partitions } => {
                at_once(partitions, |id| {
                    let component = self.components.get(&id).map_or("", String::as_str);
                    let owner = self.owner(component, id.1);
                    Ok(self.log.claim_partition(&id.0, id.1, &owner)?)
                })?;
                Ok(Fact::TermsRaised)
            }
            Step::CloseCommitLedgers { ledgers, term } => {
                let ends = at_once(ledgers, |id| match self.faults.zombies_commit {
                    true => Ok((id, self.confirmed_end(id)?)),
                    false => Ok((id, self.close_unneeded(id, term)?)),
                })?;
                Ok(Fact::CommitLedgersClosed(ends.into_iter().collect()))
            }
            Step::ReadRecord { ledger, entry } => {
                let read = self.ledgers.read(ledger, entry).map_err(|error| chain(&error));
                let record =
                    read.and_then(|bytes| CommitRecord::decode(&bytes).map_err(|e| chain(&e)));
                Ok(Fact::Record(match (record, self.faults.unreadable_is_empty) {
                    (Err(_), true) => Ok(CommitRecord::genesis(Generation(1), self.fingerprint)),
                    (record, _) => record,
                }))
            }
            Step::CloseState { ledgers, term } => {
                at_once(ledgers, |(id, end)| match end {
                    StateEnd::At(_) if self.faults.state_of_zombies => {
                        self.close_unneeded(id, term).map(drop)
                    }
                    StateEnd::At(last) => self.close_at(id, term, last),
                    StateEnd::Beyond(last) => self.close_beyond(id, term, last),
                    StateEnd::Unneeded => self.close_unneeded(id, term).map(drop),
                })?;
                Ok(Fact::StateClosed)
            }
            Step::ClosePartitions { partitions } => {
                at_once(partitions, |((stream, partition), (component, end))| {
                    let owner = self.owner(&component, partition);
                    let end = match self.faults {
                        Faults { keep_uncommitted_output: true, .. } => {
                            self.durable_end(&stream, partition)?
                        }
                        Faults { cut_where_published: true, .. } => {
                            self.visible_end(&stream, partition)?.or(end)
                        }
                        _ => end,
                    };
                    if !(self.here.writes)(partition) {
                        self.log.cut_partition(&stream, partition, &owner, end)?;
                        return Ok(());
                    }
                    let writer = self.log.transactional_writer(&stream, partition, &owner, end)?;
                    self.here.outputs.put(&stream, partition, writer);
                    Ok(())
                })?;
                Ok(Fact::PartitionsClosed)
            }
            Step::Restate { ledger, term, record } => {
                let writer = self.ledgers.create(ledger, LedgerKind::Plain, term)?;
                append_first(&writer, &record)?;
                self.commit_writer = Some(writer);
                Ok(Fact::Restated)
            }
            Step::Open(_) | Step::Refuse(_) => unreachable!("the last steps are taken by the loop"),
        }
    }

    /// What another process that took the topology over meanwhile refuses is its doing.
    fn judged(&self, error: Error) -> Error {
        let newest = newest_generation(self.log, self.topology).ok().flatten();
        let taken = self.generation > Generation(0) && newest > Some(self.generation);
        if taken { Error::TakenOver { topology: self.topology.to_owned() } } else { error }
    }

    /// Closes a ledger wherever it ends. One whose deletion was interrupted counts as empty: only what no
    /// commit needs is deleted. It stays listed, and the next trim finishes the deletion.
    fn close_unneeded(&self, id: LedgerId, term: Term) -> Result<Option<EntryId>> {
        match self.ledgers.recover(id, term, CloseAt::End) {
            Ok(end) => Ok(end),
            Err(error) if error.is_deleted() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// A defect on purpose: as far as readers may see a ledger that nobody closes.
    fn confirmed_end(&self, id: LedgerId) -> Result<Option<EntryId>> {
        let there = self.ledgers.metadata().get(&format!("/ledgers/{}", id.0))?;
        if there.is_none() {
            return Ok(None);
        }
        Ok(self.ledgers.end(id).map_err(Error::other)?.readable())
    }

    /// A defect on purpose: where the durable output ends, committed or not.
    fn durable_end(&self, stream: &str, partition: u32) -> Result<Option<SinkPosition>> {
        let described = self.log.describe(stream).map_err(Error::other)?;
        let segments = described.partitions.into_iter().filter(|p| p.number == partition);
        for segment in segments.flat_map(|p| p.segments).rev() {
            let there = |entry: &u64| {
                self.ledgers.read_unconfirmed(segment.ledger, EntryId(*entry)).is_ok()
            };
            if let Some(last) = (0..).take_while(there).last() {
                return Ok(Some((segment.id, Some(EntryId(last)))));
            }
        }
        Ok(None)
    }

    fn owner(&self, component: &str, partition: u32) -> Owner {
        owner_of(self.topology, component, partition, self.generation)
    }

    fn save(
        &mut self,
        record: &TopologyRecord,
        expect: Option<u64>,
        parent: Option<Box<(String, TopologyRecord, u64)>>,
    ) -> Result<Fact> {
        let key = key(self.topology);
        let compare = match expect {
            Some(revision) => Compare::Revision(key.clone(), revision),
            None => Compare::Absent(key.clone()),
        };
        self.generation = record.generation;
        let (mut compare, mut puts) = (vec![compare], vec![Op::Put(key, record.encode())]);
        if let Some(parent) = parent {
            let (topology, record, revision) = *parent;
            compare.push(Compare::Revision(self::key(&topology), revision));
            puts.push(Op::Put(self::key(&topology), record.encode()));
        }
        match self.log.metadata().txn(&compare, &puts) {
            Ok(TxnOutcome::Committed { revision }) => Ok(Fact::Saved { revision }),
            Ok(TxnOutcome::Conflict) => Ok(Fact::SaveConflict),
            Err(error) if error.outcome() == egret_log::Outcome::Unknown => Ok(Fact::SaveUnknown),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
#[path = "takeover_tests.rs"]
mod tests;
