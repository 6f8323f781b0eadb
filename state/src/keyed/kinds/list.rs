//! A list of which only the elements that changed are written.
//!
//! Elements keep the number they were pushed under while the list loses others at its ends:
//!
//! ```text
//! written last    [a ─────────────── b)
//! now                   [c ───────────────── d)       a..c removed, b..d put, and what changed between
//! ```
//! Cells are written so that after each of them the elements follow one another without a gap. Changes may come
//! before the whole list they are of, when a restore begins in the middle of what was written; then there are
//! gaps until the whole list comes, and a list that still had one could not be written.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Before, Kind, encoded, no_cell, put_bytes, state_of_one_part, undo, value_bytes};
use crate::keyed::cell::Cell;
use crate::keyed::format;
use crate::keyed::state::{Extent, StateError, read_value, write_value};

/// A list under one key. It grows at its end and is taken from at both; a commit costs the elements that changed in
/// it, however many there are.
pub struct ListState<T> {
    elements: VecDeque<T>,
    /// The number of the first one.
    first: u64,
    changes: Option<Box<Changes>>,
    bytes: usize,
}

/// What had changed when the list was marked, its bytes, and the number of its first element.
#[derive(Debug)]
pub struct ListMark(Option<Box<Changes>>, usize, u64);

/// What changed since the list was last written.
#[derive(Debug)]
struct Changes {
    /// The numbers there were.
    first: u64,
    end: u64,
    /// The elements there were that changed or are gone.
    before: BTreeMap<u64, Before>,
    /// Whether elements are missing.
    torn: bool,
}

impl<T> Default for ListState<T> {
    fn default() -> ListState<T> {
        ListState { elements: VecDeque::new(), first: 0, changes: None, bytes: 0 }
    }
}

impl<T: PartialEq> PartialEq for ListState<T> {
    fn eq(&self, other: &ListState<T>) -> bool {
        self.elements == other.elements
    }
}

impl<T: fmt::Debug> fmt::Debug for ListState<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.elements.fmt(f)
    }
}

impl<T> ListState<T> {
    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.elements.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }

    /// All elements, first to last.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &T> + ExactSizeIterator {
        self.elements.iter()
    }

    /// The element at `index`, from 0.
    pub fn get(&self, index: usize) -> Option<&T> {
        self.elements.get(index)
    }

    /// The first element.
    pub fn front(&self) -> Option<&T> {
        self.elements.front()
    }

    /// The last element.
    pub fn back(&self) -> Option<&T> {
        self.elements.back()
    }

    fn end(&self) -> u64 {
        self.first + self.elements.len() as u64
    }

    fn changes(&mut self) -> &mut Changes {
        let (first, end) = (self.first, self.end());
        self.changes.get_or_insert_with(|| {
            Box::new(Changes { first, end, before: BTreeMap::new(), torn: false })
        })
    }
}

impl Changes {
    fn keep<T: Serialize>(&mut self, number: u64, element: &T) {
        if (self.first..self.end).contains(&number) {
            self.before.entry(number).or_insert_with(|| encoded(element));
        }
    }

    /// What the element of this number was, if it changed or is gone.
    fn before(&self, number: u64) -> Result<Option<&[u8]>, StateError> {
        let before = self.before.get(&number).map(|before| before.as_deref());
        before.transpose().map_err(Clone::clone)
    }
}

impl<T: Serialize> ListState<T> {
    /// Appends an element.
    pub fn push(&mut self, element: T) {
        self.changes();
        self.elements.push_back(element);
    }

    /// Takes the last element away.
    pub fn pop(&mut self) -> Option<T> {
        self.changes();
        let element = self.elements.pop_back()?;
        let end = self.end();
        self.changes().keep(end, &element);
        Some(element)
    }

    /// Takes the first element away.
    pub fn pop_front(&mut self) -> Option<T> {
        self.changes();
        let element = self.elements.pop_front()?;
        let number = self.first;
        self.changes().keep(number, &element);
        self.first += 1;
        Some(element)
    }

