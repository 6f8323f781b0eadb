//! Streams whose tuples come back: what a bolt emits, at an earlier bolt.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use egret_state::keyed::format::Schema;

use super::parts::{BoltPart, Env, Part, SpoutPart};
use super::settings::OutletsOf;
use super::stream::{Grouped, Stream};
use super::{BuildError, Draft, TopologyBuilder, short_type};
use crate::component::StatefulBolt;
use crate::component::{Context, OutletOf};
use crate::grouping::Target;
use crate::plan::{ComponentPlan, Kind};
use crate::task::{BoltTask, Leaving, OnItsWay, Returning, SpoutTask, StateLog, schema};
use crate::{Result, Tuple};

impl TopologyBuilder {
    /// A stream of what comes back, and the end to [connect](Feedback::connect) what is to come back to: a cycle. Its
    /// tuples are on the way round in as many tasks as `parallelism` says.
    ///
    /// ```
    /// use egret::{Either, Emitter};
    /// # use egret::{LogSink, LogSpout, TopologyBuilder};
    ///
    /// fn build(t: &mut TopologyBuilder) -> egret::Result<()> {
    ///     let lines = t.spout("numbers", 1, LogSpout::<String>::from_stream("numbers"))?;
    ///     let numbers = lines.shuffle().bolt("parse", 1, || |line: String, out: &mut Emitter<(u64, u64)>| {
    ///         line.parse().into_iter().for_each(|n| out.emit((n, 0)));
    ///     })?;
    ///     let (back, again) = t.feedback::<(u64, u64)>("again", 2)?;
    ///     // Halves what is even, triples what is odd and adds one, and counts how often, until there is a one.
    ///     let step = || |(n, steps): (u64, u64), out: &mut Emitter<Either<(u64, u64), u64>>| {
    ///         out.emit(match n {
    ///             0 | 1 => Either::Right(steps),
    ///             n if n % 2 == 0 => Either::Left((n / 2, steps + 1)),
    ///             n => Either::Left((3 * n + 1, steps + 1)),
    ///         });
    ///     };
    ///     let stepped = numbers.union(&back)?.shuffle().bolt("step", 2, step)?;
    ///     let (on, done) = stepped.split();
    ///     again.connect(on.local_or_shuffle())?;
    ///     let texts = || |steps: u64, out: &mut Emitter<String>| out.emit(steps.to_string());
    ///     done.shuffle().bolt("texts", 1, texts)?.sink("steps", LogSink::to_stream("steps"))
    /// }
    /// # let mut t = TopologyBuilder::new("collatz");
    /// # build(&mut t)?;
    /// # t.finish()?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    ///
    /// * **What is on its way is part of every commit**, as state of a component named `NAME.back`: a restart goes on
    ///   with it, under another parallelism, too, among whose tasks it is dealt out. So it is with a topology that is
    ///   stopped. Under at-most-once nothing is committed, and what is on its way then is lost.
    /// * **No round waits for a commit**: a tuple comes back as soon as it was taken, and goes round several times
    ///   within a commit.
    /// * **It ends** where its input is bounded: once every spout has come to its end, and nothing is on its way.
    /// * **It is bounded**: what is on its way counts against
    ///   [`in_flight_bytes_max`](crate::RunOptions::in_flight_bytes_max), and spouts wait where that is used up. What
    ///   comes back does not, and where that alone is more, the topology ends with an error that names the cycle: a bolt
    ///   that sends back more than it gets would go on for ever.
    /// * **Event time does not go round.** A bolt in a cycle has the watermark of the spouts outside of it, and what
    ///   comes back is older. So what goes by event time cannot be behind a feedback; windows by
    ///   processing time or by count can.
    ///
    /// What is connected comes back once, so the end is used up by that:
    /// ```compile_fail,E0382
    /// # use egret::{Emitter, LogSpout, TopologyBuilder};
    /// # let mut t = TopologyBuilder::new("t");
    /// # let copy = || |line: String, out: &mut Emitter<String>| out.emit(line);
    /// # let lines = t.spout("lines", 1, LogSpout::<String>::from_stream("lines"))?;
    /// # let (back, again) = t.feedback::<String>("again", 1)?;
    /// # let tried = lines.union(&back)?.shuffle().bolt("try", 1, copy)?;
    /// again.connect(tried.shuffle())?;
    /// again.connect(tried.shuffle())?;
    /// # Ok::<(), egret::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`BuildError`] for a bad or taken name or a parallelism out of range.
    pub fn feedback<T: Tuple>(
        &mut self,
        name: &str,
        parallelism: u32,
    ) -> Result<(Stream<T>, Feedback<T>)> {
        crate::batch::register::<T>();
        let outlet: Arc<Mutex<OutletOf<T>>> = Arc::default();
        let plan = ComponentPlan {
            name: name.to_owned(),
            kind: Kind::Feedback,
            parallelism,
            inputs: Vec::new(),
            feeds: None,
            emits: Some(short_type::<T>()),
            outputs: Vec::new(),
            state: None,
            event_time: None,
            detail: String::new(),
        };
        let part = Part::Spout(Arc::new(BackOf(Arc::clone(&outlet))));
        let component = self.draft.borrow_mut().add(plan, part)?;
        let draft = Rc::clone(&self.draft);
        let end = Feedback { draft, component, outlets: OutletsOf::new(&Arc::default()) };
        Ok((Stream::new(Rc::clone(&self.draft), component, outlet), end))
    }
}

