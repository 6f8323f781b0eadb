//! Looks up what a file names, and holds the wiring together: types, keys, cycles, and what goes nowhere.
//!
//! Nothing is built here, so all that is wrong is found at once.

mod grouping;
mod shape;

use std::collections::BTreeMap;

use crate::any::Of;
use crate::boxed::STREAM;
use crate::entry::{Entry, LEFT, RIGHT, Takes, TakesOf};
use crate::fault::{Fault, is_enough};
use crate::meant::{in_words, meant};
use crate::node::{At, Said};
use crate::registry::Registry;
use crate::spec::{By, Component, Input, Role, Spec};

/// The output that dead letters are.
const LETTERS: &str = "dead-letters";

/// A component, and all that it needs.
pub(crate) struct Checked<'a> {
    pub(crate) component: &'a Component,
    pub(crate) entry: &'a Entry,
    pub(crate) inputs: Vec<CheckedInput<'a>>,
}

/// Where tuples come from, and how.
pub(crate) struct CheckedInput<'a> {
    /// The component, by its place in the file.
    pub(crate) from: usize,
    pub(crate) output: Taken<'a>,
    pub(crate) of: Of,
    pub(crate) side: Option<&'a str>,
    pub(crate) by: By,
    pub(crate) with: Option<&'a str>,
}

/// Which output is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Taken<'a> {
    First,
    Named(&'a str),
    Letters,
}

/// A file and the registry it is read with.
struct Check<'a> {
    spec: &'a Spec,
    registry: &'a Registry,
    ids: BTreeMap<&'a str, usize>,
    entries: Vec<Option<&'a Entry>>,
    faults: &'a mut Vec<Fault>,
}

/// The components of a file, each behind those it takes from; what is wrong is left out and noted.
pub(crate) fn check<'a>(
    spec: &'a Spec,
    registry: &'a Registry,
    faults: &'a mut Vec<Fault>,
) -> Vec<(usize, Checked<'a>)> {
    let mut ids = BTreeMap::new();
    for (index, component) in spec.components.iter().enumerate() {
        let Said { at, text } = &component.id;
        if let Some(first) = ids.insert(text.as_str(), index) {
            ids.insert(text, first);
            let first = spec.components[first].id.at;
            let message = format!(
                "there are two components `{text}`, the first at {first}: give one of them another id"
            );
            faults.push(Fault::new(*at, message));
        }
    }
    let mut check = Check { spec, registry, ids, entries: Vec::new(), faults };
    for component in &spec.components {
        let entry = if is_enough(check.faults) { None } else { check.entry(component) };
        check.entries.push(entry);
    }
    let mut checked = BTreeMap::new();
    for (index, component) in spec.components.iter().enumerate() {
        if let Some(entry) = check.entries[index] {
            let inputs = check.inputs(component, entry);
            checked.insert(index, Checked { component, entry, inputs });
        }
    }
    if is_enough(check.faults) {
        // Of what was not looked at, nothing is said.
        return Vec::new();
    }
    check.outputs();
    let order = check.order();
    if !spec.components.iter().any(|component| component.role == Role::Spout) {
        let at = spec.name.as_ref().map_or(At::START, |name| name.at);
        check.faults.push(Fault::new(at, "the topology has no spout: say one under `spouts`"));
    }
    order.into_iter().filter_map(|index| Some((index, checked.remove(&index)?))).collect()
}

impl<'a> Check<'a> {
    fn fault(&mut self, at: At, message: String) {
        self.faults.push(Fault::new(at, message));
    }

