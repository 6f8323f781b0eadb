//! What is said of a component beside its code, once it is attached.

use std::any::Any;
use std::fmt::Display;
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::edge::Origin;
use super::stream::Stream;
use super::{BuildError, Draft, short_type};
use crate::component::{Config, DeadLetter, OnError, OutletOf, Outlets, Output};
use crate::grouping::Target;
use crate::plan::Kind;
use crate::{Result, Tuple};

/// How plans name the output that dead letters are; a name that no other can have.
const LETTERS: &str = "dead letters";

/// See the [module](self).
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    pub(crate) on_error: OnError,
    /// How often its tasks tick.
    pub(crate) tick: Option<Duration>,
    /// How many tuples a second all its tasks may emit.
    pub(crate) rate: Option<f64>,
    pub(crate) config: Config,
}

/// Where a bolt's dead letters are attached; of which type only those know who made it and ask for it.
pub(crate) struct Letters {
    pub(crate) outlet: Arc<dyn Any + Send + Sync>,
    /// The type of the tuples.
    pub(crate) of: String,
    /// By how many edges they are taken.
    pub(crate) edges: usize,
}

/// Where what a bolt of tuples `I` puts out is attached: what it emits, and the tuples at which it failed.
pub(crate) struct OutletsOf<O, I> {
    main: Arc<Mutex<OutletOf<O>>>,
    letters: Arc<Mutex<OutletOf<DeadLetter<I>>>>,
}

impl<O: Tuple, I: Tuple> OutletsOf<O, I> {
    pub(crate) fn new(main: &Arc<Mutex<OutletOf<O>>>) -> OutletsOf<O, I> {
        OutletsOf { main: Arc::clone(main), letters: Arc::default() }
    }

    /// Makes the output of one task.
    pub(crate) fn make(&self, targets: &[Target]) -> Outlets<O, I> {
        let main = self.main.lock().expect("no panic while held");
        let letters = self.letters.lock().expect("no panic while held");
        let edges = main.edges_total() + letters.edges_total();
        assert_eq!(targets.len(), edges, "one target per edge");
        let taken = !letters.edges.is_empty();
        Outlets::new(main.build(targets, true), taken.then(|| letters.build(targets, true)))
    }

    pub(crate) fn letters(&self) -> Letters {
        let edges = self.letters.lock().expect("no panic while held").edges.len();
        Letters { outlet: Arc::clone(&self.letters) as _, of: short_type::<I>(), edges }
    }
}

impl<T: Tuple> Stream<T> {
    /// Has what becomes of a tuple at which the bolt that this stream comes from fails, with an error or a panic:
    /// [`OnError`]. Unless it is said, the generation fails, and the topology goes on from its last commit.
    ///
    /// ```
    /// use std::time::Duration;
    /// use egret::{Bolt, ComponentResult, Context, Emitter, OnError, Then};
    /// # use egret::{LogSink, LogSpout, TopologyBuilder};
    ///
    /// struct Parse;
    /// impl Bolt<String, u64> for Parse {
    ///     fn execute(&mut self, line: String, out: &mut Emitter<u64>, _: &Context) -> ComponentResult {
    ///         out.emit(line.parse()?);
    ///         Ok(())
    ///     }
    /// }
    ///
    /// # let mut t = TopologyBuilder::new("t");
    /// # let lines = t.spout("l", 1, LogSpout::<String>::from_stream("l"))?;
    /// let numbers = lines.shuffle().bolt("parse", 2, || Parse)?;
    /// numbers.on_error(OnError::Retry {
    ///     times: 3,
    ///     backoff: Duration::from_millis(10),
    ///     then: Then::Fail,
    /// })?;
    /// # let texts = || |n: u64, out: &mut Emitter<String>| out.emit(n.to_string());
    /// # numbers.shuffle().bolt("texts", 1, texts)?.sink("n", LogSink::to_stream("n"))?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    ///
    /// Said again, it is what was said last.
    ///
    /// # Errors
    /// [`BuildError::NotABolt`] when the stream is that of a spout, [`BuildError::NotOne`] when it is that of several
    /// components.
    pub fn on_error(&self, on_error: OnError) -> Result<Stream<T>> {
        let component = self.one_bolt()?;
        let mut draft = self.draft.borrow_mut();
        // What was said before holds no more, and is no part of the plan either.
        let before = std::mem::replace(&mut draft.settings[component].on_error, on_error);
        let plan = &mut draft.components[component];
        if before.takes_back() {
            let said = before.to_string();
            let kept = plan.detail.strip_suffix(&said).map(|kept| kept.trim_end_matches("; "));
            plan.detail = kept.unwrap_or(&plan.detail).to_owned();
        }
        if on_error.takes_back() {
            let detail = if plan.detail.is_empty() { "" } else { "; " };
            plan.detail.push_str(&format!("{detail}{on_error}"));
        }
        drop(draft);
        Ok(self.clone())
    }

