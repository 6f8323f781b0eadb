//! The format of keys and values: what bytes mean to someone who has not the program's types.
//!
//! State is kept as `postcard`, which says nothing of itself. A [`Format`] says it: it is traced from the
//! type when a topology starts, kept as a text beside the state, and with it a value becomes JSON in a
//! program that never saw the type, and two versions of a type are compared in words.
//!
//! | module | holds |
//! |---|---|
//! | `trace` | a type's format, found by having serde read one of it |
//! | `text` | the canonical text, written and read |
//! | [`key`] | the formats of keys, which have encodings of their own |
//! | [`schema`] | what a component keeps: the format of its key, and of the parts of its state |
//! | [`json`] | bytes and a format, to JSON |
//! | [`differences`] | how two formats differ, and whether the one reads what the other wrote |
//!
//! # What always holds
//! * Equal formats have equal texts, and a text reads back as the format it was written from.
//! * A format holds no name of a Rust type, save where nothing else can be said: who renames a struct, or
//!   wraps a field into a newtype, has the same format, and the same bytes.
//! * Formats are bounded, in nodes and in depth, however a type refers to itself.

pub mod differences;
mod finish;
pub mod json;
pub mod key;
pub mod schema;
mod text;
mod trace;

use serde::de::DeserializeOwned;

pub use differences::{Difference, Effect};
pub use json::{Show, ShowError};
pub use key::KeyFormat;
pub use schema::{Cell, Part, PartKind, Schema, StateFormat};
pub use text::ParseFormatError;

use trace::Entries;

/// What the bytes of one value mean: a shape, and the shapes it refers to by number.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Format {
    /// The value's shape.
    pub shape: Shape,
    /// Shapes that stand in more than one place, or in themselves; [`Shape::Defined`] counts them from 0.
    pub definitions: Vec<Shape>,
}

/// The shape of a value in `postcard`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// Nothing: no bytes.
    Unit,
    /// A byte, 0 or 1.
    Bool,
    /// A byte.
    U8,
    /// A number of variable length.
    U16,
    /// A number of variable length.
    U32,
    /// A number of variable length.
    U64,
    /// A number of variable length.
    U128,
    /// A byte, two's complement.
    I8,
    /// A zigzag number of variable length.
    I16,
    /// A zigzag number of variable length.
    I32,
    /// A zigzag number of variable length.
    I64,
    /// A zigzag number of variable length.
    I128,
    /// Four bytes.
    F32,
    /// Eight bytes.
    F64,
    /// One character as a text.
    Char,
    /// Length and UTF-8.
    Text,
    /// Length and bytes.
    Bytes,
    /// Nothing, or a value.
    Option(Box<Shape>),
    /// Length and values of one shape.
    Seq(Box<Shape>),
    /// Length and pairs.
    Map(Box<Shape>, Box<Shape>),
    /// Values one after the other.
    Tuple(Vec<Shape>),
    /// As many values of one shape, one after the other.
    Array(Box<Shape>, u32),
    /// Values with names, one after the other.
    Struct(Vec<Field>),
    /// The number of a variant, and its value.
    Enum(Vec<Variant>),
    /// A definition of the [`Format`].
    Defined(u32),
    /// A type of this name that does not show its shape.
    Opaque(String),
}

/// A field of a struct.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Field {
    /// Its name, as serde has it.
    pub name: String,
    /// Its shape.
    pub shape: Shape,
}

/// A variant of an enum; its number is its place in the list.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Variant {
    /// Its name, as serde has it.
    pub name: String,
    /// What it holds: a [`Shape::Unit`], one value, a [`Shape::Tuple`] or a [`Shape::Struct`].
    pub shape: Shape,
}

impl Format {
    /// The format of a type, traced by having serde read one. A type that cannot be traced, because its
    /// `Deserialize` is written by hand and refuses what is made up for it, is [`Shape::Opaque`].
    pub fn of<T: DeserializeOwned>() -> Format {
        trace::trace::<T>().unwrap_or_else(|_| Format::opaque(std::any::type_name::<T>()))
    }

    /// As [`of`](Format::of), with the reason when a type cannot be traced.
    ///
    /// # Errors
    /// The reason, in words for who wrote the type.
    pub fn traced<T: DeserializeOwned>() -> Result<Format, Untraced> {
        trace::trace::<T>()
    }

    /// The format of a map of `K` and `V`, whatever kind of map it is.
    pub fn map_of<K: DeserializeOwned, V: DeserializeOwned>() -> Format {
        trace::trace::<Entries<K, V>>().unwrap_or_else(|_| {
            // One of the two does not show its shape; the other one may.
            Format::map(Format::of::<K>(), Format::of::<V>())
        })
    }

