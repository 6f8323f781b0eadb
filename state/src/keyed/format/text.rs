//! The canonical text of a format, written and read.
//!
//! ```text
//! format  = type [ " where T1 = " type { ", T2 = " type } ]
//! type    = unit bool u8 u16 u32 u64 u128 i8 i16 i32 i64 i128 f32 f64 char text bytes      itself
//!         | option<type> | [type] | map<type, type> | (type, type) | (type,) | () | [type; 32]
//!         | { name: type, name: type } | enum { Name, Name type, Name (type, type), Name { name: type } }
//!         | T1 | opaque "std::net::Url"
//! ```
//! A name is as it is in the program when it is letters, digits and `_`, and a JSON string otherwise.
//! A value alone is a newtype's: an enum's `Name (u8, u8)` and `Name(u8, u8)` have the same bytes.

use std::fmt::{self, Write};

use super::trace::{NAME_CHARS_MAX, NODES_MAX, TUPLE_MAX};
use super::{ARRAY_MIN, Field, Format, Shape, Variant};
use crate::caps;

/// Types in types in a text.
const DEPTH_MAX: usize = 160;

/// A text that is no format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no format at character {at}: {why}")]
pub struct ParseFormatError {
    /// Where it goes wrong, in bytes.
    pub at: usize,
    /// What is wrong.
    pub why: &'static str,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.shape)?;
        for (number, shape) in self.definitions.iter().enumerate() {
            f.write_str(if number == 0 { " where " } else { ", " })?;
            write!(f, "T{} = {shape}", number + 1)?;
        }
        Ok(())
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shape::Option(inner) => write!(f, "option<{inner}>"),
            Shape::Seq(inner) => write!(f, "[{inner}]"),
            Shape::Array(inner, n) => write!(f, "[{inner}; {n}]"),
            Shape::Map(key, value) => write!(f, "map<{key}, {value}>"),
            Shape::Tuple(shapes) => {
                f.write_char('(')?;
                for (at, shape) in shapes.iter().enumerate() {
                    f.write_str(if at == 0 { "" } else { ", " })?;
                    write!(f, "{shape}")?;
                }
                f.write_str(if shapes.len() == 1 { ",)" } else { ")" })
            }
            Shape::Struct(fields) => {
                f.write_str("{")?;
                for (at, Field { name, shape }) in fields.iter().enumerate() {
                    f.write_str(if at == 0 { " " } else { ", " })?;
                    write!(f, "{}: {shape}", Name(name))?;
                }
                f.write_str(if fields.is_empty() { "}" } else { " }" })
            }
            Shape::Enum(variants) => {
                f.write_str("enum {")?;
                for (at, Variant { name, shape }) in variants.iter().enumerate() {
                    f.write_str(if at == 0 { " " } else { ", " })?;
                    write!(f, "{}", Name(name))?;
                    if *shape != Shape::Unit {
                        write!(f, " {shape}")?;
                    }
                }
                f.write_str(" }")
            }
            Shape::Defined(number) => write!(f, "T{}", u64::from(*number) + 1),
            Shape::Opaque(name) => write!(f, "opaque {}", Quoted(name)),
            leaf => f.write_str(LEAVES.iter().find(|(_, shape)| shape == leaf).map_or("", |l| l.0)),
        }
    }
}

const LEAVES: [(&str, Shape); 17] = [
    ("unit", Shape::Unit),
    ("bool", Shape::Bool),
    ("u8", Shape::U8),
    ("u16", Shape::U16),
    ("u32", Shape::U32),
    ("u64", Shape::U64),
    ("u128", Shape::U128),
    ("i8", Shape::I8),
    ("i16", Shape::I16),
    ("i32", Shape::I32),
    ("i64", Shape::I64),
    ("i128", Shape::I128),
    ("f32", Shape::F32),
    ("f64", Shape::F64),
    ("char", Shape::Char),
    ("text", Shape::Text),
    ("bytes", Shape::Bytes),
];

/// A name, quoted where it has to be.
pub(super) struct Name<'a>(pub(super) &'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = !self.0.is_empty() && self.0.chars().all(is_word);
        if plain { f.write_str(self.0) } else { write!(f, "{}", Quoted(self.0)) }
    }
}

