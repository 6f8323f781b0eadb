//! What the tasks of a generation begin with.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use egret_log::client::LedgerWriter;
use egret_log::message::Wake;
use egret_schemas::{EntryAddress, EntryId};
use egret_state::commit::{CommitRecord, RestoreSet, Slice, groups_of_task, reading_plan};

use super::CommitLog;
use super::topology_store::TopologyStore;
use crate::builder::Env;
use crate::component::Positions;
use crate::task::{BoltTask, OpenStateLedger, StateLog, StateStart, TaskError, chain};

/// How a task came to its state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Resumed {
    /// It begins with none.
    Anew,
    /// It was kept in memory.
    Kept,
    /// It was read from its ledgers.
    Read,
}

/// The last commit, the new ledgers, and who gets what.
pub(crate) struct Restored {
    /// The generation's first record.
    pub(crate) record: CommitRecord,
    /// Component → its place in the commit plan.
    pub(crate) commit_index: Vec<Option<u32>>,
    /// Whether spouts begin at the end of their source: a restart under at-most-once.
    pub(crate) resumes_at_end: bool,
    /// Whether a generation of this run failed before.
    pub(crate) restarted: bool,
    pub(crate) key_groups: u32,
    /// Tasks per component, by name.
    pub(crate) tasks: BTreeMap<String, u32>,
    /// The new changelog of each stateful task.
    pub(crate) state: Mutex<BTreeMap<(usize, u32), LedgerWriter>>,
    pub(crate) names: Vec<String>,
    /// Where tasks get further state ledgers from.
    pub(crate) opener: Arc<dyn OpenStateLedger>,
    /// The topology's record; the first process's.
    pub(crate) store: Option<Arc<TopologyStore>>,
    pub(crate) commit_log: Mutex<Option<CommitLog>>,
    pub(crate) none: Positions,
}

impl Restored {
    /// Where a spout's splits go on.
    pub(crate) fn positions(&self, component: &str) -> &Positions {
        self.record.spouts.get(component).unwrap_or(&self.none)
    }

    /// How far event time had come for a component.
    pub(crate) fn watermark(&self, component: &str) -> Option<i64> {
        self.record.watermarks.get(component).copied()
    }

    fn slices(&self, component: &str, task: u32) -> Vec<Slice> {
        let tasks = self.tasks[component];
        let set = self.record.state.get(component).cloned().unwrap_or_else(RestoreSet::default);
        set.of_task(task, tasks, self.key_groups)
    }

    /// The changelog of a stateful task; each can be taken once.
    pub(crate) fn take_state(&self, component: usize, task: u32, wake: Wake) -> Option<StateLog> {
        let writer = self.state.lock().expect("no panic while held").remove(&(component, task))?;
        let name = &self.names[component];
        let tasks = self.record.state.get(name).map(|set| set.tasks);
        let start = StateStart {
            groups: groups_of_task(task, self.tasks[name], self.key_groups),
            slices: self.slices(name, task),
            tasks_changed: tasks.is_some_and(|tasks| tasks != self.tasks[name]),
            writer,
        };
        Some(StateLog::new(start, Arc::clone(&self.opener), wake))
    }

    /// Brings a task to its state: what was kept of it, or what its ledgers say, each read once, in order.
    pub(crate) fn replay(
        &self,
        env: &Env,
        component: &str,
        task: u32,
        bolt: &mut dyn BoltTask,
    ) -> Result<Resumed, TaskError> {
        if !bolt.stateful() {
            return Ok(Resumed::Anew);
        }
        let commit = self.record.last;
        if bolt.revive(commit) {
            return Ok(Resumed::Kept);
        }
        let mut how = Resumed::Anew;
        let id = bolt.id().clone();
        for reading in reading_plan(&self.slices(component, task)) {
            let Some(last) = reading.range.last else { continue };
            how = Resumed::Read;
            // Row by row: entry by entry each would cost a round trip.
            let mut scan = env.log.ledgers().scan(reading.range.ledger);
            for entry in 0..=last.0 {
                let at = EntryAddress { ledger: reading.range.ledger, entry: EntryId(entry) };
                let bytes = scan.read(at.entry, last).map_err(|error| TaskError {
                    task: id.clone(),
                    why: format!("its state cannot be restored: {}", chain(&error)),
                    retry: false,
                })?;
                bolt.restore(at, &bytes, &|group| reading.takes(group))?;
            }
            bolt.restored_ledger()?;
        }
        bolt.restored(commit);
        Ok(how)
    }

    /// The commit log; worker 0 takes it.
    pub(crate) fn take_commit_log(&self) -> Option<CommitLog> {
        self.commit_log.lock().expect("no panic while held").take()
    }
}