    /// The element at `index`, from 0; from now on it counts as changed.
    pub fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        self.changes();
        let ListState { elements, first, changes, .. } = self;
        let element = elements.get_mut(index)?;
        if let Some(changes) = changes {
            changes.keep(*first + index as u64, element);
        }
        Some(element)
    }

    /// Puts an element in the place of the one at `index` and returns that one; `None`, and nothing is put, if
    /// the list is not that long.
    pub fn set(&mut self, index: usize, element: T) -> Option<T> {
        Some(std::mem::replace(self.get_mut(index)?, element))
    }

    /// Takes all elements away.
    pub fn clear(&mut self) {
        while self.pop().is_some() {}
    }
}

#[expect(clippy::big_endian_bytes, reason = "the order of bytes is the order of numbers")]
fn subkey(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

fn number(subkey: &[u8]) -> Result<u64, StateError> {
    let number = subkey.try_into().map(u64::from_be_bytes).ok();
    // The last one would leave no number for the end.
    number.filter(|number| *number < u64::MAX).ok_or_else(|| no_cell("list", "has no number"))
}

/// Where an element stands, by how many come before it.
fn index(before: u64) -> usize {
    usize::try_from(before).expect("there is an element there, in memory")
}

impl<T: Serialize> ListState<T> {
    fn put(
        &self,
        part: u32,
        number: u64,
        value: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<usize, StateError> {
        value.clear();
        write_value(&self.elements[index(number - self.first)], value)?;
        Cell::Put { part, subkey: &subkey(number), value }.write(out);
        Ok(put_bytes(part, 8, value.len()))
    }

    fn write_all(&mut self, part: u32, out: &mut Vec<u8>) -> Result<(), StateError> {
        let (mut value, mut bytes) = (Vec::new(), 0);
        for number in self.first..self.end() {
            bytes += self.put(part, number, &mut value, out)?;
        }
        self.bytes = bytes;
        Ok(())
    }

    fn write_changes(
        &mut self,
        part: u32,
        was: &Changes,
        out: &mut Vec<u8>,
    ) -> Result<(), StateError> {
        let (first, end) = (self.first, self.end());
        if first.max(was.first) >= end.min(was.end) {
            if was.first < was.end {
                Cell::Clear { part }.write(out);
            }
            return self.write_all(part, out);
        }
        for number in (was.first..first).chain((end..was.end).rev()) {
            Cell::Remove { part, subkey: &subkey(number) }.write(out);
        }
        for (number, before) in &was.before {
            let before = before.as_deref().map_err(Clone::clone)?;
            self.bytes = self.bytes.saturating_sub(put_bytes(part, 8, before.len()));
            if (first..end).contains(number) {
                let mut value = Vec::new();
                let from = out.len();
                self.bytes += self.put(part, *number, &mut value, out)?;
                if value == before {
                    out.truncate(from);
                }
            }
        }
        let mut value = Vec::new();
        for number in was.end..end {
            self.bytes += self.put(part, number, &mut value, out)?;
        }
        Ok(())
    }

    fn write_undo(&self, part: u32, was: &Changes, undo: &mut Vec<u8>) -> Result<(), StateError> {
        let (first, end) = (self.first, self.end());
        let shares = first.max(was.first) < end.min(was.end);
        if shares {
            for number in (was.end..end).rev() {
                Cell::Remove { part, subkey: &subkey(number) }.write(undo);
            }
        } else if first < end {
            Cell::Clear { part }.write(undo);
        }
        let from = if shares { first } else { was.first };
        for number in (from..was.end).chain((was.first..from).rev()) {
            if let Some(value) = was.before(number)? {
                Cell::Put { part, subkey: &subkey(number), value }.write(undo);
            }
        }
        Ok(())
    }
}

impl<T: Serialize + DeserializeOwned + Send + 'static> Kind for ListState<T> {
    type Mark = ListMark;

    fn write(
        &mut self,
        part: u32,
        extent: Extent,
        out: &mut Vec<u8>,
        undo: Option<&mut Vec<u8>>,
    ) -> Result<(), StateError> {
        let changes = self.changes.take();
        if changes.as_ref().is_some_and(|changes| changes.torn) {
            return Err(no_cell("list", "changes elements that were never written"));
        }
        if let (Some(changes), Some(undo)) = (&changes, undo) {
            self.write_undo(part, changes, undo)?;
        }
        match (extent, changes) {
            (Extent::Whole, _) => self.write_all(part, out),
            (Extent::Changes, Some(changes)) => self.write_changes(part, &changes, out),
            (Extent::Changes, None) => Ok(()),
        }
    }

    fn take(&mut self, cell: Cell<'_>) -> Result<(), StateError> {
        let part = cell.part();
        let mut gone = |element: Option<T>| {
            let bytes = element.map_or(0, |old| put_bytes(part, 8, value_bytes(&old)));
            self.bytes = self.bytes.saturating_sub(bytes);
        };
        let end = self.first + self.elements.len() as u64;
        let mut torn = self.changes.take().is_some_and(|changes| changes.torn);
        match cell {
            Cell::Put { subkey, value, .. } => {
                let (number, element) = (number(subkey)?, read_value(value)?);
                if (self.first..end).contains(&number) {
                    let place = &mut self.elements[index(number - self.first)];
                    gone(Some(std::mem::replace(place, element)));
                } else if number == end || self.elements.is_empty() {
                    torn &= !self.elements.is_empty();
                    self.first = number - self.elements.len() as u64;
                    self.elements.push_back(element);
                } else if number + 1 == self.first {
                    self.first = number;
                    self.elements.push_front(element);
                } else {
                    torn = true;
                    self.elements = VecDeque::from([element]);
                    (self.first, self.bytes) = (number, 0);
                }
                self.bytes += put_bytes(part, 8, value.len());
            }
            Cell::Remove { subkey, .. } => {
                let number = number(subkey)?;
                if self.elements.is_empty() {
                    torn = true;
                } else if number == self.first {
                    self.first += 1;
                    gone(self.elements.pop_front());
                } else if number + 1 == end {
                    gone(self.elements.pop_back());
                } else {
                    torn = true;
                }
            }
            Cell::Clear { .. } => {
                torn = false;
                self.elements.clear();
                self.bytes = 0;
            }
        }
        if torn {
            self.changes().torn = true;
        }
        Ok(())
    }

    fn mark(&mut self) -> ListMark {
        ListMark(self.changes.take(), self.bytes, self.first)
    }

    fn take_back(&mut self, part: u32, mark: ListMark) -> Result<(), StateError> {
        undo(self, part)?;
        if self.elements.is_empty() {
            // No cell says it.
            self.first = mark.2;
        }
        self.keep(mark);
        Ok(())
    }

    fn keep(&mut self, ListMark(changes, bytes, _): ListMark) {
        self.bytes = bytes;
        let Some(mut changes) = changes else { return };
        for (number, element) in self.changes.take().map(|since| since.before).unwrap_or_default() {
            // Of elements that came after the list was written there is nothing to go back to.
            if (changes.first..changes.end).contains(&number) {
                changes.before.entry(number).or_insert(element);
            }
        }
        self.changes = Some(changes);
    }

    fn format(part: u32, name: &str) -> format::Part {
        format::Part::list(part, name, format::Format::seq_of::<T>())
    }

    fn bytes(&self) -> usize {
        self.bytes
    }
}

impl<'a, T> IntoIterator for &'a ListState<T> {
    type Item = &'a T;
    type IntoIter = std::collections::vec_deque::Iter<'a, T>;
    fn into_iter(self) -> Self::IntoIter {
        self.elements.iter()
    }
}

state_of_one_part!("ListState", ListState<T>);
