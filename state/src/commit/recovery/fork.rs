//! Forking: what the first takeover of a topology does besides, where it begins at another one's commit.

use egret_schemas::Generation;

use super::{Phase, Recovery, RecoveryError, Step};
use crate::commit::fork::{ForkError, Origin};
use crate::commit::named::NameError;
use crate::commit::record::CommitRecord;
use crate::commit::topology_record::{Claimant, TopologyRecord};

/// How often the record of the topology that is forked is read: whoever runs it changes it now and then, never so
/// often in a row.
const PARENT_READS_MAX: u32 = 64;

impl TopologyRecord {
    pub(super) fn is_fork_of(&self, origin: &Origin) -> bool {
        self.fork.as_ref().is_some_and(|fork| fork.origin == *origin)
    }
}

impl From<ForkError> for RecoveryError {
    fn from(error: ForkError) -> RecoveryError {
        match error {
            ForkError::Name(why) => RecoveryError::Name(why),
            ForkError::Change(why) => RecoveryError::Change(why),
        }
    }
}

impl Recovery {
    fn origin(&self) -> &(Origin, String) {
        self.wanted.fork.as_ref().expect("asked only of one that is to be forked")
    }

    pub(super) fn read_parent(&mut self) -> Result<Step, RecoveryError> {
        let topology = self.origin().0.topology.clone();
        let guarantee = self.wanted.guarantee;
        if !guarantee.commits() {
            return Err(RecoveryError::NothingNamed { guarantee });
        }
        if topology == self.origin().1 {
            return Err(RecoveryError::OwnFork { topology });
        }
        self.parent_reads += 1;
        if self.parent_reads > PARENT_READS_MAX {
            return Err(RecoveryError::ParentBusy { topology });
        }
        self.phase = Phase::ReadingParent;
        Ok(Step::ReadParent { topology })
    }

    /// Compares what is forked with what is wanted, before anything is written; again where the claim found that it
    /// was changed.
    pub(super) fn on_parent(
        &mut self,
        found: Option<(TopologyRecord, u64)>,
    ) -> Result<Step, RecoveryError> {
        let (origin, _) = self.origin().clone();
        let Some((parent, revision)) = found else {
            return Err(RecoveryError::NoParent { topology: origin.topology });
        };
        let wanted = &self.wanted;
        let differs = |what: &str, theirs: String, ours: String| {
            let (origin, what) = (origin.clone(), what.to_owned());
            Err(RecoveryError::UnlikeParent { origin, what, theirs, ours })
        };
        if parent.graph != wanted.graph {
            let names = |graph: &crate::commit::Graph| format!("{:?}", graph.components.keys());
            return differs("graph", names(&parent.graph), names(&wanted.graph));
        }
        if parent.key_groups != wanted.key_groups {
            let (theirs, ours) = (parent.key_groups, wanted.key_groups);
            return differs("number of key groups", theirs.to_string(), ours.to_string());
        }
        if parent.guarantee != wanted.guarantee {
            let (theirs, ours) = (parent.guarantee, wanted.guarantee);
            return differs("guarantee", theirs.to_string(), ours.to_string());
        }
        let named = parent.named(&origin.name).map_err(RecoveryError::Name)?.record.clone();
        self.parent = Some((parent, revision));
        // A name that was taken away and given to another commit meanwhile is looked at again.
        if self.named_of_parent.replace(named.clone()).as_ref() != Some(&named) {
            self.phase = Phase::Checking;
            let (record, of) = (Box::new(named), Some(origin.topology));
            return Ok(Step::CheckNamed { record, of });
        }
        self.claim(self.reserved.clone())
    }

    pub(super) fn on_checked_parent(
        &mut self,
        there: Result<(), String>,
    ) -> Result<Step, RecoveryError> {
        let origin = self.origin().0.clone();
        there.map_err(|why| RecoveryError::LostParent { origin, why })?;
        match self.reserved.is_empty() {
            true => self.reserve(),
            false => self.claim(self.reserved.clone()),
        }
    }

    pub(super) fn first_of_fork(
        &self,
        claimant: Claimant,
        (parent, _): &(TopologyRecord, u64),
    ) -> Result<TopologyRecord, RecoveryError> {
        Ok(parent.forked(claimant, self.origin().0.clone())?)
    }

    /// Has the transaction of a claim note that the commit is kept.
    pub(super) fn with_parent(
        &self,
        step: Step,
        claimant: Claimant,
    ) -> Result<Step, RecoveryError> {
        let (Step::Save { record, expect: None, .. }, Some((parent, revision))) =
            (&step, &self.parent)
        else {
            return Ok(step);
        };
        let (origin, own) = self.origin();
        // By an operation of its own, however often it is proposed.
        let attempt = claimant.operation + (u64::from(self.parent_reads) << 32);
        let by = Claimant { operation: attempt, ..claimant };
        let kept = parent.keep_for(by, &origin.name, own).map_err(RecoveryError::Name)?;
        let parent = Some(Box::new((origin.topology.clone(), kept, *revision)));
        Ok(Step::Save { record: record.clone(), expect: None, parent })
    }

    /// The first record of a topology that has none yet.
    pub(super) fn begins_with(&self, generation: Generation, fingerprint: u64) -> CommitRecord {
        let fork = self.topology().fork.as_ref();
        match fork.and_then(|fork| fork.commit.as_ref()) {
            Some(commit) if commit.generation < generation => {
                commit.forked(generation, fingerprint)
            }
            _ => CommitRecord::genesis(generation, fingerprint),
        }
    }
}

impl From<NameError> for RecoveryError {
    fn from(why: NameError) -> RecoveryError {
        RecoveryError::Name(why)
    }
}
