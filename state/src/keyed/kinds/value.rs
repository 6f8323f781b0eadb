//! One serde value as a part of a state.

use std::fmt;
use std::ops::{Deref, DerefMut};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Before, Kind, encoded, no_cell, put_bytes, state_of_one_part};
use crate::keyed::cell::Cell;
use crate::keyed::format;
use crate::keyed::state::{Extent, StateError, read_value, write_value};

/// One value, reached through `*`: to reach it mutably counts as a change. For states of several parts; a state
/// that is one value needs no `Value` around it.
#[derive(Default)]
pub struct Value<T> {
    value: T,
    before: Option<Before>,
    bytes: usize,
}

/// What the value was when it was written last, if it had changed when it was marked; and its bytes.
#[derive(Debug)]
pub struct ValueMark(Option<Before>, usize);

impl<T: PartialEq> PartialEq for Value<T> {
    fn eq(&self, other: &Value<T>) -> bool {
        self.value == other.value
    }
}

impl<T: fmt::Debug> fmt::Debug for Value<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

impl<T> Deref for Value<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: Serialize> DerefMut for Value<T> {
    fn deref_mut(&mut self) -> &mut T {
        self.before.get_or_insert_with(|| encoded(&self.value));
        &mut self.value
    }
}

impl<T: Serialize + DeserializeOwned + Default + Send + 'static> Kind for Value<T> {
    type Mark = ValueMark;

    fn write(
        &mut self,
        part: u32,
        extent: Extent,
        out: &mut Vec<u8>,
        undo: Option<&mut Vec<u8>>,
    ) -> Result<(), StateError> {
        let before = self.before.take().transpose()?;
        if extent == Extent::Changes && before.is_none() {
            return Ok(());
        }
        let mut value = Vec::new();
        write_value(&self.value, &mut value)?;
        let changed = before.filter(|before| **before != *value);
        if extent == Extent::Whole || changed.is_some() {
            Cell::Put { part, subkey: &[], value: &value }.write(out);
            self.bytes = put_bytes(part, 0, value.len());
        }
        if let (Some(undo), Some(before)) = (undo, changed) {
            Cell::Put { part, subkey: &[], value: &before }.write(undo);
        }
        Ok(())
    }

    fn take(&mut self, cell: Cell<'_>) -> Result<(), StateError> {
        self.before = None;
        match cell {
            Cell::Put { part, subkey: [], value } => {
                self.value = read_value(value)?;
                self.bytes = put_bytes(part, 0, value.len());
            }
            Cell::Put { .. } => return Err(no_cell("value", "has a key")),
            Cell::Remove { .. } | Cell::Clear { .. } => {
                self.value = T::default();
                self.bytes = 0;
            }
        }
        Ok(())
    }

    fn mark(&mut self) -> ValueMark {
        ValueMark(self.before.take(), self.bytes)
    }

    fn keep(&mut self, ValueMark(before, bytes): ValueMark) {
        self.before = before.or(self.before.take());
        self.bytes = bytes;
    }

    fn format(part: u32, name: &str) -> format::Part {
        format::Part::value(part, name, format::Format::of::<T>())
    }

    fn bytes(&self) -> usize {
        self.bytes
    }
}

state_of_one_part!("Value", Value<T>);
