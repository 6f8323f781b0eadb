//! Tasks: components with their types put away, as the dataflow drives them.
//!
//! A task owns its instance of the user's component and its emitter. Nothing here has heard of timely:
//! times come in as [`Epoch`](egret_schemas::Epoch)s, batches leave through the
//! [`Outlet`](crate::component::Outlet). Every call into user code goes through [`guard`], so an error
//! or a panic becomes a [`TaskError`] that names the task.

mod bolt;
mod by_time;
mod calling;
mod durable;
mod feedback;
mod keyed;
mod log_sink;
mod rescale;
mod schemas;
mod sink;
mod spout;
mod state_log;
mod stateful;
mod tries;
mod warm;

use std::any::Any;
use std::collections::BTreeMap;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::time::Duration;

use egret_log::stream::error::{CatalogError, OpenWriterError, ReadError, UseError};
use egret_schemas::{EntryAddress, Epoch};

pub(crate) use bolt::PlainBolt;
pub(crate) use calling::Calling;
pub(crate) use feedback::{Leaving, OnItsWay, Returning};
pub(crate) use keyed::Keyed;
pub(crate) use log_sink::LogSinkTask;
pub(crate) use schemas::{keep as keep_schema, readable, schema};
pub(crate) use sink::ExternalSink;
pub(crate) use spout::TypedSpout;
pub(crate) use state_log::{OpenStateLedger, StateLog, StateStart};
pub(crate) use stateful::Stateful;
pub(crate) use warm::{Warm, WarmTask};

use crate::batch::AnyBatch;
use crate::budget::{Charge, Lane};
use crate::component::{ComponentError, Next, Outlet, Positions, TaskId};
use crate::connect::{FileError, FileSinkError};
use egret_state::commit::{Mark, SinkPosition, Slice};
use egret_state::keyed::backing::Fault;
use egret_state::keyed::table::AttemptError;

/// A task failed; the generation is given up and the topology goes on from its last commit.
#[derive(Debug, Clone, thiserror::Error)]
#[error("task {task}: {why}")]
pub struct TaskError {
    /// Which one.
    pub task: TaskId,
    /// Its error, or the message of its panic.
    pub why: String,
    /// Whether starting again from the last commit can help. It cannot when the same data or disk
    /// would fail the same way.
    pub retry: bool,
}

/// Runs user code; an error or a panic is attributed to `task`.
pub(crate) fn guard<R>(
    task: &TaskId,
    run: impl FnOnce() -> Result<R, ComponentError>,
) -> Result<R, TaskError> {
    let (why, retry) = match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => (chain(error.as_ref()), may_pass(error.as_ref())),
        Err(panic) => (format!("panicked: {}", panic_text(panic.as_ref())), true),
    };
    Err(TaskError { task: task.clone(), why, retry })
}