/// A JSON string.
pub(super) struct Quoted<'a>(pub(super) &'a str);

impl fmt::Display for Quoted<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::Value::from(self.0).to_string())
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

impl std::str::FromStr for Format {
    type Err = ParseFormatError;

    fn from_str(text: &str) -> Result<Format, ParseFormatError> {
        let mut parser = Parser::new(text)?;
        let format = parser.format()?;
        parser.end()?;
        Ok(format)
    }
}

/// Reads texts of formats. Every loop takes something from the text, so none outlives it.
pub(super) struct Parser<'a> {
    text: &'a str,
    at: usize,
    nodes: usize,
}

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a str) -> Result<Parser<'a>, ParseFormatError> {
        if text.len() > caps::SCHEMA_BYTES_MAX {
            let at = caps::SCHEMA_BYTES_MAX;
            return Err(ParseFormatError { at, why: "it is longer than any format" });
        }
        Ok(Parser { text, at: 0, nodes: 0 })
    }

    pub(super) fn wrong(&self, why: &'static str) -> ParseFormatError {
        ParseFormatError { at: self.at, why }
    }

    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    /// Goes over spaces, not over the end of a line.
    fn spaces(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches(' ').len();
    }

    /// Takes a sign when it is next.
    pub(super) fn takes(&mut self, sign: &str) -> bool {
        self.spaces();
        let is_next = self.rest().starts_with(sign);
        self.at += if is_next { sign.len() } else { 0 };
        is_next
    }

    pub(super) fn wants(&mut self, sign: &str, why: &'static str) -> Result<(), ParseFormatError> {
        if self.takes(sign) { Ok(()) } else { Err(self.wrong(why)) }
    }

    pub(super) fn end(&mut self) -> Result<(), ParseFormatError> {
        self.spaces();
        if self.rest().is_empty() { Ok(()) } else { Err(self.wrong("something is left over")) }
    }

    /// A word, which may be empty.
    pub(super) fn word(&mut self) -> &'a str {
        self.spaces();
        let rest = self.rest();
        let word = &rest[..rest.find(|c| !is_word(c)).unwrap_or(rest.len())];
        self.at += word.len();
        word
    }

    /// A word or a JSON string.
    pub(super) fn name(&mut self) -> Result<String, ParseFormatError> {
        self.spaces();
        if self.rest().starts_with('"') {
            return self.quoted();
        }
        match self.word() {
            "" => Err(self.wrong("a name was expected")),
            word => Ok(word.to_owned()),
        }
    }

    pub(super) fn quoted(&mut self) -> Result<String, ParseFormatError> {
        self.spaces();
        let mut strings = serde_json::Deserializer::from_str(self.rest()).into_iter::<String>();
        match strings.next() {
            Some(Ok(name)) => {
                self.at += strings.byte_offset();
                Ok(name)
            }
            _ => Err(self.wrong("a quoted text was expected")),
        }
    }

    pub(super) fn number(&mut self) -> Result<u32, ParseFormatError> {
        let word = self.word();
        let canonical = word == "0" || !word.starts_with('0');
        match word.parse() {
            Ok(number) if canonical => Ok(number),
            _ => Err(self.wrong("a number was expected")),
        }
    }

    /// A format, with its definitions.
    pub(super) fn format(&mut self) -> Result<Format, ParseFormatError> {
        let shape = self.shape(0)?;
        let mut definitions = Vec::new();
        if self.takes("where ") {
            loop {
                let Shape::Defined(number) = self.shape(0)? else {
                    return Err(self.wrong("a definition begins with its name, such as T1"));
                };
                if number as usize != definitions.len() {
                    return Err(self.wrong("definitions are counted from T1 on"));
                }
                self.wants("=", "a definition has a `=`")?;
                definitions.push(self.shape(0)?);
                if !self.takes(",") {
                    break;
                }
            }
        }
        let format = Format { shape, definitions };
        match format.is_whole() {
            Ok(()) => Ok(format),
            Err(why) => Err(self.wrong(why)),
        }
    }

    fn shape(&mut self, depth: usize) -> Result<Shape, ParseFormatError> {
        self.nodes += 1;
        if depth > DEPTH_MAX || self.nodes > NODES_MAX {
            return Err(self.wrong("it has more nodes, or is deeper, than any format"));
        }
        let depth = depth + 1;
        if self.takes("{") {
            return Ok(Shape::Struct(self.fields(depth)?));
        }
        if self.takes("[") {
            let inner = self.shape(depth)?;
            if self.takes("]") {
                return Ok(Shape::Seq(Box::new(inner)));
            }
            self.wants(";", "`[` ends with `]`, or `; N]`")?;
            let n = self.number()?;
            self.wants("]", "`[` ends with `]`")?;
            if !(ARRAY_MIN..=TUPLE_MAX).contains(&(n as usize)) {
                return Err(self.wrong("an array of this length"));
            }
            return Ok(Shape::Array(Box::new(inner), n));
        }
        if self.takes("(") {
            let mut shapes = Vec::new();
            while !self.takes(")") {
                shapes.push(self.shape(depth)?);
                if !self.takes(",") {
                    self.wants(")", "`(` ends with `)`")?;
                    break;
                }
            }
            return Ok(Shape::sequence(shapes));
        }
        let start = self.at;
        match self.word() {
            "option" => {
                self.wants("<", "option has a `<`")?;
                let inner = self.shape(depth)?;
                self.wants(">", "`<` ends with `>`")?;
                Ok(Shape::Option(Box::new(inner)))
            }
            "map" => {
                self.wants("<", "map has a `<`")?;
                let key = self.shape(depth)?;
                self.wants(",", "a map has a key and a value")?;
                let value = self.shape(depth)?;
                self.wants(">", "`<` ends with `>`")?;
                Ok(Shape::Map(Box::new(key), Box::new(value)))
            }
            "enum" => {
                self.wants("{", "enum has a `{`")?;
                Ok(Shape::Enum(self.variants(depth)?))
            }
            "opaque" => {
                let name = self.quoted()?;
                if name.chars().count() > NAME_CHARS_MAX {
                    return Err(self.wrong("a type's name of this length"));
                }
                Ok(Shape::Opaque(name))
            }
            word => {
                if let Some((_, shape)) = LEAVES.iter().find(|(name, _)| *name == word) {
                    return Ok(shape.clone());
                }
                let number = word.strip_prefix('T').and_then(|n| n.parse::<u32>().ok());
                let number = number.and_then(|n| n.checked_sub(1));
                number
                    .map(Shape::Defined)
                    .ok_or(ParseFormatError { at: start, why: "no type of this name" })
            }
        }
    }

    fn fields(&mut self, depth: usize) -> Result<Vec<Field>, ParseFormatError> {
        let mut fields = Vec::new();
        while !self.takes("}") {
            let name = self.name()?;
            self.wants(":", "a field has a `:`")?;
            fields.push(Field { name, shape: self.shape(depth)? });
            if !self.takes(",") {
                self.wants("}", "`{` ends with `}`")?;
                break;
            }
        }
        Ok(fields)
    }

    fn variants(&mut self, depth: usize) -> Result<Vec<Variant>, ParseFormatError> {
        let mut variants = Vec::new();
        while !self.takes("}") {
            let name = self.name()?;
            self.spaces();
            let unit = self.rest().starts_with([',', '}']);
            let shape = if unit { Shape::Unit } else { self.shape(depth)? };
            variants.push(Variant { name, shape });
            if variants.len() > NODES_MAX {
                return Err(self.wrong("an enum of so many variants"));
            }
            if !self.takes(",") {
                self.wants("}", "`{` ends with `}`")?;
                break;
            }
        }
        if variants.is_empty() {
            return Err(self.wrong("an enum has a variant"));
        }
        Ok(variants)
    }
}

impl Format {
    /// Whether everything it refers to is there, and no definition is nothing but another.
    fn is_whole(&self) -> Result<(), &'static str> {
        let mut worst = Ok(());
        for shape in self.definitions.iter().chain([&self.shape]) {
            shape.each(&mut |inner| {
                if let Shape::Defined(n) = inner
                    && self.definition(*n).is_none()
                {
                    worst = Err("it refers to a definition that is not there");
                }
            });
        }
        if self.definitions.iter().any(|shape| matches!(shape, Shape::Defined(_))) {
            worst = worst.and(Err("a definition is nothing but another one"));
        }
        worst
    }
}
