//! Components ready to be instantiated on any worker: types inside, none outside.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use egret_log::Log;
use egret_log::stream::TransactionalWriter;
use egret_schemas::Generation;
use egret_state::Guarantee;
use egret_state::keyed::format::Schema;

use super::settings::{Letters, OutletsOf};
use crate::Tuple;
use crate::component::{Bolt, Context, OutletOf, Sink, Spout};
use crate::grouping::Target;
use crate::runtime::{Faults, Kept};
use crate::task::{
    BoltTask, ExternalSink, PlainBolt, SinkTask, SpoutTask, StateLog, TaskError, TypedSpout,
    WarmTask,
};

/// What tasks are made with, beside their context.
#[derive(Debug, Clone)]
pub(crate) struct Env {
    pub(crate) log: Log,
    pub(crate) topology: String,
    pub(crate) guarantee: Guarantee,
    pub(crate) generation: Generation,
    pub(crate) key_groups: u32,
    /// Writers of owned partitions, opened by the takeover and taken by their tasks.
    pub(crate) outputs: Outputs,
    /// What the process kept of the generation before.
    pub(crate) kept: Arc<Kept>,
    /// Tasks that keep state, in this process.
    pub(crate) stateful: usize,
    /// Defects that tests switched in.
    pub(crate) faults: Faults,
}

/// Writers on their way from the takeover to the sink tasks.
#[derive(Debug, Clone, Default)]
pub(crate) struct Outputs(Arc<Mutex<BTreeMap<(String, u32), TransactionalWriter>>>);

impl Outputs {
    pub(crate) fn put(&self, stream: &str, partition: u32, writer: TransactionalWriter) {
        let mut writers = self.0.lock().expect("no panic while held");
        writers.insert((stream.to_owned(), partition), writer);
    }

    pub(crate) fn take(&self, stream: &str, partition: u32) -> Option<TransactionalWriter> {
        self.0.lock().expect("no panic while held").remove(&(stream.to_owned(), partition))
    }
}

/// One component, to be instantiated task by task.
#[derive(Clone)]
pub(crate) enum Part {
    Spout(Arc<dyn SpoutPart>),
    Bolt(Arc<dyn BoltPart>),
    Sink(Arc<dyn SinkPart>),
}

impl Part {
    /// Where its dead letters are attached, if it can have any.
    pub(crate) fn letters(&self) -> Option<Letters> {
        if let Part::Bolt(bolt) = self { bolt.letters() } else { None }
    }
}

pub(crate) trait SpoutPart: Send + Sync {
    /// Refuses a source that cannot be read.
    fn check(&self, env: &Env) -> crate::Result<()>;

    /// The stream it reads, which has to be there.
    fn stream(&self) -> Option<&str>;

    fn make(&self, cx: Context, targets: &[Target]) -> Box<dyn SpoutTask>;
}

pub(crate) trait BoltPart: Send + Sync {
    /// Where its dead letters are attached.
    fn letters(&self) -> Option<Letters> {
        None
    }

    /// What it keeps, if it keeps anything.
    fn schema(&self) -> Option<Schema> {
        None
    }

    /// A table that follows what one of its tasks writes; `None` where there is none, or it is not in memory.
    ///
    /// # Errors
    /// When it cannot be known which states can be read.
    fn follow(&self, env: &Env, component: &str) -> crate::Result<Option<Box<dyn WarmTask>>> {
        let _ = (env, component);
        Ok(None)
    }

    /// `state` is there for the tasks of a keyed bolt when the guarantee keeps state.
    fn make(
        &self,
        env: &Env,
        cx: Context,
        targets: &[Target],
        state: Option<StateLog>,
    ) -> Box<dyn BoltTask>;
}

pub(crate) trait SinkPart: Send + Sync {
    /// Creates or checks what the sink writes to; returns how many tasks it needs, if it says so.
    fn prepare(&self, env: &Env) -> Result<Option<u32>, crate::Error> {
        let _ = env;
        Ok(None)
    }

