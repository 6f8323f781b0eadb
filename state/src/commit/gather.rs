//! Gathers the reports of commits not yet acknowledged, and makes records of them.

use std::collections::BTreeMap;

use egret_schemas::{Epoch, Generation};

use super::coordinator::Poison;
use super::plan::{CommitPlan, Role, TaskId};
use super::record::{CommitRecord, RecordKind};
use super::report::{Durable, TaskReport};
use super::restore_set::{RestoreSet, Slice, check_slices, groups_of_task};
use super::watermark::{Mark, Reached, Timed};
use crate::mutants::{self, Mutant};

type Reports = BTreeMap<TaskId, Durable>;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Gather {
    /// How many tasks the plan has.
    tasks: usize,
    /// Every commit begun and not acknowledged; only reports of the plan's tasks come in.
    pending: BTreeMap<u32, Reports>,
    /// The last record acknowledged.
    last: CommitRecord,
    /// Which task speaks for a split; fixed within a generation.
    split_owners: BTreeMap<(u32, Vec<u8>), u32>,
    /// Which task speaks for a partition; fixed within a generation.
    partition_owners: BTreeMap<(u32, u32), u32>,
}

impl Gather {
    pub(super) fn new(plan: &CommitPlan, last: CommitRecord) -> Gather {
        Gather {
            tasks: plan.tasks().count(),
            pending: BTreeMap::new(),
            last,
            split_owners: BTreeMap::new(),
            partition_owners: BTreeMap::new(),
        }
    }

    pub(super) fn last(&self) -> &CommitRecord {
        &self.last
    }

    pub(super) fn begin(&mut self, commit: u32) {
        let before = self.pending.insert(commit, Reports::new());
        assert!(before.is_none(), "commit {commit} begins once");
    }

    /// The commits begun and not acknowledged, oldest first.
    pub(super) fn pending(&self) -> impl Iterator<Item = u32> {
        self.pending.keys().copied()
    }

    /// The tasks of the plan whose report of a pending commit is missing.
    pub(super) fn missing(&self, plan: &CommitPlan, commit: u32) -> Vec<TaskId> {
        let reports = &self.pending[&commit];
        if reports.len() == self.tasks || mutants::on(Mutant::FrontierIsEnough) {
            return Vec::new();
        }
        let tasks = plan.tasks().map(|(task, _)| task);
        tasks.filter(|task| !reports.contains_key(task)).collect()
    }

    /// Takes a report of this generation.
    pub(super) fn on_report(
        &mut self,
        plan: &CommitPlan,
        report: TaskReport,
    ) -> Result<(), Poison> {
        let TaskReport { generation, task, commit, what } = report;
        assert_eq!(generation, plan.generation, "reports of other generations are ignored before");
        let Some(component) = plan.component(task) else {
            return Err(Poison::UnknownTask { task });
        };
        let name = || plan.name(task);
        let role = match &what {
            Durable::Spout { .. } => Role::Spout,
            Durable::State { .. } => Role::State,
            Durable::Sink { .. } => Role::Sink,
        };
        if role != component.role {
            return Err(Poison::WrongRole { task: name(), role });
        }
        match self.pending.get(&commit) {
            None => return Err(Poison::NotPending { task: name(), commit }),
            Some(reports) if reports.contains_key(&task) => {
                return Err(Poison::Twice { task: name(), commit });
            }
            Some(_) => {}
        }
        match &what {
            Durable::Spout { positions, .. } => {
                for split in positions.keys() {
                    let split_key = (task.component, split.clone());
                    let owner = *self.split_owners.entry(split_key).or_insert(task.task);
                    if owner != task.task {
                        let split = String::from_utf8_lossy(split).into_owned();
                        return Err(Poison::TwoOwners { task: name(), other: owner, what: split });
                    }
                }
            }
            Durable::State { slices } => {
                let own = groups_of_task(task.task, component.tasks, plan.key_groups);
                check_slices(slices, own).map_err(|why| Poison::Slices { task: name(), why })?;
            }
            Durable::Sink { partitions } => {
                for &partition in partitions.keys() {
                    let partition_key = (task.component, partition);
                    let owner = *self.partition_owners.entry(partition_key).or_insert(task.task);
                    if owner != task.task {
                        let what = format!("partition {partition}");
                        return Err(Poison::TwoOwners { task: name(), other: owner, what });
                    }
                }
            }
        }
        self.pending.get_mut(&commit).expect("looked up above").insert(task, what);
        Ok(())
    }

