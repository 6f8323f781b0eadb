//! The formats of keys: their encodings are those of [`keyed::key`](crate::keyed::key), not `postcard`.
//!
//! A key is shown, and given, as JSON or as a word of a command line:
//!
//! | key | JSON | word |
//! |---|---|---|
//! | text | `"heron"` | `heron` |
//! | bytes | `"heron"` when they are a text, else `"0x0a1f"` | `heron`, `0x0a1f` |
//! | a number | `17`, of 128 bits `"17"` | `17` |
//! | bool | `true` | `true` |
//! | unit | `null` | an empty word |
//! | a pair | `["heron", 17]` | `["heron", 17]` |

use std::fmt;

use egret_schemas::bytes::{Reader, Writer};
use serde_json::Value;

use super::json::hex;
use super::text::{ParseFormatError, Parser};

/// What the bytes of a key mean.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KeyFormat {
    /// UTF-8.
    Text,
    /// Any bytes; also those of a key type that does not say more.
    Bytes,
    /// A little-endian number of so many bytes.
    Integer {
        /// Whether it may be below zero.
        signed: bool,
        /// 1, 2, 4, 8 or 16.
        width: u8,
    },
    /// One byte, 0 or 1.
    Bool,
    /// Nothing.
    Unit,
    /// Two keys, the first one with its length before it.
    Pair(Box<KeyFormat>, Box<KeyFormat>),
}

/// Pairs in pairs.
const DEPTH_MAX: usize = 32;

/// What cannot be a key of this format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is no key of format `{format}`: {hint}")]
pub struct KeyError {
    /// What was given; the beginning of it, when it is long.
    pub given: String,
    /// The format.
    pub format: String,
    /// How such a key is written.
    pub hint: &'static str,
}

impl fmt::Display for KeyFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            KeyFormat::Text => f.write_str("text"),
            KeyFormat::Bytes => f.write_str("bytes"),
            KeyFormat::Integer { signed, width } => {
                write!(f, "{}{}", if *signed { 'i' } else { 'u' }, u32::from(*width) * 8)
            }
            KeyFormat::Bool => f.write_str("bool"),
            KeyFormat::Unit => f.write_str("unit"),
            KeyFormat::Pair(first, second) => write!(f, "({first}, {second})"),
        }
    }
}

impl KeyFormat {
    pub(super) fn parse(parser: &mut Parser<'_>) -> Result<KeyFormat, ParseFormatError> {
        KeyFormat::parse_at(parser, 0)
    }

    fn parse_at(parser: &mut Parser<'_>, depth: usize) -> Result<KeyFormat, ParseFormatError> {
        if depth > DEPTH_MAX {
            return Err(parser.wrong("pairs in pairs, deeper than any key"));
        }
        if parser.takes("(") {
            let first = KeyFormat::parse_at(parser, depth + 1)?;
            parser.wants(",", "a pair has a `,`")?;
            let second = KeyFormat::parse_at(parser, depth + 1)?;
            parser.wants(")", "`(` ends with `)`")?;
            return Ok(KeyFormat::Pair(Box::new(first), Box::new(second)));
        }
        let integer = |signed, width| Ok(KeyFormat::Integer { signed, width });
        match parser.word() {
            "text" => Ok(KeyFormat::Text),
            "bytes" => Ok(KeyFormat::Bytes),
            "bool" => Ok(KeyFormat::Bool),
            "unit" => Ok(KeyFormat::Unit),
            "u8" => integer(false, 1),
            "u16" => integer(false, 2),
            "u32" => integer(false, 4),
            "u64" => integer(false, 8),
            "u128" => integer(false, 16),
            "i8" => integer(true, 1),
            "i16" => integer(true, 2),
            "i32" => integer(true, 4),
            "i64" => integer(true, 8),
            "i128" => integer(true, 16),
            _ => Err(parser.wrong("no key format of this name")),
        }
    }

    /// A key as JSON. Bytes that are no key of this format are shown as `{"bytes": "0a1f"}`.
    pub fn to_json(&self, key: &[u8]) -> Value {
        self.value(key, 0).unwrap_or_else(|| serde_json::json!({ "bytes": hex(key) }))
    }

    /// A key as a word, such as [`from_word`](KeyFormat::from_word) reads.
    pub fn to_word(&self, key: &[u8]) -> String {
        match (self, self.to_json(key)) {
            (KeyFormat::Text | KeyFormat::Bytes, Value::String(word)) => word,
            (KeyFormat::Integer { .. }, Value::String(number)) => number,
            (KeyFormat::Unit, Value::Null) => String::new(),
            (_, value) => value.to_string(),
        }
    }

    fn value(&self, key: &[u8], depth: usize) -> Option<Value> {
        if depth > DEPTH_MAX {
            return None;
        }
        match self {
            KeyFormat::Text => std::str::from_utf8(key).ok().map(Value::from),
            KeyFormat::Bytes => Some(Value::from(bytes_word(key))),
            KeyFormat::Bool => match key {
                [0] => Some(Value::Bool(false)),
                [1] => Some(Value::Bool(true)),
                _ => None,
            },
            KeyFormat::Unit => key.is_empty().then_some(Value::Null),
            KeyFormat::Integer { signed, width } => {
                if key.len() != usize::from(*width) || key.len() > 16 {
                    return None;
                }
                let below = *signed && key.last()? & 0x80 != 0;
                let mut wide = [if below { 0xff } else { 0 }; 16];
                wide[..key.len()].copy_from_slice(key);
                Some(match (width, signed) {
                    (16, true) => Value::from(i128::from_le_bytes(wide).to_string()),
                    (16, false) => Value::from(u128::from_le_bytes(wide).to_string()),
                    (_, true) => Value::from(i64::try_from(i128::from_le_bytes(wide)).ok()?),
                    (_, false) => Value::from(u64::try_from(u128::from_le_bytes(wide)).ok()?),
                })
            }
            KeyFormat::Pair(first, second) => {
                let mut r = Reader::new(key);
                let first = first.value(r.bytes("first of a pair key").ok()?, depth + 1)?;
                let rest = r.take(r.remaining(), "second of a pair key").ok()?;
                Some(Value::Array(vec![first, second.value(rest, depth + 1)?]))
            }
        }
    }

