//! What is said of a component once it is registered: its named outputs, and its key.

use std::marker::PhantomData;

use egret::{Output, Tuple};

use super::Registry;
use crate::any::{AnyStream, Of, typed};
use crate::entry::Declared;
use crate::spec::Role;

/// A component that was registered: more can be said of it.
pub struct Registered<'a, O> {
    pub(super) registry: &'a mut Registry,
    pub(super) name: (Role, String),
    pub(super) of: PhantomData<fn() -> O>,
}

impl<O> std::fmt::Debug for Registered<'_, O> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Registered({} {})", self.name.0, self.name.1)
    }
}

impl<O: Tuple> Registered<'_, O> {
    /// It has a named output as well, which inputs take with `output: NAME`.
    ///
    /// ```
    /// # let mut registry = egret_yaml::Registry::new();
    /// use egret::{Emitter, Output};
    ///
    /// const BAD: Output<String> = Output::new("bad");
    ///
    /// let parse = || |line: String, out: &mut Emitter<u64>| match line.parse() {
    ///     Ok(number) => out.emit(number),
    ///     Err(_) => out.emit_to(&BAD, line),
    /// };
    /// registry.bolt("parse", move |()| parse).output(&BAD);
    /// ```
    pub fn output<U: Tuple>(self, output: &Output<U>) -> Self {
        self.registry.knows::<U>();
        let output = *output;
        let declared = Declared {
            name: output.name(),
            of: Of::named::<U>(),
            declare: Box::new(move |stream| typed::<O>(stream)?.with_output(&output).map(drop)),
            take: Box::new(move |stream| {
                let taken: Box<dyn AnyStream> = Box::new(typed::<O>(stream)?.output(&output)?);
                Ok(taken)
            }),
        };
        if let Some(entry) = self.registry.entries.get_mut(&self.name) {
            entry.outputs.push(declared);
        }
        self
    }

    /// Its inputs are grouped by this key, unless the file says another one.
    pub fn by(self, key: &str) -> Self {
        if let Some(entry) = self.registry.entries.get_mut(&self.name) {
            entry.key = Some(key.to_owned());
        }
        self
    }
}