/// Where tuples leave for another round: made by [`TopologyBuilder::feedback`], and to be connected once.
#[must_use = "nothing comes back before it is connected"]
pub struct Feedback<T> {
    draft: Rc<RefCell<Draft>>,
    component: usize,
    outlets: OutletsOf<T, T>,
}

impl<T> fmt::Debug for Feedback<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Feedback<{}> of component {}", short_type::<T>(), self.component)
    }
}

impl<T: Tuple> Feedback<T> {
    /// Has these tuples come back. `local_or_shuffle` is what costs least; which task they leave from is the one they
    /// come back from, so groupings by key keep the order of what they group.
    ///
    /// # Errors
    /// [`BuildError::NoCycle`] where they have nothing to do with what came back; [`BuildError::OtherBuilder`] where they
    /// are of another topology.
    pub fn connect(self, from: Grouped<T>) -> Result<()> {
        let Feedback { draft, component, outlets } = self;
        from.check_same_as(&draft, component)?;
        let (name, parallelism) = {
            let draft = draft.borrow();
            let Some(plan) = draft.components.get(component) else {
                return Err(BuildError::Finished { name: "a feedback".to_owned() }.into());
            };
            let comes_back = from.origins().any(|origin| draft.reaches(component, origin));
            if !comes_back {
                let name = plan.name.clone();
                let origins: Vec<_> = from.origins().map(|origin| draft.name(origin)).collect();
                return Err(BuildError::NoCycle { name, from: origins.join("`, `") }.into());
            }
            (format!("{}.back", plan.name), plan.parallelism)
        };
        let plan = ComponentPlan {
            name,
            kind: Kind::FeedbackEnd,
            parallelism,
            inputs: Vec::new(),
            feeds: Some(component),
            emits: None,
            outputs: Vec::new(),
            state: Some(format!("{} on their way, per task", short_type::<T>())),
            event_time: None,
            detail: String::new(),
        };
        from.unkeyed().attach(plan, Part::Bolt(Arc::new(EndOf(outlets)))).map(drop)
    }
}

impl Draft {
    /// Where tuples leave that come back at `component`, if that is connected.
    pub(super) fn end_of(&self, component: usize) -> Option<usize> {
        self.components.iter().position(|c| c.feeds == Some(component))
    }

    /// Whether tuples of `from` reach `to`, by whatever way but that of a feedback.
    fn reaches(&self, from: usize, to: usize) -> bool {
        let mut reaches = vec![false; self.components.len()];
        let mut all = vec![to];
        while let Some(component) = all.pop() {
            if !std::mem::replace(&mut reaches[component], true) {
                all.extend(self.components[component].inputs.iter().map(|input| input.from));
            }
        }
        reaches[from]
    }
}

struct BackOf<T>(Arc<Mutex<OutletOf<T>>>);

impl<T: Tuple> SpoutPart for BackOf<T> {
    fn check(&self, _: &Env) -> Result<()> {
        Ok(())
    }

    fn stream(&self) -> Option<&str> {
        None
    }

    fn make(&self, cx: Context, targets: &[Target]) -> Box<dyn SpoutTask> {
        let emitter = self.0.lock().expect("no panic while held").make(targets);
        Box::new(Returning::new(emitter, cx))
    }
}

struct EndOf<T>(OutletsOf<T, T>);

impl<T: Tuple> BoltPart for EndOf<T> {
    fn schema(&self) -> Option<Schema> {
        let bolt = OnItsWay::<T>::default();
        Some(schema::<str, <OnItsWay<T> as StatefulBolt<T, T>>::State>(bolt.schema_label()))
    }

    fn make(
        &self,
        env: &Env,
        cx: Context,
        targets: &[Target],
        state: Option<StateLog>,
    ) -> Box<dyn BoltTask> {
        Box::new(Leaving::new(self.0.make(targets), cx, env, state))
    }
}