    /// The tuples at which the bolt that this stream comes from failed, where they
    /// [become dead letters](OnError::DeadLetter); `I` is the type of the tuples it takes. They are part of the commit
    /// as any other output: each is there once, whatever fails, and what its call emitted or changed is not.
    ///
    /// ```
    /// use egret::{DeadLetter, OnError, Stream};
    /// # use egret::{Bolt, ComponentResult, Context, Emitter, LogSink, LogSpout, TopologyBuilder};
    /// # struct Parse;
    /// # impl Bolt<String, u64> for Parse {
    /// #     fn execute(&mut self, line: String, out: &mut Emitter<u64>, _: &Context) -> ComponentResult {
    /// #         out.emit(line.parse()?);
    /// #         Ok(())
    /// #     }
    /// # }
    /// # let mut t = TopologyBuilder::new("t");
    /// # let lines = t.spout("l", 1, LogSpout::<String>::from_stream("l"))?;
    /// let numbers = lines.shuffle().bolt("parse", 2, || Parse)?.on_error(OnError::DeadLetter)?;
    /// let failed: Stream<DeadLetter<String>> = numbers.dead_letters()?;
    /// failed.sink("failed", LogSink::to_stream("failed"))?;
    /// # let texts = || |n: u64, out: &mut Emitter<String>| out.emit(n.to_string());
    /// # numbers.shuffle().bolt("texts", 1, texts)?.sink("n", LogSink::to_stream("n"))?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`on_error`](Self::on_error), which has to be said before: [`BuildError::NoDeadLetters`] when it was not told
    /// to make any; and [`BuildError::OtherTuples`] when the bolt takes another type.
    pub fn dead_letters<I: Tuple>(&self) -> Result<Stream<DeadLetter<I>>> {
        let component = self.one_bolt()?;
        crate::batch::register::<DeadLetter<I>>();
        let draft = self.draft.borrow();
        let name = draft.name(component);
        let Some(Letters { outlet, of, .. }) = draft.parts[component].letters() else {
            return Err(BuildError::NotABolt { name }.into());
        };
        if !draft.settings[component].on_error.sends_letters() {
            return Err(BuildError::NoDeadLetters { name }.into());
        }
        let outlet = outlet.downcast::<Mutex<OutletOf<DeadLetter<I>>>>();
        let outlet = outlet.map_err(|_| {
            let wanted = short_type::<I>();
            BuildError::OtherTuples { name, takes: of, wanted }
        })?;
        drop(draft);
        let origin = Origin::named(component, &Output::new(LETTERS), outlet);
        Ok(Stream { draft: std::rc::Rc::clone(&self.draft), origins: vec![origin] })
    }

    /// Has [`tick`](crate::Bolt::tick) called on every task of the bolt that this stream comes from, about as often:
    /// in processing time, when no tuple comes as well.
    ///
    /// ```
    /// use std::time::Duration;
    /// use egret::{Bolt, ComponentResult, Context, Emitter};
    /// # use egret::{LogSink, LogSpout, TopologyBuilder};
    ///
    /// /// Says what it saw since it said so last.
    /// #[derive(Default)]
    /// struct Sample(Option<String>);
    /// impl Bolt<String, String> for Sample {
    ///     fn execute(&mut self, line: String, _: &mut Emitter<String>, _: &Context) -> ComponentResult {
    ///         self.0 = Some(line);
    ///         Ok(())
    ///     }
    ///     fn tick(&mut self, out: &mut Emitter<String>, _: &Context) -> ComponentResult {
    ///         self.0.take().into_iter().for_each(|line| out.emit(line));
    ///         Ok(())
    ///     }
    /// }
    ///
    /// # let mut t = TopologyBuilder::new("t");
    /// # let lines = t.spout("l", 1, LogSpout::<String>::from_stream("l"))?;
    /// let samples = lines.shuffle().bolt("sample", 2, Sample::default)?;
    /// samples.tick_every(Duration::from_secs(1))?;
    /// # samples.sink("o", LogSink::to_stream("o"))?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`BuildError::NotABolt`] when the stream is that of a spout, [`BuildError::NotOne`] when it is that of several
    /// components, and [`BuildError::Tick`] when it is to tick all the time.
    pub fn tick_every(&self, every: Duration) -> Result<Stream<T>> {
        let component = self.one_bolt()?;
        let mut draft = self.draft.borrow_mut();
        if every < Duration::from_millis(1) {
            return Err(BuildError::Tick { name: draft.name(component) }.into());
        }
        draft.settings[component].tick = Some(every);
        drop(draft);
        Ok(self.clone())
    }

