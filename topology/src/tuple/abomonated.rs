//! Tuples whose column is their memory: `abomonated!`, behind the feature `abomonation`.

use bytemuck::Pod;
pub use egret_abomonation::{Decoded, encode};

use super::{ColumnError, Columns};

/// What `decode_column` is for these.
///
/// # Errors
/// When the bytes are no such column.
pub fn decode<T: Pod>(columns: &mut Columns<'_>, count: usize) -> Result<Decoded<T>, ColumnError> {
    let wrong = |why: egret_abomonation::DecodeError| ColumnError::of::<T>(why.to_string());
    let bytes = columns.take::<T>(egret_abomonation::bytes_of::<T>(count).map_err(wrong)?)?;
    egret_abomonation::decode(bytes, count).map_err(wrong)
}

/// Makes a plain struct a [`Tuple`](crate::Tuple) that crosses workers as it lies in memory, by `abomonation`. With the
/// feature `abomonation` only.
///
/// **Do not, unless you have measured.** [`columns!`](crate::columns) takes any field, is safe, and was faster where
/// both were measured. This is undefined behaviour by the rules of Rust with every batch (RUSTSEC-2021-0120);
/// `egret_abomonation` says what is done about it and what cannot be. Egret's workers compare binaries and know each
/// other by a secret or by certificates before a batch is taken; nothing that is stored is ever encoded so.
///
/// ```
/// # use serde::{Deserialize, Serialize};
/// #[derive(Clone, Copy, Serialize, Deserialize, bytemuck::Pod, bytemuck::Zeroable)]
/// #[repr(C)]
/// struct Tick { at: u64, cents: i64 }
/// egret::abomonated!(Tick);
/// ```
///
/// A type with pointers, padding or bytes that are no value is refused:
/// ```compile_fail,E0277
/// # use serde::{Deserialize, Serialize};
/// #[derive(Clone, Serialize, Deserialize)]
/// struct Payment { card: String, cents: u64 }
/// egret::abomonated!(Payment);
/// ```
#[macro_export]
macro_rules! abomonated {
    ($name:ty) => {
        impl $crate::Tuple for $name {
            fn encode_column<'a, I>(tuples: I, out: &mut ::std::vec::Vec<u8>)
            where
                I: ::std::iter::ExactSizeIterator<Item = &'a Self> + ::std::clone::Clone,
            {
                $crate::abomonated::encode(tuples, out);
            }

            fn decode_column<'a>(
                columns: &mut $crate::Columns<'a>,
                count: usize,
            ) -> ::std::result::Result<
                impl ::std::iter::Iterator<Item = Self> + use<'a>,
                $crate::ColumnError,
            > {
                $crate::abomonated::decode::<Self>(columns, count)
            }
        }
    };
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable;
    use proptest::collection::vec;
    use proptest::prelude::*;
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::tuple::{decode as decode_batch, encode as encode_batch};

    #[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, Pod, Zeroable)]
    #[repr(C)]
    struct Tick {
        at: u64,
        cents: i64,
    }
    crate::abomonated!(Tick);

    proptest! {
        #[test]
        fn they_come_back_alone_and_beside_others(
            of in vec((any::<u64>(), any::<i64>(), "[a-z]{0,9}"), 0..40),
        ) {
            let ticks: Vec<Tick> = of.iter().map(|&(at, cents, _)| Tick { at, cents }).collect();
            let lists: Vec<(String, Vec<Tick>)> =
                of.iter().map(|(_, _, text)| (text.clone(), ticks[..text.len().min(ticks.len())].to_vec())).collect();
            let mut bytes = Vec::new();
            encode_batch(&ticks, &mut bytes);
            prop_assert_eq!(decode_batch::<Tick>(&bytes).unwrap(), ticks);
            for end in 0..bytes.len() {
                prop_assert!(decode_batch::<Tick>(&bytes[..end]).is_err());
            }
            bytes.clear();
            encode_batch(&lists, &mut bytes);
            prop_assert_eq!(decode_batch::<(String, Vec<Tick>)>(&bytes).unwrap(), lists);
        }

        #[test]
        fn other_bytes_are_an_error_or_tuples(bytes in vec(any::<u8>(), 0..200), count: u32) {
            drop(decode_batch::<Tick>(&bytes));
            drop(decode_batch::<(Tick, Vec<Tick>)>(&[&count.to_le_bytes()[..], &bytes].concat()));
            drop(decode_batch::<Tick>(&[&(count % 16).to_le_bytes()[..], &bytes].concat()));
        }
    }

    #[test]
    fn what_is_wrong_with_a_column_is_said() {
        let mut bytes = Vec::new();
        encode_batch(&[Tick { at: 1, cents: 2 }], &mut bytes);
        let why = |bytes: &[u8]| decode_batch::<Tick>(bytes).unwrap_err().to_string();
        assert!(why(&bytes[..20]).contains("24 bytes of it are to come, and 16 are left"));
        let all = [&u32::MAX.to_le_bytes()[..], &bytes[4..]].concat();
        assert!(why(&all).contains("4294967295 of them in 24 bytes"), "{}", why(&all));
        bytes[4] ^= 1;
        assert!(why(&bytes).ends_with("run the same binary everywhere"), "{}", why(&bytes));
    }
}
