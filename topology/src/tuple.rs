//! What may travel between components, and how batches of it are encoded: column by column.

#[cfg(feature = "abomonation")]
#[doc(hidden)]
pub mod abomonated;
mod columns;
mod fixed;
mod joined;
mod lists;
#[cfg(test)]
mod tests;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use columns::{ColumnError, Columns};
pub(crate) use columns::{decode, decode_all, encode};
use lists::Counted;
#[doc(hidden)]
pub use lists::Lengths;
pub(crate) use lists::encode_bytes;

/// A value that travels between components: cloned for fan-out; encoded between workers, and where one call emits
/// much at once.
///
/// Implemented for the usual types; your own take one line:
///
/// ```
/// #[derive(Clone, serde::Serialize, serde::Deserialize)]
/// struct Payment { card: String, cents: u64 }
/// impl egret::Tuple for Payment {}
/// ```
///
/// Such a type is encoded by `postcard`, tuple by tuple. One whose fields are tuples themselves can have a column for
/// each of them instead, which is several times faster: see [`columns!`](crate::columns).
///
/// Types that own large heap buffers should say so in [`weight`](Tuple::weight): flow control counts
/// bytes by it.
pub trait Tuple: Clone + Send + Serialize + DeserializeOwned + 'static {
    /// Bytes this tuple holds, heap included. The default counts the value itself only.
    fn weight(&self) -> usize {
        size_of::<Self>()
    }

    /// Appends the encoding of these tuples, at least one byte for each. Both ends are of one binary: it may change
    /// with every release.
    fn encode_column<'a, I>(tuples: I, out: &mut Vec<u8>)
    where
        I: ExactSizeIterator<Item = &'a Self> + Clone,
    {
        columns::encode_each(tuples, out);
    }

    /// Takes what [`encode_column`](Tuple::encode_column) made of so many tuples. Whatever the bytes are, it does not
    /// panic, and allocates little beyond what they hold.
    ///
    /// # Errors
    /// When that is not what the bytes are.
    fn decode_column<'a>(
        columns: &mut Columns<'a>,
        count: usize,
    ) -> Result<impl Iterator<Item = Self> + use<'a, Self>, ColumnError> {
        Ok(columns::decode_each(columns, count)?.into_iter())
    }

    /// Appends the encoding of all tuples of these lists; not of how long they are.
    #[doc(hidden)]
    fn encode_lists<'a, I>(lists: I, out: &mut Vec<u8>)
    where
        I: Iterator<Item = &'a [Self]> + Clone,
    {
        let count = lists.clone().map(<[Self]>::len).sum();
        Self::encode_column(Counted::new(lists.flatten(), count), out);
    }

    /// Takes what [`encode_lists`](Tuple::encode_lists) made of lists of these lengths.
    #[doc(hidden)]
    fn decode_lists<'a>(
        columns: &mut Columns<'a>,
        lengths: Lengths<'a>,
    ) -> Result<impl Iterator<Item = Vec<Self>> + use<'a, Self>, ColumnError> {
        let mut tuples = Self::decode_column(columns, lengths.total())?;
        Ok(lengths.map(move |length| tuples.by_ref().take(length).collect()))
    }
}

/// Makes a struct a [`Tuple`](crate::Tuple) that is encoded by a column for each field; every field is listed.
///
/// ```
/// #[derive(Clone, serde::Serialize, serde::Deserialize)]
/// struct Payment { card: String, cents: u64 }
/// egret::columns!(Payment { card: String, cents: u64 });
/// ```
///
/// A field that is not listed is an error, and so is one whose type is no tuple:
/// ```compile_fail,E0063
/// #[derive(Clone, serde::Serialize, serde::Deserialize)]
/// struct Payment { card: String, cents: u64 }
/// egret::columns!(Payment { card: String });
/// ```
#[macro_export]
macro_rules! columns {
    ($name:ident { $($field:ident: $type:ty),+ $(,)? }) => {
        impl $crate::Tuple for $name {
            fn weight(&self) -> usize {
                0 $(+ <$type as $crate::Tuple>::weight(&self.$field))+
            }

            fn encode_column<'a, I>(tuples: I, out: &mut ::std::vec::Vec<u8>)
            where
                I: ::std::iter::ExactSizeIterator<Item = &'a Self> + ::std::clone::Clone,
            {
                $(
                    <$type as $crate::Tuple>::encode_column(
                        ::std::iter::Iterator::map(
                            ::std::clone::Clone::clone(&tuples),
                            |tuple| &tuple.$field,
                        ),
                        out,
                    );
                )+
            }

            fn decode_column<'a>(
                columns: &mut $crate::Columns<'a>,
                count: usize,
            ) -> ::std::result::Result<
                impl ::std::iter::Iterator<Item = Self> + use<'a>,
                $crate::ColumnError,
            > {
                $(let mut $field = <$type as $crate::Tuple>::decode_column(columns, count)?;)+
                ::std::result::Result::Ok(::std::iter::Iterator::map_while(
                    0..count,
                    move |_| ::std::option::Option::Some(Self {
                        $($field: ::std::iter::Iterator::next(&mut $field)?,)+
                    }),
                ))
            }
        }
    };
}
