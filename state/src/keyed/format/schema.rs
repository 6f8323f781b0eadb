//! What a component keeps: the format of its keys, and of the state of one key.
//!
//! ```text
//! label "counts v1"                                           not when there is none
//! key (text, u64)
//! state { total: u64, last: option<text> }                    a plain value, or:
//! part 0 seen: map<text, T1> where T1 = { at: u64, by: T1 }   cells, a line for each part
//! part 1 recent: [u64]
//! part 2 total = u64
//! ```
//! A part that is a map or a list keeps each entry in a cell of its own, one that is a value (`=`) has one
//! cell. The [id](Schema::id) of a schema is the hash of this text; entries of state carry it, and metadata
//! keeps the text under it.

use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value};

use super::differences::{self, Difference, Effect};
use super::json::{Show, ShowError, hex, is_name};
use super::key::KeyFormat;
use super::text::{Name, ParseFormatError, Parser, Quoted};
use super::{Format, Shape};
use crate::caps;
use crate::keyed::changelog::schema_id;

/// What a component keeps.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Schema {
    /// What the component says of itself, such as a version: it changes when the meaning does and the
    /// format does not. Empty for nothing.
    pub label: String,
    /// The format of keys.
    pub key: KeyFormat,
    /// The format of the state of one key.
    pub state: StateFormat,
}

/// The state of one key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum StateFormat {
    /// One value.
    Plain(Format),
    /// Cells, in parts; numbers rise.
    Parts(Vec<Part>),
}

/// A part of a state that consists of cells.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Part {
    /// Its number.
    pub number: u32,
    /// Its name; empty when the state is this part and nothing else.
    pub name: String,
    /// What its cells are.
    pub kind: PartKind,
    /// A [`Shape::Map`] for a map, a [`Shape::Seq`] for a list, and a value's own format.
    pub format: Format,
}

/// What the cells of a part are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PartKind {
    /// One cell without a subkey.
    Value,
    /// A cell for each entry; the subkey is the entry's key in `postcard`.
    Map,
    /// A cell for each element; the subkey is its number, 8 bytes, the greatest first.
    List,
}

impl Part {
    /// A part that is one value.
    pub fn value(number: u32, name: &str, format: Format) -> Part {
        Part { number, name: name.to_owned(), kind: PartKind::Value, format }
    }

    /// A part that is a map; `format` is [`Format::map_of`].
    pub fn map(number: u32, name: &str, format: Format) -> Part {
        Part { number, name: name.to_owned(), kind: PartKind::Map, format }
    }

    /// A part that is a list; `format` is [`Format::seq_of`].
    pub fn list(number: u32, name: &str, format: Format) -> Part {
        Part { number, name: name.to_owned(), kind: PartKind::List, format }
    }

    fn holds(&self) -> bool {
        match self.kind {
            PartKind::Value => true,
            PartKind::Map => matches!(self.format.shape, Shape::Map(..)),
            PartKind::List => matches!(self.format.shape, Shape::Seq(_)),
        }
    }
}

/// One cell of a state: which part, the subkey, and the value.
pub type Cell<'a> = (u32, &'a [u8], &'a [u8]);

impl Schema {
    /// The number that entries of state carry: the hash of the text.
    pub fn id(&self) -> u64 {
        schema_id(&self.to_string())
    }

    /// How what is stored under `old` differs from this, in words; nothing when they are the same.
    pub fn differences(&self, old: &Schema) -> Vec<Difference> {
        differences::between(old, self)
    }

    /// Whether this reads what was stored under `old`.
    ///
    /// # Errors
    /// What stands in the way, in words.
    pub fn reads(&self, old: &Schema) -> Result<(), String> {
        let breaks = self.differences(old).into_iter().filter(|d| d.effect == Effect::Breaks);
        let words: Vec<_> = breaks.map(|difference| difference.to_string()).collect();
        if words.is_empty() { Ok(()) } else { Err(words.join("; ")) }
    }

    /// A plain state as JSON. Bytes that are none of the format come out as `{"bytes", "why"}`.
    pub fn plain_json(&self, value: &[u8]) -> Value {
        match &self.state {
            StateFormat::Plain(format) => Show::default()
                .value(format, value)
                .unwrap_or_else(|why| raw(value, &why.to_string())),
            StateFormat::Parts(_) => {
                raw(value, "the schema says that this state consists of cells")
            }
        }
    }