    /// The format of a sequence of `T`.
    pub fn seq_of<T: DeserializeOwned>() -> Format {
        let Format { shape, definitions } = Format::of::<T>();
        Format { shape: Shape::Seq(Box::new(shape)), definitions }
    }

    /// The format of a type that does not show its shape.
    pub fn opaque(type_name: &str) -> Format {
        let mut name: String = type_name.chars().take(trace::NAME_CHARS_MAX).collect();
        name.retain(|c| !c.is_control());
        Format::plain(Shape::Opaque(name))
    }

    /// A format without definitions.
    pub fn plain(shape: Shape) -> Format {
        Format { shape, definitions: Vec::new() }
    }

    /// A map of two formats. Definitions of the second follow those of the first.
    fn map(key: Format, value: Format) -> Format {
        let by = u32::try_from(key.definitions.len()).expect("formats have bounded definitions");
        let mut definitions = key.definitions;
        definitions.extend(value.definitions.into_iter().map(|shape| shape.shifted(by)));
        let value = Box::new(value.shape.shifted(by));
        Format { shape: Shape::Map(Box::new(key.shape), value), definitions }
    }

    /// A definition; a format that was read or traced has every one it refers to.
    fn definition(&self, number: u32) -> Option<&Shape> {
        self.definitions.get(number as usize)
    }
}

impl Shape {
    /// `n` values of these shapes: an array when they are many and all the same.
    fn sequence(mut shapes: Vec<Shape>) -> Shape {
        let same = shapes.len() >= ARRAY_MIN && shapes.windows(2).all(|two| two[0] == two[1]);
        match (same, u32::try_from(shapes.len()), shapes.pop()) {
            (true, Ok(n), Some(shape)) => Shape::Array(Box::new(shape), n),
            (_, _, Some(last)) => {
                shapes.push(last);
                Shape::Tuple(shapes)
            }
            _ => Shape::Tuple(shapes),
        }
    }

    /// Calls `f` with this shape and every one in it.
    fn each<'a>(&'a self, f: &mut impl FnMut(&'a Shape)) {
        f(self);
        match self {
            Shape::Option(inner) | Shape::Seq(inner) | Shape::Array(inner, _) => inner.each(f),
            Shape::Map(key, value) => {
                key.each(f);
                value.each(f);
            }
            Shape::Tuple(shapes) => shapes.iter().for_each(|shape| shape.each(f)),
            Shape::Struct(fields) => fields.iter().for_each(|field| field.shape.each(f)),
            Shape::Enum(variants) => variants.iter().for_each(|variant| variant.shape.each(f)),
            _ => {}
        }
    }

    /// The same shape where definitions are counted from a later number.
    fn shifted(self, by: u32) -> Shape {
        self.map_defined(&mut |n| Shape::Defined(n + by))
    }

    /// The same shape with something else in the place of what is defined.
    fn map_defined(self, f: &mut impl FnMut(u32) -> Shape) -> Shape {
        let mut boxed = |shape: Box<Shape>| Box::new(shape.map_defined(f));
        match self {
            Shape::Option(inner) => Shape::Option(boxed(inner)),
            Shape::Seq(inner) => Shape::Seq(boxed(inner)),
            Shape::Array(inner, n) => Shape::Array(boxed(inner), n),
            Shape::Map(key, value) => {
                let key = boxed(key);
                Shape::Map(key, boxed(value))
            }
            Shape::Tuple(shapes) => {
                Shape::Tuple(shapes.into_iter().map(|shape| shape.map_defined(f)).collect())
            }
            Shape::Struct(fields) => Shape::Struct(
                fields
                    .into_iter()
                    .map(|Field { name, shape }| Field { name, shape: shape.map_defined(f) })
                    .collect(),
            ),
            Shape::Enum(variants) => Shape::Enum(
                variants
                    .into_iter()
                    .map(|Variant { name, shape }| Variant { name, shape: shape.map_defined(f) })
                    .collect(),
            ),
            Shape::Defined(n) => f(n),
            other => other,
        }
    }
}

/// From how many equal values on a tuple is called an array.
const ARRAY_MIN: usize = 5;

/// Why a type's format is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the format of `{type_name}` cannot be traced: {why}")]
pub struct Untraced {
    /// The type.
    pub type_name: &'static str,
    /// What stood in the way.
    pub why: String,
}

#[cfg(test)]
mod tests;