    /// What a component is of, its arguments checked.
    fn entry(&mut self, component: &'a Component) -> Option<&'a Entry> {
        let (role, id) = (component.role, &component.id.text);
        let of = component.of.as_ref()?;
        let registry = self.registry;
        let Some(entry) = registry.entries.get(&(role, of.text.clone())) else {
            let other = [Role::Spout, Role::Bolt, Role::Sink]
                .into_iter()
                .find(|other| registry.entries.contains_key(&(*other, of.text.clone())));
            let message = match other {
                Some(other) => format!(
                    "`{}` is a {other}, and `{id}` is said to be a {role}: move it to the {other}s",
                    of.text
                ),
                None => {
                    let there = registry.entries.keys().filter(|(of, _)| *of == role);
                    let meant = meant(&of.text, there.map(|(_, name)| name.as_str()));
                    format!("{role} `{id}`: no {role} is registered as `{}`: {meant}", of.text)
                }
            };
            self.fault(of.at, message);
            return None;
        };
        if let Err(error) = (entry.read)(&component.args) {
            // What is missing is missing there where the others are.
            let at = error.at.unwrap_or(component.args.at);
            let message = match error.path() {
                Some(path) => format!("{role} `{id}`: argument `{path}` {}", error.message),
                None => format!("{role} `{id}`: its arguments: {}", error.message),
            };
            self.fault(at, message);
        }
        if entry.is_in_the_box
            && of.text == STREAM
            && component.parallelism.is_some()
            && role == Role::Sink
        {
            let message = format!(
                "sink `{id}` has a task for each partition of its stream: take `parallelism` away, and say `partitions` in \
                 its `args`"
            );
            self.fault(component.id.at, message);
        }
        if let (Some((of, _)), Some(emits)) = (&component.event_time, entry.emits) {
            let times = &registry.times;
            if Registry::function_of(times, emits, &of.text).is_none() {
                let there = times.iter().filter(|time| time.of == emits);
                let meant = meant(&of.text, there.map(|time| time.name.as_str()));
                let message = format!(
                    "spout `{id}`: no event time of {emits} is registered as `{}`: {meant}",
                    of.text
                );
                self.fault(of.at, message);
            }
        }
        Some(entry)
    }

    fn inputs(&mut self, component: &'a Component, entry: &'a Entry) -> Vec<CheckedInput<'a>> {
        let mut inputs = Vec::new();
        for input in &component.inputs {
            if is_enough(self.faults) {
                break;
            }
            inputs.extend(self.input(component, entry, input));
        }
        let has_all = inputs.len() == component.inputs.len();
        for takes in &entry.takes {
            let mut of_side = inputs.iter().filter(|input| input.side == takes.side);
            let Some(first) = of_side.next() else {
                if has_all && let Some(side) = takes.side {
                    let message = format!(
                        "bolt `{}` takes a left and a right input, and has no {side} one: say `side: {side}` of one",
                        component.id.text
                    );
                    self.fault(component.id.at, message);
                }
                continue;
            };
            if let (Some(_), Some(other)) =
                (takes.keyed, of_side.find(|other| other.with != first.with))
            {
                let keys = in_words([first.with, other.with].into_iter().flatten());
                let message = format!(
                    "bolt `{}` keeps state per key, and its inputs go by {keys}: let them go by one key",
                    component.id.text
                );
                self.fault(component.id.at, message);
            }
        }
        if let (Some(first), true) =
            (inputs.first(), entry.takes.iter().any(|t| matches!(t.of, TakesOf::Any)))
            && let Some(other) = inputs.iter().find(|other| other.of != first.of)
        {
            let message = format!(
                "{} `{}` has inputs of {} and of {}: give it inputs of one type",
                component.role, component.id.text, first.of, other.of
            );
            self.fault(component.id.at, message);
        }
        inputs
    }

