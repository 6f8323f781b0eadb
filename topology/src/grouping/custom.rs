//! Whatever a grouping of the user's own says.
//!
//! The user's code is first called when there is a tuple: by then an error or a panic of it is that of a task.

use std::sync::Arc;

use super::per_task::PerTask;
use super::{NoSuchTask, Partitioner, Target};
use crate::Tuple;
use crate::batch::Routed;
use crate::component::TaskId;

/// Who may get the tuples of one emitter.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receivers {
    /// The component they go to.
    pub component: Arc<str>,
    /// How many tasks it has, numbered from 0.
    pub tasks: u32,
    /// Those of its tasks that are on the emitter's own worker: what goes there is not encoded.
    pub local: Vec<u32>,
    /// The task that emits.
    pub emitter: TaskId,
}

/// A grouping of your own, for [`Stream::custom`](crate::Stream::custom). Each task that emits has an instance.
///
/// A closure `FnMut(&T) -> u32` is one, too, which names one task for each tuple.
///
/// ```
/// use egret::grouping::{CustomGrouping, Receivers};
/// # use egret::{Emitter, LogSink, LogSpout, TopologyBuilder};
///
/// /// Every line to one task by its length; alarms to all of them.
/// #[derive(Default)]
/// struct ByLength { tasks: u32 }
///
/// impl CustomGrouping<String> for ByLength {
///     fn prepare(&mut self, receivers: &Receivers) {
///         self.tasks = receivers.tasks;
///     }
///     fn choose(&mut self, line: &String, tasks: &mut Vec<u32>) {
///         match line.starts_with("alarm") {
///             true => tasks.extend(0..self.tasks),
///             false => tasks.push(line.len() as u32 % self.tasks),
///         }
///     }
/// }
///
/// # let mut t = TopologyBuilder::new("t");
/// # let lines = t.spout("l", 1, LogSpout::<String>::from_stream("l"))?;
/// # let copy = || |line: String, out: &mut Emitter<String>| out.emit(line);
/// let seen = lines.custom(ByLength::default).bolt("see", 4, copy)?;
/// # seen.sink("o", LogSink::to_stream("o"))?;
/// # t.finish()?;
/// # Ok::<(), egret::Error>(())
/// ```
pub trait CustomGrouping<T>: Send + 'static {
    /// Called once, before the first tuple.
    fn prepare(&mut self, receivers: &Receivers) {
        let _ = receivers;
    }

    /// Adds to `tasks`, which is empty, each task that gets the tuple: one or several, of which each gets a copy; or
    /// none, and the tuple is dropped here. A task that there is not fails the topology with [`NoSuchTask`].
    ///
    /// What is the same tuple by tuple, and looks at nothing else, is also the same when tuples are read again after
    /// a failure; see [`grouping`](super).
    fn choose(&mut self, tuple: &T, tasks: &mut Vec<u32>);
}

impl<T, F: FnMut(&T) -> u32 + Send + 'static> CustomGrouping<T> for F {
    fn choose(&mut self, tuple: &T, tasks: &mut Vec<u32>) {
        tasks.push(self(tuple));
    }
}

/// Makes a grouping for one emitter.
pub(crate) type MakeGrouping<G> = Arc<dyn Fn() -> G + Send + Sync>;

pub(crate) struct Custom<T, G> {
    make: MakeGrouping<G>,
    /// There once there was a tuple.
    grouping: Option<G>,
    chosen: Vec<u32>,
    to: PerTask<T>,
}

impl<T: Tuple, G: CustomGrouping<T>> Custom<T, G> {
    pub(crate) fn new(target: &Target, make: MakeGrouping<G>) -> Self {
        Custom { make, grouping: None, chosen: Vec::new(), to: PerTask::new(target) }
    }

    fn made(make: &MakeGrouping<G>, target: &Target) -> G {
        let mut grouping = make();
        grouping.prepare(&Receivers {
            component: Arc::clone(&target.to),
            tasks: target.tasks,
            local: target.local.clone(),
            emitter: target.from.clone(),
        });
        grouping
    }
}

impl<T: Tuple, G: CustomGrouping<T>> Partitioner<T> for Custom<T, G> {
    fn route(
        &mut self,
        batch: Vec<T>,
        bytes: usize,
        out: &mut Vec<Routed>,
    ) -> Result<(), NoSuchTask> {
        let Custom { make, grouping, chosen, to } = self;
        let grouping = grouping.get_or_insert_with(|| Self::made(make, to.target()));
        let each = bytes / batch.len().max(1);
        for tuple in batch {
            chosen.clear();
            grouping.choose(&tuple, chosen);
            let Some((last, others)) = chosen.split_last() else { continue };
            others.iter().try_for_each(|task| to.push(*task, tuple.clone(), each, out))?;
            to.push(*last, tuple, each, out)?;
        }
        Ok(())
    }

    fn flush(&mut self, out: &mut Vec<Routed>) {
        self.to.flush(out);
    }
}