/// Whether starting again can help: not when the log says that the same question gets the same answer.
fn may_pass(error: &(dyn std::error::Error + 'static)) -> bool {
    if let Some(error) = error.downcast_ref::<ReadError>() {
        error.may_pass()
    } else if let Some(error) = error.downcast_ref::<CatalogError>() {
        error.may_pass()
    } else if let Some(error) = error.downcast_ref::<OpenWriterError>() {
        error.may_pass()
    } else if let Some(UseError::Catalog(error)) = error.downcast_ref::<UseError>() {
        error.may_pass()
    } else if let Some(error) = error.downcast_ref::<FileError>() {
        error.may_pass()
    } else if let Some(error) = error.downcast_ref::<FileSinkError>() {
        error.may_pass()
    } else if let Some(error) = error.downcast_ref::<AttemptError>() {
        error.may_pass()
    } else if let Some(fault) = error.downcast_ref::<Box<Fault>>() {
        fault.may_pass
    } else {
        !error.is::<SameAgain>() && !error.is::<feedback::RoundsOverflow>()
    }
}

/// What a component read is the same at every attempt, and no good.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct SameAgain(pub(crate) String);

/// What an emitter could not keep is lost with its generation, and would be again.
pub(crate) fn kept(task: &TaskId, check: Result<(), String>) -> Result<(), TaskError> {
    check.map_err(|why| TaskError { task: task.clone(), why, retry: false })
}

/// An error and its sources in one line; what an error says of its source already is not said again.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}

/// Runs user code at the end, where nothing depends on it any more.
pub(crate) fn at_end(task: &TaskId, run: impl FnOnce()) {
    let ended = guard(task, || {
        run();
        Ok(())
    });
    if let Err(TaskError { why, .. }) = ended {
        let task = task.to_string();
        tracing::warn!(task, why, "a component could not be closed; all it did is committed");
    }
}

/// A spout's task.
pub(crate) trait SpoutTask {
    fn open(&mut self, committed: &Positions) -> Result<(), TaskError>;
    fn next(&mut self, bytes: usize) -> Result<Next, TaskError>;
    fn positions(&self) -> Positions;
    fn committed(&mut self, positions: &Positions) -> Result<(), TaskError>;
    /// How far event time has come with everything emitted, and when that may change although nothing is
    /// emitted; nothing where the spout does not say event times.
    fn mark(&mut self) -> Option<(Mark, Option<Duration>)>;
    /// What it emits from here on is of this epoch; at the end, of a commit in which nothing is.
    fn opens(&mut self, epoch: Epoch) {
        let _ = epoch;
    }
    /// What it shares with the task that [feeds](BoltTask::feeds) it, where tuples come back in a cycle.
    fn round(&self) -> Option<Rc<dyn Any>> {
        None
    }
    /// Does what is due though nothing is emitted; in how long something is again.
    fn tick(&mut self) -> Result<Option<Duration>, TaskError> {
        Ok(None)
    }
    /// The topology is to emit, or to rest.
    fn activate(&mut self, active: bool) -> Result<(), TaskError>;
    /// The topology ended in order.
    fn end(&mut self);
    fn outlet(&mut self) -> &mut dyn Outlet;
}

/// A bolt's task.
pub(crate) trait BoltTask {
    fn id(&self) -> &TaskId;
    fn open(&mut self) -> Result<(), TaskError>;
    /// Takes what it shares with the task where its tuples come back, for the end of a cycle; bytes on their way are
    /// counted on `lane`.
    fn feeds(&mut self, round: &dyn Any, lane: Lane) {
        let _ = (round, lane);
        unreachable!("only the end of a cycle feeds a task");
    }
    /// Which key groups it reads of a commit that so many tasks wrote, where that is another number: its own, unless
    /// it says. Asked before it is restored or revived.
    fn reads(&mut self, before: u32) -> Option<Range<u32>> {
        let _ = before;
        None
    }
    /// Goes on with what the process kept of the generation before, if that can be taken back to `commit`;
    /// whether it does. What it does not is restored.
    fn revive(&mut self, commit: Epoch) -> bool {
        let _ = commit;
        true
    }
    /// Takes from one entry of the changelog what belongs to the task's own key groups and is of those
    /// that `takes` names; only keyed tasks have one.
    fn restore(
        &mut self,
        at: EntryAddress,
        entry: &[u8],
        takes: &dyn Fn(u32) -> bool,
    ) -> Result<(), TaskError> {
        let _ = (at, entry, takes);
        unreachable!("a bolt without state has no changelog")
    }
    /// A ledger was read to the end that counts.
    fn restored_ledger(&mut self) -> Result<(), TaskError> {
        Ok(())
    }
    /// Everything was read; the task is as it was at `commit`.
    fn restored(&mut self, commit: Epoch) -> Result<(), TaskError> {
        let _ = commit;
        Ok(())
    }
    /// Takes a batch to work on; the one before is done.
    fn begin(&mut self, batch: Box<dyn AnyBatch>);
    /// Works on the batch until it is done, the outlet is full, or a tuple waits to be tried again; whether it is
    /// done.
    fn go_on(&mut self) -> Result<bool, TaskError>;
    /// How long until the task can go on, if a tuple waits that long to be tried again, or an answer is waited for: the
    /// task's worker is woken before then if it can.
    fn waits(&self) -> Option<Duration> {
        None
    }
    /// The commit is complete, and the watermark is what it came to with it: emit what is due until that is
    /// done or the outlet is full. When it is done, hand the commit's changes to the changelog; whether it is done.
    fn close(&mut self, commit: Epoch) -> Result<bool, TaskError>;
    /// Whether there is something to emit, though no batch came: what was waited for.
    fn has_answers(&mut self) -> bool {
        false
    }
    /// Emits it, while no batch is worked on and no commit closes.
    fn settle(&mut self) -> Result<(), TaskError> {
        Ok(())
    }
    /// Lets the bolt tick, while no batch is worked on and no commit closes.
    fn tick(&mut self) -> Result<(), TaskError> {
        Ok(())
    }
    /// The topology ended in order.
    fn end(&mut self) {}
    /// In how long something is due at a commit, although no tuple comes; zero: it is due now.
    fn until_due(&self) -> Option<Duration> {
        None
    }
    /// Commits whose changes became durable since the last call, oldest first.
    fn durable(&mut self) -> Result<Vec<(Epoch, Vec<Slice>)>, TaskError> {
        Ok(Vec::new())
    }
    /// Commits that closed since the last call, and whether anything was on its way round as of each; only the end of
    /// a cycle has something to say.
    fn held(&mut self) -> Vec<(Epoch, bool)> {
        Vec::new()
    }
    /// Every commit up to this one was made: nothing of them is taken back.
    fn committed(&mut self, commit: Epoch) {
        let _ = commit;
    }
    /// Whether the task has state, so that commits wait for it.
    fn stateful(&self) -> bool {
        false
    }
    fn outlet(&mut self) -> &mut dyn Outlet;
}

/// A commit whose output is durable, and where it ends in each partition written.
pub(crate) type DurableOutput = (Epoch, Vec<(u32, SinkPosition)>);

/// Where the output of a sink ends in each partition, as of a commit.
pub(crate) type SinkEnds = BTreeMap<u32, SinkPosition>;

/// A sink's task.
pub(crate) trait SinkTask {
    /// `committed`: where the commit that the generation goes on from has the output of all its tasks.
    fn open(&mut self, committed: &SinkEnds) -> Result<(), TaskError>;
    /// Takes a batch. What it hands to storage counts like `charge` until it is acknowledged.
    fn write(
        &mut self,
        commit: Epoch,
        batch: Box<dyn AnyBatch>,
        charge: &Charge,
    ) -> Result<(), TaskError>;
    /// The commit is complete: hand what is left of it to storage.
    fn close(&mut self, commit: Epoch) -> Result<(), TaskError>;
    /// Commits whose output became durable since the last call, oldest first, and where it ends.
    fn durable(&mut self) -> Result<Vec<DurableOutput>, TaskError>;
    /// The commit is acknowledged: its output may be seen.
    fn publish(&mut self, commit: Epoch) -> Result<(), TaskError>;
    /// Every commit is, and there are no more.
    fn finish(&mut self) -> Result<(), TaskError> {
        Ok(())
    }
    /// The topology ended in order.
    fn end(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_and_a_panic_name_the_task() {
        let id = TaskId { component: "split".into(), task: 2 };
        let error = guard(&id, || Err::<(), _>("no such word".into())).unwrap_err();
        assert_eq!(error.to_string(), "task split/2: no such word");
        let error = guard(&id, || -> Result<(), ComponentError> { panic!("at the disco") });
        assert_eq!(error.unwrap_err().to_string(), "task split/2: panicked: at the disco");
    }
}
