//! Named outputs of a component, beside its first one, each with tuples of a type of its own.
//!
//! A component that has some emits to them with [`Emitter::emit_to`]. Each is an emitter of its own type, kept in the
//! component's emitter under its place: looking it up compares the name's address with the few there are.

use std::any::Any;
use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex};

use super::emitter::{Emitter, Outlet, OutletOf};
use crate::Tuple;
use crate::builder::short_type;
use crate::grouping::Target;

/// Names an output of tuples of `T`: declared where the component is attached, and emitted to by it.
///
/// ```
/// use egret::{Emitter, Output};
/// # use egret::{LogSink, LogSpout, TopologyBuilder};
///
/// const BAD: Output<String> = Output::new("bad");
///
/// # let mut t = TopologyBuilder::new("t");
/// # let lines = t.spout("l", 1, LogSpout::<String>::from_stream("l"))?;
/// let numbers = lines
///     .shuffle()
///     .bolt("parse", 2, || {
///         |line: String, out: &mut Emitter<u64>| match line.parse() {
///             Ok(number) => out.emit(number),
///             Err(_) => out.emit_to(&BAD, line),
///         }
///     })?
///     .with_output(&BAD)?;
/// let bad = numbers.output(&BAD)?;
/// # let texts = || |n: u64, out: &mut Emitter<String>| out.emit(n.to_string());
/// # numbers.shuffle().bolt("texts", 1, texts)?.sink("n", LogSink::to_stream("n"))?;
/// bad.sink("bad", LogSink::to_stream("bad"))?;
/// # t.finish()?;
/// # Ok::<(), egret::Error>(())
/// ```
pub struct Output<T> {
    name: &'static str,
    of: PhantomData<fn(T)>,
}

impl<T> Output<T> {
    /// The output of this name: 1 to 255 letters, digits, `-`, `_` or `.`, and another one for each output of a
    /// component.
    pub const fn new(name: &'static str) -> Output<T> {
        Output { name, of: PhantomData }
    }

    /// Its name.
    pub const fn name(&self) -> &'static str {
        self.name
    }
}

impl<T> Clone for Output<T> {
    fn clone(&self) -> Output<T> {
        *self
    }
}

impl<T> Copy for Output<T> {}

impl<T> fmt::Debug for Output<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Output<{}>({})", short_type::<T>(), self.name)
    }
}

/// A tuple emitted to an output that does not take it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutputError {
    /// The component declared no such output.
    #[error(
        "it emits to output `{name}`, which it does not have ({}): declare it with `Stream::with_output` where the \
         component is attached",
        in_words(.there)
    )]
    NotDeclared {
        /// What was emitted to.
        name: &'static str,
        /// The outputs it has.
        there: Vec<String>,
    },
    /// An output of that name takes tuples of another type.
    #[error(
        "it emits {given} to output `{name}`, which was declared to be of {declared}: use one `Output` for both"
    )]
    OfAnotherType {
        /// What was emitted to.
        name: &'static str,
        /// What it takes.
        declared: String,
        /// What was emitted.
        given: String,
    },
}

/// Outputs as an error names them.
pub(crate) fn in_words(names: &[String]) -> String {
    match names {
        [] => "there are none".to_owned(),
        names => {
            let names: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
            format!("there is {}", names.join(", "))
        }
    }
}

/// A named output as the builder has it: how to make each task's emitter for it.
pub(crate) trait Declared: Any + Send + Sync {
    fn name(&self) -> &'static str;
    /// The type of its tuples.
    fn of(&self) -> String;
    /// How many edges leave it.
    fn edges(&self) -> usize;
    /// Makes the emitter of a task; `targets` are those of all of the component's edges.
    fn make(&self, targets: &[Target], slices: bool) -> Named;
}

/// What is declared of an output of tuples of `T`.
pub(crate) struct DeclaredOf<T> {
    pub(crate) output: Output<T>,
    pub(crate) outlet: Arc<Mutex<OutletOf<T>>>,
}

impl<T: Tuple> Declared for DeclaredOf<T> {
    fn name(&self) -> &'static str {
        self.output.name
    }

    fn of(&self) -> String {
        short_type::<T>()
    }

    fn edges(&self) -> usize {
        self.outlet.lock().expect("no panic while held").edges_total()
    }

    fn make(&self, targets: &[Target], slices: bool) -> Named {
        let outlet = self.outlet.lock().expect("no panic while held").build(targets, slices);
        Named { name: self.output.name, of: self.of(), outlet: Box::new(outlet) }
    }
}

/// A named output of one task.
pub(crate) struct Named {
    pub(super) name: &'static str,
    of: String,
    pub(super) outlet: Box<dyn NamedOutlet>,
}

impl Named {
    /// Whether this is the output of that name: one name has one address, mostly.
    #[inline]
    fn is(&self, name: &'static str) -> bool {
        std::ptr::eq(self.name, name) || self.name == name
    }
}

/// An emitter whose type is known to who emits to it.
pub(crate) trait NamedOutlet: Outlet {
    fn as_any(&mut self) -> &mut dyn Any;
    /// Why not everything that was emitted has somewhere to go.
    fn leads_on(&self) -> Result<(), String>;
    /// Whether a call emitted more than may be packed.
    fn overflowed(&self) -> bool;
    /// Whether the task should rest.
    fn is_full(&self) -> bool;
    /// Bytes emitted since the task began.
    fn bytes(&self) -> usize;
    /// What is emitted from here on can be taken back, until it stands.
    fn attempt(&mut self);
    /// What was emitted is good.
    fn stands(&mut self);
    /// What was emitted since the attempt began was not.
    fn take_back(&mut self);
}

/// The emitter for one of these outputs.
#[inline]
pub(super) fn emitter_of<'a, T: Tuple>(
    outputs: &'a mut [Named],
    output: &Output<T>,
) -> Result<&'a mut Emitter<T>, OutputError> {
    let Some(place) = outputs.iter().position(|named| named.is(output.name)) else {
        let there = outputs.iter().map(|named| named.name.to_owned()).collect();
        return Err(OutputError::NotDeclared { name: output.name, there });
    };
    let Named { of, outlet, .. } = &mut outputs[place];
    outlet.as_any().downcast_mut().ok_or_else(|| OutputError::OfAnotherType {
        name: output.name,
        declared: of.clone(),
        given: short_type::<T>(),
    })
}
