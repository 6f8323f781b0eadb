//! Tuples as the lines of a part.

use csv::WriterBuilder;
use serde::Serialize;

use crate::component::ComponentResult;
use crate::connect::put::Put;

/// What a part is made of.
pub(super) enum Encode<T> {
    Lines(Put<T>),
    /// Rows, under a header at the head of each part.
    Csv(fn(&T, bool, &mut Vec<u8>) -> ComponentResult),
}

impl<T> Clone for Encode<T> {
    fn clone(&self) -> Self {
        match self {
            Encode::Lines(put) => Encode::Lines(*put),
            Encode::Csv(put) => Encode::Csv(*put),
        }
    }
}

impl<T> Encode<T> {
    /// Appends a tuple; `is_first` of its part.
    pub(super) fn put(&self, tuple: &T, is_first: bool, out: &mut Vec<u8>) -> ComponentResult {
        match self {
            Encode::Lines(put) => put(tuple, out),
            Encode::Csv(put) => put(tuple, is_first, out),
        }
    }
}

/// A row, and before the first one the names of its fields.
pub(super) fn row<T: Serialize>(tuple: &T, header: bool, out: &mut Vec<u8>) -> ComponentResult {
    let mut writer = WriterBuilder::new().has_headers(header).buffer_capacity(256).from_writer(out);
    writer.serialize(tuple)?;
    writer.flush()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Order {
        name: &'static str,
        cents: u64,
    }

    #[test]
    fn the_first_row_has_a_header_above_it() {
        let mut out = Vec::new();
        let encode = Encode::Csv(row);
        encode.put(&Order { name: "a, \"b\"", cents: 7 }, true, &mut out).unwrap();
        encode.put(&Order { name: "c", cents: 8 }, false, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "name,cents\n\"a, \"\"b\"\"\",7\nc,8\n");
    }
}
