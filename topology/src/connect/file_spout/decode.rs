//! What the records of files are: lines, JSON, rows of CSV.

use std::sync::Arc;

use serde::de::DeserializeOwned;

use crate::Blob;
use crate::component::ComponentError;
use crate::connect::frame::{Framing, trim_end};

/// Takes the records of one file apart, in order.
pub(super) trait Decode<T>: Send + Sync {
    /// Takes the first record of the file, which may be read again when the file is gone on with. Whether it
    /// is none of the tuples.
    ///
    /// # Errors
    /// Why it is no header.
    fn header(&mut self, record: &[u8]) -> Result<bool, ComponentError> {
        let _ = record;
        Ok(false)
    }

    /// Takes one record apart; `None` when nothing is in it.
    ///
    /// # Errors
    /// What is wrong with it.
    fn decode(&mut self, record: &[u8]) -> Result<Option<T>, ComponentError>;
}

/// A format: how records are found, and what takes them apart.
pub(super) struct Format<T> {
    pub(super) framing: Framing,
    pub(super) name: &'static str,
    make: Arc<dyn Fn() -> Box<dyn Decode<T>> + Send + Sync>,
}

impl<T> Clone for Format<T> {
    fn clone(&self) -> Self {
        Format { framing: self.framing, name: self.name, make: Arc::clone(&self.make) }
    }
}

impl<T> Format<T> {
    fn new<D: Decode<T> + 'static>(
        framing: Framing,
        name: &'static str,
        make: impl Fn() -> D + Send + Sync + 'static,
    ) -> Format<T> {
        Format { framing, name, make: Arc::new(move || Box::new(make())) }
    }

    pub(super) fn make(&self) -> Box<dyn Decode<T>> {
        (self.make)()
    }
}

impl<T, F> Decode<T> for F
where
    F: FnMut(&[u8]) -> Result<Option<T>, ComponentError> + Send + Sync,
{
    fn decode(&mut self, record: &[u8]) -> Result<Option<T>, ComponentError> {
        self(record)
    }
}

/// Lines of text.
pub(super) fn lines() -> Format<String> {
    let decode = |record: &[u8]| match std::str::from_utf8(trim_end(record)) {
        Ok(text) => Ok(Some(text.to_owned())),
        Err(why) => Err(format!("is not UTF-8 ({why}): read it with `byte_lines`").into()),
    };
    Format::new(Framing::Lines, "lines", move || decode)
}

/// Lines of any bytes.
pub(super) fn byte_lines() -> Format<Blob> {
    let decode = |record: &[u8]| Ok(Some(Blob::from(trim_end(record))));
    Format::new(Framing::Lines, "lines of bytes", move || decode)
}

/// A JSON value a line.
pub(super) fn json_lines<T: DeserializeOwned + 'static>() -> Format<T> {
    let decode = |record: &[u8]| match record.iter().all(u8::is_ascii_whitespace) {
        true => Ok(None),
        false => Ok(Some(serde_json::from_slice(record)?)),
    };
    Format::new(Framing::Lines, "lines of JSON", move || decode)
}

/// Rows of CSV under a header.
pub(super) fn csv<T: DeserializeOwned + 'static>(delimiter: u8) -> Format<T> {
    Format::new(Framing::Csv(delimiter), "CSV", move || Csv::new(delimiter))
}

struct Csv {
    reader: csv_core::Reader,
    header: csv::StringRecord,
    row: csv::StringRecord,
    fields: Vec<u8>,
    ends: Vec<usize>,
}

impl Csv {
    fn new(delimiter: u8) -> Csv {
        Csv {
            reader: csv_core::ReaderBuilder::new().delimiter(delimiter).build(),
            header: csv::StringRecord::new(),
            row: csv::StringRecord::new(),
            fields: Vec::new(),
            ends: Vec::new(),
        }
    }

