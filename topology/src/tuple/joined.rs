//! Columns of what is made of other tuples: those of its parts.

use super::{ColumnError, Columns, Counted, Tuple};
use crate::Either;

/// A column of each part.
macro_rules! parts {
    ($($part:ident $place:tt),+) => {
        impl<$($part: Tuple),+> Tuple for ($($part,)+) {
            #[inline]
            fn weight(&self) -> usize {
                0 $(+ self.$place.weight())+
            }

            fn encode_column<'a, It>(tuples: It, out: &mut Vec<u8>)
            where
                It: ExactSizeIterator<Item = &'a Self> + Clone,
            {
                $($part::encode_column(tuples.clone().map(|tuple| &tuple.$place), out);)+
            }

            #[expect(non_snake_case, reason = "each part's column is called as its type is")]
            fn decode_column<'a>(
                columns: &mut Columns<'a>,
                count: usize,
            ) -> Result<impl Iterator<Item = Self> + use<'a, $($part),+>, ColumnError> {
                $(let mut $part = $part::decode_column(columns, count)?;)+
                Ok((0..count).map_while(move |_| Some(($($part.next()?,)+))))
            }
        }
    };
}
parts!(A 0, B 1);
parts!(A 0, B 1, C 2);
parts!(A 0, B 1, C 2, D 3);

/// Bytes that say of each tuple which of two it is.
fn flags<'a, T>(columns: &mut Columns<'a>, count: usize) -> Result<(&'a [u8], usize), ColumnError> {
    let flags = columns.take::<T>(count)?;
    if flags.iter().any(|flag| *flag > 1) {
        return Err(ColumnError::of::<T>("a byte is neither 0 nor 1"));
    }
    let ones = flags.iter().map(|flag| usize::from(*flag)).sum();
    Ok((flags, ones))
}

impl<T: Tuple> Tuple for Option<T> {
    fn weight(&self) -> usize {
        self.as_ref().map_or(size_of::<Option<T>>(), Tuple::weight)
    }

    fn encode_column<'a, I>(tuples: I, out: &mut Vec<u8>)
    where
        I: ExactSizeIterator<Item = &'a Self> + Clone,
    {
        out.extend(tuples.clone().map(|tuple| u8::from(tuple.is_some())));
        let count = tuples.clone().flatten().count();
        T::encode_column(Counted::new(tuples.flatten(), count), out);
    }

    fn decode_column<'a>(
        columns: &mut Columns<'a>,
        count: usize,
    ) -> Result<impl Iterator<Item = Self> + use<'a, T>, ColumnError> {
        let (flags, there) = flags::<Self>(columns, count)?;
        let mut tuples = T::decode_column(columns, there)?;
        Ok(flags.iter().map_while(move |flag| match flag {
            0 => Some(None),
            _ => tuples.next().map(Some),
        }))
    }
}

impl<A: Tuple, B: Tuple> Tuple for Either<A, B> {
    fn weight(&self) -> usize {
        match self {
            Either::Left(left) => left.weight(),
            Either::Right(right) => right.weight(),
        }
    }

    fn encode_column<'a, I>(tuples: I, out: &mut Vec<u8>)
    where
        I: ExactSizeIterator<Item = &'a Self> + Clone,
    {
        let left = |tuple: &'a Self| if let Either::Left(left) = tuple { Some(left) } else { None };
        let right =
            |tuple: &'a Self| if let Either::Right(right) = tuple { Some(right) } else { None };
        out.extend(tuples.clone().map(|tuple| u8::from(right(tuple).is_some())));
        let count = tuples.clone().filter_map(left).count();
        A::encode_column(Counted::new(tuples.clone().filter_map(left), count), out);
        let count = tuples.len() - count;
        B::encode_column(Counted::new(tuples.filter_map(right), count), out);
    }

    fn decode_column<'a>(
        columns: &mut Columns<'a>,
        count: usize,
    ) -> Result<impl Iterator<Item = Self> + use<'a, A, B>, ColumnError> {
        let (flags, right) = flags::<Self>(columns, count)?;
        let mut lefts = A::decode_column(columns, count - right)?;
        let mut rights = B::decode_column(columns, right)?;
        Ok(flags.iter().map_while(move |flag| match flag {
            0 => lefts.next().map(Either::Left),
            _ => rights.next().map(Either::Right),
        }))
    }
}
