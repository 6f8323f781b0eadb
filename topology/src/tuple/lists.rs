//! Columns of what has a length: all lengths, then all that is in them.

use std::iter::FusedIterator;

use super::{ColumnError, Columns, Tuple};

/// An iterator that has so many items; whoever makes one knows.
#[derive(Debug, Clone)]
pub(crate) struct Counted<I> {
    items: I,
    left: usize,
}

impl<I> Counted<I> {
    pub(crate) fn new(items: I, count: usize) -> Counted<I> {
        Counted { items, left: count }
    }
}

impl<I: Iterator> Iterator for Counted<I> {
    type Item = I::Item;

    #[inline]
    fn next(&mut self) -> Option<I::Item> {
        let item = self.items.next();
        self.left = self.left.saturating_sub(1);
        item
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<I: Iterator> ExactSizeIterator for Counted<I> {}

/// The lengths of a column, as they were read.
#[doc(hidden)]
#[derive(Debug, Clone)]
pub struct Lengths<'a> {
    width: usize,
    bytes: &'a [u8],
    total: usize,
}

impl<'a> Lengths<'a> {
    /// Appends `{width u8, width bytes each}`, as narrow as the longest allows.
    pub(super) fn put(lengths: impl ExactSizeIterator<Item = usize> + Clone, out: &mut Vec<u8>) {
        let widest = lengths.clone().fold(0, usize::max);
        let start = out.len() + 1;
        let width = match widest {
            0..0x100 => 1,
            0x100..0x1_0000 => 2,
            0x1_0000..0x1_0000_0000 => 4,
            _ => 8_u8,
        };
        out.push(width);
        let width = usize::from(width);
        if width == 1 {
            return out.extend(lengths.map(|length| (length as u64).to_le_bytes()[0]));
        }
        out.resize(start + lengths.len() * width, 0);
        for (place, length) in out[start..].chunks_exact_mut(width).zip(lengths) {
            place.copy_from_slice(&(length as u64).to_le_bytes()[..width]);
        }
    }

    /// Takes so many lengths, of a column of `T`.
    pub(crate) fn take<T: ?Sized>(
        columns: &mut Columns<'a>,
        count: usize,
    ) -> Result<Lengths<'a>, ColumnError> {
        let width = usize::from(columns.take::<T>(1)?[0]);
        if ![1, 2, 4, 8].contains(&width) {
            return Err(ColumnError::of::<T>(format!("lengths of {width} bytes")));
        }
        let bytes = columns.take::<T>(count.saturating_mul(width))?;
        let mut lengths = Lengths { width, bytes, total: 0 };
        let total = lengths.clone().try_fold(0, usize::checked_add);
        lengths.total = total.filter(|total| *total <= columns.remaining()).ok_or_else(|| {
            ColumnError::of::<T>("its lengths are of more than there is".to_owned())
        })?;
        Ok(lengths)
    }

    /// All of them, together.
    pub(crate) fn total(&self) -> usize {
        self.total
    }

    /// The parts of `bytes`, which are as long as all of these, that these are the lengths of.
    pub(super) fn slices(self, mut bytes: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.map(move |length| {
            let (slice, rest) = bytes.split_at(length.min(bytes.len()));
            bytes = rest;
            slice
        })
    }
}

impl Iterator for Lengths<'_> {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.width == 1 {
            let (length, rest) = self.bytes.split_first()?;
            self.bytes = rest;
            return Some(usize::from(*length));
        }
        let (length, rest) =
            self.bytes.split_at_checked(self.width).filter(|(l, _)| !l.is_empty())?;
        self.bytes = rest;
        let mut number = [0; 8];
        number[..length.len()].copy_from_slice(length);
        Some(usize::try_from(u64::from_le_bytes(number)).unwrap_or(usize::MAX))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.bytes.len() / self.width;
        (left, Some(left))
    }
}

impl FusedIterator for Lengths<'_> {}
impl ExactSizeIterator for Lengths<'_> {}

/// Appends lengths and bytes.
pub(crate) fn encode_bytes<'a>(
    texts: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
    out: &mut Vec<u8>,
) {
    Lengths::put(texts.clone().map(<[u8]>::len), out);
    let start = out.len();
    out.resize(start + texts.clone().map(<[u8]>::len).sum::<usize>(), 0);
    let mut rest = &mut out[start..];
    for text in texts {
        let (place, behind) = rest.split_at_mut(text.len());
        copy(place, text);
        rest = behind;
    }
}

/// Copies bytes, most of them few: such are moved as two numbers that overlap, without a call.
#[inline]
fn copy(to: &mut [u8], from: &[u8]) {
    match from.len() {
        8..=16 => {
            if let (Some(first), Some(last)) = (from.first_chunk::<8>(), from.last_chunk::<8>()) {
                to[..8].copy_from_slice(first);
                to[from.len() - 8..].copy_from_slice(last);
            }
        }
        4..8 => {
            if let (Some(first), Some(last)) = (from.first_chunk::<4>(), from.last_chunk::<4>()) {
                to[..4].copy_from_slice(first);
                to[from.len() - 4..].copy_from_slice(last);
            }
        }
        0..4 => to.iter_mut().zip(from).for_each(|(to, from)| *to = *from),
        _ => to.copy_from_slice(from),
    }
}

impl Tuple for String {
    fn weight(&self) -> usize {
        size_of::<String>() + self.capacity()
    }

    fn encode_column<'a, I>(tuples: I, out: &mut Vec<u8>)
    where
        I: ExactSizeIterator<Item = &'a Self> + Clone,
    {
        encode_bytes(tuples.map(|text| text.as_bytes()), out);
    }

    fn decode_column<'a>(
        columns: &mut Columns<'a>,
        count: usize,
    ) -> Result<impl Iterator<Item = Self> + use<'a>, ColumnError> {
        let lengths = Lengths::take::<String>(columns, count)?;
        let bytes = columns.take::<String>(lengths.total())?;
        let text =
            str::from_utf8(bytes).map_err(|why| ColumnError::of::<String>(why.to_string()))?;
        let mut at = 0;
        let mut between = lengths.clone().all(|length| {
            at += length;
            text.is_char_boundary(at)
        });
        between &= at == text.len();
        if !between {
            return Err(ColumnError::of::<String>("a text ends inside of a character"));
        }
        let mut rest = text;
        Ok(lengths.map_while(move |length| {
            let (one, more) = rest.split_at_checked(length)?;
            rest = more;
            Some(one.to_owned())
        }))
    }
}

impl<T: Tuple> Tuple for Vec<T> {
    fn weight(&self) -> usize {
        size_of::<Vec<T>>() + self.iter().map(Tuple::weight).sum::<usize>()
    }

    fn encode_column<'a, I>(tuples: I, out: &mut Vec<u8>)
    where
        I: ExactSizeIterator<Item = &'a Self> + Clone,
    {
        Lengths::put(tuples.clone().map(Vec::len), out);
        T::encode_lists(tuples.map(Vec::as_slice), out);
    }

    fn decode_column<'a>(
        columns: &mut Columns<'a>,
        count: usize,
    ) -> Result<impl Iterator<Item = Self> + use<'a, T>, ColumnError> {
        let lengths = Lengths::take::<Vec<T>>(columns, count)?;
        T::decode_lists(columns, lengths)
    }
}
