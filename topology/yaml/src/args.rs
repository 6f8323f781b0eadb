//! Arguments of components: a [`Node`] as a value of the user's own type, and where it is none.

use std::fmt::{self, Display};

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Expected, IntoDeserializer,
    MapAccess, SeqAccess, Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use crate::meant::meant;
use crate::node::{At, Node, Plain, Said, Value, plain};

/// Why a node is no such value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ArgError {
    /// Where, if that is not where the whole stands.
    pub(crate) at: Option<At>,
    /// The keys on the way there, from the outside.
    pub(crate) way: Vec<String>,
    pub(crate) message: String,
}

impl ArgError {
    fn new(message: String) -> ArgError {
        ArgError { at: None, way: Vec::new(), message }
    }

    fn at(mut self, at: At) -> ArgError {
        self.at.get_or_insert(at);
        self
    }

    fn within(mut self, key: &str) -> ArgError {
        self.way.insert(0, key.to_owned());
        self
    }

    /// `` `count` `` or `` `roll.bytes` ``; nothing where it is the whole.
    pub(crate) fn path(&self) -> Option<String> {
        (!self.way.is_empty()).then(|| self.way.join("."))
    }
}

impl Display for ArgError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path() {
            Some(path) => write!(f, "`{path}` {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for ArgError {}

impl serde::de::Error for ArgError {
    fn custom<T: Display>(message: T) -> ArgError {
        ArgError::new(format!("cannot be that: {message}"))
    }

    fn invalid_type(unexpected: Unexpected<'_>, expected: &dyn Expected) -> ArgError {
        let is = match unexpected {
            Unexpected::Unit => "nothing".to_owned(),
            Unexpected::Map => "a map".to_owned(),
            Unexpected::Seq => "a list".to_owned(),
            other => other.to_string(),
        };
        ArgError::new(format!("is {is}: give it {}", article(expected)))
    }

    fn invalid_value(unexpected: Unexpected<'_>, expected: &dyn Expected) -> ArgError {
        ArgError::new(format!("is {unexpected}: give it {}", article(expected)))
    }

    fn missing_field(field: &'static str) -> ArgError {
        ArgError::new("is missing: give it".to_owned()).within(field)
    }

    fn unknown_field(field: &str, there: &'static [&'static str]) -> ArgError {
        let meant = meant(field, there.iter().copied());
        ArgError::new(format!("is no argument it takes: {meant}")).within(field)
    }

    fn unknown_variant(variant: &str, there: &'static [&'static str]) -> ArgError {
        ArgError::new(format!("cannot be `{variant}`: {}", meant(variant, there.iter().copied())))
    }
}

/// `a u32`: what serde expects begins with an article where it is no type's name.
fn article(expected: &dyn Expected) -> String {
    let text = expected.to_string();
    match text.starts_with(['u', 'i', 'f']) && text.chars().count() <= 5 {
        true if text.starts_with('i') => format!("an {text}"),
        true => format!("a {text}"),
        false => text,
    }
}

/// A node as a value.
///
/// # Errors
/// Where it is none, and why.
pub(crate) fn value_of<T: DeserializeOwned>(node: &Node) -> Result<T, ArgError> {
    T::deserialize(Reading(node))
}

#[derive(Clone, Copy)]
struct Reading<'a>(&'a Node);