    /// Has all tasks of the spout that this stream comes from emit no more than so many tuples a second together; each
    /// has an equal part of them. A spout that may not emit is not asked for anything.
    ///
    /// ```
    /// # use egret::{LogSink, LogSpout, TopologyBuilder};
    /// # let mut t = TopologyBuilder::new("t");
    /// let lines = t.spout("lines", 4, LogSpout::<String>::from_stream("lines"))?.rate(10_000.0)?;
    /// # lines.sink("o", LogSink::to_stream("o"))?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`BuildError::NotASpout`] when the stream is not that of one spout; [`BuildError::Rate`] when nothing could be
    /// emitted at this rate.
    pub fn rate(&self, tuples_per_second: f64) -> Result<Stream<T>> {
        let component = self.one_component()?;
        let mut draft = self.draft.borrow_mut();
        let name = draft.name(component);
        if draft.components[component].kind != Kind::Spout {
            return Err(BuildError::NotASpout { name }.into());
        }
        if !(tuples_per_second.is_finite() && tuples_per_second >= 0.001) {
            let rate = tuples_per_second.to_string();
            return Err(BuildError::Rate { name, rate }.into());
        }
        draft.settings[component].rate = Some(tuples_per_second);
        drop(draft);
        Ok(self.clone())
    }

    /// Gives the component that this stream comes from a value under a name, for its tasks to
    /// [read](crate::Context::config). Whoever starts the topology may give it another one, of the same type:
    /// `--set COMPONENT.KEY=VALUE`, or [`Topology::set`](crate::Topology::set).
    ///
    /// ```
    /// use egret::{Bolt, ComponentResult, Context, Emitter};
    /// # use egret::{LogSink, LogSpout, TopologyBuilder};
    ///
    /// #[derive(Default)]
    /// struct Longer(usize);
    /// impl Bolt<String, String> for Longer {
    ///     fn open(&mut self, cx: &Context) -> ComponentResult {
    ///         self.0 = cx.config().get("than")?;
    ///         Ok(())
    ///     }
    ///     fn execute(&mut self, line: String, out: &mut Emitter<String>, _: &Context) -> ComponentResult {
    ///         if line.len() > self.0 {
    ///             out.emit(line);
    ///         }
    ///         Ok(())
    ///     }
    /// }
    ///
    /// # let mut t = TopologyBuilder::new("t");
    /// # let lines = t.spout("l", 1, LogSpout::<String>::from_stream("l"))?;
    /// let long = lines.shuffle().bolt("longer", 2, Longer::default)?.config("than", 80)?;
    /// # long.sink("o", LogSink::to_stream("o"))?;
    /// let mut topology = t.finish()?;
    /// topology.set("longer.than=120")?;
    /// assert!(topology.set("longer.then=120").is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`BuildError::NotOne`] when the stream is that of several components; [`BuildError::Name`] for a bad name.
    pub fn config<V>(&self, key: &str, value: V) -> Result<Stream<T>>
    where
        V: FromStr<Err: Display> + Display,
    {
        let component = self.one_component()?;
        // So that `--set` tells the two apart.
        if key.contains(['.', '=']) {
            return Err(
                BuildError::Name { what: "value of a component", name: key.to_owned() }.into()
            );
        }
        super::check_name("value of a component", key)?;
        let mut draft = self.draft.borrow_mut();
        draft.settings[component].config.give::<V>(key, value.to_string());
        drop(draft);
        Ok(self.clone())
    }

    fn one_bolt(&self) -> Result<usize> {
        let component = self.one_component()?;
        let draft = self.draft.borrow();
        let plan = &draft.components[component];
        match plan.kind {
            Kind::Spout => Err(BuildError::NotABolt { name: plan.name.clone() }.into()),
            _ => Ok(component),
        }
    }

    /// The component this is the stream of.
    fn one_component(&self) -> Result<usize> {
        let draft = self.draft.borrow();
        match &self.origins[..] {
            [Origin { component, .. }] if *component < draft.components.len() => Ok(*component),
            others => {
                let names: Vec<_> = others.iter().map(|o| draft.name(o.component)).collect();
                Err(BuildError::NotOne { names: names.join("`, `") }.into())
            }
        }
    }
}

impl Draft {
    /// By how many edges a component's dead letters are taken; refuses one that makes some and has none.
    pub(super) fn letter_edges(&self, component: usize) -> Result<usize> {
        let edges = self.parts[component].letters().map_or(0, |letters| letters.edges);
        if edges == 0 && self.settings[component].on_error.sends_letters() {
            return Err(BuildError::DeadLettersUnused { name: self.name(component) }.into());
        }
        Ok(edges)
    }
}