    /// `None` where something of it is not there; what else is wrong is noted only.
    fn input(
        &mut self,
        component: &'a Component,
        entry: &'a Entry,
        input: &'a Input,
    ) -> Option<CheckedInput<'a>> {
        let (role, id) = (component.role, component.id.text.as_str());
        let Said { at, text } = &input.from;
        let Some(&from) = self.ids.get(text.as_str()) else {
            let there = self.spec.components.iter().filter(|other| other.role != Role::Sink);
            let meant =
                meant(text, there.map(|other| other.id.text.as_str()).filter(|other| *other != id));
            self.fault(
                *at,
                format!("{role} `{id}` takes from `{text}`, which is not there: {meant}"),
            );
            return None;
        };
        let (output, of) = self.output(component, input, from)?;
        let takes = self.side(component, entry, input)?;
        let fits = self.fits(component, takes, input, of);
        let (by, with) = self.grouping(component, entry, takes, input, of).filter(|_| fits)?;
        Some(CheckedInput { from, output, of, side: takes.side, by, with })
    }

    /// Which output of a component is taken, and what it is of.
    fn output(
        &mut self,
        component: &'a Component,
        input: &'a Input,
        from: usize,
    ) -> Option<(Taken<'a>, Of)> {
        let (role, id) = (component.role, &component.id.text);
        let source = &self.spec.components[from];
        let name = &source.id.text;
        if source.role == Role::Sink {
            let message = format!(
                "{role} `{id}` takes from `{name}`, which is a sink: nothing comes from it"
            );
            self.fault(input.from.at, message);
            return None;
        }
        let entry = self.entries[from]?;
        let Some(asked) = &input.output else { return entry.emits.map(|of| (Taken::First, of)) };
        if asked.text.replace('_', "-") == LETTERS
            && let Some(letters) = &entry.letters
        {
            let sends = source.on_error.is_some_and(|on_error| {
                use egret::{OnError, Then};
                matches!(
                    on_error,
                    OnError::DeadLetter | OnError::Retry { then: Then::DeadLetter, .. }
                )
            });
            if !sends {
                let message = format!(
                    "{role} `{id}` takes the dead letters of `{name}`, which has none: say `on_error: dead-letter` of \
                     `{name}`"
                );
                self.fault(asked.at, message);
                return None;
            }
            return Some((Taken::Letters, letters.of));
        }
        let named = entry.outputs.iter().find(|output| output.name == asked.text);
        if named.is_none() {
            let letters = entry.letters.as_ref().map(|_| LETTERS);
            let there = entry.outputs.iter().map(|output| output.name).chain(letters);
            let meant = meant(&asked.text, there);
            let message = format!(
                "{role} `{id}` takes output `{}` of `{name}`, which has none of that name: {meant}",
                asked.text
            );
            self.fault(asked.at, message);
        }
        named.map(|output| (Taken::Named(output.name), output.of))
    }

    /// Which of its inputs one is.
    fn side(
        &mut self,
        component: &'a Component,
        entry: &'a Entry,
        input: &'a Input,
    ) -> Option<&'a Takes> {
        let (role, id) = (component.role, &component.id.text);
        match (&entry.takes[..], &input.side) {
            ([one], None) => return Some(one),
            ([one], Some(side)) => {
                let message =
                    format!("{role} `{id}` takes one input, which has no side: take `side` away");
                self.fault(side.at, message);
                return Some(one);
            }
            (two, Some(side)) => {
                let found = two.iter().find(|takes| takes.side == Some(side.text.as_str()));
                if found.is_none() {
                    let meant = meant(&side.text, [LEFT, RIGHT]);
                    let message = format!("{role} `{id}` has no side `{}`: {meant}", side.text);
                    self.fault(side.at, message);
                }
                return found;
            }
            (two, None) => {
                let types: Vec<String> = two.iter().map(said_of).collect();
                let message = format!(
                    "{role} `{id}` takes two inputs, {}: say of this one `side: left` or `side: right`",
                    types.join(" and ")
                );
                self.fault(input.from.at, message);
            }
        }
        None
    }

    /// Whether tuples of this type are taken.
    fn fits(&mut self, component: &Component, takes: &Takes, input: &Input, of: Of) -> bool {
        let (role, id) = (component.role, &component.id.text);
        let (from, at) = (&input.from.text, input.from.at);
        let output = match &input.output {
            Some(output) => format!("output `{}` of `{from}`", output.text),
            None => format!("`{from}`"),
        };
        match takes.of {
            TakesOf::One(wanted) if wanted != of => {
                let message = format!(
                    "{role} `{id}` takes {wanted}, and {output} emits {of}: give it an input of {wanted}, or put a bolt \
                     between them that makes {wanted} of {of}"
                );
                self.fault(at, message);
                false
            }
            TakesOf::One(_) => true,
            TakesOf::Any => {
                let puts = self.registry.puts.get(&of.id);
                let is_stream = component.of.as_ref().is_some_and(|of| of.text == STREAM);
                let fits = puts.is_some_and(|puts| puts.is_record() || !is_stream);
                if !fits {
                    let message = format!(
                        "{role} `{id}` writes records to a stream, and {output} emits {of}, which is none: register it \
                         with `records::<{of}>()`, or put a bolt between them that makes text of it"
                    );
                    self.fault(at, message);
                }
                fits
            }
        }
    }
}

/// `String on the left`.
fn said_of(takes: &Takes) -> String {
    let side = takes.side.unwrap_or_default();
    match takes.of {
        TakesOf::One(of) => format!("{of} on the {side}"),
        TakesOf::Any => format!("anything on the {side}"),
    }
}
