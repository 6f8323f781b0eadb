//! A byte string that holds short ones inline.

use std::borrow::Borrow;
use std::fmt;
use std::ops::Deref;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use smallvec::SmallVec;

use crate::tuple::{Lengths, encode_bytes};
use crate::{ColumnError, Columns, Tuple};

/// Bytes that lie in it.
const INLINE: usize = 22;

/// Bytes of any length; up to 22 of them without an allocation, which is most words and ids.
///
/// Orders and hashes as its bytes do, and borrows as `[u8]`, so it can be looked up by slice. In JSON and the like it
/// is a text where its bytes are one, and else a list of them.
#[derive(Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Blob(SmallVec<[u8; INLINE]>);

impl Clone for Blob {
    /// In one go; `SmallVec` goes byte by byte.
    #[inline]
    fn clone(&self) -> Blob {
        Blob(SmallVec::from_slice(&self.0))
    }
}

impl Blob {
    /// The bytes.
    #[inline]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Deref for Blob {
    type Target = [u8];
    #[inline]
    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for Blob {
    #[inline]
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Blob {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<&[u8]> for Blob {
    #[inline]
    fn from(bytes: &[u8]) -> Blob {
        Blob(SmallVec::from_slice(bytes))
    }
}

impl From<&str> for Blob {
    fn from(text: &str) -> Blob {
        Blob::from(text.as_bytes())
    }
}

impl From<Vec<u8>> for Blob {
    fn from(bytes: Vec<u8>) -> Blob {
        Blob(SmallVec::from_vec(bytes))
    }
}

impl fmt::Debug for Blob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

impl Tuple for Blob {
    #[inline]
    fn weight(&self) -> usize {
        size_of::<Blob>() + if self.0.spilled() { self.0.capacity() } else { 0 }
    }

    fn encode_column<'a, I>(tuples: I, out: &mut Vec<u8>)
    where
        I: ExactSizeIterator<Item = &'a Self> + Clone,
    {
        encode_bytes(tuples.map(Blob::as_bytes), out);
    }

    fn decode_column<'a>(
        columns: &mut Columns<'a>,
        count: usize,
    ) -> Result<impl Iterator<Item = Self> + use<'a>, ColumnError> {
        let lengths = Lengths::take::<Blob>(columns, count)?;
        let mut bytes = columns.take::<Blob>(lengths.total())?;
        Ok(lengths.map_while(move |length| {
            // Most fit, and others follow them: those are copied whole, and what is beyond their length not looked at.
            let whole = bytes.first_chunk().filter(|_| length <= INLINE).copied();
            let (own, rest) = bytes.split_at_checked(length)?;
            bytes = rest;
            Some(whole.map_or_else(
                || Blob::from(own),
                |whole| Blob(SmallVec::from_buf_and_len(whole, length)),
            ))
        }))
    }
}

impl Serialize for Blob {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match std::str::from_utf8(&self.0) {
            Ok(text) if serializer.is_human_readable() => serializer.serialize_str(text),
            _ => serializer.serialize_bytes(&self.0),
        }
    }
}

struct BlobVisitor;

impl<'de> Visitor<'de> for BlobVisitor {
    type Value = Blob;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Blob, E> {
        Ok(Blob::from(bytes))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Blob, E> {
        Ok(Blob::from(text))
    }

    fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Blob, E> {
        Ok(Blob::from(bytes))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Blob, A::Error> {
        let mut bytes = SmallVec::new();
        while let Some(byte) = seq.next_element()? {
            bytes.push(byte);
        }
        Ok(Blob(bytes))
    }
}

impl<'de> Deserialize<'de> for Blob {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Blob, D::Error> {
        match deserializer.is_human_readable() {
            true => deserializer.deserialize_any(BlobVisitor),
            false => deserializer.deserialize_bytes(BlobVisitor),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blobs_of_every_length_come_back() {
        for n in [0usize, 1, 21, 22, 23, 100, 70_000] {
            let blob = Blob::from(vec![7u8; n]);
            let bytes = postcard::to_stdvec(&blob).unwrap();
            assert_eq!(postcard::from_bytes::<Blob>(&bytes).unwrap(), blob);
        }
    }

    #[test]
    fn in_json_a_blob_is_a_text_where_it_is_one() {
        for (bytes, json) in [(&b"a \"word\""[..], r#""a \"word\"""#), (&[255, 0], "[255,0]")] {
            let blob = Blob::from(bytes);
            assert_eq!(serde_json::to_string(&blob).unwrap(), json);
            assert_eq!(serde_json::from_str::<Blob>(json).unwrap(), blob);
        }
    }

    #[test]
    fn a_blob_is_three_words() {
        assert!(size_of::<Blob>() <= 32, "{}", size_of::<Blob>());
    }
}
