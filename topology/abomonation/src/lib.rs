//! Batches as `abomonation` writes them: a tuple's memory as it lies, cast back on arrival.
//!
//! Nobody needs this. It is here for whoever wants it all the same, off by default and in a crate of its own, for no
//! wrapper makes `abomonation` sound. `topology/docs/016-how-batches-cross-workers.md` has what it costs beside the
//! other codecs: `egret::columns!` is faster than this, and safe.
//!
//! ```
//! #[derive(Clone, Copy, Debug, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
//! #[repr(C)]
//! struct Tick { at: u64, cents: i64 }
//!
//! let ticks = [Tick { at: 1, cents: 2 }, Tick { at: 3, cents: 4 }];
//! let mut bytes = Vec::new();
//! egret_abomonation::encode(ticks.iter(), &mut bytes);
//! let back: Vec<Tick> = egret_abomonation::decode(&bytes, 2).unwrap().collect();
//! assert_eq!(back, ticks);
//! ```
//!
//! # The layout
//! ```text
//! type u64, little-endian │ tuple │ tuple │ …      each size_of::<T>() bytes, as this machine has them in memory
//! ```
//!
//! # What holds, and why
//! * **[`Pod`] types only**: no pointers, so no address of this process is sent and none of another is followed; no
//!   padding, so nothing uninitialised is read; no `bool`, `char` or enum, so that any bytes are a value.
//! * **Tuples one by one**, never a `Vec`: `abomonation` takes a vector's length from the bytes and multiplies it by a
//!   tuple's size without a look at what overflows. Here the caller says how many there are, and that is compared
//!   with how many bytes there are before anything is allocated.
//! * **Aligned**: bytes are copied to where a `T` may lie before they are cast.
//! * **The same type at both ends**: a number made of its name, size and alignment comes first. Two binaries may give
//!   one type two layouts, so both ends are to be one binary on one kind of machine. Egret's workers see to that: they
//!   compare a number of the binary itself, and who is there is known by a secret or by certificates.
//! * **Never for bytes that are stored**: nothing here says what version they are of.
//!
//! # What does not hold
//! `abomonation::decode` makes a reference to a whole tuple of a reference to its first byte. By the rules of Rust, as
//! Miri has them, that is undefined behaviour with every call, also with bytes that are all right (RUSTSEC-2021-0120; no
//! version is without it). What compilers made of it was right whenever it was looked at. That is not a promise.

#![expect(unsafe_code, reason = "this is what the crate is there to keep in one place")]

use std::any::type_name;

use abomonation::Abomonation;
use bytemuck::{Pod, TransparentWrapper};
use xxhash_rust::xxh3::xxh3_64;

#[cfg(feature = "measuring")]
pub mod measuring;

/// Bytes of the number of the type, in front.
const HEAD_BYTES: usize = size_of::<u64>();

/// A tuple whose encoding is its memory.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct Plain<T>(T);

// SAFETY: it is `repr(transparent)` over its only field.
unsafe impl<T> TransparentWrapper<T> for Plain<T> {}

/// Nothing is to be done for what has no pointers.
impl<T: Pod> Abomonation for Plain<T> {}

/// Bytes that are no such batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// There are more tuples to come than bytes.
    #[error("{wanted} bytes are to come, and {left} are left")]
    Short {
        /// So many tuples take so many; `usize::MAX` for more than can be.
        wanted: usize,
        /// Those there are.
        left: usize,
    },
    /// Another type was encoded, or this one by another build.
    #[error("they are of another type or of another build: run the same binary everywhere")]
    Type,
}

/// What is told of a type's layout: its name, size and alignment.
fn number_of<T>() -> u64 {
    let layout = (size_of::<T>() as u64) << 8 | align_of::<T>() as u64;
    xxh3_64(type_name::<T>().as_bytes()) ^ layout
}

/// How many bytes so many tuples take.
///
/// # Errors
/// When that is more than can be.
pub fn bytes_of<T: Pod>(count: usize) -> Result<usize, DecodeError> {
    const { assert!(size_of::<T>() > 0, "a tuple has a byte at least") };
    let tuples = count.checked_mul(size_of::<T>());
    let all = tuples.and_then(|bytes| bytes.checked_add(HEAD_BYTES));
    all.ok_or(DecodeError::Short { wanted: usize::MAX, left: 0 })
}

/// Appends these tuples.
pub fn encode<'a, T: Pod>(tuples: impl ExactSizeIterator<Item = &'a T>, out: &mut Vec<u8>) {
    const { assert!(size_of::<T>() > 0, "a tuple has a byte at least") };
    out.reserve(HEAD_BYTES + tuples.len() * size_of::<T>());
    out.extend_from_slice(&number_of::<T>().to_le_bytes());
    for tuple in tuples {
        // SAFETY: `encode` reads the tuple's memory as bytes, all of which are initialised: it is `Pod`.
        let written = unsafe { abomonation::encode(Plain::wrap_ref(tuple), out) };
        written.expect("a vector takes what is written to it");
    }
}