    /// A state of cells, given in the order of part and subkey, as JSON: an object with a name for each
    /// part, or the part itself when there is one without a name. Cells of parts that the schema does not
    /// have, such as timers, are left out.
    pub fn cells_json<'a>(&self, cells: impl IntoIterator<Item = Cell<'a>>) -> Value {
        let StateFormat::Parts(parts) = &self.state else {
            return raw(&[], "the schema says that this state is one value, and it has cells");
        };
        let mut show = Show::default();
        let mut shown: Vec<(&Part, Value)> = parts.iter().map(|part| (part, empty(part))).collect();
        for (number, subkey, value) in cells {
            let Some((part, into)) = shown.iter_mut().find(|(part, _)| part.number == number)
            else {
                continue;
            };
            if let Err(why) = add(part, into, subkey, value, &mut show) {
                return serde_json::json!({
                    "why": why.to_string(),
                    "part": part.name,
                    "subkey": hex(subkey),
                    "bytes": hex(&value[..value.len().min(caps::SHOWN_BYTES_MAX)]),
                });
            }
        }
        match &shown[..] {
            [(part, _)] if part.name.is_empty() => shown.remove(0).1,
            _ => Value::Object(Map::from_iter(
                shown.into_iter().map(|(part, value)| (part.name.clone(), value)),
            )),
        }
    }
}

fn raw(value: &[u8], why: &str) -> Value {
    let shown = &value[..value.len().min(caps::SHOWN_BYTES_MAX)];
    serde_json::json!({ "bytes": hex(shown), "length": value.len(), "why": why })
}

fn empty(part: &Part) -> Value {
    match (&part.kind, &part.format.shape) {
        (PartKind::Map, Shape::Map(key, _)) if is_name(&part.format, key) => {
            Value::Object(Map::new())
        }
        (PartKind::Value, _) => Value::Null,
        _ => Value::Array(Vec::new()),
    }
}

fn add(
    part: &Part,
    into: &mut Value,
    subkey: &[u8],
    value: &[u8],
    show: &mut Show,
) -> Result<(), ShowError> {
    let format = &part.format;
    match (part.kind, &format.shape, into) {
        (PartKind::Map, Shape::Map(key, of), Value::Object(object)) => {
            let name = match show.of(format, key, subkey)? {
                Value::String(name) => name,
                other => other.to_string(),
            };
            object.insert(name, show.of(format, of, value)?);
        }
        (PartKind::Map, Shape::Map(key, of), Value::Array(pairs)) => {
            let key = show.of(format, key, subkey)?;
            pairs.push(Value::Array(vec![key, show.of(format, of, value)?]));
        }
        (PartKind::List, Shape::Seq(of), Value::Array(values)) => {
            values.push(show.of(format, of, value)?);
        }
        (_, shape, into) => *into = show.of(format, shape, value)?,
    }
    Ok(())
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.label.is_empty() {
            writeln!(f, "label {}", Quoted(&self.label))?;
        }
        writeln!(f, "key {}", self.key)?;
        match &self.state {
            StateFormat::Plain(format) => writeln!(f, "state {format}"),
            StateFormat::Parts(parts) => {
                for Part { number, name, kind, format } in parts {
                    let sign = if *kind == PartKind::Value { " =" } else { ":" };
                    writeln!(f, "part {number} {}{sign} {format}", Name(name))?;
                }
                Ok(())
            }
        }
    }
}

impl FromStr for Schema {
    type Err = ParseFormatError;

    fn from_str(text: &str) -> Result<Schema, ParseFormatError> {
        let mut parser = Parser::new(text)?;
        let mut label = String::new();
        if parser.takes("label ") {
            label = parser.quoted()?;
            parser.wants("\n", "the label ends its line")?;
        }
        parser.wants("key ", "a schema has a key")?;
        let key = KeyFormat::parse(&mut parser)?;
        parser.wants("\n", "the key ends its line")?;
        if parser.takes("state ") {
            let format = parser.format()?;
            parser.wants("\n", "the state ends its line")?;
            parser.end()?;
            return Ok(Schema { label, key, state: StateFormat::Plain(format) });
        }
        let mut parts: Vec<Part> = Vec::new();
        while parser.takes("part ") {
            let number = parser.number()?;
            if parts.last().is_some_and(|last| last.number >= number) {
                return Err(parser.wrong("the numbers of parts rise"));
            }
            let name = parser.name()?;
            let is_value = parser.takes("=");
            if !is_value {
                parser.wants(":", "a part has a `:` or a `=`")?;
            }
            let format = parser.format()?;
            let kind = match (is_value, &format.shape) {
                (true, _) => PartKind::Value,
                (false, Shape::Map(..)) => PartKind::Map,
                (false, Shape::Seq(_)) => PartKind::List,
                (false, _) => return Err(parser.wrong("after `:` comes a map or a list")),
            };
            parser.wants("\n", "a part ends its line")?;
            parts.push(Part { number, name, kind, format });
        }
        parser.end()?;
        Ok(Schema { label, key, state: StateFormat::Parts(parts) })
    }
}

impl StateFormat {
    /// Parts in the order of their numbers.
    ///
    /// # Panics
    /// When two have one number, or a map or list has another format.
    pub fn parts(mut parts: Vec<Part>) -> StateFormat {
        parts.sort_by_key(|part| part.number);
        assert!(parts.windows(2).all(|two| two[0].number < two[1].number), "a part stands twice");
        assert!(parts.iter().all(Part::holds), "a part's format is not that of its kind");
        StateFormat::Parts(parts)
    }
}
