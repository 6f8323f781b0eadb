//! Wiring a topology: spouts, bolts and sinks by name, groupings between them, everything typed.
//!
//! ```
//! use egret::{Blob, Emitter, LogSink, LogSpout, TopologyBuilder};
//!
//! fn build(t: &mut TopologyBuilder) -> egret::Result<()> {
//!     let lines = t.spout("lines", 2, LogSpout::<String>::from_stream("lines"))?;
//!     let words = lines.shuffle().bolt("split", 2, || {
//!         |line: String, out: &mut Emitter<String>| {
//!             line.split_whitespace().for_each(|word| out.emit(word.to_owned()));
//!         }
//!     })?;
//!     words.sink("words", LogSink::to_stream("words"))
//! }
//! let mut t = TopologyBuilder::new("split");
//! build(&mut t)?;
//! println!("{}", t.finish()?.explain(2));
//! # Ok::<(), egret::Error>(())
//! ```
//!
//! A wiring that cannot run is an error at the call that makes it, naming the component and the fix.
//!
//! # What cannot be written
//!
//! A stream is there once the component it comes from is attached, so nothing can be attached to what comes after it.
//! What is to come back goes by way of a [`feedback`](TopologyBuilder::feedback):
//! ```compile_fail,E0425
//! # use egret::{Emitter, LogSpout, TopologyBuilder};
//! # let mut t = TopologyBuilder::new("t");
//! # let copy = || |line: String, out: &mut Emitter<String>| out.emit(line);
//! # let lines = t.spout("lines", 1, LogSpout::<String>::from_stream("lines"))?;
//! let tried = lines.union(&failed)?.shuffle().bolt("try", 1, copy)?;
//! let failed = tried.shuffle().bolt("failed", 1, copy)?;
//! # Ok::<(), egret::Error>(())
//! ```
//!
//! State per key is kept behind `fields`, which says the key:
//! ```compile_fail,E0599
//! # use egret::{LogSpout, TopologyBuilder};
//! # struct Count;
//! # let mut t = TopologyBuilder::new("t");
//! # let lines = t.spout("lines", 1, LogSpout::<String>::from_stream("lines"))?;
//! lines.shuffle().keyed("count", 2, || Count)?;
//! # Ok::<(), egret::Error>(())
//! ```
//!
//! A bolt takes what the stream has:
//! ```compile_fail,E0631
//! # use egret::{Emitter, LogSpout, TopologyBuilder};
//! # let mut t = TopologyBuilder::new("t");
//! # let lines = t.spout("lines", 1, LogSpout::<String>::from_stream("lines"))?;
//! lines.shuffle().bolt("double", 2, || |n: u64, out: &mut Emitter<u64>| out.emit(2 * n))?;
//! # Ok::<(), egret::Error>(())
//! ```

mod call;
mod edge;
mod error;
mod feedback;
mod groupings;
mod keyed;
mod outputs;
mod parts;
mod settings;
mod stateful;
mod stream;
#[cfg(test)]
mod tests;
mod topology;
#[cfg(test)]
mod window_tests;
mod windowed;

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use egret_state::Guarantee;

pub use error::BuildError;
pub use feedback::Feedback;
pub use keyed::{ComputedKey, EitherKey, KeyField, KeyFn, KeyedStream};
pub use parts::SpoutSource;
pub(crate) use parts::{BoltPart, Env, Outputs, Part, SinkPart, SpoutPart};
pub(crate) use settings::Settings;
pub(crate) use stream::SinkParts;
pub use stream::{Grouped, SinkSpec, Stream};
pub use topology::Topology;
pub use windowed::{Dropped, LateMode, OneKey, ToStream, WindowedStream};

use crate::component::{MakeHook, OutletOf, Replay, Spout, TaskHook};
use crate::plan::{ComponentPlan, Kind};
use crate::window::WindowError;
use crate::{Result, Tuple};

/// Units of state placement when the topology does not say.
pub const KEY_GROUPS: u32 = 4096;

/// The most tasks one component may have.
pub const PARALLELISM_MAX: u32 = 4096;

#[derive(Default)]
pub(crate) struct Draft {
    pub(crate) components: Vec<ComponentPlan>,
    pub(crate) parts: Vec<Part>,
    pub(crate) settings: Vec<Settings>,
    pub(crate) replay: Vec<Option<Replay>>,
    pub(crate) edges: Vec<usize>,
    pub(crate) external_sinks: Vec<String>,
    pub(crate) outputs: Vec<String>,
    /// Components whose windows go by a watermark.
    pub(crate) need_event_time: Vec<usize>,
    /// Others that go by a watermark.
    pub(crate) go_by_event_time: Vec<usize>,
    /// Names that were given, with a number in them that says when the component was wired.
    pub(crate) by_order: BTreeSet<String>,
}

impl Draft {
    /// A component's name; once the topology is finished, nothing is known of it here.
    pub(crate) fn name(&self, component: usize) -> String {
        let name = |component: &ComponentPlan| component.name.clone();
        self.components.get(component).map_or_else(|| format!("#{component}"), name)
    }

