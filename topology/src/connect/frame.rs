//! Where records end in bytes that come piece by piece: lines, and rows of CSV, whose quoted fields may hold
//! line ends.

/// What a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Framing {
    /// Up to the next `\n`.
    Lines,
    /// Up to the next `\n` outside of quotes, which begin a field behind this delimiter.
    Csv(u8),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    FieldStart,
    Plain,
    Quoted,
    /// A quote in a quoted field: its end, or the first of two.
    Quote,
}

/// Looks for the end of one record after another. What was looked at is not looked at again.
#[derive(Debug)]
pub(super) struct Frame {
    framing: Framing,
    looked: usize,
    at: At,
}

impl Frame {
    pub(super) fn new(framing: Framing) -> Frame {
        Frame { framing, looked: 0, at: At::FieldStart }
    }

    /// Where the record ends that `bytes` begin with, its `\n` included; `None` when not all of it is there:
    /// then it is asked again with more behind the same bytes.
    pub(super) fn end(&mut self, bytes: &[u8]) -> Option<usize> {
        let new = &bytes[self.looked..];
        let found = match self.framing {
            Framing::Lines => new.iter().position(|byte| *byte == b'\n'),
            Framing::Csv(delimiter) => new.iter().position(|byte| self.step(*byte, delimiter)),
        };
        match found {
            Some(end) => {
                let end = self.looked + end + 1;
                *self = Frame::new(self.framing);
                Some(end)
            }
            None => {
                self.looked = bytes.len();
                None
            }
        }
    }

    /// Takes a byte of CSV; whether the record ends with it.
    fn step(&mut self, byte: u8, delimiter: u8) -> bool {
        let ends = byte == b'\n' && self.at != At::Quoted;
        self.at = match (self.at, byte) {
            (At::Quoted, b'"') => At::Quote,
            (At::Quoted, _) | (At::FieldStart | At::Quote, b'"') => At::Quoted,
            (_, byte) if byte == delimiter => At::FieldStart,
            _ => At::Plain,
        };
        ends
    }
}

/// A line without its end.
pub(super) fn trim_end(record: &[u8]) -> &[u8] {
    let record = record.strip_suffix(b"\n").unwrap_or(record);
    record.strip_suffix(b"\r").unwrap_or(record)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frames(framing: Framing, text: &str, piece: usize) -> Vec<String> {
        let (mut frame, mut held, mut found) = (Frame::new(framing), Vec::new(), Vec::new());
        for piece in text.as_bytes().chunks(piece) {
            held.extend_from_slice(piece);
            while let Some(end) = frame.end(&held) {
                found.push(String::from_utf8(held.drain(..end).collect()).unwrap());
            }
        }
        found.push(String::from_utf8(held).unwrap());
        found
    }

    #[test]
    fn records_end_where_they_do_however_they_come() {
        let csv = "a,b\n\"x\ny\",1\n5\" pipe,2\n\"say \"\"\n\"\"\",3\nrest";
        let rows = ["a,b\n", "\"x\ny\",1\n", "5\" pipe,2\n", "\"say \"\"\n\"\"\",3\n", "rest"];
        for piece in 1..=csv.len() {
            assert_eq!(frames(Framing::Csv(b','), csv, piece), rows, "pieces of {piece}");
            assert_eq!(frames(Framing::Lines, "a\n\r\n\nb", piece), ["a\n", "\r\n", "\n", "b"]);
        }
    }

    #[test]
    fn a_line_loses_its_end_and_nothing_else() {
        for (line, text) in [("a\r\n", "a"), ("a\n", "a"), ("a", "a"), ("\r\r\n", "\r"), ("", "")] {
            assert_eq!(trim_end(line.as_bytes()), text.as_bytes());
        }
    }
}
