//! Records as lines and as JSON, both ways.
//!
//! As a line a record is its value, and with a key separator `key SEPARATOR value`. As JSON it is an
//! object: `key` and `value` are texts, or `key_base64` and `value_base64` where the bytes are no
//! UTF-8. What `cat -o json` writes, `append --input json` takes.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::ValueEnum;
use egret_schemas::records::RecordRef;
use egret_schemas::{Epoch, Position};
use serde::{Deserialize, Serialize};

/// How records are written as text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Text {
    /// The value, and a newline.
    Lines,
    /// One JSON object a line, with position, key and all.
    Json,
}

/// Where a record stands.
#[derive(Debug, Clone, Copy)]
pub(in crate::cli) struct Standing {
    pub(in crate::cli) partition: u32,
    pub(in crate::cli) position: Position,
    pub(in crate::cli) number: u64,
    pub(in crate::cli) epoch: Epoch,
}

#[derive(Debug, Serialize)]
struct Written<'a> {
    partition: u32,
    position: String,
    number: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    key_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    value_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_time_ms: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<u64>,
}

/// Appends a record as one JSON line.
pub(in crate::cli) fn put_json(out: &mut Vec<u8>, record: RecordRef<'_>, at: Standing) {
    let (key, key_base64) = record.key.map_or((None, None), text_or_base64);
    let (value, value_base64) = text_or_base64(record.value);
    let written = Written {
        partition: at.partition,
        position: at.position.to_string(),
        number: at.number,
        epoch: (at.epoch != Epoch::default()).then(|| at.epoch.to_string()),
        key,
        key_base64,
        value,
        value_base64,
        event_time_ms: record.event_time_ms,
        sequence: record.sequence,
    };
    serde_json::to_writer(&mut *out, &written)
        .expect("texts and numbers are JSON, and memory takes them");
    out.push(b'\n');
}

/// Appends a record as a line: `[key SEPARATOR] value`.
pub(in crate::cli) fn put_line(out: &mut Vec<u8>, record: RecordRef<'_>, separator: Option<&[u8]>) {
    if let (Some(separator), Some(key)) = (separator, record.key) {
        out.extend_from_slice(key);
        out.extend_from_slice(separator);
    }
    out.extend_from_slice(record.value);
    out.push(b'\n');
}

fn text_or_base64(bytes: &[u8]) -> (Option<&str>, Option<String>) {
    match std::str::from_utf8(bytes) {
        Ok(text) => (Some(text), None),
        Err(_) => (None, Some(BASE64.encode(bytes))),
    }
}

/// A record read from text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli) struct Taken<'a> {
    pub(super) key: Option<std::borrow::Cow<'a, [u8]>>,
    pub(super) value: std::borrow::Cow<'a, [u8]>,
    pub(super) event_time_ms: Option<i64>,
    pub(super) sequence: Option<u64>,
}

impl Taken<'_> {
    pub(in crate::cli) fn as_ref(&self) -> RecordRef<'_> {
        RecordRef {
            key: self.key.as_deref(),
            value: &self.value,
            event_time_ms: self.event_time_ms,
            sequence: self.sequence,
        }
    }
}

/// A line without its newline, cut at the first separator if there is to be a key.
pub(in crate::cli) fn take_line<'a>(
    line: &'a [u8],
    separator: Option<&[u8]>,
) -> Result<Taken<'a>, String> {
    let (key, value) = match separator {
        None => (None, line),
        Some(separator) => {
            let at =
                line.windows(separator.len()).position(|window| window == separator).ok_or_else(
                    || format!("has no key: {:?} is not in it", String::from_utf8_lossy(separator)),
                )?;
            (Some(&line[..at]), &line[at + separator.len()..])
        }
    };
    Ok(Taken { key: key.map(Into::into), value: value.into(), event_time_ms: None, sequence: None })
}

#[derive(Debug, Deserialize)]
struct Given {
    key: Option<String>,
    key_base64: Option<String>,
    value: Option<String>,
    value_base64: Option<String>,
    event_time_ms: Option<i64>,
    sequence: Option<u64>,
}

/// A line of JSON. Fields that only tell where a record stood are passed over.
pub(in crate::cli) fn take_json(line: &[u8]) -> Result<Taken<'static>, String> {
    let given: Given = serde_json::from_slice(line)
        .map_err(|e| format!("is no record in JSON ({e}): write {{\"value\": \"text\"}}"))?;
    let key = one_of("key", given.key, given.key_base64)?;
    let value = one_of("value", given.value, given.value_base64)?
        .ok_or("has neither `value` nor `value_base64`")?;
    Ok(Taken {
        key: key.map(Into::into),
        value: value.into(),
        event_time_ms: given.event_time_ms,
        sequence: given.sequence,
    })
}

fn one_of(
    what: &str,
    text: Option<String>,
    base64: Option<String>,
) -> Result<Option<Vec<u8>>, String> {
    match (text, base64) {
        (Some(_), Some(_)) => Err(format!("has both `{what}` and `{what}_base64`")),
        (Some(text), None) => Ok(Some(text.into_bytes())),
        (None, Some(coded)) => BASE64
            .decode(coded)
            .map(Some)
            .map_err(|e| format!("has a `{what}_base64` that is not base64: {e}")),
        (None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Standing =
        Standing { partition: 2, position: Position::START, number: 7, epoch: Epoch(0) };

    fn written(record: RecordRef<'_>) -> String {
        let mut out = Vec::new();
        put_json(&mut out, record, AT);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn text_is_text_and_other_bytes_are_base64_both_ways() {
        let record = RecordRef { key: Some(b"k"), value: &[0xff, 0], ..RecordRef::default() };
        let line = written(record);
        assert_eq!(
            line,
            "{\"partition\":2,\"position\":\"S1:0:0\",\"number\":7,\"key\":\"k\",\"value_base64\":\"/wA=\"}\n"
        );
        assert_eq!(take_json(line.trim_end().as_bytes()).unwrap().as_ref(), record);
    }

    #[test]
    fn every_field_comes_back() {
        let record = RecordRef {
            key: Some(&[0xfe]),
            value: "häh \"quoted\"\n".as_bytes(),
            event_time_ms: Some(-5),
            sequence: Some(u64::MAX),
        };
        assert_eq!(take_json(written(record).as_bytes()).unwrap().as_ref(), record);
    }

    #[test]
    fn a_line_is_cut_at_the_first_separator() {
        let taken = take_line(b"a=>b=>c", Some(b"=>")).unwrap();
        assert_eq!((taken.key.as_deref(), &*taken.value), (Some(&b"a"[..]), &b"b=>c"[..]));
        let mut out = Vec::new();
        put_line(&mut out, taken.as_ref(), Some(b"=>"));
        assert_eq!(out, b"a=>b=>c\n");
        let said = take_line(b"abc", Some(b"\t")).unwrap_err();
        assert_eq!(said, "has no key: \"\\t\" is not in it");
    }

    #[test]
    fn wrong_json_is_told_what_is_wrong() {
        for (line, part) in [
            (&b"plain"[..], "is no record in JSON"),
            (b"{\"key\":\"a\"}", "neither `value` nor"),
            (b"{\"value\":\"a\",\"value_base64\":\"YQ==\"}", "has both"),
            (b"{\"value_base64\":\"*\"}", "not base64"),
        ] {
            let said = take_json(line).unwrap_err();
            assert!(said.contains(part), "{said}");
        }
    }
}
