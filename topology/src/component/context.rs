//! What a task knows about itself.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use egret_log::Log;
use egret_log::clock::Wall;
use egret_log::message::Wake;

use super::config::Config;
use super::timer::{NoTimers, TimerQueue, Timers};
use crate::builder::Settings;
use crate::metrics::{Counter, Gauge, Histogram, Meter, MetricError};
use crate::runtime::Progress;

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

/// The watermark of a component's tasks on one worker, as their contexts show it.
#[derive(Debug, Clone)]
pub(crate) struct WatermarkCell(Arc<AtomicI64>);

/// Stands for no watermark: none is that early.
const NO_WATERMARK: i64 = i64::MIN;

impl WatermarkCell {
    pub(crate) fn new(ms: Option<i64>) -> WatermarkCell {
        WatermarkCell(Arc::new(AtomicI64::new(ms.unwrap_or(NO_WATERMARK))))
    }

    pub(crate) fn set(&self, ms: i64) {
        self.0.store(ms, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> Option<i64> {
        Some(self.0.load(Ordering::Relaxed)).filter(|ms| *ms != NO_WATERMARK)
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
    pub(crate) watermark: WatermarkCell,
    pub(crate) wall: Wall,
    pub(crate) timers: TimerQueue,
    pub(crate) progress: Arc<Progress>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) meter: Arc<Meter>,
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

    /// What was set of the component; see [`Stream::config`](crate::Stream::config).
    pub fn config(&self) -> &Config {
        &self.settings.config
    }

    /// A number of this task's that grows, under a name: made when it is asked for first, and then the same. Ask once,
    /// where the task is opened: what it gives is added to without looking anything up. It is read through
    /// [`Progress::metrics`](crate::Progress::metrics), and counts calls that were taken back or repeated, too.
    ///
    /// ```
    /// use egret::metrics::{Counter, Histogram};
    /// use egret::{Bolt, ComponentResult, Context, Emitter};
    ///
    /// #[derive(Default)]
    /// struct Parse(Option<(Counter, Histogram)>);
    /// impl Bolt<String, u64> for Parse {
    ///     fn open(&mut self, cx: &Context) -> ComponentResult {
    ///         self.0 = Some((cx.counter("blank_lines")?, cx.histogram("line_bytes")?));
    ///         Ok(())
    ///     }
    ///     fn execute(&mut self, line: String, out: &mut Emitter<u64>, _: &Context) -> ComponentResult {
    ///         if let Some((blank, bytes)) = &self.0 {
    ///             blank.add(u64::from(line.is_empty()));
    ///             bytes.record(line.len() as u64);
    ///         }
    ///         line.parse().into_iter().for_each(|n| out.emit(n));
    ///         Ok(())
    ///     }
    /// }
    /// ```
    ///
    /// # Errors
    /// When it is no name, one of another kind of metric, or there are too many.
    pub fn counter(&self, name: &str) -> Result<Counter, MetricError> {
        self.meter.counter(name)
    }

    /// A number of this task's that is what it was set to last; else as [`counter`](Self::counter).
    ///
    /// # Errors
    /// As for a counter.
    pub fn gauge(&self, name: &str) -> Result<Gauge, MetricError> {
        self.meter.gauge(name)
    }

    /// Values of this task's of which it is kept how they are spread; else as [`counter`](Self::counter).
    ///
    /// # Errors
    /// As for a counter.
    pub fn histogram(&self, name: &str) -> Result<Histogram, MetricError> {
        self.meter.histogram(name)
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

    /// The event time, in ms, below which no tuple is expected any more: of everything that reaches this
    /// bolt, by any way, from spouts that say the event time of their tuples
    /// ([`Stream::event_time`](crate::Stream::event_time)). A tuple below it is late.
    ///
    /// It moves where a commit closes and nowhere else, never goes back, and is part of the commit: after a
    /// restart it is what it was. `None` until every such spout has read something, or is idle; always for
    /// spouts and sinks.
    pub fn watermark(&self) -> Option<i64> {
        self.watermark.get()
    }

    /// The time it is, in ms since 1970: what timers of [processing time](super::Timer::processing) go by. It
    /// may go back when somebody sets the clock, and is another when a commit is repeated after a failure.
    pub fn processing_time(&self) -> i64 {
        i64::try_from(self.wall.ms()).unwrap_or(i64::MAX)
    }

    /// A tuple came too late.
    #[cold]
    pub(crate) fn count_late(&self) {
        self.progress.late();
    }

    /// Timers of the key at hand, in a call of a [`KeyedBolt`](super::KeyedBolt).
    pub fn timers(&self) -> Timers<'_> {
        Timers(&self.timers)
    }

    /// Has the key at hand forgotten when this call of a [`KeyedBolt`](super::KeyedBolt) is over: its state, and all
    /// that is due for it, whatever else the call asked for. Nothing is kept for it then, and when it comes again it
    /// has an empty state. A state that is merely emptied is kept, for every key that ever came.
    ///
    /// # Errors
    /// When there is no key at hand.
    pub fn forget_key(&self) -> Result<(), NoTimers> {
        self.timers.forget()
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
