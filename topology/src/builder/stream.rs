//! Typed streams between components, and what is attached to them once they are grouped.

use std::cell::RefCell;
use std::marker::PhantomData;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use super::edge::{Edge, Origin};
use super::parts::{BoltOf, Part, SinkOf, SinkPart};
use super::{BuildError, Draft, short_type};
use crate::component::{Bolt, EventTime, OutletOf, Sink};
use crate::grouping::{Grouping, MakePartitioner};
use crate::plan::{ComponentPlan, InputPlan, Kind};
use crate::{Either, Result, Tuple};

/// Tuples of one type: the output of a component, or of several. Attach as many consumers as you like;
/// each sees every tuple.
pub struct Stream<T> {
    pub(crate) draft: Rc<RefCell<Draft>>,
    pub(super) origins: Vec<Origin<T>>,
}

impl<T> Clone for Stream<T> {
    fn clone(&self) -> Self {
        Stream { draft: Rc::clone(&self.draft), origins: self.origins.clone() }
    }
}

impl<T> std::fmt::Debug for Stream<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let origins: Vec<String> = self.origins.iter().map(|o| o.component.to_string()).collect();
        write!(f, "Stream<{}> of component {}", short_type::<T>(), origins.join(", "))
    }
}

impl<T: Tuple> Stream<T> {
    pub(crate) fn new(
        draft: Rc<RefCell<Draft>>,
        component: usize,
        outlet: Arc<Mutex<OutletOf<T>>>,
    ) -> Stream<T> {
        Stream { draft, origins: vec![Origin::new(component, outlet)] }
    }

    pub(crate) fn grouped(&self, grouping: Grouping, make: &MakePartitioner<T>) -> Grouped<T> {
        let edge = |origin: &Origin<T>| Edge::new(origin, grouping, make);
        let edges = self.origins.iter().map(edge).collect();
        Grouped { draft: Rc::clone(&self.draft), edges, of: PhantomData }
    }

    /// This stream and another of the same type as one: what is attached gets the tuples of both, those of
    /// each component in their order. `a.union(&b)?.union(&c)?` is one of three.
    ///
    /// # Errors
    /// [`BuildError::OtherBuilder`] when the other stream is of another topology.
    pub fn union(&self, other: &Stream<T>) -> Result<Stream<T>> {
        let of = |origins: &[Origin<T>]| origins.first().map(|origin| origin.component);
        check_same((&self.draft, of(&self.origins)), (&other.draft, of(&other.origins)))?;
        let origins = self.origins.iter().chain(&other.origins).cloned().collect();
        Ok(Stream { draft: Rc::clone(&self.draft), origins })
    }

    /// Says the event time of a spout's tuples, in ms; call it on the stream that
    /// [`TopologyBuilder::spout`](super::TopologyBuilder::spout) gave. Whatever this stream reaches then has
    /// a [watermark](crate::Context::watermark). Each split is expected to be in order, and one that is
    /// quiet is left out after a while: see [`EventTime`] and
    /// [`event_time_with`](Stream::event_time_with).
    ///
    /// # Errors
    /// As there.
    pub fn event_time<F>(&self, time_of: F) -> Result<Stream<T>>
    where
        F: Fn(&T) -> i64 + Send + Sync + 'static,
    {
        self.event_time_with(EventTime::default(), time_of)
    }

    /// The same, and how far splits may be out of order, and when a quiet one is left out.
    ///
    /// # Errors
    /// [`BuildError::EventTimeOfBolt`] when this is not the stream of one spout;
    /// [`BuildError::EventTimeTwice`] when it was said before.
    pub fn event_time_with<F>(&self, config: EventTime, time_of: F) -> Result<Stream<T>>
    where
        F: Fn(&T) -> i64 + Send + Sync + 'static,
    {
        let mut draft = self.draft.borrow_mut();
        let is_spout = |component: usize| {
            draft.components.get(component).is_some_and(|c| c.kind == Kind::Spout)
        };
        let (component, outlet) = match &self.origins[..] {
            [Origin { component, outlet: Some(outlet), .. }] if is_spout(*component) => {
                (*component, outlet)
            }
            others => {
                let names: Vec<_> = others.iter().map(|o| draft.name(o.component)).collect();
                return Err(BuildError::EventTimeOfBolt { name: names.join(", ") }.into());
            }
        };
        let spout = &mut draft.components[component];
        if spout.event_time.is_some() {
            return Err(BuildError::EventTimeTwice { name: spout.name.clone() }.into());
        }
        spout.event_time = Some(config);
        let latest_of = Arc::new(move |tuples: &[T]| tuples.iter().map(&time_of).max());
        let mut outlet = outlet.lock().expect("no panic while held");
        outlet.event_time = Some((latest_of, config));
        drop(outlet);
        drop(draft);
        Ok(self.clone())
    }

