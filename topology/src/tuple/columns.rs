//! Columns, one after the other, as bytes.
//!
//! | tuples | column |
//! |---|---|
//! | numbers | little-endian, one after the other |
//! | `bool`, `char`, `()` | a byte, four bytes, a zero byte each |
//! | `String`, `Blob`, `Vec<T>` | lengths `{width u8, width bytes each}`, then the column of all that is in them |
//! | `(A, B)` and the like, [`columns!`](crate::columns) | the column of each part |
//! | `Option`, `Either` | a byte each, then a column of those that are there, or of each side |
//! | others | `postcard`, one after the other, filled up with zeros to a byte each |
//!
//! Every tuple has a byte at least, so that how many there are is bounded by how long their column is, before anything
//! is allocated for them.

use std::any::type_name;

use super::Tuple;
use crate::batch::BATCH_TUPLES;

/// Bytes that hold columns, read front to back.
#[derive(Debug, Clone)]
pub struct Columns<'a>(&'a [u8]);

/// Bytes that are not the columns they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a column of {of}: {why}")]
pub struct ColumnError {
    of: &'static str,
    why: String,
}

impl ColumnError {
    /// Why bytes are no column of `T`.
    pub fn of<T: ?Sized>(why: impl Into<String>) -> ColumnError {
        ColumnError { of: type_name::<T>(), why: why.into() }
    }
}

impl<'a> Columns<'a> {
    /// Columns that begin with these bytes.
    pub fn new(bytes: &'a [u8]) -> Columns<'a> {
        Columns(bytes)
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.0.len()
    }

    /// The next `length` bytes, of a column of `T`.
    ///
    /// # Errors
    /// When there are not so many.
    pub fn take<T: ?Sized>(&mut self, length: usize) -> Result<&'a [u8], ColumnError> {
        let Some((taken, rest)) = self.0.split_at_checked(length) else {
            let why = format!("{length} bytes of it are to come, and {} are left", self.0.len());
            return Err(ColumnError::of::<T>(why));
        };
        self.0 = rest;
        Ok(taken)
    }

    /// Refuses a count of tuples that cannot be here: each has a byte.
    pub(super) fn holds<T: ?Sized>(&self, count: usize) -> Result<(), ColumnError> {
        match count <= self.0.len() {
            true => Ok(()),
            false => {
                Err(ColumnError::of::<T>(format!("{count} of them in {} bytes", self.0.len())))
            }
        }
    }
}

/// A column of what has no better one.
pub(super) fn encode_each<'a, T, I>(tuples: I, out: &mut Vec<u8>)
where
    T: Tuple,
    I: ExactSizeIterator<Item = &'a T>,
{
    let least = out.len() + tuples.len();
    let mut encoded = std::mem::take(out);
    for tuple in tuples {
        encoded = postcard::to_extend(tuple, encoded)
            .expect("a tuple's Serialize must not fail: it is a plain value");
    }
    if encoded.len() < least {
        encoded.resize(least, 0);
    }
    *out = encoded;
}

pub(super) fn decode_each<T: Tuple>(
    columns: &mut Columns<'_>,
    count: usize,
) -> Result<Vec<T>, ColumnError> {
    columns.holds::<T>(count)?;
    let before = columns.0;
    let mut tuples = Vec::with_capacity(count.min(BATCH_TUPLES));
    for _ in 0..count {
        let (tuple, rest) = postcard::take_from_bytes(columns.0)
            .map_err(|why| ColumnError::of::<T>(why.to_string()))?;
        columns.0 = rest;
        tuples.push(tuple);
    }
    let taken = before.len() - columns.0.len();
    let filled = columns.take::<T>(count.saturating_sub(taken))?;
    match filled.iter().all(|byte| *byte == 0) {
        true => Ok(tuples),
        false => Err(ColumnError::of::<T>("it is filled up with other than zeros")),
    }
}

/// Appends `{count u32, columns}`.
pub(crate) fn encode<T: Tuple>(tuples: &[T], out: &mut Vec<u8>) {
    let count = u32::try_from(tuples.len()).expect("a batch is small");
    out.extend_from_slice(&count.to_le_bytes());
    T::encode_column(tuples.iter(), out);
}

/// Takes what [`encode`] made, and all of it.
pub(crate) fn decode<T: Tuple>(bytes: &[u8]) -> Result<Vec<T>, ColumnError> {
    let mut columns = Columns(bytes);
    let count = columns.take::<T>(4)?.try_into().expect("four bytes");
    decode_all(columns, u32::from_le_bytes(count) as usize)
}

/// Takes a column of so many tuples that is all there is.
pub(crate) fn decode_all<T: Tuple>(
    mut columns: Columns<'_>,
    count: usize,
) -> Result<Vec<T>, ColumnError> {
    columns.holds::<T>(count)?;
    let mut tuples = Vec::with_capacity(count.min(BATCH_TUPLES));
    tuples.extend(T::decode_column(&mut columns, count)?);
    if tuples.len() != count {
        return Err(ColumnError::of::<T>(format!("{} of {count} are there", tuples.len())));
    }
    match columns.0.len() {
        0 => Ok(tuples),
        more => Err(ColumnError::of::<T>(format!("{more} bytes follow it"))),
    }
}