/// Takes so many tuples that [`encode`] made of these bytes, which are all there are of them.
///
/// # Errors
/// When that is not what they are. Nothing is allocated beyond what they hold.
pub fn decode<T: Pod>(bytes: &[u8], count: usize) -> Result<Decoded<T>, DecodeError> {
    let (wanted, left) = (bytes_of::<T>(count)?, bytes.len());
    let (Some((head, tuples)), true) = (bytes.split_first_chunk(), wanted == left) else {
        return Err(DecodeError::Short { wanted, left });
    };
    if u64::from_le_bytes(*head) != number_of::<T>() {
        return Err(DecodeError::Type);
    }
    // Where a `T` may lie; what arrived lies anywhere.
    let mut places = vec![T::zeroed(); count];
    bytemuck::cast_slice_mut(&mut places).copy_from_slice(tuples);
    Ok(Decoded { places, next: 0 })
}

/// The tuples of a batch, cast one by one.
#[derive(Debug)]
pub struct Decoded<T> {
    places: Vec<T>,
    next: usize,
}

impl<T: Pod> Iterator for Decoded<T> {
    type Item = T;

    #[inline]
    fn next(&mut self) -> Option<T> {
        let place = self.places.get_mut(self.next)?;
        self.next += 1;
        // SAFETY: the bytes are aligned for a `T`, as many as it has, and any are a value of it: it is `Pod`. That the
        // reference it makes has the right to one byte only is what the head of this crate says does not hold.
        let decoded = unsafe { abomonation::decode::<Plain<T>>(bytemuck::bytes_of_mut(place)) };
        decoded.map(|(tuple, _)| tuple.0)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = self.places.len() - self.next;
        (left, Some(left))
    }
}

impl<T: Pod> ExactSizeIterator for Decoded<T> {}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable;
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
    #[repr(C)]
    struct Tick {
        at: u64,
        cents: i64,
        kind: [u16; 4],
    }

    /// The same memory under another name.
    #[derive(Clone, Copy, Debug, PartialEq, Pod, Zeroable)]
    #[repr(C)]
    struct Tock(Tick);

    fn encoded<T: Pod>(tuples: &[T]) -> Vec<u8> {
        let mut bytes = Vec::new();
        encode(tuples.iter(), &mut bytes);
        bytes
    }

    fn decoded<T: Pod>(bytes: &[u8], count: usize) -> Result<Vec<T>, DecodeError> {
        decode(bytes, count).map(Iterator::collect)
    }

    proptest! {
        #[test]
        fn tuples_come_back_from_wherever_they_lie(
            ticks in vec((any::<u64>(), any::<i64>(), any::<[u16; 4]>()), 0..40), shift in 0..16_usize,
        ) {
            let tick = |(at, cents, kind)| Tick { at, cents, kind };
            let ticks: Vec<Tick> = ticks.into_iter().map(tick).collect();
            let bytes = encoded(&ticks);
            prop_assert_eq!(bytes.len(), bytes_of::<Tick>(ticks.len()).unwrap());
            // Also where no `u64` may lie.
            let shifted = [&vec![0; shift], &bytes[..]].concat();
            prop_assert_eq!(decoded::<Tick>(&shifted[shift..], ticks.len()).unwrap(), ticks);
        }

        #[test]
        fn other_bytes_are_an_error_or_tuples(bytes in vec(any::<u8>(), 0..200), count: usize) {
            drop(decoded::<Tick>(&bytes, count));
            drop(decoded::<Tick>(&bytes, count % 8));
            let headed = [&number_of::<Tick>().to_le_bytes()[..], &bytes].concat();
            let fits = bytes.len() % size_of::<Tick>() == 0;
            prop_assert_eq!(decoded::<Tick>(&headed, bytes.len() / size_of::<Tick>()).is_ok(), fits);
        }
    }

    #[test]
    fn a_count_that_overflows_is_refused() {
        let bytes = encoded(&[7_u64, 8]);
        // `abomonation` itself takes 24 bytes for a vector of so many.
        for count in [1 << 61, usize::MAX, usize::MAX / 8, 3, 1] {
            assert!(matches!(decode::<u64>(&bytes, count), Err(DecodeError::Short { .. })));
        }
        assert_eq!(decoded::<u64>(&bytes, 2).unwrap(), [7, 8]);
        assert!(matches!(decode::<u64>(&[], 0), Err(DecodeError::Short { wanted: 8, left: 0 })));
    }

    #[test]
    fn another_type_of_the_same_size_is_refused() {
        let tick = Tick { at: 1, cents: -2, kind: [3; 4] };
        let bytes = encoded(&[tick]);
        assert_eq!(decoded::<Tock>(&bytes, 1), Err(DecodeError::Type));
        assert_eq!(decoded::<Tick>(&bytes, 1).unwrap(), [tick]);
    }
}