    /// Says that the component's windows go by a watermark.
    pub(super) fn needs_event_time(&self) {
        let components = self.origins.iter().map(|origin| origin.component);
        self.draft.borrow_mut().need_event_time.extend(components);
    }

    /// Says that the component, which has no windows, goes by a watermark.
    pub(crate) fn goes_by_event_time(&self) {
        let components = self.origins.iter().map(|origin| origin.component);
        self.draft.borrow_mut().go_by_event_time.extend(components);
    }

    /// The first component it comes from: its name and its tasks. Nothing once the topology is finished.
    pub(crate) fn first_component(&self) -> Option<(String, u32)> {
        let first = self.origins.first()?.component;
        let draft = self.draft.borrow();
        draft.components.get(first).map(|plan| (plan.name.clone(), plan.parallelism))
    }

    /// Whether a component of the topology has this name.
    pub(crate) fn is_taken(&self, name: &str) -> bool {
        self.draft.borrow().components.iter().any(|plan| plan.name == name)
    }

    /// Whether a component has a name that says when it was wired.
    pub(crate) fn is_by_order(&self, name: &str) -> bool {
        self.draft.borrow().by_order.contains(name)
    }

    /// The component that is to have this name has it of when it was wired.
    pub(crate) fn goes_by_order(&self, name: &str) {
        self.draft.borrow_mut().by_order.insert(name.to_owned());
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
            feeds: None,
            emits: None,
            outputs: Vec::new(),
            state: None,
            event_time: None,
            detail,
        };
        self.grouped(grouping, &make).attach(plan, Part::Sink(part)).map(|_| ())
    }
}

impl<A: Tuple, B: Tuple> Stream<Either<A, B>> {
    /// Two outputs of one component: what it emits as [`Left`](Either::Left), and what as
    /// [`Right`](Either::Right). One that nobody takes is dropped.
    ///
    /// ```
    /// use egret::{Either, Emitter};
    /// # use egret::{LogSink, LogSpout, TopologyBuilder};
    /// # let mut t = TopologyBuilder::new("t");
    /// # let lines = t.spout("l", 1, LogSpout::<String>::from_stream("l"))?;
    /// let parsed = lines.shuffle().bolt("parse", 2, || {
    ///     |line: String, out: &mut Emitter<Either<u64, String>>| {
    ///         out.emit(line.parse().map_or(Either::Right(line), Either::Left));
    ///     }
    /// })?;
    /// let (numbers, others) = parsed.split();
    /// # let texts = || |n: u64, out: &mut Emitter<String>| out.emit(n.to_string());
    /// # numbers.shuffle().bolt("texts", 1, texts)?.sink("n", LogSink::to_stream("n"))?;
    /// others.sink("others", LogSink::to_stream("others"))?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    pub fn split(&self) -> (Stream<A>, Stream<B>) {
        fn left<A, B>(either: Either<A, B>) -> Option<A> {
            if let Either::Left(left) = either { Some(left) } else { None }
        }
        fn right<A, B>(either: Either<A, B>) -> Option<B> {
            if let Either::Right(right) = either { Some(right) } else { None }
        }
        (self.side(left), self.side(right))
    }

    fn side<U: Tuple>(&self, pick: fn(Either<A, B>) -> Option<U>) -> Stream<U> {
        let origins = self.origins.iter().map(|origin| origin.side(pick)).collect();
        Stream { draft: Rc::clone(&self.draft), origins }
    }
}

/// Refuses streams of two topologies.
fn check_same(
    (left, of_left): (&Rc<RefCell<Draft>>, Option<usize>),
    (right, of_right): (&Rc<RefCell<Draft>>, Option<usize>),
) -> Result<()> {
    if Rc::ptr_eq(left, right) {
        return Ok(());
    }
    let name = |draft: &Rc<RefCell<Draft>>, component: Option<usize>| {
        component.map_or_else(String::new, |component| draft.borrow().name(component))
    };
    let (first, second) = (name(left, of_left), name(right, of_right));
    Err(BuildError::OtherBuilder { first, second }.into())
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

/// Streams with their groupings: what a component can be attached to.
pub struct Grouped<T> {
    pub(crate) draft: Rc<RefCell<Draft>>,
    edges: Vec<Edge>,
    of: PhantomData<fn(T)>,
}

impl<T> std::fmt::Debug for Grouped<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let edge = |edge: &Edge| format!("component {} by {}", edge.component, edge.grouping);
        let edges: Vec<String> = self.edges.iter().map(edge).collect();
        write!(f, "Grouped<{}> of {}", short_type::<T>(), edges.join(", "))
    }
}

