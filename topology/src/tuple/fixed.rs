//! Columns of what has a fixed size.

use super::{ColumnError, Columns, Tuple};

/// Tuples that are numbers: their column is an array of them, and lists of them are copied whole.
macro_rules! numbers {
    ($($type:ty),*) => { $(
        impl Tuple for $type {
            #[inline]
            fn encode_column<'a, I>(tuples: I, out: &mut Vec<u8>)
            where
                I: ExactSizeIterator<Item = &'a Self> + Clone,
            {
                const BYTES: usize = size_of::<$type>();
                let start = out.len();
                out.resize(start + tuples.len() * BYTES, 0);
                let (places, _) = out[start..].as_chunks_mut::<BYTES>();
                for (place, number) in places.iter_mut().zip(tuples) {
                    *place = number.to_le_bytes();
                }
            }

            #[inline]
            fn decode_column<'a>(
                columns: &mut Columns<'a>,
                count: usize,
            ) -> Result<impl Iterator<Item = Self> + use<'a>, ColumnError> {
                const BYTES: usize = size_of::<$type>();
                let bytes = columns.take::<$type>(count.saturating_mul(BYTES))?;
                let (numbers, _) = bytes.as_chunks::<BYTES>();
                Ok(numbers.iter().map(|number| <$type>::from_le_bytes(*number)))
            }

            fn encode_lists<'a, I>(lists: I, out: &mut Vec<u8>)
            where
                I: Iterator<Item = &'a [Self]> + Clone,
            {
                lists.for_each(|list| Self::encode_column(list.iter(), out));
            }
        }
    )* };
}
numbers!(u16, u32, u64, u128, i8, i16, i32, i64, i128, f32, f64);

impl Tuple for u8 {
    fn encode_column<'a, I>(tuples: I, out: &mut Vec<u8>)
    where
        I: ExactSizeIterator<Item = &'a Self> + Clone,
    {
        out.extend(tuples);
    }

    fn decode_column<'a>(
        columns: &mut Columns<'a>,
        count: usize,
    ) -> Result<impl Iterator<Item = Self> + use<'a>, ColumnError> {
        Ok(columns.take::<u8>(count)?.iter().copied())
    }

    fn encode_lists<'a, I>(lists: I, out: &mut Vec<u8>)
    where
        I: Iterator<Item = &'a [Self]> + Clone,
    {
        lists.for_each(|list| out.extend_from_slice(list));
    }

    fn decode_lists<'a>(
        columns: &mut Columns<'a>,
        lengths: super::Lengths<'a>,
    ) -> Result<impl Iterator<Item = Vec<Self>> + use<'a>, ColumnError> {
        let bytes = columns.take::<u8>(lengths.total())?;
        Ok(lengths.slices(bytes).map(<[u8]>::to_vec))
    }
}

impl Tuple for () {
    fn encode_column<'a, I>(tuples: I, out: &mut Vec<u8>)
    where
        I: ExactSizeIterator<Item = &'a Self> + Clone,
    {
        out.resize(out.len() + tuples.len(), 0);
    }

    fn decode_column<'a>(
        columns: &mut Columns<'a>,
        count: usize,
    ) -> Result<impl Iterator<Item = Self> + use<'a>, ColumnError> {
        let bytes = columns.take::<()>(count)?;
        match bytes.iter().all(|byte| *byte == 0) {
            true => Ok(bytes.iter().map(|_| ())),
            false => Err(ColumnError::of::<()>("other than zeros")),
        }
    }
}

impl Tuple for bool {
    fn encode_column<'a, I>(tuples: I, out: &mut Vec<u8>)
    where
        I: ExactSizeIterator<Item = &'a Self> + Clone,
    {
        out.extend(tuples.map(|is| u8::from(*is)));
    }

    fn decode_column<'a>(
        columns: &mut Columns<'a>,
        count: usize,
    ) -> Result<impl Iterator<Item = Self> + use<'a>, ColumnError> {
        let bytes = columns.take::<bool>(count)?;
        match bytes.iter().all(|byte| *byte <= 1) {
            true => Ok(bytes.iter().map(|byte| *byte == 1)),
            false => Err(ColumnError::of::<bool>("a byte is neither 0 nor 1")),
        }
    }
}

impl Tuple for char {
    fn encode_column<'a, I>(tuples: I, out: &mut Vec<u8>)
    where
        I: ExactSizeIterator<Item = &'a Self> + Clone,
    {
        tuples.for_each(|letter| out.extend_from_slice(&u32::from(*letter).to_le_bytes()));
    }

    fn decode_column<'a>(
        columns: &mut Columns<'a>,
        count: usize,
    ) -> Result<impl Iterator<Item = Self> + use<'a>, ColumnError> {
        let (numbers, _) = columns.take::<char>(count.saturating_mul(4))?.as_chunks::<4>();
        let letter = |number: &[u8; 4]| char::from_u32(u32::from_le_bytes(*number));
        match numbers.iter().all(|number| letter(number).is_some()) {
            true => Ok(numbers.iter().filter_map(letter)),
            false => Err(ColumnError::of::<char>("a number is no letter")),
        }
    }
}
