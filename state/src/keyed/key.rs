//! What can be a key: a value with one frozen encoding, which its hash is taken of.
//!
//! | type | encoding |
//! |---|---|
//! | `str`, `String` | its UTF-8 |
//! | `[u8]`, `Vec<u8>` | itself |
//! | integers | little-endian, full width |
//! | `bool` | one byte, 0 or 1 |
//! | `()` | nothing: all tuples share one key |
//! | `(A, B)` | `u32` length of A's encoding, A's encoding, B's encoding |
//!
//! Encodings never change: state and streams on disk were placed by their hashes.

use std::hash::Hash;

use egret_schemas::bytes::{DecodeError, Reader, Writer};
use egret_schemas::key;

use super::format::KeyFormat;

/// A key of keyed state; see the [module](self) for the encodings.
pub trait Key: ToOwned<Owned: Send + 'static> + Hash + Eq {
    /// Appends the encoding. Equal keys have equal encodings, and different ones different.
    fn encode(&self, out: &mut Vec<u8>);

    /// Reads back what [`Key::encode`] wrote, all of it.
    fn decode(bytes: &[u8]) -> Result<Self::Owned, DecodeError>;

    /// What the encoding is, for those who show keys and are given them in words. A key type that does
    /// not say is shown as its bytes.
    fn format() -> KeyFormat {
        KeyFormat::Bytes
    }

    /// Reads a little of what the key points to, if it points to anything: a table that will look at several keys
    /// does this first, so that memory brings them while it does something else. What it returns means nothing.
    #[inline]
    fn peek(&self) -> u8 {
        0
    }

    /// XXH3-64 of the encoding.
    #[inline]
    fn hash64(&self) -> u64 {
        let mut encoding = Vec::new();
        self.encode(&mut encoding);
        key::hash(&encoding)
    }
}

fn wrong(what: &'static str, why: &'static str) -> DecodeError {
    DecodeError { what, at: 0, why }
}

impl Key for str {
    fn format() -> KeyFormat {
        KeyFormat::Text
    }
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.as_bytes());
    }
    fn decode(bytes: &[u8]) -> Result<String, DecodeError> {
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| wrong("text key", "not UTF-8"))
    }
    #[inline]
    fn peek(&self) -> u8 {
        self.as_bytes().first().copied().unwrap_or_default()
    }
    #[inline]
    fn hash64(&self) -> u64 {
        key::hash(self.as_bytes())
    }
}

impl Key for String {
    fn format() -> KeyFormat {
        KeyFormat::Text
    }
    fn encode(&self, out: &mut Vec<u8>) {
        self.as_str().encode(out);
    }
    fn decode(bytes: &[u8]) -> Result<String, DecodeError> {
        str::decode(bytes)
    }
    #[inline]
    fn peek(&self) -> u8 {
        self.as_bytes().first().copied().unwrap_or_default()
    }
    #[inline]
    fn hash64(&self) -> u64 {
        self.as_str().hash64()
    }
}

impl Key for [u8] {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
    fn decode(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
        Ok(bytes.to_vec())
    }
    #[inline]
    fn peek(&self) -> u8 {
        self.first().copied().unwrap_or_default()
    }
    #[inline]
    fn hash64(&self) -> u64 {
        key::hash(self)
    }
}

impl Key for Vec<u8> {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }
    fn decode(bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
        Ok(bytes.to_vec())
    }
    #[inline]
    fn peek(&self) -> u8 {
        self.first().copied().unwrap_or_default()
    }
    #[inline]
    fn hash64(&self) -> u64 {
        key::hash(self)
    }
}

macro_rules! integer {
    ($($type:ty),*) => {$(
        impl Key for $type {
            fn format() -> KeyFormat {
                let width = u8::try_from(size_of::<$type>()).expect("integers have at most 16 bytes");
                KeyFormat::Integer { signed: <$type>::MIN != 0, width }
            }
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }
            fn decode(bytes: &[u8]) -> Result<$type, DecodeError> {
                let bytes = bytes.try_into();
                let why = concat!("not the width of a ", stringify!($type));
                bytes.map(<$type>::from_le_bytes).map_err(|_| wrong("integer key", why))
            }
            #[inline]
            fn hash64(&self) -> u64 {
                key::hash(&self.to_le_bytes())
            }
        }
    )*};
}
integer!(u8, u16, u32, u64, u128, i8, i16, i32, i64, i128);

