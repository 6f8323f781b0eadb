//! What a task knows about itself.

use std::fmt;
use std::sync::Arc;

use egret_log::Log;
use egret_log::message::Wake;

/// A task: one instance of a component; prints `count/3`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TaskId {
    /// The component's name.
    pub component: Arc<str>,
    /// The task's index in it, from 0.
    pub task: u32,
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.component, self.task)
    }
}

/// Handed to every call of a component.
#[derive(Clone)]
pub struct Context {
    pub(crate) topology: Arc<str>,
    pub(crate) id: TaskId,
    pub(crate) tasks: u32,
    pub(crate) wake: Wake,
    pub(crate) log: Log,
    pub(crate) resumes_at_end: bool,
    /// Whether positions are committed, to be read from again.
    pub(crate) commits: bool,
    pub(crate) restarted: bool,
}

impl Context {
    /// Which task this is.
    pub fn id(&self) -> &TaskId {
        &self.id
    }

    /// How many tasks the component has.
    pub fn tasks(&self) -> u32 {
        self.tasks
    }

    /// The log the topology runs on.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Whether a spout begins at the end of its source: at-most-once never repeats, so every generation
    /// but the very first skips what was under way before.
    pub fn resumes_at_end(&self) -> bool {
        self.resumes_at_end
    }

    /// Whether a generation of this very run failed before: what it read under at-most-once may have
    /// left a trace.
    pub fn restarted(&self) -> bool {
        self.restarted
    }

    /// Schedules this task again, from any thread: how outside events reach a parked spout.
    pub fn waker(&self) -> Wake {
        Arc::clone(&self.wake)
    }
}

impl fmt::Debug for Context {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Context({} of {})", self.id, self.tasks)
    }
}
