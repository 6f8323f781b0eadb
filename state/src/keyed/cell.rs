//! The cells of a state: (part, subkey) → value, written one by one.
//!
//! ```text
//! cell: part·4 + 0 put, 1 remove, 2 clear var
//!       | put, remove: subkey length var | subkey | put: value length var | value
//! ```
//! Parts are numbered by the state's type, from 0; those from [`ENGINE_PARTS`] on are the engine's own. A map
//! has a cell for each entry, under its key; a list one for each element, under its index, big-endian so that
//! the order of bytes is the order of elements. Applied in order, later cells win.

use std::collections::BTreeMap;

use egret_schemas::bytes::{DecodeError, Reader, Writer};

/// Parts from here on are the engine's, not the state's.
pub const ENGINE_PARTS: u32 = 0xf0;

/// What is done to a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cell<'a> {
    /// It has this value.
    Put {
        /// The part of the state.
        part: u32,
        /// Which cell of the part.
        subkey: &'a [u8],
        /// Its value.
        value: &'a [u8],
    },
    /// It is gone.
    Remove {
        /// The part of the state.
        part: u32,
        /// Which cell of the part.
        subkey: &'a [u8],
    },
    /// All cells of the part are gone.
    Clear {
        /// The part of the state.
        part: u32,
    },
}

impl Cell<'_> {
    /// The part it is of.
    pub fn part(&self) -> u32 {
        match *self {
            Cell::Put { part, .. } | Cell::Remove { part, .. } | Cell::Clear { part } => part,
        }
    }

    /// Appends it.
    pub fn write(&self, out: &mut Vec<u8>) {
        let head = |op| u64::from(self.part()) * 4 + op;
        match self {
            Cell::Put { subkey, value, .. } => {
                out.put_var(head(0));
                put(out, subkey);
                put(out, value);
            }
            Cell::Remove { subkey, .. } => {
                out.put_var(head(1));
                put(out, subkey);
            }
            Cell::Clear { .. } => out.put_var(head(2)),
        }
    }
}

fn put(out: &mut Vec<u8>, bytes: &[u8]) {
    out.put_var(bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// The cells of a body, in order; after an error there are no more.
pub fn cells(body: &[u8]) -> impl Iterator<Item = Result<Cell<'_>, DecodeError>> {
    let mut reader = Some(Reader::new(body));
    std::iter::from_fn(move || {
        let r = reader.as_mut().filter(|r| r.remaining() > 0)?;
        let cell = read(r);
        if cell.is_err() {
            reader = None;
        }
        Some(cell)
    })
}

fn read<'a>(r: &mut Reader<'a>) -> Result<Cell<'a>, DecodeError> {
    let head = r.var("cell")?;
    let part = u32::try_from(head / 4).map_err(|_| r.wrong("part", "out of range"))?;
    match head % 4 {
        0 => Ok(Cell::Put { part, subkey: take(r, "subkey")?, value: take(r, "cell value")? }),
        1 => Ok(Cell::Remove { part, subkey: take(r, "subkey")? }),
        2 => Ok(Cell::Clear { part }),
        _ => Err(r.wrong("cell", "unknown ordinal")),
    }
}

fn take<'a>(r: &mut Reader<'a>, what: &'static str) -> Result<&'a [u8], DecodeError> {
    let n = r.var(what)?;
    let n = usize::try_from(n).map_err(|_| r.wrong(what, "the record ends before it"))?;
    r.take(n, what)
}

/// A part of a state, and what a cell of it is under.
type CellKey = (u32, Box<[u8]>);

/// The cells of a state whose types are not known: what bodies come to that are applied one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CellSet {
    /// (part, subkey) → value.
    cells: BTreeMap<CellKey, Box<[u8]>>,
    /// Of subkeys and values.
    bytes: usize,
}

impl CellSet {
    /// Applies the cells of a body.
    ///
    /// # Errors
    /// When the bytes are no cells. Those before are applied.
    pub fn apply(&mut self, body: &[u8]) -> Result<(), DecodeError> {
        for cell in cells(body) {
            match cell? {
                Cell::Put { part, subkey, value } => {
                    self.bytes += subkey.len() + value.len();
                    let before = self.cells.insert((part, subkey.into()), value.into());
                    self.bytes -= before.map_or(0, |before| subkey.len() + before.len());
                }
                Cell::Remove { part, subkey } => {
                    let before = self.cells.remove(&(part, subkey.into()));
                    self.bytes -= before.map_or(0, |before| subkey.len() + before.len());
                }
                Cell::Clear { part } => {
                    let mut rest = self.cells.split_off(&(part, Box::default()));
                    if let Some(next) = part.checked_add(1) {
                        self.cells.append(&mut rest.split_off(&(next, Box::default())));
                    }
                    let gone = rest.iter().map(|((_, subkey), value)| subkey.len() + value.len());
                    self.bytes -= gone.sum::<usize>();
                }
            }
        }
        Ok(())
    }

    /// Appends all cells.
    pub fn write(&self, out: &mut Vec<u8>) {
        for (part, subkey, value) in self.iter() {
            Cell::Put { part, subkey, value }.write(out);
        }
    }

    /// Part, subkey and value of each, in the order of part and subkey.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &[u8], &[u8])> {
        self.cells.iter().map(|((part, subkey), value)| (*part, &**subkey, &**value))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// Bytes of all subkeys and values.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn cells_come_back_and_no_bytes_panic(
            puts in proptest::collection::vec((any::<u32>(), any::<Vec<u8>>(), any::<Vec<u8>>(), 0u8..3), 0..8),
            cut in any::<prop::sample::Index>(),
        ) {
            let all: Vec<Cell<'_>> = puts.iter().map(|(part, subkey, value, op)| match op {
                0 => Cell::Put { part: *part, subkey, value },
                1 => Cell::Remove { part: *part, subkey },
                _ => Cell::Clear { part: *part },
            }).collect();
            let mut body = Vec::new();
            all.iter().for_each(|cell| cell.write(&mut body));
            let back: Result<Vec<_>, _> = cells(&body).collect();
            prop_assert_eq!(back.unwrap(), all);
            let cut = cut.index(body.len() + 1);
            prop_assert!(cells(&body[..cut]).count() <= puts.len());
        }
    }
}
