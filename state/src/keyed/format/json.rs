//! Bytes and a format, to JSON.
//!
//! What comes out is what `serde_json` makes of the value, with what JSON has no place for written as a
//! text: numbers of 128 bits in decimal, bytes in hexadecimal, `"NaN"`, `"Infinity"` and `"-Infinity"`.
//! A map whose keys are texts, numbers, characters or flags is an object; any other is a list of pairs.
//!
//! Any bytes give a value or an error: a shape is gone into only so deep, and every value made counts
//! against a limit, for a list of nothing may claim any length.

use serde_json::{Map, Number, Value};

use super::{Field, Format, Shape, Variant};
use crate::caps;

/// Values in values.
const DEPTH_MAX: usize = 128;

/// Why bytes cannot be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ShowError {
    /// The bytes are not of this format.
    #[error("byte {at}: {why}: these are not bytes of the format")]
    Bytes {
        /// Where, from the value's first byte.
        at: usize,
        /// What is wrong.
        why: &'static str,
    },
    /// There is more than is shown at once.
    #[error("it holds more than {} values: that is not shown", .max)]
    TooMuch {
        /// The limit.
        max: usize,
    },
}

/// Turns bytes into JSON, up to a limit of values.
#[derive(Clone, Debug)]
pub struct Show {
    left: usize,
    max: usize,
}

impl Default for Show {
    fn default() -> Show {
        Show::up_to(caps::SHOWN_VALUES_MAX)
    }
}

impl Show {
    /// Shows at most so many values, those of lists and maps counted one by one.
    pub fn up_to(max: usize) -> Show {
        Show { left: max, max }
    }

    /// One value; all its bytes.
    ///
    /// # Errors
    /// When the bytes are not of the format, or hold more than is shown.
    pub fn value(&mut self, format: &Format, bytes: &[u8]) -> Result<Value, ShowError> {
        self.of(format, &format.shape, bytes)
    }

    /// One value of a shape that stands in a format.
    pub(super) fn of(
        &mut self,
        format: &Format,
        shape: &Shape,
        bytes: &[u8],
    ) -> Result<Value, ShowError> {
        let mut reader = Bytes { all: bytes, at: 0, format, show: self };
        let value = reader.value(shape, 0)?;
        if reader.at < bytes.len() {
            return Err(reader.wrong("bytes are left over"));
        }
        Ok(value)
    }
}

struct Bytes<'a> {
    all: &'a [u8],
    at: usize,
    format: &'a Format,
    show: &'a mut Show,
}

impl<'a> Bytes<'a> {
    fn wrong(&self, why: &'static str) -> ShowError {
        ShowError::Bytes { at: self.at, why }
    }

