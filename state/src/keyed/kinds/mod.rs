//! Kinds of state that are written cell by cell, and states put together of them.
//!
//! | kind | cells |
//! |---|---|
//! | [`Value`] | one |
//! | [`ListState`] | one for each element, under its index |
//! | [`MapState`] | one for each entry, under its key |
//! | [`ExpiringMap`] | the same, and each has its time |
//! | [`state!`](crate::state) | those of its parts, each part under its number |
//!
//! Each remembers which of its cells changed since it was last written, and what they were: a commit costs what
//! changed in it, and can be taken back. So can one attempt at changing it: what changed before is set aside
//! meanwhile, and counts again when the attempt is over.

mod expiring;
mod list;
mod map;
#[cfg(test)]
mod tests;
mod value;

pub use expiring::ExpiringMap;
pub use list::ListState;
pub use map::MapState;
pub use value::Value;

use serde::Serialize;

use super::cell::{Cell, cells};
use super::format;
use super::state::{Extent, StateError, write_value};

/// What can be one part of a state: it writes and takes the cells of one number.
pub trait Kind: Default + Send + 'static {
    /// What is set aside of it while there is an attempt at changing it.
    type Mark;

    /// Appends the cells of the whole part, or those that changed; from then on nothing counts as changed. What
    /// takes the changes back is appended to `undo`.
    ///
    /// # Errors
    /// When a value cannot be serialized.
    fn write(
        &mut self,
        part: u32,
        extent: Extent,
        out: &mut Vec<u8>,
        undo: Option<&mut Vec<u8>>,
    ) -> Result<(), StateError>;

    /// Takes one cell of this part; it does not count as changed then.
    ///
    /// # Errors
    /// When it is no cell of such a part.
    fn take(&mut self, cell: Cell<'_>) -> Result<(), StateError>;

    /// Sets what changed so far aside: an attempt begins, and only what changes in it counts.
    fn mark(&mut self) -> Self::Mark;

    /// The attempt stands: what was set aside counts again, and what changed since.
    fn keep(&mut self, mark: Self::Mark);

    /// Takes what changed in the attempt back; what was set aside counts again.
    ///
    /// # Errors
    /// When a value cannot be serialized, or does not decode that was encoded here.
    fn take_back(&mut self, part: u32, mark: Self::Mark) -> Result<(), StateError> {
        undo(self, part)?;
        self.keep(mark);
        Ok(())
    }

    /// What its cells are.
    fn format(part: u32, name: &str) -> format::Part;

    /// Bytes of its cells as they were last written or read.
    fn bytes(&self) -> usize;
}

/// Takes back what counts as changed.
fn undo(kind: &mut impl Kind, part: u32) -> Result<(), StateError> {
    let (mut changes, mut undo) = (Vec::new(), Vec::new());
    kind.write(part, Extent::Changes, &mut changes, Some(&mut undo))?;
    cells(&undo).try_for_each(|cell| kind.take(cell?))
}