    /// The record that covers every pending commit up to `upto`, all of them complete.
    pub(super) fn record(&self, plan: &CommitPlan, upto: u32) -> Result<CommitRecord, Poison> {
        let mut record = CommitRecord {
            kind: RecordKind::Commit,
            generation: plan.generation,
            last: commit_end(plan.generation, upto),
            fingerprint: plan.fingerprint,
            ..self.last.clone()
        };
        if mutants::on(Mutant::NotNamedIsForgotten) {
            record.spouts.clear();
            record.sinks.clear();
        }
        assert!(record.last > self.last.last, "commits rise");
        for (&commit, reports) in self.pending.range(..=upto) {
            assert!(self.missing(plan, commit).is_empty(), "no commit without all reports");
            merge(&mut record, plan, reports)?;
        }
        Ok(record)
    }

    /// A record was acknowledged: its commits are no longer pending.
    pub(super) fn on_acked(&mut self, record: CommitRecord) {
        self.forget(record.last.commit());
        self.last = record;
    }

    /// Drops the commits up to `upto`.
    pub(super) fn forget(&mut self, upto: u32) {
        self.pending.retain(|&commit, _| commit > upto);
    }
}

/// The last epoch number of a commit.
pub(super) fn commit_end(generation: Generation, commit: u32) -> Epoch {
    Epoch::new(generation, commit, Epoch::MICRO_MAX)
}

/// Applies one commit's reports to the record of the commit before.
fn merge(record: &mut CommitRecord, plan: &CommitPlan, reports: &Reports) -> Result<(), Poison> {
    let mut marks = BTreeMap::new();
    let mut slices: BTreeMap<&str, (u32, Vec<Slice>)> = BTreeMap::new();
    for (&task, what) in reports {
        let component = plan.component(task).expect("checked when it was reported");
        let name = component.name.as_str();
        match what {
            Durable::Spout { positions, mark } => {
                marks.extend(mark.map(|mark| (task, mark)));
                let splits = entry(&mut record.spouts, name);
                for (split, at) in positions {
                    match at.is_empty() {
                        // It is read no more.
                        true => splits.remove(split),
                        false => splits.insert(split.clone(), at.clone()),
                    };
                }
            }
            Durable::State { slices: own } => {
                let (tasks, all) = slices.entry(name).or_default();
                *tasks = component.tasks;
                all.extend_from_slice(own);
            }
            Durable::Sink { partitions } => {
                let ends = entry(&mut record.sinks, name);
                for (&partition, &end) in partitions {
                    let before = ends.insert(partition, end);
                    if let Some(before) = before.filter(|before| *before > end) {
                        let task = plan.name(task);
                        return Err(Poison::OutputMovedBack { task, partition, before, end });
                    }
                }
            }
        }
    }
    for (name, (tasks, slices)) in slices {
        check_slices(&slices, 0..plan.key_groups)
            .map_err(|why| Poison::Slices { task: name.to_owned(), why })?;
        record.state.insert(name.to_owned(), RestoreSet { tasks, slices });
    }
    record.watermarks = watermarks(record, plan, &marks);
    Ok(())
}

/// Where every component stands with the marks of one commit. One that has no watermark any more keeps the
/// last it had, should it get one again.
fn watermarks(
    before: &CommitRecord,
    plan: &CommitPlan,
    marks: &BTreeMap<TaskId, Mark>,
) -> BTreeMap<String, i64> {
    let mut after = before.watermarks.clone();
    let stood = |name: &str| before.watermarks.get(name).copied();
    for Timed { name, spouts } in &plan.timed {
        let spouts = spouts.iter().map(|&spout| {
            let component = plan.components.get(spout as usize);
            (spout, component.and_then(|component| stood(&component.name)))
        });
        if let Some(ms) = Reached::new(stood(name), spouts).advance(marks) {
            after.insert(name.clone(), ms);
        }
    }
    after
}

fn entry<'a, V: Default>(map: &'a mut BTreeMap<String, V>, name: &str) -> &'a mut V {
    if !map.contains_key(name) {
        map.insert(name.to_owned(), V::default());
    }
    map.get_mut(name).expect("inserted above")
}