impl<T: Tuple> Grouped<T> {
    fn first(&self) -> (&Rc<RefCell<Draft>>, Option<usize>) {
        (&self.draft, self.edges.first().map(|edge| edge.component))
    }

    /// This input and another of the same type, each with its own grouping, for one bolt:
    /// `orders.shuffle().union(retries.global())?.bolt(..)`.
    ///
    /// # Errors
    /// [`BuildError::OtherBuilder`] when the other one is of another topology.
    pub fn union(mut self, other: Grouped<T>) -> Result<Grouped<T>> {
        check_same(self.first(), other.first())?;
        self.edges.extend(other.edges);
        Ok(self)
    }

    /// This input and another of any type, each with its own grouping, for one bolt, which takes
    /// [`Either`]: this one's tuples are its `Left`, the other's its `Right`. Tuples of the two come in no
    /// order to each other. What is joined can be joined again, for three inputs:
    /// `Either<Either<A, B>, C>`.
    ///
    /// # Errors
    /// [`BuildError::OtherBuilder`] when the other one is of another topology.
    pub fn join<U: Tuple>(self, other: Grouped<U>) -> Result<Grouped<Either<T, U>>> {
        check_same(self.first(), other.first())?;
        let sides = self.edges.iter().map(|edge| edge.side + 1).max().unwrap_or_default();
        let left = self.edges.into_iter().map(|edge| edge.turned(Either::<T, U>::Left, 0));
        let right = other.edges.into_iter().map(|edge| edge.turned(Either::<T, U>::Right, sides));
        Ok(Grouped { draft: self.draft, edges: left.chain(right).collect(), of: PhantomData })
    }

    /// Refuses what is of another topology than a component.
    pub(super) fn check_same_as(&self, draft: &Rc<RefCell<Draft>>, component: usize) -> Result<()> {
        check_same(self.first(), (draft, Some(component)))
    }

    /// The components its tuples come from.
    pub(super) fn origins(&self) -> impl Iterator<Item = usize> {
        self.edges.iter().map(|edge| edge.component)
    }

    /// The same for what looks at no key.
    pub(crate) fn unkeyed(self) -> Grouped<T> {
        Grouped { edges: self.edges.into_iter().map(Edge::unkeyed::<T>).collect(), ..self }
    }

    /// Adds a component that takes these inputs.
    pub(crate) fn attach(self, mut plan: ComponentPlan, part: Part) -> Result<usize> {
        // What is between emitter and task may be another type than either's own.
        crate::batch::register::<T>();
        let mut draft = self.draft.borrow_mut();
        let mut edges = draft.edges.clone();
        for edge in &self.edges {
            let Some(next) = edges.get_mut(edge.component) else {
                return Err(BuildError::Finished { name: plan.name }.into());
            };
            let (from, grouping, side) = (edge.component, edge.grouping, edge.side);
            let output = edge.output.map(str::to_owned);
            plan.inputs.push(InputPlan { from, output, edge: *next, grouping, side });
            *next += 1;
        }
        let numbers: Vec<usize> = plan.inputs.iter().map(|input| input.edge).collect();
        let index = draft.add(plan, part)?;
        drop(draft);
        self.edges.into_iter().zip(numbers).for_each(|(edge, number)| edge.connect(number));
        Ok(index)
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
        self.bolt_of((name, parallelism), String::new(), factory)
    }

    /// The same, and what it is made of, in words.
    pub(crate) fn bolt_of<O, B, F>(
        self,
        (name, parallelism): (&str, u32),
        detail: String,
        factory: F,
    ) -> Result<Stream<O>>
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
            feeds: None,
            emits: Some(short_type::<O>()),
            outputs: Vec::new(),
            state: None,
            event_time: None,
            detail,
        };
        let part = Part::Bolt(Arc::new(BoltOf::<T, O, F>::new(factory, &outlet)));
        let draft = Rc::clone(&self.draft);
        let index = self.attach(plan, part)?;
        Ok(Stream::new(draft, index, outlet))
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
            feeds: None,
            emits: None,
            outputs: Vec::new(),
            state: None,
            event_time: None,
            detail: "outside of the commit: at least once".to_owned(),
        };
        let part = Part::Sink(Arc::new(SinkOf::<T, F>::new(factory)));
        let draft = Rc::clone(&self.draft);
        self.attach(plan, part)?;
        draft.borrow_mut().external_sinks.push(name.to_owned());
        Ok(())
    }
}
