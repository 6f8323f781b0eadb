//! What survives a generation in memory: the tables of its tasks, and how much memory they may take.
//!
//! A task that goes because its generation was given up leaves its table here, with what takes back the changes
//! no commit covers. The next generation's task of the same name and number takes it, goes back to the
//! commit the generation begins with, and reads nothing from its ledgers. A table that never was at that
//! commit (another process ran the topology meanwhile) is of no use, and is read from the ledgers again.
//!
//! So do the tables that a process held while it [stood by](crate::standby).

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use egret_schemas::Generation;
use egret_state::commit::CommitRecord;

use crate::builder::Env;
use crate::component::TaskId;
use crate::standby::Tables;

/// A task's table, for whoever knows its type.
pub(crate) struct KeptTable {
    /// How many tasks the component had.
    pub(crate) tasks: u32,
    pub(crate) table: Box<dyn Any + Send>,
    /// Bytes of the ledgers it would be restored from.
    pub(crate) log_bytes: u64,
}

/// Told of a generation's takeover: which it is, and how many tasks go on with what was held for them, of how many.
pub(crate) type TookOver = Box<dyn FnOnce(Generation, (usize, usize)) + Send>;

/// See the [module](self).
pub(crate) struct Kept {
    /// What this process held while it stood by, until the first takeover.
    stood_by: Mutex<Option<(Tables, TookOver)>>,
    tables: Mutex<BTreeMap<TaskId, KeptTable>>,
    /// What a task may keep to take changes back.
    undo_bytes_max: usize,
    memory: Arc<StateMemory>,
}

impl Kept {
    /// Of a process whose tasks may take this much together.
    pub(crate) fn new(undo_bytes_max: usize, state_bytes_max: usize) -> Arc<Kept> {
        let memory = Arc::new(StateMemory { max: state_bytes_max, used: AtomicUsize::new(0) });
        Arc::new(Kept {
            stood_by: Mutex::default(),
            tables: Mutex::default(),
            undo_bytes_max,
            memory,
        })
    }

    /// What a task may keep to take its changes back, where this many tasks do.
    pub(crate) fn undo_bytes_max(&self, tasks: usize) -> usize {
        self.undo_bytes_max / tasks.max(1)
    }

    /// A task's part in the bound on memory.
    pub(crate) fn share(&self) -> MemoryShare {
        MemoryShare { of: Arc::clone(&self.memory), bytes: 0 }
    }

    /// The next generation goes on with these tables, where they are at its commit.
    pub(crate) fn stood_by(&self, tables: Tables, took_over: TookOver) {
        *self.stood_by.lock().expect("no panic while held") = Some((tables, took_over));
    }

    /// A generation was claimed that begins with this record: what was held for it becomes what its tasks left.
    pub(crate) fn took_over(&self, env: &Env, record: &CommitRecord) {
        let stood_by = self.stood_by.lock().expect("no panic while held").take();
        let Some((tables, took_over)) = stood_by else { return };
        let warm = tables.hand_over(env, record, self);
        took_over(env.generation, warm);
    }

    pub(crate) fn put(&self, task: TaskId, table: KeptTable) {
        self.tables.lock().expect("no panic while held").insert(task, table);
    }

    pub(crate) fn take(&self, task: &TaskId) -> Option<KeptTable> {
        self.tables.lock().expect("no panic while held").remove(task)
    }
}

impl std::fmt::Debug for Kept {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Kept({:?}, {:?})", self.tables, self.memory)
    }
}

impl std::fmt::Debug for KeptTable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "KeptTable(of {}, {} bytes of log)", self.tasks, self.log_bytes)
    }
}

#[derive(Debug)]
struct StateMemory {
    max: usize,
    used: AtomicUsize,
}

/// What one task takes of the memory for state.
#[derive(Debug)]
pub(crate) struct MemoryShare {
    of: Arc<StateMemory>,
    bytes: usize,
}

impl MemoryShare {
    /// The task takes this much now.
    ///
    /// # Errors
    /// Says what is wrong and what to do when all take too much together.
    pub(crate) fn set(&mut self, bytes: usize) -> Result<(), String> {
        let (used, max) = (&self.of.used, self.of.max);
        let before = self.bytes;
        self.bytes = bytes;
        let all = used.fetch_add(bytes, Ordering::Relaxed).wrapping_add(bytes);
        used.fetch_sub(before, Ordering::Relaxed);
        let all = all.wrapping_sub(before);
        if all <= max || bytes <= before {
            return Ok(());
        }
        let mib = |bytes: usize| bytes.div_ceil(1 << 20);
        Err(format!(
            "the state of this process's tasks takes {} MiB, this task's {} of them, and may take {} MiB: raise \
             --state-mb, spread the topology over more processes, or keep this component's state outside memory",
            mib(all),
            mib(bytes),
            mib(max)
        ))
    }
}

impl Drop for MemoryShare {
    fn drop(&mut self) {
        self.of.used.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_together_are_bounded_and_given_back() {
        let kept = Kept::new(0, 100 << 20);
        let (mut a, mut b) = (kept.share(), kept.share());
        assert_eq!(a.set(60 << 20), Ok(()));
        let why = b.set(50 << 20).unwrap_err();
        assert!(why.starts_with("the state of this process's tasks takes 110 MiB, this task's 50"));
        assert!(why.contains("may take 100 MiB: raise --state-mb"), "{why}");
        assert_eq!(b.set(40 << 20), Ok(()), "less is always right");
        drop(a);
        assert_eq!(b.set(100 << 20), Ok(()));
    }
}