/// Hands the cells of a body to the parts they are of; `take` says no to a part it does not have. For
/// [`state!`](crate::state).
///
/// # Errors
/// When the bytes are no cells, `take` fails, or there is no such part.
#[doc(hidden)]
pub fn apply_cells(
    body: &[u8],
    of: &str,
    parts: usize,
    mut take: impl FnMut(Cell<'_>) -> Result<bool, StateError>,
) -> Result<(), StateError> {
    for cell in cells(body) {
        let cell = cell?;
        if !take(cell)? {
            let part = cell.part();
            let last = parts.saturating_sub(1);
            return Err(StateError(format!(
                "part {part} was written, and `{of}` has parts 0 to {last}: run the code that has it, parts are only ever appended"
            )));
        }
    }
    Ok(())
}

/// Makes a state of one part, number 0.
macro_rules! state_of_one_part {
    ($name:literal, $type:ident <$($param:ident),*>) => {
        impl<$($param),*> $crate::keyed::state::State for $type<$($param),*>
        where
            $type<$($param),*>: $crate::keyed::kinds::Kind,
        {
            const FORM: $crate::keyed::state::Form = $crate::keyed::state::Form::Cells;
            type Mark = <Self as $crate::keyed::kinds::Kind>::Mark;

            fn write(
                &mut self,
                extent: $crate::keyed::state::Extent,
                out: &mut Vec<u8>,
                undo: Option<&mut Vec<u8>>,
            ) -> Result<(), $crate::keyed::state::StateError> {
                $crate::keyed::kinds::Kind::write(self, 0, extent, out, undo)
            }

            fn read(body: &[u8]) -> Result<Self, $crate::keyed::state::StateError> {
                let mut state = Self::default();
                $crate::keyed::state::State::apply(&mut state, body)?;
                Ok(state)
            }

            fn apply(&mut self, body: &[u8]) -> Result<(), $crate::keyed::state::StateError> {
                $crate::keyed::kinds::apply_cells(body, $name, 1, |cell| match cell.part() {
                    0 => $crate::keyed::kinds::Kind::take(self, cell).map(|()| true),
                    _ => Ok(false),
                })
            }

            fn mark(&mut self) -> Result<Self::Mark, $crate::keyed::state::StateError> {
                Ok($crate::keyed::kinds::Kind::mark(self))
            }

            fn keep(&mut self, mark: Self::Mark) {
                $crate::keyed::kinds::Kind::keep(self, mark);
            }

            fn take_back(
                &mut self,
                mark: Self::Mark,
            ) -> Result<(), $crate::keyed::state::StateError> {
                $crate::keyed::kinds::Kind::take_back(self, 0, mark)
            }

            fn format() -> $crate::keyed::format::StateFormat {
                let part = <Self as $crate::keyed::kinds::Kind>::format(0, "");
                $crate::keyed::format::StateFormat::parts(vec![part])
            }

            fn bytes(&self) -> Option<usize> {
                Some($crate::keyed::kinds::Kind::bytes(self))
            }
        }
    };
}
use state_of_one_part;

/// A state of several parts, numbered from 0 in the order they stand.
///
/// The numbers are what the bytes know the parts by: append new parts at the end, and keep the place of one no
/// longer used. A part the code does not have is an error when it is read.
///
/// ```
/// use egret_state::keyed::kinds::{ListState, MapState, Value};
///
/// egret_state::state! {
///     /// What a customer has in the basket.
///     #[derive(Debug)]
///     pub struct Basket {
///         pub cents: Value<u64>,
///         items: MapState<String, u32>,
///         seen: ListState<String>,
///     }
/// }
///
/// let mut basket = Basket::default();
/// *basket.cents += 250;
/// *basket.items.or_default("feather".to_owned()) += 1;
/// basket.seen.push("feather".to_owned());
/// assert_eq!((*basket.cents, basket.items.get("feather")), (250, Some(&1)));
/// ```
#[macro_export]
macro_rules! state {
    (
        $(#[$attribute:meta])*
        $vis:vis struct $name:ident {
            $($(#[$field_attribute:meta])* $field_vis:vis $field:ident : $type:ty),+ $(,)?
        }
    ) => {
        $(#[$attribute])*
        #[derive(Default)]
        $vis struct $name {
            $($(#[$field_attribute])* $field_vis $field: $type),+
        }

        impl $crate::keyed::state::State for $name {
            const FORM: $crate::keyed::state::Form = $crate::keyed::state::Form::Cells;
            type Mark = ($(<$type as $crate::keyed::kinds::Kind>::Mark,)+);

            fn write(
                &mut self,
                extent: $crate::keyed::state::Extent,
                out: &mut ::std::vec::Vec<u8>,
                mut undo: ::std::option::Option<&mut ::std::vec::Vec<u8>>,
            ) -> ::std::result::Result<(), $crate::keyed::state::StateError> {
                let mut part = 0u32;
                $(
                    $crate::keyed::kinds::Kind::write(
                        &mut self.$field, part, extent, out, undo.as_deref_mut(),
                    )?;
                    part += 1;
                )+
                let _ = part;
                ::std::result::Result::Ok(())
            }

            fn read(
                body: &[u8],
            ) -> ::std::result::Result<Self, $crate::keyed::state::StateError> {
                let mut state = Self::default();
                $crate::keyed::state::State::apply(&mut state, body)?;
                ::std::result::Result::Ok(state)
            }

            fn apply(
                &mut self,
                body: &[u8],
            ) -> ::std::result::Result<(), $crate::keyed::state::StateError> {
                const PARTS: &[&str] = &[$(stringify!($field)),+];
                $crate::keyed::kinds::apply_cells(body, stringify!($name), PARTS.len(), |cell| {
                    let mut part = 0u32;
                    $(
                        if cell.part() == part {
                            $crate::keyed::kinds::Kind::take(&mut self.$field, cell)?;
                            return ::std::result::Result::Ok(true);
                        }
                        part += 1;
                    )+
                    let _ = part;
                    ::std::result::Result::Ok(false)
                })
            }

            fn mark(
                &mut self,
            ) -> ::std::result::Result<Self::Mark, $crate::keyed::state::StateError> {
                ::std::result::Result::Ok(
                    ($($crate::keyed::kinds::Kind::mark(&mut self.$field),)+),
                )
            }

            fn keep(&mut self, mark: Self::Mark) {
                let ($($field,)+) = mark;
                $($crate::keyed::kinds::Kind::keep(&mut self.$field, $field);)+
            }

            fn take_back(
                &mut self,
                mark: Self::Mark,
            ) -> ::std::result::Result<(), $crate::keyed::state::StateError> {
                let ($($field,)+) = mark;
                let mut part = 0u32;
                $(
                    $crate::keyed::kinds::Kind::take_back(&mut self.$field, part, $field)?;
                    part += 1;
                )+
                let _ = part;
                ::std::result::Result::Ok(())
            }

            fn format() -> $crate::keyed::format::StateFormat {
                let (mut parts, mut number) = (::std::vec::Vec::new(), 0u32);
                $(
                    let name = stringify!($field);
                    parts.push(<$type as $crate::keyed::kinds::Kind>::format(number, name));
                    number += 1;
                )+
                let _ = number;
                $crate::keyed::format::StateFormat::parts(parts)
            }

            fn bytes(&self) -> ::std::option::Option<usize> {
                ::std::option::Option::Some(
                    0 $(+ $crate::keyed::kinds::Kind::bytes(&self.$field))+,
                )
            }
        }
    };
}

/// A value's encoding before it changed, or why there is none.
type Before = Result<Box<[u8]>, StateError>;

fn encoded<T: Serialize>(value: &T) -> Before {
    let mut bytes = Vec::new();
    write_value(value, &mut bytes)?;
    Ok(bytes.into_boxed_slice())
}

/// Bytes of a value as it would be written.
fn value_bytes<T: Serialize>(value: &T) -> usize {
    postcard::serialize_with_flavor(value, postcard::ser_flavors::Size::default())
        .unwrap_or_default()
}

/// Bytes of a cell that is put.
fn put_bytes(part: u32, subkey: usize, value: usize) -> usize {
    var_bytes(u64::from(part) * 4)
        + var_bytes(subkey as u64)
        + subkey
        + var_bytes(value as u64)
        + value
}

fn var_bytes(n: u64) -> usize {
    (64 - (n | 1).leading_zeros() as usize).div_ceil(7)
}

/// A cell cannot be taken.
fn no_cell(of: &str, why: &str) -> StateError {
    StateError(format!("a cell of a {of} {why}: the state is another kind's, or damaged"))
}