    /// What postcard itself reads there.
    fn plain<T: serde::Deserialize<'a>>(&mut self, why: &'static str) -> Result<T, ShowError> {
        match postcard::take_from_bytes::<T>(&self.all[self.at..]) {
            Ok((value, rest)) => {
                self.at = self.all.len() - rest.len();
                Ok(value)
            }
            Err(_) => Err(self.wrong(why)),
        }
    }

    fn count(&mut self) -> Result<(), ShowError> {
        let max = self.show.max;
        self.show.left = self.show.left.checked_sub(1).ok_or(ShowError::TooMuch { max })?;
        Ok(())
    }

    fn value(&mut self, shape: &Shape, depth: usize) -> Result<Value, ShowError> {
        self.count()?;
        if depth > DEPTH_MAX {
            return Err(self.wrong("values in values, deeper than is shown"));
        }
        let depth = depth + 1;
        Ok(match shape {
            Shape::Unit => Value::Null,
            Shape::Bool => Value::from(self.plain::<bool>("a flag is 0 or 1")?),
            Shape::U8 => Value::from(self.plain::<u8>(ENDS)?),
            Shape::U16 => Value::from(self.plain::<u16>(NUMBER)?),
            Shape::U32 => Value::from(self.plain::<u32>(NUMBER)?),
            Shape::U64 => Value::from(self.plain::<u64>(NUMBER)?),
            Shape::U128 => Value::from(self.plain::<u128>(NUMBER)?.to_string()),
            Shape::I8 => Value::from(self.plain::<i8>(ENDS)?),
            Shape::I16 => Value::from(self.plain::<i16>(NUMBER)?),
            Shape::I32 => Value::from(self.plain::<i32>(NUMBER)?),
            Shape::I64 => Value::from(self.plain::<i64>(NUMBER)?),
            Shape::I128 => Value::from(self.plain::<i128>(NUMBER)?.to_string()),
            Shape::F32 => float(self.plain::<f32>(ENDS)?.into()),
            Shape::F64 => float(self.plain::<f64>(ENDS)?),
            Shape::Char => {
                Value::from(self.plain::<char>("a character is one of UTF-8")?.to_string())
            }
            Shape::Text => Value::from(self.plain::<&str>("a text is a length and UTF-8")?),
            Shape::Bytes => Value::from(hex(self.plain::<&[u8]>("bytes have a length")?)),
            Shape::Option(inner) => match self.plain::<u8>(ENDS)? {
                0 => Value::Null,
                1 => self.value(inner, depth)?,
                _ => return Err(self.wrong("an option is 0 or 1")),
            },
            Shape::Seq(inner) => {
                let n = self.plain::<u64>(NUMBER)?;
                let mut values = Vec::new();
                for _ in 0..n {
                    values.push(self.value(inner, depth)?);
                }
                Value::Array(values)
            }
            Shape::Array(inner, n) => {
                let values: Result<_, _> = (0..*n).map(|_| self.value(inner, depth)).collect();
                Value::Array(values?)
            }
            Shape::Tuple(shapes) => {
                let values: Result<_, _> = shapes.iter().map(|s| self.value(s, depth)).collect();
                Value::Array(values?)
            }
            Shape::Map(key, value) => self.map(key, value, depth)?,
            Shape::Struct(fields) => {
                let mut object = Map::new();
                for Field { name, shape } in fields {
                    object.insert(name.clone(), self.value(shape, depth)?);
                }
                Value::Object(object)
            }
            Shape::Enum(variants) => {
                let number = self.plain::<u32>(NUMBER)?;
                let Some(Variant { name, shape }) = variants.get(number as usize) else {
                    return Err(self.wrong("the enum has no variant of this number"));
                };
                if *shape == Shape::Unit {
                    return Ok(Value::from(name.as_str()));
                }
                let value = self.value(shape, depth)?;
                Value::Object(Map::from_iter([(name.clone(), value)]))
            }
            Shape::Defined(number) => {
                let format = self.format;
                let Some(shape) = format.definition(*number) else {
                    return Err(self.wrong("the format has no definition of this number"));
                };
                self.value(shape, depth)?
            }
            Shape::Opaque(_) => {
                let rest = &self.all[self.at..];
                self.at = self.all.len();
                serde_json::json!({ "bytes": hex(rest) })
            }
        })
    }

    fn map(&mut self, key: &Shape, value: &Shape, depth: usize) -> Result<Value, ShowError> {
        let n = self.plain::<u64>(NUMBER)?;
        if is_name(self.format, key) {
            let mut object = Map::new();
            for _ in 0..n {
                let name = match self.value(key, depth)? {
                    Value::String(name) => name,
                    other => other.to_string(),
                };
                object.insert(name, self.value(value, depth)?);
            }
            return Ok(Value::Object(object));
        }
        let mut pairs = Vec::new();
        for _ in 0..n {
            let key = self.value(key, depth)?;
            pairs.push(Value::Array(vec![key, self.value(value, depth)?]));
        }
        Ok(Value::Array(pairs))
    }
}

const ENDS: &str = "it ends too early";
const NUMBER: &str = "a number ends too early, or is above its range";

/// Whether values of this shape can be names in an object, each value another name.
pub(super) fn is_name(format: &Format, shape: &Shape) -> bool {
    match shape {
        Shape::Bool | Shape::Char | Shape::Text => true,
        Shape::U8 | Shape::U16 | Shape::U32 | Shape::U64 | Shape::U128 => true,
        Shape::I8 | Shape::I16 | Shape::I32 | Shape::I64 | Shape::I128 => true,
        Shape::Enum(variants) => variants.iter().all(|variant| variant.shape == Shape::Unit),
        Shape::Defined(number) => match format.definition(*number) {
            // One step: a definition of a definition alone does not exist.
            Some(Shape::Defined(_)) | None => false,
            Some(shape) => is_name(format, shape),
        },
        _ => false,
    }
}

fn float(value: f64) -> Value {
    match Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None if value.is_nan() => Value::from("NaN"),
        None if value > 0.0 => Value::from("Infinity"),
        None => Value::from("-Infinity"),
    }
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits =
        bytes.iter().flat_map(|b| [DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]);
    digits.map(char::from).collect()
}
