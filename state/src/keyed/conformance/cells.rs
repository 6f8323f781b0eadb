//! A small state of cells: numbers by number.

use std::collections::BTreeMap;

use crate::keyed::cell::{Cell, cells};
use crate::keyed::format::{Format, Part, StateFormat};
use crate::keyed::state::{Extent, Form, State, StateError};

const PART: u32 = 3;

/// Numbers by number, and what those were that changed.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Bag {
    all: BTreeMap<u8, u32>,
    before: BTreeMap<u8, Option<u32>>,
}

impl Bag {
    pub(crate) fn all(&self) -> &BTreeMap<u8, u32> {
        &self.all
    }

    pub(crate) fn set(&mut self, cell: u8, value: Option<u32>) {
        let before = match value {
            Some(value) => self.all.insert(cell, value),
            None => self.all.remove(&cell),
        };
        self.before.entry(cell).or_insert(before);
    }
}

fn write(cell: u8, value: Option<u32>, out: &mut Vec<u8>) {
    match value {
        Some(n) => Cell::Put { part: PART, subkey: &[cell], value: &n.to_le_bytes() }.write(out),
        None => Cell::Remove { part: PART, subkey: &[cell] }.write(out),
    }
}

impl State for Bag {
    const FORM: Form = Form::Cells;
    type Mark = (BTreeMap<u8, u32>, BTreeMap<u8, Option<u32>>);

    fn write(
        &mut self,
        extent: Extent,
        out: &mut Vec<u8>,
        undo: Option<&mut Vec<u8>>,
    ) -> Result<(), StateError> {
        match extent {
            Extent::Whole => self.all.iter().for_each(|(cell, n)| write(*cell, Some(*n), out)),
            Extent::Changes => {
                self.before.keys().for_each(|cell| write(*cell, self.all.get(cell).copied(), out));
            }
        }
        let before = std::mem::take(&mut self.before);
        if let Some(undo) = undo {
            before.iter().for_each(|(cell, before)| write(*cell, *before, undo));
        }
        Ok(())
    }

    fn read(body: &[u8]) -> Result<Bag, StateError> {
        let mut bag = Bag::default();
        bag.apply(body)?;
        Ok(bag)
    }

    fn apply(&mut self, body: &[u8]) -> Result<(), StateError> {
        let wrong = || StateError("no cell of a bag".to_owned());
        for cell in cells(body) {
            match cell? {
                Cell::Put { part: PART, subkey: &[cell], value } => {
                    let value = value.try_into().map_err(|_| wrong())?;
                    self.all.insert(cell, u32::from_le_bytes(value));
                }
                Cell::Remove { part: PART, subkey: &[cell] } => drop(self.all.remove(&cell)),
                _ => return Err(wrong()),
            }
        }
        Ok(())
    }

    fn mark(&mut self) -> Result<Self::Mark, StateError> {
        Ok((self.all.clone(), self.before.clone()))
    }

    fn keep(&mut self, _: Self::Mark) {}

    fn take_back(&mut self, mark: Self::Mark) -> Result<(), StateError> {
        (self.all, self.before) = mark;
        Ok(())
    }

    fn format() -> StateFormat {
        StateFormat::parts(vec![Part::map(PART, "", Format::map_of::<u8, [u8; 4]>())])
    }

    fn bytes(&self) -> Option<usize> {
        Some(self.all.len() * 8)
    }
}