impl Key for bool {
    fn format() -> KeyFormat {
        KeyFormat::Bool
    }
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }
    fn decode(bytes: &[u8]) -> Result<bool, DecodeError> {
        match bytes {
            [0] => Ok(false),
            [1] => Ok(true),
            _ => Err(wrong("bool key", "neither 0 nor 1")),
        }
    }
    #[inline]
    fn hash64(&self) -> u64 {
        key::hash(&[u8::from(*self)])
    }
}

impl Key for () {
    fn format() -> KeyFormat {
        KeyFormat::Unit
    }
    fn encode(&self, _out: &mut Vec<u8>) {}
    fn decode(bytes: &[u8]) -> Result<(), DecodeError> {
        if bytes.is_empty() { Ok(()) } else { Err(wrong("unit key", "bytes left over")) }
    }
}

impl<A, B> Key for (A, B)
where
    A: Key + ToOwned<Owned = A> + Clone + Send + 'static,
    B: Key + ToOwned<Owned = B> + Clone + Send + 'static,
{
    fn format() -> KeyFormat {
        KeyFormat::Pair(Box::new(A::format()), Box::new(B::format()))
    }
    fn encode(&self, out: &mut Vec<u8>) {
        let at = out.len();
        out.put_u32(0);
        self.0.encode(out);
        let first = out.len() - at - size_of::<u32>();
        let first = u32::try_from(first).expect("a key is bounded far below 4 GiB");
        out[at..at + size_of::<u32>()].copy_from_slice(&first.to_le_bytes());
        self.1.encode(out);
    }
    fn decode(bytes: &[u8]) -> Result<(A, B), DecodeError> {
        let mut r = Reader::new(bytes);
        let first = A::decode(r.bytes("first of a pair key")?)?;
        let rest = r.take(r.remaining(), "second of a pair key")?;
        Ok((first, B::decode(rest)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn encoded<K: Key + ?Sized>(key: &K) -> Vec<u8> {
        let mut out = Vec::new();
        key.encode(&mut out);
        assert_eq!(key.hash64(), key::hash(&out), "the hash is that of the encoding");
        out
    }

    proptest! {
        #[test]
        fn keys_come_back(text: String, bytes: Vec<u8>, n: u64, i: i32, w: u128, flag: bool) {
            prop_assert_eq!(str::decode(&encoded(text.as_str())).unwrap(), text.clone());
            prop_assert_eq!(<[u8]>::decode(&encoded(&bytes[..])).unwrap(), bytes.clone());
            prop_assert_eq!(encoded(&text), encoded(text.as_str()));
            prop_assert_eq!(encoded(&bytes), encoded(&bytes[..]));
            prop_assert_eq!(u64::decode(&encoded(&n)).unwrap(), n);
            prop_assert_eq!(i32::decode(&encoded(&i)).unwrap(), i);
            prop_assert_eq!(u128::decode(&encoded(&w)).unwrap(), w);
            prop_assert_eq!(bool::decode(&encoded(&flag)).unwrap(), flag);
            let pair = ((text, n), bytes);
            prop_assert_eq!(<((String, u64), Vec<u8>)>::decode(&encoded(&pair)).unwrap(), pair);
        }

        #[test]
        fn any_bytes_decode_or_fail_without_panic(bytes: Vec<u8>) {
            let _ = (str::decode(&bytes), u64::decode(&bytes), bool::decode(&bytes));
            let _ = (<(String, i64)>::decode(&bytes), <()>::decode(&bytes));
        }

        #[test]
        fn different_pairs_have_different_encodings(a: (String, String), b: (String, String)) {
            prop_assert_eq!(a == b, encoded(&a) == encoded(&b));
        }
    }

    #[test]
    fn encodings_are_frozen() {
        assert_eq!(encoded("ab"), b"ab");
        assert_eq!(encoded(&258u32), [2, 1, 0, 0]);
        assert_eq!(encoded(&-2i64), [254, 255, 255, 255, 255, 255, 255, 255]);
        assert_eq!(encoded(&("a".to_owned(), 1u16)), [1, 0, 0, 0, b'a', 1, 0]);
        assert!(encoded(&()).is_empty());
    }
}