    /// Checks a new component's name and parallelism and adds it.
    pub(crate) fn add(&mut self, component: ComponentPlan, part: Part) -> Result<usize> {
        let name = component.name.clone();
        check_name("component", &name)?;
        if self.components.iter().any(|c| c.name == name) {
            return Err(BuildError::DuplicateName { name }.into());
        }
        if component.parallelism == 0 || component.parallelism > PARALLELISM_MAX {
            let parallelism = component.parallelism;
            return Err(BuildError::Parallelism { name, parallelism, max: PARALLELISM_MAX }.into());
        }
        for input in &component.inputs {
            assert_eq!(input.edge, self.edges[input.from], "edges are attached in order");
            self.edges[input.from] += 1;
        }
        self.components.push(component);
        self.parts.push(part);
        self.settings.push(Settings::default());
        self.replay.push(None);
        self.edges.push(0);
        Ok(self.components.len() - 1)
    }
}

pub(crate) fn check_name(what: &'static str, name: &str) -> Result<()> {
    let fits = !name.is_empty()
        && name.len() <= egret_log::caps::NAME_BYTES_MAX
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        && !name.starts_with('.');
    match fits {
        true => Ok(()),
        false => Err(BuildError::Name { what, name: name.to_owned() }.into()),
    }
}

/// Takes the wiring of one topology.
pub struct TopologyBuilder {
    name: String,
    guarantee: Guarantee,
    key_groups: u32,
    fuses: bool,
    hooks: Vec<MakeHook>,
    draft: Rc<RefCell<Draft>>,
}

impl std::fmt::Debug for TopologyBuilder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let components = self.draft.borrow().components.len();
        write!(f, "TopologyBuilder({}, {components} components)", self.name)
    }
}

impl TopologyBuilder {
    /// An empty topology of this name. The name is its identity: its state is found under it.
    pub fn new(name: &str) -> TopologyBuilder {
        TopologyBuilder {
            name: name.to_owned(),
            guarantee: Guarantee::EffectivelyOnce,
            key_groups: KEY_GROUPS,
            fuses: true,
            hooks: Vec::new(),
            draft: Rc::default(),
        }
    }

    /// Names the topology.
    pub fn name(&mut self, name: &str) -> &mut TopologyBuilder {
        name.clone_into(&mut self.name);
        self
    }

    /// What the topology promises; effectively-once unless said otherwise.
    pub fn guarantee(&mut self, guarantee: Guarantee) -> &mut TopologyBuilder {
        self.guarantee = guarantee;
        self
    }

    /// Units of state placement: fixed at the first run, and the most tasks a bolt with state can use.
    pub fn key_groups(&mut self, key_groups: u32) -> &mut TopologyBuilder {
        self.key_groups = key_groups;
        self
    }

    /// Whether bolts that feed each other task by task run as one operator, which they do unless it is said: see
    /// [`is_fused`](crate::plan::PhysicalPlan::is_fused). It changes nothing but how fast they are, and that one that
    /// waits holds up those before it on its worker; `explain` says what is fused. A topology may be restarted with
    /// another answer.
    ///
    /// ```
    /// # use egret::{Emitter, LogSink, LogSpout, TopologyBuilder};
    /// let mut t = TopologyBuilder::new("copies");
    /// t.fuse(false);
    /// # let copy = || |line: String, out: &mut Emitter<String>| out.emit(line);
    /// # let lines = t.spout("lines", 1, LogSpout::<String>::from_stream("lines"))?;
    /// let once = lines.shuffle().bolt("once", 2, copy)?;
    /// let twice = once.local_or_shuffle().bolt("twice", 2, copy)?;
    /// # twice.sink("out", LogSink::to_stream("out"))?;
    /// assert!(!t.finish()?.explain(2).contains("fused"));
    /// # Ok::<(), egret::Error>(())
    /// ```
    pub fn fuse(&mut self, fuses: bool) -> &mut TopologyBuilder {
        self.fuses = fuses;
        self
    }

    /// Has every task of every component told of to a hook of its own, which `make` makes.
    ///
    /// ```
    /// use std::time::Duration;
    /// use egret::{Context, TaskHook, TopologyBuilder};
    ///
    /// /// Tells of batches that take long.
    /// #[derive(Default)]
    /// struct Slow(String);
    /// impl TaskHook for Slow {
    ///     fn opened(&mut self, cx: &Context) {
    ///         self.0 = cx.id().to_string();
    ///     }
    ///     fn executed(&mut self, tuples: usize, time: Duration) {
    ///         if time > Duration::from_secs(1) {
    ///             eprintln!("{}: {tuples} tuples took {time:?}", self.0);
    ///         }
    ///     }
    /// }
    ///
    /// let mut t = TopologyBuilder::new("slow");
    /// t.hook(Slow::default);
    /// ```
    pub fn hook<H: TaskHook>(
        &mut self,
        make: impl Fn() -> H + Send + Sync + 'static,
    ) -> &mut TopologyBuilder {
        self.hooks.push(Arc::new(move || Box::new(make())));
        self
    }