    /// Splits one row into its fields; whether there is one.
    fn split(&mut self, record: &[u8]) -> Result<bool, ComponentError> {
        use csv_core::ReadRecordResult::{End, InputEmpty, OutputEndsFull, OutputFull, Record};
        // No field is longer than its row, nor are there more of them than bytes, and one.
        self.fields.resize(record.len() + 1, 0);
        self.ends.resize(record.len() + 1, 0);
        self.row.clear();
        self.reader.reset();
        let (mut read, mut bytes, mut fields) = (0, 0, 0);
        loop {
            let (result, taken, put, ended) = self.reader.read_record(
                &record[read..],
                &mut self.fields[bytes..],
                &mut self.ends[fields..],
            );
            (read, bytes, fields) = (read + taken, bytes + put, fields + ended);
            match result {
                Record => break,
                End => return Ok(false),
                // All of it is given: the next call says that there is no more.
                InputEmpty => {}
                OutputFull | OutputEndsFull => return Err("is no row of CSV".into()),
            }
        }
        let mut from = 0;
        for end in &self.ends[..fields] {
            let field = std::str::from_utf8(&self.fields[from..*end])
                .map_err(|why| format!("is not UTF-8 ({why})"))?;
            self.row.push_field(field);
            from = *end;
        }
        Ok(true)
    }
}

impl<T: DeserializeOwned> Decode<T> for Csv {
    fn header(&mut self, record: &[u8]) -> Result<bool, ComponentError> {
        // What some programs put first into a file.
        let record = record.strip_prefix(b"\xef\xbb\xbf").unwrap_or(record);
        if !self.split(record)? {
            return Err("is empty: the first row names the fields".into());
        }
        self.header = std::mem::take(&mut self.row);
        Ok(true)
    }

    fn decode(&mut self, record: &[u8]) -> Result<Option<T>, ComponentError> {
        if !self.split(record)? {
            return Ok(None);
        }
        let (fields, named) = (self.row.len(), self.header.len());
        if fields != named {
            return Err(format!("has {fields} fields, and the header names {named}").into());
        }
        Ok(Some(self.row.deserialize(Some(&self.header))?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Deserialize)]
    struct Order {
        name: String,
        cents: u64,
        note: Option<String>,
    }

    fn rows(rows: &[&str]) -> Vec<Result<Option<Order>, String>> {
        let mut csv = csv::<Order>(b',').make();
        assert!(csv.header(b"\xef\xbb\xbfcents,name,note\r\n").unwrap());
        rows.iter().map(|row| csv.decode(row.as_bytes()).map_err(|why| why.to_string())).collect()
    }

    #[test]
    fn rows_become_values_by_their_header() {
        let found = rows(&["12,\"a, \"\"b\"\"\nc\",\n", "7,x,y", "\r\n"]);
        let name = "a, \"b\"\nc".to_owned();
        assert_eq!(found[0], Ok(Some(Order { name, cents: 12, note: None })));
        let (name, note) = ("x".to_owned(), Some("y".to_owned()));
        assert_eq!(found[1], Ok(Some(Order { name, cents: 7, note })));
        assert_eq!(found[2], Ok(None), "a line with nothing in it");
    }

    #[test]
    fn what_is_wrong_with_a_row_is_said() {
        let found = rows(&["1,a\n", "x,a,b\n", "1,a,b,c\n"]);
        let said = |n: usize| found[n].as_ref().unwrap_err();
        assert_eq!(said(0), "has 2 fields, and the header names 3");
        assert!(said(1).contains("invalid digit"), "{}", said(1));
        assert_eq!(said(2), "has 4 fields, and the header names 3");
    }

    #[test]
    fn a_line_of_json_is_a_value_and_an_empty_one_is_none() {
        let mut json = json_lines::<(u8, String)>().make();
        assert_eq!(json.decode(b"[1, \"a\"]\r\n").unwrap(), Some((1, "a".to_owned())));
        assert_eq!(json.decode(b" \r\n").unwrap(), None);
        assert!(json.decode(b"[1]\n").is_err());
    }
}