impl<'a> Reading<'a> {
    fn map(self, entries: &'a [(Said, Node)]) -> Entries<'a> {
        Entries { entries: entries.iter(), value: None }
    }
}

impl<'de> Deserializer<'de> for Reading<'de> {
    type Error = ArgError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgError> {
        let visited = match &self.0.value {
            Value::List(items) => visitor.visit_seq(Items(items.iter())),
            Value::Map(entries) => visitor.visit_map(self.map(entries)),
            Value::Text { text, is_plain: false } => visitor.visit_borrowed_str(text),
            Value::Text { text, is_plain: true } => match plain(text) {
                Plain::Nothing => visitor.visit_unit(),
                Plain::Bool(value) => visitor.visit_bool(value),
                Plain::Unsigned(value) => visitor.visit_u64(value),
                Plain::Signed(value) => visitor.visit_i64(value),
                Plain::Float(value) => visitor.visit_f64(value),
                Plain::Text(text) => visitor.visit_borrowed_str(text),
            },
        };
        visited.map_err(|error| error.at(self.0.at))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgError> {
        match &self.0.value {
            // Where a text is wanted, `no` and `17` are texts.
            Value::Text { text, .. } if !self.0.is_nothing() => {
                visitor.visit_borrowed_str(text).map_err(|error: ArgError| error.at(self.0.at))
            }
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgError> {
        match self.0.is_nothing() {
            true => visitor.visit_none(),
            false => visitor.visit_some(self),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgError> {
        match self.0.entries() {
            Some([]) => visitor.visit_unit(),
            Some([(key, _), ..]) => {
                let error = ArgError::new("is no argument it takes: it takes none".to_owned());
                Err(error.within(&key.text).at(key.at))
            }
            None => self.deserialize_any(visitor),
        }
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ArgError> {
        self.deserialize_unit(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, ArgError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ArgError> {
        // A word that means nothing is an argument that is spelled wrong, whatever serde thinks of it.
        for (key, _) in self.0.entries().into_iter().flatten() {
            if !fields.contains(&key.text.as_str()) {
                let error: ArgError = serde::de::Error::unknown_field(&key.text, fields);
                return Err(error.at(key.at));
            }
        }
        match self.0.is_nothing() {
            true => visitor.visit_map(self.map(&[])).map_err(|error: ArgError| error.at(self.0.at)),
            false => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ArgError> {
        let visited = match &self.0.value {
            Value::Text { text, .. } => {
                let variant: StrDeserializer<'_, ArgError> = text.as_str().into_deserializer();
                visitor.visit_enum(variant)
            }
            Value::Map(entries) if entries.len() == 1 => {
                visitor.visit_enum(Variant(&entries[0].0, &entries[0].1))
            }
            _ => return self.deserialize_any(visitor),
        };
        visited.map_err(|error| error.at(self.0.at))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 bytes byte_buf seq tuple tuple_struct map ignored_any
    }
}

struct Items<'a>(std::slice::Iter<'a, Node>);

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = ArgError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, ArgError> {
        let next = self.0.next();
        next.map(|node| seed.deserialize(Reading(node)).map_err(|e| e.at(node.at))).transpose()
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

struct Entries<'a> {
    entries: std::slice::Iter<'a, (Said, Node)>,
    value: Option<&'a (Said, Node)>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = ArgError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, ArgError> {
        self.value = self.entries.next();
        let Some((key, _)) = self.value else { return Ok(None) };
        seed.deserialize(Key(key)).map(Some).map_err(|error| error.at(key.at))
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, ArgError> {
        let (key, node) = self.value.take().expect("a value is asked for after its key");
        seed.deserialize(Reading(node)).map_err(|error| error.at(node.at).within(&key.text))
    }
}

/// The key of a map: a text, or a number where one is wanted.
struct Key<'a>(&'a Said);

impl<'de> Deserializer<'de> for Key<'de> {
    type Error = ArgError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgError> {
        visitor.visit_borrowed_str(&self.0.text)
    }

    fn deserialize_u64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgError> {
        match plain(&self.0.text) {
            Plain::Unsigned(value) => visitor.visit_u64(value),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgError> {
        self.deserialize_u64(visitor)
    }

    fn deserialize_i64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ArgError> {
        match plain(&self.0.text) {
            Plain::Unsigned(value) => visitor.visit_u64(value),
            Plain::Signed(value) => visitor.visit_i64(value),
            _ => self.deserialize_any(visitor),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ArgError> {
        let variant: StrDeserializer<'_, ArgError> = self.0.text.as_str().into_deserializer();
        visitor.visit_enum(variant)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i128 u8 u16 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        newtype_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}

/// A variant with something in it.
struct Variant<'a>(&'a Said, &'a Node);

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = ArgError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), ArgError> {
        let variant = seed.deserialize(Key(self.0)).map_err(|error| error.at(self.0.at))?;
        Ok((variant, self))
    }
}

impl<'de> VariantAccess<'de> for Variant<'de> {
    type Error = ArgError;

    fn unit_variant(self) -> Result<(), ArgError> {
        let error = ArgError::new("has nothing in it: give its name alone".to_owned());
        Err(error.within(&self.0.text).at(self.0.at))
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, ArgError> {
        let read = seed.deserialize(Reading(self.1));
        read.map_err(|error| error.at(self.1.at).within(&self.0.text))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, ArgError> {
        let read = Reading(self.1).deserialize_any(visitor);
        read.map_err(|error| error.within(&self.0.text))
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ArgError> {
        let read = Reading(self.1).deserialize_struct("", fields, visitor);
        read.map_err(|error| error.within(&self.0.text))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;
    use crate::read::read;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Args {
        stream: String,
        count: Option<u64>,
        #[serde(default)]
        share: f64,
        #[serde(default)]
        roll: Roll,
        #[serde(default)]
        words: Vec<String>,
        #[serde(default)]
        weights: BTreeMap<String, i32>,
    }

    #[derive(Debug, Default, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Roll {
        #[default]
        Never,
        Bytes(u64),
        Both {
            bytes: u64,
            every: u32,
        },
    }

    fn args(text: &str) -> Result<Args, String> {
        value_of(&read(text).unwrap()).map_err(|error| match error.at {
            Some(at) => format!("{at}: {error}"),
            None => error.to_string(),
        })
    }

    #[test]
    fn arguments_are_read_and_a_text_is_one_whatever_it_looks_like() {
        let said = "stream: 17\ncount: 3\nshare: 1\nroll: {bytes: 9}\nwords: [no, 'yes', 1.0]\nweights: {a: -1}\n";
        let args = args(said).unwrap();
        assert_eq!((args.stream.as_str(), args.count, args.share), ("17", Some(3), 1.0));
        assert_eq!(
            (args.roll, &args.words[..]),
            (Roll::Bytes(9), &["no", "yes", "1.0"].map(String::from)[..])
        );
        assert_eq!(args.weights["a"], -1);
        let both = self::args("stream: s\nroll:\n  both: {bytes: 1, every: 2}\n").unwrap();
        assert_eq!(both.roll, Roll::Both { bytes: 1, every: 2 });
        assert_eq!(self::args("stream: s\nroll: never\ncount:\n").unwrap().count, None);
        let none: () = value_of(&Node::empty(At::START)).unwrap();
        assert_eq!(none, ());
    }

    #[test]
    fn what_is_wrong_is_said_where_it_stands() {
        for (text, said) in [
            ("count: 1\n", "1:1: `stream` is missing: give it"),
            (
                "stream: s\ncuont: 1\n",
                "2:1: `cuont` is no argument it takes: did you mean `count`?",
            ),
            ("stream: s\ncount: many\n", "2:8: `count` is string \"many\": give it a u64"),
            ("stream: s\ncount: -1\n", "2:8: `count` is integer `-1`: give it a u64"),
            ("stream: [a]\n", "1:9: `stream` is a list: give it a string"),
            (
                "stream: s\nroll: alway\n",
                "2:7: `roll` cannot be `alway`: there are `both`, `bytes`, `never`",
            ),
            (
                "stream: s\nroll: {both: {bytes: 1}}\n",
                "2:14: `roll.both.every` is missing: give it",
            ),
            ("stream: s\nwords: [a, [b]]\n", "2:12: `words` is a list: give it a string"),
            ("stream:\n", "1:7: `stream` is nothing: give it a string"),
        ] {
            assert_eq!(args(text).unwrap_err(), said, "{text}");
        }
        let error = value_of::<()>(&read("a: 1\n").unwrap()).unwrap_err();
        assert_eq!(error.to_string(), "`a` is no argument it takes: it takes none");
    }
}