    /// Adds a spout of `parallelism` tasks. `source` is a [`LogSpout`](crate::LogSpout) or a closure
    /// that makes one instance of a [`Spout`] for each task.
    ///
    /// # Errors
    /// [`BuildError`] for a bad or taken name or a parallelism out of range.
    pub fn spout<T, S>(&mut self, name: &str, parallelism: u32, source: S) -> Result<Stream<T>>
    where
        T: Tuple,
        S: SpoutSource<T>,
    {
        crate::batch::register::<T>();
        let outlet: Arc<Mutex<OutletOf<T>>> = Arc::default();
        let replay = source.make().replay();
        let component = ComponentPlan {
            name: name.to_owned(),
            kind: Kind::Spout,
            parallelism,
            inputs: Vec::new(),
            feeds: None,
            emits: Some(short_type::<T>()),
            outputs: Vec::new(),
            state: None,
            event_time: None,
            detail: source.detail(),
        };
        let part = Part::Spout(Arc::new(parts::SpoutOf::new(source, Arc::clone(&outlet))));
        let mut draft = self.draft.borrow_mut();
        let index = draft.add(component, part)?;
        draft.replay[index] = Some(replay);
        drop(draft);
        Ok(Stream::new(Rc::clone(&self.draft), index, outlet))
    }

    /// Checks the whole and makes it runnable.
    ///
    /// # Errors
    /// [`BuildError`] when the topology is empty, a component's output or its dead letters go nowhere, a spout or
    /// sink cannot keep the guarantee, or windows go by a watermark that nothing gives.
    pub fn finish(self) -> Result<Topology> {
        check_name("topology", &self.name)?;
        if !(1..=1 << 16).contains(&self.key_groups) {
            return Err(
                BuildError::KeyGroups { name: self.name, key_groups: self.key_groups }.into()
            );
        }
        let draft = self.draft.take();
        if !draft.components.iter().any(|c| c.kind == Kind::Spout) {
            return Err(BuildError::NoSpout { name: self.name }.into());
        }
        for (index, component) in draft.components.iter().enumerate() {
            if component.kind == Kind::Feedback && draft.end_of(index).is_none() {
                return Err(BuildError::NotConnected { name: component.name.clone() }.into());
            }
            let of_letters = draft.letter_edges(index)?;
            if component.emits.is_some() && draft.edges[index] == of_letters {
                return Err(BuildError::Unused { name: component.name.clone() }.into());
            }
            if component.kind.keeps_state() && component.parallelism > self.key_groups {
                return Err(BuildError::MoreTasksThanKeyGroups {
                    kind: component.kind,
                    name: component.name.clone(),
                    parallelism: component.parallelism,
                    key_groups: self.key_groups,
                }
                .into());
            }
            let cannot_replay = draft.replay[index] == Some(Replay::None);
            if cannot_replay && self.guarantee != Guarantee::AtMostOnce {
                let (name, guarantee) = (component.name.clone(), self.guarantee);
                return Err(BuildError::CannotReplay { name, guarantee }.into());
            }
            let is_queue = draft.replay[index] == Some(Replay::Queue);
            if is_queue && self.guarantee == Guarantee::EffectivelyOnce {
                return Err(BuildError::OnlyAcknowledges { name: component.name.clone() }.into());
            }
        }
        if let (Guarantee::EffectivelyOnce, Some(name)) =
            (self.guarantee, draft.external_sinks.first())
        {
            return Err(BuildError::ExternalSink { name: name.clone() }.into());
        }
        let plan = crate::plan::LogicalPlan {
            name: self.name,
            guarantee: self.guarantee,
            key_groups: self.key_groups,
            fuses: self.fuses,
            components: draft.components,
        };
        let without = |component: &&usize| plan.timed_spouts_of(**component).is_empty();
        if let Some(component) = draft.need_event_time.iter().find(without) {
            let name = plan.components[*component].name.clone();
            return Err(BuildError::Window { name, why: WindowError::NoEventTime }.into());
        }
        if let Some(component) = draft.go_by_event_time.iter().find(without) {
            let name = plan.components[*component].name.clone();
            return Err(BuildError::NoEventTime { name }.into());
        }
        for component in draft.need_event_time.iter().chain(&draft.go_by_event_time) {
            if let Some(feedback) = plan.feedback_of(*component) {
                let name = |component: usize| plan.components[component].name.clone();
                let (name, feedback) = (name(*component), name(feedback));
                return Err(BuildError::TimeBehindFeedback { name, feedback }.into());
            }
        }
        let settings = draft.settings.into_iter().map(Arc::new).collect();
        Ok(Topology { plan, parts: draft.parts, settings, hooks: self.hooks.into() })
    }
}

/// A type's name without its path: `String`, `(Blob, u64)`.
pub(crate) fn short_type<T: ?Sized>() -> String {
    let full = std::any::type_name::<T>();
    let mut short = String::new();
    let mut word = String::new();
    for c in full.chars() {
        if c.is_alphanumeric() || c == '_' || c == ':' {
            word.push(c);
        } else {
            short.push_str(word.rsplit("::").next().unwrap_or_default());
            word.clear();
            short.push(c);
        }
    }
    short.push_str(word.rsplit("::").next().unwrap_or_default());
    short
}
