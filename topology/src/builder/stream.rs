//! Typed streams between components, and the groupings that make them attachable.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use egret_state::keyed::Key;

use super::keyed::{ComputedKey, KeyField, KeyedStream};
use super::parts::{BoltOf, Part, SinkOf, SinkPart};
use super::{BuildError, Draft, short_type};
use crate::component::{Bolt, OutletOf, Sink};
use crate::grouping::all::All;
use crate::grouping::global::Global;
use crate::grouping::local_or_shuffle::LocalOrShuffle;
use crate::grouping::shuffle::Shuffle;
use crate::grouping::{Grouping, MakePartitioner, Partitioner, Target};
use crate::plan::{ComponentPlan, InputPlan, Kind};
use crate::{Result, Tuple};

/// The output of a component: tuples of one type. Attach as many consumers as you like; each sees
/// every tuple.
pub struct Stream<T> {
    pub(crate) draft: Rc<RefCell<Draft>>,
    pub(crate) component: usize,
    pub(crate) outlet: Arc<Mutex<OutletOf<T>>>,
}

impl<T> Clone for Stream<T> {
    fn clone(&self) -> Self {
        Stream {
            draft: Rc::clone(&self.draft),
            component: self.component,
            outlet: Arc::clone(&self.outlet),
        }
    }
}

impl<T> std::fmt::Debug for Stream<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Stream<{}> of component {}", short_type::<T>(), self.component)
    }
}

impl<T: Tuple> Stream<T> {
    pub(crate) fn new(
        draft: Rc<RefCell<Draft>>,
        component: usize,
        outlet: Arc<Mutex<OutletOf<T>>>,
    ) -> Stream<T> {
        Stream { draft, component, outlet }
    }

    fn grouped(&self, grouping: Grouping, make: MakePartitioner<T>) -> Grouped<T> {
        Grouped { stream: self.clone(), grouping, make }
    }

    /// To the tasks of the next component in turn.
    pub fn shuffle(&self) -> Grouped<T> {
        let make = |target: &Target| Box::new(Shuffle::new(target)) as Box<dyn Partitioner<T>>;
        self.grouped(Grouping::Shuffle, Arc::new(make))
    }

    /// A copy to every task.
    pub fn all(&self) -> Grouped<T> {
        let make = |target: &Target| Box::new(All(target.clone())) as Box<dyn Partitioner<T>>;
        self.grouped(Grouping::All, Arc::new(make))
    }

    /// Everything to task 0.
    pub fn global(&self) -> Grouped<T> {
        let make = |target: &Target| Box::new(Global(target.clone())) as Box<dyn Partitioner<T>>;
        self.grouped(Grouping::Global, Arc::new(make))
    }

    /// To tasks on the same worker where there are any: no tuple crosses workers.
    pub fn local_or_shuffle(&self) -> Grouped<T> {
        let make =
            |target: &Target| Box::new(LocalOrShuffle::new(target)) as Box<dyn Partitioner<T>>;
        self.grouped(Grouping::LocalOrShuffle, Arc::new(make))
    }

    /// By a key inside the tuple: `fields(|w| w.as_str())`. Equal keys meet at one task; keyed state
    /// becomes possible.
    pub fn fields<K, F>(&self, key: F) -> KeyedStream<T, KeyField<T, K, F>>
    where
        K: Key + ?Sized + 'static,
        F: Fn(&T) -> &K + Clone + Send + Sync + 'static,
    {
        KeyedStream::new(self.clone(), KeyField::new(key))
    }

    /// By a key computed from the tuple: `fields_by(|order| order.cents / 100)`.
    pub fn fields_by<K, F>(&self, key: F) -> KeyedStream<T, ComputedKey<T, K, F>>
    where
        K: Key + 'static,
        F: Fn(&T) -> K + Clone + Send + Sync + 'static,
    {
        KeyedStream::new(self.clone(), ComputedKey::new(key))
    }

