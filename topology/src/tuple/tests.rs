//! What is encoded comes back, and bytes that are anything else are errors.

use std::fmt::Debug;

use proptest::collection::vec;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

use super::*;
use crate::{Blob, Either};

/// A struct with a column for each field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Wide {
    id: u64,
    name: String,
    price: f64,
    tags: Vec<String>,
    seen: Option<(char, bool)>,
}
crate::columns!(Wide { id: u64, name: String, price: f64, tags: Vec<String>, seen: Option<(char, bool)> });

/// A type that `postcard` encodes, some of it to nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Plain(#[serde(skip)] u64, Vec<u16>);
impl Tuple for Plain {}

/// One whose encoding is empty always.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Unit;
impl Tuple for Unit {}

/// It comes back, what is torn off it is an error, and so is a byte more.
fn comes_back<T: Tuple + PartialEq + Debug>(tuples: &[T]) {
    let mut bytes = Vec::new();
    encode(tuples, &mut bytes);
    assert!(bytes.len() >= 4 + tuples.len(), "each tuple has a byte");
    assert_eq!(decode::<T>(&bytes).unwrap(), tuples);
    for end in 0..bytes.len() {
        assert!(decode::<T>(&bytes[..end]).is_err(), "{end} of {} bytes", bytes.len());
    }
    bytes.push(0);
    assert!(decode::<T>(&bytes).is_err(), "a byte too many");
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof!["[a-zäß€]{0,9}", "x{300}"]
}

fn wide() -> impl Strategy<Value = Wide> {
    let seen = proptest::option::of((any::<char>(), any::<bool>()));
    let of = (any::<u64>(), text(), -1e9..1e9, vec(text(), 0..4), seen);
    of.prop_map(|(id, name, price, tags, seen)| Wide { id, name, price, tags, seen })
}

proptest! {
    #[test]
    fn numbers_come_back(
        pairs in vec((any::<u64>(), any::<i16>()), 0..40),
        more in vec((any::<u8>(), any::<i8>(), any::<u16>(), any::<u32>()), 0..40),
        large in vec((any::<u128>(), any::<i128>(), any::<i64>()), 0..20),
        reals in vec((-1e9f32..1e9, -1e9..1e9), 0..40),
        letters in vec((any::<char>(), any::<bool>(), Just(()), any::<i32>()), 0..40),
    ) {
        comes_back(&pairs);
        comes_back(&more);
        comes_back(&large);
        comes_back(&reals);
        comes_back(&letters);
    }

    #[test]
    fn texts_and_lists_come_back(
        texts in vec(text(), 0..20),
        bytes in vec(vec(any::<u8>(), 0..50), 0..20),
        lists in vec(vec((any::<u16>(), text()), 0..5), 0..10),
        nested in vec(vec(vec(any::<u32>(), 0..4), 0..4), 0..10),
    ) {
        comes_back(&texts);
        comes_back(&bytes.iter().map(|bytes| Blob::from(&bytes[..])).collect::<Vec<_>>());
        comes_back(&bytes);
        comes_back(&lists);
        comes_back(&nested);
    }

    #[test]
    fn what_may_be_one_or_another_comes_back(
        options in vec(proptest::option::of(text()), 0..20),
        sides in vec((any::<bool>(), text(), any::<u64>()), 0..20),
    ) {
        let side = |(left, text, n): (bool, String, u64)| match left {
            true => Either::Left(text),
            false => Either::Right(Some(n)),
        };
        comes_back(&options);
        comes_back(&sides.into_iter().map(side).collect::<Vec<Either<String, Option<u64>>>>());
    }

    #[test]
    fn types_of_the_users_own_come_back(wide in vec(wide(), 0..12), units in 0..30_usize) {
        comes_back(&wide);
        comes_back(&vec![Unit; units]);
        comes_back(&(0..units).map(|n| Plain(0, vec![7; n % 3])).collect::<Vec<_>>());
    }

    /// Nothing panics, whatever the bytes are, nor does it allocate by a count it read: that would end the process.
    #[test]
    fn other_bytes_are_an_error_or_tuples(bytes in vec(any::<u8>(), 0..200), count: u32) {
        fn look<T: Tuple>(bytes: &[u8], count: u32) {
            drop(decode::<T>(bytes));
            drop(decode::<T>(&[&count.to_le_bytes()[..], bytes].concat()));
            let few = u32::try_from(bytes.len()).unwrap() / 5;
            drop(decode::<T>(&[&few.to_le_bytes()[..], bytes].concat()));
        }
        look::<Wide>(&bytes, count);
        look::<(Vec<String>, Blob)>(&bytes, count);
        look::<Vec<Vec<Vec<u8>>>>(&bytes, count);
        look::<Either<(), Option<Unit>>>(&bytes, count);
        look::<Plain>(&bytes, count);
        look::<[u128; 2]>(&bytes, count);
    }
}

impl Tuple for [u128; 2] {}

#[test]
fn a_column_says_what_is_wrong_with_it() {
    let why = |bytes: &[u8]| decode::<String>(bytes).unwrap_err().to_string();
    assert!(why(&[1]).contains("4 bytes of it are to come, and 1 are left"));
    assert!(why(&[2, 0, 0, 0, 1]).contains("2 of them in 1 bytes"));
    assert!(why(&[1, 0, 0, 0, 3, 0, 0, 0]).contains("lengths of 3 bytes"));
    assert!(why(&[1, 0, 0, 0, 1, 9, b'a']).contains("more than there is"));
    assert!(why(&[1, 0, 0, 0, 1, 1, 0xff]).contains("utf-8"));
    let split = [2, 0, 0, 0, 1, 1, 1, 0xc3, 0xa4];
    assert!(why(&split).contains("inside of a character"));
    let letters = decode::<char>(&[1, 0, 0, 0, 0, 0xd8, 0, 0]).unwrap_err().to_string();
    assert_eq!(letters, "a column of char: a number is no letter");
}

/// A count that is as large as can be is refused before anything is allocated for it.
#[test]
fn a_count_without_bytes_is_refused() {
    let bytes = [&u32::MAX.to_le_bytes()[..], &[0; 64]].concat();
    assert!(decode::<u64>(&bytes).is_err());
    assert!(decode::<Unit>(&bytes).is_err());
    assert!(decode::<()>(&bytes).is_err());
    assert!(decode::<(Unit, ())>(&bytes).is_err());
    let lengths = [&1u32.to_le_bytes()[..], &[8], &u64::MAX.to_le_bytes()].concat();
    assert!(decode::<Vec<Unit>>(&lengths).is_err());
}