    /// The bytes of a key given as JSON.
    ///
    /// # Errors
    /// When it is none of this format.
    pub fn from_json(&self, key: &Value) -> Result<Vec<u8>, KeyError> {
        let mut out = Vec::new();
        self.encode(key, &mut out, 0).map_err(|hint| self.refuse(&key.to_string(), hint))?;
        Ok(out)
    }

    /// The bytes of a key given as a word of a command line or an address.
    ///
    /// # Errors
    /// When it is none of this format.
    pub fn from_word(&self, word: &str) -> Result<Vec<u8>, KeyError> {
        let value = match self {
            KeyFormat::Text | KeyFormat::Bytes => Value::from(word),
            KeyFormat::Integer { .. } => Value::from(word),
            KeyFormat::Unit if word.is_empty() => Value::Null,
            KeyFormat::Unit | KeyFormat::Bool | KeyFormat::Pair(..) => {
                serde_json::from_str(word).map_err(|_| self.refuse(word, self.hint()))?
            }
        };
        let mut out = Vec::new();
        self.encode(&value, &mut out, 0).map_err(|hint| self.refuse(word, hint))?;
        Ok(out)
    }

    fn refuse(&self, given: &str, hint: &'static str) -> KeyError {
        let given = given.chars().take(80).collect();
        KeyError { given, format: self.to_string(), hint }
    }

    fn hint(&self) -> &'static str {
        match self {
            KeyFormat::Text => "write a text",
            KeyFormat::Bytes => {
                "write a text, or bytes in hexadecimal with 0x before, such as 0x0a1f"
            }
            KeyFormat::Integer { signed: true, .. } => "write a whole number within its range",
            KeyFormat::Integer { signed: false, .. } => {
                "write a whole number within its range, not below 0"
            }
            KeyFormat::Bool => "write true or false",
            KeyFormat::Unit => "all tuples share one key: leave it empty",
            KeyFormat::Pair(..) => "write a JSON list of two, such as [\"heron\", 17]",
        }
    }

    fn encode(&self, key: &Value, out: &mut Vec<u8>, depth: usize) -> Result<(), &'static str> {
        let hint = self.hint();
        if depth > DEPTH_MAX {
            return Err("pairs in pairs, deeper than any key");
        }
        match (self, key) {
            (KeyFormat::Text, Value::String(text)) => out.extend_from_slice(text.as_bytes()),
            (KeyFormat::Bytes, Value::String(digits)) => match digits.strip_prefix("0x") {
                Some(digits) => out.extend_from_slice(&unhex(digits).ok_or(hint)?),
                None => out.extend_from_slice(digits.as_bytes()),
            },
            (KeyFormat::Bool, Value::Bool(flag)) => out.push(u8::from(*flag)),
            (KeyFormat::Unit, Value::Null) => {}
            (KeyFormat::Integer { signed, width }, Value::Number(_) | Value::String(_)) => {
                let digits = match key {
                    Value::String(digits) => digits.clone(),
                    number => number.to_string(),
                };
                let bits = u32::from(*width).min(16) * 8;
                let wide = if *signed {
                    let n: i128 = digits.parse().map_err(|_| hint)?;
                    // What is within the range comes back when the rest is shifted out.
                    if (n << (128 - bits)) >> (128 - bits) != n {
                        return Err(hint);
                    }
                    n.to_le_bytes()
                } else {
                    let n: u128 = digits.parse().map_err(|_| hint)?;
                    if (n << (128 - bits)) >> (128 - bits) != n {
                        return Err(hint);
                    }
                    n.to_le_bytes()
                };
                out.extend_from_slice(&wide[..usize::from(*width).min(16)]);
            }
            (KeyFormat::Pair(first, second), Value::Array(two)) => {
                let [a, b] = &two[..] else { return Err(hint) };
                let mut bytes = Vec::new();
                first.encode(a, &mut bytes, depth + 1)?;
                if u32::try_from(bytes.len()).is_err() {
                    return Err("a key of 4 GiB");
                }
                out.put_bytes(&bytes);
                second.encode(b, out, depth + 1)?;
            }
            _ => return Err(hint),
        }
        Ok(())
    }
}

/// Bytes as the text they are; in hexadecimal where they are none that can be seen and typed.
fn bytes_word(key: &[u8]) -> String {
    match std::str::from_utf8(key) {
        Ok(text) if !text.starts_with("0x") && !text.chars().any(char::is_control) => {
            text.to_owned()
        }
        _ => format!("0x{}", hex(key)),
    }
}

fn unhex(digits: &str) -> Option<Vec<u8>> {
    let digits = digits.as_bytes();
    if !digits.len().is_multiple_of(2) {
        return None;
    }
    let digit = |byte: u8| u8::try_from(char::from(byte).to_digit(16)?).ok();
    digits.chunks_exact(2).map(|two| Some(digit(two[0])? << 4 | digit(two[1])?)).collect()
}