    /// Ends the stream in a sink that places its tuples itself, such as a
    /// [`LogSink`](crate::LogSink).
    ///
    /// # Errors
    /// [`BuildError`] for a bad or taken name, or a stream that already has a writer here.
    pub fn sink<S: SinkSpec<T>>(&self, name: &str, spec: S) -> Result<()> {
        let (part, grouping, make, parallelism, detail) = spec.into_part();
        if let Some(stream) = part.stream() {
            let mut draft = self.draft.borrow_mut();
            let taken = draft
                .outputs
                .iter()
                .position(|output| output.split_once('\n').is_some_and(|(of, _)| of == stream));
            if let Some(taken) = taken {
                let first = draft.outputs[taken].split_once('\n').map(|(_, by)| by.to_owned());
                return Err(BuildError::TwoWriters {
                    first: first.unwrap_or_default(),
                    second: name.to_owned(),
                    stream: stream.to_owned(),
                }
                .into());
            }
            draft.outputs.push(format!("{stream}\n{name}"));
        }
        let plan = ComponentPlan {
            name: name.to_owned(),
            kind: Kind::Sink,
            parallelism,
            inputs: Vec::new(),
            emits: None,
            state: None,
            detail,
        };
        self.attach(plan, Part::Sink(part), grouping, make).map(|_| ())
    }

    /// Adds a component that consumes this stream.
    pub(crate) fn attach(
        &self,
        mut plan: ComponentPlan,
        part: Part,
        grouping: Grouping,
        make: MakePartitioner<T>,
    ) -> Result<usize> {
        let mut draft = self.draft.borrow_mut();
        if draft.components.len() <= self.component {
            return Err(BuildError::OtherTopology { name: plan.name }.into());
        }
        let edge = draft.edges[self.component];
        plan.inputs = vec![InputPlan { from: self.component, edge, grouping }];
        let index = draft.add(plan, part)?;
        drop(draft);
        self.outlet.lock().expect("no panic while held").edges.push(make);
        Ok(index)
    }
}

/// What [`SinkSpec::into_part`] gives: the part, its grouping and partitioner, its parallelism (which
/// the stream's partitions override) and its words for `explain`.
pub(crate) type SinkParts<T> = (Arc<dyn SinkPart>, Grouping, MakePartitioner<T>, u32, String);

/// A sink that says itself how tuples find its tasks. Implemented by [`LogSink`](crate::LogSink).
#[expect(private_interfaces, reason = "sealed: only this crate's sinks implement it")]
pub trait SinkSpec<T> {
    /// Takes the spec apart.
    #[doc(hidden)]
    fn into_part(self) -> SinkParts<T>;
}

/// A stream with a grouping: what a component can be attached to.
pub struct Grouped<T> {
    stream: Stream<T>,
    grouping: Grouping,
    make: MakePartitioner<T>,
}

impl<T> std::fmt::Debug for Grouped<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} by {}", self.stream, self.grouping)
    }
}

impl<T: Tuple> Grouped<T> {
    pub(crate) fn new(stream: Stream<T>, grouping: Grouping, make: MakePartitioner<T>) -> Self {
        Grouped { stream, grouping, make }
    }

    /// Attaches a bolt of `parallelism` tasks; `factory` makes one instance for each.
    ///
    /// # Errors
    /// [`BuildError`] for a bad or taken name or a parallelism out of range.
    pub fn bolt<O, B, F>(self, name: &str, parallelism: u32, factory: F) -> Result<Stream<O>>
    where
        O: Tuple,
        B: Bolt<T, O>,
        F: Fn() -> B + Send + Sync + 'static,
    {
        crate::batch::register::<O>();
        let outlet: Arc<Mutex<OutletOf<O>>> = Arc::default();
        let plan = ComponentPlan {
            name: name.to_owned(),
            kind: Kind::Bolt,
            parallelism,
            inputs: Vec::new(),
            emits: Some(short_type::<O>()),
            state: None,
            detail: String::new(),
        };
        let part = Part::Bolt(Arc::new(BoltOf::<T, O, F>::new(factory, Arc::clone(&outlet))));
        let index = self.stream.attach(plan, part, self.grouping, self.make)?;
        Ok(Stream::new(Rc::clone(&self.stream.draft), index, outlet))
    }

    /// Attaches a sink of your own of `parallelism` tasks. It sees tuples at least once.
    ///
    /// # Errors
    /// [`BuildError`] for a bad or taken name or a parallelism out of range.
    pub fn sink<S, F>(self, name: &str, parallelism: u32, factory: F) -> Result<()>
    where
        S: Sink<T>,
        F: Fn() -> S + Send + Sync + 'static,
    {
        let plan = ComponentPlan {
            name: name.to_owned(),
            kind: Kind::Sink,
            parallelism,
            inputs: Vec::new(),
            emits: None,
            state: None,
            detail: "outside of the commit: at least once".to_owned(),
        };
        let part = Part::Sink(Arc::new(SinkOf::<T, F>::new(factory)));
        self.stream.attach(plan, part, self.grouping, self.make)?;
        self.stream.draft.borrow_mut().external_sinks.push(name.to_owned());
        Ok(())
    }
}