    /// The stream it writes transactionally, if it does.
    fn stream(&self) -> Option<&str> {
        None
    }

    fn make(&self, env: &Env, cx: Context) -> Result<Box<dyn SinkTask>, TaskError>;
}

/// Makes one spout for each task: a [`LogSpout`](crate::LogSpout), or a closure that returns one.
pub trait SpoutSource<T>: Send + Sync + 'static {
    /// What it makes.
    type Spout: Spout<T>;
    /// Makes one instance.
    fn make(&self) -> Self::Spout;
    /// Refuses, before anything runs, a source that is not there or not what it reads.
    ///
    /// # Errors
    /// Whatever would keep every task from opening.
    fn check(&self, log: &Log) -> crate::Result<()> {
        let _ = log;
        Ok(())
    }
    /// The stream it reads, if it reads one: it has to be there.
    fn stream(&self) -> Option<&str> {
        None
    }
    /// What it reads, in words, for `explain`.
    fn detail(&self) -> String {
        String::new()
    }
}

impl<T, S, F> SpoutSource<T> for F
where
    S: Spout<T>,
    F: Fn() -> S + Send + Sync + 'static,
{
    type Spout = S;
    fn make(&self) -> S {
        self()
    }
}

pub(crate) struct SpoutOf<T, S> {
    source: S,
    outlet: Arc<Mutex<OutletOf<T>>>,
}

impl<T, S> SpoutOf<T, S> {
    pub(crate) fn new(source: S, outlet: Arc<Mutex<OutletOf<T>>>) -> Self {
        SpoutOf { source, outlet }
    }
}

impl<T: Tuple, S: SpoutSource<T>> SpoutPart for SpoutOf<T, S> {
    fn check(&self, env: &Env) -> crate::Result<()> {
        self.source.check(&env.log)
    }

    fn stream(&self) -> Option<&str> {
        self.source.stream()
    }

    fn make(&self, cx: Context, targets: &[Target]) -> Box<dyn SpoutTask> {
        let emitter = self.outlet.lock().expect("no panic while held").make(targets);
        Box::new(TypedSpout::new(self.source.make(), emitter, cx))
    }
}

pub(crate) struct BoltOf<I, O, F> {
    factory: F,
    outlets: OutletsOf<O, I>,
}

impl<I: Tuple, O: Tuple, F> BoltOf<I, O, F> {
    pub(crate) fn new(factory: F, outlet: &Arc<Mutex<OutletOf<O>>>) -> Self {
        BoltOf { factory, outlets: OutletsOf::new(outlet) }
    }
}

impl<I, O, B, F> BoltPart for BoltOf<I, O, F>
where
    I: Tuple,
    O: Tuple,
    B: Bolt<I, O>,
    F: Fn() -> B + Send + Sync,
{
    fn letters(&self) -> Option<Letters> {
        Some(self.outlets.letters())
    }

    fn make(
        &self,
        _: &Env,
        cx: Context,
        targets: &[Target],
        _: Option<StateLog>,
    ) -> Box<dyn BoltTask> {
        Box::new(PlainBolt::<I, O, B>::new((self.factory)(), self.outlets.make(targets), cx))
    }
}

pub(crate) struct SinkOf<T, F> {
    factory: F,
    of: std::marker::PhantomData<fn(T)>,
}

impl<T, F> SinkOf<T, F> {
    pub(crate) fn new(factory: F) -> Self {
        SinkOf { factory, of: std::marker::PhantomData }
    }
}

impl<T, S, F> SinkPart for SinkOf<T, F>
where
    T: Tuple,
    S: Sink<T>,
    F: Fn() -> S + Send + Sync,
{
    fn make(&self, _: &Env, cx: Context) -> Result<Box<dyn SinkTask>, TaskError> {
        Ok(Box::new(ExternalSink::<T, S>::new((self.factory)(), cx)))
    }
}
