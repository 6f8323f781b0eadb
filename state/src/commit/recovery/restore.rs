//! Going back to a named commit: what the takeover does besides.

use std::collections::BTreeMap;

use super::{Phase, Recovery, RecoveryError, Step};
use crate::commit::named::NameError;
use crate::commit::record::CommitRecord;
use crate::commit::report::SinkPosition;
use crate::commit::topology_record::Partition;

impl Recovery {
    pub(super) fn find_named(&self, name: &str) -> Result<CommitRecord, RecoveryError> {
        let guarantee = self.wanted.guarantee;
        if !guarantee.commits() {
            return Err(RecoveryError::NothingNamed { guarantee });
        }
        let nothing = || NameError::Unknown { name: name.to_owned(), names: Vec::new() };
        let (stored, _) = self.found.as_ref().ok_or_else(|| RecoveryError::Name(nothing()))?;
        Ok(stored.named(name).map_err(RecoveryError::Name)?.record.clone())
    }

    pub(super) fn on_checked(&mut self, there: Result<(), String>) -> Result<Step, RecoveryError> {
        if self.parent.is_some() {
            return self.on_checked_parent(there);
        }
        let (name, named) = (self.wanted.restore.clone(), self.named.as_ref());
        let (name, epoch) = (name.unwrap_or_default(), named.expect("it is checked").last);
        there.map_err(|why| RecoveryError::Lost { name, epoch, why })?;
        self.reserve()
    }

    /// c is lost: output ends where readers see it end, and there is nothing else of c to keep.
    pub(super) fn find_visible(&mut self) -> Result<Step, RecoveryError> {
        self.phase = Phase::FindingVisible;
        let partitions = self.topology().partitions.keys().cloned().collect();
        Ok(Step::FindVisible { partitions })
    }

    pub(super) fn on_visible(
        &mut self,
        ends: &BTreeMap<Partition, Option<SinkPosition>>,
    ) -> Result<Step, RecoveryError> {
        let mut committed = CommitRecord::genesis(self.generation(), self.fingerprint());
        committed.sinks = self.named.as_ref().map(|n| n.sinks.clone()).unwrap_or_default();
        for ((stream, partition), component) in &self.topology().partitions {
            let seen = ends.get(&(stream.clone(), *partition)).copied().flatten();
            let of = committed.sinks.entry(component.clone()).or_default();
            if let Some(end) = of.get(partition).copied().max(seen) {
                of.insert(*partition, end);
            }
        }
        self.committed = Some(committed);
        self.close_state()
    }

    pub(super) fn rewind(&mut self) -> Result<Step, RecoveryError> {
        let Some(named) = self.named.clone() else { return self.restate() };
        self.phase = Phase::Rewinding;
        Ok(Step::Rewind { record: Box::new(named) })
    }

    pub(super) fn names(&self) -> Vec<String> {
        self.topology().names.commits.keys().cloned().collect()
    }
}
