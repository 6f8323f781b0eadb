//! What a streamlet is made of: a step with a component, or steps without state that become one together.

use std::fmt;
use std::rc::Rc;

use super::StreamletError;
use super::steps::{Nothing, Steps, StepsBolt};
use super::wiring::{Called, Place, Said, Step, Wiring, Word};
use crate::builder::{BuildError, Grouped, Stream};
use crate::{Result, Tuple};

/// What a [`Streamlet`](super::Streamlet) is made of: a [`Whole`], or a [`Chain`] of steps behind one.
pub trait Upstream: Sized {
    /// The tuples of the streamlet.
    type Out: 'static;
    /// The tuples of the stream behind it.
    type Base: Tuple;
    /// The steps that make the ones of the others.
    type Steps: Steps<Self::Base, Out = Self::Out>;
    /// The steps, behind a component.
    #[doc(hidden)]
    fn chain(self) -> Chain<Self::Base, Self::Steps>;
    /// What has a component, for the steps if there are any.
    #[doc(hidden)]
    fn whole(self) -> Whole<Self::Out>
    where
        Self::Out: Tuple;
    #[doc(hidden)]
    fn say(&mut self, word: Word);
}

/// How tuples find the tasks of what comes next.
type By<T> = dyn Fn(&Stream<T>) -> Grouped<T>;

/// How tuples are dealt out to what comes next, if that was said.
enum Dealt<T> {
    AsItComes,
    /// To one task each, whichever: a key may decide instead.
    Evenly(Rc<By<T>>),
    /// In a way that a key must not undo.
    Exactly(Rc<By<T>>),
}

impl<T> Clone for Dealt<T> {
    fn clone(&self) -> Self {
        match self {
            Dealt::AsItComes => Dealt::AsItComes,
            Dealt::Evenly(by) => Dealt::Evenly(Rc::clone(by)),
            Dealt::Exactly(by) => Dealt::Exactly(Rc::clone(by)),
        }
    }
}

/// The output of a component, or of several.
pub struct Whole<T> {
    step: Rc<dyn Step<T>>,
    dealt: Dealt<T>,
    /// How many tasks what comes next has.
    tasks: Option<u32>,
}

impl<T> Clone for Whole<T> {
    fn clone(&self) -> Self {
        Whole { step: Rc::clone(&self.step), dealt: self.dealt.clone(), tasks: self.tasks }
    }
}

impl<T> fmt::Debug for Whole<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a component's output")
    }
}

impl<T: Tuple> Whole<T> {
    pub(super) fn new(step: impl Step<T> + 'static) -> Whole<T> {
        Whole { step: Rc::new(step), dealt: Dealt::AsItComes, tasks: None }
    }

    /// The stream, for what deals tuples out itself or takes none.
    pub(super) fn stream(&self) -> Result<Stream<T>> {
        let may = matches!(self.dealt, Dealt::AsItComes);
        self.stream_if(may, "does not go by that")
    }

    /// The stream, for what deals tuples out by a key.
    pub(super) fn stream_by_key(&self) -> Result<Stream<T>> {
        let may = !matches!(self.dealt, Dealt::Exactly(_));
        self.stream_if(may, "goes by a key")
    }

    fn stream_if(&self, may: bool, next: &'static str) -> Result<Stream<T>> {
        let stream = self.step.stream()?;
        if may {
            return Ok(stream);
        }
        let (name, _) = stream.first_component().unwrap_or_default();
        Err(BuildError::Streamlet { name, why: StreamletError::DealtOut(next) }.into())
    }

    pub(super) fn tasks(&self) -> Option<u32> {
        self.tasks
    }

    /// The same, each tuple for one task of what comes next, whichever.
    pub(super) fn dealt_evenly(
        self,
        tasks: Option<u32>,
        by: impl Fn(&Stream<T>) -> Grouped<T> + 'static,
    ) -> Whole<T> {
        let dealt = Dealt::Evenly(Rc::new(by));
        Whole { step: self.step, dealt, tasks: tasks.or(self.tasks) }
    }

    /// The same, and which tasks of what comes next get a tuple.
    pub(super) fn dealt_exactly(
        self,
        tasks: Option<u32>,
        by: impl Fn(&Stream<T>) -> Grouped<T> + 'static,
    ) -> Whole<T> {
        let dealt = Dealt::Exactly(Rc::new(by));
        Whole { step: self.step, dealt, tasks: tasks.or(self.tasks) }
    }

    /// Groups the tuples for a bolt. What was given tasks of its own is to use them all; else what has as many as
    /// what is before it takes what is on its worker.
    fn grouped(&self, stream: &Stream<T>, has_tasks: bool) -> Grouped<T> {
        match &self.dealt {
            Dealt::Evenly(by) | Dealt::Exactly(by) => by(stream),
            Dealt::AsItComes if has_tasks => stream.shuffle(),
            Dealt::AsItComes => stream.local_or_shuffle(),
        }
    }

    /// Where a bolt that takes the tuples stands, and the tuples on their way there.
    pub(super) fn lead(&self, said: Said, called: Called<'_>) -> Result<(Place, Grouped<T>)> {
        let stream = self.step.stream()?;
        let has_tasks = said.tasks.is_some();
        let place = said.place(&stream, called, self.tasks)?;
        Ok((place, self.grouped(&stream, has_tasks)))
    }
}

impl<T: Tuple> Upstream for Whole<T> {
    type Out = T;
    type Base = T;
    type Steps = Nothing<T>;

    fn chain(self) -> Chain<T, Nothing<T>> {
        Chain { up: self, steps: Nothing::new(), said: Said::default() }
    }

    fn whole(self) -> Whole<T> {
        self
    }

    fn say(&mut self, word: Word) {
        self.step.say(word);
    }
}

/// Steps without state behind a component: one component together.
pub struct Chain<B, C> {
    pub(super) up: Whole<B>,
    pub(super) steps: C,
    pub(super) said: Said,
}

impl<B, C> fmt::Debug for Chain<B, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("steps behind a component's output")
    }
}

impl<B: Tuple, C: Steps<B>> Chain<B, C> {
    /// What the steps are, in words.
    pub(super) fn words(&self, last: Option<&'static str>) -> String {
        let mut words = Vec::new();
        self.steps.words(&mut words);
        words.extend(last);
        words.join(", ")
    }
}

impl<B: Tuple, C: Steps<B>> Upstream for Chain<B, C> {
    type Out = C::Out;
    type Base = B;
    type Steps = C;

    fn chain(self) -> Chain<B, C> {
        self
    }

    fn whole(self) -> Whole<C::Out>
    where
        C::Out: Tuple,
    {
        let words = self.words(None);
        let Chain { up, steps, said } = self;
        Whole::new(Wiring::saying(said, move |said| {
            let (place, grouped) = up.lead(said, Called::plain("steps"))?;
            grouped.bolt_of(place.of(), words, move || StepsBolt(steps.work()))
        }))
    }

    fn say(&mut self, word: Word) {
        self.said.take(word);
    }
}
