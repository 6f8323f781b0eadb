//! How two formats differ, in words; and whether the new one reads what the old one wrote.
//!
//! `postcard` has no names and no lengths in a value: a field that is renamed reads on, one that is added
//! anywhere does not. An enum may get more variants at its end, and a number of variable length more bits.

use std::collections::BTreeSet;
use std::fmt;

use super::schema::{Part, Schema, StateFormat};
use super::{Field, Format, Shape, Variant};

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Difference {
    /// Where, such as `state.seen[].at`.
    pub at: String,
    /// What was there and what is there now, in words.
    pub what: String,
    /// What it means for bytes that are stored.
    pub effect: Effect,
}

/// What a difference means for bytes that are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Effect {
    /// The new format reads what the old one wrote.
    Reads,
    /// It does not, or nobody can tell.
    Breaks,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.at, self.what)
    }
}

/// Differences that are told; there may be as many as there are nodes.
const TOLD_MAX: usize = 32;

/// How the schema of the code differs from the one that state was stored under.
pub fn between(old: &Schema, new: &Schema) -> Vec<Difference> {
    let mut found = Vec::new();
    if old.key != new.key {
        let what = format!("was {}, is {}", old.key, new.key);
        found.push(Difference { at: "key".into(), what, effect: Effect::Breaks });
    }
    if old.label != new.label {
        let what = format!("was \"{}\", is \"{}\"", old.label, new.label);
        found.push(Difference { at: "label".into(), what, effect: Effect::Breaks });
    }
    match (&old.state, &new.state) {
        (StateFormat::Plain(old), StateFormat::Plain(new)) => {
            Compare::new(old, new, &mut found).run("state");
        }
        (StateFormat::Parts(old), StateFormat::Parts(new)) => parts(old, new, &mut found),
        (old, new) => {
            let kind = |state: &StateFormat| match state {
                StateFormat::Plain(_) => "one value",
                StateFormat::Parts(_) => "cells",
            };
            let what = format!("was {}, is {}", kind(old), kind(new));
            found.push(Difference { at: "state".into(), what, effect: Effect::Breaks });
        }
    }
    found
}

/// How one format differs from an older one; `at` names what they are formats of.
pub fn of_formats(at: &str, old: &Format, new: &Format) -> Vec<Difference> {
    let mut found = Vec::new();
    Compare::new(old, new, &mut found).run(at);
    found
}

fn parts(old: &[Part], new: &[Part], found: &mut Vec<Difference>) {
    let numbers: BTreeSet<u32> = old.iter().chain(new).map(|part| part.number).collect();
    for number in numbers {
        let of = |parts: &'_ [Part]| parts.iter().position(|part| part.number == number);
        let (before, after) = (of(old).map(|at| &old[at]), of(new).map(|at| &new[at]));
        let (what, effect) = match (before, after) {
            (Some(before), Some(after)) => {
                let at = format!("state.{}", after.name);
                if before.kind != after.kind {
                    let what = format!("was a {:?}, is a {:?}", before.kind, after.kind);
                    let (what, effect) = (what.to_lowercase(), Effect::Breaks);
                    found.push(Difference { at, what, effect });
                    continue;
                }
                if before.name != after.name {
                    let (at, what) = (at.clone(), format!("was called `{}`", before.name));
                    found.push(Difference { at, what, effect: Effect::Reads });
                }
                Compare::new(&before.format, &after.format, found).run(&at);
                continue;
            }
            // A part that nothing was ever put into is empty.
            (None, Some(after)) => (format!("part `{}` is new", after.name), Effect::Reads),
            (Some(before), _) => (format!("part `{}` is gone", before.name), Effect::Breaks),
            (None, None) => continue,
        };
        found.push(Difference { at: "state".into(), what, effect });
    }
}

struct Compare<'a> {
    old: &'a Format,
    new: &'a Format,
    found: &'a mut Vec<Difference>,
    /// Pairs of definitions that were compared, or are being: what holds itself comes to an end.
    met: BTreeSet<(u32, u32)>,
    told: usize,
}

