//! Named outputs of a component: declared on the stream that attaching it gave, and taken from there.

use std::any::Any;
use std::rc::Rc;
use std::sync::{Arc, Mutex};

use super::edge::Origin;
use super::stream::Stream;
use super::{BuildError, check_name, short_type};
use crate::component::{DeclaredOf, OutletOf, Output};
use crate::plan::OutputPlan;
use crate::{Result, Tuple};

impl<T: Tuple> Stream<T> {
    /// Declares a named output of the component whose stream this is, beside the output that this stream is:
    /// the component emits to it with [`Emitter::emit_to`](crate::Emitter::emit_to), and [`output`](Stream::output)
    /// takes it. Spouts and bolts of every kind may have some. See [`Output`] for an example.
    ///
    /// One that nobody takes is dropped. Between the outputs of a component there is no order. Of a spout, event time
    /// is that of this stream alone: what comes by its named outputs does not hold the watermark back.
    ///
    /// # Errors
    /// [`BuildError::DuplicateOutput`] when there is one of that name; [`BuildError::OutputsOf`] when this is not
    /// the stream of one component; [`BuildError::Name`] for a name that cannot be.
    pub fn with_output<U: Tuple>(&self, output: &Output<U>) -> Result<Stream<T>> {
        check_name("named output", output.name())?;
        crate::batch::register::<U>();
        let (component, outlet) = self.own_outlet()?;
        let mut outlet = outlet.lock().expect("no panic while held");
        let mut draft = self.draft.borrow_mut();
        let Some(plan) = draft.components.get_mut(component) else {
            return Err(BuildError::Finished { name: output.name().to_owned() }.into());
        };
        let name = output.name().to_owned();
        if outlet.outputs.iter().any(|other| other.name() == name) {
            return Err(BuildError::DuplicateOutput { component: plan.name.clone(), name }.into());
        }
        plan.outputs.push(OutputPlan { name, of: short_type::<U>() });
        outlet.outputs.push(Arc::new(DeclaredOf { output: *output, outlet: Arc::default() }));
        Ok(self.clone())
    }

    /// The stream of a named output of the component whose stream this is.
    ///
    /// # Errors
    /// [`BuildError::UnknownOutput`] when none of that name was declared, with those that were;
    /// [`BuildError::OutputType`] when it was declared to be of another type; [`BuildError::OutputsOf`] when this is
    /// not the stream of one component.
    pub fn output<U: Tuple>(&self, output: &Output<U>) -> Result<Stream<U>> {
        let (component, outlet) = self.own_outlet()?;
        let outlet = outlet.lock().expect("no panic while held");
        let name = || (self.draft.borrow().name(component), output.name().to_owned());
        let Some(declared) = outlet.outputs.iter().find(|other| other.name() == output.name())
        else {
            let there = outlet.outputs.iter().map(|other| other.name().to_owned()).collect();
            let (component, name) = name();
            return Err(BuildError::UnknownOutput { component, name, there }.into());
        };
        let of = declared.of();
        let declared: Arc<dyn Any + Send + Sync> = Arc::clone(declared) as _;
        let Ok(declared) = declared.downcast::<DeclaredOf<U>>() else {
            let (component, name) = name();
            let asked = short_type::<U>();
            return Err(BuildError::OutputType { component, name, declared: of, asked }.into());
        };
        let origin = Origin::named(component, output, Arc::clone(&declared.outlet));
        Ok(Stream { draft: Rc::clone(&self.draft), origins: vec![origin] })
    }

    /// The component whose first output this stream is, all of it.
    fn own_outlet(&self) -> Result<(usize, &Arc<Mutex<OutletOf<T>>>)> {
        if let [Origin { component, outlet: Some(outlet), .. }] = &self.origins[..] {
            return Ok((*component, outlet));
        }
        let draft = self.draft.borrow();
        let names: Vec<_> = self.origins.iter().map(|o| draft.name(o.component)).collect();
        Err(BuildError::OutputsOf { name: names.join("`, `") }.into())
    }
}
