//! What the tasks of a generation begin with.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex};
use std::thread;

use bytes::Bytes;
use egret_log::client::{LedgerWriter, Ledgers, ReadError};
use egret_log::message::Wake;
use egret_log::simulation;
use egret_schemas::{EntryAddress, EntryId, LedgerId};
use egret_state::commit::{CommitRecord, Reading, Slice, groups_of_task, reading_plan};

use super::CommitLog;
use super::topology_store::TopologyStore;
use crate::builder::Env;
use crate::component::Positions;
use crate::task::{BoltTask, OpenStateLedger, SinkEnds, StateLog, StateStart, TaskError, chain};

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
    /// Ledgers of others that the record may name: a fork's. Whoever they belong to may be writing them.
    pub(crate) of_others: BTreeSet<LedgerId>,
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
    pub(crate) no_ends: SinkEnds,
}

/// Entries that may be read before they are taken: they have up to some MiB each.
const READ_AHEAD: usize = 4;

/// What was read of a plan.
enum Read {
    /// An entry, of the reading of this number.
    Entry(usize, EntryAddress, Bytes),
    /// A ledger is read to the end that counts.
    End,
}

/// Reads a plan's ledgers in order, until `take` takes no more of it.
fn read_all(
    ledgers: &Ledgers,
    plan: &[Reading],
    mut take: impl FnMut(Result<Read, String>) -> bool,
) {
    for (number, reading) in plan.iter().enumerate() {
        let Some(last) = reading.range.last else { continue };
        // Row by row: entry by entry each would cost a round trip.
        let mut scan = ledgers.scan(reading.range.ledger);
        for entry in (0..=last.0).map(EntryId) {
            let at = EntryAddress { ledger: reading.range.ledger, entry };
            let bytes = scan.read(entry, last).or_else(|error| match error {
                // A ledger that is still written, by another topology: its readers hear of an entry after its
                // writer, and of this one a commit said that it is there.
                ReadError::Beyond { .. } => ledgers.read_unconfirmed(at.ledger, entry),
                other => Err(other),
            });
            let bytes = bytes.map_err(|error| chain(&error));
            let failed = bytes.is_err();
            if !take(bytes.map(|bytes| Read::Entry(number, at, bytes))) || failed {
                return;
            }
        }
        if !take(Ok(Read::End)) {
            return;
        }
    }
}

impl Restored {
    /// Where a spout's splits go on.
    pub(crate) fn positions(&self, component: &str) -> &Positions {
        self.record.spouts.get(component).unwrap_or(&self.none)
    }

    /// Where a sink's output ends.
    pub(crate) fn ends(&self, component: &str) -> &SinkEnds {
        self.record.sinks.get(component).unwrap_or(&self.no_ends)
    }

    /// How far event time had come for a component.
    pub(crate) fn watermark(&self, component: &str) -> Option<i64> {
        self.record.watermarks.get(component).copied()
    }

    /// What a task restores of its own key groups.
    fn slices(&self, component: &str, task: u32) -> Vec<Slice> {
        let tasks = self.tasks[component];
        self.record
            .state
            .get(component)
            .map_or_else(Vec::new, |set| set.of_task(task, tasks, self.key_groups))
    }

    /// The changelog of a stateful task; each can be taken once.
    pub(crate) fn take_state(&self, component: usize, task: u32, wake: Wake) -> Option<StateLog> {
        let writer = self.state.lock().expect("no panic while held").remove(&(component, task))?;
        let name = &self.names[component];
        let tasks = self.record.state.get(name).map(|set| set.tasks);
        let start = StateStart {
            groups: groups_of_task(task, self.tasks[name], self.key_groups),
            slices: self.slices(name, task),
            // Either way what was restored is let go of soon: others need it, too, or keep it for this alone.
            shared: tasks.is_some_and(|tasks| tasks != self.tasks[name])
                || self.reads_others(name, task),
            writer,
        };
        Some(StateLog::new(start, Arc::clone(&self.opener), wake))
    }

    /// Whether a task is restored from ledgers of others.
    fn reads_others(&self, component: &str, task: u32) -> bool {
        let slices = self.slices(component, task);
        let mut ranges = slices.iter().flat_map(|slice| &slice.ledgers);
        ranges.any(|range| self.of_others.contains(&range.ledger))
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
        let set = self.record.state.get(component);
        let more = set.and_then(|set| Some(set.of_groups(bolt.reads(set.tasks)?)));
        if bolt.revive(commit) {
            return Ok(Resumed::Kept);
        }
        let mut plan = reading_plan(&more.unwrap_or_else(|| self.slices(component, task)));
        if env.faults.state_of_zombies {
            let whole =
                |reading: &mut Reading| reading.range.last = whole(env, reading.range.ledger);
            plan.iter_mut().for_each(whole);
        }
        let id = bolt.id().clone();
        let how = if plan.is_empty() { Resumed::Anew } else { Resumed::Read };
        let failed = |why: String| TaskError {
            task: id.clone(),
            why: format!("its state cannot be restored: {why}"),
            retry: false,
        };
        let (ledgers, plan) = (env.log.ledgers(), &plan);
        let mut take = |next: Result<Read, String>| match next.map_err(&failed)? {
            Read::Entry(reading, at, bytes) => {
                bolt.restore(at, &bytes, &|group| plan[reading].takes(group))
            }
            Read::End => bolt.restored_ledger(),
        };
        if simulation::is_entered() {
            let mut taken = Ok(());
            read_all(ledgers, plan, |next| {
                taken = take(next);
                taken.is_ok()
            });
            taken?;
        } else {
            // What is read next is read while what was read is taken.
            thread::scope(|scope| -> Result<(), TaskError> {
                let (read, taken) = sync_channel(READ_AHEAD);
                let reader = thread::Builder::new().name("egret-restore".into());
                let reads = move || read_all(ledgers, plan, |next| read.send(next).is_ok());
                reader.spawn_scoped(scope, reads).map_err(|why| failed(why.to_string()))?;
                taken.into_iter().try_for_each(&mut take)
            })?;
        }
        bolt.restored(commit)?;
        Ok(how)
    }

    /// The commit log; worker 0 takes it.
    pub(crate) fn take_commit_log(&self) -> Option<CommitLog> {
        self.commit_log.lock().expect("no panic while held").take()
    }
}

/// A defect on purpose: where a ledger was closed, whatever the commit names.
fn whole(env: &Env, ledger: LedgerId) -> Option<EntryId> {
    env.log.ledgers().describe(ledger).ok().and_then(|record| record.closed().flatten())
}
