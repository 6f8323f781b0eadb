//! States of a type there was before, made into those of the type there is now.
//!
//! A component says which older types it knows and what becomes of them ([`Conversions`]); nothing is converted
//! that it does not name. While a task is restored, what stands in its ledgers under such a schema is put together
//! as it was written, bytes of a value or of cells, in a table of its own over a [backing](super::backing) of its
//! own; when everything is read, what that table still holds is converted, once, and moves over. What
//! was written under the schema of now takes a key out of it, and the other way round, so that ledgers of both
//! kinds may follow one another in any order.
//!
//! A converted key is written whole when it changes for the first time, so that changes only ever follow a state of
//! their own schema; until then its record is the old one. The sweep writes it anew in time.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use egret_schemas::key::hash;

use super::backing::{Backing, Fault};
use super::cell::CellSet;
use super::format::{Format, Schema, StateFormat, key::KeyFormat};
use super::key::Key;
use super::record::{Record, What};
use super::state::{Extent, Form, State, StateError};
use super::table::{KeyedTable, RestoreError};

/// What becomes of states of older types; see the [module](self).
///
/// ```
/// use egret_state::keyed::Conversions;
/// # use serde::{Deserialize, Serialize};
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Old { seen: u64 }
/// #[derive(Default, Serialize, Deserialize)]
/// struct New { seen: u64, at: Option<u32> }
///
/// let conversions = Conversions::<New>::none()
///     .of(|old: Old| New { seen: old.seen, at: None })
///     .try_of("text", |old: String| {
///         let seen = old.parse().map_err(|why| format!("`{old}` is no count: {why}"))?;
///         Ok(New { seen, at: None })
///     });
/// assert_eq!(conversions.len(), 2);
/// ```
pub struct Conversions<S>(Vec<Conversion<S>>);

/// From one older type.
struct Conversion<S> {
    label: String,
    format: StateFormat,
    form: Form,
    convert: Convert<S>,
}

/// Reads a whole state of the older type and makes one of it.
type Convert<S> = Arc<dyn Fn(&[u8]) -> Result<S, StateError> + Send + Sync>;

impl<S> Conversions<S> {
    /// Nothing is converted.
    pub fn none() -> Conversions<S> {
        Conversions(Vec::new())
    }

    /// What was written as an `Old`, without a label, becomes what `convert` makes of it. The keys are of the
    /// same type.
    #[must_use]
    pub fn of<Old: State>(self, convert: impl Fn(Old) -> S + Send + Sync + 'static) -> Self {
        self.try_of("", move |old: Old| Ok(convert(old)))
    }

    /// The same of what was written under a label, and with a reason why a state cannot be converted: the topology
    /// is refused with it then, before anything is written.
    #[must_use]
    pub fn try_of<Old: State>(
        mut self,
        label: &str,
        convert: impl Fn(Old) -> Result<S, String> + Send + Sync + 'static,
    ) -> Self {
        let convert = move |body: &[u8]| convert(Old::read(body)?).map_err(StateError);
        self.0.push(Conversion {
            label: label.to_owned(),
            format: Old::format(),
            form: Old::FORM,
            convert: Arc::new(convert),
        });
        self
    }

    /// From how many types.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is converted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The schemas of the older types, for keys of one format, in the order they were named.
    pub fn schemas(&self, key: &KeyFormat) -> Vec<Schema> {
        let schema = |of: &Conversion<S>| {
            let (label, state) = (of.label.clone(), of.format.clone());
            Schema { label, key: key.clone(), state }
        };
        self.0.iter().map(schema).collect()
    }
}

impl<S> Default for Conversions<S> {
    fn default() -> Self {
        Conversions::none()
    }
}

impl<S> fmt::Debug for Conversions<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|of| (&of.label, &of.format))).finish()
    }
}

/// Makes an empty backing for the states of one older type, told by its number.
pub type OpenBacking<B> = Box<dyn FnMut(usize) -> Result<B, Box<Fault>> + Send>;

/// States of older types, as they are read.
pub(super) struct Converting<K: Key + ?Sized, S, B> {
    conversions: Conversions<S>,
    open: OpenBacking<B>,
    olds: BTreeMap<usize, Olds<K, B>>,
}

/// States of one older type, not decoded.
enum Olds<K: Key + ?Sized, B> {
    Plain(KeyedTable<K, RawValue, B>),
    Cells(KeyedTable<K, RawCells, B>),
}

impl<K: Key + ?Sized, S: State, B: Backing> Converting<K, S, B> {
    pub(super) fn new(conversions: Conversions<S>, open: OpenBacking<B>) -> Self {
        Converting { conversions, open, olds: BTreeMap::new() }
    }

    /// A record of the type of this number; `table` has no state of the key after it.
    pub(super) fn take(
        &mut self,
        number: usize,
        hash: u64,
        record: &Record<'_>,
        table: &mut KeyedTable<K, S, B>,
    ) -> Result<(), RestoreError> {
        let Converting { conversions, open, olds } = self;
        let old = match olds.get_mut(&number) {
            Some(old) => old,
            None => {
                let (backing, groups) = (open(number)?, table.key_groups());
                olds.entry(number).or_insert(match conversions.0[number].form {
                    Form::Plain => Olds::Plain(KeyedTable::over(backing, groups)),
                    Form::Cells => Olds::Cells(KeyedTable::over(backing, groups)),
                })
            }
        };
        old.restore(hash, record)?;
        if !matches!(record.what, What::Changes(_)) {
            table.restore(hash, &Record { what: What::Removed, ..*record })?;
            self.forget_but(Some(number), hash, record)?;
        }
        Ok(())
    }

