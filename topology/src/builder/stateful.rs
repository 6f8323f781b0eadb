//! Bolts with state per task, attached to streams.

use std::rc::Rc;
use std::sync::{Arc, Mutex};

use egret_state::keyed::format::Schema;

use super::parts::{BoltPart, Env, Part};
use super::settings::{Letters, OutletsOf};
use super::short_type;
use super::stream::{Grouped, Stream};
use crate::component::{Context, OutletOf, StatefulBolt};
use crate::grouping::Target;
use crate::plan::{ComponentPlan, Kind};
use crate::task::{BoltTask, StateLog, Stateful, schema};
use crate::{Result, Tuple};

impl<T: Tuple> Grouped<T> {
    /// Attaches a bolt with state per task, of `parallelism` tasks; `factory` makes one instance for each. The
    /// parallelism may be another at each start, as for any bolt: see [`Rescale`](crate::Rescale).
    ///
    /// # Errors
    /// [`BuildError`](super::BuildError) for a bad or taken name or a parallelism out of range.
    pub fn stateful<O, B, F>(self, name: &str, parallelism: u32, factory: F) -> Result<Stream<O>>
    where
        O: Tuple,
        B: StatefulBolt<T, O>,
        F: Fn() -> B + Send + Sync + 'static,
    {
        crate::batch::register::<O>();
        let outlet: Arc<Mutex<OutletOf<O>>> = Arc::default();
        let plan = ComponentPlan {
            name: name.to_owned(),
            kind: Kind::StatefulBolt,
            parallelism,
            inputs: Vec::new(),
            feeds: None,
            emits: Some(short_type::<O>()),
            outputs: Vec::new(),
            state: Some(format!("{} per task", short_type::<B::State>())),
            event_time: None,
            detail: String::new(),
        };
        let part = StatefulOf::<T, O, F> { factory, outlets: OutletsOf::new(&outlet) };
        let draft = Rc::clone(&self.draft);
        let index = self.attach(plan, Part::Bolt(Arc::new(part)))?;
        Ok(Stream::new(draft, index, outlet))
    }
}

struct StatefulOf<I, O, F> {
    factory: F,
    outlets: OutletsOf<O, I>,
}

impl<I, O, B, F> BoltPart for StatefulOf<I, O, F>
where
    I: Tuple,
    O: Tuple,
    B: StatefulBolt<I, O>,
    F: Fn() -> B + Send + Sync,
{
    fn letters(&self) -> Option<Letters> {
        Some(self.outlets.letters())
    }

    fn schema(&self) -> Option<Schema> {
        Some(schema::<str, B::State>((self.factory)().schema_label()))
    }

    fn make(
        &self,
        env: &Env,
        cx: Context,
        targets: &[Target],
        state: Option<StateLog>,
    ) -> Box<dyn BoltTask> {
        let out = self.outlets.make(targets);
        Box::new(Stateful::<I, O, B>::new((self.factory)(), out, cx, env, state))
    }
}
