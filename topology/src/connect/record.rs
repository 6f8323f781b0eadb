//! Tuples as stream records and back.

use std::borrow::Cow;
use std::io::Write;

use egret_log::stream::{Format, Record};

use crate::component::{ComponentError, DeadLetter};
use crate::{Blob, Tuple};

/// A tuple that can be read from a stream's record.
pub trait FromRecord: Tuple {
    /// Takes the record apart.
    ///
    /// # Errors
    /// When the record does not hold such a tuple; the message says why.
    fn from_record(record: Record) -> Result<Self, ComponentError>;

    /// The format of the values it takes apart; a stream of another one is refused.
    fn format() -> Format {
        Format::Bytes
    }
}

/// A tuple that can be written as a stream's record.
pub trait ToRecord: Tuple {
    /// The record's key, which decides its partition; none to take partitions in turn.
    fn key(&self) -> Option<Cow<'_, [u8]>>;

    /// Appends the record's value.
    fn put_value(&self, out: &mut Vec<u8>);

    /// The format of the values, declared when the stream is created; a stream of another one is refused.
    fn format() -> Format {
        Format::Bytes
    }
}

/// A value part of a keyed record: numbers as decimal text, texts and bytes as they are.
pub trait ToValue {
    /// Appends the value.
    fn put(&self, out: &mut Vec<u8>);
}

macro_rules! decimal {
    ($($type:ty),*) => {
        $(impl ToValue for $type {
            fn put(&self, out: &mut Vec<u8>) {
                write!(out, "{self}").expect("writing to memory does not fail");
            }
        })*
    };
}
decimal!(u8, u16, u32, u64, u128, i8, i16, i32, i64, i128, f32, f64, bool);

impl ToValue for String {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }
}

impl ToValue for Blob {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

impl FromRecord for Blob {
    fn from_record(record: Record) -> Result<Blob, ComponentError> {
        Ok(Blob::from(&record.value[..]))
    }
}

impl FromRecord for Vec<u8> {
    fn from_record(record: Record) -> Result<Vec<u8>, ComponentError> {
        Ok(record.value.to_vec())
    }
}

impl FromRecord for String {
    fn from_record(record: Record) -> Result<String, ComponentError> {
        std::str::from_utf8(&record.value).map(str::to_owned).map_err(|e| {
            format!("the record is not UTF-8 ({e}): write texts to a utf8 stream").into()
        })
    }

    fn format() -> Format {
        Format::Utf8
    }
}

impl ToRecord for String {
    fn format() -> Format {
        Format::Utf8
    }
    fn key(&self) -> Option<Cow<'_, [u8]>> {
        None
    }
    fn put_value(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }
}

impl ToRecord for Blob {
    fn key(&self) -> Option<Cow<'_, [u8]>> {
        None
    }
    fn put_value(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
}

impl<T: Tuple> ToRecord for DeadLetter<T> {
    fn format() -> Format {
        Format::Json
    }
    fn key(&self) -> Option<Cow<'_, [u8]>> {
        None
    }
    fn put_value(&self, out: &mut Vec<u8>) {
        // Not every value is one of JSON's: a map whose keys are no texts is not.
        let tuple = serde_json::to_value(&self.tuple);
        let tuple =
            tuple.unwrap_or_else(|why| serde_json::json!({ "unwritable": why.to_string() }));
        let DeadLetter { component, task, tries, error, .. } = self;
        let letter = serde_json::json!({
            "component": component, "task": task, "tries": tries, "error": error, "tuple": tuple,
        });
        serde_json::to_writer(out, &letter).expect("writing to memory does not fail");
    }
}

impl<V: ToValue + Tuple> ToRecord for (Blob, V) {
    fn key(&self) -> Option<Cow<'_, [u8]>> {
        Some(Cow::Borrowed(&self.0))
    }
    fn put_value(&self, out: &mut Vec<u8>) {
        self.1.put(out);
    }
}

impl<V: ToValue + Tuple> ToRecord for (String, V) {
    fn key(&self) -> Option<Cow<'_, [u8]>> {
        Some(Cow::Borrowed(self.0.as_bytes()))
    }
    fn put_value(&self, out: &mut Vec<u8>) {
        self.1.put(out);
    }
}