    /// A record of the type of now: nothing older counts for the key.
    pub(super) fn overtaken(&mut self, hash: u64, record: &Record<'_>) -> Result<(), RestoreError> {
        match record.what {
            What::Changes(_) => Ok(()),
            _ => self.forget_but(None, hash, record),
        }
    }

    fn forget_but(
        &mut self,
        kept: Option<usize>,
        hash: u64,
        record: &Record<'_>,
    ) -> Result<(), RestoreError> {
        let gone = Record { what: What::Removed, ..*record };
        let mut others = self.olds.iter_mut().filter(|(number, _)| Some(**number) != kept);
        others.try_for_each(|(_, old)| old.restore(hash, &gone))
    }

    /// Everything is read: converts what is left, and puts it into `table`; how many keys that were.
    ///
    /// # Errors
    /// With the key group, when a state is refused.
    pub(super) fn finish(
        self,
        table: &mut KeyedTable<K, S, B>,
    ) -> Result<u64, (Option<u32>, RestoreError)> {
        let mut keys = 0;
        for (number, old) in self.olds {
            let convert = &self.conversions.0[number].convert;
            let mut moved = Ok(());
            let mut each = |record: Record<'_>| {
                if moved.is_ok() {
                    let state = convert(record.what.body()).map_err(RestoreError::from);
                    let put = |state| table.restore_converted(hash(record.key), record.key, state);
                    moved = state.and_then(put).map_err(|why| (Some(record.group), why));
                    keys += 1;
                }
            };
            let swept = match old {
                Olds::Plain(mut old) => old.sweep_all(&mut each),
                Olds::Cells(mut old) => old.sweep_all(&mut each),
            };
            swept.map_err(|why| (None, why.into()))?;
            moved?;
        }
        Ok(keys)
    }
}

impl<K: Key + ?Sized, B: Backing> Olds<K, B> {
    fn restore(&mut self, hash: u64, record: &Record<'_>) -> Result<(), RestoreError> {
        match self {
            Olds::Plain(table) => table.restore(hash, record),
            Olds::Cells(table) => table.restore(hash, record),
        }
    }
}

impl<K: Key + ?Sized, S, B> fmt::Debug for Converting<K, S, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Converting").field("conversions", &self.conversions).finish_non_exhaustive()
    }
}

/// A value whose type is not known.
#[derive(Default)]
struct RawValue(Box<[u8]>);

impl State for RawValue {
    const FORM: Form = Form::Plain;
    type Mark = Box<[u8]>;

    fn write(
        &mut self,
        _: Extent,
        out: &mut Vec<u8>,
        _: Option<&mut Vec<u8>>,
    ) -> Result<(), StateError> {
        out.extend_from_slice(&self.0);
        Ok(())
    }

    fn read(body: &[u8]) -> Result<RawValue, StateError> {
        Ok(RawValue(body.into()))
    }

    fn apply(&mut self, body: &[u8]) -> Result<(), StateError> {
        self.0 = body.into();
        Ok(())
    }

    fn mark(&mut self) -> Result<Box<[u8]>, StateError> {
        Ok(self.0.clone())
    }

    fn keep(&mut self, _: Box<[u8]>) {}

    fn take_back(&mut self, mark: Box<[u8]>) -> Result<(), StateError> {
        self.0 = mark;
        Ok(())
    }

    fn format() -> StateFormat {
        StateFormat::Plain(Format::opaque("any"))
    }

    fn bytes(&self) -> Option<usize> {
        Some(self.0.len())
    }
}

/// Cells whose types are not known. Only ever restored, so nothing in it changes.
#[derive(Default)]
struct RawCells(CellSet);

impl State for RawCells {
    const FORM: Form = Form::Cells;
    type Mark = ();

    fn write(
        &mut self,
        extent: Extent,
        out: &mut Vec<u8>,
        _: Option<&mut Vec<u8>>,
    ) -> Result<(), StateError> {
        if extent == Extent::Whole {
            self.0.write(out);
        }
        Ok(())
    }

    fn read(body: &[u8]) -> Result<RawCells, StateError> {
        let mut state = RawCells::default();
        state.apply(body)?;
        Ok(state)
    }

    fn apply(&mut self, body: &[u8]) -> Result<(), StateError> {
        Ok(self.0.apply(body)?)
    }

    fn mark(&mut self) -> Result<(), StateError> {
        Ok(())
    }

    fn keep(&mut self, (): ()) {}

    fn take_back(&mut self, (): ()) -> Result<(), StateError> {
        Ok(())
    }

    fn format() -> StateFormat {
        StateFormat::Parts(Vec::new())
    }

    fn bytes(&self) -> Option<usize> {
        Some(self.0.bytes())
    }
}

#[cfg(test)]
mod tests {
    use egret_schemas::{Epoch, Generation};

    use super::*;
    use crate::keyed::kinds::MapState;

    /// Also where nothing is kept to take it back: whoever reads the change later has the old type before it.
    #[test]
    fn a_converted_state_is_written_whole_when_it_changes_and_by_its_changes_after_that() {
        let mut table = KeyedTable::<u64, MapState<u8, u32>>::new(16);
        let mut old = MapState::default();
        old.insert(1, 10);
        table.restore_converted(7u64.hash64(), &7u64.to_le_bytes(), old).unwrap();
        let mut written = Vec::new();
        for n in 0..2u32 {
            let slot = table.entry(7u64.hash64(), &7);
            table.get_mut(slot).1.insert(2, n);
            let commit = Epoch::new(Generation(1), n, 0);
            table
                .drain(commit, |record| written.push(matches!(record.what, What::Whole(_))))
                .unwrap();
        }
        assert_eq!(written, [true, false]);
    }
}