impl<'a> Compare<'a> {
    fn new(old: &'a Format, new: &'a Format, found: &'a mut Vec<Difference>) -> Compare<'a> {
        Compare { old, new, found, met: BTreeSet::new(), told: 0 }
    }

    fn run(&mut self, at: &str) {
        let (old, new) = (self.old, self.new);
        self.shapes(at, &old.shape, &new.shape, 0);
    }

    fn tell(&mut self, at: &str, what: String, effect: Effect) {
        self.told += 1;
        match self.told {
            ..TOLD_MAX => self.found.push(Difference { at: at.to_owned(), what, effect }),
            TOLD_MAX => {
                let what = "there are more differences".to_owned();
                self.found.push(Difference { at: at.to_owned(), what, effect: Effect::Breaks });
            }
            _ => {}
        }
    }

    fn shapes(&mut self, at: &str, old: &'a Shape, new: &'a Shape, depth: usize) {
        if self.told > TOLD_MAX {
            return;
        }
        if depth > DEPTH_MAX {
            return self.tell(at, "too deep to be compared".into(), Effect::Breaks);
        }
        let depth = depth + 1;
        match (old, new) {
            (Shape::Defined(a), Shape::Defined(b)) => {
                if self.met.insert((*a, *b)) {
                    let (old, new) = (self.old.definition(*a), self.new.definition(*b));
                    if let (Some(old), Some(new)) = (old, new) {
                        self.shapes(at, old, new, depth);
                    }
                }
            }
            (Shape::Defined(a), new) => {
                if let Some(old) = self.old.definition(*a) {
                    self.shapes(at, old, new, depth);
                }
            }
            (old, Shape::Defined(b)) => {
                if let Some(new) = self.new.definition(*b) {
                    self.shapes(at, old, new, depth);
                }
            }
            (Shape::Option(a), Shape::Option(b)) => self.shapes(at, a, b, depth),
            (Shape::Seq(a), Shape::Seq(b)) => self.shapes(&format!("{at}[]"), a, b, depth),
            (Shape::Array(a, n), Shape::Array(b, m)) if n == m => {
                self.shapes(&format!("{at}[]"), a, b, depth);
            }
            (Shape::Map(a, b), Shape::Map(c, d)) => {
                self.shapes(&format!("{at}[key]"), a, c, depth);
                self.shapes(&format!("{at}[]"), b, d, depth);
            }
            (Shape::Tuple(a), Shape::Tuple(b)) if a.len() == b.len() => {
                for (number, (a, b)) in a.iter().zip(b).enumerate() {
                    self.shapes(&format!("{at}.{number}"), a, b, depth);
                }
            }
            (Shape::Struct(a), Shape::Struct(b)) => self.fields(at, a, b, depth),
            (Shape::Enum(a), Shape::Enum(b)) => self.variants(at, a, b, depth),
            (Shape::Opaque(a), Shape::Opaque(b)) if a == b => {}
            (a, b) if a == b => {}
            (a, b) => {
                let effect = if wider(a, b) { Effect::Reads } else { Effect::Breaks };
                self.tell(at, format!("was {}, is {}", short(a), short(b)), effect);
            }
        }
    }

    fn fields(&mut self, at: &str, old: &'a [Field], new: &'a [Field], depth: usize) {
        if old.len() == new.len() {
            let moved = old.iter().zip(new).filter(|(a, b)| a.name != b.name);
            let names = |fields: &[Field]| -> BTreeSet<String> {
                fields.iter().map(|field| field.name.clone()).collect()
            };
            if moved.count() > 0 && names(old) == names(new) {
                return self.tell(at, "its fields are in another order".into(), Effect::Breaks);
            }
            for (a, b) in old.iter().zip(new) {
                let at = format!("{at}.{}", b.name);
                if a.name != b.name {
                    self.tell(&at, format!("was called `{}`", a.name), Effect::Reads);
                }
                self.shapes(&at, &a.shape, &b.shape, depth);
            }
            return;
        }
        for a in old {
            match new.iter().find(|b| b.name == a.name) {
                Some(b) => self.shapes(&format!("{at}.{}", b.name), &a.shape, &b.shape, depth),
                None => self.tell(at, format!("field `{}` is gone", a.name), Effect::Breaks),
            }
        }
        for b in new.iter().filter(|b| old.iter().all(|a| a.name != b.name)) {
            let what = format!("field `{}: {}` is new", b.name, short(&b.shape));
            self.tell(at, what, Effect::Breaks);
        }
    }

    fn variants(&mut self, at: &str, old: &'a [Variant], new: &'a [Variant], depth: usize) {
        for (number, (a, b)) in old.iter().zip(new).enumerate() {
            let at = format!("{at}.{}", b.name);
            if a.name != b.name {
                let elsewhere = new.iter().any(|b| b.name == a.name);
                if elsewhere {
                    let what = format!("variant {number} was `{}`, which is another now", a.name);
                    self.tell(&at, what, Effect::Breaks);
                    continue;
                }
                self.tell(&at, format!("was called `{}`", a.name), Effect::Reads);
            }
            self.shapes(&at, &a.shape, &b.shape, depth);
        }
        for a in old.iter().skip(new.len()) {
            self.tell(at, format!("variant `{}` is gone", a.name), Effect::Breaks);
        }
        for b in new.iter().skip(old.len()) {
            self.tell(at, format!("variant `{}` is new", b.name), Effect::Reads);
        }
    }
}

/// Shapes in shapes: definitions are compared once, so this is more than any format has.
const DEPTH_MAX: usize = 512;

/// Whether every number of the one kind is a number of the other with the same bytes.
fn wider(old: &Shape, new: &Shape) -> bool {
    let unsigned = [Shape::U16, Shape::U32, Shape::U64, Shape::U128];
    let signed = [Shape::I16, Shape::I32, Shape::I64, Shape::I128];
    [unsigned, signed].iter().any(|kinds| {
        let place = |shape| kinds.iter().position(|kind| kind == shape);
        matches!((place(old), place(new)), (Some(old), Some(new)) if old < new)
    })
}

/// A shape in a sentence.
fn short(shape: &Shape) -> String {
    let text = shape.to_string();
    if text.chars().count() <= 60 {
        return text;
    }
    let head: String = text.chars().take(57).collect();
    format!("{head}...")
}
